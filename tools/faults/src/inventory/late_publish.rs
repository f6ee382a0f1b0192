//! Orders are placed, and their publish lands only after the stock they were placed in is gone and
//! was rebuilt.

use std::time::Duration;

use flashsale_testbed::ask;
use tokio::time::{Instant, sleep};

use super::failover::behind_a_fence;
use crate::{
    crowd::Manners, figures::Figures, patience::until_some, platform::SaleSpec, task::Task,
};

/// How long publishes wait before the stock is lost.
const LATE: Duration = Duration::from_millis(300);
/// How long the claims may take to come to an order that was late.
const CLAIMED_WITHIN: Duration = Duration::from_secs(20);

/// Holds back what checkout publishes while the stock is lost and rebuilt.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        task.platform.to_nats.freeze();
        sleep(LATE).await;
        let since = Instant::now();
        ask(task.platform.redis.port(), &["FLUSHALL"]).await?;
        task.await_opening(&round.sale, round.epoch, since, figures).await;
        task.platform.to_nats.thaw();
        let late = until_some(CLAIMED_WITHIN, "an order comes late", async || {
            let (_, late) = behind_a_fence(task, &round.sale).await?;
            anyhow::Ok((late > 0).then_some(late))
        })
        .await?;
        figures.count("late_orders", late);
        task.goes_on(&round.crowd).await?;
        let story = round.crowd.leave().await;
        task.conclude(&round.sale, &[story], figures).await?;
        figures.runs += 1;
    }
    Ok(())
}
