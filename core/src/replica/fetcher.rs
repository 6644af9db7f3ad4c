//! When a broker fetches, and from which leaders: one fetch in flight per leader, covering all the
//! partitions that follow it.
//!
//! The effect of an answer on a partition lives in [`super::follower`]: an answer counts only for
//! the epoch and the log end that its fetch carried. A fetch that is executed late, after one that
//! was sent later, either reports less than its leader already knows of the same process, or is
//! refused for its leader epoch or its broker epoch
//! ([`super::leader::LeaderState::on_follower_fetch`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::env::{Channel, Env};
use crate::error_code::ErrorCode;
use crate::event::{RpcError, TimerKey};
use crate::msg::{
    FetchRequest, FetchResponse, FetchTopic, MAX_REQUEST_ELEMENTS, Request, Response,
};
use crate::types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionId, TopicRef};

use super::follower::AfterFetch;
use super::{Fact, Partition};

/// What one fetch asked for: partition, leader epoch and fetch offset, in the request's order.
type Asked = Vec<(PartitionId, LeaderEpoch, Offset)>;

/// The most partitions in one fetch: each takes at most two elements, and a request has at most
/// [`MAX_REQUEST_ELEMENTS`].
const MOST_FETCHED: usize = MAX_REQUEST_ELEMENTS * 2 / 5;

/// All fetchers of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fetchers {
    /// Fetches that wait for their answer.
    in_flight: BTreeMap<NodeId, Asked>,
    /// Partitions with a leader to fetch from, so that a node that leads thousands and follows few
    /// visits only those few.
    following: BTreeSet<PartitionId>,
    /// Partitions that back off after an error, with the deadline.
    delayed: BTreeMap<PartitionId, Monotonic>,
    /// The partition at which the next fetch from each leader begins. An answer is filled in the
    /// request's order, so a partition that always came first could fill every answer.
    resume_at: BTreeMap<NodeId, PartitionId>,
}

impl Fetchers {
    /// Sends every fetch that can be sent. Called when a role changed, a log is ready for more, or
    /// a back-off or a fetch ended. `broker_epoch` goes into the request (KIP-903).
    pub fn run(
        &mut self,
        partitions: &[Option<Partition>],
        broker_epoch: BrokerEpoch,
        config: &NodeConfig,
        env: &mut dyn Env,
    ) {
        let mut wanted: BTreeMap<NodeId, Vec<&Partition>> = BTreeMap::new();
        let following =
            self.following.iter().filter_map(|id| partitions.get(id.0 as usize)?.as_ref());
        for partition in following {
            let Some(leader) = partition.fetches_from() else { continue };
            if partition.log().is_ready()
                && !self.in_flight.contains_key(&leader)
                && !self.delayed.contains_key(&partition.id())
            {
                wanted.entry(leader).or_default().push(partition);
            }
        }
        for (leader, mut partitions) in wanted {
            let from = self.resume_at.get(&leader).copied().unwrap_or(PartitionId(0));
            let id = |partition: &&Partition| partition.id();
            let next = take_turn(&mut partitions, from, MOST_FETCHED, id);
            // A fetch without some of the partitions would be parked at the leader for as long as
            // the others are quiet. So the fetch waits until the data of all partitions counts.
            if !partitions.iter().all(|partition| partition.may_fetch()) {
                continue;
            }
            if let Some(next) = next {
                self.resume_at.insert(leader, next);
            }
            let request = Self::request(&partitions, broker_epoch, config);
            let asked =
                partitions.iter().map(|p| (p.id(), p.leader_epoch(), p.log().log_end())).collect();
            self.in_flight.insert(leader, asked);
            let timeout = config.request_timeout + config.replica_fetch_wait_max;
            env.request(leader, Channel::ReplicaFetch, timeout, Request::Fetch(request));
        }
    }

