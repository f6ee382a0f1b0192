//! Orders that are paid without a sale under way, and what became of them: by the record, and by
//! the provider's own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::ensure;
use flashsale_auditor::{Invariant, Verdict, audit};
use flashsale_proto::payment::{CreatePaymentsRequest, PaymentOrder};
use flashsale_testbed::{
    ask,
    fixtures::{self, OrderSpec, SaleItem, SaleSpec},
    platform::{BreakerSettings, PaymentSettings, Settings},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    calls::{client_as, timely},
    provider::facts,
};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale, stores::key},
};

/// The card of buyers who are to pay.
pub(super) const CARD: &str = "pm_card_visa";
/// A card that is refused.
pub(super) const BAD_CARD: &str = "pm_card_visa_chargeDeclined";
/// What an order costs, in cents.
pub(super) const PRICE: i64 = 1_000;
/// What all of them are for.
const SKU: &str = "UNIT";
/// Payments that are recorded by one call: the most that payment takes.
const BATCH: usize = 200;
/// How long payments may take to be recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(60);
/// How long money may take to be where it belongs, once every order has ended.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// From so many failures in a row on a payment is stuck, as payment has it.
const STUCK_AFTER: i32 = 5;
/// Orders that are named of those that went wrong; the rest is counted.
const NAMED: usize = 5;
/// The promises about money.
pub(super) const OF_MONEY: [Invariant; 3] = [Invariant::I3, Invariant::I4, Invariant::I9];

/// Settings of payment with which nothing waits for longer than a run of seconds can.
pub(super) fn brisk(platform: &Platform) -> Settings {
    let base = platform.settings_over(&platform.to_redis, &platform.services.inventory);
    let payment = PaymentSettings {
        timeout_ms: Some(1_000),
        budget_wait_ms: Some(500),
        retry_base_ms: Some(200),
        retry_cap_ms: Some(1_000),
        lease_ms: Some(6_000),
        reconcile_every_ms: Some(1_000),
        reconcile_after_ms: Some(6_000),
        breaker: BreakerSettings { open_ms: Some(500), ..BreakerSettings::default() },
        ..base.payment
    };
    Settings { payment, ..base }
}

/// Starts payment with these settings, on paces that no fault before has slowed down.
pub(super) async fn serve(platform: &mut Platform, settings: Settings) -> anyhow::Result<()> {
    platform.services.payment.kill().await;
    sqlx::query("DELETE FROM provider_budgets").execute(&platform.pool).await?;
    platform.services.payment.start(settings).await
}

/// Claimed orders of a sale that was never started: they follow their payments as any order does,
/// and there is no stock in which a hold of theirs would have to be closed.
#[derive(Debug)]
pub(super) struct Book {
    /// Their sale.
    pub(super) sale: Sale,
    /// Their ids.
    pub(super) orders: Vec<Uuid>,
}

impl Book {
    /// A sale without orders.
    pub(super) async fn open(platform: &Platform) -> anyhow::Result<Self> {
        let never_started = SaleSpec { state: "DRAFT", propagated: true, ..SaleSpec::default() };
        let item = SaleItem {
            sku: SKU.to_owned(),
            title: SKU.to_owned(),
            units: 1_000_000,
            limit: 0,
            price_minor: PRICE,
        };
        let id = fixtures::record_sale(&platform.pool, never_started, [item]).await?;
        Ok(Self { sale: Sale { id, room: false }, orders: Vec::new() })
    }

    /// A sale with so many orders, which are to be paid by this card.
    pub(super) async fn of(platform: &Platform, count: usize, card: &str) -> anyhow::Result<Self> {
        let mut book = Self::open(platform).await?;
        book.record(platform, count, card).await?;
        Ok(book)
    }

