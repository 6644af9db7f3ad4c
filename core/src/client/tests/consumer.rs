//! Positions, truncation, resets, ends.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::batch::{Batch, BatchBuilder};
use crate::client::consumer::Phase;
use crate::msg::{
    EARLIEST_TIMESTAMP, EpochEndOffsetResponse, FetchPartitionResponse, FetchResponse,
    FetchTopicResponse, LATEST_TIMESTAMP, LeaderIdAndEpoch, ListOffsetsPartitionResponse,
    ListOffsetsResponse, ListOffsetsTopicResponse, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResponse,
};
use crate::types::{EpochEndOffset, WallTime};

fn bench(reset: ResetPolicy) -> Bench {
    let mut config = config();
    config.consumer.reset = reset;
    let mut bench = Bench::new(config);
    bench.client.cluster.want(TOPIC);
    bench.client.flush(&mut bench.env);
    bench.metadata(1, &[(0, 2, 5), (1, 2, 5)]);
    bench.requests();
    bench
}

/// Partition 0 is assigned at this offset, and its first fetch is in flight.
fn reading(reset: ResetPolicy, at: i64) -> Bench {
    let mut bench = bench(reset);
    bench.client.assign(vec![(tp(0), Start::At(Offset(at)))], &mut bench.env);
    bench
}

fn batch(base: i64, epoch: i32, count: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    for i in 0..count {
        builder.push(100 + i, None, Some(&[(base + i) as u8]), &[]);
    }
    builder.build(Offset(base), LeaderEpoch(epoch))
}

fn fetched(partition: FetchPartitionResponse) -> Result<Response, RpcError> {
    let topics = vec![FetchTopicResponse {
        topic: TopicRef { name: TOPIC.into(), id: TOPIC_ID },
        partitions: vec![partition],
    }];
    Ok(Response::Fetch(FetchResponse { topics, ..FetchResponse::default() }))
}

fn data(records: Vec<Batch>) -> Result<Response, RpcError> {
    fetched(FetchPartitionResponse {
        high_watermark: Offset(100),
        records,
        ..FetchPartitionResponse::failed(0, ErrorCode::None)
    })
}

fn refused(error: ErrorCode) -> Result<Response, RpcError> {
    fetched(FetchPartitionResponse::failed(0, error))
}

fn listed(error: ErrorCode, offset: i64, epoch: i32) -> Result<Response, RpcError> {
    let partitions = vec![ListOffsetsPartitionResponse {
        partition: 0,
        error,
        timestamp: -1,
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(epoch),
    }];
    let topics = vec![ListOffsetsTopicResponse { name: TOPIC.into(), partitions }];
    Ok(Response::ListOffsets(ListOffsetsResponse { throttle_time_ms: 0, topics }))
}

fn epoch_end(error: ErrorCode, epoch: i32, end: i64) -> Result<Response, RpcError> {
    let partitions = vec![EpochEndOffsetResponse {
        error,
        partition: 0,
        leader_epoch: LeaderEpoch(epoch),
        end_offset: Offset(end),
    }];
    let topics = vec![OffsetForLeaderTopicResponse { name: TOPIC.into(), partitions }];
    Ok(Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics }))
}

