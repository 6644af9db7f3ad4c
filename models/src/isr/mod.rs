//! M1: one partition's replication: leader epochs, fetching, truncation, ISR, high watermark.
//!
//! Read it beside KIP-101, KIP-279, KIP-320 and KIP-497, or beside J. Gustafson's TLA+
//! specification (hachikuji/kafka-specification), whose shape it follows where the rules are the
//! same.
//!
//! # What is abstracted away, and why that is sound
//!
//! - *The controller is one atomic step.* Its decisions go through their own replicated log (M3).
//!   Replicas see them as modelled here: a sequence of registrations, one per leader epoch. Each
//!   replica learns of them late, in order, and perhaps not of all.
//! - *A fetch is one atomic step* between a leader and a follower that believe in the same epoch:
//!   request, read, answer, append, and the leader's knowledge of the result, which a broker gets
//!   only from the next request. The follower would drop a late answer because of its epoch (this
//!   fencing is the rule of KIP-320, and variants break it). A leader that learns late promises
//!   late. The follower learns of the high watermark one fetch late, which is what KIP-101 is
//!   about.
//! - *Batches are single records*, and a record is its (epoch, salt): its contents never matter,
//!   only whether two logs hold the same record. The salt distinguishes two records that one leader
//!   wrote at the same offset, which requires a lost tail.
//! - *There is no time.* Fetching may stop and resume at any moment, so "lags for too long" and
//!   "the session expired" may be true at any moment. This gives more behaviours than a broker with
//!   timers has, never fewer.
//! - *Disks lose a tail only in a power loss*. Power losses have a budget ([`LOSSY`]; [`ENTRY`] has
//!   none, except for the variant about one). They strike only if another member of the ISR keeps
//!   its log: if the last member loses its tail, Kafka (not flushing) promises nothing, and there
//!   is nothing to check. M7 has torn batches.
//! - *A replica re-registers in the same step in which it loses power*: the controller removes it
//!   from the ISR, and it hears of no earlier epoch. It can do nothing before that: a broker takes
//!   no role until its metadata have reached its own registration.
//!
//! # The variants
//!
//! Each leaves out one rule; the line that applies the rule checks `Rules`.
//! `truncate-to-high-watermark` is Kafka before KIP-101, `unknown-epoch-answered-with-next` is
//! KIP-101 before KIP-279, `unfenced-fetch` is KIP-279 before KIP-320, and `unfenced-truncation` is
//! that KIP's first draft: fetches are fenced by the epoch of the last record, not by the leader
//! epoch that the follower is in. `roles-before-registration` is a broker that starts from the
//! metadata on its disk, and leads an epoch from before its power loss until it hears of a newer
//! one.

use std::net::SocketAddr;

use stateright::{Model, Property};

use crate::rules::{self, EpochLog};
use crate::{Bounds, Entry};

mod show;

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "M1",
    name: "isr",
    title: "replication: leader epochs, truncation, ISR, high watermark",
    variants: &VARIANTS,
    states: [53_485, 913_064, 8_829_830],
    check: |variant, bounds| {
        let model = Isr::new(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Isr::new(variant, bounds), address)
    },
};

/// The same, where a replica may lose power and its log's tail.
pub const LOSSY: Entry = Entry {
    id: "M1P",
    name: "isr-power-loss",
    title: "the same, plus power losses that take the tail of a replica's log",
    variants: &["roles-before-registration"],
    states: [262_932, 4_881_637, 13_815_009],
    check: |variant, bounds| {
        let model = Isr::lossy(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Isr::lossy(variant, bounds), address)
    },
};

const VARIANTS: [&str; 8] = [
    "truncate-to-high-watermark",
    "unknown-epoch-answered-with-next",
    "unfenced-fetch",
    "unfenced-truncation",
    "ack-at-leader-append",
    "early-isr-join",
    "leader-resumes-epoch",
    "high-watermark-by-committed-isr",
];

