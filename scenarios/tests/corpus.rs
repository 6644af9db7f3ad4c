//! The seed corpus, `ci/corpus/`: each plan must hold, and must fail when its flaw is planted
//! again. A plan is a `.json` file as `wavetank replay` takes it; the `.toml` beside it has the
//! flaw, the promise that it breaks, and the story.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wavetank_sim::hunt::run_caught;
use wavetank_sim::plan::Plan;
use wavetank_sim::run::{Options, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planted {
    /// The name of the flaw to plant again.
    flaw: String,
    /// The invariant that then breaks.
    invariant: String,
    /// What happened, when, and what was wrong.
    story: String,
}

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/corpus");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut plans: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    plans.sort();
    plans
}

fn broken(outcome: &Outcome) -> Vec<&str> {
    outcome.violations.iter().map(|violation| &violation.invariant[..]).collect()
}

fn judge(path: &Path) -> Result<(), String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let plan = Plan::from_json(&read(path)?).map_err(|error| error.to_string())?;
    if !plan.flaws.is_empty() {
        return Err("the plan has flaws itself; they belong beside it".to_owned());
    }
    let planted: Planted =
        toml::from_str(&read(&path.with_extension("toml"))?).map_err(|error| error.to_string())?;
    if planted.story.trim().is_empty() {
        return Err("the story is empty".to_owned());
    }
    let sound = run_caught(&plan, Options::default());
    if !sound.violations.is_empty() {
        return Err(format!("breaks without the flaw: {:#?}", sound.violations));
    }
    let flawed = Plan { flaws: vec![planted.flaw.clone()], ..plan };
    flawed.validate().map_err(|error| error.to_string())?;
    let outcome = run_caught(&flawed, Options { keep_going: true, ..Options::default() });
    if !broken(&outcome).contains(&&planted.invariant[..]) {
        return Err(format!(
            "with {} it breaks {:?}, not {}",
            planted.flaw,
            broken(&outcome),
            planted.invariant
        ));
    }
    Ok(())
}

#[test]
fn each_plan_fails_with_its_flaw_and_holds_without() {
    let plans = corpus();
    assert!(!plans.is_empty(), "ci/corpus has no plan");
    let wrong: Vec<String> = plans
        .iter()
        .filter_map(|path| judge(path).err().map(|why| format!("{}: {why}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
