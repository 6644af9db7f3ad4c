//! The checkpoints of high watermarks and of recovery points: which lines they have on disk, or may
//! have, and when they are written. What a line means for its log is in [`crate::replica::claims`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::checkpoint::{self, AtomicFile, PartitionOffset};
use crate::env::{Env, SmallFile};
use crate::event::TimerKey;
use crate::note::Note;
use crate::replica::claims::Claim;
use crate::replica::dir_name;
use crate::types::{DirId, METADATA_TOPIC, Monotonic, Offset, PartitionId, TopicPartition};

use super::Broker;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OffsetCheckpoint {
    claim: Claim,
    pub(super) file: AtomicFile,
    /// What it said at start.
    known: BTreeMap<(String, i32), Offset>,
    /// What it says, so that it is written only when that changes.
    written: Bytes,
    /// The lines in what was written last, by partition and its directory's name.
    submitted: Vec<(PartitionId, String, Offset)>,
    /// Partitions, by directory name, that the file on disk may have a line of.
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

    /// Takes what it says at start. A hint, never truth: without it high watermarks start at the
    /// log's start, and every segment is checked.
    pub(super) fn load(&mut self, bytes: &Bytes) {
        let name = small_file(self.claim).name();
        let lines = checkpoint::parse_offsets(name, bytes).unwrap_or_default();
        self.known =
            lines.into_iter().map(|line| ((line.topic, line.partition), line.offset)).collect();
        self.named = self.known.keys().map(|(topic, index)| dir_name(topic, *index)).collect();
    }

    /// What it said of a partition at start; zero where it said nothing.
    pub(super) fn known(&self, partition: &(String, i32)) -> Offset {
        self.known.get(partition).copied().unwrap_or_default()
    }

    /// What it said at start was about the logs as they were found.
    pub(super) fn forget_known(&mut self) {
        self.known.clear();
    }

    /// Whether the file on disk may have a line of the partition with this directory.
    pub(super) fn may_name(&self, dir: &str) -> bool {
        self.named.contains(dir)
    }
}

/// High watermarks have notes of their own.
fn note(claim: Claim, partition: TopicPartition, point: Offset, durable: bool, env: &mut dyn Env) {
    if claim == Claim::RecoveryPoint {
        env.note(Note::RecoveryPoint { partition, point, durable });
    }
}

impl Broker {
    pub(super) fn arm_checkpoint(&mut self, env: &mut dyn Env) {
        self.boot.checkpoint_timer = env.now().after(self.config.checkpoint_interval);
        env.arm(TimerKey::Checkpoint, self.boot.checkpoint_timer);
    }

    pub(super) fn on_checkpoint_timer(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if deadline == self.boot.checkpoint_timer && env.now() >= deadline {
            self.write_checkpoints(env);
            self.arm_checkpoint(env);
        }
    }

    /// Writes both, if what they say changed.
    pub(super) fn write_checkpoints(&mut self, env: &mut dyn Env) {
        if self.is_booted() {
            // What was committed stays so, whatever this node knows of it just after a start.
            let metadata = self.boot.metadata_recovery_point.max(self.quorum.recovery_point());
            self.boot.metadata_recovery_point = metadata;
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
        let metadata = self.boot.metadata_recovery_point;
        if claim == Claim::RecoveryPoint {
            lines.push(PartitionOffset {
                topic: METADATA_TOPIC.into(),
                partition: TopicPartition::METADATA.partition,
                offset: metadata,
            });
        }
        let content = checkpoint::format_offsets(lines.iter());
        let checkpoint = self.boot.checkpoint(claim);
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
    pub(super) fn on_checkpoint_durable(&mut self, claim: Claim, version: u64, env: &mut dyn Env) {
        let metadata = self.boot.metadata_recovery_point;
        let checkpoint = self.boot.checkpoint(claim);
        if version < checkpoint.file.version() {
            return;
        }
        checkpoint.named = checkpoint.submitted.iter().map(|(_, dir, _)| dir.clone()).collect();
        note(claim, TopicPartition::METADATA, metadata, true, env);
        for (id, _, offset) in &checkpoint.submitted {
            if let Some(partition) = self.hosted.get_mut(*id) {
                note(claim, partition.topic_partition(), *offset, true, env);
                partition.on_checkpoint_durable(claim, *offset, env, &mut self.facts);
            }
        }
        self.look_at_departures();
    }

    /// Whether no checkpoint is being written.
    pub(super) fn checkpoints_idle(&self) -> bool {
        self.boot.high_watermarks.file.is_idle() && self.boot.recovery_points.file.is_idle()
    }
}
