//! The in-sync set as its leader knows it: committed by the controller, or with a change on the way.
//!
//! Source: KIP-497, Kafka's `PartitionState`. Who may join and when a member falls behind lives in
//! [`super::leader`].

use alloc::vec::Vec;

use crate::types::{BrokerEpoch, NodeId, PartitionEpoch};

/// A proposal to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The wanted ISR, sorted, with the broker epochs under which its members were found fit when it
    /// was proposed (KIP-903). Whoever starts anew before the controller hears of it may lack
    /// what it had, so an epoch that it got since says nothing.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// Has it been handed to an AlterPartition request that is in flight?
    pub sent: bool,
}

/// At most one change is on its way for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrState {
    committed: Vec<NodeId>,
    partition_epoch: PartitionEpoch,
    proposal: Option<Proposal>,
}

impl IsrState {
    /// As the controller registered it.
    pub fn committed(mut isr: Vec<NodeId>, partition_epoch: PartitionEpoch) -> IsrState {
        isr.sort_unstable();
        IsrState { committed: isr, partition_epoch, proposal: None }
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

    /// Everyone who is or may already be in the ISR: a pending expansion counts at once, a pending
    /// shrink only when committed. The high watermark waits for all of them, because the
    /// controller may have accepted the change and elect by it before we learn (KIP-497).
    pub fn is_maximal_member(&self, node: NodeId) -> bool {
        self.committed.contains(&node)
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
        self.proposal = Some(Proposal { isr, sent: false });
    }

    /// The proposal to put into a request, marked as sent.
    pub fn send(&mut self) -> Option<&[(NodeId, BrokerEpoch)]> {
        let proposal = self.proposal.as_mut().filter(|proposal| !proposal.sent)?;
        proposal.sent = true;
        Some(&proposal.isr)
    }

    /// The request got no answer: the controller may or may not have taken it, so the proposal
    /// stays pending and is sent again.
    pub fn retry(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.sent = false;
        }
    }

    /// The controller said that it did not and will not take the proposal.
    pub fn refused(&mut self) {
        self.proposal = None;
    }

    /// A registration at least as new as ours.
    pub fn commit(&mut self, isr: Vec<NodeId>, partition_epoch: PartitionEpoch) {
        assert!(partition_epoch >= self.partition_epoch, "registrations do not go back");
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
        isr.refused();
        assert!(!isr.is_maximal_member(C));
        isr.propose(at_one(&[A]));
        assert!(isr.is_maximal_member(B), "a pending shrink does not count yet");
        isr.commit(vec![A], PartitionEpoch(5));
        assert!(!isr.is_maximal_member(B));
    }

    #[test]
    fn a_proposal_without_an_answer_stays_and_is_sent_again() {
        let mut isr = IsrState::committed(vec![A], PartitionEpoch(1));
        isr.propose(at_one(&[A, B]));
        assert!(isr.send().is_some());
        assert!(isr.send().is_none(), "it is in flight");
        isr.retry();
        assert!(isr.is_maximal_member(B));
        assert_eq!(isr.send(), Some(&at_one(&[A, B])[..]));
    }
}
