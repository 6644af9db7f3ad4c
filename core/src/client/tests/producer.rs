//! Batching, retries, certainty.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::batch::Batch;
use crate::msg::{
    LeaderIdAndEpoch, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse,
};

fn answer(partitions: Vec<ProducePartitionResponse>) -> Result<Response, RpcError> {
    let topic = TopicRef { name: TOPIC.into(), id: TOPIC_ID };
    Ok(Response::Produce(ProduceResponse {
        topics: vec![ProduceTopicResponse { topic, partitions }],
        ..ProduceResponse::default()
    }))
}

fn ok(partition: i32, base: i64) -> ProducePartitionResponse {
    ProducePartitionResponse {
        base_offset: Offset(base),
        ..ProducePartitionResponse::failed(partition, ErrorCode::None)
    }
}

fn no(error: ErrorCode) -> Result<Response, RpcError> {
    answer(vec![ProducePartitionResponse::failed(0, error)])
}

/// The produce requests since the last call: peer, and values by partition.
fn produced(bench: &mut Bench) -> Vec<(i32, Vec<(i32, Vec<u8>)>)> {
    let mut found = vec![];
    for (peer, _, request) in bench.requests() {
        let Request::Produce(request) = request else { continue };
        assert_eq!(request.topics.len(), 1);
        let partitions = request.topics[0].partitions.iter().map(|partition| {
            let batch = Batch::parse(partition.records.as_ref().unwrap()).unwrap();
            assert!(batch.verify_crc());
            let values = batch.records().unwrap();
            (partition.partition, values.iter().map(|r| r.value.as_ref().unwrap()[0]).collect())
        });
        found.push((peer, partitions.collect()));
    }
    found
}

/// With metadata: partition 0 led by 2, partition 1 led by 3, partition 2 led by 2; epochs 5.
fn bench(change: impl FnOnce(&mut ProducerConfig)) -> Bench {
    let mut config = config();
    change(&mut config.producer);
    let mut bench = Bench::new(config);
    bench.client.cluster.want(TOPIC);
    bench.client.flush(&mut bench.env);
    bench.metadata(1, &[(0, 2, 5), (1, 3, 5), (2, 2, 5)]);
    bench.requests();
    bench
}

fn send(bench: &mut Bench, partition: i32, value: u8) -> RecordId {
    let value = Some(Bytes::copy_from_slice(&[value]));
    bench.client.send(TOPIC, partition, None, value, WallTime(9), &mut bench.env)
}

fn acked(id: RecordId, partition: i32, offset: Option<i64>) -> ClientFact {
    ClientFact::Acked { id, partition: tp(partition), offset: offset.map(Offset) }
}

fn failed(id: RecordId, error: ErrorCode, certainty: Certainty) -> ClientFact {
    ClientFact::Failed { id, partition: tp(0), error, certainty }
}

#[test]
fn lingering_records_share_batches_and_requests_by_leader() {
    let mut bench = bench(|config| config.linger = Duration::from_millis(5));
    let ids: Vec<RecordId> =
        [(0, 1), (1, 2), (0, 3), (2, 4)].map(|(p, v)| send(&mut bench, p, v)).to_vec();
    assert!(bench.requests().is_empty(), "they linger");
    bench.pass(Duration::from_millis(5));
    assert_eq!(
        produced(&mut bench),
        [(2, vec![(0, vec![1, 3]), (2, vec![4])]), (3, vec![(1, vec![2])])]
    );
    bench.outcome(2, Channel::Produce, answer(vec![ok(2, 40), ok(0, 10)]));
    assert_eq!(
        bench.take_facts(),
        [acked(ids[0], 0, Some(10)), acked(ids[2], 0, Some(11)), acked(ids[3], 2, Some(40))]
    );
    assert_eq!(bench.client.producer().unfinished(), 1);
}

#[test]
fn a_full_batch_does_not_linger_and_flush_ends_lingering() {
    let mut bench = bench(|config| {
        config.linger = Duration::from_secs(5);
        config.batch_max_bytes = 50;
    });
    for value in 0..3 {
        send(&mut bench, 0, value);
    }
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![0, 1])])], "the third does not fit");
    bench.client.flush(&mut bench.env);
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![2])])]);
}

