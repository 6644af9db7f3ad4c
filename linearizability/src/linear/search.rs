//! The search for an order: Wing and Gong's algorithm with Lowe's cache.
//!
//! Depth first: place an operation that is open before the first return yet to come, and continue
//! from the state that it leads to; when nothing can be placed, backtrack. Sources: Wing and Gong,
//! Testing and verifying concurrent objects (JPDC 1993); Lowe, Testing for linearizability (2017).
//!
//! What is pruned, and why nothing is lost by it:
//! - A read that fits is placed at once: if an order has it later, it can be moved here.
//! - Of operations with the same question and answer, only the one that must return first is tried:
//!   in any order the two can be swapped. Of those that never returned, it is the one invoked
//!   first.
//! - An operation that never returned is not tried where it changes nothing, nor where one with the
//!   same question that returned can be placed with the same effect.
//! - States that [`Model::hindsight`] refuses.
//! - Configurations that the [cache](super::cache) knows, or knows to be no better than another.

use super::cache::Cache;
use super::memo::{IMPOSSIBLE, Memo};
use super::prepare::Prepared;
use super::{Hindsight, Model, Why};
use crate::{OpId, Validity};

/// The limits of a search.
pub(crate) struct Budget<'a> {
    /// Configurations.
    pub(crate) steps: u64,
    /// Bytes.
    pub(crate) memory: usize,
    /// Asked from time to time whether to give up.
    pub(crate) stop: Option<&'a dyn Fn() -> bool>,
}

/// What the search found.
pub(crate) struct Found {
    pub(crate) valid: Validity,
    /// Why it gave up.
    pub(crate) why: Option<Why>,
    /// An order of all, or of as many as could be placed before the operation that no order can
    /// return.
    pub(crate) order: Vec<OpId>,
    /// How many of `order` returned.
    pub(crate) placed: usize,
    /// The operation that could not be placed in time, at the furthest point of the search.
    pub(crate) stuck: Option<OpId>,
    /// Configurations explored.
    pub(crate) steps: u64,
}

const HEAD: u32 = 0;
/// The bit of a choice that marks an open class instead of a returned operation.
const OPEN: u32 = 1 << 31;

/// Invocations and returns of the operations yet to be placed.
struct List {
    next: Vec<u32>,
    prev: Vec<u32>,
    /// The operation of an entry; its return if the upper bit is set.
    entry: Vec<u32>,
    call: Vec<u32>,
    ret: Vec<u32>,
}

impl List {
    fn new(events: &[(u32, bool)]) -> List {
        let length = events.len() as u32 + 1;
        let mut list = List {
            next: (1..=length).map(|next| if next == length { HEAD } else { next }).collect(),
            prev: (0..length).map(|at| at.wrapping_sub(1)).collect(),
            entry: vec![0],
            call: vec![0; events.len() / 2],
            ret: vec![0; events.len() / 2],
        };
        list.prev[0] = length - 1;
        for (at, &(operation, is_return)) in (1..).zip(events) {
            list.entry.push(operation | if is_return { OPEN } else { 0 });
            let place = if is_return { &mut list.ret } else { &mut list.call };
            place[operation as usize] = at;
        }
        list
    }

