//! What is read of a stock: in pages, by one reading for many callers, with what the sale offers.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use flashsale_inventory::domain::{Phase, Refusal, StockView};
use flashsale_proto::{
    NamedChannel,
    inventory::{self as proto, inventory_service_client::InventoryServiceClient},
};
use flashsale_testbed::{TestServer, ask_redis, eventually};
use futures::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::{
    claims::Claims,
    random::seed,
    service::serve_world_with,
    window::{prepared, set_meta},
    world::{SaleSpec, World, release, reserve, world},
};

/// The most skus that one run of a script may touch.
const AT_MOST: usize = 1_000;

/// Has Redis log what it runs from now on, the last 20,000 commands.
pub(crate) async fn log_runs(world: &World) {
    // So that Redis has the scripts: the first run of each is refused, and sent again.
    let sale = world.sale(SaleSpec::default(), &[("first", 1, 0, 1)]).await;
    world.inventory.read(sale, &[]).await.unwrap();
    for (name, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "20000")] {
        let set = ["CONFIG", "SET", name, value];
        ask_redis(world.redis.server.port(), &set).await.unwrap();
    }
}

/// How many skus each run of the script that reads stock was asked for, by any process. Only runs
/// whose first sku begins with `sku` count.
pub(crate) async fn runs(world: &World, sku: &str) -> Vec<usize> {
    // EVALSHA, the script, the number of keys, nine keys, the epoch and the deadline.
    const BEFORE: usize = 14;
    let get = ["SLOWLOG", "GET", "-1"];
    let log = ask_redis(world.redis.server.port(), &get).await.unwrap();
    let words = log.list().iter().filter_map(|entry| entry.list().get(3));
    words
        .filter_map(|words| {
            let words = words.list();
            let script = words.first()?.text().eq_ignore_ascii_case("evalsha");
            if !script || !words.get(BEFORE)?.text().starts_with(sku) {
                return None;
            }
            // Redis logs the first words, and then how many more there are.
            let last = words.last()?.text();
            let more = last.strip_prefix("... (").and_then(|rest| rest.split(' ').next());
            let skus = words.len() - BEFORE;
            Some(more.map_or(skus, |more| skus - 1 + more.parse::<usize>().unwrap()))
        })
        .collect()
}

fn skus(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("sku-{number:05}")).collect()
}

/// A sale of these skus, ten units each, two for a buyer.
async fn sale_of(world: &World, skus: &[String]) -> Uuid {
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 10, 2, 1_999)).collect();
    world.sale(SaleSpec::default(), &items).await
}

/// Asserts that these skus were read, each with books that balance.
fn assert_whole(view: &StockView, skus: &[String]) {
    assert!(view.skus.iter().map(|books| &books.sku).eq(skus), "{} were read", view.skus.len());
    for books in &view.skus {
        let units = books.available + books.held + books.placed + books.sold;
        assert_eq!((books.allotted, units), (10, 10), "{books:?}");
        assert_eq!((books.price_minor, books.per_buyer_limit), (1_999, 2), "{books:?}");
    }
    assert_eq!(view.terms.currency, "EUR");
}

