//! How many connections may be open, and that no listener takes the room of another: clients that
//! come by the thousand must not lock out the peers of a node, by whom it becomes ready and stays so.
//! Kafka protects the listener between brokers likewise (KIP-402). A single listener has no such
//! room: who comes in there cannot be told apart before it has spoken.

use std::collections::BTreeMap;

use wavetank_core::event::ListenerId;

/// Most that a listener has for itself alone: more than the peers of any quorum open.
const MOST_OWN: usize = 64;

/// Who is in.
#[derive(Debug)]
pub(super) struct Room {
    /// What each listener has for itself alone.
    own: usize,
    /// What they share beyond that.
    shared: usize,
    open: BTreeMap<ListenerId, usize>,
}

impl Room {
    /// `most` connections through these listeners, but at least one through each. A quarter of them
    /// is divided among the listeners, if there are several.
    pub(super) fn new(most: usize, listeners: &[ListenerId]) -> Room {
        let open: BTreeMap<_, _> = listeners.iter().map(|listener| (*listener, 0)).collect();
        let own = match open.len() {
            0 | 1 => 0,
            several => (most / 4 / several).clamp(1, MOST_OWN),
        };
        Room { own, shared: most.saturating_sub(own * open.len()), open }
    }

    /// Lets one in, if there is room.
    pub(super) fn enter(&mut self, listener: ListenerId) -> bool {
        let shared: usize = self.open.values().map(|open| open.saturating_sub(self.own)).sum();
        let open = self.open.entry(listener).or_default();
        let fits = *open < self.own || shared < self.shared;
        *open += usize::from(fits);
        fits
    }

    /// One that was let in has gone.
    pub(super) fn leave(&mut self, listener: ListenerId) {
        let open = self.open.entry(listener).or_default();
        *open = open.checked_sub(1).expect("who leaves was let in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(room: &mut Room, listener: u16, times: usize) -> usize {
        (0..times).filter(|_| room.enter(ListenerId::Broker(listener))).count()
    }

    #[test]
    fn one_listener_has_all_the_room() {
        let mut room = Room::new(20, &[ListenerId::Broker(0)]);
        assert_eq!(enter(&mut room, 0, 60), 20);
        room.leave(ListenerId::Broker(0));
        assert_eq!(enter(&mut room, 0, 60), 1);
    }

    #[test]
    fn no_listener_takes_the_room_of_another() {
        let listeners = [0, 1, 2].map(ListenerId::Broker);
        let mut room = Room::new(448, &listeners);
        assert_eq!(enter(&mut room, 0, 1000), 448 - 2 * 37);
        assert_eq!(enter(&mut room, 1, 1000), 37);
        assert_eq!(enter(&mut room, 2, 1000), 37);
        // What a listener has for itself is nobody else's when it is left, either.
        room.leave(ListenerId::Broker(2));
        assert_eq!(enter(&mut room, 0, 10) + enter(&mut room, 1, 10), 0);
        assert_eq!(enter(&mut room, 2, 10), 1);
        room.leave(ListenerId::Broker(0));
        assert_eq!(enter(&mut room, 1, 10), 1);
    }

    #[test]
    fn the_least_room_is_one_for_each() {
        let mut room = Room::new(1, &[0, 1].map(ListenerId::Broker));
        assert_eq!((enter(&mut room, 0, 5), enter(&mut room, 1, 5)), (1, 1));
    }
}
