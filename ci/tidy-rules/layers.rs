//! Which module may use which: layers that must not know each other, and import circles.
//!
//! Both are read from the text: `use` declarations and paths that start with `crate`, `super`,
//! `self` or a crate's name. What exists already is recorded in the exceptions file, where numbers
//! may only fall.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counted, Source, line_of};

/// A folder whose code must not name these modules.
struct Layer {
    folder: &'static str,
    must_not_use: &'static [&'static str],
}

const BROKER: &[&str] = &[
    "wavetank_core::api",
    "wavetank_core::broker",
    "wavetank_core::client",
    "wavetank_core::controller",
    "wavetank_core::coordinator",
    "wavetank_core::metadata",
    "wavetank_core::quorum",
    "wavetank_core::replica",
    "wavetank_core::storage",
    "crate::faults",
    "crate::hunt",
    "crate::invariants",
    "crate::ledger",
    "crate::phases",
    "crate::plan",
    "crate::profile",
    "crate::run",
    "crate::workload",
];

const LAYERS: &[Layer] = &[
    Layer { folder: "sim/src/world/", must_not_use: BROKER },
    Layer { folder: "sim/src/disk/", must_not_use: BROKER },
];

/// The forbidden modules that a source names, with how often.
pub(super) fn layers(source: &Source) -> Vec<Counted> {
    let mut counted = Vec::new();
    for layer in LAYERS.iter().filter(|layer| source.path.starts_with(layer.folder)) {
        for module in layer.must_not_use {
            let within = |path: &str| path == *module || path.starts_with(&format!("{module}::"));
            let uses: Vec<usize> = paths(&source.code)
                .into_iter()
                .filter(|(_, path)| within(path))
                .map(|(at, _)| line_of(&source.code, at))
                .collect();
            if let Some(first) = uses.first() {
                let key = ("layer".to_owned(), source.path.clone(), (*module).to_owned());
                counted.push((key, uses.len(), *first));
            }
        }
    }
    counted
}

/// The files below `root` that are in import circles of more than two files, each with the number
/// of files in its circles.
///
/// An import of a file's own ancestor (`replica/leader.rs` of `replica/mod.rs`) does not count:
/// that is how Rust splits one module over several files.
pub(super) fn circles(root: &str, sources: &[Source]) -> Vec<Counted> {
    let modules: BTreeMap<Vec<String>, usize> = sources
        .iter()
        .enumerate()
        .filter(|(_, source)| source.path.starts_with(root) && !super::is_test_file(&source.path))
        .map(|(index, source)| (module_of(root, &source.path), index))
        .collect();
    let mut graph: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (module, index) in &modules {
        for (_, path) in paths(&sources[*index].code) {
            let Some(target) = resolve(module, &path, &modules) else { continue };
            let to = modules[&target];
            if to != *index && !module.starts_with(&target) {
                graph.entry(*index).or_default().insert(to);
            }
        }
    }
    // Only files that reach each other can be in a circle; following all paths would take long.
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        graph.keys().map(|file| (*file, reached_from(&graph, *file))).collect();
    let reaches =
        |from: &usize, to: &usize| reached.get(from).is_some_and(|reached| reached.contains(to));
    for (from, targets) in &mut graph {
        targets.retain(|to| reaches(to, from));
    }
    let mut in_circle: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for start in graph.keys() {
        walk(&graph, &mut vec![*start], &mut in_circle);
    }
    // Circles that share a file are one finding.
    let mut groups: Vec<BTreeSet<usize>> = Vec::new();
    for (file, with) in in_circle {
        let mut group = BTreeSet::from([file]);
        group.extend(with);
        let (joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|other| !other.is_disjoint(&group));
        group.extend(joined.into_iter().flatten());
        groups = apart;
        groups.push(group);
    }
    let key =
        |file: &usize| ("import-circle".to_owned(), sources[*file].path.clone(), "-".to_owned());
    let files = |group: &BTreeSet<usize>| -> Vec<Counted> {
        group.iter().map(|file| (key(file), group.len(), 1)).collect()
    };
    groups.iter().flat_map(files).collect()
}

fn reached_from(graph: &BTreeMap<usize, BTreeSet<usize>>, file: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for target in graph.get(&file).into_iter().flatten() {
            if reached.insert(*target) {
                next.push(*target);
            }
        }
    }
    reached
}

/// Follows every simple path from its first file; those that lead back over more than two files are
/// circles. Each circle is walked from its smallest file only.
fn walk(
    graph: &BTreeMap<usize, BTreeSet<usize>>,
    path: &mut Vec<usize>,
    found: &mut BTreeMap<usize, BTreeSet<usize>>,
) {
    const LONGEST: usize = 8;
    let (start, here) = (path[0], path[path.len() - 1]);
    for next in graph.get(&here).into_iter().flatten() {
        if *next == start && path.len() > 2 {
            found.entry(start).or_default().extend(path.iter().copied());
        } else if *next > start && path.len() < LONGEST && !path.contains(next) {
            path.push(*next);
            walk(graph, path, found);
            path.pop();
        }
    }
}

fn module_of(root: &str, path: &str) -> Vec<String> {
    let inside = path[root.len()..].trim_end_matches(".rs");
    let mut segments: Vec<&str> = inside.split('/').filter(|part| !part.is_empty()).collect();
    if segments.last().is_some_and(|last| matches!(*last, "mod" | "lib")) {
        segments.pop();
    }
    segments.into_iter().map(str::to_owned).collect()
}

