//! The partition end reported to a client is committed, and is not below what had been committed
//! under that leader or an earlier one when the client asked. If a lookup by time finds nothing,
//! then by what clients read there was no match below that offset. If a lookup for the largest
//! timestamp finds one, there was none larger below that offset.
//!
//! Source: KIP-207: a new leader whose high watermark has not reached its epoch's start refuses
//! (OFFSET_NOT_AVAILABLE), and does not serve an end below what was read and acknowledged before.
//! Reason: a client that uses the end to see whether it has read everything would stop too soon.
//! Committed means that a leader's high watermark passed it. That includes everything acknowledged
//! with acks=all or read by any client, within a lineage. A deposed leader that does not know it
//! may report an old end: it is checked against what leaders up to its own epoch have reached.

use super::time_lookup::{LARGEST, all_read, wanted};
use super::{Invariant, Kind, Seen, View};
use crate::ledger::{Lineage, Promises};
use crate::workload::{Record, Recorded};
use std::collections::BTreeMap;
use wavetank_core::client::{ClientFact, NamedPartition, QueryId};
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition, WallTime};

type Reached = BTreeMap<LeaderEpoch, Offset>;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct EndsSettled {
    leading: BTreeMap<(NodeId, TopicPartition), LeaderEpoch>,
    /// How far the high watermark of each epoch's leader got.
    reached: BTreeMap<TopicPartition, Reached>,
    /// `reached` when each pending query was made.
    asked: BTreeMap<(NodeId, QueryId), Asked>,
    /// Lookups by time, and what they did not find.
    vain: Vec<Vain>,
}

/// The state when a query was made.
#[derive(Clone, Debug, Default)]
struct Asked {
    reached: Reached,
    /// The epoch of the oldest leader that may answer.
    oldest: Option<LeaderEpoch>,
}

/// A lookup that found no record since a time.
#[derive(Clone, Debug)]
struct Vain {
    client: NodeId,
    name: NamedPartition,
    asked: WallTime,
    since: WallTime,
    /// Every leader that may have answered had committed up to here when it was asked.
    least: Offset,
}

impl EndsSettled {
    fn reach(&mut self, partition: TopicPartition, epoch: LeaderEpoch, to: Offset) {
        let reached = self.reached.entry(partition).or_default().entry(epoch).or_insert(to);
        *reached = (*reached).max(to);
    }

    /// The smallest epoch that some process has led, whether or not it still believes it leads.
    fn oldest(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        let of = |((_, led), epoch): (&(NodeId, TopicPartition), &LeaderEpoch)| {
            (*led == partition).then_some(*epoch)
        };
        self.leading.iter().filter_map(of).min()
    }

    fn looked_up(
        &mut self,
        client: NodeId,
        name: &NamedPartition,
        of: TopicPartition,
        (query, since, found): (QueryId, WallTime, Option<(Offset, WallTime)>),
        view: &View<'_>,
    ) -> Result<(), String> {
        let asked = self.asked.remove(&(client, query)).unwrap_or_default();
        let furthest = furthest(view.ledger.promises(of));
        if let Some((offset, _)) = found
            && offset >= furthest
        {
            return Err(format!(
                "client {client} was told of a record of {name} at {offset}, but nothing beyond \
                 {furthest} was ever committed"
            ));
        }
        // The answer denies that any record has this timestamp or a later one.
        let denied = match (since, found) {
            (LARGEST, Some((_, at))) => WallTime(at.0 + 1),
            (LARGEST, None) => WallTime(0),
            (since, None) => since,
            (_, Some(_)) => return Ok(()),
        };
        let least = self.looked_up_in_vain(&asked, of, view);
        let name = name.clone();
        self.vain.push(Vain { client, name, asked: since, since: denied, least });
        Ok(())
    }

    /// An answer without a record carries no epoch, so the leader that gave it is unknown.
    fn looked_up_in_vain(&self, asked: &Asked, of: TopicPartition, view: &View<'_>) -> Offset {
        let oldest = asked.oldest.min(self.oldest(of));
        oldest.map_or(Offset::ZERO, |epoch| {
            least(&asked.reached, epoch, lineages(view.ledger.promises(of)))
        })
    }
}

/// The lowest end that a leader of this epoch may report.
fn least(reached: &Reached, epoch: LeaderEpoch, lineages: &[Lineage]) -> Offset {
    let floor = |(of, to): (&LeaderEpoch, &Offset)| {
        let between = |lineage: &&Lineage| *of < lineage.epoch && lineage.epoch <= epoch;
        let void = lineages.iter().filter(between).map(|lineage| lineage.offset).min();
        void.map_or(*to, |void| void.min(*to))
    };
    reached.range(..=epoch).map(floor).max().unwrap_or(Offset::ZERO)
}

