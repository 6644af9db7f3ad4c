//! The records of `__cluster_metadata`. Each is the value of one data record, framed as in Kafka
//! (unsigned varints: frame version 1, record type, version; then the message, flexible).
//!
//! They are written in the versions of metadata.version 3.9-IV0, and read in every version up to
//! those. A type or version that this build does not know is an error: a node that guessed would
//! build a different image from its peers.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::codec::{DecodeError, Reader, Writer};
use crate::types::{
    BrokerEpoch, Endpoint, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicPartition, Uuid,
};

/// The frame version that Kafka has written since 3.0.
const FRAME_VERSION: u32 = 1;
/// `ConfigResource.Type.TOPIC`.
pub const TOPIC_RESOURCE: i8 = 2;

/// Why bytes are not a record that this build can replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataError {
    /// The frame is not one that Kafka 3.0 or newer writes.
    FrameVersion(u32),
    /// This build does not know the record type.
    UnknownType(u32),
    /// This build does not know that version of the record.
    UnsupportedVersion {
        /// The record's name.
        record: &'static str,
        /// The version found.
        version: u32,
    },
    /// The bytes are not a message of the schema.
    Malformed {
        /// The record's name.
        record: &'static str,
        /// What is wrong.
        error: DecodeError,
    },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataError::FrameVersion(version) => {
                write!(f, "metadata record with frame version {version}, expected {FRAME_VERSION}")
            }
            MetadataError::UnknownType(api_key) => write!(
                f,
                "metadata record of type {api_key}, which this build does not know: it was written \
                 by a newer or differently configured controller"
            ),
            MetadataError::UnsupportedVersion { record, version } => {
                write!(f, "{record} in version {version}, which this build does not know")
            }
            MetadataError::Malformed { record, error } => write!(f, "malformed {record}: {error}"),
        }
    }
}

impl core::error::Error for MetadataError {}

/// RegisterBrokerRecord (0, versions 0 to 3): a broker's incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterBrokerRecord {
    /// The broker.
    pub broker: NodeId,
    /// Drawn at each start of the process.
    pub incarnation: Uuid,
    /// The offset of this record.
    pub epoch: BrokerEpoch,
    /// (listener name, endpoint), all PLAINTEXT.
    pub endpoints: Vec<(String, Endpoint)>,
    /// (name, min, max) that the broker supports.
    pub features: Vec<(String, i16, i16)>,
    /// Rack.
    pub rack: Option<String>,
    /// Whether it starts fenced.
    pub fenced: bool,
    /// v1+.
    pub in_controlled_shutdown: bool,
    /// v3+: its log directories.
    pub log_dirs: Vec<Uuid>,
}

/// UnregisterBrokerRecord (1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnregisterBrokerRecord {
    /// The broker.
    pub broker: NodeId,
    /// Its epoch.
    pub epoch: BrokerEpoch,
}

/// TopicRecord (2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicRecord {
    /// Name.
    pub name: String,
    /// Id.
    pub id: TopicId,
}

/// PartitionRecord (3, versions 0 to 1): a new partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionRecord {
    /// The partition.
    pub partition: TopicPartition,
    /// Preferred first.
    pub replicas: Vec<NodeId>,
    /// In sync.
    pub isr: Vec<NodeId>,
    /// Being removed (KIP-455).
    pub removing: Vec<NodeId>,
    /// Being added (KIP-455).
    pub adding: Vec<NodeId>,
    /// Leader, if any.
    pub leader: Option<NodeId>,
    /// 0 recovered, 1 recovering.
    pub leader_recovery_state: i8,
    /// Leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Partition epoch.
    pub partition_epoch: PartitionEpoch,
    /// v1+: the directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
}

/// ConfigRecord (4): one override set or removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigRecord {
    /// [`TOPIC_RESOURCE`] or another of Kafka's `ConfigResource.Type`s.
    pub resource_type: i8,
    /// The topic's name.
    pub resource_name: String,
    /// Key.
    pub name: String,
    /// Value; `None` removes the override.
    pub value: Option<String>,
}

/// PartitionChangeRecord (5, versions 0 to 1): what changed, `None` where nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionChangeRecord {
    /// The partition.
    pub partition: TopicPartition,
    /// The new ISR.
    pub isr: Option<Vec<NodeId>>,
    /// The new leader (`Some(None)`: none). The field's presence starts a new leader epoch.
    pub leader: Option<Option<NodeId>>,
    /// The new replicas.
    pub replicas: Option<Vec<NodeId>>,
    /// The new removing replicas.
    pub removing: Option<Vec<NodeId>>,
    /// The new adding replicas.
    pub adding: Option<Vec<NodeId>>,
    /// 0 recovered, 1 recovering.
    pub leader_recovery_state: Option<i8>,
    /// v1+: the new directories.
    pub directories: Option<Vec<Uuid>>,
}

