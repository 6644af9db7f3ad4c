//! How far readers lag in real time (A15): a figure, since Kafka promises nothing about it.
//!
//! A poll returned offset 5 of a partition and nothing beyond, though the record at 6 had been
//! acknowledged 2 s before the poll was invoked: its reader was at least 2 s behind.

use super::{Judge, NONE, Part, Send};
use crate::{Acks, Action, Outcome};

impl Judge<'_> {
    /// The worst lag, as `realtime-lag-us`, if it was asked for.
    pub(super) fn measure_lag(&mut self) {
        if !self.options.measure_lag {
            return;
        }
        let visible = self.visible_from();
        let mut worst = 0;
        // For the current poll: partition and last offset.
        let mut ends: Vec<(u32, i64)> = Vec::new();
        for operation in self.history.operations() {
            if !matches!(operation.action, Action::Poll { .. }) || operation.completed.is_none() {
                continue;
            }
            ends.clear();
            for record in self.history.polled(operation) {
                let partition = record.partition.0;
                match ends.last_mut().filter(|(last, _)| *last == partition) {
                    Some((_, end)) => *end = record.offset.max(*end),
                    None => ends.push((partition, record.offset)),
                }
            }
            for &(partition, end) in &ends {
                let slot = self.parts[partition as usize].slots.below(end.saturating_add(1));
                let seen_later = ends.iter().any(|other| other.0 == partition && other.1 > end);
                let Some(since) = visible[partition as usize].get(slot) else { continue };
                if !seen_later {
                    worst = operation.invoked.time.saturating_sub(*since).max(worst);
                }
            }
        }
        if worst > 0 {
            self.report.count_more("realtime-lag-us", worst / 1_000);
        }
    }

    /// By partition and slot: when (ns) it was first known that there is a record there or beyond;
    /// [`u64::MAX`] if never.
    fn visible_from(&self) -> Vec<Vec<u64>> {
        let empty = |part: &Part| vec![u64::MAX; part.slots.len()];
        let mut visible: Vec<Vec<u64>> = self.parts.iter().map(empty).collect();
        for send in &self.sends {
            let part = &self.parts[send.partition as usize];
            let Some(slot) = part.slots.get(send.acked).filter(|_| stays(send, part)) else {
                continue;
            };
            if let Some(time) = self.visible_since(send) {
                let known = &mut visible[send.partition as usize][slot];
                *known = time.min(*known);
            }
        }
        for slots in &mut visible {
            let mut beyond = u64::MAX;
            for slot in slots.iter_mut().rev() {
                beyond = beyond.min(*slot);
                *slot = beyond;
            }
        }
        visible
    }

    /// When its record was known to be visible to readers: with its acknowledgement, or its
    /// transaction's.
    fn visible_since(&self, send: &Send) -> Option<u64> {
        let own = self.history.operation(send.op).completed?.time;
        if send.txn == NONE || self.options.read_uncommitted {
            return Some(own);
        }
        let transaction = &self.txns[send.txn as usize];
        if transaction.outcome != Outcome::Ok {
            return None;
        }
        Some(self.history.operation(transaction.op).completed?.time.max(own))
    }
}

/// Is this record promised, and not lost by an admitted loss?
fn stays(send: &Send, part: &Part) -> bool {
    send.acked >= 0
        && send.acks == Acks::All
        && send.outcome == Outcome::Ok
        && send.answered
        && !part.lineages.lost(send.acked, send.acked_epoch)
}
