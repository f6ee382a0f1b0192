//! The order worker: claims orders from the queue into the record, makes them follow their
//! payments, and carries out the consequences.
//!
//! Its API is for operators: the history of orders, and dead letters. Read `tasks::claimer` for how
//! orders come in, `domain` for what is decided about them, `store` for the transactions,
//! `tasks::parked` for orders that a rebuild of the stock left out, `tasks::settlement` for how
//! orders end, `tasks::outbox` for the calls, mails and events that follow, and `app::dead_letters`
//! for messages that cannot be recorded.

pub mod app;
pub mod config;
pub mod domain;
mod grpc;
pub mod metrics;
pub mod peers;
pub mod steps;
pub mod store;
pub mod tasks;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream;
use flashsale_failpoint::Outside;
use flashsale_pg::SteppedPool;
use flashsale_proto::order::order_admin_service_server::OrderAdminServiceServer;
use flashsale_service::{Drain, Hosted, peer};

use app::{Wakeups, dead_letters::DeadLetters};
pub use config::Config;
use config::WorkerConfig;
use grpc::OrderAdmin;
use metrics::Metrics;
use peers::{inventory::Inventory, payment::Payments};
use store::events_stream::EventsStream;
use tasks::{
    claimer::Claimer,
    dead_letters, events_stream, measurements,
    outbox::{
        CancelCharge, Charge, CloseHold, Dispatcher, Handler, PublishEvent, Refund, SendMail,
    },
    parked::ParkedOrders,
    settlement::{self, Settler},
};

/// The name of the service, by which others know it.
const NAME: &str = "order-worker";

/// The defaults of every value of the configuration.
pub const DEFAULTS: &[&str] =
    &[flashsale_pg::DEFAULTS, flashsale_queue::DEFAULTS, include_str!("../config.default.toml")];

/// Assembles the worker. Stores, queue and peers need not be reachable yet.
///
/// # Errors
/// When the configuration cannot be used.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let pool = flashsale_pg::connect(&config.postgres, NAME).context("postgres.url")?;
    let pool = SteppedPool::new(pool);
    let client = flashsale_queue::connect(&config.nats, NAME).await.context("nats.url")?;
    let jetstream = jetstream::new(client.clone());
    let inventory = Inventory::new(peer::connect(NAME, "inventory", &config.peers.inventory)?);
    let payments = Payments::new(peer::connect(NAME, "payment", &config.peers.payment)?);
    let publish_timeout = Duration::from_millis(config.nats.publish_timeout_ms);
    let events = EventsStream::new(jetstream.clone(), config.nats);
    let (wakeups, pending) = Wakeups::new();
    let wakeups = Arc::new(wakeups);
    let metrics = Metrics::default();
    let worker = config.worker;

    // How orders come in, and how they end.
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
    let dead_letters = DeadLetters {
        pool: pool.clone(),
        jetstream: Outside::new(jetstream),
        inventory: inventory.clone(),
        publish_timeout,
        wakeups: Arc::clone(&wakeups),
    };

    // What follows from it, a handler for each kind of consequence.
    let charge =
        Charge { pool: pool.clone(), payments: payments.clone(), wakeups: Arc::clone(&wakeups) };
    let cancel_charge = CancelCharge { payments: payments.clone(), wakeups: Arc::clone(&wakeups) };
    let refund = Refund { payments };
    let close_hold = CloseHold {
        pool: pool.clone(),
        inventory,
        held_off: worker.held_off(),
        metrics: metrics.clone(),
    };
    let send_mail = SendMail {
        pool: pool.clone(),
        writer: config.mail.writer()?,
        relay: config.mail.relay().context("mail.smtp_url")?,
        connections: config.mail.connections as usize,
    };
    let publish_event = PublishEvent { pool: pool.clone(), events: events.clone() };

    let dispatch = Dispatch { pool, wakeups, metrics, worker, drain };
    let Dispatch { pool, wakeups, worker, drain, .. } = &dispatch;
    let hosted = Hosted::new()
        .grpc(OrderAdminServiceServer::new(OrderAdmin::new(pool.clone(), dead_letters.clone())))
        .task("dead letters", dead_letters::expire(dead_letters, drain.clone()))
        .task("order events stream", events_stream::keep(events, drain.clone()))
        .task("claims", claimer.run(drain.clone()))
        .task("parked orders", parked.run(drain.clone()))
        .task("payment events", settlement::listen(client, Arc::clone(wakeups), drain.clone()))
        .task("settlement", settler.run(drain.clone()))
        .task("outbox age", measurements::measure(pool.clone(), drain.clone()));
    let hosted = dispatch.add(hosted, "charges", charge, worker.charge_batch);
    let hosted = dispatch.add(hosted, "cancelled charges", cancel_charge, worker.carry_batch);
    let hosted = dispatch.add(hosted, "refunds", refund, worker.carry_batch);
    let hosted = dispatch.add(hosted, "holds", close_hold, worker.close_hold_batch);
    let hosted = dispatch.add(hosted, "mails", send_mail, worker.carry_batch);
    Ok(dispatch.add(hosted, "order events", publish_event, worker.carry_batch))
}

/// What all dispatchers share.
struct Dispatch {
    pool: SteppedPool,
    wakeups: Arc<Wakeups>,
    metrics: Metrics,
    worker: WorkerConfig,
    drain: Drain,
}

impl Dispatch {
    /// Adds the task `name`, which has `handler` carry out up to `batch` rows at once.
    fn add<H: Handler>(
        &self,
        hosted: Hosted,
        name: &'static str,
        handler: H,
        batch: usize,
    ) -> Hosted {
        let dispatcher = Dispatcher {
            handler: Arc::new(handler),
            pool: self.pool.clone(),
            pace: self.worker.dispatch_pace(batch),
            wakeups: Arc::clone(&self.wakeups),
            metrics: self.metrics.clone(),
        };
        hosted.task(name, dispatcher.run(self.drain.clone()))
    }
}
