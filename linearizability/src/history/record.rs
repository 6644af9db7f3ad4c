//! Records a history: one call for each thing that a client saw.
//!
//! Calls come in the order in which things happened. They panic if the caller contradicts itself
//! (an operation that ends twice); readers check files before they make these calls.

use super::{
    Acks, Action, Change, Group, History, Loss, NO_TRANSACTION, OpId, Operation, Outcome,
    Partition, Polled, Position, Stamp, TEXT, Value,
};

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than 2^32 of anything in one operation")
}

impl History {
    /// An empty history.
    pub fn new() -> History {
        History::default()
    }

    /// The partition of that name, created if it is new.
    pub fn partition(&mut self, name: &str) -> Partition {
        Partition(self.partitions.id(name))
    }

    /// The consumer group of that name, created if it is new.
    pub fn group(&mut self, name: &str) -> Group {
        Group(self.groups.id(name))
    }

    /// The value that stands for a text.
    pub fn text(&mut self, text: &str) -> Value {
        Value(TEXT | u64::from(self.texts.id(text)))
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        let seq = self.next_seq;
        self.next_seq += 1;
        Stamp { seq, time }
    }

    fn invoke(&mut self, process: u32, time: u64, action: Action) -> OpId {
        let id = u32::try_from(self.operations.len()).ok().filter(|id| *id < NO_TRANSACTION);
        let id = id.expect("fewer than 2^32 - 1 operations");
        match action {
            Action::Send { .. } | Action::Poll { .. } | Action::Assign { .. } => {}
            Action::Transaction { .. } => self.transactions = true,
            Action::Subscribe
            | Action::Rebalance { .. }
            | Action::Commit { .. }
            | Action::Committed { .. }
            | Action::Crash => self.groups_used = true,
        }
        let invoked = self.stamp(time);
        let (outcome, completed, member_of) = (Outcome::Info, None, NO_TRANSACTION);
        self.operations.push(Operation { process, outcome, invoked, completed, action, member_of });
        OpId(id)
    }

    fn complete(&mut self, op: OpId, time: u64, outcome: Outcome) -> &mut Operation {
        let stamp = self.stamp(time);
        let operation = &mut self.operations[op.0 as usize];
        assert!(operation.completed.is_none(), "an operation is completed once");
        operation.completed = Some(stamp);
        operation.outcome = outcome;
        operation
    }

    /// A process asks to append a record. Complete it by [`History::acknowledge`],
    /// [`History::fail`] or [`History::info`], or never.
    pub fn send(
        &mut self,
        process: u32,
        time: u64,
        partition: Partition,
        value: Value,
        acks: Acks,
    ) -> OpId {
        let action = Action::Send { partition, value, acks, offset: -1, epoch: -1 };
        self.invoke(process, time, action)
    }

    /// The send was acknowledged: at this offset, appended in this leader epoch, where known. If a
    /// [`Loss`] is admitted, an epoch makes the check stricter: without one, a record beyond the
    /// loss is assumed to be lost by it. In a transaction this says where the record is if the
    /// transaction is committed.
    ///
    /// # Panics
    /// If it is not an open send, or the offset or epoch is negative.
    pub fn acknowledge(&mut self, op: OpId, time: u64, at: Option<i64>, in_epoch: Option<i32>) {
        assert!(at.is_none_or(|at| at >= 0) && in_epoch.is_none_or(|epoch| epoch >= 0));
        let action = &mut self.complete(op, time, Outcome::Ok).action;
        let Action::Send { offset, epoch, .. } = action else {
            panic!("only sends are acknowledged: {action:?}")
        };
        *offset = at.unwrap_or(-1);
        *epoch = in_epoch.unwrap_or(-1);
    }

    /// The operation certainly did not happen and never will; a transaction was aborted.
    ///
    /// # Panics
    /// If it is not open.
    pub fn fail(&mut self, op: OpId, time: u64) {
        self.complete(op, time, Outcome::Fail);
    }

    /// The operation may or may not have happened, or may still happen.
    ///
    /// # Panics
    /// If it is not open.
    pub fn info(&mut self, op: OpId, time: u64) {
        self.complete(op, time, Outcome::Info);
    }

    /// The record of this send was made from that one, which was read (consume, transform,
    /// produce). Each record is made from one record.
    ///
    /// # Panics
    /// If it is not a send, or not the newest operation.
    pub fn made_from(&mut self, op: OpId, partition: Partition, offset: i64) {
        self.assert_newest_send(op);
        self.sources.push((op, partition, offset));
    }

