//! The state that the metadata log describes: brokers, topics, partitions, configurations,
//! features. Only [`MetadataImage::replay`] changes it, so equal logs produce equal images.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::metadata::record::{
    BrokerRegistrationChangeRecord, ConfigRecord, MetadataRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, TOPIC_RESOURCE, TopicRecord,
};
use crate::types::{
    BrokerEpoch, Endpoint, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition,
    TopicRef, Uuid,
};

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistration {
    /// The incarnation's epoch.
    pub epoch: BrokerEpoch,
    /// The incarnation's id.
    pub incarnation: Uuid,
    /// (listener name, endpoint).
    pub endpoints: Vec<(String, Endpoint)>,
    /// (name, min, max) that it supports.
    pub features: Vec<(String, i16, i16)>,
    /// Rack.
    pub rack: Option<String>,
    /// Fenced: leads nothing, and is in no ISR except as its last member.
    pub fenced: bool,
    /// Shutting down; its leaderships are moved away.
    pub in_controlled_shutdown: bool,
    /// Its log directories.
    pub log_dirs: Vec<Uuid>,
}

impl BrokerRegistration {
    /// May lead and join ISRs (KIP-841).
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Its endpoint on the listener of that name, if it has one.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|(name, _)| name == listener).map(|(_, endpoint)| endpoint)
    }
}

/// Whether the leader may lack committed records after an unclean election (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaderRecoveryState {
    /// No.
    #[default]
    Recovered,
    /// It has not yet reported that it recovered.
    Recovering,
}

impl LeaderRecoveryState {
    /// The number on the wire.
    pub fn value(self) -> i8 {
        match self {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        }
    }

    /// From the number on the wire; `None` if the number is not valid.
    pub fn of(value: i8) -> Option<LeaderRecoveryState> {
        match value {
            0 => Some(LeaderRecoveryState::Recovered),
            1 => Some(LeaderRecoveryState::Recovering),
            _ => None,
        }
    }
}

/// A partition as the controller last decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartitionRegistration {
    /// Assigned, preferred first.
    pub replicas: Vec<NodeId>,
    /// In sync; never empty.
    pub isr: Vec<NodeId>,
    /// Being removed.
    pub removing: Vec<NodeId>,
    /// Being added.
    pub adding: Vec<NodeId>,
    /// Leader, if any is eligible.
    pub leader: Option<NodeId>,
    /// Grows with each change of leader, including to none.
    pub leader_epoch: LeaderEpoch,
    /// Grows with each change.
    pub partition_epoch: PartitionEpoch,
    /// After an unclean election.
    pub leader_recovery_state: LeaderRecoveryState,
    /// The directory of each replica.
    pub directories: Vec<Uuid>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopicImage {
    /// Name.
    pub name: String,
    /// By index.
    pub partitions: BTreeMap<i32, PartitionRegistration>,
}

/// The whole metadata state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataImage {
    /// Registered brokers.
    pub brokers: BTreeMap<NodeId, BrokerRegistration>,
    /// Topics by id.
    pub topics: BTreeMap<TopicId, TopicImage>,
    /// Topic ids by name.
    pub topic_ids: BTreeMap<String, TopicId>,
    /// Names with a '.' or a '_', keyed by the name with '_' for each '.': two names with the same
    /// key cannot be distinguished in metrics. This index avoids a scan of all names for each new
    /// topic, which would be unbounded work. (Kafka's `topicsWithCollisionChars`.)
    pub unified: BTreeSet<(String, String)>,
    /// Overrides by (resource type, resource name).
    pub configs: BTreeMap<(i8, String), BTreeMap<String, String>>,
    /// Finalized levels by feature.
    pub features: BTreeMap<String, i16>,
    /// Offset of the last applied record, -1 for none.
    pub applied: Offset,
    /// Epoch of that record, -1 for none.
    pub applied_epoch: LeaderEpoch,
}

impl Default for MetadataImage {
    fn default() -> MetadataImage {
        MetadataImage {
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            unified: BTreeSet::new(),
            configs: BTreeMap::new(),
            features: BTreeMap::new(),
            applied: Offset(-1),
            applied_epoch: LeaderEpoch::NONE,
        }
    }
}

/// What is wrong with a record that cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplayProblem {
    /// It is at or before an offset that was already replayed.
    Order,
    /// It is about a broker that is not registered.
    UnknownBroker,
    /// It names an epoch other than the registered one.
    BrokerEpoch,
    /// It is about a topic that does not exist.
    UnknownTopic,
    /// It is about a partition that does not exist.
    UnknownPartition,
    /// The topic, its id or the partition already exists.
    Exists,
    /// Its lists contradict each other.
    Inconsistent,
}

