//! What a batch of records changes in an image, for those who act on it.

use alloc::collections::BTreeSet;

use super::{MetadataImage, MetadataRecord, ReplayError};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// What a batch of records touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Touched {
    /// Partitions that were created or have changed.
    pub partitions: BTreeSet<TopicPartition>,
    /// Topics that were deleted.
    pub topics_removed: BTreeSet<TopicId>,
    /// Whether any broker has changed.
    pub brokers: bool,
}

impl Touched {
    /// Replays committed records into an image that then has everything below `upto`, written in
    /// `epoch` or before. Returns what they touched.
    ///
    /// # Errors
    /// If one cannot be replayed; the image then has those before it.
    pub fn replay(
        image: &mut MetadataImage,
        records: &[(Offset, LeaderEpoch, MetadataRecord)],
        upto: Offset,
        epoch: LeaderEpoch,
    ) -> Result<Touched, ReplayError> {
        let mut touched = Touched::default();
        for (offset, written, record) in records {
            image.replay(*offset, *written, record)?;
            touched.by(record);
        }
        image.skip(Offset(upto.0 - 1), epoch);
        Ok(touched)
    }

    fn by(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Partition(record) => {
                self.partitions.insert(record.partition);
            }
            MetadataRecord::PartitionChange(record) => {
                self.partitions.insert(record.partition);
            }
            MetadataRecord::RemoveTopic(topic) => {
                self.topics_removed.insert(*topic);
            }
            MetadataRecord::RegisterBroker(_)
            | MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::BrokerRegistrationChange(_) => self.brokers = true,
            MetadataRecord::Topic(_)
            | MetadataRecord::Config(_)
            | MetadataRecord::FeatureLevel(_)
            | MetadataRecord::NoOp => {}
        }
    }
}
