//! Tests that each disk fault is injected, and what it does. The contract tests (`contract`)
//! cover the promises that hold without faults.

use super::*;
use wavetank_core::env::SmallFile;
use wavetank_core::event::ReadTag;

const DIR: DirId = DirId(2);
const LOG: FileId = FileId { dir: DIR, kind: FileKind::Log(wavetank_core::types::Offset(0)) };

/// A disk and its clock.
#[derive(Clone)]
struct Rig {
    disk: SimDisk,
    dice: Dice,
    now: u64,
    jobs: Vec<Job>,
    done: Vec<DiskDone>,
    changes: Vec<DiskChange>,
}

impl Rig {
    /// A disk with an empty, durable log open.
    fn new(seed: u64) -> Rig {
        let dice = Dice::new(seed);
        let place = dice.place(crate::decide::Purpose::DiskLatency);
        let mut disk = SimDisk::new(NodeId(1), place, DiskConfig::default());
        disk.observe(true);
        let (jobs, done, changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut rig = Rig { disk, dice, now: 0, jobs, done, changes };
        rig.open();
        rig.submit(DiskOp::Create { file: LOG, generation: 0 });
        rig.sync_dir();
        rig.run();
        rig.done.clear();
        rig.changes.clear();
        rig
    }

    fn open(&mut self) {
        self.submit(DiskOp::OpenDir { dir: DIR, name: "topic-0".into() });
    }

    fn submit(&mut self, op: DiskOp) {
        let mut out = Outcome::default();
        self.disk.submit(self.now, op, &self.dice, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Outcome) {
        self.jobs.extend(out.jobs);
        self.done.extend(out.done);
        self.changes.extend(out.changes);
    }

    fn append(&mut self, at: u64, bytes: &[u8]) {
        let bytes = vec![Bytes::copy_from_slice(bytes)];
        self.submit(DiskOp::Append { file: LOG, generation: 0, at, bytes });
    }

    fn sync(&mut self) {
        self.submit(DiskOp::Sync { file: LOG, generation: 0 });
    }

    fn sync_dir(&mut self) {
        self.submit(DiskOp::SyncDir { dir: DIR, by: LOG.kind, serial: 1 });
    }

    fn step(&mut self) -> bool {
        let Some(next) = (0..self.jobs.len()).min_by_key(|i| self.jobs[*i].at) else {
            return false;
        };
        let job = self.jobs.remove(next);
        self.now = self.now.max(job.at);
        let mut out = Outcome::default();
        self.disk.finish(self.now, job, &self.dice, &mut out);
        self.take(out);
        true
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn crash(&mut self) {
        let mut out = Outcome::default();
        self.disk.process_crash(&self.dice, &mut out);
        self.take(out);
    }

    fn power_loss(&mut self) {
        let mut out = Outcome::default();
        self.disk.power_loss(&self.dice, &mut out);
        self.take(out);
    }

    fn seen(&self) -> Vec<u8> {
        let content = self.disk.visible("topic-0", LOG.kind);
        content.map(|content| content.to_bytes().to_vec()).unwrap_or_default()
    }

    fn failures(&self) -> Vec<(DiskOpKind, DiskError)> {
        let failed = |done: &DiskDone| match done {
            DiskDone::Failed { op, error, .. } => Some((*op, *error)),
            _ => None,
        };
        self.done.iter().filter_map(failed).collect()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 + 1).collect()
}

#[test]
fn a_cut_is_pending_until_the_disk_has_come_to_it() {
    let mut rig = Rig::new(1);
    rig.append(0, &[1; 100]);
    assert!(!rig.disk.is_cut_pending("topic-0"), "an append is no cut");
    rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 10 });
    assert!(rig.disk.is_cut_pending("topic-0"));
    rig.run();
    assert!(!rig.disk.is_cut_pending("topic-0"));
    let index = FileId { dir: DIR, kind: FileKind::OffsetIndex(wavetank_core::types::Offset(0)) };
    rig.submit(DiskOp::Unlink { file: index });
    assert!(!rig.disk.is_cut_pending("topic-0"), "an index is no log");
    rig.submit(DiskOp::Unlink { file: LOG });
    assert!(rig.disk.is_cut_pending("topic-0"));
}

#[test]
fn a_process_crash_keeps_what_was_written_and_a_prefix_of_the_rest() {
    let (mut nothing, mut part, mut all) = (0, 0, 0);
    for seed in 0..300 {
        let mut rig = Rig::new(seed);
        let bytes = pattern(1000);
        rig.append(0, &bytes[..400]);
        rig.run();
        for at in [400, 600, 800] {
            rig.append(at as u64, &bytes[at..at + 200]);
        }
        rig.crash();
        let seen = rig.seen();
        assert!(seen.len() >= 400 && seen[..] == bytes[..seen.len()], "seed {seed}: a prefix");
        match seen.len() {
            400 => nothing += 1,
            1000 => all += 1,
            _ => part += 1,
        }
        assert_eq!(rig.disk.clean("topic-0", LOG.kind), Some(0), "nothing of it is durable");
        rig.run();
        let written = rig.done.iter().filter(|d| matches!(d, DiskDone::Written { .. })).count();
        assert_eq!(written, 1, "the old incarnation's completions never come");
    }
    assert!(nothing > 30 && part > 30 && all > 30, "{nothing} {part} {all}");
}

#[test]
fn power_loss_takes_the_unsynced_but_never_the_synced() {
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.disk.config.torn = false;
        let bytes = pattern(3000);
        rig.append(0, &bytes[..1000]);
        rig.sync();
        rig.run();
        rig.append(1000, &bytes[1000..]);
        rig.run();
        assert_eq!(rig.disk.durable("topic-0", LOG.kind).expect("synced").len(), 1000);
        rig.changes.clear();
        rig.power_loss();
        let seen = rig.seen();
        assert!(seen.len() >= 1000 && seen[..] == bytes[..seen.len()], "an untorn prefix");
        let after = seen.len() as u64;
        let lost = Change::Lost { before: 3000, after, zeroed: vec![] };
        let what: Vec<Change> = rig.changes.iter().map(|change| change.what.clone()).collect();
        assert_eq!(what, if after < 3000 { vec![lost] } else { vec![] });
        assert_eq!(rig.disk.clean("topic-0", LOG.kind), Some(after), "what is left is media");
    }
}

