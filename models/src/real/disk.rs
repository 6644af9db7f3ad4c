//! A disk with one directory as part of a model's state: contents, how much of them is durable, and
//! what has been submitted since.
//!
//! What does not live here: torn writes, failing syncs, lies. The simulator's disk does those.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wavetank_core::env::{DiskOp, FileId, FileKind};
use wavetank_core::event::DiskDone;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<FileKind, usize>,
    durable_names: BTreeMap<FileKind, usize>,
    queue: VecDeque<DiskOp>,
}

impl Disk {
    pub(super) fn submit(&mut self, op: DiskOp) {
        self.queue.push_back(op);
    }

    /// Is anything not durable yet?
    pub(super) fn is_dirty(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Performs the oldest submission, unless it makes something durable and `durably` is false.
    /// Returns false if nothing was performed.
    pub(super) fn perform(&mut self, durably: bool, done: &mut Vec<DiskDone>) -> bool {
        let Some(op) = self.queue.front() else { return false };
        if !durably && matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. }) {
            return false;
        }
        let op = self.queue.pop_front().expect("it was there");
        done.extend(self.apply(op));
        self.renumber();
        true
    }

    /// Performs the oldest submission that makes nothing durable, skipping those that do. Returns
    /// false if there is none.
    pub(super) fn perform_cached(&mut self, done: &mut Vec<DiskDone>) -> bool {
        let makes_durable =
            |op: &DiskOp| matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
        let Some(at) = self.queue.iter().position(|op| !makes_durable(op)) else { return false };
        let op = self.queue.remove(at).expect("it was there");
        done.extend(self.apply(op));
        self.renumber();
        true
    }

    /// The bytes of a file; none if there is no such file.
    pub(super) fn contents(&self, kind: FileKind) -> &[u8] {
        self.names.get(&kind).map_or(&[], |at| &self.inodes[*at].data)
    }

    /// Performs a read that was not submitted.
    pub(super) fn read(&mut self, read: DiskOp) -> DiskDone {
        assert!(matches!(read, DiskOp::Read { .. }), "{read:?} is a read");
        self.apply(read).expect("a read has an outcome")
    }

    /// Keeps only what is durable, and drops everything that was submitted.
    pub(super) fn power_loss(&mut self) {
        self.queue.clear();
        self.names.clone_from(&self.durable_names);
        for inode in &mut self.inodes {
            inode.data.clone_from(&inode.synced);
        }
        self.renumber();
    }

    fn inode(&mut self, file: FileId) -> &mut Inode {
        let at = *self.names.get(&file.kind).unwrap_or_else(|| panic!("there is no {file:?}"));
        &mut self.inodes[at]
    }

    fn apply(&mut self, op: DiskOp) -> Option<DiskDone> {
        match op {
            DiskOp::OpenDir { dir, .. } => {
                let length =
                    |(kind, at): (&FileKind, &usize)| (*kind, self.inodes[*at].data.len() as u64);
                let files = self.names.iter().map(length).collect();
                Some(DiskDone::Listed { dir, files, dirs: Vec::new(), strangers: 0 })
            }
            DiskOp::Create { file, .. } => {
                self.names.insert(file.kind, self.inodes.len());
                self.inodes.push(Inode::default());
                None
            }
            DiskOp::Append { file, generation, at, bytes } => {
                let data = &mut self.inode(file).data;
                assert_eq!(data.len() as u64, at, "append to {file:?} is at its end");
                bytes.iter().for_each(|part| data.extend_from_slice(part));
                let upto = data.len() as u64;
                Some(DiskDone::Written { file, generation, upto })
            }
            DiskOp::Sync { file, generation } => {
                let inode = self.inode(file);
                inode.synced.clone_from(&inode.data);
                let upto = inode.data.len() as u64;
                Some(DiskDone::Synced { file, generation, upto })
            }
            DiskOp::Truncate { file, to, .. } => {
                let to = usize::try_from(to).expect("files here are small");
                self.inode(file).data.truncate(to);
                None
            }
            DiskOp::Rename { from, to, .. } => {
                let inode = self.names.remove(&from).expect("what is renamed exists");
                self.names.insert(to, inode);
                None
            }
            DiskOp::Unlink { file } => {
                self.names.remove(&file.kind);
                None
            }
            DiskOp::SyncDir { dir, by, serial } => {
                self.durable_names.clone_from(&self.names);
                Some(DiskDone::DirSynced { dir, by, serial })
            }
            // It is the only directory here, and nobody opens another with its name.
            DiskOp::RenameDir { dir, .. } => Some(DiskDone::DirRenamed { dir }),
            DiskOp::RemoveDir { .. } => {
                self.names.clear();
                self.durable_names.clear();
                None
            }
            DiskOp::Read { tag, file, at, len } => {
                let data = &self.inode(file).data;
                let start = usize::try_from(at).map_or(data.len(), |at| at.min(data.len()));
                let end = data.len().min(start + len as usize);
                let bytes = Bytes::copy_from_slice(&data[start..end]);
                Some(DiskDone::Read { tag, file, at, bytes })
            }
        }
    }

    /// Makes equal disks equal states: inodes are numbered by their names, and removed with the
    /// last one.
    fn renumber(&mut self) {
        let mut order: Vec<usize> = Vec::new();
        for at in self.names.values_mut().chain(self.durable_names.values_mut()) {
            let place = order.iter().position(|known| known == at);
            *at = place.unwrap_or_else(|| {
                order.push(*at);
                order.len() - 1
            });
        }
        let mut inodes = std::mem::take(&mut self.inodes);
        self.inodes = order.into_iter().map(|at| std::mem::take(&mut inodes[at])).collect();
    }
}
