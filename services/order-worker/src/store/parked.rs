//! Parked orders: taken under a lease sale by sale, and recorded once somebody can tell what became
//! of their units.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use flashsale_failpoint::Step as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    claims::{self, Received},
    lock_stock,
    outbox::{self, millis},
    position::signed,
};
use crate::domain::{Answers, Kind, OrderState, PlacedOrder, Standing, Straggler, decide_parked};

/// A sale with parked orders that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueSale {
    /// The sale.
    pub sale_id: Uuid,
    /// Whether the marker of its standing epoch is not passed: then its orders are claimed without
    /// asking. Looked at again under a lock.
    pub marker_ahead: bool,
    /// The epoch of the latest marker that the claims have come past.
    pub passed: Option<i64>,
}

/// A parked order as it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The order.
    pub order_id: Uuid,
    /// The sequence number of its message.
    pub seq: i64,
    /// The body of the message.
    pub message: String,
    /// The trace of its claim.
    pub traceparent: Option<String>,
    /// How often it was taken, this time included.
    pub attempts: u32,
    /// Whether it has a row in the record already, which is no dead letter's.
    pub recorded: bool,
}

/// A parked order that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The order.
    pub order: PlacedOrder,
    /// The trace of its claim.
    pub traceparent: Option<String>,
}

/// What a transaction did to parked orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Where those that entered the record stand, and when each was placed.
    pub entered: Vec<(OrderState, OffsetDateTime)>,
    /// The kinds of consequences that have become due.
    pub kinds: HashSet<Kind>,
    /// Those that go on waiting.
    pub waiting: Vec<Uuid>,
}

/// What is known of all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// How many there are.
    pub orders: i64,
    /// Since the oldest was parked, in seconds; 0 without any.
    pub oldest_s: f64,
}

/// Parks the orders of these messages, in the transaction that moves the position past them.
pub(super) async fn insert(
    connection: &mut PgConnection,
    parked: &[(&Received, &Straggler)],
) -> Result<(), sqlx::Error> {
    if parked.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = parked.iter().map(|(_, straggler)| straggler.order_id).collect();
    let sales: Vec<Uuid> = parked.iter().map(|(_, straggler)| straggler.sale_id).collect();
    let seqs: Vec<i64> = parked.iter().map(|(_, straggler)| signed(straggler.seq)).collect();
    // What was read as JSON is UTF-8.
    let messages: Vec<_> =
        parked.iter().map(|(message, _)| String::from_utf8_lossy(&message.payload)).collect();
    let messages: Vec<&str> = messages.iter().map(AsRef::as_ref).collect();
    let traces: Vec<Option<&str>> =
        parked.iter().map(|(message, _)| message.traceparent.as_deref()).collect();
    sqlx::query_file!(
        "sql/parked_insert.sql",
        &orders,
        &sales,
        &seqs,
        &messages as _,
        &traces as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks those of `orders` that are parked, and answers which they are.
pub(super) async fn lock(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if orders.is_empty() {
        return Ok(HashSet::new());
    }
    let rows =
        sqlx::query_file_scalar!("sql/parked_lock.sql", orders).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// Removes `orders`, which are locked already.
pub(super) async fn delete(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<(), sqlx::Error> {
    if !orders.is_empty() {
        sqlx::query_file!("sql/parked_delete.sql", orders).execute(connection).await?;
    }
    Ok(())
}

/// Sales whose parked orders can be looked at, at most `limit`, the longest due first; none of
/// `except`.
///
/// # Errors
/// When Postgres does not answer.
pub async fn due_sales(
    pool: &PgPool,
    except: &[Uuid],
    limit: usize,
) -> Result<Vec<DueSale>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query_file!("sql/parked_sales.sql", except, limit)
        .fetch_all(pool)
        .step("sql/parked_sales")
        .await?;
    let due = rows.into_iter().map(|row| DueSale {
        sale_id: row.sale_id,
        marker_ahead: row.marker_ahead,
        passed: row.passed,
    });
    Ok(due.collect())
}

/// Takes up to `limit` parked orders of `sale`, the longest parked first. Nobody else is to get
/// them until `lease` has passed.
///
/// # Errors
/// When Postgres does not answer.
pub async fn lease(
    pool: &PgPool,
    sale: DueSale,
    limit: usize,
    lease: Duration,
) -> Result<Vec<Row>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query_file!(
        "sql/parked_lease.sql",
        sale.sale_id,
        limit,
        millis(lease),
        sale.marker_ahead
    )
    .fetch_all(pool)
    .step("sql/parked_lease")
    .await?;
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|row| Row {
            order_id: row.order_id,
            seq: row.seq,
            message: row.message,
            traceparent: row.traceparent,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            recorded: row.recorded,
        })
        .collect();
    // First come, first served, also where the stock has too few units for all.
    rows.sort_unstable_by_key(|row| row.seq);
    Ok(rows)
}

/// Has nobody look at parked orders of a sale for `pause`: at those that were taken and go on
/// `waiting`, and with `whole_sale` at none of it.
///
/// # Errors
/// When Postgres does not answer; those that were taken come up again after their lease.
pub async fn put_off(
    pool: &PgPool,
    sale_id: Uuid,
    pause: Duration,
    waiting: &[Uuid],
    whole_sale: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/parked_put_off.sql", sale_id, millis(pause), waiting, whole_sale)
        .execute(pool)
        .step("sql/parked_put_off")
        .await?;
    Ok(())
}

/// Records what can be told of parked `orders` of one sale, in one transaction. A parked order that
/// Postgres refuses to record keeps none of the others waiting: it stays parked.
///
/// # Errors
/// When Postgres does not answer.
pub async fn settle(
    pool: &PgPool,
    sale_id: Uuid,
    orders: &[Parked],
    answers: &Answers,
) -> Result<Settled, sqlx::Error> {
    let error = match settle_together(pool, sale_id, orders, answers).await {
        Ok(settled) => return Ok(settled),
        Err(error) => error,
    };
    if claims::refused_content(&error).is_none() {
        return Err(error);
    }
    let mut total = Settled::default();
    for parked in orders {
        let id = parked.order.order_id;
        match settle_together(pool, sale_id, std::slice::from_ref(parked), answers).await {
            Ok(settled) => {
                total.entered.extend(settled.entered);
                total.kinds.extend(settled.kinds);
                total.waiting.extend(settled.waiting);
            }
            Err(error) => {
                let Some(state) = claims::refused_content(&error) else { return Err(error) };
                tracing::error!(%sale_id, order_id = %id, state, "Postgres refuses a parked order");
                total.waiting.push(id);
            }
        }
    }
    Ok(total)
}

async fn settle_together(
    pool: &PgPool,
    sale_id: Uuid,
    orders: &[Parked],
    answers: &Answers,
) -> Result<Settled, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let settled = settle_in(&mut transaction, sale_id, orders, answers).await?;
        transaction.commit().step("commit/parked").await?;
        Ok(settled)
    })
    .await
}

