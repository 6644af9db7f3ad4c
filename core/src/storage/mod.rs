//! The log directory of a node: whose it is, which replicas it holds, its checkpoints, and the
//! replicas that come and go.
//!
//! [`Storage`] is one component. It answers with facts ([`StorageFact`], and the replicas' own
//! [`Fact`]) and knows no other component. `boot` opens the directory, `opening` the directory of
//! each replica, at start and when one is created. `following` turns the metadata into replicas and
//! their roles, `departures` removes the directories of those that leave, `checkpoints` has the two
//! offset checkpoints, and `closing` makes everything durable before a graceful stop. The
//! partitions themselves are in [`Hosted`].
//!
//! What does not live here: what is inside a replica ([`crate::replica`], [`crate::log`]), the
//! metadata log's directory ([`crate::quorum`]), and when the node registers or stops
//! ([`crate::broker::lifecycle`]).

mod boot;
mod checkpoints;
mod closing;
mod departures;
mod following;
mod hosted;
mod opening;

pub use hosted::Hosted;

use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{NodeConfig, TopicConfig};
use crate::env::{Env, Random, Site};
use crate::event::{DiskDone, DiskError, DiskOpKind};
use crate::log::Damage;
use crate::metadata::MetadataImage;
use crate::replica::Fact;
use crate::types::{BrokerEpoch, METADATA_TOPIC, Uuid};

use boot::Root;
use checkpoints::Checkpoints;
use closing::Closing;
use departures::Departures;
use opening::Openings;

/// What the storage reports to the router, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StorageFact {
    /// The directory is this node's, and no mark in it vouches for anything any more: the logs may
    /// be opened ([`Storage::recover`]), the metadata log first.
    Identified,
    /// All logs are open, and the directory is as the checkpoints say: the node may register.
    Booted,
    /// The mark of a clean stop is durable.
    Marked,
    /// A disk operation failed.
    Failed(DiskOpKind, DiskError),
    /// The data is not this node's or cannot be trusted. Says what is wrong, where, and what to do.
    Refused(String),
}

/// What to do about a partition's log that is damaged or missing.
const DATA_ADVICE: &str = "restore it from a copy; or, only while another replica of the partition \
                           is in sync, move its directory away, delete its line in \
                           recovery-point-offset-checkpoint and replication-offset-checkpoint, and \
                           lower the entry count in the second line of both by one; the partition \
                           is then fetched from that replica";

/// The same advice for the metadata log.
const METADATA_ADVICE: &str = "restore the directory from a backup of this same node. A voter that \
                               lost records it acknowledged must not rejoin as the same voter";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Storage {
    root: Root,
    hosted: Hosted,
    openings: Openings,
    checkpoints: Checkpoints,
    departures: Departures,
    closing: Closing,
}

/// What happens to the directory of a replica that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Fate {
    /// Removed: its replica was deleted, or is on another node now.
    Removed,
    /// Kept for people to look at: the metadata does not know it.
    Stray,
}

/// The topic's configuration: the node's defaults with the topic's overrides. Overrides were
/// checked when the topic was created. One that this version does not know leaves only its own
/// setting at the default.
fn topic_config(topic: &str, image: &MetadataImage, config: &NodeConfig) -> TopicConfig {
    let overrides = image.topic_configs(topic);
    config.topic_defaults.with_known_overrides(&overrides)
}

/// A fresh 128-bit id.
pub fn draw_uuid(random: &mut dyn Random) -> Uuid {
    let high = random.draw(Site::Uuid, u64::MAX);
    let low = random.draw(Site::Uuid, u64::MAX);
    Uuid(u128::from(high) << 64 | u128::from(low))
}

/// Why a node with this damage in a replica's log does not go on.
pub fn damaged_replica(dir: &str, damage: &Damage) -> String {
    alloc::format!("{dir}/{damage}; {DATA_ADVICE}")
}

/// Why a node with this damage in its metadata log does not go on.
pub fn damaged_metadata(damage: &Damage) -> String {
    alloc::format!("{METADATA_TOPIC}-0/{damage}; {METADATA_ADVICE}")
}

/// Why a node that cannot replay a committed record does not go on.
pub fn unknown_record(error: &crate::metadata::ReplayError) -> String {
    alloc::format!("{error}: upgrade this node, or {METADATA_ADVICE}")
}

impl Storage {
    /// The replicas.
    pub fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    /// The replicas, for what concerns only them.
    pub fn hosted_mut(&mut self) -> &mut Hosted {
        &mut self.hosted
    }

    /// The broker epoch of the incarnation that stopped cleanly, or [`BrokerEpoch::NONE`].
    pub fn previous_broker_epoch(&self) -> BrokerEpoch {
        self.root.clean_epoch().unwrap_or(BrokerEpoch::NONE)
    }

    /// The log directory's id.
    pub fn directory_id(&self) -> Uuid {
        self.root.directory_id()
    }

    /// Whether everything has been opened.
    pub fn is_booted(&self) -> bool {
        self.root.is_booted()
    }

    /// A completion outside of the metadata log's directory and those of hosted partitions.
    pub fn on_disk(
        &mut self,
        done: &DiskDone,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
        facts: &mut Vec<StorageFact>,
    ) {
        if let DiskDone::Failed { op, error, .. } = done {
            return facts.push(StorageFact::Failed(*op, *error));
        }
        let Some(id) = done.dir().partition() else {
            return self.on_root_disk(done, config, env, replicas, facts);
        };
        if let DiskDone::DirRenamed { .. } = done {
            self.on_departed(id, env);
        } else {
            self.on_opening_disk(id, done, image, config, env, facts);
        }
    }

    /// A replica's log has been recovered.
    pub fn on_log_recovered(&mut self, env: &mut dyn Env, facts: &mut Vec<StorageFact>) {
        self.advance_boot(env, facts);
    }
}
