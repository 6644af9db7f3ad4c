//! The text formats: checkpoints, `partition.metadata`, `meta.properties`, the clean-shutdown mark.
//!
//! A parser's error names the file, the line and what is wrong with it. No content makes a parser
//! panic or allocate more than a small multiple of its size.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use super::json;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicId, Uuid};

/// Why a small file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FormatError {
    /// The kind of file, by its name on disk.
    pub file: &'static str,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl FormatError {
    pub(super) fn new(file: &'static str, line: usize, what: impl Into<String>) -> FormatError {
        FormatError { file, line, what: what.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}, line {line}: {}", self.file, self.what),
        }
    }
}

impl core::error::Error for FormatError {}

pub(super) fn text<'a>(file: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    core::str::from_utf8(bytes).map_err(|_| FormatError::new(file, 0, "not UTF-8 text"))
}

/// Kafka's `CheckpointFile`: version 0, the number of entries, one line per entry.
fn entries<'a>(file: &'static str, bytes: &'a [u8]) -> Result<Vec<&'a str>, FormatError> {
    let text = text(file, bytes)?;
    let mut lines = text.lines();
    match lines.next() {
        Some("0") => {}
        Some(other) => {
            return Err(FormatError::new(file, 1, format!("expected version 0, found {other:?}")));
        }
        None => return Err(FormatError::new(file, 1, "the file is empty; expected version 0")),
    }
    let count = lines.next().unwrap_or_default();
    let count: usize = count.parse().map_err(|_| {
        FormatError::new(file, 2, format!("expected the number of entries, found {count:?}"))
    })?;
    let entries: Vec<&str> = lines.collect();
    if entries.len() != count {
        let found = entries.len();
        let what = format!("expected {count} entries, found {found}; the file may be truncated");
        return Err(FormatError::new(file, 2, what));
    }
    // Without a final newline, the last number may be cut.
    if !text.ends_with('\n') {
        return Err(FormatError::new(
            file,
            count + 2,
            "the last line has no newline; the file may \
                                                      be truncated",
        ));
    }
    Ok(entries)
}

fn checkpoint(lines: Vec<String>) -> Bytes {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    Bytes::from(text)
}

fn number<T: core::str::FromStr>(
    file: &'static str,
    line: usize,
    name: &str,
    text: &str,
) -> Result<T, FormatError> {
    text.parse()
        .map_err(|_| FormatError::new(file, line, format!("{name} is {text:?}; expected a number")))
}

const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// `leader-epoch-checkpoint`: for each epoch its first offset.
pub fn format_leader_epochs(epochs: impl Iterator<Item = (LeaderEpoch, Offset)>) -> Bytes {
    checkpoint(epochs.map(|(epoch, start)| format!("{epoch} {start}")).collect())
}

/// # Errors
/// If it is not in that format, or epochs or offsets are negative or not ascending.
pub fn parse_leader_epochs(bytes: &[u8]) -> Result<Vec<(LeaderEpoch, Offset)>, FormatError> {
    let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
    for (index, entry) in entries(LEADER_EPOCHS, bytes)?.into_iter().enumerate() {
        let line = index + 3;
        let Some((epoch, start)) = entry.split_once(' ') else {
            let what = format!("expected `epoch offset`, found {entry:?}");
            return Err(FormatError::new(LEADER_EPOCHS, line, what));
        };
        let epoch = LeaderEpoch(number(LEADER_EPOCHS, line, "the epoch", epoch)?);
        let start = Offset(number(LEADER_EPOCHS, line, "the offset", start)?);
        let grows = epochs.last().is_none_or(|last| epoch > last.0 && start > last.1);
        if epoch.0 < 0 || start.0 < 0 || !grows {
            let what = "epochs and offsets must not be negative and must increase";
            return Err(FormatError::new(LEADER_EPOCHS, line, what));
        }
        epochs.push((epoch, start));
    }
    Ok(epochs)
}

/// One line of an offset checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Its recovery point or high watermark.
    pub offset: Offset,
}

/// `recovery-point-offset-checkpoint` and `replication-offset-checkpoint`.
pub fn format_offsets<'a>(offsets: impl Iterator<Item = &'a PartitionOffset>) -> Bytes {
    checkpoint(offsets.map(|o| format!("{} {} {}", o.topic, o.partition, o.offset)).collect())
}

/// `file` is the name to use in errors.
///
/// # Errors
/// If it is not in that format, or a number is negative.
pub fn parse_offsets(
    file: &'static str,
    bytes: &[u8],
) -> Result<Vec<PartitionOffset>, FormatError> {
    let mut offsets = Vec::new();
    for (index, entry) in entries(file, bytes)?.into_iter().enumerate() {
        let line = index + 3;
        let mut parts = entry.split(' ');
        let (Some(topic), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let what = format!("expected `topic partition offset`, found {entry:?}");
            return Err(FormatError::new(file, line, what));
        };
        let partition: i32 = number(file, line, "the partition", partition)?;
        let offset = Offset(number(file, line, "the offset", offset)?);
        if topic.is_empty() || partition < 0 || offset.0 < 0 {
            let what = format!("no topic, or a negative number, in {entry:?}");
            return Err(FormatError::new(file, line, what));
        }
        offsets.push(PartitionOffset { topic: topic.to_string(), partition, offset });
    }
    Ok(offsets)
}

const PARTITION_METADATA: &str = "partition.metadata";

/// `partition.metadata`: the id of the topic that the directory belongs to.
pub fn format_partition_metadata(topic: TopicId) -> Bytes {
    Bytes::from(format!("version: 0\ntopic_id: {topic}"))
}

