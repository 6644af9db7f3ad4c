//! The core's notes as `tracing` events: what changes who leads and who serves at `info`, what
//! happens to each batch at `debug`.

use tracing::{debug, info, warn};
use wavetank_core::note::Note;

/// Emits one note.
pub fn trace(note: &Note) {
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
        | Note::LogDirOffline { .. }
        | Note::LogRefused { .. } => {
            warn!(target: "wavetank::note", name = note.name(), ?note);
        }
        Note::Recovered { .. }
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
        | Note::PartitionChanged { .. }
        | Note::BrokerRunning { .. }
        | Note::ShutDown { .. } => info!(target: "wavetank::note", name = note.name(), ?note),
    }
}
