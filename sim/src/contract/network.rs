//! What the network promises. Requests are ListOffsets, numbered by their replica id. Answers are
//! numbered by their throttle time. Every version that we use carries these fields.

use std::time::Duration;

use wavetank_core::env::{Channel, Network};
use wavetank_core::event::{Event, ReplyTo, RpcError};
use wavetank_core::msg::{
    ListOffsetsRequest, ListOffsetsResponse, ProduceRequest, ProduceResponse, Request, Response,
};
use wavetank_core::types::NodeId;

use super::{Harness, PATIENCE, QUIET, node};

/// A request timeout that must not expire during the case.
const LONG: Duration = Duration::from_secs(60);

fn numbered(number: i32) -> Request {
    Request::ListOffsets(ListOffsetsRequest {
        replica: NodeId(number),
        isolation_level: 0,
        topics: vec![],
        timeout_ms: 1000,
    })
}

fn answer(number: i32) -> Response {
    let topics = vec![];
    Response::ListOffsets(ListOffsetsResponse { throttle_time_ms: number, topics })
}

fn one_way() -> Request {
    produce(0, 1000)
}

/// A produce; its number, if it is answered, is the timeout.
fn produce(acks: i16, number: i32) -> Request {
    Request::Produce(ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: number,
        topics: vec![],
    })
}

fn network(h: &mut dyn Harness, at: usize, act: impl FnOnce(&mut dyn Network) + Send + 'static) {
    h.act(at, Box::new(move |env| act(env)));
}

/// Node 0 sends requests to node 1.
fn ask(h: &mut dyn Harness, channel: Channel, timeout: Duration, numbers: &[i32]) {
    let numbers = numbers.to_vec();
    network(h, 0, move |network| {
        for number in numbers {
            network.request(node(1), channel, timeout, numbered(number));
        }
    });
}

/// The next request at node 1: its number (0 for the one without a response).
fn asked(h: &mut dyn Harness) -> (ReplyTo, i32) {
    match h.event(1, PATIENCE) {
        Some(Event::Request { from, request: Request::ListOffsets(request), .. }) => {
            (from, request.replica.0)
        }
        Some(Event::Request { from, request: Request::Produce(request), .. }) => {
            (from, if request.acks == 0 { 0 } else { request.timeout_ms })
        }
        other => panic!("expected a request, got {other:?}"),
    }
}

fn respond(h: &mut dyn Harness, to: ReplyTo, number: i32) {
    network(h, 1, move |network| network.respond(to, answer(number)));
}

fn respond_to_produce(h: &mut dyn Harness, to: ReplyTo, number: i32) {
    let answer = ProduceResponse { throttle_time_ms: number, ..Default::default() };
    network(h, 1, move |network| network.respond(to, Response::Produce(answer)));
}

/// Node 0 sends these to node 1 on one channel, without waiting for answers.
fn send(h: &mut dyn Harness, requests: Vec<Request>) {
    network(h, 0, move |network| {
        for request in requests {
            network.request(node(1), Channel::Produce, LONG, request);
        }
    });
}

fn expect_asked(h: &mut dyn Harness, number: i32) -> ReplyTo {
    let (to, got) = asked(h);
    assert_eq!(got, number);
    to
}

fn expect_outcome(h: &mut dyn Harness, number: i32) {
    assert_eq!(outcome(h), (Channel::Produce, Ok(number)), "in the order of sending");
}

/// The next outcome at node 0: its channel, and the answer's number (0 for none) or the error.
fn outcome(h: &mut dyn Harness) -> (Channel, Result<i32, RpcError>) {
    match h.event(0, PATIENCE) {
        Some(Event::Rpc { peer, channel, outcome }) => {
            assert!(peer == node(1) || peer == NodeId(99), "an outcome of {peer}");
            let number = outcome.map(|response| match response {
                Response::ListOffsets(response) => response.throttle_time_ms,
                Response::Produce(response) => {
                    assert!(response.topics.is_empty());
                    response.throttle_time_ms
                }
                other => panic!("no such response was given: {other:?}"),
            });
            (channel, number)
        }
        other => panic!("expected an outcome, got {other:?}"),
    }
}

fn quiet(h: &mut dyn Harness, at: usize) {
    let event = h.event(at, QUIET);
    assert_eq!(event, None, "nothing more was to come at node {at}");
}

/// Node 1 may or may not see further closures of connections that are gone.
fn only_closures(h: &mut dyn Harness, at: usize) {
    while let Some(event) = h.event(at, QUIET) {
        assert!(matches!(event, Event::ConnectionClosed { .. }), "unexpected {event:?}");
    }
}

