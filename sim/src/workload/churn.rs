//! Topics that are created and deleted during the storm: created (also while brokers are fenced),
//! written to, deleted, and created again under the same name, explicitly or by auto-creation.

use super::builtin::client_config;
use super::{Desk, Stage, Workload, unique_value};
use crate::plan::{ChurnPlan, Plan};
use std::collections::BTreeMap;
use std::time::Duration;
use wavetank_core::client::{AdminId, Client, ClientConfig, ClientFact};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::CreatableTopic;
use wavetank_core::types::{NodeId, TopicRef};

/// The prefix of these topics' names. Auto-created ones have [`AUTO`].
pub const CHURN: &str = "churn";

/// See [`CHURN`].
pub const AUTO: &str = "auto";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    There,
    /// A request is pending. Further turns wait.
    Asked,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Churn {
    plan: ChurnPlan,
    brokers: usize,
    /// Topics are auto-created.
    auto: bool,
    states: Vec<State>,
    asked: BTreeMap<AdminId, usize>,
    turns: u64,
    sent: u64,
    stopped: bool,
}

impl Churn {
    /// The churn of this plan. `auto`: its topics are auto-created.
    pub fn new(plan: &Plan, auto: bool) -> Churn {
        let churn = plan.workload.churn.clone().expect("asked of a plan that has it");
        Churn {
            states: vec![State::Absent; churn.names as usize],
            plan: churn,
            brokers: plan.cluster.brokers.len(),
            auto,
            asked: BTreeMap::new(),
            turns: 0,
            sent: 0,
            stopped: false,
        }
    }

    fn name(&self, index: usize) -> String {
        // Some have characters that metrics cannot tell apart, but no two names collide.
        let between = [".", "_", ""][index % 3];
        format!("{}{between}{index}", if self.auto { AUTO } else { CHURN })
    }

    fn create(&mut self, index: usize, draw: u64, at: &mut Desk<'_>) {
        if self.auto {
            self.write(index, at);
            self.states[index] = State::There;
            return;
        }
        let factor = 1 + at.choose(draw + 1, self.brokers.min(3) as u64) as i16;
        let topic = CreatableTopic {
            name: self.name(index),
            num_partitions: 1 + at.choose(draw + 2, 2) as i32,
            replication_factor: factor,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        let id = at.client.create_topic(topic, at.env.0);
        self.asked.insert(id, index);
        self.states[index] = State::Asked;
    }

    fn turn(&mut self, index: usize, at: &mut Desk<'_>) {
        self.turns += 1;
        let draw = self.turns << 24;
        let delete = at.choose(draw, 3) == 0;
        match self.states[index] {
            State::Asked => {}
            State::Absent => self.create(index, draw, at),
            State::There if delete => {
                let topic = TopicRef::name(self.name(index));
                let id = at.client.delete_topic(topic, at.env.0);
                self.asked.insert(id, index);
                self.states[index] = State::Asked;
            }
            State::There => self.write(index, at),
        }
    }

    fn write(&mut self, index: usize, at: &mut Desk<'_>) {
        if at.client.producer().unfinished() < 10 {
            let value = unique_value(at.node, self.sent, 30);
            self.sent += 1;
            at.send(&self.name(index), 0, value);
        }
    }

    fn schedule(&self, index: usize, at: &mut Desk<'_>) {
        let mean = self.plan.interval_ms;
        let wait = mean / 2 + at.choose(self.turns ^ 1 << 43 ^ (index as u64) << 32, mean);
        at.wake(index as u32, Duration::from_millis(wait.max(1)));
    }
}

impl Workload for Churn {
    fn name(&self) -> &'static str {
        if self.auto { "auto-create" } else { "churn" }
    }

    fn config(&self, bootstrap: Vec<NodeId>) -> ClientConfig {
        let mut config = client_config(bootstrap);
        config.cluster.allow_auto_topic_creation = self.auto;
        config.producer.request_timeout = Duration::from_millis(1_500);
        config.producer.delivery_timeout = Duration::from_secs(5);
        config
    }

    fn start(&mut self, at: &mut Desk<'_>) {
        for index in 0..self.states.len() {
            self.schedule(index, at);
        }
    }

    fn fact(&mut self, fact: &ClientFact, _at: &mut Desk<'_>) {
        let (id, error, made) = match fact {
            ClientFact::TopicCreated { id, error, .. } => (id, *error, State::There),
            ClientFact::TopicDeleted { id, error, .. } => (id, *error, State::Absent),
            _ => return,
        };
        let Some(index) = self.asked.remove(id) else { return };
        self.states[index] = if error.is_ok() {
            made
        } else if error == ErrorCode::TopicAlreadyExists {
            State::There
        } else if error == ErrorCode::UnknownTopicOrPartition || made == State::There {
            // After another error the topic may or may not exist. The next turn asks again.
            State::Absent
        } else {
            State::There
        };
    }

    fn timer(&mut self, number: u32, at: &mut Desk<'_>) {
        if !self.stopped {
            self.turn(number as usize, at);
            self.schedule(number as usize, at);
        }
    }

    fn fenced(&mut self, at: &mut Desk<'_>) {
        for index in 0..self.states.len() {
            if !self.stopped && self.states[index] == State::Absent {
                self.turns += 1;
                self.create(index, self.turns << 24, at);
            }
        }
    }

    fn stage(&mut self, stage: Stage, at: &mut Desk<'_>) {
        self.stopped = stage == Stage::WindingDown;
        at.client.flush(at.env.0);
    }

    fn done(&self, client: &Client) -> bool {
        self.asked.is_empty() && client.producer().unfinished() == 0
    }
}
