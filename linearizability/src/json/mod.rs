//! Histories of logs as JSON lines: one object per line, in the order in which things happened.
//!
//! ```text
//! {"type":"invoke","f":"send","process":1,"time":100,"op":0,"partition":"orders-0","value":7,"acks":-1}
//! {"type":"ok","f":"send","process":1,"time":200,"op":0,"offset":0,"epoch":3}
//! {"type":"ok","f":"assign","process":2,"time":210,"positions":{"orders-0":0,"orders-1":null}}
//! {"type":"ok","f":"poll","process":2,"time":300,"records":{"orders-0":[[0,3,7]]}}
//! {"type":"loss","time":400,"partition":"orders-0","offset":0,"epoch":4}
//! ```
//!
//! | field | of | meaning |
//! |---|---|---|
//! | `type` | all | `invoke`, then `ok` (it happened), `fail` (it did not and never will) or `info` (unknown); or `loss` |
//! | `f` | all but `loss` | `send`, `poll`; `assign`, `seek`, `subscribe`; `transaction`, `end`; `commit`, `committed`; `assigned`, `revoked`, `lost`, `changed`; `crash` |
//! | `process` | all but `loss` | number of the client, 0 to 2^32-1 |
//! | `time` | all | nanoseconds, 0 to 2^64-1, for people: the order of lines is what counts |
//! | `op` | optional | joins a completion to its invocation; without it, to the process' only open one of that `f` |
//! | `partition` | `send`, `seek`, `loss` | name |
//! | `value` | invoked `send` | a number below 2^63 or a text, unique among the sends to its partition |
//! | `acks` | invoked `send` | -1 (all; the default), 1 or 0 |
//! | `source` | invoked `send` (optional) | `[partition, offset]` of the record that this one was made from |
//! | `amount` | invoked `send` (optional) | what it moves; amounts of a transaction add up to 0 |
//! | `offset` | ok `send` (optional), `seek` (absent: unknown), `loss` | offset |
//! | `epoch` | ok `send` (optional), `loss` | leader epoch |
//! | `positions` | `assign`, `assigned` | partition to first offset to read, or null if unknown, or `"kept"`; `assign` replaces all, `assigned` adds |
//! | `partitions` | `revoked`, `lost`, `changed` | list of partitions |
//! | `records` | ok `poll` | partition to records, each `[offset, leader epoch or -1, value]`, in order |
//! | `transaction` | invoked `send`, `poll`, `commit` and ok `poll` (optional), `end` | the `op` of the process' open transaction |
//! | `group` | `commit`, `committed` and rebalances | name of the consumer group |
//! | `generation` | `commit`, rebalances (optional) | the group's generation, or the member's epoch |
//! | `offsets` | invoked `commit`, ok `committed` | partition to committed offset; null if none (`committed`) |
//!
//! A `poll` may come as `ok` without an `invoke`; `assign`, `seek`, `subscribe`, `crash` and
//! rebalances (`assigned`, `revoked`, `lost`, `changed`) always do. A transaction is invoked when
//! it begins and completed when it is known to be committed (`ok`) or aborted (`fail`); an invoked
//! `end` says when its end was requested. [`crate::Loss`] explains `loss`. Empty lines are skipped.
//! A field that does not belong in its line is an error, so that a misspelt one is not silently
//! ignored.
//!
//! Reading holds one line in memory at a time. [`crate::read`] reads other kinds of histories, and
//! Jepsen's files.

mod line;
mod reader;
mod writer;

pub use crate::read_error::ReadError;
pub use reader::read;
pub use writer::write;
