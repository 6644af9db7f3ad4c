//! Trace validation against M3: the metadata quorum, checked against [`crate::votes`].
//!
//! # How a run's steps map to the model's
//!
//! | note (of voters; of the metadata log) | action |
//! |------|--------|
//! | `QuorumPreVoted` | `PreVote` |
//! | `QuorumCandidate`, not pre-vote | `Stand` |
//! | `QuorumVoted` | `Vote` |
//! | `QuorumStored` | `SyncVote`, of epoch and vote |
//! | `QuorumVoteAnswered` | `SyncVote`, its answer |
//! | `LeaderAppended` by a candidate, then `QuorumLeader` | `Win` |
//! | `QuorumFollower` | `Announce` |
//! | `LeaderAppended` | `Append`, for each record |
//! | `FollowerAppended`, `Truncated` | `Fetch`, of records or of where the logs diverge |
//! | `DivergingEpoch` | what a leader answers in a `Fetch` |
//! | `QuorumLogSynced` | `SyncLog` |
//! | `QuorumCommitted` | what `SyncLog` and `Fetch` commit |
//! | `QuorumResigned` | `Resign` |
//! | a process that starts, with `Recovered` and `QuorumRestored` | `Crash` |
//!
//! # Where the code's steps are finer, and why that is sound
//!
//! - *Hearing of an epoch has no note.* `Hear` is taken when a voter's next note is of a later
//!   epoch, which some voter must have synced, as the model requires.
//! - *A request may be late*: its sender may have left the epoch by the time it is handled. A node
//!   that has left an epoch does not affect nodes still in it, so the model may let it leave later.
//!   A vote is checked against the log that the candidate stood with, an announcement against the
//!   winner of the epoch, and a fetch against what the follower had when it left.
//! - *A fetch brings its batches one by one*; here each batch is its own step. A fetch that brings
//!   nothing has no note, so a leader may count what a follower has synced in the leader's epoch,
//!   as long as their logs do not diverge. It may know less, and commit less.
//! - *A cut may come in rounds*, and one that a crash undoes never happened (see [`super::isr`] for
//!   both). Even so, what was synced stays: a cut lowers the synced end to the cut's offset, and a
//!   later sync beyond that makes the cut final.
//! - *The ballot that a restarted voter reads* may be any that it wrote after the last one known to
//!   be synced: it was then synced just before the crash.
//! - *High watermarks* of followers are not part of M3: they may be anything up to what leaders
//!   committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wavetank_core::note::{Note, TruncationReason};
use wavetank_core::types::{NodeId, PartitionEpoch, TopicPartition};

use super::cut::{BeforeCuts, diverge_at};
use super::log::Runs;
use super::{Divergence, Of, Refused, Registered, Validator, names, of, refuse};
use crate::rules::{self, EpochLog};

type Taken = Result<(), Box<Refused>>;

/// What a voter does in its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Waits,
    Stands,
    Leads,
}

/// Epoch and vote.
type Ballot = (i32, Option<NodeId>);

#[derive(Clone, Debug, Default)]
struct Voter {
    epoch: i32,
    voted: Option<NodeId>,
    leader: Option<NodeId>,
    role: Role,
    /// The voters that have granted it a pre-vote in this epoch.
    endorsed: BTreeSet<NodeId>,
    stored: Ballot,
    /// Votes written since `stored`.
    written: Vec<Ballot>,
    log: Runs,
    synced: i64,
    /// Has started, and has not read its ballot yet.
    unread: bool,
    /// What a crash may bring back.
    before_cuts: BeforeCuts,
}

/// What the leader of an epoch has or had.
#[derive(Clone, Debug)]
struct Leadership {
    leader: NodeId,
    log: Runs,
    start: i64,
    committed: i64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct VotesValidator {
    voters: BTreeMap<NodeId, Voter>,
    /// The last epoch and end of each candidate's log when it stood.
    candidacies: BTreeMap<(i32, NodeId), (i32, i64)>,
    /// Votes that are synced, by epoch and candidate.
    granted: BTreeMap<(i32, NodeId), BTreeSet<NodeId>>,
    leaderships: BTreeMap<i32, Leadership>,
    /// What a follower had synced when it left an epoch.
    left: BTreeMap<(i32, NodeId), Vec<Runs>>,
    committed: i64,
    step: u64,
    diverged: bool,
}

impl Voter {
    fn enter(&mut self, epoch: i32) {
        (self.epoch, self.voted) = (epoch, None);
        self.leave_role();
        self.endorsed.clear();
    }

