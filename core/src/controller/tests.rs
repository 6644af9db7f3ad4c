//! Tests every rule of the controller by request and answer, against a log that commits on demand.

mod costs;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::coordinator::Refusal;
use crate::effects::{Effect, Effects};
use crate::flaw::Flaw;
use crate::metadata::{METADATA_VERSION, PartitionRegistration};
use crate::msg::{
    AlterPartitionData, AlterPartitionRequest, AlterPartitionResult, AlterPartitionTopic,
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, CreatableTopic,
    CreatableTopicResult, CreateTopicsRequest, DeleteTopicsRequest, EnvelopeRequest,
    ListOffsetsRequest, Response,
};
use crate::note::Note;
use crate::types::{Endpoint, NodeId, PartitionEpoch, TopicRef};

/// A log that commits on demand, and refuses appends only when told to.
#[derive(Default)]
struct FakeLog {
    epoch: LeaderEpoch,
    records: Vec<MetadataRecord>,
    committed: i64,
    refuses: bool,
}

impl Log<MetadataRecord, ()> for FakeLog {
    fn epoch(&self) -> Option<LeaderEpoch> {
        Some(self.epoch)
    }
    fn end(&self) -> Offset {
        Offset(self.records.len() as i64)
    }
    fn committed(&self) -> Offset {
        Offset(self.committed)
    }
    fn append(
        &mut self,
        (): &(),
        records: &[MetadataRecord],
        _: &mut dyn Env,
    ) -> Result<Offset, Refusal> {
        if self.refuses {
            return Err(Refusal::NotLeader);
        }
        self.records.extend_from_slice(records);
        Ok(self.end())
    }
}

struct Bench {
    controller: Controller,
    log: FakeLog,
    env: Effects,
    config: NodeConfig,
    number: u32,
}

const SESSION: Duration = Duration::from_secs(9);

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn named(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        assignments: vec![],
        configs: vec![],
    }
}

fn assigned(name: &str, replicas: &[i32]) -> CreatableTopic {
    CreatableTopic { assignments: vec![(0, nodes(replicas))], ..named(name, -1, -1) }
}

impl Bench {
    /// An active controller on node 100, with a fresh log.
    fn new() -> Bench {
        Bench::with(NodeConfig::new(NodeId(100), vec![NodeId(100)]))
    }

    fn with(config: NodeConfig) -> Bench {
        let mut bench = Bench {
            controller: Controller::new(&config),
            log: FakeLog::default(),
            env: Effects::at(Monotonic(1_000_000_000)),
            config,
            number: 0,
        };
        bench.lead(LeaderEpoch(1), MetadataImage::new());
        bench.commit();
        bench
    }

    fn lead(&mut self, epoch: LeaderEpoch, image: MetadataImage) {
        self.log.epoch = epoch;
        self.controller.on_became_leader(epoch, image, &mut self.log, &mut self.env);
    }

    fn commit(&mut self) {
        self.log.committed = self.log.records.len() as i64;
        self.controller.on_committed(Offset(self.log.committed), &mut self.env);
    }

    fn send(&mut self, request: Request) -> ReplyTo {
        self.number += 1;
        let from = ReplyTo { connection: ConnectionId(1), number: self.number };
        self.controller.on_request(from, request, &mut self.log, &mut self.env);
        from
    }

