//! Another server takes over: a replica that lags and carries the same epoch. The old one dies,
//! goes on serving those that still speak to it, or takes its place again with the replica's data.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use flashsale_testbed::{RedisServer, Reply, ask, proxy::Proxy};
use futures::StreamExt as _;
use rand::Rng as _;
use sqlx::Row as _;
use tokio::time::{Instant, sleep};

use crate::{
    crowd::{Crowd, Manners, Story},
    figures::Figures,
    patience::until_some,
    platform::{
        Sale, SaleSpec,
        stores::{Stock, key, server_name},
    },
    task::{Round, Task},
};

/// How much of the newest writes the replica does not get.
const LAG: Duration = Duration::from_secs(1);
/// How long a replica may take to have a copy.
const COPY_WITHIN: Duration = Duration::from_secs(20);
/// How long two servers live, and in the last round of the long form.
const BOTH_LIVE: Duration = Duration::from_secs(2);
const BOTH_LIVE_LONG: Duration = Duration::from_secs(60);
/// How long a buyer goes on asking once one server is left.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a sale may be rebuilt meanwhile.
const REBUILDS: u64 = 2;
/// How many sales a failover closes, in turn.
const MANY: [usize; 3] = [1, 12, 100];
/// How many of them have buyers in them all the time.
const BUSY: usize = 4;
/// How many orders each of the others has.
const ORDERS: usize = 3;

/// A replica behind a link of its own.
struct Replica {
    server: RedisServer,
    link: Proxy,
}

impl Replica {
    /// A replica of the server that has the stock, with a copy of all of it.
    async fn start(task: &mut Task) -> anyhow::Result<Self> {
        let server = task.platform.another_redis().await?;
        // By itself a primary waits for more replicas to come.
        for port in [task.platform.redis.port(), server.port()] {
            ask(port, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        }
        let link = Proxy::plain(task.platform.redis.port()).await?;
        copy(server.port(), link.port()).await?;
        Ok(Self { server, link })
    }

    /// Has it lag, and then be a primary with the data it has; kills the other one first, or lets
    /// it live. Answers what it is, and since when. What is counted is what it lost.
    async fn promote(
        self,
        task: &mut Task,
        round: &Round,
        kill: bool,
        figures: &mut Figures,
    ) -> anyhow::Result<(RedisServer, Instant)> {
        // A replica that has just come is sent nothing for a moment.
        until_some(COPY_WITHIN, "the replica has the sale", async || {
            let has = Stock::read(self.server.port(), round.sale.id).await?;
            anyhow::Ok((has.epoch == round.epoch && !has.requests.is_empty()).then_some(()))
        })
        .await?;
        self.link.freeze();
        sleep(LAG).await;
        let had = Stock::read(task.platform.redis.port(), round.sale.id).await?;
        let since = Instant::now();
        if kill {
            task.platform.redis.kill().await;
        }
        self.link.lead_to(0);
        self.link.cut();
        ask(self.server.port(), &["REPLICAOF", "NO", "ONE"]).await?;
        let has = Stock::read(self.server.port(), round.sale.id).await?;
        // Or the run proves nothing.
        ensure!(has.epoch == round.epoch, "the replica has epoch {}", has.epoch);
        let lost = had.requests.difference(&has.requests).count();
        ensure!(lost > 0, "the replica has lost nothing");
        figures.count("writes_lost", lost as u64);
        Ok((self.server, since))
    }
}

/// Has one server copy another.
async fn copy(server: u16, of: u16) -> anyhow::Result<()> {
    ask(server, &["REPLICAOF", "127.0.0.1", &of.to_string()]).await?;
    until_some(COPY_WITHIN, "the replica has a copy", async || {
        let info = ask(server, &["INFO", "replication"]).await?;
        let up = info.text().lines().any(|line| line == "master_link_status:up");
        anyhow::Ok(up.then_some(()))
    })
    .await
}

/// Leads everybody behind a proxy to a server.
fn lead(proxy: &Proxy, to: &RedisServer) {
    proxy.lead_to(to.port());
    proxy.cut();
}

/// The primary dies and the replica takes its place. All sales stay open, so that each time all of
/// them are closed and open again.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let replica = Replica::start(task).await?;
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        let open = task.open_sales(&round.sale).await?;
        let (new, since) = replica.promote(task, &round, true, figures).await?;
        lead(&task.platform.to_redis, &new);
        task.platform.redis = new;
        task.await_openings(&open, since, figures).await;
        task.goes_on(&round.crowd).await?;
        let story = round.crowd.leave().await;
        task.keep(round.sale, vec![story], figures).await?;
        figures.runs += 1;
    }
    task.conclude_kept(figures).await
}

