//! The platform under its faults: Redis, NATS, Postgres and each service as a process of its own,
//! with proxies where they are to fail.

mod sale;
pub(crate) mod stores;

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use flashsale_admission::Signer;
use flashsale_testbed::{
    RunDir, Tools,
    grants::{AUDITOR, as_user},
    platform::{
        AdmissionSettings, Apart, MailSettings, NatsSettings, PaymentSettings, Peer, Peers,
        PlatformOptions, RelaySettings, ServerSettings, Service, Settings, StandIn, StoreSettings,
        StripeOptions, WorkerSettings, migrated, run_dir,
    },
    proxy::Proxy,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::PgPool;

pub(crate) use sale::{PLENTY, SCARCE, Sale, SaleSpec};

/// What the stand-in for Stripe signs its events with.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_faults";
/// A stand-in for Stripe that limits nothing and takes no time of its own.
pub(crate) const UNLIMITED: StripeOptions<'static> = StripeOptions {
    log: "stripe-standin.jsonl",
    webhook_secret: WEBHOOK_SECRET,
    rate_per_endpoint: 100_000,
    rate_total: 400_000,
    latency_ms: Some(0),
    confirm_latency_ms: Some(0),
    faults: &[],
    state: None,
};
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// All of it. Dropped, everything in it is killed.
#[derive(Debug)]
pub(crate) struct Platform {
    base: flashsale_testbed::platform::Platform<Apart>,
    /// Between the services and Redis.
    pub(crate) to_redis: Proxy,
    /// Between checkout and NATS.
    pub(crate) to_nats: Proxy,
    /// The record.
    pub(crate) pool: PgPool,
    /// Signs admissions as the waiting room does.
    pub(crate) signer: Signer,
}

impl Deref for Platform {
    type Target = flashsale_testbed::platform::Platform<Apart>;

    fn deref(&self) -> &Self::Target {
        &self.base
    }
}

impl DerefMut for Platform {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.base
    }
}

impl Platform {
    /// Kills all of it and answers where it had its files.
    pub(crate) fn abandon(self) -> RunDir {
        self.base.abandon()
    }

    /// The stand-in for the payment provider.
    pub(crate) fn provider(&self) -> anyhow::Result<&StandIn> {
        self.stripe.as_ref().context("there is no stand-in for the provider")
    }

    /// The same, to be taken down and up.
    pub(crate) fn provider_mut(&mut self) -> anyhow::Result<&mut StandIn> {
        self.stripe.as_mut().context("there is no stand-in for the provider")
    }

    /// Puts another stand-in in the place of the provider, at another address: payment has to be
    /// told. It knows nothing of what the one before did, whose log it goes on with.
    pub(crate) async fn replace_provider(
        &mut self,
        options: StripeOptions<'_>,
    ) -> anyhow::Result<()> {
        self.provider_mut()?.down().await;
        let stripe = self.base.start_stripe(options).await?;
        self.base.stripe = Some(stripe);
        Ok(())
    }

