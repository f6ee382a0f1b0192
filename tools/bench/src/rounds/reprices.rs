//! Prices of a large sale that change all the time, all of them at once, while it is read and
//! bought from. Each change sets all prices to the same level, which tells it from all others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use flashsale_errors::{Failure, Reason, Retry};
use flashsale_proto::{
    Money, NamedChannel,
    inventory::{
        GetStockRequest, Line, PricedLine, SkuStock, WatchStockRequest,
        inventory_service_client::InventoryServiceClient,
    },
    sale::{
        CreateSaleRequest, Item, SaleSettings, StartSaleRequest, UpdateSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{Reply, ask, buyer::Buyer};
use prost_types::FieldMask;
use rand::{SeedableRng as _, rngs::StdRng, seq::index};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Status;
use uuid::Uuid;

use super::{
    Bench, channels,
    schedule::{Refusals, spread, timestamp},
};
use crate::{calls::now_ms, report::rounded, sales::patient, say};

/// The most items that a sale has.
const MOST_ITEMS: u32 = 10_000;
/// What a unit costs at first. Each change makes it a cent more.
const PRICE_MINOR: i64 = 1_900;
/// How far ahead a change takes effect at first: the least that is allowed, and what the request
/// takes. One that comes too late makes it longer.
const LEAD_MS: i64 = 2_500;
const LONGER_MS: i64 = 500;
const LONGEST_LEAD_MS: i64 = 15_000;
/// How long a level lasts at least, if the changes keep up: buyers have to meet it.
const APART_MS: i64 = 250;
/// Changes that wait at most; a sale allows a few more.
const WAITING: i64 = 8;
/// How long all that wait may take to take effect.
const SWITCHED_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a reader of some skus, one of all, and a buyer rest between two calls: they are to come
/// all the time, and not to take all of the machine.
const READER_RESTS: Duration = Duration::from_millis(20);
const READER_OF_ALL_RESTS: Duration = Duration::from_millis(250);
const BUYER_RESTS: Duration = Duration::from_millis(100);
/// Skus that a reader and a buyer name.
const SKUS_READ: usize = 10;
const SKUS_BOUGHT: usize = 3;
/// How long buyers go on after the last change.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// What takes Redis longer than this is in its log, in µs, and how many entries it has.
const LOGGED_US: i64 = 500;
const LOG_ENTRIES: &str = "4096";
/// What Redis has by default.
const DEFAULT_LOGGED_US: &str = "10000";
/// Holds that are read in one go.
const PAGE: &str = "1000";

/// What the readers or the buyers were told.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    /// Answers with prices of more than one level.
    mixed: u64,
    refusals: Refusals,
}

impl Seen {
    fn stock(&mut self, stock: &[SkuStock]) {
        self.prices(stock.iter().map(|sku| (sku.unit_price.as_ref(), sku.price_revision)));
    }

    fn lines(&mut self, lines: &[PricedLine]) {
        self.prices(lines.iter().map(|line| (line.unit_price.as_ref(), line.price_revision)));
    }

    fn prices<'a>(&mut self, mut prices: impl Iterator<Item = (Option<&'a Money>, i64)>) {
        self.answers += 1;
        let first = prices.next();
        self.mixed += u64::from(prices.any(|price| Some(price) != first));
    }

    fn refused(&mut self, status: &Status) {
        let reason = Failure::from_status(status).map(|failure| failure.reason());
        let reason = reason.map_or("_OTHER", |reason| reason.as_str());
        *self.refusals.entry(reason).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.mixed += other.mixed;
        for (reason, count) in other.refusals {
            *self.refusals.entry(reason).or_default() += count;
        }
    }
}

/// What the holds say.
#[derive(Debug, Default)]
struct Holds {
    /// When the first was taken at each level, by the clock of the store.
    first_ms: BTreeMap<i64, i64>,
    /// How many have lines of more than one level.
    mixed: u64,
}

/// Those who read and buy until it is over.
struct Crowd {
    over: watch::Sender<bool>,
    readers: JoinSet<Seen>,
    buyers: JoinSet<Seen>,
}

