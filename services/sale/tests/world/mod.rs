//! The service over a Postgres of its own, with peers that write down what they are told.

#![allow(dead_code, unreachable_pub)] // Each test file uses its share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use flashsale_proto::{
    Money, NamedChannel, inventory, payment,
    sale::{self, sale_service_client::SaleServiceClient},
    waitingroom,
};
use flashsale_sale::{Config, DEFAULTS};
use flashsale_service::{Drain, Hosted, config::load_from};
use flashsale_testbed::{
    TestPg, TestServer,
    fakes::{
        inventory::{
            inventory_admin_service_server::{InventoryAdminService, InventoryAdminServiceServer},
            inventory_service_server::{InventoryService, InventoryServiceServer},
        },
        payment::payment_admin_service_server::{PaymentAdminService, PaymentAdminServiceServer},
        waiting_room::waiting_room_admin_service_server::{
            WaitingRoomAdminService, WaitingRoomAdminServiceServer,
        },
    },
};
use sqlx::PgPool;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

/// An hour.
pub const NEVER: &str = "3600000";

pub type Client = SaleServiceClient<NamedChannel>;

/// Inventory, the waiting room and payment: they take note, and fail on demand.
#[derive(Debug, Clone)]
pub struct Peers {
    pool: PgPool,
    notes: Arc<Mutex<Vec<(Uuid, String)>>>,
    failures: Arc<Mutex<BTreeMap<&'static str, Status>>>,
    loaded: Arc<Mutex<Vec<Uuid>>>,
    out: Arc<Mutex<(i64, i64)>>,
    confirms: Arc<Mutex<Option<Uuid>>>,
    begun: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    switches: Arc<Mutex<Vec<inventory::PriceSwitch>>>,
    old_room: Arc<AtomicBool>,
    ahead_ms: Arc<Mutex<i64>>,
    calls_per_s: Arc<Mutex<f64>>,
}

impl Peers {
    fn new(pool: PgPool) -> Self {
        Self {
            pool,
            notes: Arc::default(),
            failures: Arc::default(),
            loaded: Arc::default(),
            out: Arc::default(),
            confirms: Arc::default(),
            begun: Arc::default(),
            over: Arc::default(),
            switches: Arc::default(),
            old_room: Arc::default(),
            ahead_ms: Arc::default(),
            calls_per_s: Arc::new(Mutex::new(25.0)),
        }
    }

    /// What they were told of a sale, in order.
    pub fn told(&self, sale: &str) -> Vec<String> {
        let sale: Uuid = sale.parse().unwrap();
        let notes = self.notes.lock().unwrap();
        notes.iter().filter(|(id, _)| *id == sale).map(|(_, note)| note.clone()).collect()
    }

    /// Lets a call fail from now on; GetStock and GetBreaker with CANCELLED never answer.
    pub fn fail(&self, call: &'static str, status: impl Into<Status>) {
        self.failures.lock().unwrap().insert(call, status.into());
    }

    /// The units held and placed from now on.
    pub fn have_out(&self, held: i64, placed: i64) {
        *self.out.lock().unwrap() = (held, placed);
    }

    /// Has the clock of the stock's store go so much ahead.
    pub fn shift_clock(&self, ahead_ms: i64) {
        *self.ahead_ms.lock().unwrap() = ahead_ms;
    }

    /// The calls a second at each endpoint of the payment provider.
    pub fn budget(&self, calls_per_s: f64) {
        *self.calls_per_s.lock().unwrap() = calls_per_s;
    }

    /// Settles the last placed units during the call: their order is confirmed before the answer
    /// says that none are placed.
    pub fn confirm_when_asked(&self, order_id: Uuid) {
        *self.confirms.lock().unwrap() = Some(order_id);
    }

