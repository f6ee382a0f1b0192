//! Tells inventory how the orders of holds ended.

use std::collections::BTreeMap;

use flashsale_errors::{Reason, Retry};
use flashsale_pg::SteppedPool;
use flashsale_proto::inventory::{HoldOutcome, HoldSettlement, SettleResult};
use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;

use super::{
    handler::{
        ANSWER_INVALID, CALLS, Handler, ORDER_MISSING, Outcome, each, orders_of, record_failed,
        span_of,
    },
    held_off::HeldOff,
};
use crate::{
    domain::{About, Kind},
    metrics::Metrics,
    peers::inventory::Inventory,
    store::{orders, outbox::Leased},
};

/// Calls `InventoryAdminService.SettleHolds`, one call per sale. A sale whose stock is closed is
/// held off, so that its rows do not fill the batches in which other sales' holds are closed.
#[derive(Debug)]
pub struct CloseHold {
    pub pool: SteppedPool,
    pub inventory: Inventory,
    /// Sales whose stock is closed.
    pub held_off: HeldOff,
    pub metrics: Metrics,
}

impl Handler for CloseHold {
    const KIND: Kind = Kind::CloseHold;

    fn held_off(&self) -> Vec<Uuid> {
        self.held_off.sales(Instant::now())
    }

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        let holds = match orders::holds(&self.pool, &orders_of(rows)).await {
            Ok(holds) => holds,
            Err(error) => return vec![record_failed(&error); rows.len()],
        };
        // Held until the end: the calls belong to the batch's span, which these are linked to.
        let _spans: Vec<Span> = rows.iter().map(|row| span_of(Kind::CloseHold, row)).collect();
        let mut outcomes = vec![Outcome::Retry(ORDER_MISSING); rows.len()];
        let mut by_sale: BTreeMap<Uuid, Vec<(usize, HoldSettlement)>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let outcome = match row.about() {
                Some(About::HoldSold) => HoldOutcome::Sold,
                Some(About::HoldReleased) => HoldOutcome::Released,
                Some(
                    About::State(_)
                    | About::CancelRequested
                    | About::PaidAfterEnd
                    | About::Refund(_),
                )
                | None => {
                    outcomes[at] = Outcome::Retry("OUTCOME_UNKNOWN");
                    continue;
                }
            };
            if let Some((sale_id, hold_id)) = holds.get(&row.order_id) {
                let settlement = HoldSettlement {
                    hold_id: hold_id.to_string(),
                    outcome: outcome.into(),
                    order_id: row.order_id.to_string(),
                };
                by_sale.entry(*sale_id).or_default().push((at, settlement));
            }
        }
        let calls = by_sale.into_iter().map(|(sale_id, settlements)| async move {
            let (places, settlements): (Vec<usize>, Vec<HoldSettlement>) =
                settlements.into_iter().unzip();
            (places, self.close(sale_id, settlements).await)
        });
        // One call per sale, several at once: a sale whose call times out delays no other.
        for (places, closed) in each(calls.collect(), CALLS).await {
            for (place, at) in places.into_iter().enumerate() {
                outcomes[at] = match &closed {
                    Ok(Some(results)) => self.outcome(&rows[at], results.get(place).copied()),
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome.clone(),
                };
            }
        }
        outcomes
    }
}

impl CloseHold {
    /// Closes holds of one sale; `None` if its stock is gone for good, so that there is nothing
    /// left to close.
    async fn close(
        &self,
        sale_id: Uuid,
        settlements: Vec<HoldSettlement>,
    ) -> Result<Option<Vec<SettleResult>>, Outcome> {
        let failure = match self.inventory.settle_holds(sale_id, settlements).await {
            Ok(results) => {
                self.held_off.open(sale_id);
                return results.map(Some).ok_or(Outcome::Retry(ANSWER_INVALID));
            }
            Err(failure) => failure,
        };
        let reason = failure.reason();
        if reason == Reason::SaleNotOpen {
            self.held_off.open(sale_id);
            return Ok(None);
        }
        match reason.retry() {
            Retry::SameAfter(_) => {
                let pause = self.held_off.closed(sale_id, Instant::now());
                tracing::warn!(
                    %sale_id,
                    reason = reason.as_str(),
                    pause_ms = pause.as_millis() as u64,
                    "a sale's holds cannot be closed at the moment"
                );
                Err(Outcome::HeldOff(reason.as_str(), pause))
            }
            Retry::Never => Err(Outcome::Retry(reason.as_str())),
        }
    }

    fn outcome(&self, row: &Leased, result: Option<SettleResult>) -> Outcome {
        match result {
            // A hold that the current epoch does not know has no units in it.
            Some(SettleResult::Done | SettleResult::Already | SettleResult::Unknown) => {
                Outcome::Done
            }
            Some(SettleResult::Conflict) => {
                self.metrics.hold_conflict();
                tracing::error!(
                    order_id = %row.order_id,
                    outcome = row.about,
                    "the hold stands in a state that excludes its order's end"
                );
                Outcome::Retry("HOLD_CONFLICT")
            }
            Some(SettleResult::Unspecified) | None => Outcome::Retry(ANSWER_INVALID),
        }
    }
}
