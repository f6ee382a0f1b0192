//! Sales that are written into the record as the sale service does, and loaded: for what no shop would ask the sale service for.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flashsale_proto::inventory::{
    LoadStockRequest, inventory_admin_service_client::InventoryAdminServiceClient,
};
use sqlx::PgPool;
use tonic::transport::Channel;
use uuid::Uuid;

/// Loading and rebuilding may take long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a sale has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    /// Skus, named as [`crate::calls::sku`] does.
    pub(crate) skus: i32,
    /// Units of each.
    pub(crate) units: i64,
    /// Whether a waiting room stands in front of it.
    pub(crate) room: bool,
}

/// Writes an open sale into the record.
pub(crate) async fn record(pool: &PgPool, spec: Spec) -> anyhow::Result<Uuid> {
    let sale_id = Uuid::new_v4();
    sqlx::query(
        // As if everybody had been told: otherwise the sale service would load it, too.
        "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms,
             version, propagated_version)
         VALUES ($1, 'Benchmark', 'EUR', 'OPEN', now() - interval '1 min', now() + interval '1 day', 3600000, $2, $3, 1, 1)",
    )
    .bind(sale_id)
    .bind(spec.room.then_some(1.0))
    .bind(spec.room.then_some(60_000_i64))
    .execute(pool)
    .await?;
    sqlx::query(
        "INSERT INTO sale_items (sale_id, sku, title, price_minor, quantity, per_buyer_limit)
         SELECT $1, 'SKU-' || lpad(n::text, greatest(2, length(n::text)), '0'), 'Item ' || n, 1990, $2, 4
           FROM generate_series(0, $3 - 1) n",
    )
    .bind(sale_id)
    .bind(spec.units)
    .bind(spec.skus)
    .execute(pool)
    .await?;
    Ok(sale_id)
}

/// The calls that only operators make.
pub(crate) fn admin(inventory: Channel) -> InventoryAdminServiceClient<Channel> {
    InventoryAdminServiceClient::new(inventory)
}

/// Loads the stock of a sale and returns how long that took, in seconds.
pub(crate) async fn load(
    admin: &mut InventoryAdminServiceClient<Channel>,
    sale_id: Uuid,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let load =
        LoadStockRequest { request_id: Uuid::new_v4().to_string(), sale_id: sale_id.to_string() };
    admin.load_stock(patient(load)).await.context("the stock was not loaded")?;
    Ok(began.elapsed().as_secs_f64())
}

/// A request that may take long.
pub(crate) fn patient<R>(message: R) -> tonic::Request<R> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
