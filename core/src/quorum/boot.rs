//! Starting from disk: reads the vote and the log, and replays the log. `Opening -> Replaying ->
//! Running`, the same for a first start, a restart and a crash.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::replay::decode;
use super::roles::Ballot;
use super::{Quorum, QuorumFact};
use crate::checkpoint::{AtomicFileEvent, parse_quorum_state};
use crate::env::{Env, FileKind, Site};
use crate::event::{DiskDone, ReadTag};
use crate::flaw::FlawSet;
use crate::log::{
    FinishedRead, LogConfig, LogEvent, PartitionLog, ReadLimits, ReadPlan, RecoveryHint,
};
use crate::note::Note;
use crate::types::{DirId, NodeId, Offset, TopicPartition};

/// The directory of the metadata log.
const DIRECTORY: &str = "__cluster_metadata-0";
/// Bytes read at a time while the log is replayed.
const REPLAY_BYTES: u32 = 1 << 20;
/// Kafka's `metadata.log.segment.bytes`.
const SEGMENT_BYTES: u32 = 1 << 30;
/// Kafka's `index.interval.bytes`.
const INDEX_INTERVAL_BYTES: u32 = 4096;

/// How far the start has progressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    New,
    /// Which of the two have been read.
    Opening {
        vote: bool,
        log: bool,
    },
    /// Reading the log back from this offset on.
    Replaying {
        next: Offset,
        plan: ReadPlan,
    },
    Running,
    /// Failed or refused.
    Stopped,
}

