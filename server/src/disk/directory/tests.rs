//! One directory's operations without the pool: joined appends, waiting operations, lasting
//! failures.

use super::*;
use std::path::Path;
use wavetank_core::event::ReadTag;

const DIR: DirId = DirId(2);
const LOG: FileId = FileId { dir: DIR, kind: FileKind::Log(wavetank_core::types::Offset(0)) };

fn directory(path: &Path, files: usize) -> Directory {
    Directory::new(Arc::new(Common::new(path, files)), "")
}

fn append(at: u64, text: &'static str) -> DiskOp {
    DiskOp::Append {
        file: LOG,
        generation: 3,
        at,
        bytes: vec![Bytes::from_static(text.as_bytes())],
    }
}

/// Does what the pool does, until the directory is idle or waits for room.
fn run(directory: &mut Directory, ops: Vec<DiskOp>) -> Vec<DiskDone> {
    for op in &ops {
        if let DiskOp::Append { bytes, .. } = op {
            directory.common.backlog.submitted(length(bytes));
        }
    }
    directory.queue.extend(ops);
    directory.delay = None;
    let mut done = Vec::new();
    while !directory.is_idle() && directory.delay().is_none() {
        if directory.wants_slow() {
            directory.run_slow(&mut done);
        } else {
            directory.run_fast(&mut done);
        }
    }
    done
}

#[test]
fn appends_are_joined_and_syncs_are_merged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sync = DiskOp::Sync { file: LOG, generation: 3 };
    let done = run(
        &mut directory(dir.path(), 10),
        vec![
            DiskOp::Create { file: LOG, generation: 3 },
            append(0, "abc"),
            sync.clone(),
            append(3, "de"),
            append(5, "f"),
            sync.clone(),
            sync,
        ],
    );
    let (file, generation) = (LOG, 3);
    assert_eq!(
        done,
        [
            DiskDone::Written { file, generation, upto: 3 },
            DiskDone::Written { file, generation, upto: 6 },
            DiskDone::Synced { file, generation, upto: 6 },
        ]
    );
}

#[test]
fn a_sync_goes_before_a_rename_and_a_truncation() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let done = run(
        &mut directory(dir.path(), 10),
        vec![
            DiskOp::Create { file: LOG, generation: 3 },
            append(0, "abc"),
            DiskOp::Sync { file: LOG, generation: 3 },
            DiskOp::Truncate { file: LOG, generation: 4, to: 1 },
            DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at: 0, len: 9 },
        ],
    );
    assert_eq!(done[1], DiskDone::Synced { file: LOG, generation: 3, upto: 3 });
    assert!(matches!(&done[2], DiskDone::Read { bytes, .. } if bytes == "a"), "{done:?}");
}

/// /dev/null takes writes, has no length, and cannot be synced.
#[test]
fn what_failed_stays_failed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = dir.path().join(LOG.kind.name());
    std::os::unix::fs::symlink("/dev/null", name).expect("a link");
    let mut directory = directory(dir.path(), 10);
    let sync = DiskOp::Sync { file: LOG, generation: 3 };
    let failed = |op| DiskDone::Failed { file: LOG, op, error: DiskError::Refused };
    let done = run(&mut directory, vec![append(0, "abc"), sync.clone()]);
    let written = DiskDone::Written { file: LOG, generation: 3, upto: 3 };
    assert_eq!(done, [written, failed(DiskOpKind::Sync)], "this device cannot be synced");
    let done = run(&mut directory, vec![append(3, "def"), sync]);
    assert_eq!(done, [failed(DiskOpKind::Append), failed(DiskOpKind::Sync)], "never tried again");
    // A new file of the same name is another file.
    let unlink = DiskOp::Unlink { file: LOG };
    let done = run(
        &mut directory,
        vec![unlink, DiskOp::Create { file: LOG, generation: 3 }, append(0, "x")],
    );
    assert_eq!(done, [DiskDone::Written { file: LOG, generation: 3, upto: 1 }]);
}

/// Every write to this file fails with "no space left", until somebody makes room.
#[test]
fn a_write_that_does_not_fit_waits_for_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = dir.path().join(LOG.kind.name());
    std::os::unix::fs::symlink("/dev/full", &name).expect("a link");
    let mut directory = directory(dir.path(), 10);
    let read = DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at: 0, len: 9 };
    let done = run(&mut directory, vec![append(0, "abc"), append(3, "de"), read.clone()]);
    let nothing = DiskDone::Read { tag: ReadTag::Recovery, file: LOG, at: 0, bytes: Bytes::new() };
    assert_eq!(done, [nothing], "nothing is told, and only a read overtakes it");
    assert_eq!(directory.delay(), Some(RETRY_FIRST));
    assert_eq!(run(&mut directory, vec![]), [], "it still does not fit");
    assert!(directory.wants_slow() || !directory.is_idle());
    std::fs::remove_file(&name).expect("it was a link");
    std::fs::write(&name, "").expect("a real file");
    directory.forget_all();
    let done = run(&mut directory, vec![read]);
    assert_eq!(done[0], DiskDone::Written { file: LOG, generation: 3, upto: 5 });
    assert!(matches!(&done[1], DiskDone::Read { bytes, .. } if bytes == "abcde"), "{done:?}");
    assert_eq!(directory.delay(), None);
}

