//! The small cluster that counterexamples are replayed in: separate brokers and controllers, one
//! partition, one producer.

use wavetank_sim::plan::{
    ClusterPlan, ConsumerPlan, DiskPlan, NetworkPlan, NodePlan, PLAN_VERSION, PhasePlan, Plan,
    ProcessPlan, ProducerPlan, TopicPlan, WorkloadPlan,
};

/// The topic's name.
pub(super) const TOPIC: &str = "counterexample";

/// `broker.session.timeout.ms`: a leader is replaced this long after its end. Longer than anything
/// else between two steps, so that no other timeout expires.
pub(super) const SESSION_MS: u64 = 1_000;

/// The controllers.
pub(super) const CONTROLLERS: [i32; 3] = [7, 8, 9];

/// When a cluster without faults is up and has its topic, in ns.
pub(super) const START_NS: u64 = 6_000_000_000;

/// A plan with `brokers` brokers, each with a replica.
pub(super) fn plan(seed: u64, brokers: i32, storm_ms: u64) -> Plan {
    Plan {
        version: PLAN_VERSION,
        seed,
        flaws: Vec::new(),
        cluster: ClusterPlan {
            brokers: (1..=brokers).collect(),
            controllers: CONTROLLERS.to_vec(),
        },
        node: node(),
        topics: vec![TopicPlan {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: brokers as i16,
            min_insync_replicas: 1,
            flush_each_batch: false,
            segment_bytes: 1 << 20,
            index_interval_bytes: 4096,
        }],
        network: NetworkPlan {
            latency_min_us: 300,
            latency_mean_us: 200,
            tail_per_million: 0,
            tail_mean_us: 0,
            loss_per_million: 0,
            encoded: false,
        },
        disk: DiskPlan {
            write_mean_us: 20,
            sync_min_us: 200,
            sync_mean_us: 300,
            read_mean_us: 50,
            namespace_mean_us: 50,
            torn: false,
        },
        process: ProcessPlan {
            step_min_us: 1,
            step_max_us: 10,
            wall_skew_ms: 0,
            clock_drift_ppm: 0,
        },
        workload: workload(),
        phases: PhasePlan {
            warm_up_ms: 30_000,
            calm_ms: 500,
            storm_ms,
            heal_core_ms: 0,
            heal_all_ms: 60_000,
        },
        faults: Vec::new(),
        marks: Vec::new(),
    }
}

fn node() -> NodePlan {
    NodePlan {
        election_timeout_ms: 400,
        quorum_fetch_timeout_ms: 800,
        election_backoff_max_ms: 200,
        quorum_request_timeout_ms: 400,
        quorum_fetch_wait_ms: 100,
        heartbeat_interval_ms: 100,
        session_timeout_ms: SESSION_MS,
        // A replica that a plan holds up must not leave the ISR for that.
        replica_lag_time_max_ms: 20_000,
        replica_fetch_wait_ms: 200,
        replica_fetch_max_bytes: 1 << 20,
        replica_fetch_backoff_ms: 50,
        request_timeout_ms: 1_000,
        checkpoint_interval_ms: 1_000,
        tail_cache_bytes: 64 << 10,
        read_chunk_bytes: 64 << 10,
    }
}

fn workload() -> WorkloadPlan {
    WorkloadPlan {
        producers: vec![ProducerPlan {
            acks: -1,
            interval_us: 40_000,
            burst: 1,
            value_max_bytes: 64,
            max_in_flight: 1,
            linger_ms: 0,
            batch_bytes: 1024,
            request_timeout_ms: 1_000,
            delivery_timeout_ms: 60_000,
            event_times_ms: 0,
        }],
        consumers: vec![ConsumerPlan {
            max_wait_ms: 100,
            max_partition_bytes: 1 << 20,
            max_bytes: wavetank_sim::plan::DEFAULT_MAX_BYTES,
            min_bytes: 1,
            seek_every_ms: 0,
        }],
        queries: Vec::new(),
        churn: None,
    }
}
