//! The commands that operate running services, and those for their keys.

pub(crate) mod access;
pub(crate) mod doctor;
pub(crate) mod errors;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod order;
pub(crate) mod payment;
mod policy;
pub(crate) mod sale;
pub(crate) mod stock;
