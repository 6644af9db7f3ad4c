//! The consumer on assigned partitions: its position in each, and its requests to leaders.
//!
//! Each partition is in one [`Phase`]. Fetches carry the known leader epoch and the epoch of the
//! last record read, so that either side can detect a truncated log (KIP-320): the leader answers
//! with a diverging epoch, or, when a new leader appears, the consumer asks where its epoch ends
//! before it fetches again. The handling of answers is in `answers`. Group membership, committed
//! offsets and the filtering of aborted transactions do not live here.

mod answers;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::producer::millis;
use super::{Backoff, Cluster, NamedPartition, earliest};
use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::msg::{
    EARLIEST_TIMESTAMP, FetchPartition, FetchRequest, FetchTopic, LATEST_TIMESTAMP,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition, OffsetForLeaderTopic, Request,
};
use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicRef, Uuid, WallTime};

/// Identifies one query for a partition's end or for a time; counts up from 0 within a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// At the log's start.
    Earliest,
    /// At its end, as it is when the leader answers.
    Latest,
    /// At this offset.
    At(Offset),
}

/// `auto.offset.reset`: what to do when the position is not in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResetPolicy {
    /// Go to the log's start.
    Earliest,
    /// Go to its end.
    #[default]
    Latest,
    /// Stop the partition and report it.
    None,
}

/// Consumer settings. Defaults are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerConfig {
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
    /// `fetch.max.wait.ms`: how long the leader may wait for `min_bytes`.
    pub max_wait: Duration,
    /// `request.timeout.ms`; longer than `max_wait`.
    pub request_timeout: Duration,
    /// `auto.offset.reset`.
    pub reset: ResetPolicy,
    /// `isolation.level`: false is read_uncommitted.
    pub read_committed: bool,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: Backoff,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            max_wait: Duration::from_millis(500),
            request_timeout: Duration::from_secs(30),
            reset: ResetPolicy::Latest,
            read_committed: false,
            check_crcs: true,
            backoff: Backoff::default(),
        }
    }
}

/// What a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking up where to start.
    Locating {
        /// The log's start (true) or its end.
        earliest: bool,
    },
    /// Asking a new leader whether the records read so far are still in its log.
    Validating,
    /// Reading.
    Fetching,
    /// Stopped by this error until `seek` or `assign`.
    Stopped(ErrorCode),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Assigned {
    /// Changed whenever answers in flight no longer concern this partition.
    token: u64,
    phase: Phase,
    /// The next offset to read; meaningless while locating for the first time.
    position: Offset,
    /// Epoch of the last record read, -1 if none was.
    position_epoch: LeaderEpoch,
    /// The leader epoch in which the position was validated.
    validated: LeaderEpoch,
    high_watermark: Offset,
    pace: Pace,
}

/// Whether a request is in flight, and when the next may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pace {
    asked: Option<NodeId>,
    failures: u32,
    not_before: Monotonic,
}

impl Pace {
    const IDLE: Pace = Pace { asked: None, failures: 0, not_before: Monotonic(0) };

    fn failed(&mut self, backoff: Backoff, env: &mut dyn Env) {
        self.asked = None;
        self.failures = self.failures.saturating_add(1);
        self.not_before = env.now().after(backoff.after(self.failures, env));
    }

    fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        (self.asked.is_none() && self.not_before > now).then_some(self.not_before)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndQuery {
    id: QueryId,
    /// Asks for the first record at or after this time; if `None`, for the end.
    timestamp: Option<WallTime>,
    pace: Pace,
}

/// What a lookup's answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    /// Where to start the partition, with its token and leader epoch at the time of asking.
    Locate { token: u64, earliest: bool, epoch: LeaderEpoch },
    /// A query for the end, or for a time.
    Query(QueryId),
}

/// A request in flight on [`Channel::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sent {
    Fetch(Vec<(TopicRef, NamedPartition, u64)>),
    Lookup(Vec<(NamedPartition, Purpose)>),
    Validate(Vec<(NamedPartition, u64, LeaderEpoch)>),
}

