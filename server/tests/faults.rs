//! A node is killed at random system calls, or its system calls fail, while topics are created,
//! deleted, rolled, checkpointed and produced to. Everything acknowledged must be there after the
//! next start. Also a flood for which the disk is too slow.
//!
//! `WAVETANK_KILLS` and `WAVETANK_INJECTIONS` set how many of each, `WAVETANK_SEED` the seed
//! (`ci/kills` runs many). The faults come from `common::faults`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::faults::*;
use common::{Client, Node};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

/// Not a test: the node process that the others start.
#[test]
fn child_main() {
    common::child_main();
}

/// Small segments and frequent checkpoints, so that few requests reach every kind of call.
const LINES: &[&str] = &[
    "log.segment.bytes = 400",
    "log.index.interval.bytes = 100",
    "replica.high.watermark.checkpoint.interval.ms = 20",
    "auto.create.topics.enable = false",
];

/// The time within which a node is ready after the last fault, or has ended with a reason.
const SOON: Duration = Duration::from_secs(15);

/// How long an answer may take while faults last.
const PATIENCE: Duration = Duration::from_secs(10);

fn wanted(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// What clients know from the answers, and what is uncertain.
#[derive(Default)]
struct Ledger {
    /// Topics that exist, with the values acknowledged at their offsets.
    topics: BTreeMap<String, BTreeMap<i64, String>>,
    /// Topics whose creation or deletion was not answered.
    unsure: BTreeSet<String>,
    /// Acknowledged records in all.
    acknowledged: u64,
    serial: u64,
}

impl Ledger {
    /// Makes one request. `None` if there was no answer.
    fn step(&mut self, client: &mut Client, numbers: &mut Numbers) -> Option<()> {
        let names: Vec<String> = self.topics.keys().cloned().collect();
        match numbers.below(12) {
            0 | 1 => self.create(client, format!("topic-{}", numbers.below(6))),
            2 if !names.is_empty() => {
                self.delete(client, &names[numbers.below(names.len() as u64) as usize])
            }
            _ if names.is_empty() => self.create(client, "topic-0".into()),
            _ => self.produce(client, &names[numbers.below(names.len() as u64) as usize]),
        }
    }

    fn create(&mut self, client: &mut Client, name: String) -> Option<()> {
        let exists = self.topics.contains_key(&name);
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: 1,
            replication_factor: 1,
            assignments: vec![],
            configs: vec![],
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, validate_only: false };
        self.unsure.insert(name.clone());
        let Response::CreateTopics(answer) = client.try_ask(5, &Request::CreateTopics(request))?
        else {
            panic!("another answer");
        };
        match answer.topics[0].error {
            ErrorCode::None => {
                assert!(!exists, "{name} was created twice");
                self.topics.insert(name.clone(), BTreeMap::new());
                self.unsure.remove(&name);
            }
            ErrorCode::TopicAlreadyExists => {
                assert!(exists, "{name} exists, but nobody was told");
                self.unsure.remove(&name);
            }
            ErrorCode::RequestTimedOut | ErrorCode::NotController => {}
            other => panic!("{name}: {other:?}"),
        }
        Some(())
    }

    fn delete(&mut self, client: &mut Client, name: &str) -> Option<()> {
        let request = DeleteTopicsRequest { topics: vec![TopicRef::name(name)], timeout_ms: 5000 };
        self.unsure.insert(name.into());
        let Response::DeleteTopics(answer) = client.try_ask(4, &Request::DeleteTopics(request))?
        else {
            panic!("another answer");
        };
        match answer.topics[0].1 {
            ErrorCode::None => {
                self.topics.remove(name);
                self.unsure.remove(name);
            }
            ErrorCode::RequestTimedOut | ErrorCode::NotController => {}
            other => panic!("{name}: {other:?}"),
        }
        Some(())
    }

    fn produce(&mut self, client: &mut Client, name: &str) -> Option<()> {
        self.serial += 1;
        let value = format!("{name} {}", self.serial);
        let request = common::produce(&TopicRef::name(name), -1, &value);
        let Response::Produce(answer) = client.try_ask(7, &Request::Produce(request))? else {
            panic!("another answer");
        };
        let answer = &answer.topics[0].partitions[0];
        match answer.error {
            ErrorCode::None => {
                self.acknowledged += 1;
                if let Some(acknowledged) = self.topics.get_mut(name) {
                    acknowledged.insert(answer.base_offset.0, value);
                }
            }
            // The topic is still being created.
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable => std::thread::sleep(Duration::from_millis(1)),
            ErrorCode::RequestTimedOut => {}
            other => panic!("{name}: {other:?}"),
        }
        Some(())
    }

    /// Checks that everything acknowledged is there. `None` if the node ended meanwhile.
    fn verify(&mut self, client: &mut Client) -> Option<()> {
        let request = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: false,
        };
        let Response::Metadata(answer) = client.try_ask(9, &Request::Metadata(request))? else {
            panic!("another answer");
        };
        let there: BTreeSet<String> = answer.topics.into_iter().filter_map(|t| t.name).collect();
        for name in std::mem::take(&mut self.unsure) {
            if !there.contains(&name) {
                self.topics.remove(&name);
            } else {
                self.topics.entry(name).or_default();
            }
        }
        let expected: BTreeSet<String> = self.topics.keys().cloned().collect();
        assert_eq!(there, expected, "the topics that were acknowledged");
        let start = Instant::now();
        for (name, acknowledged) in &self.topics {
            let mut found = BTreeMap::new();
            let mut next = 0;
            loop {
                let request = common::fetch(&TopicRef::name(name), next);
                let Response::Fetch(answer) = client.try_ask(11, &Request::Fetch(request))? else {
                    panic!("another answer");
                };
                let part = &answer.topics[0].partitions[0];
                if !part.error.is_ok() {
                    assert!(start.elapsed() < SOON, "{name}: {:?} at {next}", part.error);
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                for batch in &part.records {
                    for (index, record) in batch.records().expect("records").iter().enumerate() {
                        let value = record.value.as_ref().expect("a value").to_vec();
                        let offset = batch.base_offset.0 + index as i64;
                        found.insert(offset, String::from_utf8(value).expect("text"));
                        next = offset + 1;
                    }
                }
                if next >= part.high_watermark.0 {
                    break;
                }
            }
            for (offset, value) in acknowledged {
                assert_eq!(
                    found.get(offset),
                    Some(value),
                    "{name} at {offset} of {} records, {} acknowledged",
                    found.len(),
                    acknowledged.len()
                );
            }
        }
        Some(())
    }
}

