//! What follows from a step: everything that it did is reported to the marks, the ledger, the
//! invariants and the nemesis.

use super::Tank;
use crate::invariants::{Kind, Seen, View};
use crate::ledger::Finding;
use crate::marks::Mark;
use crate::node::{FIRST_CLIENT, Node};
use crate::workload::{Record, Recorded};
use crate::world::{Exit, Step, StepKind};
use wavetank_core::client::ClientFact;
use wavetank_core::note::Note;
use wavetank_core::types::{Monotonic, NodeId};

impl Tank {
    /// Handles everything that follows from one step. True if the phase may have reached
    /// what it waits for.
    pub(super) fn after(&mut self, step: &Step) -> bool {
        if self.options.keep_fingerprints {
            self.fingerprints.push(self.world.fingerprint());
        }
        if self.options.trace {
            self.trace.extend(self.world.drain_trace());
            self.trace_ends.push(self.trace.len());
        }
        if let StepKind::Control(token) = step.kind {
            self.nemesis.due(token, &mut self.world, &self.ledger);
            self.tell_struck();
            self.observe(NodeId::NONE);
            return true;
        }
        if step.kind == StepKind::Start {
            self.tell(Seen::Started(step.node));
        }
        let mut noted = self.observe(step.node);
        if self.world.conclude() {
            noted |= self.observe(NodeId::NONE);
        }
        if std::mem::take(&mut self.fenced) {
            self.tell_fenced();
        }
        if let Some(exit) = &step.exit
            && !self.nemesis.exited(step.node, exit, &mut self.world)
        {
            let message = match exit {
                Exit::Stopped => format!("node {} stopped without being asked to", step.node),
                Exit::Failed(why) => {
                    format!("node {} failed although no fault caused it: {why}", step.node)
                }
            };
            self.violation("process-exit", Kind::WhiteBox, message);
            self.ended = true;
        }
        noted || step.exit.is_some()
    }

    /// Reports what the last step did. True if there was anything.
    pub(super) fn observe(&mut self, node: NodeId) -> bool {
        let mut something = false;
        let changes: Vec<_> = self.world.drain_disk_changes().collect();
        let mut from = 0;
        while from < changes.len() {
            let owner = changes[from].node;
            let count = changes[from..].iter().take_while(|change| change.node == owner).count();
            let disk = self.world.disk(owner);
            let taken = self.ledger.disk(&changes[from..from + count], disk, &mut self.findings);
            if taken > 0 {
                self.marks.hit(Mark::UnsyncedLost);
            }
            from += count;
        }
        self.judge_findings();
        let notes: Vec<_> = self.world.drain_notes().collect();
        for (_, node, note) in &notes {
            // Steps with only these notes never ended a phase, and must not start to: the end of a
            // phase is part of what a seed means.
            something |= !matches!(
                note,
                Note::QuorumRestored { .. }
                    | Note::QuorumPreVoted { .. }
                    | Note::QuorumStored { .. }
                    | Note::QuorumLogSynced { .. }
                    | Note::LogRefused { .. }
                    | Note::ReadRefused { .. }
                    | Note::AnswerRefused { .. }
                    | Note::LogSynced { .. }
                    | Note::RecoveryPoint { .. }
            );
            self.marks.note(*node, note);
            self.fenced |= matches!(note, Note::BrokerFenced { .. }) && self.creates_at_fencing();
            let disk = self.world.disk(*node);
            self.ledger.note(*node, note, disk, &mut self.findings);
            self.judge_findings();
            self.tell(Seen::Note(*node, note));
        }
        let odd: Vec<_> = self.world.drain_odd_answers().collect();
        for (node, why) in &odd {
            self.tell(Seen::OddAnswer(*node, why));
        }
        if node.0 >= FIRST_CLIENT {
            something |= self.observe_client(node);
        }
        // Last, because a fault may strike at once.
        for (_, node, note) in &notes {
            self.nemesis.note(*node, note, &mut self.world, &self.ledger);
        }
        if self.world.watches_disks() {
            self.nemesis.submitted(&mut self.world, &self.ledger);
        }
        self.tell_struck();
        something
    }

    fn observe_client(&mut self, node: NodeId) -> bool {
        let Some(Node::App(app)) = self.world.machine_mut(node) else { return false };
        let records: Vec<Record> = app.drain().collect();
        for record in &records {
            self.outcome.operations += u64::from(record.what.is_operation());
            self.outcome.compared += u64::from(record.what.is_compared());
            let storm = u64::from(self.storm);
            match &record.what {
                Recorded::Send { .. } => self.outcome.sent_in_storm += storm,
                Recorded::Fact(ClientFact::Acked { .. }) => self.outcome.acked_in_storm += storm,
                Recorded::Fact(ClientFact::Failed { .. }) => self.outcome.failed_in_storm += storm,
                Recorded::Fact(_) | Recorded::Asked { .. } | Recorded::Seek { .. } => {}
            }
            self.tell(Seen::Client(record));
        }
        let any = !records.is_empty();
        self.history.extend(records);
        any
    }

    fn judge_findings(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        for finding in std::mem::take(&mut self.findings) {
            if let Finding::Admitted { .. } = finding {
                self.marks.hit(Mark::LossAdmitted);
            }
            self.tell(Seen::Finding(&finding));
        }
    }

    fn tell_struck(&mut self) {
        for (kind, nodes) in self.nemesis.drain_struck() {
            if self.options.trace {
                let now = Monotonic(self.world.now());
                self.trace.push(format!("{now} 0 * fault {kind} {nodes:?}"));
            }
            self.tell(Seen::Fault(kind, &nodes));
        }
    }

    fn tell(&mut self, seen: Seen<'_>) {
        let view = View {
            plan: &self.plan,
            ledger: &self.ledger,
            world: &self.world,
            calm_since: self.nemesis.calm_since(),
        };
        let mut wrong = Vec::new();
        for invariant in &mut self.invariants {
            if let Err(message) = invariant.see(seen, &view) {
                wrong.push((invariant.name(), invariant.kind(), message));
            }
        }
        for (name, kind, message) in wrong {
            self.violation(name, kind, message);
        }
    }
}
