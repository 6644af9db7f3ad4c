//! Leader-only state of a partition: its followers' progress, the in-sync set, the requests that
//! wait for the high watermark.
//!
//! Sources: Kafka's `Partition.scala` and `Replica.scala`; KIP-101 (epoch start), KIP-497 (maximal
//! ISR), KIP-841 and KIP-903 (who may join), KIP-966 (no advance below min ISR). The log itself and
//! the high watermark's value live in [`super::Partition`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::ReplyTo;
use crate::flaw::{Flaw, FlawSet};
use crate::types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset};

use super::isr::IsrState;

/// A follower's progress, as reported by its fetches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FollowerProgress {
    /// Its log end: the offset of its last fetch. `None` until its first fetch in this epoch.
    pub log_end: Option<Offset>,
    /// When it was last known to have everything. `None` if it never was. No clock reading can
    /// stand for "never": a process may be younger than `replica.lag.time.max.ms`.
    pub last_caught_up: Option<Monotonic>,
    /// The leader's end at its last fetch, and the time of that fetch.
    last_fetch: Option<(Offset, Monotonic)>,
    /// The broker epoch in its last fetch; [`BrokerEpoch::NONE`] until then (KIP-903).
    pub broker_epoch: BrokerEpoch,
    /// Its registered broker epoch, according to the metadata applied here.
    pub registered_as: Option<BrokerEpoch>,
    /// According to the metadata it is neither fenced nor shutting down.
    pub is_alive: bool,
}

/// How a follower's fetch is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchClaim {
    /// It counts: it reports the follower's progress.
    Heard,
    /// It carries a broker epoch that, as far as is known here, nobody is registered with yet. It
    /// is answered, but does not count as progress.
    Unheard,
    /// It is from an incarnation that is over, or not from a follower of ours.
    Stale,
}

/// Requests that wait in a leader, ordered by the offset that they wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Waiters {
    waiting: BTreeSet<(Offset, ReplyTo)>,
}

impl Waiters {
    /// Waits until everything below `needs` is reached.
    pub fn add(&mut self, needs: Offset, reply_to: ReplyTo) {
        self.waiting.insert((needs, reply_to));
    }

    /// Stops waiting.
    pub fn remove(&mut self, needs: Offset, reply_to: ReplyTo) {
        self.waiting.remove(&(needs, reply_to));
    }

    /// Takes out the next one that `reached` satisfies.
    pub fn pop(&mut self, reached: Offset) -> Option<(Offset, ReplyTo)> {
        let first = *self.waiting.first().filter(|(needs, _)| *needs <= reached)?;
        self.waiting.remove(&first);
        Some(first)
    }

    /// Takes out all of them.
    pub fn drain(&mut self) -> Vec<ReplyTo> {
        core::mem::take(&mut self.waiting).into_iter().map(|(_, reply_to)| reply_to).collect()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// A leader's state: volatile, rebuilt in each epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderState {
    /// The epoch that it leads in.
    pub epoch: LeaderEpoch,
    /// The log end when the epoch began.
    pub epoch_start: Offset,
    /// The in-sync set.
    pub isr: IsrState,
    /// Everyone else in the assignment.
    pub followers: BTreeMap<NodeId, FollowerProgress>,
    /// acks=1: waiting for our own log.
    pub local_waiters: Waiters,
    /// acks=all: waiting for the high watermark.
    pub replicated_waiters: Waiters,
    /// Deadline of the next check for followers that fell behind.
    pub isr_check: Monotonic,
    /// The last check was skipped because this node had been stalled. Never twice in a row.
    pub isr_check_skipped: bool,
}

/// The limits that a leader's rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaderRules {
    /// This node.
    pub me: NodeId,
    /// `min.insync.replicas`, at most the number of replicas.
    pub min_isr: usize,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
    /// Left-out rules.
    pub flaws: FlawSet,
}

