//! ListOffsets: log ends are answered at once, timestamps by a lookup in the log that may need the
//! disk.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReadTag, ReplyTo};
use crate::log::{
    DiskRead, FinishedLookup, LookupPlan, RestingLookup, TimestampHit, TimestampQuery,
};
use crate::metadata::MetadataImage;
use crate::msg::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP, Response,
};
use crate::replica::Partition;
use crate::storage::Hosted;
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, TopicRef};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reading {
    at: (usize, usize),
    query: TimestampQuery,
    limit: Offset,
    /// The error to answer if nothing is found below `limit`. While a new leader does not know how
    /// much is committed, there may still be something (KIP-207).
    nothing: ErrorCode,
    plan: DiskRead,
    /// The position within the batch at `plan`, if it is this lookup's turn to scan it.
    resting: Option<RestingLookup>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parked {
    response: ListOffsetsResponse,
    reading: BTreeMap<PartitionId, Reading>,
}

/// All lookups that wait for the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lookups {
    parked: BTreeMap<ReplyTo, Parked>,
    /// The lookup that is scanning a batch in pieces; it waits for a read. One at a time, because
    /// it holds decompressed data.
    resting: Option<(ReplyTo, PartitionId)>,
    /// Lookups that wait only for their turn to scan. They start again at the beginning of their
    /// batch.
    queue: VecDeque<(ReplyTo, PartitionId)>,
}

enum Found {
    Answer(ListOffsetsPartitionResponse),
    /// The read's position in the answer is not known here.
    Reading(PartitionId, Reading),
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
    /// Handles a request.
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
        let mut reading = BTreeMap::new();
        for (t, topic) in request.topics.into_iter().enumerate() {
            let reference = TopicRef::name(topic.name.clone());
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (p, asked) in topic.partitions.iter().enumerate() {
                let replica = request.replica.known();
                let found = look(version, replica, &reference, asked, hosted, image, env);
                partitions.push(match found {
                    Found::Answer(answer) => answer,
                    // Two reads of one partition for the same request could not be told apart.
                    Found::Reading(id, _) if reading.contains_key(&id) => {
                        failed(asked.partition, ErrorCode::InvalidRequest)
                    }
                    Found::Reading(id, one) => {
                        one.plan.submit(ReadTag::Lookup(from), env);
                        reading.insert(id, Reading { at: (t, p), ..one });
                        failed(asked.partition, ErrorCode::None)
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

    /// The bytes read for the lookup `from`.
    pub fn on_read(
        &mut self,
        from: ReplyTo,
        partition: PartitionId,
        bytes: Bytes,
        hosted: &Hosted,
        env: &mut dyn Env,
    ) {
        let was_resting = self.resting == Some((from, partition));
        if was_resting {
            self.resting = None;
        }
        self.go_on(from, partition, bytes, hosted, env);
        if was_resting && self.resting.is_none() {
            self.next_in_queue(hosted, env);
        }
    }

    fn go_on(
        &mut self,
        from: ReplyTo,
        partition: PartitionId,
        bytes: Bytes,
        hosted: &Hosted,
        env: &mut dyn Env,
    ) {
        let Some(parked) = self.parked.get_mut(&from) else { return };
        let Some(mut one) = parked.reading.remove(&partition) else { return };
        let answer = &mut parked.response.topics[one.at.0].partitions[one.at.1];
        let log = hosted.get(partition).filter(|p| p.leader_state().is_some()).map(Partition::log);
        let finished = log.map(|log| match one.resting.take() {
            Some(resting) => log.resume_lookup(one.limit, &one.plan, resting),
            None => log.finish_lookup(one.query, one.limit, &one.plan, bytes),
        });
        match finished {
            Some(FinishedLookup::Found(found)) => {
                *answer = at(answer.partition, found, one.nothing);
            }
            Some(FinishedLookup::More(query, plan)) => {
                plan.submit(ReadTag::Lookup(from), env);
                parked.reading.insert(partition, Reading { query, plan, ..one });
            }
            Some(FinishedLookup::Rests(resting, plan)) => {
                let resting = self.resting.is_none().then_some(resting);
                if resting.is_some() {
                    self.resting = Some((from, partition));
                    plan.turn().submit(ReadTag::Lookup(from), env);
                } else {
                    self.queue.push_back((from, partition));
                }
                parked.reading.insert(partition, Reading { plan, resting, ..one });
            }
            // Leadership moved, or the log was truncated meanwhile. The client asks again.
            None | Some(FinishedLookup::Stale) => {
                *answer = failed(answer.partition, ErrorCode::NotLeaderOrFollower);
            }
            Some(FinishedLookup::Corrupt) => {
                *answer = failed(answer.partition, ErrorCode::CorruptMessage);
            }
        }
        self.answer_if_done(from, env);
    }

    fn answer_if_done(&mut self, from: ReplyTo, env: &mut dyn Env) {
        if self.parked.get(&from).is_some_and(|parked| parked.reading.is_empty())
            && let Some(parked) = self.parked.remove(&from)
        {
            env.respond(from, Response::ListOffsets(parked.response));
        }
    }

    /// Starts the next look-up that waits for its turn. If its partition was removed or its
    /// segment truncated in the meantime, the planned read must not be submitted.
    fn next_in_queue(&mut self, hosted: &Hosted, env: &mut dyn Env) {
        while let Some((from, partition)) = self.queue.pop_front() {
            let Some(parked) = self.parked.get_mut(&from) else { continue };
            let Some(one) = parked.reading.get(&partition) else { continue };
            let hosted = hosted.get(partition).filter(|p| p.leader_state().is_some());
            if hosted.is_some_and(|hosted| hosted.log().may_read(&one.plan)) {
                one.plan.submit(ReadTag::Lookup(from), env);
                self.resting = Some((from, partition));
                return;
            }
            let answer = &mut parked.response.topics[one.at.0].partitions[one.at.1];
            *answer = failed(answer.partition, ErrorCode::NotLeaderOrFollower);
            parked.reading.remove(&partition);
            self.answer_if_done(from, env);
        }
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        let range = ReplyTo { connection, number: 0 }..=ReplyTo { connection, number: u32::MAX };
        let gone: Vec<ReplyTo> = self.parked.range(range).map(|(from, _)| *from).collect();
        for from in gone {
            self.parked.remove(&from);
        }
        // The resting lookup is removed when its read ends.
        self.queue.retain(|(from, _)| from.connection != connection);
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
    // A new leader's high watermark may be behind what clients saw under the previous leader. Until
    // it reaches the epoch's start, the end is not known (KIP-207).
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
        // The largest committed timestamp is not known then, either.
        MAX_TIMESTAMP if !settled => return refuse(unsettled),
        MAX_TIMESTAMP => TimestampQuery::LARGEST,
        timestamp if timestamp >= 0 => TimestampQuery::AtOrAfter(timestamp),
        _ => return refuse(ErrorCode::InvalidRequest),
    };
    let nothing = if settled { ErrorCode::None } else { unsettled };
    match log.lookup_timestamp(query, limit) {
        LookupPlan::Found(found) => Found::Answer(at(index, found, nothing)),
        LookupPlan::Disk(query, plan) => {
            Found::Reading(id, Reading { at: (0, 0), query, limit, nothing, plan, resting: None })
        }
    }
}
