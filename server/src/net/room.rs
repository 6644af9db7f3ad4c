//! Bounds the number of open connections, and reserves some for each listener: thousands of clients
//! must not lock out a node's peers, which it needs to become and stay ready. Kafka protects the
//! inter-broker listener in the same way (KIP-402). A single listener has nothing to reserve,
//! because connections cannot be told apart before they have sent something.

use std::collections::BTreeMap;

use wavetank_core::event::ListenerId;

/// Maximum connections reserved for one listener: more than the peers of any quorum open.
const MOST_OWN: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Room {
    /// Connections reserved for each listener.
    own: usize,
    /// Connections that the listeners share beyond that.
    shared: usize,
    open: BTreeMap<ListenerId, usize>,
}

impl Room {
    /// `most` connections through these listeners, but at least one through each. If there are
    /// several, a quarter is reserved, divided among them.
    pub(super) fn new(most: usize, listeners: &[ListenerId]) -> Room {
        let open: BTreeMap<_, _> = listeners.iter().map(|listener| (*listener, 0)).collect();
        let own = match open.len() {
            0 | 1 => 0,
            several => (most / 4 / several).clamp(1, MOST_OWN),
        };
        Room { own, shared: most.saturating_sub(own * open.len()), open }
    }

    /// Admits a connection, if there is room.
    pub(super) fn enter(&mut self, listener: ListenerId) -> bool {
        let shared: usize = self.open.values().map(|open| open.saturating_sub(self.own)).sum();
        let open = self.open.entry(listener).or_default();
        let fits = *open < self.own || shared < self.shared;
        *open += usize::from(fits);
        fits
    }

    /// An admitted connection is closed.
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
        // A reserved connection that is closed is not given to other listeners.
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
