//! The client as one state machine: metadata, producer, consumer on assigned partitions, admin.
//!
//! A [`Client`] is one client process: its parts share one [`Cluster`] (who leads what) and one
//! connection for metadata and administration. A part that is not used does nothing. The client
//! reports to its application through [`ClientFact`]s and reaches the outside world through
//! [`Env`]. Behaviour and defaults follow Kafka's Java client and librdkafka: refresh of metadata
//! on retriable errors, exponential back-off with jitter (KIP-580), delivery timeout, leader hints
//! in error answers (KIP-951), truncation detection (KIP-320).
//!
//! What does not live here: idempotence, transactions, group membership, and what an application
//! does with facts (the tank's workloads, the server's test client).

pub mod admin;
pub mod cluster;
pub mod consumer;
pub mod producer;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

pub use admin::{Admin, AdminConfig, AdminId};
pub use cluster::{Cluster, ClusterConfig, Leader};
pub use consumer::{Consumer, ConsumerConfig, QueryId, ResetPolicy, Start};
pub use producer::{Producer, ProducerConfig};

use crate::env::{Channel, Env, Random, Site};
use crate::error_code::{Certainty, ErrorCode};
use crate::event::{Event, RpcError, TimerKey};
use crate::msg::CreatableTopic;
use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicId, TopicRef, WallTime};

/// A record passed to [`Client::send`]; counts up from 0 within a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// A partition as clients name it: by the topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl NamedPartition {
    /// The partition of that topic and index.
    pub fn new(topic: impl Into<String>, partition: i32) -> NamedPartition {
        NamedPartition { topic: topic.into(), partition }
    }
}

impl core::fmt::Display for NamedPartition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record as the consumer hands it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsumedRecord {
    /// Its offset.
    pub offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// Set by the producer or, with LogAppendTime, by the leader.
    pub timestamp: WallTime,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order, duplicates kept (KIP-82).
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What a client reports to its application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientFact {
    /// The record was appended, as far as `acks` promises.
    Acked {
        /// The record.
        id: RecordId,
        /// The partition.
        partition: NamedPartition,
        /// Its offset; `None` with acks=0, which has no answer.
        offset: Option<Offset>,
    },
    /// The producer gave up on the record.
    Failed {
        /// The record.
        id: RecordId,
        /// Where it should have gone.
        partition: NamedPartition,
        /// The last reason.
        error: ErrorCode,
        /// `Failed`: no attempt appended it or ever will. `Unknown`: it may have been appended, or
        /// may still be. Never `Done`.
        certainty: Certainty,
    },
    /// Records, in offset order, from the consumer's position on.
    Records {
        /// The partition.
        partition: NamedPartition,
        /// At least one.
        records: Vec<ConsumedRecord>,
        /// The leader's high watermark when it answered, or -1 if the answer had none.
        high_watermark: Offset,
    },
    /// The consumer has found where to start (after `assign`, `seek` or a reset).
    Position {
        /// The partition.
        partition: NamedPartition,
        /// The next offset to be read.
        offset: Offset,
    },
    /// The log no longer holds what the consumer read (KIP-320).
    Truncated {
        /// The partition.
        partition: NamedPartition,
        /// The position before.
        from: Offset,
        /// Where the epoch of the last record read ends now. This is the new position, unless the
        /// reset policy is `None`: then the partition stops until `seek`.
        to: Offset,
        /// The epoch that ends there.
        epoch: LeaderEpoch,
    },
    /// The position was not in the log; the reset policy chose a new start.
    Reset {
        /// The partition.
        partition: NamedPartition,
        /// The position before.
        from: Offset,
        /// To the log's start or end; a `Position` follows.
        to: ResetPolicy,
    },
    /// Answer to [`Client::end_offset`].
    EndOffset {
        /// The query.
        query: QueryId,
        /// The partition.
        partition: NamedPartition,
        /// The end of what a consumer could read (the high watermark), or why it is not known.
        offset: Result<Offset, ErrorCode>,
        /// Epoch of the leader that answered, or -1.
        leader_epoch: LeaderEpoch,
    },
    /// Answer to [`Client::offset_at`].
    OffsetAt {
        /// The query.
        query: QueryId,
        /// The partition.
        partition: NamedPartition,
        /// The time asked for, or [`MAX_TIMESTAMP`](crate::msg::MAX_TIMESTAMP) for the largest.
        asked: WallTime,
        /// The first record with this or a later timestamp, and its timestamp; `None` if there is
        /// none. Or the reason why it is not known.
        found: Result<Option<(Offset, WallTime)>, ErrorCode>,
        /// Epoch of that record, or -1.
        leader_epoch: LeaderEpoch,
    },
    /// A partition's fetch or lookup failed. The consumer retries retriable errors; after any other
    /// the partition stops until `seek` or `assign`.
    FetchError {
        /// The partition.
        partition: NamedPartition,
        /// The error.
        error: ErrorCode,
    },
    /// A topic was created, or not.
    TopicCreated {
        /// The request.
        id: AdminId,
        /// Name.
        name: String,
        /// Its id (zero if the version or the error has none).
        topic: TopicId,
        /// `None`, or the last reason.
        error: ErrorCode,
        /// Whether this request created it.
        certainty: Certainty,
    },
    /// A topic was deleted, or not.
    TopicDeleted {
        /// The request.
        id: AdminId,
        /// As it was named.
        topic: TopicRef,
        /// `None`, or the last reason.
        error: ErrorCode,
        /// Whether this request deleted it.
        certainty: Certainty,
    },
}

/// Exponential back-off with a jitter of 20 % (KIP-580).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// After the first failure (`retry.backoff.ms`).
    pub min: Duration,
    /// Never more than this (`retry.backoff.max.ms`).
    pub max: Duration,
}

