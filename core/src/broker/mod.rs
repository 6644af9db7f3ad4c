//! The router. It hands each event to the component that it is for, then dispatches the resulting
//! facts ([`Fact`], [`QuorumFact`]) to the other components until none is left. It holds no
//! protocol rule.
//!
//! Opening the log directory lives in [`boot`], registration, heartbeats and stopping in
//! [`lifecycle`], requests to the active controller in [`control`], following the metadata in
//! [`topology`], and the removal of a replica's directory in `departures`.

pub mod boot;
mod checkpoints;
pub mod control;
mod departures;
pub mod lifecycle;
pub mod topology;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::api::fetch::{Fetches, is_of_metadata};
use crate::api::list_offsets::Lookups;
use crate::api::produce::Produces;
use crate::api::{Hosted, api_versions, forwarding, metadata, offset_for_leader_epoch};
use crate::config::NodeConfig;
use crate::controller::Controller;
use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::event::{
    DiskDone, DiskError, DiskOpKind, Event, Origin, ReadTag, ReplyTo, RpcError, TimerKey,
};
use crate::flaw::Flaw;
use crate::metadata::MetadataImage;
use crate::msg::{
    ClusterRequest, DataRequest, Family, FetchRequest, FetchResponse, Request, Response,
};
use crate::note::Note;
use crate::quorum::{Quorum, QuorumFact};
use crate::replica::caches::Caches;
use crate::replica::fetcher::Fetchers;
use crate::replica::{Fact, Partition};
use crate::types::{DirId, METADATA_TOPIC, Monotonic, NodeId};

use boot::Boot;
use control::Control;
use lifecycle::Lifecycle;

/// Whether the process should go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Opening files and recovering logs.
    Starting,
    /// Taking part (perhaps still fenced).
    Running,
    /// A graceful stop has finished: the driver ends the process.
    Stopped,
    /// The log directory failed: the driver ends the process with an error.
    Failed(DiskOpKind, DiskError),
    /// The data on disk is not this node's or cannot be trusted: the driver ends the process. Says
    /// what is wrong, where, and what to do.
    Refused(String),
}

/// A node: broker, controller or both, as one state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    config: NodeConfig,
    status: Status,
    boot: Boot,
    quorum: Quorum,
    controller: Controller,
    image: MetadataImage,
    lifecycle: Lifecycle,
    control: Control,
    hosted: Hosted,
    caches: Caches,
    fetchers: Fetchers,
    produces: Produces,
    fetches: Fetches,
    lookups: Lookups,
    /// Something changed that may let a fetcher continue.
    fetch_wanted: bool,
    facts: Vec<Fact>,
    quorum_facts: Vec<QuorumFact>,
}

/// What to do about a partition's log that is damaged or missing.
const DATA_ADVICE: &str = "restore it from a copy; or, only while another replica of the partition \
                           is in sync, move its directory away, delete its line in \
                           recovery-point-offset-checkpoint and replication-offset-checkpoint, and \
                           lower the entry count in the second line of both by one; the partition \
                           is then fetched from that replica";

/// The same advice for the metadata log.
const METADATA_ADVICE: &str = "restore the directory from a backup of this same node. A voter that \
                               lost records it acknowledged must not rejoin as the same voter";

/// Far more than any step needs. Reaching it means that facts produce facts without end.
const MAX_FACTS_A_STEP: usize = 1_000_000;

