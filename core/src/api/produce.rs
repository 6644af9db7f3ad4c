//! Produce: verify, append, park until the requested acknowledgement holds.
//!
//! The rules for appends and acknowledgements live in [`crate::replica`], those for a valid batch
//! in [`crate::batch`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::VerifiedBatch;
use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::{ReplyTo, TimerKey};
use crate::metadata::MetadataImage;
use crate::msg::{
    LeaderIdAndEpoch, ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse,
    ProduceTopicResponse, Response,
};
use crate::note::Note;
use crate::replica::Fact;
use crate::storage::Hosted;
use crate::types::{Monotonic, Offset, PartitionId, TopicRef};

use super::full_ref;

/// A waiting partition of a parked produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    /// The position of its answer: topic index and partition index in the response.
    at: (usize, usize),
    needs: Offset,
}

/// A produce that was appended and waits for its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parked {
    /// The client's listener; other brokers' endpoints are given for it.
    listener: String,
    acks: i16,
    deadline: Monotonic,
    response: ProduceResponse,
    waiting: BTreeMap<PartitionId, Waiting>,
}

/// All parked produces of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Produces {
    parked: BTreeMap<ReplyTo, Parked>,
    deadlines: BTreeSet<(Monotonic, ReplyTo)>,
    armed: Option<Monotonic>,
}

impl Produces {
    /// Handles a request.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        listener: &str,
        version: i16,
        request: ProduceRequest,
        hosted: &mut Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let acks = request.acks;
        let mut response = ProduceResponse::default();
        let (mut waiting, mut order) = (BTreeMap::new(), Vec::new());
        for topic in request.topics {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for part in topic.partitions {
                let index = part.partition;
                let result = append(
                    version,
                    acks,
                    request.transactional_id.as_ref(),
                    &topic.topic,
                    part,
                    &waiting,
                    hosted,
                    image,
                    env,
                );
                answers.push(match result {
                    Ok((partition, needs, answer)) => {
                        let at = (response.topics.len(), answers.len());
                        waiting.insert(partition, Waiting { at, needs });
                        order.push(partition);
                        answer
                    }
                    Err((error, message)) => {
                        failed(index, error, message, &topic.topic, hosted, image, env)
                    }
                });
            }
            let topic = full_ref(&topic.topic, image);
            response.topics.push(ProduceTopicResponse { topic, partitions: answers });
        }
        facts.extend(order.into_iter().map(Fact::LogEndAdvanced));
        if acks == 0 {
            return end_unacknowledged(from, &response, env);
        }
        for (id, one) in &waiting {
            if let Some(partition) = hosted.get_mut(*id) {
                partition.wait_for(acks, one.needs, from);
            }
        }
        if waiting.is_empty() {
            add_endpoints(&mut response, listener, image);
            return env.respond(from, Response::Produce(response));
        }
        let timeout = u64::try_from(request.timeout_ms).unwrap_or(0);
        let deadline = env.now().after(Duration::from_millis(timeout));
        self.deadlines.insert((deadline, from));
        let listener = listener.into();
        self.parked.insert(from, Parked { listener, acks, deadline, response, waiting });
        self.arm(env);
    }

    fn arm(&mut self, env: &mut dyn Env) {
        let first = self.deadlines.first().map(|(deadline, _)| *deadline);
        if self.armed != first
            && let Some(deadline) = first
        {
            env.arm(TimerKey::ProduceExpiry, deadline);
        }
        self.armed = first;
    }

    /// A parked produce's condition was reached, or can no longer be.
    pub fn on_reached(
        &mut self,
        from: ReplyTo,
        partition: PartitionId,
        upto: Offset,
        error: ErrorCode,
        hosted: &Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
    ) {
        let Some(parked) = self.parked.get_mut(&from) else { return };
        let Some(one) = parked.waiting.get(&partition).copied() else { return };
        if one.needs > upto {
            return;
        }
        parked.waiting.remove(&partition);
        let topic = &mut parked.response.topics[one.at.0];
        let answer = &mut topic.partitions[one.at.1];
        let first = answer.base_offset;
        if !error.is_ok() {
            let reference = topic.topic.clone();
            *answer = failed(answer.partition, error, None, &reference, hosted, image, env);
        } else if let Some(hosted) = hosted.get(partition) {
            env.note(Note::ProduceAcked {
                partition: hosted.topic_partition(),
                acks: parked.acks,
                first,
                end: one.needs,
            });
        }
        if parked.waiting.is_empty() {
            self.finish(from, image, env);
        }
    }

    fn finish(&mut self, from: ReplyTo, image: &MetadataImage, env: &mut dyn Env) {
        if let Some(mut parked) = self.parked.remove(&from) {
            self.deadlines.remove(&(parked.deadline, from));
            add_endpoints(&mut parked.response, &parked.listener, image);
            env.respond(from, Response::Produce(parked.response));
            self.arm(env);
        }
    }

    /// Times out produces whose deadline has passed. The data stays; the outcome is unknown.
    pub fn on_timer(&mut self, hosted: &mut Hosted, image: &MetadataImage, env: &mut dyn Env) {
        let now = env.now();
        while let Some((deadline, from)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            let waiting = self.parked.get(&from).map(|p| p.waiting.clone()).unwrap_or_default();
            for (id, one) in waiting {
                if let Some(partition) = hosted.get_mut(id) {
                    partition.stop_waiting(one.needs, from);
                }
                let error = ErrorCode::RequestTimedOut;
                self.on_reached(from, id, one.needs, error, hosted, image, env);
            }
            assert!(!self.parked.contains_key(&from), "an expired produce is answered");
        }
        self.armed = None;
        self.arm(env);
    }

    /// How many produces wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether no produce waits.
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

