//! The ledger's own replay of the committed metadata log (registrations, new processes, topics
//! created and removed), and the partition that a directory names.

use bytes::Bytes;

use super::{BatchId, Finding, Ledger, Registration};
use crate::disk::SimDisk;
use wavetank_core::batch::Batch;
use wavetank_core::metadata::{MetadataRecord, PartitionChangeRecord, PartitionRecord};
use wavetank_core::types::{NodeId, Offset, PartitionEpoch, TopicId, TopicPartition};

impl Ledger {
    /// Replays the metadata log, which is committed up to `to`, from the leader's disk.
    pub(super) fn replay(
        &mut self,
        node: NodeId,
        to: Offset,
        disk: &SimDisk,
        findings: &mut Vec<Finding>,
    ) {
        if self.unreadable {
            return;
        }
        let dir = self.dirs[&TopicPartition::METADATA];
        let Some(log) = self.replicas.get(&(node, dir)) else { return };
        let name = &self.names[dir as usize];
        let from = self.image.applied.next();
        let batches: Vec<(BatchId, Bytes)> =
            log.between(from.0, to.0).map(|id| (*id, log.read(id, disk, name))).collect();
        for (id, bytes) in batches {
            match self.replay_batch(&bytes) {
                Ok(changed) => {
                    for (partition, epoch) in changed {
                        self.judge_members(partition, epoch, findings);
                    }
                }
                Err(why) => {
                    self.unreadable = true;
                    findings.push(Finding::Unreadable { node, batch: id, why });
                    return;
                }
            }
        }
    }

    /// Replays one committed batch, stores the registrations that it made, and returns them.
    fn replay_batch(
        &mut self,
        bytes: &Bytes,
    ) -> Result<Vec<(TopicPartition, PartitionEpoch)>, String> {
        let mut changed = Vec::new();
        let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
        let epoch = batch.leader_epoch;
        self.tick += 1;
        for record in batch.records().map_err(|error| error.to_string())? {
            if batch.is_control() {
                self.image.skip(record.offset, epoch);
                continue;
            }
            let value = record.value.ok_or("a metadata record without value")?;
            let decoded = MetadataRecord::decode(value).map_err(|error| error.to_string())?;
            self.before_replay(&decoded);
            self.image.replay(record.offset, epoch, &decoded).map_err(|error| error.to_string())?;
            if let MetadataRecord::Partition(PartitionRecord { partition, .. })
            | MetadataRecord::PartitionChange(PartitionChangeRecord { partition, .. }) = &decoded
            {
                changed.extend(self.registered(*partition).map(|epoch| (*partition, epoch)));
            }
        }
        Ok(changed)
    }

    /// Handles what a record changes besides the image, and what needs the image before the record.
    fn before_replay(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                let known = self.image.brokers.get(&record.broker).map(|broker| broker.epoch);
                if known != Some(record.epoch) {
                    self.reborn.entry(record.broker).or_default().push(self.tick);
                }
            }
            MetadataRecord::Topic(record) => {
                self.topics_made.insert(record.id, record.name.clone());
            }
            MetadataRecord::RemoveTopic(topic) => {
                let gone = self.promises.iter_mut().filter(|(of, _)| of.topic == *topic);
                gone.for_each(|(_, promises)| promises.deleted = true);
                if let Some(name) = self.topics_made.get(topic) {
                    *self.topics_removed.entry(name.clone()).or_default() += 1;
                }
            }
            MetadataRecord::BrokerRegistrationChange(_)
            | MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::Partition(_)
            | MetadataRecord::PartitionChange(_)
            | MetadataRecord::Config(_)
            | MetadataRecord::FeatureLevel(_)
            | MetadataRecord::NoOp => {}
        }
    }

    /// Stores a partition's registration from the image. Returns its partition epoch.
    fn registered(&mut self, partition: TopicPartition) -> Option<PartitionEpoch> {
        let now = self.image.partition(partition)?;
        let registration = Registration {
            leader: now.leader,
            leader_epoch: now.leader_epoch,
            isr: now.isr.clone(),
        };
        let promises = self.promises.entry(partition).or_default();
        promises.registrations.insert(now.partition_epoch, registration);
        promises.ticks.insert(now.partition_epoch, self.tick);
        Some(now.partition_epoch)
    }

    /// Did the metadata log ever commit this topic?
    pub fn was_made(&self, topic: TopicId) -> bool {
        self.topics_made.contains_key(&topic)
    }

    /// Did the metadata log ever commit a topic whose name satisfies `is`?
    pub fn was_named(&self, is: impl Fn(&str) -> bool) -> bool {
        self.topics_made.values().any(|name| is(name))
    }

    /// How many removals of topics of this name the metadata log committed.
    pub fn times_removed(&self, name: &str) -> u64 {
        self.topics_removed.get(name).copied().unwrap_or(0)
    }

    /// The metadata log committed a registration.
    #[cfg(test)]
    pub(crate) fn register(
        &mut self,
        partition: TopicPartition,
        epoch: PartitionEpoch,
        registration: Registration,
        findings: &mut Vec<Finding>,
    ) {
        self.tick += 1;
        let promises = self.promises.entry(partition).or_default();
        promises.registrations.insert(epoch, registration);
        promises.ticks.insert(epoch, self.tick);
        self.judge_members(partition, epoch, findings);
    }

    /// The metadata log committed that a broker registered as a new process.
    #[cfg(test)]
    pub(crate) fn reborn(&mut self, node: NodeId) {
        self.tick += 1;
        self.reborn.entry(node).or_default().push(self.tick);
    }
}

/// The partition that a `partition.metadata` file in this directory tells of.
pub(super) fn parse_partition(dir: &str, text: &[u8]) -> Option<TopicPartition> {
    let text = std::str::from_utf8(text).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id: "))?;
    let (_, index) = dir.rsplit_once('-')?;
    Some(TopicPartition { topic: id.trim().parse().ok()?, partition: index.parse().ok()? })
}
