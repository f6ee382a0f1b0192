//! `breaker_force`: what operators decided, for all instances.

use flashsale_pg::statement;
use sqlx::query_file;

use super::Store;
use crate::steps;

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
}

impl Store {
    /// What operators decided.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn force(&self) -> sqlx::Result<Force> {
        let row = query_file!("sql/read_force.sql").fetch_optional(self.pool.reads()).await?;
        let name = row.map_or_else(|| Force::Auto.as_str().to_owned(), |row| row.force);
        [Force::Auto, Force::Open, Force::Closed]
            .into_iter()
            .find(|force| force.as_str() == name)
            .ok_or_else(|| sqlx::Error::Decode(format!("{name} is no force").into()))
    }

    /// Records what operators decided.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn set_force(&self, force: Force) -> sqlx::Result<()> {
        statement!(steps::SQL_SET_FORCE, query_file!("sql/set_force.sql", force.as_str()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
