//! CreateTopics and DeleteTopics (Kafka's `ReplicationControlManager` and `ControllerApis`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::shard::{Decision, Settings, Shard, TopicDraw};
use crate::config::TopicConfig;
use crate::error_code::ErrorCode;
use crate::metadata::{
    ConfigRecord, MetadataRecord, PartitionRecord, TOPIC_RESOURCE, TopicRecord,
    UNASSIGNED_DIRECTORY, unified,
};
use crate::msg::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, Response,
};
use crate::types::{
    LeaderEpoch, METADATA_TOPIC, NodeId, PartitionEpoch, TopicPartition, TopicRef, Uuid,
};

/// The most partitions of one request (Kafka's `MAX_RECORDS_PER_USER_OP`).
const MAX_PARTITIONS_PER_REQUEST: usize = 10_000;
/// The longest topic name, so that a directory name has room for it and the partition.
const MAX_NAME_LENGTH: usize = 249;
/// `CreatableTopicResult.configs`: the value is the topic's own.
const SOURCE_TOPIC: i8 = 1;
/// `CreatableTopicResult.configs`: the value is the default.
const SOURCE_DEFAULT: i8 = 5;

/// Why a topic is not created: the error code, and the message that Kafka sends with it.
type Refusal = (ErrorCode, String);

