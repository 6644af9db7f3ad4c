//! What is written is read again, in every version of every API.

mod common;

use common::{body, requests, responses};
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_wire::{
    SUPPORTED, WireError, decode_request, decode_response, encode_request, encode_response,
    supported,
};

#[test]
fn every_api_is_covered() {
    for (api, _, _) in SUPPORTED {
        assert!(requests().iter().any(|request| request.api() == *api), "{api:?}");
        assert!(responses().iter().any(|response| response.api() == *api), "{api:?}");
    }
    assert_eq!(SUPPORTED.len(), ApiKey::ALL.len());
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
            // A field that the version lacks is lost; writing again loses nothing more.
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

/// The newest Produce and Fetch name topics by id alone.
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
    let response = &responses()[4];
    let encoded = body(encode_response(3, 7, response));
    assert_eq!(&encoded[..7], b"\x00\x00\x00\x07\x00\x00\x03", "id, error, two APIs compact");
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
