//! The server, its middlewares and the channels between services, over real connections on
//! loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod config;
mod drain;
mod names;
mod peer;
mod program;
mod reflection;
mod server;
mod support;
mod tls;
