//! The router. It hands each event to the component that it is for, then dispatches the resulting
//! facts ([`StorageFact`], [`LifecycleFact`], [`Fact`], [`QuorumFact`]) to the other components
//! until none is left. It holds no protocol rule, and no other file has an `impl Broker`.
//!
//! The log directory and the replicas are in [`crate::storage`]; registration, heartbeats and
//! stopping in [`lifecycle`]; requests to the active controller in [`control`].

pub mod control;
pub mod lifecycle;
mod peers;

use alloc::string::String;
use alloc::vec::Vec;

use crate::api::fetch::{Fetches, is_of_metadata};
use crate::api::list_offsets::Lookups;
use crate::api::produce::Produces;
use crate::api::{api_versions, fetch, forwarding, metadata, offset_for_leader_epoch};
use crate::config::NodeConfig;
use crate::controller::Controller;
use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::event::{
    DiskDone, DiskError, DiskOpKind, Event, Origin, ReadTag, ReplyTo, RpcError, TimerKey,
};
use crate::log::PartitionLog;
use crate::metadata::{MetadataImage, MetadataRecord, Touched};
use crate::msg::{ClusterRequest, DataRequest, Family, MetadataRequest, Request, Response};
use crate::note::Note;
use crate::quorum::{Quorum, QuorumFact};
use crate::replica::caches::Caches;
use crate::replica::fetcher::Fetchers;
use crate::replica::{Fact, Partition};
use crate::storage::{self, Hosted, Storage, StorageFact};
use crate::types::{DirId, LeaderEpoch, Monotonic, NodeId, Offset, PartitionId};

use control::Control;
use lifecycle::{Lifecycle, LifecycleFact, Seen};

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
    storage: Storage,
    quorum: Quorum,
    controller: Controller,
    image: MetadataImage,
    lifecycle: Lifecycle,
    control: Control,
    caches: Caches,
    fetchers: Fetchers,
    produces: Produces,
    fetches: Fetches,
    lookups: Lookups,
    /// Something changed that may let a fetcher continue.
    fetch_wanted: bool,
    facts: Vec<Fact>,
    quorum_facts: Vec<QuorumFact>,
    storage_facts: Vec<StorageFact>,
    lifecycle_facts: Vec<LifecycleFact>,
}

/// Far more than any step needs. Reaching it means that facts produce facts without end.
const MAX_FACTS_A_STEP: usize = 1_000_000;

impl Broker {
    /// A node that has not started; [`Event::Start`] starts it.
    pub fn new(config: NodeConfig) -> Broker {
        Broker {
            status: Status::Starting,
            storage: Storage::default(),
            quorum: Quorum::new(&config),
            controller: Controller::new(&config),
            image: MetadataImage::new(),
            lifecycle: Lifecycle::default(),
            control: Control::default(),
            caches: Caches::new(config.tail_caches_bytes),
            fetchers: Fetchers::default(),
            produces: Produces::default(),
            fetches: Fetches::default(),
            lookups: Lookups::default(),
            fetch_wanted: false,
            facts: Vec::new(),
            quorum_facts: Vec::new(),
            storage_facts: Vec::new(),
            lifecycle_facts: Vec::new(),
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
        self.storage.hosted()
    }

    /// The lifecycle of this incarnation as the controller sees it.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
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
            Event::Start { boot_id } => {
                self.lifecycle.start(env);
                self.storage.start(boot_id, env);
            }
            Event::Shutdown => {
                let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
                self.lifecycle.shut_down(&seen, env, &mut self.lifecycle_facts);
            }
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
        self.settle_node(env);
        while !(self.facts.is_empty() && self.quorum_facts.is_empty()) {
            for fact in core::mem::take(&mut self.quorum_facts) {
                self.on_quorum_fact(fact, env);
                self.settle_node(env);
            }
            for fact in core::mem::take(&mut self.facts) {
                self.on_fact(fact, env);
                self.settle_node(env);
            }
            handled += 1;
            assert!(handled < MAX_FACTS_A_STEP, "facts must come to an end");
        }
        let (hosted, leader) = (self.storage.hosted_mut(), self.quorum.leader());
        self.control.run(hosted, leader, &self.lifecycle, &self.config, env);
        let may_fetch =
            self.lifecycle.is_registered() && !self.lifecycle.refuses_appends(&self.config);
        // A fetch that is wanted while fetching is not allowed stays wanted: a broker that
        // registers again and keeps its epoch gets here with no other event that asks for fetches.
        if may_fetch && core::mem::take(&mut self.fetch_wanted) {
            let epoch = self.lifecycle.broker_epoch();
            let partitions = &self.storage.hosted().partitions;
            self.fetchers.run(partitions, epoch, &self.config, env);
        }
        let metadata = self.quorum.recovery_point();
        let recovered = self.quorum.log().is_some_and(PartitionLog::is_recovery_done);
        self.storage.store_boot_id(recovered, env);
        self.storage.advance_departures(metadata, env);
        self.advance_stop(env);
    }

