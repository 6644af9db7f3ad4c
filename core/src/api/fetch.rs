//! Fetch of partitions, by consumers and by followers: check, wait for data, read, answer.
//!
//! A fetch lives in [`Fetches`] until it is answered, in one of two phases: waiting for enough data
//! (`parking` bounds how many do), or reading from disk what the tail cache no longer has. The
//! quorum serves fetches of the metadata log. Rules about followers live in [`crate::replica`].

mod parking;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use crate::config::NodeConfig;
use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReadTag, ReplyTo, TimerKey};
use crate::log::{DiskRead, FinishedRead, ReadLimits, ReadPlan};
use crate::metadata::MetadataImage;
use crate::msg::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
    LeaderIdAndEpoch, Records, Response,
};
use crate::note::Note;
use crate::replica::leader::FetchClaim;
use crate::replica::{Fact, Partition};
use crate::storage::Hosted;
use crate::types::{
    BrokerEpoch, EpochEndOffset, LeaderEpoch, METADATA_TOPIC, METADATA_TOPIC_ID, Monotonic, NodeId,
    Offset, PartitionId, TopicRef,
};

use self::parking::Parking;
use super::full_ref;

/// The longest a fetch waits, whatever it asks for. Kafka has no such bound (its `max.wait.ms` is
/// any i32). Java's consumers ask for half a second; librdkafka allows no more than this value.
const MAX_WAIT_MS: i32 = 300_000;

/// The most bytes of records in an answer, besides the first batch, which may take up to 1 GiB. A
/// message must be under 2 GiB.
const MOST_ANSWERED: usize = 512 << 20;

/// The state of one partition of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// No data yet, or not read yet.
    Waiting,
    /// A disk read is in flight.
    Reading { plan: DiskRead, limits: ReadLimits },
    /// The answer is ready.
    Done(FetchPartitionResponse),
}

/// The part of a [`FetchPartition`] that is kept: thousands may wait for a long time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    partition: i32,
    current_leader_epoch: LeaderEpoch,
    fetch_offset: Offset,
    last_fetched_epoch: LeaderEpoch,
    max_bytes: u32,
}

impl Asked {
    fn of(asked: &FetchPartition) -> Asked {
        Asked {
            partition: asked.partition,
            current_leader_epoch: asked.current_leader_epoch,
            fetch_offset: asked.fetch_offset,
            last_fetched_epoch: asked.last_fetched_epoch,
            max_bytes: u32::try_from(asked.max_bytes).unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    topic: u32,
    partition: Option<PartitionId>,
    /// Bytes that were available at the last look; this entry's share of [`Fetch::available`].
    counted: u32,
    asked: Asked,
}

/// A fetch that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    /// The client's listener; other brokers' endpoints are given for it.
    listener: String,
    replica: Option<NodeId>,
    replica_epoch: BrokerEpoch,
    min_bytes: usize,
    max_bytes: usize,
    deadline: Option<Monotonic>,
    topics: Vec<TopicRef>,
    entries: Vec<Entry>,
    /// By entry. Empty while the fetch is parked, because all of them are waiting then.
    states: Vec<State>,
    /// Entries whose disk read is in flight.
    reading: BTreeMap<PartitionId, usize>,
    /// Sum of the entries' `counted`, so that a change to one partition costs work for that
    /// partition only.
    available: u64,
}

/// All fetches of a broker that have not been answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fetches {
    parked: Parking,
    /// Fetches that wait only for the disk.
    reading: BTreeMap<ReplyTo, Fetch>,
    armed: Option<Monotonic>,
}

/// The result of checking one partition.
enum Look {
    /// An answer without data: an error or a divergence.
    Answer(FetchPartitionResponse),
    /// Readable from the asked offset up to this one (exclusive).
    Upto(Offset),
}

