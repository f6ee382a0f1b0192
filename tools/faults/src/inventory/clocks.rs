//! Clocks are off by five seconds: inventory's own, and those of its callers. Units go by Redis's
//! clock alone.

use std::time::Duration;

use flashsale_failpoint::CLOCK_OFFSET_MS;
use flashsale_proto::inventory::{
    Line, ReserveRequest, inventory_service_client::InventoryServiceClient,
};
use rand::{Rng as _, seq::SliceRandom as _};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    crowd::{Manners, request_key},
    figures::Figures,
    patience::until_some,
    platform::{PLENTY, SaleSpec, stores::Stock},
    task::Task,
};

const OFF_MS: i64 = 5_000;
/// The shortest that a hold may be.
const HOLD: Duration = Duration::from_secs(5);
/// How long after its deadline an abandoned hold may be back.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const CARTS: i64 = 10;

/// Each way in which inventory and its callers can be off, one after the other.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let mut ways = [(OFF_MS, -OFF_MS), (-OFF_MS, OFF_MS), (OFF_MS, OFF_MS), (-OFF_MS, -OFF_MS)];
    ways.shuffle(&mut task.random);
    for (ours, theirs) in ways.into_iter().cycle().take(usize::try_from(task.asked)?) {
        shift(task, ours, theirs).await?;
        let spec = SaleSpec { hold: HOLD, room: true, ..SaleSpec::default() };
        let sale = task.platform.open_sale(spec).await?;
        // Whose admissions are signed by yet another clock.
        let skew_ms = if task.random.random() { OFF_MS } else { -OFF_MS };
        let round = task.round_in(sale, Manners { skew_ms, ..Manners::default() }).await?;
        let carts = abandon(task, &round.sale.id).await?;
        let back = until_some(HOLD + BACK_WITHIN, "abandoned holds are back", async || {
            let stock = Stock::read(task.platform.redis.port(), round.sale.id).await?;
            let back = |cart| stock.holds.get(cart).is_some_and(|hold| hold.state == "EXPIRED");
            anyhow::Ok(carts.iter().all(back).then_some(stock))
        });
        let stock = back.await?;
        for hold in carts.iter().filter_map(|cart| stock.holds.get(cart)) {
            let lasted = hold.deadline_ms - hold.taken_ms;
            figures.expect(lasted == 5_000, || format!("a hold of 5 s lasted {lasted} ms"));
        }
        task.goes_on(&round.crowd).await?;
        let (epoch, _) = task.platform.epoch(&round.sale).await?;
        figures.expect(epoch == round.epoch, || "the sale was closed".to_owned());
        let story = round.crowd.leave().await;
        task.conclude(&round.sale, &[story], figures).await?;
        figures.runs += 1;
    }
    shift(task, 0, 0).await?;
    Ok(())
}

/// Starts inventory with a clock that is off, and its callers with another.
async fn shift(task: &Task, ours: i64, theirs: i64) -> anyhow::Result<()> {
    let platform = &task.platform;
    let (ours, theirs) =
        ([(CLOCK_OFFSET_MS, ours.to_string())], [(CLOCK_OFFSET_MS, theirs.to_string())]);
    tokio::try_join!(
        platform.services.inventory.restart(&ours),
        platform.services.checkout.restart(&theirs),
        platform.services.worker.restart(&theirs),
        platform.services.payment.restart(&theirs),
        // Who says when a sale begins.
        platform.services.sale.restart(&theirs),
    )?;
    Ok(())
}

/// Takes holds that are left behind.
async fn abandon(task: &Task, sale: &Uuid) -> anyhow::Result<Vec<Uuid>> {
    let mut client = InventoryServiceClient::new(task.platform.services.inventory.channel()?);
    let mut carts = Vec::new();
    for number in 0..CARTS {
        let (request_id, buyer_id) = (Uuid::new_v4(), format!("cart-{number}"));
        client
            .reserve(ReserveRequest {
                request_id: request_id.to_string(),
                sale_id: sale.to_string(),
                buyer_id: buyer_id.clone(),
                lines: vec![Line { sku: PLENTY.to_owned(), quantity: 1 }],
                admission: admission(task, *sale, &buyer_id, number),
            })
            .await?;
        carts.push(request_key(*sale, &buyer_id, request_id));
        sleep(Duration::from_millis(10)).await;
    }
    Ok(carts)
}

fn admission(task: &Task, sale_id: Uuid, buyer_id: &str, number: i64) -> String {
    let now_ms = i64::try_from(crate::crowd::now_ms()).unwrap_or(i64::MAX);
    task.platform.signer.mint_admission(&flashsale_admission::Admission {
        sale_id,
        buyer_id: buyer_id.to_owned(),
        // Far behind the places of the crowd.
        number: 1_000_000 + number,
        // The room has no record of it, and no era to come makes it an old one.
        generation: u32::MAX,
        expires_at_ms: now_ms + 60_000,
        quota: 1,
    })
}
