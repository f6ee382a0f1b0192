//! The record dies or hangs. Orders go on being accepted, and are claimed when it is back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{a_moment, calm, rush};
use crate::{figures::Figures, task::Task};

/// How long Postgres hangs, and in the short form.
const STALLED_FOR: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(4));

/// SIGKILL, and a restart on the same files.
pub(super) async fn killed(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = rush(task).await?;
        let before = round.crowd.accepted();
        let since = Instant::now();
        task.platform.postgres.kill().await;
        a_moment(task, 500..2_000).await;
        figures.count("accepted_meanwhile", (round.crowd.accepted() - before) as u64);
        task.platform.postgres.restart().await?;
        figures.longest("away_seconds_max", since.elapsed());
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// SIGSTOP of all its processes: connections stay open and nothing answers.
pub(super) async fn stalled(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = rush(task).await?;
        let before = round.crowd.accepted();
        let since = Instant::now();
        let stopped = task.platform.stall_postgres()?;
        sleep(if task.short { STALLED_FOR.1 } else { STALLED_FOR.0 }).await;
        figures.count("accepted_meanwhile", (round.crowd.accepted() - before) as u64);
        figures.longest("away_seconds_max", since.elapsed());
        task.platform.wake_postgres(&stopped);
        calm(task, round, figures).await?;
        figures.count("processes_stopped", stopped.len() as u64);
        figures.runs += 1;
    }
    Ok(())
}