/// Checks that a topic can have this name (Kafka's `Topic.validate`).
///
/// # Errors
/// Says what is wrong with it.
pub fn validate_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the topic name is empty".into());
    }
    if name == "." || name == ".." {
        return Err(format!("the topic name cannot be {name:?}"));
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(format!(
            "the topic name has {} characters, more than {MAX_NAME_LENGTH}",
            name.len()
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(legal) {
        return Err(format!(
            "topic name {name:?} has characters other than ASCII letters and digits, '.', '_' and \
             '-'"
        ));
    }
    Ok(())
}

impl Shard {
    /// CreateTopics: each topic is decided on its own; all that succeed go into one batch.
    pub(super) fn create_topics(
        &self,
        settings: &Settings,
        request: &CreateTopicsRequest,
        draws: &[TopicDraw],
    ) -> Decision {
        let mut records = Vec::new();
        let mut results: Vec<CreatableTopicResult> = Vec::new();
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *names.entry(&topic.name).or_default() += 1;
        }
        let mut told: BTreeSet<&str> = BTreeSet::new();
        let mut room = MAX_PARTITIONS_PER_REQUEST;
        // Names in this request that may collide, keyed by the name with '.' as '_'.
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        let mut load = Load::of(self, settings);
        for (topic, draw) in request.topics.iter().zip(draws) {
            if names.get(topic.name.as_str()).is_some_and(|count| *count > 1) {
                if told.insert(&topic.name) {
                    let mut result =
                        CreatableTopicResult::failed(&topic.name, ErrorCode::InvalidRequest);
                    result.error_message = Some("Duplicate topic name.".into());
                    results.push(result);
                }
                continue;
            }
            let created =
                self.create_topic(settings, topic, *draw, &taken, room).and_then(|created| {
                    // Partitions that the brokers have no room for have cost the same work.
                    room -= created.1.iter().filter(|r| is_partition(r)).count();
                    load.add(self, &created.1).map(|()| created)
                });
            match created {
                Ok((result, new)) => {
                    let name = &topic.name;
                    taken.extend(unified(name).map(|unified| (unified, name.as_str())));
                    records.extend(new);
                    results.push(result);
                }
                Err((error, why)) => {
                    let mut result = CreatableTopicResult::failed(&topic.name, error);
                    result.error_message = Some(why);
                    results.push(result);
                }
            }
        }
        let response = CreateTopicsResponse { throttle_time_ms: 0, topics: results };
        let mut decision = Decision::answer(Response::CreateTopics(response));
        if !request.validate_only {
            decision.records = records;
        }
        decision
    }

    fn create_topic(
        &self,
        settings: &Settings,
        topic: &CreatableTopic,
        draw: TopicDraw,
        taken: &BTreeMap<String, &str>,
        room: usize,
    ) -> Result<(CreatableTopicResult, Vec<MetadataRecord>), Refusal> {
        self.check_name(&topic.name, taken)?;
        let overrides = overrides_of(topic)?;
        let config = settings
            .topic_defaults
            .with_overrides(&overrides)
            .map_err(|why| (ErrorCode::InvalidConfig, why))?;
        let assignment = if topic.assignments.is_empty() {
            self.place(settings, topic, draw.start, room)?
        } else {
            self.manual_assignment(topic, room)?
        };
        let mut records = Vec::new();
        let record = TopicRecord { name: topic.name.clone(), id: draw.id };
        records.push(MetadataRecord::Topic(record));
        // Configurations come between the topic and its partitions, so that a partition is never
        // seen without them.
        records.extend(overrides.iter().map(|(name, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: TOPIC_RESOURCE,
                resource_name: topic.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            })
        }));
        let (partitions, factor) = (assignment.len() as i32, assignment[0].len() as i16);
        for (index, replicas) in (0..).zip(assignment) {
            let at = TopicPartition { topic: draw.id, partition: index };
            records.push(MetadataRecord::Partition(self.new_partition(at, replicas)));
        }
        let result = CreatableTopicResult {
            name: topic.name.clone(),
            id: draw.id,
            error: ErrorCode::None,
            error_message: None,
            num_partitions: partitions,
            replication_factor: factor,
            configs: described(&config, &overrides),
        };
        Ok((result, records))
    }

    fn check_name(&self, name: &str, taken: &BTreeMap<String, &str>) -> Result<(), Refusal> {
        validate_topic_name(name).map_err(|why| (ErrorCode::InvalidTopic, why))?;
        if name == METADATA_TOPIC {
            return Err((ErrorCode::InvalidTopic, format!("{name} is the cluster's own log")));
        }
        if self.image.topic_ids.contains_key(name) {
            let why = format!("Topic '{name}' already exists.");
            return Err((ErrorCode::TopicAlreadyExists, why));
        }
        // Metrics cannot distinguish '.' from '_'. A name without either collides only with itself.
        let Some(unified) = unified(name) else { return Ok(()) };
        match self.image.colliding(name).or_else(|| taken.get(&unified).copied()) {
            None => Ok(()),
            Some(other) => {
                let why = format!("Topic '{name}' collides with existing topic: {other}");
                Err((ErrorCode::InvalidTopic, why))
            }
        }
    }

    fn new_partition(&self, at: TopicPartition, replicas: Vec<NodeId>) -> PartitionRecord {
        let isr: Vec<NodeId> =
            replicas.iter().copied().filter(|node| self.image.is_active(*node)).collect();
        PartitionRecord {
            partition: at,
            directories: replicas.iter().map(|node| self.directory_of(*node)).collect(),
            leader: isr.first().copied(),
            replicas,
            isr,
            removing: Vec::new(),
            adding: Vec::new(),
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        }
    }

    /// A broker with one directory puts everything there; any other reports the directory later.
    fn directory_of(&self, broker: NodeId) -> Uuid {
        match self.image.brokers.get(&broker).map(|broker| broker.log_dirs.as_slice()) {
            Some([only]) => *only,
            _ => UNASSIGNED_DIRECTORY,
        }
    }

    fn manual_assignment(
        &self,
        topic: &CreatableTopic,
        room: usize,
    ) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if topic.replication_factor != -1 || topic.num_partitions != -1 {
            let why = "a manual partition assignment was given, but replication factor and number \
                       of partitions are not -1";
            return Err((ErrorCode::InvalidRequest, why.into()));
        }
        let invalid = |why: String| (ErrorCode::InvalidReplicaAssignment, why);
        check_room(topic.assignments.len(), room)?;
        let mut partitions: BTreeMap<i32, Vec<NodeId>> = BTreeMap::new();
        for (index, replicas) in &topic.assignments {
            let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
            if replicas.is_empty() || distinct.len() != replicas.len() {
                return Err(invalid(format!(
                    "partition {index} has no replicas, or one of them twice"
                )));
            }
            if replicas.len() != topic.assignments[0].1.len() {
                let why = "the partitions have different numbers of replicas";
                return Err(invalid(why.into()));
            }
            if let Some(node) = replicas.iter().find(|n| !self.image.brokers.contains_key(n)) {
                return Err(invalid(format!("broker {node} is not registered")));
            }
            if !replicas.iter().any(|node| self.image.is_active(*node)) {
                return Err(invalid(format!(
                    "all brokers of partition {index} are fenced or in controlled shutdown"
                )));
            }
            if partitions.insert(*index, replicas.clone()).is_some() {
                return Err(invalid(format!("partition {index} is assigned twice")));
            }
        }
        if !partitions.keys().copied().eq(0..partitions.len() as i32) {
            let why = "partitions should be a consecutive 0-based integer sequence";
            return Err(invalid(why.into()));
        }
        Ok(partitions.into_values().collect())
    }

    /// Stripes replicas over the brokers from a drawn start: unfenced ones first, so that the first
    /// replica of each partition can lead; registered but fenced ones only if there are not enough.
    fn place(
        &self,
        settings: &Settings,
        topic: &CreatableTopic,
        start: u64,
        room: usize,
    ) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let why = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err((ErrorCode::InvalidReplicationFactor, why.into()));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let why = "Number of partitions was set to an invalid non-positive value.";
            return Err((ErrorCode::InvalidPartitions, why.into()));
        }
        let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
        let partitions = or_default(topic.num_partitions, settings.num_partitions) as usize;
        let factor =
            or_default(i32::from(topic.replication_factor), i32::from(settings.replication_factor))
                as usize;
        check_room(partitions, room)?;
        let (active, rest): (Vec<NodeId>, Vec<NodeId>) = self
            .image
            .brokers
            .iter()
            .filter(|(_, broker)| !broker.in_controlled_shutdown)
            .map(|(node, _)| *node)
            .partition(|node| self.image.is_active(*node));
        if active.is_empty() || active.len() + rest.len() < factor {
            let why = format!(
                "Unable to replicate the partition {factor} time(s): {} broker(s) registered, {} \
                 of them unfenced",
                active.len() + rest.len(),
                active.len()
            );
            return Err((ErrorCode::InvalidReplicationFactor, why));
        }
        let start = (start % active.len() as u64) as usize;
        let replicas = |partition: usize| {
            let rotated = |list: &[NodeId], by: usize| -> Vec<NodeId> {
                let by = if list.is_empty() { 0 } else { by % list.len() };
                list[by..].iter().chain(&list[..by]).copied().collect()
            };
            let mut order = rotated(&active, start + partition);
            order.extend(rotated(&rest, partition));
            order.truncate(factor);
            order
        };
        Ok((0..partitions).map(replicas).collect())
    }

    /// DeleteTopics, by name or by id.
    pub(super) fn delete_topics(
        &self,
        settings: &Settings,
        request: &DeleteTopicsRequest,
    ) -> Decision {
        let mut records = Vec::new();
        let mut gone = BTreeSet::new();
        let mut results = Vec::new();
        for topic in &request.topics {
            let (named, outcome) = self.delete_topic(settings, topic);
            let outcome = outcome.and_then(|id| {
                let why = "Duplicate topic.".to_string();
                if gone.insert(id) { Ok(id) } else { Err((ErrorCode::InvalidRequest, why)) }
            });
            match outcome {
                Ok(id) => {
                    records.push(MetadataRecord::RemoveTopic(id));
                    results.push((named, ErrorCode::None, None));
                }
                Err((error, why)) => results.push((named, error, Some(why))),
            }
        }
        let response = DeleteTopicsResponse { throttle_time_ms: 0, topics: results };
        let mut decision = Decision::answer(Response::DeleteTopics(response));
        decision.records = records;
        decision
    }

    /// The topic as the answer names it, and the id to remove.
    fn delete_topic(
        &self,
        settings: &Settings,
        topic: &TopicRef,
    ) -> (TopicRef, Result<Uuid, Refusal>) {
        if !settings.delete_topics {
            let refusal = (ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false".into());
            return (topic.clone(), Err(refusal));
        }
        let by_id = topic.id != Uuid::ZERO;
        if by_id != topic.name.is_empty() {
            let why = "a topic is given by its name or by its id, not by both or neither";
            return (topic.clone(), Err((ErrorCode::InvalidRequest, why.into())));
        }
        match self.image.topic(topic) {
            Some((id, image)) => (TopicRef { name: image.name.clone(), id }, Ok(id)),
            None if by_id => {
                let why = format!("no topic has the id {}", topic.id);
                (topic.clone(), Err((ErrorCode::UnknownTopicId, why)))
            }
            None => {
                let why = format!("there is no topic '{}'", topic.name);
                (topic.clone(), Err((ErrorCode::UnknownTopicOrPartition, why)))
            }
        }
    }
}

