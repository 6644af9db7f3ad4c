//! The metadata log's content: its records, in Kafka's own schemas, and the image that results from
//! replaying them.
//!
//! Everything here is pure: no clock, no disk, no network. What does not live here: how records are
//! committed ([`crate::quorum`]) and which records to write ([`crate::controller`]).

mod control;
mod image;
mod record;
mod touched;

#[cfg(test)]
mod tests;

pub use control::{
    CONTROL_LEADER_CHANGE, LeaderChangeMessage, decode_leader_change, leader_change_key,
};
pub(crate) use image::unified;
pub use image::{
    BrokerRegistration, LeaderRecoveryState, MetadataImage, PartitionRegistration, ReplayError,
    ReplayProblem, TopicImage,
};
pub use record::{
    BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord, MetadataError,
    MetadataRecord, PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, TOPIC_RESOURCE,
    TopicRecord, UnregisterBrokerRecord,
};
pub use touched::Touched;

use crate::types::Uuid;

/// Name of the feature that says which records the log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// The level that this build writes: 3.9-IV0, the newest one without eligible leader replicas
/// (KIP-966), which are not implemented yet. Kafka 4.x reads it.
pub const METADATA_VERSION_LEVEL: i16 = 21;
/// The oldest level that this build reads: 3.3-IV3, the same as Kafka 4.x.
pub const METADATA_VERSION_MIN: i16 = 7;
/// What Kafka writes for a replica whose directory is not known (`DirectoryId.UNASSIGNED`).
pub const UNASSIGNED_DIRECTORY: Uuid = Uuid(1);