type Refusal = (ErrorCode, Option<String>);

fn append(
    version: i16,
    acks: i16,
    transactional_id: Option<&String>,
    topic: &TopicRef,
    part: ProducePartition,
    before: &BTreeMap<PartitionId, Waiting>,
    hosted: &mut Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) -> Result<(PartitionId, Offset, ProducePartitionResponse), Refusal> {
    if !(-1..=1).contains(&acks) {
        return Err((ErrorCode::InvalidRequiredAcks, None));
    }
    if transactional_id.is_some() {
        let message = "transactions are not supported by this broker".into();
        return Err((ErrorCode::InvalidRequest, Some(message)));
    }
    if topic.name == crate::types::METADATA_TOPIC {
        return Err((ErrorCode::InvalidTopic, None));
    }
    let bare = |error| (error, None);
    let id = hosted.find(topic, part.partition, image).map_err(bare)?;
    // Kafka appends the last one and answers once, so the sender would never learn about the
    // others.
    if before.contains_key(&id) {
        let message = "the request names this partition twice".into();
        return Err((ErrorCode::InvalidRequest, Some(message)));
    }
    let partition = hosted.get_mut(id).ok_or((ErrorCode::UnknownTopicOrPartition, None))?;
    if partition.leader_state().is_none() {
        return Err((ErrorCode::NotLeaderOrFollower, None));
    }
    let (config, now) = (partition.config(), env.wall());
    let batch = match part.inspection {
        Some(outcome) => VerifiedBatch::verify_inspected(part.records, outcome, config, now),
        None => VerifiedBatch::verify_produce(part.records, version, config, now),
    }
    .map_err(|(error, message)| (error, Some(message.into())))?;
    let appended = partition.append_as_leader(batch, acks, env).map_err(bare)?;
    let answer = ProducePartitionResponse {
        base_offset: appended.first,
        log_append_time_ms: appended.log_append_time.unwrap_or(-1),
        log_start_offset: partition.log().log_start(),
        ..ProducePartitionResponse::failed(part.partition, ErrorCode::None)
    };
    Ok((id, appended.end, answer))
}

fn failed(
    index: i32,
    error: ErrorCode,
    message: Option<String>,
    topic: &TopicRef,
    hosted: &Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) -> ProducePartitionResponse {
    let mut answer = ProducePartitionResponse::failed(index, error);
    answer.error_message = message;
    let key = full_ref(topic, image);
    let key = crate::types::TopicPartition { topic: key.id, partition: index };
    if error == ErrorCode::NotLeaderOrFollower || error == ErrorCode::FencedLeaderEpoch {
        // KIP-951: spare the client a metadata round trip.
        answer.current_leader = hosted
            .by_name
            .get(&key)
            .and_then(|id| hosted.get(*id))
            .map(|p| (p.leader(), p.leader_epoch()))
            .or_else(|| image.partition(key).map(|p| (p.leader, p.leader_epoch)))
            .and_then(|(leader, epoch)| leader.map(|leader| LeaderIdAndEpoch { leader, epoch }));
    }
    env.note(Note::ProduceFailed { partition: key, error });
    answer
}

fn add_endpoints(response: &mut ProduceResponse, listener: &str, image: &MetadataImage) {
    let leaders: BTreeSet<_> = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .filter_map(|partition| partition.current_leader.map(|current| current.leader))
        .collect();
    let endpoint = |node| super::metadata::endpoint(node, listener, image);
    response.node_endpoints = leaders.into_iter().filter_map(endpoint).collect();
}

/// acks=0 has no response. After an error the connection is closed, which is the only signal a
/// client gets (Kafka's `handleProduceRequest`).
fn end_unacknowledged(from: ReplyTo, response: &ProduceResponse, env: &mut dyn Env) {
    let failed = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .any(|partition| !partition.error.is_ok());
    if failed { env.disconnect(from) } else { env.no_response(from) }
}
