//! All machines lose power at once and restart one by one.

use super::{Effect, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{LONGEST_US, Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};
use wavetank_core::types::NodeId;

/// See [`FaultKind::PowerLossAll`](super::FaultKind::PowerLossAll).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLossAll {
    /// How long until the first restart.
    pub down_us: u64,
    /// The longest time between the first and the last restart. Each node's is drawn.
    pub stagger_us: u64,
}

impl Kind for PowerLossAll {
    fn validate(&self, _plan: &Plan) -> Result<(), PlanError> {
        lasts("down_us", self.down_us)?;
        range("stagger_us", self.stagger_us, 0, LONGEST_US)
    }

    fn targets(&self) -> Vec<Target> {
        Vec::new()
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let nodes: Vec<NodeId> = strike.nemesis.nodes().collect();
        let mut bit = false;
        for &node in &nodes {
            bit |= strike.nemesis.power_off(node, strike.world);
        }
        for node in nodes {
            let place = strike.cast.place.with(node.0 as u64);
            let stagger = strike.world.dice().range(place, 0, self.stagger_us);
            strike.nemesis.restart_after(node, (self.down_us + stagger) * US, strike.world);
        }
        Struck::Done { bit }
    }

    fn end(&self, _: u64, _: &mut Effect, _: &mut Nemesis, _: &mut World<Node>) -> Option<u64> {
        None
    }
}
