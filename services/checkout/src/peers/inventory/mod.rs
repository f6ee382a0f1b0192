//! Inventory, which holds the stock.

mod batch;
mod client;

pub(crate) use client::recorded;
pub use client::{Carried, Listed, Stock, Unreadable};

/// The name of the peer in failures.
const PEER: &str = "inventory";
