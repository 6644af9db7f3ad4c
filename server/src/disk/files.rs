//! The open files of all directories: a cache of descriptors with a hard bound, which closes the
//! least recently used first. An owner that needs a closed file opens it again.
//!
//! **A file with unsynced writes is synced before it is closed, and clean ones are closed first.**
//! A sync on a descriptor opened later does cover the file's dirty pages. But a writeback error
//! that occurs while the file is closed is kept only in the inode (Linux's `errseq_t`: the next
//! open sees the error if nobody has seen it yet), and an inode whose pages count as clean may be
//! evicted from memory, and the error with it. Only a descriptor kept open guarantees that the
//! outcome of unsynced writes is seen, so it is not closed before that is known. If making room
//! fails a sync, the error is kept for the file's owner, which fails its next operation.
//!
//! What is written where is in `directory`; which thread may wait for the device is in the parent
//! module.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Names an open file (or one whose closing has not been noticed by its owner).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct OpenFiles {
    limit: usize,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    slots: BTreeMap<Key, Slot>,
    /// Idle files by last use: those without unsynced writes, and those with.
    clean: BTreeMap<u64, Key>,
    dirty: BTreeMap<u64, Key>,
    /// Descriptors that are open or about to be.
    open: usize,
    /// Counts uses; also gives the next key.
    clock: u64,
}

#[derive(Debug)]
enum Slot {
    Idle {
        file: File,
        used: u64,
        dirty: bool,
    },
    /// Lent to its owner.
    Lent,
    /// Being synced, then closed.
    Closing,
    /// Closed after the sync before closing failed.
    Failed(io::Error),
}

/// The state of a file that was open.
#[derive(Debug)]
pub(super) enum Taken {
    /// The descriptor, to be given back, and whether it has writes that no sync has covered.
    Open(File, bool),
    /// It was closed; the key is no longer valid.
    Closed,
    /// It is being synced and closed. A caller that may wait for the device calls
    /// [`OpenFiles::wait`].
    Busy,
    /// Its unsynced writes could not be made durable.
    Failed(io::Error),
}

/// Room for a descriptor, taken before it is opened.
#[derive(Debug)]
pub(super) struct Room<'a>(&'a OpenFiles);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
        self.0.changed.notify_all();
    }
}