    fn answer_to(&mut self, to: ReplyTo) -> Option<Response> {
        let answers: Vec<Response> = self
            .env
            .take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Respond(whom, response) if whom == to => Some(response),
                _ => None,
            })
            .collect();
        assert!(answers.len() <= 1, "a request is answered once");
        answers.into_iter().next()
    }

    /// Sends, commits and returns the answer.
    fn ask(&mut self, request: Request) -> Response {
        self.env.take();
        let to = self.send(request);
        self.commit();
        self.answer_to(to).expect("an answer after the commit")
    }

    fn register_as(&mut self, broker: i32, incarnation: u128) -> Result<BrokerEpoch, ErrorCode> {
        let request = BrokerRegistrationRequest {
            broker: NodeId(broker),
            cluster_id: self.config.cluster_id.clone(),
            incarnation: Uuid(incarnation),
            listeners: vec![(
                "PLAINTEXT".into(),
                Endpoint { host: "h".into(), port: 9000 + broker as u16 },
            )],
            features: vec![],
            rack: None,
            log_dirs: vec![Uuid(broker as u128)],
            previous_broker_epoch: BrokerEpoch::NONE,
        };
        match self.ask(Request::BrokerRegistration(request)) {
            Response::BrokerRegistration(answer) if answer.error.is_ok() => Ok(answer.broker_epoch),
            Response::BrokerRegistration(answer) => Err(answer.error),
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, request: BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        match self.ask(Request::BrokerHeartbeat(request)) {
            Response::BrokerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&self, broker: i32) -> BrokerHeartbeatRequest {
        let epoch =
            self.image().brokers.get(&NodeId(broker)).map_or(BrokerEpoch::NONE, |b| b.epoch);
        BrokerHeartbeatRequest {
            broker: NodeId(broker),
            broker_epoch: epoch,
            current_metadata_offset: Offset(self.log.records.len() as i64 - 1),
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: vec![],
        }
    }

    /// Registers and unfences.
    fn start(&mut self, broker: i32, incarnation: u128) {
        self.register_as(broker, incarnation).expect("registered");
        let beat = self.heartbeat(broker);
        assert!(!self.beat(beat).is_fenced);
    }

    fn three() -> Bench {
        let mut bench = Bench::new();
        for broker in 1..=3 {
            bench.start(broker, broker as u128);
        }
        bench
    }

    fn image(&self) -> &MetadataImage {
        self.controller.image().expect("active")
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
        self.create_with(CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false })
    }

    fn create_with(&mut self, request: CreateTopicsRequest) -> Vec<CreatableTopicResult> {
        match self.ask(Request::CreateTopics(request)) {
            Response::CreateTopics(answer) => answer.topics,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, topic: CreatableTopic) -> ErrorCode {
        let before = self.log.records.len();
        let results = self.create(vec![topic]);
        assert_eq!(self.log.records.len(), before, "a refused topic leaves nothing in the log");
        assert!(results[0].error.is_ok() || results[0].error_message.is_some());
        results[0].error
    }

    fn partition(&self, name: &str) -> PartitionRegistration {
        self.image().topic_by_name(name).expect("exists").1.partitions[&0].clone()
    }

    fn alter(&mut self, broker: i32, name: &str, new_isr: &[(i32, i64)]) -> AlterPartitionResult {
        let now = self.partition(name);
        self.alter_at(broker, name, new_isr, now.leader_epoch.0, now.partition_epoch.0, 0)
    }

    fn alter_at(
        &mut self,
        broker: i32,
        name: &str,
        new_isr: &[(i32, i64)],
        leader_epoch: i32,
        partition_epoch: i32,
        state: i8,
    ) -> AlterPartitionResult {
        let id = self.image().topic_ids[name];
        let data = AlterPartitionData {
            partition: 0,
            leader_epoch: LeaderEpoch(leader_epoch),
            new_isr: new_isr.iter().map(|(n, e)| (NodeId(*n), BrokerEpoch(*e))).collect(),
            leader_recovery_state: state,
            partition_epoch: PartitionEpoch(partition_epoch),
        };
        let request = AlterPartitionRequest {
            broker: NodeId(broker),
            broker_epoch: self.heartbeat(broker).broker_epoch,
            topics: vec![AlterPartitionTopic { id, partitions: vec![data] }],
        };
        match self.ask(Request::AlterPartition(request)) {
            Response::AlterPartition(answer) => {
                assert_eq!(answer.error, ErrorCode::None);
                answer.topics[0].1[0].clone()
            }
            other => panic!("{other:?}"),
        }
    }

    fn epoch_of(&self, broker: i32) -> i64 {
        self.image().brokers[&NodeId(broker)].epoch.0
    }

    fn session_deadline(&self, broker: i32) -> Option<Monotonic> {
        self.controller.coordinator.deadline(&NodeId(broker))
    }

    fn fire(&mut self, key: TimerKey, deadline: Monotonic) {
        self.env.now = self.env.now.max(deadline);
        self.controller.on_timer(key, deadline, &mut self.log, &mut self.env);
        self.commit();
    }

    fn expire(&mut self, broker: i32) {
        let deadline = self.session_deadline(broker).expect("a session");
        self.fire(TimerKey::BrokerSession(NodeId(broker)), deadline);
    }
}

#[test]
fn a_fresh_log_begins_with_the_metadata_version() {
    let bench = Bench::new();
    assert_eq!(bench.image().features[METADATA_VERSION], 21);
    assert!(matches!(bench.log.records[..], [MetadataRecord::FeatureLevel(_)]));
    assert!(bench.env.notes.contains(&Note::ControllerActive { epoch: LeaderEpoch(1) }));
}

#[test]
fn a_broker_epoch_is_the_offset_of_its_registration() {
    let mut bench = Bench::new();
    let next = bench.log.end();
    assert_eq!(bench.register_as(1, 7), Ok(BrokerEpoch(next.0)));
    assert!(bench.image().brokers[&NodeId(1)].fenced);
    // The answer was lost. A retry has the same incarnation and gets the same epoch.
    assert_eq!(bench.register_as(1, 7), Ok(BrokerEpoch(next.0)));
}

#[test]
fn registration_is_refused_for_another_cluster_or_version() {
    let mut bench = Bench::new();
    let request = |cluster: &str, max| {
        Request::BrokerRegistration(BrokerRegistrationRequest {
            broker: NodeId(1),
            cluster_id: cluster.into(),
            incarnation: Uuid(1),
            listeners: vec![("PLAINTEXT".into(), Endpoint { host: "h".into(), port: 9 })],
            features: vec![(METADATA_VERSION.into(), 1, max)],
            rack: None,
            log_dirs: vec![],
            previous_broker_epoch: BrokerEpoch::NONE,
        })
    };
    let own = bench.config.cluster_id.clone();
    let error = |response| match response {
        Response::BrokerRegistration(answer) => answer.error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error(bench.ask(request("other", 21))), ErrorCode::InconsistentClusterId);
    assert_eq!(error(bench.ask(request(&own, 20))), ErrorCode::UnsupportedVersion);
    assert_eq!(error(bench.ask(request(&own, 21))), ErrorCode::None);
}

#[test]
fn a_second_incarnation_waits_for_the_first_ones_session() {
    let mut bench = Bench::new();
    bench.start(1, 7);
    assert_eq!(bench.register_as(1, 8), Err(ErrorCode::DuplicateBrokerRegistration));
    bench.expire(1);
    assert!(bench.image().brokers[&NodeId(1)].fenced);
    assert!(bench.register_as(1, 8).is_ok());
}

#[test]
fn a_session_of_this_very_node_from_before_is_no_obstacle() {
    let mut bench = Bench::new();
    bench.start(100, 7);
    bench.start(1, 1);
    let image = bench.image().clone();
    bench.lead(LeaderEpoch(2), image);
    // Broker 1 has not been heard from yet either, but it may be alive.
    assert_eq!(bench.register_as(1, 2), Err(ErrorCode::DuplicateBrokerRegistration));
    assert!(bench.register_as(100, 8).is_ok());
    // Once it has been heard from, a second process of this node is refused like any other.
    let beat = bench.heartbeat(100);
    bench.beat(beat);
    assert_eq!(bench.register_as(100, 9), Err(ErrorCode::DuplicateBrokerRegistration));
}

#[test]
fn heartbeats_are_checked_by_epoch() {
    let mut bench = Bench::new();
    let stranger = bench.heartbeat(9);
    assert_eq!(bench.beat(stranger).error, ErrorCode::BrokerIdNotRegistered);
    bench.start(1, 7);
    let mut old = bench.heartbeat(1);
    old.broker_epoch = BrokerEpoch(old.broker_epoch.0 - 1);
    assert_eq!(bench.beat(old).error, ErrorCode::StaleBrokerEpoch);
}

#[test]
fn a_broker_is_unfenced_when_it_has_seen_its_registration() {
    let mut bench = Bench::new();
    bench.register_as(1, 7).unwrap();
    let mut beat = bench.heartbeat(1);
    beat.current_metadata_offset = Offset(beat.broker_epoch.0 - 1);
    let answer = bench.beat(beat.clone());
    assert!(answer.is_fenced && !answer.is_caught_up);
    beat.current_metadata_offset = Offset(beat.broker_epoch.0);
    beat.want_fence = true;
    assert!(bench.beat(beat.clone()).is_fenced);
    beat.want_fence = false;
    let answer = bench.beat(beat);
    assert!(!answer.is_fenced && answer.is_caught_up);
    assert!(bench.env.notes.contains(&Note::BrokerUnfenced { broker: NodeId(1) }));
}

#[test]
fn only_the_stored_deadline_ends_a_session() {
    let mut bench = Bench::new();
    bench.start(1, 7);
    let first = bench.session_deadline(1).unwrap();
    bench.env.now = bench.env.now.after(Duration::from_secs(2));
    let beat = bench.heartbeat(1);
    bench.beat(beat);
    let second = bench.session_deadline(1).unwrap();
    assert_eq!(second, bench.env.now.after(SESSION));
    let before = bench.controller.clone();
    bench.fire(TimerKey::BrokerSession(NodeId(1)), first);
    assert_eq!(bench.controller, before, "a stale firing is a no-op");
    bench.fire(TimerKey::BrokerSession(NodeId(1)), second);
    assert!(bench.image().brokers[&NodeId(1)].fenced);
    assert!(bench.env.notes.contains(&Note::BrokerFenced { broker: NodeId(1) }));
}

/// When paused for longer than a session, it used to fence every broker on resuming.
#[test]
fn a_controller_that_stood_still_gives_each_broker_one_more_session() {
    let mut bench = Bench::new();
    bench.start(1, 7);
    let asleep = bench.config.heartbeat_interval / 4 + Duration::from_millis(1);
    let key = TimerKey::BrokerSession(NodeId(1));
    let wake = |bench: &mut Bench| {
        let deadline = bench.session_deadline(1).expect("a session");
        bench.env.now = deadline.after(asleep);
        bench.fire(key, deadline);
    };
    wake(&mut bench);
    assert!(!bench.image().brokers[&NodeId(1)].fenced, "its heartbeats may lie in a buffer");
    assert_eq!(bench.session_deadline(1), Some(bench.env.now.after(SESSION)));
    assert!(bench.env.notes.contains(&Note::SessionRenewed { broker: NodeId(1) }));
    // It has been heard from since, so the next session may be renewed, too.
    let beat = bench.heartbeat(1);
    bench.beat(beat);
    wake(&mut bench);
    assert!(!bench.image().brokers[&NodeId(1)].fenced);
    // Not heard from: a controller that is always late must still fence dead brokers.
    wake(&mut bench);
    assert!(bench.image().brokers[&NodeId(1)].fenced);
}

#[test]
fn fencing_moves_leaderships_and_leaves_the_last_isr_member() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("a", &[1, 2, 3]), assigned("b", &[2, 1]), assigned("c", &[1])]);
    bench.expire(1);
    let a = bench.partition("a");
    assert_eq!((a.leader, &a.isr), (Some(NodeId(2)), &nodes(&[2, 3])));
    assert_eq!((a.leader_epoch, a.partition_epoch), (LeaderEpoch(1), PartitionEpoch(1)));
    let b = bench.partition("b");
    assert_eq!((b.leader, &b.isr), (Some(NodeId(2)), &nodes(&[2])));
    assert_eq!((b.leader_epoch, b.partition_epoch), (LeaderEpoch(0), PartitionEpoch(1)));
    let c = bench.partition("c");
    assert_eq!((c.leader, &c.isr, c.leader_epoch), (None, &nodes(&[1]), LeaderEpoch(1)));
    // Unfenced again, it leads where it is the last ISR member. Elsewhere it has to rejoin the ISR.
    let beat = bench.heartbeat(1);
    bench.beat(beat);
    let c = bench.partition("c");
    assert_eq!((c.leader, c.leader_epoch), (Some(NodeId(1)), LeaderEpoch(2)));
    assert_eq!(bench.partition("a"), a);
}

