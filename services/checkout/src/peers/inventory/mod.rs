//! Inventory, which holds the stock.

mod batch;
mod client;
mod placed_order;

pub use client::Inventory;
pub use placed_order::{PlacedHolds, PlacedOrder, UnreadableReport, price_revision};

/// The name of the peer in failures.
const PEER: &str = "inventory";
