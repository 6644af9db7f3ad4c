//! Several requests of one connection under way, as a client of the raw protocol sees it: answers
//! in order, and what is behind a request that closes the connection.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use common::{Node, PATIENCE, fetch, produce, values};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

const PRODUCE: i16 = 7;

/// Many requests in one piece, all with the same correlation id, as no good client sends them.
fn sent(node: &Node, requests: &[(i16, Request)]) -> TcpStream {
    let frames = requests.iter().flat_map(|(version, request)| {
        wavetank_wire::encode_request(*version, 7, "test", request).concat()
    });
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(&frames.collect::<Vec<u8>>()).expect("taken");
    stream
}

/// The next answer; `None` at the end of the connection.
fn answer(stream: &mut TcpStream, api: ApiKey, version: i16) -> Option<Response> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) => {
            let ended = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset];
            assert!(ended.contains(&error.kind()), "{error}");
            return None;
        }
    }
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("the rest of the answer");
    let answer = wavetank_wire::decode_response(api, version, Bytes::from(frame));
    let (correlation, response) = answer.expect("it can be read");
    assert_eq!(correlation, 7);
    Some(response)
}

/// The next answer to a produce: its error and offset.
fn produced(stream: &mut TcpStream) -> Option<(ErrorCode, i64)> {
    match answer(stream, ApiKey::Produce, PRODUCE)? {
        Response::Produce(answer) => {
            let partition = &answer.topics[0].partitions[0];
            Some((partition.error, partition.base_offset.0))
        }
        other => panic!("{other:?}"),
    }
}

fn one(topic: &str, acks: i16, text: &str) -> (i16, Request) {
    (PRODUCE, Request::Produce(produce(&TopicRef::name(topic), acks, text)))
}

fn node_with_topic(topic: &str) -> Node {
    let node = Node::start(&["log.flush.interval.messages=1"]);
    node.client().until_leader(topic);
    node
}

fn log(node: &Node, topic: &str) -> Vec<String> {
    match node.client().ask(11, &Request::Fetch(fetch(&TopicRef::name(topic), 0))) {
        Response::Fetch(answer) => values(&answer.topics[0].partitions[0]),
        other => panic!("{other:?}"),
    }
}

const FINE: ErrorCode = ErrorCode::None;

#[test]
fn answers_come_in_order_whatever_the_correlation_ids() {
    let node = node_with_topic("t");
    let metadata = Request::Metadata(MetadataRequest {
        topics: Some(vec![TopicRef::name("t")]),
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: false,
    });
    let mut stream = sent(
        &node,
        &[
            one("t", -1, "0"),
            one("t", 1, "1"),
            // It fails at once, and its answer waits for the syncs of the two before.
            one("unknown", -1, "?"),
            one("t", -1, "2"),
            (9, metadata),
            one("t", 0, "3"),
            one("t", -1, "4"),
        ],
    );
    assert_eq!(produced(&mut stream), Some((FINE, 0)));
    assert_eq!(produced(&mut stream), Some((FINE, 1)));
    let (error, _) = produced(&mut stream).expect("an answer");
    assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(produced(&mut stream), Some((FINE, 2)));
    assert!(matches!(answer(&mut stream, ApiKey::Metadata, 9), Some(Response::Metadata(_))));
    assert_eq!(produced(&mut stream), Some((FINE, 4)));
    assert_eq!(log(&node, "t"), ["0", "1", "2", "3", "4"]);
}

/// More than may be under way at a time, and more than is read ahead.
#[test]
fn as_many_as_the_client_likes() {
    let node = node_with_topic("t");
    let text = "x".repeat(3000);
    let requests: Vec<_> = (0..300).map(|_| one("t", -1, &text)).collect();
    let mut stream = sent(&node, &requests);
    for offset in 0..300 {
        assert_eq!(produced(&mut stream), Some((FINE, offset)));
    }
}

#[test]
fn what_is_before_an_invalid_frame_is_answered() {
    for garbage in
        [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x08\x7f\xff\0\0\0\0\0\x07", b"\0\0\0\x02\0\0"]
    {
        let node = node_with_topic("t");
        let mut stream = sent(&node, &[one("t", -1, "a"), one("t", -1, "b")]);
        stream.write_all(garbage).expect("taken");
        assert_eq!(produced(&mut stream), Some((FINE, 0)));
        assert_eq!(produced(&mut stream), Some((FINE, 1)));
        assert_eq!(produced(&mut stream), None, "then the connection is closed");
    }
}

/// A produce with acks=0 that fails closes the connection, after the answers to what was before it;
/// what was sent behind it is never read.
#[test]
fn nothing_behind_a_close_is_executed() {
    let node = node_with_topic("t");
    let requests = [one("t", -1, "a"), one("unknown", 0, "?"), one("t", -1, "b")];
    let mut stream = sent(&node, &requests);
    assert_eq!(produced(&mut stream), Some((FINE, 0)));
    assert_eq!(produced(&mut stream), None);
    assert_eq!(log(&node, "t"), ["a"]);
}

/// As in Kafka, which reads the end of the connection last.
#[test]
fn a_client_that_sends_nothing_more_gets_its_answers() {
    let node = node_with_topic("t");
    let mut stream = sent(&node, &[one("t", -1, "a"), one("t", -1, "b"), one("t", -1, "c")]);
    stream.shutdown(Shutdown::Write).expect("connected");
    for offset in 0..3 {
        assert_eq!(produced(&mut stream), Some((FINE, offset)));
    }
    assert_eq!(produced(&mut stream), None);
}