/// A broker that leads "a" and "c" and restarts within its session, right after a failover of the
/// controller in the same process.
fn restarted_leader(flaws: &[Flaw]) -> Bench {
    let mut config = NodeConfig::new(NodeId(1), vec![NodeId(1)]);
    config.flaws = flaws.iter().copied().collect();
    let mut bench = Bench::with(config);
    for broker in 1..=2 {
        bench.start(broker, broker as u128);
    }
    bench.create(vec![assigned("a", &[1, 2]), assigned("c", &[1])]);
    let image = bench.image().clone();
    bench.lead(LeaderEpoch(2), image);
    bench.register_as(1, 77).expect("registered");
    bench
}

#[test]
fn a_new_incarnation_leads_nothing_in_the_old_epochs() {
    let bench = restarted_leader(&[]);
    assert!(bench.image().brokers[&NodeId(1)].fenced);
    let a = bench.partition("a");
    assert_eq!((a.leader, &a.isr, a.leader_epoch), (Some(NodeId(2)), &nodes(&[2]), LeaderEpoch(1)));
    let c = bench.partition("c");
    assert_eq!((c.leader, &c.isr, c.leader_epoch), (None, &nodes(&[1]), LeaderEpoch(1)));
}

#[test]
fn without_the_rule_it_goes_on_as_if_nothing_happened() {
    let bench = restarted_leader(&[Flaw::LeaderResumesEpoch]);
    assert!(!bench.image().brokers[&NodeId(1)].fenced);
    let a = bench.partition("a");
    assert_eq!((a.leader, &a.isr), (Some(NodeId(1)), &nodes(&[1, 2])));
    assert_eq!(a.leader_epoch, LeaderEpoch(0));
}

