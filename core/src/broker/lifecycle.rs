//! The lifecycle of one incarnation as the controller sees it: registration, heartbeats, graceful
//! stop.
//!
//! Source: KIP-631, Kafka's `BrokerLifecycleManager`. The controller's side lives in
//! [`crate::controller`], opening the logs before all this in [`crate::storage`].
//!
//! Both requests are sent again when they get no answer. They are safe even if an earlier copy is
//! executed last ([`crate::controller`] argues why). An answer counts only for its own request. A
//! heartbeat's answer counts if the heartbeat carried the current broker epoch. A successful
//! registration counts whichever copy it answers, because each copy registers this same
//! incarnation. A failed one counts only if it comes from the controller that was asked last.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::NodeConfig;
use crate::env::{Channel, Clock, Env};
use crate::error_code::ErrorCode;
use crate::event::{RpcError, TimerKey};
use crate::flaw::Flaw;
use crate::metadata::{
    METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_MIN, MetadataImage,
};
use crate::msg::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, Request, Response,
};
use crate::note::Note;
use crate::quorum::Quorum;
use crate::storage::{Storage, draw_uuid};
use crate::types::{BrokerEpoch, Monotonic, NodeId, Offset, Uuid};

/// What the lifecycle reports to the router, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LifecycleFact {
    /// Register with the controller.
    Register(BrokerRegistrationRequest),
    /// This incarnation has a new broker epoch.
    Registered,
    /// Stop the quorum's part, and close the logs ([`Storage::close`]).
    Flush,
    /// The process may end.
    Stopped,
}

/// What the lifecycle sees of its node.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    config: &'a NodeConfig,
    controller: Option<NodeId>,
    /// The last metadata offset that was applied.
    applied: Offset,
    storage: &'a Storage,
}

impl<'a> Seen<'a> {
    /// From the node's parts.
    pub fn of(
        config: &'a NodeConfig,
        quorum: &Quorum,
        image: &MetadataImage,
        storage: &'a Storage,
    ) -> Seen<'a> {
        Seen { config, controller: quorum.leader(), applied: image.applied, storage }
    }
}

/// Registration with the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Registration {
    /// Not asked for.
    #[default]
    None,
    /// Asked this controller (`None`: whichever node becomes it).
    Asked(Option<NodeId>),
    /// This incarnation is registered. `published`: the metadata up to the registration has been
    /// applied, and roles follow it from then on.
    Done { epoch: BrokerEpoch, published: bool },
}

/// The progress of a graceful stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Stop {
    /// Not asked for.
    #[default]
    No,
    /// Waits, until the given time, for the controller to move leaderships away.
    HandingOver(Monotonic),
    /// Logs and checkpoints are being made durable, and the quorum's voters notified. The stop
    /// waits for the voters until the given time at most.
    Flushing(Monotonic),
    /// The clean-shutdown mark is being written.
    Marking,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    incarnation: Uuid,
    registration: Registration,
    registration_retry: Option<Monotonic>,
    heartbeat: Option<Monotonic>,
    heartbeat_to: Option<NodeId>,
    /// The broker epochs of the heartbeats in flight, in the order in which they are answered.
    heartbeats: BTreeMap<NodeId, VecDeque<BrokerEpoch>>,
    fenced: bool,
    announced: bool,
    stop: Stop,
}

/// How long a graceful stop waits for the controller before it flushes and goes anyway.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// How long it waits for the quorum's voters to hear that their leader is leaving.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

impl Lifecycle {
    /// A new incarnation starts.
    pub fn start(&mut self, env: &mut dyn Env) {
        self.incarnation = draw_uuid(env);
    }

    /// Whether this incarnation has a broker epoch.
    pub fn is_registered(&self) -> bool {
        matches!(self.registration, Registration::Done { .. })
    }

    /// Whether the logs are being closed for good. From then on nothing may be appended to them, no
    /// partition is added, and none takes another role.
    pub fn is_closing(&self) -> bool {
        matches!(self.stop, Stop::Flushing(_) | Stop::Marking)
    }

    /// Whether the metadata up to the registration has been applied.
    pub fn is_published(&self) -> bool {
        matches!(self.registration, Registration::Done { published: true, .. })
    }

    /// The broker epoch, or [`BrokerEpoch::NONE`].
    pub fn broker_epoch(&self) -> BrokerEpoch {
        match self.registration {
            Registration::Done { epoch, .. } => epoch,
            Registration::None | Registration::Asked(_) => BrokerEpoch::NONE,
        }
    }

    /// Whether replicas follow the metadata: it has been published, and no mark is about to vouch
    /// for the logs as they are. The mark must not vouch for anything that came after the flush of
    /// the logs. A log created now, whose directory entry is not durable, would count as durable at
    /// the next start.
    pub fn gives_roles(&self) -> bool {
        self.is_published() && !self.is_closing()
    }

