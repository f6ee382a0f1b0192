//! What checkout reads of the record. It writes nothing there.

use std::collections::{HashMap, HashSet};

use flashsale_errors::Failure;
use flashsale_queue::OrderMessage;
use flashsale_service::page::Place;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Line, Order, OrderState};

/// The record does not answer, or holds what it should not.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Postgres does not answer.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// A row that cannot be.
    #[error("{0}")]
    Corrupt(String),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Postgres(cause) => Failure::store("postgres", cause),
            ReadError::Corrupt(what) => Failure::internal(what),
        }
    }
}

/// How far the claims have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimPosition {
    /// When the stream was made that the position counts in, to the microsecond.
    pub stream_created: OffsetDateTime,
    /// The last sequence claimed.
    pub seq: u64,
}

impl ClaimPosition {
    /// Whether the position counts in the stream that was made at `created`. NATS keeps nanoseconds, Postgres microseconds.
    pub fn counts_in(&self, created: OffsetDateTime) -> bool {
        let micros = |time: OffsetDateTime| time.unix_timestamp_nanos().div_euclid(1_000);
        micros(self.stream_created) == micros(created)
    }
}

/// Reads the record.
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
    placed_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    cancel_requested_at: Option<OffsetDateTime>,
    end_reason: Option<String>,
    skus: Vec<String>,
    quantities: Vec<i64>,
    prices: Vec<i64>,
}

impl Row {
    fn into_order(self) -> Result<Order, ReadError> {
        let state: OrderState =
            self.state.parse().map_err(|unknown| ReadError::Corrupt(format!("{unknown}")))?;
        let lines = self
            .skus
            .into_iter()
            .zip(self.quantities)
            .zip(self.prices)
            .map(|((sku, quantity), unit_price_minor)| Line { sku, quantity, unit_price_minor })
            .collect();
        Ok(Order {
            order_id: self.order_id,
            sale_id: self.sale_id,
            buyer_id: self.buyer_id,
            hold_id: self.hold_id,
            state,
            lines,
            currency: self.currency,
            total_minor: self.total_minor,
            placed_at: self.placed_at,
            updated_at: self.updated_at,
            cancel_requested: self.cancel_requested_at.is_some(),
            end_reason: self.end_reason,
        })
    }
}

/// What became of placed orders in the claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Those in the record, with the hold that has their units.
    pub recorded: HashMap<Uuid, Uuid>,
    /// Those whose message the claims put aside, and about which nobody has decided; they may be in the record all the same.
    pub dead_letters: HashSet<Uuid>,
    /// Those that wait for their units to be taken anew.
    pub parked: HashSet<Uuid>,
    /// Those whose message was put aside and that somebody wants published again, each with the number of its letter.
    pub retries: HashMap<Uuid, i64>,
}

/// What a list of orders is narrowed to.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The sale.
    pub sale_id: Uuid,
    /// Only this buyer's.
    pub buyer_id: Option<String>,
    /// Only those in this state, by its recorded name.
    pub state: Option<&'static str>,
}

impl Record {
    /// Reads through `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// These orders, as far as they are recorded, in no order.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn orders(&self, ids: &[Uuid]) -> Result<Vec<Order>, ReadError> {
        let rows =
            sqlx::query_file_as!(Row, "sql/orders_by_id.sql", ids).fetch_all(&self.pool).await?;
        rows.into_iter().map(Row::into_order).collect()
    }

    /// One order, if it is recorded.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn order(&self, id: Uuid) -> Result<Option<Order>, ReadError> {
        Ok(self.orders(&[id]).await?.pop())
    }

    /// When these orders were last changed, as far as they are recorded.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn updated(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, OffsetDateTime)>, ReadError> {
        let rows = sqlx::query_file!("sql/updated.sql", ids).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.order_id, row.updated_at)).collect())
    }

    /// At most `limit` orders, newest first, from behind `after`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Place>,
        limit: i64,
    ) -> Result<Vec<Order>, ReadError> {
        let rows = sqlx::query_file_as!(
            Row,
            "sql/list_orders.sql",
            filter.sale_id,
            filter.buyer_id.as_deref(),
            filter.state,
            after.map(|last| last.at),
            after.map(|last| last.id),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::into_order).collect()
    }

    /// What became of these orders, as far as the claims have met them.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn claims(&self, ids: &[Uuid]) -> Result<Claims, ReadError> {
        let rows = sqlx::query_file!("sql/recorded.sql", ids).fetch_all(&self.pool).await?;
        let mut claims = Claims::default();
        for row in rows {
            match (row.hold_id, row.retry) {
                (Some(hold_id), _) => {
                    claims.recorded.insert(row.order_id, hold_id);
                }
                (None, Some(letter)) => {
                    claims.retries.insert(row.order_id, letter);
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

    /// The message of an order that waits for its units to be taken anew.
    ///
    /// # Errors
    /// When Postgres does not answer, or the message cannot be read.
    pub async fn parked(&self, order_id: Uuid) -> Result<Option<OrderMessage>, ReadError> {
        let message =
            sqlx::query_file_scalar!("sql/parked.sql", order_id).fetch_optional(&self.pool).await?;
        message.map(serde_json::from_value).transpose().map_err(|error| {
            ReadError::Corrupt(format!("the parked order {order_id} cannot be read: {error}"))
        })
    }

    /// Sales with `max` parked orders or more, and how many these are.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn parked_full(&self, max: u32) -> Result<HashMap<Uuid, i64>, ReadError> {
        let rows =
            sqlx::query_file!("sql/parked_full.sql", i64::from(max)).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.parked)).collect())
    }

    /// Whether a sale's stock was ever computed anew, so that holds of it may be lost.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn rebuilt(&self, sale_id: Uuid) -> Result<bool, ReadError> {
        Ok(sqlx::query_file_scalar!("sql/rebuilt.sql", sale_id).fetch_one(&self.pool).await?)
    }

    /// How far the claims have come in a stream; `None` before the first.
    ///
    /// # Errors
    /// When Postgres does not answer.
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
    /// When Postgres does not answer.
    pub async fn sales_to_relay(&self) -> Result<Vec<Uuid>, ReadError> {
        Ok(sqlx::query_file_scalar!("sql/sales_to_relay.sql").fetch_all(&self.pool).await?)
    }
}
