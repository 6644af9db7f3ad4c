//! A clean mark vouches only for what is on the media.
//!
//! Source: KAFKA-1488 and Kafka's `LogManager.shutdown`: logs are flushed, then the mark is written.
//! Reason: after a clean stop recovery trusts every log as it finds it. If power goes after the stop,
//! records that were only in the page cache are gone or torn, and nobody looks.

use super::{Invariant, Kind, Seen, View};
use wavetank_core::note::Note;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct CleanMark;

impl Invariant for CleanMark {
    fn name(&self) -> &'static str {
        "clean-mark-vouches"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Note(node, Note::ShutDown { clean: true }) if view.ledger.has_unsynced(node) => {
                Err(format!(
                    "node {node} marked its stop as clean while records of it were not on the media"
                ))
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Started(_)
            | Seen::Client(_)
            | Seen::Fault(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::NodeId;

    #[test]
    fn a_mark_over_unsynced_records_is_caught() {
        let mut bench = Bench::new();
        bench.append(NodeId(1), 0, 0, 1);
        bench.write(NodeId(2), 0, 0, 1);
        let see = |node, clean| {
            CleanMark.see(Seen::Note(NodeId(node), &Note::ShutDown { clean }), &bench.view())
        };
        assert_eq!(see(1, true), Ok(()), "it was synced");
        assert_eq!(see(2, false), Ok(()), "nothing vouches for it");
        let wrong = see(2, true).unwrap_err();
        assert!(wrong.contains("node 2 marked its stop as clean"), "{wrong}");
    }
}
