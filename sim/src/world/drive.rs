//! The driver's interface to the world: actions and queries.

use bytes::Bytes;
use wavetank_core::env::{Channel, DiskOp, FileKind};
use wavetank_core::event::{DiskDone, DiskOpKind, Event};
use wavetank_core::msg::{ApiKey, Request};
use wavetank_core::note::Note;
use wavetank_core::types::NodeId;

use super::network::Departure;
use super::queue::Payload;
use super::{
    Heal, HostConfig, Inner, Inspect, LinkConfig, LinkCounts, Machine, Transcode, Wake, World,
    WorldConfig,
};
use crate::decide::Dice;
use crate::disk::{DiskChange, SimDisk};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It exited by itself.
    Exit,
    /// Killed: the page cache and the kernel stay.
    Crash,
    /// Lost power with its machine.
    PowerLoss,
}

impl Inner {
    /// Ends a process, with its timers, completions and undelivered events.
    pub(super) fn end_process(&mut self, h: u32, end: End) {
        if end != End::Exit {
            self.cut_dying_step(h);
        }
        self.digest.word(0xdead ^ u64::from(h) << 32 ^ end as u64);
        let host = &mut self.hosts[h as usize];
        host.process_up = false;
        host.incarnation += 1;
        host.paused = false;
        host.wake = Wake::default();
        host.queued = false;
        host.timers.clear();
        host.dying.clear();
        let inbox = std::mem::take(&mut host.inbox);
        for (delivery, _) in inbox {
            if let Event::Disk(DiskDone::Failed { file, op: DiskOpKind::Sync, .. }) =
                delivery.event()
            {
                host.disk.error_unseen(file);
            }
        }
        let mut out = std::mem::take(&mut self.scratch);
        let (departure, dice) = match end {
            End::Exit | End::Crash => (Departure::Closed, &self.dice),
            End::PowerLoss => (Departure::Silent, &self.dice),
        };
        let host = &mut self.hosts[h as usize];
        match end {
            End::Exit => host.disk.process_exit(dice, &mut out),
            End::Crash => host.disk.process_crash(dice, &mut out),
            End::PowerLoss => {
                host.os_up = false;
                host.disk.power_loss(dice, &mut out);
            }
        }
        self.disk_outcome(h, out);
        self.leave_connections(h, departure);
    }
}

/// # Building
impl<M: Machine> World<M> {
    /// Adds a host for this node, with an empty disk and no process. Nodes are numbered from 0,
    /// below 65,536. Clients are nodes, too.
    ///
    /// # Panics
    /// If the number is taken or out of range.
    pub fn add_host(&mut self, node: NodeId, config: HostConfig) {
        self.inner.add_host(node, config);
        self.machines.push(None);
    }

    /// Sets the version of each API's requests (the highest that both ends speak).
    pub fn set_versions(&mut self, versions: fn(ApiKey) -> i16) {
        self.inner.versions = versions;
    }

    /// Sets whether every message crosses the network encoded.
    pub fn set_transcode(&mut self, transcode: Option<Transcode>) {
        self.inner.transcode = transcode;
    }

    /// Inspects every answer that leaves a machine. Complaints are kept for
    /// [`World::drain_odd_answers`].
    pub fn inspect_answers(&mut self, inspect: Inspect) {
        self.inner.inspect = Some(inspect);
    }

    /// Keeps notes for [`World::drain_notes`] (the default), or drops them.
    pub fn keep_notes(&mut self, keep: bool) {
        self.inner.keep_notes = keep;
    }

    /// Records what happens to a node's files for [`World::drain_disk_changes`] (off by default).
    pub fn observe_disk(&mut self, node: NodeId, on: bool) {
        self.disk_mut(node).observe(on);
    }

    /// Keeps what machines submit to their disks for [`World::drain_submissions`] (off by default).
    /// If a process exits in a step that submitted something, it then ends at [`World::conclude`],
    /// or when the world next advances. Until then it can still be killed.
    pub fn watch_disks(&mut self, on: bool) {
        self.inner.watches_disks = on;
    }

    /// Sets whether each event and effect is formatted. See [`World::drain_trace`].
    pub fn trace(&mut self, on: bool) {
        self.inner.trace = on.then(Vec::new);
    }

    /// Returns `token` as [`StepKind::Control`](super::StepKind::Control) at this time (or now, if
    /// it is past).
    pub fn schedule(&mut self, at: u64, token: u64) {
        let at = at.max(self.inner.now);
        self.inner.queue.push(at, Payload::Control(token));
    }