#[test]
fn what_is_not_yet_on_the_media_is_told() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.disk.unsynced_in("topic-0"), None);
    rig.append(0, b"abc");
    rig.run();
    assert_eq!(rig.disk.unsynced_in("topic-0"), Some(LOG.kind));
    rig.sync();
    rig.run();
    assert_eq!(rig.disk.unsynced_in("topic-0"), None);
    let index = FileId { kind: FileKind::LeaderEpochs, ..LOG };
    rig.submit(DiskOp::Create { file: index, generation: 0 });
    rig.run();
    assert_eq!(rig.disk.unsynced_in("topic-0"), Some(index.kind), "its name may go");
}

#[test]
fn torn_writes_keep_any_subset_of_sectors() {
    let (mut holes, mut zero_tails, mut nothing) = (0, 0, 0);
    for seed in 0..300 {
        let mut rig = Rig::new(seed);
        let bytes = pattern(5000);
        rig.append(0, &bytes[..700]);
        rig.sync();
        rig.run();
        rig.append(700, &bytes[700..]);
        rig.run();
        rig.power_loss();
        let seen = rig.seen();
        assert_eq!(seen[..700], bytes[..700], "synced bytes survive inside a torn sector");
        let zeroed = match rig.changes.last().map(|change| &change.what) {
            Some(Change::Lost { before: 5000, after, zeroed }) => {
                assert_eq!(*after, seen.len() as u64);
                zeroed.clone()
            }
            _ => vec![],
        };
        for (i, byte) in seen.iter().enumerate() {
            let at = i as u64;
            let is_zeroed = zeroed.iter().any(|(from, to)| (*from..*to).contains(&at));
            assert_eq!(*byte, if is_zeroed { 0 } else { bytes[i] }, "seed {seed} at {i}");
        }
        for (from, to) in &zeroed {
            assert!(*from == 700 || from % SECTOR == 0, "tears are at sectors");
            holes += u32::from(*to < seen.len() as u64);
            zero_tails += u32::from(*to == seen.len() as u64);
        }
        nothing += u32::from(seen.len() == 700);
    }
    assert!(holes > 30 && zero_tails > 30 && nothing > 30, "{holes} {zero_tails} {nothing}");
}

