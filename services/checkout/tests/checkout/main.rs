//! Checkout over real gRPC: a real inventory beside it, and a Redis, a NATS and a Postgres per
//! test.

// Tables of cases print the present case.
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission_control;
mod bad_input;
mod cancelling;
mod forward;
mod listing;
mod lost;
mod parked;
mod paying_again;
mod placing;
mod relay;
mod room;
mod unreadable;
mod users;
mod watching;
mod world;
