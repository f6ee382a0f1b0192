//! The rounds: everything is measured once in each, so that whatever else the machine does falls on
//! all alike.

mod durability;
mod overload;
mod payment_stack;
mod reprices;
mod schedule;
mod settle;
mod watching;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use flashsale_proto::{
    NamedChannel,
    checkout::checkout_service_client::CheckoutServiceClient,
    inventory::{ReserveRequest, inventory_service_client::InventoryServiceClient},
    waitingroom::waiting_room_service_client::WaitingRoomServiceClient,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Settings, breaker,
    calls::{GetStock, Join, PlaceOrder, Publish, Requests, Reserve, SKUS, SoldOut},
    ceilings::{self, Script},
    claims::{self, Claimed},
    cluster::{self, Cluster, Holding},
    cpu::Watched,
    drive::{Lane, Measured, drive},
    import, once,
    platform::Platform,
    sales::{self, Spec},
    say,
};

/// Calls of the very first warm-up, which only finds out how many a second there are.
const FIRST_CALLS: u64 = 2_000;
/// The batch that the claimer takes by default, and that of the one it is compared with.
const CLAIM_BATCHES: (u32, u32) = (200, 1);
/// Orders for the claimer that takes one at a time, as a part of those for the other.
const ROW_AT_A_TIME_PART: u64 = 4;
/// How long the relay may take to have told the stock store what is recorded.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// What is measured, by the names of `bench.json`.
pub(crate) const NOOP: &str = "noop";
pub(crate) const NOOP_OPEN: &str = "noop_open";
pub(crate) const NOOP_EMPTY: &str = "noop_empty";
pub(crate) const JOIN: &str = "join";
pub(crate) const RESERVE: &str = "reserve";
pub(crate) const RESERVE_ADMITTED: &str = "reserve_admitted";
pub(crate) const PLACE_ORDER: &str = "place_order";
pub(crate) const CLAIMS: &str = "claims";
pub(crate) const REDIS_SCRIPT_CEILING: &str = "redis_script_ceiling";
pub(crate) const JETSTREAM_CEILING: &str = "jetstream_ceiling";
pub(crate) const SOLD_OUT: &str = "sold_out";
pub(crate) const RESERVE_SALES: &str = "reserve_sales";
pub(crate) const RESERVE_CLUSTER: &str = "reserve_cluster";
/// What is measured once a run and not in every round.
pub(crate) const HOLD_BYTES: &str = "hold_bytes";
pub(crate) const LOAD_STOCK: &str = "load_stock";
pub(crate) const REBUILD_SECONDS: &str = "rebuild_seconds";
pub(crate) const OVERLOAD: &str = "overload";
pub(crate) const ACCEPTANCE_TO_CLAIM: &str = "acceptance_to_claim";
pub(crate) const WATCH_ORDER: &str = "watch_order";
pub(crate) const QUEUE_DURABILITY: &str = "queue_durability";
pub(crate) const PAYMENT_STACK: &str = "payment_stack";
pub(crate) const SETTLE: &str = "settle";
pub(crate) const BREAKER: &str = "breaker";
pub(crate) const IMPORT: &str = "import";
pub(crate) const SCHEDULE: &str = "schedule";
/// All of them.
pub(crate) const NAMES: [&str; 25] = [
    NOOP,
    NOOP_OPEN,
    NOOP_EMPTY,
    JOIN,
    RESERVE,
    RESERVE_ADMITTED,
    PLACE_ORDER,
    CLAIMS,
    REDIS_SCRIPT_CEILING,
    JETSTREAM_CEILING,
    SOLD_OUT,
    RESERVE_SALES,
    RESERVE_CLUSTER,
    HOLD_BYTES,
    LOAD_STOCK,
    REBUILD_SECONDS,
    OVERLOAD,
    ACCEPTANCE_TO_CLAIM,
    WATCH_ORDER,
    QUEUE_DURABILITY,
    PAYMENT_STACK,
    SETTLE,
    BREAKER,
    IMPORT,
    SCHEDULE,
];