#[test]
fn names_have_a_durability_of_their_own() {
    let small = SmallFile::QuorumState;
    let temporary = FileId { dir: DIR, kind: FileKind::Temporary(small) };
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        for (generation, content) in [(1, "old"), (2, "new")] {
            rig.submit(DiskOp::Create { file: temporary, generation });
            let bytes = vec![Bytes::from_static(content.as_bytes())];
            rig.submit(DiskOp::Append { file: temporary, generation, at: 0, bytes });
            rig.submit(DiskOp::Sync { file: temporary, generation });
            let (from, to) = (temporary.kind, small.kind());
            rig.submit(DiskOp::Rename { dir: DIR, from, to });
            if generation == 1 {
                rig.sync_dir();
            }
        }
        rig.run();
        let seen = |rig: &Rig| {
            let content = rig.disk.visible("topic-0", small.kind()).expect("one or the other");
            content.to_bytes()
        };
        assert_eq!(seen(&rig), "new");
        assert_eq!(rig.disk.durable("topic-0", small.kind()).expect("synced").to_bytes(), "old");
        rig.crash();
        assert_eq!(seen(&rig), "new", "a process crash keeps the rename");
        rig.power_loss();
        match &seen(&rig)[..] {
            b"old" => old += 1,
            b"new" => new += 1,
            other => panic!("seed {seed}: never anything between: {other:?}"),
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn unsynced_creation_and_unlinking_may_be_lost() {
    let other = FileId { dir: DIR, kind: FileKind::LeaderEpochs };
    let (mut vanished, mut reappeared, mut both) = (0, 0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.append(0, b"abc");
        rig.sync();
        rig.submit(DiskOp::Unlink { file: LOG });
        rig.submit(DiskOp::Create { file: other, generation: 0 });
        rig.run();
        assert_eq!(rig.disk.files("topic-0"), [(other.kind, 0)]);
        rig.changes.clear();
        rig.power_loss();
        let names: Vec<_> = rig.disk.files("topic-0").into_iter().map(|(kind, _)| kind).collect();
        let whats: Vec<_> = rig.changes.iter().map(|c| (c.file, c.what.clone())).collect();
        if names.contains(&LOG.kind) {
            assert_eq!(rig.seen(), b"abc");
            assert!(whats.contains(&(LOG.kind, Change::Reappeared { len: 3 })));
            reappeared += 1;
            both += u32::from(names.contains(&other.kind));
        }
        if !names.contains(&other.kind) {
            assert!(whats.contains(&(other.kind, Change::Vanished)));
            vanished += 1;
        }
    }
    assert!(vanished > 20 && reappeared > 10 && vanished < 100, "{vanished} {reappeared}");
    assert!(both > 3, "the later change may survive alone: {both}");
}

#[test]
fn names_survive_as_any_subset() {
    let kinds = [FileKind::LeaderEpochs, FileKind::PartitionMetadata, FileKind::QuorumState];
    let mut subsets: std::collections::BTreeMap<Vec<FileKind>, u32> = Default::default();
    for seed in 0..400 {
        let mut rig = Rig::new(seed);
        for kind in kinds {
            rig.submit(DiskOp::Create { file: FileId { dir: DIR, kind }, generation: 0 });
        }
        rig.run();
        rig.power_loss();
        let names = rig.disk.files("topic-0").into_iter().map(|(kind, _)| kind);
        *subsets.entry(names.filter(|kind| kinds.contains(kind)).collect()).or_default() += 1;
    }
    assert_eq!(subsets.len(), 8, "{subsets:?}");
    assert!(subsets.values().all(|count| *count > 8), "{subsets:?}");
}

#[test]
fn a_rename_may_leave_either_name_or_both() {
    let small = SmallFile::QuorumState;
    let temporary = FileId { dir: DIR, kind: FileKind::Temporary(small) };
    let (mut old, mut new, mut both) = (0, 0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.submit(DiskOp::Create { file: temporary, generation: 1 });
        let bytes = vec![Bytes::from_static(b"content")];
        rig.submit(DiskOp::Append { file: temporary, generation: 1, at: 0, bytes });
        rig.submit(DiskOp::Sync { file: temporary, generation: 1 });
        rig.sync_dir();
        rig.submit(DiskOp::Rename { dir: DIR, from: temporary.kind, to: small.kind() });
        rig.run();
        rig.power_loss();
        let there = |kind| rig.disk.visible("topic-0", kind).map(Extents::to_bytes);
        let (from, to) = (there(temporary.kind), there(small.kind()));
        for found in [&from, &to].into_iter().flatten() {
            assert_eq!(found, "content", "its content was synced");
        }
        match (from.is_some(), to.is_some()) {
            (true, false) => old += 1,
            (false, true) => new += 1,
            (true, true) => both += 1,
            (false, false) => panic!("seed {seed}: a file that was renamed is nowhere"),
        }
        if from.is_some() && to.is_some() {
            rig.open();
            rig.submit(DiskOp::Create { file: temporary, generation: 1 });
            rig.run();
            let kept = rig.disk.visible("topic-0", small.kind()).expect("it has a name");
            assert!(kept.is_empty(), "it is one file, and was cut");
        }
    }
    assert!(old > 30 && new > 30 && both > 10, "{old} {new} {both}");
}

#[test]
fn a_file_that_is_created_again_is_cut_in_place() {
    let (mut back, mut gone) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.append(0, &pattern(2000));
        rig.sync();
        rig.submit(DiskOp::Create { file: LOG, generation: 1 });
        rig.sync_dir();
        rig.run();
        assert_eq!(rig.seen(), b"");
        assert!(!rig.disk.is_settled("topic-0"), "no sync of a directory makes a cut durable");
        rig.power_loss();
        match rig.seen().len() {
            2000 => back += 1,
            0 => gone += 1,
            other => panic!("{other}"),
        }
    }
    assert!(back > 20 && gone > 20, "{back} {gone}");
}

#[test]
fn old_bytes_follow_new_ones_where_a_cut_is_lost() {
    let (mut mixed, mut only_old, mut only_new) = (0, 0, 0);
    for seed in 0..400 {
        let mut rig = Rig::new(seed);
        let old = pattern(4000);
        rig.append(0, &old);
        rig.sync();
        rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 700 });
        let bytes = vec![Bytes::from(vec![0xee; 1000])];
        rig.submit(DiskOp::Append { file: LOG, generation: 1, at: 700, bytes });
        rig.run();
        rig.power_loss();
        let seen = rig.seen();
        assert_eq!(seen[..700], old[..700], "what was synced and not cut");
        if seen.len() <= 1700 {
            only_new += 1;
            continue;
        }
        assert_eq!(seen.len(), 4000);
        assert_eq!(seen[2048..], old[2048..], "nothing was written there");
        // Each sector that was written has its new bytes, zeros after them, or its old bytes.
        for at in 700..2048 {
            let new = if at < 1700 { 0xee } else { 0 };
            assert!(seen[at] == old[at] || seen[at] == new, "seed {seed} at {at}");
        }
        match seen == old {
            true => only_old += 1,
            false => mixed += 1,
        }
    }
    assert!(mixed > 80 && only_old > 20 && only_new > 100, "{mixed} {only_old} {only_new}");
}

