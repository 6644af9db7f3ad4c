//! The configuration file: TOML with Kafka's keys, read once and checked as a whole.
//!
//! Every error names the file, the line and the key, and says what is wrong and what would be
//! right. A Kafka key that this server does not act on is refused, not ignored. [`NodeConfig`] says
//! what the values mean.

mod listeners;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use wavetank_core::config::NodeConfig;
use wavetank_core::types::{Endpoint, NodeId};

use crate::error::ServeError;
use crate::identity::check_cluster_id;
use crate::net::NetLimits;

pub use listeners::Listener;
use listeners::ListenerKeys;

/// Where `serve` listens when it is given no file.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9092";

/// `broker.heartbeat.interval.ms` of a node that is its only voter, unless the file sets it.
const ALONE_HEARTBEAT: Duration = Duration::from_millis(100);

/// Everything a node starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The core's configuration. A listener's port is 0 if the port that is bound is to be
    /// advertised.
    pub node: NodeConfig,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// The keys that `listeners` was derived from.
    listener_keys: ListenerKeys,
    /// Where the data is kept, if given.
    pub log_dir: Option<PathBuf>,
    /// `cluster.id`, if given.
    pub cluster_id: Option<String>,
    /// Where the voters listen.
    pub voters: BTreeMap<NodeId, Endpoint>,
    /// Addresses at which peers are reached, whatever they advertise.
    pub overrides: BTreeMap<NodeId, Endpoint>,
    /// Bounds on what others may use.
    pub limits: NetLimits,
}

impl Default for ServerConfig {
    /// A single node, broker and controller, on a loopback port, that flushes before it
    /// acknowledges.
    fn default() -> ServerConfig {
        let mut node = NodeConfig::new(NodeId(1), vec![NodeId(1)]);
        node.topic_defaults.flush_each_batch = true;
        ServerConfig {
            node,
            listeners: Vec::new(),
            listener_keys: ListenerKeys::default(),
            log_dir: None,
            cluster_id: None,
            voters: BTreeMap::new(),
            overrides: BTreeMap::new(),
            limits: NetLimits::default(),
        }
    }
}

/// A value and its line.
struct Entry {
    value: Value,
    line: usize,
}

enum Value {
    Text(String),
    List(Vec<String>),
}