    /// Whether nothing may be appended to the logs, because they are being closed.
    pub fn refuses_appends(&self, config: &NodeConfig) -> bool {
        self.is_closing() && !config.flaws.has(Flaw::AppendWhileClosing)
    }

    /// Whether the metadata, applied up to this offset, reaches the registration for the first
    /// time. From then on, roles follow it.
    pub fn publishes(&mut self, applied: Offset) -> bool {
        match &mut self.registration {
            Registration::Done { epoch, published } if !*published && applied.0 >= epoch.0 => {
                *published = true;
                true
            }
            Registration::None | Registration::Asked(_) | Registration::Done { .. } => false,
        }
    }

    // ---- registration --------------------------------------------------------------------------

    /// Asks to register, if this node is a broker.
    pub fn register(&mut self, seen: &Seen<'_>, env: &mut dyn Env, facts: &mut Vec<LifecycleFact>) {
        let config = seen.config;
        if !config.is_broker {
            return;
        }
        self.registration = Registration::Asked(seen.controller);
        let feature = String::from(METADATA_VERSION);
        facts.push(LifecycleFact::Register(BrokerRegistrationRequest {
            broker: config.node,
            cluster_id: config.cluster_id.clone(),
            incarnation: self.incarnation,
            listeners: config.listeners.clone(),
            features: vec![(feature, METADATA_VERSION_MIN, METADATA_VERSION_LEVEL)],
            rack: config.rack.clone(),
            log_dirs: vec![seen.storage.directory_id()],
            previous_broker_epoch: seen.storage.previous_broker_epoch(),
        }));
        // A request to an unreachable controller would delay the registration by the request's
        // timeout. A new leader is asked at once (`on_controller_changed`); this timer covers the
        // case that there is none yet.
        self.arm_registration_retry(config, env);
    }

    fn arm_registration_retry(&mut self, config: &NodeConfig, env: &mut dyn Env) {
        let deadline = env.now().after(config.heartbeat_interval);
        self.registration_retry = Some(deadline);
        env.arm(TimerKey::RegistrationRetry, deadline);
    }

