//! The lifecycle of one incarnation as the controller sees it: registration, heartbeats, graceful
//! stop.
//!
//! Source: KIP-631, Kafka's `BrokerLifecycleManager`. The controller's side lives in
//! [`crate::controller`], opening the logs before all this in [`super::boot`].
//!
//! Both requests are sent again when they get no answer. They are safe even if an earlier copy is
//! executed last ([`crate::controller`] argues why). An answer counts only for its own request. A
//! heartbeat's answer counts if the heartbeat carried the current broker epoch. A successful
//! registration counts whichever copy it answers, because each copy registers this same
//! incarnation. A failed one counts only if it comes from the controller that was asked last.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec;
use core::time::Duration;

use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::event::{RpcError, TimerKey};
use crate::metadata::{METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_MIN};
use crate::msg::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, Request, Response,
};
use crate::note::Note;
use crate::replica::Partition;
use crate::types::{BrokerEpoch, Monotonic, NodeId, Offset, PartitionId, Uuid};

use super::{Broker, Status};

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
    /// While [`Stop::Flushing`]: the partitions whose logs have not been seen durable yet.
    flushing: BTreeSet<PartitionId>,
}

/// How long a graceful stop waits for the controller before it flushes and goes anyway.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// How long it waits for the quorum's voters to hear that their leader is leaving.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

impl Lifecycle {
    pub(super) fn set_incarnation(&mut self, incarnation: Uuid) {
        self.incarnation = incarnation;
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

    pub(super) fn published(&mut self) {
        if let Registration::Done { published, .. } = &mut self.registration {
            *published = true;
        }
    }
}

impl Broker {
    /// The lifecycle of this incarnation as the controller sees it.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    // ---- registration --------------------------------------------------------------------------

    pub(super) fn begin_registration(&mut self, env: &mut dyn Env) {
        if !self.config.is_broker {
            return;
        }
        self.lifecycle.registration = Registration::Asked(self.quorum.leader());
        let feature = String::from(METADATA_VERSION);
        self.control.register(BrokerRegistrationRequest {
            broker: self.config.node,
            cluster_id: self.config.cluster_id.clone(),
            incarnation: self.lifecycle.incarnation,
            listeners: self.config.listeners.clone(),
            features: vec![(feature, METADATA_VERSION_MIN, METADATA_VERSION_LEVEL)],
            rack: self.config.rack.clone(),
            log_dirs: vec![self.boot.directory_id()],
            previous_broker_epoch: self.boot.previous_broker_epoch(),
        });
        // A request to an unreachable controller would delay the registration by the request's
        // timeout. A new leader is asked at once (`on_controller_changed`); this timer covers the
        // case that there is none yet.
        self.arm_registration_retry(env);
    }

    fn arm_registration_retry(&mut self, env: &mut dyn Env) {
        let deadline = env.now().after(self.config.heartbeat_interval);
        self.lifecycle.registration_retry = Some(deadline);
        env.arm(TimerKey::RegistrationRetry, deadline);
    }

    pub(super) fn on_registration_retry(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if self.lifecycle.registration_retry != Some(deadline) || env.now() < deadline {
            return;
        }
        self.lifecycle.registration_retry = None;
        match self.lifecycle.registration {
            Registration::None => self.begin_registration(env),
            Registration::Asked(None) => self.begin_registration(env),
            Registration::Asked(Some(_)) | Registration::Done { .. } => {}
        }
    }

    pub(super) fn on_registration_outcome(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
    ) {
        let epoch = match outcome {
            Ok(Response::BrokerRegistration(response))
                if response.error.is_ok() && response.broker_epoch > BrokerEpoch::NONE =>
            {
                response.broker_epoch
            }
            Ok(_) | Err(_) => {
                if let Registration::Asked(asked) = self.lifecycle.registration
                    && asked.is_none_or(|asked| asked == peer)
                {
                    self.lifecycle.registration = Registration::None;
                    self.arm_registration_retry(env);
                }
                return;
            }
        };
        if epoch <= self.lifecycle.broker_epoch() {
            return;
        }
        // A later answer to a repeated request changes only the epoch. If the controller had not
        // known us, the registration was reset to `None`, so this one starts as unpublished.
        let published = self.lifecycle.is_published();
        self.lifecycle.registration = Registration::Done { epoch, published };
        self.lifecycle.fenced = true;
        self.publish_if_caught_up(env);
        self.send_heartbeat(env);
    }

    pub(super) fn on_controller_changed(&mut self, env: &mut dyn Env) {
        let leader = self.quorum.leader();
        match self.lifecycle.registration {
            Registration::Asked(asked) if asked != leader && leader.is_some() => {
                self.begin_registration(env);
            }
            Registration::Done { .. } if leader.is_some() => {
                if self.lifecycle.heartbeat_to != leader {
                    self.lifecycle.heartbeat_to = None;
                    self.send_heartbeat(env);
                }
            }
            Registration::None | Registration::Asked(_) | Registration::Done { .. } => {}
        }
        self.control.on_controller_changed(leader, &mut self.hosted, env, &mut self.facts);
    }

    // ---- heartbeats ----------------------------------------------------------------------------

