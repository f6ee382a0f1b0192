//! What payment's way to Stripe takes beyond the HTTP client in it, and whether a Stripe that hangs
//! is felt where units are reserved.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flashsale_testbed::platform::{Service, StandIn};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Bench, FIRST_CALLS};
use crate::{
    payments::{Http, Payments, client, exchange},
    report::{median, rounded},
    say,
};

const DATABASE: &str = "bench_payment_stack";
/// The budget of all calls while only their cost counts: no call waits for it.
const UNPACED_PER_S: u64 = 10_000;
/// What Stripe allows a live key a second, at which payment is busy.
const LIVE_PER_S: u64 = 100;
/// Payments that wait: more than begin in the longest measurement, 25 a second.
const DUE: u32 = 5_000;
/// Calls that hang when payment counts as busy with a Stripe that hangs: fewer than open its
/// breaker once they have timed out.
const HUNG: u64 = 8;
/// How long payment may take to be busy.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Processor time per call, in µs.
struct Ways {
    calls: f64,
    /// Of the HTTP client alone.
    bare: f64,
    /// Of a turn at the budgets, which is in the stack.
    turn: f64,
    /// Of the whole stack.
    stack: f64,
}

impl Ways {
    /// The stack but for its turn at the budgets.
    fn layers(&self) -> f64 {
        self.stack - self.turn
    }
}

/// The mean latency of Reserve in µs, beside a payment service whose Stripe is well, and one whose
/// Stripe hangs.
#[derive(Default)]
struct Beside {
    well: f64,
    hanging: f64,
}

impl Bench<'_> {
    /// Both, in rounds of their own.
    pub(super) async fn payment_stack(&mut self) -> anyhow::Result<Value> {
        say("calling Stripe");
        let payments = Payments::create(self.platform, DATABASE).await?;
        let stripe = self.platform.stripe().await?;
        let mut ways = Vec::new();
        for _ in 0..self.settings.rounds {
            ways.push(self.ways(&payments, &stripe).await?);
        }
        say("reserving while Stripe hangs");
        let beside = self.reserve_beside(&payments, &stripe).await?;
        payments.pool.close().await;
        stripe.end().await?;

        let us = |of: fn(&Ways) -> f64| rounded(median(ways.iter().map(of)), 1);
        let ratios = |of: fn(&Ways) -> f64| -> Vec<f64> { ways.iter().map(of).collect() };
        let of_layers = ratios(|round| round.layers() / round.bare);
        let of_stack = ratios(|round| round.stack / round.bare);
        // Both of the same round, as all ratios.
        let hanging: Vec<f64> = beside.iter().map(|round| round.hanging / round.well).collect();
        let latency = |of: fn(&Beside) -> f64| median(beside.iter().map(of)).round();
        let each =
            |values: &[f64]| values.iter().map(|value| rounded(*value, 3)).collect::<Vec<_>>();
        Ok(json!({
            "cpu_ratio": rounded(median(of_layers.iter().copied()), 2),
            "cpu_ratio_with_turn": rounded(median(of_stack.iter().copied()), 2),
            "bare_us": us(|round| round.bare),
            "turn_us": us(|round| round.turn),
            "stack_us": us(|round| round.stack),
            "calls": ways.iter().map(|round| round.calls).sum::<f64>() as u64,
            "reserve_hanging_ratio": rounded(median(hanging.iter().copied()), 3),
            "reserve_us": {
                "well": latency(|round| round.well),
                "hanging": latency(|round| round.hanging),
            },
            "rounds": {
                "cpu_ratio": each(&of_layers),
                "reserve_hanging_ratio": each(&hanging),
            },
        }))
    }

    /// One round of calls, which a process of its own makes.
    async fn ways(&self, payments: &Payments, stripe: &StandIn) -> anyhow::Result<Ways> {
        let mut settings = self.platform.settings();
        payments.tell(&mut settings, stripe.address());
        settings.payment.global_budget_per_s = Some(UNPACED_PER_S);
        settings.payment.endpoint_budget_per_s = Some(UNPACED_PER_S);
        let seconds = self.settings.seconds.to_string();
        let printed = self.platform.run(&["--seconds", &seconds, "call-stripe"], &settings).await?;
        let figures: Value = serde_json::from_slice(&printed)?;
        let of = |field: &str| {
            let value = figures.get(field).and_then(Value::as_f64);
            value.with_context(|| format!("the calls to Stripe have no {field}"))
        };
        Ok(Ways {
            calls: of("calls")?,
            bare: of("bare_us")?,
            turn: of("turn_us")?,
            stack: of("stack_us")?,
        })
    }

    /// Reserve calls beside payment at a live key's pace, with Stripe well and with Stripe hanging.
    async fn reserve_beside(
        &mut self,
        payments: &Payments,
        stripe: &StandIn,
    ) -> anyhow::Result<Vec<Beside>> {
        let control =
            Control { http: client(), url: format!("http://{}/_control", stripe.address()) };
        let payment = self
            .platform
            .another("payment", "payment-busy", |settings| {
                payments.tell(settings, stripe.address());
                settings.payment.global_budget_per_s = Some(LIVE_PER_S);
            })
            .await?;
        // Finds out how many calls fit into the time.
        let requests = self.requests.reserves(FIRST_CALLS);
        let rps = self.drive(&self.lanes.reserve, requests).await?.rps;
        let least = u64::from(self.settings.in_flight) * 20;
        let count = ((rps * self.settings.seconds) as u64).max(least);
        let mut rounds = Vec::new();
        for round in 0..self.settings.rounds {
            let mut beside = Beside::default();
            // Either comes first in turn, so that a machine that gets slower is not taken for
            // Stripe.
            let order = if round % 2 == 0 { [false, true] } else { [true, false] };
            for hangs in order {
                busy(payments, &payment, &control, hangs).await?;
                let requests = self.requests.reserves(count);
                let measured = self.drive(&self.lanes.reserve, requests).await?;
                let paid = payments.succeeded().await?;
                ensure!(hangs == (paid == 0), "Stripe hangs: {hangs}, {paid} payments succeeded");
                // In a closed loop all calls are under way all the time.
                let mean_us = f64::from(self.settings.in_flight) * 1_000_000.0 / measured.rps;
                if hangs {
                    beside.hanging = mean_us;
                } else {
                    beside.well = mean_us;
                }
            }
            rounds.push(beside);
        }
        // It does not drain before its calls have timed out.
        payment.kill().await;
        control.hang(false).await?;
        Ok(rounds)
    }
}