impl Quorum {
    pub(super) fn open(&mut self, hint: RecoveryHint, env: &mut dyn Env) {
        assert!(self.phase == Phase::New, "a quorum starts once");
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES,
            index_interval_bytes: INDEX_INTERVAL_BYTES,
            // Every voter counts only what is on its disk, so every append is followed by a sync.
            flush_each_batch: true,
            tail_cache_bytes: self.settings.cache_bytes,
            read_chunk_bytes: self.settings.read_chunk_bytes,
            // The log's own flaws are about partitions; the quorum has its own two.
            flaws: FlawSet::NONE,
        };
        let (dir, partition) = (DirId::METADATA, TopicPartition::METADATA);
        self.log = Some(PartitionLog::open(dir, DIRECTORY, partition, config, hint, env));
        self.phase = Phase::Opening { vote: false, log: false };
    }

    pub(super) fn disk_done(
        &mut self,
        done: &DiskDone,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        if matches!(self.phase, Phase::New | Phase::Stopped) {
            return;
        }
        if let DiskDone::Failed { op, error, .. } = done {
            self.phase = Phase::Stopped;
            return facts.push(QuorumFact::Failed(*op, *error));
        }
        self.vote_file_done(done, env, facts);
        let synced = self.running_log().synced_end();
        let event = self.running_log().on_disk(done, env);
        let end = self.running_log().synced_end();
        if end > synced {
            env.note(Note::QuorumLogSynced { end });
        }
        match event {
            LogEvent::None | LogEvent::Truncated => {}
            LogEvent::Recovered => {
                if let Phase::Opening { log, .. } = &mut self.phase {
                    *log = true;
                }
            }
            LogEvent::Progress => {
                if self.phase == Phase::Running {
                    self.advance_high_watermark(env, facts);
                    self.wake_fetches(env);
                }
            }
            LogEvent::Corrupt(damage) => {
                self.phase = Phase::Stopped;
                return facts.push(QuorumFact::Damaged(damage));
            }
            LogEvent::Failed(op, error) => {
                self.phase = Phase::Stopped;
                return facts.push(QuorumFact::Failed(op, error));
            }
        }
        match done {
            DiskDone::Read { tag: ReadTag::Fetch(to), .. } => {
                self.on_fetch_read(*to, done, env, facts);
            }
            DiskDone::Read { tag: ReadTag::Replay, bytes, .. } => {
                self.on_replay_read(bytes.clone(), env, facts);
            }
            DiskDone::Read { .. }
            | DiskDone::Listed { .. }
            | DiskDone::Written { .. }
            | DiskDone::Synced { .. }
            | DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Failed { .. } => {}
        }
        if self.phase == (Phase::Opening { vote: true, log: true }) {
            if self.log_start() > Offset::ZERO {
                let why = "the metadata log does not begin at offset 0: its first segment is \
                           missing. Restore the directory from a backup of this same node";
                return self.refuse(why, facts);
            }
            self.replay_from(self.log_start(), env, facts);
        }
    }

    fn log_start(&self) -> Offset {
        self.log.as_ref().map_or(Offset::ZERO, PartitionLog::log_start)
    }

    fn vote_file_done(&mut self, done: &DiskDone, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if let DiskDone::Listed { files, .. } = done {
            let there = files.iter().any(|(kind, _)| *kind == FileKind::QuorumState);
            if there {
                self.vote_file.read(env);
            } else if let Phase::Opening { vote, .. } = &mut self.phase {
                *vote = true;
            }
        }
        match self.vote_file.on_disk(done, env) {
            None => {}
            Some(AtomicFileEvent::Durable(version)) => self.on_ballot_durable(version, env, facts),
            Some(AtomicFileEvent::Loaded(bytes)) => match parse_quorum_state(&bytes) {
                Ok(state) if self.other_voters(state.voters.as_deref()).is_some() => {
                    let why = self.other_voters(state.voters.as_deref());
                    self.refuse(why.unwrap_or_default(), facts);
                }
                Ok(state) => {
                    let (epoch, voted, leader) = (state.epoch, state.voted, state.leader);
                    self.ballot = Ballot { epoch, voted, leader };
                    self.durable = self.ballot;
                    if let Phase::Opening { vote, .. } = &mut self.phase {
                        *vote = true;
                    }
                }
                // Without it, this node might vote twice in an epoch.
                Err(_) => self.refuse(
                    "quorum-state is damaged: restore it from a copy. A voter that lost its vote \
                     or its log must not rejoin as the same voter",
                    facts,
                ),
            },
        }
    }

    /// Reads the log back from `next` on.
    fn replay_from(&mut self, mut next: Offset, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        loop {
            let end = self.log_end();
            if next >= end {
                return self.take_part(env, facts);
            }
            let limits = ReadLimits::at_least_one(end, REPLAY_BYTES);
            match self.running_log().read(next, &limits) {
                Ok(ReadPlan::Cached(batches)) => match self.keep_decoded(&batches) {
                    Ok(after) => next = after,
                    Err(why) => return self.refuse(why, facts),
                },
                Ok(plan @ ReadPlan::Disk(_)) => {
                    if let ReadPlan::Disk(read) = &plan {
                        env.read(ReadTag::Replay, read.file, read.at, read.len);
                    }
                    self.phase = Phase::Replaying { next, plan };
                    return;
                }
                Ok(ReadPlan::Empty) | Err(_) => {
                    return self.refuse("the metadata log has a gap", facts);
                }
            }
        }
    }

    fn on_replay_read(
        &mut self,
        bytes: bytes::Bytes,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let Phase::Replaying { next, plan: ReadPlan::Disk(read) } = &self.phase else { return };
        let (next, read) = (*next, *read);
        let end = self.log_end();
        let limits = ReadLimits::at_least_one(end, REPLAY_BYTES);
        match self.running_log().finish_read(next, &limits, &read, bytes) {
            FinishedRead::Batches(batches) => match self.keep_decoded(&batches) {
                Ok(after) => self.replay_from(after, env, facts),
                Err(why) => self.refuse(why, facts),
            },
            FinishedRead::More(more) => {
                env.read(ReadTag::Replay, more.file, more.at, more.len);
                self.phase = Phase::Replaying { next, plan: ReadPlan::Disk(more) };
            }
            FinishedRead::Stale => self.replay_from(next, env, facts),
            FinishedRead::Corrupt => self.refuse("the metadata log is damaged on disk", facts),
        }
    }

    fn keep_decoded(&mut self, batches: &[crate::batch::Batch]) -> Result<Offset, String> {
        let hole = "the metadata log has a gap";
        for batch in batches {
            let expected = self.pending.end().unwrap_or(self.log_start());
            if batch.base_offset != expected {
                return Err(hole.into());
            }
            let (decoded, voters) = decode(batch)?;
            if let Some(why) = self.other_voters(voters.as_deref()) {
                return Err(why);
            }
            self.pending.push(decoded);
        }
        self.pending.end().ok_or(hole.into())
    }

    /// An error message if these voters, recorded with the vote or the metadata, are not the
    /// configured ones; `None` if they are, or if none were recorded. Voters are static: if nodes
    /// with empty logs joined this one, they would outvote it, and its metadata would be cut.
    pub(super) fn other_voters(&self, voters: Option<&[NodeId]>) -> Option<String> {
        let mut theirs = voters?.to_vec();
        let mut ours = self.settings.voters.clone();
        theirs.sort_unstable();
        ours.sort_unstable();
        if theirs.is_empty() || theirs == ours {
            return None;
        }
        let list = |voters: &[NodeId]| {
            let ids: Vec<String> = voters.iter().map(|voter| voter.to_string()).collect();
            ids.join(", ")
        };
        Some(format!(
            "the metadata in this directory belongs to the voters {}, but controller.quorum.voters \
             names {}. Voters cannot be changed yet: those without the metadata would outvote \
             those that have it, and every topic would be lost. Restore the former voters; or move \
             the directory away, start the new voters with empty directories, and copy the records \
             over",
            list(&theirs),
            list(&ours)
        ))
    }

    /// Everything has been read: takes the role that the ballot implies.
    fn take_part(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        let last = self.last_epoch();
        if self.ballot.epoch < last {
            // `quorum-state` holds each epoch, durably, before any record of it is appended.
            let why = "quorum-state is missing or older than the metadata log: restore it from a \
                       copy. A voter that lost its vote must not rejoin as the same voter";
            return self.refuse(why, facts);
        }
        self.phase = Phase::Running;
        self.ask_next = env.draw(Site::Peer, u64::MAX);
        let Ballot { epoch, voted, .. } = self.ballot;
        env.note(Note::QuorumRestored { epoch, voted });
        self.resume_role(env);
        facts.push(QuorumFact::Ready);
        let alone = self.settings.voters.len() == 1 && self.is_voter() && !self.is_leader();
        if alone {
            self.election = None;
            self.election_timeout(env, facts);
        }
    }
}