/// # Errors
/// If it is not in that format, of version 0, or the id is zero.
pub fn parse_partition_metadata(bytes: &[u8]) -> Result<TopicId, FormatError> {
    let file = PARTITION_METADATA;
    let mut lines = text(file, bytes)?.lines();
    match lines.next() {
        Some("version: 0") => {}
        other => {
            let what = format!("expected `version: 0`, found {:?}", other.unwrap_or_default());
            return Err(FormatError::new(file, 1, what));
        }
    }
    let line = lines.next().unwrap_or_default();
    let id = line.strip_prefix("topic_id: ").and_then(|id| id.parse::<Uuid>().ok());
    match (id, lines.next()) {
        (Some(id), None) if id != Uuid::ZERO => Ok(id),
        (Some(_), Some(_)) => Err(FormatError::new(file, 3, "expected nothing after the topic id")),
        (Some(_) | None, _) => {
            let what = format!("expected `topic_id: ` and an id that is not zero, found {line:?}");
            Err(FormatError::new(file, 2, what))
        }
    }
}

const META_PROPERTIES: &str = "meta.properties";

/// `meta.properties`, version 1: the owner of this log directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetaProperties {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node: NodeId,
    /// `directory.id` (KIP-858), if it has one.
    pub directory_id: Option<Uuid>,
}

/// Java's properties format, without the date line, which Kafka writes and ignores.
pub fn format_meta_properties(properties: &MetaProperties) -> Bytes {
    let mut text = String::from("#\n");
    if let Some(id) = properties.directory_id {
        text.push_str(&format!("directory.id={id}\n"));
    }
    let cluster_id = escape(&properties.cluster_id);
    text.push_str(&format!("node.id={}\nversion=1\ncluster.id={cluster_id}\n", properties.node));
    Bytes::from(text)
}

/// A value as `java.util.Properties` writes it, for the characters that a cluster id may have.
fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for (index, c) in value.chars().enumerate() {
        if matches!(c, '\\' | ':' | '=' | '#' | '!') || (c == ' ' && index == 0) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn unescape(value: &str) -> String {
    let mut plain = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

/// # Errors
/// If it is not in that format, of version 1, or an id is missing or malformed. Unknown keys are
/// ignored, as in Kafka.
pub fn parse_meta_properties(bytes: &[u8]) -> Result<MetaProperties, FormatError> {
    let file = META_PROPERTIES;
    let (mut cluster_id, mut node, mut directory_id, mut version) = (None, None, None, None);
    for (index, line) in text(file, bytes)?.lines().enumerate() {
        let (line, number_of) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            let what = format!("expected `key=value`, found {line:?}");
            return Err(FormatError::new(file, number_of, what));
        };
        let value = unescape(value.trim());
        match key.trim() {
            "version" => version = Some(value),
            "cluster.id" => cluster_id = Some(value),
            "node.id" => node = Some(number::<i32>(file, number_of, "node.id", &value)?),
            "directory.id" => {
                let id = value.parse().map_err(|error| {
                    FormatError::new(file, number_of, format!("directory.id {value:?}: {error}"))
                })?;
                directory_id = Some(id);
            }
            _ => {}
        }
    }
    let missing = |key| FormatError::new(file, 0, format!("{key} is missing"));
    match version.ok_or_else(|| missing("version"))?.as_str() {
        "1" => {}
        other => {
            return Err(FormatError::new(file, 0, format!("version is {other:?}; expected 1")));
        }
    }
    let cluster_id = cluster_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("cluster.id"))?;
    let node = node.filter(|id| *id >= 0).map(NodeId).ok_or_else(|| missing("a node.id >= 0"))?;
    Ok(MetaProperties { cluster_id, node, directory_id })
}

const BOOT_ID: &str = ".wavetank_boot_id";

/// `.wavetank_boot_id`: a boot of the machine.
pub fn format_boot_id(id: Uuid) -> Bytes {
    Bytes::from(format!("version: 0\nboot_id: {id}\n"))
}

/// # Errors
/// If it is not in that format, of version 0.
pub fn parse_boot_id(bytes: &[u8]) -> Result<Uuid, FormatError> {
    let body = text(BOOT_ID, bytes)?.strip_prefix("version: 0\nboot_id: ");
    let id = body.and_then(|body| body.strip_suffix('\n')).and_then(|id| id.parse().ok());
    id.ok_or_else(|| {
        FormatError::new(BOOT_ID, 0, "expected `version: 0`, and `boot_id: ` and an id")
    })
}

const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// `.kafka_cleanshutdown`: all logs were flushed when this broker epoch ended (KIP-966).
pub fn format_clean_shutdown(epoch: BrokerEpoch) -> Bytes {
    Bytes::from(format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}"))
}

/// # Errors
/// If it is not that JSON of version 0.
pub fn parse_clean_shutdown(bytes: &[u8]) -> Result<BrokerEpoch, FormatError> {
    let file = CLEAN_SHUTDOWN;
    let value = json::parse(file, text(file, bytes)?)?;
    match value.field("version").and_then(json::Value::number) {
        Some(0) => {}
        Some(_) | None => return Err(FormatError::new(file, 0, "expected \"version\":0")),
    }
    value
        .field("brokerEpoch")
        .and_then(json::Value::number)
        .map(BrokerEpoch)
        .ok_or_else(|| FormatError::new(file, 0, "expected a number under \"brokerEpoch\""))
}