/// Replicas; all are in the ISR at first.
pub(crate) const REPLICAS: usize = 3;
/// Longest log.
const LOG: usize = 3;
/// Maximum number of leader epochs.
const EPOCHS: usize = 4;
/// No leader.
const NOBODY: u8 = 3;
/// No epoch yet.
const NEVER: u8 = 0;

/// The rules that a variant leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    truncate_to_high_watermark: bool,
    next_epochs_start: bool,
    unfenced_fetch: bool,
    unfenced_truncation: bool,
    ack_at_leader_append: bool,
    early_isr_join: bool,
    leader_resumes_epoch: bool,
    high_watermark_by_committed_isr: bool,
    roles_before_registration: bool,
}

/// The model: rules and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isr {
    rules: Rules,
    records: u8,
    epochs: u8,
    power_losses: u8,
}

impl Isr {
    /// The correct protocol, in the same bounds.
    fn right(self) -> Isr {
        Isr { rules: Rules::default(), ..self }
    }

    /// The correct protocol, or the variant of that name.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> Isr {
        let mut rules = Rules::default();
        match variant {
            None => {}
            Some("truncate-to-high-watermark") => rules.truncate_to_high_watermark = true,
            Some("unknown-epoch-answered-with-next") => rules.next_epochs_start = true,
            Some("unfenced-fetch") => rules.unfenced_fetch = true,
            Some("unfenced-truncation") => rules.unfenced_truncation = true,
            Some("ack-at-leader-append") => rules.ack_at_leader_append = true,
            Some("early-isr-join") => rules.early_isr_join = true,
            Some("leader-resumes-epoch") => rules.leader_resumes_epoch = true,
            Some("high-watermark-by-committed-isr") => rules.high_watermark_by_committed_isr = true,
            Some("roles-before-registration") => rules.roles_before_registration = true,
            Some(other) => {
                let others = LOSSY.variants;
                panic!("M1 has no variant {other}; it has {VARIANTS:?} and {others:?}")
            }
        }
        let (records, epochs) = match bounds {
            Bounds::Small => (2, 2),
            Bounds::Full => (2, 3),
            Bounds::Large => (2, 4),
        };
        // A variant gets the epochs that its counterexample needs, whatever the bounds.
        let needs_epochs = match variant {
            None | Some("ack-at-leader-append" | "leader-resumes-epoch") => 2,
            Some("unknown-epoch-answered-with-next") => 4,
            Some(_) => 3,
        };
        let about_power_loss = rules.leader_resumes_epoch || rules.roles_before_registration;
        let power_losses = u8::from(about_power_loss);
        Isr { rules, records, epochs: epochs.max(needs_epochs), power_losses }
    }

    /// The same, with power losses.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn lossy(variant: Option<&str>, bounds: Bounds) -> Isr {
        let (epochs, power_losses) = match bounds {
            Bounds::Small => (2, 1),
            Bounds::Full => (3, 1),
            Bounds::Large => (3, 2),
        };
        let model = Isr::new(variant, Bounds::Small);
        Isr { epochs: model.epochs.max(epochs), power_losses, ..model }
    }
}

/// One replica. Fields that only a leader uses are zero in a follower, so that equal behaviour is
/// an equal state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    /// Records, encoded by [`record`]; those from `end` on are zero.
    log: [u8; LOG],
    end: u8,
    high_watermark: u8,
    /// The newest leader epoch that it has heard of.
    epoch: u8,
    /// Since its last power loss it hears of no epoch before this one.
    not_before: u8,
    /// It has lost power and its tail, resumes its epoch as if nothing had happened, and has
    /// answered nobody since. (Under the correct rules, too, it would be in the ISR until it has
    /// registered.)
    silent: bool,
    /// Leader: its log end when the epoch began.
    start: u8,
    /// Leader: the ISR that it knows to be committed.
    isr: u8,
    /// Leader: the member that it proposed to add and that the controller has accepted, while the
    /// leader has yet to hear of it.
    pending: u8,
    /// Follower: it has learned in this epoch where its log diverges from the leader's, if it does.
    /// Before that its leader knows nothing of its log. Since KIP-320 any fetch may tell it.
    told: bool,
}

