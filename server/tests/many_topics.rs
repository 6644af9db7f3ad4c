//! Many topics on a node with few descriptors: created, listed, deleted and created again, and the
//! node restarted with them. Prints the time and memory of each step.
//!
//! `WAVETANK_TOPICS` sets how many. The bounds on time are checked from 10,000 topics on, and hold
//! in a release build on an idle machine (`ci/many-topics`).

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Client, Node};
use rustix::process::{Resource, Rlimit, setrlimit};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

const PATIENCE: Duration = Duration::from_secs(240);
const PER_REQUEST: usize = 500;

fn name(index: usize) -> String {
    format!("many-{index:05}")
}

fn create(client: &mut Client, count: usize) {
    for from in (0..count).step_by(PER_REQUEST) {
        let topics = (from..count.min(from + PER_REQUEST))
            .map(|index| CreatableTopic {
                name: name(index),
                num_partitions: 1,
                replication_factor: 1,
                assignments: vec![],
                configs: vec![],
            })
            .collect();
        let request = CreateTopicsRequest { topics, timeout_ms: 60_000, validate_only: false };
        match client.ask(5, &Request::CreateTopics(request)) {
            Response::CreateTopics(answer) => {
                for topic in answer.topics {
                    assert_eq!(topic.error, ErrorCode::None, "{:?}", topic.error_message);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    // A topic counts as created once it can be produced to.
    for index in (0..count).step_by(count.div_ceil(100)).chain([count - 1]) {
        until_served(client, index);
    }
}

fn until_served(client: &mut Client, index: usize) {
    let start = Instant::now();
    loop {
        let request = common::produce(&TopicRef::name(name(index)), -1, "x");
        let Response::Produce(answer) = client.ask(7, &Request::Produce(request)) else {
            panic!("another answer");
        };
        let error = answer.topics[0].partitions[0].error;
        if error.is_ok() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{}: {error:?}", name(index));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn delete(client: &mut Client, data: &Path, count: usize) {
    for from in (0..count).step_by(PER_REQUEST) {
        let topics =
            (from..count.min(from + PER_REQUEST)).map(|i| TopicRef::name(name(i))).collect();
        let request = DeleteTopicsRequest { topics, timeout_ms: 60_000 };
        match client.ask(4, &Request::DeleteTopics(request)) {
            Response::DeleteTopics(answer) => {
                assert!(answer.topics.iter().all(|(_, error, _)| error.is_ok()));
            }
            other => panic!("{other:?}"),
        }
    }
    let start = Instant::now();
    while directories(data) > 0 {
        assert!(start.elapsed() < PATIENCE, "{} directories stay", directories(data));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn directories(data: &Path) -> usize {
    let entries = std::fs::read_dir(data).expect("the data directory");
    entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("many-")).count()
}

fn list(client: &mut Client, count: usize) {
    let request = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: false,
    };
    match client.ask(9, &Request::Metadata(request)) {
        Response::Metadata(answer) => assert_eq!(answer.topics.len(), count),
        other => panic!("{other:?}"),
    }
}

/// The time of the syncs alone, one after the other, that creating `count` directories with a file
/// in each needs. Durability requires them, however a node makes them.
fn syncs_alone(count: usize) -> Duration {
    let data = tempfile::tempdir().expect("a temporary directory");
    let sync = |path: &Path| std::fs::File::open(path).and_then(|file| file.sync_all());
    let start = Instant::now();
    for index in 0..count {
        let dir = data.path().join(name(index));
        std::fs::create_dir(&dir).expect("made");
        sync(data.path()).expect("synced");
        std::fs::write(dir.join("a.tmp"), "x").expect("written");
        sync(&dir.join("a.tmp")).expect("synced");
        std::fs::rename(dir.join("a.tmp"), dir.join("a")).expect("renamed");
        sync(&dir).expect("synced");
    }
    start.elapsed()
}

#[test]
fn a_node_with_few_descriptors_has_many_topics() {
    let count: usize =
        std::env::var("WAVETANK_TOPICS").map_or(300, |text| text.parse().expect("a number"));
    let limit = Rlimit { current: Some(128), maximum: Some(1024) };
    let strict = count >= 10_000;
    let limit = if strict { Rlimit { current: Some(1024), ..limit } } else { limit };
    setrlimit(Resource::Nofile, limit).expect("lowering is allowed");
    let data = tempfile::tempdir().expect("a temporary directory");
    let allowed = Duration::from_secs(20).max(syncs_alone(count) * 10);
    println!("{count} topics; each step within {allowed:.1?}");
    let mut node = Node::start_on(data.path(), &[]);
    let mut client = node.client();
    let step = |what: &str, node: &mut Node, act: &mut dyn FnMut(&mut Node)| {
        let start = Instant::now();
        act(node);
        let (took, resident) = (start.elapsed(), node.resident_bytes() >> 20);
        println!("{what}: {took:.1?}, {resident} MiB");
        assert!(!strict || took < allowed, "{what} took {took:?}");
        assert!(resident < 1024, "{what}: {resident} MiB");
    };
    step("created", &mut node, &mut |_| create(&mut client, count));
    step("listed", &mut node, &mut |_| list(&mut client, count));
    step("deleted", &mut node, &mut |_| delete(&mut client, data.path(), count));
    step("created again", &mut node, &mut |_| create(&mut client, count));
    step("stopped", &mut node, &mut |node| assert_eq!(node.terminate(), Some(0)));
    step("started again", &mut node, &mut |node| *node = Node::start_on(data.path(), &[]));
    let mut client = node.client();
    step("listed", &mut node, &mut |_| list(&mut client, count));
    step("killed and started again", &mut node, &mut |node| {
        node.kill();
        *node = Node::start_on(data.path(), &[]);
    });
    let mut client = node.client();
    step("served", &mut node, &mut |_| until_served(&mut client, count / 2));
}
