//! M2, first half: how a leader changes its ISR through requests that may be lost, refused, resent,
//! and executed in any order.
//!
//! Read it beside KIP-497 (AlterPartition, the maximal ISR), Kafka's `Partition.scala`, and
//! `core::replica::isr`. In M1 the controller takes a proposal in one step. Here a proposal is a
//! multiset of copies, and M1's elections, epochs and diverging logs are left out.
//!
//! # What is abstracted away, and why that is sound
//!
//! - *One leader, one leader epoch.* The controller refuses a copy from another leader epoch, so
//!   copies have no effect beyond their own. It may elect any member of the ISR next, so the
//!   property is that each member holds what is promised.
//! - *A log is represented by its end.* Within a leader epoch only faults shorten a log (M1, M7).
//! - *A fetch is one step, and its leader knows at once* (a leader that learns late promises late).
//!   The high watermark waits only for the maximal ISR. A broker waits for a replica that is about
//!   to join, too, and so promises less.
//! - *The controller is one step*. Its metadata reach the leader late, and then the newest at once.
//! - *Whether the leader knows which followers are fenced* is left open: it may propose any
//!   follower that has caught up far enough. Broker epochs (KIP-903) are left out, because no log
//!   is lost.
//! - *Each copy waits on its own connection*. After its sender has given up, it may still be
//!   executed, or never. At most three copies are in flight at a time.
//! - *An answer that there is newer metadata* (a stale partition epoch) does not end the proposal,
//!   which waits for the metadata.
//!
//! # Properties
//!
//! `isr-holds-promised`: each member of the controller's ISR holds all that is promised.
//! `nobody-waits-for-the-dead`: if the leader counts a follower that has died, a cluster that loses
//! nothing from here on reaches a state in which the leader no longer counts it: the dead
//! follower's session expires, the leader's request is sent, executed and answered, and metadata
//! arrive. Each state is checked by following that path (`Alteration::leads_out`).
//!
//! # The variants
//!
//! `refusal-is-final` is Kafka's rule (and was this broker's): a refusal ends the wait for all
//! copies. `no-settlement` waits, and never asks for the current ISR. `same-isr-changes-nothing` is
//! a controller that treats a request for the current ISR as no change, and leaves the partition
//! epoch as it is. `unchecked-epoch` is a controller that accepts copies from earlier partition
//! epochs.

use std::fmt;
use std::net::SocketAddr;

use stateright::{Model, Property};

use crate::rules;
use crate::{Bounds, Entry};

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "M2",
    name: "alter-partition",
    title: "ISR changes: requests that are lost, refused, resent, or late",
    variants: &VARIANTS,
    states: [4_815, 71_565, 910_434],
    check: |variant, bounds| {
        let model = Alteration::new(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Alteration::new(variant, bounds), address)
    },
};

const VARIANTS: [&str; 4] =
    ["refusal-is-final", "no-settlement", "same-isr-changes-nothing", "unchecked-epoch"];

/// Replicas; the first leads, the second is in the ISR at first, the third is not.
const REPLICAS: u8 = 3;
pub(crate) const LEADER: u8 = 0;
/// Maximum number of copies in flight.
const COPIES: usize = 3;
/// More steps than the longest path that `Alteration::leads_out` follows.
const WAY_OUT: usize = 24;

/// The rules that a variant leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    refusal_is_final: bool,
    no_settlement: bool,
    same_isr_changes_nothing: bool,
    unchecked_epoch: bool,
}

/// The model: rules and budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alteration {
    rules: Rules,
    records: u8,
    /// Changes that the leader asks for, not counting settlements.
    changes: u8,
    timeouts: u8,
    fences: u8,
    deaths: u8,
}

/// A request in flight. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Copy {
    isr: u8,
    partition_epoch: u8,
    /// Its sender still waits for it.
    awaited: bool,
}

/// What the leader has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Proposal {
    None,
    /// To be sent.
    Wanted(u8),
    /// A copy or its answer is in flight.
    Sent(u8),
    /// Answered by "there is a newer registration".
    Outdated(u8),
}

/// The controller's answer to the awaited copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    /// The ISR and its partition epoch.
    Is(u8, u8),
    /// A member is not alive.
    Ineligible,
    /// There is a newer partition epoch.
    Outdated,
}