    fn leave_role(&mut self) {
        (self.role, self.leader) = (Role::Waits, None);
    }

    fn give_vote(&mut self, candidate: NodeId) {
        self.voted = Some(candidate);
        self.written.push((self.epoch, self.voted));
    }

    fn synced_log(&self) -> Runs {
        let mut log = self.log.clone();
        log.truncate(self.synced);
        log
    }

    fn standing(&self) -> (i32, i64) {
        (self.log.last_epoch(), self.log.end())
    }
}

impl VotesValidator {
    /// A quorum of these voters.
    pub fn new(voters: &[NodeId]) -> VotesValidator {
        VotesValidator {
            voters: voters.iter().map(|voter| (*voter, Voter::default())).collect(),
            candidacies: BTreeMap::new(),
            granted: BTreeMap::new(),
            leaderships: BTreeMap::new(),
            left: BTreeMap::new(),
            committed: 0,
            step: 0,
            diverged: false,
        }
    }

    fn voter(&mut self, id: NodeId) -> &mut Voter {
        self.voters.entry(id).or_default()
    }

    /// The newest epoch that any voter may have been told of.
    fn told(&self) -> i32 {
        self.voters.values().map(|voter| voter.stored.0).max().unwrap_or(0)
    }

    /// Keeps what the voter has synced in its epoch: its leader may know it, or learn it later.
    fn leave(&mut self, id: NodeId) {
        let Some(voter) = self.voters.get(&id) else { return };
        if voter.leader.is_some() && voter.role == Role::Waits {
            let (epoch, log) = (voter.epoch, voter.synced_log());
            self.left.entry((epoch, id)).or_default().push(log);
        }
    }

    /// A voter enters an epoch, or is in it already: `Hear`, which has no note.
    fn hear(&mut self, id: NodeId, epoch: i32, action: &str) -> Taken {
        let (told, own) = (self.told(), self.voter(id).epoch);
        if epoch < own {
            return refuse(action, format!("{id} is in epoch {own}"));
        }
        if epoch > own {
            if epoch > told {
                return refuse(action, format!("no node can have told {id} of epoch {epoch}"));
            }
            self.leave(id);
            self.voter(id).enter(epoch);
        }
        Ok(())
    }

    fn is_majority(&self, count: usize) -> bool {
        rules::is_majority(count, self.voters.len())
    }

    /// A pre-vote that comes too late for its asker does not count.
    fn pre_vote(&mut self, id: NodeId, epoch: i32, asker: NodeId) -> Taken {
        let action = format!("voter {id} grants {asker} a pre-vote");
        self.hear(id, epoch, &action)?;
        let own = self.voter(id);
        if own.role == Role::Leads {
            return refuse(action, "it leads");
        }
        let own = own.standing();
        let asker = self.voter(asker);
        let asks = (asker.epoch, asker.stored.0) == (epoch, epoch);
        if asks && rules::is_not_ahead(own, asker.standing()) {
            asker.endorsed.insert(id);
        }
        Ok(())
    }

    fn stand(&mut self, id: NodeId, epoch: i32) -> Taken {
        let action = format!("voter {id} stands for epoch {epoch}");
        self.hear(id, epoch - 1, &action)?;
        let own = self.voter(id);
        if own.role == Role::Leads {
            return refuse(action, "it leads");
        }
        let endorsed = own.endorsed.len() + 1;
        if !self.is_majority(endorsed) {
            let endorsed = names(&self.voter(id).endorsed);
            return refuse(action, format!("only {endorsed} granted it a pre-vote"));
        }
        self.leave(id);
        let own = self.voter(id);
        own.enter(epoch);
        own.role = Role::Stands;
        own.give_vote(id);
        let standing = own.standing();
        self.candidacies.insert((epoch, id), standing);
        Ok(())
    }

    fn vote(&mut self, id: NodeId, epoch: i32, candidate: NodeId) -> Taken {
        let action = format!("voter {id} grants its vote of epoch {epoch} to {candidate}");
        let Some(standing) = self.candidacies.get(&(epoch, candidate)).copied() else {
            return refuse(action, "the candidate has not stood for it");
        };
        if !self.granted.get(&(epoch, candidate)).is_some_and(|by| by.contains(&candidate)) {
            return refuse(action, "the candidate's own vote is not synced, so it has not asked");
        }
        let own = self.voter(id);
        let free = (own.voted, own.leader, own.role) == (None, None, Role::Waits);
        let up_to_date = rules::is_not_ahead(own.standing(), standing);
        if !rules::may_vote(own.epoch, epoch, free, up_to_date) {
            let why = format!(
                "its log ends with epoch {} at {}, the candidate's with epoch {} at {}, and its \
                 own vote is {}",
                own.log.last_epoch(),
                own.log.end(),
                standing.0,
                standing.1,
                own.voted.map_or("free".to_owned(), |voted| format!("{voted}'s"))
            );
            return refuse(action, why);
        }
        if own.epoch < epoch {
            self.leave(id);
            self.voter(id).enter(epoch);
        }
        self.voter(id).give_vote(candidate);
        Ok(())
    }

