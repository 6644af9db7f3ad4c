//! Messages survive a round trip, in every version of every API.

mod common;

use common::{body, requests, responses};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_wire::{
    SUPPORTED, WireError, decode_request, decode_response, encode_request, encode_response,
    supported,
};

#[test]
fn every_api_is_covered() {
    for (api, min, max) in SUPPORTED {
        assert!(requests().iter().any(|request| request.api() == *api), "{api:?}");
        assert!(responses().iter().any(|response| response.api() == *api), "{api:?}");
        assert_eq!((*min, *max), api.properties().versions);
    }
    assert!(SUPPORTED.iter().map(|(api, _, _)| api).eq(ApiKey::ALL));
}

#[test]
fn requests_in_every_version() {
    for request in requests() {
        let (min, max) = supported(request.api());
        for version in min..=max {
            let bytes = body(encode_request(version, 42, "me", &request));
            let frame = decode_request(bytes.clone())
                .unwrap_or_else(|error| panic!("{:?} {version}: {error}", request.api()));
            assert_eq!((frame.version, frame.correlation), (version, 42));
            assert_eq!(frame.client_id.as_deref(), Some("me"));
            // A field that the version lacks is lost. Writing again loses nothing more.
            let again = body(encode_request(version, 42, "me", &frame.request));
            assert_eq!(again, bytes, "{:?} {version}", request.api());
        }
        let bytes = body(encode_request(max, 1, "", &request));
        let mut read = decode_request(bytes).expect("it was read above").request;
        restore_names(&mut read, &request);
        assert_eq!(read, request);
    }
}

#[test]
fn responses_in_every_version() {
    for response in responses() {
        let api = response.api();
        let (min, max) = supported(api);
        for version in min..=max {
            let bytes = body(encode_response(version, 42, &response));
            let (correlation, read) = decode_response(api, version, bytes.clone())
                .unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
            assert_eq!(correlation, 42);
            let again = body(encode_response(version, 42, &read));
            assert_eq!(again, bytes, "{api:?} {version}");
        }
        let bytes = body(encode_response(max, 1, &response));
        let (_, mut read) = decode_response(api, max, bytes).expect("it was read above");
        restore_response_names(&mut read, &response);
        assert_eq!(read, response);
    }
}

/// A request that fails as a whole is answered in every version with its error, at everything that
/// it names.
#[test]
fn refusals_carry_the_error_in_every_version() {
    let code = ErrorCode::RequestTimedOut.code().to_be_bytes();
    let mut before = None;
    for request in requests() {
        let api = request.api();
        let is_full = before.replace(api) != Some(api);
        let (min, max) = supported(api);
        for version in min..=max {
            let encoded = |error| body(encode_response(version, 1, &request.refused(error)));
            let (refused, accepted) =
                (encoded(ErrorCode::RequestTimedOut), encoded(ErrorCode::None));
            let what = format!("{api:?} {version}: {refused:?}");
            decode_response(api, version, refused.clone()).expect(&what);
            assert_eq!(refused.len(), accepted.len(), "{what}");
            let mut differ = (0..refused.len()).filter(|at| refused[*at] != accepted[*at]);
            assert!(!is_full || differ.clone().next().is_some(), "{what}");
            assert!(differ.all(|at| refused[..=at].ends_with(&code)), "{what}");
        }
    }
}

/// The newest Produce and Fetch name topics only by id.
fn restore_names(read: &mut Request, original: &Request) {
    match (read, original) {
        (Request::Produce(read), Request::Produce(original)) => {
            for (read, original) in read.topics.iter_mut().zip(&original.topics) {
                read.topic.name = original.topic.name.clone();
            }
        }
        (Request::Fetch(read), Request::Fetch(original)) => {
            for (read, original) in read.topics.iter_mut().zip(&original.topics) {
                read.topic.name = original.topic.name.clone();
            }
            for (read, original) in read.forgotten.iter_mut().zip(&original.forgotten) {
                read.topic.name = original.topic.name.clone();
            }
        }
        _ => {}
    }
}

