//! Opening the log directory: whose it is, whether the last stop was clean, which partitions it
//! holds; and opening each partition, at start as when it is created.
//!
//! Order at start: identity (`meta.properties`), checkpoints, then the clean-shutdown mark is
//! removed durably, then the metadata log and all partition logs are recovered, then the node
//! registers ([`super::lifecycle`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::api::Hosted;
use crate::checkpoint::{self, AtomicFile, AtomicFileEvent, PartitionOffset};
use crate::env::{Env, FileId, FileKind, Random, Site, SmallFile};
use crate::event::{DiskDone, TimerKey};
use crate::log::RecoveryHint;
use crate::replica::{Partition, dir_name, parse_dir_name};
use crate::types::{
    BrokerEpoch, DirId, METADATA_TOPIC, Monotonic, Offset, PartitionId, TopicId, TopicPartition,
    Uuid,
};

use super::{Broker, Status};

/// How far opening the root has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// Nothing asked yet.
    #[default]
    Off,
    /// The root's entries were asked for.
    Listing,
    /// Small files are being read.
    Reading,
    /// A fresh `meta.properties` is being written.
    Formatting,
    /// The clean-shutdown mark is being removed.
    Unmarking,
    /// Logs are being recovered.
    Recovering,
    /// Recovery cut logs below their checkpointed high watermarks; lower ones are being written.
    Lowering,
    /// Everything is open.
    Done,
}

/// A partition directory that is not a [`Partition`] yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Opening {
    topic: String,
    partition: i32,
    /// Known when the partition is being created; read from `partition.metadata` otherwise.
    topic_id: Option<TopicId>,
    file: AtomicFile,
    /// `partition.metadata` is durable, but the recovery-point checkpoint still names the
    /// partition's predecessor.
    held: bool,
}

/// The root directory and the partitions that are being opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Boot {
    phase: Phase,
    meta_properties: AtomicFile,
    clean_shutdown: AtomicFile,
    high_watermarks: AtomicFile,
    recovery_points: AtomicFile,
    to_read: u32,
    identity: Option<checkpoint::MetaProperties>,
    /// The broker epoch that stopped cleanly, if the last stop was clean.
    clean_epoch: Option<BrokerEpoch>,
    known_high_watermarks: BTreeMap<(String, i32), Offset>,
    known_recovery_points: BTreeMap<(String, i32), Offset>,
    /// The metadata log's: the largest that was ever checkpointed.
    metadata_recovery_point: Offset,
    dirs: Vec<String>,
    opening: BTreeMap<PartitionId, Opening>,
    quorum_ready: bool,
    checkpoint_timer: Monotonic,
    /// What the checkpoints said last, so that they are written only when that changed.
    written: (Bytes, Bytes),
    /// The recovery points in what was written last.
    submitted: Vec<(PartitionId, Offset)>,
    /// Partitions, by directory name, that the checkpoint on disk may have a recovery point of.
    vouched: BTreeSet<String>,
}

impl Default for Boot {
    fn default() -> Boot {
        Boot {
            phase: Phase::Off,
            meta_properties: AtomicFile::new(DirId::ROOT, SmallFile::MetaProperties),
            clean_shutdown: AtomicFile::new(DirId::ROOT, SmallFile::CleanShutdown),
            high_watermarks: AtomicFile::new(DirId::ROOT, SmallFile::HighWatermarks),
            recovery_points: AtomicFile::new(DirId::ROOT, SmallFile::RecoveryPoints),
            to_read: 0,
            identity: None,
            clean_epoch: None,
            known_high_watermarks: BTreeMap::new(),
            known_recovery_points: BTreeMap::new(),
            metadata_recovery_point: Offset::ZERO,
            dirs: Vec::new(),
            opening: BTreeMap::new(),
            quorum_ready: false,
            checkpoint_timer: Monotonic(0),
            written: (Bytes::new(), Bytes::new()),
            submitted: Vec::new(),
            vouched: BTreeSet::new(),
        }
    }
}

impl Boot {
    /// The broker epoch of the incarnation that stopped cleanly, or [`BrokerEpoch::NONE`].
    pub fn previous_broker_epoch(&self) -> BrokerEpoch {
        self.clean_epoch.unwrap_or(BrokerEpoch::NONE)
    }

    /// This log directory's id.
    pub fn directory_id(&self) -> Uuid {
        self.identity.as_ref().and_then(|identity| identity.directory_id).unwrap_or(Uuid::ZERO)
    }

