//! Following the metadata: what changes in the image becomes replicas and their roles.
//!
//! Nothing is acted upon before the image has reached this incarnation's own registration: the
//! roles of the previous incarnation must not make this one a leader.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::env::Env;
use crate::metadata::{MetadataImage, Touched};
use crate::replica::Fact;
use crate::types::{PartitionId, TopicId, TopicPartition};

use super::{Fate, Storage, StorageFact, topic_config};

impl Storage {
    /// The metadata is acted upon for the first time: turns all of it into roles. Returns whether
    /// that was possible.
    pub fn publish(
        &mut self,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
        facts: &mut Vec<StorageFact>,
    ) -> bool {
        self.hosted.is_current = true;
        if let Err(refused) = self.set_strays_aside(image, config, env, replicas) {
            facts.push(StorageFact::Refused(refused));
            return false;
        }
        let all: Vec<_> = image.partitions().map(|(partition, _)| partition).collect();
        for key in all {
            self.follow_partition(key, Fate::Stray, image, config, env, replicas);
        }
        self.follow_brokers(image, env, replicas);
        true
    }

    /// Topics were deleted before the metadata was acted upon.
    pub fn topics_deleted(&mut self, topics: &BTreeSet<TopicId>) {
        for topic in topics {
            self.departures.topic_deleted(*topic);
        }
    }

    /// The image has changed.
    pub fn follow(
        &mut self,
        touched: &Touched,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        if !touched.topics_removed.is_empty() {
            self.remove_unknown(image, env, replicas);
        }
        for key in &touched.partitions {
            self.follow_partition(*key, Fate::Removed, image, config, env, replicas);
        }
        if touched.brokers {
            self.follow_brokers(image, env, replicas);
        }
    }

    fn follow_brokers(
        &mut self,
        image: &MetadataImage,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        for partition in self.hosted.iter_mut() {
            partition.refresh_brokers(image);
            partition.advance_high_watermark(env, replicas);
        }
    }

    /// `elsewhere` is the fate of a replica here that the registration does not name.
    fn follow_partition(
        &mut self,
        key: TopicPartition,
        elsewhere: Fate,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        let Some(registration) = image.partition(key) else { return };
        let mine = registration.replicas.contains(&config.node);
        if let Some(id) = self.hosted.by_name.get(&key).copied() {
            if mine {
                let config = topic_config(&image.topics[&key.topic].name, image, config);
                let partition = self.hosted.partitions[id.0 as usize].as_mut();
                let partition = partition.expect("a hosted partition is there");
                partition.set_config(config, env);
                partition.apply(registration, image, env, replicas);
            } else {
                self.remove_partition(id, elsewhere, env, replicas);
            }
        } else if mine && !self.openings.has(key) {
            let topic = image.topics.get(&key.topic).map(|topic| topic.name.clone());
            let topic = topic.expect("a registered partition has a topic");
            self.open_partition(topic, key.partition, Some(key.topic), env);
        }
    }

    /// A partition that was being created is open: gives it its current role.
    pub fn on_partition_hosted(
        &mut self,
        key: TopicPartition,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        self.follow_partition(key, Fate::Removed, image, config, env, replicas);
    }

    /// Removes replicas of topics that the metadata has lost since it was first read: deleted
    /// topics.
    fn remove_unknown(
        &mut self,
        image: &MetadataImage,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        for (id, _) in self.unknown(image) {
            self.remove_partition(id, Fate::Removed, env, replicas);
        }
        for (id, key, name) in self.give_up_unknown(image) {
            self.depart(id, key, name, Fate::Removed, env);
        }
    }

    /// Gives up on partitions that were being created and that the metadata no longer knows.
    /// Returns those that have a directory, with its name.
    fn give_up_unknown(
        &mut self,
        image: &MetadataImage,
    ) -> Vec<(PartitionId, TopicPartition, String)> {
        let creating: Vec<_> = self.openings.creating().collect();
        let unknown = creating.into_iter().filter(|(_, key)| image.partition(*key).is_none());
        let unknown: Vec<_> = unknown.collect();
        let given_up = |(id, key)| Some((id, key, self.openings.give_up(id)?));
        unknown.into_iter().filter_map(given_up).collect()
    }

    /// The metadata is read for the first time. A replica that it does not know, or places on
    /// another node, must not be removed for that reason.
    fn set_strays_aside(
        &mut self,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) -> Result<(), String> {
        if let Some(refused) = self.misnamed(image) {
            return Err(refused);
        }
        for (id, key) in self.unknown(image) {
            let fate = self.departures.fate_at_start(key.topic);
            if fate == Fate::Stray
                && let Some(refused) = self.mistaken_identity(id, key, image, config)
            {
                return Err(refused);
            }
            self.remove_partition(id, fate, env, replicas);
        }
        // This node may have been published before, and then lost its registration. A partition
        // that was being created then may belong to a topic that was deleted meanwhile, and created
        // again.
        for (id, key, name) in self.give_up_unknown(image) {
            let fate = self.departures.fate_at_start(key.topic);
            self.depart(id, key, name, fate, env);
        }
        self.departures.metadata_read();
        Ok(())
    }

    /// Checks whether a replica of an unknown topic is in the directory of one that this node
    /// should have. The log has not deleted the unknown topic, so it never existed:
    /// `partition.metadata` is wrong. If set aside, the replica would be recreated without its
    /// data.
    fn mistaken_identity(
        &self,
        id: PartitionId,
        key: TopicPartition,
        image: &MetadataImage,
        config: &NodeConfig,
    ) -> Option<String> {
        let replica = self.hosted.get(id)?;
        let known = *image.topic_ids.get(replica.topic())?;
        let registration =
            image.partition(TopicPartition { topic: known, partition: key.partition })?;
        registration.replicas.contains(&config.node).then(|| {
            format!(
                "{}/partition.metadata has topic id {}, which the cluster's metadata never had; it \
                 has {} for that name: restore that file from a copy",
                replica.dir_name(),
                key.topic,
                known
            )
        })
    }

    /// Finds a directory whose name is not that of the topic in its `partition.metadata`: somebody
    /// renamed it, or made it from a copy. Checkpoints identify partitions by name.
    fn misnamed(&self, image: &MetadataImage) -> Option<String> {
        self.hosted.iter().find_map(|replica| {
            let key = replica.topic_partition();
            let name = &image.topics.get(&key.topic)?.name;
            (name != replica.topic()).then(|| {
                format!(
                    "{} is partition {} of topic {} according to its partition.metadata, but that \
                     topic is called {name}: rename the directory to match, or move it out of the \
                     log directory",
                    replica.dir_name(),
                    key.partition,
                    key.topic,
                )
            })
        })
    }

    /// Hosted partitions that the metadata does not have.
    fn unknown(&self, image: &MetadataImage) -> Vec<(PartitionId, TopicPartition)> {
        let hosted = self.hosted.by_name.iter();
        hosted
            .filter(|(key, _)| image.partition(**key).is_none())
            .map(|(key, id)| (*id, *key))
            .collect()
    }

    fn remove_partition(
        &mut self,
        id: PartitionId,
        fate: Fate,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        if let Some(mut partition) = self.hosted.partitions[id.0 as usize].take() {
            let key = partition.topic_partition();
            self.hosted.by_name.remove(&key);
            partition.abandon(replicas);
            replicas.push(Fact::RoleChanged(id));
            self.depart(id, key, partition.dir_name(), fate, env);
        }
    }
}
