//! House rules that neither rustfmt nor clippy can state, checked on the text of every Rust source.
//!
//! One file without dependencies, which `ci/tidy` builds with `rustc`, so that it runs before
//! anything else compiles. It knows just enough of Rust's lexical syntax to blank out comments,
//! strings and test code. Rules that need types (a catch-all arm over one of our closed enums) are
//! not here.
//!
//! `ci/tidy` checks; `ci/tidy --fix` lowers the lengths recorded in `ci/tidy-exceptions.txt` to
//! those of the current sources, and never raises one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Maximum lines of a file, without its test code.
const FILE_LINES: usize = 800;
/// Maximum columns of a comment. rustfmt wraps code, but not comments.
const COMMENT_COLUMNS: usize = 100;
/// Maximum lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// The record of lengths above the limits.
const EXCEPTIONS: &str = "ci/tidy-exceptions.txt";

/// A banned word or call.
struct Ban {
    /// The banned text, matched as a whole word.
    text: &'static str,
    /// The folders in which it is banned; empty for everywhere.
    within: &'static [&'static str],
    /// Files in which it is allowed, or folders (with a trailing slash).
    except: &'static [&'static str],
    /// Which part of the text is searched.
    look_at: LookAt,
    /// What to do instead.
    instead: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LookAt {
    /// Code without test code.
    Code,
    /// Code and test code.
    AllCode,
    /// Code, test code and comments.
    AllButStrings,
}

/// Files that time a hunt and spread it over threads. Only these files of the tank may use a wall
/// clock or a thread, because neither reaches a run.
const HUNT_DRIVER: &[&str] = &["sim/src/hunt.rs", REENACT];
/// These files, and those that measure speed.
const CLOCKS: &[&str] = &[
    "sim/src/hunt.rs",
    "sim/benches/",
    "linearizability/benches/",
    "core/src/controller/tests/costs.rs",
    "sim/tests/cluster/costs.rs",
    REENACT,
];
/// Plays plans on real processes, which takes real time and threads.
const REENACT: &str = "sim/reenact/";
const DETERMINISTIC: &[&str] = &["core", "sim", "wire", "linearizability"];
const BUG_IS_ASSERTED: &str = "a branch that only debug has breaks determinism: assert! stays on";

