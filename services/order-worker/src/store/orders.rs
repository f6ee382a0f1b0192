//! What the outbox handlers read of recorded orders.

use std::collections::HashMap;

use flashsale_pg::{SteppedPool, statement};
use uuid::Uuid;

use super::outbox::Leased;
use crate::{
    domain::{
        OrderState,
        mail::{Mail, MailLine, Refund, Topic},
    },
    steps,
};

/// The sale and the hold of each order.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn holds(
    pool: &SteppedPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, (Uuid, Uuid)>, sqlx::Error> {
    let orders = statement!(
        steps::SQL_ORDERS_FOR_HOLDS,
        sqlx::query_file!("sql/orders_for_holds.sql", orders)
    )
    .fetch_all(pool)
    .await?;
    Ok(orders.into_iter().map(|order| (order.order_id, (order.sale_id, order.hold_id))).collect())
}

/// The sale of each order.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn sales(
    pool: &SteppedPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, sqlx::Error> {
    let orders = statement!(
        steps::SQL_ORDERS_FOR_EVENTS,
        sqlx::query_file!("sql/orders_for_events.sql", orders)
    )
    .fetch_all(pool)
    .await?;
    Ok(orders.into_iter().map(|order| (order.order_id, order.sale_id)).collect())
}

/// The content of the mails in `rows`, by order and topic: an order can have several at once, a
/// confirmation and refunds.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn mails(
    pool: &SteppedPool,
    rows: &[Leased],
) -> Result<HashMap<(Uuid, Topic), Mail>, sqlx::Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
    let topics: Vec<Option<Topic>> = rows.iter().map(|row| Topic::of(row.about()?)).collect();
    let refunds: Vec<Option<Uuid>> = topics.iter().map(|topic| refund_of(*topic)).collect();
    let orders = statement!(
        steps::SQL_ORDERS_FOR_MAIL,
        sqlx::query_file!("sql/orders_for_mail.sql", &ids, &refunds as _)
    )
    .fetch_all(pool)
    .await?;
    let orders: HashMap<(Uuid, Option<Uuid>), _> =
        orders.into_iter().map(|order| ((order.order_id, order.refund_id), order)).collect();
    let mut lines: HashMap<Uuid, Vec<MailLine>> = HashMap::new();
    for line in
        statement!(steps::SQL_LINES_FOR_MAIL, sqlx::query_file!("sql/lines_for_mail.sql", &ids))
            .fetch_all(pool)
            .await?
    {
        lines.entry(line.order_id).or_default().push(MailLine {
            title: line.title,
            sku: line.sku,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        });
    }
    let mut mails = HashMap::new();
    for (row, topic) in rows.iter().zip(topics) {
        let Some(topic) = topic else { continue };
        let Some(order) = orders.get(&(row.order_id, refund_of(Some(topic)))) else { continue };
        let refund = match topic {
            Topic::Refund(_) => match (order.refund_state.as_deref(), order.refund_minor) {
                (Some(state), Some(minor)) => Some(refund(state, minor)?),
                (None, _) | (_, None) => continue,
            },
            // It was of everything.
            Topic::Refunded => Some(Refund::Done(order.total_minor)),
            Topic::ActionRequired | Topic::Confirmed | Topic::Declined | Topic::Cancelled => None,
        };
        let mail = Mail {
            order_id: row.order_id,
            sale_id: order.sale_id,
            topic,
            email: order.email.clone(),
            name: order.contact_name.clone(),
            sale_name: order.sale_name.clone(),
            currency: order.currency.clone(),
            total_minor: order.total_minor,
            refund,
            lines: lines.get(&row.order_id).cloned().unwrap_or_default(),
            state: order.state,
            end_reason: order.end_reason.clone(),
            placed_at: order.placed_at,
            locale: order.locale.clone(),
        };
        mails.insert((row.order_id, topic), mail);
    }
    Ok(mails)
}

/// The refund that a mail about `topic` is about.
fn refund_of(topic: Option<Topic>) -> Option<Uuid> {
    match topic? {
        Topic::Refund(refund_id) => Some(refund_id),
        Topic::ActionRequired
        | Topic::Confirmed
        | Topic::Declined
        | Topic::Cancelled
        | Topic::Refunded => None,
    }
}

/// A refund of `minor` in a state as the payment service spells it.
fn refund(state: &str, minor: i64) -> Result<Refund, sqlx::Error> {
    match state {
        "DONE" => Ok(Refund::Done(minor)),
        "DUE" | "PENDING" => Ok(Refund::UnderWay),
        "FAILED" => Ok(Refund::Failed),
        other => Err(sqlx::Error::Decode(format!("{other} is not a state of a refund").into())),
    }
}
