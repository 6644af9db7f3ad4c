//! Transactions that append to lists and read them.

use super::Build;
use super::form::Form;
use super::op::{Op, Type, short};
use crate::OpId;
use crate::txn::{Element, History, Key, Mop};

/// Reads such transactions.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) history: History,
}

/// A step that owns its list.
enum Step {
    Append(Key, Element),
    Read(Key, Option<Vec<Element>>),
}

impl Lists {
    fn steps(&mut self, op: &Op) -> Result<Vec<Step>, String> {
        let list = op.value.list();
        let list = list.ok_or_else(|| {
            format!("expected [[:append key value] [:r key nil] ...], not {}", short(&op.value))
        })?;
        list.iter().map(|mop| self.step(mop)).collect()
    }

    fn step(&mut self, mop: &Form) -> Result<Step, String> {
        let wrong = || format!("expected [:append key value] or [:r key list], not {}", short(mop));
        let Some([f, key, value]) = mop.list() else { return Err(wrong()) };
        let key = self.history.key(key.datum());
        match (f.name(), value) {
            (Some("append"), value) => Ok(Step::Append(key, self.history.element(value.datum()))),
            (Some("r"), Form::Nil) => Ok(Step::Read(key, None)),
            (Some("r"), Form::List(list)) => {
                let elements = list.iter().map(|value| self.history.element(value.datum()));
                Ok(Step::Read(key, Some(elements.collect())))
            }
            _ => Err(wrong()),
        }
    }
}

fn mops(steps: &[Step]) -> Vec<Mop<'_>> {
    let mop = |step| match step {
        &Step::Append(key, element) => Mop::Append { key, element },
        Step::Read(key, list) => Mop::Read { key: *key, list: list.as_deref() },
    };
    steps.iter().map(mop).collect()
}

impl Build for Lists {
    type Open = OpId;

    fn invoke(&mut self, op: &Op) -> Result<Option<OpId>, String> {
        if op.f != "txn" {
            return Err(format!("expected :f txn, not {}", op.f));
        }
        let steps = self.steps(op)?;
        Ok(Some(self.history.begin(op.process, op.time, &mops(&steps))))
    }

    fn complete(&mut self, id: OpId, op: &Op) -> Result<(), String> {
        match op.kind {
            Type::Ok => {
                let steps = self.steps(op)?;
                self.history.commit(id, op.time, &mops(&steps));
            }
            Type::Fail => self.history.abort(id, op.time, None),
            Type::Info | Type::Invoke => self.history.info(id, op.time, None),
        }
        Ok(())
    }
}