impl Default for Backoff {
    /// Kafka's: 100 ms to 1 s.
    fn default() -> Backoff {
        Backoff { min: Duration::from_millis(100), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The delay after this many failures in a row; 0 counts as 1.
    pub fn after(self, failures: u32, random: &mut dyn Random) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let term = self.min.saturating_mul(1 << doublings).min(self.max);
        let permille = 800 + random.draw(Site::Backoff, 401);
        let nanos = term.as_nanos().saturating_mul(u128::from(permille)) / 1000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(self.max)
    }
}

/// A client's fixed configuration. The defaults are Kafka's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// Bootstrap and metadata.
    pub cluster: ClusterConfig,
    /// Producer.
    pub producer: ProducerConfig,
    /// Consumer.
    pub consumer: ConsumerConfig,
    /// Admin.
    pub admin: AdminConfig,
}

impl ClientConfig {
    /// Defaults, with these nodes to ask first. There must be at least one, or the client cannot
    /// start.
    pub fn new(bootstrap: Vec<NodeId>) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.cluster.bootstrap = bootstrap;
        config
    }
}

/// Requests in flight on [`Channel::Admin`], oldest first for each peer: outcomes come in that
/// order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AdminChannel {
    sent: BTreeMap<NodeId, VecDeque<AdminSent>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AdminSent {
    Metadata,
    Operation(AdminId),
}

impl AdminChannel {
    pub(crate) fn push(&mut self, peer: NodeId, what: AdminSent) {
        self.sent.entry(peer).or_default().push_back(what);
    }

    fn pop(&mut self, peer: NodeId) -> Option<AdminSent> {
        self.sent.get_mut(&peer)?.pop_front()
    }
}

/// A client process: see the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    cluster: Cluster,
    producer: Producer,
    consumer: Consumer,
    admin: Admin,
    channel: AdminChannel,
    /// Deadlines as armed. A firing with a different deadline is stale.
    producer_timer: Option<Monotonic>,
    consumer_timer: Option<Monotonic>,
    metadata_timer: Option<Monotonic>,
}

impl Client {
    /// A client that has sent nothing yet.
    pub fn new(config: ClientConfig) -> Client {
        Client {
            cluster: Cluster::new(config.cluster),
            producer: Producer::new(config.producer),
            consumer: Consumer::new(config.consumer),
            admin: Admin::new(config.admin),
            channel: AdminChannel::default(),
            producer_timer: None,
            consumer_timer: None,
            metadata_timer: None,
        }
    }

    /// Handles one event. Returns false, and changes nothing, if the event is not for a client or
    /// answers no request of this one. Facts are appended to `out`.
    pub fn on_event(
        &mut self,
        event: &Event,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) -> bool {
        match event {
            Event::Start { .. } => {}
            Event::Timer { key, deadline } => {
                let slot = if *key == TimerKey::Producer {
                    &mut self.producer_timer
                } else if *key == TimerKey::Consumer {
                    &mut self.consumer_timer
                } else if *key == TimerKey::ClientMetadata {
                    &mut self.metadata_timer
                } else {
                    return false;
                };
                if *slot != Some(*deadline) {
                    return true;
                }
                *slot = None;
            }
            Event::Rpc { peer, channel, outcome } => {
                let Client { cluster, producer, consumer, admin, channel: sent, .. } = self;
                let ours = if *channel == Channel::Produce {
                    producer.on_outcome(*peer, outcome, cluster, env, out)
                } else if *channel == Channel::Fetch {
                    consumer.on_outcome(*peer, outcome, cluster, env, out)
                } else if *channel == Channel::Admin {
                    match sent.pop(*peer) {
                        Some(AdminSent::Metadata) => {
                            cluster.on_outcome(*peer, outcome, env);
                            true
                        }
                        Some(AdminSent::Operation(id)) => {
                            admin.on_outcome(id, outcome, cluster, env, out);
                            true
                        }
                        None => false,
                    }
                } else {
                    false
                };
                if !ours {
                    return false;
                }
                if matches!(outcome, Err(RpcError::TimedOut | RpcError::Disconnected)) {
                    cluster.note_silent(*peer);
                }
            }
            Event::Shutdown
            | Event::Disk(_)
            | Event::Request { .. }
            | Event::ConnectionClosed { .. } => return false,
        }
        self.producer.expire(env.now(), out);
        self.admin.expire(env.now(), out);
        self.pump(env);
        true
    }

