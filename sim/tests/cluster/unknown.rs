//! A node that cannot know: because its metadata may be stale, or its directory was lost.

use wavetank_core::broker::Broker;
use wavetank_core::config::NodeConfig;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{FetchRequest, MetadataRequest, Request, Response};
use wavetank_core::types::{NodeId, TopicRef, Uuid};
use wavetank_sim::world::{Exit, HostConfig, World, WorldConfig};

use crate::tank::{Node, SECOND, Tank, fetch};

/// A node with stale metadata must not say that a topic it does not know does not exist.
#[test]
fn a_node_that_may_be_behind_denies_nothing() {
    let mut tank = Tank::new(17, 3);
    tank.run(10);
    let ask_metadata = |tank: &mut Tank, topics: Option<Vec<TopicRef>>| {
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: false,
        };
        tank.try_ask(NodeId(1), Request::Metadata(request))
    };
    let named = |name: &str| Some(vec![TopicRef::name(name)]);
    // The node is down while the topic is created, and comes back alone.
    tank.world.crash(NodeId(1));
    tank.run(5);
    tank.create_topic("t");
    tank.world.crash(NodeId(2));
    tank.world.crash(NodeId(3));
    tank.start(NodeId(1));
    tank.run(5);
    assert!(ask_metadata(&mut tank, named("t")).is_none(), "it is not said to be none");
    assert!(ask_metadata(&mut tank, None).is_none(), "nor is there a list without it");
    assert!(ask_metadata(&mut tank, Some(vec![])).is_none(), "nor are there no brokers");
    for topic in [TopicRef::name("t"), TopicRef::id(Uuid(77))] {
        let mut request = FetchRequest { max_wait_ms: 100, ..fetch(1 << 20) };
        request.topics[0].topic = topic;
        let Some(Response::Fetch(answer)) = tank.try_ask(NodeId(1), Request::Fetch(request)) else {
            panic!("not an answer to Fetch")
        };
        let error = answer.topics[0].partitions[0].error;
        assert_eq!(error, ErrorCode::NotLeaderOrFollower, "a client asks elsewhere");
    }
    // Together with the others, it knows.
    tank.start(NodeId(2));
    tank.start(NodeId(3));
    tank.run(10);
    let Some(Response::Metadata(answer)) = ask_metadata(&mut tank, named("t")) else {
        panic!("not an answer to Metadata")
    };
    assert_eq!(answer.topics[0].error, ErrorCode::None);
    let Some(Response::Metadata(answer)) = ask_metadata(&mut tank, named("none\u{0}")) else {
        panic!("not an answer to Metadata")
    };
    assert_eq!(answer.topics[0].error, ErrorCode::InvalidTopic);
}

/// A lost directory is not formatted again as if it had always been empty.
#[test]
fn an_empty_directory_is_formatted_only_where_that_is_allowed() {
    let mut world = World::new(1, WorldConfig::default());
    world.add_host(NodeId(1), HostConfig::default());
    let mut config = NodeConfig::new(NodeId(1), vec![NodeId(1)]);
    config.format = false;
    world.start(NodeId(1), Node::Broker(Box::new(Broker::new(config))));
    let mut exits = Vec::new();
    while let Some(step) = world.next_before(SECOND) {
        exits.extend(step.exit);
    }
    assert!(
        matches!(&exits[..], [Exit::Failed(why)] if why.contains("not formatted")),
        "{exits:?}"
    );
}
