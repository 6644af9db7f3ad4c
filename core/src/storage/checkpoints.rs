//! The checkpoints of high watermarks and of recovery points: which lines they have, or may have,
//! on disk, and when they are written. What a line means for its log is in
//! [`crate::replica::claims`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use crate::checkpoint::{self, AtomicFile, FormatError, PartitionOffset};
use crate::config::NodeConfig;
use crate::env::{Env, SmallFile};
use crate::event::TimerKey;
use crate::note::Note;
use crate::replica::claims::Claim;
use crate::replica::{Fact, dir_name};
use crate::types::{DirId, METADATA_TOPIC, Monotonic, Offset, PartitionId, TopicPartition};

use super::Storage;

/// The longest interval between checkpoints; a shorter one may be configured. Above its recovery
/// point, even synced data is not protected from damage after a power loss (`crate::log::damage`),
/// so Kafka's minute (`log.flush.offset.checkpoint.interval.ms`) is too long. The cost does not
/// grow with the append rate: each interval replaces at most two small files with a line for each
/// replica, and none if nothing moved.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// One of the two checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OffsetCheckpoint {
    claim: Claim,
    pub(super) file: AtomicFile,
    /// Its content at start.
    known: BTreeMap<(String, i32), Offset>,
    /// Its current content, so that it is written only when that changes.
    written: Bytes,
    /// The lines of the last write: partition, the name of its directory, offset.
    submitted: Vec<(PartitionId, String, Offset)>,
    /// Directory names of the partitions for which the file on disk may have a line.
    named: BTreeSet<String>,
}

fn small_file(claim: Claim) -> SmallFile {
    match claim {
        Claim::HighWatermark => SmallFile::HighWatermarks,
        Claim::RecoveryPoint => SmallFile::RecoveryPoints,
    }
}

impl OffsetCheckpoint {
    pub(super) fn new(claim: Claim) -> OffsetCheckpoint {
        OffsetCheckpoint {
            claim,
            file: AtomicFile::new(DirId::ROOT, small_file(claim)),
            known: BTreeMap::new(),
            written: Bytes::new(),
            submitted: Vec::new(),
            named: BTreeSet::new(),
        }
    }

    /// Loads the content at start. Without the file, high watermarks start at the log's start, and
    /// every segment is checked.
    ///
    /// # Errors
    /// If it is malformed.
    pub(super) fn load(&mut self, bytes: &Bytes) -> Result<(), FormatError> {
        let lines = checkpoint::parse_offsets(small_file(self.claim).name(), bytes)?;
        self.known =
            lines.into_iter().map(|line| ((line.topic, line.partition), line.offset)).collect();
        self.named = self.known.keys().map(|(topic, index)| dir_name(topic, *index)).collect();
        Ok(())
    }

    /// A directory that it names but that is not in `dirs`, which are sorted.
    pub(super) fn names_other_than(&self, dirs: &[String]) -> Option<&str> {
        let mut named = self.named.iter();
        named.find(|name| dirs.binary_search(name).is_err()).map(String::as_str)
    }

    /// The offset it had for a partition at start, or zero if it had no line for it.
    pub(super) fn known(&self, partition: &(String, i32)) -> Offset {
        self.known.get(partition).copied().unwrap_or_default()
    }

    /// Whether the file on disk may have a line for the partition with this directory.
    pub(super) fn may_name(&self, dir: &str) -> bool {
        self.named.contains(dir)
    }
}

/// Both of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Checkpoints {
    pub(super) high_watermarks: OffsetCheckpoint,
    pub(super) recovery_points: OffsetCheckpoint,
    /// The metadata log's recovery point: the largest that was ever checkpointed.
    pub(super) metadata_recovery_point: Offset,
    timer: Monotonic,
}

impl Default for Checkpoints {
    fn default() -> Checkpoints {
        Checkpoints {
            high_watermarks: OffsetCheckpoint::new(Claim::HighWatermark),
            recovery_points: OffsetCheckpoint::new(Claim::RecoveryPoint),
            metadata_recovery_point: Offset::ZERO,
            timer: Monotonic(0),
        }
    }
}

impl Checkpoints {
    pub(super) fn of(&mut self, claim: Claim) -> &mut OffsetCheckpoint {
        match claim {
            Claim::HighWatermark => &mut self.high_watermarks,
            Claim::RecoveryPoint => &mut self.recovery_points,
        }
    }

