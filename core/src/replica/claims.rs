//! A log's checkpointed offsets, and truncation: no claim on disk outlives its records.
//!
//! A crash leaves the checkpointed offset (the claim), perhaps written long ago. The next start
//! trusts it as far as the log reaches. If the log had been cut below it and then appended to,
//! recovery would take the missing or rewritten tail for damage (recovery point), and other,
//! uncommitted records would count as committed (high watermark). So the claim is first lowered
//! durably, and only then is the log cut. Kafka's `LogManager.truncateTo` lowers the recovery point
//! at once, too.
//!
//! If recovery finds fewer records than claimed, the claim is lowered in the same way before
//! anything is appended: [`Partition::is_overclaimed`]. The broker writes the files.

use alloc::vec::Vec;

use crate::env::Env;
use crate::flaw::Flaw;
use crate::note::{Note, TruncationReason};
use crate::types::Offset;

use super::{Fact, Partition};

/// A checkpointed offset of a log. Each kind has its own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Records below it are committed: `replication-offset-checkpoint`.
    HighWatermark,
    /// The log's content below it is durable and stays: `recovery-point-offset-checkpoint`.
    RecoveryPoint,
}

/// One offset for each [`Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claims {
    pub(super) high_watermark: Offset,
    pub(super) recovery_point: Offset,
}

impl Claims {
    fn of(&mut self, claim: Claim) -> &mut Offset {
        match claim {
            Claim::HighWatermark => &mut self.high_watermark,
            Claim::RecoveryPoint => &mut self.recovery_point,
        }
    }

    /// Records below this offset must stay.
    fn highest(self) -> Offset {
        self.high_watermark.max(self.recovery_point)
    }
}

impl Partition {
    /// The offset to write to the checkpoint.
    pub fn claim(&self, claim: Claim) -> Offset {
        let offset = match claim {
            Claim::HighWatermark => self.high_watermark,
            Claim::RecoveryPoint => self.log.recovery_point(self.high_watermark),
        };
        self.pending_cut.map_or(offset, |(to, _)| offset.min(to))
    }

    /// A checkpoint with this offset is being written: until it is durable, the disk may hold this
    /// offset or the previous one.
    pub fn on_checkpoint_submitted(&mut self, claim: Claim, offset: Offset) {
        let on_disk = self.on_disk.of(claim);
        *on_disk = offset.max(*on_disk);
    }

    /// A checkpoint with this offset is durable, and no newer one is being written.
    pub fn on_checkpoint_durable(
        &mut self,
        claim: Claim,
        offset: Offset,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        *self.on_disk.of(claim) = offset;
        if let Some((to, reason)) = self.pending_cut
            && to >= self.on_disk.highest()
            && self.log.is_ready()
        {
            self.pending_cut = None;
            self.cut(to, reason, env);
            facts.push(Fact::LogEndAdvanced(self.id));
        }
    }

    /// Whether recovery found fewer records than are committed according to the checkpoint on disk.
    /// If so, the checkpoint has to be lowered before anything is appended.
    pub fn is_overclaimed(&self) -> bool {
        self.on_disk.high_watermark > self.high_watermark
    }

    /// Cuts the log. If a checkpoint on disk vouches for the removed records, the cut waits until
    /// it no longer does.
    pub(super) fn truncate(
        &mut self,
        to: Offset,
        reason: TruncationReason,
        env: &mut dyn Env,
        facts: &mut Vec<Fact>,
    ) {
        let claimed = to < self.on_disk.highest() && !self.flaws.has(Flaw::CutBelowRecoveryPoint);
        if claimed && to < self.log.log_end() {
            self.pending_cut = Some((to, reason));
            env.note(Note::CutDeferred { partition: self.topic_partition, to });
            facts.push(Fact::CutBelowClaim(self.id));
        } else {
            self.cut(to, reason, env);
        }
    }

    fn cut(&mut self, to: Offset, reason: TruncationReason, env: &mut dyn Env) {
        self.log.truncate_to(to, reason, env);
        // The log may have to be read to find the truncation point. Meanwhile the records to be
        // removed are not claimed.
        self.high_watermark = self.high_watermark.min(to).min(self.log.log_end());
    }
}
