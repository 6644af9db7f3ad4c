//! What is wrong with a file.

use std::fmt;
use std::io;

/// Why a file could not be read as a history.
#[derive(Debug)]
pub enum ReadError {
    /// It could not be read.
    Io {
        /// The file, as the caller named it.
        file: String,
        /// The reason.
        error: io::Error,
    },
    /// A line is malformed.
    Line {
        /// The file, as the caller named it.
        file: String,
        /// The line's number, from 1.
        line: u64,
        /// What was expected, and what was there.
        message: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io { file, error } => write!(f, "{file}: cannot be read: {error}"),
            ReadError::Line { file, line, message } => write!(f, "{file}:{line}: {message}"),
        }
    }
}

impl std::error::Error for ReadError {}
