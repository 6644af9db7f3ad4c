//! How many records a second the judge of logs gets through: `cargo bench -p
//! wavetank-linearizability`. A record counts once, though it is sent and read.

use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{Acks, History, Loss, OpId, Polled, Value, json};

/// `records` over eight partitions, sent by and read by this many clients each; acknowledged a few
/// sends later; each record read once in all, by polls of twenty.
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
        // Beyond everything: what they cost although they excuse nothing.
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

fn main() {
    println!("{:>10} {:>8} {:>8} {:>12}", "records", "clients", "losses", "M records/s");
    for (records, clients, losses) in [
        (100_000, 10, false),
        (1_000_000, 1, false),
        (1_000_000, 10, false),
        (1_000_000, 500, false),
        (1_000_000, 10, true),
        (10_000_000, 10, false),
    ] {
        let history = history(records, clients, losses);
        let mut best = f64::MAX;
        for _ in 0..3 {
            let start = cpu_seconds();
            let verdict = log::check(&history, &Options::default()).expect("values are unique");
            best = best.min(cpu_seconds() - start);
            assert!(verdict.is_valid(), "{verdict}");
        }
        let rate = records as f64 / best / 1e6;
        println!("{records:>10} {clients:>8} {losses:>8} {rate:>12.1}");
    }
    let history = history(1_000_000, 10, false);
    let mut text = Vec::new();
    json::write(&history, &mut text).expect("memory takes it");
    let start = cpu_seconds();
    let again = json::read("memory", text.as_slice()).expect("it was just written");
    log::check(&again, &Options::default()).expect("values are unique");
    let rate = 1.0 / (cpu_seconds() - start);
    println!("parsing included: {rate:.1} M records/s ({} MB)", text.len() / 1_000_000);
}
