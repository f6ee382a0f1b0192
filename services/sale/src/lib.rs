//! The sale service: what is sold, when, at what price, under which rules; and telling inventory and the waiting room.
//!
//! A change is recorded in Postgres first and then told to the others, in the call if they answer, in the background if not, so
//! that no crash leaves them behind for good.

mod app;
mod config;
pub mod domain;
mod grpc;
mod peers;
pub mod store;
mod tasks;

use std::sync::Arc;

use flashsale_proto::sale::sale_service_server::SaleServiceServer;
use flashsale_service::{Drain, Hosted, peer};

pub use config::{Config, PeersConfig, SaleConfig};

use crate::{
    app::{propagation::Propagator, reports::Reports, sales::Sales, watches::Watches},
    grpc::Grpc,
    peers::inventory::Peers,
    store::Store,
};

/// The configuration compiled in.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Puts the service together. Nothing has to answer yet.
///
/// # Errors
/// When a URL or a certificate cannot be read.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let store = Store::new(flashsale_pg::connect(&config.postgres, "sale")?);
    let peers = Peers::new(
        peer::connect("inventory", &config.peers.inventory)?,
        peer::connect("waiting-room", &config.peers.waiting_room)?,
    );
    let propagator = Arc::new(Propagator::new(store.clone(), peers.clone(), config.sale.pace()));
    let watches = Arc::new(Watches::new(
        store.clone(),
        config.sale.watch_interval(),
        config.sale.max_watchers,
    ));
    let reports = Arc::new(Reports::new(store.clone(), peers, config.sale.report_pace()));
    let sales = Sales::new(store, Arc::clone(&propagator));
    let service = Grpc::new(sales, Arc::clone(&reports), Arc::clone(&watches), drain.clone());
    // The bound on requests is the server's own.
    let service = SaleServiceServer::new(service).max_decoding_message_size(usize::MAX);
    Ok(Hosted::new()
        .grpc(service)
        .task("telling of sales", Arc::clone(&propagator).run(drain.clone()))
        .task("ending of sales", propagator.end_lapsed(drain.clone()))
        .task("reports of ended sales", reports.run(drain.clone()))
        .task("watched sales", watches.run(drain)))
}