/// The requests on the fetch channel, one line each.
fn asked(bench: &mut Bench) -> Vec<std::string::String> {
    let mut lines = vec![];
    for (peer, channel, request) in bench.requests() {
        if channel != Channel::Fetch {
            continue;
        }
        match request {
            Request::Fetch(fetch) => {
                for p in &fetch.topics[0].partitions {
                    lines.push(std::format!(
                        "{peer} fetch {} at {} in {} after {}",
                        p.partition,
                        p.fetch_offset,
                        p.current_leader_epoch,
                        p.last_fetched_epoch
                    ));
                }
            }
            Request::ListOffsets(list) => {
                for p in &list.topics[0].partitions {
                    let what = match p.timestamp {
                        LATEST_TIMESTAMP => "end",
                        EARLIEST_TIMESTAMP => "start",
                        other => panic!("{other}"),
                    };
                    lines.push(std::format!(
                        "{peer} {what} of {} in {}",
                        p.partition,
                        p.current_leader_epoch
                    ));
                }
            }
            Request::OffsetForLeaderEpoch(ends) => {
                for p in &ends.topics[0].partitions {
                    lines.push(std::format!(
                        "{peer} end of epoch {} in {}",
                        p.leader_epoch,
                        p.current_leader_epoch
                    ));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    lines
}

fn offsets(facts: &[ClientFact]) -> Vec<(i64, i32)> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            ClientFact::Records { records, .. } => Some(records),
            _ => None,
        })
        .flatten()
        .map(|record| (record.offset.0, record.leader_epoch.0))
        .collect()
}

/// A leader change that the client learns of.
fn leader(bench: &mut Bench, node: i32, epoch: i32) {
    let hint = LeaderIdAndEpoch { leader: NodeId(node), epoch: LeaderEpoch(epoch) };
    assert!(bench.client.cluster.learn_leader(&tp(0), Some(hint)));
    bench.client.flush(&mut bench.env);
}

#[test]
fn starts_are_looked_up_and_reading_goes_on_from_there() {
    for (start, line) in
        [(Start::Earliest, "2 start of 0 in 5"), (Start::Latest, "2 end of 0 in 5")]
    {
        let mut bench = bench(ResetPolicy::Latest);
        bench.client.assign(vec![(tp(0), start)], &mut bench.env);
        assert_eq!(asked(&mut bench), [line]);
        assert_eq!(bench.client.consumer().position(&tp(0)), None);
        bench.outcome(2, Channel::Fetch, listed(ErrorCode::None, 7, 4));
        let position = ClientFact::Position { partition: tp(0), offset: Offset(7) };
        assert_eq!(bench.take_facts(), [position]);
        assert_eq!(asked(&mut bench), ["2 fetch 0 at 7 in 5 after 4"]);
    }
}

#[test]
fn records_below_the_position_are_dropped_and_control_batches_are_passed() {
    let mut bench = reading(ResetPolicy::Latest, 11);
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 11 in 5 after -1"]);
    let mut marker = BatchBuilder::new();
    marker.control().push(0, Some(&[0, 0, 0, 1]), Some(b"x"), &[]);
    let marker = marker.build(Offset(13), LeaderEpoch(5));
    bench.outcome(2, Channel::Fetch, data(vec![batch(9, 4, 4), marker, batch(14, 5, 1)]));
    let facts = bench.take_facts();
    assert_eq!(offsets(&facts), [(11, 4), (12, 4), (14, 5)]);
    assert_eq!(bench.client.consumer().position(&tp(0)), Some(Offset(15)));
    assert_eq!(bench.client.consumer().high_watermark(&tp(0)), Some(Offset(100)));
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 15 in 5 after 5"]);
}

#[test]
fn a_new_leader_is_asked_where_our_epoch_ends() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 10)]));
    bench.take_facts();
    asked(&mut bench);
    leader(&mut bench, 3, 6);
    assert_eq!(asked(&mut bench), ["3 end of epoch 5 in 6"]);
    bench.outcome(3, Channel::Fetch, epoch_end(ErrorCode::None, 5, 10));
    assert!(bench.take_facts().is_empty(), "all that was read is there");
    assert_eq!(asked(&mut bench), ["3 fetch 0 at 10 in 6 after 5"]);
}

#[test]
fn a_log_cut_below_the_position_is_reported_and_read_again_from_the_cut() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 10)]));
    bench.take_facts();
    leader(&mut bench, 3, 6);
    asked(&mut bench);
    bench.outcome(3, Channel::Fetch, epoch_end(ErrorCode::None, 5, 8));
    let cut = ClientFact::Truncated {
        partition: tp(0),
        from: Offset(10),
        to: Offset(8),
        epoch: LeaderEpoch(5),
    };
    assert_eq!(bench.take_facts(), [cut]);
    assert_eq!(asked(&mut bench), ["3 fetch 0 at 8 in 6 after 5"]);
}

