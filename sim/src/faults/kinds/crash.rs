//! A process is killed and restarted. Its page cache survives.

use super::{Effect, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Crash`](super::FaultKind::Crash).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Which node.
    pub node: Target,
    /// How long until the restart.
    pub down_us: u64,
}

impl Kind for Crash {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("down_us", self.down_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.running(&self.node) else { return Struck::Nobody };
        strike.world.crash(node);
        strike.nemesis.restart_after(node, self.down_us * US, strike.world);
        Struck::Done { bit: true }
    }

    fn end(&self, _: u64, _: &mut Effect, _: &mut Nemesis, _: &mut World<Node>) -> Option<u64> {
        None
    }
}