impl Fetches {
    /// Handles a request that is not for the metadata log.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        listener: &str,
        request: FetchRequest,
        limit: u32,
        hosted: &mut Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        if let Some(error) = session_error(&request) {
            let response = FetchResponse { error, ..FetchResponse::default() };
            return env.respond(from, Response::Fetch(response));
        }
        let mut fetch = unpack(listener, request, limit, hosted, image);
        if let Some(follower) = fetch.replica {
            claim(&mut fetch, follower, hosted, env, facts);
        }
        if let Some(wait) = fetch.deadline.take() {
            // `unpack` sets the deadline relative to zero.
            fetch.deadline = Some(env.now().after(Duration::from_nanos(wait.0)));
        }
        if is_due(&mut fetch, hosted, env) {
            return self.go(from, fetch, hosted, image, env);
        }
        // Fetches that do not fit are answered with the data there is, as if they had waited.
        for (early, fetch) in self.parked.park(from, fetch) {
            self.go(early, fetch, hosted, image, env);
        }
        self.arm(env);
    }

    /// Advances a fetch that no longer waits: answers it, or starts its reads.
    fn go(
        &mut self,
        from: ReplyTo,
        mut fetch: Fetch,
        hosted: &Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
    ) {
        start_reads(from, &mut fetch, hosted, image, env);
        if fetch.reading.is_empty() {
            return env.respond(from, Response::Fetch(answer(fetch, image)));
        }
        // While it reads, only the disk can advance it.
        self.reading.insert(from, fetch);
        self.arm(env);
    }

    fn arm(&mut self, env: &mut dyn Env) {
        let first = self.parked.first_deadline().map(|(deadline, _)| deadline);
        if self.armed != first
            && let Some(deadline) = first
        {
            env.arm(TimerKey::FetchExpiry, deadline);
        }
        self.armed = first;
    }

    /// A partition changed. Each fetch waiting for it checks that partition again. It checks all
    /// its partitions only if there is now enough data, or an error to report.
    pub fn on_changed(
        &mut self,
        partition: PartitionId,
        hosted: &Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
    ) {
        for (from, index) in self.parked.watchers_of(partition) {
            let ready = self.parked.get_mut(from).is_some_and(|fetch| {
                is_enough_with(fetch, index, hosted, env) && is_due(fetch, hosted, env)
            });
            if ready && let Some(fetch) = self.parked.unpark(from) {
                self.go(from, fetch, hosted, image, env);
            }
        }
    }

    /// Answers the fetches that have waited long enough with the data there is.
    pub fn on_timer(&mut self, hosted: &Hosted, image: &MetadataImage, env: &mut dyn Env) {
        let now = env.now();
        while let Some((deadline, from)) = self.parked.first_deadline() {
            if deadline > now {
                break;
            }
            if let Some(fetch) = self.parked.unpark(from) {
                self.go(from, fetch, hosted, image, env);
            }
        }
        self.armed = None;
        self.arm(env);
    }

    /// The bytes read for the fetch `from`.
    pub fn on_read(
        &mut self,
        from: ReplyTo,
        partition: PartitionId,
        bytes: Bytes,
        hosted: &Hosted,
        image: &MetadataImage,
        env: &mut dyn Env,
    ) {
        let Some(fetch) = self.reading.get_mut(&from) else { return };
        if let Some(index) = fetch.reading.remove(&partition) {
            let (entry, state) = (&fetch.entries[index], &mut fetch.states[index]);
            finish_read(from, entry, state, bytes, hosted, fetch.replica, env);
            if let State::Reading { .. } = state {
                fetch.reading.insert(partition, index);
            }
        }
        if fetch.reading.is_empty()
            && let Some(fetch) = self.reading.remove(&from)
        {
            env.respond(from, Response::Fetch(answer(fetch, image)));
        }
    }

    /// The connection is gone: drops its fetches.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        let range = ReplyTo { connection, number: 0 }..=ReplyTo { connection, number: u32::MAX };
        self.parked.drop_all(range.clone());
        let gone: Vec<ReplyTo> = self.reading.range(range).map(|(from, _)| *from).collect();
        for from in gone {
            self.reading.remove(&from);
        }
    }

    /// How many fetches have not been answered yet.
    pub fn len(&self) -> usize {
        self.parked.len() + self.reading.len()
    }

    /// Whether all have been answered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether this is a fetch of the metadata log, which the quorum serves.
