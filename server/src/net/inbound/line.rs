//! The requests of one connection that are under way, shared between its two halves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use wavetank_core::msg::Response;
use wavetank_core::pipeline::{Class, Departure, Outcome, Pipeline};

use super::Reply;
use crate::net::budget::Share;
use crate::net::codec::Context;
use crate::net::frame::Frame;
use crate::net::memory::Hold;

/// The most bytes of requests that are under way on one connection, unless one alone is larger.
const MOST_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    pipeline: Pipeline<Entry, Answer>,
    /// Bytes of the requests' frames.
    bytes: usize,
    /// Answers can no longer be sent.
    broken: bool,
}

/// What is kept of a request until its answer has been sent.
pub(super) struct Entry {
    /// How to encode the answer.
    pub(super) context: Context,
    /// Whether another node asks.
    pub(super) is_peer: bool,
    /// The length of its frame.
    pub(super) bytes: usize,
    /// What the answer may take of the budget, until there is one.
    pub(super) promised: Option<Share>,
    /// The frame, if the request refers to it.
    pub(super) _frame: Option<Frame>,
    /// The memory for a frame that was read while others were under way.
    pub(super) _ahead: Option<Hold>,
}

/// An answer that waits for the earlier ones.
pub(super) enum Answer {
    /// Of the core.
    Core(Response),
    /// What the header of the request alone determined.
    Encoded(Vec<Bytes>),
}

/// What is to be sent next.
pub(super) enum Next {
    Answer { context: Context, is_peer: bool, answer: Answer },
    Close,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, unless the process ends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves at the next change after this call.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().pipeline.is_empty()
    }

    pub(super) fn has_only_produces(&self) -> bool {
        self.lock().pipeline.has_only_produces()
    }

    pub(super) fn admits(&self, class: Class) -> bool {
        self.lock().pipeline.admits(class)
    }

    /// Whether a produce with a frame of this length may follow those under way.
    pub(super) fn has_room_for_produce(&self, length: usize) -> bool {
        let state = self.lock();
        state.pipeline.admits(Class::Produce) && state.bytes.saturating_add(length) <= MOST_BYTES
    }

    /// See [`Pipeline::start`].
    pub(super) fn start(&self, class: Class, entry: Entry) -> u32 {
        let mut state = self.lock();
        state.bytes += entry.bytes;
        state.pipeline.start(class, entry)
    }

    /// The core has ended a request.
    pub(super) fn end(&self, number: u32, reply: Reply) {
        let outcome = match reply {
            Reply::Response(response) => Outcome::Answer(Answer::Core(response)),
            Reply::Nothing => Outcome::Nothing,
            Reply::Disconnect => Outcome::Close,
        };
        self.ended(number, outcome);
    }

    /// The answer to a request that the core does not see.
    pub(super) fn end_encoded(&self, number: u32, parts: Vec<Bytes>) {
        self.ended(number, Outcome::Answer(Answer::Encoded(parts)));
    }

    fn ended(&self, number: u32, outcome: Outcome<Answer>) {
        let mut state = self.lock();
        if let Some(entry) = state.pipeline.waiting(number) {
            entry.promised = None;
        }
        state.pipeline.end(number, outcome);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes what is to be sent next, if it is known.
    pub(super) fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        Some(match state.pipeline.depart()? {
            Departure::Close => Next::Close,
            Departure::Answer(entry, answer) => {
                let Entry { context, is_peer, .. } = *entry;
                Next::Answer { context, is_peer, answer }
            }
        })
    }

    /// Whether anything was taken, or has ended without an answer, and is still under way.
    pub(super) fn is_leaving(&self) -> bool {
        self.lock().pipeline.is_leaving()
    }

    /// All that was taken has been sent, or cannot be.
    pub(super) fn sent(&self) {
        let mut state = self.lock();
        state.pipeline.sent();
        state.bytes = state.pipeline.under_way().map(|entry| entry.bytes).sum();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Nothing more can be sent.
    pub(super) fn broke(&self) {
        self.lock().broken = true;
        self.changed.notify_waiters();
    }

    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// Returns when nothing is under way, or nothing more can be sent.
    pub(super) async fn finished(&self) {
        loop {
            let changed = self.changed();
            if self.is_empty() || self.is_broken() {
                return;
            }
            changed.await;
        }
    }

    /// Returns when nothing more can be sent.
    pub(super) async fn broken(&self) {
        loop {
            let changed = self.changed();
            if self.is_broken() {
                return;
            }
            changed.await;
        }
    }
}
