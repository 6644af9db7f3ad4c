//! The metadata quorum: KRaft for `__cluster_metadata`-0 (KIP-595, CheckQuorum as of KIP-853,
//! pre-vote KIP-996, high watermark in fetches KIP-1166). Static voters; no snapshots yet.
//!
//! The rules that safety rests on, each at its line:
//! - a vote is answered, and a candidacy counts and asks, only when it is on disk (`voting`);
//! - who led or stood in an epoch before a restart never leads in it again (`roles`, K3);
//! - a voter counts only what it has synced: a follower asks for more from its synced end, a leader
//!   counts its own synced end (`following`, `leading`);
//! - the high watermark is a majority's, and moves only when it covers a record of the leader's own
//!   epoch (`leading`; Raft figure 8, K4);
//! - nothing committed is ever cut, whatever a leader answers (`following`).
//!
//! Files: `roles` has the roles and all transitions; `voting` elections; `leading` what a leader
//! does; `serving` answers fetches; `following` sends them; `hearsay` says which epochs of others are
//! believed; `replay` decodes what the log holds and hands on what is committed; `boot` starts from
//! disk. What does not live here: what the
//! records mean ([`crate::metadata`], [`crate::controller`]) and how a log lies on disk
//! ([`crate::log`]).

mod boot;
mod following;
mod hearsay;
mod leading;
mod replay;
mod roles;
mod serving;
mod voting;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::checkpoint::AtomicFile;
use crate::config::{NodeConfig, QuorumConfig};
use crate::controller::MetadataLog;
use crate::env::{Channel, Env, Site, SmallFile};
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, DiskDone, DiskError, DiskOpKind, ReplyTo, RpcError, TimerKey};
use crate::flaw::{Flaw, FlawSet};
use crate::log::{Damage, PartitionLog, RecoveryHint};
use crate::metadata::MetadataRecord;
use crate::msg::{
    BeginQuorumEpochResponse, EndQuorumEpochResponse, FetchResponse, Request, Response,
    VoteResponse,
};
use crate::types::{DirId, LeaderEpoch, Monotonic, NodeId, Offset};

pub use self::roles::RoleName;

use self::boot::Phase;
use self::following::Fetching;
use self::hearsay::Hearsay;
use self::replay::Decoded;
use self::roles::Role;
use self::serving::{ParkedFetch, ReadingFetch};
use self::voting::{Ballot, ParkedVote, Peer};

/// What the quorum tells the router, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuorumFact {
    /// Log and vote are read; the node takes part from now on.
    Ready,
    /// More of the log is committed. Each record is told exactly once per incarnation.
    Committed {
        /// The metadata records among it, in order, with their offsets and epochs.
        records: Vec<(Offset, LeaderEpoch, MetadataRecord)>,
        /// Everything below is committed now, control records included.
        upto: Offset,
        /// Epoch of the last record below `upto`.
        epoch: LeaderEpoch,
    },
    /// This node leads, and everything in its log is committed and was told: the controller may
    /// become active. (As Kafka does it: not before the epoch's first record is committed.)
    BecameLeader {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// This node leads no more. Only after [`QuorumFact::BecameLeader`].
    LostLeadership,
    /// Who leads, as far as this node knows.
    LeaderChanged {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Its leader, if known.
        leader: Option<NodeId>,
    },
    /// The disk failed: the log directory is offline.
    Failed(DiskOpKind, DiskError),
    /// The log is damaged; the node must stop.
    Damaged(Damage),
    /// What is on disk or in the log cannot be used; the node must stop.
    Refused(String),
}

/// What a quorum takes from the node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Settings {
    node: NodeId,
    voters: Vec<NodeId>,
    cluster_id: String,
    timing: QuorumConfig,
    cache_bytes: u32,
    read_chunk_bytes: u32,
    flaws: FlawSet,
}