fn check_room(partitions: usize, room: usize) -> Result<(), Refusal> {
    if partitions <= room {
        return Ok(());
    }
    let why = format!("one request may create at most {MAX_PARTITIONS_PER_REQUEST} partitions");
    Err((ErrorCode::PolicyViolation, why))
}

fn is_partition(record: &MetadataRecord) -> bool {
    matches!(record, MetadataRecord::Partition(_))
}

/// How many replicas the brokers have, including those of the topics being created.
struct Load {
    limit: usize,
    /// Partitions of the cluster. No broker has more replicas than that.
    partitions: usize,
    /// Replicas of existing topics, by broker. Counted only if the cluster has more partitions than
    /// a broker may have.
    existing: Option<BTreeMap<NodeId, usize>>,
    /// Replicas of this request's topics so far, by broker.
    new: BTreeMap<NodeId, usize>,
}

impl Load {
    fn of(shard: &Shard, settings: &Settings) -> Load {
        Load {
            limit: settings.max_broker_partitions as usize,
            partitions: shard.image.topics.values().map(|topic| topic.partitions.len()).sum(),
            existing: None,
            new: BTreeMap::new(),
        }
    }

    /// Adds a topic's replicas, if they fit.
    ///
    /// Source: KIP-578, which also refuses with `POLICY_VIOLATION`.
    fn add(&mut self, shard: &Shard, records: &[MetadataRecord]) -> Result<(), Refusal> {
        let mut new = self.new.clone();
        let mut partitions = self.partitions;
        for record in records {
            let MetadataRecord::Partition(partition) = record else { continue };
            partitions += 1;
            for node in &partition.replicas {
                *new.entry(*node).or_default() += 1;
            }
        }
        if partitions > self.limit {
            let existing = self.existing.get_or_insert_with(|| count_replicas(shard));
            let total = |node: &NodeId, new: usize| new + existing.get(node).unwrap_or(&0);
            let full = new.iter().find(|(node, new)| total(node, **new) > self.limit);
            if let Some((node, new)) = full {
                let why = format!(
                    "broker {node} would have {} partitions, and max.broker.partitions allows {}",
                    total(node, *new),
                    self.limit
                );
                return Err((ErrorCode::PolicyViolation, why));
            }
        }
        (self.new, self.partitions) = (new, partitions);
        Ok(())
    }
}

