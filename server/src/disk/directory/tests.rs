//! One directory's operations without the pool: what is joined, what waits, what stays failed.

use super::*;
use wavetank_core::event::ReadTag;

const DIR: DirId = DirId(2);
const LOG: FileId = FileId { dir: DIR, kind: FileKind::Log(wavetank_core::types::Offset(0)) };

fn directory(path: &Path, wanted_at_most: usize) -> Directory {
    let counter = Arc::new(OpenFiles { open: AtomicUsize::new(0), wanted_at_most });
    Directory::new(Arc::from(path), "", counter)
}

fn append(at: u64, text: &'static str) -> DiskOp {
    DiskOp::Append {
        file: LOG,
        generation: 3,
        at,
        bytes: vec![Bytes::from_static(text.as_bytes())],
    }
}

fn run(directory: &mut Directory, ops: Vec<DiskOp>) -> Vec<DiskDone> {
    directory.queue.extend(ops);
    let mut done = Vec::new();
    while !directory.is_idle() {
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

/// A file whose every write says "no space left".
#[test]
fn what_failed_stays_failed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = dir.path().join(LOG.kind.name());
    std::os::unix::fs::symlink("/dev/full", name).expect("a link");
    let mut directory = directory(dir.path(), 10);
    let failed = |op| DiskDone::Failed { file: LOG, op, error: DiskError::Full };
    let done = run(&mut directory, vec![append(0, "abc")]);
    assert_eq!(done, [failed(DiskOpKind::Append)]);
    let sync = DiskOp::Sync { file: LOG, generation: 3 };
    let done = run(&mut directory, vec![append(3, "def"), sync]);
    assert_eq!(done, [failed(DiskOpKind::Append), failed(DiskOpKind::Sync)], "never tried again");
    // A file of that name made anew is another file.
    let unlink = DiskOp::Unlink { file: LOG };
    let done = run(
        &mut directory,
        vec![unlink, DiskOp::Create { file: LOG, generation: 3 }, append(0, "x")],
    );
    assert_eq!(done, [DiskDone::Written { file: LOG, generation: 3, upto: 1 }]);
}

#[test]
#[should_panic(expected = "must start at the end of the file")]
fn an_append_elsewhere_is_our_bug() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let create = DiskOp::Create { file: LOG, generation: 3 };
    run(&mut directory(dir.path(), 10), vec![create, append(7, "abc")]);
}

#[test]
fn clean_files_are_closed_when_too_many_are_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut directory = directory(dir.path(), 0);
    let create = DiskOp::Create { file: LOG, generation: 3 };
    run(&mut directory, vec![create, append(0, "abc")]);
    assert_eq!(directory.counter.open.load(Ordering::Relaxed), 1, "unsynced: kept open");
    run(&mut directory, vec![DiskOp::Sync { file: LOG, generation: 3 }]);
    assert_eq!(directory.counter.open.load(Ordering::Relaxed), 0);
    let done = run(&mut directory, vec![append(3, "def")]);
    assert_eq!(done, [DiskDone::Written { file: LOG, generation: 3, upto: 6 }], "opened again");
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