    /// Uses other dice from here on (0: the seed's own). This is how a branch differs from its run.
    pub fn branch(&mut self, salt: u64) {
        self.inner.dice.branch(salt);
    }
}

/// # Processes
impl<M: Machine> World<M> {
    /// Starts a process: a new incarnation, whose first event is [`Event::Start`]. Powers the host
    /// on if it was off.
    ///
    /// # Panics
    /// If a process is running.
    pub fn start(&mut self, node: NodeId, machine: M) {
        let h = self.inner.host(node);
        let host = &mut self.inner.hosts[h as usize];
        assert!(!host.process_up, "node {node} is started while it runs");
        let booted = !std::mem::replace(&mut host.os_up, true);
        host.process_up = true;
        host.paused = false;
        host.busy_until = self.inner.now;
        self.machines[h as usize] = Some(machine);
        if booted {
            self.inner.host_booted(h);
        }
        let boot_id = self.inner.boot_id(h);
        self.inner.deliver(h, Event::Start { boot_id });
    }

    /// Delivers [`Event::Shutdown`]. A no-op if the node is not running.
    pub fn shutdown(&mut self, node: NodeId) {
        let h = self.inner.host(node);
        if self.inner.hosts[h as usize].process_up {
            self.inner.deliver(h, Event::Shutdown);
        }
    }

    /// Kills the process, perhaps in the middle of its last step. Page cache and kernel survive,
    /// and peers get a FIN or RST. Returns the machine, or `None` if none was running.
    pub fn crash(&mut self, node: NodeId) -> Option<M> {
        self.end(node, End::Crash)
    }

    /// Cuts the host's power. Everything that is not durable on its disk is lost, except what is
    /// drawn. Peers get no notice. Returns the machine, if one was running. The host is off until
    /// [`World::start`].
    pub fn power_loss(&mut self, node: NodeId) -> Option<M> {
        self.end(node, End::PowerLoss)
    }

    fn end(&mut self, node: NodeId, end: End) -> Option<M> {
        let h = self.inner.host(node);
        if self.inner.leaving == Some(h) {
            self.inner.leaving = None;
        }
        let machine = self.machines[h as usize].take();
        if machine.is_some() || end == End::PowerLoss {
            self.inner.trace_line(h, format_args!("* {end:?}"));
            self.inner.end_process(h, end);
        }
        machine
    }

    /// Pauses the process without its knowledge, as SIGSTOP does ([`World::act`] still works). It
    /// makes no steps. The kernel accepts bytes until its buffers are full, and the monotonic clock
    /// runs on. After the pause, its timers and messages are all there at once, in a drawn order.
    pub fn pause(&mut self, node: NodeId) {
        let h = self.inner.host(node);
        let now = self.inner.now;
        let host = &mut self.inner.hosts[h as usize];
        if !host.paused {
            host.paused = true;
            host.paused_at = now;
            host.held_by_pauses += host.inbox.len() as u64;
        }
    }

    /// Ends [`World::pause`].
    pub fn resume(&mut self, node: NodeId) {
        let h = self.inner.host(node);
        if self.inner.hosts[h as usize].paused {
            self.inner.wake_up(h);
        }
    }

    /// How a node's process last resumed after a pause. All zero if it never did.
    pub fn last_wake(&self, node: NodeId) -> &Wake {
        &self.inner.hosts[self.inner.host(node) as usize].wake
    }

    /// The requests that waited in a node's sockets when its process last resumed and that are not
    /// handled yet.
    pub fn unread_since_wake(&self, node: NodeId) -> impl Iterator<Item = &Request> {
        self.inner.unread_since_wake(self.inner.host(node))
    }

    /// How many frames a paused receiver's full buffer has left with their sender.
    pub fn pushed_back(&self) -> u64 {
        self.inner.pushed_back
    }

    /// Scales the drawn cost of steps, in percent. 100 is normal.
    pub fn throttle(&mut self, node: NodeId, percent: u64) {
        let h = self.inner.host(node);
        self.inner.hosts[h as usize].throttle_percent = percent;
    }

    /// Sets a node's wall clock offset, ms: skew, or a jump. Discards accumulated drift.
    pub fn set_wall_offset(&mut self, node: NodeId, offset_ms: i64) {
        let h = self.inner.host(node);
        let now = self.inner.now;
        let host = &mut self.inner.hosts[h as usize];
        host.wall_offset_ms = offset_ms;
        host.wall_drift.1 = now;
    }

