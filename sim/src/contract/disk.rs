//! What the disk promises.

use bytes::Bytes;
use wavetank_core::env::{Disk, FileId, FileKind, SmallFile};
use wavetank_core::event::{DiskDone, DiskOpKind, Event, ReadTag};
use wavetank_core::types::{DirId, Offset};

use super::{Harness, PATIENCE, QUIET};

const DIR: DirId = DirId(2);
const NAME: &str = "topic-0";
const LOG: FileId = FileId { dir: DIR, kind: FileKind::Log(Offset(0)) };
const INDEX: FileId = FileId { dir: DIR, kind: FileKind::OffsetIndex(Offset(0)) };

/// Submits to node 0's disk in one step.
fn submit(h: &mut dyn Harness, act: impl FnOnce(&mut dyn Disk) + Send + 'static) {
    h.act(0, Box::new(move |env| act(env)));
}

fn done(h: &mut dyn Harness) -> DiskDone {
    match h.event(0, PATIENCE) {
        Some(Event::Disk(done)) => done,
        Some(other) => panic!("expected a disk completion, got {other:?}"),
        None => panic!("no disk completion came"),
    }
}

fn quiet(h: &mut dyn Harness) {
    let event = h.event(0, QUIET);
    assert_eq!(event, None, "nothing more was to come");
}

/// Waits for a completion that matches. Before it only watermarks and earlier answers may come, no
/// failure.
fn wait_for(h: &mut dyn Harness, what: &str, matches: impl Fn(&DiskDone) -> bool) -> DiskDone {
    loop {
        let done = done(h);
        if matches(&done) {
            return done;
        }
        let failed = matches!(done, DiskDone::Failed { .. });
        assert!(!failed, "waited for {what}, got {done:?}");
    }
}

fn open(h: &mut dyn Harness, dir: DirId, name: &'static str) -> DiskDone {
    submit(h, move |disk| disk.open_dir(dir, name));
    wait_for(h, "the listing", |done| matches!(done, DiskDone::Listed { .. }))
}

fn read(h: &mut dyn Harness, file: FileId, at: u64, len: u32) -> Bytes {
    submit(h, move |disk| disk.read(ReadTag::Recovery, file, at, len));
    read_answer(h, file, at)
}

fn read_answer(h: &mut dyn Harness, file: FileId, at: u64) -> Bytes {
    let done = wait_for(h, "the read", |done| matches!(done, DiskDone::Read { .. }));
    let DiskDone::Read { tag, file: of, at: from, bytes } = done else {
        unreachable!("just matched");
    };
    assert_eq!((tag, of, from), (ReadTag::Recovery, file, at));
    bytes
}

fn part(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

fn listed(files: &[(FileKind, u64)]) -> DiskDone {
    DiskDone::Listed { dir: DIR, files: files.to_vec(), dirs: vec![], strangers: 0 }
}

pub(super) fn listing(h: &mut dyn Harness) {
    let root = open(h, DirId::ROOT, "");
    assert_eq!(
        root,
        DiskDone::Listed { dir: DirId::ROOT, files: vec![], dirs: vec![], strangers: 0 }
    );
    assert_eq!(open(h, DIR, NAME), listed(&[]), "created where it was missing");
    open(h, DirId(3), "another-1");
    submit(h, |disk| {
        disk.create(INDEX, 0);
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abc"));
    });
    // The order of FileKind, not of names or of creation.
    assert_eq!(open(h, DIR, NAME), listed(&[(LOG.kind, 3), (INDEX.kind, 0)]));
    let root = open(h, DirId::ROOT, "");
    let dirs = vec!["another-1".to_owned(), NAME.to_owned()];
    assert_eq!(root, DiskDone::Listed { dir: DirId::ROOT, files: vec![], dirs, strangers: 0 });
    h.restart(0);
    assert_eq!(open(h, DIR, NAME), listed(&[(LOG.kind, 3), (INDEX.kind, 0)]));
}

pub(super) fn written_then_synced(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 7);
        disk.append(LOG, 7, 0, part("abc"));
        disk.append(LOG, 7, 3, part("defg"));
        disk.sync(LOG, 7);
    });
    let (mut written, mut synced) = (0, 0);
    while synced < 7 {
        match done(h) {
            DiskDone::Written { file: LOG, generation: 7, upto } => {
                assert!(upto == 3 || upto == 7, "a watermark at an append's end: {upto}");
                assert!(upto >= written, "watermarks do not fall");
                written = upto;
            }
            DiskDone::Synced { file: LOG, generation: 7, upto } => {
                assert!(upto <= written, "synced to {upto} before it was written");
                synced = upto;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((written, synced), (7, 7));
}

pub(super) fn reads_see_what_was_submitted_before(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(
            LOG,
            0,
            0,
            vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")],
        );
        disk.read(ReadTag::Recovery, LOG, 0, 100);
        disk.append(LOG, 0, 3, part("def"));
        disk.read(ReadTag::Recovery, LOG, 1, 100);
        disk.truncate(LOG, 1, 2);
        disk.read(ReadTag::Recovery, LOG, 0, 100);
    });
    assert_eq!(read_answer(h, LOG, 0), "abc", "not what was submitted after it");
    assert_eq!(read_answer(h, LOG, 1), "bcdef");
    assert_eq!(read_answer(h, LOG, 0), "ab");
}

