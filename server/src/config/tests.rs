//! Files that are right, and each mistake with the line and the words that it must be told in.

use super::*;

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
fn three_nodes() {
    let config = ServerConfig::parse(THREE).expect("it is right");
    assert_eq!(config.node.node, NodeId(2));
    assert!(config.node.is_broker && config.node.is_controller());
    assert_eq!(config.node.voters, [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(config.voters[&NodeId(3)], Endpoint { host: "localhost".into(), port: 9392 });
    assert_eq!(config.node.endpoint, Endpoint { host: "localhost".into(), port: 9292 });
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

/// The text with one line put in place of another (or at its end).
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
        ("listeners = [\"a:1\", \"b:2\"]", "expected exactly one"),
        ("listeners = \"localhost\"", "expected \"PLAINTEXT://HOST:PORT\""),
        ("listeners = \"localhost:99999\"", "expected \"PLAINTEXT://HOST:PORT\""),
        ("listeners = \"0.0.0.0:9092\"", "advertised.listeners"),
        ("log.dirs = [\"/a\", \"/b\"]", "expected exactly one"),
        ("log.segment.bytes = 3", "log.segment.bytes is \"3\"; expected a number from 14"),
        ("log.cleanup.policy = \"compact\"", "not supported"),
        ("flush.messages = 1", "log.flush.interval.messages"),
        ("auto.create.topics.enable = \"maybe\"", "expected true or false"),
        ("broker.session.timeout.ms = 100", "greater than broker.heartbeat.interval.ms"),
        ("num.partitions = 1.5", "of no use here"),
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
