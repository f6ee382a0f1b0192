//! The three stores, a waiting room's keys, inventory and checkout, and queries of their contents.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_nats::jetstream;
use flashsale_admission::{Admission, Signer};
use flashsale_checkout::{Config, DEFAULTS};
use flashsale_errors::Failure;
use flashsale_proto::{
    Money, NamedChannel,
    checkout::{
        BeginCheckoutRequest, CancelOrderRequest, Contact, GetOrderRequest, Line, Order,
        OrderState, PlaceOrderRequest, WatchOrderRequest,
        checkout_service_client::CheckoutServiceClient,
    },
    inventory::{
        self, LoadStockRequest, inventory_admin_service_client::InventoryAdminServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
};
use flashsale_queue::{CancelTarget, NatsConfig, ORDERS, OrderEvent, OrderMessage, QueueMessage};
use flashsale_redis::{RedisConfig, Script, Store};
use flashsale_service::{Drain, Hosted, config::load_from, wire};
pub(crate) use flashsale_testbed::fixtures::SaleSpec;
use flashsale_testbed::{
    TestNats, TestPg, TestRedis, TestServer, eventually,
    fakes::waiting_room::waiting_room_service_server::WaitingRoomServiceServer,
    fixtures::{self, OrderSpec, SaleItem},
    identity, serve,
};
use tokio::sync::Semaphore;
use tonic::Status;
use uuid::Uuid;

use crate::room::Room;

pub(crate) type Client = CheckoutServiceClient<NamedChannel>;

/// What an order carries besides its lines, as checkout writes it.
const DETAILS: &str =
    r#"{"email":"ada@example.org","contact_name":"Ada Lovelace","payment_method":"pm_card_visa"}"#;

pub(crate) struct World {
    pub(crate) pg: TestPg,
    pub(crate) nats: TestNats,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) signer: Signer,
    pub(crate) stock: InventoryServiceClient<NamedChannel>,
    pub(crate) admin: InventoryAdminServiceClient<NamedChannel>,
    pub(crate) checkout: Client,
    pub(crate) server: TestServer,
    client: async_nats::Client,
    store: Store,
    pub(crate) redis: TestRedis,
    pub(crate) inventory: TestServer,
    /// While it is held, the waiting room does not hand out its keys.
    pub(crate) key_permit: Arc<Semaphore>,
    _room: TestServer,
}

/// The contents of the stores.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The hash of each key's value.
    redis: BTreeMap<String, String>,
    /// The messages in `ORDERS`, and the number of the last.
    orders: (u64, u64),
    /// The hash of each table's rows.
    tables: BTreeMap<String, String>,
}

impl Snapshot {
    /// The number of the last message in `ORDERS`.
    pub(crate) fn last_order(&self) -> u64 {
        self.orders.1
    }
}

fn env<const N: usize>(values: [(&str, &str); N]) -> impl Iterator<Item = (String, String)> {
    values.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter()
}

/// All services, with checkout's background work effectively disabled unless `tune` enables it.
pub(crate) async fn world(tune: impl FnOnce(&mut Config)) -> World {
    let (pg, redis, nats) = tokio::join!(
        flashsale_testbed::postgres(),
        flashsale_testbed::redis(),
        flashsale_testbed::nats()
    );
    let signer = Signer::generate().unwrap();
    let key_permit = Arc::new(Semaphore::new(1));
    let room = Room { jwks: signer.public_jwks(), key_permit: Arc::clone(&key_permit) };
    let room = WaitingRoomServiceServer::new(room);
    let room = serve(Hosted::new().grpc(room), Drain::new()).await;

    let (redis_url, nats_url) = (redis.own_url(), nats.own_url());
    let config = env([
        ("FLASHSALE_REDIS__URL", &redis_url),
        ("FLASHSALE_PEERS__WAITING_ROOM__URL", &room.grpc_url),
    ]);
    let config = pg.env().chain(identity()).chain(config);
    let config = load_from("inventory", flashsale_inventory::DEFAULTS, None, config).unwrap();
    let drain = Drain::new();
    let hosted = flashsale_inventory::build(config, drain.clone()).await.unwrap();
    let inventory = serve(hosted, drain).await;

    let config = env([
        ("FLASHSALE_NATS__URL", &nats_url),
        ("FLASHSALE_PEERS__INVENTORY__URL", &inventory.grpc_url),
    ]);
    let config = pg.env().chain(identity()).chain(config);
    let mut config: Config = load_from("checkout", DEFAULTS, None, config).unwrap();
    config.nats.publish_timeout_ms = 5_000;
    config.nats.orders_max_bytes = 16 * 1_048_576;
    config.relay.poll_ms = 600_000;
    config.watch.sweep_ms = 600_000;
    tune(&mut config);
    let as_test = NatsConfig::at(&nats.url);
    let client = flashsale_queue::connect(&as_test, "test").await.unwrap();
    let jetstream = jetstream::new(client.clone());
    let drain = Drain::new();
    let hosted = flashsale_checkout::build(config, drain.clone()).await.unwrap();
    let server = serve(hosted, drain).await;
    eventually("checkout makes the order stream", async || jetstream.get_stream(ORDERS).await.ok())
        .await;

    let stock = inventory.channel().await;
    let redis_config = RedisConfig {
        connections: 1,
        command_timeout_ms: 5_000,
        max_queue: 1_000,
        ..RedisConfig::at(&redis.url)
    };
    World {
        pg,
        nats,
        jetstream,
        signer,
        admin: InventoryAdminServiceClient::new(stock.clone()),
        stock: InventoryServiceClient::new(stock),
        checkout: Client::new(server.channel().await),
        server,
        client,
        store: Store::connect(&redis_config).await.unwrap(),
        redis,
        inventory,
        key_permit,
        _room: room,
    }
}

