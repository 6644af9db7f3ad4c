//! Draws a plan from a seed by swarm testing: each seed leaves out whole kinds of faults, so that
//! the others come in unusual combinations (Groce et al., "Swarm testing", ISSTA 2012).
//!
//! It uses only integers, and ChaCha8 with a fixed seeding, so a seed means the same plan on every
//! platform. The faults are composed in `storms`. What a plan can express is in [`crate::plan`].

mod at_rest;
mod storms;
mod variants;

use crate::marks::Mark;
use crate::plan::{
    ChurnPlan, ClusterPlan, ConsumerPlan, Crash, DiskPlan, Fault, FaultKind, NetworkPlan, NodePlan,
    PLAN_VERSION, PhasePlan, Plan, PowerLoss, ProcessPlan, ProducerPlan, QueryPlan, TopicPlan,
    When, WorkloadPlan,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;

/// A family of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Everything within the fault budget.
    Default,
    /// No faults. A run that is slow or weak here is so without any help from faults.
    Calm,
    /// Three brokers, one partition, acks=all; crashes and one symmetric partition.
    First,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 3] = [Profile::Default, Profile::Calm, Profile::First];

    /// The name used in commands.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Calm => "calm",
            Profile::First => "first",
        }
    }

    /// The profile of that name.
    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The plan of this seed.
    pub fn draw(self, seed: u64) -> Plan {
        self.draw_with(seed, |_| true)
    }

    /// The plan of this seed with only the kinds of faults (by [`FaultKind::name`]) that `allowed`
    /// accepts. Everything else is the same as without the filter.
    pub fn draw_with(self, seed: u64, allowed: impl Fn(&str) -> bool) -> Plan {
        let mut draw = Draw::new(seed);
        let mut plan = environment(seed, &mut draw);
        let mut aims = Vec::new();
        if self == Profile::Default {
            other_voters(&mut plan);
        }
        match self {
            Profile::Default => aims = storms::default(&mut plan, &mut draw),
            Profile::Calm => {}
            Profile::First => first(&mut plan, &mut draw),
        }
        if self == Profile::Default {
            more_clients(&mut plan);
            let mut draw = Draw::apart(seed, "lying peers");
            if draw.chance(8) {
                storms::lying_peers(&mut plan, &mut draw);
            }
            let mut draw = Draw::apart(seed, "monotonic clocks");
            if draw.chance(30) {
                plan.process.clock_drift_ppm = draw.scale(10, 20_000);
            }
        }
        give_capacity(&mut plan);
        plan.faults = filter(plan.faults, &allowed);
        // A scene that lost one of its faults to the filter cannot reach its mark.
        aims.retain(|aim| aim.kinds.iter().all(|kind| allowed(kind)));
        let marks: BTreeSet<Mark> =
            aims.iter().map(|aim| aim.mark).chain(declared_marks(&plan)).collect();
        plan.marks = marks.iter().map(|mark| mark.name().to_owned()).collect();
        plan
    }
}

/// One to five voters, usually as already drawn. Even numbers, too, which Kafka allows.
fn other_voters(plan: &mut Plan) {
    let mut draw = Draw::apart(plan.seed, "voters");
    if draw.chance(15) {
        let (count, brokers) = (draw.pick(&[2, 4, 5, 5]), plan.cluster.brokers.len() as i32);
        let apart = draw.chance(30);
        plan.cluster.controllers = match apart {
            true => (6..6 + count).collect(),
            false => (1..=count.min(brokers)).chain(6..6 + (count - brokers).max(0)).collect(),
        };
    }
}

