//! What can be wrong with transactions, and what each isolation level forbids.

use std::collections::BTreeSet;
use std::fmt;

/// Which dependencies a cycle consists of, from the worst to the mildest. After Adya (Weak
/// consistency, 1999) and Elle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Only ww: a dirty write.
    G0,
    /// Only wr: each read what the next wrote. A case of Adya's G1c, separate because systems that
    /// do not isolate writes (Kafka) still forbid it.
    G1cWr,
    /// wr and ww: circular information flow.
    G1c,
    /// One rw, and ww and wr: read skew.
    GSingle,
    /// More than one rw: write skew on items.
    G2Item,
}

/// Which orders a cycle needs besides the dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// None.
    Plain,
    /// The order in which each process ran its transactions.
    Process,
    /// Real time.
    Realtime,
}

/// Something that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A committed transaction read what an aborted one wrote.
    G1a,
    /// A transaction read an intermediate state of another one.
    G1b,
    /// A transaction did not read what it had read and written itself.
    Internal,
    /// Two reads of a list cannot both be its states: neither is a prefix of the other.
    IncompatibleOrder,
    /// An element is in a list or log twice.
    DuplicateElements,
    /// An element was read that nobody appended.
    GarbageRead,
    /// A committed write was applied on top of an aborted one.
    DirtyUpdate,
    /// Several transactions read the same state of a list and then appended to it.
    LostUpdate,
    /// An offset of a log has two records.
    InconsistentOffsets,
    /// A transaction read from a log what it had itself sent there.
    PrecommittedRead,
    /// Transactions depend on each other in a cycle.
    Cycle(Shape, Order),
}

const SHAPES: [Shape; 5] = [Shape::G0, Shape::G1cWr, Shape::G1c, Shape::GSingle, Shape::G2Item];
const ORDERS: [Order; 3] = [Order::Plain, Order::Process, Order::Realtime];

impl Kind {
    /// All kinds of cycles that need this order.
    pub fn cycles(order: Order) -> impl Iterator<Item = Kind> {
        SHAPES.into_iter().map(move |shape| Kind::Cycle(shape, order))
    }

    /// The name that verdicts use: `G1a`, `G-single-realtime`, `lost-update`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::G1a => "G1a",
            Kind::G1b => "G1b",
            Kind::Internal => "internal",
            Kind::IncompatibleOrder => "incompatible-order",
            Kind::DuplicateElements => "duplicate-elements",
            Kind::GarbageRead => "garbage-read",
            Kind::DirtyUpdate => "dirty-update",
            Kind::LostUpdate => "lost-update",
            Kind::InconsistentOffsets => "inconsistent-offsets",
            Kind::PrecommittedRead => "precommitted-read",
            Kind::Cycle(shape, Order::Plain) => match shape {
                Shape::G0 => "G0",
                Shape::G1cWr => "G1c-wr",
                Shape::G1c => "G1c",
                Shape::GSingle => "G-single",
                Shape::G2Item => "G2-item",
            },
            Kind::Cycle(shape, Order::Process) => match shape {
                Shape::G0 => "G0-process",
                Shape::G1cWr => "G1c-wr-process",
                Shape::G1c => "G1c-process",
                Shape::GSingle => "G-single-process",
                Shape::G2Item => "G2-item-process",
            },
            Kind::Cycle(shape, Order::Realtime) => match shape {
                Shape::G0 => "G0-realtime",
                Shape::G1cWr => "G1c-wr-realtime",
                Shape::G1c => "G1c-realtime",
                Shape::GSingle => "G-single-realtime",
                Shape::G2Item => "G2-item-realtime",
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a system promises, from the strongest to the weakest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// An order of all transactions that agrees with real time.
    #[default]
    StrictSerializable,
    /// An order of all transactions that agrees with the order of each process.
    StrongSessionSerializable,
    /// An order of all transactions.
    Serializable,
    /// As if each transaction read a snapshot, and the first of two that write the same thing won.
    SnapshotIsolation,
    /// Nothing is read that was not committed.
    ReadCommitted,
    /// Only writes are ordered.
    ReadUncommitted,
    /// What Kafka promises for logs. Its transactions do not isolate writes from each other, so
    /// cycles with ww edges are legal. A poll need not see the end, so cycles with rw edges prove
    /// nothing. Cycles of wr edges alone are forbidden, as is reading what was aborted.
    Kafka,
}

impl Level {
    /// All levels, strongest first.
    pub const ALL: [Level; 7] = [
        Level::StrictSerializable,
        Level::StrongSessionSerializable,
        Level::Serializable,
        Level::SnapshotIsolation,
        Level::ReadCommitted,
        Level::ReadUncommitted,
        Level::Kafka,
    ];

    /// The name that commands use: `strict-serializable`.
    pub fn name(self) -> &'static str {
        match self {
            Level::StrictSerializable => "strict-serializable",
            Level::StrongSessionSerializable => "strong-session-serializable",
            Level::Serializable => "serializable",
            Level::SnapshotIsolation => "snapshot-isolation",
            Level::ReadCommitted => "read-committed",
            Level::ReadUncommitted => "read-uncommitted",
            Level::Kafka => "kafka",
        }
    }

    /// Whether this level allows that.
    pub fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::G1a | Kind::G1b => self == Level::ReadUncommitted,
            Kind::Internal => (Level::ReadCommitted..Level::Kafka).contains(&self),
            Kind::IncompatibleOrder
            | Kind::DuplicateElements
            | Kind::GarbageRead
            | Kind::InconsistentOffsets
            | Kind::PrecommittedRead => false,
            Kind::DirtyUpdate => self >= Level::ReadUncommitted,
            Kind::LostUpdate => self >= Level::ReadCommitted,
            Kind::Cycle(shape, _) if self == Level::Kafka => shape != Shape::G1cWr,
            Kind::Cycle(shape, order) => self.allows_shape(shape) || self.allows_order(order),
        }
    }

    fn allows_shape(self, shape: Shape) -> bool {
        match shape {
            Shape::G0 => false,
            Shape::G1cWr | Shape::G1c => self >= Level::ReadUncommitted,
            Shape::GSingle => self >= Level::ReadCommitted,
            Shape::G2Item => self >= Level::SnapshotIsolation,
        }
    }

    fn allows_order(self, order: Order) -> bool {
        match order {
            Order::Plain => false,
            Order::Process => self >= Level::Serializable,
            Order::Realtime => self >= Level::StrongSessionSerializable,
        }
    }

    /// Everything that it allows.
    pub fn allowed(self) -> BTreeSet<Kind> {
        let cycles = ORDERS.into_iter().flat_map(Kind::cycles);
        let others = [
            Kind::G1a,
            Kind::G1b,
            Kind::Internal,
            Kind::IncompatibleOrder,
            Kind::DuplicateElements,
            Kind::GarbageRead,
            Kind::DirtyUpdate,
            Kind::LostUpdate,
            Kind::InconsistentOffsets,
            Kind::PrecommittedRead,
        ];
        cycles.chain(others).filter(|kind| self.allows(*kind)).collect()
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Level, String> {
        Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
            let names = Level::ALL.map(Level::name).join(", ");
            format!("{name} is not a level: use one of {names}")
        })
    }
}