#[test]
fn what_was_never_synced_may_come_back_after_a_cut() {
    let mut back = 0;
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.append(0, &pattern(2000));
        rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 0 });
        rig.run();
        rig.power_loss();
        back += u32::from(!rig.seen().is_empty());
    }
    assert!(back > 30 && back < 150, "{back}");
}

#[test]
fn an_unsynced_truncation_may_be_lost() {
    let (mut back, mut cut) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.append(0, &pattern(2000));
        rig.sync();
        rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 100 });
        rig.run();
        assert_eq!(rig.seen().len(), 100);
        rig.power_loss();
        match rig.seen().len() {
            2000 => back += 1,
            100 => cut += 1,
            other => panic!("{other}"),
        }
    }
    assert!(back > 20 && cut > 20);
    let mut rig = Rig::new(0);
    rig.append(0, &pattern(2000));
    rig.sync();
    rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 100 });
    rig.submit(DiskOp::Sync { file: LOG, generation: 1 });
    rig.run();
    rig.power_loss();
    assert_eq!(rig.seen(), pattern(100), "but not once it was synced");
}

#[test]
fn a_log_is_settled_when_no_power_loss_would_change_it() {
    let settled = |rig: &Rig| rig.disk.is_settled("topic-0");
    let synced = || {
        let mut rig = Rig::new(0);
        rig.append(0, &pattern(1000));
        rig.run();
        assert!(!settled(&rig), "it was appended to");
        rig.sync();
        rig.run();
        assert!(settled(&rig));
        rig
    };
    let mut cut = synced();
    cut.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 100 });
    cut.run();
    cut.crash();
    assert!(!settled(&cut), "the cut may be undone");
    cut.power_loss();
    assert!(settled(&cut), "it was, or it stays");

    let mut failed = synced();
    failed.append(1000, &pattern(10));
    assert!(failed.disk.fail_next_sync(Some(("topic-0", LOG.kind))));
    failed.sync();
    failed.run();
    assert!(!settled(&failed), "what it failed on is marked clean, and not there");
    failed.power_loss();
    assert!(settled(&failed));

    let mut unlinked = synced();
    unlinked.submit(DiskOp::Unlink { file: LOG });
    unlinked.run();
    assert!(!settled(&unlinked), "its name may come back");
    unlinked.sync_dir();
    unlinked.run();
    assert!(settled(&unlinked));
}