impl Broker {
    /// A node that has not started; [`Event::Start`] starts it.
    pub fn new(config: NodeConfig) -> Broker {
        Broker {
            status: Status::Starting,
            boot: Boot::default(),
            quorum: Quorum::new(&config),
            controller: Controller::new(&config),
            image: MetadataImage::new(),
            lifecycle: Lifecycle::default(),
            control: Control::default(),
            hosted: Hosted::default(),
            caches: Caches::new(config.tail_caches_bytes),
            fetchers: Fetchers::default(),
            produces: Produces::default(),
            fetches: Fetches::default(),
            lookups: Lookups::default(),
            fetch_wanted: false,
            facts: Vec::new(),
            quorum_facts: Vec::new(),
            config,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Whether the process should go on. The driver checks it after each step.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// The metadata quorum's part.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// The controller's part.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// The committed metadata as applied here.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The partitions hosted here.
    pub fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    /// Bytes of their newest batches that the partitions' logs keep in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.caches.total()
    }

    /// The numbers of parked produces and fetches.
    pub fn parked(&self) -> (usize, usize) {
        (self.produces.len(), self.fetches.len())
    }

    /// Handles one event. After the node has ended ([`Broker::status`]), events have no effect.
    pub fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self.status {
            Status::Starting | Status::Running => {}
            Status::Stopped | Status::Failed(..) | Status::Refused(_) => return,
        }
        match event {
            Event::Start { boot_id } => self.start(boot_id, env),
            Event::Shutdown => self.shut_down(env),
            Event::Timer { key, deadline } => self.on_timer(key, deadline, env),
            Event::Disk(done) => self.on_disk(done, env),
            Event::Request { from, origin, version, request } => {
                self.on_request(from, origin, version, request, env);
            }
            Event::ConnectionClosed { connection } => {
                self.fetches.on_closed(connection);
                self.lookups.on_closed(connection);
                self.control.on_closed(connection);
                self.quorum.on_connection_closed(connection, env);
                self.controller.on_connection_closed(connection);
            }
            Event::Rpc { peer, channel, outcome } => self.on_rpc(peer, channel, outcome, env),
        }
        self.settle(env);
    }

    /// Dispatches facts until there are none left.
    fn settle(&mut self, env: &mut dyn Env) {
        let mut handled = 0;
        while !(self.facts.is_empty() && self.quorum_facts.is_empty()) {
            for fact in core::mem::take(&mut self.quorum_facts) {
                self.on_quorum_fact(fact, env);
            }
            for fact in core::mem::take(&mut self.facts) {
                self.on_fact(fact, env);
            }
            handled += 1;
            assert!(handled < MAX_FACTS_A_STEP, "facts must come to an end");
        }
        self.control.run(
            &mut self.hosted,
            self.quorum.leader(),
            &self.lifecycle,
            &self.config,
            env,
        );
        let may_fetch = self.lifecycle.is_registered() && !self.refuses_appends();
        // A fetch that is wanted while fetching is not allowed stays wanted: a broker that
        // registers again and keeps its epoch gets here with no other event that asks for fetches.
        if may_fetch && core::mem::take(&mut self.fetch_wanted) {
            let epoch = self.lifecycle.broker_epoch();
            self.fetchers.run(&self.hosted.partitions, epoch, &self.config, env);
        }
        self.store_boot_id(env);
        self.advance_departures(env);
        self.advance_shutdown(env);
    }

    fn on_fact(&mut self, fact: Fact, env: &mut dyn Env) {
        match fact {
            Fact::Recovered(id) => {
                self.caches.on_changed(id, &mut self.hosted.partitions);
                self.on_log_recovered(env);
                if let Some(key) = self.hosted.get(id).map(Partition::topic_partition) {
                    self.on_partition_hosted(key, env);
                }
            }
            Fact::LogEndAdvanced(id) => {
                self.fetch_wanted = true;
                self.fetches.on_changed(id, &self.hosted, &self.image, env);
                // After the fetches that waited for the new records.
                self.caches.on_changed(id, &mut self.hosted.partitions);
            }
            Fact::CutBelowClaim(_) => self.write_checkpoints(env),
            Fact::HighWatermarkAdvanced(id) => {
                self.fetches.on_changed(id, &self.hosted, &self.image, env);
            }
            Fact::ProduceReached(id, from, upto, error) => {
                let (hosted, image) = (&self.hosted, &self.image);
                self.produces.on_reached(from, id, upto, error, hosted, image, env);
            }
            Fact::IsrChangeWanted(id) => self.control.want_isr_change(id),
            Fact::RoleChanged(id) => {
                self.fetch_wanted = true;
                self.caches.on_changed(id, &mut self.hosted.partitions);
                let partition = self.hosted.get(id);
                let follows = partition.is_some_and(|p| p.fetches_from().is_some());
                self.fetchers.on_role_changed(id, follows);
                self.fetches.on_changed(id, &self.hosted, &self.image, env);
            }
            Fact::DiskFailed(op, error) => self.fail(op, error, env),
            Fact::Corrupt(id, damage) => {
                let dir = self.hosted.get(id).map(Partition::dir_name).unwrap_or_default();
                self.refuse(format!("{dir}/{damage}; {DATA_ADVICE}"));
            }
        }
    }

