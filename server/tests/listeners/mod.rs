//! Which requests each listener accepts: separate listeners for clients, brokers and controllers,
//! and one for all.

use std::net::TcpListener;

use tempfile::TempDir;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

use crate::common::{self, Client, Launched, Node, refusal, values};
use crate::liar::{Dice, Hostile, Known};

/// Three nodes, each with four listeners.
struct Named {
    work: TempDir,
    /// By node: for clients, for other clients, for brokers, for controllers.
    ports: [[u16; 4]; 3],
}

impl Named {
    fn new() -> Named {
        let held: Vec<TcpListener> =
            (0..12).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |at: usize| held[at].local_addr().expect("bound").port();
        let ports = std::array::from_fn(|node| std::array::from_fn(|at| port(node * 4 + at)));
        Named { work: TempDir::new().expect("a directory"), ports }
    }

    fn launch(&self, node: usize) -> Launched {
        let voter = |id: usize| format!("{}@127.0.0.1:{}", id + 1, self.ports[id][3]);
        let [clients, others, brokers, controllers] = self.ports[node];
        let text = format!(
            "node.id = {}\ncluster.id = \"named\"\n\
             controller.quorum.voters = \"{},{},{}\"\n\
             listeners = \"PLAINTEXT://127.0.0.1:{clients},OTHERS://127.0.0.1:{others},\
             REPL://127.0.0.1:{brokers},CTL://127.0.0.1:{controllers}\"\n\
             listener.security.protocol.map = \"PLAINTEXT:PLAINTEXT,OTHERS:PLAINTEXT,\
             REPL:PLAINTEXT,CTL:PLAINTEXT\"\n\
             controller.listener.names = \"CTL\"\ninter.broker.listener.name = \"REPL\"\n\
             log.dirs = {:?}\ndefault.replication.factor = 3\nmin.insync.replicas = 2\n\
             broker.session.timeout.ms = 2000\nbroker.heartbeat.interval.ms = 200\n",
            node + 1,
            voter(0),
            voter(1),
            voter(2),
            self.work.path().join(format!("data-{node}")).display().to_string(),
        );
        let path = self.work.path().join(format!("{node}.toml"));
        std::fs::write(&path, text).expect("written");
        Node::launch(&["--config", &path.display().to_string(), "--format", "yes"])
    }
}

fn apis(client: &mut Client) -> Vec<ApiKey> {
    let asked = client.ask(0, &Request::ApiVersions(ApiVersionsRequest::default()));
    let Response::ApiVersions(answer) = asked else { panic!("{asked:?}") };
    answer.apis.iter().filter_map(|(key, _, _)| ApiKey::from_key(*key)).collect()
}

/// Requests that only nodes send.
fn of_peers() -> Vec<(i16, Request)> {
    let as_replica = FetchRequest {
        replica: NodeId(2),
        replica_epoch: BrokerEpoch(i64::MAX),
        ..common::fetch(&TopicRef::name("t"), 0)
    };
    let metadata =
        common::fetch(&TopicRef { name: METADATA_TOPIC.into(), id: METADATA_TOPIC_ID }, 0);
    let mut all = vec![(11, Request::Fetch(as_replica)), (11, Request::Fetch(metadata))];
    let mut dice = Dice(1);
    let known = Known { broker_epochs: vec![BrokerEpoch(1)], ..Known::default() };
    let of_nodes = |api: &ApiKey| !api.properties().listeners.brokers && *api != ApiKey::Envelope;
    for api in ApiKey::ALL.iter().copied().filter(of_nodes) {
        let request = Hostile { dice: &mut dice, known: &known }.request_of(api);
        all.push((wavetank_wire::highest(api), request));
    }
    all
}

fn refuses(port: u16, version: i16, request: &Request) -> bool {
    let mut client = Client::connect(&format!("127.0.0.1:{port}"));
    client.try_ask(version, request).is_none()
}

