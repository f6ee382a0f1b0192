//! The order worker: claims orders from the queue into the record, makes them follow their payments, and carries out what they entail.
//!
//! Its API is for those who operate it: the history of orders, and dead letters. Read
//! `tasks::claimer` for how orders come in, `domain` for what is decided about them, `store` for
//! the transactions, `tasks::parked` for orders whose units a rebuild has left out,
//! `tasks::settlement` for how they end, `tasks::outbox` for what the outside is told, and
//! `app::dead_letters` for what cannot be recorded.

pub mod app;
pub mod config;
pub mod domain;
mod grpc;
pub mod metrics;
mod peers;
pub mod steps;
pub mod store;
pub mod tasks;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream;
use flashsale_failpoint::Step as _;
use flashsale_proto::order::order_admin_service_server::OrderAdminServiceServer;
use flashsale_queue::{NatsConfig, ORDER_EVENTS, ensure_events_stream};
use flashsale_service::{Drain, Hosted, peer};
use sqlx::PgPool;

use app::{Wakeups, dead_letters::Review, mail};
pub use config::Config;
use grpc::OrderAdmin;
use metrics::Metrics;
use tasks::{
    claimer::Claimer,
    outbox::{CancelCharge, Carrier, Charge, CloseHold, Event, Mail, Refund, Runner},
    parked::ParkedOrders,
    settlement::{self, Settler},
};

/// The defaults of every value of the configuration.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Between two attempts to make `ORDER_EVENTS`, and between two looks whether it is still there.
const MAKE_AGAIN: Duration = Duration::from_secs(1);

/// Builds the worker. Nothing has to be there yet: stores, queue and peers may come later.
///
/// # Errors
/// When the configuration cannot be used.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let pool = flashsale_pg::connect(&config.postgres, "order-worker").context("postgres.url")?;
    let client =
        flashsale_queue::connect(&config.nats, "order-worker").await.context("nats.url")?;
    let jetstream = jetstream::new(client.clone());
    let inventory = peer::connect("inventory", &config.peers.inventory)?;
    let payments = peer::connect("payment", &config.peers.payment)?;
    let (wakeups, pending) = Wakeups::new();
    let wakeups = Arc::new(wakeups);
    let metrics = Metrics::default();
    let worker = config.worker;

    let claimer = Claimer {
        pool: pool.clone(),
        jetstream: jetstream.clone(),
        pace: worker.claim_pace(),
        wakeups: Arc::clone(&wakeups),
        metrics: metrics.clone(),
    };
    let parked = ParkedOrders {
        pool: pool.clone(),
        inventory: inventory.clone(),
        pace: worker.parked_pace(),
        wakeups: Arc::clone(&wakeups),
        metrics: metrics.clone(),
    };
    let settler = Settler {
        pool: pool.clone(),
        pace: worker.settle_pace(),
        pending,
        wakeups: Arc::clone(&wakeups),
        metrics: metrics.clone(),
    };
    let charge =
        Charge { pool: pool.clone(), payments: payments.clone(), wakeups: Arc::clone(&wakeups) };
    let cancel_charge = CancelCharge {
        pool: pool.clone(),
        payments: payments.clone(),
        wakeups: Arc::clone(&wakeups),
    };
    let close_hold = CloseHold {
        pool: pool.clone(),
        inventory: inventory.clone(),
        held_off: worker.held_off(),
        metrics: metrics.clone(),
    };
    let mail = Mail {
        pool: pool.clone(),
        writer: mail::Writer {
            templates: config.mail.templates().context("mail.templates_dir")?,
            from: config.mail.from.parse().context("mail.from")?,
            message_id_domain: config.mail.message_id_domain.clone(),
        },
        transport: config.mail.transport().context("mail.smtp_url")?,
        timeout: config.mail.timeout(),
        connections: config.mail.connections as usize,
    };
    let event = Event {
        pool: pool.clone(),
        jetstream: jetstream.clone(),
        timeout: Duration::from_millis(config.nats.publish_timeout_ms),
    };

    let review = Review {
        pool: pool.clone(),
        jetstream: jetstream.clone(),
        inventory: inventory.clone(),
        publish_timeout: Duration::from_millis(config.nats.publish_timeout_ms),
        wakeups: Arc::clone(&wakeups),
    };

    let carriers = Carriers { pool, wakeups, metrics, worker, drain };
    let Carriers { pool, wakeups, worker, drain, .. } = &carriers;
    let hosted = Hosted::new()
        .grpc(OrderAdminServiceServer::new(OrderAdmin::new(review.clone())))
        .task("dead letters", review.expire(drain.clone()))
        .task("order events stream", own_events_stream(jetstream, config.nats, drain.clone()))
        .task("claims", claimer.run(drain.clone()))
        .task("parked orders", parked.run(drain.clone()))
        .task("payment events", settlement::listen(client, Arc::clone(wakeups), drain.clone()))
        .task("settlement", settler.run(drain.clone()))
        .task("outbox age", metrics::measure(pool.clone(), drain.clone()));
    let hosted = carriers.add(hosted, "charges", charge, worker.charge_batch);
    let hosted = carriers.add(hosted, "cancelled charges", cancel_charge, worker.carry_batch);
    let hosted = carriers.add(hosted, "refunds", Refund { payments }, worker.carry_batch);
    let hosted = carriers.add(hosted, "holds", close_hold, worker.close_hold_batch);
    let hosted = carriers.add(hosted, "mails", mail, worker.carry_batch);
    Ok(carriers.add(hosted, "order events", event, worker.carry_batch))
}

/// What all carriers run on.
struct Carriers {
    pool: PgPool,
    wakeups: Arc<Wakeups>,
    metrics: Metrics,
    worker: config::WorkerConfig,
    drain: Drain,
}

impl Carriers {
    fn add<C: Carrier>(
        &self,
        hosted: Hosted,
        name: &'static str,
        carrier: C,
        batch: usize,
    ) -> Hosted {
        let runner = Runner {
            carrier: Arc::new(carrier),
            pool: self.pool.clone(),
            pace: self.worker.carry_pace(batch),
            wakeups: Arc::clone(&self.wakeups),
            metrics: self.metrics.clone(),
        };
        hosted.task(name, runner.run(self.drain.clone()))
    }
}

/// Makes `ORDER_EVENTS`, which this service owns, as soon as JetStream answers, and again if it vanishes.
async fn own_events_stream(
    jetstream: jetstream::Context,
    config: NatsConfig,
    drain: Drain,
) -> anyhow::Result<()> {
    let mut there = false;
    while !drain.is_draining() {
        if there {
            there = jetstream.get_stream(ORDER_EVENTS).await.is_ok();
        }
        if !there {
            match ensure_events_stream(&jetstream, &config).step("stream/events").await {
                Ok(_) => there = true,
                Err(error) => tracing::warn!(%error, "ORDER_EVENTS cannot be made yet"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(MAKE_AGAIN) => {}
            () = drain.started() => return Ok(()),
        }
    }
    Ok(())
}
