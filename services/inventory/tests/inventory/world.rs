//! A Redis, a Postgres, sales in it, and inventory over both.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream;
use flashsale_inventory::{
    app::Inventory,
    domain::{
        Amount, Answer, Content, Hold, HoldId, Line, Lines, Placing, Proof, Refusal, Request,
    },
    store::{Queue, keys},
};
use flashsale_queue::NatsConfig;
use flashsale_redis::{RedisConfig, Script, Store};
pub(crate) use flashsale_testbed::fixtures::SaleSpec;
use flashsale_testbed::{
    TestPg, TestRedis,
    fixtures::{self, SaleItem},
    grants::as_user,
};
use fred::types::Value;
use uuid::Uuid;

/// What an order carries in these tests.
pub(crate) const DETAILS: &str = r#"{"email":"ada@example.org"}"#;

pub(crate) struct World<R = TestRedis> {
    pub(crate) pg: TestPg,
    pub(crate) redis: R,
    pub(crate) redis_url: String,
    /// Started by tests that need one; the others have a queue that is never reachable.
    pub(crate) queue: Queue,
    /// The same queue for the tests themselves, who may do there what inventory may not.
    tests_queue: Queue,
    pub(crate) store: Store,
    /// The same Redis for the tests themselves.
    tests_store: Store,
    pub(crate) inventory: Inventory,
}

pub(crate) fn redis_config(url: &str) -> RedisConfig {
    RedisConfig {
        connections: 2,
        command_timeout_ms: 5_000,
        max_queue: 1_000,
        ..RedisConfig::at(as_user(url, "inventory"))
    }
}

pub(crate) async fn world() -> World {
    let redis = flashsale_testbed::redis().await;
    let url = redis.url.clone();
    world_on(redis, &url).await
}

/// A world on the Redis at `url`, whose owner is kept alive with it.
pub(crate) async fn world_on<R>(redis: R, url: &str) -> World<R> {
    let pg = flashsale_testbed::postgres().await;
    let store = Store::connect(&redis_config(url)).await.unwrap();
    let as_test = RedisConfig { url: url.into(), ..redis_config(url) };
    let tests_store = Store::connect(&as_test).await.unwrap();
    let queue = queue("nats://127.0.0.1:1").await;
    let inventory = inventory(&pg, &store, &queue);
    let tests_queue = queue.clone();
    World {
        pg,
        redis,
        redis_url: url.to_owned(),
        queue,
        tests_queue,
        store,
        tests_store,
        inventory,
    }
}

pub(crate) fn queue_config(url: &str) -> NatsConfig {
    NatsConfig {
        publish_timeout_ms: 2_000,
        orders_max_bytes: 64 * 1024 * 1024,
        events_max_bytes: 64 * 1024 * 1024,
        ..NatsConfig::at(url)
    }
}

/// The queue at `url`, as inventory reaches it.
pub(crate) async fn queue(url: &str) -> Queue {
    Queue::connect(&queue_config(&as_user(url, "inventory"))).await.unwrap()
}

/// Another process.
pub(crate) fn inventory(pg: &TestPg, store: &Store, queue: &Queue) -> Inventory {
    inventory_on(store.clone(), pg, queue, Duration::from_secs(5))
}

/// Another process over another store, or with another timeout.
pub(crate) fn inventory_on(
    store: Store,
    pg: &TestPg,
    queue: &Queue,
    timeout: Duration,
) -> Inventory {
    let pool = pg.pool_of("inventory");
    Inventory::new(store, pool.clone(), pool, queue.clone(), timeout)
}

impl<R> World<R> {
    /// Has the world from now on use the queue at `url`.
    pub(crate) async fn use_queue(&mut self, url: &str) {
        self.queue = queue(url).await;
        self.tests_queue = Queue::connect(&queue_config(url)).await.unwrap();
        self.inventory = inventory(&self.pg, &self.store, &self.queue);
    }

