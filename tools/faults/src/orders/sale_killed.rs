//! Sale dies by SIGKILL before or after each of its steps, is started again, and the sale that it
//! was at is made once, opens, ends and becomes final, while another one goes on.

use std::time::Duration;

use flashsale_failpoint::KILL_AT;
use flashsale_sale::steps;
use tokio_util::sync::CancellationToken;

use super::{calm, rush};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, SaleSpec},
    points::{self, Point},
    task::Task,
};

/// How long a sale may take to become final once it has ended.
const FINAL_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to die behind its last step, whose effect ends the tour before.
const DEATH_WITHIN: Duration = Duration::from_secs(5);

/// How many points there are.
pub(super) fn points() -> u64 {
    2 * steps::all().len() as u64
}

/// Kills it at its points in turn, in as many sales.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let times = |_: &str| 1;
    points::each(task, figures, steps::all(), times, |task, point, figures| {
        Box::pin(at(task, point, figures))
    })
    .await
}

/// One sale with one point armed in its middle; whether sale came by.
async fn at(task: &mut Task, point: Point, figures: &mut Figures) -> anyhow::Result<bool> {
    let round = rush(task).await?;
    let platform = &task.platform;
    let before = sales(platform).await?;
    let over = CancellationToken::new();
    platform.services.sale.restart(&[(KILL_AT, point.armed())]).await?;
    let toured = async {
        let toured = tour(platform).await;
        over.cancel();
        toured
    };
    let minded = async {
        let sale = &platform.services.sale;
        let killed =
            points::is_reached(sale, &over).await || points::was_reached(sale, DEATH_WITHIN).await;
        // Armed still if it was not killed: it must not die in another sale.
        sale.restart(&[]).await?;
        anyhow::Ok(killed)
    };
    let (toured, killed) = tokio::join!(toured, minded);
    let (killed, ()) = (killed?, toured?);
    let made = sales(platform).await? - before;
    figures.expect(made == 1, || format!("{made} sales were made by one request"));
    let broken = figures.broken.len();
    calm(task, round, figures).await?;
    if figures.broken.len() > broken {
        figures.broken.push(format!("that was {}", point.armed()));
    }
    Ok(killed)
}

/// A sale from its making to its final report.
async fn tour(platform: &Platform) -> anyhow::Result<()> {
    let sale = platform.open_sale(SaleSpec::default()).await?;
    platform.end_sale(&sale).await?;
    until_some(FINAL_WITHIN, "a sale that has ended becomes final", async || {
        let is_final: bool =
            sqlx::query_scalar("SELECT final_at IS NOT NULL FROM sales WHERE sale_id = $1")
                .bind(sale.id)
                .fetch_one(&platform.pool)
                .await?;
        anyhow::Ok(is_final.then_some(()))
    })
    .await
}

async fn sales(platform: &Platform) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM sales").fetch_one(&platform.pool).await?)
}
