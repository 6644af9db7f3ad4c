//! Load from one side that must not affect the other: large answers of a peer, clients that hold
//! memory, expensive requests.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Client, Node};
use wavetank_core::batch::BatchBuilder;
use wavetank_core::env::Channel;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{Event, RpcError};
use wavetank_core::msg::*;
use wavetank_core::types::*;
use wavetank_server::{Backlog, NetCommand, NetHandle, NetLimits, start_network};

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

/// A network without a core, which knows one peer.
fn network(limits: NetLimits, peer: &TcpListener) -> (NetHandle, Receiver<Event>) {
    let own = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = peer.local_addr().expect("bound").port();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port };
    let peers = [(NodeId(2), endpoint)].into();
    let (inbox, events) = channel();
    let backlog = Arc::new(Backlog::new(1 << 20));
    let (network, _) =
        start_network(own, NodeId(1), peers, limits, inbox, backlog).expect("threads");
    (network, events)
}

/// The next frame, without its length.
fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("a frame");
    frame
}

/// Accepts a connection, answers which versions it speaks, and reads a request: its version and
/// correlation.
fn peer_that_is_asked(listener: &TcpListener) -> (TcpStream, i16, i32) {
    let (mut stream, _) = listener.accept().expect("a connection");
    frame(&mut stream);
    let apis = wavetank_wire::SUPPORTED.iter().map(|(api, min, max)| (api.key(), *min, *max));
    let answer = ApiVersionsResponse {
        apis: apis.collect(),
        finalized_features_epoch: -1,
        ..ApiVersionsResponse::default()
    };
    let version = wavetank_wire::highest(ApiKey::ApiVersions);
    let answer = wavetank_wire::encode_response(version, -1, &Response::ApiVersions(answer));
    stream.write_all(&answer.concat()).expect("taken");
    let asked = frame(&mut stream);
    let version = i16::from_be_bytes([asked[2], asked[3]]);
    let correlation = i32::from_be_bytes([asked[4], asked[5], asked[6], asked[7]]);
    (stream, version, correlation)
}

fn ask(network: &NetHandle) {
    let request = Request::Fetch(common::fetch(&TopicRef::name("t"), 0));
    let (peer, channel, timeout) = (NodeId(2), Channel::ReplicaFetch, Duration::from_secs(20));
    network.send(vec![NetCommand::Request { peer, channel, timeout, request }]);
}

fn outcome(events: &Receiver<Event>) -> Result<Response, RpcError> {
    loop {
        let event = events.recv_timeout(Duration::from_secs(20)).expect("an outcome");
        if let Event::Rpc { outcome, .. } = event {
            return outcome;
        }
    }
}

/// A leader's batch may be as large as a whole request, written under other limits than ours.
#[test]
fn an_answer_may_be_larger_than_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let limits = NetLimits { max_frame: 64 << 10, ..NetLimits::default() };
    let (network, events) = network(limits, &listener);
    ask(&network);
    let (mut stream, version, correlation) = peer_that_is_asked(&listener);
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some("x".repeat(30 << 20).as_bytes()), &[]);
    let batch = builder.build(Offset(0), LeaderEpoch::NONE);
    let answer = FetchResponse {
        topics: vec![FetchTopicResponse {
            topic: TopicRef::name("t"),
            partitions: vec![FetchPartitionResponse {
                records: vec![batch],
                ..FetchPartitionResponse::failed(0, ErrorCode::None)
            }],
        }],
        ..FetchResponse::default()
    };
    let answer = Response::Fetch(answer);
    stream
        .write_all(&wavetank_wire::encode_response(version, correlation, &answer).concat())
        .expect("taken");
    let Ok(Response::Fetch(answer)) = outcome(&events) else { panic!("it is taken") };
    assert_eq!(common::values(&answer.topics[0].partitions[0])[0].len(), 30 << 20);
}

/// But an answer's size is bounded.
#[test]
fn an_answer_has_a_bound_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (network, events) = network(NetLimits::default(), &listener);
    let start = Instant::now();
    for declared in [i32::MAX, 300 << 20, -1] {
        ask(&network);
        let (mut stream, ..) = peer_that_is_asked(&listener);
        stream.write_all(&declared.to_be_bytes()).expect("taken");
        assert!(matches!(outcome(&events), Err(RpcError::Unsupported)), "{declared}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// The latencies of `count` produces of 900 KB each, longest first.
fn large_produces(client: &mut Client, topic: &str, count: usize) -> Vec<Duration> {
    let mut builder = BatchBuilder::new();
    builder.push(now(), None, Some(&vec![b'x'; 900_000]), &[]);
    let records = builder.build(Offset(0), LeaderEpoch::NONE).to_bytes();
    let produce = || {
        let mut request = common::produce(&TopicRef::name(topic), 1, "");
        request.topics[0].partitions[0].records = Some(records.clone());
        let asked = Instant::now();
        let Response::Produce(answer) = client.ask(7, &Request::Produce(request)) else {
            panic!("another answer")
        };
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
        asked.elapsed()
    };
    let mut taken: Vec<Duration> = std::iter::repeat_with(produce).take(count).collect();
    taken.sort_by_key(|time| std::cmp::Reverse(*time));
    taken
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// A client sends half a request, and then nothing: its memory soon goes to others.
#[test]
fn who_sends_half_a_request_does_not_keep_the_memory() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("good");
    let mut held = Vec::new();
    for (declared, sent) in [(100_i32, 53), (100, 53), (57, 30)] {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        stream.write_all(&(declared << 20).to_be_bytes()).expect("taken");
        // The server may stop reading the last one before its end.
        let _ = (0..sent).try_for_each(|_| stream.write_all(&[0; 1 << 20]));
        held.push(stream);
    }
    let taken = large_produces(&mut client, "good", 100);
    println!("beside who holds memory: {:?} at most, then {:?}", taken[0], taken[2]);
    assert!(taken[0] < Duration::from_secs(5), "{:?}", taken[0]);
    assert!(taken[2] < Duration::from_millis(500), "{:?}", taken[2]);
    assert!(node.resident_bytes() < 400 << 20, "{} MiB", node.resident_bytes() >> 20);
}

/// Fetches of thousands of partitions that wait for records: they cost work once, and none while
/// they wait.
#[test]
fn fetches_that_wait_keep_nobody_from_the_lane() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("good");
    client.until_leader("quiet");
    let mut wide = common::fetch(&TopicRef::name("quiet"), 0);
    (wide.max_wait_ms, wide.min_bytes) = (60_000, 1 << 20);
    let part = wide.topics[0].partitions[0].clone();
    wide.topics[0].partitions = vec![part; 3000];
    let wide = Request::Fetch(wide);
    let mut waiting: Vec<Client> = (0..60).map(|_| Client::connect(&node.address())).collect();
    waiting.iter_mut().for_each(|client| client.send(11, &wide));
    let taken = large_produces(&mut client, "good", 5);
    println!("beside fetches that wait: {:?} at most, then {:?}", taken[0], taken[1]);
    assert!(taken[0] < Duration::from_secs(2), "{:?}", taken[0]);
}
