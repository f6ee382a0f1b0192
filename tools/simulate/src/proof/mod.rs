//! What a simulated sale has proved: it is brought to rest, and a separate program reads the
//! stores.

mod audit;
mod settle;

pub(crate) use audit::{Audit, Stores, audit};
pub(crate) use settle::settle;