impl LeaderState {
    /// Starts a new epoch. Followers in the ISR are assumed to be caught up at `now`, so that they
    /// have `replica.lag.time.max.ms` for their first fetch; others are not.
    pub fn new(
        epoch: LeaderEpoch,
        epoch_start: Offset,
        isr: IsrState,
        replicas: &[NodeId],
        rules: &LeaderRules,
        now: Monotonic,
    ) -> LeaderState {
        let followers = replicas
            .iter()
            .filter(|node| **node != rules.me)
            .map(|node| {
                let in_isr = isr.members().contains(node);
                let progress = FollowerProgress {
                    log_end: None,
                    last_caught_up: in_isr.then_some(now),
                    last_fetch: None,
                    broker_epoch: BrokerEpoch::NONE,
                    registered_as: None,
                    is_alive: false,
                };
                (*node, progress)
            })
            .collect();
        LeaderState {
            epoch,
            epoch_start,
            isr,
            followers,
            local_waiters: Waiters::default(),
            replicated_waiters: Waiters::default(),
            isr_check: Monotonic(0),
            isr_check_skipped: false,
        }
    }

    /// Whether the ISR has fewer committed members than `min.insync.replicas`.
    pub fn is_under_min_isr(&self, rules: &LeaderRules) -> bool {
        self.isr.members().len() < rules.min_isr
    }

    /// Records a follower's fetch: the follower has everything below `offset`. `leader_end` is the
    /// end of what we can serve, taken before the fetch was read, so that appends in between do not
    /// keep the follower out. Records that are appended but not yet written cannot be served: while
    /// our own disk is slow, or full, no follower is behind. (Kafka's log end is the end of the
    /// written data, too.)
    ///
    /// Only a fetch with the broker epoch in the metadata counts; any other changes nothing. An
    /// earlier epoch is from an incarnation that is over. A later one is from an incarnation whose
    /// registration is not applied here yet, or a lie. (Kafka accepts and stores any epoch that is
    /// not earlier, so one request can make it ignore a follower.) To a follower, an uncounted
    /// fetch is like one still in flight: it gets its data, and its next fetch counts. That one
    /// comes at the latest when this fetch has waited long enough for data.
    pub fn on_follower_fetch(
        &mut self,
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        offset: Offset,
        leader_end: Offset,
        now: Monotonic,
    ) -> FetchClaim {
        let Some(progress) = self.followers.get_mut(&follower) else { return FetchClaim::Stale };
        match progress.registered_as {
            Some(registered) if broker_epoch == registered => {}
            Some(registered) if broker_epoch < registered => return FetchClaim::Stale,
            Some(_) | None => return FetchClaim::Unheard,
        }
        if offset >= leader_end {
            progress.last_caught_up = Some(now);
        } else if let Some((end, at)) = progress.last_fetch
            && offset >= end
        {
            // It has reached our end as of its previous fetch: it was caught up then.
            progress.last_caught_up = progress.last_caught_up.max(Some(at));
        }
        progress.log_end = Some(offset);
        progress.last_fetch = Some((leader_end, now));
        progress.broker_epoch = broker_epoch;
        FetchClaim::Heard
    }

    fn is_eligible(progress: &FollowerProgress) -> bool {
        progress.is_alive && progress.registered_as == Some(progress.broker_epoch)
    }

    /// The ISR to propose so that `follower` joins, if it may join. It must be alive under the
    /// broker epoch that it fetches with, and must have reached both the high watermark and the
    /// start of our epoch (a new leader's high watermark may be stale, KAFKA-7128).
    pub fn expansion(
        &self,
        follower: NodeId,
        high_watermark: Offset,
        rules: &LeaderRules,
    ) -> Option<Vec<NodeId>> {
        if self.isr.proposal().is_some() || self.isr.members().contains(&follower) {
            return None;
        }
        let progress = self.followers.get(&follower)?;
        let log_end = progress.log_end?;
        let reaches_epoch = log_end >= self.epoch_start || rules.flaws.has(Flaw::EarlyIsrJoin);
        if !(Self::is_eligible(progress) && log_end >= high_watermark && reaches_epoch) {
            return None;
        }
        let mut isr = self.isr.members().to_vec();
        isr.push(follower);
        Some(isr)
    }

    /// An ISR to propose, each follower with the broker epoch that it fetches with now.
    pub fn with_broker_epochs(&self, isr: Vec<NodeId>) -> Vec<(NodeId, BrokerEpoch)> {
        let epoch = |node| self.followers.get(&node).map_or(BrokerEpoch::NONE, |f| f.broker_epoch);
        isr.into_iter().map(|node| (node, epoch(node))).collect()
    }