fn restore_response_names(read: &mut Response, original: &Response) {
    match (read, original) {
        (Response::Produce(read), Response::Produce(original)) => {
            for (read, original) in read.topics.iter_mut().zip(&original.topics) {
                read.topic.name = original.topic.name.clone();
            }
        }
        (Response::Fetch(read), Response::Fetch(original)) => {
            for (read, original) in read.topics.iter_mut().zip(&original.topics) {
                read.topic.name = original.topic.name.clone();
            }
        }
        _ => {}
    }
}

/// Layouts that clients send, byte for byte.
#[test]
fn golden_bytes() {
    // ApiVersions v3 as Java's and librdkafka's clients send it: header v2, compact strings.
    let frame = b"\x00\x12\x00\x03\x00\x00\x00\x07\x00\x02ab\x00\x05java\x043.0\x00";
    let read = decode_request(bytes::Bytes::from_static(frame)).expect("a request");
    let Request::ApiVersions(request) = &read.request else { panic!("{read:?}") };
    assert_eq!(request.client_software_name, "java");
    assert_eq!(request.client_software_version, "3.0");
    assert_eq!(body(encode_request(3, 7, "ab", &read.request)), &frame[..]);
    // Metadata v4, classic, one topic "t", no auto-creation.
    let frame = b"\x00\x03\x00\x04\x00\x00\x00\x01\xff\xff\x00\x00\x00\x01\x00\x01t\x00";
    let read = decode_request(bytes::Bytes::from_static(frame)).expect("a request");
    let Request::Metadata(request) = &read.request else { panic!("{read:?}") };
    assert_eq!(request.topics.as_ref().map(Vec::len), Some(1));
    assert!(!request.allow_auto_topic_creation);
    // The answer to ApiVersions never has a flexible header (KIP-511).
    let response = responses().into_iter().find(|response| response.api() == ApiKey::ApiVersions);
    let encoded = body(encode_response(3, 7, &response.expect("there is one")));
    assert_eq!(&encoded[..7], b"\x00\x00\x00\x07\x00\x00\x03", "id, error, two APIs compact");
}

