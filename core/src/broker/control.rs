//! A broker's requests to the active controller: registration, ISR changes, clients' requests.
//!
//! Requests to one controller are answered in order, so a queue of the calls in flight is the only
//! bookkeeping. What the controller does with them lives in [`crate::controller`].
//!
//! Requests that are retried here are safe even if an earlier copy is executed last: registrations
//! (see [`super::lifecycle`]) and ISR changes (see [`crate::replica::isr`]). Clients' requests are
//! sent once. The client learns that the outcome is unknown, and decides whether to retry. As in
//! Kafka, a late DeleteTopics by name may delete a topic that was created since; by id it cannot.
//! Auto-creation of a topic is retried only when another request names the topic, which by then
//! exists or is created once.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::api::forwarding::{self, AutoCreation, Forwarded};
use crate::config::NodeConfig;
use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReplyTo, RpcError, TimerKey};
use crate::msg::{
    AlterPartitionData, AlterPartitionRequest, AlterPartitionResponse, AlterPartitionTopic,
    BrokerRegistrationRequest, MAX_REQUEST_ELEMENTS, Request, Response,
};
use crate::replica::Fact;
use crate::storage::Hosted;
use crate::types::{Monotonic, NodeId, PartitionId, TopicId, TopicPartition};

use super::lifecycle::Lifecycle;

/// A call in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// BrokerRegistration.
    Registration,
    /// AlterPartition for these partitions, with its serial number, counted from 1 in this process.
    AlterPartition(u64, Vec<PartitionId>),
    /// A forwarded CreateTopics or DeleteTopics.
    Forward(Forwarded),
}

/// A broker's calls to the active controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Control {
    in_flight: BTreeMap<NodeId, VecDeque<Call>>,
    /// Partitions whose leader wants a different ISR.
    isr_changes: BTreeSet<PartitionId>,
    /// Where to resume in `isr_changes`; 0 if the last request had room for all.
    resume_at: PartitionId,
    /// The AlterPartition in flight: controller and serial number. One at a time, so that none
    /// overtakes another.
    altering: Option<(NodeId, u64)>,
    /// The number of AlterPartition requests so far.
    alterations: u64,
    /// After a failure: the earliest time of the next one.
    retry_at: Option<Monotonic>,
    registration: Option<BrokerRegistrationRequest>,
    /// Requests that wait for a controller, each with its deadline.
    forwards: VecDeque<(Monotonic, Forwarded)>,
    auto_creation: AutoCreation,
}

/// Clients' requests that may wait for a controller; more are refused at once.
const MAX_FORWARDS: usize = 1000;

/// The most elements of one AlterPartition. Far fewer than a request may have, because each is a
/// record for the controller to commit.
const MOST_PROPOSED: usize = MAX_REQUEST_ELEMENTS / 10;

/// The partitions of one AlterPartition, by topic.
#[derive(Default)]
struct Proposals {
    topics: Vec<AlterPartitionTopic>,
    places: BTreeMap<TopicId, usize>,
    elements: usize,
}

impl Proposals {
    fn push(&mut self, topic: TopicId, data: AlterPartitionData) {
        self.elements += 1 + data.new_isr.len();
        let place = *self.places.entry(topic).or_insert_with(|| {
            self.elements += 1;
            self.topics.push(AlterPartitionTopic { id: topic, partitions: Vec::new() });
            self.topics.len() - 1
        });
        self.topics[place].partitions.push(data);
    }

    fn is_full(&self) -> bool {
        self.elements >= MOST_PROPOSED
    }
}

impl Control {
    /// A leader wants a different ISR.
    pub fn want_isr_change(&mut self, partition: PartitionId) {
        self.isr_changes.insert(partition);
    }

    /// Registers as soon as there is a controller.
    pub fn register(&mut self, request: BrokerRegistrationRequest) {
        self.registration = Some(request);
    }

    /// Forwards a client's request to the controller.
    pub fn forward(
        &mut self,
        from: ReplyTo,
        version: i16,
        request: Request,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        if self.forwards.len() >= MAX_FORWARDS {
            return env.respond(from, request.refused(ErrorCode::RequestTimedOut));
        }
        let forwarded = Forwarded::Client { from, version, request };
        self.wait_for_controller(forwarded, config, env);
    }

    fn wait_for_controller(
        &mut self,
        forwarded: Forwarded,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        let deadline = env.now().after(config.request_timeout);
        if self.forwards.is_empty() {
            env.arm(TimerKey::ForwardExpiry, deadline);
        }
        self.forwards.push_back((deadline, forwarded));
    }

    /// Requests a topic that a client named and that does not exist.
    pub fn auto_create(&mut self, topic: &str, config: &NodeConfig, env: &mut dyn Env) {
        if self.forwards.len() < MAX_FORWARDS && self.auto_creation.begin(topic) {
            let forwarded = Forwarded::AutoCreate { topic: topic.into() };
            self.wait_for_controller(forwarded, config, env);
        }
    }

