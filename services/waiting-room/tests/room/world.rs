//! The world of a test: the stores, the fakes and the instances.

use std::time::Duration;

use flashsale_admission::{Signer, Ticket, admission_id};
use flashsale_proto::{
    NamedChannel,
    waitingroom::{
        CloseRoomRequest, ConfigureRoomRequest, GetPositionRequest, GetRoomRequest, JoinRequest,
        JoinResponse, LeaveRequest, OpenRoomRequest, Outlook, PauseRoomRequest, Position, Room,
        SetRateRequest, WatchPositionRequest, WatchPositionResponse,
        waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
        waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_redis::{RedisConfig, Script, Store};
use flashsale_service::{Drain, Hosted, config::load_from, wire};
use flashsale_testbed::{
    TestPg, TestRedis, TestServer,
    fakes::{
        checkout::checkout_admin_service_server::CheckoutAdminServiceServer,
        inventory::inventory_service_server::InventoryServiceServer,
    },
    identity,
};
use flashsale_waiting_room::{Config, DEFAULTS, build};
use fred::{
    clients::Pool,
    interfaces::{ClientLike as _, HashesInterface as _, SortedSetsInterface as _},
    types::CustomCommand,
};
use tempfile::TempDir;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::inventory::{Checkout, Inventory};

/// One instance of the service.
pub(crate) struct Instance {
    pub(crate) server: TestServer,
    pub(crate) room: WaitingRoomServiceClient<NamedChannel>,
    pub(crate) admin: WaitingRoomAdminServiceClient<NamedChannel>,
}

/// The stores, the keys, the fakes, and the first instance.
pub(crate) struct World {
    pub(crate) pg: TestPg,
    pub(crate) redis: TestRedis,
    /// For access to Redis past the service.
    store: Store,
    pub(crate) inventory: Inventory,
    pub(crate) checkout: Checkout,
    inventory_server: TestServer,
    pub(crate) signer: Signer,
    folder: TempDir,
    pub(crate) sale: Uuid,
    pub(crate) one: Instance,
}

/// The window of a room, in ms since 1970 by the store's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) joins_from: Option<i64>,
    pub(crate) admits_from: Option<i64>,
    pub(crate) admits_until: Option<i64>,
}

/// The clock of a Redis.
pub(crate) async fn now_ms(store: &Store) -> i64 {
    let time = CustomCommand::new_static("TIME", None, false);
    let (seconds, micros): (i64, i64) =
        store.client().custom(time, Vec::<String>::new()).await.unwrap();
    seconds * 1_000 + micros / 1_000
}

pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

impl World {
    /// `settings` are keys of the section `[room]`; they override those of the tests.
    pub(crate) async fn new(settings: &[(&str, &str)]) -> Self {
        let (pg, redis) = tokio::join!(flashsale_testbed::postgres(), flashsale_testbed::redis());
        let config = RedisConfig {
            connections: 1,
            command_timeout_ms: 5_000,
            max_queue: 100,
            ..RedisConfig::at(&redis.url)
        };
        let store = Store::connect(&config).await.unwrap();
        let inventory = Inventory::default();
        inventory.set(1_000_000, 0, 0, 0);
        let checkout = Checkout::default();
        let inventory_server = serve_fakes(&inventory, &checkout).await;
        let (signer, folder) = (Signer::generate().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("keys.json"), signer.to_private_jwks()).unwrap();
        let one = instance(
            &pg.own_url(),
            &redis.own_url(),
            &inventory_server.grpc_url,
            &folder,
            settings,
        )
        .await;
        let sale = Uuid::new_v4();
        Self { pg, redis, store, inventory, checkout, inventory_server, signer, folder, sale, one }
    }

    /// Another instance over the same stores.
    pub(crate) async fn instance(&self, settings: &[(&str, &str)]) -> Instance {
        let inventory = &self.inventory_server.grpc_url;
        instance(&self.pg.own_url(), &self.redis.own_url(), inventory, &self.folder, settings).await
    }

    /// Another instance over the same stores, which asks these fakes, and their server.
    pub(crate) async fn instance_beside(
        &self,
        inventory: &Inventory,
        checkout: &Checkout,
    ) -> (Instance, TestServer) {
        let fakes = serve_fakes(inventory, checkout).await;
        let (pg, redis) = (self.pg.own_url(), self.redis.own_url());
        (instance(&pg, &redis, &fakes.grpc_url, &self.folder, &[]).await, fakes)
    }

    /// Another instance, which reads its signing keys from `folder`.
    pub(crate) async fn instance_in(&self, folder: &TempDir) -> Instance {
        let inventory = &self.inventory_server.grpc_url;
        instance(&self.pg.own_url(), &self.redis.own_url(), inventory, folder, &[]).await
    }

    /// The folder of the first instance's signing keys.
    pub(crate) fn folder(&self) -> &TempDir {
        &self.folder
    }

    /// A world with an open room.
    pub(crate) async fn open(rate: f64) -> Self {
        let world = Self::new(&[]).await;
        world.configure(rate, 60).await;
        world.set_open().await;
        world
    }

    /// A world with a paused room: joins, but no admissions.
    pub(crate) async fn paused(rate: f64) -> Self {
        let world = Self::new(&[]).await;
        world.configure(rate, 60).await;
        world.set_paused().await;
        world
    }

    pub(crate) async fn configure(&self, rate: f64, admission_s: i64) -> Room {
        self.configure_within(rate, admission_s, Window::default()).await
    }

    pub(crate) async fn configure_within(
        &self,
        rate: f64,
        admission_s: i64,
        window: Window,
    ) -> Room {
        let request = ConfigureRoomRequest {
            request_id: request_id(),
            sale_id: self.sale.to_string(),
            admissions_per_second: rate,
            admission_ttl: Some(prost_types::Duration { seconds: admission_s, nanos: 0 }),
            joins_from: window.joins_from.map(wire::timestamp_ms),
            admits_from: window.admits_from.map(wire::timestamp_ms),
            admits_until: window.admits_until.map(wire::timestamp_ms),
            watches_stock: None,
        };
        let response = self.one.admin.clone().configure_room(request).await.unwrap();
        response.into_inner().room.unwrap()
    }

    /// Configures the room to need inventory and checkout, or to do without them.
    pub(crate) async fn configure_watching(&self, rate: f64, watches_stock: Option<bool>) -> Room {
        let request = ConfigureRoomRequest {
            request_id: request_id(),
            sale_id: self.sale.to_string(),
            admissions_per_second: rate,
            admission_ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            watches_stock,
            ..ConfigureRoomRequest::default()
        };
        let response = self.one.admin.clone().configure_room(request).await.unwrap();
        response.into_inner().room.unwrap()
    }

    pub(crate) async fn set_rate(&self, rate: f64) -> Room {
        let request = SetRateRequest {
            request_id: request_id(),
            sale_id: self.sale.to_string(),
            admissions_per_second: rate,
        };
        self.one.admin.clone().set_rate(request).await.unwrap().into_inner().room.unwrap()
    }

    pub(crate) async fn set_open(&self) -> Room {
        let request = OpenRoomRequest { request_id: request_id(), sale_id: self.sale.to_string() };
        self.one.admin.clone().open_room(request).await.unwrap().into_inner().room.unwrap()
    }

    pub(crate) async fn set_paused(&self) -> Room {
        let request = PauseRoomRequest { request_id: request_id(), sale_id: self.sale.to_string() };
        self.one.admin.clone().pause_room(request).await.unwrap().into_inner().room.unwrap()
    }

    pub(crate) async fn set_closed(&self) -> Room {
        let request = CloseRoomRequest { request_id: request_id(), sale_id: self.sale.to_string() };
        self.one.admin.clone().close_room(request).await.unwrap().into_inner().room.unwrap()
    }

    pub(crate) async fn room(&self) -> Room {
        let request = GetRoomRequest { sale_id: self.sale.to_string() };
        self.one.admin.clone().get_room(request).await.unwrap().into_inner().room.unwrap()
    }

    pub(crate) async fn try_join(&self, buyer: &str) -> Result<JoinResponse, Status> {
        self.one.join(self.sale, buyer).await
    }

    pub(crate) async fn join(&self, buyer: &str) -> Joined {
        self.read(self.try_join(buyer).await.unwrap())
    }

    /// Sends this request to join.
    pub(crate) async fn join_by(&self, buyer: &str, request_id: &str) -> Joined {
        self.read(self.one.join_by(self.sale, buyer, request_id).await.unwrap())
    }

    /// Joins with a ticket from an earlier join.
    pub(crate) async fn join_with(&self, buyer: &str, token: &str) -> Result<JoinResponse, Status> {
        let request = JoinRequest {
            request_id: request_id(),
            sale_id: self.sale.to_string(),
            buyer_id: buyer.to_owned(),
            ticket: token.to_owned(),
        };
        Ok(self.one.room.clone().join(request).await?.into_inner())
    }

    /// Runs a statement on the record, with the sale as `$1`.
    pub(crate) async fn sql(&self, statement: &'static str) {
        sqlx::query(statement).bind(self.sale).execute(&self.pg.pool).await.unwrap();
    }

    /// Spends the admission of a place, as inventory does.
    pub(crate) async fn spend(&self, ticket: &Ticket) {
        let spent = admission_id(self.sale, ticket.number, ticket.generation);
        let () = self.redis().hset(self.key("spent"), (spent, "a hold")).await.unwrap();
    }

    /// The result of a join, with the ticket decoded.
    pub(crate) fn read(&self, response: JoinResponse) -> Joined {
        let ticket = self.signer.ring().verify_ticket(&response.ticket).unwrap();
        let position = response.position.unwrap();
        assert_eq!(position.number, ticket.number);
        Joined { token: response.ticket, ticket, position }
    }

    pub(crate) async fn try_position(&self, token: &str) -> Result<Position, Status> {
        let request = GetPositionRequest { ticket: token.to_owned() };
        let response = self.one.room.clone().get_position(request).await?;
        Ok(response.into_inner().position.unwrap())
    }

    pub(crate) async fn position(&self, token: &str) -> Position {
        self.try_position(token).await.unwrap()
    }

    pub(crate) async fn leave(&self, token: &str) {
        let request = LeaveRequest { request_id: request_id(), ticket: token.to_owned() };
        self.one.room.clone().leave(request).await.unwrap();
    }

    pub(crate) async fn watch(&self, token: &str) -> Watched {
        let request = WatchPositionRequest { ticket: token.to_owned() };
        let stream = self.one.room.clone().watch_position(request).await.unwrap().into_inner();
        Watched { stream }
    }

    /// Waits until the head has passed a number.
    pub(crate) async fn head_at(&self, number: i64) {
        flashsale_testbed::eventually("the head gets there", || async {
            (self.room().await.head >= number).then_some(())
        })
        .await;
    }

    pub(crate) fn redis(&self) -> &Pool {
        self.store.client()
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("fs:{{{}}}:{name}", self.sale)
    }

    /// The ticks: head and time by the store's clock, in order.
    pub(crate) async fn ticks(&self) -> Vec<(i64, i64)> {
        let ticks: Vec<String> = self
            .redis()
            .zrange(self.key("room:ticks"), 0, -1, None, false, None, false)
            .await
            .unwrap();
        let parse = |tick: &String| {
            let (head, _) = tick.split_once(':').unwrap();
            let (_, ms) = tick.rsplit_once(':').unwrap();
            (head.parse().unwrap(), ms.parse().unwrap())
        };
        ticks.iter().map(parse).collect()
    }

    /// Moves every tick into the past, as if that time had passed.
    pub(crate) async fn let_ticks_age(&self, ms: i64) {
        // In one step: a room without its ticks is a lost one.
        let script = Script::new(
            "age",
            "local ticks = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
             redis.call('DEL', KEYS[1])
             for i = 1, #ticks, 2 do
               local front, ms = string.match(ticks[i], '^(.*:)(%d+)$')
               redis.call('ZADD', KEYS[1], ticks[i + 1], front .. string.format('%d', ms - ARGV[1]))
             end
             return 1",
        );
        self.store.eval(&script, vec![self.key("room:ticks")], vec![ms.into()]).await.unwrap();
    }

    /// Waits until this much time has passed by the store's clock: several ticks of the heads.
    pub(crate) async fn let_time_pass(&self, ms: i64) {
        let until_ms = self.now_ms().await + ms;
        flashsale_testbed::eventually("time goes by", || async {
            (self.now_ms().await > until_ms).then_some(())
        })
        .await;
    }

    /// The store's clock.
    pub(crate) async fn now_ms(&self) -> i64 {
        now_ms(&self.store).await
    }

    /// A field of the room in Redis.
    pub(crate) async fn field(&self, name: &str) -> Option<i64> {
        let value: Option<String> = self.redis().hget(self.key("room"), name).await.unwrap();
        value.map(|value| value.parse().unwrap())
    }

    /// `head` and `reserved_upto` in Postgres.
    pub(crate) async fn recorded(&self) -> (i64, i64) {
        sqlx::query_as("SELECT head, reserved_upto FROM rooms WHERE sale_id = $1")
            .bind(self.sale)
            .fetch_one(&self.pg.pool)
            .await
            .unwrap()
    }
}

/// The place of a buyer.
pub(crate) struct Joined {
    pub(crate) token: String,
    pub(crate) ticket: Ticket,
    pub(crate) position: Position,
}

impl Instance {
    pub(crate) async fn join(&self, sale: Uuid, buyer: &str) -> Result<JoinResponse, Status> {
        self.join_by(sale, buyer, &request_id()).await
    }

    async fn join_by(
        &self,
        sale: Uuid,
        buyer: &str,
        request_id: &str,
    ) -> Result<JoinResponse, Status> {
        let request = JoinRequest {
            request_id: request_id.to_owned(),
            sale_id: sale.to_string(),
            buyer_id: buyer.to_owned(),
            ..JoinRequest::default()
        };
        Ok(self.room.clone().join(request).await?.into_inner())
    }
}

/// A stream of positions.
pub(crate) struct Watched {
    pub(crate) stream: Streaming<WatchPositionResponse>,
}

impl Watched {
    /// The next position; `None` after a clean end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Position> {
        let message = tokio::time::timeout(Duration::from_secs(30), self.stream.message());
        let message = message.await.expect("the stream says something").unwrap();
        message.map(|message| message.position.unwrap())
    }

    /// Reads positions until this outlook.
    pub(crate) async fn until(&mut self, outlook: Outlook) -> Position {
        loop {
            let position = self.next().await.unwrap_or_else(|| panic!("ended before {outlook:?}"));
            if position.outlook() == outlook {
                return position;
            }
        }
    }

    /// Reads positions until this outlook, which has to be the last.
    pub(crate) async fn ends_with(mut self, outlook: Outlook) -> Position {
        let position = self.until(outlook).await;
        assert_eq!(self.next().await, None);
        position
    }
}

