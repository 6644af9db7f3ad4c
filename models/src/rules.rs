//! The protocols' rules, one small function each, for any log and any number of replicas.
//!
//! The bounded models ([`crate::isr`], [`crate::votes`], [`crate::recovery`]) and trace validation
//! ([`crate::validation`]), whose logs and clusters are unbounded, call the same functions.
//! So a run of the broker is validated against exactly the rules that were explored exhaustively.
//! Only correct rules are here: a variant leaves out its rule in the model's own file.

/// A log as the rules see it: where the records of each epoch are.
pub trait EpochLog {
    /// A leader epoch.
    type Epoch: Copy + Ord;
    /// A record's position.
    type Offset: Copy + Ord + Default;

    /// The log end: the offset of the next record.
    fn end(&self) -> Self::Offset;

    /// The end of the records of epochs up to this one.
    fn end_of(&self, epoch: Self::Epoch) -> Self::Offset;

    /// The epoch of the last record below `end`; an epoch smaller than all others if there is none.
    fn epoch_below(&self, end: Self::Offset) -> Self::Epoch;

    /// The epoch of the last record.
    fn last_epoch(&self) -> Self::Epoch {
        self.epoch_below(self.end())
    }
}

/// A leader's answer to "where do your records of this epoch end?": its own largest epoch that is
/// not larger, and where that epoch ends (KIP-101, KIP-279).
pub fn end_offset_for_epoch<L: EpochLog>(leader: &L, asked: L::Epoch) -> (L::Epoch, L::Offset) {
    let end = leader.end_of(asked);
    (leader.epoch_below(end), end)
}

/// Where a follower cuts its log because it diverges from the leader's, given the leader's answer
/// for the follower's last epoch; `None` if it does not diverge (KIP-101, KIP-279).
pub fn where_they_diverge<L: EpochLog>(
    follower: &L,
    answer: (L::Epoch, L::Offset),
) -> Option<L::Offset> {
    let (epoch, leaders_end) = answer;
    let end = follower.end();
    if end == L::Offset::default() || (epoch == follower.last_epoch() && leaders_end >= end) {
        return None;
    }
    Some(leaders_end.min(follower.end_of(epoch)))
}

/// Does the high watermark wait for this replica? It does if the replica is in the ISR as its
/// leader knows it, or if the controller may have added it without the leader having heard (the
/// maximal ISR, KIP-497).
pub fn counts_for_high_watermark(in_isr: bool, pending: bool) -> bool {
    in_isr || pending
}

/// The highest permitted high watermark: what the leader and all others that count hold.
pub fn high_watermark_bound<O: Ord>(own: O, others: impl Iterator<Item = O>) -> O {
    others.fold(own, O::min)
}

/// May a follower join the ISR if its log, as far as its leader knows, ends at `end`? It must have
/// everything below the high watermark and below the start of the leader's epoch, because a new
/// leader's high watermark may lie below what was promised earlier (KAFKA-7128).
pub fn may_join<O: Ord>(end: Option<O>, high_watermark: O, epoch_start: O) -> bool {
    end.is_some_and(|end| end >= high_watermark && end >= epoch_start)
}

/// A follower's high watermark after a fetch: its leader's, as far as it has the records.
pub fn followers_high_watermark<O: Ord>(own: O, leaders: O, end: O) -> O {
    own.max(leaders.min(end))
}

/// What a log counts as held, in acknowledgements and in its fetch offsets: if its topic flushes
/// each batch, what it knows to be synced; else what is written.
pub fn counted_end<O>(flushes: bool, synced: O, written: O) -> O {
    if flushes { synced } else { written }
}

/// What a log knows to be synced after it hears that a sync up to `completion` has succeeded. A
/// `stale` sync, in flight when the log was cut, covers bytes that are gone and adds nothing.
pub fn synced_end<O: Ord>(known: O, completion: O, end: O, stale: bool) -> O {
    if stale { known } else { known.max(completion.min(end)) }
}

/// The highest recovery point that may be checkpointed. Unacknowledged records may be cut and
/// rewritten, so the checkpoint must not vouch for them.
pub fn recovery_point_bound<O: Ord>(synced: O, acknowledged: O) -> O {
    synced.min(acknowledged)
}

/// May a log be cut to here, with this recovery point in the checkpoint on disk? Anything missing
/// below the recovery point is damage, so the checkpoint must be lowered first.
pub fn may_cut<O: Ord>(to: O, checkpoint: O) -> bool {
    to >= checkpoint
}

/// Where recovery ends a log: at the first position that holds no whole batch.
pub fn recovered_end<O: Ord>(first_torn: Option<O>, end: O) -> O {
    first_torn.unwrap_or(end)
}

/// May a log be opened if its whole batches end here? If not, something that the checkpoint vouches
/// for is missing, and an operator must look.
pub fn may_open<O: Ord>(end: O, checkpoint: O) -> bool {
    end >= checkpoint
}

/// What a recovered log takes as synced: what the checkpoint or the clean stop vouches for. Until
/// the next sync, the rest may be in the page cache only.
pub fn synced_when_recovered<O: Ord>(clean_stop: bool, checkpoint: O, end: O) -> O {
    if clean_stop { end } else { checkpoint.min(end) }
}

/// May a process mark its stop as clean? The next process then trusts this log as it finds it.
pub fn may_mark_clean<O: Ord>(synced: O, end: O) -> bool {
    synced >= end
}

/// Is the voter's log, compared by last epoch and end, not ahead of the candidate's (Raft 5.4.1)?
pub fn is_not_ahead<E: Ord, O: Ord>(voter: (E, O), candidate: (E, O)) -> bool {
    voter <= candidate
}

/// May a voter in epoch `own` vote in epoch `asked`? `free`: in its own epoch it has not voted and
/// knows no leader.
pub fn may_vote<E: Ord>(own: E, asked: E, free: bool, is_not_ahead: bool) -> bool {
    (own < asked || (own == asked && free)) && is_not_ahead
}

/// Is `count` a majority of the voters?
pub fn is_majority(count: usize, voters: usize) -> bool {
    count > voters / 2
}

/// What a majority holds, given what each voter holds. Sorts `ends`.
pub fn agreed<O: Ord + Copy>(ends: &mut [O]) -> O {
    ends.sort_unstable();
    ends[(ends.len() - 1) / 2]
}

/// May a leader commit what a majority holds? Only once that covers a record of its own epoch (Raft
/// figure 8, KAFKA-12619).
pub fn may_commit<O: Ord>(agreed: O, epoch_start: O) -> bool {
    agreed > epoch_start
}
