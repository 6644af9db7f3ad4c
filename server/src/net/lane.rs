//! Expensive work on a dedicated thread, one job at a time: decoding large requests, inspecting
//! batches of many records, encoding large answers.
//!
//! So a request with a hundred thousand names, or a batch that decompresses to a thousand times its
//! size, holds up neither the network thread nor the core thread, and takes its memory only once,
//! however many clients send the same. A turn is for one piece of work, and turns are given fairly
//! (`turns`): behind any number of bad requests, a good large one waits for one piece of each
//! source.
//!
//! The thread does nothing else. Other blocking work, such as looking up names, may block for
//! minutes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use tokio::sync::oneshot;
use wavetank_core::batch::{Inspection, Refusal};
use wavetank_core::msg::{ProduceRequest, Request, Response};
use wavetank_wire::Bounds;

use super::turns::{Kind, Turn, Turns};
use crate::limits::AbortOnPanic;

/// Bounds of what is decoded on the network thread: some tenths of a millisecond of work.
pub(super) const GLANCE: Bounds = Bounds { memory: 256 << 10, elements: 2000 };

/// Bytes of records, decompressed, that are inspected on the network thread for one request: less
/// than a millisecond of work.
const GLANCE_RECORDS: usize = 256 << 10;

/// Bytes of records, decompressed, after which a turn ends.
const PIECE: usize = 1 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, and the turns to use it.
#[derive(Debug)]
pub(super) struct Lane {
    turns: Arc<Turns>,
    jobs: Sender<Job>,
}

impl Lane {
    /// Starts the thread. It ends with the lane.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(super) fn start() -> io::Result<Lane> {
        let (jobs, todo) = channel::<Job>();
        std::thread::Builder::new().name("network-lane".into()).spawn(move || {
            let _guard = AbortOnPanic("network (of large requests)");
            todo.into_iter().for_each(|job| job());
        })?;
        Ok(Lane { turns: Arc::default(), jobs })
    }

    /// Waits for a turn, on behalf of a source.
    pub(super) async fn turn(&self, source: IpAddr, kind: Kind) -> Turn {
        self.turns.turn(source, kind).await
    }

    /// Runs a piece of work. `None` if the process ends meanwhile.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        _turn: &Turn,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, outcome) = oneshot::channel();
        let job = move || {
            // The caller may be gone.
            let _ = sender.send(job());
        };
        self.jobs.send(Box::new(job)).ok()?;
        outcome.await.ok()
    }

    /// Inspects the records of a Produce request, so that the core need not. `None` if the process
    /// ends meanwhile.
    pub(super) async fn inspect(
        &self,
        request: &mut Request,
        version: i16,
        source: IpAddr,
    ) -> Option<()> {
        let Request::Produce(produce) = request else { return Some(()) };
        let mut left = at_a_glance(produce, version);
        while !left.is_empty() {
            let turn = self.turn(source, Kind::Produce).await;
            let (outcomes, rest) = self.run(&turn, move || piece(left, version)).await?;
            left = rest;
            for ((topic, partition), outcome) in outcomes {
                produce.topics[topic].partitions[partition].inspection = Some(outcome);
            }
        }
        Some(())
    }
}

/// The indices of topic and partition in the request.
type Place = (usize, usize);

/// Inspects what is cheap, and returns the rest.
fn at_a_glance(produce: &mut ProduceRequest, version: i16) -> Vec<(Place, Option<Bytes>)> {
    let mut room = GLANCE_RECORDS;
    let mut left = Vec::new();
    for (at, topic) in produce.topics.iter_mut().enumerate() {
        for (index, part) in topic.partitions.iter_mut().enumerate() {
            if room > 0 {
                part.inspection = Inspection::within(part.records.clone(), version, room);
            }
            match &part.inspection {
                Some(Ok(inspection)) => room = room.saturating_sub(inspection.plain_bytes()),
                Some(Err(_)) => {
                    room = room.saturating_sub(part.records.as_ref().map_or(0, Bytes::len));
                }
                None => {
                    room = 0;
                    left.push(((at, index), part.records.clone()));
                }
            }
        }
    }
    left
}

type Looked = Vec<(Place, Result<Inspection, Refusal>)>;

/// One turn's work, and what is left of it.
fn piece(left: Vec<(Place, Option<Bytes>)>, version: i16) -> (Looked, Vec<(Place, Option<Bytes>)>) {
    let mut outcomes = Vec::new();
    let mut done = 0;
    let mut left = left.into_iter();
    for (place, records) in left.by_ref() {
        done += records.as_ref().map_or(0, Bytes::len);
        let outcome = Inspection::of(records, version);
        // A refused batch may have been decompressed in vain.
        done += outcome.map_or(PIECE, |inspection| inspection.plain_bytes());
        outcomes.push((place, outcome));
        if done >= PIECE {
            break;
        }
    }
    (outcomes, left.collect())
}

/// Whether encoding this answer is expensive.
pub(super) fn is_large(response: &Response) -> bool {
    let Response::Metadata(metadata) = response else { return false };
    let elements = metadata.topics.iter().map(|topic| 1 + 4 * topic.partitions.len());
    elements.sum::<usize>() > GLANCE.elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A name server that does not answer.
    #[test]
    fn what_blocks_elsewhere_does_not_hold_it_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        let lane = Lane::start().expect("a thread");
        let (over, wait) = channel::<()>();
        runtime.block_on(async {
            let hangs = tokio::task::spawn_blocking(move || wait.recv());
            let turn = lane.turn(IpAddr::from([127, 0, 0, 1]), Kind::Other).await;
            let soon = Duration::from_secs(5);
            let done = tokio::time::timeout(soon, lane.run(&turn, || 7)).await;
            assert_eq!(done, Ok(Some(7)));
            drop(over);
            assert!(hangs.await.expect("it ends").is_err());
        });
    }
}
