//! The leader of an epoch has everything that a follower appends in that epoch, as long as it
//! leads.
//!
//! Source: KIP-101, KIP-595 (a replica copies its leader). Reason: if a follower appends an answer
//! from an earlier leader, or to an earlier request, the next fetch usually truncates it again, but
//! not if it is committed meanwhile. So the copy itself is checked.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

/// The role of a process in a partition.
#[derive(Clone, Copy, Debug)]
enum Role {
    Leads(LeaderEpoch),
    Follows(LeaderEpoch),
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct AppendedAsLed {
    roles: BTreeMap<(NodeId, TopicPartition), Role>,
    /// The last leader and its epoch.
    leaders: BTreeMap<TopicPartition, (LeaderEpoch, NodeId)>,
    /// How far each process's copy has been compared. An append reaches the page cache a little
    /// later, so it is compared at the next append.
    compared: BTreeMap<(NodeId, TopicPartition), Offset>,
}

impl AppendedAsLed {
    fn leads(&mut self, node: NodeId, partition: TopicPartition, epoch: LeaderEpoch) {
        self.roles.insert((node, partition), Role::Leads(epoch));
        self.leaders.insert(partition, (epoch, node));
    }

    fn follows(&mut self, node: NodeId, partition: TopicPartition, epoch: LeaderEpoch) {
        self.roles.insert((node, partition), Role::Follows(epoch));
        // This leader is not responsible for what the follower has from earlier epochs.
        self.compared.remove(&(node, partition));
    }