/// Where one of three inventories is while two servers live, and where everybody is in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// How inventories are divided between two living servers. One of them is on either side; the
/// third, if there is one, makes two to one.
#[derive(Debug, Clone, Copy)]
struct Split {
    third: Option<Side>,
    healed: Side,
}

impl Split {
    /// How many there are.
    const WAYS: u64 = 6;

    /// Each way in turn.
    fn of(run: u64) -> Self {
        let third = match run % 3 {
            0 => None,
            1 => Some(Side::New),
            _ => Some(Side::Old),
        };
        Self { third, healed: if run.is_multiple_of(2) { Side::New } else { Side::Old } }
    }
}

/// The replica takes the place of a primary that lives, and that one inventory still speaks to.
/// That one counts as long as an instance does: the sale stays open there and nowhere else, until
/// everybody is with one of the two.
pub(super) async fn old_primary(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let to_old = Proxy::of_redis(task.platform.redis.port()).await?;
    let to_third = Proxy::of_redis(task.platform.redis.port()).await?;
    let mut inventory = task.platform.second("inventory")?;
    let mut third = task.platform.another("inventory", "c")?;
    let mut checkout = task.platform.second("checkout")?;
    let settings = task.platform.settings_over(&to_old, &inventory);
    inventory.start(settings.clone()).await?;
    checkout.start(settings).await?;
    third.start(task.platform.settings_over(&to_third, &third)).await?;
    let first = task.random.random_range(0..Split::WAYS);
    for run in 0..task.asked {
        let split = Split::of(first + run);
        match split.third {
            Some(_) => third.restart(&[]).await?,
            None => third.kill().await,
        }
        let replica = Replica::start(task).await?;
        // Both sides want the same units.
        let spec = SaleSpec { scarce: 60, ..SaleSpec::default() };
        let long = !task.short && run + 1 == task.asked;
        let lasts = if long { BOTH_LIVE_LONG } else { BOTH_LIVE };
        // Every caller of the new server is turned away for all of that time.
        let manners = Manners { patience: lasts + PATIENCE, ..Manners::default() };
        let round = task.round(spec, manners.clone()).await?;
        let seed = task.random.random();
        let others =
            Crowd::come_to(&task.platform, &checkout, &inventory, &round.sale, seed, manners)?;
        until_some(COPY_WITHIN, "the others buy", async || {
            anyhow::Ok((others.accepted() > 2).then_some(()))
        })
        .await?;
        let open = task.open_sales(&round.sale).await?;
        let (new, _) = replica.promote(task, &round, false, figures).await?;
        lead(&task.platform.to_redis, &new);
        if split.third == Some(Side::New) {
            lead(&to_third, &new);
        }
        both_live(task, &new, &others, &open, lasts, figures).await?;

        // Those on the wrong side hear of the change at last.
        let since = Instant::now();
        let left = match split.healed {
            Side::New => {
                lead(&to_old, &new);
                lead(&to_third, &new);
                let old = std::mem::replace(&mut task.platform.redis, new);
                task.await_openings(&open, since, figures).await;
                figures.count("healed_to_the_new_one", 1);
                ensure!(still_there(&old, &round.sale).await?, "the old primary has lost the sale");
                old
            }
            Side::Old => {
                lead(&task.platform.to_redis, &task.platform.redis);
                lead(&to_third, &task.platform.redis);
                figures.count("healed_to_the_old_one", 1);
                new
            }
        };
        task.goes_on(&round.crowd).await?;
        task.goes_on(&others).await?;
        if split.healed == Side::Old {
            figures.longest("back_seconds_max", since.elapsed());
            let rebuilt = rebuilds(task, &open).await?;
            figures
                .expect(rebuilt == 0, || "a sale was rebuilt whose server never went".to_owned());
        }
        let Round { sale, crowd, .. } = round;
        let stories = vec![crowd.leave().await, others.leave().await];
        let (fences, stragglers) = behind_a_fence(task, &sale).await?;
        figures.count("rebuilds", fences);
        figures.count("orders_of_an_old_epoch", stragglers);
        task.keep(sale, stories, figures).await?;
        left.stop().await?;
        figures.runs += 1;
    }
    task.conclude_kept(figures).await?;
    checkout.stop().await?;
    inventory.stop().await?;
    third.stop().await?;
    Ok(())
}

