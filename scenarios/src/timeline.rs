//! The timeline of a run: what a client could see, and what caused it, one aligned line each.
//!
//! Written by an invariant that never fails, because invariants see everything that happens.
//! Consecutive acknowledgements, or reads, with nothing else between them are one line.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use wavetank_core::client::{ClientFact, NamedPartition};
use wavetank_core::note::{Note, TruncationReason};
use wavetank_core::types::{LeaderEpoch, NodeId, TopicPartition};
use wavetank_sim::invariants::{Invariant, Kind, Seen, View, Violation};
use wavetank_sim::ledger::Finding;
use wavetank_sim::workload::{Record, Recorded};

/// Collects the lines; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    timeline: Arc<Mutex<Timeline>>,
}

#[derive(Debug, Default)]
struct Timeline {
    /// The time in ns, and the line.
    lines: Vec<(u64, String)>,
    runs: BTreeMap<(u64, NodeId, &'static str, NamedPartition), Offsets>,
    isr: BTreeMap<TopicPartition, Vec<NodeId>>,
    down: BTreeMap<NodeId, bool>,
}

/// Consecutive offsets, and the time of the last one.
#[derive(Debug)]
struct Offsets {
    first: i64,
    last: i64,
    at: u64,
}

/// One line: time, who, what, the rest.
fn line(at_ns: u64, who: &str, what: &str, text: &str) -> String {
    let (seconds, micros) = (at_ns / 1_000_000_000, at_ns / 1_000 % 1_000_000);
    format!("{seconds:>4}.{micros:06}  {who:<10}  {what:<9}  {text}").trim_end().to_owned()
}

impl Recorder {
    /// The collected lines and the verdicts, in order of time.
    pub(crate) fn lines(&self, violations: &[Violation]) -> Vec<String> {
        let mut timeline = self.timeline.lock().expect("no holder panics");
        timeline.end_runs();
        for violation in violations {
            let text = format!("{}: {}", violation.invariant, violation.message);
            timeline.say(violation.at_us * 1_000 + 999, "verdict", "BROKEN", &text);
        }
        let mut lines = std::mem::take(&mut timeline.lines);
        lines.sort_by_key(|(at, _)| *at);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

impl Invariant for Recorder {
    fn name(&self) -> &'static str {
        "timeline"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let mut timeline = self.timeline.lock().expect("no holder panics");
        if !matches!(seen, Seen::Fault(..)) {
            timeline.look_for_ends(view);
        }
        match seen {
            Seen::Note(node, note) => timeline.note(node, note, view),
            Seen::Finding(finding) => timeline.finding(finding, view),
            Seen::Started(node) if view.plan.cluster.nodes().contains(&node.0) => {
                timeline.down.insert(node, false);
                timeline.say(view.world.now(), &host(node), "starts", "");
            }
            Seen::Started(_) => {}
            Seen::Fault(kind, hit) => {
                let text = match hit {
                    [] => kind.replace('_', " "),
                    _ => format!("{} of {}", kind.replace('_', " "), nodes(hit)),
                };
                timeline.say(view.world.now(), "tank", "strikes", &text);
            }
            Seen::Client(record) => timeline.client(record),
            // The invariant that it breaks reports it.
            Seen::OddAnswer(..) => {}
        }
        Ok(())
    }
}

fn host(node: NodeId) -> String {
    if node.0 >= wavetank_sim::node::FIRST_CLIENT {
        format!("client {node}")
    } else {
        format!("node {node}")
    }
}

fn who(node: Option<NodeId>) -> String {
    node.map_or("nobody".to_owned(), |node| node.to_string())
}

fn controller_of(epoch: LeaderEpoch) -> String {
    format!("as the active controller of epoch {epoch}")
}

fn torn(bytes: u64) -> &'static str {
    if bytes > 0 { ", torn tail truncated" } else { "" }
}

fn why(reason: TruncationReason) -> &'static str {
    match reason {
        TruncationReason::Diverging => "it diverges from the leader's log",
        TruncationReason::LeaderEndsBefore => "the leader's log ends before it",
        TruncationReason::LeaderStartsAfter => "the leader's log starts after it",
        TruncationReason::TornTail => "its tail is torn",
        TruncationReason::OwnHighWatermark => "to its own high watermark",
    }
}

fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

