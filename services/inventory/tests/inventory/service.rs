//! The service over gRPC.

use std::sync::Arc;

use flashsale_admission::{Admission, Signer};
use flashsale_errors::Reason;
use flashsale_inventory::{Config, DEFAULTS};
use flashsale_proto::{
    NamedChannel,
    inventory::{
        self as proto, HoldState, inventory_admin_service_client::InventoryAdminServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
    waitingroom as room,
};
use flashsale_service::{Drain, Hosted, wire};
use flashsale_testbed::{
    TestServer, assert_failure, eventually,
    fakes::waiting_room::waiting_room_service_server::{
        WaitingRoomService, WaitingRoomServiceServer,
    },
    grants::as_own,
    identity, serve,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::world::{DETAILS, SaleSpec, World, world};

/// Concurrent calls that the waiting room answers.
const DOOR: u32 = 100;

/// A fake of the waiting room, as far as inventory uses it.
struct Room {
    jwks: String,
    /// A holder of all permits keeps the others waiting.
    door: Arc<Semaphore>,
}

#[tonic::async_trait]
impl WaitingRoomService for Room {
    async fn get_admission_keys(
        &self,
        _: Request<room::GetAdmissionKeysRequest>,
    ) -> Result<Response<room::GetAdmissionKeysResponse>, Status> {
        let _open = self.door.acquire().await.unwrap();
        Ok(Response::new(room::GetAdmissionKeysResponse { jwks_json: self.jwks.clone() }))
    }
}

/// Inventory as a process, with a waiting room beside it.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) signer: Signer,
    pub(crate) stock: InventoryServiceClient<NamedChannel>,
    pub(crate) admin: InventoryAdminServiceClient<NamedChannel>,
    pub(crate) server: TestServer,
    room: TestServer,
    door: Arc<Semaphore>,
}

/// Inventory as a process over the stores of `world`, with the queue at `nats`.
pub(crate) async fn serve_world<R>(world: &World<R>, nats: &str) -> TestServer {
    serve_world_with(world, nats, &[]).await
}

/// As [`serve_world`], with more settings.
pub(crate) async fn serve_world_with<R>(
    world: &World<R>,
    nats: &str,
    more: &[(&str, &str)],
) -> TestServer {
    let (redis_url, nats_url) = (as_own(&world.redis_url), as_own(nats));
    let env = [
        ("FLASHSALE_REDIS__URL", redis_url.as_str()),
        ("FLASHSALE_NATS__URL", nats_url.as_str()),
        // Nothing listens there: no sale needs an admission.
        ("FLASHSALE_PEERS__WAITING_ROOM__URL", "http://127.0.0.1:1"),
    ];
    let env = env.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let env = world.pg.env().chain(identity()).chain(env);
    let config: Config =
        flashsale_service::config::load_from("inventory", DEFAULTS, None, env).unwrap();
    let drain = Drain::new();
    serve(flashsale_inventory::build(config, drain.clone()).await.unwrap(), drain).await
}

pub(crate) async fn served() -> Served {
    let world = world().await;
    let signer = Signer::generate().unwrap();
    let door = Arc::new(Semaphore::new(DOOR as usize));
    let room = Room { jwks: signer.public_jwks(), door: Arc::clone(&door) };
    let service = WaitingRoomServiceServer::new(room);
    let room = serve(Hosted::new().grpc(service), Drain::new()).await;
    let env = [
        ("FLASHSALE_REDIS__URL", &world.redis.own_url()),
        // Nothing listens there.
        ("FLASHSALE_NATS__URL", &"nats://127.0.0.1:1".to_owned()),
        ("FLASHSALE_PEERS__WAITING_ROOM__URL", &room.grpc_url),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()));
    let config: Config = flashsale_service::config::load_from(
        "inventory",
        DEFAULTS,
        None,
        world.pg.env().chain(identity()).chain(env),
    )
    .unwrap();
    let drain = Drain::new();
    let hosted = flashsale_inventory::build(config, drain.clone()).await.unwrap();
    let server = serve(hosted, drain).await;
    let channel = server.channel().await;
    let stock = InventoryServiceClient::new(channel.clone());
    let admin = InventoryAdminServiceClient::new(channel);
    Served { world, signer, stock, admin, server, room, door }
}

impl Served {
    /// Keeps the waiting room from answering until this is dropped.
    pub(crate) async fn shut_room(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.door).acquire_many_owned(DOOR).await.unwrap()
    }

    pub(crate) fn admission(&self, sale: Uuid, buyer_id: &str, number: i64, in_ms: i64) -> String {
        admission(&self.signer, sale, buyer_id, number, in_ms)
    }
}

pub(crate) fn admission(
    signer: &Signer,
    sale: Uuid,
    buyer_id: &str,
    number: i64,
    in_ms: i64,
) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    signer.mint_admission(&Admission {
        sale_id: sale,
        buyer_id: buyer_id.to_owned(),
        number,
        generation: 0,
        expires_at_ms: now.as_millis() as i64 + in_ms,
        quota: 1,
    })
}