#[test]
fn a_diverging_epoch_in_a_fetch_is_a_truncation() {
    for (reset, goes_on) in [(ResetPolicy::Earliest, true), (ResetPolicy::None, false)] {
        let mut bench = reading(reset, 0);
        bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 10)]));
        bench.take_facts();
        asked(&mut bench);
        let mut answer = FetchPartitionResponse::failed(0, ErrorCode::None);
        answer.diverging_epoch =
            Some(EpochEndOffset { epoch: LeaderEpoch(4), end_offset: Offset(6) });
        bench.outcome(2, Channel::Fetch, fetched(answer));
        let facts = bench.take_facts();
        assert!(matches!(facts[..], [ClientFact::Truncated { to: Offset(6), .. }]), "{facts:?}");
        if goes_on {
            assert_eq!(asked(&mut bench), ["2 fetch 0 at 6 in 5 after 4"]);
        } else {
            assert!(asked(&mut bench).is_empty());
            let phase = bench.client.consumer().phase(&tp(0));
            assert_eq!(phase, Some(Phase::Stopped(ErrorCode::OffsetOutOfRange)));
        }
    }
}

#[test]
fn out_of_range_follows_the_reset_policy() {
    for (reset, line) in
        [(ResetPolicy::Earliest, "2 start of 0 in 5"), (ResetPolicy::Latest, "2 end of 0 in 5")]
    {
        let mut bench = reading(reset, 50);
        asked(&mut bench);
        bench.outcome(2, Channel::Fetch, refused(ErrorCode::OffsetOutOfRange));
        let fact = ClientFact::Reset { partition: tp(0), from: Offset(50), to: reset };
        assert_eq!(bench.take_facts(), [fact]);
        assert_eq!(asked(&mut bench), [line]);
    }
    let mut bench = reading(ResetPolicy::None, 50);
    asked(&mut bench);
    bench.outcome(2, Channel::Fetch, refused(ErrorCode::OffsetOutOfRange));
    let error = ErrorCode::OffsetOutOfRange;
    assert_eq!(bench.take_facts(), [ClientFact::FetchError { partition: tp(0), error }]);
    bench.pass(Duration::from_secs(60));
    assert!(asked(&mut bench).is_empty(), "stopped");
    bench.client.seek(&tp(0), Start::At(Offset(3)), &mut bench.env);
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 3 in 5 after -1"]);
}

#[test]
fn retriable_errors_wait_and_refresh_and_a_newer_leader_does_not_wait() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    asked(&mut bench);
    bench.outcome(2, Channel::Fetch, refused(ErrorCode::NotLeaderOrFollower));
    assert!(asked(&mut bench).is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 0 in 5 after -1"]);
    let mut denied = FetchPartitionResponse::failed(0, ErrorCode::FencedLeaderEpoch);
    denied.current_leader = Some(LeaderIdAndEpoch { leader: NodeId(3), epoch: LeaderEpoch(6) });
    bench.outcome(2, Channel::Fetch, fetched(denied));
    assert_eq!(asked(&mut bench), ["3 fetch 0 at 0 in 6 after -1"]);
}

#[test]
fn an_old_leaders_late_answer_is_dropped() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    asked(&mut bench);
    leader(&mut bench, 3, 6);
    assert_eq!(asked(&mut bench), ["3 fetch 0 at 0 in 6 after -1"], "nobody waits for the old one");
    bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 3)]));
    assert!(bench.take_facts().is_empty());
    bench.outcome(3, Channel::Fetch, data(vec![batch(0, 6, 1)]));
    assert_eq!(offsets(&bench.take_facts()), [(0, 6)]);
}

#[test]
fn answers_from_before_a_seek_are_dropped() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    bench.client.seek(&tp(0), Start::At(Offset(40)), &mut bench.env);
    bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 3)]));
    assert!(bench.take_facts().is_empty());
    assert_eq!(bench.client.consumer().position(&tp(0)), Some(Offset(40)));
}

#[test]
fn damaged_bytes_are_not_handed_out() {
    let good = batch(0, 5, 2);
    let mut bytes = batch(2, 5, 2).to_bytes().to_vec();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let bad = Batch::parse(&Bytes::from(bytes)).unwrap();
    let mut bench = reading(ResetPolicy::Latest, 0);
    asked(&mut bench);
    bench.outcome(2, Channel::Fetch, data(vec![good, bad]));
    let facts = bench.take_facts();
    assert_eq!(offsets(&facts), [(0, 5), (1, 5)]);
    let error = ErrorCode::CorruptMessage;
    assert_eq!(facts[1], ClientFact::FetchError { partition: tp(0), error });
    assert_eq!(bench.client.consumer().position(&tp(0)), Some(Offset(2)));
    bench.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 2 in 5 after 5"]);
}

