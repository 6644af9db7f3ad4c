//! The parts of storms: plain faults at drawn times, and *scenes*, short sequences that are known
//! to be dangerous. Each seed draws which of them it has.

use super::Draw;
use super::at_rest::{aimed_at_disk, damaged_indexes, power_at_a_roll};
use super::variants::{event_times, read_chunks, small_fetches};
use crate::marks::Mark;
use crate::plan::{
    AfterNote, Crash, CrashLoop, Damage, Delay, FailSync, Fault, FaultKind, Lie, Loss, Partition,
    PartitionRef, Pause, Plan, PowerLoss, PowerLossAll, Restart, Shape, SlowDisk, Target, When,
};

/// Adds one kind of fault to a plan.
type Kind = fn(&mut Plan, &mut Draw);

/// A drawn scene: the mark that it aims at, and the kinds of faults that it needs for that.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    pub(super) mark: Mark,
    pub(super) kinds: Vec<&'static str>,
}

impl Aim {
    fn of(mark: Mark, faults: &[Fault]) -> Aim {
        Aim { mark, kinds: faults.iter().flat_map(Fault::kinds).collect() }
    }
}

/// The scenes, and the mark that each should make a run reach.
const SCENES: [(Kind, Mark); 11] = [
    (crash_after_ack, Mark::LeaderChange),
    (all_dark_after_acks, Mark::DataRecovered),
    (two_quick_elections, Mark::LeaderChangedAgain),
    (forked_leader, Mark::DivergingEpoch),
    (stale_leader, Mark::StaleHighWatermark),
    (leader_reboots, Mark::UnsyncedLost),
    (rejoin_then_failover, Mark::LeaderChangedAgain),
    (lost_expansion, Mark::IsrExpand),
    (double_vote, Mark::QuorumElection),
    (dropped_pages, Mark::LogDirOffline),
    (torn_tails, Mark::UnsyncedLost),
];

/// Draws the faults of the default profile. Returns the aims of its scenes.
pub(super) fn default(plan: &mut Plan, draw: &mut Draw) -> Vec<Aim> {
    // Plain kinds. Most seeds leave each of them out.
    let plain: [(u64, Kind); 10] = [
        (30, crashes),
        (20, power_losses),
        (12, power_loss_of_all),
        (30, partitions),
        (12, loss),
        (15, delays),
        (22, pauses),
        (15, failing_syncs),
        (12, slow_disks),
        (10, crash_loop),
    ];
    // At most three kinds: everything at once is only an outage.
    let mut kinds: Vec<Kind> = Vec::new();
    for (percent, kind) in plain {
        if draw.chance(percent) {
            kinds.push(kind);
        }
    }
    while kinds.len() > 3 {
        kinds.remove(draw.below(kinds.len() as u64) as usize);
    }
    let count = draw.pick(&[0, 1, 1, 1, 2, 2]);
    // Some scenes need quiet around them.
    if count > 0 && draw.chance(35) {
        kinds.clear();
    }
    for kind in kinds {
        kind(plan, draw);
    }
    let mut aims = Vec::new();
    for _ in 0..count {
        let (scene, mark) = draw.pick(&SCENES);
        let before = plan.faults.len();
        scene(plan, draw);
        aims.push(Aim::of(mark, &plan.faults[before..]));
    }
    if plan.faults.is_empty() {
        crashes(plan, draw);
    }
    // In addition, operators restart nodes in the middle of the storm.
    if draw.chance(15) {
        restarts(plan, draw);
    }
    // Drawn last, so that it moves no other draw.
    if draw.chance(5) {
        // This scene has the storm to itself.
        late_expansion(plan, draw);
        aims = vec![Aim::of(Mark::IsrExpand, &plan.faults)];
    } else {
        later(plan);
    }
    aims
}

/// Parts that were added later, each drawn from a separate stream.
fn later(plan: &mut Plan) {
    let kinds: [(&str, u64, Kind); 14] = [
        ("stalled controller", 4, stalled_controller),
        ("slow clients", 4, slow_clients),
        ("joining follower", 3, joining_follower),
        ("straggling requests", 4, straggling_requests),
        ("old incarnation", 4, old_incarnation),
        ("deferred cut", 3, deferred_cut),
        ("damaged messages", 8, damaged_messages),
        ("aimed at the disk", 12, aimed_at_disk),
        ("damaged indexes", 8, damaged_indexes),
        ("power at a roll", 6, power_at_a_roll),
        ("late answers", 4, late_answers),
        ("read chunks", 25, read_chunks),
        ("event times", 20, event_times),
        ("small fetches", 20, small_fetches),
    ];
    for (name, percent, kind) in kinds {
        let mut own = Draw::apart(plan.seed, name);
        if own.chance(percent) {
            kind(plan, &mut own);
        }
    }
}