impl PartitionChangeRecord {
    /// A change with no fields set yet.
    pub fn of(partition: TopicPartition) -> PartitionChangeRecord {
        PartitionChangeRecord {
            partition,
            isr: None,
            leader: None,
            replicas: None,
            removing: None,
            adding: None,
            leader_recovery_state: None,
            directories: None,
        }
    }
}

/// FeatureLevelRecord (12): the finalized level of a feature, 0 to remove it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureLevelRecord {
    /// Name.
    pub name: String,
    /// Level.
    pub level: i16,
}

/// BrokerRegistrationChangeRecord (17, versions 0 to 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistrationChangeRecord {
    /// The broker.
    pub broker: NodeId,
    /// Its epoch.
    pub epoch: BrokerEpoch,
    /// Fenced or unfenced, `None` for no change.
    pub fenced: Option<bool>,
    /// v1+: `true` if controlled shutdown begins. It ends only with the incarnation.
    pub in_controlled_shutdown: bool,
    /// v2+: the remaining directories, empty for no change.
    pub log_dirs: Vec<Uuid>,
}

/// A record of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MetadataRecord {
    /// A broker's incarnation.
    RegisterBroker(RegisterBrokerRecord),
    /// A broker is unregistered.
    UnregisterBroker(UnregisterBrokerRecord),
    /// A topic.
    Topic(TopicRecord),
    /// A partition.
    Partition(PartitionRecord),
    /// A configuration.
    Config(ConfigRecord),
    /// A partition changes.
    PartitionChange(PartitionChangeRecord),
    /// RemoveTopicRecord (9): a topic and its partitions are removed.
    RemoveTopic(TopicId),
    /// A feature's level.
    FeatureLevel(FeatureLevelRecord),
    /// A broker's registration changes.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    /// NoOpRecord (20): changes nothing.
    NoOp,
}

