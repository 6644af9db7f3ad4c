//! The plan: everything that determines a run, as data.
//!
//! A seed draws a plan ([`crate::profile`]); `Plan -> run` is a pure function ([`crate::run`]). A
//! plan is readable, versioned JSON: it can be saved, edited, replayed and shrunk. Times are whole
//! microseconds or milliseconds and say so in their names. Nothing here is a float.
//!
//! A plan that is written by hand needs its version and what differs from the defaults. Without
//! anything else it is three brokers and a controller, one topic with a replica on each broker, one
//! producer with `acks=all`, one consumer, a storm of ten seconds, and no fault.
//!
//! What does not live here: how a plan is drawn, and how its faults are carried out
//! (`crate::faults`).

mod defaults;
mod fault;
mod validate;

pub use crate::faults::FaultCounts;
pub use crate::faults::kinds::{
    Crash, CrashLoop, Damage, DamageIndex, Delay, FailSync, FaultKind, Groups, Lie, Loss,
    Partition, Pause, PowerLoss, PowerLossAll, Restart, Shape, SlowDisk,
};
pub use fault::{AfterNote, AtDiskOp, DiskVerb, Fault, FileRole, PartitionRef, Target, When};
pub use validate::PlanError;
pub(crate) use validate::{ELECTION_SYNCS, LONGEST_US, lasts, range, refuse};

use serde::{Deserialize, Serialize};
use wavetank_core::flaw::{Flaw, FlawSet};

/// The version that this build reads and writes.
pub const PLAN_VERSION: u32 = 1;

/// A run, before it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Keys every choice that is made while running. The plan itself is already drawn.
    pub seed: u64,
    /// Names of rules that every node leaves out (the bug zoo). Normally empty.
    pub flaws: Vec<String>,
    /// The nodes.
    pub cluster: ClusterPlan,
    /// The configuration of all nodes.
    pub node: NodePlan,
    /// The topics that exist before the workload starts.
    pub topics: Vec<TopicPlan>,
    /// How messages travel.
    pub network: NetworkPlan,
    /// How long disks take.
    pub disk: DiskPlan,
    /// How long steps take.
    pub process: ProcessPlan,
    /// What clients do.
    pub workload: WorkloadPlan,
    /// How long each phase lasts.
    pub phases: PhasePlan,
    /// The fault schedule.
    pub faults: Vec<Fault>,
    /// Marks that this run must reach, or it is weak ([`crate::marks`]).
    pub marks: Vec<String>,
}

/// The nodes' ids and roles. A node in both lists has both roles (combined).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterPlan {
    /// Ids of brokers, ascending, 1 to 99.
    pub brokers: Vec<i32>,
    /// Ids of the metadata quorum's voters, ascending; one to five.
    pub controllers: Vec<i32>,
}

impl ClusterPlan {
    /// All node ids, ascending, each once.
    pub fn nodes(&self) -> Vec<i32> {
        let mut nodes = self.brokers.clone();
        nodes.extend(&self.controllers);
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// Node configuration, by Kafka's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodePlan {
    /// `controller.quorum.election.timeout.ms`.
    pub election_timeout_ms: u64,
    /// `controller.quorum.fetch.timeout.ms`.
    pub quorum_fetch_timeout_ms: u64,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max_ms: u64,
    /// `controller.quorum.request.timeout.ms`.
    pub quorum_request_timeout_ms: u64,
    /// How long a quorum fetch may be parked.
    pub quorum_fetch_wait_ms: u64,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: u64,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max_ms: u64,
    /// `replica.fetch.wait.max.ms`.
    pub replica_fetch_wait_ms: u64,
    /// `replica.fetch.max.bytes`.
    pub replica_fetch_max_bytes: u32,
    /// `replica.fetch.backoff.ms`.
    pub replica_fetch_backoff_ms: u64,
    /// `replica.socket.timeout.ms`.
    pub request_timeout_ms: u64,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub checkpoint_interval_ms: u64,
    /// Bytes of recent batches kept in memory per partition, 0 for none.
    pub tail_cache_bytes: u32,
    /// Bytes read from a log at a time when it is not known how many are needed.
    pub read_chunk_bytes: u32,
}

/// A topic that the workload's admin client creates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// `replication.factor`.
    pub replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `flush.messages=1`: an acknowledged batch is on the media of the replicas that its ack
    /// counts.
    pub flush_each_batch: bool,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
}

/// How messages travel between any two hosts. Times are a minimum plus an exponentially distributed
/// rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPlan {
    /// Minimum one-way latency.
    pub latency_min_us: u64,
    /// Mean of the added part.
    pub latency_mean_us: u64,
    /// How many of a million messages take much longer.
    pub tail_per_million: u64,
    /// Mean of the time added to those.
    pub tail_mean_us: u64,
    /// How many of a million messages are lost and retransmitted by the transport.
    pub loss_per_million: u64,
    /// Every message crosses the network encoded by `wire`.
    pub encoded: bool,
}

