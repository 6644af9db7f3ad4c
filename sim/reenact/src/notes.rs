//! The core's notes, read from the files that `serve --notes` writes while they are being written,
//! and the current role of each node, derived from them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition};
use wavetank_server::NotedAt;
use wavetank_sim::plan::{PartitionRef, Plan};

use crate::Failure;
use crate::observer::Partition;

/// A file that is still being written.
struct Tail {
    path: PathBuf,
    /// `None` until the process has created it.
    file: Option<File>,
    /// The beginning of an incomplete line.
    rest: Vec<u8>,
}

impl Tail {
    fn read(&mut self, into: &mut Vec<NotedAt>) -> io::Result<()> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut self.rest)?;
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let later = self.rest.split_off(end + 1);
        for line in self.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            into.push(serde_json::from_slice(line)?);
        }
        self.rest = later;
        Ok(())
    }
}

/// All files of a run.
#[derive(Default)]
pub struct Notes {
    tails: Vec<Tail>,
    all: Vec<NotedAt>,
}

impl Notes {
    /// Also reads this file from now on.
    pub fn follow(&mut self, path: PathBuf) {
        self.tails.push(Tail { path, file: None, rest: Vec::new() });
    }

    /// The notes since the last call, in time order as far as they have been read. A note that was
    /// half written when its process was killed is left out.
    ///
    /// # Errors
    /// If a file cannot be read, or a line is no note.
    pub fn read(&mut self) -> Result<Vec<NotedAt>, Failure> {
        let mut new = Vec::new();
        for tail in &mut self.tails {
            let attempted = format!("read notes from {}", tail.path.display());
            tail.read(&mut new).map_err(Failure::to(attempted))?;
        }
        new.sort_by_key(|noted| noted.at);
        self.all.extend(new.iter().cloned());
        Ok(new)
    }

    /// All notes read so far, in time order.
    pub fn all(&mut self) -> &[NotedAt] {
        // Stable, so that the notes of one step stay in their order.
        self.all.sort_by_key(|noted| noted.at);
        &self.all
    }
}

/// A partition's newest registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// The ISR.
    pub isr: Vec<NodeId>,
    epoch: PartitionEpoch,
}

/// Which nodes lead, follow and control, from what controllers noted and the quorum committed. The
/// commit matters: a controller that is cut off keeps deciding changes that nobody commits, with
/// ever higher partition epochs.
#[derive(Debug)]
pub struct Roles {
    topics: Vec<String>,
    voters: Vec<NodeId>,
    ids: BTreeMap<String, TopicId>,
    replicas: BTreeMap<TopicPartition, Vec<NodeId>>,
    registered: BTreeMap<TopicPartition, Registered>,
    /// The quorum's newest leader, and its log end.
    leader: Option<(LeaderEpoch, NodeId, Offset)>,
    /// Leaders' decisions, each with the metadata offset that has to be committed first.
    decided: Vec<(Offset, TopicPartition, Registered)>,
    controller: Option<(LeaderEpoch, NodeId)>,
}

impl Roles {
    /// The roles in a plan's cluster, none of them assigned yet.
    pub fn new(plan: &Plan) -> Roles {
        Roles {
            topics: plan.topics.iter().map(|topic| topic.name.clone()).collect(),
            voters: plan.cluster.controllers.iter().copied().map(NodeId).collect(),
            ids: BTreeMap::new(),
            replicas: BTreeMap::new(),
            registered: BTreeMap::new(),
            leader: None,
            decided: Vec::new(),
            controller: None,
        }
    }

    /// Learns a topic's id and replicas from the nodes' metadata.
    pub fn learn(&mut self, topic: &str, partition: &Partition) {
        self.ids.insert(topic.to_owned(), partition.id.topic);
        self.replicas.insert(partition.id, partition.replicas.clone());
    }