/// A record that does not fit the log before it: no controller wrote such a log. The node must
/// stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayError {
    /// The offset of the record.
    pub offset: Offset,
    /// The record's name.
    pub record: &'static str,
    /// The reason.
    pub problem: ReplayProblem,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.problem {
            ReplayProblem::Order => "comes at or before a record that was already replayed",
            ReplayProblem::UnknownBroker => "is about a broker that is not registered",
            ReplayProblem::BrokerEpoch => "has a broker epoch other than the registered one",
            ReplayProblem::UnknownTopic => "is about a topic that does not exist",
            ReplayProblem::UnknownPartition => "is about a partition that does not exist",
            ReplayProblem::Exists => "creates something that already exists",
            ReplayProblem::Inconsistent => "contradicts itself",
        };
        write!(f, "{} at offset {} of the metadata log {why}", self.record, self.offset)
    }
}

impl core::error::Error for ReplayError {}

/// The name with '_' for each '.'; `None` if it has neither character, so that it cannot collide.
pub(crate) fn unified(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl MetadataImage {
    /// An image of an empty log.
    pub fn new() -> MetadataImage {
        MetadataImage::default()
    }

    /// The id and the topic of that name.
    pub fn topic_by_name(&self, name: &str) -> Option<(TopicId, &TopicImage)> {
        let id = *self.topic_ids.get(name)?;
        self.topics.get(&id).map(|topic| (id, topic))
    }

    /// The topic that a request names, by id if it gives one.
    pub fn topic(&self, topic: &TopicRef) -> Option<(TopicId, &TopicImage)> {
        if topic.id == Uuid::ZERO {
            self.topic_by_name(&topic.name)
        } else {
            self.topics.get(&topic.id).map(|image| (topic.id, image))
        }
    }

    /// The first topic whose name equals this one if '.' and '_' are treated as the same.
    pub fn colliding(&self, name: &str) -> Option<&str> {
        let unified = unified(name)?;
        let first = self.unified.range((unified.clone(), String::new())..).next();
        first.filter(|(other, _)| *other == unified).map(|(_, name)| name.as_str())
    }

    /// A partition's registration.
    pub fn partition(&self, partition: TopicPartition) -> Option<&PartitionRegistration> {
        self.topics.get(&partition.topic)?.partitions.get(&partition.partition)
    }

    /// All partitions, by topic id and index.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &PartitionRegistration)> {
        self.topics.iter().flat_map(|(id, topic)| {
            topic.partitions.iter().map(move |(index, registration)| {
                (TopicPartition { topic: *id, partition: *index }, registration)
            })
        })
    }

    /// A topic's overrides; empty if it has none.
    pub fn topic_configs(&self, name: &str) -> BTreeMap<String, String> {
        self.configs.get(&(TOPIC_RESOURCE, String::from(name))).cloned().unwrap_or_default()
    }

    /// Whether this broker may lead and join ISRs.
    pub fn is_active(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(BrokerRegistration::is_active)
    }

    /// The epoch of a broker that may lead and join ISRs; `None` if it is not registered, fenced or
    /// shutting down.
    pub fn alive(&self, broker: NodeId) -> Option<BrokerEpoch> {
        self.brokers.get(&broker).filter(|registration| registration.is_active()).map(|r| r.epoch)
    }

    /// Moves `applied` over a record that carries no metadata (a control record).
    pub fn skip(&mut self, offset: Offset, epoch: LeaderEpoch) {
        if offset > self.applied {
            self.applied = offset;
            self.applied_epoch = epoch;
        }
    }

    /// Replays one record.
    ///
    /// # Errors
    /// If it does not fit what was replayed before; then the image is unchanged.
    pub fn replay(
        &mut self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &MetadataRecord,
    ) -> Result<(), ReplayError> {
        let fail = |problem| ReplayError { offset, record: record.name(), problem };
        if offset <= self.applied {
            return Err(fail(ReplayProblem::Order));
        }
        match record {
            MetadataRecord::RegisterBroker(record) => {
                self.register(record);
                Ok(())
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.unregister(record.broker, record.epoch)
            }
            MetadataRecord::Topic(record) => self.add_topic(record),
            MetadataRecord::Partition(record) => self.add_partition(record),
            MetadataRecord::Config(record) => {
                self.configure(record);
                Ok(())
            }
            MetadataRecord::PartitionChange(record) => self.change_partition(record),
            MetadataRecord::RemoveTopic(id) => self.remove_topic(*id),
            MetadataRecord::FeatureLevel(record) => {
                if record.level == 0 {
                    self.features.remove(&record.name);
                } else {
                    self.features.insert(record.name.clone(), record.level);
                }
                Ok(())
            }
            MetadataRecord::BrokerRegistrationChange(record) => self.change_broker(record),
            MetadataRecord::NoOp => Ok(()),
        }
        .map_err(fail)?;
        self.applied = offset;
        self.applied_epoch = epoch;
        Ok(())
    }

    fn broker(
        &mut self,
        broker: NodeId,
        epoch: BrokerEpoch,
    ) -> Result<&mut BrokerRegistration, ReplayProblem> {
        let registration = self.brokers.get_mut(&broker).ok_or(ReplayProblem::UnknownBroker)?;
        if registration.epoch != epoch {
            return Err(ReplayProblem::BrokerEpoch);
        }
        Ok(registration)
    }

    fn register(&mut self, record: &RegisterBrokerRecord) {
        let registration = BrokerRegistration {
            epoch: record.epoch,
            incarnation: record.incarnation,
            endpoints: record.endpoints.clone(),
            features: record.features.clone(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
        };
        self.brokers.insert(record.broker, registration);
    }

    fn unregister(&mut self, broker: NodeId, epoch: BrokerEpoch) -> Result<(), ReplayProblem> {
        self.broker(broker, epoch)?;
        self.brokers.remove(&broker);
        Ok(())
    }

    fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<(), ReplayProblem> {
        let registration = self.broker(record.broker, record.epoch)?;
        if let Some(fenced) = record.fenced {
            registration.fenced = fenced;
        }
        registration.in_controlled_shutdown |= record.in_controlled_shutdown;
        if !record.log_dirs.is_empty() {
            registration.log_dirs = record.log_dirs.clone();
        }
        Ok(())
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), ReplayProblem> {
        if self.topics.contains_key(&record.id) || self.topic_ids.contains_key(&record.name) {
            return Err(ReplayProblem::Exists);
        }
        self.topic_ids.insert(record.name.clone(), record.id);
        self.unified.extend(unified(&record.name).map(|unified| (unified, record.name.clone())));
        let topic = TopicImage { name: record.name.clone(), partitions: BTreeMap::new() };
        self.topics.insert(record.id, topic);
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ReplayProblem> {
        let topic = self.topics.remove(&id).ok_or(ReplayProblem::UnknownTopic)?;
        self.topic_ids.remove(&topic.name);
        if let Some(unified) = unified(&topic.name) {
            self.unified.remove(&(unified, topic.name.clone()));
        }
        self.configs.remove(&(TOPIC_RESOURCE, topic.name));
        Ok(())
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), ReplayProblem> {
        let at = record.partition;
        let topic = self.topics.get_mut(&at.topic).ok_or(ReplayProblem::UnknownTopic)?;
        if topic.partitions.contains_key(&at.partition) {
            return Err(ReplayProblem::Exists);
        }
        let registration = PartitionRegistration {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing: record.removing.clone(),
            adding: record.adding.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            leader_recovery_state: LeaderRecoveryState::of(record.leader_recovery_state)
                .ok_or(ReplayProblem::Inconsistent)?,
            directories: record.directories.clone(),
        };
        registration.check()?;
        topic.partitions.insert(at.partition, registration);
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), ReplayProblem> {
        let at = record.partition;
        let topic = self.topics.get_mut(&at.topic).ok_or(ReplayProblem::UnknownTopic)?;
        let old = topic.partitions.get(&at.partition).ok_or(ReplayProblem::UnknownPartition)?;
        let new = old.changed(record)?;
        topic.partitions.insert(at.partition, new);
        Ok(())
    }

    fn configure(&mut self, record: &ConfigRecord) {
        let resource = (record.resource_type, record.resource_name.clone());
        let overrides = self.configs.entry(resource.clone()).or_default();
        match &record.value {
            Some(value) => {
                overrides.insert(record.name.clone(), value.clone());
            }
            None => {
                overrides.remove(&record.name);
            }
        }
        if overrides.is_empty() {
            self.configs.remove(&resource);
        }
    }
}

impl PartitionRegistration {
    /// This registration after a change. Any change starts a new partition epoch, a leader field
    /// also a new leader epoch (`PartitionRegistration.merge`).
    ///
    /// # Errors
    /// If the result contradicts itself.
    pub fn changed(
        &self,
        record: &PartitionChangeRecord,
    ) -> Result<PartitionRegistration, ReplayProblem> {
        if self.leader_epoch.0 == i32::MAX || self.partition_epoch.0 == i32::MAX {
            return Err(ReplayProblem::Inconsistent);
        }
        let mut new = self.clone();
        let lists = [
            (&mut new.isr, &record.isr),
            (&mut new.replicas, &record.replicas),
            (&mut new.removing, &record.removing),
            (&mut new.adding, &record.adding),
        ];
        for (list, changed) in lists {
            if let Some(changed) = changed {
                list.clone_from(changed);
            }
        }
        if let Some(directories) = &record.directories {
            new.directories.clone_from(directories);
        }
        if let Some(leader) = record.leader {
            new.leader = leader;
            new.leader_epoch = new.leader_epoch.next();
        }
        if let Some(state) = record.leader_recovery_state {
            new.leader_recovery_state =
                LeaderRecoveryState::of(state).ok_or(ReplayProblem::Inconsistent)?;
        }
        new.partition_epoch = new.partition_epoch.next();
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> Result<(), ReplayProblem> {
        let distinct =
            |list: &[NodeId]| list.iter().enumerate().all(|(i, node)| !list[..i].contains(node));
        let sound = distinct(&self.replicas)
            && distinct(&self.isr)
            && !self.isr.is_empty()
            && self.isr.iter().all(|node| self.replicas.contains(node))
            && self.leader.is_none_or(|leader| self.isr.contains(&leader))
            && (self.directories.is_empty() || self.directories.len() == self.replicas.len());
        if sound { Ok(()) } else { Err(ReplayProblem::Inconsistent) }
    }
}
