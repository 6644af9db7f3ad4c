//! Compares the pool of disk threads with the simulated disk. Both run the same random sequences of
//! operations, and what is compared must be equal. After a kill at a random system call, the files
//! must be in a state that the simulated disk allows.
//!
//! `WAVETANK_SEQUENCES` and `WAVETANK_DISK_KILLS` set how many, `WAVETANK_SEED` the first seed
//! (`ci/kills` runs many).

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::faults::*;
use tempfile::TempDir;
use wavetank_core::env::{DiskOp, FileKind};
use wavetank_core::event::{DiskDone, DiskOpKind, Event};
use wavetank_core::types::DirId;
use wavetank_server::{DataDir, DiskPool, Reactor, ServeError, TokioEnv};
use wavetank_sim::contract::{Act, Contents, Harness, Sequence, Tank, observe};

const CHILD: &str = "WAVETANK_TEST_SEQUENCE";

fn wanted(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A directory in memory if possible: what is compared does not depend on the device.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()),
        false => tempfile::tempdir(),
    }
    .expect("a temporary directory")
}

/// Opens a data directory. A process that another test starts inherits this one's descriptors,
/// locks among them, until it execs: a released lock may be held for a moment longer.
fn opened(data: &Path) -> DataDir {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match DataDir::open(data) {
            Err(ServeError::DataDirLocked { .. }) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            tried => return tried.expect("it is ours"),
        }
    }
}

fn reactor(data: &Path) -> Reactor {
    let (inbox, events) = channel();
    let data = opened(data);
    let disk = DiskPool::start(&data, inbox).expect("threads");
    Reactor::new(events, TokioEnv::new(disk, None, Box::new(|_| {})))
}

/// One node that has only a disk.
struct Pool {
    data: TempDir,
    reactor: Option<Reactor>,
    events: VecDeque<Event>,
}

impl Pool {
    fn new() -> Pool {
        let data = directory();
        let reactor = Some(reactor(data.path()));
        Pool { data, reactor, events: VecDeque::new() }
    }
}

impl Harness for Pool {
    fn act(&mut self, node: usize, act: Act) {
        assert_eq!(node, 0, "there is one");
        let reactor = self.reactor.as_mut().expect("it runs");
        act(reactor.env());
        reactor.flush();
    }

    fn event(&mut self, _node: usize, within: Duration) -> Option<Event> {
        let end = Instant::now() + within;
        while self.events.is_empty() {
            let mut events = Vec::new();
            let left = end.saturating_duration_since(Instant::now());
            self.reactor.as_mut().expect("it runs").wait(Some(left), &mut events);
            self.events.extend(events);
            if left.is_zero() {
                break;
            }
        }
        self.events.pop_front()
    }

    fn restart(&mut self, _node: usize) {
        // Dropping it finishes all submitted operations.
        drop(self.reactor.take());
        self.events.clear();
        self.reactor = Some(reactor(self.data.path()));
    }
}

#[test]
fn the_pool_does_what_the_tank_does() {
    let first = wanted("WAVETANK_SEED", 1);
    let count = wanted("WAVETANK_SEQUENCES", 1500);
    for seed in first..first + count {
        let sequence = Sequence::draw(seed);
        let tank = observe(&mut Tank::new(seed), &sequence);
        let pool = observe(&mut Pool::new(), &sequence);
        assert_eq!(pool, tank, "seed {seed}: left the pool, right the tank; {:#?}", sequence.ops);
    }
}

/// Not a test: the process that runs a sequence until it is killed. It prints each answer, by
/// directory and number.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (data, seed) = arguments.split_once('\n').expect("two arguments");
    let sequence = Sequence::draw(seed.parse().expect("a number"));
    let mut reactor = reactor(Path::new(data));
    let mut answers: BTreeMap<DirId, usize> = BTreeMap::new();
    let (mut submitted, mut answered) = (0, 0);
    let mut events = Vec::new();
    for step in &sequence.steps {
        let ops = &sequence.ops[submitted..submitted + step];
        submitted += step;
        for op in ops {
            wavetank_core::env::Disk::submit(reactor.env(), op.clone());
        }
        let renames = matches!(ops.last(), Some(DiskOp::RenameDir { .. }));
        let all = submitted == sequence.ops.len() || renames;
        loop {
            let patience = if all { Duration::from_secs(10) } else { Duration::ZERO };
            reactor.wait(Some(patience), &mut events);
            answered += tell(&mut answers, &mut events);
            if !all || answered == sequence.answers_until(submitted) {
                break;
            }
        }
    }
    drop(reactor);
    std::process::exit(0);
}

