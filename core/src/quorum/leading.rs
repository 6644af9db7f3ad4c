//! A leader's work: it begins its epoch, counts its followers, advances the high watermark, and
//! steps down when it does not hear from a majority.

use alloc::vec::Vec;

use super::replay::Decoded;
use super::roles::{Leadership, Role};
use super::{Quorum, QuorumFact};
use crate::batch::{Batch, BatchBuilder};
use crate::env::Env;
use crate::event::TimerKey;
use crate::metadata::{LeaderChangeMessage, MetadataRecord, leader_change_key};
use crate::note::Note;
use crate::types::{Monotonic, NodeId, Offset};

impl Quorum {
    pub(super) fn new_leadership(&mut self, start: Offset, env: &mut dyn Env) -> Leadership {
        let alone = self.others().next().is_none();
        let check_quorum = (!alone).then(|| self.arm_check_quorum(env));
        Leadership::new(start, self.others(), check_quorum)
    }

    /// A majority must fetch within one and a half fetch timeouts (KIP-595): after that, the others
    /// have given this leader up.
    fn arm_check_quorum(&self, env: &mut dyn Env) -> Monotonic {
        let timeout = self.settings.timing.fetch_timeout;
        let deadline = env.now().after(timeout + timeout / 2);
        env.arm(TimerKey::CheckQuorum, deadline);
        deadline
    }

    /// Appends the epoch's first record, which names the leader. No record of an earlier epoch is
    /// committed before it.
    pub(super) fn begin_leading(&mut self, granting_voters: Vec<NodeId>, env: &mut dyn Env) {
        let (epoch, start) = (self.ballot.epoch, self.log_end());
        let leader = self.settings.node;
        let voters = self.settings.voters.clone();
        let message = LeaderChangeMessage { leader, voters, granting_voters };
        let mut builder = BatchBuilder::new();
        let (key, value) = (leader_change_key(), message.encode());
        builder.control().push(env.wall().0, Some(&key), Some(&value), &[]);
        self.append_batch(builder.build(start, epoch), Vec::new(), env);
        env.note(Note::QuorumLeader { epoch, start });
    }

    /// Appends metadata records as one atomic batch and returns the end offset after them. `None`
    /// unless this node leads and [`QuorumFact::BecameLeader`] was reported. The records are
    /// committed by a later event, never by this call.
    pub fn append(&mut self, records: &[MetadataRecord], env: &mut dyn Env) -> Option<Offset> {
        let Role::Leader(Leadership { active: true, .. }) = &self.role else { return None };
        assert!(!records.is_empty(), "an append has records");
        let base = self.log_end();
        let now = env.wall().0;
        let mut builder = BatchBuilder::new();
        for record in records {
            builder.push(now, None, Some(&record.encode()), &[]);
        }
        let batch = builder.build(base, self.ballot.epoch);
        let offsets = (base.0..).map(Offset);
        self.append_batch(batch, offsets.zip(records.iter().cloned()).collect(), env);
        Some(self.log_end())
    }

    fn append_batch(
        &mut self,
        batch: Batch,
        records: Vec<(Offset, MetadataRecord)>,
        env: &mut dyn Env,
    ) {
        self.pending.push(Decoded {
            base: batch.base_offset,
            next: batch.next_offset(),
            epoch: batch.leader_epoch,
            records,
        });
        let (partition, epoch) = (crate::types::TopicPartition::METADATA, batch.leader_epoch);
        let (first, end) = (batch.base_offset, batch.next_offset());
        self.running_log().append_built(batch, env);
        env.note(Note::LeaderAppended { partition, epoch, first, end });
    }

    /// A voter's fetch at `end` proves that it has synced everything below (K2). Any fetch in this
    /// epoch shows that the voter knows of the epoch.
    pub(super) fn on_follower_progress(
        &mut self,
        voter: NodeId,
        end: Option<Offset>,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(majority) = leadership.on_fetch(voter, end) else { return };
        if majority {
            let deadline = self.arm_check_quorum(env);
            let Role::Leader(leadership) = &mut self.role else { return };
            leadership.check_quorum = Some(deadline);
        }
        self.advance_high_watermark(env, facts);
    }

    /// Commits what a majority has synced ([`Leadership::agreed`]).
    pub(super) fn advance_high_watermark(
        &mut self,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let Role::Leader(leadership) = &self.role else { return };
        let own = self.log.as_ref().map_or(Offset::ZERO, |log| log.synced_end());
        let Some(agreed) = leadership.agreed(own) else { return };
        if self.high_watermark.is_some_and(|known| agreed <= known) {
            return;
        }
        let activate = !leadership.active;
        self.commit_upto(agreed, env, facts);
        if activate {
            let epoch = self.ballot.epoch;
            let Role::Leader(leadership) = &mut self.role else { return };
            leadership.active = true;
            facts.push(QuorumFact::BecameLeader { epoch });
        }
        self.wake_fetches(env);
    }

    /// The CheckQuorum timer: too few voters fetched, or none. The leader resigns even if it was
    /// stalled itself and fetches are waiting unread: followers give a leader up after one fetch
    /// timeout, and this timer lasts one and a half, so they have given it up.
    pub(super) fn check_quorum(
        &mut self,
        deadline: Monotonic,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        match &self.role {
            Role::Leader(leadership) if leadership.check_quorum == Some(deadline) => {
                self.become_resigned(true, env, facts);
            }
            Role::Leader(_)
            | Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Follower { .. }
            | Role::Resigned { .. }
            | Role::Observer { .. } => {}
        }
    }
}
