//! Buyers who retry. Each asks under one request id until there is an answer, and writes down what it was told.

mod buyer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use buyer::Buyer;
use flashsale_admission::Signer;
use flashsale_proto::checkout::{
    GetOrderRequest, OrderState, checkout_service_client::CheckoutServiceClient,
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};
use uuid::Uuid;

use crate::{
    platform::{Platform, Sale, Service},
    proxy::Proxy,
};

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
    signer: Arc<Signer>,
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
            signer: Arc::new(Signer::from_jwks(&platform.signer.to_private_jwks())?),
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
                | OrderState::DeadLetter
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
