//! What is known of a sale's epoch, and when Postgres is asked.

use std::time::Duration;

use flashsale_inventory::domain::Refusal;
use flashsale_record::SaleState;
use uuid::Uuid;

use crate::world::{SaleSpec, inventory, reserve, world};

#[tokio::test]
async fn missing_and_unstarted_sales_are_refused() {
    let world = world().await;
    let nowhere = reserve(Uuid::new_v4(), "ada", &[("a", 1)]);
    assert_eq!(world.ask(&nowhere).await, Err(Refusal::SaleUnknown));
    let spec = SaleSpec { state: "DRAFT", ..SaleSpec::default() };
    let draft = world.record_sale(spec, &[("a", 1, 0, 1)]).await;
    let refusal = Refusal::NotOpen { state: SaleState::Draft, window_ms: None };
    assert_eq!(world.ask(&reserve(draft, "ada", &[("a", 1)])).await, Err(refusal));
    // Started, but its stock is not loaded yet: worth a retry.
    let started = world.record_sale(SaleSpec::default(), &[("a", 1, 0, 1)]).await;
    assert_eq!(world.ask(&reserve(started, "ada", &[("a", 1)])).await, Err(Refusal::Fenced));
}

#[tokio::test]
async fn known_sale_sells_without_postgres() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 9, 0, 1)]).await;
    let other_process = inventory(&world.pg, &world.store, &world.queue);
    world.pg.pool_of("inventory").close().await;
    world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap();
    let refusal = other_process.read(sale, &[]).await.unwrap_err();
    assert!(matches!(refusal, Refusal::StoreAway { store: "postgres", .. }), "{refusal:?}");
    assert!(other_process.loaded_sales().await.is_err());
}

#[tokio::test]
async fn stock_loaded_elsewhere_is_found() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 9, 0, 1)]).await;
    let other_process = inventory(&world.pg, &world.store, &world.queue);
    assert_eq!(other_process.read(sale, &[]).await, Err(Refusal::Fenced));
    world.inventory.load(sale, Uuid::new_v4()).await.unwrap();
    let view = flashsale_testbed::eventually("the other process knows", async || {
        other_process.read(sale, &[]).await.ok()
    })
    .await;
    assert_eq!((view.epoch, view.skus.len()), (1, 1));
}

#[tokio::test]
async fn a_sale_that_was_asked_for_while_it_was_loaded_is_served_once_it_is() {
    let world = world().await;
    // The question comes at another moment of the loading each time.
    for later in 0..60 {
        let sale = world.record_sale(SaleSpec::default(), &[("a", 1, 0, 1)]).await;
        let asking = async {
            tokio::time::sleep(Duration::from_micros(500 * later)).await;
            let _ = world.inventory.read(sale, &[]).await;
            std::future::pending::<()>().await;
        };
        let loading = async {
            world.inventory.load(sale, Uuid::new_v4()).await.unwrap();
            world.inventory.read(sale, &[]).await
        };
        tokio::select! {
            read = loading => assert!(read.is_ok(), "asked {} us after: {read:?}", 500 * later),
            () = asking => {}
        }
    }
}
