//! A machine loses power and restarts.

use super::{Effect, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::PowerLoss`](super::FaultKind::PowerLoss).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLoss {
    /// Which node.
    pub node: Target,
    /// How long until the restart.
    pub down_us: u64,
}

impl Kind for PowerLoss {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("down_us", self.down_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.node(&self.node) else { return Struck::Nobody };
        let bit = strike.nemesis.power_off(node, strike.world);
        strike.nemesis.restart_after(node, self.down_us * US, strike.world);
        Struck::Done { bit }
    }

    fn end(&self, _: u64, _: &mut Effect, _: &mut Nemesis, _: &mut World<Node>) -> Option<u64> {
        None
    }
}
