//! The order worker dies by SIGKILL before or after each of its steps, is started again, and
//! everything it was at is brought to its end.

use std::time::Duration;

use flashsale_failpoint::KILL_AT;
use flashsale_order_worker::steps;
use serde_json::json;

use super::{books, rush, tour::Tour};
use crate::{
    figures::Figures,
    points::{self, Point},
    task::Task,
};

/// Money of an order that has ended: the provider would have to take it after it has said that it
/// never will. Nothing here makes it do so.
const OUT_OF_REACH: &str = "payment/refund";
/// How long the worker may take to come by.
const WITHIN: Duration = Duration::from_secs(25);

/// Kills it at its points in turn, in as many sales.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let steps = steps::all().into_iter().filter(|step| *step != OUT_OF_REACH);
    points::each(task, figures, steps, times, |task, point, figures| {
        Box::pin(at(task, point, figures))
    })
    .await?;
    figures.more.insert("steps_out_of_reach".to_owned(), json!([OUT_OF_REACH]));
    Ok(())
}

/// How often a step is come by at least, in a sale.
fn times(step: &str) -> u32 {
    match step {
        "sql/outbox_lease" => 20,
        "mail/send" | "publish/event" | "sql/outbox_done" => 6,
        "commit/claims"
        | "commit/payment_recorded"
        | "commit/settlement"
        | "inventory/settle"
        | "payment/create"
        | "sql/lines_for_mail"
        | "sql/orders_for_events"
        | "sql/orders_for_holds"
        | "sql/orders_for_mail"
        | "sql/settle_open" => 3,
        _ => 1,
    }
}

/// One sale with one point armed in its middle; whether the worker came by.
async fn at(task: &mut Task, point: Point, figures: &mut Figures) -> anyhow::Result<bool> {
    let round = rush(task).await?;
    let tour = Tour { sale: round.sale, step: point.step, arm: (KILL_AT, point.armed()) };
    tour.go(&mut task.platform).await?;
    let killed = points::was_reached(&task.platform.services.worker, WITHIN).await;
    // Armed still if it was not killed: it must not die in another sale.
    task.platform.services.worker.restart(&[]).await?;
    tour.end(&mut task.platform).await?;
    task.goes_on(&round.crowd).await?;
    let story = round.crowd.leave().await;
    let before = figures.broken.len();
    books::conclude(task, &round.sale, &[story], figures).await?;
    if figures.broken.len() > before {
        figures.broken.push(format!("that was {}", point.armed()));
    }
    Ok(killed)
}
