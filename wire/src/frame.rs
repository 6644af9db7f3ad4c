//! What goes over a connection: a length, a header and a body.
//!
//! When decoded, a frame here is what follows the four bytes of its length; when encoded, it
//! includes them. The connection limits how many bytes a peer may announce.
//!
//! Whatever Kafka's parser tolerates is tolerated, from clients and nodes alike. That parser reads
//! the fields of the schema and ignores what follows (librdkafka's Metadata request for all topics
//! has three extra bytes), treats any negative length as null, skips unknown tagged fields in any
//! order, and replaces invalid UTF-8. Nodes' messages are no exception: the cluster is protected
//! from a bad node by checking each field, not by refusing extra bytes.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::fmt;

use wavetank_core::codec::{DecodeError, Reader, Writer};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{ApiKey, ApiVersionsResponse, Request, Response};

use crate::schema;
use crate::versions::{SUPPORTED, first_flexible, supported};
use crate::visit::{Bounds, Io, TOO_MANY};

/// A request with the content of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFrame {
    /// The API.
    pub api: ApiKey,
    /// The version.
    pub version: i16,
    /// Returned with the response.
    pub correlation: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
    /// The request.
    pub request: Request,
}

/// Why a frame is not a message. The only response is to close the connection, except for
/// [`WireError::UnsupportedVersion`] of ApiVersions; see [`unsupported_api_versions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The header's API key is not one that this build serves.
    UnknownApi {
        /// The key.
        key: i16,
    },
    /// The API is served, but not in this version.
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version that was asked for.
        version: i16,
        /// The correlation id, for the answer.
        correlation: i32,
    },
    /// The header is malformed.
    Header(DecodeError),
    /// The body has more elements than the reader allows; see [`Bounds`].
    TooMany {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
    },
    /// The body is not a message of that API and version.
    Body {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        error: DecodeError,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::UnknownApi { key } => write!(f, "API key {key} is not supported"),
            WireError::UnsupportedVersion { api, version, .. } => {
                let (min, max) = supported(*api);
                write!(f, "{api:?} version {version} is not supported, only {min} to {max}")
            }
            WireError::Header(error) => write!(f, "request header: {error}"),
            WireError::TooMany { api, version } => write!(
                f,
                "{api:?} version {version} has more elements than a request may have ({})",
                Bounds::REQUEST.elements
            ),
            WireError::Body { api, version, error } => {
                write!(f, "{api:?} version {version}: {error}")
            }
        }
    }
}

impl core::error::Error for WireError {}

/// Request header v2 has tagged fields. ApiVersions comes before versions are agreed on, so it is
/// flexible in the request header but never in the response header (KIP-511).
fn has_flexible_response_header(api: ApiKey, version: i16) -> bool {
    api != ApiKey::ApiVersions && version >= first_flexible(api)
}

/// Reads a request.
///
/// # Errors
/// See [`WireError`].
pub fn decode_request(frame: Bytes) -> Result<RequestFrame, WireError> {
    decode_request_within(frame, Bounds::REQUEST)
}

/// Reads a request within these bounds.
///
/// # Errors
/// See [`WireError`]; [`WireError::TooMany`] if it exceeds the bounds.
pub fn decode_request_within(frame: Bytes, bounds: Bounds) -> Result<RequestFrame, WireError> {
    let mut reader = Reader::new(frame);
    let mut header = || Ok((reader.i16()?, reader.i16()?, reader.i32()?));
    let (key, version, correlation) = header().map_err(WireError::Header)?;
    let api = ApiKey::from_key(key).ok_or(WireError::UnknownApi { key })?;
    let (min, max) = supported(api);
    if !(min..=max).contains(&version) {
        return Err(WireError::UnsupportedVersion { api, version, correlation });
    }
    let flexible = version >= first_flexible(api);
    // The client id is a classic string in every header version.
    let client_id = reader.nullable_text(false).map_err(WireError::Header)?;
    if flexible {
        reader.skip_tagged_fields().map_err(WireError::Header)?;
    }
    let fail = |error| body_error(api, version, error);
    let mut io = Io::reader(reader.rest(), version, flexible, bounds);
    let mut request = Request::empty(api);
    schema::request(&mut io, &mut request).map_err(fail)?;
    Ok(RequestFrame { api, version, correlation, client_id, request })
}

