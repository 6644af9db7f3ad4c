//! Converts a run's history to the form that `linearizability` defines, and judges it.
//!
//! It has the sends, acknowledgements, polls and assignments that the client hosts recorded, and
//! the losses that the ledger admitted. The plan determines which promises apply. What a promise is
//! lives in `linearizability`.

use crate::ledger::{Ledger, Promises};
use crate::node::FIRST_CLIENT;
use crate::plan::Plan;
use crate::workload::{Record, Recorded, value_name};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::client::{ClientFact, ConsumedRecord, NamedPartition, RecordId};
use wavetank_core::error_code::Certainty;
use wavetank_core::types::{NodeId, Offset};
use wavetank_linearizability::{Acks, History, Loss, OpId, Partition, Polled, Value, log};

/// The result of judging a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// (invariant, message).
    pub violations: Vec<(String, String)>,
    /// Records that are in the log more than once, which is no violation without idempotence.
    pub duplicates: u64,
    /// Records sent with acks=1 or 0 that were acknowledged and lost, which is no violation.
    pub weakly_acked_lost: u64,
}

/// Judges what clients saw. `complete`: the history ends with a reader of everything.
pub fn judge(records: &[Record], plan: &Plan, ledger: &Ledger, complete: bool) -> Verdict {
    let history = history(records, plan, ledger, true);
    let options = log::Options { complete, ..log::Options::default() };
    let mut verdict = Verdict::default();
    match log::check(&history, &options) {
        Ok(judged) => {
            for (name, anomalies) in &judged.anomalies {
                let Some(first) = anomalies.first() else { continue };
                let count = judged.count(name);
                let message = if count > 1 {
                    format!("{} (and {} more)", first.text, count - 1)
                } else {
                    first.text.clone()
                };
                verdict.violations.push((name.clone(), message));
            }
            verdict.duplicates = judged.count("duplicate");
            verdict.weakly_acked_lost = judged.count("lost-acks-1");
        }
        Err(error) => verdict.violations.push(("ambiguous-value".into(), error.to_string())),
    }
    verdict
}

/// The records of a run as a history. `built_in`: values are the tank's own. Others become texts.
pub fn history(records: &[Record], plan: &Plan, ledger: &Ledger, built_in: bool) -> History {
    let mut writer = Writer { built_in, ..Writer::default() };
    for record in records {
        if is_of_plan(record, plan) {
            writer.write(record, plan, ledger);
        }
    }
    for (partition, promises) in ledger.partitions() {
        let Some(name) = ledger.name(partition).filter(|_| !promises.is_deleted()) else {
            continue;
        };
        let named = writer.history.partition(name);
        for lineage in promises.lineages().iter().filter(|lineage| lineage.excused) {
            let (offset, epoch) = (lineage.offset.0, lineage.epoch.0);
            writer.history.admit(Loss { partition: named, offset, epoch, time: 0 });
        }
    }
    writer.history
}

/// Is it about a topic that lasts? One that is deleted and recreated has more than one log.
fn is_of_plan(record: &Record, plan: &Plan) -> bool {
    let partition = match &record.what {
        Recorded::Send { partition, .. }
        | Recorded::Asked { partition, .. }
        | Recorded::Seek { partition, .. }
        | Recorded::Fact(
            ClientFact::Acked { partition, .. }
            | ClientFact::Failed { partition, .. }
            | ClientFact::Records { partition, .. }
            | ClientFact::Position { partition, .. }
            | ClientFact::Truncated { partition, .. }
            | ClientFact::Reset { partition, .. }
            | ClientFact::EndOffset { partition, .. }
            | ClientFact::OffsetAt { partition, .. }
            | ClientFact::FetchError { partition, .. },
        ) => partition,
        Recorded::Fact(ClientFact::TopicCreated { .. } | ClientFact::TopicDeleted { .. }) => {
            return false;
        }
    };
    plan.topics.iter().any(|topic| topic.name == partition.topic)
}

#[derive(Default)]
struct Writer {
    history: History,
    built_in: bool,
    open: BTreeMap<(NodeId, RecordId), OpId>,
    assigned: BTreeMap<NodeId, ()>,
    /// Consumers that a seek moved and that have not read since. Their position may be outside the
    /// log.
    moved: BTreeSet<(NodeId, NamedPartition)>,
}

impl Writer {
    fn partition(&mut self, partition: &NamedPartition) -> Partition {
        self.history.partition(&partition.to_string())
    }

    fn value(&mut self, value: Option<&[u8]>) -> Value {
        let value = value.unwrap_or_default();
        let named = self.built_in.then(|| numbered(value)).flatten();
        match named {
            Some(number) => Value::number(number),
            None => self.history.text(&String::from_utf8_lossy(value)),
        }
    }

