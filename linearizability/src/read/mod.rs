//! Reads histories of any kind from either format: our JSON lines and Jepsen's EDN.
//!
//! Each line (of JSON) or map (of EDN: one after the other, or all in one vector) is an invocation
//! or a completion of an operation, in the order in which they happened:
//!
//! ```text
//! {:type :invoke, :process 0, :f :write, :value 3, :time 100, :index 0}
//! {:type :ok,     :process 0, :f :write, :value 3, :time 200, :index 1}
//! {"type":"invoke","process":1,"f":"read","value":null}
//! {"type":"ok","process":1,"f":"read","value":3}
//! ```
//!
//! `type` is `invoke`, then `ok` (it happened), `fail` (it did not and never will) or `info`
//! (unknown); `process` is a number (entries with a name instead, from Jepsen's nemesis, are left
//! out), and has one operation open at a time; `time` (nanoseconds, for people) and `index` may be
//! missing. Other fields are ignored. `f` and `value` by kind:
//!
//! | kind | `f` | `value` |
//! |---|---|---|
//! | `register` | `read`, `write`, `cas` | what is read, written, `[old new]`; with a `key` field, or as `[key value]`, of many registers |
//! | `kv` | `get`, `put`, `append` | a value, with a `key` field, or `[key value]` |
//! | `mutex` | `acquire`, `release` | |
//! | `queue` | `enqueue`, `dequeue` | the element; nothing if the queue was empty |
//! | `append-log` | `append`, `tail`, `read` | the record, then its offset; the tail; `[offset record]` |
//! | `list-append` | `txn` | `[[append key element] [r key list] ...]` |
//! | `log` | `send`, `poll`, `txn`, `assign`, `subscribe`, `crash` | as in Jepsen's Kafka workload; or [`crate::json`]'s own lines |
//!
//! Files are read as a stream: one operation is held as text at a time.

mod edn;
mod form;
mod kafka;
mod lists;
mod objects;
mod op;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use crate::hash::FastMap;
use crate::linear::models::{
    KvOp, KvOutput, LogOp, LogOutput, MutexOp, QueueOp, QueueOutput, RegisterOp, RegisterOutput,
};
use crate::read_error::ReadError;
use crate::{History, linear, txn};
use form::Form;
use op::{Op, Type};

