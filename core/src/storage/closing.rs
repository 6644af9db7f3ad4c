//! Making everything durable before a graceful stop. When the node stops is decided in
//! [`crate::broker::lifecycle`].
//!
//! The mark of a clean stop vouches for all that the next start finds: for the logs, and for every
//! directory with a partition's name. So it waits for everything in flight, also for departing
//! replicas, which are not flushed.

use alloc::collections::BTreeSet;

use crate::checkpoint;
use crate::env::Env;
use crate::replica::Partition;
use crate::types::{BrokerEpoch, Offset, PartitionId};

use super::Storage;

/// The progress of closing the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Closing {
    /// The partitions whose logs have not been seen durable yet.
    flushing: BTreeSet<PartitionId>,
}

impl Storage {
    /// Begins to close: flushes all logs. From now on nothing is appended to them.
    pub fn close(&mut self, env: &mut dyn Env) {
        for partition in self.hosted.iter_mut() {
            partition.flush(env);
            self.closing.flushing.insert(partition.id());
        }
    }

    /// Continues to close. `metadata` is the recovery point of the metadata log. Returns whether
    /// all logs and the checkpoints are durable, and nothing is in flight.
    pub fn advance_close(&mut self, metadata: Offset, env: &mut dyn Env) -> bool {
        if !self.is_flushed(env) || !self.openings.is_empty() {
            return false;
        }
        self.write_checkpoints(metadata, env);
        self.checkpoints.is_idle() && self.departures.is_idle()
    }

    /// Whether all logs are durable. Checks each log as it becomes durable, instead of all logs
    /// after each of the many completions. A log may have grown since its last flush.
    fn is_flushed(&mut self, env: &mut dyn Env) -> bool {
        let flushing = &mut self.closing.flushing;
        loop {
            while let Some(id) = flushing.first() {
                if let Some(partition) = self.hosted.get_mut(*id)
                    && !partition.is_flushed()
                {
                    partition.flush(env);
                    return false;
                }
                flushing.pop_first();
            }
            let unflushed = self.hosted.iter().filter(|partition| !partition.is_flushed());
            *flushing = unflushed.map(Partition::id).collect();
            if flushing.is_empty() {
                return true;
            }
        }
    }

    /// Marks the stop as clean. [`super::StorageFact::Marked`] follows.
    pub fn mark_clean(&mut self, epoch: BrokerEpoch, env: &mut dyn Env) {
        self.root.clean_shutdown.write(checkpoint::format_clean_shutdown(epoch), env);
    }
}