/// Starts a node on `data`, which should be ready soon.
fn start(data: &Path, faults: &Faults) -> Node {
    Node::try_start(data, LINES, Some(faults), SOON)
        .unwrap_or_else(|ended| panic!("not ready after {SOON:?}; ended: {ended:?}"))
}

/// A connection to a node that has not ended.
fn client(node: &mut Node) -> Option<Client> {
    let start = Instant::now();
    loop {
        match node.try_client(PATIENCE) {
            None if node.ended().is_none() && start.elapsed() < SOON => {
                std::thread::sleep(Duration::from_millis(20));
            }
            client => return client,
        }
    }
}

#[test]
fn killed_at_random_calls() {
    let Some(faults) = Faults::new() else { return };
    let count = wanted("WAVETANK_KILLS", 25);
    let mut numbers = Numbers(wanted("WAVETANK_SEED", 1));
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = Ledger::default();
    let (mut kills, mut at_starts) = (0, 0);
    let began = Instant::now();
    while kills < count {
        assert!(began.elapsed() < Duration::from_secs(60 + count * 5), "too few kills: {kills}");
        let how = numbers.one_of(&[Action::KillBefore, Action::KillAfter, Action::KillHalf]);
        let at_start = numbers.below(4) == 0;
        faults.end();
        if at_start {
            faults.plant(CHANGES, 1 + numbers.below(40) as i64, how, 1);
        }
        let node = Node::try_start(data.path(), LINES, Some(&faults), SOON);
        let mut node = match node {
            Ok(node) => node,
            Err(Some(status)) if status.signal() == Some(9) && faults.happened() == 1 => {
                (kills, at_starts) = (kills + 1, at_starts + 1);
                continue;
            }
            Err(ended) => panic!("after {kills} kills: not ready after {SOON:?}; ended {ended:?}"),
        };
        if let Some(mut client) = node.try_client(PATIENCE)
            && ledger.verify(&mut client).is_some()
        {
            if !at_start {
                faults.plant(CHANGES, 1 + numbers.below(200) as i64, how, 1);
            }
            let mut steps = 0;
            while steps < 500 && ledger.step(&mut client, &mut numbers).is_some() {
                steps += 1;
            }
        }
        // Only a kill at a system call counts. If the fault did not strike, the node is killed
        // uncounted.
        if faults.happened() == 1 {
            let status = node.wait(PATIENCE).expect("it was killed");
            assert_eq!(status.signal(), Some(9), "{status}");
            kills += 1;
        } else {
            assert_eq!(node.ended(), None, "after {kills} kills");
            node.kill();
        }
    }
    faults.end();
    let mut node = start(data.path(), &faults);
    ledger.verify(&mut client(&mut node).expect("it serves")).expect("it serves");
    println!(
        "{kills} kills, {at_starts} while starting, {} records acknowledged, {} topics left",
        ledger.acknowledged,
        ledger.topics.len()
    );
    assert!(ledger.acknowledged > count, "there was something to lose");
}

