//! Sales are called off in the last milliseconds before they open, while buyers ask for them and
//! inventory stands still for a moment, or not. Either a sale is called off and has never sold
//! anything, or it opens and the call is refused.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_testbed::platform::Service;
use futures::future::{join_all, try_join_all};
use nix::sys::signal::Signal;
use rand::Rng as _;
use tokio::time::sleep;
use tonic::Status;

use super::{
    SPEC,
    buyers::eager,
    others::Others,
    record::{Recorded, expect_history, expect_known, holds_and_orders, window},
    shop::{Plan, Shop},
    sleep_until,
};
use crate::{
    crowd::{Crowd, Story},
    figures::Figures,
    task::Task,
};

/// How many sales start at once.
const AT_ONCE: u64 = 8;
/// How long before their start they are prepared at least, and how long they would be open.
const PREPARED_MS: i64 = 400;
const LENGTH_MS: i64 = 600_000;
/// How long before the start a sale is called off.
const BEFORE_MS: std::ops::Range<i64> = 0..50;
/// How long before the start inventory stops, and from when to when after the start it goes on.
const STOPS_MS: i64 = 100;
const GOES_ON_MS: std::ops::Range<i64> = -40..250;
/// One time in so many.
const STOPPED_ONE_IN: u64 = 2;
/// How long the buyers go on when it is decided.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// As many sales as asked.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    let mut left = task.asked;
    for run in 0_u64.. {
        let how_many = left.min(AT_ONCE);
        if how_many == 0 {
            break;
        }
        let shop = others.shop(&task.platform, run)?;
        some(task, &others, &shop, how_many, run % STOPPED_ONE_IN == 1, figures).await?;
        left -= how_many;
    }
    others.stop().await
}

/// Some sales that start at once; with `stopped` both instances of inventory stand still.
async fn some(
    task: &mut Task,
    others: &Others,
    shop: &Shop,
    how_many: u64,
    stopped: bool,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let plans = shop.prepare_some(how_many, SPEC, PREPARED_MS, LENGTH_MS).await?;
    let mut crowds = Vec::new();
    let mut cancels = Vec::new();
    for plan in &plans {
        crowds.push(Crowd::come(&task.platform, &plan.sale, task.random.random(), eager(2))?);
        let at_ms = plan.starts_ms - task.random.random_range(BEFORE_MS);
        cancels.push(async move {
            sleep_until(at_ms).await;
            shop.cancel(&plan.sale).await
        });
    }
    let starts_ms = plans.first().map_or(0, |plan| plan.starts_ms);
    let goes_on_ms = starts_ms + task.random.random_range(GOES_ON_MS);
    let standing = async {
        if stopped {
            stand_still(others.inventories(&task.platform), starts_ms - STOPS_MS, goes_on_ms).await;
        }
    };
    let (answers, ()) = tokio::join!(try_join_all(cancels), standing);
    let answers = answers?;
    sleep(AFTERWARDS).await;
    let stories = join_all(crowds.into_iter().map(Crowd::leave)).await;
    for ((plan, answer), story) in plans.iter().zip(answers).zip(stories) {
        let over = shop
            .settled(&plan.sale, |record| ["CANCELLED", "OPEN"].contains(&record.state.as_str()))
            .await?;
        if stopped {
            figures.count("with_inventory_stopped", 1);
        }
        judge(task, shop, (plan, &over), answer, story, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// Stops and goes on at these times.
async fn stand_still(services: [&Service; 2], stops_ms: i64, goes_on_ms: i64) {
    sleep_until(stops_ms).await;
    for service in services {
        service.signal(Signal::SIGSTOP).await;
    }
    sleep_until(goes_on_ms).await;
    for service in services {
        service.signal(Signal::SIGCONT).await;
    }
}

/// What became of a sale, by what its shop was told, its record, its stock and its buyers.
async fn judge(
    task: &mut Task,
    shop: &Shop,
    (plan, record): (&Plan, &Recorded),
    answer: Result<(), Status>,
    story: Story,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let sale = &plan.sale;
    let off = record.state == "CANCELLED";
    let told = match &answer {
        Ok(()) => off,
        Err(status) => {
            let reason = Failure::from_status(status).map(|failure| failure.reason());
            !off && reason == Some(Reason::SaleStateConflict)
        }
    };
    figures.expect(told, || format!("sale {}: {answer:?} of {record:?}", sale.id));
    if off {
        figures.count("called_off", 1);
        figures.wrong("cancelled_with_orders", holds_and_orders(&task.platform, sale).await?);
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "CANCEL", "CANCEL"];
        expect_history(&task.platform, sale, &[&kinds], figures).await?;
    } else {
        figures.count("opened", 1);
        shop.end(sale).await?;
        shop.settled(sale, |record| record.state == "ENDED").await?;
        window(&task.platform, plan, figures).await?;
        let asked = ["CREATE", "SCHEDULE", "PREPARE", "CANCEL", "OPEN", "END"];
        let late = ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "END"];
        expect_history(&task.platform, sale, &[&asked, &late], figures).await?;
    }
    expect_known(&task.platform, sale, figures).await?;
    task.audit(sale, &[story], false, figures).await?;
    Ok(())
}
