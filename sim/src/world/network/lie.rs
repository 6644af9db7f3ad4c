//! Messages that no correct peer sends. The receiver can recognize each of these lies. False claims
//! that only another node could recognize (a high watermark that runs ahead, a divergence in the
//! past) are not included: receivers believe them, in Kafka's protocol and here.
//!
//! Answers: negative or exhausted epochs, a divergence where there is none, a log that starts
//! beyond what is committed, misplaced batches. Requests: impossible registrations, a broker epoch
//! from before any registration, invalid ISRs, votes for nodes that may not stand, leaders that may
//! not lead. A node must refuse such a request; [`believed`] tells whether it did not. (Fetch
//! requests are left alone: a follower truncates its log when it learns that its offset is out of
//! range, so it must believe its leader.)

use wavetank_core::batch::Batch;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::metadata::LeaderRecoveryState;
use wavetank_core::msg::{
    AlterPartitionData, AlterPartitionRequest, BrokerRegistrationRequest, FetchPartitionResponse,
    Request, Response, VoteRequest,
};
use wavetank_core::types::{
    BrokerEpoch, EpochEndOffset, LeaderEpoch, NodeId, Offset, PartitionEpoch, Uuid,
};

use crate::decide::{Dice, Place};

/// An epoch that elections never reach.
const USED_UP: LeaderEpoch = LeaderEpoch(i32::MAX - 1);

/// The metadata log begins with its leader's own record, so no broker was ever registered at this
/// offset.
const BEFORE_ALL: BrokerEpoch = BrokerEpoch(0);

/// A node that is in no plan.
const STRANGER: NodeId = NodeId(4_096);

/// How much more often a request is made a lie than an answer. Requests are rare compared with
/// answers to fetches, and those that ask for an ISR are the rarest.
pub(super) fn weight(request: &Request) -> u64 {
    if matches!(request, Request::AlterPartition(_)) { 100 } else { 10 }
}

/// Turns a request into a lie. False if a request of this kind cannot be one.
pub(super) fn ask(request: &mut Request, place: Place, dice: &Dice) -> bool {
    let choose = |below: u64| dice.decide(place.with(4), below);
    match request {
        Request::BrokerRegistration(registration) => of_registration(registration, choose(8)),
        Request::BrokerHeartbeat(heartbeat) => {
            heartbeat.broker_epoch = BEFORE_ALL;
            true
        }
        Request::AlterPartition(alteration) => of_alteration(alteration, choose(9)),
        Request::Vote(vote) => of_vote(vote, choose(5)),
        Request::BeginQuorumEpoch(begin) => {
            match choose(3) {
                0 => begin.leader = STRANGER,
                1 => begin.leader_epoch = LeaderEpoch(-7),
                _ => begin.leader_epoch = USED_UP,
            }
            true
        }
        Request::EndQuorumEpoch(end) => {
            match choose(3) {
                0 => end.leader = STRANGER,
                1 => end.leader_epoch = LeaderEpoch(-7),
                _ => end.leader_epoch = USED_UP,
            }
            true
        }
        _ => false,
    }
}

fn of_registration(registration: &mut BrokerRegistrationRequest, choice: u64) -> bool {
    let Some((name, endpoint)) = registration.listeners.first_mut() else { return false };
    match choice {
        0 => endpoint.port = 0,
        1 => endpoint.host.clear(),
        2 => name.clear(),
        3 => {
            let again = registration.listeners[0].clone();
            registration.listeners.push(again);
        }
        4 => registration.listeners.clear(),
        5 => registration.incarnation = Uuid::ZERO,
        6 => registration.features.push(("metadata.version".to_owned(), 9, 1)),
        _ => registration.previous_broker_epoch = BrokerEpoch(i64::MAX),
    }
    true
}

fn of_alteration(alteration: &mut AlterPartitionRequest, choice: u64) -> bool {
    let broker = alteration.broker;
    let mut partitions: Vec<&mut AlterPartitionData> =
        alteration.topics.iter_mut().flat_map(|topic| &mut topic.partitions).collect();
    if partitions.is_empty() {
        return false;
    }
    for one in &mut partitions {
        match choice {
            0 => one.new_isr.clear(),
            1 => one.new_isr.extend_from_within(..),
            2 => one.new_isr.push((STRANGER, BrokerEpoch::NONE)),
            3 => one.new_isr.retain(|(node, _)| *node != broker),
            4 => one.leader_epoch = USED_UP,
            5 => one.partition_epoch = PartitionEpoch(i32::MAX),
            6 => one.leader_recovery_state = 7,
            8 => one.leader_recovery_state = LeaderRecoveryState::Recovering.value(),
            _ => one.new_isr.iter_mut().for_each(|(_, epoch)| *epoch = BEFORE_ALL),
        }
    }
    if choice == 7 {
        alteration.broker_epoch = BEFORE_ALL;
    }
    true
}

