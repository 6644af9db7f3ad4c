//! Histories as JSON lines: one object a line, in the order in which things happened.
//!
//! ```text
//! {"type":"invoke","f":"send","process":1,"time":100,"op":0,"partition":"orders-0","value":7,"acks":-1}
//! {"type":"ok","f":"send","process":1,"time":200,"op":0,"offset":0,"epoch":3}
//! {"type":"ok","f":"assign","process":2,"time":210,"positions":{"orders-0":0,"orders-1":null}}
//! {"type":"ok","f":"poll","process":2,"time":300,"records":{"orders-0":[[0,3,7]]}}
//! {"type":"loss","time":400,"partition":"orders-0","offset":0,"epoch":4}
//! ```
//!
//! | field | of | meaning |
//! |---|---|---|
//! | `type` | all | `invoke`, then `ok` (it happened), `fail` (it did not and never will) or `info` (unknown); or `loss` |
//! | `f` | all but `loss` | `send`, `poll`, `assign`, `seek` |
//! | `process` | all but `loss` | number of the client, 0 to 2^32-1 |
//! | `time` | all | nanoseconds, 0 to 2^64-1, for people: the order of lines is what counts |
//! | `op` | optional | joins a completion to its invocation; without it, to the process' only open one of that `f` |
//! | `partition` | `send`, `seek`, `loss` | name |
//! | `value` | invoked `send` | a number below 2^63 or a text, unique among the sends to its partition |
//! | `acks` | invoked `send` | -1 (all; the default), 1 or 0 |
//! | `offset` | ok `send` (optional), `seek` (absent: unknown), `loss` | offset |
//! | `epoch` | ok `send` (optional), `loss` | leader epoch |
//! | `positions` | `assign` | partition to first offset to read, or null if unknown; replaces all |
//! | `records` | ok `poll` | partition to records, each `[offset, leader epoch or -1, value]`, in order |
//!
//! A `poll` may come as `ok` without an `invoke`; `assign` and `seek` always do. [`Loss`] explains
//! `loss`. Lines that are empty are skipped; a field that has no place in its line is an error, so
//! that a misspelt one is not silently ignored.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{Acks, Action, History, Loss, OpId, Outcome, Partition, Polled, Value};

