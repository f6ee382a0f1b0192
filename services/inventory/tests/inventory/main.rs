//! Inventory against a real Redis and a real Postgres, and over real gRPC.

// Random tests print their seed, and a table of cases the case it is at.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adjusting;
mod bad_input;
mod batches;
mod books;
mod claims;
mod cluster;
mod epochs;
mod fence;
mod holds;
mod load;
mod lost_replies;
mod model;
mod placing;
mod pricing;
mod random;
mod reading;
mod rebuilding;
mod reconciling;
mod sentinel;
mod service;
mod serving;
mod settle;
mod several;
mod sharing;
mod sweep;

mod unfit;
mod upgrade;
mod watching;
mod window;
mod world;
