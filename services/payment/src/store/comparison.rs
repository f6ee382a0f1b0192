//! `provider_comparison`: how far the provider's list of events was read. And what of the payments
//! contradicts the ledger that was written from it.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::query_file;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, ms};
use crate::{domain::STUCK_AFTER, steps};

/// What was read in a window of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowRead {
    /// Events.
    pub events: i64,
    /// Those that had not been sent to us in time.
    pub missed: i64,
}

/// How far the provider's list of events was read.
#[derive(Debug, Clone, Copy)]
pub struct ReadSoFar {
    /// To when.
    pub read_to: OffsetDateTime,
    /// When that was noted.
    pub noted_at: OffsetDateTime,
    /// Events that were read so far.
    pub events: i64,
    /// Those of them that had not been sent to us in time.
    pub missed: i64,
}

/// A payment that contradicts the ledger or its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// How much it is about, in minor units. That of the ledger less that of the payment, where the
    /// two differ.
    pub amount_minor: i64,
    pub currency: String,
    /// When the payment last changed.
    pub updated_at: OffsetDateTime,
}

/// What is wrong with a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Its requests are answered as wrong, or unreadably, again and again.
    Stuck,
    /// The provider could not give money back, or it is not given back without a person.
    RefundFailed,
    /// The ledger says another amount than the payment.
    Ledger,
    /// Its order ended unpaid, and money is kept that no refund is under way for.
    Kept,
    /// Its order is confirmed, and it was not captured.
    Unpaid,
}

impl DifferenceKind {
    /// By the name in the query.
    fn named(name: &str) -> Option<Self> {
        match name {
            "STUCK" => Some(Self::Stuck),
            "REFUND_FAILED" => Some(Self::RefundFailed),
            "LEDGER" => Some(Self::Ledger),
            "KEPT" => Some(Self::Kept),
            "UNPAID" => Some(Self::Unpaid),
            _ => None,
        }
    }
}

/// What was compared.
#[derive(Debug, Clone)]
pub struct Compared {
    /// How many payments.
    pub payments: i64,
    /// The oldest first, at most as many as were asked for.
    pub differences: Vec<Difference>,
}

impl Store {
    /// Takes the reading up for `lease`, unless another instance has it. Returns to when events
    /// were read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease_comparison(&self, lease: Duration) -> sqlx::Result<Option<OffsetDateTime>> {
        let taken = statement!(
            steps::SQL_LEASE_COMPARISON,
            query_file!("sql/lease_comparison.sql", ms(lease))
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|row| row.read_to))
    }

    /// Notes that events were read up to a time, and keeps the reading for `lease`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn advance_comparison(
        &self,
        read_to: OffsetDateTime,
        read: WindowRead,
        lease: Duration,
    ) -> sqlx::Result<()> {
        statement!(
            steps::SQL_ADVANCE_COMPARISON,
            query_file!("sql/advance_comparison.sql", read_to, read.events, read.missed, ms(lease))
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes the comparing up, unless an instance has done so within `every`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn take_up_comparing(&self, every: Duration) -> sqlx::Result<bool> {
        let taken = statement!(
            steps::SQL_TAKE_UP_COMPARING,
            query_file!("sql/take_up_comparing.sql", ms(every))
        )
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Notes how many differences there are.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn note_differences(&self, count: i64) -> sqlx::Result<()> {
        statement!(steps::SQL_NOTE_DIFFERENCES, query_file!("sql/note_differences.sql", count))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// How far events were read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn read_so_far(&self) -> sqlx::Result<ReadSoFar> {
        let row = query_file!("sql/comparison.sql").fetch_one(self.pool.reads()).await?;
        Ok(ReadSoFar {
            read_to: row.read_to,
            noted_at: row.updated_at,
            events: row.events_read,
            missed: row.events_missed,
        })
    }

    /// Compares the payments recorded since a time, of one sale or of all, with the ledger and with
    /// their orders, and returns `limit` differences at most.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn compare(
        &self,
        sale: Option<Uuid>,
        since: OffsetDateTime,
        limit: i64,
    ) -> sqlx::Result<Compared> {
        let mut snapshot = self.snapshot().await?;
        // Compiling the statement takes longer than all of it.
        sqlx::query("SET LOCAL jit = off").execute(&mut *snapshot).await?;
        let payments = query_file!("sql/count_compared.sql", sale, since)
            .fetch_one(&mut *snapshot)
            .await?
            .count;
        let rows = query_file!("sql/differences.sql", sale, since, STUCK_AFTER, limit)
            .fetch_all(&mut *snapshot)
            .await?;
        let differences = rows
            .into_iter()
            .filter_map(|row| {
                Some(Difference {
                    order_id: row.order_id,
                    sale_id: row.sale_id,
                    kind: DifferenceKind::named(&row.kind)?,
                    amount_minor: row.amount_minor,
                    currency: row.currency,
                    updated_at: row.updated_at,
                })
            })
            .collect();
        Ok(Compared { payments, differences })
    }
}
