//! The transaction that records parked orders of one sale.

use std::collections::{BTreeSet, HashMap, HashSet};

use flashsale_pg::SteppedPool;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    books::read_orders,
    new_orders::enter,
    outbox,
    parked::{self, ParkedOrder},
    units::lock_stock,
};
use crate::{
    domain::{Answers, Kind, OrderState, Standing, decide_parked},
    steps,
};

/// What the transaction did to parked orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The state of each order that entered the record, and when it was placed.
    pub entered: Vec<(OrderState, OffsetDateTime)>,
    /// The kinds of consequences that have become due.
    pub kinds: HashSet<Kind>,
    /// Orders that stay parked.
    pub waiting: Vec<Uuid>,
}

/// Claims or ends those of the parked `orders` of one sale that can be decided, in one transaction.
/// An order that Postgres refuses because of its data stays parked and does not hold up the others.
///
/// # Errors
/// When Postgres does not answer.
pub async fn record(
    pool: &SteppedPool,
    sale_id: Uuid,
    orders: &[ParkedOrder],
    answers: &Answers,
) -> Result<Recorded, sqlx::Error> {
    let error = match record_together(pool, sale_id, orders, answers).await {
        Ok(recorded) => return Ok(recorded),
        Err(error) => error,
    };
    if flashsale_pg::refused_content(&error).is_none() {
        return Err(error);
    }
    let mut total = Recorded::default();
    for parked in orders {
        let id = parked.order.order_id;
        match record_together(pool, sale_id, std::slice::from_ref(parked), answers).await {
            Ok(recorded) => {
                total.entered.extend(recorded.entered);
                total.kinds.extend(recorded.kinds);
                total.waiting.extend(recorded.waiting);
            }
            Err(error) => {
                let Some(state) = flashsale_pg::refused_content(&error) else { return Err(error) };
                tracing::error!(%sale_id, order_id = %id, state, "Postgres refuses a parked order");
                total.waiting.push(id);
            }
        }
    }
    Ok(total)
}

async fn record_together(
    pool: &SteppedPool,
    sale_id: Uuid,
    orders: &[ParkedOrder],
    answers: &Answers,
) -> Result<Recorded, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let recorded = record_in(&mut transaction, sale_id, orders, answers).await?;
        transaction.commit(steps::COMMIT_PARKED).await?;
        Ok(recorded)
    })
    .await
}

async fn record_in(
    connection: &mut PgConnection,
    sale_id: Uuid,
    orders: &[ParkedOrder],
    answers: &Answers,
) -> Result<Recorded, sqlx::Error> {
    // From here to the commit no epoch is handed out and no marker is passed: `books::read_books`
    // takes the same lock before the claims pass a marker.
    lock_stock(connection, &[sale_id]).await?;
    let standing = sqlx::query_file!("sql/stock_standing.sql", sale_id)
        .fetch_optional(&mut *connection)
        .await?
        .map(|row| Standing { epoch: row.epoch, passed: row.passed });
    let ids: Vec<Uuid> = orders.iter().map(|parked| parked.order.order_id).collect();
    let Some(standing) = standing else {
        return Ok(Recorded { waiting: ids, ..Recorded::default() });
    };
    let skus: BTreeSet<(Uuid, String)> = orders
        .iter()
        .flat_map(|parked| &parked.order.lines)
        .map(|line| (sale_id, line.sku.clone()))
        .collect();
    let books = read_orders(connection, &skus, &ids).await?;
    let placed = orders.iter().map(|parked| parked.order.clone()).collect();
    let decision = decide_parked(placed, books, standing, answers);
    let traces: HashMap<Uuid, &str> = orders
        .iter()
        .filter_map(|parked| Some((parked.order.order_id, parked.traceparent.as_deref()?)))
        .collect();

    let entered = enter(connection, &decision.new_orders, &traces).await?;
    entered.follow(connection).await?;
    // This attempt, or an earlier one whose answer was lost, may have taken units for them. Closing
    // a hold without units is harmless.
    let again = outbox::close_again(connection, &decision.yielded).await?;
    entered.resolve_dead_letters(connection, &[]).await?;
    let mut over = decision.yielded;
    over.extend(entered.new_orders().iter().map(|new_order| new_order.order.order_id));
    parked::delete(connection, &over).await?;

    let mut kinds: HashSet<Kind> = entered.kinds().collect();
    if again > 0 {
        kinds.insert(Kind::CloseHold);
    }
    Ok(Recorded {
        entered: entered
            .new_orders()
            .iter()
            .map(|new_order| (new_order.state(), new_order.order.placed_at))
            .collect(),
        kinds,
        waiting: decision.waiting,
    })
}
