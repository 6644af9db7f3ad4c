//! Trace validation: checks runs of the tank against models, step by step.
//!
//! This joins the tank, whose invariants see every note, the ledger's registrations and the disks,
//! to [`wavetank_models::validation`], which knows none of them and does the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};
use std::str::FromStr;
use std::sync::Arc;

use wavetank_core::checkpoint;
use wavetank_core::env::{FileKind, SmallFile};
use wavetank_core::types::{NodeId, PartitionEpoch, TopicPartition};
use wavetank_models::validation::{self, Asks, Divergence, OnDisk, Registered, Validator};
use wavetank_sim::disk::SimDisk;
use wavetank_sim::hunt::Additions;
use wavetank_sim::invariants::{Invariant, Kind, Seen, View};
use wavetank_sim::run::Options;
use wavetank_sim::workload::Record;

/// Models that runs are validated against.
///
/// Parses from a comma-separated list of ids or names: `M1,M3,M7` or `isr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models(Vec<&'static str>);

impl FromStr for Models {
    type Err = UnknownModel;

    fn from_str(text: &str) -> Result<Models, UnknownModel> {
        let mut models = Vec::new();
        for name in text.split(',').map(str::trim) {
            let model = validation::find(name).ok_or_else(|| UnknownModel(name.to_owned()))?;
            if !models.contains(&model) {
                models.push(model);
            }
        }
        Ok(Models(models))
    }
}

/// Runs cannot be validated against a model of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel(pub String);

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = validation::MODELS.join(", ");
        write!(f, "runs cannot be validated against {:?}, only against {known}", self.0)
    }
}

impl std::error::Error for UnknownModel {}

impl Models {
    /// The models with these ids.
    ///
    /// # Panics
    /// If an id is not in [`validation::MODELS`].
    pub fn known(ids: &[&'static str]) -> Models {
        for id in ids {
            assert!(validation::MODELS.contains(id), "runs are validated against no model {id}");
        }
        Models(ids.to_vec())
    }

    /// Their ids, in order.
    pub fn ids(&self) -> &[&'static str] {
        &self.0
    }

    /// One invariant for each model, for each run; `None` if there are no models.
    pub fn additions(&self) -> Option<Additions> {
        let models = self.0.clone();
        if models.is_empty() {
            return None;
        }
        Some(Arc::new(move |plan| {
            let voters: Vec<NodeId> =
                plan.cluster.controllers.iter().copied().map(NodeId).collect();
            Options {
                invariants: models.iter().map(|model| TraceOf::boxed(model, &voters)).collect(),
                ..Options::default()
            }
        }))
    }
}

/// Validates one run against one model.
#[derive(Clone, Debug)]
struct TraceOf {
    name: &'static str,
    validator: Box<dyn Validator>,
    /// The newest registration of each partition that was passed to the validator.
    passed: BTreeMap<TopicPartition, PartitionEpoch>,
    /// Nodes whose process has started and has written no note yet.
    fresh: BTreeMap<NodeId, Fresh>,
}

/// What a process finds on its disk and may change before its first note.
#[derive(Clone, Debug)]
struct Fresh {
    /// The last stop was marked as clean.
    clean_stop: bool,
    /// Directories whose logs a power loss would not have changed.
    settled: BTreeSet<String>,
}

impl Fresh {
    fn of(disk: &SimDisk) -> Fresh {
        let dirs = disk.dir_names().into_iter();
        Fresh {
            clean_stop: is_marked_clean(disk),
            settled: dirs.filter(|dir| disk.is_settled(dir)).collect(),
        }
    }
}

impl TraceOf {
    fn boxed(model: &str, voters: &[NodeId]) -> Box<dyn Invariant> {
        let validator =
            validation::validator(model, voters).expect("the name was looked up before");
        let name = match validator.model() {
            "M3" => "trace-of-M3",
            "M7" => "trace-of-M7",
            _ => "trace-of-M1",
        };
        Box::new(TraceOf { name, validator, passed: BTreeMap::new(), fresh: BTreeMap::new() })
    }

