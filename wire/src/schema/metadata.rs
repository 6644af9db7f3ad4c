//! Metadata.

use alloc::vec::Vec;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic};
use wavetank_core::types::{LeaderEpoch, NodeId, TopicRef};

use super::shared::{no_endpoint, wide_endpoint};
use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut MetadataRequest) -> Visited {
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

pub(super) fn response(io: &mut Io, m: &mut MetadataResponse) -> Visited {
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
