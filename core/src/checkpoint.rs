//! Small files that are replaced as a whole, and their formats: Kafka's, byte for byte.
//!
//! [`AtomicFile`] replaces one: write a temporary, sync it, rename it over the old one, sync the
//! directory. It is core code so that each of its crash points can be tested. The formats are in
//! `formats` (text) and `quorum_state` (JSON); their owners define what the values mean.

mod formats;
mod json;
mod quorum_state;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub use formats::{
    FormatError, MetaProperties, PartitionOffset, format_boot_id, format_clean_shutdown,
    format_leader_epochs, format_meta_properties, format_offsets, format_partition_metadata,
    parse_boot_id, parse_clean_shutdown, parse_leader_epochs, parse_meta_properties, parse_offsets,
    parse_partition_metadata,
};
pub use quorum_state::{QuorumState, format_quorum_state, parse_quorum_state};

use crate::env::{Disk, FileId, FileKind, SmallFile};
use crate::event::{DiskDone, ReadTag};
use crate::types::DirId;

/// Bytes requested at a time when a small file is loaded.
const READ_CHUNK: u32 = 1 << 20;

/// The outcome of an [`AtomicFile`]'s operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AtomicFileEvent {
    /// [`AtomicFile::read`] found this content.
    Loaded(Bytes),
    /// The content of this version, or a newer one, is durable.
    Durable(u64),
}

/// One small file, and its replacement in progress.
///
/// Failed operations are not reported here: their [`DiskDone::Failed`] names this file or its
/// temporary, and takes the log directory offline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AtomicFile {
    dir: DirId,
    small: SmallFile,
    /// The newest content's version; 0 before the first write.
    version: u64,
    /// Grows with each temporary that is created: generation of the file, serial of the sync.
    attempt: u32,
    writing: Option<Writing>,
    queued: Option<Bytes>,
    loading: Option<BytesMut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writing {
    version: u64,
    len: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// The temporary is not known to be durable.
    Syncing,
    /// Renamed; the entry is not known to be durable.
    SyncingDir,
}

impl AtomicFile {
    /// The file of this role in this directory. Does nothing yet. A temporary that an earlier
    /// incarnation left is removed by the first write.
    pub fn new(dir: DirId, small: SmallFile) -> AtomicFile {
        AtomicFile {
            dir,
            small,
            version: 0,
            attempt: 0,
            writing: None,
            queued: None,
            loading: None,
        }
    }

    /// The file itself.
    pub fn file(&self) -> FileId {
        FileId { dir: self.dir, kind: self.small.kind() }
    }

    fn temporary(&self) -> FileId {
        FileId { dir: self.dir, kind: FileKind::Temporary(self.small) }
    }

    /// Whether this is one of the two files that it works on.
    pub fn owns(&self, file: FileId) -> bool {
        file == self.file() || file == self.temporary()
    }

    /// Loads it; [`AtomicFileEvent::Loaded`] follows. Only for a file that the directory lists.
    pub fn read(&mut self, disk: &mut dyn Disk) {
        self.loading = Some(BytesMut::new());
        disk.read(ReadTag::SmallFile, self.file(), 0, READ_CHUNK);
    }

    /// Replaces the content. Returns its version, which [`AtomicFileEvent::Durable`] reaches later.
    /// Of several writes while one is in progress, only the last is done.
    pub fn write(&mut self, content: Bytes, disk: &mut dyn Disk) -> u64 {
        self.version += 1;
        if self.writing.is_some() {
            self.queued = Some(content);
        } else {
            self.start(content, disk);
        }
        self.version
    }

    fn start(&mut self, content: Bytes, disk: &mut dyn Disk) {
        self.attempt += 1;
        let temporary = self.temporary();
        self.writing = Some(Writing {
            version: self.version,
            len: content.len() as u64,
            stage: Stage::Syncing,
        });
        // After a power loss in the middle of the rename, the temporary may be a second name of the
        // file itself (ext2: ALICE, OSDI 2014, table 1), which must not be truncated.
        if self.attempt == 1 {
            disk.unlink(temporary);
        }
        disk.create(temporary, self.attempt);
        if !content.is_empty() {
            disk.append(temporary, self.attempt, 0, alloc::vec![content]);
        }
        disk.sync(temporary, self.attempt);
    }

    /// Handles a completion in its directory; completions of other files are ignored.
    pub fn on_disk(&mut self, done: &DiskDone, disk: &mut dyn Disk) -> Option<AtomicFileEvent> {
        match done {
            DiskDone::Synced { file, generation, upto } if *file == self.temporary() => {
                self.on_synced(*generation, *upto, disk);
                None
            }
            DiskDone::DirSynced { dir, by, serial }
                if *dir == self.dir && *by == self.small.kind() =>
            {
                self.on_dir_synced(*serial, disk)
            }
            DiskDone::Read { tag: ReadTag::SmallFile, file, at, bytes } if *file == self.file() => {
                self.on_read(*at, bytes, disk)
            }
            DiskDone::Listed { .. }
            | DiskDone::Written { .. }
            | DiskDone::Synced { .. }
            | DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Read { .. }
            | DiskDone::Failed { .. } => None,
        }
    }

    fn on_synced(&mut self, generation: u32, upto: u64, disk: &mut dyn Disk) {
        let Some(writing) = &mut self.writing else { return };
        // A repeated completion, or one of an earlier temporary, must not rename this one.
        let ours = generation == self.attempt && upto >= writing.len;
        if !ours || writing.stage != Stage::Syncing {
            return;
        }
        writing.stage = Stage::SyncingDir;
        disk.rename(self.dir, FileKind::Temporary(self.small), self.small.kind());
        disk.sync_dir(self.dir, self.small.kind(), self.attempt);
    }

    fn on_dir_synced(&mut self, serial: u32, disk: &mut dyn Disk) -> Option<AtomicFileEvent> {
        let writing = self.writing.as_ref()?;
        if writing.stage != Stage::SyncingDir || serial != self.attempt {
            return None;
        }
        let version = writing.version;
        self.writing = None;
        if let Some(content) = self.queued.take() {
            self.start(content, disk);
        }
        Some(AtomicFileEvent::Durable(version))
    }

    fn on_read(&mut self, at: u64, bytes: &Bytes, disk: &mut dyn Disk) -> Option<AtomicFileEvent> {
        let so_far = self.loading.as_mut()?;
        if at != so_far.len() as u64 {
            return None;
        }
        so_far.extend_from_slice(bytes);
        if bytes.len() >= READ_CHUNK as usize {
            let next = so_far.len() as u64;
            disk.read(ReadTag::SmallFile, self.file(), next, READ_CHUNK);
            return None;
        }
        self.loading.take().map(|content| AtomicFileEvent::Loaded(content.freeze()))
    }

    /// The newest content's version; 0 before the first write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether nothing is in progress.
    pub fn is_idle(&self) -> bool {
        self.writing.is_none() && self.loading.is_none()
    }
}
