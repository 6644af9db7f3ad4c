//! How the answers to a consumer's requests change its partitions.

use alloc::vec::Vec;

use super::super::{
    ClientFact, Cluster, ConsumedRecord, NamedPartition, is_metadata_error, same_topic,
};
use super::{Assigned, Consumer, Phase, Purpose, QueryId, ResetPolicy, Sent};
use crate::batch::Batch;
use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::RpcError;
use crate::msg::{
    EpochEndOffsetResponse, FetchPartitionResponse, ListOffsetsPartitionResponse, Response,
};
use crate::types::{EpochEndOffset, LeaderEpoch, NodeId, Offset, TopicRef, WallTime};

impl Consumer {
    /// The outcome of the oldest request to `peer`. False if there is none.
    pub(crate) fn on_outcome(
        &mut self,
        peer: NodeId,
        outcome: &Result<Response, RpcError>,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) -> bool {
        let Some(sent) = self.in_flight.get_mut(&peer).and_then(|queue| queue.pop_front()) else {
            return false;
        };
        let error = match outcome {
            Ok(Response::Fetch(response)) => {
                cluster.learn_endpoints(&response.node_endpoints, env);
                response.error
            }
            Ok(_) => ErrorCode::None,
            Err(RpcError::Disconnected) => ErrorCode::NetworkException,
            Err(RpcError::TimedOut) => ErrorCode::RequestTimedOut,
            Err(RpcError::Unsupported) => ErrorCode::UnsupportedVersion,
        };
        match sent {
            Sent::Fetch(asked) => {
                for (topic, partition, token) in asked {
                    if !self.concerns(&partition, token) {
                        continue;
                    }
                    let answer = fetch_answer(outcome, &topic, partition.partition);
                    match answer.filter(|_| error.is_ok()) {
                        Some(answer) => self.on_fetched(&partition, answer, cluster, env, out),
                        None => self.on_error(&partition, or_unknown(error), cluster, env, out),
                    }
                }
            }
            Sent::Lookup(asked) => {
                for (partition, purpose) in asked {
                    let answer = lookup_answer(outcome, &partition);
                    self.on_looked_up(&partition, purpose, answer, error, cluster, env, out);
                }
            }
            Sent::Validate(asked) => {
                for (partition, token, epoch) in asked {
                    if !self.concerns(&partition, token) {
                        continue;
                    }
                    match epoch_answer(outcome, &partition) {
                        Some(end) if end.error.is_ok() => {
                            self.on_validated(&partition, end, epoch, out);
                        }
                        Some(end) => self.on_error(&partition, end.error, cluster, env, out),
                        None => self.on_error(&partition, or_unknown(error), cluster, env, out),
                    }
                }
            }
        }
        true
    }

    fn on_looked_up(
        &mut self,
        partition: &NamedPartition,
        purpose: Purpose,
        answer: Option<&ListOffsetsPartitionResponse>,
        error: ErrorCode,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        let (token, epoch) = match purpose {
            Purpose::Locate { token, epoch, .. } => (token, epoch),
            Purpose::Query(id) => {
                self.on_end(partition, id, answer, error, cluster, env, out);
                return;
            }
        };
        if !self.concerns(partition, token) {
            return;
        }
        match answer {
            Some(found) if found.error.is_ok() => self.on_located(partition, found, epoch, out),
            Some(found) => self.on_error(partition, found.error, cluster, env, out),
            None => self.on_error(partition, or_unknown(error), cluster, env, out),
        }
    }

    /// Whether an answer with this token is still relevant to the partition. If so, no request is
    /// in flight any more.
    fn concerns(&mut self, partition: &NamedPartition, token: u64) -> bool {
        match self.partitions.get_mut(partition) {
            Some(assigned) if assigned.token == token => {
                assigned.pace.asked = None;
                true
            }
            Some(_) | None => false,
        }
    }

    fn assigned(&mut self, partition: &NamedPartition) -> &mut Assigned {
        self.partitions.get_mut(partition).expect("concerns() found it")
    }

    fn on_error(
        &mut self,
        partition: &NamedPartition,
        error: ErrorCode,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        if is_metadata_error(error) {
            cluster.request_update();
        }
        let backoff = self.config.backoff;
        let assigned = self.assigned(partition);
        assigned.pace.failed(backoff, env);
        if !error.is_retriable() && error != ErrorCode::UnknownServerError {
            assigned.phase = Phase::Stopped(error);
        }
        out.push(ClientFact::FetchError { partition: partition.clone(), error });
    }

