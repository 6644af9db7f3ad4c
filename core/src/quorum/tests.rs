//! What a node knows in each role (`roles`), the quorum's rules one by one (`rules`), and a small
//! cluster under random schedules with crashes (`cluster`), both on a disk that tracks what is
//! durable (`disk`).

mod cluster;
mod disk;
mod hostile;
mod roles;
mod rules;
