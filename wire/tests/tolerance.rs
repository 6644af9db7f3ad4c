//! What Kafka's parser tolerates is tolerated: the bytes that clients really send, not those that
//! the schema prescribes.

use bytes::Bytes;
use wavetank_core::msg::{ApiKey, MetadataRequest, Request};
use wavetank_wire::{RequestFrame, decode_request, decode_response};

fn read(frame: &[u8]) -> RequestFrame {
    decode_request(Bytes::copy_from_slice(frame)).unwrap_or_else(|error| panic!("{error}"))
}

fn metadata(frame: &[u8]) -> MetadataRequest {
    match read(frame).request {
        Request::Metadata(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_left_over_are_ignored() {
    // librdkafka's Metadata v13 for all topics: a four-byte placeholder for a one-byte null.
    let header = b"\0\x03\0\x0d\0\0\0\x07\0\x02id\0";
    let exact = [&header[..], b"\0", b"\x01\0\0"].concat();
    let sent = [&header[..], b"\0\0\0\0", b"\x01\0\0"].concat();
    assert_eq!(metadata(&exact).topics, None);
    assert!(metadata(&exact).allow_auto_topic_creation);
    assert_eq!(metadata(&sent).topics, None);
    assert!(!metadata(&sent).allow_auto_topic_creation, "as Kafka reads it: the placeholder's 0");

    // An answer that a node of another implementation may send: Metadata v0, no brokers, no topics.
    let answer = Bytes::from_static(b"\0\0\0\x07\0\0\0\0\0\0\0\0more");
    let (correlation, _) = decode_response(ApiKey::Metadata, 0, answer).expect("an answer");
    assert_eq!(correlation, 7);
}

#[test]
fn every_negative_length_is_null() {
    // Metadata v4, classic: a client id of length -2, and -7 topics.
    let request = read(b"\0\x03\0\x04\0\0\0\x07\xff\xfe\xff\xff\xff\xf9\0");
    assert_eq!(request.client_id, None);
    let Request::Metadata(request) = request.request else { panic!("{request:?}") };
    assert_eq!(request.topics, None);
    // But a field that must not be null is still refused: a topic without a name.
    let null = Bytes::from_static(b"\0\x03\0\x04\0\0\0\x07\xff\xff\0\0\0\x01\xff\xff\0");
    assert!(decode_request(null).is_err());
}

#[test]
fn unknown_tagged_fields_in_any_order_are_skipped() {
    // Metadata v9 for all topics: tags 9 and 3 in the header, 7 twice in the body.
    let request = metadata(
        b"\0\x03\0\x09\0\0\0\x07\xff\xff\x02\x09\x01x\x03\x00\x00\x01\x00\x00\x02\x07\x01x\x07\x01y",
    );
    assert_eq!(request.topics, None);
    // Fetch v12's cluster id (tag 0) after an unknown tag.
    let mut frame = b"\0\x01\0\x0c\0\0\0\x07\xff\xff\0".to_vec();
    frame.extend([0; 25]);
    frame.extend(b"\x01\x01\x01\x02\x05\x01x\0\x03\x02ab");
    let Request::Fetch(request) = read(&frame).request else { panic!("{frame:?}") };
    assert_eq!(request.cluster_id.as_deref(), Some("a"), "and the byte over is ignored");
}

#[test]
fn text_that_is_no_utf_8_is_replaced() {
    let request = read(b"\0\x12\0\0\0\0\0\x07\0\x04caf\xe9");
    assert_eq!(request.client_id.as_deref(), Some("caf\u{fffd}"));
    let request = metadata(b"\0\x03\0\x04\0\0\0\x07\xff\xff\0\0\0\x01\0\x02a\xff\0");
    assert_eq!(request.topics.expect("one")[0].name, "a\u{fffd}");
}

#[test]
fn a_client_without_a_name() {
    assert_eq!(read(b"\0\x12\0\0\0\0\0\x07\xff\xff").client_id, None);
    assert_eq!(read(b"\0\x12\0\0\0\0\0\x07\0\0").client_id.as_deref(), Some(""));
}
