//! All instances of sale stand still or are dead from before the start of a sale until after its
//! end.

use nix::sys::signal::Signal;

use super::{
    SPEC,
    buyers::Buyers,
    now,
    others::Others,
    record::{expect_history, expect_known, window},
    sleep_until,
};
use crate::{figures::Figures, task::Task};

/// How long before the start they stop at least, and how long after the end they go on.
const BEFORE_MS: i64 = 600;
const AFTER_MS: i64 = 300;
/// How long the sale is open.
const LENGTH_MS: i64 = 1_000;

/// SIGSTOP and SIGKILL in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    for run in 0..task.asked {
        let shop = others.shop(&task.platform, run)?;
        let plan = shop.prepare(SPEC, BEFORE_MS, LENGTH_MS).await?;
        let buyers = Buyers::come(task, &others, &plan.sale)?;
        let killed = run % 2 == 1;
        for sale in others.sales(&task.platform) {
            if killed {
                sale.kill().await;
            } else {
                sale.signal(Signal::SIGSTOP).await;
            }
        }
        let in_time = now() < plan.starts_ms;
        figures.expect(in_time, || "they were stopped after the start".to_owned());
        sleep_until(plan.ends_ms + AFTER_MS).await;
        for sale in others.sales(&task.platform) {
            if killed {
                sale.restart(&[]).await?;
            } else {
                sale.signal(Signal::SIGCONT).await;
            }
        }
        shop.settled_in(&plan.sale, "ENDED").await?;
        let story = buyers.leave(figures).await;
        let taken = window(&task.platform, &plan, figures).await?;
        figures.expect(taken > 0, || "the sale did not open".to_owned());
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "END"];
        expect_history(&task.platform, &plan.sale, &[&kinds], figures).await?;
        expect_known(&task.platform, &plan.sale, figures).await?;
        task.audit(&plan.sale, &[story], false, figures).await?;
        figures.runs += 1;
    }
    others.stop().await
}