#[test]
fn controlled_shutdown_moves_leaderships_first() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("a", &[1, 2, 3])]);
    let mut stop = bench.heartbeat(1);
    stop.want_shut_down = true;
    let answer = bench.beat(stop.clone());
    assert!(!answer.should_shut_down && !answer.is_fenced);
    let a = bench.partition("a");
    assert_eq!((a.leader, &a.isr), (Some(NodeId(2)), &nodes(&[2, 3])));
    assert!(bench.image().brokers[&NodeId(1)].in_controlled_shutdown);
    // Brokers 2 and 3 have not reported the change as applied yet.
    assert!(!bench.beat(stop.clone()).should_shut_down);
    for broker in 2..=3 {
        let beat = bench.heartbeat(broker);
        bench.beat(beat);
    }
    let answer = bench.beat(stop);
    assert!(answer.should_shut_down && answer.is_fenced);
    assert!(bench.register_as(1, 9).is_ok(), "a stopped broker's session is over");
}

#[test]
fn a_broker_that_leads_nothing_may_stop_at_once() {
    let mut bench = Bench::three();
    let mut stop = bench.heartbeat(3);
    stop.want_shut_down = true;
    assert!(bench.beat(stop).should_shut_down);
}

#[test]
fn alter_partition_is_refused_in_kafkas_order() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("t", &[1, 2, 3])]);
    let all = [(1, -1), (2, -1), (3, -1)];
    let two = [(1, -1), (2, -1)];
    bench.alter(1, "t", &two);
    bench.expire(3);
    let mut error = |broker, isr: &[(i32, i64)], leader_epoch, partition_epoch, state| {
        bench.alter_at(broker, "t", isr, leader_epoch, partition_epoch, state).error
    };
    // Each case breaks its own rule and all later ones.
    assert_eq!(error(2, &[(9, -1)], 1, 0, 1), ErrorCode::NotController);
    assert_eq!(error(2, &[(9, -1)], 0, 2, 1), ErrorCode::NotController);
    assert_eq!(error(2, &[(9, -1)], -1, 0, 1), ErrorCode::FencedLeaderEpoch);
    assert_eq!(error(2, &[(9, -1)], 0, 0, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[(9, -1)], 0, 0, 1), ErrorCode::InvalidUpdateVersion);
    assert_eq!(error(1, &[(1, -1), (9, -1)], 0, 1, 0), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[(1, -1), (1, -1)], 0, 1, 0), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[], 0, 1, 0), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[(2, -1)], 0, 1, 0), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &two, 0, 1, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[(1, -1)], 0, 1, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &[(1, -1)], 0, 1, 7), ErrorCode::InvalidRequest);
    assert_eq!(error(1, &all, 0, 1, 0), ErrorCode::IneligibleReplica);
    assert_eq!(error(1, &two, 0, 1, 0), ErrorCode::None);
}

#[test]
fn an_isr_grows_only_by_the_registered_incarnation() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("t", &[1, 2])]);
    bench.alter(1, "t", &[(1, -1)]);
    let epoch = bench.epoch_of(2);
    let stale = bench.alter(1, "t", &[(1, -1), (2, epoch - 1)]);
    assert_eq!(stale.error, ErrorCode::IneligibleReplica);
    let mut stop = bench.heartbeat(2);
    stop.want_fence = true;
    bench.beat(stop);
    let fenced = bench.alter(1, "t", &[(1, -1), (2, epoch)]);
    assert_eq!(fenced.error, ErrorCode::IneligibleReplica);
    let beat = bench.heartbeat(2);
    bench.beat(beat);
    let grown = bench.alter(1, "t", &[(1, -1), (2, epoch)]);
    assert_eq!((grown.error, grown.isr), (ErrorCode::None, nodes(&[1, 2])));
    assert_eq!((grown.leader_epoch, grown.partition_epoch), (LeaderEpoch(0), PartitionEpoch(2)));
}

#[test]
fn one_request_cannot_change_a_partition_twice_from_the_same_epoch() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("t", &[1, 2, 3])]);
    let id = bench.image().topic_ids["t"];
    let data = |isr: &[i32]| AlterPartitionData {
        partition: 0,
        leader_epoch: LeaderEpoch(0),
        new_isr: isr.iter().map(|n| (NodeId(*n), BrokerEpoch::NONE)).collect(),
        leader_recovery_state: 0,
        partition_epoch: PartitionEpoch(0),
    };
    let mut request = AlterPartitionRequest {
        broker: NodeId(1),
        broker_epoch: BrokerEpoch(bench.epoch_of(1)),
        topics: vec![
            AlterPartitionTopic { id, partitions: vec![data(&[1, 2]), data(&[1, 3])] },
            AlterPartitionTopic { id: Uuid(99), partitions: vec![data(&[1])] },
        ],
    };
    let Response::AlterPartition(answer) = bench.ask(Request::AlterPartition(request.clone()))
    else {
        panic!("another answer")
    };
    let errors: Vec<ErrorCode> =
        answer.topics.iter().flat_map(|(_, results)| results.iter().map(|r| r.error)).collect();
    let expected = [ErrorCode::None, ErrorCode::InvalidUpdateVersion, ErrorCode::UnknownTopicId];
    assert_eq!(errors, expected);
    assert_eq!(bench.partition("t").isr, nodes(&[1, 2]));
    request.broker_epoch = BrokerEpoch(0);
    let Response::AlterPartition(answer) = bench.ask(Request::AlterPartition(request)) else {
        panic!("another answer")
    };
    assert_eq!(answer.error, ErrorCode::StaleBrokerEpoch);
}

