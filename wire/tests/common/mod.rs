//! One message of each API with every field set to a non-default value, and sparse ones whose
//! fields are absent, null or empty where possible.

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

fn topic(name: &str) -> TopicRef {
    TopicRef { name: name.into(), id: Uuid(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00) }
}

fn endpoint() -> Endpoint {
    Endpoint { host: "broker-3.example".into(), port: 19092 }
}

fn node_endpoint() -> NodeEndpoint {
    NodeEndpoint { node: NodeId(3), endpoint: endpoint(), rack: Some("r1".into()) }
}

fn current_leader() -> Option<LeaderIdAndEpoch> {
    Some(LeaderIdAndEpoch { leader: NodeId(3), epoch: LeaderEpoch(9) })
}

/// Two batches, the first larger than a chunk.
pub fn records() -> Records {
    let build = |base: i64, value: &[u8]| {
        let mut builder = BatchBuilder::new();
        builder.push(
            1_700_000_000_000,
            Some(b"key"),
            Some(value),
            &[(b"h", None), (b"h", Some(b"2"))],
        );
        builder.build(Offset(base), LeaderEpoch(4))
    };
    vec![build(10, &[7; 5000]), build(11, b"small")]
}

/// A request of each API, and sparse ones.
pub fn requests() -> Vec<Request> {
    [full_requests(), sparse_requests()].concat()
}

/// A response of each API, and sparse ones.
pub fn responses() -> Vec<Response> {
    [full_responses(), sparse_responses()].concat()
}

fn sparse_requests() -> Vec<Request> {
    let id = Uuid(77);
    vec![
        Request::Produce(ProduceRequest { acks: 1, ..Default::default() }),
        Request::Fetch(FetchRequest {
            topics: vec![FetchTopic {
                topic: topic(""),
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: LeaderEpoch::NONE,
                    fetch_offset: Offset(0),
                    last_fetched_epoch: LeaderEpoch::NONE,
                    log_start_offset: Offset(-1),
                    max_bytes: 1,
                    replica_directory_id: Uuid::ZERO,
                    high_watermark: Offset(i64::MAX),
                }],
            }],
            ..Default::default()
        }),
        Request::Metadata(MetadataRequest {
            topics: Some(vec![TopicRef::id(id)]),
            ..Default::default()
        }),
        Request::CreateTopics(CreateTopicsRequest::default()),
        Request::DeleteTopics(DeleteTopicsRequest {
            topics: vec![TopicRef::id(id)],
            timeout_ms: 5,
        }),
        Request::Vote(VoteRequest {
            cluster_id: None,
            voter: NodeId::NONE,
            epoch: LeaderEpoch(1),
            candidate: NodeId(1),
            candidate_directory_id: Uuid::ZERO,
            voter_directory_id: Uuid::ZERO,
            last_offset_epoch: LeaderEpoch(0),
            last_offset: Offset(0),
            pre_vote: false,
        }),
        Request::BrokerHeartbeat(BrokerHeartbeatRequest {
            broker: NodeId(1),
            broker_epoch: BrokerEpoch::NONE,
            current_metadata_offset: Offset(-1),
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: Vec::new(),
        }),
    ]
}

