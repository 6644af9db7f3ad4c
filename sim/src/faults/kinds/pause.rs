//! A process is paused for a while, without knowing it.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Pause`](super::FaultKind::Pause).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Which node.
    pub node: Target,
    /// For how long.
    pub for_us: u64,
}

impl Kind for Pause {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("for_us", self.for_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.running(&self.node) else { return Struck::Nobody };
        let gauge = Gauge::Waited(node).watched(strike.world);
        strike.world.pause(node);
        strike.nemesis.pauses.insert(node, strike.number);
        Struck::GoesOn(Effect { nodes: vec![node], gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        strike: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        let node = effect.nodes[0];
        if nemesis.pauses.get(&node) == Some(&strike) {
            world.resume(node);
        }
        None
    }
}
