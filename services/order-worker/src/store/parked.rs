//! Parked orders: inserted by the claims, taken under a lease sale by sale, put off or deleted.

use std::{collections::HashSet, time::Duration};

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    outbox::millis,
    position::signed,
    received::{Received, receive},
};
use crate::{
    domain::{Message, PlacedOrder, Straggler},
    steps,
};

/// A sale with parked orders that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueSale {
    pub sale_id: Uuid,
    /// Whether the claims have yet to pass the marker of its latest epoch: then its orders are
    /// claimed without asking inventory. Checked again under a lock.
    pub marker_ahead: bool,
    /// The epoch of the latest marker that the claims have passed.
    pub passed: Option<i64>,
}

/// A parked order, leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRow {
    pub order_id: Uuid,
    /// The sequence number of its message.
    pub seq: i64,
    /// The body of the message.
    pub message: String,
    /// The trace of its claim.
    pub traceparent: Option<String>,
    /// Leases so far, including this one.
    pub attempts: u32,
    /// Whether it already has a row in the record that is not a dead letter.
    pub recorded: bool,
}

/// A parked order, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedOrder {
    pub order: PlacedOrder,
    /// The trace of its claim.
    pub traceparent: Option<String>,
}

/// The backlog of parked orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// How many orders are parked.
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
    // It was decoded as JSON, so it is UTF-8.
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

/// Locks those of `orders` that are parked and returns them.
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

/// Deletes `orders`, which must already be locked.
pub(super) async fn delete(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<(), sqlx::Error> {
    if !orders.is_empty() {
        sqlx::query_file!("sql/parked_delete.sql", orders).execute(connection).await?;
    }
    Ok(())
}

/// Finds up to `limit` sales with parked orders that are due, the longest due first, none of
/// `except`.
///
/// # Errors
/// When Postgres does not answer.
pub async fn due_sales(
    pool: &SteppedPool,
    except: &[Uuid],
    limit: usize,
) -> Result<Vec<DueSale>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement!(
        steps::SQL_PARKED_SALES,
        sqlx::query_file!("sql/parked_sales.sql", except, limit)
    )
    .fetch_all(pool)
    .await?;
    let due = rows.into_iter().map(|row| DueSale {
        sale_id: row.sale_id,
        marker_ahead: row.marker_ahead,
        passed: row.passed,
    });
    Ok(due.collect())
}

/// Takes up to `limit` parked orders of `sale`, the longest parked first. No other instance gets
/// them until `lease` has passed.
///
/// # Errors
/// When Postgres does not answer.
pub async fn lease(
    pool: &SteppedPool,
    sale: DueSale,
    limit: usize,
    lease: Duration,
) -> Result<Vec<ParkedRow>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement!(
        steps::SQL_PARKED_LEASE,
        sqlx::query_file!(
            "sql/parked_lease.sql",
            sale.sale_id,
            limit,
            millis(lease),
            sale.marker_ahead
        )
    )
    .fetch_all(pool)
    .await?;
    let mut rows: Vec<ParkedRow> = rows
        .into_iter()
        .map(|row| ParkedRow {
            order_id: row.order_id,
            seq: row.seq,
            message: row.message,
            traceparent: row.traceparent,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            recorded: row.recorded,
        })
        .collect();
    // First come, first served, if the stock has too few units for all.
    rows.sort_unstable_by_key(|row| row.seq);
    Ok(rows)
}

/// Decodes the order of a row; `None` if that fails. Its message was decoded before it was parked,
/// so a failure is a bug, or the row was written by an older version.
pub fn read(row: &ParkedRow) -> Option<ParkedOrder> {
    let seq = u64::try_from(row.seq).unwrap_or_default();
    match receive(seq, row.message.clone().into_bytes()).content {
        Ok(Message::Place(order)) if order.order_id == row.order_id => {
            Some(ParkedOrder { order, traceparent: row.traceparent.clone() })
        }
        Ok(_) | Err(_) => {
            tracing::error!(order_id = %row.order_id, seq, "a parked order cannot be read");
            None
        }
    }
}

/// Puts the `waiting` orders of a sale, or with `whole_sale` all of its parked orders, off for
/// `pause`.
///
/// # Errors
/// When Postgres does not answer; the leased orders are due again after their lease.
pub async fn put_off(
    pool: &SteppedPool,
    sale_id: Uuid,
    pause: Duration,
    waiting: &[Uuid],
    whole_sale: bool,
) -> Result<(), sqlx::Error> {
    statement!(
        steps::SQL_PARKED_PUT_OFF,
        sqlx::query_file!("sql/parked_put_off.sql", sale_id, millis(pause), waiting, whole_sale)
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Counts the parked orders.
///
/// # Errors
/// When Postgres does not answer.
pub async fn backlog(pool: &SteppedPool) -> Result<Backlog, sqlx::Error> {
    let row = statement!(steps::SQL_PARKED_AGES, sqlx::query_file!("sql/parked_ages.sql"))
        .fetch_one(pool)
        .await?;
    Ok(Backlog { orders: row.parked, oldest_s: row.oldest_s })
}
