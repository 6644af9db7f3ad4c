//! Calls to the operating system, and the classification of its errors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use wavetank_core::event::DiskError;

/// Maximum buffers handed to the kernel at once (Linux's `IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// Whether a resource is used up that may become free again: descriptors, memory, space, quota.
/// Then nothing is wrong with the disk, the operation was refused before it began, and it may be
/// retried. (This does not hold for a sync: what it could not write is lost. And a limit on the
/// size of one file, EFBIG, does not become free.)
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    const EAGAIN: i32 = 11;
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;
    const ENOBUFS: i32 = 105;
    const EDQUOT: i32 = 122;
    let used_up = [EAGAIN, ENOMEM, ENFILE, EMFILE, ENOSPC, ENOBUFS, EDQUOT];
    error.raw_os_error().is_some_and(|code| used_up.contains(&code))
}

/// Whether the resource that is used up is descriptors.
pub(super) fn wants_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Maps an error of the operating system to the one that the core gets.
pub(super) fn classify(error: &io::Error) -> DiskError {
    const EIO: i32 = 5;
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            DiskError::Full
        }
        _ if error.raw_os_error() == Some(EIO) => DiskError::Io,
        _ => DiskError::Refused,
    }
}

/// Why a directory sync did not happen: the directory could not be opened, or the sync failed.
#[derive(Debug)]
pub(super) enum SyncError {
    /// May be retried if the cause was exhaustion.
    Open(io::Error),
    /// Never retried.
    Sync(io::Error),
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), SyncError> {
    File::open(path).map_err(SyncError::Open)?.sync_all().map_err(SyncError::Sync)
}

/// Shared syncs of one directory: a sync that starts after a request serves that request.
#[derive(Debug, Default)]
pub(super) struct SharedSync {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Rounds {
    started: u64,
    done: u64,
    running: bool,
    /// A sync failed. The kernel may count as clean what it could not write, so no later sync is
    /// trusted.
    failed: Option<i32>,
}

impl SharedSync {
    /// Returns when a sync that began after this call has ended.
    pub(super) fn sync(&self, path: &Path) -> Result<(), SyncError> {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = rounds.started + 1;
        loop {
            if let Some(code) = rounds.failed {
                return Err(SyncError::Sync(io::Error::from_raw_os_error(code)));
            }
            if rounds.done >= mine {
                return Ok(());
            }
            if rounds.running {
                rounds = self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            rounds.running = true;
            rounds.started += 1;
            let round = rounds.started;
            drop(rounds);
            let synced = sync_directory(path);
            rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
            rounds.running = false;
            match synced {
                Ok(()) => rounds.done = round,
                Err(SyncError::Sync(error)) => {
                    rounds.failed = Some(error.raw_os_error().unwrap_or(5));
                }
                // The others that wait try it in turn.
                Err(SyncError::Open(error)) => {
                    self.ended.notify_all();
                    return Err(SyncError::Open(error));
                }
            }
            self.ended.notify_all();
        }
    }
}

/// Writes as much as the kernel takes. What it took is removed from `parts`, also after an error,
/// so that a later call writes the rest and no byte twice.
pub(super) fn write_parts(file: &mut File, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
    loop {
        while parts.front().is_some_and(Bytes::is_empty) {
            parts.pop_front();
        }
        if parts.is_empty() {
            return Ok(());
        }
        let slices: Vec<IoSlice<'_>> =
            parts.iter().take(MAX_SLICES).map(|part| IoSlice::new(part)).collect();
        match file.write_vectored(&slices) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(mut taken) => {
                while taken > 0 {
                    let first = parts.front_mut().expect("no more is taken than was given");
                    let some = first.len().min(taken);
                    first.advance(some);
                    taken -= some;
                    if first.is_empty() {
                        parts.pop_front();
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_request_is_served_by_a_sync_that_began_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = Arc::new(SharedSync::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let before = shared.rounds.lock().expect("no panic").started;
                        shared.sync(dir.path()).expect("it can be synced");
                        assert!(shared.rounds.lock().expect("no panic").done > before);
                    }
                });
            }
        });
        assert!(shared.rounds.lock().expect("no panic").started <= 400);
        let missing = dir.path().join("missing");
        assert!(matches!(shared.sync(&missing), Err(SyncError::Open(_))));
        shared.sync(dir.path()).expect("that failed nobody else");
    }

    #[test]
    fn parts_are_written_once_and_in_order() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut parts: VecDeque<Bytes> =
            (0..3000u32).map(|i| Bytes::from(vec![(i % 251) as u8; (i % 7) as usize])).collect();
        let whole = parts.iter().flatten().copied().collect::<Vec<u8>>();
        write_parts(&mut file, &mut parts).expect("written");
        assert!(parts.is_empty());
        let mut read = Vec::new();
        io::Seek::rewind(&mut file).expect("a file");
        io::Read::read_to_end(&mut file, &mut read).expect("read");
        assert!(read == whole);
    }
}