/// Related to KAFKA-15019: the controller is paused for longer than a session, then resumes.
fn stalled_controller(plan: &mut Plan, draw: &mut Draw) {
    let longest = (plan.node.session_timeout_ms + plan.node.heartbeat_interval_ms) * 1000;
    for _ in 0..draw.range(1, 2) {
        let for_us = draw.range(longest * 11 / 10, longest * 2);
        let node = Target::ActiveController;
        plan.faults.push(at(moment(plan, draw), FaultKind::Pause(Pause { node, for_us })));
    }
}

fn storm_us(plan: &Plan) -> u64 {
    plan.phases.storm_ms * 1000
}

/// A moment that leaves some of the storm after it.
pub(super) fn moment(plan: &Plan, draw: &mut Draw) -> u64 {
    draw.below(storm_us(plan) * 8 / 10)
}

pub(super) fn at(us: u64, what: FaultKind) -> Fault {
    Fault::new(When::AtUs(us), what)
}

pub(super) fn after(name: &str, from_us: u64, count: u32, delay_us: u64, what: FaultKind) -> Fault {
    let name = name.to_owned();
    let after = AfterNote { name, from_us, count, delay_us, node: None, partition: None };
    Fault::new(When::AfterNote(after), what)
}

fn a_partition(plan: &Plan, draw: &mut Draw) -> PartitionRef {
    let topic = draw.below(plan.topics.len() as u64) as u32;
    let partition = draw.below(plan.topics[topic as usize].partitions as u64) as i32;
    PartitionRef { topic, partition }
}

pub(super) fn a_node(plan: &Plan, draw: &mut Draw) -> Target {
    let partition = a_partition(plan, draw);
    match draw.below(10) {
        0..=3 => Target::LeaderOf(partition),
        4..=5 => Target::FollowerOf(partition),
        6 => Target::LaggingOf(partition),
        7 => Target::ActiveController,
        _ => Target::Node(draw.pick(&plan.cluster.nodes())),
    }
}

/// How long until a restart: often too short for the session to end, often long enough.
pub(super) fn down(plan: &Plan, draw: &mut Draw) -> u64 {
    let session = plan.node.session_timeout_ms * 1000;
    match draw.below(3) {
        0 => draw.scale(1_000, 100_000),
        1 => draw.range(100_000, session),
        _ => draw.range(session, 4 * session),
    }
}

/// A delay that is often zero.
fn soon(draw: &mut Draw) -> u64 {
    if draw.chance(40) { 0 } else { draw.scale(50, 30_000) }
}

pub(super) fn crashes(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 4) {
        let node = a_node(plan, draw);
        let down_us = down(plan, draw);
        plan.faults.push(at(moment(plan, draw), FaultKind::Crash(Crash { node, down_us })));
    }
}

/// Restarts all nodes one after the other, or a few, which may lose power just after they stop.
fn restarts(plan: &mut Plan, draw: &mut Draw) {
    let patience_us = draw.scale(50_000, 20_000_000);
    if draw.chance(30) {
        let session = plan.node.session_timeout_ms * 1000;
        let (start, gap) = (moment(plan, draw) / 2, draw.range(session / 2, session * 3));
        for (turn, node) in plan.cluster.nodes().into_iter().enumerate() {
            let when = (start + turn as u64 * gap).min(storm_us(plan));
            let down_us = draw.scale(1_000, 500_000);
            let node = Target::Node(node);
            plan.faults.push(at(when, FaultKind::Restart(Restart { node, patience_us, down_us })));
        }
        return;
    }
    for _ in 0..draw.range(1, 3) {
        let node = a_node(plan, draw);
        let down_us = down(plan, draw);
        let mut stop =
            at(moment(plan, draw), FaultKind::Restart(Restart { node, patience_us, down_us }));
        if draw.chance(50) {
            let dark =
                FaultKind::PowerLoss(PowerLoss { node: Target::Noted, down_us: down(plan, draw) });
            stop = stop.then(after("shut_down", 0, 1, soon(draw), dark));
        }
        plan.faults.push(stop);
    }
}

fn power_losses(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let node = if draw.chance(30) { Target::Unsynced } else { a_node(plan, draw) };
        let down_us = down(plan, draw);
        plan.faults.push(at(moment(plan, draw), FaultKind::PowerLoss(PowerLoss { node, down_us })));
    }
}

