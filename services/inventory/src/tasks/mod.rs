//! The background tasks.

pub mod adjustments;
pub mod admission_keys;
pub mod beats;
pub mod measure;
pub mod rebuilder;
pub mod reconciler;
pub mod sweeper;
