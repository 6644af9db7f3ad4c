//! Envelope: a request or response in a frame of its own, without the length.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

use wavetank_core::codec::{DecodeError, Reader};
use wavetank_core::msg::{ApiKey, EnvelopeRequest, EnvelopeResponse};

use crate::frame::{self, WireError, body_of};
use crate::versions::supported;
use crate::visit::{Io, TOO_MANY, Visited};

/// Chooses the correlation id of an enclosed request. The answer in an envelope does not name its
/// API and version, and the envelope's sender may not remember them, but it echoes this id.
fn correlation_of(api: ApiKey, version: i16) -> i32 {
    i32::from(api.key()) << 16 | i32::from(version)
}

fn of_correlation(correlation: i32) -> Option<(ApiKey, i16)> {
    let api = ApiKey::from_key(i16::try_from(correlation >> 16).ok()?)?;
    let version = i16::try_from(correlation & 0xffff).ok()?;
    let (min, max) = supported(api);
    (api != ApiKey::Envelope && (min..=max).contains(&version)).then_some((api, version))
}

/// The client's address, 0.0.0.0: the sender was checked where the request arrived.
const UNKNOWN_ADDRESS: &[u8] = &[0, 0, 0, 0];

pub(super) fn request(io: &mut Io, m: &mut EnvelopeRequest) -> Visited {
    let mut data = (!io.reads()).then(|| {
        let correlation = correlation_of(m.request.api(), m.version);
        Vec::from([body_of(frame::encode_request(m.version, correlation, "", &m.request))])
    });
    io.nullable_bytes(&mut data)?;
    // No principal: there is no authorization.
    io.nullable_bytes(&mut None)?;
    io.nullable_bytes(&mut Some(Vec::from([Bytes::from_static(UNKNOWN_ADDRESS)])))?;
    io.end()?;
    let Some(bounds) = io.bounds() else { return Ok(()) };
    let data = data.into_iter().flatten().next();
    let data = data.ok_or(DecodeError::Invalid("an empty envelope"))?;
    // An envelope in an envelope would be read by recursion, as deep as it likes.
    if data.get(..2) == Some(&ApiKey::Envelope.key().to_be_bytes()) {
        return Err(DecodeError::Invalid("an envelope in an envelope"));
    }
    let frame = frame::decode_request_within(data, bounds).map_err(|error| match error {
        WireError::TooMany { .. } => TOO_MANY,
        WireError::UnknownApi { .. }
        | WireError::UnsupportedVersion { .. }
        | WireError::Header(_)
        | WireError::Body { .. } => DecodeError::Invalid("the enveloped request"),
    })?;
    *m = EnvelopeRequest { version: frame.version, request: Box::new(frame.request) };
    Ok(())
}

pub(super) fn response(io: &mut Io, m: &mut EnvelopeResponse) -> Visited {
    let mut data = m.response.as_ref().map(|response| {
        let correlation = correlation_of(response.api(), m.version);
        Vec::from([body_of(frame::encode_response(m.version, correlation, response))])
    });
    io.nullable_bytes(&mut data)?;
    io.error(&mut m.error)?;
    io.end()?;
    if !io.reads() {
        return Ok(());
    }
    if let Some(bytes) = data.into_iter().flatten().next() {
        let bad = DecodeError::Invalid("the enveloped response");
        let correlation = Reader::new(bytes.clone()).i32()?;
        let (api, version) = of_correlation(correlation).ok_or(bad)?;
        let (_, response) = frame::decode_response(api, version, bytes).map_err(|_| bad)?;
        m.version = version;
        m.response = Some(Box::new(response));
    }
    Ok(())
}
