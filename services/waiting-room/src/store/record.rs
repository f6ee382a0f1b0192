//! Rooms in Postgres.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{RoomState, RoomView, Window};

/// The tables `rooms` and `room_ticks`. Clones share the pool.
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
    /// Whether the head depends on inventory and checkout.
    pub(crate) watches_stock: bool,
    /// No number above it was ever handed out.
    pub(crate) reserved_upto: i64,
    pub(crate) head: i64,
    /// How often the room was put in place again. A head or a block of an older era is refused.
    pub(crate) era: i64,
    /// How long all pauses were that are over.
    pub(crate) paused_ms: i64,
    /// Since when the present pause lasts.
    pub(crate) paused_since_ms: Option<i64>,
    /// Rises with every change of state, rate, admission lifetime, window or what it watches.
    pub(crate) version: i64,
}

/// When the head passed a number, and how long the admissions live that this gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) head: i64,
    /// By Redis' clock.
    pub(crate) passed_ms: i64,
    pub(crate) ttl_ms: i64,
    /// How long the room had been paused by then.
    pub(crate) paused_ms: i64,
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
    watches_stock: bool,
    reserved_upto: i64,
    head: i64,
    era: i64,
    paused_ms: i64,
    paused_at: Option<OffsetDateTime>,
    version: i64,
}

impl TryFrom<Row> for RoomRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let state = RoomState::parse(&row.state).ok_or(StoreError::Malformed("rooms.state"))?;
        let paused_at = row.paused_at.filter(|_| state == RoomState::Paused);
        Ok(Self {
            sale_id: row.sale_id,
            state,
            rate: row.rate,
            admission_ms: row.admission_ms,
            window: Window {
                joins_from_ms: row.joins_from.map(millis),
                admits_from_ms: row.admits_from.map(millis),
                admits_until_ms: row.admits_until.map(millis),
            },
            watches_stock: row.watches_stock,
            reserved_upto: row.reserved_upto,
            head: row.head,
            era: row.era,
            paused_ms: row.paused_ms,
            paused_since_ms: paused_at.map(millis),
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

    /// Creates a room, closed, or changes its settings. `None` keeps what it watches.
    pub(crate) async fn configure(
        &self,
        sale_id: Uuid,
        rate: f64,
        admission_ms: i64,
        window: Window,
        watches_stock: Option<bool>,
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
            admits_until,
            watches_stock
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
    /// `None` if another instance has reserved them first, or the era is over.
    pub(crate) async fn reserve(
        &self,
        sale_id: Uuid,
        era: i64,
        seen: i64,
        block: i64,
    ) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_file_scalar!("sql/reserve.sql", sale_id, era, seen, block)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Begins an era of the room on `server`, with a block of numbers above those of `seen`, and
    /// returns the row as it is then; `None` if another instance was first, or the room is another
    /// server's, which is in use.
    pub(crate) async fn begin_era(
        &self,
        seen: &RoomRow,
        block: i64,
        server: &str,
    ) -> Result<Option<RoomRow>, StoreError> {
        sqlx::query_file_as!(
            Row,
            "sql/begin_era.sql",
            seen.sale_id,
            seen.era,
            seen.reserved_upto,
            block,
            server
        )
        .fetch_optional(&self.pool)
        .await?
        .map(RoomRow::try_from)
        .transpose()
    }

    /// Raises the head to what was planned, never lowers it, and returns its present value; `None`
    /// if the room's era is over, or the room is gone.
    pub(crate) async fn raise_head(
        &self,
        sale_id: Uuid,
        planned: &RoomView,
    ) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_file_scalar!(
            "sql/raise_head.sql",
            sale_id,
            planned.era,
            planned.planned,
            planned.now_ms,
            planned.admission_ms,
            planned.paused_ms
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// The latest ticks on record, at most `limit`, oldest first.
    pub(crate) async fn ticks(&self, sale_id: Uuid, limit: i64) -> Result<Vec<Tick>, StoreError> {
        Ok(sqlx::query_file_as!(Tick, "sql/ticks.sql", sale_id, limit)
            .fetch_all(&self.pool)
            .await?)
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