fn power_loss_of_all(plan: &mut Plan, draw: &mut Draw) {
    let what = all_dark(plan, draw);
    plan.faults.push(at(moment(plan, draw), what));
}

fn all_dark(plan: &Plan, draw: &mut Draw) -> FaultKind {
    let stagger_us = if draw.chance(50) { draw.scale(1_000, 200_000) } else { down(plan, draw) };
    FaultKind::PowerLossAll(PowerLossAll { down_us: draw.scale(10_000, 1_000_000), stagger_us })
}

fn shape(plan: &Plan, draw: &mut Draw) -> Shape {
    let nodes = plan.cluster.nodes();
    match draw.below(10) {
        0..=4 => Shape::Isolate(a_node(plan, draw)),
        5..=6 => {
            let mut groups = vec![Vec::new(), Vec::new()];
            for node in &nodes {
                groups[draw.below(2) as usize].push(*node);
            }
            if groups.iter().any(Vec::is_empty) {
                return Shape::Isolate(a_node(plan, draw));
            }
            Shape::Groups(groups)
        }
        7 => Shape::Bridge(a_node(plan, draw)),
        8 if nodes.len() >= 4 => Shape::Ring,
        _ => {
            let one = draw.pick(&nodes);
            let others: Vec<i32> = nodes.into_iter().filter(|node| *node != one).collect();
            Shape::Pair(Target::Node(one), Target::Node(draw.pick(&others)))
        }
    }
}

fn partition(plan: &Plan, draw: &mut Draw, one_way: bool) -> FaultKind {
    let for_us = draw.scale(100_000, 5_000_000);
    FaultKind::Partition(Partition {
        shape: shape(plan, draw),
        one_way,
        clients_too: draw.chance(30),
        for_us,
    })
}

fn partitions(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let one_way = draw.chance(30);
        let what = partition(plan, draw, one_way);
        plan.faults.push(at(moment(plan, draw), what));
    }
}

pub(super) fn one_partition(plan: &mut Plan, draw: &mut Draw) {
    let what = partition(plan, draw, false);
    plan.faults.push(at(moment(plan, draw), what));
}

fn loss(plan: &mut Plan, draw: &mut Draw) {
    let permille = draw.scale(5, 200) as u32;
    let for_us = draw.scale(200_000, 4_000_000);
    plan.faults.push(at(moment(plan, draw), FaultKind::Loss(Loss { permille, for_us })));
}

fn delays(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let node = if draw.chance(70) { Some(a_node(plan, draw)) } else { None };
        let extra_us = draw.scale(2_000, 500_000);
        let for_us = draw.scale(200_000, 4_000_000);
        plan.faults.push(at(
            moment(plan, draw),
            FaultKind::Delay(Delay { extra_us, node, for_us, clients_too: false }),
        ));
    }
}

fn pauses(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let node = a_node(plan, draw);
        let for_us = draw.scale(50_000, 5_000_000);
        plan.faults.push(at(moment(plan, draw), FaultKind::Pause(Pause { node, for_us })));
    }
}

fn failing_syncs(plan: &mut Plan, draw: &mut Draw) {
    let node = a_node(plan, draw);
    let down_us = down(plan, draw);
    plan.faults.push(at(moment(plan, draw), FaultKind::FailSync(FailSync { node, down_us })));
}

fn slow_disks(plan: &mut Plan, draw: &mut Draw) {
    let node = a_node(plan, draw);
    let factor = draw.scale(5, 200) as u32;
    let for_us = draw.scale(200_000, 4_000_000);
    plan.faults
        .push(at(moment(plan, draw), FaultKind::SlowDisk(SlowDisk { node, factor, for_us })));
}

fn crash_loop(plan: &mut Plan, draw: &mut Draw) {
    let node = a_node(plan, draw);
    let what = FaultKind::CrashLoop(CrashLoop {
        node,
        times: draw.range(2, 5) as u32,
        down_us: draw.scale(1_000, 200_000),
        up_us: draw.scale(200, 100_000),
    });
    plan.faults.push(at(moment(plan, draw), what));
}

/// Takes a leader away for longer than its session.
fn depose(plan: &Plan, node: Target, draw: &mut Draw) -> FaultKind {
    let session = plan.node.session_timeout_ms * 1000;
    let for_us = draw.range(session * 3 / 2, session * 3);
    match draw.below(4) {
        0 => FaultKind::Pause(Pause { node, for_us }),
        1 => {
            let shape = Shape::Isolate(node);
            FaultKind::Partition(Partition {
                shape,
                one_way: false,
                clients_too: draw.chance(30),
                for_us,
            })
        }
        _ => FaultKind::Crash(Crash { node, down_us: for_us }),
    }
}

