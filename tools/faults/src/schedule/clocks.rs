//! The clocks of all instances of sale are off by five seconds. A sale opens and closes by the
//! clock of its store, and the record follows by that of Postgres.

use flashsale_failpoint::CLOCK_OFFSET_MS;

use super::{
    SPEC,
    buyers::Buyers,
    others::Others,
    record::{expect_history, expect_known, window},
    sleep_until,
};
use crate::{figures::Figures, task::Task};

const OFF_MS: i64 = 5_000;
/// How long before its start a sale is prepared at least, beside what the clock is ahead: by that
/// clock, too, the start has to be ahead when it is planned.
const PREPARED_MS: i64 = 500;
/// How long the sale is open.
const LENGTH_MS: i64 = 1_500;
/// How long after the end the buyers go on.
const AFTER_MS: i64 = 300;

/// By how much the instances are off, one and the other.
const WAYS: [[i64; 2]; 4] =
    [[-OFF_MS, -OFF_MS], [OFF_MS, OFF_MS], [-OFF_MS, OFF_MS], [OFF_MS, -OFF_MS]];

/// Each way in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    let ways = WAYS.into_iter().cycle().take(usize::try_from(task.asked)?);
    for (run, [ours, theirs]) in (0_u64..).zip(ways) {
        let [one, other] = others.sales(&task.platform);
        let off = [ours, theirs].map(|ms| [(CLOCK_OFFSET_MS, ms.to_string())]);
        let [our_env, their_env] = &off;
        tokio::try_join!(one.restart(our_env), other.restart(their_env))?;
        let shop = others.shop(&task.platform, run)?;
        let ahead_ms = ours.max(theirs).max(0);
        let plan = shop.prepare(SPEC, PREPARED_MS + ahead_ms, LENGTH_MS).await?;
        let buyers = Buyers::come(task, &others, &plan.sale)?;
        sleep_until(plan.ends_ms + AFTER_MS).await;
        shop.settled_in(&plan.sale, "ENDED").await?;
        let story = buyers.leave(figures).await;
        let taken = window(&task.platform, &plan, figures).await?;
        figures.expect(taken > 0, || "the sale did not open".to_owned());
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "END"];
        expect_history(&task.platform, &plan.sale, &[&kinds], figures).await?;
        expect_known(&task.platform, &plan.sale, figures).await?;
        task.audit(&plan.sale, &[story], false, figures).await?;
        figures.runs += 1;
    }
    let [one, other] = others.sales(&task.platform);
    tokio::try_join!(one.restart(&[]), other.restart(&[]))?;
    others.stop().await
}