fn lineages(promises: Option<&Promises>) -> &[Lineage] {
    promises.map_or(&[][..], |promises| promises.lineages())
}

fn furthest(promises: Option<&Promises>) -> Offset {
    promises.map_or(Offset::ZERO, |promises| promises.furthest())
}

/// May a leader of this epoch report this end to a client that asked at the time of `reached`?
fn told_of_end(
    promises: Option<&Promises>,
    reached: &Reached,
    offset: Offset,
    epoch: LeaderEpoch,
) -> Result<(), String> {
    let (furthest, least) = (furthest(promises), least(reached, epoch, lineages(promises)));
    if offset > furthest {
        return Err(format!("ends at {offset}, but nothing beyond {furthest} was ever committed"));
    }
    if offset < least {
        return Err(format!(
            "ends at {offset} (by the leader of epoch {epoch}), but all below {least} had been \
             committed when it asked"
        ));
    }
    Ok(())
}

impl Invariant for EndsSettled {
    fn name(&self) -> &'static str {
        "ends-are-settled"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let record = match seen {
            Seen::Started(node) => {
                self.leading.retain(|(of, _), _| *of != node);
                return Ok(());
            }
            Seen::Note(node, Note::BecameLeader { partition, epoch, high_watermark, .. }) => {
                self.leading.insert((node, *partition), *epoch);
                self.reach(*partition, *epoch, *high_watermark);
                return Ok(());
            }
            Seen::Note(node, Note::HighWatermark { partition, leader: true, to, .. }) => {
                if let Some(epoch) = self.leading.get(&(node, *partition)).copied() {
                    self.reach(*partition, epoch, *to);
                }
                return Ok(());
            }
            Seen::Note(..) | Seen::Finding(_) | Seen::Fault(..) | Seen::OddAnswer(..) => {
                return Ok(());
            }
            Seen::Client(record) => record,
        };
        let known = |name: String| view.ledger.partition_named(&name);
        match &record.what {
            Recorded::Asked { query, partition } => {
                let of = known(partition.to_string());
                let reached = of.and_then(|of| self.reached.get(&of)).cloned().unwrap_or_default();
                let asked = Asked { reached, oldest: of.and_then(|of| self.oldest(of)) };
                self.asked.insert((record.client, *query), asked);
                Ok(())
            }
            Recorded::Fact(ClientFact::EndOffset { query, partition, offset, leader_epoch }) => {
                let asked = self.asked.remove(&(record.client, *query)).unwrap_or_default();
                let (Ok(offset), Some(of)) = (offset, known(partition.to_string())) else {
                    return Ok(());
                };
                let promises = view.ledger.promises(of);
                let told = told_of_end(promises, &asked.reached, *offset, *leader_epoch);
                told.map_err(|why| {
                    format!("client {} was told that {partition} {why}", record.client)
                })
            }
            Recorded::Fact(ClientFact::OffsetAt { query, partition, found, asked, .. }) => {
                match (found, known(partition.to_string())) {
                    (Ok(found), Some(of)) => {
                        let look_up = (*query, *asked, *found);
                        self.looked_up(record.client, partition, of, look_up, view)
                    }
                    _ => Ok(()),
                }
            }
            Recorded::Send { .. } | Recorded::Seek { .. } | Recorded::Fact(_) => Ok(()),
        }
    }

    /// Skips partitions with an admitted loss: two records may have had the same offset.
    fn at_end(&mut self, history: &[Record], view: &View<'_>) -> Result<(), String> {
        let one_lineage = |name: &NamedPartition| {
            let known = view.ledger.partition_named(&name.to_string());
            let promises = known.and_then(|known| view.ledger.promises(known));
            promises.is_none_or(|promises| promises.lineages().is_empty())
        };
        let mut all = all_read(history);
        all.retain(|name, _| one_lineage(name));
        for vain in &self.vain {
            let Some(read) = all.get(&vain.name) else { continue };
            let below = read.range(..vain.least.0).find(|(_, (_, time))| *time >= vain.since);
            if let Some((offset, (_, time))) = below {
                let Vain { client, name, asked, since, least } = vain;
                return Err(format!(
                    "client {client} asked for {} of {name} and was told that no record has time \
                     {} or later, but {offset} has time {}, and all below {least} had been \
                     committed",
                    wanted(*asked),
                    since.0,
                    time.0
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::super::time_lookup::tests::read;
    use super::*;
    use wavetank_core::types::METADATA_TOPIC;

    fn ends(epoch: i32, offset: i64) -> Recorded {
        Recorded::Fact(ClientFact::EndOffset {
            query: QueryId(1),
            partition: NamedPartition::new(METADATA_TOPIC, 0),
            offset: Ok(Offset(offset)),
            leader_epoch: LeaderEpoch(epoch),
        })
    }

    #[test]
    fn ends_that_are_not_committed_or_too_low_are_caught() {
        let mut bench = Bench::new();
        for offset in 0..5 {
            bench.append(NodeId(1), offset, 1, 7);
        }
        let partition = TopicPartition::METADATA;
        bench.note(
            NodeId(1),
            &Note::QuorumCommitted { from: Offset(0), to: Offset(5), leader: true },
        );
        let mut invariant = EndsSettled::default();
        invariant.reach(partition, LeaderEpoch(3), Offset(4));
        let mut see = |what: Recorded| {
            let record = Record { at: 0, client: NodeId(103), what };
            invariant.see(Seen::Client(&record), &bench.view())
        };
        let asks = || Recorded::Asked {
            query: QueryId(1),
            partition: NamedPartition::new(METADATA_TOPIC, 0),
        };
        assert!(see(ends(3, 6)).unwrap_err().contains("nothing beyond 5"));
        assert!(see(asks()).is_ok());
        assert!(see(ends(2, 1)).is_ok(), "a leader from before it");
        assert!(see(asks()).is_ok());
        assert!(see(ends(4, 3)).unwrap_err().contains("below 4 had been committed"));
        assert!(see(ends(4, 3)).is_ok(), "nobody knows when it was asked");
    }

    #[test]
    fn a_time_at_which_a_committed_record_was_there_is_found() {
        let mut bench = Bench::new();
        for offset in 0..3 {
            bench.append(NodeId(1), offset, 1, 7);
        }
        let committed = Note::QuorumCommitted { from: Offset(0), to: Offset(3), leader: true };
        bench.note(NodeId(1), &committed);
        let partition = NamedPartition::new(METADATA_TOPIC, 0);
        let records = read(&partition, &[(0, 50), (1, 70), (2, 60)]);
        let judge_led = |led: i32, committed: i64, since: i64, found| {
            let mut invariant = EndsSettled::default();
            invariant.reach(TopicPartition::METADATA, LeaderEpoch(3), Offset(committed));
            invariant.leading.insert((NodeId(1), TopicPartition::METADATA), LeaderEpoch(led));
            let query = QueryId(1);
            let answer = ClientFact::OffsetAt {
                query,
                partition: partition.clone(),
                asked: WallTime(since),
                found: Ok(found),
                leader_epoch: LeaderEpoch::NONE,
            };
            let asked = Recorded::Asked { query, partition: partition.clone() };
            for what in [asked, Recorded::Fact(answer)] {
                let record = Record { at: 0, client: NodeId(103), what };
                invariant
                    .see(Seen::Client(&record), &bench.view())
                    .expect("not told before the end");
            }
            invariant.at_end(std::slice::from_ref(&records), &bench.view())
        };
        let judge = |committed, since| judge_led(3, committed, since, None);
        assert_eq!(judge(3, 71), Ok(()));
        assert_eq!(judge_led(2, 2, 60, None), Ok(()), "a leader from before it may have answered");
        assert_eq!(judge(1, 60), Ok(()), "not committed when it was asked");
        assert!(judge(2, 60).unwrap_err().contains("but 1 has time 70, and all below 2 had"));
        let largest =
            |committed, of| judge_led(3, committed, LARGEST.0, Some((Offset(0), WallTime(of))));
        assert_eq!((largest(3, 70), largest(1, 50)), (Ok(()), Ok(())));
        assert!(largest(2, 69).unwrap_err().contains("but 1 has time 70, and all below 2 had"));
        assert!(
            judge(1, LARGEST.0).unwrap_err().contains("but 0 has time 50"),
            "there is a largest"
        );
    }

    #[test]
    fn what_lies_behind_a_loss_is_not_expected() {
        let reached: Reached = [(LeaderEpoch(3), Offset(9))].into();
        let lost = Lineage { offset: Offset(6), epoch: LeaderEpoch(5), excused: true };
        assert_eq!(least(&reached, LeaderEpoch(4), &[lost]), Offset(9));
        assert_eq!(least(&reached, LeaderEpoch(5), &[lost]), Offset(6));
        assert_eq!(least(&reached, LeaderEpoch(2), &[lost]), Offset(0));
    }
}
