//! The checker's definitions for groups, written down naively.

use std::collections::BTreeMap;

use wavetank_linearizability::log::Options;
use wavetank_linearizability::{Action, Change, History, Outcome, Position};

struct Commit {
    key: (u32, u32),
    offset: i64,
    begun: u64,
    done: Option<u64>,
    invoked: u64,
    in_transaction: bool,
    fail: bool,
}

struct Found {
    key: (u32, u32),
    offset: Option<i64>,
    asked: u64,
    answered: u64,
}

/// Adds the counts.
pub fn count(history: &History, options: &Options, counts: &mut BTreeMap<&'static str, u64>) {
    let commits = commits(history);
    let found = found(history);
    counts.insert("commit-regression", regressions(history, &commits));
    for name in ["lost-commit", "garbage-commit", "uncommitted-offset"] {
        let of = found.iter().filter(|found| what_is_wrong(found, &commits) == Some(name));
        counts.insert(name, of.count() as u64);
    }
    counts.insert("zombie-commit", zombies(history, options));
    counts.insert("double-ownership", owners(history));
}

fn at(position: &Position) -> Option<i64> {
    match position {
        Position::At(offset) => Some(*offset),
        Position::Unknown | Position::Kept => None,
    }
}

fn commits(history: &History) -> Vec<Commit> {
    let mut commits = vec![];
    for op in history.operations() {
        let Action::Commit { group, .. } = op.action else { continue };
        let of = op.transaction().map(|of| history.operation(of));
        let all = [Some(op.outcome), of.map(|of| of.outcome)];
        let is = |outcome| all.iter().flatten().any(|of| *of == outcome);
        let begun = match of.map(|of| of.action) {
            Some(Action::Transaction { ending }) if ending != u64::MAX => ending,
            _ => op.invoked.seq,
        };
        let completed = of.map_or(op.completed, |of| of.completed);
        let done =
            completed.filter(|_| !is(Outcome::Fail) && !is(Outcome::Info)).map(|stamp| stamp.seq);
        for (partition, position) in history.positions(op) {
            commits.push(Commit {
                key: (group.0, partition.0),
                offset: at(position).unwrap(),
                begun,
                done,
                invoked: op.invoked.seq,
                in_transaction: of.is_some(),
                fail: is(Outcome::Fail),
            });
        }
    }
    commits
}

fn found(history: &History) -> Vec<Found> {
    let mut found = vec![];
    for op in history.operations() {
        let Action::Committed { group, .. } = op.action else { continue };
        for (partition, position) in history.positions(op) {
            found.push(Found {
                key: (group.0, partition.0),
                offset: at(position),
                asked: op.invoked.seq,
                answered: op.completed.unwrap().seq,
            });
        }
    }
    found
}

fn regressions(history: &History, commits: &[Commit]) -> u64 {
    let sought = |partition: u32, from: u64, to: u64| {
        history.operations().iter().any(|op| {
            matches!(op.action, Action::Assign { .. })
                && (from..to).contains(&op.invoked.seq)
                && history.positions(op).iter().any(|(p, _)| p.0 == partition)
        })
    };
    let wrong = commits.iter().filter(|later| {
        later.done.is_some()
            && commits.iter().any(|before| {
                before.key == later.key
                    && before.offset > later.offset
                    && before.done.is_some_and(|done| {
                        done < later.begun && !sought(later.key.1, done, later.begun)
                    })
            })
    });
    wrong.count() as u64
}

fn what_is_wrong(found: &Found, commits: &[Commit]) -> Option<&'static str> {
    let same = |commit: &&Commit| commit.key == found.key;
    let overwrites = |begun: u64| {
        commits.iter().filter(same).any(|commit| {
            commit.begun > begun && commit.done.is_some_and(|done| done < found.asked)
        })
    };
    let Some(offset) = found.offset else {
        let any = commits.iter().filter(same).any(|c| c.done.is_some_and(|d| d < found.asked));
        return any.then_some("lost-commit");
    };
    let of = |commit: &&Commit| same(commit) && commit.offset == offset;
    let mut possible =
        commits.iter().filter(of).filter(|c| !c.fail && c.begun < found.answered).peekable();
    if possible.peek().is_some() {
        let there = possible.any(|commit| !commit.done.is_some_and(overwrites));
        return (!there).then_some("lost-commit");
    }
    let early = commits.iter().filter(of).any(|c| c.in_transaction && c.invoked < found.answered);
    Some(if early { "uncommitted-offset" } else { "garbage-commit" })
}

fn zombies(history: &History, options: &Options) -> u64 {
    let generation = |op: &wavetank_linearizability::Operation| match op.action {
        Action::Commit { generation, .. } if op.outcome == Outcome::Ok => Some((generation, true)),
        Action::Rebalance { generation, change: Change::Assigned, .. } => Some((generation, false)),
        _ => None,
    };
    let wrong = history.operations().iter().filter(|op| {
        let Some((mine, true)) = generation(op) else { return false };
        mine >= 0
            && history.operations().iter().any(|other| {
                (!options.member_epochs || other.process == op.process)
                    && generation(other).is_some_and(|(theirs, _)| theirs > mine)
                    && other.completed.unwrap().seq < op.invoked.seq
            })
    });
    wrong.count() as u64
}

fn owners(history: &History) -> u64 {
    let mut count = 0;
    let operations = history.operations();
    let change = |at: usize, partition: u32| match operations[at].action {
        Action::Rebalance { change, generation, .. }
            if history.positions(&operations[at]).iter().any(|(p, _)| p.0 == partition) =>
        {
            Some((change, generation))
        }
        Action::Crash => Some((Change::Lost, -1)),
        _ => None,
    };
    // When a process was given the partition that it has at this point.
    let given = |process: u32, partition: u32, before: usize| {
        let mut mine = (0..before).rev().filter(|at| operations[*at].process == process);
        let last = mine.find(|at| {
            change(*at, partition).is_some_and(|(change, _)| change != Change::Changed)
        })?;
        let (change, generation) = change(last, partition)?;
        (change == Change::Assigned).then_some((last, generation))
    };
    for (now, op) in operations.iter().enumerate() {
        let Action::Rebalance { change: what, generation, .. } = op.action else { continue };
        let mut partitions: Vec<u32> = history.positions(op).iter().map(|(p, _)| p.0).collect();
        partitions.dedup();
        for partition in partitions {
            let others = || operations.iter().map(|o| o.process).filter(|p| *p != op.process);
            if what == Change::Assigned {
                let owned = |other| given(other, partition, now).is_some_and(|g| g.1 == generation);
                count += u64::from(generation >= 0 && others().any(owned));
            }
            if what == Change::Revoked
                && let Some((since, _)) = given(op.process, partition, now)
            {
                let after = (since..now).any(|at| {
                    operations[at].process != op.process
                        && change(at, partition).is_some_and(|c| c.0 == Change::Assigned)
                });
                count += u64::from(after);
            }
        }
    }
    count
}
