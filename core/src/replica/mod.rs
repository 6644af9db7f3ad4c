//! A partition's replica on one broker: its log, its high watermark and its role.
//!
//! The role follows the registrations that the controller commits: [`Partition::apply`] is the only
//! way into a new one. Leader-only state is in [`leader`], the in-sync set in [`isr`], a follower's
//! handling of fetched data in [`follower`], the fetching itself in [`fetcher`], and truncation
//! together with the checkpoints on disk in [`claims`]. Requests are unpacked in [`crate::api`];
//! fetched data is the only wire message that gets here.

#[cfg(test)]
mod alteration_tests;
pub mod caches;
pub mod claims;
pub mod fetcher;
pub mod follower;
pub mod isr;
pub mod leader;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::VerifiedBatch;
use crate::config::{NodeConfig, TopicConfig};
use crate::env::{Disk, Env};
use crate::error_code::ErrorCode;
use crate::event::{DiskDone, DiskError, DiskOpKind, ReplyTo, TimerKey};
use crate::flaw::{Flaw, FlawSet};
use crate::log::{Appended, Damage, LogConfig, LogEvent, PartitionLog, RecoveryHint};
use crate::metadata::{MetadataImage, PartitionRegistration};
use crate::msg::{AlterPartitionData, AlterPartitionResult};
use crate::note::{Note, TruncationReason};
use crate::types::{
    BrokerEpoch, DirId, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionId,
    TopicPartition,
};

use claims::Claims;
use isr::IsrState;
use leader::{FetchClaim, LeaderRules, LeaderState};

/// Something that one component reports to the others; the router passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The log has been opened and checked.
    Recovered(PartitionId),
    /// Followers can read more, or the follower may fetch on.
    LogEndAdvanced(PartitionId),
    /// Consumers can read more.
    HighWatermarkAdvanced(PartitionId),
    /// The log is to be cut below a checkpointed offset, which has to be lowered durably first.
    CutBelowClaim(PartitionId),
    /// A parked produce has reached its offset (or got an error).
    ProduceReached(PartitionId, ReplyTo, Offset, ErrorCode),
    /// The leader wants to change the ISR.
    IsrChangeWanted(PartitionId),
    /// The role or epoch changed: everything parked here must be re-evaluated.
    RoleChanged(PartitionId),
    /// A disk operation failed: the log directory goes offline.
    DiskFailed(DiskOpKind, DiskError),
    /// The data on disk cannot be trusted.
    Corrupt(PartitionId, Damage),
}

/// The role of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// No registration applied yet.
    None,
    /// It leads.
    Leader(LeaderState),
    /// It follows, or waits for a leader.
    Follower {
        /// The leader, if there is one.
        leader: Option<NodeId>,
        /// The leader epoch.
        epoch: LeaderEpoch,
    },
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    id: PartitionId,
    topic_partition: TopicPartition,
    topic: String,
    me: NodeId,
    flaws: FlawSet,
    lag_max: Duration,
    config: TopicConfig,
    log: PartitionLog,
    high_watermark: Offset,
    role: Role,
    registration: PartitionRegistration,
    /// A registration that waits for the log to be ready.
    target: Option<PartitionRegistration>,
    /// The highest offsets that the checkpoints on disk may contain.
    on_disk: Claims,
    /// A cut that waits for the checkpoints to be lowered.
    pending_cut: Option<(Offset, TruncationReason)>,
}

impl Partition {
    /// Opens the replica's log in `<topic>-<partition>`. `recovery` and `high_watermark` come from
    /// the checkpoints; the latter is a lower bound.
    pub fn open(
        id: PartitionId,
        topic_partition: TopicPartition,
        topic: String,
        topic_config: TopicConfig,
        node: &NodeConfig,
        recovery: RecoveryHint,
        high_watermark: Offset,
        disk: &mut dyn Disk,
    ) -> Partition {
        let dir_name = dir_name(&topic, topic_partition.partition);
        let log_config = LogConfig::of(&topic_config, node);
        let dir = DirId::of_partition(id);
        let log = PartitionLog::open(dir, &dir_name, topic_partition, log_config, recovery, disk);
        Partition {
            id,
            topic_partition,
            topic,
            me: node.node,
            flaws: node.flaws,
            lag_max: node.replica_lag_time_max,
            config: topic_config,
            log,
            high_watermark,
            role: Role::None,
            registration: PartitionRegistration::default(),
            target: None,
            on_disk: Claims { high_watermark, recovery_point: recovery.recovery_point },
            pending_cut: None,
        }
    }

