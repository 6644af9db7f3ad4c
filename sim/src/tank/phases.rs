//! The phases of a run: warm-up, calm, storm, heal a core, heal all, read everything.
//!
//! Progress is required wherever a healed part of the cluster can make it. A core that has a quorum
//! must elect a leader for each partition whose committed ISR has a member in the core, and must
//! acknowledge writes if it has enough replicas for `min.insync.replicas`. Once everything is
//! healed, each partition must have a leader and a full ISR, each client an answer to everything,
//! and each consumer must have read everything. No progress within the phase's bound is a violation
//! like any other.

use super::{MS, Tank};
use crate::decide::Purpose;
use crate::invariants::Kind;
use crate::plan::TopicPlan;
use crate::workload::{Recorded, Stage};
use std::collections::BTreeSet;
use wavetank_core::client::{ClientFact, NamedPartition, RecordId};
use wavetank_core::metadata::PartitionRegistration;
use wavetank_core::types::{NodeId, TopicPartition};

/// Drives a run from its first start to its last read.
pub(crate) fn drive(tank: &mut Tank) {
    warm_up(tank);
    if !tank.ended() {
        storm(tank);
    }
    if !tank.ended() && tank.plan.phases.heal_core_ms > 0 {
        heal_core(tank);
    }
    if !tank.ended() {
        heal_all(tank);
    }
    if !tank.ended() {
        read_everything(tank);
    }
}

fn warm_up(tank: &mut Tank) {
    let nodes: Vec<NodeId> = tank.nemesis.nodes().collect();
    for node in nodes {
        tank.nemesis.start(node, &mut tank.world);
    }
    let admin = tank.add_admin();
    let deadline = tank.world.now() + tank.plan.phases.warm_up_ms * MS;
    let up = tank.run_until(deadline, |tank| {
        tank.app(admin).is_some_and(|app| app.done()) && unhealthy(tank).is_none()
    });
    if !up && !tank.ended() {
        let why = unhealthy(tank).unwrap_or_else(|| "the topics were not created".into());
        no_progress(tank, "warm-up", why);
    }
}

fn storm(tank: &mut Tank) {
    tank.add_workloads();
    let now = tank.world.now();
    tank.run_until(now + tank.plan.phases.calm_ms * MS, |_| false);
    tank.set_storm(true);
    let faults = tank.plan.faults.clone();
    tank.nemesis.begin(&faults, &mut tank.world);
    let now = tank.world.now();
    tank.run_until(now + tank.plan.phases.storm_ms * MS, |_| false);
    tank.nemesis.stop();
    tank.set_storm(false);
}

/// Draws a core: a majority of the voters, and some more nodes.
fn core(tank: &Tank) -> Vec<NodeId> {
    let dice = tank.world.dice();
    let place = dice.place(Purpose::Driver).with(0xc0e);
    let controllers = &tank.plan.cluster.controllers;
    let majority = controllers.len() / 2 + 1;
    let start = dice.decide(place, controllers.len() as u64) as usize;
    let mut core: Vec<NodeId> = (0..majority)
        .map(|index| NodeId(controllers[(start + index) % controllers.len()]))
        .collect();
    for node in tank.plan.cluster.nodes().into_iter().map(NodeId) {
        if !core.contains(&node) && dice.ratio(place.with(node.0 as u64), 1, 2) {
            core.push(node);
        }
    }
    core.sort_unstable();
    core
}

fn heal_core(tank: &mut Tank) {
    let core = core(tank);
    tank.nemesis.heal(&core, &mut tank.world);
    let start = tank.outcome.history.len();
    let deadline = tank.world.now() + tank.plan.phases.heal_core_ms * MS;
    let mut read = start;
    let mut acked: Vec<(String, i32)> = Vec::new();
    // Only records sent with acks=all since then count: weaker or older promises show no progress.
    let mut sent: BTreeSet<(NodeId, RecordId)> = BTreeSet::new();
    let strong = tank.plan.workload.producers.iter().any(|producer| producer.acks == -1);
    let done = tank.run_until(deadline, |tank| {
        for record in &tank.outcome.history[read..] {
            match &record.what {
                Recorded::Send { id, acks: -1, .. } => {
                    sent.insert((record.client, *id));
                }
                Recorded::Fact(ClientFact::Acked { id, partition, offset: Some(_) })
                    if sent.contains(&(record.client, *id)) =>
                {
                    let key = (partition.topic.clone(), partition.partition);
                    if !acked.contains(&key) {
                        acked.push(key);
                    }
                }
                Recorded::Send { .. }
                | Recorded::Asked { .. }
                | Recorded::Seek { .. }
                | Recorded::Fact(_) => {}
            }
        }
        read = tank.outcome.history.len();
        stuck_in_core(tank, &core, &acked, strong).is_none()
    });
    if !done && !tank.ended() {
        let why = stuck_in_core(tank, &core, &acked, strong).unwrap_or_default();
        no_progress(tank, &format!("healing the core {core:?}"), why);
    }
}

