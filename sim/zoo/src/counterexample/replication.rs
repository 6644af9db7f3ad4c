//! Steps of a partition's replicas (M1, R1) as faults.
//!
//! In a model, the controller may elect at any time, and replicas may hear of it at any time. In a
//! cluster, the controller elects when the leader's session has expired, and all replicas hear of
//! it soon. So the steps are sorted by leader epoch ([`terms`]), which changes nothing for a
//! replica. Then faults prevent what does not happen in the steps:
//!
//! - a follower that does not fetch in an epoch is cut off from its leader;
//! - a deposed leader crashes right after the last step in its epoch, until it hears of an epoch
//!   again;
//! - a leader that does not hear of the ISR that it proposed is cut off from the controllers;
//! - at the end, the replica that the steps leave in the ISR without all promised records is made
//!   leader: the other members crash.
//!
//! The model's controller may also depose a leader without fencing it; the broker's never does. In
//! that case a fourth replica is its *double*: it fetches all that this leader appends, and takes
//! its place (in the ISR, and when it leads again).

use wavetank_models::Happening;
use wavetank_sim::plan::{Crash, FaultKind, Partition, Plan, PowerLoss, Shape, Target};

use super::environment::{self, CONTROLLERS, SESSION_MS};
use super::{Moment, Vary, chain, replicas};

/// The model's replicas; the double, if there is one, is the next.
const REPLICAS: u8 = 3;
const DOUBLE: u8 = REPLICAS;

/// The steps in one leader epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    leader: u8,
    /// Whether the previous leader was fenced for it.
    fenced: bool,
    steps: Vec<Happening>,
}

impl Term {
    fn appends(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Happening::Append(_)))
    }

    fn fetches(&self, follower: u8) -> bool {
        self.steps.contains(&Happening::Fetch(follower))
    }

    fn hears(&self, replica: u8) -> bool {
        self.steps.iter().any(|step| {
            let is = |who: u8| who == replica;
            matches!(step, Happening::Hear { replica: who, .. } if is(*who))
                || matches!(step, Happening::Return(who) if is(*who))
        })
    }
}

/// The steps by leader epoch: the epoch of the replica that takes the step, or the one that it
/// hears of.
fn terms(steps: &[Happening]) -> Vec<Term> {
    let mut terms = vec![Term { leader: 0, fenced: true, steps: Vec::new() }];
    let mut known = [0_usize; REPLICAS as usize];
    for step in steps {
        let term = match *step {
            Happening::Elect { leader, fence } => {
                terms.push(Term { leader, fenced: fence, steps: Vec::new() });
                continue;
            }
            Happening::Hear { replica, epoch } => {
                known[usize::from(replica)] = usize::from(epoch) - 1;
                usize::from(epoch) - 1
            }
            Happening::Append(who)
            | Happening::Fetch(who)
            | Happening::Propose { leader: who, follower: _ }
            | Happening::HearIsr(who)
            | Happening::ReplicaPowerLoss(who) => known[usize::from(who)],
            Happening::Drop(_) | Happening::Return(_) => terms.len() - 1,
            Happening::Itself
            | Happening::Stand(_)
            | Happening::Grant { .. }
            | Happening::VoterPowerLoss(_)
            | Happening::Write
            | Happening::Acknowledge
            | Happening::SyncFails
            | Happening::Cut
            | Happening::ProcessCrash
            | Happening::LogPowerLoss => continue,
        };
        terms[term].steps.push(*step);
    }
    terms
}

/// Puts the double in the place of a leader that was deposed without being fenced. Returns which
/// replica it doubles, and from which term on.
fn with_double(terms: &mut [Term]) -> Option<(u8, usize)> {
    let deposed: Vec<(u8, usize)> = (1..terms.len())
        .filter(|at| !terms[*at].fenced)
        .map(|at| (terms[at - 1].leader, at))
        .collect();
    let again = |&&(who, from): &&(u8, usize)| terms[from..].iter().any(|term| term.leader == who);
    let (who, from) = *deposed.iter().find(again).or(deposed.last())?;
    if terms[from..].iter().any(|term| term.leader == who) {
        let other = |replica: &mut u8| {
            if *replica == who {
                *replica = DOUBLE;
            }
        };
        for term in &mut terms[from..] {
            other(&mut term.leader);
            for step in &mut term.steps {
                match step {
                    Happening::Hear { replica, epoch: _ } => other(replica),
                    Happening::Append(replica)
                    | Happening::Fetch(replica)
                    | Happening::HearIsr(replica)
                    | Happening::Drop(replica)
                    | Happening::Return(replica)
                    | Happening::ReplicaPowerLoss(replica) => other(replica),
                    Happening::Propose { leader, follower } => {
                        other(leader);
                        follower.iter_mut().for_each(other);
                    }
                    Happening::Itself
                    | Happening::Elect { .. }
                    | Happening::Stand(_)
                    | Happening::Grant { .. }
                    | Happening::VoterPowerLoss(_)
                    | Happening::Write
                    | Happening::Acknowledge
                    | Happening::SyncFails
                    | Happening::Cut
                    | Happening::ProcessCrash
                    | Happening::LogPowerLoss => {}
                }
            }
        }
    }
    Some((who, from))
}

