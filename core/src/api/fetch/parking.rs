//! Waiting fetches, indexed by what they wait for, and a bound on how many partitions they watch.
//!
//! Whether a fetch should keep waiting is not decided here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::Fetch;
use crate::event::{ConnectionId, ReplyTo};
use crate::types::{Monotonic, NodeId, PartitionId};

/// The most partitions that all parked fetches of a node's clients may watch together. This takes
/// about ten megabytes, and bounds the checks that one change can cause. Beyond it, the fetch that
/// watches the most is answered with the data there is. Kafka lets a broker answer before
/// `max.wait.ms` at any time.
const MOST_WATCHED: usize = 100_000;
/// Bytes of a topic name that count as much as one partition.
const NAME_BYTES: usize = 64;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parking {
    fetches: BTreeMap<ReplyTo, Fetch>,
    /// The index of the partition's entry in the watching fetch.
    watchers: BTreeMap<(PartitionId, ReplyTo), u32>,
    deadlines: BTreeSet<(Monotonic, ReplyTo)>,
    /// The weights of clients' fetches; `weight` is their sum.
    weights: BTreeSet<(usize, ReplyTo)>,
    weight: usize,
    most: usize,
    /// One fetch of each follower is parked whatever it weighs, because clients must not slow down
    /// replication. One is enough: a follower fetches all its partitions in one fetch, one fetch
    /// after another.
    followers: BTreeMap<NodeId, ReplyTo>,
}

impl Default for Parking {
    fn default() -> Parking {
        Parking::of(MOST_WATCHED)
    }
}

impl Parking {
    /// Room for clients' fetches of `most` partitions in total.
    pub(super) fn of(most: usize) -> Parking {
        Parking {
            fetches: BTreeMap::new(),
            watchers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            weights: BTreeSet::new(),
            weight: 0,
            most,
            followers: BTreeMap::new(),
        }
    }

    /// Parks a fetch. Returns the fetches that no longer fit, heaviest first; this one may be among
    /// them.
    pub(super) fn park(&mut self, from: ReplyTo, mut fetch: Fetch) -> Vec<(ReplyTo, Fetch)> {
        let mut early = Vec::new();
        let follower = fetch.replica.filter(|node| !self.followers.contains_key(node));
        if let Some(follower) = follower {
            self.followers.insert(follower, from);
        } else {
            let weight = weight(&fetch);
            while self.weight + weight > self.most {
                match self.weights.last().copied().filter(|(most, _)| *most > weight) {
                    Some((_, heaviest)) => {
                        early.extend(self.unpark(heaviest).map(|fetch| (heaviest, fetch)));
                    }
                    None => {
                        early.push((from, fetch));
                        return early;
                    }
                }
            }
            self.weights.insert((weight, from));
            self.weight += weight;
        }
        fetch.states = Vec::new();
        fetch.entries.shrink_to_fit();
        for (index, entry) in (0..).zip(&fetch.entries) {
            if let Some(partition) = entry.partition {
                self.watchers.insert((partition, from), index);
            }
        }
        if let Some(deadline) = fetch.deadline {
            self.deadlines.insert((deadline, from));
        }
        self.fetches.insert(from, fetch);
        early
    }

    pub(super) fn unpark(&mut self, from: ReplyTo) -> Option<Fetch> {
        let fetch = self.fetches.remove(&from)?;
        for entry in &fetch.entries {
            if let Some(partition) = entry.partition {
                self.watchers.remove(&(partition, from));
            }
        }
        if let Some(deadline) = fetch.deadline {
            self.deadlines.remove(&(deadline, from));
        }
        let weight = weight(&fetch);
        if self.weights.remove(&(weight, from)) {
            self.weight -= weight;
        } else if let Some(follower) = fetch.replica {
            self.followers.remove(&follower);
        }
        Some(fetch)
    }

    /// Drops the fetches in the range.
    pub(super) fn drop_all(&mut self, range: RangeInclusive<ReplyTo>) {
        let gone: Vec<ReplyTo> = self.fetches.range(range).map(|(from, _)| *from).collect();
        for from in gone {
            self.unpark(from);
        }
    }

    pub(super) fn get_mut(&mut self, from: ReplyTo) -> Option<&mut Fetch> {
        self.fetches.get_mut(&from)
    }

    /// The fetches that watch the partition, and the index of its entry in each.
    pub(super) fn watchers_of(&self, partition: PartitionId) -> Vec<(ReplyTo, usize)> {
        let first = ReplyTo { connection: ConnectionId(0), number: 0 };
        self.watchers
            .range((partition, first)..)
            .take_while(|((watched, _), _)| *watched == partition)
            .map(|((_, from), index)| (*from, *index as usize))
            .collect()
    }

    pub(super) fn first_deadline(&self) -> Option<(Monotonic, ReplyTo)> {
        self.deadlines.first().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.fetches.len()
    }
}

/// The number of partitions, plus each topic and its name in proportion to their memory. At least
/// one.
fn weight(fetch: &Fetch) -> usize {
    let names = fetch.topics.iter().map(|topic| 1 + topic.name.len() / NAME_BYTES);
    1 + fetch.entries.len() + names.sum::<usize>()
}
