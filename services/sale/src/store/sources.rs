//! Where the items of an imported sale stood in its file.

use sqlx::{PgConnection, query_file};

use crate::domain::NewSale;

/// Records them with the sale, in its transaction.
///
/// # Errors
/// When Postgres does not answer.
pub(super) async fn insert(tx: &mut PgConnection, sale: &NewSale) -> sqlx::Result<()> {
    let (mut skus, mut formats, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let (mut keys, mut stocks) = (Vec::new(), Vec::new());
    let (mut prices, mut regular_prices) = (Vec::new(), Vec::new());
    for source in &sale.sources {
        skus.push(source.sku.as_str());
        formats.push(source.format.name());
        lines.push(source.line);
        keys.push(source.key.as_str());
        stocks.push(source.stock);
        prices.push(source.price_minor);
        regular_prices.push(source.regular_minor);
    }
    query_file!(
        "sql/insert_sources.sql",
        sale.id,
        &skus as _,
        &formats as _,
        &lines,
        &keys as _,
        &stocks as _,
        &prices as _,
        &regular_prices as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
