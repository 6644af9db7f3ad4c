//! Validates a plan before it is run. Every error names the field, its value, and the valid range.

use super::{
    AfterNote, AtDiskOp, Fault, PLAN_VERSION, PartitionRef, Plan, ProducerPlan, Target, TopicPlan,
    When,
};
use crate::marks::Mark;
use std::fmt;
use wavetank_core::flaw::Flaw;

/// Why a text is not a runnable plan. Displays as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(pub String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

/// The note names that a trigger may wait for: those of [`wavetank_core::note::Note::name`].
pub const NOTE_NAMES: [&str; 39] = [
    "recovered",
    "truncated",
    "cut_deferred",
    "cut_reads",
    "session_renewed",
    "session_expired",
    "rolled",
    "leader_appended",
    "follower_appended",
    "became_leader",
    "became_follower",
    "high_watermark",
    "isr_proposed",
    "isr_committed",
    "isr_refused",
    "isr_unanswered",
    "produce_acked",
    "produce_failed",
    "diverging_epoch",
    "fenced",
    "quorum_candidate",
    "quorum_restored",
    "quorum_pre_voted",
    "quorum_stored",
    "quorum_log_synced",
    "quorum_voted",
    "quorum_vote_answered",
    "quorum_leader",
    "quorum_follower",
    "quorum_resigned",
    "quorum_committed",
    "controller_active",
    "broker_registered",
    "broker_fenced",
    "broker_unfenced",
    "partition_changed",
    "broker_running",
    "log_dir_offline",
    "shut_down",
];

/// An hour. Nothing in a plan lasts longer.
pub(crate) const LONGEST_US: u64 = 3_600_000_000;

/// The sequential syncs from storing a candidate's epoch to its first record: the ballot on the
/// candidate and on the voter, each a file and its directory, the voter's twice.
pub(crate) const ELECTION_SYNCS: u64 = 8;

/// Refuses another version before its fields cause confusing errors.
pub(super) fn check_version(text: &str) -> Result<(), PlanError> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| PlanError(format!("a plan is a JSON object, but {error}")))?;
    match value.get("version") {
        None => Err(PlanError("the plan has no field `version`; expected 1".into())),
        Some(version) if version.as_u64() == Some(u64::from(PLAN_VERSION)) => Ok(()),
        Some(version) => Err(PlanError(format!(
            "the plan's version is {version}, but this build reads only version {PLAN_VERSION}; \
             use the build that wrote it"
        ))),
    }
}

pub(crate) fn refuse<T>(what: String) -> Result<T, PlanError> {
    Err(PlanError(what))
}

pub(crate) fn range(
    name: &str,
    value: impl Into<i128>,
    min: impl Into<i128>,
    max: impl Into<i128>,
) -> Result<(), PlanError> {
    let (value, min, max): (i128, i128, i128) = (value.into(), min.into(), max.into());
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        refuse(format!("{name} is {value}; expected {min} to {max}"))
    }
}

/// Checks that a duration is positive and at most an hour.
pub(crate) fn lasts(name: &str, us: u64) -> Result<(), PlanError> {
    range(name, us, 1, LONGEST_US)
}