fn count_replicas(shard: &Shard) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for (_, partition) in shard.image.partitions() {
        for node in &partition.replicas {
            *counts.entry(*node).or_default() += 1;
        }
    }
    counts
}

fn overrides_of(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let mut overrides = BTreeMap::new();
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            let why = format!("Null value not supported for topic configs: {name}");
            return Err((ErrorCode::InvalidConfig, why));
        };
        overrides.insert(name.clone(), value.clone());
    }
    Ok(overrides)
}

/// The topic's configuration, as answers from version 5 on list it.
fn described(
    config: &TopicConfig,
    overrides: &BTreeMap<String, String>,
) -> Vec<(String, Option<String>, i8)> {
    let timestamp_type = if config.log_append_time { "LogAppendTime" } else { "CreateTime" };
    let flush = if config.flush_each_batch { "1".into() } else { i64::MAX.to_string() };
    let mut all: BTreeMap<String, (String, i8)> = [
        ("cleanup.policy", "delete".into()),
        ("compression.type", "producer".into()),
        ("flush.messages", flush),
        ("index.interval.bytes", config.index_interval_bytes.to_string()),
        ("max.message.bytes", config.max_message_bytes.to_string()),
        ("message.timestamp.after.max.ms", config.timestamp_after_max_ms.to_string()),
        ("message.timestamp.before.max.ms", config.timestamp_before_max_ms.to_string()),
        ("message.timestamp.type", timestamp_type.into()),
        ("min.insync.replicas", config.min_insync_replicas.to_string()),
        ("segment.bytes", config.segment_bytes.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), (value, SOURCE_DEFAULT)))
    .collect();
    for (name, value) in overrides {
        all.insert(name.clone(), (value.clone(), SOURCE_TOPIC));
    }
    all.into_iter().map(|(name, (value, source))| (name, Some(value), source)).collect()
}