    /// Records more orders; the ids of those.
    pub(super) async fn record(
        &mut self,
        platform: &Platform,
        count: usize,
        card: &str,
    ) -> anyhow::Result<Vec<Uuid>> {
        let order = || {
            let mut order = OrderSpec {
                total_minor: PRICE,
                lines: vec![(SKU, 1, PRICE)],
                ..OrderSpec::new(self.sale.id, "beside the sale")
            };
            order.details.email = "beside@example.com".to_owned();
            order.details.contact_name = "Beside".to_owned();
            order.details.payment_method = card.to_owned();
            order
        };
        let specs: Vec<OrderSpec<'_>> = (0..count).map(|_| order()).collect();
        fixtures::record_orders(&platform.pool, &specs).await?;
        let ids: Vec<Uuid> = specs.iter().map(|order| order.order_id).collect();
        self.orders.extend(&ids);
        Ok(ids)
    }

    /// Has all of them paid.
    pub(super) async fn pay(&self, platform: &Platform) -> anyhow::Result<()> {
        pay(platform, &self.orders).await
    }

    /// How many are not at their end, by the record.
    pub(super) async fn under_way(&self, platform: &Platform) -> anyhow::Result<i64> {
        let open = sqlx::query_scalar(
            "SELECT count(*) FROM orders
             WHERE sale_id = $1 AND state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED')",
        )
        .bind(self.sale.id)
        .fetch_one(&platform.pool)
        .await?;
        Ok(open)
    }

    /// Waits until all of them are at their end.
    pub(super) async fn ended(&self, platform: &Platform, within: Duration) -> anyhow::Result<()> {
        until_some(within, "every order has ended", async || {
            let open = self.under_way(platform).await?;
            ensure!(open == 0, "{open} have not");
            anyhow::Ok(Some(()))
        })
        .await
    }

    /// How many of them have payments in this state.
    pub(super) async fn payments(&self, platform: &Platform, state: &str) -> anyhow::Result<i64> {
        let query = "SELECT count(*) FROM payments WHERE sale_id = $1 AND state = $2";
        let count = sqlx::query_scalar(query).bind(self.sale.id).bind(state);
        Ok(count.fetch_one(&platform.pool).await?)
    }

    /// How many payments an instance has taken up at the moment.
    pub(super) async fn leased(&self, platform: &Platform) -> anyhow::Result<i64> {
        let query = "SELECT count(*) FROM payments WHERE sale_id = $1 AND lease_until > now()
                        AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')";
        let count = sqlx::query_scalar(query).bind(self.sale.id);
        Ok(count.fetch_one(&platform.pool).await?)
    }

    /// How many captures the provider has made of them.
    pub(super) fn captured(&self, platform: &Platform) -> anyhow::Result<usize> {
        let ours: BTreeSet<&Uuid> = self.orders.iter().collect();
        let facts = facts(platform)?;
        let captures = facts.iter().filter(|fact| fact.kind == "payment_intent.captured");
        let of_ours = |order: &Option<Uuid>| order.is_some_and(|order| ours.contains(&order));
        Ok(captures.filter(|fact| of_ours(&fact.order_id)).count())
    }

    /// Waits until so many of them are captured by the provider.
    pub(super) async fn captures(
        &self,
        platform: &Platform,
        count: usize,
        within: Duration,
    ) -> anyhow::Result<()> {
        until_some(within, "the provider captures", async || {
            let captured = self.captured(platform)?;
            ensure!(captured >= count, "{captured} of {count}");
            anyhow::Ok(Some(()))
        })
        .await
    }

    /// Waits until all of them have ended and all money is where it belongs, holds the record
    /// against the provider's log, and sees that each has ended in one of these states.
    pub(super) async fn conclude(
        &self,
        platform: &Platform,
        ends: &[&str],
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        self.conclude_by(platform, ends, &OF_MONEY, figures).await
    }

