//! The rules of checkout: valid contacts, the states of an order and its forms. Without I/O.

mod contact;
mod message;
mod order;

pub use contact::{Contact, Details, InputError};
pub use order::{Line, Order, OrderFilter, OrderState};
