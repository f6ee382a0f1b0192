//! Reads what the record says about the orders, sales and units of a batch, under locks.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    parked,
    transitions::state_of,
    units::{lock_allotments, lock_stock},
};
use crate::domain::{Books, CancelTarget, Known, Message, Price, Prices, SaleFacts};

/// Reads and locks everything that the batch touches, in the lock order: the stock of sales that
/// have a marker in it, then allotments, parked orders and orders.
pub(super) async fn read_books(
    connection: &mut PgConnection,
    messages: &[(u64, Message)],
) -> Result<Books, sqlx::Error> {
    let fenced: BTreeSet<Uuid> = messages
        .iter()
        .filter_map(|(_, message)| match message {
            Message::Fence { sale_id, .. } => Some(*sale_id),
            Message::Place(_)
            | Message::Cancel { .. }
            | Message::Unrecordable { .. }
            | Message::Closing { .. } => None,
        })
        .collect();
    // Until the marker of the latest epoch is passed, a parked order may be claimed whatever
    // inventory says about its units, because the stock of that epoch will count the claim. The
    // transaction that claims it holds this row from its check until its commit. If the marker were
    // passed in between, the stock could be computed without the order, and its units would be sold
    // twice.
    let epochs: HashMap<Uuid, i64> =
        lock_stock(connection, &fenced.into_iter().collect::<Vec<_>>()).await?;

    let skus: BTreeSet<(Uuid, String)> = messages
        .iter()
        .filter_map(|(_, message)| match message {
            Message::Place(order) => Some(order),
            Message::Cancel { .. }
            | Message::Unrecordable { .. }
            | Message::Fence { .. }
            | Message::Closing { .. } => None,
        })
        .flat_map(|order| order.lines.iter().map(|line| (order.sale_id, line.sku.clone())))
        .collect();
    let order_ids: BTreeSet<Uuid> =
        messages.iter().filter_map(|(_, message)| message.order_id()).collect();
    let order_ids: Vec<Uuid> = order_ids.into_iter().collect();
    let books = read_orders(connection, &skus, &order_ids).await?;

    let sale_ids: BTreeSet<Uuid> = messages.iter().map(|(_, message)| message.sale_id()).collect();
    let sale_ids: Vec<Uuid> = sale_ids.into_iter().collect();
    let mut prices = read_prices(connection, messages).await?;
    let sales = sqlx::query_file!("sql/sales_known.sql", &sale_ids)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| {
            let epoch = epochs.get(&row.sale_id).copied();
            let by_revision = prices.remove(&row.sale_id).unwrap_or_default();
            let prices = Prices { currency: row.currency, by_revision };
            (row.sale_id, SaleFacts { fence: row.epoch, epoch, prices })
        })
        .collect();
    Ok(Books { sales, ..books })
}

/// What the skus cost that orders of the batch are about to enter the record with, in the revisions
/// that these name, by sale.
async fn read_prices(
    connection: &mut PgConnection,
    messages: &[(u64, Message)],
) -> Result<HashMap<Uuid, HashMap<(String, i64), Price>>, sqlx::Error> {
    // Most orders of a batch are about the same few.
    let asked: BTreeSet<(Uuid, &str, i64)> = messages
        .iter()
        .filter_map(|(_, message)| match message {
            Message::Place(order) => Some(order),
            Message::Cancel { target: CancelTarget::Placed(order), .. } => Some(&**order),
            Message::Cancel { target: CancelTarget::Recorded { .. }, .. }
            | Message::Unrecordable { .. }
            | Message::Fence { .. }
            | Message::Closing { .. } => None,
        })
        .flat_map(|order| {
            order.lines.iter().map(|line| (order.sale_id, line.sku.as_str(), line.price_revision))
        })
        // Postgres takes no NUL; a sku that has one has no price.
        .filter(|(_, sku, _)| !sku.contains('\0'))
        .collect();
    let mut prices: HashMap<Uuid, HashMap<(String, i64), Price>> = HashMap::new();
    if asked.is_empty() {
        return Ok(prices);
    }
    let (mut sale_ids, mut skus, mut revisions) = (vec![], vec![], vec![]);
    for (sale_id, sku, revision) in asked {
        sale_ids.push(sale_id);
        skus.push(sku);
        revisions.push(revision);
    }
    let rows = sqlx::query_file!("sql/sale_prices.sql", &sale_ids, &skus as _, &revisions)
        .fetch_all(connection)
        .await?;
    for row in rows {
        let price = Price { minor: row.price_minor, placed_until: row.placed_until };
        prices.entry(row.sale_id).or_default().insert((row.sku, row.revision), price);
    }
    Ok(prices)
}

/// Reads and locks what is left of `skus`, which of the orders are parked, and which have a row. A
/// parked order is locked before its row is looked for: a transaction that claims it and one that
/// cancels it wait for each other there, and the second sees what the first has written.
pub(super) async fn read_orders(
    connection: &mut PgConnection,
    skus: &BTreeSet<(Uuid, String)>,
    order_ids: &[Uuid],
) -> Result<Books, sqlx::Error> {
    let left = lock_allotments(connection, skus.iter()).await?.into_iter().collect();
    let parked = parked::lock(connection, order_ids).await?;
    let known = sqlx::query_file!("sql/orders_known.sql", order_ids)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| {
            let known =
                Known { state: state_of(&row.state)?, cancel_requested: row.cancel_requested };
            Ok((row.order_id, known))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Books { known, left, parked, ..Books::default() })
}