pub fn is_of_metadata(request: &FetchRequest) -> bool {
    let is_metadata =
        |topic: &TopicRef| topic.id == METADATA_TOPIC_ID || topic.name == METADATA_TOPIC;
    matches!(request.topics.as_slice(), [only] if is_metadata(&only.topic))
}

/// Whether this is a replica's fetch from another cluster, which reached us at a stale address.
pub fn is_foreign(request: &FetchRequest, config: &NodeConfig) -> bool {
    let theirs = request.cluster_id.as_ref();
    request.replica.known().is_some() && theirs.is_some_and(|id| *id != config.cluster_id)
}

/// The answer to it.
pub fn foreign() -> Response {
    let error = ErrorCode::InconsistentClusterId;
    Response::Fetch(FetchResponse { error, ..FetchResponse::default() })
}

/// A client may ask for a fetch session (id 0, epoch 0). It is always declined by answering without
/// one, as a broker with a full session cache does (KIP-227). Continuing a session is therefore an
/// error.
fn session_error(request: &FetchRequest) -> Option<ErrorCode> {
    if request.session_id != 0 {
        Some(ErrorCode::FetchSessionIdNotFound)
    } else if request.session_epoch > 0 {
        Some(ErrorCode::InvalidFetchSessionEpoch)
    } else {
        None
    }
}

fn unpack(
    listener: &str,
    request: FetchRequest,
    limit: u32,
    hosted: &Hosted,
    image: &MetadataImage,
) -> Fetch {
    let mut topics = Vec::with_capacity(request.topics.len());
    let (mut entries, mut states): (Vec<Entry>, Vec<State>) = (Vec::new(), Vec::new());
    let mut places = BTreeMap::new();
    for topic in request.topics {
        for asked in &topic.partitions {
            let found = hosted.find(&topic.topic, asked.partition, image);
            // A partition that is named twice is answered once, by its last mention, as in Kafka.
            if let Ok(partition) = found
                && let Some(place) = places.insert(partition, entries.len())
            {
                places.insert(partition, place);
                entries[place].asked = Asked::of(asked);
                continue;
            }
            states.push(match found {
                Ok(_) => State::Waiting,
                Err(error) => State::Done(FetchPartitionResponse::failed(asked.partition, error)),
            });
            // A request never has so many topics (see `wire`).
            let topic = u32::try_from(topics.len()).unwrap_or(u32::MAX);
            let (partition, asked) = (found.ok(), Asked::of(asked));
            entries.push(Entry { topic, partition, counted: 0, asked });
        }
        topics.push(full_ref(&topic.topic, image));
    }
    let wait_ms = request.max_wait_ms.min(MAX_WAIT_MS);
    let wait_nanos = u64::try_from(wait_ms).unwrap_or(0) * 1_000_000;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MOST_ANSWERED);
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
    Fetch {
        listener: listener.into(),
        replica: request.replica.known(),
        replica_epoch: request.replica_epoch,
        // A fetch never waits for more bytes than the answer may hold.
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        max_bytes,
        deadline: (wait_nanos > 0).then_some(Monotonic(wait_nanos)),
        topics,
        entries,
        states,
        reading: BTreeMap::new(),
        available: 0,
    }
}

