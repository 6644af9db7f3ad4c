//! Changes of partitions: clean election and AlterPartition (Kafka's `PartitionChangeBuilder` and
//! `ReplicationControlManager`).
//!
//! Election: the leader stays if it is valid; else the first replica, in the order of assignment,
//! that is in the ISR and active; else nobody. A leader field in the change, also the same leader
//! or none, starts a new leader epoch; any change a new partition epoch.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::shard::{Decision, Shard};
use crate::error_code::ErrorCode;
use crate::metadata::{
    LeaderRecoveryState, MetadataRecord, PartitionChangeRecord, PartitionRegistration,
};
use crate::msg::{
    AlterPartitionData, AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResult,
    Response,
};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};

/// The change that leads from a registration to this ISR and whom it elects, or `None` if nothing
/// changes. An empty target leaves the ISR as it is (its last member stays in it) but elects
/// nobody of it.
pub(super) fn partition_change(
    at: TopicPartition,
    old: &PartitionRegistration,
    target_isr: &[NodeId],
    acceptable: impl Fn(NodeId) -> bool,
) -> Option<PartitionChangeRecord> {
    let valid = |node: &NodeId| target_isr.contains(node) && acceptable(*node);
    let elected = old
        .leader
        .filter(valid)
        .or_else(|| old.replicas.iter().copied().find(|replica| valid(replica)));
    let mut change = PartitionChangeRecord::of(at);
    if elected != old.leader {
        change.leader = Some(elected);
    }
    if !target_isr.is_empty() && target_isr != old.isr {
        change.isr = Some(target_isr.to_vec());
    }
    (change != PartitionChangeRecord::of(at)).then_some(change)
}

impl Shard {
    /// Takes a broker out of every ISR (but as the last member) and away from every leadership.
    pub(super) fn remove_from_isrs(&self, broker: NodeId) -> Vec<MetadataRecord> {
        let acceptable = |node| node != broker && self.image.is_active(node);
        let with_broker = self.image.partitions().filter(|(_, p)| p.isr.contains(&broker));
        with_broker
            .filter_map(|(at, old)| {
                let rest: Vec<NodeId> =
                    old.isr.iter().copied().filter(|node| *node != broker).collect();
                partition_change(at, old, &rest, acceptable)
            })
            .map(MetadataRecord::PartitionChange)
            .collect()
    }

    /// Elects where there is no leader; `unfenced` counts as active already.
    pub(super) fn elect_leaderless(&self, unfenced: Option<NodeId>) -> Vec<MetadataRecord> {
        let acceptable = |node| Some(node) == unfenced || self.image.is_active(node);
        let leaderless = self.image.partitions().filter(|(_, p)| p.leader.is_none());
        leaderless
            .filter_map(|(at, old)| partition_change(at, old, &old.isr, acceptable))
            .map(MetadataRecord::PartitionChange)
            .collect()
    }

    /// Does this broker lead anything?
    pub(super) fn leads_any(&self, broker: NodeId) -> bool {
        self.image.partitions().any(|(_, partition)| partition.leader == Some(broker))
    }

    /// AlterPartition (KIP-497): a leader changes its ISR.
    pub(super) fn alter_partition(&self, request: &AlterPartitionRequest) -> Decision {
        let mut response = AlterPartitionResponse::default();
        if let Err(error) = self.check_broker_epoch(request.broker, request.broker_epoch) {
            response.error = error;
            return Decision::answer(Response::AlterPartition(response));
        }
        let mut records = Vec::new();
        // What earlier entries of the same request made of a partition.
        let mut changed: BTreeMap<TopicPartition, PartitionRegistration> = BTreeMap::new();
        for topic in &request.topics {
            let mut results = Vec::new();
            for data in &topic.partitions {
                let at = TopicPartition { topic: topic.id, partition: data.partition };
                let known = changed.get(&at).or_else(|| self.image.partition(at));
                let outcome = if self.image.topics.contains_key(&topic.id) {
                    self.alter_one(request.broker, at, known, data)
                } else {
                    Err(ErrorCode::UnknownTopicId)
                };
                results.push(match outcome {
                    Err(error) => alter_failed(data.partition, error),
                    Ok((record, new)) => {
                        records.push(MetadataRecord::PartitionChange(record));
                        let result = alter_succeeded(data.partition, &new);
                        changed.insert(at, new);
                        result
                    }
                });
            }
            response.topics.push((topic.id, results));
        }
        let mut decision = Decision::answer(Response::AlterPartition(response));
        decision.records = records;
        decision
    }