impl Timeline {
    fn say(&mut self, at: u64, who: &str, what: &str, text: &str) {
        self.end_runs();
        self.lines.push((at, line(at, who, what, text)));
    }

    fn end_runs(&mut self) {
        for ((at, client, what, partition), run) in std::mem::take(&mut self.runs) {
            let text = if run.first == run.last {
                format!("{partition} offset {}", run.first)
            } else {
                let (seconds, micros) = (run.at / 1_000_000_000, run.at / 1_000 % 1_000_000);
                format!(
                    "{partition} offsets {} to {}, until {seconds}.{micros:06}",
                    run.first, run.last
                )
            };
            self.lines.push((at, line(at, &host(client), what, &text)));
        }
    }

    /// Adds offsets to the run that they continue, or starts a new one.
    fn offsets(
        &mut self,
        record: &Record,
        what: &'static str,
        partition: &NamedPartition,
        (first, last): (i64, i64),
    ) {
        let continued = self.runs.iter_mut().find(|((_, client, kind, place), run)| {
            (*client, *kind, place, run.last + 1) == (record.client, what, partition, first)
        });
        match continued {
            Some((_, run)) => (run.last, run.at) = (last, record.at),
            None => {
                let key = (record.at, record.client, what, partition.clone());
                self.runs.insert(key, Offsets { first, last, at: record.at });
            }
        }
    }

    /// Adds lines for processes that have ended since the last call.
    fn look_for_ends(&mut self, view: &View<'_>) {
        for id in view.plan.cluster.nodes() {
            let node = NodeId(id);
            if self.down.get(&node) == Some(&false) && view.world.machine(node).is_none() {
                self.down.insert(node, true);
                self.say(view.world.now(), &host(node), "is down", "");
            }
        }
    }

    fn note(&mut self, node: NodeId, note: &Note, view: &View<'_>) {
        let Some((what, text)) = self.describe(note, view) else { return };
        self.say(view.world.now(), &host(node), what, &text);
    }

    /// The transitions that the timeline shows. Others are left out, because they would hide these.
    fn describe(&mut self, note: &Note, view: &View<'_>) -> Option<(&'static str, String)> {
        let data = |partition: &TopicPartition| *partition != TopicPartition::METADATA;
        let name = |partition: &TopicPartition| view.name(*partition);
        Some(match note {
            Note::Recovered { partition, log_end, torn_bytes, .. }
                if data(partition) && (log_end.0 > 0 || *torn_bytes > 0) =>
            {
                ("recovers", format!("{} up to {log_end}{}", name(partition), torn(*torn_bytes)))
            }
            Note::Truncated { partition, from, to, reason } if data(partition) && from > to => {
                ("truncates", format!("{} from {from} to {to}: {}", name(partition), why(*reason)))
            }
            Note::BecameLeader { partition, epoch, start, high_watermark, isr, .. } => {
                self.isr.insert(*partition, isr.clone());
                let holds = format!("high watermark {high_watermark}, ISR {}", nodes(isr));
                ("leads", format!("{} in epoch {epoch} from {start} on, {holds}", name(partition)))
            }
            Note::BecameFollower { partition, epoch, leader, log_end, .. } if data(partition) => {
                let place = format!("{} on {} in epoch {epoch}", who(*leader), name(partition));
                ("follows", format!("{place}; own log ends at {log_end}"))
            }
            Note::IsrCommitted { partition, isr, .. } if self.isr.get(partition) != Some(isr) => {
                self.isr.insert(*partition, isr.clone());
                ("ISR", format!("{} is {}", name(partition), nodes(isr)))
            }
            Note::QuorumLeader { epoch, .. } => ("controls", controller_of(*epoch)),
            Note::BrokerFenced { broker } => ("fences", format!("broker {broker}")),
            Note::LogDirOffline { op } => ("gives up", format!("its disk failed ({op:?})")),
            Note::Recovered { .. }
            | Note::Truncated { .. }
            | Note::BecameFollower { .. }
            | Note::IsrCommitted { .. }
            | Note::Rolled { .. }
            | Note::Departed { .. }
            | Note::LeaderAppended { .. }
            | Note::FollowerAppended { .. }
            | Note::HighWatermark { .. }
            | Note::IsrProposed { .. }
            | Note::IsrRefused { .. }
            | Note::IsrUnanswered { .. }
            | Note::ProduceAcked { .. }
            | Note::ProduceFailed { .. }
            | Note::DivergingEpoch { .. }
            | Note::Fenced { .. }
            | Note::QuorumCandidate { .. }
            | Note::QuorumVoted { .. }
            | Note::QuorumVoteAnswered { .. }
            | Note::QuorumRestored { .. }
            | Note::QuorumPreVoted { .. }
            | Note::QuorumStored { .. }
            | Note::QuorumLogSynced { .. }
            | Note::LogRefused { .. }
            | Note::ReadRefused { .. }
            | Note::AnswerRefused { .. }
            | Note::LogSynced { .. }
            | Note::RecoveryPoint { .. }
            | Note::QuorumFollower { .. }
            | Note::QuorumResigned { .. }
            | Note::QuorumCommitted { .. }
            | Note::ControllerActive { .. }
            | Note::BrokerRegistered { .. }
            | Note::BrokerUnfenced { .. }
            | Note::SessionExpired { .. }
            | Note::SessionRenewed { .. }
            | Note::CutDeferred { .. }
            | Note::CutReads { .. }
            | Note::PartitionChanged { .. }
            | Note::BrokerRunning { .. }
            | Note::ShutDown { .. } => return None,
        })
    }

