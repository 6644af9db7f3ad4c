//! Messages take longer, around one node or everywhere.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};
use wavetank_core::types::NodeId;

/// See [`FaultKind::Delay`](super::FaultKind::Delay).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Extra time. Each message draws its own, from 0.5 to 1.5 times this.
    pub extra_us: u64,
    /// Only messages from and to this node.
    pub node: Option<Target>,
    /// For how long.
    pub for_us: u64,
    /// Also messages from and to clients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clients_too: bool,
}

impl Kind for Delay {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("extra_us", self.extra_us)?;
        lasts("for_us", self.for_us)?;
        self.node.as_ref().map_or(Ok(()), |node| plan.validate_target(node))
    }

    fn targets(&self) -> Vec<Target> {
        self.node.iter().cloned().collect()
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let around = match &self.node {
            Some(target) => match strike.node(target) {
                Some(node) => Some(node),
                None => return Struck::Nobody,
            },
            None => None,
        };
        let mut nodes: Vec<NodeId> = strike.nemesis.nodes().collect();
        if self.clients_too {
            nodes.extend(&strike.nemesis.clients);
        }
        let extra = self.extra_us * US;
        let mut links = Vec::new();
        for &from in &nodes {
            for &to in &nodes {
                let meant = around.is_none_or(|node| node == from || node == to);
                if from != to && meant {
                    strike.nemesis.spikes.entry((from, to)).or_default().push(extra);
                    strike.world.set_spike(from, to, extra);
                    links.push((from, to));
                }
            }
        }
        let gauge = Gauge::Delayed(links.clone()).watched(strike.world);
        Struck::GoesOn(Effect { links, gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        _: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        for link in &effect.links {
            if let Some(extras) = nemesis.spikes.get_mut(link) {
                extras.pop();
                let extra = extras.last().copied().unwrap_or(0);
                world.set_spike(link.0, link.1, extra);
            }
        }
        None
    }
}
