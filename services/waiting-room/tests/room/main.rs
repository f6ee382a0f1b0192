//! The waiting room over gRPC, on a Redis and a Postgres of its own, beside an inventory that says what the test wants.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod inventory;
mod life;
mod refusals;
mod scripts;
mod stock;
mod stores;
mod world;
