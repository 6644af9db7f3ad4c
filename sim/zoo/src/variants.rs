//! Models and their flawed variants: the result of checking one, and whether it is the expected
//! one. A correct protocol must hold, in its pinned number of states. A flawed variant must fail
//! where the correct protocol holds; otherwise the model does not show why the rule is needed.
//!
//! What does not live here: the models, and the search (`wavetank-models`).

use serde::Serialize;
use wavetank_models::{Bounds, Entry, Report};

/// The name of the correct protocol among the variants.
pub const CORRECT: &str = "correct";

/// The result of checking one variant. Serializes with the field names that
/// `model check --json` promises.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantResult {
    /// The model's name.
    pub name: &'static str,
    /// [`CORRECT`], or the rule that is left out.
    pub variant: &'static str,
    /// Whether every property holds.
    pub holds: bool,
    /// Whether the result is the expected one: the correct protocol holds, in the pinned number of
    /// states; a flawed one fails where the correct one holds.
    pub as_expected: bool,
    /// Unique states found.
    pub unique_states: u64,
    /// Steps to the furthest state, plus 1.
    pub depth: usize,
    /// Wall time of the search, in seconds.
    pub seconds: f64,
    /// States generated, with repetitions.
    pub generated_states: u64,
    /// The same for each second.
    pub generated_per_second: f64,
    /// The size of a state, if it owns no other memory.
    pub bytes_per_state: Option<usize>,
    /// The property that fails, if one does.
    pub property: Option<String>,
    /// What the counterexample's steps do.
    pub counterexample: Option<Vec<String>>,
    /// The depth limit, in steps, up to which states were explored; null if there was none.
    pub steps_looked_at: Option<usize>,
    /// States of the correct protocol, explored as deep within the same bounds, as a control.
    pub control_states: Option<u64>,
}

/// Why the result of a flawed variant is a defect of the model, and not a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regression {
    /// The variant holds, although a rule is left out.
    Holds,
    /// The correct protocol fails in as few steps.
    CorrectFails,
}

impl VariantResult {
    /// Explores a variant (`None`: the correct protocol).
    ///
    /// # Panics
    /// If the model has no such variant.
    pub fn check(
        entry: &Entry,
        variant: Option<&'static str>,
        bounds: Bounds,
    ) -> (VariantResult, Report) {
        let report = (entry.check)(variant, bounds);
        (VariantResult::new(entry, variant, bounds, &report), report)
    }

    /// The result of a search that is done.
    pub fn new(
        entry: &Entry,
        variant: Option<&'static str>,
        bounds: Bounds,
        report: &Report,
    ) -> VariantResult {
        let broken = report.counterexample.as_ref();
        let pinned = entry.states[bounds as usize];
        let as_many = variant.is_some() || pinned == 0 || pinned == report.unique;
        let control = report.control.as_ref();
        let by_the_rule = control.is_none_or(|control| control.broken.is_none());
        VariantResult {
            name: entry.name,
            variant: variant.unwrap_or(CORRECT),
            holds: broken.is_none(),
            as_expected: broken.is_some() == variant.is_some() && as_many && by_the_rule,
            unique_states: report.unique,
            depth: report.depth,
            seconds: report.seconds,
            generated_states: report.generated,
            generated_per_second: report.generated as f64 / report.seconds,
            bytes_per_state: report.state_bytes,
            property: broken.map(|(property, _)| property.clone()),
            counterexample: broken
                .map(|(_, steps)| steps.iter().map(|step| step.action.clone()).collect()),
            steps_looked_at: report.limit,
            control_states: control.map(|control| control.unique),
        }
    }

    /// Why a flawed variant's result is a defect of the model, if it is.
    pub fn regression(&self) -> Option<Regression> {
        match (self.holds, self.as_expected) {
            (true, _) => Some(Regression::Holds),
            (false, false) => Some(Regression::CorrectFails),
            (false, true) => None,
        }
    }
}

