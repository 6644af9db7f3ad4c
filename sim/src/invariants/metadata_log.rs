//! The committed metadata log can be replayed: each record is valid, and fits what came before it.
//!
//! Source: KIP-631. A controller writes only records that its state admits. Reason: every node and
//! every later controller replays it. One that cannot is stuck forever.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Finding;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct MetadataLog;

impl Invariant for MetadataLog {
    fn name(&self) -> &'static str {
        "metadata-log-replays"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Finding(Finding::Unreadable { node, batch, why }) => Err(format!(
                "the committed metadata log does not replay: {batch} on node {node}: {why}"
            )),
            Seen::Finding(_)
            | Seen::Note(..)
            | Seen::Started(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::NodeId;

    #[test]
    fn a_record_that_is_none_is_caught() {
        let bench = Bench::new();
        let finding = Finding::Unreadable {
            node: NodeId(1),
            batch: bench.batch(),
            why: "no such record".into(),
        };
        let wrong = MetadataLog.see(Seen::Finding(&finding), &bench.view()).unwrap_err();
        assert!(wrong.contains("no such record"), "{wrong}");
    }
}
