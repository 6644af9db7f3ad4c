//! Compares the disk with a simple model under random operations and faults: what may be lost, and
//! what never is.

use std::collections::BTreeMap;

use wavetank_core::env::Disk;
use wavetank_core::types::Offset;

use super::*;
use crate::decide::Purpose;

const DIR: DirId = DirId(2);
const FILES: u64 = 3;

fn file(index: u64) -> FileId {
    FileId { dir: DIR, kind: FileKind::Log(Offset(index as i64)) }
}

/// What a careful process knows about a file.
#[derive(Default)]
struct Known {
    /// The content and generation that it submitted.
    content: Vec<u8>,
    generation: u32,
    /// The `Written` and `Synced` watermarks of the current generation.
    written: u64,
    synced: u64,
    /// A truncation that no sync has covered: a power loss may undo it.
    cut: bool,
}

struct Rig {
    disk: SimDisk,
    dice: Dice,
    place: Place,
    draws: u64,
    now: u64,
    jobs: Vec<Job>,
    done: Vec<DiskDone>,
    known: BTreeMap<u64, Known>,
    /// The names are durable: the directory was synced after their creation.
    named: bool,
}

/// Collects submitted operations.
#[derive(Default)]
struct Ops(Vec<DiskOp>);

impl Disk for Ops {
    fn submit(&mut self, op: DiskOp) {
        self.0.push(op);
    }
}

impl Rig {
    fn new(seed: u64, torn: bool) -> Rig {
        let dice = Dice::new(seed);
        let config = DiskConfig { torn, ..DiskConfig::default() };
        let disk = SimDisk::new(NodeId(1), dice.place(Purpose::DiskLatency), config);
        let place = dice.place(Purpose::Driver);
        let (jobs, done) = (Vec::new(), Vec::new());
        let known = BTreeMap::new();
        let mut rig = Rig { disk, dice, place, draws: 0, now: 0, jobs, done, known, named: false };
        rig.submit(|disk| disk.open_dir(DIR, "topic-0"));
        for index in 0..FILES {
            rig.submit(|disk| disk.create(file(index), 0));
            rig.known.insert(index, Known::default());
        }
        rig.submit(|disk| disk.sync_dir(DIR, FileKind::LeaderEpochs, 0));
        rig.run();
        assert!(rig.named);
        rig
    }

    fn draw(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        self.dice.decide(self.place.with(self.draws), bound)
    }

    fn submit(&mut self, act: impl FnOnce(&mut Ops)) {
        let mut ops = Ops::default();
        act(&mut ops);
        for op in ops.0 {
            let mut out = Outcome::default();
            self.disk.submit(self.now, op, &self.dice, &mut out);
            self.take(out);
        }
    }

    fn take(&mut self, out: Outcome) {
        self.jobs.extend(out.jobs);
        self.done.extend(out.done);
    }

    /// Lets time pass until `steps` jobs have ended.
    fn steps(&mut self, steps: u64) {
        for _ in 0..steps {
            let Some(next) = (0..self.jobs.len()).min_by_key(|i| self.jobs[*i].at) else { break };
            let job = self.jobs.swap_remove(next);
            self.now = self.now.max(job.at);
            let mut out = Outcome::default();
            self.disk.finish(self.now, job, &self.dice, &mut out);
            self.take(out);
            self.hear();
        }
    }

    fn run(&mut self) {
        while !self.jobs.is_empty() {
            self.steps(1);
        }
    }

