//! Random legal sequences of disk operations, to compare two implementations of the seam.
//! [`Sequence::draw`] makes a sequence, [`observe`] runs it on an implementation, and
//! [`Sequence::prefixes`] gives the states of a directory that the simulated disk allows after a
//! kill.
//!
//! The comparison covers what the seam promises: answers in order of submission within a directory,
//! the last watermarks, and what is there afterwards. It ignores how completions are merged, and
//! the order between directories.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wavetank_core::env::{DiskOp, FileId, FileKind, SmallFile};
use wavetank_core::event::{DiskDone, DiskOpKind, Event, ReadTag};
use wavetank_core::types::{DirId, NodeId, Offset};

use super::{Harness, PATIENCE};
use crate::decide::{Dice, Place};
use crate::disk::{DiskConfig, Outcome, SimDisk};

/// Names of directories. The first is the root.
const NAMES: [&str; 4] = ["", "a-0", "topic-with-a-longer-name-12", "c-7"];

/// The prefix of a renamed directory's new name.
const AWAY: &str = "away-";

const KINDS: [FileKind; 8] = [
    FileKind::Log(Offset(0)),
    FileKind::OffsetIndex(Offset(0)),
    FileKind::LeaderEpochs,
    FileKind::Temporary(SmallFile::LeaderEpochs),
    FileKind::Log(Offset(17)),
    FileKind::PartitionMetadata,
    FileKind::BootId,
    FileKind::Temporary(SmallFile::BootId),
];

/// A file's state after the operations submitted so far.
#[derive(Clone, Copy, Debug)]
struct File {
    len: u64,
    generation: u32,
}

#[derive(Clone, Debug, Default)]
struct OpenDir {
    files: BTreeMap<FileKind, File>,
}

/// A sequence, and its expected outcome as far as it is known.
#[derive(Clone, Debug)]
pub struct Sequence {
    seed: u64,
    /// The operations.
    pub ops: Vec<DiskOp>,
    /// How many operations each step submits. Renaming a directory ends a step and waits for all
    /// answers so far.
    pub steps: Vec<usize>,
    /// For each directory, the operations that have answers, in order of submission.
    pub answered: BTreeMap<DirId, Vec<usize>>,
    /// Names of the directories: the original ones and those from renames.
    pub names: BTreeMap<DirId, Vec<String>>,
    /// The offset that a file's syncs must reach, and the highest that they may reach.
    syncs: BTreeMap<(FileId, u32), (u64, u64)>,
}