    /// Is a replica of this partition being opened or created?
    pub fn is_opening(&self, partition: TopicPartition) -> bool {
        self.opening.values().any(|opening| {
            opening.topic_id == Some(partition.topic) && opening.partition == partition.partition
        })
    }
}

/// A fresh 128-bit id.
pub(super) fn draw_uuid(random: &mut dyn Random) -> Uuid {
    let high = random.draw(Site::Uuid, u64::MAX);
    let low = random.draw(Site::Uuid, u64::MAX);
    Uuid(u128::from(high) << 64 | u128::from(low))
}

impl Broker {
    pub(super) fn start(&mut self, env: &mut dyn Env) {
        assert!(self.boot.phase == Phase::Off, "a node starts once");
        self.boot.phase = Phase::Listing;
        self.lifecycle.set_incarnation(draw_uuid(env));
        env.open_dir(DirId::ROOT, "");
    }

    pub(super) fn on_root_disk(&mut self, done: &DiskDone, env: &mut dyn Env) {
        if let DiskDone::Failed { op, error, .. } = done {
            return self.fail(*op, *error, env);
        }
        if let DiskDone::Listed { files, dirs, .. } = done
            && self.boot.phase == Phase::Listing
        {
            return self.on_root_listed(files, dirs, env);
        }
        if let DiskDone::DirSynced { by: FileKind::CleanShutdown, .. } = done
            && self.boot.phase == Phase::Unmarking
        {
            return self.recover_all(env);
        }
        let boot = &mut self.boot;
        if let Some(event) = boot.meta_properties.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => self.on_identity(&bytes),
                AtomicFileEvent::Durable(_) => {
                    if self.boot.phase == Phase::Formatting {
                        self.unmark(env);
                    }
                }
            }
        } else if let Some(event) = boot.clean_shutdown.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => {
                    // An unreadable mark proves nothing: recover as after a crash.
                    boot.clean_epoch = checkpoint::parse_clean_shutdown(&bytes).ok();
                    self.loaded_one(env);
                }
                AtomicFileEvent::Durable(_) => self.on_clean_mark_durable(env),
            }
            return;
        } else if let Some(event) = boot.high_watermarks.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => {
                    // A hint, never truth: without it high watermarks start at the log's start.
                    boot.known_high_watermarks = known_offsets(SmallFile::HighWatermarks, &bytes);
                    self.loaded_one(env);
                }
                AtomicFileEvent::Durable(_) => {
                    if boot.phase == Phase::Lowering {
                        self.booted(env);
                    }
                }
            }
            return;
        } else if let Some(event) = boot.recovery_points.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => {
                    // A hint, never truth: without it every segment is checked.
                    boot.known_recovery_points = known_offsets(SmallFile::RecoveryPoints, &bytes);
                    let names = boot.known_recovery_points.keys();
                    boot.vouched = names.map(|(topic, index)| dir_name(topic, *index)).collect();
                    self.loaded_one(env);
                }
                AtomicFileEvent::Durable(version) => self.on_recovery_points(version, env),
            }
            return;
        }
        if self.boot.phase == Phase::Reading && self.boot.to_read == 0 {
            self.check_identity(env);
        }
    }

    fn on_root_listed(&mut self, files: &[(FileKind, u64)], dirs: &[String], env: &mut dyn Env) {
        let boot = &mut self.boot;
        boot.dirs = dirs.to_vec();
        let has = |kind: FileKind| files.iter().any(|(file, _)| *file == kind);
        if !has(FileKind::MetaProperties) {
            if dirs.iter().any(|dir| parse_dir_name(dir).is_some()) {
                return self.refuse(String::from(
                    "the log directory holds partitions but no meta.properties: restore that file, \
                     or move the data away to start an empty node",
                ));
            }
            return self.format(env);
        }
        boot.phase = Phase::Reading;
        boot.to_read = 1;
        boot.meta_properties.read(env);
        for (file, kind) in [
            (&mut boot.clean_shutdown, FileKind::CleanShutdown),
            (&mut boot.high_watermarks, FileKind::HighWatermarks),
            (&mut boot.recovery_points, FileKind::RecoveryPoints),
        ] {
            if has(kind) {
                boot.to_read += 1;
                file.read(env);
            }
        }
    }

    fn format(&mut self, env: &mut dyn Env) {
        let identity = checkpoint::MetaProperties {
            cluster_id: self.config.cluster_id.clone(),
            node: self.config.node,
            directory_id: Some(draw_uuid(env)),
        };
        let boot = &mut self.boot;
        boot.phase = Phase::Formatting;
        boot.meta_properties.write(checkpoint::format_meta_properties(&identity), env);
        boot.identity = Some(identity);
    }

    fn on_identity(&mut self, bytes: &Bytes) {
        self.boot.to_read -= 1;
        match checkpoint::parse_meta_properties(bytes) {
            Ok(identity) => self.boot.identity = Some(identity),
            Err(error) => self.refuse(format!("{error}; restore it from a backup")),
        }
    }

    fn loaded_one(&mut self, env: &mut dyn Env) {
        self.boot.to_read -= 1;
        if self.boot.to_read == 0 {
            self.check_identity(env);
        }
    }

    fn check_identity(&mut self, env: &mut dyn Env) {
        let Some(identity) = &self.boot.identity else { return };
        if identity.node != self.config.node {
            let (theirs, ours) = (identity.node, self.config.node);
            self.refuse(format!(
                "meta.properties says node.id {theirs}, but this node is {ours}: it is another \
                 node's directory"
            ));
        } else if identity.cluster_id != self.config.cluster_id {
            let (theirs, ours) = (&identity.cluster_id, &self.config.cluster_id);
            self.refuse(format!(
                "meta.properties says cluster.id {theirs}, but this cluster is {ours}: it is \
                 another cluster's directory"
            ));
        } else {
            self.unmark(env);
        }
    }

    /// Removes the clean-shutdown mark durably before anything can be written that it would
    /// wrongly vouch for (KAFKA-10471).
    fn unmark(&mut self, env: &mut dyn Env) {
        self.boot.phase = Phase::Unmarking;
        env.unlink(FileId { dir: DirId::ROOT, kind: FileKind::CleanShutdown });
        env.sync_dir(DirId::ROOT, FileKind::CleanShutdown, 0);
    }

    fn recover_all(&mut self, env: &mut dyn Env) {
        self.boot.phase = Phase::Recovering;
        let metadata = (String::from(METADATA_TOPIC), TopicPartition::METADATA.partition);
        let recovery_point = self.boot.known_recovery_points.get(&metadata).copied();
        self.boot.metadata_recovery_point = recovery_point.unwrap_or_default();
        self.quorum.start_from(self.boot.metadata_recovery_point, env);
        for name in core::mem::take(&mut self.boot.dirs) {
            let Some((topic, partition)) = parse_dir_name(&name) else { continue };
            if topic != METADATA_TOPIC {
                self.open_partition(topic.into(), partition, None, env);
            }
        }
        self.arm_checkpoint(env);
        self.on_log_recovered(env);
    }

    // ---- partitions ----------------------------------------------------------------------------

    /// Opens a partition's directory, or creates it as a replica of `topic_id`.
    pub(super) fn open_partition(
        &mut self,
        topic: String,
        partition: i32,
        topic_id: Option<TopicId>,
        env: &mut dyn Env,
    ) {
        let count = u32::try_from(self.hosted.partitions.len()).expect("fewer than 2^32 replicas");
        let id = PartitionId(count);
        self.hosted.partitions.push(None);
        let dir = DirId::of_partition(id);
        env.open_dir(dir, &dir_name(&topic, partition));
        let file = AtomicFile::new(dir, SmallFile::PartitionMetadata);
        self.boot.opening.insert(id, Opening { topic, partition, topic_id, file, held: false });
    }

    /// A completion in the directory of a partition that is being opened.
    pub(super) fn on_opening_disk(&mut self, id: PartitionId, done: &DiskDone, env: &mut dyn Env) {
        if let DiskDone::Failed { op, error, .. } = done {
            return self.fail(*op, *error, env);
        }
        // A completion for a partition that was removed meanwhile.
        let Some(opening) = self.boot.opening.get_mut(&id) else { return };
        if let DiskDone::Listed { files, .. } = done {
            let known = files.iter().any(|(kind, _)| *kind == FileKind::PartitionMetadata);
            match (known, opening.topic_id) {
                (true, _) => opening.file.read(env),
                (false, Some(topic_id)) => {
                    opening.file.write(checkpoint::format_partition_metadata(topic_id), env);
                }
                (false, None) if has_records(files) => {
                    let dir = dir_name(&opening.topic, opening.partition);
                    self.refuse(format!(
                        "{dir} holds records but no partition.metadata: restore that file, or \
                         remove the directory to fetch the partition from other replicas"
                    ));
                }
                // Its creation was cut short before anything could be stored in it.
                (false, None) => {
                    self.boot.opening.remove(&id);
                    env.remove_dir(DirId::of_partition(id));
                    self.on_log_recovered(env);
                }
            }
            return;
        }
        match opening.file.on_disk(done, env) {
            None => {}
            Some(AtomicFileEvent::Durable(_)) => self.host_created(id, env),
            Some(AtomicFileEvent::Loaded(bytes)) => {
                match checkpoint::parse_partition_metadata(&bytes) {
                    Ok(topic_id) => {
                        opening.topic_id = Some(topic_id);
                        self.host(id, env);
                    }
                    Err(error) => {
                        let dir = dir_name(&opening.topic, opening.partition);
                        self.refuse(format!(
                            "{dir}/{error}; restore it, or remove that directory to fetch the \
                             partition from other replicas"
                        ));
                    }
                }
            }
        }
    }

    fn host(&mut self, id: PartitionId, env: &mut dyn Env) {
        let Some(opening) = self.boot.opening.remove(&id) else { return };
        let Some(topic_id) = opening.topic_id else { return };
        let key = (opening.topic, opening.partition);
        let recovery = RecoveryHint {
            clean: self.boot.clean_epoch.is_some() && self.boot.phase == Phase::Recovering,
            recovery_point: self.boot.known_recovery_points.get(&key).copied().unwrap_or_default(),
        };
        let high_watermark = self.boot.known_high_watermarks.get(&key).copied().unwrap_or_default();
        let (topic, partition) = key;
        let topic_partition = TopicPartition { topic: topic_id, partition };
        let config = self.topic_config(&topic);
        let hosted = Partition::open(
            id,
            topic_partition,
            topic,
            config,
            &self.config,
            recovery,
            high_watermark,
            env,
        );
        self.hosted.by_name.insert(topic_partition, id);
        self.hosted.partitions[id.0 as usize] = Some(hosted);
    }

    pub(super) fn on_quorum_ready(&mut self, env: &mut dyn Env) {
        self.boot.quorum_ready = true;
        self.on_log_recovered(env);
    }

    /// When the last log has been recovered, the node registers.
    pub(super) fn on_log_recovered(&mut self, env: &mut dyn Env) {
        let all = self.boot.opening.is_empty()
            && self.hosted.iter().all(|partition| partition.log().is_ready());
        if self.boot.phase == Phase::Recovering && self.boot.quorum_ready && all {
            if self.high_watermarks_were_cut() {
                self.boot.phase = Phase::Lowering;
                let (high_watermarks, _) = checkpoints(&self.hosted, Offset::ZERO);
                self.boot.high_watermarks.write(high_watermarks.clone(), env);
                self.boot.written.0 = high_watermarks;
            } else {
                self.booted(env);
            }
        }
    }

    /// Does the checkpoint on disk name a high watermark that recovery found no records for? Once
    /// others are appended in their place, the next start would take those for committed.
    fn high_watermarks_were_cut(&self) -> bool {
        self.hosted.iter().any(|partition| {
            let dir = partition.dir_name();
            parse_dir_name(&dir).is_some_and(|(topic, index)| {
                let known = self.boot.known_high_watermarks.get(&(String::from(topic), index));
                known.is_some_and(|known| *known > partition.high_watermark())
            })
        })
    }

    fn booted(&mut self, env: &mut dyn Env) {
        self.boot.phase = Phase::Done;
        self.status = Status::Running;
        // What the checkpoints said was about the logs as they were found.
        self.boot.known_high_watermarks.clear();
        self.boot.known_recovery_points.clear();
        self.begin_registration(env);
    }

    /// Has everything been opened?
    pub(super) fn is_booted(&self) -> bool {
        self.boot.phase == Phase::Done
    }

    // ---- checkpoints ---------------------------------------------------------------------------

    fn arm_checkpoint(&mut self, env: &mut dyn Env) {
        self.boot.checkpoint_timer = env.now().after(self.config.checkpoint_interval);
        env.arm(TimerKey::Checkpoint, self.boot.checkpoint_timer);
    }

    pub(super) fn on_checkpoint_timer(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if deadline == self.boot.checkpoint_timer && env.now() >= deadline {
            self.write_checkpoints(env);
            self.arm_checkpoint(env);
        }
    }

    /// High watermarks and recovery points, if they changed.
    pub(super) fn write_checkpoints(&mut self, env: &mut dyn Env) {
        if self.boot.phase != Phase::Done {
            return;
        }
        // What was committed stays so, whatever this node knows of it just after a start.
        let metadata = self.boot.metadata_recovery_point.max(self.quorum.recovery_point());
        self.boot.metadata_recovery_point = metadata;
        let (high_watermarks, recovery_points) = checkpoints(&self.hosted, metadata);
        if high_watermarks != self.boot.written.0 {
            self.boot.high_watermarks.write(high_watermarks.clone(), env);
        }
        if recovery_points != self.boot.written.1 {
            self.boot.recovery_points.write(recovery_points.clone(), env);
            self.boot.submitted.clear();
            for partition in self.hosted.iter_mut() {
                let point = partition.recovery_point();
                partition.on_checkpoint_submitted(point);
                self.boot.submitted.push((partition.id(), point));
                self.boot.vouched.insert(partition.dir_name());
            }
        }
        self.boot.written = (high_watermarks, recovery_points);
    }

    /// The recovery points of this version are durable.
    fn on_recovery_points(&mut self, version: u64, env: &mut dyn Env) {
        if version < self.boot.recovery_points.version() {
            return;
        }
        self.boot.vouched.clear();
        for (id, point) in &self.boot.submitted {
            if let Some(partition) = self.hosted.get_mut(*id) {
                self.boot.vouched.insert(partition.dir_name());
                partition.on_checkpoint_durable(*point, env, &mut self.facts);
            }
        }
        let held = self.boot.opening.iter().filter(|(_, opening)| opening.held);
        for id in held.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.host_created(id, env);
        }
    }

    /// A partition's `partition.metadata` is durable. A recovery point that its predecessor of the
    /// same name left in the checkpoint would vouch for what this log never had; so that goes first.
    fn host_created(&mut self, id: PartitionId, env: &mut dyn Env) {
        let Some(opening) = self.boot.opening.get_mut(&id) else { return };
        opening.held = self.boot.vouched.contains(&dir_name(&opening.topic, opening.partition));
        if opening.held {
            self.write_checkpoints(env);
        } else {
            self.host(id, env);
        }
    }

    /// Whether no checkpoint is being written.
    pub(super) fn checkpoints_idle(&self) -> bool {
        self.boot.high_watermarks.is_idle() && self.boot.recovery_points.is_idle()
    }

    /// Marks the stop as clean; everything else must be durable.
    pub(super) fn mark_clean(&mut self, epoch: BrokerEpoch, env: &mut dyn Env) {
        self.boot.clean_shutdown.write(checkpoint::format_clean_shutdown(epoch), env);
    }
}

