//! Redis runs a script and its reply is lost on the way: the caller does not know, asks again, and
//! must not take the units twice.

use std::{sync::Arc, time::Duration};

use crate::{
    crowd::Manners,
    figures::Figures,
    patience::until_some,
    platform::{SaleSpec, stores::Stock},
    task::Task,
};
use flashsale_testbed::proxy::Proxy;

/// How long losing a thousand replies may take.
const WITHIN: Duration = Duration::from_secs(300);

/// Loses the first reply of every request, in one sale, until as many as asked are lost.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    // A proxy of its own, which everybody goes through from here on.
    let proxy = Arc::new(Proxy::of_redis(task.platform.redis.port()).await?);
    let settings = task.platform.settings_over(&proxy, &task.platform.services.inventory);
    task.platform.services.inventory.start(settings).await?;
    let manners = Manners {
        at_once: 40,
        pause: Duration::from_millis(1),
        lossy: Some(Arc::clone(&proxy)),
        ..Manners::default()
    };
    let round = task.round(SaleSpec::default(), manners).await?;
    until_some(WITHIN, "so many replies are lost", async || {
        anyhow::Ok((proxy.lost() >= task.asked).then_some(()))
    })
    .await?;
    let story = round.crowd.leave().await;
    let lost = proxy.lost();
    task.conclude(&round.sale, std::slice::from_ref(&story), figures).await?;
    // Each request that got its answer in the end has been carried out; that it was once the books
    // say.
    let stock = Stock::read(task.platform.redis.port(), round.sale.id).await?;
    let done = story.done();
    let missing = done.iter().filter(|key| !stock.requests.contains(*key)).count();
    figures.expect(missing == 0, || format!("{missing} requests were answered and not done"));
    figures.expect(stock.epoch == round.epoch, || "the sale was closed".to_owned());
    figures.runs = lost.min(done.len() as u64);
    figures.count("replies_lost", lost);
    figures.count("requests_done", done.len() as u64);
    // Back to the way of the others.
    let settings =
        task.platform.settings_over(&task.platform.to_redis, &task.platform.services.inventory);
    task.platform.services.inventory.start(settings).await?;
    Ok(())
}
