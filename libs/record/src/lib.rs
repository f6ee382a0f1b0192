//! The words of the record that several services speak, each with its one text form in Postgres, in
//! Redis and on the wire. Plain Rust, without stores.

mod details;
mod line;
mod name;
mod order;
mod payment;
mod sale;
#[cfg(feature = "sqlx")]
mod sql;

pub use details::OrderDetails;
pub use line::Line;
pub use name::UnknownName;
pub use order::OrderState;
pub use payment::{PaymentAction, PaymentEndReason, PaymentState, RefundState};
pub use sale::SaleState;