/// The translation of one try.
struct Cast {
    terms: Vec<Term>,
    /// The doubled replica, and from which term on.
    double: Option<(u8, usize)>,
    /// The replica that lacks promised records after the last step; `None` if that step does not
    /// show it.
    suspect: Option<u8>,
    /// Nodes by the model's replica numbers.
    nodes: Vec<i32>,
    /// How long an election takes, with some time to spare, in microseconds.
    election_us: u64,
    /// A duration that lasts until the end of the storm, in microseconds.
    long_us: u64,
}

/// The plan of these steps.
pub(super) fn plan(steps: &[Happening], vary: &mut Vary) -> Plan {
    let mut terms = terms(steps);
    let double = with_double(&mut terms);
    let brokers = i32::from(REPLICAS) + i32::from(double.is_some());
    let election_us = SESSION_MS * vary.range(1_200, 2_400);
    let long_us = (terms.len() as u64 + 3) * 2_500_000;
    let mut plan = environment::plan(vary.number, brokers, long_us / 1000);
    plan.workload.producers[0].interval_us = vary.pick(&[5_000, 20_000, 40_000]);
    plan.workload.producers[0].max_in_flight = vary.pick(&[1, 1, 5]);
    // Followers that come back catch up record by record, so that a step may come in between.
    if vary.range(0, 1) == 0 {
        plan.node.replica_fetch_max_bytes = 256;
    }
    plan.node.checkpoint_interval_ms = vary.pick(&[200, 1_000, 10_000]);
    let order = order_of_first_leadership(&terms, brokers as u8);
    let placed = replicas(&plan);
    let mut nodes = vec![0; placed.len()];
    for (actor, node) in order.into_iter().zip(placed) {
        nodes[usize::from(actor)] = node;
    }
    let suspect = steps.last().and_then(|last| last_changed(last, &terms)).map(|actor| {
        let doubled = double.is_some_and(|(who, from)| {
            who == actor && terms[from..].iter().any(|term| term.leader == DOUBLE)
        });
        if doubled { DOUBLE } else { actor }
    });
    let cast = Cast { terms, double, suspect, nodes, election_us, long_us };
    plan.faults = chain(cast.moments(vary));
    plan
}

/// The replica whose log or membership this step changes. If the step breaks a promise, that
/// replica lacks promised records. (An append extends what is promised instead, and a fetch may.)
fn last_changed(last: &Happening, terms: &[Term]) -> Option<u8> {
    match *last {
        Happening::Fetch(replica)
        | Happening::Hear { replica, epoch: _ }
        | Happening::ReplicaPowerLoss(replica) => Some(replica),
        Happening::Propose { leader, follower } => follower.or_else(|| {
            let term = terms.last()?;
            (0..REPLICAS).find(|actor| *actor != leader && term.fetches(*actor))
        }),
        Happening::Append(_)
        | Happening::HearIsr(_)
        | Happening::Itself
        | Happening::Elect { .. }
        | Happening::Drop(_)
        | Happening::Return(_)
        | Happening::Stand(_)
        | Happening::Grant { .. }
        | Happening::VoterPowerLoss(_)
        | Happening::Write
        | Happening::Acknowledge
        | Happening::SyncFails
        | Happening::Cut
        | Happening::ProcessCrash
        | Happening::LogPowerLoss => None,
    }
}

/// The order in which replicas must be assigned: the controller elects the first in it that is in
/// the ISR.
fn order_of_first_leadership(terms: &[Term], replicas: u8) -> Vec<u8> {
    let mut order: Vec<u8> = Vec::new();
    for actor in terms.iter().map(|term| term.leader).chain(0..replicas) {
        if !order.contains(&actor) {
            order.push(actor);
        }
    }
    order
}

impl Cast {
    fn actors(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.nodes.len() as u8
    }

    fn node(&self, actor: u8) -> Target {
        Target::Node(self.nodes[usize::from(actor)])
    }

    fn crash(&self, actor: u8, down_us: u64) -> FaultKind {
        FaultKind::Crash(Crash { node: self.node(actor), down_us })
    }

    fn apart(one: Target, other: Target, for_us: u64) -> FaultKind {
        let shape = Shape::Pair(one, other);
        FaultKind::Partition(Partition { shape, one_way: false, clients_too: false, for_us })
    }

