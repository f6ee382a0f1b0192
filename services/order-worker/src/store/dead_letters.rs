//! Dead letters: messages that the claims could not record, and how they are resolved.

use std::{collections::HashSet, time::Duration};

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    outbox,
    position::{Position, signed},
    received::{DeadReason, Received},
    transitions::{self, Transition, change_states},
};
use crate::{
    domain::{Change, Consequence, EndReason, Kind, Occurrence, OrderState, consequences},
    steps,
};

/// The most of an unreadable message that is kept, in bytes.
const DEAD_PAYLOAD_BYTES: usize = 64 * 1024;

/// How a dead letter was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its order was recorded after all, or became a dead letter again under a later message.
    Retried,
    /// An operator dropped it.
    Dropped,
    /// It was not decided before its deadline.
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
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Its sequence number in the queue.
    pub seq: i64,
    /// Why it could not be recorded.
    pub reason: String,
    /// The order that it places, if that could be read.
    pub order_id: Option<Uuid>,
    /// The order's sale, if that could be read.
    pub sale_id: Option<Uuid>,
    /// When it was inserted.
    pub at: OffsetDateTime,
    /// When it expires.
    pub review_by: OffsetDateTime,
    /// How it was resolved, and when.
    pub resolved: Option<(Resolution, OffsetDateTime)>,
}

macro_rules! dead_letter {
    ($row:expr) => {
        DeadLetter {
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

/// At most `limit` dead letters after number `after`, newest first: of one sale or of all sales,
/// unresolved ones or all.
///
/// # Errors
/// When Postgres does not answer.
pub async fn list(
    pool: &SteppedPool,
    sale_id: Option<Uuid>,
    resolved_too: bool,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = statement!(
        steps::SQL_DEAD_LETTERS_LIST,
        sqlx::query_file!("sql/dead_letters_list.sql", sale_id, resolved_too, after, limit)
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| dead_letter!(row)).collect())
}

/// A dead letter and the body of its message.
///
/// # Errors
/// When Postgres does not answer.
pub async fn find(
    pool: &SteppedPool,
    id: i64,
) -> Result<Option<(DeadLetter, Vec<u8>)>, sqlx::Error> {
    let row = statement!(steps::SQL_DEAD_LETTER, sqlx::query_file!("sql/dead_letter.sql", id))
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| (dead_letter!(row), row.payload)))
}

/// Dead letters whose deadline has passed.
///
/// # Errors
/// When Postgres does not answer.
pub async fn due(pool: &SteppedPool, limit: i64) -> Result<Vec<i64>, sqlx::Error> {
    statement!(
        steps::SQL_DEAD_LETTERS_DUE,
        sqlx::query_file_scalar!("sql/dead_letters_due.sql", limit)
    )
    .fetch_all(pool)
    .await
}

/// Resolves dead letters and ends their orders where those wait. Dead letters that were already
/// resolved keep their resolution. Returns the kinds of consequences that have become due.
///
/// # Errors
/// When Postgres does not answer.
pub async fn give_up(
    pool: &SteppedPool,
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
        transaction.commit(steps::COMMIT_DEAD_LETTERS).await?;
        Ok(ended.iter().map(|(_, row)| row.kind).collect())
    })
    .await
}

/// Writes dead letters; those that are not decided within `review` expire.
pub(super) async fn insert(
    connection: &mut PgConnection,
    stream: &str,
    position: Position,
    dead: &[(&Received, DeadReason)],
    review: Duration,
) -> Result<(), sqlx::Error> {
    if dead.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = dead.iter().map(|(message, _)| signed(message.seq)).collect();
    let payloads: Vec<&[u8]> = dead
        .iter()
        .map(|(message, _)| &message.payload[..message.payload.len().min(DEAD_PAYLOAD_BYTES)])
        .collect();
    let reasons: Vec<String> = dead.iter().map(|(_, reason)| reason.text()).collect();
    let (orders, sales): (Vec<Option<Uuid>>, Vec<Option<Uuid>>) =
        dead.iter().map(|(message, _)| message.places).unzip();
    sqlx::query_file!(
        "sql/dead_letters_insert.sql",
        stream,
        position.created,
        &seqs,
        &payloads as _,
        &reasons,
        &orders as _,
        i64::try_from(review.as_millis()).unwrap_or(i64::MAX),
        &sales as _
    )
    .execute(connection)
    .await?;
    for (message, reason) in dead {
        tracing::error!(stream, seq = message.seq, reason = reason.text(), "dead letter");
    }
    Ok(())
}

/// Ends orders that are dead letters, whose rows must already be locked. Returns the consequences.
pub(super) async fn end_orders(
    connection: &mut PgConnection,
    orders: &[Uuid],
    reason: EndReason,
) -> Result<Vec<(Uuid, Consequence)>, sqlx::Error> {
    let change = Change::Cancelled { reason };
    let from = OrderState::DeadLetter;
    let Ok(to) = change.after(from) else { return Ok(Vec::new()) };
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let transitions: Vec<Transition> = orders
        .iter()
        .map(|order_id| Transition {
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
            consequences(Occurrence::Reached(to)).into_iter().map(|row| (*order_id, row))
        })
        .collect();
    change_states(connection, &transitions, &reasons).await?;
    transitions::insert(connection, &transitions).await?;
    outbox::insert(connection, &rows).await?;
    Ok(rows)
}

/// Resolves all dead letters of these orders.
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

/// Makes the relay publish the order of a dead letter again.
///
/// # Errors
/// When Postgres does not answer.
pub async fn retry(pool: &SteppedPool, id: i64) -> Result<(), sqlx::Error> {
    statement!(steps::SQL_DEAD_LETTERS_RETRY, sqlx::query_file!("sql/dead_letters_retry.sql", id))
        .execute(pool)
        .await?;
    Ok(())
}

/// The backlog of unresolved dead letters.
#[derive(Debug, Clone, Copy)]
pub struct Unresolved {
    /// How many there are.
    pub count: i64,
    /// The age of the oldest, in seconds; 0 if there is none.
    pub oldest_s: f64,
}

/// Counts the unresolved dead letters.
///
/// # Errors
/// When Postgres does not answer.
pub async fn unresolved(pool: &SteppedPool) -> Result<Unresolved, sqlx::Error> {
    let row =
        statement!(steps::SQL_DEAD_LETTERS_OPEN, sqlx::query_file!("sql/dead_letters_open.sql"))
            .fetch_one(pool)
            .await?;
    Ok(Unresolved { count: row.waiting, oldest_s: row.oldest_s })
}
