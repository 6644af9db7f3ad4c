//! Turns operations into what the search needs: the operations on one key, in the order of their
//! invocations and returns, and which of them are equal.

use super::memo::Class;
use super::{Ending, Error, Model, Operation};
use crate::hash::FastMap;
use crate::{Datum, OpId};

/// An operation that returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned {
    pub(crate) id: OpId,
    pub(crate) class: u32,
    /// The question, whatever the answer.
    pub(crate) question: u32,
    /// A number that no other operation open at the same time has.
    pub(crate) slot: u32,
    /// How many returned before it.
    pub(crate) rank: u32,
    pub(crate) is_read: bool,
}

/// Operations that never returned, with the same question: which of them took effect does not
/// matter, only how many did.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) class: u32,
    pub(crate) question: u32,
    /// The operations, and the rank of the first return after each one's invocation.
    pub(crate) instances: Vec<(OpId, u32)>,
    /// The used bit of the first instance.
    pub(crate) first_bit: u32,
}

/// The operations on one key.
pub(crate) struct Prepared<M: Model> {
    pub(crate) returned: Vec<Returned>,
    pub(crate) open: Vec<Open>,
    pub(crate) classes: Vec<Class<M>>,
    /// Invocations (false) and returns (true) of `returned`, in order.
    pub(crate) events: Vec<(u32, bool)>,
    /// Maximum number of slots in use.
    pub(crate) width: u32,
    /// Instances of all open classes.
    pub(crate) open_count: u32,
}

/// Checks each operation, and groups them by key, in the order in which the keys occur.
pub(crate) fn by_key<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
) -> Result<Vec<(Datum, Vec<OpId>)>, Error> {
    let mut keys: Vec<(Datum, Vec<OpId>)> = Vec::new();
    let mut ids: FastMap<Datum, usize> = FastMap::default();
    for (index, operation) in operations.iter().enumerate() {
        let id = OpId(u32::try_from(index).map_err(|_| Error::TooMany)?);
        match &operation.ending {
            Ending::Failed => continue,
            Ending::Indeterminate => {}
            Ending::Returned { at, .. } if at.seq > operation.invoked.seq => {}
            Ending::Returned { at, output } => {
                return Err(Error::ReturnsBeforeCall {
                    operation: id,
                    process: operation.process,
                    what: model.describe(&operation.op, Some(output)),
                    invoked: operation.invoked,
                    returned: *at,
                });
            }
        }
        let key = model.key(&operation.op);
        let slot = *ids.entry(key).or_insert_with_key(|key| {
            keys.push((key.clone(), Vec::new()));
            keys.len() - 1
        });
        keys[slot].1.push(id);
    }
    Ok(keys)
}

struct Interner<'a, M: Model> {
    classes: Vec<Class<M>>,
    class_ids: FastMap<(&'a M::Op, Option<&'a M::Output>), u32>,
    questions: FastMap<&'a M::Op, u32>,
}

impl<'a, M: Model> Interner<'a, M> {
    fn class(&mut self, op: &'a M::Op, returned: Option<&'a M::Output>) -> (u32, u32) {
        let next = self.classes.len() as u32;
        let class = *self.class_ids.entry((op, returned)).or_insert_with(|| {
            self.classes.push(Class { op: op.clone(), returned: returned.cloned() });
            next
        });
        let next = self.questions.len() as u32;
        (class, *self.questions.entry(op).or_insert(next))
    }
}

impl<M: Model> Prepared<M> {
    /// Prepares these operations.
    pub(crate) fn new(
        model: &M,
        operations: &[Operation<M::Op, M::Output>],
        ids: &[OpId],
    ) -> Prepared<M> {
        let mut interner: Interner<'_, M> = Interner {
            classes: Vec::new(),
            class_ids: FastMap::default(),
            questions: FastMap::default(),
        };
        let mut returned = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut open_by_class: FastMap<u32, usize> = FastMap::default();
        // At equal moments invocations come first: the two then overlap, which is the safe side.
        let mut moments: Vec<(u64, bool, u32)> = Vec::new();
        for &id in ids {
            let operation = &operations[id.0 as usize];
            match &operation.ending {
                Ending::Failed => {}
                Ending::Indeterminate => {
                    if model.is_read(&operation.op, None) {
                        continue;
                    }
                    let (class, question) = interner.class(&operation.op, None);
                    let slot = *open_by_class.entry(class).or_insert_with(|| {
                        open.push(Open { class, question, instances: vec![], first_bit: 0 });
                        open.len() - 1
                    });
                    open[slot].instances.push((id, 0));
                }
                Ending::Returned { at, output } => {
                    let (class, question) = interner.class(&operation.op, Some(output));
                    let is_read = model.is_read(&operation.op, Some(output));
                    let index = returned.len() as u32;
                    moments.push((operation.invoked.seq, false, index));
                    moments.push((at.seq, true, index));
                    returned.push(Returned { id, class, question, slot: 0, rank: 0, is_read });
                }
            }
        }
        moments.sort_unstable();
        let width = assign_slots(&moments, &mut returned);
        let returns: Vec<u64> =
            moments.iter().filter(|moment| moment.1).map(|moment| moment.0).collect();
        let open_count = place_open(&mut open, operations, &returns);
        let events = moments.into_iter().map(|(_, is_return, index)| (index, is_return)).collect();
        Prepared { returned, open, classes: interner.classes, events, width, open_count }
    }

    /// How many operations must or may be placed.
    pub(crate) fn len(&self) -> usize {
        self.returned.len() + self.open_count as usize
    }
}

/// Gives each operation a slot and a rank; returns how many slots there are.
fn assign_slots(moments: &[(u64, bool, u32)], returned: &mut [Returned]) -> u32 {
    let (mut free, mut width, mut rank) = (Vec::new(), 0, 0);
    for &(_, is_return, index) in moments {
        let operation = &mut returned[index as usize];
        if is_return {
            operation.rank = rank;
            rank += 1;
            free.push(operation.slot);
        } else {
            operation.slot = free.pop().unwrap_or_else(|| {
                width += 1;
                width - 1
            });
        }
    }
    width
}

/// Finds when each open operation may first take effect, and its bit; returns how many there are.
fn place_open<O, R>(open: &mut [Open], operations: &[Operation<O, R>], returns: &[u64]) -> u32 {
    for class in &mut *open {
        for (id, rank) in &mut class.instances {
            let invoked = operations[id.0 as usize].invoked.seq;
            *rank = returns.partition_point(|at| *at < invoked) as u32;
        }
        class.instances.sort_unstable_by_key(|(id, rank)| (*rank, *id));
    }
    open.sort_by_key(|class| class.instances[0].1);
    let mut bits = 0;
    for class in open {
        class.first_bit = bits;
        bits += class.instances.len() as u32;
    }
    bits
}
