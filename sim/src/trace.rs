//! Makes a trace's lines readable.
//!
//! The world writes a line for each event, effect and note as Rust prints them. Here they get
//! columns, topics get their names, payloads become lengths, and noise (wrappers, absent fields) is
//! removed. This text is never compared or digested.

use std::collections::BTreeMap;
use wavetank_core::types::{METADATA_TOPIC, METADATA_TOPIC_ID, Monotonic, Uuid};

/// The legend of a trace's signs.
pub const LEGEND: &str = "\
time, node (0: the tank; 101 on: clients), and  < an event delivered to the node  > an effect
that it submits  ! a note that it emits  * an action of the tank on it";

/// Types that only wrap a number.
const WRAPPERS: [&str; 12] = [
    "BrokerEpoch",
    "ConnectionId",
    "DirId",
    "LeaderEpoch",
    "Monotonic",
    "NodeId",
    "Offset",
    "PartitionEpoch",
    "QueryId",
    "RecordId",
    "Some",
    "Uuid",
];

/// Formats one line in columns, without noise.
pub fn readable(line: &str, topics: &BTreeMap<Uuid, String>) -> String {
    let mut parts = line.splitn(4, ' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(time), Some(node), Some(sign), Some(what))
            if time.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            format!("{time:>11} {node:>3} {sign} {}", Reader { topics }.text(what))
        }
        _ => line.to_owned(),
    }
}

struct Reader<'a> {
    topics: &'a BTreeMap<Uuid, String>,
}

impl Reader<'_> {
    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            if text[at..].starts_with("b\"") {
                let end = end_of_string(text, at + 1);
                let bytes = text.get(at + 2..end - 1).map_or(0, length);
                out += &format!("<{bytes} bytes>");
                at = end;
            } else if c == '"' {
                let end = end_of_string(text, at);
                out += &text[at..end];
                at = end;
            } else if c.is_ascii_alphabetic() || c == '_' {
                at = self.word(text, at, &mut out);
            } else {
                out.push(c);
                at += c.len_utf8();
            }
        }
        out
    }

    /// Formats a word and, if it is a type's name, its content. Returns where it ends.
    fn word(&self, text: &str, at: usize, out: &mut String) -> usize {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text[at..].find(|c| !is_word(c)).map_or(text.len(), |len| at + len);
        let (word, rest) = (&text[at..end], &text[end..]);
        if rest.starts_with('(')
            && WRAPPERS.contains(&word)
            && let Some(close) = end_of_group(text, end)
        {
            out.push_str(&self.unwrapped(word, &text[end + 1..close - 1]));
            return close;
        }
        if rest.starts_with(" { ")
            && let Some(close) = end_of_group(text, end + 1)
        {
            let fields = fields(&text[end + 2..close - 1]);
            let read = |name: &str| {
                let field =
                    fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "));
                field.map(|value| self.text(value)).unwrap_or_default()
            };
            match word {
                "TopicPartition" => *out += &format!("{}-{}", read("topic"), read("partition")),
                "TopicRef" => *out += read("name").trim_matches('"'),
                "FileId" => *out += &format!("{} in dir {}", read("kind"), read("dir")),
                "ReplyTo" => *out += &format!("{}#{}", read("connection"), read("number")),
                _ => {
                    let says =
                        |field: &&&str| !field.ends_with(": None") && !field.ends_with(": []");
                    let kept = fields.iter().filter(says).map(|field| self.text(field));
                    *out += &format!("{word} {{ {} }}", kept.collect::<Vec<_>>().join(", "));
                }
            }
            return close;
        }
        out.push_str(word);
        end
    }

    fn unwrapped(&self, word: &str, inner: &str) -> String {
        match word {
            "Uuid" => match inner.parse::<Uuid>() {
                Ok(METADATA_TOPIC_ID) => METADATA_TOPIC.to_owned(),
                Ok(id) => match self.topics.get(&id) {
                    Some(name) => name.clone(),
                    None => format!("{:08x}", id.0 >> 96),
                },
                Err(_) => self.text(inner),
            },
            "Monotonic" => match inner.parse() {
                Ok(ns) => Monotonic(ns).to_string(),
                Err(_) => self.text(inner),
            },
            _ => self.text(inner),
        }
    }
}

