//! A process is killed repeatedly, soon after each start.

use super::{Effect, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::CrashLoop`](super::FaultKind::CrashLoop).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashLoop {
    /// Which node.
    pub node: Target,
    /// The number of crashes.
    pub times: u32,
    /// How long until each restart.
    pub down_us: u64,
    /// From each restart to the next crash.
    pub up_us: u64,
}

impl Kind for CrashLoop {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        range("times", self.times, 1, 1000)?;
        lasts("down_us", self.down_us)?;
        lasts("up_us", self.up_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.running(&self.node) else { return Struck::Nobody };
        strike.world.crash(node);
        strike.nemesis.restart_after(node, self.down_us * US, strike.world);
        if self.times == 1 {
            return Struck::Done { bit: true };
        }
        let (nodes, left) = (vec![node], self.times - 1);
        Struck::GoesOn(Effect { nodes, left, ..Effect::lasting((self.down_us + self.up_us) * US) })
    }

    fn end(
        &self,
        strike: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        let node = effect.nodes[0];
        if nemesis.stopped || !world.is_up(node) {
            return None;
        }
        world.crash(node);
        nemesis.restart_after(node, self.down_us * US, world);
        nemesis.bit(strike);
        effect.left -= 1;
        (effect.left > 0).then_some((self.down_us + self.up_us) * US)
    }
}
