//! The built-in workloads: an admin client that creates the plan's topics, producers, and consumers
//! that read all partitions from the beginning.

use super::{Desk, Stage, Workload, unique_value};
use crate::plan::{ConsumerPlan, Plan, ProducerPlan, TopicPlan};
use std::collections::BTreeMap;
use std::time::Duration;
use wavetank_core::client::{
    AdminId, Backoff, Client, ClientConfig, ClientFact, NamedPartition, ResetPolicy, Start,
};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::CreatableTopic;
use wavetank_core::types::{NodeId, Offset, WallTime};

/// Storms are short, so clients retry sooner than with Kafka's defaults.
const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(20), max: Duration::from_millis(300) };

pub(super) fn client_config(bootstrap: Vec<NodeId>) -> ClientConfig {
    let mut config = ClientConfig::new(bootstrap);
    config.cluster.backoff = BACKOFF;
    config.cluster.request_timeout = Duration::from_millis(1_500);
    config.cluster.max_age = Duration::from_secs(5);
    config.producer.backoff = BACKOFF;
    config.consumer.backoff = BACKOFF;
    config.consumer.reset = ResetPolicy::Earliest;
    config.admin.backoff = BACKOFF;
    config.admin.request_timeout = Duration::from_millis(2_000);
    config.admin.timeout = Duration::from_secs(20);
    config
}

/// Creates the plan's topics, retrying until they exist.
#[derive(Clone, Debug)]
pub struct CreateTopics {
    topics: Vec<TopicPlan>,
    asked: BTreeMap<AdminId, usize>,
    created: usize,
}

impl CreateTopics {
    /// Creates the topics of this plan.
    pub fn new(plan: &Plan) -> CreateTopics {
        CreateTopics { topics: plan.topics.clone(), asked: BTreeMap::new(), created: 0 }
    }

    fn create(&mut self, index: usize, at: &mut Desk<'_>) {
        let topic = &self.topics[index];
        let config = |key: &str, value: String| (key.to_owned(), Some(value));
        let mut configs = vec![
            config("min.insync.replicas", topic.min_insync_replicas.to_string()),
            config("segment.bytes", topic.segment_bytes.to_string()),
            config("index.interval.bytes", topic.index_interval_bytes.to_string()),
        ];
        if topic.flush_each_batch {
            configs.push(config("flush.messages", "1".to_owned()));
        }
        let creatable = CreatableTopic {
            name: topic.name.clone(),
            num_partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            assignments: Vec::new(),
            configs,
        };
        let id = at.client.create_topic(creatable, at.env.0);
        self.asked.insert(id, index);
    }
}

impl Workload for CreateTopics {
    fn name(&self) -> &'static str {
        "create-topics"
    }

    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        client_config(bootstrap)
    }

    fn start(&mut self, at: &mut Desk<'_>) {
        for index in 0..self.topics.len() {
            self.create(index, at);
        }
    }

    fn fact(&mut self, fact: &ClientFact, at: &mut Desk<'_>) {
        let ClientFact::TopicCreated { id, error, .. } = fact else { return };
        let Some(index) = self.asked.remove(id) else { return };
        if matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists) {
            self.created += 1;
        } else {
            at.wake(index as u32, Duration::from_millis(200));
        }
    }

    fn timer(&mut self, number: u32, at: &mut Desk<'_>) {
        self.create(number as usize, at);
    }

    fn done(&self, _client: &Client) -> bool {
        self.created == self.topics.len()
    }
}

/// Sends records with unique values to drawn partitions at a drawn pace.
#[derive(Clone, Debug)]
pub struct Produce {
    plan: ProducerPlan,
    partitions: Vec<(String, i32)>,
    sent: u64,
    stopped: bool,
}

/// A producer with this many unanswered records waits. So memory stays bounded however long a
/// partition has no leader.
const UNFINISHED_LIMIT: usize = 40;

impl Produce {
    /// The producer of this index.
    pub fn new(plan: &Plan, index: usize) -> Produce {
        let partitions = all_partitions(plan);
        let plan = plan.workload.producers[index].clone();
        Produce { plan, partitions, sent: 0, stopped: false }
    }

    fn send_burst(&mut self, at: &mut Desk<'_>) {
        let room = UNFINISHED_LIMIT.saturating_sub(at.client.producer().unfinished());
        let count = (self.plan.burst as usize).min(room);
        for _ in 0..count {
            let number = self.sent;
            self.sent += 1;
            let choice = at.choose(number * 2, self.partitions.len() as u64) as usize;
            let len = at.choose(number * 2 + 1, u64::from(self.plan.value_max_bytes) + 1) as usize;
            let timestamp = self.timestamp(number, at);
            let (topic, partition) = &self.partitions[choice];
            at.send_of(topic, *partition, unique_value(at.node, number, len), timestamp);
        }
    }

    fn timestamp(&self, number: u64, at: &mut Desk<'_>) -> WallTime {
        let now = at.env.0.wall();
        let draw = number | 1 << 43;
        match self.plan.event_times_ms {
            0 => now,
            longest if longest > now.0 as u64 => WallTime(at.choose(draw, 4) as i64 - 1),
            longest => match at.choose(draw | 1 << 44, 20) {
                0 => WallTime(at.choose(draw, 4) as i64 - 1),
                _ => WallTime(now.0 - at.choose(draw, longest) as i64),
            },
        }
    }

    fn schedule(&self, at: &mut Desk<'_>) {
        // Between 0.5 and 1.5 times the mean.
        let mean = self.plan.interval_us;
        let wait = mean / 2 + at.choose(self.sent ^ (1 << 40), mean);
        at.wake(0, Duration::from_micros(wait.max(1)));
    }
}