    fn is_lagging(
        progress: &FollowerProgress,
        leader_end: Offset,
        rules: &LeaderRules,
        now: Monotonic,
    ) -> bool {
        let is_late = |caught_up: Monotonic| caught_up.after(rules.lag_max) < now;
        progress.log_end != Some(leader_end) && progress.last_caught_up.is_none_or(is_late)
    }

    /// The ISR to propose without the followers that fell behind, if there are any.
    pub fn shrink(
        &self,
        leader_end: Offset,
        rules: &LeaderRules,
        now: Monotonic,
    ) -> Option<Vec<NodeId>> {
        if self.isr.proposal().is_some() {
            return None;
        }
        let stays = |node: &NodeId| {
            self.followers
                .get(node)
                .is_none_or(|progress| !Self::is_lagging(progress, leader_end, rules, now))
        };
        let isr: Vec<NodeId> = self.isr.members().iter().copied().filter(stays).collect();
        (isr.len() < self.isr.members().len()).then_some(isr)
    }

    /// Whether the high watermark waits for this follower: it is in the maximal ISR, or it is
    /// caught up and may join at any moment.
    fn counts(
        &self,
        node: NodeId,
        progress: &FollowerProgress,
        leader_end: Offset,
        rules: &LeaderRules,
        now: Monotonic,
    ) -> bool {
        if rules.flaws.has(Flaw::HighWatermarkByCommittedIsr) {
            return self.isr.members().contains(&node);
        }
        self.isr.is_maximal_member(node)
            || (Self::is_eligible(progress) && !Self::is_lagging(progress, leader_end, rules, now))
    }

