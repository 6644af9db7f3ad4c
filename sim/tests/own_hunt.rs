//! A promise of our own, hunted through twenty storms: nobody reads what nobody sent.

use std::{collections::BTreeSet, sync::Arc};
use wavetank_core::client::ClientFact;
use wavetank_sim::invariants::{Invariant, Kind, Seen, View};
use wavetank_sim::{hunt::*, run::Options, workload::Recorded};

#[derive(Clone, Debug, Default)]
struct NoPhantoms(BTreeSet<Vec<u8>>);

impl Invariant for NoPhantoms {
    fn name(&self) -> &'static str {
        "no-phantoms"
    }
    fn kind(&self) -> Kind {
        Kind::Client
    }
    fn see(&mut self, seen: Seen<'_>, _: &View<'_>) -> Result<(), String> {
        let Seen::Client(record) = seen else { return Ok(()) };
        if let Recorded::Send { value, .. } = &record.what {
            self.0.insert(value.to_vec());
        }
        if let Recorded::Fact(ClientFact::Records { records, partition, .. }) = &record.what {
            for read in records {
                if !self.0.contains(read.value.as_deref().unwrap_or_default()) {
                    return Err(format!("{partition} holds a phantom at {}", read.offset));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn nobody_reads_what_nobody_sent() {
    let report = hunt(&HuntOptions {
        seeds: 0..20,
        additions: Some(Arc::new(|_plan| Options {
            invariants: vec![Box::<NoPhantoms>::default()],
            ..Options::default()
        })),
        ..HuntOptions::default()
    });
    report.assert_green();
}
