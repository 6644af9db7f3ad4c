//! The disk: a small pool of threads that executes operations off the core thread.
//!
//! Operations on one directory run in the order of submission; directories are independent. At
//! least one thread never waits for the device, so a read or write of one directory does not wait
//! behind the sync of another. Work that acknowledgements wait for goes before creating and
//! removing directories. `directory` says what an operation does, `files` which files are open.

mod data_dir;
mod directory;
mod files;
mod sys;

pub use data_dir::DataDir;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use wavetank_core::env::DiskOp;
use wavetank_core::event::Event;
use wavetank_core::types::DirId;

use crate::backlog::Backlog;
use crate::limits::AbortOnPanic;
use directory::{Directory, length};
use files::OpenFiles;
use sys::SharedSync;

/// The file whose lock marks the data directory as in use by a process.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Only the user who runs the node may read records, whatever the umask would allow others.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Creates a directory and its missing parents.
fn create_directories(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Creates a directory in an existing one.
fn create_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path)
}

/// Threads of the pool. All but one may wait for the device at the same time. File systems join
/// concurrent syncs (one journal commit serves them all), so several waiting threads do better than
/// one.
const THREADS: usize = 8;

/// After this many urgent lanes in a row, one that is not urgent gets a turn.
const URGENT_RUN: usize = 8;

/// Bytes that may wait to be written before producers have to wait; see [`Backlog`].
const BACKLOG: u64 = 64 << 20;

/// The pool. Dropping it finishes what was submitted and ends the threads.
#[derive(Debug)]
pub struct DiskPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Queues are kept by name: operations on a name run in the order of submission, whichever
    /// directory id has the name by now.
    names: BTreeMap<DirId, Arc<str>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    common: Arc<Common>,
    inbox: Sender<Event>,
}

/// What all directories share.
#[derive(Debug)]
struct Common {
    root: Box<Path>,
    files: OpenFiles,
    root_sync: SharedSync,
    backlog: Arc<Backlog>,
}

