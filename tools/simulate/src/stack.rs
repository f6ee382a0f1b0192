//! Everything a sale needs on one machine: Redis, NATS and Postgres, stand-ins for Stripe and for a mail server, and all services in one
//! process. All of it are children of this process and end with it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use flashsale_cli::{client, program::sibling};
use flashsale_pg::PgConfig;
use flashsale_proto::sale::{
    ExportFormat, ImportSaleRequest, RoomSettings, Sale, SaleSettings, StartSaleRequest,
    sale_service_client::SaleServiceClient,
};
use flashsale_testbed::{
    Appendonly, Home, NatsOptions, NatsServer, PostgresOptions, PostgresServer, Program,
    ProgramOptions, RedisOptions, RedisServer, RunDir, Tools, free_port,
};
use rand::distr::{Alphanumeric, SampleString as _};
use tonic::transport::Channel;

use crate::{StackArgs, proof::Stores};

/// The sample export, for those who bring none.
const SAMPLE: &str = include_str!("../../../cli/samples/spring-drop.csv");
/// Where a real key for Stripe's test mode is looked for.
const STRIPE_KEY: &str = "STRIPE_SECRET_KEY";
/// Where Stripe itself is.
const STRIPE_URL: &str = "https://api.stripe.com";
/// How long each child may take to be ready. Far more than any takes on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long services may take to drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What is to be sold, read before anything is started: a file that cannot be read is told at once.
#[derive(Debug)]
pub(crate) struct Export {
    name: String,
    content: Vec<u8>,
}

impl Export {
    /// The file that was named, else the sample.
    pub(crate) fn read(args: &StackArgs) -> anyhow::Result<Self> {
        Ok(match &args.export {
            Some(path) => Self {
                name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                content: client::read_export(path)?,
            },
            None => Self { name: "Spring drop".to_owned(), content: SAMPLE.as_bytes().to_vec() },
        })
    }
}

/// Requests that Stripe's test mode takes per second at each endpoint.
pub(crate) const STRIPE_RATE: u32 = 25;

/// How a stack is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provision<'a> {
    /// What goes wrong at the stand-in for Stripe (`stripe-standin --fault`).
    pub(crate) provider_faults: &'a [&'a str],
    /// Requests the provider takes per second at each endpoint.
    pub(crate) provider_rate: u32,
}

impl Default for Provision<'_> {
    fn default() -> Self {
        Self { provider_faults: &[], provider_rate: STRIPE_RATE }
    }
}

/// What takes the money.
#[derive(Debug)]
pub(crate) enum Provider {
    /// The stand-in, which keeps a log of its own.
    StandIn { program: Program, log: PathBuf },
    /// Stripe's test mode.
    StripeTestMode,
}

/// The running stack. Dropped, everything in it is killed.
#[derive(Debug)]
pub(crate) struct Stack {
    // In the order in which they are to end.
    services: Option<Program>,
    provider: Provider,
    smtp: Program,
    nats: NatsServer,
    redis: RedisServer,
    postgres: PostgresServer,
    /// Where everything writes.
    pub(crate) dir: RunDir,
    /// Versions of the servers.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// `http://…` of gRPC.
    pub(crate) grpc_url: String,
    /// `http://…` of metrics, health and webhooks.
    pub(crate) http_url: String,
}