    fn request(
        partitions: &[&Partition],
        broker_epoch: BrokerEpoch,
        config: &NodeConfig,
    ) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut places = BTreeMap::new();
        for partition in partitions {
            let id = partition.topic_partition().topic;
            let place = *places.entry(id).or_insert_with(|| {
                let topic = TopicRef { name: partition.topic().into(), id };
                topics.push(FetchTopic { topic, partitions: Vec::new() });
                topics.len() - 1
            });
            topics[place].partitions.push(partition.next_fetch(config.replica_fetch_max_bytes));
        }
        FetchRequest {
            cluster_id: Some(config.cluster_id.clone()),
            replica: config.node,
            replica_epoch: broker_epoch,
            max_wait_ms: i32::try_from(config.replica_fetch_wait_max.as_millis())
                .unwrap_or(i32::MAX),
            min_bytes: 1,
            topics,
            ..FetchRequest::default()
        }
    }

    /// The outcome of the fetch from `leader`.
    pub fn on_outcome(
        &mut self,
        leader: NodeId,
        outcome: Result<Response, RpcError>,
        partitions: &mut [Option<Partition>],
        config: &NodeConfig,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let Some(asked) = self.in_flight.remove(&leader) else { return };
        let mut answers = match outcome {
            Ok(Response::Fetch(response)) if response.error == ErrorCode::None => index(response),
            // Without an answer every partition backs off; so does one that the answer leaves out.
            Ok(_) | Err(_) => BTreeMap::new(),
        };
        let together = asked.len() > 1;
        for (id, epoch, offset) in asked {
            let Some(partition) = partitions.get_mut(id.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            let after = match answers.remove(&partition.topic_partition()) {
                Some(answer) => {
                    if together && !answer.records.is_empty() {
                        // Like Kafka's `PartitionStates.updateAndMoveToEnd`: next time, the
                        // others come first.
                        self.resume_at.insert(leader, PartitionId(id.0.wrapping_add(1)));
                    }
                    partition.on_fetched(epoch, offset, answer, env, facts)
                }
                None => AfterFetch::BackOff,
            };
            if after == AfterFetch::BackOff && partition.fetches_from() == Some(leader) {
                let deadline = env.now().after(config.replica_fetch_backoff);
                self.delayed.insert(id, deadline);
                env.arm(TimerKey::ReplicaFetchBackoff(leader), deadline);
            }
        }
    }

    /// The partition changed its role, or is gone: its back-off is over.
    pub fn on_role_changed(&mut self, partition: PartitionId, follows: bool) {
        self.delayed.remove(&partition);
        match follows {
            true => self.following.insert(partition),
            false => self.following.remove(&partition),
        };
    }

    /// The end of a back-off. Releases the partitions that are due; a stale firing finds none.
    pub fn on_timer(&mut self, now: Monotonic) {
        self.delayed.retain(|_, deadline| *deadline > now);
    }
}

fn index(
    response: FetchResponse,
) -> BTreeMap<crate::types::TopicPartition, crate::msg::FetchPartitionResponse> {
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let key = crate::types::TopicPartition {
                topic: topic.topic.id,
                partition: partition.partition,
            };
            answers.insert(key, partition);
        }
    }
    answers
}

/// Rotates the sorted `all` so that it begins at `from` or the next after it, and keeps `most`
/// elements. Returns the first of the next turn if some were left out. (Those wait until this
/// turn's fetch is answered, which takes `replica.fetch.wait.max.ms` at most.)
fn take_turn<T>(
    all: &mut Vec<T>,
    from: PartitionId,
    most: usize,
    id: impl Fn(&T) -> PartitionId,
) -> Option<PartitionId> {
    let first = all.partition_point(|one| id(one) < from);
    all.rotate_left(first);
    let next = all.get(most).map(id);
    all.truncate(most);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_do_not_fit_in_one_fetch_take_turns() {
        let turn = |from: u32, ids: core::ops::Range<u32>| {
            let mut all: Vec<PartitionId> = ids.map(PartitionId).collect();
            let next = take_turn(&mut all, PartitionId(from), 4, |id| *id);
            (all.iter().map(|id| id.0).collect::<Vec<_>>(), next.map(|id| id.0))
        };
        assert_eq!(turn(0, 0..4), ((0..4).collect(), None), "all fit");
        assert_eq!(turn(3, 0..4), ([3, 0, 1, 2].into(), None), "all fit, from the next on");
        assert_eq!(turn(4, 0..4), ((0..4).collect(), None), "after the last comes the first");
        assert_eq!(turn(0, 0..10), ((0..4).collect(), Some(4)));
        assert_eq!(turn(4, 0..10), ((4..8).collect(), Some(8)));
        assert_eq!(turn(8, 0..10), ([8, 9, 0, 1].into(), Some(2)));
        assert_eq!(turn(99, 0..10), ((0..4).collect(), Some(4)), "the one to go on with is gone");
        const { assert!(MOST_FETCHED * 2 < MAX_REQUEST_ELEMENTS) };
    }
}
