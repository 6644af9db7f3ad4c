//! A process that exits, and a driver that may kill it at that moment.

use super::*;
use wavetank_core::env::{FileId, FileKind};
use wavetank_core::types::DirId;

const A: NodeId = NodeId(0);

/// Submits a disk operation and exits.
#[derive(Clone)]
struct Leaver;

impl Machine for Leaver {
    fn step(&mut self, _: Event, env: &mut dyn Env) {
        let dir = DirId(1);
        env.submit(DiskOp::OpenDir { dir, name: "a-0".into() });
        let file = FileId { dir, kind: FileKind::LeaderEpochs };
        env.submit(DiskOp::Create { file, generation: 0 });
    }

    fn exit(&self) -> Option<Exit> {
        Some(Exit::Stopped)
    }
}

#[test]
fn a_process_that_ends_by_itself_can_be_killed_before_its_end_is_done() {
    let left = |seed, watches, kills| {
        let mut world = World::new(seed, WorldConfig::default());
        world.add_host(A, HostConfig::default());
        world.watch_disks(watches);
        world.start(A, Leaver);
        let step = world.next().expect("it starts");
        assert_eq!(step.exit, Some(Exit::Stopped));
        assert_eq!(world.is_up(A), watches);
        assert_eq!(world.drain_submissions().len(), if watches { 2 } else { 0 });
        if kills {
            world.crash(A);
        }
        assert_eq!(world.conclude(), watches && !kills);
        assert!(!world.is_up(A));
        world.disk(A).files("a-0").len()
    };
    assert!((0..20).all(|seed| left(seed, false, false) == 1), "the end does what was queued");
    assert!((0..20).all(|seed| left(seed, true, false) == 1), "also where it waited");
    let done = (0..40).filter(|seed| left(*seed, true, true) == 1).count();
    assert!((3..37).contains(&done), "killed before, it may be done or not: {done}");
}
