//! Tells inventory what became of holds.

use std::collections::{BTreeMap, HashMap};

use flashsale_errors::{Failure, Reason, Retry};
use flashsale_failpoint::Step as _;
use flashsale_proto::inventory::{
    HoldOutcome, HoldSettlement, SettleHoldsRequest, SettleResult,
    inventory_admin_service_client::InventoryAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;
use sqlx::PgPool;
use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;

use super::{ANSWER_INVALID, CALLS, Carrier, HeldOff, Outcome, STORE_UNAVAILABLE, each, span_of};
use crate::{
    domain::{HOLD_RELEASED, HOLD_SOLD, Kind},
    metrics::Metrics,
    store::outbox::Leased,
};

/// Calls `InventoryAdminService.SettleHolds`, one call per sale. A sale whose stock is closed is
/// held off, so that its rows do not fill the batches in which other sales' holds are closed.
#[derive(Debug)]
pub struct CloseHold {
    /// The record.
    pub pool: PgPool,
    /// The inventory service.
    pub inventory: PeerChannel,
    /// Sales that are closed.
    pub held_off: HeldOff,
    /// What to count.
    pub metrics: Metrics,
}

impl Carrier for CloseHold {
    const KIND: Kind = Kind::CloseHold;

    fn held_off(&self) -> Vec<Uuid> {
        self.held_off.sales(Instant::now())
    }

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let Ok(holds) = self.holds(rows).await else {
            return vec![Outcome::Again(STORE_UNAVAILABLE); rows.len()];
        };
        // Held to the end: the calls are the batch's, which these are linked with.
        let _spans: Vec<Span> = rows.iter().map(|row| span_of(Kind::CloseHold, row)).collect();
        let mut outcomes = vec![Outcome::Again("ORDER_MISSING"); rows.len()];
        let mut by_sale: BTreeMap<Uuid, Vec<(usize, HoldSettlement)>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let outcome = match row.about.as_str() {
                HOLD_SOLD => HoldOutcome::Sold,
                HOLD_RELEASED => HoldOutcome::Released,
                _ => {
                    outcomes[at] = Outcome::Again("OUTCOME_UNKNOWN");
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
        // Side by side: a sale that takes the whole of a call's time keeps only its own place.
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
    async fn holds(&self, rows: &[Leased]) -> Result<HashMap<Uuid, (Uuid, Uuid)>, sqlx::Error> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        let orders = sqlx::query_file!("sql/orders_for_holds.sql", &ids)
            .fetch_all(&self.pool)
            .step("sql/orders_for_holds")
            .await?;
        Ok(orders
            .into_iter()
            .map(|order| (order.order_id, (order.sale_id, order.hold_id)))
            .collect())
    }

    /// Closes holds of one sale; `None` if its stock is gone for good, so that nothing is left to
    /// close.
    async fn close(
        &self,
        sale_id: Uuid,
        settlements: Vec<HoldSettlement>,
    ) -> Result<Option<Vec<SettleResult>>, Outcome> {
        let failure = match self.settle(sale_id, settlements).await {
            Ok(results) => {
                self.held_off.open(sale_id);
                return results.map(Some).ok_or(Outcome::Again(ANSWER_INVALID));
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
            Retry::Never => Err(Outcome::Again(reason.as_str())),
        }
    }

    /// Asks inventory; `None` if the answer does not fit the question.
    async fn settle(
        &self,
        sale_id: Uuid,
        settlements: Vec<HoldSettlement>,
    ) -> Result<Option<Vec<SettleResult>>, Failure> {
        let request = SettleHoldsRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.to_string(),
            settlements,
        };
        let asked = request.settlements.len();
        let answer = InventoryAdminServiceClient::new(self.inventory.clone())
            .settle_holds(request)
            .step("inventory/settle")
            .await
            .map_err(|status| Failure::from_peer("inventory", &status))?
            .into_inner();
        Ok((answer.results.len() == asked).then(|| answer.results().collect()))
    }

    fn outcome(&self, row: &Leased, result: Option<SettleResult>) -> Outcome {
        match result {
            // A hold the current epoch does not know has no units there that could be closed.
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
                Outcome::Again("HOLD_CONFLICT")
            }
            Some(SettleResult::Unspecified) | None => Outcome::Again(ANSWER_INVALID),
        }
    }
}
