//! Memory for large requests, while they arrive and while they are in use:
//! `queued.max.request.bytes`.
//!
//! It is taken as bytes arrive, never for a length that is only declared. A client that sends half
//! a request and then nothing must not keep memory from the others. So no address may hold more
//! than half of it; and while somebody waits, the request that brings the least for what it holds
//! is cut off first. A good client sends a megabyte within seconds. A request that holds fifty
//! megabytes must then bring five a second; while there is enough memory for all, it only needs to
//! make some progress (see `frame`).
//!
//! Requests that each hold a part and wait for more would deadlock. Then the one that came last is
//! cut off, so that the first makes progress.
//!
//! A second instance counts the produces that are read while others of their connection are under
//! way. Nobody waits for it: without memory, they are read when the earlier ones are answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Granularity of the memory, in bytes.
pub(super) const UNIT: usize = 256 << 10;

/// How long a request may wait for memory.
pub(super) const MEMORY_WAIT: Duration = Duration::from_secs(30);

/// After a wait of this length, another request is cut off.
const SHORT: Duration = Duration::from_secs(1);

/// How often a waiting request checks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// No request is cut off within this time of being given memory.
const GRACE: Duration = Duration::from_secs(1);

/// While memory is short, a request's bytes must arrive fast enough to bring all that it holds
/// within this many seconds.
const PACE: usize = 10;

/// The source that a request counts against: an IPv4 address, or the /64 network of an IPv6
/// address, because every IPv6 host has many addresses.
pub(super) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// Why no memory was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It stayed taken for [`MEMORY_WAIT`].
    Taken,
    /// Others wait, and this one makes the least progress.
    Dropped,
}

/// The memory for all large requests.
#[derive(Debug)]
pub(super) struct Memory {
    /// In bytes.
    limit: usize,
    /// The most that one source may hold, in bytes.
    per_source: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    by_source: BTreeMap<IpAddr, usize>,
    /// Requests that hold memory or wait for it, in the order of arrival.
    holders: BTreeMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    source: IpAddr,
    bytes: usize,
    stage: Stage,
    /// When it was last given memory after a wait.
    since: Instant,
    pace: Pace,
    dropped: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its bytes are arriving.
    Coming,
    /// It waits for more memory.
    Waiting,
    /// All of it has arrived, and the core has it.
    Whole,
    /// It has been told to give back what it holds.
    Dropped,
}

/// Bytes that arrived within this second and the one before.
#[derive(Clone, Copy, Debug)]
struct Pace {
    second: Instant,
    now: usize,
    before: usize,
}

impl Pace {
    fn turn(&mut self, at: Instant) {
        let second = Duration::from_secs(1);
        match at.saturating_duration_since(self.second) {
            elapsed if elapsed >= 2 * second => *self = Pace { second: at, now: 0, before: 0 },
            elapsed if elapsed >= second => {
                *self = Pace { second: self.second + second, now: 0, before: self.now };
            }
            _ => {}
        }
    }
}

/// The memory of one request, given back on drop.
#[derive(Debug)]
pub(super) struct Hold {
    memory: Arc<Memory>,
    id: u64,
    dropped: Arc<Notify>,
}

