//! Three replicas of one partition, each the core's own `Partition` with its log, explored
//! exhaustively within budgets.
//!
//! The small, readable counterpart is [`crate::isr`] (M1). Here the state is the code itself:
//! `core::replica::Partition`, its `PartitionLog`, and `core::api::fetch` between the two ends of a
//! fetch. Contents are compared as they are on the model's disks.
//!
//! # What is abstracted away
//!
//! - *The controller*, as in M1: registrations are a list with one entry per leader epoch, and only
//!   the newest changes. A replica may hear of any of them, late, and perhaps not of all. It never
//!   hears of an older one than it knows, and after a power loss of none that is older than the
//!   loss (a broker acts on nothing before its own new registration). Of AlterPartition's checks
//!   the controller does those of epochs, of KIP-841 and of KIP-903.
//! - *A proposal is sent, executed and answered in separate steps*. In between its sender may give
//!   up and send it again: the copy may be executed even so, last of all, or never. The controller
//!   would refuse copies of a registration that is not the newest, which changes nothing. So they
//!   are not kept, and a leader that waits for an answer to one hears of the newest registration.
//! - *A fetch is one step*: request, reads, answer, append. The follower drops late answers by its
//!   epoch and position; that is not explored here.
//! - *Time stands still*: a follower that was not caught up in an epoch lags, and no other begins
//!   to. When a leader drops a lagging follower, that is the controller's [`Action::Drop`], which
//!   fences it; [`Action::Return`] ends that.
//! - *A power loss* takes what no sync covers. Syncs happen in [`Action::Durable`], like a flush,
//!   or at once when no power loss is left in the budget. A power loss strikes only if the ISR has
//!   another member, as in M1. It leaves no checkpoints: the log is read anew, and the high
//!   watermark begins at zero.

mod controller;
mod show;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use bytes::Bytes;
use stateright::{Model, Property};

use wavetank_core::api::fetch::Fetches;
use wavetank_core::batch::{BatchBuilder, VerifiedBatch, split};
use wavetank_core::config::{NodeConfig, TopicConfig};
use wavetank_core::effects::{Effect, Effects};
use wavetank_core::env::{Clock, DiskOp, FileKind};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{ConnectionId, DiskDone, ReadTag, ReplyTo};
use wavetank_core::flaw::Flaw;
use wavetank_core::log::RecoveryHint;
use wavetank_core::metadata::MetadataImage;
use wavetank_core::msg::{
    AlterPartitionResult, FetchPartitionResponse, FetchRequest, FetchTopic, Response,
};
use wavetank_core::replica::{Fact, Partition};
use wavetank_core::storage::Hosted;
use wavetank_core::types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionId,
    TopicPartition, TopicRef, Uuid,
};

use super::Shared;
use super::disk::Disk;
use crate::{Bounds, Entry};

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "R1",
    name: "real-replica",
    title: "the core's own replicas of a partition, with logs and disks: three",
    variants: &VARIANTS,
    states: [179_156, 2_234_507, 0],
    check: |variant, bounds| {
        let model = RealReplica::new(variant, bounds);
        let right = super::control(variant, bounds, || model.clone().right());
        crate::run(model, right)
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(RealReplica::new(variant, bounds), address)
    },
};

/// `early-isr-join` needs too many states to be one of them; a test walks its path.
const VARIANTS: [&str; 4] = [
    "truncate-to-high-watermark",
    "unknown-epoch-answered-with-next",
    "ack-at-leader-append",
    "high-watermark-by-committed-isr",
];

const REPLICAS: usize = 3;
/// The time of all events: long enough after zero that a follower that never caught up lags.
const NOW: Monotonic = Monotonic(60_000_000_000);
/// The partition's id on each node.
const ID: PartitionId = PartitionId(0);
const KEY: TopicPartition = TopicPartition { topic: Uuid(7), partition: 0 };
const TOPIC: &str = "t";