/// Reports the follower's fetch offset to each partition. Only once, when the fetch arrives, and
/// not for partitions whose logs diverge (KAFKA-13141).
fn claim(
    fetch: &mut Fetch,
    follower: NodeId,
    hosted: &mut Hosted,
    env: &mut dyn Env,
    facts: &mut Vec<Fact>,
) {
    for (entry, state) in fetch.entries.iter().zip(&mut fetch.states) {
        let Some(partition) = entry.partition.and_then(|id| hosted.get_mut(id)) else { continue };
        match look(partition, &entry.asked, Some(follower), env) {
            Look::Answer(answer) => {
                if let Some(diverging) = answer.diverging_epoch {
                    env.note(Note::DivergingEpoch {
                        partition: partition.topic_partition(),
                        follower,
                        asked: entry.asked.last_fetched_epoch,
                        epoch: diverging.epoch,
                        end_offset: diverging.end_offset,
                    });
                }
                *state = State::Done(answer);
            }
            Look::Upto(_) => {
                let (epoch, offset) = (fetch.replica_epoch, entry.asked.fetch_offset);
                match partition.on_follower_fetch(follower, epoch, offset, env, facts) {
                    FetchClaim::Heard | FetchClaim::Unheard => {}
                    FetchClaim::Stale => {
                        let error = ErrorCode::NotLeaderOrFollower;
                        *state = State::Done(failed(partition, entry.asked.partition, error));
                    }
                }
            }
        }
    }
}

fn failed(partition: &Partition, index: i32, error: ErrorCode) -> FetchPartitionResponse {
    FetchPartitionResponse {
        current_leader: partition
            .leader()
            .map(|leader| LeaderIdAndEpoch { leader, epoch: partition.leader_epoch() }),
        ..FetchPartitionResponse::failed(index, error)
    }
}

/// Checks a partition's part of a fetch against the partition as it is now.
fn look(partition: &Partition, asked: &Asked, replica: Option<NodeId>, env: &mut dyn Env) -> Look {
    let refuse = |error| Look::Answer(failed(partition, asked.partition, error));
    if let Err(error) = partition.check_epoch(asked.current_leader_epoch, env) {
        return refuse(error);
    }
    let Some(leader) = partition.leader_state() else {
        return refuse(ErrorCode::NotLeaderOrFollower);
    };
    let log = partition.log();
    if !log.is_ready() {
        return refuse(ErrorCode::NotLeaderOrFollower);
    }
    if replica.is_some_and(|replica| !leader.followers.contains_key(&replica)) {
        return refuse(ErrorCode::UnknownTopicOrPartition);
    }
    if asked.last_fetched_epoch != LeaderEpoch::NONE {
        match log.epochs().end_offset_for(asked.last_fetched_epoch, log.log_end()) {
            None => return refuse(ErrorCode::OffsetOutOfRange),
            Some(end)
                if end.epoch < asked.last_fetched_epoch || end.end_offset < asked.fetch_offset =>
            {
                return Look::Answer(diverging(partition, asked.partition, end));
            }
            Some(_) => {}
        }
    }
    if asked.fetch_offset < log.log_start() || asked.fetch_offset > log.log_end() {
        let mut answer = failed(partition, asked.partition, ErrorCode::OffsetOutOfRange);
        answer.log_start_offset = log.log_start();
        answer.high_watermark = partition.high_watermark();
        return Look::Answer(answer);
    }
    Look::Upto(readable(partition, replica))
}

/// A follower may read what is written on this broker, a consumer what is committed (Kafka's
/// `FetchIsolation`).
/// Nothing is served before it is in the page cache.
fn readable(partition: &Partition, replica: Option<NodeId>) -> Offset {
    let written = partition.log().written_end();
    match replica {
        Some(_) => written,
        None => partition.high_watermark().min(written),
    }
}

fn diverging(partition: &Partition, index: i32, end: EpochEndOffset) -> FetchPartitionResponse {
    let mut answer = success(partition, index, Vec::new());
    answer.diverging_epoch = Some(end);
    answer
}

fn success(partition: &Partition, index: i32, records: Records) -> FetchPartitionResponse {
    FetchPartitionResponse {
        partition: index,
        error: ErrorCode::None,
        high_watermark: partition.high_watermark(),
        last_stable_offset: partition.high_watermark(),
        log_start_offset: partition.log().log_start(),
        diverging_epoch: None,
        current_leader: None,
        aborted: None,
        preferred_read_replica: NodeId::NONE,
        records,
    }
}

