//! The core loop: takes every ready event, steps the machine with each, then flushes what the steps
//! submitted. It runs on one thread, the only one that touches the machine.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use wavetank_core::broker::{Broker, Status};
use wavetank_core::env::Env;
use wavetank_core::event::Event;
use wavetank_core::msg::Request;

use crate::env::TokioEnv;

/// Maximum events between two flushes: bounds how long the first of a batch waits for its answer.
const BATCH: usize = 256;

/// Maximum events that run before a due timer.
const PASSED_OVER: usize = 64 * BATCH;

/// A state machine that the loop can drive: the broker, or a small one in a test.
pub trait Machine {
    /// Handles one event.
    fn step(&mut self, event: Event, env: &mut dyn Env);
    /// Whether the loop should go on; checked after each step.
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
    /// Requests returned by `wait` that may not have been stepped yet.
    requests: usize,
    /// Produces among them.
    produces: usize,
    /// Events taken since a timer became due that has not run.
    passed_over: usize,
}

fn is_request(event: &Event) -> bool {
    matches!(event, Event::Request { .. })
}

fn is_produce(event: &Event) -> bool {
    matches!(event, Event::Request { request: Request::Produce(_), .. })
}

impl Reactor {
    /// Connects the inbox that the disk and the network send to with the Env that submits to them.
    pub fn new(inbox: Receiver<Event>, env: TokioEnv) -> Reactor {
        Reactor { inbox, env, requests: 0, produces: 0, passed_over: 0 }
    }

    /// The Env, with its clocks read anew, for callers that drive a machine by hand. Effects leave
    /// with the next [`Reactor::wait`] or [`Reactor::flush`].
    pub fn env(&mut self) -> &mut TokioEnv {
        self.env.tick();
        &mut self.env
    }

    /// Hands over the submitted effects.
    pub fn flush(&mut self) {
        self.env.flush();
    }

    /// Flushes, then appends the ready events to `events`, due timers last. Waits for the first
    /// event at most `patience` (`None`: as long as it takes). False if all senders are gone and no
    /// timer is armed.
    pub fn wait(&mut self, patience: Option<Duration>, events: &mut Vec<Event>) -> bool {
        self.env.flush();
        // The last call's events have been stepped, and their effects have been submitted to the
        // disk.
        self.env.stepped(std::mem::take(&mut self.requests), std::mem::take(&mut self.produces));
        let before = events.len();
        let goes_on = self.wait_for_events(patience, events);
        self.requests = events[before..].iter().filter(|event| is_request(event)).count();
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

    /// Events that came before a timer fired are handled before it: a process that was stopped for
    /// longer than a session finds its peers' heartbeats and the end of their sessions at the same
    /// time. So due timers run when the inbox is empty, or, under a load that never empties it,
    /// after [`PASSED_OVER`] events.
    fn take_ready(&mut self, events: &mut Vec<Event>) {
        self.env.tick();
        let now = wavetank_core::env::Clock::now(&self.env);
        let mut emptied = false;
        let before = events.len();
        while events.len() - before < BATCH && !emptied {
            match self.inbox.try_recv() {
                Ok(event) => events.push(event),
                Err(_) => emptied = true,
            }
        }
        if self.env.timers.next().is_none_or(|deadline| deadline > now) {
            self.passed_over = 0;
            return;
        }
        self.passed_over += events.len() - before;
        if emptied || self.passed_over >= PASSED_OVER {
            self.passed_over = 0;
            while let Some((key, deadline)) = self.env.timers.pop_due(now) {
                events.push(Event::Timer { key, deadline });
            }
        }
    }

    /// Steps the machine until it is done, and returns how it ended.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use wavetank_core::env::Timers;
    use wavetank_core::event::{ConnectionId, TimerKey};
    use wavetank_core::types::Monotonic;

    fn reactor() -> (Sender<Event>, Reactor) {
        let (inbox, events) = channel();
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = crate::disk::DataDir::open(folder.path()).expect("it is ours");
        let disk = crate::disk::DiskPool::start(&data, inbox.clone()).expect("threads");
        (inbox, Reactor::new(events, TokioEnv::new(disk, None, Box::new(|_| {}))))
    }

    fn closed(number: u64) -> Event {
        Event::ConnectionClosed { connection: ConnectionId(number) }
    }

    fn is_timer(event: &Event) -> bool {
        matches!(event, Event::Timer { .. })
    }

    /// Once, a controller that had been stopped (SIGSTOP) handled the ends of the sessions before
    /// the heartbeats, and fenced every broker.
    #[test]
    fn what_waits_in_the_inbox_runs_before_timers_that_are_due() {
        let (inbox, mut reactor) = reactor();
        reactor.env().arm(TimerKey::Heartbeat, Monotonic(0));
        for number in 0..BATCH as u64 + 3 {
            inbox.send(closed(number)).expect("the reactor listens");
        }
        let mut events = Vec::new();
        assert!(reactor.wait(None, &mut events));
        assert_eq!((events.len(), events.iter().any(is_timer)), (BATCH, false));
        events.clear();
        assert!(reactor.wait(None, &mut events));
        assert_eq!(events.len(), 4);
        assert!(is_timer(&events[3]), "{events:?}");
    }

    #[test]
    fn a_load_without_end_does_not_hold_timers_up_for_ever() {
        let (inbox, mut reactor) = reactor();
        reactor.env().arm(TimerKey::Heartbeat, Monotonic(0));
        for number in 0..2 * PASSED_OVER as u64 {
            inbox.send(closed(number)).expect("the reactor listens");
        }
        let mut events = Vec::new();
        while !events.iter().any(is_timer) {
            assert!(reactor.wait(None, &mut events));
            assert!(events.len() <= PASSED_OVER + 1, "the timer waits for all");
        }
    }
}
