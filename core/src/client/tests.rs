//! Tests each client rule event by event, against the recording Env.

mod admin;
mod consumer;
mod producer;
mod storm;

use alloc::vec::Vec;
use std::collections::BTreeMap;
use std::vec;

use super::*;
use crate::effects::{Effect, Effects};
use crate::event::RpcError;
use crate::msg::{
    MetadataPartition, MetadataResponse, MetadataTopic, NodeEndpoint, Request, Response,
};
use crate::types::{Endpoint, Uuid};

pub(super) const TOPIC: &str = "t";
pub(super) const TOPIC_ID: TopicId = Uuid(77);

pub(super) fn tp(partition: i32) -> NamedPartition {
    NamedPartition::new(TOPIC, partition)
}

/// A client with its Env and the facts so far.
pub(super) struct Bench {
    pub(super) client: Client,
    pub(super) env: Effects,
    pub(super) facts: Vec<ClientFact>,
}

impl Bench {
    pub(super) fn new(config: ClientConfig) -> Bench {
        Bench {
            client: Client::new(config),
            env: Effects::at(Monotonic(1_000_000_000)),
            facts: vec![],
        }
    }

    pub(super) fn event(&mut self, event: Event) -> bool {
        self.client.on_event(&event, &mut self.env, &mut self.facts)
    }

    pub(super) fn outcome(
        &mut self,
        peer: i32,
        channel: Channel,
        outcome: Result<Response, RpcError>,
    ) {
        assert!(self.event(Event::Rpc { peer: NodeId(peer), channel, outcome }));
    }