    /// The record of this send moves this amount to an account. The amounts of a transaction, or of
    /// a record outside one, add up to 0, and so must those of all records that are in the log.
    ///
    /// # Panics
    /// If it is not a send, or not the newest operation.
    pub fn amount(&mut self, op: OpId, amount: i64) {
        self.assert_newest_send(op);
        self.amounts.push((op, amount));
    }

    fn assert_newest_send(&self, op: OpId) {
        let newest = self.operations.len() == op.0 as usize + 1;
        let send = matches!(self.operation(op).action, Action::Send { .. });
        assert!(newest && send, "said of a send when it is recorded");
    }

    /// A process asks for records. Complete it by [`History::return_records`], [`History::fail`] or
    /// [`History::info`], or never. [`History::poll`] does both at once.
    pub fn invoke_poll(&mut self, process: u32, time: u64) -> OpId {
        self.invoke(process, time, Action::Poll { first: 0, count: 0 })
    }

    /// The poll returned these, in this order.
    ///
    /// # Panics
    /// If it is not an open poll.
    pub fn return_records(&mut self, op: OpId, time: u64, records: &[Polled]) {
        let start = self.polled.len() as u64;
        self.polled.extend_from_slice(records);
        let action = &mut self.complete(op, time, Outcome::Ok).action;
        assert!(matches!(action, Action::Poll { .. }), "only polls return records: {action:?}");
        *action = Action::Poll { first: start, count: count(records.len()) };
    }

    /// A process got these records, in this order.
    pub fn poll(&mut self, process: u32, time: u64, records: &[Polled]) -> OpId {
        let op = self.invoke_poll(process, time);
        self.return_records(op, time, records);
        op
    }

    /// From now on a process reads these partitions from these positions, and no others; `None` is
    /// an unknown position (the end, for example).
    pub fn assign(
        &mut self,
        process: u32,
        time: u64,
        positions: &[(Partition, Option<i64>)],
    ) -> OpId {
        let positions: Vec<_> = positions.iter().map(|(p, at)| (*p, (*at).into())).collect();
        self.assign_at(process, time, &positions)
    }

    /// Like [`History::assign`]; partitions may keep the positions that they have.
    pub fn assign_at(
        &mut self,
        process: u32,
        time: u64,
        positions: &[(Partition, Position)],
    ) -> OpId {
        self.assignment(process, time, positions, false)
    }

    /// From now on a process reads this partition from this position, by its own decision: its
    /// previous position implies nothing.
    pub fn seek(
        &mut self,
        process: u32,
        time: u64,
        partition: Partition,
        position: Option<i64>,
    ) -> OpId {
        self.assignment(process, time, &[(partition, position.into())], true)
    }

    fn assignment(
        &mut self,
        process: u32,
        time: u64,
        positions: &[(Partition, Position)],
        seek: bool,
    ) -> OpId {
        let (first, count) = self.keep(positions);
        self.event(process, time, Action::Assign { first, count, seek })
    }

    fn keep(&mut self, positions: &[(Partition, Position)]) -> (u64, u32) {
        let first = self.positions.len() as u64;
        self.positions.extend_from_slice(positions);
        (first, count(positions.len()))
    }

    /// An operation without duration.
    fn event(&mut self, process: u32, time: u64, action: Action) -> OpId {
        let op = self.invoke(process, time, action);
        self.complete(op, time, Outcome::Ok);
        op
    }

    /// From now on a group decides what a process reads, and from where.
    pub fn subscribe(&mut self, process: u32, time: u64) -> OpId {
        self.event(process, time, Action::Subscribe)
    }

    /// A group gave a process partitions or took some. From the first change on that is not
    /// [`Change::Changed`], all changes of a process are assumed to be recorded.
    ///
    /// # Panics
    /// If the generation is negative.
    pub fn rebalance(
        &mut self,
        process: u32,
        time: u64,
        group: Group,
        generation: Option<i32>,
        change: Change,
        partitions: &[(Partition, Position)],
    ) -> OpId {
        assert!(generation.is_none_or(|generation| generation >= 0));
        let (first, count) = self.keep(partitions);
        let generation = generation.unwrap_or(-1);
        self.event(process, time, Action::Rebalance { first, count, group, generation, change })
    }

