//! The record in Postgres, a file for each transaction or kind of row, and the streams in
//! JetStream.
//!
//! Lock order of all transactions: the claimer's row in `queue_positions` (taken by claimers only,
//! before anything else), then `sale_stock` by sale_id, then allotments by (sale_id, sku), then
//! parked orders by order_id, then orders by order_id, then outbox, then dead letters. Inventory,
//! which owns `sale_stock`, also locks it before allotments.

mod books;
pub mod charges;
pub mod claims;
pub mod dead_letters;
pub mod events_stream;
mod new_orders;
pub(crate) mod orders;
pub(crate) mod orders_stream;
pub mod outbox;
pub mod parked;
pub mod parked_claims;
pub mod position;
pub mod received;
pub mod settlements;
pub mod transitions;
pub(crate) mod units;
