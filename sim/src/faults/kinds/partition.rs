//! Links hold back messages for a while.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::decide::Place;
use crate::faults::{Link, Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, refuse};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};
use wavetank_core::types::NodeId;

/// See [`FaultKind::Partition`](super::FaultKind::Partition).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Which nodes are cut off from which.
    pub shape: Shape,
    /// Only messages towards the target (or to a later group from an earlier one) are held.
    #[serde(default)]
    pub one_way: bool,
    /// Clients cannot reach isolated nodes either.
    #[serde(default)]
    pub clients_too: bool,
    /// For how long.
    pub for_us: u64,
}

/// Sets of nodes; nodes in different sets cannot reach each other.
pub type Groups = Vec<Vec<i32>>;

/// Which nodes are cut off from which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The target is cut off from all other nodes.
    Isolate(Target),
    /// Explicit groups. A node in none of them is cut off from all.
    Groups(Groups),
    /// Two drawn halves, connected only through the target.
    Bridge(Target),
    /// Two nodes are cut off from each other.
    Pair(Target, Target),
    /// Each node reaches only its neighbours by id.
    Ring,
}

impl Kind for Partition {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("for_us", self.for_us)?;
        self.shape.validate(plan)
    }

    fn targets(&self) -> Vec<Target> {
        match &self.shape {
            Shape::Isolate(node) | Shape::Bridge(node) => vec![node.clone()],
            Shape::Pair(one, other) => vec![one.clone(), other.clone()],
            Shape::Groups(_) | Shape::Ring => Vec::new(),
        }
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let links = self.links(strike);
        if links.is_empty() {
            return Struck::Nobody;
        }
        for link in &links {
            let blocks = strike.nemesis.blocks.entry(*link).or_default();
            *blocks += 1;
            strike.world.block(link.0, link.1);
        }
        let gauge = Gauge::Held(links.clone()).watched(strike.world);
        Struck::GoesOn(Effect { links, gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        _: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        nemesis.unblock(&effect.links, world);
        None
    }
}

impl Partition {
    /// The links that it blocks.
    fn links(&self, strike: &Strike<'_>) -> Vec<Link> {
        let nodes: Vec<NodeId> = strike.nemesis.nodes().collect();
        let mut groups: Vec<Vec<NodeId>> = Vec::new();
        let mut links = Vec::new();
        match &self.shape {
            Shape::Isolate(target) => {
                let Some(node) = strike.node(target) else { return links };
                let rest = nodes.iter().copied().filter(|other| *other != node).collect();
                groups = vec![rest, vec![node]];
                if self.clients_too {
                    for &client in &strike.nemesis.clients {
                        links.push((client, node));
                        if !self.one_way {
                            links.push((node, client));
                        }
                    }
                }
            }
            Shape::Groups(sets) => {
                groups.extend(sets.iter().map(|set| set.iter().copied().map(NodeId).collect()));
                let rest = nodes.iter().filter(|node| !sets.iter().flatten().any(|n| *n == node.0));
                groups.extend(rest.map(|node| vec![*node]));
            }
            Shape::Bridge(target) => {
                let Some(bridge) = strike.node(target) else { return links };
                groups = halves(&nodes, bridge, strike.cast.place, strike.world);
            }
            Shape::Pair(one, other) => {
                let (Some(one), Some(other)) = (strike.node(one), strike.node(other)) else {
                    return links;
                };
                if one == other {
                    return links;
                }
                groups = vec![vec![one], vec![other]];
            }
            Shape::Ring => links = ring(&nodes, self.one_way),
        }
        for (i, froms) in groups.iter().enumerate() {
            for (j, tos) in groups.iter().enumerate() {
                if i == j || (self.one_way && i > j) {
                    continue;
                }
                for &from in froms {
                    links.extend(tos.iter().map(|to| (from, *to)));
                }
            }
        }
        links
    }
}

/// The links between nodes that are not neighbours.
fn ring(nodes: &[NodeId], one_way: bool) -> Vec<Link> {
    let mut links = Vec::new();
    for (i, &from) in nodes.iter().enumerate() {
        for (j, &to) in nodes.iter().enumerate() {
            let apart = i.abs_diff(j);
            let neighbours = apart == 1 || apart == nodes.len() - 1;
            if i != j && !neighbours && (!one_way || i < j) {
                links.push((from, to));
            }
        }
    }
    links
}

/// All nodes but the bridge, in two drawn, non-empty halves.
fn halves(nodes: &[NodeId], bridge: NodeId, place: Place, world: &World<Node>) -> Vec<Vec<NodeId>> {
    let others: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != bridge).collect();
    let mut groups = vec![Vec::new(), Vec::new()];
    let start = world.dice().decide(place.with(2), 2) as usize;
    for (index, node) in others.into_iter().enumerate() {
        let side = match index {
            0 => start,
            1 => 1 - start,
            _ => world.dice().decide(place.with(3).with(node.0 as u64), 2) as usize,
        };
        groups[side].push(node);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

impl Shape {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        let nodes = plan.cluster.nodes();
        match self {
            Shape::Isolate(target) | Shape::Bridge(target) => {
                if nodes.len() < 2 {
                    return refuse("a partition needs at least two nodes".into());
                }
                plan.validate_target(target)
            }
            Shape::Pair(one, other) => {
                if one == other {
                    return refuse(format!("{one:?} cannot be cut off from itself"));
                }
                plan.validate_target(one)?;
                plan.validate_target(other)
            }
            Shape::Ring => {
                if nodes.len() < 4 {
                    return refuse(format!(
                        "a ring of {} nodes separates nobody; it needs at least four",
                        nodes.len()
                    ));
                }
                Ok(())
            }
            Shape::Groups(groups) => {
                if groups.iter().filter(|group| !group.is_empty()).count() < 2 {
                    return refuse(
                        "shape.groups needs at least two groups with nodes, or it separates nobody"
                            .into(),
                    );
                }
                let mut seen = Vec::new();
                for &node in groups.iter().flatten() {
                    plan.validate_target(&Target::Node(node))?;
                    if seen.contains(&node) {
                        return refuse(format!("shape.groups has node {node} twice"));
                    }
                    seen.push(node);
                }
                Ok(())
            }
        }
    }
}
