//! Trace validation against M7: each log on each disk, including the metadata log, checked against
//! [`crate::recovery`].
//!
//! # How a run's steps map to the model's
//!
//! | what happens | action |
//! |------|--------|
//! | `LeaderAppended`, `FollowerAppended` | `Append`, for each batch |
//! | `LogSynced` | `Sync` and `HearSync`: the media must hold what the process takes as synced |
//! | `LogDirOffline` | `SyncFails` (or another operation fails): the log takes no further step |
//! | `HighWatermark` of a leader, `ProduceAcked` | `Acknowledge`; by the ISR, except with acks=1 |
//! | `RecoveryPoint`, about to be written | `Checkpoint` is enabled |
//! | `RecoveryPoint`, durable | `Checkpoint` is done |
//! | `Truncated` | `Cut` |
//! | a process starts | `ProcessCrash` or `PowerLoss`, depending on what the disk has kept |
//! | `Recovered`, `LogRefused` | `Recover` |
//! | `ShutDown`, clean | no step: the mark that the next `Recover` believes may be written |
//! | `Departed` | no step: the log takes none from here on, and no mark vouches for it |
//!
//! Notes say what a process knows, not what its disk holds. The tank reports that ([`OnDisk`]); it
//! follows the disk's own stream of changes, and asks no broker.
//!
//! # Where the code's steps are finer, and why that is sound
//!
//! - *A write takes a while.* `end` is what was submitted. A process that ends may lose any of it
//!   that is not synced, as in the model. The ledger, not this check, reports a high watermark
//!   beyond what the page cache has.
//! - *The disk performs a cut later than the process.* Until then, what the media hold beyond the
//!   cut is from the old log, and a sync counts only up to the cut (the model's `stale`). If the
//!   process ends before the disk performs the cut, or the power is lost before the cut is synced,
//!   the cut never happened; the disk may come back with all that it had (the model's
//!   `cut_undone`).
//! - *Writing a checkpoint takes a while.* Until it is durable the disk may hold the old one or the
//!   new one: a cut must respect both.
//! - *Only what one log promises is checked here.* If the topic does not flush each batch, what is
//!   written counts as held, and losing that is no fault of the log. The leader of the metadata
//!   quorum may commit what a majority has synced before it has synced it itself. M3 checks which
//!   voters have synced it, by what they know to be synced; here that knowledge is checked against
//!   the media.
//! - *A follower acknowledges by its fetch offset*, which has no note. Its `Acknowledge` is placed
//!   where its leader counts it. When a high watermark moves in a topic that flushes each batch, or
//!   acks=all is answered, each member of the ISR that the leader knows or has proposed must have
//!   known as much to be synced, following in that epoch. It need not know it any more: it may have
//!   restarted or left the epoch since, without its leader having heard. So a follower that
//!   acknowledges too much is caught if its leader counts that before the follower's sync has
//!   ended, or if that sync never ends. A replica outside the ISR that the leader waits for because
//!   it has caught up promises nothing and is not checked. M1 checks that members have the same
//!   records and that the ISR is a registered one.
//! - *Data that a sync has failed on* is gone when the machine has restarted, not when the process
//!   has. So after `LogDirOffline` a process must find a log that a power loss could no longer
//!   change. The broker cannot tell (M7's `failed-sync-forgotten`). In the tank the operator
//!   restarts the machine, and this check requires that. If the process ended before it noted the
//!   failure, nothing is required: the kernel reports the error to the next process.
//! - *A clean stop is a mark on the disk*, which the process removes before it opens a log. It
//!   vouches for all logs but the metadata log. The bounded model has no such stops. All that they
//!   add to it is that a log that is synced to its end loses nothing.
//! - *Segments, indexes, epoch files and file names* are not in the model: here a log is durable
//!   where its batches and their files' names are.
//! - *A log that starts anew*, because its leader's starts beyond its end, is accepted as it is; a
//!   log whose directory is gone is forgotten.
//!
//! Neither M7 nor the storms have damage: if a disk loses what it has synced, the run fails
//! validation at the next start of its process.

use std::collections::BTreeMap;
use std::fmt;

use wavetank_core::note::{Note, TruncationReason};
use wavetank_core::types::{NodeId, Offset, PartitionEpoch, TopicPartition};

use super::held::Held;
use super::{Asks, Divergence, OnDisk, Refused, Registered, Validator, refuse};
use crate::rules;

type Taken = Result<(), Box<Refused>>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct RecoveryValidator {
    nodes: BTreeMap<NodeId, Process>,
    held: Held,
    step: u64,
    diverged: bool,
}

/// The process on a node, and the logs on its disk.
#[derive(Clone, Debug, Default)]
struct Process {
    logs: BTreeMap<TopicPartition, Log>,
    /// A disk operation failed: no log takes a further step.
    offline: bool,
    /// `offline` when the previous process ended.
    was_offline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Not there, or not recovered yet.
    #[default]
    Down,
    Runs,
    Refused,
    /// Its directory is about to be renamed.
    Departed,
}

