//! Which techniques detect a flaw of the zoo: models, trace validation, storms, and the clients'
//! history alone.
//!
//! What storms and histories find is looked up in the saved results of `zoo hunt`, which CI
//! repeats. What models and trace validation find is listed here, and so is the reason if a
//! technique cannot detect a flaw. The tests check each entry that can be checked in seconds.

use serde::{Deserialize, Serialize};
use wavetank_core::flaw::Flaw;

use crate::results::SavedResult;

/// The saved result of `zoo hunt`, as the report shows it.
const HUNTED: &str = include_str!("../../../ci/results/zoo.json");

/// The same for `zoo hunt --by history`.
const HUNTED_BY_HISTORY: &str = include_str!("../../../ci/results/zoo-history.json");

/// Whether a technique detects the flaw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detection {
    /// It does, by this.
    By(String),
    /// It does not, and why.
    Not(&'static str),
}

/// All four techniques. Serializes with the field names that `zoo list --json` promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detections {
    /// The models that fail without the rule, with the length of a shortest counterexample.
    pub model: Detection,
    /// The models from which a run without the rule diverges (`hunt --validate`).
    pub trace: Detection,
    /// The promise that breaks in a storm, and after how many seeds (median).
    pub storm: Detection,
    /// What the clients' history alone shows, and after how many seeds (median).
    pub history: Detection,
}

impl Detections {
    /// The techniques with their names, in order.
    pub fn each(&self) -> [(&'static str, &Detection); 4] {
        [
            ("model", &self.model),
            ("trace", &self.trace),
            ("storm", &self.storm),
            ("history", &self.history),
        ]
    }
}

/// Model, flaw, and the length of a shortest counterexample, in steps.
const COUNTEREXAMPLES: [(&str, Flaw, usize); 20] = [
    ("M1", Flaw::TruncateToHighWatermark, 8),
    ("M1", Flaw::UnknownEpochAnsweredWithNext, 10),
    ("M1", Flaw::AckAtLeaderAppend, 2),
    ("M1", Flaw::EarlyIsrJoin, 12),
    ("M1", Flaw::LeaderResumesEpoch, 7),
    ("M1", Flaw::HighWatermarkByCommittedIsr, 7),
    ("M2", Flaw::RefusalIsFinal, 11),
    ("M3", Flaw::VoteBeforeDurable, 5),
    ("M3", Flaw::LeaderResumesEpoch, 8),
    ("M3", Flaw::RequestBeforeRecovery, 6),
    ("M7", Flaw::TornTailAccepted, 3),
    ("M7", Flaw::FailedSyncRetried, 7),
    ("M7", Flaw::AckBeforeFlush, 4),
    ("M7", Flaw::CutBelowRecoveryPoint, 8),
    ("R1", Flaw::TruncateToHighWatermark, 10),
    ("R1", Flaw::UnknownEpochAnsweredWithNext, 10),
    ("R1", Flaw::AckAtLeaderAppend, 2),
    ("R1", Flaw::HighWatermarkByCommittedIsr, 11),
    ("R3", Flaw::VoteBeforeDurable, 11),
    ("R3C", Flaw::LeaderResumesEpoch, 9),
];

/// The models from which runs with the flaw diverge, by the tests of [`crate::validation`].
pub const DIVERGING: [(&str, Flaw); 16] = [
    ("M1", Flaw::TruncateToHighWatermark),
    ("M1", Flaw::UnknownEpochAnsweredWithNext),
    ("M1", Flaw::AckAtLeaderAppend),
    ("M1", Flaw::EarlyIsrJoin),
    ("M1", Flaw::LeaderResumesEpoch),
    ("M1", Flaw::HighWatermarkByCommittedIsr),
    ("M1", Flaw::RefusalIsFinal),
    ("M3", Flaw::VoteBeforeDurable),
    ("M3", Flaw::LeaderResumesEpoch),
    ("M3", Flaw::RequestBeforeRecovery),
    ("M7", Flaw::AckBeforeFlush),
    ("M7", Flaw::TornTailAccepted),
    ("M7", Flaw::FailedSyncRetried),
    ("M7", Flaw::CutBelowRecoveryPoint),
    ("M7", Flaw::AppendWhileClosing),
    ("M7", Flaw::RefusalIsFinal),
];

/// One entry of the saved result; the rest of it is for the report.
#[derive(Deserialize)]
struct Hunted {
    flaw: String,
    seeds: u64,
    found: bool,
    invariant: Option<String>,
    kind: Option<String>,
}

/// Which techniques detect this flaw.
pub fn of(flaw: Flaw) -> Detections {
    Detections {
        model: model(flaw),
        trace: trace(flaw),
        storm: storm(flaw),
        history: history(flaw),
    }
}

fn detected(by: Vec<String>, otherwise: &'static str) -> Detection {
    if by.is_empty() { Detection::Not(otherwise) } else { Detection::By(by.join(", ")) }
}

fn model(flaw: Flaw) -> Detection {
    let of = COUNTEREXAMPLES.iter().filter(|(_, known, _)| *known == flaw);
    let by = of.map(|(model, _, steps)| format!("{model} in {steps} steps")).collect();
    detected(by, why_no_model(flaw))
}

fn why_no_model(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::LostLeaderIsNews => {
            "the flaw stops progress and breaks no safety property; the models check only safety"
        }
        Flaw::AppendWhileClosing => "no model has a graceful stop yet",
        Flaw::FenceOnWaking => "no model has sessions; fencing is always allowed",
        Flaw::TruncateToHighWatermark
        | Flaw::UnknownEpochAnsweredWithNext
        | Flaw::AckAtLeaderAppend
        | Flaw::AckBeforeFlush
        | Flaw::VoteBeforeDurable
        | Flaw::EarlyIsrJoin
        | Flaw::LeaderResumesEpoch
        | Flaw::HighWatermarkByCommittedIsr
        | Flaw::TornTailAccepted
        | Flaw::FailedSyncRetried
        | Flaw::CutBelowRecoveryPoint
        | Flaw::RequestBeforeRecovery
        | Flaw::RefusalIsFinal => "no model has this rule yet",
    }
}