/// What the controller registered for a leader epoch when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Registration {
    leader: u8,
    isr: u8,
}

/// The whole partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    replicas: [Replica; REPLICAS],
    /// By leader epoch, from 1 on.
    registrations: [Registration; EPOCHS],
    /// The newest leader epoch.
    epoch: u8,
    /// The controller's ISR, now.
    isr: u8,
    /// What was promised to clients: records below a leader's high watermark, or acknowledged.
    promised: [u8; LOG],
    promised_end: u8,
    power_losses: u8,
}

/// One step. Replicas are numbered from 0 here, and from 1 in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The controller begins an epoch with this leader, and drops one member from the ISR or none.
    Elect {
        /// The new leader.
        leader: u8,
        /// The member that is dropped; `NOBODY` for none.
        drop: u8,
    },
    /// The controller drops a follower from the ISR: it was fenced, or its leader said it lags.
    Drop(u8),
    /// A replica hears of an epoch, and leads or follows in it.
    Hear {
        /// The replica.
        replica: u8,
        /// The epoch.
        epoch: u8,
    },
    /// A leader appends a record.
    Append(u8),
    /// A follower asks, once in an epoch, where its log diverges from the leader's (before
    /// KIP-320).
    Ask(u8),
    /// A follower fetches from its leader.
    Fetch(u8),
    /// A leader has the controller add a follower to the ISR; the answer is on its way.
    Expand {
        /// The leader.
        leader: u8,
        /// The follower.
        follower: u8,
    },
    /// A leader learns the ISR.
    HearIsr(u8),
    /// A replica loses power and its log from this offset on, and restarts at once.
    PowerLoss {
        /// The replica.
        replica: u8,
        /// Where its log ends now.
        end: u8,
    },
}

/// A record of an epoch. The salt is the number of power losses when it was written.
fn record(epoch: u8, salt: u8) -> u8 {
    epoch << 4 | salt
}

fn epoch_of(record: u8) -> u8 {
    record >> 4
}

fn bit(replica: u8) -> u8 {
    1 << replica
}

fn members(set: u8) -> impl Iterator<Item = u8> {
    (0..REPLICAS as u8).filter(move |replica| set & bit(*replica) != 0)
}

impl Replica {
    fn records(&self) -> &[u8] {
        &self.log[..self.end.into()]
    }

    fn append(&mut self, record: u8) {
        self.log[usize::from(self.end)] = record;
        self.end += 1;
    }

    fn truncate(&mut self, to: u8) {
        for at in to..self.end {
            self.log[usize::from(at)] = 0;
        }
        self.end = self.end.min(to);
        self.high_watermark = self.high_watermark.min(to);
    }

    /// A leader's answer to "where do your records of this epoch end?" (KIP-279): its own largest
    /// epoch that is not larger, and where that epoch ends.
    fn end_offset_for_epoch(&self, asked: u8, rules: Rules) -> (u8, u8) {
        let (own, end) = rules::end_offset_for_epoch(self, asked);
        // KIP-101: where the next epoch starts, as if the leader had the requested one.
        if rules.next_epochs_start { (asked, end) } else { (own, end) }
    }
}

impl EpochLog for Replica {
    type Epoch = u8;
    type Offset = u8;

    fn end(&self) -> u8 {
        self.end
    }

    fn end_of(&self, epoch: u8) -> u8 {
        self.records().partition_point(|record| epoch_of(*record) <= epoch) as u8
    }

    fn epoch_below(&self, end: u8) -> u8 {
        self.log[..end.into()].last().map_or(NEVER, |last| epoch_of(*last))
    }
}

impl State {
    /// Does this replica believe that it leads?
    fn leads(&self, replica: u8) -> bool {
        self.leader_for(replica) == replica
    }

