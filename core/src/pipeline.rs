//! Which requests of one connection may be under way at the same time, and the order in which their
//! answers leave. Both drivers follow it: the server and the tank's world.
//!
//! Kafka handles the requests of a connection one at a time: it mutes the channel from a request to
//! its answer (`SocketServer.Processor`). A client with five produces in flight then waits five
//! times for a sync, or for the followers. Here several produces may be under way, so that one sync
//! serves them all. Answers, errors and the log must be such as Kafka could give one at a time:
//!
//! - **Produces with an answer** may follow each other. They are delivered in the order of sending,
//!   and a leader appends in the step in which a request is delivered, so the log has Kafka's
//!   order. Whether Kafka appends a batch does not depend on the answer to the request before, only
//!   on the state that it finds: behind a produce that failed or timed out, the next one is
//!   appended or refused on its own merits, there as here.
//! - **A produce without an answer** (acks=0) may follow them, but nothing follows it until it has
//!   ended. An error closes the connection, and Kafka never reads what the client sent behind it.
//! - **Every other request** is alone. It starts when all earlier ones are answered and the answers
//!   sent, because its result may depend on theirs: an acknowledged record is in every later answer
//!   that covers it. It may also change what a produce behind it finds, as CreateTopics does, or
//!   wait, as a fetch does. And a client that does not read its answers gets only one large one.
//! - **Answers leave in the order of the requests.** When the connection is closed instead of an
//!   answer, the earlier answers leave first. Whatever was behind has no answer.
//!
//! One difference can be seen, by other clients: of two produces to different partitions, the
//! second may become visible before the first is committed. In Kafka it is not yet appended then.
//! No producer can rely on this: if its first request fails and is retried, the same happens there.
//! A produce's timeout also begins when it is delivered, so it may begin before the answer to the
//! one before.
//!
//! What does not live here: how many bytes may be under way, and what the requests are.

use alloc::collections::VecDeque;

use crate::msg::Request;

/// The most requests of one connection that are under way. Java's clients have 5 in flight unless
/// told otherwise, librdkafka's a million.
pub const MOST_UNDER_WAY: usize = 32;

/// What decides whether a request may be under way together with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A produce that is answered.
    Produce,
    /// A produce that has no answer (acks=0).
    Unanswered,
    /// Any other request.
    Alone,
}

