//! Matches over closed enums have no catch-all arm: a new event or error code must be considered
//! wherever the others are.
//!
//! A match counts as one over a closed enum if an arm's pattern names a variant of it
//! (`ErrorCode::NotController`). `matches!` and `if let` are not matches here: they ask about one
//! value. Types are not known, so a match whose patterns only bind names is not found.

use std::collections::BTreeMap;

use super::{Counted, Source, is_identifier, line_of, occurrences};

/// The closed enums, and where matches over them are checked.
const CLOSED: &[&str] = &["ErrorCode", "Event", "DiskDone", "TimerKey", "Effect", "DiskOp"];
const WITHIN: &[&str] = &["core/", "wire/", "server/", "sim/", "models/", "cli/", "scenarios/"];
/// The contract tests: a case panics on whatever it does not expect.
const EXCEPT: &[&str] = &["sim/src/contract/"];

/// The catch-all arms in matches over closed enums, counted by enum.
pub(super) fn catch_alls(source: &Source) -> Vec<Counted> {
    if !WITHIN.iter().any(|folder| source.path.starts_with(folder))
        || EXCEPT.iter().any(|folder| source.path.starts_with(folder))
    {
        return Vec::new();
    }
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for at in occurrences(&source.code, "match") {
        let arms = arms(&source.code, at + "match".len());
        let closed = CLOSED.iter().find(|closed| {
            let variant = format!("{closed}::");
            arms.iter().any(|(_, pattern)| {
                let pattern = pattern.split(" if ").next().unwrap_or(pattern);
                occurrences(pattern, &variant).next().is_some()
            })
        });
        let Some(closed) = closed else { continue };
        let here = arms.iter().filter(|(_, pattern)| catches_all(pattern));
        let here = here.map(|(start, _)| line_of(&source.code, *start));
        lines.entry(closed).or_default().extend(here);
    }
    lines.retain(|_, lines| !lines.is_empty());
    let key = |closed: &str| ("catch-all".to_owned(), source.path.clone(), closed.to_owned());
    lines.iter().map(|(closed, lines)| (key(closed), lines.len(), lines[0])).collect()
}

/// The arms of the match whose scrutinee starts at `from`, as (offset of the pattern, pattern).
fn arms(code: &str, from: usize) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut arms = Vec::new();
    let Some(open) = find_at_depth_0(bytes, from, b"{") else { return arms };
    let mut at = open + 1;
    while let Some(arrow) = find_at_depth_0(bytes, at, b"=>") {
        let pattern = code[at..arrow].trim();
        let start = at + (code[at..arrow].len() - code[at..arrow].trim_start().len());
        arms.push((start, pattern));
        at = arrow + 2;
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let block = bytes.get(at) == Some(&b'{');
        if block {
            let Some(close) = find_at_depth_0(bytes, at + 1, b"}") else { break };
            at = close + 1;
        } else {
            match find_at_depth_0(bytes, at, b",") {
                Some(comma) => at = comma,
                None => break,
            }
        }
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b',') {
            at += 1;
        }
    }
    arms
}

/// Where `what` is next, outside of any bracket that opens after `from`; `None` if a bracket that
/// was open before closes first.
fn find_at_depth_0(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    for at in from..bytes.len() {
        if depth == 0 && bytes[at..].starts_with(what) {
            return Some(at);
        }
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// `_`, a name that is bound, or a tuple or wrapper of only those.
fn catches_all(pattern: &str) -> bool {
    let name = |word: &str| {
        word.bytes().all(is_identifier) && !word.starts_with(|c: char| c.is_ascii_uppercase())
    };
    let mut words = pattern.split(['(', ')', ',', ' ', '\n', '|']).filter(|word| !word.is_empty());
    let wrapper = |word: &str| matches!(word, "Some" | "Ok" | "Err");
    let all = words.clone().all(|word| name(word) || wrapper(word));
    let keyword =
        words.any(|word| matches!(word, "if" | "true" | "false") || word.parse::<u64>().is_ok());
    all && !keyword
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<usize> {
        let source = Source::new("core/src/planted.rs", code);
        catch_alls(&source).into_iter().map(|(_, _, line)| line).collect()
    }

    #[test]
    fn a_catch_all_over_a_closed_enum_is_found() {
        assert_eq!(found("match e {\n ErrorCode::None => 1,\n _ => 2,\n}\n"), [3]);
        assert_eq!(found("match e {\n ErrorCode::None => {\n }\n other => 2,\n}\n"), [4]);
        assert_eq!(found("match (a, e) {\n (1, Event::Start) => f(x, y),\n (_, _) => 2\n}\n"), [3]);
        assert_eq!(found("match e {\n Some(ErrorCode::None) => 1,\n Some(_) => 2,\n}\n"), [3]);
        let nested = "match a {\n A => match e {\n  ErrorCode::None => 1,\n  _ => 2,\n },\n}\n";
        assert_eq!(found(nested), [4]);
    }

    #[test]
    fn other_matches_are_left_alone() {
        assert_eq!(found("match e {\n Some(a) if b == ErrorCode::None => 1,\n _ => 2,\n}\n"), []);
        assert_eq!(found("match e {\n Fruit::Plum => 1,\n _ => 2,\n}\n"), []);
        assert_eq!(found("match e {\n ErrorCode::None | ErrorCode::Unknown => 1,\n}\n"), []);
        assert_eq!(found("match e {\n ErrorCode::None if x => 1,\n other if y => 2,\n}\n"), []);
        assert_eq!(found("match a {\n None => ErrorCode::None,\n Some(e) => e,\n}\n"), []);
        assert_eq!(found("match e {\n MyErrorCode::None => 1,\n _ => 2,\n}\n"), []);
        let inner = "match a {\n B { e } => match e { ErrorCode::None => 1 },\n _ => 2,\n}\n";
        assert_eq!(found(inner), []);
        let tests = "#[cfg(test)]\nmod t { fn a() { match e { ErrorCode::None => 1, _ => 2 } } }\n";
        assert_eq!(found(tests), []);
        let here = Source::new("linearizability/src/a.rs", "match e { Event::A => 1, _ => 2 }\n");
        assert_eq!(catch_alls(&here), []);
    }
}
