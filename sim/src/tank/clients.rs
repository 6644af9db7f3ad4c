//! The client hosts of a run: who joins when, and what they are told.

use super::Tank;
use crate::node::{FIRST_CLIENT, Node};
use crate::workload::{App, Churn, Consume, CreateTopics, Produce, Query, Stage, Workload};
use crate::world::HostConfig;
use std::sync::Arc;
use wavetank_core::types::NodeId;

impl Tank {
    /// Adds a client host and starts it.
    pub(super) fn add_client(&mut self, workload: Box<dyn Workload>) -> NodeId {
        let node = NodeId(FIRST_CLIENT + self.clients.len() as i32);
        self.world.add_host(node, HostConfig { wall_offset_ms: 0, ..HostConfig::default() });
        self.clients.push(node);
        let app = App::new(node, &self.plan, workload);
        self.world.start(node, Node::App(Box::new(app)));
        node
    }

    /// Adds the admin client that creates the topics.
    pub(super) fn add_admin(&mut self) -> NodeId {
        self.add_client(Box::new(CreateTopics::new(&self.plan)))
    }

    /// Adds the plan's clients and the user's.
    pub(super) fn add_workloads(&mut self) {
        if !self.options.only_own_workloads {
            for index in 0..self.plan.workload.producers.len() {
                self.add_client(Box::new(Produce::new(&self.plan, index)));
            }
            for index in 0..self.plan.workload.consumers.len() {
                self.add_client(Box::new(Consume::new(&self.plan, index)));
            }
            for index in 0..self.plan.workload.queries.len() {
                self.add_client(Box::new(Query::new(&self.plan, index)));
            }
            if let Some(churn) = self.plan.workload.churn.clone() {
                self.add_client(Box::new(Churn::new(&self.plan, false)));
                if churn.auto_create {
                    self.add_client(Box::new(Churn::new(&self.plan, true)));
                }
            }
        }
        for workload in Arc::clone(&self.options).workloads.iter().cloned() {
            self.add_client(workload);
        }
        self.nemesis.set_clients(self.clients.clone());
    }

    /// Adds the consumer that reads everything at the end.
    pub(super) fn add_last_reader(&mut self) -> NodeId {
        self.add_client(Box::new(Consume::last_reader(&self.plan)))
    }

    pub(super) fn app(&self, node: NodeId) -> Option<&App> {
        match self.world.machine(node)? {
            Node::App(app) => Some(app),
            Node::Broker(_) => None,
        }
    }

    /// Announces a new stage to all workloads.
    pub(super) fn set_stage(&mut self, stage: Stage) {
        for node in self.clients.clone() {
            self.world.act(node, |machine, env| {
                if let Node::App(app) = machine {
                    app.stage(stage, env);
                }
            });
            self.observe(node);
        }
    }

    pub(super) fn creates_at_fencing(&self) -> bool {
        self.storm && self.plan.workload.churn.as_ref().is_some_and(|churn| churn.at_fencing)
    }

    /// Tells the workloads that a broker was fenced, in a separate step.
    pub(super) fn tell_fenced(&mut self) {
        for node in self.clients.clone() {
            self.world.act(node, |machine, env| {
                if let Node::App(app) = machine {
                    app.fenced(env);
                }
            });
            self.observe(node);
        }
    }
}