    /// From now on inventory finds that a sale which is to be called off has begun.
    pub fn have_begun(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether the waiting room is one of the version before windows.
    pub fn have_old_room(&self, old: bool) {
        self.old_room.store(old, Ordering::SeqCst);
    }

    /// From now on inventory finds that the window of every sale has passed.
    pub fn be_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// From now on inventory says that these revisions of prices stand there, with the moments from
    /// which units are taken at them, in milliseconds from now.
    pub fn switch_prices(&self, revisions: &[(i64, i64)]) {
        let now = time::OffsetDateTime::now_utc();
        let switches = revisions.iter().map(|(revision, in_ms)| inventory::PriceSwitch {
            revision: *revision,
            switch_time: Some(timestamp(now + time::Duration::milliseconds(*in_ms))),
        });
        *self.switches.lock().unwrap() = switches.collect();
    }

    /// Lets everything succeed again.
    pub fn recover(&self) {
        self.failures.lock().unwrap().clear();
    }

    fn take(&self, call: &'static str, request_id: &str, sale: &str) -> Result<Uuid, Status> {
        if let Some(status) = self.failures.lock().unwrap().get(call) {
            return Err(status.clone());
        }
        assert!(request_id.parse::<Uuid>().is_ok_and(|id| !id.is_nil()), "{call}: {request_id}");
        Ok(sale.parse().unwrap())
    }

    /// Fails or never answers, if a call that changes nothing is to.
    async fn answers(&self, call: &'static str) -> Result<(), Status> {
        let failure = self.failures.lock().unwrap().get(call).cloned();
        match failure {
            Some(status) if status.code() == Code::Cancelled => std::future::pending().await,
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    fn note(&self, sale: Uuid, what: impl Into<String>) {
        self.notes.lock().unwrap().push((sale, what.into()));
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl InventoryAdminService for Peers {
    async fn load_stock(
        &self,
        request: Request<inventory::LoadStockRequest>,
    ) -> Answer<inventory::LoadStockResponse> {
        let asked = request.into_inner();
        let sale = self.take("LoadStock", &asked.request_id, &asked.sale_id)?;
        sqlx::query(
            "INSERT INTO sale_stock (sale_id, epoch, run_id) VALUES ($1, 1, 'r') ON CONFLICT DO NOTHING",
        )
        .bind(sale)
        .execute(&self.pool)
        .await
        .unwrap();
        let mut loaded = self.loaded.lock().unwrap();
        if loaded.contains(&sale) {
            return Err(flashsale_errors::Failure::new(
                flashsale_errors::Reason::StockAlreadyLoaded,
                "it is loaded",
            )
            .into());
        }
        loaded.push(sale);
        self.note(sale, "load");
        Ok(Response::new(inventory::LoadStockResponse { epoch: 1 }))
    }

    async fn sync_sale(
        &self,
        request: Request<inventory::SyncSaleRequest>,
    ) -> Answer<inventory::SyncSaleResponse> {
        let asked = request.into_inner();
        let sale = self.take("SyncSale", &asked.request_id, &asked.sale_id)?;
        let (state, version, cancel): (String, i64, bool) =
            sqlx::query_as("SELECT state, version, cancel_requested FROM sales WHERE sale_id = $1")
                .bind(sale)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        let asked = if cancel { " to be called off" } else { "" };
        self.note(sale, format!("sync {state}{asked}"));
        let cancelled = cancel && !self.begun.load(Ordering::SeqCst);
        let over = self.over.load(Ordering::SeqCst);
        let price_switches = self.switches.lock().unwrap().clone();
        Ok(Response::new(inventory::SyncSaleResponse { version, cancelled, over, price_switches }))
    }
}

#[tonic::async_trait]
impl InventoryService for Peers {
    async fn get_stock(
        &self,
        request: Request<inventory::GetStockRequest>,
    ) -> Answer<inventory::GetStockResponse> {
        let asked = request.into_inner();
        self.answers("GetStock").await?;
        let confirmed = *self.confirms.lock().unwrap();
        if let Some(order_id) = confirmed {
            sqlx::query("UPDATE orders SET state = 'CONFIRMED' WHERE order_id = $1")
                .bind(order_id)
                .execute(&self.pool)
                .await
                .unwrap();
        }
        assert!(self.loaded.lock().unwrap().contains(&asked.sale_id.parse().unwrap()));
        let (held, placed) = *self.out.lock().unwrap();
        let sku = |sku: &str, held, placed| inventory::SkuStock {
            sku: sku.to_owned(),
            held,
            placed,
            ..inventory::SkuStock::default()
        };
        let stock = vec![sku("TEE-L", held, 0), sku("TEE-M", 0, placed)];
        let ahead = time::Duration::milliseconds(*self.ahead_ms.lock().unwrap());
        let read_time = Some(timestamp(time::OffsetDateTime::now_utc() + ahead));
        assert!(asked.fresh || !asked.skus.is_empty(), "the figures may be old");
        let stock =
            inventory::GetStockResponse { stock, epoch: 1, read_time, ..Default::default() };
        Ok(Response::new(stock))
    }
}

#[tonic::async_trait]
impl PaymentAdminService for Peers {
    async fn get_breaker(
        &self,
        _: Request<payment::GetBreakerRequest>,
    ) -> Answer<payment::GetBreakerResponse> {
        self.answers("GetBreaker").await?;
        let calls_per_s = *self.calls_per_s.lock().unwrap();
        let budget = |endpoint: &str, configured_per_s| payment::Budget {
            endpoint: endpoint.to_owned(),
            configured_per_s,
            ..payment::Budget::default()
        };
        let budgets = vec![
            budget("all", 100.0),
            budget("payment_intents.create", calls_per_s),
            budget("payment_intents.confirm", calls_per_s),
        ];
        Ok(Response::new(payment::GetBreakerResponse {
            budgets,
            ..payment::GetBreakerResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl WaitingRoomAdminService for Peers {
    async fn configure_room(
        &self,
        request: Request<waitingroom::ConfigureRoomRequest>,
    ) -> Answer<waitingroom::ConfigureRoomResponse> {
        let asked = request.into_inner();
        let sale = self.take("ConfigureRoom", &asked.request_id, &asked.sale_id)?;
        let ttl = asked.admission_ttl.unwrap().seconds;
        self.note(sale, format!("configure {}/s {ttl} s", asked.admissions_per_second));
        let (from, until) = (asked.admits_from.unwrap(), asked.admits_until.unwrap());
        assert!(asked.joins_from.unwrap().seconds <= from.seconds && from.seconds <= until.seconds);
        // One of the version before the window does not know it.
        let admits_from = Some(from).filter(|_| !self.old_room.load(Ordering::SeqCst));
        let room = waitingroom::Room { admits_from, ..waitingroom::Room::default() };
        Ok(Response::new(waitingroom::ConfigureRoomResponse { room: Some(room) }))
    }

    async fn open_room(
        &self,
        request: Request<waitingroom::OpenRoomRequest>,
    ) -> Answer<waitingroom::OpenRoomResponse> {
        let asked = request.into_inner();
        let sale = self.take("OpenRoom", &asked.request_id, &asked.sale_id)?;
        self.note(sale, "open");
        Ok(Response::new(waitingroom::OpenRoomResponse { room: None }))
    }

    async fn pause_room(
        &self,
        request: Request<waitingroom::PauseRoomRequest>,
    ) -> Answer<waitingroom::PauseRoomResponse> {
        let asked = request.into_inner();
        let sale = self.take("PauseRoom", &asked.request_id, &asked.sale_id)?;
        self.note(sale, "pause");
        Ok(Response::new(waitingroom::PauseRoomResponse { room: None }))
    }

    async fn close_room(
        &self,
        request: Request<waitingroom::CloseRoomRequest>,
    ) -> Answer<waitingroom::CloseRoomResponse> {
        let asked = request.into_inner();
        let sale = self.take("CloseRoom", &asked.request_id, &asked.sale_id)?;
        self.note(sale, "close");
        Ok(Response::new(waitingroom::CloseRoomResponse { room: None }))
    }
}

/// Everything a test needs.
#[derive(Debug)]
pub struct World {
    pub pg: TestPg,
    pub peers: Peers,
    pub server: TestServer,
    pub client: Client,
    peers_url: String,
    report_every: &'static str,
    _peers_server: TestServer,
}

impl World {
    /// A service whose task makes no sale final: only a report that is asked for does.
    pub async fn new() -> Self {
        Self::reporting_every(NEVER).await
    }

    /// Where sales become final by themselves.
    pub async fn settling() -> Self {
        Self::reporting_every("30").await
    }

    async fn reporting_every(report_every: &'static str) -> Self {
        let pg = flashsale_testbed::postgres().await;
        let peers = Peers::new(pg.pool.clone());
        let hosted = Hosted::new()
            .grpc(InventoryServiceServer::new(peers.clone()))
            .grpc(InventoryAdminServiceServer::new(peers.clone()))
            .grpc(WaitingRoomAdminServiceServer::new(peers.clone()))
            .grpc(PaymentAdminServiceServer::new(peers.clone()));
        let peers_server = flashsale_testbed::serve(hosted, Drain::new()).await;
        let peers_url = peers_server.grpc_url.clone();
        let (server, client) = serve(&pg.own_url(), &peers_url, report_every).await;
        Self { pg, peers, server, client, peers_url, report_every, _peers_server: peers_server }
    }

    /// One more instance of the service on the same database.
    pub async fn instance(&self) -> (TestServer, Client) {
        self.instance_with(&[]).await
    }

    /// One more, with these settings, named as in `SALE__MAX_WATCHERS`.
    pub async fn instance_with(&self, settings: &[(&str, &str)]) -> (TestServer, Client) {
        serve_with(&self.pg.own_url(), &self.peers_url, self.report_every, settings).await
    }

    /// A finger print of everything the service writes.
    pub async fn tables(&self) -> String {
        sqlx::query_scalar(
            "SELECT md5(concat(
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sales t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sale_items t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM price_revisions t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sale_prices t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sale_changes t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sale_requests t),
                (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM sale_sources t)))",
        )
        .fetch_one(&self.pg.pool)
        .await
        .unwrap()
    }

    /// How many sales there are.
    pub async fn count(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM sales").fetch_one(&self.pg.pool).await.unwrap()
    }

    /// A new draft.
    pub async fn draft(&self, request: sale::CreateSaleRequest) -> sale::Sale {
        self.client.clone().create_sale(request).await.unwrap().into_inner().sale.unwrap()
    }

    pub async fn get(&self, id: &str) -> sale::Sale {
        let request = sale::GetSaleRequest { sale_id: id.to_owned() };
        self.client.clone().get_sale(request).await.unwrap().into_inner().sale.unwrap()
    }

    pub async fn report(&self, id: &str) -> sale::SaleReport {
        let request = sale::GetSaleReportRequest { sale_id: id.to_owned() };
        self.client.clone().get_sale_report(request).await.unwrap().into_inner().report.unwrap()
    }

    pub async fn start(&self, id: &str, request_id: &str) -> Result<sale::Sale, Status> {
        let request = sale::StartSaleRequest {
            request_id: request_id.to_owned(),
            sale_id: id.to_owned(),
            // The sales of a test offer the same items.
            allow_shared_skus: true,
        };
        let answer = self.client.clone().start_sale(request).await?;
        Ok(answer.into_inner().sale.unwrap())
    }

    pub async fn end(&self, id: &str, request_id: &str) -> Result<sale::Sale, Status> {
        let request =
            sale::EndSaleRequest { request_id: request_id.to_owned(), sale_id: id.to_owned() };
        let answer = self.client.clone().end_sale(request).await?;
        Ok(answer.into_inner().sale.unwrap())
    }

    /// The sale, once it is in `state`.
    pub async fn eventually_in(&self, id: &str, state: sale::SaleState) -> sale::Sale {
        flashsale_testbed::eventually(state.as_str_name(), || async {
            Some(self.get(id).await).filter(|sale| sale.state() == state)
        })
        .await
    }

    pub async fn eventually_propagated(&self, id: &str) -> sale::Sale {
        flashsale_testbed::eventually("the others know the sale", || async {
            Some(self.get(id).await).filter(|sale| sale.propagated)
        })
        .await
    }
}

/// The service, ticking quickly.
pub async fn serve(pg_url: &str, peers_url: &str, report_every: &str) -> (TestServer, Client) {
    serve_with(pg_url, peers_url, report_every, &[]).await
}

async fn serve_with(
    pg_url: &str,
    peers_url: &str,
    report_every: &str,
    settings: &[(&str, &str)],
) -> (TestServer, Client) {
    let env = [
        ("FLASHSALE_POSTGRES__URL", pg_url),
        ("FLASHSALE_PEERS__INVENTORY__URL", peers_url),
        ("FLASHSALE_PEERS__WAITING_ROOM__URL", peers_url),
        ("FLASHSALE_PEERS__PAYMENT__URL", peers_url),
        ("FLASHSALE_SALE__PROPAGATE_INTERVAL_MS", "30"),
        ("FLASHSALE_SALE__PROPAGATE_MAX_BACKOFF_MS", "60"),
        ("FLASHSALE_SALE__REPORT_INTERVAL_MS", report_every),
        ("FLASHSALE_SALE__REPORT_MAX_BACKOFF_MS", report_every),
        ("FLASHSALE_SALE__WATCH_INTERVAL_MS", "20"),
        ("FLASHSALE_SALE__MAX_WATCHERS", "4"),
        ("FLASHSALE_SCHEDULE__INTERVAL_MS", "30"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
    let more =
        settings.iter().map(|(name, value)| (format!("FLASHSALE_{name}"), (*value).to_owned()));
    let env = env.chain(more).chain(flashsale_testbed::identity());
    let config: Config = load_from("sale", DEFAULTS, None, env).unwrap();
    let drain = Drain::new();
    let hosted = flashsale_sale::build(config, drain.clone()).await.unwrap();
    let server = flashsale_testbed::serve(hosted, drain).await;
    let client = Client::new(server.channel().await);
    (server, client)
}

pub fn timestamp(at: time::OffsetDateTime) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.nanosecond()).unwrap();
    prost_types::Timestamp { seconds: at.unix_timestamp(), nanos }
}

pub fn id() -> String {
    Uuid::new_v4().to_string()
}

pub fn eur(units: i64, cents: i32) -> Option<Money> {
    Some(Money { currency_code: "EUR".to_owned(), units, nanos: cents * 10_000_000 })
}

pub fn item(sku: &str) -> sale::Item {
    sale::Item {
        sku: sku.to_owned(),
        title: "Harbour tee".to_owned(),
        unit_price: eur(29, 90),
        regular_price: None,
        quantity: 10,
        per_buyer_limit: 2,
    }
}

pub fn settings() -> sale::SaleSettings {
    sale::SaleSettings {
        name: "Spring drop".to_owned(),
        currency: "EUR".to_owned(),
        ..sale::SaleSettings::default()
    }
}

/// Settings with a waiting room.
pub fn with_room() -> sale::SaleSettings {
    let room =
        sale::RoomSettings { admissions_per_second: 50.0, admission_ttl: None, pre_queue: None };
    sale::SaleSettings { room: Some(room), ..settings() }
}

pub fn creation() -> sale::CreateSaleRequest {
    sale::CreateSaleRequest {
        request_id: id(),
        settings: Some(settings()),
        items: vec![item("TEE-M"), item("TEE-L")],
    }
}

pub fn import(content: impl Into<Vec<u8>>) -> sale::ImportSaleRequest {
    sale::ImportSaleRequest {
        request_id: id(),
        settings: Some(settings()),
        format: sale::ExportFormat::ShopifyCsv.into(),
        content: content.into(),
        quantity: None,
        per_buyer_limit: 2,
        ..sale::ImportSaleRequest::default()
    }
}
