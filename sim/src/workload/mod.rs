//! What clients do: the [`Workload`] trait, the host that runs one, and the built-in producer,
//! consumer and admin.
//!
//! A workload is an application on one client host: plain state that is told of facts and timers,
//! and acts through the client's own state machine. Everything that it sends and learns is recorded
//! as it happens ([`Recorded`]); judging that is the business of [`crate::history`].

mod builtin;
mod churn;
mod query;

pub use builtin::{Consume, CreateTopics, Produce};
pub use churn::{AUTO, CHURN, Churn};
pub use query::Query;

use crate::plan::Plan;
use bytes::Bytes;
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

/// Where a run stands, as far as workloads are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The cluster is up; no faults yet, or the storm is on, or a core has been healed.
    Running,
    /// The storm is over and everything is healed: send nothing new, wait for what is under way.
    WindingDown,
}

/// An application on one client host.
pub trait Workload: fmt::Debug + Send + Sync {
    /// A stable name.
    fn name(&self) -> &'static str;

    /// A copy: worlds are cloned with everything in them.
    fn boxed(&self) -> Box<dyn Workload>;

    /// What its client is configured with. `bootstrap` are the brokers.
    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        ClientConfig::new(bootstrap)
    }

    /// The host starts.
    fn start(&mut self, at: &mut Desk<'_>);

    /// The client says something.
    fn fact(&mut self, fact: &ClientFact, at: &mut Desk<'_>);

    /// A timer that [`Desk::wake`] armed.
    fn timer(&mut self, number: u32, at: &mut Desk<'_>);

    /// The run enters another stage.
    fn stage(&mut self, _stage: Stage, _at: &mut Desk<'_>) {}

    /// A broker was fenced, and the plan wants that noticed.
    fn fenced(&mut self, _at: &mut Desk<'_>) {}

    /// Is there nothing that it still waits for? Asked while winding down; a run that ends with a
    /// workload that is not done has made no progress.
    fn done(&self, client: &Client) -> bool;
}

/// Something for the history.
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
        /// Where to.
        partition: NamedPartition,
        /// Its value.
        value: Bytes,
        /// With which acks.
        acks: i16,
        /// Could later records of this client overtake it (more than one request in flight)?
        in_flight: u32,
    },
    /// A partition's end was asked for, or the first record at or after a time.
    Asked {
        /// The query; its answer is a fact.
        query: QueryId,
        /// Of which partition.
        partition: NamedPartition,
    },
    /// A consumer was moved.
    Seek {
        /// In which partition.
        partition: NamedPartition,
        /// To here; `None` where the broker says where that is (the end, or a position that is not in
        /// the log).
        to: Option<Offset>,
    },
    /// The client said something.
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

    /// Is it an outcome that is held against what was promised?
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

/// What a workload acts through.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The client.
    pub client: &'a mut Client,
    /// The world, for the client's calls.
    pub env: EnvRef<'a>,
    /// The run's seed: with the host's id and a counter, a source of fixed choices.
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
    /// Sends one record of now and puts it in the history.
    pub fn send(&mut self, topic: &str, partition: i32, value: Bytes) -> RecordId {
        let now = self.env.0.wall();
        self.send_of(topic, partition, value, now)
    }

    /// Sends one record with this timestamp and puts it in the history.
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

    /// Asks for a partition's end, or with a timestamp for the first record since then, and puts that
    /// in the history.
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

    /// Moves the consumer, and puts that in the history. `to` says where that is, if it is known.
    pub fn seek(&mut self, partition: &NamedPartition, start: Start, to: Option<Offset>) {
        let at = self.env.0.now().0;
        let what = Recorded::Seek { partition: partition.clone(), to };
        self.records.push(Record { at, client: self.node, what });
        self.client.seek(partition, start, self.env.0);
    }

    /// Calls [`Workload::timer`] with this number after a while; replaces the number's earlier one.
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
#[derive(Debug)]
pub struct App {
    node: NodeId,
    seed: u64,
    client: Client,
    workload: Box<dyn Workload>,
    timers: BTreeMap<u32, Monotonic>,
    records: Vec<Record>,
    facts: Vec<ClientFact>,
}

impl Clone for App {
    fn clone(&self) -> App {
        App {
            node: self.node,
            seed: self.seed,
            client: self.client.clone(),
            workload: self.workload.boxed(),
            timers: self.timers.clone(),
            records: self.records.clone(),
            facts: self.facts.clone(),
        }
    }
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

    /// Does its workload wait for nothing?
    pub fn done(&self) -> bool {
        self.workload.done(&self.client)
    }

    /// The workload's name.
    pub fn name(&self) -> &'static str {
        self.workload.name()
    }

    /// What has been recorded since the last call.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Record> {
        self.records.drain(..)
    }

    /// Tells the workload of another stage.
    pub fn stage(&mut self, stage: Stage, env: &mut dyn Env) {
        self.at_desk(env, |workload, desk| workload.stage(stage, desk));
    }

    /// Tells the workload that a broker was fenced.
    pub(crate) fn fenced(&mut self, env: &mut dyn Env) {
        self.at_desk(env, |workload, desk| workload.fenced(desk));
    }

    /// One event.
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

/// One in so many values holds a record batch, if there is room: brokers store what was read from other
/// brokers, and must not take it for theirs.
const BATCHES_WITHIN: u64 = 8;

/// A value that no other record of the run has: the host, a counter, and padding up to `len` bytes, now
/// and then with a whole record batch.
pub fn unique_value(node: NodeId, number: u64, len: usize) -> Bytes {
    let mut value = format!("{node}-{number}").into_bytes();
    if number % BATCHES_WITHIN == BATCHES_WITHIN - 1 {
        let mut batch = BatchBuilder::new();
        batch.push(0, None, Some(&value), &[]);
        // Offsets that the log may well be at.
        let batch = batch.build(Offset(3 * number as i64), LeaderEpoch(0)).to_bytes();
        if value.len() + batch.len() <= len {
            value.extend_from_slice(&batch);
        }
    }
    let mut fill = number ^ ((node.0 as u64) << 32);
    while value.len() < len {
        // Not zeros: a torn sector must be told from data.
        fill = fill.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        value.push(b'a' + ((fill >> 59) as u8 % 26));
    }
    value.into()
}

/// The part of a [`unique_value`] that names it.
pub fn value_name(value: &[u8]) -> &str {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    std::str::from_utf8(&value[..digits]).expect("digits and dashes are ASCII")
}

/// The next offset that a consumer of this host will read.
pub fn position(app: &App, partition: &NamedPartition) -> Option<Offset> {
    app.client().consumer().position(partition)
}
