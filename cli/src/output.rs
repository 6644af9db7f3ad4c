//! A command's output and end: standard output, failures, colours, numbers.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The outcome of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All held: exit code 0.
    Held,
    /// A violation was found: exit code 1.
    Violated,
}

/// A command could not do what was asked: exit code 2, unless a library says otherwise.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
    silent: bool,
}

impl Failure {
    /// `attempted` completes "cannot ...", `why` is the cause, `remedy` says what to do.
    pub fn new(
        attempted: impl Into<String>,
        why: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Failure {
        let (attempted, remedy) = (attempted.into(), remedy.into());
        let end = if remedy.is_empty() { String::new() } else { format!("\n  {remedy}") };
        Failure::sentence(format!("cannot {attempted}: {why}{end}"), 2)
    }

    /// A library's own message, with its exit code.
    pub fn sentence(text: impl fmt::Display, code: u8) -> Failure {
        Failure { text: text.to_string(), code, silent: false }
    }

    /// The message.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Whether the reader of our output is gone, so that nothing need be reported.
    pub fn is_silent(&self) -> bool {
        self.silent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Style::Bad.paint("error:", colour_allowed(io::stderr().is_terminal()));
        write!(f, "{error} {}", self.text)
    }
}

impl From<io::Error> for Failure {
    /// An error of standard output; files name themselves with [`Failure::new`].
    fn from(error: io::Error) -> Failure {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        let remedy = "Check where the output goes.";
        Failure { silent, ..Failure::new("write to standard output", error, remedy) }
    }
}

/// Buffered standard output. The command ends quietly when the reader is gone.
pub struct Out {
    writer: Box<dyn Write>,
    colour: bool,
}

impl Out {
    /// The process's standard output.
    pub fn standard() -> Out {
        let stdout = io::stdout();
        let colour = colour_allowed(stdout.is_terminal());
        Out { writer: Box::new(io::BufWriter::new(stdout)), colour }
    }

    /// An output that discards everything.
    #[cfg(test)]
    pub fn nowhere() -> Out {
        Out { writer: Box::new(io::sink()), colour: false }
    }

    /// Writes one line.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// Writes the text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.writer.write_all(text.as_bytes())?)
    }

    /// Writes one JSON value, indented, and a newline.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).expect("keys are strings");
        self.line(text)
    }

    /// Flushes the buffer.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }

    /// `text` in that style, if this output may be coloured.
    pub fn paint(&self, style: Style, text: &str) -> String {
        style.paint(text, self.colour)
    }
}

/// A file that is written after the work, and checked to be writable before it.
#[derive(Debug)]
pub struct Later {
    path: PathBuf,
    flag: &'static str,
    file: File,
}

impl Later {
    /// Opens or creates the file. It keeps its contents until [`Later::write`].
    pub fn open(path: &Path, flag: &'static str) -> Result<Later, Failure> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| Later::cannot(path, flag, error))?;
        Ok(Later { path: path.to_owned(), flag, file })
    }

    /// Replaces the contents.
    pub fn write(
        mut self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let write = |file: &mut File| {
            // A pipe or a device has nothing to replace.
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            let mut writer = io::BufWriter::new(file);
            content(&mut writer)?;
            writer.flush()
        };
        write(&mut self.file).map_err(|error| Later::cannot(&self.path, self.flag, error))
    }

    fn cannot(path: &Path, flag: &str, error: io::Error) -> Failure {
        let remedy = format!("Name another file with {flag}.");
        Failure::new(format!("write {}", path.display()), error, remedy)
    }
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A violation, an error.
    Bad,
    /// All held.
    Good,
    /// What a reader looks for first.
    Heading,
}

impl Style {
    fn paint(self, text: &str, colour: bool) -> String {
        if !colour {
            return text.to_owned();
        }
        let code = match self {
            Style::Bad => "1;31",
            Style::Good => "32",
            Style::Heading => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// <https://no-color.org>: any value but the empty one switches colours off.
fn colour_allowed(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A whole number with thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured number for people: three significant digits, or whole with thousands apart.
pub fn measured(number: f64) -> String {
    if !number.is_finite() {
        "-".to_owned()
    } else if number.abs() >= 100.0 {
        grouped(number.round().max(0.0) as u64)
    } else if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(measured(1234.5), "1,235");
        assert_eq!(measured(12.345), "12.3");
        assert_eq!(measured(0.5), "0.50");
        assert_eq!(measured(f64::NAN), "-");
    }

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure::new("read plan.json", "no such file", "Check the path.");
        let text = failure.to_string();
        assert!(text.contains("cannot read plan.json: no such file\n  Check the path."), "{text}");
    }

    #[test]
    fn no_colour_where_none_is_allowed() {
        assert_eq!(Style::Bad.paint("x", false), "x");
        assert_eq!(Style::Bad.paint("x", true), "\x1b[1;31mx\x1b[0m");
        assert!(!colour_allowed(false));
    }
}
