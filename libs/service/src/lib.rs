//! What every service is built on: its configuration, its server, its channels to other services,
//! and how it ends.
//!
//! A service's main is one line, [`main`]; what it serves is a [`Hosted`]; several of them can
//! share one process ([`serve`]). The middlewares every call passes are listed in one place, the
//! module `stack`.

pub mod boottime;
/// The caller of the request that is being served.
pub mod caller {
    pub use flashsale_access::{current, name, reaches, reaches_all, speaks_for};
}
mod clients;
pub mod config;
pub mod deadline;
mod drain;
mod hosted;
mod methods;
pub mod page;
pub mod peer;
mod periodic;
mod program;
mod server;
mod stack;
mod subrequests;
mod subscriptions;
mod watched;
pub mod wire;

pub use config::{
    AccessConfig, AccessMode, CommonConfig, PeerConfig, Problem, ServerConfig, Sidecar, Validate,
};
pub use drain::Drain;
pub use hosted::{Hosted, Task};
pub use periodic::{Ticks, periodic};
pub use program::main;
pub use server::{Listening, bind, serve};
pub use subrequests::Subrequests;
pub use subscriptions::{Permit, Source, Subscription, Subscriptions, TooManyWatchers};
pub use watched::Watched;
