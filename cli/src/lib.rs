//! Shared by the `flashsale` command and the simulation in `tools/simulate`, which executes
//! `flashsale up`, `run` and `load`: reaching services, sending an import, printing answers, and
//! exit codes.

pub mod client;
pub mod output;
pub mod program;
pub mod report;
pub mod upload;
