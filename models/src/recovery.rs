//! M7: one log on one disk: append, sync, cut, crash, recover.
//!
//! Read it beside "All File Systems Are Not Created Equal" (ALICE, OSDI 2014), "Can Applications
//! Recover from fsync Failures?" (Rebello et al., ATC 2020), and Kafka's recovery point.
//!
//! # What is abstracted away, and why that is sound
//!
//! - *The log is one file of whole batches*, each either as it was written or torn, and a CRC tells
//!   which. Segments, indexes and epoch files are rebuilt from the batches. A checkpoint file
//!   changes atomically, as a file does that is written aside, synced and renamed.
//! - *A batch is the number of the writer that wrote it.* Each recovery and each cut begins a new
//!   writer (as each makes a new leader epoch or a new end), so one offset never holds two batches
//!   that look the same.
//! - *Other replicas are left out.* A batch is acknowledged when this log says that it holds it: in
//!   an answer, or in a fetch offset. A new leader's log may diverge from this one at any offset;
//!   what is cut then is no longer owed.
//! - *A power loss* keeps what was synced and any number of the batches after that, each of them
//!   whole or in part (any subset of its sectors). Or it undoes a cut that was not synced, and
//!   everything after it. There are no other outcomes: sectors of two cuts in one file do not mix.
//! - *A failed sync marks its pages clean.* They can be read until the power is lost, and no later
//!   sync writes them. The sync's caller gets the error (since Linux 4.13, so does one that opens
//!   the file later). From then on the log is offline until the *machine* has restarted, and with
//!   it the page cache that shows data the disk lacks is gone. The code does not enforce that:
//!   `failed-sync-forgotten` restarts the process alone, and its recovery believes, and then syncs
//!   in vain, what the page cache still shows.
//! - *Damage* (rot, lying syncs) is left out: recovery refuses damaged logs, and here it must
//!   refuse none.
//!
//! # The variants
//!
//! Each leaves out one rule; the line that applies the rule checks `Rules`.

use std::fmt;
use std::net::SocketAddr;

use stateright::{Model, Property};

use crate::{Bounds, Entry, rules};

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "M7",
    name: "recovery",
    title: "one log on one disk: append, sync, truncate, crash, recover",
    variants: &VARIANTS,
    states: [4_217, 465_555, 2_488_570],
    check: |variant, bounds| {
        let model = Recovery::new(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Recovery::new(variant, bounds), address);
    },
};

const VARIANTS: [&str; 6] = [
    "torn-tail-accepted",
    "failed-sync-retried",
    "failed-sync-forgotten",
    "ack-before-flush",
    "cut-below-recovery-point",
    "sync-credited-after-cut",
];

/// Longest log, in batches.
const LOG: usize = 4;
/// Stands for a batch that has only some of its sectors.
const TORN: u8 = 255;

/// The rules that a variant leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    torn_tail_accepted: bool,
    failed_sync_retried: bool,
    failed_sync_forgotten: bool,
    ack_before_flush: bool,
    cut_below_recovery_point: bool,
    sync_credited_after_cut: bool,
}

/// How often each of these may happen, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    process_crashes: u8,
    power_losses: u8,
    failed_syncs: u8,
    cuts: u8,
}

/// The model: rules and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    rules: Rules,
    batches: u8,
    faults: Faults,
}

impl Recovery {
    /// The correct protocol, in the same bounds.
    fn right(self) -> Recovery {
        Recovery { rules: Rules::default(), ..self }
    }

    /// The correct protocol, or the variant of that name.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> Recovery {
        let mut rules = Rules::default();
        match variant {
            None => {}
            Some("torn-tail-accepted") => rules.torn_tail_accepted = true,
            Some("failed-sync-retried") => rules.failed_sync_retried = true,
            Some("failed-sync-forgotten") => rules.failed_sync_forgotten = true,
            Some("ack-before-flush") => rules.ack_before_flush = true,
            Some("cut-below-recovery-point") => rules.cut_below_recovery_point = true,
            Some("sync-credited-after-cut") => rules.sync_credited_after_cut = true,
            Some(other) => panic!("M7 has no variant {other}; it has {VARIANTS:?}"),
        }
        let (batches, process_crashes, power_losses, failed_syncs, cuts) = match bounds {
            Bounds::Small => (2, 1, 1, 1, 1),
            Bounds::Full => (3, 2, 2, 1, 2),
            Bounds::Large => (4, 2, 2, 1, 2),
        };
        let faults = Faults { process_crashes, power_losses, failed_syncs, cuts };
        Recovery { rules, batches, faults }
    }
}

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The log is open.
    Runs,
    /// A sync failed: the log is offline.
    Offline,
    /// Crashed; recovery comes next.
    Down,
    /// Recovery has found damage and refuses.
    Refused,
}