impl ServerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or has a key or value that cannot be used.
    pub fn from_file(path: &Path) -> Result<ServerConfig, ServeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ServeError::ConfigUnreadable { path: path.to_path_buf(), error })?;
        ServerConfig::parse(&text).map_err(|(line, problem)| {
            let line = line.map_or(String::new(), |line| format!(":{line}"));
            ServeError::Config(format!("{}{line}: {problem}", path.display()))
        })
    }

    /// The configuration when there is no file.
    pub(crate) fn parse_default() -> ServerConfig {
        ServerConfig::parse("").expect("a file without keys has nothing wrong")
    }

    /// Parses a file's text. An error has the line, if there is one, and the problem.
    fn parse(text: &str) -> Result<ServerConfig, (Option<usize>, String)> {
        let line_of = |offset: usize| {
            text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
        };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(span.start));
            (line, format!("not TOML: {}", error.message().trim_end()))
        })?;
        let mut entries = BTreeMap::new();
        flatten("", table.get_ref(), &line_of, &mut entries)?;
        let mut config = ServerConfig::default();
        let mut given = Given::default();
        for (key, entry) in &entries {
            config.set(key, &entry.value, &mut given).map_err(|p| (Some(entry.line), p))?;
        }
        config.check(&given).map_err(|(key, problem)| {
            (key.and_then(|key| entries.get(key)).map(|entry| entry.line), problem)
        })?;
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &Value, given: &mut Given) -> Result<(), String> {
        if let Some(set) = self.listener_keys.set(key, value) {
            return set;
        }
        let node = &mut self.node;
        match key {
            "node.id" => {
                node.node = NodeId(number(key, value, 0, i64::from(i32::MAX))? as i32);
                given.node_id = true;
            }
            "process.roles" => given.roles = Some(roles(key, value)?),
            "controller.quorum.voters" => {
                self.voters = voters(key, value)?;
                node.voters = self.voters.keys().copied().collect();
            }
            // Ours, not Kafka's: like /etc/hosts, but for nodes. It lets a proxy stand between
            // them.
            "peer.address.overrides" => self.overrides = addresses(key, value)?,
            "cluster.id" => {
                let id = word(key, value)?;
                check_cluster_id(&id).map_err(|problem| format!("{key}: {problem}"))?;
                node.cluster_id.clone_from(&id);
                self.cluster_id = Some(id);
            }
            "log.dirs" | "log.dir" => self.log_dir = Some(log_dir(key, value)?),
            "broker.rack" => node.rack = Some(word(key, value)?),
            "controller.quorum.election.timeout.ms" => {
                node.quorum.election_timeout = millis(key, value)?;
            }
            "controller.quorum.fetch.timeout.ms" => {
                node.quorum.fetch_timeout = millis(key, value)?;
            }
            "controller.quorum.election.backoff.max.ms" => {
                node.quorum.election_backoff_max = millis(key, value)?;
            }
            "controller.quorum.request.timeout.ms" => {
                node.quorum.request_timeout = millis(key, value)?;
            }
            "controller.quorum.retry.backoff.ms" => {
                node.quorum.retry_backoff = millis(key, value)?;
            }
            "broker.heartbeat.interval.ms" => {
                node.heartbeat_interval = millis(key, value)?;
                given.heartbeat = true;
            }
            "broker.session.timeout.ms" => node.session_timeout = millis(key, value)?,
            "replica.lag.time.max.ms" => node.replica_lag_time_max = millis(key, value)?,
            "replica.fetch.wait.max.ms" => node.replica_fetch_wait_max = millis(key, value)?,
            "replica.fetch.max.bytes" => node.replica_fetch_max_bytes = bytes(key, value)?,
            "replica.fetch.backoff.ms" => node.replica_fetch_backoff = millis(key, value)?,
            "replica.socket.timeout.ms" => node.request_timeout = millis(key, value)?,
            "replica.high.watermark.checkpoint.interval.ms" => {
                node.checkpoint_interval = millis(key, value)?;
            }
            "auto.create.topics.enable" => node.auto_create_topics = boolean(key, value)?,
            "delete.topic.enable" => node.delete_topics = boolean(key, value)?,
            "max.broker.partitions" => node.max_broker_partitions = count(key, value)?,
            "num.partitions" => node.num_partitions = number(key, value, 1, 10_000)? as i32,
            "default.replication.factor" => {
                node.default_replication_factor = number(key, value, 1, 1000)? as i16;
            }
            "fetch.max.bytes" => node.fetch_max_bytes = bytes(key, value)?,
            other => return self.set_limit(other, value),
        }
        Ok(())
    }

    /// Bounds on what others may use.
    fn set_limit(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let limits = &mut self.limits;
        match key {
            "socket.request.max.bytes" => {
                limits.max_frame = number(key, value, 1024, 1 << 30)? as usize;
            }
            "queued.max.request.bytes" => {
                limits.request_memory = number(key, value, 1 << 20, 1 << 40)? as usize;
            }
            "queued.max.response.bytes" => {
                limits.response_memory = number(key, value, 1 << 20, 1 << 40)? as usize;
            }
            "connections.max.idle.ms" => limits.max_idle = millis(key, value)?,
            "max.connections" => {
                limits.max_connections = number(key, value, 1, 1 << 20)? as usize;
            }
            other => return self.set_topic_default(other, value),
        }
        Ok(())
    }

    /// Kafka's broker-wide names for the defaults of topic configurations.
    fn set_topic_default(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let topic_key = match key {
            "min.insync.replicas" => "min.insync.replicas",
            "log.segment.bytes" => "segment.bytes",
            "log.index.interval.bytes" => "index.interval.bytes",
            "message.max.bytes" => "max.message.bytes",
            "log.flush.interval.messages" => "flush.messages",
            "log.message.timestamp.type" => "message.timestamp.type",
            "log.message.timestamp.before.max.ms" => "message.timestamp.before.max.ms",
            "log.message.timestamp.after.max.ms" => "message.timestamp.after.max.ms",
            "log.retention.ms" => "retention.ms",
            "log.retention.bytes" => "retention.bytes",
            "log.cleanup.policy" => "cleanup.policy",
            "compression.type" => "compression.type",
            "flush.messages" => return Err(renamed(key, "log.flush.interval.messages")),
            "segment.bytes" => return Err(renamed(key, "log.segment.bytes")),
            "max.message.bytes" => return Err(renamed(key, "message.max.bytes")),
            "retention.ms" => return Err(renamed(key, "log.retention.ms")),
            "rack" => return Err(renamed(key, "broker.rack")),
            other => return Err(unknown(other)),
        };
        let text = word(key, value)?;
        self.node.topic_defaults = self
            .node
            .topic_defaults
            .with_default(topic_key, &text)
            .map_err(|problem| problem.replacen(topic_key, key, 1))?;
        Ok(())
    }

    /// Checks that concern more than one key.
    fn check(&mut self, given: &Given) -> Result<(), (Option<&'static str>, String)> {
        let quorum = Some("controller.quorum.voters");
        if self.voters.is_empty() {
            self.node.voters = vec![self.node.node];
            if !given.heartbeat {
                // A single node talks to itself. It should not start and stop at a pace meant to
                // spare a network.
                self.node.heartbeat_interval = ALONE_HEARTBEAT;
            }
        } else if !given.node_id {
            return Err((
                quorum,
                "controller.quorum.voters is set without node.id; set node.id to one of the voters \
                 (or to another id for a broker beside them)"
                    .into(),
            ));
        }
        let voter = self.node.is_controller();
        if let Some((broker, controller)) = given.roles {
            self.node.is_broker = broker;
            if controller != voter {
                let roles = "process.roles";
                let problem = if controller {
                    format!(
                        "process.roles has \"controller\", but node {} is not in \
                         controller.quorum.voters; add it there or leave the role out",
                        self.node.node
                    )
                } else {
                    format!(
                        "node {} is in controller.quorum.voters, but process.roles lacks \
                         \"controller\"; add the role or take the node out of the voters",
                        self.node.node
                    )
                };
                return Err((Some(roles), problem));
            }
        }
        if self.node.session_timeout <= self.node.heartbeat_interval {
            return Err((
                Some("broker.session.timeout.ms"),
                "broker.session.timeout.ms must be greater than broker.heartbeat.interval.ms, or \
                 every broker is fenced between two heartbeats"
                    .into(),
            ));
        }
        // Kafka parks a quorum fetch for 500 ms whatever the timeouts are. If they are shorter,
        // every fetch that finds nothing times out, and the follower gives up the leader each time.
        let quorum = &mut self.node.quorum;
        let shortest = quorum.request_timeout.min(quorum.fetch_timeout);
        quorum.fetch_wait_max = quorum.fetch_wait_max.min(shortest / 2);
        let brokers = self.voters.len().max(1);
        let wanted = usize::try_from(self.node.default_replication_factor).unwrap_or(0);
        if self.voters.is_empty() && wanted > brokers {
            return Err((
                Some("default.replication.factor"),
                format!("default.replication.factor is {wanted}, but this is a single node"),
            ));
        }
        self.listeners = self.listener_keys.settle(&mut self.node)?;
        if !self.node.listener_is_shared && !self.overrides.is_empty() {
            return Err((
                Some("peer.address.overrides"),
                "peer.address.overrides has one address per node, but with \
                 controller.listener.names each has two; remove one of the keys"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Takes the address to listen on from the command line.
    pub(crate) fn listen(&mut self, bind: Endpoint) -> Result<(), String> {
        self.listener_keys.listen(bind)?;
        self.listeners = self.listener_keys.settle(&mut self.node).map_err(|(_, why)| why)?;
        Ok(())
    }
}

#[derive(Default)]
struct Given {
    node_id: bool,
    heartbeat: bool,
    /// (broker, controller)
    roles: Option<(bool, bool)>,
}

fn count(key: &str, value: &Value) -> Result<u32, String> {
    Ok(number(key, value, 1, 10_000_000)? as u32)
}

fn renamed(key: &str, to: &str) -> String {
    format!("{key} is not a node configuration; the corresponding key is {to}")
}

/// Keys whose nearest match is offered when a key is unknown.
const KEYS: &[&str] = &[
    "node.id",
    "process.roles",
    "controller.quorum.voters",
    "peer.address.overrides",
    "cluster.id",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "controller.listener.names",
    "inter.broker.listener.name",
    "log.dirs",
    "broker.rack",
    "controller.quorum.election.timeout.ms",
    "controller.quorum.fetch.timeout.ms",
    "controller.quorum.election.backoff.max.ms",
    "controller.quorum.request.timeout.ms",
    "controller.quorum.retry.backoff.ms",
    "broker.heartbeat.interval.ms",
    "broker.session.timeout.ms",
    "replica.lag.time.max.ms",
    "replica.fetch.wait.max.ms",
    "replica.fetch.max.bytes",
    "replica.fetch.backoff.ms",
    "replica.socket.timeout.ms",
    "replica.high.watermark.checkpoint.interval.ms",
    "auto.create.topics.enable",
    "delete.topic.enable",
    "max.broker.partitions",
    "num.partitions",
    "default.replication.factor",
    "fetch.max.bytes",
    "socket.request.max.bytes",
    "queued.max.request.bytes",
    "queued.max.response.bytes",
    "connections.max.idle.ms",
    "max.connections",
    "min.insync.replicas",
    "log.segment.bytes",
    "log.index.interval.bytes",
    "message.max.bytes",
    "log.flush.interval.messages",
    "log.message.timestamp.type",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.after.max.ms",
    "log.retention.ms",
    "log.retention.bytes",
    "log.cleanup.policy",
    "compression.type",
];

fn unknown(key: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|known| distance(key, known));
    match nearest {
        Some(known) if distance(key, known) <= 4 => {
            format!("unknown key {key}; did you mean {known}?")
        }
        _ => format!(
            "unknown key {key}. Keys have Kafka's names; a key without effect in this server is \
             refused, so that nobody relies on it. Known: {}",
            KEYS.join(", ")
        ),
    }
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// For TOML, `node.id = 1` is a table `node` with a key `id`. This joins them again.
fn flatten(
    prefix: &str,
    table: &DeTable<'_>,
    line_of: &dyn Fn(usize) -> usize,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), (Option<usize>, String)> {
    for (name, value) in table {
        let line = line_of(name.span().start);
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(&key, inner, line_of, entries)?;
            continue;
        }
        let value = match value.get_ref() {
            DeValue::Array(items) => {
                let items = items.iter().map(|item| scalar(item.get_ref()));
                items.collect::<Option<Vec<_>>>().map(Value::List)
            }
            other => scalar(other).map(Value::Text),
        };
        let Some(value) = value else {
            return Err((
                Some(line),
                format!(
                    "{key} has a value of an unsupported type; expected text, an integer, true or \
                     false, or a list of these"
                ),
            ));
        };
        entries.insert(key, Entry { value, line });
    }
    Ok(())
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            Some(parsed.map_or_else(|| number.as_str().to_string(), |n| n.to_string()))
        }
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn word(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text.trim().to_string()),
        Value::Text(_) => Err(format!("{key} is empty; give a value or leave the key out")),
        Value::List(_) => Err(format!("{key} is a list; expected one value")),
    }
}

