//! The in-sync set as its leader knows it: committed by the controller, or with a change on the way,
//! or with copies of changes that nobody answered.
//!
//! Source: KIP-497, Kafka's `PartitionState`. Who may join and when a member falls behind lives in
//! [`super::leader`].
//!
//! # Copies that nobody answered
//!
//! An AlterPartition that timed out, or whose connection broke, or that was sent to a controller that
//! is one no longer, is sent again; its earlier copy may be executed all the same, long after a later
//! copy was *refused* (the member that is to join was fenced then, and is not any more). So a refusal
//! is final for the copy that it answers, and says nothing of the others. Whom they name is
//! *unsettled*, and counts for the high watermark like a member, until no copy can be executed any
//! more: once the partition epoch has moved, since each copy carries the one that it was made for and
//! the controller checks it, as it does the leader epoch.
//!
//! That is enough: a copy travels on one connection and is executed at most once; its answer says
//! that it has been; and without an answer everybody whom it names is counted. What a controller
//! answers in place of an outcome (NOT_CONTROLLER, a timeout) is no answer: what it appended may yet
//! be committed.
//!
//! The wait ends by the leader's doing, also if the unsettled member is dead: once no proposal is out,
//! it asks for the ISR that is committed already ([`IsrState::settlement`]), and the controller commits
//! that, which moves the partition epoch.
//!
//! Apache Kafka has no such rule: `Partition.handleAlterPartitionError` argues that after
//! INELIGIBLE_REPLICA "the request could not have been applied by any past or future controller", and
//! resets to the committed ISR. That holds for the request that was answered. `AlterPartitionManager`
//! sends again after a timeout, too, and there the argument does not speak of the earlier copy.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::types::{BrokerEpoch, NodeId, PartitionEpoch};

/// A proposal to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The wanted ISR, sorted, with the broker epochs under which its members were found fit when it
    /// was proposed (KIP-903). Whoever starts anew before the controller hears of it may lack
    /// what it had, so an epoch that it got since says nothing.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// The AlterPartition request that it was handed to, by that request's number; none if it is
    /// still (or again) to be sent. Only the outcome of this very request says something of it.
    pub sent: Option<u64>,
}

/// At most one change is on its way for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrState {
    committed: Vec<NodeId>,
    partition_epoch: PartitionEpoch,
    proposal: Option<Proposal>,
    /// Not committed, and named by copies of this partition epoch that nobody has answered.
    unsettled: BTreeSet<NodeId>,
}

impl IsrState {
    /// As the controller registered it.
    pub fn committed(mut isr: Vec<NodeId>, partition_epoch: PartitionEpoch) -> IsrState {
        isr.sort_unstable();
        IsrState { committed: isr, partition_epoch, proposal: None, unsettled: BTreeSet::new() }
    }

    /// The committed members, sorted.
    pub fn members(&self) -> &[NodeId] {
        &self.committed
    }

    /// The registration that this is from.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// What the controller was asked for, if anything.
    pub fn proposal(&self) -> Option<&Proposal> {
        self.proposal.as_ref()
    }

    /// Was the proposal handed to this request?
    pub fn is_sent_in(&self, request: u64) -> bool {
        self.proposal.as_ref().is_some_and(|proposal| proposal.sent == Some(request))
    }

    /// Those who are not committed and whom an unanswered copy may yet make members, in order.
    pub fn unsettled(&self) -> impl Iterator<Item = NodeId> {
        self.unsettled.iter().copied()
    }

    /// Everyone who is or may already be in the ISR: a pending expansion counts at once, a pending
    /// shrink only when committed, and whom an unanswered copy names until the partition epoch moves.
    /// The high watermark waits for all of them, because the controller may have accepted the change
    /// and elect by it before we learn (KIP-497).
    pub fn is_maximal_member(&self, node: NodeId) -> bool {
        self.committed.contains(&node)
            || self.unsettled.contains(&node)
            || self
                .proposal
                .as_ref()
                .is_some_and(|proposal| proposal.isr.iter().any(|(member, _)| *member == node))
    }

    /// Asks for another ISR, each member with the broker epoch of its fetches
    /// ([`BrokerEpoch::NONE`] where there was none). There must be no change on the way.
    pub fn propose(&mut self, mut isr: Vec<(NodeId, BrokerEpoch)>) {
        assert!(self.proposal.is_none(), "one ISR change at a time");
        isr.sort_unstable();
        self.proposal = Some(Proposal { isr, sent: None });
    }

    /// The ISR to ask for so that the partition epoch moves, and with it whom unanswered copies name
    /// is settled: the committed one. `None` while a proposal is out, whose outcome may do the same,
    /// or if there is nobody to settle. Its members carry no broker epoch: nobody joins by it, so
    /// that nobody's restart is a reason to refuse it.
    pub fn settlement(&self) -> Option<Vec<(NodeId, BrokerEpoch)>> {
        let wanted = self.proposal.is_none() && !self.unsettled.is_empty();
        wanted.then(|| self.committed.iter().map(|node| (*node, BrokerEpoch::NONE)).collect())
    }

