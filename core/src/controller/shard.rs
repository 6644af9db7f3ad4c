//! The controller's state and the commands on it: the shard of the metadata log.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use super::answers;
use crate::config::{NodeConfig, TopicConfig};
use crate::coordinator::{self, Context, Failure, Outcome, Position};
use crate::env::{Env, Probe};
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReplyTo, TimerKey};
use crate::flaw::FlawSet;
use crate::metadata::{
    FeatureLevelRecord, METADATA_VERSION, METADATA_VERSION_LEVEL, MetadataImage, MetadataRecord,
    ReplayError,
};
use crate::msg::{AdminRequest, ControllerRequest, Response};
use crate::note::Note;
use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicPartition, Uuid};

/// What the controller takes from the node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub(super) node: NodeId,
    pub(super) cluster_id: String,
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) request_timeout: Duration,
    pub(super) num_partitions: i32,
    pub(super) replication_factor: i16,
    pub(super) delete_topics: bool,
    pub(super) max_broker_partitions: u32,
    pub(super) topic_defaults: TopicConfig,
    pub(super) flaws: FlawSet,
}

impl Settings {
    pub(super) fn of(config: &NodeConfig) -> Settings {
        Settings {
            node: config.node,
            cluster_id: config.cluster_id.clone(),
            session_timeout: config.session_timeout,
            heartbeat_interval: config.heartbeat_interval,
            request_timeout: config.request_timeout,
            num_partitions: config.num_partitions,
            replication_factor: config.default_replication_factor,
            delete_topics: config.delete_topics,
            max_broker_partitions: config.max_broker_partitions,
            topic_defaults: config.topic_defaults.clone(),
            flaws: config.flaws,
        }
    }
}

/// The session of an unfenced broker, kept alive by heartbeats. It ends with the broker's timer.
/// This is soft state: a new controller starts new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// The last metadata offset that the broker reported as applied.
    pub(super) metadata_offset: Offset,
    /// In controlled shutdown: the log end after its leaderships moved away.
    pub(super) shutdown_at: Option<Offset>,
    /// Whether this controller heard from the broker itself, rather than inheriting the session.
    pub(super) heard: bool,
    /// It was renewed without a heartbeat, because this node had been paused. This happens only
    /// once.
    pub(super) renewed: bool,
}

impl Session {
    /// A session inherited from the previous controller.
    pub(super) fn unheard() -> Session {
        Session { metadata_offset: Offset(-1), shutdown_at: None, heard: false, renewed: false }
    }
}

/// Hard state (the image) and soft state (the sessions).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shard {
    pub(super) image: MetadataImage,
    pub(super) sessions: BTreeMap<NodeId, Session>,
}

/// What the controller may be asked to do.
pub(super) enum Command {
    /// A client's request.
    Admin(AdminRequest, Vec<TopicDraw>),
    /// A broker's request.
    Broker(ControllerRequest),
    /// A broker sent no heartbeat for a whole session, which ended at this time.
    SessionEnd(NodeId, Monotonic),
    /// It has become active in this epoch.
    TakeOver(LeaderEpoch),
    /// The log is empty: write its first records.
    Bootstrap,
    /// A controller took over: elect leaders that the previous one did not get to.
    ElectLeaderless,
}

/// Random values for one new topic; a CreateTopics comes with one for each of its topics.
#[derive(Clone, Copy)]
pub(super) struct TopicDraw {
    pub(super) id: Uuid,
    pub(super) start: u64,
}

/// A change of a broker's session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SessionChange {
    Live(NodeId, Session),
    End(NodeId),
}

/// The records to write, the answer, and the change of sessions.
pub(super) type Decision = coordinator::Decision<Shard>;

/// The destination of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin {
    pub(super) from: ReplyTo,
    /// The client's version, if the request came in an envelope.
    pub(super) envelope: Option<i16>,
}

impl coordinator::Shard for Shard {
    type Settings = Settings;
    type Command = Command;
    type Record = MetadataRecord;
    type Attributes = ();
    type Unfit = ReplayError;
    type Change = SessionChange;
    /// The session of this broker.
    type Timer = NodeId;
    type Caller = Origin;
    type Reply = Response;
    type Fact = Infallible;

    fn empty(_: &Settings) -> Shard {
        Shard { image: MetadataImage::new(), sessions: BTreeMap::new() }
    }

    fn decide(
        &self,
        settings: &Settings,
        _: Option<&Origin>,
        command: &Command,
        context: &Context,
    ) -> Decision {
        match command {
            Command::Admin(request, draws) => self.decide_for_admin(settings, request, draws),
            Command::Broker(request) => self.decide_for_broker(settings, request, context),
            Command::SessionEnd(broker, deadline) => {
                self.session_ends(settings, *broker, *deadline, context)
            }
            Command::TakeOver(epoch) => self.take_over(settings, *epoch),
            Command::Bootstrap => {
                let level = FeatureLevelRecord {
                    name: String::from(METADATA_VERSION),
                    level: METADATA_VERSION_LEVEL,
                };
                Decision::records(vec![MetadataRecord::FeatureLevel(level)])
            }
            Command::ElectLeaderless => Decision::records(self.elect_leaderless(None)),
        }
    }

    fn replay(
        &mut self,
        at: Position,
        (): &(),
        record: &MetadataRecord,
    ) -> Result<(), ReplayError> {
        self.image.replay(at.offset, at.epoch, record)
    }