impl Crowd {
    fn come(sale: Uuid, items: usize, each: u32, channels: &[NamedChannel], seed: u64) -> Self {
        let (over, is_over) = watch::channel(false);
        let (mut readers, mut buyers) = (JoinSet::new(), JoinSet::new());
        for (number, channel) in (0..each).zip(channels.iter().cycle()) {
            let stock = || InventoryServiceClient::new(channel.clone());
            let random = |kind: u64| StdRng::seed_from_u64(seed ^ (kind << 32) ^ u64::from(number));
            // Of eight readers one follows the whole stock, two read it, and the others read a few
            // skus.
            match number % 8 {
                0 => readers.spawn(follow(stock(), sale, is_over.clone())),
                1 | 2 => readers.spawn(read(stock(), sale, items, None, is_over.clone())),
                _ => readers.spawn(read(stock(), sale, items, Some(random(1)), is_over.clone())),
            };
            buyers.spawn(buy(stock(), sale, items, number, random(2), is_over.clone()));
        }
        Self { over, readers, buyers }
    }

    /// What the readers and the buyers saw.
    async fn leave(mut self) -> anyhow::Result<(Seen, Seen)> {
        self.over.send_replace(true);
        let (mut reads, mut reserves) = (Seen::default(), Seen::default());
        while let Some(seen) = self.readers.join_next().await {
            reads.add(seen?);
        }
        while let Some(seen) = self.buyers.join_next().await {
            reserves.add(seen?);
        }
        Ok((reads, reserves))
    }
}

/// Goes on until it is over.
async fn until_over(mut over: watch::Receiver<bool>, going: impl Future<Output = ()>) {
    tokio::select! {
        _ = over.wait_for(|over| *over) => {}
        () = going => {}
    }
}

/// Follows the whole stock.
async fn follow(
    mut stock: InventoryServiceClient<NamedChannel>,
    sale: Uuid,
    over: watch::Receiver<bool>,
) -> Seen {
    let mut seen = Seen::default();
    let going = async {
        loop {
            let watch = WatchStockRequest { sale_id: sale.to_string() };
            match stock.watch_stock(watch).await {
                Ok(answers) => {
                    let mut answers = answers.into_inner();
                    loop {
                        match answers.message().await {
                            Ok(Some(answer)) => seen.stock(&answer.stock),
                            Ok(None) => break,
                            Err(status) => {
                                seen.refused(&status);
                                break;
                            }
                        }
                    }
                }
                Err(status) => seen.refused(&status),
            }
            sleep(READER_OF_ALL_RESTS).await;
        }
    };
    until_over(over, going).await;
    seen
}

/// Reads the whole stock, or a few skus if they are to be drawn.
async fn read(
    mut stock: InventoryServiceClient<NamedChannel>,
    sale: Uuid,
    items: usize,
    mut random: Option<StdRng>,
    over: watch::Receiver<bool>,
) -> Seen {
    let mut seen = Seen::default();
    let rests = if random.is_some() { READER_RESTS } else { READER_OF_ALL_RESTS };
    let going = async {
        loop {
            let skus = match &mut random {
                Some(random) => some_skus(random, items, SKUS_READ),
                None => Vec::new(),
            };
            let get = GetStockRequest { sale_id: sale.to_string(), skus, fresh: false };
            match stock.get_stock(timely(get)).await {
                Ok(answer) => seen.stock(&answer.into_inner().stock),
                Err(status) => seen.refused(&status),
            }
            sleep(rests).await;
        }
    };
    until_over(over, going).await;
    seen
}

/// Takes units of a few skus, each time as another buyer.
async fn buy(
    mut stock: InventoryServiceClient<NamedChannel>,
    sale: Uuid,
    items: usize,
    lane: u32,
    mut random: StdRng,
    over: watch::Receiver<bool>,
) -> Seen {
    let mut seen = Seen::default();
    let going = async {
        for number in 0_u64.. {
            let buyer = Buyer::new(sale, format!("reprice-{lane}-{number}"), "Buyer".to_owned());
            let skus = some_skus(&mut random, items, SKUS_BOUGHT);
            let lines = skus.into_iter().map(|sku| Line { sku, quantity: 1 }).collect();
            let reserve = buyer.reserve(Uuid::new_v4(), lines, String::new());
            match stock.reserve(timely(reserve)).await {
                Ok(answer) => seen.lines(&answer.into_inner().hold.unwrap_or_default().lines),
                Err(status) => seen.refused(&status),
            }
            sleep(BUYER_RESTS).await;
        }
    };
    until_over(over, going).await;
    seen
}

