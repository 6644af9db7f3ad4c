//! A controller that was paused does not fence live brokers: when it resumes, it ends no session of
//! a broker whose heartbeat, sent meanwhile, waits unread in its sockets. A controller that was not
//! paused renews no session without a heartbeat.
//!
//! Source: the meaning of `broker.session.timeout.ms` (KIP-631), that fencing is for silent
//! brokers; the spirit of KAFKA-15019, that a heartbeat counts if it arrived in time and is handled
//! late. Reason: otherwise one pause of the controller (SIGSTOP, a suspended machine) costs every
//! partition its leader and its ISR. But a dead broker must be fenced when its session is over, not
//! one session later. Exceptions: a session that ended less than a quarter of a heartbeat interval
//! before the controller resumed (its timer is then no later than on a busy node), and one that was
//! already renewed without a heartbeat, since a controller that is always late must fence dead
//! brokers.

use std::collections::BTreeMap;

use super::{Invariant, Kind, Seen, View};
use crate::world::Wake;
use wavetank_core::msg::Request;
use wavetank_core::note::Note;
use wavetank_core::types::NodeId;

/// Did a session of at most `session` ns end because of the controller's pause? Not if it was
/// `renewed` for this pause already, nor if the broker was silent since the resume.
fn is_for_the_stop(wake: &Wake, session: u64, renewed: Option<u64>, now: u64) -> bool {
    let before = (wake.at - wake.stopped_for).saturating_sub(session);
    wake.stopped_for > session
        && now < wake.at + session / 2
        && renewed.is_none_or(|renewed| renewed < before)
}

/// Has the controller just resumed after a pause of more than `late` ns, so that a timer may be
/// that late?
fn stood_still(wake: &Wake, late: u64, session: u64, now: u64) -> bool {
    wake.stopped_for > late && now < wake.at + session / 2
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct LivingStay {
    /// When a controller (first) renewed a broker's (second) session, ns.
    renewed: BTreeMap<(NodeId, NodeId), u64>,
}

impl Invariant for LivingStay {
    fn name(&self) -> &'static str {
        "living-stay-unfenced"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Note(controller, note) = seen else { return Ok(()) };
        let ms = 1_000_000;
        let node = &view.plan.node;
        let late = node.heartbeat_interval_ms * ms / 4;
        let session = node.session_timeout_ms * ms + late;
        let wake = view.world.last_wake(controller);
        if let Note::SessionRenewed { broker } = note {
            self.renewed.insert((controller, *broker), view.world.now());
            if !stood_still(wake, late, session, view.world.now()) {
                return Err(format!(
                    "controller {controller} renewed the session of silent node {broker}, but had \
                     not been paused"
                ));
            }
        }
        let Note::SessionExpired { broker } = note else { return Ok(()) };
        let renewed = self.renewed.get(&(controller, *broker)).copied();
        if !is_for_the_stop(wake, session, renewed, view.world.now()) {
            return Ok(());
        }
        let epoch = view.ledger.image().brokers.get(broker).map(|known| known.epoch);
        let waits = view.world.unread_since_wake(controller).any(|request| match request {
            Request::BrokerHeartbeat(beat) => {
                beat.broker == *broker && Some(beat.broker_epoch) == epoch
            }
            _ => false,
        });
        if !waits {
            return Ok(());
        }
        Err(format!(
            "controller {controller} was paused for {} ms and fenced node {broker}, whose \
             heartbeat was waiting in the controller's sockets",
            wake.stopped_for / ms
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_on_waking_ended_for_the_stop() {
        let session = 1_000;
        let wake = Wake { at: 50_000, stopped_for: 1_001, waiting: Vec::new() };
        let judged = |wake: &Wake, renewed, now| is_for_the_stop(wake, session, renewed, now);
        assert!(judged(&wake, None, 50_000));
        assert!(judged(&wake, Some(100), 50_010), "renewed long ago");
        assert!(!judged(&wake, Some(48_500), 50_000), "renewed before this stop: once");
        assert!(!judged(&wake, Some(50_000), 50_010), "renewed after it");
        assert!(!judged(&wake, None, 51_000), "not heard since it woke");
        assert!(!judged(&Wake { stopped_for: 999, ..wake }, None, 50_000), "a short stop");
    }

    #[test]
    fn a_session_is_renewed_only_right_after_a_stop() {
        let wake = Wake { at: 50_000, stopped_for: 101, waiting: Vec::new() };
        assert!(stood_still(&wake, 100, 1_000, 50_000));
        assert!(!stood_still(&wake, 100, 1_000, 50_500), "long ago");
        assert!(!stood_still(&wake, 101, 1_000, 50_000), "too short to make a timer late");
        let never = Wake { at: 0, stopped_for: 0, waiting: Vec::new() };
        assert!(!stood_still(&never, 100, 1_000, 1));
    }
}
