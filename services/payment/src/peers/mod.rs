//! Outside systems that the service calls.

pub mod stripe;
