//! Replicas that leave this node: what becomes of their directories.
//!
//! To remove a directory takes many steps, and whatever ends the process on the way leaves some of
//! the files. So it goes as in Kafka: the directory is renamed to `<topic>-<partition>.<uuid>-delete`,
//! that is made durable, and only then its files go; at start, what has such a name goes. Before the
//! new name come the checkpoints: once they name the replica no more, durably, a directory that
//! they do name and that is not there was lost.
//!
//! **What was not deleted is kept.** A directory that the metadata do not know, or know as another
//! node's, when this node first reads them is renamed to `...-stray` and never touched again: the
//! metadata may be what is wrong. Where the committed log says that the topic was deleted, it was.
//!
//! When a replica leaves is decided in [`super::topology`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::env::{Env, FileKind};
use crate::note::Note;
use crate::types::{DirId, PartitionId, TopicId, TopicPartition};

use super::Broker;
use super::boot::draw_uuid;

/// Whose syncs of the root these are; no file of that kind is there.
pub(super) const ROOT_SYNC: FileKind = FileKind::PartitionMetadata;

/// The longest name that file systems take, in bytes.
const NAME_MAX: usize = 255;

const DELETED: &str = "-delete";
const STRAY: &str = "-stray";

/// What becomes of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fate {
    /// Its replica was deleted, or is another node's now: it is removed.
    Removed,
    /// Nobody knows it: people may look at it.
    Stray,
}

impl Fate {
    fn suffix(self) -> &'static str {
        match self {
            Fate::Removed => DELETED,
            Fate::Stray => STRAY,
        }
    }
}

/// Is this the name that a deleted replica's directory is given before its files go? Only such a
/// directory is removed at start; the suffix alone may be somebody else's.
pub(super) fn is_deleted(name: &str) -> bool {
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
    /// It has its new name, which a sync of the root makes durable.
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

/// All that are leaving.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Departures {
    leaving: BTreeMap<PartitionId, Departure>,
    /// The names that those have which were not renamed yet.
    named: BTreeSet<String>,
    /// Who takes such a name when it is free; may have been given up since.
    waiting: BTreeMap<String, PartitionId>,
    /// Some may have come a stage further.
    look: bool,
    /// Those that were renamed since the sync that is under way began.
    renamed: Vec<PartitionId>,
    /// Those that the sync under way makes durable.
    syncing: Vec<PartitionId>,
    /// The last sync of the root that was asked for.
    serial: u32,
    /// Topics that the committed log deletes, until the metadata are first acted upon. They were
    /// deleted, though at that time nothing else tells them from what was never known.
    deleted: BTreeSet<TopicId>,
}

impl Departures {
    /// Has a directory that is leaving still this name?
    pub(super) fn holds(&self, name: &str) -> bool {
        self.named.contains(name)
    }

    /// This partition takes the name when it is free.
    pub(super) fn waits(&mut self, name: String, id: PartitionId) {
        self.waiting.insert(name, id);
    }

    /// Is none on its way?
    pub(super) fn is_idle(&self) -> bool {
        self.leaving.is_empty()
    }

    /// The committed log deletes this topic.
    pub(super) fn topic_deleted(&mut self, topic: TopicId) {
        self.deleted.insert(topic);
    }

    /// What is to become of a replica that the metadata do not know when they are first read.
    pub(super) fn fate_at_start(&self, topic: TopicId) -> Fate {
        if self.deleted.contains(&topic) { Fate::Removed } else { Fate::Stray }
    }

    /// The metadata have been acted upon: from here on what they lose was deleted.
    pub(super) fn metadata_read(&mut self) {
        self.deleted.clear();
    }
}

/// The name of a directory that leaves: Kafka's, with a part that is not used twice.
fn departed_name(name: &str, fate: Fate, unique: u128) -> String {
    let suffix = format!(".{unique:032x}{}", fate.suffix());
    // Topics have names of ASCII.
    let kept = name.len().min(NAME_MAX - suffix.len());
    format!("{}{suffix}", name.get(..kept).unwrap_or_default())
}

impl Broker {
    /// This directory is no replica's any more. Nothing else is asked of it from here on.
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
        let departures = &mut self.boot.departures;
        departures.named.insert(name.clone());
        let departure = Departure { name, directory, fate, stage: Stage::Named };
        departures.leaving.insert(id, departure);
        departures.look = true;
    }

    /// The checkpoints say something else than before.
    pub(super) fn look_at_departures(&mut self) {
        self.boot.departures.look = true;
    }

    /// Renames those that no checkpoint names any more; has the checkpoints written anew for the
    /// others. That is done once for all that leave meanwhile: a checkpoint has a line for each replica.
    pub(super) fn advance_departures(&mut self, env: &mut dyn Env) {
        if !core::mem::take(&mut self.boot.departures.look) {
            return;
        }
        let boot = &mut self.boot;
        let mut waits = false;
        for (id, departure) in &mut boot.departures.leaving {
            if departure.stage != Stage::Named {
                continue;
            }
            let named = [&boot.high_watermarks, &boot.recovery_points];
            if named.into_iter().any(|checkpoint| checkpoint.may_name(&departure.name)) {
                waits = true;
                continue;
            }
            env.rename_dir(DirId::of_partition(*id), &departure.directory);
            departure.stage = Stage::Renaming;
        }
        if waits && self.checkpoints_idle() {
            self.write_checkpoints(env);
        }
    }

    /// A directory has its new name.
    pub(super) fn on_departed(&mut self, id: PartitionId, env: &mut dyn Env) {
        let departures = &mut self.boot.departures;
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

    /// One sync of the root serves all that were renamed before it.
    fn sync_departed(&mut self, env: &mut dyn Env) {
        let departures = &mut self.boot.departures;
        if !departures.syncing.is_empty() || departures.renamed.is_empty() {
            return;
        }
        departures.syncing = core::mem::take(&mut departures.renamed);
        departures.serial += 1;
        env.sync_dir(DirId::ROOT, ROOT_SYNC, departures.serial);
    }

    /// The root was synced: what was renamed before stays so, and may be removed.
    pub(super) fn on_departures_durable(&mut self, serial: u32, env: &mut dyn Env) {
        let departures = &mut self.boot.departures;
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

    /// A removal that an earlier incarnation began. Its name is durable: the root was synced since.
    pub(super) fn finish_removal(&mut self, name: &str, env: &mut dyn Env) {
        let dir = DirId::of_partition(self.hosted.next_id());
        env.open_dir(dir, name);
        env.remove_dir(dir);
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
        // A topic may be called so, but its directory is not.
        assert!(!is_deleted("a-delete-0"));
        // Nor is what people call so.
        assert!(!is_deleted("notes-delete") && !is_deleted("t-0.0123-delete"));
        let longest = format!("{}-{}", "t".repeat(249), i32::MAX);
        assert_eq!(departed_name(&longest, Fate::Removed, unique).len(), NAME_MAX);
    }
}