    fn note(&self, record: &MetadataRecord, probe: &mut dyn Probe) {
        let partition = match record {
            MetadataRecord::RegisterBroker(record) => {
                let (broker, epoch) = (record.broker, record.epoch);
                return probe.note(Note::BrokerRegistered { broker, epoch });
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                let broker = record.broker;
                return match record.fenced {
                    Some(true) => probe.note(Note::BrokerFenced { broker }),
                    Some(false) => probe.note(Note::BrokerUnfenced { broker }),
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
        self.note_partition(partition, probe);
    }

    fn apply(&mut self, change: SessionChange) {
        match change {
            SessionChange::Live(broker, session) => {
                self.sessions.insert(broker, session);
            }
            SessionChange::End(broker) => {
                self.sessions.remove(&broker);
            }
        }
    }

    fn activation(&self, epoch: LeaderEpoch) -> Vec<Command> {
        let mut commands = vec![Command::TakeOver(epoch)];
        if self.image.features.is_empty() {
            commands.push(Command::Bootstrap);
        }
        commands.push(Command::ElectLeaderless);
        commands
    }

    fn timeout(broker: NodeId, deadline: Monotonic) -> Command {
        Command::SessionEnd(broker, deadline)
    }

    fn patience(settings: &Settings, command: &Command) -> Duration {
        let most = settings.request_timeout;
        let asked = match command {
            Command::Admin(AdminRequest::CreateTopics(request), _) => request.timeout_ms,
            Command::Admin(AdminRequest::DeleteTopics(request), _) => request.timeout_ms,
            Command::Broker(_)
            | Command::SessionEnd(..)
            | Command::TakeOver(_)
            | Command::Bootstrap
            | Command::ElectLeaderless => 0,
        };
        match u64::try_from(asked) {
            Ok(ms) if ms > 0 => most.min(Duration::from_millis(ms)),
            // No timeout given (some clients send 0 to leave it to the broker).
            _ => most,
        }
    }

    /// No request of the controller waits for another.
    fn held(&self) -> Vec<(Origin, Response)> {
        Vec::new()
    }

    fn connection(origin: &Origin) -> Option<ConnectionId> {
        Some(origin.from.connection)
    }

    fn answer(to: Origin, outcome: Outcome<'_, Shard>, env: &mut dyn Env, _: &mut Vec<Infallible>) {
        let response = match (outcome, to.envelope) {
            (Outcome::Done(reply), envelope) => answers::wrap(envelope, reply),
            // What was appended may still be committed. NOT_CONTROLLER means "ask again", not "no".
            (Outcome::Failed(_, why) | Outcome::Refused(_, why), Some(version))
                if code(why) == ErrorCode::NotController =>
            {
                answers::envelope_error(version, ErrorCode::NotController)
            }
            (Outcome::Failed(reply, why), envelope) => {
                answers::wrap(envelope, answers::failed(reply, code(why)))
            }
            (Outcome::Refused(Command::Admin(request, _), why), envelope) => {
                answers::wrap(envelope, request.refused(code(why)))
            }
            (Outcome::Refused(Command::Broker(request), why), envelope) => {
                answers::wrap(envelope, request.refused(code(why)))
            }
            (
                Outcome::Refused(
                    Command::SessionEnd(..)
                    | Command::TakeOver(_)
                    | Command::Bootstrap
                    | Command::ElectLeaderless,
                    _,
                ),
                _,
            ) => panic!("only a request has a caller"),
        };
        env.respond(to.from, response);
    }

    fn timer_key(_: &Settings, broker: &NodeId) -> TimerKey {
        TimerKey::BrokerSession(*broker)
    }

    fn expiry_key(_: &Settings) -> TimerKey {
        TimerKey::ControllerExpiry
    }
}

/// What a client or broker is told. The metadata log refuses an append only for want of leadership.
fn code(why: Failure) -> ErrorCode {
    match why {
        Failure::NotCoordinator | Failure::Loading => ErrorCode::NotController,
        Failure::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        Failure::TooLarge => ErrorCode::RecordListTooLarge,
        Failure::TimedOut => ErrorCode::RequestTimedOut,
    }
}

impl Shard {
    fn decide_for_admin(
        &self,
        settings: &Settings,
        request: &AdminRequest,
        draws: &[TopicDraw],
    ) -> Decision {
        match request {
            AdminRequest::CreateTopics(request) => self.create_topics(settings, request, draws),
            AdminRequest::DeleteTopics(request) => self.delete_topics(settings, request),
        }
    }

    fn decide_for_broker(
        &self,
        settings: &Settings,
        request: &ControllerRequest,
        context: &Context,
    ) -> Decision {
        match request {
            ControllerRequest::BrokerRegistration(request) => {
                self.register_broker(settings, request, context)
            }
            ControllerRequest::BrokerHeartbeat(request) => {
                self.broker_heartbeat(settings, request, context)
            }
            ControllerRequest::AlterPartition(request) => self.alter_partition(request),
        }
    }

    fn note_partition(&self, partition: TopicPartition, probe: &mut dyn Probe) {
        let registration = self.image.partition(partition).expect("it was replayed a moment ago");
        probe.note(Note::PartitionChanged {
            partition,
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
            isr: registration.isr.clone(),
            partition_epoch: registration.partition_epoch,
        });
    }
}
