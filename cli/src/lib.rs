//! Shared by the `flashsale` command and the simulation in `tools/simulate`, which executes
//! `flashsale up`, `run` and `load`: reaching services, printing answers, and exit codes.

pub mod client;
pub mod output;
pub mod program;
pub mod report;
