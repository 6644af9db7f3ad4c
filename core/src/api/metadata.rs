//! Metadata: brokers, topics and leaders, from the image alone.
//!
//! Topics that a client names but that do not exist are handed back to the router, which has them
//! created if that is allowed.
//!
//! A broker with no useful answer closes the connection instead, because clients take an answer at
//! its word. Some treat "the topic does not exist" or "there are no topics" as final. An answer
//! without brokers makes librdkafka (2.12) forget every broker it knew and wait forever.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::error_code::ErrorCode;
use crate::metadata::MetadataImage;
use crate::msg::{
    MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic, NodeEndpoint,
};
use crate::types::{NodeId, TopicId, TopicRef, Uuid};

/// The most topics that one request may cause to be created.
const MOST_CREATED: usize = 1000;

/// The endpoint of a live broker on the listener of that name.
pub fn endpoint(node: NodeId, listener: &str, image: &MetadataImage) -> Option<NodeEndpoint> {
    let broker = image.brokers.get(&node).filter(|broker| !broker.fenced)?;
    let endpoint = broker.endpoint(listener)?.clone();
    Some(NodeEndpoint { node, endpoint, rack: broker.rack.clone() })
}

/// The answer to a client, or `None` if this broker has no useful one; see the module.
/// `is_current`: see [`Hosted::is_current`](crate::storage::Hosted::is_current).
pub fn useful_answer(
    request: &MetadataRequest,
    listener: &str,
    is_current: bool,
    config: &NodeConfig,
    image: &MetadataImage,
) -> Option<(MetadataResponse, Vec<String>)> {
    // The metadata may be arbitrarily old. Kafka's broker does not listen before it has caught up;
    // here peers use the same listener, so a client can connect earlier.
    if !is_current {
        return None;
    }
    let (response, wanted) = answer(request, listener, config, image);
    // Without brokers: none has been unfenced yet, including this one.
    (!response.brokers.is_empty()).then_some((response, wanted))
}

/// Answers a client on this listener, and returns the topics that should be created. The answer
/// lists only brokers that also have this listener, with their endpoints on it.
pub fn answer(
    request: &MetadataRequest,
    listener: &str,
    config: &NodeConfig,
    image: &MetadataImage,
) -> (MetadataResponse, Vec<String>) {
    let mut wanted = BTreeSet::new();
    let topics = match &request.topics {
        None => {
            let all = image.topic_ids.iter();
            all.map(|(name, id)| known(name, *id, listener, image)).collect()
        }
        Some(topics) => {
            let create = request.allow_auto_topic_creation && config.auto_create_topics;
            // A topic that is named twice is answered once, so the answer is never larger than the
            // request and the cluster together.
            let mut told = BTreeSet::new();
            let one = |topic| one(topic, create, listener, image, &mut told, &mut wanted);
            topics.iter().filter_map(one).collect()
        }
    };
    let brokers: Vec<NodeEndpoint> =
        image.brokers.keys().filter_map(|node| endpoint(*node, listener, image)).collect();
    // The controller of a dedicated quorum does not serve clients; any live broker forwards to it.
    let controller = brokers
        .iter()
        .map(|broker| broker.node)
        .find(|node| *node == config.node)
        .or_else(|| brokers.first().map(|broker| broker.node));
    let response = MetadataResponse {
        throttle_time_ms: 0,
        brokers,
        cluster_id: Some(config.cluster_id.clone()),
        controller: controller.unwrap_or(NodeId::NONE),
        topics,
        error: ErrorCode::None,
    };
    (response, wanted.into_iter().map(String::from).collect())
}

fn one<'a>(
    topic: &'a TopicRef,
    create: bool,
    listener: &str,
    image: &MetadataImage,
    told: &mut BTreeSet<TopicId>,
    wanted: &mut BTreeSet<&'a str>,
) -> Option<MetadataTopic> {
    let failed = |error, name: Option<String>| {
        let id = topic.id;
        Some(MetadataTopic { error, name, id, is_internal: false, partitions: Vec::new() })
    };
    if topic.id != Uuid::ZERO {
        return match image.topics.get(&topic.id) {
            Some(found) => {
                told.insert(topic.id).then(|| known(&found.name, topic.id, listener, image))
            }
            None => failed(ErrorCode::UnknownTopicId, None),
        };
    }
    if let Some(id) = image.topic_ids.get(&topic.name) {
        return told.insert(*id).then(|| known(&topic.name, *id, listener, image));
    }
    let name = Some(topic.name.clone());
    if crate::controller::validate_topic_name(&topic.name).is_err() {
        return failed(ErrorCode::InvalidTopic, name);
    }
    // The rest is left for another request: clients ask until their topics exist.
    if create && wanted.len() < MOST_CREATED {
        wanted.insert(&topic.name);
    }
    failed(ErrorCode::UnknownTopicOrPartition, name)
}

fn known(name: &str, id: TopicId, listener: &str, image: &MetadataImage) -> MetadataTopic {
    let is_offline = |node: &NodeId| image.brokers.get(node).is_none_or(|broker| broker.fenced);
    let has_listener =
        |node| image.brokers.get(&node).is_some_and(|broker| broker.endpoint(listener).is_some());
    let partitions = image.topics.get(&id).into_iter().flat_map(|topic| &topic.partitions);
    let partitions = partitions.map(|(index, registration)| MetadataPartition {
        error: match registration.leader {
            Some(leader) if is_offline(&leader) => ErrorCode::LeaderNotAvailable,
            Some(leader) if has_listener(leader) => ErrorCode::None,
            Some(_) => ErrorCode::ListenerNotFound,
            None => ErrorCode::LeaderNotAvailable,
        },
        partition: *index,
        leader: registration.leader.unwrap_or(NodeId::NONE),
        leader_epoch: registration.leader_epoch,
        replicas: registration.replicas.clone(),
        isr: registration.isr.clone(),
        offline_replicas: registration.replicas.iter().copied().filter(is_offline).collect(),
    });
    MetadataTopic {
        error: ErrorCode::None,
        name: Some(name.into()),
        id,
        is_internal: false,
        partitions: partitions.collect(),
    }
}
