//! Brokers: registration, heartbeats, fencing, controlled shutdown (Kafka's
//! `ClusterControlManager` and `BrokerHeartbeatManager`; KIP-631, KIP-841, KIP-966).
//!
//! A new incarnation of a broker may have lost its unflushed tail. So it is fenced, every partition
//! that it led gets a new leader epoch (no two incarnations lead in the same epoch), and it leaves
//! every ISR that has another member. This also holds after a clean stop: a fenced broker is in no
//! ISR except as the last member, whatever `previous_broker_epoch` says.
//!
//! Brokers retry unanswered requests, so an earlier copy may be executed last. A late registration
//! changes nothing if its incarnation is still registered. If another incarnation is registered,
//! the late copy comes from a process that has ended. It is refused while the other's session
//! lives. Without such a session it is registered, fenced and in no ISR; the live process
//! re-registers when its heartbeat is answered with a stale epoch. A late heartbeat counts only for
//! the registered broker epoch. Within one incarnation, an old copy may renew a session once more,
//! or fence the broker, which the next heartbeat undoes. A request to shut down is never withdrawn,
//! and an older metadata offset only delays a stop.

use alloc::string::String;
use alloc::vec::Vec;

use super::shard::{Decision, Session, SessionChange, Settings, Shard};
use super::{answers, broker_epoch_at};
use crate::coordinator::{Context, TimerChange};
use crate::error_code::ErrorCode;
use crate::flaw::Flaw;
use crate::metadata::{
    BrokerRegistration, BrokerRegistrationChangeRecord, METADATA_VERSION, MetadataRecord,
    RegisterBrokerRecord,
};
use crate::msg::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest,
    BrokerRegistrationResponse, Response,
};
use crate::note::Note;
use crate::types::{BrokerEpoch, Endpoint, LeaderEpoch, Monotonic, NodeId, Offset, Uuid};

/// A timer delay of more than the heartbeat interval divided by this is not caused by mere load.
const LATE_PART: u32 = 4;

/// The most bytes of a host, a rack, or the name of a listener or feature.
const MAX_NAME: usize = 255;
/// The most listeners of a broker.
const MAX_LISTENERS: usize = 16;
/// The most features of a broker.
const MAX_FEATURES: usize = 64;
/// The most log directories of a broker.
const MAX_LOG_DIRS: usize = 128;

/// A broker's state in the heartbeat protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fenced,
    Unfenced,
    ControlledShutdown,
    /// Fenced, and allowed to stop.
    ShutDownNow,
}

impl Shard {
    /// Checks that the request is from the registered incarnation.
    pub(super) fn check_broker_epoch(
        &self,
        broker: NodeId,
        epoch: BrokerEpoch,
    ) -> Result<&BrokerRegistration, ErrorCode> {
        let registered = self.image.brokers.get(&broker).ok_or(ErrorCode::BrokerIdNotRegistered)?;
        if registered.epoch != epoch {
            return Err(ErrorCode::StaleBrokerEpoch);
        }
        Ok(registered)
    }

    /// Whether the registered incarnation is still alive, as far as this controller can know. If a
    /// session of this very node has not been confirmed since this process became controller, it
    /// belongs to an earlier process: two processes of one node do not run at the same time.
    fn lives(&self, settings: &Settings, broker: NodeId) -> bool {
        self.sessions.get(&broker).is_some_and(|session| session.heard || broker != settings.node)
    }

    /// BrokerRegistration: a broker starts, or retries because it missed the answer.
    pub(super) fn register_broker(
        &self,
        settings: &Settings,
        request: &BrokerRegistrationRequest,
        context: &Context,
    ) -> Decision {
        let broker = request.broker;
        if request.cluster_id != settings.cluster_id {
            let error = ErrorCode::InconsistentClusterId;
            return Decision::answer(answers::registration_failed(error));
        }
        if !is_sound(request, context.next) {
            let error = ErrorCode::InvalidRegistration;
            return Decision::answer(answers::registration_failed(error));
        }
        if !self.supports_features(&request.features) {
            let error = ErrorCode::UnsupportedVersion;
            return Decision::answer(answers::registration_failed(error));
        }
        let existing = self.image.brokers.get(&broker);
        let same = existing.filter(|existing| {
            existing.incarnation == request.incarnation
                // Without the rule, a new incarnation continues as the previous one.
                || settings.flaws.has(Flaw::LeaderResumesEpoch)
        });
        if existing.is_some() && same.is_none() && self.lives(settings, broker) {
            let error = ErrorCode::DuplicateBrokerRegistration;
            return Decision::answer(answers::registration_failed(error));
        }
        // The registration comes first in its batch, so that its epoch is its offset.
        let record = RegisterBrokerRecord {
            broker,
            incarnation: request.incarnation,
            epoch: same.map_or(broker_epoch_at(context.next), |same| same.epoch),
            endpoints: request.listeners.clone(),
            features: request.features.clone(),
            rack: request.rack.clone(),
            fenced: same.is_none_or(|same| same.fenced),
            in_controlled_shutdown: same.is_some_and(|same| same.in_controlled_shutdown),
            log_dirs: request.log_dirs.clone(),
        };
        let response =
            BrokerRegistrationResponse { error: ErrorCode::None, broker_epoch: record.epoch };
        let mut decision = Decision::answer(Response::BrokerRegistration(response));
        decision.records.push(MetadataRecord::RegisterBroker(record));
        if same.is_none() {
            decision.records.extend(self.remove_from_isrs(broker));
            self.end_session(broker, &mut decision);
        }
        decision
    }

