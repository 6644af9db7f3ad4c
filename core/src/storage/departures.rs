//! What happens to the directories of replicas that leave this node.
//!
//! Removing a directory takes many steps, and a crash on the way leaves some of the files. So, as
//! in Kafka, the directory is renamed to `<topic>-<partition>.<uuid>-delete`, the rename is made
//! durable, and only then are the files removed. At start, directories with such names are removed.
//! A directory is renamed only once the checkpoints durably no longer name the replica. Therefore a
//! missing directory that a checkpoint names was lost.
//!
//! **What was not deleted is kept.** If a directory is unknown to the metadata, or another node's,
//! when this node first reads the metadata, it is renamed to `...-stray` and never touched again:
//! the metadata may be what is wrong. If the committed log says that the topic was deleted, it was.
//!
//! [`super::following`] decides when a replica leaves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::env::{Env, FileKind};
use crate::event::DiskDone;
use crate::note::Note;
use crate::types::{DirId, Offset, PartitionId, TopicId, TopicPartition};

use super::{Fate, Storage, draw_uuid};

/// Tags the syncs of the root that are requested here. The root has no file of that kind.
const ROOT_SYNC: FileKind = FileKind::PartitionMetadata;

/// The longest file name that file systems accept, in bytes.
const NAME_MAX: usize = 255;

const DELETED: &str = "-delete";
const STRAY: &str = "-stray";

impl Fate {
    fn suffix(self) -> &'static str {
        match self {
            Fate::Removed => DELETED,
            Fate::Stray => STRAY,
        }
    }
}

/// Whether this is the name that a deleted replica's directory gets before its files are removed.
/// Only a directory of this name is removed at start; the suffix alone may be somebody else's.
fn is_deleted(name: &str) -> bool {
    let Some(replica) = name.strip_suffix(DELETED) else { return false };
    let Some((_, unique)) = replica.rsplit_once('.') else { return false };
    unique.len() == 32 && unique.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    /// A checkpoint may still name it.
    Named,
    /// The rename was submitted.
    Renaming,
    /// It has its new name. A sync of the root makes that durable.
    Renamed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Departure {
    /// The directory's name until it is renamed.
    name: String,
    /// Its new name.
    directory: String,
    fate: Fate,
    stage: Stage,
}

/// All departing directories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Departures {
    leaving: BTreeMap<PartitionId, Departure>,
    /// The names of those that have not been renamed yet.
    named: BTreeSet<String>,
    /// The partition that takes such a name once it is free. It may have been given up since.
    waiting: BTreeMap<String, PartitionId>,
    /// Whether some may be able to advance a stage.
    to_look: bool,
    /// Those renamed since the sync in flight began.
    renamed: Vec<PartitionId>,
    /// Those that the sync in flight makes durable.
    syncing: Vec<PartitionId>,
    /// The serial number of the last requested sync of the root.
    serial: u32,
    /// Topics that the committed log deletes, kept until the metadata is first acted upon. Until
    /// then, nothing else distinguishes a deleted topic from one that was never known.
    deleted: BTreeSet<TopicId>,
}

impl Departures {
    /// Whether a departing directory still has this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.named.contains(name)
    }

    /// Reserves the name for this partition once it is free.
    pub(super) fn waits(&mut self, name: String, id: PartitionId) {
        self.waiting.insert(name, id);
    }

    /// Whether no directory is departing.
    pub(super) fn is_idle(&self) -> bool {
        self.leaving.is_empty()
    }

    /// The checkpoints have changed.
    pub(super) fn look(&mut self) {
        self.to_look = true;
    }

    /// The committed log deletes this topic.
    pub(super) fn topic_deleted(&mut self, topic: TopicId) {
        self.deleted.insert(topic);
    }

    /// The fate of a replica that the metadata does not know when it is first read.
    pub(super) fn fate_at_start(&self, topic: TopicId) -> Fate {
        if self.deleted.contains(&topic) { Fate::Removed } else { Fate::Stray }
    }

    /// The metadata has been acted upon. What disappears from it from now on was deleted.
    pub(super) fn metadata_read(&mut self) {
        self.deleted.clear();
    }
}

/// The new name of a departing directory: Kafka's scheme, with a part that is never reused.
fn departed_name(name: &str, fate: Fate, unique: u128) -> String {
    let suffix = format!(".{unique:032x}{}", fate.suffix());
    // Topic names are ASCII.
    let kept = name.len().min(NAME_MAX - suffix.len());
    format!("{}{suffix}", name.get(..kept).unwrap_or_default())
}

