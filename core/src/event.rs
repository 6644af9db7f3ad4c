//! Input: the closed set of events that a machine is stepped with.
//!
//! Completions are identified by what they complete (watermarks, read tags), never by a ticket, so
//! late, merged and repeated ones are harmless. Output lives in [`crate::env`].

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::env::{Channel, FileId, FileKind};
use crate::msg::{Request, Response};
use crate::types::{DirId, Monotonic, NodeId, PartitionId, Uuid};

pub use crate::origin::{ListenerId, Origin};
pub use crate::types::DiskOpKind;

/// One step's cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first event of an incarnation.
    Start {
        /// The current boot of the machine: the same as long as its kernel runs, and with it the
        /// page cache. Zero if unknown.
        boot_id: Uuid,
    },
    /// Stop gracefully: hand leadership over, flush, mark the shutdown clean.
    Shutdown,
    /// A timer fired. Valid only if `deadline` is the one that the machine has stored under `key`.
    Timer {
        /// Which timer.
        key: TimerKey,
        /// The deadline it was armed with.
        deadline: Monotonic,
    },
    /// A disk operation's outcome.
    Disk(DiskDone),
    /// A request arrived. Which further requests its connection delivers before this one is
    /// answered is decided by [`crate::pipeline`].
    Request {
        /// Where the answer goes.
        from: ReplyTo,
        /// Where it comes from.
        origin: Origin,
        /// The API version it was sent with.
        version: i16,
        /// The request.
        request: Request,
    },
    /// A connection that requests came from is gone; anything parked for it may be dropped.
    ConnectionClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// The one outcome of a request that this machine sent.
    Rpc {
        /// The node it was sent to.
        peer: NodeId,
        /// The channel it was sent on; outcomes on one channel arrive in the order of sending.
        channel: Channel,
        /// The answer, or why there is none.
        outcome: Result<Response, RpcError>,
    },
}

/// A connection that requests arrive on; unique within a node's incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Where an answer goes. Plain data: it can be stored, compared and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo {
    /// The connection.
    pub connection: ConnectionId,
    /// The request's number, given by the driver: different for all requests of the connection that
    /// are under way. (Not the correlation id, which belongs to the client. It may use one twice.)
    pub number: u32,
}

/// Why a request has no answer. Either way the peer may or may not have acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RpcError {
    /// The connection could not be opened, or broke.
    Disconnected,
    /// No answer within the request's timeout.
    TimedOut,
    /// The peer supports no version of this API that we do, or sent bytes that are not a valid
    /// answer.
    Unsupported,
}

/// The timers of all machines, by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKey {
    /// Quorum: no leader has been heard from, or the election made no progress.
    Election,
    /// Quorum: fetch from the leader again after an error.
    QuorumFetchBackoff,
    /// Quorum leader: no fetches from a majority (CheckQuorum, KIP-595).
    CheckQuorum,
    /// Quorum leader: announce the epoch to this voter again.
    BeginEpochRetry(NodeId),
    /// Quorum: a parked fetch of the metadata log has waited long enough.
    QuorumFetchExpiry,
    /// Controller: this broker's session ends.
    BrokerSession(NodeId),
    /// Controller: a parked reply has waited long enough.
    ControllerExpiry,
    /// Broker: register again.
    RegistrationRetry,
    /// Broker: next heartbeat.
    Heartbeat,
    /// Broker: send pending AlterPartition requests (again).
    AlterPartition,
    /// Broker: write high watermarks and recovery points to their checkpoints.
    Checkpoint,
    /// Broker: forwarded or parked client requests have expired.
    ForwardExpiry,
    /// Broker: the earliest parked produce expires.
    ProduceExpiry,
    /// Broker: a controlled shutdown has waited long enough for the controller.
    ControlledShutdown,
    /// Leader: look for followers that fell behind.
    IsrCheck(PartitionId),
    /// Broker: the earliest parked fetch expires.
    FetchExpiry,
    /// Follower: fetch from this leader again after an error.
    ReplicaFetchBackoff(NodeId),
    /// Client: linger, retry or give up on batches.
    Producer,
    /// Client: fetch again.
    Consumer,
    /// Client: refresh metadata.
    ClientMetadata,
    /// A workload's own timers, numbered by it.
    Workload(u32),
}

/// A disk operation's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskDone {
    /// A directory's entries, after [`DiskOp::OpenDir`](crate::env::DiskOp::OpenDir).
    Listed {
        /// The directory.
        dir: DirId,
        /// Our files with their lengths in bytes, sorted by kind.
        files: Vec<(FileKind, u64)>,
        /// Names of sub-directories, sorted (only ever non-empty for the root).
        dirs: Vec<String>,
        /// How many other entries, not ours, a partition's directory has: files of other names, and
        /// sub-directories. 0 for the root.
        strangers: u32,
    },
    /// Bytes below `upto` are in the page cache; writing them did not fail.
    Written {
        /// The file.
        file: FileId,
        /// The generation that was written to.
        generation: u32,
        /// In bytes.
        upto: u64,
    },
    /// Bytes below `upto` are durable.
    Synced {
        /// The file.
        file: FileId,
        /// The generation that was synced.
        generation: u32,
        /// In bytes.
        upto: u64,
    },
    /// The directory's entries as of the submission of this `SyncDir`, or later, are durable.
    DirSynced {
        /// The directory.
        dir: DirId,
        /// As submitted.
        by: FileKind,
        /// As submitted.
        serial: u32,
    },
    /// The result of a read.
    Read {
        /// What it was for.
        tag: ReadTag,
        /// The file.
        file: FileId,
        /// Where it starts.
        at: u64,
        /// The bytes; fewer than requested only at the end of the file.
        bytes: Bytes,
    },
    /// An operation failed. It is never retried: the log directory goes offline.
    Failed {
        /// The file, or the directory's `CleanShutdown` if the operation names no file.
        file: FileId,
        /// What was attempted.
        op: DiskOpKind,
        /// Why.
        error: DiskError,
    },
    /// A directory has its new name, after [`DiskOp::RenameDir`](crate::env::DiskOp::RenameDir).
    DirRenamed {
        /// The directory.
        dir: DirId,
    },
}

impl DiskDone {
    /// The directory that the completion is about.
    pub fn dir(&self) -> DirId {
        match self {
            DiskDone::Listed { dir, .. }
            | DiskDone::DirSynced { dir, .. }
            | DiskDone::DirRenamed { dir } => *dir,
            DiskDone::Written { file, .. }
            | DiskDone::Synced { file, .. }
            | DiskDone::Read { file, .. }
            | DiskDone::Failed { file, .. } => file.dir,
        }
    }
}

/// Why a disk operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskError {
    /// The device reported an error (EIO).
    Io,
    /// A sync found no space for the written data (ENOSPC), or a file would be too large (EFBIG).
    /// (A write that does not fit waits.)
    Full,
    /// The operating system refused: permission, or any other error.
    Refused,
}

/// What a read is for; comes back with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadTag {
    /// A small file, at start.
    SmallFile,
    /// The log's recovery scan.
    Recovery,
    /// Finding the truncation point.
    Truncation,
    /// A parked fetch of this request reads this partition.
    Fetch(ReplyTo),
    /// A parked ListOffsets of this request looks up a timestamp.
    Lookup(ReplyTo),
    /// The metadata log is being replayed.
    Replay,
}
