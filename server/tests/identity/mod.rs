//! Whose directory it is, and where the other nodes are: formatting, cluster ids, voters that do
//! not match the directory's contents, addresses that change.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

use crate::common::{self, Launched, Node, refusal, values};

fn cluster_id(data: &Path) -> String {
    let text = std::fs::read_to_string(data.join("meta.properties")).expect("it is formatted");
    let line = text.lines().find_map(|line| line.strip_prefix("cluster.id="));
    line.expect("it names the cluster").to_string()
}

/// The configuration files and data directories of three nodes on loopback.
struct Three {
    work: TempDir,
}

impl Three {
    fn data(&self, node: i32) -> PathBuf {
        self.work.path().join(format!("data-{node}"))
    }

    /// Writes a node's file, and returns its path.
    fn config(&self, node: i32, ports: &[u16], more: &str) -> String {
        let voters: Vec<String> =
            (1..).zip(ports).map(|(id, port)| format!("\"{id}@127.0.0.1:{port}\"")).collect();
        let text = format!(
            "node.id = {node}\ncontroller.quorum.voters = [{}]\n\
             listeners = \"PLAINTEXT://127.0.0.1:{}\"\nlog.dirs = {:?}\n\
             default.replication.factor = 3\nmin.insync.replicas = 2\n\
             broker.session.timeout.ms = 2000\nbroker.heartbeat.interval.ms = 200\n{more}\n",
            voters.join(", "),
            ports[node as usize - 1],
            self.data(node).display().to_string(),
        );
        let path = self.work.path().join(format!("{node}.toml"));
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn start(&self, ports: &[u16], format: bool) -> Vec<Node> {
        let launched: Vec<Launched> = (1..=3)
            .map(|node| {
                let file = self.config(node, ports, "cluster.id = \"three\"");
                let first: &[&str] = if format { &["--format", "yes"] } else { &[] };
                Node::launch(&[&["--config", &file], first].concat())
            })
            .collect();
        launched.into_iter().map(Launched::ready).collect()
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    held.iter().map(|held| held.local_addr().expect("bound").port()).collect()
}

/// Appends with acks=all at the current leader.
fn produce(nodes: &[Node], text: &str) {
    let by_port: BTreeMap<u16, &Node> = nodes.iter().map(|node| (node.port(), node)).collect();
    for _ in 0..300 {
        let metadata = nodes[0].client().metadata("t");
        let leader = metadata.topics.first().and_then(|topic| topic.partitions.first());
        let leader = leader.map_or(NodeId::NONE, |partition| partition.leader);
        let broker = metadata.brokers.iter().find(|broker| broker.node == leader);
        if let Some(node) = broker.and_then(|broker| by_port.get(&broker.endpoint.port)) {
            let request = common::produce(&TopicRef::name("t"), -1, text);
            if let Response::Produce(answer) = node.client().ask(7, &Request::Produce(request))
                && answer.topics[0].partitions[0].error == ErrorCode::None
            {
                return;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{text}: nobody takes it");
}

fn read(nodes: &[Node]) -> Vec<String> {
    for node in nodes {
        let fetch = Request::Fetch(common::fetch(&TopicRef::name("t"), 0));
        if let Response::Fetch(answer) = node.client().ask(11, &fetch)
            && answer.topics[0].partitions[0].error == ErrorCode::None
        {
            return values(&answer.topics[0].partitions[0]);
        }
    }
    panic!("nobody leads")
}

#[test]
fn each_cluster_has_an_id_of_its_own_and_keeps_it() {
    let (one, other) = (TempDir::new().expect("a directory"), TempDir::new().expect("another"));
    let mut node = Node::start_on(one.path(), &[]);
    Node::start_on(other.path(), &[]);
    let id = cluster_id(one.path());
    assert_eq!(id.len(), 22, "{id}");
    assert_ne!(id, cluster_id(other.path()));
    assert_eq!(node.client().metadata("t").cluster_id.as_deref(), Some(id.as_str()));
    assert_eq!(node.terminate(), Some(0));
    let mut again = Node::start_on(one.path(), &[]);
    assert_eq!(again.client().metadata("t").cluster_id.as_deref(), Some(id.as_str()));
    assert_eq!(again.terminate(), Some(0));
    let data = one.path().display().to_string();
    let (code, text) =
        refusal(&["--data", &data, "--listen", "127.0.0.1:0", "--cluster-id", "another"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&id) && text.contains("another"), "{text}");
    let (code, text) = refusal(&["--data", &data, "--listen", "127.0.0.1:0", "--format", "yes"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("formatted already"), "{text}");
}

/// Otherwise the two empty logs would outvote its log, and its topics would be gone.
#[test]
fn one_node_does_not_grow_to_three() {
    let three = Three { work: TempDir::new().expect("a directory") };
    let mut node = Node::start_on(&three.data(1), &[]);
    node.client().until_leader("precious");
    assert_eq!(node.terminate(), Some(0));
    let file = three.config(1, &free_ports(), "");
    let (code, text) = refusal(&["--config", &file]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("belongs to the voters 1, but"), "{text}");
    assert!(text.contains("names 1, 2, 3"), "{text}");
    let back = Node::start_on(&three.data(1), &[]);
    assert_eq!(back.client().metadata("precious").topics[0].error, ErrorCode::None);
}

#[test]
fn a_clusters_node_formats_only_when_it_is_told_to() {
    let three = Three { work: TempDir::new().expect("a directory") };
    let ports = free_ports();
    let file = three.config(1, &ports, "");
    let (code, text) = refusal(&["--config", &file]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is not formatted") && text.contains("--format"), "{text}");
    let (code, text) = refusal(&["--config", &file, "--format", "yes"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--cluster-id") && text.contains("cluster.id"), "{text}");
    let (code, text) = refusal(&["--config", &file, "--cluster-id", "a b"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("not a valid cluster id"), "{text}");
    // A node that has lost its data does not come back as a new one.
    let nodes = three.start(&ports, true);
    produce(&nodes, "a");
    drop(nodes);
    std::fs::remove_dir_all(three.data(2)).expect("it is there");
    let (code, text) = refusal(&["--config", &three.config(2, &ports, "cluster.id = \"three\"")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("restore it"), "{text}");
}

/// How often the addresses rotate; `WAVETANK_ROTATIONS=20` makes a long run.
fn rotations() -> usize {
    std::env::var("WAVETANK_ROTATIONS").map_or(2, |text| text.parse().expect("a number"))
}

/// Waits until every node knows the current addresses of all three, and serves.
fn until_all_serve(nodes: &[Node], ports: &[u16]) {
    let start = Instant::now();
    for node in nodes {
        loop {
            let metadata = node.client().metadata("t");
            let told: Vec<u16> = metadata.brokers.iter().map(|b| b.endpoint.port).collect();
            let led = metadata.topics.iter().flat_map(|topic| &topic.partitions);
            if told == ports && led.filter(|p| p.error == ErrorCode::None).count() == 1 {
                break;
            }
            assert!(start.elapsed() < common::PATIENCE, "{metadata:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Registrations in the metadata log have the old addresses. The configured ones win, and a node
/// that listens at another's old address says who it is.
#[test]
fn addresses_may_change() {
    let three = Three { work: TempDir::new().expect("a directory") };
    let mut ports = free_ports();
    let mut written = vec!["formatted".to_string()];
    let nodes = three.start(&ports, true);
    produce(&nodes, "formatted");
    drop(nodes);
    let mut longest = Duration::ZERO;
    for round in 0..=rotations() {
        // In the last round all ports are new.
        if round == rotations() {
            ports = free_ports();
        } else {
            ports.rotate_left(1);
        }
        let start = Instant::now();
        let nodes = three.start(&ports, false);
        until_all_serve(&nodes, &ports);
        let change = format!("change {round}");
        produce(&nodes, &change);
        longest = longest.max(start.elapsed());
        written.push(change);
        assert_eq!(read(&nodes), written);
    }
    println!("{} changes of addresses, each served within {longest:?}", rotations() + 1);
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}

/// Two nodes swap addresses while the third goes on: its connections to the two lead to the wrong
/// node, and its requests reach a node that they are not meant for. Whether the topic is served
/// meanwhile depends on who is controller: the two were killed, which leaves the third alone in the
/// ISR, and it is fenced if it cannot reach the controller. Nothing is lost, and all serve once the
/// third knows the addresses.
#[test]
fn two_swap_addresses_under_the_third() {
    let three = Three { work: TempDir::new().expect("a directory") };
    let mut ports = free_ports();
    let mut nodes = three.start(&ports, true);
    produce(&nodes, "before");
    // The third goes on with the configuration that it started with.
    let third = nodes.pop().expect("three");
    drop(nodes);
    ports.swap(0, 1);
    let launch = |node| {
        let file = three.config(node, &ports, "cluster.id = \"three\"");
        Node::launch(&["--config", &file])
    };
    let launched = [launch(1), launch(2)];
    let mut nodes: Vec<Node> = launched.into_iter().map(Launched::ready).collect();
    // Longer than two sessions.
    std::thread::sleep(Duration::from_secs(5));
    drop(third);
    nodes.push(launch(3).ready());
    until_all_serve(&nodes, &ports);
    produce(&nodes, "after");
    assert_eq!(read(&nodes), ["before", "after"]);
}