    fn hear(&mut self) {
        for done in std::mem::take(&mut self.done) {
            match done {
                DiskDone::Written { file, generation, upto } => {
                    let known = self.known(file);
                    if generation == known.generation {
                        known.written = known.written.max(upto);
                    }
                }
                DiskDone::Synced { file, generation, upto } => {
                    let known = self.known(file);
                    if generation == known.generation {
                        // Below a truncation, the older generation's completion may be the only
                        // one.
                        let told = generation > 0 || upto <= known.written;
                        assert!(told, "synced before written");
                        known.synced = known.synced.max(upto);
                        known.written = known.written.max(upto);
                        known.cut = false;
                    }
                }
                DiskDone::DirSynced { .. } => self.named = true,
                DiskDone::Listed { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn known(&mut self, file: FileId) -> &mut Known {
        let FileKind::Log(base) = file.kind else { panic!("only logs here") };
        self.known.get_mut(&(base.0 as u64)).expect("all are known")
    }

    fn act(&mut self) {
        let index = self.draw(FILES);
        let (what, size) = (self.draw(10), 1 + self.draw(1500));
        let byte = 1 + self.draw(255) as u8;
        let cut = self.draw(1 << 20);
        let known = self.known.get_mut(&index).expect("all are known");
        let (file, at) = (file(index), known.content.len() as u64);
        match what {
            0..=5 => {
                let generation = known.generation;
                known.content.extend(vec![byte; size as usize]);
                let bytes = vec![Bytes::from(vec![byte; size as usize])];
                self.submit(|disk| disk.append(file, generation, at, bytes));
            }
            6..=8 => {
                let generation = known.generation;
                self.submit(|disk| disk.sync(file, generation));
            }
            _ => {
                let to = cut % (at + 1);
                known.content.truncate(to as usize);
                known.generation += 1;
                known.cut = true;
                known.written = known.written.min(to);
                known.synced = known.synced.min(to);
                let generation = known.generation;
                self.submit(|disk| disk.truncate(file, generation, to));
            }
        }
    }

    /// A fault strikes. The process restarts and accepts what it finds.
    fn strike(&mut self, power: bool) {
        let mut out = Outcome::default();
        let idle = self.disk.is_idle();
        match power {
            true => self.disk.power_loss(&self.dice, &mut out),
            false => self.disk.process_crash(&self.dice, &mut out),
        }
        assert!(out.jobs.is_empty() && out.done.is_empty(), "nothing outlives the process");
        self.jobs.clear();
        for index in 0..FILES {
            let kind = file(index).kind;
            let found = self.disk.visible("topic-0", kind).expect("its name is durable").to_bytes();
            let known = self.known.get_mut(&index).expect("all are known");
            let promised = if power { known.synced } else { known.written } as usize;
            if known.generation == 0 && !(power && known.cut) {
                // No truncation is in progress, so everything promised is there, byte for byte.
                assert!(found.len() >= promised, "lost: {} of {promised}", found.len());
                assert_eq!(found[..promised], known.content[..promised]);
                assert!(found.len() <= known.content.len());
                let holds = |i: usize| found[i] == known.content[i] || (power && found[i] == 0);
                assert!((promised..found.len()).all(holds), "only what was written, or holes");
            }
            if idle && !power {
                assert_eq!(found, known.content, "a process crash alone loses nothing written");
            }
            let len = found.len() as u64;
            let durable = self.disk.durable("topic-0", kind).expect("its name is durable").len();
            if power {
                assert_eq!(durable, len, "after a power loss, what is there is on the media");
            }
            let cut = known.cut && !power;
            *known = Known { content: found.to_vec(), cut, ..Known::default() };
            known.written = len;
        }
        self.submit(|disk| disk.open_dir(DIR, "topic-0"));
        self.run();
    }
}

#[test]
fn nothing_promised_is_ever_lost() {
    let mut strikes = 0;
    for seed in 0..300 {
        let mut rig = Rig::new(seed, seed % 2 == 0);
        for _ in 0..6 {
            for _ in 0..rig.draw(30) {
                rig.act();
                let steps = rig.draw(4);
                rig.steps(steps);
            }
            if rig.draw(4) == 0 {
                rig.run();
            }
            let power = rig.draw(2) == 0;
            rig.strike(power);
            strikes += 1;
        }
    }
    assert_eq!(strikes, 1_800);
}

#[test]
fn what_is_visible_when_idle_is_what_was_submitted() {
    for seed in 0..100 {
        let mut rig = Rig::new(seed, true);
        for _ in 0..60 {
            rig.act();
            let steps = rig.draw(4);
            rig.steps(steps);
        }
        rig.run();
        for (index, known) in &rig.known {
            let content = rig.disk.visible("topic-0", file(*index).kind).expect("it exists");
            assert_eq!(content.to_bytes(), known.content);
            let whole = known.written == known.content.len() as u64;
            assert!(whole || known.generation > 0, "all of it was told to be written");
            let durable = rig.disk.durable("topic-0", file(*index).kind).expect("it is durable");
            assert!(durable.len() >= known.synced);
            let synced = known.synced as usize;
            assert_eq!(durable.to_bytes()[..synced], known.content[..synced]);
        }
    }
}
