//! The watermarks, the bytes of the files, and how recovery handles each kind of leftover.

use super::*;
use crate::note::TruncationReason;

const LOG0: FileKind = FileKind::Log(Offset(0));

fn log_file(base: i64) -> FileId {
    FileId { dir: DIR, kind: FileKind::Log(Offset(base)) }
}

#[test]
fn files_are_kafkas() {
    let mut node = Node::new(LogConfig { index_interval_bytes: 100, ..config() });
    let one = node.append(3, 1, 60, 1000);
    let two = node.append(3, 2, 10, 900);
    let three = node.append(4, 1, 0, 2000);
    node.run();
    let mut expected = one.to_bytes().to_vec();
    expected.extend_from_slice(&two.to_bytes());
    expected.extend_from_slice(&three.to_bytes());
    assert_eq!(*node.disk.content(LOG0), expected);
    // An entry after 129 bytes: last offset 2 at byte 129; the largest timestamp so far is 1000 at
    // offset 0.
    assert_eq!(one.size_in_bytes(), 129);
    let index = FileKind::OffsetIndex(Offset(0));
    assert_eq!(*node.disk.content(index), [0, 0, 0, 2, 0, 0, 0, 129]);
    let time_index = FileKind::TimeIndex(Offset(0));
    assert_eq!(*node.disk.content(time_index), [0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 0]);
    assert_eq!(*node.disk.content(FileKind::LeaderEpochs), b"0\n2\n3 0\n4 3\n");
    assert_eq!(index.name(), "00000000000000000000.index");
    // A closed segment ends with its largest timestamp.
    let last = node.append(4, 1, 1000, 5);
    node.run();
    let times = node.disk.content(time_index).clone();
    assert_eq!(times[12..], [0, 0, 0, 0, 0, 0, 7, 208, 0, 0, 0, 3]);
    assert_eq!(last.base_offset, Offset(4));
    assert_eq!(node.log.segments().map(|segment| segment.base.0).collect::<Vec<_>>(), [0, 4]);
}

#[test]
fn completions_are_watermarks() {
    let mut node = Node::new(config());
    let size = node.append(0, 1, 10, 0).size_in_bytes() as u64;
    node.append(0, 1, 10, 0);
    node.log.flush(&mut node.disk);
    node.append(0, 1, 10, 0);
    let written = |upto| DiskDone::Written { file: log_file(0), generation: 1, upto };
    let synced = |generation, upto| DiskDone::Synced { file: log_file(0), generation, upto };
    let on = |node: &mut Node, done| node.log.on_disk(&done, &mut node.disk);
    assert_eq!(on(&mut node, written(size - 1)), LogEvent::None, "not the whole batch");
    assert_eq!(on(&mut node, written(2 * size)), LogEvent::Progress, "merged");
    assert_eq!(node.log.written_end(), Offset(2));
    assert_eq!(on(&mut node, written(size)), LogEvent::None, "late");
    assert_eq!(on(&mut node, synced(0, 3 * size)), LogEvent::None, "of another generation");
    assert_eq!(on(&mut node, synced(1, 3 * size)), LogEvent::Progress);
    // Durable data was also written, but only an end that a sync was requested for is known.
    assert_eq!((node.log.synced_end(), node.log.written_end()), (Offset(2), Offset(3)));
    assert_eq!(on(&mut node, synced(1, 3 * size)), LogEvent::None, "repeated");
}

#[test]
fn nothing_is_durable_before_its_directory_entry() {
    let mut disk = TestDisk::default();
    let log = PartitionLog::open(DIR, "t-0", PARTITION, config(), RecoveryHint::NONE, &mut disk);
    let mut node = Node { log, disk, events: vec![] };
    node.disk.execute();
    node.deliver();
    assert!(node.log.is_ready(), "an empty log is ready at once");
    node.append(0, 1, 10, 0);
    node.log.flush(&mut node.disk);
    while node.disk.execute() {}
    // The directory's sync completes last.
    let at = node
        .disk
        .done
        .iter()
        .position(|done| matches!(done, DiskDone::DirSynced { by, .. } if *by == LOG0))
        .expect("it was synced");
    let dir_synced = node.disk.done.remove(at).expect("it is there");
    while node.deliver() {}
    assert_eq!((node.log.written_end(), node.log.synced_end()), (Offset(1), Offset(0)));
    assert_eq!(node.log.recovery_point(Offset(1)), Offset(0));
    let told = Note::LogSynced { partition: PARTITION, end: Offset(1) };
    assert!(!node.disk.notes.contains(&told), "{:?}", node.disk.notes);
    assert_eq!(node.log.on_disk(&dir_synced, &mut node.disk), LogEvent::Progress);
    assert_eq!(node.log.synced_end(), Offset(1));
    assert_eq!(node.disk.notes.last(), Some(&told));
}