    fn alter_one(
        &self,
        broker: NodeId,
        at: TopicPartition,
        known: Option<&PartitionRegistration>,
        data: &AlterPartitionData,
    ) -> Result<(PartitionChangeRecord, PartitionRegistration), ErrorCode> {
        let old = known.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let recovery = self.check_alteration(broker, old, data)?;
        let target: Vec<NodeId> = data.new_isr.iter().map(|(node, _)| *node).collect();
        let change = partition_change(at, old, &target, |node| self.image.is_active(node));
        // What is accepted always moves the partition epoch, also if the ISR stays: that ends what the
        // leader's earlier requests may still do (see `crate::replica::isr`).
        let mut change = change.unwrap_or_else(|| PartitionChangeRecord {
            isr: Some(target),
            ..PartitionChangeRecord::of(at)
        });
        // The leader asks, is in the new ISR and was found eligible a moment ago. (With
        // reassignment, a change can complete it and elect: NEW_LEADER_ELECTED.)
        assert!(change.leader.is_none(), "{at} elected");
        if recovery != old.leader_recovery_state {
            change.leader_recovery_state = Some(recovery.value());
        }
        let new = old.changed(&change).map_err(|_| ErrorCode::UnknownServerError)?;
        Ok((change, new))
    }

    /// Kafka's checks, in Kafka's order (`validateAlterPartitionData`).
    fn check_alteration(
        &self,
        broker: NodeId,
        old: &PartitionRegistration,
        data: &AlterPartitionData,
    ) -> Result<LeaderRecoveryState, ErrorCode> {
        // A leader that knows more than this controller follows another controller.
        if data.leader_epoch > old.leader_epoch || data.partition_epoch > old.partition_epoch {
            return Err(ErrorCode::NotController);
        }
        if data.leader_epoch < old.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if old.leader != Some(broker) {
            return Err(ErrorCode::InvalidRequest);
        }
        if data.partition_epoch < old.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let distinct = |position: usize, node: NodeId| {
            data.new_isr[..position].iter().all(|(earlier, _)| *earlier != node)
        };
        let assigned = data
            .new_isr
            .iter()
            .enumerate()
            .all(|(i, (node, _))| old.replicas.contains(node) && distinct(i, *node));
        if data.new_isr.is_empty() || !assigned {
            return Err(ErrorCode::InvalidRequest);
        }
        if !data.new_isr.iter().any(|(node, _)| *node == broker) {
            return Err(ErrorCode::InvalidRequest);
        }
        let recovery =
            LeaderRecoveryState::of(data.leader_recovery_state).ok_or(ErrorCode::InvalidRequest)?;
        if recovery == LeaderRecoveryState::Recovering
            && (data.new_isr.len() > 1 || old.leader_recovery_state != recovery)
        {
            return Err(ErrorCode::InvalidRequest);
        }
        let eligible = |&(node, epoch): &(NodeId, BrokerEpoch)| {
            // -1: the leader speaks version 2 or does not know (KIP-903).
            self.image
                .alive(node)
                .is_some_and(|registered| epoch == BrokerEpoch::NONE || epoch == registered)
        };
        if !data.new_isr.iter().all(eligible) {
            return Err(ErrorCode::IneligibleReplica);
        }
        Ok(recovery)
    }
}

fn alter_failed(partition: i32, error: ErrorCode) -> AlterPartitionResult {
    AlterPartitionResult {
        partition,
        error,
        leader: NodeId::NONE,
        leader_epoch: LeaderEpoch::NONE,
        isr: Vec::new(),
        leader_recovery_state: 0,
        partition_epoch: PartitionEpoch(-1),
    }
}

fn alter_succeeded(partition: i32, new: &PartitionRegistration) -> AlterPartitionResult {
    AlterPartitionResult {
        partition,
        error: ErrorCode::None,
        leader: new.leader.unwrap_or(NodeId::NONE),
        leader_epoch: new.leader_epoch,
        isr: new.isr.clone(),
        leader_recovery_state: new.leader_recovery_state.value(),
        partition_epoch: new.partition_epoch,
    }
}
