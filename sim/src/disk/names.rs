//! The names on a disk: directories that come, get another name and go, and files in them.
//!
//! What a name leads to (content, syncs) is elsewhere, and what a power loss makes of names that are
//! not durable is in `faults`.

use std::collections::BTreeMap;

use wavetank_core::env::{FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind};
use wavetank_core::types::DirId;

use super::{Change, Dir, Inode, NameOp, Outcome, SimDisk, fail};

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
    /// Makes the change. Returns the inode that has lost its name by it.
    pub(super) fn apply(&self, names: &mut BTreeMap<FileKind, u32>) -> Option<u32> {
        match self {
            NameOp::Create(kind, id) => names.insert(*kind, *id),
            NameOp::Rename(from, to) => names.remove(from).and_then(|id| names.insert(*to, id)),
            NameOp::Unlink(kind) => names.remove(kind),
        }
    }
}

impl Dir {
    pub(super) fn inode(&mut self, kind: FileKind) -> Option<&mut Inode> {
        let id = self.entries.get(&kind)?;
        self.inodes.get_mut(id)
    }

    /// Its files go one by one, and none of it is durable before the root is synced.
    pub(super) fn remove(&mut self) {
        self.removed.get_or_insert(self.pending.len());
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
        self.removed = None;
        self.entries.clear();
        self.durable.clear();
        self.pending.clear();
        self.inodes.clear();
    }
}
