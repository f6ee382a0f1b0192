//! Two order workers claim, and one of them stands still for longer than its reading of the queue
//! is kept for it.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{a_moment, calm, rush};
use crate::{figures::Figures, task::Task};

/// How long it stands still: longer than NATS keeps its consumer (30 s), and than its rows are
/// leased. The short form only outlasts the lease and the heartbeat.
const PAUSED_FOR: (Duration, Duration) = (Duration::from_secs(33), Duration::from_secs(5));

/// Stops one of them somewhere in the middle, and lets it go on.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let mut other = task.platform.second("order-worker")?;
    other
        .start(
            task.platform.settings_over(&task.platform.to_redis, &task.platform.services.inventory),
        )
        .await?;
    for run in 0..task.asked {
        let round = rush(task).await?;
        a_moment(task, 0..300).await;
        let paused = if run % 2 == 0 { &task.platform.services.worker } else { &other };
        let before = claimed(task, &round.sale.id).await?;
        paused.signal(Signal::SIGSTOP).await;
        sleep(if task.short { PAUSED_FOR.1 } else { PAUSED_FOR.0 }).await;
        let after = claimed(task, &round.sale.id).await?;
        paused.signal(Signal::SIGCONT).await;
        figures.count("claimed_meanwhile", u64::try_from(after - before)?);
        // In the middle of its transaction it is in the way of the other one until Postgres takes
        // that away from it.
        figures.expect(task.short || after > before, || "the other one claimed nothing".to_owned());
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    other.stop().await?;
    Ok(())
}

async fn claimed(task: &Task, sale: &uuid::Uuid) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM orders WHERE sale_id = $1")
        .bind(sale)
        .fetch_one(&task.platform.pool)
        .await?;
    Ok(count)
}