    /// A process asks to commit offsets: by partition, that of the first record not yet processed.
    /// Complete it by [`History::done`], [`History::fail`] or [`History::info`], or never. In a
    /// transaction, it happens only if the transaction is committed.
    ///
    /// # Panics
    /// If the generation is negative.
    pub fn commit_offsets(
        &mut self,
        process: u32,
        time: u64,
        group: Group,
        generation: Option<i32>,
        offsets: &[(Partition, i64)],
    ) -> OpId {
        assert!(generation.is_none_or(|generation| generation >= 0));
        let offsets: Vec<_> = offsets.iter().map(|(p, at)| (*p, Position::At(*at))).collect();
        let (first, count) = self.keep(&offsets);
        let generation = generation.unwrap_or(-1);
        self.invoke(process, time, Action::Commit { first, count, group, generation })
    }

    /// A process asks which offsets a group has committed. Complete it by
    /// [`History::return_offsets`], [`History::fail`] or [`History::info`], or never.
    pub fn fetch_offsets(&mut self, process: u32, time: u64, group: Group) -> OpId {
        self.invoke(process, time, Action::Committed { first: 0, count: 0, group })
    }

    /// These are the committed offsets; `None` where the group has committed none.
    ///
    /// # Panics
    /// If it is not open, or did not ask for offsets.
    pub fn return_offsets(&mut self, op: OpId, time: u64, offsets: &[(Partition, Option<i64>)]) {
        let offsets: Vec<_> = offsets.iter().map(|(p, at)| (*p, (*at).into())).collect();
        let (start, length) = self.keep(&offsets);
        let action = &mut self.complete(op, time, Outcome::Ok).action;
        let Action::Committed { first, count, .. } = action else {
            panic!("only a question for offsets returns them: {action:?}")
        };
        (*first, *count) = (start, length);
    }

    /// A process begins a transaction. Add operations to it by [`History::join`], record the
    /// request for its end by [`History::end`] (or not at all), and its outcome by
    /// [`History::done`] (it was committed), [`History::fail`] (it was aborted), [`History::info`],
    /// or never.
    pub fn begin(&mut self, process: u32, time: u64) -> OpId {
        self.invoke(process, time, Action::Transaction { ending: u64::MAX })
    }

    /// This send, poll or commit of offsets is in that transaction.
    ///
    /// # Panics
    /// If it is not an open transaction of the same process; if the operation is of another kind,
    /// or already in a transaction.
    pub fn join(&mut self, op: OpId, transaction: OpId) {
        let of = *self.operation(transaction);
        let open = matches!(of.action, Action::Transaction { .. }) && of.completed.is_none();
        let operation = &mut self.operations[op.0 as usize];
        let fits = match operation.action {
            Action::Send { .. } | Action::Poll { .. } | Action::Commit { .. } => true,
            Action::Assign { .. }
            | Action::Subscribe
            | Action::Rebalance { .. }
            | Action::Committed { .. }
            | Action::Transaction { .. }
            | Action::Crash => false,
        };
        let fits = fits && operation.process == of.process;
        assert!(open && fits && operation.member_of == NO_TRANSACTION);
        operation.member_of = transaction.0;
    }

    /// The process requests the transaction's end: nothing of it may be visible before.
    ///
    /// # Panics
    /// If it is not an open transaction, or its end was already requested.
    pub fn end(&mut self, transaction: OpId, time: u64) {
        let stamp = self.stamp(time);
        let operation = &mut self.operations[transaction.0 as usize];
        assert!(operation.completed.is_none(), "an open transaction");
        assert_eq!(operation.action, Action::Transaction { ending: u64::MAX });
        operation.action = Action::Transaction { ending: stamp.seq };
    }

    /// The commit of offsets was accepted, or the transaction was committed.
    ///
    /// # Panics
    /// If it is not open, or is something else.
    pub fn done(&mut self, op: OpId, time: u64) {
        let action = self.complete(op, time, Outcome::Ok).action;
        let fits = matches!(action, Action::Commit { .. } | Action::Transaction { .. });
        assert!(fits, "a commit of offsets or a transaction: {action:?}");
    }

    /// A process ended.
    pub fn crash(&mut self, process: u32, time: u64) -> OpId {
        self.event(process, time, Action::Crash)
    }

    /// Admits a loss.
    pub fn admit(&mut self, loss: Loss) {
        self.losses.push(loss);
    }
}