/// Prints the answers among the events, and returns how many there were.
fn tell(answers: &mut BTreeMap<DirId, usize>, events: &mut Vec<Event>) -> usize {
    let mut count = 0;
    for event in events.drain(..) {
        let Event::Disk(done) = event else { continue };
        match done {
            DiskDone::Written { .. }
            | DiskDone::Synced { .. }
            | DiskDone::Failed { op: DiskOpKind::Sync, .. } => {}
            DiskDone::Listed { .. }
            | DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Read { .. }
            | DiskDone::Failed { .. } => {
                let number = answers.entry(done.dir()).or_default();
                *number += 1;
                count += 1;
                println!("\nanswer {} {number}", done.dir().0);
            }
        }
    }
    std::io::stdout().flush().expect("somebody reads it");
    count
}

fn contents(path: PathBuf) -> Option<Contents> {
    let entries = std::fs::read_dir(path).ok()?;
    let files = entries.map(|entry| entry.expect("an entry"));
    let ours = files.filter_map(|file| {
        let kind = FileKind::parse(file.file_name().to_str()?)?;
        Some((kind, Bytes::from(std::fs::read(file.path()).expect("readable"))))
    });
    Some(ours.collect())
}

#[test]
fn what_a_kill_leaves_is_what_the_tank_allows() {
    let Some(faults) = Faults::new() else { return };
    let first = wanted("WAVETANK_SEED", 1);
    let count = wanted("WAVETANK_DISK_KILLS", 60);
    let mut numbers = Numbers(first);
    let mut killed = 0;
    let sequences = (first..).map(|seed| (seed, Sequence::draw(seed)));
    let sequences = sequences.filter(|(_, sequence)| !sequence.reuses_names());
    for (seed, sequence) in sequences.take(count as usize) {
        let data = directory();
        let how = numbers.one_of(&[Action::KillBefore, Action::KillAfter, Action::KillHalf]);
        // The first calls belong to the lock.
        faults.plant(CHANGES, 3 + numbers.below(30) as i64, how, 1);
        let output = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, format!("{}\n{seed}", data.path().display()))
            .envs(faults.environment(data.path()))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("this binary can be started");
        let happened = faults.happened() == 1;
        killed += u64::from(happened);
        let as_expected = match happened {
            true => output.status.signal() == Some(9),
            false => output.status.success(),
        };
        assert!(as_expected, "seed {seed}: {}", output.status);
        let mut answers = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some(rest) = line.strip_prefix("answer ") else { continue };
            // The last line may be incomplete.
            let Some((dir, number)) = rest.split_once(' ') else { continue };
            let (Ok(dir), Ok(number)) = (dir.parse(), number.parse::<usize>()) else { continue };
            let last = answers.entry(DirId(dir)).or_insert(0);
            *last = number.max(*last);
        }
        for (dir, names) in &sequence.names {
            let there = names
                .iter()
                .filter_map(|name| Some((name.clone(), contents(data.path().join(name))?)));
            let found: Vec<(String, Contents)> = there.collect();
            assert!(found.len() <= 1, "seed {seed}: two names of {dir}: {found:?}");
            let found = found.into_iter().next();
            let answers = answers.get(dir).copied().unwrap_or(0);
            if let Err(why) = sequence.check_after_kill(*dir, &found, answers) {
                panic!("seed {seed}, {how:?} at call {}: {why}", faults.counted());
            }
        }
    }
    println!("{killed} of {count} processes were killed at a call");
    assert!(killed * 2 > count, "most are killed: {killed} of {count}");
}
