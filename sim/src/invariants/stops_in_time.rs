//! A node that is asked to stop, with nothing in its way, ends before its own hand-over timeout.
//!
//! Source: Kafka's controlled shutdown (KIP-631: the controller moves the leaderships away, waits
//! until the others know, and says so in a heartbeat's answer). Reason: a node that never gets
//! permission to stop stops anyway, and nothing is lost. But each restart of a cluster takes
//! longer, and an operator with less patience kills the node.
//!
//! Nothing is in its way if no fault has been in force for a broker's session timeout, and none
//! strikes meanwhile.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::NodeId;

const SECOND: u64 = 1_000_000_000;

/// How long a broker waits for permission to stop (`HAND_OVER_MAX` in the core's lifecycle), ns.
const PATIENCE: u64 = 5 * SECOND;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct StopsInTime {
    /// Nodes that were asked to stop with nothing in their way, and when, ns.
    asked: BTreeMap<NodeId, u64>,
}

impl Invariant for StopsInTime {
    fn name(&self) -> &'static str {
        "stops-in-time"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Fault("restart", &[node]) if self.asked.is_empty() => {
                let now = view.world.now();
                let settled = view.plan.node.session_timeout_ms * 1_000_000;
                if view.calm_since.is_some_and(|since| now >= since + settled) {
                    self.asked.insert(node, now);
                }
            }
            // Any other fault is in the way.
            Seen::Fault(..) => self.asked.clear(),
            Seen::Started(node) => {
                self.asked.remove(&node);
            }
            Seen::Note(node, Note::ShutDown { .. }) => {
                let Some(asked) = self.asked.remove(&node) else { return Ok(()) };
                let took = view.world.now() - asked;
                if took >= PATIENCE {
                    return Err(format!(
                        "node {node} took {} ms to stop, although nothing delayed it",
                        took / 1_000_000
                    ));
                }
            }
            Seen::Note(..) | Seen::Finding(_) | Seen::Client(_) | Seen::OddAnswer(..) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;

    const NODE: NodeId = NodeId(2);

    /// The verdict on a stop that takes `took` ns, after `calm` ns of calm, with these events
    /// meanwhile.
    fn stop(calm: Option<u64>, meanwhile: &[Seen<'_>], took: u64) -> Result<(), String> {
        let (mut bench, mut invariant) = (Bench::new(), StopsInTime::default());
        bench.wait(100 * SECOND);
        let calm_since = calm.map(|calm| bench.view().world.now() - calm);
        let asked = [Seen::Fault("restart", &[NODE])];
        for seen in asked.iter().chain(meanwhile) {
            invariant.see(*seen, &View { calm_since, ..bench.view() })?;
        }
        bench.wait(took);
        invariant.see(Seen::Note(NODE, &Note::ShutDown { clean: true }), &bench.view())
    }

    #[test]
    fn a_stop_that_nobody_lets_end_is_caught() {
        let long = Some(60 * SECOND);
        assert_eq!(stop(long, &[], SECOND), Ok(()));
        assert!(stop(long, &[], 5 * SECOND).unwrap_err().contains("took 5000 ms to stop"));
        assert_eq!(stop(None, &[], 5 * SECOND), Ok(()), "something is missing");
        assert_eq!(stop(Some(1), &[], 5 * SECOND), Ok(()), "something was");
        let struck = [Seen::Fault("crash", &[NodeId(1)])];
        assert_eq!(stop(long, &struck, 5 * SECOND), Ok(()), "something is in its way");
        assert_eq!(
            stop(long, &[Seen::Started(NODE)], 5 * SECOND),
            Ok(()),
            "it was another process"
        );
    }
}
