//! Documents name what is there: each path, type, function, flag and kind in backticks exists, and
//! no text refers to a document that is not in the repository.
//!
//! Whether a command line in README.md is accepted is checked by `cli`, which knows its flags.

use std::collections::BTreeSet;

use super::Finding;

/// What documents may refer to.
pub(super) struct Tree {
    /// Paths of all files and folders (`core/src/`), from the root.
    pub(super) paths: BTreeSet<String>,
    /// Every word in a source or manifest: identifiers, and words with `-` or `.` in them.
    pub(super) words: BTreeSet<String>,
}

impl Tree {
    /// Adds a file, with its folders.
    pub(super) fn add_path(&mut self, path: &str) {
        self.paths.insert(path.to_owned());
        for (at, _) in path.match_indices('/') {
            self.paths.insert(path[..=at].to_owned());
        }
    }

    /// Adds the words of a source.
    pub(super) fn add_words(&mut self, text: &str) {
        let apart = |c: char| !c.is_alphanumeric() && !"_-.".contains(c);
        for word in text.split(apart) {
            let word = word.trim_matches(['.', '-']);
            self.words.insert(word.to_owned());
            self.words.extend(word.split(['.', '-']).map(str::to_owned));
        }
    }

    /// Whether a path of the repository is, or ends with, this one.
    fn has_path(&self, path: &str) -> bool {
        let end = format!("/{}", path.trim_start_matches("./"));
        self.paths.contains(path)
            || self.paths.contains(&format!("{path}/"))
            || self
                .paths
                .iter()
                .any(|known| known.ends_with(&end) || known.trim_end_matches('/').ends_with(&end))
    }
}

/// Paths that exist only after a command, or outside of the repository.
const MADE: &[&str] = &["target/", "/tmp/", "~/"];
/// Settings of Kafka and its clients look like file names; these endings are files.
const FILES: &[&str] = &[".rs", ".toml", ".json", ".txt", ".py", ".md", ".yml"];

/// What a document names in backticks and is not there.
pub(super) fn names(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_block = false;
    for (at, line) in text.lines().enumerate() {
        in_block ^= line.starts_with("```");
        if in_block || line.starts_with("```") {
            continue;
        }
        for quoted in line.split('`').skip(1).step_by(2) {
            if let Some(what) = missing(quoted, tree) {
                findings.push(Finding {
                    path: path.to_owned(),
                    line: at + 1,
                    rule: "drift",
                    message: format!("`{quoted}`: {what}"),
                });
            }
        }
    }
    findings
}

fn missing(quoted: &str, tree: &Tree) -> Option<&'static str> {
    // A command line is checked by its first word, if that is a path: `ci/test STEP`.
    let word = quoted.split(' ').next().unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let placeholder = word
        .split(['/', '.'])
        .any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()));
    if MADE.iter().any(|made| word.starts_with(made)) || placeholder {
        return None;
    }
    let is_path = word.contains('/') || FILES.iter().any(|end| word.ends_with(end));
    if is_path && word.chars().all(plain) {
        return (!tree.has_path(word)).then_some("there is no such file or folder");
    }
    let last = quoted.rsplit("::").next().unwrap_or_default();
    let identifier = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let flag = quoted.strip_prefix("--");
    let name = flag.unwrap_or(last);
    if name.is_empty() || !name.chars().all(identifier) || name.starts_with('-') {
        return None;
    }
    let snake = name.replace('-', "_");
    let known = tree.words.contains(name) || (flag.is_some() && tree.words.contains(&snake));
    (!known).then_some("no source has this name")
}

/// References to documents, by file name, that are not in the repository. A path with a folder is a
/// document elsewhere.
pub(super) fn references(line: &str, documents: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for word in line.split(|c: char| !c.is_alphanumeric() && !"._-/".contains(c)) {
        let word = word.trim_end_matches('.');
        let is_document = word.len() > 3 && word.ends_with(".md") && !word.contains('/');
        if is_document && !documents.iter().any(|document| document == word) {
            missing.push(word.to_owned());
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree { paths: BTreeSet::new(), words: BTreeSet::new() };
        tree.add_path("core/src/replica/claims.rs");
        tree.add_path("ci/test");
        tree.add_words(
            "struct FlawSet; const A: &str = \"ack-before-flush\"; pub keep_going: bool,",
        );
        tree.add_words("set flush.messages=1, fn judge() {}");
        tree
    }

    fn wrong(text: &str) -> Vec<usize> {
        names("README.md", text, &tree()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_name_that_is_not_there_is_found() {
        let there = "`core/src/replica/claims.rs` `claims.rs` `replica/` `ci/test STEP` `ci/` \
                     `FlawSet` `core::FlawSet` `ack-before-flush` `--keep-going` `flush.messages`\n";
        assert_eq!(wrong(there), []);
        for gone in [
            "core/src/replica/gone.rs",
            "gone.rs",
            "gone/",
            "ci/gone --list",
            "Gone",
            "core::Gone",
            "gone-before-flush",
            "--gone",
            "gone_set",
        ] {
            assert_eq!(wrong(&format!("First.\nSee `{gone}`.\n")), [2], "{gone}");
        }
    }

    #[test]
    fn placeholders_code_and_what_a_command_makes_are_left_alone() {
        assert_eq!(wrong("`ci/corpus/NAME.json` `target/plan.json` `a + b` `x = 1`\n"), []);
        assert_eq!(wrong("```sh\nrun `gone_set`\n```\n"), []);
    }

    #[test]
    fn a_document_that_is_not_there_is_found() {
        let documents = ["README.md".to_owned()];
        assert_eq!(references("# Source: ABSENT.md 3.", &documents), ["ABSENT.md"]);
        assert!(references("see README.md, kafka/docs/design.md", &documents).is_empty());
    }
}
