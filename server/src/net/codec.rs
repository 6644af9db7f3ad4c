//! Converts frames to events and back, with `wavetank-wire`: picks the version that a connection
//! speaks, answers what needs no core, and fills in what only the wire knows.

use bytes::Bytes;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::listener::Serves;
use wavetank_core::msg::{ApiKey, ApiVersionsRequest, Request, Response};
use wavetank_core::types::NodeId;
use wavetank_wire::{Bounds, RequestFrame, SUPPORTED, WireError};

use super::outbound::Versions;

/// The software name that nodes give.
const SOFTWARE: &str = "wavetank";

/// What is needed to encode the answer to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) correlation: i32,
    pub(super) version: i16,
}

impl Context {
    /// For an answer that is encoded already.
    pub(super) const UNUSED: Context = Context { correlation: 0, version: 0 };
}

/// A decoded frame.
pub(super) enum Incoming {
    Request {
        context: Context,
        request: Request,
    },
    /// The header alone determines the answer.
    AnswerAtOnce(Vec<Bytes>),
}

/// Decodes a frame as a request.
pub(super) fn decode_request(frame: Bytes, bounds: Bounds) -> Result<Incoming, WireError> {
    match wavetank_wire::decode_request_within(frame, bounds) {
        Ok(RequestFrame { correlation, version, request, .. }) => {
            let context = Context { correlation, version };
            Ok(Incoming::Request { context, request })
        }
        Err(WireError::UnsupportedVersion { api: ApiKey::ApiVersions, correlation, .. }) => {
            Ok(Incoming::AnswerAtOnce(wavetank_wire::unsupported_api_versions(correlation)))
        }
        Err(error) => Err(error),
    }
}

/// The API of a frame, if we know it.
pub(super) fn api(frame: &[u8]) -> Option<ApiKey> {
    let (key, _) = frame.split_first_chunk::<2>()?;
    ApiKey::from_key(i16::from_be_bytes(*key))
}

/// The answer to ApiVersions on a listener: (key, least, greatest). Produce is advertised from
/// version 0, as in Kafka 4, because librdkafka takes a missing v0 to mean no compression
/// (KAFKA-18659).
fn advertised(serves: Serves) -> Vec<(i16, i16, i16)> {
    let least = |api, min| if api == ApiKey::Produce { 0 } else { min };
    let served = SUPPORTED.iter().filter(|(api, _, _)| serves.api(*api));
    served.map(|(api, min, max)| (api.key(), least(*api, *min), *max)).collect()
}

/// Encodes an answer as a frame. The core leaves the list of APIs empty, because only the wire
/// knows the versions.
pub(super) fn encode_response(
    context: &Context,
    serves: Serves,
    mut response: Response,
) -> Vec<Bytes> {
    if let Response::ApiVersions(answer) = &mut response
        && answer.apis.is_empty()
    {
        answer.apis = advertised(serves);
    }
    wavetank_wire::encode_response(context.version, context.correlation, &response)
}

/// The newest version of ApiVersions, to start with.
pub(super) fn newest_api_versions() -> i16 {
    wavetank_wire::highest(ApiKey::ApiVersions)
}

/// Asks a peer which versions it speaks, and says what we are (KIP-511) and whom we expect
/// (KIP-1242).
pub(super) fn api_versions_request(
    version: i16,
    client_id: &str,
    (cluster_id, node): (Option<&String>, NodeId),
) -> Vec<Bytes> {
    let request = Request::ApiVersions(ApiVersionsRequest {
        client_software_name: SOFTWARE.into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        cluster_id: cluster_id.cloned(),
        node: if cluster_id.is_some() { node } else { NodeId::NONE },
    });
    wavetank_wire::encode_request(version, -1, client_id, &request)
}

/// Whether the sender says that it is another node. Any client can say that.
pub(super) fn is_node(asked: &ApiVersionsRequest) -> bool {
    asked.client_software_name == SOFTWARE && asked.node.known().is_some()
}

/// The outcome of asking a peer for its versions.
pub(super) enum Agreement {
    Versions(Versions),
    /// The peer does not speak our version of ApiVersions, but this one.
    TryAgain(i16),
    /// It is not the node that we expected, or of another cluster.
    Another,
}

