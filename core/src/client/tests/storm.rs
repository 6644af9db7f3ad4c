//! Runs a client against a partition whose answers suffer random faults, and checks its facts:
//! every record has one outcome, an acknowledged offset holds the record, a record that certainly
//! failed was never appended, and the consumer gets the whole log in order.

use std::collections::{BTreeMap, VecDeque};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::batch::{Batch, BatchBuilder};
use crate::msg::{
    EpochEndOffsetResponse, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
    LATEST_TIMESTAMP, ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
    OffsetForLeaderEpochResponse, OffsetForLeaderTopicResponse, ProducePartitionResponse,
    ProduceResponse, ProduceTopicResponse,
};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// One fully committed partition with a changing leader; three nodes answer for it.
struct Cluster {
    dice: Dice,
    calm: bool,
    leader: i32,
    epoch: i32,
    log: Vec<(i32, u64)>,
    /// Everything that was ever appended.
    appended: Vec<u64>,
    waiting: BTreeMap<(i32, Channel), VecDeque<Request>>,
}

impl Cluster {
    fn answer(&mut self, peer: i32, request: &Request) -> Response {
        let leads = peer == self.leader;
        match request {
            Request::Metadata(_) => {
                Response::Metadata(metadata(TOPIC_ID, &[(0, self.leader, self.epoch)]))
            }
            Request::Produce(produce) => {
                let asked = &produce.topics[0].partitions[0];
                let refusals = [
                    ErrorCode::NotEnoughReplicas,
                    ErrorCode::UnknownTopicOrPartition,
                    ErrorCode::InvalidRecord,
                ];
                let mut answer = ProducePartitionResponse::failed(0, ErrorCode::None);
                if !leads {
                    answer.error = ErrorCode::NotLeaderOrFollower;
                } else if !self.calm && self.dice.roll(4) == 0 {
                    answer.error = refusals[self.dice.roll(3) as usize];
                } else {
                    answer.base_offset = Offset(self.log.len() as i64);
                    let batch = Batch::parse(asked.records.as_ref().unwrap()).unwrap();
                    for record in batch.records().unwrap() {
                        let value = record.value.unwrap().as_ref().try_into().unwrap();
                        self.log.push((self.epoch, u64::from_be_bytes(value)));
                        self.appended.push(u64::from_be_bytes(value));
                    }
                    if !self.calm && self.dice.roll(4) == 0 {
                        answer.error = ErrorCode::NotEnoughReplicasAfterAppend;
                    }
                }
                let topic = produce.topics[0].topic.clone();
                let topics = vec![ProduceTopicResponse { topic, partitions: vec![answer] }];
                Response::Produce(ProduceResponse { topics, ..ProduceResponse::default() })
            }
            Request::Fetch(fetch) => {
                let asked = &fetch.topics[0].partitions[0];
                let mut answer = FetchPartitionResponse::failed(0, ErrorCode::None);
                if !leads {
                    answer.error = ErrorCode::NotLeaderOrFollower;
                } else if asked.current_leader_epoch != LeaderEpoch(self.epoch) {
                    answer.error = ErrorCode::FencedLeaderEpoch;
                } else {
                    answer.high_watermark = Offset(self.log.len() as i64);
                    answer.records = self.read(asked.fetch_offset.0 as usize);
                }
                let topic = fetch.topics[0].topic.clone();
                let topics = vec![FetchTopicResponse { topic, partitions: vec![answer] }];
                Response::Fetch(FetchResponse { topics, ..FetchResponse::default() })
            }
            Request::ListOffsets(list) => {
                let latest = list.topics[0].partitions[0].timestamp == LATEST_TIMESTAMP;
                let error = if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
                let offset = Offset(if latest { self.log.len() as i64 } else { 0 });
                let leader_epoch = LeaderEpoch(-1);
                let partitions = vec![ListOffsetsPartitionResponse {
                    partition: 0,
                    error,
                    timestamp: -1,
                    offset,
                    leader_epoch,
                }];
                let topics = vec![ListOffsetsTopicResponse { name: TOPIC.into(), partitions }];
                Response::ListOffsets(ListOffsetsResponse { throttle_time_ms: 0, topics })
            }
            Request::OffsetForLeaderEpoch(ends) => {
                let asked = &ends.topics[0].partitions[0];
                let error = if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
                let end = self.log.iter().filter(|(epoch, _)| *epoch <= asked.leader_epoch.0);
                let partitions = vec![EpochEndOffsetResponse {
                    error,
                    partition: 0,
                    leader_epoch: asked.leader_epoch,
                    end_offset: Offset(end.count() as i64),
                }];
                let topics = vec![OffsetForLeaderTopicResponse { name: TOPIC.into(), partitions }];
                let throttle_time_ms = 0;
                Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
                    throttle_time_ms,
                    topics,
                })
            }
            other => panic!("the client does not ask {other:?}"),
        }
    }

    /// Up to two batches of up to three records, the first of which may begin before the offset.
    fn read(&mut self, offset: usize) -> Vec<Batch> {
        let mut at = offset.saturating_sub(self.dice.roll(3) as usize);
        let mut batches = vec![];
        while at < self.log.len() && batches.len() < 2 {
            let epoch = self.log[at].0;
            let mut builder = BatchBuilder::new();
            let base = Offset(at as i64);
            let most = at + 1 + self.dice.roll(3) as usize;
            while at < self.log.len() && (at < most || at <= offset) && self.log[at].0 == epoch {
                builder.push(0, None, Some(&self.log[at].1.to_be_bytes()), &[]);
                at += 1;
            }
            batches.push(builder.build(base, LeaderEpoch(epoch)));
        }
        batches
    }
}

