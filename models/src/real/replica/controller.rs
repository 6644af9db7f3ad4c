//! The controller: how it elects, fences and executes requests, and what it registers.
//!
//! What does not live here: what its answers do to a leader ([`super`]).

use wavetank_core::error_code::ErrorCode;
use wavetank_core::metadata::{BrokerRegistration, MetadataImage, PartitionRegistration};
use wavetank_core::types::{BrokerEpoch, LeaderEpoch, PartitionEpoch, Uuid};

use super::{Answer, REPLICAS, Registered, State, bit, id, members};

impl Registered {
    pub(super) fn registration(&self, epoch: u8) -> PartitionRegistration {
        PartitionRegistration {
            replicas: (0..REPLICAS as u8).map(id).collect(),
            isr: members(self.isr).map(id).collect(),
            leader: Some(id(self.leader)),
            leader_epoch: LeaderEpoch(epoch.into()),
            partition_epoch: PartitionEpoch(self.partition_epoch.into()),
            ..PartitionRegistration::default()
        }
    }

    pub(super) fn image(&self) -> MetadataImage {
        let broker = |at: usize| BrokerRegistration {
            epoch: BrokerEpoch(self.known[at].into()),
            incarnation: Uuid::ZERO,
            endpoints: Vec::new(),
            features: Vec::new(),
            rack: None,
            fenced: self.alive[at] == 0,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        let brokers = (0..REPLICAS).map(|at| (id(at as u8), broker(at))).collect();
        MetadataImage { brokers, ..MetadataImage::default() }
    }
}

impl State {
    /// The controller executes a request by what it knows now (KIP-497, 841, 903).
    pub(super) fn execute(&mut self, request: u8) {
        let request = self.requests.remove(usize::from(request));
        let epoch = self.epoch();
        let newest = self.newest();
        let eligible = members(request.isr).map(usize::from).all(|at| {
            let alive = newest.alive[at];
            // The leader does not know the broker epoch of a member that has not fetched in this
            // epoch (KIP-903).
            let known = [BrokerEpoch(alive.into()), BrokerEpoch::NONE];
            alive != 0 && known.contains(&request.broker_epochs[at])
        });
        let error = if eligible { ErrorCode::None } else { ErrorCode::IneligibleReplica };
        if eligible {
            newest.isr = request.isr;
            newest.partition_epoch += 1;
        }
        let (isr, partition_epoch) = (newest.isr, newest.partition_epoch);
        if self.waits_for(request.leader, request.number) {
            let answer = Answer { number: request.number, error, epoch, isr, partition_epoch };
            self.answers[usize::from(request.leader)] = Some(answer);
        }
        self.forget_requests();
    }

    /// Drops requests of older registrations: only those of the newest can change anything.
    pub(super) fn forget_requests(&mut self) {
        let (epoch, newest) = (self.epoch(), *self.now());
        self.requests.retain(|request| {
            request.epoch == epoch && request.partition_epoch == newest.partition_epoch
        });
    }

    pub(super) fn elect(&mut self, leader: u8, fence: bool) {
        let mut next = *self.now();
        if fence {
            next.isr &= !bit(next.leader);
            next.alive[usize::from(next.leader)] = 0;
        }
        next.leader = leader;
        next.partition_epoch += 1;
        self.registered.push(next);
        self.forget_requests();
    }

    pub(super) fn fence(&mut self, at: u8) {
        let newest = self.newest();
        if newest.isr & bit(at) != 0 {
            newest.isr &= !bit(at);
            newest.partition_epoch += 1;
        }
        newest.alive[usize::from(at)] = 0;
        self.forget_requests();
    }

    /// Drops registrations that no replica is in or can still hear of: they make no difference.
    pub(super) fn forget(&mut self) {
        let replicas = 0..REPLICAS as u8;
        let heard = replicas.map(|at| self.epoch_of(at).max(self.nodes[usize::from(at)].since));
        let oldest = usize::from(heard.min().unwrap_or(0)).min(self.registered.len());
        for old in &mut self.registered[..oldest.saturating_sub(1)] {
            *old = Registered::default();
        }
    }
}
