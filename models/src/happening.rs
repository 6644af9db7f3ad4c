//! A model's step as data that a simulator of whole clusters can act on.
//!
//! [`crate::Step::action`] describes a step to people. To reproduce a counterexample in a cluster,
//! its steps are needed as data, whichever model they come from. What does not live here: the
//! faults that cause them.

use crate::{alteration, isr, real, recovery, votes};

/// A step that can be reproduced in a cluster. Replicas and voters are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A step that happens by itself unless something prevents it: a sync, an answer, a pre-vote.
    Itself,
    /// The controller begins a leader epoch.
    Elect {
        /// The new leader.
        leader: u8,
        /// Whether the previous leader is fenced and dropped from the ISR.
        fence: bool,
    },
    /// A follower leaves the ISR.
    Drop(u8),
    /// A fenced broker returns.
    Return(u8),
    /// A replica learns of a leader epoch.
    Hear {
        /// The replica.
        replica: u8,
        /// The epoch, from 1.
        epoch: u8,
    },
    /// A leader appends.
    Append(u8),
    /// A follower fetches from its leader.
    Fetch(u8),
    /// A leader's proposal to let a follower into the ISR is accepted.
    Propose {
        /// The leader.
        leader: u8,
        /// The follower; `None` where the preceding fetches determine it.
        follower: Option<u8>,
    },
    /// A leader learns the ISR.
    HearIsr(u8),
    /// A replica loses power, and everything that it had not synced.
    ReplicaPowerLoss(u8),
    /// A voter stands for election.
    Stand(u8),
    /// A voter grants its vote.
    Grant {
        /// The candidate.
        candidate: u8,
        /// The voter.
        voter: u8,
    },
    /// A voter loses power, and everything that it had not synced.
    VoterPowerLoss(u8),
    /// A batch is written to a log.
    Write,
    /// A log acknowledges what it counts as held.
    Acknowledge,
    /// A log's sync fails.
    SyncFails,
    /// A log is cut because it diverges from a new leader's log.
    Cut,
    /// A log's process ends.
    ProcessCrash,
    /// A log's machine loses power.
    LogPowerLoss,
}

/// Actions that map to a [`Happening`].
pub trait Happens {
    /// The step that this action is.
    fn happening(&self) -> Happening;
}

impl Happens for isr::Action {
    fn happening(&self) -> Happening {
        use isr::Action;
        match *self {
            // Only the previous leader is ever dropped.
            Action::Elect { leader, drop } => {
                Happening::Elect { leader, fence: usize::from(drop) < isr::REPLICAS }
            }
            Action::Drop(follower) => Happening::Drop(follower),
            Action::Hear { replica, epoch } => Happening::Hear { replica, epoch },
            Action::Append(leader) => Happening::Append(leader),
            Action::Ask(_) => Happening::Itself,
            Action::Fetch(follower) => Happening::Fetch(follower),
            Action::Expand { leader, follower } => {
                Happening::Propose { leader, follower: Some(follower) }
            }
            Action::HearIsr(leader) => Happening::HearIsr(leader),
            Action::PowerLoss { replica, end: _ } => Happening::ReplicaPowerLoss(replica),
        }
    }
}

impl Happens for alteration::Action {
    fn happening(&self) -> Happening {
        use alteration::Action;
        match *self {
            Action::Append => Happening::Append(alteration::LEADER),
            Action::Fetch(follower) => Happening::Fetch(follower),
            Action::Expand(follower) => {
                Happening::Propose { leader: alteration::LEADER, follower: Some(follower) }
            }
            Action::Return(follower) => Happening::Return(follower),
            Action::Hear => Happening::HearIsr(alteration::LEADER),
            // A follower that is fenced outside the ISR does not leave it.
            Action::Fence(_)
            | Action::Die(_)
            | Action::Shrink(_)
            | Action::Settle
            | Action::Send
            | Action::Execute(_)
            | Action::Lose(_)
            | Action::TimeOut
            | Action::Answered => Happening::Itself,
        }
    }
}

impl Happens for votes::Action {
    fn happening(&self) -> Happening {
        use votes::Action;
        match *self {
            Action::Stand { voter, epoch: _ } => Happening::Stand(voter),
            Action::Vote { candidate, voter, epoch: _ } => Happening::Grant { candidate, voter },
            Action::Crash { voter, end: _ } | Action::VoteUnread { candidate: _, voter } => {
                Happening::VoterPowerLoss(voter)
            }
            Action::PreVote { .. }
            | Action::SyncVote(_)
            | Action::Win { .. }
            | Action::Announce { .. }
            | Action::Hear { .. }
            | Action::Append(_)
            | Action::SyncLog(_)
            | Action::Fetch { .. }
            | Action::Resign(_) => Happening::Itself,
        }
    }
}

impl Happens for recovery::Action {
    fn happening(&self) -> Happening {
        use recovery::Action;
        match *self {
            Action::Append => Happening::Write,
            Action::SyncFails => Happening::SyncFails,
            Action::Acknowledge => Happening::Acknowledge,
            Action::Cut(_) => Happening::Cut,
            Action::ProcessCrash => Happening::ProcessCrash,
            Action::PowerLoss { .. } => Happening::LogPowerLoss,
            Action::Sync | Action::HearSync | Action::Checkpoint(_) | Action::Recover => {
                Happening::Itself
            }
        }
    }
}

impl Happens for real::quorum::Action {
    fn happening(&self) -> Happening {
        use real::quorum::Action;
        match *self {
            Action::Stand(voter) => Happening::Stand(voter),
            Action::PowerLoss(voter) => Happening::VoterPowerLoss(voter),
            Action::Deliver(..) | Action::Durable(_) | Action::Retry(..) | Action::Append(_) => {
                Happening::Itself
            }
        }
    }
}

impl Happens for real::replica::Action {
    fn happening(&self) -> Happening {
        use real::replica::Action;
        match *self {
            Action::Elect { leader, fence } => Happening::Elect { leader, fence },
            Action::Drop(follower) => Happening::Drop(follower),
            Action::Return(replica) => Happening::Return(replica),
            Action::Hear(replica, epoch) => Happening::Hear { replica, epoch },
            Action::Append(leader) => Happening::Append(leader),
            Action::Fetch(follower) => Happening::Fetch(follower),
            Action::Propose(_) | Action::GiveUp(_) => Happening::Itself,
            Action::Execute { leader, .. } => Happening::Propose { leader, follower: None },
            Action::Answered(leader) => Happening::HearIsr(leader),
            Action::Durable(_) => Happening::Itself,
            Action::PowerLoss(replica) => Happening::ReplicaPowerLoss(replica),
        }
    }
}
