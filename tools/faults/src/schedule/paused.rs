//! A sale is paused and resumed in turn under its buyers. From the answer to the pause until the
//! resumption is asked for no unit is taken, and a buyer who holds one orders it.

use std::time::Duration;

use flashsale_proto::{
    checkout::{OrderState, checkout_service_client::CheckoutServiceClient},
    inventory::{Line, inventory_service_client::InventoryServiceClient},
};
use flashsale_testbed::buyer::Buyer;
use rand::Rng as _;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    SPEC,
    buyers::Buyers,
    now,
    others::Others,
    record::{expect_known, history, window},
    shop::{Shop, timely},
};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{PLENTY, Platform, Sale, SaleSpec, stores::Stock},
    task::Task,
};

/// Holds that outlast a pause.
const LONG_HOLDS: SaleSpec = SaleSpec { hold: Duration::from_secs(30), ..SPEC };
/// How long before its start the sale is prepared at least, and how long it would be open.
const PREPARED_MS: i64 = 300;
const LENGTH_MS: i64 = 3_600_000;
/// How long a pause lasts, and what is between two.
const PAUSED_MS: std::ops::Range<u64> = 50..300;
const BETWEEN_MS: std::ops::Range<u64> = 50..200;
/// How long a buyer may take to have a unit, and to order it.
const WITHIN: Duration = Duration::from_secs(20);

/// As many pauses as asked, in one sale.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let others = Others::start(&task.platform).await?;
    let shop = others.shop(&task.platform, 0)?;
    let mut plan = shop.prepare(LONG_HOLDS, PREPARED_MS, LENGTH_MS).await?;
    let buyers = Buyers::come(task, &others, &plan.sale)?;
    shop.settled_in(&plan.sale, "OPEN").await?;
    let mut pauses = Vec::new();
    for run in 0..task.asked {
        let shop = others.shop(&task.platform, run)?;
        pauses.push(pause(task, &shop, &plan.sale, figures).await?);
        figures.runs += 1;
    }
    task.goes_on(&buyers.crowd).await?;
    shop.end(&plan.sale).await?;
    // Units are taken until its end is answered at the latest.
    plan.ends_ms = now() + 1;
    shop.settled_in(&plan.sale, "ENDED").await?;
    let story = buyers.leave(figures).await;
    window(&task.platform, &plan, figures).await?;
    let stock = Stock::read(task.platform.redis.port(), plan.sale.id).await?;
    // In whole milliseconds: what was taken in the one of an answer was taken before it.
    let paused = |at_ms: i64| pauses.iter().any(|(from, to)| *from < at_ms && at_ms < *to);
    let taken = stock.holds.values().filter(|hold| paused(hold.taken_ms)).count();
    figures.wrong("taken_while_paused", i64::try_from(taken)?);
    let kinds = history(&task.platform.pool, &plan.sale, figures).await?;
    let pairs = ["PAUSE", "OPEN"].into_iter().cycle().take(2 * pauses.len());
    let expected: Vec<&str> =
        ["CREATE", "SCHEDULE", "PREPARE", "OPEN"].into_iter().chain(pairs).chain(["END"]).collect();
    figures.expect(kinds == expected, || format!("{} is not its history", kinds.join(", ")));
    expect_known(&task.platform, &plan.sale, figures).await?;
    task.audit(&plan.sale, &[story], false, figures).await?;
    others.stop().await
}

/// Pauses and resumes it, and answers when it was paused: from the answer to the one until the
/// other was asked for.
async fn pause(
    task: &mut Task,
    shop: &Shop,
    sale: &Sale,
    figures: &mut Figures,
) -> anyhow::Result<(i64, i64)> {
    sleep(Duration::from_millis(task.random.random_range(BETWEEN_MS))).await;
    let holder = Holder::come(&task.platform, sale).await?;
    shop.pause(sale).await?;
    let from = now();
    holder.order(&task.platform).await?;
    figures.count("ordered_while_paused", 1);
    sleep(Duration::from_millis(task.random.random_range(PAUSED_MS))).await;
    let to = now();
    shop.start(sale).await?;
    Ok((from, to))
}

/// A buyer who holds a unit.
struct Holder {
    buyer: Buyer,
    hold_id: String,
}

impl Holder {
    async fn come(platform: &Platform, sale: &Sale) -> anyhow::Result<Self> {
        let id = format!("holder-{}", Uuid::new_v4());
        let buyer = Buyer::new(sale.id, id.clone(), id);
        let inventory = InventoryServiceClient::new(platform.services.inventory.channel()?);
        let lines = vec![Line { sku: PLENTY.to_owned(), quantity: 1 }];
        let reserve = buyer.reserve(Uuid::new_v4(), lines, String::new());
        let hold = until_some(WITHIN, "a buyer holds a unit", async || {
            let answer = inventory.clone().reserve(timely(reserve.clone())).await;
            answer.map(|answer| answer.into_inner().hold)
        })
        .await?;
        Ok(Self { buyer, hold_id: hold.hold_id })
    }

    async fn order(self, platform: &Platform) -> anyhow::Result<()> {
        let checkout = CheckoutServiceClient::new(platform.services.checkout.channel()?);
        // Without lines: only the unit that is held.
        let place = self.buyer.place(
            Uuid::new_v4(),
            self.hold_id,
            Vec::new(),
            String::new(),
            "pm_card_visa",
        );
        until_some(WITHIN, "a holder orders during a pause", async || {
            let answer = checkout.clone().place_order(timely(place.clone())).await?;
            let order = answer.into_inner().order.unwrap_or_default();
            let accepted = order.state() != OrderState::AcceptancePending;
            Ok::<_, tonic::Status>(accepted.then_some(()))
        })
        .await
    }
}
