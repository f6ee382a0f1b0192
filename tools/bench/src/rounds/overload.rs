//! PlaceOrder at a rate that no client slows down for: three times what there is room for, and well
//! below it.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Bench, CLAIM_BATCHES, FIRST_CALLS};
use crate::{
    cpu::resident_mb,
    drive::drive,
    open::{Offered, offer},
    report::rounded,
    say,
};

/// How many times what there is room for is offered.
const FACTOR: f64 = 3.0;
/// The part of what there is room for that has to be claimed as fast as it comes.
const SUSTAINED: f64 = 0.7;
/// The services whose memory is looked at.
const GROWING: [&str; 2] = ["checkout", "inventory"];

impl Bench<'_> {
    /// PlaceOrder calls per second when none waits that could be sent: what every open loop is
    /// measured against.
    async fn capacity(&mut self) -> anyhow::Result<f64> {
        let mut rps = 0.0;
        let mut count = FIRST_CALLS;
        // The first time finds out how many calls fit into the time.
        for _ in 0..2 {
            let requests = self.requests.orders(count);
            let lanes = &self.lanes.place_order;
            rps = drive(lanes, self.settings.in_flight, requests, &self.watched).await?.rps;
            self.placed += count;
            count = ((rps * self.settings.seconds) as u64).max(FIRST_CALLS);
        }
        self.settled(self.admitted.pending()).await?;
        Ok(rps)
    }

    async fn offer_orders(&mut self, rate: f64) -> anyhow::Result<Offered> {
        let count = (rate * self.settings.open_seconds) as u64;
        let requests = self.requests.orders(count);
        offer(&self.lanes.place_order, rate, requests, &self.watched).await
    }

    /// Counts what came of an open loop: each accepted order is in the record. Others may be, too:
    /// those whose caller was told to ask again.
    async fn count_orders(&mut self, before: u64, offered: &Offered) -> anyhow::Result<()> {
        let recorded = self.recorded().await? - before;
        let accepted = offered.answers.accepted.len();
        ensure!(recorded >= accepted, "{accepted} orders were accepted, {recorded} are recorded");
        self.placed += recorded;
        Ok(())
    }

    /// More orders than can be placed: how many are all the same, how fast, and how fast the others
    /// learn that theirs are not.
    pub(super) async fn overload(&mut self) -> anyhow::Result<Value> {
        say("offering more orders than can be placed");
        let before = self.capacity().await?;
        let memory_before = self.memory()?;
        let asked = before * FACTOR;
        let recorded = self.recorded().await?;
        let offered = self.offer_orders(asked).await?;
        let memory_after = self.memory()?;
        self.settled(self.admitted.pending()).await?;
        self.count_orders(recorded, &offered).await?;
        // Of both sides, as the machine is another one each minute.
        let capacity = (before + self.capacity().await?) / 2.0;
        let Offered { answers, cpu, .. } = &offered;
        let ms = |us: u64| rounded(us as f64 / 1_000.0, 1);
        let cores = std::thread::available_parallelism()?.get() as f64;
        let share = |used: f64| rounded(used / (offered.seconds * cores), 3);
        let shares: BTreeMap<_, _> = cpu.iter().map(|(name, used)| (*name, share(*used))).collect();
        Ok(json!({
            "capacity_rps": capacity.round(),
            "offered_rps": { "asked": asked.round(), "done": offered.rps.round() },
            "seconds": rounded(offered.seconds, 1),
            "goodput_rps": offered.goodput_rps.round(),
            "goodput_ratio": rounded(offered.goodput_rps / capacity, 3),
            "accepted": answers.accepted.len(),
            "accepted_p50_ms": ms(answers.accepted.value_at_quantile(0.5)),
            "accepted_p99_ms": ms(answers.accepted.value_at_quantile(0.99)),
            "rejected_p50_ms": ms(answers.rejected.value_at_quantile(0.5)),
            "rejected_p99_ms": ms(answers.rejected.value_at_quantile(0.99)),
            "rejects": answers.reasons,
            "rejects_without_retry_info": answers.without_retry_info,
            "not_durable": answers.not_durable,
            "memory_mb": { "before": memory_before, "after": memory_after },
            "cpu_share": shares,
        }))
    }

    /// How long orders wait for their claim while fewer come than there is room for.
    pub(super) async fn acceptance_to_claim(&mut self) -> anyhow::Result<Value> {
        say("claiming orders as they come");
        let rate = self.capacity().await? * SUSTAINED;
        let pool = self.platform.pool();
        let began: OffsetDateTime =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await?;
        let recorded = self.recorded().await?;
        let claimer = self.platform.claimer(CLAIM_BATCHES.0).await?;
        let offered = self.offer_orders(rate).await?;
        self.quiet().await?;
        claimer.stop_within(super::QUIET_WITHIN).await?;
        self.count_orders(recorded, &offered).await?;
        let (orders, waited): (i64, Vec<f64>) = sqlx::query_as(
            "SELECT count(*), percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY
                 extract(epoch FROM claimed_at - placed_at)::float8 * 1000)
               FROM orders WHERE placed_at >= $1",
        )
        .bind(began)
        .fetch_one(pool)
        .await?;
        let ms = |at: usize| waited.get(at).map(|ms| rounded(*ms, 1));
        Ok(json!({
            "acceptance_to_claim_rps": { "asked": rate.round(), "done": offered.rps.round() },
            "acceptance_to_claim_orders": orders,
            "acceptance_to_claim_p50_ms": ms(0),
            "acceptance_to_claim_p99_ms": ms(1),
        }))
    }

    fn memory(&self) -> anyhow::Result<BTreeMap<&'static str, f64>> {
        GROWING
            .into_iter()
            .map(|service| Ok((service, rounded(resident_mb(self.platform.pid_of(service)?)?, 1))))
            .collect()
    }
}