    /// Gives a record to the producer; it is sent when its batch is full or has lingered. Exactly
    /// one `Acked` or `Failed` with the id follows, within the delivery timeout.
    pub fn send(
        &mut self,
        topic: &str,
        partition: i32,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: WallTime,
        env: &mut dyn Env,
    ) -> RecordId {
        self.cluster.want(topic);
        let to = NamedPartition::new(topic, partition);
        let id = self.producer.push(to, key, value, timestamp, env.now());
        self.pump(env);
        id
    }

    /// Sends lingering batches at once.
    pub fn flush(&mut self, env: &mut dyn Env) {
        self.producer.flush();
        self.pump(env);
    }

    /// Replaces the consumer's assignment. Partitions that stay assigned start over.
    pub fn assign(&mut self, partitions: Vec<(NamedPartition, Start)>, env: &mut dyn Env) {
        for (partition, _) in &partitions {
            self.cluster.want(&partition.topic);
        }
        self.consumer.assign(partitions);
        self.pump(env);
    }

    /// Moves one assigned partition's position; one that is not assigned is left alone.
    pub fn seek(&mut self, partition: &NamedPartition, start: Start, env: &mut dyn Env) {
        self.consumer.seek(partition, start);
        self.pump(env);
    }

    /// Stops fetching (positions stay; answers in flight may still arrive) or resumes.
    pub fn pause(&mut self, paused: bool, env: &mut dyn Env) {
        self.consumer.pause(paused);
        self.pump(env);
    }

    /// Asks the leader up to which offset a consumer may read a partition, assigned or not. An
    /// earlier unanswered query about the same partition is dropped.
    pub fn end_offset(&mut self, partition: NamedPartition, env: &mut dyn Env) -> QueryId {
        self.cluster.want(&partition.topic);
        let id = self.consumer.query(partition, None);
        self.pump(env);
        id
    }

    /// Asks the leader for the first record with this timestamp or a later one, or with
    /// [`MAX_TIMESTAMP`](crate::msg::MAX_TIMESTAMP) for the largest (KIP-734). An earlier
    /// unanswered query about the same partition is dropped.
    pub fn offset_at(
        &mut self,
        partition: NamedPartition,
        timestamp: WallTime,
        env: &mut dyn Env,
    ) -> QueryId {
        self.cluster.want(&partition.topic);
        let id = self.consumer.query(partition, Some(timestamp));
        self.pump(env);
        id
    }

    /// Creates a topic, retrying on retriable errors until the admin's timeout.
    pub fn create_topic(&mut self, topic: CreatableTopic, env: &mut dyn Env) -> AdminId {
        let id = self.admin.create(topic, env.now());
        self.pump(env);
        id
    }

    /// Deletes a topic, retrying on retriable errors until the admin's timeout.
    pub fn delete_topic(&mut self, topic: TopicRef, env: &mut dyn Env) -> AdminId {
        let id = self.admin.delete(topic, env.now());
        self.pump(env);
        id
    }

    /// Who leads what, as far as this client knows.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The producer's state.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The consumer's state: positions, high watermarks.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Sends what can be sent and sets the timers for the rest.
    fn pump(&mut self, env: &mut dyn Env) {
        self.producer.pump(&mut self.cluster, env);
        self.consumer.pump(&mut self.cluster, env);
        self.admin.pump(&self.cluster, &mut self.channel, env);
        self.cluster.pump(&mut self.channel, env);
        set(TimerKey::Producer, &mut self.producer_timer, self.producer.deadline(env.now()), env);
        set(TimerKey::Consumer, &mut self.consumer_timer, self.consumer.deadline(env.now()), env);
        let metadata = earliest(self.cluster.deadline(), self.admin.deadline(env.now()));
        set(TimerKey::ClientMetadata, &mut self.metadata_timer, metadata, env);
    }
}

/// Arms `key` unless a firing comes early enough anyway. That firing finds nothing to do and arms
/// the rest, which is cheaper than moving the timer with every record.
fn set(key: TimerKey, slot: &mut Option<Monotonic>, wanted: Option<Monotonic>, env: &mut dyn Env) {
    if let Some(wanted) = wanted
        && slot.is_none_or(|armed| wanted < armed)
    {
        *slot = Some(wanted);
        env.arm(key, wanted);
    }
}

/// The earlier of two deadlines, where `None` is never.
pub(crate) fn earliest(a: Option<Monotonic>, b: Option<Monotonic>) -> Option<Monotonic> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

/// Whether the error means that this client may have the wrong leader.
pub(crate) fn is_metadata_error(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::NetworkException
            | ErrorCode::NotController
            | ErrorCode::KafkaStorageError
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::RequestTimedOut
    )
}

/// Whether an answer's topic entry is for `asked`. Answers use the name or the id, depending on
/// version.
pub(crate) fn same_topic(asked: &TopicRef, answered: &TopicRef) -> bool {
    if answered.name.is_empty() { asked.id == answered.id } else { asked.name == answered.name }
}