    /// Its id on this node.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its topic and partition.
    pub fn topic_partition(&self) -> TopicPartition {
        self.topic_partition
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The directory of its log.
    pub fn dir_name(&self) -> String {
        dir_name(&self.topic, self.topic_partition.partition)
    }

    /// The topic's configuration.
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// The log.
    pub fn log(&self) -> &PartitionLog {
        &self.log
    }

    /// Drops the batches cached in memory. The log has them on disk.
    pub fn drop_cache(&mut self) {
        self.log.drop_cache();
    }

    /// The high watermark: records below it are committed. At most the log end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The role.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The leader's state, if it leads.
    pub fn leader_state(&self) -> Option<&LeaderState> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::None | Role::Follower { .. } => None,
        }
    }

    fn leader_mut(&mut self) -> Option<&mut LeaderState> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::None | Role::Follower { .. } => None,
        }
    }

    /// The leader epoch of the applied registration; -1 before the first.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::None => LeaderEpoch::NONE,
            Role::Leader(leader) => leader.epoch,
            Role::Follower { epoch, .. } => *epoch,
        }
    }

    /// The leader, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::None => None,
            Role::Leader(_) => Some(self.me),
            Role::Follower { leader, .. } => *leader,
        }
    }

    /// The registration that the current role comes from.
    pub fn registration(&self) -> &PartitionRegistration {
        &self.registration
    }

    fn rules(&self) -> LeaderRules {
        let min_isr = usize::try_from(self.config.min_insync_replicas).unwrap_or(1);
        LeaderRules {
            me: self.me,
            min_isr: min_isr.min(self.registration.replicas.len()).max(1),
            lag_max: self.lag_max,
            flaws: self.flaws,
        }
    }

    // ---- registrations -------------------------------------------------------------------------

    /// Applies a committed registration. One that is older than the applied one is ignored; one
    /// that arrives while the log is not ready waits for it.
    pub fn apply(
        &mut self,
        registration: &PartitionRegistration,
        image: &MetadataImage,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let known = self.target.as_ref().unwrap_or(&self.registration);
        if self.role != Role::None && registration.partition_epoch < known.partition_epoch {
            return;
        }
        if !self.log.is_ready() {
            self.target = Some(registration.clone());
            return;
        }
        self.target = None;
        let same_epoch = registration.leader_epoch == self.leader_epoch();
        if !same_epoch {
            // The truncation point was computed against the leader of another epoch.
            self.pending_cut = None;
        }
        self.registration = registration.clone();
        let leads = registration.leader == Some(self.me);
        match &mut self.role {
            Role::Leader(leader) if leads && same_epoch => {
                let epoch = registration.partition_epoch;
                if epoch > leader.isr.partition_epoch() {
                    leader.isr.commit(registration.isr.clone(), epoch);
                    self.on_isr_committed(env, facts);
                }
            }
            Role::Follower { leader, epoch } if !leads && *epoch == registration.leader_epoch => {
                // The leader of an epoch is fixed, but it may disappear or become known.
                if *leader != registration.leader {
                    *leader = registration.leader;
                    facts.push(Fact::RoleChanged(self.id));
                }
            }
            Role::None | Role::Leader(_) | Role::Follower { .. } => {
                self.leave_role(facts);
                if leads {
                    self.become_leader(env);
                } else {
                    self.become_follower(env, facts);
                }
                facts.push(Fact::RoleChanged(self.id));
            }
        }
        self.refresh_brokers(image);
        self.advance_high_watermark(env, facts);
    }

    fn on_isr_committed(&mut self, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let (id, partition, rules) = (self.id, self.topic_partition, self.rules());
        let Some(leader) = self.leader_mut() else { return };
        env.note(Note::IsrCommitted {
            partition,
            isr: leader.isr.members().to_vec(),
            partition_epoch: leader.isr.partition_epoch(),
        });
        // Enough members were in sync when the record was appended. Now there are too few, and the
        // high watermark does not advance until there are enough again (KIP-966). So the client
        // learns at once that its record is appended, but not as safely as it asked for. (Kafka
        // reports this when the high watermark advances, which since KIP-966 happens only in a
        // race; otherwise the client waits for its timeout.)
        if leader.is_under_min_isr(&rules) {
            for reply_to in leader.replicated_waiters.drain() {
                let error = ErrorCode::NotEnoughReplicasAfterAppend;
                facts.push(Fact::ProduceReached(id, reply_to, Offset(i64::MAX), error));
            }
        }
    }

    /// This broker no longer hosts the partition: fails all waiting requests.
    pub fn abandon(&mut self, facts: &mut Vec<Fact>) {
        self.leave_role(facts);
    }

    fn leave_role(&mut self, facts: &mut Vec<Fact>) {
        let id = self.id;
        if let Some(leader) = self.leader_mut() {
            let waiting = leader.local_waiters.drain().into_iter();
            for reply_to in waiting.chain(leader.replicated_waiters.drain()) {
                // The record stays in our log; it may or may not survive under the next leader.
                let error = ErrorCode::NotLeaderOrFollower;
                facts.push(Fact::ProduceReached(id, reply_to, Offset(i64::MAX), error));
            }
        }
    }

    fn become_leader(&mut self, env: &mut dyn Env) {
        let registration = &self.registration;
        let rules = self.rules();
        let now = env.now();
        self.log.assign_epoch_start(registration.leader_epoch, env);
        let isr = IsrState::committed(registration.isr.clone(), registration.partition_epoch);
        let mut leader = LeaderState::new(
            registration.leader_epoch,
            self.log.log_end(),
            isr,
            &registration.replicas,
            &rules,
            now,
        );
        leader.isr_check = now.after(self.lag_max / 2);
        env.arm(TimerKey::IsrCheck(self.id), leader.isr_check);
        env.note(Note::BecameLeader {
            partition: self.topic_partition,
            epoch: leader.epoch,
            start: leader.epoch_start,
            high_watermark: self.high_watermark,
            isr: leader.isr.members().to_vec(),
            partition_epoch: leader.isr.partition_epoch(),
        });
        self.role = Role::Leader(leader);
    }

    fn become_follower(&mut self, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let registration = &self.registration;
        let (leader, epoch) = (registration.leader, registration.leader_epoch);
        self.role = Role::Follower { leader, epoch };
        env.note(Note::BecameFollower {
            partition: self.topic_partition,
            epoch,
            leader,
            log_end: self.log.log_end(),
            high_watermark: self.high_watermark,
        });
        // A follower keeps its log until a leader reports where the two diverge (KIP-101).
        if self.flaws.has(Flaw::TruncateToHighWatermark) {
            self.truncate(self.high_watermark, TruncationReason::OwnHighWatermark, env, facts);
        }
    }

    /// Applies the topic's configuration, which after a start becomes known only with the metadata.
    pub fn set_config(&mut self, config: TopicConfig, disk: &mut dyn Disk) {
        if self.config != config {
            self.log.set_config(self.log.config().changed(&config), disk);
            self.config = config;
        }
    }

    /// Takes from the metadata which brokers are alive and their broker epochs. These decide whose
    /// fetches count and who may join the ISR.
    pub fn refresh_brokers(&mut self, image: &MetadataImage) {
        if let Role::Leader(leader) = &mut self.role {
            for (node, progress) in &mut leader.followers {
                let registration = image.brokers.get(node);
                progress.registered_as = registration.map(|broker| broker.epoch);
                progress.is_alive = image.is_active(*node);
            }
        }
    }

    // ---- disk ----------------------------------------------------------------------------------

    /// A disk completion in this partition's directory (not the read of a fetch or look-up).
    pub fn on_disk(
        &mut self,
        done: &DiskDone,
        image: &MetadataImage,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let event = self.log.on_disk(done, env);
        match event {
            LogEvent::None => {}
            LogEvent::Recovered => {
                self.high_watermark = self.high_watermark.min(self.log.log_end());
                facts.push(Fact::Recovered(self.id));
                self.apply_target(image, env, facts);
            }
            LogEvent::Truncated => {
                self.high_watermark = self.high_watermark.min(self.log.log_end());
                self.apply_target(image, env, facts);
                facts.push(Fact::LogEndAdvanced(self.id));
            }
            LogEvent::Progress => self.on_progress(env, facts),
            LogEvent::Corrupt(damage) => facts.push(Fact::Corrupt(self.id, damage)),
            LogEvent::Failed(op, error) => facts.push(Fact::DiskFailed(op, error)),
        }
    }

    fn apply_target(&mut self, image: &MetadataImage, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        if let Some(target) = self.target.take() {
            self.apply(&target, image, env, facts);
        }
    }

    fn on_progress(&mut self, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let counted = self.log.counted_end();
        let id = self.id;
        if let Some(leader) = self.leader_mut() {
            while let Some((needs, reply_to)) = leader.local_waiters.pop(counted) {
                facts.push(Fact::ProduceReached(id, reply_to, needs, ErrorCode::None));
            }
        }
        facts.push(Fact::LogEndAdvanced(self.id));
        self.advance_high_watermark(env, facts);
    }

    // ---- leading -------------------------------------------------------------------------------

    /// Recomputes the leader's high watermark, which never decreases.
    pub fn advance_high_watermark(&mut self, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let rules = self.rules();
        let own_end = self.log.counted_end();
        let leader_end = self.log.written_end();
        let (id, from) = (self.id, self.high_watermark);
        let now = env.now();
        let Some(leader) = self.leader_mut() else { return };
        let Some(to) = leader.high_watermark(own_end, leader_end, &rules, now) else { return };
        if to <= from {
            return;
        }
        while let Some((needs, reply_to)) = leader.replicated_waiters.pop(to) {
            facts.push(Fact::ProduceReached(id, reply_to, needs, ErrorCode::None));
        }
        self.high_watermark = to;
        env.note(Note::HighWatermark { partition: self.topic_partition, leader: true, from, to });
        facts.push(Fact::HighWatermarkAdvanced(self.id));
    }

    /// Appends a client's batch.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`; with `acks` -1, `NOT_ENOUGH_REPLICAS` if the committed ISR is
    /// below `min.insync.replicas`. In either case nothing was appended.
    pub fn append_as_leader(
        &mut self,
        batch: VerifiedBatch,
        acks: i16,
        env: &mut dyn Env,
    ) -> Result<Appended, ErrorCode> {
        let rules = self.rules();
        let Role::Leader(leader) = &self.role else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        if acks == -1 && leader.is_under_min_isr(&rules) {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        let epoch = leader.epoch;
        let wall = env.wall();
        let appended = self.log.append_as_leader(batch, epoch, wall, env);
        env.note(Note::LeaderAppended {
            partition: self.topic_partition,
            epoch,
            first: appended.first,
            end: appended.end,
        });
        Ok(appended)
    }

    /// Parks a produce until our own log counts `needs` (acks=1) or it is committed (acks=all).
    pub fn wait_for(&mut self, acks: i16, needs: Offset, reply_to: ReplyTo) {
        // acks=all means every in-sync replica, not only this one.
        let replicated = acks == -1 && !self.flaws.has(Flaw::AckAtLeaderAppend);
        if let Some(leader) = self.leader_mut() {
            if replicated {
                leader.replicated_waiters.add(needs, reply_to);
            } else {
                leader.local_waiters.add(needs, reply_to);
            }
        }
    }

    /// A parked produce gave up.
    pub fn stop_waiting(&mut self, needs: Offset, reply_to: ReplyTo) {
        if let Some(leader) = self.leader_mut() {
            leader.replicated_waiters.remove(needs, reply_to);
            leader.local_waiters.remove(needs, reply_to);
        }
    }

    /// A follower's fetch was read: the follower has everything below `offset`.
    pub fn on_follower_fetch(
        &mut self,
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        offset: Offset,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) -> FetchClaim {
        let (rules, high_watermark, now) = (self.rules(), self.high_watermark, env.now());
        let leader_end = self.log.written_end();
        let Some(leader) = self.leader_mut() else { return FetchClaim::Stale };
        let claim = leader.on_follower_fetch(follower, broker_epoch, offset, leader_end, now);
        if claim == FetchClaim::Heard {
            let wanted = leader.expansion(follower, high_watermark, &rules);
            self.propose(wanted, env, facts);
            self.advance_high_watermark(env, facts);
        }
        claim
    }

    /// The timer of the check for followers that fell behind.
    pub fn on_isr_check(&mut self, deadline: Monotonic, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let (rules, leader_end, now) = (self.rules(), self.log.written_end(), env.now());
        let (id, lag_max) = (self.id, self.lag_max);
        let next = now.after(lag_max / 2);
        let Some(leader) = self.leader_mut() else { return };
        if leader.isr_check != deadline || now < deadline {
            return;
        }
        leader.isr_check = next;
        env.arm(TimerKey::IsrCheck(id), next);
        // The timer fired even later than the next check was due: this node was stalled, and the
        // fetches that its followers sent meanwhile have not been read yet. Kafka shrinks the ISR
        // to the leader here. With its defaults this leader has been fenced long before
        // (replica.lag.time.max.ms is more than three sessions), so the proposal is rejected. Other
        // configurations do not guarantee that.
        let late = deadline.after(lag_max / 2) < now;
        leader.isr_check_skipped = late && !leader.isr_check_skipped;
        if leader.isr_check_skipped {
            return;
        }
        let wanted = leader.shrink(leader_end, &rules, now);
        self.propose(wanted, env, facts);
        // A follower that counted because it was caught up may have fallen behind.
        self.advance_high_watermark(env, facts);
    }

    fn propose(&mut self, isr: Option<Vec<NodeId>>, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        if let (Some(isr), Some(leader)) = (isr, self.leader_mut()) {
            let proposal = leader.with_broker_epochs(isr);
            self.ask_for(proposal, env, facts);
        }
    }

    fn ask_for(
        &mut self,
        proposal: Vec<(NodeId, BrokerEpoch)>,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let (id, partition) = (self.id, self.topic_partition);
        let Some(leader) = self.leader_mut() else { return };
        env.note(Note::IsrProposed {
            partition,
            from: leader.isr.members().to_vec(),
            to: proposal.iter().map(|(node, _)| *node).collect(),
            partition_epoch: leader.isr.partition_epoch(),
        });
        leader.isr.propose(proposal);
        facts.push(Fact::IsrChangeWanted(id));
    }

    /// The proposal for the AlterPartition request of this number, if one is to be sent: leader
    /// epoch, partition epoch, and members with the broker epochs that their fetches carried when
    /// the proposal was made (KIP-903).
    pub fn send_proposal(
        &mut self,
        request: u64,
        own_epoch: BrokerEpoch,
    ) -> Option<AlterPartitionData> {
        let me = self.me;
        let partition = self.topic_partition.partition;
        let leader = self.leader_mut()?;
        let isr = leader.isr.send(request)?.to_vec();
        let with_own = |(node, epoch)| (node, if node == me { own_epoch } else { epoch });
        Some(AlterPartitionData {
            partition,
            leader_epoch: leader.epoch,
            new_isr: isr.into_iter().map(with_own).collect(),
            leader_recovery_state: 0,
            partition_epoch: leader.isr.partition_epoch(),
        })
    }

    /// Handles the controller's answer to a proposal sent in this request, or `None` if the request
    /// failed. Returns whether a proposal remains to be sent. The outcome of a request that does
    /// not carry the current proposal is ignored: its own proposal has been decided already.
    ///
    /// Source: Kafka's `Partition.handleAlterPartitionError`: a definite refusal ends the proposal,
    /// an outdated view keeps it until metadata arrive, anything else is sent again. Kafka does not
    /// handle unanswered copies; see [`isr`].
    pub fn on_alter_partition(
        &mut self,
        request: u64,
        result: Option<&AlterPartitionResult>,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) -> bool {
        let (partition, me) = (self.topic_partition, self.me);
        let refusal_is_final = self.flaws.has(Flaw::RefusalIsFinal);
        let Role::Leader(leader) = &mut self.role else { return false };
        if !leader.isr.is_sent_in(request) {
            return false;
        }
        // A result that the controller cannot have sent is treated as no answer.
        let result = result.filter(|it| follows(it, leader, &self.registration.replicas, me));
        let error = result.map(|result| result.error);
        if let Some(error) = error.filter(|error| !error.is_ok()) {
            env.note(Note::IsrRefused { partition, error });
        }
        match (error, result) {
            (None, _) | (_, None) => {
                leader.isr.unanswered();
                let unsettled = leader.isr.unsettled().collect();
                env.note(Note::IsrUnanswered { partition, unsettled });
            }
            (Some(ErrorCode::None), Some(result)) => {
                let newer = result.partition_epoch > leader.isr.partition_epoch();
                if result.leader_epoch == leader.epoch && newer {
                    leader.isr.commit(result.isr.clone(), result.partition_epoch);
                    self.registration.isr = result.isr.clone();
                    self.registration.partition_epoch = result.partition_epoch;
                    self.on_isr_committed(env, facts);
                    self.advance_high_watermark(env, facts);
                } else if result.leader_epoch == leader.epoch {
                    // Nothing changed: the ISR is already the one we asked for.
                    leader.isr.refused();
                }
            }
            // It changed nothing. (Our proposals name only the partition's replicas, including us.
            // A controller that finds them invalid reads them differently, and no metadata will say
            // why.)
            (
                Some(
                    ErrorCode::IneligibleReplica
                    | ErrorCode::OperationNotAttempted
                    | ErrorCode::InvalidRequest,
                ),
                _,
            ) => {
                leader.isr.refused();
                if refusal_is_final {
                    leader.isr.forget_unsettled();
                }
            }
            // The controller has committed a newer registration, or removed it. The metadata will
            // say so; until then every node that the proposal names counts.
            (
                Some(
                    ErrorCode::NewLeaderElected
                    | ErrorCode::FencedLeaderEpoch
                    | ErrorCode::InvalidUpdateVersion
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::UnknownTopicId,
                ),
                _,
            ) => {}
            (Some(_), _) => leader.isr.retry(),
        }
        self.ask_again(env, facts)
    }

    /// Asks again, if a proposal is still to be sent. If copies of an earlier proposal may yet be
    /// executed, proposes an ISR that settles the nodes they name.
    fn ask_again(&mut self, env: &mut dyn Env, facts: &mut Vec<Fact>) -> bool {
        let id = self.id;
        let Some(leader) = self.leader_mut() else { return false };
        if let Some(settlement) = leader.isr.settlement() {
            self.ask_for(settlement, env, facts);
            return true;
        }
        let unsent = leader.isr.proposal().is_some_and(|proposal| proposal.sent.is_none());
        if unsent {
            facts.push(Fact::IsrChangeWanted(id));
        }
        unsent
    }

    /// The registration's partition epoch.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        match &self.role {
            Role::Leader(leader) => leader.isr.partition_epoch(),
            Role::None | Role::Follower { .. } => self.registration.partition_epoch,
        }
    }

    /// Checks the leader epoch that a request carries (KIP-320).
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH` for an older one, `UNKNOWN_LEADER_EPOCH` for a newer one.
    pub fn check_epoch(&self, epoch: LeaderEpoch, env: &mut dyn Env) -> Result<(), ErrorCode> {
        let ours = self.leader_epoch();
        let error = if epoch == LeaderEpoch::NONE || epoch == ours {
            return Ok(());
        } else if epoch < ours {
            ErrorCode::FencedLeaderEpoch
        } else {
            ErrorCode::UnknownLeaderEpoch
        };
        env.note(Note::Fenced { partition: self.topic_partition, error });
        Err(error)
    }

    /// Whether everything that this replica has, and will have, is durable, so that a stop may be
    /// marked clean. False while a cut reads or waits: the log that is durable now is then not the
    /// one that the mark would vouch for.
    pub fn is_flushed(&self) -> bool {
        let changes = !self.log.is_ready() || self.pending_cut.is_some();
        self.log.is_flushed() && !changes
    }

    /// Makes everything durable; for a graceful stop.
    pub fn flush(&mut self, disk: &mut dyn Disk) {
        self.log.flush(disk);
    }
}

/// Whether the controller can have sent this answer to a proposal of ours. Each acceptance raises
/// the partition epoch by one. Accepting an implausible one on trust would hide all later ones.
fn follows(
    result: &AlterPartitionResult,
    leader: &LeaderState,
    replicas: &[NodeId],
    me: NodeId,
) -> bool {
    let ours = leader.isr.partition_epoch();
    let distinct = |(at, node): (usize, &NodeId)| !result.isr[..at].contains(node);
    !result.error.is_ok()
        || result.leader_epoch != leader.epoch
        || result.partition_epoch <= ours
        || (result.leader == me
            && i64::from(result.partition_epoch.0) == i64::from(ours.0) + 1
            && result.isr.contains(&me)
            && result.isr.iter().all(|node| replicas.contains(node))
            && result.isr.iter().enumerate().all(distinct))
}

/// The directory of a partition's log.
pub fn dir_name(topic: &str, partition: i32) -> String {
    alloc::format!("{topic}-{partition}")
}

/// Topic and partition of a directory name made by [`dir_name`].
pub fn parse_dir_name(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let canonical = partition == "0" || !partition.starts_with('0');
    let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    let ours = digits && canonical && !topic.is_empty();
    Some((topic, ours.then(|| partition.parse().ok())??))
}
