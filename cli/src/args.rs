//! The command line: commands, flags, and the examples that `--help` shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use wavetank_linearizability::read::Kind;
use wavetank_linearizability::txn::Level;
use wavetank_sim::zoo::By;

use crate::values::{
    BoundsName, Faults, FlawName, ProfileName, Require, SeedOrPlan, Seeds, Shard, Workloads, meant,
};

/// Runs a Kafka-compatible broker core through seeded storms, replays what went wrong, and serves
/// the same core to real clients.
#[derive(Debug, Parser)]
#[command(
    name = "wavetank",
    version,
    after_help = "\
Examples:
  wavetank hunt                  1,000 seeded storms, and a verdict
  wavetank replay 42 --trace     one of them again, explained
  wavetank COMMAND --help        examples of a command

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
    /// Run one seed or plan again, explained
    Replay(ReplayArgs),
    /// Play one seed or plan on real processes, and compare with the tank
    Reenact(ReenactArgs),
    /// The bug zoo: what the tank finds when a safety rule is left out
    Zoo(ZooArgs),
    /// Models of the protocols, explored to the end
    Model(ModelArgs),
    /// Lessons and regressions, with their timelines
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
  wavetank hunt --for 10m                   seed after seed until the time is over
  wavetank hunt --faults crash,power_loss   only these kinds of faults
  wavetank hunt --shard 2/8                 the second eighth of the seeds, for a fleet
  wavetank hunt --flaw ack-before-flush     leave a safety rule out: is it found?
  wavetank hunt --conform M1,M3,M7          hold each run against these models, step by step
  wavetank hunt --require ops=100000,bit=partition,marks=all
                                            fail a hunt that tested less
  wavetank hunt --json -                    the result as one JSON object on standard output

What the summary says:
  weak          seeds that held but prove little: nearly nothing was acknowledged, most of it was
                refused, no fault struck, or a mark that the plan declares was not reached
  compared      outcomes (acknowledgements, reads, answers) held against what was promised
  faults        how many struck of those that were planned; one takes effect when it does what it is
                there for: a partition that held no message back did not
  marks         states that storms must reach to be worth anything (an election, a torn tail, ...)
  no violation  what was lost or doubled within the promises: with all copies, when faults took a
                record from each disk that had it, as acks=all without flush.messages=1 allows

Ctrl-C ends a hunt after the seeds under way; it says and saves what it has.

