//! Trace validation against M1: each partition's replication, checked against [`crate::isr`].
//!
//! # How a run's steps map to the model's
//!
//! | note | action |
//! |------|--------|
//! | a committed registration | `Elect`, `Drop` or `Expand`, depending on what it changes |
//! | `BecameLeader`, `BecameFollower` | `Hear` |
//! | `LeaderAppended` | `Append`, for each record |
//! | `FollowerAppended`, `Truncated` | `Fetch`, of records or of where the logs diverge |
//! | `DivergingEpoch` | what a leader answers in a `Fetch` |
//! | `HighWatermark` | the promise that `Append`, `Fetch` and `HearIsr` make |
//! | `IsrCommitted` | `HearIsr` |
//! | a process that starts, with `Recovered` | `PowerLoss`, of a tail or of nothing |
//! | `LogSynced` | no step: earlier cuts can no longer be undone |
//! | `ProduceAcked` with acks=all | no step: it is below the high watermark, so it is promised |
//!
//! # Where the code's steps are finer, and why that is sound
//!
//! - *A fetch is several steps of the broker*: the follower asks, the leader reads and takes the
//!   offset as the follower's end, the answer arrives. The model's fetch is placed where the answer
//!   arrives. The records and the point of divergence come from the leader's log of *that epoch*,
//!   which is kept after the leader has moved on or died: within an epoch it only grew. Between its
//!   request and the answer the follower did nothing else (otherwise it would drop the answer).
//! - *A fetch that brings nothing has no note.* So a leader may know what a follower has while the
//!   follower is in the leader's epoch and the logs do not diverge. It may also know what the
//!   follower had when it left the epoch, even if the leader starts to lead only then and finds the
//!   request waiting. Later epochs do not affect nodes that are still in this one, so the model may
//!   take their steps later. A leader may know less and promise less: a high watermark may be
//!   anything up to the model's.
//! - *The controller's registrations count once the metadata log has committed them.* A leader's
//!   proposal is checked at that point; until then it is not a step.
//! - *A cut may come in rounds*, where the model takes one: a follower without the epoch that the
//!   leader names asks again from further back (KIP-279). It may cut less than the model does in a
//!   round, and it appends nothing before it has cut everything.
//! - *A process that starts is `PowerLoss`*. In the model that takes a tail of the log and the
//!   place in the ISR at once; here the controller learns of it late. The controller's part of the
//!   step can wait, because the replica takes no step before it has heard of it. A replica that
//!   lost a tail must not lead an epoch that was registered before the loss. Nor may it lead a
//!   later one before the ISR has gone on without it, unless no other member is left (where M1
//!   promises nothing). The same applies to a replica that joins the ISR by what it had before the
//!   loss: the proposal was in flight when it lost the tail, and the controller does not know yet.
//! - *A cut that a crash undoes* never happened (M7 has such disks): a log may come back as it was
//!   before the cut, until a sync beyond the cut was heard.
//!
//! M1 does not cover torn batches, time, or which tail a disk loses. Nor does it cover retention,
//! and no run deletes anything yet. A follower's log may start anew within its leader's. A log
//! without records, wherever it ends, may be cut to its leader's high watermark, which loses
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wavetank_core::note::{Note, TruncationReason};
use wavetank_core::types::{NodeId, Offset, PartitionEpoch, TopicPartition};

use super::cut::{BeforeCuts, Leads, diverge_at};
use super::log::Runs;
use super::{Divergence, Of, Refused, Registered, Validator, names, of, refuse};
use crate::rules::{self, EpochLog};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct IsrValidator {
    partitions: BTreeMap<TopicPartition, Partition>,
    step: u64,
    diverged: bool,
}

type Taken = Result<(), Box<Refused>>;

/// A role in the model's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    /// Has heard of no epoch since it started.
    #[default]
    None,
    Leads,
    Follows,
}

#[derive(Clone, Debug, Default)]
struct Replica {
    log: Runs,
    high_watermark: i64,
    /// The newest leader epoch that it has heard of since it started.
    epoch: Option<i32>,
    role: Role,
    /// Has restarted, and has not reported its high watermark since.
    restarted: bool,
    /// The newest registered leader epoch when it started.
    started_in: Option<i32>,
    /// Has lost a tail, in a start at which this was the newest registered leader epoch.
    lost_in: Option<i32>,
    /// Has lost a tail as a member of the ISR, or joined the ISR by what it had before the loss;
    /// and the ISR has never been without it since.
    lost_unheard: bool,
    /// What a crash may bring back.
    before_cuts: BeforeCuts,
}

/// What the leader of an epoch has or had.
#[derive(Clone, Debug)]
struct Leadership {
    leader: NodeId,
    log: Runs,
    start: i64,
    high_watermark: i64,
    /// The registration that it knows.
    known: PartitionEpoch,
    isr: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    replicas: BTreeMap<NodeId, Replica>,
    registrations: BTreeMap<PartitionEpoch, Registered>,
    /// By leader epoch.
    leaderships: BTreeMap<i32, Leadership>,
    /// The logs that followers had when they left an epoch.
    left: BTreeMap<(i32, NodeId), Vec<Runs>>,
}

impl Partition {
    fn replica(&mut self, node: NodeId) -> &mut Replica {
        self.replicas.entry(node).or_default()
    }

    fn newest(&self) -> Option<(&PartitionEpoch, &Registered)> {
        self.registrations.last_key_value()
    }

    /// The highest follower's end that the leader of an epoch may know.
    fn known_end(&self, epoch: i32, follower: NodeId) -> Option<i64> {
        let leadership = self.leaderships.get(&epoch)?;
        let now = self
            .replicas
            .get(&follower)
            .filter(|replica| (replica.epoch, replica.role) == (Some(epoch), Role::Follows));
        let left = self.left.get(&(epoch, follower)).into_iter().flatten();
        let logs = left.chain(now.map(|replica| &replica.log));
        logs.filter(|log| diverge_at(log, &leadership.log).is_none()).map(EpochLog::end).max()
    }

