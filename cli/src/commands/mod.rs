//! One module a command: read the arguments, call the library, say what came of it.

pub mod report;
