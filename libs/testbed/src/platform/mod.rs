//! The whole platform on one machine: Redis, NATS and Postgres, stand-ins for Stripe and for a mail
//! server, and the services, [in one process](Together) or [each in its own](Apart).
//!
//! It is started in steps, and what a tool puts in between goes between the steps:
//!
//! 1. [`Platform::start`] starts the stores and chooses the addresses of the services.
//! 2. [`Platform::start_stripe`] and [`Platform::start_smtp`] start the stand-ins.
//! 3. [`Platform::settings`] says where all of it is. A tool with a
//!    [`Proxy`](crate::proxy::Proxy) in front of a store puts its address there.
//! 4. [`Service::start`] starts a service with such settings.
//!
//! All of it are children of this process and end with it.

mod record;
mod service;
mod services;
mod settings;
mod stand_in;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};

pub use record::{connect, create_database, migrated};
pub use service::{Service, ServiceOptions};
pub use services::{Apart, Maker, Services, Together};
pub use settings::{
    AccessSettings, AdmissionSettings, BreakerSettings, MailSettings, NatsSettings,
    PaymentSettings, Peer, Peers, RelaySettings, ServerSettings, Settings, StoreSettings,
    TelemetrySettings, WorkerSettings,
};
pub use stand_in::{StandIn, StandInOptions};

use crate::keys::KeyFolder;
use crate::servers::{
    Appendonly, AuthorityFolder, Home, NatsOperator, NatsOptions, NatsServer, PostgresOptions,
    PostgresServer, RedisOptions, RedisServer, RunDir, Signed, Tools, Validity,
};

/// How long each child of ours may take to be ready. Far more than any takes on an idle machine.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// A folder for a run of a platform.
///
/// # Errors
/// If there is no data folder, or nothing can be made in it.
pub fn run_dir() -> anyhow::Result<RunDir> {
    RunDir::create(&Home::locate()?).context("no folder to run in")
}

/// A program of ours: they are built side by side, and tests in a folder among them.
fn sibling(name: &str, remedy: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("this program cannot find itself")?;
    let folder = here.parent().context("this program is in no folder")?;
    let folder = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder);
    let path = folder.join(name);
    ensure!(path.exists(), "{} is missing: {remedy}", path.display());
    Ok(path)
}

/// How a platform is set up.
#[derive(Debug, Clone, Copy)]
pub struct PlatformOptions {
    /// The folder of the first Redis.
    pub redis: &'static str,
    /// The database of the services, which the tool makes; by default the one that Postgres comes
    /// with.
    pub database: Option<&'static str>,
    /// What to do if one of our programs is not beside the running one: the end of the error.
    pub remedy: &'static str,
    /// How long services may take to drain.
    pub drain_within: Duration,
    /// How long stand-ins may take to end.
    pub stop_within: Duration,
}

/// What a client shows to stores that are reached over TLS.
#[derive(Debug, Clone)]
pub struct StoreClient {
    /// The authority of the stores.
    pub ca_file: PathBuf,
    /// The client's own certificate.
    pub own: Signed,
    /// Its credentials for NATS.
    pub credentials_file: PathBuf,
}

/// How the stand-in for Stripe is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct StripeOptions<'a> {
    /// The file in the platform's folder that it writes its ledger to.
    pub log: &'a str,
    /// What it signs its events with.
    pub webhook_secret: &'a str,
    /// Requests that it takes per second at each endpoint.
    pub rate_per_endpoint: u32,
    /// Requests that it takes per second in all.
    pub rate_total: u32,
    /// How long a call takes, in ms, in place of its own time.
    pub latency_ms: Option<u32>,
    /// How long taking money takes, in ms, in place of its own time.
    pub confirm_latency_ms: Option<u32>,
    /// What goes wrong there (`stripe-standin --fault`).
    pub faults: &'a [&'a str],
    /// The file in the platform's folder in which it keeps its state, so that it survives its death;
    /// without one it begins at nothing each time.
    pub state: Option<&'a str>,
}

impl StripeOptions<'_> {
    /// The arguments of the program, which sends its events to `webhook`.
    pub fn args(&self, webhook: Option<&str>) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut set = |key: &str, value: &str| args.extend([key.into(), value.into()]);
        if let Some(webhook) = webhook {
            set("--webhook-url", webhook);
            set("--webhook-secret", self.webhook_secret);
        }
        set("--rate-per-endpoint", &self.rate_per_endpoint.to_string());
        set("--rate-total", &self.rate_total.to_string());
        if let Some(latency_ms) = self.latency_ms {
            set("--latency-ms", &latency_ms.to_string());
        }
        if let Some(latency_ms) = self.confirm_latency_ms {
            set("--confirm-latency-ms", &latency_ms.to_string());
        }
        for fault in self.faults {
            set("--fault", fault);
        }
        args
    }
}

