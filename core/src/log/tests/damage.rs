//! No damage to any file makes a log panic or serve a record that was never written there.

use super::*;
use crate::note::TruncationReason;

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

const SAME_BOOT: RecoveryHint = RecoveryHint { same_boot: true, ..RecoveryHint::NONE };

fn hints() -> [RecoveryHint; 5] {
    let below = |recovery_point| RecoveryHint { recovery_point, ..RecoveryHint::NONE };
    [
        RecoveryHint::NONE,
        below(Offset(6)),
        RecoveryHint { clean: true, ..below(Offset(12)) },
        SAME_BOOT,
        RecoveryHint { same_boot: true, ..below(Offset(6)) },
    ]
}

/// Checks that the log holds a prefix of the model, or reports corruption.
fn check(node: Node, hint: RecoveryHint, model: &[Batch], what: &str) {
    let mut node = node.reopen(hint);
    if let [LogEvent::Corrupt(_)] = node.events[..] {
        assert!(!what.contains("Index("), "{what}: an index is only a hint");
        assert!(hint != RecoveryHint::NONE, "{what}: nothing was known, so it must be cut");
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
                // cannot be distinguished from another epoch.
                assert_eq!(batch.body(), written.body(), "{what}: another batch at {from}");
                from = batch.next_offset();
            }
            Ok(None) => panic!("{what}: {from} is within the log"),
            Err(()) => {
                assert!(hint != RecoveryHint::NONE, "{what}: everything was checked");
                assert!(!what.contains("Index("), "{what}: an index is only a hint");
                break;
            }
        }
    }
    node.lookup_any();
}