/// Two servers live for a while. The old one answers, the new one carries nothing out, and no sale
/// is taken from one to the other and back.
async fn both_live(
    task: &Task,
    new: &RedisServer,
    others: &Crowd,
    open: &[(Sale, i64)],
    lasts: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (sale, _) = open.first().context("no sale is open")?;
    let had = Stock::read(new.port(), sale.id).await?;
    let accepted = others.accepted();
    sleep(lasts).await;
    let answers = others.accepted() - accepted;
    ensure!(answers > 0, "the old primary has answered nobody");
    figures.count("old_primary_answers", answers as u64);
    let has = Stock::read(new.port(), sale.id).await?;
    let done = has.requests.difference(&had.requests).count();
    figures
        .expect(done == 0, || format!("{done} requests were done by a server that does not count"));
    let rebuilt = rebuilds(task, open).await?;
    figures.most("rebuilds_per_sale_max", rebuilt);
    figures.expect(rebuilt <= REBUILDS, || format!("a sale was rebuilt {rebuilt} times"));
    figures.longest("both_live_seconds_max", lasts);
    Ok(())
}

/// How often one of these sales was rebuilt since, at most.
async fn rebuilds(task: &Task, sales: &[(Sale, i64)]) -> anyhow::Result<u64> {
    let mut most = 0;
    for (sale, before) in sales {
        let (epoch, _) = task.platform.epoch(sale).await?;
        most = most.max(u64::try_from(epoch - before)?);
    }
    Ok(most)
}