    fn write(&mut self, record: &Record, plan: &Plan, ledger: &Ledger) {
        let (time, process) = (record.at, record.client.0 as u32);
        match &record.what {
            Recorded::Send { id, partition, value, acks, .. } => {
                let partition = self.partition(partition);
                let value = self.value(Some(value));
                let acks = match acks {
                    0 => Acks::None,
                    1 => Acks::Leader,
                    _ => Acks::All,
                };
                let op = self.history.send(process, time, partition, value, acks);
                self.open.insert((record.client, *id), op);
            }
            Recorded::Fact(ClientFact::Acked { id, partition, offset }) => {
                if let Some(op) = self.open.remove(&(record.client, *id)) {
                    let offset = offset.filter(|offset| offset.0 >= 0);
                    let epoch = offset.and_then(|at| epoch_acked(ledger, partition, at));
                    self.history.acknowledge(op, time, offset.map(|offset| offset.0), epoch);
                }
            }
            Recorded::Fact(ClientFact::Failed { id, certainty, .. }) => {
                if let Some(op) = self.open.remove(&(record.client, *id)) {
                    match certainty {
                        Certainty::Failed => self.history.fail(op, time),
                        Certainty::Unknown | Certainty::Done => self.history.info(op, time),
                    }
                }
            }
            Recorded::Fact(ClientFact::Records { partition, records, .. }) => {
                self.assign(record, plan);
                self.moved.remove(&(record.client, partition.clone()));
                let polled = self.polled(partition, records);
                self.history.poll(process, time, &polled);
            }
            Recorded::Fact(ClientFact::Truncated { partition, to, .. }) => {
                // If no loss was admitted, nothing that was read may be gone. So do not excuse the
                // reader's jump back: the judge should find it.
                if lost_some(ledger, partition) {
                    let partition = self.partition(partition);
                    self.history.seek(process, time, partition, Some(to.0));
                }
            }
            Recorded::Fact(ClientFact::Reset { partition, .. }) => {
                // The same: a loss, too, can leave a reader beyond the end. Or it was moved there.
                let moved = self.moved.contains(&(record.client, partition.clone()));
                if moved || lost_some(ledger, partition) {
                    let partition = self.partition(partition);
                    self.history.seek(process, time, partition, None);
                }
            }
            Recorded::Seek { partition, to } => {
                self.assign(record, plan);
                self.moved.insert((record.client, partition.clone()));
                let partition = self.partition(partition);
                self.history.seek(process, time, partition, to.map(|to| to.0));
            }
            Recorded::Asked { .. } => {}
            Recorded::Fact(
                ClientFact::Position { .. }
                | ClientFact::OffsetAt { .. }
                | ClientFact::EndOffset { .. }
                | ClientFact::FetchError { .. }
                | ClientFact::TopicCreated { .. }
                | ClientFact::TopicDeleted { .. },
            ) => {}
        }
    }

    fn polled(&mut self, partition: &NamedPartition, records: &[ConsumedRecord]) -> Vec<Polled> {
        let partition = self.partition(partition);
        let polled = |read: &ConsumedRecord| Polled {
            partition,
            offset: read.offset.0,
            epoch: read.leader_epoch.0,
            value: self.value(read.value.as_deref()),
        };
        records.iter().map(polled).collect()
    }

    /// The built-in consumers read all partitions from the start.
    fn assign(&mut self, record: &Record, plan: &Plan) {
        if !self.built_in || self.assigned.insert(record.client, ()).is_some() {
            return;
        }
        let all: Vec<(Partition, Option<i64>)> = plan
            .partitions()
            .map(|(topic, index)| {
                let named = NamedPartition::new(topic.name.clone(), index);
                (self.partition(&named), Some(0))
            })
            .collect();
        self.history.assign(record.client.0 as u32, record.at, &all);
    }
}

/// The epoch in which the record acknowledged at this offset was appended. Clients do not learn it.
/// If a loss was admitted, the epoch decides what the loss excuses.
fn epoch_acked(ledger: &Ledger, partition: &NamedPartition, offset: Offset) -> Option<i32> {
    let known = ledger.partition_named(&partition.to_string())?;
    let promises = ledger.promises(known)?;
    if !promises.has_excused_loss() {
        return None;
    }
    promises.acked_epoch(offset).map(|epoch| epoch.0)
}

/// Was a loss of this partition admitted?
fn lost_some(ledger: &Ledger, partition: &NamedPartition) -> bool {
    ledger
        .partition_named(&partition.to_string())
        .and_then(|known| ledger.promises(known))
        .is_some_and(Promises::has_excused_loss)
}

/// The number in a value from [`crate::workload::unique_value`].
fn numbered(value: &[u8]) -> Option<u64> {
    let (host, number) = value_name(value).split_once('-')?;
    let (host, number): (u64, u64) = (host.parse().ok()?, number.parse().ok()?);
    (host >= FIRST_CLIENT as u64 && host < 1 << 20 && number < 1 << 40)
        .then_some((host << 40) | number)
}