/// The models among these that have this variant.
pub fn having<'a>(entries: &[&'a Entry], variant: &str) -> Vec<(&'a Entry, &'static str)> {
    entries.iter().filter_map(|entry| Some((*entry, entry.variant(variant)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::{Value, json};
    use wavetank_models::{ALL, Control, Happening, Step};

    const FLAW: &str = "truncate-to-high-watermark";

    fn result(fails: bool, control: Option<Control>) -> VariantResult {
        let step = Step { action: "a".into(), happening: Happening::Itself, state: "-".into() };
        let report = Report {
            generated: 4,
            unique: 2,
            depth: 2,
            seconds: 0.5,
            state_bytes: Some(8),
            counterexample: fails.then(|| ("promised".to_owned(), vec![step])),
            control,
            limit: None,
        };
        let entry = Entry { name: "made-up", variants: &[FLAW], ..ALL[0] };
        VariantResult::new(&entry, Some(FLAW), Bounds::Small, &report)
    }

    #[test]
    fn a_variant_must_fail_where_the_correct_protocol_holds() {
        let good = result(true, Some(Control { unique: 7, broken: None }));
        assert_eq!((good.as_expected, good.regression()), (true, None));
        assert_eq!((good.control_states, good.generated_per_second), (Some(7), 8.0));
        let broken = Some("promised".to_owned());
        let too = result(true, Some(Control { unique: 7, broken }));
        assert_eq!((too.as_expected, too.regression()), (false, Some(Regression::CorrectFails)));
        let holds = result(false, None);
        assert_eq!((holds.as_expected, holds.regression()), (false, Some(Regression::Holds)));
    }

    #[test]
    fn the_correct_protocol_must_have_its_pinned_number_of_states() {
        let entry = ALL[0];
        let (right, report) = VariantResult::check(&entry, None, Bounds::Small);
        assert!(right.as_expected && right.holds, "{right:?}");
        let fewer = Report { unique: report.unique - 1, ..report };
        assert!(!VariantResult::new(&entry, None, Bounds::Small, &fewer).as_expected);
    }

    #[test]
    fn of_several_models_those_that_have_the_variant_are_found() {
        let all: Vec<&Entry> = ALL.iter().collect();
        let ids = |variant| having(&all, variant).iter().map(|(entry, _)| entry.id).collect();
        let found: Vec<&str> = ids("leader-resumes-epoch");
        assert_eq!(found, ["M1", "M3", "R3C"]);
        let none: Vec<&str> = ids("hubris");
        assert!(none.is_empty());
    }

    /// What is wrong with a saved `model check all --json`. It must have a row for each model and
    /// variant, in order, and the correct ones must have their pinned number of states.
    fn amiss(saved: &Value) -> Vec<String> {
        let mut rows = saved["result"].as_array().expect("a list").iter();
        let mut amiss = Vec::new();
        for entry in &ALL {
            for variant in std::iter::once(CORRECT).chain(entry.variants.iter().copied()) {
                let named = |row: &&Value| row["name"] == entry.name && row["variant"] == variant;
                let Some(row) = rows.next().filter(named) else {
                    amiss.push(format!("no row, or not here: {} {variant}", entry.name));
                    continue;
                };
                let states = entry.states[Bounds::Full as usize];
                if variant == CORRECT && states > 0 && row["unique_states"] != states {
                    amiss.push(format!("{} has {states} states", entry.name));
                }
                if row["as_expected"] != true || row["holds"] != (variant == CORRECT) {
                    amiss.push(format!("not as expected: {} {variant}", entry.name));
                }
            }
        }
        amiss
            .extend(rows.map(|row| format!("no such variant: {} {}", row["name"], row["variant"])));
        amiss
    }

    fn saved_rows() -> Vec<Value> {
        let rows = ALL.iter().flat_map(|entry| {
            std::iter::once(CORRECT).chain(entry.variants.iter().copied()).map(|variant| {
                let states = entry.states[Bounds::Full as usize];
                json!({"name": entry.name, "variant": variant, "holds": variant == CORRECT,
                       "as_expected": true, "unique_states": states})
            })
        });
        rows.collect()
    }

    #[test]
    fn a_table_that_is_out_of_date_is_noticed() {
        let found = |edit: fn(&mut Vec<Value>)| {
            let mut rows = saved_rows();
            edit(&mut rows);
            amiss(&json!({ "result": rows })).join("; ")
        };
        assert_eq!(found(|_| ()), "");
        let missing = found(|rows| drop(rows.pop()));
        assert!(missing.starts_with("no row, or not here: "), "{missing}");
        assert!(found(|rows| rows[1]["variant"] = json!("hubris")).contains("no row"));
        let more = found(|rows| rows.push(json!({"name": "isr", "variant": "hubris"})));
        assert_eq!(more, r#"no such variant: "isr" "hubris""#);
        assert!(found(|rows| rows[0]["unique_states"] = json!(7)).starts_with("isr has "));
        assert!(found(|rows| rows[1]["holds"] = json!(true)).starts_with("not as expected: isr"));
        assert!(found(|rows| rows[1]["as_expected"] = json!(false)).contains("not as expected"));
    }

    #[test]
    fn the_reports_table_is_of_the_models_as_they_are() {
        let saved = include_str!("../../../ci/results/models.json");
        let saved: Value = serde_json::from_str(saved).unwrap();
        assert_eq!(saved["kind"], "models", "ci/record models models 'TITLE' -- ...");
        let amiss = amiss(&saved);
        assert!(amiss.is_empty(), "record ci/results/models.json again:\n{}", amiss.join("\n"));
    }
}
