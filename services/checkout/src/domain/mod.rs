//! The rules of checkout: valid contacts, the states of an order and its forms. Without I/O.

mod contact;
mod order;

pub use contact::{Contact, Details, InputError, payment_method};
pub use flashsale_record::{
    FIRST_PRICE_REVISION, Line, OrderState as Recorded, PaymentAction as PaymentActionKind,
};
pub use order::{Order, OrderFilter, OrderState, PaymentAction, unix_ms};
