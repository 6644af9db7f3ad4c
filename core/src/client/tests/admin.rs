//! Topic operations and the certainty of their outcomes.

use std::vec;

use super::*;
use crate::msg::{CreatableTopicResult, CreateTopicsResponse, DeleteTopicsResponse};

fn topic() -> CreatableTopic {
    CreatableTopic {
        name: TOPIC.into(),
        num_partitions: 1,
        replication_factor: 3,
        assignments: vec![],
        configs: vec![],
    }
}

fn created(error: ErrorCode) -> Result<Response, RpcError> {
    let topics = vec![CreatableTopicResult {
        name: TOPIC.into(),
        id: if error.is_ok() { TOPIC_ID } else { Uuid::ZERO },
        error,
        ..CreatableTopicResult::default()
    }];
    Ok(Response::CreateTopics(CreateTopicsResponse { throttle_time_ms: 0, topics }))
}

/// The peer that the create or delete request went to.
fn asked(bench: &mut Bench) -> Option<i32> {
    bench.requests().into_iter().find_map(|(peer, _, request)| {
        matches!(request, Request::CreateTopics(_) | Request::DeleteTopics(_)).then_some(peer)
    })
}

/// The only fact, which is about a created topic.
fn fact(bench: &mut Bench) -> (ErrorCode, Certainty) {
    let facts = bench.take_facts();
    let [ClientFact::TopicCreated { error, certainty, .. }] = facts[..] else {
        panic!("{facts:?}")
    };
    (error, certainty)
}

#[test]
fn a_topic_is_created() {
    let mut bench = Bench::new(config());
    let id = bench.client.create_topic(topic(), &mut bench.env);
    assert_eq!(asked(&mut bench), Some(1));
    bench.outcome(1, Channel::Admin, created(ErrorCode::None));
    let expected = ClientFact::TopicCreated {
        id,
        name: TOPIC.into(),
        topic: TOPIC_ID,
        error: ErrorCode::None,
        certainty: Certainty::Done,
    };
    assert_eq!(bench.take_facts(), [expected]);
}

#[test]
fn retriable_errors_are_tried_again_until_the_timeout() {
    let mut bench = Bench::new(config());
    bench.client.create_topic(topic(), &mut bench.env);
    let mut attempts = 0;
    while bench.facts.is_empty() {
        if let Some(peer) = asked(&mut bench) {
            attempts += 1;
            assert!(bench.env.now <= Monotonic(61_000_000_000));
            if attempts == 1 {
                bench.outcome(peer, Channel::Admin, created(ErrorCode::NotController));
            } else {
                bench.outcome(peer, Channel::Admin, Err(RpcError::Disconnected));
            }
            // Metadata is requested as well, since the controller may have changed.
            while bench.client.channel.sent.values().any(|sent| !sent.is_empty()) {
                let peers = bench.client.channel.sent.clone();
                let (peer, _) = peers.iter().find(|(_, sent)| !sent.is_empty()).unwrap();
                bench.outcome(peer.0, Channel::Admin, Err(RpcError::Disconnected));
            }
        }
        bench.pass(Duration::from_millis(100));
    }
    assert!(attempts > 20, "{attempts}");
    assert_eq!(fact(&mut bench), (ErrorCode::NetworkException, Certainty::Unknown));
}

#[test]
fn exists_already_is_a_failure_unless_we_may_have_done_it() {
    for (first, expected) in
        [(None, Certainty::Failed), (Some(RpcError::TimedOut), Certainty::Unknown)]
    {
        let mut bench = Bench::new(config());
        bench.client.create_topic(topic(), &mut bench.env);
        assert_eq!(asked(&mut bench), Some(1));
        if let Some(error) = first {
            bench.outcome(1, Channel::Admin, Err(error));
            // The metadata refresh was sent first.
            let answer = Response::Metadata(metadata(TOPIC_ID, &[]));
            bench.outcome(1, Channel::Admin, Ok(answer));
            bench.pass(Duration::from_millis(150));
            assert_eq!(asked(&mut bench), Some(3), "the controller that metadata name");
            bench.outcome(3, Channel::Admin, created(ErrorCode::TopicAlreadyExists));
        } else {
            bench.outcome(1, Channel::Admin, created(ErrorCode::TopicAlreadyExists));
        }
        assert_eq!(fact(&mut bench), (ErrorCode::TopicAlreadyExists, expected));
    }
}

#[test]
fn under_way_at_the_timeout_stays_open() {
    let mut bench = Bench::new(config());
    bench.client.create_topic(topic(), &mut bench.env);
    bench.pass(Duration::from_secs(60));
    assert_eq!(fact(&mut bench), (ErrorCode::RequestTimedOut, Certainty::Unknown));
    bench.outcome(1, Channel::Admin, created(ErrorCode::None));
    assert!(bench.take_facts().is_empty(), "too late");
}

#[test]
fn deleting_what_is_not_there_fails_at_once() {
    let mut bench = Bench::new(config());
    let id = bench.client.delete_topic(TopicRef::name(TOPIC), &mut bench.env);
    let error = ErrorCode::UnknownTopicOrPartition;
    let topics = vec![(TopicRef::name(TOPIC), error, None)];
    let answer = Response::DeleteTopics(DeleteTopicsResponse { throttle_time_ms: 0, topics });
    bench.outcome(1, Channel::Admin, Ok(answer));
    let topic = TopicRef::name(TOPIC);
    let certainty = Certainty::Failed;
    assert_eq!(bench.take_facts(), [ClientFact::TopicDeleted { id, topic, error, certainty }]);
}
