//! The roles of a node in the quorum, what a node knows in each, and which role may follow which.
//! (Kafka's `QuorumState`, with the `EpochState` of each role; KIP-996.)
//!
//! This is data: nothing here sends, stores or arms anything. `transitions` changes roles,
//! `voting`, `leading`, `following` and `serving` have the work of each.
//!
//! | from \ to   | Unattached | Voted | Prospective | Candidate | Leader | Follower | Resigned |
//! |-------------|------------|-------|-------------|-----------|--------|----------|----------|
//! | Unattached  | >          | =     | =           | one voter |        | = >      |          |
//! | Voted       | >          |       | =           |           |        | = >      |          |
//! | Prospective | = >        | =     |             | + 1       |        | = >      |          |
//! | Candidate   | >          |       | =           |           | =      | = >      |          |
//! | Leader      | >          |       |             |           |        | >        | =        |
//! | Follower    | = >        |       | =           |           |        | >        |          |
//! | Resigned    | >          |       | =           | one voter |        | >        |          |
//!
//! `=`: in the same epoch. `>`: into a later epoch that the node heard of. `+ 1`: into the next
//! epoch. `one voter`: the same, if there is nobody to ask. A node that is not a voter is an
//! Observer, with or without a leader, in epochs that it hears of.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset};

/// What a node knows of its epoch: the content of `quorum-state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ballot {
    pub(super) epoch: LeaderEpoch,
    pub(super) voted: Option<NodeId>,
    pub(super) leader: Option<NodeId>,
}

/// A role with its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Knows no leader and has not voted in the epoch.
    Unattached,
    /// Knows no leader and has voted.
    Voted {
        /// The candidate that it voted for.
        candidate: NodeId,
    },
    /// Asks whether it could win, without raising the epoch (KIP-996).
    Prospective(Votes),
    /// Stands for election in the epoch. It counts its own vote, and asks for others, once its vote
    /// is durable.
    Candidate(Votes),
    /// Leads.
    Leader(Leadership),
    /// Follows.
    Follower {
        /// The leader that it follows.
        leader: NodeId,
        /// Whether a fetch has succeeded in this epoch.
        fetched: bool,
    },
    /// Led in this epoch and never will again.
    Resigned {
        /// The nodes that should stand for election, best first.
        successors: Vec<NodeId>,
        /// The voters that have not acknowledged EndQuorumEpoch yet.
        unacknowledged: BTreeSet<NodeId>,
    },
    /// Not a voter.
    Observer {
        /// The leader that it follows, if known.
        leader: Option<NodeId>,
    },
}

/// A role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Knows no leader and has not voted.
    Unattached,
    /// Knows no leader and has voted.
    Voted,
    /// Asks whether it could win.
    Prospective,
    /// Stands.
    Candidate,
    /// Leads.
    Leader,
    /// Follows.
    Follower,
    /// Led in this epoch and no longer does.
    Resigned,
    /// Not a voter.
    Observer,
}

impl Role {
    /// The role of a node that has not started, which knows nothing.
    pub(super) fn initial(is_voter: bool) -> Role {
        if is_voter { Role::Unattached } else { Role::Observer { leader: None } }
    }

    /// The role of a restarted node in the epoch of its ballot. A node that led or stood in that
    /// epoch never leads in it (again): records that it wrote in it may be lost, and the same
    /// offset and epoch would identify other records (KAFKA-10527, K3).
    pub(super) fn restored(ballot: Ballot, node: NodeId, is_voter: bool) -> Role {
        match (ballot.leader, ballot.voted) {
            (leader, _) if !is_voter => Role::Observer { leader },
            (Some(leader), _) if leader != node => Role::Follower { leader, fetched: false },
            (Some(_), _) => {
                Role::Resigned { successors: Vec::new(), unacknowledged: BTreeSet::new() }
            }
            (None, Some(candidate)) => Role::Voted { candidate },
            (None, None) => Role::Unattached,
        }
    }

    /// The role of this node when it knows no leader.
    pub(super) fn without_leader(&self) -> Role {
        Role::initial(self.name() != RoleName::Observer)
    }

    /// The role of this node when it has heard of a leader.
    pub(super) fn with_leader(&self, leader: NodeId) -> Role {
        if self.name() == RoleName::Observer {
            Role::Observer { leader: Some(leader) }
        } else {
            Role::Follower { leader, fetched: false }
        }
    }

    /// The leader that it follows.
    pub(super) fn followed(&self) -> Option<NodeId> {
        match self {
            Role::Follower { leader, .. } => Some(*leader),
            Role::Observer { leader } => *leader,
            Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Leader(_)
            | Role::Resigned { .. } => None,
        }
    }

    /// The leader's state, if this node leads.
    pub(super) fn leadership(&self) -> Option<&Leadership> {
        match self {
            Role::Leader(leadership) => Some(leadership),
            Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Follower { .. }
            | Role::Resigned { .. }
            | Role::Observer { .. } => None,
        }
    }

    pub(super) fn name(&self) -> RoleName {
        match self {
            Role::Unattached => RoleName::Unattached,
            Role::Voted { .. } => RoleName::Voted,
            Role::Prospective(_) => RoleName::Prospective,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
            Role::Follower { .. } => RoleName::Follower,
            Role::Resigned { .. } => RoleName::Resigned,
            Role::Observer { .. } => RoleName::Observer,
        }
    }
}

