//! What the worker measures.

use std::time::Duration;

use flashsale_failpoint::Step as _;
use flashsale_service::Drain;
use flashsale_telemetry::{Snapshot, StoresUp, meter};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram},
};
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::{
    domain::{Kind, OrderState},
    store::{
        dead_letters::{self, Waiting},
        outbox::{self, Age},
        parked::{self, Backlog},
    },
};

/// How often the outbox is measured.
const EVERY: Duration = Duration::from_secs(2);
/// How often the orders of the watched sales are added up: that reads all of them.
const ADD_UP_EVERY: Duration = Duration::from_secs(15);
/// Sales that are watched, the latest first: each is a time series.
const WATCHED_SALES: i64 = 20;
/// The bounds of the time from placing to claim, in seconds.
const CLAIM_DELAYS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// The worker's instruments.
#[derive(Debug, Clone)]
pub struct Metrics {
    claim_lag: Gauge<u64>,
    claim_delay: Histogram<f64>,
    orders: Counter<u64>,
    dead_letters: Counter<u64>,
    carried: Counter<u64>,
    hold_conflicts: Counter<u64>,
    late_payments: Counter<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = meter();
        let metrics = Self {
            claim_lag: meter
                .u64_gauge("flashsale_claim_lag")
                .with_unit("{message}")
                .with_description(
                    "Messages of ORDERS behind the claimer's last batch. Stands still while nothing can be claimed: \
                     see flashsale_queue_age_seconds.",
                )
                .build(),
            claim_delay: meter
                .f64_histogram("flashsale_claim_delay")
                .with_unit("s")
                .with_description("From an order's placing to its claim.")
                .with_boundaries(CLAIM_DELAYS.to_vec())
                .build(),
            orders: meter
                .u64_counter("flashsale_orders")
                .with_unit("{order}")
                .with_description("Orders that reached a state.")
                .build(),
            dead_letters: meter
                .u64_counter("flashsale_dead_letters")
                .with_unit("{message}")
                .with_description("Messages put aside because they cannot be recorded.")
                .build(),
            carried: meter
                .u64_counter("flashsale_outbox_carried")
                .with_unit("{attempt}")
                .with_description("Attempts to carry consequences out, by kind and result.")
                .build(),
            hold_conflicts: meter
                .u64_counter("flashsale_hold_conflicts")
                .with_unit("{hold}")
                .with_description("Holds that stand in a state that excludes their order's end.")
                .build(),
            late_payments: meter
                .u64_counter("flashsale_late_payments")
                .with_unit("{payment}")
                .with_description(
                    "Payments that succeeded after their order had ended, and go back.",
                )
                .build(),
        };
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        for state in OrderState::ALL {
            metrics.orders.add(0, &[KeyValue::new("state", state.as_str())]);
        }
        for kind in Kind::ALL {
            for result in ["done", "retry", "given_up"] {
                metrics.carried(kind, result, 0);
            }
        }
        metrics.dead_letters(0);
        metrics.late_payments(0);
        metrics.hold_conflicts.add(0, &[]);
        metrics
    }
}

impl Metrics {
    /// Messages between the position and the end of the stream.
    pub fn claim_lag(&self, messages: u64) {
        self.claim_lag.record(messages, &[]);
    }

    /// An order was claimed this long after it was placed; clocks may disagree.
    pub fn claimed_after(&self, delay: time::Duration) {
        self.claim_delay.record(delay.as_seconds_f64().max(0.0), &[]);
    }

    /// An order reached a state.
    pub fn reached(&self, state: OrderState) {
        self.orders.add(1, &[KeyValue::new("state", state.as_str())]);
    }

    /// Messages were put aside.
    pub fn dead_letters(&self, count: u64) {
        self.dead_letters.add(count, &[]);
    }

    /// Consequences were tried; `result` is `done`, `retry` or `given_up`.
    pub fn carried(&self, kind: Kind, result: &'static str, count: usize) {
        let labels = [KeyValue::new("kind", kind.as_str()), KeyValue::new("result", result)];
        self.carried.add(count as u64, &labels);
    }

