//! M3: the metadata quorum: votes and pull replication, and how much of both is written or synced.
//!
//! Read it beside Raft (Ongaro and Ousterhout 2014, sections 5.2, 5.4 and figure 8; 3.8 of the
//! thesis), KIP-595 (pull replication, CheckQuorum) and KIP-996 (pre-vote).
//!
//! # What is abstracted away, and why that is sound
//!
//! - *There is no time.* A timeout may expire at any moment: a voter may look for a successor of
//!   its leader at any time, and a leader may find that it has heard from no majority (CheckQuorum)
//!   at any time. For the same reason a voter that follows may always grant a pre-vote, while
//!   KIP-996 lets it do so only after its fetch timeout. This gives more behaviours than with
//!   timers, never fewer.
//! - *Answers to votes stay on the wire forever*, and may be counted late or never. Requests are
//!   modelled by their effect. The sender of a late request has left its role, so the request only
//!   carries an epoch, and [`Action::Hear`] may deliver any announced epoch at any time. A granted
//!   pre-vote is kept until the epoch changes; pre-votes only ever hold candidates back.
//! - *A fetch is one step*: request, read, answer, or no answer. Within an epoch a leader's log
//!   only grows, so a late answer is as good as an early one, and an answer from an earlier epoch
//!   is dropped. A fetch brings some or all of what the leader has written, synced or not.
//! - *The leader of an epoch is not on disk here.* A voter that remembers its leader through a
//!   crash only votes less. An epoch or vote that reached the disk without the voter hearing of it
//!   is one that was synced just before the crash.
//! - *A cut is durable at once.* In the code the old tail may return until then. Nobody counted
//!   that tail, and the voter has voted as one with a shorter log, which is allowed (M7 has such
//!   tails).
//! - *A voter whose leader leads no more* refuses votes until it forgets that leader. It may forget
//!   it at once, which allows more behaviours, so in the model it does.
//! - *When no crash is left in the budget*, everything is synced as soon as it is written. From
//!   then on no sync can come too late, and a voter that waits for one only does less.
//! - *A voter restarts at once* after a crash; one that stays down is one that takes no step.
//! - *Batches are single records*, and a record is its epoch: the only leader of an epoch assigns
//!   each offset once. (`leader-resumes-epoch` breaks that, so there a record also has the number
//!   of crashes before it.) Each epoch begins with a record of its leader, Kafka's LeaderChange.
//! - *Followers' high watermarks are left out.* They are never above what a leader committed. What
//!   must stay is what was committed, kept for all leaders together.
//! - *The first to stand is voter 1*: voters differ only in their numbers.
//!
//! # The variants
//!
//! Each leaves out one rule; the line that applies the rule checks `Rules`. The zoo's
//! `lost-leader-is-news` is not here: under it nobody is ever elected. That breaks liveness, not
//! safety, and a model whose steps never have to happen cannot show it. The tank can.

use stateright::{Model, Property};

use crate::rules::{self, EpochLog};

pub use entries::{ENTRY, FIGURE_8};

mod entries;
mod show;
#[cfg(test)]
mod tests;

const VOTERS: usize = 3;
/// Two of three.
const MAJORITY: usize = 2;
/// Longest log.
const LOG: usize = 5;
/// Maximum number of epochs.
const EPOCHS: usize = 4;
/// No voter.
const NOBODY: u8 = VOTERS as u8;

/// The rules that a variant leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    vote_before_durable: bool,
    commit_before_sync: bool,
    commit_older_epoch: bool,
    leader_resumes_epoch: bool,
    request_before_recovery: bool,
}

/// The model: rules and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Votes {
    rules: Rules,
    epochs: u8,
    /// Leaders append while their log is shorter. An epoch's first record is appended in any case.
    records: u8,
    crashes: u8,
}

/// What a voter does in its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Role {
    /// Follows, has voted, knows no leader, or has led and resigned.
    #[default]
    Waits,
    /// Stands for the epoch.
    Stands,
    /// Leads it.
    Leads,
}