/// This node's part in the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    settings: Settings,
    phase: Phase,
    /// From [`Quorum::start`] on.
    log: Option<PartitionLog>,
    vote_file: AtomicFile,
    /// The epoch, the vote and the leader that this node knows.
    ballot: Ballot,
    /// What of it is durable.
    durable: Ballot,
    /// What is being written, by the file's version.
    writing: VecDeque<(u64, Ballot)>,
    role: Role,
    /// The election or fetch timeout, as the role has it.
    election: Option<Monotonic>,
    /// Elections that this node lost in a row.
    retries: u32,
    /// Was it noted that this node follows?
    follow_noted: bool,
    /// The leader of this epoch said that it ends (EndQuorumEpoch).
    ended: Option<LeaderEpoch>,
    hearsay: Hearsay,
    /// Requests to voters: at most one each.
    peers: BTreeMap<NodeId, Peer>,
    /// Fetches in flight, by whom they were sent to.
    fetches: BTreeMap<NodeId, Fetching>,
    /// Do not fetch before.
    fetch_backoff: Option<Monotonic>,
    /// Fetches in a row that led nowhere.
    fetch_failures: u32,
    /// Which voter to ask for the leader next.
    ask_next: u64,
    /// Granted, but not durable yet.
    parked_votes: BTreeMap<ReplyTo, ParkedVote>,
    parked_fetches: BTreeMap<ReplyTo, ParkedFetch>,
    /// When the first parked fetch is answered empty.
    fetch_expiry: Option<Monotonic>,
    /// Fetches that wait for the disk.
    reading: BTreeMap<ReplyTo, ReadingFetch>,
    /// Committed below; `None` until known.
    high_watermark: Option<Offset>,
    /// Committed below, as a checkpoint said at the start: known before the high watermark is.
    vouched: Offset,
    /// Told as committed below.
    delivered: Offset,
    /// The log from `delivered` on, decoded.
    pending: VecDeque<Decoded>,
    /// What was told last of epoch and leader.
    announced: (LeaderEpoch, Option<NodeId>),
    stopping: bool,
}

impl Quorum {
    /// A node that has not started.
    pub fn new(config: &NodeConfig) -> Quorum {
        let settings = Settings {
            node: config.node,
            voters: config.voters.clone(),
            cluster_id: config.cluster_id.clone(),
            timing: config.quorum.clone(),
            cache_bytes: config.tail_cache_bytes,
            read_chunk_bytes: config.read_chunk_bytes,
            flaws: config.flaws,
        };
        let role = if settings.voters.contains(&settings.node) {
            Role::Unattached
        } else {
            Role::Observer { leader: None }
        };
        Quorum {
            settings,
            phase: Phase::New,
            log: None,
            vote_file: AtomicFile::new(DirId::METADATA, SmallFile::QuorumState),
            ballot: Ballot::default(),
            durable: Ballot::default(),
            writing: VecDeque::new(),
            role,
            election: None,
            retries: 0,
            follow_noted: true,
            ended: None,
            hearsay: Hearsay::default(),
            peers: BTreeMap::new(),
            fetches: BTreeMap::new(),
            fetch_backoff: None,
            fetch_failures: 0,
            ask_next: 0,
            parked_votes: BTreeMap::new(),
            parked_fetches: BTreeMap::new(),
            fetch_expiry: None,
            reading: BTreeMap::new(),
            high_watermark: None,
            vouched: Offset::ZERO,
            delivered: Offset::ZERO,
            pending: VecDeque::new(),
            announced: (LeaderEpoch(0), None),
            stopping: false,
        }
    }

    /// Opens `__cluster_metadata-0` and its `quorum-state`. [`QuorumFact::Ready`] follows.
    pub fn start(&mut self, env: &mut dyn Env) {
        self.start_from(Offset::ZERO, false, env);
    }

    /// As [`Quorum::start`], on a log that a checkpoint once called durable and committed up to
    /// `recovery_point`; `same_boot` if the machine has not gone down since. If it is not what it
    /// must be then, it was damaged: [`QuorumFact::Damaged`]. Without that, a flipped bit would pass
    /// for a torn tail, and every topic after it for deleted.
    ///
    /// **What remains.** After a power loss, what was synced above the recovery point and is bad
    /// cannot be told from what was never synced. It is cut, with a note; the voter may then have
    /// forgotten what it acknowledged. The recovery point follows a commit within a second.
    pub fn start_from(&mut self, recovery_point: Offset, same_boot: bool, env: &mut dyn Env) {
        let clean = false; // the mark of a clean stop does not wait for this log
        self.vouched = recovery_point;
        self.open(RecoveryHint { clean, same_boot, recovery_point }, env);
    }

