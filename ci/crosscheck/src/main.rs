//! Encodes every message of `wire/tests/common` in every version with wavetank, and decodes and
//! re-encodes it with `kafka-protocol`, which is generated from Kafka's own schemas. The bytes must
//! be equal.
//!
//! Exits with 1 if they are not. ListOffsets v11 is newer than that crate, and has v10's layout.

#[path = "../../../wire/tests/common/mod.rs"]
mod common;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};

fn request(key: ApiKey, version: i16, ours: &Bytes) -> Result<Bytes, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut bytes = ours.clone();
    let header_version = key.request_header_version(version);
    let header = RequestHeader::decode(&mut bytes, header_version).map_err(|e| text(&e))?;
    let body = RequestKind::decode(key, &mut bytes, version).map_err(|e| text(&e))?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes are left after {body:?}", bytes.len()));
    }
    let mut theirs = BytesMut::new();
    header.encode(&mut theirs, header_version).map_err(|e| text(&e))?;
    body.encode(&mut theirs, version).map_err(|e| text(&e))?;
    Ok(theirs.freeze())
}

fn response(key: ApiKey, version: i16, ours: &Bytes) -> Result<Bytes, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut bytes = ours.clone();
    let header_version = key.response_header_version(version);
    let header = ResponseHeader::decode(&mut bytes, header_version).map_err(|e| text(&e))?;
    let body = ResponseKind::decode(key, &mut bytes, version).map_err(|e| text(&e))?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes are left after {body:?}", bytes.len()));
    }
    let mut theirs = BytesMut::new();
    header.encode(&mut theirs, header_version).map_err(|e| text(&e))?;
    body.encode(&mut theirs, version).map_err(|e| text(&e))?;
    Ok(theirs.freeze())
}

fn main() {
    let (mut equal, mut different) = (0, 0);
    let mut judge = |what: &str, ours: &Bytes, theirs: Result<Bytes, String>| match theirs {
        Ok(theirs) if theirs == ours => equal += 1,
        Ok(theirs) => {
            different += 1;
            println!("{what}: differs\n  ours   {ours:?}\n  theirs {theirs:?}");
        }
        Err(error) => {
            different += 1;
            println!("{what}: kafka-protocol cannot read ours: {error}");
        }
    };
    let theirs_to = |api: wavetank_core::msg::ApiKey, max: i16| match api {
        wavetank_core::msg::ApiKey::ListOffsets => 10,
        wavetank_core::msg::ApiKey::ApiVersions => 4,
        _ => max,
    };
    for message in common::requests() {
        let api = message.api();
        let key = ApiKey::try_from(api.key()).ok().expect("both know the same keys");
        let (min, max) = wavetank_wire::supported(api);
        for version in min..=theirs_to(api, max) {
            let ours = common::body(wavetank_wire::encode_request(version, 42, "me", &message));
            let what = format!("{api:?} request v{version}");
            judge(&what, &ours, request(key, version, &ours));
        }
    }
    for message in common::responses() {
        let api = message.api();
        let key = ApiKey::try_from(api.key()).ok().expect("both know the same keys");
        let (min, max) = wavetank_wire::supported(api);
        for version in min..=theirs_to(api, max) {
            let ours = common::body(wavetank_wire::encode_response(version, 42, &message));
            let what = format!("{api:?} response v{version}");
            judge(&what, &ours, response(key, version, &ours));
        }
    }
    println!("{equal} messages are equal, {different} are not");
    std::process::exit(i32::from(different > 0));
}