/// One log. Each offset stands for everything below it.
#[derive(Clone, Debug, Default)]
struct Log {
    phase: Phase,
    /// Its start offset as last reported.
    start: i64,
    /// The process has written it up to here; after the process has ended: what the disk had.
    end: i64,
    /// What the process knows to be synced.
    synced: i64,
    /// What the media are known to hold.
    media: i64,
    /// The recovery point in the checkpoint on disk.
    checkpoint: i64,
    /// Recovery points that are being written, or were when the process ended.
    writing: Vec<i64>,
    /// What was acknowledged.
    acknowledged: i64,
    /// A cut that may not be on the media: the log end before it, and after it.
    cut: Option<(i64, i64)>,
    /// The last stop was marked as clean.
    clean_stop: bool,
    /// What the tank reported last.
    disk: OnDisk,
}

impl Log {
    /// The process is gone, and the disk has this.
    fn left(&mut self, node: NodeId, was_offline: bool, clean_stop: bool, disk: &OnDisk) -> Taken {
        let action = format!("{node}'s process ends or loses power");
        if was_offline && !disk.settled {
            return refuse(
                action,
                "an operation of its disk had failed, and the process has restarted without the \
                 machine: the page cache may show what is not on the media",
            );
        }
        let (media, whole) = (self.media, disk.whole_end);
        if whole < media {
            return refuse(
                action,
                format!("the media held all below {media}, and the remaining log ends at {whole}"),
            );
        }
        let most = self.cut.map_or(self.end, |(from, _)| from.max(self.end));
        if whole > most {
            return refuse(action, format!("nobody has written it to {whole}"));
        }
        (self.phase, self.clean_stop) = (Phase::Down, clean_stop);
        (self.end, self.synced) = (whole, 0);
        if disk.settled {
            // The cut happened or it did not: no later crash can undo it.
            self.cut = None;
        }
        Ok(())
    }

    /// Its process may tell others that it has synced everything below.
    fn known_synced(&self) -> i64 {
        self.synced.max(self.start)
    }

    fn recover(&mut self, node: NodeId, start: Offset, end: Offset) -> Taken {
        let action = format!("{node} starts and recovers the log");
        let point = self.read_checkpoint(&action)?;
        let OnDisk { whole_end, durable_end, .. } = self.disk;
        let right = rules::recovered_end(Some(whole_end), end.0);
        if end.0 > right {
            return refuse(
                action,
                format!("its whole batches end at {right}, and it accepts a torn one"),
            );
        }
        if end.0 < right {
            return refuse(
                action,
                format!("its whole batches extend to {right}, and it truncates them to {end}"),
            );
        }
        if !rules::may_open(end.0, point) {
            return refuse(
                action,
                format!("its checkpoint covers all below {point}: the log is refused"),
            );
        }
        let synced = rules::synced_when_recovered(self.clean_stop, point, end.0).max(start.0);
        if durable_end < synced {
            let by = if self.clean_stop { "clean-shutdown mark" } else { "checkpoint" };
            return refuse(
                action,
                format!(
                    "by its {by} it counts all below {synced} as synced, and the media hold it \
                     only to {durable_end}"
                ),
            );
        }
        (self.phase, self.end, self.synced) = (Phase::Runs, end.0, synced);
        self.start = start.0;
        self.media = self.media.max(synced);
        self.acknowledged = self.acknowledged.min(end.0);
        Ok(())
    }

    fn refused(&mut self, node: NodeId, end: Offset) -> Taken {
        let action = format!("{node} starts and recovers the log");
        let point = self.read_checkpoint(&action)?;
        let whole = self.disk.whole_end;
        if end.0 != whole || rules::may_open(whole, point) {
            return refuse(
                action,
                format!(
                    "it is opened: its whole batches end at {whole}, and its checkpoint covers all \
                     below {point}"
                ),
            );
        }
        self.phase = Phase::Refused;
        Ok(())
    }

    /// The recovery point that the process finds on disk.
    fn read_checkpoint(&mut self, action: &str) -> Result<i64, Box<Refused>> {
        if self.phase != Phase::Down {
            return refuse(action, "it was recovered when the process started");
        }
        let point = self.disk.recovery_point;
        if point != self.checkpoint && !self.writing.contains(&point) {
            let before = self.checkpoint;
            return refuse(
                action,
                format!("the checkpoint says {point}, and {before} was written last"),
            );
        }
        self.checkpoint = point;
        self.writing.clear();
        Ok(point)
    }

    fn append(&mut self, node: NodeId, first: Offset, end: Offset) -> Taken {
        if first.0 != self.end {
            let at = self.end;
            return refuse(
                format!("{node} appends to the log"),
                format!("it would append at {at}"),
            );
        }
        self.end = end.0;
        Ok(())
    }

