//! Readers of one sale and buyers of another at one instance.

use std::time::Instant;

use flashsale_proto::{
    NamedChannel,
    inventory::{self as proto, inventory_service_client::InventoryServiceClient},
};
use futures::future::{join, join_all};
use uuid::Uuid;

use crate::{
    reading::{log_runs, runs},
    service::{reserve, serve_world_with},
    world::{SaleSpec, world},
};

/// Skus of the sale that is read: four pages of its reading.
const SKUS: usize = 2_000;
/// The age of a shared reading for each 1,000 skus.
const SHARED_MS: u128 = 2_500;
/// Readers and buyers, and how often each calls.
const EACH: usize = 64;
const CALLS: usize = 10;

type Client = InventoryServiceClient<NamedChannel>;

async fn read_all(mut stock: Client, sale: Uuid) {
    for _ in 0..CALLS {
        let ask =
            proto::GetStockRequest { sale_id: sale.to_string(), skus: Vec::new(), fresh: false };
        let shown = stock.get_stock(ask).await.unwrap().into_inner().stock;
        assert_eq!(shown.len(), SKUS);
    }
}

async fn buy(mut stock: Client, sale: Uuid, buyer: usize) {
    for _ in 0..CALLS {
        let ask = reserve(sale, &format!("buyer-{buyer}"), &[("tee", 1)], "");
        stock.reserve(ask).await.unwrap();
    }
}

/// What the store does for readers depends on the size of their sale and on time, however many
/// there are; and no run of it is longer than a page, so that is what a buyer may wait for.
#[tokio::test]
async fn readers_of_a_large_sale_share_runs_beside_buyers_of_another() {
    let world = world().await;
    log_runs(&world).await;
    let shared_ms = SHARED_MS.to_string();
    let more = [("FLASHSALE_INVENTORY__SHARED_READING_MS", shared_ms.as_str())];
    let server = serve_world_with(&world, "nats://127.0.0.1:1", &more).await;
    let stock = InventoryServiceClient::new(server.channel().await);
    let skus: Vec<String> = (0..SKUS).map(|number| format!("read-{number:05}")).collect();
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 10, 0, 1_999)).collect();
    let began = Instant::now();
    let large = world.sale(SaleSpec::default(), &items).await;
    let other = world.sale(SaleSpec::default(), &[("tee", 1_000, 0, 1)]).await;

    let readers = join_all((0..EACH).map(|_| read_all(stock.clone(), large)));
    let buyers = join_all((0..EACH).map(|buyer| buy(stock.clone(), other, buyer)));
    join(readers, buyers).await;
    let lasted_ms = began.elapsed().as_millis();

    let bought = i64::try_from(EACH * CALLS).unwrap();
    assert_eq!(world.books(other, "tee").await, [1_000 - bought, bought, 0, 0]);
    let pages = runs(&world, "read-").await;
    // A reading of 2,000 skus is shared for twice as long, also with the metrics.
    let readings = 1 + lasted_ms / (2 * SHARED_MS);
    let touched = pages.iter().sum::<usize>() as u128;
    assert!(touched >= SKUS as u128, "{pages:?}");
    assert!(touched <= readings * SKUS as u128, "{readings} readings: {pages:?}");
    assert!(pages.iter().all(|skus| *skus <= 1_000), "{pages:?}");
}