/// The model: how nodes are built, and budgets.
#[derive(Clone, Debug)]
pub struct RealReplica {
    flaw: Option<Flaw>,
    /// Leader epochs.
    epochs: u8,
    /// Records that clients append.
    records: u8,
    /// How often the controller fences a follower, not counting elections.
    drops: u8,
    power_losses: u8,
    /// How often a leader gives up waiting for the answer to a proposal.
    timeouts: u8,
}

/// One record as it is on a disk: the epoch that wrote it, and a serial that only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    epoch: LeaderEpoch,
    serial: i64,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    hosted: Hosted,
    disk: Disk,
    /// What the log on disk holds.
    kept: Vec<Kept>,
    /// It acts on no registration of an older leader epoch, because that is from before it started.
    since: u8,
}

/// What the controller says about the partition and its brokers, as of a leader epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Registered {
    leader: u8,
    isr: u8,
    partition_epoch: u8,
    /// Each broker's epoch if it is not fenced; else 0.
    alive: [u8; REPLICAS],
    /// Each broker's epoch, fenced or not.
    known: [u8; REPLICAS],
}

/// An AlterPartition request in flight to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    leader: u8,
    /// Its number. A leader waits for at most one request; those that it gave up on have other
    /// numbers.
    number: u64,
    epoch: u8,
    partition_epoch: u8,
    isr: u8,
    /// The broker epochs in it ([`BrokerEpoch::NONE`] as it is).
    broker_epochs: [BrokerEpoch; REPLICAS],
}

/// The controller's answer to a proposal, in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    number: u64,
    error: ErrorCode,
    epoch: u8,
    isr: u8,
    partition_epoch: u8,
}

/// The partition everywhere, and what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [Shared<Node>; REPLICAS],
    /// By leader epoch, from 1 on.
    registered: Vec<Registered>,
    /// Sorted.
    requests: Vec<Request>,
    answers: [Option<Answer>; REPLICAS],
    /// How often each broker started.
    incarnations: [u8; REPLICAS],
    records: u8,
    drops: u8,
    power_losses: u8,
    timeouts: u8,
    /// What was acknowledged, or lay below a leader's high watermark.
    promised: Vec<Kept>,
    unsound: bool,
}

/// One event. Replicas are numbered from 0 here, and from 1 in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The controller begins an epoch with this leader.
    Elect {
        /// The new leader.
        leader: u8,
        /// Whether it fences the previous leader.
        fence: bool,
    },
    /// The controller fences a follower in the ISR.
    Drop(u8),
    /// A fenced broker is back in touch with the controller.
    Return(u8),
    /// A replica applies the registration of this leader epoch.
    Hear(u8, u8),
    /// A leader appends a client's record, with acks=all.
    Append(u8),
    /// A follower fetches.
    Fetch(u8),
    /// A leader sends its proposal.
    Propose(u8),
    /// The controller executes one of the requests in flight.
    Execute {
        /// The leader that sent it.
        leader: u8,
        /// Its index.
        request: u8,
    },
    /// A leader stops waiting for an answer, and will not hear it.
    GiveUp(u8),
    /// The controller's answer reaches the leader.
    Answered(u8),
    /// Everything that a replica has becomes durable.
    Durable(u8),
    /// A broker loses power, and restarts with what its disk holds.
    PowerLoss(u8),
}

fn id(at: u8) -> NodeId {
    NodeId(i32::from(at) + 1)
}

fn bit(at: u8) -> u8 {
    1 << at
}

fn members(set: u8) -> impl Iterator<Item = u8> {
    (0..REPLICAS as u8).filter(move |at| set & bit(*at) != 0)
}

fn set_of<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> u8 {
    nodes.into_iter().fold(0, |set, node| set | bit((node.0 - 1) as u8))
}

fn reply(number: u8) -> ReplyTo {
    ReplyTo { connection: ConnectionId(1), number: u32::from(number) }
}

impl RealReplica {
    /// The correct protocol, in the same bounds.
    fn right(self) -> RealReplica {
        RealReplica { flaw: None, ..self }
    }