/// One voter. Fields that only a leader uses are zero in others, so that equal behaviour is an
/// equal state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Voter {
    epoch: u8,
    /// The candidate that it voted for in this epoch.
    voted: u8,
    /// The leader that it follows in this epoch.
    leader: u8,
    role: Role,
    /// A majority has granted it a pre-vote in this epoch.
    endorsed: bool,
    /// The synced epoch and vote.
    synced_epoch: u8,
    synced_vote: u8,
    /// Records, encoded by [`record`]; those from `end` on are zero.
    log: [u8; LOG],
    /// Everything below is written.
    end: u8,
    /// Everything below is synced.
    synced: u8,
    /// Leader: where each follower's synced log ends, by its fetches in this epoch.
    ends: [u8; VOTERS],
}

/// The whole quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    voters: [Voter; VOTERS],
    /// By epoch, from 1 on: which voter has answered a grant to which candidate, as bits of
    /// [`grant`].
    answered: [u16; EPOCHS],
    /// By epoch, from 1 on: the set of voters that have led it.
    led: [u8; EPOCHS],
    /// What leaders have committed, and in which epoch.
    committed: [u8; LOG],
    committed_in: [u8; LOG],
    committed_end: u8,
    /// A leader has committed a different record where one was committed, or a voter has cut a
    /// committed record.
    contradicted: bool,
    crashes: u8,
}

/// One step. Voters are numbered from 0 here, and from 1 in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A voter without a leader is granted a pre-vote by another; with its own that is a majority.
    PreVote {
        /// The voter that asks.
        asker: u8,
        /// The voter that grants.
        voter: u8,
    },
    /// A voter stands for the next epoch and votes for itself.
    Stand {
        /// The voter.
        voter: u8,
        /// The next epoch.
        epoch: u8,
    },
    /// A voter gives its vote.
    Vote {
        /// The candidate.
        candidate: u8,
        /// The voter.
        voter: u8,
        /// The epoch.
        epoch: u8,
    },
    /// A voter's epoch and vote are synced, and it answers the candidate.
    SyncVote(u8),
    /// A candidate has a majority, leads, and appends its epoch's first record.
    Win {
        /// The candidate.
        voter: u8,
        /// The epoch.
        epoch: u8,
    },
    /// A voter learns that a leader leads (by BeginQuorumEpoch, or from an answer).
    Announce {
        /// The leader.
        leader: u8,
        /// The voter that hears of it.
        voter: u8,
    },
    /// A voter hears of a later epoch.
    Hear {
        /// The voter.
        voter: u8,
        /// The later epoch.
        epoch: u8,
    },
    /// A leader appends a record.
    Append(u8),
    /// A voter's log is synced.
    SyncLog(u8),
    /// A follower fetches from its leader, and some records arrive. If none do, the answer was
    /// lost, or it said where the logs diverge and the follower cuts.
    Fetch {
        /// The follower.
        follower: u8,
        /// How many records arrive.
        records: u8,
    },
    /// A leader hears from no majority and resigns (CheckQuorum).
    Resign(u8),
    /// A voter crashes: its log ends at `end`, everything else that was not synced is lost, and it
    /// restarts.
    Crash {
        /// The voter.
        voter: u8,
        /// Where its log ends.
        end: u8,
    },
    /// Only under `request-before-recovery`: a voter restarts, and handles a request before it has
    /// read its epoch and vote.
    VoteUnread {
        /// The candidate that asks.
        candidate: u8,
        /// The voter that answers.
        voter: u8,
    },
}

/// A record of an epoch.
fn record(epoch: u8, salt: u8) -> u8 {
    epoch << 4 | salt
}

fn epoch_of(record: u8) -> u8 {
    record >> 4
}

/// The bit that says that `voter` has answered a grant to `candidate`.
fn grant(voter: u8, candidate: u8) -> u16 {
    1 << (usize::from(voter) * VOTERS + usize::from(candidate))
}

fn ids() -> impl Iterator<Item = u8> {
    0..VOTERS as u8
}

impl Voter {
    fn new() -> Voter {
        Voter {
            epoch: 0,
            voted: NOBODY,
            leader: NOBODY,
            role: Role::Waits,
            endorsed: false,
            synced_epoch: 0,
            synced_vote: NOBODY,
            log: [0; LOG],
            end: 0,
            synced: 0,
            ends: [0; VOTERS],
        }
    }

