//! Answering fetches of the metadata log: followers and observers pull.
//!
//! A fetch carries its sender's log end and last epoch. If the leader's log disagrees, it answers
//! where the two diverge (KIP-595). Otherwise it sends the next records, or parks the fetch until
//! there is something to send: records, or a high watermark that the sender does not know yet
//! (KIP-1166).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Quorum, QuorumFact};
use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::event::{DiskDone, ReadTag, ReplyTo, TimerKey};
use crate::log::{FinishedRead, ReadLimits, ReadPlan};
use crate::msg::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
    LeaderIdAndEpoch, Records, Response,
};
use crate::note::Note;
use crate::types::{
    EpochEndOffset, METADATA_TOPIC, METADATA_TOPIC_ID, Monotonic, NodeId, Offset, TopicPartition,
    TopicRef,
};

/// A fetch that waits for something to send.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ParkedFetch {
    topic: TopicRef,
    offset: Offset,
    max_bytes: u32,
    /// The high watermark that the sender knows.
    seen: Offset,
    deadline: Monotonic,
}

/// A fetch that waits for the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReadingFetch {
    fetch: ParkedFetch,
    limit: Offset,
    plan: ReadPlan,
}

/// Whether this is the metadata log's topic.
fn is_metadata(topic: &TopicRef) -> bool {
    topic.id == METADATA_TOPIC_ID || topic.name == METADATA_TOPIC
}

impl Quorum {
    /// A Fetch of the metadata log.
    pub(super) fn on_fetch_request(
        &mut self,
        from: ReplyTo,
        request: &FetchRequest,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let ours = request.cluster_id.as_ref().is_none_or(|id| *id == self.settings.cluster_id);
        let asked = request.topics.iter().find(|topic| is_metadata(&topic.topic));
        let partition = asked.and_then(|t| t.partitions.iter().find(|p| p.partition == 0));
        let (Some(asked), Some(partition), true) = (asked, partition, ours) else {
            let error =
                if ours { ErrorCode::InvalidRequest } else { ErrorCode::InconsistentClusterId };
            let response = FetchResponse { error, ..FetchResponse::default() };
            return env.respond(from, Response::Fetch(response));
        };
        let topic = asked.topic.clone();
        if let Err(error) = self.check_fetch(request, partition) {
            return self.answer_fetch(from, topic, error, Vec::new(), None, env);
        }
        if let Some(diverging) = self.divergence(partition) {
            self.on_follower_progress(request.replica, None, env, facts);
            let epoch = partition.last_fetched_epoch;
            env.note(Note::DivergingEpoch {
                partition: TopicPartition::METADATA,
                follower: request.replica,
                asked: epoch,
                epoch: diverging.epoch,
                end_offset: diverging.end_offset,
            });
            let error = ErrorCode::None;
            return self.answer_fetch(from, topic, error, Vec::new(), Some(diverging), env);
        }
        self.on_follower_progress(request.replica, Some(partition.fetch_offset), env, facts);
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let wait = Duration::from_millis(wait).min(self.settings.timing.fetch_wait_max);
        let fetch = ParkedFetch {
            topic,
            offset: partition.fetch_offset,
            max_bytes: u32::try_from(partition.max_bytes.min(request.max_bytes)).unwrap_or(0),
            seen: partition.high_watermark,
            deadline: env.now().after(wait),
        };
        self.serve(from, fetch, !wait.is_zero(), env, facts);
    }

    /// Whether more of the sender's log is committed than the sender knows.
    fn has_news(&self, fetch: &ParkedFetch) -> bool {
        self.high_watermark.is_some_and(|known| known.min(fetch.offset) > fetch.seen)
    }

