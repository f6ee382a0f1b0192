//! Of two living Redis servers, one counts.

use std::time::{Duration, Instant};

use flashsale_inventory::{app::Inventory, domain::Refusal, store::Record};
use flashsale_pg::PgConfig;
use flashsale_queue::{QueueMessage, publish_order};
use flashsale_record::SaleState;
use flashsale_redis::Store;
use flashsale_testbed::{TestRedis, eventually};
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    claims::Claims,
    world::{SaleSpec, World, inventory, inventory_on, redis_config, reserve, world, world_on},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// A world with a queue, and a second Redis that was a replica of the first one and was promoted
/// while that lives.
struct Two {
    world: World,
    _claims: Claims,
    other: TestRedis,
}

impl Two {
    async fn start() -> (Self, Uuid) {
        let mut world = world().await;
        let claims = Claims::of(&mut world).await;
        let other = flashsale_testbed::redis().await;
        // Attached before the sale, because a first replica changes the primary's name.
        replicate(&other, &world.redis).await;
        let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
        caught_up(&other, &world.redis).await;
        command(&other, &["REPLICAOF", "NO", "ONE"]).await;
        (Self { world, _claims: claims, other }, sale)
    }

    /// An instance that speaks to the second server.
    async fn instance_there(&self) -> Inventory {
        let store = Store::connect(&redis_config(&self.other.url)).await.unwrap();
        inventory_on(store, &self.world.pg, &self.world.queue, PATIENCE)
    }

    async fn epoch(&self, sale: Uuid) -> i64 {
        sqlx::query_scalar("SELECT epoch FROM sale_stock WHERE sale_id = $1")
            .bind(sale)
            .fetch_one(&self.world.pg.pool)
            .await
            .unwrap()
    }
}

async fn command(server: &TestRedis, words: &[&str]) -> String {
    let reply = flashsale_testbed::ask(server.server.port(), words).await.unwrap();
    reply.text().to_owned()
}