impl Stack {
    /// Starts everything; `say` is told what happens.
    pub(crate) async fn start(
        say: &(dyn Fn(&str) + Sync),
        provision: &Provision<'_>,
    ) -> anyhow::Result<Self> {
        let key = test_mode_key()?;
        let tools = Tools::locate()?;
        let dir = RunDir::create(&Home::locate()?).context("no folder to run in")?;
        let path = dir.path().to_owned();
        let found = tools.versions();
        say(&format!(
            "starting Redis {}, NATS {} and Postgres {}",
            found.redis, found.nats, found.postgres
        ));
        let (postgres, redis, nats) = tokio::try_join!(
            PostgresServer::start(&tools, path.join("postgres"), PostgresOptions::default()),
            RedisServer::start(
                &tools,
                path.join("redis"),
                RedisOptions { appendonly: Appendonly::Everysec },
            ),
            NatsServer::start(&tools, path.join("nats"), NatsOptions::default()),
        )?;
        let database = migrate(&postgres).await?;

        let http_port = free_port()?;
        let http_url = format!("http://127.0.0.1:{http_port}");
        let webhook_secret = format!("whsec_{}", Alphanumeric.sample_string(&mut rand::rng(), 32));
        let (provider, stripe_url, stripe_key) = match key {
            Some(key) => {
                say("paying through Stripe's test mode");
                (Provider::StripeTestMode, STRIPE_URL.to_owned(), key)
            }
            None => {
                let like = match provision.provider_rate {
                    STRIPE_RATE => ", as in Stripe's test mode",
                    _ => "",
                };
                say(&format!(
                    "paying through a stand-in for Stripe ({} requests a second{like})",
                    provision.provider_rate
                ));
                let log = path.join("stripe.jsonl");
                let mut args: Vec<OsString> = vec![
                    "--log".into(),
                    log.clone().into(),
                    "--webhook-url".into(),
                    format!("{http_url}/stripe/webhook").into(),
                    "--webhook-secret".into(),
                    webhook_secret.clone().into(),
                ];
                let rate = provision.provider_rate;
                args.extend(["--rate-per-endpoint".into(), rate.to_string().into()]);
                args.extend(["--rate-total".into(), (4 * rate).to_string().into()]);
                for fault in provision.provider_faults {
                    args.extend(["--fault".into(), fault.into()]);
                }
                let program = stand_in("stripe-standin", &path, args).await?;
                let url = format!("http://{}", program.address());
                (Provider::StandIn { program, log }, url, "sk_test_standin".to_owned())
            }
        };
        let mail_log = path.join("mail.jsonl");
        let smtp = stand_in("smtp-sink", &path, vec!["--log".into(), mail_log.into()]).await?;

        let grpc_port = free_port()?;
        let grpc_url = format!("http://127.0.0.1:{grpc_port}");
        say("starting the services");
        let mut env: Vec<(String, String)> = vec![
            ("SERVER__GRPC_LISTEN".into(), format!("127.0.0.1:{grpc_port}")),
            ("SERVER__HTTP_LISTEN".into(), format!("127.0.0.1:{http_port}")),
            ("SERVER__READY_FILE".into(), path.join("services.ready").display().to_string()),
            ("POSTGRES__URL".into(), database),
            ("REDIS__URL".into(), redis.url()),
            ("NATS__URL".into(), nats.url()),
            ("MAIL__SMTP_URL".into(), format!("smtp://{}", smtp.address())),
            ("ADMISSION__EPHEMERAL_KEYS".into(), "true".into()),
            ("PAYMENT__STRIPE_BASE_URL".into(), stripe_url),
            ("PAYMENT__STRIPE_SECRET_KEY".into(), stripe_key),
            ("PAYMENT__WEBHOOK_SECRETS".into(), webhook_secret),
            // A sale of half a minute cannot wait half a minute for its first retry.
            ("PAYMENT__RETRY_BASE_MS".into(), "2000".into()),
            ("PAYMENT__ENDPOINT_BUDGET_PER_S".into(), provision.provider_rate.to_string()),
        ];
        for peer in ["INVENTORY", "WAITING_ROOM", "CHECKOUT", "PAYMENT"] {
            env.push((format!("PEERS__{peer}__URL"), grpc_url.clone()));
        }
        let services = Program::start(ProgramOptions {
            name: "services".to_owned(),
            path: sibling("flashsale-serve")?,
            args: vec!["all".into()],
            env: env
                .into_iter()
                .map(|(key, value)| (format!("FLASHSALE_{key}").into(), value.into()))
                .collect(),
            log_file: path.join("services.log"),
            ready_file: path.join("services.ready"),
            ready_within: READY_WITHIN,
        })
        .await?;
        let versions = vec![
            ("flashsale", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis", found.redis.clone()),
            ("nats", found.nats.clone()),
            ("postgres", found.postgres.clone()),
        ];
        Ok(Self {
            services: Some(services),
            provider,
            smtp,
            nats,
            redis,
            postgres,
            dir,
            versions,
            grpc_url,
            http_url,
        })
    }

    /// A connection to the services.
    pub(crate) async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Channel::from_shared(self.grpc_url.clone())?.connect().await?)
    }

    /// Imports the sale and opens it.
    pub(crate) async fn open_sale(&self, args: &StackArgs, export: Export) -> anyhow::Result<Sale> {
        open_sale(self.channel().await?, args, export).await
    }

    /// Where an audit finds everything.
    pub(crate) fn stores(&self) -> Stores {
        Stores {
            redis: self.redis_url(),
            nats: self.nats_url(),
            postgres: self.postgres_url(),
            provider_log: self.provider_log().map(Path::to_owned),
            mail_log: Some(self.dir.path().join("mail.jsonl")),
        }
    }

    /// The processes whose memory says something: Postgres shares its among many.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        let services = self.services.iter().map(|services| ("services", services.child().pid()));
        services.chain([("redis", self.redis.pid()), ("nats", self.nats.pid())]).collect()
    }

    /// The database of the services.
    pub(crate) fn postgres_url(&self) -> String {
        self.postgres.url_of(DATABASE)
    }

    /// Redis.
    pub(crate) fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// NATS.
    pub(crate) fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// The stand-in's own log; none when the money went through Stripe itself.
    pub(crate) fn provider_log(&self) -> Option<&Path> {
        match &self.provider {
            Provider::StandIn { log, .. } => Some(log),
            Provider::StripeTestMode => None,
        }
    }

    /// Waits until the services end by themselves, which they should not.
    pub(crate) async fn services_ended(&self) -> String {
        match &self.services {
            Some(services) => {
                let status = services.child().wait().await;
                format!("the services ended ({status}); see {}", services.log_file().display())
            }
            None => std::future::pending().await,
        }
    }

    /// Drains and stops the services; the stores stay.
    pub(crate) async fn stop_services(&mut self) -> anyhow::Result<()> {
        if let Some(services) = self.services.take() {
            services.stop(DRAIN_WITHIN).await?;
        }
        Ok(())
    }

    /// Stops everything in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let services = self.stop_services().await;
        if let Provider::StandIn { program, .. } = self.provider {
            program.stop(STOP_WITHIN).await?;
        }
        self.smtp.stop(STOP_WITHIN).await?;
        self.nats.stop().await?;
        self.redis.stop().await?;
        self.postgres.stop().await?;
        services
    }
}

