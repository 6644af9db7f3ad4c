//! Every disk operation takes many times as long.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::SlowDisk`](super::FaultKind::SlowDisk).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowDisk {
    /// Which node.
    pub node: Target,
    /// Every operation takes this many times as long.
    pub factor: u32,
    /// For how long.
    pub for_us: u64,
}

impl Kind for SlowDisk {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        range("factor", self.factor, 2, 10_000)?;
        lasts("for_us", self.for_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.node(&self.node) else { return Struck::Nobody };
        strike.world.disk_mut(node).set_slow(u64::from(self.factor) * 100);
        let gauge = Gauge::Slowed(node).watched(strike.world);
        Struck::GoesOn(Effect { nodes: vec![node], gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        _: u64,
        effect: &mut Effect,
        _: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        world.disk_mut(effect.nodes[0]).set_slow(100);
        None
    }
}