/// A TOML list, or Kafka's comma-separated text.
fn list(value: &Value) -> Vec<String> {
    let split =
        |text: &String| text.split(',').map(|item| item.trim().to_string()).collect::<Vec<_>>();
    let items = match value {
        Value::Text(text) => split(text),
        Value::List(items) => items.iter().flat_map(split).collect(),
    };
    items.into_iter().filter(|item| !item.is_empty()).collect()
}

fn number(key: &str, value: &Value, min: i64, max: i64) -> Result<i64, String> {
    let text = word(key, value)?;
    match text.parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{key} is {text:?}; expected a number from {min} to {max}")),
    }
}

fn bytes(key: &str, value: &Value) -> Result<u32, String> {
    number(key, value, 0, i64::from(i32::MAX)).map(|bytes| bytes as u32)
}

fn millis(key: &str, value: &Value) -> Result<Duration, String> {
    number(key, value, 1, i64::from(i32::MAX)).map(|ms| Duration::from_millis(ms as u64))
}

fn boolean(key: &str, value: &Value) -> Result<bool, String> {
    match word(key, value)?.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{key} is {other:?}; expected true or false")),
    }
}

fn roles(key: &str, value: &Value) -> Result<(bool, bool), String> {
    let (mut broker, mut controller) = (false, false);
    for role in list(value) {
        match role.as_str() {
            "broker" => broker = true,
            "controller" => controller = true,
            other => {
                return Err(format!("{key} has {other:?}; expected \"broker\", \"controller\""));
            }
        }
    }
    if !broker && !controller {
        return Err(format!("{key} is empty; expected \"broker\", \"controller\" or both"));
    }
    Ok((broker, controller))
}

