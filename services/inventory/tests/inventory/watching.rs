//! Following a sale's stock over gRPC.

use std::time::{Duration, Instant};

use flashsale_errors::Reason;
use flashsale_inventory::domain::Outcome;
use flashsale_proto::{
    NamedChannel,
    inventory::{self as proto, inventory_service_client::InventoryServiceClient},
};
use flashsale_testbed::{TestServer, assert_failure, eventually, test_keys};
use futures::future::join_all;
use tonic::{Status, Streaming, transport::Endpoint};
use uuid::Uuid;

use crate::{
    reading::{log_runs, runs},
    service::{id, reserve, serve_world_with},
    window::prepared,
    world::{SaleSpec, World, place_lines, reserve as asked, world},
};

type Client = InventoryServiceClient<NamedChannel>;
type Watching = Streaming<proto::WatchStockResponse>;

/// So long that no test receives anything because of it.
const NEVER: &str = "600000";

struct Served {
    world: World,
    server: TestServer,
    stock: Client,
}

/// A service with this interval between readings and this many watchers.
async fn served(every_ms: &str, max_watchers: &str) -> Served {
    let world = world().await;
    log_runs(&world).await;
    let more = [
        ("FLASHSALE_INVENTORY__WATCH_EVERY_MS", every_ms),
        ("FLASHSALE_INVENTORY__MAX_WATCHERS", max_watchers),
    ];
    let server = serve_world_with(&world, "nats://127.0.0.1:1", &more).await;
    let stock = InventoryServiceClient::new(server.channel().await);
    Served { world, server, stock }
}

impl Served {
    /// How often a stock with the sku `tee` was read from Redis, by any process.
    async fn readings(&self) -> u64 {
        runs(&self.world, "tee").await.len() as u64
    }
}

async fn watch(stock: &Client, sale: Uuid) -> Result<Watching, Status> {
    let ask = proto::WatchStockRequest { sale_id: sale.to_string() };
    Ok(stock.clone().watch_stock(ask).await?.into_inner())
}

/// The available and held units of the first sku in the next update.
async fn heard(watching: &mut Watching) -> (i64, i64) {
    let next = tokio::time::timeout(Duration::from_secs(20), watching.message());
    let stock = next.await.expect("something is heard").unwrap().unwrap().stock;
    (stock[0].available, stock[0].held)
}

#[tokio::test]
async fn watchers_share_one_reading() {
    const TICK: Duration = Duration::from_millis(500);
    let served = served("500", "1000").await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 100, 0, 1)]).await;
    let mut watchers = Vec::new();
    for _ in 0..5 {
        let stock = InventoryServiceClient::new(served.server.channel().await);
        for watching in join_all((0..200).map(|_| watch(&stock, sale))).await {
            watchers.push(watching.unwrap());
        }
    }
    for heard in join_all(watchers.iter_mut().map(heard)).await {
        assert_eq!(heard, (100, 0));
    }
    let (began, before) = (Instant::now(), served.readings().await);
    for taken in 1..=4 {
        served.stock.clone().reserve(reserve(sale, "ada", &[("tee", 1)], "")).await.unwrap();
        for heard in join_all(watchers.iter_mut().map(heard)).await {
            assert_eq!(heard, (100 - taken, taken));
        }
    }
    let readings = served.readings().await - before;
    // The metrics read it as well, every five seconds.
    let by_metrics = began.elapsed().as_secs() / 5 + 1;
    let ticks = (began.elapsed().as_millis() / TICK.as_millis()) as u64 + 1;
    assert!(readings >= 4, "{readings} readings");
    assert!(readings <= ticks + by_metrics, "{readings} readings in {ticks} ticks");
}

