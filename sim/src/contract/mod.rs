//! Contract tests: what the seam promises, as cases that run against any implementation of it. Here
//! that is the tank's world; in `wavetank-server` it is tokio's files, sockets and clock.
//!
//! A case sees only [`Env`] and [`Event`]s through a [`Harness`] of two nodes, and panics if a
//! promise is broken. It accepts whatever the seam allows (merged and repeated completions, stale
//! timers). Faults, and what an implementation does beyond the promises, are not tested here.
//!
//! [`Sequence`] goes further for the disk: it compares two implementations over random operations,
//! including when one of them is killed.

mod disk;
mod network;
mod sequence;
mod tank;
mod timers;

pub use sequence::{Contents, Seen, Sequence, State, observe};
pub use tank::Tank;

use std::time::Duration;

use wavetank_core::env::Env;
use wavetank_core::event::Event;
use wavetank_core::types::{Monotonic, NodeId};

/// What a node does in one step.
pub type Act = Box<dyn FnOnce(&mut dyn Env) + Send>;

/// Two nodes, 0 and 1, that do only what a case asks. They have empty disks, know each other's
/// address, and can be reached.
pub trait Harness {
    /// Runs `act` as one step of a node; returns when the step is over.
    fn act(&mut self, node: usize, act: Act);

    /// Waits at most `within` (of the harness's own time, virtual or real) for the next event at a
    /// node, in order of delivery. [`Event::Start`] is left out.
    fn event(&mut self, node: usize, within: Duration) -> Option<Event>;

    /// Ends a node's process (not its machine: the page cache stays) after what it submitted has
    /// taken effect, drops its undelivered events, and starts another on the same disk.
    fn restart(&mut self, node: usize);

    /// A node's monotonic clock.
    fn now(&mut self, node: usize) -> Monotonic {
        let (send, receive) = std::sync::mpsc::channel();
        self.act(
            node,
            Box::new(move |env| {
                send.send(env.now()).expect("the receiver waits below");
            }),
        );
        receive.recv().expect("the step has run")
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Runs it on a fresh harness. Panics if a promise is broken.
    pub run: fn(&mut dyn Harness),
}

macro_rules! cases {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        &[$($(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: $module::$name,
        },)*)*]
    };
}

/// All cases. Each needs its own harness.
pub const CASES: &[Case] = cases! {
    disk: listing, written_then_synced, reads_see_what_was_submitted_before,
        reading_at_and_past_the_end, truncation_and_generations, atomic_replacement,
        creating_replaces, unlinking, renaming_a_directory, removing_a_directory,
        directory_syncs_echo,
        missing_files_fail, large_and_many, several_directories;
    network: request_and_response, answers_in_order, channels_are_independent,
        disconnecting_breaks_all_in_flight, timeout_breaks_all_in_flight, requests_without_response,
        produces_go_together, other_requests_are_alone, nothing_follows_a_produce_without_response,
        answers_leave_before_the_connection_closes, a_client_leaves_produces_under_way,
        server_restart, client_restart, nobody_there;
    timers: not_before_the_deadline, rearming_replaces, disarming, the_past_is_now,
        the_clock_stands_still_in_a_step;
};

/// The node ids of the harness's nodes.
pub fn node(index: usize) -> NodeId {
    NodeId(i32::try_from(index).expect("there are two nodes"))
}

/// How long a case waits for an expected event.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a case waits to see that no event comes.
const QUIET: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::event::{DiskDone, RpcError};
    use wavetank_core::msg::Response;

    #[test]
    fn the_tank_keeps_the_contract() {
        for case in CASES {
            for seed in 0..20 {
                let run = || (case.run)(&mut Tank::new(seed));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    eprintln!("{} with seed {seed}", case.name);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// A tank that breaks a promise.
    struct Broken {
        tank: Tank,
        how: fn(Event) -> Vec<Event>,
        waiting: Vec<Event>,
    }

    impl Harness for Broken {
        fn act(&mut self, node: usize, act: Act) {
            self.tank.act(node, act);
        }

        fn event(&mut self, node: usize, within: Duration) -> Option<Event> {
            if node == 1 {
                return self.tank.event(node, within);
            }
            while self.waiting.is_empty() {
                self.waiting = (self.how)(self.tank.event(node, within)?);
            }
            Some(self.waiting.remove(0))
        }

        fn restart(&mut self, node: usize) {
            self.tank.restart(node);
        }
    }

    /// The first case that detects the broken promise.
    fn noticed(how: fn(Event) -> Vec<Event>) -> Option<&'static str> {
        let fails = |case: &&Case| {
            let tank = Tank::new(1);
            let run = || (case.run)(&mut Broken { tank: tank.clone(), how, waiting: vec![] });
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        CASES.iter().find(fails).map(|case| case.name)
    }

    #[test]
    fn broken_promises_are_noticed() {
        assert_eq!(noticed(|event| vec![event]), None);
        type How = fn(Event) -> Vec<Event>;
        let broken: [(&str, How); 10] = [
            ("a wrong generation", |event| match event {
                Event::Disk(DiskDone::Written { file, upto, .. }) => {
                    vec![Event::Disk(DiskDone::Written { file, generation: 9, upto })]
                }
                other => vec![other],
            }),
            ("synced without written", |event| match event {
                Event::Disk(DiskDone::Written { .. }) => vec![],
                other => vec![other],
            }),
            ("never synced", |event| match event {
                Event::Disk(DiskDone::Synced { .. }) => vec![],
                other => vec![other],
            }),
            ("a short read", |event| match event {
                Event::Disk(DiskDone::Read { tag, file, at, bytes }) => {
                    let bytes = bytes.slice(..bytes.len() / 2);
                    vec![Event::Disk(DiskDone::Read { tag, file, at, bytes })]
                }
                other => vec![other],
            }),
            ("a failure untold", |event| match event {
                Event::Disk(DiskDone::Failed { .. }) => vec![],
                other => vec![other],
            }),
            ("two outcomes", |event| match &event {
                Event::Rpc { .. } => vec![event.clone(), event],
                _ => vec![event],
            }),
            ("a timeout taken for a break", |event| match event {
                Event::Rpc { peer, channel, outcome: Err(_) } => {
                    vec![Event::Rpc { peer, channel, outcome: Err(RpcError::Disconnected) }]
                }
                other => vec![other],
            }),
            ("another's answer", |event| match event {
                Event::Rpc { peer, channel, outcome: Ok(Response::Produce(mut answer)) } => {
                    answer.throttle_time_ms += 10;
                    let outcome = Ok(Response::Produce(answer));
                    vec![Event::Rpc { peer, channel, outcome }]
                }
                other => vec![other],
            }),
            ("an early timer", |event| match event {
                Event::Timer { key, deadline } => {
                    let deadline = deadline.after(Duration::from_secs(1));
                    vec![Event::Timer { key, deadline }]
                }
                other => vec![other],
            }),
            ("a timer that never fires", |event| match event {
                Event::Timer { .. } => vec![],
                other => vec![other],
            }),
        ];
        for (what, how) in broken {
            assert!(noticed(how).is_some(), "{what} should be noticed");
        }
    }
}