    pub(super) fn send_heartbeat(&mut self, env: &mut dyn Env) {
        let Registration::Done { epoch, published } = self.lifecycle.registration else { return };
        let deadline = env.now().after(self.config.heartbeat_interval);
        self.lifecycle.heartbeat = Some(deadline);
        env.arm(TimerKey::Heartbeat, deadline);
        let Some(controller) = self.quorum.leader() else { return };
        if self.lifecycle.heartbeat_to == Some(controller) {
            return;
        }
        self.lifecycle.heartbeat_to = Some(controller);
        let request = BrokerHeartbeatRequest {
            broker: self.config.node,
            broker_epoch: epoch,
            current_metadata_offset: self.image.applied,
            want_fence: !published,
            want_shut_down: self.lifecycle.stop != Stop::No,
            offline_log_dirs: vec![],
        };
        let timeout = self.config.session_timeout.min(self.config.request_timeout);
        let request = Request::BrokerHeartbeat(request);
        self.lifecycle.heartbeats.entry(controller).or_default().push_back(epoch);
        env.request(controller, Channel::Heartbeat, timeout, request);
    }

    pub(super) fn on_heartbeat_timer(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if self.lifecycle.heartbeat == Some(deadline) && env.now() >= deadline {
            self.send_heartbeat(env);
        }
    }

    pub(super) fn on_heartbeat_outcome(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
    ) {
        if self.lifecycle.heartbeat_to == Some(peer) {
            self.lifecycle.heartbeat_to = None;
        }
        let heartbeats = self.lifecycle.heartbeats.get_mut(&peer);
        if heartbeats.and_then(VecDeque::pop_front) != Some(self.lifecycle.broker_epoch()) {
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
            self.on_heartbeat(&response, env);
        } else if unknown_to_controller && self.lifecycle.registration_retry.is_none() {
            self.arm_registration_retry(env);
            self.lifecycle.registration = Registration::None;
        }
    }

    fn on_heartbeat(&mut self, response: &BrokerHeartbeatResponse, env: &mut dyn Env) {
        let was_fenced = self.lifecycle.fenced;
        self.lifecycle.fenced = response.is_fenced;
        if !response.is_fenced && (was_fenced || !self.lifecycle.announced) {
            self.lifecycle.announced = true;
            env.note(Note::BrokerRunning { epoch: self.lifecycle.broker_epoch() });
        }
        if let Stop::HandingOver(_) = self.lifecycle.stop
            && response.should_shut_down
        {
            self.flush_for_stop(env);
        }
    }

    // ---- stopping ------------------------------------------------------------------------------

    pub(super) fn shut_down(&mut self, env: &mut dyn Env) {
        if self.lifecycle.stop != Stop::No {
            return;
        }
        if !self.is_booted() {
            // Nothing has been promised yet; the next start recovers.
            self.status = Status::Stopped;
            env.note(Note::ShutDown { clean: false });
            return;
        }
        if self.lifecycle.is_published() && self.quorum.leader().is_some() {
            let deadline = env.now().after(HAND_OVER_MAX);
            self.lifecycle.stop = Stop::HandingOver(deadline);
            env.arm(TimerKey::ControlledShutdown, deadline);
            self.lifecycle.heartbeat_to = None;
            self.send_heartbeat(env);
        } else {
            self.flush_for_stop(env);
        }
    }

    pub(super) fn on_shutdown_deadline(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if env.now() < deadline {
            return;
        }
        if self.lifecycle.stop == Stop::HandingOver(deadline) {
            self.flush_for_stop(env);
        }
        // In `Flushing`, every step checks whether the stop can continue, including this one.
    }

    fn flush_for_stop(&mut self, env: &mut dyn Env) {
        let deadline = env.now().after(FAREWELL_MAX);
        self.lifecycle.stop = Stop::Flushing(deadline);
        env.arm(TimerKey::ControlledShutdown, deadline);
        self.quorum.shutdown(env, &mut self.quorum_facts);
        for partition in self.hosted.iter_mut() {
            partition.flush(env);
            self.lifecycle.flushing.insert(partition.id());
        }
        self.advance_shutdown(env);
    }

    /// Whether all logs are durable. Checks each log as it becomes durable, instead of all logs
    /// after each of the many completions. A log may have grown since its last flush.
    fn is_flushed(&mut self, env: &mut dyn Env) -> bool {
        loop {
            while let Some(id) = self.lifecycle.flushing.first() {
                if let Some(partition) = self.hosted.get_mut(*id)
                    && !partition.is_flushed()
                {
                    partition.flush(env);
                    return false;
                }
                self.lifecycle.flushing.pop_first();
            }
            let unflushed = self.hosted.iter().filter(|partition| !partition.is_flushed());
            self.lifecycle.flushing = unflushed.map(Partition::id).collect();
            if self.lifecycle.flushing.is_empty() {
                return true;
            }
        }
    }

    /// Continues a stop when what it waits for is durable.
    pub(super) fn advance_shutdown(&mut self, env: &mut dyn Env) {
        let Stop::Flushing(deadline) = self.lifecycle.stop else { return };
        // Wait for everything in flight: the mark vouches for all that the next start finds.
        if !self.is_flushed(env) || !self.boot.is_none_opening() {
            return;
        }
        self.write_checkpoints(env);
        let told = self.quorum.can_stop() || env.now() >= deadline;
        // Departing replicas were not flushed, and the mark vouches for every directory with a
        // partition's name.
        if told && self.checkpoints_idle() && self.boot.departures.is_idle() {
            self.lifecycle.stop = Stop::Marking;
            let epoch = self.lifecycle.broker_epoch();
            self.mark_clean(epoch, env);
        }
    }

    pub(super) fn on_clean_mark_durable(&mut self, env: &mut dyn Env) {
        assert!(self.lifecycle.stop == Stop::Marking, "only a stop writes the clean mark");
        self.status = Status::Stopped;
        env.note(Note::ShutDown { clean: true });
    }

    /// The last metadata offset that was applied.
    pub fn metadata_offset(&self) -> Offset {
        self.image.applied
    }
}
