//! The runtime, around a shard of its own ([`kv`]) over a log in memory: rule by rule here, and
//! under random interleavings in [`random`]. The controller's tests use it, too.

mod kv;
mod random;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::effects::{Effect, Effects};
use kv::{
    Caller, Command, EXPIRY, Entry, Fact, Kv, LEASE, PATIENCE, Record, Replica, Reply, Timer,
};
use kv::{TIMERS, WATCH};

const FIRST: LeaderEpoch = LeaderEpoch(1);
const SECOND: LeaderEpoch = LeaderEpoch(2);

/// One coordinator over one replica that commits on demand.
#[derive(Clone, Debug)]
struct Bench {
    coordinator: Coordinator<Kv>,
    log: Replica,
    env: Effects,
    facts: Vec<Fact>,
}

fn caller(number: u32) -> Caller {
    Caller { connection: 1, number }
}

fn put(key: u8, value: u32) -> Command {
    Command::Put { key, value, lease: false }
}

fn leased(key: u8, value: u32) -> Command {
    Command::Put { key, value, lease: true }
}

fn entry(record: Record) -> Entry {
    Entry { epoch: LeaderEpoch(0), producer: None, record }
}

impl Bench {
    /// Over a log with these values under keys from 0 on, not loaded yet.
    fn over(values: &[u32]) -> Bench {
        let record = |(key, value): (usize, &u32)| Record::Put {
            key: key as u8,
            value: *value,
            lease: false,
        };
        let entries: Vec<Entry> = values.iter().enumerate().map(record).map(entry).collect();
        let log = Replica { high_watermark: entries.len(), entries, ..Replica::default() };
        let env = Effects::at(Monotonic(1_000_000_000));
        Bench { coordinator: Coordinator::new(()), log, env, facts: Vec::new() }
    }

    /// Active, over an empty log.
    fn new() -> Bench {
        let mut bench = Bench::over(&[]);
        bench.lead(FIRST);
        assert_eq!(bench.coordinator.phase(), Phase::Active, "there is nothing to read");
        bench
    }

    fn lead(&mut self, epoch: LeaderEpoch) {
        self.log.leads = Some(epoch);
        self.coordinator.load(epoch, &mut self.log, &mut self.env, &mut self.facts);
    }

    fn lose(&mut self) {
        self.log.leads = None;
        self.coordinator.unload(&mut self.env, &mut self.facts);
    }

    /// Delivers the last read with the records below `upto`, and an end that says where to go on.
    fn read(&mut self, upto: usize, next: usize) {
        let at = *self.log.reads.last().expect("a read");
        self.read_at(at, upto, next);
    }

    fn read_at(&mut self, at: ReadAt, upto: usize, next: usize) {
        let entries = self.log.entries.iter().enumerate().take(upto);
        let records = entries.skip(at.from.0 as usize).map(|(offset, entry)| {
            let at = Position { offset: Offset(offset as i64), epoch: entry.epoch };
            (at, entry.producer, entry.record.clone())
        });
        let piece = Piece { records: records.collect(), next: Offset(next as i64) };
        self.outcome(at, Ok(piece));
    }

    fn outcome(&mut self, at: ReadAt, outcome: Result<Piece<Record, Option<u8>>, ReadFailure>) {
        let Bench { coordinator, log, env, facts } = self;
        coordinator.on_read(at, outcome, log, env, facts);
    }

    fn ask(&mut self, number: u32, command: &Command) {
        let Bench { coordinator, log, env, facts } = self;
        coordinator.on_request(caller(number), command, log, env, facts);
    }

    fn commit(&mut self) {
        self.log.high_watermark = self.log.entries.len();
        let upto = self.log.committed();
        self.coordinator.on_committed(upto, &mut self.env, &mut self.facts);
    }

    fn pass(&mut self, time: Duration) {
        self.env.now = self.env.now.after(time);
    }

