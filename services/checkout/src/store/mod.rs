//! The stores checkout reads and writes.

mod record;

pub use record::{Filter, Floor, ReadError, Record};
