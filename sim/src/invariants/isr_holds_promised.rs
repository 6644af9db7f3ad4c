//! Each member of a committed ISR holds what is promised, from the moment the registration is
//! committed. If the topic flushes, the member holds it on its media.
//!
//! Source: KIP-497, KIP-903 (which replicas may join); leader completeness among all that may be
//! elected (KIP-966). Reason: the controller may elect any member of the ISR. Whether it does so
//! while a member lacks something is luck, and a run should not depend on luck. This invariant
//! detects a late request that readmits a lagging replica even if the leader stays up. What a fault
//! of the tank took from a member does not count, since nobody can know of it before the member is
//! back ([`crate::ledger`]).

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Finding;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct IsrHoldsPromised;

impl Invariant for IsrHoldsPromised {
    fn name(&self) -> &'static str {
        "isr-holds-promised"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Finding(Finding::Unfit {
            partition,
            partition_epoch,
            isr,
            member,
            batch,
            durably,
        }) = seen
        else {
            return Ok(());
        };
        Err(format!(
            "{}: the ISR {isr:?} is committed in partition epoch {partition_epoch}, but its member \
             {member} does not have {batch}{}, which is promised",
            view.name(*partition),
            if *durably { " on its media" } else { "" }
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bench, EVENTS};
    use super::*;
    use crate::ledger::fixture;
    use wavetank_core::note::Note;
    use wavetank_core::types::{NodeId, Offset};

    #[test]
    fn a_member_that_lacks_what_is_promised_is_told_when_it_is_registered() {
        let mut bench = Bench::new();
        let partition = bench.host(&[1, 2, 3]);
        bench.register(&[1, 2], 4);
        let (first, second) = (fixture::batch(0, 1, 1, 7), fixture::batch(1, 1, 1, 8));
        for (node, batches) in [(1, 2), (2, 2), (3, 1)] {
            for batch in [&first, &second].into_iter().take(batches) {
                bench.write(NodeId(node), EVENTS, batch.clone());
            }
        }
        let (from, to) = (Offset(0), Offset(2));
        bench.note(NodeId(1), &Note::HighWatermark { partition, leader: true, from, to });
        assert_eq!(bench.findings, []);
        // The same ISR again, or a smaller one: no member lacks anything.
        bench.register(&[1, 2], 5);
        bench.register(&[2], 6);
        assert_eq!(bench.findings, []);
        bench.register(&[1, 2, 3], 7);
        let [finding @ Finding::Unfit { member: NodeId(3), .. }] = &bench.findings[..] else {
            panic!("{:?}", bench.findings)
        };
        let wrong = IsrHoldsPromised.see(Seen::Finding(finding), &bench.view()).unwrap_err();
        let batch = fixture::id(&second);
        assert!(wrong.contains(&format!("3 does not have {batch}, which is promised")), "{wrong}");
        // Once it has caught up, it is fit.
        bench.findings.clear();
        bench.write(NodeId(3), EVENTS, second);
        bench.register(&[1, 2, 3], 8);
        assert_eq!(bench.findings, []);
    }
}
