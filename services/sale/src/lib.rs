//! The sale service: what is sold, when, at what price and under which rules; and telling inventory
//! and the waiting room.
//!
//! A change is recorded in Postgres first. The others are then told of it, in the call if they
//! answer and in the background if not, so that no crash leaves them behind for good.

mod app;
mod config;
pub mod domain;
mod grpc;
mod peers;
pub mod steps;
pub mod store;
mod tasks;

use std::sync::Arc;

use flashsale_proto::sale::sale_service_server::SaleServiceServer;
use flashsale_service::{Drain, Hosted, peer};

pub use config::{
    CapacityConfig, Config, DoctorConfig, ImportConfig, PeersConfig, SaleConfig, ScheduleConfig,
};

use crate::{
    app::{
        check::Checks, export::Exports, propagation::Propagator, reports::Reports, sales::Sales,
        watches::Watches,
    },
    domain::Bounds,
    grpc::Grpc,
    peers::{inventory::Inventory, payment::Payment, waiting_room::WaitingRoom},
    store::Store,
    tasks::{
        propagation::Propagation, reports::FinalReports, schedule::Schedule,
        watches::refresh as refresh_watches,
    },
};

/// The name of the service, by which others know it.
const NAME: &str = "sale";

/// The configuration compiled in.
pub const DEFAULTS: &[&str] = &[flashsale_pg::DEFAULTS, include_str!("../config.default.toml")];

/// Assembles the service. Nothing needs to be reachable yet.
///
/// # Errors
/// When a URL or a certificate cannot be read.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let store = Store::new(flashsale_pg::connect(&config.postgres, NAME)?);
    let inventory = Inventory::new(peer::connect(NAME, "inventory", &config.peers.inventory)?);
    let waiting_room =
        WaitingRoom::new(peer::connect(NAME, "waiting-room", &config.peers.waiting_room)?);
    let payment = Payment::new(peer::connect(NAME, "payment", &config.peers.payment)?);
    let (settings, uploads) = (config.sale, config.import.uploads());

    let propagator = Arc::new(Propagator::new(
        store.clone(),
        inventory.clone(),
        waiting_room,
        settings.propagations_at_once,
    ));
    let watches = Arc::new(Watches::new(store.clone(), settings.max_watchers));
    let reports = Arc::new(Reports::new(store.clone(), inventory.clone()));
    let bounds = Bounds { lead: config.schedule.pace().lead, capacity: config.doctor.capacity() };
    let service = Grpc {
        sales: Sales::new(store.clone(), Arc::clone(&propagator)),
        reports: Arc::clone(&reports),
        watches: Arc::clone(&watches),
        checks: Checks::new(store.clone(), inventory.clone(), payment, bounds),
        exports: Exports::new(store.clone(), Arc::clone(&reports), inventory),
        uploads,
        drain: drain.clone(),
    };
    // The bound on requests is the server's own.
    let service = SaleServiceServer::new(service).max_decoding_message_size(usize::MAX);

    let propagation =
        Propagation { store: store.clone(), propagator, pace: settings.propagation_pace() };
    let final_reports =
        FinalReports { store: store.clone(), reports, pace: settings.report_pace() };
    let schedule = Schedule::new(store, config.schedule.pace());
    Ok(Hosted::new()
        .grpc(service)
        .task("telling of sales", propagation.run(drain.clone()))
        .task("schedule of sales", schedule.run(drain.clone()))
        .task("reports of ended sales", final_reports.run(drain.clone()))
        .task("watched sales", refresh_watches(watches, settings.watch_interval(), drain)))
}
