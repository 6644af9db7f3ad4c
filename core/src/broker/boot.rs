//! Opens the log directory: whose it is, whether the last stop was clean, and which partitions it
//! holds. Also opens each partition, both at start and when it is created. The two offset
//! checkpoints are in `super::checkpoints`.
//!
//! Order at start: read the identity (`meta.properties`) and the checkpoints, durably remove the
//! clean-shutdown mark, recover the metadata log and all partition logs, register
//! ([`super::lifecycle`]).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::checkpoint::{self, AtomicFile, AtomicFileEvent};
use crate::controller::validate_topic_name;
use crate::env::{Env, FileId, FileKind, Random, Site, SmallFile};
use crate::event::DiskDone;
use crate::log::{PartitionLog, RecoveryHint};
use crate::replica::claims::Claim;
use crate::replica::{Partition, dir_name, parse_dir_name};
use crate::types::{
    BrokerEpoch, DirId, METADATA_TOPIC, Monotonic, Offset, PartitionId, TopicId, TopicPartition,
    Uuid,
};

use super::checkpoints::OffsetCheckpoint;
use super::departures::{self, Departures, Fate};
use super::{Broker, Status};

/// How far opening the root has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// Not started.
    #[default]
    Off,
    /// The root is being listed.
    Listing,
    /// Small files are being read.
    Reading,
    /// A fresh `meta.properties` is being written.
    Formatting,
    /// The clean-shutdown mark is being removed.
    Unmarking,
    /// Logs are being recovered.
    Recovering,
    /// Recovery cut logs below their checkpointed high watermarks. Lower ones are being written.
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
    /// Whether opening has not begun, because a predecessor still has the directory's name.
    waits: bool,
}

/// The root directory and the partitions that are being opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Boot {
    phase: Phase,
    meta_properties: AtomicFile,
    clean_shutdown: AtomicFile,
    boot_file: AtomicFile,
    /// The id of this boot of the machine; `same_boot`: whether the file has the same id.
    boot_id: Uuid,
    same_boot: bool,
    /// Recovery's disk work is done for this many replicas, in order of id.
    recovered: usize,
    pub(super) high_watermarks: OffsetCheckpoint,
    pub(super) recovery_points: OffsetCheckpoint,
    to_read: u32,
    identity: Option<checkpoint::MetaProperties>,
    /// The broker epoch that stopped cleanly, if the last stop was clean.
    clean_epoch: Option<BrokerEpoch>,
    /// The metadata log's recovery point: the largest that was ever checkpointed.
    pub(super) metadata_recovery_point: Offset,
    dirs: Vec<String>,
    opening: BTreeMap<PartitionId, Opening>,
    pub(super) departures: Departures,
    quorum_ready: bool,
    /// The logs of this many partitions, in order of id, are known to be recovered.
    ready: usize,
    pub(super) checkpoint_timer: Monotonic,
}

impl Default for Boot {
    fn default() -> Boot {
        Boot {
            phase: Phase::Off,
            meta_properties: AtomicFile::new(DirId::ROOT, SmallFile::MetaProperties),
            clean_shutdown: AtomicFile::new(DirId::ROOT, SmallFile::CleanShutdown),
            boot_file: AtomicFile::new(DirId::ROOT, SmallFile::BootId),
            boot_id: Uuid::ZERO,
            same_boot: false,
            recovered: 0,
            high_watermarks: OffsetCheckpoint::new(Claim::HighWatermark),
            recovery_points: OffsetCheckpoint::new(Claim::RecoveryPoint),
            to_read: 0,
            identity: None,
            clean_epoch: None,
            metadata_recovery_point: Offset::ZERO,
            dirs: Vec::new(),
            opening: BTreeMap::new(),
            departures: Departures::default(),
            quorum_ready: false,
            ready: 0,
            checkpoint_timer: Monotonic(0),
        }
    }
}

impl Boot {
    pub(super) fn checkpoint(&mut self, claim: Claim) -> &mut OffsetCheckpoint {
        match claim {
            Claim::HighWatermark => &mut self.high_watermarks,
            Claim::RecoveryPoint => &mut self.recovery_points,
        }
    }

    /// The broker epoch of the incarnation that stopped cleanly, or [`BrokerEpoch::NONE`].
    pub fn previous_broker_epoch(&self) -> BrokerEpoch {
        self.clean_epoch.unwrap_or(BrokerEpoch::NONE)
    }