    /// The finalized metadata.version must be in the range that the broker gives for it, if it
    /// gives one.
    fn supports_features(&self, features: &[(String, i16, i16)]) -> bool {
        let finalized = self.image.features.get(METADATA_VERSION);
        features
            .iter()
            .filter(|(name, _, _)| name == METADATA_VERSION)
            .all(|(_, min, max)| finalized.is_none_or(|level| (min..=max).contains(&level)))
    }

    /// The records that fence a broker.
    pub(super) fn fence(&self, broker: NodeId) -> Vec<MetadataRecord> {
        let mut records = self.remove_from_isrs(broker);
        if let Some(registered) = self.image.brokers.get(&broker).filter(|b| !b.fenced) {
            records.push(registration_change(broker, registered.epoch, Some(true), false));
        }
        records
    }

    /// The controller becomes active. It is not known when the unfenced brokers were last heard
    /// from, so each gets a full session.
    pub(super) fn take_over(&self, settings: &Settings, epoch: LeaderEpoch) -> Decision {
        let mut decision = Decision::default();
        decision.notes.push(Note::ControllerActive { epoch });
        for (broker, _) in self.image.brokers.iter().filter(|(_, broker)| !broker.fenced) {
            start_session(*broker, Session::unheard(), settings, &mut decision);
        }
        decision
    }

    /// A session's timer fired: fences the broker.
    pub(super) fn session_ends(
        &self,
        settings: &Settings,
        broker: NodeId,
        deadline: Monotonic,
        context: &Context,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(session) = self.sessions.get(&broker).copied() else { return decision };
        if stood_still(settings, deadline, context.now) && !session.renewed {
            let session = Session { renewed: true, ..session };
            start_session(broker, session, settings, &mut decision);
            decision.notes.push(Note::SessionRenewed { broker });
        } else {
            decision.notes.push(Note::SessionExpired { broker });
            decision.records = self.fence(broker);
            self.end_session(broker, &mut decision);
        }
        decision
    }

    fn end_session(&self, broker: NodeId, decision: &mut Decision) {
        if self.sessions.contains_key(&broker) {
            decision.changes.push(SessionChange::End(broker));
            decision.timers.push((broker, TimerChange::Cancel));
        }
    }

    /// BrokerHeartbeat: keeps the session, and moves the broker between its states.
    pub(super) fn broker_heartbeat(
        &self,
        settings: &Settings,
        request: &BrokerHeartbeatRequest,
        context: &Context,
    ) -> Decision {
        let (broker, epoch) = (request.broker, request.broker_epoch);
        let registered = match self.check_broker_epoch(broker, epoch) {
            Ok(registered) => registered,
            Err(error) => return Decision::answer(answers::heartbeat_failed(error)),
        };
        // No broker has applied records that were never written. It would count as knowing future
        // changes.
        if !(Offset(-1)..context.next).contains(&request.current_metadata_offset) {
            return Decision::answer(answers::heartbeat_failed(ErrorCode::InvalidRequest));
        }
        let current = self.state_of(broker, registered);
        let next = self.next_state(current, request);
        let records = match next {
            _ if next == current => Vec::new(),
            State::Fenced | State::ShutDownNow => self.fence(broker),
            State::Unfenced => {
                let mut records =
                    alloc::vec![registration_change(broker, epoch, Some(false), false)];
                records.extend(self.elect_leaderless(Some(broker)));
                records
            }
            State::ControlledShutdown => {
                let mut records = Vec::new();
                if !registered.in_controlled_shutdown {
                    records.push(registration_change(broker, epoch, None, true));
                }
                records.extend(self.remove_from_isrs(broker));
                records
            }
        };
        let response = BrokerHeartbeatResponse {
            error: ErrorCode::None,
            is_caught_up: caught_up(request),
            is_fenced: matches!(next, State::Fenced | State::ShutDownNow),
            should_shut_down: next == State::ShutDownNow,
        };
        let mut decision = Decision::answer(Response::BrokerHeartbeat(response));
        match next {
            State::Fenced | State::ShutDownNow => self.end_session(broker, &mut decision),
            State::Unfenced | State::ControlledShutdown => {
                let before = self.sessions.get(&broker).and_then(|session| session.shutdown_at);
                let moved = context.next + records.len() as i64;
                let session = Session {
                    metadata_offset: request.current_metadata_offset,
                    shutdown_at: (next == State::ControlledShutdown)
                        .then(|| before.unwrap_or(moved)),
                    heard: true,
                    renewed: false,
                };
                start_session(broker, session, settings, &mut decision);
            }
        }
        Decision { records, ..decision }
    }