/// Which calls fail with which error, and whether the error is exhaustion, which may pass.
const INJECTIONS: &[(i64, i64, bool)] = &[
    (OPEN, EMFILE, true),
    (OPEN, ENFILE, true),
    (OPEN, EIO, false),
    (WRITE, ENOSPC, true),
    (WRITE, EDQUOT, true),
    (WRITE, EIO, false),
    (SYNC, EIO, false),
    (SYNC, ENOSPC, false),
    (RENAME, ENOSPC, true),
    (RENAME, EIO, false),
    (UNLINK, ENOMEM, true),
    (UNLINK, EIO, false),
    (TRUNCATE, EIO, false),
    (MKDIR, ENOSPC, true),
    (MKDIR, EIO, false),
    (ACCEPT, EMFILE, true),
    (READ, EIO, false),
];

#[test]
fn failing_calls() {
    let Some(faults) = Faults::new() else { return };
    let count = wanted("WAVETANK_INJECTIONS", 25);
    let mut numbers = Numbers(wanted("WAVETANK_SEED", 1));
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut ledger = Ledger::default();
    let (mut bitten, mut ends) = (BTreeMap::new(), 0);
    for round in 0..count {
        let (calls, error, passes) = INJECTIONS[(round as usize) % INJECTIONS.len()];
        let times = if passes { 1 + numbers.below(8) as i64 } else { 1 };
        let at_start = numbers.below(4) == 0;
        let nth = 1 + numbers.below(if at_start { 8 } else { 30 }) as i64;
        let what =
            format!("round {round}: calls {calls} fail with {error}, {times} from the {nth}.");
        faults.end();
        if at_start {
            faults.plant(calls, nth, Action::Fail(error), times);
        }
        let started = Node::try_start(data.path(), LINES, Some(&faults), SOON);
        let mut node = match started {
            Ok(node) => node,
            Err(Some(status)) if faults.happened() > 0 && at_start => {
                assert!(matches!(status.code(), Some(1 | 2)), "{what}: {status}");
                *bitten.entry((calls, error)).or_insert(0) += 1;
                ends += 1;
                continue;
            }
            Err(ended) => panic!("{what}: not ready after {SOON:?}, ended: {ended:?}"),
        };
        if !at_start {
            faults.plant(calls, nth, Action::Fail(error), times);
        }
        if let Some(mut client) = client(&mut node) {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2)
                && faults.happened() < times
                && ledger.step(&mut client, &mut numbers).is_some()
            {}
            for _ in 0..50 {
                if ledger.step(&mut client, &mut numbers).is_none() {
                    break;
                }
            }
        }
        if faults.happened() > 0 {
            *bitten.entry((calls, error)).or_insert(0) += 1;
        }
        faults.end();
        // Either it serves or it has ended, with a message and an exit code. It may be about to
        // end.
        let served = match node.ended() {
            Some(_) => None,
            None => client(&mut node).and_then(|mut client| ledger.verify(&mut client)),
        };
        if served.is_none() {
            let status =
                node.wait(SOON).unwrap_or_else(|| panic!("{what}: neither serves nor ends"));
            assert!(!passes, "{what}: what is used up ends no process, {status}");
            assert_eq!(status.code(), Some(1), "{what}: {status}");
            ends += 1;
        } else {
            node.kill();
        }
        drop(node);
        let mut node = start(data.path(), &faults);
        ledger.verify(&mut client(&mut node).expect("it serves")).expect("it serves");
    }
    println!("{count} rounds, {ends} ended the node; bitten by call and error: {bitten:?}");
    let some: u64 = bitten.values().sum();
    assert!(some * 2 > count, "most faults bite: {bitten:?}");
}