    /// Whether none is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.high_watermarks.file.is_idle() && self.recovery_points.file.is_idle()
    }

    /// Whether one may have a line for the partition with this directory.
    pub(super) fn may_name(&self, dir: &str) -> bool {
        self.high_watermarks.may_name(dir) || self.recovery_points.may_name(dir)
    }

    /// Forgets what they had at start, which described the logs as they were found.
    pub(super) fn forget_known(&mut self) {
        self.high_watermarks.known.clear();
        self.recovery_points.known.clear();
    }
}

/// High watermarks have notes of their own.
fn note(claim: Claim, partition: TopicPartition, point: Offset, durable: bool, env: &mut dyn Env) {
    if claim == Claim::RecoveryPoint {
        env.note(Note::RecoveryPoint { partition, point, durable });
    }
}

impl Storage {
    pub(super) fn arm_checkpoint(&mut self, config: &NodeConfig, env: &mut dyn Env) {
        let interval = config.checkpoint_interval.min(MARK_EVERY);
        self.checkpoints.timer = env.now().after(interval);
        env.arm(TimerKey::Checkpoint, self.checkpoints.timer);
    }

    /// The checkpoint timer fired. `metadata` is the recovery point of the metadata log.
    pub fn on_checkpoint_timer(
        &mut self,
        deadline: Monotonic,
        metadata: Offset,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        if deadline == self.checkpoints.timer && env.now() >= deadline {
            self.write_checkpoints(metadata, env);
            self.arm_checkpoint(config, env);
        }
    }

    /// The metadata log's recovery point, as far as it was checkpointed.
    pub fn metadata_recovery_point(&self) -> Offset {
        self.checkpoints.metadata_recovery_point
    }

    /// Writes each of the two, if its content changed.
    pub fn write_checkpoints(&mut self, metadata: Offset, env: &mut dyn Env) {
        if self.is_booted() {
            // What was committed stays committed, even if this node knows less just after a start.
            let known = &mut self.checkpoints.metadata_recovery_point;
            *known = metadata.max(*known);
            self.write_checkpoint(Claim::HighWatermark, env);
            self.write_checkpoint(Claim::RecoveryPoint, env);
        }
    }

    pub(super) fn write_checkpoint(&mut self, claim: Claim, env: &mut dyn Env) {
        let mut lines: Vec<_> = self
            .hosted
            .iter()
            .map(|partition| PartitionOffset {
                topic: partition.topic().into(),
                partition: partition.topic_partition().partition,
                offset: partition.claim(claim),
            })
            .collect();
        let metadata = self.checkpoints.metadata_recovery_point;
        if claim == Claim::RecoveryPoint {
            lines.push(PartitionOffset {
                topic: METADATA_TOPIC.into(),
                partition: TopicPartition::METADATA.partition,
                offset: metadata,
            });
        }
        let content = checkpoint::format_offsets(lines.iter());
        let checkpoint = self.checkpoints.of(claim);
        if content == checkpoint.written {
            return;
        }
        checkpoint.file.write(content.clone(), env);
        checkpoint.written = content;
        checkpoint.submitted.clear();
        note(claim, TopicPartition::METADATA, metadata, false, env);
        for partition in self.hosted.iter_mut() {
            let (offset, dir) = (partition.claim(claim), partition.dir_name());
            note(claim, partition.topic_partition(), offset, false, env);
            partition.on_checkpoint_submitted(claim, offset);
            checkpoint.named.insert(dir.clone());
            checkpoint.submitted.push((partition.id(), dir, offset));
        }
    }

    /// This version of a checkpoint is durable.
    pub(super) fn on_checkpoint_durable(
        &mut self,
        claim: Claim,
        version: u64,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
    ) {
        let metadata = self.checkpoints.metadata_recovery_point;
        let checkpoint = self.checkpoints.of(claim);
        if version < checkpoint.file.version() {
            return;
        }
        checkpoint.named = checkpoint.submitted.iter().map(|(_, dir, _)| dir.clone()).collect();
        note(claim, TopicPartition::METADATA, metadata, true, env);
        for (id, _, offset) in &checkpoint.submitted {
            if let Some(partition) = self.hosted.get_mut(*id) {
                note(claim, partition.topic_partition(), *offset, true, env);
                partition.on_checkpoint_durable(claim, *offset, env, replicas);
            }
        }
        self.departures.look();
    }
}
