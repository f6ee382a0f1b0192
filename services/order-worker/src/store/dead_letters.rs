//! Dead letters: what the claims could not record, and how it ends.

use std::collections::HashSet;

use flashsale_failpoint::Step as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Step, change_states, insert_consequences, insert_steps};
use crate::domain::{Change, Consequence, EndReason, Kind, Occurrence, OrderState, consequences};

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its order was recorded after all, or put aside once more under a younger letter.
    Retried,
    /// Somebody gave it up.
    Dropped,
    /// Nobody decided in time.
    Expired,
    /// Its buyer cancelled the order.
    Cancelled,
}

impl Resolution {
    /// Every resolution there is.
    pub const ALL: [Self; 4] = [Self::Retried, Self::Dropped, Self::Expired, Self::Cancelled];

    /// Its name in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retried => "RETRIED",
            Self::Dropped => "DROPPED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.as_str() == name)
    }
}

/// A message that could not be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// Its place in the queue.
    pub seq: i64,
    /// Why.
    pub reason: String,
    /// The order that it places, as far as that can be read.
    pub order_id: Option<Uuid>,
    /// The order's sale, as far as that can be read.
    pub sale_id: Option<Uuid>,
    /// When it was put aside.
    pub at: OffsetDateTime,
    /// When it is given up.
    pub review_by: OffsetDateTime,
    /// What became of it and when.
    pub resolved: Option<(Resolution, OffsetDateTime)>,
}

macro_rules! letter {
    ($row:expr) => {
        Letter {
            id: $row.dead_letter_id,
            seq: $row.seq,
            reason: $row.reason,
            order_id: $row.order_id,
            sale_id: $row.sale_id,
            at: $row.at,
            review_by: $row.review_by,
            resolved: $row.resolution.as_deref().and_then(Resolution::parse).zip($row.resolved_at),
        }
    };
}

/// At most `limit` letters, newest first, from behind number `after`: of one sale or of all, those that wait or all.
///
/// # Errors
/// When Postgres does not answer.
pub async fn list(
    pool: &PgPool,
    sale_id: Option<Uuid>,
    resolved_too: bool,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Letter>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/dead_letters_list.sql", sale_id, resolved_too, after, limit)
        .fetch_all(pool)
        .step("sql/dead_letters_list")
        .await?;
    Ok(rows.into_iter().map(|row| letter!(row)).collect())
}

/// A letter and its message.
///
/// # Errors
/// When Postgres does not answer.
pub async fn find(pool: &PgPool, id: i64) -> Result<Option<(Letter, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query_file!("sql/dead_letter.sql", id)
        .fetch_optional(pool)
        .step("sql/dead_letter")
        .await?;
    Ok(row.map(|row| (letter!(row), row.payload)))
}

/// Letters whose time is up.
///
/// # Errors
/// When Postgres does not answer.
pub async fn due(pool: &PgPool, limit: i64) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/dead_letters_due.sql", limit)
        .fetch_all(pool)
        .step("sql/dead_letters_due")
        .await
}

/// Gives letters up, and with them the orders that wait because of them. Letters that were resolved before keep what became of them. Returns
/// the kinds of consequences that have become due.
///
/// # Errors
/// When Postgres does not answer.
pub async fn give_up(
    pool: &PgPool,
    ids: &[i64],
    resolution: Resolution,
    reason: EndReason,
) -> Result<HashSet<Kind>, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let orders = sqlx::query_file_scalar!("sql/orders_of_dead_letters.sql", ids)
            .fetch_all(&mut *transaction)
            .await?;
        let ended = end_orders(&mut transaction, &orders, reason).await?;
        resolve_orders(&mut transaction, &orders, resolution).await?;
        sqlx::query_file!("sql/dead_letters_resolve.sql", ids, resolution.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().step("commit/dead_letters").await?;
        Ok(ended.iter().map(|(_, row)| row.kind).collect())
    })
    .await
}

/// Ends orders that are dead letters, whose rows are locked already. Returns what follows from it.
pub(super) async fn end_orders(
    connection: &mut PgConnection,
    orders: &[Uuid],
    reason: EndReason,
) -> Result<Vec<(Uuid, Consequence)>, sqlx::Error> {
    let change = Change::Cancelled { reason };
    let from = OrderState::DeadLetter;
    let Ok(to) = from.after(&change) else { return Ok(Vec::new()) };
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let steps: Vec<Step> = orders
        .iter()
        .map(|order_id| Step {
            order_id: *order_id,
            from: Some(from),
            to,
            cause: change.cause().to_owned(),
        })
        .collect();
    let reasons = vec![change.end_reason().map(str::to_owned); orders.len()];
    let rows: Vec<(Uuid, Consequence)> = orders
        .iter()
        .flat_map(|order_id| {
            consequences(Occurrence::Reached(to)).iter().map(|row| (*order_id, *row))
        })
        .collect();
    change_states(connection, &steps, &reasons).await?;
    insert_steps(connection, &steps).await?;
    insert_consequences(connection, &rows).await?;
    Ok(rows)
}

/// Resolves all letters of these orders.
pub(super) async fn resolve_orders(
    connection: &mut PgConnection,
    orders: &[Uuid],
    resolution: Resolution,
) -> Result<(), sqlx::Error> {
    if !orders.is_empty() {
        sqlx::query_file!("sql/dead_letters_resolve_orders.sql", orders, resolution.as_str())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Has the relay publish the order of a letter again.
///
/// # Errors
/// When Postgres does not answer.
pub async fn retry(pool: &PgPool, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/dead_letters_retry.sql", id)
        .execute(pool)
        .step("sql/dead_letters_retry")
        .await?;
    Ok(())
}

/// Letters about which somebody has to decide.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// How many.
    pub letters: i64,
    /// Since the oldest was put aside, in seconds.
    pub oldest_s: f64,
}

/// What waits.
///
/// # Errors
/// When Postgres does not answer.
pub async fn waiting(pool: &PgPool) -> Result<Waiting, sqlx::Error> {
    let row = sqlx::query_file!("sql/dead_letters_open.sql")
        .fetch_one(pool)
        .step("sql/dead_letters_open")
        .await?;
    Ok(Waiting { letters: row.waiting, oldest_s: row.oldest_s })
}

/// One change of an order's state, with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Its number.
    pub id: i64,
    /// Where the order stood; `None` before.
    pub from: Option<String>,
    /// Where it stood then.
    pub to: String,
    /// Why.
    pub cause: String,
    /// When.
    pub at: OffsetDateTime,
}

/// At most `limit` changes of an order, oldest first, from behind number `after`; `None` if there is no such order.
///
/// # Errors
/// When Postgres does not answer.
pub async fn transitions(
    pool: &PgPool,
    order_id: Uuid,
    after: i64,
    limit: i64,
) -> Result<Option<Vec<Transition>>, sqlx::Error> {
    let exists = sqlx::query_file_scalar!("sql/order_exists.sql", order_id)
        .fetch_one(pool)
        .step("sql/order_exists")
        .await?;
    if !exists {
        return Ok(None);
    }
    let rows = sqlx::query_file!("sql/transitions_list.sql", order_id, after, limit)
        .fetch_all(pool)
        .step("sql/transitions_list")
        .await?;
    let transition = rows.into_iter().map(|row| Transition {
        id: row.transition_id,
        from: row.from_state,
        to: row.to_state,
        cause: row.cause,
        at: row.at,
    });
    Ok(Some(transition.collect()))
}