impl MetadataRecord {
    /// Kafka's name of the record.
    pub fn name(&self) -> &'static str {
        match self {
            MetadataRecord::RegisterBroker(_) => "RegisterBrokerRecord",
            MetadataRecord::UnregisterBroker(_) => "UnregisterBrokerRecord",
            MetadataRecord::Topic(_) => "TopicRecord",
            MetadataRecord::Partition(_) => "PartitionRecord",
            MetadataRecord::Config(_) => "ConfigRecord",
            MetadataRecord::PartitionChange(_) => "PartitionChangeRecord",
            MetadataRecord::RemoveTopic(_) => "RemoveTopicRecord",
            MetadataRecord::FeatureLevel(_) => "FeatureLevelRecord",
            MetadataRecord::BrokerRegistrationChange(_) => "BrokerRegistrationChangeRecord",
            MetadataRecord::NoOp => "NoOpRecord",
        }
    }

    /// (type, version written).
    fn kind(&self) -> (u32, u32) {
        match self {
            MetadataRecord::RegisterBroker(_) => (0, 3),
            MetadataRecord::UnregisterBroker(_) => (1, 0),
            MetadataRecord::Topic(_) => (2, 0),
            MetadataRecord::Partition(_) => (3, 1),
            MetadataRecord::Config(_) => (4, 0),
            MetadataRecord::PartitionChange(_) => (5, 1),
            MetadataRecord::RemoveTopic(_) => (9, 0),
            MetadataRecord::FeatureLevel(_) => (12, 0),
            // The lowest version that can express the change, as Kafka's controller writes them.
            MetadataRecord::BrokerRegistrationChange(change) if !change.log_dirs.is_empty() => {
                (17, 2)
            }
            MetadataRecord::BrokerRegistrationChange(change) if change.in_controlled_shutdown => {
                (17, 1)
            }
            MetadataRecord::BrokerRegistrationChange(_) => (17, 0),
            MetadataRecord::NoOp => (20, 0),
        }
    }

    /// The value of its record in a batch.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        let (api_key, version) = self.kind();
        out.unsigned_varint(FRAME_VERSION);
        out.unsigned_varint(api_key);
        out.unsigned_varint(version);
        match self {
            MetadataRecord::RegisterBroker(record) => record.encode(&mut out),
            MetadataRecord::UnregisterBroker(record) => {
                out.i32(record.broker.0);
                out.i64(record.epoch.0);
                out.tagged_fields(&[]);
            }
            MetadataRecord::Topic(record) => {
                out.string(true, &record.name);
                out.uuid(record.id);
                out.tagged_fields(&[]);
            }
            MetadataRecord::Partition(record) => record.encode(&mut out),
            MetadataRecord::Config(record) => {
                out.i8(record.resource_type);
                out.string(true, &record.resource_name);
                out.string(true, &record.name);
                out.nullable_string(true, record.value.as_deref());
                out.tagged_fields(&[]);
            }
            MetadataRecord::PartitionChange(record) => record.encode(&mut out),
            MetadataRecord::RemoveTopic(id) => {
                out.uuid(*id);
                out.tagged_fields(&[]);
            }
            MetadataRecord::FeatureLevel(record) => {
                out.string(true, &record.name);
                out.i16(record.level);
                out.tagged_fields(&[]);
            }
            MetadataRecord::BrokerRegistrationChange(record) => record.encode(version, &mut out),
            MetadataRecord::NoOp => out.tagged_fields(&[]),
        }
        out.finish()
    }

    /// Reads the value of a record.
    ///
    /// # Errors
    /// Says which type, version or field this build cannot read. The node must stop at such a
    /// record: a node that skipped one would have a different image from its peers.
    pub fn decode(bytes: Bytes) -> Result<MetadataRecord, MetadataError> {
        let mut reader = Reader::new(bytes);
        let frame = |error| MetadataError::Malformed { record: "record frame", error };
        let frame_version = reader.unsigned_varint().map_err(frame)?;
        if frame_version != FRAME_VERSION {
            return Err(MetadataError::FrameVersion(frame_version));
        }
        let api_key = reader.unsigned_varint().map_err(frame)?;
        let version = reader.unsigned_varint().map_err(frame)?;
        let (name, newest, read): (_, _, fn(&mut Reader, u32) -> _) = match api_key {
            0 => ("RegisterBrokerRecord", 3, RegisterBrokerRecord::decode),
            1 => ("UnregisterBrokerRecord", 0, read_unregister),
            2 => ("TopicRecord", 0, read_topic),
            3 => ("PartitionRecord", 1, PartitionRecord::decode),
            4 => ("ConfigRecord", 0, read_config),
            5 => ("PartitionChangeRecord", 1, PartitionChangeRecord::decode),
            9 => ("RemoveTopicRecord", 0, read_remove_topic),
            12 => ("FeatureLevelRecord", 0, read_feature_level),
            17 => ("BrokerRegistrationChangeRecord", 2, BrokerRegistrationChangeRecord::decode),
            20 => ("NoOpRecord", 0, read_no_op),
            other => return Err(MetadataError::UnknownType(other)),
        };
        if version > newest {
            return Err(MetadataError::UnsupportedVersion { record: name, version });
        }
        read(&mut reader, version)
            .and_then(|record| reader.finish().map(|()| record))
            .map_err(|error| MetadataError::Malformed { record: name, error })
    }
}

fn nodes(out: &mut Writer, nodes: &[NodeId]) {
    out.array(true, nodes, |out, node| out.i32(node.0));
}

fn read_nodes(reader: &mut Reader) -> Result<Vec<NodeId>, DecodeError> {
    reader.array(true, |reader| reader.i32().map(NodeId))
}

fn uuids(out: &mut Writer, uuids: &[Uuid]) {
    out.array(true, uuids, |out, uuid| out.uuid(*uuid));
}

fn read_uuids(reader: &mut Reader) -> Result<Vec<Uuid>, DecodeError> {
    reader.array(true, Reader::uuid)
}

/// The bytes of one tagged field.
fn field(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    write(&mut out);
    out.finish()
}