const BANS: &[Ban] = &[
    Ban {
        text: "debug_assert",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assert_eq",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assert_ne",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assertions",
        within: &["core", "sim", "wire", "linearizability", "scenarios"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "debug and release must run the same program: drop the condition",
    },
    Ban {
        text: "extern crate std",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::Code,
        instead: "core is no_std: use core:: and alloc::, or take a capability of Env",
    },
    Ban {
        text: "HashMap",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "its order differs from run to run: BTreeMap",
    },
    Ban {
        text: "HashSet",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "its order differs from run to run: BTreeSet",
    },
    Ban {
        text: "RandomState",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::AllCode,
        instead: "seeded by the operating system: use a fixed hash",
    },
    Ban {
        text: "DefaultHasher",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::AllCode,
        instead: "differs between toolchains: use the tank's own digest",
    },
    Ban {
        text: "Instant::now",
        within: DETERMINISTIC,
        except: CLOCKS,
        look_at: LookAt::AllCode,
        instead: "virtual time comes from Clock::now of Env",
    },
    Ban {
        text: "SystemTime",
        within: DETERMINISTIC,
        except: CLOCKS,
        look_at: LookAt::AllCode,
        instead: "virtual time comes from Clock::wall of Env",
    },
    Ban {
        text: "std::thread",
        within: &["core", "sim", "wire"],
        except: HUNT_DRIVER,
        look_at: LookAt::Code,
        instead: "a world is single-threaded; only the hunt's driver starts threads",
    },
    Ban {
        text: ".unwrap()",
        within: &["core", "wire", "server", "sim", "scenarios", "linearizability", "cli"],
        except: &[],
        look_at: LookAt::Code,
        instead: "expect(\"why it cannot fail\") for a bug of ours, an error for bad input",
    },
    Ban {
        text: "println!",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::Code,
        instead: "a library returns its results; only cli prints",
    },
    Ban {
        text: "eprintln!",
        within: DETERMINISTIC,
        except: &["sim/reenact/src/bin/"],
        look_at: LookAt::Code,
        instead: "a library returns its results; only cli prints",
    },
    Ban {
        text: "todo!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "write it, or leave the caller out until it is written",
    },
    Ban {
        text: "unimplemented!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "write it, or leave the caller out until it is written",
    },
    Ban {
        text: "dbg!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "remove it; a lasting trace point is a Note",
    },
    Ban {
        text: "#[ignore",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "a test that does not run tests nothing: make it fast, or a step of ci/test",
    },
    Ban {
        text: "FIXME",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "fix it before it lands",
    },
    Ban {
        text: "TODO",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "do it, or say in the docs what is absent",
    },
    Ban {
        text: "XXX",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "do it, or say in the docs what is absent",
    },
    Ban {
        text: "f32",
        within: &["core"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "integers: floats differ between machines and are not Eq",
    },
    Ban {
        text: "f64",
        within: &["core"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "integers: floats differ between machines and are not Eq",
    },
];

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

/// Lengths above a limit: `(rule, path, function or "-")` to lines.
type Lengths = BTreeMap<(String, String, String), usize>;

/// A source in which the parts that a rule must not see are turned into spaces. All versions have
/// the same length, so that offsets and lines agree.
struct Source {
    path: String,
    /// Comments and strings blanked.
    all_code: String,
    /// Comments, strings and test code blanked.
    code: String,
    /// Strings blanked.
    all_but_strings: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (all_code, all_but_strings) = blank(text);
        let code = if is_test_file(path) {
            blank_range(&all_code, 0, all_code.len())
        } else {
            blank_tests(&all_code)
        };
        Source { path: path.to_owned(), all_code, code, all_but_strings }
    }

    fn look_at(&self, part: LookAt) -> &str {
        match part {
            LookAt::Code => &self.code,
            LookAt::AllCode => &self.all_code,
            LookAt::AllButStrings => &self.all_but_strings,
        }
    }
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.contains("/examples/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank_range(text: &str, from: usize, to: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    blank_bytes(&mut bytes, from, to);
    String::from_utf8(bytes).expect("only ASCII was written over whole characters")
}

fn blank_bytes(bytes: &mut [u8], from: usize, to: usize) {
    for byte in &mut bytes[from..to] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// `(comments and strings blanked, strings blanked)`.
fn blank(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            blank_bytes(&mut code, at, end);
            at = end;
        } else if rest.starts_with(b"/*") {
            let end = block_comment_end(bytes, at);
            blank_bytes(&mut code, at, end);
            at = end;
        } else if let Some(end) = string_end(bytes, at) {
            blank_bytes(&mut code, at, end);
            blank_bytes(&mut comments, at, end);
            at = end;
        } else {
            at += 1;
        }
    }
    let whole = |bytes| String::from_utf8(bytes).expect("whole tokens were blanked");
    (whole(code), whole(comments))
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of the string or character literal that starts at `at`, if one does.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let starts_word = at == 0 || !is_identifier(bytes[at - 1]);
    match bytes[at] {
        b'"' => Some(quoted_end(bytes, at + 1, b'"')),
        b'r' | b'b' | b'c' if starts_word => {
            let mut next = at + 1;
            if bytes[at] != b'r' && bytes.get(next) == Some(&b'r') {
                next += 1;
            }
            let raw = bytes[next - 1] == b'r';
            let hashes = bytes[next..].iter().take_while(|byte| **byte == b'#').count();
            if bytes.get(next + hashes) != Some(&b'"') || (hashes > 0 && !raw) {
                return None;
            }
            if !raw {
                return Some(quoted_end(bytes, next + 1, b'"'));
            }
            let mut close = vec![b'"'];
            close.extend(std::iter::repeat_n(b'#', hashes));
            let body = next + hashes + 1;
            let length = bytes[body..].windows(close.len()).position(|w| w == close);
            Some(length.map_or(bytes.len(), |length| body + length + close.len()))
        }
        // A character, not a lifetime: an escape, or one character and a quote.
        b'\'' => {
            if bytes.get(at + 1) == Some(&b'\\') {
                return Some(quoted_end(bytes, at + 1, b'\''));
            }
            let width = match bytes.get(at + 1)? {
                0..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
        }
        _ => None,
    }
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Blanks every item under `#[cfg(test)]`, and the whole file under `#![cfg(test)]`.
fn blank_tests(code: &str) -> String {
    let mut out = code.to_owned();
    if code.contains("#![cfg(test)]") {
        return blank_range(code, 0, code.len());
    }
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let bytes = out.as_bytes();
        let mut depth = 0usize;
        let mut end = bytes.len();
        for (at, byte) in bytes.iter().enumerate().skip(start + "#[cfg(test)]".len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                b';' if depth == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        out = blank_range(&out, start, end);
    }
    out
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The whole-word occurrences of `word`.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    let (first, last) = (word.as_bytes()[0], word.as_bytes()[word.len() - 1]);
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let after = bytes.get(at + word.len()).copied();
        let joined =
            |edge: u8, next: Option<u8>| is_identifier(edge) && next.is_some_and(is_identifier);
        !joined(first, before) && !joined(last, after)
    })
}

/// Functions as `(name, first line, lines)`.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for at in occurrences(code, "fn") {
        let name: String = code[at + 2..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if name.is_empty() {
            continue; // a function pointer type
        }
        let mut depth = 0usize;
        let mut brackets = 0usize;
        for (end, byte) in bytes.iter().enumerate().skip(at) {
            match byte {
                b'[' | b'(' => brackets += 1,
                b']' | b')' => brackets = brackets.saturating_sub(1),
                b';' if depth == 0 && brackets == 0 => break, // a declaration in a trait
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        let (first, last) = (line_of(code, at), line_of(code, end));
                        found.push((name, first, last - first + 1));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn check_module_doc(path: &str, text: &str) -> Option<Finding> {
    if text.starts_with("//!") {
        return None;
    }
    Some(Finding {
        path: path.to_owned(),
        line: 1,
        rule: "module-doc",
        message: "starts without `//!`: say what lives here and what does not".to_owned(),
    })
}

/// Comments that are too wide, or that name a Markdown document that is not at the root of the
/// repository. Rows of tables and blocks of code may be wide.
fn check_comments(path: &str, text: &str, documents: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, rule: &'static str, message: String| {
        findings.push(Finding { path: path.to_owned(), line: line + 1, rule, message });
    };
    let mut in_code_block = false;
    for (at, line) in text.lines().enumerate() {
        let comment = line.trim_start();
        if !comment.starts_with("//") {
            in_code_block = false;
            continue;
        }
        let words = comment.trim_start_matches(['/', '!', ' ']);
        in_code_block ^= words.starts_with("```");
        let columns = line.chars().count();
        if columns > COMMENT_COLUMNS && !in_code_block && !words.starts_with('|') {
            let message = format!("the comment has {columns} columns, at most {COMMENT_COLUMNS}");
            find(at, "comment-width", message);
        }
        for word in comment.split(|c: char| !c.is_alphanumeric() && !"._-/".contains(c)) {
            let word = word.trim_end_matches('.');
            let is_document = word.len() > 3 && word.ends_with(".md") && !word.contains('/');
            if is_document && !documents.iter().any(|document| document == word) {
                find(at, "document", format!("{word} is not in the repository: name the source"));
            }
        }
    }
    findings
}

fn check_bans(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS {
        let here = ban.within.is_empty()
            || ban.within.iter().any(|folder| source.path.starts_with(&format!("{folder}/")));
        if !here || ban.except.iter().any(|except| source.path.starts_with(except)) {
            continue;
        }
        for at in occurrences(source.look_at(ban.look_at), ban.text) {
            findings.push(Finding {
                path: source.path.clone(),
                line: line_of(source.look_at(ban.look_at), at),
                rule: "banned",
                message: format!("`{}`: {}", ban.text, ban.instead),
            });
        }
    }
    findings
}

/// The lengths of this source that are above a limit, and the line at which each starts.
fn measure(source: &Source) -> Vec<((String, String, String), usize, usize)> {
    let mut over = Vec::new();
    // A blanked test line looks like an empty one: lines that only test code fills are subtracted.
    let tests = source
        .code
        .lines()
        .zip(source.all_code.lines())
        .filter(|(code, all)| code.trim().is_empty() && !all.trim().is_empty())
        .count();
    let lines = source.code.lines().count() - tests;
    if lines > FILE_LINES {
        let key = ("file-length".to_owned(), source.path.clone(), "-".to_owned());
        over.push((key, lines, 1));
    }
    for (name, line, lines) in functions(&source.code) {
        if lines > FUNCTION_LINES {
            over.push((("function-length".to_owned(), source.path.clone(), name), lines, line));
        }
    }
    over
}

fn parse_exceptions(text: &str) -> Result<Lengths, String> {
    let mut lengths = Lengths::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let parsed = match words[..] {
            [rule @ ("file-length" | "function-length"), path, name, lines] => lines
                .parse()
                .ok()
                .map(|lines| ((rule.to_owned(), path.to_owned(), name.to_owned()), lines)),
            _ => None,
        };
        let Some((key, lines)) = parsed else {
            return Err(format!(
                "{EXCEPTIONS}:{}: `{line}` is not `file-length PATH - LINES` or \
                 `function-length PATH NAME LINES`",
                number + 1
            ));
        };
        lengths.insert(key, lines);
    }
    Ok(lengths)
}

/// Compares the measured lengths with the recorded ones. A recorded length may only fall, and must
/// fall with the source.
fn check_lengths(
    measured: &[((String, String, String), usize, usize)],
    recorded: &Lengths,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut largest = Lengths::new();
    for (key, lines, line) in measured {
        let most = largest.entry(key.clone()).or_default();
        *most = (*most).max(*lines);
        let limit = if key.0 == "file-length" { FILE_LINES } else { FUNCTION_LINES };
        let allowed = recorded.get(key).copied().unwrap_or(limit);
        if *lines > allowed {
            let rule = if key.0 == "file-length" { "file-length" } else { "function-length" };
            let what = if key.2 == "-" { "the file" } else { &key.2 };
            findings.push(Finding {
                path: key.1.clone(),
                line: *line,
                rule,
                message: format!(
                    "{what} has {lines} lines, at most {allowed} are allowed: split it"
                ),
            });
        }
    }
    for (key, allowed) in recorded {
        let now = largest.get(key).copied().unwrap_or(0);
        if now < *allowed {
            findings.push(Finding {
                path: EXCEPTIONS.to_owned(),
                line: 1,
                rule: "ratchet",
                message: format!(
                    "{} {} {} is recorded with {allowed} lines and has {}: run ci/tidy --fix",
                    key.0,
                    key.1,
                    key.2,
                    if now == 0 { "come under the limit".to_owned() } else { now.to_string() },
                ),
            });
        }
    }
    findings
}

/// The exceptions file, with each number lowered to the current measurement.
fn lowered(
    measured: &[((String, String, String), usize, usize)],
    recorded: &Lengths,
    header: &str,
) -> String {
    let mut out = header.to_owned();
    for (key, allowed) in recorded {
        let now = measured.iter().filter(|(k, _, _)| k == key).map(|(_, lines, _)| *lines).max();
        if let Some(now) = now {
            let (rule, path, name) = key;
            writeln!(out, "{rule} {path} {name} {}", now.min(*allowed)).expect("into a String");
        }
    }
    out
}

fn rust_files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error| format!("cannot list {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "target" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            rust_files(root, &path, found)?;
        } else if name.ends_with(".rs") {
            let inside = path.strip_prefix(root).expect("found below the root");
            found.push(inside.to_owned());
        }
    }
    found.sort();
    Ok(())
}

/// The documents at the root, by file name.
fn root_documents(root: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("cannot list the root: {error}"))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".md")).collect())
}

