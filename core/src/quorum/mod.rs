//! The metadata quorum: KRaft for `__cluster_metadata`-0 (KIP-595, CheckQuorum as of KIP-853,
//! pre-vote KIP-996, high watermark in fetches KIP-1166). Static voters; no snapshots yet.
//!
//! The rules that safety rests on, each at its line:
//! - a vote is answered, and a candidate counts its own vote and asks for others, only when the
//!   vote is on disk (`voting`);
//! - a node that led or stood in an epoch before a restart never leads in it again (`roles`, K3);
//! - a voter counts only what it has synced: a follower fetches from its synced end, a leader
//!   counts its own synced end (`following`, `leading`);
//! - the high watermark is what a majority has, and moves only when it covers a record of the
//!   leader's own epoch (`roles`, `leading`; Raft figure 8, K4);
//! - nothing committed is ever truncated, whatever a leader answers (`following`).
//!
//! Files: `roles` has what a node knows in each role, and `replay` the decoded log; both are plain
//! data and know nothing of the rest. `transitions` changes roles; `voting` runs elections;
//! `leading` is a leader's work; `serving` answers fetches; `following` sends them; `committing`
//! passes on committed records; `hearsay` decides which epochs of other nodes are believed; `boot`
//! starts from disk. These are methods of [`Quorum`], and none imports another. The meaning of the
//! records lives in [`crate::metadata`] and [`crate::controller`], the log's on-disk format in
//! [`crate::log`].

mod boot;
mod committing;
mod following;
mod hearsay;
mod leading;
mod replay;
mod roles;
mod serving;
mod transitions;
mod voting;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::checkpoint::AtomicFile;
use crate::config::{NodeConfig, QuorumConfig};
use crate::coordinator::{Log, Refusal};
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
use self::replay::Pending;
use self::roles::{Ballot, Role};
use self::serving::{ParkedFetch, ReadingFetch};
use self::voting::{ParkedVote, Peer};

/// What the quorum reports to the router, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuorumFact {
    /// The log and the vote have been read; the node takes part from now on.
    Ready,
    /// More of the log is committed. Each record is reported exactly once per incarnation.
    Committed {
        /// The newly committed metadata records, in order, with their offsets and epochs.
        records: Vec<(Offset, LeaderEpoch, MetadataRecord)>,
        /// Everything below is committed now, control records included.
        upto: Offset,
        /// Epoch of the last record below `upto`.
        epoch: LeaderEpoch,
    },
    /// This node leads, and everything in its log is committed and has been reported: the
    /// controller may become active. (As in Kafka, not before the epoch's first record is
    /// committed.)
    BecameLeader {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// This node no longer leads. Only after [`QuorumFact::BecameLeader`].
    LostLeadership,
    /// The epoch or its leader, as far as this node knows, has changed.
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
    /// The data on disk or in the log cannot be used; the node must stop.
    Refused(String),
}

