//! Sales that open and close by the clock of their stock's store, at two instances of inventory,
//! while instances of the sale service are killed.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use flashsale_errors::Failure;
use flashsale_proto::{
    Money, NamedChannel,
    inventory::{Line, inventory_service_client::InventoryServiceClient},
    sale::{
        CreateSaleRequest, Item, SaleSettings, ScheduleSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{ask, buyer::Buyer, platform::Service};
use futures::future::try_join_all;
use prost_types::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use uuid::Uuid;

use super::Bench;
use crate::{
    calls::{Reserve, now_ms},
    drive::{Lane as _, Miss},
    say,
};

/// How long before its start a sale is planned: it is prepared at once, also if the instance that
/// does so is killed meanwhile. Shops plan earlier.
const LEAD_MS: i64 = 2_000;
/// How long a sale lasts: longer than the record may take until it has the sale open.
const WINDOW_MS: i64 = 1_200;
/// From how long before the start until how long after the end buyers try.
const AROUND_MS: i64 = 200;
/// From one start to the next: the buyers of one sale have gone when those of the next come.
const APART_MS: i64 = WINDOW_MS + 2 * AROUND_MS + 100;
/// Buyers at each instance of inventory, each with one call in flight: one is due every
/// millisecond.
const LANES: u64 = 4;
/// How long a sale instance may take to answer, and how soon the next one is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long the record may be behind before there are no figures.
const RECORDED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// What the buyers' ids begin with; the instance of inventory that they go to follows.
const BUYER: &str = "schedule-";
/// Instances of either service.
const INSTANCES: usize = 2;

/// Refused calls by reason; `_OTHER` is not one of ours.
pub(super) type Refusals = BTreeMap<&'static str, u64>;

/// A sale and its window.
#[derive(Debug, Clone, Copy)]
struct Sale {
    id: Uuid,
    number: u32,
    starts_ms: i64,
    ends_ms: i64,
}

/// A sale, and the instance that is killed meanwhile.
struct Plan<'a> {
    sale: Sale,
    kill_ms: i64,
    killed: &'a Service,
}

/// What came of a sale.
struct Opening {
    sale: Sale,
    /// The instance was killed before the end.
    killed: bool,
    refusals: Refusals,
    /// When each hold was taken, by the clock of the store, of the buyers at each instance of
    /// inventory.
    taken_ms: BTreeMap<String, Vec<i64>>,
    /// When the record had the sale open, or over if it never had it open.
    record_open_ms: i64,
    /// When the record had it over.
    record_end_ms: i64,
}

/// The instances of both services.
struct Instances<'a> {
    sales: [&'a Service; INSTANCES],
    planners: [SaleServiceClient<NamedChannel>; INSTANCES],
    reserves: [Reserve; INSTANCES],
    /// Held while an instance is down, so that the other one is not killed.
    down: Mutex<()>,
}

impl Bench<'_> {
    /// Has sales open and close one after the other. Instances of sale are other processes
    /// afterwards.
    pub(super) async fn schedule(&self) -> anyhow::Result<Value> {
        let seed: u32 = self.settings.seed.unwrap_or_else(rand::random);
        say(&format!("opening and closing sales by the clock, seed {seed}"));
        let inventory = self.platform.another("inventory", "inventory-2", |_| {}).await?;
        let url = inventory.url();
        let sale = self
            .platform
            .another("sale", "sale-2", |settings| settings.peers.inventory.url = Some(url))
            .await?;
        let instances = Instances::new(
            [self.platform.service("sale")?, &sale],
            [self.platform.service("inventory")?, &inventory],
        )?;
        let plans = instances.plan(self.settings.openings, seed).await?;
        let openings = plans.iter().map(|plan| self.opening(&instances, plan));
        let openings = try_join_all(openings).await?;
        sale.stop().await?;
        inventory.stop().await?;
        Ok(report(seed, &openings))
    }

    /// One sale, from its planning until the record has it over.
    async fn opening(&self, instances: &Instances<'_>, plan: &Plan<'_>) -> anyhow::Result<Opening> {
        let sale = plan.sale;
        let ((), (accepted, refusals), killed) =
            tokio::try_join!(instances.schedule(sale), instances.buy(sale), instances.kill(plan))?;
        let taken_ms = self.taken(sale).await?;
        let holds = taken_ms.values().map(Vec::len).sum::<usize>();
        ensure!(
            u64::try_from(holds) == Ok(accepted),
            "{accepted} Reserve calls left {holds} holds in a sale"
        );
        let (record_open_ms, record_end_ms) = self.recorded_window(sale).await?;
        Ok(Opening { sale, killed, refusals, taken_ms, record_open_ms, record_end_ms })
    }

    /// When each hold was taken, by the instance that took it.
    async fn taken(&self, sale: Sale) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
        let key = format!("fs:{{{}}}:holds", sale.id);
        let holds = ask(self.platform.redis_port(), &["HVALS", &key]).await?;
        let mut taken = BTreeMap::<String, Vec<i64>>::new();
        for hold in holds.list() {
            let hold: Value = serde_json::from_str(hold.text())?;
            let buyer = hold["b"].as_str().and_then(|buyer| buyer.strip_prefix(BUYER));
            let instance = buyer.and_then(|buyer| buyer.split('-').next());
            let instance = instance.context("a hold of another buyer")?;
            let at_ms = hold["t"].as_i64().context("a hold that was never taken")?;
            taken.entry(instance.to_owned()).or_default().push(at_ms);
        }
        Ok(taken)
    }

    /// When the record had the sale open, and when over, by the clock of Postgres in ms.
    async fn recorded_window(&self, sale: Sale) -> anyhow::Result<(i64, i64)> {
        let recorded = timeout(RECORDED_WITHIN, async {
            loop {
                let at: (Option<i64>, Option<i64>) = sqlx::query_as(
                    "SELECT (extract(epoch FROM min(at)) * 1000)::bigint,
                         (extract(epoch FROM min(at) FILTER (WHERE kind = 'END')) * 1000)::bigint
                       FROM sale_changes WHERE sale_id = $1 AND kind IN ('OPEN', 'END')",
                )
                .bind(sale.id)
                .fetch_one(self.platform.pool())
                .await?;
                if let (Some(open_ms), Some(end_ms)) = at {
                    return anyhow::Ok((open_ms, end_ms));
                }
                sleep(POLL).await;
            }
        });
        recorded.await.context("the record does not have a sale over")?
    }
}