fn run(root: &Path, fix: bool) -> Result<Vec<Finding>, String> {
    let mut files = Vec::new();
    rust_files(root, root, &mut files)?;
    let documents = root_documents(root)?;
    let mut findings = Vec::new();
    let mut measured = Vec::new();
    for file in &files {
        let path = file.to_string_lossy().into_owned();
        let text = fs::read_to_string(root.join(file))
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        findings.extend(check_module_doc(&path, &text));
        findings.extend(check_comments(&path, &text, &documents));
        let source = Source::new(&path, &text);
        findings.extend(check_bans(&source));
        measured.extend(measure(&source));
    }
    let exceptions = root.join(EXCEPTIONS);
    let text = fs::read_to_string(&exceptions)
        .map_err(|error| format!("cannot read {EXCEPTIONS}: {error}"))?;
    let mut recorded = parse_exceptions(&text)?;
    if fix {
        let header: String = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let lower = lowered(&measured, &recorded, &header);
        fs::write(&exceptions, &lower)
            .map_err(|error| format!("cannot write {EXCEPTIONS}: {error}"))?;
        recorded = parse_exceptions(&lower)?;
    }
    findings.extend(check_lengths(&measured, &recorded));
    println!("tidy: {} files, {} recorded exceptions", files.len(), recorded.len());
    Ok(findings)
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let fix = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--fix"] => true,
        _ => {
            eprintln!("usage: ci/tidy [--fix]");
            return ExitCode::from(2);
        }
    };
    match run(Path::new("."), fix) {
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::from(2)
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!(
                    "{}:{}: [{}] {}",
                    finding.path, finding.line, finding.rule, finding.message
                );
            }
            if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(path: &str, text: &str) -> Vec<usize> {
        check_bans(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    fn lengths(path: &str, text: &str) -> Vec<((String, String, String), usize, usize)> {
        measure(&Source::new(path, text))
    }

    #[test]
    fn a_module_without_docs_is_found() {
        assert!(check_module_doc("core/src/a.rs", "use core::fmt;\n").is_some());
        assert!(check_module_doc("core/src/a.rs", "//! What it holds.\n").is_none());
    }

    #[test]
    fn a_wide_comment_and_a_document_that_is_not_there_are_found() {
        let documents = ["README.md".to_owned()];
        let rules = |text: &str| -> Vec<&'static str> {
            check_comments("a.rs", text, &documents).iter().map(|found| found.rule).collect()
        };
        let wide = format!("//! {}\n", "a".repeat(100));
        assert_eq!(rules(&wide), ["comment-width"]);
        assert_eq!(rules(&format!("//! | {} |\n", "a".repeat(100))), Vec::<&str>::new());
        let code = format!("//! ```text\n//! {0}\n//! ```\n//! {0}\n", "a".repeat(100));
        assert_eq!(rules(&code), ["comment-width"], "only what follows the block");
        assert_eq!(rules(&format!("let a = \"{}\";\n", "a".repeat(100))), Vec::<&str>::new());
        assert_eq!(rules("    /// Source: NOTES.md 3.\n"), ["document"]);
        assert_eq!(rules("// See README.md.\n"), Vec::<&str>::new());
        assert_eq!(rules("// See kafka/docs/design.md, elsewhere.\n"), Vec::<&str>::new());
    }

    #[test]
    fn each_ban_fires_on_a_planted_sample_where_it_applies() {
        for ban in BANS {
            let folder = ban.within.first().unwrap_or(&"cli");
            let path = format!("{folder}/src/planted.rs");
            let sample = match ban.look_at {
                LookAt::AllButStrings => format!("//! Doc.\n// {} later\n", ban.text),
                LookAt::Code | LookAt::AllCode => format!("//! Doc.\nlet a = {};\n", ban.text),
            };
            assert!(bans(&path, &sample).contains(&2), "{} does not fire", ban.text);
        }
    }

    #[test]
    fn no_ban_fires_in_strings_in_longer_words_or_outside_its_folders() {
        assert_eq!(bans("core/src/a.rs", "let a = \"HashMap dbg!(TODO) 'f64\";\n"), []);
        assert_eq!(bans("core/src/a.rs", "let a = r#\"HashMap \" todo!()\"#;\n"), []);
        assert_eq!(bans("core/src/a.rs", "struct MyHashMapLike; // HashMap\n"), []);
        assert_eq!(bans("core/src/a.rs", "fn a<'a>(f64_bits: &'a u64) {}\n"), []);
        assert_eq!(bans("cli/src/a.rs", "let a: HashMap<f64, f32>;\n"), []);
        assert_eq!(bans("sim/src/hunt.rs", "let a = Instant::now();\n"), []);
        assert_eq!(bans("sim/benches/world.rs", "let a = Instant::now();\n"), []);
        assert_eq!(bans("sim/src/world.rs", "let a = Instant::now();\n"), [1]);
    }

    #[test]
    fn code_after_a_string_or_a_character_is_still_seen() {
        assert_eq!(bans("core/src/a.rs", "a('\"'); b('\\''); c(b\"\\\"\"); HashMap\n"), [1]);
        assert_eq!(bans("core/src/a.rs", "/* a /* b */ HashMap */ HashSet\n"), [1]);
        assert_eq!(bans("core/src/a.rs", "let a = br\"\\\"; HashSet\n"), [1]);
    }

    #[test]
    fn test_code_may_unwrap_and_link_std_but_not_hash() {
        let text = "#[cfg(test)]\nextern crate std;\n#[cfg(test)]\nmod tests {\n fn a() { \
                    b().unwrap(); }\n}\nfn c() { d().unwrap(); }\n";
        assert_eq!(bans("core/src/a.rs", text), [7]);
        assert_eq!(bans("core/src/log/tests.rs", "fn a() { b().unwrap(); }\n"), []);
        assert_eq!(bans("core/src/a.rs", "#[cfg(test)]\nmod tests {\n use HashMap;\n}\n"), [3]);
    }

    #[test]
    fn a_long_file_and_a_long_function_are_measured_without_their_tests() {
        let body = "    a();\n".repeat(FUNCTION_LINES - 1);
        let long = format!("fn long() {{\n{body}}}\n");
        let found = lengths("core/src/a.rs", &long);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.2.as_str(), found[0].1), ("long", FUNCTION_LINES + 1));
        assert!(
            lengths("core/src/a.rs", &format!("#[cfg(test)]\nmod t {{\n{long}}}\n")).is_empty()
        );

        let file = "use a;\n".repeat(FILE_LINES + 1);
        assert_eq!(lengths("core/src/a.rs", &file)[0].0.0, "file-length");
        let half = "use a;\n".repeat(FILE_LINES);
        let tests = format!("{half}#[cfg(test)]\nmod tests {{\n{half}}}\n");
        assert!(lengths("core/src/a.rs", &tests).is_empty());
    }

    #[test]
    fn a_recorded_length_may_only_fall_and_must_follow_the_source_down() {
        let key = ("file-length".to_owned(), "a/b.rs".to_owned(), "-".to_owned());
        let recorded = parse_exceptions("# why\nfile-length a/b.rs - 900\n").unwrap();
        let now = |lines| vec![(key.clone(), lines, 1)];
        assert_eq!(check_lengths(&now(900), &recorded), []);
        assert_eq!(check_lengths(&now(901), &recorded)[0].rule, "file-length");
        assert_eq!(check_lengths(&now(899), &recorded)[0].rule, "ratchet");
        assert_eq!(check_lengths(&[], &recorded)[0].rule, "ratchet");
        assert_eq!(lowered(&now(899), &recorded, ""), "file-length a/b.rs - 899\n");
        assert_eq!(lowered(&now(950), &recorded, ""), "file-length a/b.rs - 900\n");
        assert_eq!(lowered(&[], &recorded, ""), "");
        assert!(parse_exceptions("file-length a/b.rs many\n").is_err());
    }
}
