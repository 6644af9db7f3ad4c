//! An answer does not contradict itself, by Kafka's schemas and by what Apache Kafka's own handlers
//! put into them.
//!
//! Source: Kafka's message schemas (`clients/src/main/resources/common/message`): what an error
//! leaves unknown has its field's default (-1, nothing, the zero UUID); KIP-525 for `CreateTopics`,
//! KIP-590 for what an envelope's own error may be, KIP-951 for the leader in a refusal. Reason:
//! clients in other languages read and trust these fields. The tank's own client retries most
//! requests and would never notice.
//!
//! What is not judged here: whether an answer is true. Other invariants check that against what
//! happened.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeSet;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    AlterPartitionResponse, CreatableTopicResult, FetchPartitionResponse, FetchResponse,
    ListOffsetsPartitionResponse, MetadataPartition, MetadataResponse, ProducePartitionResponse,
    Response,
};
use wavetank_core::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Uuid};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Answers;

impl Invariant for Answers {
    fn name(&self) -> &'static str {
        "answers-by-schema"
    }

    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn see(&mut self, seen: Seen<'_>, _: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::OddAnswer(node, why) => Err(format!("node {node} answered {why}")),
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Started(_)
            | Seen::Client(_)
            | Seen::Fault(..) => Ok(()),
        }
    }
}

/// Checks an answer by itself.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn check(response: &Response) -> Result<(), String> {
    let odd = match response {
        Response::Produce(produce) => {
            let mut partitions = produce.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.find_map(of_produce)
        }
        Response::Fetch(fetch) => of_fetch(fetch),
        Response::ListOffsets(list) => {
            let mut partitions = list.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.find_map(of_looked_up)
        }
        Response::Metadata(metadata) => of_metadata(metadata),
        Response::ApiVersions(versions) => {
            let sorted = versions.apis.is_sorted_by(|one, next| one.0 < next.0);
            says(!sorted, "duplicate or unsorted APIs").or(says(
                versions.apis.iter().any(|api| api.1 > api.2),
                "a minimum version above the maximum",
            ))
        }
        Response::CreateTopics(created) => created.topics.iter().find_map(of_creation),
        Response::DeleteTopics(deleted) => deleted.topics.iter().find_map(|(topic, error, _)| {
            let unnamed = topic.name.is_empty() || topic.id == Uuid::ZERO;
            says(error.is_ok() && unnamed, "a deleted topic without its name or id")
        }),
        Response::OffsetForLeaderEpoch(ends) => {
            let mut partitions = ends.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.find_map(|one| {
                let nothing = one.end_offset == Offset(-1) && one.leader_epoch == LeaderEpoch::NONE;
                let half =
                    (one.end_offset == Offset(-1)) != (one.leader_epoch == LeaderEpoch::NONE);
                says(!one.error.is_ok() && !nothing, "the end of an epoch and an error")
                    .or(says(half, "an end offset without an epoch, or the reverse"))
            })
        }
        Response::Vote(vote) => {
            says(vote.vote_granted && !vote.error.is_ok(), "a vote and an error")
        }
        Response::BeginQuorumEpoch(_) | Response::EndQuorumEpoch(_) => None,
        Response::AlterPartition(altered) => of_alteration(altered),
        Response::Envelope(envelope) => {
            let error = envelope.error;
            return match &envelope.response {
                Some(inner) if error.is_ok() => check(inner),
                None if fails_envelopes(error) => Ok(()),
                inside => {
                    let inside = if inside.is_some() { "an answer" } else { "no answer" };
                    Err(format!("{inside} in an envelope with error {error:?} (KIP-590)"))
                }
            };
        }
        Response::BrokerRegistration(registered) => {
            let epoch = registered.broker_epoch != BrokerEpoch::NONE;
            says(epoch != registered.error.is_ok(), "both a broker epoch and an error, or neither")
        }
        Response::BrokerHeartbeat(beat) => {
            let defaults = beat.is_fenced && !beat.is_caught_up && !beat.should_shut_down;
            says(!beat.error.is_ok() && !defaults, "a broker's state and an error").or(says(
                beat.should_shut_down && !beat.is_fenced,
                "an unfenced broker that should shut down",
            ))
        }
    };
    odd.map_or(Ok(()), |odd| Err(format!("{:?} with {odd}: {response:?}", response.api())))
}

