//! The bug zoo: safety rules learned from past bugs, each named after what happens without it.
//!
//! A node is constructed with a [`FlawSet`]. It is empty unless the tank or a model fills it; no
//! configuration file or flag of the server can. A flaw flips one predicate at the rule's line, or
//! calls one function in this module; it is never a second code path inside a rule.

use core::fmt;

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flaw {
    /// A follower truncates its log to its own high watermark instead of asking the leader where
    /// its last epoch ends.
    TruncateToHighWatermark,
    /// A leader asked about an epoch that it never had answers with the start of the next one
    /// under the asked epoch's name, instead of with its largest smaller epoch.
    UnknownEpochAnsweredWithNext,
    /// acks=all is answered as soon as the leader has appended.
    AckAtLeaderAppend,
    /// Under flush-before-ack, data that is written but not yet synced counts as acknowledged.
    AckBeforeFlush,
    /// A voter answers before its vote is on disk.
    VoteBeforeDurable,
    /// A follower joins the ISR at the high watermark, though that lies below the start of the
    /// leader's epoch.
    EarlyIsrJoin,
    /// A leader that restarts keeps leading in the epoch that it led before.
    LeaderResumesEpoch,
    /// While an ISR expansion is pending, the high watermark follows the committed ISR instead of
    /// the maximal one.
    HighWatermarkByCommittedIsr,
    /// Recovery accepts a batch whose CRC is wrong.
    TornTailAccepted,
    /// A failed sync is retried.
    FailedSyncRetried,
    /// A candidate whose pre-vote is answered with the leader that it has lost contact with goes
    /// back to following that leader.
    LostLeaderIsNews,
    /// A log is cut although a checkpoint (recovery point, high watermark) still vouches for the
    /// removed records.
    CutBelowRecoveryPoint,
    /// The quorum takes requests before it has read its vote and its log.
    RequestBeforeRecovery,
    /// A node that is closing its logs keeps appending what arrives.
    AppendWhileClosing,
    /// The refusal of a retried ISR change also ends the wait for its earlier copies, which may
    /// still be executed.
    RefusalIsFinal,
    /// A controller that was paused for longer than a session fences every broker when it resumes.
    FenceOnWaking,
}

/// The zoo's description of a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// The name that commands and JSON use.
    pub name: &'static str,
    /// Where the bug is known from.
    pub source: &'static str,
    /// What goes wrong, in one paragraph.
    pub story: &'static str,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 16] = [
        Flaw::TruncateToHighWatermark,
        Flaw::UnknownEpochAnsweredWithNext,
        Flaw::AckAtLeaderAppend,
        Flaw::AckBeforeFlush,
        Flaw::VoteBeforeDurable,
        Flaw::EarlyIsrJoin,
        Flaw::LeaderResumesEpoch,
        Flaw::HighWatermarkByCommittedIsr,
        Flaw::TornTailAccepted,
        Flaw::FailedSyncRetried,
        Flaw::LostLeaderIsNews,
        Flaw::CutBelowRecoveryPoint,
        Flaw::RequestBeforeRecovery,
        Flaw::AppendWhileClosing,
        Flaw::RefusalIsFinal,
        Flaw::FenceOnWaking,
    ];

    /// Its name, source and story.
    pub fn story(self) -> Story {
        STORIES[self as usize]
    }

    /// The flaw with that name.
    pub fn from_name(name: &str) -> Option<Flaw> {
        Flaw::ALL.into_iter().find(|flaw| flaw.story().name == name)
    }
}

