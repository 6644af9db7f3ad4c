//! A reader for the JSON of two small files: whole numbers, strings, arrays, objects, literals;
//! bounded in depth. Nothing else in the core uses JSON.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::formats::FormatError;

/// Maximum nesting depth of values; the files need three.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => {
                fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Array(_) => {
                None
            }
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }
}

pub(super) fn parse(file: &'static str, text: &str) -> Result<Value, FormatError> {
    let mut parser = Parser { file, text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() { Err(parser.error("the end")) } else { Ok(value) }
}

struct Parser<'a> {
    file: &'static str,
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, expected: &str) -> FormatError {
        let line = 1 + self.text.bytes().take(self.at).filter(|b| *b == b'\n').count();
        let what = format!("not JSON: expected {expected} at byte {}", self.at);
        FormatError::new(self.file, line, what)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let eats = self.peek() == Some(byte);
        self.at += usize::from(eats);
        eats
    }

    fn value(&mut self, depth: usize) -> Result<Value, FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.error("less nesting"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(_) | None => Err(self.error("a value")),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, FormatError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error(word))
        }
    }

    fn integer(&mut self) -> Result<Value, FormatError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        match self.text[start..self.at].parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => {
                self.at = start;
                Err(self.error("a 64-bit integer"))
            }
        }
    }

    fn string(&mut self) -> Result<String, FormatError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else { return Err(self.error("a closing quote")) };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => {
                    let escaped = self.peek();
                    self.at += 1;
                    match escaped {
                        Some(plain @ (b'"' | b'\\' | b'/')) => out.push(char::from(plain)),
                        Some(b'n') => out.push('\n'),
                        Some(b't') => out.push('\t'),
                        // Others never occur in ids; refusing them is safer than guessing.
                        Some(_) | None => {
                            self.at -= 1;
                            return Err(self.error("one of \\\" \\\\ \\/ \\n \\t"));
                        }
                    }
                }
                other => out.push(other),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, FormatError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Value::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.error("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, FormatError> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.eat(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a field name"));
            }
            let name = self.string()?;
            if !self.eat(b':') {
                return Err(self.error("`:`"));
            }
            fields.push((name, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Value::Object(fields));
            }
            if !self.eat(b',') {
                return Err(self.error("`,` or `}`"));
            }
        }
    }
}