/// The table above. `epoch` compares the new epoch with the old one.
pub(super) fn allowed(from: RoleName, to: RoleName, epoch: Ordering, single: bool) -> bool {
    use Ordering::{Equal, Greater, Less};
    use RoleName::{
        Candidate, Follower, Leader, Observer, Prospective, Resigned, Unattached, Voted,
    };
    match (from, to, epoch) {
        (_, _, Less) => false,
        (Observer, Observer, _) => true,
        (Observer, _, _) | (_, Observer, _) => false,
        (_, Unattached | Follower, Greater) => true,
        (Prospective | Follower, Unattached, Equal) => true,
        (Unattached | Voted | Prospective | Candidate, Follower, Equal) => true,
        (Unattached | Prospective, Voted, Equal) => true,
        (Unattached | Voted | Candidate | Follower | Resigned, Prospective, Equal) => true,
        (Prospective, Candidate, Greater) => true,
        (Unattached | Resigned, Candidate, Greater) => single,
        (Candidate, Leader, Equal) => true,
        (Leader, Resigned, Equal) => true,
        (_, Unattached | Voted | Prospective | Candidate | Leader | Follower | Resigned, _) => {
            false
        }
    }
}

/// The votes, or pre-votes, for this node in an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Votes {
    granted: BTreeSet<NodeId>,
    rejected: BTreeSet<NodeId>,
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tally {
    /// Neither won nor lost.
    Open,
    /// A majority granted its vote.
    Won,
    /// No majority is possible any more. `now`: the last rejection made it so.
    Lost { now: bool },
}

impl Votes {
    /// Counts a vote of this voter.
    pub(super) fn count(&mut self, voter: NodeId, granted: bool) {
        if granted {
            self.granted.insert(voter);
        } else {
            self.rejected.insert(voter);
        }
    }

    /// Whether this voter has not answered yet.
    pub(super) fn is_open(&self, voter: NodeId) -> bool {
        !self.granted.contains(&voter) && !self.rejected.contains(&voter)
    }

    /// The voters that granted theirs.
    pub(super) fn granted(&self) -> Vec<NodeId> {
        self.granted.iter().copied().collect()
    }

    /// How the election among this many voters stands.
    pub(super) fn tally(&self, voters: usize) -> Tally {
        let majority = majority_of(voters);
        let hopeless = voters - majority + 1;
        if self.granted.len() >= majority {
            Tally::Won
        } else if self.rejected.len() >= hopeless {
            Tally::Lost { now: self.rejected.len() == hopeless }
        } else {
            Tally::Open
        }
    }
}

/// The number of voters that make a majority of these.
pub(super) fn majority_of(voters: usize) -> usize {
    voters / 2 + 1
}

/// A leader's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leadership {
    /// The log's end when the epoch began: the offset of its LeaderChange.
    pub(super) start: Offset,
    /// The other voters.
    followers: BTreeMap<NodeId, Progress>,
    /// Voters that fetched since the CheckQuorum timer was set.
    fetched: BTreeSet<NodeId>,
    /// When it steps down unless a majority fetches (`None` for a single voter).
    pub(super) check_quorum: Option<Monotonic>,
    /// Whether its epoch's first record is committed and the controller has been told.
    pub(super) active: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Progress {
    /// The follower has synced everything below, and agrees with this log there.
    end: Option<Offset>,
    /// The follower knows of this epoch.
    told: bool,
}

impl Leadership {
    /// A leader whose log ends at `start`. `others` are the other voters.
    pub(super) fn new(
        start: Offset,
        others: impl Iterator<Item = NodeId>,
        check_quorum: Option<Monotonic>,
    ) -> Leadership {
        let followers = others.map(|voter| (voter, Progress::default())).collect();
        Leadership { start, followers, fetched: BTreeSet::new(), check_quorum, active: false }
    }

    /// Whether this voter may not know of the epoch yet.
    pub(super) fn must_be_told(&self, peer: NodeId) -> bool {
        self.followers.get(&peer).is_some_and(|progress| !progress.told)
    }

    /// This voter knows of the epoch.
    pub(super) fn told(&mut self, peer: NodeId) {
        if let Some(progress) = self.followers.get_mut(&peer) {
            progress.told = true;
        }
    }

    /// A voter fetched, and has synced everything below `end`, if given. Returns whether a majority
    /// has fetched since this last returned true; `None` if it is no other voter.
    pub(super) fn on_fetch(&mut self, voter: NodeId, end: Option<Offset>) -> Option<bool> {
        let progress = self.followers.get_mut(&voter)?;
        progress.told = true;
        if end.is_some() {
            progress.end = end;
        }
        self.fetched.insert(voter);
        // This node is one of the majority.
        let majority = self.fetched.len() + 1 >= majority_of(self.followers.len() + 1);
        if majority {
            self.fetched.clear();
        }
        Some(majority)
    }

    /// What a majority has synced, if `own` is what this node has. `None` unless that covers a
    /// record of this epoch: a record of an earlier epoch on a majority may still be replaced (Raft
    /// figure 8, KAFKA-12619).
    pub(super) fn agreed(&self, own: Offset) -> Option<Offset> {
        let others = self.followers.values().map(|p| p.end.unwrap_or(Offset::ZERO));
        let mut ends: Vec<Offset> = others.chain([own]).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let agreed = ends[majority_of(ends.len()) - 1];
        (agreed > self.start).then_some(agreed)
    }

    /// The preferred next leaders, the most advanced first.
    pub(super) fn successors(&self) -> Vec<NodeId> {
        let mut successors: Vec<(Option<Offset>, NodeId)> =
            self.followers.iter().map(|(node, progress)| (progress.end, *node)).collect();
        successors.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        successors.into_iter().map(|(_, node)| node).collect()
    }
}