    /// The proposal to put into this request, unless one carries it already.
    pub fn send(&mut self, request: u64) -> Option<&[(NodeId, BrokerEpoch)]> {
        let proposal = self.proposal.as_mut().filter(|proposal| proposal.sent.is_none())?;
        proposal.sent = Some(request);
        Some(&proposal.isr)
    }

    /// The request got no answer: the controller may or may not have taken it, or may take it yet.
    /// The proposal stays and is sent again, and whom it names counts whatever becomes of that.
    pub fn unanswered(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.sent = None;
            let named = proposal.isr.iter().map(|(node, _)| *node);
            self.unsettled.extend(named.filter(|node| !self.committed.contains(node)));
        }
    }

    /// The request was answered, and changed nothing that a repetition cannot: it is to be sent again.
    pub fn retry(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.sent = None;
        }
    }

    /// The controller said that it did not and will not take the copy that it answered.
    pub fn refused(&mut self) {
        self.proposal = None;
    }

    /// Whom unanswered copies name counts no longer. Never right before the partition epoch moves
    /// ([`crate::flaw::Flaw::RefusalIsFinal`]).
    pub fn forget_unsettled(&mut self) {
        self.unsettled.clear();
    }

    /// A newer registration than ours: no copy of before can be executed any more.
    pub fn commit(&mut self, isr: Vec<NodeId>, partition_epoch: PartitionEpoch) {
        assert!(partition_epoch > self.partition_epoch, "registrations do not go back");
        *self = IsrState::committed(isr, partition_epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn at_one(nodes: &[NodeId]) -> Vec<(NodeId, BrokerEpoch)> {
        nodes.iter().map(|node| (*node, BrokerEpoch(1))).collect()
    }

    #[test]
    fn expansion_counts_at_once_and_shrink_only_when_committed() {
        let mut isr = IsrState::committed(vec![A, B], PartitionEpoch(4));
        isr.propose(at_one(&[A, B, C]));
        assert!(isr.is_maximal_member(C));
        assert_eq!(isr.members(), [A, B]);
        isr.send(1);
        isr.refused();
        assert!(!isr.is_maximal_member(C), "its only copy was refused");
        isr.propose(at_one(&[A]));
        assert!(isr.is_maximal_member(B), "a pending shrink does not count yet");
        isr.commit(vec![A], PartitionEpoch(5));
        assert!(!isr.is_maximal_member(B));
    }

    #[test]
    fn a_proposal_without_an_answer_stays_and_is_sent_again() {
        let mut isr = IsrState::committed(vec![A], PartitionEpoch(1));
        isr.propose(at_one(&[A, B]));
        assert!(isr.send(7).is_some());
        assert!(isr.is_sent_in(7) && !isr.is_sent_in(6));
        assert!(isr.send(8).is_none(), "it is in flight");
        isr.unanswered();
        assert!(isr.is_maximal_member(B));
        assert_eq!(isr.send(8), Some(&at_one(&[A, B])[..]));
    }

    #[test]
    fn whom_an_unanswered_copy_names_counts_until_the_partition_epoch_moves() {
        let mut isr = IsrState::committed(vec![A], PartitionEpoch(1));
        isr.propose(at_one(&[A, B]));
        isr.send(1);
        isr.unanswered();
        assert_eq!(isr.settlement(), None, "the proposal is sent again");
        isr.send(2);
        isr.refused();
        assert!(isr.is_maximal_member(B), "the first copy may yet be executed");
        assert_eq!(isr.settlement(), Some(vec![(A, BrokerEpoch::NONE)]));
        // Also while something else is asked for, and whatever becomes of that.
        isr.propose(at_one(&[A, C]));
        assert!(isr.is_maximal_member(B) && isr.is_maximal_member(C));
        isr.send(3);
        isr.refused();
        assert!(isr.is_maximal_member(B) && !isr.is_maximal_member(C));
        assert_eq!(isr.unsettled().collect::<Vec<_>>(), [B]);
        isr.commit(vec![A], PartitionEpoch(2));
        assert!(!isr.is_maximal_member(B));
        assert_eq!(isr.settlement(), None);
    }

    #[test]
    fn a_shrink_without_an_answer_leaves_nobody_to_settle() {
        let mut isr = IsrState::committed(vec![A, B], PartitionEpoch(1));
        isr.propose(at_one(&[A]));
        isr.send(1);
        isr.unanswered();
        isr.refused();
        assert_eq!((isr.unsettled().count(), isr.settlement()), (0, None));
    }
}
