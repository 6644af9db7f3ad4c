//! A client that queries ends, times and the largest timestamp (ListOffsets) throughout the storm.

use super::builtin::client_config;
use super::{Desk, Stage, Workload};
use crate::invariants::LARGEST;
use crate::plan::{Plan, QueryPlan};
use std::collections::BTreeSet;
use std::time::Duration;
use wavetank_core::client::{Client, ClientConfig, ClientFact, NamedPartition, QueryId};
use wavetank_core::types::{NodeId, WallTime};

/// How far back a queried time may be, ms.
const FURTHEST_MS: u64 = 8_000;

/// Makes one query at a time for each partition, so that each gets its answer.
#[derive(Clone, Debug)]
pub struct Query {
    plan: QueryPlan,
    partitions: Vec<NamedPartition>,
    waiting: BTreeSet<(NamedPartition, QueryId)>,
    turns: u64,
    stopped: bool,
}

impl Query {
    /// The query client of this index.
    pub fn new(plan: &Plan, index: usize) -> Query {
        let named = |(topic, index): (&crate::plan::TopicPlan, i32)| {
            NamedPartition::new(topic.name.clone(), index)
        };
        Query {
            plan: plan.workload.queries[index].clone(),
            partitions: plan.partitions().map(named).collect(),
            waiting: BTreeSet::new(),
            turns: 0,
            stopped: false,
        }
    }

    fn ask_all(&mut self, at: &mut Desk<'_>) {
        self.turns += 1;
        for (index, partition) in self.partitions.iter().enumerate() {
            if self.waiting.iter().any(|(asked, _)| asked == partition) {
                continue;
            }
            let draw = self.turns << 24 | (index as u64) << 1;
            let back = at.choose(draw + 1, FURTHEST_MS) as i64;
            let since = match at.choose(draw, 5) {
                0 | 1 => Some(WallTime(at.env.0.wall().0 - back)),
                2 => Some(LARGEST),
                _ => None,
            };
            let query = at.ask(partition, since);
            self.waiting.insert((partition.clone(), query));
        }
    }

    fn schedule(&self, at: &mut Desk<'_>) {
        let mean = self.plan.interval_ms;
        let wait = mean / 2 + at.choose(self.turns ^ 1 << 42, mean);
        at.wake(0, Duration::from_millis(wait.max(1)));
    }
}

impl Workload for Query {
    fn name(&self) -> &'static str {
        "query"
    }

    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        let mut config = client_config(bootstrap);
        config.consumer.request_timeout = Duration::from_millis(1_500);
        config
    }

    fn start(&mut self, at: &mut Desk<'_>) {
        self.schedule(at);
    }

    fn fact(&mut self, fact: &ClientFact, _at: &mut Desk<'_>) {
        if let ClientFact::EndOffset { query, partition, .. }
        | ClientFact::OffsetAt { query, partition, .. } = fact
        {
            self.waiting.remove(&(partition.clone(), *query));
        }
    }

    fn timer(&mut self, _number: u32, at: &mut Desk<'_>) {
        if !self.stopped {
            self.ask_all(at);
            self.schedule(at);
        }
    }

    fn stage(&mut self, stage: Stage, _at: &mut Desk<'_>) {
        self.stopped = stage == Stage::WindingDown;
    }

    fn done(&self, _client: &Client) -> bool {
        self.waiting.is_empty()
    }
}