/// What to ask one leader.
#[derive(Default)]
struct Agenda {
    fetch: Vec<NamedPartition>,
    lookup: BTreeMap<NamedPartition, (Purpose, LeaderEpoch)>,
    validate: Vec<(NamedPartition, LeaderEpoch)>,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    config: ConsumerConfig,
    partitions: BTreeMap<NamedPartition, Assigned>,
    ends: BTreeMap<NamedPartition, EndQuery>,
    /// Requests in flight by leader, oldest first.
    in_flight: BTreeMap<NodeId, VecDeque<Sent>>,
    next_token: u64,
    next_query: QueryId,
    /// Counts fetches, so that each begins with a different partition.
    rotation: usize,
    paused: bool,
}

impl Consumer {
    pub(crate) fn new(config: ConsumerConfig) -> Consumer {
        Consumer {
            config,
            partitions: BTreeMap::new(),
            ends: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_token: 0,
            next_query: QueryId(0),
            rotation: 0,
            paused: false,
        }
    }

    /// The next offset to be read; `None` if the partition is not assigned or its start is still
    /// being looked up.
    pub fn position(&self, partition: &NamedPartition) -> Option<Offset> {
        let assigned = self.partitions.get(partition)?;
        match assigned.phase {
            Phase::Locating { .. } => None,
            Phase::Validating | Phase::Fetching | Phase::Stopped(_) => Some(assigned.position),
        }
    }

    /// What an assigned partition is doing.
    pub fn phase(&self, partition: &NamedPartition) -> Option<Phase> {
        Some(self.partitions.get(partition)?.phase)
    }

    /// The high watermark of the last fetch; `None` before the first.
    pub fn high_watermark(&self, partition: &NamedPartition) -> Option<Offset> {
        let known = self.partitions.get(partition)?.high_watermark;
        (known >= Offset::ZERO).then_some(known)
    }

    /// The assigned partitions, in order.
    pub fn assignment(&self) -> impl Iterator<Item = &NamedPartition> {
        self.partitions.keys()
    }

    pub(crate) fn assign(&mut self, partitions: Vec<(NamedPartition, Start)>) {
        self.partitions.clear();
        for (partition, start) in partitions {
            let assigned = self.started(start);
            self.partitions.insert(partition, assigned);
        }
    }