    /// Continues a stop when what it waits for is durable.
    fn advance_stop(&mut self, env: &mut dyn Env) {
        if self.lifecycle.is_flushing()
            && self.storage.advance_close(self.quorum.recovery_point(), env)
            && self.lifecycle.marks(self.quorum.can_stop(), env)
        {
            self.storage.mark_clean(self.lifecycle.broker_epoch(), env);
        }
    }

    /// Dispatches what the storage and the lifecycle report; before any other fact.
    fn settle_node(&mut self, env: &mut dyn Env) {
        while !(self.storage_facts.is_empty() && self.lifecycle_facts.is_empty()) {
            for fact in core::mem::take(&mut self.storage_facts) {
                self.on_storage_fact(fact, env);
            }
            for fact in core::mem::take(&mut self.lifecycle_facts) {
                self.on_lifecycle_fact(fact, env);
            }
        }
    }

    fn on_storage_fact(&mut self, fact: StorageFact, env: &mut dyn Env) {
        match fact {
            StorageFact::Identified => {
                let (recovery_point, same_boot) = self.storage.begin_recovery();
                self.quorum.start_from(recovery_point, same_boot, env);
                self.storage.recover(&self.config, env, &mut self.storage_facts);
            }
            StorageFact::Booted => {
                self.status = Status::Running;
                let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
                self.lifecycle.register(&seen, env, &mut self.lifecycle_facts);
            }
            StorageFact::Marked => self.lifecycle.on_marked(env, &mut self.lifecycle_facts),
            StorageFact::Failed(op, error) => self.fail(op, error, env),
            StorageFact::Refused(why) => self.refuse(why),
        }
    }

    fn on_lifecycle_fact(&mut self, fact: LifecycleFact, env: &mut dyn Env) {
        match fact {
            LifecycleFact::Register(request) => self.control.register(request),
            LifecycleFact::Registered => {
                self.publish_if_caught_up(env);
                self.send_heartbeat(env);
            }
            LifecycleFact::Flush => {
                self.quorum.shutdown(env, &mut self.quorum_facts);
                self.storage.close(env);
                self.advance_stop(env);
            }
            LifecycleFact::Stopped => self.status = Status::Stopped,
        }
    }

    fn on_fact(&mut self, fact: Fact, env: &mut dyn Env) {
        match fact {
            Fact::Recovered(id) => {
                self.caches.on_changed(id, &mut self.storage.hosted_mut().partitions);
                self.storage.on_log_recovered(env, &mut self.storage_facts);
                if let Some(key) = self.hosted().get(id).map(Partition::topic_partition)
                    && self.lifecycle.gives_roles()
                {
                    let (image, config) = (&self.image, &self.config);
                    self.storage.on_partition_hosted(key, image, config, env, &mut self.facts);
                }
            }
            Fact::LogEndAdvanced(id) => {
                self.fetch_wanted = true;
                self.fetches.on_changed(id, self.storage.hosted(), &self.image, env);
                // After the fetches that waited for the new records.
                self.caches.on_changed(id, &mut self.storage.hosted_mut().partitions);
            }
            Fact::CutBelowClaim(_) => {
                self.storage.write_checkpoints(self.quorum.recovery_point(), env);
            }
            Fact::HighWatermarkAdvanced(id) => {
                self.fetches.on_changed(id, self.storage.hosted(), &self.image, env);
            }
            Fact::ProduceReached(id, from, upto, error) => {
                let (hosted, image) = (self.storage.hosted(), &self.image);
                self.produces.on_reached(from, id, upto, error, hosted, image, env);
            }
            Fact::IsrChangeWanted(id) => self.control.want_isr_change(id),
            Fact::RoleChanged(id) => self.on_role_changed(id, env),
            Fact::DiskFailed(op, error) => self.fail(op, error, env),
            Fact::Corrupt(id, damage) => {
                let dir = self.hosted().get(id).map(Partition::dir_name).unwrap_or_default();
                self.refuse(storage::damaged_replica(&dir, &damage));
            }
        }
    }

