//! The active controller: Kafka's coordinator shard over the metadata log.
//!
//! `Shard::decide` reads the state and returns the records to write and the answer; only
//! [`MetadataImage::replay`] changes hard state. Soft state (sessions) is separate: it is rebuilt
//! from heartbeats after a failover. An answer is parked until everything that it was decided on is
//! committed, even if it wrote nothing itself: it may depend on records that are not committed yet.
//! Losing leadership drops all of it.
//!
//! This file is the shell: timers, parking, answering. The decisions live in `brokers`,
//! `partitions` and `topics`. What does not live here: committing records ([`crate::quorum`]) and
//! how brokers act on them.

mod answers;
mod brokers;
mod partitions;
mod shard;
mod topics;

pub use topics::validate_topic_name;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::NodeConfig;
use crate::env::{Env, Site};
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReplyTo, TimerKey};
use crate::flaw::Flaw;
use crate::metadata::{MetadataImage, MetadataRecord};
use crate::msg::{Request, Response};
use crate::note::Note;
use crate::types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, TopicPartition, Uuid};

use self::shard::{Command, Context, Session, SessionChange, Settings, Shard, TopicDraw};

/// A timer delay of more than the heartbeat interval divided by this is not caused by mere load.
const LATE_PART: u32 = 4;

/// What the controller needs from the metadata log.
pub trait MetadataLog {
    /// The offset of the next record.
    fn end(&self) -> Offset;
    /// Everything below this offset is committed and was reported as committed.
    fn committed(&self) -> Offset;
    /// Appends records as one atomic batch. Returns the end offset after them, or `None` if this
    /// node may not (or may no longer) append.
    fn append(&mut self, records: &[MetadataRecord], env: &mut dyn Env) -> Option<Offset>;
}

/// The controller of one node; active while the node leads the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    settings: Settings,
    active: Option<Active>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Active {
    epoch: LeaderEpoch,
    shard: Shard,
    /// Answers, keyed by the log end that has to be committed first.
    parked: BTreeMap<(Offset, ReplyTo), Parked>,
    /// When the first of them times out.
    expiry: Option<Monotonic>,
}

/// An answer that waits for its records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parked {
    reply: Response,
    /// The client's version, if the request came in an envelope.
    envelope: Option<i16>,
    deadline: Monotonic,
}

impl Controller {
    /// A controller that is not active.
    pub fn new(config: &NodeConfig) -> Controller {
        Controller { settings: Settings::of(config), active: None }
    }

