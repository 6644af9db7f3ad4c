//! OffsetForLeaderEpoch: where an epoch ends in the leader's log (KIP-101, KIP-320).

use crate::env::Env;
use crate::error_code::ErrorCode;
use crate::metadata::MetadataImage;
use crate::msg::{
    EpochEndOffsetResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResponse,
};
use crate::storage::Hosted;
use crate::types::{LeaderEpoch, Offset, TopicRef};

/// Answers at once: epochs are in memory.
pub fn answer(
    request: OffsetForLeaderEpochRequest,
    hosted: &Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let reference = TopicRef::name(topic.name.clone());
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|asked| one(&reference, asked, hosted, image, env));
        OffsetForLeaderTopicResponse { partitions: partitions.collect(), name: topic.name }
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn one(
    topic: &TopicRef,
    asked: &OffsetForLeaderPartition,
    hosted: &Hosted,
    image: &MetadataImage,
    env: &mut dyn Env,
) -> EpochEndOffsetResponse {
    let unknown = |error| EpochEndOffsetResponse {
        error,
        partition: asked.partition,
        leader_epoch: LeaderEpoch::NONE,
        end_offset: Offset(-1),
    };
    let found = hosted.find(topic, asked.partition, image).map(|id| hosted.get(id));
    let partition = match found {
        Ok(Some(partition)) => partition,
        Ok(None) => return unknown(ErrorCode::UnknownTopicOrPartition),
        Err(error) => return unknown(error),
    };
    if let Err(error) = partition.check_epoch(asked.current_leader_epoch, env) {
        return unknown(error);
    }
    if partition.leader_state().is_none() || !partition.log().is_ready() {
        return unknown(ErrorCode::NotLeaderOrFollower);
    }
    let log = partition.log();
    match log.epochs().end_offset_for(asked.leader_epoch, log.log_end()) {
        None => unknown(ErrorCode::None),
        Some(end) => EpochEndOffsetResponse {
            error: ErrorCode::None,
            partition: asked.partition,
            leader_epoch: end.epoch,
            end_offset: end.end_offset,
        },
    }
}