fn trace(flaw: Flaw) -> Detection {
    let by = DIVERGING.iter().filter(|(_, known)| *known == flaw);
    let by = by.map(|(model, _)| (*model).to_owned()).collect();
    detected(by, why_no_divergence(flaw))
}

fn why_no_divergence(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::LostLeaderIsNews => "each step is allowed; the flaw is a missing step",
        Flaw::FenceOnWaking => "fencing is always allowed; no event says that the broker lives",
        Flaw::TruncateToHighWatermark
        | Flaw::UnknownEpochAnsweredWithNext
        | Flaw::AckAtLeaderAppend
        | Flaw::VoteBeforeDurable
        | Flaw::EarlyIsrJoin
        | Flaw::LeaderResumesEpoch
        | Flaw::HighWatermarkByCommittedIsr
        | Flaw::RequestBeforeRecovery
        | Flaw::AckBeforeFlush
        | Flaw::TornTailAccepted
        | Flaw::FailedSyncRetried
        | Flaw::CutBelowRecoveryPoint
        | Flaw::AppendWhileClosing
        | Flaw::RefusalIsFinal => "none of the models has this rule",
    }
}

/// The saved result for this flaw, if the median range found it; not every range need have found
/// it. Returns the seeds of that range, the broken promise, and its kind.
fn found(saved: &str, flaw: Flaw) -> Option<(String, String, String)> {
    let saved = SavedResult::parse(saved).expect("a test reads the saved results");
    let hunted: Vec<Hunted> =
        serde_json::from_value(saved.result).expect("a test reads the saved results");
    let name = flaw.story().name;
    let hunted = hunted.into_iter().find(|hunted| hunted.flaw == name)?;
    let partly = if hunted.found { "" } else { ", not in every range" };
    let seeds = format!("{} seeds{partly}", hunted.seeds);
    Some((seeds, hunted.invariant?, hunted.kind?))
}