/// The end of the string whose opening quote is at `at`.
fn end_of_string(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (offset, c) in text[at + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1 + offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length in bytes of a byte string, from the text between its quotes.
fn length(text: &str) -> usize {
    let (mut count, mut rest) = (0, text);
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' if rest.starts_with("\\x") => 4,
            '\\' => 2,
            _ => c.len_utf8(),
        };
        rest = rest.get(taken..).unwrap_or("");
        count += 1;
    }
    count
}

/// The end of the bracket that opens at `at`, if it is closed.
fn end_of_group(text: &str, at: usize) -> Option<usize> {
    let (mut depth, mut here) = (0_usize, at);
    while let Some(c) = text[here..].chars().next() {
        if c == '"' {
            here = end_of_string(text, here);
            continue;
        }
        here += c.len_utf8();
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(here);
        }
    }
    None
}

/// The fields of a struct's body.
fn fields(body: &str) -> Vec<&str> {
    let (mut parts, mut from, mut here) = (Vec::new(), 0, 0);
    while let Some(c) = body[here..].chars().next() {
        match c {
            '"' => here = end_of_string(body, here),
            '(' | '[' | '{' => here = end_of_group(body, here).unwrap_or(body.len()),
            ',' => {
                parts.push(body[from..here].trim());
                here += 1;
                from = here;
            }
            _ => here += c.len_utf8(),
        }
    }
    parts.push(body[from..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        readable(line, &[(Uuid(7), "storm0".to_owned())].into())
    }

    #[test]
    fn what_says_nothing_goes_and_topics_have_names() {
        assert_eq!(
            shown(
                "1.310560s 1 ! LeaderAppended { partition: TopicPartition { topic: \
                 Uuid(AAAAAAAAAAAAAAAAAAAABw), partition: 0 }, epoch: LeaderEpoch(2), \
                 first: Offset(56), end: Offset(59) }"
            ),
            "  1.310560s   1 ! LeaderAppended { partition: storm0-0, epoch: 2, first: 56, end: 59 }"
        );
        assert_eq!(
            shown(
                "0.5s 101 > respond ReplyTo { connection: ConnectionId(3), number: 9 } \
                 Fetch(FetchResponse { error: None, topics: [], session_id: 0, of: Some(Offset(1)) })"
            ),
            "       0.5s 101 > respond 3#9 Fetch(FetchResponse { session_id: 0, of: 1 })"
        );
    }

    #[test]
    fn payloads_are_lengths_and_brackets_in_them_do_not_count() {
        assert_eq!(
            shown(
                "0.1s 2 > Append { file: FileId { dir: DirId(2), kind: Log(Offset(0)) }, \
                 at: 4, bytes: [b\"\\0\\x98a\\\"}\", b\"bc\"] }"
            ),
            "       0.1s   2 > Append { file: Log(0) in dir 2, at: 4, bytes: [<5 bytes>, <2 bytes>] }"
        );
        assert_eq!(
            shown("0.1s 2 < Timer { key: \"a, {b\" }"),
            "       0.1s   2 < Timer { key: \"a, {b\" }"
        );
    }

    #[test]
    fn what_is_no_line_of_a_trace_stays_as_it_is() {
        assert_eq!(shown("(the run had ended)"), "(the run had ended)".to_owned());
        for cut in
            ["0.1s 2 > Append { b\"", "0.1s 2 > Offset(", "0.1s 2 > X { a: \"", "0.1s 2 > X { "]
        {
            assert!(shown(cut).contains("0.1s"), "{cut}");
        }
    }
}