/// Whether to answer now: the fetch does not wait or its wait is over, a partition has an error, or
/// there are enough bytes. If not, the available bytes have been counted.
fn is_due(fetch: &mut Fetch, hosted: &Hosted, env: &mut dyn Env) -> bool {
    if is_over(fetch, env) || fetch.states.iter().any(|state| matches!(state, State::Done(_))) {
        return true;
    }
    fetch.available = 0;
    fetch.entries.iter_mut().for_each(|entry| entry.counted = 0);
    (0..fetch.entries.len()).any(|index| is_enough_with(fetch, index, hosted, env))
}

fn is_over(fetch: &Fetch, env: &mut dyn Env) -> bool {
    fetch.deadline.is_none_or(|deadline| deadline <= env.now()) || fetch.min_bytes == 0
}

/// Recounts one entry and returns whether the fetch should be answered. The counts of the others
/// are still valid: those partitions have not changed, or their change is yet to be reported.
fn is_enough_with(fetch: &mut Fetch, index: usize, hosted: &Hosted, env: &mut dyn Env) -> bool {
    if is_over(fetch, env) {
        return true;
    }
    let entry = &mut fetch.entries[index];
    let Some(partition) = entry.partition.and_then(|id| hosted.get(id)) else { return true };
    let found = match look(partition, &entry.asked, fetch.replica, env) {
        Look::Answer(_) => return true,
        Look::Upto(limit) if limit > entry.asked.fetch_offset => {
            if fetch.min_bytes <= 1 {
                return true;
            }
            partition.log().available(entry.asked.fetch_offset, limit, entry.asked.max_bytes)
        }
        Look::Upto(_) => 0,
    };
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    fetch.available = fetch.available - u64::from(entry.counted) + u64::from(found);
    entry.counted = found;
    fetch.available >= fetch.min_bytes as u64
}

/// Reads everything within the limits. What is not in memory is read from disk.
fn start_reads(
    from: ReplyTo,
    fetch: &mut Fetch,
    hosted: &Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) {
    fetch.states.resize(fetch.entries.len(), State::Waiting);
    let mut left = fetch.max_bytes;
    let mut any = false;
    for (at, (entry, state)) in fetch.entries.iter().zip(&mut fetch.states).enumerate() {
        if let State::Done(_) = state {
            continue;
        }
        let Some(partition) = entry.partition.and_then(|id| hosted.get(id)) else {
            let known =
                hosted.find(&fetch.topics[entry.topic as usize], entry.asked.partition, image);
            let error = known.err().unwrap_or(ErrorCode::UnknownTopicOrPartition);
            *state = State::Done(FetchPartitionResponse::failed(entry.asked.partition, error));
            continue;
        };
        let index = entry.asked.partition;
        let limit = match look(partition, &entry.asked, fetch.replica, env) {
            Look::Answer(answer) => {
                *state = State::Done(answer);
                continue;
            }
            Look::Upto(limit) => limit,
        };
        // The first batch of the first partition with data may exceed every limit (KIP-74). After
        // that, a partition gets at most what is left, possibly nothing. This includes batches
        // whose size is known only once they have been read.
        let max = (entry.asked.max_bytes as usize).min(left);
        if any && max == 0 {
            *state = State::Done(success(partition, index, Vec::new()));
            continue;
        }
        let max_bytes = u32::try_from(max).unwrap_or(u32::MAX);
        let limits = ReadLimits { end: limit, max_bytes, at_least_one: !any };
        *state = match partition.log().read(entry.asked.fetch_offset, &limits) {
            Err(_) => {
                let mut answer = failed(partition, index, ErrorCode::OffsetOutOfRange);
                answer.log_start_offset = partition.log().log_start();
                answer.high_watermark = partition.high_watermark();
                State::Done(answer)
            }
            Ok(ReadPlan::Empty) => State::Done(success(partition, index, Vec::new())),
            Ok(ReadPlan::Cached(batches)) => {
                let size: usize = batches.iter().map(crate::batch::Batch::size_in_bytes).sum();
                left = left.saturating_sub(size);
                any |= !batches.is_empty();
                State::Done(success(partition, index, batches))
            }
            Ok(ReadPlan::Disk(plan)) => {
                env.read(ReadTag::Fetch(from), plan.file, plan.at, plan.len);
                left = left.saturating_sub(plan.len as usize);
                any = true;
                fetch.reading.insert(partition.id(), at);
                State::Reading { plan, limits }
            }
        };
    }
}

