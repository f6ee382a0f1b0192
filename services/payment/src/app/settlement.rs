//! The only way in which a payment ends, for the tasks and the webhook alike, and the event that
//! announces it.

use std::time::Duration;

use flashsale_queue::{PaymentEvent, payment_event_subject};
use uuid::Uuid;

use crate::{
    domain::{Intent, Outcome, State},
    metrics::Metrics,
    store::{SettleResult, Store},
};

/// An announcement must not hold up a payment.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_millis(200);

/// Ends payments.
#[derive(Debug, Clone)]
pub struct Settler {
    store: Store,
    nats: async_nats::Client,
    metrics: Metrics,
}

impl Settler {
    /// Settles in `store` and announces through `nats`.
    pub fn new(store: Store, nats: async_nats::Client, metrics: Metrics) -> Self {
        Self { store, nats, metrics }
    }

    /// Ends an order's payment if its intent has ended, wherever that was learned.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn settle(&self, order: Uuid, intent: &Intent) -> sqlx::Result<()> {
        let Some(outcome) = Outcome::of(intent) else { return Ok(()) };
        match self.store.settle(order, &intent.id, outcome).await? {
            SettleResult::Own(settled) if settled.changed => {
                tracing::info!(%order, intent = intent.id, state = %settled.state, "payment settled");
                if settled.another_amount {
                    tracing::error!(%order, intent = intent.id, received = ?intent.received,
                        "the provider captured another amount than was asked for; it is given back");
                }
                self.changed(order, settled.state).await;
            }
            SettleResult::Own(_) => {}
            SettleResult::Foreign => {
                // An intent that was given up before it was recorded is cancelled, and an event may
                // report that. Money on such an intent is an error.
                if matches!(outcome, Outcome::Captured { .. }) {
                    tracing::error!(%order, intent = intent.id,
                        "the provider captured an intent that is not the one of this order's payment");
                }
            }
            SettleResult::Impossible(why) => {
                tracing::error!(%order, intent = intent.id, why, "a payment cannot be settled");
            }
        }
        Ok(())
    }

    /// Counts a payment that reached a state, and announces it.
    pub async fn changed(&self, order: Uuid, state: State) {
        self.metrics.changed(state);
        self.announce(order, state).await;
    }

    /// Announces the state of a payment. Nothing depends on the event: a service that misses it
    /// finds the change by polling.
    pub async fn announce(&self, order: Uuid, state: State) {
        let event = PaymentEvent { order_id: order, state: state.as_str().to_owned() };
        let announced = flashsale_queue::announce(&self.nats, payment_event_subject(order), &event);
        if tokio::time::timeout(ANNOUNCE_TIMEOUT, announced).await.is_err() {
            tracing::debug!(%order, "a change was not announced in time");
        }
    }
}