impl World {
    /// Records a sale; items are (sku, units, limit, price).
    pub(crate) async fn record_sale(
        &self,
        spec: SaleSpec,
        items: &[(&str, i64, i64, i64)],
    ) -> Uuid {
        fixtures::record_sale(&self.pg.pool, spec, items.iter().map(SaleItem::from)).await.unwrap()
    }

    /// Records a sale and loads its stock.
    pub(crate) async fn sale_with(&self, spec: SaleSpec, items: &[(&str, i64, i64, i64)]) -> Uuid {
        let sale_id = self.record_sale(spec, items).await;
        let load = LoadStockRequest { request_id: id(), sale_id: sale_id.to_string() };
        self.admin.clone().load_stock(load).await.unwrap();
        sale_id
    }

    /// An open sale of tees at 19.99 EUR without a room.
    pub(crate) async fn sale(&self, tees: i64) -> Uuid {
        self.sale_with(SaleSpec::default(), &[("tee", tees, 0, 1_999)]).await
    }

    pub(crate) fn admission(&self, sale: Uuid, buyer_id: &str, number: i64, in_ms: i64) -> String {
        admission(&self.signer, sale, buyer_id, number, in_ms)
    }

    /// Places an order and expects it to be accepted: on a busy machine perhaps only when its buyer
    /// sends it again.
    pub(crate) async fn order(&self, ask: &PlaceOrderRequest) -> Order {
        eventually("the order is accepted", async || {
            let order = self.place(ask).await.unwrap();
            (order.state() == OrderState::Accepted).then_some(order)
        })
        .await
    }

    pub(crate) async fn place(&self, ask: &PlaceOrderRequest) -> Result<Order, Status> {
        let answer = self.checkout.clone().place_order(ask.clone()).await?;
        Ok(answer.into_inner().order.unwrap())
    }

    pub(crate) async fn get(&self, sale: Uuid, order_id: &str) -> Result<Order, Status> {
        let ask = GetOrderRequest {
            sale_id: sale.to_string(),
            order_id: order_id.to_owned(),
            buyer_id: String::new(),
        };
        Ok(self.checkout.clone().get_order(ask).await?.into_inner().order.unwrap())
    }

    pub(crate) async fn cancel(&self, ask: &CancelOrderRequest) -> Result<Order, Status> {
        let answer = self.checkout.clone().cancel_order(ask.clone()).await?;
        Ok(answer.into_inner().order.unwrap())
    }

    /// Places an order in the stock store alone, as a checkout that ends right after it.
    pub(crate) async fn place_only(&self, sale: Uuid, buyer_id: &str) -> inventory::Hold {
        let ask = inventory::PlaceHoldRequest {
            request_id: id(),
            sale_id: sale.to_string(),
            buyer_id: buyer_id.to_owned(),
            lines: vec![inventory::Line { sku: "tee".to_owned(), quantity: 1 }],
            order_details: DETAILS.to_owned(),
            ..inventory::PlaceHoldRequest::default()
        };
        let answer = self.stock.clone().place_hold(ask).await.unwrap().into_inner();
        answer.placed.unwrap().hold.unwrap()
    }

    /// The orders that the stock store still carries.
    pub(crate) async fn carried(&self, sale: Uuid) -> Vec<String> {
        let ask = inventory::ListPlacedHoldsRequest {
            sale_id: sale.to_string(),
            limit: 500,
            ..inventory::ListPlacedHoldsRequest::default()
        };
        let answer = self.admin.clone().list_placed_holds(ask).await.unwrap().into_inner();
        answer.placed.into_iter().map(|placed| placed.hold.unwrap().order_id).collect()
    }

