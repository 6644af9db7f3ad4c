//! Fetch.

use alloc::vec::Vec;
use bytes::Bytes;

use wavetank_core::batch::{Batch, split};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic,
    FetchTopicResponse, ForgottenTopic, Records,
};
use wavetank_core::types::{BrokerEpoch, EpochEndOffset, LeaderEpoch, NodeId, Offset, Uuid};

use super::shared::{leader, node_endpoints, topic};
use crate::visit::{Io, Tagged, Visited};

fn no_fetch_partition() -> FetchPartition {
    FetchPartition {
        partition: 0,
        current_leader_epoch: LeaderEpoch::NONE,
        fetch_offset: Offset::ZERO,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: Offset(-1),
        max_bytes: 0,
        replica_directory_id: Uuid::ZERO,
        high_watermark: Offset(i64::MAX),
    }
}

pub(super) fn request(io: &mut Io, m: &mut FetchRequest) -> Visited {
    let version = io.version();
    if version <= 14 {
        io.node(&mut m.replica)?;
    }
    io.i32(&mut m.max_wait_ms)?;
    io.i32(&mut m.min_bytes)?;
    io.i32(&mut m.max_bytes)?;
    io.i8(&mut m.isolation_level)?;
    if version >= 7 {
        io.i32(&mut m.session_id)?;
        io.i32(&mut m.session_epoch)?;
    }
    io.array(&mut m.topics, FetchTopic::default, |io, one| {
        topic(io, &mut one.topic, 13)?;
        io.array(&mut one.partitions, no_fetch_partition, fetch_partition)?;
        io.end()
    })?;
    if version >= 7 {
        io.array(&mut m.forgotten, ForgottenTopic::default, |io, one| {
            topic(io, &mut one.topic, 13)?;
            io.i32s(&mut one.partitions)?;
            io.end()
        })?;
    }
    if version >= 11 {
        io.string(&mut m.rack_id)?;
    }
    let has_cluster = m.cluster_id.is_some();
    let has_replica = m.replica != NodeId::NONE || m.replica_epoch != BrokerEpoch::NONE;
    let (cluster, replica, epoch) = (&mut m.cluster_id, &mut m.replica, &mut m.replica_epoch);
    io.tagged(&mut [
        Tagged {
            tag: 0,
            since: 12,
            present: has_cluster,
            visit: &mut |io| io.nullable_string(cluster),
        },
        Tagged {
            tag: 1,
            since: 15,
            present: has_replica,
            visit: &mut |io| {
                io.node(replica)?;
                io.broker_epoch(epoch)?;
                io.end()
            },
        },
    ])
}

fn fetch_partition(io: &mut Io, part: &mut FetchPartition) -> Visited {
    let version = io.version();
    io.i32(&mut part.partition)?;
    if version >= 9 {
        io.epoch(&mut part.current_leader_epoch)?;
    }
    io.offset(&mut part.fetch_offset)?;
    if version >= 12 {
        io.epoch(&mut part.last_fetched_epoch)?;
    }
    if version >= 5 {
        io.offset(&mut part.log_start_offset)?;
    }
    io.i32(&mut part.max_bytes)?;
    let has_directory = part.replica_directory_id != Uuid::ZERO;
    let has_watermark = part.high_watermark != Offset(i64::MAX);
    let directory = &mut |io: &mut Io| io.uuid(&mut part.replica_directory_id);
    let watermark = &mut |io: &mut Io| io.offset(&mut part.high_watermark);
    io.tagged(&mut [
        Tagged { tag: 0, since: 17, present: has_directory, visit: directory },
        Tagged { tag: 1, since: 18, present: has_watermark, visit: watermark },
    ])
}

pub(super) fn response(io: &mut Io, m: &mut FetchResponse) -> Visited {
    let version = io.version();
    io.i32(&mut m.throttle_time_ms)?;
    if version >= 7 {
        io.error(&mut m.error)?;
        io.i32(&mut m.session_id)?;
    }
    io.array(&mut m.topics, FetchTopicResponse::default, |io, one| {
        topic(io, &mut one.topic, 13)?;
        let none = || FetchPartitionResponse::failed(0, ErrorCode::None);
        io.array(&mut one.partitions, none, fetch_partition_response)?;
        io.end()
    })?;
    let present = !m.node_endpoints.is_empty();
    let visit = &mut |io: &mut Io| node_endpoints(io, &mut m.node_endpoints);
    io.tagged(&mut [Tagged { tag: 0, since: 16, present, visit }])
}

fn fetch_partition_response(io: &mut Io, part: &mut FetchPartitionResponse) -> Visited {
    let version = io.version();
    io.i32(&mut part.partition)?;
    io.error(&mut part.error)?;
    io.offset(&mut part.high_watermark)?;
    io.offset(&mut part.last_stable_offset)?;
    if version >= 5 {
        io.offset(&mut part.log_start_offset)?;
    }
    io.nullable_array(
        &mut part.aborted,
        || (0, Offset::ZERO),
        |io, (producer, first)| {
            io.i64(producer)?;
            io.offset(first)?;
            io.end()
        },
    )?;
    if version >= 11 {
        io.node(&mut part.preferred_read_replica)?;
    }
    records(io, &mut part.records)?;
    let (has_diverging, has_leader) =
        (part.diverging_epoch.is_some(), part.current_leader.is_some());
    let diverging = &mut |io: &mut Io| epoch_end(io, &mut part.diverging_epoch);
    let current = &mut |io: &mut Io| leader(io, &mut part.current_leader);
    io.tagged(&mut [
        Tagged { tag: 0, since: 12, present: has_diverging, visit: diverging },
        Tagged { tag: 1, since: 12, present: has_leader, visit: current },
    ])
}

fn epoch_end(io: &mut Io, end: &mut Option<EpochEndOffset>) -> Visited {
    let none = EpochEndOffset { epoch: LeaderEpoch::NONE, end_offset: Offset(-1) };
    let mut value = end.unwrap_or(none);
    io.epoch(&mut value.epoch)?;
    io.offset(&mut value.end_offset)?;
    io.end()?;
    *end = (value != none).then_some(value);
    Ok(())
}

/// Batches unchanged: prefix and body, one after the other. Batches that are read share the frame;
/// a last batch that is cut off is dropped.
fn records(io: &mut Io, records: &mut Records) -> Visited {
    let pieces =
        |batch: &Batch| [Bytes::copy_from_slice(&batch.prefix_bytes()), batch.body().clone()];
    let mut bytes = Some(records.iter().flat_map(pieces).collect::<Vec<Bytes>>());
    io.nullable_bytes(&mut bytes)?;
    if io.reads() {
        let whole = bytes.and_then(|pieces| pieces.into_iter().next()).unwrap_or_default();
        *records = split(whole)?;
    }
    Ok(())
}