/// How long disks take: a minimum plus an exponentially distributed rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskPlan {
    /// Mean time until an append is in the page cache.
    pub write_mean_us: u64,
    /// Minimum time of a sync.
    pub sync_min_us: u64,
    /// Mean of the added part.
    pub sync_mean_us: u64,
    /// Mean time of a read.
    pub read_mean_us: u64,
    /// Mean time of creating, renaming, unlinking, truncating.
    pub namespace_mean_us: u64,
    /// A power loss keeps any subset of unsynced sectors, not only a prefix.
    pub torn: bool,
}

/// How long a step of a machine takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessPlan {
    /// Minimum.
    pub step_min_us: u64,
    /// Maximum.
    pub step_max_us: u64,
    /// Maximum skew of a node's wall clock, either way.
    pub wall_skew_ms: u64,
    /// Maximum drift of a node's monotonic clock, fast or slow, in millionths.
    #[serde(skip_serializing_if = "is_zero")]
    pub clock_drift_ppm: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkloadPlan {
    /// Each is one producer host.
    pub producers: Vec<ProducerPlan>,
    /// Each is one consumer host that reads all partitions from the beginning.
    pub consumers: Vec<ConsumerPlan>,
    /// Each is one client host that queries ends and times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryPlan>,
    /// Topics that are created and deleted in the storm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnPlan>,
}

/// A client that asks for the ends of all partitions, and for the first records since some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryPlan {
    /// Mean time between two rounds.
    pub interval_ms: u64,
}

/// Topics that are created, written to, deleted and created again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChurnPlan {
    /// How many names there are.
    pub names: u32,
    /// Mean time between two actions on a name.
    pub interval_ms: u64,
    /// Adds as many names that are auto-created when a client uses them. The brokers then have
    /// `auto.create.topics.enable`.
    #[serde(default)]
    pub auto_create: bool,
    /// Also creates all missing topics whenever a broker is fenced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_fencing: bool,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerPlan {
    /// -1 (all), 0 or 1.
    pub acks: i16,
    /// Mean time between records.
    pub interval_us: u64,
    /// Records handed over at once, 1 to 100.
    pub burst: u32,
    /// Maximum size of a record's value, in bytes.
    pub value_max_bytes: u32,
    /// `max.in.flight.requests.per.connection`.
    pub max_in_flight: u32,
    /// `linger.ms`.
    pub linger_ms: u64,
    /// `batch.size` in bytes.
    pub batch_bytes: u32,
    /// `request.timeout.ms`.
    pub request_timeout_ms: u64,
    /// `delivery.timeout.ms`.
    pub delivery_timeout_ms: u64,
    /// Records carry event times: up to this many ms ago, in any order, and occasionally no
    /// timestamp or one of 1970. 0: the time of sending.
    pub event_times_ms: u64,
}

/// One consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerPlan {
    /// `fetch.max.wait.ms`.
    pub max_wait_ms: u64,
    /// `max.partition.fetch.bytes`.
    pub max_partition_bytes: u32,
    /// `fetch.max.bytes`: for all partitions together.
    pub max_bytes: u32,
    /// `fetch.min.bytes`.
    pub min_bytes: u32,
    /// Mean time between seeks to another position in one partition. 0: never.
    pub seek_every_ms: u64,
}

/// Kafka's default of `fetch.max.bytes` for consumers.
pub const DEFAULT_MAX_BYTES: u32 = 50 << 20;

/// How long each phase may last, in virtual time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhasePlan {
    /// Maximum time until the cluster is up and the topics exist.
    pub warm_up_ms: u64,
    /// Quiet time with the workload running, before faults.
    pub calm_ms: u64,
    /// How long new faults may strike.
    pub storm_ms: u64,
    /// Maximum time in which a healed core must make progress. 0 skips the phase.
    pub heal_core_ms: u64,
    /// Maximum time in which the healed cluster must converge.
    pub heal_all_ms: u64,
}

impl Plan {
    /// All partitions, as (topic, index).
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&TopicPlan, i32)> {
        self.topics.iter().flat_map(|topic| (0..topic.partitions).map(move |index| (topic, index)))
    }

    /// Parses and validates a plan.
    ///
    /// # Errors
    /// Says where the text is not a plan, or what in the plan is invalid.
    pub fn from_json(text: &str) -> Result<Plan, PlanError> {
        validate::check_version(text)?;
        let plan: Plan = serde_json::from_str(text)
            .map_err(|error| PlanError(format!("not a plan: {error}")))?;
        plan.validate()?;
        Ok(plan)
    }

    /// Readable JSON, ending in a newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plan has only string keys");
        text.push('\n');
        text
    }

    /// The flaws as the core takes them. Unknown names are dropped; [`Plan::validate`] refuses
    /// them.
    pub fn flaw_set(&self) -> FlawSet {
        self.flaws.iter().filter_map(|name| Flaw::from_name(name)).collect()
    }

    /// Does every topic flush each batch, and so keep what it acknowledges even if all nodes lose
    /// power?
    pub fn flushes_everywhere(&self) -> bool {
        self.topics.iter().all(|topic| topic.flush_each_batch)
    }
}