/// Is there a segment with anything in it?
fn has_records(files: &[(FileKind, u64)]) -> bool {
    files.iter().any(|(kind, length)| matches!(kind, FileKind::Log(_)) && *length > 0)
}

fn known_offsets(file: SmallFile, bytes: &Bytes) -> BTreeMap<(String, i32), Offset> {
    let lines = checkpoint::parse_offsets(file.name(), bytes).unwrap_or_default();
    lines.into_iter().map(|line| ((line.topic, line.partition), line.offset)).collect()
}

fn checkpoints(hosted: &Hosted, metadata: Offset) -> (Bytes, Bytes) {
    let line = |partition: &Partition, offset: Offset| PartitionOffset {
        topic: partition.topic().into(),
        partition: partition.topic_partition().partition,
        offset,
    };
    let high_watermarks: Vec<_> =
        hosted.iter().map(|partition| line(partition, partition.high_watermark())).collect();
    let mut recovery_points: Vec<_> =
        hosted.iter().map(|partition| line(partition, partition.recovery_point())).collect();
    let partition = TopicPartition::METADATA.partition;
    recovery_points.push(PartitionOffset {
        topic: METADATA_TOPIC.into(),
        partition,
        offset: metadata,
    });
    let encode = |lines: &[PartitionOffset]| checkpoint::format_offsets(lines.iter());
    (encode(&high_watermarks), encode(&recovery_points))
}
