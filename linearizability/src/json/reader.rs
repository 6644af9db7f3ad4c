//! Reads lines into a history.

use std::io::BufRead;

use super::line::{Content, Function, Line, Pairs, Place, Type};
use crate::hash::FastMap;
use crate::read_error::ReadError;
use crate::{Acks, Change, History, Loss, OpId, Partition, Polled, Position, Value};

/// Reads a history line by line. `file` is its name in errors.
///
/// # Errors
/// If reading fails, or a line is not as the module's documentation says: the whole file is then
/// rejected.
pub fn read(file: &str, mut input: impl BufRead) -> Result<History, ReadError> {
    let mut reader = Reader::default();
    let mut text = Vec::new();
    let mut number = 0;
    loop {
        text.clear();
        number += 1;
        let read = input
            .read_until(b'\n', &mut text)
            .map_err(|error| ReadError::Io { file: file.into(), error })?;
        if read == 0 {
            return Ok(reader.history);
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let result = serde_json::from_slice(&text)
            .map_err(|error| format!("expected a line of a history: {error}"))
            .and_then(|line| reader.line(line));
        result.map_err(|message| ReadError::Line { file: file.into(), line: number, message })?;
    }
}

#[derive(Default)]
struct Reader {
    history: History,
    /// Invocations without a completion, by process, function and `op`.
    open: FastMap<(u32, Function), Vec<(Option<u64>, OpId)>>,
    polled: Vec<Polled>,
    names: FastMap<String, Partition>,
}

impl Reader {
    fn line(&mut self, line: Line<'_>) -> Result<(), String> {
        if line.kind == Type::Loss {
            return self.loss(&line);
        }
        let f = line.f.ok_or("expected \"f\": send, poll, assign, seek or another function")?;
        let process = line.process.ok_or("expected \"process\"")?;
        allowed(&line, f)?;
        match (line.kind, f) {
            (Type::Invoke, Function::Send) => self.send(&line, process),
            (Type::Invoke, Function::Poll) => {
                let op = self.history.invoke_poll(process, line.time);
                self.join(&line, process, op)?;
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
            (Type::Invoke, Function::Transaction | Function::Commit | Function::Committed) => {
                self.invoke_rare(&line, process, f)
            }
            (Type::Invoke, Function::End) => self.end(&line, process),
            (Type::Ok, Function::Transaction | Function::Commit) => {
                let op = self.close(process, f, line.op)?;
                self.history.done(op, line.time);
                Ok(())
            }
            (Type::Ok, Function::Committed) => {
                let op = self.close(process, f, line.op)?;
                let offsets = line.offsets.as_ref().ok_or("expected \"offsets\"")?;
                let offsets = self.offsets(offsets)?;
                self.history.return_offsets(op, line.time, &offsets);
                Ok(())
            }
            (
                Type::Fail | Type::Info,
                Function::Send
                | Function::Poll
                | Function::Transaction
                | Function::Commit
                | Function::Committed,
            ) => {
                let op = self.close(process, f, line.op)?;
                if line.kind == Type::Fail {
                    self.history.fail(op, line.time);
                } else {
                    self.history.info(op, line.time);
                }
                Ok(())
            }
            (Type::Ok, _) => self.event(&line, process, f),
            (_, Function::End) => Err("expected end to be of type \"invoke\"".into()),
            (Type::Invoke | Type::Fail | Type::Info, _) => {
                Err(format!("expected {f} to be of type \"ok\""))
            }
            (Type::Loss, _) => unreachable!("handled above"),
        }
    }

    fn end(&mut self, line: &Line<'_>, process: u32) -> Result<(), String> {
        let op = line.transaction.ok_or("expected \"transaction\"")?;
        let transaction = self.transaction(process, op)?;
        let action = self.history.operation(transaction).action;
        if action != (crate::Action::Transaction { ending: u64::MAX }) {
            return Err(format!("expected one end of transaction {op}, not two"));
        }
        self.history.end(transaction, line.time);
        Ok(())
    }

    /// Operations without duration.
    fn event(&mut self, line: &Line<'_>, process: u32, f: Function) -> Result<(), String> {
        match f {
            Function::Assign => {
                let positions = self.positions(line)?;
                self.history.assign_at(process, line.time, &positions);
            }
            Function::Seek => {
                natural("offset", line.offset)?;
                let partition = self.partition(line)?;
                self.history.seek(process, line.time, partition, line.offset);
            }
            Function::Subscribe => drop(self.history.subscribe(process, line.time)),
            Function::Crash => drop(self.history.crash(process, line.time)),
            Function::Assigned | Function::Revoked | Function::Lost | Function::Changed => {
                self.rebalance(line, process, f)?;
            }
            Function::End => return Err("expected end to be of type \"invoke\"".into()),
            Function::Send
            | Function::Poll
            | Function::Transaction
            | Function::Commit
            | Function::Committed => unreachable!("operations with a duration: handled before"),
        }
        Ok(())
    }

    fn rebalance(&mut self, line: &Line<'_>, process: u32, f: Function) -> Result<(), String> {
        let change = f.change().ok_or("expected a rebalance")?;
        let group = line.group.as_ref().ok_or("expected \"group\"")?;
        let group = self.history.group(group);
        natural("generation", line.generation.map(i64::from))?;
        let partitions = if change == Change::Assigned {
            self.positions(line)?
        } else {
            let names = line.partitions.as_ref().ok_or("expected \"partitions\"")?;
            names.iter().map(|name| (self.named(name), Position::Unknown)).collect()
        };
        let (time, generation) = (line.time, line.generation);
        self.history.rebalance(process, time, group, generation, change, &partitions);
        Ok(())
    }

    fn invoke_rare(&mut self, line: &Line<'_>, process: u32, f: Function) -> Result<(), String> {
        if f == Function::Transaction {
            let other = self.open.get(&(process, f)).is_some_and(|open| !open.is_empty());
            if other {
                return Err(format!("process {process} has another transaction open"));
            }
            let op = self.history.begin(process, line.time);
            return self.open(process, f, line.op, op);
        }
        let group = line.group.as_ref().ok_or("expected \"group\"")?;
        let group = self.history.group(group);
        if f == Function::Committed {
            let op = self.history.fetch_offsets(process, line.time, group);
            return self.open(process, f, line.op, op);
        }
        natural("generation", line.generation.map(i64::from))?;
        let offsets = line.offsets.as_ref().ok_or("expected \"offsets\"")?;
        let offsets = self.offsets(offsets)?;
        let certain: Option<Vec<(Partition, i64)>> =
            offsets.into_iter().map(|(partition, at)| Some((partition, at?))).collect();
        let certain = certain.ok_or("expected offsets to commit, not null")?;
        let (time, generation) = (line.time, line.generation);
        let op = self.history.commit_offsets(process, time, group, generation, &certain);
        self.join(line, process, op)?;
        self.open(process, f, line.op, op)
    }

    /// The open transaction with that `op`.
    fn transaction(&self, process: u32, op: u64) -> Result<OpId, String> {
        let open = self.open.get(&(process, Function::Transaction));
        let of = open.into_iter().flatten().find(|(known, _)| *known == Some(op));
        of.map(|(_, id)| *id)
            .ok_or_else(|| format!("expected process {process} to have a transaction {op} open"))
    }

    fn join(&mut self, line: &Line<'_>, process: u32, op: OpId) -> Result<(), String> {
        if let Some(of) = line.transaction {
            let transaction = self.transaction(process, of)?;
            self.history.join(op, transaction);
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
            || line.records.is_some()
            || has_rare(line);
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
        Ok(self.named(name))
    }

    fn named(&mut self, name: &str) -> Partition {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let partition = self.history.partition(name);
        self.names.insert(name.into(), partition);
        partition
    }

    fn positions(&mut self, line: &Line<'_>) -> Result<Vec<(Partition, Position)>, String> {
        let positions = line.positions.as_ref().ok_or("expected \"positions\"")?;
        Ok(positions.0.iter().map(|(name, place)| (self.named(name), place.0)).collect())
    }

    fn offsets(
        &mut self,
        offsets: &Pairs<'_, Place>,
    ) -> Result<Vec<(Partition, Option<i64>)>, String> {
        let mut list = Vec::with_capacity(offsets.0.len());
        for (name, place) in &offsets.0 {
            let at = match place.0 {
                Position::At(offset) => Some(offset),
                Position::Unknown => None,
                Position::Kept => return Err("expected an offset or null, not \"kept\"".into()),
            };
            list.push((self.named(name), at));
        }
        Ok(list)
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
        if let Some((name, offset)) = &line.source {
            natural("offset", Some(*offset))?;
            let source = self.named(name);
            self.history.made_from(op, source, *offset);
        }
        if let Some(amount) = line.amount {
            self.history.amount(op, amount);
        }
        self.join(line, process, op)?;
        self.open(process, Function::Send, line.op, op)
    }

    fn poll(&mut self, line: &Line<'_>, process: u32) -> Result<(), String> {
        let records = line.records.as_ref().ok_or("expected \"records\"")?;
        let mut polled = std::mem::take(&mut self.polled);
        polled.clear();
        for (name, list) in &records.0 {
            let partition = self.named(name);
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
            let op = self.history.invoke_poll(process, line.time);
            self.join(line, process, op)?;
            op
        } else if line.transaction.is_some() {
            return Err("expected \"transaction\" where the poll was invoked".into());
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

fn has_rare(line: &Line<'_>) -> bool {
    line.transaction.is_some()
        || line.group.is_some()
        || line.generation.is_some()
        || line.partitions.is_some()
        || line.offsets.is_some()
        || line.source.is_some()
        || line.amount.is_some()
}

/// Refuses fields that do not belong in a line of this kind.
fn allowed(line: &Line<'_>, f: Function) -> Result<(), String> {
    let invoke = line.kind == Type::Invoke;
    let ok = line.kind == Type::Ok;
    let send = f == Function::Send;
    let long = match f {
        Function::Send
        | Function::Poll
        | Function::Transaction
        | Function::Commit
        | Function::Committed => true,
        Function::Assign
        | Function::Seek
        | Function::Subscribe
        | Function::End
        | Function::Assigned
        | Function::Revoked
        | Function::Lost
        | Function::Changed
        | Function::Crash => false,
    };
    let commit = f == Function::Commit && invoke;
    let rebalance = f.change().is_some();
    let assigned = f == Function::Assigned;
    let checks = [
        ("op", line.op.is_some(), long),
        ("partition", line.partition.is_some(), send && invoke || f == Function::Seek),
        ("value", line.value.is_some(), send && invoke),
        ("acks", line.acks.is_some(), send && invoke),
        ("offset", line.offset.is_some(), send && ok || f == Function::Seek),
        ("epoch", line.epoch.is_some(), send && ok),
        ("positions", line.positions.is_some(), f == Function::Assign || assigned),
        ("records", line.records.is_some(), f == Function::Poll && ok),
    ];
    let place = |checks: &[(&str, bool, bool)]| match checks.iter().find(|c| c.1 && !c.2) {
        Some((name, ..)) => Err(format!("\"{name}\" is not allowed in this line of a {f}")),
        None => Ok(()),
    };
    place(&checks)?;
    if !has_rare(line) {
        return Ok(());
    }
    let joins = invoke && send || f == Function::Poll && (invoke || ok) || commit;
    let asks = f == Function::Committed && invoke;
    let answers = f == Function::Committed && ok;
    place(&[
        ("transaction", line.transaction.is_some(), joins || f == Function::End),
        ("group", line.group.is_some(), commit || asks || rebalance),
        ("generation", line.generation.is_some(), commit || rebalance),
        ("partitions", line.partitions.is_some(), rebalance && !assigned),
        ("offsets", line.offsets.is_some(), commit || answers),
        ("source", line.source.is_some(), send && invoke),
        ("amount", line.amount.is_some(), send && invoke),
    ])
}

fn natural(name: &str, number: Option<i64>) -> Result<(), String> {
    match number {
        Some(number) if number < 0 => Err(format!("expected {name} from 0, not {number}")),
        Some(_) | None => Ok(()),
    }
}