impl Workload for Produce {
    fn name(&self) -> &'static str {
        "produce"
    }

    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        let mut config = client_config(bootstrap);
        config.producer.acks = self.plan.acks;
        config.producer.max_in_flight = self.plan.max_in_flight as usize;
        config.producer.linger = Duration::from_millis(self.plan.linger_ms);
        config.producer.batch_max_bytes = self.plan.batch_bytes as usize;
        config.producer.request_timeout = Duration::from_millis(self.plan.request_timeout_ms);
        config.producer.delivery_timeout = Duration::from_millis(self.plan.delivery_timeout_ms);
        config
    }

    fn start(&mut self, at: &mut Desk<'_>) {
        self.schedule(at);
    }

    fn fact(&mut self, _fact: &ClientFact, _at: &mut Desk<'_>) {}

    fn timer(&mut self, _number: u32, at: &mut Desk<'_>) {
        if !self.stopped {
            self.send_burst(at);
            self.schedule(at);
        }
    }

    fn stage(&mut self, stage: Stage, at: &mut Desk<'_>) {
        self.stopped = stage == Stage::WindingDown;
        at.client.flush(at.env.0);
    }

    fn done(&self, client: &Client) -> bool {
        client.producer().unfinished() == 0
    }
}

/// Reads all partitions from the beginning, forever. It occasionally seeks elsewhere.
#[derive(Clone, Debug)]
pub struct Consume {
    plan: ConsumerPlan,
    partitions: Vec<(String, i32)>,
    seeks: u64,
    settled: bool,
}

impl Consume {
    /// The consumer of this index.
    pub fn new(plan: &Plan, index: usize) -> Consume {
        let partitions = all_partitions(plan);
        let plan = plan.workload.consumers[index].clone();
        Consume { plan, partitions, seeks: 0, settled: false }
    }

    /// The consumer that reads everything at the end.
    pub fn last_reader(plan: &Plan) -> Consume {
        let reader = ConsumerPlan {
            max_wait_ms: 100,
            max_partition_bytes: 1 << 20,
            max_bytes: crate::plan::DEFAULT_MAX_BYTES,
            min_bytes: 1,
            seek_every_ms: 0,
        };
        Consume { plan: reader, partitions: all_partitions(plan), seeks: 0, settled: false }
    }

    /// Seeks in one partition: back, to the start, to the end, or beyond it, where the broker
    /// answers OFFSET_OUT_OF_RANGE and the client resets its position.
    fn wander(&mut self, at: &mut Desk<'_>) {
        self.seeks += 1;
        let draw = self.seeks << 24;
        let index = at.choose(draw, self.partitions.len() as u64) as usize;
        let (topic, index) = &self.partitions[index];
        let partition = NamedPartition::new(topic.clone(), *index);
        let here = at.client.consumer().position(&partition).map_or(0, |offset| offset.0);
        let far = at.choose(draw + 2, 1_000) as i64;
        match at.choose(draw + 1, 4) {
            0 => at.seek(&partition, Start::Earliest, Some(Offset::ZERO)),
            1 => {
                let back = Offset(at.choose(draw + 3, here as u64 + 1) as i64);
                at.seek(&partition, Start::At(back), Some(back));
            }
            2 => at.seek(&partition, Start::At(Offset(here + 1 + far)), None),
            _ => at.seek(&partition, Start::Latest, None),
        }
    }

    fn schedule(&self, at: &mut Desk<'_>) {
        let mean = self.plan.seek_every_ms;
        if mean > 0 && !self.settled {
            let wait = mean / 2 + at.choose(self.seeks ^ 1 << 41, mean);
            at.wake(0, Duration::from_millis(wait.max(1)));
        }
    }
}

impl Workload for Consume {
    fn name(&self) -> &'static str {
        "consume"
    }

    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        let mut config = client_config(bootstrap);
        config.consumer.max_wait = Duration::from_millis(self.plan.max_wait_ms);
        config.consumer.request_timeout = Duration::from_millis(self.plan.max_wait_ms + 1_000);
        config.consumer.partition_max_bytes = self.plan.max_partition_bytes as i32;
        config.consumer.max_bytes = self.plan.max_bytes as i32;
        config.consumer.min_bytes = self.plan.min_bytes as i32;
        config
    }

    fn start(&mut self, at: &mut Desk<'_>) {
        let all = self.partitions.iter();
        let all = all
            .map(|(topic, index)| (NamedPartition::new(topic.clone(), *index), Start::Earliest))
            .collect();
        at.client.assign(all, at.env.0);
        self.schedule(at);
    }

    fn fact(&mut self, _fact: &ClientFact, _at: &mut Desk<'_>) {}

    fn timer(&mut self, _number: u32, at: &mut Desk<'_>) {
        if !self.settled {
            self.wander(at);
            self.schedule(at);
        }
    }

    fn stage(&mut self, stage: Stage, _at: &mut Desk<'_>) {
        self.settled = stage == Stage::WindingDown;
    }

    fn done(&self, client: &Client) -> bool {
        // It has reached the end as this consumer knows it. The run checks whether that is the real
        // end.
        self.partitions.iter().all(|(topic, index)| {
            let partition = NamedPartition::new(topic.clone(), *index);
            let position = client.consumer().position(&partition);
            let end = client.consumer().high_watermark(&partition);
            matches!((position, end), (Some(Offset(at)), Some(Offset(end))) if at >= end)
        })
    }
}

fn all_partitions(plan: &Plan) -> Vec<(String, i32)> {
    let topics = plan.topics.iter();
    topics
        .flat_map(|topic| (0..topic.partitions).map(|index| (topic.name.clone(), index)))
        .collect()
}