    /// The core as it ships, or built with that flaw.
    ///
    /// # Panics
    /// If the flaw is not one of the entry's variants.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> RealReplica {
        let flaw = variant.map(|name| {
            assert!(VARIANTS.contains(&name), "R1 has no variant {name}; it has {VARIANTS:?}");
            Flaw::from_name(name).expect("variants carry the names of flaws")
        });
        let (epochs, records, drops, power_losses) = match (flaw, bounds) {
            (None, Bounds::Small) => (2, 1, 1, 0),
            (None, Bounds::Full) => (2, 2, 0, 1),
            (None, Bounds::Large) => (2, 2, 1, 1),
            (Some(Flaw::AckAtLeaderAppend), _) => (2, 1, 0, 0),
            (Some(Flaw::TruncateToHighWatermark), _) => (2, 1, 0, 0),
            (Some(Flaw::UnknownEpochAnsweredWithNext), _) => (4, 2, 0, 0),
            (Some(_), _) => (1, 1, 1, 0),
        };
        let timeouts = u8::from(flaw.is_none() && bounds == Bounds::Large);
        RealReplica { flaw, epochs, records, drops, power_losses, timeouts }
    }

    fn open(&self, at: u8, disk: &mut Effects) -> Hosted {
        let mut config = NodeConfig::new(id(at), (0..REPLICAS as u8).map(id).collect());
        config.flaws = self.flaw.into_iter().collect();
        let partition = Partition::open(
            ID,
            KEY,
            TOPIC.into(),
            TopicConfig::default(),
            &config,
            RecoveryHint::NONE,
            Offset::ZERO,
            disk,
        );
        let by_name = [(KEY, ID)].into();
        Hosted { partitions: vec![Some(partition)], by_name, is_current: true }
    }

    /// (Re)starts a broker on what its disk holds.
    fn start(&self, state: &mut State, at: u8) {
        let mut env = Effects::at(NOW);
        let node = state.nodes[usize::from(at)].change();
        node.hosted = self.open(at, &mut env);
        for op in env.take_disk() {
            node.disk.submit(op);
        }
        state.step(at, |_, _, _| {});
        let ready = state.partition(at).log().is_ready();
        assert!(ready, "a log is open when its files are read");
    }
}

impl Node {
    fn partition(&mut self) -> &mut Partition {
        self.hosted.get_mut(ID).expect("it is hosted for ever")
    }

    /// Reads again what the log on disk holds.
    fn look(&mut self) {
        let bytes = Bytes::copy_from_slice(self.disk.contents(FileKind::Log(Offset::ZERO)));
        let batches = split(bytes).expect("a log holds whole batches");
        let kept = batches
            .iter()
            .map(|batch| Kept { epoch: batch.leader_epoch, serial: batch.base_timestamp() });
        self.kept = kept.collect();
    }
}

impl State {
    fn partition(&self, at: u8) -> &Partition {
        self.nodes[usize::from(at)].hosted.get(ID).expect("it is hosted for ever")
    }

    /// The newest leader epoch.
    fn epoch(&self) -> u8 {
        self.registered.len() as u8
    }

    fn newest(&mut self) -> &mut Registered {
        self.registered.last_mut().expect("there is a first epoch")
    }

    fn now(&self) -> &Registered {
        self.registered.last().expect("there is a first epoch")
    }

    /// The leader epoch that a replica is in; 0 before the first.
    fn epoch_of(&self, at: u8) -> u8 {
        u8::try_from(self.partition(at).leader_epoch().0).unwrap_or(0)
    }

    fn leads(&self, at: u8) -> bool {
        self.partition(at).leader_state().is_some()
    }