/// The leader goes down just when it acknowledges (or appends).
fn crash_after_ack(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let name =
            draw.pick(&["produce_acked", "produce_acked", "leader_appended", "high_watermark"]);
        let (from, count) = (moment(plan, draw), draw.range(1, 20) as u32);
        let delay = soon(draw);
        let what = depose(plan, Target::Noted, draw);
        plan.faults.push(after(name, from, count, delay, what));
    }
}

/// All machines lose power shortly after acknowledgements.
fn all_dark_after_acks(plan: &mut Plan, draw: &mut Draw) {
    let (from, count) = (moment(plan, draw), draw.range(1, 30) as u32);
    let delay = soon(draw);
    let what = all_dark(plan, draw);
    plan.faults.push(after("produce_acked", from, count, delay, what));
}

/// KIP-101: the leader goes down right after it acknowledged, while the followers' high watermarks
/// still lag. The next leader goes down as soon as the other node has become its follower.
fn two_quick_elections(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 2) {
        let partition = a_partition(plan, draw);
        let (from, count) = (moment(plan, draw) / 2, draw.range(1, 20) as u32);
        let delay = soon(draw) / 4;
        let first = depose(plan, Target::Noted, draw);
        let second = depose(plan, Target::LeaderOf(partition), draw);
        let name = draw.pick(&["became_leader", "became_follower", "became_follower", "truncated"]);
        let nth = draw.range(1, 3) as u32;
        let next = after(name, 0, nth, soon(draw), second);
        let name = draw.pick(&["produce_acked", "high_watermark", "follower_appended"]);
        plan.faults.push(after(name, from, count, delay, first).then(next));
    }
}

/// KIP-279: a follower is held up, so the leader dies with a tail that only the other follower has.
/// If the held-up one leads next, it is cut off from the brokers but not from the producers, and is
/// deposed with records of an epoch that its successor never had. Once it is back in the ISR, the
/// leader crashes so that it may lead again.
fn forked_leader(plan: &mut Plan, draw: &mut Draw) {
    let session = plan.node.session_timeout_ms * 1000;
    let partition = a_partition(plan, draw);
    let (from, count) = (moment(plan, draw) / 3, draw.range(1, 6) as u32);
    plan.phases.storm_ms += 4_000;
    for topic in &mut plan.topics {
        topic.min_insync_replicas = topic.min_insync_replicas.min(2);
    }
    for producer in &mut plan.workload.producers {
        producer.interval_us = producer.interval_us.min(40_000);
    }
    let hold = FaultKind::Pause(Pause {
        node: Target::FollowerOf(partition),
        for_us: draw.range(100_000, 500_000),
    });
    let first = FaultKind::Crash(Crash {
        node: Target::LeaderOf(partition),
        down_us: draw.range(session * 6, session * 12),
    });
    let cut = FaultKind::Partition(Partition {
        shape: Shape::Isolate(Target::Noted),
        one_way: false,
        clients_too: false,
        for_us: draw.range(session * 3 / 2, session * 5 / 2),
    });
    let last = FaultKind::Crash(Crash {
        node: Target::LeaderOf(partition),
        down_us: draw.range(session * 2, session * 5),
    });
    // Proposed or committed again: the node that was cut off is back.
    let back = draw.pick(&["isr_committed", "isr_proposed"]);
    let after_cut = after(back, session * 3 / 2, 1, draw.scale(10_000, 300_000), last);
    // At once, because the other follower must not learn of the epoch.
    let next = after("became_leader", 0, 1, 0, cut).then(after_cut);
    let gone = after("leader_appended", 0, draw.range(2, 6) as u32, soon(draw) / 4, first);
    let name = draw.pick(&["leader_appended", "produce_acked", "follower_appended"]);
    plan.faults.push(after(name, from, count, 0, hold).then(gone.then(next)));
}