fn storm(flaw: Flaw) -> Detection {
    match found(HUNTED, flaw) {
        Some((seeds, invariant, kind)) => Detection::By(format!("{seeds}: {invariant} ({kind})")),
        None => Detection::Not("not in the saved results; hunt it with: wavetank zoo hunt"),
    }
}

fn history(flaw: Flaw) -> Detection {
    match found(HUNTED_BY_HISTORY, flaw) {
        Some((seeds, invariant, _)) => Detection::By(format!("{seeds}: {invariant}")),
        None => Detection::Not(why_unseen(flaw)),
    }
}

fn why_unseen(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::VoteBeforeDurable => {
            "clients see no votes, and of two leaders in one epoch only one can commit, because \
             the voter that both need follows one of them: no history of 8,000 storms, or of plans \
             written for this flaw, shows a loss"
        }
        Flaw::CutBelowRecoveryPoint | Flaw::RequestBeforeRecovery => {
            "a process exits without cause, and clients of a replicated broker carry on"
        }
        Flaw::AppendWhileClosing => {
            "clients do not see what a clean mark on disk vouches for; the ledger detects it"
        }
        Flaw::FenceOnWaking => "clients see only a leader change, which is always allowed",
        Flaw::TruncateToHighWatermark
        | Flaw::UnknownEpochAnsweredWithNext
        | Flaw::AckAtLeaderAppend
        | Flaw::AckBeforeFlush
        | Flaw::EarlyIsrJoin
        | Flaw::LeaderResumesEpoch
        | Flaw::HighWatermarkByCommittedIsr
        | Flaw::TornTailAccepted
        | Flaw::FailedSyncRetried
        | Flaw::LostLeaderIsNews
        | Flaw::RefusalIsFinal => {
            "not in the saved results; hunt it with: wavetank zoo hunt --by history"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_models::Bounds;

    /// The models' own tests replay these counterexamples. Checking that none is shorter takes half
    /// a minute each (`wavetank model check`).
    const SLOW: [(&str, Flaw); 2] =
        [("R1", Flaw::UnknownEpochAnsweredWithNext), ("R3", Flaw::VoteBeforeDurable)];

    #[test]
    fn each_counterexample_is_as_long_as_listed() {
        for (id, flaw, steps) in COUNTEREXAMPLES {
            let name = flaw.story().name;
            let model = wavetank_models::find(id).expect(id);
            assert!(model.variants.contains(&name), "{id} has no variant {name}");
            if SLOW.contains(&(id, flaw)) {
                continue;
            }
            let report = (model.check)(Some(name), Bounds::Small);
            let found = report.counterexample.map(|(_, path)| path.len());
            assert_eq!(found, Some(steps), "{id} without {name}");
        }
    }

    #[test]
    fn each_flaw_that_is_a_models_variant_is_listed() {
        for model in wavetank_models::ALL {
            for flaw in model.variants.iter().filter_map(|name| Flaw::from_name(name)) {
                let listed =
                    |(id, known, _): &(&str, Flaw, usize)| (*id, *known) == (model.id, flaw);
                assert!(COUNTEREXAMPLES.iter().any(listed), "{} {flaw}", model.id);
            }
        }
    }

    #[test]
    fn each_of_the_first_ten_is_detected_or_says_why_not() {
        for flaw in Flaw::ALL.into_iter().take(10) {
            let detections = of(flaw);
            assert!(matches!(detections.model, Detection::By(_)), "{flaw}: {detections:?}");
            assert!(matches!(detections.storm, Detection::By(_)), "{flaw}: {detections:?}");
            let unseen = matches!(detections.history, Detection::Not(_));
            assert_eq!(unseen, flaw == Flaw::VoteBeforeDurable, "{flaw}: {detections:?}");
            for (name, detection) in detections.each() {
                if let Detection::Not(why) = detection {
                    assert!(why.len() > 20, "{flaw} {name}");
                }
            }
        }
        assert_eq!(of(Flaw::EarlyIsrJoin).trace, Detection::By("M1".to_owned()));
        assert_eq!(of(Flaw::TornTailAccepted).trace, Detection::By("M7".to_owned()));
        assert!(matches!(of(Flaw::LostLeaderIsNews).trace, Detection::Not(_)));
    }
}