/// Imports a sale and opens it.
pub(crate) async fn open_sale(
    channel: Channel,
    args: &StackArgs,
    export: Export,
) -> anyhow::Result<Sale> {
    let Export { name, content } = export;
    let seconds = i64::try_from(args.hold_seconds).context("hold-seconds is too large")?;
    let mut sales = SaleServiceClient::new(channel);
    let import = ImportSaleRequest {
        request_id: client::request_id(),
        settings: Some(SaleSettings {
            name,
            currency: args.currency.clone(),
            hold_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
            room: Some(RoomSettings {
                admissions_per_second: args.admissions,
                admission_ttl: None,
            }),
            ..SaleSettings::default()
        }),
        format: ExportFormat::ShopifyCsv.into(),
        content,
        quantity: args.quantity,
        per_buyer_limit: args.per_buyer_limit,
    };
    let sale =
        sales.import_sale(client::request(import)).await?.into_inner().sale.unwrap_or_default();
    let start = StartSaleRequest { request_id: client::request_id(), sale_id: sale.sale_id };
    Ok(sales.start_sale(client::request(start)).await?.into_inner().sale.unwrap_or_default())
}

/// The key of Stripe's test mode, if there is one. It is never printed, whatever it is.
pub(crate) fn test_mode_key() -> anyhow::Result<Option<String>> {
    let Some(key) = std::env::var(STRIPE_KEY).ok().filter(|key| !key.is_empty()) else {
        return Ok(None);
    };
    if !key.starts_with("sk_test_") {
        bail!(
            "{STRIPE_KEY} is not a test mode key (sk_test_…), and no real money is moved from here; unset it to pay through the \
             stand-in"
        );
    }
    Ok(Some(key))
}

const DATABASE: &str = "flashsale";

async fn migrate(postgres: &PostgresServer) -> anyhow::Result<String> {
    let config = |url: String| PgConfig {
        url,
        max_connections: 2,
        acquire_timeout_ms: 10_000,
        statement_timeout_ms: 60_000,
    };
    let admin = flashsale_pg::connect(&config(postgres.url()), "flashsale")?;
    sqlx::query("CREATE DATABASE flashsale").execute(&admin).await?;
    admin.close().await;
    let url = postgres.url_of(DATABASE);
    let pool = flashsale_pg::connect(&config(url.clone()), "flashsale")?;
    flashsale_pg::migrate(&pool).await?;
    pool.close().await;
    Ok(url)
}

async fn stand_in(name: &str, dir: &Path, mut args: Vec<OsString>) -> anyhow::Result<Program> {
    let ready_file = dir.join(format!("{name}.ready"));
    args.extend([
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--ready-file".into(),
        ready_file.clone().into(),
    ]);
    let options = ProgramOptions {
        name: name.to_owned(),
        path: sibling(name)?,
        args,
        env: Vec::new(),
        log_file: dir.join(format!("{name}.log")),
        ready_file,
        ready_within: READY_WITHIN,
    };
    Ok(Program::start(options).await?)
}