    /// Inventory says that a hold ended otherwise than its order.
    pub fn hold_conflict(&self) {
        self.hold_conflicts.add(1, &[]);
    }

    /// Money came after its order's end.
    pub fn late_payments(&self, count: u64) {
        self.late_payments.add(count, &[]);
    }
}

/// Measures the outbox, and adds up what the orders of each watched sale hold, until the drain starts: beside the work.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn measure(pool: PgPool, drain: Drain) -> anyhow::Result<()> {
    let ages = Snapshot::<Vec<Age>>::default();
    let oversold = Snapshot::<Vec<(Uuid, i64)>>::default();
    let letters = Snapshot::<Waiting>::default();
    let parked = Snapshot::<Backlog>::default();
    let stores = StoresUp::new("order-worker");
    show(&ages, &oversold, &letters);
    show_parked(&parked);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut add_up_at = Instant::now();
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let found = outbox::ages(&pool).await;
        stores.set("postgres", found.is_ok());
        ages.set(found.ok());
        letters.set(dead_letters::waiting(&pool).await.ok());
        parked.set(parked::backlog(&pool).await.ok());
        if add_up_at <= Instant::now() {
            oversold.set(units_oversold(&pool).await.ok());
            add_up_at = Instant::now() + ADD_UP_EVERY;
        }
    }
}

fn show(
    ages: &Snapshot<Vec<Age>>,
    oversold: &Snapshot<Vec<(Uuid, i64)>>,
    letters: &Snapshot<Waiting>,
) {
    letters.gauge(
        "flashsale_dead_letters_waiting",
        "{message}",
        "Dead letters about which somebody has to decide.",
        |waiting, gauge| gauge.observe(waiting.letters as f64, &[]),
    );
    letters.gauge(
        "flashsale_dead_letters_oldest_age",
        "s",
        "Since the oldest of them was put aside; 0 if none waits.",
        |waiting, gauge| gauge.observe(waiting.oldest_s, &[]),
    );
    let of = |ages: &Vec<Age>, kind: Kind| {
        ages.iter().find(|age| age.kind == kind.as_str()).map(|age| (age.pending, age.oldest_s))
    };
    let labels = |kind: Kind| [KeyValue::new("kind", kind.as_str())];
    ages.gauge(
        "flashsale_outbox_pending",
        "{row}",
        "Consequences that are not confirmed yet, by kind.",
        move |ages, gauge| {
            for kind in Kind::ALL {
                let pending = of(ages, kind).map_or(0, |(pending, _)| pending);
                gauge.observe(pending as f64, &labels(kind));
            }
        },
    );
    ages.gauge(
        "flashsale_outbox_oldest_age",
        "s",
        "Since the oldest consequence that is not confirmed was written, by kind; 0 if there is none.",
        move |ages, gauge| {
            for kind in Kind::ALL {
                gauge.observe(of(ages, kind).map_or(0.0, |(_, age_s)| age_s), &labels(kind));
            }
        },
    );
    oversold.gauge(
        "flashsale_oversold_units_by_record",
        "{unit}",
        "By Postgres: units that orders hold beyond what was allotted. Anything but 0 is an incident.",
        |sales, gauge| {
            for (sale_id, units) in sales {
                gauge.observe(*units as f64, &[KeyValue::new("sale_id", sale_id.to_string())]);
            }
        },
    );
}

fn show_parked(parked: &Snapshot<Backlog>) {
    parked.gauge(
        "flashsale_parked_orders",
        "{order}",
        "Orders of an older epoch that wait until the rebuilt stock has taken or refused their units.",
        |backlog, gauge| gauge.observe(backlog.orders as f64, &[]),
    );
    parked.gauge(
        "flashsale_parked_orders_oldest_age",
        "s",
        "Since the oldest of them was parked; 0 if none is.",
        |backlog, gauge| gauge.observe(backlog.oldest_s, &[]),
    );
}

async fn units_oversold(pool: &PgPool) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let sales = sqlx::query_file!("sql/oversold.sql", WATCHED_SALES)
        .fetch_all(pool)
        .step("sql/oversold")
        .await?;
    Ok(sales.into_iter().map(|sale| (sale.sale_id, sale.units)).collect())
}