fn says(wrong: bool, what: &'static str) -> Option<&'static str> {
    wrong.then_some(what)
}

/// Errors of the envelope itself. All others belong to the answer in it.
fn fails_envelopes(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotController | ErrorCode::InvalidRequest | ErrorCode::UnsupportedVersion
    )
}

fn of_produce(one: &ProducePartitionResponse) -> Option<&'static str> {
    // Appended records may have both an offset and an error.
    let appended = matches!(
        one.error,
        ErrorCode::None | ErrorCode::NotEnoughReplicasAfterAppend | ErrorCode::RequestTimedOut
    );
    says(!appended && one.base_offset != Offset(-1), "an offset although nothing was appended")
        .or(says(
            !appended && one.log_append_time_ms != -1,
            "an append time although nothing was appended",
        ))
        .or(says(one.error.is_ok() && one.error_message.is_some(), "an error message but no error"))
        .or(says(one.error.is_ok() && !one.record_errors.is_empty(), "record errors but no error"))
        .or(says(one.base_offset < Offset(-1), "a negative offset"))
}

fn of_fetch(fetch: &FetchResponse) -> Option<&'static str> {
    let mut partitions = fetch.topics.iter().flat_map(|topic| &topic.partitions);
    says(!fetch.error.is_ok() && !fetch.topics.is_empty(), "partitions and an error")
        .or_else(|| partitions.find_map(of_fetched))
}

fn of_fetched(one: &FetchPartitionResponse) -> Option<&'static str> {
    let failed = !one.error.is_ok();
    let ordered = one.records.is_sorted_by(|before, next| before.base_offset < next.base_offset);
    says(failed && !one.records.is_empty(), "records and an error")
        .or(says(failed && one.diverging_epoch.is_some(), "a divergence and an error"))
        .or(says(
            failed && one.last_stable_offset != Offset(-1),
            "a last stable offset and an error",
        ))
        .or(says(
            one.diverging_epoch.is_some() && !one.records.is_empty(),
            "both records and a diverging epoch",
        ))
        .or(says(!ordered, "batches out of order"))
        .or(says(
            one.high_watermark != Offset(-1) && one.log_start_offset > one.high_watermark,
            "a log start offset above the high watermark",
        ))
        .or(says(
            one.last_stable_offset > one.high_watermark,
            "a last stable offset above the high watermark",
        ))
}

fn of_looked_up(one: &ListOffsetsPartitionResponse) -> Option<&'static str> {
    let nothing =
        one.offset == Offset(-1) && one.timestamp == -1 && one.leader_epoch == LeaderEpoch::NONE;
    says(!one.error.is_ok() && !nothing, "an offset and an error")
        .or(says(one.offset < Offset(-1) || one.timestamp < -1, "a negative offset"))
}

fn of_alteration(altered: &AlterPartitionResponse) -> Option<&'static str> {
    let mut partitions = altered.topics.iter().flat_map(|(_, partitions)| partitions);
    says(!altered.error.is_ok() && !altered.topics.is_empty(), "partitions and an error").or_else(
        || {
            partitions.find_map(|one| {
                let led = one.leader == NodeId::NONE || one.isr.contains(&one.leader);
                let repeats = one.isr.iter().collect::<BTreeSet<_>>().len() < one.isr.len();
                let ok = one.error.is_ok();
                says(ok && (one.isr.is_empty() || repeats), "an empty ISR, or one with duplicates")
                    .or(says(ok && !led, "a leader outside the ISR"))
            })
        },
    )
}

fn of_metadata(metadata: &MetadataResponse) -> Option<&'static str> {
    let brokers: BTreeSet<NodeId> = metadata.brokers.iter().map(|broker| broker.node).collect();
    let controlled = metadata.controller == NodeId::NONE || brokers.contains(&metadata.controller);
    says(brokers.len() < metadata.brokers.len(), "a broker listed twice")
        .or(says(!controlled, "a controller that is not among the brokers"))
        .or_else(|| {
            metadata.topics.iter().find_map(|topic| {
                let known = topic.id != Uuid::ZERO && topic.name.is_some();
                let failed = !topic.error.is_ok();
                says(failed && !topic.partitions.is_empty(), "partitions of a topic with an error")
                    .or(says(!failed && !known, "a topic without a name or id"))
                    .or_else(|| topic.partitions.iter().find_map(of_partition))
            })
        })
}

