//! What timers and clocks promise.

use std::time::Duration;

use wavetank_core::env::Timers;
use wavetank_core::event::{Event, TimerKey};
use wavetank_core::types::Monotonic;

use super::{Harness, PATIENCE};

const ONE: TimerKey = TimerKey::Workload(1);
const TWO: TimerKey = TimerKey::Workload(2);

fn arm(h: &mut dyn Harness, timers: &[(TimerKey, Monotonic)]) {
    let timers = timers.to_vec();
    h.act(
        0,
        Box::new(move |env| {
            let env: &mut dyn Timers = env;
            for (key, deadline) in timers {
                env.arm(key, deadline);
            }
        }),
    );
}

fn fired(h: &mut dyn Harness, within: Duration) -> Option<(TimerKey, Monotonic)> {
    match h.event(0, within) {
        Some(Event::Timer { key, deadline }) => {
            assert!(h.now(0) >= deadline, "{key:?} fired before its deadline");
            Some((key, deadline))
        }
        None => None,
        Some(other) => panic!("expected a timer, got {other:?}"),
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn not_before_the_deadline(h: &mut dyn Harness) {
    let start = h.now(0);
    let (early, late) = (start.after(ms(20)), start.after(ms(80)));
    arm(h, &[(TWO, late), (ONE, early)]);
    assert_eq!(fired(h, PATIENCE), Some((ONE, early)));
    assert_eq!(fired(h, PATIENCE), Some((TWO, late)));
    assert_eq!(fired(h, ms(100)), None, "each once");
}

pub(super) fn rearming_replaces(h: &mut dyn Harness) {
    for (first, second) in [(20, 60), (60, 20)] {
        let start = h.now(0);
        let (first, second) = (start.after(ms(first)), start.after(ms(second)));
        arm(h, &[(ONE, first), (ONE, second)]);
        let mut seen = Vec::new();
        while let Some((key, deadline)) = fired(h, ms(150)) {
            assert_eq!(key, ONE);
            seen.push(deadline);
        }
        // The replaced timer may fire too (told apart by its deadline). The live one fires once.
        assert_eq!(seen.iter().filter(|d| **d == second).count(), 1, "{seen:?}");
        assert!(seen.iter().filter(|d| **d == first).count() <= 1, "{seen:?}");
    }
}

pub(super) fn disarming(h: &mut dyn Harness) {
    let start = h.now(0);
    let (one, two) = (start.after(ms(20)), start.after(ms(60)));
    arm(h, &[(ONE, one), (TWO, two)]);
    h.act(0, Box::new(|env| env.disarm(ONE)));
    let mut seen = Vec::new();
    while let Some(timer) = fired(h, ms(150)) {
        seen.push(timer);
    }
    seen.retain(|timer| *timer != (ONE, one)); // may still fire: a disarm is best effort
    assert_eq!(seen, [(TWO, two)]);
    h.act(0, Box::new(|env| env.disarm(TWO))); // nothing to disarm: a no-op
    let again = h.now(0).after(ms(10));
    arm(h, &[(ONE, again)]);
    assert_eq!(fired(h, PATIENCE), Some((ONE, again)), "disarmed is not dead");
}

pub(super) fn the_past_is_now(h: &mut dyn Harness) {
    let now = h.now(0);
    arm(h, &[(ONE, now)]);
    assert_eq!(fired(h, ms(1000)), Some((ONE, now)));
    let past = Monotonic(now.0 / 2);
    arm(h, &[(ONE, past)]);
    assert_eq!(fired(h, ms(1000)), Some((ONE, past)));
    arm(h, &[(ONE, Monotonic(u64::MAX))]);
    assert_eq!(fired(h, ms(100)), None, "the end of time is far");
}

pub(super) fn the_clock_stands_still_in_a_step(h: &mut dyn Harness) {
    h.act(
        0,
        Box::new(|env| {
            let (now, wall) = (env.now(), env.wall());
            for _ in 0..1000 {
                env.draw(wavetank_core::env::Site::Uuid, u64::MAX);
            }
            assert_eq!((env.now(), env.wall()), (now, wall));
        }),
    );
    let before = h.now(0);
    assert_eq!(h.event(0, ms(20)), None);
    assert!(h.now(0) >= before.after(ms(20)), "time goes on between steps");
}