    /// Whether this is the active controller.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// The epoch in which it is active.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.active.as_ref().map(|active| active.epoch)
    }

    /// The image with all decided records, committed or not.
    pub fn image(&self) -> Option<&MetadataImage> {
        self.active.as_ref().map(|active| &active.shard.image)
    }

    /// This node leads the quorum, and `image` holds everything in the log (see
    /// [`MetadataImage::skip`] for the control records).
    pub fn on_became_leader(
        &mut self,
        epoch: LeaderEpoch,
        image: MetadataImage,
        log: &mut dyn MetadataLog,
        env: &mut dyn Env,
    ) {
        self.on_lost_leadership(env);
        assert_eq!(image.applied.next(), log.end(), "the controller starts from all of the log");
        let fresh = image.features.is_empty();
        let shard = Shard { image, sessions: BTreeMap::new() };
        self.active = Some(Active { epoch, shard, parked: BTreeMap::new(), expiry: None });
        env.note(Note::ControllerActive { epoch });
        // It is not known when these brokers were last heard from, so each gets a full session.
        let unfenced: Vec<NodeId> = self.unfenced_brokers();
        for broker in unfenced {
            self.start_session(broker, Session::unheard(), env);
        }
        if fresh {
            self.run(Command::Bootstrap, None, log, env);
        }
        self.run(Command::ElectLeaderless, None, log, env);
    }

    /// Another node leads: drops all state. Waiting callers must ask that node.
    pub fn on_lost_leadership(&mut self, env: &mut dyn Env) {
        let Some(active) = self.active.take() else { return };
        for broker in active.shard.sessions.keys() {
            env.disarm(TimerKey::BrokerSession(*broker));
        }
        if active.expiry.is_some() {
            env.disarm(TimerKey::ControllerExpiry);
        }
        for ((_, to), parked) in active.parked {
            // The appended records may still be committed. NOT_CONTROLLER means "ask again", not
            // "no".
            parked.answer_failed(to, ErrorCode::NotController, env);
        }
    }

    /// Everything below `upto` is committed.
    pub fn on_committed(&mut self, upto: Offset, env: &mut dyn Env) {
        let Some(active) = &mut self.active else { return };
        while let Some(entry) = active.parked.first_entry() {
            let (needs, to) = *entry.key();
            if needs > upto {
                break;
            }
            let parked = entry.remove();
            env.respond(to, answers::wrap(parked.envelope, parked.reply));
        }
    }

    /// A request of one of the controller's APIs: registration, heartbeat, AlterPartition,
    /// CreateTopics, DeleteTopics, or an envelope around one of the last two.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        request: Request,
        log: &mut dyn MetadataLog,
        env: &mut dyn Env,
    ) {
        let (envelope, request) = match request {
            Request::Envelope(envelope) => match *envelope.request {
                inner @ (Request::CreateTopics(_) | Request::DeleteTopics(_)) => {
                    (Some(envelope.version), inner)
                }
                _ => {
                    let error = ErrorCode::InvalidRequest;
                    return env.respond(from, answers::envelope_error(envelope.version, error));
                }
            },
            other => (None, other),
        };
        if self.active.is_none() {
            let answer = match envelope {
                Some(version) => answers::envelope_error(version, ErrorCode::NotController),
                None => answers::refusal(&request, ErrorCode::NotController),
            };
            return env.respond(from, answer);
        }
        let wait = self.patience(&request);
        let origin = Origin { from, envelope, wait };
        self.run(Command::Request(request), Some(origin), log, env);
    }

    /// A timer of the controller fired.
    pub fn on_timer(
        &mut self,
        key: TimerKey,
        deadline: Monotonic,
        log: &mut dyn MetadataLog,
        env: &mut dyn Env,
    ) {
        let Some(active) = &mut self.active else { return };
        if let TimerKey::BrokerSession(broker) = key {
            let session = active.shard.sessions.get(&broker).copied();
            let Some(session) = session.filter(|session| session.deadline == deadline) else {
                return;
            };
            if self.stood_still(deadline, env.now()) && !session.renewed {
                self.start_session(broker, Session { renewed: true, ..session }, env);
                env.note(Note::SessionRenewed { broker });
            } else {
                env.note(Note::SessionExpired { broker });
                self.run(Command::ExpireSession(broker), None, log, env);
            }
        } else if key == TimerKey::ControllerExpiry && active.expiry == Some(deadline) {
            active.expiry = None;
            let now = env.now();
            let late: Vec<_> = active
                .parked
                .iter()
                .filter(|(_, parked)| parked.deadline <= now)
                .map(|(key, _)| *key)
                .collect();
            for key in late {
                if let Some(parked) = active.parked.remove(&key) {
                    parked.answer_failed(key.1, ErrorCode::RequestTimedOut, env);
                }
            }
            active.arm_expiry(env);
        }
    }

    /// Whether this node was paused (SIGSTOP, a suspended machine, a long scheduling delay) when
    /// this deadline passed. If so, the lack of heartbeats says nothing about the brokers: their
    /// heartbeats wait in unread buffers, and without this rule all brokers are fenced at once.
    /// Late means by more than a quarter of a heartbeat interval, which exceeds a busy node's timer
    /// delays. It must not be much more: a pause hardly longer than a session already ends every
    /// session. A session is renewed only once, or an always slow controller would never fence dead
    /// brokers.
    ///
    /// Source: the spirit of KAFKA-15019, where a heartbeat that arrives while the controller is
    /// busy counts as contact even though it is handled late.
    fn stood_still(&self, deadline: Monotonic, now: Monotonic) -> bool {
        !self.settings.flaws.has(Flaw::FenceOnWaking)
            && now > deadline.after(self.settings.heartbeat_interval / LATE_PART)
    }

    /// Drops the answers parked for this connection. Their records may still be committed.
    pub fn on_connection_closed(&mut self, connection: ConnectionId) {
        if let Some(active) = &mut self.active {
            active.parked.retain(|(_, to), _| to.connection != connection);
        }
    }

    fn unfenced_brokers(&self) -> Vec<NodeId> {
        self.image().map_or_else(Vec::new, |image| {
            image.brokers.iter().filter(|(_, b)| !b.fenced).map(|(id, _)| *id).collect()
        })
    }

    /// How long a request's answer may stay parked.
    fn patience(&self, request: &Request) -> Duration {
        let most = self.settings.request_timeout;
        let asked = match request {
            Request::CreateTopics(request) => request.timeout_ms,
            Request::DeleteTopics(request) => request.timeout_ms,
            _ => 0,
        };
        match u64::try_from(asked) {
            Ok(ms) if ms > 0 => most.min(Duration::from_millis(ms)),
            // No timeout given (some clients send 0 to leave it to the broker).
            _ => most,
        }
    }

    /// Decides, appends, replays, and parks the answer.
    fn run(
        &mut self,
        command: Command,
        origin: Option<Origin>,
        log: &mut dyn MetadataLog,
        env: &mut dyn Env,
    ) {
        let Some(active) = &mut self.active else { return };
        let context = Context { next: log.end(), draws: draws_for(&command, env) };
        let mut decision = active.shard.decide(&self.settings, &command, &context);
        let mut end = context.next;
        if !decision.records.is_empty() {
            match log.append(&decision.records, env) {
                Some(after) => {
                    end = after;
                    active.replay(context.next, &decision.records, env);
                }
                None => {
                    // The quorum stepped down but has not reported it yet.
                    let refused = decision.reply.take();
                    let failed = refused.map(|r| answers::failed(r, ErrorCode::NotController));
                    if let (Some(origin), Some(reply)) = (origin, failed) {
                        env.respond(origin.from, answers::wrap(origin.envelope, reply));
                    }
                    return;
                }
            }
        }
        if let (Some(origin), Some(reply)) = (origin, decision.reply) {
            active.answer_when_committed(origin, reply, end, log.committed(), env);
        }
        match decision.session {
            SessionChange::Keep => {}
            SessionChange::Live(broker, session) => self.start_session(broker, session, env),
            SessionChange::End(broker) => {
                let ended = self.active.as_mut().and_then(|a| a.shard.sessions.remove(&broker));
                if ended.is_some() {
                    env.disarm(TimerKey::BrokerSession(broker));
                }
            }
        }
    }

    fn start_session(&mut self, broker: NodeId, mut session: Session, env: &mut dyn Env) {
        let Some(active) = &mut self.active else { return };
        session.deadline = env.now().after(self.settings.session_timeout);
        env.arm(TimerKey::BrokerSession(broker), session.deadline);
        active.shard.sessions.insert(broker, session);
    }
}

