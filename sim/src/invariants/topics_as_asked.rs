//! If an admin client gets the answer that a topic was created or deleted, the committed metadata
//! log says so, too. A valid topic name is refused only if another name collides.
//!
//! Source: CreateTopics and DeleteTopics are answered when their records are committed (KIP-500);
//! Kafka's `Topic.hasCollision` (metrics cannot tell '.' from '_'). Reason: an answer that a
//! failover undoes is worthless. Each name has one admin client, which sends one request at a time,
//! so each reported deletion is a separate one. It is not promised that the topic still exists (or
//! is still gone) later: a copy of an earlier request that was given up may be executed last.

use super::{Invariant, Kind, Seen, View};
use crate::workload::Recorded;
use std::collections::BTreeMap;
use wavetank_core::client::ClientFact;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::types::Uuid;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct TopicsAsAsked {
    /// How many deletions of each name were reported.
    deleted: BTreeMap<String, u64>,
}

impl Invariant for TopicsAsAsked {
    fn name(&self) -> &'static str {
        "topics-as-asked"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Client(record) = seen else { return Ok(()) };
        match &record.what {
            Recorded::Fact(ClientFact::TopicCreated {
                name,
                topic,
                error: ErrorCode::None,
                ..
            }) if *topic != Uuid::ZERO && !view.ledger.was_made(*topic) => Err(format!(
                "client {} was told that {name} was created as {topic}, which is not committed",
                record.client
            )),
            Recorded::Fact(ClientFact::TopicCreated {
                name,
                error: ErrorCode::InvalidTopic,
                ..
            }) if is_sound(name) && !view.ledger.was_named(|other| collides(name, other)) => {
                Err(format!(
                    "client {} was told that topic name {name} is invalid; it is legal and \
                     collides with no other",
                    record.client
                ))
            }
            Recorded::Fact(ClientFact::TopicDeleted { topic, error: ErrorCode::None, .. }) => {
                let told = self.deleted.entry(topic.name.clone()).or_default();
                *told += 1;
                let removed = view.ledger.times_removed(&topic.name);
                if *told > removed {
                    return Err(format!(
                        "client {} was told {told} times that {} was deleted, but {removed} \
                         deletions are committed",
                        record.client, topic.name
                    ));
                }
                Ok(())
            }
            Recorded::Send { .. }
            | Recorded::Asked { .. }
            | Recorded::Seek { .. }
            | Recorded::Fact(_) => Ok(()),
        }
    }
}

fn is_sound(name: &str) -> bool {
    let legal = |of: char| of.is_ascii_alphanumeric() || "._-".contains(of);
    (1..=249).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".."
}

fn collides(name: &str, other: &str) -> bool {
    name != other && name.replace('.', "_") == other.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use crate::workload::Record;
    use wavetank_core::client::AdminId;
    use wavetank_core::error_code::Certainty;
    use wavetank_core::types::{NodeId, TopicRef};

    #[test]
    fn an_answer_without_a_committed_record_is_caught() {
        let bench = Bench::new();
        let mut invariant = TopicsAsAsked::default();
        let mut see = |fact| {
            let record = Record { at: 0, client: NodeId(105), what: Recorded::Fact(fact) };
            invariant.see(Seen::Client(&record), &bench.view())
        };
        let (id, certainty) = (AdminId(0), Certainty::Done);
        let created = |error| ClientFact::TopicCreated {
            id,
            name: "churn0".into(),
            topic: Uuid(1),
            error,
            certainty,
        };
        assert_eq!(see(created(ErrorCode::TopicAlreadyExists)), Ok(()));
        assert!(
            see(created(ErrorCode::InvalidTopic)).unwrap_err().contains("collides with no other")
        );
        assert!(!is_sound("a/b") && !is_sound("..") && collides("a.b", "a_b"));
        assert!(see(created(ErrorCode::None)).unwrap_err().contains("is not committed"));
        let topic = TopicRef::name("churn0");
        let deleted = ClientFact::TopicDeleted { id, topic, error: ErrorCode::None, certainty };
        assert!(see(deleted).unwrap_err().contains("told 1 times"));
    }
}
