//! One file for each API: unpack the request, call one component, pack the answer.
//!
//! No protocol rule lives here, and no message struct except data is passed below this layer. A
//! request that has to wait is parked as a value in a purgatory, keyed by what it waits for.

pub mod api_versions;
pub mod fetch;
pub mod forwarding;
pub mod list_offsets;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;

use crate::metadata::MetadataImage;
use crate::types::{TopicRef, Uuid};

/// Both the name and the id of a topic that a request named by either.
pub fn full_ref(topic: &TopicRef, image: &MetadataImage) -> TopicRef {
    let mut full = topic.clone();
    if full.id == Uuid::ZERO {
        full.id = image.topic_ids.get(&full.name).copied().unwrap_or(Uuid::ZERO);
    } else if full.name.is_empty() {
        full.name = image.topics.get(&full.id).map(|t| t.name.clone()).unwrap_or_default();
    }
    full
}
