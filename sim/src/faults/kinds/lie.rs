//! A node sends its peers answers and requests that no correct node would send.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Lie`](super::FaultKind::Lie).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lie {
    /// How many of 1000 answers that can be made a lie. Requests are rarer, so their rate is ten
    /// times this (a hundred times for ISR requests), at most 900.
    pub permille: u32,
    /// Only messages that this node sends.
    pub node: Option<Target>,
    /// For how long.
    pub for_us: u64,
}

impl Kind for Lie {
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
            strike.world.set_lies(*from, *to, u64::from(self.permille) * 1000);
        }
        let gauge = Gauge::Lies(links.clone()).watched(strike.world);
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
            world.set_lies(*from, *to, 0);
        }
        None
    }
}