    /// The same, for joining the ISR. Once a follower is back in the epoch after a restart, its
    /// current log counts: the controller accepts no proposal from before the restart (KIP-903).
    fn joins_with(&self, epoch: i32, follower: NodeId) -> Option<i64> {
        let replica = self.replicas.get(&follower)?;
        if (replica.epoch, replica.role) != (Some(epoch), Role::Follows) {
            return self.known_end(epoch, follower);
        }
        let leadership = self.leaderships.get(&epoch)?;
        diverge_at(&replica.log, &leadership.log).is_none().then(|| replica.log.end())
    }

    /// A replica leaves its epoch: its leader may know what it had there, or learn it later.
    fn leave(&mut self, node: NodeId) {
        let Some(replica) = self.replicas.get(&node) else { return };
        if let (Some(epoch), Role::Follows) = (replica.epoch, replica.role) {
            self.left.entry((epoch, node)).or_default().push(replica.log.clone());
        }
    }

    fn start(&mut self, node: NodeId) {
        if !self.replicas.contains_key(&node) {
            return;
        }
        self.leave(node);
        let started_in = self.newest().map(|(_, registered)| registered.leader_epoch.0);
        let replica = self.replica(node);
        (replica.epoch, replica.role) = (None, Role::None);
        (replica.restarted, replica.started_in) = (true, started_in);
    }

    fn recover(&mut self, node: NodeId, log: Runs) -> Taken {
        let newest = self.newest();
        let others =
            |registered: &Registered| registered.isr.contains(&node) && registered.isr.len() > 1;
        let unheard = newest.is_some_and(|(_, registered)| others(registered));
        let replica = self.replica(node);
        let known = log.is_prefix_of(&replica.log);
        if !known && !replica.before_cuts.may_bring_back(&log) {
            return refuse(
                format!("{node} loses power and the tail of its log"),
                format!("{log} is not what remains of its log, nor of one that it has truncated"),
            );
        }
        if !known || log.end() < replica.log.end() {
            replica.lost_unheard = unheard;
            replica.lost_in = replica.started_in;
        }
        replica.high_watermark = replica.high_watermark.min(log.end());
        replica.log = log;
        Ok(())
    }

    fn register(&mut self, partition_epoch: PartitionEpoch, to: &Registered) -> Taken {
        let mut stale = BTreeSet::new();
        if let Some((base, from)) = self.newest() {
            let (base, from) = (*base, from.clone());
            if to.leader_epoch == from.leader_epoch {
                stale = self.change_isr(base, &from, to)?;
            } else {
                elect(&from, to)?;
            }
        }
        for (node, replica) in &mut self.replicas {
            replica.lost_unheard |= stale.contains(node);
            replica.lost_unheard &= to.isr.contains(node) && to.isr.len() > 1;
        }
        self.registrations.insert(partition_epoch, to.clone());
        Ok(())
    }

    /// Members leave or join. Returns those that join by a longer log than they have now.
    fn change_isr(
        &self,
        base: PartitionEpoch,
        from: &Registered,
        to: &Registered,
    ) -> Result<BTreeSet<NodeId>, Box<Refused>> {
        let epoch = to.leader_epoch.0;
        let mut stale = BTreeSet::new();
        for follower in to.isr.iter().filter(|node| !from.isr.contains(node)) {
            let action = format!("the controller adds {follower} to the ISR");
            let Some(leadership) = self.leaderships.get(&epoch) else {
                return refuse(action, format!("nobody has led epoch {epoch} and proposed it"));
            };
            if leadership.known != base {
                let known = leadership.known;
                return refuse(
                    action,
                    format!("its leader knows registration {known}, and the newest is {base}"),
                );
            }
            let end = self.joins_with(epoch, *follower);
            let (high_watermark, start) = (leadership.high_watermark, leadership.start);
            if !rules::may_join(end, high_watermark, start) {
                let end = end.map_or("is unknown".to_owned(), |end| format!("ends at {end}"));
                return refuse(
                    action,
                    format!(
                        "{follower}'s log {end} to its leader {}, whose high watermark is \
                         {high_watermark} and whose epoch began at {start}",
                        leadership.leader
                    ),
                );
            }
            let now = self.replicas.get(follower).map(|replica| replica.log.end());
            if now < end {
                stale.insert(*follower);
            }
        }
        if to.leader.is_some_and(|leader| !to.isr.contains(&leader)) {
            return refuse("a member leaves the ISR", "it is the leader, and its epoch lasts");
        }
        Ok(stale)
    }

    fn lead(&mut self, node: NodeId, seen: &Note) -> Taken {
        let Note::BecameLeader { epoch, start, high_watermark, isr, partition_epoch, .. } = seen
        else {
            return Ok(());
        };
        let action = format!("{node} learns of epoch {epoch} and leads in it");
        let registered = self.registrations.get(partition_epoch);
        let fits = |registered: &&Registered| {
            (registered.leader, registered.leader_epoch) == (Some(node), *epoch)
        };
        let Some(registered) = registered.filter(fits) else {
            return refuse(action, "the controller has not registered this");
        };
        let members: BTreeSet<NodeId> = registered.isr.iter().copied().collect();
        if members != isr.iter().copied().collect() {
            return refuse(action, format!("the registered ISR is {}", names(&members)));
        }
        self.leave(node);
        let replica = self.replica(node);
        replica.hears(epoch.0, &action)?;
        if replica.lost_in.is_some_and(|before| epoch.0 <= before) {
            return refuse(
                action,
                "it has lost a tail of its log since that epoch was registered, which ends the epoch",
            );
        }
        if replica.lost_unheard && members.len() > 1 {
            return refuse(
                action,
                "it has lost a tail of its log, and the ISR was never without it since",
            );
        }
        replica.is_at(*start, *high_watermark, &action)?;
        (replica.epoch, replica.role) = (Some(epoch.0), Role::Leads);
        let leadership = Leadership {
            leader: node,
            log: replica.log.clone(),
            start: start.0,
            high_watermark: high_watermark.0,
            known: *partition_epoch,
            isr: members,
        };
        self.leaderships.insert(epoch.0, leadership);
        Ok(())
    }

