//! Consumer groups: whether committed offsets stay and never go back by themselves (A20, A21), and
//! whether a partition has one owner at a time (A22).
//!
//! A committed offset is a register with many writers (commits) and readers (fetches). The check is
//! what one sweep can decide: whether a value that was read could still be there, that is, whether
//! no acknowledged commit lies wholly between the last commit of that value and the fetch.

use std::collections::HashMap;

use super::report::{Report, begun, done, who};
use super::{Options, effective};
use crate::{Action, Change, Group, History, OpId, Operation, Outcome, Partition, Position};

/// A group's offset of a partition.
type Key = (u32, u32);

/// A commit that may have happened.
#[derive(Clone, Copy, Debug)]
struct Commit {
    key: Key,
    offset: i64,
    op: OpId,
    /// From then on it may have taken effect.
    begun: u64,
    /// By then it certainly had, [`u64::MAX`] if unknown.
    done: u64,
}

/// What a fetch of committed offsets found.
#[derive(Clone, Copy, Debug)]
struct Found {
    key: Key,
    offset: Option<i64>,
    op: OpId,
    asked: u64,
    answered: u64,
}

/// An event of a sweep over time.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A commit is certain from now on.
    Done(Commit),
    /// A commit begins.
    Begun(Commit),
    /// A fetch begins.
    Asked(usize),
    /// A reader of this partition changes position by its own decision.
    Sought(u32),
}

/// The owner of a partition, as reported.
#[derive(Clone, Copy, Debug)]
struct Owner {
    process: u32,
    generation: i32,
    op: OpId,
    since: u64,
}

/// The passes over groups.
pub(super) struct Groups<'a> {
    history: &'a History,
    options: &'a Options,
    commits: Vec<Commit>,
    found: Vec<Found>,
    /// The first commit of each offset that is in a transaction, whatever its outcome.
    in_transactions: HashMap<(Key, i64), OpId>,
    seeks: Vec<(u64, u32)>,
}