/// KAFKA-7128: a follower is out. The last leader restarts with a high watermark as old as its
/// checkpoint and a longer log. The follower rejoins at an offset between the two, and the leader
/// goes down right after that.
fn stale_leader(plan: &mut Plan, draw: &mut Draw) {
    let session = plan.node.session_timeout_ms * 1000;
    let topic = &mut plan.topics[0];
    if draw.chance(70) {
        topic.replication_factor = topic.replication_factor.min(2);
    }
    topic.min_insync_replicas = 1;
    plan.node.checkpoint_interval_ms = draw.range(3_000, 20_000);
    if draw.chance(70) {
        plan.node.tail_cache_bytes = 0;
        plan.disk.read_mean_us = plan.disk.read_mean_us.max(draw.scale(500, 5_000));
    }
    let partition = draw.below(plan.topics[0].partitions as u64) as i32;
    let partition = PartitionRef { topic: 0, partition };
    plan.phases.storm_ms += 4_000;
    let start = draw.below(storm_us(plan) / 4);
    let out = FaultKind::Crash(Crash {
        node: Target::FollowerOf(partition),
        down_us: draw.range(session * 5 / 2, session * 5),
    });
    let restart = FaultKind::Crash(Crash {
        node: Target::LeaderOf(partition),
        down_us: draw.scale(10_000, 300_000),
    });
    let gone = FaultKind::Crash(Crash {
        node: Target::LeaderOf(partition),
        down_us: draw.range(session * 2, session * 4),
    });
    let name = draw.pick(&["isr_proposed", "isr_proposed", "isr_committed", "partition_changed"]);
    let delay = if draw.chance(50) { 0 } else { draw.scale(20, 5_000) };
    let second = after(name, session, 1, delay, gone);
    let from = draw.range(session * 3 / 2, session * 5 / 2);
    let first = after("produce_acked", from, draw.range(3, 10) as u32, soon(draw), restart);
    plan.faults.push(at(start, out).then(first.then(second)));
}

/// KAFKA-10527: a leader loses its unsynced tail, and is back before any node has noticed.
fn leader_reboots(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let partition = a_partition(plan, draw);
        let name = draw.pick(&["produce_acked", "leader_appended", "follower_appended"]);
        let (from, count) = (moment(plan, draw), draw.range(1, 20) as u32);
        let what = FaultKind::PowerLoss(PowerLoss {
            node: Target::LeaderOf(partition),
            down_us: draw.scale(1_000, plan.node.session_timeout_ms * 400),
        });
        plan.faults.push(after(name, from, count, soon(draw), what));
    }
}

/// KAFKA-7128 and similar: a follower drops out of the ISR, the leader goes down, and the next
/// leader goes down just when the follower is readmitted.
fn rejoin_then_failover(plan: &mut Plan, draw: &mut Draw) {
    let partition = a_partition(plan, draw);
    let session = plan.node.session_timeout_ms * 1000;
    let lag = plan.node.replica_lag_time_max_ms * 1000;
    let start = moment(plan, draw) / 3;
    let away = lag.max(session) * 3 / 2 + draw.below(session);
    let out = match draw.below(3) {
        0 => FaultKind::Crash(Crash { node: Target::FollowerOf(partition), down_us: away }),
        _ => FaultKind::Pause(Pause { node: Target::FollowerOf(partition), for_us: away }),
    };
    let gone = draw.range(session * 3 / 2, session * 4);
    let leader_goes = |node: Target| FaultKind::Crash(Crash { node, down_us: gone });
    // The first failover happens about when the follower is back, just after the old leader's high
    // watermark moved. The second happens right after the follower joins the ISR.
    let from = (away * 7 / 10) + draw.below(away / 2);
    let name = draw.pick(&["produce_acked", "high_watermark", "leader_appended"]);
    let joined = draw.pick(&["isr_committed", "isr_proposed", "partition_changed"]);
    let second = after(joined, 0, draw.range(1, 2) as u32, soon(draw), {
        leader_goes(Target::LeaderOf(partition))
    });
    let first = after(name, from, draw.range(1, 5) as u32, soon(draw) / 8, {
        leader_goes(Target::LeaderOf(partition))
    });
    plan.faults.push(at(start, out).then(first.then(second)));
}

/// KIP-497, KAFKA-12686: an expansion is proposed, and the leader never learns that it was
/// accepted.
fn lost_expansion(plan: &mut Plan, draw: &mut Draw) {
    let partition = a_partition(plan, draw);
    let session = plan.node.session_timeout_ms * 1000;
    let lag = plan.node.replica_lag_time_max_ms * 1000;
    let start = moment(plan, draw) / 2;
    let away = lag.max(session) * 3 / 2 + draw.below(session);
    let out = match draw.below(2) {
        0 => FaultKind::Crash(Crash { node: Target::FollowerOf(partition), down_us: away }),
        _ => FaultKind::Pause(Pause { node: Target::FollowerOf(partition), for_us: away }),
    };
    let cut = FaultKind::Partition(Partition {
        shape: Shape::Pair(Target::ActiveController, Target::LeaderOf(partition)),
        one_way: draw.chance(70),
        clients_too: false,
        for_us: draw.range(session, session * 3),
    });
    let name = draw.pick(&["isr_proposed", "isr_proposed", "partition_changed"]);
    let next = after(name, away / 2, draw.range(1, 2) as u32, soon(draw) / 8, cut);
    plan.faults.push(at(start, out).then(next));
}

