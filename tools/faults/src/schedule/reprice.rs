//! The prices of a sale change three times while buyers take units and order at both instances of
//! inventory: to what is replaced before it takes effect, to what does take effect, and to what
//! waits behind that. Meanwhile an instance of sale or those of inventory die at a step of the
//! change, Redis loses everything before the switch, or no instance of sale is awake at it.

use std::{collections::BTreeSet, fmt, time::Duration};

use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::{KILL_AT, Moment};
use flashsale_proto::inventory::{
    GetStockRequest, inventory_service_client::InventoryServiceClient,
};
use flashsale_testbed::{Reply, ask, platform::Service};
use futures::future::{join_all, select_all, try_join_all};
use nix::sys::signal::Signal;
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{
    SPEC,
    buyers::{Buyers, eager},
    now,
    others::Others,
    prices::{Revision, expect_prices, revisions},
    record::{expect_known, history},
    shop::{Shop, timely},
    sleep_until,
};
use crate::{
    crowd::Crowd,
    figures::Figures,
    patience::until_some,
    platform::{Sale, stores::key},
    points::{self, Point},
    task::Task,
};

/// The steps of sale that a change of prices takes.
const OF_SALE: [&str; 2] = ["commit/change", "commit/told"];
/// Those of inventory: the script that puts the next prices beside the stock, and what it does one
/// after the other.
pub(crate) const OF_INVENTORY: [&str; 10] = [
    "inventory/reprice",
    "reprice/look",
    "reprice/stage",
    "reprice/arm",
    "reprice/promote",
    "reprice/promoted",
    "reprice/withdraw",
    "reprice/clean",
    OF_REBUILD,
    "sql/price_rows",
];
/// Of a stock that is rebuilt while a change waits.
const OF_REBUILD: &str = "load/prices";
/// What a unit is to cost after the first change, which is replaced, the second, and the third,
/// which never takes effect.
const EUROS: [i64; 3] = [13, 8, 12];
/// How far ahead the second change takes effect: the least that is allowed, and what a request may
/// take that is sent again after a death. One that takes longer is made again with so much more.
const SOON_MS: i64 = 2_300;
const LONGER_MS: i64 = 1_000;
const LONGEST_MS: i64 = 10_000;
/// How far ahead the others do: the sale is over before.
const FAR_MS: i64 = 600_000;
/// How long orders may take to come, and the stock to have a change.
const WITHIN: Duration = Duration::from_secs(20);
/// Orders of each crowd before anything changes.
const ORDERS: usize = 3;
/// How long no instance of sale is awake behind the switch.
const AFTER_MS: i64 = 300;

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The service whose step this is dies before or after it.
    Killed(&'static str, Moment),
    /// Redis loses everything between the change and the switch.
    Flushed,
    /// All instances of sale die or stand still between the change and the switch, by this signal.
    Stopped(Signal),
}

impl Way {
    /// Redis loses everything.
    fn flushes(self) -> bool {
        match self {
            Self::Killed(step, _) => step == OF_REBUILD,
            Self::Flushed => true,
            Self::Stopped(_) => false,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(step, moment) => write!(f, "{step}:{moment}"),
            Self::Flushed => write!(f, "flushed"),
            Self::Stopped(signal) => write!(f, "stopped by {}", signal.as_str()),
        }
    }
}

fn ways() -> Vec<Way> {
    let steps = OF_SALE.into_iter().chain(OF_INVENTORY);
    let killed = steps.flat_map(|step| Moment::ALL.map(|moment| Way::Killed(step, moment)));
    let others = [Way::Flushed, Way::Stopped(Signal::SIGSTOP), Way::Stopped(Signal::SIGKILL)];
    killed.chain(others).collect()
}

/// In how many ways it is done.
pub(super) fn count() -> u64 {
    ways().len() as u64
}