/// The partition, its leader, the controller, and the messages between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Where the logs end.
    ends: [u8; REPLICAS as usize],
    /// The leader's high watermark.
    promised: u8,
    /// Followers that will never do anything again.
    dead: u8,
    /// Replicas that the controller has not fenced.
    alive: u8,
    /// The controller's registration.
    isr: u8,
    partition_epoch: u8,
    /// The registration that the leader knows.
    known: u8,
    known_epoch: u8,
    proposal: Proposal,
    /// Replicas outside the known ISR that unanswered copies for its partition epoch have named.
    unsettled: u8,
    copies: [Copy; COPIES],
    answer: Option<Answer>,
    changes: u8,
    timeouts: u8,
    fences: u8,
}

/// One step. Replicas are numbered from 0 here, and from 1 in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The leader appends a record.
    Append,
    /// A follower fetches a record.
    Fetch(u8),
    /// The controller fences a follower.
    Fence(u8),
    /// A fenced follower is back in touch with the controller.
    Return(u8),
    /// A follower dies for good.
    Die(u8),
    /// The leader wants a follower in the ISR.
    Expand(u8),
    /// The leader wants a follower out of the ISR.
    Shrink(u8),
    /// The leader asks for the ISR that it knows.
    Settle,
    /// The leader sends its request, for the first time or again.
    Send,
    /// The controller executes the copy at this index.
    Execute(u8),
    /// The copy at this index, for which nobody waits, is lost.
    Lose(u8),
    /// The leader gives up waiting.
    TimeOut,
    /// The controller's answer reaches the leader.
    Answered,
    /// The metadata reach the leader.
    Hear,
}

fn bit(replica: u8) -> u8 {
    1 << replica
}

fn members(set: u8) -> impl Iterator<Item = u8> {
    (0..REPLICAS).filter(move |replica| set & bit(*replica) != 0)
}

impl Alteration {
    /// The correct protocol, in the same bounds.
    fn right(self) -> Alteration {
        Alteration { rules: Rules::default(), ..self }
    }

    /// The correct protocol, or the variant of that name.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> Alteration {
        let mut rules = Rules::default();
        match variant {
            None => {}
            Some("refusal-is-final") => rules.refusal_is_final = true,
            Some("no-settlement") => rules.no_settlement = true,
            Some("same-isr-changes-nothing") => rules.same_isr_changes_nothing = true,
            Some("unchecked-epoch") => rules.unchecked_epoch = true,
            Some(other) => panic!("M2 has no variant {other}; it has {VARIANTS:?}"),
        }
        let (records, changes, timeouts, fences) = match bounds {
            Bounds::Small => (1, 1, 1, 1),
            Bounds::Full => (1, 2, 2, 1),
            Bounds::Large => (2, 2, 2, 2),
        };
        Alteration { rules, records, changes, timeouts, fences, deaths: 1 }
    }

    /// The controller executes a request (KIP-497, KIP-841). Returns its answer.
    fn execute(&self, state: &mut State, copy: Copy) -> Answer {
        if copy.partition_epoch < state.partition_epoch && !self.rules.unchecked_epoch {
            return Answer::Outdated;
        }
        if copy.isr & !state.alive != 0 {
            return Answer::Ineligible;
        }
        if copy.isr != state.isr || !self.rules.same_isr_changes_nothing {
            state.isr = copy.isr;
            state.partition_epoch += 1;
        }
        Answer::Is(state.isr, state.partition_epoch)
    }

    /// The leader receives the answer that it waits for.
    fn answered(&self, state: &mut State, answer: Answer) {
        let Proposal::Sent(asked) = state.proposal else { panic!("an answer is awaited") };
        match answer {
            Answer::Is(isr, epoch) if epoch > state.known_epoch => state.commit(isr, epoch),
            // The leader knows that registration already.
            Answer::Is(..) => state.proposal = Proposal::None,
            Answer::Outdated => state.proposal = Proposal::Outdated(asked),
            Answer::Ineligible => {
                state.proposal = Proposal::None;
                if self.rules.refusal_is_final {
                    state.unsettled = 0;
                }
            }
        }
        state.advance();
    }

    fn may_settle(&self, state: &State) -> bool {
        state.proposal == Proposal::None && state.unsettled != 0 && !self.rules.no_settlement
    }

    /// Does a cluster without further faults reach a state that no longer counts the dead?
    fn leads_out(&self, state: &State) -> bool {
        let mut state = *state;
        for _ in 0..WAY_OUT {
            if state.counted() & state.dead == 0 {
                return true;
            }
            if !self.works(&mut state) {
                return false;
            }
        }
        false
    }

    /// Takes one step of a cluster in which nothing is lost and nobody gives up; false if there is
    /// none.
    fn works(&self, state: &mut State) -> bool {
        if let Some(gone) = members(state.dead & state.alive).next() {
            state.fence(gone);
        } else if let Some(answer) = state.answer.take() {
            self.answered(state, answer);
        } else if let Some(at) = state.copies.iter().position(|copy| copy.awaited) {
            let copy = state.take_copy(at);
            state.answer = Some(self.execute(state, copy));
        } else if state.known_epoch < state.partition_epoch {
            state.hear();
        } else if let Proposal::Wanted(isr) = state.proposal {
            // The way out may not depend on copies that are still in flight.
            state.copies = [Copy::default(); COPIES];
            state.send(isr);
        } else if self.may_settle(state) {
            state.proposal = Proposal::Wanted(state.known);
        } else {
            return false;
        }
        true
    }
}

