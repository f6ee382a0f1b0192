//! What the outbox handlers read of recorded orders.

use std::collections::HashMap;

use flashsale_failpoint::Step as _;
use sqlx::PgPool;
use uuid::Uuid;

use super::outbox::Leased;
use crate::domain::{
    Payable,
    mail::{Mail, MailLine, Topic},
};

macro_rules! payable {
    ($row:expr) => {
        Payable {
            order_id: $row.order_id,
            sale_id: $row.sale_id,
            currency: $row.currency,
            total_minor: $row.total_minor,
            payment_method: $row.payment_method,
        }
    };
}

/// What the payments of `orders` need; an order that does not exist is missing.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn payables(
    pool: &PgPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, Payable>, sqlx::Error> {
    let orders = sqlx::query_file!("sql/orders_for_charge.sql", orders)
        .fetch_all(pool)
        .step("sql/orders_for_charge")
        .await?;
    Ok(orders.into_iter().map(|order| (order.order_id, payable!(order))).collect())
}

/// What the payment of one order needs.
///
/// # Errors
/// When Postgres does not answer, or there is no such order.
pub(crate) async fn payable(pool: &PgPool, order_id: Uuid) -> Result<Payable, sqlx::Error> {
    let order = sqlx::query_file!("sql/orders_for_charge.sql", &[order_id])
        .fetch_one(pool)
        .step("sql/orders_for_charge")
        .await?;
    Ok(payable!(order))
}

/// The sale and the hold of each order.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn holds(
    pool: &PgPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, (Uuid, Uuid)>, sqlx::Error> {
    let orders = sqlx::query_file!("sql/orders_for_holds.sql", orders)
        .fetch_all(pool)
        .step("sql/orders_for_holds")
        .await?;
    Ok(orders.into_iter().map(|order| (order.order_id, (order.sale_id, order.hold_id))).collect())
}

/// The sale of each order.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn sales(
    pool: &PgPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, sqlx::Error> {
    let orders = sqlx::query_file!("sql/orders_for_events.sql", orders)
        .fetch_all(pool)
        .step("sql/orders_for_events")
        .await?;
    Ok(orders.into_iter().map(|order| (order.order_id, order.sale_id)).collect())
}

/// The content of the mails in `rows`, by order and topic: an order can have two at once, a
/// confirmation and a refund.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn mails(
    pool: &PgPool,
    rows: &[Leased],
) -> Result<HashMap<(Uuid, Topic), Mail>, sqlx::Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
    let orders = sqlx::query_file!("sql/orders_for_mail.sql", &ids)
        .fetch_all(pool)
        .step("sql/orders_for_mail")
        .await?;
    let orders: HashMap<Uuid, _> =
        orders.into_iter().map(|order| (order.order_id, order)).collect();
    let mut lines: HashMap<Uuid, Vec<MailLine>> = HashMap::new();
    for line in sqlx::query_file!("sql/lines_for_mail.sql", &ids)
        .fetch_all(pool)
        .step("sql/lines_for_mail")
        .await?
    {
        lines.entry(line.order_id).or_default().push(MailLine {
            title: line.title,
            sku: line.sku,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        });
    }
    Ok(rows
        .iter()
        .filter_map(|row| {
            let order = orders.get(&row.order_id)?;
            let topic = Topic::of(row.about)?;
            let mail = Mail {
                order_id: row.order_id,
                topic,
                email: order.email.clone(),
                name: order.contact_name.clone(),
                sale_name: order.sale_name.clone(),
                currency: order.currency.clone(),
                total_minor: order.total_minor,
                lines: lines.get(&row.order_id).cloned().unwrap_or_default(),
                end_reason: order.end_reason.clone(),
                placed_at: order.placed_at,
                locale: order.locale.clone(),
            };
            Some(((row.order_id, topic), mail))
        })
        .collect())
}