/// Why a file is not a history.
#[derive(Debug)]
pub enum ReadError {
    /// It could not be read.
    Io {
        /// The file, as the caller named it.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A line is not what it should be.
    Line {
        /// The file, as the caller named it.
        file: String,
        /// From 1.
        line: u64,
        /// What was expected, and what was there.
        message: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io { file, error } => write!(f, "{file}: cannot be read: {error}"),
            ReadError::Line { file, line, message } => write!(f, "{file}:{line}: {message}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
    Loss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Send,
    Poll,
    Assign,
    Seek,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Function::Send => "send",
            Function::Poll => "poll",
            Function::Assign => "assign",
            Function::Seek => "seek",
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a value is a number from 0 to 2^63-1 or a text")]
enum Content<'a> {
    Number(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: Type,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<Function>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    partition: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Content<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acks: Option<i16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<i32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    positions: Option<BTreeMap<Cow<'a, str>, Option<i64>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    records: Option<BTreeMap<Cow<'a, str>, Vec<(i64, i32, Content<'a>)>>>,
}

impl Line<'_> {
    fn new(kind: Type, time: u64) -> Self {
        Line {
            kind,
            f: None,
            process: None,
            time,
            op: None,
            partition: None,
            value: None,
            acks: None,
            offset: None,
            epoch: None,
            positions: None,
            records: None,
        }
    }
}

/// Reads a history line by line. `file` is what errors call it.
///
/// # Errors
/// If reading fails, or a line is not as the module's documentation says: then nothing of the file
/// is judged.
pub fn read(file: &str, input: impl BufRead) -> Result<History, ReadError> {
    let mut reader = Reader::default();
    let mut input = input;
    let mut text = String::new();
    let mut number = 0;
    loop {
        text.clear();
        number += 1;
        let read = input
            .read_line(&mut text)
            .map_err(|error| ReadError::Io { file: file.into(), error })?;
        if read == 0 {
            return Ok(reader.history);
        }
        if text.trim().is_empty() {
            continue;
        }
        let result = serde_json::from_str(&text)
            .map_err(|error| format!("expected a line of a history: {error}"))
            .and_then(|line| reader.line(line));
        result.map_err(|message| ReadError::Line { file: file.into(), line: number, message })?;
    }
}

#[derive(Default)]
struct Reader {
    history: History,
    /// Invocations without a completion, by process, function and `op`.
    open: HashMap<(u32, Function), Vec<(Option<u64>, OpId)>>,
    polled: Vec<Polled>,
}

impl Reader {
    fn line(&mut self, line: Line<'_>) -> Result<(), String> {
        if line.kind == Type::Loss {
            return self.loss(&line);
        }
        let f = line.f.ok_or("expected \"f\": send, poll, assign or seek")?;
        let process = line.process.ok_or("expected \"process\"")?;
        self.allowed(&line, f)?;
        match (line.kind, f) {
            (Type::Invoke, Function::Send) => self.send(&line, process),
            (Type::Invoke, Function::Poll) => {
                let op = self.history.invoke_poll(process, line.time);
                self.open(process, f, line.op, op)
            }
            (Type::Ok, Function::Send) => {
                let op = self.close(process, f, line.op)?;
                natural("offset", line.offset)?;
                natural("epoch", line.epoch.map(i64::from))?;
                self.history.acknowledge(op, line.time, line.offset, line.epoch);
                Ok(())
            }
            (Type::Ok, Function::Poll) => self.poll(&line, process),
            (Type::Ok, Function::Assign) => {
                let positions = line.positions.as_ref().ok_or("expected \"positions\"")?;
                let mut list = Vec::with_capacity(positions.len());
                for (name, position) in positions {
                    natural("position", *position)?;
                    list.push((self.history.partition(name), *position));
                }
                self.history.assign(process, line.time, &list);
                Ok(())
            }
            (Type::Ok, Function::Seek) => {
                natural("offset", line.offset)?;
                let partition = self.partition(&line)?;
                self.history.seek(process, line.time, partition, line.offset);
                Ok(())
            }
            (Type::Fail | Type::Info, Function::Send | Function::Poll) => {
                let op = self.close(process, f, line.op)?;
                if line.kind == Type::Fail {
                    self.history.fail(op, line.time);
                } else {
                    self.history.info(op, line.time);
                }
                Ok(())
            }
            (Type::Invoke | Type::Fail | Type::Info, Function::Assign | Function::Seek) => {
                Err(format!("expected {f} to be of type \"ok\""))
            }
            (Type::Loss, _) => unreachable!("handled above"),
        }
    }

    /// Refuses fields that have no place in such a line.
    fn allowed(&self, line: &Line<'_>, f: Function) -> Result<(), String> {
        let invoke = line.kind == Type::Invoke;
        let ok = line.kind == Type::Ok;
        let send = f == Function::Send;
        let checks = [
            ("op", line.op.is_some(), send || f == Function::Poll),
            ("partition", line.partition.is_some(), send && invoke || f == Function::Seek),
            ("value", line.value.is_some(), send && invoke),
            ("acks", line.acks.is_some(), send && invoke),
            ("offset", line.offset.is_some(), send && ok || f == Function::Seek),
            ("epoch", line.epoch.is_some(), send && ok),
            ("positions", line.positions.is_some(), f == Function::Assign),
            ("records", line.records.is_some(), f == Function::Poll && ok),
        ];
        for (name, given, allowed) in checks {
            if given && !allowed {
                return Err(format!("\"{name}\" has no place in this line of a {f}"));
            }
        }
        Ok(())
    }

    fn loss(&mut self, line: &Line<'_>) -> Result<(), String> {
        let given = line.f.is_some()
            || line.process.is_some()
            || line.op.is_some()
            || line.value.is_some()
            || line.acks.is_some()
            || line.positions.is_some()
            || line.records.is_some();
        if given {
            return Err("a loss has \"time\", \"partition\", \"offset\" and \"epoch\" only".into());
        }
        let offset = line.offset.ok_or("expected \"offset\"")?;
        let epoch = line.epoch.ok_or("expected \"epoch\"")?;
        natural("offset", Some(offset))?;
        natural("epoch", Some(i64::from(epoch)))?;
        let partition = self.partition(line)?;
        self.history.admit(Loss { partition, offset, epoch, time: line.time });
        Ok(())
    }

    fn partition(&mut self, line: &Line<'_>) -> Result<Partition, String> {
        let name = line.partition.as_ref().ok_or("expected \"partition\"")?;
        Ok(self.history.partition(name))
    }

    fn value(&mut self, content: &Content<'_>) -> Result<Value, String> {
        match content {
            Content::Number(number) if *number < 1 << 63 => Ok(Value::number(*number)),
            Content::Number(number) => {
                Err(format!("expected a value below 2^63 or a text, not {number}"))
            }
            Content::Text(text) => Ok(self.history.text(text)),
        }
    }

    fn send(&mut self, line: &Line<'_>, process: u32) -> Result<(), String> {
        let partition = self.partition(line)?;
        let content = line.value.as_ref().ok_or("expected \"value\"")?;
        let value = self.value(content)?;
        let acks = match line.acks {
            None | Some(-1) => Acks::All,
            Some(0) => Acks::None,
            Some(1) => Acks::Leader,
            Some(other) => return Err(format!("expected \"acks\" -1, 0 or 1, not {other}")),
        };
        let op = self.history.send(process, line.time, partition, value, acks);
        self.open(process, Function::Send, line.op, op)
    }

    fn poll(&mut self, line: &Line<'_>, process: u32) -> Result<(), String> {
        let records = line.records.as_ref().ok_or("expected \"records\"")?;
        let mut polled = std::mem::take(&mut self.polled);
        polled.clear();
        for (name, list) in records {
            let partition = self.history.partition(name);
            for (offset, epoch, content) in list {
                natural("offset", Some(*offset))?;
                if *epoch < -1 {
                    return Err(format!("expected an epoch from -1, not {epoch}"));
                }
                let value = self.value(content)?;
                polled.push(Polled { partition, offset: *offset, epoch: *epoch, value });
            }
        }
        let unopened = self.open.get(&(process, Function::Poll)).is_none_or(Vec::is_empty);
        let op = if unopened && line.op.is_none() {
            self.history.invoke_poll(process, line.time)
        } else {
            self.close(process, Function::Poll, line.op)?
        };
        self.history.return_records(op, line.time, &polled);
        self.polled = polled;
        Ok(())
    }

    fn open(&mut self, process: u32, f: Function, op: Option<u64>, id: OpId) -> Result<(), String> {
        let open = self.open.entry((process, f)).or_default();
        if open.iter().any(|(other, _)| *other == op || op.is_none() || other.is_none()) {
            return Err(format!(
                "process {process} has another {f} open: expected an \"op\" that tells them apart"
            ));
        }
        open.push((op, id));
        Ok(())
    }

    fn close(&mut self, process: u32, f: Function, op: Option<u64>) -> Result<OpId, String> {
        let open = self.open.entry((process, f)).or_default();
        let at = match (op, open.len()) {
            (None, 1) => Some(0),
            (None, _) => None,
            (Some(_), _) => open.iter().position(|(other, _)| *other == op),
        };
        match (at, op) {
            (Some(at), _) => Ok(open.swap_remove(at).1),
            (None, Some(op)) => Err(format!(
                "expected process {process} to have invoked {f} {op} and not completed it"
            )),
            (None, None) => {
                Err(format!("expected process {process} to have one open {f}, not {}", open.len()))
            }
        }
    }
}

fn natural(name: &str, number: Option<i64>) -> Result<(), String> {
    match number {
        Some(number) if number < 0 => Err(format!("expected {name} from 0, not {number}")),
        Some(_) | None => Ok(()),
    }
}

/// Writes a history, such that [`read`] gives an equal one (but for losses, which come first, and
/// for polls of several partitions, whose records are grouped).
///
/// # Errors
/// If writing fails.
pub fn write(history: &History, mut output: impl Write) -> io::Result<()> {
    let mut put = |line: &Line<'_>| -> io::Result<()> {
        serde_json::to_writer(&mut output, line)?;
        output.write_all(b"\n")
    };
    for loss in history.losses() {
        let mut line = Line::new(Type::Loss, loss.time);
        line.partition = Some(history.partition_name(loss.partition).into());
        line.offset = Some(loss.offset);
        line.epoch = Some(loss.epoch);
        put(&line)?;
    }
    let mut completions: Vec<(u64, OpId)> = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        completions.extend(operation.completed.map(|stamp| (stamp.seq, OpId(id))));
    }
    completions.sort_unstable();
    let mut completions = completions.into_iter().peekable();
    for (id, operation) in (0..).zip(history.operations()) {
        while let Some((_, done)) = completions.next_if(|(seq, _)| *seq < operation.invoked.seq) {
            completion(history, done, &mut put)?;
        }
        invocation(history, OpId(id), &mut put)?;
    }
    for (_, done) in completions {
        completion(history, done, &mut put)?;
    }
    Ok(())
}

type Put<'a> = &'a mut dyn FnMut(&Line<'_>) -> io::Result<()>;

fn invocation(history: &History, op: OpId, put: Put<'_>) -> io::Result<()> {
    let operation = history.operation(op);
    let mut line = Line::new(Type::Invoke, operation.invoked.time);
    line.process = Some(operation.process);
    line.op = Some(u64::from(op.0));
    match operation.action {
        Action::Send { partition, value, acks, .. } => {
            line.f = Some(Function::Send);
            line.partition = Some(history.partition_name(partition).into());
            line.value = Some(content(history, value));
            line.acks = Some(match acks {
                Acks::All => -1,
                Acks::None => 0,
                Acks::Leader => 1,
            });
        }
        Action::Poll { .. } => line.f = Some(Function::Poll),
        Action::Assign { .. } => return Ok(()),
    }
    put(&line)
}

fn completion(history: &History, op: OpId, put: Put<'_>) -> io::Result<()> {
    let operation = history.operation(op);
    let kind = match operation.outcome {
        Outcome::Ok => Type::Ok,
        Outcome::Fail => Type::Fail,
        Outcome::Info => Type::Info,
    };
    let time = operation.completed.map_or(0, |stamp| stamp.time);
    let mut line = Line::new(kind, time);
    line.process = Some(operation.process);
    match operation.action {
        Action::Send { offset, epoch, .. } => {
            line.f = Some(Function::Send);
            line.op = Some(u64::from(op.0));
            line.offset = (offset >= 0).then_some(offset);
            line.epoch = (epoch >= 0).then_some(epoch);
        }
        Action::Poll { .. } => {
            line.f = Some(Function::Poll);
            line.op = Some(u64::from(op.0));
            if kind == Type::Ok {
                let mut records: BTreeMap<Cow<'_, str>, Vec<_>> = BTreeMap::new();
                for record in history.polled(operation) {
                    let name = history.partition_name(record.partition);
                    let list = records.entry(name.into()).or_default();
                    list.push((record.offset, record.epoch, content(history, record.value)));
                }
                line.records = Some(records);
            }
        }
        Action::Assign { seek, .. } => {
            let positions = history.positions(operation);
            if let (true, [(partition, position)]) = (seek, positions) {
                line.f = Some(Function::Seek);
                line.partition = Some(history.partition_name(*partition).into());
                line.offset = *position;
            } else {
                line.f = Some(Function::Assign);
                let named = positions.iter().map(|(partition, position)| {
                    (history.partition_name(*partition).into(), *position)
                });
                line.positions = Some(named.collect());
            }
        }
    }
    put(&line)
}

fn content(history: &History, value: Value) -> Content<'_> {
    match (value.as_number(), history.text_of(value)) {
        (Some(number), _) => Content::Number(number),
        (None, text) => Content::Text(text.unwrap_or_default().into()),
    }
}
