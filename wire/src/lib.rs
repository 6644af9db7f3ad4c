//! Kafka's wire protocol: bytes to and from the messages of `wavetank-core`, pure and bounded.