impl<'a> Instances<'a> {
    fn new(
        sales: [&'a Service; INSTANCES],
        inventories: [&Service; INSTANCES],
    ) -> anyhow::Result<Self> {
        let [one, other] = sales;
        let planner = |sale: &Service| anyhow::Ok(SaleServiceClient::new(sale.channel()?));
        let [first, second] = inventories;
        let reserve = |inventory: &Service| {
            anyhow::Ok(Reserve(InventoryServiceClient::new(inventory.channel()?)))
        };
        Ok(Self {
            sales,
            planners: [planner(one)?, planner(other)?],
            reserves: [reserve(first)?, reserve(second)?],
            down: Mutex::new(()),
        })
    }

    /// Creates the sales, and decides when each opens and when an instance is killed.
    async fn plan(&self, count: u32, seed: u32) -> anyhow::Result<Vec<Plan<'a>>> {
        let mut random = StdRng::seed_from_u64(seed.into());
        let mut ids = Vec::new();
        for number in 0..count {
            ids.push(self.draft(number).await?);
        }
        let first_ms = now_ms() + LEAD_MS;
        (0..count)
            .zip(ids)
            .map(|(number, id)| {
                let starts_ms = first_ms + i64::from(number) * APART_MS;
                let sale = Sale { id, number, starts_ms, ends_ms: starts_ms + WINDOW_MS };
                let kill_ms = random.random_range(starts_ms - LEAD_MS..sale.ends_ms);
                let killed = *self.sales.choose(&mut random).context("no instance of sale")?;
                Ok(Plan { sale, kill_ms, killed })
            })
            .collect()
    }