    /// The deadline that the environment's timer was armed with last, unless it was disarmed since.
    fn armed(&self, key: TimerKey) -> Option<Monotonic> {
        self.env.list.iter().fold(None, |armed, effect| match effect {
            Effect::Arm(of, deadline) if *of == key => Some(*deadline),
            Effect::Disarm(of) if *of == key => None,
            _ => armed,
        })
    }

    fn fire(&mut self, key: TimerKey) {
        let deadline = self.armed(key).expect("it is armed");
        self.env.now = self.env.now.max(deadline);
        self.fire_at(key, deadline);
    }

    fn fire_at(&mut self, key: TimerKey, deadline: Monotonic) {
        let Bench { coordinator, log, env, facts } = self;
        coordinator.on_timer(key, deadline, log, env, facts);
    }

    fn told(&mut self) -> Vec<Fact> {
        core::mem::take(&mut self.facts)
    }

    fn shard(&self) -> &Kv {
        self.coordinator.shard().expect("it is active")
    }
}

fn refused(number: u32, failure: Failure) -> Vec<Fact> {
    vec![Fact::Refused(caller(number), failure)]
}

fn written(number: u32, value: u32) -> Fact {
    Fact::Done(caller(number), Reply::Written(value))
}

#[test]
fn an_answer_waits_for_its_records_and_a_read_for_what_it_has_seen() {
    let mut bench = Bench::new();
    bench.ask(1, &put(7, 70));
    bench.ask(2, &Command::Get { key: 7 });
    assert_eq!(bench.told(), [], "nothing is committed");
    assert_eq!(bench.coordinator.parked(), 2);
    bench.commit();
    let value = Fact::Done(caller(2), Reply::Value(Some(70)));
    assert_eq!(bench.told(), [written(1, 70), value.clone(), Fact::Committed(70)]);
    bench.commit();
    assert_eq!(bench.told(), [], "once");
    bench.ask(2, &Command::Get { key: 7 });
    assert_eq!(bench.told(), [value], "nothing is under way: at once");
}

#[test]
fn several_requests_for_one_key_are_decided_in_order_and_answered_as_they_commit() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.ask(number, &put(7, number * 10));
    }
    bench.log.high_watermark = 2;
    bench.coordinator.on_committed(Offset(2), &mut bench.env, &mut bench.facts);
    let told = bench.told();
    assert_eq!(told, [written(1, 10), Fact::Committed(10), written(2, 20), Fact::Committed(20)]);
    assert_eq!(bench.shard().values[&7], (30, false), "the last one is decided");
    bench.commit();
    assert_eq!(bench.told(), [written(3, 30), Fact::Committed(30)]);
}

#[test]
fn while_loading_requests_are_refused_and_the_log_is_read_in_pieces() {
    let mut bench = Bench::over(&[10, 11, 12, 13, 14]);
    bench.ask(1, &Command::Get { key: 0 });
    assert_eq!(bench.told(), refused(1, Failure::NotCoordinator));
    bench.lead(FIRST);
    bench.ask(2, &Command::Get { key: 0 });
    assert_eq!(bench.told(), refused(2, Failure::Loading));
    assert_eq!(bench.log.reads, [ReadAt { epoch: FIRST, from: Offset(0) }]);
    bench.read(2, 2);
    // There is a gap: nothing is left of offsets 2 and 3.
    bench.outcome(
        ReadAt { epoch: FIRST, from: Offset(2) },
        Ok(Piece { records: vec![], next: Offset(4) }),
    );
    assert_eq!(bench.coordinator.phase(), Phase::Loading);
    let from = |offset| ReadAt { epoch: FIRST, from: Offset(offset) };
    assert_eq!(bench.log.reads, [from(0), from(2), from(4)]);
    // A read may begin in the middle of a batch: what is replayed already is not replayed again.
    let (at, old) = (Position { offset: Offset(0), epoch: FIRST }, Record::Delete { key: 0 });
    let (last, new) = (Position { offset: Offset(4), epoch: FIRST }, bench.log.entries[4].clone());
    let records = vec![(at, None, old), (last, None, new.record)];
    bench.outcome(from(4), Ok(Piece { records, next: Offset(5) }));
    assert_eq!(bench.coordinator.phase(), Phase::Active);
    let values: Vec<_> =
        bench.shard().values.iter().map(|(key, (value, _))| (*key, *value)).collect();
    assert_eq!(values, [(0, 10), (1, 11), (4, 14)]);
    bench.ask(3, &Command::Get { key: 4 });
    assert_eq!(bench.told(), [Fact::Done(caller(3), Reply::Value(Some(14)))]);
}

