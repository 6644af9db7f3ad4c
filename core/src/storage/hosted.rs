//! The partitions that a broker hosts, and how requests find them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::metadata::MetadataImage;
use crate::replica::Partition;
use crate::types::{PartitionId, TopicPartition, TopicRef, Uuid};

/// The partitions that a broker hosts, by dense id. Ids are not reused, so a removed partition
/// leaves a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hosted {
    /// By id.
    pub partitions: Vec<Option<Partition>>,
    /// By topic and partition.
    pub by_name: BTreeMap<TopicPartition, PartitionId>,
    /// Whether the metadata has caught up with what it was when this incarnation registered. Until
    /// then it may be arbitrarily old, and no client is told that something does not exist.
    pub is_current: bool,
}

impl Hosted {
    /// Reserves an id for one more partition.
    pub fn next_id(&mut self) -> PartitionId {
        let count = u32::try_from(self.partitions.len()).expect("fewer than 2^32 replicas");
        self.partitions.push(None);
        PartitionId(count)
    }

    /// The partition with that id, if it is still hosted.
    pub fn get(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(id.0 as usize).and_then(Option::as_ref)
    }

    /// As [`Hosted::get`].
    pub fn get_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        self.partitions.get_mut(id.0 as usize).and_then(Option::as_mut)
    }

    /// All hosted partitions.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().flatten()
    }

    /// As [`Hosted::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.partitions.iter_mut().flatten()
    }

    /// The hosted partition that a request names, by topic id or name.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_ID` or `UNKNOWN_TOPIC_OR_PARTITION` if the metadata has no such partition,
    /// `NOT_LEADER_OR_FOLLOWER` if another broker hosts it, or if the metadata may be old.
    pub fn find(
        &self,
        topic: &TopicRef,
        partition: i32,
        image: &MetadataImage,
    ) -> Result<PartitionId, ErrorCode> {
        let unknown = |error| if self.is_current { error } else { ErrorCode::NotLeaderOrFollower };
        let id = if topic.id == Uuid::ZERO {
            let known = image.topic_ids.get(&topic.name);
            *known.ok_or(unknown(ErrorCode::UnknownTopicOrPartition))?
        } else {
            topic.id
        };
        let key = TopicPartition { topic: id, partition };
        if let Some(found) = self.by_name.get(&key) {
            return Ok(*found);
        }
        if image.partition(key).is_some() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if topic.id != Uuid::ZERO && !image.topics.contains_key(&topic.id) {
            return Err(unknown(ErrorCode::UnknownTopicId));
        }
        Err(unknown(ErrorCode::UnknownTopicOrPartition))
    }
}
