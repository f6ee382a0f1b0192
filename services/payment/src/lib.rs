//! Payment: one payment per order, one PaymentIntent per payment, at most one capture ever.
//!
//! A payment is a row first. [`tasks`] take due rows up at the provider's pace and carry them on;
//! what a row's next step is, and which changes of state there are, stands in [`domain`]. Whatever
//! reports how an intent ended (a task, [`webhook`]) goes through [`app::settlement`]. The way to
//! Stripe is [`peers::stripe`].

pub mod app;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod metrics;
pub mod peers;
pub mod steps;
pub mod store;
pub mod tasks;
pub mod webhook;

use std::time::Duration;

use anyhow::Context as _;
pub use config::Config;
use flashsale_proto::payment::{
    payment_admin_service_server::PaymentAdminServiceServer,
    payment_service_server::PaymentServiceServer,
};
use flashsale_service::{Drain, Hosted};

use crate::{
    app::{
        Bell, abandon::Abandoning, account::AccountCheck, events::EventTaker, settlement::Settler,
    },
    domain::Backoff,
    grpc::{Admin, Payments},
    metrics::{Metrics, Work},
    peers::stripe::{self, Stripe},
    store::Store,
    tasks::{Charger, Comparer, Pacer, Reconciling, Refunder, measurements},
    webhook::Webhook,
};

/// The compiled-in configuration, every value commented.
pub const DEFAULTS: &[&str] =
    &[flashsale_pg::DEFAULTS, flashsale_queue::DEFAULTS, include_str!("../config.default.toml")];

/// Assembles the service. Neither Postgres nor NATS nor Stripe needs to be reachable yet.
///
/// # Errors
/// When a setting cannot be used.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let settings = config.payment;
    let pool = flashsale_pg::connect(&config.postgres, "payment")
        .context("postgres.url cannot be used")?;
    let nats = flashsale_queue::connect(&config.nats, "payment")
        .await
        .context("nats.url cannot be used")?;
    let store = Store::new(pool);
    let metrics = Metrics::new();
    let auto_refunds = i64::from(settings.auto_refunds_per_hour);
    let settler = Settler::new(store.clone(), nats, metrics.clone(), auto_refunds);
    let (stack, gate) = stripe::stack(&settings, &store)?;
    let stripe = Stripe::new(stack, settings.common(), metrics.clone());
    let account = AccountCheck::new(store.clone(), stripe.clone(), settings.is_live());
    let cards = settings.cards();
    measurements::show_breaker(gate.breaker.clone());
    let measuring = measurements::measure(store.clone(), drain.clone());
    let (charges, refunds) = (Bell::default(), Bell::default());
    let lease = Duration::from_millis(settings.lease_ms);
    let poll = Duration::from_millis(settings.poll_ms);
    let backoff = Backoff {
        base: Duration::from_millis(settings.retry_base_ms),
        cap: Duration::from_millis(settings.retry_cap_ms),
    };

    let charging = {
        let charger = Charger {
            store: store.clone(),
            stripe: stripe.clone(),
            account: account.clone(),
            settler: settler.clone(),
            backoff,
            patience: Duration::from_millis(settings.patience_ms),
            cards,
            wait_limit: Duration::from_millis(settings.wait_limit_ms),
            lease,
        };
        let pacer = Pacer {
            name: "charges",
            capacity: settings.max_in_flight,
            poll,
            bell: charges.clone(),
            drain: drain.clone(),
        };
        let (store, gate, metrics) = (store.clone(), gate.clone(), metrics.clone());
        let account = account.clone();
        pacer.run(
            move |room| {
                let (store, gate, metrics) = (store.clone(), gate.clone(), metrics.clone());
                let account = account.clone();
                async move {
                    let room = account.room(gate.worth_taking(room).await);
                    let taken = store.lease(room, lease).await?;
                    metrics.taken_up(Work::Charge, taken.len());
                    Ok::<_, sqlx::Error>(taken)
                }
            },
            move |payment| charger.clone().carry_on(payment),
        )
    };
    let refunding = {
        let refunder = Refunder {
            store: store.clone(),
            stripe: stripe.clone(),
            account: account.clone(),
            settler: settler.clone(),
            backoff,
        };
        let pacer = Pacer {
            name: "refunds",
            capacity: settings.max_refunds_in_flight,
            poll,
            bell: refunds.clone(),
            drain: drain.clone(),
        };
        let (store, gate, metrics) = (store.clone(), gate.clone(), metrics.clone());
        let account = account.clone();
        pacer.run(
            move |room| {
                let (store, gate, metrics) = (store.clone(), gate.clone(), metrics.clone());
                let account = account.clone();
                async move {
                    let room = account.room(gate.worth_taking(room).await);
                    let taken = store.lease_refunds(room, lease).await?;
                    metrics.taken_up(Work::Refund, taken.len());
                    Ok::<_, sqlx::Error>(taken)
                }
            },
            move |refund| refunder.clone().carry_on(refund),
        )
    };
    let reconciling = tasks::reconcile(
        store.clone(),
        settler.clone(),
        charges.clone(),
        Reconciling {
            every: Duration::from_millis(settings.reconcile_every_ms),
            untouched: Duration::from_millis(settings.reconcile_after_ms),
            wait_limit: Duration::from_millis(settings.wait_limit_ms),
        },
        drain.clone(),
    );
    let events = EventTaker { store: store.clone(), settler: settler.clone(), cards };
    let comparing = Comparer {
        store: store.clone(),
        stripe: stripe.clone(),
        account: account.clone(),
        events: events.clone(),
        metrics,
        every: Duration::from_millis(settings.compare_every_ms),
    }
    .run(drain.clone());
    let comparing_every = Duration::from_millis(settings.compare_every_ms);
    let counting = tasks::count_differences(store.clone(), comparing_every, drain.clone());
    let checking = account.clone().run([charges.clone(), refunds.clone()], drain.clone());
    let webhook = Webhook { secrets: settings.secrets(), live: settings.is_live(), events };
    let abandoning = Abandoning {
        store: store.clone(),
        stripe,
        account: account.clone(),
        settler: settler.clone(),
        lease,
    };
    let admin = Admin {
        store: store.clone(),
        gate,
        charges: charges.clone(),
        abandoning,
        account: account.clone(),
        compare_every: comparing_every,
    };
    Ok(Hosted::new()
        .grpc(PaymentServiceServer::new(Payments { store, settler, cards, charges, refunds }))
        .grpc(PaymentAdminServiceServer::new(admin))
        .ready_while(account.ready())
        .http(webhook::router(webhook))
        .task("payment account", checking)
        .task("payment charges", charging)
        .task("payment refunds", refunding)
        .task("payment reconciler", reconciling)
        .task("payment events", comparing)
        .task("payment differences", counting)
        .task("payment backlog", measuring))
}
