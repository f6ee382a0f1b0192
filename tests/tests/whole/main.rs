//! The whole platform, started as a user starts it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod contract;
mod readme;
mod sale;
