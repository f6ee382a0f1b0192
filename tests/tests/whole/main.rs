//! The whole platform, started as a user starts it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod adjusting;
mod clients;
mod collector;
mod command;
mod contract;
mod error_pages;
mod load;
mod metrics;
mod operator;
mod patches;
mod paying;
mod pipes;
mod planned_sale;
mod planning;
mod readme;
mod rebuild;
mod rotation;
mod runbook;
mod sale;
mod second_card;
mod shopper;
mod three_d_secure;
mod tls;
mod trace;