/// A request that is sent first arrives last. A follower is paused until it has left the ISR, and
/// its heartbeats are blocked for some time longer. When its leader wants it back, the request is
/// held up for longer than the leader waits for it, but for less than the leader's own session.
/// Then, in a drawn order, the follower's session ends, the retry is refused, the heartbeats
/// arrive, and so does the first copy. Meanwhile the leader continues without the follower, which
/// it cannot reach. This needs no other faults, and a separate controller, so that cutting it off
/// stops nothing else.
fn late_expansion(plan: &mut Plan, draw: &mut Draw) {
    plan.faults.clear();
    if plan.cluster.brokers.iter().any(|broker| plan.cluster.controllers.contains(broker)) {
        plan.cluster.controllers = vec![9];
    }
    let partition = a_partition(plan, draw);
    let topic = &mut plan.topics[partition.topic as usize];
    topic.replication_factor = topic.replication_factor.max(2);
    let spare = i32::from(topic.replication_factor) - 1;
    topic.min_insync_replicas = topic.min_insync_replicas.min(spare);
    let node = &mut plan.node;
    node.session_timeout_ms = node.session_timeout_ms.max(2_400);
    node.request_timeout_ms = node.request_timeout_ms.min(draw.range(250, 500));
    node.replica_lag_time_max_ms = node.replica_lag_time_max_ms.min(700);
    node.replica_fetch_wait_ms = node.replica_fetch_wait_ms.min(150);
    plan.phases.storm_ms += 5_000;
    let session = plan.node.session_timeout_ms * 1000;
    let away = plan.node.replica_lag_time_max_ms * 1000 * 5 / 2;
    let cut = |one: Target, other: Target, one_way: bool, for_us: u64| {
        let shape = Shape::Pair(one, other);
        FaultKind::Partition(Partition { shape, one_way, clients_too: false, for_us })
    };
    let joins = Target::LaggingOf(partition);
    let out = FaultKind::Pause(Pause { node: Target::FollowerOf(partition), for_us: away });
    // From when the leader wants the follower back until its session has ended.
    let held = (session - away).max(500_000) + draw.range(50_000, 400_000);
    let early = draw.range(50_000, 250_000);
    let beats = early + held + draw.below(300_000);
    let beats = cut(joins.clone(), Target::ActiveController, true, beats);
    let request = cut(Target::Noted, Target::ActiveController, true, held);
    let behind = cut(joins, Target::Noted, false, held + draw.range(1_000_000, 3_000_000));
    let mut scene = at(draw.below(storm_us(plan) / 3), out)
        .then(at(away - early, beats))
        .then(after("isr_proposed", away, 1, 0, behind))
        .then(after("isr_proposed", away, 1, 0, request));
    if draw.chance(50) {
        let down_us = draw.range(session, session * 2);
        let gone = FaultKind::Crash(Crash { node: Target::LeaderOf(partition), down_us });
        scene = scene.then(after("partition_changed", away + held, 1, soon(draw), gone));
    }
    plan.faults.push(scene);
}

/// Raft 3.8: a voter answers, loses power, and is asked again. The two candidates cannot reach each
/// other.
fn double_vote(plan: &mut Plan, draw: &mut Draw) {
    let start = moment(plan, draw) / 2;
    let bridge = FaultKind::Partition(Partition {
        shape: Shape::Bridge(Target::OtherController),
        one_way: false,
        clients_too: false,
        for_us: draw.range(3_000_000, 8_000_000),
    });
    let timeout = plan.node.election_timeout_ms * 1000;
    let depose = FaultKind::Crash(Crash {
        node: Target::ActiveController,
        down_us: draw.range(timeout / 2, timeout * 4),
    });
    let name = draw.pick(&["quorum_voted", "quorum_vote_answered", "quorum_vote_answered"]);
    let forget = |draw: &mut Draw| {
        FaultKind::PowerLoss(PowerLoss { node: Target::Noted, down_us: draw.scale(500, 50_000) })
    };
    let delay = if draw.chance(60) { 0 } else { draw.scale(50, 5_000) };
    let mut amnesia = after(name, 0, draw.range(1, 3) as u32, delay, forget(draw));
    if draw.chance(50) {
        amnesia = amnesia.then(after(name, 0, 1, delay, forget(draw)));
    }
    let lag = draw.scale(1_000, 300_000);
    plan.faults.push(at(start, bridge).then(at(lag, depose).then(amnesia)));
    plan.disk.sync_min_us = plan.disk.sync_min_us.max(draw.scale(500, 30_000));
}

