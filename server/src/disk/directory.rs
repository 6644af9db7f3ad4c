//! One directory's files, and its operations, which run in the order of submission.
//!
//! Work has two phases, so that the pool can keep one thread that never waits for the device:
//! [`Directory::run_fast`] does what ends in the page cache, [`Directory::run_slow`] what waits for
//! the disk. A sync may be postponed past later appends and reads (which can only raise its
//! watermark), but never past a rename, truncation or removal.
//!
//! **Exhaustion is not a fault.** An operation refused because descriptors, memory or space are
//! used up ([`is_exhaustion`]) has not happened. It stays at the head of the queue, the operations
//! behind it wait as they would for a slow disk, and it is retried later. A write of which the
//! kernel took only a part resumes behind that part: no byte is written twice, and no hole is left.
//! So to the core a full disk looks like a slow one: appends are not acknowledged until there is
//! room. What fitted before is synced meanwhile, and reads overtake waiting appends, because they
//! ask for what was written before. A sync that fails because space is used up has lost the data it
//! should have written, and is a fault like any other.
//!
//! Scheduling is in the parent module, the descriptor cache in `files`.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wavetank_core::env::{DiskOp, FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind};
use wavetank_core::types::DirId;

use super::Common;
use super::files::{Key, Taken};
use super::sys::{self, SyncError, classify, is_exhaustion};

/// How long an operation waits that was refused because of exhaustion: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// A file that is open, or was recently.
#[derive(Clone, Copy, Debug)]
struct Handle {
    key: Key,
    /// Where the next append goes: the length that our own writes gave it.
    end: u64,
}

/// A descriptor in use.
struct Lent {
    key: Key,
    file: File,
    end: u64,
    /// Written to since the last sync.
    dirty: bool,
    /// Just opened: `end` is the length found, not the result of our writes.
    found: bool,
}

impl Lent {
    /// The file must end where the core believes it does. If it does not although we kept it open,
    /// that is our bug. Otherwise it may have been changed while it was closed.
    fn must_end_at(&self, at: u64, file: FileId) -> Result<(), Trouble> {
        if self.end != at && self.found {
            let end = self.end;
            let error = format!(
                "the file ends at {end}, but {at} bytes were written to it: something other than \
                 this process changed it"
            );
            return Err(Trouble::Lost(io::Error::other(error)));
        }
        assert_eq!(
            self.end, at,
            "an append to {file:?} must start at the end of the file, as the core counts it"
        );
        Ok(())
    }
}

/// Why an operation was not done.
#[derive(Debug)]
enum Trouble {
    /// The operating system said no.
    Os(io::Error),
    /// It would have to wait for the device, and this phase must not.
    Device,
    /// Earlier writes that were believed to be on their way to the disk were lost.
    Lost(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Os(error)
    }
}

/// A directory's contents; see [`DiskDone::Listed`].
#[derive(Debug, Default)]
struct Listing {
    files: Vec<(FileKind, u64)>,
    dirs: Vec<String>,
    strangers: u32,
}

/// Why the head of the queue was not done and stays there.
#[derive(Debug)]
enum Stuck {
    /// It needs the phase that may wait for the device.
    Device,
    /// Descriptors, memory or space are used up.
    Exhausted(io::Error),
}

/// A directory. At most one thread works on it at a time.
#[derive(Debug)]
pub(super) struct Directory {
    common: Arc<Common>,
    path: PathBuf,
    is_root: bool,
    pub(super) queue: VecDeque<DiskOp>,
    files: BTreeMap<FileKind, Handle>,
    /// Files whose write or sync failed: no later operation on them succeeds.
    failed: BTreeMap<FileKind, DiskError>,
    /// Files with a pending sync, and the generation of the latest request.
    pending: BTreeMap<FileKind, (FileId, u32)>,
    /// The head of the queue needs the phase that may wait for the device.
    needs_device: bool,
    may_wait: bool,
    /// Something is used up: the time to wait before the next try.
    delay: Option<Duration>,
    /// The head of the queue was refused because of exhaustion, not a postponed sync.
    head_waits_for_room: bool,
    /// The directory was created, and its parent has not been synced since.
    unsynced_name: bool,
    /// Removed and not opened again.
    removed: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // During a panic a file may still be lent.
        if !std::thread::panicking() {
            self.forget_all();
        }
    }
}

