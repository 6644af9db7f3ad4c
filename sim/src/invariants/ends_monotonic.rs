//! The partition end reported to a client does not go back, as long as the leaders that report it
//! have no smaller epoch, and within a lineage.
//!
//! Source: KIP-207 (OFFSET_NOT_AVAILABLE). Reason: everything below the end was readable, and a
//! consumer's lag would be negative. A deposed leader that does not know it may serve an old end,
//! but with a smaller epoch.

use super::{Invariant, Kind, Seen, View};
use crate::workload::Recorded;
use std::collections::BTreeMap;
use wavetank_core::client::{ClientFact, NamedPartition};
use wavetank_core::types::{LeaderEpoch, NodeId, Offset};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct EndsMonotonic {
    /// The last end reported to each client in each leader epoch.
    told: BTreeMap<(NodeId, NamedPartition), BTreeMap<LeaderEpoch, Offset>>,
}

impl Invariant for EndsMonotonic {
    fn name(&self) -> &'static str {
        "ends-monotonic"
    }

    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Client(record) = seen else { return Ok(()) };
        let Recorded::Fact(ClientFact::EndOffset { partition, offset, leader_epoch, .. }) =
            &record.what
        else {
            return Ok(());
        };
        let Ok(offset) = offset else { return Ok(()) };
        let known = view.ledger.partition_named(&partition.to_string());
        let promises = known.and_then(|known| view.ledger.promises(known));
        let lineages = promises.map_or(&[][..], |promises| promises.lineages());
        let told = self.told.entry((record.client, partition.clone())).or_default();
        for (epoch, before) in told.range(..=*leader_epoch) {
            let void = lineages
                .iter()
                .filter(|lineage| *epoch < lineage.epoch && lineage.epoch <= *leader_epoch)
                .map(|lineage| lineage.offset)
                .min();
            let least = void.map_or(*before, |void| void.min(*before));
            if *offset < least {
                return Err(format!(
                    "client {} was told that {partition} ends at {before} in epoch {epoch}, and then \
                     at {offset} in epoch {leader_epoch}",
                    record.client
                ));
            }
        }
        told.insert(*leader_epoch, *offset);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use crate::workload::Record;
    use wavetank_core::client::QueryId;

    #[test]
    fn an_end_that_goes_back_is_caught() {
        let bench = Bench::new();
        let mut invariant = EndsMonotonic::default();
        let mut told = |epoch: i32, offset: i64| {
            let what = Recorded::Fact(ClientFact::EndOffset {
                query: QueryId(0),
                partition: NamedPartition::new("events", 0),
                offset: Ok(Offset(offset)),
                leader_epoch: LeaderEpoch(epoch),
            });
            let record = Record { at: 0, client: NodeId(103), what };
            invariant.see(Seen::Client(&record), &bench.view())
        };
        assert!(told(4, 10).is_ok());
        assert!(told(3, 7).is_ok(), "a deposed leader may not know");
        assert!(told(5, 10).is_ok());
        assert!(told(5, 9).unwrap_err().contains("at 10 in epoch 4, and then at 9"));
    }
}
