//! Opens a node's listeners, and decides what follows from the addresses they are bound to.
//!
//! The configuration says which listener serves whom ([`crate::config`]). Only here is the bound
//! address known: a listener that serves both nodes and clients must be reachable from this machine
//! alone, because nodes are trusted.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use wavetank_core::event::ListenerId;
use wavetank_core::listener::Serves;
use wavetank_core::types::Endpoint;

use crate::config::ServerConfig;
use crate::error::ServeError;
use crate::net::{Door, Identity};

/// Binds all listeners. If port 0 is to be advertised, the configuration gets the port that was
/// bound.
///
/// A node of a cluster does not start if its only listener can be reached from other machines. A
/// single node does: it has no peers but itself, and gets a second listener on loopback to talk to
/// itself.
pub(crate) fn open(config: &mut ServerConfig) -> Result<Vec<(TcpListener, Door)>, ServeError> {
    let mut doors = Vec::new();
    for listener in &config.listeners {
        let bound = bind(&listener.bind.host, listener.bind.port)?;
        let local = bound.local_addr().map_err(ServeError::Start)?;
        if let ListenerId::Broker(index) = listener.id
            && let Some((_, advertised)) = config.node.listeners.get_mut(usize::from(index))
            && advertised.port == 0
        {
            advertised.port = local.port();
        }
        tracing::debug!(name = %listener.name, %local, serves = ?listener.serves, "listening");
        doors.push((bound, Door { id: listener.id, serves: listener.serves }));
    }
    let shared = config.node.listener_is_shared;
    let local = doors[0].0.local_addr().map_err(ServeError::Start)?;
    if !shared || local.ip().is_loopback() {
        return Ok(doors);
    }
    if !config.voters.is_empty() {
        return Err(ServeError::Config(refusal(config, local)));
    }
    doors[0].1.serves = Serves::Brokers;
    config.node.listener_is_shared = false;
    let own = bind("127.0.0.1", 0)?;
    doors.push((own, Door { id: ListenerId::Controller, serves: Serves::Controllers }));
    Ok(doors)
}

fn bind(host: &str, port: u16) -> Result<TcpListener, ServeError> {
    TcpListener::bind((host, port))
        .map_err(|error| ServeError::Listen { address: format!("{host}:{port}"), error })
}

fn refusal(config: &ServerConfig, local: SocketAddr) -> String {
    let advice = if config.node.is_controller() {
        "add a listener for controllers, on a network that only nodes reach, as in listeners = \
         \"PLAINTEXT://HOST:9092,CONTROLLER://HOST:9093\" with controller.listener.names = \
         \"CONTROLLER\", and give that listener's port in controller.quorum.voters"
    } else {
        "name the controllers' listeners, as in controller.listener.names = \"CONTROLLER\", and \
         give their ports in controller.quorum.voters"
    };
    format!(
        "listeners has one listener for clients, brokers and controllers, at {local}, which is not \
         loopback: anyone who reaches it could act as a controller. As in Kafka, {advice}. \
         (inter.broker.listener.name gives brokers a listener of their own, too.)"
    )
}

/// This node's identity, and the addresses of the others and of itself.
pub(crate) fn identity(
    config: &ServerConfig,
    doors: &[(TcpListener, Door)],
) -> io::Result<Identity> {
    let node = config.node.node;
    let mut controllers = config.voters.clone();
    let own = doors.iter().find(|(_, door)| door.serves == Serves::Controllers);
    let own = reachable(own.unwrap_or(&doors[0]).0.local_addr()?);
    controllers.entry(node).or_insert(own);
    let mut brokers =
        if config.node.listener_is_shared { controllers.clone() } else { BTreeMap::new() };
    controllers.extend(config.overrides.clone());
    brokers.extend(config.overrides.clone());
    Ok(Identity { node, cluster: Some(config.node.cluster_id.clone()), controllers, brokers })
}

/// The address at which this machine reaches the listener.
fn reachable(bound: SocketAddr) -> Endpoint {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Endpoint { host: ip.to_string(), port: bound.port() }
}
