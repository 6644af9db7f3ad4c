//! Creating and deleting topics, retried until an answer is final.
//!
//! Certainty follows the same rule as the producer's: an attempt without an answer may have been
//! carried out. A later "topic already exists" then does not show who created it.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::producer::millis;
use super::{AdminChannel, AdminSent, Backoff, ClientFact, Cluster, earliest, same_topic};
use crate::env::{Channel, Env};
use crate::error_code::{Certainty, ErrorCode};
use crate::event::RpcError;
use crate::msg::{CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest, Request, Response};
use crate::types::{Monotonic, TopicId, TopicRef};

/// Names one administrative operation; counts up from 0 within a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdminId(pub u64);

/// Admin settings. Defaults are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdminConfig {
    /// `request.timeout.ms`: for one attempt.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: for all attempts together.
    pub timeout: Duration,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: Backoff,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig {
            request_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
            backoff: Backoff::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    Create(CreatableTopic),
    Delete(TopicRef),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    what: What,
    expires: Monotonic,
    in_flight: bool,
    failures: u32,
    not_before: Monotonic,
    maybe_done: bool,
    last_error: ErrorCode,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Admin {
    config: AdminConfig,
    next_id: AdminId,
    operations: BTreeMap<AdminId, Operation>,
}

impl Admin {
    pub(crate) fn new(config: AdminConfig) -> Admin {
        Admin { config, next_id: AdminId(0), operations: BTreeMap::new() }
    }

    pub(crate) fn create(&mut self, topic: CreatableTopic, now: Monotonic) -> AdminId {
        self.add(What::Create(topic), now)
    }

    pub(crate) fn delete(&mut self, topic: TopicRef, now: Monotonic) -> AdminId {
        self.add(What::Delete(topic), now)
    }

    fn add(&mut self, what: What, now: Monotonic) -> AdminId {
        let id = self.next_id;
        self.next_id = AdminId(id.0 + 1);
        let operation = Operation {
            what,
            expires: now.after(self.config.timeout),
            in_flight: false,
            failures: 0,
            not_before: now,
            maybe_done: false,
            last_error: ErrorCode::RequestTimedOut,
        };
        self.operations.insert(id, operation);
        id
    }

    /// Gives up on operations past their timeout.
    pub(crate) fn expire(&mut self, now: Monotonic, out: &mut Vec<ClientFact>) {
        let overdue: Vec<AdminId> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.expires <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            let mut operation = self.operations.remove(&id).expect("it was just found");
            operation.maybe_done |= operation.in_flight;
            out.push(operation.failed(id));
        }
    }

    pub(crate) fn pump(
        &mut self,
        cluster: &Cluster,
        channel: &mut AdminChannel,
        env: &mut dyn Env,
    ) {
        for (id, operation) in &mut self.operations {
            if operation.in_flight || env.now() < operation.not_before {
                continue;
            }
            let Some(peer) = cluster.admin_peer(env) else { continue };
            let timeout_ms = millis(self.config.request_timeout);
            let request = match &operation.what {
                What::Create(topic) => Request::CreateTopics(CreateTopicsRequest {
                    topics: vec![topic.clone()],
                    timeout_ms,
                    validate_only: false,
                }),
                What::Delete(topic) => Request::DeleteTopics(DeleteTopicsRequest {
                    topics: vec![topic.clone()],
                    timeout_ms,
                }),
            };
            operation.in_flight = true;
            channel.push(peer, AdminSent::Operation(*id));
            env.request(peer, Channel::Admin, self.config.request_timeout, request);
        }
    }

    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        self.operations.values().fold(None, |next, operation| {
            let retry = !operation.in_flight && operation.not_before > now;
            earliest(earliest(next, Some(operation.expires)), retry.then_some(operation.not_before))
        })
    }

    pub(crate) fn on_outcome(
        &mut self,
        id: AdminId,
        outcome: &Result<Response, RpcError>,
        cluster: &mut Cluster,
        env: &mut dyn Env,
        out: &mut Vec<ClientFact>,
    ) {
        // An operation that timed out while in flight has been removed.
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.in_flight = false;
        let (error, topic) = operation.answer(outcome);
        if error.is_ok() {
            let operation = self.operations.remove(&id).expect("it was just found");
            out.push(operation.fact(id, topic, ErrorCode::None, Certainty::Done));
            return;
        }
        operation.last_error = error;
        operation.maybe_done |= !certainly_not_done(error);
        let retry = error.is_retriable()
            && !(matches!(operation.what, What::Delete(_))
                && matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId));
        if !retry {
            let operation = self.operations.remove(&id).expect("it was just found");
            out.push(operation.failed(id));
            return;
        }
        cluster.forget_controller();
        operation.failures = operation.failures.saturating_add(1);
        operation.not_before = env.now().after(self.config.backoff.after(operation.failures, env));
    }
}

impl Operation {
    fn answer(&self, outcome: &Result<Response, RpcError>) -> (ErrorCode, TopicId) {
        let nothing = (ErrorCode::UnknownServerError, TopicId::ZERO);
        match (outcome, &self.what) {
            (Ok(Response::CreateTopics(response)), What::Create(topic)) => response
                .topics
                .iter()
                .find(|answered| answered.name == topic.name)
                .map_or(nothing, |answered| (answered.error, answered.id)),
            (Ok(Response::DeleteTopics(response)), What::Delete(topic)) => response
                .topics
                .iter()
                .find(|(answered, _, _)| same_topic(topic, answered))
                .map_or(nothing, |(answered, error, _)| (*error, answered.id)),
            (Err(RpcError::Disconnected), _) => (ErrorCode::NetworkException, TopicId::ZERO),
            (Err(RpcError::TimedOut), _) => (ErrorCode::RequestTimedOut, TopicId::ZERO),
            (Err(RpcError::Unsupported) | Ok(_), _) => nothing,
        }
    }

    fn failed(self, id: AdminId) -> ClientFact {
        let error = self.last_error;
        let certainty = if self.maybe_done { Certainty::Unknown } else { Certainty::Failed };
        self.fact(id, TopicId::ZERO, error, certainty)
    }

    fn fact(
        self,
        id: AdminId,
        topic: TopicId,
        error: ErrorCode,
        certainty: Certainty,
    ) -> ClientFact {
        match self.what {
            What::Create(CreatableTopic { name, .. }) => {
                ClientFact::TopicCreated { id, name, topic, error, certainty }
            }
            What::Delete(topic) => ClientFact::TopicDeleted { id, topic, error, certainty },
        }
    }
}

/// Error codes of attempts that were refused before anything was done.
fn certainly_not_done(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::TopicAlreadyExists
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InvalidTopic
            | ErrorCode::InvalidPartitions
            | ErrorCode::InvalidReplicationFactor
            | ErrorCode::InvalidReplicaAssignment
            | ErrorCode::InvalidConfig
            | ErrorCode::InvalidRequest
            | ErrorCode::PolicyViolation
            | ErrorCode::UnsupportedVersion
            | ErrorCode::TopicDeletionDisabled
            | ErrorCode::ClusterAuthorizationFailed
    )
}