    fn on_quorum_fact(&mut self, fact: QuorumFact, env: &mut dyn Env) {
        match fact {
            QuorumFact::Ready => self.on_quorum_ready(env),
            QuorumFact::Committed { records, upto, epoch } => {
                self.on_committed(&records, upto, epoch, env);
            }
            QuorumFact::BecameLeader { epoch } => {
                let image = self.image.clone();
                self.controller.on_became_leader(epoch, image, &mut self.quorum, env);
            }
            QuorumFact::LostLeadership => self.controller.on_lost_leadership(env),
            QuorumFact::LeaderChanged { .. } => self.on_controller_changed(env),
            QuorumFact::Failed(op, error) => self.fail(op, error, env),
            QuorumFact::Damaged(damage) => {
                self.refuse(format!("{METADATA_TOPIC}-0/{damage}; {METADATA_ADVICE}"));
            }
            QuorumFact::Refused(reason) => self.refuse(reason),
        }
    }

    fn refuse(&mut self, why: String) {
        self.status = Status::Refused(why);
    }

    fn fail(&mut self, op: DiskOpKind, error: DiskError, env: &mut dyn Env) {
        env.note(Note::LogDirOffline { op });
        self.status = Status::Failed(op, error);
    }

    fn on_timer(&mut self, key: TimerKey, deadline: Monotonic, env: &mut dyn Env) {
        match key {
            TimerKey::Election
            | TimerKey::QuorumFetchBackoff
            | TimerKey::CheckQuorum
            | TimerKey::BeginEpochRetry(_)
            | TimerKey::QuorumFetchExpiry => {
                self.quorum.on_timer(key, deadline, env, &mut self.quorum_facts);
            }
            TimerKey::BrokerSession(_) | TimerKey::ControllerExpiry => {
                self.controller.on_timer(key, deadline, &mut self.quorum, env);
            }
            TimerKey::RegistrationRetry => self.on_registration_retry(deadline, env),
            TimerKey::Heartbeat => self.on_heartbeat_timer(deadline, env),
            TimerKey::ControlledShutdown => self.on_shutdown_deadline(deadline, env),
            TimerKey::AlterPartition => self.control.on_retry(deadline),
            TimerKey::ForwardExpiry => self.control.on_forward_expiry(env),
            TimerKey::Checkpoint => self.on_checkpoint_timer(deadline, env),
            TimerKey::ProduceExpiry => {
                self.produces.on_timer(&mut self.hosted, &self.image, env);
            }
            TimerKey::FetchExpiry => self.fetches.on_timer(&self.hosted, &self.image, env),
            TimerKey::IsrCheck(id) => {
                if let Some(partition) = self.hosted.get_mut(id) {
                    partition.on_isr_check(deadline, env, &mut self.facts);
                }
            }
            TimerKey::ReplicaFetchBackoff(_) => {
                self.fetchers.on_timer(env.now());
                self.fetch_wanted = true;
            }
            // Timers of clients; a broker arms none of them.
            TimerKey::Producer
            | TimerKey::Consumer
            | TimerKey::ClientMetadata
            | TimerKey::Workload(_) => {}
        }
    }