    /// This log directory's id.
    pub fn directory_id(&self) -> Uuid {
        self.identity.as_ref().and_then(|identity| identity.directory_id).unwrap_or(Uuid::ZERO)
    }

    /// Whether a replica of this partition is being opened or created.
    pub fn is_opening(&self, partition: TopicPartition) -> bool {
        self.opening.values().any(|opening| {
            opening.topic_id == Some(partition.topic) && opening.partition == partition.partition
        })
    }

    /// Whether no partition is being opened or created.
    pub(super) fn is_none_opening(&self) -> bool {
        self.opening.is_empty()
    }

    /// The partitions that are being created.
    pub(super) fn creating(&self) -> impl Iterator<Item = (PartitionId, TopicPartition)> + '_ {
        self.opening.iter().filter_map(|(id, opening)| {
            let topic = opening.topic_id?;
            Some((*id, TopicPartition { topic, partition: opening.partition }))
        })
    }

    /// Gives up on a partition that is being created. Returns the name of its directory, if it has
    /// one.
    pub(super) fn give_up(&mut self, id: PartitionId) -> Option<String> {
        let opening = self.opening.remove(&id)?;
        (!opening.waits).then(|| dir_name(&opening.topic, opening.partition))
    }
}

/// A fresh 128-bit id.
pub(super) fn draw_uuid(random: &mut dyn Random) -> Uuid {
    let high = random.draw(Site::Uuid, u64::MAX);
    let low = random.draw(Site::Uuid, u64::MAX);
    Uuid(u128::from(high) << 64 | u128::from(low))
}

impl Broker {
    pub(super) fn start(&mut self, boot_id: Uuid, env: &mut dyn Env) {
        assert!(self.boot.phase == Phase::Off, "a node starts once");
        self.boot.boot_id = boot_id;
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
        if let DiskDone::DirSynced { by: departures::ROOT_SYNC, serial, .. } = done {
            return self.on_departures_durable(*serial, env);
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
        } else if let Some(event) = boot.boot_file.on_disk(done, env) {
            if let AtomicFileEvent::Loaded(bytes) = event {
                // An unreadable file proves nothing: the machine may have gone down.
                let known = checkpoint::parse_boot_id(&bytes).unwrap_or(Uuid::ZERO);
                boot.same_boot = known == boot.boot_id && known != Uuid::ZERO;
                self.loaded_one(env);
            }
            return;
        } else if let Some(event) = boot.high_watermarks.file.on_disk(done, env) {
            return self.on_checkpoint(Claim::HighWatermark, event, env);
        } else if let Some(event) = boot.recovery_points.file.on_disk(done, env) {
            return self.on_checkpoint(Claim::RecoveryPoint, event, env);
        }
        if self.boot.phase == Phase::Reading && self.boot.to_read == 0 {
            self.check_identity(env);
        }
    }