    fn follow(&mut self, node: NodeId, seen: &Note) -> Taken {
        let Note::BecameFollower { epoch, leader, log_end, high_watermark, .. } = seen else {
            return Ok(());
        };
        let action = format!("{node} learns of epoch {epoch} and follows in it");
        let registered =
            self.registrations.values().rev().any(|registered| {
                (registered.leader, registered.leader_epoch) == (*leader, *epoch)
            });
        if !registered || *leader == Some(node) {
            return refuse(action, "the controller has not registered this");
        }
        self.leave(node);
        let replica = self.replica(node);
        replica.hears(epoch.0, &action)?;
        replica.is_at(*log_end, *high_watermark, &action)?;
        (replica.epoch, replica.role) = (Some(epoch.0), Role::Follows);
        Ok(())
    }

    /// The leadership that a node is in, if it leads.
    fn leading(&mut self, node: NodeId) -> Option<(&mut Leadership, &mut Replica)> {
        let replica = self.replicas.get_mut(&node)?;
        let epoch = replica.epoch.filter(|_| replica.role == Role::Leads)?;
        Some((self.leaderships.get_mut(&epoch)?, replica))
    }

    fn append(&mut self, node: NodeId, epoch: i32, first: Offset, end: Offset) -> Taken {
        let action = format!("{node} appends records as leader");
        let Some((leadership, replica)) = self.leading(node) else {
            return refuse(action, "it does not lead");
        };
        if replica.epoch != Some(epoch) || replica.log.end() != first.0 {
            return refuse(
                action,
                format!("it would append at {} in the epoch that it leads", replica.log.end()),
            );
        }
        replica.log.append(epoch, end.0);
        leadership.log.append(epoch, end.0);
        Ok(())
    }

    /// The leader's side of a follower's epoch, and the follower.
    fn following(
        &mut self,
        node: NodeId,
        action: &str,
    ) -> Result<(&mut Leadership, &mut Replica), Box<Refused>> {
        let replica = self.replicas.entry(node).or_default();
        let epoch = replica.epoch.filter(|_| replica.role == Role::Follows);
        let Some(epoch) = epoch else { return refuse(action, "it follows nobody") };
        match self.leaderships.get_mut(&epoch) {
            Some(leadership) => Ok((leadership, replica)),
            None => refuse(action, format!("nobody has led its epoch {epoch}")),
        }
    }

    fn fetch(&mut self, node: NodeId, seen: &Note) -> Taken {
        let Note::FollowerAppended { epoch, first, end, last_epoch, .. } = seen else {
            return Ok(());
        };
        let action = format!("{node} fetches from its leader");
        let (leadership, replica) = self.following(node, &action)?;
        if replica.epoch != Some(epoch.0) || replica.log.end() != first.0 {
            return refuse(action, format!("it would append at {}", replica.log.end()));
        }
        if let Some(to) = diverge_at(&replica.log, &leadership.log) {
            return refuse(
                action,
                format!("its log diverges from its leader's, and it would truncate it to {to}"),
            );
        }
        if leadership.log.end() < end.0 {
            return refuse(action, format!("its leader's log ends at {}", leadership.log.end()));
        }
        replica.log.append_from(&leadership.log, end.0);
        let last = replica.log.last_epoch();
        if last != last_epoch.0 {
            return refuse(
                action,
                format!("the last record would have epoch {last}, and has {last_epoch}"),
            );
        }
        // The leader has seen the fetch, and has forgotten what it knew of an earlier process.
        self.left.remove(&(epoch.0, node));
        Ok(())
    }

    fn cut(&mut self, node: NodeId, from: i64, to: i64, reason: TruncationReason) -> Taken {
        let action = match reason {
            TruncationReason::Diverging => {
                format!("{node} fetches and truncates where the logs diverge")
            }
            TruncationReason::LeaderEndsBefore => {
                format!("{node} fetches and truncates where its leader's log ends")
            }
            TruncationReason::LeaderStartsAfter => {
                format!("{node} fetches and restarts its log where its leader's begins")
            }
            TruncationReason::OwnHighWatermark => format!("{node} learns of an epoch"),
            // The model drops a torn tail at once; `Recovered` reports the log without it.
            TruncationReason::TornTail => return Ok(()),
        };
        if reason == TruncationReason::OwnHighWatermark {
            let end = self.replica(node).log.end();
            return refuse(
                action,
                format!(
                    "its log would still end at {end}: no answer has said that it diverges from \
                     the leader's above the high watermark"
                ),
            );
        }
        let (leadership, replica) = self.following(node, &action)?;
        if replica.log.end() != from {
            return refuse(action, format!("its log ends at {}", replica.log.end()));
        }
        let Leadership { log, start, high_watermark, .. } = leadership;
        let leads = Leads { log, start: *start, high_watermark: *high_watermark };
        if let Err(why) = leads.lets_cut(&replica.log, to, reason) {
            return refuse(action, why);
        }
        // Earlier entries stay: what came back from before an earlier cut may come back again.
        replica.before_cuts.push(&replica.log, to);
        if reason == TruncationReason::LeaderStartsAfter {
            // Everything below was deleted, so it was committed.
            replica.log.start_anew(to);
            replica.high_watermark = to;
        } else {
            replica.log.truncate(to);
            replica.high_watermark = replica.high_watermark.min(to);
        }
        Ok(())
    }

