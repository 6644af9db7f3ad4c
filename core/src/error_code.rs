//! Kafka's error codes, and what each implies about whether a write happened.
//!
//! Only codes that this broker or its clients send or receive are here; others are kept by number.
//! Text for people is produced at the edge.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// An error code of the protocol; `None` is success.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(from = "i16", into = "i16")]
        pub enum ErrorCode {
            /// No error.
            #[default]
            None,
            $($(#[$doc])* $name,)*
            /// A code that this build has no name for.
            Other(i16),
        }

        impl ErrorCode {
            /// The number on the wire.
            pub fn code(self) -> i16 {
                match self {
                    ErrorCode::None => 0,
                    $(ErrorCode::$name => $code,)*
                    ErrorCode::Other(code) => code,
                }
            }

            /// From the number on the wire.
            pub fn from_code(code: i16) -> ErrorCode {
                match code {
                    0 => ErrorCode::None,
                    $($code => ErrorCode::$name,)*
                    other => ErrorCode::Other(other),
                }
            }

            /// Kafka's name for it.
            pub fn name(self) -> &'static str {
                match self {
                    ErrorCode::None => "NONE",
                    $(ErrorCode::$name => $text,)*
                    ErrorCode::Other(_) => "UNKNOWN_CODE",
                }
            }
        }
    };
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> ErrorCode {
        ErrorCode::from_code(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

codes! {
    /// An unexpected error on the server.
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR";
    /// Below the log start or above the log end.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE";
    /// CRC or structure of a batch is wrong.
    CorruptMessage = 2, "CORRUPT_MESSAGE";
    /// No such topic or partition here.
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION";
    /// No leader at present.
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE";
    /// This broker does not lead (or follow) the partition.
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER";
    /// Timed out; the data stays.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT";
    /// The replica is not available.
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE";
    /// Larger than `max.message.bytes`.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE";
    /// Commit metadata too large.
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE";
    /// The connection broke (clients use it internally).
    NetworkException = 13, "NETWORK_EXCEPTION";
    /// The coordinator is loading.
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS";
    /// No coordinator.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE";
    /// Not the coordinator.
    NotCoordinator = 16, "NOT_COORDINATOR";
    /// Illegal topic name or a topic that clients may not write.
    InvalidTopic = 17, "INVALID_TOPIC_EXCEPTION";
    /// Batch larger than a segment.
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE";
    /// Fewer in-sync replicas than `min.insync.replicas`; nothing was appended.
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS";
    /// As above, but the record was appended.
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND";
    /// `acks` is not -1, 0 or 1.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS";
    /// Timestamp outside the limits.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP";
    /// The API version is not supported.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION";
    /// The topic exists.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS";
    /// Partition count out of range.
    InvalidPartitions = 37, "INVALID_PARTITIONS";
    /// Replication factor out of range.
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR";
    /// Replica assignment is not valid.
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT";
    /// Configuration is not valid.
    InvalidConfig = 40, "INVALID_CONFIG";
    /// Not the active controller.
    NotController = 41, "NOT_CONTROLLER";
    /// The request makes no sense.
    InvalidRequest = 42, "INVALID_REQUEST";
    /// Records in a format that this version does not allow.
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    /// Refused by policy.
    PolicyViolation = 44, "POLICY_VIOLATION";
    /// Producer sequence is not the next one.
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// Producer sequence was seen.
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER";
    /// Producer epoch is old.
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH";
    /// Not allowed.
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED";
    /// The log directory failed.
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR";
    /// The leader has no listener with the name of the one the client connected to.
    ListenerNotFound = 72, "LISTENER_NOT_FOUND";
    /// Topic deletion is switched off.
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED";
    /// Fetch session unknown.
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND";
    /// Fetch session epoch wrong.
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH";
    /// The request's leader epoch is older than the broker's.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH";
    /// The request's leader epoch is newer than the broker's.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH";
    /// Compression not allowed in this version.
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE";
    /// The broker epoch is not the registered one.
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH";
    /// The leader does not know the offset yet.
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE";
    /// Preferred leader not available.
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE";
    /// No eligible leader.
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE";
    /// No election needed.
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED";
    /// The partition does not know this transaction.
    InvalidTxnState = 48, "INVALID_TXN_STATE";
    /// A record is not valid.
    InvalidRecord = 87, "INVALID_RECORD";
    /// The voters differ from those that the quorum knows.
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET";
    /// The partition epoch is not the current one.
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION";
    /// The broker id is not registered.
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED";
    /// Another live process has this broker id.
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION";
    /// Snapshot not found.
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND";
    /// The topic id is not known.
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID";
    /// The topic id does not match the log's.
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID";
    /// A broker's registration has values that no broker can have.
    InvalidRegistration = 119, "INVALID_REGISTRATION";
    /// The cluster id is a different one.
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID";
    /// Fetch session and ids mixed.
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR";
    /// A proposed ISR contains a broker that may not be in it.
    IneligibleReplica = 107, "INELIGIBLE_REPLICA";
    /// The change made another replica leader.
    NewLeaderElected = 108, "NEW_LEADER_ELECTED";
    /// The offset was moved to tiered storage.
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE";
    /// The connection reached a different node or cluster from the intended one (KIP-1102,
    /// KIP-1242).
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED";
    /// The operation was not attempted.
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED";
}

/// What a client knows after an outcome (one table for all APIs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It happened.
    Done,
    /// It did not happen and never will.
    Failed,
    /// It may have happened, or may still happen.
    Unknown,
}

/// The table behind [`ErrorCode::produce_certainty`].
mod certainty {
    use super::Certainty;
    use super::ErrorCode::{self, *};

    /// `NOT_LEADER_OR_FOLLOWER` is also what a parked produce gets when leadership moves.
    pub(super) fn of_produce(error: ErrorCode) -> Certainty {
        match error {
            None => Certainty::Done,
            CorruptMessage
            | UnknownTopicOrPartition
            | MessageTooLarge
            | InvalidTopic
            | RecordListTooLarge
            | NotEnoughReplicas
            | InvalidRequiredAcks
            | InvalidTimestamp
            | UnsupportedVersion
            | InvalidRequest
            | UnsupportedForMessageFormat
            | UnsupportedCompressionType
            | InvalidRecord
            | UnknownTopicId
            | LeaderNotAvailable
            | InconsistentTopicId
            | OutOfOrderSequenceNumber
            | InvalidProducerEpoch
            | InvalidTxnState
            | ClusterAuthorizationFailed
            | PolicyViolation => Certainty::Failed,
            NotLeaderOrFollower
            | UnknownServerError
            | RequestTimedOut
            | NotEnoughReplicasAfterAppend
            | NetworkException
            | KafkaStorageError
            | FencedLeaderEpoch
            | UnknownLeaderEpoch
            | OffsetOutOfRange
            | ReplicaNotAvailable
            | OffsetMetadataTooLarge
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | NotCoordinator
            | TopicAlreadyExists
            | InvalidPartitions
            | InvalidReplicationFactor
            | InvalidReplicaAssignment
            | InvalidConfig
            | NotController
            | DuplicateSequenceNumber
            | TopicDeletionDisabled
            | FetchSessionIdNotFound
            | InvalidFetchSessionEpoch
            | StaleBrokerEpoch
            | OffsetNotAvailable
            | PreferredLeaderNotAvailable
            | EligibleLeadersNotAvailable
            | ElectionNotNeeded
            | InconsistentVoterSet
            | InvalidUpdateVersion
            | BrokerIdNotRegistered
            | DuplicateBrokerRegistration
            | InvalidRegistration
            | SnapshotNotFound
            | InconsistentClusterId
            | FetchSessionTopicIdError
            | ListenerNotFound
            | RebootstrapRequired
            | IneligibleReplica
            | NewLeaderElected
            | OffsetMovedToTieredStorage
            | OperationNotAttempted
            | Other(_) => Certainty::Unknown,
        }
    }
}

impl ErrorCode {
    /// True for [`ErrorCode::None`].
    pub fn is_ok(self) -> bool {
        self == ErrorCode::None
    }

    /// What a Produce answer with this code implies about the records. Every code that can follow
    /// the append is [`Certainty::Unknown`], and so are codes without a name.
    pub fn produce_certainty(self) -> Certainty {
        certainty::of_produce(self)
    }

    /// Whether a client should refresh metadata and try again.
    pub fn is_retriable(self) -> bool {
        use ErrorCode::*;
        matches!(
            self,
            CorruptMessage
                | UnknownTopicOrPartition
                | LeaderNotAvailable
                | ListenerNotFound
                | NotLeaderOrFollower
                | RequestTimedOut
                | ReplicaNotAvailable
                | NetworkException
                | NotEnoughReplicas
                | NotEnoughReplicasAfterAppend
                | NotController
                | KafkaStorageError
                | FencedLeaderEpoch
                | UnknownLeaderEpoch
                | OffsetNotAvailable
                | UnknownTopicId
                | InconsistentTopicId
                | StaleBrokerEpoch
                | BrokerIdNotRegistered
        )
    }
}