#[test]
fn a_failed_sync_marks_pages_clean_and_a_retry_lies() {
    for seed in 0..50 {
        let mut rig = Rig::new(seed);
        rig.append(0, &pattern(1000));
        rig.sync();
        rig.run();
        rig.append(1000, &pattern(1000));
        assert!(rig.disk.fail_next_sync(Some(("topic-0", LOG.kind))));
        rig.sync();
        rig.run();
        assert_eq!(rig.failures(), [(DiskOpKind::Sync, DiskError::Io)]);
        let failed = Change::SyncFailed { from: 1000, to: 2000 };
        assert!(rig.changes.iter().any(|change| change.what == failed));
        assert_eq!(rig.seen().len(), 2000, "the bytes can be read");
        rig.done.clear();
        rig.append(2000, &pattern(500));
        rig.sync();
        rig.run();
        assert!(rig.failures().is_empty(), "the error is told once");
        let synced = DiskDone::Synced { file: LOG, generation: 0, upto: 2500 };
        assert!(rig.done.contains(&synced), "the retry claims everything");
        rig.power_loss();
        let mut expected = pattern(1000);
        expected.extend([0; 1000]);
        expected.extend(pattern(500));
        assert_eq!(rig.seen(), expected, "what the failed sync dropped is gone");
    }
    assert!(!Rig::new(0).disk.fail_next_sync(Some(("nowhere", LOG.kind))));
}

#[test]
fn after_a_failed_sync_alone_the_tail_is_zeros_or_missing() {
    let (mut zeros, mut missing) = (0, 0);
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.append(0, &pattern(1000));
        rig.disk.fail_next_sync(None);
        rig.sync();
        rig.run();
        assert_eq!(rig.failures().len(), 1);
        rig.power_loss();
        let seen = rig.seen();
        assert!(seen.iter().all(|byte| *byte == 0));
        match seen.len() {
            0 => missing += 1,
            1000 => zeros += 1,
            other => panic!("{other}"),
        }
    }
    assert!(zeros > 20 && missing > 20);
}

