//! A reader of EDN (<https://github.com/edn-format/edn>) that returns one form after the other.
//!
//! Histories are too large for memory, and come as one vector of a million maps. So forms are read
//! from a stream, and the outermost vector or list is opened, not read. The existing crates
//! (edn-rs, which says that its development is halted; clojure-reader; edn) need all of the text in
//! memory.
//!
//! Tags (`#inst`, a record's name) are dropped, and the forms after them are kept. Characters
//! become texts. Numbers that are not integers, or too large for 64 bits, become texts as written.

use std::io::{self, BufRead};

use super::form::Form;

/// Maximum depth of forms; deeper ones could overflow the stack.
const DEPTH: u32 = 100;

/// Why there is no next form.
#[derive(Debug)]
pub(super) enum Error {
    Io(io::Error),
    /// What was expected, and what was there.
    Syntax(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

fn syntax<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Syntax(message.into()))
}

/// What was read.
enum Token {
    Form(Form),
    /// `#_` and the form after it.
    Nothing,
    /// A closing bracket.
    Close(u8),
    End,
}

/// The forms of a stream.
pub(super) struct Forms<R> {
    input: R,
    /// The line of the next byte, from 1.
    line: u64,
    /// The bracket that closes the outermost vector or list, once that is open.
    outer: Option<u8>,
    begun: bool,
}

impl<R: BufRead> Forms<R> {
    pub(super) fn new(input: R) -> Forms<R> {
        Forms { input, line: 1, outer: None, begun: false }
    }