/// The log, its disk, and what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    phase: Phase,
    /// The file as it is read: the page cache over the media.
    cache: [u8; LOG],
    end: u8,
    /// The file as the media holds it.
    media: [u8; LOG],
    media_end: u8,
    /// Pages from here on are dirty.
    clean: u8,
    /// Positions, as bits, that a failed sync marked clean although they are not on the media.
    dropped: u8,
    /// A sync has succeeded up to here, and the process has yet to hear of it.
    completion: u8,
    /// ... and the log was cut since.
    stale: bool,
    /// What the process knows to be synced.
    synced: u8,
    /// The recovery-point checkpoint on disk: anything missing below it is damage.
    checkpoint: u8,
    /// The current writer.
    writer: u8,
    /// What was acknowledged.
    acknowledged: [u8; LOG],
    acknowledged_end: u8,
    used: Faults,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A batch is appended.
    Append,
    /// The disk syncs the file.
    Sync,
    /// The process hears that a sync has succeeded.
    HearSync,
    /// The disk fails to sync the file.
    SyncFails,
    /// The log acknowledges what it counts as held.
    Acknowledge,
    /// The recovery point is checkpointed, durably.
    Checkpoint(u8),
    /// The log is cut because it diverges from a new leader's.
    Cut(u8),
    /// The process ends at once; the page cache stays.
    ProcessCrash,
    /// The power is lost.
    PowerLoss {
        /// Where the file ends now.
        end: u8,
        /// Positions, as bits, that hold only some sectors of their batch.
        torn: u8,
        /// A cut that was not synced is undone.
        cut_undone: bool,
    },
    /// The log is recovered.
    Recover,
}

/// Resets the batches from `from` to `to` to what they were before any was written.
fn clear(batches: &mut [u8; LOG], from: u8, to: u8) {
    for at in from..to {
        batches[usize::from(at)] = 0;
    }
}

/// The positions of all batches below `end`, as bits.
fn below(end: u8) -> u8 {
    (1 << end) - 1
}

impl State {
    fn cut(&mut self, to: u8) {
        clear(&mut self.cache, to, self.end);
        self.end = to;
        self.clean = self.clean.min(to);
        self.dropped &= below(to);
        self.synced = self.synced.min(to);
    }

    /// Do the media hold a longer or different file because a cut was not synced?
    fn cut_unsynced(&self) -> bool {
        self.media_end > self.clean
    }

    /// Puts the cache's content on the media up to `end`, as a sync or a power loss leaves it.
    fn settle(&mut self, end: u8) {
        self.media = self.cache;
        clear(&mut self.media, end, self.end);
        for at in (0..end).filter(|at| self.dropped & 1 << at != 0) {
            self.media[usize::from(at)] = TORN;
        }
        (self.media_end, self.clean) = (end, end);
    }

    fn process_ends(&mut self) {
        self.phase = Phase::Down;
        (self.synced, self.completion, self.stale) = (0, 0, false);
    }
}

impl Recovery {
    /// How much of its log the process counts as held.
    fn counted(&self, state: &State) -> u8 {
        rules::counted_end(!self.rules.ack_before_flush, state.synced, state.end)
    }

    fn sync_fails(&self, state: &mut State) {
        state.used.failed_syncs += 1;
        state.dropped |= below(state.end) & !below(state.clean);
        // The media are unchanged, but nothing is dirty any more.
        state.clean = state.end;
        if !self.rules.failed_sync_retried {
            state.phase = Phase::Offline;
            (state.synced, state.completion, state.stale) = (0, 0, false);
        }
    }

    fn recover(&self, state: &mut State) {
        let torn = |at: &u8| state.cache[usize::from(*at)] == TORN;
        let first = (0..state.end).find(torn).filter(|_| !self.rules.torn_tail_accepted);
        let end = rules::recovered_end(first, state.end);
        if !rules::may_open(end, state.checkpoint) {
            state.phase = Phase::Refused;
            return;
        }
        state.cut(end);
        state.phase = Phase::Runs;
        state.writer += 1;
        state.synced = rules::synced_when_recovered(false, state.checkpoint, end);
    }

