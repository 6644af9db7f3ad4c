//! Promises of a deposed leader that does not know its successor yet.

use super::promises::Start;
use super::{BatchId, Finding, Ledger};
use wavetank_core::types::{NodeId, Offset, TopicPartition};

impl Ledger {
    /// Beyond an admitted loss, the promises of such a leader are void. But every member of its own
    /// ISR must have held each promised batch once, even if it has lost or truncated it since.
    pub(super) fn judge_void(
        &self,
        leader: NodeId,
        partition: TopicPartition,
        from: Offset,
        to: Offset,
        findings: &mut Vec<Finding>,
    ) {
        let Some(promises) = self.promises.get(&partition).filter(|known| !known.deleted) else {
            return;
        };
        let from = promises.counts(leader, to).max(from.0);
        let Some(registration) = promises.led_by(leader).filter(|_| from < to.0) else { return };
        let log = self.replica(leader, partition);
        for &member in &registration.isr {
            let held = self.replica(member, partition);
            if let Some(batch) = log.between(from, to.0).find(|id| !held.has_held(id)) {
                let (batch, durably) = (*batch, false);
                findings.push(Finding::Missing { partition, leader, member, batch, durably });
                return;
            }
        }
    }

    /// A deposed leader may be the first to promise a batch, after a successor has started without
    /// it. Decides whether that loss is excused.
    pub(super) fn judge_late_promise(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        to: Offset,
        findings: &mut Vec<Finding>,
    ) {
        let Some(promises) = self.promises.get(&partition).filter(|known| !known.deleted) else {
            return;
        };
        let to = promises.counts(node, to);
        let log = self.replica(node, partition);
        let promised = log.between(0, to).filter(|id| !promises.is_promised(id));
        let Some((batch, start)) = promises.lacked_by_successor(node, promised) else { return };
        let elected_from = start.elected_from.and_then(|at| promises.registrations.get(&at));
        let isr = elected_from.map_or(Vec::new(), |registration| registration.isr.clone());
        let because = self.why_lost(partition, start.elected_from, &isr, &batch);
        let records = log.between(batch.base, to).map(BatchId::records).sum();
        let promises = self.promises.entry(partition).or_default();
        promises.begin_lineage(batch.base, start.epoch, because.is_none(), records);
        let Start { leader, epoch, .. } = start;
        findings.push(match because {
            Some(because) => Finding::Lost { partition, leader, epoch, batch, isr, because },
            None => Finding::Admitted { partition, batch, epoch },
        });
    }
}