    /// What to checkpoint for [`Quorum::start_from`].
    pub fn recovery_point(&self) -> Offset {
        match (&self.log, self.high_watermark()) {
            (Some(log), Some(high_watermark)) => log.recovery_point(high_watermark),
            (None, _) | (_, None) => Offset::ZERO,
        }
    }

    /// A completion in [`DirId::METADATA`].
    pub fn on_disk(&mut self, done: &DiskDone, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        self.disk_done(done, env, facts);
        self.settle(env, facts);
    }

    /// One of the quorum's timers. A firing with another deadline than the stored one is stale.
    pub fn on_timer(
        &mut self,
        key: TimerKey,
        deadline: Monotonic,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        match key {
            TimerKey::Election if self.election == Some(deadline) => {
                self.election = None;
                self.election_timeout(env, facts);
            }
            TimerKey::QuorumFetchBackoff if self.fetch_backoff == Some(deadline) => {
                self.fetch_backoff = None;
            }
            TimerKey::CheckQuorum => self.check_quorum(deadline, env, facts),
            TimerKey::BeginEpochRetry(peer) => match self.peers.get_mut(&peer) {
                Some(peer) if peer.backoff == Some(deadline) => peer.backoff = None,
                _ => return,
            },
            TimerKey::QuorumFetchExpiry if self.fetch_expiry == Some(deadline) => {
                self.fetch_expiry = None;
                self.expire_fetches(env);
            }
            _ => return,
        }
        self.settle(env, facts);
    }

