//! The seam: everything that a state machine may ask of the outside world.
//!
//! The rules, which every implementation and every handler keeps:
//!
//! 1. **Methods only submit.** None blocks, calls back, fails or returns outside data, except the
//!    two clocks (constant within a step) and [`Random::draw`]. Outcomes arrive later as
//!    [`Event`](crate::event::Event)s, so crash points, reordering and storage faults are all just
//!    "which event comes next".
//! 2. Env is passed in, never stored. A function takes the narrowest capability it needs.
//! 3. The driver, never the core, decides when submissions reach the kernel.
//!
//! The events that come back live in [`crate::event`]; the recorder that turns any handler into
//! `event -> effects` lives in [`crate::effects`].

use alloc::string::String;
use bytes::Bytes;
use core::time::Duration;

use crate::event::{ReadTag, ReplyTo, TimerKey};
use crate::msg::{Request, Response};
use crate::note::Note;
use crate::types::{DirId, Endpoint, Monotonic, NodeId, Offset, WallTime};

/// All capabilities together. Handlers take only the parts that they need.
pub trait Env: Clock + Timers + Network + Storage + Random {}

impl<T: Clock + Timers + Network + Storage + Random> Env for T {}

/// What a log needs: the disk, and a probe for its notes. (`&mut dyn Env` upcasts to it; two
/// separate arguments could not be borrowed from one Env.)
pub trait Storage: Disk + Probe {}

impl<T: Disk + Probe> Storage for T {}

/// The two clocks. They never convert into each other.
pub trait Clock {
    /// For timers. Constant within a step, and strictly greater in the next step that advances
    /// time.
    fn now(&self) -> Monotonic;
    /// For record timestamps and what clients see. May be wrong, and may jump in either direction.
    fn wall(&self) -> WallTime;
}

/// Timers keyed by domain values.
pub trait Timers {
    /// Fires [`Event::Timer`](crate::event::Event::Timer) with this key and deadline at or after
    /// the deadline, replacing the key's earlier arming. The machine keeps the deadline in its own
    /// state: a firing whose deadline is not the stored one is stale and must be a no-op (a
    /// replaced or disarmed timer may still fire, and the tank makes this happen).
    fn arm(&mut self, key: TimerKey, deadline: Monotonic);
    /// Best effort: a stale firing may still come.
    fn disarm(&mut self, key: TimerKey);
}

/// One connection a machine keeps to a peer. Requests on one channel are answered in order, and
/// their outcomes arrive in the order of sending. Channels are independent, so a fetch parked at
/// the peer does not delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Votes and epoch announcements among voters (at most one in flight).
    Quorum,
    /// Fetches of the metadata log (at most one in flight).
    QuorumFetch,
    /// Broker to active controller: registration, AlterPartition, forwarded requests.
    Controller,
    /// Broker heartbeats, on a channel of their own so that nothing delays them (at most one in
    /// flight).
    Heartbeat,
    /// A follower's fetches of partitions (at most one in flight).
    ReplicaFetch,
    /// A follower's OffsetForLeaderEpoch look-ups (at most one in flight).
    ReplicaEpochs,
    /// A producer's produce requests (up to its `max.in.flight`).
    Produce,
    /// A consumer's fetches and offset look-ups.
    Fetch,
    /// A client's metadata and administration.
    Admin,
}

/// The network, one request and response at a time.
pub trait Network {
    /// Sends a request. Exactly one [`Event::Rpc`](crate::event::Event::Rpc) with the same peer and
    /// channel follows (unless this incarnation ends), in the order of sending within the channel:
    /// the answer, a broken connection, or the expiry of `timeout` (which also breaks the
    /// connection, as in Kafka's clients). A produce request with acks=0 has the outcome
    /// [`Response::Produce`] with no topics as soon as it has been handed to the connection.
    fn request(&mut self, peer: NodeId, channel: Channel, timeout: Duration, request: Request);
    /// Answers a request. Each is answered exactly once: by this, [`Network::no_response`] or
    /// [`Network::disconnect`]. Produces of one connection may be answered in any order; the driver
    /// sends the answers in the order of the requests ([`crate::pipeline`]). Answering a connection
    /// that is gone is a no-op.
    fn respond(&mut self, to: ReplyTo, response: Response);
    /// Ends a request that has no response (produce with acks=0).
    fn no_response(&mut self, to: ReplyTo);
    /// Closes the connection that the request came on, once the requests before it are answered.
    /// The requests behind it have no answer. Kafka does this when it cannot return an error code.
    fn disconnect(&mut self, to: ReplyTo);
    /// Tells the driver where a peer listens, according to metadata or configuration. The tank
    /// knows already.
    fn learn_peer(&mut self, peer: NodeId, endpoint: &Endpoint);
}