impl Plan {
    /// Checks that this plan can be run.
    ///
    /// # Errors
    /// Names the first field that is out of range or refers to something that does not exist.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.version != PLAN_VERSION {
            return refuse(format!("version is {}; expected {PLAN_VERSION}", self.version));
        }
        for flaw in &self.flaws {
            if Flaw::from_name(flaw).is_none() {
                return refuse(format!(
                    "flaws names {flaw:?}, which is not a flaw; see `zoo list`"
                ));
            }
        }
        for mark in &self.marks {
            if Mark::from_name(mark).is_none() {
                let known: Vec<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
                return refuse(format!(
                    "marks names {mark:?}, which is not a mark; known marks: {}",
                    known.join(", ")
                ));
            }
        }
        self.validate_cluster()?;
        self.validate_node()?;
        self.validate_environment()?;
        self.validate_workload()?;
        for (index, fault) in self.faults.iter().enumerate() {
            self.validate_fault(fault)
                .map_err(|error| PlanError(format!("faults[{index}]: {error}")))?;
        }
        Ok(())
    }

    fn validate_cluster(&self) -> Result<(), PlanError> {
        for (name, nodes) in
            [("brokers", &self.cluster.brokers), ("controllers", &self.cluster.controllers)]
        {
            for &node in nodes {
                if !(1..=99).contains(&node) {
                    return refuse(format!("cluster.{name} has node {node}; expected 1 to 99"));
                }
            }
            if !nodes.windows(2).all(|pair| pair[0] < pair[1]) {
                return refuse(format!(
                    "cluster.{name} must be in ascending order without duplicates"
                ));
            }
        }
        range("the number of cluster.brokers", self.cluster.brokers.len() as u64, 1, 9)?;
        range("the number of cluster.controllers", self.cluster.controllers.len() as u64, 1, 5)?;
        range("the number of topics", self.topics.len() as u64, 1, 64)?;
        for (index, topic) in self.topics.iter().enumerate() {
            self.validate_topic(topic)
                .map_err(|error| PlanError(format!("topics[{index}]: {error}")))?;
            if self.topics[..index].iter().any(|other| other.name == topic.name) {
                return refuse(format!("topics[{index}]: the name {:?} is taken", topic.name));
            }
        }
        Ok(())
    }

    fn validate_topic(&self, topic: &TopicPlan) -> Result<(), PlanError> {
        let brokers = self.cluster.brokers.len() as u64;
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.name.is_empty()
            || topic.name.len() > 249
            || !topic.name.chars().all(valid)
            || matches!(topic.name.as_str(), "." | ".." | "__cluster_metadata")
        {
            return refuse(format!("{:?} is not a valid Kafka topic name", topic.name));
        }
        let replication_factor = topic.replication_factor;
        range("partitions", topic.partitions, 1, 1000)?;
        range("replication_factor", replication_factor, 1, brokers)?;
        range("min_insync_replicas", topic.min_insync_replicas, 1, replication_factor)?;
        range("segment_bytes", topic.segment_bytes, 1024, i32::MAX as u64)?;
        range("index_interval_bytes", topic.index_interval_bytes, 0, i32::MAX as u64)
    }

    fn validate_node(&self) -> Result<(), PlanError> {
        let node = &self.node;
        let hour = LONGEST_US / 1000;
        range("node.election_timeout_ms", node.election_timeout_ms, 10, hour)?;
        range("node.quorum_fetch_timeout_ms", node.quorum_fetch_timeout_ms, 10, hour)?;
        range("node.election_backoff_max_ms", node.election_backoff_max_ms, 1, hour)?;
        range("node.quorum_request_timeout_ms", node.quorum_request_timeout_ms, 1, hour)?;
        range("node.quorum_fetch_wait_ms", node.quorum_fetch_wait_ms, 1, hour)?;
        range("node.heartbeat_interval_ms", node.heartbeat_interval_ms, 1, hour)?;
        range("node.session_timeout_ms", node.session_timeout_ms, 10, hour)?;
        range("node.replica_lag_time_max_ms", node.replica_lag_time_max_ms, 10, hour)?;
        range("node.replica_fetch_wait_ms", node.replica_fetch_wait_ms, 1, hour)?;
        range("node.replica_fetch_max_bytes", node.replica_fetch_max_bytes, 1, 1 << 30)?;
        range("node.replica_fetch_backoff_ms", node.replica_fetch_backoff_ms, 1, hour)?;
        range("node.request_timeout_ms", node.request_timeout_ms, 10, hour)?;
        range("node.checkpoint_interval_ms", node.checkpoint_interval_ms, 1, hour)?;
        range("node.tail_cache_bytes", node.tail_cache_bytes, 0, 1 << 30)?;
        range("node.read_chunk_bytes", node.read_chunk_bytes, 64, 1 << 30)?;
        if node.heartbeat_interval_ms >= node.session_timeout_ms {
            return refuse(format!(
                "node.heartbeat_interval_ms is {} and node.session_timeout_ms {}; a broker whose \
                 heartbeat interval is not below its session timeout is always fenced",
                node.heartbeat_interval_ms, node.session_timeout_ms
            ));
        }
        if node.replica_fetch_wait_ms > node.replica_lag_time_max_ms {
            return refuse(format!(
                "node.replica_fetch_wait_ms is {} and node.replica_lag_time_max_ms {}; a follower \
                 whose fetches wait longer than that always lags",
                node.replica_fetch_wait_ms, node.replica_lag_time_max_ms
            ));
        }
        for (request, timeout, wait, waits) in [
            (
                "request_timeout_ms",
                node.request_timeout_ms,
                "replica_fetch_wait_ms",
                node.replica_fetch_wait_ms,
            ),
            (
                "quorum_request_timeout_ms",
                node.quorum_request_timeout_ms,
                "quorum_fetch_wait_ms",
                node.quorum_fetch_wait_ms,
            ),
            (
                "quorum_fetch_timeout_ms",
                node.quorum_fetch_timeout_ms,
                "quorum_fetch_wait_ms",
                node.quorum_fetch_wait_ms,
            ),
        ] {
            if timeout < waits {
                return refuse(format!(
                    "node.{request} is {timeout} and node.{wait} {waits}; a fetch that finds \
                     nothing times out before it is answered"
                ));
            }
        }
        Ok(())
    }

    fn validate_environment(&self) -> Result<(), PlanError> {
        let (network, disk, process) = (&self.network, &self.disk, &self.process);
        let second = 1_000_000;
        range("network.latency_min_us", network.latency_min_us, 0, 60 * second)?;
        range("network.latency_mean_us", network.latency_mean_us, 0, 60 * second)?;
        range("network.tail_per_million", network.tail_per_million, 0, second)?;
        range("network.tail_mean_us", network.tail_mean_us, 0, 60 * second)?;
        range("network.loss_per_million", network.loss_per_million, 0, second / 2)?;
        range("disk.write_mean_us", disk.write_mean_us, 0, 60 * second)?;
        range("disk.sync_min_us", disk.sync_min_us, 0, 60 * second)?;
        range("disk.sync_mean_us", disk.sync_mean_us, 0, 60 * second)?;
        range("disk.read_mean_us", disk.read_mean_us, 0, 60 * second)?;
        range("disk.namespace_mean_us", disk.namespace_mean_us, 0, 60 * second)?;
        let sync_us = disk.sync_min_us + disk.sync_mean_us;
        // The timeout is drawn from once to twice the configured value.
        let longest_us = self.node.election_timeout_ms * 2000;
        if ELECTION_SYNCS * sync_us > longest_us {
            return refuse(format!(
                "disk.sync_min_us and disk.sync_mean_us add up to {sync_us} and \
                 node.election_timeout_ms is {}; an election needs {ELECTION_SYNCS} syncs in a \
                 row, and one that takes longer than twice its timeout restarts before it ends",
                self.node.election_timeout_ms
            ));
        }
        range("process.step_max_us", process.step_max_us, 0, second)?;
        range("process.step_min_us", process.step_min_us, 0, process.step_max_us)?;
        range("process.wall_skew_ms", process.wall_skew_ms, 0, 1_u64 << 40)?;
        range("process.clock_drift_ppm", process.clock_drift_ppm, 0, 50_000)?;
        let phases = &self.phases;
        range("phases.warm_up_ms", phases.warm_up_ms, 1000, 3_600_000)?;
        range("phases.calm_ms", phases.calm_ms, 0, 3_600_000)?;
        range("phases.storm_ms", phases.storm_ms, 0, 3_600_000)?;
        range("phases.heal_core_ms", phases.heal_core_ms, 0, 3_600_000)?;
        range("phases.heal_all_ms", phases.heal_all_ms, 1000, 3_600_000)
    }

    fn validate_workload(&self) -> Result<(), PlanError> {
        range("the number of workload.producers", self.workload.producers.len() as u64, 0, 64)?;
        range("the number of workload.consumers", self.workload.consumers.len() as u64, 0, 64)?;
        for (index, producer) in self.workload.producers.iter().enumerate() {
            validate_producer(producer)
                .map_err(|error| PlanError(format!("workload.producers[{index}]: {error}")))?;
        }
        for (index, consumer) in self.workload.consumers.iter().enumerate() {
            let name = |field: &str| format!("workload.consumers[{index}].{field}");
            range(&name("max_wait_ms"), consumer.max_wait_ms, 0, 60_000)?;
            range(&name("max_partition_bytes"), consumer.max_partition_bytes, 1, i32::MAX as u64)?;
            range(&name("max_bytes"), consumer.max_bytes, 1, i32::MAX as u64)?;
            range(&name("min_bytes"), consumer.min_bytes, 1, i32::MAX as u64)?;
            range(&name("seek_every_ms"), consumer.seek_every_ms, 0, 3_600_000)?;
        }
        range("the number of workload.queries", self.workload.queries.len() as u64, 0, 64)?;
        for (index, query) in self.workload.queries.iter().enumerate() {
            let name = format!("workload.queries[{index}].interval_ms");
            range(&name, query.interval_ms, 1, 3_600_000)?;
        }
        if let Some(churn) = &self.workload.churn {
            range("workload.churn.names", churn.names, 1, 16)?;
            range("workload.churn.interval_ms", churn.interval_ms, 10, 3_600_000)?;
            let taken = |topic: &&TopicPlan| {
                topic.name.starts_with(crate::workload::CHURN)
                    || topic.name.starts_with(crate::workload::AUTO)
            };
            if let Some(topic) = self.topics.iter().find(taken) {
                return refuse(format!(
                    "topic name {:?} begins like those of workload.churn; choose another",
                    topic.name
                ));
            }
        }
        Ok(())
    }

    fn validate_fault(&self, fault: &Fault) -> Result<(), PlanError> {
        let storm_us = self.phases.storm_ms * 1000;
        match &fault.when {
            When::AtUs(at) => range("when.at_us", *at, 0, storm_us)?,
            When::AfterNote(AfterNote { name, from_us, count, delay_us, node, partition }) => {
                if let Some(node) = node {
                    self.validate_target(&Target::Node(*node))?;
                }
                if let Some(partition) = partition {
                    self.validate_target(&Target::LeaderOf(*partition))?;
                }
                if !NOTE_NAMES.contains(&name.as_str()) {
                    return refuse(format!(
                        "when.after_note.name is {name:?}, which is not a note; known notes: {}",
                        NOTE_NAMES.join(", ")
                    ));
                }
                range("when.after_note.from_us", *from_us, 0, storm_us)?;
                range("when.after_note.count", *count, 1, u32::MAX)?;
                range("when.after_note.delay_us", *delay_us, 0, LONGEST_US)?;
            }
            When::AtDiskOp(AtDiskOp { op: _, file: _, from_us, count, delay_us, node }) => {
                if let Some(node) = node {
                    self.validate_target(&Target::Node(*node))?;
                }
                range("when.at_disk_op.from_us", *from_us, 0, storm_us)?;
                range("when.at_disk_op.count", *count, 1, u32::MAX)?;
                range("when.at_disk_op.delay_us", *delay_us, 0, LONGEST_US)?;
            }
        }
        for (index, next) in fault.then.iter().enumerate() {
            self.validate_fault(next)
                .map_err(|error| PlanError(format!("then[{index}]: {error}")))?;
        }
        fault.what.kind().validate(self)
    }

    /// Checks that the plan has the node or partition that a target names.
    pub(crate) fn validate_target(&self, target: &Target) -> Result<(), PlanError> {
        match target {
            Target::Node(node) => {
                let nodes = self.cluster.nodes();
                if nodes.contains(node) {
                    Ok(())
                } else {
                    refuse(format!("there is no node {node}; the cluster has {nodes:?}"))
                }
            }
            Target::LeaderOf(partition)
            | Target::FollowerOf(partition)
            | Target::LaggingOf(partition) => self.validate_partition(*partition),
            Target::ActiveController
            | Target::OtherController
            | Target::Noted
            | Target::Other
            | Target::Unsynced => Ok(()),
        }
    }

    fn validate_partition(&self, partition: PartitionRef) -> Result<(), PlanError> {
        let Some(topic) = self.topics.get(partition.topic as usize) else {
            return refuse(format!(
                "there is no topic {}; the plan has {}, counted from 0",
                partition.topic,
                self.topics.len()
            ));
        };
        if (0..topic.partitions).contains(&partition.partition) {
            Ok(())
        } else {
            refuse(format!(
                "topic {} has partitions 0 to {}, not {}",
                partition.topic,
                topic.partitions - 1,
                partition.partition
            ))
        }
    }
}

