//! The core's notes as JSON lines in a file (`serve --notes`), for a program that reads along.
//! `notes` writes them to the log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use wavetank_core::note::Note;
use wavetank_core::types::NodeId;

use crate::error::ServeError;

/// One line of `serve --notes FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedAt {
    /// When, in ns of CLOCK_MONOTONIC: comparable between all processes of a machine. A note's time
    /// is before any effect of its step leaves the process.
    pub at: u64,
    /// The node that wrote the note.
    pub node: NodeId,
    /// The note.
    pub note: Note,
}

/// Now, by the clock that [`NotedAt::at`] uses.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock starts before the machine's start at the latest, so this is positive.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Writes notes to a file, each by its own write: a written note outlives the process, however it
/// ends. (A power loss is another matter: nothing is synced.)
#[derive(Debug)]
pub(crate) struct NoteLog {
    node: NodeId,
    /// `None` after a write failed: a file with a gap would describe a run that did not happen.
    file: Option<File>,
    line: Vec<u8>,
}

impl NoteLog {
    /// Appends to this file, and creates it if it is missing.
    pub(crate) fn open(path: &Path, node: NodeId) -> Result<NoteLog, ServeError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| ServeError::Notes { path: path.to_path_buf(), error })?;
        Ok(NoteLog { node, file: Some(file), line: Vec::new() })
    }

    pub(crate) fn write(&mut self, note: &Note) {
        let Some(file) = &mut self.file else { return };
        self.line.clear();
        let noted = NotedAt { at: monotonic_ns(), node: self.node, note: note.clone() };
        serde_json::to_writer(&mut self.line, &noted).expect("a note has only string keys");
        self.line.push(b'\n');
        if let Err(error) = file.write_all(&self.line) {
            tracing::warn!(%error, "cannot write a note; no further notes are written");
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::error_code::ErrorCode;
    use wavetank_core::event::DiskOpKind;
    use wavetank_core::note::TruncationReason;
    use wavetank_core::types::{LeaderEpoch, Offset, PartitionEpoch, TopicPartition, Uuid};

    #[test]
    fn what_is_written_is_read_again_under_its_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("notes");
        let partition = TopicPartition { topic: Uuid(u128::MAX - 7), partition: 3 };
        let notes = [
            Note::BecameLeader {
                partition,
                epoch: LeaderEpoch(4),
                start: Offset(9),
                high_watermark: Offset(7),
                isr: vec![NodeId(1), NodeId(3)],
                partition_epoch: PartitionEpoch(2),
            },
            Note::IsrRefused { partition, error: ErrorCode::FencedLeaderEpoch },
            Note::IsrRefused { partition, error: ErrorCode::Other(4321) },
            Note::LogDirOffline { op: DiskOpKind::OpenDir },
            Note::Truncated {
                partition: TopicPartition::METADATA,
                from: Offset(3),
                to: Offset(1),
                reason: TruncationReason::LeaderEndsBefore,
            },
            Note::QuorumPreVoted { epoch: LeaderEpoch(1), candidate: NodeId(2) },
            Note::ShutDown { clean: true },
        ];
        let before = monotonic_ns();
        let mut log = NoteLog::open(&path, NodeId(5)).expect("it can be created");
        notes.iter().for_each(|note| log.write(note));
        let text = std::fs::read_to_string(&path).expect("it is there");
        let mut last = before;
        for (line, note) in text.lines().zip(&notes) {
            let noted: NotedAt = serde_json::from_str(line).expect("a line of ours");
            assert_eq!((noted.node, &noted.note), (NodeId(5), note));
            assert!(noted.at >= last, "{line}");
            assert!(line.contains(&format!("\"note\":{{\"{}\":", note.name())), "{line}");
            last = noted.at;
        }
        assert_eq!(text.lines().count(), notes.len());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let error = NoteLog::open(dir.path(), NodeId(1)).expect_err("it is a directory");
        assert!(error.to_string().contains("--notes"), "{error}");
    }
}