fn sparse_responses() -> Vec<Response> {
    let error = ErrorCode::NotLeaderOrFollower;
    vec![
        Response::Produce(ProduceResponse {
            topics: vec![ProduceTopicResponse {
                topic: topic("t"),
                partitions: vec![ProducePartitionResponse::failed(3, error)],
            }],
            ..Default::default()
        }),
        Response::Fetch(FetchResponse {
            topics: vec![FetchTopicResponse {
                topic: topic("t"),
                partitions: vec![FetchPartitionResponse::failed(3, error)],
            }],
            ..Default::default()
        }),
        Response::Metadata(MetadataResponse {
            topics: vec![MetadataTopic {
                error: ErrorCode::UnknownTopicId,
                id: Uuid(77),
                ..Default::default()
            }],
            ..Default::default()
        }),
        Response::ApiVersions(ApiVersionsResponse {
            finalized_features_epoch: -1,
            ..Default::default()
        }),
        Response::CreateTopics(CreateTopicsResponse {
            topics: vec![CreatableTopicResult { name: "t".into(), ..Default::default() }],
            ..Default::default()
        }),
        Response::DeleteTopics(DeleteTopicsResponse {
            throttle_time_ms: 0,
            topics: vec![(TopicRef::id(Uuid(77)), ErrorCode::UnknownTopicId, None)],
        }),
        Response::Vote(VoteResponse {
            error: ErrorCode::None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch(1),
            vote_granted: false,
            node_endpoints: Vec::new(),
        }),
        Response::Envelope(EnvelopeResponse {
            error: ErrorCode::NotController,
            version: -1,
            response: None,
        }),
    ]
}

fn full_requests() -> Vec<Request> {
    let produce = ProduceRequest {
        transactional_id: Some("tx".into()),
        acks: -1,
        timeout_ms: 1500,
        topics: vec![ProduceTopic {
            topic: topic("t"),
            partitions: vec![
                ProducePartition {
                    partition: 0,
                    records: Some(records()[0].to_bytes()),
                    inspection: None,
                },
                ProducePartition { partition: 1, records: None, inspection: None },
            ],
        }],
    };
    let fetch = FetchRequest {
        cluster_id: Some("cluster".into()),
        replica: NodeId(2),
        replica_epoch: BrokerEpoch(77),
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 1,
        session_id: 5,
        session_epoch: 6,
        topics: vec![FetchTopic {
            topic: topic("t"),
            partitions: vec![FetchPartition {
                partition: 4,
                current_leader_epoch: LeaderEpoch(3),
                fetch_offset: Offset(100),
                last_fetched_epoch: LeaderEpoch(2),
                log_start_offset: Offset(1),
                max_bytes: 1000,
                replica_directory_id: Uuid(9),
                high_watermark: Offset(99),
            }],
        }],
        forgotten: vec![ForgottenTopic { topic: topic("gone"), partitions: vec![1, 2] }],
        rack_id: "rack".into(),
    };
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "new".into(),
            num_partitions: 3,
            replication_factor: 2,
            assignments: vec![(0, vec![NodeId(1), NodeId(2)])],
            configs: vec![("min.insync.replicas".into(), Some("2".into())), ("x".into(), None)],
        }],
        timeout_ms: 3000,
        validate_only: true,
    };
    vec![
        Request::Produce(produce),
        Request::Fetch(fetch),
        Request::ListOffsets(ListOffsetsRequest {
            replica: NodeId(1),
            isolation_level: 1,
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![ListOffsetsPartition {
                    partition: 2,
                    current_leader_epoch: LeaderEpoch(3),
                    timestamp: -3,
                }],
            }],
            timeout_ms: 100,
        }),
        Request::Metadata(MetadataRequest {
            topics: Some(vec![topic("t")]),
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: true,
        }),
        Request::Metadata(MetadataRequest {
            topics: None,
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: false,
        }),
        Request::ApiVersions(ApiVersionsRequest {
            client_software_name: "wavetank".into(),
            client_software_version: "0.1".into(),
            cluster_id: Some("cluster".into()),
            node: NodeId(3),
        }),
        Request::CreateTopics(create.clone()),
        Request::DeleteTopics(DeleteTopicsRequest { topics: vec![topic("t")], timeout_ms: 5 }),
        Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
            replica: NodeId(2),
            topics: vec![OffsetForLeaderTopic {
                name: "t".into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition: 1,
                    current_leader_epoch: LeaderEpoch(8),
                    leader_epoch: LeaderEpoch(7),
                }],
            }],
        }),
        Request::Vote(VoteRequest {
            cluster_id: Some("c".into()),
            voter: NodeId(2),
            epoch: LeaderEpoch(5),
            candidate: NodeId(1),
            candidate_directory_id: Uuid(3),
            voter_directory_id: Uuid(4),
            last_offset_epoch: LeaderEpoch(4),
            last_offset: Offset(50),
            pre_vote: true,
        }),
        Request::BeginQuorumEpoch(BeginQuorumEpochRequest {
            cluster_id: Some("c".into()),
            voter: NodeId(2),
            voter_directory_id: Uuid(4),
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(5),
            leader_endpoints: vec![("CONTROLLER".into(), endpoint())],
        }),
        Request::EndQuorumEpoch(EndQuorumEpochRequest {
            cluster_id: Some("c".into()),
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(5),
            preferred_successors: vec![NodeId(3), NodeId(2)],
        }),
        Request::AlterPartition(AlterPartitionRequest {
            broker: NodeId(1),
            broker_epoch: BrokerEpoch(12),
            topics: vec![AlterPartitionTopic {
                id: Uuid(8),
                partitions: vec![AlterPartitionData {
                    partition: 0,
                    leader_epoch: LeaderEpoch(2),
                    new_isr: vec![(NodeId(1), BrokerEpoch(12)), (NodeId(2), BrokerEpoch(13))],
                    leader_recovery_state: 1,
                    partition_epoch: PartitionEpoch(6),
                }],
            }],
        }),
        Request::Envelope(EnvelopeRequest {
            version: 7,
            request: Box::new(Request::CreateTopics(create)),
        }),
        Request::BrokerRegistration(BrokerRegistrationRequest {
            broker: NodeId(1),
            cluster_id: "c".into(),
            incarnation: Uuid(5),
            listeners: vec![("PLAINTEXT".into(), endpoint())],
            features: vec![("metadata.version".into(), 7, 21)],
            rack: Some("r".into()),
            log_dirs: vec![Uuid(6)],
            previous_broker_epoch: BrokerEpoch(3),
        }),
        Request::BrokerHeartbeat(BrokerHeartbeatRequest {
            broker: NodeId(1),
            broker_epoch: BrokerEpoch(12),
            current_metadata_offset: Offset(40),
            want_fence: true,
            want_shut_down: true,
            offline_log_dirs: vec![Uuid(6)],
        }),
    ]
}

