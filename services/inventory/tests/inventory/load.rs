//! Loading stock, and failures at every step.

use flashsale_inventory::domain::Refusal;
use flashsale_testbed::fixtures::{self, OrderSpec};
use uuid::Uuid;

use crate::world::{SaleSpec, World, inventory, reserve, world};

async fn stock_row(world: &World, sale: Uuid) -> Option<(i64, String)> {
    sqlx::query_as("SELECT epoch, run_id FROM sale_stock WHERE sale_id = $1")
        .bind(sale)
        .fetch_optional(&world.pg.pool)
        .await
        .unwrap()
}

async fn allotted(world: &World, sale: Uuid) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT sku, allotted FROM allotments WHERE sale_id = $1 ORDER BY sku")
        .bind(sale)
        .fetch_all(&world.pg.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn load_opens_stock() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500), ("b", 3, 0, 900)]).await;
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Ok(1));
    let server = world.store.server().await.unwrap();
    assert_eq!(stock_row(&world, sale).await, Some((1, server.to_string())));
    assert_eq!(allotted(&world, sale).await, [("a".to_owned(), 7), ("b".to_owned(), 3)]);
    assert_eq!(world.books(sale, "a").await, [7, 0, 0, 0]);
    let meta = world.hash(sale, 0).await;
    assert_eq!(
        (meta["state"].as_str(), meta["currency"].as_str(), meta["room"].as_str()),
        ("OPEN", "EUR", "0")
    );
    assert_eq!((meta["hold_ms"].as_str(), meta["version"].as_str()), ("600000", "1"));
}

#[tokio::test]
async fn repeated_load_gets_same_answer() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    let request_id = Uuid::new_v4();
    assert_eq!(world.inventory.load(sale, request_id).await, Ok(1));
    world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap();
    let before = world.dump().await;
    assert_eq!(world.inventory.load(sale, request_id).await, Ok(1));
    let other = world.inventory.load(sale, Uuid::new_v4()).await;
    assert_eq!(other, Err(Refusal::AlreadyLoaded { epoch: 1 }));
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn large_sale_is_loaded_whole() {
    let world = world().await;
    // The planner has statistics of small sales only: if it compared each item with all, this would
    // exceed the timeout of a statement.
    world.sale(SaleSpec::default(), &[("a", 1, 0, 1)]).await;
    sqlx::query("ANALYZE").execute(&world.pg.pool).await.unwrap();
    let skus: Vec<String> = (0..20_000).map(|number| format!("sku-{number:05}")).collect();
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 10_000_000, 5, 100)).collect();
    let sale = world.sale(SaleSpec::default(), &items).await;
    let view = world.inventory.read(sale, &[]).await.unwrap();
    assert!(view.skus.iter().map(|books| &books.sku).eq(&skus));
    assert!(
        view.skus.iter().all(|books| (books.allotted, books.available) == (10_000_000, 10_000_000))
    );
    world.ask(&reserve(sale, "ada", &[("sku-00000", 1), ("sku-19999", 5)])).await.unwrap();
}

#[tokio::test]
async fn load_cut_off_before_redis_is_redone() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    // The record has handed out an epoch, and then the load was cut off.
    let begun = "INSERT INTO sale_stock (sale_id, epoch, run_id, server) VALUES ($1, 1, '', $2)";
    let server = world.store.server().await.unwrap().to_string();
    sqlx::query(begun).bind(sale).bind(server).execute(&world.pg.pool).await.unwrap();
    assert_eq!(world.ask(&reserve(sale, "ada", &[("a", 1)])).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Ok(2));
    world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap();
}

#[tokio::test]
async fn load_cut_off_before_record_is_completed() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    let request_id = Uuid::new_v4();
    world.inventory.load(sale, request_id).await.unwrap();
    sqlx::query("UPDATE sale_stock SET run_id = ''").execute(&world.pg.pool).await.unwrap();
    let other_process = inventory(&world.pg, &world.store, &world.queue);
    assert_eq!(other_process.read(sale, &[]).await, Err(Refusal::Fenced));
    assert_eq!(other_process.load(sale, request_id).await, Ok(1));
    let server = world.store.server().await.unwrap();
    assert_eq!(stock_row(&world, sale).await, Some((1, server.to_string())));
    other_process.read(sale, &[]).await.unwrap();
}