    /// The books of the tees: available, held, placed, sold.
    pub(crate) async fn books(&self, sale: Uuid) -> [i64; 4] {
        let skus = vec!["tee".to_owned()];
        let ask = inventory::GetStockRequest { sale_id: sale.to_string(), skus, fresh: false };
        let stock = self.stock.clone().get_stock(ask).await.unwrap().into_inner().stock;
        [stock[0].available, stock[0].held, stock[0].placed, stock[0].sold]
    }

    /// Changes what the stock store keeps of a hold, past inventory: in the hash `holds` or
    /// `orders` of its sale. Without a value it is deleted.
    pub(crate) async fn spoil(&self, sale: Uuid, hash: &str, hold_id: &str, value: Option<&str>) {
        let script = "if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
            redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
            return 1";
        let keys = vec![format!("fs:{{{sale}}}:{hash}")];
        let args = vec![hold_id.into(), value.unwrap_or_default().into()];
        let done = self.store.eval(&Script::new("test", script), keys, args).await.unwrap();
        assert_eq!(done.as_i64(), Some(1));
    }

    /// Parks an order, as the claims do.
    pub(crate) async fn park(&self, order: &OrderMessage) {
        let message = QueueMessage::Place { order: order.clone() };
        sqlx::query(
            "INSERT INTO parked_orders (order_id, sale_id, seq, message) VALUES ($1, $2, 1, $3)",
        )
        .bind(order.order_id)
        .bind(order.sale_id)
        .bind(serde_json::to_value(message).unwrap())
        .execute(&self.pg.pool)
        .await
        .unwrap();
    }

    /// What is in `ORDERS`, in order.
    pub(crate) async fn queued(&self) -> Vec<QueueMessage> {
        let stream = self.jetstream.get_stream(ORDERS).await.unwrap();
        let state = &stream.cached_info().state;
        let mut messages = Vec::new();
        if state.messages == 0 {
            return messages;
        }
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            messages.push(QueueMessage::decode(&message.payload).unwrap());
        }
        messages
    }

    /// The message that was queued for an order.
    pub(crate) async fn placed_message(&self, order: &Order) -> OrderMessage {
        let mut messages = self.queued().await.into_iter().filter_map(|message| match message {
            QueueMessage::Place { order: placed }
                if placed.order_id.to_string() == order.order_id =>
            {
                Some(placed)
            }
            QueueMessage::Place { .. }
            | QueueMessage::Cancel { .. }
            | QueueMessage::Fence { .. }
            | QueueMessage::Closing { .. }
            | QueueMessage::Unreadable { .. } => None,
        });
        messages.next().expect("the order is queued")
    }

    /// The queued requests to cancel.
    pub(crate) async fn cancels(&self) -> Vec<CancelTarget> {
        let messages = self.queued().await.into_iter();
        messages
            .filter_map(|message| match message {
                QueueMessage::Cancel { target, .. } => Some(target),
                QueueMessage::Place { .. }
                | QueueMessage::Fence { .. }
                | QueueMessage::Closing { .. }
                | QueueMessage::Unreadable { .. } => None,
            })
            .collect()
    }

    /// Records an order as the claims do.
    pub(crate) async fn record(&self, order: &OrderMessage, state: &str) {
        let recorded = OrderSpec { state, ..OrderSpec::of(order) };
        fixtures::record_order(&self.pg.pool, &recorded).await.unwrap();
    }

    /// Places an order and has it recorded in `state`.
    pub(crate) async fn recorded(&self, ask: &PlaceOrderRequest, state: &str) -> Order {
        let order = self.order(ask).await;
        let message = self.placed_message(&order).await;
        self.record(&message, state).await;
        order
    }

    /// Changes a recorded order, as the worker does.
    pub(crate) async fn change(&self, order: &Order, set: &str) {
        let statement = format!(
            "UPDATE orders SET updated_at = order_change_time(), {set} WHERE order_id = $1"
        );
        let changed = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(order.order_id.parse::<Uuid>().unwrap())
            .execute(&self.pg.pool)
            .await
            .unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }

    /// Announces a change of an order, as the worker does.
    pub(crate) async fn announce(&self, order: &Order, state: &str) {
        let order_id = order.order_id.parse().unwrap();
        let event = OrderEvent {
            order_id,
            sale_id: order.sale_id.parse().unwrap(),
            state: state.to_owned(),
        };
        let subject = flashsale_queue::order_event_subject(order_id);
        flashsale_queue::announce(&self.client, subject, &event).await;
        self.client.flush().await.unwrap();
    }

    /// Ends all connections to the database and refuses new ones.
    pub(crate) async fn close_postgres(&self) {
        let mut admin = self.pg.admin().await;
        let database = self.pg.database();
        let statement = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
        sqlx::query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
        )
        .bind(database)
        .execute(&mut admin)
        .await
        .unwrap();
    }

    /// The contents of the stores, without the heartbeats that say which Redis counts.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        // Not DUMP, in which the order of fields changes while Redis reorganises a hash.
        let script = "local all = {}
            for _, key in ipairs(redis.call('KEYS', 'fs:{*')) do
              local fields = {}
              if redis.call('TYPE', key).ok == 'hash' then
                local flat = redis.call('HGETALL', key)
                for i = 1, #flat, 2 do fields[#fields + 1] = flat[i] .. '=' .. flat[i + 1] end
                table.sort(fields)
              else
                fields = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
              end
              all[#all + 1] = key
              all[#all + 1] = redis.sha1hex(table.concat(fields, '|'))
            end
            return all";
        let flat = self.store.eval(&Script::new("test", script), vec![], vec![]).await.unwrap();
        let flat: Vec<String> = flat.convert().unwrap();
        let redis = flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();

        let stream = self.jetstream.get_stream(ORDERS).await.unwrap();
        let state = &stream.cached_info().state;

        let names: Vec<String> = sqlx::query_scalar(
            r"SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\_sqlx%' AND tablename <> 'redis_servers'",
        )
        .fetch_all(&self.pg.pool)
        .await
        .unwrap();
        let mut tables = BTreeMap::new();
        for table in names {
            let statement = format!(
                "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t"
            );
            let hash: String = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
                .fetch_one(&self.pg.pool)
                .await
                .unwrap();
            tables.insert(table, hash);
        }
        assert!(tables.contains_key("orders"), "{tables:?}");
        Snapshot { redis, orders: (state.messages, state.last_sequence), tables }
    }

    /// Waits until inventory has the keys to verify admissions.
    pub(crate) async fn keys_are_known(&self) {
        let spec = SaleSpec { room: true, ..SaleSpec::default() };
        let sale = self.sale_with(spec, &[("tee", 1, 0, 1)]).await;
        let ask = begin(sale, "first", &[("tee", 1)], &self.admission(sale, "first", 1, 60_000));
        eventually("the waiting room's keys are known", async || {
            self.checkout.clone().begin_checkout(ask.clone()).await.ok()
        })
        .await;
    }
}