#[test]
fn what_was_loaded_and_is_not_committed_is_not_told() {
    let mut bench = Bench::over(&[10, 11]);
    bench.log.high_watermark = 1;
    bench.lead(FIRST);
    bench.read(2, 2);
    bench.ask(1, &Command::Get { key: 0 });
    assert_eq!(bench.told(), [], "the previous leader's last record may yet be lost");
    bench.commit();
    assert_eq!(bench.told(), [Fact::Done(caller(1), Reply::Value(Some(10)))]);
}

#[test]
fn a_load_that_was_cut_short_leaves_nothing_behind() {
    let mut bench = Bench::over(&[10, 11]);
    bench.lead(FIRST);
    bench.read(1, 1);
    let late = *bench.log.reads.last().expect("a read");
    bench.lose();
    assert_eq!(bench.coordinator, Coordinator::new(()));
    bench.read_at(late, 2, 2);
    assert_eq!(bench.coordinator.phase(), Phase::Inactive, "nobody waits for this read any more");
    // In the meantime, another leader replaced both records.
    bench.log.entries = vec![entry(Record::Delete { key: 0 }); 2];
    bench.lead(SECOND);
    let (at, records) = (Position { offset: Offset(1), epoch: FIRST }, Record::Delete { key: 1 });
    bench.outcome(late, Ok(Piece { records: vec![(at, None, records)], next: Offset(2) }));
    assert_eq!(bench.coordinator.phase(), Phase::Loading, "a read of an earlier leadership");
    bench.read(2, 2);
    assert_eq!(bench.shard(), &Kv::default());
}

#[test]
fn a_new_epoch_of_the_same_leader_goes_on_with_a_load_and_with_what_is_parked() {
    let mut bench = Bench::over(&[10, 11]);
    bench.lead(FIRST);
    bench.read(1, 1);
    bench.lead(SECOND);
    let from = |epoch, from| ReadAt { epoch, from: Offset(from) };
    assert_eq!(bench.log.reads, [from(FIRST, 0), from(FIRST, 1), from(SECOND, 1)]);
    bench.lead(SECOND);
    assert_eq!(bench.log.reads.len(), 3, "told twice");
    // The log is in a later epoch, and the coordinator will be told: this read will be repeated.
    bench.log.leads = Some(LeaderEpoch(3));
    bench.read(2, 2);
    assert_eq!(bench.coordinator.phase(), Phase::Loading);
    bench.lead(LeaderEpoch(3));
    bench.read(2, 2);
    assert_eq!(bench.coordinator.epoch(), Some(LeaderEpoch(3)));
    bench.ask(1, &put(7, 70));
    bench.lead(LeaderEpoch(4));
    assert_eq!(bench.coordinator.epoch(), Some(LeaderEpoch(4)));
    bench.commit();
    assert_eq!(bench.told(), [written(1, 70), Fact::Committed(70)]);
}

#[test]
fn when_the_start_of_the_log_overtakes_a_load_it_begins_again() {
    let mut bench = Bench::over(&[10, 11, 12]);
    bench.lead(FIRST);
    bench.read(1, 1);
    let at = *bench.log.reads.last().expect("a read");
    bench.log.start = 2;
    bench.outcome(at, Err(ReadFailure::BelowStart));
    bench.read(3, 3);
    assert_eq!(bench.shard(), &bench.log.replayed());
    assert_eq!(bench.shard().values.len(), 1, "the first record is gone from the log");
}

