//! Reads a history, and extracts parts of it.

use std::collections::HashMap;

use super::{
    Action, Group, History, Loss, NO_TRANSACTION, OpId, Operation, Partition, Polled, Position,
    Value,
};

impl History {
    /// The operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// One operation.
    pub fn operation(&self, op: OpId) -> &Operation {
        &self.operations[op.0 as usize]
    }

    /// The records that a poll returned; empty for other operations.
    pub fn polled(&self, operation: &Operation) -> &[Polled] {
        match operation.action {
            Action::Poll { first, count } => &self.polled[first as usize..][..count as usize],
            Action::Send { .. }
            | Action::Assign { .. }
            | Action::Subscribe
            | Action::Rebalance { .. }
            | Action::Commit { .. }
            | Action::Committed { .. }
            | Action::Transaction { .. }
            | Action::Crash => &[],
        }
    }

    /// Where an assignment or seek starts to read, which partitions a rebalance is about, which
    /// offsets were committed or returned as committed; empty for other operations.
    pub fn positions(&self, operation: &Operation) -> &[(Partition, Position)] {
        match operation.action {
            Action::Assign { first, count, .. }
            | Action::Rebalance { first, count, .. }
            | Action::Commit { first, count, .. }
            | Action::Committed { first, count, .. } => {
                &self.positions[first as usize..][..count as usize]
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Subscribe
            | Action::Transaction { .. }
            | Action::Crash => &[],
        }
    }

    /// All records that polls returned.
    pub fn all_polled(&self) -> &[Polled] {
        &self.polled
    }

    /// Sends and the records that they were made from, in the order of the sends.
    pub fn sources(&self) -> &[(OpId, Partition, i64)] {
        &self.sources
    }

    /// Sends and the amounts that they move, in the order of the sends.
    pub fn amounts(&self) -> &[(OpId, i64)] {
        &self.amounts
    }

    /// Is there a transaction?
    pub(crate) fn has_transactions(&self) -> bool {
        self.transactions
    }

    /// Is there anything about groups?
    pub(crate) fn has_groups(&self) -> bool {
        self.groups_used
    }

    /// The admitted losses.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partitions.names.len()
    }

    /// A partition's name.
    pub fn partition_name(&self, partition: Partition) -> &str {
        &self.partitions.names[partition.0 as usize]
    }

    /// A group's name.
    pub fn group_name(&self, group: Group) -> &str {
        &self.groups.names[group.0 as usize]
    }

    /// A value as people read it.
    pub fn value_text(&self, value: Value) -> String {
        match value.as_number() {
            Some(number) => number.to_string(),
            None => format!("{:?}", self.text_of(value).unwrap_or_default()),
        }
    }

    /// The text that a value stands for; `None` for a number.
    pub fn text_of(&self, value: Value) -> Option<&str> {
        let index = value.0.checked_sub(super::TEXT)?;
        Some(&self.texts.names[usize::try_from(index).ok()?])
    }

    /// The history of these operations alone (and of the transactions that they are in), with the
    /// polled records that `record` picks (by poll, and index in it). Names, stamps and losses
    /// stay; operations are renumbered, in their order.
    pub fn restricted(
        &self,
        ops: &[OpId],
        record: impl Fn(OpId, usize) -> bool,
    ) -> (History, Vec<OpId>) {
        let mut kept: Vec<OpId> = ops.to_vec();
        kept.extend(ops.iter().filter_map(|op| self.operation(*op).transaction()));
        kept.sort_unstable();
        kept.dedup();
        let ids: HashMap<u32, u32> = (0..).zip(&kept).map(|(new, old)| (old.0, new)).collect();
        let mut part = History {
            partitions: self.partitions.clone(),
            groups: self.groups.clone(),
            texts: self.texts.clone(),
            losses: self.losses.clone(),
            next_seq: self.next_seq,
            transactions: self.transactions,
            groups_used: self.groups_used,
            ..History::default()
        };
        for old in &kept {
            let mut operation = *self.operation(*old);
            if operation.member_of != NO_TRANSACTION {
                operation.member_of = ids[&operation.member_of];
            }
            let positions = self.positions(&operation);
            let from = part.positions.len() as u64;
            part.positions.extend_from_slice(positions);
            match &mut operation.action {
                Action::Poll { first, count } => {
                    let start = part.polled.len();
                    let all = &self.polled[*first as usize..][..*count as usize];
                    let picked = all.iter().enumerate().filter(|(at, _)| record(*old, *at));
                    part.polled.extend(picked.map(|(_, record)| *record));
                    *first = start as u64;
                    *count = (part.polled.len() - start) as u32;
                }
                Action::Assign { first, .. }
                | Action::Rebalance { first, .. }
                | Action::Commit { first, .. }
                | Action::Committed { first, .. } => *first = from,
                Action::Send { .. }
                | Action::Subscribe
                | Action::Transaction { .. }
                | Action::Crash => {}
            }
            part.operations.push(operation);
        }
        let new = |op: &OpId| ids.get(&op.0).map(|new| OpId(*new));
        part.sources =
            self.sources.iter().filter_map(|(op, p, at)| Some((new(op)?, *p, *at))).collect();
        part.amounts = self.amounts.iter().filter_map(|(op, n)| Some((new(op)?, *n))).collect();
        (part, kept)
    }
}
