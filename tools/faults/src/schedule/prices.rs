//! What units cost by the stores: the revisions of a sale's prices, and what each hold and order
//! has of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    figures::Figures,
    platform::{
        Platform, Sale,
        stores::{HoldLine, Stock},
    },
};

/// A change of a sale's prices.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(super) struct Revision {
    pub(super) revision: i64,
    pub(super) effective_ms: i64,
    /// Absent while the stock is not known to have it.
    pub(super) switches_ms: Option<i64>,
    pub(super) replaced_by: Option<i64>,
}

/// All changes of a sale's prices, the oldest first.
pub(super) async fn revisions(pool: &PgPool, sale: &Sale) -> anyhow::Result<Vec<Revision>> {
    let revisions = sqlx::query_as(
        "SELECT revision, replaced_by,
             floor(extract(epoch FROM effective_at) * 1000)::bigint AS effective_ms,
             floor(extract(epoch FROM switches_at) * 1000)::bigint AS switches_ms
         FROM price_revisions WHERE sale_id = $1 ORDER BY revision",
    )
    .bind(sale.id)
    .fetch_all(pool)
    .await?;
    Ok(revisions)
}

/// The prices of a sale in all revisions.
struct Prices {
    revisions: Vec<Revision>,
    /// By sku and revision.
    minor: BTreeMap<(String, i64), i64>,
}

impl Prices {
    async fn read(pool: &PgPool, sale: &Sale) -> anyhow::Result<Self> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT sku, 1::bigint, price_minor FROM sale_items WHERE sale_id = $1
             UNION ALL
             SELECT sku, revision, price_minor FROM sale_prices WHERE sale_id = $1",
        )
        .bind(sale.id)
        .fetch_all(pool)
        .await?;
        let minor =
            rows.into_iter().map(|(sku, revision, minor)| ((sku, revision), minor)).collect();
        Ok(Self { revisions: revisions(pool, sale).await?, minor })
    }

    /// The revision that set the price at which units of a sku were taken at this time.
    fn at(&self, sku: &str, at_ms: i64) -> i64 {
        let switched = self.revisions.iter().filter(|revision| {
            let replaced = revision.replaced_by.is_some();
            !replaced && revision.switches_ms.is_some_and(|switches_ms| switches_ms <= at_ms)
        });
        let numbers = switched.map(|revision| revision.revision);
        let of_sku = numbers.filter(|number| self.minor.contains_key(&(sku.to_owned(), *number)));
        of_sku.max().unwrap_or(1)
    }

    /// Whether a line has a price of this sale, and says of which revision it is.
    fn has(&self, HoldLine(sku, _, minor, revision): &HoldLine) -> bool {
        self.minor.get(&(sku.clone(), *revision)) == Some(minor)
    }
}

/// An order by the record.
#[derive(Debug, sqlx::FromRow)]
struct Order {
    order_id: Uuid,
    hold_id: Uuid,
    epoch: i64,
    state: String,
    total_minor: i64,
    captured_minor: Option<i64>,
}

