//! Checkout: from an admission to an accepted order, and its life after that.
//!
//! PlaceOrder costs one script in the stock store (through inventory) and one publish to the order
//! queue; it never reaches Postgres. An order that is placed rolls forward whatever happens to this
//! process: by the buyer's retry, by the relay, or by its cancellation.

mod app;
mod config;
mod domain;
mod grpc;
mod metrics;
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
    app::{AdmissionControl, OrderSubscriptions, Orders},
    grpc::{Admin, Checkout},
    peers::{inventory::Inventory, payment::Payments},
    store::{OrderEvents, Queue, Record},
    tasks::{Relay, backlog, order_events, orders_stream},
};

/// The name of the service, by which others know it.
const NAME: &str = "checkout";

/// The compiled-in configuration.
pub const DEFAULTS: &[&str] =
    &[flashsale_pg::DEFAULTS, flashsale_queue::DEFAULTS, include_str!("../config.default.toml")];

/// Builds the service; it starts whether or not its stores answer.
///
/// # Errors
/// A URL of the configuration cannot be used.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let record = Record::new(flashsale_pg::connect(&config.postgres, NAME)?);
    let nats = flashsale_queue::connect(&config.nats, NAME).await?;
    let publish_timeout = Duration::from_millis(config.nats.publish_timeout_ms);
    let queue = Queue::new(nats.clone(), publish_timeout);
    let events = OrderEvents::new(nats);
    let inventory = Inventory::new(peer::connect(NAME, "inventory", &config.peers.inventory)?);
    let admission_control = AdmissionControl::new(&config.intake, queue.space().clone());
    let subscriptions = OrderSubscriptions::new(config.watch.max_watchers);
    let orders = Orders {
        inventory: inventory.clone(),
        payments: Payments::new(peer::connect(NAME, "payment", &config.peers.payment)?),
        record: record.clone(),
        subscriptions: subscriptions.clone(),
        admission_control: admission_control.clone(),
        queue: queue.clone(),
    };
    let relay = Relay {
        inventory,
        record: record.clone(),
        admission_control: admission_control.clone(),
        queue: queue.clone(),
        config: config.relay.clone(),
    };
    let measure_every = Duration::from_millis(config.intake.measure_ms);
    let sweep_every = Duration::from_millis(config.watch.sweep_ms);
    Ok(Hosted::new()
        .grpc(CheckoutServiceServer::new(Checkout::new(orders, drain.clone())))
        .grpc(CheckoutAdminServiceServer::new(Admin::new(admission_control.clone())))
        .task("orders stream", orders_stream::keep(queue.clone(), config.nats, drain.clone()))
        .task(
            "intake",
            backlog::measure(
                admission_control,
                record.clone(),
                queue,
                measure_every,
                drain.clone(),
            ),
        )
        .task("order events", order_events::listen(subscriptions.clone(), events, drain.clone()))
        .task("order sweep", order_events::sweep(subscriptions, record, sweep_every, drain.clone()))
        .task("relay", relay.run(drain)))
}
