//! The phases of a run: warm-up, calm, storm, heal a core, heal all, read everything.
//!
//! Progress is required wherever a healed part of the cluster can make it. A core that has a quorum
//! must elect a leader for each partition whose committed ISR has a member in the core, and must
//! acknowledge writes if it has enough replicas for `min.insync.replicas`. Once everything is
//! healed, each partition must have a leader and a full ISR, each client an answer to everything,
//! and each consumer must have read everything. No progress within the phase's bound is a violation
//! like any other.
//!
//! The current phase is data in the tank, so a copy of the tank continues where it was copied.

use super::{MS, Tank};
use crate::decide::Purpose;
use crate::invariants::Kind;
use crate::plan::TopicPlan;
use crate::workload::{App, Record, Recorded, Stage};
use std::collections::BTreeSet;
use std::sync::Arc;
use wavetank_core::client::{ClientFact, NamedPartition, RecordId};
use wavetank_core::metadata::PartitionRegistration;
use wavetank_core::types::{NodeId, TopicPartition};

/// A phase, with what it has counted so far.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The cluster starts, and the admin creates the topics.
    WarmUp { admin: NodeId },
    /// Clients work, and nothing else happens.
    Calm,
    /// Faults strike.
    Storm,
    /// A part of the cluster is healed, the rest is cut off.
    HealCore(Core),
    /// Everything is healed.
    HealAll,
    /// A last consumer reads everything.
    ReadEverything { reader: NodeId },
    /// The run is over.
    Over,
}

/// The core that is healed, and what it has achieved.
#[derive(Clone, Debug)]
pub(super) struct Core {
    nodes: Vec<NodeId>,
    /// Some producer waits for acks=all.
    strong: bool,
    /// How much of the history has been looked at.
    read: usize,
    /// Only records sent with acks=all since the core was healed count: weaker or older promises
    /// show no progress.
    sent: BTreeSet<(NodeId, RecordId)>,
    /// The partitions of which such a record was acknowledged.
    acked: Vec<(String, i32)>,
}

impl Core {
    fn count(&mut self, record: &Record) {
        match &record.what {
            Recorded::Send { id, acks: -1, .. } => {
                self.sent.insert((record.client, *id));
            }
            Recorded::Fact(ClientFact::Acked { id, partition, offset: Some(_) })
                if self.sent.contains(&(record.client, *id)) =>
            {
                let key = (partition.topic.clone(), partition.partition);
                if !self.acked.contains(&key) {
                    self.acked.push(key);
                }
            }
            Recorded::Send { .. }
            | Recorded::Asked { .. }
            | Recorded::Seek { .. }
            | Recorded::Fact(_) => {}
        }
    }
}

impl Phase {
    /// Its name, for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Phase::WarmUp { .. } => "warm-up",
            Phase::Calm => "calm",
            Phase::Storm => "storm",
            Phase::HealCore(_) => "healing a core",
            Phase::HealAll => "healing all",
            Phase::ReadEverything { .. } => "reading everything",
            Phase::Over => "over",
        }
    }
}

/// # The order of phases
impl Tank {
    /// Starts the cluster.
    pub(super) fn warm_up(&mut self) {
        let nodes: Vec<NodeId> = self.nemesis.nodes().collect();
        for node in nodes {
            self.nemesis.start(node, &mut self.world);
        }
        let admin = self.add_admin();
        self.enter(Phase::WarmUp { admin }, self.plan.phases.warm_up_ms);
    }

    /// Begins a phase of at most `ms` from now.
    fn enter(&mut self, phase: Phase, ms: u64) {
        self.deadline = self.world.now() + ms * MS;
        self.phase = phase;
        self.look = true;
    }

