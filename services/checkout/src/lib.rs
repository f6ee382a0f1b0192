//! Checkout: from an admission to an accepted order, and what became of it.
//!
//! PlaceOrder costs one script in the stock store (through inventory) and one publish to the order queue; it never reaches Postgres. An
//! order that is placed rolls forward whatever happens to this process: by the buyer's retry, by the relay, or by its cancellation.

mod app;
mod config;
mod domain;
mod grpc;
mod peers;
mod store;
mod tasks;

use std::time::Duration;

pub use config::{Config, IntakeConfig, Peers, RelayConfig, WatchConfig};
use flashsale_proto::checkout::{
    checkout_admin_service_server::CheckoutAdminServiceServer,
    checkout_service_server::CheckoutServiceServer,
};
use flashsale_service::{Drain, Hosted, peer};

use crate::{
    app::{Hub, Intake, Orders},
    grpc::{Admin, Checkout},
    peers::inventory::Stock,
    store::Record,
    tasks::Relay,
};

/// The compiled-in configuration.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// How long to wait before the stream is asked for again.
const STREAM_RETRY: Duration = Duration::from_millis(500);

/// Builds the service; it starts whether or not its stores answer.
///
/// # Errors
/// When a URL of the configuration cannot be used.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let record = Record::new(flashsale_pg::connect(&config.postgres, "checkout")?);
    let nats = flashsale_queue::connect(&config.nats, "checkout").await?;
    let publish_timeout = Duration::from_millis(config.nats.publish_timeout_ms);
    let mut jetstream = async_nats::jetstream::new(nats.clone());
    jetstream.set_timeout(publish_timeout);
    let stock = Stock::new(peer::connect("inventory", &config.peers.inventory)?);
    let (intake, hub) = (Intake::new(&config.intake), Hub::new(config.watch.max_watchers));
    let orders = Orders {
        stock: stock.clone(),
        record: record.clone(),
        hub: hub.clone(),
        intake: intake.clone(),
        jetstream: jetstream.clone(),
        publish_timeout,
    };
    let relay = Relay {
        stock,
        record: record.clone(),
        intake: intake.clone(),
        jetstream: jetstream.clone(),
        publish_timeout,
        config: config.relay.clone(),
    };
    let measure_every = Duration::from_millis(config.intake.measure_ms);
    let sweep_every = Duration::from_millis(config.watch.sweep_ms);
    Ok(Hosted::new()
        .grpc(CheckoutServiceServer::new(Checkout::new(orders, drain.clone())))
        .grpc(CheckoutAdminServiceServer::new(Admin::new(intake.clone())))
        .task("orders stream", own_stream(jetstream.clone(), config.nats, drain.clone()))
        .task("intake", intake.measure(record.clone(), jetstream, measure_every, drain.clone()))
        .task("order events", hub.clone().listen(nats, drain.clone()))
        .task("order sweep", hub.sweep(record, sweep_every, drain.clone()))
        .task("relay", relay.run(drain)))
}

/// Makes `ORDERS` as soon as JetStream answers, and again if it vanishes.
async fn own_stream(
    jetstream: async_nats::jetstream::Context,
    config: flashsale_queue::NatsConfig,
    drain: Drain,
) -> anyhow::Result<()> {
    let ended = drain.token();
    let mut there = false;
    while !ended.is_cancelled() {
        let pause = if there { STREAM_RETRY * 10 } else { STREAM_RETRY };
        if there {
            there = jetstream.get_stream(flashsale_queue::ORDERS).await.is_ok();
        }
        if !there {
            match flashsale_queue::ensure_orders_stream(&jetstream, &config).await {
                Ok(_) => there = true,
                Err(error) => tracing::warn!(%error, "the order stream cannot be made yet"),
            }
            if there {
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ended.cancelled() => {}
        }
    }
    Ok(())
}