impl Common {
    fn new(root: &Path, files: usize) -> Common {
        Common {
            root: Box::from(root),
            files: OpenFiles::new(files),
            root_sync: SharedSync::default(),
            backlog: Arc::new(Backlog::new(BACKLOG)),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Lanes with work that no thread has taken. A lane whose class has changed since it was queued
    /// is also in another queue, and is skipped here.
    fast: VecDeque<Arc<str>>,
    urgent: VecDeque<Arc<str>>,
    slow: VecDeque<Arc<str>>,
    /// Lanes that wait because something is used up, and until when.
    delayed: BTreeSet<(Instant, Arc<str>)>,
    /// Threads that wait for the device.
    waiting: usize,
    /// Urgent lanes taken in a row.
    urgent_run: usize,
    stopping: bool,
}

#[derive(Debug)]
struct Lane {
    /// `None` while a thread works on it.
    directory: Option<Directory>,
    /// Operations submitted while a thread works on the directory.
    incoming: VecDeque<DiskOp>,
    /// The queue that it is in.
    queued: Option<Class>,
    /// If it is `Delayed`: until when.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Its next work ends in the page cache.
    Fast,
    /// It waits for the device, and acknowledgements or the node wait for it.
    Urgent,
    /// It waits for the device.
    Slow,
    /// It waits because something is used up.
    Delayed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process, so a poisoned lock is only seen on the way out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskPool {
    /// Starts the threads. Completions go to `inbox` as [`Event::Disk`].
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(data: &DataDir, inbox: Sender<Event>) -> io::Result<DiskPool> {
        DiskPool::with_files(data, inbox, crate::limits::descriptors().files)
    }

    fn with_files(data: &DataDir, inbox: Sender<Event>, files: usize) -> io::Result<DiskPool> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            common: Arc::new(Common::new(data.path(), files)),
            inbox,
        });
        let mut threads = Vec::with_capacity(THREADS);
        for index in 0..THREADS {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("disk-{index}"));
            threads.push(builder.spawn(move || work(&shared))?);
        }
        Ok(DiskPool { shared, threads, names: BTreeMap::new() })
    }

    /// The bytes that wait to be written.
    pub fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.shared.common.backlog)
    }

    /// Queues operations, in order.
    pub fn submit(&mut self, ops: impl IntoIterator<Item = DiskOp>) {
        let mut state = self.shared.lock();
        for op in ops {
            let dir = directory_of(&op);
            if let DiskOp::OpenDir { name, .. } = &op {
                assert!(
                    !name.contains('/') && name != "." && name != "..",
                    "a directory's name is one path component, got {name:?}"
                );
                self.names.insert(dir, Arc::from(name.as_str()));
            }
            if let DiskOp::Append { bytes, .. } = &op {
                self.shared.common.backlog.submitted(length(bytes));
            }
            let name = self.names.get(&dir).unwrap_or_else(|| {
                panic!("the core used directory {dir} before opening it: {op:?}")
            });
            let name = Arc::clone(name);
            match &op {
                DiskOp::RemoveDir { .. } => {
                    self.names.remove(&dir);
                }
                // The core submits nothing more for it until it has the new name, and then to the
                // queue of that name: a directory of the old name may be opened under another id.
                DiskOp::RenameDir { name, .. } => {
                    self.names.insert(dir, Arc::from(name.as_str()));
                }
                DiskOp::OpenDir { .. }
                | DiskOp::Create { .. }
                | DiskOp::Append { .. }
                | DiskOp::Sync { .. }
                | DiskOp::Truncate { .. }
                | DiskOp::Rename { .. }
                | DiskOp::Unlink { .. }
                | DiskOp::SyncDir { .. }
                | DiskOp::Read { .. } => {}
            }
            let lane = state.lanes.entry(Arc::clone(&name)).or_insert_with(|| Lane {
                directory: Some(Directory::new(Arc::clone(&self.shared.common), &name)),
                incoming: VecDeque::new(),
                queued: None,
                until: None,
            });
            let passes = matches!(op, DiskOp::Read { .. });
            match &mut lane.directory {
                Some(directory) => {
                    directory.queue.push_back(op);
                    if passes {
                        state.end_delay(&name);
                    }
                    if state.enqueue(name) {
                        self.shared.work.notify_one();
                    }
                }
                None => lane.incoming.push_back(op),
            }
        }
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in a thread has already ended the process.
            let _ = thread.join();
        }
    }
}