/// Nodes and their addresses, in the format of `controller.quorum.voters`.
fn addresses(key: &str, value: &Value) -> Result<BTreeMap<NodeId, Endpoint>, String> {
    let mut addresses = BTreeMap::new();
    for item in list(value) {
        let wrong =
            || format!("{key} has {item:?}; expected \"ID@HOST:PORT\", as in \"1@localhost:9092\"");
        let (id, address) = item.split_once('@').ok_or_else(wrong)?;
        let id = id.parse::<i32>().ok().filter(|id| *id >= 0).ok_or_else(wrong)?;
        let endpoint = parse_address(address).filter(|e| e.port != 0).ok_or_else(wrong)?;
        if addresses.insert(NodeId(id), endpoint).is_some() {
            return Err(format!("{key} names node {id} twice"));
        }
    }
    Ok(addresses)
}

/// The largest quorum that storms have. Larger ones were never tested.
const MAX_VOTERS: usize = 5;

fn voters(key: &str, value: &Value) -> Result<BTreeMap<NodeId, Endpoint>, String> {
    let voters = addresses(key, value)?;
    if !(1..=MAX_VOTERS).contains(&voters.len()) {
        let named = voters.len();
        return Err(format!("{key} names {named} nodes; expected 1 to {MAX_VOTERS}"));
    }
    Ok(voters)
}

fn log_dir(key: &str, value: &Value) -> Result<PathBuf, String> {
    let items = list(value);
    match items.as_slice() {
        [one] => Ok(PathBuf::from(one)),
        other => Err(format!("{key} names {} directories; expected exactly one", other.len())),
    }
}

/// Parses `HOST:PORT`, with the host in brackets if it is an IPv6 address.
pub fn parse_address(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let valid = host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
    Some(Endpoint { host: host.to_string(), port: port.parse().ok()? }).filter(|_| valid)
}

#[cfg(test)]
mod tests;