/// All of it. Dropped, everything in it is killed.
#[derive(Debug)]
pub struct Platform<S> {
    // In the order in which they are to end.
    pub services: S,
    pub stripe: Option<StandIn>,
    pub smtp: Option<StandIn>,
    pub nats: NatsServer,
    /// The server that has the stock now.
    pub redis: RedisServer,
    pub postgres: PostgresServer,
    /// Where the stores' programs are.
    pub tools: Tools,
    /// The keys of those who call it.
    pub keys: KeyFolder,
    tls: Option<StoreClient>,
    dir: RunDir,
    options: PlatformOptions,
    maker: Maker,
    redis_servers: u32,
}

impl<S: Services> Platform<S> {
    /// Starts the stores, at the same time, and chooses the addresses of the services. Everything
    /// has its files in `dir`.
    ///
    /// # Errors
    /// If a store does not start, or `flashsale-serve` is not there.
    pub async fn start(
        tools: Tools,
        dir: RunDir,
        options: PlatformOptions,
    ) -> anyhow::Result<Self> {
        let path = dir.path().to_owned();
        let stores = tokio::try_join!(
            PostgresServer::start(&tools, path.join("postgres"), PostgresOptions::default()),
            RedisServer::start(&tools, path.join(options.redis), everysec()),
            NatsServer::start(&tools, path.join("nats"), NatsOptions::default()),
        )?;
        Self::on(tools, dir, options, stores, None)
    }

