//! The waiting room's background loops.

mod admissions;
mod store_check;

pub(crate) use admissions::AdmissionLoop;
pub(crate) use store_check::check_store;