impl Class {
    /// The class of a request.
    pub fn of(request: &Request) -> Class {
        let Request::Produce(produce) = request else { return Class::Alone };
        if produce.acks == 0 { Class::Unanswered } else { Class::Produce }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<A> {
    /// With an answer.
    Answer(A),
    /// Without one.
    Nothing,
    /// The connection is to be closed.
    Close,
}

/// What leaves next.
#[derive(Debug, PartialEq, Eq)]
pub enum Departure<'a, T, A> {
    /// The answer to this request.
    Answer(&'a T, A),
    /// The connection is closed.
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<A> {
    /// The machine has it.
    Waits,
    /// It has ended, and the outcome of an earlier one is not known.
    Ended(Outcome<A>),
    /// Its answer is being sent.
    Leaves,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<T, A> {
    number: u32,
    class: Class,
    request: T,
    state: State<A>,
}

/// The requests of one connection that are under way, in order: delivered, and their answers not
/// sent. `T` is what the driver keeps of a request, `A` an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pipeline<T, A> {
    slots: VecDeque<Slot<T, A>>,
    /// The number of the next request.
    next: u32,
    /// How many of the first are [`State::Leaves`].
    leaving: usize,
    /// The last one closes the connection.
    closing: bool,
}

impl<T, A> Default for Pipeline<T, A> {
    fn default() -> Pipeline<T, A> {
        Pipeline { slots: VecDeque::new(), next: 0, leaving: 0, closing: false }
    }
}

impl<T, A> Pipeline<T, A> {
    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What the driver keeps of the requests under way, in order.
    pub fn under_way(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.request)
    }

    /// Whether only produces are under way.
    pub fn has_only_produces(&self) -> bool {
        self.slots.iter().all(|slot| slot.class != Class::Alone)
    }

    /// Whether the connection's next request may be delivered now, if it is of this class.
    pub fn admits(&self, class: Class) -> bool {
        if self.closing || self.slots.len() >= MOST_UNDER_WAY {
            return false;
        }
        let lets_follow = |slot: &Slot<T, A>| match (slot.class, &slot.state) {
            (Class::Produce, _) => true,
            // It has not closed the connection.
            (Class::Unanswered, State::Ended(_) | State::Leaves) => true,
            (Class::Unanswered, State::Waits) | (Class::Alone, _) => false,
        };
        match class {
            Class::Alone => self.slots.is_empty(),
            Class::Produce | Class::Unanswered => self.slots.iter().all(lets_follow),
        }
    }

    /// Adds a request that is delivered now. Returns its number, for
    /// [`ReplyTo`](crate::event::ReplyTo).
    ///
    /// # Panics
    /// If it is not [admitted](Pipeline::admits).
    pub fn start(&mut self, class: Class, request: T) -> u32 {
        assert!(self.admits(class), "a {class:?} request is delivered too early");
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.slots.push_back(Slot { number, class, request, state: State::Waits });
        number
    }

    /// What the driver keeps of a request that has not ended. `None` if it is behind one that has
    /// closed the connection.
    ///
    /// # Panics
    /// If it has ended already, or was never delivered.
    pub fn waiting(&mut self, number: u32) -> Option<&mut T> {
        self.at(number).map(|at| &mut self.slots[at].request)
    }

    /// A request has ended. Ignored if an earlier one has closed the connection.
    ///
    /// # Panics
    /// If it had ended already, or was never delivered.
    pub fn end(&mut self, number: u32, outcome: Outcome<A>) {
        let Some(at) = self.at(number) else { return };
        if matches!(outcome, Outcome::Close) {
            self.slots.truncate(at + 1);
            self.closing = true;
        }
        self.slots[at].state = State::Ended(outcome);
    }

    fn at(&self, number: u32) -> Option<usize> {
        let waits = |slot: &Slot<T, A>| slot.number == number && matches!(slot.state, State::Waits);
        let found = self.slots.iter().position(waits);
        assert!(
            found.is_some() || self.closing,
            "request {number} is answered, but is not under way: each request is answered exactly \
             once"
        );
        found
    }

    /// The next thing to send, if it is known. A request is under way until its answer has been
    /// [sent](Pipeline::sent).
    pub fn depart(&mut self) -> Option<Departure<'_, T, A>> {
        while matches!(self.slots.get(self.leaving)?.state, State::Ended(Outcome::Nothing)) {
            self.slots[self.leaving].state = State::Leaves;
            self.leaving += 1;
        }
        let slot = &mut self.slots[self.leaving];
        if matches!(slot.state, State::Waits | State::Leaves) {
            return None;
        }
        self.leaving += 1;
        match core::mem::replace(&mut slot.state, State::Leaves) {
            State::Ended(Outcome::Answer(answer)) => Some(Departure::Answer(&slot.request, answer)),
            State::Ended(Outcome::Close) => Some(Departure::Close),
            State::Ended(Outcome::Nothing) | State::Waits | State::Leaves => {
                unreachable!("sorted out above")
            }
        }
    }

    /// Whether anything has departed and is not [sent](Pipeline::sent). A request without an answer
    /// departs unseen.
    pub fn is_leaving(&self) -> bool {
        self.leaving > 0
    }

    /// Everything that departed has been sent.
    pub fn sent(&mut self) {
        self.slots.drain(..core::mem::take(&mut self.leaving));
    }

    /// Forgets all requests: the connection is gone.
    pub fn clear(&mut self) {
        *self = Pipeline { next: self.next, ..Pipeline::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{MetadataRequest, ProduceRequest};
    use std::vec;
    use std::vec::Vec;

    type Line = Pipeline<char, char>;

    /// What leaves now, as text: an answer as it is, a close as `!`.
    fn leave(line: &mut Line) -> Vec<char> {
        let mut left = Vec::new();
        while let Some(departure) = line.depart() {
            left.push(match departure {
                Departure::Answer(asked, answer) => {
                    assert_eq!(asked.to_ascii_uppercase(), answer, "the answer to its request");
                    answer
                }
                Departure::Close => '!',
            });
        }
        line.sent();
        left
    }

    #[test]
    fn classes() {
        let produce = |acks| {
            let topics = vec![];
            Request::Produce(ProduceRequest { acks, transactional_id: None, timeout_ms: 1, topics })
        };
        // A produce with an impossible acks is answered with an error.
        for acks in [-1, 1, 7] {
            assert_eq!(Class::of(&produce(acks)), Class::Produce);
        }
        assert_eq!(Class::of(&produce(0)), Class::Unanswered);
        assert_eq!(Class::of(&Request::Metadata(MetadataRequest::default())), Class::Alone);
    }

    #[test]
    fn answers_leave_in_the_order_of_the_requests() {
        let mut line = Line::default();
        let [a, b, c] = ['a', 'b', 'c'].map(|name| line.start(Class::Produce, name));
        line.end(c, Outcome::Answer('C'));
        assert_eq!(leave(&mut line), []);
        line.end(a, Outcome::Answer('A'));
        assert_eq!(leave(&mut line), ['A']);
        line.end(b, Outcome::Answer('B'));
        assert_eq!(leave(&mut line), ['B', 'C']);
        assert!(line.is_empty());
    }

    #[test]
    fn others_are_alone() {
        let mut line = Line::default();
        let a = line.start(Class::Produce, 'a');
        assert!(line.admits(Class::Produce) && !line.admits(Class::Alone));
        line.end(a, Outcome::Answer('A'));
        assert!(!line.admits(Class::Alone), "its answer has not left");
        assert!(matches!(line.depart(), Some(Departure::Answer('a', 'A'))));
        assert!(!line.admits(Class::Alone), "nor is it sent");
        line.sent();
        let b = line.start(Class::Alone, 'b');
        for class in [Class::Produce, Class::Unanswered, Class::Alone] {
            assert!(!line.admits(class));
        }
        line.end(b, Outcome::Answer('B'));
        assert!(matches!(line.depart(), Some(Departure::Answer('b', 'B'))));
        assert!(!line.admits(Class::Produce), "a large answer is being sent");
        line.sent();
        assert!(line.admits(Class::Produce) && line.admits(Class::Alone));
    }

    #[test]
    fn nothing_follows_what_may_close_the_connection() {
        let mut line = Line::default();
        let a = line.start(Class::Produce, 'a');
        let b = line.start(Class::Unanswered, 'b');
        assert!(!line.admits(Class::Produce) && !line.admits(Class::Unanswered));
        line.end(b, Outcome::Nothing);
        assert!(line.depart().is_none() && !line.is_leaving());
        let c = line.start(Class::Unanswered, 'c');
        line.end(c, Outcome::Close);
        assert!(!line.admits(Class::Produce));
        assert_eq!(leave(&mut line), [], "the answer before it leaves first");
        line.end(a, Outcome::Answer('A'));
        assert_eq!(leave(&mut line), ['A', '!']);
        assert!(!line.admits(Class::Alone), "nothing starts on a closed connection");
    }

    #[test]
    fn a_request_without_an_answer_departs_unseen() {
        let mut line = Line::default();
        let a = line.start(Class::Unanswered, 'a');
        line.end(a, Outcome::Nothing);
        assert!(!line.admits(Class::Alone));
        assert!(line.depart().is_none() && line.is_leaving());
        line.sent();
        assert!(line.admits(Class::Alone));
    }

    /// A broker that closes its logs disconnects whoever produces: the first and all later ones.
    #[test]
    fn what_is_behind_a_close_has_no_answer() {
        let mut line = Line::default();
        let [a, b, c] = ['a', 'b', 'c'].map(|name| line.start(Class::Produce, name));
        line.end(b, Outcome::Close);
        assert_eq!(line.waiting(c), None);
        line.end(c, Outcome::Answer('C'));
        line.end(a, Outcome::Answer('A'));
        assert_eq!(leave(&mut line), ['A', '!']);
    }

    #[test]
    fn how_many_are_under_way_is_bounded() {
        let mut line = Line::default();
        let first = line.start(Class::Produce, 'a');
        for _ in 1..MOST_UNDER_WAY {
            line.start(Class::Produce, 'b');
        }
        assert!(!line.admits(Class::Produce));
        line.end(first, Outcome::Answer('A'));
        assert!(!line.admits(Class::Produce), "an answer that is not sent counts");
        assert_eq!(leave(&mut line), ['A']);
        assert!(line.admits(Class::Produce));
    }

    #[test]
    #[should_panic(expected = "answered exactly once")]
    fn an_answer_too_many() {
        let mut line = Line::default();
        let a = line.start(Class::Produce, 'a');
        line.end(a, Outcome::Answer('A'));
        line.end(a, Outcome::Answer('A'));
    }

    #[test]
    #[should_panic(expected = "too early")]
    fn a_delivery_too_early() {
        let mut line = Line::default();
        line.start(Class::Alone, 'a');
        line.start(Class::Produce, 'b');
    }

    /// Every run of starts and ends: the requests that a one-at-a-time server would have executed
    /// are those that were delivered, in order, and the answers are theirs, in order.
    #[test]
    fn it_looks_as_if_they_were_handled_one_at_a_time() {
        let mut state = 7_u64;
        let mut roll = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..2000 {
            let mut line: Pipeline<(u32, Class), u32> = Pipeline::default();
            // Sent by the client: class, and whether it closes the connection.
            let mut sent = Vec::new();
            for _ in 0..12 {
                let class = [Class::Produce, Class::Unanswered, Class::Alone][roll(6) % 3];
                sent.push((class, class != Class::Produce && roll(8) == 0));
            }
            let (mut delivered, mut ended, mut answers, mut closed) =
                (0, vec![false; 12], vec![], 0);
            while closed == 0 {
                let open: Vec<usize> = (0..delivered).filter(|at| !ended[*at]).collect();
                let may = delivered < 12 && line.admits(sent[delivered].0);
                if may && (open.is_empty() || roll(2) == 0) {
                    assert!(sent[..delivered].iter().all(|(_, closes)| !closes), "never read");
                    let class = sent[delivered].0;
                    assert!(class != Class::Alone || open.is_empty());
                    let number = line.start(class, (delivered as u32, class));
                    assert_eq!(number as usize, delivered);
                    delivered += 1;
                } else if !open.is_empty() {
                    let at = open[roll(open.len())];
                    ended[at] = true;
                    let outcome = match sent[at] {
                        (_, true) => Outcome::Close,
                        (Class::Unanswered, false) => Outcome::Nothing,
                        (Class::Produce | Class::Alone, false) => Outcome::Answer(at as u32),
                    };
                    line.end(at as u32, outcome);
                } else if !line.is_empty() {
                    line.sent();
                } else {
                    break;
                }
                while let Some(departure) = line.depart() {
                    match departure {
                        Departure::Answer((asked, _), answer) => {
                            assert_eq!(*asked, answer);
                            answers.push(answer as usize);
                        }
                        Departure::Close => closed += 1,
                    }
                }
                if roll(3) > 0 {
                    line.sent();
                }
            }
            let end = sent.iter().position(|(_, closes)| *closes).unwrap_or(12);
            let expected: Vec<usize> =
                (0..end).filter(|at| sent[*at].0 != Class::Unanswered).collect();
            assert_eq!(answers, expected);
            assert_eq!(closed, usize::from(end < 12));
        }
    }
}
