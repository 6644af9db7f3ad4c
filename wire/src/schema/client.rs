//! ApiVersions, Metadata, CreateTopics, DeleteTopics.

use alloc::string::String;
use alloc::vec::Vec;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    ApiVersionsRequest, ApiVersionsResponse, CreatableTopic, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic,
};
use wavetank_core::types::{LeaderEpoch, NodeId, TopicRef};

use super::data::{no_endpoint, wide_endpoint};
use crate::visit::{Io, Tagged, Visited};

pub(super) fn api_versions_request(io: &mut Io, m: &mut ApiVersionsRequest) -> Visited {
    if io.version() >= 3 {
        io.string(&mut m.client_software_name)?;
        io.string(&mut m.client_software_version)?;
    }
    if io.version() >= 5 {
        io.nullable_string(&mut m.cluster_id)?;
        io.node(&mut m.node)?;
    }
    io.end()
}

type Feature = (String, i16, i16);

fn features(io: &mut Io, features: &mut Vec<Feature>) -> Visited {
    io.array(
        features,
        || (String::new(), 0, 0),
        |io, (name, first, second)| {
            io.string(name)?;
            io.i16(first)?;
            io.i16(second)?;
            io.end()
        },
    )
}

pub(super) fn api_versions_response(io: &mut Io, m: &mut ApiVersionsResponse) -> Visited {
    let version = io.version();
    io.error(&mut m.error)?;
    io.array(
        &mut m.apis,
        || (0, 0, 0),
        |io, (key, min, max)| {
            io.i16(key)?;
            io.i16(min)?;
            io.i16(max)?;
            io.end()
        },
    )?;
    if version >= 1 {
        io.i32(&mut m.throttle_time_ms)?;
    }
    if version < 3 {
        return Ok(());
    }
    if version < 4 && !io.reads() {
        // Older clients treat a feature with a minimum of 0 as malformed (KAFKA-17011).
        m.supported_features.retain(|(_, min, _)| *min > 0);
    }
    let (has_supported, has_epoch, has_finalized) = (
        !m.supported_features.is_empty(),
        m.finalized_features_epoch >= 0,
        !m.finalized_features.is_empty(),
    );
    let supported = &mut |io: &mut Io| features(io, &mut m.supported_features);
    let epoch = &mut |io: &mut Io| io.i64(&mut m.finalized_features_epoch);
    let finalized = &mut |io: &mut Io| features(io, &mut m.finalized_features);
    io.tagged(&mut [
        Tagged { tag: 0, since: 3, present: has_supported, visit: supported },
        Tagged { tag: 1, since: 3, present: has_epoch, visit: epoch },
        Tagged { tag: 2, since: 3, present: has_finalized, visit: finalized },
    ])
}

pub(super) fn metadata_request(io: &mut Io, m: &mut MetadataRequest) -> Visited {
    let version = io.version();
    let topic = |io: &mut Io, one: &mut TopicRef| {
        if version < 10 {
            io.string(&mut one.name)?;
            return io.end();
        }
        io.uuid(&mut one.id)?;
        // An empty name is written as null, as a lookup by id requires.
        let mut name = (!one.name.is_empty()).then(|| core::mem::take(&mut one.name));
        io.nullable_string(&mut name)?;
        one.name = name.unwrap_or_default();
        io.end()
    };
    if version == 0 {
        // Before v1 an empty list meant all, and there was no null.
        let mut topics = m.topics.take().unwrap_or_default();
        io.array(&mut topics, TopicRef::default, topic)?;
        m.topics = (!topics.is_empty()).then_some(topics);
    } else {
        io.nullable_array(&mut m.topics, TopicRef::default, topic)?;
    }
    if version >= 4 {
        io.bool(&mut m.allow_auto_topic_creation)?;
    } else if io.reads() {
        m.allow_auto_topic_creation = true;
    }
    if (8..=10).contains(&version) {
        let mut include_cluster_authorized_operations = false;
        io.bool(&mut include_cluster_authorized_operations)?;
    }
    if version >= 8 {
        io.bool(&mut m.include_topic_authorized_operations)?;
    }
    io.end()
}

/// "Not requested", in answers about authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn metadata_response(io: &mut Io, m: &mut MetadataResponse) -> Visited {
    let version = io.version();
    if version >= 3 {
        io.i32(&mut m.throttle_time_ms)?;
    }
    io.array(&mut m.brokers, no_endpoint, |io, one| {
        io.node(&mut one.node)?;
        wide_endpoint(io, &mut one.endpoint)?;
        if version >= 1 {
            io.nullable_string(&mut one.rack)?;
        }
        io.end()
    })?;
    if version >= 2 {
        io.nullable_string(&mut m.cluster_id)?;
    }
    if version >= 1 {
        io.node(&mut m.controller)?;
    }
    io.array(&mut m.topics, MetadataTopic::default, metadata_topic)?;
    if (8..=10).contains(&version) {
        io.ignored_i32(NO_OPERATIONS)?;
    }
    if version >= 13 {
        io.error(&mut m.error)?;
    }
    io.end()
}

