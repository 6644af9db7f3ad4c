//! Lessons and regressions that run: a plan, its story, and its expected outcome.
//!
//! A scenario is one file in `scenarios/lessons/`: TOML with the story, a plan as `wavetank replay`
//! takes it, and variants of the plan ("with the rule", "without it"), each with its expected
//! outcome. Running a variant gives a timeline of what a client could see and what caused it:
//! acknowledgements and reads, leaders, ISRs, truncations, crashes.
//!
//! Running and judging plans is not here (`wavetank-sim`).

mod file;
mod runner;
mod timeline;

pub use file::{Expectation, Scenario, ScenarioError, Variant};
pub use runner::{Shown, run};

/// Every lesson, by name.
const LESSONS: [(&str, &str); 2] = [
    ("acks-1-loses", include_str!("../lessons/acks-1-loses.toml")),
    ("kip-101", include_str!("../lessons/kip-101.toml")),
];

/// The names and texts of all lessons.
pub fn lessons() -> &'static [(&'static str, &'static str)] {
    &LESSONS
}

/// All scenarios of this build.
///
/// # Errors
/// If a file is not a scenario; the text says which and why.
pub fn all() -> Result<Vec<Scenario>, ScenarioError> {
    LESSONS.iter().map(|(name, text)| Scenario::parse(name, text)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_in_the_folder_is_a_lesson_of_this_build() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lessons");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, super::LESSONS.map(|(name, _)| name));
    }
}