    fn finding(&mut self, finding: &Finding, view: &View<'_>) {
        if let Finding::Admitted { partition, batch, epoch } = finding {
            let text = format!(
                "{} from offset {} on is lost with all its copies; epoch {epoch} starts without it",
                view.name(*partition),
                batch.base
            );
            self.say(view.world.now(), "ledger", "admits", &text);
        }
    }

    fn client(&mut self, record: &Record) {
        let Recorded::Fact(fact) = &record.what else { return };
        match fact {
            ClientFact::Acked { partition, offset: Some(offset), .. } => {
                self.offsets(record, "has acked", partition, (offset.0, offset.0));
            }
            ClientFact::Failed { partition, error, certainty, .. } => {
                let text = format!("a record for {partition}: {} ({certainty:?})", error.name());
                self.say(record.at, &host(record.client), "gives up", &text);
            }
            ClientFact::Records { partition, records, .. } => {
                let ends = records.first().zip(records.last());
                if let Some((first, last)) = ends {
                    self.offsets(record, "reads", partition, (first.offset.0, last.offset.0));
                }
            }
            ClientFact::Truncated { partition, from, to, epoch } => {
                let text = format!("{partition} from {from} to {to}, where epoch {epoch} ends");
                self.say(record.at, &host(record.client), "rewinds", &text);
            }
            ClientFact::Reset { partition, from, to } => {
                let text = format!("{partition} from {from} to its {to:?}");
                self.say(record.at, &host(record.client), "resets", &text);
            }
            ClientFact::Acked { .. }
            | ClientFact::Position { .. }
            | ClientFact::EndOffset { .. }
            | ClientFact::OffsetAt { .. }
            | ClientFact::FetchError { .. }
            | ClientFact::TopicCreated { .. }
            | ClientFact::TopicDeleted { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::client::RecordId;
    use wavetank_core::types::Offset;

    #[test]
    fn lines_are_aligned() {
        assert_eq!(
            line(1_500_000_000, "node 1", "leads", "x"),
            "   1.500000  node 1      leads      x"
        );
        assert_eq!(line(12_000_001_000, "node 1", "starts", ""), "  12.000001  node 1      starts");
    }

    #[test]
    fn neighbouring_acknowledgements_are_one_line() {
        let mut timeline = Timeline::default();
        for (at, offset) in [(1, 0), (2, 1), (3, 2), (4, 7)] {
            let fact = ClientFact::Acked {
                id: RecordId(offset as u64),
                partition: NamedPartition::new("words", 0),
                offset: Some(Offset(offset)),
            };
            let at = at * 1_000_000_000;
            let record = Record { at, client: NodeId(101), what: Recorded::Fact(fact) };
            timeline.client(&record);
        }
        timeline.say(5_000_000_000, "node 1", "is down", "");
        let lines: Vec<String> = timeline.lines.into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            lines,
            [
                "   1.000000  client 101  has acked  words-0 offsets 0 to 2, until 3.000000",
                "   4.000000  client 101  has acked  words-0 offset 7",
                "   5.000000  node 1      is down",
            ]
        );
    }
}
