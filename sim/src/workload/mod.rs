//! What clients do: the [`Workload`] trait, the host that runs one, and the built-in producers,
//! consumers and admin client.
//!
//! A workload is an application on one client host: plain state that receives facts and timers, and
//! acts through the client's own state machine. Everything that it sends and learns is recorded as
//! it happens ([`Recorded`]) and judged by [`crate::history`].

mod builtin;
mod churn;
mod query;

pub use builtin::{Consume, CreateTopics, Produce};
pub use churn::{AUTO, CHURN, Churn};
pub use query::Query;

use crate::plan::Plan;
use bytes::Bytes;
use dyn_clone::DynClone;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::client::{
    Client, ClientConfig, ClientFact, NamedPartition, QueryId, RecordId, Start,
};
use wavetank_core::env::Env;
use wavetank_core::event::{Event, TimerKey};
use wavetank_core::types::{LeaderEpoch, Monotonic, NodeId, Offset, WallTime};

/// The stage of a run, as far as workloads are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The cluster is up: before the storm, during it, or after a core has been healed.
    Running,
    /// The storm is over and everything is healed. Send nothing new, and wait for what is in
    /// flight.
    WindingDown,
}

/// An application on one client host. `#[derive(Clone, Debug)]` makes it one that can be copied
/// with its run.
pub trait Workload: DynClone + fmt::Debug + Send + Sync {
    /// A stable name.
    fn name(&self) -> &'static str;

    /// The configuration of its client. `bootstrap` are the brokers.
    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        ClientConfig::new(bootstrap)
    }

    /// The host starts.
    fn start(&mut self, at: &mut Desk<'_>);

    /// The client reports a fact.
    fn fact(&mut self, fact: &ClientFact, at: &mut Desk<'_>);

    /// A timer fires that [`Desk::wake`] armed.
    fn timer(&mut self, number: u32, at: &mut Desk<'_>);

    /// The run enters another stage.
    fn stage(&mut self, _stage: Stage, _at: &mut Desk<'_>) {}

    /// A broker was fenced, and the plan wants workloads to react.
    fn fenced(&mut self, _at: &mut Desk<'_>) {}

    /// Is the workload waiting for nothing? Asked while winding down. A run that ends while a
    /// workload is not done has made no progress.
    fn done(&self, client: &Client) -> bool;
}

dyn_clone::clone_trait_object!(Workload);

/// An entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, ns of virtual time.
    pub at: u64,
    /// On which client host.
    pub client: NodeId,
    /// What.
    pub what: Recorded,
}

/// See [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A record was given to the producer.
    Send {
        /// Its id within the client.
        id: RecordId,
        /// The target partition.
        partition: NamedPartition,
        /// Its value.
        value: Bytes,
        /// The acks setting.
        acks: i16,
        /// The client's maximum of requests in flight: above one, later records could overtake it.
        in_flight: u32,
    },
    /// A query was made for a partition's end, or for the first record at or after a time.
    Asked {
        /// The query. Its answer is a fact.
        query: QueryId,
        /// The queried partition.
        partition: NamedPartition,
    },
    /// A consumer was moved.
    Seek {
        /// The partition.
        partition: NamedPartition,
        /// The new position. `None` if the broker determines it (the end, or a position outside the
        /// log).
        to: Option<Offset>,
    },
    /// The client reported a fact.
    Fact(ClientFact),
}

impl Recorded {
    /// Does it count as an operation: a record sent, a batch read, a query answered?
    pub fn is_operation(&self) -> bool {
        match self {
            Recorded::Send { .. } => true,
            Recorded::Fact(fact) => matches!(
                fact,
                ClientFact::Records { .. }
                    | ClientFact::EndOffset { .. }
                    | ClientFact::OffsetAt { .. }
            ),
            Recorded::Asked { .. } | Recorded::Seek { .. } => false,
        }
    }

    /// Is it an outcome that is checked against what was promised?
    pub fn is_compared(&self) -> bool {
        match self {
            Recorded::Fact(fact) => matches!(
                fact,
                ClientFact::Acked { .. }
                    | ClientFact::Records { .. }
                    | ClientFact::EndOffset { offset: Ok(_), .. }
                    | ClientFact::OffsetAt { .. }
            ),
            Recorded::Send { .. } | Recorded::Asked { .. } | Recorded::Seek { .. } => false,
        }
    }
}

/// The interface through which a workload acts.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The client.
    pub client: &'a mut Client,
    /// The world, for the client's calls.
    pub env: EnvRef<'a>,
    /// The run's seed. With the host's id and a counter it determines the workload's choices.
    pub seed: u64,
    /// This host.
    pub node: NodeId,
    records: &'a mut Vec<Record>,
    timers: &'a mut BTreeMap<u32, Monotonic>,
}

/// The world as a workload sees it.
pub struct EnvRef<'a>(pub &'a mut dyn Env);