pub(super) fn reading_at_and_past_the_end(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abc"));
        disk.append(LOG, 0, 3, part("def"));
    });
    assert_eq!(read(h, LOG, 0, 6), "abcdef");
    assert_eq!(read(h, LOG, 2, 2), "cd", "across appends, no more than asked");
    assert_eq!(read(h, LOG, 4, 100), "ef", "fewer at the end");
    assert_eq!(read(h, LOG, 6, 10), "");
    assert_eq!(read(h, LOG, 1000, 10), "");
    assert_eq!(read(h, LOG, 0, 0), "");
}

pub(super) fn truncation_and_generations(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abcdef"));
        disk.sync(LOG, 0);
        disk.truncate(LOG, 1, 2);
        disk.append(LOG, 1, 2, part("XYZ"));
        disk.sync(LOG, 1);
    });
    let mut newest = 0;
    loop {
        match done(h) {
            DiskDone::Written { file: LOG, generation, upto } => {
                assert_eq!(upto, if generation == 0 { 6 } else { 5 });
                newest = newest.max(generation);
            }
            DiskDone::Synced { file: LOG, generation: 0, upto } => assert_eq!(upto, 6),
            DiskDone::Synced { file: LOG, generation: 1, upto } => {
                assert_eq!((upto, newest), (5, 1));
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(read(h, LOG, 0, 100), "abXYZ");
    submit(h, |disk| disk.truncate(LOG, 2, 5)); // to its own length
    assert_eq!(read(h, LOG, 0, 100), "abXYZ");
    submit(h, |disk| disk.truncate(LOG, 3, 0));
    assert_eq!(read(h, LOG, 0, 100), "");
    assert_eq!(open(h, DIR, NAME), listed(&[(LOG.kind, 0)]));
}

pub(super) fn atomic_replacement(h: &mut dyn Harness) {
    let small = SmallFile::QuorumState;
    let temporary = FileId { dir: DIR, kind: FileKind::Temporary(small) };
    let file = FileId { dir: DIR, kind: small.kind() };
    open(h, DIR, NAME);
    for (round, content) in [(1, "first"), (2, "second, and longer"), (3, "3rd")] {
        submit(h, move |disk| {
            disk.create(temporary, round);
            disk.append(temporary, round, 0, part(content));
            disk.sync(temporary, round);
            disk.rename(DIR, temporary.kind, file.kind);
            disk.sync_dir(DIR, small.kind(), round);
        });
        let end = content.len() as u64;
        wait_for(h, "its sync", |done| {
            *done == DiskDone::Synced { file: temporary, generation: round, upto: end }
        });
        wait_for(h, "the directory's sync", |done| {
            *done == DiskDone::DirSynced { dir: DIR, by: small.kind(), serial: round }
        });
        assert_eq!(read(h, file, 0, 100), content);
        h.restart(0);
        assert_eq!(open(h, DIR, NAME), listed(&[(file.kind, end)]), "no temporary is left");
        assert_eq!(read(h, file, 0, 100), content);
    }
}

pub(super) fn creating_replaces(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abcdef"));
        disk.create(LOG, 1);
        disk.append(LOG, 1, 0, part("x"));
    });
    wait_for(h, "the second file", |done| {
        *done == DiskDone::Written { file: LOG, generation: 1, upto: 1 }
    });
    assert_eq!(read(h, LOG, 0, 100), "x");
}

pub(super) fn unlinking(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.unlink(INDEX); // never existed: a no-op
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abc"));
        disk.unlink(LOG);
        disk.unlink(LOG);
        disk.sync_dir(DIR, LOG.kind, 1);
    });
    wait_for(h, "the directory's sync", |done| matches!(done, DiskDone::DirSynced { .. }));
    quiet(h);
    assert_eq!(open(h, DIR, NAME), listed(&[]));
    h.restart(0);
    assert_eq!(open(h, DIR, NAME), listed(&[]));
}