#[test]
fn each_listener_serves_those_it_is_for() {
    let named = Named::new();
    let launched: Vec<Launched> = (0..3).map(|node| named.launch(node)).collect();
    let nodes: Vec<Node> = launched.into_iter().map(Launched::ready).collect();
    // Brokers use the inter-broker listener; clients get the addresses of the listener that they
    // use.
    for (at, column) in [(0, 0), (1, 1), (2, 2)] {
        let mut client = Client::connect(&format!("127.0.0.1:{}", named.ports[at][column]));
        client.until_topic("t");
        let told = client.metadata("t").brokers;
        let told: Vec<u16> = told.iter().map(|broker| broker.endpoint.port).collect();
        assert_eq!(told, named.ports.map(|ports| ports[column]));
    }
    let mut client = Client::connect(&format!("127.0.0.1:{}", named.ports[0][0]));
    let leader = client.metadata("t").topics[0].partitions[0].leader;
    let leader = &named.ports[leader.0 as usize - 1];
    let mut client = Client::connect(&format!("127.0.0.1:{}", leader[0]));
    client.until_leader("t");
    let written = client.ask(7, &Request::Produce(common::produce(&TopicRef::name("t"), -1, "a")));
    let Response::Produce(written) = written else { panic!("{written:?}") };
    assert_eq!(written.topics[0].partitions[0].error, ErrorCode::None);

    for (version, request) in of_peers() {
        for port in [leader[0], leader[1]] {
            assert!(refuses(port, version, &request), "{request:?}");
        }
        let is_replica = matches!(&request, Request::Fetch(fetch) if fetch.replica == NodeId(2));
        assert_eq!(refuses(leader[2], version, &request), !is_replica, "{request:?}");
        if let Request::Vote(_) = request {
            assert!(!refuses(leader[3], version, &request), "it is well-formed: {request:?}");
        }
    }
    let produce = Request::Produce(common::produce(&TopicRef::name("t"), 1, "b"));
    assert!(refuses(leader[3], 7, &produce), "controllers take no records");
    let served = |port: u16| apis(&mut Client::connect(&format!("127.0.0.1:{port}")));
    for port in &leader[..3] {
        let served = served(*port);
        assert!(served.contains(&ApiKey::Produce) && !served.contains(&ApiKey::Vote), "{served:?}");
    }
    let controllers = served(leader[3]);
    assert!(controllers.contains(&ApiKey::Vote) && !controllers.contains(&ApiKey::Produce));

    let fetched = client.ask(11, &Request::Fetch(common::fetch(&TopicRef::name("t"), 0)));
    let Response::Fetch(fetched) = fetched else { panic!("{fetched:?}") };
    assert_eq!(values(&fetched.topics[0].partitions[0]), ["a"]);
    drop(nodes);
}

/// One listener for clients and controllers that other machines can reach.
#[test]
fn a_single_listener_is_for_loopback_or_for_a_node_alone() {
    let data = TempDir::new().expect("a directory");
    let path = data.path().join("node.toml");
    let alone = "listeners = \"0.0.0.0:0\"\nadvertised.listeners = \"127.0.0.1:0\"\n";
    std::fs::write(&path, alone).expect("written");
    let (file, work) = (path.display().to_string(), data.path().join("data"));
    let work = work.display().to_string();
    let node = Node::launch(&["--data", &work, "--config", &file]).ready();
    let mut client = Client::connect(&format!("127.0.0.1:{}", node.port()));
    client.until_leader("t");
    for (version, request) in of_peers() {
        let is_replica = matches!(&request, Request::Fetch(fetch) if fetch.replica == NodeId(2));
        assert_eq!(refuses(node.port(), version, &request), !is_replica, "{request:?}");
    }
    drop(node);
    let of_three = "node.id = 1\ncluster.id = \"x\"\n\
                    controller.quorum.voters = \"1@127.0.0.1:7,2@127.0.0.1:8,3@127.0.0.1:9\"\n";
    std::fs::write(&path, format!("{of_three}{alone}")).expect("written");
    let other = data.path().join("other").display().to_string();
    let (code, text) = refusal(&["--data", &other, "--config", &file, "--format", "yes"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("not loopback") && text.contains("controller.listener.names"), "{text}");
}

/// A client that expects another node or another cluster gets an error that says so (KIP-1242).
#[test]
fn who_looks_for_another_is_told_so() {
    let node = Node::start(&["cluster.id = \"here\""]);
    let ask = |cluster: Option<&str>, id| {
        let request = ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1".into(),
            cluster_id: cluster.map(String::from),
            node: NodeId(id),
        };
        let mut client = Client::connect(&node.address());
        match client.ask(5, &Request::ApiVersions(request)) {
            Response::ApiVersions(answer) => answer.error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(Some("here"), 1), ErrorCode::None);
    assert_eq!(ask(Some("here"), 2), ErrorCode::RebootstrapRequired);
    assert_eq!(ask(Some("there"), 1), ErrorCode::RebootstrapRequired);
    assert_eq!(ask(None, -1), ErrorCode::None);
}