impl fmt::Debug for EnvRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvRef")
    }
}

impl Desk<'_> {
    /// Sends one record with the current time, and adds it to the history.
    pub fn send(&mut self, topic: &str, partition: i32, value: Bytes) -> RecordId {
        let now = self.env.0.wall();
        self.send_of(topic, partition, value, now)
    }

    /// Sends one record with this timestamp, and adds it to the history.
    pub fn send_of(
        &mut self,
        topic: &str,
        partition: i32,
        value: Bytes,
        timestamp: WallTime,
    ) -> RecordId {
        let (acks, in_flight) = {
            let config = self.client.producer().config();
            (config.acks, config.max_in_flight as u32)
        };
        let at = self.env.0.now().0;
        let id =
            self.client.send(topic, partition, None, Some(value.clone()), timestamp, self.env.0);
        let partition = NamedPartition::new(topic, partition);
        let what = Recorded::Send { id, partition, value, acks, in_flight };
        self.records.push(Record { at, client: self.node, what });
        id
    }

    /// Queries a partition's end or, with a timestamp, the first record since then. Adds the query
    /// to the history.
    pub fn ask(&mut self, partition: &NamedPartition, since: Option<WallTime>) -> QueryId {
        let at = self.env.0.now().0;
        let query = match since {
            None => self.client.end_offset(partition.clone(), self.env.0),
            Some(since) => self.client.offset_at(partition.clone(), since, self.env.0),
        };
        let what = Recorded::Asked { query, partition: partition.clone() };
        self.records.push(Record { at, client: self.node, what });
        query
    }

    /// Moves the consumer, and adds that to the history. `to` is the new position, if known.
    pub fn seek(&mut self, partition: &NamedPartition, start: Start, to: Option<Offset>) {
        let at = self.env.0.now().0;
        let what = Recorded::Seek { partition: partition.clone(), to };
        self.records.push(Record { at, client: self.node, what });
        self.client.seek(partition, start, self.env.0);
    }

    /// Calls [`Workload::timer`] with this number after `after`. Replaces an earlier timer of that
    /// number.
    pub fn wake(&mut self, number: u32, after: Duration) {
        let deadline = self.env.0.now().after(after);
        self.timers.insert(number, deadline);
        self.env.0.arm(TimerKey::Workload(number), deadline);
    }

    /// A fixed choice below `bound`, keyed by the run's seed, the host and `place`.
    pub fn choose(&self, place: u64, bound: u64) -> u64 {
        let dice = crate::decide::Dice::new(self.seed);
        let key = dice.place(crate::decide::Purpose::Driver);
        dice.decide(key.with(self.node.0 as u64).with(place), bound)
    }
}

/// A client host: a [`Client`] and the [`Workload`] that uses it.
#[derive(Clone, Debug)]
pub struct App {
    node: NodeId,
    seed: u64,
    client: Client,
    workload: Box<dyn Workload>,
    timers: BTreeMap<u32, Monotonic>,
    records: Vec<Record>,
    facts: Vec<ClientFact>,
}