fn directory_of(op: &DiskOp) -> DirId {
    match op {
        DiskOp::OpenDir { dir, .. }
        | DiskOp::Rename { dir, .. }
        | DiskOp::SyncDir { dir, .. }
        | DiskOp::RenameDir { dir, .. }
        | DiskOp::RemoveDir { dir } => *dir,
        DiskOp::Create { file, .. }
        | DiskOp::Append { file, .. }
        | DiskOp::Sync { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Unlink { file }
        | DiskOp::Read { file, .. } => file.dir,
    }
}

impl State {
    /// Puts a lane that has work into its queue. Returns whether it was not in that queue before.
    fn enqueue(&mut self, name: Arc<str>) -> bool {
        let lane = self.lanes.get_mut(&name).expect("a lane with work exists");
        let Some(directory) = &lane.directory else { return false };
        if directory.is_idle() || lane.queued == Some(Class::Delayed) {
            return false;
        }
        let class = match directory.wants_slow() {
            false => Class::Fast,
            true if directory.is_urgent() => Class::Urgent,
            true => Class::Slow,
        };
        if lane.queued == Some(class) {
            return false;
        }
        lane.queued = Some(class);
        match class {
            Class::Fast => self.fast.push_back(name),
            Class::Urgent => self.urgent.push_back(name),
            Class::Slow => self.slow.push_back(name),
            Class::Delayed => unreachable!("not drawn above"),
        }
        true
    }

    /// A read does not wait for room: the head of the queue is retried now, and then lets the read
    /// pass.
    fn end_delay(&mut self, name: &Arc<str>) {
        let lane = self.lanes.get_mut(name).expect("a lane with work exists");
        if lane.queued == Some(Class::Delayed) {
            lane.queued = None;
            let until = lane.until.take().expect("it is delayed until then");
            self.delayed.remove(&(until, Arc::clone(name)));
        }
    }

    /// Puts lanes whose delay is over back into the other queues. On stopping, all of them.
    fn end_delays(&mut self, now: Instant) {
        while let Some((until, _)) = self.delayed.first()
            && (*until <= now || self.stopping)
        {
            let (_, name) = self.delayed.pop_first().expect("just seen");
            self.lanes.get_mut(&name).expect("a delayed lane exists").queued = None;
            self.enqueue(name);
        }
    }

    /// Takes the first lane whose next work may be done now. The flag says whether it may wait for
    /// the device.
    fn pick(&mut self) -> Option<(Arc<str>, Directory, bool)> {
        let slow = self.waiting + 1 < THREADS;
        let order = match (slow, self.urgent_run < URGENT_RUN) {
            (true, true) => [Some(Class::Urgent), Some(Class::Slow), Some(Class::Fast)],
            (true, false) => [Some(Class::Slow), Some(Class::Urgent), Some(Class::Fast)],
            (false, _) => [Some(Class::Fast), None, None],
        };
        order.into_iter().flatten().find_map(|class| self.take(class))
    }

    fn take(&mut self, class: Class) -> Option<(Arc<str>, Directory, bool)> {
        loop {
            let name = match class {
                Class::Fast => self.fast.pop_front(),
                Class::Urgent => self.urgent.pop_front(),
                Class::Slow => self.slow.pop_front(),
                Class::Delayed => None,
            }?;
            let Some(lane) = self.lanes.get_mut(&name) else { continue };
            if lane.queued != Some(class) {
                continue;
            }
            let directory = lane.directory.take().expect("a ready lane is not being worked on");
            lane.queued = None;
            self.urgent_run = match class {
                Class::Urgent => self.urgent_run + 1,
                Class::Slow => 0,
                Class::Fast | Class::Delayed => self.urgent_run,
            };
            let slow = class != Class::Fast;
            self.waiting += usize::from(slow);
            return Some((name, directory, slow));
        }
    }

    fn put_back(&mut self, name: Arc<str>, mut directory: Directory, slow: bool) {
        self.waiting -= usize::from(slow);
        let lane = self.lanes.get_mut(&name).expect("a lane in work exists");
        let passes = lane.incoming.iter().any(|op| matches!(op, DiskOp::Read { .. }));
        directory.queue.append(&mut lane.incoming);
        if directory.is_gone() {
            self.lanes.remove(&name);
            return;
        }
        if directory.delay().is_some() && self.stopping {
            directory.give_up();
        }
        let delay = directory.delay();
        lane.directory = Some(directory);
        match delay.filter(|_| !passes) {
            None => {
                self.enqueue(name);
            }
            Some(delay) => {
                lane.queued = Some(Class::Delayed);
                let until = Instant::now() + delay;
                lane.until = Some(until);
                self.delayed.insert((until, name));
            }
        }
    }

    fn is_ready(&self) -> bool {
        !(self.fast.is_empty() && self.urgent.is_empty() && self.slow.is_empty())
    }
}

fn work(shared: &Shared) {
    let _guard = AbortOnPanic("disk");
    let mut state = shared.lock();
    let mut done = Vec::new();
    loop {
        state.end_delays(Instant::now());
        let Some((name, mut directory, slow)) = state.pick() else {
            if state.stopping && !state.is_ready() && state.delayed.is_empty() {
                return;
            }
            let first = state.delayed.first().map(|(until, _)| *until);
            state = match first {
                None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let patience = until.saturating_duration_since(Instant::now());
                    let woken = shared.work.wait_timeout(state, patience);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            continue;
        };
        drop(state);
        if slow {
            directory.run_slow(&mut done);
        } else {
            directory.run_fast(&mut done);
        }
        for one in done.drain(..) {
            // The core is gone when the process ends; then nobody needs the completion.
            let _ = shared.inbox.send(Event::Disk(one));
        }
        state = shared.lock();
        state.put_back(name, directory, slow);
        if state.is_ready() || !state.delayed.is_empty() {
            shared.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wavetank_core::env::{FileId, FileKind};
    use wavetank_core::event::{DiskDone, ReadTag};
    use wavetank_core::types::Offset;

    fn state_with(lanes: &[(&str, &DiskOp)]) -> State {
        let mut state = State::default();
        let common = Arc::new(Common::new(Path::new("/nonexistent"), 10));
        for (name, op) in lanes {
            let name: Arc<str> = Arc::from(*name);
            let mut directory = Directory::new(Arc::clone(&common), &name);
            directory.queue.push_back((*op).clone());
            let lane = Lane {
                directory: Some(directory),
                incoming: VecDeque::new(),
                queued: None,
                until: None,
            };
            state.lanes.insert(Arc::clone(&name), lane);
            assert!(state.enqueue(name));
        }
        state
    }

    #[test]
    fn one_thread_never_waits_for_the_device() {
        let dir = DirId(2);
        let kind = FileKind::LeaderEpochs;
        let slow = DiskOp::SyncDir { dir, by: kind, serial: 1 };
        let fast = DiskOp::Unlink { file: FileId { dir, kind } };
        let names: Vec<String> = (0..THREADS).map(|i| format!("slow-{i}")).collect();
        let mut lanes: Vec<(&str, &DiskOp)> =
            names.iter().map(|name| (name.as_str(), &slow)).collect();
        lanes.push(("fast", &fast));
        let mut state = state_with(&lanes);
        let mut taken = Vec::new();
        while let Some((name, directory, slow)) = state.pick() {
            taken.push((name, directory, slow));
        }
        let slow = taken.iter().filter(|(.., slow)| *slow).count();
        assert_eq!(slow, THREADS - 1, "one more would leave no thread for the others");
        assert!(taken.iter().any(|(name, ..)| &**name == "fast"));
        let (name, mut directory, slow) = taken.remove(0);
        directory.queue.clear();
        state.put_back(name, directory, slow);
        let next = state.pick().map(|(name, ..)| name);
        assert_eq!(next.as_deref(), Some(names[THREADS - 1].as_str()));
    }

    #[test]
    fn the_root_goes_before_others_but_not_for_ever() {
        let sync = DiskOp::SyncDir { dir: DirId(2), by: FileKind::LeaderEpochs, serial: 1 };
        let mut state = state_with(&[("a", &sync), ("", &sync)]);
        let mut order = Vec::new();
        for _ in 0..URGENT_RUN + 1 {
            let (name, mut directory, slow) = state.pick().expect("there is work");
            order.push(name.to_string());
            if name.is_empty() {
                directory.queue.push_back(sync.clone());
            } else {
                directory.queue.clear();
            }
            state.put_back(name, directory, slow);
        }
        let mut expected = vec![String::new(); URGENT_RUN];
        expected.push("a".into());
        assert_eq!(order, expected);
    }

    #[test]
    fn a_lane_whose_class_changes_is_taken_once() {
        let (dir, kind) = (DirId(2), FileKind::LeaderEpochs);
        let file = FileId { dir, kind };
        let mut state = state_with(&[("a", &DiskOp::Sync { file, generation: 0 })]);
        let (name, mut directory, slow) = state.pick().expect("a sync to note");
        directory.run_fast(&mut Vec::new());
        state.put_back(name, directory, slow);
        // The sync waits for the device. The read that comes now does not, and goes first.
        let lane = state.lanes.get_mut("a").expect("it is there");
        let read = DiskOp::Read { tag: ReadTag::Fetch(reply()), file, at: 0, len: 1 };
        lane.directory.as_mut().expect("at rest").queue.push_back(read);
        assert!(state.enqueue(Arc::from("a")));
        assert!(matches!(state.pick(), Some((_, _, false))));
        assert!(state.pick().is_none());
    }

    fn reply() -> wavetank_core::event::ReplyTo {
        let connection = wavetank_core::event::ConnectionId(1);
        wavetank_core::event::ReplyTo { connection, number: 1 }
    }

    #[test]
    fn removed_directories_are_forgotten() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(temporary.path()).expect("it is ours");
        let (inbox, events) = std::sync::mpsc::channel();
        let mut pool = DiskPool::start(&data, inbox).expect("threads");
        for round in 0..20 {
            let dir = DirId(2 + round);
            let rename = DiskOp::RenameDir { dir, name: format!("t-0.{round}-delete") };
            pool.submit([DiskOp::OpenDir { dir, name: "t-0".into() }, rename]);
            let listed = events.recv().expect("a listing");
            assert!(matches!(listed, Event::Disk(DiskDone::Listed { .. })), "{listed:?}");
            let renamed = events.recv().expect("a new name");
            assert_eq!(renamed, Event::Disk(DiskDone::DirRenamed { dir }));
            pool.submit([DiskOp::RemoveDir { dir }]);
        }
        pool.submit([DiskOp::OpenDir { dir: DirId::ROOT, name: String::new() }]);
        events.recv().expect("a listing");
        let shared = Arc::clone(&pool.shared);
        drop(pool);
        let lanes: Vec<String> = shared.lock().lanes.keys().map(|name| name.to_string()).collect();
        assert_eq!(lanes, [""], "only the root is left");
    }

    /// Many more files than descriptors, all used in turn and none of them synced.
    #[test]
    fn a_few_descriptors_serve_any_number_of_files() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(temporary.path()).expect("it is ours");
        let (inbox, events) = std::sync::mpsc::channel();
        let mut pool = DiskPool::with_files(&data, inbox, 5).expect("threads");
        let dirs: Vec<DirId> = (2..42).map(DirId).collect();
        let files = || {
            dirs.iter().flat_map(|dir| {
                [FileKind::Log(Offset(0)), FileKind::OffsetIndex(Offset(0))]
                    .map(|kind| FileId { dir: *dir, kind })
            })
        };
        for dir in &dirs {
            pool.submit([DiskOp::OpenDir { dir: *dir, name: format!("t-{dir}") }]);
        }
        for file in files() {
            pool.submit([DiskOp::Create { file, generation: 0 }]);
        }
        for round in 0..5 {
            for file in files() {
                let bytes = vec![Bytes::from(format!("{round}{}", file.dir.0 % 10))];
                pool.submit([DiskOp::Append { file, generation: 0, at: round * 2, bytes }]);
            }
            assert!(pool.shared.common.files.open() <= 5);
        }
        for file in files() {
            let read = DiskOp::Read { tag: ReadTag::Recovery, file, at: 0, len: 100 };
            pool.submit([read, DiskOp::Sync { file, generation: 0 }]);
        }
        let (mut reads, mut syncs) = (0, 0);
        while reads < 80 || syncs < 80 {
            match events.recv().expect("completions") {
                Event::Disk(DiskDone::Read { file, bytes, .. }) => {
                    let digit = file.dir.0 % 10;
                    let text: String = (0..5).map(|round| format!("{round}{digit}")).collect();
                    assert_eq!(bytes, text);
                    reads += 1;
                }
                Event::Disk(DiskDone::Synced { upto, .. }) => {
                    assert_eq!(upto, 10);
                    syncs += 1;
                }
                Event::Disk(DiskDone::Failed { file, op, error }) => {
                    panic!("{file:?} {op:?} {error:?}")
                }
                _ => {}
            }
        }
        assert!(pool.shared.common.files.open() <= 5);
    }
}
