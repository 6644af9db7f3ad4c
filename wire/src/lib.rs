//! Kafka's wire protocol: bytes to and from the messages of `wavetank-core`, pure and bounded.
//!
//! A codec of our own rather than the crate `kafka-protocol`, which knows every API: that crate
//! reserves memory for whatever length a peer claims (a 12-byte Produce body makes the process ask
//! for hundreds of gigabytes and abort), collapses record headers with equal keys, re-encodes
//! batches that a broker must pass on byte for byte, tells unsupported versions and malformed bytes
//! apart only by prose, and needs std. A broker that is to survive its clients needs bounds in each
//! read, and the simulator needs the codec to be small enough to run on every message.
//!
//! - `schema` describes each message once; the same description reads and writes it in every
//!   version (`visit`), so that the two cannot drift apart.
//! - [`frame`] is what goes over a connection: length, header, body.
//! - Records pass through as slices of the frame they came in.
//!
//! What does not live here: sockets (`wavetank-server`), record batches (`wavetank_core::batch`),
//! and what a message means.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod frame;
mod schema;
pub mod versions;
mod visit;

pub use frame::{
    RequestFrame, WireError, decode_request, decode_response, encode_request, encode_response,
    unsupported_api_versions,
};
pub use versions::{SUPPORTED, highest, supported};

use wavetank_core::msg::{Request, Response};

/// Sends a request through its bytes, at its highest version: what the tank does in a share of
/// seeds, so that the codec is exercised by every storm.
///
/// # Panics
/// If the codec cannot read what it wrote: a bug of the codec.
pub fn roundtrip_request(request: &Request) -> Request {
    let version = highest(request.api());
    let frame = frame::body_of(encode_request(version, 7, "tank", request));
    decode_request(frame).expect("the codec reads what it wrote").request
}

/// As [`roundtrip_request`], for a response.
///
/// # Panics
/// If the codec cannot read what it wrote.
pub fn roundtrip_response(response: &Response) -> Response {
    let api = response.api();
    let version = highest(api);
    let frame = frame::body_of(encode_response(version, 7, response));
    decode_response(api, version, frame).expect("the codec reads what it wrote").1
}