/// fsyncgate: a sync fails, and a power loss tests what happened to the pages behind it.
fn dropped_pages(plan: &mut Plan, draw: &mut Draw) {
    let partition = a_partition(plan, draw);
    let node =
        if draw.chance(50) { Target::LeaderOf(partition) } else { Target::FollowerOf(partition) };
    let fail = FaultKind::FailSync(FailSync { node, down_us: down(plan, draw) });
    let dark = all_dark(plan, draw);
    let next = after("produce_acked", 0, draw.range(1, 20) as u32, soon(draw), dark);
    plan.faults.push(at(moment(plan, draw), fail).then(next));
}

/// Power is lost in the middle of large writes.
fn torn_tails(plan: &mut Plan, draw: &mut Draw) {
    plan.disk.torn = true;
    for producer in &mut plan.workload.producers {
        producer.value_max_bytes = producer.value_max_bytes.max(1_500);
    }
    for _ in 0..draw.range(1, 4) {
        let name = draw.pick(&["leader_appended", "follower_appended"]);
        let (from, count) = (moment(plan, draw), draw.range(1, 20) as u32);
        let what =
            FaultKind::PowerLoss(PowerLoss { node: Target::Noted, down_us: down(plan, draw) });
        plan.faults.push(after(name, from, count, soon(draw), what));
    }
}

/// Clients' requests and answers take longer, so that clients give up while they are in flight.
fn slow_clients(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let node = if draw.chance(50) { Some(a_node(plan, draw)) } else { None };
        let extra_us = draw.scale(5_000, 3_000_000);
        let for_us = draw.scale(200_000, 3_000_000);
        let delay = Delay { extra_us, node, for_us, clients_too: true };
        plan.faults.push(at(moment(plan, draw), FaultKind::Delay(delay)));
    }
}

/// A follower returns and is proposed for the ISR. While its leader's AlterPartition is in flight
/// it loses power, and perhaps the records for which it was proposed.
fn joining_follower(plan: &mut Plan, draw: &mut Draw) {
    let partition = a_partition(plan, draw);
    let session = plan.node.session_timeout_ms * 1000;
    let lag = plan.node.replica_lag_time_max_ms * 1000;
    let away = lag.max(session) * 3 / 2 + draw.below(session);
    let out = FaultKind::Crash(Crash { node: Target::FollowerOf(partition), down_us: away });
    let slow = FaultKind::Delay(Delay {
        extra_us: draw.scale(1_000, 300_000),
        node: Some(Target::ActiveController),
        for_us: session,
        clients_too: false,
    });
    let dark = FaultKind::PowerLoss(PowerLoss {
        node: Target::LaggingOf(partition),
        down_us: draw.scale(1_000, session),
    });
    let joins = after("isr_proposed", 0, draw.range(1, 2) as u32, soon(draw) / 8, dark);
    let comes_back = at(away * 9 / 10, slow).then(joins);
    plan.faults.push(at(moment(plan, draw) / 2, out).then(comes_back));
}

/// Requests are handled after their senders gave up and moved on: a node's messages take about as
/// long as its timeout.
fn straggling_requests(plan: &mut Plan, draw: &mut Draw) {
    let timeout = plan.node.request_timeout_ms.min(plan.node.quorum_request_timeout_ms) * 1000;
    for _ in 0..draw.range(1, 2) {
        let node = Some(a_node(plan, draw));
        let extra_us = draw.range(timeout * 6 / 10, timeout * 14 / 10);
        let for_us = draw.range(timeout, timeout * 3);
        let delay = Delay { extra_us, node, for_us, clients_too: draw.chance(30) };
        plan.faults.push(at(moment(plan, draw), FaultKind::Delay(delay)));
    }
}