/// Has payment begin with payments that no process before it has touched: its breaker is closed,
/// and it knows of no call that hung.
async fn busy(
    payments: &Payments,
    payment: &Service,
    control: &Control,
    hangs: bool,
) -> anyhow::Result<()> {
    payment.kill().await;
    payments.clear().await?;
    payments.record_due(DUE, 1).await?;
    control.hang(hangs).await?;
    let hung = control.hung().await?;
    payment.restart(&[]).await?;
    let busy = tokio::time::timeout(PATIENCE, async {
        loop {
            let is_busy = match hangs {
                true => control.hung().await? >= hung + HUNG,
                false => payments.succeeded().await? > 0,
            };
            if is_busy {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    });
    busy.await.with_context(|| format!("payment does not get busy; Stripe hangs: {hangs}"))?
}

/// What goes wrong at the stand-in.
struct Control {
    http: Http,
    url: String,
}

impl Control {
    /// Whether whatever changes something there is never answered.
    async fn hang(&self, hangs: bool) -> anyhow::Result<()> {
        self.faults(Method::DELETE, String::new()).await?;
        if hangs {
            let fault = json!({ "endpoint": "POST *", "kind": "hang_before" });
            self.faults(Method::POST, fault.to_string()).await?;
        }
        Ok(())
    }

    /// Calls that were never answered, since its start.
    async fn hung(&self) -> anyhow::Result<u64> {
        let faults = self.faults(Method::GET, String::new()).await?;
        Ok(faults["struck"]["hang_before"].as_u64().unwrap_or(0))
    }

    async fn faults(&self, method: Method, body: String) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/faults", self.url))
            .body(Full::new(Bytes::from(body)))?;
        Ok(serde_json::from_slice(&exchange(&self.http, request).await?)?)
    }
}
