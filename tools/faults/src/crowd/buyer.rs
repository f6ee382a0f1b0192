//! One buyer: what they come for, and how they ask.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flashsale_admission::Admission;
use flashsale_errors::{Failure, Reason, Retry};
use flashsale_proto::{
    checkout::{Line, OrderState, checkout_service_client::CheckoutServiceClient},
    inventory::inventory_service_client::InventoryServiceClient,
};
use flashsale_testbed::{buyer::Buyer, proxy::Tap};
use rand::{Rng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tonic::{Response, Status};
use uuid::Uuid;

use super::{Placed, Shared, followers::Follow, now_ms, request_key, timely};
use crate::platform::{PLENTY, SCARCE};

/// Between two attempts; doubled up to the second value, as the contract asks for.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Out of how many lost replies one is not lost with its connection but never comes.
const STALLED: u64 = 100;

/// One buyer.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) shared: Arc<Shared>,
    pub(super) buyer: Buyer,
    number: u64,
}

/// How a buyer places an order.
#[derive(Clone, Copy)]
struct Intent {
    /// Asks once more, though there is an answer.
    twice: bool,
    /// And sees to what becomes of it.
    follow: Follow,
}

/// What a buyer comes for.
enum Visit {
    PlaceLines,
    PlaceHold,
    Release,
}

impl Visitor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let number = shared.buyers.fetch_add(1, Ordering::Relaxed);
        let id = format!("buyer-{}-{number}", shared.name);
        let name = format!("{id:<width$}.", width = shared.manners.name_chars);
        let buyer = Buyer::new(shared.sale.id, id, name);
        Self { shared, buyer, number }
    }

    /// Comes, and does one thing.
    pub(super) async fn visit(&self, random: &mut StdRng) {
        let visit = match random.random_range(0..10) {
            0..4 => Visit::PlaceLines,
            4..8 => Visit::PlaceHold,
            _ => Visit::Release,
        };
        let sku = if random.random_bool(0.3) { SCARCE } else { PLENTY };
        let extend = random.random_bool(0.3);
        let intent =
            Intent { twice: random.random_bool(0.1), follow: Follow::choose(&self.shared, random) };
        match visit {
            Visit::PlaceLines => self.place(None, sku, intent).await,
            Visit::PlaceHold | Visit::Release => {
                let Some(hold_id) = self.begin(sku).await else { return };
                if extend {
                    self.extend(&hold_id).await;
                }
                match visit {
                    Visit::Release => self.release(&hold_id).await,
                    Visit::PlaceHold | Visit::PlaceLines => {
                        self.place(Some(hold_id), sku, intent).await;
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
        request_key(self.shared.sale.id, &self.buyer.buyer_id, request).to_string()
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
            buyer_id: self.buyer.buyer_id.clone(),
            number: i64::try_from(self.number).unwrap_or(i64::MAX),
            // The room has no record of it, and no era to come makes it an old one.
            generation: u32::MAX,
            expires_at_ms: now_ms + self.shared.manners.skew_ms + 60_000,
            quota: 1,
        })
    }

    async fn begin(&self, sku: &str) -> Option<String> {
        let request_id = self.request_id();
        let lines = vec![Line { sku: sku.to_owned(), quantity: 1 }];
        let request = self.buyer.begin(request_id, lines, self.admission());
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
        let request = self.buyer.extend(request_id, hold_id);
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
        let request = self.buyer.release(request_id, hold_id);
        let client = InventoryServiceClient::new(self.shared.inventory.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.release_hold(request).await }
        };
        if self.ask("ReleaseHold", call).await.is_some() {
            self.done(request_id);
        }
    }

    /// Places an order from a hold or from lines, and sometimes asks once more: the answer has to
    /// be the same order.
    async fn place(&self, hold_id: Option<String>, sku: &str, intent: Intent) {
        let request_id = self.request_id();
        let request = self.buyer.place(
            request_id,
            hold_id.unwrap_or_default(),
            // With a hold: what it has, so that it may be taken again if it is lost.
            vec![Line { sku: sku.to_owned(), quantity: 1 }],
            self.admission(),
            intent.follow.card(),
        );
        let client = CheckoutServiceClient::new(self.shared.checkout.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.place_order(request).await }
        };
        for time in 0..=u8::from(intent.twice) {
            let Some(answer) = self.ask("PlaceOrder", call).await else { return };
            let order = answer.order.unwrap_or_default();
            if time == 0 {
                intent.follow.begin(self, &order.order_id);
            }
            // One that is pending may be lost with the stock before it is published: no buyer was
            // told that it is accepted.
            if order.state() == OrderState::AcceptancePending {
                self.shared.ledger().pending.insert(order.order_id, self.buyer.buyer_id.clone());
                continue;
            }
            let placed = Placed {
                buyer: self.buyer.buyer_id.clone(),
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
    pub(super) async fn ask<T, Fut>(&self, what: &str, call: impl Fn() -> Fut) -> Option<T>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let patience = self.shared.manners.patience;
        let until = Instant::now() + patience;
        let mut pause = AGAIN.0;
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
            if let Some(reason) = reason {
                *self.shared.ledger().refusals.entry(reason.as_str()).or_default() += 1;
            }
            if Instant::now() >= until {
                let told = format!("{what}: no answer within {patience:?}: {status}");
                self.shared.ledger().wrong.push(told);
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
        }
    }
}
