//! The judge's definitions, written down naively: every pair is compared with every other.

use std::collections::BTreeMap;

use wavetank_linearizability::log::Options;
use wavetank_linearizability::{Acks, Action, History, Loss, Outcome, Polled, Value};

#[derive(Clone, Copy)]
struct Send {
    process: u32,
    partition: u32,
    value: Value,
    acks: Acks,
    outcome: Outcome,
    acked: i64,
    epoch: i32,
    invoked: u64,
    completed: u64,
}

#[derive(Clone, Copy)]
struct Evidence {
    partition: u32,
    offset: i64,
    value: Value,
    epoch: i32,
    read: bool,
}

/// What a reader got, and what it got before that in the same assignment (no epoch: the position).
struct Pair {
    before: Option<(i64, i32)>,
    same_poll: bool,
    record: Polled,
    completed: u64,
}

struct Reference<'a> {
    losses: &'a [Loss],
    sends: Vec<Send>,
    pairs: Vec<Pair>,
    evidence: Vec<Evidence>,
}

/// How often each anomaly occurs, and other counts; names as the judge's.
pub fn check(history: &History, options: &Options) -> (bool, BTreeMap<&'static str, u64>) {
    let sends = sends(history);
    let pairs = pairs(history);
    let evidence = evidence(&sends, &pairs);
    let reference = Reference { losses: history.losses(), sends, pairs, evidence };
    let counts: BTreeMap<&'static str, u64> = [
        ("inconsistent-offsets", reference.inconsistent()),
        ("duplicate", reference.duplicates()),
        ("lost-write", reference.missing(options, "lost-write")),
        ("unseen", reference.missing(options, "unseen")),
        ("excused-loss", reference.missing(options, "excused-loss")),
        ("lost-acks-1", reference.missing(options, "lost-acks-1")),
        ("aborted-read", reference.aborted()),
        ("read-before-send", reference.too_early()),
        ("garbage-read", reference.garbage()),
        ("poll-skip", reference.skips(false)),
        ("int-poll-skip", reference.skips(true)),
        ("nonmonotonic-poll", reference.backward(false)),
        ("int-nonmonotonic-poll", reference.backward(true)),
        ("epoch-regression", reference.epochs_backward()),
        ("reordered-send", reference.reordered()),
        ("real-time-order", reference.real_time()),
    ]
    .into();
    let allowed = |name: &str| match name {
        "duplicate" => !options.forbid_duplicates,
        "reordered-send" => !options.forbid_reordered_sends,
        "unseen" => !options.complete,
        "excused-loss" | "lost-acks-1" => true,
        _ => false,
    };
    let valid = counts.iter().all(|(name, count)| *count == 0 || allowed(name));
    (valid, counts)
}

fn sends(history: &History) -> Vec<Send> {
    let mut sends = vec![];
    for operation in history.operations() {
        if let Action::Send { partition, value, acks, offset, epoch } = operation.action {
            sends.push(Send {
                process: operation.process,
                partition: partition.0,
                value,
                acks,
                outcome: operation.outcome,
                acked: offset,
                epoch,
                invoked: operation.invoked.seq,
                completed: operation.completed.map_or(u64::MAX, |stamp| stamp.seq),
            });
        }
    }
    sends
}

fn pairs(history: &History) -> Vec<Pair> {
    let mut operations: Vec<_> =
        history.operations().iter().filter(|op| op.completed.is_some()).collect();
    operations.sort_by_key(|op| op.completed);
    let mut positions: BTreeMap<(u32, u32), (i64, i32)> = BTreeMap::new();
    let mut pairs = vec![];
    for operation in operations {
        if let Action::Assign { seek, .. } = operation.action {
            if !seek {
                positions.retain(|(process, _), _| *process != operation.process);
            }
            for (partition, position) in history.positions(operation) {
                let key = (operation.process, partition.0);
                match position {
                    Some(position) => positions.insert(key, (position - 1, -1)),
                    None => positions.remove(&key),
                };
            }
        }
        let mut in_this_poll = vec![];
        for record in history.polled(operation) {
            let key = (operation.process, record.partition.0);
            let before = positions.insert(key, (record.offset, record.epoch));
            let completed = operation.completed.unwrap().seq;
            let same_poll = in_this_poll.contains(&record.partition);
            in_this_poll.push(record.partition);
            pairs.push(Pair { before, same_poll, record: *record, completed });
        }
    }
    pairs
}

