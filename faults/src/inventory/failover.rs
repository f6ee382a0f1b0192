//! Another server takes over: a replica that lags and carries the same epoch. And the old one, which goes on serving whoever still speaks to it.

use std::time::Duration;

use anyhow::ensure;
use flashsale_sandbox::{RedisServer, Reply, ask};
use rand::Rng as _;
use tokio::time::{Instant, sleep};

use crate::{
    crowd::{Crowd, Manners},
    figures::Figures,
    patience::until_some,
    platform::{
        Sale, SaleSpec,
        stores::{Stock, key},
    },
    proxy::Proxy,
    task::{Round, Task},
};

/// How much of the newest writes the replica does not get.
const LAG: Duration = Duration::from_secs(1);
/// How long a replica may take to have a copy.
const COPY_WITHIN: Duration = Duration::from_secs(20);
/// How long the old primary goes on serving once the new one is open.
const GOES_ON: Duration = Duration::from_secs(2);

/// A replica behind a link of its own.
struct Replica {
    server: RedisServer,
    link: Proxy,
}

impl Replica {
    /// A replica of the server that has the stock, with a copy of all of it.
    async fn start(task: &mut Task) -> anyhow::Result<Self> {
        let server = task.platform.another_redis().await?;
        // By itself it waits for more replicas to come.
        let at_once = ["CONFIG", "SET", "repl-diskless-sync-delay", "0"];
        ask(task.platform.redis.port(), &at_once).await?;
        let link = Proxy::plain(task.platform.redis.port()).await?;
        let port = link.port().to_string();
        ask(server.port(), &["REPLICAOF", "127.0.0.1", &port]).await?;
        let replica = Self { server, link };
        until_some(COPY_WITHIN, "the replica has a copy", async || {
            let info = ask(replica.server.port(), &["INFO", "replication"]).await?;
            let up = info.text().lines().any(|line| line == "master_link_status:up");
            anyhow::Ok(up.then_some(()))
        })
        .await?;
        Ok(replica)
    }

    /// Lets it lag, then puts it in the place of the primary, which is returned; `kill` it first or let it live. What is counted is what
    /// the replica lost.
    async fn take_over(
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
        task.platform.to_redis.lead_to(self.server.port());
        task.platform.to_redis.cut();
        Ok((std::mem::replace(&mut task.platform.redis, self.server), since))
    }
}

/// The primary dies and the replica takes its place.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let replica = Replica::start(task).await?;
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        let (_old, since) = replica.take_over(task, &round, true, figures).await?;
        task.reopen(round, since, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// The replica takes the place of a primary that lives, and that one inventory still speaks to.
pub(super) async fn old_primary(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let to_old = Proxy::of_redis(task.platform.redis.port()).await?;
    let mut inventory = task.platform.second("inventory")?;
    let mut checkout = task.platform.second("checkout")?;
    let env = task.platform.env(&to_old, &inventory);
    inventory.start(env.clone()).await?;
    checkout.start(env).await?;
    for _ in 0..task.asked {
        let replica = Replica::start(task).await?;
        // Both sides want the same units.
        let spec = SaleSpec { scarce: 60, ..SaleSpec::default() };
        let round = task.round(spec, Manners::default()).await?;
        let seed = task.random.random();
        let others = Crowd::come_to(
            &task.platform,
            &checkout,
            &inventory,
            &round.sale,
            seed,
            Manners::default(),
        )?;
        let Round { sale, epoch, .. } = round;
        until_some(COPY_WITHIN, "the others buy", async || {
            anyhow::Ok((others.accepted() > 2).then_some(()))
        })
        .await?;
        let (old, since) = replica.take_over(task, &round, false, figures).await?;
        task.await_opening(&sale, epoch, since, figures).await;
        let opened = others.accepted();
        sleep(GOES_ON).await;
        let answers = others.accepted() - opened;
        ensure!(answers > 0, "the old primary has answered nobody");
        figures.count("old_primary_answers", answers as u64);
        // The one client hears of the change at last.
        to_old.lead_to(task.platform.redis.port());
        to_old.cut();
        task.goes_on(&round.crowd).await?;
        let stories = [round.crowd.leave().await, others.leave().await];
        task.conclude(&sale, &stories, figures).await?;
        let (fences, stragglers) = behind_a_fence(task, &sale).await?;
        figures.count("rebuilds", fences);
        figures.count("orders_of_an_old_epoch", stragglers);
        ensure!(still_there(&old, &sale).await?, "the old primary has lost the sale");
        old.stop().await?;
        figures.runs += 1;
    }
    checkout.stop().await?;
    inventory.stop().await?;
    Ok(())
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
