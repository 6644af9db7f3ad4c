//! Whole batches on the disk can be read: a read is refused only if the batch is really missing or
//! damaged.
//!
//! Source: an index is a hint (Kafka checks it at start, and rebuilds one that does not fit); the
//! batches are authoritative. Reason: a refused client retries, and gets an answer once another
//! replica leads or the process has restarted, so the bug shows in no history.

use super::{Invariant, Kind, Seen, View};
use wavetank_core::note::Note;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct ReadRefused;

impl Invariant for ReadRefused {
    fn name(&self) -> &'static str {
        "whole-is-read"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Note(node, Note::ReadRefused { partition, offset }) = seen else {
            return Ok(());
        };
        let replica = view.ledger.replica(node, *partition);
        match replica.batches().find(|batch| batch.base <= offset.0 && offset.0 <= batch.last) {
            None => Ok(()),
            Some(batch) => Err(format!(
                "node {node} refused to read {} at {offset}, but its disk holds the whole batch \
                 from {} to {}",
                view.name(*partition),
                batch.base,
                batch.last
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{NodeId, Offset, TopicPartition};

    #[test]
    fn a_batch_that_is_there_and_is_refused_is_caught() {
        let mut bench = Bench::new();
        bench.append(NodeId(1), 0, 1, 7);
        let see = |offset| {
            let partition = TopicPartition::METADATA;
            let note = Note::ReadRefused { partition, offset: Offset(offset) };
            ReadRefused.see(Seen::Note(NodeId(1), &note), &bench.view())
        };
        assert_eq!(see(1), Ok(()), "there is none");
        assert!(see(0).unwrap_err().contains("holds the whole batch from 0 to 0"));
    }
}