/// Checks that a request is answered: the connection works.
fn works(h: &mut dyn Harness, channel: Channel) {
    ask(h, channel, LONG, &[77]);
    let (to, number) = loop {
        match h.event(1, PATIENCE) {
            Some(Event::Request { from, request: Request::ListOffsets(request), .. }) => {
                break (from, request.replica.0);
            }
            Some(Event::ConnectionClosed { .. }) => {}
            other => panic!("expected a request, got {other:?}"),
        }
    };
    assert_eq!(number, 77);
    respond(h, to, 78);
    assert_eq!(outcome(h), (channel, Ok(78)));
}

pub(super) fn request_and_response(h: &mut dyn Harness) {
    works(h, Channel::Admin);
    works(h, Channel::Admin);
    works(h, Channel::Fetch);
    quiet(h, 0);
    quiet(h, 1);
}

pub(super) fn answers_in_order(h: &mut dyn Harness) {
    ask(h, Channel::Produce, LONG, &[1, 2, 3]);
    ask(h, Channel::Produce, LONG, &[4]);
    for number in 1..=4 {
        let (to, got) = asked(h);
        assert_eq!(got, number);
        quiet(h, 1); // the next is not delivered before this one is answered
        respond(h, to, 10 * number);
        assert_eq!(outcome(h), (Channel::Produce, Ok(10 * number)));
    }
    quiet(h, 0);
}

pub(super) fn channels_are_independent(h: &mut dyn Harness) {
    ask(h, Channel::Fetch, LONG, &[1]);
    let (parked, _) = asked(h);
    ask(h, Channel::Heartbeat, LONG, &[2]);
    let (to, number) = asked(h);
    assert_eq!(number, 2, "a parked fetch does not hold a heartbeat back");
    assert_ne!(parked.connection, to.connection);
    respond(h, to, 20);
    assert_eq!(outcome(h), (Channel::Heartbeat, Ok(20)));
    respond(h, parked, 10);
    assert_eq!(outcome(h), (Channel::Fetch, Ok(10)));
}

pub(super) fn disconnecting_breaks_all_in_flight(h: &mut dyn Harness) {
    ask(h, Channel::Produce, LONG, &[1, 2, 3]);
    let (to, _) = asked(h);
    respond(h, to, 10);
    assert_eq!(outcome(h), (Channel::Produce, Ok(10)));
    let (to, _) = asked(h);
    network(h, 1, move |network| network.disconnect(to));
    for _ in 0..2 {
        assert_eq!(outcome(h), (Channel::Produce, Err(RpcError::Disconnected)));
    }
    quiet(h, 0);
    only_closures(h, 1);
    network(h, 1, move |network| network.respond(to, answer(5))); // gone: a no-op
    works(h, Channel::Produce);
}

pub(super) fn timeout_breaks_all_in_flight(h: &mut dyn Harness) {
    let timeout = Duration::from_millis(150);
    let start = h.now(0);
    ask(h, Channel::Produce, timeout, &[1]);
    ask(h, Channel::Produce, LONG, &[2]);
    let (to, _) = asked(h);
    for _ in 0..2 {
        assert_eq!(outcome(h), (Channel::Produce, Err(RpcError::TimedOut)));
    }
    assert!(h.now(0) >= start.after(timeout), "not before its time");
    respond(h, to, 10); // too late: causes no outcome
    quiet(h, 0);
    while let Some(event) = h.event(1, QUIET) {
        // The second request may have been in flight. Its answer goes nowhere either.
        if let Event::Request { from, .. } = event {
            respond(h, from, 20);
        }
    }
    quiet(h, 0);
    works(h, Channel::Produce);
}

pub(super) fn requests_without_response(h: &mut dyn Harness) {
    network(h, 0, |network| {
        network.request(node(1), Channel::Produce, LONG, numbered(1));
        network.request(node(1), Channel::Produce, LONG, one_way());
        network.request(node(1), Channel::Produce, LONG, numbered(2));
    });
    let (to, number) = asked(h);
    assert_eq!(number, 1);
    respond(h, to, 10);
    assert_eq!(outcome(h), (Channel::Produce, Ok(10)), "outcomes come in the order of sending");
    assert_eq!(outcome(h), (Channel::Produce, Ok(0)), "without waiting for anything");
    let (to, number) = asked(h);
    assert_eq!(number, 0);
    network(h, 1, move |network| network.no_response(to));
    let (to, number) = asked(h);
    assert_eq!(number, 2);
    respond(h, to, 20);
    assert_eq!(outcome(h), (Channel::Produce, Ok(20)));
    quiet(h, 0);
}