async fn settle_in(
    connection: &mut PgConnection,
    sale_id: Uuid,
    orders: &[Parked],
    answers: &Answers,
) -> Result<Settled, sqlx::Error> {
    // From here to the commit no epoch is handed out and no marker passed; see the claims, which
    // pass the markers.
    lock_stock(connection, &[sale_id]).await?;
    let standing = sqlx::query_file!("sql/stock_standing.sql", sale_id)
        .fetch_optional(&mut *connection)
        .await?
        .map(|row| Standing { epoch: row.epoch, passed: row.passed });
    let ids: Vec<Uuid> = orders.iter().map(|parked| parked.order.order_id).collect();
    let Some(standing) = standing else {
        return Ok(Settled { waiting: ids, ..Settled::default() });
    };
    let skus: BTreeSet<(Uuid, String)> = orders
        .iter()
        .flat_map(|parked| &parked.order.lines)
        .map(|line| (sale_id, line.sku.clone()))
        .collect();
    let books = claims::read_orders(connection, &skus, &ids).await?;
    let placed = orders.iter().map(|parked| parked.order.clone()).collect();
    let decision = decide_parked(placed, books, standing, answers);
    let traces: HashMap<Uuid, &str> = orders
        .iter()
        .filter_map(|parked| Some((parked.order.order_id, parked.traceparent.as_deref()?)))
        .collect();

    let entered = claims::enter(connection, &decision.births, &traces).await?;
    entered.follow(connection).await?;
    // Whether this attempt or an earlier one, whose answer was lost, had units taken for them:
    // closing a hold that has none is harmless.
    let again = outbox::close_again(connection, &decision.yielded).await?;
    entered.resolve_letters(connection, &[]).await?;
    let mut over = decision.yielded;
    over.extend(entered.births().iter().map(|birth| birth.order.order_id));
    delete(connection, &over).await?;

    let mut kinds: HashSet<Kind> = entered.kinds().collect();
    if again > 0 {
        kinds.insert(Kind::CloseHold);
    }
    Ok(Settled {
        entered: entered
            .births()
            .iter()
            .map(|birth| (birth.state(), birth.order.placed_at))
            .collect(),
        kinds,
        waiting: decision.waiting,
    })
}

/// How many orders are parked, and for how long.
///
/// # Errors
/// When Postgres does not answer.
pub async fn backlog(pool: &PgPool) -> Result<Backlog, sqlx::Error> {
    let row =
        sqlx::query_file!("sql/parked_ages.sql").fetch_one(pool).step("sql/parked_ages").await?;
    Ok(Backlog { orders: row.parked, oldest_s: row.oldest_s })
}
