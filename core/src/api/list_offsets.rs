//! ListOffsets: ends at once, timestamps by a look into the log that may need the disk.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReadTag, ReplyTo};
use crate::log::{DiskRead, FinishedLookup, LookupPlan, TimestampHit, TimestampQuery};
use crate::metadata::MetadataImage;
use crate::msg::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP, Response,
};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, TopicRef};

use super::Hosted;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reading {
    at: (usize, usize),
    partition: PartitionId,
    query: TimestampQuery,
    limit: Offset,
    /// What is answered if there is nothing below `limit`: as long as it was not settled how much was
    /// committed, that says nothing of what there is (KIP-207).
    nothing: ErrorCode,
    plan: DiskRead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parked {
    response: ListOffsetsResponse,
    reading: Vec<Reading>,
}

/// All look-ups that wait for the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lookups {
    parked: BTreeMap<ReplyTo, Parked>,
}

enum Found {
    Answer(ListOffsetsPartitionResponse),
    /// Its place in the answer is not known here.
    Reading(Reading),
}

fn failed(partition: i32, error: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition,
        error,
        timestamp: -1,
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::NONE,
    }
}

impl Lookups {
    /// A request.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        version: i16,
        request: ListOffsetsRequest,
        hosted: &Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
    ) {
        let mut response = ListOffsetsResponse::default();
        let mut reading = Vec::new();
        for (t, topic) in request.topics.into_iter().enumerate() {
            let reference = TopicRef::name(topic.name.clone());
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (p, asked) in topic.partitions.iter().enumerate() {
                let replica = request.replica.known();
                let found = look(version, replica, &reference, asked, hosted, image, env);
                partitions.push(match found {
                    Found::Answer(answer) => answer,
                    Found::Reading(one) => {
                        // Two reads of a partition for one request could not be told apart.
                        let twice = reading.iter().any(|r: &Reading| r.partition == one.partition);
                        if twice {
                            failed(asked.partition, ErrorCode::InvalidRequest)
                        } else {
                            let DiskRead { file, at, len, .. } = one.plan;
                            env.read(ReadTag::Lookup(from), file, at, len);
                            reading.push(Reading { at: (t, p), ..one });
                            failed(asked.partition, ErrorCode::None)
                        }
                    }
                });
            }
            response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
        }
        if reading.is_empty() {
            env.respond(from, Response::ListOffsets(response));
        } else {
            self.parked.insert(from, Parked { response, reading });
        }
    }

    /// The bytes of a read for the look-up `from`.
    pub fn on_read(
        &mut self,
        from: ReplyTo,
        partition: PartitionId,
        bytes: Bytes,
        hosted: &Hosted,
        env: &mut dyn Env,
    ) {
        let Some(parked) = self.parked.get_mut(&from) else { return };
        let Some(index) = parked.reading.iter().position(|r| r.partition == partition) else {
            return;
        };
        let one = parked.reading.remove(index);
        let answer = &mut parked.response.topics[one.at.0].partitions[one.at.1];
        let finished = hosted
            .get(partition)
            .filter(|p| p.leader_state().is_some())
            .map(|p| p.log().finish_lookup(one.query, one.limit, &one.plan, bytes));
        match finished {
            Some(FinishedLookup::Found(found)) => {
                *answer = at(answer.partition, found, one.nothing);
            }
            Some(FinishedLookup::More(query, plan)) => {
                env.read(ReadTag::Lookup(from), plan.file, plan.at, plan.len);
                parked.reading.push(Reading { query, plan, ..one });
            }
            // The leader moved or cut its log meanwhile: the client asks again.
            None | Some(FinishedLookup::Stale) => {
                *answer = failed(answer.partition, ErrorCode::NotLeaderOrFollower);
            }
            Some(FinishedLookup::Corrupt) => {
                *answer = failed(answer.partition, ErrorCode::CorruptMessage);
            }
        }
        if parked.reading.is_empty()
            && let Some(parked) = self.parked.remove(&from)
        {
            env.respond(from, Response::ListOffsets(parked.response));
        }
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        self.parked.retain(|from, _| from.connection != connection);
    }
}

fn at(index: i32, found: Option<TimestampHit>, nothing: ErrorCode) -> ListOffsetsPartitionResponse {
    match found {
        None => failed(index, nothing),
        Some(found) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: found.leader_epoch,
            ..failed(index, ErrorCode::None)
        },
    }
}

fn look(
    version: i16,
    replica: Option<NodeId>,
    topic: &TopicRef,
    asked: &ListOffsetsPartition,
    hosted: &Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) -> Found {
    let index = asked.partition;
    let refuse = |error| Found::Answer(failed(index, error));
    let (id, partition) = match hosted.find(topic, index, image) {
        Ok(id) => match hosted.get(id) {
            Some(partition) => (id, partition),
            None => return refuse(ErrorCode::UnknownTopicOrPartition),
        },
        Err(error) => return refuse(error),
    };
    if let Err(error) = partition.check_epoch(asked.current_leader_epoch, env) {
        return refuse(error);
    }
    let Some(leader) = partition.leader_state() else {
        return refuse(ErrorCode::NotLeaderOrFollower);
    };
    let log = partition.log();
    let fixed = |offset: Offset, leader_epoch| {
        let answer =
            ListOffsetsPartitionResponse { offset, leader_epoch, ..failed(index, ErrorCode::None) };
        Found::Answer(answer)
    };
    // A new leader's high watermark may be behind what clients saw under the one before; until it
    // reaches the epoch's start, the end is not known (KIP-207).
    let settled = partition.high_watermark() >= leader.epoch_start || replica.is_some();
    let unsettled =
        if version >= 5 { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable };
    let limit = match replica {
        Some(_) => log.written_end(),
        None => partition.high_watermark(),
    };
    let query = match asked.timestamp {
        LATEST_TIMESTAMP if !settled => return refuse(unsettled),
        LATEST_TIMESTAMP => return fixed(limit, partition.leader_epoch()),
        EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
            let start = log.log_start();
            return fixed(start, log.epochs().epoch_of(start).unwrap_or(LeaderEpoch::NONE));
        }
        LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => {
            return fixed(Offset(-1), LeaderEpoch::NONE);
        }
        // The largest of what was committed is not known then, either.
        MAX_TIMESTAMP if !settled => return refuse(unsettled),
        MAX_TIMESTAMP => TimestampQuery::LARGEST,
        timestamp if timestamp >= 0 => TimestampQuery::AtOrAfter(timestamp),
        _ => return refuse(ErrorCode::InvalidRequest),
    };
    let nothing = if settled { ErrorCode::None } else { unsettled };
    match log.lookup_timestamp(query, limit) {
        LookupPlan::Found(found) => Found::Answer(at(index, found, nothing)),
        LookupPlan::Disk(query, plan) => {
            Found::Reading(Reading { at: (0, 0), partition: id, query, limit, nothing, plan })
        }
    }
}
