//! A real client against real nodes: sends numbered lines through librdkafka with a SIGKILL in the
//! middle, and checks what comes back. Prints figures; exits 1 if a promise was broken, 2 if the
//! run could not be made.
//!
//! Nodes are processes of the `wavetank` command (`cluster`); `judge` judges what was sent,
//! acknowledged and read. The script `run` drives the other clients (kcat, kafka-python).

mod client;
mod cluster;
mod judge;

use std::path::PathBuf;
use std::time::Instant;

use client::Line;
use cluster::Cluster;

/// A problem with the run itself, not with what it found.
type Trouble = Box<dyn std::error::Error>;

const USAGE: &str = "usage: wavetank-ci-clients WAVETANK_BINARY WORK_DIR [LINES]
Runs the numbered lines against one node that is killed and restarted, then against three nodes
whose partition leader is killed. WORK_DIR is emptied; the first node's data stay in WORK_DIR/one.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (binary, work, lines) = match args.as_slice() {
        [binary, work] => (binary, work, Some(200_000)),
        [binary, work, lines] => (binary, work, lines.parse::<u32>().ok()),
        _ => usage(),
    };
    let Some(lines) = lines.filter(|lines| *lines > 0) else { usage() };
    match run(&PathBuf::from(binary), &PathBuf::from(work), lines) {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(trouble) => {
            eprintln!("the run failed: {trouble}");
            std::process::exit(2);
        }
    }
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2);
}

fn run(binary: &std::path::Path, work: &std::path::Path, lines: u32) -> Result<bool, Trouble> {
    if work.exists() {
        std::fs::remove_dir_all(work)?;
    }
    std::fs::create_dir_all(work)?;
    let one = Cluster::start(binary, work, 1)?;
    let held_by_one = scenario("one node, killed and restarted", one, lines)?;
    let three = Cluster::start(binary, work, 3)?;
    let held_by_three = scenario("three nodes, leader killed and restarted", three, lines)?;
    Ok(held_by_one && held_by_three)
}

/// Sends lines with acks=all and one request in flight. The partition's leader is killed after a
/// third of them and comes back two seconds later, on the same data and port.
fn scenario(name: &str, mut cluster: Cluster, lines: u32) -> Result<bool, Trouble> {
    println!("== {name}: {lines} lines");
    let addresses = cluster.addresses();
    client::create_topic(&addresses, cluster.size())?;
    let start = Instant::now();
    let mut killed = None;
    let outcome = client::produce(&addresses, lines, |acknowledged| {
        match killed {
            None if acknowledged >= lines / 3 => {
                let leader = client::leader(&addresses)?;
                cluster.kill(leader)?;
                println!("   killed node {leader} after {acknowledged} acknowledged lines");
                killed = Some((leader, Instant::now(), false));
            }
            Some((leader, at, false)) if at.elapsed().as_secs() >= 2 => {
                cluster.restart(leader)?;
                killed = Some((leader, at, true));
            }
            _ => {}
        }
        Ok(())
    })?;
    let took = start.elapsed();
    if let Some((leader, _, false)) = killed {
        cluster.restart(leader)?;
    }
    let (leader, ..) = killed.ok_or("all lines were acknowledged before a node was killed")?;
    cluster.wait_ready(leader)?;
    let read: Vec<Line> = client::consume(&addresses)?;
    let verdict = judge::judge(&outcome.lines, &read);
    println!(
        "   {} acknowledged, {} not; {} read, {} duplicates; longest wait for an \
         acknowledgement {:.1} s; {:.0} lines/s in all",
        verdict.acknowledged,
        verdict.refused,
        read.len(),
        verdict.duplicates,
        outcome.longest_silence.as_secs_f64(),
        f64::from(lines) / took.as_secs_f64(),
    );
    for broken in &verdict.broken {
        println!("   BROKEN: {broken}");
    }
    let stopped = cluster.stop()?;
    println!("   graceful stop: {stopped}");
    let held = verdict.broken.is_empty() && verdict.refused == 0;
    println!("   {}", if held { "held" } else { "NOT HELD" });
    Ok(held)
}
