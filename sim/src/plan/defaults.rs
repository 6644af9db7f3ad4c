//! The defaults of a plan: what a file leaves out. A change here changes what such files mean.
//!
//! What a seed draws does not live here ([`crate::profile`]): a drawn plan has every field.

use super::{
    ClusterPlan, ConsumerPlan, DEFAULT_MAX_BYTES, DiskPlan, NetworkPlan, NodePlan, PLAN_VERSION,
    PhasePlan, Plan, ProcessPlan, ProducerPlan, TopicPlan, WorkloadPlan,
};

impl Default for Plan {
    /// See [the module](crate::plan).
    fn default() -> Plan {
        Plan {
            version: PLAN_VERSION,
            seed: 0,
            flaws: Vec::new(),
            cluster: ClusterPlan::default(),
            node: NodePlan::default(),
            topics: vec![TopicPlan::default()],
            network: NetworkPlan::default(),
            disk: DiskPlan::default(),
            process: ProcessPlan::default(),
            workload: WorkloadPlan::default(),
            phases: PhasePlan::default(),
            faults: Vec::new(),
            marks: Vec::new(),
        }
    }
}

impl Default for ClusterPlan {
    /// Three brokers, and a controller apart from them.
    fn default() -> ClusterPlan {
        ClusterPlan { brokers: vec![1, 2, 3], controllers: vec![9] }
    }
}

impl Default for NodePlan {
    /// Shorter timeouts than Kafka's, so that a storm of seconds sees elections.
    fn default() -> NodePlan {
        NodePlan {
            election_timeout_ms: 500,
            quorum_fetch_timeout_ms: 1_000,
            election_backoff_max_ms: 300,
            quorum_request_timeout_ms: 500,
            quorum_fetch_wait_ms: 100,
            heartbeat_interval_ms: 200,
            session_timeout_ms: 1_500,
            replica_lag_time_max_ms: 5_000,
            replica_fetch_wait_ms: 500,
            replica_fetch_max_bytes: 1 << 20,
            replica_fetch_backoff_ms: 100,
            request_timeout_ms: 1_000,
            checkpoint_interval_ms: 1_000,
            tail_cache_bytes: 64 << 10,
            read_chunk_bytes: 64 << 10,
        }
    }
}

impl Default for TopicPlan {
    /// One partition with three replicas, without flushes, as Kafka's defaults promise it.
    fn default() -> TopicPlan {
        TopicPlan {
            name: "words".to_owned(),
            partitions: 1,
            replication_factor: 3,
            min_insync_replicas: 1,
            flush_each_batch: false,
            segment_bytes: 1 << 20,
            index_interval_bytes: 4096,
        }
    }
}

impl Default for NetworkPlan {
    /// A local network that loses nothing.
    fn default() -> NetworkPlan {
        NetworkPlan {
            latency_min_us: 500,
            latency_mean_us: 200,
            tail_per_million: 0,
            tail_mean_us: 0,
            loss_per_million: 0,
            encoded: false,
        }
    }
}

impl Default for DiskPlan {
    /// A fast disk that tears nothing.
    fn default() -> DiskPlan {
        DiskPlan {
            write_mean_us: 20,
            sync_min_us: 500,
            sync_mean_us: 500,
            read_mean_us: 50,
            namespace_mean_us: 50,
            torn: false,
        }
    }
}

impl Default for ProcessPlan {
    /// Steps of some microseconds, and clocks that agree.
    fn default() -> ProcessPlan {
        ProcessPlan { step_min_us: 1, step_max_us: 10, wall_skew_ms: 0, clock_drift_ppm: 0 }
    }
}

impl Default for WorkloadPlan {
    /// One producer and one consumer.
    fn default() -> WorkloadPlan {
        WorkloadPlan {
            producers: vec![ProducerPlan::default()],
            consumers: vec![ConsumerPlan::default()],
            queries: Vec::new(),
            churn: None,
        }
    }
}

impl Default for ProducerPlan {
    /// Five records a second with `acks=all`, one request at a time.
    fn default() -> ProducerPlan {
        ProducerPlan {
            acks: -1,
            interval_us: 200_000,
            burst: 1,
            value_max_bytes: 16,
            max_in_flight: 1,
            linger_ms: 0,
            batch_bytes: 16 << 10,
            request_timeout_ms: 1_000,
            delivery_timeout_ms: 20_000,
            event_times_ms: 0,
        }
    }
}

impl Default for ConsumerPlan {
    /// Kafka's limits on bytes, and no seeks.
    fn default() -> ConsumerPlan {
        ConsumerPlan {
            max_wait_ms: 200,
            max_partition_bytes: 1 << 20,
            max_bytes: DEFAULT_MAX_BYTES,
            min_bytes: 1,
            seek_every_ms: 0,
        }
    }
}

impl Default for PhasePlan {
    /// A storm of ten seconds.
    fn default() -> PhasePlan {
        PhasePlan {
            warm_up_ms: 30_000,
            calm_ms: 500,
            storm_ms: 10_000,
            heal_core_ms: 0,
            heal_all_ms: 60_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_needs_only_its_version() {
        let plan = Plan::from_json(r#"{"version": 1}"#).unwrap();
        assert_eq!(plan, Plan::default());
        let refused = Plan::from_json("{}").unwrap_err().to_string();
        assert!(refused.contains("no field `version`"), "{refused}");
    }

    #[test]
    fn what_is_given_replaces_the_default_and_nothing_else() {
        let plan = json!({
            "version": 1,
            "seed": 7,
            "workload": {"producers": [{"acks": 1}, {}]},
            "phases": {"storm_ms": 3000},
        });
        let plan = Plan::from_json(&plan.to_string()).unwrap();
        let one = ProducerPlan { acks: 1, ..ProducerPlan::default() };
        let producers = vec![one, ProducerPlan::default()];
        let expected = Plan {
            seed: 7,
            workload: WorkloadPlan { producers, ..WorkloadPlan::default() },
            phases: PhasePlan { storm_ms: 3_000, ..PhasePlan::default() },
            ..Plan::default()
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn an_unknown_field_is_still_refused() {
        let refused = Plan::from_json(r#"{"version": 1, "node": {"colour": 1}}"#).unwrap_err();
        assert!(refused.to_string().contains("unknown field `colour`"), "{refused}");
    }
}