    fn answer(&mut self, node: NodeId, seen: &Note) -> Taken {
        let Note::DivergingEpoch { follower, asked, epoch, end_offset, .. } = seen else {
            return Ok(());
        };
        let action = format!("{follower} fetches, and {node} answers where its epoch {asked} ends");
        let Some((leadership, _)) = self.leading(node) else {
            return refuse(action, "the answering node does not lead");
        };
        let (own, end) = rules::end_offset_for_epoch(&leadership.log, asked.0);
        // If there is no such epoch and no smaller one, only the offset is meaningful.
        if end != end_offset.0 || (own >= 0 && own != epoch.0) {
            return refuse(
                action,
                format!(
                    "the answer would be epoch {own} up to {end}, and is {epoch} up to {end_offset}"
                ),
            );
        }
        Ok(())
    }

    fn advance(&mut self, node: NodeId, leads: bool, from: i64, to: i64) -> Taken {
        if !leads {
            let action = format!("{node} fetches and learns the high watermark");
            let (leadership, replica) = self.following(node, &action)?;
            let (own, end) = (replica.high_watermark, replica.log.end());
            if let Some(at) = diverge_at(&replica.log, &leadership.log) {
                return refuse(
                    action,
                    format!(
                        "its log diverges from its leader's at {at}, and the high watermark of an \
                         answer that says so does not count (KAFKA-14704)"
                    ),
                );
            }
            let most = rules::followers_high_watermark(own, leadership.high_watermark, end);
            if from != own || to > most || to <= own {
                return refuse(action, format!("it would move from {own} to at most {most}"));
            }
            replica.high_watermark = to;
            return Ok(());
        }
        let action = format!("{node} moves the high watermark as leader");
        let Some((leadership, replica)) = self.leading(node) else {
            return refuse(action, "it does not lead");
        };
        let (own, end) = (replica.high_watermark, replica.log.end());
        let (known, isr) = (leadership.known, leadership.isr.clone());
        let epoch = replica.epoch.unwrap_or(-1);
        // Members that the controller has added in this epoch without the leader having heard.
        let later = self.registrations.range(known..).skip(1).map(|(_, later)| later);
        let added: BTreeSet<NodeId> = later
            .filter(|later| later.leader_epoch.0 == epoch)
            .flat_map(|later| later.isr.iter().copied())
            .collect();
        let counts = |other: &NodeId| {
            let (in_isr, pending) = (isr.contains(other), added.contains(other));
            *other != node && rules::counts_for_high_watermark(in_isr, pending)
        };
        let others: BTreeSet<NodeId> = isr.union(&added).copied().filter(counts).collect();
        let held = |other: &NodeId| self.known_end(epoch, *other).unwrap_or(0);
        let most = rules::high_watermark_bound(end, others.iter().map(held));
        if from != own || to > most || to <= own {
            let all: Vec<String> =
                others.iter().map(|other| format!("{other} has {}", held(other))).collect();
            return refuse(
                action,
                format!(
                    "it moves from {own} to at most {most}: of the replicas that count, {}",
                    all.join(", ")
                ),
            );
        }
        if let Some((leadership, replica)) = self.leading(node) {
            (leadership.high_watermark, replica.high_watermark) = (to, to);
        }
        Ok(())
    }

    fn hear_isr(&mut self, node: NodeId, isr: &[NodeId], partition_epoch: PartitionEpoch) -> Taken {
        let action = format!("{node} learns of the ISR as leader");
        let registered = self.registrations.get(&partition_epoch).cloned();
        let Some((leadership, replica)) = self.leading(node) else {
            return refuse(action, "it does not lead");
        };
        let members: BTreeSet<NodeId> = isr.iter().copied().collect();
        let fits = registered.is_some_and(|registered| {
            Some(registered.leader_epoch.0) == replica.epoch
                && registered.isr.iter().copied().collect::<BTreeSet<NodeId>>() == members
        });
        if !fits || partition_epoch < leadership.known {
            return refuse(action, "the controller has registered no such ISR in this epoch");
        }
        (leadership.isr, leadership.known) = (members, partition_epoch);
        Ok(())
    }

    fn acked(&mut self, node: NodeId, acks: i16, end: i64) -> Taken {
        let action = format!("{node} promises all below its high watermark as leader");
        let Some((leadership, _)) = self.leading(node) else {
            return refuse(action, "it does not lead");
        };
        if acks == -1 && end > leadership.high_watermark {
            let high_watermark = leadership.high_watermark;
            return refuse(
                action,
                format!("that is {high_watermark}, and acks=all was answered up to {end}"),
            );
        }
        Ok(())
    }

