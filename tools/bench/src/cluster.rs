//! A Redis Cluster of three masters with an inventory of its own, for comparing it with the single
//! Redis.

use anyhow::{Context as _, ensure};
use flashsale_proto::NamedChannel;
use flashsale_testbed::{
    RedisCluster, Reply,
    platform::{Service, create_database, migrated},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    calls::SKUS,
    cpu::Watched,
    platform::Platform,
    sales::{self, Spec},
};

/// Sales, in the cluster and, to compare with, on the single Redis. In the cluster there are more
/// if by chance it takes more until each master has one.
pub(crate) const SALES: usize = 12;
const DATABASE: &str = "bench_cluster";

/// The cluster. Dropped, everything in it is killed.
pub(crate) struct Cluster {
    redis: RedisCluster,
    inventory: Service,
    /// Open sales whose stock is in the cluster.
    pub(crate) sales: Vec<Uuid>,
}

impl Cluster {
    /// Starts it beside the platform, with sales in a database of their own: a stock is of one
    /// store.
    pub(crate) async fn start(platform: &Platform) -> anyhow::Result<Self> {
        let redis =
            RedisCluster::start(platform.tools(), &platform.folder().join("cluster"), false)
                .await?;
        for node in 0..redis.masters() {
            // As the single Redis is set up.
            for (key, value) in [
                ("appendonly", "yes"),
                ("appendfsync", "everysec"),
                ("auto-aof-rewrite-percentage", "0"),
            ] {
                redis.ask(node, &["CONFIG", "SET", key, value]).await?;
            }
        }
        create_database(platform.pool(), DATABASE).await?;
        let postgres = platform.postgres_url_of(DATABASE);
        let pool = migrated(postgres.clone(), 2, "bench").await?;
        let inventory = platform
            .another("inventory", "inventory-cluster", |settings| {
                settings.redis.url = Some(redis.url());
                settings.postgres.url = Some(postgres);
            })
            .await?;
        let mut cluster = Self { redis, inventory, sales: Vec::new() };
        cluster.sales = open_sales(&pool, cluster.channel()?).await?;
        // By chance a master may have none of them.
        while cluster.masters().await?.iter().any(|master| master.sales == 0) {
            ensure!(cluster.sales.len() < 10 * SALES, "one master gets none of the sales");
            cluster.sales.push(open_sale(&pool, cluster.channel()?).await?);
        }
        pool.close().await;
        Ok(cluster)
    }

    /// A new connection to its inventory, made when it is first used.
    pub(crate) fn channel(&self) -> anyhow::Result<NamedChannel> {
        self.inventory.channel()
    }

    /// Whose processor time counts.
    pub(crate) fn watched(&self) -> Watched {
        let masters = (0..self.redis.masters()).map(|node| ("redis", self.redis.node(node).pid()));
        let inventory = self.inventory.pid().map(|pid| ("inventory", pid));
        let others = [("load_generator", std::process::id())].into_iter().chain(inventory);
        Watched { processes: others.chain(masters).collect() }
    }

    /// What each master has: sales, and the holds in them.
    pub(crate) async fn masters(&self) -> anyhow::Result<Vec<Holding>> {
        let mut all = vec![Holding::default(); self.redis.masters()];
        for sale in &self.sales {
            let key = format!("fs:{{{sale}}}:holds");
            let slot = self.redis.slot_of(&key).await?;
            let owner = self.redis.owner_of(slot, 0).await?;
            let Reply::Int(holds) = self.redis.ask(owner, &["HLEN", &key]).await? else {
                anyhow::bail!("a master does not count the holds of a sale");
            };
            let master = all.get_mut(owner).context("a sale on no master")?;
            master.sales += 1;
            master.holds += holds;
        }
        Ok(all)
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.inventory.stop().await
    }
}

/// What one master has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holding {
    sales: u32,
    holds: i64,
}

impl Holding {
    /// How many holds came since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { holds: self.holds - before.holds, ..self }
    }

    pub(crate) fn holds(self) -> i64 {
        self.holds
    }

    pub(crate) fn report(self) -> Value {
        json!({ "sales": self.sales, "holds": self.holds })
    }
}

/// Records sales and loads them.
pub(crate) async fn open_sales(
    pool: &PgPool,
    inventory: NamedChannel,
) -> anyhow::Result<Vec<Uuid>> {
    let mut all = Vec::new();
    for _ in 0..SALES {
        all.push(open_sale(pool, inventory.clone()).await?);
    }
    Ok(all)
}

async fn open_sale(pool: &PgPool, inventory: NamedChannel) -> anyhow::Result<Uuid> {
    let spec = Spec { skus: i32::try_from(SKUS)?, units: 10_000_000, room: false };
    let sale = sales::record(pool, spec).await?;
    sales::load(&mut sales::admin(inventory), sale).await?;
    Ok(sale)
}