    /// Takes in a node's note.
    pub fn note(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::ControllerActive { epoch } => {
                self.controller = self.controller.max(Some((*epoch, node)));
            }
            Note::QuorumLeader { epoch, start }
                if self.leader.is_none_or(|(newest, ..)| newest < *epoch) =>
            {
                self.leader = Some((*epoch, node, *start));
                // Decisions beyond the new leader's log get truncated everywhere.
                self.decided.retain(|(end, ..)| end <= start);
            }
            Note::LeaderAppended { partition: TopicPartition::METADATA, end, .. } => {
                if let Some((_, leader, log_end)) = &mut self.leader
                    && *leader == node
                {
                    *log_end = *end;
                }
            }
            Note::PartitionChanged { partition, leader, isr, partition_epoch, .. } => {
                // The note of a decision follows the note of its append.
                if let Some((_, by, end)) = self.leader
                    && by == node
                {
                    let (leader, isr, epoch) = (*leader, isr.clone(), *partition_epoch);
                    self.decided.push((end, *partition, Registered { leader, isr, epoch }));
                }
            }
            Note::QuorumCommitted { to, .. } => self.committed(*to),
            _ => {}
        }
    }

    fn committed(&mut self, to: Offset) {
        for (_, partition, new) in self.decided.extract_if(.., |(end, ..)| *end <= to) {
            if self.registered.get(&partition).is_none_or(|old| old.epoch <= new.epoch) {
                self.registered.insert(partition, new);
            }
        }
    }

    /// The active controller of the highest epoch.
    pub fn active_controller(&self) -> Option<NodeId> {
        self.controller.map(|(_, node)| node)
    }

    /// The quorum's voters.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// A partition's registration, by its topic's name.
    pub fn registered(&self, topic: &str, partition: i32) -> Option<&Registered> {
        let topic = *self.ids.get(topic)?;
        self.registered.get(&TopicPartition { topic, partition })
    }

    /// A partition's replicas, by its topic's name.
    pub fn replicas(&self, topic: &str, partition: i32) -> &[NodeId] {
        let id = self.ids.get(topic);
        let replicas =
            id.and_then(|topic| self.replicas.get(&TopicPartition { topic: *topic, partition }));
        replicas.map_or(&[], Vec::as_slice)
    }

    /// Is this the partition that the plan means?
    pub fn is(&self, meant: PartitionRef, known: TopicPartition) -> bool {
        let id = self.topic(meant).and_then(|topic| self.ids.get(topic));
        id == Some(&known.topic) && meant.partition == known.partition
    }

    /// The name of a plan's topic.
    pub fn topic(&self, partition: PartitionRef) -> Option<&str> {
        self.topics.get(partition.topic as usize).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use wavetank_core::types::Uuid;

    fn line(at: u64, node: i32) -> String {
        let note = Note::QuorumFollower { epoch: LeaderEpoch(at as i32), leader: NodeId(3) };
        serde_json::to_string(&NotedAt { at, node: NodeId(node), note }).expect("it is data") + "\n"
    }

    #[test]
    fn lines_are_read_as_they_come_and_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        let mut notes = Notes::default();
        notes.follow(one.clone());
        notes.follow(two.clone());
        assert!(notes.read().expect("no file yet").is_empty());
        let add = |path, text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
            file.write_all(text.as_bytes()).expect("written");
        };
        let (first, half) = (line(5, 1), line(9, 1));
        add(&one, &format!("{first}{}", &half[..10]));
        add(&two, &line(3, 2));
        let at = |read: Vec<NotedAt>| read.iter().map(|noted| noted.at).collect::<Vec<_>>();
        assert_eq!(at(notes.read().expect("lines")), [3, 5]);
        add(&one, &half[10..]);
        add(&two, &line(4, 2));
        assert_eq!(at(notes.read().expect("lines")), [4, 9]);
        assert_eq!(at(notes.all().to_vec()), [3, 4, 5, 9]);
        add(&two, "what is this\n");
        assert!(notes.read().is_err());
    }

    #[test]
    fn the_newest_committed_registration_counts() {
        let plan = wavetank_sim::profile::Profile::First.draw(1);
        let mut roles = Roles::new(&plan);
        let id = TopicPartition { topic: Uuid(9), partition: 0 };
        let topic = plan.topics[0].name.clone();
        roles.learn(&topic, &Partition { id, replicas: vec![NodeId(1), NodeId(2)], end: 0 });
        let changed = |leader: i32, epoch: i32| Note::PartitionChanged {
            partition: id,
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(0),
            isr: vec![NodeId(leader)],
            partition_epoch: PartitionEpoch(epoch),
        };
        let elected = |epoch: i32, start: i64| Note::QuorumLeader {
            epoch: LeaderEpoch(epoch),
            start: Offset(start),
        };
        let appended = |end: i64| Note::LeaderAppended {
            partition: TopicPartition::METADATA,
            epoch: LeaderEpoch(1),
            first: Offset(end - 1),
            end: Offset(end),
        };
        let committed =
            |to: i64| Note::QuorumCommitted { from: Offset(0), to: Offset(to), leader: false };
        let leader = |roles: &Roles| roles.registered(&topic, 0).and_then(|known| known.leader);
        roles.note(NodeId(1), &elected(1, 0));
        roles.note(NodeId(1), &appended(1));
        roles.note(NodeId(1), &changed(1, 4));
        assert_eq!(leader(&roles), None, "nobody has committed it");
        roles.note(NodeId(3), &committed(1));
        assert_eq!(leader(&roles), Some(NodeId(1)));
        // Node 1 is cut off. The next leader has only the first of its three further decisions.
        for (end, to) in [(2, 2), (3, 3), (4, 3)] {
            roles.note(NodeId(1), &appended(end));
            roles.note(NodeId(1), &changed(to, 3 + end as i32));
        }
        roles.note(NodeId(2), &elected(2, 2));
        roles.note(NodeId(1), &appended(5));
        roles.note(NodeId(1), &changed(3, 8));
        roles.note(NodeId(2), &appended(9));
        roles.note(NodeId(2), &changed(1, 6));
        roles.note(NodeId(2), &committed(2));
        assert_eq!(leader(&roles), Some(NodeId(2)));
        roles.note(NodeId(2), &committed(9));
        assert_eq!(leader(&roles), Some(NodeId(1)));
        assert_eq!(roles.registered(&topic, 1), None);
        roles.note(NodeId(3), &Note::ControllerActive { epoch: LeaderEpoch(8) });
        roles.note(NodeId(1), &Note::ControllerActive { epoch: LeaderEpoch(7) });
        assert_eq!(roles.active_controller(), Some(NodeId(3)));
    }
}
