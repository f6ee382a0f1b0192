//! The waiting room over gRPC, on a Redis and a Postgres of its own, beside a fake inventory and a
//! fake checkout.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod inventory;
mod keys;
mod life;
mod refusals;
mod scripts;
mod stock;
mod stores;
mod window;
mod world;