    fn on_disk(&mut self, done: DiskDone, env: &mut dyn Env) {
        let dir = done.dir();
        if dir == DirId::METADATA {
            return self.quorum.on_disk(&done, env, &mut self.quorum_facts);
        }
        let Some(id) = dir.partition() else {
            return self.on_root_disk(&done, env);
        };
        match done {
            DiskDone::Read { tag: ReadTag::Fetch(from), bytes, .. } => {
                self.fetches.on_read(from, id, bytes, &self.hosted, &self.image, env);
            }
            DiskDone::Read { tag: ReadTag::Lookup(from), bytes, .. } => {
                self.lookups.on_read(from, id, bytes, &self.hosted, env);
            }
            DiskDone::Listed { .. }
            | DiskDone::Written { .. }
            | DiskDone::Synced { .. }
            | DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Read { .. }
            | DiskDone::Failed { .. } => match self.hosted.get_mut(id) {
                Some(partition) => {
                    partition.on_disk(&done, &self.image, env, &mut self.facts);
                }
                None => self.on_opening_disk(id, &done, env),
            },
        }
    }

    fn on_request(
        &mut self,
        from: ReplyTo,
        origin: Origin,
        version: i16,
        request: Request,
        env: &mut dyn Env,
    ) {
        match request.into_family() {
            Family::Data(request) => self.on_data_request(from, origin, version, request, env),
            Family::Cluster(request) => {
                self.on_cluster_request(from, origin, version, request, env);
            }
            Family::Admin(request) => {
                if self.controller.is_active() {
                    self.ask_controller(from, request.into(), env);
                } else {
                    self.control.forward(from, version, request.into(), &self.config, env);
                }
            }
            Family::Quorum(request) => {
                self.quorum.on_request(from, request.into(), env, &mut self.quorum_facts);
            }
            Family::Controller(request) => self.ask_controller(from, request.into(), env),
            Family::Forwarding(request) => self.ask_controller(from, request.into(), env),
        }
    }

    fn on_data_request(
        &mut self,
        from: ReplyTo,
        origin: Origin,
        version: i16,
        request: DataRequest,
        env: &mut dyn Env,
    ) {
        match request {
            DataRequest::Produce(_) if self.refuses_appends() => env.disconnect(from),
            DataRequest::Produce(request) => {
                let listener = self.config.listener_name(origin);
                let (hosted, image) = (&mut self.hosted, &self.image);
                let facts = &mut self.facts;
                let produces = &mut self.produces;
                produces.on_request(from, listener, version, request, hosted, image, env, facts);
            }
            DataRequest::Fetch(request) if is_of_metadata(&request) => {
                let request = Request::Fetch(request);
                self.quorum.on_request(from, request, env, &mut self.quorum_facts);
            }
            DataRequest::Fetch(request) if self.is_foreign(&request) => {
                let error = ErrorCode::InconsistentClusterId;
                let response = FetchResponse { error, ..FetchResponse::default() };
                env.respond(from, Response::Fetch(response));
            }
            DataRequest::Fetch(request) => {
                let listener = self.config.listener_name(origin);
                let limit = self.config.fetch_max_bytes;
                let (hosted, image) = (&mut self.hosted, &self.image);
                let (fetches, facts) = (&mut self.fetches, &mut self.facts);
                fetches.on_request(from, listener, request, limit, hosted, image, env, facts);
            }
            DataRequest::ListOffsets(request) => {
                let (hosted, image) = (&self.hosted, &self.image);
                self.lookups.on_request(from, version, request, hosted, image, env);
            }
            DataRequest::OffsetForLeaderEpoch(request) => {
                let response =
                    offset_for_leader_epoch::answer(request, &self.hosted, &self.image, env);
                env.respond(from, Response::OffsetForLeaderEpoch(response));
            }
        }
    }