    /// Makes a node's wall clock run this many millionths too fast (negative: too slow) from now
    /// on.
    pub fn set_wall_drift(&mut self, node: NodeId, ppm: i64) {
        let h = self.inner.host(node);
        let (error, now) = (self.inner.wall_error(h), self.inner.now);
        let host = &mut self.inner.hosts[h as usize];
        host.wall_offset_ms = error;
        host.wall_drift = (ppm, now);
    }

    /// A node's current wall clock offset, ms.
    pub fn wall_offset(&self, node: NodeId) -> i64 {
        self.inner.wall_error(self.inner.host(node))
    }
}

/// # The network
impl<M: Machine> World<M> {
    /// Blocks everything from `from` to `to`. It stalls in the sender, without a reset.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        let now = self.inner.now;
        let link = &mut self.inner.links[from as usize][to as usize];
        if !link.blocked {
            link.blocked = true;
            link.blocked_since = now;
        }
    }

    /// Ends [`World::block`].
    pub fn unblock(&mut self, from: NodeId, to: NodeId, heal: Heal) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        let link = &mut self.inner.links[from as usize][to as usize];
        if link.blocked {
            link.blocked = false;
            self.inner.link_opened(from, to, heal);
        }
    }

    /// Is this direction blocked?
    pub fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].blocked
    }

    /// Sets the timing of one direction.
    pub fn set_link(&mut self, from: NodeId, to: NodeId, config: LinkConfig) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].config = config;
    }

    /// The timing of one direction.
    pub fn link(&self, from: NodeId, to: NodeId) -> LinkConfig {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].config
    }

    /// What one direction has done to frames so far.
    pub fn link_counts(&self, from: NodeId, to: NodeId) -> LinkCounts {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].counts
    }

    /// Adds 0.5 to 1.5 times `extra` ns to every frame in one direction from now on. 0 ends it.
    pub fn set_spike(&mut self, from: NodeId, to: NodeId, extra: u64) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].spike = extra;
    }

    /// Flips a bit in this many of a million answers with records, in one direction, from now on.
    pub fn set_damage(&mut self, from: NodeId, to: NodeId, per_million: u64) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].damage_per_million = per_million;
    }

    /// Makes this many of a million answers lies, in one direction, from now on. For requests the
    /// rate is ten times this, and a hundred times for ISR requests (at most nine of ten).
    pub fn set_lies(&mut self, from: NodeId, to: NodeId, per_million: u64) {
        let (from, to) = (self.inner.host(from), self.inner.host(to));
        self.inner.links[from as usize][to as usize].lies_per_million = per_million;
    }

    /// Resets the connections between two nodes (of one channel, or all), whichever node opened
    /// them. A drawn prefix of what is in flight still arrives. Returns how many there were.
    pub fn reset(&mut self, a: NodeId, b: NodeId, channel: Option<Channel>) -> usize {
        let (a, b) = (self.inner.host(a), self.inner.host(b));
        self.inner.reset(a, b, channel)
    }

    /// Silently kills the connections between two nodes (half-open on both sides). Only timeouts
    /// notice. Returns how many there were.
    pub fn sever(&mut self, a: NodeId, b: NodeId, channel: Option<Channel>) -> usize {
        let (a, b) = (self.inner.host(a), self.inner.host(b));
        self.inner.sever(a, b, channel)
    }

    /// How many connections exist, and how many frames are stalled.
    pub fn network_load(&self) -> (usize, usize) {
        self.inner.network_load()
    }
}

