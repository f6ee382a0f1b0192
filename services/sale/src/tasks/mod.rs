//! Background loops.

pub(crate) mod backoff;