#[test]
fn fetches_take_turns_in_their_order() {
    let mut bench = bench(ResetPolicy::Latest);
    let at = Start::At(Offset(0));
    bench.client.assign(vec![(tp(0), at), (tp(1), at)], &mut bench.env);
    assert!(asked(&mut bench)[0].starts_with("2 fetch 0"));
    let mut answers = [0, 1].map(|p| FetchPartitionResponse::failed(p, ErrorCode::None)).to_vec();
    let topics = |partitions| {
        let topic = TopicRef::id(TOPIC_ID);
        let topics = vec![FetchTopicResponse { topic, partitions }];
        Ok(Response::Fetch(FetchResponse { topics, ..FetchResponse::default() }))
    };
    bench.outcome(2, Channel::Fetch, topics(answers.clone()));
    assert!(asked(&mut bench)[0].starts_with("2 fetch 1"));
    answers.reverse();
    bench.outcome(2, Channel::Fetch, topics(answers));
    assert!(asked(&mut bench)[0].starts_with("2 fetch 0"));
}

#[test]
fn a_pause_ends_fetching_until_it_is_over() {
    let mut bench = reading(ResetPolicy::Latest, 0);
    asked(&mut bench);
    bench.client.pause(true, &mut bench.env);
    bench.outcome(2, Channel::Fetch, data(vec![batch(0, 5, 1)]));
    assert!(asked(&mut bench).is_empty());
    bench.client.pause(false, &mut bench.env);
    assert_eq!(asked(&mut bench), ["2 fetch 0 at 1 in 5 after 5"]);
}

#[test]
fn a_leader_that_does_not_know_the_end_yet_is_asked_again() {
    let mut bench = bench(ResetPolicy::Latest);
    let query = bench.client.end_offset(tp(0), &mut bench.env);
    assert_eq!(asked(&mut bench), ["2 end of 0 in 5"]);
    bench.outcome(2, Channel::Fetch, listed(ErrorCode::OffsetNotAvailable, -1, -1));
    assert!(asked(&mut bench).is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut bench), ["2 end of 0 in 5"]);
    bench.outcome(2, Channel::Fetch, listed(ErrorCode::None, 12, 5));
    let expected = ClientFact::EndOffset {
        query,
        partition: tp(0),
        offset: Ok(Offset(12)),
        leader_epoch: LeaderEpoch(5),
    };
    assert_eq!(bench.take_facts(), [expected]);
}

#[test]
fn an_answer_to_a_replaced_query_is_dropped() {
    let mut bench = bench(ResetPolicy::Latest);
    bench.client.end_offset(tp(0), &mut bench.env);
    let second = bench.client.end_offset(tp(0), &mut bench.env);
    bench.outcome(2, Channel::Fetch, listed(ErrorCode::None, 12, 5));
    assert!(bench.take_facts().is_empty());
    bench.outcome(2, Channel::Fetch, listed(ErrorCode::None, 13, 5));
    let facts = bench.take_facts();
    assert!(
        matches!(facts[..], [ClientFact::EndOffset { query, offset: Ok(Offset(13)), .. }] if query == second)
    );
}

#[test]
fn a_query_for_a_time_says_which_record_or_none() {
    let mut bench = bench(ResetPolicy::Latest);
    let query = bench.client.offset_at(tp(0), WallTime(77), &mut bench.env);
    let mut answer = listed(ErrorCode::None, 12, 3);
    if let Ok(Response::ListOffsets(response)) = &mut answer {
        response.topics[0].partitions[0].timestamp = 80;
    }
    bench.outcome(2, Channel::Fetch, answer);
    let found = |query, found, epoch| ClientFact::OffsetAt {
        query,
        partition: tp(0),
        asked: WallTime(77),
        found: Ok(found),
        leader_epoch: LeaderEpoch(epoch),
    };
    let expected = found(query, Some((Offset(12), WallTime(80))), 3);
    assert_eq!(bench.take_facts(), [expected]);
    let query = bench.client.offset_at(tp(0), WallTime(77), &mut bench.env);
    bench.outcome(2, Channel::Fetch, listed(ErrorCode::None, -1, -1));
    assert_eq!(bench.take_facts(), [found(query, None, -1)]);
}