fn metadata_topic(io: &mut Io, one: &mut MetadataTopic) -> Visited {
    let version = io.version();
    io.error(&mut one.error)?;
    if version >= 12 {
        io.nullable_string(&mut one.name)?;
    } else {
        let mut name = one.name.take().unwrap_or_default();
        io.string(&mut name)?;
        one.name = Some(name);
    }
    if version >= 10 {
        io.uuid(&mut one.id)?;
    }
    if version >= 1 {
        io.bool(&mut one.is_internal)?;
    }
    let none = || MetadataPartition {
        error: ErrorCode::None,
        partition: 0,
        leader: NodeId::NONE,
        leader_epoch: LeaderEpoch::NONE,
        replicas: Vec::new(),
        isr: Vec::new(),
        offline_replicas: Vec::new(),
    };
    io.array(&mut one.partitions, none, |io, part| {
        io.error(&mut part.error)?;
        io.i32(&mut part.partition)?;
        io.node(&mut part.leader)?;
        if version >= 7 {
            io.epoch(&mut part.leader_epoch)?;
        }
        io.nodes(&mut part.replicas)?;
        io.nodes(&mut part.isr)?;
        if version >= 5 {
            io.nodes(&mut part.offline_replicas)?;
        }
        io.end()
    })?;
    if version >= 8 {
        io.ignored_i32(NO_OPERATIONS)?;
    }
    io.end()
}

fn no_topic() -> CreatableTopic {
    CreatableTopic {
        name: String::new(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

pub(super) fn create_topics_request(io: &mut Io, m: &mut CreateTopicsRequest) -> Visited {
    io.array(&mut m.topics, no_topic, |io, one| {
        io.string(&mut one.name)?;
        io.i32(&mut one.num_partitions)?;
        io.i16(&mut one.replication_factor)?;
        io.array(
            &mut one.assignments,
            || (0, Vec::new()),
            |io, (partition, replicas)| {
                io.i32(partition)?;
                io.nodes(replicas)?;
                io.end()
            },
        )?;
        io.array(
            &mut one.configs,
            || (String::new(), None),
            |io, (name, value)| {
                io.string(name)?;
                io.nullable_string(value)?;
                io.end()
            },
        )?;
        io.end()
    })?;
    io.i32(&mut m.timeout_ms)?;
    io.bool(&mut m.validate_only)?;
    io.end()
}

pub(super) fn create_topics_response(io: &mut Io, m: &mut CreateTopicsResponse) -> Visited {
    io.i32(&mut m.throttle_time_ms)?;
    io.array(&mut m.topics, CreatableTopicResult::default, created_topic)?;
    io.end()
}

fn created_topic(io: &mut Io, one: &mut CreatableTopicResult) -> Visited {
    let version = io.version();
    io.string(&mut one.name)?;
    if version >= 7 {
        io.uuid(&mut one.id)?;
    }
    io.error(&mut one.error)?;
    io.nullable_string(&mut one.error_message)?;
    if version >= 5 {
        io.i32(&mut one.num_partitions)?;
        io.i16(&mut one.replication_factor)?;
        let mut configs = Some(core::mem::take(&mut one.configs));
        let none = || (String::new(), None, 0);
        io.nullable_array(&mut configs, none, |io, (name, value, source)| {
            io.string(name)?;
            io.nullable_string(value)?;
            let (mut read_only, mut sensitive) = (false, false);
            io.bool(&mut read_only)?;
            io.i8(source)?;
            io.bool(&mut sensitive)?;
            io.end()
        })?;
        one.configs = configs.unwrap_or_default();
    }
    io.end()
}

pub(super) fn delete_topics_request(io: &mut Io, m: &mut DeleteTopicsRequest) -> Visited {
    let by_id = io.version() >= 6;
    io.array(&mut m.topics, TopicRef::default, |io, one| {
        if !by_id {
            // A list of bare names: no structure, no tagged fields.
            return io.string(&mut one.name);
        }
        let mut name = (!one.name.is_empty()).then(|| core::mem::take(&mut one.name));
        io.nullable_string(&mut name)?;
        one.name = name.unwrap_or_default();
        io.uuid(&mut one.id)?;
        io.end()
    })?;
    io.i32(&mut m.timeout_ms)?;
    io.end()
}

pub(super) fn delete_topics_response(io: &mut Io, m: &mut DeleteTopicsResponse) -> Visited {
    let version = io.version();
    io.i32(&mut m.throttle_time_ms)?;
    let none = || (TopicRef::default(), ErrorCode::None, None);
    io.array(&mut m.topics, none, |io, (topic, error, message)| {
        if version >= 6 {
            let mut name = (!topic.name.is_empty()).then(|| core::mem::take(&mut topic.name));
            io.nullable_string(&mut name)?;
            topic.name = name.unwrap_or_default();
            io.uuid(&mut topic.id)?;
        } else {
            io.string(&mut topic.name)?;
        }
        io.error(error)?;
        if version >= 5 {
            io.nullable_string(message)?;
        }
        io.end()
    })?;
    io.end()
}