fn full_responses() -> Vec<Response> {
    let error = ErrorCode::FencedLeaderEpoch;
    let (leader, leader_epoch) = (NodeId(3), LeaderEpoch(9));
    let created = CreateTopicsResponse {
        throttle_time_ms: 1,
        topics: vec![CreatableTopicResult {
            name: "new".into(),
            id: Uuid(8),
            error: ErrorCode::InvalidConfig,
            error_message: Some("no".into()),
            num_partitions: 3,
            replication_factor: 2,
            configs: vec![("a".into(), Some("b".into()), 1)],
        }],
    };
    vec![
        Response::Produce(ProduceResponse {
            topics: vec![ProduceTopicResponse {
                topic: topic("t"),
                partitions: vec![ProducePartitionResponse {
                    partition: 1,
                    error,
                    base_offset: Offset(5),
                    log_append_time_ms: 6,
                    log_start_offset: Offset(2),
                    record_errors: vec![(0, Some("bad".into())), (1, None)],
                    error_message: Some("why".into()),
                    current_leader: current_leader(),
                }],
            }],
            throttle_time_ms: 3,
            node_endpoints: vec![node_endpoint()],
        }),
        Response::Fetch(FetchResponse {
            throttle_time_ms: 1,
            error: ErrorCode::FetchSessionIdNotFound,
            session_id: 4,
            topics: vec![FetchTopicResponse {
                topic: topic("t"),
                partitions: vec![FetchPartitionResponse {
                    partition: 0,
                    error: ErrorCode::None,
                    high_watermark: Offset(12),
                    last_stable_offset: Offset(11),
                    log_start_offset: Offset(1),
                    diverging_epoch: Some(EpochEndOffset {
                        epoch: LeaderEpoch(2),
                        end_offset: Offset(7),
                    }),
                    current_leader: current_leader(),
                    aborted: Some(vec![(77, Offset(3))]),
                    preferred_read_replica: NodeId(2),
                    records: records(),
                }],
            }],
            node_endpoints: vec![node_endpoint()],
        }),
        Response::ListOffsets(ListOffsetsResponse {
            throttle_time_ms: 1,
            topics: vec![ListOffsetsTopicResponse {
                name: "t".into(),
                partitions: vec![ListOffsetsPartitionResponse {
                    partition: 0,
                    error,
                    timestamp: 5,
                    offset: Offset(6),
                    leader_epoch,
                }],
            }],
        }),
        Response::Metadata(MetadataResponse {
            throttle_time_ms: 1,
            brokers: vec![node_endpoint()],
            cluster_id: Some("c".into()),
            controller: NodeId(3),
            topics: vec![MetadataTopic {
                error,
                name: Some("t".into()),
                id: Uuid(8),
                is_internal: true,
                partitions: vec![MetadataPartition {
                    error: ErrorCode::LeaderNotAvailable,
                    partition: 1,
                    leader,
                    leader_epoch,
                    replicas: vec![NodeId(3), NodeId(1)],
                    isr: vec![NodeId(3)],
                    offline_replicas: vec![NodeId(1)],
                }],
            }],
            error: ErrorCode::UnknownServerError,
        }),
        Response::ApiVersions(ApiVersionsResponse {
            error: ErrorCode::None,
            apis: vec![(0, 3, 13), (18, 0, 4)],
            throttle_time_ms: 1,
            supported_features: vec![("metadata.version".into(), 7, 21)],
            finalized_features_epoch: 5,
            finalized_features: vec![("metadata.version".into(), 21, 21)],
        }),
        Response::CreateTopics(created.clone()),
        Response::DeleteTopics(DeleteTopicsResponse {
            throttle_time_ms: 1,
            topics: vec![(topic("t"), error, Some("why".into()))],
        }),
        Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
            throttle_time_ms: 1,
            topics: vec![OffsetForLeaderTopicResponse {
                name: "t".into(),
                partitions: vec![EpochEndOffsetResponse {
                    error,
                    partition: 1,
                    leader_epoch,
                    end_offset: Offset(70),
                }],
            }],
        }),
        Response::Vote(VoteResponse {
            error,
            leader,
            leader_epoch,
            vote_granted: true,
            node_endpoints: vec![NodeEndpoint { rack: None, ..node_endpoint() }],
        }),
        Response::BeginQuorumEpoch(BeginQuorumEpochResponse { error, leader, leader_epoch }),
        Response::EndQuorumEpoch(EndQuorumEpochResponse { error, leader, leader_epoch }),
        Response::AlterPartition(AlterPartitionResponse {
            throttle_time_ms: 1,
            error: ErrorCode::StaleBrokerEpoch,
            topics: vec![(
                Uuid(8),
                vec![AlterPartitionResult {
                    partition: 1,
                    error,
                    leader,
                    leader_epoch,
                    isr: vec![NodeId(3)],
                    leader_recovery_state: 1,
                    partition_epoch: PartitionEpoch(7),
                }],
            )],
        }),
        Response::Envelope(EnvelopeResponse {
            error: ErrorCode::None,
            version: 7,
            response: Some(Box::new(Response::CreateTopics(created))),
        }),
        Response::BrokerRegistration(BrokerRegistrationResponse {
            error,
            broker_epoch: BrokerEpoch(4),
        }),
        Response::BrokerHeartbeat(BrokerHeartbeatResponse {
            error,
            is_caught_up: true,
            is_fenced: false,
            should_shut_down: true,
        }),
    ]
}

/// Contiguous bytes of an encoded frame, without the length.
pub fn body(frame: Vec<Bytes>) -> Bytes {
    wavetank_wire::frame::body_of(frame)
}