    fn is_silent(&self, replica: u8) -> bool {
        self.replicas[usize::from(replica)].silent
    }

    /// The leader according to this replica; [`NOBODY`] if it has heard of no epoch.
    fn leader_for(&self, replica: u8) -> u8 {
        match self.replicas[usize::from(replica)].epoch {
            NEVER => NOBODY,
            epoch => self.registration(epoch).leader,
        }
    }

    /// Drops registrations that no replica is in or can still hear of: they make no difference.
    fn forget(&mut self) {
        let oldest = self.replicas.iter().map(|replica| replica.epoch.max(replica.not_before));
        let oldest = oldest.min().unwrap_or(NEVER);
        for epoch in 1..oldest {
            self.registrations[usize::from(epoch) - 1] = Registration::default();
        }
    }

    fn registration(&self, epoch: u8) -> Registration {
        self.registrations[usize::from(epoch) - 1]
    }

    /// Moves a leader's high watermark to what all members of its maximal ISR hold (KIP-497).
    fn advance(&mut self, leader: u8, rules: Rules) {
        let known = self.replicas[usize::from(leader)];
        let pending = if rules.high_watermark_by_committed_isr { 0 } else { known.pending };
        let has = |set: u8, member: u8| set & bit(member) != 0;
        let counts = |member: &u8| {
            let (in_isr, pending) = (has(known.isr, *member), has(pending, *member));
            *member != leader && rules::counts_for_high_watermark(in_isr, pending)
        };
        let held = |member: u8| self.known_end(leader, member, rules).unwrap_or(0);
        let others = (0..REPLICAS as u8).filter(counts).map(held);
        let to = rules::high_watermark_bound(known.end, others);
        if to > known.high_watermark {
            self.replicas[usize::from(leader)].high_watermark = to;
            self.promise(leader, to);
        }
    }

    /// Where a follower's log ends, as far as its leader knows.
    fn known_end(&self, leader: u8, follower: u8, rules: Rules) -> Option<u8> {
        let replica = &self.replicas[usize::from(follower)];
        (replica.told && self.talk(follower, rules) == Some(leader)).then_some(replica.end)
    }

    /// The leader that a follower may talk to: since KIP-320 the leader must be in the follower's
    /// leader epoch.
    fn talk(&self, follower: u8, rules: Rules) -> Option<u8> {
        let leader = self.leader_for(follower);
        if leader == NOBODY || leader == follower || !self.leads(leader) {
            return None;
        }
        let fenced = !rules.unfenced_fetch && !rules.unfenced_truncation;
        let epoch = |replica: u8| self.replicas[usize::from(replica)].epoch;
        (!fenced || epoch(leader) == epoch(follower)).then_some(leader)
    }

    /// This leader promises clients everything below `to`.
    fn promise(&mut self, leader: u8, to: u8) {
        let log = self.replicas[usize::from(leader)].log;
        for at in self.promised_end..to {
            self.promised[usize::from(at)] = log[usize::from(at)];
        }
        self.promised_end = self.promised_end.max(to);
    }

    /// Does this replica hold what was promised, below `end`?
    fn holds_promised(&self, replica: u8, end: u8) -> bool {
        let end = usize::from(end.min(self.promised_end));
        self.replicas[usize::from(replica)].log[..end] == self.promised[..end]
    }
}

impl Isr {
    fn hear(&self, state: &mut State, id: u8, epoch: u8) {
        let registration = state.registration(epoch);
        let replica = &mut state.replicas[usize::from(id)];
        let before = *replica;
        *replica = Replica {
            log: before.log,
            end: before.end,
            high_watermark: before.high_watermark,
            epoch,
            ..Replica::default()
        };
        if registration.leader == id {
            replica.start = if epoch == state.epoch { replica.end } else { 0 };
            replica.isr = registration.isr;
            state.advance(id, self.rules);
        } else if self.rules.truncate_to_high_watermark {
            replica.truncate(before.high_watermark);
        }
    }

