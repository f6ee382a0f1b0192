//! The journal of adjustments in Postgres, and the changes of `allotted` in one transaction with
//! it.
//!
//! Rows are locked in the order `sale_stock`, `allotments`, `stock_adjustments`.

use flashsale_pg::{SteppedPool, statement};
use flashsale_service::page::Place;
use sqlx::{PgConnection, PgPool, query_file, query_file_as, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::postgres::away;
use crate::{
    domain::{
        Adjusted, Adjustment, AdjustmentRequest, AdjustmentState, Delta, MAX_TOTAL_MINOR, Refusal,
    },
    steps,
};

#[derive(Debug, Clone)]
pub struct Adjustments {
    pool: SteppedPool,
}

struct Row {
    request_id: Uuid,
    sale_id: Uuid,
    sku: String,
    delta: i64,
    reason: String,
    state: String,
    raised_epoch: Option<i64>,
    allotted_before: Option<i64>,
    allotted_after: Option<i64>,
    available: Option<i64>,
    attempts: i32,
    created_at: OffsetDateTime,
    ended_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Adjustment {
    type Error = Refusal;

    fn try_from(row: Row) -> Result<Self, Refusal> {
        let unreadable = |what: &str| Refusal::Fault {
            cause: format!("the adjustment {} cannot be read: its {what}", row.request_id),
        };
        let state = match (row.state.as_str(), row.available) {
            ("STARTED", None) => AdjustmentState::Started,
            ("DONE", None) => AdjustmentState::Done,
            ("REFUSED", Some(available)) => AdjustmentState::Refused { available },
            _ => return Err(unreadable("state")),
        };
        Ok(Self {
            request: AdjustmentRequest {
                request_id: row.request_id,
                sale_id: row.sale_id,
                sku: row.sku,
                delta: Delta::new(row.delta).ok_or_else(|| unreadable("delta"))?,
                reason: row.reason,
            },
            state,
            raised_epoch: row.raised_epoch,
            allotted: row.allotted_before.zip(row.allotted_after),
            attempts: row.attempts,
            created_at: row.created_at,
            ended_at: row.ended_at,
        })
    }
}

/// The usable epoch, which cannot end before the transaction does.
async fn open_epoch(transaction: &mut PgConnection, sale_id: Uuid) -> Result<Option<i64>, Refusal> {
    let row = query_file!("sql/share_stock.sql", sale_id)
        .fetch_optional(transaction)
        .await
        .map_err(away)?;
    Ok(row.filter(|row| !row.run_id.is_empty()).map(|row| row.epoch))
}

/// The units allotted, with the row locked.
async fn allotted(
    transaction: &mut PgConnection,
    request: &AdjustmentRequest,
) -> Result<i64, Refusal> {
    query_file_scalar!("sql/lock_allotment.sql", request.sale_id, request.sku)
        .fetch_optional(transaction)
        .await
        .map_err(away)?
        .ok_or_else(|| Refusal::SkuUnknown { sku: request.sku.clone() })
}

async fn change_allotted(
    transaction: &mut PgConnection,
    request: &AdjustmentRequest,
) -> Result<(), Refusal> {
    query_file!("sql/change_allotment.sql", request.sale_id, request.sku, request.delta.units())
        .execute(transaction)
        .await
        .map_err(away)?;
    Ok(())
}

impl Adjustments {
    pub fn new(pool: PgPool) -> Self {
        Self { pool: SteppedPool::new(pool) }
    }

    /// The adjustment that a request id was used for.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn find(&self, request_id: Uuid) -> Result<Option<Adjustment>, Refusal> {
        let row = statement!(
            steps::SQL_ADJUSTMENT_FIND,
            query_file_as!(Row, "sql/adjustment_find.sql", request_id)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(away)?;
        row.map(Adjustment::try_from).transpose()
    }

    /// Starts an adjustment: writes the journal entry, and in the same transaction raises the
    /// allotment if units are added. `None` when the request id is in use.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when no epoch may be used now; [`Refusal::SkuUnknown`];
    /// [`Refusal::AllotmentTooHigh`]; [`Refusal::StoreAway`] while Postgres cannot be reached,
    /// [`Refusal::Fault`] for any other error of it. Nothing is left behind, unless the reply to
    /// the commit was lost.
    pub async fn begin(&self, request: &AdjustmentRequest) -> Result<Option<Adjustment>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        let epoch = open_epoch(&mut transaction, request.sale_id).await?.ok_or(Refusal::Fenced)?;
        let before = allotted(&mut transaction, request).await?;
        let delta = request.delta.units();
        let after = before.saturating_add(delta);
        if after > MAX_TOTAL_MINOR {
            return Err(Refusal::AllotmentTooHigh);
        }
        let raise = !request.delta.withdraws();
        let row = query_file_as!(
            Row,
            "sql/adjustment_begin.sql",
            request.request_id,
            request.sale_id,
            request.sku,
            delta,
            request.reason,
            raise.then_some(epoch),
            raise.then_some(before),
            raise.then_some(after),
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(away)?;
        let Some(row) = row else { return Ok(None) };
        if raise {
            change_allotted(&mut transaction, request).await?;
        }
        transaction.commit(steps::COMMIT_ADJUSTMENT_BEGIN).await.map_err(away)?;
        row.try_into().map(Some)
    }

    /// Takes up an adjustment that has started; `None` when it has ended or does not exist.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn take_up(&self, request_id: Uuid) -> Result<Option<Adjustment>, Refusal> {
        let row = statement!(
            steps::SQL_ADJUSTMENT_TAKE_UP,
            query_file_as!(Row, "sql/adjustment_take_up.sql", request_id)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(away)?;
        row.map(Adjustment::try_from).transpose()
    }

    /// Takes up at most `limit` adjustments that were not touched for `idle_ms`. No two callers get
    /// the same one.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn take_stalled(&self, idle_ms: i64, limit: i64) -> Result<Vec<Adjustment>, Refusal> {
        let rows = statement!(
            steps::SQL_ADJUSTMENTS_STALLED,
            query_file_as!(Row, "sql/adjustments_stalled.sql", idle_ms, limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)?;
        rows.into_iter().map(Adjustment::try_from).collect()
    }

    /// Ends an addition whose units are in the stock.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn end_addition(&self, request_id: Uuid) -> Result<Adjustment, Refusal> {
        let row = statement!(
            steps::SQL_ADJUSTMENT_DONE,
            query_file_as!(Row, "sql/adjustment_done.sql", request_id, None::<i64>, None::<i64>)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(away)?;
        match row {
            Some(row) => row.try_into(),
            None => self.ended(request_id).await,
        }
    }

    /// Ends a withdrawal according to the answer of the stock of `epoch`: lowers the allotment, or
    /// records the refusal. `None` when that epoch is over or ending, so that the answer is void.
    ///
    /// # Errors
    /// [`Refusal::Fault`] when the record has claimed units that were free in the stock;
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn end_withdrawal(
        &self,
        request: &AdjustmentRequest,
        epoch: i64,
        adjusted: Adjusted,
    ) -> Result<Option<Adjustment>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        if open_epoch(&mut transaction, request.sale_id).await? != Some(epoch) {
            return Ok(None);
        }
        let before = allotted(&mut transaction, request).await?;
        let row = match adjusted {
            Adjusted::Applied => {
                let after = before.saturating_add(request.delta.units());
                query_file_as!(Row, "sql/adjustment_done.sql", request.request_id, before, after)
                    .fetch_optional(&mut *transaction)
                    .await
            }
            Adjusted::Committed { available } => {
                query_file_as!(Row, "sql/adjustment_refused.sql", request.request_id, available)
                    .fetch_optional(&mut *transaction)
                    .await
            }
        };
        let Some(row) = row.map_err(away)? else {
            transaction.rollback().await.map_err(away)?;
            return self.ended(request.request_id).await.map(Some);
        };
        if adjusted == Adjusted::Applied {
            change_allotted(&mut transaction, request).await?;
        }
        transaction.commit(steps::COMMIT_ADJUSTMENT_END).await.map_err(away)?;
        row.try_into().map(Some)
    }

    /// Removes a withdrawal that had no effect, unless another caller has taken it up since.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn forget(&self, request_id: Uuid) -> Result<(), Refusal> {
        statement!(
            steps::SQL_ADJUSTMENT_FORGET,
            query_file!("sql/adjustment_forget.sql", request_id)
        )
        .execute(&self.pool)
        .await
        .map_err(away)?;
        Ok(())
    }

    /// A sale's adjustments after `after`, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn list(
        &self,
        sale_id: Uuid,
        after: Option<Place>,
        limit: i64,
    ) -> Result<Vec<Adjustment>, Refusal> {
        let rows = statement!(
            steps::SQL_ADJUSTMENTS_LIST,
            query_file_as!(
                Row,
                "sql/adjustments_list.sql",
                sale_id,
                after.map(|last| last.at),
                after.map(|last| last.id),
                limit,
            )
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)?;
        rows.into_iter().map(Adjustment::try_from).collect()
    }

    /// The state that another caller has brought the adjustment to.
    async fn ended(&self, request_id: Uuid) -> Result<Adjustment, Refusal> {
        let gone = || Refusal::Fault { cause: format!("the adjustment {request_id} is gone") };
        self.find(request_id).await?.ok_or_else(gone)
    }
}
