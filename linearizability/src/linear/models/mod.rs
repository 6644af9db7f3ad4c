//! Models of common objects. Each takes operations on many objects of its kind, distinguished by a
//! key; for a single one use [`Datum::Nil`](crate::Datum::Nil).

mod append_log;
mod kv;
mod mutex;
mod queue;
mod register;

pub use append_log::{AppendLog, LogOp, LogOutput, LogState};
pub use kv::{Kv, KvCall, KvOp, KvOutput};
pub use mutex::{Mutex, MutexCall, MutexOp};
pub use queue::{FifoQueue, QueueCall, QueueOp, QueueOutput};
pub use register::{Register, RegisterCall, RegisterOp, RegisterOutput};