#[test]
fn a_late_completion_does_not_bless_what_replaced_cut_bytes() {
    let mut node = Node::new(config());
    node.append(0, 1, 10, 0);
    node.append(0, 1, 10, 0);
    node.log.flush(&mut node.disk);
    while node.disk.execute() {}
    let late: Vec<DiskDone> = node.disk.done.drain(..).collect();
    assert!(node.log.truncate_to(Offset(1), TruncationReason::Diverging, &mut node.disk));
    node.append(1, 1, 10, 0);
    for done in late {
        node.log.on_disk(&done, &mut node.disk);
    }
    assert_eq!((node.log.written_end(), node.log.synced_end()), (Offset(0), Offset(0)));
    node.run();
    assert_eq!((node.log.written_end(), node.log.synced_end()), (Offset(2), Offset(1)));
    node.log.flush(&mut node.disk);
    node.run();
    assert_eq!(node.log.synced_end(), Offset(2));
}

#[test]
fn synced_end_waits_for_earlier_segments() {
    let mut node = Node::new(LogConfig { segment_bytes: 100, ..config() });
    node.append(0, 1, 10, 0);
    node.append(0, 1, 10, 0);
    node.log.flush(&mut node.disk);
    while node.disk.execute() {}
    let first =
        |done: &DiskDone| matches!(done, DiskDone::Synced { file, .. } if file.kind == LOG0);
    let at = node.disk.done.iter().position(first).expect("closing syncs");
    let held = node.disk.done.remove(at).expect("it is there");
    while node.deliver() {}
    assert_eq!((node.log.written_end(), node.log.synced_end()), (Offset(2), Offset(0)));
    node.log.on_disk(&held, &mut node.disk);
    assert_eq!(node.log.synced_end(), Offset(2));
}

#[test]
fn a_follower_refuses_what_does_not_continue_its_log() {
    let mut node = Node::new(config());
    node.append(2, 1, 10, 0);
    let next = node.batch(2, 1, 10, 0);
    let elsewhere = next.with_prefix(Offset(5), LeaderEpoch(2));
    let mut append = |batch: Batch| node.log.append_as_follower(batch, &mut node.disk);
    let (expected, found) = (Offset(1), Offset(5));
    assert_eq!(append(elsewhere), Err(AppendError::OutOfOrder { expected, found }));
    let (ours, found) = (LeaderEpoch(2), LeaderEpoch(1));
    let back = next.with_prefix(Offset(1), found);
    assert_eq!(append(back), Err(AppendError::EpochGoesBack { ours, found }));
    let mut bytes = next.to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let flipped = Batch::parse(&Bytes::from(bytes)).unwrap();
    assert_eq!(append(flipped), Err(AppendError::BadCrc));
    assert_eq!(append(next).map(|appended| appended.end), Ok(Offset(2)));
}