    fn state_of(&self, broker: NodeId, registered: &BrokerRegistration) -> State {
        let shutting_down =
            self.sessions.get(&broker).is_some_and(|session| session.shutdown_at.is_some());
        if registered.fenced {
            State::Fenced
        } else if shutting_down {
            State::ControlledShutdown
        } else {
            State::Unfenced
        }
    }

    /// Kafka's `calculateNextBrokerState`.
    fn next_state(&self, current: State, request: &BrokerHeartbeatRequest) -> State {
        match current {
            State::Fenced if request.want_shut_down => State::ShutDownNow,
            State::Fenced if !request.want_fence && caught_up(request) => State::Unfenced,
            State::Fenced => State::Fenced,
            State::Unfenced if request.want_fence && request.want_shut_down => State::ShutDownNow,
            State::Unfenced if request.want_fence => State::Fenced,
            State::Unfenced if request.want_shut_down && self.leads_any(request.broker) => {
                State::ControlledShutdown
            }
            State::Unfenced if request.want_shut_down => State::ShutDownNow,
            State::Unfenced => State::Unfenced,
            State::ControlledShutdown if self.leads_any(request.broker) => {
                State::ControlledShutdown
            }
            // The others must have seen that the leaderships moved before it stops.
            State::ControlledShutdown if self.shutdown_seen(request.broker) => State::ShutDownNow,
            State::ControlledShutdown => State::ControlledShutdown,
            State::ShutDownNow => State::ShutDownNow,
        }
    }

    /// Whether all active brokers have applied the records that moved this one's leaderships away.
    fn shutdown_seen(&self, broker: NodeId) -> bool {
        let moved = self.sessions.get(&broker).and_then(|session| session.shutdown_at);
        let Some(moved) = moved else { return true };
        let mut active = self.sessions.iter().filter(|(node, session)| {
            session.shutdown_at.is_none() && self.image.is_active(**node)
        });
        active.all(|(_, session)| session.metadata_offset >= Offset(moved.0 - 1))
    }
}

fn start_session(broker: NodeId, session: Session, settings: &Settings, decision: &mut Decision) {
    decision.changes.push(SessionChange::Live(broker, session));
    decision.timers.push((broker, TimerChange::After(settings.session_timeout)));
}

/// Whether this node was paused (SIGSTOP, a suspended machine, a long scheduling delay) when this
/// deadline passed. If so, the lack of heartbeats says nothing about the brokers: their heartbeats
/// wait in unread buffers, and without this rule all brokers are fenced at once. Late means by more
/// than a quarter of a heartbeat interval, which exceeds a busy node's timer delays. It must not be
/// much more: a pause hardly longer than a session already ends every session. A session is renewed
/// only once, or an always slow controller would never fence dead brokers.
///
/// Source: the spirit of KAFKA-15019, where a heartbeat that arrives while the controller is busy
/// counts as contact even though it is handled late.
fn stood_still(settings: &Settings, deadline: Monotonic, now: Monotonic) -> bool {
    !settings.flaws.has(Flaw::FenceOnWaking)
        && now > deadline.after(settings.heartbeat_interval / LATE_PART)
}

/// Whether the broker has applied the metadata up to its own registration.
fn caught_up(request: &BrokerHeartbeatRequest) -> bool {
    request.current_metadata_offset.0 >= request.broker_epoch.0
}

/// Whether a broker can have sent this, with its record at `next`. Every node stores it
/// permanently.
fn is_sound(request: &BrokerRegistrationRequest, next: Offset) -> bool {
    let named = |name: &str| (1..=MAX_NAME).contains(&name.len());
    let listeners = &request.listeners;
    let sound_listener = |(at, (name, endpoint)): (usize, &(String, Endpoint))| {
        named(name)
            && named(&endpoint.host)
            && endpoint.port != 0
            && listeners[..at].iter().all(|(earlier, _)| earlier != name)
    };
    let sound_feature = |(name, min, max): &(String, i16, i16)| named(name) && min <= max;
    request.broker.known().is_some()
        && request.incarnation != Uuid::ZERO
        && (1..=MAX_LISTENERS).contains(&listeners.len())
        && listeners.iter().enumerate().all(sound_listener)
        && request.features.len() <= MAX_FEATURES
        && request.features.iter().all(sound_feature)
        && request.rack.as_ref().is_none_or(|rack| rack.len() <= MAX_NAME)
        && request.log_dirs.len() <= MAX_LOG_DIRS
        && (BrokerEpoch::NONE.0..next.0).contains(&request.previous_broker_epoch.0)
}

fn registration_change(
    broker: NodeId,
    epoch: BrokerEpoch,
    fenced: Option<bool>,
    in_controlled_shutdown: bool,
) -> MetadataRecord {
    MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker,
        epoch,
        fenced,
        in_controlled_shutdown,
        log_dirs: Vec::new(),
    })
}