/// # Disks and queries
impl<M: Machine> World<M> {
    /// A node's disk.
    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.inner.hosts[self.inner.host(node) as usize].disk
    }

    /// A node's disk, if there is such a host.
    pub fn find_disk(&self, node: NodeId) -> Option<&SimDisk> {
        self.inner.find(node).map(|host| &self.inner.hosts[host as usize].disk)
    }

    /// A node's disk, to change it.
    pub fn disk_mut(&mut self, node: NodeId) -> &mut SimDisk {
        let h = self.inner.host(node);
        &mut self.inner.hosts[h as usize].disk
    }

    /// Makes the next sync on a node's disk fail once and mark its dirty pages clean: of one file
    /// (by directory name), or of whichever comes next. Returns whether the file exists.
    pub fn fail_next_sync(&mut self, node: NodeId, file: Option<(&str, FileKind)>) -> bool {
        self.disk_mut(node).fail_next_sync(file)
    }

    /// Flips bits of one byte of a file at rest. Returns whether the byte exists.
    pub fn flip(&mut self, node: NodeId, dir: &str, kind: FileKind, at: u64, mask: u8) -> bool {
        let h = self.inner.host(node);
        let mut out = std::mem::take(&mut self.inner.scratch);
        let disk = &mut self.inner.hosts[h as usize].disk;
        let flipped = disk.flip(dir, kind, at, mask, &mut out);
        self.inner.disk_outcome(h, out);
        flipped
    }

    /// Replaces a file's content at rest, or removes the file. Returns whether the file exists.
    pub fn replace_at_rest(
        &mut self,
        node: NodeId,
        dir: &str,
        kind: FileKind,
        content: Option<Bytes>,
    ) -> bool {
        let h = self.inner.host(node);
        let mut out = std::mem::take(&mut self.inner.scratch);
        let disk = &mut self.inner.hosts[h as usize].disk;
        let replaced = disk.replace_at_rest(dir, kind, content, &mut out);
        self.inner.disk_outcome(h, out);
        replaced
    }

    /// Virtual time, ns.
    pub fn now(&self) -> u64 {
        self.inner.now
    }

    /// The machine that runs on a node, if one does.
    pub fn machine(&self, node: NodeId) -> Option<&M> {
        self.machines[self.inner.host(node) as usize].as_ref()
    }

    /// The machine on a node, to take its outputs. Changes made here are not events, so do not
    /// change the machine's behavior.
    pub fn machine_mut(&mut self, node: NodeId) -> Option<&mut M> {
        let h = self.inner.host(node);
        self.machines[h as usize].as_mut()
    }

    /// Is a process running?
    pub fn is_up(&self, node: NodeId) -> bool {
        self.inner.hosts[self.inner.host(node) as usize].process_up
    }

    /// Is it paused?
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.inner.hosts[self.inner.host(node) as usize].paused
    }

    /// How many events have waited on this node so far because it was paused.
    pub fn held_by_pauses(&self, node: NodeId) -> u64 {
        self.inner.hosts[self.inner.host(node) as usize].held_by_pauses
    }

    /// How many processes of this node have ended so far.
    pub fn incarnation(&self, node: NodeId) -> u32 {
        self.inner.hosts[self.inner.host(node) as usize].incarnation
    }

    /// All nodes, in the order they were added.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.inner.hosts.iter().map(|host| host.node)
    }

    /// The world's configuration.
    pub fn config(&self) -> &WorldConfig {
        &self.inner.config
    }

    /// The run's dice.
    pub fn dice(&self) -> &Dice {
        &self.inner.dice
    }

    /// The run's dice, to pin choices.
    pub fn dice_mut(&mut self) -> &mut Dice {
        &mut self.inner.dice
    }

    /// The digest of every event and effect so far. Two runs of one seed that differ here at the
    /// same step differ in that step.
    pub fn fingerprint(&self) -> u64 {
        self.inner.digest.value()
    }

    /// Machine steps so far.
    pub fn steps(&self) -> u64 {
        self.inner.steps
    }

    /// How many entries are scheduled. Only the first of the frames in flight in one direction of a
    /// connection counts.
    pub fn backlog(&self) -> usize {
        self.inner.queue.len()
    }

    /// The notes since the last call: time (ns), node, note.
    pub fn drain_notes(&mut self) -> std::vec::Drain<'_, (u64, NodeId, Note)> {
        self.inner.notes.drain(..)
    }

    /// The complaints of [`World::inspect_answers`] since the last call: the node, and what is
    /// wrong.
    pub fn drain_odd_answers(&mut self) -> std::vec::Drain<'_, (NodeId, String)> {
        self.inner.odd_answers.drain(..)
    }

    /// The changes of observed disks since the last call.
    pub fn drain_disk_changes(&mut self) -> std::vec::Drain<'_, DiskChange> {
        self.inner.changes.drain(..)
    }

    /// Are submissions to disks kept?
    pub fn watches_disks(&self) -> bool {
        self.inner.watches_disks
    }

    /// The submissions to disks since the last call: node and operation.
    pub fn drain_submissions(&mut self) -> Vec<(NodeId, DiskOp)> {
        std::mem::take(&mut self.inner.submissions)
    }

    /// The lines of the trace since the last call.
    pub fn drain_trace(&mut self) -> Vec<String> {
        self.inner.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