    /// The queue for what tests do to it.
    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        self.tests_queue.jetstream()
    }

    /// Records a sale; items are (sku, units, limit, price).
    pub(crate) async fn record_sale(
        &self,
        spec: SaleSpec,
        items: &[(&str, i64, i64, i64)],
    ) -> Uuid {
        fixtures::record_sale(&self.pg.pool, spec, items.iter().map(SaleItem::from)).await.unwrap()
    }

    /// Records a sale and loads its stock.
    pub(crate) async fn sale(&self, spec: SaleSpec, items: &[(&str, i64, i64, i64)]) -> Uuid {
        let sale_id = self.record_sale(spec, items).await;
        self.inventory.load(sale_id, Uuid::new_v4()).await.unwrap();
        sale_id
    }

    /// Changes a sale on record as the sale service does, and tells inventory.
    pub(crate) async fn change_sale(&self, sale_id: Uuid, set: &'static str) {
        let statement = format!("UPDATE sales SET version = version + 1, {set} WHERE sale_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(sale_id)
            .execute(&self.pg.pool)
            .await
            .unwrap();
        self.inventory.sync(sale_id).await.unwrap();
    }

    /// Sends a request without an admission.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, Refusal> {
        self.ask_with(request, &Proof::Fault(flashsale_inventory::domain::AdmissionFault::Required))
            .await
    }

    pub(crate) async fn ask_with(
        &self,
        request: &Request,
        proof: &Proof,
    ) -> Result<Answer, Refusal> {
        self.inventory.request(request, proof).await
    }

    pub(crate) async fn hold(&self, sale_id: Uuid, hold_id: Uuid) -> Hold {
        self.inventory.hold(sale_id, HoldId::Hold(hold_id), None).await.unwrap()
    }

    /// The books of a sku: available, held, placed, sold.
    pub(crate) async fn books(&self, sale_id: Uuid, sku: &str) -> [i64; 4] {
        let view = self.inventory.read(sale_id, &[sku.to_owned()]).await.unwrap();
        let books = &view.skus[0];
        assert_eq!(books.allotted, books.available + books.held + books.placed + books.sold);
        [books.available, books.held, books.placed, books.sold]
    }

    /// Runs a script of the test's own on Redis, which may do what inventory may not.
    pub(crate) async fn lua(&self, text: &str, keys: Vec<String>) -> Value {
        self.tests_store.eval(&Script::new("test", text), keys, vec![]).await.unwrap()
    }

    /// Everything of sales in Redis, key by key, as a hash of its value.
    pub(crate) async fn dump(&self) -> BTreeMap<String, String> {
        // Sorted: a growing hash is moved piece by piece, also while it is only read, and its order
        // changes with it.
        let script = "local all = {}
            for _, key in ipairs(redis.call('KEYS', 'fs:{*')) do
              local kind, parts = redis.call('TYPE', key).ok, nil
              if kind == 'hash' then
                local flat = redis.call('HGETALL', key)
                parts = {}
                for i = 1, #flat, 2 do
                  parts[#parts + 1] = flat[i] .. '\\30' .. flat[i + 1]
                end
                table.sort(parts)
              elseif kind == 'zset' then
                parts = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
              else
                parts = { redis.call('DUMP', key) }
              end
              all[#all + 1] = key
              all[#all + 1] = redis.sha1hex(table.concat(parts, '\\31'))
            end
            return all";
        let flat: Vec<String> = self.lua(script, vec![]).await.convert().unwrap();
        flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// One of the sale's keys that is a hash, from whichever server has it.
    pub(crate) async fn hash(&self, sale_id: Uuid, index: usize) -> BTreeMap<String, String> {
        let key = keys(sale_id).swap_remove(index);
        self.lua("return redis.call('HGETALL', KEYS[1])", vec![key]).await.convert().unwrap()
    }

    /// One of the sale's keys that is a sorted set: members and scores.
    pub(crate) async fn zset(&self, sale_id: Uuid, index: usize) -> BTreeMap<String, i64> {
        let key = keys(sale_id).swap_remove(index);
        let script = "return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')";
        self.lua(script, vec![key]).await.convert().unwrap()
    }

    /// Asserts that the call is refused in this way, and that Redis is unchanged.
    pub(crate) async fn refused(&self, request: &Request, proof: &Proof, refusal: Refusal) {
        let before = self.dump().await;
        assert_eq!(self.ask_with(request, proof).await, Err(refusal));
        assert_eq!(self.dump().await, before, "a refusal wrote something");
    }
}

pub(crate) fn none() -> Proof {
    Proof::Fault(flashsale_inventory::domain::AdmissionFault::Required)
}

/// A good admission of a buyer's first place.
pub(crate) fn good(id: &str) -> Proof {
    Proof::Good { id: id.to_owned(), number: 1, generation: 0 }
}

pub(crate) fn lines(asked: &[(&str, i64)]) -> Lines {
    Lines::new(
        asked.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }),
    )
    .unwrap()
}

fn request(sale_id: Uuid, buyer_id: &str, content: Content) -> Request {
    Request { sale_id, buyer_id: buyer_id.to_owned(), request_id: Uuid::new_v4(), content }
}

/// What an order carries, and what it may cost, in cents.
pub(crate) fn placing(expected: Option<i64>) -> Placing {
    let expected = expected.map(|minor| Amount { minor, currency: "EUR" });
    Placing { details: DETAILS.to_owned(), expected }
}

pub(crate) fn reserve(sale_id: Uuid, buyer_id: &str, asked: &[(&str, i64)]) -> Request {
    request(sale_id, buyer_id, Content::Reserve(lines(asked)))
}

pub(crate) fn place_lines(sale_id: Uuid, buyer_id: &str, asked: &[(&str, i64)]) -> Request {
    request(sale_id, buyer_id, Content::PlaceLines(lines(asked), placing(None)))
}

pub(crate) fn place(sale_id: Uuid, buyer_id: &str, hold_id: Uuid) -> Request {
    request(sale_id, buyer_id, Content::PlaceHold(hold_id, placing(None)))
}

pub(crate) fn extend(sale_id: Uuid, buyer_id: &str, hold_id: Uuid) -> Request {
    request(sale_id, buyer_id, Content::Extend(hold_id))
}

pub(crate) fn release(sale_id: Uuid, buyer_id: &str, hold_id: Uuid) -> Request {
    request(sale_id, buyer_id, Content::Release(hold_id))
}
