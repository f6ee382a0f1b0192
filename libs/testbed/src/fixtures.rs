//! Sales, orders and payments that are written into the record past the services, each as its
//! service writes it.

use std::collections::HashMap;

use flashsale_queue::{FIRST_PRICE_REVISION, Line, OrderMessage};
use flashsale_record::OrderDetails;
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// The properties of a recorded sale.
#[derive(Debug, Clone, Copy)]
pub struct SaleSpec {
    pub name: &'static str,
    pub state: &'static str,
    /// From now.
    pub starts_in_ms: i64,
    /// From now.
    pub ends_in_ms: i64,
    pub hold_ms: i64,
    /// Whether a waiting room stands in front of it.
    pub room: bool,
    /// Admissions per second, if there is a room. They last a minute.
    pub room_rate: f64,
    /// Whether the other services count as told; otherwise the sale service tells them.
    pub propagated: bool,
    /// The code of every price's currency.
    pub currency: &'static str,
}

impl Default for SaleSpec {
    fn default() -> Self {
        Self {
            name: "Sale",
            state: "OPEN",
            starts_in_ms: -60_000,
            ends_in_ms: 3_600_000,
            hold_ms: 600_000,
            room: false,
            room_rate: 10.0,
            propagated: false,
            currency: "EUR",
        }
    }
}

/// An item of a recorded sale.
#[derive(Debug, Clone)]
pub struct SaleItem {
    pub sku: String,
    pub title: String,
    pub units: i64,
    /// The most of it that one buyer gets; 0 if there is no limit.
    pub limit: i64,
    pub price_minor: i64,
}

/// From (sku, units, limit, price).
impl From<&(&str, i64, i64, i64)> for SaleItem {
    fn from((sku, units, limit, price_minor): &(&str, i64, i64, i64)) -> Self {
        Self {
            sku: (*sku).to_owned(),
            title: (*sku).to_owned(),
            units: *units,
            limit: *limit,
            price_minor: *price_minor,
        }
    }
}

/// Records a sale.
///
/// # Errors
/// If the record refuses it, or does not answer.
pub async fn record_sale(
    pool: &PgPool,
    spec: SaleSpec,
    items: impl IntoIterator<Item = SaleItem>,
) -> sqlx::Result<Uuid> {
    let sale_id = Uuid::new_v4();
    sqlx::query(
        "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms,
             version, propagated_version)
         VALUES ($1, $2, $10, $3, now() + $4 * interval '1 ms', now() + $5 * interval '1 ms', $6, $7, $8, 1, $9)",
    )
    .bind(sale_id)
    .bind(spec.name)
    .bind(spec.state)
    .bind(spec.starts_in_ms as f64)
    .bind(spec.ends_in_ms as f64)
    .bind(spec.hold_ms)
    .bind(spec.room.then_some(spec.room_rate))
    .bind(spec.room.then_some(60_000_i64))
    .bind(i64::from(spec.propagated))
    .bind(spec.currency)
    .execute(pool)
    .await?;
    let (mut skus, mut titles) = (Vec::new(), Vec::new());
    let (mut units, mut limits, mut prices) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        skus.push(item.sku);
        titles.push(item.title);
        units.push(item.units);
        limits.push(item.limit);
        prices.push(item.price_minor);
    }
    sqlx::query(
        "INSERT INTO sale_items (sale_id, sku, title, price_minor, quantity, per_buyer_limit)
         SELECT $1, sku, title, price, units, lim
           FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS i (sku, title, units, lim, price)",
    )
    .bind(sale_id)
    .bind(skus)
    .bind(titles)
    .bind(units)
    .bind(limits)
    .bind(prices)
    .execute(pool)
    .await?;
    Ok(sale_id)
}

/// A revision of a sale's prices.
#[derive(Debug, Clone, Copy)]
pub struct PriceRevision<'a> {
    /// 2 or later.
    pub revision: i64,
    /// From when on units are taken at it; `None` while that is not known.
    pub switches_at: Option<OffsetDateTime>,
    /// The revision that has replaced it before it took effect.
    pub replaced_by: Option<i64>,
    /// What it changes, as (sku, price of one).
    pub prices: &'a [(&'a str, i64)],
}

/// Records a revision of a sale's prices, as the sale service does.
///
/// # Errors
/// If the record refuses it, or does not answer.
pub async fn record_price_revision(
    pool: &PgPool,
    sale_id: Uuid,
    revision: PriceRevision<'_>,
) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO price_revisions (sale_id, revision, effective_at, switches_at, replaced_by)
         VALUES ($1, $2, coalesce($3, now()), $3, $4)",
    )
    .bind(sale_id)
    .bind(revision.revision)
    .bind(revision.switches_at)
    .bind(revision.replaced_by)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO sale_prices (sale_id, sku, revision, price_minor, per_buyer_limit)
         SELECT $1, sku, $2, price, 0 FROM unnest($3::text[], $4::bigint[]) AS p (sku, price)",
    )
    .bind(sale_id)
    .bind(revision.revision)
    .bind(column(revision.prices, |(sku, _)| *sku))
    .bind(column(revision.prices, |(_, price)| *price))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Records that the stock of a sale was loaded in this epoch, all of its units.
