//! The seam: what a state machine may ask of the world, and nothing else.
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
//! What does not live here: the events that come back ([`crate::event`]) and the recorder that
//! turns any handler into `event -> effects` ([`crate::effects`]).

use alloc::string::String;
use bytes::Bytes;
use core::time::Duration;

use crate::event::{ReadTag, ReplyTo, TimerKey};
use crate::msg::{Request, Response};
use crate::note::Note;
use crate::types::{DirId, Endpoint, Monotonic, NodeId, Offset, WallTime};

/// Everything at once; handlers take the parts that they need.
pub trait Env: Clock + Timers + Network + Storage + Random {}

impl<T: Clock + Timers + Network + Storage + Random> Env for T {}

/// What a log needs: the disk, and a probe for its notes. (`&mut dyn Env` upcasts to it; two
/// separate arguments could not be borrowed from one Env.)
pub trait Storage: Disk + Probe {}

impl<T: Disk + Probe> Storage for T {}

/// The two clocks. They never convert into each other.
pub trait Clock {
    /// For timers. Constant within a step, strictly greater at the next one that moved time.
    fn now(&self) -> Monotonic;
    /// For record timestamps and what clients see. May be wrong, may jump either way.
    fn wall(&self) -> WallTime;
}

/// Timers keyed by domain values.
pub trait Timers {
    /// Fires [`Event::Timer`](crate::event::Event::Timer) with this key and deadline at or after
    /// the deadline, replacing the key's earlier arming. The machine keeps the deadline in its own
    /// state: a firing whose deadline is not the stored one is stale and must be a no-op (a
    /// replaced or disarmed timer may still fire; the tank makes it).
    fn arm(&mut self, key: TimerKey, deadline: Monotonic);
    /// Best effort: a stale firing may still come.
    fn disarm(&mut self, key: TimerKey);
}

/// One connection a machine keeps to a peer. Requests on one channel are answered in order and
/// their outcomes arrive in the order of sending; channels are independent, so that a fetch parked
/// at the peer does not hold a heartbeat back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Votes and epoch announcements among voters (at most one in flight).
    Quorum,
    /// Fetches of the metadata log (at most one in flight).
    QuorumFetch,
    /// Broker to active controller: registration, AlterPartition, forwarded requests.
    Controller,
    /// Broker heartbeats, apart so that nothing delays them (at most one in flight).
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

/// The network, request and response at a time.
pub trait Network {
    /// Sends a request. Exactly one [`Event::Rpc`](crate::event::Event::Rpc) with the same peer and
    /// channel follows (unless this incarnation ends), in the order of sending within the channel:
    /// the answer, or that the connection broke, or that `timeout` passed (which also breaks the
    /// connection, as Kafka's clients do). A produce request with acks=0 has the outcome
    /// [`Response::Produce`] with no topics as soon as it was handed to the connection.
    fn request(&mut self, peer: NodeId, channel: Channel, timeout: Duration, request: Request);
    /// Answers a request. Each is answered exactly once: by this, [`Network::no_response`] or
    /// [`Network::disconnect`]; the connection's next request is not delivered before. Answering a
    /// connection that is gone is a no-op.
    fn respond(&mut self, to: ReplyTo, response: Response);
    /// Ends a request that has no response (produce with acks=0).
    fn no_response(&mut self, to: ReplyTo);
    /// Closes the connection that the request came on: Kafka's answer where no code can be given.
    fn disconnect(&mut self, to: ReplyTo);
    /// Tells where a peer listens, as metadata or configuration said. The tank knows already.
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
    /// `.wavetank_boot_id` (root): on which boot of the machine the logs were last recovered. Kafka has
    /// no such file, and ignores it.
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