impl OpenFiles {
    /// An empty cache that never opens more than `limit`.
    pub(super) fn new(limit: usize) -> OpenFiles {
        OpenFiles { limit, table: Mutex::new(Table::default()), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A thread that panics ends the process, so a poisoned lock is only seen on the way out.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more. `None` if that takes waiting for the device and the caller may not wait.
    pub(super) fn room(&self, may_wait: bool) -> Option<Room<'_>> {
        let mut table = self.lock();
        loop {
            if table.open < self.limit || table.close_coldest_clean() {
                table.open += 1;
                return Some(Room(self));
            }
            if !may_wait {
                return None;
            }
            table = match table.dirty.pop_first() {
                Some((_, key)) => self.sync_and_close(key, table),
                // All are lent, or other threads are closing them.
                None => self.changed.wait(table).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn sync_and_close<'a>(
        &'a self,
        key: Key,
        mut table: MutexGuard<'a, Table>,
    ) -> MutexGuard<'a, Table> {
        let slot = table.slots.insert(key, Slot::Closing);
        drop(table);
        let Some(Slot::Idle { file, .. }) = slot else {
            unreachable!("only idle files are in the order of use")
        };
        let synced = file.sync_data();
        drop(file);
        let mut table = self.lock();
        table.open -= 1;
        match synced {
            Ok(()) => table.slots.remove(&key),
            Err(error) => table.slots.insert(key, Slot::Failed(error)),
        };
        self.changed.notify_all();
        table
    }

    /// Turns the room into an open file's key.
    pub(super) fn opened(&self, room: Room<'_>) -> Key {
        std::mem::forget(room);
        let mut table = self.lock();
        table.clock += 1;
        let key = Key(table.clock);
        table.slots.insert(key, Slot::Lent);
        key
    }

    /// Borrows a file.
    pub(super) fn take(&self, key: Key) -> Taken {
        let mut table = self.lock();
        match table.slots.get(&key) {
            None => Taken::Closed,
            Some(Slot::Closing) => Taken::Busy,
            Some(Slot::Lent) => unreachable!("a file has one owner"),
            Some(Slot::Idle { .. }) => {
                let Some(Slot::Idle { file, used, dirty }) = table.slots.insert(key, Slot::Lent)
                else {
                    unreachable!("just seen")
                };
                table.order(dirty).remove(&used);
                Taken::Open(file, dirty)
            }
            Some(Slot::Failed(_)) => match table.slots.remove(&key) {
                Some(Slot::Failed(error)) => Taken::Failed(error),
                _ => unreachable!("just seen"),
            },
        }
    }

    /// Gives a file back. `dirty`: it has writes that no sync has covered.
    pub(super) fn put(&self, key: Key, file: File, dirty: bool) {
        let mut table = self.lock();
        table.clock += 1;
        let used = table.clock;
        table.order(dirty).insert(used, key);
        table.slots.insert(key, Slot::Idle { file, used, dirty });
        drop(table);
        self.changed.notify_all();
    }

    /// Waits until a busy file is no longer busy.
    pub(super) fn wait(&self, key: Key) {
        let mut table = self.lock();
        while matches!(table.slots.get(&key), Some(Slot::Closing)) {
            table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes a file that its owner no longer needs. Its name is gone, and so are its unsynced
    /// writes.
    pub(super) fn forget(&self, key: Key) {
        self.wait(key);
        let mut table = self.lock();
        match table.slots.remove(&key) {
            Some(Slot::Idle { file, used, dirty }) => {
                table.order(dirty).remove(&used);
                table.open -= 1;
                drop(table);
                drop(file);
                self.changed.notify_all();
            }
            Some(Slot::Lent | Slot::Closing) => unreachable!("forgotten by its owner, at rest"),
            Some(Slot::Failed(_)) | None => {}
        }
    }

    /// The kernel refuses a descriptor although the budget has room, so something else in the
    /// process needs them. Closes half of those without unsynced writes. Returns whether there were
    /// any.
    pub(super) fn give_way(&self) -> bool {
        let mut table = self.lock();
        let some = table.clean.len().div_ceil(2);
        for _ in 0..some {
            table.close_coldest_clean();
        }
        some > 0
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.lock().open
    }
}

impl Table {
    fn order(&mut self, dirty: bool) -> &mut BTreeMap<u64, Key> {
        if dirty { &mut self.dirty } else { &mut self.clean }
    }

    fn close_coldest_clean(&mut self) -> bool {
        let Some((_, key)) = self.clean.pop_first() else { return false };
        // Closing a file without dirty pages does not wait.
        self.slots.remove(&key);
        self.open -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &OpenFiles, may_wait: bool) -> Option<(Key, File)> {
        let room = files.room(may_wait)?;
        let file = tempfile::tempfile().expect("a file");
        Some((files.opened(room), file))
    }

    #[test]
    fn the_coldest_clean_file_goes_first_and_the_bound_holds() {
        let files = OpenFiles::new(3);
        let mut keys = Vec::new();
        for dirty in [true, false, false, false, false] {
            let (key, file) = open(&files, false).expect("there is a clean one to close");
            files.put(key, file, dirty);
            keys.push(key);
            assert!(files.open() <= 3);
        }
        let open: Vec<bool> =
            keys.iter().map(|key| matches!(files.take(*key), Taken::Open(..))).collect();
        assert_eq!(open, [true, false, false, true, true], "the dirty one stays");
    }

    #[test]
    fn files_with_unsynced_writes_are_synced_first_by_who_may_wait() {
        let files = OpenFiles::new(2);
        let mut keys = Vec::new();
        for _ in 0..2 {
            let (key, file) = open(&files, false).expect("room");
            files.put(key, file, true);
            keys.push(key);
        }
        assert!(files.room(false).is_none(), "that would wait for the device");
        let room = files.room(true).expect("made by syncing the coldest");
        assert!(matches!(files.take(keys[0]), Taken::Closed));
        assert_eq!(files.open(), 2);
        drop(room);
        assert_eq!(files.open(), 1);
    }

    /// A pipe cannot be synced (EINVAL); it stands for a broken device.
    #[test]
    fn a_sync_that_fails_before_closing_is_kept_for_the_owner() {
        let files = OpenFiles::new(1);
        let key = files.opened(files.room(false).expect("room"));
        let (reader, _writer) = io::pipe().expect("a pipe");
        files.put(key, File::from(std::os::fd::OwnedFd::from(reader)), true);
        drop(files.room(true).expect("closed all the same"));
        assert!(matches!(files.take(key), Taken::Failed(_)));
        assert!(matches!(files.take(key), Taken::Closed), "told once");
        assert_eq!(files.open(), 0);
    }

    #[test]
    fn room_that_is_not_used_and_files_that_are_forgotten_are_given_back() {
        let files = OpenFiles::new(1);
        drop(files.room(false).expect("room"));
        let (key, file) = open(&files, false).expect("room again");
        files.put(key, file, true);
        files.forget(key);
        assert_eq!(files.open(), 0);
        files.forget(key);
        let (key, file) = open(&files, false).expect("room again");
        files.put(key, file, false);
        assert!(files.give_way() && !files.give_way());
        assert!(matches!(files.take(key), Taken::Closed));
        assert_eq!(files.open(), 0);
    }
}