pub(crate) fn id() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn reserve(
    sale: Uuid,
    buyer_id: &str,
    asked: &[(&str, i64)],
    admission: &str,
) -> proto::ReserveRequest {
    proto::ReserveRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer_id.to_owned(),
        lines: wire_lines(asked),
        admission: admission.to_owned(),
    }
}

pub(crate) fn wire_lines(asked: &[(&str, i64)]) -> Vec<proto::Line> {
    asked
        .iter()
        .map(|(sku, quantity)| proto::Line { sku: (*sku).to_owned(), quantity: *quantity })
        .collect()
}

#[tokio::test]
async fn order_goes_from_loading_to_sold() {
    let mut served = served().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = served.world.record_sale(spec, &[("tee", 10, 2, 1_999)]).await;
    let load = proto::LoadStockRequest { request_id: id(), sale_id: sale.to_string() };
    assert_eq!(served.admin.load_stock(load.clone()).await.unwrap().into_inner().epoch, 1);
    assert_eq!(served.admin.load_stock(load).await.unwrap().into_inner().epoch, 1);

    // The keys are fetched when the first admission comes, whichever service was started first.
    let token = served.admission(sale, "ada", 1, 60_000);
    let ask = reserve(sale, "ada", &[("tee", 1), ("tee", 1)], &token);
    let hold = served.stock.reserve(ask.clone()).await.unwrap().into_inner().hold.unwrap();
    assert_eq!(hold.state(), HoldState::Held);
    let total = hold.total.clone().unwrap();
    assert_eq!((total.currency_code.as_str(), total.units, total.nanos), ("EUR", 39, 980_000_000));
    assert_eq!((hold.lines.len(), hold.lines[0].quantity), (1, 2));
    assert!(hold.expire_time.is_some() && hold.order_id.is_empty());
    let again = served.stock.reserve(ask).await.unwrap().into_inner().hold.unwrap();
    assert_eq!(again, hold);

    let extend = proto::ExtendHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: "ada".to_owned(),
        hold_id: hold.hold_id.clone(),
    };
    served.stock.extend_hold(extend).await.unwrap();

    let place = proto::PlaceHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: "ada".to_owned(),
        hold_id: hold.hold_id.clone(),
        order_details: DETAILS.to_owned(),
        ..proto::PlaceHoldRequest::default()
    };
    let answer = served.stock.place_hold(place.clone()).await.unwrap().into_inner();
    assert!(!answer.replayed);
    let placed = answer.placed.unwrap();
    assert_eq!((placed.order_details.as_str(), &placed.request_id), (DETAILS, &place.request_id));
    let hold = placed.hold.clone().unwrap();
    assert_eq!(hold.state(), HoldState::Placed);
    assert!(hold.expire_time.is_none() && hold.place_time.is_some());
    let answer = served.stock.place_hold(place).await.unwrap().into_inner();
    assert!(answer.replayed);
    assert_eq!(answer.placed.as_ref(), Some(&placed));

    let list = proto::ListPlacedHoldsRequest { sale_id: sale.to_string(), ..Default::default() };
    let listed = served.admin.list_placed_holds(list).await.unwrap().into_inner().placed;
    assert_eq!(listed, std::slice::from_ref(&placed));
    let get = proto::GetHoldRequest {
        sale_id: sale.to_string(),
        order_id: hold.order_id.clone(),
        ..proto::GetHoldRequest::default()
    };
    let got = served.stock.get_hold(get).await.unwrap().into_inner();
    assert_eq!((got.hold, got.placed), (Some(hold.clone()), Some(placed)));

    for (outcome, result) in [
        (proto::HoldOutcome::Claimed, proto::SettleResult::Done),
        (proto::HoldOutcome::Sold, proto::SettleResult::Done),
        (proto::HoldOutcome::Released, proto::SettleResult::Conflict),
    ] {
        let settlement = proto::HoldSettlement {
            hold_id: hold.hold_id.clone(),
            outcome: outcome.into(),
            ..proto::HoldSettlement::default()
        };
        let settle = proto::SettleHoldsRequest {
            request_id: id(),
            sale_id: sale.to_string(),
            settlements: vec![settlement],
        };
        let results = served.admin.settle_holds(settle).await.unwrap().into_inner().results;
        assert_eq!(results, [i32::from(result)]);
    }
    let ask = proto::GetStockRequest { sale_id: sale.to_string(), skus: vec![], fresh: true };
    let stock = served.stock.get_stock(ask).await.unwrap().into_inner();
    let books = &stock.stock[0];
    assert_eq!((books.allotted, books.available, books.sold), (10, 8, 2));
    let price = Some(wire::money(1_999, "EUR"));
    assert_eq!((&books.unit_price, books.per_buyer_limit), (&price, 2));
    assert_eq!(stock.phase(), proto::StockPhase::OnSale);
    assert!(stock.read_time.is_some() && stock.starts_at.is_some() && stock.ends_at.is_some());
}

