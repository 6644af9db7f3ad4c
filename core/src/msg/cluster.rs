//! Messages between nodes other than Fetch: the quorum's votes, registration, heartbeats, ISR.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::NodeEndpoint;
use crate::types::{
    BrokerEpoch, Endpoint, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, Uuid,
};

/// Vote (key 52, versions 0 to 2) for `__cluster_metadata`-0, the only quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoteRequest {
    /// The cluster the candidate believes in.
    pub cluster_id: Option<String>,
    /// v1+: the voter that the request is for; -1 if not given.
    pub voter: NodeId,
    /// The candidate's epoch (in a pre-vote: its current epoch).
    pub epoch: LeaderEpoch,
    /// The candidate.
    pub candidate: NodeId,
    /// v1+.
    pub candidate_directory_id: Uuid,
    /// v1+.
    pub voter_directory_id: Uuid,
    /// Epoch of its last record.
    pub last_offset_epoch: LeaderEpoch,
    /// Its log end.
    pub last_offset: Offset,
    /// v2 (KIP-996).
    pub pre_vote: bool,
}

/// Answer to Vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoteResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows, or -1.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Whether the vote is granted.
    pub vote_granted: bool,
    /// v1+, tagged.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// BeginQuorumEpoch (key 53, versions 0 to 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BeginQuorumEpochRequest {
    /// The cluster the leader believes in.
    pub cluster_id: Option<String>,
    /// v1+: the voter that it is for.
    pub voter: NodeId,
    /// v1+.
    pub voter_directory_id: Uuid,
    /// The leader.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// v1+: where it listens (name, endpoint).
    pub leader_endpoints: Vec<(String, Endpoint)>,
}

/// Answer to BeginQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BeginQuorumEpochResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
}

/// EndQuorumEpoch (key 54, versions 0 to 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndQuorumEpochRequest {
    /// The cluster the leader believes in.
    pub cluster_id: Option<String>,
    /// The leader that steps down.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who should stand for election, best first.
    pub preferred_successors: Vec<NodeId>,
}

/// Answer to EndQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndQuorumEpochResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
}

/// AlterPartition (key 56, versions 2 to 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionRequest {
    /// The leader that asks.
    pub broker: NodeId,
    /// Its broker epoch.
    pub broker_epoch: BrokerEpoch,
    /// Per topic.
    pub topics: Vec<AlterPartitionTopic>,
}

/// A topic of an [`AlterPartitionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionTopic {
    /// The topic.
    pub id: TopicId,
    /// Per partition.
    pub partitions: Vec<AlterPartitionData>,
}

/// A partition of an [`AlterPartitionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionData {
    /// Partition index.
    pub partition: i32,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The wanted ISR, with the broker epochs that the leader saw in fetches (KIP-903; -1 in v2).
    pub new_isr: Vec<(NodeId, BrokerEpoch)>,
    /// 0 recovered, 1 recovering from unclean election.
    pub leader_recovery_state: i8,
    /// The registration that the change is based on.
    pub partition_epoch: PartitionEpoch,
}

/// Answer to AlterPartition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AlterPartitionResponse {
    /// ms.
    pub throttle_time_ms: i32,
    /// Of the whole request.
    pub error: ErrorCode,
    /// (topic, its partitions).
    pub topics: Vec<(TopicId, Vec<AlterPartitionResult>)>,
}

/// A partition of an [`AlterPartitionResponse`]: the registration after the change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionResult {
    /// Partition index.
    pub partition: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Leader.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// ISR.
    pub isr: Vec<NodeId>,
    /// 0 recovered, 1 recovering.
    pub leader_recovery_state: i8,
    /// Partition epoch.
    pub partition_epoch: PartitionEpoch,
}

/// BrokerRegistration (key 62, versions 0 to 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistrationRequest {
    /// The broker.
    pub broker: NodeId,
    /// The cluster it believes in.
    pub cluster_id: String,
    /// Drawn at each start of the process.
    pub incarnation: Uuid,
    /// (name, endpoint).
    pub listeners: Vec<(String, Endpoint)>,
    /// (name, min, max).
    pub features: Vec<(String, i16, i16)>,
    /// Rack.
    pub rack: Option<String>,
    /// v2+: its log directories.
    pub log_dirs: Vec<Uuid>,
    /// v3+: the epoch of the incarnation that stopped cleanly, or -1 (KIP-966).
    pub previous_broker_epoch: BrokerEpoch,
}

/// Answer to BrokerRegistration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistrationResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// The new epoch, or -1.
    pub broker_epoch: BrokerEpoch,
}

/// BrokerHeartbeat (key 63, versions 0 to 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerHeartbeatRequest {
    /// The broker.
    pub broker: NodeId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
    /// The last metadata offset that it has applied, -1 for none.
    pub current_metadata_offset: Offset,
    /// Wants to stay fenced.
    pub want_fence: bool,
    /// Wants to hand its leaderships over and stop.
    pub want_shut_down: bool,
    /// v1+, tagged: log directories that failed.
    pub offline_log_dirs: Vec<Uuid>,
}

/// Answer to BrokerHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerHeartbeatResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// Whether the broker has applied enough metadata.
    pub is_caught_up: bool,
    /// Whether it is fenced.
    pub is_fenced: bool,
    /// Whether it may stop now.
    pub should_shut_down: bool,
}
