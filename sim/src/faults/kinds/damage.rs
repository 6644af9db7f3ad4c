//! Bytes change in transit between nodes, undetected by TCP's checksum.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Damage`](super::FaultKind::Damage).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// How many of 1000 answers with records.
    pub permille: u32,
    /// Only what this node sends.
    pub node: Option<Target>,
    /// For how long.
    pub for_us: u64,
}

impl Kind for Damage {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        range("permille", self.permille, 1, 900)?;
        lasts("for_us", self.for_us)?;
        self.node.as_ref().map_or(Ok(()), |node| plan.validate_target(node))
    }

    fn targets(&self) -> Vec<Target> {
        self.node.iter().cloned().collect()
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(links) = strike.links_from(self.node.as_ref()) else { return Struck::Nobody };
        for (from, to) in &links {
            strike.world.set_damage(*from, *to, u64::from(self.permille) * 1000);
        }
        let gauge = Gauge::Damaged(links.clone()).watched(strike.world);
        Struck::GoesOn(Effect { links, gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        _: u64,
        effect: &mut Effect,
        _: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        for (from, to) in &effect.links {
            world.set_damage(*from, *to, 0);
        }
        None
    }
}