    fn sync_vote(&mut self, id: NodeId, stored: Ballot) -> Taken {
        let (epoch, voted) = stored;
        let action = format!("voter {id} has epoch {epoch} and its vote synced");
        let own = self.voter(id);
        if epoch < own.stored.0 {
            return refuse(action, format!("epoch {} was synced before", own.stored.0));
        }
        if own.epoch < epoch {
            self.hear(id, epoch, &action)?;
        }
        let own = self.voter(id);
        let written = voted.is_none() || stored == own.stored || own.written.contains(&stored);
        let forgets = epoch == own.stored.0 && voted != own.stored.1 && own.stored.1.is_some();
        if !written || forgets {
            let had = own.stored.1.map_or("nobody".to_owned(), |voted| voted.to_string());
            return refuse(
                action,
                format!(
                    "it has given no such vote; the last synced was for {had} in epoch {}",
                    own.stored.0
                ),
            );
        }
        own.stored = stored;
        own.written.retain(|(later, vote)| *later > epoch || (*later == epoch && *vote != voted));
        // A candidate's own vote needs no answer.
        if voted == Some(id) {
            self.granted.entry((epoch, id)).or_default().insert(id);
        }
        Ok(())
    }

    fn answer_vote(&mut self, id: NodeId, epoch: i32, candidate: NodeId) -> Taken {
        let action = format!("voter {id} answers that {candidate} has its vote of epoch {epoch}");
        let (stored, voted) = self.voter(id).stored;
        if (stored, voted) != (epoch, Some(candidate)) {
            let voted = voted.map_or("nobody".to_owned(), |voted| voted.to_string());
            return refuse(action, format!("it has synced epoch {stored} and a vote for {voted}"));
        }
        self.granted.entry((epoch, candidate)).or_default().insert(id);
        Ok(())
    }

    fn win(&mut self, id: NodeId, epoch: i32) -> Taken {
        let action = format!("voter {id} has a majority and leads epoch {epoch}");
        let own = self.voter(id);
        if own.role != Role::Stands || own.epoch != epoch {
            return refuse(action, "it does not stand for it");
        }
        let granted = self.granted.get(&(epoch, id)).cloned().unwrap_or_default();
        if !self.is_majority(granted.len()) {
            let granted = names(&granted);
            return refuse(action, format!("the synced votes for it are only those of {granted}"));
        }
        let own = self.voter(id);
        (own.role, own.leader) = (Role::Leads, Some(id));
        own.endorsed.clear();
        let (log, start) = (own.log.clone(), own.log.end());
        self.leaderships.insert(epoch, Leadership { leader: id, log, start, committed: 0 });
        Ok(())
    }

    /// Checks what the note of a win adds to the note of the epoch's first record.
    fn leads(&mut self, id: NodeId, epoch: i32, start: i64) -> Taken {
        let action = format!("voter {id} leads epoch {epoch}");
        let leads = self.voter(id).role == Role::Leads && self.voter(id).epoch == epoch;
        let leadership = self.leaderships.get(&epoch).filter(|_| leads);
        match leadership.map(|leadership| leadership.start) {
            None => self.win(id, epoch),
            Some(own) if own != start => refuse(action, format!("its epoch began at {own}")),
            Some(_) => Ok(()),
        }
    }

    fn announce(&mut self, id: NodeId, epoch: i32, leader: NodeId) -> Taken {
        let action = format!("leader {leader} of epoch {epoch} announces itself to {id}");
        if self.leaderships.get(&epoch).is_none_or(|of| of.leader != leader) {
            return refuse(action, "it has not won that epoch");
        }
        self.hear(id, epoch, &action)?;
        let own = self.voter(id);
        if own.role == Role::Leads || own.leader.is_some_and(|known| known != leader) {
            return refuse(action, "the voter follows another or leads");
        }
        own.role = Role::Waits;
        own.leader = Some(leader);
        Ok(())
    }

