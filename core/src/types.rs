//! The vocabulary: identifiers, offsets, epochs and the two clock types.
//!
//! Each is a distinct type, so that an offset is never passed for an epoch. Names are Kafka's. The
//! only behaviour here is arithmetic that keeps the unit.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A node of the cluster (`node.id`); brokers and controllers share the number space. Kafka
    /// writes -1 for none; here that is `Option<NodeId>`, except in messages.
    NodeId(i32)
}
number! {
    /// A position in a partition's log, in records, from 0.
    Offset(i64)
}
number! {
    /// The epoch of a partition's leadership (the metadata quorum's epoch is the leader epoch of
    /// `__cluster_metadata`). Grows with each change of leader; -1 in a message that knows none.
    LeaderEpoch(i32)
}
number! {
    /// Version of one partition's registration; grows with every change of it (KIP-497).
    PartitionEpoch(i32)
}
number! {
    /// One incarnation's registration: the offset of its record in the metadata log (KIP-631).
    BrokerEpoch(i64)
}
number! {
    /// A partition hosted by one node: dense, local to that node's incarnation, never reused.
    PartitionId(u32)
}
number! {
    /// A directory below the node's log directory; see [`DirId::ROOT`] and [`DirId::METADATA`].
    DirId(u32)
}

impl Offset {
    /// The first offset of any log.
    pub const ZERO: Offset = Offset(0);

    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, rhs: i64) -> Offset {
        Offset(self.0 + rhs)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, rhs: i64) {
        self.0 += rhs;
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, rhs: Offset) -> i64 {
        self.0 - rhs.0
    }
}

impl LeaderEpoch {
    /// "No epoch known": skips the fencing check in a request (KIP-320).
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);

    /// The epoch after this one.
    pub fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0 + 1)
    }
}

impl PartitionEpoch {
    /// The epoch after this one.
    pub fn next(self) -> PartitionEpoch {
        PartitionEpoch(self.0 + 1)
    }
}

impl BrokerEpoch {
    /// "Not registered".
    pub const NONE: BrokerEpoch = BrokerEpoch(-1);
}

impl NodeId {
    /// What Kafka writes for "no node": no leader, or a fetch by a consumer.
    pub const NONE: NodeId = NodeId(-1);

    /// `None` for -1.
    pub fn known(self) -> Option<NodeId> {
        (self.0 >= 0).then_some(self)
    }
}

impl DirId {
    /// The log directory itself: `meta.properties`, checkpoints of all partitions.
    pub const ROOT: DirId = DirId(0);
    /// `__cluster_metadata-0`: the quorum's log and its `quorum-state`.
    pub const METADATA: DirId = DirId(1);

    /// The directory of a hosted partition.
    pub fn of_partition(partition: PartitionId) -> DirId {
        DirId(partition.0 + 2)
    }

    /// The partition whose directory this is, if it is one.
    pub fn partition(self) -> Option<PartitionId> {
        self.0.checked_sub(2).map(PartitionId)
    }
}

/// A 128-bit identifier (topic ids, incarnation ids, directory ids), as Kafka's `Uuid`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// "None", as Kafka writes it.
    pub const ZERO: Uuid = Uuid(0);
}

/// A topic's identity. A topic that is deleted and recreated gets a different one (KIP-516).
pub type TopicId = Uuid;

/// The id of `__cluster_metadata` (KIP-595), fixed by Kafka.
pub const METADATA_TOPIC_ID: TopicId = Uuid(1);
/// The name of the metadata log's topic.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

impl fmt::Debug for Uuid {
    /// Contains the displayed form, so that log lines match what clients and files show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl fmt::Display for Uuid {
    /// Kafka's form: 22 characters of unpadded URL-safe base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits and four zero bits make 22 six-bit digits.
        for digit in 0..22u32 {
            let low = 122 - i64::from(digit) * 6;
            let six = if low >= 0 { (self.0 >> low) & 63 } else { (self.0 << -low) & 63 };
            write!(f, "{}", char::from(ALPHABET[six as usize]))?;
        }
        Ok(())
    }
}

impl core::str::FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Uuid, InvalidUuid> {
        if text.len() != 22 {
            return Err(InvalidUuid);
        }
        let mut value: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let six = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return Err(InvalidUuid),
            };
            if i == 21 {
                if six & 15 != 0 {
                    return Err(InvalidUuid);
                }
                value = (value << 2) | u128::from(six >> 4);
            } else {
                value = (value << 6) | u128::from(six);
            }
        }
        Ok(Uuid(value))
    }
}

/// The text is not 22 characters of URL-safe base64 that hold 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUuid;

impl fmt::Display for InvalidUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a Kafka uuid: expected 22 characters of URL-safe base64")
    }
}

impl core::error::Error for InvalidUuid {}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A partition of a topic, by the topic's id, as used in records, notes and invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic: TopicId,
    /// The partition's index within the topic, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The metadata log.
    pub const METADATA: TopicPartition = TopicPartition { topic: METADATA_TOPIC_ID, partition: 0 };
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.topic == METADATA_TOPIC_ID {
            write!(f, "{METADATA_TOPIC}-{}", self.partition)
        } else {
            write!(f, "{}-{}", self.topic, self.partition)
        }
    }
}

/// How a topic is named in a request: by name, by id, or both, as the version allows.
/// An empty name or [`Uuid::ZERO`] is "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRef {
    /// The name, or empty.
    pub name: String,
    /// The id, or zero.
    pub id: TopicId,
}

impl TopicRef {
    /// By id alone.
    pub fn id(id: TopicId) -> TopicRef {
        TopicRef { name: String::new(), id }
    }

    /// By name alone.
    pub fn name(name: impl Into<String>) -> TopicRef {
        TopicRef { name: name.into(), id: Uuid::ZERO }
    }
}

/// An epoch and the offset where it ends: the answer to "where does your epoch end" (KIP-101,
/// KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochEndOffset {
    /// The epoch that the answer is about; may be smaller than the one asked for.
    pub epoch: LeaderEpoch,
    /// The first offset after that epoch.
    pub end_offset: Offset,
}

/// Where a listener can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Time for timers: nanoseconds since an arbitrary start, constant within a step.
/// Never converted to or from [`WallTime`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Saturates at the end of time.
    pub fn after(self, wait: Duration) -> Monotonic {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Monotonic(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Time for people and records: milliseconds since 1970 by this node's wall clock, which may be
/// wrong and may jump. Never used for timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOpKind {
    /// Opening or listing a directory.
    OpenDir,
    /// Creating a file.
    Create,
    /// Appending.
    Append,
    /// Syncing a file or directory.
    Sync,
    /// Truncating.
    Truncate,
    /// Renaming, unlinking or removing files or directories.
    Namespace,
    /// Reading.
    Read,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn uuid_text_is_kafkas() {
        // Kafka's Uuid.METADATA_TOPIC_ID prints like this.
        assert_eq!(METADATA_TOPIC_ID.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0fed_cba9_8765_4321] {
            assert_eq!(Uuid(value).to_string().parse(), Ok(Uuid(value)));
        }
        assert!("AAAAAAAAAAAAAAAAAAAAAR".parse::<Uuid>().is_err(), "four bits too many");
        assert!("short".parse::<Uuid>().is_err());
    }
}