#[tokio::test]
async fn watchers_see_expired_hold_return() {
    let mut served = served().await;
    let spec = SaleSpec { hold_ms: 700, ..SaleSpec::default() };
    let sale = served.world.sale(spec, &[("tee", 10, 0, 1_999)]).await;
    let watch = proto::WatchStockRequest { sale_id: sale.to_string() };
    let mut stream = served.stock.watch_stock(watch.clone()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.stock[0].available, 10);
    served.stock.reserve(reserve(sale, "ada", &[("tee", 4)], "")).await.unwrap();
    let taken = stream.message().await.unwrap().unwrap();
    assert_eq!((taken.stock[0].available, taken.stock[0].held), (6, 4));
    // A watcher that comes later begins with the present state.
    let mut late = served.stock.watch_stock(watch).await.unwrap().into_inner();
    assert_eq!(late.message().await.unwrap().unwrap().stock[0].available, 6);
    let back =
        tokio::time::timeout(std::time::Duration::from_millis(5_700), stream.message()).await;
    let back = back.expect("the hold is back within its length and five seconds").unwrap().unwrap();
    assert_eq!((back.stock[0].available, back.stock[0].held), (10, 0));
    // A drain ends the streams.
    served.server.drain.begin();
    assert_eq!(stream.message().await.unwrap(), None);
    served.server.ended().await.unwrap();
}

#[tokio::test]
async fn watching_fails_like_reading() {
    let mut served = served().await;
    let watch = proto::WatchStockRequest { sale_id: id() };
    let mut stream = served.stock.watch_stock(watch).await.unwrap().into_inner();
    assert_failure(&stream.message().await.unwrap_err(), Reason::SaleNotFound);
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 0, 1_999)]).await;
    let watch = proto::WatchStockRequest { sale_id: sale.to_string() };
    let mut stream = served.stock.watch_stock(watch.clone()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    served.world.lua("redis.call('FLUSHALL')", vec![]).await;
    assert_failure(&stream.message().await.unwrap_err(), Reason::StockFenced);
    let mut stream = served.stock.watch_stock(watch).await.unwrap().into_inner();
    let failure = assert_failure(&stream.message().await.unwrap_err(), Reason::StockFenced);
    assert!(failure.delay().is_some());
}

#[tokio::test]
async fn unverifiable_admission_is_not_invalid() {
    let mut served = served().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = served.world.sale(spec, &[("tee", 10, 0, 1_999)]).await;
    let token = served.admission(sale, "ada", 1, 60_000);
    eventually("the keys are known", async || {
        served.stock.clone().reserve(reserve(sale, "ada", &[("tee", 1)], &token)).await.ok()
    })
    .await;
    served.room.drain.begin();
    served.room.ended().await.unwrap();
    // Known keys stay valid; one that was made since cannot be fetched.
    let token = admission(&served.signer, sale, "bob", 2, 60_000);
    served.stock.reserve(reserve(sale, "bob", &[("tee", 1)], &token)).await.unwrap();
    let newer = served.signer.rotated().unwrap();
    let token = admission(&newer, sale, "cem", 3, 60_000);
    eventually("the last good fetch is a while ago", async || {
        let ask = reserve(sale, "cem", &[("tee", 1)], &token);
        let status = served.stock.clone().reserve(ask).await.unwrap_err();
        let failure = flashsale_errors::Failure::from_status(&status).unwrap();
        (failure.reason() == Reason::PeerUnavailable).then_some(())
    })
    .await;
    // A sale without a room needs no admission.
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 0, 1_999)]).await;
    served.stock.reserve(reserve(sale, "cem", &[("tee", 1)], &token)).await.unwrap();
}

#[test]
fn defaults_are_valid() {
    let config: Config =
        flashsale_service::config::load_from("inventory", DEFAULTS, None, identity()).unwrap();
    assert!(config.inventory.script_timeout_ms > 0);
    let wrong = [
        ("FLASHSALE_INVENTORY__SCRIPT_TIMEOUT_MS", "0"),
        ("FLASHSALE_INVENTORY__RECONCILE_EVERY_MS", "10"),
        ("FLASHSALE_INVENTORY__WATCH_EVERY_MS", "49"),
        ("FLASHSALE_INVENTORY__SHARED_READING_MS", "5001"),
        ("FLASHSALE_INVENTORY__MAX_WATCHERS", "0"),
        ("FLASHSALE_REDIS__CONNECTIONS", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let error = flashsale_service::config::load_from::<Config>(
        "inventory",
        DEFAULTS,
        None,
        wrong.into_iter().chain(identity()),
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("inventory.script_timeout_ms")
            && text.contains("inventory.reconcile_every_ms")
            && text.contains("inventory.watch_every_ms")
            && text.contains("inventory.shared_reading_ms")
            && text.contains("inventory.max_watchers")
            && text.contains("redis.connections"),
        "{text}"
    );
}