    /// Passes on what a process finds on its disk. This comes before its first note and not
    /// at its start: only by then has the ledger read all that the end of the previous process did
    /// to the disk.
    fn pass_disk(&mut self, node: NodeId, view: &View<'_>) -> Result<(), Box<Divergence>> {
        let Some(fresh) = self.fresh.remove(&node) else { return Ok(()) };
        let disk = view.world.disk(node);
        let dirs: BTreeSet<String> = disk.dir_names().into_iter().collect();
        for partition in self.validator.logs(node) {
            let name = view.ledger.name(partition).filter(|name| dirs.contains(*name));
            let dir = name.filter(|name| is_of(disk, name, partition));
            let asks = Asks { partition, from: 0, to: 0, recovers: true };
            let found = dir.map(|dir| OnDisk {
                settled: fresh.settled.contains(dir),
                ..on_disk(node, asks, view)
            });
            self.validator.left(node, partition, fresh.clean_stop, found.as_ref())?;
        }
        Ok(())
    }

    /// Passes on what the metadata log has committed since the last note of this partition.
    fn pass_registrations(
        &mut self,
        partition: TopicPartition,
        view: &View<'_>,
    ) -> Result<(), Box<Divergence>> {
        let Some(promises) = view.ledger.promises(partition) else { return Ok(()) };
        let from = self.passed.get(&partition).map_or(Unbounded, |newest| Excluded(*newest));
        for (partition_epoch, registration) in promises.registrations().range((from, Unbounded)) {
            self.passed.insert(partition, *partition_epoch);
            let registered = Registered {
                leader: registration.leader,
                leader_epoch: registration.leader_epoch,
                isr: registration.isr.clone(),
            };
            self.validator.registered(partition, *partition_epoch, &registered)?;
        }
        Ok(())
    }
}

/// What the tank knows of a log on a disk.
fn on_disk(node: NodeId, asks: Asks, view: &View<'_>) -> OnDisk {
    let Asks { partition, from, to, recovers } = asks;
    let (disk, log) = (view.world.disk(node), view.ledger.replica(node, partition));
    let dir = view.ledger.name(partition).unwrap_or_default();
    OnDisk {
        whole_end: if recovers { log.whole_end() } else { 0 },
        durable_end: log.durable_end(from, to, disk, dir),
        cut_pending: disk.is_cut_pending(dir),
        recovery_point: if recovers { recovery_point(disk, dir) } else { 0 },
        flushes: view.ledger.flushes(partition),
        settled: false,
    }
}

/// Whether the directory belongs to this partition, and not to a topic of the same name that was
/// deleted before or created in its place.
fn is_of(disk: &SimDisk, dir: &str, partition: TopicPartition) -> bool {
    if partition == TopicPartition::METADATA {
        return true;
    }
    disk.visible(dir, FileKind::PartitionMetadata).is_some_and(|content| {
        checkpoint::parse_partition_metadata(&content.to_bytes())
            .is_ok_and(|topic| topic == partition.topic)
    })
}

/// The recovery point of this directory's log in the checkpoint on disk, as a process would read
/// it.
fn recovery_point(disk: &SimDisk, dir: &str) -> i64 {
    let Some(content) = disk.visible("", FileKind::RecoveryPoints) else { return 0 };
    let name = SmallFile::RecoveryPoints.name();
    let lines = checkpoint::parse_offsets(name, &content.to_bytes()).unwrap_or_default();
    let of = lines.iter().find(|line| format!("{}-{}", line.topic, line.partition) == dir);
    of.map_or(0, |line| line.offset.0)
}

/// Whether the last process marked its stop as clean.
fn is_marked_clean(disk: &SimDisk) -> bool {
    disk.visible("", FileKind::CleanShutdown)
        .is_some_and(|content| checkpoint::parse_clean_shutdown(&content.to_bytes()).is_ok())
}

impl Invariant for TraceOf {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    /// Registrations after the last note of their partition are checked, too.
    fn at_end(&mut self, _history: &[Record], view: &View<'_>) -> Result<(), String> {
        for (partition, _) in view.ledger.partitions() {
            self.pass_registrations(partition, view)
                .map_err(|divergence| divergence.to_string())?;
        }
        Ok(())
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Started(node) => {
                // The previous process may have known everything registered until now.
                let partitions: Vec<TopicPartition> = self.passed.keys().copied().collect();
                for partition in partitions {
                    self.pass_registrations(partition, view)
                        .map_err(|divergence| divergence.to_string())?;
                }
                self.validator.started(node);
                self.fresh.insert(node, Fresh::of(view.world.disk(node)));
                Ok(())
            }
            Seen::Note(node, note) => {
                if let Some(partition) = self.validator.partition(note) {
                    self.pass_registrations(partition, view)
                        .map_err(|divergence| divergence.to_string())?;
                }
                self.pass_disk(node, view).map_err(|divergence| divergence.to_string())?;
                if let Some(asks) = self.validator.asks(node, note) {
                    let disk = on_disk(node, asks, view);
                    self.validator.on_disk(node, asks.partition, &disk);
                }
                self.validator.note(node, note).map_err(|divergence| divergence.to_string())
            }
            Seen::Finding(_) | Seen::Fault(..) | Seen::OddAnswer(..) | Seen::Client(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;
    use wavetank_sim::hunt::{FoundViolation, HuntOptions, HuntReport, hunt, run_caught};
    use wavetank_sim::plan::Plan;

    fn validated(seeds: Range<u64>, flaw: Option<&str>, models: &str) -> HuntReport {
        let models: Models = models.parse().unwrap();
        let flaws = flaw.into_iter().map(str::to_owned).collect();
        let additions = models.additions();
        let until_found = flaw.is_some();
        hunt(&HuntOptions { seeds, flaws, additions, until_found, ..HuntOptions::default() })
    }

    /// Whether a seed of 0..400 diverges from a model, with these words in the message. With a
    /// flaw, a run may diverge at one of several rules first, so seeds are tried until one diverges
    /// at the intended rule.
    fn diverges(flaw: &str, model: &str, says: &str) -> Result<(), Vec<String>> {
        let name = format!("trace-of-{model}");
        let at_step = format!("the run diverges from {model} at step ");
        let mut others = Vec::new();
        let mut from = 0;
        loop {
            let violations = validated(from..400, Some(flaw), model).violations;
            let Some(last) = violations.last().map(|violation| violation.seed) else {
                return Err(others);
            };
            for FoundViolation { seed, invariant, message, .. } in violations {
                if invariant == name && message.starts_with(&at_step) && message.contains(says) {
                    return Ok(());
                }
                others.push(format!("{seed}: {invariant}: {message}"));
            }
            from = last + 1;
        }
    }

    #[test]
    fn the_broker_follows_the_models() {
        let report = validated(300..330, None, "M1,M3,M7");
        assert_eq!(report.violations, []);
        for mark in ["isr_expand", "truncation", "quorum_election"] {
            assert!(report.marks.contains_key(mark), "{:?}", report.marks);
        }
    }

    #[test]
    fn a_flaw_that_the_model_does_not_have_makes_the_run_diverge() {
        for (flaw, model, says) in [
            ("truncate-to-high-watermark", "M1", "learns of an epoch, but its log would still"),
            ("unknown-epoch-answered-with-next", "M1", "but the answer would be epoch"),
            ("ack-at-leader-append", "M1", "and acks=all was answered up to"),
            ("early-isr-join", "M1", "and whose epoch began at"),
            ("leader-resumes-epoch", "M1", "it has lost a tail of its log"),
            ("high-watermark-by-committed-isr", "M1", "moves the high watermark as leader, but it"),
            ("vote-before-durable", "M3", "own vote is not synced"),
            ("leader-resumes-epoch", "M3", "it does not lead that epoch"),
            ("request-before-recovery", "M3", "before it has read its epoch and vote"),
            ("ack-before-flush", "M7", "knew its log to be synced only up to"),
            ("torn-tail-accepted", "M7", "it accepts a torn one"),
            ("failed-sync-retried", "M7", "would be synced, and the media hold it only to"),
            ("cut-below-recovery-point", "M7", "checkpoint on disk may cover all below"),
            ("append-while-closing", "M7", "the mark would cover all below"),
        ] {
            if let Err(others) = diverges(flaw, model, says) {
                panic!("{flaw}: no seed of 0..400 diverges from {model} by {says:?}: {others:#?}");
            }
        }
    }

    /// Hides all notes, so that no note follows any registration.
    #[derive(Clone, Debug)]
    struct AtEndOnly(Box<dyn Invariant>);

    impl Invariant for AtEndOnly {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn kind(&self) -> Kind {
            self.0.kind()
        }

        fn see(&mut self, _: Seen<'_>, _: &View<'_>) -> Result<(), String> {
            Ok(())
        }

        fn at_end(&mut self, history: &[Record], view: &View<'_>) -> Result<(), String> {
            self.0.at_end(history, view)
        }
    }

    /// The violations of a plan's run, validated against these models to its end.
    fn replayed(plan: &str, flaw: Option<&str>, models: &str) -> Vec<(String, String)> {
        let plan = Plan::from_json(plan).unwrap();
        let plan = Plan { flaws: flaw.into_iter().map(str::to_owned).collect(), ..plan };
        let additions = models.parse::<Models>().unwrap().additions().unwrap();
        let options = Options { keep_going: true, ..additions(&plan) };
        let violations = run_caught(&plan, options).violations.into_iter();
        violations.map(|violation| (violation.invariant, violation.message)).collect()
    }

    #[test]
    fn a_refusal_that_is_taken_as_final_makes_the_run_diverge_from_both_models() {
        let plan = include_str!("../../../ci/corpus/late-expansion-without-restart.json");
        assert_eq!(replayed(plan, None, "M1,M7"), []);
        let diverged = replayed(plan, Some("refusal-is-final"), "M1,M7");
        for (model, says) in [
            ("trace-of-M7", "promises that all in-sync replicas hold"),
            ("trace-of-M1", "the controller adds 2 to the ISR, but 2's log ends at"),
        ] {
            let of = |(invariant, message): &(String, String)| {
                invariant == model && message.contains(says)
            };
            assert!(diverged.iter().any(of), "{model}: {diverged:?}");
        }
    }

    /// Once, the metadata log showed first that a proposal was accepted; then the answer to it
    /// cancelled the next proposal.
    #[test]
    fn an_answer_cancels_no_later_proposal() {
        let plan = include_str!("../tests/plans/answer-cancels-later-proposal.json");
        assert_eq!(replayed(plan, None, "M7"), []);
    }

    /// Each plan that `ci/reenact/run flaws` plays on processes leaves out one rule. A change of
    /// the core may alter a run so that the rule no longer matters; then both sides would agree
    /// that nothing is wrong.
    #[test]
    fn the_plans_of_reenact_still_show_their_flaws() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/reenact/flaws");
        let plans: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(plans.len() >= 10);
        for file in plans {
            let path = file.unwrap().path();
            let (plan, flaw) = (std::fs::read_to_string(&path).unwrap(), path.file_stem().unwrap());
            let found = replayed(&plan, flaw.to_str(), "M1,M3");
            assert_ne!(found, [], "{}: the tank does not show it any more", path.display());
        }
    }

    /// For M1, joining an ISR without a leader's note is a violation. M3 ignores registrations.
    #[test]
    fn registrations_that_no_note_follows_are_judged_at_the_end() {
        for (model, judges) in [("M1", true), ("M3", false)] {
            let additions: Additions = Arc::new(move |_| {
                let invariant = AtEndOnly(TraceOf::boxed(model, &[]));
                Options { invariants: vec![Box::new(invariant)], ..Options::default() }
            });
            let (seeds, additions) = (300..303, Some(additions));
            let report = hunt(&HuntOptions { seeds, additions, ..HuntOptions::default() });
            let says = "to the ISR, but nobody has led epoch";
            let found = report.violations.iter().any(|violation| violation.message.contains(says));
            assert_eq!(found, judges, "{:?}", report.violations);
        }
    }

    #[test]
    fn models_that_runs_cannot_be_validated_against_are_refused() {
        assert_eq!("isr,M1".parse(), Ok(Models(vec!["M1"])));
        let refused = "M1,R1".parse::<Models>().unwrap_err();
        let text = refused.to_string();
        assert!(text.ends_with("against \"R1\", only against M1, M3, M7"), "{text}");
    }
}