    fn records(&self) -> &[u8] {
        &self.log[..self.end.into()]
    }

    fn append(&mut self, record: u8) {
        self.log[usize::from(self.end)] = record;
        self.end += 1;
    }

    fn truncate(&mut self, to: u8) {
        for at in to..self.end {
            self.log[usize::from(at)] = 0;
        }
        self.end = self.end.min(to);
        self.synced = self.synced.min(to);
    }

    /// Enters a later epoch, without a vote.
    fn enter(&mut self, epoch: u8) {
        (self.epoch, self.voted) = (epoch, NOBODY);
        self.leave_role();
        self.endorsed = false;
    }

    fn leave_role(&mut self) {
        (self.role, self.leader, self.ends) = (Role::Waits, NOBODY, [0; VOTERS]);
    }

    fn vote_is_synced(&self) -> bool {
        (self.synced_epoch, self.synced_vote) == (self.epoch, self.voted)
    }

    fn is_not_ahead_of(&self, asker: &Voter) -> bool {
        rules::is_not_ahead((self.last_epoch(), self.end), (asker.last_epoch(), asker.end))
    }
}

impl EpochLog for Voter {
    type Epoch = u8;
    type Offset = u8;

    fn end(&self) -> u8 {
        self.end
    }

    fn end_of(&self, epoch: u8) -> u8 {
        self.records().partition_point(|record| epoch_of(*record) <= epoch) as u8
    }

    fn epoch_below(&self, end: u8) -> u8 {
        self.log[..end.into()].last().map_or(0, |last| epoch_of(*last))
    }
}

impl State {
    fn voter(&mut self, id: u8) -> &mut Voter {
        &mut self.voters[usize::from(id)]
    }

    fn at(&self, id: u8) -> &Voter {
        &self.voters[usize::from(id)]
    }

    fn answer(&mut self, voter: u8, epoch: u8, candidate: u8) {
        self.answered[usize::from(epoch) - 1] |= grant(voter, candidate);
    }

    fn has_majority(&self, candidate: u8) -> bool {
        let answered = self.answered[usize::from(self.at(candidate).epoch) - 1];
        let granted = ids().filter(|voter| answered & grant(*voter, candidate) != 0).count();
        rules::is_majority(granted, VOTERS)
    }

    /// The leader that this voter would fetch from.
    fn fetches_from(&self, follower: u8) -> Option<u8> {
        let own = self.at(follower);
        let leader = (own.leader != NOBODY).then(|| self.at(own.leader))?;
        let leads = leader.role == Role::Leads && leader.epoch == own.epoch;
        // Only in an epoch that no restart forgets.
        (leads && own.synced_epoch == own.epoch).then_some(own.leader)
    }

    /// Is this a committed record, which must stay?
    fn is_committed(&self, offset: u8, record: u8) -> bool {
        offset < self.committed_end && self.committed[usize::from(offset)] == record
    }

    /// A voter cuts its records from `to` on because they diverge from a leader's log.
    fn cut(&mut self, id: u8, to: u8) {
        let own = *self.at(id);
        for offset in to..own.end {
            self.contradicted |= self.is_committed(offset, own.log[usize::from(offset)]);
        }
        self.voter(id).truncate(to);
    }

    /// Is this voter past `epoch`, even after a crash?
    fn is_past(&self, voter: u8, epoch: u8) -> bool {
        self.at(voter).synced_epoch > epoch
    }

    /// Could this voter's candidacy in `epoch` still win?
    fn may_win(&self, voter: u8, epoch: u8) -> bool {
        let own = self.at(voter);
        (own.epoch == epoch && own.role == Role::Stands) || own.synced_epoch < epoch
    }

    /// Drops what nothing can use any more, so that equal behaviour is an equal state.
    fn tidy(&mut self) {
        for id in ids() {
            let own = *self.at(id);
            if own.leader != NOBODY {
                let leader = self.at(own.leader);
                if leader.role != Role::Leads || leader.epoch != own.epoch {
                    self.voter(id).leader = NOBODY;
                }
            }
        }
        for epoch in 1..=EPOCHS as u8 {
            let at = usize::from(epoch) - 1;
            if !ids().any(|id| self.may_win(id, epoch)) {
                self.led[at] = 0;
            }
            for (voter, candidate) in ids().flat_map(|v| ids().map(move |c| (v, c))) {
                if self.is_past(voter, epoch) && !self.may_win(candidate, epoch) {
                    self.answered[at] &= !grant(voter, candidate);
                }
            }
        }
        for at in 0..usize::from(self.committed_end) {
            if ids().all(|id| self.is_past(id, self.committed_in[at])) {
                self.committed_in[at] = 0;
            }
        }
    }
}