#[tokio::test]
async fn neither_a_plan_nor_a_lost_stock_is_loaded() {
    let world = world().await;
    for state in ["DRAFT", "SCHEDULED"] {
        let spec = SaleSpec { state, ..SaleSpec::default() };
        let sale = world.record_sale(spec, &[("a", 7, 2, 500)]).await;
        let refusal = world.inventory.load(sale, Uuid::new_v4()).await.unwrap_err();
        assert!(matches!(refusal, Refusal::NotLoadable { .. }), "{refusal:?}");
        assert_eq!(stock_row(&world, sale).await, None);
    }
    let sale = world.sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Err(Refusal::Fenced));
    assert!(world.dump().await.is_empty());
}

#[tokio::test]
async fn sale_with_orders_is_not_loaded() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    let order = OrderSpec { total_minor: 500, ..OrderSpec::new(sale, "ada") };
    fixtures::record_order(&world.pg.pool, &order).await.unwrap();
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Err(Refusal::Fenced));
    assert_eq!(stock_row(&world, sale).await, None);
}

#[tokio::test]
async fn empty_sale_is_not_loaded() {
    let world = world().await;
    let empty = world.record_sale(SaleSpec::default(), &[]).await;
    let refusal = world.inventory.load(empty, Uuid::new_v4()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NotLoadable { .. }), "{refusal:?}");
    assert_eq!(
        world.inventory.load(Uuid::new_v4(), Uuid::new_v4()).await,
        Err(Refusal::SaleUnknown)
    );
    assert_eq!(world.inventory.sync(Uuid::new_v4()).await, Err(Refusal::SaleUnknown));
}

#[tokio::test]
async fn racing_loaders_leave_one_stock() {
    let world = world().await;
    let sale = world.record_sale(SaleSpec::default(), &[("a", 7, 2, 500), ("b", 1, 0, 1)]).await;
    let processes: Vec<_> =
        (0..6).map(|_| inventory(&world.pg, &world.store, &world.queue)).collect();
    let loads = processes.iter().map(|process| process.load(sale, Uuid::new_v4()));
    for result in futures::future::join_all(loads).await {
        assert!(
            matches!(result, Ok(_) | Err(Refusal::AlreadyLoaded { .. } | Refusal::Fenced)),
            "{result:?}"
        );
    }
    // Those that lost may try again; then there is one stock.
    let again = world.inventory.load(sale, Uuid::new_v4()).await;
    assert!(matches!(again, Ok(_) | Err(Refusal::AlreadyLoaded { .. })), "{again:?}");
    let (epoch, _) = stock_row(&world, sale).await.unwrap();
    assert_eq!(world.hash(sale, 0).await["epoch"], epoch.to_string());
    assert_eq!(world.books(sale, "a").await, [7, 0, 0, 0]);
    assert!(matches!(
        world.inventory.load(sale, Uuid::new_v4()).await,
        Err(Refusal::AlreadyLoaded { epoch: loaded }) if loaded == epoch
    ));
}

#[tokio::test]
async fn older_rules_never_replace_newer() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 7, 2, 500)]).await;
    world.change_sale(sale, "state = 'PAUSED', hold_ms = 5000").await;
    let meta = world.hash(sale, 0).await;
    assert_eq!((meta["state"].as_str(), meta["hold_ms"].as_str()), ("PAUSED", "5000"));
    // What an instance read before the change, and sends only now.
    sqlx::query("UPDATE sales SET version = 1, state = 'OPEN'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    assert_eq!(world.inventory.sync(sale).await.unwrap().version, 2);
    assert_eq!(world.hash(sale, 0).await, meta);
}