fn of_partition(one: &MetadataPartition) -> Option<&'static str> {
    let replicas: BTreeSet<NodeId> = one.replicas.iter().copied().collect();
    let led = one.leader != NodeId::NONE;
    let refused = one.error == ErrorCode::LeaderNotAvailable;
    says(
        replicas.len() < one.replicas.len() || replicas.is_empty(),
        "no replicas, or duplicate ones",
    )
    .or(says(
        one.isr.iter().any(|of| !replicas.contains(of)),
        "an ISR member that is not a replica",
    ))
    .or(says(
        one.offline_replicas.iter().any(|of| !replicas.contains(of)),
        "an offline node that is not a replica",
    ))
    .or(says(led && !replicas.contains(&one.leader), "a leader that is not a replica"))
    .or(says(led == refused, "a leader with LEADER_NOT_AVAILABLE, or no leader without it"))
}

/// Could Kafka's `Uuid.randomUuid` have drawn this id? Such an id has version 4, variant 10, and a
/// text that does not begin with a dash, which a command would take for an option.
fn is_random(id: Uuid) -> bool {
    id.0 >> 76 & 0xf == 4 && id.0 >> 62 & 3 == 2 && !id.to_string().starts_with('-')
}

fn of_creation(one: &CreatableTopicResult) -> Option<&'static str> {
    let counted = one.num_partitions != -1 || one.replication_factor != -1;
    let failed = !one.error.is_ok();
    says(failed && counted, "the size of a topic that was not created (KIP-525)")
        .or(says(failed && one.id != Uuid::ZERO, "the id of a topic that was not created"))
        .or(says(
            !failed && !is_random(one.id),
            "an id that is not a random UUID (RFC 9562, version 4)",
        ))
        .or(says(failed && !one.configs.is_empty(), "configs of a topic that was not created"))
        .or(says(!failed && one.num_partitions < 1, "a topic without partitions"))
        .or(says(!failed && one.replication_factor < 1, "a topic without replicas"))
        .or(says(!failed && one.error_message.is_some(), "an error message but no error"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::msg::{
        CreateTopicsResponse, DeleteTopicsResponse, EnvelopeResponse, FetchTopicResponse,
        MetadataTopic, ProduceResponse, ProduceTopicResponse, VoteResponse,
    };
    use wavetank_core::types::{EpochEndOffset, TopicRef};

    fn created(topic: CreatableTopicResult) -> Response {
        Response::CreateTopics(CreateTopicsResponse { throttle_time_ms: 0, topics: vec![topic] })
    }

    fn refused() -> CreatableTopicResult {
        CreatableTopicResult {
            name: "t".to_owned(),
            error: ErrorCode::TopicAlreadyExists,
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopicResult::default()
        }
    }

    fn fetched(partition: FetchPartitionResponse) -> Response {
        let topic = FetchTopicResponse { topic: TopicRef::name("t"), partitions: vec![partition] };
        Response::Fetch(FetchResponse { topics: vec![topic], ..FetchResponse::default() })
    }

    fn produced(partition: ProducePartitionResponse) -> Response {
        let topic =
            ProduceTopicResponse { topic: TopicRef::name("t"), partitions: vec![partition] };
        Response::Produce(ProduceResponse { topics: vec![topic], ..ProduceResponse::default() })
    }

    fn described(partition: MetadataPartition) -> Response {
        let topic = MetadataTopic {
            error: ErrorCode::None,
            name: Some("t".to_owned()),
            id: Uuid(7),
            is_internal: false,
            partitions: vec![partition],
        };
        Response::Metadata(MetadataResponse {
            throttle_time_ms: 0,
            brokers: Vec::new(),
            cluster_id: None,
            controller: NodeId::NONE,
            topics: vec![topic],
            error: ErrorCode::None,
        })
    }

    fn enveloped(error: ErrorCode, response: Option<Response>) -> Response {
        let response = response.map(Box::new);
        Response::Envelope(EnvelopeResponse { error, version: 7, response })
    }

    fn complaint(response: &Response) -> String {
        check(response).expect_err("it is odd")
    }

    #[test]
    fn a_refusal_that_says_more_than_the_error_is_caught() {
        assert_eq!(check(&created(refused())), Ok(()));
        let counted = CreatableTopicResult { num_partitions: 1, ..refused() };
        assert!(complaint(&created(counted.clone())).contains("(KIP-525)"));
        let known = CreatableTopicResult { id: Uuid(7), ..refused() };
        assert!(complaint(&created(known)).contains("the id of a topic"));
        let inside = enveloped(ErrorCode::None, Some(created(counted)));
        assert!(complaint(&inside).contains("(KIP-525)"), "inside an envelope, too");

        let failed = FetchPartitionResponse::failed(0, ErrorCode::NotLeaderOrFollower);
        assert_eq!(check(&fetched(failed.clone())), Ok(()));
        let diverging_epoch = Some(EpochEndOffset { epoch: LeaderEpoch(1), end_offset: Offset(3) });
        let diverges = FetchPartitionResponse { diverging_epoch, ..failed };
        assert!(complaint(&fetched(diverges)).contains("a divergence and an error"));

        let failed = |error| ProducePartitionResponse {
            base_offset: Offset(3),
            ..ProducePartitionResponse::failed(0, error)
        };
        assert_eq!(check(&produced(failed(ErrorCode::NotEnoughReplicasAfterAppend))), Ok(()));
        let never = produced(failed(ErrorCode::NotEnoughReplicas));
        assert!(complaint(&never).contains("nothing was appended"));
        let vote = |error| {
            Response::Vote(VoteResponse {
                error,
                leader: NodeId::NONE,
                leader_epoch: LeaderEpoch(3),
                vote_granted: true,
                node_endpoints: Vec::new(),
            })
        };
        assert_eq!(check(&vote(ErrorCode::None)), Ok(()));
        assert!(complaint(&vote(ErrorCode::FencedLeaderEpoch)).contains("a vote and an error"));
    }

    #[test]
    fn an_id_that_is_no_random_uuid_is_caught() {
        let made = |id| {
            created(CreatableTopicResult {
                error: ErrorCode::None,
                id: Uuid(id),
                num_partitions: 1,
                replication_factor: 1,
                ..refused()
            })
        };
        let sound = 7 << 80 | 4 << 76 | 2 << 62 | 7;
        assert_eq!(check(&made(sound)), Ok(()));
        for odd in [0, sound ^ 1 << 77, sound ^ 1 << 62, sound | 0x3e << 122] {
            assert!(complaint(&made(odd)).contains("not a random UUID"), "{}", Uuid(odd));
        }
    }

    #[test]
    fn an_envelope_that_carries_its_answers_error_is_caught() {
        assert_eq!(check(&enveloped(ErrorCode::NotController, None)), Ok(()));
        assert!(complaint(&enveloped(ErrorCode::RequestTimedOut, None)).contains("(KIP-590)"));
        assert!(complaint(&enveloped(ErrorCode::None, None)).contains("no answer in an envelope"));
        let both = enveloped(ErrorCode::NotController, Some(created(refused())));
        assert!(complaint(&both).contains("an answer in an envelope"));
    }

    #[test]
    fn a_description_that_contradicts_itself_is_caught() {
        let sound = MetadataPartition {
            error: ErrorCode::None,
            partition: 0,
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(3),
            replicas: vec![NodeId(1), NodeId(2)],
            isr: vec![NodeId(1)],
            offline_replicas: Vec::new(),
        };
        assert_eq!(check(&described(sound.clone())), Ok(()));
        let stranger = MetadataPartition { leader: NodeId(3), ..sound.clone() };
        assert!(complaint(&described(stranger)).contains("a leader that is not a replica"));
        let leaderless = MetadataPartition { leader: NodeId::NONE, ..sound.clone() };
        assert!(complaint(&described(leaderless)).contains("no leader without it"));
        let beyond = MetadataPartition { isr: vec![NodeId(3)], ..sound };
        assert!(complaint(&described(beyond)).contains("an ISR member that is not a replica"));
        let unnamed = DeleteTopicsResponse {
            throttle_time_ms: 0,
            topics: vec![(TopicRef::name("t"), ErrorCode::None, None)],
        };
        assert!(complaint(&Response::DeleteTopics(unnamed)).contains("without its name or id"));
    }

    #[test]
    fn what_is_odd_is_told_with_its_node() {
        let bench = Bench::new();
        let seen = Seen::OddAnswer(NodeId(2), "nonsense");
        assert_eq!(Answers.see(seen, &bench.view()), Err("node 2 answered nonsense".to_owned()));
    }
}
