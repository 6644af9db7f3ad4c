//! The core loop: takes every ready event, steps the machine with each, then flushes what the
//! steps submitted. One thread; the only one that touches the machine.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use wavetank_core::broker::{Broker, Status};
use wavetank_core::env::Env;
use wavetank_core::event::Event;
use wavetank_core::msg::Request;

use crate::env::TokioEnv;

/// Most events between two flushes: bounds how long the first of a batch waits for its answer.
const BATCH: usize = 256;

/// A state machine that the loop can drive: the broker, or a toy in a test.
pub trait Machine {
    /// One event.
    fn step(&mut self, event: Event, env: &mut dyn Env);
    /// Whether the loop should go on; looked at after each step.
    fn status(&self) -> Status;
}

impl Machine for Broker {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        Broker::step(self, event, env);
    }
    fn status(&self) -> Status {
        Broker::status(self)
    }
}

/// The inbox and the Env of one machine.
#[derive(Debug)]
pub struct Reactor {
    inbox: Receiver<Event>,
    env: TokioEnv,
    /// Produce requests that were given out and perhaps not stepped yet.
    produces: usize,
}

fn is_produce(event: &Event) -> bool {
    matches!(event, Event::Request { request: Request::Produce(_), .. })
}

impl Reactor {
    /// Joins the inbox that the disk and the network send to with the Env that submits to them.
    pub fn new(inbox: Receiver<Event>, env: TokioEnv) -> Reactor {
        Reactor { inbox, env, produces: 0 }
    }

    /// The Env, with its clocks read anew: for whoever drives a machine by hand. What is submitted
    /// leaves with the next [`Reactor::wait`] or [`Reactor::flush`].
    pub fn env(&mut self) -> &mut TokioEnv {
        self.env.tick();
        &mut self.env
    }

    /// Hands over what was submitted.
    pub fn flush(&mut self) {
        self.env.flush();
    }

    /// Flushes, then appends to `events` what is ready, due timers first; waits for the first of
    /// them at most `patience` (`None`: as long as it takes). False if nobody is left who could
    /// send anything and no timer is armed.
    pub fn wait(&mut self, patience: Option<Duration>, events: &mut Vec<Event>) -> bool {
        self.env.flush();
        // What the last call gave has been stepped, and what came of it is the disk's now.
        self.env.stepped(std::mem::take(&mut self.produces));
        let before = events.len();
        let goes_on = self.wait_for_events(patience, events);
        self.produces = events[before..].iter().filter(|event| is_produce(event)).count();
        goes_on
    }

    fn wait_for_events(&mut self, patience: Option<Duration>, events: &mut Vec<Event>) -> bool {
        self.take_ready(events);
        if !events.is_empty() {
            return true;
        }
        let timer = self.env.timers.next().map(|deadline| self.env.until(deadline));
        let limit = match (timer, patience) {
            (Some(timer), Some(patience)) => Some(timer.min(patience)),
            (timer, patience) => timer.or(patience),
        };
        let first = match limit {
            Some(limit) => self.inbox.recv_timeout(limit),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(event) => events.push(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match limit {
                Some(limit) if timer.is_some() => std::thread::sleep(limit),
                _ => return false,
            },
        }
        self.take_ready(events);
        true
    }

    fn take_ready(&mut self, events: &mut Vec<Event>) {
        self.env.tick();
        let now = wavetank_core::env::Clock::now(&self.env);
        while let Some((key, deadline)) = self.env.timers.pop_due(now) {
            events.push(Event::Timer { key, deadline });
        }
        while events.len() < BATCH
            && let Ok(event) = self.inbox.try_recv()
        {
            events.push(event);
        }
    }

    /// Steps the machine until it is done, and tells how it ended.
    pub fn run(mut self, machine: &mut dyn Machine) -> Status {
        let mut events = vec![Event::Start { boot_id: crate::limits::boot_id() }];
        loop {
            for event in events.drain(..) {
                self.env.tick();
                machine.step(event, &mut self.env);
                match machine.status() {
                    Status::Starting | Status::Running => {}
                    ended @ (Status::Stopped | Status::Failed(..) | Status::Refused(..)) => {
                        self.env.flush();
                        return ended;
                    }
                }
            }
            if !self.wait(None, &mut events) {
                return Status::Stopped;
            }
        }
    }
}