    /// Steps one node, performs its disk operations that stay in the cache, and returns its answer,
    /// if any.
    fn step(
        &mut self,
        at: u8,
        act: impl FnOnce(&mut Hosted, &mut Effects, &mut Vec<Fact>),
    ) -> Option<Response> {
        let mut env = Effects::at(NOW);
        let (mut facts, mut response) = (Vec::new(), None);
        let node = self.nodes[usize::from(at)].change();
        act(&mut node.hosted, &mut env, &mut facts);
        let nothing = MetadataImage::default();
        loop {
            for effect in env.take() {
                match effect {
                    Effect::Disk(op) => node.disk.submit(op),
                    Effect::Respond(_, answer) => response = Some(answer),
                    Effect::Arm(..) | Effect::Disarm(_) => {}
                    Effect::Request(..)
                    | Effect::NoResponse(_)
                    | Effect::Disconnect(_)
                    | Effect::LearnPeer(..) => panic!("a replica does not ask for {effect:?}"),
                }
            }
            let mut done = Vec::new();
            if !node.disk.perform_cached(&mut done) {
                break;
            }
            for done in done {
                node.partition().on_disk(&done, &nothing, &mut env, &mut facts);
            }
        }
        node.look();
        self.told(at, &facts);
        response
    }

    /// Makes everything that was submitted durable, and handles what follows from that.
    fn durable(&mut self, at: u8) {
        self.step(at, |hosted, env, _| {
            hosted.get_mut(ID).expect("it is hosted for ever").flush(env);
        });
        let nothing = MetadataImage::default();
        loop {
            let mut done = Vec::new();
            if !self.nodes[usize::from(at)].change().disk.perform(true, &mut done) {
                break;
            }
            self.step(at, |hosted, env, facts| {
                let partition = hosted.get_mut(ID).expect("it is hosted for ever");
                done.iter().for_each(|done| partition.on_disk(done, &nothing, env, facts));
            });
        }
    }

