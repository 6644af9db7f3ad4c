//! M3: the metadata quorum: votes, pull replication, and what of both is only written, what synced.
//!
//! Read it beside Raft (Ongaro and Ousterhout 2014, sections 5.2, 5.4 and figure 8; 3.8 of the
//! thesis), KIP-595 (pull replication, CheckQuorum) and KIP-996 (pre-vote).
//!
//! # What is abstracted away, and why that is sound
//!
//! - *Time is gone.* Timeouts may have run out at any moment: a voter looks for a successor of its
//!   leader when it likes, and a leader may have heard no majority (CheckQuorum) when it likes. For
//!   the same reason a voter that follows may always grant a pre-vote, which KIP-996 lets it do only
//!   after its fetch timeout. More behaviours than with timers, never fewer.
//! - *Answers to votes stay on the wire for ever*, and may be counted late or never. Requests are
//!   seen by their effect: one that is late finds its sender's role gone, and only tells of an epoch,
//!   which [`Action::Hear`] may do at any time, of any epoch that was told of. A granted pre-vote is
//!   kept until the epoch changes; pre-votes only ever keep candidates back.
//! - *A fetch is one step*: request, read, answer, or no answer. Within an epoch a leader's log only
//!   grows, so a late answer is as good as an early one, and one of an earlier epoch is dropped.
//!   It brings some or all of what the leader has written, synced or not.
//! - *Who leads an epoch is not on disk here.* A voter that remembers its leader through a crash only
//!   votes less. An epoch or vote that reached the disk unheard is one synced just before the crash.
//! - *A cut is durable at once.* Until it is, the old tail may return; it was counted for nothing,
//!   and the voter has voted as one whose log is shorter, as it may (M7 has such tails).
//! - *Who knows a leader that leads no more* refuses votes until it loses it. It may do so at once,
//!   and then more can happen: so it does.
//! - *When no crash is left to come*, all is synced as soon as it is written: from then on no sync can
//!   come too late, and what waits for one may only do less.
//! - *A voter is back at once* after a crash; one that stays away is one that takes no step.
//! - *Batches are single records*, and a record is its epoch: who leads alone in an epoch gives an
//!   offset once. (`leader-resumes-epoch` breaks that, so there a record has the number of crashes
//!   before it, too.) Each epoch begins with one of the leader's, Kafka's LeaderChange.
//! - *High watermarks are not told.* A follower's is never above what a leader committed, and that is
//!   kept, for all leaders together, as what must stay.
//! - *Which voter first stands is a matter of names*: voter 1.
//!
//! # The variants
//!
//! Each leaves out one rule; the rule's line asks `Rules`. `lost-leader-is-news`, of the zoo, is
//! not here: under it nobody is ever elected, which breaks no promise about what happens, only that
//! something does; and steps that never have to happen cannot show that. The tank does.

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
/// Most epochs.
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
    /// Leaders append while their log is shorter. An epoch's first record does not count.
    records: u8,
    crashes: u8,
}

/// What a voter does in its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Role {
    /// Follows, has voted, knows nobody, or has led and resigned.
    #[default]
    Waits,
    /// Stands for the epoch.
    Stands,
    /// Leads it.
    Leads,
}

/// One voter. What only a leader keeps is zero in others, so that equal behaviour is an equal state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Voter {
    epoch: u8,
    /// For whom in this epoch.
    voted: u8,
    /// Whom it follows in this epoch.
    leader: u8,
    role: Role,
    /// A majority has granted it a pre-vote in this epoch.
    endorsed: bool,
    /// What of epoch and vote is synced.
    synced_epoch: u8,
    synced_vote: u8,
    /// Records, [`record`]; those from `end` on are zero.
    log: [u8; LOG],
    /// What is below is written.
    end: u8,
    /// What is below is synced.
    synced: u8,
    /// Leader: up to where each follower has everything synced, by its fetches in this epoch.
    ends: [u8; VOTERS],
}

/// The whole quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    voters: [Voter; VOTERS],
    /// By epoch, from 1 on: who has answered a grant to whom, [`grant`].
    answered: [u16; EPOCHS],
    /// By epoch, from 1 on: who has led in it, as a set.
    led: [u8; EPOCHS],
    /// What some leader has committed, and in which epoch it did.
    committed: [u8; LOG],
    committed_in: [u8; LOG],
    committed_end: u8,
    /// A leader has committed another record where one was committed, or a voter has cut one.
    contradicted: bool,
    crashes: u8,
}