/// What clients do besides producing and reading, from separate random streams.
fn more_clients(plan: &mut Plan) {
    let mut draw = Draw::apart(plan.seed, "queries");
    plan.workload.queries = vec![QueryPlan { interval_ms: draw.scale(50, 600) }];
    let mut draw = Draw::apart(plan.seed, "wandering consumers");
    for consumer in &mut plan.workload.consumers {
        if draw.chance(30) {
            // A consumer that asks for more than a partition may return waits in each fetch and
            // falls behind.
            let most = u64::from(consumer.max_partition_bytes / 2).clamp(2, 4_000);
            consumer.min_bytes = draw.scale(2, most) as u32;
        }
        if draw.chance(25) {
            consumer.seek_every_ms = draw.range(300, 3_000);
        }
    }
    let mut draw = Draw::apart(plan.seed, "topics that come and go");
    if draw.chance(20) {
        plan.workload.churn = Some(ChurnPlan {
            names: draw.range(1, 2) as u32,
            interval_ms: draw.range(200, 1_500),
            auto_create: draw.chance(40),
            at_fencing: Draw::apart(plan.seed, "creation at fencing").chance(60),
        });
    }
}

/// A follower that replicates more slowly than producers send (with acks=0 they do not wait) never
/// catches up. That is a lack of capacity, not a bug. One fetch returns at most the rest of a
/// segment, and a new segment waits for its directory. So this makes both segments and fetches
/// large enough for the load.
fn give_capacity(plan: &mut Plan) {
    /// A fetch waits for the slowest of several partitions' disks, and faults leave a backlog.
    const RESERVE: u64 = 8;
    /// Headers of a batch and a record.
    const OVERHEAD: u64 = 110;
    let partitions: u64 = plan.topics.iter().map(|topic| topic.partitions as u64).sum();
    let producers = plan.workload.producers.iter();
    let per_second: u64 = producers
        .map(|producer| {
            let record = u64::from(producer.value_max_bytes) / 2 + OVERHEAD;
            u64::from(producer.burst) * record * 1_000_000 / producer.interval_us
        })
        .sum();
    let (disk, network) = (&plan.disk, &plan.network);
    let sync = disk.sync_min_us + disk.sync_mean_us;
    let tail = network.tail_per_million * network.tail_mean_us / 1_000_000;
    let trip = network.latency_min_us + network.latency_mean_us + tail;
    let steps = 2 * plan.process.step_max_us;
    let mut needed = 0;
    for topic in &mut plan.topics {
        let syncs = if topic.flush_each_batch { 2 } else { 1 };
        let cycle = syncs * sync + 2 * trip + disk.read_mean_us + disk.write_mean_us + steps;
        let bytes = RESERVE * (per_second / partitions) * cycle / 1_000_000;
        topic.segment_bytes = topic.segment_bytes.max(bytes as u32);
        needed = needed.max(bytes as u32);
    }
    plan.node.replica_fetch_max_bytes = plan.node.replica_fetch_max_bytes.max(needed);
}

/// Keeps the allowed faults. Leaving out a fault also leaves out those that follow it.
fn filter(faults: Vec<Fault>, allowed: &impl Fn(&str) -> bool) -> Vec<Fault> {
    faults
        .into_iter()
        .filter(|fault| allowed(fault.what.name()))
        .map(|mut fault| {
            fault.then = filter(fault.then, allowed);
            fault
        })
        .collect()
}