    fn told(&mut self, at: u8, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::ProduceReached(_, _, needs, ErrorCode::None) => self.promise(at, *needs),
                Fact::Corrupt(..) | Fact::DiskFailed(..) | Fact::CutBelowClaim(_) => {
                    self.unsound = true;
                }
                Fact::ProduceReached(..)
                | Fact::Recovered(_)
                | Fact::LogEndAdvanced(_)
                | Fact::HighWatermarkAdvanced(_)
                | Fact::IsrChangeWanted(_)
                | Fact::RoleChanged(_) => {}
            }
        }
        if self.leads(at) {
            self.promise(at, self.partition(at).high_watermark());
        }
    }

    /// This leader promises clients everything below `upto`.
    fn promise(&mut self, at: u8, upto: Offset) {
        let kept = &self.nodes[usize::from(at)].kept;
        let upto = usize::try_from(upto.0).map_or(kept.len(), |upto| upto.min(kept.len()));
        if upto > self.promised.len() {
            self.promised.extend_from_slice(&kept[self.promised.len()..upto]);
        }
    }

    /// Does this replica hold what was promised, below `upto`?
    fn holds_promised(&self, at: u8, upto: usize) -> bool {
        let upto = upto.min(self.promised.len());
        self.nodes[usize::from(at)].kept.get(..upto) == Some(&self.promised[..upto])
    }

    fn hear(&mut self, at: u8, epoch: u8) {
        let registered = self.registered[usize::from(epoch) - 1];
        let (registration, image) = (registered.registration(epoch), registered.image());
        self.step(at, |hosted, env, facts| {
            let partition = hosted.get_mut(ID).expect("it is hosted for ever");
            partition.apply(&registration, &image, env, facts);
        });
        if !self.leads(at) {
            self.answers[usize::from(at)] = None;
        }
    }

    fn append(&mut self, at: u8) {
        self.records += 1;
        let serial = self.records;
        let mut builder = BatchBuilder::new();
        builder.push(serial.into(), None, Some(&[serial]), &[]);
        let bytes = builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes();
        self.step(at, |hosted, env, facts| {
            let partition = hosted.get_mut(ID).expect("it is hosted for ever");
            let batch =
                VerifiedBatch::verify_produce(Some(bytes), 9, partition.config(), env.wall());
            let batch = batch.expect("the batch is a valid one");
            let appended = partition.append_as_leader(batch, -1, env).expect("it leads");
            facts.push(Fact::LogEndAdvanced(ID));
            partition.wait_for(-1, appended.end, reply(serial));
        });
    }

    /// One fetch: request, its acknowledgement by offset, read, answer, append. It brings one
    /// batch.
    fn fetch(&mut self, at: u8) {
        let partition = self.partition(at);
        let Some(leader) = partition.fetches_from() else { return };
        let (epoch, offset) = (partition.leader_epoch(), partition.log().log_end());
        let topic = TopicRef { name: TOPIC.into(), id: KEY.topic };
        let request = FetchRequest {
            replica: id(at),
            replica_epoch: BrokerEpoch(self.incarnations[usize::from(at)].into()),
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            topics: vec![FetchTopic { topic, partitions: [partition.next_fetch(1)].into() }],
            ..FetchRequest::default()
        };
        let answer = self.answer((leader.0 - 1) as u8, request);
        self.step(at, |hosted, env, facts| {
            let partition = hosted.get_mut(ID).expect("it is hosted for ever");
            partition.on_fetched(epoch, offset, answer, env, facts);
        });
    }

    /// A broker's answer to a fetch, with the disk's reads done at once.
    fn answer(&mut self, leader: u8, request: FetchRequest) -> FetchPartitionResponse {
        let mut fetches = Fetches::default();
        let nothing = MetadataImage::default();
        let from = reply(0);
        let before = self.nodes[usize::from(leader)].clone();
        let response = self.step(leader, |hosted, env, facts| {
            fetches.on_request(from, "", request, u32::MAX, hosted, &nothing, env, facts);
            while let Some(read) = take_read(env) {
                let DiskDone::Read { bytes, .. } = before.disk.clone().read(read) else {
                    panic!("a read reads")
                };
                fetches.on_read(from, ID, bytes, hosted, &nothing, env);
            }
        });
        let Some(Response::Fetch(mut response)) = response else {
            panic!("a fetch that does not wait is answered, not {response:?}")
        };
        response.topics.remove(0).partitions.remove(0)
    }

    fn propose(&mut self, at: u8) {
        let own = BrokerEpoch(self.incarnations[usize::from(at)].into());
        let number = self.free_number(at);
        let node = self.nodes[usize::from(at)].change();
        let data = node.partition().send_proposal(number, own).expect("there is one to send");
        let mut broker_epochs = [BrokerEpoch::NONE; REPLICAS];
        for (node, epoch) in &data.new_isr {
            broker_epochs[(node.0 - 1) as usize] = *epoch;
        }
        self.requests.push(Request {
            leader: at,
            number,
            epoch: data.leader_epoch.0 as u8,
            partition_epoch: data.partition_epoch.0 as u8,
            isr: set_of(data.new_isr.iter().map(|(node, _)| node)),
            broker_epochs,
        });
        self.requests.sort_unstable();
    }

    /// A number that no request or answer in flight of this leader has.
    fn free_number(&self, at: u8) -> u64 {
        let requests = self.requests.iter().filter(|request| request.leader == at);
        let answer = self.answers[usize::from(at)].map(|answer| answer.number);
        let used: Vec<u64> = requests.map(|request| request.number).chain(answer).collect();
        (1..).find(|number| !used.contains(number)).expect("numbers do not end")
    }

    fn waits_for(&self, at: u8, number: u64) -> bool {
        self.partition(at).leader_state().is_some_and(|leader| leader.isr.is_sent_in(number))
    }

    /// The leader has no answer, and will get none.
    fn give_up(&mut self, at: u8, number: u64) {
        self.timeouts += 1;
        self.answers[usize::from(at)] = None;
        self.step(at, |hosted, env, facts| {
            let partition = hosted.get_mut(ID).expect("it is hosted for ever");
            partition.on_alter_partition(number, None, env, facts);
        });
    }

    fn answered(&mut self, at: u8) {
        let answer = self.answers[usize::from(at)].take().expect("an answer is on its way");
        let result = AlterPartitionResult {
            partition: KEY.partition,
            error: answer.error,
            leader: id(at),
            leader_epoch: LeaderEpoch(answer.epoch.into()),
            isr: members(answer.isr).map(id).collect(),
            leader_recovery_state: 0,
            partition_epoch: PartitionEpoch(answer.partition_epoch.into()),
        };
        self.step(at, |hosted, env, facts| {
            let partition = hosted.get_mut(ID).expect("it is hosted for ever");
            partition.on_alter_partition(answer.number, Some(&result), env, facts);
        });
    }

    fn seal(&mut self) {
        self.nodes.iter_mut().for_each(Shared::seal);
    }
}

