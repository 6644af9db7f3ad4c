//! Golden bytes of each format, their errors, and the steps of an atomic replacement.

use super::*;
use crate::effects::Effects;
use crate::env::DiskOp;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Uuid};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn leader_epochs_are_kafkas() {
    let epochs = vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))];
    let bytes = format_leader_epochs(epochs.iter().copied());
    assert_eq!(text(bytes.clone()), "0\n2\n0 0\n3 17\n");
    assert_eq!(parse_leader_epochs(&bytes), Ok(epochs));
    assert_eq!(parse_leader_epochs(b"0\n0\n"), Ok(vec![]));
    for (bad, line) in [
        ("", 1),
        ("1\n0\n", 1),
        ("0\n", 2),
        ("0\nx\n", 2),
        ("0\n2\n0 0\n", 2),
        ("0\n1\n0\n", 3),
        ("0\n1\n0 x\n", 3),
        ("0\n1\n-1 0\n", 3),
        ("0\n2\n1 5\n1 6\n", 4),
        ("0\n2\n1 5\n2 5\n", 4),
        ("0\n1\n0 12", 3),
        ("0\n99999999999999999999\n", 2),
    ] {
        assert_eq!(parse_leader_epochs(bad.as_bytes()).unwrap_err().line, line, "{bad:?}");
    }
    let error = parse_leader_epochs(b"0\n2\n0 0\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "leader-epoch-checkpoint, line 2: expected 2 entries, found 1; the file may be truncated"
    );
}

#[test]
fn offsets_are_kafkas() {
    let offsets = vec![
        PartitionOffset { topic: "a-b".into(), partition: 0, offset: Offset(5) },
        PartitionOffset { topic: "z".into(), partition: 12, offset: Offset(0) },
    ];
    let bytes = format_offsets(offsets.iter());
    assert_eq!(text(bytes.clone()), "0\n2\na-b 0 5\nz 12 0\n");
    assert_eq!(parse_offsets("x", &bytes), Ok(offsets));
    for bad in
        ["0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na -1 1\n", "0\n1\n 0 1\n", "0\n1\na 0 -1\n"]
    {
        assert_eq!(parse_offsets("x", bad.as_bytes()).unwrap_err().line, 3, "{bad:?}");
    }
}

#[test]
fn partition_metadata_is_kafkas() {
    let bytes = format_partition_metadata(Uuid(1));
    assert_eq!(text(bytes.clone()), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(parse_partition_metadata(&bytes), Ok(Uuid(1)));
    for (bad, line) in [
        ("", 1),
        ("version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", 1),
        ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 2),
        ("version: 0\ntopic_id: AAAA", 2),
        ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\nmore", 3),
    ] {
        assert_eq!(parse_partition_metadata(bad.as_bytes()).unwrap_err().line, line, "{bad:?}");
    }
}

