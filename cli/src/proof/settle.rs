//! Waits until the sale is at rest: every order at its end, every hold closed, every consequence carried out.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flashsale_proto::{
    inventory::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    sale::{EndSaleRequest, sale_service_client::SaleServiceClient},
};
use sqlx::{PgPool, Row as _};
use tonic::transport::Channel;

use crate::client::{request, request_id};

/// Longer than the longest hold, the provider's pace and every retry of a run take together. What is not at rest then is left to the
/// audit, which names it.
const AT_MOST: Duration = Duration::from_secs(300);

/// A pause between looks.
const LOOK: Duration = Duration::from_millis(200);

/// Ends the sale and waits. Returns whether everything came to rest. Without the record's address, `postgres`, only the stock tells.
pub(crate) async fn settle(
    channel: Channel,
    postgres: Option<&str>,
    sale_id: &str,
) -> anyhow::Result<bool> {
    let pool = match postgres {
        Some(url) => Some(PgPool::connect(url).await.context("Postgres does not answer")?),
        None => None,
    };
    let mut inventory = InventoryServiceClient::new(channel.clone());
    let began = Instant::now();
    let mut ended = false;
    while began.elapsed() < AT_MOST {
        let asked = GetStockRequest { sale_id: sale_id.to_owned(), skus: Vec::new() };
        let stock = inventory.get_stock(request(asked)).await?.into_inner().stock;
        let out: i64 = stock.iter().map(|sku| sku.held + sku.placed).sum();
        if out == 0 && undone(pool.as_ref()).await? == 0 {
            if let Some(pool) = pool {
                pool.close().await;
            }
            return Ok(true);
        }
        if !ended {
            let end = EndSaleRequest { request_id: request_id(), sale_id: sale_id.to_owned() };
            SaleServiceClient::new(channel.clone()).end_sale(request(end)).await?;
            ended = true;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

async fn undone(record: Option<&PgPool>) -> anyhow::Result<i64> {
    let Some(record) = record else { return Ok(0) };
    Ok(sqlx::query(
        "SELECT (SELECT count(*) FROM outbox WHERE done_at IS NULL)
            + (SELECT count(*) FROM orders WHERE state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED'))
            + (SELECT count(*) FROM refunds WHERE state = 'DUE') AS undone",
    )
    .fetch_one(record)
    .await?
    .try_get("undone")?)
}
