//! A whole node at its port: as a client of the raw protocol sees it, under hostile bytes, and as
//! the command that starts, refuses and stops.
//!
//! The node runs in a child process, which is this test binary again (see `child_main`), so that
//! signals, exit codes and memory are those of a process.

mod apis;
mod common;
mod identity;
#[path = "../../sim/tests/liar/mod.rs"]
mod liar;
mod listeners;
#[path = "../../wire/tests/common/mod.rs"]
#[allow(dead_code)]
mod samples;
mod strangers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Client, Node, batch, values};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

fn produce(
    client: &mut Client,
    topic: &TopicRef,
    acks: i16,
    text: &str,
) -> ProducePartitionResponse {
    client.send(7, &Request::Produce(common::produce(topic, acks, text)));
    match client.receive(ApiKey::Produce, 7) {
        Response::Produce(mut response) => response.topics.remove(0).partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

fn fetch(client: &mut Client, topic: &TopicRef, offset: i64) -> FetchPartitionResponse {
    match client.ask(11, &Request::Fetch(common::fetch(topic, offset))) {
        Response::Fetch(mut response) => response.topics.remove(0).partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_of_the_raw_protocol() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let Response::ApiVersions(versions) = client.ask(
        3,
        &Request::ApiVersions(ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1.0".into(),
            ..Default::default()
        }),
    ) else {
        panic!("another answer");
    };
    assert_eq!(versions.error, ErrorCode::None);
    assert!(versions.apis.iter().any(|(key, _, max)| *key == 1 && *max >= 12), "{versions:?}");

    let Response::CreateTopics(created) = client.ask(
        5,
        &Request::CreateTopics(CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "made".into(),
                num_partitions: 2,
                replication_factor: 1,
                assignments: vec![],
                configs: vec![],
            }],
            timeout_ms: 5000,
            validate_only: false,
        }),
    ) else {
        panic!("another answer");
    };
    assert_eq!(created.topics[0].error, ErrorCode::None, "{created:?}");
    let metadata = client.metadata("made");
    assert_eq!(metadata.brokers[0].endpoint.port, node.port(), "it advertises what it bound");
    let topic = metadata.topics.first().expect("it was asked for");
    assert_eq!((topic.error, topic.partitions.len()), (ErrorCode::None, 2));

    let by_name = TopicRef::name("made");
    client.until_leader("made");
    assert_eq!(produce(&mut client, &by_name, -1, "one").base_offset, Offset(0));
    assert_eq!(produce(&mut client, &by_name, 1, "two").base_offset, Offset(1));
    // acks=0 has no answer: the next answer belongs to the next request.
    client.send(7, &Request::Produce(common::produce(&by_name, 0, "three")));
    assert_eq!(produce(&mut client, &by_name, -1, "four").base_offset, Offset(3));
    let fetched = fetch(&mut client, &by_name, 0);
    assert_eq!(values(&fetched), ["one", "two", "three", "four"]);
    assert_eq!(fetched.high_watermark, Offset(4));
    assert_eq!(fetch(&mut client, &by_name, 9).error, ErrorCode::OffsetOutOfRange);

    for (timestamp, offset) in [(LATEST_TIMESTAMP, 4), (EARLIEST_TIMESTAMP, 0)] {
        let Response::ListOffsets(listed) = client.ask(
            5,
            &Request::ListOffsets(ListOffsetsRequest {
                replica: NodeId::NONE,
                isolation_level: 0,
                topics: vec![ListOffsetsTopic {
                    name: "made".into(),
                    partitions: vec![ListOffsetsPartition {
                        partition: 0,
                        current_leader_epoch: LeaderEpoch::NONE,
                        timestamp,
                    }],
                }],
                timeout_ms: 0,
            }),
        ) else {
            panic!("another answer");
        };
        assert_eq!(listed.topics[0].partitions[0].offset, Offset(offset));
    }

    // Pipelined requests are answered in order.
    for text in ["five", "six", "seven"] {
        client.send(7, &Request::Produce(common::produce(&by_name, -1, text)));
    }
    for offset in 4..7 {
        match client.receive(ApiKey::Produce, 7) {
            Response::Produce(response) => {
                assert_eq!(response.topics[0].partitions[0].base_offset, Offset(offset));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn topics_appear_on_first_use() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("wished");
    assert_eq!(produce(&mut client, &TopicRef::name("wished"), -1, "x").error, ErrorCode::None);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    let node = Node::start(&[]);
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    stream.write_all(b"\0\0\0\x0a\0\x12\0\x63\0\0\0\x07\xff\xff").expect("sent");
    let mut head = [0; 10];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(head[4..10], *b"\0\0\0\x07\0\x23", "the correlation id and error 35");
}

/// Whether the server soon closes the connection.
fn closed(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    // A reset counts, too: it means that some of our bytes were unread.
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn hostile_bytes() {
    let node = Node::start(&[]);
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    // Invalid lengths.
    for length in [-1_i32, i32::MIN, i32::MAX, 101 << 20] {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.write_all(&length.to_be_bytes()).expect("sent");
        assert!(closed(stream), "a frame of {length} bytes");
    }
    // No header, an unknown API, an unknown version, an invalid body.
    let frames: [&[u8]; 5] = [
        b"\0\0\0\0",
        b"\0\0\0\x03abc",
        b"\0\0\0\x0a\x03\xe7\0\0\0\0\0\x01\xff\xff",
        b"\0\0\0\x0a\0\0\0\x63\0\0\0\x01\xff\xff",
        b"\0\0\0\x0e\0\x03\0\x05\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
    ];
    for frame in frames {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.write_all(frame).expect("sent");
        assert!(closed(stream), "{frame:?}");
    }
    // Large declared lengths whose bytes never come, held open together.
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.write_all(&(99_i32 << 20).to_be_bytes()).expect("sent");
        stream.write_all(&[0; 1000]).expect("sent");
        held.push(stream);
    }
    // Random frames with valid headers, so that every decoder gets some.
    for round in 0..3000_u64 {
        let Ok(mut stream) = TcpStream::connect(node.address()) else { panic!("round {round}") };
        let api = ApiKey::ALL[random() as usize % ApiKey::ALL.len()];
        let mut body = Vec::new();
        body.extend_from_slice(&api.key().to_be_bytes());
        body.extend_from_slice(&((random() % 14) as i16).to_be_bytes());
        body.extend_from_slice(&(round as i32).to_be_bytes());
        body.extend_from_slice(b"\xff\xff");
        for _ in 0..random() % 60 {
            let byte = random();
            body.push(if byte & 0x700 == 0 { byte as u8 } else { (byte & 3) as u8 });
        }
        let declared = body.len() as i32;
        let cut = if round % 3 == 0 { random() as usize % body.len() } else { body.len() };
        let mut bytes = declared.to_be_bytes().to_vec();
        bytes.extend_from_slice(&body[..cut]);
        // The server may already have closed the connection.
        let _ = stream.write_all(&bytes);
    }
    let memory = node.resident_bytes();
    assert!(memory < 300 << 20, "{} MiB for bytes that were only declared", memory >> 20);
    drop(held);
    let mut client = node.client();
    client.until_leader("after");
    let answer = produce(&mut client, &TopicRef::name("after"), -1, "still here");
    assert_eq!(answer.error, ErrorCode::None);
}

#[test]
fn more_connections_than_allowed() {
    let node = Node::start(&["max.connections = 20"]);
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..60 {
        open.push(TcpStream::connect(node.address()).expect("the kernel accepts"));
    }
    let kept = open.drain(..).filter(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let mut stream = stream;
        matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    let kept: Vec<TcpStream> = kept.collect();
    assert!(kept.len() <= 20, "{} are open", kept.len());
    drop(kept);
    let mut client = node.client();
    client.until_leader("after");
}

#[test]
fn a_graceful_stop_keeps_everything_and_so_does_a_kill() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let topic = TopicRef::name("kept");
    let mut expected: Vec<String> = Vec::new();
    for round in 0..4 {
        let mut node = Node::start_on(data.path(), &[]);
        let mut client = node.client();
        client.until_leader("kept");
        let fetched = fetch(&mut client, &topic, 0);
        assert_eq!(values(&fetched), expected, "in round {round}");
        for i in 0..5 {
            let text = format!("{round}.{i}");
            assert_eq!(produce(&mut client, &topic, -1, &text).error, ErrorCode::None);
            expected.push(text);
        }
        if round % 2 == 0 {
            let start = Instant::now();
            assert_eq!(node.terminate(), Some(0), "a graceful stop is a success");
            assert!(start.elapsed() < Duration::from_secs(30));
            assert!(data.path().join(".kafka_cleanshutdown").exists(), "and is marked");
        } else {
            node.kill();
        }
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start_on(data.path(), &[]);
    let (code, text) = common::refusal(&["--data", &data.path().display().to_string()]);
    assert_eq!(code, Some(2));
    assert!(text.contains("in use by another process"), "{text}");

    let other = tempfile::tempdir().expect("a temporary directory");
    let other = other.path().display().to_string();
    let (code, text) = common::refusal(&["--data", &other, "--listen", &node.address()]);
    assert_eq!(code, Some(2));
    assert!(text.contains("cannot listen on") && text.contains("--listen"), "{text}");

    let (code, text) = common::refusal(&["--data", &other, "--listen", "nonsense"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("expected HOST:PORT"), "{text}");

    let (code, text) = common::refusal(&["--config", "/nonexistent.toml"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("/nonexistent.toml"), "{text}");

    let file = data.path().join("wrong.toml");
    std::fs::write(&file, "node.id = 1\nlog.segment.bytez = 5\n").expect("written");
    let (code, text) = common::refusal(&["--config", &file.display().to_string()]);
    assert_eq!(code, Some(2));
    assert!(text.contains("wrong.toml:2") && text.contains("log.segment.bytes"), "{text}");

    std::fs::write(&file, "max.connections = 1048576\n").expect("written");
    let (code, text) = common::refusal(&["--config", &file.display().to_string()]);
    assert_eq!(code, Some(2));
    assert!(text.contains("max.connections to") && text.contains("ulimit -n"), "{text}");

    let (code, text) = common::refusal(&["--data", "/proc/nothing/here"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("data directory /proc/nothing/here"), "{text}");
}

#[test]
fn data_of_another_node_are_refused() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start_on(data.path(), &[]);
    assert_eq!(node.terminate(), Some(0));
    for line in ["node.id = 5", "cluster.id = \"another\""] {
        let file = data.path().join("other.toml");
        let listen = "listeners = \"127.0.0.1:0\"";
        std::fs::write(&file, format!("{line}\n{listen}\n")).expect("written");
        let data = data.path().display().to_string();
        let (code, text) =
            common::refusal(&["--data", &data, "--config", &file.display().to_string()]);
        assert_eq!(code, Some(2), "{line}: {text}");
        assert!(text.contains("will not start"), "{line}: {text}");
    }
    // Nothing was changed: it starts with its own configuration.
    let node = Node::start_on(data.path(), &[]);
    drop(node);
}

#[test]
fn a_batch_that_is_none_is_refused() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("t");
    let topic = TopicRef::name("t");
    let mut broken = batch("x").to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let mut request = common::produce(&topic, -1, "x");
    request.topics[0].partitions[0].records = Some(broken.into());
    let Response::Produce(response) = client.ask(7, &Request::Produce(request)) else {
        panic!("another answer");
    };
    assert_eq!(response.topics[0].partitions[0].error, ErrorCode::CorruptMessage);
    assert_eq!(produce(&mut client, &topic, -1, "y").base_offset, Offset(0));
}

#[test]
fn idle_connections_are_closed() {
    let node = Node::start(&["connections.max.idle.ms = 300"]);
    let silent = TcpStream::connect(node.address()).expect("it listens");
    let mut slow = TcpStream::connect(node.address()).expect("it listens");
    slow.write_all(b"\0\0\0\x0a\0").expect("sent");
    assert!(closed(silent) && closed(slow));
    let mut client = node.client();
    client.until_leader("t");
    std::thread::sleep(Duration::from_millis(600));
    // The node's connections to itself were idle, too, and are reopened.
    let mut client = node.client();
    client.until_leader("another");
}

#[test]
fn signals_that_come_together_are_one() {
    let mut node = Node::start(&[]);
    assert_eq!(node.terminate_by(&["TERM", "INT", "TERM"]), Some(0), "a graceful stop");
}

/// Copies a node's data.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&target).expect("created");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Damage to a file of a stopped node.
enum Damage {
    Flip(usize),
    Cut(u64),
    Replace(&'static str),
    Remove,
}

/// Each damage is either refused with a reason that names it, or harmless: nothing is lost.
#[test]
fn damaged_files() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let topic = TopicRef::name("kept");
    let mut node = Node::start_on(data.path(), &[]);
    let mut client = node.client();
    client.until_leader("kept");
    let expected: Vec<String> = (0..50).map(|i| format!("record number {i}")).collect();
    for text in &expected {
        assert_eq!(produce(&mut client, &topic, -1, text).error, ErrorCode::None);
    }
    drop(client);
    assert_eq!(node.terminate(), Some(0));

    let log = "kept-0/00000000000000000000.log";
    let metadata = "__cluster_metadata-0/00000000000000000000.log";
    let refused: &[(&str, Damage, &str)] = &[
        (log, Damage::Cut(1000), "damaged in a part known to be durable"),
        (log, Damage::Remove, "ends before the recovery point"),
        ("kept-0/partition.metadata", Damage::Replace("hello"), "partition.metadata, line 1"),
        ("kept-0/partition.metadata", Damage::Remove, "no partition.metadata"),
        ("meta.properties", Damage::Replace("hello"), "meta.properties, line 1"),
        ("meta.properties", Damage::Remove, "no meta.properties"),
        ("__cluster_metadata-0/quorum-state", Damage::Replace(""), "quorum-state is damaged"),
        ("__cluster_metadata-0/quorum-state", Damage::Flip(3), "quorum-state is damaged"),
        (metadata, Damage::Flip(200), "damaged in a part known to be durable"),
        (metadata, Damage::Cut(150), "damaged in a part known to be durable"),
        (metadata, Damage::Remove, "ends before the recovery point"),
        (
            "replication-offset-checkpoint",
            Damage::Replace("hello"),
            "replication-offset-checkpoint",
        ),
        ("recovery-point-offset-checkpoint", Damage::Flip(2), "recovery-point-offset-checkpoint"),
    ];
    for (file, damage, reason) in refused {
        let copied = damaged(data.path(), file, damage);
        let path = copied.path().display().to_string();
        let (code, text) = common::refusal(&["--data", &path, "--listen", "127.0.0.1:0"]);
        assert_eq!(code, Some(2), "{file}: {text}");
        assert!(text.contains("will not start") && text.contains(reason), "{file}: {text}");
    }
    let harmless: &[(&str, Damage)] = &[
        ("kept-0/00000000000000000000.index", Damage::Flip(3)),
        ("kept-0/00000000000000000000.index", Damage::Cut(5)),
        ("kept-0/00000000000000000000.timeindex", Damage::Remove),
        ("kept-0/leader-epoch-checkpoint", Damage::Replace("hello")),
        (".wavetank_boot_id", Damage::Replace("hello")),
        (".wavetank_boot_id", Damage::Remove),
        ("replication-offset-checkpoint", Damage::Remove),
        (".kafka_cleanshutdown", Damage::Replace("hello")),
        (".kafka_cleanshutdown", Damage::Remove),
    ];
    for (file, damage) in harmless {
        let copied = damaged(data.path(), file, damage);
        let node = Node::start_on(copied.path(), &[]);
        let mut client = node.client();
        client.until_leader("kept");
        assert_eq!(values(&fetch(&mut client, &topic, 0)), expected, "{file}");
    }
}

/// A bit flips in the metadata log while a killed node is down. No checkpoint names the topic yet.
/// But the machine has not gone down since, so no power loss can have torn the log.
#[test]
fn a_flipped_bit_deletes_no_topic() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start_on(data.path(), &[]);
    let mut client = node.client();
    client.until_leader("kept");
    assert_eq!(produce(&mut client, &TopicRef::name("kept"), -1, "x").error, ErrorCode::None);
    node.kill();
    let metadata = "__cluster_metadata-0/00000000000000000000.log";
    let length = std::fs::metadata(data.path().join(metadata)).expect("it is there").len();
    for at in [length / 10, length / 2, length * 9 / 10] {
        let copied = damaged(data.path(), metadata, &Damage::Flip(at as usize));
        let path = copied.path().display().to_string();
        let (code, text) = common::refusal(&["--data", &path, "--listen", "127.0.0.1:0"]);
        assert_eq!(code, Some(2), "byte {at} of {length}: {text}");
        assert!(text.contains(metadata) && text.contains("byte "), "byte {at}: {text}");
        assert!(copied.path().join("kept-0").is_dir(), "byte {at}: {text}");
    }
    let node = Node::start_on(data.path(), &[]);
    let fetched = fetch(&mut node.client(), &TopicRef::name("kept"), 0);
    assert_eq!(values(&fetched), ["x"]);
}

/// Somebody removes the data directory of a running node.
#[test]
fn a_data_directory_that_is_removed_ends_the_node_with_words() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let data = parent.path().join("data");
    let (mut node, log) = Node::start_logging(&data, &[], "error", Stdio::piped());
    let mut client = node.client();
    client.until_leader("kept");
    std::fs::remove_dir_all(&data).expect("removed");
    client.send(5, &Request::CreateTopics(common::creation("another")));
    let code = node.wait(common::PATIENCE).and_then(|status| status.code());
    let mut text = String::new();
    log.expect("it is piped").read_to_string(&mut text).expect("it can be read");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("failed while serving") && text.contains("still there"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(!data.exists(), "it is not made anew");
}

/// The topic is deleted and created again while its old directories are still being removed.
#[test]
fn a_topic_is_deleted_and_created_again_and_again() {
    let mut node = Node::start(&[]);
    let mut client = node.client();
    for round in 0..40 {
        let Response::CreateTopics(created) =
            client.ask(5, &Request::CreateTopics(common::creation("again")))
        else {
            panic!("another answer")
        };
        assert_eq!(created.topics[0].error, ErrorCode::None, "round {round}: {created:?}");
        let topics = vec![TopicRef::name("again")];
        let deletion = DeleteTopicsRequest { topics, timeout_ms: 5000 };
        let Response::DeleteTopics(deleted) = client.ask(5, &Request::DeleteTopics(deletion))
        else {
            panic!("another answer")
        };
        assert_eq!(deleted.topics[0].1, ErrorCode::None, "round {round}: {deleted:?}");
    }
    client.until_leader("again");
    let topic = TopicRef::name("again");
    assert_eq!(produce(&mut client, &topic, -1, "x").base_offset, Offset(0));
    assert_eq!(node.terminate(), Some(0));
}

fn damaged(data: &Path, file: &str, damage: &Damage) -> tempfile::TempDir {
    let copied = tempfile::tempdir().expect("a temporary directory");
    copy(data, copied.path());
    let path = copied.path().join(file);
    let mut bytes = std::fs::read(&path).expect("the file is there");
    match damage {
        Damage::Flip(at) => {
            let at = (*at).min(bytes.len().saturating_sub(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x55;
            }
        }
        Damage::Cut(to) => bytes.truncate(*to as usize),
        Damage::Replace(text) => bytes = text.as_bytes().to_vec(),
        Damage::Remove => {
            std::fs::remove_file(&path).expect("removed");
            return copied;
        }
    }
    std::fs::write(&path, bytes).expect("written");
    copied
}

/// Makes a node log what bad clients and leader changes cause. Then it must still serve, and stop
/// gracefully.
fn serves_whatever_becomes_of_its_log(node: &mut Node) {
    for _ in 0..30 {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.write_all(b"\0\0\0\x03abc").expect("sent");
        assert!(closed(stream));
    }
    let mut client = node.client();
    // Topics are created and get leaders, which writes notes of all kinds.
    for topic in ["one", "two", "three"] {
        client.until_leader(topic);
        let mut bad = common::produce(&TopicRef::name(topic), -1, "bad");
        bad.topics[0].partitions[0].records = Some(bytes::Bytes::from_static(b"no batch"));
        client.send(7, &Request::Produce(bad));
        client.receive(ApiKey::Produce, 7);
        let answer = produce(&mut client, &TopicRef::name(topic), -1, "good");
        assert_eq!(answer.error, ErrorCode::None);
    }
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_log_on_a_full_device() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let (mut node, _) = Node::start_logging(data.path(), &[], "debug", full.into());
    serves_whatever_becomes_of_its_log(&mut node);
}

#[test]
fn a_log_that_nobody_reads_any_more() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let (mut node, log) = Node::start_logging(data.path(), &[], "debug", Stdio::piped());
    drop(log);
    serves_whatever_becomes_of_its_log(&mut node);
}

#[test]
fn a_log_whose_reader_sleeps() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let (mut node, log) = Node::start_logging(data.path(), &[], "debug", Stdio::piped());
    // Far more than a pipe and the log's buffer hold.
    let mut client = node.client();
    client.until_leader("busy");
    for round in 0..3000 {
        let answer = produce(&mut client, &TopicRef::name("busy"), 1, "x");
        assert_eq!(answer.error, ErrorCode::None, "in round {round}");
    }
    // The reader wakes: the number of lost lines is logged, and later lines are there.
    let mut log = log.expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    serves_whatever_becomes_of_its_log(&mut node);
    let text = reader.join().expect("the reader").expect("text");
    assert!(text.contains("log lines were lost here (the device took them too slowly)"), "{text}");
    assert!(text.contains("ShutDown") || text.contains("stopping"), "the end of it");
}

#[test]
fn what_strangers_make_it_log_is_bounded() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let (mut node, log) = Node::start_logging(data.path(), &[], "warn", Stdio::piped());
    let mut log = log.expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    for _ in 0..500 {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        stream.write_all(b"\0\0\0\x03abc").expect("sent");
        assert!(closed(stream));
    }
    let mut client = node.client();
    client.until_leader("bad");
    for _ in 0..500 {
        let mut bad = common::produce(&TopicRef::name("bad"), -1, "bad");
        bad.topics[0].partitions[0].records = Some(bytes::Bytes::from_static(b"no batch"));
        client.send(7, &Request::Produce(bad));
        client.receive(ApiKey::Produce, 7);
    }
    assert_eq!(node.terminate(), Some(0));
    let text = reader.join().expect("the reader").expect("text");
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert!((1..=5).contains(&lines("unsupported request")), "{text}");
    assert!((1..=5).contains(&lines("ProduceFailed")), "{text}");
}

#[test]
fn what_a_client_sent_before_it_closed_is_executed() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_leader("fired");
    let topic = TopicRef::name("fired");
    {
        let mut client = node.client();
        client.send(7, &Request::Produce(common::produce(&topic, -1, "asked")));
        for i in 0..20 {
            client
                .send(7, &Request::Produce(common::produce(&topic, 0, &format!("forgotten {i}"))));
        }
        // Closes without reading the answer.
    }
    let start = Instant::now();
    loop {
        let fetched = values(&fetch(&mut client, &topic, 0));
        if fetched.len() == 21 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{fetched:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nobody_else_may_read_the_data() {
    use std::os::unix::fs::PermissionsExt;
    fn open_to_others(path: &Path, found: &mut Vec<std::path::PathBuf>) {
        let mode = std::fs::metadata(path).expect("it is there").permissions().mode();
        if mode & 0o077 != 0 {
            found.push(path.into());
        }
        if path.is_dir() {
            for entry in std::fs::read_dir(path).expect("a directory") {
                open_to_others(&entry.expect("an entry").path(), found);
            }
        }
    }
    let parent = tempfile::tempdir().expect("a temporary directory");
    let data = parent.path().join("data");
    let mut node = Node::start_on(&data, &[]);
    let mut client = node.client();
    client.until_leader("secret");
    produce(&mut client, &TopicRef::name("secret"), -1, "x");
    assert_eq!(node.terminate(), Some(0));
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn librdkafka_asks_for_all_topics() {
    let node = Node::start(&[]);
    let header = b"\0\x03\0\x0d\0\0\0\x07\0\x02id\0";
    // The second body has three bytes too many.
    for body in [&b"\0\x01\0\0"[..], b"\0\0\0\0\x01\0\0"] {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        let length = (header.len() + body.len()) as i32;
        let frame = [&length.to_be_bytes()[..], header, body].concat();
        stream.write_all(&frame).expect("sent");
        let mut head = [0; 8];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(head[4..], [0, 0, 0, 7], "the correlation id");
    }
}

#[test]
fn a_bug_in_a_task_ends_the_process() {
    let (code, text) = common::refusal(&["--network-bug"]);
    assert_eq!(code, None, "ended by a signal (abort)");
    assert!(text.contains("the network (of a connection) thread hit a bug"), "{text}");
}

#[test]
fn a_bug_ends_the_process() {
    let (code, text) = common::refusal(&["--bug"]);
    assert_eq!(code, None, "ended by a signal (abort)");
    assert!(text.contains("the disk thread hit a bug"), "{text}");
    assert!(text.contains("must start at the end of the file"), "{text}");
}
