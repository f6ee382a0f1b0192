//! The platform under its faults: Redis, NATS, Postgres and each service as a process of its own, with proxies where they are to fail.

mod sale;
mod service;
mod stand_in;
pub(crate) mod stores;

use std::path::PathBuf;

use anyhow::Context as _;
use flashsale_admission::Signer;
use flashsale_pg::PgConfig;
use flashsale_testbed::{
    Appendonly, Home, NatsOptions, NatsServer, PostgresOptions, PostgresServer, RedisOptions,
    RedisServer, RunDir, Tools,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::PgPool;

pub(crate) use sale::{PLENTY, SCARCE, Sale, SaleSpec};
pub(crate) use service::{Env, Service};
use stand_in::StandIn;

use crate::proxy::Proxy;

/// What the stand-in for Stripe signs its events with.
const WEBHOOK_SECRET: &str = "whsec_faults";

/// All of it. Dropped, everything in it is killed.
#[derive(Debug)]
pub(crate) struct Platform {
    // In the order in which they are to end.
    pub(crate) sale: Service,
    pub(crate) waiting_room: Service,
    pub(crate) checkout: Service,
    pub(crate) inventory: Service,
    pub(crate) worker: Service,
    pub(crate) payment: Service,
    pub(crate) stripe: StandIn,
    pub(crate) smtp: StandIn,
    /// Between the services and Redis.
    pub(crate) to_redis: Proxy,
    /// Between checkout and NATS.
    pub(crate) to_nats: Proxy,
    pub(crate) nats: NatsServer,
    /// The server that has the stock now.
    pub(crate) redis: RedisServer,
    pub(crate) postgres: PostgresServer,
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
        let dir = RunDir::create(&Home::locate()?).context("no folder to run in")?;
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
        let signer = Signer::generate()?;
        std::fs::write(path.join("keys.json"), signer.to_private_jwks())?;
        let service = |name: &str| Service::new(name, name, path.clone());
        let payment = service("payment")?;
        let webhook = format!("{}/stripe/webhook", payment.http_url());
        let stripe_args = [
            ["--rate-per-endpoint", "100000"],
            ["--rate-total", "400000"],
            ["--latency-ms", "0"],
            ["--confirm-latency-ms", "0"],
            ["--webhook-url", &webhook],
            ["--webhook-secret", WEBHOOK_SECRET],
        ];
        let (stripe, smtp) = tokio::try_join!(
            StandIn::start("stripe-standin", &path, stripe_args.as_flattened()),
            StandIn::start("smtp-sink", &path, &[]),
        )?;
        let mut platform = Self {
            sale: service("sale")?,
            waiting_room: service("waiting-room")?,
            checkout: service("checkout")?,
            inventory: service("inventory")?,
            worker: service("order-worker")?,
            payment,
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
        let of_checkout = platform.env_of_checkout();
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
            set("PAYMENT__WEBHOOK_SECRETS", WEBHOOK_SECRET.to_owned()),
            set("PAYMENT__ENDPOINT_BUDGET_PER_S", "10000".to_owned()),
            // A run of seconds cannot wait half a minute for a retry, or for what belonged to somebody who died.
            set("PAYMENT__RETRY_BASE_MS", "2000".to_owned()),
            set("PAYMENT__TIMEOUT_MS", "2000".to_owned()),
            set("PAYMENT__BUDGET_WAIT_MS", "500".to_owned()),
            set("PAYMENT__LEASE_MS", "10000".to_owned()),
            set("PAYMENT__RECONCILE_EVERY_MS", "2000".to_owned()),
            set("PAYMENT__RECONCILE_AFTER_MS", "10000".to_owned()),
            set("PEERS__PAYMENT__TIMEOUT_MS", "2000".to_owned()),
            set("MAIL__TIMEOUT_MS", "2000".to_owned()),
            set("WORKER__CARRY_BATCH", "8".to_owned()),
            set("WORKER__LEASE_MS", "4000".to_owned()),
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

    /// The environment of checkout, which reaches NATS through a proxy.
    pub(crate) fn env_of_checkout(&self) -> Env {
        let mut env = self.env(&self.to_redis, &self.inventory);
        env.push(("NATS__URL".to_owned(), format!("nats://127.0.0.1:{}", self.to_nats.port())));
        env
    }

    /// Loses everything that NATS has: it is killed, and starts anew with nothing.
    pub(crate) async fn wipe_nats(&mut self) -> anyhow::Result<()> {
        self.nats.kill().await;
        std::fs::remove_dir_all(self.dir.path().join("nats").join("jetstream"))?;
        self.nats.restart().await?;
        Ok(())
    }

    /// Has Postgres stand still, with everything that it has started; answers which processes those are.
    pub(crate) fn stall_postgres(&self) -> anyhow::Result<Vec<Pid>> {
        // First the one that starts others.
        self.postgres.pause();
        let parent = format!(" {} ", self.postgres.pid());
        let mut stalled = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // It may have ended meanwhile. Behind the name, which is in brackets, come its state and its parent.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let behind = stat.rsplit(')').next().unwrap_or_default();
            if behind.get(2..).is_some_and(|behind| behind.starts_with(&parent)) {
                let pid = Pid::from_raw(pid);
                kill(pid, Signal::SIGSTOP)?;
                stalled.push(pid);
            }
        }
        Ok(stalled)
    }

    /// Ends [`Self::stall_postgres`].
    pub(crate) fn wake_postgres(&self, stalled: &[Pid]) {
        self.postgres.resume();
        for pid in stalled {
            // None of them can have ended: they stood still.
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }

    /// What the stand-in for the mail relay has accepted.
    pub(crate) fn mail_log(&self) -> PathBuf {
        self.smtp.log()
    }

    /// A second service of a kind, not started.
    pub(crate) fn second(&self, name: &str) -> anyhow::Result<Service> {
        self.another(name, "b")
    }

    /// One more service of a kind, not started; `letter` tells it from the others.
    pub(crate) fn another(&self, name: &str, letter: &str) -> anyhow::Result<Service> {
        Service::new(name, &format!("{name}-{letter}"), self.dir.path().to_owned())
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
    pub(crate) fn file(&self, name: &str) -> PathBuf {
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
        self.stripe.end().await?;
        self.smtp.end().await?;
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