fn validate_producer(producer: &ProducerPlan) -> Result<(), PlanError> {
    if !(-1..=1).contains(&producer.acks) {
        return refuse(format!("acks is {}; expected -1 (all), 0 or 1", producer.acks));
    }
    range("interval_us", producer.interval_us, 100, LONGEST_US)?;
    range("burst", producer.burst, 1, 100)?;
    range("value_max_bytes", producer.value_max_bytes, 0, 1 << 20)?;
    range("event_times_ms", producer.event_times_ms, 0, 1_u64 << 41)?;
    range("max_in_flight", producer.max_in_flight, 1, 5)?;
    range("linger_ms", producer.linger_ms, 0, 60_000)?;
    range("batch_bytes", producer.batch_bytes, 0, 1 << 20)?;
    range("request_timeout_ms", producer.request_timeout_ms, 1, 600_000)?;
    if producer.delivery_timeout_ms < producer.linger_ms + producer.request_timeout_ms {
        return refuse(format!(
            "delivery_timeout_ms is {}; Kafka requires at least linger_ms + request_timeout_ms = \
             {}",
            producer.delivery_timeout_ms,
            producer.linger_ms + producer.request_timeout_ms
        ));
    }
    range("delivery_timeout_ms", producer.delivery_timeout_ms, 1, 3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn refused(edit: impl Fn(&mut serde_json::Value)) -> String {
        let mut value = serde_json::to_value(Profile::Default.draw(7)).unwrap();
        edit(&mut value);
        Plan::from_json(&value.to_string()).expect_err("the edit makes it impossible").to_string()
    }

    #[test]
    fn a_plan_survives_writing_and_reading() {
        for seed in 0..300 {
            let plan = Profile::Default.draw(seed);
            assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let message = refused(|plan| plan["node"]["sessoin_timeout_ms"] = 9.into());
        assert!(message.contains("unknown field `sessoin_timeout_ms`"), "{message}");
        let message = refused(|plan| plan["colour"] = "red".into());
        assert!(message.contains("unknown field `colour`"), "{message}");
    }

    #[test]
    fn another_version_is_refused() {
        let message = refused(|plan| plan["version"] = 2.into());
        assert!(message.contains("version is 2"), "{message}");
        let message = refused(|plan| {
            plan.as_object_mut().unwrap().remove("version");
        });
        assert!(message.contains("no field `version`"), "{message}");
        assert!(Plan::from_json("[1,").unwrap_err().to_string().contains("JSON object"));
    }

    #[test]
    fn impossible_faults_are_refused() {
        let with = |fault: serde_json::Value| {
            refused(move |plan| plan["faults"] = serde_json::json!([fault.clone()]))
        };
        let at = serde_json::json!({"at_us": 1});
        let message = with(serde_json::json!({
            "when": at, "what": {"crash": {"node": {"node": 42}, "down_us": 5}}
        }));
        assert!(message.contains("faults[0]: there is no node 42"), "{message}");
        let message = with(serde_json::json!({
            "when": {"at_us": -5}, "what": {"crash": {"node": {"node": 1}, "down_us": 5}}
        }));
        assert!(message.contains("invalid value: integer `-5`"), "{message}");
        let message = with(serde_json::json!({
            "when": {"at_us": 99_000_000_000u64},
            "what": {"power_loss_all": {"down_us": 5, "stagger_us": 0}}
        }));
        assert!(message.contains("when.at_us is 99000000000"), "{message}");
        let message = with(serde_json::json!({
            "when": at, "what": {"partition": {"shape": {"groups": [[1, 2], []]}, "for_us": 5}}
        }));
        assert!(message.contains("at least two groups with nodes"), "{message}");
        let message = with(serde_json::json!({
            "when": at, "what": {"pause": {"node": "the_king", "for_us": 5}}
        }));
        assert!(message.contains("unknown variant `the_king`"), "{message}");
        let message = with(serde_json::json!({
            "when": at, "what": {"pause": {"node": {"leader_of": {"topic": 9, "partition": 0}},
            "for_us": 5}}
        }));
        assert!(message.contains("there is no topic 9"), "{message}");
        let message = with(serde_json::json!({
            "when": {"after_note": {"name": "full_moon", "count": 1}},
            "what": {"pause": {"node": {"node": 1}, "for_us": 5}}
        }));
        assert!(message.contains("\"full_moon\", which is not a note"), "{message}");
        let message = with(serde_json::json!({
            "when": {"at_disk_op": {"op": "rename", "file": "clean_shutdown", "count": 0}},
            "what": {"crash": {"node": "noted", "down_us": 5}}
        }));
        assert!(message.contains("when.at_disk_op.count is 0"), "{message}");
        let message = with(serde_json::json!({
            "when": at, "what": {"pause": {"node": {"node": 1}, "for_us": 0}}
        }));
        assert!(message.contains("for_us is 0"), "{message}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let none = serde_json::json!([]);
        let message = refused(|plan| plan["cluster"]["controllers"] = none.clone());
        assert!(message.contains("cluster.controllers is 0; expected 1 to 5"), "{message}");
        let message = refused(|plan| plan["topics"][0]["replication_factor"] = 12.into());
        assert!(message.contains("topics[0]: replication_factor is 12"), "{message}");
        let message = refused(|plan| plan["topics"][0]["replication_factor"] = (-1).into());
        assert!(message.contains("topics[0]: replication_factor is -1"), "{message}");
        let message = refused(|plan| plan["node"]["heartbeat_interval_ms"] = 90_000.into());
        assert!(message.contains("always fenced"), "{message}");
        let message = refused(|plan| {
            plan["node"]["request_timeout_ms"] = 20.into();
            plan["node"]["replica_fetch_wait_ms"] = 21.into();
        });
        assert!(message.contains("times out before it is answered"), "{message}");
        let message = refused(|plan| {
            plan["node"]["election_timeout_ms"] = 300.into();
            plan["disk"]["sync_min_us"] = 0.into();
            plan["disk"]["sync_mean_us"] = 75_001.into();
        });
        assert!(message.contains("restarts before it ends"), "{message}");
        let message = refused(|plan| plan["process"]["clock_drift_ppm"] = 100_000.into());
        assert!(message.contains("process.clock_drift_ppm is 100000"), "{message}");
        let message = refused(|plan| plan["workload"]["producers"][0]["acks"] = 2.into());
        assert!(message.contains("workload.producers[0]: acks is 2"), "{message}");
        let message = refused(|plan| plan["flaws"] = serde_json::json!(["hubris"]));
        assert!(message.contains("\"hubris\", which is not a flaw"), "{message}");
        let message = refused(|plan| plan["marks"] = serde_json::json!(["eclipse"]));
        assert!(message.contains("\"eclipse\", which is not a mark"), "{message}");
    }
}