impl App {
    /// A host of this id that runs a workload.
    pub fn new(node: NodeId, plan: &Plan, workload: Box<dyn Workload>) -> App {
        let bootstrap = plan.cluster.brokers.iter().copied().map(NodeId).collect();
        App {
            node,
            seed: plan.seed,
            client: Client::new(workload.config(bootstrap)),
            workload,
            timers: BTreeMap::new(),
            records: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// Its client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Is its workload done (waiting for nothing)?
    pub fn done(&self) -> bool {
        self.workload.done(&self.client)
    }

    /// The workload's name.
    pub fn name(&self) -> &'static str {
        self.workload.name()
    }

    /// The records since the last call.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Record> {
        self.records.drain(..)
    }

    /// Tells the workload that a new stage begins.
    pub fn stage(&mut self, stage: Stage, env: &mut dyn Env) {
        self.at_desk(env, |workload, desk| workload.stage(stage, desk));
    }

    /// Tells the workload that a broker was fenced.
    pub(crate) fn fenced(&mut self, env: &mut dyn Env) {
        self.at_desk(env, |workload, desk| workload.fenced(desk));
    }

    /// Handles one event.
    pub fn step(&mut self, event: Event, env: &mut dyn Env) {
        let mut facts = std::mem::take(&mut self.facts);
        let ours = self.client.on_event(&event, env, &mut facts);
        for fact in facts.drain(..) {
            let at = env.now().0;
            self.at_desk(env, |workload, desk| workload.fact(&fact, desk));
            self.records.push(Record { at, client: self.node, what: Recorded::Fact(fact) });
        }
        self.facts = facts;
        match event {
            Event::Start { .. } => self.at_desk(env, |workload, desk| workload.start(desk)),
            Event::Timer { key: TimerKey::Workload(number), deadline } if !ours => {
                if self.timers.get(&number) == Some(&deadline) {
                    self.timers.remove(&number);
                    self.at_desk(env, |workload, desk| workload.timer(number, desk));
                }
            }
            Event::Timer { .. }
            | Event::Shutdown
            | Event::Disk(_)
            | Event::Request { .. }
            | Event::ConnectionClosed { .. }
            | Event::Rpc { .. } => {}
        }
    }

    fn at_desk(&mut self, env: &mut dyn Env, act: impl FnOnce(&mut dyn Workload, &mut Desk<'_>)) {
        let App { node, seed, client, workload, timers, records, .. } = self;
        let env = EnvRef(env);
        let mut desk = Desk { client, env, seed: *seed, node: *node, records, timers };
        act(workload.as_mut(), &mut desk);
    }
}

/// One in this many values contains a record batch, if there is room. Brokers store bytes read from
/// other brokers, and must not take the embedded batch for one of theirs.
const BATCHES_WITHIN: u64 = 8;

/// A value that no other record of the run has: the host, a counter, and padding up to `len` bytes,
/// occasionally with a whole record batch.
pub fn unique_value(node: NodeId, number: u64, len: usize) -> Bytes {
    let mut value = format!("{node}-{number}").into_bytes();
    if number % BATCHES_WITHIN == BATCHES_WITHIN - 1 {
        let mut batch = BatchBuilder::new();
        batch.push(0, None, Some(&value), &[]);
        // Offsets that the log may plausibly be at.
        let batch = batch.build(Offset(3 * number as i64), LeaderEpoch(0)).to_bytes();
        if value.len() + batch.len() <= len {
            value.extend_from_slice(&batch);
        }
    }
    let mut fill = number ^ ((node.0 as u64) << 32);
    while value.len() < len {
        // Not zeros, because a torn sector must be distinguishable from data.
        fill = fill.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        value.push(b'a' + ((fill >> 59) as u8 % 26));
    }
    value.into()
}

/// The part of a [`unique_value`] that identifies it.
pub fn value_name(value: &[u8]) -> &str {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    std::str::from_utf8(&value[..digits]).expect("digits and dashes are ASCII")
}

/// The next offset that a consumer of this host will read.
pub fn position(app: &App, partition: &NamedPartition) -> Option<Offset> {
    app.client().consumer().position(partition)
}