/// Counts the lines of holds and orders whose price is not that of their revision, and the holds
/// that were taken at an old price after its end or at a new one before its beginning, by the clock
/// of Redis; takes note of orders that were not confirmed at their price, of those that buyers were
/// told are accepted.
///
/// The stock of an epoch after the first has the orders of those before it, whose units were taken
/// at another time than their holds say.
pub(super) async fn expect_prices(
    platform: &Platform,
    sale: &Sale,
    accepted: &BTreeSet<Uuid>,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let pool = &platform.pool;
    let prices = Prices::read(pool, sale).await?;
    let stock = Stock::read(platform.redis.port(), sale.id).await?;
    let orders: Vec<Order> = sqlx::query_as(
        "SELECT order_id, hold_id, o.epoch, o.state, total_minor, captured_minor
         FROM orders o LEFT JOIN payments USING (order_id) WHERE o.sale_id = $1",
    )
    .bind(sale.id)
    .fetch_all(pool)
    .await?;
    let rows: Vec<(Uuid, String, i64, i64, i64)> = sqlx::query_as(
        "SELECT order_id, sku, quantity, unit_price_minor, price_revision
         FROM order_lines JOIN orders USING (order_id) WHERE sale_id = $1 ORDER BY sku",
    )
    .bind(sale.id)
    .fetch_all(pool)
    .await?;
    let mut lines = HashMap::<Uuid, Vec<HoldLine>>::new();
    for (order, sku, units, minor, revision) in rows {
        lines.entry(order).or_default().push(HoldLine(sku, units, minor, revision));
    }

    let older = orders.iter().filter(|order| order.epoch < stock.epoch);
    let older: BTreeSet<Uuid> = older.map(|order| order.hold_id).collect();
    let (mut old, mut new, mut before, mut after) = (0, 0, 0, 0);
    for (id, hold) in stock.holds.iter().filter(|(id, _)| !older.contains(id)) {
        for HoldLine(sku, _, _, revision) in &hold.lines {
            let due = prices.at(sku, hold.taken_ms);
            old += i64::from(*revision < due);
            new += i64::from(*revision > due);
            before += u64::from(due == 1);
            after += u64::from(due > 1);
            figures.expect(*revision == due, || {
                format!("hold {id} of {} has revision {revision}, not {due}", hold.taken_ms)
            });
        }
    }
    figures.wrong("old_price_taken", old);
    figures.wrong("new_price_taken", new);
    figures.count("taken_before_switch", before);
    figures.count("taken_after_switch", after);
    figures.expect(after > 0, || "no unit was taken at a new price".to_owned());

    let of_holds = stock.holds.values().flat_map(|hold| &hold.lines);
    let all = of_holds.chain(lines.values().flatten());
    figures.wrong("foreign_prices", i64::try_from(all.filter(|line| !prices.has(line)).count())?);
    for order in &orders {
        let lines = lines.remove(&order.order_id).unwrap_or_default();
        let total: i64 = lines.iter().map(|HoldLine(_, units, minor, _)| units * minor).sum();
        figures.expect(order.total_minor == total, || format!("{order:?} has {lines:?}"));
        // A hold of the two items has one of them.
        let hold = stock.holds.get(&order.hold_id).map(|hold| hold.lines.clone());
        figures.expect(hold.as_ref().is_none_or(|held| *held == lines), || {
            format!("{order:?} has {lines:?}, and its hold {hold:?}")
        });
        if accepted.contains(&order.order_id) {
            let paid = order.captured_minor == Some(total) && order.state == "CONFIRMED";
            figures.expect(paid, || format!("{order:?} of {total} is not confirmed at its price"));
            figures.count("confirmed", u64::from(paid));
        }
    }
    let recorded: BTreeSet<Uuid> = orders.iter().map(|order| order.order_id).collect();
    for lost in accepted.difference(&recorded) {
        figures.broken.push(format!("order {lost} was accepted and is not in the record"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_is_that_of_the_last_revision_of_the_sku() {
        let revision = |revision, switches_ms, replaced_by| Revision {
            revision,
            effective_ms: 0,
            switches_ms,
            replaced_by,
        };
        let prices = Prices {
            revisions: vec![
                revision(2, Some(10), Some(3)),
                revision(3, Some(20), None),
                revision(4, Some(30), None),
                revision(5, None, None),
            ],
            minor: [("A", 1, 900), ("A", 2, 700), ("A", 3, 800), ("A", 5, 600), ("B", 1, 500)]
                .map(|(sku, revision, minor)| ((sku.to_owned(), revision), minor))
                .into(),
        };
        assert_eq!([9, 10, 19, 20, 30, 99].map(|at_ms| prices.at("A", at_ms)), [1, 1, 1, 3, 3, 3]);
        assert_eq!(prices.at("B", 99), 1);
        let line = |minor, revision| HoldLine("A".to_owned(), 1, minor, revision);
        assert!(prices.has(&line(800, 3)));
        assert!(!prices.has(&line(800, 1)) && !prices.has(&line(900, 3)));
        assert!(!prices.has(&line(800, 4)));
    }
}