/// The destination of a command's answer.
struct Origin {
    from: ReplyTo,
    envelope: Option<i16>,
    wait: Duration,
}

impl Active {
    fn replay(&mut self, first: Offset, records: &[MetadataRecord], env: &mut dyn Env) {
        for (offset, record) in (first.0..).map(Offset).zip(records) {
            self.shard
                .image
                .replay(offset, self.epoch, record)
                .expect("the controller writes only records that fit its image");
            self.note(record, env);
        }
    }

    fn note(&self, record: &MetadataRecord, env: &mut dyn Env) {
        let partition = match record {
            MetadataRecord::RegisterBroker(record) => {
                let (broker, epoch) = (record.broker, record.epoch);
                return env.note(Note::BrokerRegistered { broker, epoch });
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                let broker = record.broker;
                return match record.fenced {
                    Some(true) => env.note(Note::BrokerFenced { broker }),
                    Some(false) => env.note(Note::BrokerUnfenced { broker }),
                    None => {}
                };
            }
            MetadataRecord::Partition(record) => record.partition,
            MetadataRecord::PartitionChange(record) => record.partition,
            MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::Topic(_)
            | MetadataRecord::Config(_)
            | MetadataRecord::RemoveTopic(_)
            | MetadataRecord::FeatureLevel(_)
            | MetadataRecord::NoOp => return,
        };
        self.note_partition(partition, env);
    }

