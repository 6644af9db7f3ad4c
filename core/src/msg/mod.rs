//! The messages of Kafka's protocol as values: one struct for each API, covering all versions.
//!
//! Fields are those of the newest version. For a field that a version lacks, a decoder fills in the
//! schema's default and an encoder leaves it out. The encoding lives in `wavetank-wire`, the
//! meaning of a message in the component that handles it.

mod client;
mod cluster;
mod data;

pub use client::*;
pub use cluster::*;
pub use data::*;

use alloc::boxed::Box;

/// The most elements that all arrays of a request may have together. Kafka has no such bound. A
/// node refuses a request with more, so it never sends one either: what does not fit goes in
/// another request.
pub const MAX_REQUEST_ELEMENTS: usize = 100_000;

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal: $request:ty, $response:ty;)*) => {
        /// The APIs that this build speaks, by Kafka's key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ApiKey {
            $($(#[$doc])* $name,)*
        }

        impl ApiKey {
            /// All of them, in order of key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The key on the wire.
            pub fn key(self) -> i16 {
                match self { $(ApiKey::$name => $key),* }
            }

            /// From the key on the wire.
            pub fn from_key(key: i16) -> Option<ApiKey> {
                match key { $($key => Some(ApiKey::$name),)* _ => None }
            }
        }

        /// A request.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Request {
            $($(#[$doc])* $name($request),)*
        }

        /// A response.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Response {
            $($(#[$doc])* $name($response),)*
        }

        impl Request {
            /// Which API.
            pub fn api(&self) -> ApiKey {
                match self { $(Request::$name(_) => ApiKey::$name),* }
            }
        }

        impl Response {
            /// Which API.
            pub fn api(&self) -> ApiKey {
                match self { $(Response::$name(_) => ApiKey::$name),* }
            }
        }
    };
}

apis! {
    /// Append records.
    Produce = 0: ProduceRequest, ProduceResponse;
    /// Read records: consumers, followers, and the metadata quorum.
    Fetch = 1: FetchRequest, FetchResponse;
    /// Look offsets up by time.
    ListOffsets = 2: ListOffsetsRequest, ListOffsetsResponse;
    /// Brokers, topics, leaders.
    Metadata = 3: MetadataRequest, MetadataResponse;
    /// The APIs and versions that the server supports.
    ApiVersions = 18: ApiVersionsRequest, ApiVersionsResponse;
    /// Create topics.
    CreateTopics = 19: CreateTopicsRequest, CreateTopicsResponse;
    /// Delete topics.
    DeleteTopics = 20: DeleteTopicsRequest, DeleteTopicsResponse;
    /// Look up where an epoch ends (KIP-101, KIP-320).
    OffsetForLeaderEpoch = 23: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    /// Quorum: ask for a vote (KIP-595, pre-vote KIP-996).
    Vote = 52: VoteRequest, VoteResponse;
    /// Quorum: a leader announces its epoch.
    BeginQuorumEpoch = 53: BeginQuorumEpochRequest, BeginQuorumEpochResponse;
    /// Quorum: a leader steps down.
    EndQuorumEpoch = 54: EndQuorumEpochRequest, EndQuorumEpochResponse;
    /// A leader changes the ISR (KIP-497).
    AlterPartition = 56: AlterPartitionRequest, AlterPartitionResponse;
    /// A broker forwards a client's request to the controller (KIP-590).
    Envelope = 58: EnvelopeRequest, EnvelopeResponse;
    /// A broker registers an incarnation (KIP-631).
    BrokerRegistration = 62: BrokerRegistrationRequest, BrokerRegistrationResponse;
    /// A broker signals that it is alive.
    BrokerHeartbeat = 63: BrokerHeartbeatRequest, BrokerHeartbeatResponse;
}

/// A client's request, forwarded to the active controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeRequest {
    /// The client's version, which the answer must have, too.
    pub version: i16,
    /// The request: CreateTopics or DeleteTopics.
    pub request: Box<Request>,
}

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeResponse {
    /// `NOT_CONTROLLER` and the like; then there is no response.
    pub error: crate::error_code::ErrorCode,
    /// The version that the enclosed response is for.
    pub version: i16,
    /// The answer to the enclosed request.
    pub response: Option<Box<Response>>,
}
