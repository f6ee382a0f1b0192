//! The whole platform, started as a user starts it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod collector;
mod contract;
mod metrics;
mod operator;
mod pipes;
mod readme;
mod sale;
mod shopper;
mod trace;
