//! Messages between nodes: votes, epochs, ISR changes, registration, heartbeats.
//!
//! The quorum's APIs can name many partitions, but only `__cluster_metadata`-0 exists. A message
//! that names another partition, or not exactly one, is treated as malformed.

use alloc::string::String;
use alloc::vec::Vec;

use wavetank_core::codec::DecodeError;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    AlterPartitionData, AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResult,
    AlterPartitionTopic, BeginQuorumEpochRequest, BeginQuorumEpochResponse, BrokerHeartbeatRequest,
    BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
    EndQuorumEpochRequest, EndQuorumEpochResponse, NodeEndpoint, VoteRequest, VoteResponse,
};
use wavetank_core::types::{
    BrokerEpoch, Endpoint, LeaderEpoch, METADATA_TOPIC, NodeId, PartitionEpoch, Uuid,
};

use super::data::no_endpoint;
use crate::visit::{Io, Tagged, Visited};

/// The one partition of a quorum message, within its topic. Returns whether it was present: an
/// answer that failed as a whole names none.
fn metadata_partition(
    io: &mut Io,
    mut visit: impl FnMut(&mut Io) -> Visited,
) -> Result<bool, DecodeError> {
    let mut topics = Vec::from([()]);
    let mut count = 0;
    io.array(
        &mut topics,
        || (),
        |io, ()| {
            let mut name = String::from(METADATA_TOPIC);
            io.string(&mut name)?;
            let mut partitions = Vec::from([()]);
            io.array(
                &mut partitions,
                || (),
                |io, ()| {
                    count += 1;
                    let mut index = 0;
                    io.i32(&mut index)?;
                    if count > 1 || index != 0 || name != METADATA_TOPIC {
                        return Err(WRONG_PARTITION);
                    }
                    visit(io)?;
                    io.end()
                },
            )?;
            io.end()
        },
    )?;
    Ok(count == 1)
}

const WRONG_PARTITION: DecodeError = DecodeError::Invalid("the partition of a quorum message");

/// A request must name its partition.
fn requested(there: bool) -> Visited {
    if there { Ok(()) } else { Err(WRONG_PARTITION) }
}

/// An endpoint with a 16-bit port, as in messages to nodes.
fn endpoint(io: &mut Io, endpoint: &mut Endpoint) -> Visited {
    io.string(&mut endpoint.host)?;
    io.u16(&mut endpoint.port)
}

fn listeners(io: &mut Io, listeners: &mut Vec<(String, Endpoint)>) -> Visited {
    io.array(
        listeners,
        || (String::new(), Endpoint::default()),
        |io, (name, at)| {
            io.string(name)?;
            endpoint(io, at)?;
            io.end()
        },
    )
}

fn voter_endpoints(io: &mut Io, endpoints: &mut Vec<NodeEndpoint>) -> Visited {
    io.array(endpoints, no_endpoint, |io, one| {
        io.node(&mut one.node)?;
        endpoint(io, &mut one.endpoint)?;
        io.end()
    })
}

pub(super) fn vote_request(io: &mut Io, m: &mut VoteRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    if version >= 1 {
        io.node(&mut m.voter)?;
    }
    let there = metadata_partition(io, |io| {
        io.epoch(&mut m.epoch)?;
        io.node(&mut m.candidate)?;
        if version >= 1 {
            io.uuid(&mut m.candidate_directory_id)?;
            io.uuid(&mut m.voter_directory_id)?;
        }
        io.epoch(&mut m.last_offset_epoch)?;
        io.offset(&mut m.last_offset)?;
        if version >= 2 {
            io.bool(&mut m.pre_vote)?;
        }
        Ok(())
    })?;
    requested(there)?;
    io.end()
}

pub(super) fn vote_response(io: &mut Io, m: &mut VoteResponse) -> Visited {
    // The error of the request as a whole. We write the partition's, which is more specific.
    let mut whole = ErrorCode::None;
    io.error(&mut whole)?;
    let there = metadata_partition(io, |io| {
        io.error(&mut m.error)?;
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)?;
        io.bool(&mut m.vote_granted)
    })?;
    take_whole(&mut m.error, whole, there)?;
    let present = !m.node_endpoints.is_empty();
    let visit = &mut |io: &mut Io| voter_endpoints(io, &mut m.node_endpoints);
    io.tagged(&mut [Tagged { tag: 0, since: 1, present, visit }])
}

/// An answer without its partition is valid only if it carries an error for the whole request.
fn take_whole(error: &mut ErrorCode, whole: ErrorCode, there: bool) -> Visited {
    if !whole.is_ok() {
        *error = whole;
    } else if !there {
        return Err(WRONG_PARTITION);
    }
    Ok(())
}

pub(super) fn begin_request(io: &mut Io, m: &mut BeginQuorumEpochRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    if version >= 1 {
        io.node(&mut m.voter)?;
    }
    let there = metadata_partition(io, |io| {
        if version >= 1 {
            io.uuid(&mut m.voter_directory_id)?;
        }
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)
    })?;
    requested(there)?;
    if version >= 1 {
        listeners(io, &mut m.leader_endpoints)?;
    }
    io.end()
}

pub(super) fn begin_response(io: &mut Io, m: &mut BeginQuorumEpochResponse) -> Visited {
    epoch_response(io, &mut m.error, &mut m.leader, &mut m.leader_epoch)
}

fn epoch_response(
    io: &mut Io,
    error: &mut ErrorCode,
    leader: &mut NodeId,
    epoch: &mut LeaderEpoch,
) -> Visited {
    let mut whole = ErrorCode::None;
    io.error(&mut whole)?;
    let there = metadata_partition(io, |io| {
        io.error(error)?;
        io.node(leader)?;
        io.epoch(epoch)
    })?;
    take_whole(error, whole, there)?;
    io.end()
}

