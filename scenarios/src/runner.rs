//! Runs a variant, and compares its outcome with the file's expectation.

use wavetank_sim::run::{Options, Outcome, run_with};

use crate::file::Variant;
use crate::timeline::Recorder;

/// A run of a variant.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What happened, one aligned line each.
    pub timeline: Vec<String>,
    /// The outcome.
    pub outcome: Outcome,
    /// Differences from the file's expectation; empty if there are none.
    pub surprises: Vec<String>,
}

impl Shown {
    /// The outcome in one sentence.
    pub fn conclusion(&self) -> String {
        let broken: Vec<&str> =
            self.outcome.violations.iter().map(|violation| &violation.invariant[..]).collect();
        let promises = match broken[..] {
            [] => "every promise was kept".to_owned(),
            _ => format!("broken: {}", broken.join(", ")),
        };
        let lost = match self.outcome.weakly_acked_lost {
            0 => "no record acknowledged with acks=0 or 1 was lost".to_owned(),
            lost => format!("{lost} records acknowledged with acks=0 or 1 were lost"),
        };
        format!("{promises}; {lost}")
    }
}

/// Runs a variant.
pub fn run(variant: &Variant) -> Shown {
    let recorder = Recorder::default();
    let options = Options {
        invariants: vec![Box::new(recorder.clone())],
        keep_going: true,
        ..Options::default()
    };
    let outcome = run_with(&variant.plan, options);
    let timeline = recorder.lines(&outcome.violations);
    let surprises = surprises(variant, &outcome);
    Shown { timeline, outcome, surprises }
}

fn surprises(variant: &Variant, outcome: &Outcome) -> Vec<String> {
    let expect = &variant.expect;
    let mut surprises = Vec::new();
    let mut surprise = |text: String| surprises.push(text);
    for violation in &outcome.violations {
        if !expect.violated.contains(&violation.invariant) {
            surprise(format!("{} broke: {}", violation.invariant, violation.message));
        }
    }
    for name in &expect.violated {
        if !outcome.violations.iter().any(|violation| violation.invariant == *name) {
            surprise(format!("{name} held, but should have broken"));
        }
    }
    let lost = outcome.weakly_acked_lost;
    if (lost > 0) != expect.loses_weakly_acked {
        let should = if expect.loses_weakly_acked { "some" } else { "none" };
        surprise(format!(
            "{lost} records acknowledged with acks=0 or 1 were lost, expected {should}"
        ));
    }
    for mark in &expect.reached {
        if !outcome.marks.contains_key(mark) {
            surprise(format!("the mark {mark} was not reached"));
        }
    }
    for mark in &expect.not_reached {
        if let Some(count) = outcome.marks.get(mark) {
            surprise(format!("the mark {mark} was reached ({count}), unexpectedly"));
        }
    }
    surprises
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Expectation;
    use wavetank_sim::invariants::{Kind, Violation};
    use wavetank_sim::profile::Profile;

    fn variant(expect: Expectation) -> Variant {
        Variant { name: "sample".to_owned(), plan: Profile::Calm.draw(1), expect }
    }

    fn expectation() -> Expectation {
        Expectation {
            violated: Vec::new(),
            loses_weakly_acked: false,
            reached: Vec::new(),
            not_reached: Vec::new(),
        }
    }

    #[test]
    fn every_part_of_an_expectation_can_be_disappointed() {
        let mut outcome = Outcome::default();
        assert_eq!(surprises(&variant(expectation()), &outcome), Vec::<String>::new());

        let expect = Expectation {
            violated: vec!["lost".to_owned()],
            loses_weakly_acked: true,
            reached: vec!["truncation".to_owned()],
            ..expectation()
        };
        assert_eq!(surprises(&variant(expect), &outcome).len(), 3);

        outcome.violations.push(Violation {
            invariant: "lost".to_owned(),
            kind: Kind::Client,
            message: "a record".to_owned(),
            at_us: 1,
        });
        outcome.weakly_acked_lost = 2;
        outcome.marks.insert("truncation".to_owned(), 1);
        let expect = Expectation { not_reached: vec!["truncation".to_owned()], ..expectation() };
        assert_eq!(surprises(&variant(expect), &outcome).len(), 3);
    }
}
