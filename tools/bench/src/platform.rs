//! The platform under measurement: stores, services and the no-op service, each a process of its
//! own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use flashsale_admission::Signer;
use flashsale_proto::{
    Money, NamedChannel,
    sale::{
        CreateSaleRequest, GetSaleRequest, Item, RoomSettings, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{
    Tools,
    platform::{
        AdmissionSettings, Apart, Peer, Peers, PlatformOptions, ServerSettings, Service,
        ServiceOptions, Settings, StandIn, StandInOptions, StripeOptions, migrated, run_dir,
    },
};
use sqlx::PgPool;
use tonic::transport::Endpoint;
use uuid::Uuid;

use crate::{calls, ceilings, cpu::Watched};

const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a sale may take to reach every service.
const PROPAGATE_WITHIN: Duration = Duration::from_secs(30);
/// What to do where one of our programs is missing.
const REMEDY: &str = "say `make bench`, which builds it";
/// Units of each sku: more than any run takes.
const UNITS: i64 = 10_000_000;

/// The stores and services, each a process.
type Base = flashsale_testbed::platform::Platform<Apart>;

/// All of it. Dropped, everything in it is killed.
pub(crate) struct Platform {
    noop: Service,
    /// The same without a look at who calls.
    noop_open: Service,
    base: Base,
    /// What every process is told.
    settings: Settings,
    pool: PgPool,
    /// NATS, and JetStream in it, without a service in between.
    pub(crate) nats_client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    /// A sale with a waiting room in front of it.
    pub(crate) sale_id: Uuid,
    /// A sale that takes every buyer.
    pub(crate) open_sale_id: Uuid,
    /// What signs admissions, in the waiting room and here.
    pub(crate) signer: Signer,
    /// The program `redis-benchmark`.
    pub(crate) redis_benchmark: PathBuf,
    /// Versions of the stores.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Platform {
    /// Starts everything and opens a sale.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let tools = Tools::locate()?;
        let redis_benchmark = redis_benchmark(&tools)?;
        let options = PlatformOptions {
            redis: "redis",
            database: None,
            remedy: REMEDY,
            drain_within: STOP_WITHIN,
            stop_within: STOP_WITHIN,
        };
        let mut base = Base::start(tools, run_dir()?, options).await?;
        // Redis rewrites its log whenever it has doubled, which at the start of its life is
        // always: that would be measured instead.
        let address = format!("127.0.0.1:{}", base.redis.port());
        ceilings::ask(&address, "CONFIG SET auto-aof-rewrite-percentage 0").await?;
        let pool = migrated(base.postgres_url(), 2, "bench").await?;
        let nats_client = async_nats::connect(base.nats.url()).await?;
        let jetstream = jetstream::new(nats_client.clone());

        let signer = Signer::generate()?;
        let keys = base.file("keys.json");
        std::fs::write(&keys, signer.to_private_jwks())?;
        let known = base.settings();
        let settings = Settings {
            // No payment is made here.
            peers: Peers { payment: Peer::default(), ..known.peers },
            admission: AdmissionSettings {
                signing_keys_file: Some(keys.display().to_string()),
                ..AdmissionSettings::default()
            },
            // No caller waits for a drain here.
            server: ServerSettings { drain_delay_ms: Some(0), ..ServerSettings::default() },
            ..known
        };
        let services = &mut base.services;
        for service in [
            &mut services.sale,
            &mut services.waiting_room,
            &mut services.inventory,
            &mut services.checkout,
        ] {
            service.start(settings.clone()).await?;
        }
        let mut noop = own(&base, "noop", "serve-noop")?;
        noop.start(settings.clone()).await?;
        let mut noop_open = own(&base, "noop-open", "serve-noop")?;
        let mut open = settings.clone();
        open.access.mode = Some("off".to_owned());
        noop_open.start(open).await?;

        let found = base.tools.versions().clone();
        let versions = vec![
            ("flashsale", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis", found.redis.clone()),
            ("nats", found.nats.clone()),
            ("postgres", found.postgres.clone()),
        ];
        let mut platform = Self {
            noop,
            noop_open,
            base,
            settings,
            pool,
            nats_client,
            jetstream,
            sale_id: Uuid::nil(),
            open_sale_id: Uuid::nil(),
            signer,
            redis_benchmark,
            versions,
        };
        // A visitor is measured joining and not while being admitted; admissions are signed
        // here.
        let room =
            RoomSettings { admissions_per_second: 1.0, admission_ttl: None, pre_queue: None };
        platform.sale_id = platform.open_sale(Some(room)).await?;
        platform.open_sale_id = platform.open_sale(None).await?;
        Ok(platform)
    }

    async fn open_sale(&self, room: Option<RoomSettings>) -> anyhow::Result<Uuid> {
        let mut sales = SaleServiceClient::new(self.channel("sale").await?);
        let price =
            || Some(Money { currency_code: "EUR".to_owned(), units: 19, nanos: 900_000_000 });
        let items = (0..calls::SKUS).map(|number| Item {
            sku: calls::sku(number),
            title: format!("Item {number}"),
            unit_price: price(),
            regular_price: None,
            quantity: UNITS,
            per_buyer_limit: 4,
        });
        let create = CreateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            settings: Some(SaleSettings {
                name: "Benchmark".to_owned(),
                currency: "EUR".to_owned(),
                // Longer than a run: no hold is swept while others are measured.
                hold_ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
                room,
                ..SaleSettings::default()
            }),
            items: items.collect(),
        };
        let sale = sales.create_sale(create).await?.into_inner().sale.unwrap_or_default();
        let sale_id = sale.sale_id;
        let start = StartSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.clone(),
            // Both sales offer the same items.
            allow_shared_skus: true,
        };
        sales.start_sale(start).await?;
        let propagated = async {
            loop {
                let get = GetSaleRequest { sale_id: sale_id.clone() };
                let sale = sales.get_sale(get).await?.into_inner().sale.unwrap_or_default();
                if sale.propagated {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PROPAGATE_WITHIN, propagated)
            .await
            .context("the sale has not reached every service")??;
        Ok(sale_id.parse()?)
    }

    /// A new connection to a service.
    pub(crate) async fn channel(&self, service: &str) -> anyhow::Result<NamedChannel> {
        let channel = Endpoint::from_shared(self.service(service)?.url())?.connect().await?;
        Ok(self.base.keys.shop_and_operator(channel))
    }

    /// The processes that serve, in the order in which they were started.
    fn started(&self) -> [(&'static str, &Service); 6] {
        let services = &self.base.services;
        [
            ("sale", &services.sale),
            ("waiting-room", &services.waiting_room),
            ("inventory", &services.inventory),
            ("checkout", &services.checkout),
            ("noop", &self.noop),
            ("noop-open", &self.noop_open),
        ]
    }

    /// The process of a service.
    pub(crate) fn service(&self, service: &str) -> anyhow::Result<&Service> {
        let found = self.started().into_iter().find(|(name, _)| *name == service);
        Ok(found.with_context(|| format!("{service} is not started"))?.1)
    }

    /// Where the stores' programs are.
    pub(crate) fn tools(&self) -> &Tools {
        &self.base.tools
    }

    /// The record.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// `127.0.0.1:<port>` of Redis.
    pub(crate) fn redis_address(&self) -> String {
        format!("127.0.0.1:{}", self.redis_port())
    }

    /// The port of Redis.
    pub(crate) fn redis_port(&self) -> u16 {
        self.base.redis.port()
    }

    /// The URL of another database of the same server.
    pub(crate) fn postgres_url_of(&self, database: &str) -> String {
        self.base.postgres.url_of(database)
    }

    /// Where the stores and services have their files.
    pub(crate) fn folder(&self) -> &Path {
        self.base.folder()
    }

    /// Starts another process of a service, with what `change` changes in its settings.
    pub(crate) async fn another(
        &self,
        service: &str,
        name: &'static str,
        change: impl FnOnce(&mut Settings),
    ) -> anyhow::Result<Service> {
        let mut settings = self.settings.clone();
        change(&mut settings);
        let mut service = self.base.another(service, name)?;
        service.start(settings).await?;
        Ok(service)
    }

    /// What every process is told.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Runs a part of this program in a process of its own, told `settings`, and returns what it
    /// prints.
    pub(crate) async fn run(&self, args: &[&str], settings: &Settings) -> anyhow::Result<Vec<u8>> {
        let out = tokio::process::Command::new(this()?)
            .args(args)
            .envs(settings.to_env()?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }

    /// Starts a stand-in for Stripe that takes calls as fast as they come, answers at once, and
    /// sends no events.
    pub(crate) async fn stripe(&self) -> anyhow::Result<StandIn> {
        let program = this()?.with_file_name("stripe-standin");
        ensure!(program.exists(), "{} is missing: {REMEDY}", program.display());
        let options = StripeOptions {
            rate_per_endpoint: 100_000,
            rate_total: 100_000,
            latency_ms: Some(0),
            confirm_latency_ms: Some(0),
            ..StripeOptions::default()
        };
        StandIn::start(StandInOptions {
            name: "stripe-standin",
            program,
            args: options.args(None),
            dir: self.folder(),
            log: "stripe.jsonl",
            stop_within: STOP_WITHIN,
        })
        .await
    }

    /// The number of a service's process.
    pub(crate) fn pid_of(&self, service: &str) -> anyhow::Result<u32> {
        pid(self.service(service)?)
    }

    /// Starts a claimer with batches of this size.
    pub(crate) async fn claimer(&self, batch: u32) -> anyhow::Result<Service> {
        let mut settings = self.settings.clone();
        settings.worker.claim_batch = Some(batch.into());
        let mut claimer = own(&self.base, "claims", "serve-claims")?;
        claimer.start(settings).await?;
        Ok(claimer)
    }

    /// Everybody whose processor time is told apart.
    pub(crate) fn watched(&self) -> Watched {
        let services =
            self.started().into_iter().filter_map(|(name, service)| Some((name, service.pid()?)));
        let stores = [
            ("load_generator", std::process::id()),
            ("redis", self.base.redis.pid()),
            ("nats", self.base.nats.pid()),
            ("postgres", self.base.postgres.pid()),
        ];
        Watched { processes: services.chain(stores).collect() }
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        for (_, service) in self.started().into_iter().rev() {
            service.stop().await?;
        }
        self.base.stop().await?.remove()?;
        Ok(())
    }
}

/// The process of a service that runs.
pub(crate) fn pid(service: &Service) -> anyhow::Result<u32> {
    service.pid().with_context(|| format!("{} is not started", service.name()))
}

/// A process of this program, not started.
fn own(base: &Base, name: &str, command: &str) -> anyhow::Result<Service> {
    Ok(Service::new(ServiceOptions {
        name: name.to_owned(),
        program: this()?,
        args: vec![command.into()],
        dir: base.folder().to_owned(),
        stop_within: STOP_WITHIN,
        keys: base.keys.clone(),
    })?)
}

fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program cannot find itself")
}

/// Redis brings it along.
fn redis_benchmark(tools: &Tools) -> anyhow::Result<PathBuf> {
    let beside = tools.redis_server().with_file_name("redis-benchmark");
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside)
        .chain(std::env::split_paths(&on_path).map(|dir| dir.join("redis-benchmark")))
        .find(|path| path.is_file())
        .context(
            "redis-benchmark is missing: it comes with Redis (Debian: apt-get install redis-tools)",
        )
}
