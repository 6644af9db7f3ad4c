//! A node that was stopped cleanly, and whose disk has not been touched since, finds its indexes as
//! it left them.
//!
//! Source: Kafka's `LogLoader`, which after a clean stop takes the index files as they are; a
//! rebuild reads every batch. Reason: if an index is written so that it cannot be read again, the
//! next start rebuilds it and nothing else shows the bug, but every start takes as long as after a
//! crash. The metadata log is excluded: no mark covers it, and it is always checked from its
//! recovery point. Plans whose records may lack timestamps are excluded, too: the time index of a
//! segment of such records is empty, which looks like a lost one, and it is rebuilt (seed 1483 of
//! the default profile).

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct CleanStart {
    nodes: BTreeMap<NodeId, State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Started,
}

impl Invariant for CleanStart {
    fn name(&self) -> &'static str {
        "clean-start-reindexes-nothing"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Note(node, Note::ShutDown { clean: true }) => {
                self.nodes.insert(node, State::Stopped);
            }
            Seen::Started(node) => match self.nodes.get_mut(&node) {
                Some(state @ State::Stopped) => *state = State::Started,
                _ => drop(self.nodes.remove(&node)),
            },
            Seen::Fault(_, []) => self.nodes.clear(),
            Seen::Fault(_, struck) => self.nodes.retain(|node, _| !struck.contains(node)),
            Seen::Note(node, Note::Recovered { partition, reindexed, .. })
                if *partition != TopicPartition::METADATA
                    && *reindexed > 0
                    && all_have_timestamps(view)
                    && self.nodes.get(&node) == Some(&State::Started) =>
            {
                return Err(format!(
                    "node {node} shut down cleanly, but rebuilt the indexes of {reindexed} \
                     segments of {} when it started",
                    view.name(*partition)
                ));
            }
            Seen::Note(..) | Seen::Finding(_) | Seen::Client(_) | Seen::OddAnswer(..) => {}
        }
        Ok(())
    }
}

fn all_have_timestamps(view: &View<'_>) -> bool {
    view.plan.workload.producers.iter().all(|producer| producer.event_times_ms == 0)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{Offset, Uuid};

    #[test]
    fn indexes_that_are_made_anew_without_need_are_caught() {
        let mut bench = Bench::new();
        let node = NodeId(1);
        let stopped = Note::ShutDown { clean: true };
        let events = TopicPartition { topic: Uuid(7), partition: 0 };
        let recovered = |partition, reindexed| Note::Recovered {
            partition,
            log_start: Offset(0),
            log_end: Offset(9),
            torn_bytes: 0,
            reindexed,
            epochs: Vec::new(),
        };
        let judge_log = |partition, before: &[Seen<'_>], reindexed| {
            let mut invariant = CleanStart::default();
            for &seen in before {
                invariant.see(seen, &bench.view()).expect("nothing is wrong yet");
            }
            invariant.see(Seen::Note(node, &recovered(partition, reindexed)), &bench.view())
        };
        let judge = |before: &[Seen<'_>], reindexed| judge_log(events, before, reindexed);
        let (stop, start) = (Seen::Note(node, &stopped), Seen::Started(node));
        let others = Seen::Fault("damage_index", &[NodeId(2)]);
        assert_eq!(judge(&[stop, start], 0), Ok(()));
        assert!(judge(&[stop, start, others], 2).unwrap_err().contains("indexes of 2 segments"));
        assert_eq!(judge_log(TopicPartition::METADATA, &[stop, start], 2), Ok(()));
        assert_eq!(judge(&[start], 2), Ok(()), "after a crash it may");
        assert_eq!(judge(&[stop, start, start], 2), Ok(()), "it was killed since");
        for struck in [Seen::Fault("damage_index", &[node]), Seen::Fault("power_loss_all", &[])] {
            assert_eq!(judge(&[stop, struck, start], 2), Ok(()), "its disk was touched");
        }
        bench.plan_mut().workload.producers[0].event_times_ms = 5;
        let mut invariant = CleanStart::default();
        for seen in [stop, start, Seen::Note(node, &recovered(events, 2))] {
            assert_eq!(invariant.see(seen, &bench.view()), Ok(()), "nothing need have a time");
        }
    }
}
