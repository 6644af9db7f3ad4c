//! Counts the bytes that wait to be written, and holds produce requests back while there are too
//! many.
//!
//! A produce with acks=0 is complete once the core has seen it, so the client never slows down to
//! the pace of the disk, and batches would pile up in memory without bound. A connection therefore
//! gives a produce request to the core only while the waiting bytes are below a limit, and reads no
//! further until then. A request counts until the core has taken it and submitted what it wrote to
//! the disk. Those bytes then count until the kernel has them. The time until the answer does not
//! count: a request that waits for followers must not hold up others. The bound covers all
//! directories together, because they share the memory and usually the device.
//!
//! This module also tells when the core has taken a request of any kind, for callers that must not
//! give it two large requests at a time.
//!
//! A follower's appends need no such bound: it fetches again only when what it fetched is written.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    limit: u64,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes submitted to the disk that the kernel has not taken yet.
    queued: u64,
    /// The sizes of requests that the core has not taken yet, in order.
    requests: VecDeque<u64>,
    /// Their sum.
    admitted: u64,
    /// Requests of any kind given to the core since the start.
    given: u64,
    /// How many of them the core has stepped.
    stepped: u64,
}

impl Backlog {
    /// An empty backlog. New requests wait while `limit` bytes or more are waiting.
    pub fn new(limit: u64) -> Backlog {
        Backlog { limit, state: Mutex::default(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bytes` were submitted to the disk.
    pub(crate) fn submitted(&self, bytes: u64) {
        self.lock().queued += bytes;
    }

    /// The kernel took `bytes`, or they will never be written.
    pub(crate) fn taken(&self, bytes: u64) {
        self.lock().queued -= bytes;
        self.room.notify_waiters();
    }

    /// Waits until there is room for a request of any size, and takes it. The caller gives the
    /// request to the core as soon as this returns: the core takes requests in the order of
    /// admission.
    pub(crate) async fn admit(&self, bytes: u64) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.lock();
                if state.queued + state.admitted < self.limit {
                    state.admitted += bytes;
                    state.requests.push_back(bytes);
                    return;
                }
            }
            room.await;
        }
    }

    /// Counts a request of any kind that the caller gives to the core at once. Returns its sequence
    /// number, for [`Backlog::until_taken`].
    pub(crate) fn gives(&self) -> u64 {
        let mut state = self.lock();
        state.given += 1;
        state.given
    }

    /// Waits until the core has stepped that request, that is, answered or parked it.
    pub(crate) async fn until_taken(&self, request: u64) {
        loop {
            let stepped = self.room.notified();
            if self.lock().stepped >= request {
                return;
            }
            stepped.await;
        }
    }

    /// The core has taken `requests` more requests, `produces` of them produces, and what it wrote
    /// was submitted.
    pub(crate) fn stepped(&self, requests: usize, produces: usize) {
        let mut state = self.lock();
        state.stepped += requests as u64;
        for _ in 0..produces.min(state.requests.len()) {
            let bytes = state.requests.pop_front().expect("no more than there are");
            state.admitted -= bytes;
        }
        drop(state);
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn requests_wait_while_too_much_waits_for_the_disk() {
        let backlog = Arc::new(Backlog::new(100));
        let soon = Duration::from_millis(10);
        backlog.admit(1000).await;
        tokio::time::timeout(soon, backlog.admit(1)).await.expect_err("the first is too large");
        // The core has taken the request, so its bytes now count as the disk's.
        backlog.submitted(1000);
        backlog.stepped(1, 1);
        let waiting = tokio::spawn({
            let backlog = Arc::clone(&backlog);
            async move { backlog.admit(1).await }
        });
        tokio::time::sleep(soon).await;
        backlog.taken(900);
        tokio::time::sleep(soon).await;
        assert!(!waiting.is_finished(), "the limit is reached still");
        backlog.taken(1);
        waiting.await.expect("it ends");
        assert_eq!(backlog.lock().admitted, 1);
        backlog.stepped(1, 1);
        let state = backlog.lock();
        assert_eq!((state.queued, state.admitted), (99, 0));
    }
}
