//! The active controller: the coordinator of the metadata log ([`crate::coordinator`]).
//!
//! Its hard state is the [`MetadataImage`]. Soft state (sessions) is separate: it is rebuilt from
//! heartbeats after a failover. Losing leadership drops all of it.
//!
//! This file takes requests out of their envelopes and draws random values. `shard` says what a
//! coordinator's runtime has to know, the decisions live in `brokers`, `partitions` and `topics`.
//! What does not live here: committing records ([`crate::quorum`]) and how brokers act on them.

mod answers;
mod brokers;
mod partitions;
mod shard;
mod topics;

pub use topics::validate_topic_name;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::coordinator::{Coordinator, Log};
use crate::env::{Env, Site};
use crate::error_code::ErrorCode;
use crate::event::{ConnectionId, ReplyTo, TimerKey};
use crate::metadata::{MetadataImage, MetadataRecord};
use crate::msg::{AdminRequest, Family, Request};
use crate::types::{BrokerEpoch, LeaderEpoch, Monotonic, Offset, Uuid};

use self::shard::{Command, Origin, Settings, Shard, TopicDraw};

/// The log of the controller; the metadata quorum is one.
pub type MetadataLog<'a> = dyn Log<MetadataRecord, ()> + 'a;

/// The controller of one node; active while the node leads the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    coordinator: Coordinator<Shard>,
}

impl Controller {
    /// A controller that is not active.
    pub fn new(config: &NodeConfig) -> Controller {
        Controller { coordinator: Coordinator::new(Settings::of(config)) }
    }

    /// Whether this is the active controller.
    pub fn is_active(&self) -> bool {
        self.coordinator.shard().is_some()
    }

    /// The epoch in which it is active.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.coordinator.epoch()
    }

    /// The image with all decided records, committed or not.
    pub fn image(&self) -> Option<&MetadataImage> {
        self.coordinator.shard().map(|shard| &shard.image)
    }

    /// This node leads the quorum, and `image` holds everything in the log (see
    /// [`MetadataImage::skip`] for the control records).
    pub fn on_became_leader(
        &mut self,
        epoch: LeaderEpoch,
        image: MetadataImage,
        log: &mut MetadataLog<'_>,
        env: &mut dyn Env,
    ) {
        let next = image.applied.next();
        let shard = Shard { image, sessions: BTreeMap::new() };
        self.coordinator.activate(epoch, shard, next, log, env, &mut Vec::new());
    }

    /// Another node leads: drops all state. Waiting callers must ask that node.
    pub fn on_lost_leadership(&mut self, env: &mut dyn Env) {
        self.coordinator.unload(env, &mut Vec::new());
    }

    /// Everything below `upto` is committed.
    pub fn on_committed(&mut self, upto: Offset, env: &mut dyn Env) {
        self.coordinator.on_committed(upto, env, &mut Vec::new());
    }

    /// A request of brokers, of an admin, or an envelope around one of the latter.
    pub fn on_request(
        &mut self,
        from: ReplyTo,
        request: Request,
        log: &mut MetadataLog<'_>,
        env: &mut dyn Env,
    ) {
        let (envelope, request) = match request {
            Request::Envelope(envelope) => (Some(envelope.version), *envelope.request),
            other => (None, other),
        };
        let command = match (request.into_family(), envelope) {
            (Family::Admin(request), _) => {
                let draws = if self.is_active() { draws_for(&request, env) } else { Vec::new() };
                Command::Admin(request, draws)
            }
            (Family::Controller(request), None) => Command::Broker(request),
            (_, Some(version)) => {
                let error = ErrorCode::InvalidRequest;
                return env.respond(from, answers::envelope_error(version, error));
            }
            (
                Family::Data(_) | Family::Cluster(_) | Family::Quorum(_) | Family::Forwarding(_),
                None,
            ) => {
                panic!("the router gives the controller only requests of its families")
            }
        };
        let origin = Origin { from, envelope };
        self.coordinator.on_request(origin, &command, log, env, &mut Vec::new());
    }

    /// A timer of the controller fired.
    pub fn on_timer(
        &mut self,
        key: TimerKey,
        deadline: Monotonic,
        log: &mut MetadataLog<'_>,
        env: &mut dyn Env,
    ) {
        self.coordinator.on_timer(key, deadline, log, env, &mut Vec::new());
    }

    /// Drops the answers parked for this connection. Their records may still be committed.
    pub fn on_connection_closed(&mut self, connection: ConnectionId) {
        self.coordinator.on_connection_closed(connection);
    }
}

/// Draws the random values that the request may need, so that deciding is a pure function.
fn draws_for(request: &AdminRequest, env: &mut dyn Env) -> Vec<TopicDraw> {
    let AdminRequest::CreateTopics(request) = request else { return Vec::new() };
    let draw = |_| TopicDraw { id: random_uuid(env), start: env.draw(Site::Placement, u64::MAX) };
    request.topics.iter().map(draw).collect()
}

/// A random UUID (version 4), never one that Kafka reserves or that prints with a leading dash.
pub fn random_uuid(env: &mut dyn Env) -> Uuid {
    let high = u128::from(draw_bits(env));
    let low = u128::from(draw_bits(env));
    let version = (high << 64 | low) & !(0xf << 76) | 4 << 76;
    // Variant 10; the first bit is clear, so that the text never starts with a dash (bits 111110).
    Uuid(version & !(3 << 62) & !(1 << 127) | 2 << 62)
}

fn draw_bits(env: &mut dyn Env) -> u64 {
    env.draw(Site::Uuid, u64::MAX)
}

/// The epoch that a registration at `next` gets: the offset of its record (KIP-631).
fn broker_epoch_at(next: Offset) -> BrokerEpoch {
    BrokerEpoch(next.0)
}
