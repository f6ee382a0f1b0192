//! Inventory against a real Redis and a real Postgres, and over real gRPC.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod books;
mod epochs;
mod fence;
mod holds;
mod load;
mod placing;
mod random;
mod service;
mod settle;
mod sweep;
mod world;
