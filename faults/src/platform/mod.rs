//! The platform under its faults: Redis, NATS, Postgres and each service as a process of its own, with proxies where they are to fail.

mod sale;
mod service;
pub(crate) mod stores;

use std::{ffi::OsString, time::Duration};

use anyhow::Context as _;
use flashsale_admission::Signer;
use flashsale_pg::PgConfig;
use flashsale_sandbox::{
    Appendonly, Home, NatsOptions, NatsServer, PostgresOptions, PostgresServer, Program,
    ProgramOptions, RedisOptions, RedisServer, RunDir, Tools,
};
use sqlx::PgPool;

pub(crate) use sale::{PLENTY, SCARCE, Sale, SaleSpec};
pub(crate) use service::{Env, Service, sibling};

use crate::proxy::Proxy;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// All of it. Dropped, everything in it is killed.
#[derive(Debug)]
pub(crate) struct Platform {
    // In the order in which they are to end.
    pub(crate) sale: Service,
    pub(crate) waiting_room: Service,
    pub(crate) checkout: Service,
    pub(crate) inventory: Service,
    pub(crate) worker: Service,
    payment: Service,
    stripe: Program,
    smtp: Program,
    /// Between the services and Redis.
    pub(crate) to_redis: Proxy,
    /// Between checkout and NATS.
    pub(crate) to_nats: Proxy,
    nats: NatsServer,
    /// The server that has the stock now.
    pub(crate) redis: RedisServer,
    postgres: PostgresServer,
    /// The record.
    pub(crate) pool: PgPool,
    /// Signs admissions as the waiting room does.
    pub(crate) signer: Signer,
    tools: Tools,
    dir: RunDir,
    servers: u32,
}

