//! What the `flashsale` command has in common with the simulation in `tools/simulate`, which carries
//! out `flashsale up`, `run` and `load`: how services are reached, how answers are printed, and how a
//! command ends.

pub mod client;
pub mod output;
pub mod program;
pub mod report;