impl Votes {
    fn salt(&self, state: &State) -> u8 {
        if self.rules.leader_resumes_epoch { state.crashes } else { 0 }
    }

    /// May a vote be acted on? Only once no restart can make the voter forget it.
    fn counts(&self, voter: &Voter) -> bool {
        self.rules.vote_before_durable || voter.vote_is_synced()
    }

    /// Casts a vote that is free. Only under the flaw is it answered at once.
    fn give_vote(&self, state: &mut State, voter: u8, candidate: u8) {
        let own = state.voter(voter);
        own.voted = candidate;
        let epoch = own.epoch;
        if self.rules.vote_before_durable {
            state.answer(voter, epoch, candidate);
        }
    }

    /// Commits what a majority has synced, once that covers a record of the leader's own epoch.
    fn commit(&self, state: &mut State, leader: u8) {
        let own = *state.at(leader);
        let mut ends = own.ends;
        ends[usize::from(leader)] = own.synced;
        let agreed = rules::agreed(&mut ends);
        let start = own.end_of(own.epoch - 1);
        if !rules::may_commit(agreed, start) && !self.rules.commit_older_epoch {
            return;
        }
        for at in 0..usize::from(agreed) {
            if at < usize::from(state.committed_end) {
                state.contradicted |= state.committed[at] != own.log[at];
            } else {
                (state.committed[at], state.committed_in[at]) = (own.log[at], own.epoch);
            }
        }
        state.committed_end = state.committed_end.max(agreed);
    }

    /// Syncs everything when no crash is left in the budget. Written and synced state then differ
    /// only in that synced state allows more.
    fn sync_all(&self, state: &mut State) {
        if state.crashes == self.crashes {
            ids().for_each(|id| self.sync_vote(state, id));
            ids().for_each(|id| self.sync_log(state, id));
        }
    }

    fn sync_vote(&self, state: &mut State, id: u8) {
        let own = state.voter(id);
        let (epoch, voted) = (own.epoch, own.voted);
        (own.synced_epoch, own.synced_vote) = (epoch, voted);
        if voted != NOBODY {
            state.answer(id, epoch, voted);
        }
    }

    fn sync_log(&self, state: &mut State, id: u8) {
        let own = state.voter(id);
        own.synced = own.end;
        if own.role == Role::Leads {
            self.commit(state, id);
        }
    }

    fn lead(&self, state: &mut State, id: u8) {
        let salt = self.salt(state);
        let own = state.voter(id);
        (own.role, own.leader, own.endorsed) = (Role::Leads, id, false);
        own.append(record(own.epoch, salt));
        let epoch = usize::from(own.epoch);
        state.led[epoch - 1] |= 1 << id;
    }

    fn fetch(&self, state: &mut State, follower: u8, records: u8) {
        let Some(leader) = state.fetches_from(follower) else { return };
        let (own, source) = (*state.at(follower), *state.at(leader));
        if let Some(to) = parts_at(&own, &source) {
            return state.cut(follower, to);
        }
        // A follower's fetch offset promises that everything below it is synced.
        state.voter(leader).ends[usize::from(follower)] = own.end;
        self.commit(state, leader);
        for offset in own.end..own.end + records {
            state.voter(follower).append(source.log[usize::from(offset)]);
        }
    }

    fn crash(&self, state: &mut State, id: u8, end: u8) {
        state.crashes += 1;
        let own = state.voter(id);
        let led = own.role == Role::Leads;
        own.leave_role();
        own.endorsed = false;
        (own.epoch, own.voted) = (own.synced_epoch, own.synced_vote);
        own.truncate(end);
        if own.epoch < own.last_epoch() {
            own.enter(own.last_epoch());
        }
        // A voter that led an epoch or stood for it waits for the next one (KAFKA-10527).
        if led && self.rules.leader_resumes_epoch {
            self.lead(state, id);
        }
    }

