//! Tests of the whole system: programs as a user starts them, real stores, public calls only. They
//! are in `tests/`.
