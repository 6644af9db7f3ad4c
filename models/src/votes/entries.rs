//! The variants of M3 and their bounds. The rules live in the parent module.

use std::net::SocketAddr;

use super::{EPOCHS, LOG, Rules, Votes};
use crate::{Bounds, Entry};

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "M3",
    name: "votes",
    title: "the metadata quorum: votes, pull replication, written and synced",
    variants: &VARIANTS,
    states: [185_895, 1_176_512, 18_774_381],
    check: |variant, bounds| {
        let model = Votes::new(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Votes::new(variant, bounds), address);
    },
};

/// The same in the bounds of Raft's figure 8: four epochs, which need no crash.
pub const FIGURE_8: Entry = Entry {
    id: "M3F",
    name: "votes-figure-8",
    title: "the same, with the epochs of Raft's figure 8 and no crash",
    variants: &["commit-older-epoch"],
    states: [123_728, 854_436, 3_185_203],
    check: |variant, bounds| {
        let model = Votes::figure_8(variant, bounds);
        crate::run(model, variant.map(|_| model.right()))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(Votes::figure_8(variant, bounds), address);
    },
};

const VARIANTS: [&str; 4] = [
    "vote-before-durable",
    "commit-before-sync",
    "leader-resumes-epoch",
    "request-before-recovery",
];

impl Votes {
    /// The correct protocol, in the same bounds.
    fn right(self) -> Votes {
        Votes { rules: Rules::default(), ..self }
    }

    /// The correct protocol, or the variant of that name.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> Votes {
        let mut rules = Rules::default();
        match variant {
            None => {}
            Some("vote-before-durable") => rules.vote_before_durable = true,
            Some("commit-before-sync") => rules.commit_before_sync = true,
            Some("commit-older-epoch") => rules.commit_older_epoch = true,
            Some("leader-resumes-epoch") => rules.leader_resumes_epoch = true,
            Some("request-before-recovery") => rules.request_before_recovery = true,
            Some(other) => {
                let others = FIGURE_8.variants;
                panic!("M3 has no variant {other}; it has {VARIANTS:?} and {others:?}")
            }
        }
        let (epochs, records, crashes) = match bounds {
            Bounds::Small => (2, 0, 1),
            Bounds::Full => (2, 2, 1),
            Bounds::Large => (3, 2, 1),
        };
        Votes { rules, epochs, records, crashes }.in_range()
    }

    /// The same without crashes, but with four epochs: in figure 8 the fourth leader cuts what the
    /// third committed.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn figure_8(variant: Option<&str>, bounds: Bounds) -> Votes {
        let (epochs, records) = match (bounds, variant) {
            (Bounds::Small, None) => (3, 0),
            (Bounds::Small, Some(_)) | (Bounds::Full, _) => (4, 0),
            (Bounds::Large, _) => (4, 2),
        };
        Votes { epochs, records, crashes: 0, ..Votes::new(variant, bounds) }.in_range()
    }

    fn in_range(self) -> Votes {
        let Votes { epochs, records, .. } = self;
        assert!(usize::from(epochs) <= EPOCHS, "epochs fit the arrays");
        assert!(usize::from(records.max(1) + epochs - 1) <= LOG, "the longest log fits");
        self
    }
}
