//! The protocols' rules, one small function each, of any log and any number of replicas.
//!
//! The bounded models ([`crate::isr`], [`crate::votes`]) and the conformance checkers
//! ([`crate::conform`]), whose logs and clusters have no bound, ask the same functions: what a run of
//! the broker is held against is what was explored to the end. What a variant leaves out it leaves
//! out in the model's file; here is only what is right.

/// A log, as far as the rules look at it: which epoch's records lie where.
pub trait EpochLog {
    /// A leader epoch.
    type Epoch: Copy + Ord;
    /// Where a record lies.
    type Offset: Copy + Ord + Default;

    /// Its end: the offset that the next record will have.
    fn end(&self) -> Self::Offset;

    /// Where the records of epochs up to this one end.
    fn end_of(&self, epoch: Self::Epoch) -> Self::Offset;

    /// The epoch of the last record below `end`; one smaller than all if there is none.
    fn epoch_below(&self, end: Self::Offset) -> Self::Epoch;

    /// The epoch of the last record.
    fn last_epoch(&self) -> Self::Epoch {
        self.epoch_below(self.end())
    }
}

/// What a leader answers to "your records of this epoch end where?": the largest epoch of its own
/// that is not larger, and where that ends (KIP-101, KIP-279).
pub fn end_offset_for_epoch<L: EpochLog>(leader: &L, asked: L::Epoch) -> (L::Epoch, L::Offset) {
    let end = leader.end_of(asked);
    (leader.epoch_below(end), end)
}

/// Where a follower cuts because its log goes on differently from the leader's, by what the leader
/// answered about the follower's last epoch; `None` if it does not (KIP-101, KIP-279).
pub fn where_parted<L: EpochLog>(follower: &L, answer: (L::Epoch, L::Offset)) -> Option<L::Offset> {
    let (epoch, leaders_end) = answer;
    let end = follower.end();
    if end == L::Offset::default() || (epoch == follower.last_epoch() && leaders_end >= end) {
        return None;
    }
    Some(leaders_end.min(follower.end_of(epoch)))
}

/// Does the high watermark wait for this replica? It is in the ISR as its leader knows it, or the
/// controller may have added it unheard (the maximal ISR, KIP-497).
pub fn counts_for_high_watermark(in_isr: bool, pending: bool) -> bool {
    in_isr || pending
}

/// Up to where the high watermark may stand: what the leader and all others that count hold.
pub fn high_watermark_bound<O: Ord>(own: O, others: impl Iterator<Item = O>) -> O {
    others.fold(own, O::min)
}

/// May a follower join the ISR whose log ends, as far as its leader knows, at `end`? It has all below
/// the high watermark and below the start of the leader's epoch: the high watermark of a new leader
/// may lie below what was promised before it (KAFKA-7128).
pub fn may_join<O: Ord>(end: Option<O>, high_watermark: O, epoch_start: O) -> bool {
    end.is_some_and(|end| end >= high_watermark && end >= epoch_start)
}

/// A follower's high watermark after a fetch: its leader's, as far as it has the records.
pub fn followers_high_watermark<O: Ord>(own: O, leaders: O, end: O) -> O {
    own.max(leaders.min(end))
}

/// Is the voter's log, by last epoch and end, at most as far as the candidate's (Raft 5.4.1)?
pub fn is_not_ahead<E: Ord, O: Ord>(voter: (E, O), candidate: (E, O)) -> bool {
    voter <= candidate
}

/// May a voter in epoch `own` give its vote of epoch `asked`? `free`: in its own epoch it has given
/// none and knows no leader.
pub fn may_vote<E: Ord>(own: E, asked: E, free: bool, is_not_ahead: bool) -> bool {
    (own < asked || (own == asked && free)) && is_not_ahead
}

/// Are so many of the voters a majority?
pub fn is_majority(count: usize, voters: usize) -> bool {
    count > voters / 2
}

/// What a majority holds, of what each voter holds. Sorts.
pub fn agreed<O: Ord + Copy>(ends: &mut [O]) -> O {
    ends.sort_unstable();
    ends[(ends.len() - 1) / 2]
}

/// May a leader commit up to where a majority agrees? Once that covers a record of its own epoch
/// (Raft figure 8, KAFKA-12619).
pub fn may_commit<O: Ord>(agreed: O, epoch_start: O) -> bool {
    agreed > epoch_start
}
