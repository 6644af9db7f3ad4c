//! A clean mark covers only what is on the media: batches, and the files that are trusted with them
//! (indexes, leader epochs, the topic's id).
//!
//! Source: KAFKA-1488 and Kafka's `LogManager.shutdown`: logs are flushed, then the mark is
//! written. Reason: after a clean stop, recovery trusts every partition's log as it is. If power is
//! lost after the stop, what was only in the page cache is gone or torn, and nothing checks. The
//! mark does not cover the metadata log, here as in Kafka's `KafkaMetadataLog`: that log is always
//! checked from its recovery point, and a fetch may be answered while the mark is being written
//! (the default profile's seed 7572).

use super::{Invariant, Kind, Seen, View};
use crate::disk::SimDisk;
use wavetank_core::env::FileKind;
use wavetank_core::note::Note;
use wavetank_core::types::METADATA_TOPIC;

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
            Seen::Note(node, Note::ShutDown { clean: true }) => {
                if let Some(log) = view.ledger.unsynced_partition(node) {
                    return Err(format!(
                        "node {node} marked its shutdown as clean while records of {log} were not \
                         on the media"
                    ));
                }
                match view.world.find_disk(node).and_then(unsynced_file) {
                    None => Ok(()),
                    Some((dir, kind)) => Err(format!(
                        "node {node} marked its shutdown as clean while the media held other \
                         content of {dir}/{}",
                        kind.name()
                    )),
                }
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Started(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => Ok(()),
        }
    }
}

/// A partition's file whose content on the media differs from what processes see.
fn unsynced_file(disk: &SimDisk) -> Option<(String, FileKind)> {
    let metadata = format!("{METADATA_TOPIC}-0");
    let vouched = |dir: &String| {
        // A departing directory no longer belongs to a replica.
        *dir != metadata && !dir.ends_with("-delete") && !dir.ends_with("-stray")
    };
    let mut dirs = disk.dir_names().into_iter().filter(vouched);
    dirs.find_map(|dir| disk.unsynced_in(&dir).map(|kind| (dir, kind)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bench, EVENTS, METADATA};
    use super::*;
    use crate::ledger::fixture;
    use wavetank_core::types::NodeId;

    #[test]
    fn a_mark_over_unsynced_records_is_caught() {
        let mut bench = Bench::new();
        for node in [1, 2] {
            bench.write(NodeId(node), METADATA, fixture::batch(0, 1, 0, 1));
            bench.write(NodeId(node), EVENTS, fixture::batch(0, 1, 0, 1));
        }
        bench.sync(NodeId(1), EVENTS);
        let see = |node, clean| {
            CleanMark.see(Seen::Note(NodeId(node), &Note::ShutDown { clean }), &bench.view())
        };
        assert_eq!(see(1, true), Ok(()), "nobody asks it for the metadata log");
        assert_eq!(see(2, false), Ok(()), "nothing vouches for it");
        let wrong = see(2, true).unwrap_err();
        assert!(wrong.contains("while records of events-0 were not"), "{wrong}");
    }
}