    /// The rule that keeps logs from diverging: the follower's log is cut where it diverges from
    /// the leader's. Returns true if there was something to cut.
    fn cut_where_they_diverge(&self, state: &mut State, leader: u8, follower: u8) -> bool {
        let own = &state.replicas[usize::from(follower)];
        let source = &state.replicas[usize::from(leader)];
        let answer = source.end_offset_for_epoch(own.last_epoch(), self.rules);
        let Some(to) = rules::where_they_diverge(own, answer) else { return false };
        state.replicas[usize::from(follower)].truncate(to);
        true
    }

    fn fetch(&self, state: &mut State, leader: u8, follower: u8) {
        if !self.rules.unfenced_fetch && self.cut_where_they_diverge(state, leader, follower) {
            return; // the answer said where they diverge, and brought nothing
        }
        let source = state.replicas[usize::from(leader)];
        let replica = &mut state.replicas[usize::from(follower)];
        replica.told = true;
        if replica.end < source.end {
            replica.append(source.log[usize::from(replica.end)]);
        }
        // The leader's high watermark from before this fetch. If this fetch moves it, the next one
        // says so.
        replica.high_watermark = rules::followers_high_watermark(
            replica.high_watermark,
            source.high_watermark,
            replica.end,
        );
        state.advance(leader, self.rules);
    }

    fn may_join(&self, state: &State, leader: u8, follower: u8) -> bool {
        let replica = &state.replicas[usize::from(leader)];
        let end = state.known_end(leader, follower, self.rules);
        let start = if self.rules.early_isr_join { 0 } else { replica.start };
        rules::may_join(end, replica.high_watermark, start)
    }

    fn begin_epoch(&self, state: &mut State, leader: u8, isr: u8) {
        // A deposed leader learns nothing more about the ISR, and adds no member: only what it
        // knows now decides what it may still promise.
        for replica in &mut state.replicas {
            let pending = std::mem::take(&mut replica.pending);
            if !self.rules.high_watermark_by_committed_isr {
                replica.isr |= pending;
            }
            replica.start = 0;
        }
        state.epoch += 1;
        state.isr = isr;
        state.registrations[usize::from(state.epoch) - 1] = Registration { leader, isr };
    }

    fn lose_power(&self, state: &mut State, id: u8, end: u8) {
        state.power_losses += 1;
        let replica = &mut state.replicas[usize::from(id)];
        replica.truncate(end);
        if self.rules.leader_resumes_epoch {
            replica.silent = true;
            return;
        }
        *replica = Replica {
            log: replica.log,
            end: replica.end,
            high_watermark: replica.high_watermark,
            ..Replica::default()
        };
        let isr = state.isr & !bit(id);
        match state.registration(state.epoch).leader == id {
            true => {
                let leader = members(isr).next().expect("another member keeps its log");
                self.begin_epoch(state, leader, isr);
            }
            false => state.isr = isr,
        }
        if !self.rules.roles_before_registration {
            state.replicas[usize::from(id)].not_before = state.epoch;
        }
    }
}