/// Serves both fakes at one address.
async fn serve_fakes(inventory: &Inventory, checkout: &Checkout) -> TestServer {
    let hosted = Hosted::new()
        .grpc(InventoryServiceServer::new(inventory.clone()))
        .grpc(CheckoutAdminServiceServer::new(checkout.clone()));
    flashsale_testbed::serve(hosted, Drain::new()).await
}

async fn instance(
    pg: &str,
    redis: &str,
    inventory: &str,
    folder: &TempDir,
    settings: &[(&str, &str)],
) -> Instance {
    let keys = folder.path().join("keys.json");
    let mut env: Vec<(String, String)> = [
        ("POSTGRES__URL", pg),
        ("POSTGRES__ACQUIRE_TIMEOUT_MS", "500"),
        ("REDIS__URL", redis),
        ("PEERS__INVENTORY__URL", inventory),
        ("PEERS__CHECKOUT__URL", inventory),
        ("ADMISSION__SIGNING_KEYS_FILE", keys.to_str().unwrap()),
        ("ADMISSION__RELOAD_MS", "1"),
        ("ROOM__TICK_MS", "25"),
        ("ROOM__LIST_MS", "50"),
        ("ROOM__STOCK_MS", "25"),
        ("ROOM__INTAKE_MS", "10"),
    ]
    .map(|(name, value)| (format!("FLASHSALE_{name}"), value.to_owned()))
    .into();
    env.extend(
        settings
            .iter()
            .map(|(name, value)| (format!("FLASHSALE_ROOM__{name}"), (*value).to_owned())),
    );
    let config: Config =
        load_from("waiting-room", DEFAULTS, None, env.into_iter().chain(identity())).unwrap();
    let drain = Drain::new();
    let server = flashsale_testbed::serve(build(config, drain.clone()).await.unwrap(), drain).await;
    let channel = server.channel().await;
    Instance {
        server,
        room: WaitingRoomServiceClient::new(channel.clone()),
        admin: WaitingRoomAdminServiceClient::new(channel),
    }
}