    fn resign(&mut self, id: NodeId, epoch: i32) -> Taken {
        let own = self.voter(id);
        if (own.role, own.epoch) != (Role::Leads, epoch) {
            return refuse(
                format!("leader {id} resigns"),
                format!("it does not lead epoch {epoch}"),
            );
        }
        own.leave_role();
        Ok(())
    }

    fn append(&mut self, id: NodeId, epoch: i32, first: i64, end: i64) -> Taken {
        if self.voter(id).role == Role::Stands {
            self.win(id, epoch)?;
        }
        let action = format!("leader {id} appends");
        let own = self.voter(id);
        if (own.role, own.epoch, own.log.end()) != (Role::Leads, epoch, first) {
            return refuse(action, "it does not lead that epoch, or its log ends elsewhere");
        }
        own.log.append(epoch, end);
        if let Some(leadership) = self.leaderships.get_mut(&epoch) {
            leadership.log.append(epoch, end);
        }
        Ok(())
    }

    fn following(
        &mut self,
        id: NodeId,
        action: &str,
    ) -> Result<(&mut Leadership, &mut Voter), Box<Refused>> {
        let own = self.voters.entry(id).or_default();
        if own.leader.is_none() || own.role != Role::Waits {
            return refuse(action, "it follows nobody");
        }
        match self.leaderships.get_mut(&own.epoch) {
            Some(leadership) => Ok((leadership, own)),
            None => refuse(action, format!("nobody has won epoch {}", own.epoch)),
        }
    }

    fn fetch(&mut self, id: NodeId, seen: &Note) -> Taken {
        let Note::FollowerAppended { epoch, first, end, last_epoch, .. } = seen else {
            return Ok(());
        };
        let action = format!("voter {id} fetches");
        let (leadership, own) = self.following(id, &action)?;
        if own.epoch != epoch.0 || own.log.end() != first.0 {
            return refuse(action, format!("it is in epoch {} at {}", own.epoch, own.log.end()));
        }
        if own.stored.0 != own.epoch {
            return refuse(action, "its epoch is not synced");
        }
        if let Some(to) = diverge_at(&own.log, &leadership.log) {
            return refuse(
                action,
                format!("the logs diverge, and it would truncate its own to {to}"),
            );
        }
        if leadership.log.end() < end.0 {
            return refuse(action, format!("its leader's log ends at {}", leadership.log.end()));
        }
        own.log.append_from(&leadership.log, end.0);
        let last = own.log.last_epoch();
        if last != last_epoch.0 {
            return refuse(
                action,
                format!("the last record would have epoch {last}, and has {last_epoch}"),
            );
        }
        Ok(())
    }

    fn cut(&mut self, id: NodeId, from: i64, to: i64, reason: TruncationReason) -> Taken {
        if reason == TruncationReason::TornTail {
            return Ok(()); // `Recovered` says so.
        }
        let action = format!("voter {id} fetches and truncates where the logs diverge");
        let (leadership, own) = self.following(id, &action)?;
        if own.log.end() != from {
            return refuse(action, format!("its log ends at {}", own.log.end()));
        }
        match diverge_at(&own.log, &leadership.log) {
            Some(most) if most <= to => {}
            Some(most) => return refuse(action, format!("the logs diverge at {most}, not before")),
            None => return refuse(action, "the logs do not diverge"),
        }
        own.before_cuts.push(&own.log, to);
        own.log.truncate(to);
        own.synced = own.synced.min(to);
        Ok(())
    }

    fn answer(&mut self, id: NodeId, seen: &Note) -> Taken {
        let Note::DivergingEpoch { follower, asked, epoch, end_offset, .. } = seen else {
            return Ok(());
        };
        let action = format!("{follower} fetches, and {id} answers where its epoch {asked} ends");
        let own = self.voter(id);
        if own.role != Role::Leads {
            return refuse(action, "the answering node does not lead");
        }
        let (known, end) = rules::end_offset_for_epoch(&own.log, asked.0);
        if end != end_offset.0 || (known >= 0 && known != epoch.0) {
            return refuse(
                action,
                format!(
                    "the answer would be epoch {known} up to {end}, and is {epoch} up to \
                     {end_offset}"
                ),
            );
        }
        Ok(())
    }

    fn sync_log(&mut self, id: NodeId, end: i64) -> Taken {
        let own = self.voter(id);
        if end > own.log.end() {
            let own = own.log.end();
            return refuse(format!("voter {id} has its log synced"), format!("it ends at {own}"));
        }
        own.synced = own.synced.max(end);
        own.before_cuts.synced(end);
        Ok(())
    }

