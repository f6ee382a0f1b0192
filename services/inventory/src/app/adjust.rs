//! Adding units to a loaded sale, and withdrawing free units: in both stores, one step after the
//! other.
//!
//! An addition raises the allotment first and then the stock, a withdrawal lowers the stock first
//! and then the allotment, so that there are never more units on sale than allotted. Each step
//! takes effect once, however often it is tried: the stock remembers the request as long as its
//! epoch lasts, the record changes the allotment together with the journal.
//! `docs/decisions/2026-11-25-adjusting-stock.md` lists every point at which an adjustment can be
//! cut off, and what follows.

use std::time::Duration;

use flashsale_service::page::{self, Place};
use uuid::Uuid;

use super::Inventory;
use crate::domain::{Adjusted, Adjustment, AdjustmentRequest, AdjustmentState, Refusal, SkuBooks};

/// How many adjustments one pass takes up.
const BATCH: i64 = 20;
/// How often the sale's epoch may change under an adjustment before it is left to the next attempt.
const MAX_ROUNDS: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub adjustment: Adjustment,
    /// The books of its sku as they are now; `None` if the sku is gone.
    pub books: Option<SkuBooks>,
    /// ISO 4217 code of its price.
    pub currency: String,
    /// Whether the sale's prices are what a unit costs now.
    pub at_sale_prices: bool,
}

/// The answer to the caller of an adjustment that has ended.
fn outcome(adjustment: Adjustment) -> Result<Adjustment, Refusal> {
    match adjustment.state {
        AdjustmentState::Done => Ok(adjustment),
        AdjustmentState::Refused { available } => Err(Refusal::UnitsCommitted {
            available,
            requested: adjustment.request.delta.units().saturating_neg(),
            sku: adjustment.request.sku,
        }),
        AdjustmentState::Started => {
            Err(Refusal::Fault { cause: "an adjustment has ended without an end".to_owned() })
        }
    }
}

impl Inventory {
    /// Adds or withdraws units. A repeated request gets the same answer.
    ///
    /// # Errors
    /// [`Refusal::RequestReused`]; [`Refusal::UnitsCommitted`]; [`Refusal::AllotmentTooHigh`];
    /// [`Refusal::SkuUnknown`]; [`Refusal::Fenced`] while the stock is closed; or a store's
    /// failure. Unless the request was refused for good, the background task may still carry it
    /// through, and a retry is safe.
    pub async fn adjust(&self, request: &AdjustmentRequest) -> Result<Done, Refusal> {
        let adjustment = self.counted(self.adjust_once(request).await)?;
        self.changes().freed(request.sale_id);
        let skus = [request.sku.clone()];
        let view = self.read(request.sale_id, &skus).await?;
        let at_sale_prices = view.at_sale_prices();
        let (books, currency) = (view.skus.into_iter().next(), view.terms.currency);
        Ok(Done { adjustment, books, currency, at_sale_prices })
    }

    async fn adjust_once(&self, request: &AdjustmentRequest) -> Result<Adjustment, Refusal> {
        for _ in 0..MAX_ROUNDS {
            if let Some(known) = self.adjustments.find(request.request_id).await? {
                if known.request != *request {
                    return Err(Refusal::RequestReused);
                }
                if known.state != AdjustmentState::Started {
                    return outcome(known);
                }
                match self.adjustments.take_up(request.request_id).await? {
                    Some(adjustment) => return outcome(self.carry_through(&adjustment).await?),
                    None => continue,
                }
            }
            // No journal entry is made for a stock that is closed, or for a sku that it does not
            // have.
            let skus = std::slice::from_ref(&request.sku);
            self.at_epoch(request.sale_id, |epoch| self.stock.read(request.sale_id, skus, epoch))
                .await?;
            if let Some(adjustment) = self.adjustments.begin(request).await? {
                let ended = self.carry_through(&adjustment).await?;
                tracing::info!(
                    sale_id = %request.sale_id, sku = request.sku, delta = request.delta.units(), state = ?ended.state, "stock adjusted"
                );
                return outcome(ended);
            }
        }
        Err(Refusal::Fenced)
    }