    fn on_fetched(
        &mut self,
        partition: &NamedPartition,
        answer: &FetchPartitionResponse,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        let news = cluster.learn_leader(partition, answer.current_leader);
        if answer.error == ErrorCode::OffsetOutOfRange {
            self.on_out_of_range(partition, out);
            return;
        }
        if !answer.error.is_ok() {
            self.on_error(partition, answer.error, cluster, env, out);
            if news {
                // The next request goes to a different node, so there is no need to wait (KIP-951).
                self.assigned(partition).pace.not_before = env.now();
            }
            return;
        }
        let check_crcs = self.config.check_crcs;
        let assigned = self.assigned(partition);
        assigned.pace.failures = 0;
        assigned.high_watermark = answer.high_watermark;
        if let Some(diverging) = answer.diverging_epoch {
            self.on_truncated(partition, diverging, out);
            return;
        }
        let from = assigned.position;
        let mut records = Vec::new();
        let mut damaged = false;
        for batch in &answer.records {
            if !assigned.take(batch, check_crcs, &mut records) {
                damaged = true;
                break;
            }
        }
        assert!(assigned.position >= from, "reading moves forward");
        if !records.is_empty() {
            out.push(ClientFact::Records {
                partition: partition.clone(),
                records,
                high_watermark: answer.high_watermark,
            });
        }
        if damaged {
            self.on_error(partition, ErrorCode::CorruptMessage, cluster, env, out);
        }
    }

    fn on_out_of_range(&mut self, partition: &NamedPartition, out: &mut Vec<ClientFact>) {
        let to = self.config.reset;
        let token = self.token();
        let assigned = self.assigned(partition);
        let from = assigned.position;
        let earliest = match to {
            ResetPolicy::Earliest => true,
            ResetPolicy::Latest => false,
            ResetPolicy::None => {
                assigned.phase = Phase::Stopped(ErrorCode::OffsetOutOfRange);
                let partition = partition.clone();
                out.push(ClientFact::FetchError { partition, error: ErrorCode::OffsetOutOfRange });
                return;
            }
        };
        assigned.token = token;
        assigned.phase = Phase::Locating { earliest };
        assigned.position_epoch = LeaderEpoch::NONE;
        out.push(ClientFact::Reset { partition: partition.clone(), from, to });
    }

    /// The epoch of the last record read ends before the position: records that were read are gone.
    fn on_truncated(
        &mut self,
        partition: &NamedPartition,
        end: EpochEndOffset,
        out: &mut Vec<ClientFact>,
    ) {
        if end.end_offset < Offset::ZERO {
            // The leader knows no epoch at or below ours, so there is nothing to go back to.
            self.on_out_of_range(partition, out);
            return;
        }
        let stop = self.config.reset == ResetPolicy::None;
        let assigned = self.assigned(partition);
        let from = assigned.position;
        let to = from.min(end.end_offset);
        out.push(ClientFact::Truncated {
            partition: partition.clone(),
            from,
            to,
            epoch: end.epoch,
        });
        if stop {
            assigned.phase = Phase::Stopped(ErrorCode::OffsetOutOfRange);
        } else {
            assigned.phase = Phase::Fetching;
            assigned.position = to;
            assigned.position_epoch = end.epoch;
        }
    }

    fn on_validated(
        &mut self,
        partition: &NamedPartition,
        end: &EpochEndOffsetResponse,
        asked_in: LeaderEpoch,
        out: &mut Vec<ClientFact>,
    ) {
        let assigned = self.assigned(partition);
        assigned.pace.failures = 0;
        assigned.validated = asked_in;
        if end.end_offset < assigned.position {
            let end = EpochEndOffset { epoch: end.leader_epoch, end_offset: end.end_offset };
            self.on_truncated(partition, end, out);
        } else {
            assigned.phase = Phase::Fetching;
        }
    }

