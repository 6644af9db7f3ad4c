//! The in-sync set as its leader knows it: committed by the controller, with a change in flight, or
//! with unanswered copies of changes.
//!
//! Source: KIP-497, Kafka's `PartitionState`. [`super::leader`] decides who may join and when a
//! member has fallen behind.
//!
//! # Unanswered copies
//!
//! An AlterPartition is sent again if it timed out, if its connection broke, or if its receiver is
//! no longer the controller. The earlier copy may still be executed, long after a later copy was
//! *refused* (the joining member was fenced then, and no longer is). So a refusal is final for the
//! copy that it answers, and says nothing about the others. The nodes that those name are
//! *unsettled*, and count for the high watermark like members until no copy can be executed any
//! more. That is the case once the partition epoch has moved: each copy carries the partition epoch
//! that it was made for, and the controller checks it, as it checks the leader epoch.
//!
//! That is enough. A copy travels on one connection and is executed at most once; its answer says
//! that it has been executed; and without an answer every node that it names counts. An error that
//! a controller returns in place of an outcome (NOT_CONTROLLER, a timeout) is no answer: the
//! records that it appended may yet be committed.
//!
//! The leader ends the wait itself, even if the unsettled node is dead. Once no proposal is
//! pending, it proposes the ISR that is already committed ([`IsrState::settlement`]). The
//! controller commits it, which moves the partition epoch.
//!
//! Apache Kafka has no such rule: `Partition.handleAlterPartitionError` argues that after
//! INELIGIBLE_REPLICA "the request could not have been applied by any past or future controller",
//! and resets to the committed ISR. That holds for the request that was answered. But
//! `AlterPartitionManager` also sends again after a timeout, and the argument does not cover the
//! earlier copy.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::types::{BrokerEpoch, NodeId, PartitionEpoch};

/// A proposal to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The proposed ISR, sorted, with the broker epochs under which its members were eligible when
    /// it was proposed (KIP-903). A member that restarts before the controller receives the
    /// proposal may have lost records, so a broker epoch that it got since proves nothing.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// The number of the AlterPartition request that carries it; `None` if it is still (or again)
    /// to be sent. Only the outcome of that request counts for it.
    pub sent: Option<u64>,
}

/// The in-sync set of a partition, with at most one change in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrState {
    committed: Vec<NodeId>,
    partition_epoch: PartitionEpoch,
    proposal: Option<Proposal>,
    /// Nodes that are not committed but named by unanswered copies of this partition epoch.
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

    /// The partition epoch of the registration that this comes from.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// The pending proposal, if any.
    pub fn proposal(&self) -> Option<&Proposal> {
        self.proposal.as_ref()
    }

    /// Whether the proposal was sent in this request.
    pub fn is_sent_in(&self, request: u64) -> bool {
        self.proposal.as_ref().is_some_and(|proposal| proposal.sent == Some(request))
    }

    /// The nodes that are not committed and that an unanswered copy may yet make members, in order.
    pub fn unsettled(&self) -> impl Iterator<Item = NodeId> {
        self.unsettled.iter().copied()
    }

    /// Whether the node is or may already be in the ISR. A pending expansion counts at once, a
    /// pending shrink only when committed, and a node named by an unanswered copy counts until the
    /// partition epoch moves. The high watermark waits for all of them, because the controller may
    /// have accepted the change and may elect by it before we learn of it (KIP-497).
    pub fn is_maximal_member(&self, node: NodeId) -> bool {
        self.committed.contains(&node)
            || self.unsettled.contains(&node)
            || self
                .proposal
                .as_ref()
                .is_some_and(|proposal| proposal.isr.iter().any(|(member, _)| *member == node))
    }

    /// Proposes another ISR, each member with the broker epoch of its fetches
    /// ([`BrokerEpoch::NONE`] if there was none). No change may be in flight.
    pub fn propose(&mut self, mut isr: Vec<(NodeId, BrokerEpoch)>) {
        assert!(self.proposal.is_none(), "one ISR change at a time");
        isr.sort_unstable();
        self.proposal = Some(Proposal { isr, sent: None });
    }

    /// The ISR to propose so that the partition epoch moves, which settles the nodes that
    /// unanswered copies name: the committed one. `None` while a proposal is pending, because its
    /// outcome may do the same, or if no node is unsettled. Its members carry no broker epoch:
    /// nobody joins by it, so a member's restart is no reason to refuse it.
    pub fn settlement(&self) -> Option<Vec<(NodeId, BrokerEpoch)>> {
        let wanted = self.proposal.is_none() && !self.unsettled.is_empty();
        wanted.then(|| self.committed.iter().map(|node| (*node, BrokerEpoch::NONE)).collect())
    }

    /// The proposal to put into this request, unless another request already carries it.
    pub fn send(&mut self, request: u64) -> Option<&[(NodeId, BrokerEpoch)]> {
        let proposal = self.proposal.as_mut().filter(|proposal| proposal.sent.is_none())?;
        proposal.sent = Some(request);
        Some(&proposal.isr)
    }

    /// The request got no answer: the controller may have accepted it, or may still accept it. The
    /// proposal stays and is sent again. The nodes that it names count whatever the outcome of the
    /// new copy.
    pub fn unanswered(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.sent = None;
            let named = proposal.isr.iter().map(|(node, _)| *node);
            self.unsettled.extend(named.filter(|node| !self.committed.contains(node)));
        }
    }

    /// The request was answered, and had no effect that a repetition would not have: it is to be
    /// sent again.
    pub fn retry(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.sent = None;
        }
    }

    /// The controller said that it has not accepted, and will not accept, the copy that it
    /// answered.
    pub fn refused(&mut self) {
        self.proposal = None;
    }

    /// Nodes that unanswered copies name no longer count. Never correct before the partition epoch
    /// moves ([`crate::flaw::Flaw::RefusalIsFinal`]).
    pub fn forget_unsettled(&mut self) {
        self.unsettled.clear();
    }

    /// A newer registration than ours: no earlier copy can be executed any more.
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
        // Also while another ISR is proposed, whatever its outcome.
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
