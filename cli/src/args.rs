//! The command line: commands, flags, and the examples that `--help` shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use wavetank_linearizability::read::Kind;
use wavetank_linearizability::txn::Level;
use wavetank_models::validation::MODELS;
use wavetank_zoo::hunt::By;
use wavetank_zoo::validation::Models;

use crate::values::{
    BoundsName, Faults, FlawName, ProfileName, Require, SeedOrPlan, Seeds, Shard, Workloads, meant,
};

/// Tests a Kafka-compatible broker core in seeded storms, replays failures, and serves the same
/// core to real clients.
#[derive(Debug, Parser)]
#[command(
    name = "wavetank",
    version,
    after_help = "\
Examples:
  wavetank hunt                  run 1,000 seeded storms and give a verdict
  wavetank replay 42 --trace     run one of them again and print every event
  wavetank COMMAND --help        help and examples for a command

Exit code: 0 all held, 1 a violation was found, 2 usage or environment error."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run seeded storms and give a verdict
    Hunt(HuntArgs),
    /// Run one seed or plan again and explain the result
    Replay(ReplayArgs),
    /// Run one seed or plan on real processes and compare with the tank
    Reenact(ReenactArgs),
    /// The bug zoo: what the tank finds when a safety rule is disabled
    Zoo(ZooArgs),
    /// Check models of the protocols exhaustively
    Model(ModelArgs),
    /// Run lessons and print their timelines
    Scenario(ScenarioArgs),
    /// Judge a history
    Check(CheckArgs),
    /// Serve the broker to Kafka clients
    Serve(ServeArgs),
    /// Render REPORT.md from saved result files
    Report(ReportArgs),
}

/// `wavetank hunt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank hunt                             seeds 0..1000 of the default profile
  wavetank hunt --seeds 5000..6000          a half-open range
  wavetank hunt --for 10m                   new seeds until the time is up
  wavetank hunt --faults crash,power_loss   only these kinds of faults
  wavetank hunt --shard 2/8                 the second of eight parts of the seeds
  wavetank hunt --flaw ack-before-flush     disable a safety rule: is it detected?
  wavetank hunt --validate M1,M3,M7         validate each run against these models
  wavetank hunt --require ops=100000,bit=partition,marks=all
                                            fail if less than this was tested
  wavetank hunt --json -                    the result as one JSON object on standard output

Fields of the summary:
  weak          seeds that held but tested too little: almost nothing was acknowledged, most records
                failed, no fault fired, or a mark that the plan declares was not reached
  compared      outcomes (acknowledgements, reads, answers) checked against what was promised
  faults        fired of planned; a fault took effect if it did what it is for (a partition that
                blocked no message did not)
  marks         states that storms must reach to test much (an election, a torn tail, ...)
  no violation  records lost or duplicated without breaking a promise: acks=all without
                flush.messages=1 allows a loss if faults destroyed every copy on disk

Ctrl-C stops a hunt after the running seeds; the partial result is printed and saved.

