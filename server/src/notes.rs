//! The core's notes as `tracing` events: changes of leadership and service at `info`, events of
//! each batch at `debug`. Notes that a client can provoke at will are throttled.

use std::time::Instant;

use tracing::{debug, info, warn};
use wavetank_core::note::Note;
use wavetank_core::types::TopicPartition;

use crate::throttle::Throttle;

/// Emits notes.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// Produces that failed, by partition.
    failed: Throttle<TopicPartition>,
    /// Reads that found damage, by partition.
    refused: Throttle<TopicPartition>,
}

impl Tracer {
    pub(crate) fn new() -> Tracer {
        Tracer { failed: Throttle::new(), refused: Throttle::new() }
    }

    /// Emits one note.
    pub(crate) fn trace(&mut self, note: &Note) {
        let often = match note {
            Note::ProduceFailed { partition, .. } => Some((&mut self.failed, partition)),
            Note::ReadRefused { partition, .. } => Some((&mut self.refused, partition)),
            _ => None,
        };
        if let Some((throttle, partition)) = often {
            if let Some(notes) = throttle.next_window(Instant::now()) {
                let name = note.name();
                warn!(target: "wavetank::note", notes, name, "more such notes were suppressed");
            }
            if !throttle.allows(*partition) {
                return debug!(target: "wavetank::note", name = note.name(), ?note);
            }
        }
        trace(note);
    }
}

fn trace(note: &Note) {
    match note {
        Note::LeaderAppended { .. }
        | Note::FollowerAppended { .. }
        | Note::HighWatermark { .. }
        | Note::ProduceAcked { .. }
        | Note::QuorumCommitted { .. }
        | Note::QuorumPreVoted { .. }
        | Note::QuorumStored { .. }
        | Note::QuorumLogSynced { .. }
        | Note::LogSynced { .. }
        | Note::RecoveryPoint { .. } => {
            debug!(target: "wavetank::note", name = note.name(), ?note);
        }
        Note::ProduceFailed { .. }
        | Note::Fenced { .. }
        | Note::Truncated { .. }
        | Note::DivergingEpoch { .. }
        | Note::IsrRefused { .. }
        | Note::IsrUnanswered { .. }
        | Note::LogDirOffline { .. }
        | Note::Departed { stray: true, .. }
        | Note::LogRefused { .. }
        | Note::ReadRefused { .. }
        | Note::AnswerRefused { .. } => {
            warn!(target: "wavetank::note", name = note.name(), ?note);
        }
        Note::Recovered { .. }
        | Note::Departed { stray: false, .. }
        | Note::Rolled { .. }
        | Note::BecameLeader { .. }
        | Note::BecameFollower { .. }
        | Note::IsrProposed { .. }
        | Note::IsrCommitted { .. }
        | Note::QuorumCandidate { .. }
        | Note::QuorumVoted { .. }
        | Note::QuorumVoteAnswered { .. }
        | Note::QuorumRestored { .. }
        | Note::QuorumLeader { .. }
        | Note::QuorumFollower { .. }
        | Note::QuorumResigned { .. }
        | Note::ControllerActive { .. }
        | Note::BrokerRegistered { .. }
        | Note::BrokerFenced { .. }
        | Note::BrokerUnfenced { .. }
        | Note::SessionExpired { .. }
        | Note::SessionRenewed { .. }
        | Note::CutDeferred { .. }
        | Note::CutReads { .. }
        | Note::PartitionChanged { .. }
        | Note::BrokerRunning { .. }
        | Note::ShutDown { .. } => info!(target: "wavetank::note", name = note.name(), ?note),
    }
}