    /// Its name, as Kafka's.
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
    /// The file's name on disk, as Kafka's.
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
/// directories are independent. What is refused for want of descriptors, memory or space has not
/// begun: it is tried again, and what is behind it in its directory waits. See
/// [`DiskDone`](crate::event::DiskDone) for what comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskOp {
    /// Names a directory (relative to the log directory, empty for the root itself), creates it
    /// where it is missing, and answers with its entries. A directory that this created is itself
    /// durable when the answer comes (the driver syncs the root); one that was there is as durable
    /// as it was.
    OpenDir {
        /// The id by which it is known from now on.
        dir: DirId,
        /// Its name, one path component or empty.
        name: String,
    },
    /// Makes an empty file of this name: a new one, or the one that is there is cut in place, as
    /// `open(2)` does with `O_CREAT | O_TRUNC`. So after a power loss before the file's next `Sync` what it
    /// held may be back, and if it has a second name, that one is empty, too.
    Create {
        /// The file.
        file: FileId,
        /// The generation that completions of this content will carry.
        generation: u32,
    },
    /// Appends. Completes as `Written` and not before the bytes are in the page cache.
    Append {
        /// The file; must exist.
        file: FileId,
        /// The machine's current generation of it; 0 for a file that was there when it started.
        generation: u32,
        /// Where the machine believes the end to be, in bytes; the driver asserts it.
        at: u64,
        /// What to write, in order, without a copy.
        bytes: alloc::vec::Vec<Bytes>,
    },
    /// Makes what was written so far durable. May be merged with other syncs of the file.
    Sync {
        /// The file.
        file: FileId,
        /// The machine's current generation of it.
        generation: u32,
    },
    /// Cuts the file to `to` bytes; later completions of the earlier generation are stale. Durable after
    /// `Sync`: a power loss before may bring back what was cut, under what was appended since.
    Truncate {
        /// The file.
        file: FileId,
        /// The new generation.
        generation: u32,
        /// New length in bytes; never more than the present one.
        to: u64,
    },
    /// Renames within the directory, replacing the target atomically. Durable after `SyncDir`; a power
    /// loss before may leave the file under either name or under both, never under neither.
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
    /// Makes the directory's entries as of now durable (a power loss before leaves any subset of what was
    /// done to them since the last time); completes as `DirSynced` with the same
    /// `by` and `serial`. One file-system sync may serve several, but each gets its completion.
    SyncDir {
        /// The directory.
        dir: DirId,
        /// For which file this is asked: several components share a directory, and the answer to
        /// one's earlier sync must not bless another's later rename.
        by: FileKind,
        /// Which of that file's syncs.
        serial: u32,
    },
    /// Removes a directory and everything in it, file by file: what ends the process on the way, or
    /// a power loss before the root's next `SyncDir`, may leave the directory with any of its files.
    /// So it gets a name first that says what it is ([`DiskOp::RenameDir`], durably). No completion.
    RemoveDir {
        /// The directory; its id is not used again, nor is its name in this process.
        dir: DirId,
    },
    /// Reads up to `len` bytes from `at`; fewer come only where the file ends.
    Read {
        /// Names what the bytes are for.
        tag: ReadTag,
        /// The file.
        file: FileId,
        /// First byte.
        at: u64,
        /// Most bytes.
        len: u32,
    },
    /// Gives a directory below the root another name, which nothing there has. Completes as
    /// [`DirRenamed`](crate::event::DiskDone::DirRenamed); until then nothing else is asked of the
    /// directory, and the old name is not opened. From then on the id goes with the new name, and
    /// the old one is free. Durable after a `SyncDir` of the root that was submitted afterwards.
    RenameDir {
        /// The directory.
        dir: DirId,
        /// Its new name, one path component.
        name: String,
    },
}

/// The disk. One method, so that an operation can be recorded, delayed and printed as data; the
/// provided ones make handlers read as verbs.
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

/// What a random draw is for. The tank keys each draw by (seed, node, site, how many draws of this
/// site came before), so that a draw more or less elsewhere moves nothing here.
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

/// Entropy, seeded in the tank and the operating system's in the server.
pub trait Random {
    /// A number below `bound` (which is at least 1); `u64::MAX` stands for "any 64 bits".
    fn draw(&mut self, site: Site, bound: u64) -> u64;
}

/// Typed trace points. Never influences what a machine does.
pub trait Probe {
    /// One protocol transition, with its before and after.
    fn note(&mut self, note: Note);
}
