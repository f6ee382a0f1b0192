//! The waiting room's background loops.

mod admissions;

pub(crate) use admissions::AdmissionLoop;