    /// Has the phase reached what it waits for?
    pub(super) fn is_reached(&mut self) -> bool {
        if let Phase::HealCore(core) = &mut self.phase {
            self.history.since(core.read).for_each(|record| core.count(record));
            core.read = self.history.len();
        }
        match &self.phase {
            Phase::WarmUp { admin } => {
                self.app(*admin).is_some_and(App::done) && unhealthy(self).is_none()
            }
            Phase::Calm | Phase::Storm | Phase::Over => false,
            Phase::HealCore(core) => stuck_in_core(self, core).is_none(),
            Phase::HealAll => unhealthy(self).is_none() && waiting(self).is_none(),
            Phase::ReadEverything { reader } => behind(self, *reader).is_none(),
        }
    }

    /// Ends the phase, because what it waits for is reached, its time is up or the run has ended,
    /// and begins the next.
    pub(super) fn next_phase(&mut self, reached: bool) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if !reached && !self.ended {
            self.judge_progress(&phase);
        }
        match phase {
            Phase::Storm => {
                self.nemesis.stop();
                self.set_storm(false);
            }
            Phase::ReadEverything { .. } if reached => self.judge_history(true),
            // Unless the run has ended: what was read still counts.
            Phase::ReadEverything { .. } if !self.ended => self.judge_history(false),
            Phase::WarmUp { .. }
            | Phase::Calm
            | Phase::HealCore(_)
            | Phase::HealAll
            | Phase::ReadEverything { .. }
            | Phase::Over => {}
        }
        if self.ended {
            return;
        }
        let phases = self.plan.phases.clone();
        match phase {
            Phase::WarmUp { .. } => {
                self.add_workloads();
                self.enter(Phase::Calm, phases.calm_ms);
            }
            Phase::Calm => {
                self.set_storm(true);
                let plan = Arc::clone(&self.plan);
                self.nemesis.begin(&plan.faults, &mut self.world);
                self.enter(Phase::Storm, phases.storm_ms);
            }
            Phase::Storm if phases.heal_core_ms > 0 => {
                let core = Core {
                    nodes: core(self),
                    strong: self.plan.workload.producers.iter().any(|producer| producer.acks == -1),
                    read: self.history.len(),
                    sent: BTreeSet::new(),
                    acked: Vec::new(),
                };
                self.nemesis.heal(&core.nodes, &mut self.world);
                self.enter(Phase::HealCore(core), phases.heal_core_ms);
            }
            Phase::Storm | Phase::HealCore(_) => {
                let all: Vec<NodeId> = self.nemesis.nodes().collect();
                self.nemesis.heal(&all, &mut self.world);
                self.set_stage(Stage::WindingDown);
                self.enter(Phase::HealAll, phases.heal_all_ms);
            }
            Phase::HealAll => {
                let reader = self.add_last_reader();
                self.enter(Phase::ReadEverything { reader }, phases.heal_all_ms);
            }
            Phase::ReadEverything { .. } | Phase::Over => {}
        }
    }

    /// A phase's time is up, and it has not reached what it waits for.
    fn judge_progress(&mut self, phase: &Phase) {
        let (phase, why) = match phase {
            Phase::Calm | Phase::Storm | Phase::Over => return,
            Phase::WarmUp { .. } => (
                "warm-up".to_owned(),
                unhealthy(self).unwrap_or_else(|| "the topics were not created".into()),
            ),
            Phase::HealCore(core) => {
                let why = stuck_in_core(self, core).unwrap_or_default();
                (format!("healing the core {:?}", core.nodes), why)
            }
            Phase::HealAll => {
                let why = unhealthy(self).or_else(|| waiting(self)).unwrap_or_default();
                ("healing all".to_owned(), why)
            }
            Phase::ReadEverything { reader } => {
                ("reading everything".to_owned(), behind(self, *reader).unwrap_or_default())
            }
        };
        self.violation("progress", Kind::Client, format!("no progress in {phase}: {why}"));
    }
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

/// What the healed core still has to achieve, if anything.
fn stuck_in_core(tank: &Tank, healed: &Core) -> Option<String> {
    let core = &healed.nodes;
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
        if healed.strong && enough && !healed.acked.contains(&(topic.name.clone(), index)) {
            return Some(format!(
                "{}-{index} acknowledged no write; leader {:?}, ISR {:?}",
                topic.name, registration.leader, registration.isr
            ));
        }
    }
    None
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