    /// Creates a sale of an item that no other one offers.
    async fn draft(&self, number: u32) -> anyhow::Result<Uuid> {
        let create = CreateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            settings: Some(SaleSettings {
                name: format!("Planned {number}"),
                currency: "EUR".to_owned(),
                // Longer than a run: no hold is swept meanwhile.
                hold_ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
                ..SaleSettings::default()
            }),
            items: vec![Item {
                sku: sku(number),
                title: format!("Planned item {number}"),
                unit_price: Some(Money {
                    currency_code: "EUR".to_owned(),
                    units: 19,
                    nanos: 900_000_000,
                }),
                regular_price: None,
                // More than there are calls.
                quantity: 1_000_000,
                per_buyer_limit: 1,
            }],
        };
        let [planner, _] = &self.planners;
        let created = planner.clone().create_sale(create).await?.into_inner();
        Ok(created.sale.unwrap_or_default().sale_id.parse()?)
    }

    /// Plans the sale in time, by an instance that is alive.
    async fn schedule(&self, sale: Sale) -> anyhow::Result<()> {
        until(sale.starts_ms - LEAD_MS).await;
        let schedule = ScheduleSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale.id.to_string(),
            starts_at: Some(timestamp(sale.starts_ms)?),
            ends_at: Some(timestamp(sale.ends_ms)?),
            allow_shared_skus: false,
        };
        let mut planners = self.planners.iter().cycle().skip(sale.number as usize % INSTANCES);
        loop {
            let mut planner = planners.next().context("no instance of sale")?.clone();
            let mut request = tonic::Request::new(schedule.clone());
            request.set_timeout(ANSWER_WITHIN);
            match planner.schedule_sale(request).await {
                Ok(_) => return Ok(()),
                // It may have been killed: the other one is asked the same.
                Err(_) if now_ms() < sale.starts_ms - AROUND_MS => sleep(ASK_AGAIN).await,
                Err(status) => return Err(status).context("a sale was not planned"),
            }
        }
    }

    /// Kills an instance of sale and starts it again. False if its turn came only after the end.
    async fn kill(&self, plan: &Plan<'_>) -> anyhow::Result<bool> {
        until(plan.kill_ms).await;
        let _turn = self.down.lock().await;
        let in_time = now_ms() < plan.sale.ends_ms;
        plan.killed.restart(&[]).await?;
        Ok(in_time)
    }

    /// Has buyers try at all instances of inventory. Answers how many took a unit, and why the
    /// others did not.
    async fn buy(&self, sale: Sale) -> anyhow::Result<(u64, Refusals)> {
        until(sale.starts_ms - AROUND_MS).await;
        let mut buyers = JoinSet::new();
        for (instance, reserve) in self.reserves.iter().enumerate() {
            for lane in 0..LANES {
                buyers.spawn(try_to_buy(reserve.clone(), sale, instance, lane));
            }
        }
        let (mut accepted, mut refusals) = (0, Refusals::new());
        while let Some(tried) = buyers.join_next().await {
            let (more, refused) = tried??;
            accepted += more;
            for (reason, count) in refused {
                *refusals.entry(reason).or_default() += count;
            }
        }
        Ok((accepted, refusals))
    }
}

/// Tries whenever it is due, each time as another buyer.
async fn try_to_buy(
    mut reserve: Reserve,
    sale: Sale,
    instance: usize,
    lane: u64,
) -> anyhow::Result<(u64, Refusals)> {
    let (mut accepted, mut refusals) = (0, Refusals::new());
    let first = Instant::now() + Duration::from_millis(lane);
    let mut due = interval_at(first, Duration::from_millis(LANES));
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0_u64.. {
        due.tick().await;
        if now_ms() >= sale.ends_ms + AROUND_MS {
            break;
        }
        let buyer_id = format!("{BUYER}{instance}-{lane}-{number}");
        let buyer = Buyer::new(sale.id, buyer_id, "Buyer".to_owned());
        let lines = vec![Line { sku: sku(sale.number), quantity: 1 }];
        match reserve.send(buyer.reserve(Uuid::new_v4(), lines, String::new())).await {
            Ok(()) => accepted += 1,
            Err(Miss::Refused(status)) => {
                let reason = Failure::from_status(&status).map(|failure| failure.reason());
                let reason = reason.map_or("_OTHER", |reason| reason.as_str());
                *refusals.entry(reason).or_default() += 1;
            }
            Err(miss @ (Miss::NotDurable(_) | Miss::Failed(_))) => return Err(miss.into()),
        }
    }
    Ok((accepted, refusals))
}

