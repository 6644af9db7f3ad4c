//! The producer: batches per partition, retries until the delivery timeout, and the certainty of
//! the final outcome.
//!
//! Without idempotence, Kafka promises order per partition only with one request in flight. With
//! more, a retried batch lands behind one that was sent after it, and a retry whose first attempt
//! did arrive is a duplicate. With `max_in_flight` 1 a partition has one batch in flight. This does
//! not stop an abandoned request from arriving late; that takes idempotence.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::{
    Backoff, ClientFact, Cluster, NamedPartition, RecordId, earliest, is_metadata_error, same_topic,
};
use crate::batch::BatchBuilder;
use crate::compression::Compression;
use crate::env::{Channel, Env};
use crate::error_code::{Certainty, ErrorCode};
use crate::event::RpcError;
use crate::msg::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic,
    Request, Response,
};
use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicRef, WallTime};

/// Producer settings. Defaults are Kafka's, without idempotence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerConfig {
    /// -1: all in-sync replicas, 1: the leader, 0: none.
    pub acks: i16,
    /// `max.in.flight.requests.per.connection`, 1 to 5.
    pub max_in_flight: usize,
    /// `linger.ms`: how long a batch waits for more records.
    pub linger: Duration,
    /// `batch.size`, in bytes before encoding. A larger record gets its own batch.
    pub batch_max_bytes: usize,
    /// `max.request.size`: batches of one request, in bytes before encoding.
    pub request_max_bytes: usize,
    /// `request.timeout.ms`: the wait for an answer, and the broker's wait for replicas.
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`: from `send` to the final answer.
    pub delivery_timeout: Duration,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: Backoff,
    /// `compression.type`.
    pub compression: Compression,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: -1,
            max_in_flight: 5,
            linger: Duration::ZERO,
            batch_max_bytes: 16 * 1024,
            request_max_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            backoff: Backoff::default(),
            compression: Compression::None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PendingRecord {
    id: RecordId,
    key: Option<Bytes>,
    value: Option<Bytes>,
    timestamp: WallTime,
}

impl PendingRecord {
    /// A bound on its encoded size: the data and at most 21 bytes of varints, attributes and
    /// headers.
    fn size(&self) -> usize {
        21 + self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PendingBatch {
    records: Vec<PendingRecord>,
    size: usize,
    /// When its first record was added. Lingering and the delivery timeout count from here.
    created: Monotonic,
    /// Takes no more records: full, flushed, or sent once.
    closed: bool,
    failures: u32,
    /// Not sent before this.
    not_before: Monotonic,
    /// Some attempt's outcome leaves open whether it was appended.
    maybe_appended: bool,
    last_error: ErrorCode,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Queue {
    batches: VecDeque<PendingBatch>,
    /// Requests in flight that hold a batch of this partition.
    in_flight: usize,
}

/// A batch in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SentBatch {
    topic: TopicRef,
    partition: NamedPartition,
    /// `None` once the delivery timeout has passed: the outcome comes too late.
    batch: Option<PendingBatch>,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    config: ProducerConfig,
    next_id: RecordId,
    queues: BTreeMap<NamedPartition, Queue>,
    /// Requests in flight by leader, oldest first.
    in_flight: BTreeMap<NodeId, VecDeque<Vec<SentBatch>>>,
    unfinished: usize,
}

impl Producer {
    pub(crate) fn new(config: ProducerConfig) -> Producer {
        Producer {
            config,
            next_id: RecordId(0),
            queues: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            unfinished: 0,
        }
    }

    /// Records that have neither been acknowledged nor failed.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Its settings.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    pub(crate) fn push(
        &mut self,
        to: NamedPartition,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: WallTime,
        now: Monotonic,
    ) -> RecordId {
        let id = self.next_id;
        self.next_id = RecordId(id.0 + 1);
        self.unfinished += 1;
        let record = PendingRecord { id, key, value, timestamp };
        let size = record.size();
        let queue = self.queues.entry(to).or_default();
        if let Some(last) = queue.batches.back_mut()
            && !last.closed
        {
            if last.size + size <= self.config.batch_max_bytes {
                last.size += size;
                last.records.push(record);
                return id;
            }
            last.closed = true;
        }
        queue.batches.push_back(PendingBatch {
            records: vec![record],
            size,
            created: now,
            closed: size >= self.config.batch_max_bytes,
            failures: 0,
            not_before: Monotonic(0),
            maybe_appended: false,
            last_error: ErrorCode::None,
        });
        id
    }

    pub(crate) fn flush(&mut self) {
        for batch in self.queues.values_mut().flat_map(|queue| &mut queue.batches) {
            batch.closed = true;
        }
    }

    pub(crate) fn pump(&mut self, cluster: &mut Cluster, env: &mut dyn Env) {
        if self.unfinished == 0 {
            return;
        }
        loop {
            let mut requests: BTreeMap<NodeId, (usize, Vec<SentBatch>)> = BTreeMap::new();
            for (partition, queue) in &mut self.queues {
                let Some(first) = queue.batches.front() else { continue };
                let muted = self.config.max_in_flight == 1 && queue.in_flight > 0;
                let ready = first.closed
                    || queue.batches.len() > 1
                    || first.created.after(self.config.linger) <= env.now();
                if muted || !ready || env.now() < first.not_before {
                    continue;
                }
                let Some(leader) = cluster.leader(partition).and_then(|leader| leader.node) else {
                    cluster.request_update();
                    continue;
                };
                if self.in_flight.get(&leader).map_or(0, VecDeque::len) >= self.config.max_in_flight
                {
                    continue;
                }
                let (bytes, request) = requests.entry(leader).or_default();
                if !request.is_empty() && *bytes + first.size > self.config.request_max_bytes {
                    continue;
                }
                *bytes += first.size;
                queue.in_flight += 1;
                let mut batch = queue.batches.pop_front().expect("there was a first one");
                batch.closed = true;
                request.push(SentBatch {
                    topic: cluster.topic_ref(&partition.topic),
                    partition: partition.clone(),
                    batch: Some(batch),
                });
            }
            if requests.is_empty() {
                return;
            }
            for (leader, (_, batches)) in requests {
                self.transmit(leader, batches, env);
            }
        }
    }

    fn transmit(&mut self, leader: NodeId, batches: Vec<SentBatch>, env: &mut dyn Env) {
        let mut topics: Vec<ProduceTopic> = Vec::new();
        for sent in &batches {
            let Some(batch) = &sent.batch else { continue };
            let records = encode(&batch.records, self.config.compression);
            let partition = ProducePartition {
                partition: sent.partition.partition,
                records: Some(records),
                inspection: None,
            };
            match topics.last_mut() {
                Some(last) if last.topic == sent.topic => last.partitions.push(partition),
                Some(_) | None => topics
                    .push(ProduceTopic { topic: sent.topic.clone(), partitions: vec![partition] }),
            }
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.config.acks,
            timeout_ms: millis(self.config.request_timeout),
            topics,
        };
        self.in_flight.entry(leader).or_default().push_back(batches);
        let timeout = self.config.request_timeout;
        env.request(leader, Channel::Produce, timeout, Request::Produce(request));
    }

    /// Gives up on batches past the delivery timeout, in flight or not.
    pub(crate) fn expire(&mut self, now: Monotonic, out: &mut Vec<ClientFact>) {
        if self.unfinished == 0 {
            return;
        }
        let timeout = self.config.delivery_timeout;
        let overdue = |batch: &PendingBatch| batch.created.after(timeout) <= now;
        let mut given_up = Vec::new();
        for (partition, queue) in &mut self.queues {
            if !queue.batches.iter().any(overdue) {
                continue;
            }
            let mut kept = VecDeque::with_capacity(queue.batches.len());
            for mut batch in queue.batches.drain(..) {
                if overdue(&batch) {
                    // The last attempt's error is more informative than a timeout.
                    if batch.last_error.is_ok() {
                        batch.last_error = ErrorCode::RequestTimedOut;
                    }
                    given_up.push((partition.clone(), batch));
                } else {
                    kept.push_back(batch);
                }
            }
            queue.batches = kept;
        }
        for sent in self.in_flight.values_mut().flatten().flatten() {
            if sent.batch.as_ref().is_some_and(overdue)
                && let Some(mut batch) = sent.batch.take()
            {
                batch.maybe_appended = true;
                batch.last_error = ErrorCode::RequestTimedOut;
                given_up.push((sent.partition.clone(), batch));
            }
        }
        for (partition, batch) in given_up {
            self.fail(partition, batch, out);
        }
    }

    fn fail(&mut self, to: NamedPartition, batch: PendingBatch, out: &mut Vec<ClientFact>) {
        self.unfinished -= batch.records.len();
        let certainty = if batch.maybe_appended { Certainty::Unknown } else { Certainty::Failed };
        out.extend(batch.records.into_iter().map(|record| ClientFact::Failed {
            id: record.id,
            partition: to.clone(),
            error: batch.last_error,
            certainty,
        }));
    }

    /// The next time at which the producer has to act without an event.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        if self.unfinished == 0 {
            return None;
        }
        let expiry = |batch: &PendingBatch| batch.created.after(self.config.delivery_timeout);
        let mut next = None;
        for queue in self.queues.values() {
            let Some(first) = queue.batches.front() else { continue };
            if !first.closed && queue.batches.len() == 1 {
                let lingered = first.created.after(self.config.linger);
                next = earliest(next, (lingered > now).then_some(lingered));
            }
            next = earliest(next, (first.not_before > now).then_some(first.not_before));
            next = earliest(next, queue.batches.iter().map(expiry).min());
        }
        let sent = self.in_flight.values().flatten().flatten();
        earliest(next, sent.filter_map(|sent| sent.batch.as_ref()).map(expiry).min())
    }

    /// The outcome of the oldest request to `peer`. False if there is none.
    pub(crate) fn on_outcome(
        &mut self,
        peer: NodeId,
        outcome: &Result<Response, RpcError>,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) -> bool {
        let Some(sent) = self.in_flight.get_mut(&peer).and_then(VecDeque::pop_front) else {
            return false;
        };
        if let Ok(Response::Produce(response)) = outcome {
            cluster.learn_endpoints(&response.node_endpoints, env);
        }
        for SentBatch { topic, partition, batch } in sent {
            let queue = self.queues.get_mut(&partition).expect("a queue is never removed");
            queue.in_flight -= 1;
            let Some(batch) = batch else { continue };
            match outcome {
                Ok(Response::Produce(_)) if self.config.acks == 0 => {
                    self.acknowledge(partition, batch, None, out);
                }
                Ok(Response::Produce(response)) => {
                    match answer_for(response, &topic, partition.partition) {
                        Some(answer) => {
                            self.on_answer(partition, batch, answer, cluster, env, out);
                        }
                        None => self.retry_or_fail(
                            partition,
                            batch,
                            ErrorCode::UnknownServerError,
                            false,
                            cluster,
                            env,
                            out,
                        ),
                    }
                }
                Ok(_) | Err(_) => {
                    let error = match outcome {
                        Err(RpcError::Disconnected) => ErrorCode::NetworkException,
                        Err(RpcError::TimedOut) => ErrorCode::RequestTimedOut,
                        Err(RpcError::Unsupported) | Ok(_) => ErrorCode::UnsupportedVersion,
                    };
                    let mut batch = batch;
                    batch.maybe_appended = true;
                    self.retry_or_fail(partition, batch, error, false, cluster, env, out);
                }
            }
        }
        true
    }

    fn acknowledge(
        &mut self,
        to: NamedPartition,
        batch: PendingBatch,
        base: Option<Offset>,
        out: &mut Vec<ClientFact>,
    ) {
        self.unfinished -= batch.records.len();
        for (i, record) in (0..).zip(batch.records) {
            let offset = base.map(|base| base + i);
            out.push(ClientFact::Acked { id: record.id, partition: to.clone(), offset });
        }
    }

    fn on_answer(
        &mut self,
        partition: NamedPartition,
        mut batch: PendingBatch,
        answer: &ProducePartitionResponse,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        match answer.error.produce_certainty() {
            Certainty::Done => {
                let base = (answer.base_offset >= Offset::ZERO).then_some(answer.base_offset);
                self.acknowledge(partition, batch, base, out);
                return;
            }
            Certainty::Failed => {}
            Certainty::Unknown => batch.maybe_appended = true,
        }
        let too_large =
            matches!(answer.error, ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge);
        if too_large && batch.records.len() > 1 {
            self.split(partition, batch);
            return;
        }
        let news = cluster.learn_leader(&partition, answer.current_leader);
        self.retry_or_fail(partition, batch, answer.error, news, cluster, env, out);
    }

    /// Splits a batch that was too large for the topic into halves, which are sent at once.
    fn split(&mut self, partition: NamedPartition, mut batch: PendingBatch) {
        let mut second = batch.clone();
        second.records = batch.records.split_off(batch.records.len() / 2);
        second.size = second.records.iter().map(PendingRecord::size).sum();
        batch.size = batch.records.iter().map(PendingRecord::size).sum();
        let queue = self.queues.get_mut(&partition).expect("a queue is never removed");
        queue.batches.push_front(second);
        queue.batches.push_front(batch);
    }

    /// If a newer leader is known (KIP-951), the retry does not wait.
    fn retry_or_fail(
        &mut self,
        partition: NamedPartition,
        mut batch: PendingBatch,
        error: ErrorCode,
        leader_is_news: bool,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        batch.last_error = error;
        if error.produce_certainty() == Certainty::Unknown {
            batch.maybe_appended = true;
        }
        if is_metadata_error(error) {
            cluster.request_update();
        }
        let expired = batch.created.after(self.config.delivery_timeout) <= env.now();
        if !error.is_retriable() || expired {
            self.fail(partition, batch, out);
            return;
        }
        batch.failures = batch.failures.saturating_add(1);
        batch.not_before = if leader_is_news {
            env.now()
        } else {
            env.now().after(self.config.backoff.after(batch.failures, env))
        };
        let queue = self.queues.get_mut(&partition).expect("a queue is never removed");
        // Reinsert it in the order of `send`, so that batches that fail together are not reordered.
        let first = batch.records.first().map(|record| record.id);
        let later = |waiting: &PendingBatch| waiting.records.first().map(|r| r.id) > first;
        let at = queue.batches.iter().position(later).unwrap_or(queue.batches.len());
        queue.batches.insert(at, batch);
    }
}

fn answer_for<'a>(
    response: &'a ProduceResponse,
    topic: &TopicRef,
    partition: i32,
) -> Option<&'a ProducePartitionResponse> {
    response
        .topics
        .iter()
        .filter(|answered| same_topic(topic, &answered.topic))
        .flat_map(|answered| &answered.partitions)
        .find(|answered| answered.partition == partition)
}

fn encode(records: &[PendingRecord], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.compression(compression);
    for record in records {
        builder.push(record.timestamp.0, record.key.as_deref(), record.value.as_deref(), &[]);
    }
    builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes()
}

/// A duration as a field of milliseconds.
pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