    fn on_role_changed(&mut self, id: PartitionId, env: &mut dyn Env) {
        self.fetch_wanted = true;
        self.caches.on_changed(id, &mut self.storage.hosted_mut().partitions);
        let hosted = self.storage.hosted();
        let follows = hosted.get(id).is_some_and(|partition| partition.fetches_from().is_some());
        self.fetchers.on_role_changed(id, follows);
        self.fetches.on_changed(id, hosted, &self.image, env);
    }

    fn on_quorum_fact(&mut self, fact: QuorumFact, env: &mut dyn Env) {
        match fact {
            QuorumFact::Ready => self.storage.on_quorum_ready(env, &mut self.storage_facts),
            QuorumFact::Committed { records, upto, epoch } => {
                self.on_committed(&records, upto, epoch, env);
            }
            QuorumFact::BecameLeader { epoch } => {
                let image = self.image.clone();
                self.controller.on_became_leader(epoch, image, &mut self.quorum, env);
            }
            QuorumFact::LostLeadership => self.controller.on_lost_leadership(env),
            QuorumFact::LeaderChanged { .. } => {
                let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
                self.lifecycle.on_controller_changed(&seen, env, &mut self.lifecycle_facts);
                let (leader, hosted) = (self.quorum.leader(), self.storage.hosted_mut());
                self.control.on_controller_changed(leader, hosted, env, &mut self.facts);
            }
            QuorumFact::Failed(op, error) => self.fail(op, error, env),
            QuorumFact::Damaged(damage) => self.refuse(storage::damaged_metadata(&damage)),
            QuorumFact::Refused(reason) => self.refuse(reason),
        }
    }

    /// Records of the metadata log below `upto` are committed.
    fn on_committed(
        &mut self,
        records: &[(Offset, LeaderEpoch, MetadataRecord)],
        upto: Offset,
        epoch: LeaderEpoch,
        env: &mut dyn Env,
    ) {
        let touched = match Touched::replay(&mut self.image, records, upto, epoch) {
            Ok(touched) => touched,
            Err(error) => return self.refuse(storage::unknown_record(&error)),
        };
        self.controller.on_committed(upto, env);
        if touched.brokers {
            peers::learn(&self.image, &self.config, env);
        }
        if self.lifecycle.gives_roles() {
            let (image, config) = (&self.image, &self.config);
            self.storage.follow(&touched, image, config, env, &mut self.facts);
        } else if !self.lifecycle.is_published() {
            self.storage.topics_deleted(&touched.topics_removed);
            if !self.lifecycle.is_closing() {
                self.publish_if_caught_up(env);
            }
        }
    }

    /// When the image first reaches our registration, turns all of it into roles.
    fn publish_if_caught_up(&mut self, env: &mut dyn Env) {
        let (image, config) = (&self.image, &self.config);
        let (facts, storage_facts) = (&mut self.facts, &mut self.storage_facts);
        if self.lifecycle.publishes(image.applied)
            && self.storage.publish(image, config, env, facts, storage_facts)
        {
            self.send_heartbeat(env);
        }
    }

