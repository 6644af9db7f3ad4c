//! Judges a history of a partitioned log, read from JSON lines: the file that is named, or one in
//! which an acknowledged record is lost.
//!
//! ```sh
//! cargo run --release -p wavetank-linearizability --example judge_a_history [FILE]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use wavetank_linearizability::log::{Options, check};
use wavetank_linearizability::{History, json};

/// Process 1 sends 7 and 8. Both are acknowledged, but process 2 reads past offset 0 without
/// getting 7.
const LOST: &str = r#"
{"type":"invoke","f":"send","process":1,"time":100,"op":0,"partition":"orders-0","value":7,"acks":-1}
{"type":"ok","f":"send","process":1,"time":200,"op":0,"offset":0}
{"type":"invoke","f":"send","process":1,"time":300,"op":1,"partition":"orders-0","value":8,"acks":-1}
{"type":"ok","f":"send","process":1,"time":400,"op":1,"offset":1}
{"type":"ok","f":"assign","process":2,"time":450,"positions":{"orders-0":0}}
{"type":"ok","f":"poll","process":2,"time":500,"records":{"orders-0":[[1,0,8]]}}
"#;

fn read(name: &str, input: impl BufRead) -> Result<History, Box<dyn Error>> {
    Ok(json::read(name, input)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let history = match std::env::args().nth(1) {
        Some(file) => read(&file, BufReader::new(File::open(&file)?))?,
        None => read("the built-in history", LOST.as_bytes())?,
    };
    let verdict = check(&history, &Options { complete: true, ..Options::default() })?;
    println!("{verdict}");
    Ok(())
}
