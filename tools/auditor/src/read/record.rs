//! The record in Postgres, as of one instant.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::Context as _;
use sqlx::{
    Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgRow},
};
use uuid::Uuid;

use super::{FIRST_REVISION, Line, Price, local_ms};
use crate::Options;

#[derive(Debug)]
pub(crate) struct Record {
    /// Postgres's clock.
    pub(crate) now_ms: i64,
    /// How far Postgres's clock is ahead of this machine's, in ms.
    pub(crate) ahead_ms: i64,
    pub(crate) currency: String,
    /// The configured rate in buyers per second, if the sale has a room.
    pub(crate) room_rate: Option<f64>,
    pub(crate) epoch: Option<i64>,
    /// The longest that a hold of it was ever made for, in ms.
    pub(crate) longest_hold_ms: i64,
    pub(crate) allotments: BTreeMap<String, Allotment>,
    /// What each sku costs, by sku and by those revisions of the sale's prices that change it.
    pub(crate) prices: BTreeMap<String, BTreeMap<i64, Price>>,
    /// The revisions after the first.
    pub(crate) price_revisions: BTreeMap<i64, PriceRevision>,
    pub(crate) room: Option<RoomRow>,
    pub(crate) orders: BTreeMap<Uuid, Order>,
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) payments: BTreeMap<Uuid, Payment>,
    /// By order.
    pub(crate) refunds: BTreeMap<Uuid, Vec<Refund>>,
    /// The ledger's rows, by order.
    pub(crate) moves: BTreeMap<Uuid, Vec<Move>>,
    /// The journal of adjustments, by request.
    pub(crate) adjustments: BTreeMap<Uuid, Adjustment>,
    /// When the stream that the claims count in was created (µs), and the last claimed number.
    pub(crate) position: Option<(i64, i64)>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Those of the mentioned orders that belong to other sales.
    pub(crate) strangers: BTreeSet<Uuid>,
}

#[derive(Debug)]
pub(crate) struct Allotment {
    pub(crate) allotted: i64,
    pub(crate) claimed: i64,
    /// The units at the start of the sale.
    pub(crate) at_first: i64,
}

#[derive(Debug)]
pub(crate) struct PriceRevision {
    /// From when on units are taken at it, by the clock of the Redis that it was put into.
    pub(crate) switches_ms: Option<i64>,
    /// A later one has taken its place before it took effect.
    pub(crate) is_replaced: bool,
}

#[derive(Debug)]
pub(crate) struct Adjustment {
    pub(crate) sku: String,
    pub(crate) units: i64,
    pub(crate) state: String,
}

#[derive(Debug)]
pub(crate) struct RoomRow {
    pub(crate) rate: f64,
    pub(crate) reserved_upto: i64,
    pub(crate) head: i64,
    pub(crate) created_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) buyer: String,
    pub(crate) hold: Uuid,
    pub(crate) epoch: i64,
    /// By the clock of the Redis that it was placed in.
    pub(crate) placed_ms: i64,
    pub(crate) admission: Option<String>,
    pub(crate) request: Uuid,
    pub(crate) state: String,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    /// The provider's token.
    pub(crate) payment_method: String,
    pub(crate) end_reason: Option<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) path: Vec<Step>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    /// By Postgres's clock.
    pub(crate) at_ms: i64,
}

impl Order {
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state.as_str(), "CONFIRMED" | "DECLINED" | "CANCELLED" | "REFUNDED")
    }

    /// Whether its row has only what could be read of a broken message: a dead letter, never
    /// claimed, with neither lines nor a total.
    pub(crate) fn is_bare(&self) -> bool {
        self.path.first().is_some_and(|first| first.to == "DEAD_LETTER")
            && !self.path.iter().any(|step| step.to == "CLAIMED")
            && self.lines.is_empty()
            && self.total_minor == 0
    }

    /// Whether it ended with its units sold.
    pub(crate) fn is_sold(&self) -> bool {
        matches!(self.state.as_str(), "CONFIRMED" | "REFUNDED")
    }

    /// Whether its units count as claimed.
    pub(crate) fn is_claimed(&self) -> bool {
        !matches!(self.state.as_str(), "DECLINED" | "CANCELLED")
    }

    pub(crate) fn units(&self, sku: &str) -> i64 {
        self.lines.iter().filter(|line| line.sku == sku).map(|line| line.quantity).sum()
    }
}

