//! A process is asked to stop and is started again. If it takes too long to stop, it is killed.

use super::{Effect, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Restart`](super::FaultKind::Restart).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Which node.
    pub node: Target,
    /// How long it may take to stop.
    pub patience_us: u64,
    /// From its end to the start.
    pub down_us: u64,
}

impl Kind for Restart {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("patience_us", self.patience_us)?;
        lasts("down_us", self.down_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike
            .running(&self.node)
            .filter(|node| !strike.nemesis.stopping.contains_key(node))
        else {
            return Struck::Nobody;
        };
        strike.nemesis.stopping.insert(node, (strike.number, self.down_us * US));
        strike.world.shutdown(node);
        let nodes = vec![node];
        Struck::GoesOn(Effect { nodes, ..Effect::lasting(self.patience_us * US) })
    }

    fn end(
        &self,
        strike: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        let node = effect.nodes[0];
        if let Some((known, down)) = nemesis.stopping.get(&node).copied()
            && known == strike
            && world.is_up(node)
        {
            world.crash(node);
            nemesis.restart_after(node, down, world);
            nemesis.bit(strike);
        }
        None
    }
}
