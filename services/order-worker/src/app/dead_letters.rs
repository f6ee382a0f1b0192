//! How dead letters are resolved: an operator has the order queued again or drops it, or the
//! deadline passes.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::Outside;
use flashsale_pg::SteppedPool;
use flashsale_queue::{QueueMessage, publish_again};
use uuid::Uuid;

use super::Wakeups;
use crate::{
    domain::EndReason,
    peers::inventory::Inventory,
    steps,
    store::dead_letters::{self, DeadLetter, Resolution},
};

/// Lists and resolves dead letters. A clone uses the same stores.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pub pool: SteppedPool,
    pub jetstream: Outside<jetstream::Context>,
    /// Where holds carry orders.
    pub inventory: Inventory,
    /// How long a publish may take.
    pub publish_timeout: Duration,
    pub wakeups: Arc<Wakeups>,
}

impl DeadLetters {
    /// At most `limit` dead letters after number `after`, newest first: of one sale or of all
    /// sales, unresolved ones or all.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub(crate) async fn list(
        &self,
        sale_id: Option<Uuid>,
        resolved_too: bool,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, Failure> {
        dead_letters::list(&self.pool, sale_id, resolved_too, after, limit)
            .await
            .map_err(flashsale_pg::failure)
    }

    /// Has the order of a dead letter queued again. If its hold still carries the order, the relay
    /// publishes it as it was accepted, whatever happened to the message; otherwise the message is
    /// published again from here. The dead letter stays unresolved until the order is recorded.
    /// `request_id` identifies the attempt, so that a repeated call has one effect.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `DEAD_LETTER_RESOLVED`, `DEAD_LETTER_NOT_RETRYABLE`, or Postgres,
    /// inventory or the queue does not answer.
    pub async fn retry(&self, id: i64, request_id: Uuid) -> Result<DeadLetter, Failure> {
        let (dead_letter, payload) = self.find(id).await?;
        if let Some((resolution, _)) = dead_letter.resolved {
            return Err(resolved(id, resolution));
        }
        if let (Some(sale_id), Some(order_id)) = (dead_letter.sale_id, dead_letter.order_id)
            && self.inventory.hold_carries_order(sale_id, order_id).await?
        {
            dead_letters::retry(&self.pool, id).await.map_err(flashsale_pg::failure)?;
            return Ok(dead_letter);
        }
        let Ok(message @ QueueMessage::Place { .. }) = QueueMessage::decode(&payload) else {
            return Err(Failure::new(
                Reason::DeadLetterNotRetryable,
                "neither the message nor a hold says what its order was",
            )
            .with("dead_letter_id", id));
        };
        let attempt = request_id.to_string();
        self.jetstream
            .step(steps::PUBLISH_AGAIN, |jetstream| {
                publish_again(jetstream, &message, &attempt, self.publish_timeout)
            })
            .await
            .map_err(|error| Failure::store("order queue", error))?;
        Ok(dead_letter)
    }

    /// Drops a dead letter. Its order ends CANCELLED, if it is waiting as a dead letter.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `DEAD_LETTER_RESOLVED`, or Postgres does not answer.
    pub async fn drop(&self, id: i64) -> Result<DeadLetter, Failure> {
        self.find(id).await?;
        self.give_up(&[id], Resolution::Dropped, EndReason::DeadLetterDropped)
            .await
            .map_err(flashsale_pg::failure)?;
        let (dead_letter, _) = self.find(id).await?;
        match dead_letter.resolved {
            Some((Resolution::Dropped, _)) => Ok(dead_letter),
            Some((resolution, _)) => Err(resolved(id, resolution)),
            None => Err(Failure::internal("a dead letter was dropped and still waits")),
        }
    }

    /// Gives up to `limit` dead letters up whose deadline has passed.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub(crate) async fn expire(&self, limit: i64) -> Result<(), sqlx::Error> {
        let due = dead_letters::due(&self.pool, limit).await?;
        if !due.is_empty() {
            tracing::error!(letters = due.len(), "dead letters were not decided about in time");
            self.give_up(&due, Resolution::Expired, EndReason::DeadLetterExpired).await?;
        }
        Ok(())
    }

    async fn give_up(
        &self,
        ids: &[i64],
        resolution: Resolution,
        reason: EndReason,
    ) -> Result<(), sqlx::Error> {
        let kinds = dead_letters::give_up(&self.pool, ids, resolution, reason).await?;
        self.wakeups.handlers(&kinds);
        Ok(())
    }

    /// A dead letter, and its message.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, or Postgres does not answer.
    pub(crate) async fn find(&self, id: i64) -> Result<(DeadLetter, Vec<u8>), Failure> {
        let found = dead_letters::find(&self.pool, id).await.map_err(flashsale_pg::failure)?;
        found.ok_or_else(|| not_found(id))
    }
}

/// What is told of a dead letter that is not there.
pub(crate) fn not_found(id: i64) -> Failure {
    Failure::new(Reason::DeadLetterNotFound, "there is no such dead letter")
        .with("dead_letter_id", id)
}

fn resolved(id: i64, resolution: Resolution) -> Failure {
    Failure::new(Reason::DeadLetterResolved, "the dead letter was resolved before")
        .with("dead_letter_id", id)
        .with("resolution", resolution.as_str())
}