    /// The most that the leader of an epoch may know a voter to have synced.
    fn known_end(&self, epoch: i32, id: NodeId) -> i64 {
        let Some(leadership) = self.leaderships.get(&epoch) else { return 0 };
        let voter = self.voters.get(&id);
        if leadership.leader == id {
            return voter.map_or(0, |voter| voter.synced);
        }
        let now = voter.filter(|voter| (voter.epoch, voter.role) == (epoch, Role::Waits));
        let now = now.filter(|voter| voter.leader.is_some() && voter.stored.0 == epoch);
        let now = now.map(Voter::synced_log);
        let left = self.left.get(&(epoch, id)).into_iter().flatten();
        let logs = left.chain(now.as_ref());
        let agreeing = logs.filter(|log| diverge_at(log, &leadership.log).is_none());
        agreeing.map(EpochLog::end).max().unwrap_or(0)
    }

    fn commit(&mut self, id: NodeId, to: i64, leads: bool) -> Taken {
        let action = format!("voter {id} moves its committed end to {to}");
        if !leads {
            return match to <= self.committed {
                true => Ok(()),
                false => refuse(action, format!("leaders have committed up to {}", self.committed)),
            };
        }
        let own = self.voter(id);
        let epoch = own.epoch;
        if own.role != Role::Leads {
            return refuse(action, "it does not lead");
        }
        let mut ends: Vec<i64> =
            self.voters.keys().map(|voter| self.known_end(epoch, *voter)).collect();
        let agreed = rules::agreed(&mut ends);
        let Some(leadership) = self.leaderships.get_mut(&epoch) else {
            return refuse(action, "it has not won its epoch");
        };
        if to > agreed || !rules::may_commit(to, leadership.start) {
            let start = leadership.start;
            return refuse(
                action,
                format!("a majority has synced up to {agreed}, and its epoch began at {start}"),
            );
        }
        leadership.committed = to;
        self.committed = self.committed.max(to);
        Ok(())
    }

    fn recover(&mut self, id: NodeId, log: Runs) -> Taken {
        let own = self.voter(id);
        let known = log.is_prefix_of(&own.log) || own.before_cuts.may_bring_back(&log);
        if !known || log.end() < own.synced {
            let synced = own.synced;
            return refuse(
                format!("voter {id} crashes and loses its unsynced log"),
                format!("it comes back with {log}, and had synced up to {synced}"),
            );
        }
        own.synced = own.synced.min(log.end());
        own.log = log;
        Ok(())
    }

    fn restore(&mut self, id: NodeId, ballot: Ballot) -> Taken {
        let action = format!("voter {id} crashes and comes back with what it has synced");
        let (told, own) = (self.told(), self.voter(id));
        let heard = ballot.1.is_none() && ballot.0 > own.stored.0 && ballot.0 <= told;
        if ballot != own.stored && !own.written.contains(&ballot) && !heard {
            let (epoch, voted) = own.stored;
            let voted = voted.map_or("nobody".to_owned(), |voted| voted.to_string());
            return refuse(action, format!("it had synced epoch {epoch} and a vote for {voted}"));
        }
        own.enter(ballot.0);
        (own.voted, own.stored, own.unread) = (ballot.1, ballot, false);
        own.written.clear();
        if ballot.1 == Some(id) {
            self.granted.entry((ballot.0, id)).or_default().insert(id);
        }
        Ok(())
    }