struct Storm {
    bench: Bench,
    cluster: Cluster,
    outcomes: BTreeMap<RecordId, ClientFact>,
    read: Vec<u64>,
    sent: u64,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut dice = Dice(seed);
        let mut config = ClientConfig::new(vec![NodeId(1), NodeId(2), NodeId(3)]);
        config.producer.max_in_flight = 1 + dice.roll(5) as usize;
        config.producer.linger = Duration::from_millis(dice.roll(2) * 5);
        config.producer.batch_max_bytes = 60 + dice.roll(200) as usize;
        config.producer.delivery_timeout = Duration::from_secs(3);
        config.producer.request_timeout = Duration::from_secs(1);
        config.consumer.request_timeout = Duration::from_secs(1);
        let cluster = Cluster {
            dice,
            calm: false,
            leader: 1,
            epoch: 0,
            log: vec![],
            appended: vec![],
            waiting: BTreeMap::new(),
        };
        let mut storm = Storm {
            bench: Bench::new(config),
            cluster,
            outcomes: BTreeMap::new(),
            read: vec![],
            sent: 0,
        };
        let start = if seed.is_multiple_of(2) { Start::Earliest } else { Start::At(Offset(0)) };
        storm.bench.client.assign(vec![(tp(0), start)], &mut storm.bench.env);
        storm
    }

    /// Takes the client's requests and facts.
    fn settle(&mut self) {
        for (peer, channel, request) in self.bench.requests() {
            self.cluster.waiting.entry((peer, channel)).or_default().push_back(request);
        }
        for fact in self.bench.take_facts() {
            match &fact {
                ClientFact::Acked { id, offset, .. } => {
                    let at = offset.unwrap().0 as usize;
                    assert_eq!(self.cluster.log[at].1, id.0, "acknowledged where it is not");
                    assert!(self.outcomes.insert(*id, fact).is_none(), "a second outcome");
                }
                ClientFact::Failed { id, certainty, .. } => {
                    let appended = self.cluster.appended.contains(&id.0);
                    assert!(!appended || *certainty == Certainty::Unknown, "{fact:?}");
                    assert!(self.outcomes.insert(*id, fact).is_none(), "a second outcome");
                }
                ClientFact::Records { records, .. } => {
                    for record in records {
                        assert_eq!(record.offset, Offset(self.read.len() as i64));
                        let value = record.value.as_ref().unwrap().as_ref().try_into().unwrap();
                        self.read.push(u64::from_be_bytes(value));
                    }
                }
                ClientFact::Position { .. } | ClientFact::FetchError { .. } => {}
                other => panic!("nothing was lost: {other:?}"),
            }
        }
    }

    fn step(&mut self) {
        match self.cluster.dice.roll(10) {
            0..=2 => {
                let value = Bytes::copy_from_slice(&self.sent.to_be_bytes());
                let (client, env) = (&mut self.bench.client, &mut self.bench.env);
                let id = client.send(TOPIC, 0, None, Some(value), WallTime(0), env);
                assert_eq!(id.0, self.sent);
                self.sent += 1;
            }
            3 => {
                let nanos = self.cluster.dice.roll(300_000_000);
                self.bench.pass(Duration::from_nanos(nanos));
            }
            4 if !self.cluster.calm => {
                self.cluster.leader = 1 + self.cluster.dice.roll(3) as i32;
                self.cluster.epoch += 1;
            }
            _ => self.deliver(),
        }
        self.settle();
    }

    /// Answers or fails the oldest request of some connection.
    fn deliver(&mut self) {
        let waiting: Vec<(i32, Channel)> = self
            .cluster
            .waiting
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(key, _)| *key)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let (peer, channel) = waiting[self.cluster.dice.roll(waiting.len() as u64) as usize];
        let queue = self.cluster.waiting.get_mut(&(peer, channel)).unwrap();
        let request = queue.pop_front().unwrap();
        let fate = if self.cluster.calm { 9 } else { self.cluster.dice.roll(10) };
        let outcome = match fate {
            0 => Err(RpcError::Disconnected),
            1 => {
                self.cluster.answer(peer, &request);
                Err(RpcError::TimedOut)
            }
            _ => Ok(self.cluster.answer(peer, &request)),
        };
        self.bench.outcome(peer, channel, outcome);
    }
}

#[test]
fn facts_are_true_in_a_storm() {
    let mut kinds = BTreeMap::new();
    for seed in 0..100 {
        let mut storm = Storm::new(seed);
        for _ in 0..400 {
            storm.step();
        }
        // Once it is calm, every record gets its outcome and the consumer reaches the end.
        storm.cluster.calm = true;
        for _ in 0..3_000 {
            storm.deliver();
            storm.settle();
            storm.bench.pass(Duration::from_millis(5));
            storm.settle();
        }
        assert_eq!(storm.outcomes.len() as u64, storm.sent, "seed {seed}");
        assert_eq!(storm.bench.client.producer().unfinished(), 0);
        let log: Vec<u64> = storm.cluster.log.iter().map(|(_, value)| *value).collect();
        assert_eq!(storm.read, log, "seed {seed}: the consumer got the log");
        for fact in storm.outcomes.into_values() {
            let kind = match fact {
                ClientFact::Acked { .. } => "acknowledged",
                ClientFact::Failed { certainty: Certainty::Failed, .. } => "failed",
                _ => "unknown",
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    assert!(kinds.len() == 3 && kinds.values().all(|count| *count > 150), "{kinds:?}");
}