    /// The same with stores that are reached over TLS alone, by clients with a certificate of this
    /// run's own authority. NATS also asks for credentials of its operator.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_over_tls(
        tools: Tools,
        dir: RunDir,
        options: PlatformOptions,
    ) -> anyhow::Result<Self> {
        let path = dir.path().to_owned();
        let authority = AuthorityFolder::create(&path.join("tls"))?;
        let [postgres, redis, nats] =
            ["postgres", "redis", "nats"].map(|store| authority.server(store));
        let (operator, credentials_file) = (NatsOperator::create()?, path.join("nats.creds"));
        operator.write_credentials(&credentials_file)?;
        let own = authority.sign("services", &["services"], Validity::Now)?;
        let client = StoreClient { ca_file: authority.ca_file().to_owned(), own, credentials_file };
        let stores = tokio::try_join!(
            PostgresServer::start_over_tls(
                &tools,
                path.join("postgres"),
                PostgresOptions::default(),
                postgres?
            ),
            RedisServer::start_over_tls(&tools, path.join(options.redis), everysec(), redis?),
            NatsServer::start_over_tls(
                &tools,
                path.join("nats"),
                NatsOptions::default(),
                nats?,
                Some(&operator)
            ),
        )?;
        Self::on(tools, dir, options, stores, Some(client))
    }

    fn on(
        tools: Tools,
        dir: RunDir,
        options: PlatformOptions,
        (postgres, redis, nats): (PostgresServer, RedisServer, NatsServer),
        tls: Option<StoreClient>,
    ) -> anyhow::Result<Self> {
        let path = dir.path().to_owned();
        let program = sibling("flashsale-serve", options.remedy)?;
        let maker = Maker { program, dir: path, stop_within: options.drain_within };
        let keys = KeyFolder::create(&maker.dir.join("keys"))?;
        let services = S::make(&maker, &keys)?;
        Ok(Self {
            services,
            stripe: None,
            smtp: None,
            nats,
            redis,
            postgres,
            tools,
            keys,
            tls,
            dir,
            options,
            maker,
            redis_servers: 1,
        })
    }

    /// Starts a stand-in for Stripe, which sends its events to payment. It belongs into
    /// [`Self::stripe`].
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_stripe(&self, options: StripeOptions<'_>) -> anyhow::Result<StandIn> {
        let webhook = format!("{}/stripe/webhook", self.services.payment().http_url());
        let mut args = options.args(Some(&webhook));
        if let Some(state) = options.state {
            args.extend(["--state".into(), self.file(state).into()]);
        }
        self.start_stand_in("stripe-standin", options.log, args).await
    }

    /// Starts a stand-in for a mail server, which writes what it accepts to the file `log` in the
    /// platform's folder. It belongs into [`Self::smtp`].
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_smtp(&self, log: &str) -> anyhow::Result<StandIn> {
        self.start_stand_in("smtp-sink", log, Vec::new()).await
    }

    async fn start_stand_in(
        &self,
        name: &str,
        log: &str,
        args: Vec<OsString>,
    ) -> anyhow::Result<StandIn> {
        let program = sibling(name, self.options.remedy)?;
        let stop_within = self.options.stop_within;
        let dir = self.folder();
        StandIn::start(StandInOptions { name, program, args, dir, log, stop_within }).await
    }

    /// Where everything is that is started so far, and the services.
    pub fn settings(&self) -> Settings {
        let stripe = self.stripe.as_ref().map(|stripe| format!("http://{}", stripe.address()));
        Settings {
            postgres: self.store(self.postgres_url()),
            redis: self.store(self.redis.url()),
            nats: self.nats_settings(),
            server: ServerSettings { reflection: Some(true), ..ServerSettings::default() },
            access: AccessSettings {
                keys_file: Some(self.keys.keys_file().display().to_string()),
                buyer_keys_file: Some(self.keys.buyer_keys_file().display().to_string()),
                ..AccessSettings::default()
            },
            peers: self.services.peers().with_key_file(&self.keys.key_file().display().to_string()),
            mail: MailSettings {
                smtp_url: self.smtp.as_ref().map(|smtp| format!("smtp://{}", smtp.address())),
                timeout_ms: None,
            },
            payment: PaymentSettings {
                stripe_secret_key: stripe.as_ref().map(|_| "sk_test_standin".to_owned()),
                stripe_base_url: stripe,
                // Most buyers of the tests do not come back with another card.
                card_retry_ms: Some(2_000),
                ..PaymentSettings::default()
            },
            ..Settings::default()
        }
    }

    /// What its services show to the stores, if those are reached over TLS.
    pub fn store_client(&self) -> Option<&StoreClient> {
        self.tls.as_ref()
    }

    fn store(&self, url: String) -> StoreSettings {
        let file = |file: fn(&StoreClient) -> &Path| {
            self.tls.as_ref().map(|tls| file(tls).display().to_string())
        };
        StoreSettings {
            url: Some(url),
            ca_file: file(|tls| &tls.ca_file),
            cert_file: file(|tls| &tls.own.cert_file),
            key_file: file(|tls| &tls.own.key_file),
        }
    }

    fn nats_settings(&self) -> NatsSettings {
        let StoreSettings { url, ca_file, cert_file, key_file } = self.store(self.nats.url());
        let credentials = self.tls.as_ref().map(|tls| tls.credentials_file.display().to_string());
        NatsSettings {
            url,
            ca_file,
            cert_file,
            key_file,
            credentials_file: credentials,
            ..NatsSettings::default()
        }
    }

    /// One more service, not started: `service` as `flashsale-serve` names it, `name` as its files
    /// are named.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn another(&self, service: &str, name: &str) -> anyhow::Result<Service> {
        self.maker.service(service, name, &self.keys)
    }

    /// One more Redis, empty.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn another_redis(&mut self) -> anyhow::Result<RedisServer> {
        let dir = self.file(&format!("redis-{}", self.redis_servers));
        self.redis_servers += 1;
        Ok(RedisServer::start(&self.tools, dir, everysec()).await?)
    }

    /// The database of the services.
    pub fn postgres_url(&self) -> String {
        match self.options.database {
            Some(database) => self.postgres.url_of(database),
            None => self.postgres.url(),
        }
    }

    /// Where everything has its files.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Stops the services in order; the stand-ins and the stores stay.
    ///
    /// # Errors
    /// If one had to be killed. Those that come after it still run.
    pub async fn stop_services(&self) -> anyhow::Result<()> {
        for service in self.services.all() {
            service.stop().await?;
        }
        Ok(())
    }

    /// Kills all of it and answers where it had its files: they stay as long as that value lives.
    pub fn abandon(self) -> RunDir {
        let Self { dir, .. } = self;
        dir
    }

    /// Stops in order what is left when the services are stopped, and answers where it had its
    /// files.
    ///
    /// # Errors
    /// If one of them had to be killed. The rest are killed then.
    pub async fn stop(self) -> anyhow::Result<RunDir> {
        for stand_in in [self.stripe, self.smtp].into_iter().flatten() {
            stand_in.end().await?;
        }
        self.nats.stop().await?;
        self.redis.stop().await?;
        self.postgres.stop().await?;
        Ok(self.dir)
    }
}

fn everysec() -> RedisOptions {
    RedisOptions { appendonly: Appendonly::Everysec }
}