    fn take(&mut self, node: NodeId, note: &Note) -> Taken {
        match note {
            Note::Recovered { log_end, epochs, .. } => {
                let epochs = epochs.iter().map(|(epoch, start)| (epoch.0, start.0));
                self.recover(node, Runs::new(epochs, log_end.0))
            }
            Note::Truncated { from, to, reason, .. } => self.cut(node, from.0, to.0, *reason),
            Note::LeaderAppended { epoch, first, end, .. } => {
                self.append(node, epoch.0, *first, *end)
            }
            Note::FollowerAppended { .. } => self.fetch(node, note),
            Note::BecameLeader { .. } => self.lead(node, note),
            Note::BecameFollower { .. } => self.follow(node, note),
            Note::HighWatermark { leader, from, to, .. } => {
                self.advance(node, *leader, from.0, to.0)
            }
            Note::IsrCommitted { isr, partition_epoch, .. } => {
                self.hear_isr(node, isr, *partition_epoch)
            }
            Note::LogSynced { end, .. } => {
                self.replica(node).before_cuts.synced(end.0);
                Ok(())
            }
            Note::ProduceAcked { acks, end, .. } => self.acked(node, *acks, end.0),
            Note::DivergingEpoch { .. } => self.answer(node, note),
            // Proposals, refusals, and whatever concerns no replica are no steps of the model.
            Note::Rolled { .. }
            | Note::Departed { .. }
            | Note::IsrProposed { .. }
            | Note::IsrRefused { .. }
            | Note::IsrUnanswered { .. }
            | Note::ProduceFailed { .. }
            | Note::Fenced { .. }
            | Note::QuorumRestored { .. }
            | Note::QuorumPreVoted { .. }
            | Note::QuorumStored { .. }
            | Note::QuorumLogSynced { .. }
            | Note::LogRefused { .. }
            | Note::ReadRefused { .. }
            | Note::AnswerRefused { .. }
            | Note::RecoveryPoint { .. }
            | Note::QuorumCandidate { .. }
            | Note::QuorumVoted { .. }
            | Note::QuorumVoteAnswered { .. }
            | Note::QuorumLeader { .. }
            | Note::QuorumFollower { .. }
            | Note::QuorumResigned { .. }
            | Note::QuorumCommitted { .. }
            | Note::ControllerActive { .. }
            | Note::BrokerRegistered { .. }
            | Note::BrokerFenced { .. }
            | Note::BrokerUnfenced { .. }
            | Note::SessionExpired { .. }
            | Note::SessionRenewed { .. }
            | Note::CutDeferred { .. }
            | Note::CutReads { .. }
            | Note::PartitionChanged { .. }
            | Note::BrokerRunning { .. }
            | Note::LogDirOffline { .. }
            | Note::ShutDown { .. } => Ok(()),
        }
    }
}

/// The controller begins an epoch.
fn elect(from: &Registered, to: &Registered) -> Taken {
    let who = to.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
    let action = format!("the controller elects {who} in epoch {}", to.leader_epoch);
    if to.leader_epoch < from.leader_epoch {
        return refuse(action, format!("the epoch is already {}", from.leader_epoch));
    }
    if let Some(joins) = to.isr.iter().find(|node| !from.isr.contains(node)) {
        return refuse(
            action,
            format!("{joins} joins the ISR {} in the same step", names(&from.isr)),
        );
    }
    if to.leader.is_some_and(|leader| !to.isr.contains(&leader)) || to.isr.is_empty() {
        return refuse(action, format!("the ISR would be {}", names(&to.isr)));
    }
    Ok(())
}

