//! The outbox: consequences are written, taken under a lease, and confirmed or retried later.

use std::time::Duration;

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{About, Consequence, Kind},
    steps,
};

/// One consequence, leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The number of its row.
    pub outbox_id: i64,
    /// The order it follows from.
    pub order_id: Uuid,
    /// The name of what it is about, which a later version may have written. See
    /// [`Leased::about`].
    pub about: String,
    /// Attempts so far, including this one.
    pub attempts: u32,
    /// The trace of the order's claim.
    pub traceparent: Option<String>,
}

impl Leased {
    /// What it is about; `None` if this version does not know it. Most kinds are carried out
    /// whatever they are about.
    pub fn about(&self) -> Option<About> {
        About::parse(&self.about)
    }
}

/// The backlog of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Age {
    pub kind: Kind,
    /// Rows that are not confirmed.
    pub pending: u64,
    /// The age of the oldest of them, in seconds.
    pub oldest_s: f64,
}

/// Writes consequences, due at once.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[(Uuid, Consequence)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = rows.iter().map(|(order_id, _)| *order_id).collect();
    let kinds: Vec<&str> = rows.iter().map(|(_, row)| row.kind.as_str()).collect();
    let abouts: Vec<String> = rows.iter().map(|(_, row)| row.about.name().into_owned()).collect();
    sqlx::query_file!("sql/outbox_insert.sql", &order_ids, &kinds as _, &abouts)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes up to `limit` due rows of `kind`, the longest due first, except those of the sales in
/// `held_off`. No other instance gets them until `lease` has passed.
///
/// # Errors
/// When Postgres does not answer.
pub async fn lease(
    pool: &SteppedPool,
    kind: Kind,
    limit: usize,
    lease: Duration,
    held_off: &[Uuid],
) -> Result<Vec<Leased>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement!(
        steps::SQL_OUTBOX_LEASE,
        sqlx::query_file!("sql/outbox_lease.sql", kind.as_str(), limit, millis(lease), held_off)
    )
    .fetch_all(pool)
    .await?;
    let mut rows: Vec<Leased> = rows
        .into_iter()
        .map(|row| Leased {
            outbox_id: row.outbox_id,
            order_id: row.order_id,
            about: row.about,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            traceparent: row.traceparent,
        })
        .collect();
    rows.sort_unstable_by_key(|row| row.outbox_id);
    Ok(rows)
}

/// Confirms rows; a note says why a row was given up instead. A row that was taken again since, or
/// is to be carried out once more, stays due.
///
/// # Errors
/// When Postgres does not answer; the rows are due again after their lease.
pub async fn done(
    pool: &SteppedPool,
    rows: &[(&Leased, Option<String>)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = rows.iter().map(|(row, _)| row.outbox_id).collect();
    let attempts: Vec<i32> =
        rows.iter().map(|(row, _)| i32::try_from(row.attempts).unwrap_or(i32::MAX)).collect();
    let notes: Vec<Option<&str>> = rows.iter().map(|(_, note)| note.as_deref()).collect();
    statement!(
        steps::SQL_OUTBOX_DONE,
        sqlx::query_file!("sql/outbox_done.sql", &ids, &attempts, &notes as _)
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Makes the `close_hold` rows of these orders, where there are any, due again: units may have been
/// taken for them since. Returns how many rows that were.
pub(super) async fn close_again(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<u64, sqlx::Error> {
    if orders.is_empty() {
        return Ok(0);
    }
    let rows = sqlx::query_file!("sql/outbox_close_again.sql", orders).execute(connection).await?;
    Ok(rows.rows_affected())
}

/// Puts each row off by its delay and notes the short code of its failure.
///
/// # Errors
/// When Postgres does not answer; the rows are due again after their lease.
pub async fn retry(
    pool: &SteppedPool,
    rows: &[(i64, Duration, String)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = rows.iter().map(|(id, ..)| *id).collect();
    let delays: Vec<i64> = rows.iter().map(|(_, delay, _)| millis(*delay)).collect();
    let errors: Vec<&str> = rows.iter().map(|(.., error)| error.as_str()).collect();
    statement!(
        steps::SQL_OUTBOX_RETRY,
        sqlx::query_file!("sql/outbox_retry.sql", &ids, &delays, &errors as _)
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What is not confirmed yet, by kind; a kind without such rows is missing.
///
/// # Errors
/// When Postgres does not answer.
pub async fn ages(pool: &SteppedPool) -> Result<Vec<Age>, sqlx::Error> {
    let rows = statement!(steps::SQL_OUTBOX_AGES, sqlx::query_file!("sql/outbox_ages.sql"))
        .fetch_all(pool)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Age {
                kind: Kind::parse(&row.kind)?,
                pending: u64::try_from(row.pending).unwrap_or_default(),
                oldest_s: row.oldest_s,
            })
        })
        .collect())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