#[test]
fn cached_and_cold_reads_are_equal() {
    let mut cold = Node::new(config());
    let mut warm = Node::new(LogConfig { tail_cache_bytes: 1 << 20, ..config() });
    for size in [10, 200, 30, 500, 0, 90, 700, 1] {
        cold.append(0, 2, size, 0);
        warm.append(0, 2, size, 0);
    }
    assert!(cold.log.segments().count() > 2);
    assert_eq!(cold.read(0, 16, 9999), Some(vec![]), "nothing is served before it is written");
    cold.run();
    warm.run();
    let limits = ReadLimits::at_least_one(Offset(16), 9999);
    assert!(matches!(warm.log.read(Offset(3), &limits), Ok(ReadPlan::Cached(_))));
    assert!(matches!(cold.log.read(Offset(3), &limits), Ok(ReadPlan::Disk(_))));
    assert_eq!(cold.read_all(), warm.read_all());
    // The batch that contains the offset is read whole, even if it is too large (KIP-74).
    let found = cold.read(13, 16, 1).expect("within the log");
    assert_eq!((found.len(), found[0].base_offset), (1, Offset(12)));
    for node in [&mut cold, &mut warm] {
        let size = found[0].size_in_bytes() as u32;
        let mut within = |max| node.try_read_within(13, 16, max, false).unwrap().unwrap().len();
        assert_eq!([within(1), within(size - 1), within(size)], [0, 0, 1], "only if it fits");
    }
    assert_eq!(cold.read(13, 13, 9999), Some(vec![]), "not a batch that ends beyond the limit");
    assert_eq!((cold.read(16, 16, 9999), cold.read(17, 17, 9999)), (Some(vec![]), None));
}

#[test]
fn a_read_of_a_cut_file_is_stale() {
    let mut node = Node::new(config());
    node.append(0, 1, 10, 0);
    node.append(0, 1, 10, 0);
    node.run();
    let limits = ReadLimits::at_least_one(Offset(2), 9999);
    let Ok(ReadPlan::Disk(plan)) = node.log.read(Offset(0), &limits) else {
        panic!("nothing is cached");
    };
    let bytes = node.disk.slice(plan.file, plan.at, plan.len);
    node.log.truncate_to(Offset(1), TruncationReason::Diverging, &mut node.disk);
    let finished = node.log.finish_read(Offset(0), &limits, &plan, bytes);
    assert_eq!(finished, FinishedRead::Stale);
}

#[test]
fn truncation_reads_where_memory_does_not_reach() {
    let mut node = Node::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    for _ in 0..20 {
        node.append(0, 2, 10, 0);
    }
    node.run();
    let reason = TruncationReason::Diverging;
    assert!(!node.log.truncate_to(Offset(5), reason, &mut node.disk), "it has to read");
    assert!(!node.log.is_ready());
    node.run();
    assert!(node.events.contains(&LogEvent::Truncated));
    assert_eq!(node.log.log_end(), Offset(4), "the whole batch that contains the offset goes");
    let mut node = Node::new(LogConfig { tail_cache_bytes: 1 << 20, ..config() });
    for _ in 0..20 {
        node.append(0, 2, 10, 0);
    }
    assert!(node.log.truncate_to(Offset(5), reason, &mut node.disk), "positions are in memory");
    assert_eq!(node.log.log_end(), Offset(4));
}

#[test]
fn truncation_at_the_end_trims_epochs() {
    let mut node = Node::new(config());
    node.append(1, 1, 10, 0);
    node.log.assign_epoch_start(LeaderEpoch(5), &mut node.disk);
    assert_eq!(node.log.last_epoch(), LeaderEpoch(5));
    assert!(node.log.truncate_to(Offset(1), TruncationReason::Diverging, &mut node.disk));
    assert_eq!(node.log.last_epoch(), LeaderEpoch(1), "KAFKA-10706");
}

#[test]
fn epochs_survive_in_the_batches_alone() {
    let mut node = Node::new(config());
    node.append(0, 1, 10, 0);
    node.append(3, 1, 10, 0);
    node.run();
    for damage in [None, Some(&b"0\n1\n"[..]), Some(b"0\n1\n7 0\n"), Some(b"\xff")] {
        let mut node = node.clone();
        match damage {
            None => node.disk.remove(FileKind::LeaderEpochs),
            Some(content) => node.disk.put(FileKind::LeaderEpochs, content),
        }
        for clean in [false, true] {
            node = node.reopen(RecoveryHint { clean, ..RecoveryHint::NONE });
            let epochs: Vec<_> = node.log.epochs().iter().map(|(e, o)| (e.0, o.0)).collect();
            assert_eq!(epochs, [(0, 0), (3, 1)], "epoch 0 too (KAFKA-10432)");
            assert_eq!(*node.disk.content(FileKind::LeaderEpochs), b"0\n2\n0 0\n3 1\n");
        }
    }
}

