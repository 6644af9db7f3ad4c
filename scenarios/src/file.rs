//! The file of a scenario: TOML, read strictly.
//!
//! `[plan]` needs only what differs from the defaults of a plan ([`wavetank_sim::plan`]), and no
//! version: a scenario is read by the build that it belongs to.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use wavetank_sim::plan::{PLAN_VERSION, Plan};

/// A story with runs that show it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// One line.
    pub title: String,
    /// Where it happened in history.
    pub source: String,
    /// What happens and why, in a few paragraphs.
    pub story: String,
    /// The runs, in the order of the story.
    pub variants: Vec<Variant>,
}

/// One run of a scenario.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What differs in this run.
    pub name: String,
    /// The scenario's plan with the variant's changes.
    pub plan: Plan,
    /// The expected outcome.
    pub expect: Expectation,
}

/// The expected outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The invariants that break, exactly these; none means that everything holds.
    #[serde(default)]
    pub violated: Vec<String>,
    /// Whether records acknowledged with acks=0 or 1 are lost, which breaks no promise.
    #[serde(default)]
    pub loses_weakly_acked: bool,
    /// Marks that must be reached.
    #[serde(default)]
    pub reached: Vec<String>,
    /// Marks that must not be reached.
    #[serde(default)]
    pub not_reached: Vec<String>,
}

/// Why a file is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    name: String,
    why: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scenario {}: {}", self.name, self.why)
    }
}

impl std::error::Error for ScenarioError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    source: String,
    story: String,
    variant: Vec<VariantEntry>,
    plan: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantEntry {
    name: String,
    /// JSON pointers into the whole plan, defaults included, and their values in this variant.
    #[serde(default)]
    change: BTreeMap<String, Value>,
    expect: Expectation,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, unknown or impossible; the text says what and where.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let wrong = |why: String| ScenarioError { name: name.to_owned(), why };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if file.variant.is_empty() {
            return Err(wrong("has no [[variant]], so nothing would run".to_owned()));
        }
        let mut plan = file.plan;
        if let Some(fields) = plan.as_object_mut() {
            fields.entry("version").or_insert(PLAN_VERSION.into());
        }
        let plan = Plan::from_json(&plan.to_string()).map_err(|error| wrong(error.to_string()))?;
        let plan = serde_json::to_value(plan).expect("a plan has only string keys");
        let variants = file.variant.into_iter().map(|entry| {
            let mut plan = plan.clone();
            for (pointer, value) in entry.change {
                let place = plan.pointer_mut(&pointer).ok_or_else(|| {
                    wrong(format!("variant {:?}: the plan has no {pointer}", entry.name))
                })?;
                *place = value;
            }
            let plan = Plan::from_json(&plan.to_string())
                .map_err(|error| wrong(format!("variant {:?}: {error}", entry.name)))?;
            Ok(Variant { name: entry.name, plan, expect: entry.expect })
        });
        Ok(Scenario {
            name: name.to_owned(),
            title: file.title,
            source: file.source,
            story: file.story,
            variants: variants.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(change: &str, rest: &str) -> Result<Scenario, ScenarioError> {
        let plan = wavetank_sim::profile::Profile::Calm.draw(1);
        let plan: toml::Value = toml::Value::try_from(plan).unwrap();
        let mut table = toml::Table::new();
        table.insert("plan".to_owned(), plan);
        Scenario::parse(
            "sample",
            &format!(
                "title = 'a'\nsource = 'b'\nstory = 'c'\n{rest}\n[[variant]]\nname = 'one'\n\
                 [variant.change]\n{change}\n[variant.expect]\nviolated = []\n\
                 loses_weakly_acked = false\n{table}"
            ),
        )
    }

    #[test]
    fn a_variant_changes_the_plan_where_it_says() {
        let scenario = file("'/seed' = 77\n'/flaws' = ['ack-before-flush']", "").unwrap();
        assert_eq!(scenario.variants[0].plan.seed, 77);
        assert_eq!(scenario.variants[0].plan.flaws, ["ack-before-flush"]);
    }

    #[test]
    fn a_file_needs_only_what_differs_from_the_defaults() {
        let text = "title = 'a'\nsource = 'b'\nstory = 'c'\n[[variant]]\nname = 'one'\n\
                    [variant.change]\n'/workload/producers/0/acks' = 1\n[variant.expect]\n\
                    [plan]\nseed = 5\n";
        let scenario = Scenario::parse("sample", text).unwrap();
        let mut expected = Plan { seed: 5, ..Plan::default() };
        expected.workload.producers[0].acks = 1;
        assert_eq!(scenario.variants[0].plan, expected);
        let nothing = Expectation {
            violated: Vec::new(),
            loses_weakly_acked: false,
            reached: Vec::new(),
            not_reached: Vec::new(),
        };
        assert_eq!(scenario.variants[0].expect, nothing);
    }

    #[test]
    fn what_is_unknown_or_impossible_is_refused_with_its_place() {
        let why = |change: &str, rest: &str| file(change, rest).unwrap_err().to_string();
        assert!(why("'/sneed' = 1", "").contains("the plan has no /sneed"));
        assert!(why("'/flaws' = ['hubris']", "").contains("variant \"one\": "));
        assert!(why("", "colour = 'red'").contains("unknown field `colour`"));
        assert!(why("'/version' = 2", "").contains("the plan's version is 2"));
    }
}
