//! Bringing the revisions of a sale's prices beside its stock, as the record has them.
//!
//! The record has a revision before the stock's store learns of it. Each step is one script, or a
//! few that no reader sees, and what comes next is decided by what stands there then: a crash may
//! follow any of them, and instances may do this at the same time.

use uuid::Uuid;

use super::Inventory;
use crate::domain::{PriceStep, Refusal, Switch};

/// How many steps one call takes. Two revisions may have to make room for a third, and others may
/// be withdrawn meanwhile.
const MAX_STEPS: u32 = 32;
/// Of the revisions that are not wanted any more, how many are looked for beside the stock: the
/// latest.
const MAX_UNWANTED: usize = 100;

impl Inventory {
    /// Brings the prices beside the stock as far as they can get now; answers when what stands
    /// there took effect or will.
    ///
    /// # Errors
    /// Those of the record and of the scripts; [`Refusal::TooLate`] if others keep changing what
    /// stands there. A retry goes on from what was done.
    pub(super) async fn bring_prices(
        &self,
        sale_id: Uuid,
        epoch: i64,
    ) -> Result<Vec<Switch>, Refusal> {
        let recorded = self.record.price_revisions(sale_id).await?;
        if recorded.is_empty() {
            return Ok(Vec::new());
        }
        let unwanted = recorded.iter().rev().filter(|revision| revision.replaced);
        let unwanted: Vec<i64> = unwanted.map(|old| old.revision).take(MAX_UNWANTED).collect();
        for _ in 0..MAX_STEPS {
            let looked = self.stock.prices(sale_id, &unwanted, epoch).await?;
            let armed = looked.standing.next.map(|next| next.revision);
            for revision in looked.leftovers {
                if Some(revision) != armed && revision > looked.standing.revision {
                    let rows = self.record.price_rows(sale_id, revision).await?;
                    self.stock.clean_prices(sale_id, revision, &rows, epoch).await?;
                }
            }
            if self.price_step(sale_id, looked.standing.next_step(&recorded), epoch).await? {
                return Ok(looked.standing.switches());
            }
        }
        Err(Refusal::TooLate)
    }

    /// Takes one step; true if there was nothing to do.
    async fn price_step(
        &self,
        sale_id: Uuid,
        step: PriceStep,
        epoch: i64,
    ) -> Result<bool, Refusal> {
        match step {
            PriceStep::Done => return Ok(true),
            PriceStep::Stage { revision, effective_ms } => {
                let rows = self.record.price_rows(sale_id, revision).await?;
                let revision = (revision, effective_ms);
                self.stock.stage_prices(sale_id, revision, &rows, epoch).await?;
            }
            PriceStep::Withdraw { revision } => {
                self.stock.withdraw_prices(sale_id, revision, epoch).await?;
            }
            PriceStep::Promote { revision } => {
                let rows = self.record.price_rows(sale_id, revision).await?;
                self.stock.promote_prices(sale_id, revision, &rows, epoch).await?;
            }
        }
        tracing::info!(%sale_id, ?step, "prices");
        Ok(false)
    }
}