    fn check_fetch(
        &self,
        request: &FetchRequest,
        partition: &FetchPartition,
    ) -> Result<(), ErrorCode> {
        let sane = request.max_wait_ms >= 0
            && request.replica.known().is_some_and(|replica| replica != self.settings.node)
            && partition.fetch_offset.0 >= 0
            && partition.last_fetched_epoch.0 >= 0
            && partition.last_fetched_epoch <= partition.current_leader_epoch;
        if !sane {
            return Err(ErrorCode::InvalidRequest);
        }
        if partition.current_leader_epoch < self.ballot.epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if partition.current_leader_epoch > self.ballot.epoch {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if self.is_leader() { Ok(()) } else { Err(ErrorCode::NotLeaderOrFollower) }
    }

    /// Where the sender's log diverges from ours, if its last record is not in ours.
    fn divergence(&self, partition: &FetchPartition) -> Option<EpochEndOffset> {
        if partition.fetch_offset == Offset::ZERO {
            return None;
        }
        let asked = partition.last_fetched_epoch;
        let log = self.log.as_ref()?;
        let (end, last) = (log.log_end(), self.last_epoch());
        let found = log.epochs().end_offset_for(asked, end);
        // An epoch later than all of ours: we can only offer our last one.
        let found = found.unwrap_or(EpochEndOffset { epoch: last, end_offset: end });
        let agrees = found.epoch == asked && found.end_offset >= partition.fetch_offset;
        (!agrees).then_some(found)
    }

    /// Answers with the next records, or parks the fetch.
    fn serve(
        &mut self,
        to: ReplyTo,
        fetch: ParkedFetch,
        may_park: bool,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        // Only data that is at least in the page cache is served.
        let limit = self.running_log().written_end();
        let news = self.has_news(&fetch);
        let plan = if fetch.offset >= limit {
            ReadPlan::Empty
        } else {
            let limits = ReadLimits::at_least_one(limit, fetch.max_bytes);
            match self.running_log().read(fetch.offset, &limits) {
                Ok(plan) => plan,
                // There are no snapshots: the log starts at 0, and the end was checked.
                Err(_) => return self.refuse("the metadata log has a gap", facts),
            }
        };
        match plan {
            ReadPlan::Empty if may_park && !news => {
                self.parked_fetches.insert(to, fetch);
                self.arm_fetch_expiry(env);
            }
            ReadPlan::Empty => {
                self.answer_fetch(to, fetch.topic, ErrorCode::None, Vec::new(), None, env);
            }
            ReadPlan::Cached(batches) => {
                self.answer_fetch(to, fetch.topic, ErrorCode::None, batches, None, env);
            }
            ReadPlan::Disk(ref read) => {
                env.read(ReadTag::Fetch(to), read.file, read.at, read.len);
                self.reading.insert(to, ReadingFetch { fetch, limit, plan });
            }
        }
    }

    /// Handles the completed read of a fetch.
    pub(super) fn on_fetch_read(
        &mut self,
        to: ReplyTo,
        done: &DiskDone,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let DiskDone::Read { bytes, .. } = done else { return };
        let Some(reading) = self.reading.remove(&to) else { return };
        let ReadingFetch { fetch, limit, plan } = reading;
        let ReadPlan::Disk(read) = &plan else { panic!("only a disk plan is waited for") };
        let log = self.running_log();
        let limits = ReadLimits::at_least_one(limit, fetch.max_bytes);
        match log.finish_read(fetch.offset, &limits, read, bytes.clone()) {
            FinishedRead::Batches(batches) => {
                self.answer_fetch(to, fetch.topic, ErrorCode::None, batches, None, env);
            }
            FinishedRead::More(next) => {
                env.read(ReadTag::Fetch(to), next.file, next.at, next.len);
                let plan = ReadPlan::Disk(next);
                self.reading.insert(to, ReadingFetch { fetch, limit, plan });
            }
            FinishedRead::Stale => self.serve(to, fetch, false, env, facts),
            FinishedRead::Corrupt => self.refuse("the metadata log is damaged on disk", facts),
        }
    }

    /// More is written or committed: answers the fetches that wait for that.
    pub(super) fn wake_fetches(&mut self, env: &mut dyn Env) {
        if !self.is_leader() {
            return;
        }
        let limit = self.log.as_ref().map_or(Offset::ZERO, |log| log.written_end());
        let ready = |fetch: &ParkedFetch| fetch.offset < limit || self.has_news(fetch);
        let woken: Vec<ReplyTo> = self
            .parked_fetches
            .iter()
            .filter(|(_, fetch)| ready(fetch))
            .map(|(to, _)| *to)
            .collect();
        let mut facts = Vec::new();
        for to in woken {
            if let Some(fetch) = self.parked_fetches.remove(&to) {
                self.serve(to, fetch, false, env, &mut facts);
            }
        }
        assert!(facts.is_empty(), "reading from a leader's own log");
    }

    /// Answers parked fetches whose time is up with no records.
    pub(super) fn expire_fetches(&mut self, env: &mut dyn Env) {
        let now = env.now();
        let late: Vec<ReplyTo> = self
            .parked_fetches
            .iter()
            .filter(|(_, fetch)| fetch.deadline <= now)
            .map(|(to, _)| *to)
            .collect();
        for to in late {
            if let Some(fetch) = self.parked_fetches.remove(&to) {
                self.answer_fetch(to, fetch.topic, ErrorCode::None, Vec::new(), None, env);
            }
        }
        self.arm_fetch_expiry(env);
    }

    /// Keeps the timer at the earliest deadline; it may be set earlier, never later.
    fn arm_fetch_expiry(&mut self, env: &mut dyn Env) {
        let first = self.parked_fetches.values().map(|fetch| fetch.deadline).min();
        let Some(first) = first else { return };
        if self.fetch_expiry.is_none_or(|armed| first < armed) {
            self.fetch_expiry = Some(first);
            env.arm(TimerKey::QuorumFetchExpiry, first);
        }
    }

    /// This node no longer leads: sends all waiting fetchers elsewhere.
    pub(super) fn refuse_waiting_fetches(&mut self, env: &mut dyn Env) {
        let parked = core::mem::take(&mut self.parked_fetches);
        let reading = core::mem::take(&mut self.reading);
        let reading = reading.into_iter().map(|(to, reading)| (to, reading.fetch));
        for (to, fetch) in parked.into_iter().chain(reading) {
            let error = ErrorCode::NotLeaderOrFollower;
            self.answer_fetch(to, fetch.topic, error, Vec::new(), None, env);
        }
    }

    fn answer_fetch(
        &self,
        to: ReplyTo,
        topic: TopicRef,
        error: ErrorCode,
        records: Records,
        diverging_epoch: Option<EpochEndOffset>,
        env: &mut dyn Env,
    ) {
        let unknown = Offset(-1);
        let (epoch, leader) = self.told();
        let partition = FetchPartitionResponse {
            high_watermark: self.high_watermark.filter(|_| error.is_ok()).unwrap_or(unknown),
            log_start_offset: self.log.as_ref().map_or(unknown, |log| log.log_start()),
            diverging_epoch,
            current_leader: Some(LeaderIdAndEpoch {
                leader: leader.unwrap_or(NodeId::NONE),
                epoch,
            }),
            records,
            ..FetchPartitionResponse::failed(0, error)
        };
        let topics = vec![FetchTopicResponse { topic, partitions: vec![partition] }];
        env.respond(to, Response::Fetch(FetchResponse { topics, ..FetchResponse::default() }));
    }
}
