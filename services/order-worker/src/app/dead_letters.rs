//! What becomes of dead letters: somebody has their order queued again or gives them up, or nobody does until their deadline.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::Step as _;
use flashsale_proto::inventory::{
    GetHoldRequest, inventory_service_client::InventoryServiceClient,
};
use flashsale_queue::{QueueMessage, publish_again};
use flashsale_service::{Drain, peer::PeerChannel};
use sqlx::PgPool;
use uuid::Uuid;

use super::Wakeups;
use crate::{
    domain::EndReason,
    store::dead_letters::{self, Letter, Resolution},
};

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Letters that are given up together.
const BATCH: i64 = 100;

/// Decides about dead letters. A clone decides about the same ones.
#[derive(Debug, Clone)]
pub struct Review {
    /// The record.
    pub pool: PgPool,
    /// The queue.
    pub jetstream: jetstream::Context,
    /// Where holds carry orders.
    pub inventory: PeerChannel,
    /// How long a publish may take.
    pub publish_timeout: Duration,
    /// Whom to wake.
    pub wakeups: Arc<Wakeups>,
}

impl Review {
    /// Has the order of a letter queued again: by the relay, as its hold carries it, which is what was accepted whatever happened to its
    /// message; or from here, as the message says, where there is no such hold any more. The letter waits on until the order is recorded.
    /// `request_id` names the attempt, so that one that is repeated is one.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `DEAD_LETTER_RESOLVED`, `DEAD_LETTER_NOT_RETRYABLE`, or a store or peer that does not answer.
    pub async fn retry(&self, id: i64, request_id: Uuid) -> Result<Letter, Failure> {
        let (letter, payload) = self.find(id).await?;
        if let Some((resolution, _)) = letter.resolved {
            return Err(resolved(id, resolution));
        }
        if let (Some(sale_id), Some(order_id)) = (letter.sale_id, letter.order_id)
            && self.is_carried(sale_id, order_id).await?
        {
            dead_letters::retry(&self.pool, id).await.map_err(postgres)?;
            return Ok(letter);
        }
        let Ok(message @ QueueMessage::Place { .. }) = QueueMessage::decode(&payload) else {
            return Err(Failure::new(
                Reason::DeadLetterNotRetryable,
                "neither the message nor a hold says what its order was",
            )
            .with("dead_letter_id", id));
        };
        let attempt = request_id.to_string();
        publish_again(&self.jetstream, &message, &attempt, self.publish_timeout)
            .step("publish/again")
            .await
            .map_err(|error| Failure::store("order queue", error))?;
        Ok(letter)
    }

    /// Gives a letter up. Its order, if it waits because of it, ends CANCELLED.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `DEAD_LETTER_RESOLVED`, or Postgres does not answer.
    pub async fn drop(&self, id: i64) -> Result<Letter, Failure> {
        self.find(id).await?;
        self.give_up(&[id], Resolution::Dropped, EndReason::DeadLetterDropped)
            .await
            .map_err(postgres)?;
        let (letter, _) = self.find(id).await?;
        match letter.resolved {
            Some((Resolution::Dropped, _)) => Ok(letter),
            Some((resolution, _)) => Err(resolved(id, resolution)),
            None => Err(Failure::internal("a dead letter was dropped and still waits")),
        }
    }

    /// Gives up what nobody has decided about in time, until the drain starts.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn expire(self, drain: Drain) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = drain.started() => return Ok(()),
            }
            let expired = async {
                let due = dead_letters::due(&self.pool, BATCH).await?;
                if !due.is_empty() {
                    tracing::error!(
                        letters = due.len(),
                        "nobody decided about dead letters in time"
                    );
                    self.give_up(&due, Resolution::Expired, EndReason::DeadLetterExpired).await?;
                }
                Ok::<_, sqlx::Error>(())
            };
            if let Err(error) = expired.await {
                tracing::warn!(%error, "the deadlines of dead letters cannot be kept yet");
            }
        }
    }

    async fn give_up(
        &self,
        ids: &[i64],
        resolution: Resolution,
        reason: EndReason,
    ) -> Result<(), sqlx::Error> {
        let kinds = dead_letters::give_up(&self.pool, ids, resolution, reason).await?;
        self.wakeups.carriers(&kinds);
        Ok(())
    }

    async fn find(&self, id: i64) -> Result<(Letter, Vec<u8>), Failure> {
        dead_letters::find(&self.pool, id).await.map_err(postgres)?.ok_or_else(|| {
            Failure::new(Reason::DeadLetterNotFound, "there is no such dead letter")
                .with("dead_letter_id", id)
        })
    }

    /// Whether the order's hold carries it, so that the relay can publish it.
    async fn is_carried(&self, sale_id: Uuid, order_id: Uuid) -> Result<bool, Failure> {
        let request = GetHoldRequest {
            sale_id: sale_id.to_string(),
            order_id: order_id.to_string(),
            ..GetHoldRequest::default()
        };
        let mut inventory = InventoryServiceClient::new(self.inventory.clone());
        match inventory.get_hold(request).step("inventory/get_hold").await {
            Ok(answer) => {
                let placed = answer.into_inner().placed;
                Ok(placed.is_some_and(|placed| !placed.order_details.is_empty()))
            }
            Err(status) => {
                let failure = Failure::from_peer("inventory", &status);
                let gone = matches!(
                    failure.reason(),
                    Reason::HoldNotFound | Reason::SaleNotFound | Reason::SaleNotOpen
                );
                if gone { Ok(false) } else { Err(failure) }
            }
        }
    }
}

fn postgres(error: sqlx::Error) -> Failure {
    Failure::store("postgres", error)
}

fn resolved(id: i64, resolution: Resolution) -> Failure {
    Failure::new(Reason::DeadLetterResolved, "the dead letter was resolved before")
        .with("dead_letter_id", id)
        .with("resolution", resolution.as_str())
}
