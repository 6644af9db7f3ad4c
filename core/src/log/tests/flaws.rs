//! Each flaw of the log has the effect that it is named for.

use super::*;

fn with(flaw: Option<Flaw>) -> FlawSet {
    flaw.into_iter().collect()
}

#[test]
fn torn_tail_accepted() {
    for flaw in [None, Some(Flaw::TornTailAccepted)] {
        let mut node = Node::new(LogConfig { flaws: with(flaw), ..config() });
        node.append(0, 1, 10, 0);
        node.append(0, 1, 100, 0);
        node.run();
        let content = node.disk.content(FileKind::Log(Offset(0)));
        // A sector in the middle of the last write did not reach the disk.
        let end = content.len();
        content[end - 40..end - 20].fill(0);
        let mut node = node.reopen(RecoveryHint::NONE);
        if flaw.is_none() {
            assert_eq!(node.log.log_end(), Offset(1));
            let torn = node.disk.notes.iter().any(|note| {
                matches!(note, Note::Truncated { reason, from: Offset(2), to: Offset(1), .. }
                    if *reason == crate::note::TruncationReason::TornTail)
            });
            assert!(torn, "{:?}", node.disk.notes);
            assert_eq!(node.read_all().len(), 1);
        } else {
            assert_eq!(node.log.log_end(), Offset(2), "half a batch became part of the log");
        }
    }
}

#[test]
fn failed_sync_retried() {
    for flaw in [None, Some(Flaw::FailedSyncRetried)] {
        let config = LogConfig { flush_each_batch: true, flaws: with(flaw), ..config() };
        let mut node = Node::new(config);
        node.disk.fails_sync = true;
        node.append(0, 1, 10, 0);
        node.run();
        if flaw.is_none() {
            let failed = LogEvent::Failed(DiskOpKind::Sync, DiskError::Io);
            assert!(node.events.contains(&failed), "{:?}", node.events);
            assert_eq!(node.log.counted_end(), Offset(0));
            assert!(!node.log.is_ready(), "nothing is appended after a failed sync");
        } else {
            assert_eq!(node.log.counted_end(), Offset(1), "the second sync said that all is well");
            node.disk.lose_power(&mut Dice(1));
            let content = node.disk.content(FileKind::Log(Offset(0))).clone();
            let whole = Batch::parse(&Bytes::from(content)).is_ok_and(|batch| batch.verify_crc());
            assert!(!whole, "but it is nowhere on disk");
        }
    }
}

#[test]
fn ack_before_flush() {
    for flaw in [None, Some(Flaw::AckBeforeFlush)] {
        let config = LogConfig { flush_each_batch: true, flaws: with(flaw), ..config() };
        let mut node = Node::new(config);
        node.append(0, 1, 10, 0);
        // Everything up to the write, but not the sync.
        while !matches!(node.disk.queue.front(), Some(DiskOp::Sync { file, .. })
            if file.kind == FileKind::Log(Offset(0)))
        {
            assert!(node.disk.execute());
        }
        while node.deliver() {}
        assert_eq!((node.log.written_end(), node.log.synced_end()), (Offset(1), Offset(0)));
        let counted = if flaw.is_some() { Offset(1) } else { Offset(0) };
        assert_eq!(node.log.counted_end(), counted);
        node.run();
        assert_eq!(node.log.counted_end(), Offset(1));
    }
}

#[test]
fn unknown_epoch_answered_with_next() {
    for flaw in [None, Some(Flaw::UnknownEpochAnsweredWithNext)] {
        let mut node = Node::new(LogConfig { flaws: with(flaw), ..config() });
        node.append(1, 2, 10, 0);
        node.append(4, 3, 10, 0);
        let answer = |epoch| {
            let end = node.log.epochs().end_offset_for(LeaderEpoch(epoch), node.log.log_end());
            end.map(|end| (end.epoch.0, end.end_offset.0))
        };
        assert_eq!(answer(-1), None);
        assert_eq!(answer(0), Some((0, 0)), "below the first");
        assert_eq!(answer(4), Some((4, 5)));
        assert_eq!(answer(5), None, "above all");
        let unknown = if flaw.is_some() { (2, 2) } else { (1, 2) };
        assert_eq!(answer(2), Some(unknown));
        assert_eq!(answer(3).map(|(epoch, _)| epoch), Some(if flaw.is_some() { 3 } else { 1 }));
        assert_eq!(answer(1), Some((1, 2)), "a known one either way");
    }
}