impl State {
    /// The replicas that the high watermark waits for (the maximal ISR).
    fn counted(&self) -> u8 {
        let proposed = match self.proposal {
            Proposal::None => 0,
            Proposal::Wanted(isr) | Proposal::Sent(isr) | Proposal::Outdated(isr) => isr,
        };
        self.known | proposed | self.unsettled
    }

    /// Moves the high watermark.
    fn advance(&mut self) {
        let others = members(self.counted() & !bit(LEADER)).map(|at| self.ends[usize::from(at)]);
        let to = rules::high_watermark_bound(self.ends[usize::from(LEADER)], others);
        self.promised = self.promised.max(to);
    }

    /// The leader learns a newer registration: earlier requests can no longer take effect.
    fn commit(&mut self, isr: u8, partition_epoch: u8) {
        (self.known, self.known_epoch) = (isr, partition_epoch);
        (self.proposal, self.unsettled) = (Proposal::None, 0);
    }

    /// The leader no longer waits for any copy or answer.
    fn give_up(&mut self) {
        self.answer = None;
        for copy in &mut self.copies {
            copy.awaited = false;
        }
        self.copies.sort_unstable();
    }

    fn hear(&mut self) {
        self.commit(self.isr, self.partition_epoch);
        self.give_up();
        self.advance();
    }

    fn fence(&mut self, follower: u8) {
        self.alive &= !bit(follower);
        if self.isr & bit(follower) != 0 {
            self.isr &= !bit(follower);
            self.partition_epoch += 1;
        }
    }

    fn has_room(&self) -> bool {
        self.copies.contains(&Copy::default())
    }

    fn send(&mut self, isr: u8) {
        let free = self.copies.iter().position(|copy| *copy == Copy::default());
        let partition_epoch = self.known_epoch;
        self.copies[free.expect("there is room")] = Copy { isr, partition_epoch, awaited: true };
        self.copies.sort_unstable();
        self.proposal = Proposal::Sent(isr);
    }

    fn take_copy(&mut self, at: usize) -> Copy {
        let copy = std::mem::take(&mut self.copies[at]);
        self.copies.sort_unstable();
        copy
    }

    /// Has this follower caught up far enough to join?
    fn may_join(&self, follower: u8) -> bool {
        rules::may_join(Some(self.ends[usize::from(follower)]), self.promised, 0)
    }
}

