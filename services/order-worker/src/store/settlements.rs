//! The settlement's transaction: orders follow their payments.

use std::collections::{BTreeSet, HashMap, HashSet};

use flashsale_pg::{SteppedPool, statement};
use flashsale_telemetry::propagate;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    outbox,
    transitions::{self, Transition, change_states, state_of},
    units::{Units, change_claimed, lock_allotments},
};
use crate::{
    domain::{
        Change, Consequence, Kind, Occurrence, OrderState, PaymentWord, Settlement, consequences,
        settle,
    },
    steps,
};

/// Units by (sale, sku) of each order.
type LinesByOrder = HashMap<Uuid, Vec<((Uuid, String), i64)>>;

/// What a settlement changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Orders that changed, with their new states.
    pub changed: Vec<(Uuid, OrderState)>,
    /// Orders whose money goes back because it came after their end.
    pub refunds: u64,
    /// Refunds that are done and whose buyers are to be told.
    pub told: u64,
    /// The kinds of consequences that have become due.
    pub kinds: HashSet<Kind>,
}

impl Settled {
    /// Whether anything changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.refunds == 0 && self.told == 0
    }
}

/// An order beside its payment.
struct Pair {
    order_id: Uuid,
    order: OrderState,
    settlement: Settlement,
    traceparent: Option<String>,
}

/// Finds up to `limit` open orders whose payment is further than they are.
///
/// # Errors
/// When Postgres does not answer.
pub async fn find_open(pool: &SteppedPool, limit: usize) -> Result<Vec<Uuid>, sqlx::Error> {
    statement!(
        steps::SQL_SETTLE_OPEN,
        sqlx::query_file_scalar!("sql/settle_open.sql", bound(limit))
    )
    .fetch_all(pool)
    .await
}

/// Finds up to `limit` ended orders that do not agree with their payment: refunds that they, or
/// their buyers, do not know of, and money that came after the end.
///
/// # Errors
/// When Postgres does not answer.
pub async fn find_ended(pool: &SteppedPool, limit: usize) -> Result<Vec<Uuid>, sqlx::Error> {
    statement!(
        steps::SQL_SETTLE_ENDED,
        sqlx::query_file_scalar!("sql/settle_ended.sql", bound(limit))
    )
    .fetch_all(pool)
    .await
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Makes `orders` follow their payments, with all consequences, in one transaction.
///
/// # Errors
/// When Postgres does not answer.
pub async fn follow_payments(pool: &SteppedPool, orders: &[Uuid]) -> Result<Settled, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let settled = follow_in(&mut transaction, orders).await?;
        transaction.commit(steps::COMMIT_SETTLEMENT).await?;
        Ok(settled)
    })
    .await
}

fn undecodable(error: &flashsale_record::UnknownName) -> sqlx::Error {
    sqlx::Error::Decode(error.clone().into())
}

macro_rules! pairs {
    ($connection:expr, $file:literal, $orders:expr) => {
        sqlx::query_file!($file, $orders)
            .fetch_all($connection)
            .await?
            .into_iter()
            .map(|row| {
                let order = state_of(&row.order_state)?;
                let named = |reason: String| reason.parse().map_err(|error| undecodable(&error));
                let payment = PaymentWord {
                    state: row.payment_state.parse().map_err(|error| undecodable(&error))?,
                    decline_code: row.decline_code.as_deref(),
                    end_reason: row.payment_end_reason.map(named).transpose()?,
                };
                let settlement = settle(order, row.cancel_requested, payment);
                let traceparent = row.traceparent;
                Ok(Pair { order_id: row.order_id, order, settlement, traceparent })
            })
            .collect::<Result<Vec<Pair>, sqlx::Error>>()?
    };
}

