//! Messages that cross the simulated network as bytes: `wire`'s codec, both ways, in the newest
//! version of each API.
//!
//! The plan decides whether they do. A message that does not survive encoding and decoding is a
//! bug, and ends the run.

use crate::node::Node;
use crate::world::{Transcode, World};
use wavetank_core::msg::{ApiKey, Request, Response};

/// Sets the API versions of this world's machines. With `encoded`, every message crosses as bytes.
pub(crate) fn install(world: &mut World<Node>, encoded: bool) {
    world.set_versions(wavetank_wire::highest);
    world.set_transcode(encoded.then_some(Transcode { request, response }));
}

/// A frame's body: everything after the length prefix.
fn body(frame: Vec<bytes::Bytes>) -> bytes::Bytes {
    wavetank_wire::frame::body_of(frame)
}

fn request(request: Request, version: i16) -> Result<Request, String> {
    let frame = body(wavetank_wire::encode_request(version, 7, "tank", &request));
    let decoded = wavetank_wire::decode_request(frame);
    decoded.map(|frame| frame.request).map_err(|error| error.to_string())
}

fn response(response: Response, api: ApiKey, version: i16) -> Result<Response, String> {
    let frame = body(wavetank_wire::encode_response(version, 7, &response));
    let decoded = wavetank_wire::decode_response(api, version, frame);
    decoded.map(|(_, response)| response).map_err(|error| error.to_string())
}
