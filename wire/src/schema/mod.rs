//! Each message's fields in order, once, for reading and writing in every version: a module for
//! each API with `request` and `response`.
//!
//! Sources: Kafka's message schemas (`clients/src/main/resources/common/message`, trunk) and the
//! KIPs that they name. A field that a version lacks is not visited and keeps its default.

mod alter_partition;
mod api_versions;
mod begin_quorum_epoch;
mod broker_heartbeat;
mod broker_registration;
mod create_topics;
mod delete_topics;
mod end_quorum_epoch;
mod envelope;
mod fetch;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod quorum;
mod shared;
mod vote;

use wavetank_core::msg::{Request, Response};

use crate::visit::{Io, Visited};

macro_rules! visit_each {
    ($($name:ident, $module:ident: $request:ident => $response:ident;)*) => {
        /// Visits a request. The variant says which API.
        pub(crate) fn request(io: &mut Io, request: &mut Request) -> Visited {
            match request { $(Request::$name(message) => $module::request(io, message),)* }
        }

        /// Visits a response. The variant says which API.
        pub(crate) fn response(io: &mut Io, response: &mut Response) -> Visited {
            match response { $(Response::$name(message) => $module::response(io, message),)* }
        }
    };
}

wavetank_core::for_each_api!(visit_each);