    /// The timer of the registration fired.
    pub fn on_registration_retry(
        &mut self,
        deadline: Monotonic,
        seen: &Seen<'_>,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        if self.registration_retry != Some(deadline) || env.now() < deadline {
            return;
        }
        self.registration_retry = None;
        match self.registration {
            Registration::None | Registration::Asked(None) => self.register(seen, env, facts),
            Registration::Asked(Some(_)) | Registration::Done { .. } => {}
        }
    }

    /// The outcome of a registration that `peer` was asked for.
    pub fn on_registration_outcome(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        let epoch = match outcome {
            Ok(Response::BrokerRegistration(response))
                if response.error.is_ok() && response.broker_epoch > BrokerEpoch::NONE =>
            {
                response.broker_epoch
            }
            Ok(_) | Err(_) => {
                if let Registration::Asked(asked) = self.registration
                    && asked.is_none_or(|asked| asked == peer)
                {
                    self.registration = Registration::None;
                    self.arm_registration_retry(config, env);
                }
                return;
            }
        };
        if epoch <= self.broker_epoch() {
            return;
        }
        // A later answer to a repeated request changes only the epoch. If the controller had not
        // known us, the registration was reset to `None`, so this one starts as unpublished.
        let published = self.is_published();
        self.registration = Registration::Done { epoch, published };
        self.fenced = true;
        facts.push(LifecycleFact::Registered);
    }

    /// The quorum has another leader, or none.
    pub fn on_controller_changed(
        &mut self,
        seen: &Seen<'_>,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        let leader = seen.controller;
        match self.registration {
            Registration::Asked(asked) if asked != leader && leader.is_some() => {
                self.register(seen, env, facts);
            }
            Registration::Done { .. } if leader.is_some() => {
                if self.heartbeat_to != leader {
                    self.heartbeat_to = None;
                    self.send_heartbeat(seen, env);
                }
            }
            Registration::None | Registration::Asked(_) | Registration::Done { .. } => {}
        }
    }

    // ---- heartbeats ----------------------------------------------------------------------------

    /// Sends a heartbeat, unless one to this controller is under way, and arms the next.
    pub fn send_heartbeat(&mut self, seen: &Seen<'_>, env: &mut dyn Env) {
        let config = seen.config;
        let Registration::Done { epoch, published } = self.registration else { return };
        let deadline = env.now().after(config.heartbeat_interval);
        self.heartbeat = Some(deadline);
        env.arm(TimerKey::Heartbeat, deadline);
        let Some(controller) = seen.controller else { return };
        if self.heartbeat_to == Some(controller) {
            return;
        }
        self.heartbeat_to = Some(controller);
        let request = BrokerHeartbeatRequest {
            broker: config.node,
            broker_epoch: epoch,
            current_metadata_offset: seen.applied,
            want_fence: !published,
            want_shut_down: self.stop != Stop::No,
            offline_log_dirs: vec![],
        };
        let timeout = config.session_timeout.min(config.request_timeout);
        let request = Request::BrokerHeartbeat(request);
        self.heartbeats.entry(controller).or_default().push_back(epoch);
        env.request(controller, Channel::Heartbeat, timeout, request);
    }

    /// The heartbeat timer fired.
    pub fn on_heartbeat_timer(&mut self, deadline: Monotonic, seen: &Seen<'_>, env: &mut dyn Env) {
        if self.heartbeat == Some(deadline) && env.now() >= deadline {
            self.send_heartbeat(seen, env);
        }
    }

    /// The outcome of a heartbeat to `peer`.
    pub fn on_heartbeat_outcome(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        if self.heartbeat_to == Some(peer) {
            self.heartbeat_to = None;
        }
        let heartbeats = self.heartbeats.get_mut(&peer);
        if heartbeats.and_then(VecDeque::pop_front) != Some(self.broker_epoch()) {
            // For an epoch that was given up; the controller may know the current one.
            return;
        }
        // Without an answer, the armed timer tries again.
        let Ok(Response::BrokerHeartbeat(response)) = outcome else { return };
        let unknown_to_controller = matches!(
            response.error,
            ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered
        );
        if response.error.is_ok() {
            self.on_heartbeat(&response, env, facts);
        } else if unknown_to_controller && self.registration_retry.is_none() {
            self.arm_registration_retry(config, env);
            self.registration = Registration::None;
        }
    }

    fn on_heartbeat(
        &mut self,
        response: &BrokerHeartbeatResponse,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        let was_fenced = self.fenced;
        self.fenced = response.is_fenced;
        if !response.is_fenced && (was_fenced || !self.announced) {
            self.announced = true;
            env.note(Note::BrokerRunning { epoch: self.broker_epoch() });
        }
        if let Stop::HandingOver(_) = self.stop
            && response.should_shut_down
        {
            self.begin_flush(env, facts);
        }
    }

    // ---- stopping ------------------------------------------------------------------------------

    /// Begins a graceful stop.
    pub fn shut_down(
        &mut self,
        seen: &Seen<'_>,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        if self.stop != Stop::No {
            return;
        }
        if !seen.storage.is_booted() {
            // Nothing has been promised yet; the next start recovers.
            facts.push(LifecycleFact::Stopped);
            env.note(Note::ShutDown { clean: false });
            return;
        }
        if self.is_published() && seen.controller.is_some() {
            let deadline = env.now().after(HAND_OVER_MAX);
            self.stop = Stop::HandingOver(deadline);
            env.arm(TimerKey::ControlledShutdown, deadline);
            self.heartbeat_to = None;
            self.send_heartbeat(seen, env);
        } else {
            self.begin_flush(env, facts);
        }
    }

    /// The timer of the stop fired.
    pub fn on_shutdown_deadline(
        &mut self,
        deadline: Monotonic,
        env: &mut dyn Env,
        facts: &mut Vec<LifecycleFact>,
    ) {
        if env.now() < deadline {
            return;
        }
        if self.stop == Stop::HandingOver(deadline) {
            self.begin_flush(env, facts);
        }
        // In `Flushing`, every step checks whether the stop can continue, including this one.
    }

    fn begin_flush(&mut self, env: &mut dyn Env, facts: &mut Vec<LifecycleFact>) {
        let deadline = env.now().after(FAREWELL_MAX);
        self.stop = Stop::Flushing(deadline);
        env.arm(TimerKey::ControlledShutdown, deadline);
        facts.push(LifecycleFact::Flush);
    }

    /// Whether the logs are being flushed for good, after [`LifecycleFact::Flush`].
    pub fn is_flushing(&self) -> bool {
        matches!(self.stop, Stop::Flushing(_))
    }

    /// Everything is durable. Whether the stop is marked as clean now: the quorum's voters have
    /// heard of it (`told`), or have had their time. [`Lifecycle::on_marked`] follows.
    pub fn marks(&mut self, told: bool, clock: &dyn Clock) -> bool {
        let Stop::Flushing(deadline) = self.stop else { return false };
        let marks = told || clock.now() >= deadline;
        if marks {
            self.stop = Stop::Marking;
        }
        marks
    }

    /// The mark of a clean stop is durable.
    pub fn on_marked(&mut self, env: &mut dyn Env, facts: &mut Vec<LifecycleFact>) {
        assert!(self.stop == Stop::Marking, "only a stop writes the clean mark");
        facts.push(LifecycleFact::Stopped);
        env.note(Note::ShutDown { clean: true });
    }
}
