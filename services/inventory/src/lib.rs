//! Inventory: takes, keeps and gives back units, by one atomic script each.
//!
//! A call goes through [`grpc`] (decode, call, encode) to [`app`], which knows the epoch, and on to
//! one script of `lua/` through [`store`]. Only the scripts decide whether units can be had.

pub mod app;
mod config;
pub mod domain;
pub mod grpc;
mod metrics;
mod peers;
pub mod steps;
pub mod store;
mod tasks;

use std::{sync::Arc, time::Duration};

use flashsale_pg::PgConfig;
use flashsale_proto::inventory::{
    inventory_admin_service_server::InventoryAdminServiceServer,
    inventory_service_server::InventoryServiceServer,
};
use flashsale_redis::Store;
use flashsale_service::{Drain, Hosted, peer};

pub use config::{Config, InventoryConfig, Peers};

use crate::{
    app::{Inventory, admissions::Admissions, readings::Readings, watch::Watches},
    peers::WaitingRoom,
    store::Queue,
};

/// The name of the service, by which others know it.
const NAME: &str = "inventory";

/// The configuration's defaults, with a comment on every value.
pub const DEFAULTS: &[&str] = &[
    flashsale_pg::DEFAULTS,
    flashsale_redis::DEFAULTS,
    flashsale_queue::DEFAULTS,
    include_str!("../config.default.toml"),
];

/// Connections to Postgres reserved for beats and leases.
const OWN_CONNECTIONS: u32 = 2;

/// How long the start waits for Redis to show that it can be used.
const CHECK_WITHIN: Duration = Duration::from_secs(1);

/// Builds the service. It starts while Redis, Postgres and the waiting room are away, and serves
/// once they are there.
///
/// # Errors
/// When the configuration is unusable, or Redis evicts keys or is too old. A Redis that shows this
/// only later ends the service then.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let store = Store::connect(&config.redis).await?;
    store.check_until(tokio::time::sleep(CHECK_WITHIN)).await?;
    let check = check_store(store.clone(), drain.clone());
    let pool = flashsale_pg::connect(&config.postgres, NAME)?;
    let own_pool = flashsale_pg::connect(
        &PgConfig { max_connections: OWN_CONNECTIONS, ..config.postgres.clone() },
        "inventory-serving",
    )?;
    let timeout = Duration::from_millis(config.inventory.script_timeout_ms);
    let every = Duration::from_millis(config.inventory.reconcile_every_ms);
    let queue = Queue::connect(&config.nats).await?;
    let inventory = Arc::new(Inventory::new(store, pool, own_pool, queue, timeout));
    let admissions = Admissions::new(WaitingRoom::new(peer::connect(
        NAME,
        "waiting-room",
        &config.peers.waiting_room,
    )?));
    let readings = Readings::new(Arc::clone(&inventory), &config.inventory);
    let watches =
        Watches::new(Arc::clone(&inventory), readings.clone(), &config.inventory, drain.clone());
    Ok(Hosted::new()
        .grpc(InventoryServiceServer::new(grpc::Service::new(
            Arc::clone(&inventory),
            admissions.clone(),
            readings.clone(),
            watches,
        )))
        .grpc(InventoryAdminServiceServer::new(grpc::AdminService::new(Arc::clone(&inventory))))
        .ready_while(inventory.ready())
        .task("inventory-store-check", check)
        .task("inventory-beat", tasks::beats::beat(Arc::clone(&inventory), drain.clone()))
        .task("inventory-look", tasks::beats::look(Arc::clone(&inventory), drain.clone()))
        .task("inventory-sweeper", tasks::sweeper::run(Arc::clone(&inventory), drain.clone()))
        .task("inventory-rebuilder", tasks::rebuilder::run(Arc::clone(&inventory), drain.clone()))
        .task(
            "inventory-reconciler",
            tasks::reconciler::run(Arc::clone(&inventory), every, drain.clone()),
        )
        .task(
            "inventory-adjustments",
            tasks::adjustments::run(Arc::clone(&inventory), drain.clone()),
        )
        .task("inventory-metrics", tasks::measure::run(inventory, readings, drain.clone()))
        .task("inventory-admission-keys", tasks::admission_keys::run(admissions, drain)))
}

/// Ends the service once Redis shows that stock cannot be kept there.
async fn check_store(store: Store, drain: Drain) -> anyhow::Result<()> {
    store.check_until(drain.started()).await?;
    drain.started().await;
    Ok(())
}
