//! The states of orders and their history.

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{domain::OrderState, steps};

/// A change of an order's state, to be written.
#[derive(Debug)]
pub(super) struct Transition {
    pub(super) order_id: Uuid,
    pub(super) from: Option<OrderState>,
    pub(super) to: OrderState,
    pub(super) cause: String,
}

/// Parses a state as the record spells it; nothing else is written there.
pub(super) fn state_of(name: &str) -> Result<OrderState, sqlx::Error> {
    OrderState::parse(name)
        .ok_or_else(|| sqlx::Error::Decode(format!("{name} is not a state of an order").into()))
}

/// Moves orders, whose rows must already be locked, along `transitions`. `reasons` has an entry for
/// each of them: why the order ended unpaid, if it did.
pub(super) async fn change_states(
    connection: &mut PgConnection,
    transitions: &[Transition],
    reasons: &[Option<String>],
) -> Result<(), sqlx::Error> {
    let order_ids: Vec<Uuid> = transitions.iter().map(|transition| transition.order_id).collect();
    let from: Vec<Option<&str>> =
        transitions.iter().map(|transition| transition.from.map(OrderState::as_str)).collect();
    let to: Vec<&str> = transitions.iter().map(|transition| transition.to.as_str()).collect();
    let changed = sqlx::query_file!(
        "sql/orders_change_state.sql",
        &order_ids,
        &from as _,
        &to as _,
        reasons as _
    )
    .fetch_all(connection)
    .await?;
    // The rows are locked, so a mismatch is a bug; the error rolls the transaction back.
    if changed.len() != transitions.len() {
        return Err(sqlx::Error::Decode("an order changed under its lock".into()));
    }
    Ok(())
}

/// Appends to the history, in the order given.
pub(super) async fn insert(
    connection: &mut PgConnection,
    transitions: &[Transition],
) -> Result<(), sqlx::Error> {
    if transitions.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = transitions.iter().map(|transition| transition.order_id).collect();
    let from: Vec<Option<&str>> =
        transitions.iter().map(|transition| transition.from.map(OrderState::as_str)).collect();
    let to: Vec<&str> = transitions.iter().map(|transition| transition.to.as_str()).collect();
    let causes: Vec<&str> =
        transitions.iter().map(|transition| transition.cause.as_str()).collect();
    sqlx::query_file!("sql/transitions_insert.sql", &order_ids, &from as _, &to as _, &causes as _)
        .execute(connection)
        .await?;
    Ok(())
}

/// One entry of an order's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number; later entries have higher ones.
    pub id: i64,
    /// The name of the state before, as it was written; `None` in the first entry.
    pub from: Option<String>,
    /// The name of the state after.
    pub to: String,
    /// The cause, as `Change::cause` names it.
    pub cause: String,
    /// When it was recorded.
    pub at: OffsetDateTime,
}

/// The sale of an order, and at most `limit` entries of its history after number `after`, oldest
/// first; `None` if the record has no such order.
///
/// # Errors
/// When Postgres does not answer.
pub async fn history(
    pool: &SteppedPool,
    order_id: Uuid,
    after: i64,
    limit: i64,
) -> Result<Option<(Uuid, Vec<HistoryEntry>)>, sqlx::Error> {
    let sale_id =
        statement!(steps::SQL_ORDER_SALE, sqlx::query_file_scalar!("sql/order_sale.sql", order_id))
            .fetch_optional(pool)
            .await?;
    let Some(sale_id) = sale_id else { return Ok(None) };
    let rows = statement!(
        steps::SQL_TRANSITIONS_LIST,
        sqlx::query_file!("sql/transitions_list.sql", order_id, after, limit)
    )
    .fetch_all(pool)
    .await?;
    let entries = rows.into_iter().map(|row| HistoryEntry {
        id: row.transition_id,
        from: row.from_state,
        to: row.to_state,
        cause: row.cause,
        at: row.at,
    });
    Ok(Some((sale_id, entries.collect())))
}
