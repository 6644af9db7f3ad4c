//! The suite's harness over the tank's world.

use std::time::Duration;

use wavetank_core::env::Env;
use wavetank_core::event::Event;

use super::{Act, Harness, node};
use crate::world::{Exit, HostConfig, Machine, World, WorldConfig};

/// A machine that only stores its events.
#[derive(Clone, Debug, Default)]
struct Puppet {
    events: std::collections::VecDeque<Event>,
}

impl Machine for Puppet {
    fn step(&mut self, event: Event, _env: &mut dyn Env) {
        if !matches!(event, Event::Start { .. }) {
            self.events.push_back(event);
        }
    }

    fn exit(&self) -> Option<Exit> {
        None
    }
}

/// Two puppets in a world.
#[derive(Clone, Debug)]
pub struct Tank {
    world: World<Puppet>,
}

impl Tank {
    /// A fresh harness whose dice use this seed.
    pub fn new(seed: u64) -> Tank {
        let mut world = World::new(seed, WorldConfig::default());
        for index in 0..2 {
            world.add_host(node(index), HostConfig::default());
            world.start(node(index), Puppet::default());
        }
        while world.next().is_some() {}
        Tank { world }
    }

    fn puppet(&mut self, index: usize) -> &mut Puppet {
        self.world.machine_mut(node(index)).expect("both nodes run")
    }
}

impl Harness for Tank {
    fn act(&mut self, index: usize, act: Act) {
        self.world.act(node(index), |_, env| act(env));
    }

    fn event(&mut self, index: usize, within: Duration) -> Option<Event> {
        let until = self.world.now() + within.as_nanos() as u64;
        loop {
            if let Some(event) = self.puppet(index).events.pop_front() {
                return Some(event);
            }
            self.world.next_before(until)?;
        }
    }

    fn restart(&mut self, index: usize) {
        let node = node(index);
        let until = self.world.now() + 60_000_000_000;
        while !self.world.disk(node).is_idle() && self.world.next_before(until).is_some() {}
        assert!(self.world.disk(node).is_idle(), "a disk gets done within a minute");
        self.world.crash(node);
        self.world.start(node, Puppet::default());
        let until = self.world.now() + 1_000_000;
        while self.world.next_before(until).is_some() {}
    }
}