impl Bench<'_> {
    /// Changes the prices of one sale as often as asked.
    pub(super) async fn reprices(&self) -> anyhow::Result<Value> {
        let items = (self.settings.holds / 10).min(MOST_ITEMS);
        let asked = self.settings.reprices;
        let seed: u64 = rand::random();
        say(&format!("changing the prices of {items} items {asked} times, seed {seed}"));
        let port = self.platform.redis_port();
        let sale = self.large_sale(items).await?;
        let channels = channels(self.settings, self.platform, "inventory").await?;
        log_slow(port, &LOGGED_US.to_string()).await?;
        let began = Instant::now();
        let each = self.settings.in_flight;
        let crowd = Crowd::come(sale, usize::try_from(items)?, each, &channels, seed);
        let (over, is_over) = watch::channel(false);
        let changed = async {
            let changed = self.change_prices(sale, items).await;
            sleep(AFTERWARDS).await;
            over.send_replace(true);
            changed
        };
        let (changed, longest_us) = tokio::join!(changed, longest_script(port, is_over));
        let took = began.elapsed();
        let (reads, reserves) = crowd.leave().await?;
        log_slow(port, DEFAULT_LOGGED_US).await?;
        let Changed { effective_ms, updates_ms, lead_ms } = changed?;
        let holds = self.levels(sale).await?;
        let figures = json!({
            "items": items,
            "readers": each,
            "buyers": each,
            "seed": seed,
            "took_seconds": took.as_secs_f64().round(),
            "lead_ms": lead_ms,
            "longest_script_ms": rounded(longest_us? as f64 / 1_000.0, 3),
            "update_ms": spread(updates_ms),
            "reads": reads.answers,
            "reserves": reserves.answers,
            "refusals": { "reads": reads.refusals, "reserves": reserves.refusals },
        });
        Ok(with_levels(figures, reads.mixed + reserves.mixed, &effective_ms, &holds))
    }

    /// Opens a sale without a room.
    async fn large_sale(&self, items: u32) -> anyhow::Result<Uuid> {
        let mut sales = SaleServiceClient::new(self.platform.channel("sale").await?);
        let create = CreateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            settings: Some(SaleSettings {
                name: "Prices that change".to_owned(),
                currency: "EUR".to_owned(),
                // Longer than a run: no hold is swept meanwhile.
                hold_ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
                ..SaleSettings::default()
            }),
            items: items_at(items, PRICE_MINOR)?,
        };
        let made = sales.create_sale(patient(create)).await?.into_inner();
        let sale_id = made.sale.unwrap_or_default().sale_id;
        let request_id = Uuid::new_v4().to_string();
        let start =
            StartSaleRequest { request_id, sale_id: sale_id.clone(), allow_shared_skus: false };
        sales.start_sale(patient(start)).await?;
        let sale: Uuid = sale_id.parse()?;
        let told = timeout(SWITCHED_WITHIN, async {
            loop {
                let told: bool = sqlx::query_scalar(
                    "SELECT propagated_version >= version FROM sales WHERE sale_id = $1",
                )
                .bind(sale)
                .fetch_one(self.platform.pool())
                .await?;
                if told {
                    return anyhow::Ok(());
                }
                sleep(POLL).await;
            }
        });
        told.await.context("the sale has not reached every service")??;
        Ok(sale)
    }

    /// Changes all prices again and again, each time from as soon as is allowed, and waits until
    /// the last change has taken effect.
    async fn change_prices(&self, sale: Uuid, items: u32) -> anyhow::Result<Changed> {
        let mut sales = SaleServiceClient::new(self.platform.channel("sale").await?);
        let mut changed = Changed { lead_ms: LEAD_MS, ..Changed::default() };
        for level in 1..=i64::from(self.settings.reprices) {
            self.waiting(sale, WAITING - 1).await?;
            let mut update = UpdateSaleRequest {
                request_id: Uuid::new_v4().to_string(),
                sale_id: sale.to_string(),
                update_mask: Some(FieldMask { paths: vec!["items".to_owned()] }),
                items: items_at(items, PRICE_MINOR + level)?,
                reason: "bench".to_owned(),
                ..UpdateSaleRequest::default()
            };
            let asked = Instant::now();
            let last_ms = changed.effective_ms.values().max().copied().unwrap_or_default();
            let mut at_ms = (now_ms() + changed.lead_ms).max(last_ms + APART_MS);
            loop {
                update.effective_at = Some(timestamp(at_ms)?);
                let Err(status) = sales.update_sale(patient(update.clone())).await else { break };
                let reason = Failure::from_status(&status).map(|failure| failure.reason());
                match reason {
                    Some(Reason::ArgumentInvalid) if changed.lead_ms < LONGEST_LEAD_MS => {
                        changed.lead_ms += LONGER_MS;
                        at_ms = (now_ms() + changed.lead_ms).max(last_ms + APART_MS);
                    }
                    Some(reason) if reason.retry() != Retry::Never => sleep(POLL).await,
                    Some(_) | None => bail!("change {level}: {status}"),
                }
                ensure!(asked.elapsed() < SWITCHED_WITHIN, "change {level}: {status}");
            }
            changed.updates_ms.push(i64::try_from(asked.elapsed().as_millis())?);
            changed.effective_ms.insert(level, at_ms);
        }
        self.waiting(sale, 0).await?;
        Ok(changed)
    }

    /// Waits until no more than so many changes have yet to take effect.
    async fn waiting(&self, sale: Uuid, most: i64) -> anyhow::Result<()> {
        let waited = timeout(SWITCHED_WITHIN, async {
            loop {
                let waiting: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM price_revisions
                      WHERE sale_id = $1 AND replaced_by IS NULL
                        AND (switches_at IS NULL OR switches_at > now())",
                )
                .bind(sale)
                .fetch_one(self.platform.pool())
                .await?;
                if waiting <= most {
                    return anyhow::Ok(());
                }
                sleep(POLL).await;
            }
        });
        waited.await.context("new prices do not take effect")?
    }

    /// At which levels the holds of a sale were taken.
    async fn levels(&self, sale: Uuid) -> anyhow::Result<Holds> {
        let key = format!("fs:{{{sale}}}:holds");
        let (mut holds, mut cursor) = (Holds::default(), "0".to_owned());
        loop {
            let scan = ["HSCAN", &key, &cursor, "COUNT", PAGE];
            let page = ask(self.platform.redis_port(), &scan).await?;
            let [next, pairs] = page.list() else { bail!("HSCAN answers {page:?}") };
            // A hold may come twice, which changes nothing while none is mixed.
            for pair in pairs.list().chunks_exact(2) {
                let [_, hold] = pair else { continue };
                holds.add(hold.text())?;
            }
            next.text().clone_into(&mut cursor);
            if cursor == "0" {
                return Ok(holds);
            }
        }
    }
}