struct Draw {
    dice: Dice,
    count: u64,
    open: BTreeMap<DirId, OpenDir>,
    /// Names of removed directories. They are not used again.
    gone: BTreeSet<String>,
    ids: u32,
    generation: u32,
    serial: u32,
    sequence: Sequence,
}

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.count += 1;
        self.dice.decide(Place(self.sequence.seed).with(self.count), bound)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Expects an answer, success or failure, to the next operation, in order.
    fn answer(&mut self, dir: DirId) {
        let index = self.sequence.ops.len();
        self.sequence.answered.entry(dir).or_default().push(index);
    }

    fn push(&mut self, op: DiskOp) {
        self.sequence.ops.push(op);
    }

    fn name(&self, dir: DirId) -> &str {
        self.sequence.names[&dir].last().expect("at least the first")
    }

    fn open_dir(&mut self) {
        let name = self.one_of(&NAMES);
        let known = self.open.keys().find(|dir| self.name(**dir) == name).copied();
        let dir = match known {
            Some(dir) => dir,
            None if name.is_empty() => DirId::ROOT,
            None if self.gone.contains(name) => return,
            None => {
                self.ids += 1;
                DirId(self.ids)
            }
        };
        self.open.entry(dir).or_default();
        self.sequence.names.entry(dir).or_insert_with(|| vec![name.into()]);
        let name = self.name(dir).to_owned();
        self.answer(dir);
        self.push(DiskOp::OpenDir { dir, name });
    }

    fn rename_dir(&mut self, dir: DirId) {
        let name = format!("{AWAY}{}", self.sequence.ops.len());
        self.sequence.names.get_mut(&dir).expect("it is open").push(name.clone());
        self.answer(dir);
        self.push(DiskOp::RenameDir { dir, name });
    }

    fn remove_dir(&mut self, dir: DirId) {
        self.gone.insert(self.name(dir).to_owned());
        self.open.remove(&dir);
        self.push(DiskOp::RemoveDir { dir });
    }

    fn sync_dir(&mut self, dir: DirId) {
        self.serial += 1;
        let by = self.one_of(&KINDS);
        self.answer(dir);
        self.push(DiskOp::SyncDir { dir, by, serial: self.serial });
    }

    fn file(&self, file: FileId) -> Option<File> {
        self.open[&file.dir].files.get(&file.kind).copied()
    }

    fn set(&mut self, file: FileId, value: Option<File>) {
        let files = &mut self.open.get_mut(&file.dir).expect("it is open").files;
        match value {
            Some(value) => files.insert(file.kind, value),
            None => files.remove(&file.kind),
        };
    }

    fn bytes(&mut self) -> Vec<Bytes> {
        let parts = 1 + self.below(3);
        let longest = if self.below(10) == 0 { 3000 } else { 40 };
        (0..parts)
            .map(|_| {
                let first = self.below(251) as u8;
                let len = 1 + self.below(longest);
                (0..len).map(|i| first.wrapping_add(i as u8)).collect()
            })
            .collect()
    }

    fn append(&mut self, file: FileId) {
        let bytes = self.bytes();
        let len: u64 = bytes.iter().map(|part| part.len() as u64).sum();
        let (at, generation) = match self.file(file) {
            Some(File { len: at, generation }) => {
                self.set(file, Some(File { len: at + len, generation }));
                if let Some((_, may)) = self.sequence.syncs.get_mut(&(file, generation)) {
                    *may = (*may).max(at + len);
                }
                (at, generation)
            }
            None => {
                self.answer(file.dir);
                (0, 0)
            }
        };
        self.push(DiskOp::Append { file, generation, at, bytes });
    }

    fn sync(&mut self, file: FileId) {
        let generation = match self.file(file) {
            Some(File { len, generation }) => {
                let (must, may) = self.sequence.syncs.entry((file, generation)).or_default();
                (*must, *may) = (len, (*may).max(len));
                generation
            }
            None => 0,
        };
        self.push(DiskOp::Sync { file, generation });
    }

    fn truncate(&mut self, file: FileId) {
        self.generation += 1;
        let generation = self.generation;
        let to = match self.file(file) {
            Some(File { len, .. }) => {
                let to = self.below(len + 1);
                self.set(file, Some(File { len: to, generation }));
                to
            }
            None => {
                self.answer(file.dir);
                0
            }
        };
        self.push(DiskOp::Truncate { file, generation, to });
    }

    fn rename(&mut self, dir: DirId, from: FileKind) {
        let to = self.one_of(&KINDS);
        let file = FileId { dir, kind: from };
        match self.file(file) {
            Some(found) => {
                self.set(file, None);
                // Another file may have had this name and generation.
                self.generation += 1;
                let found = File { generation: self.generation, ..found };
                self.set(FileId { dir, kind: to }, Some(found));
            }
            None => self.answer(dir),
        }
        self.push(DiskOp::Rename { dir, from, to });
    }

    fn read(&mut self, file: FileId) {
        let len = self.file(file).map_or(0, |file| file.len);
        let at = self.below(len + 20);
        let len = self.one_of(&[0, 1, 20, 5000]);
        self.answer(file.dir);
        self.push(DiskOp::Read { tag: ReadTag::Recovery, file, at, len });
    }

    fn step(&mut self) {
        let dirs: Vec<DirId> = self.open.keys().copied().collect();
        if dirs.is_empty() || self.below(12) == 0 {
            return self.open_dir();
        }
        let dir = self.one_of(&dirs);
        let there: Vec<FileKind> = self.open[&dir].files.keys().copied().collect();
        // Mostly files that exist.
        let kind = match there.is_empty() || self.below(6) == 0 {
            true => self.one_of(&KINDS),
            false => self.one_of(&there),
        };
        let file = FileId { dir, kind };
        match self.below(22) {
            0..=3 => {
                self.generation += 1;
                let generation = self.generation;
                let kind = self.one_of(&KINDS);
                let file = FileId { dir, kind };
                self.set(file, Some(File { len: 0, generation }));
                self.push(DiskOp::Create { file, generation });
            }
            4..=10 => self.append(file),
            11..=13 => self.sync(file),
            14 => self.truncate(file),
            15 => self.rename(dir, kind),
            16 => {
                self.set(file, None);
                self.push(DiskOp::Unlink { file });
            }
            17 => self.sync_dir(dir),
            18 if dir != DirId::ROOT => match self.below(3) {
                0 => self.remove_dir(dir),
                _ => self.rename_dir(dir),
            },
            _ => self.read(file),
        }
    }
}

