//! One line of a history, in the shape of Jepsen: an operation's invocation or completion.

use super::form::Form;

/// What happened to the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// An invocation or a completion.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) line: u64,
    pub(super) kind: Type,
    pub(super) process: u32,
    pub(super) f: String,
    pub(super) value: Form,
    pub(super) time: u64,
    form: Form,
}

impl Op {
    /// `None` for entries that are not a client's (Jepsen's nemesis has a name, not a number).
    pub(super) fn of(form: Form, line: u64) -> Result<Option<Op>, String> {
        let Form::Map(_) = form else {
            return Err(format!("expected an operation (a map), not {}", short(&form)));
        };
        let process = match form.get("process") {
            Some(Form::Int(number)) => u32::try_from(*number)
                .map_err(|_| format!("expected a process from 0 to 2^32-1, not {number}"))?,
            Some(Form::Keyword(_)) => return Ok(None),
            Some(Form::Text(name)) if name.starts_with(|c: char| c.is_alphabetic()) => {
                return Ok(None);
            }
            Some(other) => {
                return Err(format!("expected a number as :process, not {}", short(other)));
            }
            None => return Err("expected :process".into()),
        };
        let kind = match form.get("type").and_then(Form::name) {
            Some("invoke") => Type::Invoke,
            Some("ok") => Type::Ok,
            Some("fail") => Type::Fail,
            Some("info") => Type::Info,
            Some(other) => {
                return Err(format!("expected :type invoke, ok, fail or info, not {other}"));
            }
            None => return Err("expected :type".into()),
        };
        let f = form.get("f").and_then(Form::name).ok_or("expected :f")?.to_owned();
        let value = form.get("value").cloned().unwrap_or(Form::Nil);
        let time = match form.get("time") {
            // Clocks that start late make the first times negative.
            Some(Form::Int(time)) => u64::try_from(*time).unwrap_or(0),
            Some(Form::Nil) | None => 0,
            Some(other) => return Err(format!("expected a number as :time, not {}", short(other))),
        };
        Ok(Some(Op { line, kind, process, f, value, time, form }))
    }

    /// Another field.
    pub(super) fn get(&self, name: &str) -> Option<&Form> {
        self.form.get(name).filter(|form| **form != Form::Nil)
    }
}

/// A form, shortened for a message.
pub(super) fn short(form: &Form) -> String {
    let text = form.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text,
    }
}