/// A tagged field that must take all of its bytes.
fn whole<T>(
    mut reader: Reader,
    read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

fn recovery_state(value: i8) -> Result<i8, DecodeError> {
    match value {
        0 | 1 => Ok(value),
        _ => Err(DecodeError::Invalid("a leader recovery state")),
    }
}

impl RegisterBrokerRecord {
    fn encode(&self, out: &mut Writer) {
        out.i32(self.broker.0);
        out.bool(false); // v2+: is a migrating ZooKeeper broker, never.
        out.uuid(self.incarnation);
        out.i64(self.epoch.0);
        out.array(true, &self.endpoints, |out, (name, endpoint)| {
            out.string(true, name);
            out.string(true, &endpoint.host);
            out.u16(endpoint.port);
            out.i16(0); // PLAINTEXT
            out.tagged_fields(&[]);
        });
        out.array(true, &self.features, |out, (name, min, max)| {
            out.string(true, name);
            out.i16(*min);
            out.i16(*max);
            out.tagged_fields(&[]);
        });
        out.nullable_string(true, self.rack.as_deref());
        out.bool(self.fenced);
        out.bool(self.in_controlled_shutdown);
        let mut tagged = Vec::new();
        if !self.log_dirs.is_empty() {
            tagged.push((0, field(|out| uuids(out, &self.log_dirs))));
        }
        out.tagged_fields(&tagged);
    }

    fn decode(reader: &mut Reader, version: u32) -> Result<MetadataRecord, DecodeError> {
        let broker = NodeId(reader.i32()?);
        if version >= 2 && reader.bool()? {
            return Err(DecodeError::Invalid("IsMigratingZkBroker"));
        }
        let incarnation = reader.uuid()?;
        let epoch = BrokerEpoch(reader.i64()?);
        let endpoints = reader.array(true, |reader| {
            let name = reader.string(true)?;
            let endpoint = Endpoint { host: reader.string(true)?, port: reader.u16()? };
            reader.i16()?;
            reader.skip_tagged_fields()?;
            Ok((name, endpoint))
        })?;
        let features = reader.array(true, |reader| {
            let feature = (reader.string(true)?, reader.i16()?, reader.i16()?);
            reader.skip_tagged_fields()?;
            Ok(feature)
        })?;
        let rack = reader.nullable_string(true)?;
        let fenced = reader.bool()?;
        let in_controlled_shutdown = version >= 1 && reader.bool()?;
        let mut log_dirs = Vec::new();
        reader.tagged_fields(|tag, reader| {
            if tag == 0 && version >= 3 {
                log_dirs = whole(reader, read_uuids)?;
            }
            Ok(())
        })?;
        Ok(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker,
            incarnation,
            epoch,
            endpoints,
            features,
            rack,
            fenced,
            in_controlled_shutdown,
            log_dirs,
        }))
    }
}

impl PartitionRecord {
    fn encode(&self, out: &mut Writer) {
        out.i32(self.partition.partition);
        out.uuid(self.partition.topic);
        nodes(out, &self.replicas);
        nodes(out, &self.isr);
        nodes(out, &self.removing);
        nodes(out, &self.adding);
        out.i32(self.leader.unwrap_or(NodeId::NONE).0);
        out.i32(self.leader_epoch.0);
        out.i32(self.partition_epoch.0);
        uuids(out, &self.directories);
        let mut tagged = Vec::new();
        if self.leader_recovery_state != 0 {
            tagged.push((0, field(|out| out.i8(self.leader_recovery_state))));
        }
        out.tagged_fields(&tagged);
    }

    fn decode(reader: &mut Reader, version: u32) -> Result<MetadataRecord, DecodeError> {
        let partition = reader.i32()?;
        let topic = reader.uuid()?;
        let replicas = read_nodes(reader)?;
        let isr = read_nodes(reader)?;
        let removing = read_nodes(reader)?;
        let adding = read_nodes(reader)?;
        let leader = NodeId(reader.i32()?).known();
        let leader_epoch = LeaderEpoch(reader.i32()?);
        let partition_epoch = PartitionEpoch(reader.i32()?);
        let directories = if version >= 1 { read_uuids(reader)? } else { Vec::new() };
        let mut leader_recovery_state = 0;
        reader.tagged_fields(|tag, reader| {
            if tag == 0 {
                leader_recovery_state = recovery_state(whole(reader, Reader::i8)?)?;
            }
            Ok(())
        })?;
        Ok(MetadataRecord::Partition(PartitionRecord {
            partition: TopicPartition { topic, partition },
            replicas,
            isr,
            removing,
            adding,
            leader,
            leader_recovery_state,
            leader_epoch,
            partition_epoch,
            directories,
        }))
    }
}

impl PartitionChangeRecord {
    fn encode(&self, out: &mut Writer) {
        out.i32(self.partition.partition);
        out.uuid(self.partition.topic);
        let mut tagged = Vec::new();
        if let Some(isr) = &self.isr {
            tagged.push((0, field(|out| nodes(out, isr))));
        }
        if let Some(leader) = self.leader {
            tagged.push((1, field(|out| out.i32(leader.unwrap_or(NodeId::NONE).0))));
        }
        for (tag, changed) in [(2, &self.replicas), (3, &self.removing), (4, &self.adding)] {
            if let Some(changed) = changed {
                tagged.push((tag, field(|out| nodes(out, changed))));
            }
        }
        if let Some(state) = self.leader_recovery_state {
            tagged.push((5, field(|out| out.i8(state))));
        }
        if let Some(directories) = &self.directories {
            tagged.push((8, field(|out| uuids(out, directories))));
        }
        out.tagged_fields(&tagged);
    }

