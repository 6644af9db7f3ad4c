//! One directory's files and the execution of its operations, in the order of submission.
//!
//! Work comes in two phases, so that the pool can keep a thread free of waiting for the device:
//! [`Directory::run_fast`] does what ends in the page cache, [`Directory::run_slow`] what waits for
//! the disk. A sync is postponed past later appends and reads (its watermark only grows by that)
//! but never past a rename, truncation or removal. Scheduling lives in the parent module.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use wavetank_core::env::{DiskOp, FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind, ReadTag};
use wavetank_core::types::DirId;

/// Most buffers handed to the kernel at once (Linux's `IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// How many files the process has open below its data directory, and how many it should.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub(super) open: AtomicUsize,
    pub(super) wanted_at_most: usize,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Where the next append goes: the length as we made it.
    end: u64,
    /// Written to since the last sync; kept open, so that a failure of write-back reaches us.
    dirty: bool,
}

/// A directory that is being worked on by at most one thread.
#[derive(Debug)]
pub(super) struct Directory {
    root: Arc<Path>,
    path: PathBuf,
    is_root: bool,
    pub(super) queue: VecDeque<DiskOp>,
    files: BTreeMap<FileKind, OpenFile>,
    /// Files whose write or sync failed: nothing on them succeeds any more.
    failed: BTreeMap<FileKind, DiskError>,
    /// Files with a sync to do, and the generation that asked last.
    pending: BTreeMap<FileKind, (FileId, u32)>,
    counter: Arc<OpenFiles>,
    /// Removed and not opened again.
    removed: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.counter.open.fetch_sub(self.files.len(), Ordering::Relaxed);
    }
}

/// How the operating system's refusal is told to the core.
fn classify(error: &io::Error) -> DiskError {
    const EIO: i32 = 5;
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            DiskError::Full
        }
        _ if error.raw_os_error() == Some(EIO) => DiskError::Io,
        _ => DiskError::Refused,
    }
}

impl Directory {
    pub(super) fn new(root: Arc<Path>, name: &str, counter: Arc<OpenFiles>) -> Directory {
        let path = if name.is_empty() { root.to_path_buf() } else { root.join(name) };
        Directory {
            root,
            path,
            is_root: name.is_empty(),
            queue: VecDeque::new(),
            files: BTreeMap::new(),
            failed: BTreeMap::new(),
            pending: BTreeMap::new(),
            counter,
            removed: false,
        }
    }

    /// Is there nothing left to remember of it?
    pub(super) fn is_gone(&self) -> bool {
        self.removed && self.is_idle()
    }

