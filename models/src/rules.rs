//! The protocols' rules, one small function each, of any log and any number of replicas.
//!
//! The bounded models ([`crate::isr`], [`crate::votes`], [`crate::recovery`]) and the conformance
//! checkers ([`crate::conform`]), whose logs and clusters have no bound, ask the same functions: what
//! a run of the broker is held against is what was explored to the end. What a variant leaves out it
//! leaves out in the model's file; here is only what is right.

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

/// What a log counts as held, in acknowledgements and in the offsets that it fetches at: where its
/// topic flushes each batch, what it knows to be synced.
pub fn counted_end<O>(flushes: bool, synced: O, written: O) -> O {
    if flushes { synced } else { written }
}

/// What a log knows to be synced when it hears that a sync up to `completion` has succeeded. One that
/// was under way when the log was cut tells of bytes that are gone.
pub fn synced_end<O: Ord>(known: O, completion: O, end: O, stale: bool) -> O {
    if stale { known } else { known.max(completion.min(end)) }
}

/// Up to where a recovery point may be checkpointed. What is not acknowledged may be cut and written
/// anew: it is not vouched for.
pub fn recovery_point_bound<O: Ord>(synced: O, acknowledged: O) -> O {
    synced.min(acknowledged)
}

/// May a log be cut to here, with this recovery point in the checkpoint on disk? Below that, what is
/// missing is damage: the checkpoint is lowered first.
pub fn may_cut<O: Ord>(to: O, checkpoint: O) -> bool {
    to >= checkpoint
}

/// Where recovery ends a log: at the first place that holds no whole batch.
pub fn recovered_end<O: Ord>(first_torn: Option<O>, end: O) -> O {
    first_torn.unwrap_or(end)
}

/// May a log be opened whose whole batches end here? If not, something is missing that the checkpoint
/// vouches for, and people must look.
pub fn may_open<O: Ord>(end: O, checkpoint: O) -> bool {
    end >= checkpoint
}

/// What a log that was recovered takes for synced: what is vouched for. The rest may be in the page
/// cache only, until the next sync.
pub fn synced_when_recovered<O: Ord>(clean_stop: bool, checkpoint: O, end: O) -> O {
    if clean_stop { end } else { checkpoint.min(end) }
}

/// May a process that stops mark that as clean? The next one then trusts this log as it finds it.
pub fn may_mark_clean<O: Ord>(synced: O, end: O) -> bool {
    synced >= end
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
