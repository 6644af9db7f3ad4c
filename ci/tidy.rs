//! House rules that neither rustfmt nor clippy can state, checked on the text of every Rust source.
//!
//! Without dependencies, built by `ci/tidy` with `rustc`, so that it runs before anything else
//! compiles. It knows just enough of Rust's lexical syntax to blank out comments, strings and test
//! code. Rules that need types are not here.
//!
//! `ci/tidy` checks; `ci/tidy --fix` lowers the numbers recorded in `ci/tidy-exceptions.txt` to
//! those of the current sources, and never raises one.

#[path = "tidy-rules/arms.rs"]
mod arms;
#[path = "tidy-rules/bans.rs"]
mod bans;
#[path = "tidy-rules/documents.rs"]
mod documents;
#[path = "tidy-rules/layers.rs"]
mod layers;

use std::collections::{BTreeMap, BTreeSet};
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
/// The record of what breaks a rule already: lengths above the limits, forbidden imports.
const EXCEPTIONS: &str = "ci/tidy-exceptions.txt";

/// The rules with numbers: the name, and how much is allowed where nothing is recorded.
const RATCHETS: [(&str, usize); 5] = [
    ("file-length", FILE_LINES),
    ("function-length", FUNCTION_LINES),
    ("catch-all", 0),
    ("layer", 0),
    ("import-circle", 0),
];

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

/// What breaks a rule with a number: `(rule, path, what)` to the number. For a length, `what` is
/// the function or `-`; for a catch-all arm, the enum; for a layer, the module that must not be
/// used; for an import circle, `-`.
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
        for word in documents::references(comment, documents) {
            find(at, "document", format!("{word} is not in the repository: name the source"));
        }
    }
    findings
}

/// One key of [`Lengths`], its number, and the line where it starts.
type Counted = ((String, String, String), usize, usize);

/// The lengths of this source that are above a limit.
fn measure(source: &Source) -> Vec<Counted> {
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
            [rule, path, name, lines] if RATCHETS.iter().any(|known| known.0 == rule) => lines
                .parse()
                .ok()
                .map(|lines| ((rule.to_owned(), path.to_owned(), name.to_owned()), lines)),
            _ => None,
        };
        let Some((key, lines)) = parsed else {
            return Err(format!(
                "{EXCEPTIONS}:{}: `{line}` is not `RULE PATH WHAT NUMBER`, with one of the rules \
                 that have numbers",
                number + 1
            ));
        };
        lengths.insert(key, lines);
    }
    Ok(lengths)
}

/// Compares the measured lengths with the recorded ones. A recorded length may only fall, and must
/// fall with the source.
fn check_lengths(measured: &[Counted], recorded: &Lengths) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut largest = Lengths::new();
    for (key, lines, line) in measured {
        let most = largest.entry(key.clone()).or_default();
        *most = (*most).max(*lines);
        let (rule, limit) = RATCHETS.into_iter().find(|known| known.0 == key.0).expect("known");
        let allowed = recorded.get(key).copied().unwrap_or(limit);
        if *lines > allowed {
            let what = if key.2 == "-" { "the file" } else { &key.2 };
            let message = match rule {
                "catch-all" => format!("a match over {what}, which is closed, has a catch-all arm"),
                "layer" => format!("{what} is named {lines} times; this layer must not know it"),
                "import-circle" => format!("{what} is in an import circle of {lines} files"),
                _ => format!("{what} has {lines} lines, at most {allowed} are allowed: split it"),
            };
            findings.push(Finding { path: key.1.clone(), line: *line, rule, message });
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
                    "{} {} {} is recorded with {allowed} and has {}: run ci/tidy --fix",
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
fn lowered(measured: &[Counted], recorded: &Lengths, header: &str) -> String {
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

/// Every file below `folder`, without what is built and what is hidden (but `.github`).
fn all_files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error| format!("cannot list {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "target" || (name.starts_with('.') && name != ".github") {
            continue;
        }
        if path.is_dir() {
            all_files(root, &path, found)?;
        } else {
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

/// Texts other than Rust in which a reference to a missing document is an error.
fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let script = path.starts_with("ci/") && !name.contains('.');
    script || [".md", ".toml", ".yml", ".py", ".sh"].iter().any(|end| name.ends_with(end))
}

fn check_texts(
    root: &Path,
    files: &[String],
    tree: &documents::Tree,
    documents: &[String],
) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| is_text(path)) {
        let text = read(root, path)?;
        for (at, line) in text.lines().enumerate() {
            findings.extend(documents::references(line, documents).into_iter().map(|word| {
                Finding {
                    path: path.clone(),
                    line: at + 1,
                    rule: "document",
                    message: format!("{word} is not in the repository: name the source"),
                }
            }));
        }
        if documents.contains(path) && path != "REPORT.md" {
            findings.extend(documents::names(path, &text, tree));
        }
    }
    Ok(findings)
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))
}

fn run(root: &Path, fix: bool) -> Result<Vec<Finding>, String> {
    let mut found = Vec::new();
    all_files(root, root, &mut found)?;
    let files: Vec<String> = found.iter().map(|file| file.to_string_lossy().into_owned()).collect();
    let documents = root_documents(root)?;
    let mut tree = documents::Tree { paths: BTreeSet::new(), words: BTreeSet::new() };
    let (mut findings, mut measured, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for path in &files {
        tree.add_path(path);
        if path.ends_with(".toml") {
            tree.add_words(&read(root, path)?);
        }
        if !path.ends_with(".rs") {
            continue;
        }
        let text = read(root, path)?;
        tree.add_words(&text);
        findings.extend(check_module_doc(path, &text));
        findings.extend(check_comments(path, &text, &documents));
        let source = Source::new(path, &text);
        findings.extend(bans::check(&source));
        measured.extend(measure(&source));
        measured.extend(arms::catch_alls(&source));
        measured.extend(layers::layers(&source));
        sources.push(source);
    }
    measured.extend(layers::circles("core/src/", &sources));
    findings.extend(check_texts(root, &files, &tree, &documents)?);
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
    println!("tidy: {} files, {} recorded exceptions", sources.len(), recorded.len());
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

    fn lengths(path: &str, text: &str) -> Vec<Counted> {
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
