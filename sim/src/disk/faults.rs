//! A disk's faults, and the queries about its state.

use std::collections::BTreeMap;

use bytes::Bytes;
use wavetank_core::env::{DiskOp, FileId, FileKind};

use super::{
    Change, Dir, DirSlot, DiskCounts, Extents, Inode, NameOp, Outcome, Queued, SECTOR, SimDisk,
};
use crate::decide::{Dice, Place, Purpose};

/// # Faults
impl SimDisk {
    /// The process ends; the page cache stays. Each directory keeps a drawn prefix of its submitted
    /// but incomplete operations, in order of submission. The last append may be kept in part.
    pub fn process_crash(&mut self, dice: &Dice, out: &mut Outcome) {
        self.end_of_process(dice, out, false);
    }

    /// The process ends by itself: everything submitted takes effect (on a full disk, as far as it
    /// fits), but no completion is delivered.
    pub fn process_exit(&mut self, dice: &Dice, out: &mut Outcome) {
        self.end_of_process(dice, out, true);
    }

    fn end_of_process(&mut self, dice: &Dice, out: &mut Outcome, everything: bool) {
        self.epoch += 1;
        self.crashes += 1;
        let done = out.done.len();
        for slot in 0..self.dirs.len() {
            let place = dice.place(Purpose::CrashPrefix);
            let place = place.with(self.dirs[slot].place.0).with(self.crashes);
            self.crash_dir(slot, place, everything, dice, out);
        }
        out.done.truncate(done); // no process is left to receive completions
        self.handles.clear();
    }

    fn crash_dir(
        &mut self,
        slot: usize,
        place: Place,
        everything: bool,
        dice: &Dice,
        out: &mut Outcome,
    ) {
        // The queued operations may have been waiting for these syncs, so settle the syncs first.
        let dir = &mut *self.dirs[slot];
        dir.running = false;
        dir.syncing = 0;
        let mut changes = Vec::new();
        for (id, inode) in &mut dir.inodes {
            inode.again = None;
            let Some(run) = inode.sync.take() else { continue };
            let (from, upto) = (inode.clean, run.upto);
            if run.fails {
                // Nobody saw the error. Linux returns it from the next sync.
                inode.sync_failed(upto);
                inode.fail_next_sync = true;
                if from < upto {
                    changes.push((run.file.kind, Change::SyncFailed { from, to: upto }));
                }
            } else if !self.lying && dice.ratio(place.with(2).with(u64::from(*id)), 1, 2) {
                inode.synced(upto);
                changes.push((run.file.kind, Change::Synced { upto }));
            }
        }
        for (kind, change) in changes {
            self.changed(slot as u32, kind, || change, out);
        }
        let mut queue = std::mem::take(&mut self.dirs[slot].queue);
        let whole = match everything {
            true => queue.len(),
            false => dice.decide(place.with(0), queue.len() as u64 + 1) as usize,
        };
        let mut rest = queue.split_off(whole);
        for queued in queue {
            // What did not fit before does not fit now, and everything behind it was waiting.
            if self.full && needs_space(&queued.op) {
                rest.clear();
                break;
            }
            self.apply(slot as u32, queued.op, out);
        }
        if let Some(begun) = rest.front()
            && !(self.full && needs_space(&begun.op))
            && dice.ratio(place.with(3), 1, 2)
        {
            self.apply_in_part(slot as u32, &begun.op, place, dice, out);
        }
        for inode in self.dirs[slot].inodes.values_mut() {
            inode.broken = None;
        }
    }