    /// Brings a started adjustment to its end, wherever it was cut off.
    async fn carry_through(&self, adjustment: &Adjustment) -> Result<Adjustment, Refusal> {
        match adjustment.raised_epoch {
            Some(epoch) => self.add(&adjustment.request, epoch).await,
            None => self.withdraw(adjustment).await,
        }
    }

    /// The allotment was raised in `epoch`, so the stock of that epoch has to be told; the stock of
    /// any later epoch was computed from the raised allotment.
    async fn add(&self, request: &AdjustmentRequest, epoch: i64) -> Result<Adjustment, Refusal> {
        match self.stock.adjust(request, epoch).await {
            Ok(Adjusted::Applied) => {}
            Ok(Adjusted::Committed { .. }) => {
                return Err(Refusal::Fault { cause: "an addition was refused".to_owned() });
            }
            Err(Refusal::Fenced) => {
                let known = self.record.lookup(request.sale_id).await?;
                if !matches!(known.epoch, Some((now, true)) if now > epoch) {
                    return Err(Refusal::Fenced);
                }
            }
            Err(refusal) => return Err(refusal),
        }
        self.adjustments.end_addition(request.request_id).await
    }

    /// The stock's answer is valid only in its epoch: a later one has no trace of it and is asked
    /// again.
    async fn withdraw(&self, adjustment: &Adjustment) -> Result<Adjustment, Refusal> {
        let request = &adjustment.request;
        for round in 0..MAX_ROUNDS {
            let answer = self
                .at_epoch(request.sale_id, |epoch| async move {
                    Ok((epoch, self.stock.adjust(request, epoch).await?))
                })
                .await;
            let (epoch, adjusted) = match answer {
                Ok(answer) => answer,
                Err(refusal @ (Refusal::Fenced | Refusal::TooLate)) if round == 0 => {
                    if adjustment.attempts == 1 {
                        self.adjustments.forget(request.request_id).await?;
                    }
                    return Err(refusal);
                }
                Err(refusal) => return Err(refusal),
            };
            if let Some(ended) = self.adjustments.end_withdrawal(request, epoch, adjusted).await? {
                return Ok(ended);
            }
        }
        Err(Refusal::Fenced)
    }

    /// Carries through adjustments that were cut off and not touched for `idle`; returns how many
    /// ended and how many did not.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn finish_adjustments(&self, idle: Duration) -> Result<(usize, usize), Refusal> {
        let idle_ms = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        let (mut ended, mut left) = (0, 0);
        for adjustment in self.adjustments.take_stalled(idle_ms, BATCH).await? {
            let (request_id, sale_id) = (adjustment.request.request_id, adjustment.request.sale_id);
            match self.carry_through(&adjustment).await {
                Ok(adjustment) => {
                    ended += 1;
                    tracing::info!(%request_id, %sale_id, state = ?adjustment.state, "an adjustment that was cut off has ended");
                }
                // Its stock is closed, or a store is away: the code that handles that logs it.
                Err(refusal @ Refusal::Fault { .. }) => {
                    left += 1;
                    tracing::error!(%request_id, %sale_id, ?refusal, "an adjustment cannot be carried through");
                }
                Err(refusal) => {
                    left += 1;
                    tracing::debug!(%request_id, %sale_id, ?refusal, "an adjustment has to wait");
                }
            }
        }
        Ok((ended, left))
    }

    /// A page of at most `size` adjustments of a sale, newest first, and where the next one begins.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::StoreAway`] while Postgres cannot be reached,
    /// [`Refusal::Fault`] for any other error of it.
    pub async fn adjustments(
        &self,
        sale_id: Uuid,
        after: Option<Place>,
        size: usize,
    ) -> Result<(Vec<Adjustment>, Option<Place>), Refusal> {
        let listed = self.counted(
            async {
                self.record.lookup(sale_id).await?;
                self.adjustments.list(sale_id, after, page::one_more(size)).await
            }
            .await,
        )?;
        let last = |last: &Adjustment| Place { at: last.created_at, id: last.request.request_id };
        Ok(page::cut(listed, size, last))
    }
}
