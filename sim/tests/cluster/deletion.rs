//! Deleted topics: what happens to their directories if the process or the power fails at any
//! point.

use wavetank_core::env::{FileId, FileKind};
use wavetank_core::note::Note;
use wavetank_core::types::{DirId, NodeId, Offset};

use crate::tank::{Node, SECOND, Tank, creation, deletion};

/// The checkpoints name a topic that is deleted and created again, empty. Wherever the process is
/// killed in between, it starts again, and does not believe the old checkpoints.
#[test]
fn a_topic_of_a_deleted_ones_name_starts_anew() {
    let mut before = Tank::new(13, 1);
    before.run(5);
    before.create_topic("t");
    before.produce("a");
    before.produce("b");
    before.world.shutdown(NodeId(1));
    before.run(5);
    // What is recovered is durable, and the checkpoint after five seconds says so. The next
    // checkpoint comes when everything is over.
    before.start(NodeId(1));
    before.run(6);
    before.delete_topic("t");
    before.send(NodeId(1), creation("t"));
    let mut hosted_after = None;
    for events in 0..400 {
        let mut tank = Tank { world: before.world.clone(), notes: Vec::new(), nodes: 1 };
        let until = tank.world.now() + 5 * SECOND;
        for _ in 0..events {
            tank.world.next_before(until);
        }
        let hosted = tank.broker(1).hosted().iter().any(|partition| partition.log().is_ready());
        tank.world.crash(NodeId(1));
        tank.start(NodeId(1));
        tank.run(5);
        assert!(tank.world.is_up(NodeId(1)), "after {events} events");
        for partition in tank.broker(1).hosted().iter() {
            assert_eq!(partition.high_watermark(), Offset::ZERO, "after {events} events");
        }
        if hosted {
            hosted_after = Some(events);
            break;
        }
    }
    assert!(hosted_after.is_some_and(|events| events > 5), "{hosted_after:?}");
}

/// A one-node cluster with a topic that has a few segments' worth of files.
fn with_a_topic(seed: u64) -> Tank {
    let mut tank = Tank::new(seed, 1);
    tank.run(5);
    tank.create_topic("t");
    tank.produce("a");
    tank.run(6); // a checkpoint names it
    tank
}

fn directories(tank: &Tank) -> Vec<String> {
    let names = tank.world.disk(NodeId(1)).dir_names().into_iter();
    names.filter(|name| !name.starts_with("__cluster_metadata")).collect()
}

/// A node that died anywhere in a deletion finds the whole topic, or nothing.
fn comes_back(mut tank: Tank, power: bool, what: &str) {
    let _ = match power {
        false => tank.world.crash(NodeId(1)),
        true => tank.world.power_loss(NodeId(1)),
    };
    tank.start(NodeId(1));
    tank.run(8);
    assert!(tank.world.is_up(NodeId(1)), "{what}: it ends at its start");
    let names = directories(&tank);
    let hosted = tank.broker(1).hosted().iter().count();
    if tank.broker(1).image().topics.is_empty() {
        assert!(names.is_empty() && hosted == 0, "{what}: {names:?} is left");
    } else {
        assert_eq!((names, hosted), (vec!["t-0".to_owned()], 1), "{what}");
        // The topic does not flush, so what the power loss took was not promised.
        assert!(power || tank.fetch() == ["a"], "{what}");
    }
}

#[test]
fn a_deletion_that_is_cut_short_ends_in_a_start() {
    for seed in [17, 18, 19] {
        let mut before = with_a_topic(seed);
        before.send(NodeId(1), deletion("t"));
        let mut stages = [0; 3];
        for events in 0.. {
            assert!(events < 1000, "the directory is never removed");
            let names = directories(&before);
            for power in [false, true] {
                let tank = Tank { world: before.world.clone(), notes: vec![], nodes: 1 };
                let what = format!("seed {seed}, {names:?}, {events} events, power: {power}");
                comes_back(tank, power, &what);
            }
            match names.as_slice() {
                [] => break,
                [name] if name == "t-0" => stages[0] += 1,
                [name] if name.starts_with("t-0.") && name.ends_with("-delete") => stages[1] += 1,
                other => panic!("unexpected directories {other:?}"),
            }
            let until = before.world.now() + SECOND;
            before.world.next_before(until).expect("the deletion goes on");
            stages[2] = events;
        }
        assert!(stages[0] > 5 && stages[1] > 1, "both names were seen: {stages:?}");
    }
}

