//! The names on a disk: directories that are created, renamed and removed, the files in them, and
//! which file names survive a power loss.
//!
//! Not here: contents and syncs. What a power loss does to those, and to directories whose name is
//! not durable, is in `faults`.

use std::collections::BTreeMap;

use wavetank_core::env::{FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind};
use wavetank_core::types::DirId;

use super::{Change, Dir, Inode, NameOp, Outcome, SimDisk, fail};
use crate::decide::{Dice, Place};
use crate::shared::Shared;

impl SimDisk {
    /// Creates the directory if it is missing. Returns whether it was.
    pub(super) fn create_dir(&mut self, slot: u32) -> bool {
        let dir = &mut *self.dirs[slot as usize];
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
        let dir = &mut *self.dirs[slot as usize];
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

    /// Makes the set of directories and their names durable.
    pub(super) fn root_synced(&mut self) {
        if self.lying {
            return;
        }
        // Most have not changed, and stay shared with the copies of this disk.
        for dir in &mut self.dirs {
            match (dir.exists, dir.durable_exists) {
                (true, true) if dir.durable_name.is_none() => {}
                (true, _) => {
                    dir.durable_exists = true;
                    dir.durable_name = None;
                }
                (false, _) if dir.is_clear() => {}
                (false, _) => dir.clear(),
            }
        }
    }
}

impl NameOp {
    /// Applies the part of the change that a power loss keeps. A rename enters the new name before
    /// it removes the old one (Linux's `ext2_rename`), so both names may be left, but never
    /// neither.
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

    /// Does it add or remove this name?
    pub(super) fn is_about(&self, name: FileKind) -> bool {
        match self {
            NameOp::Create(kind, _) | NameOp::Unlink(kind) => *kind == name,
            NameOp::Rename(from, to, _) => *from == name || *to == name,
        }
    }

    /// The name that the change is keyed by.
    fn kind(&self) -> FileKind {
        match self {
            NameOp::Create(kind, _) | NameOp::Rename(_, kind, _) | NameOp::Unlink(kind) => *kind,
        }
    }
}

impl Dir {
    pub(super) fn inode(&mut self, kind: FileKind) -> Option<&mut Inode> {
        let id = self.entries.get(&kind)?;
        self.inodes.get_mut(id).map(|inode| &mut **inode)
    }

    /// Creates an empty file. An existing one is truncated in place, as `open(2)` with `O_TRUNC`
    /// does, and no name changes.
    pub(super) fn create(&mut self, kind: FileKind) {
        if let Some(inode) = self.inode(kind) {
            inode.truncate(0);
            inode.broken = None;
            return;
        }
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Shared::default());
        self.entries.insert(kind, id);
        self.pending.push(NameOp::Create(kind, id));
    }

    /// Drops inodes that no name refers to any more, now that the names are durable.
    pub(super) fn forget_nameless(&mut self) {
        let mut named: Vec<u32> = self.entries.values().copied().collect();
        named.sort_unstable();
        self.inodes.retain(|id, _| named.binary_search(id).is_ok());
    }

    /// The names after a power loss: the durable ones, plus any subset of the changes since, each
    /// drawn separately.
    ///
    /// In POSIX only an `fsync` of the directory orders these changes. ext3, ext4 and XFS keep them
    /// in order, ext2 and btrfs do not, and on ext2 a rename is two changes (ALICE, OSDI 2014,
    /// table 1; for renames on btrfs and F2FS: CrashMonkey, OSDI 2018).
    pub(super) fn names_after_power_loss(
        &mut self,
        place: Place,
        dice: &Dice,
    ) -> BTreeMap<FileKind, u32> {
        let mut names = std::mem::take(&mut self.durable);
        // In eighths: a power loss may keep all of the changes, none, or some.
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

    /// Removes the directory: its files go one by one, and nothing is durable before the root is
    /// synced.
    pub(super) fn remove(&mut self) {
        self.pending.extend(self.entries.keys().map(|kind| NameOp::Unlink(*kind)));
        self.entries.clear();
        self.exists = false;
        if !self.durable_exists {
            self.clear();
        }
    }

    fn is_clear(&self) -> bool {
        let names = self.entries.is_empty() && self.durable.is_empty() && self.pending.is_empty();
        names && self.inodes.is_empty() && !self.durable_exists && self.durable_name.is_none()
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
