//! No damage to any file makes a log panic or serve a record that was never written there.

use super::*;

fn subject() -> (Node, Vec<Batch>) {
    let mut node =
        Node::new(LogConfig { segment_bytes: 400, index_interval_bytes: 50, ..config() });
    for (epoch, size) in [(0, 10), (0, 60), (2, 5), (2, 90), (3, 1), (3, 40)] {
        node.append(epoch, 2, size, 100);
    }
    node.log.flush(&mut node.disk);
    node.run();
    assert!(node.log.is_flushed() && node.log.segments().count() > 1);
    let model = node.read_all();
    (node, model)
}

fn hints() -> [RecoveryHint; 3] {
    [
        RecoveryHint::NONE,
        RecoveryHint { clean: false, recovery_point: Offset(6) },
        RecoveryHint { clean: true, recovery_point: Offset(12) },
    ]
}

/// Whether what the log has is a prefix of the model, or it says that it is corrupt.
fn check(node: Node, hint: RecoveryHint, model: &[Batch], what: &str) {
    let mut node = node.reopen(hint);
    if let [LogEvent::Corrupt(_)] = node.events[..] {
        let below_trusted = hint.clean || hint.recovery_point > Offset(0);
        assert!(below_trusted, "{what}: nothing was known, so it must be cut");
        return;
    }
    assert!(node.log.is_ready(), "{what}: {:?}", node.events);
    let end = node.log.log_end();
    assert!(end >= hint.recovery_point, "{what}: cut below what was durable");
    let mut from = Offset(0);
    while from < end {
        match node.try_read(from.0, end.0, 1) {
            Ok(Some(batches)) => {
                let batch = batches.first().expect("progress");
                let written = model
                    .iter()
                    .find(|written| written.base_offset == batch.base_offset)
                    .expect("a batch that was there");
                // The leader epoch lies outside of the CRC: a flip that makes the last one larger
                // cannot be told from another epoch.
                assert_eq!(batch.body(), written.body(), "{what}: another batch at {from}");
                from = batch.next_offset();
            }
            Ok(None) => panic!("{what}: {from} is within the log"),
            Err(()) => {
                assert!(hint != RecoveryHint::NONE, "{what}: everything was checked");
                break;
            }
        }
    }
    node.lookup_any();
}

impl Node {
    fn lookup_any(&mut self) {
        let limit = self.log.log_end();
        for query in [TimestampQuery::Max, TimestampQuery::AtOrAfter(101)] {
            if let LookupPlan::Disk(mut plan) = self.log.lookup_timestamp(query, limit) {
                loop {
                    let bytes = self.disk.slice(plan.file, plan.at, plan.len);
                    match self.log.finish_lookup(query, limit, &plan, bytes) {
                        FinishedLookup::More(more) => plan = more,
                        FinishedLookup::Found(_)
                        | FinishedLookup::Stale
                        | FinishedLookup::Corrupt => break,
                    }
                }
            }
        }
    }
}

#[test]
fn flipped_bits() {
    let (node, model) = subject();
    for kind in node.disk.files() {
        let len = node.clone().disk.content(kind).len();
        for at in 0..len {
            for hint in hints() {
                let mut node = node.clone();
                node.disk.content(kind)[at] ^= 1 << (at % 8);
                check(node, hint, &model, &std::format!("{kind:?} bit in byte {at}, {hint:?}"));
            }
        }
    }
}

#[test]
fn truncated_and_extended_files() {
    let (node, model) = subject();
    for kind in node.disk.files() {
        let len = node.clone().disk.content(kind).len();
        for to in (0..len).chain([len + 1, len + 70]) {
            for hint in hints() {
                let mut node = node.clone();
                node.disk.content(kind).resize(to, 0);
                check(node, hint, &model, &std::format!("{kind:?} cut to {to}, {hint:?}"));
            }
        }
    }
}

#[test]
fn missing_files() {
    let (node, model) = subject();
    for kind in node.disk.files() {
        // A log that lost its first segment starts later, as after retention.
        if kind == FileKind::Log(Offset(0)) {
            continue;
        }
        for hint in hints() {
            let mut node = node.clone();
            node.disk.remove(kind);
            check(node, hint, &model, &std::format!("{kind:?} removed, {hint:?}"));
        }
    }
}

#[test]
fn damage_below_the_recovery_point_is_reported_and_kept() {
    let (mut node, _) = subject();
    let kind = FileKind::Log(Offset(0));
    node.disk.content(kind)[100] ^= 1;
    let before = node.disk.content(kind).clone();
    let hint = RecoveryHint { clean: false, recovery_point: Offset(3) };
    let mut refused = node.clone().reopen(hint);
    let [LogEvent::Corrupt(reason)] = refused.events[..] else { panic!("{:?}", refused.events) };
    assert!(
        matches!(refused.disk.notes[..], [Note::LogRefused { .. }]),
        "{:?}",
        refused.disk.notes
    );
    assert!(reason.starts_with("a segment is damaged"), "{reason}");
    assert_eq!(*refused.disk.content(kind), before, "nothing is cut");
    // Above it, it is a torn tail.
    let mut cut = node.reopen(RecoveryHint::NONE);
    assert!(cut.log.is_ready());
    assert!(cut.disk.content(kind).len() < before.len());
}

#[test]
fn a_read_that_finds_damage_says_so() {
    let (mut node, model) = subject();
    node.disk.content(FileKind::Log(Offset(0)))[100] ^= 1;
    assert_eq!(node.try_read(0, 12, 1), Err(()));
    node.disk.content(FileKind::Log(Offset(0)))[100] ^= 1;
    assert_eq!(node.read_all(), model);
    node.disk.content(FileKind::Log(Offset(0))).truncate(50);
    assert_eq!(node.try_read(0, 12, 1), Err(()), "the file is shorter than was written");
}