/// The node dies repeatedly while it resumes a removal.
#[test]
fn a_removal_is_taken_up_as_often_as_it_takes() {
    let mut tank = with_a_topic(23);
    tank.send(NodeId(1), deletion("t"));
    let until = tank.world.now() + 5 * SECOND;
    while directories(&tank).iter().all(|name| name == "t-0") {
        tank.world.next_before(until).expect("the directory is renamed");
    }
    for round in 0..60 {
        let _ = match round % 3 {
            0 => tank.world.power_loss(NodeId(1)),
            _ => tank.world.crash(NodeId(1)),
        };
        tank.start(NodeId(1));
        for _ in 0..round {
            let until = tank.world.now() + SECOND;
            tank.world.next_before(until);
        }
        assert!(tank.world.is_up(NodeId(1)), "round {round}");
    }
    tank.run(8);
    assert_eq!(directories(&tank), Vec::<String>::new());
}

#[test]
fn a_topic_is_created_and_deleted_again_and_again() {
    for seed in 30..36 {
        let mut tank = Tank::new(seed, 1);
        tank.run(5);
        for round in 0..25 {
            tank.send(NodeId(1), creation("t"));
            tank.send(NodeId(1), deletion("t"));
            // From before any of it is on disk to after it is in use.
            let until = tank.world.now() + (round % 5) * 2_000_000;
            while tank.world.next_before(until).is_some() {}
            assert!(tank.world.is_up(NodeId(1)), "seed {seed}, round {round}");
        }
        tank.run(10);
        assert!(tank.world.is_up(NodeId(1)), "seed {seed}");
        assert!(tank.broker(1).image().topics.is_empty(), "seed {seed}: the last was deleted");
        assert_eq!(directories(&tank), Vec::<String>::new(), "seed {seed}");
        tank.create_topic("t");
        assert_eq!(tank.produce("a"), Offset(0));
    }
}

/// Directories of topics that the metadata never had, from an administrator's mistake or a metadata
/// log that lost its end.
#[test]
fn a_stray_is_set_aside_and_kept() {
    let mut tank = Tank::new(41, 1);
    tank.run(5);
    tank.world.crash(NodeId(1));
    tank.world.start(NodeId(1), Node::Client(vec![]));
    tank.run(1);
    let log = FileId { dir: DirId(9), kind: FileKind::Log(Offset(0)) };
    let metadata = FileId { dir: DirId(9), kind: FileKind::PartitionMetadata };
    let id = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ";
    tank.world.act(NodeId(1), |_, env| {
        env.open_dir(DirId(9), "ghost-0");
        env.create(log, 0);
        env.create(metadata, 0);
        env.append(metadata, 0, 0, vec![id.into()]);
    });
    tank.run(1);
    tank.world.crash(NodeId(1));
    tank.start(NodeId(1));
    tank.run(8);
    let names = directories(&tank);
    let [name] = names.as_slice() else { panic!("one directory, not {names:?}") };
    assert!(name.starts_with("ghost-0.") && name.ends_with("-stray"), "{name}");
    let files = tank.world.disk(NodeId(1)).files(name);
    let kept = files.iter().find(|(kind, _)| *kind == metadata.kind);
    assert_eq!(kept, Some(&(metadata.kind, id.len() as u64)), "{files:?}");
    let told = |note: &Note| matches!(note, Note::Departed { directory, stray: true, .. } if directory == name);
    assert!(tank.notes.iter().any(|(_, _, note)| told(note)));
    tank.world.crash(NodeId(1));
    tank.start(NodeId(1));
    tank.run(8);
    assert_eq!(directories(&tank), names, "and nobody touches it again");
}

/// A topic was deleted while this node was down. The metadata log says so.
#[test]
fn a_topic_deleted_meanwhile_is_no_stray() {
    let mut tank = Tank::new(43, 3);
    tank.run(10);
    tank.create_topic("t");
    tank.world.crash(NodeId(1));
    tank.run(8);
    tank.delete_topic("t");
    assert_eq!(directories(&tank), ["t-0"]);
    tank.start(NodeId(1));
    tank.run(10);
    assert_eq!(directories(&tank), Vec::<String>::new());
}
