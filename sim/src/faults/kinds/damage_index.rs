//! Index files change at rest: a log's index of where its batches are is wrong or missing.

use super::{Effect, Kind, Strike, Struck};
use crate::decide::Place;
use crate::faults::{Nemesis, US};
use crate::plan::{Plan, PlanError, Target, lasts, range};
use crate::node::Node;
use crate::world::World;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wavetank_core::env::FileKind;
use wavetank_core::types::NodeId;

/// Bytes of an entry of an offset index.
const OFFSET_ENTRY: usize = 8;

/// See [`FaultKind::DamageIndex`](super::FaultKind::DamageIndex).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DamageIndex {
    /// Which node. Its process, if one runs, is killed.
    pub node: Target,
    /// How long until the restart, if a process was running.
    pub down_us: u64,
    /// How many of 1000 index files.
    pub permille: u32,
}

impl DamageIndex {
    /// An index's content after the damage, or `None` if it is removed. This excludes bit flips
    /// that leave a time index in order: nothing in Kafka's format can detect those.
    fn damaged(place: Place, world: &World<Node>, kind: FileKind, old: &[u8]) -> Option<Bytes> {
        let draw = |salt: u64, bound: usize| {
            world.dice().decide(place.with(salt), bound as u64) as usize
        };
        let mut bytes = old.to_vec();
        let is_time = matches!(kind, FileKind::TimeIndex(_));
        // Mostly leave the time index alone: without it the offset index is rebuilt, whatever it
        // says.
        if is_time && draw(9, 3) > 0 {
            return Some(bytes.into());
        }
        match draw(0, 8) {
            0 => return None,
            // Torn within an entry.
            1 => bytes.truncate((bytes.len() / OFFSET_ENTRY * OFFSET_ENTRY).saturating_sub(1)),
            _ if is_time => {
                bytes.pop();
            }
            2 => {
                bytes.truncate(draw(1, bytes.len() / OFFSET_ENTRY + 1) * OFFSET_ENTRY);
            }
            3 => {
                let from = draw(2, bytes.len());
                bytes[from..].fill(0);
            }
            // A bit of a position, so that the entries may still be in order.
            4 => {
                let entry = draw(3, (bytes.len() / OFFSET_ENTRY).max(1)) * OFFSET_ENTRY;
                let at = (entry + 6 + draw(4, 2)).min(bytes.len() - 1);
                bytes[at] ^= 1 << draw(5, 8);
            }
            // A bit of every position but the last, which recovery checks.
            5 | 6 => {
                let last = (bytes.len() / OFFSET_ENTRY).saturating_sub(1) * OFFSET_ENTRY;
                for at in (OFFSET_ENTRY - 1..last).step_by(OFFSET_ENTRY) {
                    bytes[at] ^= 1 << draw(8, 3);
                }
            }
            _ => {
                let at = draw(6, bytes.len());
                bytes[at] ^= 1 << draw(7, 8);
            }
        }
        Some(bytes.into())
    }
}

impl Kind for DamageIndex {
    fn validate(&self, plan: &Plan) -> Result<(), PlanError> {
        range("permille", self.permille, 1, 1000)?;
        lasts("down_us", self.down_us)?;
        plan.validate_target(&self.node)
    }

    fn targets(&self) -> Vec<Target> {
        vec![self.node.clone()]
    }

    fn strike(&self, strike: &mut Strike<'_>) -> Struck {
        let Some(node) = strike.node(&self.node) else { return Struck::Nobody };
        if strike.world.is_up(node) {
            strike.world.crash(node);
            strike.nemesis.restart_after(node, self.down_us * US, strike.world);
        }
        let place = strike.cast.place.with(2);
        let mut bit = false;
        for (dir, kind, old) in indexes(strike.world, node) {
            let place = place.with_value(&dir).with_value(&kind);
            if !strike.world.dice().ratio(place, self.permille.into(), 1000) {
                continue;
            }
            let new = DamageIndex::damaged(place, strike.world, kind, &old);
            if new.as_deref() != Some(&old[..]) {
                strike.world.replace_at_rest(node, &dir, kind, new);
                bit = true;
            }
        }
        Struck::Done { bit }
    }

    fn end(&self, _: u64, _: &mut Effect, _: &mut Nemesis, _: &mut World<Node>) -> Option<u64> {
        None
    }
}

/// The non-empty index files of a node.
fn indexes(world: &World<Node>, node: NodeId) -> Vec<(String, FileKind, Bytes)> {
    let disk = world.disk(node);
    let mut found = Vec::new();
    for dir in disk.dir_names() {
        for (kind, len) in disk.files(&dir) {
            let is_index = matches!(kind, FileKind::OffsetIndex(_) | FileKind::TimeIndex(_));
            if is_index && len > 0 && let Some(content) = disk.visible(&dir, kind) {
                found.push((dir.clone(), kind, content.to_bytes()));
            }
        }
    }
    found
}