    fn on_located(
        &mut self,
        partition: &NamedPartition,
        found: &ListOffsetsPartitionResponse,
        asked_in: LeaderEpoch,
        out: &mut Vec<ClientFact>,
    ) {
        let assigned = self.assigned(partition);
        assigned.pace.failures = 0;
        assigned.phase = Phase::Fetching;
        assigned.position = found.offset.max(Offset::ZERO);
        assigned.position_epoch = found.leader_epoch;
        assigned.validated = asked_in;
        let offset = assigned.position;
        out.push(ClientFact::Position { partition: partition.clone(), offset });
    }

    fn on_end(
        &mut self,
        partition: &NamedPartition,
        id: QueryId,
        answer: Option<&ListOffsetsPartitionResponse>,
        error: ErrorCode,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        let Some(query) = self.ends.get_mut(partition).filter(|query| query.id == id) else {
            return;
        };
        // A leader that was asked before the leadership moved may answer late. The first answer
        // counts.
        let error = answer.map_or(or_unknown(error), |answer| answer.error);
        if is_metadata_error(error) {
            cluster.request_update();
        }
        let found = match answer {
            Some(answer) if error.is_ok() => Ok((answer.offset, WallTime(answer.timestamp))),
            Some(_) | None if error.is_retriable() || error == ErrorCode::UnknownServerError => {
                query.pace.failed(self.config.backoff, env);
                return;
            }
            Some(_) | None => Err(error),
        };
        let leader_epoch = answer.map_or(LeaderEpoch::NONE, |answer| answer.leader_epoch);
        let asked = query.timestamp;
        self.ends.remove(partition);
        let partition = partition.clone();
        out.push(match asked {
            None => {
                let offset = found.map(|(offset, _)| offset);
                ClientFact::EndOffset { query: id, partition, offset, leader_epoch }
            }
            Some(asked) => {
                let found = found.map(|at| (at.0 >= Offset::ZERO).then_some(at));
                ClientFact::OffsetAt { query: id, partition, asked, found, leader_epoch }
            }
        });
    }
}

impl Assigned {
    /// Reads one batch. Returns false if it is damaged; the position then stays before it.
    fn take(&mut self, batch: &Batch, check_crcs: bool, out: &mut Vec<ConsumedRecord>) -> bool {
        if batch.next_offset() <= self.position {
            return true;
        }
        if check_crcs && !batch.verify_crc() {
            return false;
        }
        // Control records occupy offsets but are not data.
        if !batch.is_control() {
            let Ok(records) = batch.records() else { return false };
            let wanted = records.into_iter().filter(|record| record.offset >= self.position);
            out.extend(wanted.map(|record| ConsumedRecord {
                offset: record.offset,
                leader_epoch: batch.leader_epoch,
                timestamp: WallTime(record.timestamp),
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
        self.position = batch.next_offset();
        self.position_epoch = batch.leader_epoch;
        true
    }
}

/// An answer that omits a partition is the server's mistake.
fn or_unknown(error: ErrorCode) -> ErrorCode {
    if error.is_ok() { ErrorCode::UnknownServerError } else { error }
}

fn fetch_answer<'a>(
    outcome: &'a Result<Response, RpcError>,
    topic: &TopicRef,
    partition: i32,
) -> Option<&'a FetchPartitionResponse> {
    let Ok(Response::Fetch(response)) = outcome else { return None };
    response
        .topics
        .iter()
        .filter(|answered| same_topic(topic, &answered.topic))
        .flat_map(|answered| &answered.partitions)
        .find(|answered| answered.partition == partition)
}

fn lookup_answer<'a>(
    outcome: &'a Result<Response, RpcError>,
    partition: &NamedPartition,
) -> Option<&'a ListOffsetsPartitionResponse> {
    let Ok(Response::ListOffsets(response)) = outcome else { return None };
    response
        .topics
        .iter()
        .filter(|answered| answered.name == partition.topic)
        .flat_map(|answered| &answered.partitions)
        .find(|answered| answered.partition == partition.partition)
}

fn epoch_answer<'a>(
    outcome: &'a Result<Response, RpcError>,
    partition: &NamedPartition,
) -> Option<&'a EpochEndOffsetResponse> {
    let Ok(Response::OffsetForLeaderEpoch(response)) = outcome else { return None };
    response
        .topics
        .iter()
        .filter(|answered| answered.name == partition.topic)
        .flat_map(|answered| &answered.partitions)
        .find(|answered| answered.partition == partition.partition)
}
