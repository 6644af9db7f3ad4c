//! The disk of one node: written data, durable data, and pending operations.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::env::{DiskOp, FileId, FileKind};
use crate::event::DiskDone;
use crate::types::DirId;

#[derive(Clone, Debug, Default)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk {
    inodes: Vec<Inode>,
    entries: BTreeMap<FileKind, usize>,
    durable_entries: BTreeMap<FileKind, usize>,
    queue: VecDeque<DiskOp>,
}

impl TestDisk {
    pub(super) fn submit(&mut self, op: DiskOp) {
        self.queue.push_back(op);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn inode(&mut self, file: FileId) -> &mut Inode {
        let at = *self.entries.get(&file.kind).unwrap_or_else(|| panic!("no {file:?}"));
        &mut self.inodes[at]
    }

    /// The content that a reader sees now.
    pub(super) fn content(&self, kind: FileKind) -> Option<&[u8]> {
        self.entries.get(&kind).map(|at| self.inodes[*at].data.as_slice())
    }

    pub(super) fn set_content(&mut self, kind: FileKind, content: &[u8]) {
        let inode = self.inodes.len();
        self.inodes.push(Inode { data: content.to_vec(), synced: content.to_vec() });
        self.entries.insert(kind, inode);
        self.durable_entries.insert(kind, inode);
    }

    /// Performs the oldest submission.
    pub(super) fn perform(&mut self) -> Option<DiskDone> {
        let dir = DirId::METADATA;
        match self.queue.pop_front()? {
            DiskOp::OpenDir { .. } => {
                let length =
                    |(kind, at): (&FileKind, &usize)| (*kind, self.inodes[*at].data.len() as u64);
                let files = self.entries.iter().map(length).collect();
                Some(DiskDone::Listed { dir, files, dirs: Vec::new(), strangers: 0 })
            }
            DiskOp::Create { file, .. } => {
                self.entries.insert(file.kind, self.inodes.len());
                self.inodes.push(Inode::default());
                None
            }
            DiskOp::Append { file, generation, at, bytes } => {
                let data = &mut self.inode(file).data;
                assert_eq!(data.len() as u64, at, "{file:?}");
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
                self.inode(file).data.truncate(to as usize);
                None
            }
            DiskOp::Rename { from, to, .. } => {
                let inode = self.entries.remove(&from).expect("the source exists");
                self.entries.insert(to, inode);
                None
            }
            DiskOp::Unlink { file } => {
                self.entries.remove(&file.kind);
                None
            }
            DiskOp::SyncDir { dir, by, serial } => {
                self.durable_entries.clone_from(&self.entries);
                Some(DiskDone::DirSynced { dir, by, serial })
            }
            DiskOp::RenameDir { .. } | DiskOp::RemoveDir { .. } => {
                panic!("the metadata log never leaves")
            }
            DiskOp::Read { tag, file, at, len } => {
                let data = &self.inode(file).data;
                let start = (at as usize).min(data.len());
                let end = (start + len as usize).min(data.len());
                let bytes = Bytes::copy_from_slice(&data[start..end]);
                Some(DiskDone::Read { tag, file, at, bytes })
            }
        }
    }

    /// The process dies: performed operations stay, the rest never happen.
    pub(super) fn crash(&mut self) {
        self.queue.clear();
    }

    /// Power is lost: only durable data stays.
    pub(super) fn power_loss(&mut self) {
        self.queue.clear();
        self.entries.clone_from(&self.durable_entries);
        for inode in &mut self.inodes {
            inode.data.clone_from(&inode.synced);
        }
    }
}