Exit code: 0 all held, 1 a violation was found, or too little was tested (nothing was compared, no
fault fired, less than --require, or a mark that no seed of a large hunt reached), 2 usage or
environment error.")]
pub struct HuntArgs {
    /// The number of seeds, from 0, or a half-open range
    #[arg(long, value_name = "N or A..B")]
    pub seeds: Option<Seeds>,
    /// Start no new seed after this time (`90s`, `10m`, `1h`); without --seeds, seeds never run out
    #[arg(long = "for", value_name = "TIME", value_parser = crate::values::parse_duration)]
    pub time: Option<Duration>,
    /// Number of threads; each runs one seed at a time [default: one per CPU]
    #[arg(short, long, value_name = "J", value_parser = crate::values::parse_jobs)]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// The profile that seeds draw their plans from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Only these kinds of faults, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// Only producers with these acks, comma-separated: acks=all, acks=1, acks=0
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Only the i-th of n equal parts of the seeds, counted from 1
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// Disable this safety rule on every node (`wavetank zoo list` names them)
    #[arg(long, value_name = "F")]
    pub flaw: Vec<FlawName>,
    /// Validate each run against these models, step by step, comma-separated: M1, M3, M7
    #[arg(long, value_name = "LIST", value_parser = models)]
    pub validate: Option<Models>,
    /// Minimums, comma-separated: ops=N outcomes compared, faults=N faults fired, bit=KIND a fault
    /// of this kind took effect, marks=NAME or marks=all reached
    #[arg(long, value_name = "GATES")]
    pub require: Option<Require>,
    /// Write the result as JSON; `-` is standard output, which then holds nothing else
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `wavetank replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank replay 42                        the same run again, and its fingerprint
  wavetank replay 42 --trace --until 31.5   every event until 31.5 s of virtual time
  wavetank replay 42 --save-plan plan.json  save the seed's plan, to edit it
  wavetank replay plan.json                 run a plan
  wavetank replay 42 --flaw early-isr-join  the seed's plan, a safety rule disabled
  wavetank replay 42 --twice                run it twice; print the first difference
  wavetank replay 42 --history out.jsonl    save the history, for `wavetank check`
  wavetank replay 42 --keep-going           continue after a violation

A run is weak if it held but tested too little: see wavetank hunt --help.

Exit code: 0 all held, 1 a violation was found, the two runs differed, or a complete run tested
nothing, 2 usage or environment error.")]
pub struct ReplayArgs {
    /// A seed of the profile, or a file with a plan
    #[arg(value_name = "SEED or PLAN")]
    pub what: SeedOrPlan,
    /// The profile that the seed draws its plan from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// The kinds of faults that the hunt was limited to, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// The workloads that the hunt was limited to, comma-separated
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Disable this safety rule on every node (`wavetank zoo list` names them)
    #[arg(long, value_name = "F")]
    pub flaw: Vec<FlawName>,
    /// Validate the run against these models, step by step, comma-separated: M1, M3, M7
    #[arg(long, value_name = "LIST", value_parser = models)]
    pub validate: Option<Models>,
    /// Print every event, one line each
    #[arg(long)]
    pub trace: bool,
    /// Stop at this virtual time, in seconds
    #[arg(long, value_name = "T", value_parser = crate::values::parse_virtual)]
    pub until: Option<u64>,
    /// Continue to the end of the plan after a violation
    #[arg(long)]
    pub keep_going: bool,
    /// Write what the clients did and saw, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Run it twice and compare event by event
    #[arg(long)]
    pub twice: bool,
    /// Write the plan and do not run it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "history", "twice", "json"])]
    pub save_plan: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long, conflicts_with_all = ["trace", "twice"])]
    pub json: bool,
}

/// `wavetank reenact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank reenact 42                       the seed's plan on `serve` processes, in real time
  wavetank reenact plan.json                a plan written by --save-plan
  wavetank reenact 42 --faults crash,pause  only these kinds of faults
  wavetank reenact 42 --keep                keep the processes' data, logs and notes

A crash is SIGKILL, a restart SIGTERM, a pause SIGSTOP; a proxy between the processes causes
partitions, delays and losses. Faults that cannot be played on a live machine (power losses, failing
disks, wrong clocks) are removed from both runs, and counted.

Exit code: 0 both sides agree and hold, 1 a violation was found or the sides disagree, 2 nothing was
tested, or usage or environment error.")]
pub struct ReenactArgs {
    /// A seed of the profile, or a file with a plan
    #[arg(value_name = "SEED or PLAN")]
    pub what: SeedOrPlan,
    /// The profile that the seed draws its plan from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Only these kinds of faults, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// Only producers with these acks, comma-separated: acks=all, acks=1, acks=0
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Start nodes with this program instead; it must accept --data, --config and --notes
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Keep the processes' files even if all held
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `wavetank model`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank model list                      the models and their flawed variants
  wavetank model check all                 correct protocols must hold, flawed variants fail
  wavetank model check isr --flaw early-isr-join
                                           a shortest counterexample, step by step
  wavetank model check isr --flaw early-isr-join --plan plan.json
                                           save a plan, too, for wavetank replay plan.json
  wavetank model check all --flaw leader-resumes-epoch
                                           this variant of each model that has it
  wavetank model explore isr --flaw truncate-to-high-watermark
                                           explore this variant in a browser

Exit code: 0 all as expected, 1 a correct protocol failed or a flawed variant held, 2 usage or
environment error. `check --flaw` expects a violation: 1 it was found, 2 it was not found, or the
correct protocol fails in as few steps, or --plan found no plan.")]
pub struct ModelArgs {
    /// What to do; none lists
    #[command(subcommand)]
    pub command: Option<ModelCommand>,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// List the models and their variants
    List {
        /// Print JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Explore models exhaustively: correct protocols must hold, flawed variants must fail
    #[command(after_help = "\
Exit code without --flaw: 0 each correct protocol holds (in its expected number of states) and each
flawed variant fails where the correct protocol holds, 1 otherwise, 2 usage or environment error.

Exit code with --flaw: 1 each flawed variant fails where the correct protocol holds, and the plan,
if requested, is written; 2 a flawed variant holds within the bounds, or the correct protocol fails
in as few steps, or no plan reproduces the counterexample, or usage or environment error.")]
    Check {
        /// A model's id or name, or `all`
        #[arg(value_name = "MODEL")]
        model: String,
        /// Check only the variant with this flaw, and print its counterexample; with `all`, in each
        /// model that has it
        #[arg(long, value_name = "F")]
        flaw: Option<String>,
        /// How much to explore: small, full or large
        #[arg(long, value_name = "B", default_value = "full")]
        bounds: BoundsName,
        /// With --flaw: write a plan under which the broker breaks a promise with the flaw, and
        /// none without it; with `all`, for the first model that yields one
        #[arg(long, value_name = "FILE", requires = "flaw", conflicts_with = "json")]
        plan: Option<PathBuf>,
        /// Print JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Serve stateright's explorer, a web page, on this machine
    Explore {
        /// A model's id or name
        #[arg(value_name = "MODEL")]
        model: String,
        /// Explore the variant with this flaw
        #[arg(long, value_name = "F")]
        flaw: Option<String>,
        /// The port on 127.0.0.1
        #[arg(long, value_name = "P", default_value_t = 3000, value_parser = explorer_port)]
        port: u16,
    },
}

/// Refuses port 0 (any free one): the explorer's server binds by itself and does not report the
/// port, so nobody could open it.
fn explorer_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err("the explorer does not report its port; name one from 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
        Err(error) => Err(format!("{error}; name a port from 1 to 65535")),
    }
}

/// `wavetank zoo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank zoo list                                  the flaws, their stories and sources
  wavetank zoo hunt                                  hunt each flaw until it is found
  wavetank zoo hunt ack-before-flush --max-seeds 500
  wavetank zoo hunt early-isr-join --ranges 3 --json the median over three ranges of seeds
  wavetank zoo hunt torn-tail-accepted --by history  until the clients' history alone shows it")]
pub struct ZooArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ZooCommand>,
}

/// A subcommand of `wavetank zoo`.
#[derive(Debug, Subcommand)]
pub enum ZooCommand {
    /// List every flaw, with its story and source
    List {
        /// Print JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Hunt flaws until they are found; exit 1 if one is not
    Hunt {
        /// The flaws; none means all
        #[arg(value_name = "FLAW")]
        flaws: Vec<FlawName>,
        /// What counts as detected: `anyone` a client or the ledger, `history` the clients alone
        #[arg(long, value_name = "WHO", default_value = "anyone", value_parser = by)]
        by: By,
        /// Hunt in this many ranges of seeds and report the median
        #[arg(long, value_name = "R", default_value = "1", value_parser = crate::values::parse_count::<1_000>)]
        ranges: std::num::NonZeroU64,
        /// Give up after this many seeds in a range
        #[arg(long, value_name = "N", default_value = "2000", value_parser = crate::values::parse_count::<10_000_000>)]
        max_seeds: std::num::NonZeroU64,
        /// Number of threads [default: one per CPU]
        #[arg(short, long, value_name = "J", value_parser = crate::values::parse_jobs)]
        jobs: Option<std::num::NonZeroUsize>,
        /// Print JSON and nothing else
        #[arg(long)]
        json: bool,
    },
}

/// `wavetank scenario`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank scenario list
  wavetank scenario show acks-1-loses    its story, and a timeline of each run
  wavetank scenario run                  run all and compare with the expected outcomes")]
pub struct ScenarioArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ScenarioCommand>,
}

/// A subcommand of `wavetank scenario`.
#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// List every scenario
    List,
    /// Run scenarios and compare with their expected outcomes
    Run {
        /// The scenarios; none means all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Print a scenario's story and timeline
    Show {
        /// The scenario
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `wavetank check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank replay 42 --history out.jsonl
  wavetank check out.jsonl --complete
  wavetank check store/latest/history.edn --html judged.html
  wavetank check histories/                 a table, one line for each file

Exit code: 0 valid, 1 not valid, 2 unknown or unreadable, or usage or environment error. For several
histories, 1 if any is not valid, else 2 if any is unknown or unreadable.")]
pub struct CheckArgs {
    /// Histories, or folders of them: wavetank's JSON lines or Jepsen's EDN; `-` is standard input
    #[arg(value_name = "HISTORY", required = true)]
    pub history: Vec<PathBuf>,
    /// The kind of history: log, register, kv, mutex, queue, append-log, list-append [default:
    /// detected from the first operations]
    #[arg(long, value_name = "M", value_parser = kind)]
    pub model: Option<Kind>,
    /// Logs: the history ends with a read of everything; records not in it are lost
    #[arg(long)]
    pub complete: bool,
    /// Logs: producers are idempotent, so duplicates and reordered sends are violations
    #[arg(long)]
    pub idempotent: bool,
    /// Logs: readers see records of transactions that are not committed
    #[arg(long)]
    pub read_uncommitted: bool,
    /// Lists: the consistency level that transactions promise
    #[arg(long, value_name = "L", default_value = "strict-serializable", value_parser = level)]
    pub level: Level,
    /// Objects: give up on a history after this much time (`90s`, `10m`)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = crate::values::parse_duration)]
    pub limit: Duration,
    /// Write the findings as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON object (a list for several histories) and nothing else
    #[arg(long)]
    pub json: bool,
}

fn models(list: &str) -> Result<Models, String> {
    list.parse().map_err(|error| format!("{error}; write --validate {}", MODELS.join(",")))
}

fn by(name: &str) -> Result<By, String> {
    match name {
        "anyone" => Ok(By::Anyone),
        "history" => Ok(By::History),
        _ => Err("expected anyone or history".to_owned()),
    }
}

fn level(name: &str) -> Result<Level, String> {
    let known = Level::ALL.into_iter().find(|level| level.name() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
        format!("there is no such level{}; known: {}", meant(name, &names), names.join(", "))
    })
}

fn kind(name: &str) -> Result<Kind, String> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    name.parse::<Kind>().map_err(|error| format!("{error}{}", meant(name, &names)))
}

/// `wavetank serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank serve                                 one node on 127.0.0.1:9092, data in ./wavetank-data
  wavetank serve --listen 127.0.0.1:0            any free port; the ready line names it
  wavetank serve --config a.toml --format        the first start of one of three nodes; the
                                                 cluster.id is the same in all their files
  wavetank serve --config a.toml                 each later start

Producers must disable idempotence, which many enable by default: enable.idempotence=false (Java
since 3.0, kafka-python since 3, aiokafka; librdkafka if you enabled it), Idempotent = false
(Sarama). Consumer groups and transactions are not supported yet: consumers must use assign() and
set enable.auto.commit=false (librdkafka enables it by default).

The log goes to stderr. WAVETANK_LOG=debug logs more (the default is info).")]
pub struct ServeArgs {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The address where clients and other nodes connect
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// A TOML file; flags override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Format an empty data directory; needed once, at the first start of a node of a cluster
    #[arg(long)]
    pub format: bool,
    /// The cluster's id, the same for all of its nodes [default: cluster.id in the file, the id in
    /// the data directory, or a new one for a single node]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// Append the core's trace of its protocols to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub notes: Option<PathBuf>,
}

/// `wavetank report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wavetank report                      render ci/results/*.json into REPORT.md
  wavetank report -o -                 print it
  wavetank report --check              exit 1 if REPORT.md does not match the results
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
