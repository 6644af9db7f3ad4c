//! No leader of the metadata quorum asks a follower to truncate committed records.
//!
//! Source: Raft's leader completeness (section 5.4.3); Kafka's
//! `KafkaMetadataLog.truncateToEndOffset`, which refuses. Reason: a follower refuses this, since
//! any peer can ask for it. A correct leader never asks, because an elected leader has everything
//! that is committed.

use super::{Invariant, Kind, Seen, View};
use wavetank_core::note::{Implausible, Note};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct CommittedCut;

impl Invariant for CommittedCut {
    fn name(&self) -> &'static str {
        "committed-is-not-cut"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Note(
                node,
                Note::AnswerRefused { partition, peer, why: Implausible::CutOfCommitted },
            ) => Err(format!(
                "an answer of node {peer} would make node {node} truncate committed records of {}",
                view.name(*partition)
            )),
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Started(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{NodeId, TopicPartition};

    #[test]
    fn a_cut_below_what_is_committed_is_caught() {
        let bench = Bench::new();
        let refused = |why| {
            let (partition, peer) = (TopicPartition::METADATA, NodeId(2));
            let note = Note::AnswerRefused { partition, peer, why };
            CommittedCut.see(Seen::Note(NodeId(1), &note), &bench.view())
        };
        assert_eq!(refused(Implausible::Divergence), Ok(()));
        let wrong = refused(Implausible::CutOfCommitted).unwrap_err();
        assert!(wrong.contains("node 2 would make node 1 truncate"), "{wrong}");
    }
}
