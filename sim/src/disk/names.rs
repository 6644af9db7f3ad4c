//! The names on a disk: directories that come, get another name and go, and files in them; and which
//! names of files a power loss leaves.
//!
//! What a name leads to (content, syncs) is elsewhere, and what a power loss makes of that, and of
//! directories whose name is not durable, is in `faults`.

use std::collections::BTreeMap;

use wavetank_core::env::{FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind};
use wavetank_core::types::DirId;

use super::{Change, Dir, Inode, NameOp, Outcome, SimDisk, fail};
use crate::decide::{Dice, Place};

impl SimDisk {
    /// Makes the directory if it is missing. Returns whether it was.
    pub(super) fn create_dir(&mut self, slot: u32) -> bool {
        let dir = &mut self.dirs[slot as usize];
        if dir.exists {
            return false;
        }
        dir.clear();
        dir.exists = true;
        true
    }

    pub(super) fn apply_rename_dir(
        &mut self,
        slot: u32,
        id: DirId,
        name: String,
        out: &mut Outcome,
    ) {
        let taken = self.by_name.get(&name).is_some_and(|at| self.dirs[*at as usize].exists);
        let dir = &mut self.dirs[slot as usize];
        if taken || !dir.exists {
            let file = FileId { dir: id, kind: FileKind::CleanShutdown };
            fail(file, DiskOpKind::Namespace, DiskError::Refused, out);
            return;
        }
        let old = std::mem::replace(&mut dir.name, name.clone());
        dir.place = self.place.with_value(&name);
        self.by_name.remove(&old);
        self.by_name.insert(name, slot);
        self.dirs[slot as usize].durable_name.get_or_insert(old);
        out.done.push(DiskDone::DirRenamed { dir: id });
        self.changed(slot, FileKind::CleanShutdown, || Change::DirRenamed, out);
    }

    /// Which directories there are, and how they are called, is durable as of now.
    pub(super) fn root_synced(&mut self) {
        if self.lying {
            return;
        }
        for dir in &mut self.dirs {
            if dir.exists {
                dir.durable_exists = true;
                dir.durable_name = None;
            } else {
                dir.clear();
            }
        }
    }
}

impl NameOp {
    /// What of the change a power loss keeps. A rename enters the new name before it takes the old
    /// one away (Linux's `ext2_rename`): both names may be left, never neither.
    fn apply_drawn(&self, names: &mut BTreeMap<FileKind, u32>, keep: impl Fn(u64) -> bool) {
        if !keep(0) {
            return;
        }
        match self {
            NameOp::Create(kind, id) => {
                names.insert(*kind, *id);
            }
            NameOp::Rename(from, to, id) => {
                if from != to && keep(1) {
                    names.remove(from);
                }
                names.insert(*to, *id);
            }
            NameOp::Unlink(kind) => {
                names.remove(kind);
            }
        }
    }

    /// Does it give or take this name?
    pub(super) fn is_about(&self, name: FileKind) -> bool {
        match self {
            NameOp::Create(kind, _) | NameOp::Unlink(kind) => *kind == name,
            NameOp::Rename(from, to, _) => *from == name || *to == name,
        }
    }

    /// The name that it is about.
    fn kind(&self) -> FileKind {
        match self {
            NameOp::Create(kind, _) | NameOp::Rename(_, kind, _) | NameOp::Unlink(kind) => *kind,
        }
    }
}

impl Dir {
    pub(super) fn inode(&mut self, kind: FileKind) -> Option<&mut Inode> {
        let id = self.entries.get(&kind)?;
        self.inodes.get_mut(id)
    }

    /// An empty file. One that is there is cut in place, as `open(2)` with `O_TRUNC` does: no name
    /// changes.
    pub(super) fn create(&mut self, kind: FileKind) {
        if let Some(inode) = self.inode(kind) {
            inode.truncate(0);
            inode.broken = None;
            return;
        }
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode::default());
        self.entries.insert(kind, id);
        self.pending.push(NameOp::Create(kind, id));
    }

    /// What no name leads to any more, durably, is gone.
    pub(super) fn forget_nameless(&mut self) {
        let mut named: Vec<u32> = self.entries.values().copied().collect();
        named.sort_unstable();
        self.inodes.retain(|id, _| named.binary_search(id).is_ok());
    }

    /// The names that a power loss leaves: those that were durable, and of what was done to them since
    /// any part, each change drawn by itself.
    ///
    /// POSIX orders nothing here but by `fsync` of the directory. ext3, ext4 and XFS keep such changes in
    /// their order, ext2 and btrfs do not, and on ext2 a rename is two changes (ALICE, OSDI 2014,
    /// table 1; what btrfs and F2FS did to renames: CrashMonkey, OSDI 2018).
    pub(super) fn names_after_power_loss(
        &mut self,
        place: Place,
        dice: &Dice,
    ) -> BTreeMap<FileKind, u32> {
        let mut names = std::mem::take(&mut self.durable);
        // In eighths: a loss may take nearly all, nearly nothing, or some here and there.
        let density = [0, 2, 4, 4, 6, 8][dice.decide(place.with(1), 6) as usize];
        let mut changes: BTreeMap<FileKind, u64> = BTreeMap::new();
        for op in self.pending.drain(..) {
            let nth = changes.entry(op.kind()).or_default();
            *nth += 1;
            let place = place.with(8).with_value(&op.kind()).with(*nth);
            op.apply_drawn(&mut names, |half| dice.ratio(place.with(half), density, 8));
        }
        names
    }

    /// Its files go one by one, and none of it is durable before the root is synced.
    pub(super) fn remove(&mut self) {
        self.pending.extend(self.entries.keys().map(|kind| NameOp::Unlink(*kind)));
        self.entries.clear();
        self.exists = false;
        if !self.durable_exists {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.exists = false;
        self.durable_exists = false;
        self.durable_name = None;
        self.entries.clear();
        self.durable.clear();
        self.pending.clear();
        self.inodes.clear();
    }
}