impl<'a> Groups<'a> {
    /// Collects the operations about groups.
    pub(super) fn of(history: &'a History, options: &'a Options) -> Groups<'a> {
        let mut groups = Groups {
            history,
            options,
            commits: Vec::new(),
            found: Vec::new(),
            in_transactions: HashMap::new(),
            seeks: Vec::new(),
        };
        for (id, operation) in (0..).zip(history.operations()) {
            match operation.action {
                Action::Commit { group, .. } => groups.commit(OpId(id), operation, group),
                Action::Committed { group, .. } => groups.fetch(OpId(id), operation, group),
                Action::Assign { .. } => {
                    for (partition, _) in history.positions(operation) {
                        groups.seeks.push((operation.invoked.seq, partition.0));
                    }
                }
                Action::Send { .. }
                | Action::Poll { .. }
                | Action::Subscribe
                | Action::Rebalance { .. }
                | Action::Transaction { .. }
                | Action::Crash => {}
            }
        }
        groups
    }

    fn commit(&mut self, op: OpId, operation: &Operation, group: Group) {
        let transaction = operation.transaction().map(|op| self.history.operation(op));
        let outcome = effective(operation.outcome, transaction.map(|of| of.outcome));
        let (mut begun, mut completed) = (operation.invoked.seq, operation.completed);
        if let Some(of) = transaction {
            completed = of.completed;
            if let Action::Transaction { ending } = of.action
                && ending != u64::MAX
            {
                begun = ending;
            }
        }
        let done = match (outcome, completed) {
            (Outcome::Ok, Some(completed)) => completed.seq,
            (Outcome::Ok | Outcome::Info | Outcome::Fail, _) => u64::MAX,
        };
        for (partition, position) in self.history.positions(operation) {
            let Position::At(offset) = *position else { continue };
            let key = (group.0, partition.0);
            if transaction.is_some() {
                self.in_transactions.entry((key, offset)).or_insert(op);
            }
            if outcome != Outcome::Fail {
                self.commits.push(Commit { key, offset, op, begun, done });
            }
        }
    }

    fn fetch(&mut self, op: OpId, operation: &Operation, group: Group) {
        let Some(completed) = operation.completed else { return };
        for (partition, position) in self.history.positions(operation) {
            let offset = match *position {
                Position::At(offset) => Some(offset),
                Position::Unknown | Position::Kept => None,
            };
            let key = (group.0, partition.0);
            let (asked, answered) = (operation.invoked.seq, completed.seq);
            self.found.push(Found { key, offset, op, asked, answered });
        }
    }

    /// Runs all passes.
    pub(super) fn judge(&self, report: &mut Report) {
        self.judge_commits(report);
        self.judge_generations(report);
        self.judge_owners(report);
    }

    /// Finds commits that go back, and fetches that found what cannot have been there.
    fn judge_commits(&self, report: &mut Report) {
        if self.commits.is_empty() && self.found.is_empty() {
            return;
        }
        let last = self.last_of_each_value();
        let mut events: Vec<(u64, Event)> = Vec::new();
        for commit in &self.commits {
            if commit.done != u64::MAX {
                events.push((commit.done, Event::Done(*commit)));
                events.push((commit.begun, Event::Begun(*commit)));
            }
        }
        events.extend((0..).zip(&self.found).map(|(at, found)| (found.asked, Event::Asked(at))));
        events.extend(self.seeks.iter().map(|(seq, partition)| (*seq, Event::Sought(*partition))));
        events.sort_by_key(|(seq, _)| *seq);
        // The furthest certain commit since a reader last sought, and the one that began last.
        let mut furthest: HashMap<Key, (u64, Commit)> = HashMap::new();
        let mut newest: HashMap<Key, Commit> = HashMap::new();
        let mut sought: HashMap<u32, u64> = HashMap::new();
        let mut found: Vec<(usize, Option<Commit>)> = Vec::new();
        for (seq, event) in events {
            match event {
                Event::Sought(partition) => drop(sought.insert(partition, seq)),
                Event::Asked(at) => found.push((at, newest.get(&self.found[at].key).copied())),
                Event::Done(commit) => {
                    let since = sought.get(&commit.key.1).copied().unwrap_or(0);
                    let known = furthest.entry(commit.key).or_insert((since, commit));
                    if known.0 != since || known.1.offset < commit.offset {
                        *known = (since, commit);
                    }
                    let known = newest.entry(commit.key).or_insert(commit);
                    if known.begun < commit.begun {
                        *known = commit;
                    }
                }
                Event::Begun(commit) => {
                    let since = sought.get(&commit.key.1).copied().unwrap_or(0);
                    let before = furthest.get(&commit.key).filter(|(at, _)| *at == since);
                    if let Some((_, before)) = before.filter(|(_, b)| b.offset > commit.offset) {
                        self.went_back(report, commit, *before);
                    }
                }
            }
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        for (at, newest) in found {
            self.judge_found(report, self.found[at], last[at], newest);
        }
    }

    /// For each fetch: of the commits of the value that it found which began before its answer, the
    /// one that may have taken effect last.
    fn last_of_each_value(&self) -> Vec<Option<Commit>> {
        let mut commits: Vec<&Commit> = self.commits.iter().collect();
        commits.sort_by_key(|commit| commit.begun);
        let mut commits = commits.into_iter().peekable();
        let mut order: Vec<usize> = (0..self.found.len()).collect();
        order.sort_by_key(|at| self.found[*at].answered);
        let mut last: HashMap<(Key, i64), Commit> = HashMap::new();
        let mut result = vec![None; self.found.len()];
        for at in order {
            let found = self.found[at];
            while let Some(commit) = commits.next_if(|commit| commit.begun < found.answered) {
                let known = last.entry((commit.key, commit.offset)).or_insert(*commit);
                if known.done < commit.done {
                    *known = *commit;
                }
            }
            result[at] = found.offset.and_then(|at| last.get(&(found.key, at)).copied());
        }
        result
    }

    fn judge_found(
        &self,
        report: &mut Report,
        found: Found,
        last: Option<Commit>,
        newest: Option<Commit>,
    ) {
        let Some(offset) = found.offset else {
            if let Some(newest) = newest {
                self.lost(report, found, newest);
            }
            return;
        };
        match (last, newest) {
            (Some(last), Some(newest)) if last.done < newest.begun => {
                self.lost(report, found, newest);
            }
            (Some(_), _) => {}
            (None, _) => {
                let begun = |op: &OpId| self.history.operation(*op).invoked.seq < found.answered;
                match self.in_transactions.get(&(found.key, offset)).copied().filter(begun) {
                    Some(commit) => self.uncommitted(report, found, commit),
                    None => self.garbage(report, found),
                }
            }
        }
    }

    /// Finds accepted commits of superseded generations.
    fn judge_generations(&self, report: &mut Report) {
        // (seq, begins, group and member, generation, operation)
        let mut events: Vec<(u64, bool, (u32, u32), i32, OpId)> = Vec::new();
        for (id, operation) in (0..).zip(self.history.operations()) {
            let process = if self.options.member_epochs { operation.process } else { 0 };
            match (operation.action, operation.completed) {
                (Action::Commit { group, generation, .. }, Some(completed))
                    if generation >= 0 && operation.outcome == Outcome::Ok =>
                {
                    let who = (group.0, process);
                    events.push((operation.invoked.seq, true, who, generation, OpId(id)));
                    events.push((completed.seq, false, who, generation, OpId(id)));
                }
                (Action::Rebalance { group, generation, change, .. }, Some(completed))
                    if generation >= 0 && change == Change::Assigned =>
                {
                    events.push((completed.seq, false, (group.0, process), generation, OpId(id)));
                }
                _ => {}
            }
        }
        events.sort_unstable();
        let mut newest: HashMap<(u32, u32), (i32, OpId)> = HashMap::new();
        for (_, begins, who, generation, op) in events {
            let known = newest.get(&who).copied();
            match known {
                Some(newer) if begins && newer.0 > generation => {
                    self.zombie(report, op, generation, newer);
                }
                Some(newer) if begins || newer.0 >= generation => {}
                None if begins => {}
                Some(_) | None => drop(newest.insert(who, (generation, op))),
            }
        }
    }

    /// Finds partitions with two owners.
    fn judge_owners(&self, report: &mut Report) {
        // For each partition, its last owner, and the last owner that is another process.
        let mut given: HashMap<Key, [Option<Owner>; 2]> = HashMap::new();
        let mut owned: HashMap<u32, HashMap<Key, Owner>> = HashMap::new();
        let mut in_generation: HashMap<(Key, i32), Vec<Owner>> = HashMap::new();
        for (id, operation) in (0..).zip(self.history.operations()) {
            let process = operation.process;
            let mine = owned.entry(process).or_default();
            let (group, generation, change) = match operation.action {
                Action::Rebalance { group, generation, change, .. } => (group, generation, change),
                Action::Crash => {
                    for (key, owner) in mine.drain() {
                        let same = in_generation.entry((key, owner.generation)).or_default();
                        same.retain(|other| other.process != process);
                    }
                    continue;
                }
                Action::Send { .. }
                | Action::Poll { .. }
                | Action::Assign { .. }
                | Action::Subscribe
                | Action::Commit { .. }
                | Action::Committed { .. }
                | Action::Transaction { .. } => continue,
            };
            for (partition, _) in self.history.positions(operation) {
                let key = (group.0, partition.0);
                let (op, since) = (OpId(id), operation.invoked.seq);
                let owner = Owner { process, generation, op, since };
                if change == Change::Changed {
                    continue;
                }
                let before = mine.remove(&key);
                if let Some(before) = before {
                    let same = in_generation.entry((key, before.generation)).or_default();
                    same.retain(|other| other.process != process);
                }
                if change == Change::Assigned {
                    let same = in_generation.entry((key, generation)).or_default();
                    if let Some(other) = same.first().filter(|_| generation >= 0) {
                        self.two_owners(report, key, *other, owner);
                    }
                    same.push(owner);
                    mine.insert(key, owner);
                    let given = given.entry(key).or_default();
                    if given[0].is_some_and(|last| last.process != process) {
                        given[1] = given[0];
                    }
                    given[0] = Some(owner);
                } else if let (Some(before), Change::Revoked) = (before, change) {
                    let others = given.get(&key).into_iter().flatten().flatten();
                    let mut others = others.filter(|other| other.process != process);
                    if let Some(after) = others.find(|other| other.since > before.since) {
                        self.given_too_early(report, key, before, *after, op);
                    }
                }
            }
        }
    }

    fn names(&self, key: Key) -> (&str, &str) {
        let group = self.history.group_name(Group(key.0));
        (group, self.history.partition_name(Partition(key.1)))
    }

    fn went_back(&self, report: &mut Report, commit: Commit, before: Commit) {
        let history = self.history;
        report.add("commit-regression", [before.op, commit.op], || {
            let (group, partition) = self.names(commit.key);
            format!(
                "{partition}: {}'s commit of offset {} for group {group} was accepted at {}, after \
                 {} had been committed by {} at {}, without a seek in between",
                who(history, commit.op),
                commit.offset,
                done(history, commit.op),
                before.offset,
                who(history, before.op),
                done(history, before.op)
            )
        });
    }

    fn lost(&self, report: &mut Report, found: Found, newest: Commit) {
        let history = self.history;
        report.add("lost-commit", [newest.op, found.op], || {
            let (group, partition) = self.names(found.key);
            let what = found.offset.map_or("none".into(), |offset| offset.to_string());
            format!(
                "{partition}: {} asked at {} for the committed offset of group {group} and got \
                 {what}, although {} had committed {} at {}",
                who(history, found.op),
                begun(history, found.op),
                who(history, newest.op),
                newest.offset,
                done(history, newest.op)
            )
        });
    }

    fn uncommitted(&self, report: &mut Report, found: Found, commit: OpId) {
        let history = self.history;
        report.add("uncommitted-offset", [commit, found.op], || {
            let (group, partition) = self.names(found.key);
            format!(
                "{partition}: {} asked at {} for the committed offset of group {group} and got {}, \
                 the offset of a transaction of {} that had not been committed",
                who(history, found.op),
                begun(history, found.op),
                found.offset.unwrap_or(-1),
                who(history, commit)
            )
        });
    }

    fn garbage(&self, report: &mut Report, found: Found) {
        let history = self.history;
        report.add("garbage-commit", [found.op], || {
            let (group, partition) = self.names(found.key);
            format!(
                "{partition}: {} asked at {} for the committed offset of group {group} and got {}, \
                 which nobody had committed",
                who(history, found.op),
                begun(history, found.op),
                found.offset.unwrap_or(-1)
            )
        });
    }

    fn zombie(&self, report: &mut Report, op: OpId, generation: i32, newer: (i32, OpId)) {
        let history = self.history;
        report.add("zombie-commit", [newer.1, op], || {
            format!(
                "{}'s commit of generation {generation}, begun at {}, was accepted, although {} \
                 was in generation {} at {}",
                who(history, op),
                begun(history, op),
                who(history, newer.1),
                newer.0,
                done(history, newer.1)
            )
        });
    }

    fn two_owners(&self, report: &mut Report, key: Key, first: Owner, second: Owner) {
        let history = self.history;
        report.add("double-ownership", [first.op, second.op], || {
            let (group, partition) = self.names(key);
            format!(
                "{partition} of group {group} was assigned to {} at {} and to {} at {}, in the \
                 same generation {}",
                who(history, first.op),
                done(history, first.op),
                who(history, second.op),
                done(history, second.op),
                second.generation
            )
        });
    }

    fn given_too_early(
        &self,
        report: &mut Report,
        key: Key,
        before: Owner,
        after: Owner,
        revoked: OpId,
    ) {
        let history = self.history;
        report.add("double-ownership", [before.op, after.op, revoked], || {
            let (group, partition) = self.names(key);
            format!(
                "{partition} of group {group} was assigned to {} at {}, before {} gave it up at {} \
                 as requested",
                who(history, after.op),
                done(history, after.op),
                who(history, revoked),
                done(history, revoked)
            )
        });
    }
}
