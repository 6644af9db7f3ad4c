//! The command line: commands, flags, and the examples that `--help` shows.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Runs a Kafka-compatible broker core through seeded storms, replays what went wrong, and serves
/// the same core to real clients.
#[derive(Debug, Parser)]
#[command(
    name = "wavetank",
    version,
    propagate_version = true,
    after_help = "Exit code: 0 all held, 1 a violation was found, 2 usage or environment error."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Render REPORT.md from saved result files
    Report(ReportArgs),
}

/// `wavetank report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank report                      render ci/results/*.json into REPORT.md
  wavetank report -o -                 print it
  wavetank report --check              exit 1 if REPORT.md is not what the results say
  ci/record NAME KIND TITLE -- COMMAND run a command and save its JSON as a result")]
pub struct ReportArgs {
    /// The folder of result files
    #[arg(long, value_name = "DIR", default_value = "ci/results")]
    pub results: PathBuf,
    /// Where to write; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "REPORT.md")]
    pub output: PathBuf,
    /// Write nothing; exit 1 if the file differs from what would be written
    #[arg(long)]
    pub check: bool,
}
