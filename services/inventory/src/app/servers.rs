//! Which Redis server counts: confirming this instance's, and taking over from another.

use tokio::sync::watch;
use uuid::Uuid;

use super::Inventory;
use crate::domain::Refusal;

impl Inventory {
    /// Confirms the server of a sale. If connections were led to another server since the last
    /// beat, a load or raise would otherwise be recorded under the name of the former. A failure
    /// shows when the server is asked for next.
    pub(super) async fn confirm(&self, sale_id: Uuid) {
        self.serving.want(sale_id);
        let _ = self.epochs.beat().await;
    }

    /// Confirms this instance's server, and queues those sales for a rebuild whose server it may
    /// replace.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] when a store does not answer.
    pub async fn beat(&self) -> Result<(), Refusal> {
        for sale in &self.epochs.beat().await?.sales {
            let own = self.serving.own(sale.sale_id);
            let elsewhere = own.is_some_and(|own| *own != *sale.server);
            if elsewhere && self.serving.may_take(sale.sale_id, &sale.server) {
                self.closed_sales.notice(sale.sale_id);
            }
        }
        Ok(())
    }

    /// Looks into the queue for later epochs, for the case that Postgres cannot tell of them.
    pub async fn look(&self) {
        self.serving.look().await;
    }

    /// Whether callers should be sent here: false while another server is known to count, or
    /// nothing can be confirmed.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.serving.ready()
    }

    /// Makes the servers that this instance speaks to the ones that count, in place of others that
    /// may be alive. Returns both.
    ///
    /// # Errors
    /// [`Refusal::RequestReused`]; [`Refusal::Fenced`] while no Redis is reached;
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn take_over(
        &self,
        request_id: Uuid,
        reason: &str,
    ) -> Result<(Vec<String>, Vec<String>), Refusal> {
        // This reads which servers the sales stand on. It is no reason to fail that this instance's
        // own server is retired.
        self.epochs.beat().await?;
        let (own, others) = self.serving.sides().await;
        if own.is_empty() {
            return Err(Refusal::Fenced);
        }
        let retired = self.serving.servers().take_over(request_id, &own, &others, reason).await?;
        tracing::warn!(%request_id, ?own, ?retired, reason, "a takeover: other servers are retired");
        self.beat().await?;
        Ok((own, retired))
    }
}