    fn appended(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        first: Offset,
        view: &View<'_>,
    ) -> Result<(), String> {
        let name = || view.name(partition);
        // A quorum observer does not note which leader it follows. Neither does a voter that starts
        // as a follower.
        let silent = partition == TopicPartition::METADATA
            && (!view.ledger.voters().contains(&node)
                || !self.roles.contains_key(&(node, partition)));
        let followed = self.roles.get(&(node, partition));
        if silent && !matches!(followed, Some(Role::Follows(followed)) if *followed == epoch) {
            self.follows(node, partition, epoch);
        }
        match self.roles.get(&(node, partition)) {
            Some(Role::Follows(followed)) if *followed == epoch => {}
            Some(Role::Follows(followed)) => {
                return Err(format!(
                    "{}: node {node} follows in epoch {followed} but appends records that it \
                     fetched in epoch {epoch}",
                    name()
                ));
            }
            Some(Role::Leads(_)) | None => {
                return Err(format!(
                    "{}: node {node} appends fetched records but does not follow",
                    name()
                ));
            }
        }
        let from = self.compared.entry((node, partition)).or_insert(first);
        let Some((led, leader)) = self.leaders.get(&partition) else { return Ok(()) };
        let leads = |role: &Role| matches!(role, Role::Leads(leads) if *leads == epoch);
        if *led != epoch || !self.roles.get(&(*leader, partition)).is_some_and(leads) {
            return Ok(());
        }
        let (ours, theirs) =
            (view.ledger.replica(node, partition), view.ledger.replica(*leader, partition));
        let end = ours.end().min(first.0);
        for batch in ours.between(from.0, end) {
            if !theirs.holds(batch) && !theirs.lost(batch) {
                if view.is_cutting(node, partition) {
                    return Ok(());
                }
                return Err(format!(
                    "{}: node {node} appended {batch} in epoch {epoch}, but its leader {leader} \
                     has no such batch",
                    name()
                ));
            }
        }
        *from = (*from).max(Offset(end));
        Ok(())
    }
}

impl Invariant for AppendedAsLed {
    fn name(&self) -> &'static str {
        "appended-as-led"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let (node, note) = match seen {
            Seen::Note(node, note) => (node, note),
            Seen::Started(node) => {
                self.roles.retain(|(of, _), _| *of != node);
                self.compared.retain(|(of, _), _| *of != node);
                return Ok(());
            }
            Seen::Finding(_) | Seen::Client(_) | Seen::Fault(..) | Seen::OddAnswer(..) => {
                return Ok(());
            }
        };
        match note {
            Note::BecameLeader { partition, epoch, .. } => self.leads(node, *partition, *epoch),
            Note::QuorumLeader { epoch, .. } => self.leads(node, TopicPartition::METADATA, *epoch),
            Note::BecameFollower { partition, epoch, .. } => {
                self.follows(node, *partition, *epoch);
            }
            Note::QuorumFollower { epoch, .. } => {
                self.follows(node, TopicPartition::METADATA, *epoch);
            }
            // A deleted topic may be removed first at its leader or at a follower.
            Note::Departed { partition, .. } => {
                self.roles.remove(&(node, *partition));
            }
            Note::Truncated { partition, to, .. } => {
                if let Some(compared) = self.compared.get_mut(&(node, *partition)) {
                    *compared = (*compared).min(*to);
                }
            }
            Note::FollowerAppended { partition, epoch, first, .. } => {
                return self.appended(node, *partition, *epoch, *first, view);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bench, METADATA};
    use super::*;
    use crate::ledger::fixture;

    const PARTITION: TopicPartition = TopicPartition::METADATA;

    fn appended(epoch: i32, first: i64) -> Note {
        Note::FollowerAppended {
            partition: PARTITION,
            epoch: LeaderEpoch(epoch),
            first: Offset(first),
            end: Offset(first + 1),
            last_epoch: LeaderEpoch(epoch),
        }
    }

    fn leads(epoch: i32) -> Note {
        Note::QuorumLeader { epoch: LeaderEpoch(epoch), start: Offset(0) }
    }

    fn follows(epoch: i32) -> Note {
        Note::QuorumFollower { epoch: LeaderEpoch(epoch), leader: NodeId(1) }
    }

    fn see(
        invariant: &mut AppendedAsLed,
        bench: &Bench,
        node: i32,
        note: &Note,
    ) -> Result<(), String> {
        invariant.see(Seen::Note(NodeId(node), note), &bench.view())
    }

    #[test]
    fn what_was_asked_for_in_another_epoch_is_caught() {
        let (bench, mut invariant) = (Bench::new(), AppendedAsLed::default());
        let mut tell = |node, note: Note| see(&mut invariant, &bench, node, &note);
        assert!(tell(2, follows(3)).is_ok());
        assert!(tell(2, appended(3, 0)).is_ok());
        assert!(tell(2, follows(4)).is_ok());
        assert!(tell(2, appended(3, 1)).unwrap_err().contains("follows in epoch 4 but appends"));
        assert!(tell(2, leads(5)).is_ok());
        assert!(tell(2, appended(5, 1)).unwrap_err().contains("does not follow"));
    }

    #[test]
    fn a_batch_that_the_leader_never_had_is_caught() {
        let (mut bench, mut invariant) = (Bench::new(), AppendedAsLed::default());
        assert!(see(&mut invariant, &bench, 1, &leads(3)).is_ok());
        assert!(see(&mut invariant, &bench, 2, &follows(3)).is_ok());
        bench.append(NodeId(1), 0, 3, 7);
        bench.append(NodeId(2), 0, 3, 7);
        assert!(see(&mut invariant, &bench, 2, &appended(3, 0)).is_ok());
        assert!(see(&mut invariant, &bench, 2, &appended(3, 1)).is_ok());
        bench.append(NodeId(1), 1, 3, 8);
        bench.write(NodeId(2), METADATA, fixture::batch(1, 1, 3, 9));
        let wrong = see(&mut invariant, &bench, 2, &appended(3, 2)).unwrap_err();
        assert!(wrong.contains("its leader 1 has no such batch"), "{wrong}");
        // A deleted topic is removed at one node before the other.
        let (mut bereft, directory) = (invariant.clone(), String::new());
        let departed = Note::Departed { partition: PARTITION, directory, stray: false };
        assert!(see(&mut bereft, &bench, 1, &departed).is_ok());
        assert!(see(&mut bereft, &bench, 2, &appended(3, 2)).is_ok());
        // A node that has moved to another epoch may have truncated it.
        assert!(see(&mut invariant, &bench, 1, &leads(4)).is_ok());
        assert!(see(&mut invariant, &bench, 2, &appended(3, 2)).is_ok());
    }
}
