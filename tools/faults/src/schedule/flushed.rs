//! Redis loses everything between the preparing of two sales and their start. One of them is to be
//! called off, which inventory has not heard of yet.

use std::time::Duration;

use flashsale_testbed::ask;
use nix::sys::signal::Signal;
use rand::Rng as _;
use tokio::time::Instant;

use super::{
    SPEC,
    buyers::{Buyers, eager},
    now,
    others::Others,
    record::{self, expect_history, expect_known, holds_and_orders, window},
    sleep_until,
};
use crate::{crowd::Crowd, figures::Figures, patience::until_some, task::Task};

/// How long before its start the sale that opens is prepared at least. It may start before its
/// stock is rebuilt.
const PREPARED_MS: i64 = 800;
/// The other one starts long after its stock is rebuilt: once it has begun it may not be called
/// off.
const LONG_BEFORE_MS: i64 = 20_000;
/// How long they would be open.
const LENGTH_MS: i64 = 600_000;
/// How long the wish to call one off may take to be on record.
const WISH_WITHIN: Duration = Duration::from_secs(5);
/// How long after its start the sale that is called off is left alone.
const AFTER_MS: i64 = 500;

/// FLUSHALL, as often as asked.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    for run in 0..task.asked {
        let shop = others.shop(&task.platform, run)?;
        let off = shop.prepare(SPEC, LONG_BEFORE_MS, LENGTH_MS).await?;
        let opens = shop.prepare(SPEC, PREPARED_MS, LENGTH_MS).await?;
        let (epoch, _) = task.platform.epoch(&opens.sale).await?;
        let buyers = Buyers::come(task, &others, &opens.sale)?;
        let seed = task.random.random();
        let in_vain = Crowd::come(&task.platform, &off.sale, seed, eager(2))?;
        let platform = &task.platform;
        for inventory in others.inventories(platform) {
            inventory.signal(Signal::SIGSTOP).await;
        }
        let flushed = async {
            until_some(WISH_WITHIN, "the sale is to be called off", async || {
                let record = record::read(&platform.pool, &off.sale).await?;
                anyhow::Ok(record.cancel_requested.then_some(()))
            })
            .await?;
            let since = Instant::now();
            ask(platform.redis.port(), &["FLUSHALL"]).await?;
            let in_time = now() < opens.starts_ms;
            for inventory in others.inventories(platform) {
                inventory.signal(Signal::SIGCONT).await;
            }
            anyhow::Ok((since, in_time))
        };
        let (answer, flushed) = tokio::join!(shop.cancel(&off.sale), flushed);
        let (answer, (since, in_time)) = (answer?, flushed?);
        figures.count("flushed_before_the_start", u64::from(in_time));
        figures.expect(answer.is_ok(), || format!("not called off: {answer:?}"));
        task.await_opening(&opens.sale, epoch, since, figures).await;
        task.goes_on(&buyers.crowd).await?;
        shop.settled_in(&opens.sale, "OPEN").await?;
        shop.end(&opens.sale).await?;
        shop.settled_in(&opens.sale, "ENDED").await?;
        shop.settled_in(&off.sale, "CANCELLED").await?;
        if !task.short {
            sleep_until(off.starts_ms + AFTER_MS).await;
        }
        let story = buyers.leave(figures).await;
        let in_vain = in_vain.leave().await;
        let platform = &task.platform;
        window(platform, &opens, figures).await?;
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "END"];
        expect_history(platform, &opens.sale, &[&kinds], figures).await?;
        let kinds = ["CREATE", "SCHEDULE", "PREPARE", "CANCEL", "CANCEL"];
        expect_history(platform, &off.sale, &[&kinds], figures).await?;
        for plan in [&opens, &off] {
            expect_known(platform, &plan.sale, figures).await?;
        }
        figures.wrong("cancelled_with_orders", holds_and_orders(platform, &off.sale).await?);
        task.audit(&opens.sale, &[story], false, figures).await?;
        task.audit(&off.sale, &[in_vain], false, figures).await?;
        figures.runs += 1;
    }
    others.stop().await
}
