//! A lookup of the first record since a time finds one that is not older, and by what clients read
//! no earlier record matches. A lookup of the largest timestamp finds the first record that has it.
//! ([`EndsSettled`](super::EndsSettled) checks that no later one is larger: it knows what was there
//! when the client asked.)
//!
//! Source: ListOffsets by timestamp (KIP-79), the largest (KIP-734). Reason: a consumer that starts
//! there would miss records. Partitions with an admitted loss are skipped: two records may have had
//! the same offset.

use super::{Invariant, Kind, Seen, View};
use crate::workload::{Record, Recorded};
use std::collections::BTreeMap;
use wavetank_core::client::{ClientFact, NamedPartition};
use wavetank_core::msg::MAX_TIMESTAMP;
use wavetank_core::types::{LeaderEpoch, WallTime};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct TimeLookup;

/// The epoch and timestamp read at each offset of a partition.
pub(super) type Read = BTreeMap<i64, (LeaderEpoch, WallTime)>;

/// Everything that any client read.
pub(super) fn all_read(history: &[Record]) -> BTreeMap<NamedPartition, Read> {
    let mut all: BTreeMap<NamedPartition, Read> = BTreeMap::new();
    for record in history {
        if let Recorded::Fact(ClientFact::Records { partition, records, .. }) = &record.what {
            let read = all.entry(partition.clone()).or_default();
            read.extend(records.iter().map(|of| (of.offset.0, (of.leader_epoch, of.timestamp))));
        }
    }
    all
}

/// Asks for the largest timestamp instead of a time.
pub const LARGEST: WallTime = WallTime(MAX_TIMESTAMP);

/// What a lookup by time is for, in words.
pub(super) fn wanted(asked: WallTime) -> String {
    match asked {
        LARGEST => "the record with the largest timestamp".to_owned(),
        WallTime(since) => format!("the first record since {since}"),
    }
}

impl Invariant for TimeLookup {
    fn name(&self) -> &'static str {
        "time-lookup"
    }

    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn see(&mut self, _: Seen<'_>, _: &View<'_>) -> Result<(), String> {
        Ok(())
    }

    fn at_end(&mut self, history: &[Record], view: &View<'_>) -> Result<(), String> {
        let all = all_read(history);
        for record in history {
            let Recorded::Fact(ClientFact::OffsetAt { partition, asked, found, .. }) = &record.what
            else {
                continue;
            };
            let known = view.ledger.partition_named(&partition.to_string());
            let promises = known.and_then(|known| view.ledger.promises(known));
            let one_lineage = promises.is_none_or(|promises| promises.lineages().is_empty());
            let (Ok(Some((offset, at))), true) = (found, one_lineage) else { continue };
            let asking = format!(
                "client {} asked for {} of {partition} and got {offset}",
                record.client,
                wanted(*asked)
            );
            let asked = if *asked == LARGEST { at } else { asked };
            if at < asked {
                return Err(format!("{asking}, which has time {}", at.0));
            }
            let Some(read) = all.get(partition) else { continue };
            if let Some((_, time)) = read.get(&offset.0)
                && time != at
            {
                return Err(format!("{asking} with time {}; its time is {}", at.0, time.0));
            }
            let earlier = read.range(..offset.0).find(|(_, (_, time))| time >= asked);
            if let Some((earlier, (_, time))) = earlier {
                return Err(format!("{asking}, but {earlier} has time {}", time.0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::client::{ConsumedRecord, QueryId};
    use wavetank_core::types::{NodeId, Offset};

    fn fact(fact: ClientFact) -> Record {
        Record { at: 0, client: NodeId(101), what: Recorded::Fact(fact) }
    }

    /// A client reads records with these offsets and times.
    pub fn read(partition: &NamedPartition, records: &[(i64, i64)]) -> Record {
        let record = |&(offset, time): &(i64, i64)| ConsumedRecord {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(1),
            timestamp: WallTime(time),
            key: None,
            value: None,
            headers: Vec::new(),
        };
        fact(ClientFact::Records {
            partition: partition.clone(),
            records: records.iter().map(record).collect(),
            high_watermark: Offset(3),
        })
    }

    #[test]
    fn a_record_that_is_too_old_or_not_the_first_is_caught() {
        let bench = Bench::new();
        let partition = NamedPartition::new("events", 0);
        let read = read(&partition, &[(0, 50), (1, 70), (2, 60)]);
        let judge = |asked: i64, offset: i64, time: i64| {
            let answer = fact(ClientFact::OffsetAt {
                query: QueryId(0),
                partition: partition.clone(),
                asked: WallTime(asked),
                found: Ok(Some((Offset(offset), WallTime(time)))),
                leader_epoch: LeaderEpoch(1),
            });
            TimeLookup.at_end(&[read.clone(), answer], &bench.view())
        };
        assert_eq!(judge(55, 1, 70), Ok(()));
        assert!(judge(55, 0, 50).unwrap_err().contains("which has time 50"));
        assert!(judge(55, 2, 60).unwrap_err().contains("but 1 has time 70"));
        assert!(judge(55, 1, 71).unwrap_err().contains("its time is 70"));
        assert_eq!(judge(LARGEST.0, 1, 70), Ok(()));
        assert!(judge(LARGEST.0, 1, 50).unwrap_err().contains("its time is 70"));
        assert!(judge(LARGEST.0, 2, 60).unwrap_err().contains("largest timestamp of events-0"));
    }
}
