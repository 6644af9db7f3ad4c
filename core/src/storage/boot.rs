//! Opens the log directory: whose it is, whether the last stop was clean, and which partitions it
//! holds.
//!
//! Order at start: read the identity (`meta.properties`) and the checkpoints, durably remove the
//! clean-shutdown mark, recover the metadata log and all partition logs, register
//! ([`crate::broker::lifecycle`]).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::checkpoint::{self, AtomicFile, AtomicFileEvent};
use crate::config::NodeConfig;
use crate::controller::validate_topic_name;
use crate::env::{Env, FileId, FileKind, SmallFile};
use crate::event::DiskDone;
use crate::replica::claims::Claim;
use crate::replica::{Fact, Partition, parse_dir_name};
use crate::types::{BrokerEpoch, DirId, METADATA_TOPIC, Offset, TopicPartition, Uuid};

use super::{DATA_ADVICE, METADATA_ADVICE, Storage, StorageFact, draw_uuid};

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

/// The files of the root directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Root {
    phase: Phase,
    meta_properties: AtomicFile,
    pub(super) clean_shutdown: AtomicFile,
    boot_file: AtomicFile,
    /// The id of this boot of the machine; `same_boot`: whether the file has the same id.
    boot_id: Uuid,
    same_boot: bool,
    /// Recovery's disk work is done for this many replicas, in order of id.
    recovered: usize,
    to_read: u32,
    identity: Option<checkpoint::MetaProperties>,
    /// The broker epoch that stopped cleanly, if the last stop was clean.
    clean_epoch: Option<BrokerEpoch>,
    dirs: Vec<String>,
    quorum_ready: bool,
    /// The logs of this many partitions, in order of id, are known to be recovered.
    ready: usize,
}

impl Default for Root {
    fn default() -> Root {
        Root {
            phase: Phase::Off,
            meta_properties: AtomicFile::new(DirId::ROOT, SmallFile::MetaProperties),
            clean_shutdown: AtomicFile::new(DirId::ROOT, SmallFile::CleanShutdown),
            boot_file: AtomicFile::new(DirId::ROOT, SmallFile::BootId),
            boot_id: Uuid::ZERO,
            same_boot: false,
            recovered: 0,
            to_read: 0,
            identity: None,
            clean_epoch: None,
            dirs: Vec::new(),
            quorum_ready: false,
            ready: 0,
        }
    }
}

impl Root {
    pub(super) fn clean_epoch(&self) -> Option<BrokerEpoch> {
        self.clean_epoch
    }

    /// Whether a log that is opened now was closed by a clean stop.
    pub(super) fn is_clean(&self) -> bool {
        self.clean_epoch.is_some() && self.phase == Phase::Recovering
    }

    pub(super) fn same_boot(&self) -> bool {
        self.same_boot
    }

    pub(super) fn directory_id(&self) -> Uuid {
        self.identity.as_ref().and_then(|identity| identity.directory_id).unwrap_or(Uuid::ZERO)
    }

    pub(super) fn is_booted(&self) -> bool {
        self.phase == Phase::Done
    }
}

impl Storage {
    /// Begins to open the directory. `boot_id` is the current boot of the machine.
    pub fn start(&mut self, boot_id: Uuid, env: &mut dyn Env) {
        assert!(self.root.phase == Phase::Off, "a node starts once");
        self.root.boot_id = boot_id;
        self.root.phase = Phase::Listing;
        env.open_dir(DirId::ROOT, "");
    }