pub(super) fn produces_go_together(h: &mut dyn Harness) {
    send(h, (1..=3).map(|number| produce(1, number)).collect());
    send(h, vec![produce(-1, 4)]);
    let to: Vec<ReplyTo> = (1..=4).map(|number| expect_asked(h, number)).collect();
    let connection = to[0].connection;
    assert!(to.iter().all(|to| to.connection == connection));
    let numbers: std::collections::BTreeSet<u32> = to.iter().map(|to| to.number).collect();
    assert_eq!(numbers.len(), 4, "requests under way have different numbers");
    quiet(h, 1);
    respond_to_produce(h, to[2], 30);
    respond_to_produce(h, to[1], 20);
    quiet(h, 0);
    respond_to_produce(h, to[0], 10);
    for number in [10, 20, 30] {
        expect_outcome(h, number);
    }
    respond_to_produce(h, to[3], 40);
    expect_outcome(h, 40);
    quiet(h, 0);
    quiet(h, 1);
}

pub(super) fn other_requests_are_alone(h: &mut dyn Harness) {
    send(h, vec![produce(1, 1), produce(1, 2), numbered(3), produce(1, 4)]);
    let (first, second) = (expect_asked(h, 1), expect_asked(h, 2));
    quiet(h, 1);
    respond_to_produce(h, second, 20);
    quiet(h, 1);
    respond_to_produce(h, first, 10);
    expect_outcome(h, 10);
    expect_outcome(h, 20);
    let third = expect_asked(h, 3);
    quiet(h, 1); // nothing follows it either
    respond(h, third, 30);
    expect_outcome(h, 30);
    let fourth = expect_asked(h, 4);
    respond_to_produce(h, fourth, 40);
    expect_outcome(h, 40);
    quiet(h, 1);
}

pub(super) fn nothing_follows_a_produce_without_response(h: &mut dyn Harness) {
    send(h, vec![produce(1, 1), one_way(), produce(1, 2)]);
    let (first, one_way) = (expect_asked(h, 1), expect_asked(h, 0));
    quiet(h, 1); // it may yet close the connection
    network(h, 1, move |network| network.no_response(one_way));
    let second = expect_asked(h, 2);
    respond_to_produce(h, second, 20);
    quiet(h, 0);
    respond_to_produce(h, first, 10);
    for number in [10, 0, 20] {
        expect_outcome(h, number);
    }
    quiet(h, 1);
}

pub(super) fn answers_leave_before_the_connection_closes(h: &mut dyn Harness) {
    send(h, vec![produce(1, 1), one_way(), produce(1, 2)]);
    let (first, one_way) = (expect_asked(h, 1), expect_asked(h, 0));
    network(h, 1, move |network| network.disconnect(one_way));
    quiet(h, 1); // what was sent behind it is never read
    quiet(h, 0);
    respond_to_produce(h, first, 10);
    expect_outcome(h, 10);
    expect_outcome(h, 0);
    assert_eq!(outcome(h), (Channel::Produce, Err(RpcError::Disconnected)));
    quiet(h, 0);
    only_closures(h, 1);
    works(h, Channel::Produce);
}

pub(super) fn a_client_leaves_produces_under_way(h: &mut dyn Harness) {
    send(h, vec![produce(1, 1), produce(1, 2)]);
    let (first, second) = (expect_asked(h, 1), expect_asked(h, 2));
    h.restart(0);
    respond_to_produce(h, second, 20); // whether or not the connection is gone yet
    respond_to_produce(h, first, 10);
    let event = h.event(1, PATIENCE);
    assert_eq!(event, Some(Event::ConnectionClosed { connection: first.connection }));
    quiet(h, 0);
    quiet(h, 1);
    works(h, Channel::Produce);
}

pub(super) fn server_restart(h: &mut dyn Harness) {
    ask(h, Channel::Admin, LONG, &[1, 2]);
    asked(h);
    h.restart(1);
    for _ in 0..2 {
        assert_eq!(outcome(h), (Channel::Admin, Err(RpcError::Disconnected)));
    }
    quiet(h, 0);
    quiet(h, 1); // what the old incarnation had not seen does not reach the new one
    works(h, Channel::Admin);
}

pub(super) fn client_restart(h: &mut dyn Harness) {
    ask(h, Channel::Admin, LONG, &[1]);
    let (to, _) = asked(h);
    respond(h, to, 10);
    assert_eq!(outcome(h), (Channel::Admin, Ok(10)));
    h.restart(0);
    let event = h.event(1, PATIENCE);
    assert_eq!(event, Some(Event::ConnectionClosed { connection: to.connection }));
    quiet(h, 0);
    works(h, Channel::Admin);
}

pub(super) fn nobody_there(h: &mut dyn Harness) {
    for _ in 0..2 {
        network(h, 0, |network| {
            network.request(NodeId(99), Channel::Admin, LONG, numbered(1));
            network.request(NodeId(99), Channel::Admin, LONG, numbered(2));
        });
        for _ in 0..2 {
            assert_eq!(outcome(h), (Channel::Admin, Err(RpcError::Disconnected)));
        }
    }
    quiet(h, 0);
}
