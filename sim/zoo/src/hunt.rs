//! The bug zoo: proof that the tank finds each flaw, with the seed, the cost, and the invariant.
//!
//! A safety flaw counts as found when a safety promise that a client or the ledger can observe is
//! broken. For the voting flaws, election safety counts, too. An assertion alone does not count,
//! nor does a lack of progress. Flaws that do not affect safety (our own, found by the tank) have
//! their own invariants ([`complaints`]). Each flaw is hunted from several places in the seed
//! space, since the first seed that finds it is luck.

use serde::Serialize;
use std::sync::Arc;
use wavetank_core::flaw::Flaw;
use wavetank_sim::hunt::{Additions, HuntOptions, SeedResult, hunt_seeds};
use wavetank_sim::invariants::{Kind, Violation};
use wavetank_sim::run::{Options, Outcome};

/// The distance between the starts of the seed ranges.
pub const RANGE_STRIDE: u64 = 10_000_000;

/// The result of hunting one flaw. Serializes with the field names that `zoo hunt --json` promises.
#[derive(Clone, Debug, Serialize)]
pub struct ZooEntry {
    /// The flaw's name.
    pub flaw: String,
    /// Where the flaw is known from.
    pub source: String,
    /// Whether it was found in every range.
    pub found: bool,
    /// The first seed that found it, in the median range.
    pub seed: Option<u64>,
    /// Seeds run until then, median over the ranges. A range without a find counts all its seeds.
    pub seeds: u64,
    /// CPU seconds until then, median over the ranges.
    pub cpu_seconds: f64,
    /// The promise that was broken, in the median range.
    pub invariant: Option<String>,
    /// Who could observe it.
    pub kind: Option<Kind>,
    /// The result of each range.
    #[serde(skip)]
    pub ranges: Vec<Catch>,
}

/// One range of seeds.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The seed that found it, and the violation. `None` if none did.
    pub found: Option<(u64, Violation)>,
    /// Seeds that were run.
    pub seeds: u64,
    /// CPU seconds of those.
    pub cpu_seconds: f64,
}

/// Whose violations count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Those observable by a client or the ledger, or the flaw's own ([`complaints`]).
    #[default]
    Anyone,
    /// Those observable by a client.
    History,
}

type Rule = fn(Flaw, &Outcome) -> Option<&Violation>;

impl By {
    fn rule(self) -> Rule {
        match self {
            By::Anyone => counts,
            By::History => counts_by_history,
        }
    }

    fn additions(self, asked: Option<Additions>) -> Option<Additions> {
        match self {
            By::Anyone => asked,
            By::History => Some(Arc::new(move |plan| Options {
                keep_going: true,
                ..asked.as_ref().map_or_else(Options::default, |make| make(plan))
            })),
        }
    }
}

/// The invariants by which a flaw counts as found, besides the safety promises that a client or the
/// ledger can observe.
pub fn complaints(flaw: Flaw) -> &'static [&'static str] {
    match flaw {
        Flaw::VoteBeforeDurable => &["one-leader-per-epoch"],
        Flaw::LostLeaderIsNews => &["progress"],
        Flaw::CutBelowRecoveryPoint => &["process-exit"],
        Flaw::RequestBeforeRecovery => &["assertion"],
        Flaw::AppendWhileClosing => &["clean-mark-vouches"],
        // The whole flaw is that a member is admitted that lacks what is promised, whichever node
        // is elected then.
        Flaw::EarlyIsrJoin | Flaw::HighWatermarkByCommittedIsr | Flaw::RefusalIsFinal => {
            &["isr-holds-promised"]
        }
        Flaw::FenceOnWaking => &["living-stay-unfenced"],
        Flaw::TruncateToHighWatermark
        | Flaw::UnknownEpochAnsweredWithNext
        | Flaw::AckAtLeaderAppend
        | Flaw::AckBeforeFlush
        | Flaw::LeaderResumesEpoch
        | Flaw::TornTailAccepted
        | Flaw::FailedSyncRetried => &[],
    }
}

/// The violation that counts, if the run has one.
pub fn counts(flaw: Flaw, outcome: &Outcome) -> Option<&Violation> {
    let promise =
        |found: &&Violation| found.kind != Kind::WhiteBox && found.invariant != "progress";
    let by_promise = outcome.violations.iter().find(promise);
    let complaint = |found: &&Violation| complaints(flaw).contains(&&found.invariant[..]);
    by_promise.or_else(|| outcome.violations.iter().find(complaint))
}

/// The violation that clients alone could observe, from what they did and saw. Lack of progress
/// counts only if that is the flaw's effect.
pub fn counts_by_history(flaw: Flaw, outcome: &Outcome) -> Option<&Violation> {
    let promise = |found: &&Violation| {
        let progress = found.invariant == "progress";
        found.kind == Kind::Client && (!progress || complaints(flaw).contains(&"progress"))
    };
    outcome.violations.iter().find(promise)
}