    /// Cuts off followers that do not fetch in this leader's term, until the two meet again.
    fn cuts(&self, at: usize) -> Vec<FaultKind> {
        let term = &self.terms[at];
        let mut cuts = Vec::new();
        if at == 0 && term.steps.is_empty() {
            return cuts;
        }
        for follower in self.actors().filter(|actor| *actor != term.leader) {
            let doubles = self.double.is_some_and(|(who, from)| {
                follower == DOUBLE && at < from && (who == term.leader || !term.appends())
            });
            if doubles || term.fetches(follower) {
                continue;
            }
            let meet = (at + 1..self.terms.len()).find(|later| {
                let later = &self.terms[*later];
                (later.leader == term.leader && later.fetches(follower))
                    || (later.leader == follower && later.fetches(term.leader))
            });
            let for_us = match meet {
                Some(later) => (later - at) as u64 * self.election_us,
                None => self.long_us,
            };
            cuts.push(Cast::apart(self.node(follower), self.node(term.leader), for_us));
        }
        cuts
    }

    /// How long a replica that leaves when this term begins stays away: until it hears of an epoch
    /// again.
    fn absence(&self, actor: u8, at: usize) -> u64 {
        let back = (at..self.terms.len()).find(|later| self.terms[*later].hears(actor));
        back.map_or(self.long_us, |later| (later - at + 1) as u64 * self.election_us)
    }

    fn moments(&self, vary: &mut Vary) -> Vec<Moment> {
        let mut moments = Vec::new();
        let cuts = self.cuts(0);
        if !cuts.is_empty() {
            moments.push(Moment::at(vary.range(100_000, 300_000), cuts));
        }
        for at in 0..self.terms.len() {
            if at > 0 {
                let before = self.terms[at - 1].leader;
                let mut faults = self.cuts(at);
                faults.push(self.crash(before, self.absence(before, at)));
                moments.push(self.after_term(at - 1, faults, vary));
            }
            self.within_term(at, &mut moments, vary);
        }
        self.end(&mut moments, vary);
        moments
    }

    /// The moment right after the last step in this term.
    fn after_term(&self, at: usize, faults: Vec<FaultKind>, vary: &mut Vary) -> Moment {
        let term = &self.terms[at];
        let replicated = term.steps.iter().any(|step| matches!(step, Happening::Fetch(_)));
        let notes: &[&str] = match (term.appends(), replicated) {
            (true, true) => &["produce_acked", "high_watermark", "follower_appended"],
            (true, false) => &["leader_appended", "leader_appended", "produce_acked"],
            (false, _) if at == 0 => {
                return Moment::at(vary.range(1_000, 100_000), faults);
            }
            (false, _) => &["became_leader"],
        };
        let note = vary.pick(notes);
        let count = if note == "became_leader" { 1 } else { vary.range(1, 6) };
        Moment::after(note, count, vary.pick(&[0, 0, 0, 300]), faults)
    }

    fn within_term(&self, at: usize, moments: &mut Vec<Moment>, vary: &mut Vary) {
        let term = &self.terms[at];
        for (index, step) in term.steps.iter().enumerate() {
            let rest = &term.steps[index + 1..];
            match *step {
                Happening::Drop(follower) => {
                    let faults = vec![self.crash(follower, self.absence(follower, at))];
                    moments.push(Moment::at(vary.range(1_000, 100_000), faults));
                }
                Happening::Propose { leader, follower } => {
                    let joins = |actor: &u8| follower.is_none_or(|joins| joins == *actor);
                    let done: Vec<u8> = self
                        .actors()
                        .filter(|actor| *actor != leader && joins(actor) && term.fetches(*actor))
                        .filter(|actor| !rest.contains(&Happening::Fetch(*actor)))
                        .collect();
                    let apart = done.iter().map(|follower| {
                        Cast::apart(self.node(*follower), self.node(leader), self.long_us)
                    });
                    let (count, delay) = (vary.pick(&[1, 1, 2]), vary.pick(&[0, 0, 100, 300]));
                    moments.push(Moment::after("isr_proposed", count, delay, apart.collect()));
                    if !rest.contains(&Happening::HearIsr(leader)) {
                        let deaf = CONTROLLERS.map(|controller| {
                            Cast::apart(Target::Node(controller), self.node(leader), self.long_us)
                        });
                        moments.push(Moment::after("partition_changed", 1, 0, deaf.to_vec()));
                    }
                }
                Happening::ReplicaPowerLoss(replica) => {
                    let note = vary.pick(&["produce_acked", "high_watermark", "follower_appended"]);
                    let down_us = vary.range(1_000, 400_000);
                    let dark =
                        FaultKind::PowerLoss(PowerLoss { node: self.node(replica), down_us });
                    moments.push(Moment::after(note, vary.range(1, 6), 0, vec![dark]));
                }
                Happening::Itself
                | Happening::Elect { .. }
                | Happening::Return(_)
                | Happening::Hear { .. }
                | Happening::Append(_)
                | Happening::Fetch(_)
                | Happening::HearIsr(_)
                | Happening::Stand(_)
                | Happening::Grant { .. }
                | Happening::VoterPowerLoss(_)
                | Happening::Write
                | Happening::Acknowledge
                | Happening::SyncFails
                | Happening::Cut
                | Happening::ProcessCrash
                | Happening::LogPowerLoss => {}
            }
        }
    }