#[test]
fn nobody_answers_acks_0() {
    let mut bench = bench(|config| config.acks = 0);
    let id = send(&mut bench, 0, 1);
    bench.outcome(2, Channel::Produce, Ok(Response::Produce(ProduceResponse::default())));
    assert_eq!(bench.take_facts(), [acked(id, 0, None)]);
}

#[test]
fn one_in_flight_keeps_order_through_retries() {
    let mut bench = bench(|config| config.max_in_flight = 1);
    for value in 1..4 {
        send(&mut bench, 0, value);
    }
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![1])])]);
    bench.outcome(2, Channel::Produce, Err(RpcError::Disconnected));
    assert!(produced(&mut bench).is_empty(), "the second waits for the first");
    bench.pass(Duration::from_secs(1));
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![1])])]);
    bench.outcome(2, Channel::Produce, answer(vec![ok(0, 0)]));
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![2, 3])])]);
}

#[test]
fn one_in_flight_holds_across_a_change_of_leader() {
    let mut bench = bench(|config| config.max_in_flight = 1);
    send(&mut bench, 0, 1);
    send(&mut bench, 0, 2);
    produced(&mut bench);
    let hint = Some(LeaderIdAndEpoch { leader: NodeId(3), epoch: LeaderEpoch(6) });
    bench.client.cluster.learn_leader(&tp(0), hint);
    bench.client.flush(&mut bench.env);
    assert!(produced(&mut bench).is_empty(), "the old leader has not answered yet");
}

#[test]
fn two_in_flight_may_swap_on_retry_as_without_idempotence() {
    let mut bench = bench(|config| config.max_in_flight = 2);
    let ids: Vec<RecordId> = (1..4).map(|value| send(&mut bench, 0, value)).collect();
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![1])]), (2, vec![(0, vec![2])])]);
    bench.outcome(2, Channel::Produce, no(ErrorCode::NotEnoughReplicas));
    bench.outcome(2, Channel::Produce, answer(vec![ok(0, 7)]));
    assert_eq!(bench.take_facts(), [acked(ids[1], 0, Some(7))]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        produced(&mut bench),
        [(2, vec![(0, vec![1])]), (2, vec![(0, vec![3])])],
        "the retry goes before what was not sent yet"
    );
}

#[test]
fn a_newer_leader_in_the_answer_is_asked_at_once() {
    let mut bench = bench(|_| {});
    send(&mut bench, 0, 1);
    produced(&mut bench);
    let mut denied = ProducePartitionResponse::failed(0, ErrorCode::NotLeaderOrFollower);
    denied.current_leader = Some(LeaderIdAndEpoch { leader: NodeId(3), epoch: LeaderEpoch(6) });
    bench.outcome(2, Channel::Produce, answer(vec![denied.clone()]));
    assert_eq!(produced(&mut bench), [(3, vec![(0, vec![1])])]);
    // An older epoch is not news, so the retry waits.
    denied.current_leader = Some(LeaderIdAndEpoch { leader: NodeId(2), epoch: LeaderEpoch(5) });
    bench.outcome(3, Channel::Produce, answer(vec![denied]));
    assert!(produced(&mut bench).is_empty());
}

#[test]
fn what_is_refused_for_good_has_certainly_failed() {
    let mut bench = bench(|_| {});
    let id = send(&mut bench, 0, 1);
    bench.outcome(2, Channel::Produce, no(ErrorCode::InvalidRecord));
    assert_eq!(bench.take_facts(), [failed(id, ErrorCode::InvalidRecord, Certainty::Failed)]);
    assert_eq!(bench.client.producer().unfinished(), 0);
}