impl Directory {
    pub(super) fn new(common: Arc<Common>, name: &str) -> Directory {
        let root = &common.root;
        let path = if name.is_empty() { root.to_path_buf() } else { root.join(name) };
        Directory {
            common,
            path,
            is_root: name.is_empty(),
            queue: VecDeque::new(),
            files: BTreeMap::new(),
            failed: BTreeMap::new(),
            pending: BTreeMap::new(),
            needs_device: false,
            may_wait: false,
            delay: None,
            head_waits_for_room: false,
            unsynced_name: false,
            removed: false,
        }
    }

    /// Whether it was removed and has nothing left to do.
    pub(super) fn is_gone(&self) -> bool {
        self.removed && self.is_idle()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.pending.is_empty()
    }

    /// Whether the next piece of work must wait for the device.
    pub(super) fn wants_slow(&self) -> bool {
        if self.needs_device || (self.head_waits_for_room && !self.pending.is_empty()) {
            return true;
        }
        match self.queue.front() {
            None => !self.pending.is_empty(),
            Some(op) => waits_for_device(op) || (!self.pending.is_empty() && is_barrier(op)),
        }
    }

    /// Whether acknowledgements, or the node itself, wait for it. Creating and removing many
    /// directories is never urgent.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_root || self.pending.keys().any(|kind| matches!(kind, FileKind::Log(_)))
    }

    /// How long it has to wait because something is used up, if at all.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay.filter(|_| !self.is_idle())
    }

    /// Runs operations up to the next one that has to wait, for the device or because of
    /// exhaustion.
    pub(super) fn run_fast(&mut self, done: &mut Vec<DiskDone>) {
        while !self.wants_slow() {
            let Some(op) = self.queue.pop_front() else { break };
            if !self.try_one(op, done) {
                break;
            }
        }
    }

    /// Does the postponed syncs, each file once, and then one waiting operation of the queue.
    pub(super) fn run_slow(&mut self, done: &mut Vec<DiskDone>) {
        self.may_wait = true;
        let head_waits = std::mem::take(&mut self.needs_device)
            || self.queue.front().is_some_and(waits_for_device);
        if self.sync_pending(done)
            && head_waits
            && let Some(op) = self.queue.pop_front()
        {
            self.try_one(op, done);
        }
        self.may_wait = false;
    }

    /// Returns whether all are done.
    fn sync_pending(&mut self, done: &mut Vec<DiskDone>) -> bool {
        while let Some((kind, (file, generation))) = self.pending.pop_first() {
            if let Err(stuck) = self.sync_file(file, generation, done) {
                self.pending.insert(kind, (file, generation));
                self.stuck(stuck);
                return false;
            }
            // That does not make room for the head of the queue.
            if !self.head_waits_for_room {
                self.relieved();
            }
        }
        true
    }

    /// Returns whether the operation ended, in success or failure. If not, it is back at the head
    /// of the queue.
    fn try_one(&mut self, op: DiskOp, done: &mut Vec<DiskDone>) -> bool {
        match self.execute(op, done) {
            Ok(()) => {
                self.head_waits_for_room = false;
                self.relieved();
                true
            }
            Err((op, stuck)) => {
                self.queue.push_front(op);
                self.head_waits_for_room = matches!(stuck, Stuck::Exhausted(_));
                self.stuck(stuck);
                if self.head_waits_for_room {
                    self.let_reads_pass(done);
                }
                false
            }
        }
    }

    /// Runs the reads that have only appends and syncs in front of them.
    fn let_reads_pass(&mut self, done: &mut Vec<DiskDone>) {
        let mut at = 0;
        while let Some(op) = self.queue.get(at).filter(|op| !is_barrier(op)) {
            if !matches!(op, DiskOp::Read { .. }) {
                at += 1;
                continue;
            }
            let op = self.queue.remove(at).expect("just seen");
            if let Err((op, _)) = self.execute(op, done) {
                // It waits for the same resource, or for the other phase.
                self.queue.insert(at, op);
                return;
            }
        }
    }

    fn stuck(&mut self, stuck: Stuck) {
        match stuck {
            Stuck::Device => self.needs_device = true,
            Stuck::Exhausted(error) => {
                if self.delay.is_none() {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "disk operations wait: a resource is exhausted");
                }
                self.delay =
                    Some(self.delay.map_or(RETRY_FIRST, |delay| (delay * 2).min(RETRY_LAST)));
            }
        }
    }

    fn relieved(&mut self) {
        if self.delay.take().is_some() {
            tracing::info!(
                path = %self.path.display(),
                "disk operations continue: the resource is available again"
            );
        }
    }

    /// Drops the operations that still wait for room when the process ends.
    pub(super) fn give_up(&mut self) {
        let operations = self.queue.len() + self.pending.len();
        let path = self.path.display();
        tracing::error!(
            %path,
            operations,
            "disk operations dropped at the end of the process: the resource is still exhausted"
        );
        for op in self.queue.drain(..) {
            if let DiskOp::Append { bytes, .. } = op {
                self.common.backlog.taken(length(&bytes));
            }
        }
        self.pending.clear();
        self.delay = None;
        self.head_waits_for_room = false;
    }

    fn execute(&mut self, op: DiskOp, done: &mut Vec<DiskDone>) -> Result<(), (DiskOp, Stuck)> {
        let (file, kind, tried) = match op {
            DiskOp::Append { file, generation, at, bytes } => {
                return self.append(file, generation, at, bytes, done);
            }
            DiskOp::Sync { file, generation } => {
                self.pending.insert(file.kind, (file, generation));
                return Ok(());
            }
            DiskOp::OpenDir { dir, .. } => {
                let tried = self.open_and_list().map(|Listing { files, dirs, strangers }| {
                    done.push(DiskDone::Listed { dir, files, dirs, strangers });
                });
                (whole(dir), DiskOpKind::OpenDir, tried)
            }
            DiskOp::Create { file, .. } => {
                self.failed.remove(&file.kind);
                (file, DiskOpKind::Create, self.create(file.kind))
            }
            DiskOp::Truncate { file, to, .. } => {
                if self.refuse_failed(file, DiskOpKind::Truncate, done) {
                    return Ok(());
                }
                (file, DiskOpKind::Truncate, self.truncate(file.kind, to))
            }
            DiskOp::Rename { dir, from, to } => {
                let file = FileId { dir, kind: from };
                if self.refuse_failed(file, DiskOpKind::Namespace, done) {
                    return Ok(());
                }
                (file, DiskOpKind::Namespace, self.rename(from, to))
            }
            DiskOp::Unlink { file } => (file, DiskOpKind::Namespace, self.unlink(file.kind)),
            DiskOp::SyncDir { dir, by, serial } => {
                if self.refuse_failed(whole(dir), DiskOpKind::Sync, done) {
                    return Ok(());
                }
                (whole(dir), DiskOpKind::Sync, self.sync_names(dir, by, serial, done))
            }
            DiskOp::RenameDir { dir, ref name } => {
                let renamed =
                    self.rename_all(name).map(|()| done.push(DiskDone::DirRenamed { dir }));
                (whole(dir), DiskOpKind::Namespace, renamed)
            }
            DiskOp::RemoveDir { dir } => (whole(dir), DiskOpKind::Namespace, self.remove()),
            DiskOp::Read { tag, file, at, len } => {
                let read = self.read(file.kind, at, len).map(|bytes| {
                    done.push(DiskDone::Read { tag, file, at, bytes });
                });
                // The next sync reports the loss. What is there can be read.
                if let Err(Trouble::Lost(_)) = read {
                    return self.execute(op, done);
                }
                (file, DiskOpKind::Read, read)
            }
        };
        match tried {
            Ok(()) => Ok(()),
            Err(trouble) => match self.fails(file, kind, trouble, done) {
                None => Ok(()),
                Some(stuck) => Err((op, stuck)),
            },
        }
    }

    /// Reports a failure to the core, unless the operation may yet succeed.
    fn fails(
        &mut self,
        file: FileId,
        op: DiskOpKind,
        trouble: Trouble,
        done: &mut Vec<DiskDone>,
    ) -> Option<Stuck> {
        match trouble {
            Trouble::Device => Some(Stuck::Device),
            Trouble::Os(error) if is_exhaustion(&error) => Some(Stuck::Exhausted(error)),
            Trouble::Os(error) | Trouble::Lost(error) => {
                self.fail(file, op, &error, done);
                None
            }
        }
    }

    fn open_and_list(&mut self) -> Result<Listing, Trouble> {
        if !self.path.is_dir() {
            super::create_directory(&self.path)?;
            self.unsynced_name = true;
        }
        // A power loss that removes the directory would remove every synced file in it.
        if self.unsynced_name {
            self.sync_root()?;
            self.unsynced_name = false;
        }
        self.removed = false;
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                self.ignore(&entry, "ignored: the name is not UTF-8", &mut listing);
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It was renamed or removed meanwhile.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if metadata.is_dir() && self.is_root {
                listing.dirs.push(name);
            } else if metadata.is_file()
                && let Some(kind) = FileKind::parse(&name)
            {
                let length = self.files.get(&kind).map_or(metadata.len(), |open| open.end);
                listing.files.push((kind, length));
            } else if !(self.is_root && name == super::LOCK_FILE) {
                self.ignore(&entry, "ignored: not a file of this server", &mut listing);
            }
        }
        listing.files.sort_unstable();
        listing.dirs.sort_unstable();
        Ok(listing)
    }

    fn ignore(&self, entry: &fs::DirEntry, why: &'static str, listing: &mut Listing) {
        tracing::warn!(path = %entry.path().display(), "{why}");
        listing.strangers += u32::from(!self.is_root);
    }

    fn sync_root(&self) -> Result<(), Trouble> {
        self.common.root_sync.sync(&self.common.root).map_err(of_sync)
    }

    /// One sync serves all directory syncs that are next in the queue.
    fn sync_names(
        &mut self,
        dir: DirId,
        by: FileKind,
        serial: u32,
        done: &mut Vec<DiskDone>,
    ) -> Result<(), Trouble> {
        if self.is_root {
            self.sync_root()?;
        } else {
            sys::sync_directory(&self.path).map_err(of_sync)?;
        }
        done.push(DiskDone::DirSynced { dir, by, serial });
        while let Some(&DiskOp::SyncDir { dir, by, serial }) = self.queue.front() {
            self.queue.pop_front();
            done.push(DiskDone::DirSynced { dir, by, serial });
        }
        Ok(())
    }

    fn rename(&mut self, from: FileKind, to: FileKind) -> Result<(), Trouble> {
        fs::rename(self.path.join(from.name()), self.path.join(to.name()))?;
        if from != to {
            self.forget(to);
            self.failed.remove(&to);
            if let Some(open) = self.files.remove(&from) {
                self.files.insert(to, open);
            }
        }
        Ok(())
    }

    fn unlink(&mut self, kind: FileKind) -> Result<(), Trouble> {
        absent_is_fine(fs::remove_file(self.path.join(kind.name())))?;
        self.forget(kind);
        self.failed.remove(&kind);
        Ok(())
    }

    /// Removes the directory and our files in it. Foreign files stay, and then so does the
    /// directory.
    fn remove(&mut self) -> Result<(), Trouble> {
        assert!(!self.is_root, "the log directory itself is never removed");
        self.forget_all();
        self.removed = true;
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| FileKind::parse(name).is_some())
                && !entry.file_type()?.is_dir()
            {
                absent_is_fine(fs::remove_file(entry.path()))?;
            }
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let path = self.path.display();
                tracing::warn!(%path, "directory kept: it holds other files. Move or remove them");
                Ok(())
            }
            removed => absent_is_fine(removed),
        }
    }

    /// Operations under the new name belong to another lane, which opens the files anew. All syncs
    /// submitted before the rename are done. Unsynced writes are in the page cache and belong to
    /// the file, not to the descriptor, so a sync under the new name covers them.
    fn rename_all(&mut self, name: &str) -> Result<(), Trouble> {
        assert!(!self.is_root, "the log directory itself has no other name");
        fs::rename(&self.path, self.common.root.join(name))?;
        self.forget_all();
        self.removed = true;
        Ok(())
    }

    fn create(&mut self, kind: FileKind) -> Result<(), Trouble> {
        self.forget(kind);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(super::FILE_MODE);
        // The file is empty, so no unsynced write can be lost with its descriptor.
        let lent = self.open_file(kind, &options)?;
        self.give_back(kind, lent);
        Ok(())
    }

    fn open_file(&self, kind: FileKind, options: &OpenOptions) -> Result<Lent, Trouble> {
        let files = &self.common.files;
        let room = files.room(self.may_wait).ok_or(Trouble::Device)?;
        let path = self.path.join(kind.name());
        let mut file = loop {
            match options.open(&path) {
                Ok(file) => break file,
                Err(error) if sys::wants_descriptor(&error) && files.give_way() => {}
                Err(error) => return Err(error.into()),
            }
        };
        let end = file.seek(SeekFrom::End(0))?;
        Ok(Lent { key: files.opened(room), file, end, dirty: false, found: true })
    }

    fn take(&mut self, kind: FileKind) -> Result<Lent, Trouble> {
        while let Some(Handle { key, end }) = self.files.get(&kind).copied() {
            match self.common.files.take(key) {
                Taken::Open(file, dirty) => {
                    return Ok(Lent { key, file, end, dirty, found: false });
                }
                Taken::Closed => {
                    self.files.remove(&kind);
                }
                Taken::Busy if self.may_wait => self.common.files.wait(key),
                Taken::Busy => return Err(Trouble::Device),
                Taken::Failed(error) => {
                    self.files.remove(&kind);
                    self.failed.insert(kind, classify(&error));
                    return Err(Trouble::Lost(error));
                }
            }
        }
        self.open_file(kind, OpenOptions::new().read(true).write(true))
    }

    fn give_back(&mut self, kind: FileKind, lent: Lent) {
        self.files.insert(kind, Handle { key: lent.key, end: lent.end });
        self.common.files.put(lent.key, lent.file, lent.dirty);
    }

    fn with<T>(
        &mut self,
        kind: FileKind,
        act: impl FnOnce(&mut Lent) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut lent = self.take(kind)?;
        let result = act(&mut lent);
        self.give_back(kind, lent);
        result
    }

    /// Joins the appends to the same file that are next in the queue into one write.
    fn append(
        &mut self,
        file: FileId,
        generation: u32,
        at: u64,
        bytes: Vec<Bytes>,
        done: &mut Vec<DiskDone>,
    ) -> Result<(), (DiskOp, Stuck)> {
        let mut end = at + length(&bytes);
        let mut parts = VecDeque::from(bytes);
        while let Some(DiskOp::Append { file: next, generation: also, at: next_at, bytes }) =
            self.queue.front_mut()
        {
            if *next != file || *also != generation || *next_at != end {
                break;
            }
            end += length(bytes);
            parts.extend(bytes.drain(..));
            self.queue.pop_front();
        }
        if self.refuse_failed(file, DiskOpKind::Append, done) {
            self.common.backlog.taken(end - at);
            return Ok(());
        }
        let mut upto = at;
        let written = self.with(file.kind, |lent| {
            lent.must_end_at(at, file)?;
            lent.dirty = true;
            let written = sys::write_parts(&mut lent.file, &mut parts);
            upto = end - parts.iter().map(|part| part.len() as u64).sum::<u64>();
            lent.end = upto;
            Ok(written?)
        });
        self.common.backlog.taken(upto - at);
        let trouble = match written {
            Ok(()) => {
                done.push(DiskDone::Written { file, generation, upto: end });
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        match self.fails(file, DiskOpKind::Append, trouble, done) {
            None => {
                self.common.backlog.taken(end - upto);
                Ok(())
            }
            Some(stuck) => {
                let bytes = Vec::from(parts);
                Err((DiskOp::Append { file, generation, at: upto, bytes }, stuck))
            }
        }
    }

    fn truncate(&mut self, kind: FileKind, to: u64) -> Result<(), Trouble> {
        self.with(kind, |lent| {
            let end = lent.end;
            if to > end && lent.found {
                let error = format!("the file ends at {end}, before the truncation at {to}");
                return Err(Trouble::Lost(io::Error::other(error)));
            }
            assert!(to <= end, "a truncation must not lengthen {kind:?} from {end} to {to}");
            lent.dirty = true;
            lent.file.set_len(to)?;
            lent.end = to;
            lent.file.seek(SeekFrom::Start(to))?;
            Ok(())
        })
    }

    fn sync_file(
        &mut self,
        file: FileId,
        generation: u32,
        done: &mut Vec<DiskDone>,
    ) -> Result<(), Stuck> {
        if self.refuse_failed(file, DiskOpKind::Sync, done) {
            return Ok(());
        }
        let synced = self.with(file.kind, |lent| {
            lent.dirty = false;
            // Whatever the reason for the error, the kernel may now count pages as clean that it
            // could not write.
            lent.file.sync_data().map_err(Trouble::Lost)?;
            Ok(lent.end)
        });
        match synced {
            Ok(upto) => done.push(DiskDone::Synced { file, generation, upto }),
            Err(trouble) => {
                if let Some(stuck) = self.fails(file, DiskOpKind::Sync, trouble, done) {
                    return Err(stuck);
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, kind: FileKind, at: u64, len: u32) -> Result<Bytes, Trouble> {
        self.with(kind, |lent| {
            let len = lent.end.saturating_sub(at).min(u64::from(len));
            let mut buffer = vec![0; len as usize];
            let mut filled = 0;
            while filled < buffer.len() {
                match lent.file.read_at(&mut buffer[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            buffer.truncate(filled);
            Ok(Bytes::from(buffer))
        })
    }

    /// A failed file stays failed: after a failed sync the kernel marks the pages clean, and a
    /// second sync would succeed without having written them (fsyncgate).
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

    fn forget(&mut self, kind: FileKind) {
        if let Some(handle) = self.files.remove(&kind) {
            self.common.files.forget(handle.key);
        }
    }

    fn forget_all(&mut self) {
        while let Some((_, handle)) = self.files.pop_first() {
            self.common.files.forget(handle.key);
        }
        self.failed.clear();
    }
}

/// The file named in the failure of an operation on a whole directory.
fn whole(dir: DirId) -> FileId {
    FileId { dir, kind: FileKind::CleanShutdown }
}

/// A file to be removed may already be gone.
fn absent_is_fine(removed: io::Result<()>) -> Result<(), Trouble> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn of_sync(error: SyncError) -> Trouble {
    match error {
        SyncError::Open(error) => Trouble::Os(error),
        SyncError::Sync(error) => Trouble::Lost(error),
    }
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

/// Whether it must not run before the syncs submitted earlier.
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

pub(super) fn length(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

#[cfg(test)]
mod tests;