fn of_vote(vote: &mut VoteRequest, choice: u64) -> bool {
    match choice {
        0 => vote.candidate = STRANGER,
        1 => vote.epoch = LeaderEpoch(-7),
        2 => vote.last_offset = Offset(-7),
        3 => vote.last_offset_epoch = USED_UP,
        _ => vote.last_offset_epoch = LeaderEpoch(-7),
    }
    true
}

/// Did the receiver of a lying request accept it?
pub(super) fn believed(response: &Response) -> bool {
    match response {
        Response::BrokerRegistration(registered) => registered.error.is_ok(),
        Response::BrokerHeartbeat(beat) => beat.error.is_ok(),
        Response::AlterPartition(altered) => {
            let mut partitions = altered.topics.iter().flat_map(|(_, partitions)| partitions);
            altered.error.is_ok() && partitions.any(|partition| partition.error.is_ok())
        }
        Response::Vote(vote) => vote.vote_granted,
        Response::BeginQuorumEpoch(begin) => begin.error.is_ok(),
        Response::EndQuorumEpoch(end) => end.error.is_ok(),
        _ => false,
    }
}

/// Turns an answer into a lie. False if an answer of this kind cannot be one.
pub(super) fn lie(response: &mut Response, place: Place, dice: &Dice) -> bool {
    match response {
        Response::Fetch(fetch) => {
            let partitions = fetch.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let mut partitions: Vec<&mut FetchPartitionResponse> =
                partitions.filter(|partition| partition.error.is_ok()).collect();
            if partitions.is_empty() {
                return false;
            }
            let chosen = dice.decide(place.with(1), partitions.len() as u64) as usize;
            of_partition(partitions[chosen], place, dice);
            true
        }
        Response::Vote(vote) => {
            vote.leader_epoch = USED_UP;
            true
        }
        Response::BeginQuorumEpoch(begin) => {
            begin.leader_epoch = USED_UP;
            true
        }
        Response::EndQuorumEpoch(end) => {
            end.leader_epoch = USED_UP;
            true
        }
        _ => false,
    }
}

