//! Random histories, checked against a vector of batches: the recovered log is a prefix that holds
//! everything promised, and every read agrees with it.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        bump: bool,
        count: usize,
        size: usize,
        time: i64,
    },
    Flush,
    EpochStart,
    Truncate(u64),
    TruncateFully(i64),
    Disk(u8),
    Deliver(u8),
    Settle,
    HighWatermark,
    Checkpoint,
    Read(u64, u64, u32),
    Lookup(i64, u64),
    Crash,
    PowerLoss,
    CleanRestart,
    /// A topic's configuration is known only after its log was opened, and may change.
    Interval(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<bool>(), 1usize..4, 0usize..200, 0i64..1000).prop_map(
            |(bump, count, size, time)| Step::Append { bump, count, size, time }
        ),
        2 => Just(Step::Flush),
        1 => Just(Step::EpochStart),
        3 => any::<u64>().prop_map(Step::Truncate),
        1 => (1i64..30).prop_map(Step::TruncateFully),
        6 => (1u8..8).prop_map(Step::Disk),
        6 => (1u8..8).prop_map(Step::Deliver),
        3 => Just(Step::Settle),
        2 => Just(Step::HighWatermark),
        2 => Just(Step::Checkpoint),
        4 => (any::<u64>(), any::<u64>(), 0u32..2000).prop_map(|(a, b, c)| Step::Read(a, b, c)),
        2 => (0i64..1100, any::<u64>()).prop_map(|(a, b)| Step::Lookup(a, b)),
        1 => Just(Step::Crash),
        1 => Just(Step::PowerLoss),
        1 => Just(Step::CleanRestart),
        1 => (0u32..400).prop_map(Step::Interval),
    ]
}

fn config() -> impl Strategy<Value = LogConfig> {
    let tail_cache_bytes = prop_oneof![Just(0u32), 0u32..600, Just(100_000)];
    let read_chunk_bytes = prop_oneof![64u32..300, Just(64 << 10)];
    (100u32..2000, 0u32..400, any::<bool>(), tail_cache_bytes, read_chunk_bytes).prop_map(
        |(segment_bytes, index_interval_bytes, flush_each_batch, tail_cache, read_chunk)| {
            LogConfig {
                segment_bytes,
                index_interval_bytes,
                flush_each_batch,
                tail_cache_bytes: tail_cache,
                read_chunk_bytes: read_chunk,
                flaws: FlawSet::NONE,
            }
        },
    )
}

/// A log, and what it should hold.
struct Test {
    node: Node,
    model: Vec<Batch>,
    start: Offset,
    /// Every batch that was ever appended, by offset and bytes.
    ever: BTreeSet<(i64, Bytes)>,
    epoch: i32,
    /// Nothing below it is truncated.
    high_watermark: Offset,
    /// The offset in the recovery-point checkpoint.
    recovery_point: Offset,
    dice: Dice,
}