    fn running_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.end < self.batches {
            actions.push(Action::Append);
        }
        actions.push(Action::Sync);
        if state.completion > 0 {
            actions.push(Action::HearSync);
        }
        let dirty = state.clean < state.end;
        if dirty && state.used.failed_syncs < self.faults.failed_syncs {
            actions.push(Action::SyncFails);
        }
        actions.push(Action::Acknowledge);
        let most = rules::recovery_point_bound(state.synced, state.acknowledged_end);
        actions.extend((0..=most).map(Action::Checkpoint));
        if state.used.cuts < self.faults.cuts {
            let may_cut = |to: &u8| {
                self.rules.cut_below_recovery_point || rules::may_cut(*to, state.checkpoint)
            };
            actions.extend((0..state.end).filter(may_cut).map(Action::Cut));
        }
    }

    fn power_loss_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for end in state.clean..=state.end {
            let unsynced = below(end) & !below(state.clean);
            let torn = (0..=below(end)).filter(|torn| torn & !unsynced == 0);
            actions.extend(torn.map(|torn| Action::PowerLoss { end, torn, cut_undone: false }));
        }
        if state.cut_unsynced() {
            let end = state.media_end;
            actions.push(Action::PowerLoss { end, torn: 0, cut_undone: true });
        }
    }
}

