//! Damages one file of a node while it is down, for each file and each kind of damage. The node
//! reports it and refuses, or repairs it. Nothing that was acknowledged and flushed goes missing
//! silently.

use wavetank_core::broker::Status;
use wavetank_core::env::{FileId, FileKind};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::types::{DirId, NodeId};
use wavetank_sim::world::Exit;

use crate::tank::{Node, Tank, creation};

const NODE: NodeId = NodeId(1);
const RECORDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
    /// Killed just after a topic was created that no checkpoint names.
    KillAtOnce,
    PowerLoss,
}

fn ended(end: End) -> Tank {
    let mut tank = Tank::new(71, 1);
    tank.run(5);
    tank.create_topic("t");
    tank.run(5);
    for record in RECORDS {
        tank.produce(record);
    }
    if end == End::KillAtOnce {
        tank.send(NODE, creation("late"));
        while tank.broker(1).image().topics.len() < 2 {
            let until = tank.world.now() + crate::tank::SECOND;
            tank.world.next_before(until).expect("the topic is created");
        }
    }
    match end {
        End::Stop => {
            tank.world.shutdown(NODE);
            tank.run(8);
        }
        End::Kill | End::KillAtOnce => drop(tank.world.crash(NODE)),
        End::PowerLoss => drop(tank.world.power_loss(NODE)),
    }
    assert!(!tank.world.is_up(NODE));
    tank
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Flips a bit at this percentage of the file.
    Flip(u64),
    Missing,
    /// Cuts its second half.
    Cut,
}

/// Applies the damage. False if the file is too small for it.
fn harm(tank: &mut Tank, dir: &str, kind: FileKind, len: u64, harm: Harm) -> bool {
    if len == 0 {
        return false;
    }
    if let Harm::Flip(percent) = harm {
        let at = (len * percent / 100).min(len - 1);
        return tank.world.flip(NODE, dir, kind, at, 1 << (at % 7));
    }
    tank.world.start(NODE, Node::Client(vec![]));
    let (file, name) = (FileId { dir: DirId(50), kind }, dir.to_owned());
    tank.world.act(NODE, |_, env| {
        env.open_dir(file.dir, &name);
        match harm {
            Harm::Missing => env.unlink(file),
            Harm::Cut | Harm::Flip(_) => env.truncate(file, 1, len / 2),
        }
        env.sync_dir(file.dir, kind, 1);
    });
    tank.run(1);
    tank.world.crash(NODE);
    true
}

/// The outcome of the start: the message of a refusal, or `None` if everything is there.
fn outcome(tank: &mut Tank, what: &str) -> Option<String> {
    tank.start(NODE);
    let until = tank.world.now() + 10 * crate::tank::SECOND;
    while let Some(step) = tank.world.next_before(until) {
        if let Some(exit) = step.exit {
            let Exit::Failed(words) = exit else { panic!("{what}: it stopped") };
            return Some(words);
        }
    }
    assert_eq!(tank.broker(1).status(), Status::Running, "{what}");
    let names: Vec<_> = tank.broker(1).image().topic_ids.keys().cloned().collect();
    let topics = if what.starts_with("KillAtOnce") { &["late", "t"][..] } else { &["t"] };
    assert_eq!(names, topics, "{what}: no topic is lost");
    // If the host vanished silently, the client must first find its connection dead.
    let mut fetched = tank.try_fetch();
    if fetched == Err(ErrorCode::RequestTimedOut) {
        tank.run(10);
        fetched = tank.try_fetch();
    }
    match fetched {
        Ok(records) => {
            assert_eq!(records, RECORDS, "{what}: lost without a word");
            None
        }
        Err(error) => Some(format!("{error:?}")),
    }
}

fn each_file(end: End, harms: &[Harm]) -> Vec<(String, Option<String>)> {
    let down = ended(end);
    let mut outcomes = Vec::new();
    for dir in ["", "__cluster_metadata-0", "t-0"] {
        for (kind, len) in down.world.disk(NODE).files(dir) {
            for way in harms {
                let mut tank = Tank { world: down.world.clone(), notes: vec![], nodes: 1 };
                if harm(&mut tank, dir, kind, len, *way) {
                    let what = format!("{end:?}: {dir}/{} {way:?}", kind.name());
                    let came = outcome(&mut tank, &what);
                    outcomes.push((what, came));
                }
            }
        }
    }
    outcomes
}

/// Must this damage be refused, because nothing else can replace the file's content?
fn must_refuse(what: &str) -> bool {
    let kinds = ["meta.properties Missing", "partition.metadata Missing", "quorum-state Missing"];
    kinds.iter().any(|kind| what.contains(kind)) || what.contains(".log Flip(50)")
}

#[test]
fn no_damage_to_any_file_loses_anything_without_a_word() {
    let flips = [Harm::Flip(10), Harm::Flip(50), Harm::Flip(90)];
    let all = [flips[0], flips[1], flips[2], Harm::Missing, Harm::Cut];
    let cases = [
        (End::Stop, &all[..]),
        (End::Kill, &all[..]),
        (End::KillAtOnce, &flips[..]),
        (End::PowerLoss, &all[..]),
    ];
    for (end, harms) in cases {
        let outcomes = each_file(end, harms);
        assert!(outcomes.len() > 25, "{end:?}: {} cases", outcomes.len());
        for (what, came) in &outcomes {
            assert!(came.is_some() || !must_refuse(what), "{what}: taken as it is");
            let Some(words) = came else { continue };
            let says_where =
                ["-0", "checkpoint", "meta.properties", "quorum-state", "metadata log"];
            let says = says_where.iter().any(|name| words.contains(name));
            assert!(says || words.contains("Corrupt"), "{what}: {words}");
        }
        // Indexes, epochs, marks: whatever can be derived from the batches is repaired.
        let repaired = outcomes.iter().filter(|(_, came)| came.is_none()).count();
        assert!(repaired > 3, "{end:?}: {repaired} of {} repaired", outcomes.len());
    }
}

#[test]
fn a_directory_that_is_missing_is_not_made_anew() {
    for dir in ["t-0", "__cluster_metadata-0"] {
        for end in [End::Stop, End::Kill, End::PowerLoss] {
            let mut tank = ended(end);
            tank.world.start(NODE, Node::Client(vec![]));
            tank.world.act(NODE, |_, env| {
                env.open_dir(DirId::ROOT, "");
                env.open_dir(DirId(50), dir);
                env.remove_dir(DirId(50));
                env.sync_dir(DirId::ROOT, FileKind::CleanShutdown, 1);
            });
            tank.run(1);
            tank.world.crash(NODE);
            let words = outcome(&mut tank, dir).expect("it refuses");
            assert!(words.contains(dir) && words.contains("missing"), "{end:?}: {words}");
        }
    }
}
