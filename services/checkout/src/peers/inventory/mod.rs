//! Inventory, which holds the stock.

mod batch;
mod client;
mod placed_order;

pub use client::Stock;
pub use placed_order::{Carried, Listed, Unreadable};

/// The name of the peer in failures.
const PEER: &str = "inventory";
