//! The record of orders in Postgres, which checkout only reads.

use std::collections::{HashMap, HashSet};

use flashsale_errors::Failure;
use flashsale_queue::OrderMessage;
use flashsale_service::page::Place;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{
    Line, Order, OrderFilter, OrderState, PaymentAction, PaymentActionKind, Recorded,
};

/// Why the record has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Postgres does not answer, or refuses the statement.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// A row that violates the rules of the record.
    #[error("{0}")]
    Corrupt(String),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Postgres(cause) => flashsale_pg::failure(cause),
            ReadError::Corrupt(what) => Failure::internal(what),
        }
    }
}

/// How far the claims have come in the queue's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimPosition {
    /// When the stream was created that `seq` refers to, in whole microseconds.
    pub stream_created: OffsetDateTime,
    /// The last claimed sequence.
    pub seq: u64,
}

impl ClaimPosition {
    /// Whether the position refers to the stream created at `created`. NATS keeps nanoseconds,
    /// Postgres microseconds.
    pub fn counts_in(&self, created: OffsetDateTime) -> bool {
        let micros = |time: OffsetDateTime| time.unix_timestamp_nanos().div_euclid(1_000);
        micros(self.stream_created) == micros(created)
    }
}

/// The record. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Record {
    pool: PgPool,
}

struct Row {
    order_id: Uuid,
    sale_id: Uuid,
    buyer_id: String,
    hold_id: Uuid,
    state: String,
    currency: String,
    total_minor: i64,
    refunded_minor: i64,
    placed_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    cancel_requested_at: Option<OffsetDateTime>,
    end_reason: Option<String>,
    action: Option<String>,
    client_secret: Option<String>,
    redirect_url: Option<String>,
    turn_until: Option<OffsetDateTime>,
    decline_code: Option<String>,
    skus: Vec<String>,
    quantities: Vec<i64>,
    prices: Vec<i64>,
    revisions: Vec<i64>,
}

impl Row {
    fn into_order(self) -> Result<Order, ReadError> {
        let state = self.state.parse::<Recorded>().map_err(|unknown| {
            ReadError::Corrupt(format!("the record of order {}: {unknown}", self.order_id))
        })?;
        let action = self.action.as_deref().map(str::parse::<PaymentActionKind>).transpose();
        let action = action.map_err(|unknown| {
            ReadError::Corrupt(format!("the payment of order {}: {unknown}", self.order_id))
        })?;
        let payment_action = match (action, self.client_secret) {
            (Some(kind), Some(client_secret)) => Some(PaymentAction {
                kind,
                client_secret,
                redirect_url: self.redirect_url,
                until: self.turn_until,
                decline_code: match kind {
                    PaymentActionKind::NewMethod => self.decline_code,
                    PaymentActionKind::Authenticate => None,
                },
            }),
            _ => None,
        };
        let lines = self
            .skus
            .into_iter()
            .zip(self.quantities)
            .zip(self.prices)
            .zip(self.revisions)
            .map(|(((sku, quantity), unit_price_minor), price_revision)| Line {
                sku,
                quantity,
                unit_price_minor,
                price_revision,
            })
            .collect();
        Ok(Order {
            order_id: self.order_id,
            sale_id: self.sale_id,
            buyer_id: self.buyer_id,
            hold_id: self.hold_id,
            state: OrderState::Recorded(state),
            lines,
            currency: self.currency,
            total_minor: self.total_minor,
            refunded_minor: self.refunded_minor,
            placed_at: self.placed_at,
            updated_at: self.updated_at,
            cancel_requested: self.cancel_requested_at.is_some(),
            end_reason: self.end_reason,
            payment_action,
        })
    }
}

/// How the claims have treated placed orders. An order in none of the sets is unknown to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Recorded orders, each with the hold that has its units.
    pub recorded: HashMap<Uuid, Uuid>,
    /// Dead letters that no operator has resolved or retried yet. They may be in the record too.
    pub dead_letters: HashSet<Uuid>,
    /// Parked orders: their units have to be taken again after a rebuild.
    pub parked: HashSet<Uuid>,
    /// Dead letters that an operator wants published again, with the id of the dead letter.
    pub retries: HashMap<Uuid, i64>,
}

impl Record {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Those of these orders that are recorded, in no particular order.
    ///
    /// # Errors
    /// Postgres does not answer, or a row is corrupt.
    pub async fn orders(&self, ids: &[Uuid]) -> Result<Vec<Order>, ReadError> {
        let rows =
            sqlx::query_file_as!(Row, "sql/orders_by_id.sql", ids).fetch_all(&self.pool).await?;
        rows.into_iter().map(Row::into_order).collect()
    }

