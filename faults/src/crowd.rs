//! Buyers who retry. Each asks under one request id until there is an answer, and writes down what it was told.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use flashsale_admission::Admission;
use flashsale_errors::{Failure, Reason, Retry};
use flashsale_proto::{
    checkout::{
        BeginCheckoutRequest, Contact, GetOrderRequest, Line, OrderState, PlaceOrderRequest,
        checkout_service_client::CheckoutServiceClient,
    },
    inventory::{
        ExtendHoldRequest, ReleaseHoldRequest, inventory_service_client::InventoryServiceClient,
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Channel};
use uuid::Uuid;

use crate::{
    platform::{PLENTY, Platform, SCARCE, Sale, Service},
    proxy::{Proxy, Tap},
};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How long a buyer goes on asking.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);
/// Out of how many lost replies one is not lost with its connection but never comes.
const STALLED: u64 = 100;

/// How a crowd behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    /// Buyers at once.
    pub(crate) at_once: u64,
    /// How long a buyer rests between two requests.
    pub(crate) pause: Duration,
    /// Whether each request's first answer is lost on its way from Redis.
    pub(crate) lossy: Option<Arc<Proxy>>,
    /// By how much the clock that signs admissions is ahead.
    pub(crate) skew_ms: i64,
}

impl Default for Manners {
    fn default() -> Self {
        Self { at_once: 6, pause: Duration::from_millis(15), lossy: None, skew_ms: 0 }
    }
}

/// An order that a buyer was told of.
#[derive(Debug, Clone)]
struct Placed {
    buyer: String,
    request_id: Uuid,
    order_id: String,
    at_ms: u64,
}

/// What was asked and answered.
#[derive(Debug, Default)]
struct Ledger {
    placed: Vec<Placed>,
    ended: BTreeMap<String, &'static str>,
    /// The keys under which the stock remembers requests that were answered with a hold.
    done: Vec<String>,
    /// What no buyer should ever see.
    wrong: Vec<String>,
    /// When the latest order was accepted.
    latest: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    sale: Sale,
    checkout: Channel,
    inventory: Channel,
    manners: Manners,
    signer: Arc<flashsale_admission::Signer>,
    ledger: Mutex<Ledger>,
    stop: CancellationToken,
    buyers: AtomicU64,
    name: String,
}

/// Buyers at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    buyers: JoinSet<()>,
}

/// The key under which the stock remembers a request.
pub(crate) fn request_key(sale: Uuid, buyer: &str, request: Uuid) -> Uuid {
    Uuid::new_v5(&sale, format!("{buyer}\u{1f}{request}").as_bytes())
}

impl Crowd {
    /// Sends buyers to the platform's own services.
    pub(crate) fn come(
        platform: &Platform,
        sale: &Sale,
        seed: u64,
        manners: Manners,
    ) -> anyhow::Result<Self> {
        Self::come_to(platform, &platform.checkout, &platform.inventory, sale, seed, manners)
    }

    /// Sends buyers to these services.
    pub(crate) fn come_to(
        platform: &Platform,
        checkout: &Service,
        inventory: &Service,
        sale: &Sale,
        seed: u64,
        manners: Manners,
    ) -> anyhow::Result<Self> {
        let at_once = manners.at_once;
        let shared = Arc::new(Shared {
            sale: *sale,
            checkout: checkout.channel()?,
            inventory: inventory.channel()?,
            manners,
            signer: Arc::new(flashsale_admission::Signer::from_jwks(
                &platform.signer.to_private_jwks(),
            )?),
            ledger: Mutex::default(),
            stop: CancellationToken::new(),
            buyers: AtomicU64::new(0),
            name: format!("{seed:x}"),
        });
        let mut buyers = JoinSet::new();
        for lane in 0..at_once {
            let shared = Arc::clone(&shared);
            let mut random = StdRng::seed_from_u64(seed ^ (lane << 32));
            buyers.spawn(async move {
                while !shared.stop.is_cancelled() {
                    Buyer::new(&shared).visit(&mut random).await;
                    sleep(shared.manners.pause).await;
                }
            });
        }
        Ok(Self { shared, buyers })
    }