async fn follow_in(connection: &mut PgConnection, orders: &[Uuid]) -> Result<Settled, sqlx::Error> {
    // Allotments are locked before orders, so the ones that are needed are guessed from an unlocked
    // read. An order that turns out to give back units of others is left for the next round.
    let guessed = pairs!(&mut *connection, "sql/settle_read.sql", orders);
    let giving_back: Vec<Uuid> =
        guessed.iter().filter(|pair| gives_back(pair)).map(|pair| pair.order_id).collect();
    let lines = lines_of(connection, &giving_back).await?;
    let skus: BTreeSet<(Uuid, String)> =
        lines.values().flatten().map(|(key, _)| key.clone()).collect();
    lock_allotments(connection, skus.iter()).await?;

    let mut settled = Settled::default();
    let mut transitions = Vec::new();
    let mut reasons: Vec<Option<String>> = Vec::new();
    let mut rows: Vec<(Uuid, Consequence)> = Vec::new();
    let mut units = Units::new();
    // Judged again with the orders locked: they or their payments may have changed since.
    let pairs = pairs!(&mut *connection, "sql/settle_read_locked.sql", orders);
    let mut paid: Vec<Uuid> = Vec::new();
    for pair in pairs {
        if is_paid(after(&pair)) {
            paid.push(pair.order_id);
        }
        let occurrence = match &pair.settlement {
            Settlement::Nothing => continue,
            Settlement::Refund => Occurrence::PaidAfterTheEnd,
            Settlement::Change(change) => {
                let Ok(to) = change.after(pair.order) else { continue };
                if gives_back(&pair) {
                    let Some(lines) = lines.get(&pair.order_id) else { continue };
                    for (key, quantity) in lines {
                        *units.entry(key.clone()).or_default() -= quantity;
                    }
                }
                transitions.push(Transition {
                    order_id: pair.order_id,
                    from: Some(pair.order),
                    to,
                    cause: change.cause().to_owned(),
                });
                reasons.push(change.end_reason().map(str::to_owned));
                settled.changed.push((pair.order_id, to));
                Occurrence::Reached(to)
            }
        };
        // The batch's span shows which orders it changed.
        let trace = propagate::from_text(pair.traceparent.as_deref());
        propagate::link(&tracing::Span::current(), &trace);
        if pair.settlement == Settlement::Refund {
            settled.refunds += 1;
        }
        rows.extend(consequences(occurrence).into_iter().map(|row| (pair.order_id, row)));
    }
    // With the orders locked as well: of two that settle one finds what the other has written.
    for refund in refunds_to_tell(connection, &paid).await? {
        let occurrence = Occurrence::RefundDone(refund.refund_id);
        rows.extend(consequences(occurrence).into_iter().map(|row| (refund.order_id, row)));
        settled.told += 1;
    }
    if settled.is_empty() {
        return Ok(settled);
    }
    change_states(connection, &transitions, &reasons).await?;
    change_claimed(connection, &units).await?;
    transitions::insert(connection, &transitions).await?;
    outbox::insert(connection, &rows).await?;
    settled.kinds = rows.iter().map(|(_, row)| row.kind).collect();
    Ok(settled)
}

/// The state of the order once it has followed its payment by one step.
fn after(pair: &Pair) -> OrderState {
    match &pair.settlement {
        Settlement::Change(change) => change.after(pair.order).unwrap_or(pair.order),
        Settlement::Nothing | Settlement::Refund => pair.order,
    }
}

/// Whether the buyer paid and got the units, so that they are told of refunds. Of an order that
/// ended unpaid they were told that it costs nothing: what was captured after that goes back
/// without a mail.
const fn is_paid(state: OrderState) -> bool {
    match state {
        OrderState::Confirmed | OrderState::Refunded => true,
        OrderState::DeadLetter
        | OrderState::Claimed
        | OrderState::Paying
        | OrderState::ActionRequired
        | OrderState::Declined
        | OrderState::Cancelled => false,
    }
}

/// A refund that is done.
struct Refunded {
    order_id: Uuid,
    refund_id: Uuid,
}

/// The refunds of `orders` that are done and that no mail tells of.
async fn refunds_to_tell(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<Vec<Refunded>, sqlx::Error> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_file_as!(Refunded, "sql/refunds_to_tell.sql", orders).fetch_all(connection).await
}

fn gives_back(pair: &Pair) -> bool {
    match &pair.settlement {
        Settlement::Change(change) => ends_unpaid(pair.order, change),
        Settlement::Nothing | Settlement::Refund => false,
    }
}

fn ends_unpaid(order: OrderState, change: &Change) -> bool {
    order.holds_units() && change.after(order).is_ok_and(|to| !to.holds_units())
}

/// Units of each of `orders`, which never change once they are recorded.
async fn lines_of(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> Result<LinesByOrder, sqlx::Error> {
    let mut lines: LinesByOrder = HashMap::new();
    if orders.is_empty() {
        return Ok(lines);
    }
    for row in sqlx::query_file!("sql/lines_of_orders.sql", orders).fetch_all(connection).await? {
        lines.entry(row.order_id).or_default().push(((row.sale_id, row.sku), row.quantity));
    }
    Ok(lines)
}