fn of_partition(partition: &mut FetchPartitionResponse, place: Place, dice: &Dice) {
    let some = dice.decide(place.with(3), 1_000) as i32 + 2;
    let diverges = |epoch: LeaderEpoch, end_offset: i64| {
        Some(EpochEndOffset { epoch, end_offset: Offset(end_offset) })
    };
    match dice.decide(place.with(2), 7) {
        0 => partition.diverging_epoch = diverges(LeaderEpoch(-some), i64::from(some)),
        1 => partition.diverging_epoch = diverges(LeaderEpoch(0), i64::from(-some)),
        2 => partition.diverging_epoch = diverges(USED_UP, i64::MAX),
        3 => {
            partition.error = ErrorCode::OffsetOutOfRange;
            partition.log_start_offset = Offset(1 << 40);
            partition.records.clear();
        }
        4 if partition.current_leader.is_some() => {
            partition.current_leader.as_mut().expect("just seen").epoch = USED_UP;
        }
        choice => match partition.records.last_mut() {
            Some(batch) if choice == 5 => batch.leader_epoch = USED_UP,
            Some(Batch { base_offset, .. }) => *base_offset += i64::from(some),
            None => partition.diverging_epoch = diverges(LeaderEpoch(0), i64::from(-some)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Purpose;
    use wavetank_core::batch::BatchBuilder;
    use wavetank_core::msg::{
        AlterPartitionTopic, BrokerRegistrationResponse, FetchResponse, FetchTopicResponse,
        LeaderIdAndEpoch, VoteResponse,
    };
    use wavetank_core::types::{Endpoint, TopicRef};

    /// Checks each lie of each kind of request: it differs from the original, and accepting it is
    /// detected.
    #[test]
    fn each_lie_is_asked() {
        let registration = BrokerRegistrationRequest {
            broker: NodeId(1),
            cluster_id: "c".to_owned(),
            incarnation: Uuid(7),
            listeners: vec![(
                "PLAINTEXT".to_owned(),
                Endpoint { host: "node1".into(), port: 9_092 },
            )],
            features: Vec::new(),
            rack: None,
            log_dirs: Vec::new(),
            previous_broker_epoch: BrokerEpoch::NONE,
        };
        let data = AlterPartitionData {
            partition: 0,
            leader_epoch: LeaderEpoch(2),
            new_isr: vec![(NodeId(1), BrokerEpoch(5)), (NodeId(2), BrokerEpoch(6))],
            leader_recovery_state: 0,
            partition_epoch: PartitionEpoch(3),
        };
        let topic = AlterPartitionTopic { id: Uuid(9), partitions: vec![data] };
        let (broker, broker_epoch) = (NodeId(1), BrokerEpoch(5));
        let alteration = AlterPartitionRequest { broker, broker_epoch, topics: vec![topic] };
        let vote = VoteRequest {
            cluster_id: None,
            voter: NodeId(2),
            epoch: LeaderEpoch(3),
            candidate: NodeId(1),
            candidate_directory_id: Uuid(1),
            voter_directory_id: Uuid(2),
            last_offset_epoch: LeaderEpoch(2),
            last_offset: Offset(9),
            pre_vote: false,
        };
        let kinds = [
            (Request::BrokerRegistration(registration), 8),
            (Request::AlterPartition(alteration), 9),
            (Request::Vote(vote), 5),
        ];
        for (truth, lies) in kinds {
            let mut told: Vec<Request> = Vec::new();
            for seed in 0..200 {
                let dice = Dice::new(seed);
                let mut request = truth.clone();
                assert!(ask(&mut request, dice.place(Purpose::Lie), &dice));
                if !told.contains(&request) {
                    told.push(request);
                }
            }
            assert_eq!(told.len(), lies, "{:?}", truth.api());
            assert!(!told.contains(&truth), "{:?}", truth.api());
        }
        let empty = AlterPartitionRequest { broker, broker_epoch, topics: Vec::new() };
        let dice = Dice::new(1);
        assert!(!ask(&mut Request::AlterPartition(empty), dice.place(Purpose::Lie), &dice));
        let answer = |error| {
            let broker_epoch = BrokerEpoch(8);
            Response::BrokerRegistration(BrokerRegistrationResponse { error, broker_epoch })
        };
        assert!(believed(&answer(ErrorCode::None)));
        assert!(!believed(&answer(ErrorCode::InvalidRegistration)));
    }

    #[test]
    fn each_lie_is_told() {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"value"), &[]);
        let whole = builder.build(Offset(7), LeaderEpoch(2));
        let leader = LeaderIdAndEpoch { leader: NodeId(1), epoch: LeaderEpoch(2) };
        let truth = FetchPartitionResponse {
            high_watermark: Offset(7),
            current_leader: Some(leader),
            records: vec![whole],
            ..FetchPartitionResponse::failed(0, ErrorCode::None)
        };
        let mut told = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let dice = Dice::new(seed);
            let partitions = vec![truth.clone()];
            let topics = vec![FetchTopicResponse { topic: TopicRef::name("t"), partitions }];
            let fetch = FetchResponse { topics, ..FetchResponse::default() };
            let mut response = Response::Fetch(fetch);
            assert!(lie(&mut response, dice.place(Purpose::Lie), &dice));
            let Response::Fetch(fetch) = &response else { unreachable!("it is a fetch") };
            let said = &fetch.topics[0].partitions[0];
            told.insert(match (&said.diverging_epoch, said.records.first()) {
                (Some(diverges), _) if diverges.epoch == USED_UP => "beyond",
                (Some(diverges), _) if diverges.epoch.0 < 0 => "negative epoch",
                (Some(diverges), _) if diverges.end_offset.0 < 0 => "negative end",
                (_, None) => "start",
                (_, Some(_)) if said.current_leader.is_some_and(|it| it.epoch == USED_UP) => {
                    "leader"
                }
                (_, Some(batch)) if batch.leader_epoch == USED_UP => "epoch",
                (_, Some(batch)) if batch.base_offset > Offset(7) => "place",
                _ => panic!("it is the truth: {said:?}"),
            });
        }
        assert_eq!(told.len(), 7, "{told:?}");
        let dice = Dice::new(1);
        let mut vote = Response::Vote(VoteResponse {
            error: ErrorCode::None,
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(2),
            vote_granted: true,
            node_endpoints: Vec::new(),
        });
        assert!(lie(&mut vote, dice.place(Purpose::Lie), &dice));
        assert!(matches!(vote, Response::Vote(vote) if vote.leader_epoch == USED_UP));
        let mut nothing = Response::Fetch(FetchResponse::default());
        assert!(!lie(&mut nothing, dice.place(Purpose::Lie), &dice));
    }
}
