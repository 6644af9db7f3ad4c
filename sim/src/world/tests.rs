//! Tests that each fault of the network, processes and clocks is injected, and what it does.

use super::*;
use std::time::Duration;
use wavetank_core::event::RpcError;
use wavetank_core::msg::{ApiVersionsRequest, ApiVersionsResponse};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const SECOND: u64 = 1_000_000_000;

/// Records its events. Answers requests at once unless `hold` is set.
#[derive(Clone, Debug, Default)]
struct Puppet {
    log: Vec<(u64, Event)>,
    hold: bool,
    served: u32,
}

impl Machine for Puppet {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        if let Event::Request { from, .. } = &event {
            self.served += 1;
            if !self.hold {
                env.respond(*from, answer(self.served as i32));
            }
        }
        self.log.push((env.now().0, event));
    }

    fn exit(&self) -> Option<Exit> {
        None
    }
}

fn ask(name: &str) -> Request {
    Request::ApiVersions(ApiVersionsRequest {
        client_software_name: name.into(),
        ..Default::default()
    })
}

fn answer(number: i32) -> Response {
    Response::ApiVersions(ApiVersionsResponse { throttle_time_ms: number, ..Default::default() })
}

fn world(seed: u64) -> World<Puppet> {
    let mut world = World::new(seed, WorldConfig::default());
    for node in [A, B] {
        world.add_host(node, HostConfig::default());
        world.start(node, Puppet::default());
    }
    run_until(&mut world, SECOND);
    world
}

fn run_until(world: &mut World<Puppet>, until: u64) {
    while world.next_before(until).is_some() {}
}

fn run_for(world: &mut World<Puppet>, time: u64) {
    let until = world.now() + time;
    run_until(world, until);
}

fn send(world: &mut World<Puppet>, name: &str, timeout: u64) {
    let timeout = Duration::from_nanos(timeout);
    world.act(A, |_, env| env.request(B, Channel::Admin, timeout, ask(name)));
}

/// The outcomes at A, with their times: the number of the answer, or the error.
fn outcomes(world: &World<Puppet>) -> Vec<(u64, Result<i32, RpcError>)> {
    let log = &world.machine(A).expect("A runs").log;
    let outcome = |event: &Event| match event {
        Event::Rpc { outcome: Ok(Response::ApiVersions(a)), .. } => Some(Ok(a.throttle_time_ms)),
        Event::Rpc { outcome: Err(e), .. } => Some(Err(*e)),
        _ => None,
    };
    log.iter().filter_map(|(at, event)| outcome(event).map(|o| (*at, o))).collect()
}

fn results(world: &World<Puppet>) -> Vec<Result<i32, RpcError>> {
    outcomes(world).into_iter().map(|(_, outcome)| outcome).collect()
}

fn requests(world: &World<Puppet>, node: NodeId) -> Vec<ReplyTo> {
    let log = &world.machine(node).expect("it runs").log;
    let from = |event: &Event| match event {
        Event::Request { from, .. } => Some(*from),
        _ => None,
    };
    log.iter().filter_map(|(_, event)| from(event)).collect()
}

