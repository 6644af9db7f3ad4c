//! Parts of a plan that are not faults: how nodes read, and what clients ask for.
//!
//! [`super::storms`] draws how often each occurs.

use super::Draw;
use crate::plan::Plan;

/// Reads in chunks, so that what is looked for ends or begins at a chunk boundary.
pub(super) fn read_chunks(plan: &mut Plan, draw: &mut Draw) {
    plan.node.read_chunk_bytes = draw.scale(64, 16 << 10) as u32;
}

/// Consumers that take little of all partitions at a time, so that most batches do
/// not fit, and what remains for a partition matters.
pub(super) fn small_fetches(plan: &mut Plan, draw: &mut Draw) {
    for consumer in &mut plan.workload.consumers {
        consumer.max_bytes = draw.scale(1, 16 << 10) as u32;
    }
}

/// Records with application timestamps.
pub(super) fn event_times(plan: &mut Plan, draw: &mut Draw) {
    let old = draw.chance(15);
    for producer in &mut plan.workload.producers {
        // If all are as old as 1970, those are also the largest.
        producer.event_times_ms = if old { 1 << 41 } else { draw.scale(10, 10_000) };
    }
}