    /// Gives up on requests that have waited too long for a controller. An early or stale firing
    /// finds nothing due.
    pub fn on_forward_expiry(&mut self, env: &mut dyn Env) {
        let now = env.now();
        while self.forwards.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some((_, forwarded)) = self.forwards.pop_front() {
                self.refuse(forwarded, env);
            }
        }
        if let Some((deadline, _)) = self.forwards.front() {
            env.arm(TimerKey::ForwardExpiry, *deadline);
        }
    }

    /// The connection is gone: drops its requests.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        self.forwards.retain(|(_, forwarded)| match forwarded {
            Forwarded::Client { from, .. } => from.connection != connection,
            Forwarded::AutoCreate { .. } => true,
        });
    }

    /// See [`AutoCreation::end`].
    pub fn auto_create_ended(&mut self, topic: &str) {
        self.auto_creation.end(topic);
    }

    /// The call that an outcome from `peer` is for.
    pub fn take(&mut self, peer: NodeId) -> Option<Call> {
        self.in_flight.get_mut(&peer)?.pop_front()
    }

    fn send(
        &mut self,
        peer: NodeId,
        call: Call,
        request: Request,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        self.in_flight.entry(peer).or_default().push_back(call);
        env.request(peer, Channel::Controller, config.request_timeout, request);
    }

    /// Sends what can be sent. Called after every step.
    pub fn run(
        &mut self,
        hosted: &mut Hosted,
        controller: Option<NodeId>,
        lifecycle: &Lifecycle,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        let Some(controller) = controller else { return };
        if let Some(request) = self.registration.take() {
            let request = Request::BrokerRegistration(request);
            self.send(controller, Call::Registration, request, config, env);
        }
        while let Some((_, forwarded)) = self.forwards.pop_front() {
            let request = match &forwarded {
                Forwarded::Client { version, request, .. } => {
                    forwarding::envelope(*version, request.clone())
                }
                Forwarded::AutoCreate { topic } => {
                    forwarding::envelope(7, forwarding::auto_create(topic, config))
                }
            };
            self.send(controller, Call::Forward(forwarded), request, config, env);
        }
        if lifecycle.is_published() && self.altering.is_none() && self.retry_at.is_none() {
            self.send_isr_changes(hosted, controller, lifecycle, config, env);
        }
    }

    fn refuse(&mut self, forwarded: Forwarded, env: &mut dyn Env) {
        match forwarded {
            Forwarded::Client { from, request, .. } => {
                env.respond(from, request.refused(ErrorCode::RequestTimedOut));
            }
            Forwarded::AutoCreate { topic } => self.auto_creation.end(&topic),
        }
    }

    /// Takes the next partition that wants a different ISR, round-robin. Changes that did not fit
    /// into one request go into the next, ahead of those that have to be sent again.
    fn next_isr_change(&mut self) -> Option<PartitionId> {
        let ahead = self.isr_changes.range(self.resume_at..).next();
        let id = ahead.or_else(|| self.isr_changes.first()).copied()?;
        self.isr_changes.remove(&id);
        let is_last = self.isr_changes.is_empty();
        self.resume_at = PartitionId(if is_last { 0 } else { id.0 + 1 });
        Some(id)
    }

    fn send_isr_changes(
        &mut self,
        hosted: &mut Hosted,
        controller: NodeId,
        lifecycle: &Lifecycle,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        if self.isr_changes.is_empty() {
            return;
        }
        let mut ids = Vec::new();
        let mut proposals = Proposals::default();
        while !proposals.is_full()
            && let Some(id) = self.next_isr_change()
        {
            let Some(partition) = hosted.get_mut(id) else { continue };
            let topic = partition.topic_partition().topic;
            let epoch = lifecycle.broker_epoch();
            let Some(data) = partition.send_proposal(self.alterations + 1, epoch) else { continue };
            ids.push(id);
            proposals.push(topic, data);
        }
        if ids.is_empty() {
            return;
        }
        let request = Request::AlterPartition(AlterPartitionRequest {
            broker: config.node,
            broker_epoch: lifecycle.broker_epoch(),
            topics: proposals.topics,
        });
        self.alterations += 1;
        self.altering = Some((controller, self.alterations));
        let call = Call::AlterPartition(self.alterations, ids);
        self.send(controller, call, request, config, env);
    }

    /// The outcome of an AlterPartition request, by its serial number. The outcome of a request
    /// that was abandoned for another controller is ignored: a late refusal must not cancel what
    /// the new controller has accepted. An outcome also has no bearing on proposals that its
    /// request did not carry.
    pub fn on_alter_partition(
        &mut self,
        serial: u64,
        ids: &[PartitionId],
        outcome: Result<Response, RpcError>,
        hosted: &mut Hosted,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        if self.altering.is_none_or(|(_, outstanding)| outstanding != serial) {
            return;
        }
        self.altering = None;
        let response = match outcome {
            Ok(Response::AlterPartition(response)) if response.error.is_ok() => response,
            Ok(_) | Err(_) => AlterPartitionResponse::default(),
        };
        let mut results = BTreeMap::new();
        for (topic, answered) in &response.topics {
            for result in answered {
                let key = TopicPartition { topic: *topic, partition: result.partition };
                results.entry(key).or_insert(result);
            }
        }
        let mut again = false;
        for id in ids {
            let Some(partition) = hosted.get_mut(*id) else { continue };
            let result = results.get(&partition.topic_partition()).copied();
            again |= partition.on_alter_partition(serial, result, env, facts);
        }
        if again {
            let deadline = env.now().after(config.quorum.retry_backoff);
            self.retry_at = Some(deadline);
            env.arm(TimerKey::AlterPartition, deadline);
        }
    }

    /// The controller changed: proposals that wait for the old one's answer are sent again.
    pub fn on_controller_changed(
        &mut self,
        controller: Option<NodeId>,
        hosted: &mut Hosted,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let Some((asked, outstanding)) = self.altering else { return };
        if Some(asked) == controller {
            return;
        }
        self.altering = None;
        for call in self.in_flight.values().flatten() {
            if let Call::AlterPartition(serial, ids) = call
                && *serial == outstanding
            {
                for id in ids {
                    if let Some(partition) = hosted.get_mut(*id) {
                        partition.on_alter_partition(outstanding, None, env, facts);
                    }
                }
            }
        }
    }

    /// The retry timer; a stale firing is a no-op.
    pub fn on_retry(&mut self, deadline: Monotonic) {
        if self.retry_at == Some(deadline) {
            self.retry_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Effects;
    use crate::types::{BrokerEpoch, LeaderEpoch, PartitionEpoch, Uuid};

    /// A leader asked a controller for a different ISR, gave up and asked the next controller.
    #[test]
    fn a_late_refusal_does_not_end_the_request_that_replaced_it() {
        let (old, new) = (1, (NodeId(2), 2));
        let mut control = Control { altering: Some(new), alterations: 2, ..Control::default() };
        let config = NodeConfig::new(NodeId(1), [NodeId(1)].into());
        let (mut hosted, mut env) = (Hosted::default(), Effects::default());
        let mut facts = Vec::new();
        let mut outcome = |control: &mut Control, serial| {
            let refused = Err(RpcError::TimedOut);
            control.on_alter_partition(
                serial,
                &[],
                refused,
                &mut hosted,
                &config,
                &mut env,
                &mut facts,
            );
            control.altering
        };
        assert_eq!(outcome(&mut control, old), Some(new), "nobody waits for that answer any more");
        assert_eq!(outcome(&mut control, new.1), None, "this one ends it");
    }

    #[test]
    fn what_is_refused_again_and_again_does_not_keep_the_others_from_being_sent() {
        let mut control = Control::default();
        (0..5).for_each(|id| control.want_isr_change(PartitionId(id)));
        let taken: Vec<u32> = (0..3).map(|_| control.next_isr_change().unwrap().0).collect();
        assert_eq!(taken, [0, 1, 2]);
        // These have to be sent again, and those that did not fit go first.
        (0..3).for_each(|id| control.want_isr_change(PartitionId(id)));
        let taken: Vec<u32> = core::iter::from_fn(|| Some(control.next_isr_change()?.0)).collect();
        assert_eq!(taken, [3, 4, 0, 1, 2]);
        (0..2).for_each(|id| control.want_isr_change(PartitionId(id)));
        assert_eq!(control.next_isr_change(), Some(PartitionId(0)), "all fitted: from the first");
    }

    /// A request larger than the controller accepts would be retried forever.
    #[test]
    fn proposals_fit_in_a_request_however_many_there_are() {
        for replicas in [1, 3, 100] {
            for partitions in [1, 7] {
                let mut proposals = Proposals::default();
                let mut sent = 0;
                while !proposals.is_full() {
                    let data = AlterPartitionData {
                        partition: sent % partitions,
                        leader_epoch: LeaderEpoch(0),
                        new_isr: (0..replicas).map(|n| (NodeId(n), BrokerEpoch(1))).collect(),
                        leader_recovery_state: 0,
                        partition_epoch: PartitionEpoch(0),
                    };
                    proposals.push(Uuid((sent / partitions) as u128), data);
                    sent += 1;
                }
                let counted: usize = proposals
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .map(|data| 1 + data.new_isr.len())
                    .sum();
                let counted = counted + proposals.topics.len();
                assert_eq!(counted, proposals.elements, "{replicas} replicas");
                assert!(counted < MAX_REQUEST_ELEMENTS, "{counted} elements");
                assert!(proposals.topics.iter().all(|topic| topic.partitions.len() <= 7));
            }
        }
    }
}
