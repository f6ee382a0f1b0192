//! New orders: their rows, lines and claimed units, and what follows from them.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    dead_letters::{self, Resolution},
    outbox,
    transitions::{self, Transition},
    units::{Units, change_claimed},
};
use crate::domain::{Consequence, EndReason, Kind, NewOrder, Occurrence, OrderState, consequences};

/// Orders that were inserted, and the consequences of that.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    new_orders: Vec<&'a NewOrder>,
    rows: Vec<(Uuid, Consequence)>,
}

/// Inserts orders with their lines and raises the claimed units. History and consequences are not
/// written yet. The allotments and the rows that the orders already have must be locked.
pub(super) async fn enter<'a>(
    connection: &mut PgConnection,
    new_orders: &'a [NewOrder],
    traces: &HashMap<Uuid, &str>,
) -> Result<Entered<'a>, sqlx::Error> {
    let inserted = insert_orders(connection, new_orders, traces).await?;
    // An order that got a row in the meantime claims nothing.
    let new_orders: Vec<&NewOrder> =
        new_orders.iter().filter(|new| inserted.contains(&new.order.order_id)).collect();
    insert_lines(connection, &new_orders).await?;
    change_claimed(connection, &units_of(&new_orders)).await?;
    let mut entered = Entered { new_orders, rows: Vec::new() };
    let occurrences: Vec<_> = entered
        .new_orders
        .iter()
        .flat_map(|new| {
            let order_id = new.order.order_id;
            let cancel_requested =
                new.state().awaits_payment() && new.cancel_requested_at.is_some();
            // States that it has already passed through have no consequences.
            [Some((order_id, Occurrence::Reached(new.state())))]
                .into_iter()
                .chain([cancel_requested.then_some((order_id, Occurrence::CancelRequested))])
                .flatten()
        })
        .collect();
    entered.owe(occurrences);
    Ok(entered)
}

impl Entered<'_> {
    /// Adds the consequences of `occurrences`.
    pub(super) fn owe(&mut self, occurrences: impl IntoIterator<Item = (Uuid, Occurrence)>) {
        for (order_id, occurrence) in occurrences {
            self.rows.extend(consequences(occurrence).into_iter().map(|row| (order_id, row)));
        }
    }

    /// Writes the history and the consequences.
    pub(super) async fn follow(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut transitions = Vec::new();
        for new in &self.new_orders {
            let order_id = new.order.order_id;
            let mut before = new.reinstates.then_some(OrderState::DeadLetter);
            for (state, cause) in &new.path {
                transitions.push(Transition {
                    order_id,
                    from: before,
                    to: *state,
                    cause: (*cause).to_owned(),
                });
                before = Some(*state);
            }
        }
        transitions::insert(connection, &transitions).await?;
        outbox::insert(connection, &self.rows).await
    }

    /// Resolves the dead letters of orders that are now recorded, and of the orders in `cancelled`.
    /// A dead letter's order need not have a row: its message may have said no more than its id.
    pub(super) async fn resolve_dead_letters(
        &self,
        connection: &mut PgConnection,
        cancelled: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        let recorded = |by_buyer: bool| {
            let new_orders =
                self.new_orders.iter().filter(move |new| new.state() != OrderState::DeadLetter);
            let new_orders = new_orders
                .filter(move |new| (new.end_reason == Some(EndReason::Buyer)) == by_buyer);
            new_orders.map(|new| new.order.order_id)
        };
        let retried: Vec<Uuid> = recorded(false).collect();
        dead_letters::resolve_orders(connection, &retried, Resolution::Retried).await?;
        let cancelled: Vec<Uuid> = recorded(true).chain(cancelled.iter().copied()).collect();
        dead_letters::resolve_orders(connection, &cancelled, Resolution::Cancelled).await
    }

    pub(super) fn new_orders(&self) -> &[&NewOrder] {
        &self.new_orders
    }

    pub(super) fn states(&self) -> impl Iterator<Item = OrderState> {
        self.new_orders.iter().map(|new| new.state())
    }

    /// The kinds of the consequences.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.rows.iter().map(|(_, row)| row.kind)
    }
}

async fn insert_orders(
    connection: &mut PgConnection,
    new_orders: &[NewOrder],
    traces: &HashMap<Uuid, &str>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if new_orders.is_empty() {
        return Ok(HashSet::new());
    }
    // Column by column: one statement however many orders.
    macro_rules! column {
        ($new:ident => $value:expr) => {
            new_orders.iter().map(|$new| $value).collect::<Vec<_>>()
        };
    }
    let inserted = sqlx::query_file_scalar!(
        "sql/orders_insert.sql",
        &column!(new => new.order.order_id),
        &column!(new => new.order.sale_id),
        &column!(new => new.order.buyer_id.as_str()) as _,
        &column!(new => new.order.hold_id),
        &column!(new => new.order.epoch),
        &column!(new => new.order.admission_id.as_deref()) as _,
        &column!(new => new.order.request_id),
        &column!(new => new.order.request_hash.as_str()) as _,
        &column!(new => new.state().as_str()) as _,
        &column!(new => new.order.currency.as_str()) as _,
        &column!(new => new.order.total_minor),
        &column!(new => new.order.details.email.as_str()) as _,
        &column!(new => new.order.details.contact_name.as_str()) as _,
        &column!(new => new.order.details.payment_method.as_str()) as _,
        &column!(new => new.order.details.locale.as_str()) as _,
        &column!(new => new.cancel_requested_at) as _,
        &column!(new => new.end_reason.map(EndReason::as_str)) as _,
        &column!(new => new.order.placed_at),
        &column!(new => traces.get(&new.order.order_id).copied()) as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

async fn insert_lines(
    connection: &mut PgConnection,
    new_orders: &[&NewOrder],
) -> Result<(), sqlx::Error> {
    let (mut order_ids, mut skus, mut quantities) = (vec![], vec![], vec![]);
    let (mut prices, mut revisions) = (vec![], vec![]);
    for new in new_orders {
        for line in &new.order.lines {
            order_ids.push(new.order.order_id);
            skus.push(line.sku.as_str());
            quantities.push(line.quantity);
            prices.push(line.unit_price_minor);
            revisions.push(line.price_revision);
        }
    }
    if !order_ids.is_empty() {
        sqlx::query_file!(
            "sql/order_lines_insert.sql",
            &order_ids,
            &skus as _,
            &quantities,
            &prices,
            &revisions
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

fn units_of(new_orders: &[&NewOrder]) -> Units {
    let mut units = Units::new();
    for new in new_orders.iter().filter(|new| new.state().holds_units()) {
        for line in &new.order.lines {
            *units.entry((new.order.sale_id, line.sku.clone())).or_default() += line.quantity;
        }
    }
    units
}
