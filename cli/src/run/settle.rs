//! Waits until the sale is at rest: every order at its end, every hold closed, every consequence carried out.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flashsale_proto::{
    inventory::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    sale::{EndSaleRequest, Sale, sale_service_client::SaleServiceClient},
};
use sqlx::{PgPool, Row as _};

use super::LOOK;
use crate::{
    client::{request, request_id},
    stack::Stack,
};

/// Longer than the longest hold, the provider's pace and every retry of a run take together. What is not at rest then is left to the
/// audit, which names it.
const AT_MOST: Duration = Duration::from_secs(300);

/// Ends the sale and waits. Returns whether everything came to rest.
pub(crate) async fn settle(stack: &Stack, sale: &Sale) -> anyhow::Result<bool> {
    let channel = stack.channel().await?;
    let pool = PgPool::connect(&stack.postgres_url()).await.context("Postgres does not answer")?;
    let mut inventory = InventoryServiceClient::new(channel.clone());
    let began = Instant::now();
    let mut ended = false;
    while began.elapsed() < AT_MOST {
        let asked = GetStockRequest { sale_id: sale.sale_id.clone(), skus: Vec::new() };
        let stock = inventory.get_stock(request(asked)).await?.into_inner().stock;
        let out: i64 = stock.iter().map(|sku| sku.held + sku.placed).sum();
        let undone: i64 = sqlx::query(
            "SELECT (SELECT count(*) FROM outbox WHERE done_at IS NULL)
                + (SELECT count(*) FROM orders WHERE state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED'))
                + (SELECT count(*) FROM refunds WHERE state = 'DUE') AS undone",
        )
        .fetch_one(&pool)
        .await?
        .try_get("undone")?;
        if out == 0 && undone == 0 {
            pool.close().await;
            return Ok(true);
        }
        if !ended {
            let end = EndSaleRequest { request_id: request_id(), sale_id: sale.sale_id.clone() };
            SaleServiceClient::new(channel.clone()).end_sale(request(end)).await?;
            ended = true;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}
