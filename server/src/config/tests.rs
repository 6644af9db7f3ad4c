//! Valid files, and each mistake with the line and the words that the error must have.

use super::*;
use wavetank_core::event::ListenerId;
use wavetank_core::listener::Serves;

const THREE: &str = r#"
node.id = 2
process.roles = ["broker", "controller"]
controller.quorum.voters = ["1@localhost:9192", "2@localhost:9292", "3@localhost:9392"]
listeners = "PLAINTEXT://localhost:9292"
log.dirs = "/var/lib/wavetank/2"
cluster.id = "three"
default.replication.factor = 3
min.insync.replicas = 2
log.flush.interval.messages = 10000
log.segment.bytes = 1_048_576
broker.session.timeout.ms = 3000
broker.heartbeat.interval.ms = 500
"#;

#[test]
fn a_fetch_of_the_quorum_is_not_parked_beyond_its_timeouts() {
    let wait =
        |text: &str| ServerConfig::parse(text).expect("it is right").node.quorum.fetch_wait_max;
    let kafkas = Duration::from_millis(500);
    assert_eq!(wait(""), kafkas);
    assert_eq!(wait("controller.quorum.request.timeout.ms = 5000"), kafkas);
    let half = Duration::from_millis(200);
    assert_eq!(wait("controller.quorum.request.timeout.ms = 400"), half);
    assert_eq!(wait("controller.quorum.fetch.timeout.ms = 400"), half);
}