#[test]
fn an_error_that_nobody_saw_is_told_to_the_next_incarnation() {
    let mut rig = Rig::new(1);
    rig.append(0, &pattern(1000));
    rig.run();
    rig.disk.fail_next_sync(None);
    rig.sync();
    rig.crash(); // in the middle of the sync
    rig.done.clear();
    rig.open();
    rig.run();
    assert_eq!(rig.seen().len(), 1000);
    rig.sync();
    rig.run();
    assert_eq!(rig.failures(), [(DiskOpKind::Sync, DiskError::Io)]);
    rig.done.clear();
    rig.sync();
    rig.run();
    assert!(rig.failures().is_empty());
    rig.power_loss();
    assert!(rig.seen().iter().all(|byte| *byte == 0), "the page cache was all there was");
}

#[test]
fn a_lying_sync_is_lost_with_power_and_kept_in_a_crash() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut rig = Rig::new(seed);
        rig.disk.set_lying(true);
        rig.append(0, &pattern(1000));
        rig.sync();
        rig.run();
        assert!(rig.done.iter().any(|done| matches!(done, DiskDone::Synced { upto: 1000, .. })));
        rig.crash();
        assert_eq!(rig.seen().len(), 1000);
        rig.power_loss();
        lost += u32::from(rig.seen() != pattern(1000));
    }
    assert!(lost > 25, "{lost}");
}

#[test]
fn what_does_not_fit_waits_until_it_does() {
    let mut rig = Rig::new(1);
    rig.append(0, b"abc");
    rig.run();
    rig.done.clear();
    rig.disk.set_full(true);
    rig.append(3, b"def");
    rig.submit(DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at: 0, len: 9 });
    for _ in 0..10 {
        assert!(rig.step(), "it is asked again and again");
    }
    assert_eq!((rig.done.len(), rig.seen()), (0, b"abc".to_vec()));
    rig.disk.set_full(false);
    rig.run();
    assert_eq!(rig.done[0], DiskDone::Written { file: LOG, generation: 0, upto: 6 });
    assert!(matches!(&rig.done[1], DiskDone::Read { bytes, .. } if bytes == "abcdef"));
    // A process that ends meanwhile leaves only what fit.
    rig.disk.set_full(true);
    rig.append(6, b"ghi");
    rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 0 });
    let mut ended = rig.clone();
    ended.disk.process_exit(&ended.dice, &mut Outcome::default());
    assert_eq!(ended.seen(), b"abcdef");
    rig.crash();
    assert_eq!(rig.seen(), b"abcdef");
}

#[test]
fn a_failing_write_refuses_the_whole_append() {
    let mut rig = Rig::new(1);
    rig.append(0, b"abcdef");
    rig.run();
    rig.disk.fail_next_write();
    rig.append(6, b"ghi");
    rig.run();
    assert_eq!(rig.failures(), [(DiskOpKind::Append, DiskError::Io)]);
}

#[test]
fn bits_flip_at_rest_and_stay_flipped() {
    let mut rig = Rig::new(1);
    rig.append(0, b"abc");
    rig.sync();
    rig.run();
    let mut out = Outcome::default();
    assert!(rig.disk.flip("topic-0", LOG.kind, 1, 0x01, &mut out));
    assert!(!rig.disk.flip("topic-0", LOG.kind, 3, 0x01, &mut out), "there is no such byte");
    assert_eq!(out.changes[0].what, Change::Corrupted { from: 1, to: 2 });
    assert_eq!(rig.seen(), b"acc");
    rig.power_loss();
    assert_eq!(rig.seen(), b"acc");
}