impl Sequence {
    /// Draws the sequence of this seed: up to 40 operations, and the rest of the last step.
    pub fn draw(seed: u64) -> Sequence {
        let sequence = Sequence {
            seed,
            ops: Vec::new(),
            steps: Vec::new(),
            answered: BTreeMap::new(),
            names: BTreeMap::new(),
            syncs: BTreeMap::new(),
        };
        let (dice, open) = (Dice::new(seed), BTreeMap::new());
        let gone = BTreeSet::new();
        let mut draw =
            Draw { dice, count: 0, open, gone, ids: 1, generation: 0, serial: 0, sequence };
        let count = 5 + draw.below(36);
        while (draw.sequence.ops.len() as u64) < count {
            let before = draw.sequence.ops.len();
            for _ in 0..1 + draw.below(6) {
                draw.step();
                if ends_step(draw.sequence.ops.last()) {
                    break;
                }
            }
            draw.sequence.steps.push(draw.sequence.ops.len() - before);
        }
        draw.sequence
    }

    /// How many answers the first `submitted` operations get.
    pub fn answers_until(&self, submitted: usize) -> usize {
        self.answered.values().flatten().filter(|index| **index < submitted).count()
    }

    /// The directories that the sequence removes.
    fn removed(&self) -> BTreeSet<DirId> {
        let removed = self.ops.iter().filter_map(|op| {
            let DiskOp::RemoveDir { dir } = op else { return None };
            Some(*dir)
        });
        removed.collect()
    }

    /// Has one name belonged to two directories? Then what a kill leaves under it may be from
    /// either, and [`Sequence::check_after_kill`] cannot tell.
    pub fn reuses_names(&self) -> bool {
        let mut all: Vec<&String> = self.names.values().flatten().collect();
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() < before
    }

    /// The operations on one directory, with their indices in the sequence.
    fn of(&self, dir: DirId) -> Vec<(usize, &DiskOp)> {
        let of = |op: &DiskOp| match op {
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
        };
        self.ops.iter().enumerate().filter(|(_, op)| of(op) == dir).collect()
    }

    /// The simulated disk's state of a directory after each prefix of its operations, from none to
    /// all, with the index in the sequence of the prefix's last operation.
    fn prefixes(&self, dir: DirId) -> Vec<(Option<usize>, State)> {
        let root = dir == DirId::ROOT;
        let mut states = vec![(None, root.then(|| (String::new(), Contents::new())))];
        let ops = self.of(dir);
        for taken in 1..=ops.len() {
            let mut disk = SimDisk::new(NodeId(0), Place(1), DiskConfig::default());
            let (dice, mut out) = (Dice::new(self.seed), Outcome::default());
            for (_, op) in &ops[..taken] {
                disk.submit(0, (*op).clone(), &dice, &mut out);
            }
            disk.process_exit(&dice, &mut out);
            let name = if root { Some(String::new()) } else { disk.dir_names().pop() };
            let state = name.map(|name| {
                let content = |kind| disk.visible(&name, kind).expect("listed").to_bytes();
                let files = disk.files(&name).into_iter();
                let files = files.map(|(kind, _)| (kind, content(kind))).collect();
                (name, files)
            });
            states.push((Some(ops[taken - 1].0), state));
        }
        states
    }

    /// Checks that a killed process may leave a directory in this state. The directory's first
    /// `answers` answers have been given, so their operations have taken effect.
    ///
    /// # Errors
    /// Describes what was expected.
    pub fn check_after_kill(
        &self,
        dir: DirId,
        found: &State,
        answers: usize,
    ) -> Result<(), String> {
        let answered = self.answered.get(&dir).map_or(&[][..], |all| all);
        let happened = answers.checked_sub(1).map(|last| answered[last]);
        let (states, ops) = (self.prefixes(dir), self.of(dir));
        for (index, (last, state)) in states.iter().enumerate() {
            if *last < happened {
                continue;
            }
            // The next operation may have begun.
            let begun = || match (ops.get(index), state, found) {
                (Some((_, next)), Some((was, before)), Some((is, now))) if was == is => {
                    self.is_begun(next, before, now)
                }
                _ => false,
            };
            if state == found || begun() {
                return Ok(());
            }
        }
        Err(format!(
            "{found:?} is left, which no prefix of the operations on {dir} leaves; number \
             {happened:?} has happened of {ops:#?}"
        ))
    }

