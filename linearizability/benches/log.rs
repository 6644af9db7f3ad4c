//! How many records per second the log checker gets through: `cargo bench -p
//! wavetank-linearizability --bench log [-- --json]`. A record counts once, though it is sent and
//! read.

// Each bench uses a part of it.
#[allow(dead_code)]
mod common;

use common::{rounded, wants_json};
use serde_json::json;

use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{Acks, History, Loss, OpId, Polled, Value, json as lines};

/// `records` records over eight partitions, sent and read by `clients` clients each, and
/// acknowledged a few sends later. Each record is read once in all, by polls of twenty.
fn history(records: u64, clients: u32, losses: bool) -> History {
    const PARTITIONS: u64 = 8;
    let mut history = History::new();
    let partitions: Vec<_> =
        (0..PARTITIONS).map(|i| history.partition(&format!("orders-{i}"))).collect();
    let mut open: Vec<(OpId, i64)> = Vec::new();
    let mut unread: Vec<Vec<Polled>> = vec![Vec::new(); partitions.len()];
    for value in 0..records {
        let index = (value % PARTITIONS) as usize;
        let (partition, offset) = (partitions[index], (value / PARTITIONS) as i64);
        let process = (value * 7 % u64::from(clients)) as u32;
        let time = value * 1000;
        let send = history.send(process, time, partition, Value::number(value), Acks::All);
        open.push((send, offset));
        if open.len() > 20 {
            let (send, offset) = open.remove(3);
            history.acknowledge(send, time, Some(offset), Some(0));
        }
        unread[index].push(Polled { partition, offset, epoch: 0, value: Value::number(value) });
        if unread[index].len() == 20 {
            let reader = clients + index as u32 % clients;
            history.poll(reader, time, &unread[index]);
            unread[index].clear();
        }
    }
    if losses {
        // Losses beyond all records: they show what losses cost although they excuse nothing.
        for partition in partitions {
            for epoch in 1..4 {
                history.admit(Loss { partition, offset: i64::MAX / 2, epoch, time: 0 });
            }
        }
    }
    history
}

/// Seconds that this process has been on a CPU, so that a busy machine counts less.
fn cpu_seconds() -> f64 {
    let file = "/proc/self/schedstat";
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{file}, which Linux has, cannot be read: {error}"));
    let nanos = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanos.unwrap_or_else(|| panic!("{file} does not start with a number: {text}")) / 1e9
}

/// One measurement.
struct Row {
    what: &'static str,
    records: u64,
    clients: u32,
    rate: f64,
    seconds: f64,
}

/// The best of three.
fn judged(records: u64, clients: u32, losses: bool) -> Row {
    let history = history(records, clients, losses);
    let mut seconds = f64::MAX;
    for _ in 0..3 {
        let start = cpu_seconds();
        let verdict = log::check(&history, &Options::default()).expect("values are unique");
        seconds = seconds.min(cpu_seconds() - start);
        assert!(verdict.is_valid(), "{verdict}");
    }
    let what = if losses { "judging, losses admitted" } else { "judging" };
    Row { what, records, clients, rate: records as f64 / seconds / 1e6, seconds }
}

/// Reading a file in memory, and checking it.
fn parsed(records: u64) -> Row {
    let history = history(records, 10, false);
    let mut text = Vec::new();
    lines::write(&history, &mut text).expect("memory takes it");
    drop(history);
    let mut seconds = f64::MAX;
    for _ in 0..3 {
        let start = cpu_seconds();
        let again = lines::read("memory", text.as_slice()).expect("it was just written");
        log::check(&again, &Options::default()).expect("values are unique");
        seconds = seconds.min(cpu_seconds() - start);
    }
    let rate = records as f64 / seconds / 1e6;
    Row { what: "parsing and judging", records, clients: 10, rate, seconds }
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> u64 {
    let file = "/proc/self/status";
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{file}, which Linux has, cannot be read: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    number.unwrap_or_else(|| panic!("{file} has no VmHWM in kB")) / 1024
}

fn main() {
    let mut rows = Vec::new();
    for records in [100_000, 1_000_000, 10_000_000] {
        rows.push(judged(records, 10, false));
    }
    // The history and the checker's tables; files come later.
    let peak = peak_memory();
    for clients in [1, 50, 500] {
        rows.push(judged(1_000_000, clients, false));
    }
    rows.push(judged(1_000_000, 10, true));
    rows.push(parsed(1_000_000));
    if wants_json() {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what,
                    "records": row.records,
                    "clients": row.clients,
                    "M records/s": rounded(row.rate),
                    "ns/record": rounded(1e3 / row.rate),
                    "seconds": rounded(row.seconds),
                    "peak MiB": (row.records == 10_000_000).then_some(peak),
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows).expect("keys are strings"));
        return;
    }
    println!(
        "{:>24} {:>10} {:>8} {:>12} {:>10}",
        "", "records", "clients", "M records/s", "seconds"
    );
    for row in rows {
        let Row { what, records, clients, rate, seconds } = row;
        println!("{what:>24} {records:>10} {clients:>8} {rate:>12.1} {seconds:>10.2}");
    }
    println!("10 M records took at most {peak} MiB");
}