///
/// # Errors
/// If the record refuses it, or does not answer.
pub async fn record_stock(pool: &PgPool, sale_id: Uuid, epoch: i64) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO sale_stock (sale_id, epoch, run_id) VALUES ($1, $2, 'run')")
        .bind(sale_id)
        .bind(epoch)
        .execute(pool)
        .await?;
    sqlx::query(
        "INSERT INTO allotments (sale_id, sku, allotted)
         SELECT sale_id, sku, quantity FROM sale_items WHERE sale_id = $1",
    )
    .bind(sale_id)
    .execute(pool)
    .await?;
    Ok(())
}

/// A recorded order in euros, without lines unless they are set.
#[derive(Debug, Clone)]
pub struct OrderSpec<'a> {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    pub buyer_id: &'a str,
    pub hold_id: Uuid,
    pub epoch: i64,
    pub admission_id: Option<&'a str>,
    pub request_id: Uuid,
    pub request_hash: &'a str,
    pub state: &'a str,
    pub currency: &'a str,
    pub total_minor: i64,
    /// What it carries besides its lines.
    pub details: OrderDetails,
    /// Now unless it is set.
    pub placed_at: Option<OffsetDateTime>,
    /// How long ago it was last changed.
    pub updated_ms_ago: f64,
    /// (sku, quantity, price of one).
    pub lines: Vec<(&'a str, i64, i64)>,
    /// By sku, the revision of its price; the first for those that are missing.
    pub price_revisions: HashMap<&'a str, i64>,
    /// Whether its units are taken out of what is allotted.
    pub takes_units: bool,
}

impl<'a> OrderSpec<'a> {
    /// An order that has just been claimed in the first epoch, with ids of its own.
    pub fn new(sale_id: Uuid, buyer_id: &'a str) -> Self {
        Self {
            order_id: Uuid::new_v4(),
            sale_id,
            buyer_id,
            hold_id: Uuid::new_v4(),
            epoch: 1,
            admission_id: None,
            request_id: Uuid::new_v4(),
            request_hash: "",
            state: "CLAIMED",
            currency: "EUR",
            total_minor: 0,
            details: OrderDetails::default(),
            placed_at: None,
            updated_ms_ago: 0.0,
            lines: Vec::new(),
            price_revisions: HashMap::new(),
            takes_units: false,
        }
    }

    /// The order of a message of the queue, as the claims record it, but without taking its units.
    ///
    /// # Panics
    /// If it was placed at a time that no date has.
    pub fn of(order: &'a OrderMessage) -> Self {
        let line = |line: &'a Line| (line.sku.as_str(), line.quantity, line.unit_price_minor);
        Self {
            order_id: order.order_id,
            hold_id: order.hold_id,
            epoch: order.epoch,
            admission_id: order.admission_id.as_deref(),
            request_id: order.request_id,
            request_hash: &order.request_hash,
            currency: &order.currency,
            total_minor: order.total_minor,
            details: order.details.clone(),
            placed_at: Some(
                OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(order.placed_at_ms),
            ),
            lines: order.lines.iter().map(line).collect(),
            price_revisions: order
                .lines
                .iter()
                .map(|line| (line.sku.as_str(), line.price_revision))
                .collect(),
            ..Self::new(order.sale_id, &order.buyer_id)
        }
    }
}

/// How many orders one statement records.
const PAGE: usize = 5_000;

/// Records an order with its lines.
///
/// # Errors
/// If the record refuses it, or does not answer; then nothing of it is recorded.
pub async fn record_order(pool: &PgPool, order: &OrderSpec<'_>) -> sqlx::Result<()> {
    record_orders(pool, std::slice::from_ref(order)).await
}

/// Records orders with their lines.
///
/// # Errors
/// If the record refuses one of them, or does not answer; then none is recorded.
pub async fn record_orders(pool: &PgPool, orders: &[OrderSpec<'_>]) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    record_orders_on(&mut transaction, orders).await?;
    transaction.commit().await
}

/// As [`record_orders`], within a transaction of the caller.
///
/// # Errors
/// If the record refuses one of them, or does not answer.
pub async fn record_orders_on(
    transaction: &mut PgConnection,
    orders: &[OrderSpec<'_>],
) -> sqlx::Result<()> {
    for page in orders.chunks(PAGE) {
        record_page(transaction, page).await?;
        record_lines(transaction, page).await?;
    }
    Ok(())
}

/// One column of a page of rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

async fn record_page(connection: &mut PgConnection, orders: &[OrderSpec<'_>]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO orders (order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state,
             currency, total_minor, email, contact_name, payment_method, locale, placed_at, updated_at)
         SELECT order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state, currency,
             total_minor, email, contact_name, payment_method, locale, coalesce(placed_at, now()),
             now() - updated_ms_ago * interval '1 ms'
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::uuid[], $8::text[],
             $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::text[], $15::text[],
             $16::timestamptz[], $17::float8[])
             AS o (order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state, currency,
             total_minor, email, contact_name, payment_method, locale, placed_at, updated_ms_ago)",
    )
    .bind(column(orders, |order| order.order_id))
    .bind(column(orders, |order| order.sale_id))
    .bind(column(orders, |order| order.buyer_id))
    .bind(column(orders, |order| order.hold_id))
    .bind(column(orders, |order| order.epoch))
    .bind(column(orders, |order| order.admission_id))
    .bind(column(orders, |order| order.request_id))
    .bind(column(orders, |order| order.request_hash))
    .bind(column(orders, |order| order.state))
    .bind(column(orders, |order| order.currency))
    .bind(column(orders, |order| order.total_minor))
    .bind(column(orders, |order| order.details.email.as_str()))
    .bind(column(orders, |order| order.details.contact_name.as_str()))
    .bind(column(orders, |order| order.details.payment_method.as_str()))
    .bind(column(orders, |order| order.details.locale.as_str()))
    .bind(column(orders, |order| order.placed_at))
    .bind(column(orders, |order| order.updated_ms_ago))
    .execute(connection)
    .await?;
    Ok(())
}