/// Messages that a process sent before it was killed arrive after its successor's.
fn old_incarnation(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 2) {
        let node = a_node(plan, draw);
        let extra_us = draw.scale(50_000, 1_500_000);
        let delay =
            Delay { extra_us, node: Some(node.clone()), for_us: extra_us * 2, clients_too: false };
        let crash = FaultKind::Crash(Crash { node, down_us: draw.scale(500, 50_000) });
        let crash = at(draw.below(extra_us), crash);
        plan.faults.push(at(moment(plan, draw), FaultKind::Delay(delay)).then(crash));
    }
}

/// A follower must truncate below what a checkpoint covers. Before a new checkpoint no longer
/// covers it, the follower's process or its leader goes down.
fn deferred_cut(plan: &mut Plan, draw: &mut Draw) {
    let partition = a_partition(plan, draw);
    let session = plan.node.session_timeout_ms * 1000;
    plan.node.checkpoint_interval_ms = plan.node.checkpoint_interval_ms.min(draw.range(100, 400));
    plan.disk.sync_min_us = plan.disk.sync_min_us.max(draw.scale(1_000, 20_000));
    let (from, count) = (moment(plan, draw) / 2, draw.range(1, 20) as u32);
    let dark = all_dark(plan, draw);
    let down_us = draw.range(1_000, session);
    let last = match draw.below(3) {
        0 => FaultKind::Crash(Crash { node: Target::Noted, down_us }),
        1 => FaultKind::PowerLoss(PowerLoss { node: Target::Noted, down_us }),
        _ => FaultKind::Crash(Crash { node: Target::LeaderOf(partition), down_us: 2 * session }),
    };
    let name = draw.pick(&["cut_deferred", "cut_deferred", "cut_reads"]);
    let delay = if draw.chance(50) { 0 } else { draw.scale(20, 20_000) };
    let cut = after(name, 0, 1, delay, last);
    plan.faults.push(after("high_watermark", from, count, soon(draw), dark).then(cut));
}

/// Bits flip on the way to followers. The CRC of a batch must detect it.
fn damaged_messages(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 2) {
        let node = if draw.chance(50) { Some(a_node(plan, draw)) } else { None };
        let permille = draw.scale(5, 300) as u32;
        let for_us = draw.scale(200_000, 4_000_000);
        let what = FaultKind::Damage(Damage { permille, node, for_us });
        plan.faults.push(at(moment(plan, draw), what));
    }
}

/// For a while one node, or every node, tells its peers what no correct node does. They must refuse
/// it. Meanwhile the controller or a follower goes down, so that there are votes, registrations and
/// ISRs to lie about.
pub(super) fn lying_peers(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 2) {
        let node = if draw.chance(70) { Some(a_node(plan, draw)) } else { None };
        let permille = draw.scale(5, 500) as u32;
        let for_us = draw.scale(500_000, 6_000_000);
        let lie = at(moment(plan, draw), FaultKind::Lie(Lie { permille, node, for_us }));
        let gone = if draw.chance(50) {
            depose(plan, Target::ActiveController, draw)
        } else {
            let node = Target::FollowerOf(a_partition(plan, draw));
            FaultKind::Crash(Crash { node, down_us: draw.scale(10_000, for_us) })
        };
        plan.faults.push(lie.then(at(draw.below(for_us / 2), gone)));
    }
    if draw.chance(50) {
        plan.faults.push(lies_about_isr(plan, draw));
    }
}

/// Leaders propose an ISR when a fenced follower comes back. At that time every node lies.
fn lies_about_isr(plan: &Plan, draw: &mut Draw) -> Fault {
    let follower = Target::FollowerOf(a_partition(plan, draw));
    let gone = depose(plan, follower, draw);
    let permille = draw.range(30, 90) as u32;
    let for_us = draw.scale(1_000_000, 6_000_000);
    let lie = FaultKind::Lie(Lie { permille, node: None, for_us });
    at(moment(plan, draw), gone).then(after("broker_unfenced", 0, 1, 0, lie))
}

/// A leader's answers are late, and meanwhile it hands over its partitions. Its answers reach
/// followers that now follow another leader, or lead themselves.
fn late_answers(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let node = Target::LeaderOf(a_partition(plan, draw));
        let extra_us = draw.scale(20_000, 300_000);
        let for_us = 4_000_000;
        let (slow, clients_too) = (Some(node.clone()), false);
        let delay = FaultKind::Delay(Delay { extra_us, node: slow, for_us, clients_too });
        let patience_us = draw.scale(500_000, 20_000_000);
        let stop = FaultKind::Restart(Restart { node, patience_us, down_us: down(plan, draw) });
        let meanwhile = at(2 * extra_us, stop);
        plan.faults.push(at(moment(plan, draw), delay).then(meanwhile));
    }
}
