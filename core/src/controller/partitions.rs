//! Changes of partitions: clean election and AlterPartition (Kafka's `PartitionChangeBuilder` and
//! `ReplicationControlManager`).
//!
//! Election: the leader stays if it is valid; otherwise the first replica, in assignment order,
//! that is in the ISR and active; otherwise none. A leader field in the change, even with the same
//! leader or none, starts a new leader epoch. Any change starts a new partition epoch.

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

/// The change from a registration to the target ISR, including the leader that it elects, or `None`
/// if nothing changes. An empty target keeps the ISR (its last member stays in it), but elects none
/// of its members.
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
    /// Removes a broker from every ISR (unless it is the last member) and from every leadership.
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

    /// Elects leaders for leaderless partitions; `unfenced` already counts as active.
    pub(super) fn elect_leaderless(&self, unfenced: Option<NodeId>) -> Vec<MetadataRecord> {
        let acceptable = |node| Some(node) == unfenced || self.image.is_active(node);
        let leaderless = self.image.partitions().filter(|(_, p)| p.leader.is_none());
        leaderless
            .filter_map(|(at, old)| partition_change(at, old, &old.isr, acceptable))
            .map(MetadataRecord::PartitionChange)
            .collect()
    }

    /// Whether this broker leads any partition.
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
        // Registrations as changed by earlier entries of the same request.
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
        // An accepted change always increments the partition epoch, even if the ISR stays the same.
        // This makes the leader's earlier requests void (see `crate::replica::isr`).
        let mut change = change.unwrap_or_else(|| PartitionChangeRecord {
            isr: Some(target),
            ..PartitionChangeRecord::of(at)
        });
        // The leader sent this, is in the new ISR and was just found eligible. (With reassignment,
        // a change could complete it and elect a leader: NEW_LEADER_ELECTED.)
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
        // A leader that knows newer epochs than this controller follows another controller.
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
            // -1: the leader uses version 2 or does not know the epoch (KIP-903).
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