    /// Applies part of an operation that was running when the process died. Operations not listed
    /// are a single system call: all or nothing.
    fn apply_in_part(
        &mut self,
        slot: u32,
        op: &DiskOp,
        place: Place,
        dice: &Dice,
        out: &mut Outcome,
    ) {
        match op {
            DiskOp::Append { file, generation, at, bytes } => {
                let total: u64 = bytes.iter().map(|part| part.len() as u64).sum();
                let kept = dice.decide(place.with(1), total + 1);
                let bytes = prefix(bytes, kept);
                if kept > 0 {
                    let (file, generation, at) = (*file, *generation, *at);
                    self.apply(slot, DiskOp::Append { file, generation, at, bytes }, out);
                }
            }
            // Created, but the root was not synced.
            DiskOp::OpenDir { .. } => {
                self.create_dir(slot);
            }
            DiskOp::RemoveDir { .. } => {
                let dir = &mut *self.dirs[slot as usize];
                let mut unlinked: Vec<FileKind> = dir.entries.keys().copied().collect();
                unlinked.retain(|kind| dice.ratio(place.with(4).with_value(kind), 1, 2));
                for kind in &unlinked {
                    dir.entries.remove(kind);
                    dir.pending.push(NameOp::Unlink(*kind));
                }
                for kind in unlinked {
                    self.changed(slot, kind, || Change::Removed, out);
                }
            }
            DiskOp::Create { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Unlink { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::RenameDir { .. }
            | DiskOp::Read { .. } => {}
        }
    }

    /// Power loss: [`SimDisk::process_crash`], then everything that was not durable is lost, except
    /// what is drawn. Any subset of the name changes survives. Of a file's unsynced bytes, a prefix
    /// survives, or any subset of sectors if the disk tears writes. A truncation that no sync has
    /// covered may be undone beneath what was written since.
    pub fn power_loss(&mut self, dice: &Dice, out: &mut Outcome) {
        self.process_crash(dice, out);
        let places = |disk: &SimDisk, slot: usize| {
            let place = dice.place(Purpose::PowerLoss);
            place.with(disk.dirs[slot].place.0).with(disk.crashes)
        };
        for slot in 0..self.dirs.len() {
            self.power_loss_name(slot, places(self, slot), dice, out);
        }
        for slot in 0..self.dirs.len() {
            self.power_loss_dir(slot, places(self, slot), dice, out);
        }
    }

    /// Decides whether a directory whose new name is not durable keeps it or gets the old one back.
    fn power_loss_name(&mut self, slot: usize, place: Place, dice: &Dice, out: &mut Outcome) {
        let Some(old) = self.dirs[slot].durable_name.take() else { return };
        if dice.ratio(place.with(7), 1, 2) {
            return;
        }
        // A directory created under the old name since then was not durable either, so it is lost.
        if let Some(since) = self.by_name.get(&old).copied() {
            let dir = &mut *self.dirs[since as usize];
            let files: Vec<FileKind> = dir.entries.keys().copied().collect();
            dir.clear();
            self.counts.lost += files.len() as u64;
            for kind in files {
                self.changed(since, kind, || Change::Vanished, out);
            }
            // No name leads to its slot any more.
        }
        let new = std::mem::replace(&mut self.dirs[slot].name, old.clone());
        self.by_name.remove(&new);
        self.by_name.insert(old, slot as u32);
        let dir = &self.dirs[slot];
        let files: Vec<(FileKind, u64)> =
            dir.entries.iter().map(|(kind, id)| (*kind, dir.inodes[id].content.len())).collect();
        for (kind, len) in files {
            self.changed(slot as u32, kind, || Change::Reappeared { len }, out);
        }
    }

    fn power_loss_dir(&mut self, slot: usize, place: Place, dice: &Dice, out: &mut Outcome) {
        let torn = self.config.torn;
        let dir = &mut *self.dirs[slot];
        let before = std::mem::take(&mut dir.entries);
        let dir_survives = match (dir.exists, dir.durable_exists) {
            (true, true) => true,
            (true, false) | (false, true) => dice.ratio(place.with(0), 1, 2),
            (false, false) => false,
        };
        if !dir_survives {
            dir.clear();
            self.counts.lost += before.len() as u64;
            for kind in before.keys() {
                self.changed(slot as u32, *kind, || Change::Vanished, out);
            }
            return;
        }
        dir.exists = true;
        dir.durable_exists = true;
        dir.entries = dir.names_after_power_loss(place, dice);
        dir.durable.clone_from(&dir.entries);
        dir.forget_nameless();
        // A file may have two names now.
        let mut torn_off: BTreeMap<u32, (u64, Option<Vec<(u64, u64)>>)> = BTreeMap::new();
        for (id, inode) in &mut dir.inodes {
            let len = inode.content.len();
            let zeroed = inode.power_loss(place.with(2).with(u64::from(*id)), torn, dice);
            torn_off.insert(*id, (len, zeroed));
        }
        let mut changes = Vec::new();
        for kind in before.keys().filter(|kind| !dir.entries.contains_key(*kind)) {
            changes.push((*kind, Change::Vanished));
        }
        for (kind, id) in &dir.entries {
            let after = dir.inodes[id].content.len();
            let change = if before.get(kind) == Some(id) {
                let (before, Some(zeroed)) = torn_off[id].clone() else { continue };
                Change::Lost { before, after, zeroed }
            } else {
                Change::Reappeared { len: after }
            };
            changes.push((*kind, change));
        }
        self.counts.lost += changes.len() as u64;
        for (kind, change) in changes {
            self.changed(slot as u32, kind, || change, out);
        }
    }

    /// Makes the next sync fail once with EIO and mark its dirty pages clean: of this file, or of
    /// whichever file is synced next. Returns whether the file exists.
    pub fn fail_next_sync(&mut self, file: Option<(&str, FileKind)>) -> bool {
        let Some((dir, kind)) = file else {
            self.fail_any_sync = true;
            return true;
        };
        let Some(inode) = self.inode_mut(dir, kind) else { return false };
        inode.fail_next_sync = true;
        true
    }

    /// A sync error did not reach a process before it died. The next incarnation gets it.
    pub fn error_unseen(&mut self, file: FileId) {
        if let Some(slot) = self.handles.get(&file.dir)
            && let Some(inode) = self.dirs[*slot as usize].inode(file.kind)
        {
            inode.fail_next_sync = true;
        }
    }

    /// Makes the next append fail with EIO, with nothing written.
    pub fn fail_next_write(&mut self) {
        self.fail_any_write = true;
    }

    /// Sets whether the disk is full. While it is, creates and appends wait.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Sets whether syncs succeed without making anything durable (a lying drive cache).
    pub fn set_lying(&mut self, lying: bool) {
        self.lying = lying;
    }

    /// Scales the drawn time of every operation that starts from now on, in percent.
    pub fn set_slow(&mut self, percent: u64) {
        self.slow_percent = percent;
    }

    /// Delays all completions until this time, ns.
    pub fn stall_until(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Loses everything, durable or not, as a new, empty disk would. Only between incarnations.
    pub fn wipe(&mut self) {
        assert!(self.handles.is_empty(), "a disk is wiped while no process uses it");
        for dir in &mut self.dirs {
            dir.clear();
        }
        self.dirs[0].exists = true;
        self.dirs[0].durable_exists = true;
    }

    /// Flips bits at rest, on the media and in the page cache. Returns whether the byte exists.
    pub fn flip(
        &mut self,
        dir: &str,
        kind: FileKind,
        at: u64,
        mask: u8,
        out: &mut Outcome,
    ) -> bool {
        let Some(inode) = self.inode_mut(dir, kind) else { return false };
        let old = inode.content.read(at, 1);
        let Some(byte) = old.first() else { return false };
        let flipped = [byte ^ mask];
        inode.content.overwrite(at, &flipped);
        if at < inode.clean {
            inode.durable.overwrite(at, &flipped);
        }
        if let Some(slot) = self.by_name.get(dir) {
            self.changed(*slot, kind, || Change::Corrupted { from: at, to: at + 1 }, out);
        }
        true
    }

    /// Replaces a file's content at rest, on the media and in the page cache, or removes the file
    /// with its name. Returns whether the file exists. Only while no process uses it.
    pub fn replace_at_rest(
        &mut self,
        dir: &str,
        kind: FileKind,
        content: Option<Bytes>,
        out: &mut Outcome,
    ) -> bool {
        let Some(inode) = self.inode_mut(dir, kind) else { return false };
        let len = inode.content.len();
        let mut new = Extents::default();
        new.push(content.clone().unwrap_or_default());
        let to = len.max(new.len());
        *inode = Inode { content: new.clone(), clean: new.len(), durable: new, ..Inode::default() };
        let slot = self.by_name[dir];
        if content.is_none() {
            let dir = &mut *self.dirs[slot as usize];
            dir.entries.remove(&kind);
            dir.durable.remove(&kind);
            dir.pending.retain(|op| !op.is_about(kind));
        }
        self.changed(slot, kind, || Change::Corrupted { from: 0, to }, out);
        true
    }

    /// A latent sector error: reads of anything in this range fail with EIO until it is truncated
    /// or the file is replaced. Returns whether the file has bytes there.
    pub fn spoil(&mut self, dir: &str, kind: FileKind, from: u64, to: u64) -> bool {
        let Some(inode) = self.inode_mut(dir, kind) else { return false };
        let to = to.min(inode.content.len());
        if from < to {
            inode.bad.push((from, to));
        }
        from < to
    }

    /// Puts another disk in this one's place, as when an administrator swaps or restores one. It
    /// keeps its own content and continues with this one's draws. Only between incarnations.
    pub fn replace(&mut self, other: SimDisk) {
        assert!(self.handles.is_empty(), "a disk is replaced while no process uses it");
        let (node, place, observed) = (self.node, self.place, self.observed);
        let epoch = self.epoch.max(other.epoch) + 1;
        let crashes = self.crashes.max(other.crashes) + 1;
        let counts = self.counts;
        *self = SimDisk { node, place, observed, epoch, crashes, counts, ..other };
        let mut nothing = Outcome::default();
        self.process_exit(&Dice::new(0), &mut nothing); // in case it was in use when it was copied
    }

    /// Records [`super::DiskChange`]s from now on.
    pub fn observe(&mut self, on: bool) {
        self.observed = on;
    }
}

/// # Queries
impl SimDisk {
    /// The fault counts so far.
    pub fn counts(&self) -> DiskCounts {
        self.counts
    }

    /// The content as processes see it; `None` if there is no such file.
    pub fn visible(&self, dir: &str, kind: FileKind) -> Option<&Extents> {
        let dir = self.dir(dir)?;
        dir.entries.get(&kind).map(|id| &dir.inodes[id].content)
    }

    /// The content that survives a power loss, or `None` if even the name could be lost. It still
    /// has durable bytes that an unsynced truncation cut.
    pub fn durable(&self, dir: &str, kind: FileKind) -> Option<&Extents> {
        let dir = self.dir(dir)?;
        if !dir.durable_exists {
            return None;
        }
        dir.durable.get(&kind).map(|id| &dir.inodes[id].durable)
    }

    /// A file in a directory whose content or name on the media differs from what processes see.
    /// Temporary files do not count.
    pub fn unsynced_in(&self, dir: &str) -> Option<FileKind> {
        let differs = |kind: &FileKind| self.durable(dir, *kind) != self.visible(dir, *kind);
        let mut kinds = self.files(dir).into_iter().map(|(kind, _)| kind);
        kinds.find(|kind| !matches!(kind, FileKind::Temporary(_)) && differs(kind))
    }

    /// The visible content of the file below this offset is on the media, whether or not its name
    /// is.
    pub fn clean(&self, dir: &str, kind: FileKind) -> Option<u64> {
        let dir = self.dir(dir)?;
        dir.entries.get(&kind).map(|id| dir.inodes[id].clean)
    }

    /// The files of a directory as processes see them, with their lengths.
    pub fn files(&self, dir: &str) -> Vec<(FileKind, u64)> {
        let Some(dir) = self.dir(dir) else { return Vec::new() };
        dir.entries.iter().map(|(kind, id)| (*kind, dir.inodes[id].content.len())).collect()
    }

    /// The names of the directories below the root, sorted.
    pub fn dir_names(&self) -> Vec<String> {
        let below = self.by_name.iter().filter(|(name, _)| !name.is_empty());
        below
            .filter(|(_, slot)| self.dirs[**slot as usize].exists)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A directory's name; empty for the root.
    pub fn dir_name(&self, slot: DirSlot) -> &str {
        &self.dirs[slot.0 as usize].name
    }

    /// Does a cut of a log in this directory wait in the queue? Until it is done, what the media
    /// hold is not just the log that the process continues with.
    pub fn is_cut_pending(&self, dir: &str) -> bool {
        let cuts = |queued: &Queued| match &queued.op {
            DiskOp::Truncate { file, .. } | DiskOp::Unlink { file } => {
                matches!(file.kind, FileKind::Log(_))
            }
            DiskOp::OpenDir { .. }
            | DiskOp::Create { .. }
            | DiskOp::Append { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Rename { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::RenameDir { .. }
            | DiskOp::RemoveDir { .. }
            | DiskOp::Read { .. } => false,
        };
        self.dir(dir).is_some_and(|dir| dir.queue.iter().any(cuts))
    }

    /// Does an operation wait in the queue that removes something from the logs in this directory:
    /// a truncation, an unlink, a create over an existing file, a rename or removal of the
    /// directory?
    pub fn is_changing(&self, dir: &str) -> bool {
        let is_log = |file: &FileId| matches!(file.kind, FileKind::Log(_));
        let takes = |queued: &Queued| match &queued.op {
            DiskOp::Truncate { file, .. }
            | DiskOp::Unlink { file }
            | DiskOp::Create { file, .. } => is_log(file),
            DiskOp::RenameDir { .. } | DiskOp::RemoveDir { .. } => true,
            DiskOp::OpenDir { .. }
            | DiskOp::Append { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Rename { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::Read { .. } => false,
        };
        self.dir(dir).is_some_and(|dir| dir.queue.iter().any(takes))
    }

    /// Would a power loss now leave the logs in this directory as processes see them, with all cuts
    /// preserved? Ignores operations in the queue.
    pub fn is_settled(&self, dir: &str) -> bool {
        let Some(dir) = self.dir(dir) else { return false };
        let is_log = |name: &(&FileKind, &u32)| matches!(name.0, FileKind::Log(_));
        let on_media = |id: &u32| {
            let inode = &dir.inodes[id];
            let len = inode.content.len();
            let dirty = !inode.dropped.is_empty() || inode.uncut.is_some();
            !dirty && inode.clean == len && inode.durable.len() == len
        };
        dir.durable_exists
            && dir.entries.iter().filter(is_log).eq(dir.durable.iter().filter(is_log))
            && dir.entries.iter().filter(is_log).all(|(_, id)| on_media(id))
    }

    /// Does the disk have no work in progress?
    pub fn is_idle(&self) -> bool {
        self.dirs.iter().all(|dir| dir.queue.is_empty() && dir.syncing == 0)
    }

    fn dir(&self, name: &str) -> Option<&Dir> {
        let slot = self.by_name.get(name)?;
        Some(&*self.dirs[*slot as usize]).filter(|dir| dir.exists)
    }

    fn inode_mut(&mut self, dir: &str, kind: FileKind) -> Option<&mut Inode> {
        let slot = *self.by_name.get(dir)?;
        self.dirs[slot as usize].inode(kind)
    }
}

impl Inode {
    /// Reverts to what the media hold. Returns the ranges that read as zeros though other bytes
    /// were written, or `None` if nothing changed.
    fn power_loss(&mut self, place: Place, torn: bool, dice: &Dice) -> Option<Vec<(u64, u64)>> {
        let before = self.content.clone();
        let mut zeroed = std::mem::take(&mut self.dropped);
        let uncut = self.uncut.take().filter(|_| dice.ratio(place.with(0), 1, 2));
        let undone = uncut.is_some();
        let mut now = std::mem::take(&mut self.durable);
        if let Some(uncut) = uncut {
            // Part of what was unsynced before the truncation may have reached the media.
            grow(&mut now, &uncut, place.with(9), torn, dice, &mut zeroed);
            now = overwritten(&now, &before, self.clean, place.with(10), dice);
        } else {
            now.truncate(self.clean);
            grow(&mut now, &before, place, torn, dice, &mut zeroed);
        }
        // The length of a file whose last sync failed may not have reached the media either.
        if let Some((from, to)) = zeroed.last().copied()
            && to == now.len()
            && dice.ratio(place.with(2), 1, 2)
        {
            now.truncate(from);
            zeroed.pop();
        }
        self.fail_next_sync = false;
        self.clean = now.len();
        self.durable = now.clone();
        let unchanged = zeroed.is_empty() && now.len() == before.len() && !undone;
        self.content = now;
        (!unchanged).then_some(zeroed)
    }
}

/// Appends to `now`, which is durable, the part of the rest of `before` that survives.
fn grow(
    now: &mut Extents,
    before: &Extents,
    place: Place,
    torn: bool,
    dice: &Dice,
    zeroed: &mut Vec<(u64, u64)>,
) {
    if torn {
        return tear(now, before, place, dice, zeroed);
    }
    let from = now.len();
    let kept = dice.decide(place.with(1), before.len().saturating_sub(from) + 1);
    now.extend_from(before, from, from + kept);
}

/// The file as it was before a truncation that was lost, with some of the sectors that were written
/// after the truncation. Blocks are written back in place, separately from the inode and in no
/// order (ALICE, OSDI 2014, table 1), so old bytes may follow new ones. The kernel writes the
/// unfilled rest of a file's last page as zeros.
fn overwritten(old: &Extents, new: &Extents, from: u64, place: Place, dice: &Dice) -> Extents {
    let density = [0, 1, 4, 7, 8][dice.decide(place, 5) as usize];
    let mut out = Extents::default();
    out.extend_from(old, 0, from);
    while out.len() < new.len().next_multiple_of(SECTOR).min(old.len()) {
        let at = out.len();
        let sector = at / SECTOR;
        let to = ((sector + 1) * SECTOR).min(old.len());
        if dice.ratio(place.with(sector), density, 8) {
            out.extend_from(new, at, to);
            let filled = out.len();
            out.push_zeros(to - filled);
        } else {
            out.extend_from(old, at, to);
        }
    }
    let rest = out.len();
    out.extend_from(old, rest, old.len());
    out
}

/// Appends to `now` (which ends where the durable part does) any subset of the remaining sectors of
/// `before`. The others read as zeros, and the length may end anywhere.
fn tear(
    now: &mut Extents,
    before: &Extents,
    place: Place,
    dice: &Dice,
    zeroed: &mut Vec<(u64, u64)>,
) {
    let clean = now.len();
    let unsynced = before.len().saturating_sub(clean);
    if unsynced == 0 {
        return;
    }
    let end = match dice.decide(place.with(3), 3) {
        0 => before.len(),
        1 => clean,
        _ => clean + dice.decide(place.with(4), unsynced + 1),
    };
    // In eighths: a power loss may lose nearly everything, nearly nothing, or about half.
    let density = [0, 1, 4, 7, 8][dice.decide(place.with(5), 5) as usize];
    while now.len() < end {
        let from = now.len();
        let sector = from / SECTOR;
        let to = ((sector + 1) * SECTOR).min(end);
        if dice.ratio(place.with(6).with(sector), density, 8) {
            now.extend_from(before, from, to);
        } else {
            now.push_zeros(to - from);
            match zeroed.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                Some(_) | None => zeroed.push((from, to)),
            }
        }
    }
}

/// Does this operation wait on a full disk?
pub(super) fn needs_space(op: &DiskOp) -> bool {
    match op {
        DiskOp::Create { .. } | DiskOp::Append { .. } => true,
        DiskOp::OpenDir { .. }
        | DiskOp::Sync { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Unlink { .. }
        | DiskOp::SyncDir { .. }
        | DiskOp::RenameDir { .. }
        | DiskOp::RemoveDir { .. }
        | DiskOp::Read { .. } => false,
    }
}

/// The first `len` bytes of a list of parts.
fn prefix(parts: &[Bytes], mut len: u64) -> Vec<Bytes> {
    let mut out = Vec::new();
    for part in parts {
        let take = (part.len() as u64).min(len);
        if take > 0 {
            out.push(part.slice(..take as usize));
        }
        len -= take;
    }
    out
}