    fn election_actions(&self, state: &State, id: u8, actions: &mut Vec<Action>) {
        let own = state.at(id);
        if own.role == Role::Leads {
            return;
        }
        if own.endorsed {
            actions.push(Action::Stand { voter: id, epoch: own.epoch + 1 });
        } else if own.epoch < self.epochs && own.synced_epoch == own.epoch {
            let grants = |voter: &u8| {
                let other = state.at(*voter);
                *voter != id
                    && other.epoch == own.epoch
                    && other.role != Role::Leads
                    && other.is_not_ahead_of(own)
            };
            actions.extend(ids().filter(grants).map(|voter| Action::PreVote { asker: id, voter }));
        }
        if own.role == Role::Stands {
            if self.counts(own) {
                let asked = ids().filter(|voter| may_vote(state.at(*voter), own));
                let epoch = own.epoch;
                actions.extend(asked.map(|voter| Action::Vote { candidate: id, voter, epoch }));
            }
            if state.has_majority(id) {
                actions.push(Action::Win { voter: id, epoch: own.epoch });
            }
        }
    }

    fn crash_actions(&self, state: &State, id: u8, actions: &mut Vec<Action>) {
        let own = state.at(id);
        if state.crashes == self.crashes {
            return;
        }
        // Under the flaw, a leader that goes on leading appends its epoch's first record again.
        let most = if self.rules.leader_resumes_epoch { LOG as u8 - 1 } else { LOG as u8 };
        actions
            .extend((own.synced..=own.end.min(most)).map(|end| Action::Crash { voter: id, end }));
        if self.rules.request_before_recovery {
            let asks = |other: &u8| {
                *other != id
                    && state.at(*other).role == Role::Stands
                    && self.counts(state.at(*other))
            };
            actions.extend(
                ids().filter(asks).map(|candidate| Action::VoteUnread { candidate, voter: id }),
            );
        }
    }

    fn following_actions(&self, state: &State, id: u8, actions: &mut Vec<Action>) {
        let own = state.at(id);
        let told = ids().map(|other| state.at(other).synced_epoch).max().unwrap_or(0);
        actions.extend((own.epoch + 1..=told).map(|epoch| Action::Hear { voter: id, epoch }));
        if own.role == Role::Leads {
            return;
        }
        // It fetches only from an offset below which it has everything synced.
        let counted = own.synced == own.end || self.rules.commit_before_sync;
        if let (Some(leader), true) = (state.fetches_from(id), counted) {
            let parts = parts_at(own, state.at(leader)).is_some();
            let most = if parts { 0 } else { state.at(leader).end - own.end };
            actions.extend((0..=most).map(|records| Action::Fetch { follower: id, records }));
        }
    }
}

/// Would `voter` vote for `candidate`, by role and log?
fn may_vote(voter: &Voter, candidate: &Voter) -> bool {
    let free = (voter.voted, voter.leader, voter.role) == (NOBODY, NOBODY, Role::Waits);
    rules::may_vote(voter.epoch, candidate.epoch, free, voter.is_not_ahead_of(candidate))
}

/// Where a follower cuts because its last record is not in the leader's log. The leader answers
/// with its largest epoch that is not larger than the follower's last, and where that epoch ends
/// (KIP-595).
fn parts_at(follower: &Voter, leader: &Voter) -> Option<u8> {
    rules::where_they_diverge(follower, rules::end_offset_for_epoch(leader, follower.last_epoch()))
}