impl Node {
    fn lookup_any(&mut self) {
        let limit = self.log.log_end();
        for query in [TimestampQuery::LARGEST, TimestampQuery::AtOrAfter(101)] {
            if let LookupPlan::Disk(mut query, mut plan) = self.log.lookup_timestamp(query, limit) {
                loop {
                    let bytes = self.disk.slice(plan.file, plan.at, plan.len);
                    match self.log.finish_lookup(query, limit, &plan, bytes) {
                        FinishedLookup::More(next, more) => (query, plan) = (next, more),
                        FinishedLookup::Found(_)
                        | FinishedLookup::Rests(..)
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

/// A wrong entry is not trusted: cuts still find their position.
#[test]
fn a_cut_finds_its_place_though_the_index_is_wrong() {
    let (node, model) = subject();
    let hint = RecoveryHint { clean: true, recovery_point: Offset(12), ..RecoveryHint::NONE };
    for kind in node.disk.files() {
        let FileKind::OffsetIndex(_) = kind else { continue };
        for at in 0..node.clone().disk.content(kind).len() {
            for bit in 0..8 {
                let mut node = node.clone();
                node.disk.content(kind)[at] ^= 1 << bit;
                let mut node = node.reopen(hint);
                let what = std::format!("{kind:?} bit {bit} in byte {at}");
                for batch in model.iter().rev() {
                    let to = batch.base_offset;
                    node.events.clear();
                    node.log.truncate_to(to, TruncationReason::Diverging, &mut node.disk);
                    node.run();
                    let corrupt = |event: &LogEvent| matches!(event, LogEvent::Corrupt(_));
                    assert!(!node.events.iter().any(corrupt), "{what}: {:?}", node.events);
                    assert_eq!(node.log.log_end(), to, "{what}");
                }
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
        for hint in hints() {
            let mut node = node.clone();
            node.disk.remove(kind);
            // If nothing is known, the log may start later, as after retention.
            if kind == FileKind::Log(Offset(0)) && hint.recovery_point == Offset(0) {
                continue;
            }
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
    let hint = RecoveryHint { recovery_point: Offset(3), ..RecoveryHint::NONE };
    let mut refused = node.clone().reopen(hint);
    let [LogEvent::Corrupt(damage)] = refused.events[..] else { panic!("{:?}", refused.events) };
    assert!(
        matches!(refused.disk.notes[..], [Note::LogRefused { .. }]),
        "{:?}",
        refused.disk.notes
    );
    let told = std::string::ToString::to_string(&damage);
    assert!(told.starts_with("00000000000000000000.log is damaged in a part"), "{told}");
    assert!(told.contains("byte 95") && told.contains("offset 2"), "{told}");
    assert_eq!(*refused.disk.content(kind), before, "nothing is cut");
    // Above it, it is a torn tail.
    let mut cut = node.reopen(RecoveryHint::NONE);
    assert!(cut.log.is_ready());
    assert!(cut.disk.content(kind).len() < before.len());
}

#[test]
fn a_read_that_finds_damage_says_so() {
    let (mut node, model) = subject();
    // The length of the second batch, and a byte of its records.
    for at in [100, 180] {
        node.disk.content(FileKind::Log(Offset(0)))[at] ^= 1;
        assert_eq!(node.try_read(0, 12, 9999), Ok(Some(vec![model[0].clone()])), "what is whole");
        assert_eq!(node.try_read(2, 12, 9999), Err(()), "who asks for it is told");
        node.disk.content(FileKind::Log(Offset(0)))[at] ^= 1;
    }
    assert_eq!(node.read_all(), model);
    node.disk.content(FileKind::Log(Offset(0))).truncate(50);
    assert_eq!(node.try_read(0, 12, 1), Err(()), "the file is shorter than was written");
}

/// A killed process leaves everything that it wrote: no flipped bit passes for a torn tail.
#[test]
fn on_the_same_boot_a_flipped_bit_cuts_nothing() {
    let (node, _) = subject();
    for kind in node.disk.files() {
        if !matches!(kind, FileKind::Log(_)) {
            continue;
        }
        for at in 0..node.clone().disk.content(kind).len() {
            for bit in 0..8 {
                let mut node = node.clone();
                node.disk.content(kind)[at] ^= 1 << bit;
                let node = node.reopen(SAME_BOOT);
                if let [LogEvent::Corrupt(damage)] = node.events[..] {
                    // A larger epoch in one segment makes the next one wrong.
                    assert!(damage.file >= kind, "{damage}");
                    continue;
                }
                assert!(node.log.is_ready(), "{kind:?} byte {at}: {:?}", node.events);
                let end = node.log.log_end();
                assert_eq!(end, Offset(12), "{kind:?} byte {at}");
            }
        }
    }
}

/// A kill does leave an incomplete last write.
#[test]
fn on_the_same_boot_a_write_cut_short_is_cut_off() {
    let (node, model) = subject();
    let kind = node.disk.files().into_iter().rfind(|kind| matches!(kind, FileKind::Log(_)));
    let kind = kind.expect("it has segments");
    let last = model.last().expect("it has batches");
    let len = node.clone().disk.content(kind).len();
    for missing in 1..last.size_in_bytes() {
        let mut node = node.clone();
        node.disk.content(kind).truncate(len - missing);
        let mut node = node.reopen(SAME_BOOT);
        assert!(node.log.is_ready(), "{missing} bytes are missing: {:?}", node.events);
        assert_eq!(node.log.log_end(), last.base_offset);
        let (from, to) = (last.next_offset(), last.base_offset);
        let told = |note: &Note| matches!(note, Note::Truncated { to: end, .. } if *end == to);
        assert!(node.disk.notes.iter().any(told), "{from} to {to}: {:?}", node.disk.notes);
        assert_eq!(node.read_all(), model[..model.len() - 1]);
    }
}

/// By the first batch's length, the file ends within it; the batch that follows disproves that,
/// however far away it is.
#[test]
fn a_batch_beyond_the_damage_is_found_however_far() {
    let mut node = Node::new(LogConfig { segment_bytes: 8 << 20, ..config() });
    node.append(0, 1, 600_000, 0);
    node.append(0, 1, 400_000, 0);
    node.run();
    let kind = FileKind::Log(Offset(0));
    node.disk.content(kind)[8] ^= 1; // the length's top byte
    for (after, cut) in [(false, true), (true, false)] {
        let mut node = node.clone();
        if !after {
            node.disk.content(kind).truncate(600_000);
        }
        let node = node.reopen(SAME_BOOT);
        assert_eq!(node.log.is_ready(), cut, "{:?}", node.events);
    }
}

/// Producers choose the content of their records: even whole batches that would continue the log if
/// they lay in it directly.
#[test]
fn a_batch_of_batches_that_was_cut_short_is_no_damage() {
    let mut node = Node::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    node.append(0, 2, 40, 0);
    let batch_of = |value: &[u8], count: usize, base: i64| {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.push(0, None, Some(value), &[]);
        }
        builder.build(Offset(base), LeaderEpoch(0))
    };
    let mut value = Vec::new();
    for base in 2..6 {
        value.extend_from_slice(&batch_of(b"inner", 1, base).to_bytes());
    }
    let outer = batch_of(&value, 2, 2);
    node.log.append_built(outer.clone(), &mut node.disk);
    node.run();
    let kind = FileKind::Log(Offset(0));
    let whole = node.clone().reopen(SAME_BOOT);
    assert_eq!(whole.log.log_end(), Offset(4));
    let len = node.clone().disk.content(kind).len();
    for missing in 1..=outer.size_in_bytes() {
        let mut node = node.clone();
        node.disk.content(kind).truncate(len - missing);
        let node = node.reopen(SAME_BOOT);
        assert!(node.log.is_ready(), "{missing} bytes are missing: {:?}", node.events);
        assert_eq!(node.log.log_end(), Offset(2), "{missing} bytes are missing");
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let (node, _) = subject();
    let segments: Vec<FileKind> =
        node.disk.files().into_iter().filter(|kind| matches!(kind, FileKind::Log(_))).collect();
    assert!(segments.len() > 2, "{segments:?}");
    let above = RecoveryHint { recovery_point: Offset(12), ..RecoveryHint::NONE };
    for kind in &segments {
        let mut node = node.clone();
        node.disk.remove(*kind);
        let refused = node.clone().reopen(above);
        assert!(matches!(refused.events[..], [LogEvent::Corrupt(_)]), "{kind:?}");
        // A missing one in the middle is noticed by those that follow.
        if *kind != segments[0] && Some(kind) != segments.last() {
            let refused = node.reopen(SAME_BOOT);
            assert!(matches!(refused.events[..], [LogEvent::Corrupt(_)]), "{kind:?}");
        }
    }
}
