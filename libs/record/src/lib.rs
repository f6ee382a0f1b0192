//! The words of the record that several services speak, each with its one text form in Postgres, in
//! Redis and on the wire, and what amounts of money the payment provider can charge. Plain Rust,
//! without stores.

mod charge;
mod details;
mod line;
mod name;
mod order;
mod payment;
mod sale;
#[cfg(feature = "sqlx")]
mod sql;

pub use charge::{Chargeable, Inexpressible, chargeable, minor_amount, provider_amount};
pub use details::OrderDetails;
pub use line::{FIRST_PRICE_REVISION, Line, MAX_LINE_UNITS};
pub use name::UnknownName;
pub use order::OrderState;
pub use payment::{PaymentAction, PaymentEndReason, PaymentState, RefundState};
pub use sale::SaleState;
