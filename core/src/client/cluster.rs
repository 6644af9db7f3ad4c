//! Who leads what: bootstrap, Metadata requests and their pacing, leader epochs that never
//! decrease.
//!
//! Only knowledge lives here. The producer and the consumer decide what a stale leader means for a
//! batch or a position.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{AdminChannel, AdminSent, Backoff, NamedPartition};
use crate::env::{Channel, Env, Site};
use crate::event::RpcError;
use crate::msg::{
    LeaderIdAndEpoch, MetadataRequest, MetadataResponse, NodeEndpoint, Request, Response,
};
use crate::types::{LeaderEpoch, Monotonic, NodeId, TopicId, TopicRef};

/// Bootstrap and metadata settings. Defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterConfig {
    /// Nodes to ask before the first answer, and afterwards in addition to the known ones
    /// (KIP-899).
    pub bootstrap: Vec<NodeId>,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`: between refreshes without news.
    pub backoff: Backoff,
    /// `metadata.max.age.ms`: the longest time between refreshes.
    pub max_age: Duration,
    /// How long a metadata request may take.
    pub request_timeout: Duration,
    /// `allow.auto.create.topics`.
    pub allow_auto_topic_creation: bool,
}

impl Default for ClusterConfig {
    fn default() -> ClusterConfig {
        ClusterConfig {
            bootstrap: Vec::new(),
            backoff: Backoff::default(),
            max_age: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            allow_auto_topic_creation: false,
        }
    }
}

/// A partition's leader as known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// `None`: the cluster says there is none.
    pub node: Option<NodeId>,
    /// The leader epoch, or -1 if the version has none.
    pub epoch: LeaderEpoch,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topic {
    id: TopicId,
    partitions: BTreeMap<i32, Leader>,
}

/// What a client knows of the cluster, and how it learns more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cluster {
    config: ClusterConfig,
    brokers: BTreeSet<NodeId>,
    controller: Option<NodeId>,
    wanted: BTreeSet<String>,
    topics: BTreeMap<String, Topic>,
    in_flight: bool,
    update_wanted: bool,
    /// No request before this.
    not_before: Monotonic,
    /// When the known metadata becomes too old.
    stale_at: Option<Monotonic>,
    /// Refreshes in a row that failed or brought nothing new.
    fruitless: u32,
    /// Nodes that have not answered since the last successful refresh. They are asked again only
    /// after all others. Kafka's Java client also prefers the node it tried least recently; with
    /// random choice alone, a client may ask dead nodes for longer than anyone waits.
    silent: BTreeSet<NodeId>,
}

impl Cluster {
    pub(crate) fn new(config: ClusterConfig) -> Cluster {
        Cluster {
            config,
            brokers: BTreeSet::new(),
            controller: None,
            wanted: BTreeSet::new(),
            topics: BTreeMap::new(),
            in_flight: false,
            update_wanted: false,
            not_before: Monotonic(0),
            stale_at: None,
            fruitless: 0,
            silent: BTreeSet::new(),
        }
    }

    /// The leader of a partition; `None` if nothing is known about it.
    pub fn leader(&self, partition: &NamedPartition) -> Option<Leader> {
        self.topics.get(&partition.topic)?.partitions.get(&partition.partition).copied()
    }

    /// How many partitions a topic has; `None` if the topic is not known.
    pub fn partition_count(&self, topic: &str) -> Option<usize> {
        self.topics.get(topic).map(|topic| topic.partitions.len())
    }

    /// The name and, if known, the id. Usable in every version of every API.
    pub fn topic_ref(&self, topic: &str) -> TopicRef {
        let id = self.topics.get(topic).map(|topic| topic.id).unwrap_or_default();
        TopicRef { name: topic.into(), id }
    }

    /// The brokers in the last answer.
    pub fn brokers(&self) -> impl Iterator<Item = NodeId> {
        self.brokers.iter().copied()
    }

    /// Includes this topic in metadata requests from now on; a new topic is requested at once.
    pub(crate) fn want(&mut self, topic: &str) {
        if !self.wanted.contains(topic) {
            self.wanted.insert(topic.into());
            self.update_wanted = true;
            self.not_before = Monotonic(0);
            self.fruitless = 0;
        }
    }

    /// Requests a refresh as soon as the back-off allows.
    pub(crate) fn request_update(&mut self) {
        self.update_wanted = true;
    }

    /// Learns a leader named by an error answer (KIP-951). Returns whether it was news.
    pub(crate) fn learn_leader(
        &mut self,
        partition: &NamedPartition,
        hint: Option<LeaderIdAndEpoch>,
    ) -> bool {
        let (Some(hint), Some(topic)) = (hint, self.topics.get_mut(&partition.topic)) else {
            return false;
        };
        let Some(known) = topic.partitions.get_mut(&partition.partition) else { return false };
        let news = hint.leader.known().is_some() && hint.epoch > known.epoch;
        if news {
            *known = Leader { node: hint.leader.known(), epoch: hint.epoch };
        }
        news
    }

    /// Learns endpoints that came with leader hints.
    pub(crate) fn learn_endpoints(&mut self, endpoints: &[NodeEndpoint], env: &mut dyn Env) {
        for broker in endpoints {
            env.learn_peer(broker.node, &broker.endpoint);
            self.brokers.insert(broker.node);
        }
    }

    /// The node for an administrative request: the controller that the metadata names, else any
    /// node.
    pub(crate) fn admin_peer(&self, env: &mut dyn Env) -> Option<NodeId> {
        self.controller.or_else(|| self.any_peer(env))
    }

    /// The named controller did not serve the request: the next one goes elsewhere.
    pub(crate) fn forget_controller(&mut self) {
        self.controller = None;
        self.update_wanted = true;
    }

    fn any_peer(&self, env: &mut dyn Env) -> Option<NodeId> {
        let mut peers = self.peers();
        if peers.iter().any(|peer| !self.silent.contains(peer)) {
            peers.retain(|peer| !self.silent.contains(peer));
        }
        if peers.is_empty() {
            return None;
        }
        let drawn = env.draw(Site::Peer, peers.len() as u64);
        peers.get(drawn as usize).copied()
    }

    /// All nodes that can be asked, in order.
    fn peers(&self) -> Vec<NodeId> {
        let mut peers: Vec<NodeId> =
            self.brokers.iter().chain(&self.config.bootstrap).copied().collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// A request of any kind to this node got no answer, so the others are asked for metadata
    /// first.
    pub(crate) fn note_silent(&mut self, peer: NodeId) {
        self.silent.insert(peer);
        if self.peers().iter().all(|peer| self.silent.contains(peer)) {
            // Start a new round, with this node last.
            self.silent = BTreeSet::from([peer]);
        }
    }

    pub(crate) fn pump(&mut self, channel: &mut AdminChannel, env: &mut dyn Env) {
        let due = self.stale_at.is_some_and(|at| at <= env.now());
        if self.in_flight || !(self.update_wanted || due) || env.now() < self.not_before {
            return;
        }
        let Some(peer) = self.any_peer(env) else { return };
        let topics = self.wanted.iter().map(|name| TopicRef::name(name.clone())).collect();
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: self.config.allow_auto_topic_creation,
            include_topic_authorized_operations: false,
        };
        self.in_flight = true;
        self.update_wanted = false;
        channel.push(peer, AdminSent::Metadata);
        let timeout = self.config.request_timeout;
        env.request(peer, Channel::Admin, timeout, Request::Metadata(request));
    }

    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        if self.in_flight || (self.brokers.is_empty() && self.config.bootstrap.is_empty()) {
            None
        } else if self.update_wanted {
            Some(self.not_before)
        } else {
            self.stale_at.map(|at| at.max(self.not_before))
        }
    }

    pub(crate) fn on_outcome(
        &mut self,
        peer: NodeId,
        outcome: &Result<Response, RpcError>,
        env: &mut dyn Env,
    ) {
        self.in_flight = false;
        let news = match outcome {
            Ok(Response::Metadata(response)) if response.error.is_ok() => {
                self.silent.clear();
                self.stale_at = Some(env.now().after(self.config.max_age));
                self.apply(response, env)
            }
            Ok(_) | Err(_) => {
                self.note_silent(peer);
                self.update_wanted = true;
                false
            }
        };
        self.fruitless = if news { 0 } else { self.fruitless.saturating_add(1) };
        // Even news is followed by the minimum delay, so that errors cannot cause a request storm.
        let wait = self.config.backoff.after(self.fruitless, env);
        self.not_before = env.now().after(wait);
    }

    /// Returns whether anything was news.
    fn apply(&mut self, response: &MetadataResponse, env: &mut dyn Env) -> bool {
        let mut news = false;
        let brokers: BTreeSet<NodeId> = response.brokers.iter().map(|b| b.node).collect();
        for broker in &response.brokers {
            env.learn_peer(broker.node, &broker.endpoint);
        }
        // An answer without brokers comes from a node that knows nothing: keep the known brokers.
        if !brokers.is_empty() {
            self.brokers = brokers;
        }
        self.controller = response.controller.known();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if !self.wanted.contains(name) {
                continue;
            }
            if !topic.error.is_ok() {
                // The topic does not exist yet, or this broker lags behind. Keep what is known:
                // forgetting it could let epochs go back.
                self.update_wanted = true;
                continue;
            }
            let known = self
                .topics
                .entry(name.clone())
                .or_insert_with(|| Topic { id: topic.id, partitions: BTreeMap::new() });
            // A different id is a different topic: its epochs start over (KIP-516).
            if known.id != topic.id {
                known.id = topic.id;
                known.partitions.clear();
            }
            for partition in &topic.partitions {
                let leader =
                    Leader { node: partition.leader.known(), epoch: partition.leader_epoch };
                let newest = known.partitions.get(&partition.partition).copied();
                let older = newest.is_some_and(|newest| {
                    leader.epoch != LeaderEpoch::NONE && leader.epoch < newest.epoch
                });
                if !older && newest != Some(leader) {
                    known.partitions.insert(partition.partition, leader);
                    news = true;
                }
                if older || leader.node.is_none() {
                    self.update_wanted = true;
                }
            }
        }
        news
    }
}