/// What a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Partitioned logs, for [`crate::log`].
    Log,
    /// Registers with compare-and-set, for [`linear::models::Register`].
    Register,
    /// A store of many keys, for [`linear::models::Kv`].
    Kv,
    /// For [`linear::models::Mutex`].
    Mutex,
    /// For [`linear::models::FifoQueue`].
    Queue,
    /// For [`linear::models::AppendLog`].
    AppendLog,
    /// Transactions on lists, for [`txn`].
    ListAppend,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 7] = [
        Kind::Log,
        Kind::Register,
        Kind::Kv,
        Kind::Mutex,
        Kind::Queue,
        Kind::AppendLog,
        Kind::ListAppend,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Register => "register",
            Kind::Kv => "kv",
            Kind::Mutex => "mutex",
            Kind::Queue => "queue",
            Kind::AppendLog => "append-log",
            Kind::ListAppend => "list-append",
        }
    }

    /// The kind of history that an operation implies.
    fn of(op: &Op) -> Option<Kind> {
        Some(match op.f.as_str() {
            "write" | "cas" | "read" => Kind::Register,
            "get" | "put" | "append" => Kind::Kv,
            "acquire" | "release" | "lock" | "unlock" => Kind::Mutex,
            "enqueue" | "dequeue" => Kind::Queue,
            "tail" => Kind::AppendLog,
            "send" | "poll" | "assign" | "subscribe" | "crash" => Kind::Log,
            "txn" => {
                let first = op.value.list()?.first()?.list()?.first()?;
                match first.name()? {
                    "append" | "r" => Kind::ListAppend,
                    "send" | "poll" => Kind::Log,
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    /// By name.
    fn from_str(name: &str) -> Result<Kind, String> {
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// A history of some kind.
#[derive(Clone, Debug)]
pub enum AnyHistory {
    /// A history of logs.
    Log {
        /// The history.
        history: History,
        /// Is it from Jepsen's workload? Then, together, readers have read each partition from its
        /// start ([`crate::log::Options::covered`]).
        jepsen: bool,
    },
    /// A history of registers.
    Register(linear::History<RegisterOp, RegisterOutput>),
    /// A history of a store.
    Kv(linear::History<KvOp, KvOutput>),
    /// A history of mutexes.
    Mutex(linear::History<MutexOp, ()>),
    /// A history of queues.
    Queue(linear::History<QueueOp, QueueOutput>),
    /// A history of logs as objects.
    AppendLog(linear::History<LogOp, LogOutput>),
    /// A history of transactions on lists.
    ListAppend(txn::History),
}

impl AnyHistory {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            AnyHistory::Log { .. } => Kind::Log,
            AnyHistory::Register(_) => Kind::Register,
            AnyHistory::Kv(_) => Kind::Kv,
            AnyHistory::Mutex(_) => Kind::Mutex,
            AnyHistory::Queue(_) => Kind::Queue,
            AnyHistory::AppendLog(_) => Kind::AppendLog,
            AnyHistory::ListAppend(_) => Kind::ListAppend,
        }
    }
}

/// Puts operations into a history.
trait Build {
    /// What is known of an operation in progress.
    type Open;

    fn invoke(&mut self, op: &Op) -> Result<Option<Self::Open>, String>;

    fn complete(&mut self, open: Self::Open, op: &Op) -> Result<(), String>;
}

/// Reads a history of this kind, or of the kind that its first operations imply. `file` is its name
/// in errors.
///
/// # Errors
/// If reading fails, or something is not as the module's documentation says: the whole file is then
/// rejected.
pub fn read(
    file: &str,
    mut input: impl BufRead,
    kind: Option<Kind>,
) -> Result<AnyHistory, ReadError> {
    let io_error = |error| ReadError::Io { file: file.into(), error };
    if !is_json(&mut input).map_err(io_error)? {
        let ops = Ops { file, source: Source::Edn(edn::Forms::new(input)), line: 0 };
        return build(ops, kind);
    }
    let (mut head, mut own) = (Vec::new(), None);
    while own.is_none() {
        let start = head.len();
        if input.read_until(b'\n', &mut head).map_err(io_error)? == 0 {
            break;
        }
        let line = &head[start..];
        if !line.trim_ascii().is_empty() {
            own = Some(is_own_log(line));
        }
    }
    let input = io::Cursor::new(head).chain(input);
    if own == Some(true) && kind.is_none_or(|kind| kind == Kind::Log) {
        let history = crate::json::read(file, input)?;
        return Ok(AnyHistory::Log { history, jepsen: false });
    }
    build(Ops { file, source: Source::Json(input, Vec::new()), line: 0 }, kind)
}

/// Is it JSON lines, not EDN? A JSON object begins with a string.
fn is_json(input: &mut impl BufRead) -> io::Result<bool> {
    let head = input.fill_buf()?;
    let mut bytes = head.iter().filter(|byte| !byte.is_ascii_whitespace());
    Ok(bytes.next() == Some(&b'{') && matches!(bytes.next(), Some(b'"' | b'}')))
}

/// Is this line in the format of [`crate::json`]?
fn is_own_log(line: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { return false };
    if value["type"] == "loss" {
        return true;
    }
    let f = value["f"].as_str().unwrap_or_default();
    let jepsen = value.get("value").is_some() && value.get("partition").is_none();
    match f {
        "send" | "poll" | "assign" | "subscribe" | "crash" => !jepsen,
        "seek" | "transaction" | "end" | "commit" | "committed" | "assigned" | "revoked"
        | "lost" | "changed" => true,
        _ => false,
    }
}

enum Source<R> {
    Edn(edn::Forms<R>),
    Json(io::Chain<io::Cursor<Vec<u8>>, R>, Vec<u8>),
}

/// The operations of a file.
struct Ops<'a, R> {
    file: &'a str,
    source: Source<R>,
    line: u64,
}

impl<R: BufRead> Ops<'_, R> {
    fn wrong(&self, line: u64, message: String) -> ReadError {
        ReadError::Line { file: self.file.into(), line, message }
    }

    fn form(&mut self) -> Result<Option<Form>, ReadError> {
        match &mut self.source {
            Source::Edn(forms) => {
                let result = forms.next();
                self.line = forms.line();
                result.map_err(|error| match error {
                    edn::Error::Io(error) => ReadError::Io { file: self.file.into(), error },
                    edn::Error::Syntax(message) => self.wrong(self.line, message),
                })
            }
            Source::Json(input, text) => loop {
                text.clear();
                self.line += 1;
                let read = input.read_until(b'\n', text);
                let read = read.map_err(|error| ReadError::Io { file: self.file.into(), error })?;
                if read == 0 {
                    return Ok(None);
                }
                if text.trim_ascii().is_empty() {
                    continue;
                }
                let value = serde_json::from_slice::<serde_json::Value>(text);
                return match value {
                    Ok(value) => Ok(Some(value.into())),
                    Err(error) => {
                        let message = format!("expected a line of a history: {error}");
                        Err(self.wrong(self.line, message))
                    }
                };
            },
        }
    }

    /// The next operation of a client.
    fn next(&mut self) -> Result<Option<Op>, ReadError> {
        loop {
            let Some(form) = self.form()? else { return Ok(None) };
            match Op::of(form, self.line) {
                Ok(Some(op)) => return Ok(Some(op)),
                Ok(None) => {}
                Err(message) => return Err(self.wrong(self.line, message)),
            }
        }
    }

    /// Feeds all operations to the builder, those in `head` first.
    fn feed<B: Build>(mut self, head: Vec<Op>, mut builder: B) -> Result<B, ReadError> {
        let mut open: FastMap<u32, (String, u64, B::Open)> = FastMap::default();
        let mut head = head.into_iter();
        loop {
            let op = match head.next() {
                Some(op) => op,
                None => match self.next()? {
                    Some(op) => op,
                    None => return Ok(builder),
                },
            };
            let result = match (op.kind, open.remove(&op.process)) {
                (Type::Invoke, Some((f, line, _))) => Err(format!(
                    "expected the completion of the {f} that process {} invoked in line {line}",
                    op.process
                )),
                (Type::Invoke, None) => builder.invoke(&op).map(|state| {
                    if let Some(state) = state {
                        open.insert(op.process, (op.f.clone(), op.line, state));
                    }
                }),
                (_, None) => {
                    Err(format!("expected process {} to have invoked {}", op.process, op.f))
                }
                (_, Some((f, line, _))) if f != op.f => Err(format!(
                    "expected the completion of the {f} that process {} invoked in line {line}, \
                     not of a {}",
                    op.process, op.f
                )),
                (_, Some((_, _, state))) => builder.complete(state, &op),
            };
            result.map_err(|message| self.wrong(op.line, message))?;
        }
    }
}

fn build<R: BufRead>(mut ops: Ops<'_, R>, kind: Option<Kind>) -> Result<AnyHistory, ReadError> {
    let mut head = Vec::new();
    let mut told = kind;
    while told.is_none() {
        let Some(op) = ops.next()? else {
            let message = "expected operations that show the kind of the history".into();
            return Err(ops.wrong(ops.line, message));
        };
        told = Kind::of(&op);
        head.push(op);
    }
    Ok(match told.unwrap_or(Kind::Log) {
        Kind::Log => {
            let history = ops.feed(head, kafka::Kafka::default())?.history;
            AnyHistory::Log { history, jepsen: true }
        }
        Kind::Register => AnyHistory::Register(
            ops.feed(head, objects::Objects::<objects::Register>::new())?.into_history(),
        ),
        Kind::Kv => {
            AnyHistory::Kv(ops.feed(head, objects::Objects::<objects::Kv>::new())?.into_history())
        }
        Kind::Mutex => AnyHistory::Mutex(
            ops.feed(head, objects::Objects::<objects::Mutex>::new())?.into_history(),
        ),
        Kind::Queue => AnyHistory::Queue(
            ops.feed(head, objects::Objects::<objects::Queue>::new())?.into_history(),
        ),
        Kind::AppendLog => AnyHistory::AppendLog(
            ops.feed(head, objects::Objects::<objects::AppendLog>::new())?.into_history(),
        ),
        Kind::ListAppend => {
            AnyHistory::ListAppend(ops.feed(head, lists::Lists::default())?.history)
        }
    })
}