#[test]
fn meta_properties_are_kafkas() {
    let properties = MetaProperties {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".into(),
        node: NodeId(2),
        directory_id: Some(Uuid(1)),
    };
    let bytes = format_meta_properties(&properties);
    assert_eq!(
        text(bytes.clone()),
        "#\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=2\nversion=1\n\
         cluster.id=4L6g3nShT-eMCtK--X86sw\n"
    );
    assert_eq!(parse_meta_properties(&bytes), Ok(properties));
    let kafkas = "#\n#Thu Jan 01 00:00:00 UTC 1970\nversion=1\ncluster.id=a\\=b\nnode.id=0\n";
    let parsed = parse_meta_properties(kafkas.as_bytes()).unwrap();
    assert_eq!((parsed.cluster_id.as_str(), parsed.directory_id), ("a=b", None));
    let odd = MetaProperties { cluster_id: " a:=#!\\".into(), ..parsed };
    assert_eq!(parse_meta_properties(&format_meta_properties(&odd)), Ok(odd));
    for bad in [
        "",
        "version=0\ncluster.id=a\nbroker.id=0\n",
        "version=1\nnode.id=0\n",
        "version=1\ncluster.id=a\n",
        "version=1\ncluster.id=a\nnode.id=x\n",
        "version=1\ncluster.id=a\nnode.id=-1\n",
        "version=1\ncluster.id=a\nnode.id=1\ndirectory.id=short\n",
        "version=1\nnonsense\n",
    ] {
        assert!(parse_meta_properties(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn clean_shutdown_is_kafkas() {
    let bytes = format_clean_shutdown(BrokerEpoch(12));
    assert_eq!(text(bytes.clone()), "{\"version\":0,\"brokerEpoch\":12}");
    assert_eq!(parse_clean_shutdown(&bytes), Ok(BrokerEpoch(12)));
    for bad in
        ["", "{}", "{\"version\":1,\"brokerEpoch\":1}", "{\"version\":0,\"brokerEpoch\":null}"]
    {
        assert!(parse_clean_shutdown(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn quorum_state_is_kafkas() {
    let old = QuorumState {
        leader: Some(NodeId(1)),
        epoch: LeaderEpoch(2),
        voted: None,
        voted_directory: None,
        voters: Some(vec![NodeId(1), NodeId(2), NodeId(3)]),
    };
    let bytes = format_quorum_state(&old);
    assert_eq!(
        text(bytes.clone()),
        "{\"clusterId\":\"\",\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\"appliedOffset\":0,\
         \"currentVoters\":[{\"voterId\":1},{\"voterId\":2},{\"voterId\":3}],\"data_version\":0}"
    );
    assert_eq!(parse_quorum_state(&bytes), Ok(old));
    let new = QuorumState {
        leader: None,
        epoch: LeaderEpoch(7),
        voted: Some(NodeId(2)),
        voted_directory: Some(Uuid(1)),
        voters: None,
    };
    let bytes = format_quorum_state(&new);
    assert_eq!(
        text(bytes.clone()),
        "{\"leaderId\":-1,\"leaderEpoch\":7,\"votedId\":2,\
         \"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAQ\",\"data_version\":1}"
    );
    assert_eq!(parse_quorum_state(&bytes), Ok(new));
    for bad in [
        "",
        "{\"leaderId\":1}",
        "{\"leaderId\":-2,\"leaderEpoch\":0,\"votedId\":-1,\"data_version\":0}",
        "{\"leaderId\":1,\"leaderEpoch\":-2,\"votedId\":-1,\"data_version\":0}",
        "{\"leaderId\":1,\"leaderEpoch\":0,\"votedId\":-1,\"data_version\":2}",
        "{\"leaderId\":1,\"leaderEpoch\":0,\"votedId\":-1,\"data_version\":1}",
        "{\"leaderId\":99999999999,\"leaderEpoch\":0,\"votedId\":-1,\"data_version\":0}",
    ] {
        assert!(parse_quorum_state(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse_quorum_state(deep.as_bytes()).is_err(), "bounded nesting");
}

/// No truncated file and no flipped bit makes a parser panic.
#[test]
fn damaged_files_never_panic() {
    let epochs = [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(300), Offset(i64::MAX))];
    let offsets = [PartitionOffset { topic: "t".into(), partition: 1, offset: Offset(9) }];
    let state = QuorumState {
        leader: Some(NodeId(1)),
        epoch: LeaderEpoch(2),
        voted: None,
        voted_directory: None,
        voters: Some(vec![NodeId(1)]),
    };
    let meta =
        MetaProperties { cluster_id: "c".into(), node: NodeId(1), directory_id: Some(Uuid(5)) };
    let files = [
        format_leader_epochs(epochs.iter().copied()),
        format_offsets(offsets.iter()),
        format_partition_metadata(Uuid(5)),
        format_meta_properties(&meta),
        format_clean_shutdown(BrokerEpoch(4)),
        format_quorum_state(&state),
        format_quorum_state(&QuorumState { voters: None, ..state }),
    ];
    let parse_all = |bytes: &[u8]| {
        let _ = parse_leader_epochs(bytes);
        let _ = parse_offsets("x", bytes);
        let _ = parse_partition_metadata(bytes);
        let _ = parse_meta_properties(bytes);
        let _ = parse_clean_shutdown(bytes);
        let _ = parse_quorum_state(bytes);
    };
    for file in files {
        for cut in 0..=file.len() {
            parse_all(&file[..cut]);
        }
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1 << bit;
                parse_all(&flipped);
            }
        }
    }
}

const DIR: DirId = DirId::METADATA;
const TEMPORARY: FileId = FileId { dir: DIR, kind: FileKind::Temporary(SmallFile::QuorumState) };

fn synced(generation: u32, upto: u64) -> DiskDone {
    DiskDone::Synced { file: TEMPORARY, generation, upto }
}

fn dir_synced(by: FileKind, serial: u32) -> DiskDone {
    DiskDone::DirSynced { dir: DIR, by, serial }
}

fn replaced(serial: u32) -> Vec<DiskOp> {
    vec![
        DiskOp::Rename {
            dir: DIR,
            from: FileKind::Temporary(SmallFile::QuorumState),
            to: FileKind::QuorumState,
        },
        DiskOp::SyncDir { dir: DIR, by: FileKind::QuorumState, serial },
    ]
}

#[test]
fn replaces_step_by_step_and_coalesces() {
    let mut disk = Effects::default();
    let mut file = AtomicFile::new(DIR, SmallFile::QuorumState);
    assert_eq!(file.write(Bytes::from_static(b"one"), &mut disk), 1);
    assert_eq!(
        disk.take_disk(),
        vec![
            // The temporary may be a second name of the file.
            DiskOp::Unlink { file: TEMPORARY },
            DiskOp::Create { file: TEMPORARY, generation: 1 },
            DiskOp::Append {
                file: TEMPORARY,
                generation: 1,
                at: 0,
                bytes: vec![Bytes::from_static(b"one")]
            },
            DiskOp::Sync { file: TEMPORARY, generation: 1 },
        ]
    );
    assert_eq!(file.write(Bytes::from_static(b"two"), &mut disk), 2);
    assert_eq!(file.write(Bytes::from_static(b"three"), &mut disk), 3);
    assert_eq!(disk.take_disk(), vec![], "one at a time");
    assert_eq!(file.on_disk(&synced(1, 2), &mut disk), None);
    assert_eq!(disk.take_disk(), vec![], "not all of it is durable");
    assert_eq!(file.on_disk(&synced(1, 3), &mut disk), None);
    assert_eq!(disk.take_disk(), replaced(1));
    assert_eq!(file.on_disk(&synced(1, 3), &mut disk), None);
    assert_eq!(disk.take_disk(), vec![], "a repeated completion does nothing");
    let done = file.on_disk(&dir_synced(FileKind::QuorumState, 1), &mut disk);
    assert_eq!(done, Some(AtomicFileEvent::Durable(1)));
    let ops = disk.take_disk();
    assert!(
        matches!(&ops[1], DiskOp::Append { bytes, generation: 2, .. } if bytes[0] == "three"),
        "of what was queued only the last: {ops:?}"
    );
    assert_eq!(file.on_disk(&synced(1, 9), &mut disk), None);
    assert_eq!(disk.take_disk(), vec![], "the earlier temporary's completion");
    file.on_disk(&synced(2, 5), &mut disk);
    assert!(!file.is_idle());
    let done = file.on_disk(&dir_synced(FileKind::QuorumState, 2), &mut disk);
    assert_eq!(done, Some(AtomicFileEvent::Durable(3)));
    assert!(file.is_idle());
}

#[test]
fn another_files_directory_sync_blesses_nothing() {
    let mut disk = Effects::default();
    let mut file = AtomicFile::new(DIR, SmallFile::QuorumState);
    file.write(Bytes::from_static(b"vote"), &mut disk);
    file.on_disk(&synced(1, 4), &mut disk);
    for (by, serial) in [
        (FileKind::LeaderEpochs, 1),
        (FileKind::Log(Offset(0)), 1),
        (FileKind::QuorumState, 0),
        (FileKind::QuorumState, 2),
    ] {
        assert_eq!(file.on_disk(&dir_synced(by, serial), &mut disk), None, "{by:?} {serial}");
    }
    assert!(!file.is_idle());
}

#[test]
fn loads_in_pieces() {
    let mut disk = Effects::default();
    let mut file = AtomicFile::new(DIR, SmallFile::QuorumState);
    file.read(&mut disk);
    let tag = ReadTag::SmallFile;
    let chunk = Bytes::from(vec![7; READ_CHUNK as usize]);
    let read = |at: u64, bytes: Bytes| DiskDone::Read { tag, file: file_id(), at, bytes };
    assert_eq!(file.on_disk(&read(0, chunk.clone()), &mut disk), None);
    let next = u64::from(READ_CHUNK);
    assert_eq!(
        disk.take_disk(),
        vec![
            DiskOp::Read { tag, file: file_id(), at: 0, len: READ_CHUNK },
            DiskOp::Read { tag, file: file_id(), at: next, len: READ_CHUNK },
        ]
    );
    let rest = Bytes::from_static(b"end");
    let Some(AtomicFileEvent::Loaded(all)) = file.on_disk(&read(next, rest), &mut disk) else {
        panic!("it is all there");
    };
    assert_eq!(all.len(), READ_CHUNK as usize + 3);
    assert!(file.is_idle());
}

fn file_id() -> FileId {
    FileId { dir: DIR, kind: FileKind::QuorumState }
}
