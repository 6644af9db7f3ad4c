//! What the checkpoints on disk say of a log, and cutting it: no claim outlives its records.
//!
//! A crash leaves what a checkpoint said, perhaps long ago. The next start takes it at its word as far
//! as the log reaches; so were the log cut below it and then appended to, recovery would take the
//! missing or the rewritten tail for damage (recovery point), and others' records, which nobody
//! committed, would count as committed (high watermark). Therefore the claim is lowered durably
//! first, and the log cut then. Kafka's `LogManager.truncateTo` lowers the recovery point at once,
//! too.
//!
//! When recovery finds fewer records than were claimed, the same holds before anything is appended:
//! [`Partition::is_overclaimed`]. Writing the files is the broker's.

use alloc::vec::Vec;

use crate::env::Env;
use crate::flaw::Flaw;
use crate::note::{Note, TruncationReason};
use crate::types::Offset;

use super::{Fact, Partition};

/// What a checkpoint says of a log; each has a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Below it, records are committed: `replication-offset-checkpoint`.
    HighWatermark,
    /// Below it, the log's content is durable and stays: `recovery-point-offset-checkpoint`.
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

    /// Records below it must stay.
    fn highest(self) -> Offset {
        self.high_watermark.max(self.recovery_point)
    }
}

impl Partition {
    /// What the checkpoint should say.
    pub fn claim(&self, claim: Claim) -> Offset {
        let offset = match claim {
            Claim::HighWatermark => self.high_watermark,
            Claim::RecoveryPoint => self.log.recovery_point(self.high_watermark),
        };
        self.pending_cut.map_or(offset, |(to, _)| offset.min(to))
    }

    /// A checkpoint that says this is being written: until it is durable, the disk may say this or
    /// what it said before.
    pub fn on_checkpoint_submitted(&mut self, claim: Claim, offset: Offset) {
        let on_disk = self.on_disk.of(claim);
        *on_disk = offset.max(*on_disk);
    }

    /// A checkpoint that says this is durable, and no newer one is on its way.
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

    /// Did recovery find fewer records than the checkpoint on disk says are committed? Then that has
    /// to be lowered before anything is appended.
    pub fn is_overclaimed(&self) -> bool {
        self.on_disk.high_watermark > self.high_watermark
    }

    /// Cuts the log; if a checkpoint on disk vouches for what goes, only once it no longer does.
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
        // The log may have to be read to find where to cut; what goes is not claimed meanwhile.
        self.high_watermark = self.high_watermark.min(to).min(self.log.log_end());
    }
}