/// All figures of a run.
pub(crate) struct Figures {
    pub(crate) settings: Settings,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) took: Duration,
    pub(crate) versions: Vec<(&'static str, String)>,
    /// Rounds done.
    pub(crate) rounds: u32,
    /// Per name one measurement per round.
    pub(crate) calls: BTreeMap<&'static str, Vec<Measured>>,
    /// Claims in batches and one at a time, per round.
    pub(crate) claims: Vec<(Claimed, Claimed)>,
    /// Orders that PlaceOrder accepted, and those in the record at the end.
    pub(crate) orders: (u64, u64),
    /// What each master of the cluster has at the end.
    pub(crate) masters: Vec<Holding>,
    /// What was measured once, by its name.
    pub(crate) once: BTreeMap<&'static str, Value>,
}

/// Measures everything.
pub(crate) async fn measure(settings: &Settings) -> anyhow::Result<Figures> {
    ensure!(
        settings.seconds.is_finite() && (0.05..=60.0).contains(&settings.seconds),
        "--seconds must be 0.05 to 60"
    );
    ensure!(
        settings.open_seconds.is_finite() && (0.1..=60.0).contains(&settings.open_seconds),
        "--open-seconds must be 0.1 to 60"
    );
    let (started_at, began) = (OffsetDateTime::now_utc(), Instant::now());
    say("starting the stores and the services");
    let platform = Platform::start().await?;
    let mut bench = Bench::new(settings, &platform).await?;
    say("warming up");
    // Twice: the first time finds how many calls fit into the time.
    for _ in 0..2 {
        bench.round().await?;
        bench.figures.clear();
        bench.claims.clear();
    }
    let mut rounds = 0;
    for round in 1..=settings.rounds {
        let round_began = Instant::now();
        bench.round().await?;
        say(&format!(
            "round {round} of {} took {:.0} s",
            settings.rounds,
            round_began.elapsed().as_secs_f64()
        ));
        rounds = round;
    }
    let once = bench.once().await?;
    let masters = match &bench.cluster {
        Some(cluster) => cluster.masters().await?,
        None => Vec::new(),
    };
    let recorded = bench.recorded().await?;
    let Bench { figures: calls, claims, placed, cluster, .. } = bench;
    let figures = Figures {
        settings: settings.clone(),
        started_at,
        took: began.elapsed(),
        versions: platform.versions.clone(),
        rounds,
        calls,
        claims,
        orders: (placed, recorded),
        masters,
        once,
    };
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    platform.stop().await?;
    let (placed, recorded) = figures.orders;
    ensure!(placed == recorded, "{placed} orders were accepted and {recorded} are in the record");
    Ok(figures)
}

struct Bench<'a> {
    settings: &'a Settings,
    platform: &'a Platform,
    watched: Watched,
    requests: Requests<'a>,
    /// What Reserve runs in the sale without a waiting room, and in the one with it.
    script: Script,
    admitted: Script,
    lanes: Lanes,
    figures: BTreeMap<&'static str, Vec<Measured>>,
    /// How many calls fit into the time, as last seen.
    fitting: BTreeMap<&'static str, u64>,
    claims: Vec<(Claimed, Claimed)>,
    /// Orders accepted.
    placed: u64,
    /// A sale without a unit left, and the sales on the single Redis that are compared with those
    /// in the cluster.
    sold_out: Uuid,
    sales: Vec<Uuid>,
    cluster: Option<Cluster>,
}

/// As many connections of each kind as asked for.
struct Lanes {
    noop: Vec<Reserve>,
    noop_open: Vec<Reserve>,
    noop_empty: Vec<GetStock>,
    reserve: Vec<Reserve>,
    join: Vec<Join>,
    place_order: Vec<PlaceOrder>,
    jetstream: Vec<Publish>,
    sold_out: Vec<SoldOut>,
    cluster: Vec<Reserve>,
}