    fn hear_sync(&mut self, node: NodeId, end: Offset) -> Taken {
        let action = format!("{node} hears that a sync has succeeded");
        let stale = match self.cut {
            Some((_, to)) => self.disk.cut_pending && end.0 > to,
            None => false,
        };
        let synced = rules::synced_end(self.synced, end.0, self.end, stale);
        if synced < end.0 {
            return refuse(
                action,
                match stale {
                    true => {
                        "it covered bytes truncated since, and says nothing about the current log"
                    }
                    false => "the log ends before that",
                },
            );
        }
        let durable = self.disk.durable_end;
        if durable < synced {
            return refuse(
                action,
                format!(
                    "all below {synced} would be synced, and the media hold it only to {durable}"
                ),
            );
        }
        (self.synced, self.media) = (synced, self.media.max(synced));
        if self.cut.is_some_and(|(_, to)| synced > to) {
            self.cut = None;
        }
        Ok(())
    }

    fn acknowledge(&mut self, node: NodeId, upto: Offset) -> Taken {
        let counted = rules::counted_end(self.disk.flushes, self.synced, self.end);
        if upto.0 > counted.max(self.acknowledged) {
            let known = if self.disk.flushes { "synced" } else { "written" };
            return refuse(
                format!("{node} acknowledges everything it counts as held"),
                format!("that is what is {known}, all below {counted}, and it reports {upto}"),
            );
        }
        self.acknowledged = self.acknowledged.max(upto.0);
        Ok(())
    }

    fn checkpoint(&mut self, node: NodeId, point: i64, durable: bool) -> Taken {
        let action = format!("{node} checkpoints recovery point {point}");
        if durable {
            if point != self.checkpoint && !self.writing.contains(&point) {
                return refuse(action, "it was not being written");
            }
            self.checkpoint = point;
            self.writing.clear();
            return Ok(());
        }
        let (synced, acknowledged) = (self.synced, self.acknowledged);
        if point > rules::recovery_point_bound(synced, acknowledged) {
            return refuse(
                action,
                format!(
                    "it is synced to {synced} and acknowledged to {acknowledged}: not all below is \
                     final"
                ),
            );
        }
        self.writing.push(point);
        Ok(())
    }

    fn cut(&mut self, node: NodeId, from: Offset, to: Offset) -> Taken {
        let action = format!("{node} truncates the log to offset {to}");
        if from.0 != self.end {
            return refuse(action, format!("its log ends at {}", self.end));
        }
        let point = self.writing.iter().copied().fold(self.checkpoint, i64::max);
        if !rules::may_cut(to.0, point) {
            return refuse(
                action,
                format!(
                    "its checkpoint on disk may cover all below {point}: after a crash the log \
                     would be refused"
                ),
            );
        }
        self.end = to.0;
        self.synced = self.synced.min(to.0);
        self.media = self.media.min(to.0);
        self.acknowledged = self.acknowledged.min(to.0);
        let (before, least) = self.cut.unwrap_or((from.0, to.0));
        self.cut = Some((before.max(from.0), least.min(to.0)));
        Ok(())
    }

    /// Drops everything; the next record is at `to`.
    fn start_anew(&mut self, to: Offset) {
        let before = self.cut.map_or(self.end, |(from, _)| from.max(self.end));
        self.cut = Some((before.max(to.0), 0));
        (self.start, self.end, self.synced, self.media) = (to.0, to.0, 0, 0);
        self.acknowledged = self.acknowledged.min(to.0);
    }

    fn take(&mut self, node: NodeId, step: Step) -> Taken {
        match step {
            Step::Recovered { start, end } => self.recover(node, start, end),
            Step::Refused { end } => self.refused(node, end),
            // What recovery cuts is not a whole batch; `Recovered` says where the log ends.
            Step::CutsTorn => Ok(()),
            Step::Departs => {
                self.phase = Phase::Departed;
                // The next checkpoint has no line for it.
                self.writing.push(0);
                Ok(())
            }
            // A checkpoint covers all logs, including those that are being opened.
            Step::Checkpoint { point, durable } => self.checkpoint(node, point.0, durable),
            Step::Appended { .. }
            | Step::HearsSync { .. }
            | Step::Cut { .. }
            | Step::StartsAnew { .. }
            | Step::Acknowledges { .. }
            | Step::Commits { .. }
                if self.phase != Phase::Runs =>
            {
                refuse(format!("{node} does a step"), "its log is not open")
            }
            Step::Appended { first, end } => self.append(node, first, end),
            Step::HearsSync { end } => self.hear_sync(node, end),
            Step::Cut { from, to } => self.cut(node, from, to),
            Step::StartsAnew { at } => {
                self.start_anew(at);
                Ok(())
            }
            Step::Acknowledges { upto } => self.acknowledge(node, upto),
            // The node need not have synced that itself, and it tells nobody.
            Step::Commits { upto } => {
                self.acknowledged = self.acknowledged.max(upto.0);
                Ok(())
            }
        }
    }
}

/// What a note says about one log.
#[derive(Clone, Copy, Debug)]
enum Step {
    Recovered { start: Offset, end: Offset },
    Refused { end: Offset },
    CutsTorn,
    Checkpoint { point: Offset, durable: bool },
    Appended { first: Offset, end: Offset },
    HearsSync { end: Offset },
    Cut { from: Offset, to: Offset },
    StartsAnew { at: Offset },
    Acknowledges { upto: Offset },
    Commits { upto: Offset },
    Departs,
}

