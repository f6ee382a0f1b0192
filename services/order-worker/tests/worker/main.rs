//! The worker over real Postgres, NATS and SMTP, with recording peers in place of inventory and
//! payment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod admin;
mod claimer;
mod claims;
mod dead_letters;
mod mails;
mod outbox;
mod parked;
mod peers;
mod settlement;
mod shop;
mod stragglers;
mod whole;
