//! The clients as state machines: producer and consumer on assigned partitions.
