//! The broker and client state machines of wavetank.
//!
//! Everything here is a plain function on plain state: a machine gets one [`Event`](event::Event)
//! and the capabilities of [`Env`](env::Env), and acts only through those capabilities. Nothing in
//! this crate reads a clock, opens a file or socket, starts a thread or knows whether it is
//! simulated; `no_std` lets the compiler enforce that.
//!
//! What does not live here: bytes of Kafka's wire protocol (`wavetank-wire`), tokio and files
//! (`wavetank-server`), faults and checkers (`wavetank-sim`, `wavetank-linearizability`).
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod api;
pub mod batch;
pub mod broker;
pub mod checkpoint;
pub mod client;
pub mod codec;
pub mod compression;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod effects;
pub mod env;
pub mod error_code;
pub mod event;
pub mod flaw;
pub mod listener;
pub mod log;
pub mod metadata;
pub mod msg;
pub mod note;
pub mod origin;
pub mod pipeline;
pub mod quorum;
pub mod replica;
pub mod storage;
pub mod types;