    /// The current line.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next form at the top level, or in the outermost vector.
    pub(super) fn next(&mut self) -> Result<Option<Form>, Error> {
        if !self.begun {
            self.begun = true;
            self.skip_space()?;
            self.outer = match self.peek()? {
                Some(b'[') => Some(b']'),
                Some(b'(') => Some(b')'),
                Some(_) | None => None,
            };
            if self.outer.is_some() {
                self.take()?;
            }
        }
        loop {
            match (self.token(0)?, self.outer) {
                (Token::Form(form), _) => return Ok(Some(form)),
                (Token::Nothing, _) => {}
                (Token::End, None) => return Ok(None),
                (Token::End, Some(close)) => {
                    return syntax(format!("expected {} before the end", char::from(close)));
                }
                (Token::Close(found), Some(close)) if found == close => {
                    self.outer = None;
                    self.skip_space()?;
                    return match self.peek()? {
                        None => Ok(None),
                        Some(byte) => syntax(format!(
                            "expected nothing after the history, not {:?}",
                            char::from(byte)
                        )),
                    };
                }
                (Token::Close(found), _) => {
                    return syntax(format!("expected a form, not {}", char::from(found)));
                }
            }
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }

    /// Commas count as space; a semicolon begins a comment.
    fn skip_space(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            if byte == b';' {
                while !matches!(self.take()?, None | Some(b'\n')) {}
            } else if byte.is_ascii_whitespace() || byte == b',' {
                self.take()?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn token(&mut self, depth: u32) -> Result<Token, Error> {
        if depth > DEPTH {
            return syntax(format!("expected forms at most {DEPTH} deep"));
        }
        self.skip_space()?;
        let Some(byte) = self.peek()? else { return Ok(Token::End) };
        let form = match byte {
            b')' | b']' | b'}' => {
                self.take()?;
                return Ok(Token::Close(byte));
            }
            b'(' => Form::List(self.sequence(b')', depth)?),
            b'[' => Form::List(self.sequence(b']', depth)?),
            b'{' => self.map(depth)?,
            b'"' => Form::Text(self.string()?),
            b'\\' => Form::Text(self.character()?),
            b'#' => return self.dispatch(depth),
            _ => self.atom()?,
        };
        Ok(Token::Form(form))
    }

    /// A required form.
    fn form(&mut self, depth: u32) -> Result<Form, Error> {
        loop {
            match self.token(depth)? {
                Token::Form(form) => return Ok(form),
                Token::Nothing => {}
                Token::Close(close) => {
                    return syntax(format!("expected a form, not {}", char::from(close)));
                }
                Token::End => return syntax("expected a form before the end"),
            }
        }
    }

    /// The forms up to a closing bracket; the opening one comes next.
    fn sequence(&mut self, close: u8, depth: u32) -> Result<Vec<Form>, Error> {
        self.take()?;
        let mut list = Vec::new();
        loop {
            match self.token(depth + 1)? {
                Token::Form(form) => list.push(form),
                Token::Nothing => {}
                Token::Close(found) if found == close => return Ok(list),
                Token::Close(found) => {
                    let (close, found) = (char::from(close), char::from(found));
                    return syntax(format!("expected {close}, not {found}"));
                }
                Token::End => {
                    return syntax(format!("expected {} before the end", char::from(close)));
                }
            }
        }
    }

    fn map(&mut self, depth: u32) -> Result<Form, Error> {
        let forms = self.sequence(b'}', depth)?;
        if !forms.len().is_multiple_of(2) {
            return syntax("expected a value for each key of a map");
        }
        let mut forms = forms.into_iter();
        let mut pairs = Vec::new();
        while let (Some(key), Some(value)) = (forms.next(), forms.next()) {
            pairs.push((key, value));
        }
        Ok(Form::Map(pairs))
    }

    /// After a `#`: a set, something to skip, or a tag.
    fn dispatch(&mut self, depth: u32) -> Result<Token, Error> {
        self.take()?;
        match self.peek()? {
            Some(b'{') => Ok(Token::Form(Form::List(self.sequence(b'}', depth)?))),
            Some(b'_') => {
                self.take()?;
                self.form(depth + 1)?;
                Ok(Token::Nothing)
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                self.word()?;
                Ok(Token::Form(self.form(depth + 1)?))
            }
            Some(b'#') => {
                // ##Inf, ##NaN.
                self.take()?;
                Ok(Token::Form(Form::Text(self.word()?)))
            }
            Some(byte) => syntax(format!("expected a tag, not #{}", char::from(byte))),
            None => syntax("expected a tag before the end"),
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        self.take()?;
        let mut bytes = Vec::new();
        loop {
            match self.take()? {
                None => return syntax("expected \" before the end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    let escaped = match self.take()? {
                        Some(b'n') => '\n',
                        Some(b't') => '\t',
                        Some(b'r') => '\r',
                        Some(b'b') => '\u{8}',
                        Some(b'f') => '\u{c}',
                        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
                        Some(b'u') => self.unicode()?,
                        Some(byte) => {
                            return syntax(format!(
                                "expected an escape, not \\{}",
                                char::from(byte)
                            ));
                        }
                        None => return syntax("expected \" before the end"),
                    };
                    bytes.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).or_else(|_| syntax("expected a text in UTF-8"))
    }

    /// Four hexadecimal digits.
    fn unicode(&mut self) -> Result<char, Error> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.take()?.and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return syntax("expected four hexadecimal digits") };
            number = number * 16 + digit;
        }
        Ok(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn character(&mut self) -> Result<String, Error> {
        self.take()?;
        let first = match self.take()? {
            Some(byte) => byte,
            None => return syntax("expected a character before the end"),
        };
        let mut bytes = vec![first];
        bytes.extend_from_slice(self.word_bytes()?.as_slice());
        let word = String::from_utf8(bytes).or_else(|_| syntax("expected a character in UTF-8"))?;
        Ok(match word.as_str() {
            "newline" => "\n".into(),
            "space" => " ".into(),
            "tab" => "\t".into(),
            "return" => "\r".into(),
            _ => word,
        })
    }

    fn word_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek()? {
            let ends = byte.is_ascii_whitespace() || b",;()[]{}\"\\".contains(&byte);
            if ends {
                break;
            }
            bytes.push(byte);
            self.take()?;
        }
        Ok(bytes)
    }

    fn word(&mut self) -> Result<String, Error> {
        let bytes = self.word_bytes()?;
        String::from_utf8(bytes).or_else(|_| syntax("expected a word in UTF-8"))
    }

    /// A keyword, number, symbol, `nil`, `true` or `false`.
    fn atom(&mut self) -> Result<Form, Error> {
        let word = self.word()?;
        if let Some(name) = word.strip_prefix(':') {
            if name.is_empty() {
                return syntax("expected a keyword, not a colon alone");
            }
            return Ok(Form::Keyword(name.into()));
        }
        let digits = word.strip_suffix('N').unwrap_or(&word);
        Ok(match (word.as_str(), digits.parse()) {
            (_, Ok(number)) => Form::Int(number),
            ("nil", _) => Form::Nil,
            ("true", _) => Form::Bool(true),
            ("false", _) => Form::Bool(false),
            ("", _) => return syntax("expected a form"),
            (_, Err(_)) => Form::Text(word),
        })
    }
}