pub(super) fn renaming_a_directory(h: &mut dyn Harness) {
    open(h, DirId::ROOT, "");
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abc"));
        disk.rename_dir(DIR, "topic-0.1-stray");
    });
    wait_for(h, "the new name", |done| *done == DiskDone::DirRenamed { dir: DIR });
    // The old name is free at once. The id moves to the new one.
    let again = DirId(9);
    submit(h, move |disk| disk.open_dir(again, NAME));
    let listing = wait_for(h, "the listing", |done| matches!(done, DiskDone::Listed { .. }));
    assert_eq!(listing, DiskDone::Listed { dir: again, files: vec![], dirs: vec![], strangers: 0 });
    submit(h, |disk| disk.append(LOG, 0, 3, part("d")));
    assert_eq!(read(h, LOG, 0, 100), "abcd");
    submit(h, |disk| disk.sync_dir(DirId::ROOT, FileKind::PartitionMetadata, 1));
    wait_for(h, "the root's sync", |done| matches!(done, DiskDone::DirSynced { .. }));
    h.restart(0);
    let root = open(h, DirId::ROOT, "");
    let dirs = vec![NAME.to_owned(), "topic-0.1-stray".to_owned()];
    assert_eq!(root, DiskDone::Listed { dir: DirId::ROOT, files: vec![], dirs, strangers: 0 });
    assert_eq!(open(h, DIR, "topic-0.1-stray"), listed(&[(LOG.kind, 4)]));
}

pub(super) fn removing_a_directory(h: &mut dyn Harness) {
    open(h, DirId::ROOT, "");
    open(h, DIR, NAME);
    submit(h, |disk| {
        disk.create(LOG, 0);
        disk.append(LOG, 0, 0, part("abc"));
        disk.remove_dir(DIR);
    });
    h.restart(0);
    let root = open(h, DirId::ROOT, "");
    assert_eq!(
        root,
        DiskDone::Listed { dir: DirId::ROOT, files: vec![], dirs: vec![], strangers: 0 }
    );
    assert_eq!(open(h, DIR, NAME), listed(&[]), "nothing of it comes back");
}

pub(super) fn directory_syncs_echo(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    let asked = [(LOG.kind, 4), (INDEX.kind, 1), (LOG.kind, 5)];
    submit(h, move |disk| {
        for (by, serial) in asked {
            disk.sync_dir(DIR, by, serial);
        }
    });
    for (by, serial) in asked {
        assert_eq!(done(h), DiskDone::DirSynced { dir: DIR, by, serial });
    }
    quiet(h);
}

pub(super) fn missing_files_fail(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    type Attempt = fn(&mut dyn Disk);
    let attempts: [(DiskOpKind, Attempt); 4] = [
        (DiskOpKind::Read, |disk| disk.read(ReadTag::Recovery, LOG, 0, 1)),
        (DiskOpKind::Append, |disk| disk.append(LOG, 0, 0, part("abc"))),
        (DiskOpKind::Sync, |disk| disk.sync(LOG, 0)),
        (DiskOpKind::Namespace, |disk| disk.rename(DIR, LOG.kind, INDEX.kind)),
    ];
    for (attempted, attempt) in attempts {
        submit(h, attempt);
        match done(h) {
            DiskDone::Failed { file: LOG, op, .. } => assert_eq!(op, attempted),
            other => panic!("{attempted:?} of a missing file should fail, not {other:?}"),
        }
    }
    quiet(h);
}

pub(super) fn large_and_many(h: &mut dyn Harness) {
    open(h, DIR, NAME);
    let block: Vec<u8> = (0..100_000u32).map(|i| (i % 249) as u8).collect();
    let whole = Bytes::from(block);
    let bytes = whole.clone();
    submit(h, move |disk| {
        disk.create(LOG, 0);
        for i in 0..100 {
            let from = i * 1000;
            disk.append(LOG, 0, from as u64, vec![bytes.slice(from..from + 1000)]);
        }
        disk.append(LOG, 0, 100_000, vec![bytes; 10]);
        disk.sync(LOG, 0);
    });
    wait_for(h, "everything", |done| {
        *done == DiskDone::Synced { file: LOG, generation: 0, upto: 1_100_000 }
    });
    assert_eq!(read(h, LOG, 0, 100_000), whole);
    assert_eq!(read(h, LOG, 100_000, 1_000_000).len(), 1_000_000);
    assert_eq!(
        read(h, LOG, 999_000, 101_000),
        whole.slice(99_000..).iter().chain(&whole[..]).copied().collect::<Bytes>()
    );
}

pub(super) fn several_directories(h: &mut dyn Harness) {
    let dirs: Vec<DirId> = (2..10).map(DirId).collect();
    let opened = dirs.clone();
    submit(h, move |disk| {
        for dir in opened {
            disk.open_dir(dir, &format!("topic-{}", dir.0));
            let file = FileId { dir, kind: LOG.kind };
            disk.create(file, 0);
            disk.append(file, 0, 0, vec![Bytes::from(vec![dir.0 as u8; 10])]);
            disk.sync(file, 0);
        }
    });
    let mut synced = 0;
    while synced < dirs.len() {
        match done(h) {
            DiskDone::Synced { generation: 0, upto: 10, .. } => synced += 1,
            DiskDone::Listed { .. } | DiskDone::Written { upto: 10, .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    for dir in dirs {
        let file = FileId { dir, kind: LOG.kind };
        assert_eq!(read(h, file, 0, 100), vec![dir.0 as u8; 10]);
    }
}
