//! The supported versions of each API, and the version from which each is flexible, by the table
//! of APIs.

use wavetank_core::msg::ApiKey;

/// The content of ApiVersions answers: (API, lowest, highest version), by key. Not every listener
/// serves all of them.
pub const SUPPORTED: &[(ApiKey, i16, i16)] = &rows();

const fn rows() -> [(ApiKey, i16, i16); ApiKey::ALL.len()] {
    let mut rows = [(ApiKey::ALL[0], 0, 0); ApiKey::ALL.len()];
    let mut at = 0;
    while at < rows.len() {
        let api = ApiKey::ALL[at];
        let (min, max) = api.properties().versions;
        rows[at] = (api, min, max);
        at += 1;
    }
    rows
}

/// Lowest and highest version of an API.
pub fn supported(api: ApiKey) -> (i16, i16) {
    api.properties().versions
}

/// The highest version of an API.
pub fn highest(api: ApiKey) -> i16 {
    supported(api).1
}

/// From this version on, messages are flexible: compact lengths and tagged fields (KIP-482).
pub(crate) fn first_flexible(api: ApiKey) -> i16 {
    api.properties().flexible
}