/// Takes the read that a fetch asked for out of the recorder.
fn take_read(env: &mut Effects) -> Option<DiskOp> {
    let is_read = |effect: &Effect| {
        matches!(effect, Effect::Disk(DiskOp::Read { tag: ReadTag::Fetch(_), .. }))
    };
    let at = env.list.iter().position(is_read)?;
    let Effect::Disk(read) = env.list.remove(at) else { panic!("it was a read") };
    Some(read)
}

impl RealReplica {
    fn lose_power(&self, state: &mut State, at: u8) {
        state.power_losses += 1;
        state.incarnations[usize::from(at)] += 1;
        state.answers[usize::from(at)] = None;
        if state.now().leader == at {
            let next = members(state.now().isr & !bit(at)).next().expect("another member stays");
            state.elect(next, true);
        } else {
            state.fence(at);
        }
        let epoch = state.epoch();
        let node = state.nodes[usize::from(at)].change();
        node.disk.power_loss();
        node.since = epoch;
        self.start(state, at);
    }

    fn controller_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let now = state.now();
        let others = now.isr & !bit(now.leader);
        if state.epoch() < self.epochs {
            for leader in members(others) {
                actions.push(Action::Elect { leader, fence: false });
                actions.push(Action::Elect { leader, fence: true });
            }
        }
        if state.drops < self.drops {
            // Outside the ISR, fencing matters only for replicas that a request would make members.
            let named = state.requests.iter().fold(others, |set, request| set | request.isr);
            let droppable = members(named & !bit(now.leader));
            let alive = droppable.filter(|at| now.alive[usize::from(*at)] != 0);
            actions.extend(alive.map(Action::Drop));
        }
        for (place, request) in (0..).zip(&state.requests) {
            actions.push(Action::Execute { leader: request.leader, request: place });
        }
        for at in 0..REPLICAS as u8 {
            if now.alive[usize::from(at)] == 0 {
                actions.push(Action::Return(at));
            }
            let spare = now.isr & !bit(at) != 0;
            let electable = now.leader != at || state.epoch() < self.epochs;
            if state.power_losses < self.power_losses && spare && electable {
                actions.push(Action::PowerLoss(at));
            }
        }
    }

    fn leader_actions(&self, state: &State, at: u8, actions: &mut Vec<Action>) {
        let Some(leader) = state.partition(at).leader_state() else { return };
        let now = state.now();
        if state.records < self.records {
            actions.push(Action::Append(at));
        }
        if state.answers[usize::from(at)].is_some() {
            actions.push(Action::Answered(at));
        }
        if state.epoch_of(at) != state.epoch() {
            return;
        }
        let known = leader.isr.partition_epoch() == PartitionEpoch(now.partition_epoch.into());
        let seen = leader.followers.iter().all(|(node, progress)| {
            let at = (node.0 - 1) as usize;
            progress.is_alive == (now.alive[at] != 0)
                && progress.registered_as == Some(BrokerEpoch(now.known[at].into()))
        });
        if !(known && seen) {
            actions.push(Action::Hear(at, state.epoch()));
        }
        match leader.isr.proposal().map(|proposal| proposal.sent) {
            Some(None) if known => actions.push(Action::Propose(at)),
            Some(Some(_)) if state.timeouts < self.timeouts => actions.push(Action::GiveUp(at)),
            Some(_) | None => {}
        }
    }
}

