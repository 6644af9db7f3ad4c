//! The tank's verdict on a run on real processes, from the clients' history and the nodes' notes.
//! Checks that need the disks or the ledger cannot run here.

use std::collections::{BTreeMap, BTreeSet};

use wavetank_core::note::Note;
use wavetank_core::types::NodeId;
use wavetank_server::NotedAt;
use wavetank_sim::invariants::{Kind, Seen, View, by_notes_and_history};
use wavetank_sim::ledger::Ledger;
use wavetank_sim::node::Node;
use wavetank_sim::plan::Plan;
use wavetank_sim::workload::Record;
use wavetank_sim::world::{World, WorldConfig};

use crate::cluster::{Start, Wake};

/// A broken promise: the invariant's name, who could observe it, and what happened.
pub type Wrong = (String, Kind, String);

/// A ledger that allows no loss, because no fault that is played here destroys written data.
fn nothing_lost(plan: &Plan) -> Ledger {
    let voters = plan.cluster.controllers.iter().copied().map(NodeId).collect();
    Ledger::new(voters, BTreeSet::new())
}

/// Judges the history as the tank judges its own. `complete`: it ends with a reader of everything.
pub fn history(records: &[Record], plan: &Plan, complete: bool) -> Vec<Wrong> {
    let verdict = wavetank_sim::history::judge(records, plan, &nothing_lost(plan), complete);
    let wrong = verdict.violations.into_iter();
    wrong.map(|(name, message)| (name, Kind::Client, message)).collect()
}

/// Checks the invariants that need only notes and clients' records. Both are in time order.
pub fn invariants(
    plan: &Plan,
    starts: &[Start],
    notes: &[NotedAt],
    records: &[Record],
) -> Vec<Wrong> {
    let ledger = nothing_lost(plan);
    let world: World<Node> = World::new(plan.seed, WorldConfig::default());
    let view = View { plan, ledger: &ledger, world: &world, calm_since: None };
    let mut invariants = by_notes_and_history();
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut tell = |seen: Seen<'_>| {
        for invariant in &mut invariants {
            if let Err(message) = invariant.see(seen, &view) {
                wrong.push((invariant.name().to_owned(), invariant.kind(), message));
            }
        }
    };
    let mut starts = starts.iter().peekable();
    for noted in notes {
        while let Some(start) = starts.next_if(|start| start.at <= noted.at) {
            tell(Seen::Started(start.node));
        }
        tell(Seen::Note(noted.node, &noted.note));
    }
    records.iter().for_each(|record| tell(Seen::Client(record)));
    for invariant in &mut invariants {
        if let Err(message) = invariant.at_end(records, &view) {
            wrong.push((invariant.name().to_owned(), invariant.kind(), message));
        }
    }
    wrong
}

/// A controller that was paused for longer than any session may have unread heartbeats when it
/// resumes. So it must not end a session within half a session timeout after that.
///
/// The tank sees the sockets and checks a tighter bound. Here, half a session is the margin for a
/// slow machine.
pub fn living_stay(plan: &Plan, wakes: &[Wake], notes: &[NotedAt]) -> Option<Wrong> {
    let session = plan.node.session_timeout_ms * 1_000_000;
    let mut before: BTreeMap<NodeId, u64> = BTreeMap::new();
    for wake in wakes {
        // Sessions are renewed only once, so after a second pause one may end rightly.
        let first = before.insert(wake.node, wake.at).is_none();
        if !first || wake.stood < 2 * session {
            continue;
        }
        let soon = wake.at..wake.at + session / 2;
        let ended = notes.iter().find_map(|noted| match &noted.note {
            Note::SessionExpired { broker } if noted.node == wake.node => {
                soon.contains(&noted.at).then(|| (*broker, noted.at - wake.at))
            }
            _ => None,
        });
        if let Some((broker, after)) = ended {
            let ms = 1_000_000;
            let message = format!(
                "controller {} was paused for {} ms and expired the session of broker {broker} {} \
                 ms after it resumed",
                wake.node,
                wake.stood / ms,
                after / ms
            );
            return Some(("living-stay-unfenced".into(), Kind::WhiteBox, message));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::types::{LeaderEpoch, Offset};
    use wavetank_sim::profile::Profile;

    #[test]
    fn a_leader_that_goes_on_after_a_restart_is_seen() {
        let plan = Profile::First.draw(1);
        let node = NodeId(1);
        let leads = |at: u64, epoch: i32| {
            let note = Note::QuorumLeader { epoch: LeaderEpoch(epoch), start: Offset(0) };
            NotedAt { at, node, note }
        };
        let start = |at: u64| Start { at, node, notes: "".into() };
        let (starts, notes) = ([start(1), start(5)], [leads(2, 1), leads(6, 1)]);
        let wrong = invariants(&plan, &starts, &notes, &[]);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!((wrong[0].0.as_str(), wrong[0].1), ("one-leader-per-epoch", Kind::WhiteBox));
        assert_eq!(invariants(&plan, &starts, &[leads(2, 1), leads(6, 2)], &[]), []);
    }

    #[test]
    fn who_fences_on_waking_is_seen() {
        let plan = Profile::First.draw(1);
        let session = plan.node.session_timeout_ms * 1_000_000;
        let (node, at) = (NodeId(1), 10 * session);
        let ended = |at: u64| {
            let note = Note::SessionExpired { broker: NodeId(2) };
            [NotedAt { at, node, note }]
        };
        let wake = |stood: u64| Wake { at, node, stood };
        let judge = |wakes: &[Wake], notes: &[NotedAt]| living_stay(&plan, wakes, notes).is_some();
        assert!(judge(&[wake(3 * session)], &ended(at + 5)));
        assert!(!judge(&[wake(3 * session)], &ended(at + session)), "it had another session");
        assert!(!judge(&[wake(3 * session)], &ended(at - 5)));
        assert!(!judge(&[wake(session)], &ended(at + 5)), "a short stop");
        let earlier = Wake { at: at - session, ..wake(session) };
        assert!(!judge(&[earlier, wake(3 * session)], &ended(at + 5)), "renewed once");
    }
}