/// What became of the changes.
#[derive(Debug, Default)]
struct Changed {
    /// From when on each level was asked for.
    effective_ms: BTreeMap<i64, i64>,
    /// How long each request took, until inventory knew.
    updates_ms: Vec<i64>,
    /// How far ahead the last one was.
    lead_ms: i64,
}

impl Holds {
    fn add(&mut self, hold: &str) -> anyhow::Result<()> {
        let hold: Value = serde_json::from_str(hold)?;
        let taken_ms = hold["t"].as_i64().context("a hold that was never taken")?;
        let lines = hold["l"].as_array().context("a hold without lines")?;
        let mut levels = Vec::new();
        for line in lines {
            let minor = line[2].as_i64().context("a line without a price")?;
            levels.push((minor - PRICE_MINOR, line[3].as_i64().unwrap_or(1)));
        }
        levels.dedup();
        self.mixed += u64::from(levels.len() > 1);
        for (level, _) in levels {
            let first = self.first_ms.entry(level).or_insert(taken_ms);
            *first = taken_ms.min(*first);
        }
        Ok(())
    }
}

/// Adds what holds and answers say of the levels: how many were mixed, how many levels were seen,
/// how many before their time, and how soon each was after it.
fn with_levels(
    mut figures: Value,
    mixed: u64,
    effective_ms: &BTreeMap<i64, i64>,
    holds: &Holds,
) -> Value {
    let delays: Vec<i64> = effective_ms
        .iter()
        .filter_map(|(level, at_ms)| Some(holds.first_ms.get(level)? - at_ms))
        .collect();
    figures["reprices"] = json!({ "asked": effective_ms.len(), "done": delays.len() });
    figures["mixed"] = json!(mixed + holds.mixed);
    figures["early"] = json!(delays.iter().filter(|delay| **delay < 0).count());
    figures["switch_delay_ms"] = spread(delays);
    figures
}