fn closed(world: &World<Puppet>, node: NodeId) -> usize {
    let log = &world.machine(node).expect("it runs").log;
    log.iter().filter(|(_, event)| matches!(event, Event::ConnectionClosed { .. })).count()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut world = world(seed);
        for i in 0..50 {
            send(&mut world, &format!("r{i}"), SECOND);
            run_for(&mut world, 3_000_000);
        }
        world.crash(B);
        run_for(&mut world, SECOND);
        (world.fingerprint(), world.steps(), outcomes(&world))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn an_unrelated_message_moves_no_other_draw() {
    // Traffic from A to B arrives at the same times whether or not a third node talks to B.
    let run = |chatter: bool| {
        let mut config = WorldConfig::default();
        config.link.loss_per_million = 100_000;
        let mut world = World::new(5, config);
        for node in [A, B, NodeId(2)] {
            let host = HostConfig { cost_min: 0, cost_max: 0, ..HostConfig::default() };
            world.add_host(node, host);
            world.start(node, Puppet::default());
        }
        run_until(&mut world, SECOND);
        for i in 0..30 {
            send(&mut world, &format!("r{i}"), 60 * SECOND);
            if chatter {
                let timeout = Duration::from_secs(1);
                world.act(NodeId(2), |_, env| {
                    env.request(B, Channel::Fetch, timeout, ask("noise"));
                    env.draw(wavetank_core::env::Site::Uuid, 10);
                });
            }
            run_for(&mut world, 50_000_000);
        }
        outcomes(&world).into_iter().map(|(at, _)| at).collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_copy_goes_the_same_way_and_a_branch_another() {
    let mut original = world(3);
    send(&mut original, "one", SECOND);
    let mut copy = original.clone();
    let mut branch = original.clone();
    branch.branch(1);
    for world in [&mut original, &mut copy, &mut branch] {
        for i in 0..20 {
            send(world, &format!("r{i}"), SECOND);
            run_for(world, SECOND);
        }
    }
    assert_eq!(original.fingerprint(), copy.fingerprint());
    assert_ne!(original.fingerprint(), branch.fingerprint());
    assert_eq!(results(&original), results(&branch), "other times, the same outcomes");
}

#[test]
fn answers_come_in_order_and_the_next_request_waits() {
    let mut world = world(1);
    world.machine_mut(B).expect("B runs").hold = true;
    for i in 0..3 {
        send(&mut world, &format!("r{i}"), 60 * SECOND);
    }
    run_for(&mut world, SECOND);
    assert_eq!(requests(&world, B).len(), 1, "the second waits for the first's answer");
    for number in 1..=3 {
        let from = *requests(&world, B).last().expect("one is being served");
        world.act(B, |_, env| env.respond(from, answer(number)));
        run_for(&mut world, SECOND);
    }
    assert_eq!(results(&world), [Ok(1), Ok(2), Ok(3)]);
}

#[test]
#[should_panic(expected = "answered exactly once")]
fn answering_twice_is_the_machines_bug() {
    let mut world = world(1);
    send(&mut world, "r", SECOND);
    run_for(&mut world, SECOND);
    let from = requests(&world, B)[0];
    world.act(B, |_, env| env.respond(from, answer(9)));
}

#[test]
fn a_partition_stalls_without_a_reset_and_heals() {
    for (from, to) in [(A, B), (B, A)] {
        let mut world = world(2);
        send(&mut world, "before", SECOND);
        run_for(&mut world, SECOND);
        world.block(from, to);
        assert!(world.is_blocked(from, to) && !world.is_blocked(to, from));
        send(&mut world, "during", 60 * SECOND);
        run_for(&mut world, 10 * SECOND);
        assert_eq!(results(&world), [Ok(1)], "no answer, no error");
        assert_eq!(requests(&world, B).len(), if from == A { 1 } else { 2 }, "one way only");
        assert_eq!(world.network_load().1, 1, "one frame is stalled");
        world.unblock(from, to, Heal::Retransmit);
        run_for(&mut world, 10 * SECOND);
        assert_eq!(results(&world), [Ok(1), Ok(2)]);
    }
}

#[test]
fn what_is_under_way_when_a_link_is_cut_keeps_its_place() {
    // Found by a hunt: a frame in flight when the link was cut was put behind frames sent later.
    for (from, to) in [(A, B), (B, A)] {
        let mut world = world(2);
        world.machine_mut(B).expect("B runs").hold = from == B;
        send(&mut world, "open", 60 * SECOND);
        run_for(&mut world, SECOND);
        world.set_spike(from, to, SECOND);
        let reply = |world: &mut World<Puppet>, number| {
            let to = *requests(world, B).last().expect("one is being served");
            world.act(B, |_, env| env.respond(to, answer(number)));
        };
        for number in 1..=3 {
            if from == A {
                send(&mut world, &format!("r{number}"), 60 * SECOND);
            } else {
                send(&mut world, &format!("r{number}"), 60 * SECOND);
                run_for(&mut world, 10_000_000);
                reply(&mut world, number);
                run_for(&mut world, 10_000_000);
            }
            if number == 1 {
                world.block(from, to); // with the first one in flight
            }
        }
        run_for(&mut world, 5 * SECOND);
        world.unblock(from, to, Heal::Burst);
        run_for(&mut world, 10 * SECOND);
        let expected =
            if from == A { vec![Ok(1), Ok(2), Ok(3), Ok(4)] } else { vec![Ok(1), Ok(2), Ok(3)] };
        assert_eq!(results(&world), expected);
        let order: Vec<u32> = requests(&world, B).iter().map(|to| to.number).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}

#[test]
fn a_clog_bursts_in_order() {
    let mut world = world(2);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.block(A, B);
    for i in 0..5 {
        send(&mut world, &format!("r{i}"), 60 * SECOND);
        run_for(&mut world, SECOND);
    }
    let healed = world.now();
    world.unblock(A, B, Heal::Burst);
    run_for(&mut world, SECOND);
    assert_eq!(results(&world), [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Ok(6)]);
    let last = world.machine(B).expect("B runs").log.last().expect("it was asked").0;
    assert!(last - healed < 1_000_000, "all within the cost of a few steps: {}", last - healed);
}

#[test]
fn a_timeout_breaks_the_connection_once_for_all_in_flight() {
    let mut world = world(4);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.block(A, B);
    let sent = world.now();
    for (name, timeout) in [("a", 2), ("b", 9), ("c", 5)] {
        send(&mut world, name, timeout * SECOND);
    }
    run_for(&mut world, 20 * SECOND);
    let timed_out = Err(RpcError::TimedOut);
    assert_eq!(results(&world), [Ok(1), timed_out, timed_out, timed_out]);
    for (at, _) in &outcomes(&world)[1..] {
        assert!((2 * SECOND..2 * SECOND + 1_000_000).contains(&(at - sent)), "{}", at - sent);
    }
    // Stalled frames may still reach the server: late requests, then the end.
    world.unblock(A, B, Heal::Retransmit);
    run_for(&mut world, 20 * SECOND);
    assert_eq!(results(&world).len(), 4, "but no outcome twice");
    assert_eq!(closed(&world, B), 1);
    send(&mut world, "again", SECOND);
    run_for(&mut world, SECOND);
    assert!(results(&world)[4].is_ok(), "on a new connection");
}

#[test]
fn no_connection_to_a_blocked_peer() {
    let mut world = world(4);
    world.block(A, B);
    let sent = world.now();
    send(&mut world, "a", 60 * SECOND);
    run_for(&mut world, 20 * SECOND);
    let [(at, outcome)] = outcomes(&world)[..] else { panic!("one outcome") };
    assert_eq!(outcome, Err(RpcError::Disconnected));
    assert!(at - sent >= WorldConfig::default().connect_timeout);
    send(&mut world, "b", SECOND);
    run_for(&mut world, 2 * SECOND);
    assert_eq!(results(&world)[1], Err(RpcError::TimedOut), "the request's own timeout is shorter");
}

#[test]
fn a_crashed_server_is_noticed_at_once_a_dead_machine_only_by_timeout() {
    for power in [false, true] {
        let mut world = world(6);
        world.machine_mut(B).expect("B runs").hold = true;
        send(&mut world, "a", 30 * SECOND);
        run_for(&mut world, SECOND);
        let ended = world.now();
        let machine = if power { world.power_loss(B) } else { world.crash(B) };
        assert!(machine.is_some() && world.machine(B).is_none() && !world.is_up(B));
        assert_eq!(world.incarnation(B), 1);
        run_for(&mut world, 40 * SECOND);
        let [(at, outcome)] = outcomes(&world)[..] else { panic!("one outcome") };
        if power {
            assert_eq!(outcome, Err(RpcError::TimedOut));
            assert!(at - ended > 20 * SECOND);
        } else {
            assert_eq!(outcome, Err(RpcError::Disconnected));
            assert!(at - ended < SECOND);
        }
        // Connecting: a dead machine does not answer, a live one without the process refuses.
        send(&mut world, "b", 5 * SECOND);
        run_for(&mut world, 6 * SECOND);
        let expected = if power { RpcError::TimedOut } else { RpcError::Disconnected };
        assert_eq!(results(&world)[1], Err(expected));
        world.start(B, Puppet::default());
        send(&mut world, "c", 5 * SECOND);
        run_for(&mut world, 5 * SECOND);
        assert_eq!(results(&world)[2], Ok(1));
    }
}

#[test]
fn a_rebooted_peer_resets_what_it_does_not_know() {
    let mut world = world(6);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.power_loss(B);
    run_for(&mut world, SECOND);
    world.start(B, Puppet::default());
    send(&mut world, "stale", 30 * SECOND);
    let sent = world.now();
    run_for(&mut world, 10 * SECOND);
    let (at, outcome) = outcomes(&world)[1];
    assert_eq!(outcome, Err(RpcError::Disconnected));
    assert!(at - sent < SECOND, "told by a reset, not by a timeout");
    assert!(requests(&world, B).is_empty(), "the new incarnation never saw it");
}

#[test]
fn what_a_dead_machine_was_sent_is_sent_again_when_it_is_back() {
    let mut world = world(6);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.power_loss(B);
    // On the open connection: the retransmission reaches a machine that does not know the
    // connection.
    send(&mut world, "lost", 60 * SECOND);
    // On a new one: the SYN is retransmitted until it is answered.
    let timeout = Duration::from_secs(60);
    world.act(A, |_, env| env.request(B, Channel::Fetch, timeout, ask("knocking")));
    run_for(&mut world, 2 * SECOND);
    assert_eq!(results(&world).len(), 1, "nothing is known yet");
    world.start(B, Puppet::default());
    run_for(&mut world, 5 * SECOND);
    let mut after = results(&world)[1..].to_vec();
    after.sort_by_key(Result::is_ok);
    assert_eq!(after, [Err(RpcError::Disconnected), Ok(1)]);
}

#[test]
fn a_crashed_client_closes_its_connections() {
    let mut world = world(6);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.crash(A);
    run_for(&mut world, SECOND);
    assert_eq!(closed(&world, B), 1);
    assert_eq!(world.network_load().0, 1, "its connect timeout still holds the slot");
    run_for(&mut world, 20 * SECOND);
    assert_eq!(world.network_load().0, 0);
}

#[test]
fn a_reset_tells_both_ends_and_keeps_a_prefix() {
    let (mut arrived, mut kept) = (0, 0);
    for seed in 0..40 {
        let mut world = world(seed);
        send(&mut world, "open", SECOND);
        run_for(&mut world, SECOND);
        for i in 0..4 {
            send(&mut world, &format!("r{i}"), SECOND);
        }
        assert_eq!(world.reset(B, A, None), 1, "named from either side");
        run_for(&mut world, SECOND);
        assert_eq!(results(&world).len(), 5, "exactly one outcome each");
        assert!(results(&world).contains(&Err(RpcError::Disconnected)));
        assert_eq!(closed(&world, B), 1);
        let served = requests(&world, B).len() - 1;
        arrived += served;
        kept += usize::from(served > 0);
    }
    assert!(kept > 5 && kept < 40 && arrived < 4 * 40, "{kept} of 40, {arrived} requests");
}

#[test]
fn a_severed_connection_is_noticed_by_timeout_alone() {
    let mut world = world(6);
    world.machine_mut(B).expect("B runs").hold = true;
    send(&mut world, "a", 10 * SECOND);
    run_for(&mut world, SECOND);
    assert_eq!(world.sever(A, B, Some(Channel::Fetch)), 0, "another channel");
    assert_eq!(world.sever(A, B, Some(Channel::Admin)), 1);
    let from = requests(&world, B)[0];
    world.act(B, |_, env| env.respond(from, answer(1)));
    run_for(&mut world, 8 * SECOND);
    assert!(results(&world).is_empty());
    run_for(&mut world, 2 * SECOND);
    assert_eq!(results(&world), [Err(RpcError::TimedOut)]);
    assert_eq!(closed(&world, B), 0, "the server's end hangs");
    run_for(&mut world, 60 * SECOND);
    assert_eq!(closed(&world, B), 1, "until keepalive");
}

#[test]
fn loss_is_time_not_loss() {
    let round_trips = |loss| {
        let mut world = world(9);
        for (from, to) in [(A, B), (B, A)] {
            let link = LinkConfig { loss_per_million: loss, ..world.link(from, to) };
            world.set_link(from, to, link);
        }
        for i in 0..100 {
            send(&mut world, &format!("r{i}"), 60 * SECOND);
        }
        let start = world.now();
        run_for(&mut world, 60 * SECOND);
        assert_eq!(results(&world), (1..=100).map(Ok).collect::<Vec<_>>());
        outcomes(&world)[99].0 - start
    };
    assert!(round_trips(300_000) > round_trips(0) + SECOND);
}

#[test]
fn a_spike_delays_one_direction() {
    let mut world = world(9);
    send(&mut world, "open", SECOND);
    run_for(&mut world, SECOND);
    world.set_spike(A, B, 2 * SECOND);
    let start = world.now();
    send(&mut world, "slow", 60 * SECOND);
    run_for(&mut world, 10 * SECOND);
    let took = outcomes(&world)[1].0 - start;
    assert!((SECOND..=4 * SECOND).contains(&took), "{took}");
    world.set_spike(A, B, 0);
    let start = world.now();
    send(&mut world, "fast", 60 * SECOND);
    run_for(&mut world, 10 * SECOND);
    assert!(outcomes(&world)[2].0 - start < SECOND);
}

#[test]
fn a_paused_process_finds_everything_at_once() {
    let mut world = world(3);
    let key = |n| TimerKey::Workload(n);
    let now = world.now();
    world.act(B, |_, env| {
        for n in 0..3 {
            env.arm(key(n), Monotonic(now + (u64::from(n) + 1) * SECOND));
        }
    });
    world.pause(B);
    assert!(world.is_paused(B));
    send(&mut world, "a", 60 * SECOND);
    run_for(&mut world, 10 * SECOND);
    assert!(world.machine(B).expect("it lives").log.len() == 1, "nothing but its start");
    let resumed = world.now();
    world.resume(B);
    run_for(&mut world, SECOND);
    let log = &world.machine(B).expect("it lives").log;
    assert_eq!(log.len(), 5, "three timers and a request");
    for (at, _) in &log[1..] {
        assert!((resumed..resumed + 1_000_000).contains(at), "and the clock went on meanwhile");
    }
    assert_eq!(results(&world), [Ok(1)]);
}

/// What a paused process sees first is drawn, because the order is undefined on a real machine.
#[test]
fn a_stopped_process_finds_timers_or_messages_first() {
    let mut first = [0; 2];
    for seed in 0..40 {
        let mut world = world(seed);
        let now = world.now();
        world.act(B, |_, env| env.arm(TimerKey::Workload(0), Monotonic(now + SECOND)));
        world.pause(B);
        send(&mut world, "a", 60 * SECOND);
        run_for(&mut world, 5 * SECOND);
        world.resume(B);
        assert_eq!(world.unread_since_wake(B).count(), 1);
        assert_eq!(world.last_wake(B).stopped_for, 5 * SECOND);
        run_for(&mut world, SECOND);
        let log = &world.machine(B).expect("it lives").log;
        first[usize::from(matches!(log[1].1, Event::Timer { .. }))] += 1;
        assert_eq!(log.len(), 3, "{log:?}");
        assert_eq!(world.unread_since_wake(B).count(), 0);
    }
    assert!(first.iter().all(|seeds| *seeds > 8), "{first:?}");
}

/// The kernel of a paused process accepts what fits in its buffer. The rest stays with the sender,
/// and is lost with it.
#[test]
fn a_stopped_process_pushes_back() {
    let mut lost = 0;
    for dark in [false, true] {
        let mut world = world(4);
        send(&mut world, "open", 60 * SECOND);
        run_for(&mut world, SECOND);
        world.pause(B);
        for i in 0..3_000 {
            send(&mut world, &format!("r{i}"), 600 * SECOND);
        }
        run_for(&mut world, 20 * SECOND);
        assert!(world.pushed_back() > 0);
        if dark {
            world.power_loss(A);
        }
        world.resume(B);
        run_for(&mut world, 20 * SECOND);
        let served = world.machine(B).expect("it lives").served;
        if dark {
            lost = 3_001 - served;
        } else {
            assert_eq!(served, 3_001);
            assert_eq!(results(&world), (1..=3_001).map(Ok).collect::<Vec<_>>());
        }
    }
    assert!(lost > 0, "what the buffer did not take went with its sender");
}

/// A paused process gives up nothing. When it resumes, the answer and the timeout are both there.
#[test]
fn a_stopped_process_gives_up_only_when_it_goes_on() {
    let mut outcomes = [0; 2];
    for seed in 0..40 {
        let mut world = world(seed);
        send(&mut world, "open", SECOND);
        run_for(&mut world, SECOND);
        send(&mut world, "a", SECOND);
        world.pause(A);
        run_for(&mut world, 5 * SECOND);
        let closed = |event: &(u64, Event)| matches!(event.1, Event::ConnectionClosed { .. });
        assert!(!world.machine(B).expect("it lives").log.iter().any(closed));
        assert_eq!(results(&world).len(), 1);
        world.resume(A);
        run_for(&mut world, 5 * SECOND);
        let results = results(&world);
        assert_eq!(results.len(), 2);
        outcomes[usize::from(results[1].is_ok())] += 1;
    }
    assert!(outcomes.iter().all(|seeds| *seeds > 8), "{outcomes:?}");
}

/// Nodes do not agree on durations: each measures by its own clock.
#[test]
fn monotonic_clocks_run_at_their_own_rates() {
    for ppm in [-20_000, 0, 20_000] {
        let mut world: World<Puppet> = World::new(1, WorldConfig::default());
        world.add_host(A, HostConfig { clock_ppm: ppm, ..HostConfig::default() });
        world.add_host(B, HostConfig::default());
        world.start(A, Puppet::default());
        run_until(&mut world, SECOND);
        let now = world.act(A, |_, env| env.now());
        assert_eq!(now, Monotonic((SECOND as i64 + ppm * 1_000) as u64));
        let deadline = Monotonic(now.0 + 10 * SECOND);
        world.act(A, |_, env| env.arm(TimerKey::Workload(0), deadline));
        // No peer is running, so the request times out by A's clock.
        world.act(A, |_, env| {
            env.request(B, Channel::Admin, Duration::from_secs(5), ask("anybody"));
        });
        let mut fired = 0;
        while let Some(step) = world.next_before(60 * SECOND) {
            if matches!(step.kind, StepKind::Timer(_)) {
                fired = step.at;
            }
        }
        let exact = SECOND as i64 + 10 * SECOND as i64 * 1_000_000 / (1_000_000 + ppm);
        let late = fired as i64 - exact;
        assert!((-1_000_000..2_000_000).contains(&late), "{ppm}: {late} ns late");
        let log = &world.machine(A).expect("it lives").log;
        let (shown, _) =
            log.iter().find(|(_, e)| matches!(e, Event::Timer { .. })).expect("it fired");
        assert!(*shown >= deadline.0, "never early by its own clock");
    }
}

#[test]
fn a_throttled_process_is_slow() {
    let took = |percent| {
        let mut world = world(3);
        world.throttle(B, percent);
        for i in 0..20 {
            send(&mut world, &format!("r{i}"), 600 * SECOND);
        }
        let start = world.now();
        run_for(&mut world, 600 * SECOND);
        outcomes(&world)[19].0 - start
    };
    assert!(took(1_000_000) > 20 * took(100));
}

#[test]
fn the_dying_step_sends_a_prefix() {
    let mut by_count = [0; 4];
    for seed in 0..200 {
        let mut world = world(seed);
        for channel in [Channel::Admin, Channel::Fetch, Channel::Produce] {
            let request = ask("open");
            world.act(A, |_, env| env.request(B, channel, Duration::from_secs(1), request));
        }
        run_for(&mut world, SECOND);
        world.act(A, |_, env| {
            for channel in [Channel::Admin, Channel::Fetch, Channel::Produce] {
                env.request(B, channel, Duration::from_secs(1), ask("last words"));
            }
        });
        world.crash(A);
        run_for(&mut world, SECOND);
        by_count[requests(&world, B).len() - 3] += 1;
        assert_eq!(closed(&world, B), 3);
    }
    assert!(by_count.iter().all(|count| *count > 10), "{by_count:?}");
}

#[test]
fn an_old_incarnations_timers_and_requests_die_with_it() {
    let mut world = world(3);
    let now = world.now();
    world.act(B, |_, env| env.arm(TimerKey::Producer, Monotonic(now + SECOND)));
    send(&mut world, "a", 60 * SECOND);
    world.crash(B);
    world.start(B, Puppet::default());
    run_for(&mut world, 10 * SECOND);
    let log = &world.machine(B).expect("it lives").log;
    assert!(matches!(log[0].1, Event::Start { .. }), "{log:?}");
    assert!(log.iter().all(|(_, event)| !matches!(event, Event::Timer { .. })), "{log:?}");
}

#[test]
fn a_boot_has_one_id_until_the_power_goes() {
    let mut world = world(3);
    let started = |world: &World<Puppet>| match world.machine(B).expect("it lives").log[0].1 {
        Event::Start { boot_id } => boot_id,
        ref other => panic!("{other:?} comes before the start"),
    };
    run_for(&mut world, SECOND);
    let first = started(&world);
    world.crash(B);
    world.start(B, Puppet::default());
    run_for(&mut world, SECOND);
    assert_eq!(started(&world), first, "a process alone died");
    world.power_loss(B);
    world.start(B, Puppet::default());
    run_for(&mut world, SECOND);
    assert!(started(&world) != first && started(&world) != wavetank_core::types::Uuid::ZERO);
}

#[test]
fn stale_timers_fire_in_their_share() {
    let count = |share| {
        let config = WorldConfig { stale_timers_per_million: share, ..WorldConfig::default() };
        let mut world: World<Puppet> = World::new(1, config);
        world.add_host(A, HostConfig::default());
        world.start(A, Puppet::default());
        run_for(&mut world, SECOND);
        for n in 0..100 {
            let now = world.now();
            world.act(A, |_, env| {
                env.arm(TimerKey::Workload(n), Monotonic(now + SECOND));
                env.disarm(TimerKey::Workload(n));
                env.arm(TimerKey::Workload(1000 + n), Monotonic(now + SECOND));
                env.arm(TimerKey::Workload(1000 + n), Monotonic(now + 2 * SECOND));
                env.arm(TimerKey::Workload(2000 + n), Monotonic(now + 2 * SECOND));
                env.arm(TimerKey::Workload(2000 + n), Monotonic(now + SECOND));
            });
        }
        run_for(&mut world, 10 * SECOND);
        world.machine(A).expect("it lives").log.len() - 1
    };
    assert_eq!(count(0), 200, "only the live ones");
    assert_eq!(count(1_000_000), 500, "each arming once");
    assert!((250..350).contains(&count(300_000)), "{}", count(300_000));
}

#[test]
fn wall_clocks_are_each_nodes_own() {
    let mut world = world(1);
    let read = |world: &mut World<Puppet>, node| world.act(node, |_, env| env.wall().0);
    let (a, b) = (read(&mut world, A), read(&mut world, B));
    assert_eq!(a, b);
    world.set_wall_offset(B, -5_000);
    assert_eq!(read(&mut world, B), b - 5_000);
    run_for(&mut world, SECOND);
    assert_eq!(read(&mut world, A), a + 1_000);
    world.set_wall_drift(B, 10_000); // one part in a hundred
    run_for(&mut world, 100 * SECOND);
    assert_eq!(world.wall_offset(B), -5_000 + 1_000);
    world.set_wall_drift(B, 0);
    run_for(&mut world, 100 * SECOND);
    assert_eq!(world.wall_offset(B), -4_000, "it stays where it got to");
}

#[test]
fn encoded_messages_are_what_the_other_end_sees() {
    let mut world = world(1);
    world.set_versions(|_| 3);
    world.set_transcode(Some(Transcode {
        request: |request, version| match request {
            Request::ApiVersions(mut r) => {
                r.client_software_name.push_str(&format!(" v{version}"));
                Ok(Request::ApiVersions(r))
            }
            other => Err(format!("{:?}", other.api())),
        },
        response: |_, _, _| Ok(answer(77)),
    }));
    send(&mut world, "name", SECOND);
    run_for(&mut world, SECOND);
    let log = &world.machine(B).expect("B runs").log;
    assert!(log.iter().any(|(_, event)| matches!(event, Event::Request {
        version: 3, request: Request::ApiVersions(r), ..
    } if r.client_software_name == "name v3")));
    assert_eq!(results(&world), [Ok(77)]);
}

#[test]
fn the_trace_says_what_happened() {
    let mut world = world(1);
    world.trace(true);
    send(&mut world, "hello", SECOND);
    run_for(&mut world, SECOND);
    world.crash(B);
    let trace = world.drain_trace();
    assert!(trace.iter().any(|line| line.contains("0 > request 1 Admin")), "{trace:?}");
    assert!(trace.iter().any(|line| line.contains("1 < Request")), "{trace:?}");
    assert!(trace.iter().any(|line| line.contains("1 * Crash")), "{trace:?}");
    let mut silent = super::tests::world(1);
    send(&mut silent, "hello", SECOND);
    run_for(&mut silent, SECOND);
    silent.crash(B);
    assert_eq!(silent.fingerprint(), world.fingerprint(), "tracing changes nothing");
}

#[test]
fn controls_come_at_their_time() {
    let mut world = world(1);
    let at = world.now() + SECOND;
    world.schedule(at, 42);
    let step = world.next().expect("one thing is scheduled");
    assert_eq!((step.at, step.kind, step.node), (at, StepKind::Control(42), NodeId::NONE));
}