    /// Could `found` be `before` with part of this operation done?
    fn is_begun(&self, op: &DiskOp, before: &Contents, found: &Contents) -> bool {
        match op {
            DiskOp::Append { file, bytes, .. } => {
                let (Some(old), Some(now)) = (before.get(&file.kind), found.get(&file.kind)) else {
                    return false;
                };
                let mut others = found.clone();
                others.insert(file.kind, old.clone());
                let whole: Vec<u8> = bytes.iter().flatten().copied().collect();
                let new = now.strip_prefix(&old[..]);
                others == *before && new.is_some_and(|new| whole.starts_with(new))
            }
            // Not atomic: some files may be gone and others not.
            DiskOp::RemoveDir { .. } => {
                found.iter().all(|(kind, bytes)| before.get(kind) == Some(bytes))
            }
            DiskOp::OpenDir { .. }
            | DiskOp::Create { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::RenameDir { .. }
            | DiskOp::Unlink { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::Read { .. } => false,
        }
    }
}

/// Does this operation rename a directory? Everything after it waits for it.
fn ends_step(op: Option<&DiskOp>) -> bool {
    matches!(op, Some(DiskOp::RenameDir { .. }))
}

/// The files of a directory.
pub type Contents = BTreeMap<FileKind, Bytes>;

/// A directory's name and files, if it exists.
pub type State = Option<(String, Contents)>;

/// The observed outcome of a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Answers in order, by directory.
    answers: BTreeMap<DirId, Vec<DiskDone>>,
    /// The last watermark of each file and generation.
    written: BTreeMap<(FileId, u32), u64>,
    /// Files whose sync failed.
    sync_failed: BTreeSet<FileId>,
    /// Files and generations that were synced.
    synced: BTreeSet<(FileId, u32)>,
    /// The files left after the process had ended.
    left: BTreeMap<String, Contents>,
}

impl Seen {
    /// Drops these directories' watermarks and sync results from the comparison.
    fn forget(&mut self, dirs: &BTreeSet<DirId>) {
        self.written.retain(|(file, _), _| !dirs.contains(&file.dir));
        self.synced.retain(|(file, _)| !dirs.contains(&file.dir));
        self.sync_failed.retain(|file| !dirs.contains(&file.dir));
    }