    fn on_checkpoint(&mut self, claim: Claim, event: AtomicFileEvent, env: &mut dyn Env) {
        match event {
            AtomicFileEvent::Loaded(bytes) => {
                match self.boot.checkpoint(claim).load(&bytes) {
                    Ok(()) => self.loaded_one(env),
                    // The file is replaced atomically, so no crash leaves this.
                    Err(error) => self.refuse(format!(
                        "{error}; restore it from a copy. Without it, recovery may take a damaged \
                         log for a tail torn by a power loss"
                    )),
                }
            }
            AtomicFileEvent::Durable(version) => {
                self.on_checkpoint_durable(claim, version, env);
                if self.boot.phase == Phase::Lowering && claim == Claim::HighWatermark {
                    self.booted(env);
                }
            }
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
            if !self.config.format {
                return self.refuse(String::from(
                    "the log directory is not formatted: if this node had data there, restore it; \
                     if this is its first start, format the directory",
                ));
            }
            return self.format(env);
        }
        boot.phase = Phase::Reading;
        boot.to_read = 1;
        boot.meta_properties.read(env);
        for (file, kind) in [
            (&mut boot.clean_shutdown, FileKind::CleanShutdown),
            (&mut boot.boot_file, FileKind::BootId),
            (&mut boot.high_watermarks.file, FileKind::HighWatermarks),
            (&mut boot.recovery_points.file, FileKind::RecoveryPoints),
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
                "meta.properties has node.id {theirs}, but this node is {ours}: the directory \
                 belongs to another node"
            ));
        } else if identity.cluster_id != self.config.cluster_id {
            let (theirs, ours) = (&identity.cluster_id, &self.config.cluster_id);
            self.refuse(format!(
                "meta.properties has cluster.id {theirs}, but this cluster is {ours}: the \
                 directory belongs to another cluster"
            ));
        } else if let Some(lost) = self.lost_directory() {
            self.refuse(lost);
        } else {
            self.unmark(env);
        }
    }

    /// A directory that a checkpoint names but that is missing. A departing directory is renamed
    /// only after no checkpoint names it (`super::departures`), so somebody has removed this one.
    fn lost_directory(&self) -> Option<String> {
        let boot = &self.boot;
        let named = [&boot.high_watermarks, &boot.recovery_points];
        let lost = named.iter().find_map(|checkpoint| checkpoint.names_other_than(&boot.dirs))?;
        let advice = match parse_dir_name(lost) {
            Some((METADATA_TOPIC, _)) => super::METADATA_ADVICE,
            Some(_) | None => super::DATA_ADVICE,
        };
        Some(format!("the directory {lost} is missing, but a checkpoint lists it; {advice}"))
    }

    /// Once recovery is done, the file may state that all logs were checked during this boot of the
    /// machine. Only then does a bad byte at the next start prove that something else put it there.
    pub(super) fn store_boot_id(&mut self, env: &mut dyn Env) {
        let boot = &mut self.boot;
        if boot.same_boot || boot.phase != Phase::Done || boot.boot_id == Uuid::ZERO {
            return;
        }
        // Recovery that is done stays done, so each log is checked once more than it answers no.
        while let Some(slot) = self.hosted.partitions.get(boot.recovered) {
            if slot.as_ref().is_some_and(|partition| !partition.log().is_recovery_done()) {
                return;
            }
            boot.recovered += 1;
        }
        if self.quorum.log().is_some_and(PartitionLog::is_recovery_done) {
            boot.same_boot = true;
            boot.boot_file.write(checkpoint::format_boot_id(boot.boot_id), env);
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
        self.boot.metadata_recovery_point = self.boot.recovery_points.known(&metadata);
        self.quorum.start_from(self.boot.metadata_recovery_point, self.boot.same_boot, env);
        for name in core::mem::take(&mut self.boot.dirs) {
            if departures::is_deleted(&name) {
                self.finish_removal(&name, env);
                continue;
            }
            // Any directory with another name is not ours.
            let Some((topic, partition)) = parse_dir_name(&name) else { continue };
            if topic != METADATA_TOPIC && validate_topic_name(topic).is_ok() {
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
        let id = self.hosted.next_id();
        let dir = DirId::of_partition(id);
        let name = dir_name(&topic, partition);
        let waits = self.boot.departures.holds(&name);
        if waits {
            self.boot.departures.waits(name, id);
        } else {
            env.open_dir(dir, &name);
        }
        let file = AtomicFile::new(dir, SmallFile::PartitionMetadata);
        self.boot.opening.insert(id, Opening { topic, partition, topic_id, file, waits });
    }

    /// The name of a directory is free. The partition that waits for it takes it, unless it was
    /// given up meanwhile.
    pub(super) fn open_waiting(&mut self, id: PartitionId, name: &str, env: &mut dyn Env) {
        if let Some(opening) = self.boot.opening.get_mut(&id) {
            opening.waits = false;
            env.open_dir(DirId::of_partition(id), name);
        }
    }

    /// A completion in the directory of a partition that is being opened.
    pub(super) fn on_opening_disk(&mut self, id: PartitionId, done: &DiskDone, env: &mut dyn Env) {
        if let DiskDone::Failed { op, error, .. } = done {
            return self.fail(*op, *error, env);
        }
        if let DiskDone::DirRenamed { .. } = done {
            return self.on_departed(id, env);
        }
        // The partition may have been removed meanwhile.
        let Some(opening) = self.boot.opening.get_mut(&id) else { return };
        if let DiskDone::Listed { files, strangers, .. } = done {
            let known = files.iter().any(|(kind, _)| *kind == FileKind::PartitionMetadata);
            match (known, opening.topic_id) {
                (true, _) => opening.file.read(env),
                (false, Some(topic_id)) => {
                    let content = checkpoint::format_partition_metadata(topic_id);
                    opening.file.write(content, env);
                }
                (false, None) if has_records(files) => {
                    let dir = dir_name(&opening.topic, opening.partition);
                    self.refuse(format!(
                        "{dir} holds records but no partition.metadata; {}",
                        super::DATA_ADVICE
                    ));
                }
                // It holds somebody else's files and none of our records, so it is not a replica.
                (false, None) if *strangers > 0 => {
                    self.boot.give_up(id);
                    self.on_log_recovered(env);
                }
                // Its creation was interrupted before anything could be stored in it.
                (false, None) => {
                    let partition = opening.partition;
                    let nobody = TopicPartition { topic: Uuid::ZERO, partition };
                    if let Some(name) = self.boot.give_up(id) {
                        self.depart(id, nobody, name, Fate::Removed, env);
                    }
                    self.on_log_recovered(env);
                }
            }
            return;
        }
        match opening.file.on_disk(done, env) {
            None => {}
            Some(AtomicFileEvent::Durable(_)) => self.host(id, env),
            Some(AtomicFileEvent::Loaded(bytes)) => {
                let dir = dir_name(&opening.topic, opening.partition);
                match checkpoint::parse_partition_metadata(&bytes) {
                    Ok(found) if opening.topic_id.is_some_and(|ours| ours != found) => {
                        self.refuse(format!(
                            "{dir} was created for a new topic, but its partition.metadata has \
                             topic id {found}: another program writes to this log directory"
                        ));
                    }
                    Ok(topic_id) => {
                        opening.topic_id = Some(topic_id);
                        self.host(id, env);
                    }
                    Err(error) => {
                        self.refuse(format!("{dir}/{error}; {}", super::DATA_ADVICE));
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
            same_boot: self.boot.same_boot,
            recovery_point: self.boot.recovery_points.known(&key),
        };
        let high_watermark = self.boot.high_watermarks.known(&key);
        let (topic, partition) = key;
        let topic_partition = TopicPartition { topic: topic_id, partition };
        let twin =
            self.hosted.by_name.get(&topic_partition).and_then(|twin| self.hosted.get(*twin));
        if let Some(twin) = twin.map(Partition::dir_name) {
            // Somebody made a copy. Nothing here shows which of the two has all records.
            return self.refuse(format!(
                "{twin} and {} both are partition {partition} of topic {topic_id}, according to \
                 their partition.metadata: move the copy out of the log directory",
                dir_name(&topic, partition)
            ));
        }
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
        let recovering = self.boot.phase == Phase::Recovering && self.boot.opening.is_empty();
        if !recovering {
            return;
        }
        // Logs already seen as ready are not checked again, because this is called once per log.
        let unseen = self.hosted.partitions.iter().skip(self.boot.ready);
        let ready = unseen.take_while(|slot| slot.as_ref().is_none_or(|one| one.log().is_ready()));
        self.boot.ready += ready.count();
        if self.boot.quorum_ready && self.boot.ready == self.hosted.partitions.len() {
            if self.hosted.iter().any(Partition::is_overclaimed) {
                self.boot.phase = Phase::Lowering;
                self.write_checkpoint(Claim::HighWatermark, env);
            } else {
                self.booted(env);
            }
        }
    }

    fn booted(&mut self, env: &mut dyn Env) {
        self.boot.phase = Phase::Done;
        self.look_at_departures(); // checkpoints are written from now on
        self.status = Status::Running;
        // The loaded checkpoints described the logs as they were found.
        self.boot.high_watermarks.forget_known();
        self.boot.recovery_points.forget_known();
        self.begin_registration(env);
    }

    /// Whether everything has been opened.
    pub(super) fn is_booted(&self) -> bool {
        self.boot.phase == Phase::Done
    }

    /// Marks the stop as clean; everything else must be durable.
    pub(super) fn mark_clean(&mut self, epoch: BrokerEpoch, env: &mut dyn Env) {
        self.boot.clean_shutdown.write(checkpoint::format_clean_shutdown(epoch), env);
    }
}

/// Whether there is a segment that is not empty.
fn has_records(files: &[(FileKind, u64)]) -> bool {
    files.iter().any(|(kind, length)| matches!(kind, FileKind::Log(_)) && *length > 0)
}