Exit code: 0 all held, 1 a violation was found, or less was tested than must be (a hunt in which nothing
was compared or no fault struck, gates of --require, a mark that no seed of a large hunt reached),
2 usage or environment error.")]
pub struct HuntArgs {
    /// How many seeds from 0 on, or a half-open range
    #[arg(long, value_name = "N or A..B")]
    pub seeds: Option<Seeds>,
    /// Go on until this much time has passed (`90s`, `10m`, `1h`); starts at --seeds' first
    #[arg(long = "for", value_name = "TIME", value_parser = crate::values::parse_duration)]
    pub time: Option<Duration>,
    /// Threads, one seed each at a time [default: the machine's]
    #[arg(short, long, value_name = "J", value_parser = crate::values::parse_jobs)]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// The family of plans that seeds draw from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Only these kinds of faults, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// Only producers with these promises, comma-separated: acks=all, acks=1, acks=0
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Only the i-th of n equal parts of the seeds, counted from 1
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// Build every node without this safety rule (`wavetank zoo list` names them)
    #[arg(long, value_name = "F")]
    pub flaw: Vec<FlawName>,
    /// Hold each run against these models, step by step, comma-separated: M1, M3, M7
    #[arg(long, value_name = "LIST")]
    pub conform: Option<crate::conform::Models>,
    /// The least that must have been tested, comma-separated: ops=N outcomes compared, faults=N
    /// struck, bit=KIND took effect, marks=NAME or marks=all reached
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
  wavetank replay 42 --trace --until 31.5   every step until 31.5 s of virtual time
  wavetank replay 42 --save-plan plan.json  the plan that the seed draws, to be edited
  wavetank replay plan.json                 run a plan
  wavetank replay 42 --flaw early-isr-join  the seed's plan without a safety rule
  wavetank replay 42 --twice                run it twice; name the first event that differs
  wavetank replay 42 --history out.jsonl    what the clients did and saw, for `wavetank check`
  wavetank replay 42 --keep-going           on after a broken promise: what else comes of it?

A run is weak if it held but tested too little: see wavetank hunt --help.

Exit code: 0 all held, 1 a violation was found, two runs differed, or a run to its end tested nothing,
2 usage or environment error.")]
pub struct ReplayArgs {
    /// A seed of the profile, or a file with a plan
    #[arg(value_name = "SEED or PLAN")]
    pub what: SeedOrPlan,
    /// The family of plans that the seed draws from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// The kinds of faults that the hunt was limited to, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// The workloads that the hunt was limited to, comma-separated
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Build every node without this safety rule (`wavetank zoo list` names them)
    #[arg(long, value_name = "F")]
    pub flaw: Vec<FlawName>,
    /// Hold the run against these models, step by step, comma-separated: M1, M3, M7
    #[arg(long, value_name = "LIST")]
    pub conform: Option<crate::conform::Models>,
    /// Print every event, one line each
    #[arg(long)]
    pub trace: bool,
    /// Stop at this virtual time, in seconds
    #[arg(long, value_name = "T", value_parser = crate::values::parse_virtual)]
    pub until: Option<u64>,
    /// Go on after a promise to clients is broken, to the end of the plan
    #[arg(long)]
    pub keep_going: bool,
    /// Write what the clients did and saw, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Run it twice and compare event by event
    #[arg(long)]
    pub twice: bool,
    /// Write the plan, do not run it
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
  wavetank reenact plan.json                a plan that --save-plan wrote
  wavetank reenact 42 --faults crash,pause  only these kinds of faults
  wavetank reenact 42 --keep                keep the processes' data, logs and notes

A crash is SIGKILL, a restart SIGTERM, a pause SIGSTOP; a proxy between all of them makes partitions,
delays and losses. What a machine cannot do to itself (power losses, failing disks, wrong clocks) is
left out and counted, for the tank's run, too.

Exit code: 0 both sides agree and hold, 1 a violation was found, 2 nothing was tested, or usage or
environment error.")]
pub struct ReenactArgs {
    /// A seed of the profile, or a file with a plan
    #[arg(value_name = "SEED or PLAN")]
    pub what: SeedOrPlan,
    /// The family of plans that the seed draws from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Only these kinds of faults, comma-separated
    #[arg(long, value_name = "LIST")]
    pub faults: Option<Faults>,
    /// Only producers with these promises, comma-separated: acks=all, acks=1, acks=0
    #[arg(long, value_name = "LIST")]
    pub workload: Option<Workloads>,
    /// Start nodes with this program instead, which takes --data, --config and --notes
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Keep what the processes wrote even if all is well
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
  wavetank model list                      the models and their wrong variants
  wavetank model check all                 each right protocol holds, each wrong one fails
  wavetank model check isr --flaw early-isr-join
                                           a shortest way to the loss, step by step
  wavetank model check isr --flaw early-isr-join --plan plan.json
                                           a plan, too, for wavetank replay plan.json
  wavetank model check all --flaw leader-resumes-epoch
                                           in each model that has this variant
  wavetank model explore isr --flaw truncate-to-high-watermark
                                           walk there in a browser

Exit code: 0 all is as it must be, 1 a right protocol failed or a wrong one held, 2 usage or
environment error. `check --flaw` is there to see a violation: 1 it was found (it always must be), 2 it
was not, or the right protocol fails as soon, or --plan has no plan to write.")]
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
    /// Explore models to the end: right ones must hold, wrong ones must fail
    #[command(after_help = "\
Exit code without --flaw: 0 each right protocol holds (in as many states as ever) and each wrong one
fails where the right one holds, 1 one of them does not, 2 usage or environment error.

Exit code with --flaw: 1 each wrong protocol fails where the right one holds, and the plan, if one is
asked for, is written; 2 a wrong one holds within the bounds, or the right one fails in as few steps, or
there is no plan of the counterexample, or usage or environment error.")]
    Check {
        /// A model's id or name; `all` means all
        #[arg(value_name = "MODEL")]
        model: String,
        /// Only the variant without this rule, with its counterexample; of `all`, where there is
        /// one
        #[arg(long, value_name = "F")]
        flaw: Option<String>,
        /// How far: small, full or large
        #[arg(long, value_name = "B", default_value = "full")]
        bounds: BoundsName,
        /// With --flaw: write a plan by which the broker breaks a promise with the flaw, and keeps
        /// all without; of `all`, the first model's that has one
        #[arg(long, value_name = "FILE", requires = "flaw", conflicts_with = "json")]
        plan: Option<PathBuf>,
        /// Print JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Open stateright's explorer, a web page, on this machine
    Explore {
        /// A model's id or name
        #[arg(value_name = "MODEL")]
        model: String,
        /// The variant without this rule
        #[arg(long, value_name = "F")]
        flaw: Option<String>,
        /// The port on 127.0.0.1, from 1 on
        #[arg(long, value_name = "P", default_value_t = 3000, value_parser = explorer_port)]
        port: u16,
    },
}

/// Refuses port 0 (any free one): the explorer's server binds by itself and does not report the
/// port, so nobody could open it.
fn explorer_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err("nobody would learn which port it got; name one from 1 to 65535".to_owned()),
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
  wavetank zoo hunt torn-tail-accepted --by history  until the clients themselves could tell")]
pub struct ZooArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ZooCommand>,
}

/// A subcommand of `wavetank zoo`.
#[derive(Debug, Subcommand)]
pub enum ZooCommand {
    /// Name every flaw, with its story and source
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
        /// Whose complaint counts: anyone's (a client's or the ledger's), or the clients' history's
        #[arg(long, value_name = "WHO", default_value = "anyone", value_parser = by)]
        by: By,
        /// Hunt in so many ranges of seeds and report the median
        #[arg(long, value_name = "R", default_value = "1", value_parser = crate::values::parse_count::<1_000>)]
        ranges: std::num::NonZeroU64,
        /// Give up after so many seeds in a range
        #[arg(long, value_name = "N", default_value = "2000", value_parser = crate::values::parse_count::<10_000_000>)]
        max_seeds: std::num::NonZeroU64,
        /// Threads [default: the machine's]
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
  wavetank scenario show acks-1-loses    the story and what happened, line by line
  wavetank scenario run                  run all and compare with what each promises")]
pub struct ScenarioArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ScenarioCommand>,
}

/// A subcommand of `wavetank scenario`.
#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// Name every scenario
    List,
    /// Run scenarios and compare their outcomes with what they promise
    Run {
        /// The scenarios; none means all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Tell a scenario's story and print its timeline
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

Exit code: 0 valid, 1 not valid, 2 unknown or unreadable, or usage or environment error. Of several
histories, 1 if any is not valid, else 2 if any is unknown or unreadable.")]
pub struct CheckArgs {
    /// Histories, or folders of them: wavetank's JSON lines or Jepsen's EDN; `-` is standard input
    #[arg(value_name = "HISTORY", required = true)]
    pub history: Vec<PathBuf>,
    /// What they are of: log, register, kv, mutex, queue, append-log, list-append [default: what
    /// their first operations tell]
    #[arg(long, value_name = "M", value_parser = kind)]
    pub model: Option<Kind>,
    /// Logs: the history ends with a read of everything, and what is not in it is lost
    #[arg(long)]
    pub complete: bool,
    /// Logs: producers are idempotent, and duplicates and reordered sends are violations
    #[arg(long)]
    pub idempotent: bool,
    /// Logs: readers see records of transactions that are not committed
    #[arg(long)]
    pub read_uncommitted: bool,
    /// Lists: what transactions promise
    #[arg(long, value_name = "L", default_value = "strict-serializable", value_parser = level)]
    pub level: Level,
    /// Objects: give up after this much time for a history (`90s`, `10m`)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = crate::values::parse_duration)]
    pub limit: Duration,
    /// Draw what was found as a page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON object (of several histories, a list) and nothing else
    #[arg(long)]
    pub json: bool,
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
  wavetank serve --config a.toml --format        the first start of one of three nodes, whose file has
                                                 the cluster.id that is the same for all
  wavetank serve --config a.toml                 each later start

Producers must switch idempotence off, which many have on by default: enable.idempotence=false (Java
since 3.0, kafka-python since 3, aiokafka; librdkafka where it was switched on), Idempotent = false
(Sarama). Consumer groups and transactions are not served yet: consumers use assign(), and
enable.auto.commit=false, which librdkafka has on by default.

The log goes to stderr. WAVETANK_LOG=debug says more (info is the default).")]
pub struct ServeArgs {
    /// Where the node keeps its files
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where clients and other nodes connect
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// A TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take an empty data directory for this node: once, at the first start of a cluster's node
    #[arg(long)]
    pub format: bool,
    /// The cluster that the node belongs to; the same for all of its nodes [default: cluster.id in
    /// the file, what the data directory says, or for a node alone a new one]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// Append what the core notes of its protocols to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub notes: Option<PathBuf>,
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