    /// The requests since the last call: (peer, channel, request).
    pub(super) fn requests(&mut self) -> Vec<(i32, Channel, Request)> {
        self.env
            .take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Request(peer, channel, _, request) => Some((peer.0, channel, request)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn take_facts(&mut self) -> Vec<ClientFact> {
        core::mem::take(&mut self.facts)
    }

    /// Lets time pass, firing the client's timers when they are due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.env.now.after(time);
        loop {
            let timers = [
                (TimerKey::Producer, self.client.producer_timer),
                (TimerKey::Consumer, self.client.consumer_timer),
                (TimerKey::ClientMetadata, self.client.metadata_timer),
            ];
            let due = timers.into_iter().filter_map(|(key, at)| Some((at?, key))).min();
            let Some((deadline, key)) = due.filter(|(at, _)| *at <= end) else { break };
            self.env.now = self.env.now.max(deadline);
            self.event(Event::Timer { key, deadline });
        }
        self.env.now = end;
    }

    /// Answers the metadata request in flight: partition -> (leader, epoch).
    pub(super) fn metadata(&mut self, peer: i32, leaders: &[(i32, i32, i32)]) {
        self.outcome(peer, Channel::Admin, Ok(Response::Metadata(metadata(TOPIC_ID, leaders))));
    }
}

pub(super) fn metadata(id: TopicId, leaders: &[(i32, i32, i32)]) -> MetadataResponse {
    let broker =
        |node| NodeEndpoint { node: NodeId(node), endpoint: Endpoint::default(), rack: None };
    MetadataResponse {
        brokers: [1, 2, 3].map(broker).to_vec(),
        controller: NodeId(3),
        topics: vec![MetadataTopic {
            error: ErrorCode::None,
            name: Some(TOPIC.into()),
            id,
            is_internal: false,
            partitions: leaders
                .iter()
                .map(|(partition, leader, epoch)| MetadataPartition {
                    error: ErrorCode::None,
                    partition: *partition,
                    leader: NodeId(*leader),
                    leader_epoch: LeaderEpoch(*epoch),
                    replicas: vec![],
                    isr: vec![],
                    offline_replicas: vec![],
                })
                .collect(),
        }],
        ..MetadataResponse::default()
    }
}

pub(super) fn config() -> ClientConfig {
    ClientConfig::new(vec![NodeId(1)])
}

#[test]
fn backoff_doubles_with_jitter_up_to_its_maximum() {
    let backoff = Backoff::default();
    let mut env = Effects::default();
    let mut longest = BTreeMap::new();
    for failures in 1..8 {
        for _ in 0..401 {
            let wait = backoff.after(failures, &mut env).as_millis();
            let term = 100u128 << (failures - 1);
            assert!(wait >= (term * 8 / 10).min(800) && wait <= (term * 12 / 10).min(1000));
            let entry = longest.entry(failures).or_insert(0);
            *entry = (*entry).max(wait);
        }
    }
    assert_eq!(longest[&1], 120);
    assert_eq!(longest[&7], 1000);
    assert_eq!(backoff.after(u32::MAX, &mut env).max(backoff.max), backoff.max);
}

#[test]
fn an_older_leader_epoch_is_not_believed_and_a_new_topic_id_is() {
    let mut bench = Bench::new(config());
    bench.client.end_offset(tp(0), &mut bench.env);
    assert!(matches!(bench.requests()[..], [(1, Channel::Admin, Request::Metadata(_))]));
    bench.metadata(1, &[(0, 2, 5)]);
    let leader = |bench: &Bench| bench.client.cluster().leader(&tp(0)).unwrap();
    assert_eq!(leader(&bench), Leader { node: Some(NodeId(2)), epoch: LeaderEpoch(5) });

    // That leader disconnects; a broker that lags behind names the previous leader.
    bench.requests();
    bench.outcome(2, Channel::Fetch, Err(RpcError::Disconnected));
    bench.pass(Duration::from_secs(1));
    let asked = bench.requests();
    let peer = asked.iter().find(|r| r.1 == Channel::Admin).unwrap().0;
    bench.metadata(peer, &[(0, 1, 4)]);
    assert_eq!(leader(&bench).node, Some(NodeId(2)));

    // The client asks again, because that answer was too old. The topic was deleted and recreated.
    bench.pass(Duration::from_secs(1));
    let asked = bench.requests();
    let peer = asked.iter().find(|r| r.1 == Channel::Admin).unwrap().0;
    let answer = Response::Metadata(metadata(Uuid(78), &[(0, 3, 0)]));
    bench.outcome(peer, Channel::Admin, Ok(answer));
    assert_eq!(leader(&bench), Leader { node: Some(NodeId(3)), epoch: LeaderEpoch(0) });
    assert_eq!(bench.client.cluster().topic_ref(TOPIC).id, Uuid(78));
}

#[test]
fn a_peer_without_an_answer_is_avoided_and_refreshes_back_off() {
    let mut bench = Bench::new(ClientConfig::new(vec![NodeId(1), NodeId(2)]));
    bench.client.end_offset(tp(0), &mut bench.env);
    let mut times = vec![];
    let mut last = None;
    for _ in 0..5 {
        let requests = bench.requests();
        assert_eq!(requests.len(), 1);
        assert_ne!(last, Some(requests[0].0), "the peer that just failed is not asked again");
        last = Some(requests[0].0);
        times.push(bench.env.now);
        bench.outcome(requests[0].0, Channel::Admin, Err(RpcError::Disconnected));
        assert!(bench.requests().is_empty(), "not before the back-off is over");
        let deadline = bench.client.metadata_timer.unwrap();
        bench.pass(Duration::from_nanos(deadline.0 - bench.env.now.0));
    }
    let waits: Vec<u64> = times.windows(2).map(|w| (w[1].0 - w[0].0) / 1_000_000).collect();
    assert!(waits.windows(2).all(|w| w[1] > w[0] || w[1] >= 800), "{waits:?}");
}

/// Whatever is drawn, no node is asked twice before all were asked once, and none waits more than
/// two rounds for its turn.
#[test]
fn all_are_asked_before_one_is_asked_again() {
    for skipped_draws in 0..60 {
        let mut bench = Bench::new(ClientConfig::new((1..=5).map(NodeId).collect()));
        for _ in 0..skipped_draws {
            bench.env.draw(Site::Peer, 5);
        }
        bench.client.end_offset(tp(0), &mut bench.env);
        let mut asked = vec![];
        for _ in 0..30 {
            let requests = bench.requests();
            assert_eq!(requests.len(), 1);
            asked.push(requests[0].0);
            bench.outcome(requests[0].0, Channel::Admin, Err(RpcError::TimedOut));
            bench.pass(Duration::from_secs(1));
        }
        let all = |asked: &[i32]| (1..=5).all(|node| asked.contains(&node));
        assert!(all(&asked[..5]), "{asked:?}");
        assert!(asked.windows(8).all(all), "{asked:?}");
    }
}

/// A leader that answers no produce request is not asked for metadata.
#[test]
fn who_answers_nothing_is_not_asked_for_metadata() {
    for skipped_draws in 0..6 {
        let mut bench = Bench::new(config());
        bench.client.send(TOPIC, 0, None, None, WallTime(0), &mut bench.env);
        bench.metadata(1, &[(0, 2, 5)]);
        for _ in 0..skipped_draws {
            bench.env.draw(Site::Peer, 5);
        }
        bench.requests();
        bench.outcome(2, Channel::Produce, Err(RpcError::TimedOut));
        bench.pass(Duration::from_secs(1));
        let asked = bench.requests();
        let peer = asked.iter().find(|r| r.1 == Channel::Admin).unwrap().0;
        assert_ne!(peer, 2);
    }
}

#[test]
fn metadata_are_refreshed_when_too_old() {
    let mut bench = Bench::new(config());
    bench.client.send(TOPIC, 0, None, None, WallTime(0), &mut bench.env);
    bench.metadata(1, &[(0, 2, 5)]);
    bench.outcome(2, Channel::Produce, Err(RpcError::Unsupported));
    bench.requests();
    bench.pass(Duration::from_secs(299));
    assert!(bench.requests().is_empty());
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.requests()[..], [(_, Channel::Admin, Request::Metadata(_))]));
}

#[test]
fn stale_timers_and_foreign_events_do_nothing() {
    let mut bench = Bench::new(config());
    bench.client.send(TOPIC, 0, None, None, WallTime(0), &mut bench.env);
    bench.metadata(1, &[(0, 2, 5)]);
    bench.env.take();
    let before = bench.client.clone();
    for key in [TimerKey::Producer, TimerKey::Consumer, TimerKey::ClientMetadata] {
        assert!(bench.event(Event::Timer { key, deadline: Monotonic(3) }));
    }
    let key = TimerKey::Election;
    assert!(!bench.event(Event::Timer { key, deadline: Monotonic(3) }));
    assert!(!bench.event(Event::Shutdown));
    for channel in [Channel::Fetch, Channel::Admin, Channel::Heartbeat] {
        let outcome = Err(RpcError::TimedOut);
        assert!(!bench.event(Event::Rpc { peer: NodeId(3), channel, outcome }));
    }
    assert_eq!(bench.client, before);
    assert!(bench.env.take().is_empty());
}
