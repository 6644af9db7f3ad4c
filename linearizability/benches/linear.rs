//! How long the linearizability checker takes: `cargo bench -p wavetank-linearizability --bench
//! linear [-- --json]`.
//!
//! For comparison, on the same histories: the tester that stateright has for its models, and a
//! plain Wing and Gong, which is this checker's search without the cache and without any other
//! pruning. Both can take longer than anybody waits, so each is given two seconds in a process of
//! its own. The plain search is in this file, so that it cannot gain from improvements of the
//! checker.

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Dice, rounded, wants_json};
use serde_json::json;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use wavetank_linearizability::linear::models::{
    AppendLog, FifoQueue, Kv, KvCall, KvOp, LogOp, QueueCall, QueueOp, Register, RegisterCall,
    RegisterOp,
};
use wavetank_linearizability::linear::{
    self, Ending, Hindsight, History, Model, Operation, Options,
};
use wavetank_linearizability::{Datum, OpId, Validity};

/// A model, and how operations on it are drawn and answers spoilt.
trait Draw: Model {
    fn draw(&self, dice: &mut Dice, fresh: u32) -> Self::Op;
    /// Whether two answers differ.
    fn differs(&self, a: &Self::Output, b: &Self::Output) -> bool {
        a != b
    }
}

impl Draw for Register {
    fn draw(&self, dice: &mut Dice, _: u32) -> RegisterOp {
        let mut value = || Datum::from(i64::from(dice.below(5)));
        let (one, two) = (value(), value());
        let call = match dice.below(4) {
            0 | 1 => RegisterCall::Read,
            2 => RegisterCall::Write(one),
            _ => RegisterCall::Cas { from: one, to: two },
        };
        RegisterOp { key: Datum::Nil, call }
    }
}

/// A register that is only read and written.
struct Plain;

impl Model for Plain {
    type State = Datum;
    type Op = RegisterOp;
    type Output = linear::models::RegisterOutput;

    fn initial(&self) -> Datum {
        Datum::Nil
    }

    fn step(&self, state: &Datum, op: &RegisterOp) -> Option<(Datum, Self::Output)> {
        Register::default().step(state, op)
    }

    fn is_read(&self, op: &RegisterOp, returned: Option<&Self::Output>) -> bool {
        Register::default().is_read(op, returned)
    }

    fn hindsight(
        &self,
        operations: &[&Operation<RegisterOp, Self::Output>],
    ) -> Option<Hindsight<Datum, RegisterOp>> {
        Register::default().hindsight(operations)
    }
}

impl Draw for Plain {
    fn draw(&self, dice: &mut Dice, fresh: u32) -> RegisterOp {
        let call = match dice.below(2) {
            0 => RegisterCall::Read,
            _ => RegisterCall::Write(i64::from(fresh).into()),
        };
        RegisterOp { key: Datum::Nil, call }
    }
}

impl Draw for Kv {
    fn draw(&self, dice: &mut Dice, fresh: u32) -> KvOp {
        let key = Datum::from(i64::from(dice.below(3)));
        let value = Datum::from(format!("{fresh} "));
        let call = match dice.below(5) {
            0 | 1 => KvCall::Get,
            2 => KvCall::Put(value),
            _ => KvCall::Append(value),
        };
        KvOp { key, call }
    }
}

impl Draw for FifoQueue {
    fn draw(&self, dice: &mut Dice, fresh: u32) -> QueueOp {
        let call = match dice.below(2) {
            0 => QueueCall::Enqueue(i64::from(fresh).into()),
            _ => QueueCall::Dequeue,
        };
        QueueOp { key: Datum::Nil, call }
    }
}

impl Draw for AppendLog {
    fn draw(&self, dice: &mut Dice, fresh: u32) -> LogOp {
        let key = Datum::Nil;
        match dice.below(4) {
            0 | 1 => LogOp::Append { key, value: i64::from(fresh).into() },
            2 => LogOp::Tail { key },
            _ => LogOp::Read { key, offset: u64::from(dice.below(40)) },
        }
    }
}

/// The shape of a history.
#[derive(Clone, Copy)]
struct Shape {
    operations: u32,
    /// Maximum number of operations open at a time.
    open: u32,
    /// How many of a hundred operations are never answered.
    lost: u32,
    /// Do those count among the open ones? Else their client goes on with other operations.
    lost_count: bool,
    /// Is an answer replaced by another operation's?
    spoilt: bool,
}

