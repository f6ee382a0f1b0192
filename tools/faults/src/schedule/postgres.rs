//! Postgres is away at the start of a sale: no process can read that it is there, and it opens.

use super::{
    SPEC,
    buyers::Buyers,
    now,
    others::Others,
    record::{expect_history, expect_known, window},
    sleep_until,
};
use crate::{figures::Figures, task::Task};

/// How long before its start a sale is prepared at least: every instance of inventory has read its
/// epoch by then, which it does every second.
const PREPARED_MS: i64 = 2_500;
/// How long before the start Postgres goes.
const BEFORE_MS: i64 = 500;
/// How long after the start no instance serves any more by what Postgres has last confirmed, which
/// covers for 2 s.
const COVERED_MS: i64 = 2_000;
/// How long after the start it comes back, and in the short form: longer than that.
const AWAY_MS: (i64, i64) = (6_000, 2_400);
/// How long the sale goes on when it is back, and in the short form: nothing is asked of that time.
const BACK_MS: (i64, i64) = (2_000, 500);
/// How long after the start the first units are taken at the latest.
const OPENS_WITHIN_MS: i64 = 1_000;

/// It hangs and is killed in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    let (away_ms, back_ms) =
        if task.short { (AWAY_MS.1, BACK_MS.1) } else { (AWAY_MS.0, BACK_MS.0) };
    for run in 0..task.asked {
        let shop = others.shop(&task.platform, run)?;
        let plan = shop.prepare(SPEC, PREPARED_MS, away_ms + back_ms).await?;
        sleep_until(plan.starts_ms - BEFORE_MS).await;
        let stalled = if run % 2 == 0 {
            Some(task.platform.stall_postgres()?)
        } else {
            task.platform.postgres.kill().await;
            None
        };
        let in_time = now() < plan.starts_ms;
        figures.expect(in_time, || "Postgres went after the start".to_owned());
        // The first who ask for this sale: what the instances know of it they have read by
        // themselves.
        let buyers = Buyers::come(task, &others, &plan.sale)?;
        sleep_until(plan.starts_ms + OPENS_WITHIN_MS).await;
        let soon = buyers.taken();
        sleep_until(plan.starts_ms + COVERED_MS).await;
        let covered = buyers.taken();
        sleep_until(plan.starts_ms + away_ms).await;
        let taken = buyers.taken();
        let accepted = buyers.crowd.accepted();
        match stalled {
            Some(stalled) => task.platform.wake_postgres(&stalled),
            None => task.platform.postgres.restart().await?,
        }
        for ((soon, covered), taken) in soon.into_iter().zip(covered).zip(taken) {
            figures.expect(soon > 0, || "an instance of inventory did not open in time".to_owned());
            figures.expect(taken > covered, || "an instance of inventory closed again".to_owned());
            figures.count("taken_meanwhile", taken);
        }
        figures.expect(accepted > 0, || "no order was accepted without Postgres".to_owned());
        figures.count("accepted_meanwhile", accepted as u64);
        shop.settled_in(&plan.sale, "ENDED").await?;
        let story = buyers.leave(figures).await;
        window(&task.platform, &plan, figures).await?;
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "END"];
        // On a machine that is slow to recover, the end may come first.
        let late = ["CREATE", "SCHEDULE", "PREPARE", "END"];
        expect_history(&task.platform, &plan.sale, &[&kinds, &late], figures).await?;
        expect_known(&task.platform, &plan.sale, figures).await?;
        task.audit(&plan.sale, &[story], false, figures).await?;
        figures.runs += 1;
    }
    others.stop().await
}