impl Model for Isr {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let all = (1 << REPLICAS) - 1;
        let mut state = State {
            replicas: [Replica::default(); REPLICAS],
            registrations: [Registration::default(); EPOCHS],
            epoch: 0,
            isr: all,
            promised: [0; LOG],
            promised_end: 0,
            power_losses: 0,
        };
        // Which replica leads first does not matter: replicas differ only in their numbers.
        self.begin_epoch(&mut state, 0, all);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let registered = state.registration(state.epoch).leader;
        if state.epoch < self.epochs {
            // Electing the same leader again adds nothing to electing another one and then this
            // one.
            for leader in members(state.isr & !bit(registered)) {
                actions.push(Action::Elect { leader, drop: NOBODY });
                actions.push(Action::Elect { leader, drop: registered });
            }
        }
        for follower in members(state.isr & !bit(registered)) {
            actions.push(Action::Drop(follower));
        }
        for id in 0..REPLICAS as u8 {
            let replica = &state.replicas[usize::from(id)];
            for epoch in replica.not_before.max(replica.epoch + 1)..=state.epoch {
                actions.push(Action::Hear { replica: id, epoch });
            }
            if state.leads(id) {
                if replica.end < self.records {
                    actions.push(Action::Append(id));
                }
                self.isr_actions(state, id, actions);
            } else if state.talk(id, self.rules).is_some() {
                match self.rules.unfenced_fetch && !replica.told {
                    true => actions.push(Action::Ask(id)),
                    false => actions.push(Action::Fetch(id)),
                }
            }
            if state.power_losses < self.power_losses {
                self.power_loss_actions(state, id, actions);
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Elect { leader, drop } => {
                let isr = if drop == NOBODY { state.isr } else { state.isr & !bit(drop) };
                self.begin_epoch(&mut state, leader, isr);
            }
            Action::Drop(follower) => state.isr &= !bit(follower),
            Action::Hear { replica, epoch } => {
                self.hear(&mut state, replica, epoch);
                state.forget();
            }
            Action::Append(leader) => {
                let salt = state.power_losses;
                let replica = &mut state.replicas[usize::from(leader)];
                replica.silent = false;
                replica.append(record(replica.epoch, salt));
                let end = replica.end;
                if self.rules.ack_at_leader_append {
                    state.promise(leader, end);
                }
                state.advance(leader, self.rules);
            }
            Action::Ask(follower) => {
                let leader = state.talk(follower, self.rules)?;
                self.cut_where_they_diverge(&mut state, leader, follower);
                state.replicas[usize::from(follower)].told = true;
            }
            Action::Fetch(follower) => {
                let leader = state.talk(follower, self.rules)?;
                state.replicas[usize::from(leader)].silent = false;
                self.fetch(&mut state, leader, follower);
            }
            Action::Expand { leader, follower } => {
                state.isr |= bit(follower);
                state.replicas[usize::from(leader)].pending = bit(follower);
            }
            Action::HearIsr(leader) => {
                let isr = state.isr;
                let replica = &mut state.replicas[usize::from(leader)];
                (replica.isr, replica.pending) = (isr, 0);
                state.advance(leader, self.rules);
            }
            Action::PowerLoss { replica, end } => self.lose_power(&mut state, replica, end),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("promised-stays", |_, state: &State| {
                // The leader of the newest epoch that any leader has begun holds all that was
                // promised.
                let newest = (0..REPLICAS as u8).filter(|id| state.leads(*id));
                let newest = newest.max_by_key(|id| state.replicas[usize::from(*id)].epoch);
                newest.is_none_or(|leader| {
                    let current = state.replicas[usize::from(leader)].epoch == state.epoch;
                    !current || state.is_silent(leader) || state.holds_promised(leader, LOG as u8)
                })
            }),
            Property::always("isr-holds-promised", |_, state: &State| {
                let mut speaking = members(state.isr).filter(|id| !state.is_silent(*id));
                speaking.all(|id| state.holds_promised(id, LOG as u8))
            }),
            Property::always("logs-agree", |_, state: &State| {
                (0..REPLICAS as u8).filter(|id| !state.is_silent(*id)).all(|id| {
                    state.holds_promised(id, state.replicas[usize::from(id)].high_watermark)
                })
            }),
        ]
    }
}

impl Isr {
    fn isr_actions(&self, state: &State, leader: u8, actions: &mut Vec<Action>) {
        let replica = &state.replicas[usize::from(leader)];
        // The controller refuses a proposal from another epoch, or one based on an ISR that has
        // changed.
        if replica.epoch != state.epoch {
            return;
        }
        if replica.isr != state.isr || replica.pending != 0 {
            actions.push(Action::HearIsr(leader));
        }
        if replica.isr == state.isr && replica.pending == 0 {
            for follower in members(!state.isr) {
                if self.may_join(state, leader, follower) {
                    actions.push(Action::Expand { leader, follower });
                }
            }
        }
    }