/// What the healed core still has to achieve, if anything.
fn stuck_in_core(
    tank: &Tank,
    core: &[NodeId],
    acked: &[(String, i32)],
    strong: bool,
) -> Option<String> {
    for (topic, index) in tank.plan.partitions() {
        let Some((_, registration)) = registration(tank, topic, index) else {
            return Some(format!("{}-{index} is not in the committed metadata", topic.name));
        };
        // All nodes that could lead are outside the core, so nothing can be required.
        if !registration.isr.iter().any(|node| core.contains(node)) {
            continue;
        }
        if !registration.leader.is_some_and(|leader| core.contains(&leader)) {
            return Some(format!(
                "{}-{index} has the leader {:?} and the ISR {:?}",
                topic.name, registration.leader, registration.isr
            ));
        }
        let replicas = registration.replicas.iter().filter(|node| core.contains(node)).count();
        let enough = replicas as i32 >= topic.min_insync_replicas;
        if strong && enough && !acked.contains(&(topic.name.clone(), index)) {
            return Some(format!(
                "{}-{index} acknowledged no write; leader {:?}, ISR {:?}",
                topic.name, registration.leader, registration.isr
            ));
        }
    }
    None
}

fn heal_all(tank: &mut Tank) {
    let all: Vec<NodeId> = tank.nemesis.nodes().collect();
    tank.nemesis.heal(&all, &mut tank.world);
    tank.set_stage(Stage::WindingDown);
    let deadline = tank.world.now() + tank.plan.phases.heal_all_ms * MS;
    let done =
        tank.run_until(deadline, |tank| unhealthy(tank).is_none() && waiting(tank).is_none());
    if !done && !tank.ended() {
        let why = unhealthy(tank).or_else(|| waiting(tank)).unwrap_or_default();
        no_progress(tank, "healing all", why);
    }
}

fn read_everything(tank: &mut Tank) {
    let reader = tank.add_last_reader();
    let deadline = tank.world.now() + tank.plan.phases.heal_all_ms * MS;
    let done = tank.run_until(deadline, |tank| behind(tank, reader).is_none());
    if done {
        tank.judge_history(true);
    } else if !tank.ended() {
        let why = behind(tank, reader).unwrap_or_default();
        no_progress(tank, "reading everything", why);
        // Unless the run has ended: what was read still counts.
        if !tank.ended() {
            tank.judge_history(false);
        }
    }
}

fn no_progress(tank: &mut Tank, phase: &str, why: String) {
    tank.violation("progress", Kind::Client, format!("no progress in {phase}: {why}"));
}

/// The committed registration of a partition.
fn registration<'a>(
    tank: &'a Tank,
    topic: &TopicPlan,
    index: i32,
) -> Option<(TopicPartition, &'a PartitionRegistration)> {
    let image = tank.ledger.image();
    let (id, _) = image.topic_by_name(&topic.name)?;
    let partition = TopicPartition { topic: id, partition: index };
    Some((partition, image.partition(partition)?))
}

/// Describes a partition without a leader or with a member missing from its ISR.
fn unhealthy(tank: &Tank) -> Option<String> {
    for (topic, index) in tank.plan.partitions() {
        let name = &topic.name;
        let Some((_, registration)) = registration(tank, topic, index) else {
            return Some(format!("{name}-{index} is not in the committed metadata"));
        };
        if registration.leader.is_none() {
            return Some(format!("{name}-{index} has no leader; ISR {:?}", registration.isr));
        }
        if registration.isr.len() < registration.replicas.len() {
            return Some(format!(
                "{name}-{index} has the ISR {:?} of the replicas {:?}, leader {:?}",
                registration.isr, registration.replicas, registration.leader
            ));
        }
    }
    None
}

/// Describes a client that still waits for something.
fn waiting(tank: &Tank) -> Option<String> {
    for &client in &tank.clients {
        let Some(app) = tank.app(client) else { continue };
        if app.name() == "consume" {
            if let Some(why) = behind(tank, client) {
                return Some(why);
            }
        } else if !app.done() {
            return Some(format!("client {client} ({}) is waiting for answers", app.name()));
        }
    }
    None
}

/// Describes a partition whose end a consumer has not reached.
fn behind(tank: &Tank, reader: NodeId) -> Option<String> {
    let app = tank.app(reader)?;
    for (topic, index) in tank.plan.partitions() {
        let Some((partition, _)) = registration(tank, topic, index) else {
            return Some(format!("{}-{index} is not in the committed metadata", topic.name));
        };
        let end = tank.ledger.promises(partition).map_or(0, |promises| promises.committed_end());
        let named = NamedPartition::new(topic.name.clone(), index);
        let position = app.client().consumer().position(&named);
        if position.is_none_or(|position| position.0 < end) {
            return Some(format!(
                "consumer {reader} is at {position:?} of {named}, which ends at {end}"
            ));
        }
    }
    None
}