impl Platform {
    /// Starts everything.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let tools = Tools::locate()?;
        let dir = Home::locate()?.run_dir().context("no folder to run in")?;
        let path = dir.path().to_owned();
        let (postgres, redis, nats) = tokio::try_join!(
            PostgresServer::start(&tools, path.join("postgres"), PostgresOptions::default()),
            RedisServer::start(&tools, path.join("redis-0"), everysec()),
            NatsServer::start(&tools, path.join("nats"), NatsOptions::default()),
        )?;
        let pool = flashsale_pg::connect(
            &PgConfig {
                url: postgres.url(),
                max_connections: 4,
                acquire_timeout_ms: 10_000,
                statement_timeout_ms: 60_000,
            },
            "faults",
        )?;
        flashsale_pg::migrate(&pool).await?;
        let to_redis = Proxy::of_redis(redis.port()).await?;
        let nats_port = nats.url().rsplit(':').next().and_then(|port| port.parse().ok());
        let to_nats = Proxy::plain(nats_port.context("NATS has no port")?).await?;
        let (stripe, smtp) = tokio::try_join!(
            stand_in(
                &path,
                "stripe-standin",
                &[
                    "--rate-per-endpoint",
                    "100000",
                    "--rate-total",
                    "400000",
                    "--latency-ms",
                    "0",
                    "--confirm-latency-ms",
                    "0"
                ],
            ),
            stand_in(&path, "smtp-sink", &[]),
        )?;
        let signer = Signer::generate()?;
        std::fs::write(path.join("keys.json"), signer.to_private_jwks())?;
        let service = |name: &str| Service::new(&format!("flashsale-{name}"), name, path.clone());
        let mut platform = Self {
            sale: service("sale")?,
            waiting_room: service("waiting-room")?,
            checkout: service("checkout")?,
            inventory: service("inventory")?,
            worker: service("order-worker")?,
            payment: service("payment")?,
            stripe,
            smtp,
            to_redis,
            to_nats,
            nats,
            redis,
            postgres,
            pool,
            signer,
            tools,
            dir,
            servers: 1,
        };
        let env = platform.env(&platform.to_redis, &platform.inventory);
        let mut of_checkout = env.clone();
        let nats = format!("nats://127.0.0.1:{}", platform.to_nats.port());
        of_checkout.push(("NATS__URL".to_owned(), nats));
        tokio::try_join!(
            platform.sale.start(env.clone()),
            platform.waiting_room.start(env.clone()),
            platform.checkout.start(of_checkout),
            platform.inventory.start(env.clone()),
            platform.worker.start(env.clone()),
            platform.payment.start(env),
        )?;
        Ok(platform)
    }

    /// The environment of a service that reaches Redis through `to_redis` and stock through `inventory`.
    pub(crate) fn env(&self, to_redis: &Proxy, inventory: &Service) -> Env {
        let path = self.dir.path();
        let set = |key: &str, value: String| (key.to_owned(), value);
        vec![
            set("POSTGRES__URL", self.postgres.url()),
            set("REDIS__URL", format!("redis://127.0.0.1:{}", to_redis.port())),
            set("NATS__URL", self.nats.url()),
            set("PEERS__SALE__URL", self.sale.url()),
            set("PEERS__WAITING_ROOM__URL", self.waiting_room.url()),
            set("PEERS__INVENTORY__URL", inventory.url()),
            set("PEERS__CHECKOUT__URL", self.checkout.url()),
            set("PEERS__PAYMENT__URL", self.payment.url()),
            set("ADMISSION__SIGNING_KEYS_FILE", path.join("keys.json").display().to_string()),
            set("MAIL__SMTP_URL", format!("smtp://{}", self.smtp.address())),
            set("PAYMENT__STRIPE_BASE_URL", format!("http://{}", self.stripe.address())),
            set("PAYMENT__STRIPE_SECRET_KEY", "sk_test_standin".to_owned()),
            set("PAYMENT__ENDPOINT_BUDGET_PER_S", "10000".to_owned()),
            // A run of seconds cannot wait half a minute for a retry, and nobody waits for its ends.
            set("PAYMENT__RETRY_BASE_MS", "2000".to_owned()),
            set("WORKER__RETRY_MS", "100".to_owned()),
            set("WORKER__RETRY_CEILING_MS", "1000".to_owned()),
            set("RELAY__POLL_MS", "200".to_owned()),
            set("RELAY__REPUBLISH_AFTER_MS", "2000".to_owned()),
            set("SERVER__DRAIN_DELAY_MS", "0".to_owned()),
            // What was published is looked at afterwards.
            set("WORKER__PURGE_MESSAGES", "1000000".to_owned()),
            set("WORKER__PURGE_INTERVAL_MS", "3600000".to_owned()),
        ]
    }

    /// A second service of a kind, not started.
    pub(crate) fn second(&self, name: &str) -> anyhow::Result<Service> {
        Service::new(&format!("flashsale-{name}"), &format!("{name}-b"), self.dir.path().to_owned())
    }

    /// One more Redis, empty.
    pub(crate) async fn another_redis(&mut self) -> anyhow::Result<RedisServer> {
        let dir = self.dir.path().join(format!("redis-{}", self.servers));
        self.servers += 1;
        Ok(RedisServer::start(&self.tools, dir, everysec()).await?)
    }

    /// Where the stores are, for an audit.
    pub(crate) fn audit_options(&self, sale: &Sale) -> flashsale_auditor::Options {
        flashsale_auditor::Options {
            sale: sale.id,
            redis: self.redis.url(),
            nats: self.nats.url(),
            postgres: self.postgres.url(),
            stripe_log: None,
            mail_log: None,
            history: None,
            at_rest: true,
        }
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// NATS.
    pub(crate) fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// Stops everything in order and removes what it wrote.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        for service in
            [self.sale, self.checkout, self.worker, self.payment, self.waiting_room, self.inventory]
        {
            service.stop().await?;
        }
        self.stripe.stop(STOP_WITHIN).await?;
        self.smtp.stop(STOP_WITHIN).await?;
        self.nats.stop().await?;
        self.redis.stop().await?;
        self.postgres.stop().await?;
        self.dir.remove()?;
        Ok(())
    }
}

fn everysec() -> RedisOptions {
    RedisOptions { appendonly: Appendonly::Everysec }
}

async fn stand_in(dir: &std::path::Path, name: &str, args: &[&str]) -> anyhow::Result<Program> {
    let ready_file = dir.join(format!("{name}.ready"));
    let mut all: Vec<OsString> = args.iter().map(Into::into).collect();
    all.extend(["--log".into(), dir.join(format!("{name}.jsonl")).into()]);
    all.extend(["--listen".into(), "127.0.0.1:0".into()]);
    all.extend(["--ready-file".into(), ready_file.clone().into()]);
    let options = ProgramOptions {
        name: name.to_owned(),
        path: sibling(name)?,
        args: all,
        env: Vec::new(),
        log_file: dir.join(format!("{name}.log")),
        ready_file,
        ready_within: READY_WITHIN,
    };
    Ok(Program::start(options).await?)
}