/// Pins the bytes of each message in each version to those compared with an independent codec
/// (`ci/crosscheck`). After an intended change, run that first, then this with `UPDATE_LAYOUTS=1`.
#[test]
fn layouts_are_pinned() {
    use std::fmt::Write as _;
    let mut layouts = String::new();
    let mut line = |api: ApiKey, kind: &str, version: i16, bytes: bytes::Bytes| {
        let crc = crc32c::crc32c(&bytes);
        writeln!(layouts, "{api:?} {kind} v{version}: {} bytes, crc32c {crc:08x}", bytes.len())
            .expect("writing to a string");
    };
    for request in requests() {
        let (min, max) = supported(request.api());
        for version in min..=max {
            let bytes = body(encode_request(version, 42, "me", &request));
            line(request.api(), "request", version, bytes);
        }
    }
    for response in responses() {
        let (min, max) = supported(response.api());
        for version in min..=max {
            line(
                response.api(),
                "response",
                version,
                body(encode_response(version, 42, &response)),
            );
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layouts.txt");
    if std::env::var_os("UPDATE_LAYOUTS").is_some() {
        std::fs::write(path, &layouts).expect("tests/layouts.txt can be written");
    }
    let pinned = std::fs::read_to_string(path).expect("tests/layouts.txt is there");
    for (now, then) in layouts.lines().zip(pinned.lines()) {
        assert_eq!(now, then);
    }
    assert_eq!(layouts.lines().count(), pinned.lines().count());
}

fn refused(frame: &[u8]) -> String {
    decode_request(bytes::Bytes::copy_from_slice(frame)).expect_err("no request").to_string()
}

/// The quorum's messages are about `__cluster_metadata`-0. One about no partition, or another one,
/// must not be read as a vote for epoch -1.
#[test]
fn quorum_messages_name_their_partition() {
    let vote = requests().into_iter().find(|request| request.api() == ApiKey::Vote);
    let whole = body(encode_request(2, 1, "", &vote.expect("there is one")));
    assert!(decode_request(whole.clone()).is_ok());
    let name = b"__cluster_metadata";
    let at = whole.windows(name.len()).position(|window| window == name).expect("it is named");
    let mut other = whole.to_vec();
    other[at] = b'x';
    assert!(refused(&other).contains("partition of a quorum message"));
    // The name's length precedes it, and the count of topics precedes that; set the count to none.
    let mut none = whole[..at - 1].to_vec();
    none[at - 2] = 1;
    none.push(0);
    assert!(refused(&none).contains("partition of a quorum message"), "{}", refused(&none));
    // A failed answer may omit the partition, a successful one may not.
    let failed = bytes::Bytes::from_static(b"\0\0\0\x01\0\0\x68\x01\0");
    let (_, answer) = decode_response(ApiKey::Vote, 0, failed).expect("all failed");
    let Response::Vote(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.error.name(), "INCONSISTENT_CLUSTER_ID");
    let nothing = bytes::Bytes::from_static(b"\0\0\0\x01\0\0\0\x01\0");
    assert!(decode_response(ApiKey::Vote, 0, nothing).is_err());
}

/// A tag that a version does not know is skipped, even if a later version gives it a meaning.
#[test]
fn tags_of_later_versions_are_unknown() {
    let fetch = |version| {
        let mut frame = b"\x00\x01\x00\x00\0\0\0\x01\xff\xff\0".to_vec();
        frame[3] = version;
        // v15 introduced the replica's state as tag 1, in place of the leading replica id.
        if version < 15 {
            frame.extend((-1i32).to_be_bytes());
        }
        frame.extend([0; 13]);
        frame.extend([0; 4]);
        frame.extend((-1i32).to_be_bytes());
        // No topics, none forgotten, no rack; then one tagged field of 13 bytes.
        frame.extend([1, 1, 1, 1, 1, 13, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0]);
        match decode_request(frame.into()).expect("a fetch").request {
            Request::Fetch(fetch) => (fetch.replica.0, fetch.replica_epoch.0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(14), (-1, -1));
    assert_eq!(fetch(15), (5, 9));
}

/// An envelope contains a request, never another envelope, so nesting is bounded.
#[test]
fn envelopes_do_not_nest() {
    let inner = requests().into_iter().find(|request| request.api() == ApiKey::Envelope);
    let inner = inner.expect("there is one");
    let nested = Request::Envelope(wavetank_core::msg::EnvelopeRequest {
        version: 0,
        request: Box::new(inner),
    });
    let frame = body(encode_request(0, 1, "", &nested));
    assert!(refused(&frame).contains("an envelope in an envelope"));
}

#[test]
fn a_port_that_is_none_is_refused() {
    // Metadata v0: one broker on port 65,536.
    let frame = b"\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x01h\0\x01\0\0\0\0\0\0";
    let frame = bytes::Bytes::from_static(frame);
    let error = decode_response(ApiKey::Metadata, 0, frame).expect_err("no such port");
    assert!(error.to_string().contains("a port"), "{error}");
}

#[test]
fn versions_that_are_not_served_are_told_apart() {
    let frame = bytes::Bytes::from_static(b"\x00\x12\x00\x63\x00\x00\x00\x07\x00\x00");
    let expected =
        WireError::UnsupportedVersion { api: ApiKey::ApiVersions, version: 99, correlation: 7 };
    assert_eq!(decode_request(frame), Err(expected));
    let unknown = bytes::Bytes::from_static(b"\x7f\x00\x00\x00\x00\x00\x00\x07\x00\x00");
    assert_eq!(decode_request(unknown), Err(WireError::UnknownApi { key: 0x7f00 }));
    let answer = body(wavetank_wire::unsupported_api_versions(7));
    assert_eq!(&answer[..6], b"\x00\x00\x00\x07\x00\x23");
}