#[tokio::test]
async fn ten_thousand_skus_are_read_in_pages_of_one_epoch() {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let skus = skus(10_000);
    let sale = sale_of(&world, &skus).await;
    log_runs(&world).await;
    assert_whole(&world.inventory.read(sale, &[]).await.unwrap(), &skus);
    let pages = runs(&world, "sku-").await;
    assert_eq!(pages.iter().sum::<usize>(), skus.len(), "{pages:?}");

    let done = AtomicBool::new(false);
    let reading = async {
        while !done.load(Ordering::SeqCst) {
            match world.inventory.read(sale, &[]).await {
                Ok(view) => assert_whole(&view, &skus),
                Err(refusal) => assert_eq!(refusal, Refusal::Fenced),
            }
            // A stock that is known to be closed is refused at once.
            tokio::task::yield_now().await;
        }
    };
    let buying = async {
        while !done.load(Ordering::SeqCst) {
            let buyer = Uuid::new_v4().to_string();
            let asked = [(skus[rng.random_range(0..skus.len())].as_str(), 1)];
            match world.ask(&reserve(sale, &buyer, &asked)).await {
                Ok(_) | Err(Refusal::Fenced | Refusal::SoldOut { .. }) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let rebuilding = async {
        world.inventory.rebuild(sale, true).await.unwrap();
        eventually("the rebuilt stock is read", async || {
            world.inventory.read(sale, &[]).await.ok().filter(|view| view.epoch == 2)
        })
        .await;
        done.store(true, Ordering::SeqCst);
    };
    let ((), (), ()) = tokio::join!(reading, buying, rebuilding);
    assert_whole(&world.inventory.read(sale, &[]).await.unwrap(), &skus);
    let pages = runs(&world, "sku-").await;
    assert!(pages.iter().all(|skus| *skus <= AT_MOST), "{pages:?}");
}

#[tokio::test]
async fn a_sale_that_changes_between_pages_is_read_again() {
    let world = world().await;
    let skus = skus(10_000);
    let sale = sale_of(&world, &skus).await;
    log_runs(&world).await;
    let mut view = world.inventory.read(sale, &[]).await.unwrap();
    let pages = runs(&world, "sku-").await.len();
    let mut readings = 1;
    let begun_again = async {
        while runs(&world, "sku-").await.len() == pages * readings {
            let changing = world.change_sale(sale, "name = name");
            let (read, ()) = tokio::join!(world.inventory.read(sale, &[]), changing);
            let read = read.unwrap();
            assert_whole(&read, &skus);
            let before = view.terms.version;
            assert!((before..=before + 1).contains(&read.terms.version), "{:?}", read.terms);
            view = world.inventory.read(sale, &[]).await.unwrap();
            assert_eq!(view.terms.version, before + 1);
            readings += 2;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun_again).await.expect("one is begun again");
}

#[tokio::test]
async fn named_skus_are_read_and_no_others() {
    let world = world().await;
    let skus = skus(1_500);
    let sale = sale_of(&world, &skus).await;
    log_runs(&world).await;
    // In any order and more than once.
    let named = [&skus[7], &skus[3], &skus[7]].map(Clone::clone);
    let view = world.inventory.read(sale, &named).await.unwrap();
    assert_whole(&view, &[skus[3].clone(), skus[7].clone()]);
    assert_eq!(runs(&world, "sku-").await, [2]);
    assert_whole(&world.inventory.read(sale, &skus[..1_000]).await.unwrap(), &skus[..1_000]);
    assert!(runs(&world, "sku-").await.into_iter().all(|skus| skus <= AT_MOST));
    let unknown = [skus[999].clone(), "sku-99999".to_owned()];
    let refusal = Refusal::SkuUnknown { sku: "sku-99999".to_owned() };
    assert_eq!(world.inventory.read(sale, &unknown).await, Err(refusal));
}

#[tokio::test]
async fn phase_follows_state_and_clock_of_the_store() {
    let world = world().await;
    let sale = world.sale(prepared(60_000), &[("a", 2, 0, 700), ("b", 1, 0, 700)]).await;
    let phase = async |skus: &[&str]| {
        let skus: Vec<String> = skus.iter().map(|sku| (*sku).to_owned()).collect();
        world.inventory.read(sale, &skus).await.unwrap().phase()
    };
    assert_eq!(phase(&[]).await, Phase::Before);
    set_meta(&world, sale, "starts_ms", 1).await;
    assert_eq!(phase(&[]).await, Phase::OnSale);
    let held = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold.hold_id;
    assert_eq!((phase(&[]).await, phase(&["a"]).await), (Phase::OnSale, Phase::SoldOut));
    world.ask(&reserve(sale, "bob", &[("b", 1)])).await.unwrap();
    assert_eq!(phase(&[]).await, Phase::SoldOut);
    // What is held comes back.
    world.ask(&release(sale, "ada", held)).await.unwrap();
    assert_eq!(phase(&[]).await, Phase::OnSale);
    set_meta(&world, sale, "ends_ms", 2).await;
    assert_eq!(phase(&[]).await, Phase::After);

    for (set, shown) in [("state = 'PAUSED'", Phase::Paused), ("state = 'ENDED'", Phase::After)] {
        let sale = world.sale(SaleSpec::default(), &[("a", 2, 0, 700)]).await;
        assert_eq!(world.inventory.read(sale, &[]).await.unwrap().phase(), Phase::OnSale);
        world.change_sale(sale, set).await;
        assert_eq!(world.inventory.read(sale, &[]).await.unwrap().phase(), shown, "{set}");
    }
    let off = world.sale(prepared(60_000), &[("a", 2, 0, 700)]).await;
    world.change_sale(off, "cancel_requested = true").await;
    assert_eq!(world.inventory.read(off, &[]).await.unwrap().phase(), Phase::After);
}

/// The age of a shared reading, so long that few tests outlast it.
const SHARED_MS: &str = "5000";

struct Served {
    world: World,
    /// Kept alive.
    _server: TestServer,
    stock: InventoryServiceClient<NamedChannel>,
}

/// A service whose shared readings may be [`SHARED_MS`] old.
async fn served() -> Served {
    let world = world().await;
    log_runs(&world).await;
    let more = [("FLASHSALE_INVENTORY__SHARED_READING_MS", SHARED_MS)];
    let server = serve_world_with(&world, "nats://127.0.0.1:1", &more).await;
    let stock = InventoryServiceClient::new(server.channel().await);
    Served { world, _server: server, stock }
}

impl Served {
    /// The available units of the only sku.
    async fn available(&self, sale: Uuid, fresh: bool) -> i64 {
        let ask = proto::GetStockRequest { sale_id: sale.to_string(), skus: vec![], fresh };
        let stock = self.stock.clone().get_stock(ask).await.unwrap().into_inner().stock;
        stock[0].available
    }

    /// Asserts that one reading was enough, or one in each of the times for which it is shared.
    async fn assert_shared(&self, began: Instant) {
        let readings = runs(&self.world, "tee").await.len() as u128;
        let shared_ms: u128 = SHARED_MS.parse().unwrap();
        let at_most = 1 + began.elapsed().as_millis() / shared_ms;
        assert!((1..=at_most).contains(&readings), "{readings} readings");
    }

    /// Lets no script run for so long.
    async fn pause_redis(&self, ms: &str) {
        let port = self.world.redis.server.port();
        ask_redis(port, &["CLIENT", "PAUSE", ms, "ALL"]).await.unwrap();
    }
}

#[tokio::test]
async fn many_callers_share_one_reading() {
    let served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 0, 1)]).await;
    let began = Instant::now();
    for _ in 0..2 {
        for available in join_all((0..200).map(|_| served.available(sale, false))).await {
            assert_eq!(available, 10);
        }
    }
    served.assert_shared(began).await;
}

#[tokio::test]
async fn fresh_reading_has_what_was_done_before_the_call() {
    let served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 50, 0, 1)]).await;
    for taken in 1..=20 {
        served.available(sale, false).await;
        served.world.ask(&reserve(sale, "ada", &[("tee", 1)])).await.unwrap();
        assert_eq!(served.available(sale, true).await, 50 - taken);
        // The fresh reading is now the shared one.
        assert_eq!(served.available(sale, false).await, 50 - taken);
    }
}

#[tokio::test]
async fn fresh_readings_are_shared_by_those_who_wait() {
    let served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 0, 1)]).await;
    served.available(sale, true).await;
    let before = runs(&served.world, "tee").await.len();
    served.pause_redis("500").await;
    for available in join_all((0..100).map(|_| served.available(sale, true))).await {
        assert_eq!(available, 10);
    }
    let readings = runs(&served.world, "tee").await.len() - before;
    // One for the first call, one for those that came while it was under way; the metrics may read
    // as well, and a call may have come late.
    assert!((1..=4).contains(&readings), "{readings} readings");
}

/// A caller that gives up does not take the reading away from the others.
#[tokio::test]
async fn a_reading_goes_on_without_its_first_caller() {
    let served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 0, 1)]).await;
    let began = Instant::now();
    served.pause_redis("500").await;
    let read = served.available(sale, false);
    let read = tokio::time::timeout(Duration::from_millis(100), read).await;
    assert!(read.is_err(), "Redis answered: {read:?}");
    assert_eq!(served.available(sale, false).await, 10);
    served.assert_shared(began).await;
}
