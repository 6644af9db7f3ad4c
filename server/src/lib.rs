//! The world outside: tokio, sockets and files under the core's state machines.