/// The role of a file within its directory; with the directory it names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `<base>.log`: record batches.
    Log(Offset),
    /// `<base>.index`: offset index.
    OffsetIndex(Offset),
    /// `<base>.timeindex`: time index.
    TimeIndex(Offset),
    /// `leader-epoch-checkpoint`.
    LeaderEpochs,
    /// `partition.metadata`: format version and topic id.
    PartitionMetadata,
    /// `quorum-state`: the durable vote (metadata directory).
    QuorumState,
    /// `meta.properties`: cluster, node and directory id (root).
    MetaProperties,
    /// `recovery-point-offset-checkpoint` (root).
    RecoveryPoints,
    /// `replication-offset-checkpoint`: high watermarks (root).
    HighWatermarks,
    /// `.kafka_cleanshutdown` (root).
    CleanShutdown,
    /// `<name>.tmp` of one of the small files above, while it is being replaced.
    Temporary(SmallFile),
    /// `.wavetank_boot_id` (root): the boot of the machine on which the logs were last recovered.
    /// Kafka has no such file, and ignores it.
    BootId,
}

/// The files that are replaced as a whole: write a temporary, sync it, rename, sync the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmallFile {
    /// See [`FileKind::LeaderEpochs`].
    LeaderEpochs,
    /// See [`FileKind::PartitionMetadata`].
    PartitionMetadata,
    /// See [`FileKind::QuorumState`].
    QuorumState,
    /// See [`FileKind::MetaProperties`].
    MetaProperties,
    /// See [`FileKind::RecoveryPoints`].
    RecoveryPoints,
    /// See [`FileKind::HighWatermarks`].
    HighWatermarks,
    /// See [`FileKind::CleanShutdown`].
    CleanShutdown,
    /// See [`FileKind::BootId`].
    BootId,
}

impl SmallFile {
    /// The file itself.
    pub fn kind(self) -> FileKind {
        match self {
            SmallFile::LeaderEpochs => FileKind::LeaderEpochs,
            SmallFile::PartitionMetadata => FileKind::PartitionMetadata,
            SmallFile::QuorumState => FileKind::QuorumState,
            SmallFile::MetaProperties => FileKind::MetaProperties,
            SmallFile::RecoveryPoints => FileKind::RecoveryPoints,
            SmallFile::HighWatermarks => FileKind::HighWatermarks,
            SmallFile::CleanShutdown => FileKind::CleanShutdown,
            SmallFile::BootId => FileKind::BootId,
        }
    }

    /// Its name, the same as in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            SmallFile::LeaderEpochs => "leader-epoch-checkpoint",
            SmallFile::PartitionMetadata => "partition.metadata",
            SmallFile::QuorumState => "quorum-state",
            SmallFile::MetaProperties => "meta.properties",
            SmallFile::RecoveryPoints => "recovery-point-offset-checkpoint",
            SmallFile::HighWatermarks => "replication-offset-checkpoint",
            SmallFile::CleanShutdown => ".kafka_cleanshutdown",
            SmallFile::BootId => ".wavetank_boot_id",
        }
    }

    const ALL: [SmallFile; 8] = [
        SmallFile::LeaderEpochs,
        SmallFile::PartitionMetadata,
        SmallFile::QuorumState,
        SmallFile::MetaProperties,
        SmallFile::RecoveryPoints,
        SmallFile::HighWatermarks,
        SmallFile::CleanShutdown,
        SmallFile::BootId,
    ];
}

impl FileKind {
    /// The file's name on disk, the same as in Kafka.
    pub fn name(self) -> String {
        use alloc::format;
        match self {
            FileKind::Log(base) => format!("{:020}.log", base.0),
            FileKind::OffsetIndex(base) => format!("{:020}.index", base.0),
            FileKind::TimeIndex(base) => format!("{:020}.timeindex", base.0),
            FileKind::LeaderEpochs => SmallFile::LeaderEpochs.name().into(),
            FileKind::PartitionMetadata => SmallFile::PartitionMetadata.name().into(),
            FileKind::QuorumState => SmallFile::QuorumState.name().into(),
            FileKind::MetaProperties => SmallFile::MetaProperties.name().into(),
            FileKind::RecoveryPoints => SmallFile::RecoveryPoints.name().into(),
            FileKind::HighWatermarks => SmallFile::HighWatermarks.name().into(),
            FileKind::CleanShutdown => SmallFile::CleanShutdown.name().into(),
            FileKind::BootId => SmallFile::BootId.name().into(),
            FileKind::Temporary(small) => format!("{}.tmp", small.name()),
        }
    }

