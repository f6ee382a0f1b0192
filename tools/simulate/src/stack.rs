//! Everything a sale needs on one machine: Redis, NATS and Postgres, stand-ins for Stripe and for a
//! mail server, and all services in one process. All of it are children of this process and end
//! with it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use flashsale_cli::{client, upload::import_files};
use flashsale_proto::{
    NamedChannel,
    sale::{
        ImportSaleRequest, RoomSettings, Sale, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{
    Tools,
    grants::{AUDITOR, as_user},
    keys::KeyFolder,
    platform::{
        AdmissionSettings, PaymentSettings, Platform, PlatformOptions, Settings, StandIn,
        StripeOptions, Together, connect, create_database, migrated, run_dir,
    },
};
use rand::distr::{Alphanumeric, SampleString as _};
use tonic::transport::Endpoint;

use crate::{StackArgs, proof::Stores};

/// The sample export, for those who bring none.
const SAMPLE: &str = include_str!("../../../cli/samples/spring-drop.csv");
/// Where a real key for Stripe's test mode is looked for.
const STRIPE_KEY: &str = "STRIPE_SECRET_KEY";
/// Where another address of the API is looked for, of another imitation of Stripe for example.
const STRIPE_BASE_URL: &str = "STRIPE_BASE_URL";
/// Where the version of the API is looked for that is spoken there.
const STRIPE_VERSION: &str = "STRIPE_VERSION";
/// Where Stripe itself is.
const STRIPE_URL: &str = "https://api.stripe.com";
/// Where buyers would come back to from their bank.
const RETURN_URL: &str = "https://shop.example/orders";
/// How long services may take to drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What is to be sold.
#[derive(Debug)]
pub(crate) struct Export {
    name: String,
    /// Its file; none for the sample.
    file: Option<PathBuf>,
}

impl Export {
    /// The file that was named, else the sample. To be asked for before anything is started: a file
    /// that cannot be read is told at once.
    pub(crate) fn find(args: &StackArgs) -> anyhow::Result<Self> {
        let Some(path) = &args.export else {
            return Ok(Self { name: "Spring drop".to_owned(), file: None });
        };
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, file: Some(path.clone()) })
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
    /// How long after a refusal another card is taken; the service's own default where none.
    pub(crate) card_retry_ms: Option<u64>,
}

impl Default for Provision<'_> {
    fn default() -> Self {
        // Most buyers of a simulation do not come back with another card.
        Self { provider_faults: &[], provider_rate: STRIPE_RATE, card_retry_ms: Some(2_000) }
    }
}

/// The running stack. Dropped, everything in it is killed.
#[derive(Debug)]
pub(crate) struct Stack {
    platform: Platform<Together>,
    /// What takes the money, as `report.json` names it.
    pub(crate) provider: &'static str,
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
        let dir = run_dir()?;
        let found = tools.versions().clone();
        say(&format!(
            "starting Redis {}, NATS {} and Postgres {}",
            found.redis, found.nats, found.postgres
        ));
        let options = PlatformOptions {
            redis: "redis",
            database: Some(DATABASE),
            remedy: "build the whole workspace (`make build`)",
            drain_within: DRAIN_WITHIN,
            stop_within: STOP_WITHIN,
        };
        let mut platform = Platform::<Together>::start(tools, dir, options).await?;
        migrate(&platform).await?;

        let webhook_secret = format!("whsec_{}", Alphanumeric.sample_string(&mut rand::rng(), 32));
        let url = std::env::var(STRIPE_BASE_URL).ok().filter(|url| !url.is_empty());
        let provider = match (&key, &url) {
            (Some(_), None) => "stripe test mode",
            (Some(_), Some(_)) => "another imitation",
            (None, _) => "stand-in",
        };
        let stripe = match key {
            Some(key) => {
                match &url {
                    Some(url) => say(&format!("paying through {url}")),
                    None => say("paying through Stripe's test mode"),
                }
                // No buyer of a run goes to a bank, and an imitation may refuse what it does not know.
                let return_url = url.is_none().then(|| RETURN_URL.to_owned());
                PaymentSettings {
                    // The service itself checks the address: https, or this machine's own.
                    stripe_base_url: Some(url.unwrap_or_else(|| STRIPE_URL.to_owned())),
                    stripe_secret_key: Some(key),
                    stripe_version: std::env::var(STRIPE_VERSION).ok(),
                    return_url,
                    ..PaymentSettings::default()
                }
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
                let stripe = StripeOptions {
                    log: "stripe.jsonl",
                    webhook_secret: &webhook_secret,
                    rate_per_endpoint: provision.provider_rate,
                    rate_total: 4 * provision.provider_rate,
                    faults: provision.provider_faults,
                    ..StripeOptions::default()
                };
                platform.stripe = Some(platform.start_stripe(stripe).await?);
                PaymentSettings {
                    // What the stand-in allows in all; Stripe itself has its own default.
                    global_budget_per_s: Some(4 * u64::from(provision.provider_rate)),
                    return_url: Some(RETURN_URL.to_owned()),
                    ..platform.settings().payment
                }
            }
        };
        platform.smtp = Some(platform.start_smtp(MAIL_LOG).await?);