pub(crate) fn admission(
    signer: &Signer,
    sale: Uuid,
    buyer_id: &str,
    number: i64,
    in_ms: i64,
) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    signer.mint_admission(&Admission {
        sale_id: sale,
        buyer_id: buyer_id.to_owned(),
        number,
        generation: 0,
        expires_at_ms: i64::try_from(now.as_millis()).unwrap() + in_ms,
        quota: 1,
    })
}

pub(crate) fn id() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn lines(asked: &[(&str, i64)]) -> Vec<Line> {
    asked
        .iter()
        .map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity })
        .collect()
}

pub(crate) fn begin(
    sale: Uuid,
    buyer_id: &str,
    asked: &[(&str, i64)],
    admission: &str,
) -> BeginCheckoutRequest {
    BeginCheckoutRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer_id.to_owned(),
        lines: lines(asked),
        admission: admission.to_owned(),
    }
}

/// An order of lines, without an admission.
pub(crate) fn place(sale: Uuid, buyer_id: &str, asked: &[(&str, i64)]) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer_id.to_owned(),
        lines: lines(asked),
        contact: Some(Contact {
            email: "ada@example.org".to_owned(),
            name: "Ada Lovelace".to_owned(),
            ..Contact::default()
        }),
        payment_method: "pm_card_visa".to_owned(),
        ..PlaceOrderRequest::default()
    }
}

/// An amount in euros.
pub(crate) fn eur(minor: i64) -> Option<Money> {
    Some(wire::money(minor, "EUR"))
}

/// An order of one tee.
pub(crate) fn tee(sale: Uuid, buyer_id: &str) -> PlaceOrderRequest {
    place(sale, buyer_id, &[("tee", 1)])
}

pub(crate) fn cancel(order: &Order) -> CancelOrderRequest {
    CancelOrderRequest {
        request_id: id(),
        sale_id: order.sale_id.clone(),
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
    }
}

pub(crate) fn watch(order: &Order) -> WatchOrderRequest {
    WatchOrderRequest {
        sale_id: order.sale_id.clone(),
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
    }
}

/// A call's failure, or what it answered.
pub(crate) fn failure<T>(result: Result<T, Status>) -> Result<T, Failure> {
    result.map_err(|status| {
        Failure::from_status(&status).unwrap_or_else(|| panic!("not a failure of ours: {status:?}"))
    })
}
