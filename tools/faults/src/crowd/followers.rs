//! What buyers do about an order once it is placed: watch it, cancel it, or leave it.

use std::time::Duration;

use flashsale_proto::checkout::checkout_service_client::CheckoutServiceClient;
use rand::{Rng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Shared, buyer::Visitor, end_of, is_unknown, timely};

/// Between two attempts to watch, and two looks at an order that is to be cancelled.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the owner of a card that waits for them goes on cancelling.
const PATIENCE: Duration = Duration::from_secs(120);
/// Followers at once; who comes on top of them leaves the order alone.
const MANY: usize = 256;

/// What a buyer does about an order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Follow {
    /// Leaves it to itself.
    Leave,
    /// Pays with a card that is declined.
    Declined,
    /// Pays with a card that waits for its owner, who cancels the order until it is at its end.
    Abandon,
    /// Watches it up to its end.
    Watch,
    /// Cancels it after so long.
    Cancel(Duration),
}

impl Follow {
    pub(super) fn choose(shared: &Shared, random: &mut StdRng) -> Self {
        if shared.followers.len() >= MANY {
            return Self::Leave;
        }
        let manners = &shared.manners;
        let shares = [
            (manners.watch, Self::Watch),
            (manners.cancel, Self::Cancel(Duration::from_millis(random.random_range(0..60)))),
            (manners.odd_cards / 2.0, Self::Declined),
            (manners.odd_cards / 2.0, Self::Abandon),
        ];
        let mut left: f64 = random.random();
        for (share, follow) in shares {
            left -= share;
            if left < 0.0 {
                return follow;
            }
        }
        Self::Leave
    }

    /// What it is paid with.
    pub(super) fn card(self) -> &'static str {
        match self {
            Self::Leave | Self::Watch | Self::Cancel(_) => "pm_card_visa",
            Self::Declined => "pm_card_chargeDeclined",
            Self::Abandon => "pm_card_threeDSecure2Required",
        }
    }

    /// Begins, beside what the buyer does next.
    pub(super) fn begin(self, visitor: &Visitor, order_id: &str) {
        let tracker = visitor.shared.followers.clone();
        let (visitor, order_id) = (visitor.clone(), order_id.to_owned());
        match self {
            Self::Leave | Self::Declined => {}
            Self::Watch => {
                tracker.spawn(async move { visitor.watch(&order_id).await });
            }
            Self::Cancel(after) => {
                tracker.spawn(async move {
                    sleep(after).await;
                    visitor.cancel(&order_id).await;
                });
            }
            Self::Abandon => {
                tracker.spawn(async move { visitor.abandon(&order_id).await });
            }
        }
    }
}

impl Visitor {
    async fn cancel(&self, order_id: &str) {
        let request = self.buyer.cancel(Uuid::new_v4(), order_id);
        let client = CheckoutServiceClient::new(self.shared.checkout.clone());
        let call = || {
            let (mut client, request) = (client.clone(), timely(request.clone()));
            async move { client.cancel_order(request).await }
        };
        if self.ask("CancelOrder", call).await.is_some() {
            self.shared.ledger().cancels += 1;
        }
    }

    /// Cancels until the order is at its end: nothing else will end it soon.
    async fn abandon(&self, order_id: &str) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.cancel(order_id).await;
            let get = self.buyer.get(order_id);
            let order = CheckoutServiceClient::new(self.shared.checkout.clone())
                .get_order(timely(get))
                .await
                .ok()
                .and_then(|answer| answer.into_inner().order);
            if order.is_some_and(|order| end_of(order.state()).is_some()) {
                return;
            }
            sleep(AGAIN).await;
        }
        self.shared.ledger().wrong.push(format!("order {order_id} is cancelled and does not end"));
    }

    /// Watches until the order is at its end, or the sale is over.
    async fn watch(&self, order_id: &str) {
        let stop = self.shared.stop.clone();
        let watch = self.buyer.watch(order_id);
        let mut client = CheckoutServiceClient::new(self.shared.checkout.clone());
        while !stop.is_cancelled() {
            let watching = async {
                let mut changes = client.watch_order(watch.clone()).await?.into_inner();
                while let Some(change) = changes.message().await? {
                    let order = change.order.unwrap_or_default();
                    if let Some(end) = end_of(order.state()) {
                        return Ok::<_, tonic::Status>(Some(end));
                    }
                }
                Ok(None)
            };
            let watched = tokio::select! {
                watched = watching => watched,
                () = stop.cancelled() => return,
            };
            match watched {
                Ok(Some(end)) => {
                    let mut ledger = self.shared.ledger();
                    ledger.watched += 1;
                    ledger.ended.insert(order_id.to_owned(), end);
                    return;
                }
                Err(status) if is_unknown(&status) => {
                    let mut ledger = self.shared.ledger();
                    if ledger.placed.iter().any(|placed| placed.order_id == order_id) {
                        ledger.unknown.insert(order_id.to_owned());
                    } else {
                        ledger.unknown_pending.insert(order_id.to_owned());
                    }
                }
                Ok(None) | Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }
}
