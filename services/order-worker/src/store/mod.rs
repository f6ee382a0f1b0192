//! The record in Postgres. Each file is one transaction or one kind of row.
//!
//! Lock order, for all of them: the claimer's row in `queue_positions` (taken by claimers only,
//! before anything else), then `sale_stock` by sale_id, then allotments by (sale_id, sku), then
//! parked orders by order_id, then orders by order_id, then outbox, then dead letters. Inventory,
//! whose `sale_stock` is, also locks it before allotments.

pub mod charges;
pub mod claims;
pub mod dead_letters;
pub mod decode;
pub(crate) mod orders_stream;
pub mod outbox;
pub mod parked;
pub mod position;
pub mod settlements;

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Consequence, OrderState};

/// Units by (sale, sku), in the order in which their rows are locked.
pub(crate) type Units = BTreeMap<(Uuid, String), i64>;

/// One change of state for the history.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) order_id: Uuid,
    pub(crate) from: Option<OrderState>,
    pub(crate) to: OrderState,
    pub(crate) cause: String,
}

/// Locks the rows that hand the epochs of these sales out, and answers where they stand. A sale
/// whose stock was never loaded has none.
async fn lock_stock(
    connection: &mut PgConnection,
    sale_ids: &[Uuid],
) -> Result<HashMap<Uuid, i64>, sqlx::Error> {
    if sale_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows =
        sqlx::query_file!("sql/stock_lock.sql", sale_ids).fetch_all(&mut *connection).await?;
    Ok(rows.into_iter().map(|row| (row.sale_id, row.epoch)).collect())
}

/// Locks the rows of `skus` and answers how many units of each may still be claimed. A row that does not exist has none.
async fn lock_allotments<'a>(
    connection: &mut PgConnection,
    skus: impl Iterator<Item = &'a (Uuid, String)>,
) -> Result<Vec<((Uuid, String), i64)>, sqlx::Error> {
    let (sale_ids, skus): (Vec<Uuid>, Vec<String>) = skus.cloned().unzip();
    if sale_ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_file!("sql/allotments_lock.sql", &sale_ids, &skus)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| ((row.sale_id, row.sku), row.units_left)).collect())
}

/// Adds `units`, which may be negative, to what is claimed. The rows are locked already.
async fn change_claimed(connection: &mut PgConnection, units: &Units) -> Result<(), sqlx::Error> {
    if units.is_empty() {
        return Ok(());
    }
    let (keys, units): (Vec<&(Uuid, String)>, Vec<i64>) =
        units.iter().map(|(key, units)| (key, *units)).unzip();
    let (sale_ids, skus): (Vec<Uuid>, Vec<String>) = keys.into_iter().cloned().unzip();
    sqlx::query_file!("sql/allotments_change_claimed.sql", &sale_ids, &skus, &units)
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves orders along `steps`, whose rows are locked already, each with its reason if it ends.
async fn change_states(
    connection: &mut PgConnection,
    steps: &[Step],
    reasons: &[Option<String>],
) -> Result<(), sqlx::Error> {
    let order_ids: Vec<Uuid> = steps.iter().map(|step| step.order_id).collect();
    let from: Vec<Option<&str>> =
        steps.iter().map(|step| step.from.map(OrderState::as_str)).collect();
    let to: Vec<&str> = steps.iter().map(|step| step.to.as_str()).collect();
    let changed = sqlx::query_file!(
        "sql/orders_change_state.sql",
        &order_ids,
        &from as _,
        &to as _,
        reasons as _
    )
    .fetch_all(connection)
    .await?;
    // The rows are locked, so that anything else is a fault of ours; nothing of it may be kept.
    if changed.len() != steps.len() {
        let problem = "an order changed under its lock";
        return Err(sqlx::Error::Protocol(problem.to_owned()));
    }
    Ok(())
}

/// Writes the history, in the order given.
async fn insert_steps(connection: &mut PgConnection, steps: &[Step]) -> Result<(), sqlx::Error> {
    if steps.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = steps.iter().map(|step| step.order_id).collect();
    let from: Vec<Option<&str>> =
        steps.iter().map(|step| step.from.map(OrderState::as_str)).collect();
    let to: Vec<&str> = steps.iter().map(|step| step.to.as_str()).collect();
    let causes: Vec<&str> = steps.iter().map(|step| step.cause.as_str()).collect();
    sqlx::query_file!("sql/transitions_insert.sql", &order_ids, &from as _, &to as _, &causes as _)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes consequences, to be carried out from now on.
async fn insert_consequences(
    connection: &mut PgConnection,
    rows: &[(Uuid, Consequence)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = rows.iter().map(|(order_id, _)| *order_id).collect();
    let kinds: Vec<&str> = rows.iter().map(|(_, row)| row.kind.as_str()).collect();
    let abouts: Vec<&str> = rows.iter().map(|(_, row)| row.about).collect();
    sqlx::query_file!("sql/outbox_insert.sql", &order_ids, &kinds as _, &abouts as _)
        .execute(connection)
        .await?;
    Ok(())
}