enum Client<R> {
    Idle,
    Asked(OpId),
    Answered(OpId, R),
    Gone,
}

fn history<M: Draw>(model: &M, shape: Shape, seed: u64) -> Vec<Operation<M::Op, M::Output>> {
    let mut dice = Dice::new(seed);
    let mut history = History::new();
    let mut clients: Vec<Client<M::Output>> = (0..shape.open).map(|_| Client::Idle).collect();
    let mut states: BTreeMap<Datum, M::State> = BTreeMap::new();
    let (mut begun, mut time, mut working) = (0, 0, shape.open);
    while begun < shape.operations {
        time += 1_000_000;
        let who = dice.below(shape.open) as usize;
        clients[who] = match std::mem::replace(&mut clients[who], Client::Idle) {
            Client::Idle => {
                begun += 1;
                let op = model.draw(&mut dice, begun);
                Client::Asked(history.invoke(who as u32, time, op))
            }
            Client::Asked(id) => {
                let op = &history.operations()[id.0 as usize].op;
                let key = model.key(op);
                let state = states.entry(key).or_insert_with(|| model.initial());
                let step = model.step(state, op);
                let is_lost = dice.below(100) < shape.lost && (working > 1 || !shape.lost_count);
                if is_lost && dice.below(2) == 0 {
                    working -= u32::from(shape.lost_count);
                    if shape.lost_count { Client::Gone } else { Client::Idle }
                } else if let Some((next, output)) = step {
                    *state = next;
                    working -= u32::from(is_lost && shape.lost_count);
                    match (is_lost, shape.lost_count) {
                        (false, _) => Client::Answered(id, output),
                        (true, true) => Client::Gone,
                        (true, false) => Client::Idle,
                    }
                } else {
                    Client::Asked(id)
                }
            }
            Client::Answered(id, output) => {
                history.returned(id, time, output);
                Client::Idle
            }
            Client::Gone => Client::Gone,
        };
    }
    let mut operations = history.operations().to_vec();
    if shape.spoilt {
        spoil(model, &mut operations, &mut dice);
    }
    operations
}

/// Gives an operation of the second half the answer of another operation of the same kind.
fn spoil<M: Draw>(model: &M, operations: &mut [Operation<M::Op, M::Output>], dice: &mut Dice) {
    let count = operations.len();
    for _ in 0..100 {
        let one = count / 2 + dice.below((count / 2) as u32) as usize;
        let other = dice.below(count as u32) as usize;
        let same = std::mem::discriminant(&operations[one].op)
            == std::mem::discriminant(&operations[other].op);
        let Ending::Returned { output, .. } = operations[other].ending.clone() else { continue };
        if let Ending::Returned { output: mine, .. } = &mut operations[one].ending {
            let alike = std::mem::discriminant(mine) == std::mem::discriminant(&output);
            if same && alike && model.differs(mine, &output) {
                *mine = output;
                return;
            }
        }
    }
}

/// The plain search: every order, as far as real time and the answers allow.
struct WingGong<'a, M: Model> {
    model: &'a M,
    left: Vec<&'a Operation<M::Op, M::Output>>,
}

impl<M: Model> WingGong<'_, M> {
    fn run(&mut self, states: &BTreeMap<Datum, M::State>) -> bool {
        let returns = |operation: &Operation<M::Op, M::Output>| match &operation.ending {
            Ending::Returned { at, .. } => at.seq,
            Ending::Failed | Ending::Indeterminate => u64::MAX,
        };
        let first = self.left.iter().map(|operation| returns(operation)).min();
        let Some(first) = first.filter(|first| *first < u64::MAX) else { return true };
        for index in 0..self.left.len() {
            let operation = self.left[index];
            if operation.invoked.seq > first {
                continue;
            }
            let key = self.model.key(&operation.op);
            let state = states.get(&key).cloned().unwrap_or_else(|| self.model.initial());
            let Some((next, output)) = self.model.step(&state, &operation.op) else { continue };
            let fits = match &operation.ending {
                Ending::Returned { output: returned, .. } => self.model.accepts(&output, returned),
                Ending::Failed | Ending::Indeterminate => true,
            };
            if fits {
                let mut after = states.clone();
                after.insert(key, next);
                self.left.remove(index);
                if self.run(&after) {
                    return true;
                }
                self.left.insert(index, operation);
            }
        }
        false
    }
}