    /// The members of the ISR at the end, in the model and in the cluster.
    fn members(&self) -> (Vec<u8>, Vec<u8>) {
        let mut model: Vec<u8> = self.actors().collect();
        let mut cluster = model.clone();
        for at in 0..self.terms.len() {
            if at > 0 {
                let before = self.terms[at - 1].leader;
                cluster.retain(|actor| *actor != before);
                if self.terms[at].fenced {
                    model.retain(|actor| *actor != before);
                }
            }
            for step in &self.terms[at].steps {
                match *step {
                    Happening::Drop(follower) => {
                        model.retain(|actor| *actor != follower);
                        cluster.retain(|actor| *actor != follower);
                    }
                    Happening::Propose { leader: _, follower } => {
                        let fetched =
                            |actor: &u8| !cluster.contains(actor) && self.terms[at].fetches(*actor);
                        let joins = follower.or_else(|| self.actors().find(fetched));
                        model.extend(joins);
                        cluster.extend(joins);
                    }
                    Happening::Itself
                    | Happening::Elect { .. }
                    | Happening::Return(_)
                    | Happening::Hear { .. }
                    | Happening::Append(_)
                    | Happening::Fetch(_)
                    | Happening::HearIsr(_)
                    | Happening::ReplicaPowerLoss(_)
                    | Happening::Stand(_)
                    | Happening::Grant { .. }
                    | Happening::VoterPowerLoss(_)
                    | Happening::Write
                    | Happening::Acknowledge
                    | Happening::SyncFails
                    | Happening::Cut
                    | Happening::ProcessCrash
                    | Happening::LogPowerLoss => {}
                }
            }
        }
        (model, cluster)
    }

    /// Makes a member of the ISR lead alone.
    fn end(&self, moments: &mut Vec<Moment>, vary: &mut Vary) {
        let last = self.terms.len() - 1;
        let now = self.terms[last].leader;
        let (model, cluster) = self.members();
        let followers: Vec<u8> = model.iter().copied().filter(|actor| *actor != now).collect();
        // A leader that lost its tail still leads: it is the suspect.
        if followers.is_empty() || self.suspect == Some(now) {
            return;
        }
        let fetched = matches!(self.terms[last].steps.last(), Some(Happening::Fetch(_)));
        let next = match self.suspect {
            // A fetch may also let the leader promise more, and then another replica lacks it.
            Some(suspect) if !fetched || vary.range(0, 1) == 0 => suspect,
            Some(_) | None => vary.pick(&followers),
        };
        let crashes = cluster.iter().filter(|actor| **actor != next);
        let crashes = crashes.map(|actor| self.crash(*actor, self.long_us)).collect();
        let proposes =
            self.terms[last].steps.iter().any(|step| matches!(step, Happening::Propose { .. }));
        let delay = vary.pick(&[0, 0, 1_000, 20_000, 300_000]);
        moments.push(if !cluster.contains(&next) {
            // It was fenced, and must rejoin first.
            let note = vary.pick(&["isr_committed", "partition_changed"]);
            Moment::after(note, vary.range(1, 3), delay, crashes)
        } else if proposes && !self.promises_after_proposal(last) {
            // If the last step is the proposal, its leader was just cut off from the controllers.
            Moment::at(delay, crashes)
        } else {
            let mut moment = self.after_term(last, crashes, vary);
            if let wavetank_sim::plan::When::AfterNote(note) = &mut moment.when {
                note.delay_us = delay;
            }
            moment
        });
    }

    /// Whether an append or a fetch follows the proposal, after which more may be promised.
    fn promises_after_proposal(&self, at: usize) -> bool {
        let steps = &self.terms[at].steps;
        let proposed = steps.iter().position(|step| matches!(step, Happening::Propose { .. }));
        proposed.is_some_and(|proposed| {
            steps[proposed..]
                .iter()
                .any(|step| matches!(step, Happening::Append(_) | Happening::Fetch(_)))
        })
    }
}
