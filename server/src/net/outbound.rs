//! One connection to a peer on one channel: opened when there is something to send, versions agreed
//! at its start (ApiVersions), answers matched in order. The same request asks whether this is the
//! expected node and cluster (KIP-1242), so that nothing is sent to another node and none of its
//! answers is believed: an address may come to belong to another node.
//!
//! Each request has exactly one outcome, and a channel's outcomes come in the order of sending. A
//! timeout or a bad frame closes the connection, as in Kafka's clients; it is then unknown whether
//! the peer acted on the requests in flight. `answers` bounds the size of an answer.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use wavetank_core::env::Channel;
use wavetank_core::event::{Event, RpcError};
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_core::types::{Endpoint, NodeId};

use super::frame::{self, OutQueue, read_frame};
use super::names::Names;
use super::{Shared, answers, codec};

/// `reconnect.backoff.ms`: the time between two attempts to reach a peer, so that a machine that
/// retries at once does not spin.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(50);

/// The error with which [`connect`] reports that another node listens at the peer's address.
const MISROUTED: io::ErrorKind = io::ErrorKind::AddrNotAvailable;

/// A request to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The peer's address, if known.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) deadline: Instant,
    pub(super) request: Request,
}

/// The versions that a peer speaks: key to (least, greatest).
pub(super) type Versions = BTreeMap<i16, (i16, i16)>;

/// Runs until all senders are gone.
pub(super) async fn run(
    shared: Arc<Shared>,
    peer: NodeId,
    channel: Channel,
    mut requests: UnboundedReceiver<Outgoing>,
) {
    let client_id = format!("wavetank-{}-{channel:?}", shared.node);
    let mut last_attempt: Option<Instant> = None;
    let mut misrouted = 0_u64;
    let mut unreached = 0_u64;
    while let Some(first) = requests.recv().await {
        let outcome = |outcome| shared.deliver(Event::Rpc { peer, channel, outcome });
        if let Some(last) = last_attempt {
            tokio::time::sleep_until((last + RECONNECT_BACKOFF).min(first.deadline)).await;
        }
        last_attempt = Some(Instant::now());
        let wanted = (shared.cluster.as_ref(), peer);
        let connecting = connect(&shared.names, first.endpoint.as_ref(), &client_id, wanted);
        let (stream, versions) = match tokio::time::timeout_at(first.deadline, connecting).await {
            Ok(Ok(connected)) => {
                if unreached > 0 {
                    tracing::info!(peer = peer.0, ?channel, attempts = unreached, "connected");
                }
                unreached = 0;
                connected
            }
            Ok(Err(error)) => {
                unreached += 1;
                tell_unreached(peer, channel, &first.endpoint, &error, unreached);
                misrouted += u64::from(error.kind() == MISROUTED);
                if error.kind() == MISROUTED && misrouted.is_power_of_two() {
                    let endpoint = &first.endpoint;
                    tracing::warn!(peer = peer.0, ?endpoint, %error, misrouted, "wrong address");
                }
                outcome(Err(RpcError::Disconnected));
                continue;
            }
            Err(_) => {
                unreached += 1;
                let error = io::Error::from(io::ErrorKind::TimedOut);
                tell_unreached(peer, channel, &first.endpoint, &error, unreached);
                outcome(Err(RpcError::TimedOut));
                continue;
            }
        };
        let mut session = Session {
            client_id: &client_id,
            versions,
            deliver: &outcome,
            max_frame: shared.limits.max_frame,
            next_correlation: 0,
            in_flight: VecDeque::new(),
            out: OutQueue::default(),
        };
        session.send(first);
        match session.serve(stream, &mut requests).await {
            Why::Over(why) => tracing::debug!(peer = peer.0, ?channel, %why, "disconnected"),
            Why::Answer(why) if shared.complain_of_peer(peer) => tracing::warn!(
                peer = peer.0,
                ?channel,
                %why,
                "closed the connection to a peer: invalid answer"
            ),
            Why::Answer(why) => tracing::debug!(peer = peer.0, ?channel, %why, "disconnected"),
        }
    }
}

