//! Where `wavetank-wire` is connected. Until it is, every frame is refused.
#![allow(dead_code)]
use super::outbound::Versions;
use bytes::Bytes;
use wavetank_core::msg::*;
#[derive(Debug)]
pub(super) struct Context {
    pub(super) correlation: i32,
    pub(super) version: i16,
}
#[derive(Debug)]
pub(super) struct Undecodable(pub String);
impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
pub(super) enum Incoming {
    Request { context: Context, request: Request },
    AnswerAtOnce(Vec<Bytes>),
}
pub(super) enum Agreement {
    Versions(Versions),
    TryAgain(i16),
}
pub(super) fn decode_request(_: Bytes) -> Result<Incoming, Undecodable> {
    Err(Undecodable("no codec yet".into()))
}
pub(super) fn encode_response(_: &Context, _: Response) -> Vec<Bytes> {
    Vec::new()
}
pub(super) fn supported(_: ApiKey) -> (i16, i16) {
    (0, 0)
}
pub(super) fn api_versions_request(_: i16, _: &str) -> Vec<Bytes> {
    Vec::new()
}
pub(super) fn agree(_: Bytes, _: i16) -> Result<Agreement, String> {
    Err("no codec yet".into())
}
pub(super) fn encode_request(
    _: &Versions,
    _: i32,
    _: &str,
    _: &Request,
) -> Result<(i16, Vec<Bytes>), String> {
    Err("no codec yet".into())
}
pub(super) fn decode_response(_: ApiKey, _: i16, _: Bytes) -> Result<(i32, Response), String> {
    Err("no codec yet".into())
}