    fn on_cluster_request(
        &mut self,
        from: ReplyTo,
        origin: Origin,
        version: i16,
        request: ClusterRequest,
        env: &mut dyn Env,
    ) {
        match request {
            ClusterRequest::ApiVersions(request) => {
                let response = api_versions::answer(version, &request, &self.config, &self.image);
                env.respond(from, Response::ApiVersions(response));
            }
            ClusterRequest::Metadata(request) => {
                self.on_metadata_request(from, origin, &request, env);
            }
        }
    }

    fn ask_controller(&mut self, from: ReplyTo, request: Request, env: &mut dyn Env) {
        self.controller.on_request(from, request, &mut self.quorum, env);
    }

    fn on_metadata_request(
        &mut self,
        from: ReplyTo,
        origin: Origin,
        request: &crate::msg::MetadataRequest,
        env: &mut dyn Env,
    ) {
        // The metadata may be arbitrarily old. Kafka's broker does not listen before it has caught
        // up; here peers use the same listener, so a client can connect earlier.
        if !self.hosted.is_current {
            return env.disconnect(from);
        }
        let listener = self.config.listener_name(origin);
        let (response, wanted) = metadata::answer(request, listener, &self.config, &self.image);
        // No broker has been unfenced yet, including this one.
        if response.brokers.is_empty() {
            return env.disconnect(from);
        }
        for topic in wanted {
            self.control.auto_create(&topic, &self.config, env);
        }
        env.respond(from, Response::Metadata(response));
    }

    /// Whether this is a replica's fetch from another cluster, which reached us at a stale address.
    fn is_foreign(&self, request: &FetchRequest) -> bool {
        let theirs = request.cluster_id.as_ref();
        request.replica.known().is_some() && theirs.is_some_and(|id| *id != self.config.cluster_id)
    }

    /// While the logs are being closed, nothing may be appended to them.
    fn refuses_appends(&self) -> bool {
        self.lifecycle.is_closing() && !self.config.flaws.has(Flaw::AppendWhileClosing)
    }

    fn on_rpc(
        &mut self,
        peer: NodeId,
        channel: Channel,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
    ) {
        match channel {
            Channel::Quorum | Channel::QuorumFetch => {
                self.quorum.on_rpc(peer, channel, outcome, env, &mut self.quorum_facts);
            }
            Channel::Controller => self.on_control_outcome(peer, outcome, env),
            Channel::Heartbeat => self.on_heartbeat_outcome(peer, outcome, env),
            // Nothing may be appended now: the clean mark will vouch for the logs as they are.
            Channel::ReplicaFetch if self.refuses_appends() => {}
            Channel::ReplicaFetch => {
                self.fetch_wanted = true;
                let partitions = &mut self.hosted.partitions;
                let facts = &mut self.facts;
                self.fetchers.on_outcome(peer, outcome, partitions, &self.config, env, facts);
            }
            // A broker sends nothing on these.
            Channel::ReplicaEpochs | Channel::Produce | Channel::Fetch | Channel::Admin => {}
        }
    }

    fn on_control_outcome(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
    ) {
        let Some(call) = self.control.take(peer) else { return };
        match call {
            control::Call::Registration => self.on_registration_outcome(peer, outcome, env),
            control::Call::AlterPartition(serial, ids) => {
                let (hosted, facts) = (&mut self.hosted, &mut self.facts);
                self.control.on_alter_partition(
                    serial,
                    &ids,
                    outcome,
                    hosted,
                    &self.config,
                    env,
                    facts,
                );
            }
            control::Call::Forward(forwarding::Forwarded::Client { from, request, .. }) => {
                let outcome = outcome.map_err(|_| ErrorCode::RequestTimedOut);
                env.respond(from, forwarding::client_response(&request, outcome));
            }
            control::Call::Forward(forwarding::Forwarded::AutoCreate { topic }) => {
                self.control.auto_create_ended(&topic);
            }
        }
    }
}