impl Test {
    fn new(config: LogConfig, seed: u64) -> Test {
        Test {
            node: Node::new(config),
            model: vec![],
            start: Offset::ZERO,
            ever: BTreeSet::new(),
            epoch: 0,
            high_watermark: Offset::ZERO,
            recovery_point: Offset::ZERO,
            dice: Dice(seed),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { bump, count, size, time } => {
                if !self.node.log.is_ready() {
                    return;
                }
                self.epoch += i32::from(*bump);
                let batch = self.node.append(self.epoch, *count, *size, *time);
                self.ever.insert((batch.base_offset.0, batch.to_bytes()));
                self.model.push(batch);
            }
            Step::Flush => self.node.log.flush(&mut self.node.disk),
            Step::EpochStart => {
                if self.node.log.is_ready() {
                    self.epoch += 1;
                    let epoch = LeaderEpoch(self.epoch);
                    self.node.log.assign_epoch_start(epoch, &mut self.node.disk);
                }
            }
            Step::Truncate(at) => self.truncate(*at),
            Step::TruncateFully(beyond) => {
                if self.node.log.is_ready() {
                    let to = self.node.log.log_end() + *beyond;
                    self.node.log.truncate_fully_and_start_at(to, &mut self.node.disk);
                    (self.start, self.high_watermark) = (to, to);
                    self.model.clear();
                }
            }
            Step::Disk(count) => (0..*count).for_each(|_| {
                self.node.disk.execute();
            }),
            Step::Deliver(count) => (0..*count).for_each(|_| {
                self.node.deliver();
            }),
            Step::Settle => self.settle(),
            Step::HighWatermark if !self.node.log.is_ready() => {}
            Step::HighWatermark => {
                self.high_watermark = self.high_watermark.max(self.node.log.written_end());
            }
            Step::Checkpoint => {
                self.recovery_point = self.node.log.recovery_point(self.high_watermark);
            }
            Step::Read(from, limit, max) => self.check_read(*from, *limit, *max),
            Step::Lookup(time, limit) => self.check_lookups(*time, *limit),
            Step::Crash => {
                let floor = self.node.log.written_end();
                self.node.disk.crash(&mut self.dice);
                self.restart(floor, false, true);
            }
            Step::PowerLoss => {
                let floor = self.node.log.synced_end();
                self.node.disk.lose_power(&mut self.dice);
                self.restart(floor, false, false);
            }
            Step::CleanRestart => {
                self.settle();
                self.node.log.flush(&mut self.node.disk);
                self.settle();
                assert!(self.node.log.is_flushed(), "a flush comes to its end");
                self.node.disk.lose_power(&mut self.dice);
                self.restart(self.node.log.log_end(), true, false);
            }
            Step::Interval(index_interval_bytes) => {
                let index_interval_bytes = *index_interval_bytes;
                let config = LogConfig { index_interval_bytes, ..self.node.log.config().clone() };
                self.node.log.set_config(config, &mut self.node.disk);
            }
        }
        self.check_ends();
    }

    fn settle(&mut self) {
        self.node.run();
        assert!(self.node.log.is_ready());
        assert_eq!(self.node.log.written_end(), self.node.log.log_end());
    }

    fn truncate(&mut self, at: u64) {
        if !self.node.log.is_ready() {
            return;
        }
        let (low, high) = (self.high_watermark.0.max(self.start.0), self.node.log.log_end().0 + 2);
        let target = Offset(low + (at % (high - low + 1) as u64) as i64);
        let reason = crate::note::TruncationReason::Diverging;
        // If the cut has to read, it is done when the log is ready again; a crash may come first.
        let done = self.node.log.truncate_to(target, reason, &mut self.node.disk);
        assert_eq!(done, self.node.log.is_ready());
        self.model.retain(|batch| batch.last_offset() < target);
        self.epoch += 1;
    }

    fn end(&self) -> Offset {
        self.model.last().map_or(self.start, Batch::next_offset)
    }

    fn restart(&mut self, floor: Offset, clean: bool, same_boot: bool) {
        let hint = RecoveryHint { clean, same_boot, recovery_point: self.recovery_point };
        // A truncation that was still reading promises nothing beyond its target.
        let floor = floor.min(self.end());
        let old = core::mem::replace(&mut self.node, Node::new(super::config()));
        self.node = old.reopen(hint);
        let events = self.node.events.clone();
        assert!(self.node.log.is_ready(), "{events:?}");
        self.node.run();
        let recovered = self.node.read_all();
        let end = self.node.log.log_end();
        // An empty log promises nothing: if it was just started anew, it may revert to its earlier
        // content.
        let anew = self.node.log.log_start() != self.start;
        let promises = floor > self.start;
        assert!(!promises || (end >= floor && !anew), "recovered to {end}, promised {floor}");
        for (index, batch) in recovered.iter().enumerate() {
            let known = (batch.base_offset.0, batch.to_bytes());
            assert!(self.ever.contains(&known), "never appended: {batch:?}");
            let promised = batch.last_offset() < floor && !anew;
            assert!(!promised || self.model.get(index) == Some(batch), "another at {index}");
        }
        if clean {
            assert_eq!(recovered, self.model);
        }
        self.start = self.node.log.log_start();
        self.model = recovered;
        // Look-ups check the time index that recovery made.
        let times = self.model.iter().map(Batch::max_timestamp);
        for time in times.collect::<BTreeSet<_>>() {
            self.check_lookups(time, (end.0 - self.start.0) as u64);
        }
        self.epoch = self.epoch.max(self.node.log.last_epoch().0) + 1;
        self.high_watermark = self.high_watermark.min(end);
        assert_eq!(self.node.log.synced_end(), end, "recovery syncs what it accepted");
    }