/// Integers from ChaCha8.
#[derive(Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Draw {
        // Not `seed_from_u64`, whose expansion is not ours to keep stable.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..24].copy_from_slice(b"wavetank plan v1");
        Draw(ChaCha8Rng::from_seed(key))
    }

    /// A separate stream, for a kind of fault that was added later. With or without it, no other
    /// draw of a seed changes.
    pub(crate) fn apart(seed: u64, name: &str) -> Draw {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (at, byte) in name.bytes().enumerate() {
            key[8 + at % 24] ^= byte.rotate_left(at as u32 / 24);
        }
        Draw(ChaCha8Rng::from_seed(key))
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number from `low` to `high`, small ones as likely as large ones: uniform within a drawn
    /// power of two.
    pub(crate) fn scale(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = (low.max(1).ilog2(), high.max(1).ilog2());
        let bits = self.range(from.into(), to.into());
        self.range((1 << bits).max(low), ((2 << bits) - 1).min(high))
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One element of `from`.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// Draws everything but the faults.
fn environment(seed: u64, draw: &mut Draw) -> Plan {
    let cluster = cluster(draw);
    let topics = topics(draw, cluster.brokers.len() as u64);
    let node = node(draw);
    let workload = workload(draw);
    let storm_ms = draw.range(9_000, 16_000);
    Plan {
        version: PLAN_VERSION,
        seed,
        flaws: Vec::new(),
        cluster,
        node,
        topics,
        network: network(draw),
        disk: disk(draw),
        process: ProcessPlan {
            step_min_us: draw.range(1, 5),
            step_max_us: draw.scale(10, 200),
            wall_skew_ms: if draw.chance(50) { draw.scale(1, 60_000) } else { 0 },
            clock_drift_ppm: 0,
        },
        workload,
        phases: PhasePlan {
            warm_up_ms: 30_000,
            calm_ms: draw.range(200, 1_000),
            storm_ms,
            heal_core_ms: 30_000,
            heal_all_ms: 60_000,
        },
        faults: Vec::new(),
        marks: Vec::new(),
    }
}

fn cluster(draw: &mut Draw) -> ClusterPlan {
    let brokers = draw.pick(&[3, 3, 3, 3, 4, 5]);
    let brokers: Vec<i32> = (1..=brokers).collect();
    let controllers = match draw.below(10) {
        0 => vec![draw.range(1, brokers.len() as u64) as i32],
        1 => vec![draw.range(1, 2) as i32, 3, 9],
        2 => vec![7, 8, 9],
        _ => vec![1, 2, 3],
    };
    ClusterPlan { brokers, controllers }
}

fn topics(draw: &mut Draw, brokers: u64) -> Vec<TopicPlan> {
    let flush = draw.chance(45);
    let count = if draw.chance(15) { 2 } else { 1 };
    (0..count)
        .map(|index| {
            let replication_factor = match draw.below(20) {
                0 => 1,
                1..=3 => 2,
                4 if brokers > 3 => 4,
                _ => 3,
            };
            let min_insync = match draw.below(10) {
                0..=4 => 1,
                5..=8 => 2,
                _ => 3,
            };
            TopicPlan {
                name: format!("storm{index}"),
                partitions: draw.pick(&[1, 1, 1, 2, 2, 3, 4]),
                replication_factor,
                min_insync_replicas: min_insync.min(i32::from(replication_factor)),
                flush_each_batch: if draw.chance(90) { flush } else { !flush },
                segment_bytes: draw.scale(2 << 10, 1 << 20) as u32,
                index_interval_bytes: draw.scale(1, 8192) as u32,
            }
        })
        .collect()
}

fn node(draw: &mut Draw) -> NodePlan {
    let session_timeout_ms = draw.range(700, 1_600);
    let election_timeout_ms = draw.range(300, 1_000);
    let lag = draw.range(500, 3_000);
    NodePlan {
        election_timeout_ms,
        quorum_fetch_timeout_ms: draw.range(600, 2_000),
        election_backoff_max_ms: draw.range(100, 1_000),
        quorum_request_timeout_ms: draw.range(300, 2_000),
        quorum_fetch_wait_ms: draw.range(50, 300),
        heartbeat_interval_ms: draw.range(100, session_timeout_ms / 4),
        session_timeout_ms,
        replica_lag_time_max_ms: lag,
        replica_fetch_wait_ms: draw.range(50, (lag / 2).min(500)),
        replica_fetch_max_bytes: if draw.chance(35) {
            draw.scale(256, 16 << 10) as u32
        } else {
            1 << 20
        },
        replica_fetch_backoff_ms: draw.range(10, 300),
        request_timeout_ms: draw.range(500, 3_000),
        checkpoint_interval_ms: draw.range(200, 3_000),
        tail_cache_bytes: draw.pick(&[0, 0, 1 << 10, 4 << 10, 64 << 10, 1 << 20]),
        read_chunk_bytes: 64 << 10,
    }
}

fn network(draw: &mut Draw) -> NetworkPlan {
    NetworkPlan {
        latency_min_us: draw.scale(20, 500),
        latency_mean_us: draw.scale(50, 3_000),
        tail_per_million: if draw.chance(50) { draw.scale(100, 20_000) } else { 0 },
        tail_mean_us: draw.scale(5_000, 80_000),
        loss_per_million: if draw.chance(20) { draw.scale(100, 5_000) } else { 0 },
        encoded: draw.chance(25),
    }
}

fn disk(draw: &mut Draw) -> DiskPlan {
    DiskPlan {
        write_mean_us: draw.scale(5, 500),
        sync_min_us: draw.scale(50, 2_000),
        sync_mean_us: draw.scale(100, 15_000),
        read_mean_us: draw.scale(10, 2_000),
        namespace_mean_us: draw.scale(10, 500),
        torn: draw.chance(60),
    }
}

fn workload(draw: &mut Draw) -> WorkloadPlan {
    let producers = draw.range(1, 3);
    let all = draw.chance(60);
    let producers = (0..producers)
        .map(|index| {
            let request_timeout_ms = draw.range(500, 3_000);
            let linger_ms = if draw.chance(70) { 0 } else { draw.range(1, 50) };
            ProducerPlan {
                acks: if all || index == 0 { -1 } else { draw.pick(&[-1, 1, 1, 0]) },
                interval_us: draw.scale(16_000, 100_000),
                burst: if draw.chance(70) { 1 } else { draw.range(2, 8) as u32 },
                value_max_bytes: draw.scale(16, 3_000) as u32,
                max_in_flight: draw.pick(&[1, 1, 1, 2, 5]),
                linger_ms,
                batch_bytes: draw.scale(64, 16 << 10) as u32,
                request_timeout_ms,
                delivery_timeout_ms: linger_ms + request_timeout_ms + draw.range(1_500, 9_000),
                event_times_ms: 0,
            }
        })
        .collect();
    let consumers = (0..draw.range(1, 2))
        .map(|_| ConsumerPlan {
            max_wait_ms: draw.range(20, 500),
            max_partition_bytes: draw.scale(200, 1 << 20) as u32,
            max_bytes: crate::plan::DEFAULT_MAX_BYTES,
            min_bytes: 1,
            seek_every_ms: 0,
        })
        .collect();
    WorkloadPlan { producers, consumers, queries: Vec::new(), churn: None }
}

/// The smallest storm: the one that the first version of this project ran.
fn first(plan: &mut Plan, draw: &mut Draw) {
    plan.cluster = ClusterPlan { brokers: vec![1, 2, 3], controllers: vec![1, 2, 3] };
    plan.topics.truncate(1);
    plan.topics[0].partitions = 1;
    plan.topics[0].replication_factor = 3;
    plan.topics[0].min_insync_replicas = plan.topics[0].min_insync_replicas.min(2);
    for producer in &mut plan.workload.producers {
        producer.acks = -1;
    }
    storms::crashes(plan, draw);
    storms::one_partition(plan, draw);
}

/// The marks that a run of this plan must reach to count.
fn declared_marks(plan: &Plan) -> Vec<Mark> {
    let mut marks = Vec::new();
    let session_us = plan.node.session_timeout_ms * 1000;
    let replicated = plan.topics.iter().any(|topic| topic.replication_factor > 1);
    let storm_us = plan.phases.storm_ms * 1000;
    let mut outage = false;
    let recovers = |fault: &Fault| {
        let kinds = ["crash", "power_loss", "power_loss_all"];
        kinds.contains(&fault.what.name()) && matches!(fault.when, When::AtUs(_))
    };
    if plan.faults.iter().any(recovers) {
        marks.push(Mark::DataRecovered);
    }
    for fault in &plan.faults {
        let When::AtUs(at) = fault.when else { continue };
        let long = match &fault.what {
            FaultKind::Crash(Crash { node, down_us })
            | FaultKind::PowerLoss(PowerLoss { node, down_us }) => {
                matches!(node, crate::plan::Target::LeaderOf(_)) && *down_us > 2 * session_us
            }
            _ => false,
        };
        outage |= long && at + 3 * session_us < storm_us;
    }
    if outage && replicated {
        marks.extend([Mark::BrokerFenced, Mark::IsrShrink]);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_plans_declare_marks_and_scenes_those_that_they_aim_at() {
        let plans: Vec<Plan> = (0..400).map(|seed| Profile::Default.draw(seed)).collect();
        let declare = |mark: &str| {
            plans.iter().filter(|plan| plan.marks.iter().any(|known| known == mark)).count()
        };
        let any = plans.iter().filter(|plan| !plan.marks.is_empty()).count();
        assert!(any > 320, "{any} of 400 declare a mark");
        for mark in ["leader_changed_again", "diverging_epoch", "log_dir_offline", "unsynced_lost"]
        {
            assert!(declare(mark) > 10, "{mark} is declared by {} of 400", declare(mark));
        }
        // A scene whose faults are filtered out aims at nothing.
        for seed in 0..400 {
            let plan = Profile::Default.draw_with(seed, |kind| kind == "slow_disk");
            assert_eq!(plan.marks, Vec::<String>::new(), "{seed}");
        }
    }

    #[test]
    fn every_drawn_plan_is_valid() {
        for profile in Profile::ALL {
            for seed in 0..2_000 {
                let plan = profile.draw(seed);
                assert_eq!(plan.validate(), Ok(()), "{} {seed}", profile.name());
            }
        }
    }

    #[test]
    fn a_seed_means_one_plan() {
        // One seed always draws the same plan. Two seeds draw different faults.
        assert_eq!(Profile::Default.draw(1), Profile::Default.draw(1));
        assert_ne!(Profile::Default.draw(1).faults, Profile::Default.draw(2).faults);
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_left_out() {
        let plans: Vec<Plan> = (0..400).map(|seed| Profile::Default.draw(seed)).collect();
        for &kind in FaultKind::NAMES {
            let with = plans.iter().filter(|plan| names(&plan.faults).contains(&kind)).count();
            assert!(with > 20, "{kind} is in {with} of 400 plans");
            assert!(with < 380, "{kind} is in {with} of 400 plans");
        }
    }

    #[test]
    fn small_segments_and_fetches_stay_common() {
        let plans: Vec<Plan> = (0..1_000).map(|seed| Profile::Default.draw(seed)).collect();
        let small = |plan: &&Plan| plan.topics[0].segment_bytes < 8 << 10;
        let fetches = |plan: &&Plan| plan.node.replica_fetch_max_bytes < 8 << 10;
        let (small, fetches) =
            (plans.iter().filter(small).count(), plans.iter().filter(fetches).count());
        assert!(small > 100 && fetches > 150, "{small}, {fetches}");
    }

    fn names(faults: &[Fault]) -> Vec<&'static str> {
        faults
            .iter()
            .flat_map(|fault| {
                let mut all = names(&fault.then);
                all.push(fault.what.name());
                all
            })
            .collect()
    }

    #[test]
    fn a_filter_removes_kinds_and_nothing_else() {
        for seed in 0..100 {
            let all = Profile::Default.draw(seed);
            let plan = Profile::Default.draw_with(seed, |kind| kind != "partition");
            assert!(!names(&plan.faults).contains(&"partition"));
            assert_eq!(all.workload, plan.workload);
            assert_eq!(all.node, plan.node);
        }
    }
}
