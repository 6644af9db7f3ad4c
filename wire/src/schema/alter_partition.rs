//! AlterPartition.

use alloc::vec::Vec;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    AlterPartitionData, AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResult,
    AlterPartitionTopic,
};
use wavetank_core::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, Uuid};

use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut AlterPartitionRequest) -> Visited {
    let version = io.version();
    io.node(&mut m.broker)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    let no_topic = || AlterPartitionTopic { id: Uuid::ZERO, partitions: Vec::new() };
    io.array(&mut m.topics, no_topic, |io, one| {
        io.uuid(&mut one.id)?;
        let none = || AlterPartitionData {
            partition: 0,
            leader_epoch: LeaderEpoch::NONE,
            new_isr: Vec::new(),
            leader_recovery_state: 0,
            partition_epoch: PartitionEpoch(-1),
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            io.epoch(&mut part.leader_epoch)?;
            let unknown = || (NodeId::NONE, BrokerEpoch::NONE);
            io.array(&mut part.new_isr, unknown, |io, (node, epoch)| {
                io.node(node)?;
                if version >= 3 {
                    io.broker_epoch(epoch)?;
                    return io.end();
                }
                Ok(())
            })?;
            io.i8(&mut part.leader_recovery_state)?;
            io.partition_epoch(&mut part.partition_epoch)?;
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut AlterPartitionResponse) -> Visited {
    io.i32(&mut m.throttle_time_ms)?;
    io.error(&mut m.error)?;
    io.array(
        &mut m.topics,
        || (Uuid::ZERO, Vec::new()),
        |io, (id, partitions)| {
            io.uuid(id)?;
            let none = || AlterPartitionResult {
                partition: 0,
                error: ErrorCode::None,
                leader: NodeId::NONE,
                leader_epoch: LeaderEpoch::NONE,
                isr: Vec::new(),
                leader_recovery_state: 0,
                partition_epoch: PartitionEpoch(-1),
            };
            io.array(partitions, none, |io, part| {
                io.i32(&mut part.partition)?;
                io.error(&mut part.error)?;
                io.node(&mut part.leader)?;
                io.epoch(&mut part.leader_epoch)?;
                io.nodes(&mut part.isr)?;
                io.i8(&mut part.leader_recovery_state)?;
                io.partition_epoch(&mut part.partition_epoch)?;
                io.end()
            })?;
            io.end()
        },
    )?;
    io.end()
}