    fn decode(reader: &mut Reader, version: u32) -> Result<MetadataRecord, DecodeError> {
        let partition = reader.i32()?;
        let topic = reader.uuid()?;
        let mut change = PartitionChangeRecord::of(TopicPartition { topic, partition });
        let nullable =
            |reader: &mut Reader| reader.nullable_array(true, |reader| reader.i32().map(NodeId));
        reader.tagged_fields(|tag, reader| {
            match tag {
                0 => change.isr = whole(reader, nullable)?,
                1 => {
                    change.leader = match whole(reader, Reader::i32)? {
                        -2 => None,
                        leader => Some(NodeId(leader).known()),
                    }
                }
                2 => change.replicas = whole(reader, nullable)?,
                3 => change.removing = whole(reader, nullable)?,
                4 => change.adding = whole(reader, nullable)?,
                5 => {
                    change.leader_recovery_state = match whole(reader, Reader::i8)? {
                        -1 => None,
                        state => Some(recovery_state(state)?),
                    }
                }
                8 if version >= 1 => {
                    change.directories =
                        whole(reader, |reader| reader.nullable_array(true, Reader::uuid))?;
                }
                // Fields of later versions are tagged, and this version has none of them.
                _ => {}
            }
            Ok(())
        })?;
        Ok(MetadataRecord::PartitionChange(change))
    }
}

impl BrokerRegistrationChangeRecord {
    fn encode(&self, version: u32, out: &mut Writer) {
        out.i32(self.broker.0);
        out.i64(self.epoch.0);
        let mut tagged = Vec::new();
        if let Some(fenced) = self.fenced {
            tagged.push((0, field(|out| out.i8(if fenced { 1 } else { -1 }))));
        }
        if version >= 1 && self.in_controlled_shutdown {
            tagged.push((1, field(|out| out.i8(1))));
        }
        if version >= 2 && !self.log_dirs.is_empty() {
            tagged.push((2, field(|out| uuids(out, &self.log_dirs))));
        }
        out.tagged_fields(&tagged);
    }

    fn decode(reader: &mut Reader, version: u32) -> Result<MetadataRecord, DecodeError> {
        let mut change = BrokerRegistrationChangeRecord {
            broker: NodeId(reader.i32()?),
            epoch: BrokerEpoch(reader.i64()?),
            fenced: None,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        reader.tagged_fields(|tag, reader| {
            match tag {
                0 => {
                    change.fenced = match whole(reader, Reader::i8)? {
                        -1 => Some(false),
                        0 => None,
                        1 => Some(true),
                        _ => return Err(DecodeError::Invalid("a change of fencing")),
                    }
                }
                1 if version >= 1 => {
                    change.in_controlled_shutdown = match whole(reader, Reader::i8)? {
                        0 => false,
                        1 => true,
                        _ => return Err(DecodeError::Invalid("a change of controlled shutdown")),
                    }
                }
                2 if version >= 2 => change.log_dirs = whole(reader, read_uuids)?,
                // Fields of later versions are tagged, and this version has none of them.
                _ => {}
            }
            Ok(())
        })?;
        Ok(MetadataRecord::BrokerRegistrationChange(change))
    }
}

fn read_unregister(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    let record =
        UnregisterBrokerRecord { broker: NodeId(reader.i32()?), epoch: BrokerEpoch(reader.i64()?) };
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::UnregisterBroker(record))
}

fn read_topic(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    let record = TopicRecord { name: reader.string(true)?, id: reader.uuid()? };
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::Topic(record))
}

fn read_config(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    let record = ConfigRecord {
        resource_type: reader.i8()?,
        resource_name: reader.string(true)?,
        name: reader.string(true)?,
        value: reader.nullable_string(true)?,
    };
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::Config(record))
}

fn read_remove_topic(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    let id = reader.uuid()?;
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::RemoveTopic(id))
}

fn read_feature_level(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    let record = FeatureLevelRecord { name: reader.string(true)?, level: reader.i16()? };
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::FeatureLevel(record))
}

fn read_no_op(reader: &mut Reader, _: u32) -> Result<MetadataRecord, DecodeError> {
    reader.skip_tagged_fields()?;
    Ok(MetadataRecord::NoOp)
}