    /// Starts everything.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let options = PlatformOptions {
            redis: "redis-0",
            database: None,
            remedy: "say `make build`",
            drain_within: STOP_WITHIN,
            stop_within: STOP_WITHIN,
        };
        let base = flashsale_testbed::platform::Platform::<Apart>::start(
            Tools::locate()?,
            run_dir()?,
            options,
        )
        .await?;
        let pool = migrated(base.postgres_url(), 4, "faults").await?;
        let to_redis = Proxy::of_redis(base.redis.port()).await?;
        let nats_port = base.nats.url().rsplit(':').next().and_then(|port| port.parse().ok());
        let to_nats = Proxy::plain(nats_port.context("NATS has no port")?).await?;
        let signer = Signer::generate()?;
        std::fs::write(base.file("keys.json"), signer.to_private_jwks())?;
        let (stripe, smtp) =
            tokio::try_join!(base.start_stripe(UNLIMITED), base.start_smtp("smtp-sink.jsonl"))?;
        let mut platform = Self { base, to_redis, to_nats, pool, signer };
        platform.stripe = Some(stripe);
        platform.smtp = Some(smtp);
        let settings = platform.settings_over(&platform.to_redis, &platform.services.inventory);
        let of_checkout = platform.settings_of_checkout();
        let services = &mut platform.services;
        tokio::try_join!(
            services.sale.start(settings.clone()),
            services.waiting_room.start(settings.clone()),
            services.checkout.start(of_checkout),
            services.inventory.start(settings.clone()),
            services.worker.start(settings.clone()),
            services.payment.start(settings),
        )?;
        Ok(platform)
    }

    /// The settings of a service that reaches Redis through `to_redis` and stock through
    /// `inventory`.
    pub(crate) fn settings_over(&self, to_redis: &Proxy, inventory: &Service) -> Settings {
        let base = self.base.settings();
        Settings {
            redis: StoreSettings {
                url: Some(format!("redis://127.0.0.1:{}", to_redis.port())),
                ..base.redis
            },
            peers: Peers {
                inventory: Peer { url: Some(inventory.url()), ..base.peers.inventory },
                payment: Peer { timeout_ms: Some(2_000), ..base.peers.payment },
                ..base.peers
            },
            admission: AdmissionSettings {
                signing_keys_file: Some(self.file("keys.json").display().to_string()),
                ..AdmissionSettings::default()
            },
            mail: MailSettings { timeout_ms: Some(2_000), ..base.mail },
            // A run of seconds cannot wait half a minute for a retry, or for the leases of an
            // instance that was killed.
            payment: PaymentSettings {
                webhook_secrets: Some(WEBHOOK_SECRET.to_owned()),
                global_budget_per_s: Some(10_000),
                endpoint_budget_per_s: Some(10_000),
                retry_base_ms: Some(2_000),
                timeout_ms: Some(2_000),
                budget_wait_ms: Some(500),
                lease_ms: Some(10_000),
                reconcile_every_ms: Some(2_000),
                reconcile_after_ms: Some(10_000),
                compare_every_ms: Some(1_000),
                ..base.payment
            },
            worker: WorkerSettings {
                carry_batch: Some(8),
                lease_ms: Some(4_000),
                retry_ms: Some(100),
                retry_ceiling_ms: Some(1_000),
                // What was published is looked at afterwards.
                purge_messages: Some(1_000_000),
                purge_interval_ms: Some(3_600_000),
                ..WorkerSettings::default()
            },
            relay: RelaySettings { poll_ms: Some(200), republish_after_ms: Some(2_000) },
            server: ServerSettings { drain_delay_ms: Some(0), ..base.server },
            ..base
        }
    }

    /// The settings of checkout, which reaches NATS through a proxy.
    pub(crate) fn settings_of_checkout(&self) -> Settings {
        let to_nats = format!("nats://127.0.0.1:{}", self.to_nats.port());
        Settings {
            nats: NatsSettings { url: Some(to_nats), ..NatsSettings::default() },
            ..self.settings_over(&self.to_redis, &self.services.inventory)
        }
    }

    /// The stand-in for a mail server.
    pub(crate) fn smtp(&mut self) -> anyhow::Result<&mut StandIn> {
        self.smtp.as_mut().context("there is no mail server")
    }

    /// Loses everything that NATS has: it is killed, and starts again with nothing.
    pub(crate) async fn wipe_nats(&mut self) -> anyhow::Result<()> {
        self.nats.kill().await;
        std::fs::remove_dir_all(self.file("nats").join("jetstream"))?;
        self.nats.restart().await?;
        Ok(())
    }

    /// Has Postgres stand still, with everything that it has started; answers which processes those
    /// are.
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
            // It may have ended meanwhile. Behind the name, which is in brackets, come its state
            // and its parent.
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
        self.file("smtp-sink.jsonl")
    }

    /// A second service of a kind, not started.
    pub(crate) fn second(&self, name: &str) -> anyhow::Result<Service> {
        self.another(name, "b")
    }

    /// One more service of a kind, not started; `letter` tells it from the others.
    pub(crate) fn another(&self, name: &str, letter: &str) -> anyhow::Result<Service> {
        self.base.another(name, &format!("{name}-{letter}"))
    }

    /// Where the stores are, for an audit.
    pub(crate) fn audit_options(&self, sale: &Sale) -> flashsale_auditor::Options {
        flashsale_auditor::Options {
            sale: sale.id,
            redis: as_user(&self.redis.url(), AUDITOR),
            nats: as_user(&self.nats.url(), AUDITOR),
            postgres: as_user(&self.postgres.url(), AUDITOR),
            client: flashsale_auditor::Client::default(),
            stripe_log: None,
            mail_log: None,
            history: None,
            at_rest: true,
        }
    }

    /// NATS.
    pub(crate) fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// Stops everything in order and removes what it wrote.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.stop_services().await?;
        self.base.stop().await?.remove()?;
        Ok(())
    }
}