    fn unlink(&mut self, at: u32) {
        let (prev, next) = (self.prev[at as usize], self.next[at as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    fn link(&mut self, at: u32) {
        let (prev, next) = (self.prev[at as usize], self.next[at as usize]);
        self.next[prev as usize] = at;
        self.prev[next as usize] = at;
    }

    fn take_out(&mut self, operation: u32) {
        self.unlink(self.call[operation as usize]);
        self.unlink(self.ret[operation as usize]);
    }

    fn put_back(&mut self, operation: u32) {
        self.link(self.ret[operation as usize]);
        self.link(self.call[operation as usize]);
    }
}

/// The choices at one configuration, a range of the list of all choices.
struct Frame {
    first: u32,
    next: u32,
    end: u32,
    /// The length of the trail that led here.
    trail: u32,
}

/// The result of looking at a configuration.
enum Look {
    /// All operations that returned are placed.
    Done,
    /// There are choices.
    Open(Frame),
    /// There are none.
    Dead,
}

/// See the module.
pub(crate) struct Search<'a, M: Model> {
    prepared: &'a Prepared<M>,
    memo: Memo<'a, M>,
    cache: Cache,
    list: List,
    state: u32,
    /// What was placed, each with the state before it.
    trail: Vec<(u32, u32)>,
    /// How many operations of the trail returned.
    placed: usize,
    choices: Vec<(u32, u32)>,
    /// How many instances of each open class are placed, and the same as bits.
    used: Vec<u32>,
    used_bits: Vec<u64>,
    /// For each class, when it was last a choice (the number of configurations explored, and the
    /// index among the choices).
    seen: Vec<(u64, u32)>,
    /// For each question, when it was last a choice.
    asked: Vec<u64>,
    key: Vec<u64>,
    candidates: Vec<u32>,
    steps: u64,
    best: Best,
}

/// The furthest point of the search.
#[derive(Default)]
struct Best {
    /// The rank of the first return yet to come, and how many were placed.
    reached: (u32, usize),
    stuck: u32,
    placed: usize,
    /// The trail's operations at that point, as far as they have been saved.
    path: Vec<(u32, u32)>,
    /// How much of `path` and the trail is equal.
    common: usize,
    /// The length of the trail at that point.
    length: usize,
    /// Is the beginning of the trail, of that length, the best, and not yet saved?
    ahead: bool,
}

impl<'a, M: Model> Search<'a, M> {
    pub(crate) fn new(
        model: &'a M,
        hindsight: Option<&'a Hindsight<M::State, M::Op>>,
        prepared: &'a Prepared<M>,
    ) -> Search<'a, M> {
        let key_words = 1 + (prepared.width as usize).div_ceil(64);
        let used_words = (prepared.open_count as usize).div_ceil(64);
        Search {
            prepared,
            memo: Memo::new(model, hindsight, &prepared.classes),
            cache: Cache::new(key_words, used_words),
            list: List::new(&prepared.events),
            state: 0,
            trail: Vec::new(),
            placed: 0,
            choices: Vec::new(),
            used: vec![0; prepared.open.len()],
            used_bits: vec![0; used_words],
            seen: vec![(0, 0); prepared.classes.len()],
            asked: vec![0; prepared.classes.len()],
            key: vec![0; key_words],
            candidates: Vec::new(),
            steps: 0,
            best: Best::default(),
        }
    }

    pub(crate) fn run(mut self, budget: &Budget<'_>) -> Found {
        let mut frames: Vec<Frame> = Vec::new();
        loop {
            if let Some(why) = self.exhausted(budget) {
                self.save();
                return self.found(Validity::Unknown, Some(why));
            }
            match self.look() {
                Look::Done => {
                    self.best.ahead = true;
                    self.best.placed = self.placed;
                    self.best.length = self.trail.len();
                    self.save();
                    return self.found(Validity::Valid, None);
                }
                Look::Open(frame) => frames.push(frame),
                Look::Dead => {}
            }
            loop {
                let Some(frame) = frames.last_mut() else {
                    self.save();
                    return self.found(Validity::Invalid, None);
                };
                let (trail, next) = (frame.trail as usize, frame.next);
                if next == frame.end {
                    self.choices.truncate(frame.first as usize);
                    frames.pop();
                    continue;
                }
                frame.next += 1;
                self.take_back(trail);
                let (choice, state) = self.choices[next as usize];
                self.place(choice, state);
                break;
            }
        }
    }

    fn exhausted(&self, budget: &Budget<'_>) -> Option<Why> {
        if self.steps >= budget.steps {
            return Some(Why::Steps);
        }
        // The callback and the sums are not free.
        if self.steps.is_multiple_of(1024) {
            if budget.stop.is_some_and(|stop| stop()) {
                return Some(Why::Stopped);
            }
            let trail = (self.trail.capacity() + self.choices.capacity()) * 8;
            let bytes = self.memo.bytes() + self.cache.bytes() + trail;
            if bytes + self.cache.bytes_to_grow() > budget.memory {
                return Some(Why::Memory);
            }
        }
        None
    }

    fn found(self, valid: Validity, why: Option<Why>) -> Found {
        let prepared = self.prepared;
        let mut used = vec![0; prepared.open.len()];
        let mut order = Vec::with_capacity(self.best.path.len());
        for (choice, _) in &self.best.path {
            if choice & OPEN == 0 {
                order.push(prepared.returned[*choice as usize].id);
            } else {
                let class = (choice & !OPEN) as usize;
                order.push(prepared.open[class].instances[used[class]].0);
                used[class] += 1;
            }
        }
        let stuck = (valid != Validity::Valid && !prepared.returned.is_empty())
            .then(|| prepared.returned[self.best.stuck as usize].id);
        Found { valid, why, order, placed: self.best.placed, stuck, steps: self.steps }
    }

    /// Saves the trail if it is the best one.
    fn save(&mut self) {
        if self.best.ahead {
            let best = &mut self.best;
            best.common = best.common.min(best.length);
            best.path.truncate(best.common);
            best.path.extend_from_slice(&self.trail[best.common..best.length]);
            best.common = best.path.len();
            best.ahead = false;
        }
    }

    fn take_back(&mut self, length: usize) {
        if self.trail.len() > length {
            self.save();
            self.best.common = self.best.common.min(length);
        }
        while self.trail.len() > length {
            let (choice, state) = self.trail.pop().expect("it is longer than that");
            self.state = state;
            if choice & OPEN == 0 {
                self.list.put_back(choice);
                self.placed -= 1;
            } else {
                let class = (choice & !OPEN) as usize;
                self.used[class] -= 1;
                let bit = self.prepared.open[class].first_bit + self.used[class];
                self.used_bits[bit as usize / 64] &= !(1 << (bit % 64));
            }
        }
    }

    fn place(&mut self, choice: u32, state: u32) {
        self.trail.push((choice, self.state));
        self.state = state;
        if choice & OPEN == 0 {
            self.list.take_out(choice);
            self.placed += 1;
        } else {
            let class = (choice & !OPEN) as usize;
            let bit = self.prepared.open[class].first_bit + self.used[class];
            self.used_bits[bit as usize / 64] |= 1 << (bit % 64);
            self.used[class] += 1;
        }
    }

    /// Places the reads that fit and lists what could be placed next.
    fn look(&mut self) -> Look {
        self.steps += 1;
        self.candidates.clear();
        self.key.fill(0);
        let mut before = HEAD;
        let first = loop {
            let at = self.list.next[before as usize];
            if at == HEAD {
                return Look::Done;
            }
            let entry = self.list.entry[at as usize];
            if entry & OPEN != 0 {
                break entry & !OPEN;
            }
            let operation = &self.prepared.returned[entry as usize];
            if operation.is_read && self.memo.step(self.state, operation.class) == self.state {
                self.place(entry, self.state);
                continue;
            }
            self.key[1 + operation.slot as usize / 64] |= 1 << (operation.slot % 64);
            self.candidates.push(entry);
            before = at;
        };
        let rank = self.prepared.returned[first as usize].rank;
        if (rank, self.placed) > self.best.reached || self.steps == 1 {
            let best = &mut self.best;
            (best.reached, best.stuck) = ((rank, self.placed), first);
            (best.placed, best.length, best.ahead) = (self.placed, self.trail.len(), true);
        }
        self.key[0] = u64::from(rank) << 32 | u64::from(self.state);
        if !self.cache.insert(&self.key, &self.used_bits) {
            return Look::Dead;
        }
        let start = self.choices.len();
        self.choose_returned();
        self.choose_open(rank);
        if self.choices.len() == start {
            return Look::Dead;
        }
        let (first, end) = (start as u32, self.choices.len() as u32);
        Look::Open(Frame { first, next: first, end, trail: self.trail.len() as u32 })
    }

    fn choose_returned(&mut self) {
        for index in 0..self.candidates.len() {
            let candidate = self.candidates[index];
            let operation = &self.prepared.returned[candidate as usize];
            let state = self.memo.step(self.state, operation.class);
            if state == IMPOSSIBLE {
                continue;
            }
            let (when, place) = self.seen[operation.class as usize];
            if when == self.steps {
                let other = &mut self.choices[place as usize].0;
                if operation.rank < self.prepared.returned[*other as usize].rank {
                    *other = candidate;
                }
                continue;
            }
            self.seen[operation.class as usize] = (self.steps, self.choices.len() as u32);
            self.asked[operation.question as usize] = self.steps;
            self.choices.push((candidate, state));
        }
    }

    fn choose_open(&mut self, rank: u32) {
        let prepared = self.prepared;
        for (index, class) in prepared.open.iter().enumerate() {
            if class.instances[0].1 > rank {
                break; // The classes that follow are not invoked yet either.
            }
            let next = class.instances.get(self.used[index] as usize);
            if next.is_none_or(|(_, invoked)| *invoked > rank) {
                continue;
            }
            let state = self.memo.step(self.state, class.class);
            let changes_nothing = state == IMPOSSIBLE || state == self.state;
            if changes_nothing || self.asked[class.question as usize] == self.steps {
                continue;
            }
            self.choices.push((index as u32 | OPEN, state));
        }
    }
}