fn report(seed: u32, openings: &[Opening]) -> Value {
    let (mut open, mut close) = (Vec::new(), Vec::new());
    let (mut accepted, mut early, mut late) = (0, 0, 0);
    let mut refusals = Refusals::new();
    for opening in openings {
        let Sale { starts_ms, ends_ms, .. } = opening.sale;
        for taken_ms in opening.taken_ms.values() {
            accepted += taken_ms.len();
            early += taken_ms.iter().filter(|at| **at < starts_ms).count();
            late += taken_ms.iter().filter(|at| **at >= ends_ms).count();
            open.extend(taken_ms.iter().min().map(|first| first - starts_ms));
            close.extend(taken_ms.iter().max().map(|last| ends_ms - last));
        }
        for (reason, count) in &opening.refusals {
            *refusals.entry(*reason).or_default() += count;
        }
    }
    let done = openings.iter().filter(|opening| opening.taken_ms.len() == INSTANCES).count();
    let record_open =
        openings.iter().map(|opening| opening.record_open_ms - opening.sale.starts_ms);
    let record_end = openings.iter().map(|opening| opening.record_end_ms - opening.sale.ends_ms);
    json!({
        "seed": seed,
        "openings": { "asked": openings.len(), "done": done },
        "killed": openings.iter().filter(|opening| opening.killed).count(),
        "open_delay_ms": spread(open),
        "last_before_end_ms": spread(close),
        "early_accepted": early,
        "late_accepted": late,
        "record_open_ms": spread(record_open.collect()),
        "record_end_ms": spread(record_end.collect()),
        "accepted": accepted,
        "refusals": refusals,
    })
}

/// Percentiles by nearest rank; null of no values.
pub(super) fn spread(mut values: Vec<i64>) -> Value {
    values.sort_unstable();
    let at = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100);
        values.get(rank.saturating_sub(1)).copied()
    };
    json!({ "p50": at(50), "p99": at(99), "max": at(100) })
}

fn sku(number: u32) -> String {
    format!("PLANNED-{number:03}")
}

/// Waits for a moment of this machine's clock, which is also that of its stores.
async fn until(at_ms: i64) {
    let left_ms = u64::try_from(at_ms - now_ms()).unwrap_or_default();
    sleep(Duration::from_millis(left_ms)).await;
}

pub(super) fn timestamp(at_ms: i64) -> anyhow::Result<Timestamp> {
    let nanos = i32::try_from(at_ms.rem_euclid(1_000) * 1_000_000)?;
    Ok(Timestamp { seconds: at_ms.div_euclid(1_000), nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred = spread((1..=100).rev().collect());
        assert_eq!(hundred, json!({ "p50": 50, "p99": 99, "max": 100 }));
        assert_eq!(spread(vec![-3]), json!({ "p50": -3, "p99": -3, "max": -3 }));
        assert_eq!(spread(Vec::new()), json!({ "p50": null, "p99": null, "max": null }));
    }

    #[test]
    fn holds_outside_the_window_are_counted() {
        let sale = Sale { id: Uuid::nil(), number: 0, starts_ms: 1_000, ends_ms: 2_000 };
        let opening = |one: &[i64], other: &[i64]| Opening {
            sale,
            killed: true,
            refusals: Refusals::from([("SALE_NOT_OPEN", 2)]),
            taken_ms: [("0", one), ("1", other)]
                .into_iter()
                .filter(|(_, taken)| !taken.is_empty())
                .map(|(instance, taken)| (instance.to_owned(), taken.to_vec()))
                .collect(),
            record_open_ms: 1_100,
            record_end_ms: 2_200,
        };
        let well = report(7, &[opening(&[1_000, 1_999], &[1_003, 1_990])]);
        assert_eq!(well["openings"], json!({ "asked": 1, "done": 1 }));
        assert_eq!((&well["early_accepted"], &well["late_accepted"]), (&json!(0), &json!(0)));
        assert_eq!(well["open_delay_ms"], json!({ "p50": 0, "p99": 3, "max": 3 }));
        assert_eq!(well["last_before_end_ms"], json!({ "p50": 1, "p99": 10, "max": 10 }));
        assert_eq!(well["record_open_ms"]["max"], 100);
        assert_eq!(well["record_end_ms"]["max"], 200);

        let ill = report(7, &[opening(&[999, 2_000], &[]), opening(&[1_050, 2_001], &[1_000])]);
        assert_eq!(ill["openings"], json!({ "asked": 2, "done": 1 }));
        assert_eq!((&ill["early_accepted"], &ill["late_accepted"]), (&json!(1), &json!(2)));
        assert_eq!((&ill["accepted"], &ill["killed"]), (&json!(5), &json!(2)));
        assert_eq!(ill["refusals"], json!({ "SALE_NOT_OPEN": 4 }));
    }
}
