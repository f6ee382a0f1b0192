//! Gauges that are read from the record, beside the work.

use std::time::Duration;

use flashsale_pg::SteppedPool;
use flashsale_service::{Drain, Ticks};
use flashsale_telemetry::{Snapshot, StoresUp};
use opentelemetry::KeyValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    domain::Kind,
    store::{
        dead_letters::{self, Unresolved},
        outbox::{self, Age},
        parked::{self, Backlog},
        units,
    },
};

/// How often the backlogs are measured.
const EVERY: Duration = Duration::from_secs(2);
/// How often the units of the watched sales are added up, which reads all of their orders.
const ADD_UP_EVERY: Duration = Duration::from_secs(15);
/// The most sales that are watched, the latest first: each is a time series.
const WATCHED_SALES: i64 = 20;

/// Measures the outbox, dead letters, parked orders and oversold units until the drain starts.
///
/// # Errors
/// None; the signature is a background task's.
pub(crate) async fn measure(pool: SteppedPool, drain: Drain) -> anyhow::Result<()> {
    let ages = Snapshot::<Vec<Age>>::default();
    let oversold = Snapshot::<Vec<(Uuid, i64)>>::default();
    let unresolved = Snapshot::<Unresolved>::default();
    let parked = Snapshot::<Backlog>::default();
    let stores = StoresUp::new("order-worker");
    show(&ages, &oversold, &unresolved);
    show_parked(&parked);
    let mut add_up_at = Instant::now();
    let mut ticks = Ticks::new(EVERY, &drain);
    while ticks.next().await {
        let found = outbox::ages(&pool).await;
        stores.set("postgres", found.is_ok());
        ages.set(found.ok());
        unresolved.set(dead_letters::unresolved(&pool).await.ok());
        parked.set(parked::backlog(&pool).await.ok());
        if add_up_at <= Instant::now() {
            oversold.set(units::oversold(&pool, WATCHED_SALES).await.ok());
            add_up_at = Instant::now() + ADD_UP_EVERY;
        }
    }
    Ok(())
}

fn show(
    ages: &Snapshot<Vec<Age>>,
    oversold: &Snapshot<Vec<(Uuid, i64)>>,
    unresolved: &Snapshot<Unresolved>,
) {
    unresolved.gauge(
        "flashsale_dead_letters_waiting",
        "{message}",
        "Dead letters that wait for a decision.",
        |found, gauge| gauge.observe(found.count as f64, &[]),
    );
    unresolved.gauge(
        "flashsale_dead_letters_oldest_age",
        "s",
        "Since the oldest of them was put aside; 0 if none waits.",
        |found, gauge| gauge.observe(found.oldest_s, &[]),
    );
    let of = |ages: &Vec<Age>, kind: Kind| {
        ages.iter().find(|age| age.kind == kind).map(|age| (age.pending, age.oldest_s))
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
