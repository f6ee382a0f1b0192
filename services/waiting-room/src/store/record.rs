//! Rooms in Postgres.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{RoomState, Window};

/// The table `rooms`. Clones share the pool.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pool: PgPool,
}

/// A row of `rooms`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoomRow {
    pub(crate) sale_id: Uuid,
    pub(crate) state: RoomState,
    pub(crate) rate: f64,
    pub(crate) admission_ms: i64,
    pub(crate) window: Window,
    /// No number above it was ever handed out.
    pub(crate) reserved_upto: i64,
    pub(crate) head: i64,
    /// Rises with every change of state, rate, admission lifetime or window.
    pub(crate) version: i64,
}

/// A row as the queries return it.
struct Row {
    sale_id: Uuid,
    state: String,
    rate: f64,
    admission_ms: i64,
    joins_from: Option<OffsetDateTime>,
    admits_from: Option<OffsetDateTime>,
    admits_until: Option<OffsetDateTime>,
    reserved_upto: i64,
    head: i64,
    version: i64,
}

impl TryFrom<Row> for RoomRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            sale_id: row.sale_id,
            state: RoomState::parse(&row.state).ok_or(StoreError::Malformed("rooms.state"))?,
            rate: row.rate,
            admission_ms: row.admission_ms,
            window: Window {
                joins_from_ms: row.joins_from.map(millis),
                admits_from_ms: row.admits_from.map(millis),
                admits_until_ms: row.admits_until.map(millis),
            },
            reserved_upto: row.reserved_upto,
            head: row.head,
            version: row.version,
        })
    }
}

impl Record {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub(crate) async fn room(&self, sale_id: Uuid) -> Result<RoomRow, StoreError> {
        sqlx::query_file_as!(Row, "sql/room.sql", sale_id)
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::NotFound(sale_id))?
            .try_into()
    }

    /// The rooms to tick: those that are not closed, and those closed within the last hour, latest
    /// change first.
    pub(crate) async fn rooms_to_tick(&self, limit: i64) -> Result<Vec<RoomRow>, StoreError> {
        let rows =
            sqlx::query_file_as!(Row, "sql/rooms_to_tick.sql", limit).fetch_all(&self.pool).await?;
        rows.into_iter().map(RoomRow::try_from).collect()
    }

    /// Creates a room, closed, or changes its settings.
    pub(crate) async fn configure(
        &self,
        sale_id: Uuid,
        rate: f64,
        admission_ms: i64,
        window: Window,
    ) -> Result<RoomRow, StoreError> {
        let joins_from = instant(window.joins_from_ms)?;
        let admits_from = instant(window.admits_from_ms)?;
        let admits_until = instant(window.admits_until_ms)?;
        sqlx::query_file_as!(
            Row,
            "sql/configure.sql",
            sale_id,
            rate,
            admission_ms,
            joins_from,
            admits_from,
            admits_until
        )
        .fetch_one(&self.pool)
        .await?
        .try_into()
    }

    pub(crate) async fn set_state(
        &self,
        sale_id: Uuid,
        state: RoomState,
    ) -> Result<RoomRow, StoreError> {
        sqlx::query_file_as!(Row, "sql/set_state.sql", sale_id, state.as_str())
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::NotFound(sale_id))?
            .try_into()
    }

    pub(crate) async fn set_rate(&self, sale_id: Uuid, rate: f64) -> Result<RoomRow, StoreError> {
        sqlx::query_file_as!(Row, "sql/set_rate.sql", sale_id, rate)
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::NotFound(sale_id))?
            .try_into()
    }

    /// Reserves the `block` numbers above `seen` for the caller and returns the last of them;
    /// `None` if another instance has reserved them first.
    pub(crate) async fn reserve(
        &self,
        sale_id: Uuid,
        seen: i64,
        block: i64,
    ) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_file_scalar!("sql/reserve.sql", sale_id, seen, block)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Raises the head, never lowers it, and returns its present value.
    pub(crate) async fn raise_head(&self, sale_id: Uuid, head: i64) -> Result<i64, StoreError> {
        sqlx::query_file_scalar!("sql/raise_head.sql", sale_id, head)
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::NotFound(sale_id))
    }
}

fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

fn instant(ms: Option<i64>) -> Result<Option<OffsetDateTime>, StoreError> {
    ms.map(|ms| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000))
        .transpose()
        .map_err(|_| StoreError::Malformed("a time of a window"))
}