/// A peer that is down is retried many times: one line for each power of two.
fn tell_unreached(
    peer: NodeId,
    channel: Channel,
    endpoint: &Option<Endpoint>,
    error: &io::Error,
    attempts: u64,
) {
    let address = endpoint.as_ref().map(|known| format!("{}:{}", known.host, known.port));
    let address = address.unwrap_or_else(|| "unknown address".into());
    if attempts.is_power_of_two() {
        tracing::warn!(peer = peer.0, ?channel, address, %error, attempts, "cannot connect");
    } else {
        tracing::debug!(peer = peer.0, ?channel, address, %error, attempts, "cannot connect");
    }
}

async fn connect(
    names: &Arc<Names>,
    endpoint: Option<&Endpoint>,
    client_id: &str,
    wanted: (Option<&String>, NodeId),
) -> io::Result<(TcpStream, Versions)> {
    let endpoint = endpoint.ok_or_else(|| io::Error::other("the peer's address is not known"))?;
    let addresses = names.resolve(&endpoint.host, endpoint.port).await?;
    let mut stream = TcpStream::connect(&addresses[..]).await?;
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    let mut version = codec::newest_api_versions();
    loop {
        let mut out = OutQueue::default();
        out.push(codec::api_versions_request(version, client_id, wanted));
        while !out.is_empty() {
            out.write_some(&mut stream).await?;
        }
        let frame = read_frame(&mut stream, &mut buffer, answers::FIRST, None)
            .await
            .map_err(|error| io::Error::other(error.to_string()))?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match codec::agree(frame.bytes, version).map_err(io::Error::other)? {
            codec::Agreement::Versions(versions) => return Ok((stream, versions)),
            // A peer that does not speak version 5 cannot identify itself. It is trusted, as such
            // peers were before, because otherwise nodes could not be upgraded one by one.
            codec::Agreement::TryAgain(lower) => version = lower,
            codec::Agreement::Another => {
                let what = "a different node, or a node of another cluster, listens there";
                return Err(io::Error::new(MISROUTED, what));
            }
        }
    }
}

struct InFlight {
    correlation: i32,
    api: ApiKey,
    version: i16,
    deadline: Instant,
    /// The maximum length of its answer, in bytes.
    bound: usize,
    /// Set once the outcome is known, while earlier ones are not.
    outcome: Option<Result<Response, RpcError>>,
}

/// Why a connection ended.
enum Why {
    /// It broke, or a side ended it.
    Over(String),
    /// The peer sent an unusable answer, and most likely will again.
    Answer(BadAnswer),
}

/// What is wrong with an answer.
#[derive(Debug)]
enum BadAnswer {
    /// Its declared length is negative, or larger than any answer to the request can be.
    Length { api: ApiKey, declared: i32, limit: usize },
    /// Anything else.
    Other(String),
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadAnswer::Length { api, declared, limit } => write!(
                f,
                "the answer to {api:?} declares {declared} bytes, but 0 to {limit} are valid for \
                 the request; if the peer holds larger batches, raise socket.request.max.bytes \
                 here to the peer's value, or to its value when they were written"
            ),
            BadAnswer::Other(what) => f.write_str(what),
        }
    }
}

struct Session<'a> {
    client_id: &'a str,
    versions: Versions,
    deliver: &'a (dyn Fn(Result<Response, RpcError>) + Sync),
    /// `socket.request.max.bytes`.
    max_frame: usize,
    next_correlation: i32,
    in_flight: VecDeque<InFlight>,
    out: OutQueue,
}