impl Replica {
    fn hears(&self, epoch: i32, action: &str) -> Taken {
        match self.epoch {
            Some(known) if epoch <= known => {
                refuse(action, format!("it already knows epoch {known}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks the log end and high watermark that it reports. A restart may bring an older high
    /// watermark.
    fn is_at(&mut self, end: Offset, high_watermark: Offset, action: &str) -> Taken {
        let may_be = match self.restarted {
            true => high_watermark.0 <= self.high_watermark,
            false => high_watermark.0 == self.high_watermark,
        };
        if end.0 != self.log.end() || !may_be {
            let (own, mark) = (self.log.end(), self.high_watermark);
            return refuse(
                action,
                format!(
                    "its log would end at {own} with high watermark {mark}, and it reports {end} \
                     and {high_watermark}"
                ),
            );
        }
        self.high_watermark = high_watermark.0;
        self.restarted = false;
        Ok(())
    }
}

impl IsrValidator {
    fn diverge(
        &mut self,
        partition: TopicPartition,
        seen: impl FnOnce() -> String,
        taken: Taken,
    ) -> Result<(), Box<Divergence>> {
        let Err(refused) = taken else { return Ok(()) };
        self.diverged = true;
        let state = self.partitions.get(&partition).map(Partition::to_string);
        Err(Box::new(Divergence {
            model: self.model(),
            step: self.step,
            seen: seen(),
            action: refused.action,
            why: refused.why,
            state: state.unwrap_or_default(),
        }))
    }
}

impl Validator for IsrValidator {
    fn model(&self) -> &'static str {
        "M1"
    }

    fn partition(&self, note: &Note) -> Option<TopicPartition> {
        match (of(note), note) {
            (Of::Partition(partition), _) => Some(partition),
            // About one log on one disk: it says what a crash may undo.
            (Of::Neither, Note::LogSynced { partition, .. })
                if *partition != TopicPartition::METADATA =>
            {
                Some(*partition)
            }
            (Of::Quorum | Of::Neither, _) => None,
        }
    }

    fn started(&mut self, node: NodeId) {
        for partition in self.partitions.values_mut() {
            partition.start(node);
        }
    }

    fn registered(
        &mut self,
        partition: TopicPartition,
        partition_epoch: PartitionEpoch,
        registered: &Registered,
    ) -> Result<(), Box<Divergence>> {
        if self.diverged {
            return Ok(());
        }
        self.step += 1;
        let known = self.partitions.entry(partition).or_default();
        let taken = known.register(partition_epoch, registered);
        let seen = || format!("{partition} is registered as {registered:?}");
        self.diverge(partition, seen, taken)
    }

    fn note(&mut self, node: NodeId, note: &Note) -> Result<(), Box<Divergence>> {
        let Some(partition) = self.partition(note).filter(|_| !self.diverged) else {
            return Ok(());
        };
        self.step += 1;
        let taken = self.partitions.entry(partition).or_default().take(node, note);
        self.diverge(partition, || format!("node {node} notes {note:?}"), taken)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((at, Registered { leader, leader_epoch, isr })) = self.newest() {
            let leader = leader.map_or("nobody".to_owned(), |leader| leader.to_string());
            write!(f, "registration {at}: epoch {leader_epoch} of {leader}, ISR {}", names(isr))?;
        }
        for (node, replica) in &self.replicas {
            let Replica { log, high_watermark, .. } = replica;
            match (replica.role, replica.epoch) {
                (Role::Leads, Some(epoch)) => write!(f, "; {node} leads {epoch}")?,
                (Role::Follows, Some(epoch)) => write!(f, "; {node} follows in {epoch}")?,
                _ => write!(f, "; {node} knows no epoch")?,
            }
            write!(f, " {log} hw {high_watermark}")?;
            if let Some(leadership) = replica.epoch.and_then(|epoch| self.leaderships.get(&epoch))
                && leadership.leader == *node
            {
                write!(f, " ISR {}", names(&leadership.isr))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::types::{LeaderEpoch, Uuid};

    const P: TopicPartition = TopicPartition { topic: Uuid(77), partition: 0 };

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// A partition with a leader and followers in epoch 0, all logs empty.
    struct Bench(IsrValidator);

    impl Bench {
        fn new() -> Bench {
            let mut bench = Bench(IsrValidator::default());
            bench.register(0, 1, 0, &[1, 2, 3]).unwrap();
            bench.leads(1, 0, 0, 0, &[1, 2, 3]).unwrap();
            bench.follows(2, 0, 1, 0, 0).unwrap();
            bench.follows(3, 0, 1, 0, 0).unwrap();
            bench
        }

        fn register(
            &mut self,
            at: i32,
            leader: i32,
            epoch: i32,
            isr: &[i32],
        ) -> Result<(), Box<Divergence>> {
            let (leader, leader_epoch) = (Some(NodeId(leader)), LeaderEpoch(epoch));
            let registered = Registered { leader, leader_epoch, isr: nodes(isr) };
            self.0.registered(P, PartitionEpoch(at), &registered)
        }

        fn note(&mut self, node: i32, note: Note) -> Result<(), Box<Divergence>> {
            self.0.note(NodeId(node), &note)
        }

        fn leads(
            &mut self,
            node: i32,
            epoch: i32,
            start: i64,
            at: i32,
            isr: &[i32],
        ) -> Result<(), Box<Divergence>> {
            let high_watermark = self.0.partitions[&P].replicas.get(&NodeId(node));
            let high_watermark = Offset(high_watermark.map_or(0, |replica| replica.high_watermark));
            let (epoch, start, isr) = (LeaderEpoch(epoch), Offset(start), nodes(isr));
            let partition_epoch = PartitionEpoch(at);
            self.note(
                node,
                Note::BecameLeader {
                    partition: P,
                    epoch,
                    start,
                    high_watermark,
                    isr,
                    partition_epoch,
                },
            )
        }

        fn follows(
            &mut self,
            node: i32,
            epoch: i32,
            leader: i32,
            end: i64,
            high_watermark: i64,
        ) -> Result<(), Box<Divergence>> {
            let (epoch, leader) = (LeaderEpoch(epoch), Some(NodeId(leader)));
            let (log_end, high_watermark) = (Offset(end), Offset(high_watermark));
            self.note(
                node,
                Note::BecameFollower { partition: P, epoch, leader, log_end, high_watermark },
            )
        }

        fn appends(&mut self, node: i32, epoch: i32, first: i64, end: i64) {
            let (epoch, first, end) = (LeaderEpoch(epoch), Offset(first), Offset(end));
            self.note(node, Note::LeaderAppended { partition: P, epoch, first, end }).unwrap();
        }

        fn fetches(
            &mut self,
            node: i32,
            epoch: i32,
            first: i64,
            end: i64,
        ) -> Result<(), Box<Divergence>> {
            let (epoch, first, end) = (LeaderEpoch(epoch), Offset(first), Offset(end));
            let last_epoch = epoch;
            let note = Note::FollowerAppended { partition: P, epoch, first, end, last_epoch };
            self.note(node, note)
        }

        fn moves(
            &mut self,
            node: i32,
            leader: bool,
            from: i64,
            to: i64,
        ) -> Result<(), Box<Divergence>> {
            let (from, to) = (Offset(from), Offset(to));
            self.note(node, Note::HighWatermark { partition: P, leader, from, to })
        }

        fn restarts(&mut self, node: i32, end: i64) {
            self.0.started(NodeId(node));
            let (log_start, log_end) = (Offset(0), Offset(end));
            let epochs = if end > 0 { vec![(LeaderEpoch(0), Offset(0))] } else { Vec::new() };
            let note = Note::Recovered {
                partition: P,
                log_start,
                log_end,
                torn_bytes: 0,
                reindexed: 0,
                epochs,
            };
            self.note(node, note).unwrap();
        }
    }

    #[test]
    fn the_high_watermark_waits_for_the_isr() {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        bench.fetches(2, 0, 0, 5).unwrap();
        bench.fetches(3, 0, 0, 3).unwrap();
        bench.moves(1, true, 0, 2).unwrap();
        bench.moves(3, false, 0, 2).unwrap();
        let divergence = bench.moves(1, true, 2, 4).unwrap_err();
        assert!(divergence.why.contains("from 2 to at most 3"), "{divergence}");
        assert_eq!(divergence.step, 10);
        assert!(bench.moves(1, true, 2, 9).is_ok(), "after the first error nothing is held");
    }

    #[test]
    fn what_a_follower_had_when_it_left_counts_in_its_old_epoch_only() {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        bench.fetches(2, 0, 0, 5).unwrap();
        bench.fetches(3, 0, 0, 5).unwrap();
        bench.register(1, 2, 1, &[2, 3]).unwrap();
        bench.leads(2, 1, 5, 1, &[2, 3]).unwrap();
        bench.moves(1, true, 0, 5).unwrap();
        assert!(bench.moves(2, true, 0, 5).unwrap_err().why.contains("3 has 0"));
    }

    #[test]
    fn a_follower_cuts_where_the_logs_part_and_not_at_its_high_watermark() {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        bench.fetches(2, 0, 0, 3).unwrap();
        bench.register(1, 2, 1, &[2, 3]).unwrap();
        bench.leads(2, 1, 3, 1, &[2, 3]).unwrap();
        bench.appends(2, 1, 3, 6);
        bench.follows(1, 1, 2, 5, 0).unwrap();
        let cut = |from: i64, to: i64, reason: TruncationReason| Note::Truncated {
            partition: P,
            from: Offset(from),
            to: Offset(to),
            reason,
        };
        bench.note(1, cut(5, 3, TruncationReason::Diverging)).unwrap();
        bench.fetches(1, 1, 3, 6).unwrap();
        let divergence = bench.note(1, cut(6, 0, TruncationReason::OwnHighWatermark)).unwrap_err();
        assert!(divergence.why.contains("still end at 6"), "{divergence}");
    }

    #[test]
    fn records_that_are_not_the_leaders_are_never_appended_to() {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        bench.register(1, 2, 1, &[2, 3]).unwrap();
        bench.leads(2, 1, 0, 1, &[2, 3]).unwrap();
        bench.appends(2, 1, 0, 6);
        bench.follows(1, 1, 2, 5, 0).unwrap();
        assert!(bench.fetches(1, 1, 5, 6).unwrap_err().why.contains("truncate it to 0"));
    }

    #[test]
    fn a_follower_joins_at_the_start_of_the_epoch() {
        for (has, joins) in [(4, false), (5, true)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.fetches(2, 0, 0, 5).unwrap();
            bench.fetches(3, 0, 0, has).unwrap();
            bench.register(1, 1, 0, &[1, 2]).unwrap();
            bench.register(2, 2, 1, &[2]).unwrap();
            bench.leads(2, 1, 5, 2, &[2]).unwrap();
            bench.follows(3, 1, 2, has, 0).unwrap();
            let joined = bench.register(3, 2, 1, &[2, 3]);
            assert_eq!(joined.is_ok(), joins, "{joined:?}");
        }
    }

    #[test]
    fn a_follower_that_is_back_joins_with_what_it_has_now() {
        for (end, joins) in [(5, true), (2, false)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.register(1, 1, 0, &[1, 2]).unwrap();
            let known = PartitionEpoch(1);
            bench
                .note(
                    1,
                    Note::IsrCommitted {
                        partition: P,
                        isr: nodes(&[1, 2]),
                        partition_epoch: known,
                    },
                )
                .unwrap();
            bench.fetches(2, 0, 0, 5).unwrap();
            bench.fetches(3, 0, 0, 5).unwrap();
            bench.moves(1, true, 0, 5).unwrap();
            bench.restarts(3, end);
            bench.follows(3, 0, 1, end, 0).unwrap();
            let joined = bench.register(2, 1, 0, &[1, 2, 3]);
            assert_eq!(joined.is_ok(), joins, "{joined:?}");
        }
    }

    #[test]
    fn who_lost_a_tail_does_not_lead_an_epoch_of_before() {
        for (end, leads) in [(5, true), (2, false)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.restarts(1, end);
            let led = bench.leads(1, 0, end, 0, &[1, 2, 3]);
            assert_eq!(led.is_ok(), leads, "{led:?}");
        }
    }

    /// Promised records can be missing only after all members have lost power, and nobody has
    /// promised the records that replace them.
    #[test]
    fn a_high_watermark_does_not_outlive_a_cut() {
        for (checkpointed, right) in [(2, true), (4, false)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.fetches(2, 0, 0, 5).unwrap();
            bench.fetches(3, 0, 0, 5).unwrap();
            bench.moves(1, true, 0, 5).unwrap();
            bench.moves(3, false, 0, 5).unwrap();
            bench.restarts(2, 2);
            bench.register(1, 2, 1, &[2]).unwrap();
            bench.leads(2, 1, 2, 1, &[2]).unwrap();
            bench.appends(2, 1, 2, 4);
            bench.follows(3, 1, 2, 5, 5).unwrap();
            let (from, to, reason) = (Offset(5), Offset(2), TruncationReason::Diverging);
            bench.note(3, Note::Truncated { partition: P, from, to, reason }).unwrap();
            bench.fetches(3, 1, 2, 4).unwrap();
            bench.0.started(NodeId(3));
            let (log_start, log_end) = (Offset(0), Offset(4));
            let epochs = vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(1), Offset(2))];
            let torn_bytes = 0;
            let note = Note::Recovered {
                partition: P,
                log_start,
                log_end,
                torn_bytes,
                reindexed: 0,
                epochs,
            };
            bench.note(3, note).unwrap();
            let started = bench.follows(3, 1, 2, 4, checkpointed);
            assert_eq!(started.is_ok(), right, "{started:?}");
        }
    }

    #[test]
    fn what_is_acknowledged_to_all_lies_below_the_high_watermark() {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        let acked =
            |acks: i16| Note::ProduceAcked { partition: P, acks, first: Offset(0), end: Offset(5) };
        bench.note(1, acked(1)).unwrap();
        assert!(bench.note(1, acked(-1)).unwrap_err().why.contains("answered up to 5"));
    }

    fn cut(from: i64, to: i64, reason: TruncationReason) -> Note {
        Note::Truncated { partition: P, from: Offset(from), to: Offset(to), reason }
    }

    /// All have 5 records of epoch 0, all promised; 1 leads {1,2,3}.
    fn promised() -> Bench {
        let mut bench = Bench::new();
        bench.appends(1, 0, 0, 5);
        bench.fetches(2, 0, 0, 5).unwrap();
        bench.fetches(3, 0, 0, 5).unwrap();
        bench.moves(1, true, 0, 5).unwrap();
        bench.moves(2, false, 0, 5).unwrap();
        bench
    }

    #[test]
    fn a_follower_whose_log_diverges_takes_no_high_watermark() {
        for (cuts, right) in [(true, true), (false, false)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.register(1, 2, 1, &[2]).unwrap();
            bench.leads(2, 1, 0, 1, &[2]).unwrap();
            bench.appends(2, 1, 0, 6);
            bench.moves(2, true, 0, 6).unwrap();
            bench.follows(1, 1, 2, 5, 0).unwrap();
            if cuts {
                bench.note(1, cut(5, 0, TruncationReason::Diverging)).unwrap();
                bench.fetches(1, 1, 0, 5).unwrap();
            }
            let moved = bench.moves(1, false, 0, 5);
            assert_eq!(moved.is_ok(), right, "{moved:?}");
        }
    }

    #[test]
    fn a_high_watermark_goes_up_only() {
        for (leader, node) in [(true, 1), (false, 2)] {
            for to in [4, -3] {
                assert!(promised().moves(node, leader, 5, to).is_err(), "{node} to {to}");
            }
        }
        let mut bench = promised();
        bench.moves(3, false, 0, 5).unwrap();
    }

    /// 3 is outside the ISR with 5 records when it restarts, and its leader's proposal is in
    /// flight.
    #[test]
    fn who_joined_by_what_it_has_lost_does_not_lead() {
        for (end, leaves, right) in [(2, false, false), (5, false, true), (2, true, true)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.register(1, 1, 0, &[1, 2]).unwrap();
            let partition_epoch = PartitionEpoch(1);
            let isr = nodes(&[1, 2]);
            bench.note(1, Note::IsrCommitted { partition: P, isr, partition_epoch }).unwrap();
            bench.fetches(2, 0, 0, 5).unwrap();
            bench.fetches(3, 0, 0, 5).unwrap();
            bench.moves(1, true, 0, 5).unwrap();
            bench.restarts(3, end);
            bench.register(2, 1, 0, &[1, 2, 3]).unwrap();
            let mut at = 3;
            if leaves {
                let (isr, partition_epoch) = (nodes(&[1, 2]), PartitionEpoch(3));
                bench.register(3, 1, 0, &[1, 2]).unwrap();
                bench.note(1, Note::IsrCommitted { partition: P, isr, partition_epoch }).unwrap();
                bench.follows(3, 0, 1, 2, 0).unwrap();
                bench.fetches(3, 0, 2, 5).unwrap();
                bench.register(4, 1, 0, &[1, 2, 3]).unwrap();
                at = 5;
            }
            bench.register(at, 3, 1, &[2, 3]).unwrap();
            let has = if leaves { 5 } else { end };
            let led = bench.leads(3, 1, has, at, &[2, 3]);
            assert_eq!(led.is_ok(), right, "{end} {leaves}: {led:?}");
        }
    }

    #[test]
    fn promised_records_are_not_cut_because_a_leader_ends_before() {
        for node in [1, 2] {
            let mut bench = promised();
            let divergence = bench.note(node, cut(5, 0, TruncationReason::LeaderEndsBefore));
            assert!(divergence.is_err(), "{node}");
            let mut bench = promised();
            let divergence = bench.note(node, cut(5, 9, TruncationReason::LeaderStartsAfter));
            assert!(divergence.is_err(), "{node}");
        }
    }

    /// 3 has nothing and its leader's log starts at 4; then a new leader's log ends before that.
    #[test]
    fn a_log_starts_anew_within_its_leaders_and_is_cut_to_its_leaders() {
        let behind = || {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.fetches(2, 0, 0, 2).unwrap();
            bench
        };
        let starts = |at: i64| cut(0, at, TruncationReason::LeaderStartsAfter);
        assert!(
            behind().note(3, starts(6)).unwrap_err().why.contains("ends at 0, and its leader's")
        );
        assert!(behind().note(3, starts(-1)).is_err());
        let anew = || {
            let mut bench = behind();
            bench.note(3, starts(4)).unwrap();
            bench.register(1, 2, 1, &[2]).unwrap();
            bench.leads(2, 1, 2, 1, &[2]).unwrap();
            bench.moves(2, true, 0, 2).unwrap();
            bench.follows(3, 1, 2, 4, 4).unwrap();
            bench
        };
        let ends = |from: i64, to: i64| cut(from, to, TruncationReason::LeaderEndsBefore);
        let divergence = anew().note(3, ends(4, 3)).unwrap_err();
        assert!(divergence.why.contains("began at 2, with high watermark 2"), "{divergence}");
        assert!(anew().note(3, ends(5, 2)).unwrap_err().why.contains("its log ends at 4"));
        anew().note(3, ends(4, 2)).unwrap();
        let mut bench = behind();
        bench.note(3, starts(4)).unwrap();
        bench.fetches(3, 0, 4, 5).unwrap();
    }

    #[test]
    fn a_crash_undoes_a_cut_until_a_sync_beyond_it() {
        for (synced, right) in [(3, true), (4, false)] {
            let mut bench = Bench::new();
            bench.appends(1, 0, 0, 5);
            bench.fetches(2, 0, 0, 3).unwrap();
            bench.register(1, 2, 1, &[2, 3]).unwrap();
            bench.leads(2, 1, 3, 1, &[2, 3]).unwrap();
            bench.appends(2, 1, 3, 6);
            bench.follows(1, 1, 2, 5, 0).unwrap();
            bench.note(1, cut(5, 3, TruncationReason::Diverging)).unwrap();
            bench.fetches(1, 1, 3, 6).unwrap();
            bench.note(1, Note::LogSynced { partition: P, end: Offset(synced) }).unwrap();
            bench.0.started(NodeId(1));
            let (log_start, log_end) = (Offset(0), Offset(5));
            let epochs = vec![(LeaderEpoch(0), Offset(0))];
            let back = Note::Recovered {
                partition: P,
                log_start,
                log_end,
                torn_bytes: 0,
                reindexed: 0,
                epochs,
            };
            let back = bench.note(1, back);
            assert_eq!(back.is_ok(), right, "{back:?}");
        }
    }
}