/// The acknowledgement of a write that fitted must not wait for one that does not.
#[test]
fn what_fitted_is_synced_while_another_waits_for_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let full = FileId { dir: DIR, kind: FileKind::LeaderEpochs };
    std::os::unix::fs::symlink("/dev/full", dir.path().join(full.kind.name())).expect("a link");
    let mut directory = directory(dir.path(), 10);
    let DiskOp::Append { bytes, .. } = append(0, "x") else { unreachable!("an append") };
    let sync = DiskOp::Sync { file: LOG, generation: 3 };
    let ops = vec![
        DiskOp::Create { file: LOG, generation: 3 },
        append(0, "abc"),
        sync.clone(),
        DiskOp::Append { file: full, generation: 3, at: 0, bytes },
        append(3, "de"),
        sync,
    ];
    let (file, generation) = (LOG, 3);
    assert_eq!(run(&mut directory, ops), [DiskDone::Written { file, generation, upto: 3 }]);
    assert_eq!(run(&mut directory, vec![]), [DiskDone::Synced { file, generation, upto: 3 }]);
    assert!(directory.delay().is_some(), "the other still waits");
}

/// Somebody's script emptied a file while no descriptor of it was open.
#[test]
fn a_file_that_was_changed_from_outside_is_lost_and_no_bug() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut directory = directory(dir.path(), 10);
    run(&mut directory, vec![DiskOp::Create { file: LOG, generation: 3 }, append(0, "abc")]);
    directory.forget_all();
    std::fs::write(dir.path().join(LOG.kind.name()), "a").expect("emptied");
    let cut = DiskOp::Truncate { file: LOG, generation: 4, to: 2 };
    let done = run(&mut directory, vec![append(3, "de"), cut]);
    let failed = |op| DiskDone::Failed { file: LOG, op, error: DiskError::Refused };
    assert_eq!(done, [failed(DiskOpKind::Append), failed(DiskOpKind::Truncate)]);
}

#[test]
#[should_panic(expected = "must start at the end of the file")]
fn an_append_elsewhere_is_our_bug() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let create = DiskOp::Create { file: LOG, generation: 3 };
    run(&mut directory(dir.path(), 10), vec![create, append(7, "abc")]);
}

#[test]
fn a_file_closed_for_others_is_opened_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut directory = directory(dir.path(), 1);
    let other = FileId { dir: DIR, kind: FileKind::LeaderEpochs };
    let read = DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at: 0, len: 9 };
    let done = run(
        &mut directory,
        vec![
            DiskOp::Create { file: LOG, generation: 3 },
            append(0, "abc"),
            // This closes the log, which has to be synced first.
            DiskOp::Create { file: other, generation: 3 },
            append(3, "def"),
            read,
        ],
    );
    assert_eq!(directory.common.files.open(), 1);
    assert_eq!(done[1], DiskDone::Written { file: LOG, generation: 3, upto: 6 });
    assert!(matches!(&done[2], DiskDone::Read { bytes, .. } if bytes == "abcdef"), "{done:?}");
}

/// If the sync before closing fails, the next sync reports it, and the file is never reported
/// durable.
#[test]
fn a_failure_met_while_closing_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = dir.path().join(LOG.kind.name());
    std::os::unix::fs::symlink("/dev/null", name).expect("a link");
    let mut directory = directory(dir.path(), 1);
    let other = FileId { dir: DIR, kind: FileKind::LeaderEpochs };
    let create = DiskOp::Create { file: other, generation: 3 };
    run(&mut directory, vec![append(0, "abc"), create]);
    let read = DiskOp::Read { tag: ReadTag::Recovery, file: LOG, at: 0, len: 9 };
    let sync = DiskOp::Sync { file: LOG, generation: 3 };
    let done = run(&mut directory, vec![read, sync]);
    assert!(matches!(done[0], DiskDone::Read { .. }), "{done:?}");
    assert!(matches!(done[1], DiskDone::Failed { op: DiskOpKind::Sync, .. }), "{done:?}");
}

#[test]
fn a_directory_that_cannot_be_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("file"), "in the way").expect("written");
    let mut directory = directory(&dir.path().join("file"), 10);
    let open = DiskOp::OpenDir { dir: DIR, name: String::new() };
    let done = run(&mut directory, vec![open]);
    assert!(matches!(done[..], [DiskDone::Failed { op: DiskOpKind::OpenDir, .. }]), "{done:?}");
}