impl Session<'_> {
    fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { deadline, mut request, .. } = outgoing;
        answers::moderate(&mut request);
        let bound = answers::bound(&request, self.max_frame);
        let api = request.api();
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1) & i32::MAX;
        let mut entry = InFlight { correlation, api, version: 0, deadline, bound, outcome: None };
        match codec::encode_request(&self.versions, correlation, self.client_id, &request) {
            Some((version, parts)) => {
                entry.version = version;
                self.out.push(parts);
                if let Request::Produce(produce) = &request
                    && produce.acks == 0
                {
                    entry.outcome = Some(Ok(Response::Produce(Default::default())));
                }
            }
            None => {
                tracing::warn!(?api, "no common version of this API with the peer");
                entry.outcome = Some(Err(RpcError::Unsupported));
            }
        }
        self.in_flight.push_back(entry);
        self.settle();
    }

    /// Delivers the known outcomes, up to the first unknown one.
    fn settle(&mut self) {
        while let Some(outcome) = self.in_flight.front_mut().and_then(|head| head.outcome.take()) {
            self.in_flight.pop_front();
            (self.deliver)(outcome);
        }
    }

    /// The connection is over: everything in flight gets its outcome.
    fn fail_all(&mut self, error: RpcError) {
        for entry in self.in_flight.drain(..) {
            (self.deliver)(entry.outcome.unwrap_or(Err(error)));
        }
    }

    async fn serve(
        &mut self,
        mut stream: TcpStream,
        requests: &mut UnboundedReceiver<Outgoing>,
    ) -> Why {
        let (mut reader, mut writer) = stream.split();
        let mut buffer = BytesMut::new();
        let (error, why) = loop {
            let deadline = self.in_flight.iter().map(|entry| entry.deadline).min();
            let expiry = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            // Large answers are read in large pieces.
            let room = buffer.len().clamp(16 << 10, 1 << 20);
            tokio::select! {
                outgoing = requests.recv() => match outgoing {
                    Some(outgoing) => self.send(outgoing),
                    None => {
                        break (RpcError::Disconnected, Why::Over("this node stops".into()));
                    }
                },
                read = frame::fill(&mut reader, &mut buffer, room) => match read {
                    Ok(0) => {
                        break (RpcError::Disconnected, Why::Over("the peer closed it".into()));
                    }
                    Ok(_) => match self.answers(&mut buffer) {
                        Ok(()) => {}
                        Err(why) => break (RpcError::Unsupported, Why::Answer(why)),
                    },
                    Err(error) => {
                        break (RpcError::Disconnected, Why::Over(error.to_string()));
                    }
                },
                wrote = self.out.write_some(&mut writer), if !self.out.is_empty() => {
                    if let Err(error) = wrote {
                        break (RpcError::Disconnected, Why::Over(error.to_string()));
                    }
                }
                () = tokio::time::sleep_until(expiry), if deadline.is_some() => {
                    break (RpcError::TimedOut, Why::Over("a request timed out".into()));
                }
            }
        };
        self.fail_all(error);
        why
    }

    /// Takes the complete frames out of the buffer.
    fn answers(&mut self, buffer: &mut BytesMut) -> Result<(), BadAnswer> {
        while let Some(&declared) = buffer.first_chunk::<4>() {
            let waiting = self.in_flight.iter_mut().find(|entry| entry.outcome.is_none());
            let other = |what: String| BadAnswer::Other(what);
            let entry = waiting.ok_or_else(|| other("an answer without a request".into()))?;
            let (api, limit) = (entry.api, entry.bound);
            let declared = i32::from_be_bytes(declared);
            let length = usize::try_from(declared)
                .ok()
                .filter(|length| *length <= limit)
                .ok_or(BadAnswer::Length { api, declared, limit })?;
            if buffer.len() < 4 + length {
                return Ok(());
            }
            let frame = buffer.split_to(4 + length).split_off(4).freeze();
            let response = codec::decode_response(api, entry.version, frame);
            let (correlation, response) =
                response.map_err(|error| other(format!("answer to {api:?}: {error}")))?;
            if correlation != entry.correlation {
                let expected = entry.correlation;
                return Err(other(format!(
                    "an answer to request {correlation} where {expected} was expected"
                )));
            }
            entry.outcome = Some(Ok(response));
            self.settle();
        }
        Ok(())
    }
}