    fn note_partition(&self, partition: TopicPartition, env: &mut dyn Env) {
        let registration =
            self.shard.image.partition(partition).expect("it was replayed a moment ago");
        env.note(Note::PartitionChanged {
            partition,
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
            isr: registration.isr.clone(),
            partition_epoch: registration.partition_epoch,
        });
    }

    fn answer_when_committed(
        &mut self,
        origin: Origin,
        reply: Response,
        needs: Offset,
        committed: Offset,
        env: &mut dyn Env,
    ) {
        if needs <= committed {
            return env.respond(origin.from, answers::wrap(origin.envelope, reply));
        }
        let deadline = env.now().after(origin.wait);
        let parked = Parked { reply, envelope: origin.envelope, deadline };
        self.parked.insert((needs, origin.from), parked);
        self.expire_by(deadline, env);
    }

    /// Arms the timer for the earliest deadline. It may be armed earlier, never later.
    fn arm_expiry(&mut self, env: &mut dyn Env) {
        if let Some(first) = self.parked.values().map(|parked| parked.deadline).min() {
            self.expire_by(first, env);
        }
    }

    /// The same for one more deadline, without looking at all the others.
    fn expire_by(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        if self.expiry.is_none_or(|armed| deadline < armed) {
            self.expiry = Some(deadline);
            env.arm(TimerKey::ControllerExpiry, deadline);
        }
    }
}

impl Parked {
    fn answer_failed(self, to: ReplyTo, error: ErrorCode, env: &mut dyn Env) {
        let answer = match self.envelope {
            Some(version) if error == ErrorCode::NotController => {
                answers::envelope_error(version, error)
            }
            envelope => answers::wrap(envelope, answers::failed(self.reply, error)),
        };
        env.respond(to, answer);
    }
}

/// Draws the random values that the command may need, so that deciding is a pure function.
fn draws_for(command: &Command, env: &mut dyn Env) -> Vec<TopicDraw> {
    let Command::Request(Request::CreateTopics(request)) = command else { return Vec::new() };
    let draw = |_| TopicDraw { id: random_uuid(env), start: env.draw(Site::Placement, u64::MAX) };
    request.topics.iter().map(draw).collect()
}

/// A random UUID (version 4), never one that Kafka reserves or that prints with a leading dash.
pub fn random_uuid(env: &mut dyn Env) -> Uuid {
    let high = u128::from(draw_bits(env));
    let low = u128::from(draw_bits(env));
    let version = (high << 64 | low) & !(0xf << 76) | 4 << 76;
    // Variant 10; the first bit is clear, so that the text never starts with a dash (bits 111110).
    Uuid(version & !(3 << 62) & !(1 << 127) | 2 << 62)
}

fn draw_bits(env: &mut dyn Env) -> u64 {
    env.draw(Site::Uuid, u64::MAX)
}

/// The epoch that a registration at `next` gets: the offset of its record (KIP-631).
fn broker_epoch_at(next: Offset) -> BrokerEpoch {
    BrokerEpoch(next.0)
}