    pub(crate) fn seek(&mut self, partition: &NamedPartition, start: Start) {
        if self.partitions.contains_key(partition) {
            let assigned = self.started(start);
            self.partitions.insert(partition.clone(), assigned);
        }
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    fn started(&mut self, start: Start) -> Assigned {
        let (phase, position) = match start {
            Start::Earliest => (Phase::Locating { earliest: true }, Offset::ZERO),
            Start::Latest => (Phase::Locating { earliest: false }, Offset::ZERO),
            Start::At(offset) => (Phase::Fetching, offset),
        };
        Assigned {
            token: self.token(),
            phase,
            position,
            position_epoch: LeaderEpoch::NONE,
            validated: LeaderEpoch::NONE,
            high_watermark: Offset(-1),
            pace: Pace::IDLE,
        }
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn query(
        &mut self,
        partition: NamedPartition,
        timestamp: Option<WallTime>,
    ) -> QueryId {
        let id = self.next_query;
        self.next_query = QueryId(id.0 + 1);
        self.ends.insert(partition, EndQuery { id, timestamp, pace: Pace::IDLE });
        id
    }

    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let partitions = self.partitions.values().map(|assigned| &assigned.pace);
        let queries = self.ends.values().map(|query| &query.pace);
        partitions.chain(queries).fold(None, |next, pace| earliest(next, pace.deadline(now)))
    }

    /// Sends what can be sent now. Each leader has at most one request of each kind in flight.
    pub(crate) fn pump(&mut self, cluster: &mut Cluster, env: &mut dyn Env) {
        let agendas = self.agendas(cluster, env.now());
        for (leader, agenda) in agendas {
            let mut lookup_busy = false;
            let mut fetch_busy = false;
            let mut validate_busy = false;
            for sent in self.in_flight.get(&leader).into_iter().flatten() {
                match sent {
                    Sent::Fetch(_) => fetch_busy = true,
                    Sent::Lookup(_) => lookup_busy = true,
                    Sent::Validate(_) => validate_busy = true,
                }
            }
            if !agenda.lookup.is_empty() && !lookup_busy {
                self.send_lookup(leader, agenda.lookup, env);
            }
            if !agenda.validate.is_empty() && !validate_busy {
                self.send_validate(leader, agenda.validate, env);
            }
            if !agenda.fetch.is_empty() && !fetch_busy {
                self.send_fetch(leader, agenda.fetch, cluster, env);
            }
        }
    }

    fn agendas(&mut self, cluster: &mut Cluster, now: Monotonic) -> BTreeMap<NodeId, Agenda> {
        let mut agendas: BTreeMap<NodeId, Agenda> = BTreeMap::new();
        let Consumer { partitions, ends, next_token, paused, .. } = self;
        for (partition, assigned) in partitions {
            let idle = match assigned.phase {
                Phase::Stopped(_) => true,
                Phase::Fetching => *paused,
                Phase::Locating { .. } | Phase::Validating => false,
            };
            if idle {
                continue;
            }
            let known = cluster.leader(partition);
            let Some((leader, epoch)) = known.and_then(|l| l.node.map(|node| (node, l.epoch)))
            else {
                cluster.request_update();
                continue;
            };
            // The node with the request in flight no longer leads: ask the current leader.
            if assigned.pace.asked.is_some_and(|asked| asked != leader) {
                *next_token += 1;
                assigned.token = *next_token;
                assigned.pace.asked = None;
            }
            if assigned.pace.asked.is_some() || now < assigned.pace.not_before {
                continue;
            }
            let agenda = agendas.entry(leader).or_default();
            if assigned.phase == Phase::Fetching && epoch > assigned.validated {
                if assigned.position_epoch == LeaderEpoch::NONE {
                    assigned.validated = epoch;
                } else {
                    assigned.phase = Phase::Validating;
                }
            }
            match assigned.phase {
                Phase::Locating { earliest } => {
                    let purpose = Purpose::Locate { token: assigned.token, earliest, epoch };
                    agenda.lookup.insert(partition.clone(), (purpose, epoch));
                }
                Phase::Validating => agenda.validate.push((partition.clone(), epoch)),
                Phase::Fetching => agenda.fetch.push(partition.clone()),
                Phase::Stopped(_) => {}
            }
        }
        for (partition, query) in ends {
            let known = cluster.leader(partition);
            let Some((leader, epoch)) = known.and_then(|l| l.node.map(|node| (node, l.epoch)))
            else {
                cluster.request_update();
                continue;
            };
            if query.pace.asked.is_some_and(|asked| asked != leader) {
                query.pace.asked = None;
            }
            if query.pace.asked.is_none() && query.pace.not_before <= now {
                // A request names a partition once; locating the start takes precedence.
                let lookup = &mut agendas.entry(leader).or_default().lookup;
                lookup.entry(partition.clone()).or_insert((Purpose::Query(query.id), epoch));
            }
        }
        agendas
    }

    fn sent(&mut self, leader: NodeId, sent: Sent, request: Request, env: &mut dyn Env) {
        self.in_flight.entry(leader).or_default().push_back(sent);
        env.request(leader, Channel::Fetch, self.config.request_timeout, request);
    }

    fn isolation_level(&self) -> i8 {
        i8::from(self.config.read_committed)
    }

    fn send_lookup(
        &mut self,
        leader: NodeId,
        lookup: BTreeMap<NamedPartition, (Purpose, LeaderEpoch)>,
        env: &mut dyn Env,
    ) {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        let mut sent = Vec::with_capacity(lookup.len());
        for (partition, (purpose, epoch)) in lookup {
            let (pace, timestamp) = match purpose {
                Purpose::Locate { earliest, .. } => {
                    let timestamp = if earliest { EARLIEST_TIMESTAMP } else { LATEST_TIMESTAMP };
                    let assigned = self.partitions.get_mut(&partition);
                    (assigned.map(|assigned| &mut assigned.pace), timestamp)
                }
                Purpose::Query(_) => {
                    let query = self.ends.get_mut(&partition);
                    let asked = query.as_ref().and_then(|query| query.timestamp);
                    let timestamp = asked.map_or(LATEST_TIMESTAMP, |asked| asked.0);
                    (query.map(|query| &mut query.pace), timestamp)
                }
            };
            pace.expect("the agenda is made of these maps").asked = Some(leader);
            let entry = ListOffsetsPartition {
                partition: partition.partition,
                current_leader_epoch: epoch,
                timestamp,
            };
            match topics.last_mut() {
                Some(last) if last.name == partition.topic => last.partitions.push(entry),
                Some(_) | None => topics.push(ListOffsetsTopic {
                    name: partition.topic.clone(),
                    partitions: vec![entry],
                }),
            }
            sent.push((partition, purpose));
        }
        let request = ListOffsetsRequest {
            replica: NodeId::NONE,
            isolation_level: self.isolation_level(),
            topics,
            timeout_ms: millis(self.config.request_timeout),
        };
        self.sent(leader, Sent::Lookup(sent), Request::ListOffsets(request), env);
    }

    fn send_validate(
        &mut self,
        leader: NodeId,
        validate: Vec<(NamedPartition, LeaderEpoch)>,
        env: &mut dyn Env,
    ) {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        let mut sent = Vec::with_capacity(validate.len());
        for (partition, epoch) in validate {
            let assigned = self.partitions.get_mut(&partition).expect("it is on the agenda");
            assigned.pace.asked = Some(leader);
            let entry = OffsetForLeaderPartition {
                partition: partition.partition,
                current_leader_epoch: epoch,
                leader_epoch: assigned.position_epoch,
            };
            match topics.last_mut() {
                Some(last) if last.name == partition.topic => last.partitions.push(entry),
                Some(_) | None => topics.push(OffsetForLeaderTopic {
                    name: partition.topic.clone(),
                    partitions: vec![entry],
                }),
            }
            sent.push((partition, assigned.token, epoch));
        }
        let request = OffsetForLeaderEpochRequest { replica: NodeId::NONE, topics };
        self.sent(leader, Sent::Validate(sent), Request::OffsetForLeaderEpoch(request), env);
    }

    fn send_fetch(
        &mut self,
        leader: NodeId,
        mut fetch: Vec<NamedPartition>,
        cluster: &Cluster,
        env: &mut dyn Env,
    ) {
        // The answer's size limit favours the first partitions, so begin with a different one each
        // time.
        let turn = self.rotation % fetch.len();
        fetch.rotate_left(turn);
        self.rotation = self.rotation.wrapping_add(1);
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut sent = Vec::with_capacity(fetch.len());
        for partition in fetch {
            let assigned = self.partitions.get_mut(&partition).expect("it is on the agenda");
            assigned.pace.asked = Some(leader);
            let entry = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: assigned.validated,
                fetch_offset: assigned.position,
                last_fetched_epoch: assigned.position_epoch,
                log_start_offset: Offset(-1),
                max_bytes: self.config.partition_max_bytes,
                replica_directory_id: Uuid::ZERO,
                high_watermark: Offset(i64::MAX),
            };
            let topic = cluster.topic_ref(&partition.topic);
            match topics.last_mut() {
                Some(last) if last.topic == topic => last.partitions.push(entry),
                Some(_) | None => {
                    topics.push(FetchTopic { topic: topic.clone(), partitions: vec![entry] });
                }
            }
            sent.push((topic, partition, assigned.token));
        }
        let request = FetchRequest {
            max_wait_ms: millis(self.config.max_wait),
            min_bytes: self.config.min_bytes,
            max_bytes: self.config.max_bytes,
            isolation_level: self.isolation_level(),
            topics,
            ..FetchRequest::default()
        };
        self.sent(leader, Sent::Fetch(sent), Request::Fetch(request), env);
    }
}