        say("starting the services");
        let settings = Settings {
            admission: AdmissionSettings {
                ephemeral_keys: Some(true),
                ..AdmissionSettings::default()
            },
            payment: PaymentSettings {
                webhook_secrets: Some(webhook_secret),
                card_retry_ms: provision.card_retry_ms,
                // A sale of half a minute cannot wait half a minute for its first retry.
                retry_base_ms: Some(2_000),
                endpoint_budget_per_s: Some(provision.provider_rate.into()),
                ..stripe
            },
            ..platform.settings()
        };
        platform.services.all.start(settings).await?;
        let versions = vec![
            ("flashsale", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis", found.redis),
            ("nats", found.nats),
            ("postgres", found.postgres),
        ];
        let (grpc_url, http_url) = (platform.services.all.url(), platform.services.all.http_url());
        Ok(Self { platform, provider, versions, grpc_url, http_url })
    }

    /// Where everything writes.
    pub(crate) fn folder(&self) -> &Path {
        self.platform.folder()
    }

    /// A connection to the services.
    pub(crate) async fn channel(&self) -> anyhow::Result<NamedChannel> {
        Ok(self.keys().shop_and_operator(self.endpoint()?.connect().await?))
    }

    /// How to connect to the services.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint::from_shared(self.grpc_url.clone())?)
    }

    /// The keys of those who call it.
    pub(crate) fn keys(&self) -> &KeyFolder {
        &self.platform.keys
    }

    /// Imports the sale and opens it.
    pub(crate) async fn open_sale(&self, args: &StackArgs, export: Export) -> anyhow::Result<Sale> {
        open_sale(self.channel().await?, args, export).await
    }

    /// Where an audit finds everything.
    pub(crate) fn stores(&self) -> Stores {
        Stores {
            redis: as_user(&self.redis_url(), AUDITOR),
            nats: as_user(&self.nats_url(), AUDITOR),
            postgres: as_user(&self.postgres_url(), AUDITOR),
            provider_log: self.provider_log().map(Path::to_owned),
            mail_log: Some(self.platform.file(MAIL_LOG)),
        }
    }

    /// The processes whose memory says something: Postgres shares its among many.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        let platform = &self.platform;
        let services = platform.services.all.pid().map(|pid| ("services", pid));
        services
            .into_iter()
            .chain([("redis", platform.redis.pid()), ("nats", platform.nats.pid())])
            .collect()
    }

    /// The database of the services.
    pub(crate) fn postgres_url(&self) -> String {
        self.platform.postgres_url()
    }

    /// Redis.
    pub(crate) fn redis_url(&self) -> String {
        self.platform.redis.url()
    }

    /// NATS.
    pub(crate) fn nats_url(&self) -> String {
        self.platform.nats.url()
    }

    /// The stand-in's own log; none when the money went through Stripe itself.
    pub(crate) fn provider_log(&self) -> Option<&Path> {
        self.platform.stripe.as_ref().map(StandIn::log)
    }

    /// Waits until the services end by themselves, which they should not.
    pub(crate) async fn services_ended(&self) -> String {
        let services = &self.platform.services.all;
        match services.ended().await {
            Some(status) => {
                format!("the services ended ({status}); see {}", services.log_file().display())
            }
            None => std::future::pending().await,
        }
    }

    /// Drains and stops the services; the stores stay.
    pub(crate) async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.platform.stop_services().await
    }

    /// Stops everything in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let services = self.stop_services().await;
        self.platform.stop().await?;
        services
    }
}

/// Imports a sale and opens it.
pub(crate) async fn open_sale(
    channel: NamedChannel,
    args: &StackArgs,
    export: Export,
) -> anyhow::Result<Sale> {
    let Export { name, file } = export;
    let seconds = i64::try_from(args.hold_seconds).context("hold-seconds is too large")?;
    let mut sales = SaleServiceClient::new(channel);
    let mut import = ImportSaleRequest {
        request_id: client::request_id(),
        settings: Some(SaleSettings {
            name,
            currency: args.currency.clone(),
            hold_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
            room: Some(RoomSettings {
                admissions_per_second: args.admissions,
                admission_ttl: None,
                pre_queue: None,
            }),
            ..SaleSettings::default()
        }),
        quantity: args.quantity,
        per_buyer_limit: args.per_buyer_limit,
        // The format is recognised.
        ..ImportSaleRequest::default()
    };
    let sale = match file {
        Some(file) => import_files(&mut sales, import, &file, None).await?.0,
        None => {
            import.content = SAMPLE.as_bytes().to_vec();
            sales.import_sale(client::request(import)).await?.into_inner().sale.unwrap_or_default()
        }
    };
    let start = StartSaleRequest {
        request_id: client::request_id(),
        sale_id: sale.sale_id,
        // Loads of a platform that is up sell the same export beside its sale.
        allow_shared_skus: true,
    };
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

/// The database of the services.
const DATABASE: &str = "flashsale";
/// What the mail server accepted.
const MAIL_LOG: &str = "mail.jsonl";

/// Makes the database of the services.
async fn migrate(platform: &Platform<Together>) -> anyhow::Result<()> {
    let admin = connect(platform.postgres.url(), 2, "flashsale")?;
    create_database(&admin, DATABASE).await?;
    admin.close().await;
    migrated(platform.postgres_url(), 2, "flashsale").await?.close().await;
    Ok(())
}
