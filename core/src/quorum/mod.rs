//! The metadata quorum: durable votes, election, pull replication (KIP-595).
