//! The only way in which a payment ends, for the tasks and the webhook alike, and the event that
//! announces it.

use std::time::Duration;

use flashsale_queue::{PaymentEvent, payment_event_subject};
use uuid::Uuid;

use crate::{
    domain::{Intent, MadeRefund, Outcome, State},
    metrics::Metrics,
    store::{EventNote, Learnt, LearntBy, Orphan, SettleResult, Store},
};

/// An announcement must not hold up a payment.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_millis(200);

/// Ends payments.
#[derive(Debug, Clone)]
pub struct Settler {
    store: Store,
    nats: async_nats::Client,
    metrics: Metrics,
    /// The most refunds in an hour of money that no payment names.
    auto_refunds_per_hour: i64,
}

impl Settler {
    /// Settles in `store` and announces through `nats`. `auto_refunds_per_hour` bounds the refunds
    /// of money that no payment names.
    pub fn new(
        store: Store,
        nats: async_nats::Client,
        metrics: Metrics,
        auto_refunds_per_hour: i64,
    ) -> Self {
        Self { store, nats, metrics, auto_refunds_per_hour }
    }

    /// Ends an order's payment if its intent has ended, wherever that was learned. True if the
    /// payment changed: then `event`, the one that said it, is noted with it.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn settle(
        &self,
        order: Uuid,
        intent: &Intent,
        learnt_by: LearntBy,
        event: Option<EventNote<'_>>,
    ) -> sqlx::Result<bool> {
        let Some(outcome) = Outcome::of(intent) else { return Ok(false) };
        match self.store.settle(order, &intent.id, outcome, learnt_by, event).await? {
            SettleResult::Own(settled) if settled.changed => {
                tracing::info!(%order, intent = intent.id, state = %settled.state, "payment settled");
                if settled.another_amount {
                    tracing::error!(%order, intent = intent.id, received = ?intent.received,
                        "the provider captured another amount than was asked for; it is given back");
                }
                self.changed(order, settled.state).await;
                return Ok(true);
            }
            SettleResult::Own(_) => {}
            SettleResult::Foreign => {
                // An intent that was given up before it was recorded is cancelled, and an event may
                // report that. Money on such an intent is an error, and goes back.
                if let Outcome::Captured { received } = outcome {
                    self.orphan(order, intent, received, learnt_by).await?;
                }
            }
            SettleResult::Impossible(why) => {
                tracing::error!(%order, intent = intent.id, why, "a payment cannot be settled");
            }
        }
        Ok(false)
    }

    /// Counts a capture that others made in the same account: of the shop's ordinary checkout, or of
    /// another deployment. It is theirs, and stays untouched.
    pub fn foreign_capture(&self) {
        self.metrics.foreign_capture();
    }

    /// Money was captured on an intent that no payment names. If it is this deployment's, it goes
    /// back; what others do in the same account is theirs.
    async fn orphan(
        &self,
        order: Uuid,
        intent: &Intent,
        received: i64,
        learnt_by: LearntBy,
    ) -> sqlx::Result<()> {
        let intent_id = intent.id.as_str();
        if intent.deployment != Some(self.store.deployment().await?) {
            tracing::debug!(%order, intent_id, "money on an intent that is not ours");
            self.foreign_capture();
            return Ok(());
        }
        let most = self.auto_refunds_per_hour;
        match self.store.give_orphan_back(order, intent_id, received, most, learnt_by).await? {
            Orphan::GoesBack => {
                tracing::error!(%order, intent_id, received,
                    "the provider captured an intent that is not the one of this order's payment; it is given back");
            }
            Orphan::Known => {}
            Orphan::TooMany => {
                tracing::error!(%order, intent_id, received,
                    "money on an intent that no payment names is not given back: too many in an hour");
            }
        }
        Ok(())
    }

    /// Notes that a payment is disputed, or that the dispute is won.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn dispute(
        &self,
        order: Uuid,
        dispute: &str,
        amount: i64,
        won: bool,
        learnt_by: LearntBy,
    ) -> sqlx::Result<()> {
        self.store.note_dispute(order, dispute, amount, won, learnt_by).await?;
        if won {
            tracing::info!(%order, dispute, "a dispute is won");
        } else {
            tracing::error!(%order, dispute, "a payment is disputed");
        }
        self.metrics.disputed(won);
        Ok(())
    }

    /// Draws the consequences of what the provider says of a refund of an order's money, wherever
    /// that was learnt.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn learn_refund(
        &self,
        order: Uuid,
        intent: &str,
        made: &MadeRefund,
        learnt_by: LearntBy,
    ) -> sqlx::Result<Learnt> {
        let learnt = self.store.learn_refund(order, intent, made, learnt_by).await?;
        let refund = made.id.as_str();
        match learnt {
            Learnt::Nothing => {}
            Learnt::Pending => tracing::info!(%order, refund, "a refund is under way"),
            Learnt::Done(true) => {
                tracing::info!(%order, refund, "payment refunded");
                self.changed(order, State::Refunded).await;
            }
            Learnt::Done(false) => {
                tracing::info!(%order, refund, "a part of a payment is refunded");
                self.announce(order, State::Succeeded).await;
            }
            Learnt::Again => {
                tracing::warn!(%order, refund, "the provider could not give money back; it is tried again");
            }
            Learnt::Failed => {
                tracing::error!(%order, refund, "the provider could not give money back");
            }
        }
        Ok(learnt)
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