#[test]
fn recovery_cleans_up() {
    let mut node = Node::new(LogConfig { segment_bytes: 100, ..config() });
    for _ in 0..4 {
        node.append(0, 1, 10, 0);
    }
    node.run();
    let model = node.read_all();
    // Index files without a log, a left-over temporary, a missing index.
    node.disk.put(FileKind::OffsetIndex(Offset(77)), b"x");
    node.disk.put(FileKind::Temporary(SmallFile::LeaderEpochs), b"x");
    node.disk.remove(FileKind::TimeIndex(Offset(1)));
    let mut same = node.clone().reopen(RecoveryHint::NONE);
    assert_eq!(same.read_all(), model);
    let files = same.disk.files();
    assert!(!files.contains(&FileKind::OffsetIndex(Offset(77))));
    assert!(!files.contains(&FileKind::Temporary(SmallFile::LeaderEpochs)));
    assert!(files.contains(&FileKind::TimeIndex(Offset(1))));
    // A segment in the middle is missing: nothing after it continues the log.
    node.disk.remove(FileKind::Log(Offset(2)));
    let mut cut = node.clone().reopen(RecoveryHint::NONE);
    assert_eq!(cut.read_all(), model[..2]);
    assert!(!cut.disk.files().contains(&FileKind::Log(Offset(3))));
    // Unless that is impossible below the recovery point: then nothing is touched.
    let before = node.disk.files();
    let hint = RecoveryHint { recovery_point: Offset(4), ..RecoveryHint::NONE };
    let refused = node.reopen(hint);
    assert!(matches!(refused.events[..], [LogEvent::Corrupt(_)]), "{:?}", refused.events);
    assert!(before.iter().all(|kind| refused.disk.files().contains(kind)
        || *kind == FileKind::OffsetIndex(Offset(77))
        || *kind == FileKind::OffsetIndex(Offset(2))
        || *kind == FileKind::TimeIndex(Offset(2))
        || *kind == FileKind::Temporary(SmallFile::LeaderEpochs)));
}

#[test]
fn an_empty_active_segment_is_no_problem() {
    let mut node = Node::new(LogConfig { segment_bytes: 100, ..config() });
    node.append(0, 1, 10, 0);
    node.append(0, 1, 10, 0);
    node.log.truncate_to(Offset(1), TruncationReason::Diverging, &mut node.disk);
    node.run();
    assert_eq!(node.log.segments().map(|s| s.size).collect::<Vec<_>>(), [78, 0]);
    let mut node = node.reopen(RecoveryHint::NONE);
    assert_eq!((node.log.log_start(), node.log.log_end()), (Offset(0), Offset(1)));
    node.append(0, 1, 10, 0);
    node.run();
    assert_eq!(node.read_all().len(), 2);
}

#[test]
fn a_clean_start_reads_little() {
    let mut node = Node::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    for _ in 0..200 {
        node.append(0, 5, 100, 0);
    }
    node.log.flush(&mut node.disk);
    node.run();
    assert!(node.log.is_flushed());
    let size = node.disk.content(LOG0).len();
    let Node { mut disk, .. } = node;
    let hint = RecoveryHint { clean: true, ..RecoveryHint::NONE };
    let config = LogConfig { segment_bytes: 1 << 20, ..config() };
    let log = PartitionLog::open(DIR, "t-0", PARTITION, config, hint, &mut disk);
    let mut node = Node { log, disk, events: vec![] };
    let mut read = 0;
    while node.deliver() || node.disk.execute() {
        for done in &node.disk.done {
            if let DiskDone::Read { file, bytes, .. } = done
                && file.kind == LOG0
            {
                read += bytes.len();
            }
        }
    }
    assert_eq!((node.log.log_end(), node.log.synced_end()), (Offset(1000), Offset(1000)));
    assert!(read < size / 50, "{read} of {size} bytes were read");
}

