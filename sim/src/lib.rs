//! The tank: virtual time, network, disks, faults, workloads, invariants; hunting.