    /// Takes in a completion. Returns whether it counts as an answer.
    fn take(&mut self, done: DiskDone, sequence: &Sequence) -> bool {
        let dir = done.dir();
        match done {
            DiskDone::Written { file, generation, upto } => {
                let last = self.written.entry((file, generation)).or_default();
                assert!(upto >= *last, "watermarks do not fall: {file:?} {upto} after {last}");
                *last = upto;
                false
            }
            DiskDone::Synced { file, generation, upto } => {
                let (must, may) = sequence.syncs[&(file, generation)];
                assert!(upto <= may, "{file:?}: synced to {upto}, written to {may}");
                if upto >= must {
                    self.synced.insert((file, generation));
                }
                false
            }
            DiskDone::Failed { file, op: DiskOpKind::Sync, .. } => {
                self.sync_failed.insert(file);
                false
            }
            // The root's directories depend on the progress of operations on the others.
            DiskDone::Listed { dir, files, .. } => {
                let listed = DiskDone::Listed { dir, files, dirs: Vec::new(), strangers: 0 };
                self.answers.entry(dir).or_default().push(listed);
                true
            }
            DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Read { .. }
            | DiskDone::Failed { .. } => {
                self.answers.entry(dir).or_default().push(done);
                true
            }
        }
    }
}

/// Runs a sequence on node 0 of a harness whose disk is empty.
///
/// # Panics
/// If an answer is missing or unexpected.
pub fn observe(h: &mut dyn Harness, sequence: &Sequence) -> Seen {
    let mut seen = Seen::default();
    let (mut submitted, mut answered) = (0, 0);
    for step in &sequence.steps {
        let ops = sequence.ops[submitted..submitted + step].to_vec();
        submitted += step;
        let all = submitted == sequence.ops.len() || ends_step(ops.last());
        h.act(0, Box::new(move |env| ops.into_iter().for_each(|op| env.submit(op))));
        let patience = if all { PATIENCE } else { std::time::Duration::ZERO };
        let expected = sequence.answers_until(submitted);
        while answered < expected {
            let Some(event) = h.event(0, patience) else {
                assert!(!all, "{} answers do not come: {seen:#?}", expected - answered);
                break;
            };
            answered += usize::from(seen.take(done(event), sequence));
        }
    }
    // File syncs are not ordered with the answers, but end before the directory's final sync.
    let removed = sequence.removed();
    for dir in sequence.names.keys().filter(|dir| !removed.contains(*dir)) {
        let (dir, serial) = (*dir, u32::MAX);
        h.act(0, Box::new(move |env| env.sync_dir(dir, FileKind::LeaderEpochs, serial)));
        loop {
            let event = h.event(0, PATIENCE);
            match done(event.unwrap_or_else(|| panic!("{dir} is not synced: {seen:#?}"))) {
                DiskDone::DirSynced { serial: u32::MAX, .. } => break,
                other => assert!(!seen.take(other, sequence), "an answer that is not expected"),
            }
        }
    }
    // Nothing reports when a directory is gone, so which of its watermarks arrive is not
    // determined.
    seen.forget(&removed);
    h.restart(0);
    let (root, dirs) = list(h, DirId::ROOT, "");
    seen.left.insert(String::new(), root);
    for (index, name) in dirs.into_iter().enumerate() {
        let (files, _) = list(h, DirId(100 + index as u32), &name);
        seen.left.insert(name, files);
    }
    seen
}

fn done(event: Event) -> DiskDone {
    match event {
        Event::Disk(done) => done,
        other => panic!("expected a disk completion, got {other:?}"),
    }
}

/// The files of a directory, and the directories below it.
fn list(h: &mut dyn Harness, dir: DirId, name: &str) -> (Contents, Vec<String>) {
    let owned = name.to_owned();
    h.act(0, Box::new(move |env| env.open_dir(dir, &owned)));
    let Some(Event::Disk(DiskDone::Listed { files, dirs, .. })) = h.event(0, PATIENCE) else {
        panic!("no listing of {name:?}")
    };
    let mut contents = Contents::new();
    for (kind, len) in files {
        let file = FileId { dir, kind };
        h.act(0, Box::new(move |env| env.read(ReadTag::Recovery, file, 0, 1 << 20)));
        let Some(Event::Disk(DiskDone::Read { bytes, .. })) = h.event(0, PATIENCE) else {
            panic!("no content of {name:?} {kind:?}")
        };
        assert_eq!(bytes.len() as u64, len, "{name:?} {kind:?} is as long as it is listed");
        contents.insert(kind, bytes);
    }
    (contents, dirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Tank;

    #[test]
    fn the_tank_does_the_same_whatever_the_latencies() {
        for seed in 0..300 {
            let sequence = Sequence::draw(seed);
            let one = observe(&mut Tank::new(1), &sequence);
            assert_eq!(one, observe(&mut Tank::new(2), &sequence), "seed {seed}");
        }
    }

    #[test]
    fn sequences_have_all_that_they_should() {
        let all: Vec<DiskOp> = (0..300).flat_map(|seed| Sequence::draw(seed).ops).collect();
        let count = |what: fn(&DiskOp) -> bool| all.iter().filter(|op| what(op)).count();
        assert!(count(|op| matches!(op, DiskOp::RemoveDir { .. })) > 30);
        assert!(count(|op| matches!(op, DiskOp::RenameDir { .. })) > 60);
        assert!(count(|op| matches!(op, DiskOp::Rename { from, to, .. } if from == to)) > 5);
        assert!(count(|op| matches!(op, DiskOp::Truncate { to, .. } if *to > 0)) > 50);
        let failed = (0..300).filter(|seed| {
            let seen = observe(&mut Tank::new(1), &Sequence::draw(*seed));
            let failed = |done: &DiskDone| matches!(done, DiskDone::Failed { .. });
            seen.answers.values().flatten().any(failed) && !seen.sync_failed.is_empty()
        });
        assert!(failed.count() > 20);
    }

    #[test]
    fn what_a_kill_may_not_leave_is_noticed() {
        let (mut prefixes, mut wrong) = (0, 0);
        for seed in 0..60 {
            let sequence = Sequence::draw(seed);
            for dir in sequence.names.keys().copied() {
                let answers = sequence.answered.get(&dir).map_or(0, Vec::len);
                let states = sequence.prefixes(dir);
                let end = states.last().expect("at least none").1.clone();
                sequence.check_after_kill(dir, &end, answers).expect("all of it");
                if dir != DirId::ROOT {
                    let early = sequence.check_after_kill(dir, &None, answers);
                    assert_eq!(early.is_err(), end.is_some(), "what was answered has happened");
                }
                for (_, state) in states {
                    prefixes += 1;
                    sequence.check_after_kill(dir, &state, 0).expect("a prefix");
                    let Some((name, mut files)) = state else { continue };
                    let Some(bytes) = files.values_mut().find(|bytes| bytes.len() > 1) else {
                        continue;
                    };
                    // Change its first byte.
                    let mut other = bytes.to_vec();
                    other[0] ^= 1;
                    *bytes = other.into();
                    wrong += 1;
                    sequence.check_after_kill(dir, &Some((name, files)), 0).expect_err("none");
                }
            }
        }
        assert!(prefixes > 500 && wrong > 100, "{prefixes} {wrong}");
    }
}