#[test]
fn a_load_that_fails_is_tried_again_in_a_later_epoch() {
    let cases: [(fn(&mut Bench), LoadFailure); 4] = [
        (
            |bench| bench.outcome(bench.log.reads[0], Err(ReadFailure::Corrupt)),
            LoadFailure::Unreadable(Offset(0)),
        ),
        (
            |bench| bench.outcome(bench.log.reads[0], Err(ReadFailure::BelowStart)),
            LoadFailure::Unreadable(Offset(0)),
        ),
        // It would be read for ever.
        (|bench| bench.read(0, 0), LoadFailure::Unreadable(Offset(0))),
        (
            |bench| {
                let at = Position { offset: Offset(0), epoch: FIRST };
                let marker = (at, Some(3), Record::Marker { commit: true });
                let piece = Piece { records: vec![marker], next: Offset(1) };
                bench.outcome(bench.log.reads[0], Ok(piece));
            },
            LoadFailure::Unfit(Offset(0), "producer 3 has no open transaction".into()),
        ),
    ];
    for (fail, why) in cases {
        let mut bench = Bench::over(&[10]);
        bench.lead(FIRST);
        fail(&mut bench);
        assert_eq!(bench.coordinator.load_failure(), Some(&why));
        bench.ask(1, &Command::Get { key: 0 });
        assert_eq!(bench.told(), refused(1, Failure::NotCoordinator));
        bench.lead(FIRST);
        assert_eq!(bench.coordinator.phase(), Phase::Failed, "not in the same epoch");
        bench.lead(SECOND);
        bench.read(1, 1);
        assert_eq!(bench.shard(), &bench.log.replayed());
    }
}

#[test]
fn what_the_log_refuses_changes_nothing() {
    let mut bench = Bench::new();
    bench.ask(9, &Command::Watch { key: 0 });
    let before = bench.coordinator.clone();
    bench.log.under_min_isr = true;
    bench.ask(1, &leased(0, 1));
    let failed = |number, failure| Fact::Failed(caller(number), Reply::Written(1), failure);
    assert_eq!(bench.told(), [failed(1, Failure::NotEnoughReplicas)]);
    assert_eq!(bench.coordinator, before, "no lease, and the watch is not released");
    bench.log.under_min_isr = false;
    bench.ask(2, &Command::Fill { count: 4, value: 1 });
    assert_eq!(bench.told(), [failed(2, Failure::TooLarge)]);
    // The log has lost its leadership, and the coordinator has not been told yet.
    bench.log.leads = None;
    bench.ask(3, &put(0, 1));
    bench.ask(4, &Command::Get { key: 0 });
    let told = [refused(3, Failure::NotCoordinator), refused(4, Failure::NotCoordinator)].concat();
    assert_eq!(bench.told(), told, "a read could miss what the new leader has committed");
    assert_eq!(bench.coordinator, before);
    bench.log.leads = Some(FIRST);
    let Bench { coordinator, log, env, facts } = &mut bench;
    let command = Command::Fill { count: 4, value: 1 };
    assert_eq!(coordinator.on_command(&command, log, env, facts), Err(Failure::TooLarge));
    assert_eq!(coordinator.on_command(&put(1, 1), log, env, facts), Ok(()));
    bench.commit();
    assert_eq!(bench.told(), [Fact::Committed(1)], "nobody asked");
}