/// A model in stateright's form: an object that answers.
#[derive(Clone)]
struct Spec<M: Model> {
    model: std::rc::Rc<M>,
    states: BTreeMap<Datum, M::State>,
}

impl<M: Model> SequentialSpec for Spec<M> {
    type Op = M::Op;
    type Ret = M::Output;

    fn invoke(&mut self, op: &M::Op) -> M::Output {
        let key = self.model.key(op);
        let state = self.states.entry(key).or_insert_with(|| self.model.initial());
        let (next, output) = self.model.step(state, op).expect("these models always answer");
        *state = next;
        output
    }
}

fn stateright<M: Draw + Clone>(model: &M, operations: &[Operation<M::Op, M::Output>]) -> bool {
    let spec = Spec { model: std::rc::Rc::new(model.clone()), states: BTreeMap::new() };
    let mut tester = LinearizabilityTester::new(spec);
    let mut moments: Vec<(u64, usize, bool)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        moments.push((operation.invoked.seq, index, false));
        if let Ending::Returned { at, .. } = &operation.ending {
            moments.push((at.seq, index, true));
        }
    }
    moments.sort_unstable();
    for (_, index, is_return) in moments {
        let Operation { process, op, ending, .. } = &operations[index];
        let told = match ending {
            Ending::Returned { output, .. } if is_return => {
                tester.on_return(*process, output.clone())
            }
            _ => tester.on_invoke(*process, op.clone()),
        };
        told.expect("a process does one thing at a time");
    }
    tester.is_consistent()
}

/// The engines that are compared.
const ENGINES: [&str; 3] = ["wavetank", "wing-gong", "stateright"];
/// Histories per row of the comparison.
const HISTORIES: u64 = 20;
/// How long an engine gets for a row.
const LIMIT: Duration = Duration::from_secs(2);

/// How many of a row's histories are valid, and how long checking them took.
fn engine<M: Draw + Clone>(model: &M, engine: &str, open: u32) -> (u64, f64) {
    let histories: Vec<_> = (0..HISTORIES)
        .map(|seed| {
            let operations = 20 + open * 4;
            let spoilt = seed % 2 == 1;
            let shape = Shape { operations, open, lost: 0, lost_count: false, spoilt };
            history(model, shape, seed)
        })
        .collect();
    let start = Instant::now();
    let valid = histories.iter().filter(|operations| match engine {
        "wavetank" => {
            let judged = linear::check(model, operations, &Options::default());
            judged.expect("it is well formed").verdict.is_valid()
        }
        "wing-gong" => {
            let left = operations.iter().collect();
            WingGong { model, left }.run(&BTreeMap::new())
        }
        _ => stateright(model, operations),
    });
    (valid.count() as u64, start.elapsed().as_secs_f64())
}

