//! How many bytes wait to be written, and who has to wait because of that.
//!
//! A produce with acks=0 is over when the core has seen it, so nothing that a client does slows it
//! down to the pace of the disk; batches would wait in memory without bound. So a connection gives
//! a produce request to the core only while what waits is below a limit, and does not read on
//! before. A request counts until the core has taken it and what it wrote is the disk's; from then
//! on those bytes count until the kernel has them. How long its answer takes does not count: whoever
//! waits for followers must not make others wait. The bound is on all directories together: they
//! share the memory, and mostly the device.
//!
//! The same place tells when the core has taken a request of any kind, for whoever must not give it
//! two large ones at a time.
//!
//! What followers append needs no such bound: each fetches again only when what it fetched is
//! written.

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
    /// Submitted to the disk, and not taken by the kernel yet.
    queued: u64,
    /// The sizes of requests that the core has not taken yet, in order.
    requests: VecDeque<u64>,
    /// Their sum.
    admitted: u64,
    /// Requests of any kind that the core was given, ever.
    given: u64,
    /// Those that it has stepped.
    stepped: u64,
}

impl Backlog {
    /// Nothing waits yet. New requests wait while `limit` bytes or more do.
    pub fn new(limit: u64) -> Backlog {
        Backlog { limit, state: Mutex::default(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes were submitted to the disk.
    pub(crate) fn submitted(&self, bytes: u64) {
        self.lock().queued += bytes;
    }

    /// The kernel took so many, or they will never be written.
    pub(crate) fn taken(&self, bytes: u64) {
        self.lock().queued -= bytes;
        self.room.notify_waiters();
    }

    /// Waits until there is room for a request of any size, and takes it. The request is given to
    /// the core at once when this returns: the core takes requests in the order of admission.
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

    /// The core is given a request of any kind, at once; which it is, for [`Backlog::until_taken`].
    pub(crate) fn gives(&self) -> u64 {
        let mut state = self.lock();
        state.given += 1;
        state.given
    }

    /// Waits until the core has stepped that request: it is answered, or parked.
    pub(crate) async fn until_taken(&self, request: u64) {
        loop {
            let stepped = self.room.notified();
            if self.lock().stepped >= request {
                return;
            }
            stepped.await;
        }
    }

    /// The core has taken so many more requests, of which so many are produces, and what it wrote was
    /// submitted.
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
        // The core has seen the request: its bytes are the disk's now.
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