    /// Orders that were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.ledger().placed.len()
    }

    /// When the latest one was.
    pub(crate) fn latest(&self) -> Option<Instant> {
        self.shared.ledger().latest
    }

    /// Has the buyers end what they are at.
    pub(crate) async fn leave(mut self) -> Story {
        self.shared.stop.cancel();
        while self.buyers.join_next().await.is_some() {}
        Story { shared: Arc::clone(&self.shared) }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the buyers saw, once they have left.
#[derive(Debug)]
pub(crate) struct Story {
    shared: Arc<Shared>,
}

impl Story {
    /// Has each buyer look how the orders ended.
    pub(crate) async fn ask_for_ends(&self) {
        let placed = self.shared.ledger().placed.clone();
        for Placed { buyer, order_id, .. } in placed {
            let get = GetOrderRequest {
                sale_id: self.shared.sale.id.to_string(),
                order_id: order_id.clone(),
                buyer_id: buyer,
            };
            let mut checkout = CheckoutServiceClient::new(self.shared.checkout.clone());
            let order = match checkout.get_order(timely(get)).await {
                Ok(answer) => answer.into_inner().order.unwrap_or_default(),
                Err(status) => {
                    self.shared.ledger().wrong.push(format!("order {order_id}: {status}"));
                    continue;
                }
            };
            let state = match order.state() {
                OrderState::Confirmed => "CONFIRMED",
                OrderState::Declined => "DECLINED",
                OrderState::Cancelled => "CANCELLED",
                OrderState::Refunded => "REFUNDED",
                OrderState::Unspecified
                | OrderState::AcceptancePending
                | OrderState::Accepted
                | OrderState::Claimed
                | OrderState::Paying
                | OrderState::ActionRequired => continue,
            };
            self.shared.ledger().ended.insert(order_id, state);
        }
    }

    /// Writes it down for the auditor, behind what is there.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        let ledger = self.shared.ledger();
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        for Placed { buyer, request_id, order_id, at_ms } in &ledger.placed {
            let line = json!({
                "event": "placed", "ts_ms": at_ms, "buyer": buyer, "request_id": request_id, "order_id": order_id,
            });
            writeln!(file, "{line}")?;
        }
        for (order_id, state) in &ledger.ended {
            writeln!(
                file,
                "{}",
                json!({ "event": "ended", "order_id": order_id, "state": state })
            )?;
        }
        Ok(())
    }

    /// The keys of requests that were answered with a hold.
    pub(crate) fn done(&self) -> Vec<String> {
        self.shared.ledger().done.clone()
    }

    /// What no buyer should have seen.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.ledger().wrong.clone()
    }
}

/// One buyer.
struct Buyer<'a> {
    shared: &'a Shared,
    id: String,
    number: u64,
}

/// What a buyer comes for.
enum Visit {
    PlaceLines,
    PlaceHold,
    Release,
}

impl<'a> Buyer<'a> {
    fn new(shared: &'a Shared) -> Self {
        let number = shared.buyers.fetch_add(1, Ordering::Relaxed);
        Self { shared, id: format!("buyer-{}-{number}", shared.name), number }
    }

    async fn visit(&self, random: &mut StdRng) {
        let visit = match random.random_range(0..10) {
            0..4 => Visit::PlaceLines,
            4..8 => Visit::PlaceHold,
            _ => Visit::Release,
        };
        let sku = if random.random_bool(0.3) { SCARCE } else { PLENTY };
        let extend = random.random_bool(0.3);
        let twice = random.random_bool(0.1);
        match visit {
            Visit::PlaceLines => self.place(None, sku, twice).await,
            Visit::PlaceHold | Visit::Release => {
                let Some(hold_id) = self.begin(sku).await else { return };
                if extend {
                    self.extend(&hold_id).await;
                }
                match visit {
                    Visit::Release => self.release(&hold_id).await,
                    Visit::PlaceHold | Visit::PlaceLines => {
                        self.place(Some(hold_id), sku, twice).await;
                    }
                }
            }
        }
    }

    /// A request id, and what becomes of its first answer.
    fn request_id(&self) -> Uuid {
        let request = Uuid::new_v4();
        if let Some(proxy) = &self.shared.manners.lossy {
            let stalled = self.number % STALLED == STALLED - 1;
            proxy.tap(self.key(request), if stalled { Tap::Stall } else { Tap::Lose });
        }
        request
    }

    fn key(&self, request: Uuid) -> String {
        request_key(self.shared.sale.id, &self.id, request).to_string()
    }

    fn done(&self, request: Uuid) {
        self.shared.ledger().done.push(self.key(request));
    }