impl<'a> Bench<'a> {
    async fn new(settings: &'a Settings, platform: &'a Platform) -> anyhow::Result<Self> {
        let mut requests = Requests::new(platform);
        let noop = channels(settings, platform, "noop").await?;
        let noop_open = channels(settings, platform, "noop-open").await?;
        let inventory = channels(settings, platform, "inventory").await?;
        let waiting_room = channels(settings, platform, "waiting-room").await?;
        let checkout = channels(settings, platform, "checkout").await?;
        let stock = InventoryServiceClient::new;
        let mut clustered = Vec::new();
        let cluster = match wanted(settings, RESERVE_CLUSTER) {
            true => Some(Cluster::start(platform).await?),
            false => None,
        };
        if let Some(cluster) = &cluster {
            for _ in 0..settings.connections {
                clustered.push(Reserve(stock(cluster.channel()?)));
            }
        }
        let admin = platform.channel("inventory").await?;
        let sales = cluster::open_sales(platform.pool(), admin.clone()).await?;
        let spec = Spec { skus: i32::try_from(SKUS)?, units: 1, room: false };
        let sold_out = sales::record(platform.pool(), spec).await?;
        sales::load(&mut sales::admin(admin), sold_out).await?;
        let lanes = Lanes {
            sold_out: inventory.iter().cloned().map(stock).map(SoldOut).collect(),
            cluster: clustered,
            noop: noop.iter().cloned().map(stock).map(Reserve).collect(),
            noop_open: noop_open.into_iter().map(stock).map(Reserve).collect(),
            noop_empty: noop.into_iter().map(stock).map(GetStock).collect(),
            reserve: inventory.into_iter().map(stock).map(Reserve).collect(),
            join: waiting_room.into_iter().map(WaitingRoomServiceClient::new).map(Join).collect(),
            place_order: checkout
                .into_iter()
                .map(CheckoutServiceClient::new)
                .map(PlaceOrder)
                .collect(),
            jetstream: vec![ceilings::jetstream(platform).await?],
        };
        for request in requests.reserves_in(&[sold_out], SKUS) {
            let mut lane = lanes.reserve.first().cloned().context("no connection to inventory")?;
            lane.send(request).await?;
        }
        let mut seen = Vec::new();
        for requests in [requests.reserves(1), requests.admitted_reserves(1)] {
            let mut lane = lanes.reserve.first().cloned().context("no connection to inventory")?;
            let reserve = async {
                for request in requests {
                    lane.send(request).await?;
                }
                Ok(())
            };
            seen.push(Script::watch(&platform.redis_address(), reserve).await?);
        }
        let admitted = seen.pop().context("no script")?;
        let script = seen.pop().context("no script")?;
        Ok(Self {
            settings,
            platform,
            watched: platform.watched(),
            requests,
            script,
            admitted,
            lanes,
            figures: BTreeMap::new(),
            fitting: BTreeMap::new(),
            claims: Vec::new(),
            placed: 0,
            sold_out,
            sales,
            cluster,
        })
    }