impl Model for Votes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut voters = [Voter::new(); VOTERS];
        voters[0].endorsed = true;
        vec![State {
            voters,
            answered: [0; EPOCHS],
            led: [0; EPOCHS],
            committed: [0; LOG],
            committed_in: [0; LOG],
            committed_end: 0,
            contradicted: false,
            crashes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for id in ids() {
            let own = state.at(id);
            if !own.vote_is_synced() {
                actions.push(Action::SyncVote(id));
            }
            if own.synced < own.end {
                actions.push(Action::SyncLog(id));
            }
            if own.role == Role::Leads {
                if own.end < self.records {
                    actions.push(Action::Append(id));
                }
                // It announces its epoch once that is on disk.
                let hears = |voter: &u8| {
                    let other = state.at(*voter);
                    let news = other.epoch < own.epoch
                        || (other.epoch == own.epoch
                            && other.leader == NOBODY
                            && other.role != Role::Leads);
                    news && own.synced_epoch == own.epoch
                };
                let told = ids().filter(hears);
                actions.extend(told.map(|voter| Action::Announce { leader: id, voter }));
                actions.push(Action::Resign(id));
            }
            self.election_actions(state, id, actions);
            self.following_actions(state, id, actions);
            self.crash_actions(state, id, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::PreVote { asker, voter: _ } => state.voter(asker).endorsed = true,
            Action::Stand { voter, epoch } => {
                let own = state.voter(voter);
                own.enter(epoch);
                own.role = Role::Stands;
                self.give_vote(&mut state, voter, voter);
            }
            Action::Vote { candidate, voter, epoch } => {
                let own = state.voter(voter);
                if own.epoch < epoch {
                    own.enter(epoch);
                }
                self.give_vote(&mut state, voter, candidate);
            }
            Action::SyncVote(id) => self.sync_vote(&mut state, id),
            Action::Win { voter, epoch: _ } => self.lead(&mut state, voter),
            Action::Announce { leader, voter } => {
                let epoch = state.at(leader).epoch;
                let own = state.voter(voter);
                if own.epoch < epoch {
                    own.enter(epoch);
                }
                own.leave_role();
                own.leader = leader;
            }
            Action::Hear { voter, epoch } => state.voter(voter).enter(epoch),
            Action::Append(id) => {
                let salt = self.salt(&state);
                let own = state.voter(id);
                own.append(record(own.epoch, salt));
            }
            Action::SyncLog(id) => self.sync_log(&mut state, id),
            Action::Fetch { follower, records } => self.fetch(&mut state, follower, records),
            Action::Resign(id) => state.voter(id).leave_role(),
            Action::Crash { voter, end } => self.crash(&mut state, voter, end),
            Action::VoteUnread { candidate, voter } => {
                let end = state.at(voter).end;
                self.crash(&mut state, voter, end);
                let epoch = state.at(candidate).epoch;
                state.voter(voter).enter(epoch);
                self.give_vote(&mut state, voter, candidate);
            }
        }
        self.sync_all(&mut state);
        state.tidy();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("election-safety", |_, state: &State| {
                state.led.iter().all(|leaders| leaders.count_ones() <= 1)
            }),
            Property::always("no-double-vote", |_, state: &State| {
                let answers = |answered: u16, voter: u8| {
                    ids().filter(|candidate| answered & grant(voter, *candidate) != 0).count()
                };
                let once = |answered: &u16| ids().all(|voter| answers(*answered, voter) <= 1);
                state.answered.iter().all(once)
            }),
            Property::always("leader-completeness", |_, state: &State| {
                // Each leader holds everything that leaders of earlier epochs have committed.
                let leaders = state.voters.iter().filter(|voter| voter.role == Role::Leads);
                leaders.into_iter().all(|leader| {
                    (0..usize::from(state.committed_end)).all(|at| {
                        state.committed_in[at] >= leader.epoch
                            || leader.log[at] == state.committed[at]
                    })
                })
            }),
            Property::always("log-matching", |_, state: &State| {
                let matches = |a: &Voter, b: &Voter| {
                    let both = usize::from(a.end.min(b.end));
                    let met = (0..both).rfind(|at| epoch_of(a.log[*at]) == epoch_of(b.log[*at]));
                    met.is_none_or(|at| a.log[..=at] == b.log[..=at])
                };
                let [a, b, c] = &state.voters;
                matches(a, b) && matches(b, c) && matches(a, c)
            }),
            Property::always("committed-stays", |_, state: &State| {
                let held = |at: usize| {
                    let holds = |voter: &&Voter| voter.log[at] == state.committed[at];
                    state.voters.iter().filter(holds).count() >= MAJORITY
                };
                !state.contradicted && (0..usize::from(state.committed_end)).all(held)
            }),
        ]
    }
}