    fn send_heartbeat(&mut self, env: &mut dyn Env) {
        let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
        self.lifecycle.send_heartbeat(&seen, env);
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
            TimerKey::RegistrationRetry => {
                let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
                let facts = &mut self.lifecycle_facts;
                self.lifecycle.on_registration_retry(deadline, &seen, env, facts);
            }
            TimerKey::Heartbeat => {
                let seen = Seen::of(&self.config, &self.quorum, &self.image, &self.storage);
                self.lifecycle.on_heartbeat_timer(deadline, &seen, env);
            }
            TimerKey::ControlledShutdown => {
                self.lifecycle.on_shutdown_deadline(deadline, env, &mut self.lifecycle_facts);
            }
            TimerKey::AlterPartition => self.control.on_retry(deadline),
            TimerKey::ForwardExpiry => self.control.on_forward_expiry(env),
            TimerKey::Checkpoint => {
                let metadata = self.quorum.recovery_point();
                self.storage.on_checkpoint_timer(deadline, metadata, &self.config, env);
            }
            TimerKey::ProduceExpiry => {
                self.produces.on_timer(self.storage.hosted_mut(), &self.image, env);
            }
            TimerKey::FetchExpiry => {
                self.fetches.on_timer(self.storage.hosted(), &self.image, env);
            }
            TimerKey::IsrCheck(id) => {
                if let Some(partition) = self.storage.hosted_mut().get_mut(id) {
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
        let Some(id) = dir.partition() else { return self.on_storage_disk(&done, env) };
        match done {
            DiskDone::Read { tag: ReadTag::Fetch(from), bytes, .. } => {
                self.fetches.on_read(from, id, bytes, self.storage.hosted(), &self.image, env);
            }
            DiskDone::Read { tag: ReadTag::Lookup(from), bytes, .. } => {
                self.lookups.on_read(from, id, bytes, self.storage.hosted(), env);
            }
            DiskDone::Listed { .. }
            | DiskDone::Written { .. }
            | DiskDone::Synced { .. }
            | DiskDone::DirSynced { .. }
            | DiskDone::DirRenamed { .. }
            | DiskDone::Read { .. }
            | DiskDone::Failed { .. } => match self.storage.hosted_mut().get_mut(id) {
                Some(partition) => partition.on_disk(&done, &self.image, env, &mut self.facts),
                None => self.on_storage_disk(&done, env),
            },
        }
    }

    fn on_storage_disk(&mut self, done: &DiskDone, env: &mut dyn Env) {
        let (image, config) = (&self.image, &self.config);
        let (facts, storage_facts) = (&mut self.facts, &mut self.storage_facts);
        self.storage.on_disk(done, image, config, env, facts, storage_facts);
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
            DataRequest::Produce(_) if self.lifecycle.refuses_appends(&self.config) => {
                env.disconnect(from);
            }
            DataRequest::Produce(request) => {
                let listener = self.config.listener_name(origin);
                let (hosted, image) = (self.storage.hosted_mut(), &self.image);
                let facts = &mut self.facts;
                let produces = &mut self.produces;
                produces.on_request(from, listener, version, request, hosted, image, env, facts);
            }
            DataRequest::Fetch(request) if is_of_metadata(&request) => {
                let request = Request::Fetch(request);
                self.quorum.on_request(from, request, env, &mut self.quorum_facts);
            }
            DataRequest::Fetch(request) if fetch::is_foreign(&request, &self.config) => {
                env.respond(from, fetch::foreign());
            }
            DataRequest::Fetch(request) => {
                let listener = self.config.listener_name(origin);
                let limit = self.config.fetch_max_bytes;
                let (hosted, image) = (self.storage.hosted_mut(), &self.image);
                let (fetches, facts) = (&mut self.fetches, &mut self.facts);
                fetches.on_request(from, listener, request, limit, hosted, image, env, facts);
            }
            DataRequest::ListOffsets(request) => {
                let (hosted, image) = (self.storage.hosted(), &self.image);
                self.lookups.on_request(from, version, request, hosted, image, env);
            }
            DataRequest::OffsetForLeaderEpoch(request) => {
                let hosted = self.storage.hosted();
                let response = offset_for_leader_epoch::answer(request, hosted, &self.image, env);
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

    fn on_metadata_request(
        &mut self,
        from: ReplyTo,
        origin: Origin,
        request: &MetadataRequest,
        env: &mut dyn Env,
    ) {
        let listener = self.config.listener_name(origin);
        let (current, image) = (self.hosted().is_current, &self.image);
        let useful = metadata::useful_answer(request, listener, current, &self.config, image);
        let Some((response, wanted)) = useful else { return env.disconnect(from) };
        for topic in wanted {
            self.control.auto_create(&topic, &self.config, env);
        }
        env.respond(from, Response::Metadata(response));
    }

    fn ask_controller(&mut self, from: ReplyTo, request: Request, env: &mut dyn Env) {
        self.controller.on_request(from, request, &mut self.quorum, env);
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
            Channel::Heartbeat => {
                let (config, facts) = (&self.config, &mut self.lifecycle_facts);
                self.lifecycle.on_heartbeat_outcome(peer, outcome, config, env, facts);
            }
            // Nothing may be appended now: the clean mark will vouch for the logs as they are.
            Channel::ReplicaFetch if self.lifecycle.refuses_appends(&self.config) => {}
            Channel::ReplicaFetch => {
                self.fetch_wanted = true;
                let partitions = &mut self.storage.hosted_mut().partitions;
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
            control::Call::Registration => {
                let (config, facts) = (&self.config, &mut self.lifecycle_facts);
                self.lifecycle.on_registration_outcome(peer, outcome, config, env, facts);
            }
            control::Call::AlterPartition(serial, ids) => {
                let (hosted, facts) = (self.storage.hosted_mut(), &mut self.facts);
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