#[test]
fn one_attempt_that_may_have_arrived_leaves_it_open() {
    for unclear in [
        Err(RpcError::TimedOut),
        Err(RpcError::Disconnected),
        no(ErrorCode::NotEnoughReplicasAfterAppend),
        no(ErrorCode::NotLeaderOrFollower),
        answer(vec![]),
    ] {
        let mut bench = bench(|_| {});
        let id = send(&mut bench, 0, 1);
        bench.outcome(2, Channel::Produce, unclear.clone());
        bench.pass(Duration::from_secs(1));
        if bench.facts.is_empty() {
            bench.outcome(2, Channel::Produce, no(ErrorCode::InvalidRecord));
        }
        let facts = bench.take_facts();
        assert!(
            matches!(
                facts[..],
                [ClientFact::Failed { id: of, certainty: Certainty::Unknown, .. }] if of == id
            ),
            "{unclear:?}: {facts:?}"
        );
    }
}

#[test]
fn refused_until_the_delivery_timeout_has_certainly_failed() {
    let mut bench = bench(|config| config.delivery_timeout = Duration::from_secs(3));
    let id = send(&mut bench, 0, 1);
    for _ in 0..100 {
        if !produced(&mut bench).is_empty() {
            bench.outcome(2, Channel::Produce, no(ErrorCode::NotEnoughReplicas));
        }
        bench.pass(Duration::from_millis(40));
    }
    assert_eq!(bench.take_facts(), [failed(id, ErrorCode::NotEnoughReplicas, Certainty::Failed)]);
}

#[test]
fn never_sent_has_certainly_failed() {
    let mut bench = Bench::new(config());
    let id = send(&mut bench, 0, 1);
    bench.pass(Duration::from_secs(121));
    assert_eq!(bench.take_facts(), [failed(id, ErrorCode::RequestTimedOut, Certainty::Failed)]);
}

#[test]
fn under_way_at_the_delivery_timeout_stays_open_and_a_late_answer_is_ignored() {
    let mut bench = bench(|config| {
        config.delivery_timeout = Duration::from_secs(3);
        config.max_in_flight = 1;
    });
    let id = send(&mut bench, 0, 1);
    produced(&mut bench);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.take_facts(), [failed(id, ErrorCode::RequestTimedOut, Certainty::Unknown)]);
    send(&mut bench, 0, 2);
    assert!(produced(&mut bench).is_empty(), "the request is still under way");
    bench.outcome(2, Channel::Produce, answer(vec![ok(0, 0)]));
    assert!(bench.take_facts().is_empty(), "nobody waits for it any more");
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![2])])]);
}

#[test]
fn a_batch_too_large_for_the_topic_is_split() {
    let mut bench = bench(|config| config.linger = Duration::from_millis(1));
    let ids: Vec<RecordId> = (1..4).map(|value| send(&mut bench, 0, value)).collect();
    bench.pass(Duration::from_millis(1));
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![1, 2, 3])])]);
    bench.outcome(2, Channel::Produce, no(ErrorCode::MessageTooLarge));
    assert_eq!(produced(&mut bench), [(2, vec![(0, vec![1])]), (2, vec![(0, vec![2, 3])])]);
    bench.outcome(2, Channel::Produce, no(ErrorCode::MessageTooLarge));
    assert_eq!(
        bench.take_facts(),
        [failed(ids[0], ErrorCode::MessageTooLarge, Certainty::Failed)],
        "one record cannot be split"
    );
}

#[test]
fn answers_by_topic_id_are_understood() {
    let mut bench = bench(|_| {});
    let id = send(&mut bench, 0, 1);
    let topics =
        vec![ProduceTopicResponse { topic: TopicRef::id(TOPIC_ID), partitions: vec![ok(0, 3)] }];
    let response = ProduceResponse { topics, ..ProduceResponse::default() };
    bench.outcome(2, Channel::Produce, Ok(Response::Produce(response)));
    assert_eq!(bench.take_facts(), [acked(id, 0, Some(3))]);
}

#[test]
fn a_retriable_error_refreshes_metadata() {
    let mut bench = bench(|_| {});
    send(&mut bench, 0, 1);
    bench.outcome(2, Channel::Produce, no(ErrorCode::NotLeaderOrFollower));
    bench.pass(Duration::from_secs(1));
    assert!(bench.requests().iter().any(|r| matches!(r.2, Request::Metadata(_))));
}
