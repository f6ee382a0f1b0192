//! Sales that are written into the record as the sale service does, and loaded: for what no shop
//! would ask the sale service for.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use flashsale_proto::{
    NamedChannel,
    inventory::{LoadStockRequest, inventory_admin_service_client::InventoryAdminServiceClient},
};
use flashsale_testbed::fixtures::{self, SaleItem, SaleSpec};
use sqlx::PgPool;
use uuid::Uuid;

/// What each sku costs.
pub(crate) const PRICE_MINOR: i64 = 1_990;
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
    let sale = SaleSpec {
        name: "Benchmark",
        ends_in_ms: 24 * 3_600_000,
        hold_ms: 3_600_000,
        room: spec.room,
        room_rate: 1.0,
        // Otherwise the sale service would load it, too.
        propagated: true,
        ..SaleSpec::default()
    };
    let items = (0..spec.skus).map(|number| SaleItem {
        sku: format!("SKU-{number:02}"),
        title: format!("Item {number}"),
        units: spec.units,
        limit: 4,
        price_minor: PRICE_MINOR,
    });
    Ok(fixtures::record_sale(pool, sale, items).await?)
}

/// The calls that only operators make.
pub(crate) fn admin(inventory: NamedChannel) -> InventoryAdminServiceClient<NamedChannel> {
    InventoryAdminServiceClient::new(inventory)
}

/// Loads the stock of a sale and returns how long that took, in seconds.
pub(crate) async fn load(
    admin: &mut InventoryAdminServiceClient<NamedChannel>,
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
