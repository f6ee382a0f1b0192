//! The auditor on real stores: a small consistent sale, and the same sale with one thing wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corruptions;
mod epochs;
mod programme;
mod world;
