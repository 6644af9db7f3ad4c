//! Every transition between roles: what ends with the old role, what begins with the new one.
//! Which are allowed is in `roles`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::roles::{Ballot, Leadership, Role, RoleName, Votes, allowed};
use super::{Quorum, QuorumFact};
use crate::env::Env;
use crate::event::TimerKey;
use crate::flaw::Flaw;
use crate::note::Note;
use crate::types::{LeaderEpoch, NodeId};

impl Quorum {
    /// Changes the role, and ends everything that belonged to the old one.
    fn change_role(
        &mut self,
        role: Role,
        epoch: LeaderEpoch,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let single = self.settings.voters.len() == 1;
        let (from, to) = (self.role.name(), role.name());
        let order = epoch.cmp(&self.ballot.epoch);
        assert!(allowed(from, to, order, single), "{from:?} to {to:?}, epoch {order:?}");
        let old = core::mem::replace(&mut self.role, role);
        for (node, peer) in &mut self.peers {
            if peer.backoff.take().is_some() {
                env.disarm(TimerKey::BeginEpochRetry(*node));
            }
        }
        if self.election.take().is_some() {
            env.disarm(TimerKey::Election);
        }
        if self.fetch_backoff.take().is_some() {
            env.disarm(TimerKey::QuorumFetchBackoff);
        }
        self.fetch_failures = 0;
        if let Role::Leader(leadership) = old {
            if leadership.check_quorum.is_some() {
                env.disarm(TimerKey::CheckQuorum);
            }
            if leadership.active {
                facts.push(QuorumFact::LostLeadership);
            }
        }
    }

    /// If the node was the leader, tells every waiting fetcher that it no longer leads. Called
    /// after the ballot has changed, so that the answers carry the new epoch.
    fn dismiss_fetchers(&mut self, was_leader: bool, env: &mut dyn Env) {
        if was_leader {
            self.refuse_waiting_fetches(env);
        }
    }

    /// Enters a later epoch without a leader (or leaves Prospective or Follower in this one).
    pub(super) fn become_unattached(
        &mut self,
        epoch: LeaderEpoch,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        // A candidate that keeps raising epochs must not keep this node from standing: a node that
        // had no leader anyway keeps its deadline.
        let leaderless = matches!(self.role, Role::Unattached | Role::Voted { .. });
        let kept = self.election.filter(|_| leaderless);
        let was_leader = self.is_leader();
        let role = self.role.without_leader();
        self.change_role(role, epoch, env, facts);
        if epoch > self.ballot.epoch {
            self.set_ballot(epoch, None, None, env);
        }
        self.dismiss_fetchers(was_leader, env);
        match kept {
            _ if !self.is_voter() => {}
            Some(deadline) => self.arm_election(deadline, env),
            None => self.arm_election_timeout(env),
        }
    }

    /// Votes for a candidate of this epoch. The answer waits until that is durable.
    pub(super) fn become_voted(
        &mut self,
        candidate: NodeId,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let epoch = self.ballot.epoch;
        self.change_role(Role::Voted { candidate }, epoch, env, facts);
        self.set_ballot(epoch, Some(candidate), None, env);
        env.note(Note::QuorumVoted { epoch, candidate });
        self.arm_election_timeout(env);
    }

    /// Asks the others whether it could win (KIP-996).
    pub(super) fn become_prospective(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        let epoch = self.ballot.epoch;
        let mut votes = Votes::default();
        votes.count(self.settings.node, true);
        self.change_role(Role::Prospective(votes), epoch, env, facts);
        env.note(Note::QuorumCandidate { epoch, pre_vote: true });
        self.arm_election_timeout(env);
    }

    /// The pre-vote failed: returns to the role that the ballot gives it in this epoch.
    pub(super) fn give_up_prospect(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        let Ballot { epoch, voted, leader } = self.ballot;
        let leader =
            leader.filter(|leader| *leader != self.settings.node && self.ended != Some(epoch));
        if let Some(leader) = leader {
            return self.become_follower(epoch, leader, env, facts);
        }
        self.retries = self.retries.saturating_add(1);
        let role = match voted {
            Some(candidate) => Role::Voted { candidate },
            None => Role::Unattached,
        };
        self.change_role(role, epoch, env, facts);
        self.arm_election_backoff(env);
    }

    /// Stands for the next epoch.
    pub(super) fn become_candidate(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if self.ballot.epoch.0 == i32::MAX {
            return self.refuse("the quorum has no epochs left", facts);
        }
        let epoch = self.ballot.epoch.next();
        self.change_role(Role::Candidate(Votes::default()), epoch, env, facts);
        self.set_ballot(epoch, Some(self.settings.node), None, env);
        env.note(Note::QuorumCandidate { epoch, pre_vote: false });
        self.arm_election_timeout(env);
        self.count_own_vote(env, facts);
    }