impl Model for RealReplica {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |_| {
            let (hosted, disk) = (Hosted::default(), Disk::default());
            Shared::new(Node { hosted, disk, kept: Vec::new(), since: 0 })
        };
        let all = (1 << REPLICAS) - 1;
        let (alive, known) = ([1; REPLICAS], [1; REPLICAS]);
        let first = Registered { leader: 0, isr: all, partition_epoch: 1, alive, known };
        let mut state = State {
            nodes: std::array::from_fn(node),
            registered: vec![first],
            requests: Vec::new(),
            answers: [None; REPLICAS],
            incarnations: [1; REPLICAS],
            records: 0,
            drops: 0,
            power_losses: 0,
            timeouts: 0,
            promised: Vec::new(),
            unsound: false,
        };
        for at in 0..REPLICAS as u8 {
            self.start(&mut state, at);
            state.durable(at);
        }
        state.seal();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.controller_actions(state, actions);
        for at in 0..REPLICAS as u8 {
            let node = &state.nodes[usize::from(at)];
            let first = (state.epoch_of(at) + 1).max(node.since);
            actions.extend((first..=state.epoch()).map(|epoch| Action::Hear(at, epoch)));
            self.leader_actions(state, at, actions);
            let partition = state.partition(at);
            if partition.fetches_from().is_some() && partition.may_fetch() {
                actions.push(Action::Fetch(at));
            }
            let flushed = partition.log().is_flushed() && !node.disk.is_dirty();
            if self.power_losses > state.power_losses && !flushed {
                actions.push(Action::Durable(at));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Elect { leader, fence } => state.elect(leader, fence),
            Action::Drop(at) => {
                state.drops += 1;
                state.fence(at);
            }
            Action::Return(at) => {
                let incarnation = state.incarnations[usize::from(at)];
                let newest = state.newest();
                newest.alive[usize::from(at)] = incarnation;
                newest.known[usize::from(at)] = incarnation;
            }
            Action::Hear(at, epoch) => {
                state.hear(at, epoch);
                state.forget();
            }
            Action::Append(at) => state.append(at),
            Action::Fetch(at) => state.fetch(at),
            Action::Propose(at) => state.propose(at),
            Action::Execute { request, .. } => state.execute(request),
            Action::GiveUp(at) => {
                let leader = state.partition(at).leader_state().expect("it leads");
                let sent = leader.isr.proposal().and_then(|proposal| proposal.sent);
                state.give_up(at, sent.expect("it waits for an answer"));
            }
            Action::Answered(at) => state.answered(at),
            Action::Durable(at) => state.durable(at),
            Action::PowerLoss(at) => {
                self.lose_power(&mut state, at);
                state.forget();
            }
        }
        if state.power_losses == self.power_losses {
            // No power loss is left in the budget, so what is durable makes no difference any more.
            (0..REPLICAS as u8).for_each(|at| state.settle(at));
        }
        state.seal();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("promised-stays", |_, state: &State| {
                let leader = state.now().leader;
                state.epoch_of(leader) != state.epoch() || state.holds_promised(leader, usize::MAX)
            }),
            Property::always("isr-holds-promised", |_, state: &State| {
                members(state.now().isr).all(|at| state.holds_promised(at, usize::MAX))
            }),
            Property::always("logs-agree", |_, state: &State| {
                (0..REPLICAS as u8).all(|at| {
                    let upto = usize::try_from(state.partition(at).high_watermark().0);
                    state.holds_promised(at, upto.unwrap_or(usize::MAX))
                })
            }),
            Property::always("logs-are-sound", |_, state: &State| !state.unsound),
        ]
    }
}

impl State {
    /// Like [`State::durable`], if there is something to do.
    fn settle(&mut self, at: u8) {
        let flushed = self.partition(at).log().is_flushed();
        if !flushed || self.nodes[usize::from(at)].disk.is_dirty() {
            self.durable(at);
        }
    }
}