    /// The kind whose [`name`](FileKind::name) this is; `None` for a file that is not ours.
    pub fn parse(name: &str) -> Option<FileKind> {
        let base = |suffix: &str| {
            let digits = name.strip_suffix(suffix)?;
            let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
            valid.then(|| digits.parse().ok().map(Offset))?
        };
        if let Some(base) = base(".log") {
            return Some(FileKind::Log(base));
        }
        if let Some(base) = base(".index") {
            return Some(FileKind::OffsetIndex(base));
        }
        if let Some(base) = base(".timeindex") {
            return Some(FileKind::TimeIndex(base));
        }
        SmallFile::ALL.into_iter().find_map(|small| {
            if name == small.name() {
                Some(small.kind())
            } else if name.strip_suffix(".tmp") == Some(small.name()) {
                Some(FileKind::Temporary(small))
            } else {
                None
            }
        })
    }
}

/// A file, by directory and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The directory.
    pub dir: DirId,
    /// The file's role in it.
    pub kind: FileKind,
}

/// One submission to the disk. Operations on one directory take effect in the order of submission;
/// directories are independent. An operation that is refused because the system is out of
/// descriptors, memory or space has not begun: it is retried, and the operations behind it in its
/// directory wait. See [`DiskDone`](crate::event::DiskDone) for the completions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskOp {
    /// Names a directory (relative to the log directory, empty for the root itself), creates it if
    /// it is missing, and answers with its entries. A directory created by this operation is
    /// durable when the answer arrives (the driver syncs the root). An existing one is as durable
    /// as it was before.
    OpenDir {
        /// The id by which it is known from now on.
        dir: DirId,
        /// Its name, one path component or empty.
        name: String,
    },
    /// Creates an empty file of this name, or truncates the existing one in place, as `open(2)`
    /// does with `O_CREAT | O_TRUNC`. So a power loss before the file's next `Sync` may bring its
    /// old contents back. If the file has a second name, that one is empty, too.
    Create {
        /// The file.
        file: FileId,
        /// The generation that completions of this content will carry.
        generation: u32,
    },
    /// Appends. Completes as `Written` once the bytes are in the page cache, never earlier.
    Append {
        /// The file; must exist.
        file: FileId,
        /// The machine's current generation of it; 0 for a file that existed when the machine
        /// started.
        generation: u32,
        /// Where the machine believes the file ends, in bytes; the driver asserts it.
        at: u64,
        /// What to write, in order, without a copy.
        bytes: alloc::vec::Vec<Bytes>,
    },
    /// Makes everything written so far durable. May be merged with other syncs of the file.
    Sync {
        /// The file.
        file: FileId,
        /// The machine's current generation of it.
        generation: u32,
    },
    /// Cuts the file to `to` bytes; later completions of the earlier generation are stale. Durable
    /// after `Sync`: a power loss before that may bring the cut bytes back, beneath those appended
    /// since.
    Truncate {
        /// The file.
        file: FileId,
        /// The new generation.
        generation: u32,
        /// New length in bytes; never more than the present one.
        to: u64,
    },
    /// Renames within the directory, replacing the target atomically. Durable after `SyncDir`; a
    /// power loss before that may leave the file under either name or both, never under neither.
    Rename {
        /// The directory.
        dir: DirId,
        /// From.
        from: FileKind,
        /// To.
        to: FileKind,
    },
    /// Removes a file. Removing one that does not exist is a no-op.
    Unlink {
        /// The file.
        file: FileId,
    },
    /// Makes the directory's current entries durable (a power loss before that leaves any subset of
    /// the changes since the last `SyncDir`). Completes as `DirSynced` with the same `by` and
    /// `serial`. One file-system sync may serve several of these, but each gets its own completion.
    SyncDir {
        /// The directory.
        dir: DirId,
        /// The file that this sync is for. Several components share a directory, and the answer to
        /// one component's earlier sync must not confirm another's later rename.
        by: FileKind,
        /// Which one of that file's syncs.
        serial: u32,
    },
    /// Removes a directory and everything in it, file by file. If the process ends midway, or power
    /// is lost before the root's next `SyncDir`, the directory may remain with any of its files. So
    /// it is first given a name that marks it as being removed ([`DiskOp::RenameDir`], durably). No
    /// completion.
    RemoveDir {
        /// The directory; its id is not used again, nor is its name in this process.
        dir: DirId,
    },
    /// Reads up to `len` bytes from `at`; fewer come only where the file ends.
    Read {
        /// What the bytes are for.
        tag: ReadTag,
        /// The file.
        file: FileId,
        /// Position of the first byte.
        at: u64,
        /// Maximum number of bytes.
        len: u32,
    },
    /// Gives a directory below the root a new name that is not in use there. Completes as
    /// [`DirRenamed`](crate::event::DiskDone::DirRenamed); until then no other operation is
    /// submitted for the directory, and the old name is not opened. From then on the id goes with
    /// the new name, and the old name is free. Durable after a `SyncDir` of the root that is
    /// submitted afterwards.
    RenameDir {
        /// The directory.
        dir: DirId,
        /// Its new name, one path component.
        name: String,
    },
}

