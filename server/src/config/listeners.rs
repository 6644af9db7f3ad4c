//! Where a node listens, and what each listener serves: `listeners` and its four companion keys, by
//! Kafka's rules (`KafkaConfig.validateValues`, `CoreUtils.listenerListToEndPoints`).
//!
//! There are two differences. One listener may serve both clients and nodes if only this machine
//! can reach it; `controller.listener.names` is then left out. (Whether that is so is known once
//! the listener is bound; see [`crate::doors`].) And `advertised.listeners`, if given, must name
//! every listener for clients and brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wavetank_core::config::NodeConfig;
use wavetank_core::event::ListenerId;
use wavetank_core::listener::Serves;
use wavetank_core::types::Endpoint;

use super::{DEFAULT_LISTEN, Value, list, parse_address, word};

const PLAINTEXT: &str = "PLAINTEXT";

/// Kafka's names. Only the first is supported so far.
const PROTOCOLS: [&str; 4] = [PLAINTEXT, "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";
const PROTOCOL_MAP: &str = "listener.security.protocol.map";
const CONTROLLER_NAMES: &str = "controller.listener.names";
const INTER_BROKER: &str = "inter.broker.listener.name";

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// Where to listen.
    pub bind: Endpoint,
    /// Its identity in the core.
    pub id: ListenerId,
    /// Which requests it accepts.
    pub serves: Serves,
}

/// The keys as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerKeys {
    listeners: Option<Vec<(String, Endpoint)>>,
    advertised: Option<Vec<(String, Endpoint)>>,
    protocols: Option<BTreeMap<String, String>>,
    controllers: Option<Vec<String>>,
    inter_broker: Option<String>,
}