fn step_of(note: &Note) -> Option<(TopicPartition, Step)> {
    Some(match *note {
        Note::Recovered { partition, log_start: start, log_end: end, .. } => {
            (partition, Step::Recovered { start, end })
        }
        Note::LogRefused { partition, end } => (partition, Step::Refused { end }),
        Note::LogSynced { partition, end } => (partition, Step::HearsSync { end }),
        Note::RecoveryPoint { partition, point, durable } => {
            (partition, Step::Checkpoint { point, durable })
        }
        Note::Truncated { partition, from, to, reason } => match reason {
            TruncationReason::TornTail => (partition, Step::CutsTorn),
            TruncationReason::LeaderStartsAfter => (partition, Step::StartsAnew { at: to }),
            TruncationReason::Diverging
            | TruncationReason::LeaderEndsBefore
            | TruncationReason::OwnHighWatermark => (partition, Step::Cut { from, to }),
        },
        Note::LeaderAppended { partition, first, end, .. }
        | Note::FollowerAppended { partition, first, end, .. } => {
            (partition, Step::Appended { first, end })
        }
        Note::HighWatermark { partition, leader: true, to: upto, .. } => {
            (partition, Step::Acknowledges { upto })
        }
        Note::HighWatermark { partition, leader: false, to: upto, .. } => {
            (partition, Step::Commits { upto })
        }
        Note::QuorumCommitted { to, .. } => (TopicPartition::METADATA, Step::Commits { upto: to }),
        Note::ProduceAcked { partition, acks, end: upto, .. } if acks != 0 => {
            (partition, Step::Acknowledges { upto })
        }
        Note::Departed { partition, .. } => (partition, Step::Departs),
        // An answer with acks=0 and notes about roles, votes and nodes promise nothing.
        Note::ProduceAcked { .. }
        | Note::Rolled { .. }
        | Note::BecameLeader { .. }
        | Note::BecameFollower { .. }
        | Note::IsrProposed { .. }
        | Note::IsrCommitted { .. }
        | Note::IsrRefused { .. }
        | Note::IsrUnanswered { .. }
        | Note::ProduceFailed { .. }
        | Note::DivergingEpoch { .. }
        | Note::AnswerRefused { .. }
        | Note::Fenced { .. }
        | Note::QuorumCandidate { .. }
        | Note::QuorumRestored { .. }
        | Note::QuorumPreVoted { .. }
        | Note::QuorumStored { .. }
        | Note::QuorumLogSynced { .. }
        | Note::QuorumVoted { .. }
        | Note::QuorumVoteAnswered { .. }
        | Note::QuorumLeader { .. }
        | Note::QuorumFollower { .. }
        | Note::QuorumResigned { .. }
        | Note::ReadRefused { .. }
        | Note::ControllerActive { .. }
        | Note::BrokerRegistered { .. }
        | Note::BrokerFenced { .. }
        | Note::BrokerUnfenced { .. }
        | Note::SessionExpired { .. }
        | Note::SessionRenewed { .. }
        | Note::CutDeferred { .. }
        | Note::CutReads { .. }
        | Note::PartitionChanged { .. }
        | Note::BrokerRunning { .. }
        | Note::LogDirOffline { .. }
        | Note::ShutDown { .. } => return None,
    })
}

impl Process {
    fn take(&mut self, node: NodeId, partition: TopicPartition, step: Step) -> Taken {
        if self.offline {
            return refuse(
                format!("{node} does a step"),
                "an operation of its disk has failed, and the log is offline",
            );
        }
        match step {
            // A directory that has no log here may depart, too.
            Step::Departs => {
                self.logs.get_mut(&partition).map_or(Ok(()), |log| log.take(node, step))
            }
            _ => self.logs.entry(partition).or_default().take(node, step),
        }
    }

    /// Only a stop with all logs synced may be marked as clean. Nobody trusts the mark for the
    /// metadata log.
    fn mark_clean(&self, node: NodeId) -> Result<(), (TopicPartition, Box<Refused>)> {
        for (partition, log) in &self.logs {
            let vouched = *partition != TopicPartition::METADATA && log.phase == Phase::Runs;
            if vouched && !rules::may_mark_clean(log.synced, log.end) {
                let (synced, end) = (log.synced, log.end);
                let refused = Refused {
                    action: format!("{node} stops and marks its shutdown as clean"),
                    why: format!(
                        "the mark would cover all below {end}, and only all below {synced} is \
                         known to be synced"
                    ),
                };
                return Err((*partition, Box::new(refused)));
            }
        }
        Ok(())
    }
}

impl RecoveryValidator {
    fn diverge(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        seen: String,
        refused: Refused,
    ) -> Box<Divergence> {
        self.diverged = true;
        let log = self.nodes.get(&node).and_then(|process| process.logs.get(&partition));
        Box::new(Divergence {
            model: self.model(),
            step: self.step,
            seen,
            action: refused.action,
            why: refused.why,
            state: log.map_or(String::new(), |log| format!("{partition} on {node} {log}")),
        })
    }
}