async fn record_lines(connection: &mut PgConnection, orders: &[OrderSpec<'_>]) -> sqlx::Result<()> {
    let lines: Vec<_> = orders
        .iter()
        .flat_map(|order| order.lines.iter().map(move |line| (order, *line)))
        .collect();
    sqlx::query(
        "WITH lines AS (
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bool[])
                 AS l (order_id, sale_id, sku, quantity, unit_price_minor, price_revision, takes_units)
         ), taken AS (
             SELECT sale_id, sku, sum(quantity) AS units FROM lines WHERE takes_units GROUP BY sale_id, sku
         ), locked AS (
             -- In one order for all who record orders of a sale.
             SELECT sale_id, sku, units FROM allotments a JOIN taken USING (sale_id, sku)
              ORDER BY sale_id, sku FOR UPDATE OF a
         ), recorded AS (
             INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor, price_revision)
             SELECT order_id, sku, quantity, unit_price_minor, price_revision FROM lines
         )
         UPDATE allotments a SET claimed = claimed + units FROM locked
          WHERE a.sale_id = locked.sale_id AND a.sku = locked.sku",
    )
    .bind(column(&lines, |(order, _)| order.order_id))
    .bind(column(&lines, |(order, _)| order.sale_id))
    .bind(column(&lines, |(_, (sku, _, _))| *sku))
    .bind(column(&lines, |(_, (_, quantity, _))| *quantity))
    .bind(column(&lines, |(_, (_, _, price))| *price))
    .bind(column(&lines, |(order, (sku, _, _))| {
        order.price_revisions.get(sku).copied().unwrap_or(FIRST_PRICE_REVISION)
    }))
    .bind(column(&lines, |(order, _)| order.takes_units))
    .execute(connection)
    .await?;
    Ok(())
}

/// A recorded payment.
#[derive(Debug, Clone, Copy)]
pub struct PaymentSpec<'a> {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    pub state: &'a str,
    pub currency: &'a str,
    pub amount_minor: i64,
    pub payment_method: &'a str,
    pub decline_code: Option<&'a str>,
}

/// Records the payment of an order, or changes the state of the one that is recorded.
///
/// # Errors
/// If the record refuses it, or does not answer.
pub async fn record_payment(pool: &PgPool, payment: PaymentSpec<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, decline_code)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (order_id) DO UPDATE SET state = $3, decline_code = $7, updated_at = now()",
    )
    .bind(payment.order_id)
    .bind(payment.sale_id)
    .bind(payment.state)
    .bind(payment.currency)
    .bind(payment.amount_minor)
    .bind(payment.payment_method)
    .bind(payment.decline_code)
    .execute(pool)
    .await?;
    Ok(())
}

/// A recorded refund.
#[derive(Debug, Clone, Copy)]
pub struct RefundSpec<'a> {
    pub refund_id: Uuid,
    pub order_id: Uuid,
    pub state: &'a str,
    pub amount_minor: i64,
}

/// Records a refund of a recorded payment, or changes the state of the one that is recorded. The
/// payment has what is back then; its state stays.
///
/// # Errors
/// If the record refuses it, or does not answer.
pub async fn record_refund(pool: &PgPool, refund: RefundSpec<'_>) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO refunds (refund_id, order_id, intent_id, is_rest, state, amount_minor, reason, provider_ref, done_at)
         SELECT $1, order_id, coalesce(intent_id, 'pi_' || order_id), false, $3, $4, 'requested_by_customer', 're_' || $1::uuid,
             CASE WHEN $3 = 'DONE' THEN now() END
           FROM payments WHERE order_id = $2
         ON CONFLICT (refund_id) DO UPDATE SET state = $3, done_at = CASE WHEN $3 = 'DONE' THEN now() END",
    )
    .bind(refund.refund_id)
    .bind(refund.order_id)
    .bind(refund.state)
    .bind(refund.amount_minor)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "UPDATE payments SET refunded_minor =
             (SELECT coalesce(sum(amount_minor), 0) FROM refunds WHERE order_id = $1 AND state = 'DONE')
         WHERE order_id = $1",
    )
    .bind(refund.order_id)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