/// The module file that a path names an item of.
fn resolve(
    from: &[String],
    path: &str,
    modules: &BTreeMap<Vec<String>, usize>,
) -> Option<Vec<String>> {
    let mut base: Vec<String> = from.to_vec();
    let mut segments = path.split("::").peekable();
    match segments.peek().copied()? {
        "crate" => {
            base.clear();
            segments.next();
        }
        "super" | "self" => {
            while let Some(segment) = segments.next_if(|s| matches!(*s, "super" | "self")) {
                if segment == "super" {
                    base.pop();
                }
            }
        }
        // A child module: `leader::Leader` in `replica/mod.rs`.
        _ => {}
    }
    base.extend(segments.map(str::to_owned));
    // The root declares the modules and nothing else: naming an item of it is no dependency.
    (1..=base.len())
        .rev()
        .find_map(|length| modules.get_key_value(&base[..length]))
        .map(|(module, _)| module.clone())
}

/// Every path of at least two segments in this code, with braces expanded:
/// `use a::{b, c::d};` names `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<(usize, String)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let starts = bytes[at].is_ascii_alphabetic() || bytes[at] == b'_';
        let inside = at > 0 && (super::is_identifier(bytes[at - 1]) || bytes[at - 1] == b':');
        if !starts || inside {
            at += 1;
            continue;
        }
        let mut names = Vec::new();
        let end = expand(code, at, "", &mut names);
        found.extend(names.into_iter().filter(|name| name.contains("::")).map(|name| (at, name)));
        at = end.max(at + 1);
    }
    found
}

/// Reads a path at `at`, after `prefix`; returns where it ends.
fn expand(code: &str, mut at: usize, prefix: &str, names: &mut Vec<String>) -> usize {
    let bytes = code.as_bytes();
    let start = at;
    while bytes.get(at).is_some_and(|byte| super::is_identifier(*byte)) {
        at += 1;
    }
    let path = format!("{prefix}{}", &code[start..at]);
    if !code[at..].starts_with("::") {
        names.push(path);
        return at;
    }
    at += 2;
    let path = format!("{path}::");
    if bytes.get(at) != Some(&b'{') {
        return expand(code, at, &path, names);
    }
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'}' => return at + 1,
            byte if super::is_identifier(*byte) => {
                at = expand(code, at, &path, names);
                // `name as alias`: the alias is no path.
                while code[at..].starts_with(" as ") {
                    at = code[at..].find([',', '}']).map_or(code.len(), |length| at + length);
                }
            }
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(&format!("core/src/{path}"), text))
            .collect();
        circles("core/src/", &sources).into_iter().map(|(key, count, _)| (key.1, count)).collect()
    }

    #[test]
    fn paths_are_expanded() {
        let all = |code| -> Vec<String> { paths(code).into_iter().map(|(_, path)| path).collect() };
        assert_eq!(all("use a::{b, c::{d, e as f}};"), ["a::b", "a::c::d", "a::c::e"]);
        assert_eq!(all("let x = super::y::z(1, w);"), ["super::y::z"]);
    }

    #[test]
    fn a_circle_of_three_files_is_found() {
        let circle = core(&[
            ("lib.rs", "pub mod a; pub mod b; pub mod c;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::{c, env::Env};\nfn f() { c::g(); }\n"),
            ("c/mod.rs", "struct C(super::a::A);\n"),
        ]);
        let of = |path: &str| (format!("core/src/{path}"), 3);
        assert_eq!(circle, ["a.rs", "b.rs", "c/mod.rs"].map(of));
    }

    #[test]
    fn two_files_a_chain_tests_and_the_files_of_one_module_are_no_circle() {
        let files = [
            ("a.rs", "use crate::b::B; use crate::c::C;\n"),
            ("b.rs", "use crate::a::A; use crate::c::C;\n"),
            ("c/mod.rs", "mod d; mod e; use d::D;\n"),
            ("c/d.rs", "use super::C; use super::e::E;\n"),
            (
                "c/e.rs",
                "use super::C; use crate::c::X;\n#[cfg(test)]\nmod t { use crate::a::A; }\n",
            ),
            ("c/tests.rs", "use crate::a::A;\n"),
        ];
        assert_eq!(core(&files), []);
    }

    #[test]
    fn a_layer_that_knows_what_is_above_it_is_found() {
        let used = |path: &str, text: &str| {
            let found = layers(&Source::new(path, text)).into_iter();
            found.map(|(key, count, line)| (key.2, count, line)).collect::<Vec<_>>()
        };
        let text = "use wavetank_core::{env::Env, broker::Broker};\nfn f(_: wavetank_core::broker::S) {}\n";
        let broker = "wavetank_core::broker".to_owned();
        assert_eq!(used("sim/src/world/a.rs", text), [(broker, 2, 1)]);
        assert_eq!(used("sim/src/run.rs", text), []);
        assert_eq!(used("sim/src/world/a.rs", "use crate::planets::P;\n"), []);
        let tests = "#[cfg(test)]\nmod t { use crate::run::Tank; }\n";
        assert_eq!(used("sim/src/world/a.rs", tests), []);
    }
}
