//! Messages are lost, and arrive with the transport's next retransmission.

use super::{Effect, Gauge, Kind, Strike, Struck};
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};

/// See [`FaultKind::Loss`](super::FaultKind::Loss).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// How many of 1000 messages.
    pub permille: u32,
    /// For how long.
    pub for_us: u64,
}

impl Loss {
    fn per_million(&self) -> u64 {
        u64::from(self.permille) * 1000
    }
}

impl Kind for Loss {
    fn validate(&self, _plan: &Plan) -> Result<(), PlanError> {
        range("permille", self.permille, 1, 900)?;
        lasts("for_us", self.for_us)
    }

    fn targets(&self) -> Vec<Target> {
        Vec::new()
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        strike.nemesis.losses.push(self.per_million());
        strike.nemesis.apply_loss(strike.world);
        let gauge = Gauge::Lost.watched(strike.world);
        Struck::GoesOn(Effect { gauge, ..Effect::lasting(self.for_us * US) })
    }

    fn end(
        &self,
        _: u64,
        _: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64> {
        let share = self.per_million();
        if let Some(at) = nemesis.losses.iter().position(|known| *known == share) {
            nemesis.losses.remove(at);
            nemesis.apply_loss(world);
        }
        None
    }
}
