//! The controller's state and the commands on it. [`Shard::decide`] is a pure function.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::{NodeConfig, TopicConfig};
use crate::flaw::FlawSet;
use crate::metadata::{
    FeatureLevelRecord, METADATA_VERSION, METADATA_VERSION_LEVEL, MetadataImage, MetadataRecord,
};
use crate::msg::{Request, Response};
use crate::types::{Monotonic, NodeId, Offset, Uuid};

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

/// The session of an unfenced broker, kept alive by heartbeats. This is soft state: a new
/// controller starts new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// When it ends without a further heartbeat; set by the code that starts it.
    pub(super) deadline: Monotonic,
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
        Session {
            deadline: Monotonic(0),
            metadata_offset: Offset(-1),
            shutdown_at: None,
            heard: false,
            renewed: false,
        }
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
    /// A request of one of its APIs.
    Request(Request),
    /// A broker sent no heartbeat for a whole session.
    ExpireSession(NodeId),
    /// The log is empty: write its first records.
    Bootstrap,
    /// A controller took over: elect leaders that the previous one did not get to.
    ElectLeaderless,
}

/// What a decision may use besides the state.
pub(super) struct Context {
    /// The offset of the decision's first record.
    pub(super) next: Offset,
    /// One per topic of a CreateTopics.
    pub(super) draws: Vec<TopicDraw>,
}

/// Entropy for one new topic.
#[derive(Clone, Copy)]
pub(super) struct TopicDraw {
    pub(super) id: Uuid,
    pub(super) start: u64,
}

/// The change to a broker's session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionChange {
    Keep,
    Live(NodeId, Session),
    End(NodeId),
}

/// The records to write (as one batch), the answer to give once they are committed, and the session
/// change.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) records: Vec<MetadataRecord>,
    pub(super) reply: Option<Response>,
    pub(super) session: SessionChange,
}

impl Decision {
    /// A decision that only answers.
    pub(super) fn answer(reply: Response) -> Decision {
        Decision { records: Vec::new(), reply: Some(reply), session: SessionChange::Keep }
    }

    /// A decision that only writes records.
    pub(super) fn records(records: Vec<MetadataRecord>) -> Decision {
        Decision { records, reply: None, session: SessionChange::Keep }
    }
}

impl Shard {
    /// Decides a command. Changes nothing.
    pub(super) fn decide(
        &self,
        settings: &Settings,
        command: &Command,
        context: &Context,
    ) -> Decision {
        match command {
            Command::Request(request) => match request {
                Request::BrokerRegistration(request) => {
                    self.register_broker(settings, request, context)
                }
                Request::BrokerHeartbeat(request) => self.broker_heartbeat(request, context),
                Request::AlterPartition(request) => self.alter_partition(request),
                Request::CreateTopics(request) => self.create_topics(settings, request, context),
                Request::DeleteTopics(request) => self.delete_topics(settings, request),
                Request::Produce(_)
                | Request::Fetch(_)
                | Request::ListOffsets(_)
                | Request::Metadata(_)
                | Request::ApiVersions(_)
                | Request::OffsetForLeaderEpoch(_)
                | Request::Vote(_)
                | Request::BeginQuorumEpoch(_)
                | Request::EndQuorumEpoch(_)
                | Request::Envelope(_) => {
                    panic!("the router gives the controller only requests of its APIs")
                }
            },
            Command::ExpireSession(broker) => {
                let mut decision = Decision::records(self.fence(*broker));
                decision.session = SessionChange::End(*broker);
                decision
            }
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
}