/// How often a step is come by at least.
fn times(step: &str) -> u32 {
    match step {
        "inventory/reprice" => 9,
        "commit/change" | "commit/told" | "reprice/look" | "reprice/stage" | "reprice/arm"
        | "sql/price_rows" => 3,
        _ => 1,
    }
}

/// Each way once, then each once more in another order, as often as asked.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut ways, asked) = (ways(), usize::try_from(task.asked)?);
    let mut turns = Vec::with_capacity(asked);
    while turns.len() < asked {
        ways.shuffle(&mut task.random);
        turns.extend(ways.iter().copied().take(asked - turns.len()));
    }
    let mut unreached = Vec::new();
    for way in turns {
        let count = match way {
            Way::Killed(step, _) => task.random.random_range(1..=times(step)),
            Way::Flushed | Way::Stopped(_) => 1,
        };
        let mut done = once(task, way, count, figures).await?;
        if !done && count > 1 {
            done = once(task, way, 1, figures).await?;
        }
        if done {
            figures.runs += 1;
        } else {
            unreached.push(way.to_string());
        }
    }
    figures.expect(unreached.is_empty(), || format!("never came by {}", unreached.join(", ")));
    figures.more.insert("points_not_hit".to_owned(), json!(unreached));
    Ok(())
}

/// One sale; whether what was to happen did.
async fn once(
    task: &mut Task,
    way: Way,
    count: u32,
    figures: &mut Figures,
) -> anyhow::Result<bool> {
    let others = Others::start(&task.platform).await?;
    let mut checkout = task.platform.second("checkout")?;
    checkout.start(task.platform.settings_over(&task.platform.to_redis, &others.inventory)).await?;
    let first: u64 = task.random.random_range(0..2);
    let shop = others.shop(&task.platform, first)?;
    let sale = task.platform.open_sale(SPEC).await?;
    let (epoch, _) = task.platform.epoch(&sale).await?;
    let buyers = Buyers::come(task, &others, &sale)?;
    let seed = task.random.random();
    let elsewhere =
        Crowd::come_to(&task.platform, &checkout, &others.inventory, &sale, seed, eager(2))?;
    until_some(WITHIN, "orders are placed at both", async || {
        let accepted = [&buyers.crowd, &elsewhere].map(Crowd::accepted);
        anyhow::Ok(accepted.iter().all(|accepted| *accepted >= ORDERS).then_some(()))
    })
    .await?;

    let broken = figures.broken.len();
    let over = CancellationToken::new();
    let tour = Tour {
        task,
        others: &others,
        shop: &shop,
        sale: &sale,
        epoch,
        first,
        crowds: [&buyers.crowd, &elsewhere],
    };
    let armed = tour.arm(way, count).await?;
    let toured = async {
        let toured = tour.go(way, figures).await;
        over.cancel();
        toured
    };
    let (toured, killed) = tokio::join!(toured, mind(&armed, &over));
    let killed = killed?;
    toured?;
    shop.end(&sale).await?;
    shop.settled_in(&sale, "ENDED").await?;
    figures.count("orders_accepted_elsewhere", elsewhere.accepted() as u64);
    let stories = [buyers.leave(figures).await, elsewhere.leave().await];
    let kinds = history(&task.platform.pool, &sale, figures).await?;
    let changes = kinds.iter().filter(|kind| *kind == "UPDATE").count();
    figures.expect(changes == EUROS.len(), || format!("{} is the history", kinds.join(", ")));
    expect_known(&task.platform, &sale, figures).await?;
    let accepted: BTreeSet<Uuid> = stories.iter().flat_map(|story| story.told().0).collect();
    task.audit(&sale, &stories, false, figures).await?;
    expect_prices(&task.platform, &sale, &accepted, figures).await?;
    if figures.broken.len() > broken {
        figures.broken.push(format!("that was {way}, the {count}. time"));
    }
    checkout.stop().await?;
    others.stop().await?;
    Ok(match way {
        Way::Killed(..) => killed,
        Way::Flushed | Way::Stopped(_) => true,
    })
}

