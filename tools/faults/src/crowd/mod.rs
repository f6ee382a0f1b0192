//! Buyers who retry. Each asks under one request id until there is an answer, and writes down what
//! it was told.

mod buyer;
mod followers;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use buyer::Visitor;
use flashsale_admission::Signer;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    NamedChannel,
    checkout::{GetOrderRequest, OrderState, checkout_service_client::CheckoutServiceClient},
};
use flashsale_testbed::{platform::Service, proxy::Proxy};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::platform::{Platform, Sale};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(1_500);

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
    /// The share of orders that are watched up to their end.
    pub(crate) watch: f64,
    /// The share that is cancelled.
    pub(crate) cancel: f64,
    /// The share that is paid with a card that is declined, or that wants its owner, who cancels
    /// instead.
    pub(crate) odd_cards: f64,
    /// How long the names of buyers are at least.
    pub(crate) name_chars: usize,
    /// How long a buyer goes on asking.
    pub(crate) patience: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            at_once: 6,
            pause: Duration::from_millis(15),
            lossy: None,
            skew_ms: 0,
            watch: 0.0,
            cancel: 0.0,
            odd_cards: 0.0,
            name_chars: 12,
            patience: Duration::from_secs(60),
        }
    }
}

impl Manners {
    /// Buyers who care what becomes of their orders.
    pub(crate) fn lively() -> Self {
        Self {
            at_once: 8,
            pause: Duration::from_millis(40),
            watch: 0.2,
            cancel: 0.15,
            odd_cards: 0.15,
            ..Self::default()
        }
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
    /// Orders that a buyer was told of as pending, each with its buyer.
    pending: BTreeMap<String, String>,
    ended: BTreeMap<String, &'static str>,
    /// Accepted orders that a buyer looked for and was told that there is no such order.
    unknown: BTreeSet<String>,
    /// Pending ones of which a buyer was told so.
    unknown_pending: BTreeSet<String>,
    /// Refusals that were worth another try, by reason.
    refusals: BTreeMap<&'static str, u64>,
    /// Wishes to cancel that were answered.
    cancels: u64,
    /// Orders that were watched up to their end.
    watched: u64,
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
    checkout: NamedChannel,
    inventory: NamedChannel,
    manners: Manners,
    signer: Arc<Signer>,
    ledger: Mutex<Ledger>,
    stop: CancellationToken,
    /// Those who watch an order or see to its end beside the buyers.
    followers: TaskTracker,
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
        Self::come_to(
            platform,
            &platform.services.checkout,
            &platform.services.inventory,
            sale,
            seed,
            manners,
        )
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
            signer: Arc::new(Signer::from_jwks(&platform.signer.to_private_jwks())?),
            ledger: Mutex::default(),
            stop: CancellationToken::new(),
            followers: TaskTracker::new(),
            buyers: AtomicU64::new(0),
            name: format!("{seed:x}"),
        });
        let mut buyers = JoinSet::new();
        for lane in 0..at_once {
            let shared = Arc::clone(&shared);
            let mut random = StdRng::seed_from_u64(seed ^ (lane << 32));
            buyers.spawn(async move {
                while !shared.stop.is_cancelled() {
                    Visitor::new(Arc::clone(&shared)).visit(&mut random).await;
                    sleep(shared.manners.pause).await;
                }
            });
        }
        Ok(Self { shared, buyers })
    }

    /// Orders that were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        // Some were told more than once.
        let ledger = self.shared.ledger();
        ledger.placed.iter().map(|placed| &placed.order_id).collect::<BTreeSet<_>>().len()
    }

    /// How often something was refused for now with this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.shared.ledger().refusals.get(reason).copied().unwrap_or(0)
    }

    /// Orders that a buyer was told of as pending so far.
    pub(crate) fn pending(&self) -> usize {
        self.shared.ledger().pending.len()
    }

    /// When the latest one was.
    pub(crate) fn latest(&self) -> Option<Instant> {
        self.shared.ledger().latest
    }

    /// Has the buyers end what they are at.
    pub(crate) async fn leave(mut self) -> Story {
        self.shared.stop.cancel();
        while self.buyers.join_next().await.is_some() {}
        self.shared.followers.close();
        self.shared.followers.wait().await;
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
                    let mut ledger = self.shared.ledger();
                    ledger.wrong.push(format!("order {order_id}: {status}"));
                    ledger.unknown.extend(is_unknown(&status).then_some(order_id));
                    continue;
                }
            };
            if let Some(state) = end_of(order.state()) {
                self.shared.ledger().ended.insert(order_id, state);
            }
        }
    }

    /// The orders that buyers were told of: accepted ones, and others that were pending when they
    /// were last told.
    pub(crate) fn told(&self) -> (BTreeSet<Uuid>, BTreeSet<Uuid>) {
        let ledger = self.shared.ledger();
        let ids = |id: &String| id.parse::<Uuid>().unwrap_or_default();
        let accepted: BTreeSet<Uuid> =
            ledger.placed.iter().map(|placed| ids(&placed.order_id)).collect();
        let pending = ledger.pending.keys().map(ids).filter(|id| !accepted.contains(id)).collect();
        (accepted, pending)
    }

    /// Accepted orders that read as unknown at some time, or that are at no end now that all of
    /// them were asked for.
    pub(crate) fn failed(&self) -> BTreeSet<String> {
        let ledger = self.shared.ledger();
        let open = ledger.placed.iter().map(|placed| &placed.order_id);
        let open = open.filter(|id| !ledger.ended.contains_key(*id));
        ledger.unknown.iter().chain(open).cloned().collect()
    }

    /// What came of following orders, by name: wishes to cancel that were answered, orders that
    /// were watched up to their end, and orders that were looked for while they were pending and
    /// not found.
    pub(crate) fn followed(&self) -> [(&'static str, u64); 3] {
        let ledger = self.shared.ledger();
        let unknown = ledger.unknown_pending.len() as u64;
        [("cancels", ledger.cancels), ("watched", ledger.watched), ("pending_not_found", unknown)]
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

/// The end of an order, if its state is one.
fn end_of(state: OrderState) -> Option<&'static str> {
    match state {
        OrderState::Confirmed => Some("CONFIRMED"),
        OrderState::Declined => Some("DECLINED"),
        OrderState::Cancelled => Some("CANCELLED"),
        OrderState::Refunded => Some("REFUNDED"),
        OrderState::Unspecified
        | OrderState::AcceptancePending
        | OrderState::Accepted
        | OrderState::DeadLetter
        | OrderState::Claimed
        | OrderState::Paying
        | OrderState::ActionRequired => None,
    }
}

/// Whether a buyer was told that there is no such order.
fn is_unknown(status: &Status) -> bool {
    Failure::from_status(status).is_some_and(|failure| failure.reason() == Reason::OrderNotFound)
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
