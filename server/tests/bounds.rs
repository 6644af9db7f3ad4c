//! What one request, one connection and all of them together may take: requests that are much work,
//! answers that nobody reads, and a good client beside them.
//!
//! `cargo test --release -p wavetank-server --test bounds -- --nocapture` prints the figures.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Client, Node};
use wavetank_core::batch::{BatchBuilder, Compression};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::Event;
use wavetank_core::msg::*;
use wavetank_core::types::*;
use wavetank_server::{Backlog, NetCommand, NetLimits, start_network};

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

fn produce(client: &mut Client, topic: &str, acks: i16, records: Bytes) -> ErrorCode {
    let mut request = common::produce(&TopicRef::name(topic), acks, "");
    request.topics[0].partitions[0].records = Some(records);
    client.send(7, &Request::Produce(request));
    match client.receive(ApiKey::Produce, 7) {
        Response::Produce(response) => response.topics[0].partitions[0].error,
        other => panic!("{other:?}"),
    }
}

/// Sixty megabytes of zeros in one record: some sixty kilobytes of gzip.
fn large_record() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.compression(Compression::Gzip).push(now(), None, Some(&vec![0; 60 << 20]), &[]);
    builder.build(Offset(0), LeaderEpoch::NONE).to_bytes()
}

/// Nine million records of seven bytes, each of which says that it is the first.
fn many_records() -> Bytes {
    const COUNT: usize = 9_000_000;
    let plain = [12, 0, 0, 0, 1, 1, 0].repeat(COUNT);
    let mut builder = BatchBuilder::new();
    builder.compression(Compression::Gzip).push(now(), None, None, &[]);
    let mut batch = builder.build(Offset(0), LeaderEpoch::NONE).to_bytes()[..61].to_vec();
    batch.extend(wavetank_core::compression::compress(Compression::Gzip, &plain));
    // The length, the last offset delta, the count, and the CRC of what follows it.
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[23..27].copy_from_slice(&(COUNT as i32 - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&(COUNT as i32).to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// A Metadata v9 request that names so many topics.
fn names(count: usize) -> Request {
    let topics = (0..count).map(|i| TopicRef::name(format!("{i:07}"))).collect();
    Request::Metadata(MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: false,
    })
}

/// Closed by the server without an answer, and soon?
fn is_cut_off(node: &Node, request: &Request) -> bool {
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let frame = wavetank_wire::encode_request(9, 1, "test", request).concat();
    // It may be closed before all of it is sent.
    let _ = stream.write_all(&frame);
    matches!(stream.read(&mut [0; 4]), Ok(0) | Err(_))
}

#[test]
fn a_request_that_is_too_much_work_is_refused() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("bombed");
    let (large, many) = (large_record(), many_records());
    assert!(large.len() < 200_000 && many.len() < 200_000, "{} {}", large.len(), many.len());
    assert_eq!(produce(&mut client, "bombed", 1, large), ErrorCode::MessageTooLarge);
    assert_eq!(produce(&mut client, "bombed", 1, many), ErrorCode::InvalidRecord);
    // Thousands of partitions, the first of them a bomb.
    let mut wide = common::produce(&TopicRef::name("bombed"), 1, "x");
    let part = &wide.topics[0].partitions[0];
    wide.topics[0].partitions =
        (0..3000).map(|partition| ProducePartition { partition, ..part.clone() }).collect();
    wide.topics[0].partitions[0].records = Some(large_record());
    client.send(7, &Request::Produce(wide));
    let Response::Produce(answer) = client.receive(ApiKey::Produce, 7) else { panic!("produce") };
    let errors: Vec<ErrorCode> = answer.topics[0].partitions.iter().map(|p| p.error).collect();
    assert_eq!(errors[0], ErrorCode::MessageTooLarge);
    assert_eq!(errors[1..], vec![ErrorCode::UnknownTopicOrPartition; 2999]);

    assert!(is_cut_off(&node, &names(300_000)), "more elements than a request may have");
    let Response::Metadata(answer) = client.ask(9, &names(90_000)) else { panic!("metadata") };
    assert_eq!(answer.topics.len(), 90_000);
    // Named a thousand times, a topic is told once.
    let topics = Some(vec![TopicRef::name("bombed"); 1000]);
    let request = MetadataRequest { topics, ..MetadataRequest::default() };
    let answer = client.ask(9, &Request::Metadata(request));
    let Response::Metadata(answer) = answer else { panic!("metadata") };
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(produce(&mut client, "bombed", 1, common::batch("fine")), ErrorCode::None);
}

/// A client with whom all is well: how long each of its requests took, shortest first.
fn latencies(node: &Node, time: Duration) -> Vec<Duration> {
    let mut client = node.client();
    let mut taken = Vec::new();
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < time {
        let asked = Instant::now();
        assert_eq!(produce(&mut client, "good", 1, common::batch("well")), ErrorCode::None);
        taken.push(asked.elapsed());
        let asked = Instant::now();
        let request = common::fetch(&TopicRef::name("good"), offset);
        let fetched = client.ask(11, &Request::Fetch(request));
        taken.push(asked.elapsed());
        let Response::Fetch(fetched) = fetched else { panic!("{fetched:?}") };
        offset += common::values(&fetched.topics[0].partitions[0]).len() as i64;
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(offset > 0, "it reads what it writes");
    taken.sort();
    taken
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn a_good_client_among_bad_ones() {
    let node = Node::start(&["queued.max.response.bytes = 134217728"]);
    let mut client = node.client();
    client.until_leader("good");
    client.until_leader("large");
    let noise: Vec<u8> = (0..1_000_000_u64).map(|i| ((i * i) >> 7) as u8).collect();
    let mut builder = BatchBuilder::new();
    builder.push(now(), None, Some(&noise), &[]);
    let megabyte = builder.build(Offset(0), LeaderEpoch::NONE).to_bytes();
    for _ in 0..50 {
        assert_eq!(produce(&mut client, "large", 1, megabyte.clone()), ErrorCode::None);
    }
    let calm = latencies(&node, Duration::from_secs(2));

    // Fifty who ask for fifty megabytes each and read nothing.
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut client = node.client();
        let mut request = common::fetch(&TopicRef::name("large"), 0);
        request.max_bytes = 50 << 20;
        request.topics[0].partitions[0].max_bytes = 50 << 20;
        client.send(11, &Request::Fetch(request));
        silent.push(client);
    }
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let bomb = large_record();
    let stormy = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = node.client();
                while !over.load(Ordering::Relaxed) {
                    produce(&mut client, "large", 1, bomb.clone());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut client, request) = (node.client(), names(90_000));
                while !over.load(Ordering::Relaxed) {
                    client.ask(9, &request);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let taken = latencies(&node, Duration::from_secs(5));
        over.store(true, Ordering::Relaxed);
        taken
    });
    let resident = node.resident_bytes();
    drop(silent);
    println!(
        "{} bad requests in 5 s; a good client's p50 and p99: {:?} and {:?} (without them {:?} and \
         {:?}); {} MiB resident",
        done.load(Ordering::Relaxed),
        percentile(&stormy, 50),
        percentile(&stormy, 99),
        percentile(&calm, 50),
        percentile(&calm, 99),
        resident >> 20,
    );
    assert!(resident < 400 << 20, "{} MiB", resident >> 20);
    // On a machine that does nothing else; where it does, in proportion.
    let allowed = Duration::from_millis(100).max(10 * percentile(&calm, 99));
    assert!(percentile(&stormy, 99) < allowed, "{:?}", percentile(&stormy, 99));
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let limits = NetLimits { write_stall: Duration::from_millis(300), ..NetLimits::default() };
    let (inbox, events) = std::sync::mpsc::channel();
    let backlog = Arc::new(Backlog::new(1 << 20));
    let (network, running) =
        start_network(listener, NodeId(1), Default::default(), limits, inbox, backlog)
            .expect("threads");
    let mut stream = TcpStream::connect(running.local).expect("it listens");
    let request = names(1);
    stream.write_all(&wavetank_wire::encode_request(9, 7, "", &request).concat()).expect("sent");
    let Ok(Event::Request { from, .. }) = events.recv() else { panic!("a request") };
    let topic = |i| MetadataTopic {
        name: Some(format!("{i:030000}")),
        error: ErrorCode::UnknownTopicOrPartition,
        ..MetadataTopic::default()
    };
    let topics = (0..1000).map(topic).collect();
    let answer = MetadataResponse { topics, ..MetadataResponse::default() };
    network.send(vec![NetCommand::Respond { to: from, response: Response::Metadata(answer) }]);
    let start = Instant::now();
    let Ok(Event::ConnectionClosed { connection }) = events.recv() else { panic!("it is closed") };
    assert_eq!(connection, from.connection);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
