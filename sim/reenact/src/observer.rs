//! Polls the nodes' state: leaders, ISRs and log ends. It uses Kafka's protocol and bypasses the
//! proxy, so a plan's network faults do not affect it.
//!
//! It runs on its own thread, because a paused node answers late or never.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wavetank_core::client::NamedPartition;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    ApiKey, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    MetadataRequest, MetadataResponse, Request, Response,
};
use wavetank_core::types::{LeaderEpoch, NodeId, TopicPartition, TopicRef};
use wavetank_sim::plan::Plan;

use crate::Failure;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_millis(700);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest response that is read, in bytes.
const LARGEST: usize = 16 << 20;
/// Request versions that have the fields we need.
const METADATA: i16 = 12;
const LIST_OFFSETS: i16 = 6;

/// A partition's state, on which all nodes agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The partition, by topic id.
    pub id: TopicPartition,
    /// The nodes that host it.
    pub replicas: Vec<NodeId>,
    /// Where its log ends for consumers.
    pub end: i64,
}

/// One poll of all nodes.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it began.
    pub begun: Instant,
    /// All partitions, each with a leader and a full ISR on which all brokers agree, or a
    /// description of what is missing.
    pub healthy: Result<BTreeMap<NamedPartition, Partition>, String>,
}

/// The polling thread.
pub struct Observer {
    last: Arc<Mutex<Option<Look>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts polling the nodes of a plan at these addresses.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(
        plan: &Plan,
        addresses: BTreeMap<NodeId, SocketAddr>,
    ) -> Result<Observer, Failure> {
        let last = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped) = (Arc::clone(&last), Arc::clone(&stop));
        let plan = plan.clone();
        let thread = std::thread::Builder::new()
            .name("observer".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let healthy = look(&plan, &addresses);
                    let look = Some(Look { begun, healthy });
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = look;
                    std::thread::sleep(PAUSE);
                }
            })
            .map_err(Failure::to("start the observer"))?;
        Ok(Observer { last, stop, thread: Some(thread) })
    }

    /// The newest poll, if it began no earlier than `since`.
    pub fn newest(&self, since: Instant) -> Option<Look> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().filter(|look| look.begun >= since)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed.
            let _ = thread.join();
        }
    }
}

fn look(
    plan: &Plan,
    addresses: &BTreeMap<NodeId, SocketAddr>,
) -> Result<BTreeMap<NamedPartition, Partition>, String> {
    let mut agreed: Option<(NodeId, BTreeMap<NamedPartition, (NodeId, Partition)>)> = None;
    for broker in plan.cluster.brokers.iter().copied().map(NodeId) {
        let says = metadata(plan, addresses[&broker])
            .map_err(|error| format!("broker {broker} does not answer: {error}"))?;
        let says = healthy(plan, &says).map_err(|why| format!("broker {broker} reports: {why}"))?;
        match &agreed {
            Some((first, known)) if *known != says => {
                return Err(format!("brokers {first} and {broker} report different metadata"));
            }
            Some(_) => {}
            None => agreed = Some((broker, says)),
        }
    }
    let (_, partitions) = agreed.ok_or("there is no broker")?;
    let mut all = BTreeMap::new();
    for (named, (leader, mut partition)) in partitions {
        let address = addresses.get(&leader).ok_or("the leader has no known address")?;
        partition.end = end(*address, &named).map_err(|error| {
            format!("node {leader} does not report the end of {named}: {error}")
        })?;
        all.insert(named, partition);
    }
    Ok(all)
}

fn healthy(
    plan: &Plan,
    says: &MetadataResponse,
) -> Result<BTreeMap<NamedPartition, (NodeId, Partition)>, String> {
    let mut all = BTreeMap::new();
    for topic in &plan.topics {
        let known = says.topics.iter().find(|known| known.name.as_ref() == Some(&topic.name));
        let known = known.ok_or_else(|| format!("{} does not exist", topic.name))?;
        for index in 0..topic.partitions {
            let named = NamedPartition::new(topic.name.clone(), index);
            let known_partition = known.partitions.iter().find(|known| known.partition == index);
            let partition =
                known_partition.ok_or_else(|| format!("{named} is not in the metadata"))?;
            let leader = partition.leader.known();
            let leader =
                leader.ok_or_else(|| format!("{named} has no leader; ISR {:?}", partition.isr))?;
            if partition.isr.len() < partition.replicas.len() {
                return Err(format!(
                    "{named} has the ISR {:?} of the replicas {:?}, leader {leader}",
                    partition.isr, partition.replicas
                ));
            }
            let id = TopicPartition { topic: known.id, partition: index };
            let replicas = partition.replicas.clone();
            all.insert(named, (leader, Partition { id, replicas, end: 0 }));
        }
    }
    Ok(all)
}

fn metadata(plan: &Plan, address: SocketAddr) -> io::Result<MetadataResponse> {
    let topics = plan.topics.iter().map(|topic| TopicRef::name(topic.name.clone())).collect();
    let request = Request::Metadata(MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: false,
    });
    match ask(address, METADATA, &request)? {
        Response::Metadata(response) => Ok(response),
        other => Err(io::Error::other(format!("unexpected answer to Metadata: {other:?}"))),
    }
}

fn end(address: SocketAddr, named: &NamedPartition) -> io::Result<i64> {
    let partition = ListOffsetsPartition {
        partition: named.partition,
        current_leader_epoch: LeaderEpoch::NONE,
        timestamp: LATEST_TIMESTAMP,
    };
    let topic = ListOffsetsTopic { name: named.topic.clone(), partitions: vec![partition] };
    let request = Request::ListOffsets(ListOffsetsRequest {
        replica: NodeId::NONE,
        isolation_level: 0,
        topics: vec![topic],
        timeout_ms: 0,
    });
    let answer = match ask(address, LIST_OFFSETS, &request)? {
        Response::ListOffsets(answer) => answer,
        other => {
            return Err(io::Error::other(format!("unexpected answer to ListOffsets: {other:?}")));
        }
    };
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    match partition {
        Some(partition) if partition.error == ErrorCode::None => Ok(partition.offset.0),
        Some(partition) => Err(io::Error::other(partition.error.name())),
        None => Err(io::Error::other("an empty answer")),
    }
}

/// Sends one request on a new connection.
fn ask(address: SocketAddr, version: i16, request: &Request) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let parts = wavetank_wire::encode_request(version, 1, "wavetank-observer", request);
    stream.write_all(&parts.concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|n| *n <= LARGEST);
    let length = length.ok_or_else(|| io::Error::other("an answer of invalid length"))?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    let api: ApiKey = request.api();
    let (_, response) = wavetank_wire::decode_response(api, version, Bytes::from(frame))
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(response)
}
