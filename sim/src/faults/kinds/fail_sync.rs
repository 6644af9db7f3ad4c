//! A sync fails, and the pages that it did not write are marked clean.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::FailSync`](super::FaultKind::FailSync).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailSync {
    /// Which node.
    pub node: Target,
    /// From the failure to the restart.
    pub down_us: u64,
}

impl Kind for FailSync {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        lasts("down_us", self.down_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        // The fault budget allows one failing disk at a time.
        let Some(node) =
            strike.running(&self.node).filter(|_| strike.nemesis.failing.is_empty())
        else {
            return Struck::Nobody;
        };
        strike.world.fail_next_sync(node, None);
        strike.nemesis.failing.insert(node, self.down_us * US);
        let gauge = Gauge::FailedSyncs(node).watched(strike.world);
        Struck::GoesOn(Effect { gauge, ..Effect::waiting() })
    }

    fn end(&self, _: u64, _: &mut Effect, _: &mut Nemesis, _: &mut World<Node>) -> Option<u64> {
        None
    }
}