/// The key to blame, and what is wrong.
type Problem = (Option<&'static str>, String);

impl ListenerKeys {
    /// Sets one of the keys. `None` if `key` is not one of them.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match key {
            LISTENERS => named(key, value, true).map(|them| self.listeners = Some(them)),
            ADVERTISED => named(key, value, false).map(|them| self.advertised = Some(them)),
            PROTOCOL_MAP => protocols(key, value).map(|map| self.protocols = Some(map)),
            CONTROLLER_NAMES => names(key, value).map(|names| self.controllers = Some(names)),
            INTER_BROKER => word(key, value)
                .and_then(|text| listener_name(key, &text))
                .map(|name| self.inter_broker = Some(name)),
            _ => return None,
        })
    }

    /// Takes the address to listen on from the command line.
    pub(super) fn listen(&mut self, bind: Endpoint) -> Result<(), String> {
        let name = match self.listeners.as_deref() {
            None => PLAINTEXT.to_string(),
            Some([(name, _)]) => name.clone(),
            Some(several) => {
                return Err(format!(
                    "--listen sets one address, but the configuration file names {} listeners; \
                     remove --listen",
                    several.len()
                ));
            }
        };
        self.listeners = Some(vec![(name, bind)]);
        Ok(())
    }

    /// All listeners, checked against each other and the node's roles. Sets what `node` advertises.
    pub(super) fn settle(&self, node: &mut NodeConfig) -> Result<Vec<Listener>, Problem> {
        let default = parse_address(DEFAULT_LISTEN).expect("the default is an address");
        let given = self.listeners.clone();
        let given = given.unwrap_or_else(|| vec![(PLAINTEXT.to_string(), default)]);
        for (name, _) in &given {
            self.plaintext(LISTENERS, name)?;
        }
        let controllers = self.check_controllers(&given, node)?;
        let is_for_clients = |name: &String| !controllers.contains(name);
        let of_brokers: Vec<&(String, Endpoint)> =
            given.iter().filter(|(name, _)| is_for_clients(name)).collect();
        node.listener_is_shared = self.controllers.is_none();
        node.listeners = self.advertise(&of_brokers, &controllers)?;
        node.inter_broker_listener = self.inter_broker(&of_brokers, node.is_broker)?;
        let mut next = 0;
        let listeners = given.into_iter().map(|(name, bind)| {
            if controllers.contains(&name) {
                let (id, serves) = (ListenerId::Controller, Serves::Controllers);
                return Listener { name, bind, id, serves };
            }
            let id = ListenerId::Broker(next);
            next += 1;
            let serves = if node.listener_is_shared {
                Serves::All
            } else if name == node.inter_broker_listener {
                Serves::Brokers
            } else {
                Serves::Clients
            };
            Listener { name, bind, id, serves }
        });
        Ok(listeners.collect())
    }

    /// The names of the listeners for controllers.
    fn check_controllers(
        &self,
        given: &[(String, Endpoint)],
        node: &NodeConfig,
    ) -> Result<BTreeSet<String>, Problem> {
        let Some(controllers) = &self.controllers else {
            if given.len() == 1 {
                return Ok(BTreeSet::new());
            }
            return Err((
                Some(LISTENERS),
                format!(
                    "{LISTENERS} names {} listeners, but {CONTROLLER_NAMES} does not say which are \
                     for controllers only; add it, as in {CONTROLLER_NAMES} = \"CONTROLLER\"",
                    given.len()
                ),
            ));
        };
        let blame = |problem| Err((Some(CONTROLLER_NAMES), problem));
        for name in controllers {
            self.plaintext(CONTROLLER_NAMES, name)?;
            let is_here = given.iter().any(|(known, _)| known == name);
            if node.is_controller() && !is_here {
                return blame(format!(
                    "{CONTROLLER_NAMES} has {name}, but {LISTENERS} of this controller has no such \
                     listener; add {name}://HOST:PORT there"
                ));
            }
            if !node.is_controller() && is_here {
                return blame(format!(
                    "{CONTROLLER_NAMES} has {name}, which is in {LISTENERS}, but this node is not \
                     a controller: here the name only tells how to reach controllers. Remove \
                     {name} from {LISTENERS}"
                ));
            }
        }
        let controllers: BTreeSet<String> = controllers.iter().cloned().collect();
        let of_brokers = given.iter().filter(|(name, _)| !controllers.contains(name)).count();
        if node.is_broker && of_brokers == 0 {
            return blame(format!(
                "a broker needs a listener for clients and other brokers, but all of {LISTENERS} \
                 are in {CONTROLLER_NAMES}; add one, as in PLAINTEXT://HOST:PORT"
            ));
        }
        if !node.is_broker && of_brokers > 0 {
            return blame(format!(
                "process.roles is only \"controller\", so {LISTENERS} may have no listeners other \
                 than those in {CONTROLLER_NAMES}"
            ));
        }
        Ok(controllers)
    }

    /// The addresses at which clients and brokers reach the brokers' listeners.
    fn advertise(
        &self,
        of_brokers: &[&(String, Endpoint)],
        controllers: &BTreeSet<String>,
    ) -> Result<Vec<(String, Endpoint)>, Problem> {
        let Some(advertised) = &self.advertised else {
            return match of_brokers.iter().find(|(_, bind)| is_wildcard(bind)) {
                Some(_) => Err((
                    Some(LISTENERS),
                    format!(
                        "{LISTENERS} binds every interface, so clients cannot be told where to \
                         connect; set {ADVERTISED} = \"PLAINTEXT://HOST:PORT\" with a host that \
                         they can reach"
                    ),
                )),
                None => Ok(of_brokers.iter().map(|listener| (*listener).clone()).collect()),
            };
        };
        let blame = |problem| Err((Some(ADVERTISED), problem));
        for (name, endpoint) in advertised {
            if is_wildcard(endpoint) {
                return blame(format!(
                    "{ADVERTISED} has {name} at {:?}, which is not an address to connect to; give \
                     a host name or an IP address",
                    endpoint.host
                ));
            }
            if controllers.contains(name) {
                return blame(format!(
                    "{ADVERTISED} has {name}, which is in {CONTROLLER_NAMES}; controllers are \
                     found by controller.quorum.voters; remove it"
                ));
            }
            if of_brokers.iter().all(|(known, _)| known != name) {
                let known: Vec<&str> = of_brokers.iter().map(|(name, _)| name.as_str()).collect();
                return blame(format!(
                    "{ADVERTISED} has {name}, which is not in {LISTENERS}; known: {}",
                    known.join(", ")
                ));
            }
        }
        let mut all = Vec::new();
        for (name, _) in of_brokers {
            let Some(found) = advertised.iter().find(|(known, _)| known == name) else {
                return blame(format!(
                    "{ADVERTISED} lacks {name}, which is in {LISTENERS}: clients that connect \
                     there could not be told any broker's address; add it"
                ));
            };
            all.push(found.clone());
        }
        Ok(all)
    }

    /// The listener that brokers use to reach each other.
    fn inter_broker(
        &self,
        of_brokers: &[&(String, Endpoint)],
        is_broker: bool,
    ) -> Result<String, Problem> {
        let name = self.inter_broker.clone().unwrap_or_else(|| PLAINTEXT.to_string());
        if is_broker && of_brokers.iter().all(|(known, _)| *known != name) {
            let known: Vec<&str> = of_brokers.iter().map(|(name, _)| name.as_str()).collect();
            let key = if self.inter_broker.is_some() { INTER_BROKER } else { LISTENERS };
            return Err((
                Some(key),
                format!(
                    "{INTER_BROKER} is {name}{}, which is not a listener of this node for clients \
                     and brokers; known: {}",
                    if self.inter_broker.is_some() { "" } else { " by default" },
                    known.join(", ")
                ),
            ));
        }
        Ok(name)
    }

    /// Checks that this listener's protocol is one that we support.
    fn plaintext(&self, key: &'static str, name: &str) -> Result<(), Problem> {
        let is_controller = self.controllers.iter().flatten().any(|known| known == name);
        let protocol = match &self.protocols {
            Some(map) => map.get(name).map(String::as_str),
            None if PROTOCOLS.contains(&name) => Some(name),
            None => is_controller.then_some(PLAINTEXT),
        };
        match protocol {
            Some(PLAINTEXT) => Ok(()),
            Some(other) => Err((
                Some(key),
                format!("{key} has protocol {other:?}; only PLAINTEXT is supported"),
            )),
            None => Err((
                Some(key),
                format!(
                    "{key} has {name}, for which {PROTOCOL_MAP} has no protocol; add \
                     {name}:PLAINTEXT to it"
                ),
            )),
        }
    }
}