    /// The highest allowed high watermark: the offset below which every replica that counts has the
    /// records. `None` while the ISR is below `min.insync.replicas` (strict min ISR, KIP-966).
    /// `own_end` is the counted end of our own log, `leader_end` the end of what it can serve.
    pub fn high_watermark(
        &self,
        own_end: Offset,
        leader_end: Offset,
        rules: &LeaderRules,
        now: Monotonic,
    ) -> Option<Offset> {
        if self.is_under_min_isr(rules) {
            return None;
        }
        let mut lowest = own_end;
        for (node, progress) in &self.followers {
            let reached = progress.log_end.unwrap_or(Offset::ZERO);
            if reached < lowest && self.counts(*node, progress, leader_end, rules, now) {
                lowest = reached;
            }
        }
        Some(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PartitionEpoch;
    use alloc::vec;

    const ME: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);
    const SECOND: u64 = 1_000_000_000;

    fn rules(flaws: FlawSet) -> LeaderRules {
        LeaderRules { me: ME, min_isr: 2, lag_max: Duration::from_secs(2), flaws }
    }

    fn leader(isr: &[NodeId], epoch_start: i64, rules: &LeaderRules) -> LeaderState {
        let isr = IsrState::committed(isr.to_vec(), PartitionEpoch(7));
        let now = Monotonic(10 * SECOND);
        let mut leader =
            LeaderState::new(LeaderEpoch(3), Offset(epoch_start), isr, &[ME, B, C], rules, now);
        for progress in leader.followers.values_mut() {
            (progress.registered_as, progress.is_alive) = (Some(BrokerEpoch(5)), true);
        }
        leader
    }

    fn fetch(leader: &mut LeaderState, node: NodeId, offset: i64, end: i64, seconds: u64) {
        let now = Monotonic(seconds * SECOND);
        let (offset, end) = (Offset(offset), Offset(end));
        let claim = leader.on_follower_fetch(node, BrokerEpoch(5), offset, end, now);
        assert_eq!(claim, FetchClaim::Heard);
    }

    #[test]
    fn the_high_watermark_is_the_lowest_of_those_who_count() {
        let rules = rules(FlawSet::NONE);
        let mut leader = leader(&[ME, B, C], 0, &rules);
        let now = Monotonic(11 * SECOND);
        let watermark =
            |leader: &LeaderState| leader.high_watermark(Offset(9), Offset(10), &rules, now);
        assert_eq!(watermark(&leader), Some(Offset(0)), "nobody fetched yet");
        fetch(&mut leader, B, 7, 10, 11);
        fetch(&mut leader, C, 8, 10, 11);
        assert_eq!(watermark(&leader), Some(Offset(7)));
        fetch(&mut leader, B, 10, 10, 11);
        fetch(&mut leader, C, 10, 10, 11);
        assert_eq!(watermark(&leader), Some(Offset(9)), "our own log counts as far as it counts");
    }

    /// A process younger than the allowed lag has no clock reading for "never". When one was used,
    /// its high watermark waited for a follower outside the ISR and far behind.
    #[test]
    fn who_was_never_caught_up_is_not_waited_for_by_a_young_process() {
        let rules = rules(FlawSet::NONE);
        let isr = IsrState::committed(vec![ME, B], PartitionEpoch(7));
        let now = Monotonic(SECOND);
        let replicas = [ME, B, C];
        let mut leader =
            LeaderState::new(LeaderEpoch(3), Offset(0), isr, &replicas, &rules, Monotonic(0));
        for progress in leader.followers.values_mut() {
            (progress.registered_as, progress.is_alive) = (Some(BrokerEpoch(5)), true);
        }
        fetch(&mut leader, B, 10, 10, 1);
        fetch(&mut leader, C, 3, 10, 1);
        assert_eq!(leader.high_watermark(Offset(10), Offset(10), &rules, now), Some(Offset(10)));
        // It has reached our end as of a moment ago: it may join at any moment.
        fetch(&mut leader, C, 10, 11, 1);
        assert_eq!(leader.high_watermark(Offset(11), Offset(11), &rules, now), Some(Offset(10)));
    }

    #[test]
    fn below_min_isr_nothing_is_committed() {
        let rules = rules(FlawSet::NONE);
        let leader = leader(&[ME], 0, &rules);
        let now = Monotonic(20 * SECOND);
        assert_eq!(leader.high_watermark(Offset(5), Offset(5), &rules, now), None);
    }

    #[test]
    fn a_pending_member_holds_the_high_watermark_back() {
        let planted = FlawSet::NONE.with(Flaw::HighWatermarkByCommittedIsr);
        for (flaws, expected) in [(FlawSet::NONE, 4), (planted, 8)] {
            let rules = rules(flaws);
            let mut leader = leader(&[ME, B], 0, &rules);
            fetch(&mut leader, B, 8, 8, 11);
            fetch(&mut leader, C, 4, 8, 11);
            let proposal = leader.with_broker_epochs(vec![ME, B, C]);
            leader.isr.propose(proposal);
            // Long after C was last caught up, so that C counts only because it is proposed.
            let now = Monotonic(60 * SECOND);
            let high_watermark = leader.high_watermark(Offset(8), Offset(8), &rules, now);
            assert_eq!(high_watermark, Some(Offset(expected)));
        }
    }

    #[test]
    fn a_follower_joins_only_at_the_start_of_the_epoch() {
        let planted = FlawSet::NONE.with(Flaw::EarlyIsrJoin);
        for (flaws, joins) in [(FlawSet::NONE, false), (planted, true)] {
            let rules = rules(flaws);
            // The epoch began at 10, but the high watermark is still 5.
            let mut leader = leader(&[ME, B], 10, &rules);
            fetch(&mut leader, C, 6, 10, 11);
            assert_eq!(leader.expansion(C, Offset(5), &rules).is_some(), joins);
            fetch(&mut leader, C, 10, 10, 11);
            assert!(leader.expansion(C, Offset(5), &rules).is_some());
        }
    }

    #[test]
    fn only_a_live_incarnation_joins() {
        let rules = rules(FlawSet::NONE);
        let mut leader = leader(&[ME, B], 0, &rules);
        fetch(&mut leader, C, 10, 10, 11);
        leader.followers.get_mut(&C).expect("a replica").is_alive = false;
        assert!(leader.expansion(C, Offset(5), &rules).is_none(), "fenced (KIP-841)");
        let progress = leader.followers.get_mut(&C).expect("a replica");
        (progress.registered_as, progress.is_alive) = (Some(BrokerEpoch(6)), true);
        assert!(leader.expansion(C, Offset(5), &rules).is_none(), "rebooted since (KIP-903)");
        let now = Monotonic(12 * SECOND);
        let claim = leader.on_follower_fetch(C, BrokerEpoch(6), Offset(3), Offset(10), now);
        assert_eq!(claim, FetchClaim::Heard);
        let stale = leader.on_follower_fetch(C, BrokerEpoch(5), Offset(10), Offset(10), now);
        assert_eq!(stale, FetchClaim::Stale, "a fetch of the incarnation before claims nothing");
        assert_eq!(leader.followers[&C].log_end, Some(Offset(3)));
    }

    /// Regression: one request from anybody kept a follower out of the ISR for as long as its
    /// leader led, because the follower's real epoch was below the forged one.
    #[test]
    fn a_claimed_epoch_that_nobody_has_silences_nobody() {
        let rules = rules(FlawSet::NONE);
        let mut leader = leader(&[ME, B], 0, &rules);
        let now = Monotonic(12 * SECOND);
        let mut claims = |epoch, offset| {
            let claim = leader.on_follower_fetch(C, epoch, Offset(offset), Offset(10), now);
            (claim, leader.followers[&C].log_end)
        };
        assert_eq!(claims(BrokerEpoch(i64::MAX), 10), (FetchClaim::Unheard, None));
        assert_eq!(claims(BrokerEpoch::NONE, 10), (FetchClaim::Stale, None));
        assert_eq!(claims(BrokerEpoch(5), 4), (FetchClaim::Heard, Some(Offset(4))));
        assert_eq!(claims(BrokerEpoch(6), 10), (FetchClaim::Unheard, Some(Offset(4))));
        // Once the registration is known.
        leader.followers.get_mut(&C).expect("a replica").registered_as = Some(BrokerEpoch(6));
        let claim = leader.on_follower_fetch(C, BrokerEpoch(6), Offset(10), Offset(10), now);
        assert_eq!(claim, FetchClaim::Heard);
        assert!(leader.expansion(C, Offset(5), &rules).is_some());
    }

    /// Found by the model of the core's own replicas: the proposal was sent late (or again). A
    /// proposed member had lost its tail and fetched as a new incarnation, and joined under the new
    /// epoch.
    #[test]
    fn a_proposal_keeps_the_broker_epochs_of_when_it_was_made() {
        let rules = rules(FlawSet::NONE);
        let mut leader = leader(&[ME, B], 0, &rules);
        fetch(&mut leader, C, 10, 10, 11);
        let wanted = leader.expansion(C, Offset(10), &rules).expect("it is caught up");
        let proposal = leader.with_broker_epochs(wanted);
        leader.isr.propose(proposal);
        let now = Monotonic(12 * SECOND);
        leader.followers.get_mut(&C).expect("a replica").registered_as = Some(BrokerEpoch(9));
        let claim = leader.on_follower_fetch(C, BrokerEpoch(9), Offset(0), Offset(10), now);
        assert_eq!(claim, FetchClaim::Heard);
        let sent = leader.isr.send(1).expect("it was not sent yet");
        assert_eq!(sent[2], (C, BrokerEpoch(5)));
    }

    #[test]
    fn who_does_not_keep_up_leaves() {
        let rules = rules(FlawSet::NONE);
        let mut leader = leader(&[ME, B, C], 0, &rules);
        fetch(&mut leader, B, 10, 10, 12);
        fetch(&mut leader, C, 4, 10, 12);
        let at = |seconds: u64| Monotonic(seconds * SECOND);
        assert_eq!(leader.shrink(Offset(10), &rules, at(12)), None, "C had until 12 s");
        assert_eq!(leader.shrink(Offset(10), &rules, at(13)), Some(vec![ME, B]));
        // At 13 s C reaches the end as of its fetch at 12 s: it was caught up then.
        fetch(&mut leader, C, 10, 15, 13);
        fetch(&mut leader, B, 15, 15, 13);
        assert_eq!(leader.shrink(Offset(15), &rules, at(14)), None);
        assert_eq!(leader.shrink(Offset(15), &rules, at(15)), Some(vec![ME, B]));
    }
}
