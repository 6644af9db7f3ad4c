//! The open files of all directories: a cache of descriptors with a hard bound, whose coldest are
//! closed first. Whoever needs a closed one opens it again.
//!
//! **A file with unsynced writes is synced before it is closed, and clean ones are closed first.**
//! A sync on a descriptor opened later does cover the file's dirty pages. But an error of writing
//! them back that strikes while nobody has the file open is remembered by the inode alone (Linux's
//! `errseq_t`: the next to open it is told, if nobody was told before), and an inode whose pages
//! count as clean may be dropped from memory, with the error. So a descriptor with unsynced writes
//! is a promise to hear of their fate, and is not given up before that is known. A failure met
//! while making room is kept for the file's owner, who fails its next operation.
//!
//! What is written and where lives in `directory`, who may wait for the device in the parent module.

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
    /// By when they were used last: those without unsynced writes, and those with.
    clean: BTreeMap<u64, Key>,
    dirty: BTreeMap<u64, Key>,
    /// Descriptors that are open or about to be.
    open: usize,
    /// Counts uses; also the next key.
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
    /// Closed, because the sync before that failed.
    Failed(io::Error),
}

/// What there is of a file that was open.
#[derive(Debug)]
pub(super) enum Taken {
    /// The descriptor, to be given back, and whether it has writes that no sync has covered.
    Open(File, bool),
    /// It was closed; the key is worth nothing any more.
    Closed,
    /// It is being synced and closed: whoever may wait for the device calls [`OpenFiles::wait`].
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
    /// None open, and never more than `limit`.
    pub(super) fn new(limit: usize) -> OpenFiles {
        OpenFiles { limit, table: Mutex::new(Table::default()), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A thread that panics ends the process, so a poisoned lock is only seen on the way out.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more. `None`: only by waiting for the device, which the caller may not.
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
                // All are lent, or being closed by others.
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

    /// The room becomes an open file's.
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

    /// Waits until a file that was busy no longer is.
    pub(super) fn wait(&self, key: Key) {
        let mut table = self.lock();
        while matches!(table.slots.get(&key), Some(Slot::Closing)) {
            table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Its owner needs it no more: the name is gone, and with it what was not synced.
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

    /// The kernel gives no descriptor though the budget has room: somebody else needs them. Closes
    /// half of those without unsynced writes; whether there was any.
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

    /// A pipe cannot be synced (EINVAL), as a broken device could not.
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