#[derive(Debug)]
pub(crate) struct OutboxRow {
    pub(crate) order: Uuid,
    pub(crate) kind: String,
    pub(crate) about: String,
    pub(crate) done: bool,
    pub(crate) failed: bool,
}

#[derive(Debug)]
pub(crate) struct Payment {
    pub(crate) state: String,
    /// The provider's token; empty if it was cancelled before it was begun.
    pub(crate) method: String,
    pub(crate) currency: String,
    pub(crate) amount_minor: i64,
    pub(crate) intent: Option<String>,
    pub(crate) captured_minor: i64,
    pub(crate) refunded_minor: i64,
    /// A card of it was refused: its buyer may have paid with another one.
    pub(crate) was_refused: bool,
    /// Its buyer named another card to us.
    pub(crate) was_retried: bool,
}

#[derive(Debug)]
pub(crate) struct Refund {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) amount_minor: i64,
    pub(crate) created_ms: i64,
    pub(crate) done_ms: Option<i64>,
}

impl Refund {
    /// Whether the money is back.
    pub(crate) fn is_done(&self) -> bool {
        self.state == "DONE"
    }
}

/// A move of money at the provider, as the ledger has it.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) kind: String,
    /// The provider's id of what was moved.
    pub(crate) reference: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) at_ms: i64,
}

impl Record {
    /// What a sku costs in a revision; `None` if that does not change it.
    pub(crate) fn price(&self, sku: &str, revision: i64) -> Option<&Price> {
        self.prices.get(sku)?.get(&revision)
    }

    /// Whether revisions after the first change a sku.
    pub(crate) fn is_repriced(&self, sku: &str) -> bool {
        let prices = self.prices.get(sku);
        prices.is_some_and(|prices| prices.keys().any(|revision| *revision != FIRST_REVISION))
    }

    /// The most units of a sku that one buyer may have had at any time; 0 for no limit. Who took
    /// them before a revision lowered it keeps them.
    pub(crate) fn loosest_limit(&self, sku: &str) -> i64 {
        let prices = || self.prices.get(sku).into_iter().flat_map(BTreeMap::values);
        if prices().any(|price| price.per_buyer_limit == 0) {
            return 0;
        }
        prices().map(|price| price.per_buyer_limit).max().unwrap_or(0)
    }

    /// The refunds of an order.
    pub(crate) fn refunds_of(&self, order: &Uuid) -> &[Refund] {
        self.refunds.get(order).map_or(&[], Vec::as_slice)
    }

    /// What of an order's money is back by its refunds, in minor units.
    pub(crate) fn refunded(&self, order: &Uuid) -> i64 {
        let done = self.refunds_of(order).iter().filter(|refund| refund.is_done());
        done.map(|refund| refund.amount_minor).sum()
    }

    /// The ledger's rows of an order.
    pub(crate) fn moves_of(&self, order: &Uuid) -> &[Move] {
        self.moves.get(order).map_or(&[], Vec::as_slice)
    }

    /// When a refund of an order that had been done failed after all, the last time.
    pub(crate) fn undone_ms(&self, order: &Uuid) -> Option<i64> {
        let failures = self.moves_of(order).iter().filter(|row| row.kind == "REFUND_FAILED");
        failures.map(|row| row.at_ms).max()
    }
}

#[derive(Debug)]
pub(crate) struct DeadLetter {
    /// When the stream of its number was created (µs).
    pub(crate) stream_us: i64,
    pub(crate) seq: i64,
    pub(crate) reason: String,
    /// No operator has resolved it, and its deadline has not passed.
    pub(crate) waits: bool,
    /// The sale, if it can be read.
    pub(crate) sale: Option<Uuid>,
}