impl Model for Alteration {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let all = (1 << REPLICAS) - 1;
        let isr = bit(LEADER) | bit(1);
        vec![State {
            ends: [0; REPLICAS as usize],
            promised: 0,
            dead: 0,
            alive: all,
            isr,
            partition_epoch: 1,
            known: isr,
            known_epoch: 1,
            proposal: Proposal::None,
            unsettled: 0,
            copies: [Copy::default(); COPIES],
            answer: None,
            changes: 0,
            timeouts: 0,
            fences: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.ends[usize::from(LEADER)] < self.records {
            actions.push(Action::Append);
        }
        for follower in 1..REPLICAS {
            self.follower_actions(state, follower, actions);
        }
        if self.may_settle(state) {
            actions.push(Action::Settle);
        }
        if matches!(state.proposal, Proposal::Wanted(_)) && state.has_room() {
            actions.push(Action::Send);
        }
        for (at, copy) in (0..).zip(&state.copies) {
            if *copy != Copy::default() {
                actions.push(Action::Execute(at));
                if !copy.awaited {
                    actions.push(Action::Lose(at));
                }
            }
        }
        if matches!(state.proposal, Proposal::Sent(_)) && state.timeouts < self.timeouts {
            actions.push(Action::TimeOut);
        }
        if state.answer.is_some() {
            actions.push(Action::Answered);
        }
        if state.known_epoch < state.partition_epoch {
            actions.push(Action::Hear);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Append => {
                state.ends[usize::from(LEADER)] += 1;
                state.advance();
            }
            Action::Fetch(follower) => {
                state.ends[usize::from(follower)] += 1;
                state.advance();
            }
            Action::Fence(follower) => {
                state.fences += 1;
                state.fence(follower);
            }
            Action::Return(follower) => state.alive |= bit(follower),
            Action::Die(follower) => state.dead |= bit(follower),
            Action::Expand(follower) => {
                state.changes += 1;
                state.proposal = Proposal::Wanted(state.known | bit(follower));
            }
            Action::Shrink(follower) => {
                state.changes += 1;
                state.proposal = Proposal::Wanted(state.known & !bit(follower));
            }
            Action::Settle => state.proposal = Proposal::Wanted(state.known),
            Action::Send => {
                let Proposal::Wanted(isr) = state.proposal else { return None };
                state.send(isr);
            }
            Action::Execute(at) => {
                let copy = state.take_copy(at.into());
                let answer = self.execute(&mut state, copy);
                if copy.awaited {
                    state.answer = Some(answer);
                }
            }
            Action::Lose(at) => drop(state.take_copy(at.into())),
            Action::TimeOut => {
                let Proposal::Sent(isr) = state.proposal else { return None };
                state.timeouts += 1;
                state.unsettled |= isr & !state.known;
                state.proposal = Proposal::Wanted(isr);
                state.give_up();
            }
            Action::Answered => {
                let answer = state.answer.take()?;
                self.answered(&mut state, answer);
            }
            Action::Hear => state.hear(),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("isr-holds-promised", |_, state: &State| {
                members(state.isr).all(|at| state.ends[usize::from(at)] >= state.promised)
            }),
            Property::always("nobody-waits-for-the-dead", |model: &Alteration, state: &State| {
                model.leads_out(state)
            }),
        ]
    }
}

impl Alteration {
    fn follower_actions(&self, state: &State, follower: u8, actions: &mut Vec<Action>) {
        let (me, lives) = (bit(follower), state.dead & bit(follower) == 0);
        if lives && state.ends[usize::from(follower)] < state.ends[usize::from(LEADER)] {
            actions.push(Action::Fetch(follower));
        }
        if lives && state.dead.count_ones() < self.deaths.into() {
            actions.push(Action::Die(follower));
        }
        match state.alive & me != 0 {
            true if state.fences < self.fences => actions.push(Action::Fence(follower)),
            true => {}
            false if lives => actions.push(Action::Return(follower)),
            false => {}
        }
        if state.proposal == Proposal::None && state.changes < self.changes {
            match state.known & me != 0 {
                true => actions.push(Action::Shrink(follower)),
                false if state.may_join(follower) => actions.push(Action::Expand(follower)),
                false => {}
            }
        }
    }
}

fn set(members_of: u8) -> String {
    let names: Vec<String> = members(members_of).map(|at| (at + 1).to_string()).collect();
    format!("{{{}}}", names.join(","))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Append => f.write_str("leader 1 appends a record"),
            Action::Fetch(follower) => write!(f, "{} fetches from its leader", follower + 1),
            Action::Fence(follower) => write!(f, "the controller fences {}", follower + 1),
            Action::Return(follower) => write!(f, "{} is unfenced", follower + 1),
            Action::Die(follower) => write!(f, "{} dies and never returns", follower + 1),
            Action::Expand(follower) => write!(f, "1 wants {} in the ISR", follower + 1),
            Action::Shrink(follower) => write!(f, "1 wants {} out of the ISR", follower + 1),
            Action::Settle => {
                f.write_str("1 requests the current ISR, to settle the unresolved members")
            }
            Action::Send => f.write_str("1 sends its request"),
            Action::Execute(_) => f.write_str("the controller executes a request"),
            Action::Lose(_) => f.write_str("an abandoned request is lost"),
            Action::TimeOut => f.write_str("1's request times out, and 1 will resend it"),
            Action::Answered => f.write_str("the controller's answer reaches 1"),
            Action::Hear => f.write_str("1 learns the new metadata"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ISR {} in partition epoch {}", set(self.isr), self.partition_epoch)?;
        write!(f, "; alive {}, dead {}", set(self.alive), set(self.dead))?;
        write!(f, "; 1 knows {} in {}", set(self.known), self.known_epoch)?;
        match self.proposal {
            Proposal::None => {}
            Proposal::Wanted(isr) => write!(f, ", wants {}", set(isr))?,
            Proposal::Sent(isr) => write!(f, ", has requested {}", set(isr))?,
            Proposal::Outdated(isr) => write!(f, ", requested {} too late", set(isr))?,
        }
        write!(f, ", unsettled {}", set(self.unsettled))?;
        let copies = self.copies.iter().filter(|copy| **copy != Copy::default());
        for Copy { isr, partition_epoch, awaited } in copies {
            let whose = if *awaited { "awaited" } else { "abandoned" };
            write!(f, "; in flight {} for {partition_epoch} ({whose})", set(*isr))?;
        }
        write!(f, "; ends {:?}, promised {}", self.ends, self.promised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_protocol_holds_in_every_state() {
        let report = crate::run(Alteration::new(None, Bounds::Small), None);
        assert_eq!(report.counterexample, None);
        assert_eq!(report.unique, ENTRY.states[0]);
        assert!(report.state_bytes.is_some_and(|bytes| bytes <= 48), "{:?}", report.state_bytes);
    }

    #[test]
    fn states_are_counted_alike_by_two_threads() {
        use stateright::Checker;
        let model = Alteration::new(None, Bounds::Small);
        let checker = model.checker().threads(2).spawn_bfs().join();
        assert_eq!(checker.unique_state_count() as u64, ENTRY.states[0]);
    }

    #[test]
    fn each_variant_breaks_a_promise_by_a_shortest_way() {
        let broken = [
            ("refusal-is-final", "isr-holds-promised", 11),
            ("no-settlement", "nobody-waits-for-the-dead", 4),
            ("same-isr-changes-nothing", "nobody-waits-for-the-dead", 4),
            ("unchecked-epoch", "isr-holds-promised", 7),
        ];
        assert_eq!(broken.map(|(variant, ..)| variant), VARIANTS);
        let found = broken.map(|(variant, ..)| {
            let report = crate::run(Alteration::new(Some(variant), Bounds::Small), None);
            let (property, steps) = report.counterexample.expect(variant);
            (variant, property, steps.len())
        });
        let broken = broken.map(|(variant, property, steps)| (variant, property.to_owned(), steps));
        assert_eq!(found, broken);
    }

    /// What remains unsettled after a second copy is refused, by hand.
    #[test]
    fn an_earlier_copy_that_comes_last_lets_nobody_in_who_lacks_anything() {
        let run = |variant: Option<&str>, steps: &[Action]| {
            let model = Alteration::new(variant, Bounds::Full);
            let mut state = model.init_states()[0];
            for step in steps {
                let mut enabled = Vec::new();
                model.actions(&state, &mut enabled);
                assert!(enabled.contains(step), "{step} in {state}");
                state = model.next_state(&state, *step).expect("it changes something");
            }
            (state, model)
        };
        let at = COPIES as u8 - 1;
        let refused = [
            Action::Expand(2),
            Action::Send,
            Action::TimeOut,
            Action::Fence(2),
            Action::Send,
            Action::Execute(at),
            Action::Answered,
            Action::Append,
            Action::Fetch(1),
        ];
        let (state, model) = run(None, &refused);
        assert_eq!((state.promised, state.unsettled), (0, bit(2)));
        assert!(model.leads_out(&state));
        assert_eq!(run(Some("refusal-is-final"), &refused).0.promised, 1);
        let settled = [
            &refused[..],
            // Of two copies, the one that names more members sorts last.
            &[Action::Settle, Action::Send, Action::Execute(at - 1), Action::Answered],
        ];
        let (state, _) = run(None, &settled.concat());
        assert_eq!((state.promised, state.unsettled, state.partition_epoch), (1, 0, 2));
    }

    #[test]
    #[should_panic(expected = "M2 has no variant typo")]
    fn an_unknown_variant_is_named() {
        Alteration::new(Some("typo"), Bounds::Small);
    }
}