    pub(super) fn on_root_disk(
        &mut self,
        done: &DiskDone,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
        facts: &mut Vec<StorageFact>,
    ) {
        if let DiskDone::Listed { files, dirs, .. } = done
            && self.root.phase == Phase::Listing
        {
            return self.on_root_listed(files, dirs, config, env, facts);
        }
        if let DiskDone::DirSynced { by: FileKind::CleanShutdown, .. } = done
            && self.root.phase == Phase::Unmarking
        {
            return facts.push(StorageFact::Identified);
        }
        if self.on_departures_disk(done, env) {
            return;
        }
        let root = &mut self.root;
        if let Some(event) = root.meta_properties.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => self.on_identity(&bytes, facts),
                AtomicFileEvent::Durable(_) => {
                    if self.root.phase == Phase::Formatting {
                        self.unmark(env);
                    }
                }
            }
        } else if let Some(event) = root.clean_shutdown.on_disk(done, env) {
            match event {
                AtomicFileEvent::Loaded(bytes) => {
                    // An unreadable mark proves nothing: recover as after a crash.
                    root.clean_epoch = checkpoint::parse_clean_shutdown(&bytes).ok();
                    self.loaded_one(config, env, facts);
                }
                AtomicFileEvent::Durable(_) => facts.push(StorageFact::Marked),
            }
            return;
        } else if let Some(event) = root.boot_file.on_disk(done, env) {
            if let AtomicFileEvent::Loaded(bytes) = event {
                // An unreadable file proves nothing: the machine may have gone down.
                let known = checkpoint::parse_boot_id(&bytes).unwrap_or(Uuid::ZERO);
                root.same_boot = known == root.boot_id && known != Uuid::ZERO;
                self.loaded_one(config, env, facts);
            }
            return;
        } else {
            for claim in [Claim::HighWatermark, Claim::RecoveryPoint] {
                if let Some(event) = self.checkpoints.of(claim).file.on_disk(done, env) {
                    return self.on_checkpoint(claim, event, config, env, replicas, facts);
                }
            }
        }
        if self.root.phase == Phase::Reading && self.root.to_read == 0 {
            self.check_identity(config, env, facts);
        }
    }

    fn on_checkpoint(
        &mut self,
        claim: Claim,
        event: AtomicFileEvent,
        config: &NodeConfig,
        env: &mut dyn Env,
        replicas: &mut Vec<Fact>,
        facts: &mut Vec<StorageFact>,
    ) {
        match event {
            AtomicFileEvent::Loaded(bytes) => {
                match self.checkpoints.of(claim).load(&bytes) {
                    Ok(()) => self.loaded_one(config, env, facts),
                    // The file is replaced atomically, so no crash leaves this.
                    Err(error) => facts.push(StorageFact::Refused(format!(
                        "{error}; restore it from a copy. Without it, recovery may take a damaged \
                         log for a tail torn by a power loss"
                    ))),
                }
            }
            AtomicFileEvent::Durable(version) => {
                self.on_checkpoint_durable(claim, version, env, replicas);
                if self.root.phase == Phase::Lowering && claim == Claim::HighWatermark {
                    self.booted(facts);
                }
            }
        }
    }

    fn on_root_listed(
        &mut self,
        files: &[(FileKind, u64)],
        dirs: &[String],
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<StorageFact>,
    ) {
        let (root, checkpoints) = (&mut self.root, &mut self.checkpoints);
        root.dirs = dirs.to_vec();
        let has = |kind: FileKind| files.iter().any(|(file, _)| *file == kind);
        if !has(FileKind::MetaProperties) {
            if dirs.iter().any(|dir| parse_dir_name(dir).is_some()) {
                return facts.push(refused(
                    "the log directory holds partitions but no meta.properties: restore that file, \
                     or move the data away to start an empty node",
                ));
            }
            if !config.format {
                return facts.push(refused(
                    "the log directory is not formatted: if this node had data there, restore it; \
                     if this is its first start, format the directory",
                ));
            }
            return self.format(config, env);
        }
        root.phase = Phase::Reading;
        root.to_read = 1;
        root.meta_properties.read(env);
        for (file, kind) in [
            (&mut root.clean_shutdown, FileKind::CleanShutdown),
            (&mut root.boot_file, FileKind::BootId),
            (&mut checkpoints.high_watermarks.file, FileKind::HighWatermarks),
            (&mut checkpoints.recovery_points.file, FileKind::RecoveryPoints),
        ] {
            if has(kind) {
                root.to_read += 1;
                file.read(env);
            }
        }
    }

    fn format(&mut self, config: &NodeConfig, env: &mut dyn Env) {
        let identity = checkpoint::MetaProperties {
            cluster_id: config.cluster_id.clone(),
            node: config.node,
            directory_id: Some(draw_uuid(env)),
        };
        let root = &mut self.root;
        root.phase = Phase::Formatting;
        root.meta_properties.write(checkpoint::format_meta_properties(&identity), env);
        root.identity = Some(identity);
    }

    fn on_identity(&mut self, bytes: &Bytes, facts: &mut Vec<StorageFact>) {
        self.root.to_read -= 1;
        match checkpoint::parse_meta_properties(bytes) {
            Ok(identity) => self.root.identity = Some(identity),
            Err(error) => facts.push(refused(&format!("{error}; restore it from a backup"))),
        }
    }

    fn loaded_one(&mut self, config: &NodeConfig, env: &mut dyn Env, facts: &mut Vec<StorageFact>) {
        self.root.to_read -= 1;
        if self.root.to_read == 0 {
            self.check_identity(config, env, facts);
        }
    }

    fn check_identity(
        &mut self,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<StorageFact>,
    ) {
        let Some(identity) = &self.root.identity else { return };
        if identity.node != config.node {
            let (theirs, ours) = (identity.node, config.node);
            facts.push(StorageFact::Refused(format!(
                "meta.properties has node.id {theirs}, but this node is {ours}: the directory \
                 belongs to another node"
            )));
        } else if identity.cluster_id != config.cluster_id {
            let (theirs, ours) = (&identity.cluster_id, &config.cluster_id);
            facts.push(StorageFact::Refused(format!(
                "meta.properties has cluster.id {theirs}, but this cluster is {ours}: the \
                 directory belongs to another cluster"
            )));
        } else if let Some(lost) = self.lost_directory() {
            facts.push(StorageFact::Refused(lost));
        } else {
            self.unmark(env);
        }
    }

    /// A directory that a checkpoint names but that is missing. A departing directory is renamed
    /// only after no checkpoint names it (`super::departures`), so somebody has removed this one.
    fn lost_directory(&self) -> Option<String> {
        let named = [&self.checkpoints.high_watermarks, &self.checkpoints.recovery_points];
        let dirs = &self.root.dirs;
        let lost = named.iter().find_map(|checkpoint| checkpoint.names_other_than(dirs))?;
        let advice = match parse_dir_name(lost) {
            Some((METADATA_TOPIC, _)) => METADATA_ADVICE,
            Some(_) | None => DATA_ADVICE,
        };
        Some(format!("the directory {lost} is missing, but a checkpoint lists it; {advice}"))
    }

    /// Once recovery is done, the file may state that all logs were checked during this boot of the
    /// machine. Only then does a bad byte at the next start prove that something else put it there.
    /// `metadata_recovered`: whether that holds for the metadata log.
    pub fn store_boot_id(&mut self, metadata_recovered: bool, env: &mut dyn Env) {
        let root = &mut self.root;
        if root.same_boot || root.phase != Phase::Done || root.boot_id == Uuid::ZERO {
            return;
        }
        // Recovery that is done stays done, so each log is checked once more than it answers no.
        while let Some(slot) = self.hosted.partitions.get(root.recovered) {
            if slot.as_ref().is_some_and(|partition| !partition.log().is_recovery_done()) {
                return;
            }
            root.recovered += 1;
        }
        if metadata_recovered {
            root.same_boot = true;
            root.boot_file.write(checkpoint::format_boot_id(root.boot_id), env);
        }
    }

    /// Removes the clean-shutdown mark durably before anything can be written that it would
    /// wrongly vouch for (KAFKA-10471).
    fn unmark(&mut self, env: &mut dyn Env) {
        self.root.phase = Phase::Unmarking;
        env.unlink(FileId { dir: DirId::ROOT, kind: FileKind::CleanShutdown });
        env.sync_dir(DirId::ROOT, FileKind::CleanShutdown, 0);
    }

    /// The logs are about to be opened. Returns the recovery point of the metadata log, and whether
    /// the machine has not rebooted since all logs were last recovered.
    pub fn begin_recovery(&mut self) -> (Offset, bool) {
        self.root.phase = Phase::Recovering;
        let metadata = (String::from(METADATA_TOPIC), TopicPartition::METADATA.partition);
        let point = self.checkpoints.recovery_points.known(&metadata);
        self.checkpoints.metadata_recovery_point = point;
        (point, self.root.same_boot)
    }

    /// Opens the replicas, after [`Storage::begin_recovery`].
    pub fn recover(
        &mut self,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<StorageFact>,
    ) {
        for name in core::mem::take(&mut self.root.dirs) {
            if self.finish_removal(&name, env) {
                continue;
            }
            // Any directory with another name is not ours.
            let Some((topic, partition)) = parse_dir_name(&name) else { continue };
            if topic != METADATA_TOPIC && validate_topic_name(topic).is_ok() {
                self.open_partition(topic.into(), partition, None, env);
            }
        }
        self.arm_checkpoint(config, env);
        self.advance_boot(env, facts);
    }

    /// The metadata log and its vote have been read.
    pub fn on_quorum_ready(&mut self, env: &mut dyn Env, facts: &mut Vec<StorageFact>) {
        self.root.quorum_ready = true;
        self.advance_boot(env, facts);
    }

    /// When the last log has been recovered, the node may register.
    pub(super) fn advance_boot(&mut self, env: &mut dyn Env, facts: &mut Vec<StorageFact>) {
        let recovering = self.root.phase == Phase::Recovering && self.openings.is_empty();
        if !recovering {
            return;
        }
        // Logs already seen as ready are not checked again, because this is called once per log.
        let unseen = self.hosted.partitions.iter().skip(self.root.ready);
        let ready = unseen.take_while(|slot| slot.as_ref().is_none_or(|one| one.log().is_ready()));
        self.root.ready += ready.count();
        if self.root.quorum_ready && self.root.ready == self.hosted.partitions.len() {
            if self.hosted.iter().any(Partition::is_overclaimed) {
                self.root.phase = Phase::Lowering;
                self.write_checkpoint(Claim::HighWatermark, env);
            } else {
                self.booted(facts);
            }
        }
    }

    fn booted(&mut self, facts: &mut Vec<StorageFact>) {
        self.root.phase = Phase::Done;
        self.departures.look(); // checkpoints are written from now on
        self.checkpoints.forget_known();
        facts.push(StorageFact::Booted);
    }
}

fn refused(why: &str) -> StorageFact {
    StorageFact::Refused(String::from(why))
}