impl Storage {
    /// This directory no longer belongs to a replica. No other request for it follows.
    pub(super) fn depart(
        &mut self,
        id: PartitionId,
        partition: TopicPartition,
        name: String,
        fate: Fate,
        env: &mut dyn Env,
    ) {
        let directory = departed_name(&name, fate, draw_uuid(env).0);
        let stray = fate == Fate::Stray;
        env.note(Note::Departed { partition, directory: directory.clone(), stray });
        let departures = &mut self.departures;
        departures.named.insert(name.clone());
        let departure = Departure { name, directory, fate, stage: Stage::Named };
        departures.leaving.insert(id, departure);
        departures.to_look = true;
    }

    /// Renames the directories that no checkpoint names any more, and rewrites the checkpoints for
    /// the others. One rewrite serves all that leave meanwhile, because a checkpoint has a line for
    /// each replica.
    ///
    /// `metadata` is the recovery point of the metadata log.
    pub fn advance_departures(&mut self, metadata: Offset, env: &mut dyn Env) {
        if !core::mem::take(&mut self.departures.to_look) {
            return;
        }
        let mut waits = false;
        for (id, departure) in &mut self.departures.leaving {
            if departure.stage != Stage::Named {
                continue;
            }
            if self.checkpoints.may_name(&departure.name) {
                waits = true;
                continue;
            }
            env.rename_dir(DirId::of_partition(*id), &departure.directory);
            departure.stage = Stage::Renaming;
        }
        if waits && self.checkpoints.is_idle() {
            self.write_checkpoints(metadata, env);
        }
    }

    /// A directory has its new name.
    pub(super) fn on_departed(&mut self, id: PartitionId, env: &mut dyn Env) {
        let departures = &mut self.departures;
        let Some(departure) = departures.leaving.get_mut(&id) else { return };
        departure.stage = Stage::Renamed;
        let name = core::mem::take(&mut departure.name);
        departures.named.remove(&name);
        departures.renamed.push(id);
        if let Some(waiting) = departures.waiting.remove(&name) {
            self.open_waiting(waiting, &name, env);
        }
        self.sync_departed(env);
    }

    /// Starts a sync of the root. One sync serves all that were renamed before it.
    fn sync_departed(&mut self, env: &mut dyn Env) {
        let departures = &mut self.departures;
        if !departures.syncing.is_empty() || departures.renamed.is_empty() {
            return;
        }
        departures.syncing = core::mem::take(&mut departures.renamed);
        departures.serial += 1;
        env.sync_dir(DirId::ROOT, ROOT_SYNC, departures.serial);
    }

    /// Whether this completion in the root is of a sync that was requested here.
    pub(super) fn on_departures_disk(&mut self, done: &DiskDone, env: &mut dyn Env) -> bool {
        let DiskDone::DirSynced { by: ROOT_SYNC, serial, .. } = done else { return false };
        self.on_departures_durable(*serial, env);
        true
    }

    /// The root was synced: earlier renames are durable, and the directories may be removed.
    fn on_departures_durable(&mut self, serial: u32, env: &mut dyn Env) {
        let departures = &mut self.departures;
        if serial != departures.serial {
            return;
        }
        let mut durable = core::mem::take(&mut departures.syncing);
        durable.sort_unstable();
        for id in durable {
            let gone = departures.leaving.remove(&id);
            if gone.is_some_and(|departure| departure.fate == Fate::Removed) {
                env.remove_dir(DirId::of_partition(id));
            }
        }
        self.sync_departed(env);
    }

    /// Finishes a removal that an earlier incarnation began, if this is such a directory, which it
    /// returns. The rename is durable: the root was synced since.
    pub(super) fn finish_removal(&mut self, name: &str, env: &mut dyn Env) -> bool {
        if !is_deleted(name) {
            return false;
        }
        let dir = DirId::of_partition(self.hosted.next_id());
        env.open_dir(dir, name);
        env.remove_dir(dir);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let unique = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        let name = departed_name("t-0", Fate::Removed, unique);
        assert_eq!(name, "t-0.0123456789abcdef0123456789abcdef-delete");
        assert!(is_deleted(&name) && crate::replica::parse_dir_name(&name).is_none());
        let stray = departed_name("t-0", Fate::Stray, unique);
        assert_eq!(stray, "t-0.0123456789abcdef0123456789abcdef-stray");
        assert!(!is_deleted(&stray) && crate::replica::parse_dir_name(&stray).is_none());
        // A topic may have such a name, but its directory does not.
        assert!(!is_deleted("a-delete-0"));
        // People may use the suffix, too.
        assert!(!is_deleted("notes-delete") && !is_deleted("t-0.0123-delete"));
        let longest = format!("{}-{}", "t".repeat(249), i32::MAX);
        assert_eq!(departed_name(&longest, Fate::Removed, unique).len(), NAME_MAX);
    }
}