pub(super) fn end_request(io: &mut Io, m: &mut EndQuorumEpochRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    let there = metadata_partition(io, |io| {
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)?;
        if version == 0 {
            return io.nodes(&mut m.preferred_successors);
        }
        io.array(
            &mut m.preferred_successors,
            || NodeId::NONE,
            |io, candidate| {
                io.node(candidate)?;
                let mut directory = Uuid::ZERO;
                io.uuid(&mut directory)?;
                io.end()
            },
        )
    })?;
    requested(there)?;
    if version >= 1 {
        let mut leader_endpoints = Vec::new();
        listeners(io, &mut leader_endpoints)?;
    }
    io.end()
}

pub(super) fn end_response(io: &mut Io, m: &mut EndQuorumEpochResponse) -> Visited {
    epoch_response(io, &mut m.error, &mut m.leader, &mut m.leader_epoch)
}

pub(super) fn alter_partition_request(io: &mut Io, m: &mut AlterPartitionRequest) -> Visited {
    let version = io.version();
    io.node(&mut m.broker)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    let no_topic = || AlterPartitionTopic { id: Uuid::ZERO, partitions: Vec::new() };
    io.array(&mut m.topics, no_topic, |io, one| {
        io.uuid(&mut one.id)?;
        let none = || AlterPartitionData {
            partition: 0,
            leader_epoch: LeaderEpoch::NONE,
            new_isr: Vec::new(),
            leader_recovery_state: 0,
            partition_epoch: PartitionEpoch(-1),
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            io.epoch(&mut part.leader_epoch)?;
            let unknown = || (NodeId::NONE, BrokerEpoch::NONE);
            io.array(&mut part.new_isr, unknown, |io, (node, epoch)| {
                io.node(node)?;
                if version >= 3 {
                    io.broker_epoch(epoch)?;
                    return io.end();
                }
                Ok(())
            })?;
            io.i8(&mut part.leader_recovery_state)?;
            io.partition_epoch(&mut part.partition_epoch)?;
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}

pub(super) fn alter_partition_response(io: &mut Io, m: &mut AlterPartitionResponse) -> Visited {
    io.i32(&mut m.throttle_time_ms)?;
    io.error(&mut m.error)?;
    io.array(
        &mut m.topics,
        || (Uuid::ZERO, Vec::new()),
        |io, (id, partitions)| {
            io.uuid(id)?;
            let none = || AlterPartitionResult {
                partition: 0,
                error: ErrorCode::None,
                leader: NodeId::NONE,
                leader_epoch: LeaderEpoch::NONE,
                isr: Vec::new(),
                leader_recovery_state: 0,
                partition_epoch: PartitionEpoch(-1),
            };
            io.array(partitions, none, |io, part| {
                io.i32(&mut part.partition)?;
                io.error(&mut part.error)?;
                io.node(&mut part.leader)?;
                io.epoch(&mut part.leader_epoch)?;
                io.nodes(&mut part.isr)?;
                io.i8(&mut part.leader_recovery_state)?;
                io.partition_epoch(&mut part.partition_epoch)?;
                io.end()
            })?;
            io.end()
        },
    )?;
    io.end()
}

/// PLAINTEXT, the only protocol of our listeners.
const PLAINTEXT: i16 = 0;

pub(super) fn registration_request(io: &mut Io, m: &mut BrokerRegistrationRequest) -> Visited {
    let version = io.version();
    io.node(&mut m.broker)?;
    io.string(&mut m.cluster_id)?;
    io.uuid(&mut m.incarnation)?;
    io.array(
        &mut m.listeners,
        || (String::new(), Endpoint::default()),
        |io, (name, at)| {
            io.string(name)?;
            endpoint(io, at)?;
            let mut security_protocol = PLAINTEXT;
            io.i16(&mut security_protocol)?;
            io.end()
        },
    )?;
    io.array(
        &mut m.features,
        || (String::new(), 0, 0),
        |io, (name, min, max)| {
            io.string(name)?;
            io.i16(min)?;
            io.i16(max)?;
            io.end()
        },
    )?;
    io.nullable_string(&mut m.rack)?;
    if version >= 1 {
        let mut is_migrating_zk_broker = false;
        io.bool(&mut is_migrating_zk_broker)?;
    }
    if version >= 2 {
        io.uuids(&mut m.log_dirs)?;
    }
    if version >= 3 {
        io.broker_epoch(&mut m.previous_broker_epoch)?;
    }
    io.end()
}

pub(super) fn registration_response(io: &mut Io, m: &mut BrokerRegistrationResponse) -> Visited {
    io.ignored_i32(0)?;
    io.error(&mut m.error)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    io.end()
}

pub(super) fn heartbeat_request(io: &mut Io, m: &mut BrokerHeartbeatRequest) -> Visited {
    io.node(&mut m.broker)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    io.offset(&mut m.current_metadata_offset)?;
    io.bool(&mut m.want_fence)?;
    io.bool(&mut m.want_shut_down)?;
    let present = !m.offline_log_dirs.is_empty();
    let visit = &mut |io: &mut Io| io.uuids(&mut m.offline_log_dirs);
    io.tagged(&mut [Tagged { tag: 0, since: 1, present, visit }])
}

pub(super) fn heartbeat_response(io: &mut Io, m: &mut BrokerHeartbeatResponse) -> Visited {
    io.ignored_i32(0)?;
    io.error(&mut m.error)?;
    io.bool(&mut m.is_caught_up)?;
    io.bool(&mut m.is_fenced)?;
    io.bool(&mut m.should_shut_down)?;
    io.end()
}
