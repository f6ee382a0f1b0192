//! Payments that settle by Stripe's events alone, and the lease of a batch among very many.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flashsale_payment::{store::Store, webhook::PATH};
use flashsale_testbed::platform::Service;
use hmac::{Hmac, Mac as _};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Bench, FIRST_CALLS};
use crate::{
    cpu::Seconds,
    drive::{Lane, Measured, Miss, drive, times},
    payments::{self, Http, Payments, SALE, client, exchange, intent_of},
    platform::pid,
    report::{cpu_of, median, rounded},
    sales::PRICE_MINOR,
    say,
};

/// Where payments settle, and where they are due.
const DATABASES: (&str, &str) = ("bench_settle", "bench_lease");
/// What events are signed with.
const WEBHOOK_SECRET: &str = "whsec_bench";
/// Where Stripe is: nothing listens there, and no payment is due that would be charged.
const NO_STRIPE: &str = "127.0.0.1:9";
/// Sales that due payments are spread over.
const SALES: u32 = 50;
/// The most batches that are leased.
const MOST_BATCHES: usize = 500;

/// What an intent has besides and does not say
/// (docs.stripe.com/api/payment_intents/object).
const UNSET: [&str; 19] = [
    "application",
    "application_fee_amount",
    "automatic_payment_methods",
    "canceled_at",
    "cancellation_reason",
    "customer",
    "description",
    "last_payment_error",
    "next_action",
    "on_behalf_of",
    "processing",
    "receipt_email",
    "review",
    "setup_future_usage",
    "shipping",
    "source",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
];

/// One of Stripe's events, signed.
struct Event {
    body: Bytes,
    signature: HeaderValue,
}

/// Posts events to the payment service.
#[derive(Clone)]
struct Deliver {
    http: Http,
    uri: Uri,
}

impl Lane for Deliver {
    type Request = Event;

    async fn send(&mut self, event: Event) -> Result<(), Miss> {
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("stripe-signature", event.signature)
            .body(Full::new(event.body))
            .map_err(anyhow::Error::from)?;
        exchange(&self.http, request).await?;
        Ok(())
    }
}