    /// Nothing to do?
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.pending.is_empty()
    }

    /// Must the next piece of work wait for the device?
    pub(super) fn wants_slow(&self) -> bool {
        match self.queue.front() {
            None => !self.pending.is_empty(),
            Some(op) => waits_for_device(op) || (!self.pending.is_empty() && is_barrier(op)),
        }
    }

    /// Runs operations up to the next one that has to wait for the device.
    pub(super) fn run_fast(&mut self, done: &mut Vec<DiskDone>) {
        while !self.wants_slow() {
            let Some(op) = self.queue.pop_front() else { break };
            self.execute(op, done);
        }
        self.close_spare_files();
    }

    /// Does the postponed syncs, each file once, and then one waiting operation of the queue.
    pub(super) fn run_slow(&mut self, done: &mut Vec<DiskDone>) {
        for (kind, (file, generation)) in std::mem::take(&mut self.pending) {
            self.sync_file(kind, file, generation, done);
        }
        if self.queue.front().is_some_and(waits_for_device)
            && let Some(op) = self.queue.pop_front()
        {
            self.execute(op, done);
        }
        self.close_spare_files();
    }

    fn execute(&mut self, op: DiskOp, done: &mut Vec<DiskDone>) {
        match op {
            DiskOp::OpenDir { dir, name: _ } => {
                self.removed = false;
                match self.open_and_list() {
                    Ok((files, dirs)) => done.push(DiskDone::Listed { dir, files, dirs }),
                    Err(error) => self.fail(whole(dir), DiskOpKind::OpenDir, &error, done),
                }
            }
            DiskOp::Create { file, generation: _ } => {
                self.failed.remove(&file.kind);
                if let Err(error) = self.create(file.kind) {
                    self.fail(file, DiskOpKind::Create, &error, done);
                }
            }
            DiskOp::Append { file, generation, at, bytes } => {
                self.append(file, generation, at, bytes, done);
            }
            DiskOp::Sync { file, generation } => {
                self.pending.insert(file.kind, (file, generation));
            }
            DiskOp::Truncate { file, generation: _, to } => {
                if self.refuse_failed(file, DiskOpKind::Truncate, done) {
                    return;
                }
                if let Err(error) = self.truncate(file.kind, to) {
                    self.fail(file, DiskOpKind::Truncate, &error, done);
                }
            }
            DiskOp::Rename { dir, from, to } => {
                let file = FileId { dir, kind: from };
                if self.refuse_failed(file, DiskOpKind::Namespace, done) {
                    return;
                }
                match fs::rename(self.path.join(from.name()), self.path.join(to.name())) {
                    Ok(()) => {
                        self.forget(to);
                        self.failed.remove(&to);
                        if let Some(open) = self.files.remove(&from) {
                            self.files.insert(to, open);
                        }
                    }
                    Err(error) => self.fail(file, DiskOpKind::Namespace, &error, done),
                }
            }
            DiskOp::Unlink { file } => {
                self.forget(file.kind);
                self.failed.remove(&file.kind);
                match fs::remove_file(self.path.join(file.kind.name())) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.fail(file, DiskOpKind::Namespace, &error, done),
                }
            }
            DiskOp::SyncDir { dir, by, serial } => match sync_directory(&self.path) {
                Ok(()) => done.push(DiskDone::DirSynced { dir, by, serial }),
                Err(error) => self.fail(whole(dir), DiskOpKind::Sync, &error, done),
            },
            DiskOp::RenameDir { dir, name } => self.rename_dir(dir, &name, done),
            DiskOp::RemoveDir { dir } => {
                self.forget_all();
                self.removed = true;
                if let Err(error) = self.remove() {
                    self.fail(whole(dir), DiskOpKind::Namespace, &error, done);
                }
            }
            DiskOp::Read { tag, file, at, len } => self.read(tag, file, at, len, done),
        }
    }

    fn open_and_list(&mut self) -> io::Result<(Vec<(FileKind, u64)>, Vec<String>)> {
        if !self.path.is_dir() {
            super::create_directories(&self.path)?;
            // A directory that a power loss takes away would take every synced file with it.
            if let Some(parent) = self.path.parent() {
                sync_directory(parent)?;
            }
        }
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(path = %entry.path().display(), "ignored: the name is not text");
                continue;
            };
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                if self.is_root {
                    dirs.push(name);
                }
            } else if let Some(kind) = FileKind::parse(&name) {
                let length = self.files.get(&kind).map_or(metadata.len(), |open| open.end);
                files.push((kind, length));
            } else if name != super::LOCK_FILE {
                tracing::warn!(path = %entry.path().display(), "ignored: not a file of ours");
            }
        }
        files.sort_unstable();
        dirs.sort_unstable();
        Ok((files, dirs))
    }

    fn create(&mut self, kind: FileKind) -> io::Result<()> {
        self.forget(kind);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(super::FILE_MODE)
            .open(self.path.join(kind.name()))?;
        self.remember(kind, OpenFile { file, end: 0, dirty: true });
        Ok(())
    }

    fn open(&mut self, kind: FileKind) -> io::Result<&mut OpenFile> {
        if !self.files.contains_key(&kind) {
            let path = self.path.join(kind.name());
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let end = file.seek(SeekFrom::End(0))?;
            self.remember(kind, OpenFile { file, end, dirty: false });
        }
        Ok(self.files.get_mut(&kind).expect("it was just opened"))
    }

    /// Joins the appends to the same file that stand next in the queue into one write.
    fn append(
        &mut self,
        file: FileId,
        generation: u32,
        at: u64,
        bytes: Vec<Bytes>,
        done: &mut Vec<DiskDone>,
    ) {
        if self.refuse_failed(file, DiskOpKind::Append, done) {
            return;
        }
        let mut end = at + length(&bytes);
        let mut parts = bytes;
        while let Some(DiskOp::Append { file: next, generation: also, at: next_at, bytes }) =
            self.queue.front_mut()
        {
            if *next != file || *also != generation || *next_at != end {
                break;
            }
            end += length(bytes);
            parts.append(bytes);
            self.queue.pop_front();
        }
        let written = self.open(file.kind).and_then(|open| {
            assert_eq!(
                open.end, at,
                "an append to {file:?} must start at the end of the file, as the core counts it"
            );
            open.dirty = true;
            write_all_vectored(&mut open.file, &parts)?;
            open.end = end;
            Ok(())
        });
        match written {
            Ok(()) => done.push(DiskDone::Written { file, generation, upto: end }),
            Err(error) => self.fail(file, DiskOpKind::Append, &error, done),
        }
    }

    fn truncate(&mut self, kind: FileKind, to: u64) -> io::Result<()> {
        let open = self.open(kind)?;
        assert!(
            to <= open.end,
            "a truncation must not lengthen {kind:?} from {} to {to}",
            open.end
        );
        open.file.set_len(to)?;
        open.file.seek(SeekFrom::Start(to))?;
        open.end = to;
        open.dirty = true;
        Ok(())
    }

    fn sync_file(
        &mut self,
        kind: FileKind,
        file: FileId,
        generation: u32,
        done: &mut Vec<DiskDone>,
    ) {
        if self.refuse_failed(file, DiskOpKind::Sync, done) {
            return;
        }
        let synced = self.open(kind).and_then(|open| {
            open.file.sync_data()?;
            open.dirty = false;
            Ok(open.end)
        });
        match synced {
            Ok(upto) => done.push(DiskDone::Synced { file, generation, upto }),
            Err(error) => self.fail(file, DiskOpKind::Sync, &error, done),
        }
    }

    fn read(&mut self, tag: ReadTag, file: FileId, at: u64, len: u32, done: &mut Vec<DiskDone>) {
        let read = self.open(file.kind).and_then(|open| {
            let len = open.end.saturating_sub(at).min(u64::from(len));
            let mut buffer = vec![0; len as usize];
            let mut filled = 0;
            while filled < buffer.len() {
                match open.file.read_at(&mut buffer[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            buffer.truncate(filled);
            Ok(buffer)
        });
        match read {
            Ok(buffer) => {
                done.push(DiskDone::Read { tag, file, at, bytes: Bytes::from(buffer) });
            }
            Err(error) => self.fail(file, DiskOpKind::Read, &error, done),
        }
    }

    /// What follows under its new name is another queue's (see `DiskPool::submit`).
    fn rename_dir(&mut self, dir: DirId, name: &str, done: &mut Vec<DiskDone>) {
        self.forget_all();
        self.removed = true;
        match fs::rename(&self.path, self.root.join(name)) {
            Ok(()) => done.push(DiskDone::DirRenamed { dir }),
            Err(error) => self.fail(whole(dir), DiskOpKind::Namespace, &error, done),
        }
    }

    fn remove(&self) -> io::Result<()> {
        assert!(!self.is_root, "the log directory itself is never removed");
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// What failed stays failed: after a failed sync the kernel calls the pages clean, and a second
    /// sync would succeed without having written them (fsyncgate).
    fn refuse_failed(&self, file: FileId, op: DiskOpKind, done: &mut Vec<DiskDone>) -> bool {
        let Some(&error) = self.failed.get(&file.kind) else { return false };
        done.push(DiskDone::Failed { file, op, error });
        true
    }

    fn fail(&mut self, file: FileId, op: DiskOpKind, error: &io::Error, done: &mut Vec<DiskDone>) {
        let path = self.path.join(file.kind.name());
        tracing::error!(path = %path.display(), ?op, %error, "a disk operation failed");
        let error = classify(error);
        if matches!(op, DiskOpKind::Append | DiskOpKind::Sync | DiskOpKind::Truncate) {
            self.failed.insert(file.kind, error);
        }
        done.push(DiskDone::Failed { file, op, error });
    }

    fn remember(&mut self, kind: FileKind, open: OpenFile) {
        self.counter.open.fetch_add(1, Ordering::Relaxed);
        self.files.insert(kind, open);
    }

    fn forget(&mut self, kind: FileKind) {
        if self.files.remove(&kind).is_some() {
            self.counter.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn forget_all(&mut self) {
        self.counter.open.fetch_sub(self.files.len(), Ordering::Relaxed);
        self.files.clear();
        self.failed.clear();
    }

    fn close_spare_files(&mut self) {
        if self.counter.open.load(Ordering::Relaxed) <= self.counter.wanted_at_most {
            return;
        }
        let before = self.files.len();
        self.files.retain(|_, open| open.dirty);
        self.counter.open.fetch_sub(before - self.files.len(), Ordering::Relaxed);
    }
}

/// The name under which an operation on a whole directory fails.
fn whole(dir: DirId) -> FileId {
    FileId { dir, kind: FileKind::CleanShutdown }
}

fn waits_for_device(op: &DiskOp) -> bool {
    match op {
        DiskOp::OpenDir { .. } | DiskOp::SyncDir { .. } | DiskOp::RemoveDir { .. } => true,
        DiskOp::Create { .. }
        | DiskOp::Append { .. }
        | DiskOp::Sync { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Rename { .. }
        | DiskOp::RenameDir { .. }
        | DiskOp::Unlink { .. }
        | DiskOp::Read { .. } => false,
    }
}

/// May not run before the syncs submitted earlier.
fn is_barrier(op: &DiskOp) -> bool {
    match op {
        DiskOp::Append { .. } | DiskOp::Sync { .. } | DiskOp::Read { .. } => false,
        DiskOp::OpenDir { .. }
        | DiskOp::SyncDir { .. }
        | DiskOp::RemoveDir { .. }
        | DiskOp::Create { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Rename { .. }
        | DiskOp::RenameDir { .. }
        | DiskOp::Unlink { .. } => true,
    }
}

fn length(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write_all_vectored(file: &mut File, parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left: &mut [IoSlice<'_>] = &mut slices;
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let now = left.len().min(MAX_SLICES);
        match file.write_vectored(&left[..now]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