    /// Everything once. What it left in the stores is counted there: a call that was answered and
    /// did nothing is no call.
    async fn round(&mut self) -> anyhow::Result<()> {
        if self.wanted(NOOP_EMPTY) {
            let requests = self.requests.empty(self.count(NOOP_EMPTY));
            let measured = self.drive(&self.lanes.noop_empty, requests).await?;
            self.add(NOOP_EMPTY, measured);
        }
        if self.wanted(NOOP) {
            let requests = self.requests.reserves(self.count(NOOP));
            let measured = self.drive(&self.lanes.noop, requests).await?;
            self.add(NOOP, measured);
        }
        if self.wanted(NOOP_OPEN) {
            let requests = self.requests.reserves(self.count(NOOP_OPEN));
            let measured = self.drive(&self.lanes.noop_open, requests).await?;
            self.add(NOOP_OPEN, measured);
        }
        if self.wanted(RESERVE) {
            let requests = self.requests.reserves(self.count(RESERVE));
            self.reserve(RESERVE, requests, &self.script.clone()).await?;
        }
        if self.wanted(RESERVE_ADMITTED) {
            let requests = self.requests.admitted_reserves(self.count(RESERVE_ADMITTED));
            self.reserve(RESERVE_ADMITTED, requests, &self.admitted.clone()).await?;
        }
        if self.wanted(SOLD_OUT) {
            let requests = self.requests.reserves_in(&[self.sold_out], self.count(SOLD_OUT));
            let measured = self.drive(&self.lanes.sold_out, requests).await?;
            let key = format!("fs:{{{}}}:holds", self.sold_out);
            let held = ceilings::length(&self.platform.redis_address(), &key).await?;
            ensure!(u64::try_from(held) == Ok(SKUS), "a sold-out sale has {held} holds");
            self.add(SOLD_OUT, measured);
        }
        if self.wanted(RESERVE_SALES) {
            let requests = self.requests.reserves_in(&self.sales, self.count(RESERVE_SALES));
            let measured = self.drive(&self.lanes.reserve, requests).await?;
            self.add(RESERVE_SALES, measured);
        }
        self.clustered().await?;
        if self.wanted(PLACE_ORDER) || self.wanted(CLAIMS) {
            self.place_and_claim().await?;
        }
        if self.wanted(JOIN) {
            let requests = self.requests.joins(self.count(JOIN));
            let measured = self.drive(&self.lanes.join, requests).await?;
            self.add(JOIN, measured);
        }
        if self.wanted(REDIS_SCRIPT_CEILING) {
            let runs = self.count(REDIS_SCRIPT_CEILING);
            let measured = ceilings::redis(self.platform, &self.script, runs).await?;
            self.add(REDIS_SCRIPT_CEILING, measured);
        }
        if self.wanted(JETSTREAM_CEILING) {
            self.publish().await?;
        }
        Ok(())
    }

    fn wanted(&self, name: &str) -> bool {
        wanted(self.settings, name)
    }