/// Runs one engine in a process of its own; `None` if it takes too long.
fn apart(model: &str, engine: &str, open: u32) -> Option<(u64, f64)> {
    let this = std::env::current_exe().expect("it runs");
    let mut child = Command::new(this)
        .args(["--engine", model, engine, &open.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts again");
    let start = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if start.elapsed() > LIMIT {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{engine} failed");
    let text = String::from_utf8(output.stdout).expect("it prints two numbers");
    let (valid, seconds) = text.trim().split_once(' ').expect("it prints two numbers");
    Some((valid.parse().expect("a number"), seconds.parse().expect("a number")))
}

fn compare(json: bool, rows: &mut Vec<serde_json::Value>) {
    if !json {
        println!("{HISTORIES} histories, half of them spoilt; ms for all, - is more than 2 s");
        println!(
            "{:>12} {:>5} {:>6} {:>12} {:>12} {:>12}",
            "model", "open", "valid", "wavetank", "Wing-Gong", "stateright"
        );
    }
    for model in ["register", "cas-register", "kv"] {
        let mut given_up = [false; 3];
        for open in [1, 2, 4, 6, 8, 10, 15, 20, 30] {
            if given_up == [true; 3] {
                break;
            }
            let mut times = [None; 3];
            let mut verdicts = Vec::new();
            for (index, engine) in ENGINES.iter().enumerate() {
                let found = if given_up[index] { None } else { apart(model, engine, open) };
                given_up[index] |= found.is_none();
                verdicts.extend(found.map(|(valid, _)| valid));
                times[index] = found.map(|(_, seconds)| rounded(seconds * 1e3));
            }
            let Some(valid) = verdicts.first() else { break };
            assert!(
                verdicts.windows(2).all(|two| two[0] == two[1]),
                "{model} {open}: {verdicts:?}"
            );
            let shown = times.map(|time| time.map_or("-".to_owned(), |time| format!("{time}")));
            if json {
                rows.push(json!({"model": model, "open": open, "valid": valid,
                    "wavetank ms": times[0], "Wing-Gong ms": times[1], "stateright ms": times[2]}));
            } else {
                let [one, two, three] = shown;
                println!("{model:>12} {open:>5} {:>6} {one:>12} {two:>12} {three:>12}", valid);
            }
        }
    }
}

/// The slowest of many histories.
fn worst<M: Draw>(
    name: &str,
    model: &M,
    lost_count: bool,
    json: bool,
    rows: &mut Vec<serde_json::Value>,
) {
    let only = argument("--only");
    if only.is_some_and(|only| only != name) {
        return;
    }
    let (mut times, mut valid, mut unknown) = (Vec::new(), 0, 0);
    let limit = Options { steps: 200_000, ..Options::default() };
    // Only a part of the harder ones: they would take an hour.
    let part = if matches!(name, "queue" | "log") { 100 } else { 1 };
    for seed in 0..histories() / part {
        let lost = [0, 2, 5, 20][(seed % 4) as usize];
        let shape = Shape { operations: 200, open: 10, lost, lost_count, spoilt: seed % 8 < 4 };
        let operations = history(model, shape, seed);
        // The best of three if the machine may have been busy with something else.
        let mut best = f64::MAX;
        let mut judge = || {
            let start = Instant::now();
            let judged = linear::check(model, &operations, &limit).expect("it is well formed");
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
            (best, judged)
        };
        let (mut time, judged) = judge();
        for _ in 0..if (5.0..100.0).contains(&time) { 2 } else { 0 } {
            (time, _) = judge();
        }
        times.push(time);
        valid += u32::from(judged.verdict.is_valid());
        unknown += u32::from(judged.verdict.valid == Validity::Unknown);
    }
    times.sort_by(f64::total_cmp);
    let count = times.len();
    let [p50, p99, max] = [count / 2, count * 99 / 100, count - 1].map(|at| rounded(times[at]));
    if json {
        rows.push(json!({"model": name, "indeterminate ones count as open": lost_count,
            "histories": count, "valid": valid, "unknown": unknown, "median ms": p50,
            "p99 ms": p99, "slowest ms": max}));
    } else {
        println!(
            "{name:>12} {lost_count:>8} {count:>10} {valid:>6} {unknown:>8} {p50:>10} {p99:>10} {max:>10}"
        );
    }
}

/// The argument that follows this one on the command line.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// How many histories of each kind; `--histories N` for a quick look, with `--only MODEL`.
fn histories() -> u64 {
    argument("--histories").and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

fn worst_of_all(json: bool, rows: &mut Vec<serde_json::Value>) {
    if !json {
        println!("Histories of 200 operations, at most 10 open, 0 to 20 % never answered; ms each");
        println!(
            "{:>12} {:>8} {:>10} {:>6} {:>8} {:>10} {:>10} {:>10}",
            "model", "counted", "histories", "valid", "unknown", "median", "p99", "slowest"
        );
    }
    for counted in [true, false] {
        worst("register", &Plain, counted, json, rows);
        worst("cas-register", &Register { initial: 0.into() }, counted, json, rows);
        worst("kv", &Kv, counted, json, rows);
        worst("queue", &FifoQueue, counted, json, rows);
        worst("log", &AppendLog, counted, json, rows);
    }
}

impl Clone for Plain {
    fn clone(&self) -> Plain {
        Plain
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, "--engine", model, name, open] =
        &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        let open = open.parse().expect("a number");
        let (valid, seconds) = match *model {
            "register" => engine(&Plain, name, open),
            "cas-register" => engine(&Register { initial: 0.into() }, name, open),
            _ => engine(&Kv, name, open),
        };
        println!("{valid} {seconds}");
        return;
    }
    let json = wants_json();
    let (mut worst, mut comparison) = (Vec::new(), Vec::new());
    worst_of_all(json, &mut worst);
    if argument("--only").is_none() {
        compare(json, &mut comparison);
    }
    if json {
        println!("{}", json!({"slowest": worst, "beside others": comparison}));
    }
}