/// A client that wants no acknowledgements is not slowed down by waiting for them, so the node must
/// slow it down.
#[test]
fn a_flood_without_acknowledgements_waits_for_the_disk() {
    let Some(faults) = Faults::new() else { return };
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = Node::try_start(data.path(), &[], Some(&faults), SOON).expect("ready");
    node.client().until_leader("flood");
    let before = node.resident_bytes();
    // The disk is full, and will have room later.
    faults.plant(WRITE, 1, Action::Fail(ENOSPC), i64::MAX / 2);
    let text = "x".repeat(900_000);
    let mut floods = Vec::new();
    for _ in 0..4 {
        let (mut client, text) = (node.client(), text.clone());
        floods.push(std::thread::spawn(move || {
            for _ in 0..100 {
                client.send(
                    7,
                    &Request::Produce(common::produce(&TopicRef::name("flood"), 0, &text)),
                );
            }
            client
        }));
    }
    std::thread::sleep(Duration::from_secs(3));
    let grown = node.resident_bytes().saturating_sub(before) >> 20;
    assert!(floods.iter().any(|flood| !flood.is_finished()), "360 MB went in, and nothing out");
    assert!(faults.happened() > 1, "the disk was asked again");
    assert!(grown < 160, "{grown} MiB wait in memory");
    faults.end();
    let clients: Vec<Client> =
        floods.into_iter().map(|flood| flood.join().expect("sent")).collect();
    let start = Instant::now();
    for tries in 0.. {
        let request = common::produce(&TopicRef::name("flood"), -1, "last");
        let answer = node.client().ask(7, &Request::Produce(request));
        let Response::Produce(answer) = answer else { panic!("another answer") };
        if answer.topics[0].partitions[0].base_offset.0 >= 400 + tries {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "what was sent is not lost: {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(clients);
}

/// While the disk is full, existing records can be read. Once there is room, writes go on.
#[test]
fn a_full_disk_keeps_nobody_from_reading() {
    let Some(faults) = Faults::new() else { return };
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = Node::try_start(data.path(), &[], Some(&faults), SOON).expect("ready");
    let mut client = node.client();
    client.until_leader("full");
    let topic = TopicRef::name("full");
    for _ in 0..100 {
        client.send(7, &Request::Produce(common::produce(&topic, -1, &"x".repeat(20_000))));
        client.receive(ApiKey::Produce, 7);
    }
    faults.plant(WRITE, 1, Action::Fail(ENOSPC), i64::MAX / 2);
    let mut waiting = node.client();
    waiting.send(7, &Request::Produce(common::produce(&topic, -1, "waits")));
    std::thread::sleep(Duration::from_secs(3));
    assert!(faults.happened() > 1, "the disk was asked again");
    let start = Instant::now();
    for offset in 0..50 {
        let Response::Fetch(answer) =
            client.ask(11, &Request::Fetch(common::fetch(&topic, offset)))
        else {
            panic!("another answer")
        };
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error, partition.records.is_empty()), (ErrorCode::None, false));
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "50 reads took {took:?}");
    faults.end();
    let Response::Produce(answer) = waiting.receive(ApiKey::Produce, 7) else {
        panic!("another answer")
    };
    assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
}