/// The replica is promoted, the primary becomes a copy of it without its own newest writes, and is
/// promoted again: the same run with its scripts, and a stock that says the same epoch. Clients
/// stand still meanwhile, or are led to the other one and back, in turn.
pub(super) async fn failback(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for run in 0..task.asked {
        let led = run.is_multiple_of(2);
        let replica = Replica::start(task).await?;
        let spec = SaleSpec { scarce: 60, ..SaleSpec::default() };
        let round = task.round(spec, Manners::default()).await?;
        let port = task.platform.redis.port();
        let before = server_name(port).await?;
        let had = Stock::read(port, round.sale.id).await?;
        let (other, since) = replica.promote(task, &round, false, figures).await?;
        if led {
            lead(&task.platform.to_redis, &other);
        } else {
            task.platform.to_redis.freeze();
        }
        copy(port, other.port()).await?;
        ask(port, &["REPLICAOF", "NO", "ONE"]).await?;
        let after = server_name(port).await?;
        ensure!(
            before.split('/').next() == after.split('/').next(),
            "it is another run: {before} became {after}"
        );
        let has = Stock::read(port, round.sale.id).await?;
        ensure!(had.epoch == has.epoch, "its copy has epoch {}", has.epoch);
        let info = ask(port, &["INFO", "memory"]).await?;
        let scripts =
            info.text().lines().find_map(|line| line.strip_prefix("number_of_cached_scripts:"));
        let scripts: u64 = scripts.and_then(|number| number.parse().ok()).unwrap_or(0);
        figures.count("scripts_still_cached", scripts);
        if led {
            lead(&task.platform.to_redis, &task.platform.redis);
        } else {
            task.platform.to_redis.thaw();
        }
        other.stop().await?;
        task.reopen(round, since, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// The primary dies with 1, 12 and 100 sales on it: how long until each is open again, and how long
/// orders wait for their claim meanwhile.
pub(super) async fn of_many(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for count in MANY.into_iter().cycle().take(usize::try_from(task.asked)?) {
        let replica = Replica::start(task).await?;
        let platform = &task.platform;
        let opened: Vec<anyhow::Result<Sale>> = futures::stream::iter(0..count)
            .map(|_| platform.open_sale(SaleSpec::default()))
            .buffer_unordered(BUSY)
            .collect()
            .await;
        let sales: Vec<Sale> = opened.into_iter().collect::<anyhow::Result<_>>()?;
        let (busy, quiet) = sales.split_at(sales.len().min(BUSY));
        let mut told: Vec<(Sale, Vec<Story>)> = Vec::new();
        for sale in quiet {
            let manners = Manners { at_once: 2, ..Manners::default() };
            let crowd = Crowd::come(&task.platform, sale, task.random.random(), manners)?;
            until_some(COPY_WITHIN, "orders are placed", async || {
                anyhow::Ok((crowd.accepted() >= ORDERS).then_some(()))
            })
            .await?;
            told.push((*sale, vec![crowd.leave().await]));
        }
        let manners = Manners { at_once: 3, ..Manners::default() };
        let (first, rest) = busy.split_first().context("no sale")?;
        let mut crowds = Vec::new();
        for sale in rest {
            let seed = task.random.random();
            crowds.push((*sale, Crowd::come(&task.platform, sale, seed, manners.clone())?));
        }
        let round = task.round_in(*first, manners).await?;
        let open = task.platform.epochs(&sales).await?;
        let clock: time::OffsetDateTime =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&task.platform.pool).await?;
        let (new, since) = replica.promote(task, &round, true, figures).await?;
        lead(&task.platform.to_redis, &new);
        task.platform.redis = new;
        let reopened = task.platform.reopened_all(&open, since).await?;
        figures.lasted(&format!("of_{count}_reopen_seconds"), reopened);
        task.goes_on(&round.crowd).await?;
        crowds.push((round.sale, round.crowd));
        for (sale, crowd) in crowds {
            let story = crowd.leave().await;
            task.conclude(&sale, &[story], figures).await?;
        }
        // What they sold is looked at where it is cheap: each audit reads the whole queue.
        for (sale, stories) in told.iter().take(BUSY) {
            task.conclude(sale, stories, figures).await?;
        }
        for (sale, _) in told.iter().skip(BUSY) {
            task.end(sale, figures).await;
        }
        figures.lasted(&format!("of_{count}_claim_seconds"), claims(task, &sales, clock).await?);
        figures.runs += 1;
    }
    Ok(())
}

/// How long orders waited for their claim after they were placed, of those that were claimed since.
async fn claims(
    task: &Task,
    sales: &[Sale],
    since: time::OffsetDateTime,
) -> anyhow::Result<Vec<Duration>> {
    let ids: Vec<uuid::Uuid> = sales.iter().map(|sale| sale.id).collect();
    let rows = sqlx::query(
        "SELECT (extract(epoch FROM claimed_at - placed_at) * 1000)::bigint AS waited_ms
         FROM orders WHERE sale_id = ANY($1) AND claimed_at >= $2 AND state NOT IN ('CANCELLED', 'DEAD_LETTER')",
    )
    .bind(&ids)
    .bind(since)
    .fetch_all(&task.platform.pool)
    .await?;
    let waited = rows.iter().map(|row| row.try_get("waited_ms"));
    let waited: Vec<i64> = waited.collect::<Result<_, _>>()?;
    Ok(waited.into_iter().map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))).collect())
}

async fn still_there(old: &RedisServer, sale: &Sale) -> anyhow::Result<bool> {
    Ok(ask(old.port(), &["EXISTS", &key(sale.id, "meta")]).await? == Reply::Int(1))
}

/// How many markers there are, and how many orders of an older epoch were published behind one.
pub(super) async fn behind_a_fence(task: &Task, sale: &Sale) -> anyhow::Result<(u64, u64)> {
    let (mut fence, mut fences, mut stragglers) = (0, 0, 0);
    for message in task.platform.published(sale).await? {
        match message.kind.as_str() {
            "fence" => {
                fence = fence.max(message.epoch);
                fences += 1;
            }
            "place" if message.epoch < fence => stragglers += 1,
            _ => {}
        }
    }
    Ok((fences, stragglers))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn six_rounds_split_and_heal_in_every_way() {
        let ways: BTreeSet<String> =
            (0..Split::WAYS).map(|run| format!("{:?}", Split::of(run))).collect();
        assert_eq!(ways.len() as u64, Split::WAYS);
    }
}
