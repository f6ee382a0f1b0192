//! `breaker_force` and `breaker_history`: what operators decided, for all instances, and every
//! decision there was.

use std::time::Duration;

use sqlx::{query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, ms};
use crate::steps;

/// The longest that everything may go to the provider whatever the breaker thinks.
pub const LONGEST_CLOSED: Duration = Duration::from_secs(10 * 60);

/// What operators decided about the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The breaker decides.
    Auto,
    /// Nothing goes to the provider.
    Open,
    /// Everything goes to the provider.
    Closed,
}

impl Force {
    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
        }
    }

    fn parse(name: &str) -> sqlx::Result<Self> {
        [Self::Auto, Self::Open, Self::Closed]
            .into_iter()
            .find(|force| force.as_str() == name)
            .ok_or_else(|| sqlx::Error::Decode(format!("{name} is no force").into()))
    }

    /// How long a decision may hold; `None` for as long as no other is made.
    pub const fn longest(self) -> Option<Duration> {
        match self {
            Self::Auto | Self::Open => None,
            Self::Closed => Some(LONGEST_CLOSED),
        }
    }
}

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForceNow {
    pub force: Force,
    /// Why; empty if no decision holds that has a reason.
    pub reason: String,
    /// When the breaker decides again, if the decision ends by itself.
    pub expires_at: Option<OffsetDateTime>,
}

/// A decision that is asked for.
#[derive(Debug, Clone)]
pub struct NewForce {
    pub request_id: Uuid,
    /// The name of the caller.
    pub caller: String,
    pub force: Force,
    /// Why.
    pub reason: String,
    /// When it ends, in whole microseconds, as Postgres keeps times.
    pub expires_at: Option<OffsetDateTime>,
}

/// A decision that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForceChange {
    /// When, by the clock of Postgres.
    pub at: OffsetDateTime,
    /// The name of the caller who made it.
    pub caller: String,
    pub force: Force,
    /// Why.
    pub reason: String,
    /// When it ends or ended, if it was to end by itself.
    pub expires_at: Option<OffsetDateTime>,
    /// The request that made it.
    pub request_id: Uuid,
}

/// The outcome of [`Store::set_force`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceSet {
    /// It holds, or did when the request came first.
    Made(ForceChange),
    /// The request id has made another decision; nothing was changed.
    Reused,
    /// Its end is not ahead by the clock of Postgres, or further than it may be; nothing was
    /// changed.
    EndsWrong,
}

/// A row of `breaker_history`.
struct Row {
    at: OffsetDateTime,
    caller: String,
    force: String,
    reason: String,
    expires_at: Option<OffsetDateTime>,
    request_id: Uuid,
}

impl TryFrom<Row> for ForceChange {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let Row { at, caller, force, reason, expires_at, request_id } = row;
        let force = Force::parse(&force)?;
        Ok(Self { at, caller, force, reason, expires_at, request_id })
    }
}

impl ForceChange {
    /// Whether it is what is asked for.
    fn is(&self, asked: &NewForce) -> bool {
        self.force == asked.force
            && self.reason == asked.reason
            && self.expires_at == asked.expires_at
    }
}

impl Store {
    /// What operators decided. A decision that has run out, by the clock of Postgres, is none.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn force(&self) -> sqlx::Result<Force> {
        Ok(self.force_now().await?.force)
    }

    /// The same, with why and until when.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn force_now(&self) -> sqlx::Result<ForceNow> {
        let row = query_file!("sql/read_force.sql").fetch_optional(self.pool.reads()).await?;
        let undecided = ForceNow { force: Force::Auto, reason: String::new(), expires_at: None };
        Ok(match row {
            Some(row) if !row.over => ForceNow {
                force: Force::parse(&row.force)?,
                reason: row.reason.unwrap_or_default(),
                expires_at: row.expires_at,
            },
            Some(_) | None => undecided,
        })
    }

    /// The last `count` decisions, newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn force_changes(&self, count: i64) -> sqlx::Result<Vec<ForceChange>> {
        let rows = query_file_as!(Row, "sql/force_changes.sql", count)
            .fetch_all(self.pool.reads())
            .await?;
        rows.into_iter().map(ForceChange::try_from).collect()
    }

    /// Records what operators decided. A request that is repeated changes nothing.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn set_force(&self, asked: &NewForce) -> sqlx::Result<ForceSet> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            query_file!("sql/lock_force.sql").fetch_optional(&mut *transaction).await?;
            let earlier = query_file_as!(Row, "sql/force_change.sql", asked.request_id)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(earlier) = earlier {
                let earlier = ForceChange::try_from(earlier)?;
                let same = earlier.is(asked);
                return Ok(if same { ForceSet::Made(earlier) } else { ForceSet::Reused });
            }
            let made = query_file_as!(
                Row,
                "sql/insert_force_change.sql",
                asked.caller,
                asked.force.as_str(),
                asked.reason,
                asked.expires_at,
                asked.request_id,
                asked.force.longest().map(ms)
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(made) = made else { return Ok(ForceSet::EndsWrong) };
            let made = ForceChange::try_from(made)?;
            query_file!("sql/set_force.sql", made.force.as_str(), made.at)
                .execute(&mut *transaction)
                .await?;
            transaction.commit(steps::COMMIT_FORCE).await?;
            Ok(ForceSet::Made(made))
        })
        .await
    }
}
