//! Samples of the messages, a module for each API: first one with every field set to a non-default
//! value, then sparse ones whose fields are absent, null or empty where possible.

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
mod vote;

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

const ERROR: ErrorCode = ErrorCode::FencedLeaderEpoch;
const LEADER: NodeId = NodeId(3);
const LEADER_EPOCH: LeaderEpoch = LeaderEpoch(9);

fn topic(name: &str) -> TopicRef {
    TopicRef { name: name.into(), id: Uuid(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00) }
}

fn endpoint() -> Endpoint {
    Endpoint { host: "broker-3.example".into(), port: 19092 }
}

fn node_endpoint() -> NodeEndpoint {
    NodeEndpoint { node: NodeId(3), endpoint: endpoint(), rack: Some("r1".into()) }
}

fn current_leader() -> Option<LeaderIdAndEpoch> {
    Some(LeaderIdAndEpoch { leader: NodeId(3), epoch: LeaderEpoch(9) })
}

/// Two batches, the first larger than a chunk.
pub fn records() -> Records {
    let build = |base: i64, value: &[u8]| {
        let mut builder = BatchBuilder::new();
        builder.push(
            1_700_000_000_000,
            Some(b"key"),
            Some(value),
            &[(b"h", None), (b"h", Some(b"2"))],
        );
        builder.build(Offset(base), LeaderEpoch(4))
    };
    vec![build(10, &[7; 5000]), build(11, b"small")]
}

macro_rules! samples_of_each {
    ($($name:ident, $module:ident: $request:ident => $response:ident;)*) => {
        /// The sample requests of each API.
        pub fn requests() -> Vec<Request> {
            let mut all = Vec::new();
            $(all.extend($module::requests().into_iter().map(Request::$name));)*
            all
        }

        /// The sample responses of each API.
        pub fn responses() -> Vec<Response> {
            let mut all = Vec::new();
            $(all.extend($module::responses().into_iter().map(Response::$name));)*
            all
        }
    };
}

wavetank_core::for_each_api!(samples_of_each);

/// Contiguous bytes of an encoded frame, without the length.
pub fn body(frame: Vec<Bytes>) -> Bytes {
    wavetank_wire::frame::body_of(frame)
}
