//! The directories of replicas that are being opened, at start, or created.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::checkpoint::{self, AtomicFile, AtomicFileEvent};
use crate::config::NodeConfig;
use crate::env::{Env, FileKind, SmallFile};
use crate::event::DiskDone;
use crate::log::RecoveryHint;
use crate::metadata::MetadataImage;
use crate::replica::{Partition, dir_name};
use crate::types::{DirId, PartitionId, TopicId, TopicPartition, Uuid};

use super::{DATA_ADVICE, Fate, Storage, StorageFact, topic_config};

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

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Openings {
    opening: BTreeMap<PartitionId, Opening>,
}

impl Openings {
    /// Whether a replica of this partition is being opened or created.
    pub(super) fn has(&self, partition: TopicPartition) -> bool {
        self.opening.values().any(|opening| {
            opening.topic_id == Some(partition.topic) && opening.partition == partition.partition
        })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
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

impl Storage {
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
        let waits = self.departures.holds(&name);
        if waits {
            self.departures.waits(name, id);
        } else {
            env.open_dir(dir, &name);
        }
        let file = AtomicFile::new(dir, SmallFile::PartitionMetadata);
        self.openings.opening.insert(id, Opening { topic, partition, topic_id, file, waits });
    }

    /// The name of a directory is free. The partition that waits for it takes it, unless it was
    /// given up meanwhile.
    pub(super) fn open_waiting(&mut self, id: PartitionId, name: &str, env: &mut dyn Env) {
        if let Some(opening) = self.openings.opening.get_mut(&id) {
            opening.waits = false;
            env.open_dir(DirId::of_partition(id), name);
        }
    }

    /// A completion in the directory of a partition that is being opened.
    pub(super) fn on_opening_disk(
        &mut self,
        id: PartitionId,
        done: &DiskDone,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<StorageFact>,
    ) {
        // The partition may have been removed meanwhile.
        let Some(opening) = self.openings.opening.get_mut(&id) else { return };
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
                    facts.push(StorageFact::Refused(format!(
                        "{dir} holds records but no partition.metadata; {}",
                        DATA_ADVICE
                    )));
                }
                // It holds somebody else's files and none of our records, so it is not a replica.
                (false, None) if *strangers > 0 => {
                    self.openings.give_up(id);
                    self.advance_boot(env, facts);
                }
                // Its creation was interrupted before anything could be stored in it.
                (false, None) => {
                    let partition = opening.partition;
                    let nobody = TopicPartition { topic: Uuid::ZERO, partition };
                    if let Some(name) = self.openings.give_up(id) {
                        self.depart(id, nobody, name, Fate::Removed, env);
                    }
                    self.advance_boot(env, facts);
                }
            }
            return;
        }
        match opening.file.on_disk(done, env) {
            None => {}
            Some(AtomicFileEvent::Durable(_)) => self.host(id, image, config, env, facts),
            Some(AtomicFileEvent::Loaded(bytes)) => {
                let dir = dir_name(&opening.topic, opening.partition);
                match checkpoint::parse_partition_metadata(&bytes) {
                    Ok(found) if opening.topic_id.is_some_and(|ours| ours != found) => {
                        facts.push(StorageFact::Refused(format!(
                            "{dir} was created for a new topic, but its partition.metadata has \
                             topic id {found}: another program writes to this log directory"
                        )));
                    }
                    Ok(topic_id) => {
                        opening.topic_id = Some(topic_id);
                        self.host(id, image, config, env, facts);
                    }
                    Err(error) => {
                        facts.push(StorageFact::Refused(format!("{dir}/{error}; {DATA_ADVICE}")));
                    }
                }
            }
        }
    }

    fn host(
        &mut self,
        id: PartitionId,
        image: &MetadataImage,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<StorageFact>,
    ) {
        let Some(opening) = self.openings.opening.remove(&id) else { return };
        let Some(topic_id) = opening.topic_id else { return };
        let key = (opening.topic, opening.partition);
        let recovery = RecoveryHint {
            clean: self.root.is_clean(),
            same_boot: self.root.same_boot(),
            recovery_point: self.checkpoints.recovery_points.known(&key),
        };
        let high_watermark = self.checkpoints.high_watermarks.known(&key);
        let (topic, partition) = key;
        let topic_partition = TopicPartition { topic: topic_id, partition };
        let twin =
            self.hosted.by_name.get(&topic_partition).and_then(|twin| self.hosted.get(*twin));
        if let Some(twin) = twin.map(Partition::dir_name) {
            // Somebody made a copy. Nothing here shows which of the two has all records.
            return facts.push(StorageFact::Refused(format!(
                "{twin} and {} both are partition {partition} of topic {topic_id}, according to \
                 their partition.metadata: move the copy out of the log directory",
                dir_name(&topic, partition)
            )));
        }
        let topic_config = topic_config(&topic, image, config);
        let hosted = Partition::open(
            id,
            topic_partition,
            topic,
            topic_config,
            config,
            recovery,
            high_watermark,
            env,
        );
        self.hosted.by_name.insert(topic_partition, id);
        self.hosted.partitions[id.0 as usize] = Some(hosted);
    }
}

/// Whether there is a segment that is not empty.
fn has_records(files: &[(FileKind, u64)]) -> bool {
    files.iter().any(|(kind, length)| matches!(kind, FileKind::Log(_)) && *length > 0)
}