/// Hunts one flaw in `ranges` ranges of at most `max_seeds` seeds. Everything but seeds and flaws
/// is taken from `options`. If only the history counts, a run continues to its end whatever the
/// ledger finds.
pub fn hunt(flaw: Flaw, by: By, ranges: u64, max_seeds: u64, options: &HuntOptions) -> ZooEntry {
    let story = flaw.story();
    let counts = by.rule();
    let mut catches: Vec<Catch> = (0..ranges.max(1))
        .map(|range| {
            let start = options.seeds.start + range * RANGE_STRIDE;
            let options = HuntOptions {
                seeds: start..start + max_seeds,
                flaws: vec![story.name.to_owned()],
                additions: by.additions(options.additions.clone()),
                ..options.clone()
            };
            let results = hunt_seeds(&options, &|outcome| counts(flaw, outcome).is_some());
            catch_of(flaw, counts, &results)
        })
        .collect();
    let found = catches.iter().all(|catch| catch.found.is_some());
    let all = catches.clone();
    catches.sort_by_key(|catch| (catch.found.is_none(), catch.seeds));
    let median = &catches[(catches.len() - 1) / 2];
    ZooEntry {
        flaw: story.name.to_owned(),
        source: story.source.to_owned(),
        found,
        seed: median.found.as_ref().map(|(seed, _)| *seed),
        seeds: median.seeds,
        cpu_seconds: median.cpu_seconds,
        invariant: median.found.as_ref().map(|(_, violation)| violation.invariant.clone()),
        kind: median.found.as_ref().map(|(_, violation)| violation.kind),
        ranges: all,
    }
}

fn catch_of(flaw: Flaw, counts: Rule, results: &[SeedResult]) -> Catch {
    let found = results.iter().find_map(|result| {
        counts(flaw, &result.outcome).map(|violation| (result.seed, violation.clone()))
    });
    let cpu: std::time::Duration = results.iter().map(|result| result.cpu).sum();
    Catch { found, seeds: results.len() as u64, cpu_seconds: cpu.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(violations: &[(&str, Kind)]) -> Outcome {
        let violation = |(invariant, kind): &(&str, Kind)| Violation {
            invariant: (*invariant).to_owned(),
            kind: *kind,
            message: String::new(),
            at_us: 0,
        };
        Outcome { violations: violations.iter().map(violation).collect(), ..Outcome::default() }
    }

    #[test]
    fn a_loss_that_is_not_excused_is_in_the_history_of_those_who_lost() {
        let options = HuntOptions::default();
        for (flaw, broken) in [
            (Flaw::AckBeforeFlush, "inconsistent-offsets"),
            (Flaw::TornTailAccepted, "corrupt-read"),
        ] {
            let entry = hunt(flaw, By::History, 1, 20, &options);
            assert_eq!(entry.invariant.as_deref(), Some(broken), "{entry:?}");
            assert_eq!(entry.kind, Some(Kind::Client));
        }
    }

    #[test]
    fn only_promises_count_and_election_safety_for_voting() {
        let assertion = outcome(&[("assertion", Kind::WhiteBox)]);
        assert_eq!(counts(Flaw::AckAtLeaderAppend, &assertion), None);
        let stuck = outcome(&[("progress", Kind::Client)]);
        assert_eq!(counts(Flaw::AckAtLeaderAppend, &stuck), None);
        let two = outcome(&[("one-leader-per-epoch", Kind::WhiteBox)]);
        assert_eq!(counts(Flaw::AckAtLeaderAppend, &two), None);
        assert!(counts(Flaw::VoteBeforeDurable, &two).is_some());
        assert!(counts(Flaw::LostLeaderIsNews, &stuck).is_some());
        assert!(counts(Flaw::RequestBeforeRecovery, &assertion).is_some());
        assert_eq!(counts(Flaw::RequestBeforeRecovery, &stuck), None);
        let seen = |flaw, outcome: &Outcome| counts_by_history(flaw, outcome).is_some();
        assert!(!seen(Flaw::VoteBeforeDurable, &two) && !seen(Flaw::AckAtLeaderAppend, &stuck));
        assert!(seen(Flaw::LostLeaderIsNews, &stuck));
        let both = outcome(&[("acked-stays", Kind::Ledger), ("unseen", Kind::Client)]);
        assert_eq!(counts(Flaw::EarlyIsrJoin, &both).unwrap().invariant, "acked-stays");
        let told = counts_by_history(Flaw::EarlyIsrJoin, &both).unwrap();
        assert_eq!(told.invariant, "unseen");
        let lost = outcome(&[("log-matching", Kind::WhiteBox), ("lost-write", Kind::Client)]);
        let found = counts(Flaw::AckAtLeaderAppend, &lost).unwrap();
        assert_eq!(found.invariant, "lost-write");
    }
}
