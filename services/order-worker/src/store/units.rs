//! Units: the rows of `sale_stock` and `allotments` that the transactions lock, and what is
//! claimed.

use std::collections::{BTreeMap, HashMap};

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::steps;

/// Units by (sale, sku), in the order in which their rows are locked.
pub(super) type Units = BTreeMap<(Uuid, String), i64>;

/// Locks the `sale_stock` rows of these sales and returns the epoch that each handed out last. A
/// sale whose stock was never loaded has no row.
pub(super) async fn lock_stock(
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

/// Locks the allotments of `skus` and returns how many units of each may still be claimed. A
/// missing row has none.
pub(super) async fn lock_allotments<'a>(
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

/// Adds `units`, which may be negative, to the claimed units. The rows must already be locked.
pub(super) async fn change_claimed(
    connection: &mut PgConnection,
    units: &Units,
) -> Result<(), sqlx::Error> {
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

/// By sale, the latest `sales` of them: units that its orders hold beyond what was allotted.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn oversold(
    pool: &SteppedPool,
    sales: i64,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let sales = statement!(steps::SQL_OVERSOLD, sqlx::query_file!("sql/oversold.sql", sales))
        .fetch_all(pool)
        .await?;
    Ok(sales.into_iter().map(|sale| (sale.sale_id, sale.units)).collect())
}