async fn replicate(replica: &TestRedis, primary: &TestRedis) {
    command(primary, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;
    let port = primary.server.port().to_string();
    command(replica, &["REPLICAOF", "127.0.0.1", &port]).await;
    eventually("the replica has a copy", async || {
        let info = command(replica, &["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
}

async fn caught_up(replica: &TestRedis, primary: &TestRedis) {
    let offset = async |server: &TestRedis| {
        let info = command(server, &["INFO", "replication"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        line.unwrap().trim().to_owned()
    };
    eventually("the replica has everything", async || {
        (offset(replica).await == offset(primary).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn confirmed_server_counts() {
    let (two, sale) = Two::start().await;
    let here = &two.world.inventory;
    let there = two.instance_there().await;
    let ready = there.ready();
    // Longer than a server has to be silent.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        here.beat().await.unwrap();
        there.beat().await.unwrap();
        assert_eq!(there.rebuild(sale, true).await, Err(Refusal::Fenced));
        assert_eq!(there.read(sale, &[]).await, Err(Refusal::Fenced));
        here.read(sale, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!*ready.borrow() && *here.ready().borrow());
    assert_eq!(two.epoch(sale).await, 1);
    // A sale that was never loaded goes to the server that counts, too.
    let next = two.world.record_sale(SaleSpec::default(), &[("a", 1, 0, 1)]).await;
    assert_eq!(there.load(next, Uuid::new_v4()).await, Err(Refusal::Fenced));
    here.load(next, Uuid::new_v4()).await.unwrap();

    // No instance confirms it any more: the other one takes its place.
    let rebuilt = eventually("the sale is rebuilt on the other server", async || {
        there.beat().await.unwrap();
        there.rebuild(sale, false).await.ok()
    })
    .await;
    assert_eq!((rebuilt.epoch, rebuilt.rebuilt), (2, true));
    assert!(*ready.borrow());
    // Where each of them has a sale, no caller is turned away.
    here.beat().await.unwrap();
    assert!(*here.ready().borrow());
    eventually("so is the other sale", async || {
        there.beat().await.unwrap();
        there.rebuild(next, false).await.ok()
    })
    .await;
    assert_eq!(two.world.ask(&reserve(sale, "ada", &[("a", 1)])).await, Err(Refusal::Fenced));
    eventually("the old one turns callers away", async || {
        here.beat().await.unwrap();
        (!*here.ready().borrow()).then_some(())
    })
    .await;
    assert_eq!(two.epoch(sale).await, 2);
}

#[tokio::test]
async fn takeover_retires_living_server_once() {
    let (two, sale) = Two::start().await;
    let here = &two.world.inventory;
    let there = two.instance_there().await;
    here.beat().await.unwrap();
    two.world.ask(&reserve(sale, "ada", &[("a", 4)])).await.unwrap();
    let request_id = Uuid::new_v4();
    let (own, retired) = there.take_over(request_id, "the old rack is gone").await.unwrap();
    assert_eq!((own.len(), retired.len()), (1, 1));
    let again = there.take_over(request_id, "the old rack is gone").await.unwrap();
    assert_eq!(again, (own.clone(), retired.clone()));
    let other = there.take_over(request_id, "another reason").await;
    assert_eq!(other, Err(Refusal::RequestReused));
    let journal: (String, Vec<String>, String) =
        sqlx::query_as("SELECT server, retired, reason FROM stock_takeovers")
            .fetch_one(&two.world.pg.pool)
            .await
            .unwrap();
    assert_eq!(journal, (own[0].clone(), retired, "the old rack is gone".to_owned()));

    // The old one beats, and is not confirmed.
    here.beat().await.unwrap();
    assert!(!*here.ready().borrow());
    let began = Instant::now();
    let rebuilt = there.rebuild(sale, false).await.unwrap();
    assert_eq!(rebuilt.epoch, 2);
    // An instance that had confirmed the old one just before may have told a buyer so until then.
    assert!(began.elapsed() >= Duration::from_secs(3), "the marker came too early");
    assert_eq!(two.world.ask(&reserve(sale, "bob", &[("a", 1)])).await, Err(Refusal::Fenced));
    let view = there.read(sale, &[]).await.unwrap();
    assert_eq!((view.epoch, view.skus[0].available), (2, 10));
}

/// A primary that was demoted, received another one's data and was promoted again keeps its run id,
/// cached scripts and connections, and has lost its newest writes.
#[tokio::test]
async fn stale_promoted_server_is_closed() {
    let (two, sale) = Two::start().await;
    let world = &two.world;
    // The other server does not receive this any more.
    world.ask(&reserve(sale, "ada", &[("a", 10)])).await.unwrap();
    replicate(&world.redis, &two.other).await;
    command(&world.redis, &["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(world.ask(&reserve(sale, "bob", &[("a", 10)])).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.read(sale, &[]).await, Err(Refusal::Fenced));
    // It is another server now, and takes the place of its former self, which is silent.
    let rebuilt = eventually("the sale is rebuilt", async || {
        world.inventory.beat().await.unwrap();
        world.inventory.rebuild(sale, false).await.ok()
    })
    .await;
    assert_eq!(rebuilt.epoch, 2);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn queue_stands_in_for_silent_postgres() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 100, 0, 1)]).await;
    // Connections of its own, which are cut below.
    let pool = flashsale_pg::connect(&world.pg.config_of("inventory"), "serving").unwrap();
    let queue = crate::world::queue(&_claims.nats.url).await;
    let instance = Inventory::new(world.store.clone(), pool.clone(), pool.clone(), queue, PATIENCE);
    instance.look().await;
    instance.read(sale, &[]).await.unwrap();
    pool.close().await;
    let lost = Instant::now();
    while lost.elapsed() < Duration::from_secs(4) {
        let _ = instance.beat().await;
        instance.look().await;
        instance.read(sale, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(*instance.ready().borrow());
    // Without looks the sale is closed, and callers are told so.
    let refusal = eventually("nothing confirms its server", async || {
        let _ = instance.beat().await;
        instance.read(sale, &[]).await.err()
    })
    .await;
    assert!(matches!(refusal, Refusal::StoreAway { store: "postgres", .. }), "{refusal:?}");
    assert!(!*instance.ready().borrow());
    // And open again as soon as looks succeed.
    instance.look().await;
    instance.read(sale, &[]).await.unwrap();
    let closing = QueueMessage::Closing { sale_id: sale, epoch: 2 };
    publish_order(world.jetstream(), &closing, PATIENCE).await.unwrap();
    instance.look().await;
    assert!(instance.read(sale, &[]).await.is_err(), "a later epoch is in the queue");
}

#[tokio::test]
async fn look_with_gap_gives_no_cover() {
    let mut world = world().await;
    let claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 100, 0, 1)]).await;
    let pool = flashsale_pg::connect(&world.pg.config_of("inventory"), "serving").unwrap();
    let queue = crate::world::queue(&claims.nats.url).await;
    let instance = Inventory::new(world.store.clone(), pool.clone(), pool.clone(), queue, PATIENCE);
    instance.look().await;
    instance.read(sale, &[]).await.unwrap();
    pool.close().await;
    let closing = QueueMessage::Closing { sale_id: sale, epoch: 2 };
    publish_order(world.jetstream(), &closing, PATIENCE).await.unwrap();
    let stream = world.jetstream().get_stream(flashsale_queue::ORDERS).await.unwrap();
    stream.purge().await.unwrap();
    eventually("the sale is closed", async || {
        let _ = instance.beat().await;
        instance.look().await;
        instance.read(sale, &[]).await.err()
    })
    .await;
}

#[tokio::test]
async fn unissued_epoch_closes_sale_briefly() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 100, 0, 1)]).await;
    world.inventory.look().await;
    world.inventory.read(sale, &[]).await.unwrap();
    let closing = QueueMessage::Closing { sale_id: sale, epoch: 1_000_000_000_000_000 };
    publish_order(world.jetstream(), &closing, PATIENCE).await.unwrap();
    world.inventory.look().await;
    eventually("the sale is open", async || {
        world.inventory.beat().await.unwrap();
        world.inventory.read(sale, &[]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn final_sale_is_left_alone() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 1)]).await;
    world.change_sale(sale, "state = 'ENDED'").await;
    let is_final = "UPDATE sales SET final_at = now() WHERE sale_id = $1";
    sqlx::query(is_final).bind(sale).execute(&world.pg.pool).await.unwrap();
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    let ended = Refusal::NotOpen { state: SaleState::Ended, window_ms: None };
    let instance = inventory(&world.pg, &world.store, &world.queue);
    assert_eq!(instance.read(sale, &[]).await, Err(ended.clone()));
    assert_eq!(
        instance.request(&reserve(sale, "ada", &[("a", 1)]), &crate::world::none()).await,
        Err(ended.clone())
    );
    assert_eq!(instance.rebuild(sale, true).await, Err(ended.clone()));
    assert_eq!(instance.load(sale, Uuid::new_v4()).await, Err(ended));
    assert!(instance.loaded_sales().await.unwrap().is_empty());
}

/// More than there are load permits.
const MANY: usize = 12;

#[tokio::test]
async fn waiting_rebuilds_do_not_block_others() {
    let mut world = world().await;
    let claims = Claims::of(&mut world).await;
    claims.stop();
    let mut sales = Vec::new();
    for _ in 0..=MANY {
        sales.push(world.sale(SaleSpec::default(), &[("a", 5, 0, 1)]).await);
    }
    let served = crate::service::serve_world(&world, &claims.nats.url).await;
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    let begun = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM sale_stock WHERE epoch = 2")
            .fetch_one(&world.pg.pool)
            .await
            .unwrap()
    };
    eventually("all rebuilds have begun", async || {
        (begun().await == i64::try_from(sales.len()).unwrap()).then_some(())
    })
    .await;
    // The claims pass the marker of only one of them.
    let last = sales.pop().unwrap();
    sqlx::query("INSERT INTO stock_fences (sale_id, epoch) VALUES ($1, 2)")
        .bind(last)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    eventually("it is open again", async || world.inventory.read(last, &[]).await.ok()).await;
    for sale in sales {
        assert_eq!(world.inventory.read(sale, &[]).await, Err(Refusal::Fenced));
    }
    drop(served);
}

/// Two servers live, and most of the Sentinels name the other one.
#[tokio::test]
async fn unnamed_server_is_given_up() {
    let redis = flashsale_testbed::redis_sentinel().await;
    let url = redis.url.clone();
    let mut world = world_on(redis, &url).await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    world.inventory.beat().await.unwrap();
    assert!(*world.inventory.ready().borrow());
    let servers = &world.redis.servers;
    let replica = servers.first_replica().port().to_string();
    let command = async |port, words: &[&str]| flashsale_testbed::ask(port, words).await.unwrap();
    command(servers.first_replica().port(), &["REPLICAOF", "NO", "ONE"]).await;
    let sentinels = url.split("127.0.0.1:").skip(1).map(|rest| {
        rest.split(|end: char| !end.is_ascii_digit()).next().unwrap().parse::<u16>().unwrap()
    });
    for (index, port) in sentinels.enumerate() {
        command(port, &["SENTINEL", "REMOVE", "flashsale"]).await;
        if index < 2 {
            let monitor = ["SENTINEL", "MONITOR", "flashsale", "127.0.0.1", &replica, "2"];
            command(port, &monitor).await;
        }
    }
    eventually("the instance is sent no callers", async || {
        world.inventory.beat().await.unwrap();
        (!*world.inventory.ready().borrow()).then_some(())
    })
    .await;
    let beats = async || -> i64 {
        sqlx::query_scalar("SELECT max(beats) FROM redis_servers")
            .fetch_one(&world.pg.pool)
            .await
            .unwrap()
    };
    let before = beats().await;
    world.inventory.beat().await.unwrap();
    assert_eq!(beats().await, before, "a server that is not named was confirmed");
    let store = Store::connect(&redis_config(&format!("redis://127.0.0.1:{replica}"))).await;
    let there = inventory_on(store.unwrap(), &world.pg, &world.queue, PATIENCE);
    let rebuilt = eventually("the sale is rebuilt where they lead", async || {
        there.beat().await.unwrap();
        let _ = world.inventory.beat().await;
        there.rebuild(sale, false).await.ok()
    })
    .await;
    assert_eq!(rebuilt.epoch, 2);
    assert_eq!(world.ask(&reserve(sale, "ada", &[("a", 1)])).await, Err(Refusal::Fenced));
}

#[tokio::test]
async fn beats_survive_exhausted_pool() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let config =
        PgConfig { max_connections: 1, acquire_timeout_ms: 100, ..world.pg.config_of("inventory") };
    let [pool, own] = [(); 2].map(|()| flashsale_pg::connect(&config, "serving").unwrap());
    let _snapshot = pool.acquire().await.unwrap();
    let queue = world.queue.clone();
    let instance = Inventory::new(world.store.clone(), pool.clone(), own.clone(), queue, PATIENCE);
    instance.beat().await.unwrap();
    instance.read(sale, &[]).await.unwrap();
    let record = Record::new(pool, own);
    let lease = record.renew_rebuild(sale, Uuid::new_v4(), Duration::from_secs(3), 1).await;
    assert_eq!(lease, Ok(false), "no rebuilder has it, and that was answered");
}