    /// The same where a promise is not kept on purpose: only these are audited.
    pub(super) async fn conclude_by(
        &self,
        platform: &Platform,
        ends: &[&str],
        promises: &[Invariant],
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        // What does not end is counted.
        if let Err(error) = self.ended(platform, SETTLED_WITHIN).await {
            figures.broken.push(format!("{error:#}"));
        }
        settle(platform, &self.sale, figures).await;
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM orders WHERE sale_id = $1 AND NOT state = ANY($2)",
        )
        .bind(self.sale.id)
        .bind(ends)
        .fetch_one(&platform.pool)
        .await?;
        figures.expect(others == 0, || format!("{others} orders are not {}", ends.join(" or ")));
        count(platform, &self.sale, figures).await?;
        figures.count("orders", self.orders.len() as u64);
        let ended: Vec<(String, i64)> = sqlx::query_as(
            "SELECT lower(state), count(*) FROM orders WHERE sale_id = $1 GROUP BY state",
        )
        .bind(self.sale.id)
        .fetch_all(&platform.pool)
        .await?;
        for (state, orders) in ended {
            figures.count(&state, u64::try_from(orders)?);
        }
        // An audit reads the stock as well, and there is none.
        let (meta, stock) = (key(self.sale.id, "meta"), key(self.sale.id, "stock"));
        let redis = platform.redis.port();
        ask(redis, &["HSET", &meta, "epoch", "1"]).await?;
        let (available, price) = (format!("a:{SKU}"), format!("m:{SKU}"));
        ask(redis, &["HSET", &stock, &available, "0", &price, &PRICE.to_string()]).await?;
        audit_money(platform, &self.sale, promises, figures).await?;
        ask(redis, &["DEL", &meta, &stock]).await?;
        Ok(())
    }
}

/// Has these orders paid, as the order worker does. What is not answered is asked again.
pub(super) async fn pay(platform: &Platform, orders: &[Uuid]) -> anyhow::Result<()> {
    let client = client_as(platform, "order-worker")?;
    for batch in orders.chunks(BATCH) {
        let order =
            |id: &Uuid| PaymentOrder { order_id: id.to_string(), traceparent: String::new() };
        let request = CreatePaymentsRequest {
            request_id: Uuid::new_v4().to_string(),
            orders: batch.iter().map(order).collect(),
        };
        until_some(RECORDED_WITHIN, "payments are recorded", async || {
            client.clone().create_payments(timely(request.clone())).await.map(Some)
        })
        .await?;
    }
    Ok(())
}

/// Waits until no payment and no refund of a sale is under way, and the record has what the
/// provider's log has. That it does not come to that is said by what is counted then.
pub(super) async fn settle(platform: &Platform, sale: &Sale, figures: &mut Figures) {
    let settled = until_some(SETTLED_WITHIN, "all money is settled", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM payments p LEFT JOIN refunds r USING (order_id)
             WHERE p.sale_id = $1
                AND (p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION') OR r.state IN ('DUE', 'PENDING'))",
        )
        .bind(sale.id)
        .fetch_one(&platform.pool)
        .await?;
        ensure!(open == 0, "{open} are not");
        let difference: i64 = accounts(platform, sale).await?.iter().map(Account::difference).sum();
        ensure!(difference == 0, "the record and the provider differ by {difference}");
        anyhow::Ok(Some(()))
    });
    if let Err(error) = settled.await {
        figures.broken.push(format!("sale {}: {error:#}", sale.id));
    }
}

/// An order by the record, beside its money by the provider's log.
#[derive(Debug)]
struct Account {
    order: Uuid,
    state: String,
    end_reason: Option<String>,
    card: String,
    /// What was captured and did not go back, by the record.
    recorded: i64,
    /// The same by the provider.
    kept: i64,
    intents: BTreeSet<String>,
    captures: u64,
}

impl Account {
    /// By how much the record is wrong about the money.
    fn difference(&self) -> i64 {
        (self.kept - self.recorded).abs()
    }

    /// Whether it was paid, also if its money went back later.
    fn is_paid(&self) -> bool {
        matches!(self.state.as_str(), "CONFIRMED" | "REFUNDED")
    }

    fn has_ended(&self) -> bool {
        self.is_paid() || matches!(self.state.as_str(), "DECLINED" | "CANCELLED")
    }

    /// Whether its card is taken without its owner.
    fn has_a_good_card(&self) -> bool {
        !self.card.contains("Declined")
            && !self.card.contains("authentication")
            && !self.card.contains("threeDSecure")
    }
}