#[test]
fn three_nodes() {
    let config = ServerConfig::parse(THREE).expect("it is right");
    assert_eq!(config.node.node, NodeId(2));
    assert!(config.node.is_broker && config.node.is_controller());
    assert_eq!(config.node.voters, [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(config.voters[&NodeId(3)], Endpoint { host: "localhost".into(), port: 9392 });
    assert_eq!(config.node.listeners[0].1, Endpoint { host: "localhost".into(), port: 9292 });
    assert_eq!(config.log_dir.as_deref(), Some(Path::new("/var/lib/wavetank/2")));
    assert_eq!(config.node.topic_defaults.min_insync_replicas, 2);
    assert_eq!(config.node.topic_defaults.segment_bytes, 1 << 20);
    assert!(!config.node.topic_defaults.flush_each_batch, "as the file says");
    assert_eq!(config.node.session_timeout, Duration::from_secs(3));
}

#[test]
fn nothing_said_is_one_safe_node() {
    let config = ServerConfig::parse("").expect("nothing is wrong with it");
    assert_eq!(config.node.voters, [NodeId(1)]);
    assert!(config.node.topic_defaults.flush_each_batch);
    assert!(config.node.auto_create_topics);
    let other = ServerConfig::parse("node.id = 7").expect("a node alone");
    assert_eq!(other.node.voters, [NodeId(7)]);
}

#[test]
fn peers_behind_a_proxy() {
    let text = format!("{THREE}peer.address.overrides = \"1@127.0.0.1:7001,9@127.0.0.1:7009\"\n");
    let config = ServerConfig::parse(&text).expect("it is right");
    let proxy = |port| Endpoint { host: "127.0.0.1".into(), port };
    let expected = BTreeMap::from([(NodeId(1), proxy(7001)), (NodeId(9), proxy(7009))]);
    assert_eq!(config.overrides, expected);
    assert_eq!(config.voters[&NodeId(1)].port, 9192, "who votes is another matter");
}

/// The text with the line of the same key replaced (or with the line appended).
fn with(line: &str) -> String {
    let key = line.split('=').next().expect("there is a first part");
    let kept: Vec<&str> = THREE.lines().filter(|old| !old.starts_with(key)).collect();
    format!("{}\n{line}\n", kept.join("\n"))
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let cases = [
        ("nod.id = 2", "did you mean node.id?"),
        ("group.coordinator.threads = 2", "refused"),
        ("node.id = \"two\"", "node.id is \"two\"; expected a number from 0"),
        ("node.id = -1", "expected a number"),
        ("process.roles = [\"boss\"]", "\"boss\""),
        ("process.roles = [\"broker\"]", "lacks \"controller\""),
        ("process.roles = []", "empty"),
        (
            "controller.quorum.voters = [\"1@a:1\", \"2@b:2\", \"3@c:3\", \"4@d:4\", \"5@e:5\", \
             \"6@f:6\"]",
            "names 6 nodes; expected 1 to 5",
        ),
        ("controller.quorum.voters = [\"localhost:1\"]", "expected \"ID@HOST:PORT\""),
        ("controller.quorum.voters = [\"2@a:1\", \"2@a:1\", \"3@a:1\"]", "names node 2 twice"),
        ("controller.quorum.voters = [\"9@a:1\"]", "not in controller.quorum.voters"),
        ("listeners = \"SSL://localhost:9\"", "only PLAINTEXT"),
        ("listeners = [\"a:1\", \"b:2\"]", "two listeners called PLAINTEXT"),
        ("listeners = \"PLAINTEXT://a:1,X://b:2\"", "X, for which listener.security.protocol.map"),
        ("listeners = \"PLAINTEXT://a:1,x y://b:2\"", "the name \"x y\""),
        ("listeners = \"PLAINTEXT://a:1,SSL://b:1\"", "on port 1"),
        ("listener.security.protocol.map = \"A:PLAIN\"", "\"PLAIN\"; expected one of"),
        ("listener.security.protocol.map = \"A\"", "expected \"NAME:PROTOCOL\""),
        ("listener.security.protocol.map = \"A:SSL,a:SSL\"", "names A twice"),
        ("listener.security.protocol.map = \"A:SSL\"", "PLAINTEXT, for which"),
        ("listener.security.protocol.map = \"PLAINTEXT:SSL\"", "only PLAINTEXT is supported"),
        ("controller.listener.names = \"CONTROLLER\"", "no such listener"),
        ("controller.listener.names = \"PLAINTEXT\"", "a broker needs a listener"),
        ("inter.broker.listener.name = \"INTERNAL\"", "known: PLAINTEXT"),
        ("advertised.listeners = \"OTHER://a:1\"", "not in listeners; known: PLAINTEXT"),
        ("advertised.listeners = \"0.0.0.0:1\"", "not an address to connect to"),
        ("listeners = \"localhost\"", "expected \"PLAINTEXT://HOST:PORT\""),
        ("listeners = \"localhost:99999\"", "expected \"PLAINTEXT://HOST:PORT\""),
        ("listeners = \"0.0.0.0:9092\"", "advertised.listeners"),
        ("log.dirs = [\"/a\", \"/b\"]", "expected exactly one"),
        ("log.segment.bytes = 3", "log.segment.bytes is \"3\"; expected a number from 14"),
        ("log.cleanup.policy = \"compact\"", "not supported"),
        ("flush.messages = 1", "log.flush.interval.messages"),
        ("auto.create.topics.enable = \"maybe\"", "expected true or false"),
        ("broker.session.timeout.ms = 100", "greater than broker.heartbeat.interval.ms"),
        ("num.partitions = 1.5", "unsupported type"),
        ("cluster.id = \"\"", "empty"),
        ("broker.rack = [\"a\"]", "expected one value"),
    ];
    for (line, expected) in cases {
        let text = with(line);
        let (at, problem) = ServerConfig::parse(&text).expect_err(line);
        assert!(problem.contains(expected), "{line}: {problem}");
        let at = at.unwrap_or_else(|| panic!("{line}: no line number in {problem}"));
        let key = line.split('=').next().expect("there is a first part").trim();
        let named = text.lines().nth(at - 1).expect("the line exists");
        assert!(
            named.starts_with(key)
                || problem.contains(named.split('=').next().unwrap_or("").trim()),
            "{line}: blamed line {at}, {named:?}"
        );
    }
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let (line, problem) = ServerConfig::parse("node.id = 1\nlisteners = [\n").expect_err("broken");
    assert!(line.is_some_and(|line| line >= 2), "{line:?}");
    assert!(problem.contains("not TOML"), "{problem}");
    let (_, problem) = ServerConfig::parse("node.id = 1\nnode.id = 2\n").expect_err("twice");
    assert!(problem.contains("duplicate"), "{problem}");
}

#[test]
fn a_file_that_is_not_there() {
    let error = ServerConfig::from_file(Path::new("/nonexistent/x.toml")).expect_err("no file");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("/nonexistent/x.toml"));
}

#[test]
fn addresses() {
    assert_eq!(parse_address("[::1]:9"), Some(Endpoint { host: "::1".into(), port: 9 }));
    assert_eq!(parse_address("a.b:65535"), Some(Endpoint { host: "a.b".into(), port: 65535 }));
    for bad in ["", "a", "a:", "a:b", "a:65536", "::1:9", "[::1:9", "a b:1", "a/b:1"] {
        assert_eq!(parse_address(bad), None, "{bad}");
    }
}

/// Four listeners, as in a production cluster.
const NAMED: &str = r#"
node.id = 2
controller.quorum.voters = ["1@a:9193", "2@b:9193", "3@c:9193"]
listeners = "EXTERNAL://0.0.0.0:9092,internal://10.0.0.2:9094,REPL://10.0.0.2:9095,CTL://10.0.0.2:9193"
advertised.listeners = "REPL://b:9095,EXTERNAL://kafka.example.org:19092,INTERNAL://b:9094"
listener.security.protocol.map = "CTL:PLAINTEXT,EXTERNAL:PLAINTEXT,INTERNAL:PLAINTEXT,REPL:PLAINTEXT,SSL:SSL"
controller.listener.names = "CTL"
inter.broker.listener.name = "REPL"
"#;

#[test]
fn each_listener_has_its_guests() {
    let config = ServerConfig::parse(NAMED).expect("it is right");
    let listeners: Vec<_> =
        config.listeners.iter().map(|l| (l.name.as_str(), l.id, l.serves)).collect();
    let broker = ListenerId::Broker;
    assert_eq!(
        listeners,
        [
            ("EXTERNAL", broker(0), Serves::Clients),
            ("INTERNAL", broker(1), Serves::Clients),
            ("REPL", broker(2), Serves::Brokers),
            ("CTL", ListenerId::Controller, Serves::Controllers),
        ]
    );
    let advertised: Vec<_> =
        config.node.listeners.iter().map(|(name, at)| (name.as_str(), at.port)).collect();
    assert_eq!(advertised, [("EXTERNAL", 19092), ("INTERNAL", 9094), ("REPL", 9095)]);
    assert_eq!(config.node.inter_broker_listener, "REPL");
    assert!(!config.node.listener_is_shared);
    let alone = ServerConfig::parse("").expect("nothing is wrong with it");
    assert_eq!(alone.listeners[0].serves, Serves::All);
    assert!(alone.node.listener_is_shared);
}

#[test]
fn mistakes_among_named_listeners() {
    let brokers = "controller.quorum.voters = [\"1@a:9193\"]\n";
    let cases = [
        ("controller.listener.names = \"CTL\"\n", "", "does not say which"),
        ("inter.broker.listener.name = \"REPL\"\n", "", "PLAINTEXT by default"),
        (
            "inter.broker.listener.name = \"REPL\"\n",
            "inter.broker.listener.name = \"CTL\"\n",
            "is not a listener of this node for clients",
        ),
        ("REPL://b:9095,", "", "lacks REPL"),
        ("REPL://b:9095,", "CTL://b:9193,REPL://b:9095,", "controllers are found by"),
        ("REPL:PLAINTEXT", "REPL:SASL_SSL", "only PLAINTEXT"),
        ("[\"1@a:9193\", \"2@b:9193\", \"3@c:9193\"]\n", "[\"1@a:9193\"]\n", "Remove CTL"),
        (
            "node.id = 2",
            "node.id = 2\nprocess.roles = \"controller\"",
            "may have no listeners other",
        ),
        ("node.id = 2", "node.id = 2\npeer.address.overrides = \"1@a:1\"", "each has two"),
    ];
    for (old, new, expected) in cases {
        assert!(NAMED.contains(old), "{old}");
        let text = NAMED.replace(old, new);
        let (_, problem) = ServerConfig::parse(&text).expect_err(expected);
        assert!(problem.contains(expected), "{new}: {problem}");
    }
    // On a broker the key only names the controllers' listener.
    let broker = format!(
        "node.id = 2\n{brokers}listeners = \"PLAINTEXT://b:9092\"\ncontroller.listener.names = \"CTL\"\n"
    );
    let config = ServerConfig::parse(&broker).expect("it is right");
    assert_eq!(config.listeners[0].serves, Serves::Brokers);
    assert!(!config.node.is_controller());
}