fn evidence(sends: &[Send], pairs: &[Pair]) -> Vec<Evidence> {
    let acknowledged = sends.iter().filter(|s| s.acks == Acks::All && s.acked >= 0).map(|s| {
        let Send { partition, acked, value, epoch, .. } = *s;
        Evidence { partition, offset: acked, value, epoch, read: false }
    });
    let read = pairs.iter().map(|pair| {
        let Polled { partition, offset, epoch, value } = pair.record;
        Evidence { partition: partition.0, offset, value, epoch, read: true }
    });
    let mut evidence: Vec<Evidence> = vec![];
    for new in acknowledged.chain(read) {
        let known = evidence.iter_mut().find(|known| {
            (known.partition, known.offset, known.value) == (new.partition, new.offset, new.value)
                && (known.epoch == new.epoch || known.epoch == -1 || new.epoch == -1)
        });
        match known {
            Some(known) => {
                known.read |= new.read;
                known.epoch = known.epoch.max(new.epoch);
            }
            None => evidence.push(new),
        }
    }
    evidence
}

impl Reference<'_> {
    /// Is there a loss at or before the offset between records of these epochs?
    fn separate(&self, partition: u32, offset: i64, a: i32, b: i32) -> bool {
        self.losses.iter().any(|loss| {
            let between = a < loss.epoch && loss.epoch <= b || b < loss.epoch && loss.epoch <= a;
            loss.partition.0 == partition
                && loss.offset <= offset
                && (a == -1 || b == -1 || between)
        })
    }

    /// Was the record of this offset and epoch lost before records of epoch `later` came?
    fn lost_before(&self, partition: u32, offset: i64, epoch: i32, later: i32) -> bool {
        self.losses.iter().any(|loss| {
            loss.partition.0 == partition
                && loss.offset <= offset
                && (epoch == -1 || epoch < loss.epoch)
                && (later == -1 || later >= loss.epoch)
        })
    }

    /// Where a value is, by offset.
    fn places(&self, send: &Send) -> Vec<Evidence> {
        let mut places: Vec<Evidence> = self
            .evidence
            .iter()
            .filter(|e| (e.partition, e.value) == (send.partition, send.value))
            .copied()
            .collect();
        places.sort_by_key(|e| (e.offset, e.epoch));
        places
    }

    fn count<T>(items: &[T], wrong: impl Fn(&T) -> bool) -> u64 {
        items.iter().filter(|item| wrong(item)).count() as u64
    }

    fn inconsistent(&self) -> u64 {
        let mut offsets: Vec<(u32, i64)> =
            self.evidence.iter().map(|e| (e.partition, e.offset)).collect();
        offsets.sort_unstable();
        offsets.dedup();
        Self::count(&offsets, |at| {
            let here: Vec<&Evidence> =
                self.evidence.iter().filter(|e| (e.partition, e.offset) == *at).collect();
            (0..here.len())
                .any(|i| (0..i).any(|j| !self.separate(at.0, at.1, here[i].epoch, here[j].epoch)))
        })
    }

    fn duplicates(&self) -> u64 {
        Self::count(&self.sends, |send| {
            let places = self.places(send);
            places.iter().any(|a| {
                places.iter().any(|b| {
                    // Was the older of the two gone before the newer came?
                    let excused = if a.epoch < b.epoch {
                        self.lost_before(a.partition, a.offset, a.epoch, b.epoch)
                    } else if b.epoch < a.epoch {
                        self.lost_before(a.partition, b.offset, b.epoch, a.epoch)
                    } else {
                        // Both unknown: a loss before the first of them.
                        let first = a.offset.min(b.offset);
                        a.epoch == -1 && self.lost_before(a.partition, first, -1, -1)
                    };
                    a.offset != b.offset && !excused
                })
            })
        })
    }

    /// Has a reader got past this offset, in the newest lineage that begins at or before it?
    fn passed(&self, partition: u32, offset: i64) -> bool {
        self.pairs.iter().any(|pair| {
            let next = pair.record;
            let between = match pair.before {
                Some((before, _)) if before < next.offset => {
                    before < offset && offset <= next.offset
                }
                _ => offset == next.offset,
            };
            let newest = !self.losses.iter().any(|loss| {
                loss.partition.0 == partition
                    && loss.offset <= offset
                    && (next.epoch == -1 || next.epoch < loss.epoch)
            });
            next.partition.0 == partition && between && newest
        })
    }

    fn missing(&self, options: &Options, kind: &str) -> u64 {
        Self::count(&self.sends, |send| {
            let Send { partition, acked, acks, epoch, .. } = *send;
            let read = self.places(send).iter().any(|e| {
                let there = e.offset == acked && (epoch == -1 || e.epoch == -1 || e.epoch == epoch);
                e.read && (acked == -1 || there)
            });
            if send.outcome != Outcome::Ok || acks == Acks::None || read {
                return false;
            }
            let passed = acked >= 0 && self.passed(partition, acked);
            let excused = self.losses.iter().any(|loss| {
                loss.partition.0 == partition
                    && (acked == -1 || loss.offset <= acked && (epoch == -1 || epoch < loss.epoch))
            });
            let is = if acks == Acks::Leader {
                if passed || options.complete { "lost-acks-1" } else { "unread" }
            } else if excused && (passed || options.complete) {
                "excused-loss"
            } else if passed {
                "lost-write"
            } else {
                "unseen"
            };
            is == kind
        })
    }

    fn reads(&self, send: &Send) -> Vec<&Pair> {
        let of = |pair: &&Pair| {
            (pair.record.partition.0, pair.record.value) == (send.partition, send.value)
        };
        self.pairs.iter().filter(of).collect()
    }

    fn aborted(&self) -> u64 {
        Self::count(&self.sends, |send| {
            send.outcome == Outcome::Fail && !self.reads(send).is_empty()
        })
    }

    fn too_early(&self) -> u64 {
        Self::count(&self.sends, |send| {
            send.outcome != Outcome::Fail
                && self.reads(send).iter().any(|pair| pair.completed < send.invoked)
        })
    }

    fn garbage(&self) -> u64 {
        Self::count(&self.pairs, |pair| {
            !self.sends.iter().any(|send| {
                (send.partition, send.value) == (pair.record.partition.0, pair.record.value)
            })
        })
    }

    fn skips(&self, same_poll: bool) -> u64 {
        Self::count(&self.pairs, |pair| {
            let Some((before, epoch)) = pair.before else { return false };
            let next = pair.record;
            let partition = next.partition.0;
            if next.offset <= before || pair.same_poll != same_poll {
                return false;
            }
            // Across a loss, what lies from its offset on is another log: it should have gone back.
            let crossed = |offset: i64| {
                epoch != -1
                    && next.epoch != -1
                    && self.losses.iter().any(|loss| {
                        loss.partition.0 == partition
                            && loss.offset <= offset
                            && epoch < loss.epoch
                            && loss.epoch <= next.epoch
                    })
            };
            self.evidence.iter().any(|e| {
                e.partition == partition
                    && e.read
                    && e.offset < next.offset
                    && (e.offset > before || crossed(e.offset))
                    && !self.separate(partition, e.offset, e.epoch, next.epoch)
            })
        })
    }

    fn backward(&self, same_poll: bool) -> u64 {
        Self::count(&self.pairs, |pair| {
            let Some((before, epoch)) = pair.before else { return false };
            let next = pair.record;
            let resumed = self.losses.iter().any(|loss| {
                loss.partition == next.partition
                    && loss.offset <= next.offset
                    && (epoch == -1
                        || next.epoch == -1
                        || epoch < loss.epoch && loss.epoch <= next.epoch)
            });
            pair.same_poll == same_poll && next.offset <= before && !resumed
        })
    }

    fn epochs_backward(&self) -> u64 {
        Self::count(&self.pairs, |pair| {
            pair.before.is_some_and(|(before, epoch)| {
                let next = pair.record;
                next.offset > before && epoch != -1 && next.epoch != -1 && next.epoch < epoch
            })
        })
    }

    fn reordered(&self) -> u64 {
        let indexes: Vec<usize> = (0..self.sends.len()).collect();
        Self::count(&indexes, |index| {
            let later = &self.sends[*index];
            let Some(at) = self.places(later).first().copied() else { return false };
            self.sends[..*index].iter().any(|earlier| {
                let Some(before) = self.places(earlier).first().copied() else { return false };
                (earlier.process, earlier.partition) == (later.process, later.partition)
                    && before.offset >= at.offset
                    && !self.lost_before(at.partition, before.offset, before.epoch, at.epoch)
            })
        })
    }

    fn real_time(&self) -> u64 {
        Self::count(&self.sends, |later| {
            self.places(later).iter().any(|at| {
                self.sends.iter().any(|earlier| {
                    if earlier.acks != Acks::All
                        || earlier.acked < 0
                        || earlier.partition != later.partition
                    {
                        return false;
                    }
                    let places = self.places(earlier);
                    let there = places.iter().find(|e| e.offset == earlier.acked);
                    let said = (earlier.epoch != -1).then_some(earlier.epoch);
                    let epoch = said.or(there.map(|e| e.epoch)).unwrap_or(-1);
                    earlier.completed < later.invoked
                        && earlier.acked >= at.offset
                        && !self.lost_before(at.partition, earlier.acked, epoch, at.epoch)
                })
            })
        })
    }
}
