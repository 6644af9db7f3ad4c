//! Decodes the log, and passes on committed records. Batches are kept decoded from the last
//! reported offset to the end of the log, so that committing never waits for the disk.

use alloc::string::String;
use alloc::vec::Vec;

use super::roles::Role;
use super::{Quorum, QuorumFact};
use crate::batch::Batch;
use crate::env::Env;
use crate::metadata::{MetadataError, MetadataRecord, decode_leader_change};
use crate::note::Note;
use crate::types::{LeaderEpoch, NodeId, Offset};

/// A batch of the metadata log, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decoded {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    /// Empty for control records.
    pub(super) records: Vec<(Offset, MetadataRecord)>,
}

/// Why a batch does not belong in a metadata log.
pub(super) enum Undecodable {
    /// No build writes it.
    Malformed(&'static str),
    /// A newer build may have written it.
    Unknown(&'static str),
}

impl From<Undecodable> for String {
    fn from(error: Undecodable) -> String {
        match error {
            Undecodable::Malformed(why) | Undecodable::Unknown(why) => why.into(),
        }
    }
}

/// Decodes a batch, and returns the voters that it names, if it begins an epoch.
///
/// # Errors
/// If it is not a batch of the metadata log, or from a newer build than this one can read.
pub(super) fn decode(batch: &Batch) -> Result<(Decoded, Option<Vec<NodeId>>), Undecodable> {
    let malformed = Undecodable::Malformed;
    let broken = "the metadata log holds a malformed batch";
    let (mut records, mut voters) = (Vec::new(), None);
    for record in batch.records().map_err(|_| malformed(broken))? {
        if batch.is_control() {
            let change = decode_leader_change(record.key, record.value);
            voters = change.map_err(|_| malformed(broken))?.map(|change| change.voters);
            continue;
        }
        let value = record.value.ok_or(malformed(broken))?;
        let decoded = MetadataRecord::decode(value).map_err(|error| match error {
            MetadataError::UnknownType(_) | MetadataError::UnsupportedVersion { .. } => {
                Undecodable::Unknown(
                    "the metadata log holds a record that this build cannot read; a newer \
                     controller may have written it",
                )
            }
            MetadataError::FrameVersion(_) | MetadataError::Malformed { .. } => malformed(broken),
        })?;
        records.push((record.offset, decoded));
    }
    let decoded = Decoded {
        base: batch.base_offset,
        next: batch.next_offset(),
        epoch: batch.leader_epoch,
        records,
    };
    Ok((decoded, voters))
}

impl Quorum {
    /// Advances the high watermark, and reports the records that it passes.
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

    /// Drops the decoded batches from `end` on.
    pub(super) fn forget_from(&mut self, end: Offset) {
        while self.pending.back().is_some_and(|batch| batch.next > end) {
            self.pending.pop_back();
        }
    }
}
