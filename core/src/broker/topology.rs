//! Following the metadata: committed records update the image, and the image's changes become
//! roles.
//!
//! Nothing is acted upon before the image has reached this incarnation's own registration: the
//! roles of the previous incarnation must not make this one a leader.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::TopicConfig;
use crate::env::Env;
use crate::metadata::{MetadataRecord, ReplayError};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, TopicPartition};

use super::departures::Fate;
use super::{Broker, METADATA_ADVICE, Status};

/// What a batch of records touched.
#[derive(Debug, Default)]
struct Touched {
    partitions: BTreeSet<TopicPartition>,
    topics_removed: bool,
    brokers: bool,
}

impl Touched {
    fn by(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Partition(record) => {
                self.partitions.insert(record.partition);
            }
            MetadataRecord::PartitionChange(record) => {
                self.partitions.insert(record.partition);
            }
            MetadataRecord::RemoveTopic(_) => self.topics_removed = true,
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

impl Broker {
    /// Records of the metadata log below `upto` are committed.
    pub(super) fn on_committed(
        &mut self,
        records: &[(Offset, LeaderEpoch, MetadataRecord)],
        upto: Offset,
        epoch: LeaderEpoch,
        env: &mut dyn Env,
    ) {
        let mut touched = Touched::default();
        for (offset, written, record) in records {
            if let Err(error) = self.image.replay(*offset, *written, record) {
                return self.refuse_record(&error);
            }
            touched.by(record);
            if let MetadataRecord::RemoveTopic(topic) = record
                && !self.lifecycle.is_published()
            {
                self.boot.departures.topic_deleted(*topic);
            }
        }
        self.image.skip(Offset(upto.0 - 1), epoch);
        self.controller.on_committed(upto, env);
        if touched.brokers {
            self.learn_peers(env);
        }
        // The clean mark must not vouch for anything that came after the flush of the logs. A log
        // created now, whose directory entry is not durable, would count as durable at the next
        // start.
        if self.lifecycle.is_closing() {
            return;
        }
        if self.lifecycle.is_published() {
            self.follow(&touched, env);
        } else {
            self.publish_if_caught_up(env);
        }
    }

    fn refuse_record(&mut self, error: &ReplayError) {
        self.refuse(alloc::format!("{error}: upgrade this node, or {METADATA_ADVICE}"));
    }

    /// When the image first reaches our registration, turns all of it into roles.
    pub(super) fn publish_if_caught_up(&mut self, env: &mut dyn Env) {
        let registered = self.lifecycle.is_registered()
            && self.image.applied.0 >= self.lifecycle.broker_epoch().0;
        if !registered || self.lifecycle.is_published() {
            return;
        }
        self.lifecycle.published();
        self.hosted.is_current = true;
        self.set_strays_aside(env);
        if matches!(self.status, Status::Refused(_)) {
            return;
        }
        let all: Vec<_> = self.image.partitions().map(|(partition, _)| partition).collect();
        for key in all {
            self.follow_partition(key, Fate::Stray, env);
        }
        self.follow_brokers(&Touched { brokers: true, ..Touched::default() }, env);
        self.send_heartbeat(env);
    }

    fn follow(&mut self, touched: &Touched, env: &mut dyn Env) {
        if touched.topics_removed {
            self.remove_unknown(env);
        }
        for key in &touched.partitions {
            self.follow_partition(*key, Fate::Removed, env);
        }
        self.follow_brokers(touched, env);
    }

    fn follow_brokers(&mut self, touched: &Touched, env: &mut dyn Env) {
        if touched.brokers {
            for partition in self.hosted.partitions.iter_mut().flatten() {
                partition.refresh_brokers(&self.image);
                partition.advance_high_watermark(env, &mut self.facts);
            }
        }
    }

    /// `elsewhere` is the fate of a replica here that the registration does not name.
    fn follow_partition(&mut self, key: TopicPartition, elsewhere: Fate, env: &mut dyn Env) {
        let Some(registration) = self.image.partition(key) else { return };
        let mine = registration.replicas.contains(&self.config.node);
        if let Some(id) = self.hosted.by_name.get(&key).copied() {
            if mine {
                let config = self.topic_config(&self.image.topics[&key.topic].name);
                let partition = self.hosted.partitions[id.0 as usize].as_mut();
                let partition = partition.expect("a hosted partition is there");
                partition.set_config(config, env);
                partition.apply(registration, &self.image, env, &mut self.facts);
            } else {
                self.remove_partition(id, elsewhere, env);
            }
        } else if mine && !self.boot.is_opening(key) {
            let topic = self.image.topics.get(&key.topic).map(|topic| topic.name.clone());
            let topic = topic.expect("a registered partition has a topic");
            self.open_partition(topic, key.partition, Some(key.topic), env);
        }
    }

    /// A partition that was being created is open: gives it its current role.
    pub(super) fn on_partition_hosted(&mut self, key: TopicPartition, env: &mut dyn Env) {
        if self.lifecycle.is_published() && !self.lifecycle.is_closing() {
            self.follow_partition(key, Fate::Removed, env);
        }
    }

    /// Removes replicas of topics that the metadata has lost since it was first read: deleted
    /// topics.
    fn remove_unknown(&mut self, env: &mut dyn Env) {
        for (id, _) in self.unknown() {
            self.remove_partition(id, Fate::Removed, env);
        }
        for (id, key, name) in self.give_up_unknown() {
            self.depart(id, key, name, Fate::Removed, env);
        }
    }

    /// Gives up on partitions that were being created and that the metadata no longer knows.
    /// Returns those that have a directory, with its name.
    fn give_up_unknown(&mut self) -> Vec<(PartitionId, TopicPartition, String)> {
        let creating: Vec<_> = self.boot.creating().collect();
        let unknown = creating.into_iter().filter(|(_, key)| self.image.partition(*key).is_none());
        let unknown: Vec<_> = unknown.collect();
        let given_up = |(id, key)| Some((id, key, self.boot.give_up(id)?));
        unknown.into_iter().filter_map(given_up).collect()
    }

    /// The metadata is read for the first time. A replica that it does not know, or places on
    /// another node, must not be removed for that reason.
    fn set_strays_aside(&mut self, env: &mut dyn Env) {
        if let Some(refused) = self.misnamed() {
            return self.refuse(refused);
        }
        for (id, key) in self.unknown() {
            let fate = self.boot.departures.fate_at_start(key.topic);
            if fate == Fate::Stray
                && let Some(refused) = self.mistaken_identity(id, key)
            {
                return self.refuse(refused);
            }
            self.remove_partition(id, fate, env);
        }
        // This node may have been published before, and then lost its registration. A partition
        // that was being created then may belong to a topic that was deleted meanwhile, and created
        // again.
        for (id, key, name) in self.give_up_unknown() {
            let fate = self.boot.departures.fate_at_start(key.topic);
            self.depart(id, key, name, fate, env);
        }
        self.boot.departures.metadata_read();
    }

    /// Checks whether a replica of an unknown topic is in the directory of one that this node
    /// should have. The log has not deleted the unknown topic, so it never existed:
    /// `partition.metadata` is wrong. If set aside, the replica would be recreated without its
    /// data.
    fn mistaken_identity(&self, id: PartitionId, key: TopicPartition) -> Option<String> {
        let replica = self.hosted.get(id)?;
        let known = *self.image.topic_ids.get(replica.topic())?;
        let registration =
            self.image.partition(TopicPartition { topic: known, partition: key.partition })?;
        registration.replicas.contains(&self.config.node).then(|| {
            alloc::format!(
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
    fn misnamed(&self) -> Option<String> {
        self.hosted.iter().find_map(|replica| {
            let key = replica.topic_partition();
            let name = &self.image.topics.get(&key.topic)?.name;
            (name != replica.topic()).then(|| {
                alloc::format!(
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
    fn unknown(&self) -> Vec<(PartitionId, TopicPartition)> {
        let hosted = self.hosted.by_name.iter();
        hosted
            .filter(|(key, _)| self.image.partition(**key).is_none())
            .map(|(key, id)| (*id, *key))
            .collect()
    }

    fn remove_partition(&mut self, id: PartitionId, fate: Fate, env: &mut dyn Env) {
        if let Some(mut partition) = self.hosted.partitions[id.0 as usize].take() {
            let key = partition.topic_partition();
            self.hosted.by_name.remove(&key);
            partition.abandon(&mut self.facts);
            self.fetchers.on_role_changed(id, false);
            self.facts.push(crate::replica::Fact::RoleChanged(id));
            self.depart(id, key, partition.dir_name(), fate, env);
        }
    }

    /// Learns the endpoints of brokers that this node's configuration does not name. For voters and
    /// this node the configuration is used: a registration may be old, and a node that cannot find
    /// the quorum elsewhere would never hear of a newer one.
    fn learn_peers(&mut self, env: &mut dyn Env) {
        let config = &self.config;
        let configured = |node: &NodeId| {
            *node == config.node || config.listener_is_shared && config.voters.contains(node)
        };
        for (node, broker) in self.image.brokers.iter().filter(|(node, _)| !configured(node)) {
            if let Some(endpoint) = broker.endpoint(&config.inter_broker_listener) {
                env.learn_peer(*node, endpoint);
            }
        }
    }

    /// The topic's configuration: the node's defaults with the topic's overrides. Overrides were
    /// checked when the topic was created. One that this version does not know leaves only its own
    /// setting at the default.
    pub(super) fn topic_config(&self, topic: &str) -> TopicConfig {
        let overrides = self.image.topic_configs(topic);
        self.config.topic_defaults.with_known_overrides(&overrides)
    }
}