    fn check_ends(&self) {
        let log = &self.node.log;
        assert!(log.synced_end() <= log.written_end() && log.written_end() <= log.log_end());
        if !log.is_ready() {
            return;
        }
        assert_eq!(log.log_end(), self.end());
        let epochs: Vec<_> = log.epochs().iter().collect();
        for batch in &self.model {
            let epoch = log.epochs().epoch_of(batch.base_offset);
            assert_eq!(epoch, Some(batch.leader_epoch), "{epochs:?}");
        }
    }

    fn check_read(&mut self, from: u64, limit: u64, max: u32) {
        if !self.node.log.is_ready() {
            return;
        }
        let (start, end) = (self.start.0, self.end().0);
        let from = start + (from % (end - start + 3) as u64) as i64 - 1;
        let limit = start + (limit % (end - start + 2) as u64) as i64;
        let found = self.node.read(from, limit, max);
        if from < start || from > end {
            assert_eq!(found, None);
            return;
        }
        let below = limit.min(self.node.log.written_end().0);
        let mut expected: Vec<Batch> = vec![];
        let mut bytes = 0;
        for batch in self.model.iter().filter(|batch| batch.last_offset().0 >= from) {
            bytes += batch.size_in_bytes();
            let fits = expected.is_empty() || bytes <= max as usize;
            if !fits || batch.next_offset().0 > below {
                break;
            }
            expected.push(batch.clone());
        }
        let found = found.expect("within the log");
        // A read ends with its segment or its cache: whole batches, in order, at least one.
        assert!(found.len() <= expected.len() && found[..] == expected[..found.len()]);
        assert_eq!(found.is_empty(), expected.is_empty());
        // A fetch that needs no more than these bytes does not wait, wherever the read ends.
        let there = self.model.iter().filter(|batch| batch.last_offset().0 >= from);
        let there = there.take_while(|batch| batch.next_offset().0 <= below);
        let there: Vec<_> = there.map(Batch::size_in_bytes).collect();
        let least =
            there.iter().sum::<usize>().min(there.first().map_or(0, |f| *f.max(&(max as usize))));
        let available = self.node.log.available(Offset(from), Offset(limit), max);
        assert!(available >= least, "{available} of {least} bytes from {from} to {limit}");
    }

    fn check_lookups(&mut self, time: i64, limit: u64) {
        if !self.node.log.is_ready() {
            return;
        }
        let (start, end) = (self.start.0, self.end().0);
        let limit = start + (limit % (end - start + 2) as u64) as i64;
        let below = limit.min(self.node.log.written_end().0);
        let records: Vec<_> = self
            .model
            .iter()
            .filter(|batch| batch.next_offset().0 <= below)
            .flat_map(|batch| batch.records().unwrap())
            .collect();
        let hit = self.node.lookup(TimestampQuery::AtOrAfter(time), limit);
        let expected = records.iter().find(|record| record.timestamp >= time);
        assert_eq!(hit.map(|hit| hit.offset), expected.map(|record| record.offset), "{time}");
        let hit = self.node.lookup(TimestampQuery::LARGEST, limit);
        let largest = records.iter().map(|record| record.timestamp).max();
        let first = records.iter().find(|record| Some(record.timestamp) == largest);
        assert_eq!(hit.map(|hit| hit.offset), first.map(|record| record.offset), "below {below}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_vector(
        config in config(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut test = Test::new(config, seed);
        for step in &steps {
            test.apply(step);
        }
        test.settle();
        prop_assert_eq!(test.node.read_all(), test.model.clone());
        test.apply(&Step::CleanRestart);
    }
}
