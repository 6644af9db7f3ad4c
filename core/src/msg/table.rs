//! The table of APIs: one row each. `ApiKey`, `Request` and `Response` follow from it, as do the
//! codec's dispatch and versions, what each listener serves, how the server accounts for a request
//! and its answer, and what the tests must cover. `ARCHITECTURE.md` says how to add a row.
//!
//! Rows are grouped in families, by the component that handles their requests: the router
//! dispatches by [`Family`](super::Family). What the columns mean is at
//! [`Properties`](super::Properties).

/// Calls a macro, given by its path, with the table after the other tokens in parentheses.
#[doc(hidden)]
#[macro_export]
macro_rules! api_table {
    ([$($then:tt)*] $($given:tt)*) => { $($then)*! { ($($given)*)

/// Records of partitions, by the replicas hosted here.
Data(DataRequest) {
    /// Append records.
    Produce = 0, produce: ProduceRequest => ProduceResponse {
        versions: (3, 13), flexible: 9, listeners: BROKERS, answer: Small, keeps_frame: true,
    }
    /// Read records: consumers, followers, and the metadata quorum.
    Fetch = 1, fetch: FetchRequest => FetchResponse {
        versions: (4, 18), flexible: 12, listeners: BOTH, answer: Records, keeps_frame: false,
    }
    /// Look offsets up by time.
    ListOffsets = 2, list_offsets: ListOffsetsRequest => ListOffsetsResponse {
        versions: (1, 11), flexible: 6, listeners: BROKERS, answer: Small, keeps_frame: false,
    }
    /// Look up where an epoch ends (KIP-101, KIP-320).
    OffsetForLeaderEpoch = 23,
    offset_for_leader_epoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse {
        versions: (2, 4), flexible: 4, listeners: BROKERS, answer: Small, keeps_frame: false,
    }
}

/// What this broker knows of the cluster, from its metadata image.
Cluster(ClusterRequest) {
    /// Brokers, topics, leaders.
    Metadata = 3, metadata: MetadataRequest => MetadataResponse {
        versions: (0, 13), flexible: 9, listeners: BROKERS, answer: Listing, keeps_frame: false,
    }
    /// The APIs and versions that the server supports.
    ApiVersions = 18, api_versions: ApiVersionsRequest => ApiVersionsResponse {
        versions: (0, 5), flexible: 3, listeners: BOTH, answer: Small, keeps_frame: false,
    }
}

/// Changes of the metadata that clients ask for, by the active controller. Brokers forward them to
/// it (KIP-590, Kafka's `ApiKeys.forwardable`).
Admin(AdminRequest) {
    /// Create topics.
    CreateTopics = 19, create_topics: CreateTopicsRequest => CreateTopicsResponse {
        versions: (2, 7), flexible: 5, listeners: BOTH, answer: Small, keeps_frame: false,
    }
    /// Delete topics.
    DeleteTopics = 20, delete_topics: DeleteTopicsRequest => DeleteTopicsResponse {
        versions: (1, 6), flexible: 4, listeners: BOTH, answer: Small, keeps_frame: false,
    }
}

/// The metadata quorum's own.
Quorum(QuorumRequest) {
    /// Quorum: ask for a vote (KIP-595, pre-vote KIP-996).
    Vote = 52, vote: VoteRequest => VoteResponse {
        versions: (0, 2), flexible: 0, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
    /// Quorum: a leader announces its epoch.
    BeginQuorumEpoch = 53,
    begin_quorum_epoch: BeginQuorumEpochRequest => BeginQuorumEpochResponse {
        versions: (0, 1), flexible: 1, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
    /// Quorum: a leader steps down.
    EndQuorumEpoch = 54, end_quorum_epoch: EndQuorumEpochRequest => EndQuorumEpochResponse {
        versions: (0, 1), flexible: 1, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
}

/// Brokers' requests to the active controller.
Controller(ControllerRequest) {
    /// A leader changes the ISR (KIP-497).
    AlterPartition = 56, alter_partition: AlterPartitionRequest => AlterPartitionResponse {
        versions: (2, 3), flexible: 0, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
    /// A broker registers an incarnation (KIP-631).
    BrokerRegistration = 62,
    broker_registration: BrokerRegistrationRequest => BrokerRegistrationResponse {
        versions: (0, 4), flexible: 0, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
    /// A broker signals that it is alive.
    BrokerHeartbeat = 63, broker_heartbeat: BrokerHeartbeatRequest => BrokerHeartbeatResponse {
        versions: (0, 1), flexible: 0, listeners: CONTROLLERS, answer: Small, keeps_frame: false,
    }
}

/// Clients' requests that brokers pass on to the active controller.
Forwarding(ForwardingRequest) {
    /// A broker forwards a client's request to the controller (KIP-590).
    Envelope = 58, envelope: EnvelopeRequest => EnvelopeResponse {
        versions: (0, 0), flexible: 0, listeners: CONTROLLERS, answer: Small, keeps_frame: true,
    }
}

    } };
}

/// Calls a macro with a line for each API: `Produce, produce: ProduceRequest => ProduceResponse;`.
/// The second word is the name of the API's module, wherever there is one for each. So whatever
/// must exist for each API is asked for by the compiler.
#[macro_export]
macro_rules! for_each_api {
    ($with:ident) => {
        $crate::api_table!([$crate::lines_of_the_api_table] $with);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! lines_of_the_api_table {
    (($with:ident) $(
        $(#[$_about:meta])* $_family:ident($_requests:ident) { $(
            $(#[$_doc:meta])*
            $name:ident = $_key:literal, $module:ident: $request:ident => $response:ident {
                $($_properties:tt)*
            }
        )* }
    )*) => {
        $with! { $($($name, $module: $request => $response;)*)* }
    };
}