/// How a leader makes sure that none of its earlier requests can still change the ISR.
#[test]
fn the_isr_that_there_is_can_be_asked_for_and_ends_what_was_asked_before() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("t", &[1, 2, 3])]);
    bench.alter(1, "t", &[(1, -1), (2, -1)]);
    let epoch_of_three = bench.epoch_of(3);
    let before = bench.partition("t").partition_epoch;
    let records = bench.log.records.len();
    let same = bench.alter(1, "t", &[(2, -1), (1, -1)]);
    assert_eq!((same.error, same.partition_epoch), (ErrorCode::None, before.next()));
    assert_eq!((same.leader_epoch, bench.partition("t").leader), (LeaderEpoch(0), Some(NodeId(1))));
    assert_eq!(bench.log.records.len(), records + 1);
    let all = [(1, -1), (2, -1), (3, epoch_of_three)];
    let late = bench.alter_at(1, "t", &all, 0, before.0, 0);
    assert_eq!(late.error, ErrorCode::InvalidUpdateVersion);
    assert_eq!(bench.partition("t").isr.len(), 2);
}

#[test]
fn an_earlier_copy_of_a_registration_may_come_last() {
    let mut bench = Bench::three();
    bench.create(vec![assigned("t", &[1, 2])]);
    let (epoch, before) = (bench.epoch_of(1), bench.image().brokers[&NodeId(1)].clone());
    assert_eq!(bench.register_as(1, before.incarnation.0), Ok(BrokerEpoch(epoch)));
    assert_eq!(bench.image().brokers[&NodeId(1)], before, "a copy of its own changes nothing");
    assert_eq!(bench.partition("t").isr, nodes(&[1, 2]));
    // A request from a process that has ended arrives after its successor is registered.
    bench.expire(1);
    let successor = bench.register_as(1, 77).expect("the session has ended");
    let late = bench.register_as(1, 66).expect("nobody has a session");
    assert!(late > successor && bench.image().brokers[&NodeId(1)].fenced);
    let request = BrokerHeartbeatRequest { broker_epoch: successor, ..bench.heartbeat(1) };
    assert_eq!(bench.beat(request).error, ErrorCode::StaleBrokerEpoch);
    assert!(bench.register_as(1, 77).expect("the one that lives asks again") > late);
    let beat = bench.heartbeat(1);
    assert!(!bench.beat(beat).is_fenced);
}

#[test]
fn an_earlier_copy_of_a_heartbeat_may_come_last() {
    let mut bench = Bench::three();
    let mut fence = bench.heartbeat(1);
    fence.want_fence = true;
    let mut stop = bench.heartbeat(1);
    stop.want_shut_down = true;
    assert!(bench.beat(fence).is_fenced, "sent before the broker was ready");
    let beat = bench.heartbeat(1);
    assert!(!bench.beat(beat).is_fenced, "the next one ends that");
    // Requests of the previous incarnation do not count.
    bench.expire(1);
    bench.register_as(1, 77).expect("the session has ended");
    let beat = bench.heartbeat(1);
    bench.beat(beat);
    assert_eq!(bench.beat(stop).error, ErrorCode::StaleBrokerEpoch);
    assert!(bench.image().is_active(NodeId(1)));
}

#[test]
fn topics_are_placed_over_unfenced_brokers() {
    let mut bench = Bench::three();
    bench.register_as(4, 4).unwrap();
    let result = bench.create(vec![named("t", 6, 2)]).remove(0);
    assert_eq!(
        (result.error, result.num_partitions, result.replication_factor),
        (ErrorCode::None, 6, 2)
    );
    let topic = bench.image().topics[&result.id].clone();
    let mut leads = [0; 5];
    for partition in topic.partitions.values() {
        assert_eq!(partition.replicas.len(), 2);
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(partition.leader, Some(partition.replicas[0]));
        assert!(!partition.replicas.contains(&NodeId(4)), "4 is fenced");
        leads[partition.replicas[0].0 as usize] += 1;
    }
    assert_eq!(leads, [0, 2, 2, 2, 0]);
    // A factor of 4 needs the fenced broker, which is not in the ISR and leads nothing.
    bench.create(vec![named("u", 1, 4)]);
    let u = bench.partition("u");
    assert_eq!((u.replicas.len(), u.isr.len(), u.replicas[3]), (4, 3, NodeId(4)));
    assert_eq!(u.directories[3], Uuid(4));
    // The start of the placement is drawn.
    assert_ne!(bench.partition("t").replicas[0], u.replicas[0]);
}

