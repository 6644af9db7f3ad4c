//! The router: one event in, handed to the component that it is for. Holds no protocol rule.

use crate::config::NodeConfig;
use crate::env::Env;
use crate::event::Event;

/// A node: broker, controller or both, as one state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    config: NodeConfig,
    status: Status,
}

/// Whether the process should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Opening files and recovering logs.
    Starting,
    /// Taking part (perhaps still fenced).
    Running,
    /// A graceful stop has finished: the driver ends the process.
    Stopped,
    /// The log directory failed: the driver ends the process with an error.
    Failed(crate::event::DiskOpKind, crate::event::DiskError),
    /// What is on disk is not this node's or cannot be trusted: the driver ends the process.
    Refused(&'static str),
}

impl Broker {
    /// A node that has not started; [`Event::Start`] starts it.
    pub fn new(config: NodeConfig) -> Broker {
        Broker { config, status: Status::Starting }
    }

    /// Its configuration.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Whether the process should go on. The driver looks after each step.
    pub fn status(&self) -> Status {
        self.status
    }

    /// One event.
    pub fn step(&mut self, event: Event, _env: &mut dyn Env) {
        drop(event);
    }
}
