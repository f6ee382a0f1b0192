//! A sale that is open while a rolling upgrade replaces the instances of the version before, which
//! knew one price of each sku and nothing of revisions: what it has left in Redis and Postgres is
//! taken over as it stands.

use std::time::SystemTime;

use flashsale_errors::Reason;
use flashsale_inventory::{domain::Request, store::keys};
use flashsale_proto::{
    NamedChannel,
    inventory::{
        self as proto, inventory_admin_service_client::InventoryAdminServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
};
use flashsale_testbed::{
    TestServer, ask_redis, assert_failure, eventually,
    fixtures::{OrderSpec, record_order},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    claims::Claims,
    rebuilding::flush,
    service::{id, reserve, serve_world},
    world::{DETAILS, SaleSpec, World, place, place_lines, reserve as reserving, world},
};

/// What a tee costs.
const TEE: i64 = 1_999;

/// A hold's lines over gRPC: sku, units, what one costs in minor units, revision of that price.
type Lines = Vec<(String, i64, i64, i64)>;

/// A sku with its price, the revision of that, and its available, held, placed and sold units.
type Shown = (String, i64, i64, [i64; 4]);

/// The sale as it was left, and the present inventory over it.
struct Upgraded {
    world: World,
    _claims: Claims,
    _server: TestServer,
    stock: InventoryServiceClient<NamedChannel>,
    admin: InventoryAdminServiceClient<NamedChannel>,
    sale: Uuid,
    /// Ada's hold of two tees.
    held: Uuid,
    /// The request of Bob, who has placed an order of one tee, which is not claimed yet.
    placing: Request,
}

async fn write(port: u16, words: &[&str]) {
    ask_redis(port, words).await.unwrap();
}

/// Writes what stands in Redis of a sale that the version before has loaded and sold from: all
/// fields that it had, and no others.
async fn leave(world: &World, sale: Uuid, held: Uuid, placing: &Request) {
    let port = world.redis.server.port();
    let keys = keys(sale);
    let [meta, stock, holds, deadlines, pending, orders, _, buyers, _] = &keys[..] else {
        panic!("{keys:?}")
    };
    // The epoch, the server and the sale's rules are those of this run.
    let loaded = world.hash(sale, 0).await;
    for key in &keys {
        write(port, &["DEL", key]).await;
    }
    for field in [
        "epoch",
        "load_request",
        "run_id",
        "version",
        "state",
        "currency",
        "starts_ms",
        "ends_ms",
        "hold_ms",
        "room",
        "max_total",
    ] {
        write(port, &["HSET", meta, field, &loaded[field]]).await;
    }
    write(port, &["HSET", meta, "keys", "7"]).await;
    for (sku, values) in [
        ("mug", ["5", "5", "0", "0", "0", "0", "700"]),
        ("tee", ["10", "7", "2", "1", "0", "3", "1999"]),
    ] {
        for (column, value) in ["t", "a", "h", "p", "s", "l", "m"].iter().zip(values) {
            write(port, &["HSET", stock, &format!("{column}:{sku}"), value]).await;
        }
    }
    let epoch = &loaded["epoch"];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let (taken, ends) = (now - 1_000, now + 600_000);
    let cart = format!(
        r#"{{"b":"ada","e":{epoch},"s":"HELD","d":{ends},"t":{taken},"l":[["tee",2,1999]]}}"#
    );
    let (order, request, hash) = (placing.key().to_string(), placing.request_id, placing.hash());
    let placed = format!(
        r#"{{"b":"bob","e":{epoch},"s":"PLACED","o":"{order}","q":"{request}","h":"{hash}","d":{ends},"t":{taken},"l":[["tee",1,1999]],"p":{taken}}}"#
    );
    write(port, &["HSET", holds, &held.to_string(), &cart, &order, &placed]).await;
    write(port, &["ZADD", deadlines, &ends.to_string(), &held.to_string()]).await;
    write(port, &["ZADD", pending, &taken.to_string(), &order]).await;
    write(port, &["HSET", orders, &order, DETAILS]).await;
    write(port, &["HSET", buyers, "tee\u{1f}ada", "2", "tee\u{1f}bob", "1"]).await;
}

async fn upgraded() -> Upgraded {
    let mut world = world().await;
    let claims = Claims::of(&mut world).await;
    let items = [("mug", 5, 0, 700), ("tee", 10, 3, TEE)];
    let sale = world.sale(SaleSpec::default(), &items).await;
    let held = reserving(sale, "ada", &[("tee", 2)]).key();
    let placing = place_lines(sale, "bob", &[("tee", 1)]);
    leave(&world, sale, held, &placing).await;
    let server = serve_world(&world, &claims.nats.url).await;
    let channel = server.channel().await;
    let stock = InventoryServiceClient::new(channel.clone());
    let admin = InventoryAdminServiceClient::new(channel);
    Upgraded { world, _claims: claims, _server: server, stock, admin, sale, held, placing }
}

fn lines(hold: &proto::Hold) -> Lines {
    let minor = |line: &proto::PricedLine| {
        let price = line.unit_price.clone().unwrap();
        price.units * 100 + i64::from(price.nanos / 10_000_000)
    };
    let lines = hold.lines.iter();
    lines.map(|line| (line.sku.clone(), line.quantity, minor(line), line.price_revision)).collect()
}

fn tees(units: i64, minor: i64, revision: i64) -> Lines {
    vec![("tee".to_owned(), units, minor, revision)]
}

impl Upgraded {
    async fn shown(&self) -> Option<Vec<Shown>> {
        let ask = proto::GetStockRequest {
            sale_id: self.sale.to_string(),
            skus: Vec::new(),
            fresh: true,
        };
        let stock = self.stock.clone().get_stock(ask).await.ok()?.into_inner().stock;
        let shown = stock.into_iter().map(|sku| {
            assert_eq!(sku.regular_price, None);
            let price = sku.unit_price.unwrap();
            let minor = price.units * 100 + i64::from(price.nanos / 10_000_000);
            let units = [sku.available, sku.held, sku.placed, sku.sold];
            (sku.sku, minor, sku.price_revision, units)
        });
        Some(shown.collect())
    }

    async fn take(&self, buyer: &str) -> proto::Hold {
        let ask = reserve(self.sale, buyer, &[("tee", 1)], "");
        self.stock.clone().reserve(ask).await.unwrap().into_inner().hold.unwrap()
    }

    async fn hold(&self, hold_id: Uuid) -> proto::Hold {
        let ask = proto::GetHoldRequest {
            sale_id: self.sale.to_string(),
            hold_id: hold_id.to_string(),
            ..proto::GetHoldRequest::default()
        };
        self.stock.clone().get_hold(ask).await.unwrap().into_inner().hold.unwrap()
    }

    /// Sends a request that places, as it was sent the first time.
    async fn place(&self, placing: &Request, hold: Option<Uuid>) -> proto::PlaceHoldResponse {
        let line = proto::Line { sku: "tee".to_owned(), quantity: 1 };
        let ask = proto::PlaceHoldRequest {
            request_id: placing.request_id.to_string(),
            sale_id: self.sale.to_string(),
            buyer_id: placing.buyer_id.clone(),
            hold_id: hold.map(|hold| hold.to_string()).unwrap_or_default(),
            lines: if hold.is_none() { vec![line] } else { Vec::new() },
            order_details: DETAILS.to_owned(),
            ..proto::PlaceHoldRequest::default()
        };
        self.stock.clone().place_hold(ask).await.unwrap().into_inner()
    }

    async fn settle(&self, hold_id: Uuid, outcome: proto::HoldOutcome) {
        let settlement = proto::HoldSettlement {
            hold_id: hold_id.to_string(),
            outcome: outcome.into(),
            ..proto::HoldSettlement::default()
        };
        let settle = proto::SettleHoldsRequest {
            request_id: id(),
            sale_id: self.sale.to_string(),
            settlements: vec![settlement],
        };
        let results = self.admin.clone().settle_holds(settle).await.unwrap().into_inner().results;
        assert_eq!(results, [i32::from(proto::SettleResult::Done)], "{outcome:?}");
    }

    /// Records that tees cost this much from the second revision on, as the sale service does, and
    /// has inventory told.
    async fn reprice(&self, minor: i64) {
        let pool = &self.world.pg.pool;
        for (statement, price) in [
            ("UPDATE sales SET version = version + 1 WHERE sale_id = $1", None),
            (
                "INSERT INTO price_revisions (sale_id, revision, effective_at)
                 VALUES ($1, 2, now() + interval '300 ms')",
                None,
            ),
            (
                "INSERT INTO sale_prices (sale_id, sku, revision, price_minor, per_buyer_limit)
                 VALUES ($1, 'tee', 2, $2, 3)",
                Some(minor),
            ),
        ] {
            let query = sqlx::query(statement).bind(self.sale);
            let query = match price {
                Some(minor) => query.bind(minor),
                None => query,
            };
            query.execute(pool).await.unwrap();
        }
        let sync = proto::SyncSaleRequest { request_id: id(), sale_id: self.sale.to_string() };
        let synced = self.admin.clone().sync_sale(sync).await.unwrap().into_inner();
        let switches: Vec<i64> =
            synced.price_switches.iter().map(|switch| switch.revision).collect();
        assert_eq!(switches, [2]);
        eventually("the tees have their new price", async || {
            let shown = self.shown().await?;
            (shown[1].1 == minor && shown[1].2 == 2).then_some(())
        })
        .await;
        assert_eq!(self.shown().await.unwrap()[0].1, 700, "mugs cost what they did");
    }
}

#[tokio::test]
async fn stock_and_holds_of_the_version_before_are_sold_on() {
    let upgraded = upgraded().await;
    let Upgraded { sale, held, ref placing, .. } = upgraded;
    let mugs: Shown = ("mug".to_owned(), 700, 1, [5, 0, 0, 0]);
    let shown = |units| vec![mugs.clone(), ("tee".to_owned(), TEE, 1, units)];
    assert_eq!(upgraded.shown().await.unwrap(), shown([7, 2, 1, 0]));

    // A cart from before is kept for longer, and placed; an order from before answers its request.
    let extend = proto::ExtendHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: "ada".to_owned(),
        hold_id: held.to_string(),
    };
    upgraded.stock.clone().extend_hold(extend).await.unwrap();
    assert_eq!(lines(&upgraded.hold(held).await), tees(2, TEE, 1));
    let answer = upgraded.place(&place(sale, "ada", held), Some(held)).await;
    assert!(!answer.replayed);
    assert_eq!(lines(&answer.placed.unwrap().hold.unwrap()), tees(2, TEE, 1));
    let answer = upgraded.place(placing, None).await;
    assert!(answer.replayed, "it was placed again");
    let placed = answer.placed.unwrap().hold.unwrap();
    assert_eq!(
        (placed.order_id.as_str(), lines(&placed)),
        (&*placing.key().to_string(), tees(1, TEE, 1))
    );

    // Units taken before count for their buyer, and new ones are written so that an instance that
    // is still to be replaced can read them.
    let status =
        upgraded.stock.clone().reserve(reserve(sale, "ada", &[("tee", 2)], "")).await.unwrap_err();
    assert_failure(&status, Reason::BuyerLimit);
    let hold = upgraded.take("cem").await;
    assert_eq!(lines(&hold), tees(1, TEE, 1));
    let holds = upgraded.world.hash(sale, 2).await;
    for (id, units) in [(hold.hold_id.as_str(), 1), (&*held.to_string(), 2)] {
        let stored: Value = serde_json::from_str(&holds[id]).unwrap();
        assert_eq!(stored["l"], json!([["tee", units, TEE]]), "{id}");
    }

    // The record has Bob's order, which is paid for.
    upgraded.settle(placing.key(), proto::HoldOutcome::Claimed).await;
    upgraded.settle(placing.key(), proto::HoldOutcome::Sold).await;
    assert_eq!(upgraded.shown().await.unwrap(), shown([6, 1, 2, 1]));
    assert_books_balance(&upgraded.world, sale).await;
}