#[test]
fn bad_topics_are_refused_with_a_reason() {
    let mut bench = Bench::three();
    bench.create(vec![named("taken.name", 1, 1)]);
    for name in ["", ".", "..", "a/b", "ä", &"x".repeat(250), "taken_name", METADATA] {
        assert_eq!(bench.refused(named(name, 1, 1)), ErrorCode::InvalidTopic, "{name:?}");
    }
    assert_eq!(bench.refused(named("taken.name", 1, 1)), ErrorCode::TopicAlreadyExists);
    assert_eq!(bench.refused(named("t", 0, 1)), ErrorCode::InvalidPartitions);
    assert_eq!(bench.refused(named("t", -2, 1)), ErrorCode::InvalidPartitions);
    assert_eq!(bench.refused(named("t", 1, 0)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(bench.refused(named("t", 1, 4)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(bench.refused(named("t", 10_001, 1)), ErrorCode::PolicyViolation);
    let with = |key: &str, value: Option<&str>| CreatableTopic {
        configs: vec![(key.into(), value.map(String::from))],
        ..named("t", 1, 1)
    };
    assert_eq!(bench.refused(with("no.such.key", Some("1"))), ErrorCode::InvalidConfig);
    assert_eq!(bench.refused(with("segment.bytes", Some("x"))), ErrorCode::InvalidConfig);
    assert_eq!(bench.refused(with("segment.bytes", None)), ErrorCode::InvalidConfig);
}

const METADATA: &str = crate::types::METADATA_TOPIC;

#[test]
fn manual_assignments_are_checked() {
    let mut bench = Bench::three();
    bench.register_as(4, 4).unwrap();
    let with = |assignments: &[(i32, &[i32])]| CreatableTopic {
        assignments: assignments.iter().map(|(p, replicas)| (*p, nodes(replicas))).collect(),
        ..named("t", -1, -1)
    };
    let counted = CreatableTopic { num_partitions: 1, ..with(&[(0, &[1])]) };
    assert_eq!(bench.refused(counted), ErrorCode::InvalidRequest);
    let bad: [&[(i32, &[i32])]; 7] = [
        &[(0, &[])],
        &[(0, &[1, 1])],
        &[(0, &[1, 9])],
        &[(0, &[4])],
        &[(0, &[1]), (0, &[2])],
        &[(0, &[1]), (2, &[2])],
        &[(0, &[1]), (1, &[1, 2])],
    ];
    for assignments in bad {
        let error = bench.refused(with(assignments));
        assert_eq!(error, ErrorCode::InvalidReplicaAssignment, "{assignments:?}");
    }
    let result = bench.create(vec![with(&[(1, &[2, 4]), (0, &[4, 1])])]).remove(0);
    assert_eq!((result.error, result.num_partitions), (ErrorCode::None, 2));
    let t = bench.partition("t");
    assert_eq!((t.leader, t.isr), (Some(NodeId(1)), nodes(&[1])));
}

#[test]
fn defaults_overrides_and_checking_only() {
    let mut bench = Bench::three();
    let topic = CreatableTopic {
        configs: vec![("flush.messages".into(), Some("1".into()))],
        ..named("t", -1, -1)
    };
    let topics = vec![topic.clone()];
    let before = bench.log.records.len();
    let checked =
        bench.create_with(CreateTopicsRequest { topics, timeout_ms: 0, validate_only: true });
    assert_eq!((checked[0].error, checked[0].num_partitions), (ErrorCode::None, 1));
    assert_eq!(bench.log.records.len(), before);
    let created = bench.create(vec![topic, named("d", 1, 1), named("d", 1, 1)]);
    assert_eq!(created.len(), 2, "a name given twice is answered once");
    assert_eq!(created[1].error, ErrorCode::InvalidRequest);
    assert_eq!(bench.image().topic_configs("t")["flush.messages"], "1");
    let flush = created[0].configs.iter().find(|(name, _, _)| name == "flush.messages");
    assert_eq!(flush.unwrap(), &("flush.messages".into(), Some("1".into()), 1));
    assert!(bench.image().topic_by_name("d").is_none());
}

/// Two brokers with at most three replicas each.
#[test]
fn what_a_broker_cannot_have_is_refused_and_says_so() {
    let mut config = NodeConfig::new(NodeId(100), vec![NodeId(100)]);
    config.max_broker_partitions = 3;
    let mut bench = Bench::with(config);
    for broker in [1, 2] {
        bench.start(broker, broker as u128);
    }
    assert_eq!(bench.refused(named("wide", 4, 2)), ErrorCode::PolicyViolation);
    let results = bench.create(vec![
        assigned("a", &[1]),
        assigned("b", &[1, 2]),
        named("wide", 2, 2),
        assigned("c", &[1]),
        assigned("d", &[1]),
        assigned("e", &[2]),
    ]);
    let errors: Vec<ErrorCode> = results.iter().map(|result| result.error).collect();
    let (fits, not) = (ErrorCode::None, ErrorCode::PolicyViolation);
    assert_eq!(errors, [fits, fits, not, fits, not, fits]);
    let why = results[4].error_message.as_deref().expect("a reason");
    assert_eq!(why, "broker 1 would have 4 partitions, and max.broker.partitions allows 3");
    assert_eq!(bench.refused(assigned("f", &[1])), not, "those of before count");
    assert_eq!(bench.create(vec![assigned("f", &[2])])[0].error, fits);
}

#[test]
fn topics_go_by_name_or_id_and_come_back_as_others() {
    let mut bench = Bench::three();
    let first = bench.create(vec![named("t", 1, 1), named("u", 1, 1)]);
    let both = TopicRef { name: "t".into(), id: first[0].id };
    let request = DeleteTopicsRequest {
        topics: vec![
            TopicRef::name("t"),
            TopicRef::id(first[0].id),
            TopicRef::id(first[1].id),
            TopicRef::name("none"),
            TopicRef::id(Uuid(5)),
            both,
            TopicRef::default(),
        ],
        timeout_ms: 1000,
    };
    let Response::DeleteTopics(answer) = bench.ask(Request::DeleteTopics(request)) else {
        panic!("another answer")
    };
    let errors: Vec<ErrorCode> = answer.topics.iter().map(|(_, error, _)| *error).collect();
    use ErrorCode::{InvalidRequest, None, UnknownTopicId, UnknownTopicOrPartition};
    let expected = [
        None,
        InvalidRequest,
        None,
        UnknownTopicOrPartition,
        UnknownTopicId,
        InvalidRequest,
        InvalidRequest,
    ];
    assert_eq!(errors, expected);
    assert_eq!(answer.topics[2].0.name, "u");
    assert!(bench.image().topics.is_empty());
    let again = bench.create(vec![named("t", 1, 1)]);
    assert_ne!(again[0].id, first[0].id);

    let mut config = bench.config.clone();
    config.delete_topics = false;
    let mut bench = Bench::with(config);
    let request = DeleteTopicsRequest { topics: vec![TopicRef::name("t")], timeout_ms: 1 };
    let Response::DeleteTopics(answer) = bench.ask(Request::DeleteTopics(request)) else {
        panic!("another answer")
    };
    assert_eq!(answer.topics[0].1, ErrorCode::TopicDeletionDisabled);
}

#[test]
fn answers_wait_for_their_records_also_reads() {
    let mut bench = Bench::three();
    bench.env.take();
    let create = CreateTopicsRequest {
        topics: vec![named("t", 1, 1)],
        timeout_ms: 1000,
        validate_only: false,
    };
    let write = bench.send(Request::CreateTopics(create));
    let beat = bench.heartbeat(1);
    let read = bench.send(Request::BrokerHeartbeat(beat));
    let answered = |bench: &mut Bench| -> Vec<ReplyTo> {
        let effects = bench.env.take();
        effects
            .iter()
            .filter_map(|e| if let Effect::Respond(to, _) = e { Some(*to) } else { None })
            .collect()
    };
    assert!(answered(&mut bench).is_empty());
    let almost = Offset(bench.log.end().0 - 1);
    bench.controller.on_committed(almost, &mut bench.env);
    assert!(answered(&mut bench).is_empty());
    bench.commit();
    assert_eq!(answered(&mut bench), [write, read]);
}

#[test]
fn an_answer_waits_only_so_long() {
    let mut bench = Bench::three();
    let create = |name| {
        Request::CreateTopics(CreateTopicsRequest {
            topics: vec![named(name, 1, 1), named("", 1, 1)],
            timeout_ms: 100,
            validate_only: false,
        })
    };
    let to = bench.send(create("t"));
    let deadline = bench.env.now.after(Duration::from_millis(100));
    assert!(bench.env.list.contains(&Effect::Arm(TimerKey::ControllerExpiry, deadline)));
    let before = bench.controller.clone();
    let stale = Monotonic(deadline.0 + 1);
    bench.controller.on_timer(TimerKey::ControllerExpiry, stale, &mut bench.log, &mut bench.env);
    assert_eq!(bench.controller, before, "a stale firing is a no-op");
    bench.env.now = deadline;
    bench.controller.on_timer(TimerKey::ControllerExpiry, deadline, &mut bench.log, &mut bench.env);
    let Some(Response::CreateTopics(answer)) = bench.answer_to(to) else { panic!("no answer") };
    assert_eq!(answer.topics[0].error, ErrorCode::RequestTimedOut);
    assert_eq!(answer.topics[1].error, ErrorCode::InvalidTopic, "what is known is said");
    bench.commit();
    assert_eq!(bench.answer_to(to), None, "it is not answered again");
    assert!(bench.image().topic_by_name("t").is_some());
}

#[test]
fn losing_leadership_answers_what_is_parked_and_drops_state() {
    let mut bench = Bench::three();
    let create = CreateTopicsRequest {
        topics: vec![named("t", 1, 1)],
        timeout_ms: 1000,
        validate_only: false,
    };
    let parked = bench.send(Request::CreateTopics(create.clone()));
    let enveloped = bench.send(Request::Envelope(EnvelopeRequest {
        version: 5,
        request: Box::new(Request::CreateTopics(create.clone())),
    }));
    bench.env.take();
    bench.controller.on_lost_leadership(&mut bench.env);
    let effects = bench.env.list.clone();
    let disarmed = |key| effects.contains(&Effect::Disarm(key));
    assert!(disarmed(TimerKey::BrokerSession(NodeId(1))) && disarmed(TimerKey::ControllerExpiry));
    let answers: Vec<_> = effects
        .into_iter()
        .filter_map(|e| if let Effect::Respond(to, r) = e { Some((to, r)) } else { None })
        .collect();
    assert_eq!(answers.len(), 2);
    assert!(matches!(&answers[0], (to, Response::CreateTopics(answer))
        if *to == parked && answer.topics[0].error == ErrorCode::NotController));
    assert!(matches!(&answers[1], (to, Response::Envelope(answer))
        if *to == enveloped && answer.error == ErrorCode::NotController && answer.version == 5));
    assert!(!bench.controller.is_active());
    // From now on it only answers NOT_CONTROLLER.
    let request = Request::Envelope(EnvelopeRequest {
        version: 5,
        request: Box::new(Request::CreateTopics(create)),
    });
    bench.env.take();
    let to = bench.send(request);
    assert!(matches!(bench.answer_to(to), Some(Response::Envelope(answer))
        if answer.error == ErrorCode::NotController && answer.response.is_none()));
    assert_eq!(bench.register_as(1, 1), Err(ErrorCode::NotController));
    let beat = BrokerHeartbeatRequest {
        broker: NodeId(1),
        broker_epoch: BrokerEpoch(1),
        current_metadata_offset: Offset(1),
        want_fence: false,
        want_shut_down: false,
        offline_log_dirs: vec![],
    };
    assert_eq!(bench.beat(beat).error, ErrorCode::NotController);
}

#[test]
fn an_envelope_is_answered_in_one() {
    let mut bench = Bench::three();
    let topics = vec![named("t", 1, 1)];
    let create = CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false };
    let inner = Box::new(Request::CreateTopics(create));
    let Response::Envelope(answer) =
        bench.ask(Request::Envelope(EnvelopeRequest { version: 4, request: inner }))
    else {
        panic!("another answer")
    };
    assert_eq!((answer.error, answer.version), (ErrorCode::None, 4));
    assert!(matches!(answer.response.as_deref(), Some(Response::CreateTopics(inner))
        if inner.topics[0].error.is_ok()));
    let other = ListOffsetsRequest {
        replica: NodeId::NONE,
        isolation_level: 0,
        topics: vec![],
        timeout_ms: 0,
    };
    let inner = Box::new(Request::ListOffsets(other));
    let Response::Envelope(answer) =
        bench.ask(Request::Envelope(EnvelopeRequest { version: 4, request: inner }))
    else {
        panic!("another answer")
    };
    assert_eq!((answer.error, answer.response), (ErrorCode::InvalidRequest, None));
}

#[test]
fn a_log_that_takes_nothing_changes_nothing() {
    let mut bench = Bench::three();
    bench.log.refuses = true;
    let before = bench.controller.clone();
    let results = bench.create(vec![named("t", 1, 1)]);
    assert_eq!(results[0].error, ErrorCode::NotController);
    assert_eq!(bench.controller, before);
}

#[test]
fn a_closed_connection_takes_its_parked_answers_along() {
    let mut bench = Bench::three();
    let topics = vec![named("t", 1, 1)];
    let create = CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false };
    let to = bench.send(Request::CreateTopics(create));
    bench.controller.on_connection_closed(ConnectionId(1));
    bench.commit();
    assert_eq!(bench.answer_to(to), None);
    assert!(bench.image().topic_by_name("t").is_some(), "it happened all the same");
}

#[test]
fn a_new_controller_gives_every_unfenced_broker_a_session() {
    let mut bench = Bench::three();
    let mut stop = bench.heartbeat(3);
    stop.want_fence = true;
    bench.beat(stop);
    let image = bench.image().clone();
    bench.env.now = bench.env.now.after(Duration::from_secs(1));
    bench.lead(LeaderEpoch(2), image);
    let whole = Some(bench.env.now.after(SESSION));
    assert_eq!((bench.session_deadline(1), bench.session_deadline(2)), (whole, whole));
    assert_eq!(bench.session_deadline(3), None);
}

#[test]
fn drawn_ids_are_never_reserved() {
    let mut env = Effects::default();
    for _ in 0..1000 {
        let id = random_uuid(&mut env);
        assert_eq!(id.0 >> 76 & 0xf, 4);
        assert_eq!(id.0 >> 62 & 3, 2);
        assert!(id.0 >> 127 == 0 && id != Uuid::ZERO);
    }
}

/// The content of a registration stays in every node's metadata permanently.
#[test]
fn registrations_that_no_broker_sends_are_refused() {
    let mut bench = Bench::new();
    let good = BrokerRegistrationRequest {
        broker: NodeId(7),
        cluster_id: bench.config.cluster_id.clone(),
        incarnation: Uuid(9),
        listeners: vec![("PLAINTEXT".into(), Endpoint { host: "h".into(), port: 9 })],
        features: vec![],
        rack: None,
        log_dirs: vec![],
        previous_broker_epoch: BrokerEpoch::NONE,
    };
    let long = "x".repeat(256);
    let listener =
        |name: &str, host: &str, port| (name.into(), Endpoint { host: host.into(), port });
    let with = |change: &dyn Fn(&mut BrokerRegistrationRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let bad = [
        with(&|r| r.broker = NodeId(-1)),
        with(&|r| r.broker = NodeId(i32::MIN)),
        with(&|r| r.incarnation = Uuid::ZERO),
        with(&|r| r.listeners.clear()),
        with(&|r| r.listeners = vec![listener("A", "", 9)]),
        with(&|r| r.listeners = vec![listener("A", &long, 9)]),
        with(&|r| r.listeners = vec![listener("A", "h", 0)]),
        with(&|r| r.listeners = vec![listener("A", "h", 1), listener("A", "h", 2)]),
        with(&|r| {
            let names = (0..17).map(|n| listener(&alloc::format!("L{n}"), "h", 1));
            r.listeners = names.collect();
        }),
        with(&|r| r.features = vec![(long.clone(), 0, 1)]),
        with(&|r| r.features = vec![("f".into(), 2, 1)]),
        with(&|r| r.rack = Some(long.clone())),
        with(&|r| r.log_dirs = vec![Uuid(1); 129]),
        with(&|r| r.previous_broker_epoch = BrokerEpoch(-2)),
        with(&|r| r.previous_broker_epoch = BrokerEpoch(i64::MAX)),
    ];
    for request in bad {
        let answer = bench.ask(Request::BrokerRegistration(request.clone()));
        assert!(
            matches!(&answer, Response::BrokerRegistration(answer)
                if answer.error == ErrorCode::InvalidRegistration),
            "{request:?}: {answer:?}"
        );
    }
    assert!(bench.image().brokers.is_empty());
    let answer = bench.ask(Request::BrokerRegistration(good));
    assert!(matches!(answer, Response::BrokerRegistration(answer) if answer.error.is_ok()));
}

/// A broker that claims to have applied records beyond the log would be unfenced without the next
/// ones.
#[test]
fn heartbeats_beyond_the_log_are_refused() {
    let mut bench = Bench::three();
    let end = bench.log.records.len() as i64;
    for offset in [end, i64::MAX, -2, i64::MIN] {
        let mut beat = bench.heartbeat(1);
        beat.current_metadata_offset = Offset(offset);
        let answer = bench.ask(Request::BrokerHeartbeat(beat));
        assert!(
            matches!(&answer, Response::BrokerHeartbeat(answer)
                if answer.error == ErrorCode::InvalidRequest),
            "{offset}: {answer:?}"
        );
    }
}
