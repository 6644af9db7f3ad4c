//! A client gets a batch as a producer sent it: whole, with a valid checksum.
//!
//! Source: the record batch's CRC (KIP-98's message format) and Kafka's `check.crcs`, which makes a
//! consumer fail with `CorruptRecordException`. Reason: recovery keeps the rest of a torn batch
//! only if nothing checks it, and a leader that serves it has lost its records. No planned fault
//! damages batches on the media, so nothing excuses an invalid checksum.

use super::{Invariant, Kind, Seen, View};
use crate::workload::Recorded;
use wavetank_core::client::ClientFact;
use wavetank_core::error_code::ErrorCode;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct CorruptRead;

impl Invariant for CorruptRead {
    fn name(&self) -> &'static str {
        "corrupt-read"
    }

    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn see(&mut self, seen: Seen<'_>, _: &View<'_>) -> Result<(), String> {
        let Seen::Client(record) = seen else { return Ok(()) };
        match &record.what {
            Recorded::Fact(ClientFact::FetchError {
                partition,
                error: ErrorCode::CorruptMessage,
            }) => Err(format!(
                "{partition}: client {} read a corrupt batch: its checksum or its records are \
                 invalid",
                record.client
            )),
            Recorded::Fact(_)
            | Recorded::Send { .. }
            | Recorded::Asked { .. }
            | Recorded::Seek { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use crate::workload::Record;
    use wavetank_core::client::NamedPartition;
    use wavetank_core::types::NodeId;

    #[test]
    fn a_batch_that_does_not_check_is_caught() {
        let bench = Bench::new();
        let see = |error| {
            let partition = NamedPartition::new("events", 0);
            let what = Recorded::Fact(ClientFact::FetchError { partition, error });
            let record = Record { at: 7, client: NodeId(103), what };
            CorruptRead.see(Seen::Client(&record), &bench.view())
        };
        let wrong = see(ErrorCode::CorruptMessage).unwrap_err();
        assert!(wrong.starts_with("events-0: client 103 read a corrupt batch"), "{wrong}");
        assert_eq!(see(ErrorCode::NotLeaderOrFollower), Ok(()), "any other error is no damage");
    }
}