fn finish_read(
    from: ReplyTo,
    entry: &Entry,
    state: &mut State,
    bytes: Bytes,
    hosted: &Hosted,
    replica: Option<NodeId>,
    env: &mut dyn Env,
) {
    let State::Reading { plan, limits } = &*state else { return };
    let index = entry.asked.partition;
    let Some(partition) = entry.partition.and_then(|id| hosted.get(id)) else {
        let error = ErrorCode::UnknownTopicOrPartition;
        *state = State::Done(FetchPartitionResponse::failed(index, error));
        return;
    };
    // Meanwhile the partition may have been truncated, or its leader may have changed.
    let limits = match look(partition, &entry.asked, replica, env) {
        Look::Answer(answer) => {
            *state = State::Done(answer);
            return;
        }
        Look::Upto(now) => ReadLimits { end: now.min(limits.end), ..*limits },
    };
    let offset = entry.asked.fetch_offset;
    *state = match partition.log().finish_read(offset, &limits, plan, bytes) {
        FinishedRead::Batches(batches) => State::Done(success(partition, index, batches)),
        FinishedRead::More(plan) => {
            env.read(ReadTag::Fetch(from), plan.file, plan.at, plan.len);
            State::Reading { plan, limits }
        }
        // The client asks again and sees the log as it is then.
        FinishedRead::Stale => State::Done(success(partition, index, Vec::new())),
        FinishedRead::Corrupt => {
            env.note(Note::ReadRefused { partition: partition.topic_partition(), offset });
            State::Done(failed(partition, index, ErrorCode::CorruptMessage))
        }
    };
}

/// Applies the limit of the whole answer, in the order of the request (KIP-74). The reads were
/// planned in parallel, before the size of the first batch was known. Only the first batch of all,
/// which sets `any`, may exceed what is `left`.
fn keep_what_fits(records: &mut Records, left: &mut usize, any: &mut bool) {
    let fits = records.iter().take_while(|batch| {
        let size = batch.size_in_bytes();
        let fits = !*any || size <= *left;
        *left = if fits { left.saturating_sub(size) } else { 0 };
        *any = true;
        fits
    });
    let fits = fits.count();
    records.truncate(fits);
}

fn answer(fetch: Fetch, image: &MetadataImage) -> FetchResponse {
    let mut topics: Vec<FetchTopicResponse> = fetch
        .topics
        .into_iter()
        .map(|topic| FetchTopicResponse { topic, partitions: Vec::new() })
        .collect();
    let mut leaders = BTreeSet::new();
    let (mut left, mut any) = (fetch.max_bytes, false);
    for (entry, state) in fetch.entries.iter().zip(fetch.states) {
        let State::Done(mut answer) = state else {
            unreachable!("a fetch is answered when all its partitions are")
        };
        keep_what_fits(&mut answer.records, &mut left, &mut any);
        leaders.extend(answer.current_leader.map(|current| current.leader));
        topics[entry.topic as usize].partitions.push(answer);
    }
    let endpoint = |node| super::metadata::endpoint(node, &fetch.listener, image);
    let node_endpoints = leaders.into_iter().filter_map(endpoint).collect();
    FetchResponse { topics, node_endpoints, ..FetchResponse::default() }
}