    fn admission(&self) -> String {
        if !self.shared.sale.room {
            return String::new();
        }
        let now_ms = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        self.shared.signer.mint_admission(&Admission {
            sale_id: self.shared.sale.id,
            buyer_id: self.id.clone(),
            number: i64::try_from(self.number).unwrap_or(i64::MAX),
            generation: 0,
            expires_at_ms: now_ms + self.shared.manners.skew_ms + 60_000,
            quota: 1,
        })
    }

    fn sale_id(&self) -> String {
        self.shared.sale.id.to_string()
    }

    async fn begin(&self, sku: &str) -> Option<String> {
        let request_id = self.request_id();
        let request = BeginCheckoutRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id(),
            buyer_id: self.id.clone(),
            lines: vec![Line { sku: sku.to_owned(), quantity: 1 }],
            admission: self.admission(),
        };
        let client = CheckoutServiceClient::new(self.shared.checkout.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.begin_checkout(request).await }
        };
        let hold_id = self.ask("BeginCheckout", call).await?.hold_id;
        self.done(request_id);
        Some(hold_id)
    }

    async fn extend(&self, hold_id: &str) {
        let request_id = self.request_id();
        let request = ExtendHoldRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id(),
            buyer_id: self.id.clone(),
            hold_id: hold_id.to_owned(),
        };
        let client = InventoryServiceClient::new(self.shared.inventory.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.extend_hold(request).await }
        };
        if self.ask("ExtendHold", call).await.is_some() {
            self.done(request_id);
        }
    }

    async fn release(&self, hold_id: &str) {
        let request_id = self.request_id();
        let request = ReleaseHoldRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id(),
            buyer_id: self.id.clone(),
            hold_id: hold_id.to_owned(),
        };
        let client = InventoryServiceClient::new(self.shared.inventory.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.release_hold(request).await }
        };
        if self.ask("ReleaseHold", call).await.is_some() {
            self.done(request_id);
        }
    }

    /// Places an order from a hold or from lines, and sometimes asks once more: the answer has to be the same order.
    async fn place(&self, hold_id: Option<String>, sku: &str, twice: bool) {
        let request_id = self.request_id();
        let request = PlaceOrderRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id(),
            buyer_id: self.id.clone(),
            hold_id: hold_id.unwrap_or_default(),
            // With a hold: what it has, so that it may be taken anew if it is lost.
            lines: vec![Line { sku: sku.to_owned(), quantity: 1 }],
            admission: self.admission(),
            contact: Some(Contact {
                email: format!("{}@example.com", self.id),
                name: self.id.clone(),
            }),
            payment_method: "pm_card_visa".to_owned(),
        };
        let client = CheckoutServiceClient::new(self.shared.checkout.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.place_order(request).await }
        };
        for _ in 0..=u8::from(twice) {
            let Some(answer) = self.ask("PlaceOrder", call).await else { return };
            let order = answer.order.unwrap_or_default();
            // One that is pending may be lost with the stock before it is published: nobody was told that it is accepted.
            if order.state() == OrderState::AcceptancePending {
                continue;
            }
            let placed = Placed {
                buyer: self.id.clone(),
                request_id,
                order_id: order.order_id,
                at_ms: now_ms(),
            };
            self.done(request_id);
            let mut ledger = self.shared.ledger();
            ledger.latest = Some(Instant::now());
            ledger.placed.push(placed);
        }
    }

    /// Asks until there is an answer; `None` if it is a refusal, or none came.
    async fn ask<T, Fut>(&self, what: &str, call: impl Fn() -> Fut) -> Option<T>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = match call().await {
                Ok(answer) => return Some(answer.into_inner()),
                Err(status) => status,
            };
            let reason = Failure::from_status(&status).map(|failure| failure.reason());
            let again = match reason {
                Some(Reason::Internal) => {
                    self.shared.ledger().wrong.push(format!("{what}: {status}"));
                    false
                }
                Some(reason) => reason.retry() != Retry::Never,
                // The transport's own: a connection that broke, or a deadline.
                None => true,
            };
            if !again {
                return None;
            }
            if Instant::now() >= until {
                let told = format!("{what}: no answer within {PATIENCE:?}: {status}");
                self.shared.ledger().wrong.push(told);
                return None;
            }
            sleep(AGAIN).await;
        }
    }
}

fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ATTEMPT);
    request
}

/// This machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
