//! What is wrong with a file.

use std::fmt;
use std::io;

/// Why a file is not a history.
#[derive(Debug)]
pub enum ReadError {
    /// It could not be read.
    Io {
        /// The file, as the caller named it.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A line is not what it should be.
    Line {
        /// The file, as the caller named it.
        file: String,
        /// From 1.
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