    /// Won the election.
    pub(super) fn become_leader(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        let Role::Candidate(votes) = &self.role else { panic!("only a candidate wins") };
        let granted = votes.granted();
        let (epoch, start) = (self.ballot.epoch, self.log_end());
        let leadership = self.new_leadership(start, env);
        self.change_role(Role::Leader(leadership), epoch, env, facts);
        self.retries = 0;
        self.set_ballot(epoch, Some(self.settings.node), Some(self.settings.node), env);
        self.begin_leading(granted, env);
    }

    /// Only under a flaw: goes on leading the epoch that it led before the restart.
    pub(super) fn resume_leading(&mut self, env: &mut dyn Env) {
        let leadership = self.new_leadership(self.log_end(), env);
        self.role = Role::Leader(leadership);
        self.begin_leading(self.settings.voters.clone(), env);
    }

    /// Heard of a leader.
    pub(super) fn become_follower(
        &mut self,
        epoch: LeaderEpoch,
        leader: NodeId,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let was_leader = self.is_leader();
        let role = self.role.with_leader(leader);
        self.change_role(role, epoch, env, facts);
        let voted = self.ballot.voted.filter(|_| epoch == self.ballot.epoch);
        self.retries = 0;
        self.set_ballot(epoch, voted, Some(leader), env);
        self.dismiss_fetchers(was_leader, env);
        self.follow_noted = false;
        self.note_following(env);
        if self.is_voter() {
            let deadline = env.now().after(self.settings.timing.fetch_timeout);
            self.arm_election(deadline, env);
        }
    }

    /// Notes that this node follows, once the epoch is on disk. Only then does it fetch, which
    /// tells the leader that it follows.
    pub(super) fn note_following(&mut self, env: &mut dyn Env) {
        let epoch = self.ballot.epoch;
        let Some(leader) = self.role.followed() else { return };
        if self.durable.epoch == epoch && !self.follow_noted {
            self.follow_noted = true;
            env.note(Note::QuorumFollower { epoch, leader });
        }
    }

    /// Resigns in the epoch that it leads.
    pub(super) fn become_resigned(
        &mut self,
        check_quorum: bool,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let epoch = self.ballot.epoch;
        let others: BTreeSet<NodeId> = self.others().collect();
        let successors = self.role.leadership().map(Leadership::successors).unwrap_or_default();
        let role = Role::Resigned { successors, unacknowledged: others };
        self.change_role(role, epoch, env, facts);
        self.dismiss_fetchers(true, env);
        env.note(Note::QuorumResigned { epoch, check_quorum });
        self.arm_election_timeout(env);
    }

    /// Takes the role of a restarted node ([`Role::restored`]).
    pub(super) fn resume_role(&mut self, env: &mut dyn Env) {
        let Ballot { epoch, leader, .. } = self.ballot;
        let (node, voter) = (self.settings.node, self.is_voter());
        let led = voter && leader == Some(node);
        if led && self.settings.flaws.has(Flaw::LeaderResumesEpoch) {
            return self.resume_leading(env);
        }
        self.role = Role::restored(self.ballot, node, voter);
        if let Role::Follower { leader, .. } = self.role {
            env.note(Note::QuorumFollower { epoch, leader });
        }
        if voter {
            self.arm_election_timeout(env);
        }
    }

    /// Takes the epoch and leader from a message, if they are news.
    pub(super) fn learn(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let voters = &self.settings.voters;
        let leader = leader.filter(|l| *l != self.settings.node && voters.contains(l));
        match (epoch.cmp(&self.ballot.epoch), leader) {
            (Ordering::Less, _) | (Ordering::Equal, None) => {}
            (Ordering::Greater, Some(leader)) => self.become_follower(epoch, leader, env, facts),
            (Ordering::Greater, None) => self.become_unattached(epoch, env, facts),
            (Ordering::Equal, Some(leader)) => {
                let from = self.role.name();
                // For a node that looks for a successor, the name of its lost leader is no news:
                // even the voter that grants its pre-vote still names that leader.
                let lost = from == RoleName::Prospective
                    && self.ballot.leader == Some(leader)
                    && !self.settings.flaws.has(Flaw::LostLeaderIsNews);
                // An epoch has one leader.
                let other = self.ballot.leader.is_some_and(|known| known != leader);
                let open = self.leader().is_none() && self.ended != Some(epoch) && !lost && !other;
                let to = if from == RoleName::Observer { from } else { RoleName::Follower };
                if open && allowed(from, to, Ordering::Equal, false) {
                    self.become_follower(epoch, leader, env, facts);
                }
            }
        }
    }
}