impl Model for Recovery {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            phase: Phase::Runs,
            cache: [0; LOG],
            end: 0,
            media: [0; LOG],
            media_end: 0,
            clean: 0,
            dropped: 0,
            completion: 0,
            stale: false,
            synced: 0,
            checkpoint: 0,
            writer: 1,
            acknowledged: [0; LOG],
            acknowledged_end: 0,
            used: Faults::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.phase {
            Phase::Runs => self.running_actions(state, actions),
            Phase::Down => actions.push(Action::Recover),
            Phase::Offline => {}
            Phase::Refused => return,
        }
        let restarts = match state.phase {
            Phase::Offline => self.rules.failed_sync_forgotten,
            Phase::Runs | Phase::Down | Phase::Refused => state.phase == Phase::Runs,
        };
        if restarts && state.used.process_crashes < self.faults.process_crashes {
            actions.push(Action::ProcessCrash);
        }
        if state.used.power_losses < self.faults.power_losses {
            self.power_loss_actions(state, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Append => {
                state.cache[usize::from(state.end)] = state.writer;
                state.end += 1;
            }
            Action::Sync => {
                state.settle(state.end);
                (state.completion, state.stale) = (state.end, false);
            }
            Action::HearSync => {
                let stale = state.stale && !self.rules.sync_credited_after_cut;
                state.synced = rules::synced_end(state.synced, state.completion, state.end, stale);
                (state.completion, state.stale) = (0, false);
            }
            Action::SyncFails => self.sync_fails(&mut state),
            Action::Acknowledge => {
                let upto = self.counted(&state).max(state.acknowledged_end);
                for at in usize::from(state.acknowledged_end)..usize::from(upto) {
                    state.acknowledged[at] = state.cache[at];
                }
                state.acknowledged_end = upto;
            }
            Action::Checkpoint(point) => state.checkpoint = point,
            Action::Cut(to) => {
                state.used.cuts += 1;
                state.writer += 1;
                state.cut(to);
                state.stale = state.completion > 0;
                let owed = state.acknowledged_end.min(to);
                clear(&mut state.acknowledged, owed, state.acknowledged_end);
                state.acknowledged_end = owed;
            }
            Action::ProcessCrash => {
                state.used.process_crashes += 1;
                state.process_ends();
            }
            Action::PowerLoss { end, torn, cut_undone } => {
                state.used.power_losses += 1;
                if !cut_undone {
                    state.dropped |= torn;
                    state.settle(end);
                }
                (state.cache, state.end) = (state.media, state.media_end);
                (state.clean, state.dropped) = (state.end, 0);
                state.process_ends();
            }
            Action::Recover => self.recover(&mut state),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("acknowledged-stays", |_, state: &State| {
                let end = usize::from(state.acknowledged_end);
                state.phase != Phase::Runs
                    || (state.end >= state.acknowledged_end
                        && state.cache[..end] == state.acknowledged[..end])
            }),
            Property::always("nothing-torn-or-invented", |_, state: &State| {
                // Each writer writes after those before it: no log ever had another order.
                let log = &state.cache[..state.end.into()];
                state.phase != Phase::Runs
                    || (log.is_sorted() && log.iter().all(|batch| (1..TORN).contains(batch)))
            }),
            Property::always("undamaged-log-opens", |_, state: &State| {
                state.phase != Phase::Refused
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Action::Append => write!(f, "a batch is appended (written)"),
            Action::Sync => write!(f, "a sync of everything written succeeds"),
            Action::HearSync => write!(f, "the log hears that the sync has succeeded"),
            Action::SyncFails => {
                write!(
                    f,
                    "a sync fails: the kernel marks the pages clean, and they are not on disk"
                )
            }
            Action::Acknowledge => {
                write!(f, "everything that the log counts as held is acknowledged")
            }
            Action::Checkpoint(point) => write!(f, "recovery point {point} is checkpointed"),
            Action::Cut(to) => {
                write!(f, "a new leader's log diverges here: this one is truncated to offset {to}")
            }
            Action::ProcessCrash => {
                write!(f, "the process crashes; the page cache keeps what was written")
            }
            Action::PowerLoss { cut_undone: true, .. } => {
                write!(f, "a power loss undoes the unsynced truncation")
            }
            Action::PowerLoss { end, torn, .. } => {
                write!(f, "a power loss; the file now ends at offset {end}")?;
                let places: Vec<String> =
                    (0..LOG).filter(|at| torn & 1 << at != 0).map(|at| at.to_string()).collect();
                match places.is_empty() {
                    true => Ok(()),
                    false => write!(f, ", torn at {}", places.join(" and ")),
                }
            }
            Action::Recover => write!(f, "the process starts and recovers the log"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |batches: &[u8]| {
            let show = |batch: &u8| match *batch {
                TORN => "torn".to_owned(),
                writer => format!("w{writer}"),
            };
            batches.iter().map(show).collect::<Vec<String>>().join(" ")
        };
        let phase = match self.phase {
            Phase::Runs => "runs",
            Phase::Offline => "offline",
            Phase::Down => "down",
            Phase::Refused => "refused",
        };
        write!(
            f,
            "{phase}; read [{}], on disk [{}], clean to {}, known synced to {}, recovery point {}; \
             acknowledged [{}]",
            show(&self.cache[..self.end.into()]),
            show(&self.media[..self.media_end.into()]),
            self.clean,
            self.synced,
            self.checkpoint,
            show(&self.acknowledged[..self.acknowledged_end.into()])
        )
    }
}

#[cfg(test)]
mod tests {
    use stateright::{Checker, Model};

    use super::{ENTRY, Recovery};
    use crate::{Bounds, Report};

    fn check(variant: Option<&str>) -> Report {
        (ENTRY.check)(variant, Bounds::Small)
    }

    #[test]
    fn the_right_protocol_holds() {
        let report = check(None);
        assert_eq!(report.counterexample, None);
        assert_eq!((report.unique, report.depth), (ENTRY.states[0], 18));
        assert!(report.state_bytes.is_some_and(|bytes| bytes <= 100), "{:?}", report.state_bytes);
    }

    #[test]
    fn two_threads_find_the_same_states() {
        let checker = Recovery::new(None, Bounds::Small).checker().threads(2).spawn_bfs().join();
        assert!(checker.discoveries().is_empty());
        assert_eq!(checker.unique_state_count() as u64, ENTRY.states[0]);
    }

    #[test]
    fn each_variant_breaks_its_property() {
        let expected = [
            ("torn-tail-accepted", "nothing-torn-or-invented", 3),
            ("failed-sync-retried", "acknowledged-stays", 7),
            ("failed-sync-forgotten", "acknowledged-stays", 9),
            ("ack-before-flush", "acknowledged-stays", 4),
            ("cut-below-recovery-point", "undamaged-log-opens", 8),
            ("sync-credited-after-cut", "acknowledged-stays", 8),
        ];
        assert_eq!(expected.map(|(variant, ..)| variant), ENTRY.variants);
        for (variant, property, steps) in expected {
            let (broken, path) = check(Some(variant)).counterexample.expect(variant);
            assert_eq!((broken.as_str(), path.len()), (property, steps), "{variant}");
        }
    }

    #[test]
    fn a_counterexample_reads_as_steps() {
        let (_, path) = check(Some("torn-tail-accepted")).counterexample.expect("it fails");
        let told: Vec<&str> = path.iter().map(|step| step.action.as_str()).collect();
        let expected = [
            "a batch is appended (written)",
            "a power loss; the file now ends at offset 1, torn at 0",
            "the process starts and recovers the log",
        ];
        assert_eq!(told, expected);
        let last = path.last().expect("it has steps");
        assert!(last.state.starts_with("runs; read [torn], on disk [torn]"), "{}", last.state);
    }

    #[test]
    #[should_panic(expected = "M7 has no variant no-such; it has [\"torn-tail-accepted\"")]
    fn an_unknown_variant_is_refused() {
        check(Some("no-such"));
    }
}
