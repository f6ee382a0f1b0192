//! What is measured once a run: what a hold takes in Redis, and how long it takes to load and to
//! rebuild a stock.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use flashsale_proto::inventory::RebuildRequest;
use flashsale_testbed::fixtures::{OrderSpec, record_orders};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    calls::{details, sku},
    ceilings,
    claims::PATIENCE,
    platform::Platform,
    sales::{self, PRICE_MINOR, Spec},
};

/// What a service claims at a time by default.
const CLAIM_BATCH: u32 = 200;

const KEYS: [&str; 9] =
    ["meta", "stock", "holds", "deadlines", "pending", "orders", "requests", "buyers", "spent"];

/// Bytes that all keys of a sale take in Redis, as it reckons them itself.
pub(crate) async fn bytes(platform: &Platform, sale_id: Uuid) -> anyhow::Result<i64> {
    let mut bytes = 0;
    for key in KEYS {
        let command = format!("MEMORY USAGE fs:{{{sale_id}}}:{key} SAMPLES 0");
        let answer = ceilings::ask(&platform.redis_address(), &command).await?;
        // A key that is not there takes nothing.
        let size = answer.strip_prefix(':').and_then(|size| size.parse::<i64>().ok());
        bytes += size.unwrap_or(0);
    }
    Ok(bytes)
}

/// Loads a sale with many skus.
pub(crate) async fn load(platform: &Platform, skus: u32) -> anyhow::Result<Value> {
    let mut admin = sales::admin(platform.channel("inventory").await?);
    let skus = i32::try_from(skus)?;
    let spec = Spec { skus, units: 100, room: false };
    let sale_id = sales::record(platform.pool(), spec).await?;
    let seconds = sales::load(&mut admin, sale_id).await?;
    let key = format!("fs:{{{sale_id}}}:stock");
    let fields = ceilings::length(&platform.redis_address(), &key).await?;
    ensure!(fields == i64::from(skus) * 7, "{fields} fields of stock were loaded");
    Ok(json!({ "skus": skus, "seconds": seconds }))
}

/// Rebuilds the stock of a sale with many recorded orders, while nothing is queued; then again
/// behind what `backlog` left in the queue.
pub(crate) async fn rebuild(
    platform: &Platform,
    holds: u32,
    queued: u64,
    backlog: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Value> {
    let holds = i32::try_from(holds)?;
    let sale_id = recorded_sale(platform, holds).await?;
    let claimer = platform.claimer(CLAIM_BATCH).await?;
    let idle = rebuilt(platform, sale_id, holds).await?;
    claimer.stop_within(PATIENCE).await?;
    backlog.await?;
    let claimer = platform.claimer(CLAIM_BATCH).await?;
    let behind = rebuilt(platform, sale_id, holds).await?;
    claimer.stop_within(PATIENCE).await?;
    Ok(json!({
        "holds": holds,
        "seconds": idle,
        "backlog": { "orders": queued, "seconds": behind },
    }))
}

async fn rebuilt(platform: &Platform, sale_id: Uuid, expected: i32) -> anyhow::Result<f64> {
    let mut admin = sales::admin(platform.channel("inventory").await?);
    let request_id = Uuid::new_v4().to_string();
    let ask = RebuildRequest { request_id, sale_id: sale_id.to_string(), force: true };
    let began = Instant::now();
    let answer = admin.rebuild(sales::patient(ask)).await.context("not rebuilt")?.into_inner();
    let seconds = began.elapsed().as_secs_f64();
    ensure!(answer.rebuilt, "the stock was not rebuilt");
    let key = format!("fs:{{{sale_id}}}:holds");
    let holds = ceilings::length(&platform.redis_address(), &key).await?;
    ensure!(holds == i64::from(expected), "{holds} holds came back");
    Ok(seconds)
}

/// A sale with orders that are recorded and not settled: each has a live hold.
async fn recorded_sale(platform: &Platform, holds: i32) -> anyhow::Result<Uuid> {
    let pool = platform.pool();
    let mut admin = sales::admin(platform.channel("inventory").await?);
    let spec = Spec { skus: 12, units: 1_000_000, room: false };
    let sale_id = sales::record(pool, spec).await?;
    sales::load(&mut admin, sale_id).await?;
    // Of each order its number, the hash of its request, its buyer and what it is for.
    let texts: Vec<_> = (0..holds.unsigned_abs().into())
        .map(|number| (number, format!("{number:064x}"), format!("rebuilt-{number}"), sku(number)))
        .collect();
    let orders: Vec<_> = texts
        .iter()
        .map(|(number, request_hash, buyer_id, sku)| OrderSpec {
            request_hash,
            total_minor: PRICE_MINOR,
            details: details(*number),
            lines: vec![(sku, 1, PRICE_MINOR)],
            takes_units: true,
            ..OrderSpec::new(sale_id, buyer_id)
        })
        .collect();
    record_orders(pool, &orders).await?;
    Ok(sale_id)
}
