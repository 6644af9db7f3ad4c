//! Checks before the start whose directory it is: its cluster, and whether it may be formatted.
//!
//! Formatting assigns an empty directory to a node. A voter that lost its data and starts on an
//! empty directory would vote as if it had never voted, and as if it had never held the records
//! that others rely on it to hold. So a node of a cluster formats only when it is told to, which is
//! once (as with Kafka's `kafka-storage format`). A node that is its own only voter can mislead
//! nobody, and formats by itself. Each cluster has its own id, drawn when its first directory is
//! formatted, so that nodes of two clusters never take each other for peers.
//!
//! The core checks a directory's contents when it opens it.

use std::io;
use std::path::Path;

use wavetank_core::checkpoint::parse_meta_properties;
use wavetank_core::env::SmallFile;
use wavetank_core::types::Uuid;

use crate::config::ServerConfig;
use crate::error::ServeError;

/// Maximum length of a cluster id, in bytes.
const MAX_ID: usize = 64;

/// # Errors
/// If it is not a valid cluster id; the text says what one is made of.
pub(crate) fn check_cluster_id(id: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "{id:?} is not a valid cluster id; expected 1 to {MAX_ID} ASCII letters, digits, '-', \
             '_' and '.'"
        ))
    }
}

/// Decides the cluster's id and whether the directory may be formatted.
///
/// # Errors
/// If the directory is formatted but should not be, or is unformatted but may not be formatted.
pub(crate) fn settle(
    config: &mut ServerConfig,
    format: bool,
    data: &Path,
) -> Result<(), ServeError> {
    let path = data.join(SmallFile::MetaProperties.name());
    let formatted = match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let (path, what) = (data.to_path_buf(), "read meta.properties in");
            return Err(ServeError::DataDir { path, what, error });
        }
    };
    let alone = config.node.voters == [config.node.node];
    config.node.format = formatted.is_none() && (alone || format);
    match formatted {
        Some(_) if format => Err(ServeError::Config(format!(
            "--format: {} is formatted already; start the node without --format",
            data.display()
        ))),
        Some(bytes) => {
            // The core refuses a file that cannot be parsed, and says what to do.
            if let (None, Ok(identity)) = (&config.cluster_id, parse_meta_properties(&bytes)) {
                config.node.cluster_id = identity.cluster_id;
            }
            Ok(())
        }
        None if config.cluster_id.is_some() && config.node.format => Ok(()),
        None if alone => {
            config.node.cluster_id = draw().map_err(ServeError::Start)?;
            Ok(())
        }
        None if format => Err(ServeError::Config(format!(
            "--format needs the cluster's id, the same for all of its nodes: give cluster.id in \
             the configuration file, or --cluster-id ID. For a new cluster, {} is a fresh random \
             id",
            draw().map_err(ServeError::Start)?
        ))),
        None => Err(ServeError::Config(format!(
            "{} is not formatted. The first start of a cluster's node needs --format and the \
             cluster's id (cluster.id in the configuration file, or --cluster-id ID). If this node \
             had data there, restore it: a voter that starts on an empty directory forgets its \
             votes and the records it acknowledged",
            data.display()
        ))),
    }
}

/// Draws an id as Kafka does: a random uuid in 22 characters. The first is never a dash, because
/// the id would then be taken for a flag.
fn draw() -> io::Result<String> {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let id = Uuid(u128::from_be_bytes(bytes)).to_string();
        if !id.starts_with('-') {
            return Ok(id);
        }
    }
}
