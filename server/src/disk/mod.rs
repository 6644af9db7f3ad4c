//! The disk: a small pool of threads that executes operations off the core thread.
//!
//! Operations on one directory run in the order of submission; directories are independent. At
//! least one thread never waits for the device, so that a read or a write of one directory does
//! not stand behind the sync of another. What an operation does lives in `directory`.

mod data_dir;
mod directory;

pub use data_dir::DataDir;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use wavetank_core::env::DiskOp;
use wavetank_core::event::Event;
use wavetank_core::types::DirId;

use crate::limits::AbortOnPanic;
use directory::{Directory, OpenFiles};

/// The file whose lock says that a process uses the data directory.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Records are for whoever runs the node, whatever the umask would leave to others.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Creates a directory, and those above it that are missing.
fn create_directories(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Threads of the pool; all but one may wait for the device at a time.
const THREADS: usize = 4;

/// The pool. Dropping it finishes what was submitted and ends the threads.
#[derive(Debug)]
pub struct DiskPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Queues are kept by name: what was submitted for a name is done in that order, whoever holds
    /// it by now.
    names: BTreeMap<DirId, Arc<str>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    root: Arc<Path>,
    open_files: Arc<OpenFiles>,
    inbox: Sender<Event>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Lanes with work that no thread has taken; each at most once.
    ready: VecDeque<Arc<str>>,
    /// Threads that wait for the device.
    slow: usize,
    stopping: bool,
}

#[derive(Debug)]
struct Lane {
    /// Away while a thread works on it.
    directory: Option<Directory>,
    /// What came in meanwhile.
    incoming: VecDeque<DiskOp>,
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
    pub fn start(data: &DataDir, inbox: Sender<Event>) -> std::io::Result<DiskPool> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            root: Arc::from(data.path()),
            open_files: Arc::new(OpenFiles {
                open: AtomicUsize::new(0),
                wanted_at_most: crate::limits::file_descriptors() / 4,
            }),
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
            let name = self.names.get(&dir).unwrap_or_else(|| {
                panic!("the core used directory {dir} before opening it: {op:?}")
            });
            let name = Arc::clone(name);
            match &op {
                DiskOp::RemoveDir { .. } => {
                    self.names.remove(&dir);
                }
                // Nothing more comes for it before the new name is there, and then in a queue of
                // that name: one of the old name may be opened under another id.
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
            let shared = &self.shared;
            let lane = state.lanes.entry(Arc::clone(&name)).or_insert_with(|| Lane {
                directory: Some(Directory::new(
                    Arc::clone(&shared.root),
                    &name,
                    Arc::clone(&shared.open_files),
                )),
                incoming: VecDeque::new(),
            });
            match &mut lane.directory {
                Some(directory) => {
                    let was_idle = directory.is_idle();
                    directory.queue.push_back(op);
                    if was_idle {
                        state.ready.push_back(name);
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
            // A panicked thread has ended the process already.
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
    /// Takes the first lane whose next work may be done now.
    fn pick(&mut self) -> Option<(Arc<str>, Directory, bool)> {
        let may_wait = self.slow + 1 < THREADS;
        let lanes = &self.lanes;
        let index = self.ready.iter().position(|name| {
            may_wait
                || lanes
                    .get(name)
                    .and_then(|lane| lane.directory.as_ref())
                    .is_some_and(|directory| !directory.wants_slow())
        })?;
        let name = self.ready.remove(index).expect("the index was just found");
        let lane = self.lanes.get_mut(&name).expect("a ready lane exists");
        let directory = lane.directory.take().expect("a ready lane is not being worked on");
        let slow = directory.wants_slow();
        self.slow += usize::from(slow);
        Some((name, directory, slow))
    }

    fn put_back(&mut self, name: Arc<str>, mut directory: Directory, slow: bool) {
        self.slow -= usize::from(slow);
        let lane = self.lanes.get_mut(&name).expect("a lane in work exists");
        directory.queue.append(&mut lane.incoming);
        if directory.is_gone() {
            self.lanes.remove(&name);
            return;
        }
        let idle = directory.is_idle();
        lane.directory = Some(directory);
        if !idle {
            self.ready.push_back(name);
        }
    }
}

fn work(shared: &Shared) {
    let _guard = AbortOnPanic("disk");
    let mut state = shared.lock();
    let mut done = Vec::new();
    loop {
        let Some((name, mut directory, slow)) = state.pick() else {
            if state.stopping && state.ready.is_empty() {
                return;
            }
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        if slow {
            directory.run_slow(&mut done);
        } else {
            directory.run_fast(&mut done);
        }
        for one in done.drain(..) {
            // The core is gone when the process ends; then nobody needs to know.
            let _ = shared.inbox.send(Event::Disk(one));
        }
        state = shared.lock();
        state.put_back(name, directory, slow);
        if !state.ready.is_empty() {
            shared.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::env::{FileId, FileKind};
    use wavetank_core::event::DiskDone;

    fn open_files() -> Arc<OpenFiles> {
        Arc::new(OpenFiles { open: AtomicUsize::new(0), wanted_at_most: 10 })
    }

    #[test]
    fn one_thread_never_waits_for_the_device() {
        let mut state = State::default();
        let dir = DirId(2);
        let kind = FileKind::LeaderEpochs;
        let slow = DiskOp::SyncDir { dir, by: kind, serial: 1 };
        let fast = DiskOp::Unlink { file: FileId { dir, kind } };
        let root: Arc<Path> = Arc::from(Path::new("/nonexistent"));
        let all = [("a", &slow), ("b", &slow), ("c", &slow), ("d", &slow), ("e", &fast)];
        for (name, op) in all {
            let name: Arc<str> = Arc::from(name);
            let mut directory = Directory::new(Arc::clone(&root), &name, open_files());
            directory.queue.push_back(op.clone());
            let lane = Lane { directory: Some(directory), incoming: VecDeque::new() };
            state.lanes.insert(Arc::clone(&name), lane);
            state.ready.push_back(name);
        }
        let mut taken = Vec::new();
        while let Some((name, directory, slow)) = state.pick() {
            taken.push((name, directory, slow));
        }
        let names: Vec<&str> = taken.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(names, ["a", "b", "c", "e"], "d would be the fourth to wait");
        let (name, mut directory, slow) = taken.remove(0);
        directory.queue.clear();
        state.put_back(name, directory, slow);
        assert_eq!(state.pick().map(|(name, ..)| name).as_deref(), Some("d"));
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
}
