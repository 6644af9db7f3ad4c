//! Fair turns at something that only one may do at a time.
//!
//! Each address has a queue, and the queues take turns, so that two hundred connections of one
//! client delay another client no more than one connection does. A connection decodes one request
//! at a time, and so has one place. There are three kinds of requests, and none waits for another
//! kind's queue to empty: of five turns, peers and produces get two each, if they want them. A
//! client that pretends to be a peer gains no more than that.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests of other nodes.
    Peer,
    /// Produces of clients.
    Produce,
    /// Everything else.
    Other,
}

/// Which kind comes first, turn by turn.
const ORDER: [Kind; 5] = [Kind::Peer, Kind::Produce, Kind::Peer, Kind::Produce, Kind::Other];

/// Gives the turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody has the turn.
    taken: bool,
    /// The next index in [`ORDER`].
    next: usize,
    peers: Queue,
    produces: Queue,
    others: Queue,
}

/// Requests that wait, by address.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<IpAddr>,
    waiting: BTreeMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
}

/// The turn. Dropping it passes the turn on.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` once it has been passed on.
    turns: Option<Arc<Turns>>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Turns>, source: IpAddr, kind: Kind) -> Turn {
        let turn = {
            let mut state = self.lock();
            if !state.taken {
                state.taken = true;
                return Turn { turns: Some(Arc::clone(self)) };
            }
            let (sender, turn) = oneshot::channel();
            state.queue(kind).push(source, sender);
            turn
        };
        turn.await.expect("whoever waits is given a turn")
    }
}

impl State {
    fn queue(&mut self, kind: Kind) -> &mut Queue {
        match kind {
            Kind::Peer => &mut self.peers,
            Kind::Produce => &mut self.produces,
            Kind::Other => &mut self.others,
        }
    }

    /// Takes the next request out.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        for ahead in 0..ORDER.len() {
            let place = (self.next + ahead) % ORDER.len();
            if let Some(sender) = self.queue(ORDER[place]).pop() {
                self.next = (place + 1) % ORDER.len();
                return Some(sender);
            }
        }
        None
    }
}

impl Queue {
    fn push(&mut self, source: IpAddr, sender: oneshot::Sender<Turn>) {
        let waiting = self.waiting.entry(source).or_default();
        if waiting.is_empty() {
            self.order.push_back(source);
        }
        waiting.push_back(sender);
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let source = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&source)?;
        let sender = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&source);
        } else {
            self.order.push_back(source);
        }
        sender
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        loop {
            let next = {
                let mut state = turns.lock();
                let next = state.pop();
                state.taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn { turns: Some(Arc::clone(&turns)) }) {
                Ok(()) => return,
                // Its connection is gone meanwhile. (Emptied, or its drop would pass the turn on.)
                Err(mut back) => back.turns = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Queues these in order while somebody has the turn, and returns the order in which they got
    /// it.
    async fn served(waiting: &[(u8, Kind)]) -> Vec<(u8, Kind)> {
        let turns = Arc::new(Turns::default());
        let first = turns.turn(from(0), Kind::Other).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (last, kind) in waiting.iter().copied() {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = turns.turn(from(last), kind).await;
                order.lock().expect("no panic").push((last, kind));
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("it gets its turn");
        }
        assert!(!turns.lock().taken);
        order.lock().expect("no panic").clone()
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let mut waiting = vec![(1, Kind::Other); 50];
        waiting.push((2, Kind::Other));
        waiting.push((3, Kind::Other));
        let served = served(&waiting).await;
        assert_eq!(served[..4].iter().map(|(last, _)| *last).collect::<Vec<_>>(), [1, 2, 3, 1]);
    }

    #[tokio::test]
    async fn no_kind_waits_for_the_end_of_another() {
        let mut waiting = vec![(1, Kind::Other); 20];
        waiting.extend([(1, Kind::Produce); 20]);
        waiting.extend([(1, Kind::Peer); 20]);
        let served = served(&waiting).await;
        let of = |kind| served[..10].iter().filter(|(_, served)| *served == kind).count();
        assert_eq!((of(Kind::Peer), of(Kind::Produce), of(Kind::Other)), (4, 4, 2));
        assert_eq!(served.len(), 60);
    }

    /// A connection that is closed while it waits, or just when it is given the turn.
    #[tokio::test]
    async fn who_has_gone_is_passed_over() {
        let turns = Arc::new(Turns::default());
        let first = turns.turn(from(0), Kind::Other).await;
        let soon = Duration::from_millis(1);
        for _ in 0..1000 {
            let waits = tokio::time::timeout(soon / 100, turns.turn(from(1), Kind::Peer));
            assert!(waits.await.is_err());
        }
        let mut given = Box::pin(turns.turn(from(2), Kind::Produce));
        assert!(tokio::time::timeout(soon, &mut given).await.is_err());
        drop(first);
        // It has been given the turn, but has not noticed yet.
        drop(given);
        let next = tokio::time::timeout(10 * soon, turns.turn(from(3), Kind::Other));
        next.await.expect("it is free");
    }
}