    fn take(&mut self, id: NodeId, note: &Note) -> Taken {
        if self.voter(id).unread && !is_of_reading(note) {
            return refuse(
                format!("voter {id} crashes and restarts"),
                "it participates before it has read its epoch and vote",
            );
        }
        match note {
            Note::Recovered { log_end, epochs, .. } => {
                let epochs = epochs.iter().map(|(epoch, start)| (epoch.0, start.0));
                self.recover(id, Runs::new(epochs, log_end.0))
            }
            Note::QuorumRestored { epoch, voted } => self.restore(id, (epoch.0, *voted)),
            Note::QuorumPreVoted { epoch, candidate } => self.pre_vote(id, epoch.0, *candidate),
            Note::QuorumCandidate { epoch, pre_vote: false } => self.stand(id, epoch.0),
            Note::QuorumVoted { epoch, candidate } => self.vote(id, epoch.0, *candidate),
            Note::QuorumStored { epoch, voted } => self.sync_vote(id, (epoch.0, *voted)),
            Note::QuorumVoteAnswered { epoch, candidate } => {
                self.answer_vote(id, epoch.0, *candidate)
            }
            Note::QuorumLeader { epoch, start } => self.leads(id, epoch.0, start.0),
            Note::QuorumFollower { epoch, leader } => self.announce(id, epoch.0, *leader),
            Note::QuorumResigned { epoch, .. } => self.resign(id, epoch.0),
            Note::LeaderAppended { epoch, first, end, .. } => {
                self.append(id, epoch.0, first.0, end.0)
            }
            Note::FollowerAppended { .. } => self.fetch(id, note),
            Note::Truncated { from, to, reason, .. } => self.cut(id, from.0, to.0, *reason),
            Note::DivergingEpoch { .. } => self.answer(id, note),
            Note::QuorumLogSynced { end } => self.sync_log(id, end.0),
            Note::QuorumCommitted { to, leader, .. } => self.commit(id, to.0, *leader),
            // A request for pre-votes, and whatever is not about the quorum.
            Note::QuorumCandidate { pre_vote: true, .. }
            | Note::Rolled { .. }
            | Note::Departed { .. }
            | Note::LogRefused { .. }
            | Note::ReadRefused { .. }
            | Note::AnswerRefused { .. }
            | Note::LogSynced { .. }
            | Note::RecoveryPoint { .. }
            | Note::BecameLeader { .. }
            | Note::BecameFollower { .. }
            | Note::HighWatermark { .. }
            | Note::IsrProposed { .. }
            | Note::IsrCommitted { .. }
            | Note::IsrRefused { .. }
            | Note::IsrUnanswered { .. }
            | Note::ProduceAcked { .. }
            | Note::ProduceFailed { .. }
            | Note::Fenced { .. }
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

/// The notes that a voter may emit before it has read its epoch and vote.
fn is_of_reading(note: &Note) -> bool {
    matches!(
        note,
        Note::Recovered { .. }
            | Note::QuorumRestored { .. }
            | Note::QuorumLogSynced { .. }
            | Note::Truncated { reason: TruncationReason::TornTail, .. }
    )
}

impl Validator for VotesValidator {
    fn model(&self) -> &'static str {
        "M3"
    }

    fn partition(&self, _: &Note) -> Option<TopicPartition> {
        None
    }

    fn started(&mut self, node: NodeId) {
        if self.voters.contains_key(&node) {
            self.leave(node);
            let own = self.voter(node);
            own.leave_role();
            own.unread = true;
        }
    }

    fn registered(
        &mut self,
        _: TopicPartition,
        _: PartitionEpoch,
        _: &Registered,
    ) -> Result<(), Box<Divergence>> {
        Ok(())
    }

    fn note(&mut self, node: NodeId, note: &Note) -> Result<(), Box<Divergence>> {
        if self.diverged || of(note) != Of::Quorum || !self.voters.contains_key(&node) {
            return Ok(());
        }
        self.step += 1;
        let Err(refused) = self.take(node, note) else { return Ok(()) };
        self.diverged = true;
        Err(Box::new(Divergence {
            model: self.model(),
            step: self.step,
            seen: format!("node {node} notes {note:?}"),
            action: refused.action,
            why: refused.why,
            state: self.to_string(),
        }))
    }
}

impl fmt::Display for VotesValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, voter) in &self.voters {
            write!(f, "{id} epoch {}", voter.epoch)?;
            match (voter.role, voter.leader) {
                (Role::Leads, _) => write!(f, " leads")?,
                (Role::Stands, _) => write!(f, " stands")?,
                (Role::Waits, None) => {}
                (Role::Waits, Some(leader)) => write!(f, " follows {leader}")?,
            }
            if let Some(voted) = voter.voted {
                write!(f, " voted {voted}")?;
            }
            if voter.stored != (voter.epoch, voter.voted) {
                write!(f, " (unsynced)")?;
            }
            write!(f, " {} synced to {}; ", voter.log, voter.synced)?;
        }
        write!(f, "committed up to {}", self.committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::types::{LeaderEpoch, Offset};

    /// Three voters that have read empty ballots.
    fn quorum() -> VotesValidator {
        let mut quorum = VotesValidator::new(&[NodeId(1), NodeId(2), NodeId(3)]);
        for id in 1..=3 {
            quorum.started(NodeId(id));
            see(&mut quorum, id, Note::QuorumRestored { epoch: LeaderEpoch(0), voted: None });
        }
        quorum
    }

    fn see(quorum: &mut VotesValidator, id: i32, note: Note) {
        quorum.note(NodeId(id), &note).unwrap();
    }

    fn epoch(epoch: i32) -> LeaderEpoch {
        LeaderEpoch(epoch)
    }

    fn voted(of: i32, candidate: i32) -> Note {
        Note::QuorumVoted { epoch: epoch(of), candidate: NodeId(candidate) }
    }

    fn stored(of: i32, candidate: i32) -> Note {
        Note::QuorumStored { epoch: epoch(of), voted: Some(NodeId(candidate)) }
    }

    fn stored_none(of: i32) -> Note {
        Note::QuorumStored { epoch: epoch(of), voted: None }
    }

    fn answered(of: i32, candidate: i32) -> Note {
        Note::QuorumVoteAnswered { epoch: epoch(of), candidate: NodeId(candidate) }
    }

    fn stands(quorum: &mut VotesValidator, id: i32, by: i32, of: i32) {
        let (before, candidate) = (epoch(of - 1), NodeId(id));
        see(quorum, by, Note::QuorumPreVoted { epoch: before, candidate });
        see(quorum, id, Note::QuorumCandidate { epoch: epoch(of), pre_vote: false });
    }

    fn appended(of: i32, first: i64, end: i64) -> Note {
        let (first, end) = (Offset(first), Offset(end));
        Note::LeaderAppended { partition: TopicPartition::METADATA, epoch: epoch(of), first, end }
    }

    fn fetched(of: i32, first: i64, end: i64) -> Note {
        Note::FollowerAppended {
            partition: TopicPartition::METADATA,
            epoch: epoch(of),
            first: Offset(first),
            end: Offset(end),
            last_epoch: epoch(of),
        }
    }

    fn committed(to: i64) -> Note {
        Note::QuorumCommitted { from: Offset(0), to: Offset(to), leader: true }
    }

    /// 1 leads epoch 1 with the vote of 2, which follows it and has its first record.
    fn led() -> VotesValidator {
        let mut quorum = quorum();
        stands(&mut quorum, 1, 2, 1);
        see(&mut quorum, 1, stored(1, 1));
        see(&mut quorum, 2, voted(1, 1));
        see(&mut quorum, 2, stored(1, 1));
        see(&mut quorum, 2, answered(1, 1));
        see(&mut quorum, 1, appended(1, 0, 1));
        see(&mut quorum, 1, Note::QuorumLeader { epoch: epoch(1), start: Offset(0) });
        see(&mut quorum, 2, Note::QuorumFollower { epoch: epoch(1), leader: NodeId(1) });
        see(&mut quorum, 2, fetched(1, 0, 1));
        quorum
    }

    #[test]
    fn what_a_majority_has_synced_is_committed() {
        let mut quorum = led();
        see(&mut quorum, 1, Note::QuorumLogSynced { end: Offset(1) });
        see(&mut quorum, 2, Note::QuorumLogSynced { end: Offset(1) });
        see(&mut quorum, 1, committed(1));
        let mut quorum = led();
        see(&mut quorum, 1, Note::QuorumLogSynced { end: Offset(1) });
        let divergence = quorum.note(NodeId(1), &committed(1)).unwrap_err();
        assert!(divergence.why.contains("synced up to 0"), "{divergence}");
    }

    #[test]
    fn a_vote_is_answered_when_it_is_synced() {
        let mut quorum = quorum();
        stands(&mut quorum, 1, 2, 1);
        see(&mut quorum, 1, stored(1, 1));
        see(&mut quorum, 2, voted(1, 1));
        let divergence = quorum.note(NodeId(2), &answered(1, 1)).unwrap_err();
        assert!(divergence.why.contains("epoch 0 and a vote for nobody"), "{divergence}");
        assert!(divergence.to_string().contains("at step 8: node 2 notes QuorumVoteAnswered"));
    }

    #[test]
    fn a_vote_goes_to_who_has_stood_with_a_log_as_long() {
        let mut quorum = led();
        see(&mut quorum, 3, Note::QuorumFollower { epoch: epoch(1), leader: NodeId(1) });
        see(&mut quorum, 3, stored_none(1));
        stands(&mut quorum, 2, 3, 2);
        see(&mut quorum, 2, stored(2, 2));
        see(&mut quorum, 3, voted(2, 2));
        // 3 has no record yet; a voter that has one would not have granted it even a pre-vote.
        let mut quorum = led();
        see(&mut quorum, 3, Note::QuorumFollower { epoch: epoch(1), leader: NodeId(1) });
        see(&mut quorum, 3, stored_none(1));
        let candidate = NodeId(3);
        see(&mut quorum, 2, Note::QuorumPreVoted { epoch: epoch(1), candidate });
        let stands = Note::QuorumCandidate { epoch: epoch(2), pre_vote: false };
        assert!(quorum.note(candidate, &stands).unwrap_err().why.contains("only {} granted"));
    }

    #[test]
    fn who_has_voted_has_no_other_vote_even_after_a_crash() {
        let mut quorum = quorum();
        stands(&mut quorum, 1, 2, 1);
        see(&mut quorum, 1, stored(1, 1));
        see(&mut quorum, 2, voted(1, 1));
        see(&mut quorum, 2, stored(1, 1));
        quorum.started(NodeId(2));
        let forgotten = Note::QuorumRestored { epoch: epoch(1), voted: None };
        assert!(quorum.note(NodeId(2), &forgotten).unwrap_err().why.contains("a vote for 1"));
    }

    #[test]
    fn nobody_takes_part_before_it_has_read_its_vote() {
        let mut quorum = led();
        quorum.started(NodeId(2));
        let follows = Note::QuorumFollower { epoch: epoch(1), leader: NodeId(1) };
        let divergence = quorum.note(NodeId(2), &follows).unwrap_err();
        assert!(divergence.why.contains("before it has read"), "{divergence}");
    }

    #[test]
    fn a_minority_elects_nobody() {
        let mut quorum = quorum();
        stands(&mut quorum, 1, 2, 1);
        see(&mut quorum, 1, stored(1, 1));
        let won = Note::QuorumLeader { epoch: epoch(1), start: Offset(0) };
        assert!(quorum.note(NodeId(1), &won).unwrap_err().why.contains("only those of {1}"));
    }

    fn recovered(epochs: &[(i32, i64)], end: i64) -> Note {
        Note::Recovered {
            partition: TopicPartition::METADATA,
            log_start: Offset(0),
            log_end: Offset(end),
            torn_bytes: 0,
            reindexed: 0,
            epochs: epochs.iter().map(|(of, start)| (epoch(*of), Offset(*start))).collect(),
        }
    }

    /// 2 followed 1 in epoch 1 up to 3, then 3 in epoch 2, whose first record is at 1: 2 has cut
    /// its log there.
    fn cut() -> VotesValidator {
        let mut quorum = led();
        see(&mut quorum, 3, Note::QuorumFollower { epoch: epoch(1), leader: NodeId(1) });
        see(&mut quorum, 3, stored_none(1));
        see(&mut quorum, 3, fetched(1, 0, 1));
        see(&mut quorum, 1, appended(1, 1, 3));
        // 1 comes back with a log that ends at 1, and 3 wins with 1's vote.
        quorum.started(NodeId(1));
        see(&mut quorum, 1, recovered(&[(1, 0)], 1));
        let voted_for_itself = Some(NodeId(1));
        see(&mut quorum, 1, Note::QuorumRestored { epoch: epoch(1), voted: voted_for_itself });
        let follows = Note::QuorumFollower { epoch: epoch(2), leader: NodeId(3) };
        see(&mut quorum, 2, fetched(1, 1, 3));
        stands(&mut quorum, 3, 1, 2);
        see(&mut quorum, 3, stored(2, 3));
        see(&mut quorum, 1, voted(2, 3));
        see(&mut quorum, 1, stored(2, 3));
        see(&mut quorum, 1, answered(2, 3));
        see(&mut quorum, 3, appended(2, 1, 2));
        see(&mut quorum, 2, follows);
        see(&mut quorum, 2, stored_none(2));
        let (partition, reason) = (TopicPartition::METADATA, TruncationReason::Diverging);
        let (from, to) = (Offset(3), Offset(1));
        see(&mut quorum, 2, Note::Truncated { partition, from, to, reason });
        see(&mut quorum, 2, fetched(2, 1, 2));
        quorum
    }

    #[test]
    fn what_is_synced_stays_even_after_a_cut() {
        for (end, right) in [(1, true), (0, false)] {
            let mut quorum = cut();
            see(&mut quorum, 2, Note::QuorumLogSynced { end: Offset(1) });
            quorum.started(NodeId(2));
            let epochs = if end > 0 { vec![(1, 0)] } else { Vec::new() };
            let back = quorum.note(NodeId(2), &recovered(&epochs, end));
            assert_eq!(back.is_ok(), right, "{back:?}");
        }
    }

    #[test]
    fn a_crash_undoes_a_cut_until_a_sync_beyond_it() {
        for (synced, right) in [(1, true), (2, false)] {
            let mut quorum = cut();
            see(&mut quorum, 2, Note::QuorumLogSynced { end: Offset(synced) });
            quorum.started(NodeId(2));
            let back = quorum.note(NodeId(2), &recovered(&[(1, 0)], 3));
            assert_eq!(back.is_ok(), right, "{back:?}");
        }
    }
}