/// One step. Voters are numbered from 0 here, and from 1 where a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A voter that misses a leader is granted a pre-vote by another; with its own that is a majority.
    PreVote {
        /// Who asks.
        asker: u8,
        /// Who grants.
        voter: u8,
    },
    /// A voter stands for the next epoch and votes for itself.
    Stand {
        /// Who.
        voter: u8,
        /// For which.
        epoch: u8,
    },
    /// A voter gives its vote.
    Vote {
        /// To whom.
        candidate: u8,
        /// Who.
        voter: u8,
        /// In which epoch.
        epoch: u8,
    },
    /// A voter's epoch and vote are synced, and it answers who asked for that vote.
    SyncVote(u8),
    /// A candidate has a majority, leads, and appends its epoch's first record.
    Win {
        /// Who.
        voter: u8,
        /// Which.
        epoch: u8,
    },
    /// A voter hears from a leader that it leads (BeginQuorumEpoch, or in an answer).
    Announce {
        /// The leader.
        leader: u8,
        /// Who hears.
        voter: u8,
    },
    /// A voter hears of a later epoch.
    Hear {
        /// Who.
        voter: u8,
        /// Of which.
        epoch: u8,
    },
    /// A leader appends a record.
    Append(u8),
    /// A voter's log is synced.
    SyncLog(u8),
    /// A follower fetches from its leader; so many records arrive. None: the answer was lost, or said
    /// where the logs part, and the follower cuts.
    Fetch {
        /// Who.
        follower: u8,
        /// How many.
        records: u8,
    },
    /// A leader hears from no majority and resigns (CheckQuorum).
    Resign(u8),
    /// A voter crashes, its log ends here, what else was not synced is lost, and it starts again.
    Crash {
        /// Who.
        voter: u8,
        /// Where its log ends.
        end: u8,
    },
    /// Only under `request-before-recovery`: a voter restarts, and takes a request before it has read
    /// its epoch and vote.
    VoteUnread {
        /// Who asks.
        candidate: u8,
        /// Who answers.
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

/// That `voter` has answered a grant to `candidate`, as a bit.
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

    /// Into a later epoch, without a vote.
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
        // In an epoch that no restart forgets.
        (leads && own.synced_epoch == own.epoch).then_some(own.leader)
    }

    /// Is this record one that must stay?
    fn is_committed(&self, offset: u8, record: u8) -> bool {
        offset < self.committed_end && self.committed[usize::from(offset)] == record
    }

    /// A voter parts from its records from `to` on because a leader's log does.
    fn cut(&mut self, id: u8, to: u8) {
        let own = *self.at(id);
        for offset in to..own.end {
            self.contradicted |= self.is_committed(offset, own.log[usize::from(offset)]);
        }
        self.voter(id).truncate(to);
    }

    /// Is this voter's epoch past `epoch` whatever happens?
    fn is_past(&self, voter: u8, epoch: u8) -> bool {
        self.at(voter).synced_epoch > epoch
    }

    /// Could this voter's candidacy in `epoch` still win?
    fn may_win(&self, voter: u8, epoch: u8) -> bool {
        let own = self.at(voter);
        (own.epoch == epoch && own.role == Role::Stands) || own.synced_epoch < epoch
    }

    /// Forgets what nothing can ask for any more, so that equal behaviour is an equal state.
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

    /// May a vote be acted on? Once no restart can make the voter forget it.
    fn counts(&self, voter: &Voter) -> bool {
        self.rules.vote_before_durable || voter.vote_is_synced()
    }

    /// Gives a vote that is free; answers at once only under the flaw.
    fn give_vote(&self, state: &mut State, voter: u8, candidate: u8) {
        let own = state.voter(voter);
        own.voted = candidate;
        let epoch = own.epoch;
        if self.rules.vote_before_durable {
            state.answer(voter, epoch, candidate);
        }
    }

    /// What a majority has synced is committed, once that covers a record of the leader's own epoch.
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

    /// When no crash is left to come, nothing tells what is written from what is synced, but that the
    /// latter may do more.
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
        // The offset that it asks from is its promise to have everything below synced.
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
        // Who led in an epoch or stood for it waits for the next one (KAFKA-10527).
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
        // Under the flaw, a leader that leads on appends its epoch's first record again.
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
        // It fetches from where it has everything synced.
        let counted = own.synced == own.end || self.rules.commit_before_sync;
        if let (Some(leader), true) = (state.fetches_from(id), counted) {
            let parts = parts_at(own, state.at(leader)).is_some();
            let most = if parts { 0 } else { state.at(leader).end - own.end };
            actions.extend((0..=most).map(|records| Action::Fetch { follower: id, records }));
        }
    }
}

/// Would it vote, by role and log?
fn may_vote(voter: &Voter, candidate: &Voter) -> bool {
    let free = (voter.voted, voter.leader, voter.role) == (NOBODY, NOBODY, Role::Waits);
    rules::may_vote(voter.epoch, candidate.epoch, free, voter.is_not_ahead_of(candidate))
}

/// Where a follower cuts because its last record is not in the leader's log: the leader says what its
/// largest epoch is that is not larger than the follower's last, and where that ends (KIP-595).
fn parts_at(follower: &Voter, leader: &Voter) -> Option<u8> {
    rules::where_parted(follower, rules::end_offset_for_epoch(leader, follower.last_epoch()))
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
                // It tells of its epoch when that is on disk.
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
                // Whoever leads holds all that earlier epochs' leaders have committed.
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