    /// An order, if it is recorded.
    ///
    /// # Errors
    /// Postgres does not answer, or a row is corrupt.
    pub async fn order(&self, id: Uuid) -> Result<Option<Order>, ReadError> {
        Ok(self.orders(&[id]).await?.pop())
    }

    /// When these orders, or what their buyers have to do, were last changed, for those that are
    /// recorded.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn updated(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, OffsetDateTime)>, ReadError> {
        let rows = sqlx::query_file!("sql/updated.sql", ids).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.order_id, row.updated_at)).collect())
    }

    /// At most `limit` orders after `after`, newest first.
    ///
    /// # Errors
    /// Postgres does not answer, or a row is corrupt.
    pub async fn list(
        &self,
        filter: &OrderFilter,
        after: Option<Place>,
        limit: i64,
    ) -> Result<Vec<Order>, ReadError> {
        let rows = sqlx::query_file_as!(
            Row,
            "sql/list_orders.sql",
            filter.sale_id,
            filter.buyer_id.as_deref(),
            filter.state.map(Recorded::as_str),
            after.map(|last| last.at),
            after.map(|last| last.id),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::into_order).collect()
    }

    /// At most `limit` orders that changed after `after`, the oldest change first. It ends before
    /// the oldest change that is not committed yet: what is listed later is younger than anything
    /// listed before.
    ///
    /// # Errors
    /// Postgres does not answer, or a row is corrupt.
    pub async fn list_changed(
        &self,
        filter: &OrderFilter,
        after: Place,
        limit: i64,
    ) -> Result<Vec<Order>, ReadError> {
        let before = sqlx::query_file_scalar!("sql/changes_complete_before.sql")
            .fetch_one(&self.pool)
            .await?;
        // A statement of its own, so that it sees what was committed before those locks were read.
        let rows = sqlx::query_file_as!(
            Row,
            "sql/list_changed_orders.sql",
            filter.sale_id,
            filter.buyer_id.as_deref(),
            filter.state.map(Recorded::as_str),
            after.at,
            after.id,
            before,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::into_order).collect()
    }

    /// How the claims have treated these orders.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn claims(&self, ids: &[Uuid]) -> Result<Claims, ReadError> {
        let rows = sqlx::query_file!("sql/recorded.sql", ids).fetch_all(&self.pool).await?;
        let mut claims = Claims::default();
        for row in rows {
            match (row.hold_id, row.retry) {
                (Some(hold_id), _) => {
                    claims.recorded.insert(row.order_id, hold_id);
                }
                (None, Some(dead_letter)) => {
                    claims.retries.insert(row.order_id, dead_letter);
                }
                (None, None) if row.parked => {
                    claims.parked.insert(row.order_id);
                }
                (None, None) => {
                    claims.dead_letters.insert(row.order_id);
                }
            }
        }
        Ok(claims)
    }

    /// The message of a parked order.
    ///
    /// # Errors
    /// Postgres does not answer, or the message cannot be read.
    pub async fn parked(&self, order_id: Uuid) -> Result<Option<OrderMessage>, ReadError> {
        let message =
            sqlx::query_file_scalar!("sql/parked.sql", order_id).fetch_optional(&self.pool).await?;
        message.map(serde_json::from_value).transpose().map_err(|error| {
            ReadError::Corrupt(format!("the parked order {order_id} cannot be read: {error}"))
        })
    }

    /// Sales with `max` parked orders or more, and their numbers.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn parked_full(&self, max: u32) -> Result<HashMap<Uuid, i64>, ReadError> {
        let rows =
            sqlx::query_file!("sql/parked_full.sql", i64::from(max)).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.parked)).collect())
    }

    /// Whether a sale's stock was ever rebuilt, so that holds of it may be lost.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn rebuilt(&self, sale_id: Uuid) -> Result<bool, ReadError> {
        Ok(sqlx::query_file_scalar!("sql/rebuilt.sql", sale_id).fetch_one(&self.pool).await?)
    }

    /// The position of the claims in a stream; `None` before the first claim.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn claim_position(&self, stream: &str) -> Result<Option<ClaimPosition>, ReadError> {
        let row = sqlx::query_file!("sql/floor.sql", stream).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| ClaimPosition {
            stream_created: row.stream_created,
            seq: u64::try_from(row.seq).unwrap_or(0),
        }))
    }

    /// The sales that may have placed holds.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn sales_to_relay(&self) -> Result<Vec<Uuid>, ReadError> {
        Ok(sqlx::query_file_scalar!("sql/sales_to_relay.sql").fetch_all(&self.pool).await?)
    }
}