#[tokio::test]
async fn prices_of_a_stock_of_the_version_before_change() {
    let upgraded = upgraded().await;
    let Upgraded { sale, held, ref placing, .. } = upgraded;
    upgraded.reprice(1_599).await;
    assert_eq!(lines(&upgraded.take("cem").await), tees(1, 1_599, 2));
    // What was held before the change is placed at what it cost then.
    let ada = place(sale, "ada", held);
    let answer = upgraded.place(&ada, Some(held)).await;
    assert_eq!(lines(&answer.placed.unwrap().hold.unwrap()), tees(2, TEE, 1));
    assert_eq!(lines(&upgraded.hold(placing.key()).await), tees(1, TEE, 1));

    // Orders keep their price also when the stock is lost, and it the new one.
    for (placing, hold_id, units, state) in
        [(&ada, held, 2, "PAYING"), (placing, placing.key(), 1, "CONFIRMED")]
    {
        let order = OrderSpec {
            order_id: placing.key(),
            hold_id,
            request_id: placing.request_id,
            request_hash: &placing.hash(),
            state,
            total_minor: units * TEE,
            lines: vec![("tee", units, TEE)],
            takes_units: true,
            ..OrderSpec::new(sale, &placing.buyer_id)
        };
        record_order(&upgraded.world.pg.pool, &order).await.unwrap();
    }
    flush(&upgraded.world).await;
    eventually("the stock is rebuilt", async || {
        let rebuild =
            proto::RebuildRequest { request_id: id(), sale_id: sale.to_string(), force: false };
        let rebuilt = upgraded.admin.clone().rebuild(rebuild).await.ok()?.into_inner();
        (rebuilt.epoch == 2).then_some(())
    })
    .await;
    let mugs: Shown = ("mug".to_owned(), 700, 1, [5, 0, 0, 0]);
    let shown = eventually("the rebuilt stock is shown", async || upgraded.shown().await).await;
    assert_eq!(shown, [mugs, ("tee".to_owned(), 1_599, 2, [7, 0, 2, 1])]);
    assert_eq!(lines(&upgraded.hold(held).await), tees(2, TEE, 1));
    assert_eq!(lines(&upgraded.hold(placing.key()).await), tees(1, TEE, 1));
    assert_eq!(lines(&upgraded.take("dan").await), tees(1, 1_599, 2));
    assert!(upgraded.place(placing, None).await.replayed, "it was placed again");
}

/// Otherwise a request that was sent to the version before and is sent again to this one would be
/// refused as another one.
#[test]
fn content_hash_is_that_of_the_version_before() {
    let placing = place_lines(Uuid::from_u128(7), "ada", &[("a", 1), ("b", 2)]);
    let hash = "f50d5e3b3c20ebdb6b1b623093e4287d4a46d13a5e45f58601b079aa4b5f0928";
    assert_eq!(placing.hash(), hash);
}