fn body_error(api: ApiKey, version: i16, error: DecodeError) -> WireError {
    match error {
        TOO_MANY => WireError::TooMany { api, version },
        error => WireError::Body { api, version, error },
    }
}

/// Reads a response to a request of `api` in `version`. Returns it with its correlation id.
///
/// # Errors
/// See [`WireError`].
pub fn decode_response(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Response), WireError> {
    let mut reader = Reader::new(frame);
    let correlation = reader.i32().map_err(WireError::Header)?;
    if has_flexible_response_header(api, version) {
        reader.skip_tagged_fields().map_err(WireError::Header)?;
    }
    let fail = |error| body_error(api, version, error);
    let flexible = version >= first_flexible(api);
    let mut io = Io::reader(reader.rest(), version, flexible, Bounds::RESPONSE);
    let mut response = Response::empty(api);
    schema::response(&mut io, &mut response).map_err(fail)?;
    Ok((correlation, response))
}

/// Writes a request as a whole frame, in pieces for a vectored write. `version` must be one that is
/// [`supported`].
///
/// # Panics
/// If the version is not supported.
pub fn encode_request(
    version: i16,
    correlation: i32,
    client_id: &str,
    request: &Request,
) -> Vec<Bytes> {
    let api = request.api();
    assert_supported(api, version);
    let flexible = version >= first_flexible(api);
    let mut writer = Writer::new();
    writer.i16(api.key());
    writer.i16(version);
    writer.i32(correlation);
    writer.nullable_string(false, Some(client_id));
    if flexible {
        writer.tagged_fields(&[]);
    }
    let mut io = Io::writer(version, flexible);
    // Visiting takes a mutable message, because it also reads. The clone does not copy records.
    schema::request(&mut io, &mut request.clone()).expect("writing does not fail");
    framed(writer, io)
}

/// Writes a response as a whole frame, in pieces for a vectored write.
///
/// # Panics
/// If the version is not [`supported`].
pub fn encode_response(version: i16, correlation: i32, response: &Response) -> Vec<Bytes> {
    let api = response.api();
    assert_supported(api, version);
    let mut writer = Writer::new();
    writer.i32(correlation);
    if has_flexible_response_header(api, version) {
        writer.tagged_fields(&[]);
    }
    let mut io = Io::writer(version, version >= first_flexible(api));
    schema::response(&mut io, &mut response.clone()).expect("writing does not fail");
    framed(writer, io)
}

fn assert_supported(api: ApiKey, version: i16) {
    let (min, max) = supported(api);
    assert!((min..=max).contains(&version), "{api:?} has no version {version}");
}

/// The answer to ApiVersions in a version that is not served: the layout of v0, error 35, and the
/// versions that are served, so that the client can ask again (KIP-511).
pub fn unsupported_api_versions(correlation: i32) -> Vec<Bytes> {
    let response = Response::ApiVersions(ApiVersionsResponse {
        error: ErrorCode::UnsupportedVersion,
        apis: SUPPORTED.iter().map(|(api, min, max)| (api.key(), *min, *max)).collect(),
        ..ApiVersionsResponse::default()
    });
    encode_response(0, correlation, &response)
}

fn framed(header: Writer, body: Io) -> Vec<Bytes> {
    let chunks = body.into_chunks();
    let length = header.len() + chunks.iter().map(Bytes::len).sum::<usize>();
    let length = i32::try_from(length).expect("a message is under 2 GiB");
    let header = header.finish();
    let first = chunks.first().cloned().unwrap_or_default();
    let mut start = Writer::with_capacity(4 + header.len() + first.len());
    start.i32(length);
    start.put(&header);
    start.put(&first);
    let mut frame = Vec::with_capacity(chunks.len().max(1));
    frame.push(start.finish());
    frame.extend(chunks.into_iter().skip(1));
    frame
}

/// The contents of an encoded frame, contiguous and without the length, as the other side decodes
/// it.
pub fn body_of(frame: Vec<Bytes>) -> Bytes {
    let mut whole = BytesMut::new();
    frame.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    let whole = whole.freeze();
    whole.slice(4.min(whole.len())..)
}
