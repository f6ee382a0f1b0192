//! Prepares planned sales in time, and has the record follow what their windows do: stock and room
//! open and close by the clock of their store without this.

use std::time::Duration;

use flashsale_service::Drain;
use opentelemetry::metrics::Gauge;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Store, StoreError};

/// The most sales of one round.
const ROUND: i64 = 50;

/// When it looks, and how early it prepares.
#[derive(Debug, Clone, Copy)]
pub struct SchedulePace {
    /// Between two rounds.
    pub interval: Duration,
    /// How long before its start a sale is prepared at least.
    pub lead: Duration,
}

/// The task.
#[derive(Debug)]
pub struct Schedule {
    store: Store,
    pace: SchedulePace,
    late: Gauge<u64>,
}

impl Schedule {
    /// Follows the sales in `store`.
    pub fn new(store: Store, pace: SchedulePace) -> Self {
        let late = flashsale_telemetry::meter()
            .u64_gauge("flashsale_sale_late")
            .with_unit("{sale}")
            .with_description(
                "Sales that should sell by now, or at other prices by now, and of which inventory \
                 or the waiting room does not know it.",
            )
            .build();
        Self { store, pace, late }
    }

    /// Runs until the drain starts.
    ///
    /// # Errors
    /// Never: failures are logged and tried again.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let rounds = async {
            loop {
                tokio::time::sleep(self.pace.interval).await;
                if let Err(error) = self.round().await {
                    tracing::warn!(%error, "cannot look for sales that the clock changes");
                }
            }
        };
        tokio::select! {
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        self.late.record(u64::try_from(self.store.late().await?).unwrap_or_default(), &[]);
        // The clock is the record's, which all instances share.
        for (id, now) in self.store.due(self.pace.lead, ROUND).await? {
            // One that cannot be changed keeps none of the others waiting.
            if let Err(error) = self.follow(id, now).await {
                tracing::error!(sale = %id, %error, "the clock cannot change a sale");
            }
        }
        Ok(())
    }

    async fn follow(&self, id: Uuid, now: OffsetDateTime) -> Result<(), StoreError> {
        let Some(sale) = self.store.head(id).await? else { return Ok(()) };
        let Some(change) = sale.due(now, self.pace.lead) else { return Ok(()) };
        // A lost race needs no second attempt: what won it is followed in the next round.
        let written = self.store.change(&sale, Some(&change), None).await?;
        let (kind, starts_at) = (change.kind.as_str(), change.settings.starts_at);
        tracing::info!(sale = %id, kind, %starts_at, ?written, "the clock changes a sale");
        Ok(())
    }
}