/// Starts again what dies at its point, until it is over; whether something did.
async fn mind(armed: &[&Service], over: &CancellationToken) -> anyhow::Result<bool> {
    if armed.is_empty() {
        return Ok(false);
    }
    let dying = armed.iter().map(|service| Box::pin(points::is_reached(service, over)));
    let (reached, _, rest) = select_all(dying).await;
    let reached = reached || join_all(rest).await.contains(&true);
    // Armed still if they did not die: once is enough, and the sale has to end.
    try_join_all(armed.iter().map(|service| service.restart(&[]))).await?;
    Ok(reached)
}

fn is_too_near(status: &Status) -> bool {
    let failure = Failure::from_status(status);
    failure.is_some_and(|failure| failure.reason() == Reason::ArgumentInvalid)
}

/// What happens to the prices.
struct Tour<'a> {
    task: &'a Task,
    others: &'a Others,
    shop: &'a Shop,
    sale: &'a Sale,
    /// Of its stock, before anything happens.
    epoch: i64,
    /// Which instance of sale the shop asks first, as [`Others::shop`] has it.
    first: u64,
    crowds: [&'a Crowd; 2],
}

impl<'a> Tour<'a> {
    /// Arms what may die: the instance of sale that is asked first, or both of inventory, since
    /// either may be the one that is told.
    async fn arm(&self, way: Way, count: u32) -> anyhow::Result<Vec<&'a Service>> {
        let Way::Killed(step, moment) = way else { return Ok(Vec::new()) };
        let platform = &self.task.platform;
        let services: Vec<&Service> = if OF_SALE.contains(&step) {
            let [one, other] = self.others.sales(platform);
            vec![if self.first.is_multiple_of(2) { one } else { other }]
        } else {
            self.others.inventories(platform).into()
        };
        let arm = [(KILL_AT, Point { step, moment, count }.armed())];
        try_join_all(services.iter().map(|service| service.restart(&arm))).await?;
        Ok(services)
    }

    async fn go(&self, way: Way, figures: &mut Figures) -> anyhow::Result<()> {
        let [replaced, taken, waiting] = EUROS;
        self.shop.reprice(self.sale, SPEC, replaced, now() + FAR_MS).await??;
        self.staged().await?;
        let at_ms = self.soon(taken).await?;
        let current = self.staged().await?;
        figures.expect(current.effective_ms == at_ms, || format!("{current:?} is not of {at_ms}"));
        let switches_ms = current.switches_ms.unwrap_or(at_ms);
        match way {
            Way::Killed(..) if !way.flushes() => {
                figures.expect(switches_ms >= at_ms, || format!("{current:?} switches early"));
                sleep_until(switches_ms + 1).await;
            }
            Way::Killed(..) | Way::Flushed => {
                let since = Instant::now();
                ask(self.task.platform.redis.port(), &["FLUSHALL"]).await?;
                figures.expect(now() < switches_ms, || "flushed after the switch".to_owned());
                self.task.await_opening(self.sale, self.epoch, since, figures).await;
                sleep_until(switches_ms + 1).await;
            }
            Way::Stopped(signal) => {
                self.stopped(signal, switches_ms, taken, current, figures).await?;
            }
        }
        self.shown(taken, current, figures).await?;
        // What waits has the present prices take the place of those before: they go on.
        self.shop.reprice(self.sale, SPEC, waiting, now() + FAR_MS).await??;
        let next = self.staged().await?;
        self.expect_staged(way, current, next, figures).await?;
        self.shown(taken, current, figures).await?;
        try_join_all(self.crowds.map(|crowd| self.task.goes_on(crowd))).await?;
        Ok(())
    }

    /// Changes the prices as soon as that is allowed, and answers from when on.
    async fn soon(&self, euros: i64) -> anyhow::Result<i64> {
        let mut lead_ms = SOON_MS;
        loop {
            let at_ms = now() + lead_ms;
            match self.shop.reprice(self.sale, SPEC, euros, at_ms).await? {
                Ok(()) => return Ok(at_ms),
                Err(status) if lead_ms >= LONGEST_MS || !is_too_near(&status) => {
                    return Err(status.into());
                }
                Err(_) => lead_ms += LONGER_MS,
            }
        }
    }

    /// Waits until the record knows from when on the stock has the last change, and answers that.
    async fn staged(&self) -> anyhow::Result<Revision> {
        let pool = &self.task.platform.pool;
        until_some(WITHIN, "the stock has the new prices", async || {
            let last = revisions(pool, self.sale).await?.pop();
            anyhow::Ok(last.filter(|last| last.switches_ms.is_some()))
        })
        .await
    }

    /// No instance of sale is awake at the switch.
    async fn stopped(
        &self,
        signal: Signal,
        switches_ms: i64,
        euros: i64,
        current: Revision,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let sales = self.others.sales(&self.task.platform);
        let killed = signal == Signal::SIGKILL;
        for sale in sales {
            if killed {
                sale.kill().await;
            } else {
                sale.signal(signal).await;
            }
        }
        figures.expect(now() < switches_ms, || "stopped after the switch".to_owned());
        figures.expect(switches_ms == current.effective_ms, || format!("{current:?} is late"));
        sleep_until(switches_ms + 1).await;
        self.shown(euros, current, figures).await?;
        sleep_until(switches_ms + AFTER_MS).await;
        for sale in sales {
            if killed {
                sale.restart(&[]).await?;
            } else {
                sale.signal(Signal::SIGCONT).await;
            }
        }
        Ok(())
    }

    /// Takes note unless each instance of inventory shows this price, of this revision, for all
    /// skus in its first answer.
    async fn shown(
        &self,
        euros: i64,
        revision: Revision,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        for inventory in self.others.inventories(&self.task.platform) {
            let client = InventoryServiceClient::new(inventory.channel()?);
            let stock = until_some(WITHIN, "inventory answers", async || {
                let sale_id = self.sale.id.to_string();
                let get = GetStockRequest { sale_id, skus: Vec::new(), fresh: true };
                let answer = client.clone().get_stock(timely(get)).await?;
                Ok::<_, Status>(Some(answer.into_inner().stock))
            })
            .await?;
            for sku in &stock {
                let shown = sku.unit_price.as_ref().map(|price| (price.units, price.nanos));
                let right = shown == Some((euros, 0)) && sku.price_revision == revision.revision;
                figures.expect(right, || format!("{sku:?} is shown after {revision:?}"));
            }
            figures.expect(!stock.is_empty(), || "a sale without skus is shown".to_owned());
        }
        Ok(())
    }

    /// Takes note unless the stock has the one revision as that of now, and the other as the next.
    async fn expect_staged(
        &self,
        way: Way,
        current: Revision,
        next: Revision,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let meta = key(self.sale.id, "meta");
        let fields = ["HMGET", &meta, "rev", "next_rev", "next_ms", "rev_ms"];
        let there = ask(self.task.platform.redis.port(), &fields).await?;
        let there: Vec<&str> = there.list().iter().map(Reply::text).collect();
        let ms = |revision: Revision| revision.switches_ms.unwrap_or_default().to_string();
        let due = [current.revision.to_string(), next.revision.to_string(), ms(next), ms(current)];
        // A stock that was rebuilt need not know from when on it would have had its prices.
        let known = if way.flushes() { due.len() - 1 } else { due.len() };
        figures.expect(there.iter().zip(&due).take(known).all(|(there, due)| there == due), || {
            format!("the stock has {there:?} of {current:?} and {next:?}")
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that no service knows would never be come by.
    #[test]
    fn every_point_is_a_step_of_its_service() {
        for step in OF_SALE {
            assert!(flashsale_sale::steps::all().contains(&step), "{step}");
        }
        for step in OF_INVENTORY {
            assert!(flashsale_inventory::steps::all().contains(&step), "{step}");
        }
    }
}