/// The disk. One required method, so that an operation can be recorded, delayed and printed as
/// data. The provided methods let handlers read as verbs.
pub trait Disk {
    /// Submits one operation; see [`DiskOp`].
    fn submit(&mut self, op: DiskOp);

    /// [`DiskOp::OpenDir`].
    fn open_dir(&mut self, dir: DirId, name: &str) {
        self.submit(DiskOp::OpenDir { dir, name: name.into() });
    }
    /// [`DiskOp::Create`].
    fn create(&mut self, file: FileId, generation: u32) {
        self.submit(DiskOp::Create { file, generation });
    }
    /// [`DiskOp::Append`].
    fn append(&mut self, file: FileId, generation: u32, at: u64, bytes: alloc::vec::Vec<Bytes>) {
        self.submit(DiskOp::Append { file, generation, at, bytes });
    }
    /// [`DiskOp::Sync`].
    fn sync(&mut self, file: FileId, generation: u32) {
        self.submit(DiskOp::Sync { file, generation });
    }
    /// [`DiskOp::Truncate`].
    fn truncate(&mut self, file: FileId, generation: u32, to: u64) {
        self.submit(DiskOp::Truncate { file, generation, to });
    }
    /// [`DiskOp::Rename`].
    fn rename(&mut self, dir: DirId, from: FileKind, to: FileKind) {
        self.submit(DiskOp::Rename { dir, from, to });
    }
    /// [`DiskOp::Unlink`].
    fn unlink(&mut self, file: FileId) {
        self.submit(DiskOp::Unlink { file });
    }
    /// [`DiskOp::SyncDir`].
    fn sync_dir(&mut self, dir: DirId, by: FileKind, serial: u32) {
        self.submit(DiskOp::SyncDir { dir, by, serial });
    }
    /// [`DiskOp::RenameDir`].
    fn rename_dir(&mut self, dir: DirId, name: &str) {
        self.submit(DiskOp::RenameDir { dir, name: name.into() });
    }
    /// [`DiskOp::RemoveDir`].
    fn remove_dir(&mut self, dir: DirId) {
        self.submit(DiskOp::RemoveDir { dir });
    }
    /// [`DiskOp::Read`].
    fn read(&mut self, tag: ReadTag, file: FileId, at: u64, len: u32) {
        self.submit(DiskOp::Read { tag, file, at, len });
    }
}

/// What a random draw is for. The tank keys each draw by (seed, node, site, number of earlier draws
/// of this site), so that an extra or missing draw elsewhere changes nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// Jitter of the election timeout.
    ElectionTimeout,
    /// Jitter of a back-off.
    Backoff,
    /// Half of a fresh [`Uuid`](crate::types::Uuid) (incarnation, directory, topic ids).
    Uuid,
    /// Where replica placement starts.
    Placement,
    /// Which of several peers to ask.
    Peer,
}

/// Entropy: seeded in the tank, from the operating system in the server.
pub trait Random {
    /// A number below `bound` (which is at least 1); `u64::MAX` stands for "any 64 bits".
    fn draw(&mut self, site: Site, bound: u64) -> u64;
}

/// Typed trace points. Never influences what a machine does.
pub trait Probe {
    /// One protocol transition, with its before and after.
    fn note(&mut self, note: Note);
}