impl Memory {
    /// `bytes` of memory, for requests of up to `largest` bytes.
    pub(super) fn new(bytes: usize, largest: usize) -> Memory {
        let limit = bytes.max(largest) / UNIT * UNIT;
        let per_source = (limit / 2).max(largest).min(limit);
        Memory { limit, per_source, state: Mutex::default(), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a request of this source that begins to need memory.
    pub(super) fn hold(self: &Arc<Memory>, source: IpAddr) -> Hold {
        let (now, dropped) = (Instant::now(), Arc::new(Notify::new()));
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let holder = Holder {
            source,
            bytes: 0,
            stage: Stage::Coming,
            since: now,
            pace: Pace { second: now, now: 0, before: 0 },
            dropped: Arc::clone(&dropped),
        };
        state.holders.insert(id, holder);
        Hold { memory: Arc::clone(self), id, dropped }
    }

    /// Memory for a request of this source, if there is enough now. It is not told to give it back.
    pub(super) fn try_hold(self: &Arc<Memory>, source: IpAddr, bytes: usize) -> Option<Hold> {
        let hold = self.hold(source);
        let given = self.lock().try_grow(hold.id, bytes, self);
        hold.whole();
        given.then_some(hold)
    }

    /// Of the requests that hold memory which `id` waits for, cuts off the one that makes the least
    /// progress, if any is too slow.
    fn drop_one(&self, id: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(waiting) = state.holders.get(&id).map(|holder| holder.source) else { return };
        // If its own source is at the limit, memory of other sources would not help.
        let full = state.by_source.get(&waiting).is_some_and(|held| held + UNIT > self.per_source);
        let involved = state
            .holders
            .iter_mut()
            .filter(|(_, holder)| holder.bytes > 0)
            .filter(|(_, holder)| !full || holder.source == waiting);
        let involved: Vec<(u64, &mut Holder)> =
            involved.map(|(id, holder)| (*id, holder)).collect();
        if involved.iter().any(|(_, holder)| holder.stage == Stage::Dropped) {
            return;
        }
        let all_wait = involved.iter().all(|(_, holder)| holder.stage == Stage::Waiting);
        let victim = if all_wait {
            involved.into_iter().next_back()
        } else {
            involved
                .into_iter()
                .filter_map(|(id, holder)| Some((holder.lag(now)?, (id, holder))))
                .max_by_key(|(lag, _)| *lag)
                .map(|(_, victim)| victim)
        };
        if let Some((_, holder)) = victim {
            holder.stage = Stage::Dropped;
            holder.dropped.notify_one();
        }
    }
}

impl State {
    /// Takes memory up to `bytes` in all. False if there is not enough.
    fn try_grow(&mut self, id: u64, bytes: usize, memory: &Memory) -> bool {
        let holder = self.holders.get_mut(&id).expect("it is there until it is dropped");
        let of_source = self.by_source.entry(holder.source).or_default();
        let more = bytes.saturating_sub(holder.bytes);
        let fits = self.held + more <= memory.limit && *of_source + more <= memory.per_source;
        if !fits {
            if holder.stage == Stage::Coming {
                holder.stage = Stage::Waiting;
            }
            return false;
        }
        if holder.stage == Stage::Waiting {
            holder.stage = Stage::Coming;
            holder.since = Instant::now();
        }
        holder.bytes += more;
        *of_source += more;
        self.held += more;
        true
    }
}

impl Holder {
    /// How many seconds all that it holds would take at the pace at which its bytes arrive. `None`
    /// if that is fast enough, or if the delay is not its fault.
    fn lag(&mut self, now: Instant) -> Option<usize> {
        if self.stage != Stage::Coming || now.saturating_duration_since(self.since) < GRACE {
            return None;
        }
        self.pace.turn(now);
        // Of two that bring nothing, the one that holds more has the greater lag.
        let lag = self.bytes / self.pace.now.max(self.pace.before).max(1);
        (lag >= PACE).then_some(lag)
    }
}

impl Hold {
    /// Takes memory up to `bytes` in all, or waits for it.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let bytes = bytes / UNIT * UNIT;
        let since = Instant::now();
        loop {
            // Registered before the check, so that no notification is missed.
            let freed = self.memory.freed.notified();
            if self.memory.lock().try_grow(self.id, bytes, &self.memory) {
                return Ok(());
            }
            if since.elapsed() >= MEMORY_WAIT {
                return Err(Refused::Taken);
            }
            if since.elapsed() >= SHORT {
                self.memory.drop_one(self.id);
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.dropped.notified() => return Err(Refused::Dropped),
            }
        }
    }

    /// `bytes` of it arrived.
    pub(super) fn came(&self, bytes: usize) {
        let now = Instant::now();
        if let Some(holder) = self.memory.lock().holders.get_mut(&self.id) {
            holder.pace.turn(now);
            holder.pace.now += bytes;
        }
    }

    /// All of it has arrived.
    pub(super) fn whole(&self) {
        if let Some(holder) = self.memory.lock().holders.get_mut(&self.id) {
            holder.stage = Stage::Whole;
        }
    }

    /// Returns when others need the memory and this request must give it back.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.memory.lock();
        let Some(holder) = state.holders.remove(&self.id) else { return };
        state.held -= holder.bytes;
        if let Some(of_source) = state.by_source.get_mut(&holder.source) {
            *of_source -= holder.bytes;
            if *of_source == 0 {
                state.by_source.remove(&holder.source);
            }
        }
        drop(state);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn holding(memory: &Arc<Memory>, last: u8, bytes: usize) -> Hold {
        let mut hold = memory.hold(from(last));
        hold.grow(bytes).await.expect("there is enough");
        hold
    }

    fn is_empty(memory: &Memory) -> bool {
        let state = memory.lock();
        state.held == 0 && state.by_source.is_empty() && state.holders.is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_has_half_of_it() {
        let memory = Arc::new(Memory::new(16 * MIB, MIB));
        let first = holding(&memory, 1, 8 * MIB).await;
        first.whole();
        let mut more = memory.hold(from(1));
        assert_eq!(more.grow(MIB).await, Err(Refused::Taken), "it has its half");
        drop(holding(&memory, 2, 8 * MIB).await);
        drop((first, more));
        assert!(is_empty(&memory));
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_the_least_for_what_it_holds_makes_room() {
        let memory = Arc::new(Memory::new(16 * MIB, 8 * MIB));
        let quick = holding(&memory, 1, 6 * MIB).await;
        let slow = holding(&memory, 2, 6 * MIB).await;
        let used = holding(&memory, 3, 4 * MIB).await;
        used.whole();
        let good = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move {
                let since = Instant::now();
                let mut hold = memory.hold(from(4));
                (hold.grow(MIB).await, since.elapsed())
            }
        });
        let coming = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                quick.came(100 << 10);
                slow.came(10 << 10);
            }
        };
        tokio::select! {
            () = coming => {}
            () = slow.dropped() => {}
            () = quick.dropped() => panic!("it brings a sixth of what it holds each second"),
            () = used.dropped() => panic!("all of it has come"),
        }
        drop(slow);
        let (given, waited) = good.await.expect("it ends");
        assert_eq!(given, Ok(()));
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }

    /// No request is too slow, so the last to come waits.
    #[tokio::test(start_paused = true)]
    async fn who_gets_on_is_left_alone() {
        let memory = Arc::new(Memory::new(16 * MIB, 16 * MIB));
        let quick = holding(&memory, 1, 16 * MIB).await;
        let coming = async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                quick.came(MIB / 4);
            }
        };
        let mut good = memory.hold(from(2));
        tokio::select! {
            () = coming => {}
            () = quick.dropped() => panic!("it gets on"),
            given = good.grow(MIB) => panic!("{given:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_each_other() {
        let memory = Arc::new(Memory::new(16 * MIB, 12 * MIB));
        let mut first = holding(&memory, 1, 8 * MIB).await;
        let mut last = holding(&memory, 2, 8 * MIB).await;
        let give_up = async {
            let refused = last.grow(12 * MIB).await;
            drop(last);
            refused
        };
        let (given, refused) = tokio::join!(first.grow(12 * MIB), give_up);
        assert_eq!((given, refused), (Ok(()), Err(Refused::Dropped)));
        drop(first);
        assert!(is_empty(&memory));
    }

    #[test]
    fn sources() {
        let of = |text: &str| source(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