/// Reads the record in one transaction that cannot write.
pub(crate) async fn read(options: &Options, mentioned: &[Uuid]) -> anyhow::Result<Record> {
    let mut connect: PgConnectOptions = options.postgres.parse().context("the URL")?;
    if let Some(authorities) = &options.client.ca_file {
        connect = connect.ssl_root_cert(authorities);
    }
    if let (Some(cert), Some(key)) = (&options.client.cert_file, &options.client.key_file) {
        connect = connect.ssl_client_cert(cert).ssl_client_key(key);
    }
    let connecting = PgConnection::connect_with(&connect);
    let mut connection = tokio::time::timeout(Duration::from_secs(5), connecting)
        .await
        .context("no connection")??;
    sqlx::query("SET default_transaction_read_only = on").execute(&mut connection).await?;
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
    let record = within(&mut connection, options.sale, mentioned).await?;
    sqlx::query("ROLLBACK").execute(&mut connection).await?;
    connection.close().await.ok();
    Ok(record)
}

async fn within(db: &mut PgConnection, sale: Uuid, mentioned: &[Uuid]) -> anyhow::Result<Record> {
    let before = local_ms();
    let now_ms: i64 =
        sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut *db)
            .await?;
    let ahead_ms = now_ms - (before + local_ms()) / 2;
    let (currency, room_rate, longest_hold_ms): (String, Option<f64>, i64) = sqlx::query_as(
        "SELECT currency, room_rate, GREATEST(hold_ms,
             (SELECT max((c.before->>'hold_ms')::bigint) FROM sale_changes c WHERE c.sale_id = s.sale_id),
             (SELECT max((c.after->>'hold_ms')::bigint) FROM sale_changes c WHERE c.sale_id = s.sale_id))
         FROM sales s WHERE s.sale_id = $1",
    )
    .bind(sale)
    .fetch_optional(&mut *db)
    .await?
    .with_context(|| format!("there is no sale {sale}"))?;
    let epoch = sqlx::query_scalar("SELECT epoch FROM sale_stock WHERE sale_id = $1")
        .bind(sale)
        .fetch_optional(&mut *db)
        .await?;
    Ok(Record {
        now_ms,
        ahead_ms,
        currency,
        room_rate,
        epoch,
        longest_hold_ms,
        allotments: allotments(db, sale).await?,
        prices: prices(db, sale).await?,
        price_revisions: price_revisions(db, sale).await?,
        room: room(db, sale).await?,
        orders: orders(db, sale).await?,
        outbox: outbox(db, sale).await?,
        payments: payments(db, sale).await?,
        refunds: refunds(db, sale).await?,
        moves: moves(db, sale).await?,
        adjustments: adjustments(db, sale).await?,
        position: position(db).await?,
        dead_letters: dead_letters(db).await?,
        strangers: sqlx::query_scalar(
            "SELECT order_id FROM orders WHERE order_id = ANY($1) AND sale_id <> $2",
        )
        .bind(mentioned)
        .bind(sale)
        .fetch_all(&mut *db)
        .await?
        .into_iter()
        .collect(),
    })
}

async fn allotments(
    db: &mut PgConnection,
    sale: Uuid,
) -> anyhow::Result<BTreeMap<String, Allotment>> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT sku, allotted, claimed, COALESCE(quantity, 0)
         FROM allotments LEFT JOIN sale_items USING (sale_id, sku) WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let allotment =
        |(sku, allotted, claimed, at_first)| (sku, Allotment { allotted, claimed, at_first });
    Ok(rows.into_iter().map(allotment).collect())
}

async fn prices(
    db: &mut PgConnection,
    sale: Uuid,
) -> anyhow::Result<BTreeMap<String, BTreeMap<i64, Price>>> {
    let rows: Vec<(String, i64, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT sku, $2::bigint, price_minor, per_buyer_limit, regular_minor FROM sale_items WHERE sale_id = $1
         UNION ALL
         SELECT sku, revision, price_minor, per_buyer_limit, regular_minor FROM sale_prices WHERE sale_id = $1",
    )
    .bind(sale)
    .bind(FIRST_REVISION)
    .fetch_all(&mut *db)
    .await?;
    let mut prices: BTreeMap<String, BTreeMap<i64, Price>> = BTreeMap::new();
    for (sku, revision, minor, per_buyer_limit, regular_minor) in rows {
        let price = Price { minor, per_buyer_limit, regular_minor };
        prices.entry(sku).or_default().insert(revision, price);
    }
    Ok(prices)
}

