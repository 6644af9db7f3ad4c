//! Decoding what the log holds, and handing on what is committed. Batches are kept decoded from
//! the end of what was told to the end of the log, so that committing never waits for the disk.

use alloc::vec::Vec;

use super::roles::Role;
use super::{Quorum, QuorumFact};
use crate::batch::Batch;
use crate::env::Env;
use crate::metadata::{MetadataRecord, decode_leader_change};
use crate::note::Note;
use crate::types::{LeaderEpoch, Offset};

/// A batch of the metadata log, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decoded {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    /// Empty for control records.
    pub(super) records: Vec<(Offset, MetadataRecord)>,
}

/// Decodes a batch.
///
/// # Errors
/// If it is not one of the metadata log, or of a newer one than this build reads.
pub(super) fn decode(batch: &Batch) -> Result<Decoded, &'static str> {
    let malformed = "the metadata log holds a batch that is malformed";
    let mut records = Vec::new();
    for record in batch.records().map_err(|_| malformed)? {
        if batch.is_control() {
            decode_leader_change(record.key, record.value).map_err(|_| malformed)?;
            continue;
        }
        let value = record.value.ok_or(malformed)?;
        let decoded = MetadataRecord::decode(value).map_err(|_| {
            "the metadata log holds a record that this build cannot read; a newer controller may \
             have written it"
        })?;
        records.push((record.offset, decoded));
    }
    Ok(Decoded {
        base: batch.base_offset,
        next: batch.next_offset(),
        epoch: batch.leader_epoch,
        records,
    })
}

impl Quorum {
    /// The high watermark moves, and what it passes is told.
    pub(super) fn commit_upto(
        &mut self,
        upto: Offset,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let from = self.high_watermark.unwrap_or(Offset::ZERO);
        if upto <= from && self.high_watermark.is_some() {
            return;
        }
        self.high_watermark = Some(upto);
        let leader = matches!(self.role, Role::Leader(_));
        env.note(Note::QuorumCommitted { from, to: upto, leader });
        let mut records = Vec::new();
        let mut last = None;
        while let Some(batch) = self.pending.front() {
            if batch.next > upto {
                break;
            }
            let Some(batch) = self.pending.pop_front() else { break };
            let epoch = batch.epoch;
            records.extend(batch.records.into_iter().map(|(at, record)| (at, epoch, record)));
            last = Some((batch.next, epoch));
        }
        if let Some((next, epoch)) = last {
            self.delivered = next;
            facts.push(QuorumFact::Committed { records, upto: next, epoch });
        }
    }

    /// Forgets what was decoded of the log from `end` on.
    pub(super) fn forget_from(&mut self, end: Offset) {
        while self.pending.back().is_some_and(|batch| batch.next > end) {
            self.pending.pop_back();
        }
    }
}