/// Has Redis keep what takes longer than so many µs, and forget what it has.
async fn log_slow(port: u16, us: &str) -> anyhow::Result<()> {
    ask(port, &["CONFIG", "SET", "slowlog-max-len", LOG_ENTRIES]).await?;
    ask(port, &["CONFIG", "SET", "slowlog-log-slower-than", us]).await?;
    ask(port, &["SLOWLOG", "RESET"]).await?;
    Ok(())
}

/// How long the longest run of a script takes, in µs, by Redis itself; at least what it logs.
async fn longest_script(port: u16, over: watch::Receiver<bool>) -> anyhow::Result<i64> {
    let mut longest = LOGGED_US;
    loop {
        // First, so that the last look is at everything.
        let is_over = *over.borrow();
        let log = ask(port, &["SLOWLOG", "GET", "-1"]).await?;
        ask(port, &["SLOWLOG", "RESET"]).await?;
        for entry in log.list() {
            let [_, _, Reply::Int(us), Reply::List(words), ..] = entry.list() else { continue };
            if words.first().is_some_and(|word| word.text().eq_ignore_ascii_case("EVALSHA")) {
                longest = longest.max(*us);
            }
        }
        if is_over {
            return Ok(longest);
        }
        sleep(POLL).await;
    }
}

fn items_at(items: u32, minor: i64) -> anyhow::Result<Vec<Item>> {
    let nanos = i32::try_from(minor % 100 * 10_000_000)?;
    let price = Money { currency_code: "EUR".to_owned(), units: minor / 100, nanos };
    let item = |number| Item {
        sku: sku(number),
        title: "Item".to_owned(),
        unit_price: Some(price.clone()),
        // More than there are calls.
        quantity: 1_000_000,
        per_buyer_limit: 0,
        regular_price: None,
    };
    Ok((0..items as usize).map(item).collect())
}

fn sku(number: usize) -> String {
    format!("REPRICED-{number:05}")
}

fn some_skus(random: &mut StdRng, items: usize, count: usize) -> Vec<String> {
    index::sample(random, items, count).into_iter().map(sku).collect()
}

fn timely<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn price(minor: i64) -> Money {
        let nanos = i32::try_from(minor % 100 * 10_000_000).unwrap();
        Money { currency_code: "EUR".to_owned(), units: minor / 100, nanos }
    }

    #[test]
    fn answers_of_two_levels_are_counted() {
        let line = |minor, price_revision| PricedLine {
            unit_price: Some(price(minor)),
            price_revision,
            ..PricedLine::default()
        };
        let mut seen = Seen::default();
        seen.lines(&[line(1_901, 2), line(1_901, 2)]);
        seen.lines(&[]);
        assert_eq!((seen.answers, seen.mixed), (2, 0));
        seen.lines(&[line(1_901, 2), line(1_902, 2)]);
        seen.lines(&[line(1_901, 2), line(1_901, 3)]);
        assert_eq!((seen.answers, seen.mixed), (4, 2));
        let sku = |minor| SkuStock { unit_price: Some(price(minor)), ..SkuStock::default() };
        seen.stock(&[sku(1_901), sku(1_901), sku(1_900)]);
        assert_eq!((seen.answers, seen.mixed), (5, 3));
    }

    #[test]
    fn levels_are_held_against_when_they_were_asked_for() {
        let mut holds = Holds::default();
        holds.add(r#"{"t":100,"l":[["A",1,1900],["B",1,1900]]}"#).unwrap();
        holds.add(r#"{"t":207,"l":[["A",1,1901,2],["B",1,1901,2]]}"#).unwrap();
        holds.add(r#"{"t":203,"l":[["A",1,1901,2]]}"#).unwrap();
        holds.add(r#"{"t":299,"l":[["A",1,1902,3]]}"#).unwrap();
        let effective_ms = BTreeMap::from([(1, 200), (2, 300), (3, 400)]);
        let figures = with_levels(json!({}), 1, &effective_ms, &holds);
        assert_eq!(figures["reprices"], json!({ "asked": 3, "done": 2 }));
        assert_eq!((&figures["mixed"], &figures["early"]), (&json!(1), &json!(1)));
        assert_eq!(figures["switch_delay_ms"], json!({ "p50": -1, "p99": 3, "max": 3 }));
        holds.add(r#"{"t":400,"l":[["A",1,1902,3],["B",1,1903,4]]}"#).unwrap();
        assert_eq!(with_levels(json!({}), 1, &effective_ms, &holds)["mixed"], 2);
    }
}
