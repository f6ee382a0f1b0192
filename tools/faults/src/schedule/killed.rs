//! Either instance of sale dies by SIGKILL before or after each of its steps and is started again,
//! while one sale goes all its way from its plan to its end, and another one is called off.

use std::time::Duration;

use flashsale_failpoint::KILL_AT;
use flashsale_sale::steps;
use flashsale_testbed::platform::Service;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::{
    SPEC,
    buyers::eager,
    now,
    others::Others,
    record::{expect_history, expect_known, holds_and_orders, read},
    shop::{Plan, Shop},
};
use crate::{
    crowd::{Crowd, Story},
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale, SaleSpec},
    points::{self, Point},
    task::Task,
};

/// Both have a room, which has to know their windows.
const WITH_ROOM: SaleSpec = SaleSpec { room: true, ..SPEC };
/// How far ahead the start of the sale that opens is, and how long it would be open.
const STARTS_IN_MS: i64 = 3_000;
const LENGTH_MS: i64 = 3_600_000;
/// How far ahead the start of the other one is: it is over before.
const FAR_MS: i64 = 300_000;
/// How far ahead the new end is: the least that is allowed, and a while.
const NEW_END_MS: i64 = 120_000;
/// What a unit is to cost, long after the sale is over: the steps that a switch takes are those of
/// `reprice`.
const EUROS: i64 = 8;
const NEW_PRICE_MS: i64 = 60_000;
/// How long an order may take, and a sale that is over to become final.
const WITHIN: Duration = Duration::from_secs(60);
/// The longest pause between two looks whether a sale is final: the default of a minute would be most
/// of a tour.
const REPORT_BACKOFF: &str = "FLASHSALE_SALE__REPORT_MAX_BACKOFF_MS";
const REPORT_BACKOFF_MS: &str = "1000";
/// How long it may take to die behind its last step, whose effect ends the tour before.
const DEATH_WITHIN: Duration = Duration::from_secs(3);
/// The step that either instance takes without being asked, and only once.
const BY_ITSELF: &str = "commit/final";

/// How many points there are.
pub(super) fn points() -> u64 {
    2 * steps::all().len() as u64
}

/// Kills it at its points in turn, as often as asked.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    points::each(task, figures, steps::all(), times, |task, point, figures| {
        Box::pin(at(task, point, figures))
    })
    .await
}

/// How often a step is come by at least by an instance that all requests are sent to first.
fn times(step: &str) -> u32 {
    match step {
        // Two plans, other prices, a pause, a resumption, another end, the end, and a cancellation.
        "commit/change" => 8,
        "commit/told" => 3,
        _ => 1,
    }
}

/// The two sales, once they are over.
struct Toured {
    sold: Sale,
    off: Sale,
    story: Story,
}

/// Two sales with one point armed in one of the instances; whether it came by.
async fn at(task: &mut Task, point: Point, figures: &mut Figures) -> anyhow::Result<bool> {
    let others = Others::start(&task.platform).await?;
    let platform = &task.platform;
    let before = sales(platform).await?;
    let [one, other] = others.sales(platform);
    let (armed, other) = if task.random.random() { (one, other) } else { (other, one) };
    let tour = Tour {
        platform,
        shop: Shop::of(platform, [armed, other])?,
        other,
        step: point.step,
        seed: task.random.random(),
    };
    let over = CancellationToken::new();
    let soon = || (REPORT_BACKOFF, REPORT_BACKOFF_MS.to_owned());
    other.restart(&[soon()]).await?;
    armed.restart(&[(KILL_AT, point.armed()), soon()]).await?;
    let toured = async {
        let toured = tour.go().await;
        over.cancel();
        toured
    };
    let minded = async {
        let killed = points::is_reached(armed, &over).await
            || points::was_reached(armed, DEATH_WITHIN).await;
        // Armed still if it was not killed: the tour may have to go on without that.
        armed.restart(&[soon()]).await?;
        anyhow::Ok(killed)
    };
    let (toured, killed) = tokio::join!(toured, minded);
    let (killed, Toured { sold, off, story }) = (killed?, toured?);
    armed.restart(&[]).await?;
    other.restart(&[]).await?;
    let broken = figures.broken.len();
    let made = sales(platform).await? - before;
    figures.expect(made == 2, || format!("{made} sales were made by two requests"));
    let planned =
        ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "UPDATE", "PAUSE", "OPEN", "UPDATE", "END"];
    expect_history(platform, &sold, &[&planned], figures).await?;
    let cancelled = ["CREATE", "SCHEDULE", "PREPARE", "CANCEL", "CANCEL"];
    expect_history(platform, &off, &[&cancelled], figures).await?;
    for sale in [&sold, &off] {
        expect_known(platform, sale, figures).await?;
    }
    figures.wrong("cancelled_with_orders", holds_and_orders(platform, &off).await?);
    figures.count("orders_accepted", story.told().0.len() as u64);
    task.audit(&sold, &[story], false, figures).await?;
    if figures.broken.len() > broken {
        figures.broken.push(format!("that was {}", point.armed()));
    }
    others.stop().await?;
    Ok(killed)
}

/// What happens to the two sales.
struct Tour<'a> {
    platform: &'a Platform,
    /// It asks the armed instance first.
    shop: Shop,
    /// The instance that is not armed.
    other: &'a Service,
    /// The step that the tour is for.
    step: &'a str,
    seed: u64,
}

impl Tour<'_> {
    async fn go(&self) -> anyhow::Result<Toured> {
        let shop = &self.shop;
        let sold = self.plan(STARTS_IN_MS).await?;
        let off = self.plan(FAR_MS).await?;
        shop.settled_in(&off, "PREPARED").await?;
        shop.cancel(&off).await??;
        shop.settled_in(&off, "CANCELLED").await?;
        shop.settled(&sold, |record| record.state != "SCHEDULED").await?;
        let crowd = Crowd::come(self.platform, &sold, self.seed, eager(4))?;
        shop.settled_in(&sold, "OPEN").await?;
        ordered(&crowd, 0).await?;
        shop.reprice(&sold, WITH_ROOM, EUROS, now() + NEW_PRICE_MS).await??;
        shop.pause(&sold).await?;
        shop.settled_in(&sold, "PAUSED").await?;
        shop.start(&sold).await?;
        ordered(&crowd, crowd.accepted()).await?;
        shop.end_at(&sold, now() + NEW_END_MS).await?;
        if self.step == BY_ITSELF {
            self.other.kill().await;
        }
        shop.end(&sold).await?;
        shop.settled_in(&sold, "ENDED").await?;
        let story = crowd.leave().await;
        for sale in [&sold, &off] {
            until_some(WITHIN, "a sale that is over becomes final", async || {
                let record = read(&self.platform.pool, sale).await?;
                anyhow::Ok(record.is_final.then_some(()))
            })
            .await?;
        }
        Ok(Toured { sold, off, story })
    }

    /// A sale that starts in so many milliseconds.
    async fn plan(&self, in_ms: i64) -> anyhow::Result<Sale> {
        let sale = self.shop.create(WITH_ROOM).await?;
        let starts_ms = now() + in_ms;
        self.shop.schedule(&Plan { sale, starts_ms, ends_ms: starts_ms + LENGTH_MS }).await?;
        Ok(sale)
    }
}

/// Waits until more orders were accepted than these.
async fn ordered(crowd: &Crowd, before: usize) -> anyhow::Result<()> {
    until_some(WITHIN, "orders are placed", async || {
        anyhow::Ok((crowd.accepted() > before).then_some(()))
    })
    .await
}

async fn sales(platform: &Platform) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM sales").fetch_one(&platform.pool).await?)
}
