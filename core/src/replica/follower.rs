//! A follower's handling of fetched data: append, truncate where the leader's log diverges, follow
//! the leader's high watermark.
//!
//! Sources: KIP-101, KIP-279, KIP-320; Kafka's `AbstractFetcherThread`. [`super::fetcher`] decides
//! when to fetch and from whom.

use alloc::vec::Vec;

use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::msg::{FetchPartition, FetchPartitionResponse};
use crate::note::{Implausible, Note, TruncationReason};
use crate::types::{EpochEndOffset, LeaderEpoch, NodeId, Offset, Uuid};

use super::{Fact, Partition, Role};

/// Whether the fetcher may go on with this partition at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterFetch {
    /// Yes.
    Continue,
    /// After a back-off.
    BackOff,
}

impl Partition {
    /// The leader that this replica fetches from, if it follows one.
    pub fn fetches_from(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower { leader, .. } => *leader,
            Role::None | Role::Leader(_) => None,
        }
    }

    /// Whether everything fetched so far counts, so that the next fetch may acknowledge it. The
    /// fetch offset is the acknowledgement, and under flush-before-ack it must not run ahead of the
    /// disk.
    pub fn may_fetch(&self) -> bool {
        self.log.is_ready()
            && self.pending_cut.is_none()
            && self.log.counted_end() >= self.log.log_end()
    }

    /// This partition's part of the next fetch.
    pub fn next_fetch(&self, max_bytes: u32) -> FetchPartition {
        FetchPartition {
            partition: self.topic_partition.partition,
            current_leader_epoch: self.leader_epoch(),
            fetch_offset: self.log.log_end(),
            last_fetched_epoch: self.log.last_epoch(),
            log_start_offset: self.log.log_start(),
            max_bytes: i32::try_from(max_bytes).unwrap_or(i32::MAX),
            replica_directory_id: Uuid::ZERO,
            high_watermark: Offset(i64::MAX),
        }
    }

    /// Handles the leader's answer to a fetch sent in `epoch` from `fetch_offset`. An answer for
    /// another epoch or position is dropped: the log has moved meanwhile.
    pub fn on_fetched(
        &mut self,
        epoch: LeaderEpoch,
        fetch_offset: Offset,
        response: FetchPartitionResponse,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) -> AfterFetch {
        let follows = matches!(&self.role, Role::Follower { epoch: ours, .. } if *ours == epoch);
        let ready = self.log.is_ready() && self.pending_cut.is_none();
        if !follows || !ready || self.log.log_end() != fetch_offset {
            return AfterFetch::Continue;
        }
        if response.error == ErrorCode::OffsetOutOfRange {
            return self.on_out_of_range(&response, env, facts);
        }
        if !response.error.is_ok() {
            return AfterFetch::BackOff;
        }
        if let Some(diverging) = response.diverging_epoch {
            // Such an answer's records and high watermark are both ignored (KAFKA-14704).
            return self.on_diverging(diverging, env, facts);
        }
        let first = self.log.log_end();
        let mut fits = true;
        for batch in response.records {
            // Nobody appends in a future epoch.
            if batch.leader_epoch > epoch {
                self.doubt(Implausible::Epoch, env);
                fits = false;
            } else {
                fits = self.log.append_as_follower(batch.detached(), env).is_ok();
            }
            if !fits {
                break;
            }
        }
        let end = self.log.log_end();
        if end > first {
            let (partition, last_epoch) = (self.topic_partition, self.log.last_epoch());
            env.note(Note::FollowerAppended { partition, epoch, first, end, last_epoch });
        }
        if !fits {
            return AfterFetch::BackOff;
        }
        self.follow_high_watermark(response.high_watermark, env, facts);
        AfterFetch::Continue
    }

    fn follow_high_watermark(&mut self, leaders: Offset, env: &mut dyn Env, facts: &mut Vec<Fact>) {
        let (from, to) = (self.high_watermark, leaders.min(self.log.log_end()));
        if to > from {
            self.high_watermark = to;
            let partition = self.topic_partition;
            env.note(Note::HighWatermark { partition, leader: false, from, to });
            facts.push(Fact::HighWatermarkAdvanced(self.id));
        }
    }

    /// Truncates to the point where our log and the leader's diverge. If we never had the epoch
    /// that the leader names, we cut to the end of our largest smaller epoch and ask again with
    /// that (KIP-279).
    fn on_diverging(
        &mut self,
        leaders: EpochEndOffset,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) -> AfterFetch {
        let (log_end, last) = (self.log.log_end(), self.log.last_epoch());
        // We asked about our last epoch and our end: only an earlier position diverges from those.
        let earlier =
            leaders.epoch < last || (leaders.epoch == last && leaders.end_offset < log_end);
        if leaders.epoch.0 < 0 || leaders.end_offset < Offset::ZERO || !earlier {
            self.doubt(Implausible::Divergence, env);
            return AfterFetch::BackOff;
        }
        let ours = self.log.epochs().end_offset_for(leaders.epoch, log_end);
        let to = match ours {
            Some(ours) if ours.epoch == leaders.epoch => ours.end_offset.min(leaders.end_offset),
            Some(ours) => ours.end_offset,
            None => leaders.end_offset,
        };
        self.truncate(to.min(log_end), TruncationReason::Diverging, env, facts);
        AfterFetch::Continue
    }

    fn on_out_of_range(
        &mut self,
        response: &FetchPartitionResponse,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) -> AfterFetch {
        let (start, committed) = (response.log_start_offset, response.high_watermark);
        if start > self.log.log_end() {
            // The leader deleted everything that we have. It deletes only committed records, and no
            // leader of this build deletes committed records that a follower may still lack.
            if start > committed || self.high_watermark > self.log.log_start() {
                self.doubt(Implausible::Start, env);
                return AfterFetch::BackOff;
            }
            self.log.truncate_fully_and_start_at(start, env);
            self.high_watermark = start;
        } else if committed >= self.high_watermark
            && self.log.last_epoch() == LeaderEpoch::NONE
            && self.log.log_end() > committed
        {
            let reason = TruncationReason::LeaderEndsBefore;
            self.truncate(committed, reason, env, facts);
        } else {
            return AfterFetch::BackOff;
        }
        AfterFetch::Continue
    }

    /// The leader's answer is one that no correct leader sends: it is ignored entirely.
    fn doubt(&self, why: Implausible, env: &mut dyn Env) {
        if let Some(peer) = self.fetches_from() {
            env.note(Note::AnswerRefused { partition: self.topic_partition, peer, why });
        }
    }
}