impl Validator for RecoveryValidator {
    fn model(&self) -> &'static str {
        "M7"
    }

    fn partition(&self, _: &Note) -> Option<TopicPartition> {
        None
    }

    fn started(&mut self, node: NodeId) {
        let process = self.nodes.entry(node).or_default();
        process.was_offline = std::mem::take(&mut process.offline);
        self.held.started(node);
    }

    fn registered(
        &mut self,
        _: TopicPartition,
        _: PartitionEpoch,
        _: &Registered,
    ) -> Result<(), Box<Divergence>> {
        Ok(())
    }

    fn logs(&self, node: NodeId) -> Vec<TopicPartition> {
        let process = self.nodes.get(&node);
        process.map_or(Vec::new(), |process| process.logs.keys().copied().collect())
    }

    fn left(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        clean_stop: bool,
        disk: Option<&OnDisk>,
    ) -> Result<(), Box<Divergence>> {
        let Some(process) = self.nodes.get_mut(&node).filter(|_| !self.diverged) else {
            return Ok(());
        };
        let Some(disk) = disk else {
            process.logs.remove(&partition);
            return Ok(());
        };
        self.step += 1;
        let clean_stop = clean_stop && partition != TopicPartition::METADATA;
        let was_offline = process.was_offline;
        let log = process.logs.entry(partition).or_default();
        let Err(refused) = log.left(node, was_offline, clean_stop, disk) else { return Ok(()) };
        let seen = format!("node {node} starts, and its disk has {disk:?}");
        Err(self.diverge(node, partition, seen, *refused))
    }

    fn asks(&self, node: NodeId, note: &Note) -> Option<Asks> {
        let (partition, step) = step_of(note).filter(|_| !self.diverged)?;
        let log = self.nodes.get(&node).and_then(|process| process.logs.get(&partition));
        let (from, to, recovers) = match step {
            Step::HearsSync { end } => (log.map_or(0, |log| log.synced), end.0, false),
            Step::Recovered { start, end } => (start.0, end.0, true),
            Step::Refused { end } => (0, end.0, true),
            Step::CutsTorn
            | Step::Checkpoint { .. }
            | Step::Appended { .. }
            | Step::Cut { .. }
            | Step::StartsAnew { .. }
            | Step::Acknowledges { .. }
            | Step::Commits { .. }
            | Step::Departs => return None,
        };
        Some(Asks { partition, from, to, recovers })
    }

    fn on_disk(&mut self, node: NodeId, partition: TopicPartition, disk: &OnDisk) {
        let process = self.nodes.entry(node).or_default();
        process.logs.entry(partition).or_default().disk = *disk;
    }

    fn note(&mut self, node: NodeId, note: &Note) -> Result<(), Box<Divergence>> {
        if self.diverged {
            return Ok(());
        }
        let process = self.nodes.entry(node).or_default();
        let refused = match (step_of(note), note) {
            (Some((partition, step)), _) => {
                self.step += 1;
                let taken = process.take(node, partition, step);
                let log = process.logs.get(&partition);
                let promised = taken.and_then(|()| match log {
                    Some(log) => self.held.take(node, partition, note, log.disk.flushes),
                    None => Ok(()),
                });
                if let Some(log) = log {
                    let cut = matches!(step, Step::Cut { .. } | Step::StartsAnew { .. });
                    self.held.knows(node, partition, log.known_synced(), cut);
                }
                promised.map_err(|refused| (partition, refused))
            }
            (None, Note::LogDirOffline { .. }) => {
                self.step += 1;
                process.offline = true;
                Ok(())
            }
            (None, Note::ShutDown { clean: true }) => {
                self.step += 1;
                process.mark_clean(node)
            }
            (None, _) => {
                self.held.hear(node, note);
                Ok(())
            }
        };
        let Err((partition, refused)) = refused else { return Ok(()) };
        Err(self.diverge(node, partition, format!("node {node} notes {note:?}"), *refused))
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Log { end, synced, media, checkpoint, acknowledged, .. } = self;
        match self.phase {
            Phase::Down => write!(f, "is not open")?,
            Phase::Runs => write!(f, "runs")?,
            Phase::Departed => write!(f, "is leaving")?,
            Phase::Refused => write!(f, "is refused")?,
        }
        write!(
            f,
            " and ends at {end}, known synced to {synced}, on the media to {media}, recovery point \
             {checkpoint}, acknowledged to {acknowledged}"
        )?;
        for point in &self.writing {
            write!(f, ", recovery point {point} being written")?;
        }
        if let Some((from, to)) = self.cut {
            write!(f, ", truncated from {from} to {to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::event::DiskOpKind;
    use wavetank_core::types::{LeaderEpoch, Uuid};

    const P: TopicPartition = TopicPartition { topic: Uuid(77), partition: 0 };
    const NODE: NodeId = NodeId(1);

    /// A log of a topic that flushes each batch, open and empty, and its disk.
    struct Bench {
        model: RecoveryValidator,
        partition: TopicPartition,
        disk: OnDisk,
        clean_stop: bool,
    }

    impl Bench {
        fn of(partition: TopicPartition) -> Bench {
            let disk = OnDisk { flushes: true, ..OnDisk::default() };
            let model = RecoveryValidator::default();
            let mut bench = Bench { model, partition, disk, clean_stop: false };
            bench.recovers(0).unwrap();
            bench
        }

        fn new() -> Bench {
            Bench::of(P)
        }

        fn note(&mut self, note: Note) -> Result<(), Box<Divergence>> {
            if let Some(asks) = self.model.asks(NODE, &note) {
                self.model.on_disk(NODE, asks.partition, &self.disk);
            }
            self.model.note(NODE, &note)
        }

        fn appends(&mut self, first: i64, end: i64) -> Result<(), Box<Divergence>> {
            let (first, end, epoch) = (Offset(first), Offset(end), LeaderEpoch(0));
            self.note(Note::LeaderAppended { partition: self.partition, epoch, first, end })
        }

        /// From now on the media hold everything below `end`.
        fn syncs(&mut self, end: i64) {
            (self.disk.whole_end, self.disk.durable_end) = (self.disk.whole_end.max(end), end);
        }

        fn hears(&mut self, end: i64) -> Result<(), Box<Divergence>> {
            self.note(Note::LogSynced { partition: self.partition, end: Offset(end) })
        }

        fn moves(&mut self, leader: bool, to: i64) -> Result<(), Box<Divergence>> {
            let (from, to, partition) = (Offset(0), Offset(to), self.partition);
            self.note(Note::HighWatermark { partition, leader, from, to })
        }

        fn checkpoints(&mut self, point: i64, durable: bool) -> Result<(), Box<Divergence>> {
            let (partition, point) = (self.partition, Offset(point));
            self.note(Note::RecoveryPoint { partition, point, durable })
        }

        fn cuts(&mut self, from: i64, to: i64) -> Result<(), Box<Divergence>> {
            let (partition, from, to) = (self.partition, Offset(from), Offset(to));
            let reason = TruncationReason::Diverging;
            self.note(Note::Truncated { partition, from, to, reason })
        }

        /// The process ends, and the disk keeps this much.
        fn ends(&mut self, whole_end: i64) -> Result<(), Box<Divergence>> {
            self.disk.whole_end = whole_end;
            self.model.started(NODE);
            self.model.left(NODE, self.partition, self.clean_stop, Some(&self.disk))
        }

        fn recovers(&mut self, end: i64) -> Result<(), Box<Divergence>> {
            let (partition, log_end) = (self.partition, Offset(end));
            let (log_start, torn_bytes, epochs) = (Offset(0), 0, Vec::new());
            self.note(Note::Recovered {
                partition,
                log_start,
                log_end,
                torn_bytes,
                reindexed: 0,
                epochs,
            })
        }

        fn stops(&mut self) -> Result<(), Box<Divergence>> {
            self.note(Note::ShutDown { clean: true })
        }

        /// Ten records, written; `synced` of them synced and acknowledged.
        fn with(synced: i64) -> Bench {
            let mut bench = Bench::new();
            bench.appends(0, 10).unwrap();
            bench.syncs(synced);
            bench.hears(synced).unwrap();
            bench.moves(true, synced).unwrap();
            bench
        }

        /// The same, with a recovery point on disk.
        fn checkpointed(synced: i64, point: i64) -> Bench {
            let mut bench = Bench::with(synced);
            bench.checkpoints(point, false).unwrap();
            bench.checkpoints(point, true).unwrap();
            bench.disk.recovery_point = point;
            bench
        }
    }

    fn why(result: Result<(), Box<Divergence>>) -> String {
        result.expect_err("it diverges").why
    }

    #[test]
    fn what_is_acknowledged_is_synced_where_the_topic_flushes() {
        let mut bench = Bench::with(6);
        bench.moves(true, 6).unwrap();
        assert!(why(bench.moves(true, 7)).contains("is synced, all below 6, and it reports 7"));

        let acked =
            |acks: i16| Note::ProduceAcked { partition: P, acks, first: Offset(0), end: Offset(7) };
        Bench::with(6).note(acked(0)).unwrap();
        assert!(why(Bench::with(6).note(acked(1))).contains("it reports 7"));

        // A follower hears of what others have synced; it tells nobody.
        Bench::with(6).moves(false, 9).unwrap();
        let mut bench = Bench::with(6);
        bench.disk.flushes = false;
        bench.hears(6).unwrap();
        bench.moves(true, 10).unwrap();
        assert!(why(bench.moves(true, 11)).contains("is written, all below 10"));
    }

    #[test]
    fn a_sync_is_heard_of_what_the_media_hold() {
        let mut bench = Bench::with(6);
        bench.syncs(8);
        let why_not = why(bench.hears(9));
        assert!(
            why_not.contains("below 9 would be synced, and the media hold it only to 8"),
            "{why_not}"
        );

        let mut bench = Bench::with(6);
        bench.syncs(9);
        bench.hears(9).unwrap();
        bench.syncs(11);
        assert!(why(bench.hears(11)).contains("the log ends before"));
    }

    #[test]
    fn a_sync_of_what_was_cut_says_nothing() {
        for pending in [false, true] {
            let mut bench = Bench::with(6);
            bench.cuts(10, 8).unwrap();
            bench.appends(8, 12).unwrap();
            bench.disk.cut_pending = pending;
            bench.syncs(10);
            bench.hears(8).unwrap();
            match pending {
                false => bench.hears(10).unwrap(),
                true => assert!(why(bench.hears(10)).contains("bytes truncated since")),
            }
        }
    }

    #[test]
    fn recovery_ends_where_the_whole_batches_do() {
        for (end, says) in [(7, "truncates them to 7"), (8, ""), (9, "accepts a torn one")] {
            let mut bench = Bench::with(6);
            bench.ends(8).unwrap();
            match says {
                "" => bench.recovers(end).unwrap(),
                says => assert!(why(bench.recovers(end)).contains(says)),
            }
        }
        let mut bench = Bench::with(6);
        assert!(why(bench.recovers(10)).contains("was recovered when the process started"));
    }

    #[test]
    fn no_end_of_a_process_takes_what_is_synced_or_adds_what_nobody_wrote() {
        for (left, says) in [
            (5, "held all below 6, and the remaining log ends at 5"),
            (6, ""),
            (10, ""),
            (11, "nobody has written it to 11"),
        ] {
            let mut bench = Bench::with(6);
            match says {
                "" => bench.ends(left).unwrap(),
                says => assert!(why(bench.ends(left)).contains(says)),
            }
        }
        // A cut may be undone until something beyond it is synced.
        let mut bench = Bench::with(6);
        bench.cuts(10, 8).unwrap();
        bench.ends(10).unwrap();
        let mut bench = Bench::with(6);
        bench.cuts(10, 8).unwrap();
        bench.appends(8, 9).unwrap();
        bench.syncs(9);
        bench.hears(9).unwrap();
        assert!(why(bench.ends(10)).contains("nobody has written it to 10"));
    }

    #[test]
    fn a_recovered_log_takes_for_synced_what_is_vouched_for() {
        let mut bench = Bench::checkpointed(6, 5);
        bench.ends(10).unwrap();
        bench.recovers(10).unwrap();
        assert!(why(bench.moves(true, 7)).contains("all below 5, and it reports 7"));

        let mut bench = Bench::checkpointed(6, 5);
        bench.ends(10).unwrap();
        bench.disk.durable_end = 4;
        let why_not = why(bench.recovers(10));
        assert!(why_not.contains("by its checkpoint it counts all below 5"), "{why_not}");

        for (durable, recovers) in [(10, true), (9, false)] {
            let mut bench = Bench::with(6);
            bench.clean_stop = true;
            bench.ends(10).unwrap();
            bench.disk.durable_end = durable;
            let recovered = bench.recovers(10);
            assert_eq!(recovered.is_ok(), recovers, "{recovered:?}");
        }
    }

    #[test]
    fn a_log_is_refused_if_it_ends_below_its_recovery_point_and_only_then() {
        let refused = |end: i64| Note::LogRefused { partition: P, end: Offset(end) };
        for (whole, point, is_refused) in [(6, 6, false), (6, 7, true)] {
            let mut bench = Bench::checkpointed(6, 6);
            bench.ends(whole).unwrap();
            // Nothing in the model writes the larger one: it is as if the disk were damaged.
            bench.model.nodes.get_mut(&NODE).unwrap().logs.get_mut(&P).unwrap().checkpoint = point;
            bench.disk.recovery_point = point;
            match is_refused {
                true => bench.note(refused(6)).unwrap(),
                false => assert!(why(bench.note(refused(6))).contains("it is opened")),
            }
        }
        let mut bench = Bench::checkpointed(6, 6);
        bench.ends(6).unwrap();
        bench.model.nodes.get_mut(&NODE).unwrap().logs.get_mut(&P).unwrap().checkpoint = 7;
        bench.disk.recovery_point = 7;
        assert!(why(bench.recovers(6)).contains("covers all below 7: the log is refused"));
    }

    #[test]
    fn a_recovery_point_is_of_what_is_synced_and_stays() {
        let mut bench = Bench::with(6);
        bench.syncs(8);
        bench.hears(8).unwrap();
        bench.checkpoints(6, false).unwrap();
        let why_not = why(bench.checkpoints(7, false));
        assert!(why_not.contains("synced to 8 and acknowledged to 6"), "{why_not}");

        let mut bench = Bench::with(6);
        bench.moves(false, 9).unwrap();
        assert!(why(bench.checkpoints(7, false)).contains("synced to 6 and acknowledged to 9"));

        let mut bench = Bench::with(6);
        bench.checkpoints(5, false).unwrap();
        assert!(why(bench.checkpoints(6, true)).contains("was not being written"));
    }

    #[test]
    fn the_checkpoint_says_what_was_written() {
        for (point, recovers) in [(4, true), (5, true), (6, false)] {
            let mut bench = Bench::checkpointed(6, 4);
            bench.checkpoints(5, false).unwrap();
            bench.ends(10).unwrap();
            bench.disk.recovery_point = point;
            let recovered = bench.recovers(10);
            assert_eq!(recovered.is_ok(), recovers, "{recovered:?}");
        }
    }

    #[test]
    fn a_cut_stays_above_the_recovery_point_on_disk() {
        Bench::checkpointed(6, 5).cuts(10, 5).unwrap();
        let why_not = why(Bench::checkpointed(6, 5).cuts(10, 4));
        assert!(why_not.contains("may cover all below 5"), "{why_not}");
        // It may go lower only once a lower recovery point is durable.
        let mut bench = Bench::checkpointed(6, 5);
        bench.checkpoints(4, false).unwrap();
        assert!(why(bench.cuts(10, 4)).contains("may cover all below 5"));
        let mut bench = Bench::checkpointed(6, 5);
        bench.checkpoints(4, false).unwrap();
        bench.checkpoints(4, true).unwrap();
        bench.cuts(10, 4).unwrap();
        bench.appends(4, 5).unwrap();
        assert!(why(bench.cuts(10, 4)).contains("its log ends at 5"));
    }

    #[test]
    fn a_log_takes_no_step_after_a_failed_sync() {
        let mut bench = Bench::with(6);
        bench.appends(10, 11).unwrap();
        bench.note(Note::LogDirOffline { op: DiskOpKind::Sync }).unwrap();
        bench.disk.settled = true;
        bench.ends(6).unwrap();
        bench.recovers(6).unwrap();
        bench.note(Note::LogDirOffline { op: DiskOpKind::Sync }).unwrap();
        assert!(why(bench.appends(6, 7)).contains("the log is offline"));
    }

    #[test]
    fn after_a_failed_sync_the_machine_restarts() {
        for (fails, settled, goes_on) in
            [(true, false, false), (true, true, true), (false, false, true)]
        {
            let mut bench = Bench::with(6);
            if fails {
                bench.note(Note::LogDirOffline { op: DiskOpKind::Sync }).unwrap();
            }
            bench.disk.settled = settled;
            match (bench.ends(10), goes_on) {
                (Ok(()), true) => {}
                (ended, _) => assert!(why(ended).contains("restarted without the machine")),
            }
        }
    }

    #[test]
    fn a_cut_may_be_undone_until_no_power_loss_can() {
        for settled in [false, true] {
            let mut bench = Bench::with(6);
            bench.cuts(10, 8).unwrap();
            bench.disk.settled = settled;
            bench.ends(8).unwrap();
            bench.recovers(8).unwrap();
            match settled {
                false => bench.ends(10).unwrap(),
                true => assert!(why(bench.ends(10)).contains("nobody has written it to 10")),
            }
        }
    }

    #[test]
    fn a_log_is_appended_to_at_its_end_and_when_it_is_open() {
        let mut bench = Bench::with(6);
        bench.appends(10, 12).unwrap();
        let divergence = bench.appends(13, 14).unwrap_err();
        assert!(divergence.why.contains("append at 12"), "{divergence}");
        assert_eq!(divergence.step, 6);
        assert!(
            divergence.state.contains("runs and ends at 12, known synced to 6"),
            "{divergence}"
        );
        assert!(bench.appends(99, 100).is_ok(), "after the first error nothing is held");

        let mut bench = Bench::with(6);
        bench.ends(10).unwrap();
        assert!(why(bench.appends(10, 11)).contains("is not open"));
    }

    #[test]
    fn what_has_departed_takes_no_step_and_is_not_vouched_for() {
        let departs = || Note::Departed { partition: P, directory: "-delete".into(), stray: false };
        let mut bench = Bench::checkpointed(6, 4);
        assert!(why(bench.stops()).contains("only all below 6"));
        let mut bench = Bench::checkpointed(6, 4);
        bench.note(departs()).unwrap();
        assert!(why(bench.appends(10, 11)).contains("not open"));
        let mut bench = Bench::checkpointed(6, 4);
        bench.note(departs()).unwrap();
        bench.stops().unwrap();
        // The process ended before the rename, and after the checkpoints that omit the log.
        bench.ends(8).unwrap();
        bench.disk.recovery_point = 0;
        bench.recovers(8).unwrap();
        // Without a departure such a checkpoint is wrong.
        let mut bench = Bench::checkpointed(6, 4);
        bench.ends(8).unwrap();
        bench.disk.recovery_point = 0;
        assert!(why(bench.recovers(8)).contains("and 4 was written last"));
    }

    #[test]
    fn a_clean_stop_is_marked_when_all_is_synced() {
        let mut bench = Bench::with(6);
        assert!(why(bench.stops()).contains("all below 10, and only all below 6"));
        Bench::with(10).stops().unwrap();
        // The metadata log is not vouched for.
        let mut bench = Bench::of(TopicPartition::METADATA);
        bench.appends(0, 10).unwrap();
        bench.stops().unwrap();
    }

    #[test]
    fn a_log_whose_directory_is_gone_begins_anew() {
        let mut bench = Bench::with(6);
        bench.model.started(NODE);
        bench.model.left(NODE, P, false, None).unwrap();
        bench.disk = OnDisk::default();
        bench.recovers(0).unwrap();
        bench.appends(0, 1).unwrap();
    }
}
