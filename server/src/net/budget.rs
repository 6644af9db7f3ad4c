//! The budget for bytes that wait to be sent on all connections: `queued.max.response.bytes`.
//!
//! A connection sends one large answer at a time: a request other than a produce goes to the core
//! only when the answers before are sent. But an answer may be fifty megabytes, and thousands of
//! clients may not read theirs. So the size
//! that a fetch may return shrinks as the budget fills: to a quarter of what is left of the first
//! half, but at least [`FLOOR`], with which a good client still makes progress. When the whole
//! budget is taken, no client request with a large answer goes to the core. When half of it is
//! taken, connections of clients that read nothing are closed sooner.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wavetank_core::msg::{Answer, Request};
use wavetank_core::types::NodeId;

/// What a fetch may always return, in bytes. (A larger first batch is returned whole, KIP-74.)
const FLOOR: usize = 256 << 10;

/// Counts the bytes of outgoing answers.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// Bytes of answers that wait to be sent.
    waiting: usize,
    /// Bytes that answers still expected from the core may have.
    promised: usize,
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    promised: bool,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Budget {
        Budget { limit, taken: Mutex::default(), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so much waits that clients which read nothing should be closed sooner.
    pub(super) fn is_tight(&self) -> bool {
        self.lock().waiting > self.limit / 2
    }

    /// Whether all of it is taken.
    pub(super) fn is_full(&self) -> bool {
        self.lock().waiting >= self.limit
    }

    /// Waits until less than all of it is taken.
    async fn room(&self) {
        loop {
            // Registered before the check, so that no notification is missed.
            let freed = self.freed.notified();
            if !self.is_full() {
                return;
            }
            freed.await;
        }
    }

    /// Waits until this request may go to the core, and bounds what a fetch may return.
    pub(super) async fn admit(self: &Arc<Budget>, request: &mut Request) -> Option<Share> {
        let is_large = match request.api().properties().answer {
            Answer::Small => false,
            Answer::Listing | Answer::Records => true,
        };
        let is_client = request.replica().is_none_or(|replica| replica == NodeId::NONE);
        if is_large && is_client {
            self.room().await;
        }
        let Request::Fetch(fetch) = request else { return None };
        let asked = usize::try_from(fetch.max_bytes).unwrap_or(0);
        let granted = {
            let mut taken = self.lock();
            let left = (self.limit / 2).saturating_sub(taken.waiting + taken.promised);
            let granted = asked.min((left / 4).max(FLOOR));
            taken.promised += granted;
            granted
        };
        fetch.max_bytes = i32::try_from(granted).unwrap_or(i32::MAX);
        Some(Share { budget: Arc::clone(self), bytes: granted, promised: true })
    }

    /// Counts an answer of `bytes` that begins to wait.
    pub(super) fn queue(self: &Arc<Budget>, bytes: usize) -> Share {
        self.lock().waiting += bytes;
        Share { budget: Arc::clone(self), bytes, promised: false }
    }

    fn give_back(&self, bytes: usize, promised: bool) {
        let mut taken = self.lock();
        if promised {
            taken.promised -= bytes;
        } else {
            let was_full = taken.waiting >= self.limit;
            taken.waiting -= bytes;
            if was_full && taken.waiting < self.limit {
                self.freed.notify_waiters();
            }
        }
    }
}

impl Share {
    /// Gives back `bytes` that are sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.give_back(bytes, self.promised);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes, self.promised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wavetank_core::msg::{FetchRequest, MetadataRequest};

    fn fetch() -> Request {
        let replica = NodeId::NONE;
        Request::Fetch(FetchRequest { replica, max_bytes: 50 << 20, ..FetchRequest::default() })
    }

    #[test]
    fn fetches_shrink_as_the_budget_fills() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let budget = Arc::new(Budget::new(256 << 20));
        runtime.block_on(async {
            let mut shares = Vec::new();
            let mut granted = Vec::new();
            for _ in 0..40 {
                let mut request = fetch();
                shares.push(budget.admit(&mut request).await.expect("a share"));
                let Request::Fetch(fetch) = request else { unreachable!() };
                granted.push(fetch.max_bytes as usize);
            }
            assert_eq!(granted[0], 32 << 20);
            assert_eq!(granted[39], FLOOR);
            assert!(granted.is_sorted_by(|a, b| a >= b), "{granted:?}");
            assert!(granted.iter().sum::<usize>() < (128 << 20) + 40 * FLOOR);
            drop(shares);

            // All of it waits for clients that do not read.
            let mut stuck = budget.queue(256 << 20);
            assert!(budget.is_tight());
            let mut metadata = Request::Metadata(MetadataRequest::default());
            let wait = Duration::from_secs(1);
            let blocked = tokio::time::timeout(wait, budget.admit(&mut metadata)).await;
            assert!(blocked.is_err(), "the core is asked for nothing more");
            let mut replica =
                Request::Fetch(FetchRequest { replica: NodeId(2), ..Default::default() });
            let passed = tokio::time::timeout(wait, budget.admit(&mut replica)).await;
            assert!(passed.is_ok(), "but nodes go on among themselves");
            stuck.sent(1 << 20);
            let passed = tokio::time::timeout(wait, budget.admit(&mut metadata)).await;
            assert!(passed.is_ok());
        });
        let taken = budget.lock();
        assert_eq!(taken.waiting + taken.promised, 0, "all is given back");
    }
}