    fn power_loss_actions(&self, state: &State, id: u8, actions: &mut Vec<Action>) {
        let registered = state.registration(state.epoch).leader == id;
        let others = state.isr & !bit(id);
        let may = match self.rules.leader_resumes_epoch {
            true => registered && state.leads(id) && others != 0,
            false => others != 0 && (!registered || state.epoch < self.epochs),
        };
        if may {
            let end = state.replicas[usize::from(id)].end;
            actions.extend((0..end).map(|end| Action::PowerLoss { replica: id, end }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_protocol_holds_in_every_state() {
        let report = crate::run(Isr::new(None, Bounds::Small), None);
        assert_eq!(report.counterexample, None);
        assert_eq!((report.unique, report.depth), (ENTRY.states[0], 22));
        assert!(report.state_bytes.is_some_and(|bytes| bytes <= 100));
    }

    #[test]
    fn states_are_counted_alike_by_two_threads() {
        use stateright::Checker;
        let checker = Isr::new(None, Bounds::Small).checker().threads(2).spawn_bfs().join();
        assert_eq!(checker.unique_state_count(), 53_485);
    }

    #[test]
    fn each_variant_breaks_a_promise_by_a_shortest_way() {
        let lengths = [
            ("truncate-to-high-watermark", 8),
            ("unknown-epoch-answered-with-next", 10),
            ("unfenced-fetch", 10),
            ("unfenced-truncation", 9),
            ("ack-at-leader-append", 2),
            ("early-isr-join", 12),
            ("leader-resumes-epoch", 7),
            ("high-watermark-by-committed-isr", 7),
            ("roles-before-registration", 8),
        ];
        let variants = [&VARIANTS, LOSSY.variants].concat();
        assert_eq!(lengths.map(|(variant, _)| variant)[..], variants);
        for (variant, length) in lengths {
            let report = crate::run(Isr::new(Some(variant), Bounds::Small), None);
            let (property, steps) = report.counterexample.expect(variant);
            assert_eq!(
                (property.as_str(), steps.len()),
                ("isr-holds-promised", length),
                "{variant}"
            );
        }
    }

    #[test]
    fn the_right_protocol_survives_power_losses() {
        let report = crate::run(Isr::lossy(None, Bounds::Small), None);
        assert_eq!(report.counterexample, None);
        assert_eq!(report.unique, LOSSY.states[0]);
        assert_eq!(
            Isr::lossy(None, Bounds::Small),
            Isr { power_losses: 1, ..Isr::new(None, Bounds::Small) }
        );
    }

    /// The counterexample that KIP-101's rule prevents, by hand: the correct protocol survives it.
    #[test]
    fn the_loss_before_kip_101_step_by_step() {
        let steps = [
            Action::Hear { replica: 0, epoch: 1 },
            Action::Hear { replica: 1, epoch: 1 },
            Action::Drop(2),
            Action::HearIsr(0),
            Action::Append(0),
            Action::Fetch(1), // brings the record, and a high watermark of 0
            Action::Elect { leader: 1, drop: NOBODY },
            Action::Elect { leader: 0, drop: NOBODY },
            Action::Hear { replica: 1, epoch: 3 },
        ];
        let run = |variant: Option<&str>| {
            let model = Isr { epochs: 4, ..Isr::new(variant, Bounds::Small) };
            let mut state = model.init_states()[0];
            for step in steps {
                let mut enabled = Vec::new();
                model.actions(&state, &mut enabled);
                assert!(enabled.contains(&step), "{step} in {state}");
                state = model.next_state(&state, step).unwrap();
            }
            state.holds_promised(1, LOG as u8)
        };
        assert!(run(None));
        assert!(!run(Some("truncate-to-high-watermark")));
    }

    #[test]
    #[should_panic(expected = "M1 has no variant typo")]
    fn an_unknown_variant_is_named() {
        Isr::new(Some("typo"), Bounds::Small);
    }
}