async fn price_revisions(
    db: &mut PgConnection,
    sale: Uuid,
) -> anyhow::Result<BTreeMap<i64, PriceRevision>> {
    let rows: Vec<(i64, Option<i64>, bool)> = sqlx::query_as(
        "SELECT revision, (extract(epoch FROM switches_at) * 1000)::bigint, replaced_by IS NOT NULL
         FROM price_revisions WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let revision = |(revision, switches_ms, is_replaced)| {
        (revision, PriceRevision { switches_ms, is_replaced })
    };
    Ok(rows.into_iter().map(revision).collect())
}

async fn room(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<Option<RoomRow>> {
    let row: Option<(f64, i64, i64, i64)> = sqlx::query_as(
        "SELECT rate, reserved_upto, head, (extract(epoch FROM created_at) * 1000)::bigint FROM rooms WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_optional(&mut *db)
    .await?;
    Ok(row.map(|(rate, reserved_upto, head, created_ms)| RoomRow {
        rate,
        reserved_upto,
        head,
        created_ms,
    }))
}

async fn orders(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<BTreeMap<Uuid, Order>> {
    let mut lines: HashMap<Uuid, Vec<Line>> = HashMap::new();
    let rows: Vec<(Uuid, String, i64, i64, i64)> = sqlx::query_as(
        "SELECT order_id, sku, quantity, unit_price_minor, price_revision
         FROM order_lines JOIN orders USING (order_id) WHERE sale_id = $1 ORDER BY order_id, sku",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    for (order, sku, quantity, unit_price_minor, price_revision) in rows {
        let line = Line { sku, quantity, unit_price_minor, price_revision };
        lines.entry(order).or_default().push(line);
    }
    let mut paths: HashMap<Uuid, Vec<Step>> = HashMap::new();
    let rows: Vec<(Uuid, Option<String>, String, i64)> = sqlx::query_as(
        "SELECT order_id, from_state, to_state, (extract(epoch FROM at) * 1000)::bigint
         FROM order_transitions JOIN orders USING (order_id) WHERE sale_id = $1 ORDER BY transition_id",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    for (order, from, to, at_ms) in rows {
        paths.entry(order).or_default().push(Step { from, to, at_ms });
    }
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT order_id, buyer_id, hold_id, epoch, (extract(epoch FROM placed_at) * 1000)::bigint AS placed_ms, admission_id,
             request_id, state, currency, total_minor, payment_method, end_reason
         FROM orders WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let mut orders = BTreeMap::new();
    for row in rows {
        let id: Uuid = row.try_get("order_id")?;
        let mut lines = lines.remove(&id).unwrap_or_default();
        lines.sort();
        let order = Order {
            buyer: row.try_get("buyer_id")?,
            hold: row.try_get("hold_id")?,
            epoch: row.try_get("epoch")?,
            placed_ms: row.try_get("placed_ms")?,
            admission: row.try_get("admission_id")?,
            request: row.try_get("request_id")?,
            state: row.try_get("state")?,
            currency: row.try_get("currency")?,
            total_minor: row.try_get("total_minor")?,
            payment_method: row.try_get("payment_method")?,
            end_reason: row.try_get("end_reason")?,
            lines,
            path: paths.remove(&id).unwrap_or_default(),
        };
        orders.insert(id, order);
    }
    Ok(orders)
}

async fn outbox(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<Vec<OutboxRow>> {
    let rows: Vec<(Uuid, String, String, bool, bool)> = sqlx::query_as(
        "SELECT order_id, kind, about, done_at IS NOT NULL, last_error IS NOT NULL
         FROM outbox JOIN orders USING (order_id) WHERE sale_id = $1 ORDER BY outbox_id",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let row = |(order, kind, about, done, failed)| OutboxRow { order, kind, about, done, failed };
    Ok(rows.into_iter().map(row).collect())
}

async fn payments(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<BTreeMap<Uuid, Payment>> {
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT order_id, state, payment_method, currency, amount_minor, intent_id, captured_minor, refunded_minor,
             EXISTS (SELECT FROM payment_attempts a WHERE a.order_id = p.order_id AND a.outcome = 'DECLINED') AS was_refused,
             EXISTS (SELECT FROM payment_attempts a WHERE a.order_id = p.order_id AND a.request_id IS NOT NULL) AS was_retried
         FROM payments p WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let mut payments = BTreeMap::new();
    for row in rows {
        let payment = Payment {
            state: row.try_get("state")?,
            method: row.try_get("payment_method")?,
            currency: row.try_get("currency")?,
            amount_minor: row.try_get("amount_minor")?,
            intent: row.try_get("intent_id")?,
            captured_minor: row.try_get("captured_minor")?,
            refunded_minor: row.try_get("refunded_minor")?,
            was_refused: row.try_get("was_refused")?,
            was_retried: row.try_get("was_retried")?,
        };
        payments.insert(row.try_get("order_id")?, payment);
    }
    Ok(payments)
}

async fn refunds(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<BTreeMap<Uuid, Vec<Refund>>> {
    let rows: Vec<(Uuid, Uuid, String, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT order_id, r.refund_id, r.state, r.amount_minor, (extract(epoch FROM r.created_at) * 1000)::bigint,
             (extract(epoch FROM r.done_at) * 1000)::bigint
         FROM refunds r JOIN payments USING (order_id) WHERE sale_id = $1 ORDER BY r.created_at, r.refund_id",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let mut refunds: BTreeMap<Uuid, Vec<Refund>> = BTreeMap::new();
    for (order, id, state, amount_minor, created_ms, done_ms) in rows {
        let refund = Refund { id, state, amount_minor, created_ms, done_ms };
        refunds.entry(order).or_default().push(refund);
    }
    Ok(refunds)
}

async fn moves(db: &mut PgConnection, sale: Uuid) -> anyhow::Result<BTreeMap<Uuid, Vec<Move>>> {
    let rows: Vec<(Uuid, String, String, i64, String, i64)> = sqlx::query_as(
        "SELECT order_id, m.kind, m.provider_ref, m.amount_minor, m.currency, (extract(epoch FROM m.at) * 1000)::bigint
         FROM money_moves m JOIN orders USING (order_id) WHERE sale_id = $1 ORDER BY m.at, m.kind, m.provider_ref",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let mut moves: BTreeMap<Uuid, Vec<Move>> = BTreeMap::new();
    for (order, kind, reference, amount_minor, currency, at_ms) in rows {
        let row = Move { kind, reference, amount_minor, currency, at_ms };
        moves.entry(order).or_default().push(row);
    }
    Ok(moves)
}

async fn adjustments(
    db: &mut PgConnection,
    sale: Uuid,
) -> anyhow::Result<BTreeMap<Uuid, Adjustment>> {
    let rows: Vec<(Uuid, String, i64, String)> = sqlx::query_as(
        "SELECT request_id, sku, delta, state FROM stock_adjustments WHERE sale_id = $1",
    )
    .bind(sale)
    .fetch_all(&mut *db)
    .await?;
    let adjustment = |(request, sku, units, state)| (request, Adjustment { sku, units, state });
    Ok(rows.into_iter().map(adjustment).collect())
}

async fn position(db: &mut PgConnection) -> anyhow::Result<Option<(i64, i64)>> {
    Ok(sqlx::query_as(
        "SELECT (extract(epoch FROM stream_created) * 1000000)::bigint, seq FROM queue_positions WHERE stream = 'ORDERS'",
    )
    .fetch_optional(&mut *db)
    .await?)
}

async fn dead_letters(db: &mut PgConnection) -> anyhow::Result<Vec<DeadLetter>> {
    let rows: Vec<(i64, i64, String, Vec<u8>, bool)> = sqlx::query_as(
        "SELECT (extract(epoch FROM stream_created) * 1000000)::bigint, seq, reason, payload, resolved_at IS NULL
         FROM dead_letters ORDER BY dead_letter_id",
    )
    .fetch_all(&mut *db)
    .await?;
    let letter = |(stream_us, seq, reason, payload, waits): (i64, i64, String, Vec<u8>, bool)| {
        let sale = serde_json::from_slice::<serde_json::Value>(&payload)
            .ok()
            .and_then(|body| body.get("sale_id")?.as_str()?.parse().ok());
        DeadLetter { stream_us, seq, reason, sale, waits }
    };
    Ok(rows.into_iter().map(letter).collect())
}