/// The part of the node's configuration that the quorum uses.
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
    /// `Some` from [`Quorum::start`] on.
    log: Option<PartitionLog>,
    vote_file: AtomicFile,
    /// The epoch, the vote and the leader that this node knows.
    ballot: Ballot,
    /// The latest ballot that is durable.
    durable: Ballot,
    /// Ballots that are being written, with the file's version.
    writing: VecDeque<(u64, Ballot)>,
    role: Role,
    /// Deadline of the election or fetch timeout, depending on the role.
    election: Option<Monotonic>,
    /// Elections that this node lost in a row.
    retries: u32,
    /// Whether the note that this node follows has been written.
    follow_noted: bool,
    /// The epoch whose leader has ended it (EndQuorumEpoch).
    ended: Option<LeaderEpoch>,
    hearsay: Hearsay,
    /// Requests to voters: at most one each.
    peers: BTreeMap<NodeId, Peer>,
    /// Fetches in flight, by the node they were sent to.
    fetches: BTreeMap<NodeId, Fetching>,
    /// No fetch is sent before this time.
    fetch_backoff: Option<Monotonic>,
    /// Fetches that failed in a row.
    fetch_failures: u32,
    /// Which voter to ask for the leader next.
    ask_next: u64,
    /// Votes that are granted, but not durable yet.
    parked_votes: BTreeMap<ReplyTo, ParkedVote>,
    parked_fetches: BTreeMap<ReplyTo, ParkedFetch>,
    /// When the earliest parked fetch is answered empty.
    fetch_expiry: Option<Monotonic>,
    /// Fetches that wait for the disk.
    reading: BTreeMap<ReplyTo, ReadingFetch>,
    /// Records below it are committed; `None` until known.
    high_watermark: Option<Offset>,
    /// Records below it are committed according to the checkpoint at the start. Known before the
    /// high watermark is.
    vouched: Offset,
    /// Records below it have been reported as committed.
    delivered: Offset,
    /// The log from `delivered` on, decoded.
    pending: Pending,
    /// The epoch and leader that were reported last.
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
        let role = Role::initial(settings.voters.contains(&settings.node));
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
            pending: Pending::default(),
            announced: (LeaderEpoch(0), None),
            stopping: false,
        }
    }

    /// Opens `__cluster_metadata-0` and its `quorum-state`. [`QuorumFact::Ready`] follows.
    pub fn start(&mut self, env: &mut dyn Env) {
        self.start_from(Offset::ZERO, false, env);
    }

    /// Like [`Quorum::start`], for a log that, according to a checkpoint, was durable and committed
    /// up to `recovery_point`. `same_boot` if the machine has not gone down since. A log that
    /// contradicts this is damaged: [`QuorumFact::Damaged`]. Without this rule a flipped bit would
    /// pass for a torn tail, and every topic after it for deleted.
    ///
    /// **Remaining gap.** After a power loss, bad data above the recovery point that had been
    /// synced cannot be distinguished from data that was never synced. It is cut, with a note; the
    /// voter may then have lost records that it acknowledged. The recovery point follows a commit
    /// within a second.
    pub fn start_from(&mut self, recovery_point: Offset, same_boot: bool, env: &mut dyn Env) {
        let clean = false; // the mark of a clean stop does not wait for this log
        self.vouched = recovery_point;
        self.open(RecoveryHint { clean, same_boot, recovery_point }, env);
    }

    /// The recovery point to checkpoint for [`Quorum::start_from`].
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

    /// A connection that requests came on is gone: drops everything parked for it.
    pub fn on_connection_closed(&mut self, connection: ConnectionId, _env: &mut dyn Env) {
        self.parked_votes.retain(|to, _| to.connection != connection);
        self.parked_fetches.retain(|to, _| to.connection != connection);
        self.reading.retain(|to, _| to.connection != connection);
    }

    /// Stops gracefully: a leader resigns and announces it to the others. See [`Quorum::can_stop`].
    pub fn shutdown(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        self.stopping = true;
        if self.is_leader() {
            self.become_resigned(false, env, facts);
        }
        self.settle(env, facts);
    }

    /// After [`Quorum::shutdown`]: whether everything has been announced and is on disk. (A peer
    /// that does not answer keeps this false; the router has its own limit.)
    pub fn can_stop(&self) -> bool {
        let told = match &self.role {
            Role::Resigned { unacknowledged, .. } => unacknowledged.is_empty(),
            Role::Unattached
            | Role::Voted { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
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

    /// The leader in [`Quorum::epoch`], as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        if self.is_leader() { Some(self.settings.node) } else { self.role.followed() }
    }

    /// Whether this node leads (even if its controller is not active yet).
    pub fn is_leader(&self) -> bool {
        self.role.leadership().is_some()
    }

    /// The candidate that this node voted for in [`Quorum::epoch`].
    pub fn voted_for(&self) -> Option<NodeId> {
        self.ballot.voted
    }

    /// Whether the current epoch, vote and leader are on disk.
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

    /// The current role.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Whether this node is a voter.
    pub fn is_voter(&self) -> bool {
        self.settings.voters.contains(&self.settings.node)
    }

    /// The other voters.
    fn others(&self) -> impl Iterator<Item = NodeId> {
        let node = self.settings.node;
        self.settings.voters.iter().copied().filter(move |voter| *voter != node)
    }

    /// Ends every entry point: sends what the role wants sent, and reports a change of epoch or
    /// leader.
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

    /// The vote and the log are not read yet, or cannot be used: the answer discloses neither.
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

    /// The node stops taking part: from now on only the router sends or answers anything.
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

    /// Arms the election timeout plus a random part of up to the same length, so that voters do not
    /// stand at the same time.
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
impl Log<MetadataRecord, ()> for Quorum {
    fn epoch(&self) -> Option<LeaderEpoch> {
        let leadership = self.role.leadership()?;
        leadership.active.then_some(self.ballot.epoch)
    }

    fn end(&self) -> Offset {
        self.log_end()
    }

    fn committed(&self) -> Offset {
        self.delivered
    }

    fn append(
        &mut self,
        (): &(),
        records: &[MetadataRecord],
        env: &mut dyn Env,
    ) -> Result<Offset, Refusal> {
        Quorum::append(self, records, env).ok_or(Refusal::NotLeader)
    }
}
