//! The claimer alone, as a process of its own: the order worker's, without what follows a claim.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream;
use flashsale_order_worker::{Config, app::Wakeups, metrics::Metrics, tasks::claimer::Claimer};
use flashsale_pg::SteppedPool;
use flashsale_service::Hosted;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    cpu::{self, Seconds},
    platform::{Platform, pid},
};

/// How long a backlog may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Claims until SIGTERM, with the order worker's configuration.
pub(crate) fn main() -> ExitCode {
    flashsale_service::main(
        // Its user in the stores.
        "order-worker",
        flashsale_order_worker::DEFAULTS,
        async |config: Config, drain| {
            let pool = flashsale_pg::connect(&config.postgres, "claims").context("postgres.url")?;
            let client =
                flashsale_queue::connect(&config.nats, "order-worker").await.context("nats.url")?;
            let claimer = Claimer {
                pool: SteppedPool::new(pool),
                jetstream: jetstream::new(client),
                pace: config.worker.claim_pace(),
                wakeups: Arc::new(Wakeups::new().0),
                metrics: Metrics::default(),
            };
            Ok(Hosted::new().task("claims", claimer.run(drain)))
        },
    )
}

/// What one measurement of a claimer came to.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    /// Orders per second, by the record's own times: from the start of the first transaction to
    /// that of the last one.
    pub(crate) per_s: f64,
    /// Processor seconds that 10,000 orders took, by who used them, the claimer's start included.
    pub(crate) cpu_s_per_10k: Seconds,
}

/// Has a claimer of this batch size record everything that waits.
pub(crate) async fn measure(
    platform: &Platform,
    batch: u32,
    waiting: u64,
) -> anyhow::Result<Claimed> {
    let pool = platform.pool();
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(pool).await?;
    let began: OffsetDateTime =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await?;
    let expected = before + i64::try_from(waiting)?;
    let mut watched = platform.watched();
    let cpu_before = watched.read();
    let claimer = platform.claimer(batch).await?;
    watched.processes.push(("claimer", pid(&claimer)?));
    let waited = tokio::time::timeout(PATIENCE, recorded(pool, expected)).await;
    let mut cpu = cpu::between(&cpu_before, &watched.read());
    cpu.values_mut().for_each(|used| *used *= 10_000.0 / waiting as f64);
    claimer.stop_within(Duration::from_secs(10)).await?;
    waited.with_context(|| format!("{waiting} orders were not claimed within {PATIENCE:?}"))??;
    let (orders, seconds): (i64, f64) = sqlx::query_as(
        "WITH recorded AS (SELECT claimed_at FROM orders WHERE claimed_at >= $1),
              span AS (SELECT min(claimed_at) AS first, max(claimed_at) AS last FROM recorded)
         SELECT count(*) FILTER (WHERE claimed_at < last), coalesce(extract(epoch FROM last - first), 0)::float8
           FROM recorded, span GROUP BY first, last",
    )
    .bind(began)
    .fetch_one(pool)
    .await?;
    anyhow::ensure!(seconds > 0.0, "{waiting} orders were claimed at once: too few to measure");
    Ok(Claimed { per_s: orders as f64 / seconds, cpu_s_per_10k: cpu })
}

async fn recorded(pool: &PgPool, expected: i64) -> anyhow::Result<()> {
    loop {
        let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(pool).await?;
        if orders >= expected {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