    /// Reserve calls for sales in a cluster, if there is one.
    async fn clustered(&mut self) -> anyhow::Result<()> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let requests = self.requests.reserves_in(&cluster.sales, self.count(RESERVE_CLUSTER));
        let before = cluster.masters().await?;
        let in_flight = self.settings.in_flight;
        let measured = drive(&self.lanes.cluster, in_flight, requests, &cluster.watched()).await?;
        let came = cluster.masters().await?;
        let came = came.iter().zip(before).map(|(after, before)| after.since(before).holds());
        let came = came.sum::<i64>();
        ensure!(
            i64::try_from(measured.calls) == Ok(came),
            "{} Reserve calls left {came} holds in the cluster",
            measured.calls
        );
        self.add(RESERVE_CLUSTER, measured);
        Ok(())
    }

    /// Orders in the record. Not those of the sale that is rebuilt, which were written there.
    async fn recorded(&self) -> anyhow::Result<u64> {
        let count = "SELECT count(*) FROM orders WHERE buyer_id LIKE 'bench-%'";
        let orders: i64 = sqlx::query_scalar(count).fetch_one(self.platform.pool()).await?;
        Ok(u64::try_from(orders)?)
    }

    /// What is measured once.
    async fn once(&mut self) -> anyhow::Result<BTreeMap<&'static str, Value>> {
        let mut once = BTreeMap::new();
        // Those that depend on how full the stores are come before those that fill them.
        if self.wanted(OVERLOAD) {
            once.insert(OVERLOAD, self.overload().await?);
        }
        if self.wanted(ACCEPTANCE_TO_CLAIM) {
            once.insert(ACCEPTANCE_TO_CLAIM, self.acceptance_to_claim().await?);
        }
        if self.wanted(WATCH_ORDER) {
            once.insert(WATCH_ORDER, self.watch_order().await?);
        }
        if self.wanted(QUEUE_DURABILITY) {
            once.insert(QUEUE_DURABILITY, self.queue_durability().await?);
        }
        if self.wanted(PAYMENT_STACK) {
            once.insert(PAYMENT_STACK, self.payment_stack().await?);
        }
        if self.wanted(SETTLE) {
            once.insert(SETTLE, self.settle().await?);
        }
        if self.wanted(BREAKER) {
            say("calling through a breaker");
            let settings = self.settings.clone();
            let measured = tokio::task::spawn_blocking(move || breaker::measure(&settings));
            once.insert(BREAKER, measured.await??);
        }
        if self.wanted(HOLD_BYTES) {
            say("weighing holds");
            once.insert(HOLD_BYTES, self.hold_bytes().await?);
        }
        if self.wanted(LOAD_STOCK) {
            say("loading many skus");
            once.insert(LOAD_STOCK, once::load(self.platform, self.settings.holds / 10).await?);
        }
        if self.wanted(REBUILD_SECONDS) {
            say("rebuilding a stock");
            let backlog = u64::from(self.settings.holds / 5);
            let orders = self.requests.orders(backlog);
            let placed = async {
                self.drive(&self.lanes.place_order, orders).await?;
                anyhow::Ok(())
            };
            let figures =
                once::rebuild(self.platform, self.settings.holds, backlog, placed).await?;
            once.insert(REBUILD_SECONDS, figures);
            self.placed += backlog;
            self.settled(self.admitted.pending()).await?;
        }
        if self.wanted(IMPORT) {
            say("reading a large export");
            once.insert(IMPORT, import::measure(self.platform, self.settings.rounds).await?);
        }
        // Last: it leaves many holds, and another process of sale than is watched.
        if self.wanted(SCHEDULE) {
            let mut schedule = self.schedule().await?;
            schedule["reprice"] = self.reprices().await?;
            once.insert(SCHEDULE, schedule);
        }
        Ok(once)
    }

    /// Bytes of Redis' memory that each hold takes: held, and with an order before and after its
    /// claim.
    async fn hold_bytes(&mut self) -> anyhow::Result<Value> {
        let pool = self.platform.pool();
        let spec = Spec { skus: i32::try_from(SKUS)?, units: 10_000_000, room: false };
        let mut admin = sales::admin(self.platform.channel("inventory").await?);
        let holds = u64::from(self.settings.holds);
        let orders = holds / 5;
        let mut figures = json!({ "holds": holds, "orders": orders });
        for (name, room) in [("live", false), ("live_admitted", true)] {
            let sale = sales::record(pool, Spec { room, ..spec }).await?;
            sales::load(&mut admin, sale).await?;
            let empty = once::bytes(self.platform, sale).await?;
            let requests = match room {
                true => self.requests.admitted_reserves_in(sale, holds),
                false => self.requests.reserves_in(&[sale], holds),
            };
            self.drive(&self.lanes.reserve, requests).await?;
            figures[name] = each(once::bytes(self.platform, sale).await? - empty, holds);
        }
        let sale = sales::record(pool, Spec { room: true, ..spec }).await?;
        sales::load(&mut admin, sale).await?;
        let empty = once::bytes(self.platform, sale).await?;
        let requests = self.requests.orders_in(sale, orders);
        self.drive(&self.lanes.place_order, requests).await?;
        self.placed += orders;
        let placed = once::bytes(self.platform, sale).await? - empty;
        figures["placed"] = each(placed, orders);
        self.settled(&format!("fs:{{{sale}}}:pending")).await?;
        let claimed = once::bytes(self.platform, sale).await? - empty;
        figures["placed_claimed"] = each(claimed, orders);
        Ok(figures)
    }

    /// Has a claimer take whatever is left in the queue of the sale with these placed holds.
    async fn settled(&self, pending: &str) -> anyhow::Result<()> {
        let claimer = self.platform.claimer(CLAIM_BATCHES.0).await?;
        self.quiet_in(pending).await?;
        claimer.stop_within(QUIET_WITHIN).await?;
        Ok(())
    }

    async fn reserve(
        &mut self,
        name: &'static str,
        requests: Vec<ReserveRequest>,
        script: &Script,
    ) -> anyhow::Result<()> {
        let redis = self.platform.redis_address();
        let held = ceilings::length(&redis, script.holds()).await?;
        let measured = self.drive(&self.lanes.reserve, requests).await?;
        let came = ceilings::length(&redis, script.holds()).await? - held;
        ensure!(
            i64::try_from(measured.calls) == Ok(came),
            "{} Reserve calls left {came} holds",
            measured.calls
        );
        self.add(name, measured);
        Ok(())
    }

    /// What PlaceOrder leaves in the queue is what the claimer is measured with.
    async fn place_and_claim(&mut self) -> anyhow::Result<()> {
        let requests = self.requests.orders(self.count(PLACE_ORDER));
        let measured = self.drive(&self.lanes.place_order, requests).await?;
        let placed = measured.calls;
        self.placed += placed;
        self.add(PLACE_ORDER, measured);

        let (batch, one) = CLAIM_BATCHES;
        let batched = claims::measure(self.platform, batch, placed).await?;
        if self.wanted(CLAIMS) {
            let few = placed.div_ceil(ROW_AT_A_TIME_PART);
            let requests = self.requests.orders(few);
            self.drive(&self.lanes.place_order, requests).await?;
            self.placed += few;
            self.claims.push((batched, claims::measure(self.platform, one, few).await?));
        }
        self.quiet().await
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        let messages = self.requests.messages(self.count(JETSTREAM_CEILING));
        let measured = self.drive(&self.lanes.jetstream, messages).await?;
        let stored = ceilings::empty(&self.platform.jetstream).await?;
        ensure!(
            stored == measured.calls,
            "{} messages were published and {stored} are stored",
            measured.calls
        );
        self.add(JETSTREAM_CEILING, measured);
        Ok(())
    }

    async fn drive<L: Lane>(
        &self,
        lanes: &[L],
        requests: Vec<L::Request>,
    ) -> anyhow::Result<Measured> {
        drive(lanes, self.settings.in_flight, requests, &self.watched).await
    }

    fn count(&self, name: &'static str) -> u64 {
        self.fitting.get(name).copied().unwrap_or(FIRST_CALLS)
    }

    fn add(&mut self, name: &'static str, measured: Measured) {
        // Never so few that the last calls, when fewer than all are in flight, count for much.
        let least = u64::from(self.settings.in_flight) * 20;
        self.fitting.insert(name, ((measured.rps * self.settings.seconds) as u64).max(least));
        self.figures.entry(name).or_default().push(measured);
    }

    /// Waits until checkout's relay has nothing left to tell the stock store: its work belongs to
    /// the orders and not to what is measured next.
    async fn quiet(&self) -> anyhow::Result<()> {
        self.quiet_in(self.admitted.pending()).await
    }

    async fn quiet_in(&self, pending: &str) -> anyhow::Result<()> {
        let waited = tokio::time::timeout(QUIET_WITHIN, async {
            while ceilings::members(&self.platform.redis_address(), pending).await? > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        });
        waited.await.context("checkout's relay does not come to rest")?
    }
}

fn wanted(settings: &Settings, name: &str) -> bool {
    settings.only.is_empty() || settings.only.iter().any(|only| only == name)
}

/// Bytes of one.
fn each(bytes: i64, count: u64) -> Value {
    json!((bytes as f64 / count as f64).round())
}

async fn channels(
    settings: &Settings,
    platform: &Platform,
    service: &str,
) -> anyhow::Result<Vec<NamedChannel>> {
    let mut channels = Vec::new();
    for _ in 0..settings.connections {
        channels.push(platform.channel(service).await?);
    }
    Ok(channels)
}