/// In the order of the variants.
const STORIES: [Story; Flaw::ALL.len()] = [
    // TruncateToHighWatermark
    Story {
        name: "truncate-to-high-watermark",
        source: "KIP-101 scenario 1, KAFKA-1211",
        story: "A follower holds an acknowledged record above its own high watermark, which lags \
                by one fetch. It restarts and truncates its log to that high watermark. The leader \
                dies before the follower has fetched the record again, and the follower becomes \
                leader without it.",
    },
    // UnknownEpochAnsweredWithNext
    Story {
        name: "unknown-epoch-answered-with-next",
        source: "KIP-279, KAFKA-6361",
        story: "After two quick elections a follower's last epoch is one that the leader never \
                had. Told where the next epoch starts, it keeps records that the leader does not \
                have: the logs diverge below the high watermark.",
    },
    // AckAtLeaderAppend
    Story {
        name: "ack-at-leader-append",
        source: "the acks=all contract; Kafka's replication design, 4.7",
        story: "The leader answers acks=all once it has appended the record itself. It crashes \
                before a follower has fetched the record, and the acknowledged record is lost.",
    },
    // AckBeforeFlush
    Story {
        name: "ack-before-flush",
        source: "flush.messages=1; NATS 2.12.1 (Jepsen 2025), Raft section 3.8",
        story: "A broker that must flush before it acknowledges counts records that are only in \
                page caches. All nodes lose power, and acknowledged records are lost.",
    },
    // VoteBeforeDurable
    Story {
        name: "vote-before-durable",
        source: "Raft section 3.8, KIP-595 quorum-state",
        story: "A voter answers that it grants its vote, loses power before the vote is on disk, \
                and votes for another candidate in the same epoch: two leaders.",
    },
    // EarlyIsrJoin
    Story {
        name: "early-isr-join",
        source: "KAFKA-7128",
        story: "A new leader's high watermark is stale. A follower that has fetched up to it, but \
                not up to the start of the leader's epoch, joins the ISR. It is elected, and lacks \
                records that were acknowledged in the previous epoch.",
    },
    // LeaderResumesEpoch
    Story {
        name: "leader-resumes-epoch",
        source: "KAFKA-10527",
        story: "A leader loses its unflushed tail, restarts and keeps leading in the same epoch. \
                It reuses an (offset, epoch) that a follower already holds for another record, and \
                no check can tell the two logs apart.",
    },
    // HighWatermarkByCommittedIsr
    Story {
        name: "high-watermark-by-committed-isr",
        source: "KIP-497, KAFKA-12686",
        story: "The controller has accepted an ISR expansion that the leader does not know of yet. \
                The leader advances the high watermark without the new member, which is then \
                elected and lacks acknowledged records.",
    },
    // TornTailAccepted
    Story {
        name: "torn-tail-accepted",
        source: "ALICE (OSDI 2014); Kafka's log recovery",
        story: "A power loss tears the last write. Recovery trusts the batch's length and does not \
                check its CRC: half a batch becomes part of the log.",
    },
    // FailedSyncRetried
    Story {
        name: "failed-sync-retried",
        source: "fsyncgate; Rebello et al., ATC 2020",
        story: "A sync fails and the kernel marks the pages clean. The broker retries the sync, \
                which succeeds, and acknowledges records that are not on disk.",
    },
    // LostLeaderIsNews
    Story {
        name: "lost-leader-is-news",
        source: "found by the tank in this broker; KIP-996",
        story: "Two followers lose their leader. Each grants the other's pre-vote, and each grant \
                names the dead leader. The candidate treats that as news: it follows that leader \
                again and drops the grant. No leader is ever elected.",
    },
    // CutBelowRecoveryPoint
    Story {
        name: "cut-below-recovery-point",
        source: "found by the tank in this broker; Kafka's LogManager.truncateTo",
        story: "A follower truncates its log below its checkpointed recovery point or high \
                watermark, because a new leader's log diverges there. Its process ends before the \
                checkpoint is lowered. At the next start the log ends below the recovery point, \
                and the node refuses to start. Or other records are there by then, and count as \
                committed below the old high watermark.",
    },
    // RequestBeforeRecovery
    Story {
        name: "request-before-recovery",
        source: "found by the tank in this broker",
        story: "A node restarts, and the first request it reads is a new leader's \
                BeginQuorumEpoch. It follows that leader, and stores this in a directory that is \
                not open yet, over a vote that it has not read: the process ends.",
    },
    // AppendWhileClosing
    Story {
        name: "append-while-closing",
        source: "found by review in this broker",
        story: "A node stops gracefully. A fetch response arrives after its logs were synced and \
                before its clean-shutdown mark is written, and its records are appended: the mark \
                vouches for records that are only in the page cache, and recovery after a power \
                loss does not check them.",
    },
    // RefusalIsFinal
    Story {
        name: "refusal-is-final",
        source: "found by review in this broker; KIP-497",
        story: "A leader asks the controller to add a follower to the ISR; the request is delayed, \
                and is sent again. The second copy is refused, because the follower was just \
                fenced, and the leader continues without it. Then the first copy arrives, and the \
                follower, which is back, is in the ISR without the records acknowledged meanwhile.",
    },
    // FenceOnWaking
    Story {
        name: "fence-on-waking",
        source: "found by review in this broker; the spirit of KAFKA-15019",
        story: "A controller's process is paused for longer than a session timeout. When it \
                resumes, its session timers fire before it reads the heartbeats that wait in its \
                sockets: it fences every live broker, and each partition loses its leader and its \
                ISR.",
    },
];

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.story().name)
    }
}

/// The flaws that a node was built with. Fixed for its lifetime, and not part of hashes and
/// comparisons, so that a model's states with and without a flaw have the same shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlawSet(u64);

impl FlawSet {
    /// No flaw.
    pub const NONE: FlawSet = FlawSet(0);

    /// Whether the rule is left out.
    pub fn has(self, flaw: Flaw) -> bool {
        self.0 & (1 << flaw as u8) != 0
    }

    /// This set with one more flaw.
    pub fn with(self, flaw: Flaw) -> FlawSet {
        FlawSet(self.0 | 1 << flaw as u8)
    }

    /// Whether the node keeps every rule.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flaws that are set, in order.
    pub fn iter(self) -> impl Iterator<Item = Flaw> {
        Flaw::ALL.into_iter().filter(move |flaw| self.has(*flaw))
    }
}

impl FromIterator<Flaw> for FlawSet {
    fn from_iter<I: IntoIterator<Item = Flaw>>(flaws: I) -> FlawSet {
        flaws.into_iter().fold(FlawSet::NONE, FlawSet::with)
    }
}

impl PartialEq for FlawSet {
    fn eq(&self, _: &FlawSet) -> bool {
        true
    }
}

impl Eq for FlawSet {}

impl core::hash::Hash for FlawSet {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flaw_has_its_own_story() {
        for (index, flaw) in Flaw::ALL.into_iter().enumerate() {
            assert_eq!(flaw as usize, index, "ALL and STORIES are in the order of the variants");
            assert_eq!(Flaw::from_name(flaw.story().name), Some(flaw));
            // `TornTailAccepted` is "torn-tail-accepted".
            let variant: alloc::string::String = alloc::format!("{flaw:?}").to_lowercase();
            assert_eq!(flaw.story().name.replace('-', ""), variant);
        }
    }
}
