//! Trace validation: checks the nodes' notes against the models M1 and M3, after the run.
//!
//! The notes of all processes are ordered by the clock that they share. The registrations that the
//! models need are read from the metadata log that is on disk at the end. Each is passed to the
//! model where a quorum leader noted that it is committed.
//!
//! M7 is not checked here: it needs the content of each disk at each moment, which only the tank
//! sees.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use wavetank_core::batch;
use wavetank_core::metadata::{MetadataImage, MetadataRecord};
use wavetank_core::note::Note;
use wavetank_core::types::{METADATA_TOPIC, NodeId, PartitionEpoch, TopicPartition};
use wavetank_models::validation::{Registered, Validator, validator};
use wavetank_server::NotedAt;

use crate::cluster::Start;

/// The models that can be checked from notes alone.
pub const MODELS: [&str; 2] = ["M1", "M3"];

/// The result of checking a run against a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validated {
    /// The model's id.
    pub model: &'static str,
    /// Notes passed to the model.
    pub notes: u64,
    /// Registrations passed to the model.
    pub registrations: u64,
    /// Where the run diverges from the model, or why that could not be determined.
    pub divergence: Option<String>,
}

/// A registration in the metadata log, and the offset after its batch. It is committed once the log
/// is committed up to that offset.
#[derive(Clone, Debug)]
struct Committed {
    upto: i64,
    partition: TopicPartition,
    epoch: PartitionEpoch,
    registered: Registered,
}

/// Validates all notes, in order, against the models.
pub fn validate(
    notes: &[NotedAt],
    starts: &[Start],
    voters: &[NodeId],
    data: impl Fn(NodeId) -> PathBuf,
) -> Vec<Validated> {
    let committed = committed_end(notes).map_or(Ok(Vec::new()), |(leader, end)| {
        registrations(&data(leader), end)
            .map_err(|error| format!("the metadata log of node {leader} cannot be read: {error}"))
    });
    let validate_one = |model: &'static str| {
        let (passed, registrations, divergence) = match &committed {
            Ok(committed) => {
                let validator = validator(model, voters).expect("MODELS names validators");
                let mut run = Passing { validator, notes: 0, registrations: 0 };
                let divergence = run.all(notes, starts, committed).err();
                (run.notes, run.registrations, divergence)
            }
            Err(why) => (0, 0, Some(why.clone())),
        };
        Validated { model, notes: passed, registrations, divergence }
    };
    MODELS.into_iter().map(validate_one).collect()
}

/// The greatest committed end of the metadata log, and the quorum leader that noted it.
fn committed_end(notes: &[NotedAt]) -> Option<(NodeId, i64)> {
    let ends = notes.iter().filter_map(|noted| match &noted.note {
        Note::QuorumCommitted { to, leader: true, .. } => Some((to.0, noted.node)),
        _ => None,
    });
    ends.max().map(|(end, node)| (node, end))
}

struct Passing {
    validator: Box<dyn Validator>,
    notes: u64,
    registrations: u64,
}

impl Passing {
    fn all(
        &mut self,
        notes: &[NotedAt],
        starts: &[Start],
        committed: &[Committed],
    ) -> Result<(), String> {
        let (mut starts, mut committed) = (starts.iter().peekable(), committed.iter().peekable());
        for noted in notes {
            while let Some(start) = starts.next_if(|start| start.at <= noted.at) {
                self.validator.started(start.node);
            }
            // A leader commits a record before anybody can act on it.
            if let Note::QuorumCommitted { to, leader: true, .. } = &noted.note {
                while let Some(next) = committed.next_if(|next| next.upto <= to.0) {
                    self.registrations += 1;
                    self.validator
                        .registered(next.partition, next.epoch, &next.registered)
                        .map_err(|divergence| divergence.to_string())?;
                }
            }
            self.notes += 1;
            self.validator
                .note(noted.node, &noted.note)
                .map_err(|divergence| divergence.to_string())?;
        }
        Ok(())
    }
}

/// The registrations in the metadata log below this data directory, in order, up to `end`.
fn registrations(data: &Path, end: i64) -> io::Result<Vec<Committed>> {
    let mut image = MetadataImage::default();
    let mut found = Vec::new();
    let mut read_to = 0;
    for path in segments(&data.join(format!("{METADATA_TOPIC}-0")))? {
        // A batch that a killed process left half written is not read.
        let bytes = Bytes::from(std::fs::read(&path)?);
        for batch in batch::split(bytes).map_err(|error| wrong(&error))? {
            let upto = batch.next_offset().0;
            if upto > end {
                break;
            }
            read_to = upto;
            for record in batch.records().map_err(|error| wrong(&error))? {
                if batch.is_control() {
                    image.skip(record.offset, batch.leader_epoch);
                    continue;
                }
                let value = record.value.ok_or_else(|| wrong(&"a record without a value"))?;
                let decoded = MetadataRecord::decode(value).map_err(|error| wrong(&error))?;
                image
                    .replay(record.offset, batch.leader_epoch, &decoded)
                    .map_err(|error| wrong(&error))?;
                let partition = match &decoded {
                    MetadataRecord::Partition(record) => record.partition,
                    MetadataRecord::PartitionChange(record) => record.partition,
                    _ => continue,
                };
                let Some(now) = image.partition(partition) else { continue };
                let registered = Registered {
                    leader: now.leader,
                    leader_epoch: now.leader_epoch,
                    isr: now.isr.clone(),
                };
                found.push(Committed { upto, partition, epoch: now.partition_epoch, registered });
            }
        }
    }
    if read_to < end {
        return Err(wrong(&format_args!(
            "it ends at {read_to}, but records up to {end} were committed"
        )));
    }
    Ok(found)
}

fn wrong(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// The segments of a log, in order of their base offsets.
fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let base = path.file_stem().and_then(|stem| stem.to_str()?.parse::<i64>().ok());
        if path.extension().is_some_and(|ending| ending == "log")
            && let Some(base) = base
        {
            segments.insert(base, path);
        }
    }
    Ok(segments.into_values().collect())
}
