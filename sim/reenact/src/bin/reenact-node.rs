//! A node that can leave safety rules out, to test the tests. It runs what `wavetank serve` runs,
//! plus `--flaw NAME`, which `serve` does not have and must not have.

use std::process::ExitCode;

use wavetank_core::flaw::{Flaw, FlawSet};
use wavetank_server::{ServeOptions, serve_without};

const USAGE: &str =
    "usage: reenact-node [--flaw NAME]... --data DIR --config FILE [--format] [--notes FILE]";

fn main() -> ExitCode {
    let (rules, options) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(problem) => {
            eprintln!("error: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve_without(rules, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(FlawSet, ServeOptions), String> {
    let (mut flaws, mut options) = (Vec::new(), ServeOptions::default());
    while let Some(flag) = arguments.next() {
        if flag == "--format" {
            options.format = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--flaw" => {
                let flaw = Flaw::from_name(&value);
                flaws.push(
                    flaw.ok_or_else(|| {
                        format!("unknown flaw {value}; wavetank zoo list shows all")
                    })?,
                );
            }
            "--data" => options.data = Some(value.into()),
            "--config" => options.config = Some(value.into()),
            "--notes" => options.notes = Some(value.into()),
            other => return Err(format!("unknown flag: {other}")),
        }
    }
    Ok((flaws.into_iter().collect(), options))
}
