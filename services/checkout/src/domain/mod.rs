//! What checkout decides by itself: whom it can write to, what an order looks like from outside, and when it has ended. Plain Rust.

mod contact;
mod message;
mod order;

pub use contact::{Contact, Details, InputError};
pub use order::{Line, Order, OrderState};