/// Reads a peer's answer to [`api_versions_request`].
pub(super) fn agree(frame: Bytes, asked: i16) -> Result<Agreement, String> {
    // UNSUPPORTED_VERSION comes right after the correlation id, in the layout of version 0, which
    // all know.
    let refused = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let version = if refused { 0 } else { asked };
    let (_, response) = wavetank_wire::decode_response(ApiKey::ApiVersions, version, frame)
        .map_err(|error| error.to_string())?;
    let Response::ApiVersions(answer) = response else {
        return Err("the answer is for another API".into());
    };
    let versions: Versions =
        answer.apis.iter().map(|(key, min, max)| (*key, (*min, *max))).collect();
    if answer.error.is_ok() {
        Ok(Agreement::Versions(versions))
    } else if answer.error == ErrorCode::UnsupportedVersion {
        let theirs = versions.get(&ApiKey::ApiVersions.key()).map_or(0, |(_, max)| *max);
        if theirs < asked {
            Ok(Agreement::TryAgain(theirs.max(0)))
        } else {
            Err("the peer refuses the ApiVersions version that it advertises".into())
        }
    } else if answer.error == ErrorCode::RebootstrapRequired {
        Ok(Agreement::Another)
    } else {
        Err(format!("the peer answered {}", answer.error.name()))
    }
}

/// Encodes a request as a frame, in the newest version that both speak; `None` if there is none.
pub(super) fn encode_request(
    versions: &Versions,
    correlation: i32,
    client_id: &str,
    request: &Request,
) -> Option<(i16, Vec<Bytes>)> {
    let api = request.api();
    let (ours_min, ours_max) = wavetank_wire::supported(api);
    let (theirs_min, theirs_max) = *versions.get(&api.key())?;
    let version = ours_max.min(theirs_max);
    if version < ours_min.max(theirs_min) {
        return None;
    }
    Some((version, wavetank_wire::encode_request(version, correlation, client_id, request)))
}

/// Decodes the answer to a request of this API and version: its correlation id and the response.
pub(super) fn decode_response(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Response), WireError> {
    wavetank_wire::decode_response(api, version, frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::msg::ApiVersionsResponse;

    fn frame(parts: Vec<Bytes>) -> Bytes {
        Bytes::from(parts.concat()).slice(4..)
    }

    #[test]
    fn a_peer_without_our_version_is_asked_again() {
        let older = Response::ApiVersions(ApiVersionsResponse {
            error: ErrorCode::UnsupportedVersion,
            apis: vec![(ApiKey::ApiVersions.key(), 0, 2)],
            ..ApiVersionsResponse::default()
        });
        let answer = frame(wavetank_wire::encode_response(0, -1, &older));
        let Ok(Agreement::TryAgain(version)) = agree(answer.clone(), newest_api_versions()) else {
            panic!("the peer says what it speaks");
        };
        assert_eq!(version, 2);
        assert!(agree(answer, version).is_err(), "this cannot go on for ever");
    }

    #[test]
    fn the_newest_common_version() {
        let context = Context { correlation: 1, version: 4 };
        let answer = ApiVersionsResponse::default();
        let answer = encode_response(&context, Serves::All, Response::ApiVersions(answer));
        let Ok(Agreement::Versions(mut versions)) = agree(frame(answer), 4) else {
            panic!("we answer ourselves");
        };
        assert_eq!(versions[&ApiKey::Produce.key()].0, 0, "for librdkafka's sake");
        let request = Request::Fetch(Default::default());
        let version = |versions: &Versions| {
            encode_request(versions, 1, "c", &request).map(|(version, _)| version)
        };
        assert_eq!(version(&versions), Some(wavetank_wire::highest(ApiKey::Fetch)));
        versions.insert(1, (4, 11));
        assert_eq!(version(&versions), Some(11));
        versions.insert(1, (99, 100));
        assert_eq!(version(&versions), None);
        versions.remove(&1);
        assert_eq!(version(&versions), None);
    }
}