/// All orders of a sale.
async fn accounts(platform: &Platform, sale: &Sale) -> anyhow::Result<Vec<Account>> {
    let rows = sqlx::query(
        "SELECT o.order_id, o.state, o.end_reason, o.payment_method,
            coalesce(p.captured_minor - p.refunded_minor, 0) AS recorded
         FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id
         WHERE o.sale_id = $1",
    )
    .bind(sale.id)
    .fetch_all(&platform.pool)
    .await?;
    let mut accounts = BTreeMap::new();
    for row in &rows {
        let account = Account {
            order: row.try_get("order_id")?,
            state: row.try_get("state")?,
            end_reason: row.try_get("end_reason")?,
            card: row.try_get("payment_method")?,
            recorded: row.try_get("recorded")?,
            kept: 0,
            intents: BTreeSet::new(),
            captures: 0,
        };
        accounts.insert(account.order, account);
    }
    for fact in facts(platform)? {
        let Some(account) = fact.order_id.and_then(|order| accounts.get_mut(&order)) else {
            continue;
        };
        match fact.kind.as_str() {
            "payment_intent.captured" => {
                account.captures += 1;
                account.kept += fact.amount;
            }
            "payment_intent.refunded" => account.kept -= fact.amount,
            "payment_intent.refund_failed" => account.kept += fact.amount,
            _ => {}
        }
        account.intents.insert(fact.payment_intent);
    }
    Ok(accounts.into_values().collect())
}

/// Counts what of the orders of a sale must not be.
pub(super) async fn count(
    platform: &Platform,
    sale: &Sale,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let accounts = accounts(platform, sale).await?;
    let mut named = Vec::new();
    let mut wrong = |name: &'static str, is: &dyn Fn(&Account) -> i64| {
        let mut sum = 0;
        for account in &accounts {
            let amount = is(account);
            sum += amount;
            if amount != 0 {
                named.push(format!("{name}: {account:?}"));
            }
        }
        figures.wrong(name, sum);
    };
    wrong("double_captures", &|account| i64::from(account.captures > 1));
    wrong("money_difference_minor", &Account::difference);
    wrong("unrefunded_orphans", &|account| {
        i64::from(account.has_ended() && !account.is_paid() && account.kept > 0)
    });
    wrong("orders_lost", &|account| i64::from(!account.has_ended()));
    wrong("second_intents", &|account| i64::from(account.intents.len() > 1));
    wrong("given_up_while_waiting", &|account| {
        i64::from(account.end_reason.as_deref() == Some("provider_unavailable"))
    });
    wrong("declined_without_a_card", &|account| {
        i64::from(account.state == "DECLINED" && account.has_a_good_card())
    });
    let more = named.len().saturating_sub(NAMED);
    figures.broken.extend(named.into_iter().take(NAMED));
    figures.expect(more == 0, || format!("and {more} more orders"));
    for account in &accounts {
        figures.expect(account.kept >= 0, || {
            format!("order {}: {} more went back than was taken", account.order, -account.kept)
        });
    }
    let stuck: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM payments
         WHERE sale_id = $1 AND failures >= $2 AND state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')",
    )
    .bind(sale.id)
    .bind(STUCK_AFTER)
    .fetch_one(&platform.pool)
    .await?;
    figures.wrong("stuck", stuck);
    Ok(())
}

/// Has the auditor hold the record of a sale against the provider's own log.
pub(super) async fn audit_money(
    platform: &Platform,
    sale: &Sale,
    promises: &[Invariant],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut options = platform.audit_options(sale);
    options.stripe_log = Some(platform.provider()?.log().to_owned());
    let report = audit(&options).await;
    figures.expect(report.verdict != Verdict::Unread, || format!("not audited: {report}"));
    for promise in promises {
        let named = report.violations(*promise).into_iter();
        figures.broken.extend(named.map(|what| format!("{}: {what}", promise.name())));
    }
    Ok(())
}