impl Bench<'_> {
    /// Leases once, and settles in rounds of its own.
    pub(super) async fn settle(&self) -> anyhow::Result<Value> {
        say("leasing payments");
        let mut figures = self.lease_batches().await?;
        say("settling payments by events");
        let rounds = self.settle_by_events().await?;
        let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value));
        let cpu: Vec<&Seconds> = rounds.iter().map(|round| &round.cpu_s_per_10k).collect();
        figures["events_per_s"] = json!(of(|round| round.rps).round());
        figures["p50_us"] = json!(of(|round| round.p50_us));
        figures["p99_us"] = json!(of(|round| round.p99_us));
        figures["cpu_s_per_10k"] = cpu_of(&cpu);
        figures["events"] = json!(rounds.iter().map(|round| round.calls).sum::<u64>());
        let rates: Vec<f64> = rounds.iter().map(|round| round.rps.round()).collect();
        figures["rounds"] = json!({ "events_per_s": rates });
        Ok(figures)
    }

    async fn settle_by_events(&self) -> anyhow::Result<Vec<Measured>> {
        let payments = Payments::create(self.platform, DATABASES.0).await?;
        let payment = self
            .platform
            .another("payment", "payment-events", |settings| {
                payments.tell(settings, NO_STRIPE);
                settings.payment.webhook_secrets = Some(WEBHOOK_SECRET.to_owned());
            })
            .await?;
        let uri = format!("{}{PATH}", payment.http_url()).parse()?;
        let lane = Deliver { http: client(), uri };
        let mut count = FIRST_CALLS;
        let mut rounds = Vec::new();
        // Once more than asked for: the first time finds out how many events fit into the time.
        for round in 0..=self.settings.rounds {
            let measured = self.deliver(&payments, &payment, &lane, count).await?;
            let least = u64::from(self.settings.in_flight) * 20;
            count = ((measured.rps * self.settings.seconds) as u64).max(least);
            if round > 0 {
                rounds.push(measured);
            }
        }
        payment.stop().await?;
        payments.pool.close().await;
        Ok(rounds)
    }

    /// Settles so many payments.
    async fn deliver(
        &self,
        payments: &Payments,
        payment: &Service,
        lane: &Deliver,
        count: u64,
    ) -> anyhow::Result<Measured> {
        let orders = payments.record_under_way(count).await?;
        let at = OffsetDateTime::now_utc().unix_timestamp();
        let events: Vec<Event> =
            orders.into_iter().map(|order| succeeded(order, at)).collect::<Result<_, _>>()?;
        let mut watched = self.platform.watched();
        watched.processes.push(("payment", pid(payment)?));
        let before = payments.succeeded().await?;
        let lanes = std::slice::from_ref(lane);
        let measured = drive(lanes, self.settings.in_flight, events, &watched).await?;
        let settled = payments.succeeded().await? - before;
        ensure!(
            i64::try_from(measured.calls) == Ok(settled),
            "{} events settled {settled} payments",
            measured.calls
        );
        Ok(measured)
    }

    /// Leases payments as the service does, while very many are due.
    async fn lease_batches(&self) -> anyhow::Result<Value> {
        let settings = payments::defaults()?;
        let payments = Payments::create(self.platform, DATABASES.1).await?;
        let due = self.settings.holds;
        payments.record_due(due, SALES).await?;
        sqlx::query("ANALYZE payments").execute(&payments.pool).await?;
        let store = Store::new(payments.pool.clone());
        let (batch, lease) = (settings.max_in_flight, Duration::from_millis(settings.lease_ms));
        // Half of them are still due at the end.
        let batches = (usize::try_from(due)? / 2 / batch).clamp(1, MOST_BATCHES);
        let mut took = times()?;
        for number in 0..=batches {
            let began = Instant::now();
            let leased = store.lease(batch, lease).await?;
            let us = u64::try_from(began.elapsed().as_micros())?;
            ensure!(leased.len() == batch, "{} payments were leased, not {batch}", leased.len());
            // The first one prepares the statement.
            if number > 0 {
                took.saturating_record(us);
            }
        }
        payments.pool.close().await;
        let ms = |quantile| rounded(took.value_at_quantile(quantile) as f64 / 1_000.0, 1);
        Ok(json!({
            "due": due,
            "sales": SALES,
            "batches": batches,
            "batch": batch,
            "lease_batch_p50_ms": ms(0.5),
            "lease_batch_p99_ms": ms(0.99),
        }))
    }
}

/// The event of a payment whose money was taken, as of `at` in seconds since 1970. It has the
/// fields that Stripe sends, so that reading it costs what it costs.
fn succeeded(order: Uuid, at: i64) -> anyhow::Result<Event> {
    let id = intent_of(order);
    let mut intent = json!({
        "id": id,
        "object": "payment_intent",
        "amount": PRICE_MINOR,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": PRICE_MINOR,
        "capture_method": "automatic_async",
        "client_secret": format!("{id}_secret_{}", order.simple()),
        "confirmation_method": "automatic",
        "created": at,
        "currency": "eur",
        "latest_charge": format!("ch_{}", order.simple()),
        "livemode": false,
        "metadata": { "order_id": order, "sale_id": SALE, "deployment": Uuid::nil() },
        "payment_method": format!("pm_{}", order.simple()),
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "status": "succeeded",
    });
    for field in UNSET {
        intent[field] = Value::Null;
    }
    let body = json!({
        "id": format!("evt_{}", Uuid::new_v4().simple()),
        "object": "event",
        "created": at,
        "data": { "object": intent },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": "payment_intent.succeeded",
    })
    .to_string();
    // docs.stripe.com/webhooks#verify-manually
    let mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).ok();
    let mut mac = mac.context("a secret that cannot be signed with")?;
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = HeaderValue::try_from(format!("t={at},v1={hex}"))?;
    Ok(Event { body: Bytes::from(body), signature })
}