#[tokio::test]
async fn availability_changes_are_sent_at_once() {
    let served = served(NEVER, "10").await;
    let mut stock = served.stock.clone();
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 3, 0, 1)]).await;
    let mut watching = watch(&stock, sale).await.unwrap();
    assert_eq!(heard(&mut watching).await, (3, 0));

    stock.reserve(reserve(sale, "ada", &[("tee", 1)], "")).await.unwrap();
    let last = stock.reserve(reserve(sale, "bob", &[("tee", 2)], "")).await.unwrap();
    assert_eq!(heard(&mut watching).await, (0, 3));
    let release = proto::ReleaseHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: "bob".to_owned(),
        hold_id: last.into_inner().hold.unwrap().hold_id,
    };
    stock.release_hold(release).await.unwrap();
    assert_eq!(heard(&mut watching).await, (2, 1));

    // Another instance sells the rest. A buyer who comes too late reveals it here.
    let elsewhere = &served.world.inventory;
    let order = served.world.ask(&place_lines(sale, "cem", &[("tee", 2)])).await.unwrap();
    let status = stock.reserve(reserve(sale, "dan", &[("tee", 1)], "")).await.unwrap_err();
    assert_failure(&status, Reason::SoldOut);
    assert_eq!(heard(&mut watching).await, (0, 1));

    // The order ends unpaid: settled here, it is seen here.
    let settlement = proto::HoldSettlement {
        hold_id: order.hold.hold_id.to_string(),
        outcome: proto::HoldOutcome::Released.into(),
        ..proto::HoldSettlement::default()
    };
    let settle = proto::SettleHoldsRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        settlements: vec![settlement],
    };
    let channel = served.server.channel().await;
    proto::inventory_admin_service_client::InventoryAdminServiceClient::new(channel)
        .settle_holds(settle)
        .await
        .unwrap();
    assert_eq!(heard(&mut watching).await, (2, 1));
    // None of this waited for a reading, and what other processes do is not seen before the next
    // one.
    elsewhere.settle(sale, &[(order.hold.hold_id, Outcome::Released)]).await.unwrap();
    served.world.ask(&asked(sale, "eve", &[("tee", 2)])).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), watching.message()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn start_and_end_by_the_clock_are_sent_at_once() {
    let served = served(NEVER, "10").await;
    let spec = SaleSpec { ends_in_ms: 6_000, ..prepared(4_000) };
    let sale = served.world.sale(spec, &[("tee", 3, 0, 1)]).await;
    let mut watching = watch(&served.stock, sale).await.unwrap();
    for phase in [proto::StockPhase::Before, proto::StockPhase::OnSale, proto::StockPhase::After] {
        let next = tokio::time::timeout(Duration::from_secs(20), watching.message());
        let stock = next.await.expect("something is heard").unwrap().unwrap();
        assert_eq!(stock.phase(), phase);
    }
}

#[tokio::test]
async fn slow_watcher_gets_latest_state() {
    const STATES: i64 = 40;
    let served = served("50", "10").await;
    // A message about as large as what may be on its way to one reader.
    let skus: Vec<String> = (0..500).map(|number| format!("{number:0>110}")).collect();
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 1_000, 0, 1)).collect();
    let sale = served.world.sale(SaleSpec::default(), &items).await;
    let mut fast = watch(&served.stock, sale).await.unwrap();
    let endpoint = Endpoint::from_shared(served.server.grpc_url.clone()).unwrap();
    let endpoint =
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let channel = test_keys().anyone_who_may(endpoint.connect().await.unwrap());
    let other = InventoryServiceClient::new(channel);
    let mut slow = watch(&other, sale).await.unwrap();
    assert_eq!(heard(&mut fast).await, (1_000, 0));
    assert_eq!(heard(&mut slow).await, (1_000, 0));
    for taken in 1..=STATES {
        served.world.ask(&asked(sale, "ada", &[(&skus[0], 1)])).await.unwrap();
        assert_eq!(heard(&mut fast).await, (1_000 - taken, taken));
    }
    let mut messages = 0;
    while heard(&mut slow).await != (1_000 - STATES, STATES) {
        messages += 1;
    }
    assert!(messages < STATES / 2, "{messages} of {STATES} states were kept for it");
}

#[tokio::test]
async fn unwatched_stock_is_not_read() {
    let served = served("50", "10").await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 100, 0, 1)]).await;
    let mut first = watch(&served.stock, sale).await.unwrap();
    let mut second = watch(&served.stock, sale).await.unwrap();
    assert_eq!((heard(&mut first).await, heard(&mut second).await), ((100, 0), (100, 0)));
    let goes_on = async || {
        let before = served.readings().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        served.readings().await - before
    };
    drop(first);
    assert!(goes_on().await >= 2, "the second one still watches");
    drop(second);
    // The metrics may read it once in between.
    eventually("the reading ends", async || (goes_on().await == 0).then_some(())).await;
    served.world.ask(&asked(sale, "ada", &[("tee", 1)])).await.unwrap();
    let mut third = watch(&served.stock, sale).await.unwrap();
    assert_eq!(heard(&mut third).await, (99, 1), "a later watcher begins with the present state");
}

#[tokio::test]
async fn excess_watchers_are_refused() {
    let served = served(NEVER, "2").await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 100, 0, 1)]).await;
    let first = watch(&served.stock, sale).await.unwrap();
    let _second = watch(&served.stock, sale).await.unwrap();
    let status = watch(&served.stock, sale).await.unwrap_err();
    let failure = assert_failure(&status, Reason::Overloaded);
    assert!(failure.delay().is_some());
    assert_eq!(failure.metadata()["max_watchers"], "2");
    drop(first);
    let mut next =
        eventually("a place is free", async || watch(&served.stock, sale).await.ok()).await;
    assert_eq!(heard(&mut next).await, (100, 0));
}
