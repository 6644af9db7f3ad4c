//! Moves the high watermark, and passes on the records that it passes.

use alloc::vec::Vec;

use super::{Quorum, QuorumFact};
use crate::env::Env;
use crate::note::Note;
use crate::types::Offset;

impl Quorum {
    /// Advances the high watermark, and reports the records that it passes.
    pub(super) fn commit_upto(
        &mut self,
        upto: Offset,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let from = self.high_watermark.unwrap_or(Offset::ZERO);
        if upto <= from && self.high_watermark.is_some() {
            return;
        }
        self.high_watermark = Some(upto);
        env.note(Note::QuorumCommitted { from, to: upto, leader: self.is_leader() });
        if let Some((records, next, epoch)) = self.pending.take_upto(upto) {
            self.delivered = next;
            facts.push(QuorumFact::Committed { records, upto: next, epoch });
        }
    }
}
