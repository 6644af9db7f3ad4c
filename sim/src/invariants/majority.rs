//! A majority voted for each quorum leader, in its own epoch. Before a node stands for election, a
//! majority has granted it pre-votes.
//!
//! Source: Raft (Ongaro and Ousterhout 2014), section 5.2; KIP-595; for standing, KIP-996
//! (pre-vote). Reason: two majorities share a voter, and a voter votes once per epoch. If a node
//! counts an answer from another epoch, a refusal, or the same voter twice, an epoch will
//! eventually have two leaders, but most storms are over before that. So the count itself is
//! checked: a vote counts from when its voter sent it, and the candidate's own from when it is
//! stored.

use super::{Invariant, Kind, Seen, View};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId};

type Votes = BTreeMap<(LeaderEpoch, NodeId), BTreeSet<NodeId>>;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Majority {
    /// The voters, by epoch and candidate.
    votes: Votes,
    /// The nodes that granted a pre-vote, by the epoch of the request and the candidate.
    pre_votes: Votes,
    /// The epoch in which a node asks for pre-votes.
    prospects: BTreeMap<NodeId, LeaderEpoch>,
}

impl Majority {
    fn stands(&self, node: NodeId, epoch: LeaderEpoch, view: &View<'_>) -> Result<(), String> {
        if view.ledger.voters() == [node] {
            // There is no other voter to ask.
            return Ok(());
        }
        let Some(asked_in) = self.prospects.get(&node) else {
            return Err(format!(
                "node {node} is a candidate in epoch {epoch} and never asked for pre-votes"
            ));
        };
        let others = self.pre_votes.get(&(*asked_in, node));
        majority(others, Some(node), view).map_err(|count| {
            format!(
                "node {node} is a candidate in epoch {epoch}, but only {count} granted it a \
                 pre-vote in epoch {asked_in}"
            )
        })
    }
}

/// Are these a majority of the voters? If not, returns how many they are.
fn majority(
    of: Option<&BTreeSet<NodeId>>,
    with: Option<NodeId>,
    view: &View<'_>,
) -> Result<(), usize> {
    let voters = view.ledger.voters();
    let mut count = of.map_or(0, |of| of.iter().filter(|node| voters.contains(node)).count());
    if let Some(node) = with
        && of.is_none_or(|of| !of.contains(&node))
    {
        count += usize::from(voters.contains(&node));
    }
    if count > voters.len() / 2 { Ok(()) } else { Err(count) }
}

impl Invariant for Majority {
    fn name(&self) -> &'static str {
        "elected-by-majority"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Note(node, note) = seen else { return Ok(()) };
        match note {
            Note::QuorumVoteAnswered { epoch, candidate } => {
                self.votes.entry((*epoch, *candidate)).or_default().insert(node);
            }
            Note::QuorumStored { epoch, voted: Some(candidate) } if *candidate == node => {
                self.votes.entry((*epoch, node)).or_default().insert(node);
            }
            Note::QuorumPreVoted { epoch, candidate } => {
                self.pre_votes.entry((*epoch, *candidate)).or_default().insert(node);
            }
            Note::QuorumCandidate { epoch, pre_vote: true } => {
                self.prospects.insert(node, *epoch);
            }
            Note::QuorumCandidate { epoch, pre_vote: false } => {
                return self.stands(node, *epoch, view);
            }
            Note::QuorumLeader { epoch, .. } => {
                return majority(self.votes.get(&(*epoch, node)), None, view).map_err(|count| {
                    format!("node {node} leads epoch {epoch}, but only {count} voted for it")
                });
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::Offset;

    const CANDIDATE: NodeId = NodeId(1);

    fn epoch(epoch: i32) -> LeaderEpoch {
        LeaderEpoch(epoch)
    }

    #[test]
    fn a_leader_without_votes_of_its_epoch_is_caught() {
        let (bench, mut invariant) = (Bench::new(), Majority::default());
        let mut see =
            |node: i32, note: Note| invariant.see(Seen::Note(NodeId(node), &note), &bench.view());
        let votes = |of| Note::QuorumVoteAnswered { epoch: epoch(of), candidate: CANDIDATE };
        let leads = |of| Note::QuorumLeader { epoch: epoch(of), start: Offset(0) };
        let stored = Note::QuorumStored { epoch: epoch(3), voted: Some(CANDIDATE) };
        assert!(see(2, votes(2)).is_ok());
        assert!(see(3, Note::QuorumStored { epoch: epoch(3), voted: Some(NodeId(2)) }).is_ok());
        assert!(see(1, stored).is_ok());
        assert!(see(1, leads(3)).unwrap_err().contains("leads epoch 3, but only 1 voted for it"));
        assert!(see(2, votes(3)).is_ok());
        assert_eq!(see(1, leads(3)), Ok(()));
    }

    #[test]
    fn who_stands_without_having_been_told_to_is_caught() {
        let (bench, mut invariant) = (Bench::new(), Majority::default());
        let mut see =
            |node: i32, note: Note| invariant.see(Seen::Note(NodeId(node), &note), &bench.view());
        let stands = |of, pre_vote| Note::QuorumCandidate { epoch: epoch(of), pre_vote };
        assert!(see(1, stands(3, false)).unwrap_err().contains("never asked"));
        assert!(see(1, stands(2, true)).is_ok());
        let would = |of| Note::QuorumPreVoted { epoch: epoch(of), candidate: CANDIDATE };
        assert!(see(2, would(1)).is_ok());
        assert!(
            see(1, stands(3, false))
                .unwrap_err()
                .contains("only 1 granted it a pre-vote in epoch 2")
        );
        assert!(see(2, would(2)).is_ok());
        assert_eq!(see(1, stands(3, false)), Ok(()));
    }
}
