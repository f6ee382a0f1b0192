//! The database of a platform.

use flashsale_pg::PgConfig;
use sqlx::{AssertSqlSafe, PgPool};

use crate::grants;

/// Connects to a database, as `application`, when the first query is made.
///
/// # Errors
/// If `url` is not a URL of Postgres.
pub fn connect(
    url: String,
    max_connections: u32,
    application: &str,
) -> Result<PgPool, flashsale_pg::UrlError> {
    let config = PgConfig {
        max_connections,
        acquire_timeout_ms: 10_000,
        statement_timeout_ms: 60_000,
        ..PgConfig::at(url)
    };
    flashsale_pg::connect(&config, application)
}

/// Connects to a database as its superuser, for `application`, after every migration and the
/// services' grants have been applied.
///
/// # Errors
/// If Postgres does not answer, or a migration fails.
pub async fn migrated(
    url: String,
    max_connections: u32,
    application: &str,
) -> anyhow::Result<PgPool> {
    let pool = connect(url, max_connections, application)?;
    grants::postgres::make_roles(&mut *pool.acquire().await?).await?;
    grants::postgres::migrate(pool.connect_options().as_ref().clone()).await?;
    Ok(pool)
}

/// Makes an empty database beside the one that `pool` is connected to. The name is trusted.
///
/// # Errors
/// If there is one of this name, or Postgres does not answer.
pub async fn create_database(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(pool).await?;
    Ok(())
}