#[test]
fn a_write_that_times_out_stays_written() {
    let mut bench = Bench::new();
    bench.ask(1, &put(7, 70));
    bench.pass(Duration::from_secs(1));
    bench.ask(2, &put(7, 71));
    let first = bench.armed(EXPIRY).expect("armed");
    bench.fire_at(EXPIRY, first.after(Duration::from_nanos(1)));
    assert_eq!(bench.told(), [], "a stale firing");
    bench.fire(EXPIRY);
    assert_eq!(bench.told(), [Fact::Failed(caller(1), Reply::Written(70), Failure::TimedOut)]);
    assert_eq!(bench.armed(EXPIRY), Some(first.after(Duration::from_secs(1))));
    assert_eq!(first, Monotonic(1_000_000_000).after(PATIENCE));
    bench.ask(3, &Command::Get { key: 7 });
    bench.commit();
    let value = Fact::Done(caller(3), Reply::Value(Some(71)));
    let (one, two) = (Fact::Committed(70), Fact::Committed(71));
    assert_eq!(bench.told(), [one, written(2, 71), value, two], "it is not answered again");
}

#[test]
fn many_timers_share_one_of_the_environment() {
    let mut bench = Bench::new();
    bench.ask(1, &leased(1, 1));
    let first = bench.env.now.after(LEASE);
    bench.pass(Duration::from_secs(1));
    bench.ask(2, &leased(2, 2));
    bench.commit();
    assert_eq!(bench.armed(TIMERS), Some(first));
    assert_eq!(bench.coordinator.deadline(&Timer::Lease(2)), Some(bench.env.now.after(LEASE)));
    // The first lease moves behind the second.
    bench.pass(Duration::from_secs(1));
    bench.ask(3, &leased(1, 3));
    let second = bench.armed(TIMERS).expect("armed");
    assert_eq!(second, first.after(Duration::from_secs(1)));
    bench.fire_at(TIMERS, first);
    assert_eq!(bench.shard().values.len(), 2, "a stale firing");
    bench.fire(TIMERS);
    assert_eq!(bench.shard().values.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(bench.armed(TIMERS), Some(first.after(Duration::from_secs(2))));
    // Its lease is taken away: nothing is left to fire.
    bench.ask(4, &put(1, 4));
    assert_eq!(bench.armed(TIMERS), None);
}

#[test]
fn a_timer_that_an_earlier_one_cancelled_does_not_fire() {
    let mut bench = Bench::new();
    bench.ask(1, &leased(1, 1));
    bench.ask(2, &leased(2, 2));
    bench.commit();
    bench.told();
    // Both leases have ended. The log takes the first deletion only.
    bench.pass(LEASE * 2);
    let deadline = bench.armed(TIMERS).expect("armed");
    let Bench { coordinator, log, env, facts } = &mut bench;
    coordinator.on_command(&put(2, 3), log, env, facts).expect("written");
    let renewed = bench.clone();
    bench.fire_at(TIMERS, deadline);
    assert_eq!(bench.shard().values.get(&1), None);
    assert_eq!(bench.shard().values.get(&2), Some(&(3, false)), "its lease was cancelled");
    let mut bench = renewed;
    bench.log.under_min_isr = true;
    bench.fire_at(TIMERS, deadline);
    assert_eq!(bench.shard().values.get(&1), Some(&(1, true)), "the log takes nothing");
    assert_eq!(bench.armed(TIMERS), Some(bench.env.now.after(RETRY_BACKOFF)));
    bench.log.under_min_isr = false;
    bench.fire(TIMERS);
    assert_eq!(bench.shard().values.get(&1), None);
}

#[test]
fn a_new_coordinator_sets_the_timers_that_its_log_asks_for() {
    let mut bench = Bench::over(&[10]);
    bench.log.entries.push(entry(Record::Put { key: 5, value: 50, lease: true }));
    bench.lead(FIRST);
    bench.pass(Duration::from_secs(100));
    bench.read(2, 2);
    assert_eq!(bench.armed(TIMERS), Some(bench.env.now.after(LEASE)));
    bench.lose();
    assert_eq!(bench.armed(TIMERS), None);
}

#[test]
fn a_caller_that_waits_in_soft_state_is_answered_by_what_it_waits_for() {
    let mut bench = Bench::new();
    bench.ask(1, &Command::Watch { key: 7 });
    bench.ask(2, &Command::Watch { key: 7 });
    assert_eq!(bench.told(), []);
    bench.ask(3, &put(7, 70));
    assert_eq!(bench.told(), [], "not before it is committed");
    bench.commit();
    let changed = |number| Fact::Done(caller(number), Reply::Changed(70));
    assert_eq!(bench.told(), [changed(1), changed(2), written(3, 70), Fact::Committed(70)]);
    assert_eq!(bench.armed(TIMERS), None, "nobody waits any more");
    bench.ask(4, &Command::Watch { key: 7 });
    assert_eq!(bench.armed(TIMERS), Some(bench.env.now.after(WATCH)));
    bench.fire(TIMERS);
    assert_eq!(bench.told(), [Fact::Done(caller(4), Reply::Unchanged)]);
    assert!(bench.shard().watches.is_empty());
}

#[test]
fn losing_the_log_fails_what_waits_and_drops_all_state() {
    let mut bench = Bench::new();
    bench.ask(1, &leased(7, 70));
    bench.ask(2, &Command::Watch { key: 8 });
    bench.ask(3, &Command::Get { key: 7 });
    bench.lose();
    let failed = |number, reply| Fact::Failed(caller(number), reply, Failure::NotCoordinator);
    let told = [
        failed(1, Reply::Written(70)),
        failed(3, Reply::Value(Some(70))),
        failed(2, Reply::Unchanged),
    ];
    assert_eq!(bench.told(), told);
    assert_eq!((bench.armed(TIMERS), bench.armed(EXPIRY)), (None, None));
    assert_eq!(bench.coordinator, Coordinator::new(()));
    let (deadline, now) = (bench.env.now.after(LEASE), bench.env.now);
    bench.fire_at(TIMERS, deadline);
    bench.fire_at(EXPIRY, now.after(PATIENCE));
    bench.commit();
    assert_eq!(bench.told(), [], "neither answers nor facts come from a deposed coordinator");
}

#[test]
fn a_closed_connection_takes_its_answers_along() {
    let mut bench = Bench::new();
    bench.ask(1, &put(7, 70));
    let (Bench { coordinator, log, env, facts }, two) = (&mut bench, 2);
    let other = Caller { connection: two, number: 2 };
    coordinator.on_request(other, &Command::Get { key: 7 }, log, env, facts);
    bench.coordinator.on_connection_closed(ConnectionId(1));
    bench.commit();
    let value = Fact::Done(other, Reply::Value(Some(70)));
    assert_eq!(bench.told(), [value, Fact::Committed(70)], "it happened all the same");
}

#[test]
fn a_transaction_counts_from_its_marker_on() {
    let mut bench = Bench::new();
    let add = |producer, value| Command::Add { producer, key: 7, value };
    bench.ask(1, &add(1, 10));
    bench.ask(2, &add(2, 20));
    bench.ask(3, &Command::Get { key: 7 });
    bench.ask(4, &Command::End { producer: 1, commit: true });
    bench.ask(5, &Command::End { producer: 2, commit: false });
    bench.ask(6, &Command::Get { key: 7 });
    bench.commit();
    let told = bench.told();
    assert!(told.contains(&Fact::Done(caller(3), Reply::Value(None))), "{told:?}");
    assert!(told.contains(&Fact::Done(caller(6), Reply::Value(Some(10)))), "{told:?}");
    bench.lose();
    bench.lead(SECOND);
    bench.read(4, 4);
    assert_eq!(bench.shard().values[&7], (10, false), "a load sees who wrote what");
}

/// What would be a bug of the log or of a shard ends the process.
#[test]
fn records_of_others_in_its_log_are_noticed() {
    let mut bench = Bench::new();
    bench.log.entries.push(entry(Record::Delete { key: 1 }));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.ask(1, &Command::Get { key: 1 });
    }));
    assert!(outcome.is_err(), "its state is not that of its log");
}
