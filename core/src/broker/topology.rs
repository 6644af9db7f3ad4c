//! Following the metadata: committed records become the image, the image's changes become roles.
//!
//! Nothing is acted upon before the image has reached this incarnation's own registration: what was
//! true of the incarnation before must not make this one a leader.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::TopicConfig;
use crate::env::Env;
use crate::metadata::{MetadataRecord, ReplayError};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, TopicPartition};

use super::departures::Fate;
use super::{Broker, Status};

/// What a run of records touched.
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
        // The clean mark must vouch for nothing that came after the logs were flushed: a log just
        // created, whose directory entry is not durable, would count as durable at the next start.
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
        self.refuse(alloc::format!(
            "{error}: upgrade this node, or restore its metadata directory from another node"
        ));
    }

    /// The first time that the image reaches our registration: all of it becomes roles.
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

    /// `elsewhere` is what becomes of a replica here that the registration does not name.
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

    /// A partition that was being created is open: it takes the role it has by now.
    pub(super) fn on_partition_hosted(&mut self, key: TopicPartition, env: &mut dyn Env) {
        if self.lifecycle.is_published() && !self.lifecycle.is_closing() {
            self.follow_partition(key, Fate::Removed, env);
        }
    }

    /// Replicas of topics that the metadata have lost since they were first read: deleted ones.
    fn remove_unknown(&mut self, env: &mut dyn Env) {
        for (id, _) in self.unknown() {
            self.remove_partition(id, Fate::Removed, env);
        }
        for (id, key, name) in self.give_up_unknown() {
            self.depart(id, key, name, Fate::Removed, env);
        }
    }

    /// Gives up on what was being created and the metadata do not know any more. Returns those that
    /// have a directory, with its name.
    fn give_up_unknown(&mut self) -> Vec<(PartitionId, TopicPartition, String)> {
        let creating: Vec<_> = self.boot.creating().collect();
        let unknown = creating.into_iter().filter(|(_, key)| self.image.partition(*key).is_none());
        let unknown: Vec<_> = unknown.collect();
        let given_up = |(id, key)| Some((id, key, self.boot.give_up(id)?));
        unknown.into_iter().filter_map(given_up).collect()
    }

    /// The metadata are read for the first time: what they do not know, or know as another node's, is
    /// no reason to remove anything.
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
        // Published before and given up since (its registration was not the last): what was being
        // created then may be of a topic that was deleted meanwhile, and created again.
        for (id, key, name) in self.give_up_unknown() {
            let fate = self.boot.departures.fate_at_start(key.topic);
            self.depart(id, key, name, fate, env);
        }
        self.boot.departures.metadata_read();
    }

    /// Is a replica of an unknown topic in the directory of one that this node should have? The log has
    /// not deleted that topic, so it never was: its `partition.metadata` is wrong. Set aside, it would
    /// be created anew, and all that is in it be missed.
    fn mistaken_identity(&self, id: PartitionId, key: TopicPartition) -> Option<String> {
        let replica = self.hosted.get(id)?;
        let known = *self.image.topic_ids.get(replica.topic())?;
        let registration =
            self.image.partition(TopicPartition { topic: known, partition: key.partition })?;
        registration.replicas.contains(&self.config.node).then(|| {
            alloc::format!(
                "{}/partition.metadata says that it is of topic {}, which the metadata never had; they \
                 have {} of that name: restore that file from a copy",
                replica.dir_name(),
                key.topic,
                known
            )
        })
    }

    /// A directory that says of which topic it is, and is called by another's name: somebody renamed
    /// it, or made it of a copy. What the checkpoints say is said by name.
    fn misnamed(&self) -> Option<String> {
        self.hosted.iter().find_map(|replica| {
            let key = replica.topic_partition();
            let name = &self.image.topics.get(&key.topic)?.name;
            (name != replica.topic()).then(|| {
                alloc::format!(
                    "{} is partition {} of topic {} by its partition.metadata, but that topic is called \
                     {name}: give the directory its name again, or move it out of the log directory",
                    replica.dir_name(),
                    key.partition,
                    key.topic,
                )
            })
        })
    }

    /// What is hosted, though the metadata have no such partition.
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

    /// Where brokers listen that this node's configuration does not name. Of voters, and of itself, it
    /// says where they are: a registration may be of long ago, and whoever finds the quorum nowhere
    /// else would never hear of a newer one.
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
    /// checked when the topic was created; one that another version took and this one does not know
    /// leaves its default, and no other.
    pub(super) fn topic_config(&self, topic: &str) -> TopicConfig {
        let overrides = self.image.topic_configs(topic);
        self.config.topic_defaults.with_known_overrides(&overrides)
    }
}