/// While a log is opened, its topic's settings are not known: another interval is no reason to read
/// the whole log and rewrite its indexes.
#[test]
fn a_clean_start_leaves_an_index_of_another_interval_as_it_is() {
    let of =
        |index_interval_bytes| LogConfig { segment_bytes: 2_000, index_interval_bytes, ..config() };
    let mut node = Node::new(of(600));
    for _ in 0..60 {
        node.append(0, 1, 100, 5);
    }
    node.log.flush(&mut node.disk);
    node.run();
    let closed = [FileKind::OffsetIndex(Offset(0)), FileKind::TimeIndex(Offset(0))];
    let written = closed.map(|kind| node.disk.content(kind).clone());
    assert!(written[0].len() > 8, "more than one entry");
    for interval in [1, 600, 1 << 20] {
        let hint = RecoveryHint { clean: true, ..RecoveryHint::NONE };
        node = node.reopen_with(of(interval), hint);
        assert_eq!(closed.map(|kind| node.disk.content(kind).clone()), written, "{interval}");
        let recovered = |note: &Note| matches!(note, Note::Recovered { reindexed: 0, .. });
        assert!(node.disk.notes.iter().any(recovered), "{interval}: {:?}", node.disk.notes);
        assert_eq!(node.read_all().len(), 60);
    }
}

#[test]
fn a_failed_operation_ends_it() {
    for op in [DiskOpKind::Append, DiskOpKind::Create, DiskOpKind::OpenDir, DiskOpKind::Read] {
        let mut node = Node::new(config());
        let (file, error) = (log_file(0), DiskError::Full);
        let event = node.log.on_disk(&DiskDone::Failed { file, op, error }, &mut node.disk);
        assert_eq!(event, LogEvent::Failed(op, error));
        assert!(!node.log.is_ready());
        let written = DiskDone::Written { file, generation: 1, upto: 5 };
        assert_eq!(node.log.on_disk(&written, &mut node.disk), LogEvent::None);
    }
}

#[test]
fn append_time_is_stamped_by_the_leader() {
    use crate::types::WallTime;
    let mut node = Node::new(config());
    let topic = TopicConfig { log_append_time: true, ..TopicConfig::default() };
    let sent = node.batch(-1, 2, 10, 77).to_bytes();
    let verify = |config| {
        let now = WallTime(100);
        crate::batch::VerifiedBatch::verify_produce(Some(sent.clone()), 9, config, now).unwrap()
    };
    let (now, epoch) = (WallTime(500), LeaderEpoch(2));
    let first = node.log.append_as_leader(verify(&topic), epoch, now, &mut node.disk);
    assert_eq!((first.log_append_time, first.max_timestamp), (Some(500), 500));
    let plain = TopicConfig::default();
    let second = node.log.append_as_leader(verify(&plain), epoch, now, &mut node.disk);
    assert_eq!((second.first, second.end), (Offset(2), Offset(4)));
    assert_eq!((second.log_append_time, second.max_timestamp), (None, 78));
    node.run();
    assert_eq!(node.read_all()[0].records().unwrap()[1].timestamp, 500);
}

#[test]
fn the_cache_is_no_part_of_a_state() {
    let mut cold = Node::new(config());
    let mut warm = cold.clone();
    warm.log.tail = Tail::new(127);
    cold.append(0, 1, 10, 0);
    warm.append(0, 1, 10, 0);
    let in_memory = |node: &Node| {
        let first = node.log.tail.from(Offset(0)).and_then(|mut entries| entries.next());
        first.is_some_and(|entry| entry.batch().is_some())
    };
    assert!(in_memory(&warm) && !in_memory(&cold));
    assert_eq!(cold.log, warm.log);
}

/// Nobody appends any more, and nothing else would request a sync.
#[test]
fn what_was_appended_before_flushing_began_is_synced_then() {
    let mut node = Node::new(LogConfig { flush_each_batch: false, ..config() });
    node.append(0, 2, 10, 0);
    node.run();
    assert_eq!((node.log.counted_end(), node.log.synced_end()), (Offset(2), Offset(0)));
    node.log.set_config(LogConfig { flush_each_batch: true, ..config() }, &mut node.disk);
    assert_eq!(node.log.counted_end(), Offset(0), "it is not durable yet");
    node.run();
    assert_eq!(node.log.counted_end(), Offset(2));
    node.log.set_config(LogConfig { flush_each_batch: true, ..config() }, &mut node.disk);
    assert!(node.disk.queue.is_empty(), "there is nothing more to sync");
}
