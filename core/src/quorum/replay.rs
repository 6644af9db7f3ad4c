//! Decodes the log. Batches are kept decoded from the last reported offset to the end of the log,
//! so that committing never waits for the disk.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::batch::Batch;
use crate::metadata::{MetadataError, MetadataRecord, decode_leader_change};
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

/// The decoded end of the log, from the last reported offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    batches: VecDeque<Decoded>,
}

/// Committed records, in order, with their offsets and epochs.
pub(super) type Committed = Vec<(Offset, LeaderEpoch, MetadataRecord)>;

impl Pending {
    /// Appends the batch that follows.
    pub(super) fn push(&mut self, batch: Decoded) {
        self.batches.push_back(batch);
    }

    /// The offset after the last batch; `None` if there is none.
    pub(super) fn end(&self) -> Option<Offset> {
        self.batches.back().map(|last| last.next)
    }

    /// Takes the batches below `upto`, if there are any: their records, and the offset after the
    /// last one with its epoch.
    pub(super) fn take_upto(&mut self, upto: Offset) -> Option<(Committed, Offset, LeaderEpoch)> {
        let mut records = Vec::new();
        let mut last = None;
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.next <= upto) {
            let epoch = batch.epoch;
            records.extend(batch.records.into_iter().map(|(at, record)| (at, epoch, record)));
            last = Some((batch.next, epoch));
        }
        last.map(|(next, epoch)| (records, next, epoch))
    }

    /// Drops the batches from `end` on.
    pub(super) fn forget_from(&mut self, end: Offset) {
        while self.batches.back().is_some_and(|batch| batch.next > end) {
            self.batches.pop_back();
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Decoded> {
        self.batches.iter()
    }
}
