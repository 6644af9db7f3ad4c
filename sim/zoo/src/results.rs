//! Saved results: what a command printed as JSON, with what it was run on. `ci/record` writes one
//! file each, and `wavetank report` renders a folder of them.
//!
//! What does not live here: the text of the report, and the commands' own JSON.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One saved result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedResult {
    /// Which command it is of.
    pub kind: ResultKind,
    /// A heading for it.
    pub title: String,
    /// The commit that was run.
    pub commit: String,
    /// The machine that it was run on, in words.
    pub machine: String,
    /// The command line.
    pub command: String,
    /// What the command printed.
    pub result: Value,
}

/// What a saved result is of, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// `wavetank hunt --json`.
    Hunt,
    /// `wavetank zoo hunt --json`.
    Zoo,
    /// `wavetank model check --json`.
    Models,
    /// `wavetank check --json`, and the speed of judging.
    Check,
    /// Real clients against `wavetank serve`.
    Clients,
    /// Measurements compared with other simulators.
    Peers,
    /// Any other figures.
    Figures,
}

impl ResultKind {
    /// Every kind, in the order of the report.
    pub const ALL: [ResultKind; 7] = [
        ResultKind::Hunt,
        ResultKind::Zoo,
        ResultKind::Models,
        ResultKind::Check,
        ResultKind::Clients,
        ResultKind::Peers,
        ResultKind::Figures,
    ];
}

/// A folder of results could not be read.
#[derive(Debug)]
pub enum ResultsError {
    /// The folder could not be listed.
    Folder(PathBuf, io::Error),
    /// A file could not be read.
    File(PathBuf, io::Error),
    /// A file is not a saved result.
    Format(PathBuf, serde_json::Error),
}

impl fmt::Display for ResultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResultsError::Folder(path, why) => write!(f, "cannot list {}: {why}", path.display()),
            ResultsError::File(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            ResultsError::Format(path, why) => {
                write!(f, "{} is not a saved result: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for ResultsError {}

impl SavedResult {
    /// Parses the text of a result file.
    ///
    /// # Errors
    /// The text is not such an object, or it has a field that is not known.
    pub fn parse(text: &str) -> serde_json::Result<SavedResult> {
        serde_json::from_str(text)
    }
}

/// Reads every `.json` file of a folder, in the order of their names.
///
/// # Errors
/// The folder or a file cannot be read, or a file is not a saved result.
pub fn load(folder: &Path) -> Result<Vec<SavedResult>, ResultsError> {
    let cannot_list = |error| ResultsError::Folder(folder.to_owned(), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot_list)? {
        let path = entry.map_err(cannot_list)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(load_one).collect()
}

fn load_one(path: PathBuf) -> Result<SavedResult, ResultsError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => SavedResult::parse(&text).map_err(|error| ResultsError::Format(path, error)),
        Err(error) => Err(ResultsError::File(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_or_kind_is_refused() {
        let refused = |text: &str| SavedResult::parse(text).unwrap_err().to_string();
        assert!(refused(r#"{"kind":"gossip"}"#).contains("unknown variant `gossip`"));
        assert!(refused(r#"{"kind":"hunt","colour":1}"#).contains("unknown field `colour`"));
        assert!(refused(r#"{"kind":"hunt"}"#).contains("missing field `title`"));
    }

    #[test]
    fn the_repositorys_results_load_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci/results");
        let results = load(&folder).unwrap();
        for kind in [ResultKind::Hunt, ResultKind::Zoo, ResultKind::Models] {
            assert!(results.iter().any(|one| one.kind == kind), "{kind:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let missing = load(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot list no/such/folder: "), "{missing}");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let wrong = load_one(sources).unwrap_err().to_string();
        assert!(wrong.contains("Cargo.toml is not a saved result: "), "{wrong}");
        let folder = load_one(PathBuf::from(env!("CARGO_MANIFEST_DIR"))).unwrap_err().to_string();
        assert!(folder.starts_with("cannot read "), "{folder}");
    }
}
