//! Bringing the revisions of a sale's prices beside its stock, as the record has them.
//!
//! The record has a revision before the stock's store learns of it. Each step is one script, or a
//! few that no reader sees, and what comes next is decided by what stands there then: a crash may
//! follow any of them, and instances may do this at the same time.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Inventory;
use crate::domain::{PriceStep, Refusal, Revision, StandingPrices, Switch};

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
        let mut switches = BTreeMap::new();
        for _ in 0..MAX_STEPS {
            let looked = self.stock.prices(sale_id, &unwanted, epoch).await?;
            let standing = looked.standing;
            let armed = standing.next.map(|next| next.revision);
            for revision in looked.leftovers.into_iter().filter(|left| Some(*left) != armed) {
                let rows = self.record.price_rows(sale_id, &up_to(&recorded, 0, revision)).await?;
                self.stock.clean_prices(sale_id, revision, &rows, epoch).await?;
            }
            let step = standing.next_step(&recorded);
            let done = step == PriceStep::Done;
            // What is armed may be withdrawn in the next step.
            let lasting = standing
                .switches()
                .into_iter()
                .filter(|switch| done || Some(switch.revision) != armed || has_switched(&standing));
            switches.extend(lasting.map(|switch| (switch.revision, switch.at_ms)));
            if done {
                let of = |(revision, at_ms)| Switch { revision, at_ms };
                return Ok(switches.into_iter().map(of).collect());
            }
            tracing::info!(%sale_id, ?step, "prices");
            self.price_step(sale_id, (&standing, &recorded), step, epoch).await?;
        }
        Err(Refusal::TooLate)
    }

    async fn price_step(
        &self,
        sale_id: Uuid,
        (standing, recorded): (&StandingPrices, &[Revision]),
        step: PriceStep,
        epoch: i64,
    ) -> Result<(), Refusal> {
        match step {
            PriceStep::Done => Ok(()),
            PriceStep::Stage { revisions, effective_ms } => {
                let Some(last) = revisions.last() else { return Ok(()) };
                let rows = self.record.price_rows(sale_id, &revisions).await?;
                self.stock.stage_prices(sale_id, (*last, effective_ms), &rows, epoch).await
            }
            PriceStep::Withdraw { revision } => {
                self.stock.withdraw_prices(sale_id, revision, epoch).await
            }
            PriceStep::Promote { revision } => {
                // Those with which it was staged are among them.
                let with = up_to(recorded, standing.revision, revision);
                let rows = self.record.price_rows(sale_id, &with).await?;
                self.stock.promote_prices(sale_id, revision, &rows, epoch).await
            }
        }
    }
}

/// The numbers of the revisions behind `after`, up to `last`.
fn up_to(recorded: &[Revision], after: i64, last: i64) -> Vec<i64> {
    let numbers = recorded.iter().map(|revision| revision.revision);
    numbers.filter(|number| (after + 1..=last).contains(number)).collect()
}

fn has_switched(standing: &StandingPrices) -> bool {
    standing.next.is_some_and(|next| next.switched)
}