    /// Vote, BeginQuorumEpoch, EndQuorumEpoch, or a Fetch of the metadata topic. Answered through
    /// `env`, now or later.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        request: Request,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let ready = self.phase == Phase::Running;
        if !ready && !self.settings.flaws.has(Flaw::RequestBeforeRecovery) {
            return self.refuse_request(from, &request, env);
        }
        match request {
            Request::Vote(request) => self.on_vote_request(from, &request, env, facts),
            Request::BeginQuorumEpoch(request) => self.on_begin_request(from, &request, env, facts),
            Request::EndQuorumEpoch(request) => self.on_end_request(from, &request, env, facts),
            Request::Fetch(request) => self.on_fetch_request(from, &request, env, facts),
            other => panic!("the router gives the quorum no {:?}", other.api()),
        }
        self.settle(env, facts);
    }

    /// The outcome of a request that the quorum sent on one of its two channels.
    pub fn on_rpc(
        &mut self,
        peer: NodeId,
        channel: Channel,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        match channel {
            Channel::Quorum => self.on_peer_answer(peer, outcome, env, facts),
            Channel::QuorumFetch => self.on_fetch_answer(peer, outcome, env, facts),
            other => panic!("the router gives the quorum no outcome on {other:?}"),
        }
        self.settle(env, facts);
    }

    /// A connection that requests came on is gone: what is parked for it is dropped.
    pub fn on_connection_closed(&mut self, connection: ConnectionId, _env: &mut dyn Env) {
        self.parked_votes.retain(|to, _| to.connection != connection);
        self.parked_fetches.retain(|to, _| to.connection != connection);
        self.reading.retain(|to, _| to.connection != connection);
    }

    /// Stops gracefully: a leader resigns and tells the others. See [`Quorum::can_stop`].
    pub fn shutdown(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        self.stopping = true;
        if matches!(self.role, Role::Leader(_)) {
            self.become_resigned(false, env, facts);
        }
        self.settle(env, facts);
    }

    /// After [`Quorum::shutdown`]: is all said and on disk? (A peer that does not answer keeps this
    /// false; the router has its own limit.)
    pub fn can_stop(&self) -> bool {
        let told = match &self.role {
            Role::Resigned { unacknowledged, .. } => unacknowledged.is_empty(),
            Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective { .. }
            | Role::Candidate { .. }
            | Role::Leader(_)
            | Role::Follower { .. }
            | Role::Observer { .. } => true,
        };
        let synced = self.log.as_ref().is_none_or(|log| log.synced_end() >= log.log_end());
        self.stopping && told && synced && self.vote_file.is_idle()
    }

    /// The epoch that this node is in.
    pub fn epoch(&self) -> LeaderEpoch {
        self.ballot.epoch
    }

    /// Who leads in [`Quorum::epoch`], as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.settings.node),
            Role::Follower { leader, .. } => Some(*leader),
            Role::Observer { leader } => *leader,
            Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective { .. }
            | Role::Candidate { .. }
            | Role::Resigned { .. } => None,
        }
    }

    /// Does this node lead (whether or not its controller is active yet)?
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whom this node voted for in [`Quorum::epoch`].
    pub fn voted_for(&self) -> Option<NodeId> {
        self.ballot.voted
    }

    /// Is what this node knows of epoch and vote on disk?
    pub fn ballot_is_durable(&self) -> bool {
        self.durable == self.ballot
    }

    /// The first offset that is not known to be committed; `None` until one is known.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The log; `None` before the start.
    pub fn log(&self) -> Option<&PartitionLog> {
        self.log.as_ref()
    }

    /// Which role.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Does this node vote?
    pub fn is_voter(&self) -> bool {
        self.settings.voters.contains(&self.settings.node)
    }

    /// What every entry ends with: send what the role wants sent, and tell who leads.
    fn settle(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if self.phase != Phase::Running {
            return;
        }
        self.ask_peers(env);
        self.fetch_more(env);
        let now = (self.epoch(), self.leader());
        if now != self.announced {
            self.announced = now;
            facts.push(QuorumFact::LeaderChanged { epoch: now.0, leader: now.1 });
        }
    }

    fn running_log(&mut self) -> &mut PartitionLog {
        self.log.as_mut().expect("a running quorum has its log open")
    }

    fn log_end(&self) -> Offset {
        self.log.as_ref().map_or(Offset::ZERO, PartitionLog::log_end)
    }

    /// Epoch of the last record, 0 for an empty log, as Kafka writes it in votes and fetches.
    fn last_epoch(&self) -> LeaderEpoch {
        self.log.as_ref().map_or(LeaderEpoch(0), |log| log.last_epoch().max(LeaderEpoch(0)))
    }

    /// The vote and the log are not read yet, or cannot be used: nothing is said of either.
    fn refuse_request(&self, from: ReplyTo, request: &Request, env: &mut dyn Env) {
        let error = ErrorCode::UnknownServerError;
        let (leader, leader_epoch) = (NodeId::NONE, self.durable.epoch);
        let response = match request {
            Request::Vote(_) => {
                let (vote_granted, node_endpoints) = (false, Vec::new());
                Response::Vote(VoteResponse {
                    error,
                    leader,
                    leader_epoch,
                    vote_granted,
                    node_endpoints,
                })
            }
            Request::BeginQuorumEpoch(_) => {
                Response::BeginQuorumEpoch(BeginQuorumEpochResponse { error, leader, leader_epoch })
            }
            Request::EndQuorumEpoch(_) => {
                Response::EndQuorumEpoch(EndQuorumEpochResponse { error, leader, leader_epoch })
            }
            Request::Fetch(_) => {
                Response::Fetch(FetchResponse { error, ..FetchResponse::default() })
            }
            other => panic!("the router gives the quorum no {:?}", other.api()),
        };
        env.respond(from, response);
    }

    /// The node stops taking part: nothing is sent or answered any more but by the router.
    fn refuse(&mut self, why: impl Into<String>, facts: &mut Vec<QuorumFact>) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Stopped;
            facts.push(QuorumFact::Refused(why.into()));
        }
    }

    fn arm_election(&mut self, deadline: Monotonic, env: &mut dyn Env) {
        self.election = Some(deadline);
        env.arm(TimerKey::Election, deadline);
    }

    /// An election timeout with up to as much again, so that voters do not stand at once.
    fn arm_election_timeout(&mut self, env: &mut dyn Env) {
        let timeout = self.settings.timing.election_timeout;
        let deadline = env.now().after(timeout).after(self.jitter(timeout, env));
        self.arm_election(deadline, env);
    }

    fn jitter(&self, most: core::time::Duration, env: &mut dyn Env) -> core::time::Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        core::time::Duration::from_nanos(env.draw(Site::ElectionTimeout, nanos))
    }
}

/// The quorum as the controller's log; see [`Quorum::append`].
impl MetadataLog for Quorum {
    fn end(&self) -> Offset {
        self.log_end()
    }

    fn committed(&self) -> Offset {
        self.delivered
    }

    fn append(&mut self, records: &[MetadataRecord], env: &mut dyn Env) -> Option<Offset> {
        Quorum::append(self, records, env)
    }
}