#[test]
fn bad_sectors_fail_reads_until_they_are_cut_off() {
    let mut rig = Rig::new(1);
    rig.append(0, &pattern(2000));
    rig.run();
    assert!(rig.disk.spoil("topic-0", LOG.kind, 512, 1024));
    assert!(!rig.disk.spoil("topic-0", LOG.kind, 5000, 6000), "there are no such bytes");
    let read = |rig: &mut Rig, at, len| {
        rig.done.clear();
        rig.submit(DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at, len });
        rig.run();
        rig.failures() == [(DiskOpKind::Read, DiskError::Io)]
    };
    assert!(!read(&mut rig, 0, 512) && !read(&mut rig, 1024, 100));
    assert!(read(&mut rig, 0, 513) && read(&mut rig, 1023, 1) && read(&mut rig, 0, 2000));
    rig.crash();
    rig.open();
    assert!(read(&mut rig, 600, 1), "a restart does not help");
    rig.submit(DiskOp::Truncate { file: LOG, generation: 1, to: 500 });
    assert!(!read(&mut rig, 0, 2000));
}

#[test]
fn a_stale_disk_is_what_it_was() {
    let mut rig = Rig::new(1);
    rig.append(0, b"old");
    rig.sync();
    rig.run();
    let stale = rig.disk.clone();
    rig.append(3, b"new");
    rig.sync();
    rig.run();
    rig.crash();
    rig.disk.replace(stale);
    assert_eq!(rig.seen(), b"old");
    rig.open();
    rig.append(3, b"er");
    rig.run();
    assert_eq!(rig.seen(), b"older");
}

#[test]
fn slow_and_stalled_disks_take_their_time() {
    let took = |percent, stall| {
        let mut rig = Rig::new(1);
        rig.disk.set_slow(percent);
        let start = rig.now;
        rig.append(0, b"abc");
        rig.disk.stall_until(start + stall);
        rig.sync();
        rig.run();
        rig.now - start
    };
    assert!(took(10_000, 0) > 50 * took(100, 0));
    assert!(took(100, 5_000_000_000) >= 5_000_000_000);
}

#[test]
fn a_wiped_disk_is_empty() {
    let mut rig = Rig::new(1);
    rig.append(0, b"abc");
    rig.sync();
    rig.run();
    rig.crash();
    rig.disk.wipe();
    assert!(rig.disk.dir_names().is_empty());
    assert_eq!(rig.disk.visible("topic-0", LOG.kind), None);
    rig.open();
    rig.run();
    assert!(
        rig.done
            .iter()
            .any(|done| matches!(done, DiskDone::Listed { files, .. } if files.is_empty()))
    );
}

#[test]
fn syncs_asked_for_while_one_runs_become_one() {
    let mut rig = Rig::new(1);
    rig.append(0, b"abc");
    rig.sync();
    rig.step(); // the append is done, the first sync starts
    assert!(rig.done.iter().any(|done| matches!(done, DiskDone::Written { upto: 3, .. })));
    rig.append(3, b"def");
    for _ in 0..5 {
        rig.sync();
    }
    rig.run();
    let upto = |done: &DiskDone| match done {
        DiskDone::Synced { upto, .. } => Some(*upto),
        _ => None,
    };
    assert_eq!(rig.done.iter().filter_map(upto).collect::<Vec<_>>(), [3, 6]);
    assert!(rig.disk.is_idle());
}

#[test]
fn a_draw_is_about_its_operation() {
    // A read in between changes the times of neither the append nor the sync.
    let times = |read: bool| {
        let mut rig = Rig::new(1);
        let other = DirId(3);
        rig.submit(DiskOp::OpenDir { dir: other, name: "other-0".into() });
        rig.run();
        if read {
            let file = FileId { dir: other, kind: LOG.kind };
            rig.submit(DiskOp::Create { file, generation: 0 });
            rig.submit(DiskOp::Read { tag: ReadTag::Recovery, file, at: 0, len: 10 });
        }
        rig.append(0, b"abc");
        let mut at = Vec::new();
        for job in rig.jobs.clone() {
            if job.kind == JobKind::Head(DirSlot(1)) {
                at.push(job.at);
            }
        }
        at
    };
    assert_eq!(times(false), times(true));
}
