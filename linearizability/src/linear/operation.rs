//! The input of the linearizability checker: operations on one object, with their answers.

use crate::{OpId, Stamp};

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ending<R> {
    /// It took effect between its invocation and `at`, and returned `output`.
    Returned {
        /// When the answer came.
        at: Stamp,
        /// The answer.
        output: R,
    },
    /// It certainly had no effect and never will: the checker leaves it out.
    Failed,
    /// Unknown: it took effect at some time after its invocation, or will, or never does.
    Indeterminate,
}

/// One operation on the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation<O, R> {
    /// The process.
    pub process: u32,
    /// When it was invoked.
    pub invoked: Stamp,
    /// What was asked.
    pub op: O,
    /// How it ended.
    pub ending: Ending<R>,
}

/// Operations, recorded in the order in which they were observed to begin and end. [`OpId`]s count
/// invocations from 0.
#[derive(Clone, Debug)]
pub struct History<O, R> {
    operations: Vec<Operation<O, R>>,
    next_seq: u64,
}

impl<O, R> Default for History<O, R> {
    fn default() -> History<O, R> {
        History { operations: Vec::new(), next_seq: 0 }
    }
}

impl<O, R> History<O, R> {
    /// An empty history.
    pub fn new() -> History<O, R> {
        History::default()
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        let seq = self.next_seq;
        self.next_seq += 1;
        Stamp { seq, time }
    }

    /// A process invokes an operation, at a time in nanoseconds (for people; only the order of the
    /// calls counts). It stays indeterminate unless [`History::returned`] or [`History::failed`]
    /// says otherwise.
    ///
    /// # Panics
    /// With 2^32 operations or more.
    pub fn invoke(&mut self, process: u32, time: u64, op: O) -> OpId {
        let id = u32::try_from(self.operations.len()).expect("fewer than 2^32 operations");
        let invoked = self.stamp(time);
        self.operations.push(Operation { process, invoked, op, ending: Ending::Indeterminate });
        OpId(id)
    }

    /// It returned this.
    ///
    /// # Panics
    /// If it ended before.
    pub fn returned(&mut self, id: OpId, time: u64, output: R) {
        let at = self.stamp(time);
        let operation = self.open(id);
        operation.ending = Ending::Returned { at, output };
    }

    /// It certainly had no effect.
    ///
    /// # Panics
    /// If it ended before.
    pub fn failed(&mut self, id: OpId) {
        self.open(id).ending = Ending::Failed;
    }

    fn open(&mut self, id: OpId) -> &mut Operation<O, R> {
        let operation = &mut self.operations[id.0 as usize];
        let open = matches!(operation.ending, Ending::Indeterminate);
        assert!(open, "an operation ends once");
        operation
    }

    /// What was asked, which may be changed while a file is being read: some files say only at the
    /// end of an operation what it was.
    pub fn op_mut(&mut self, id: OpId) -> &mut O {
        &mut self.operations[id.0 as usize].op
    }

    /// All operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation<O, R>] {
        &self.operations
    }
}