/// Whether it stands for every interface.
fn is_wildcard(endpoint: &Endpoint) -> bool {
    ["0.0.0.0", "::", ""].contains(&endpoint.host.as_str())
}

/// A listener's name, in capitals as Kafka compares it.
fn listener_name(key: &str, text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err(format!("{key} has the name {text:?}; expected letters, digits, _, - and .")),
    }
}

fn names(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        list(value).iter().map(|name| listener_name(key, name)).collect::<Result<_, _>>()?;
    match names.is_empty() {
        true => Err(format!("{key} is empty; name a listener or leave the key out")),
        false => Ok(names),
    }
}

fn protocols(key: &str, value: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for item in list(value) {
        let wrong = || format!("{key} has {item:?}; expected \"NAME:PROTOCOL\"");
        let (name, protocol) = item.split_once(':').ok_or_else(wrong)?;
        let name = listener_name(key, name.trim())?;
        let protocol = protocol.trim().to_ascii_uppercase();
        if !PROTOCOLS.contains(&protocol.as_str()) {
            return Err(format!(
                "{key} has {protocol:?}; expected one of {}",
                PROTOCOLS.join(", ")
            ));
        }
        if map.insert(name.clone(), protocol).is_some() {
            return Err(format!("{key} names {name} twice"));
        }
    }
    Ok(map)
}

/// A list of `NAME://HOST:PORT`. The name defaults to PLAINTEXT.
fn named(key: &str, value: &Value, bound: bool) -> Result<Vec<(String, Endpoint)>, String> {
    let mut them: Vec<(String, Endpoint)> = Vec::new();
    for item in list(value) {
        let (name, address) = item.split_once("://").unwrap_or((PLAINTEXT, &item));
        let name = listener_name(key, name)?;
        let endpoint = parse_address(address)
            .ok_or_else(|| format!("{key} is {item:?}; expected \"PLAINTEXT://HOST:PORT\""))?;
        if them.iter().any(|(known, _)| *known == name) {
            return Err(format!("{key} has two listeners called {name}; give each its own name"));
        }
        let clash = |other: &Endpoint| {
            bound && endpoint.port != 0 && endpoint.port == other.port && !differ(&endpoint, other)
        };
        if let Some((other, _)) = them.iter().find(|(_, other)| clash(other)) {
            return Err(format!(
                "{key} has {other} and {name} on port {}; give each its own port, unless one is an \
                 IPv4 and the other an IPv6 address",
                endpoint.port
            ));
        }
        them.push((name, endpoint));
    }
    match them.is_empty() {
        true => Err(format!("{key} is empty; expected \"PLAINTEXT://HOST:PORT\"")),
        false => Ok(them),
    }
}

/// Whether one is an IPv4 and the other an IPv6 address, which may share a port.
fn differ(one: &Endpoint, other: &Endpoint) -> bool {
    match (one.host.parse::<IpAddr>(), other.host.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one.is_ipv4() != other.is_ipv4(),
        _ => false,
    }
}
