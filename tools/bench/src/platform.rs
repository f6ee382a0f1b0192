//! The platform under measurement: stores, services and the no-op service, each a process of its own.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use flashsale_admission::Signer;
use flashsale_proto::{
    Money,
    sale::{
        CreateSaleRequest, GetSaleRequest, Item, RoomSettings, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{
    Appendonly, Home, NatsOptions, NatsServer, PostgresOptions, PostgresServer, Program,
    ProgramOptions, RedisOptions, RedisServer, RunDir, Tools, free_port,
};
use sqlx::PgPool;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::{calls, ceilings, cluster::pg_config, cpu::Watched};

const READY_WITHIN: Duration = Duration::from_secs(60);
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a sale may take to reach every service.
const PROPAGATE_WITHIN: Duration = Duration::from_secs(30);
/// Units of each sku: more than any run takes.
const UNITS: i64 = 10_000_000;
/// The services, with the variable that tells the others where each is.
const SERVICES: [(&str, &str); 4] = [
    ("sale", "SALE"),
    ("waiting-room", "WAITING_ROOM"),
    ("inventory", "INVENTORY"),
    ("checkout", "CHECKOUT"),
];

/// All of it. Dropped, everything in it is killed.
pub(crate) struct Platform {
    services: Vec<(&'static str, String, Program)>,
    nats: NatsServer,
    redis: RedisServer,
    postgres: PostgresServer,
    dir: RunDir,
    env: Vec<(OsString, OsString)>,
    pool: PgPool,
    /// NATS, and JetStream in it, without a service in between.
    pub(crate) nats_client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    /// A sale with a waiting room in front of it.
    pub(crate) sale_id: Uuid,
    /// A sale that takes whoever comes.
    pub(crate) open_sale_id: Uuid,
    /// What signs admissions, in the waiting room and here.
    pub(crate) signer: Signer,
    /// Where the stores' programs are.
    pub(crate) tools: Tools,
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
        let dir = RunDir::create(&Home::locate()?).context("no folder to run in")?;
        let path = dir.path().to_owned();
        let (postgres, redis, nats) = tokio::try_join!(
            PostgresServer::start(&tools, path.join("postgres"), PostgresOptions::default()),
            RedisServer::start(
                &tools,
                path.join("redis"),
                RedisOptions { appendonly: Appendonly::Everysec },
            ),
            NatsServer::start(&tools, path.join("nats"), NatsOptions::default()),
        )?;
        // Redis writes its log anew whenever it has doubled, which at the start of its life is always: that would be measured instead.
        let address = format!("127.0.0.1:{}", redis.port());
        ceilings::ask(&address, "CONFIG SET auto-aof-rewrite-percentage 0").await?;
        let pool = flashsale_pg::connect(&pg_config(postgres.url()), "bench")?;
        flashsale_pg::migrate(&pool).await?;
        let nats_client = async_nats::connect(nats.url()).await?;
        let jetstream = jetstream::new(nats_client.clone());

        let signer = Signer::generate()?;
        let keys = path.join("keys.json");
        std::fs::write(&keys, signer.to_private_jwks())?;
        let mut env = vec![
            variable("POSTGRES__URL", postgres.url()),
            variable("REDIS__URL", redis.url()),
            variable("NATS__URL", nats.url()),
            variable("ADMISSION__SIGNING_KEYS_FILE", keys.display()),
        ];
        let mut ports = Vec::new();
        for (name, key) in SERVICES {
            let port = free_port()?;
            env.push(variable(&format!("PEERS__{key}__URL"), format!("http://127.0.0.1:{port}")));
            ports.push((name, port));
        }
        let mut services = Vec::new();
        for (name, port) in ports {
            let program = start(&path, name, serve()?, vec![name.into()], port, &env).await?;
            services.push((name, format!("http://127.0.0.1:{port}"), program));
        }
        let port = free_port()?;
        let noop = start(&path, "noop", this()?, vec!["serve-noop".into()], port, &env).await?;
        services.push(("noop", format!("http://127.0.0.1:{port}"), noop));

        let found = tools.versions().clone();
        let versions = vec![
            ("flashsale", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis", found.redis.clone()),
            ("nats", found.nats.clone()),
            ("postgres", found.postgres.clone()),
        ];
        let mut platform = Self {
            services,
            nats,
            redis,
            postgres,
            dir,
            env,
            pool,
            nats_client,
            jetstream,
            sale_id: Uuid::nil(),
            open_sale_id: Uuid::nil(),
            signer,
            tools,
            redis_benchmark,
            versions,
        };
        // Whoever joins is measured joining and not while being admitted; admissions are signed here.
        let room = RoomSettings { admissions_per_second: 1.0, admission_ttl: None };
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
        let start =
            StartSaleRequest { request_id: Uuid::new_v4().to_string(), sale_id: sale_id.clone() };
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
    pub(crate) async fn channel(&self, service: &str) -> anyhow::Result<Channel> {
        let found = self.services.iter().find(|(name, ..)| *name == service);
        let (_, url, _) = found.with_context(|| format!("{service} is not started"))?;
        Ok(Endpoint::from_shared(url.clone())?.connect().await?)
    }

    /// The record.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// `127.0.0.1:<port>` of Redis.
    pub(crate) fn redis_address(&self) -> String {
        format!("127.0.0.1:{}", self.redis.port())
    }

    /// The URL of another database of the same server.
    pub(crate) fn postgres_url_of(&self, database: &str) -> String {
        self.postgres.url_of(database)
    }

    /// Where the stores and services have their files.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Starts another process of a service, over other stores or with other settings, and returns its URL with it.
    pub(crate) async fn another(
        &self,
        service: &str,
        name: &'static str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(String, Program)> {
        let others: Vec<_> = settings.iter().map(|(key, value)| variable(key, value)).collect();
        let mut env = self.env.clone();
        env.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
        env.extend(others);
        let port = free_port()?;
        let program =
            start(self.dir.path(), name, serve()?, vec![service.into()], port, &env).await?;
        Ok((format!("http://127.0.0.1:{port}"), program))
    }

    /// The process of a service.
    pub(crate) fn pid_of(&self, service: &str) -> anyhow::Result<u32> {
        let found = self.services.iter().find(|(name, ..)| *name == service);
        let (_, _, program) = found.with_context(|| format!("{service} is not started"))?;
        Ok(program.child().pid())
    }

    /// Starts a claimer with batches of this size.
    pub(crate) async fn claimer(&self, batch: u32) -> anyhow::Result<Program> {
        let mut env = self.env.clone();
        env.push(variable("WORKER__CLAIM_BATCH", batch));
        start(self.dir.path(), "claims", this()?, vec!["serve-claims".into()], free_port()?, &env)
            .await
    }

    /// Everybody whose processor time is told apart.
    pub(crate) fn watched(&self) -> Watched {
        let services =
            self.services.iter().map(|(name, _, program)| (*name, program.child().pid()));
        let stores = [
            ("load_generator", std::process::id()),
            ("redis", self.redis.pid()),
            ("nats", self.nats.pid()),
            ("postgres", self.postgres.pid()),
        ];
        Watched { processes: services.chain(stores).collect() }
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        for (_, _, program) in self.services.into_iter().rev() {
            program.stop(STOP_WITHIN).await?;
        }
        self.nats.stop().await?;
        self.redis.stop().await?;
        self.postgres.stop().await?;
        self.dir.remove()?;
        Ok(())
    }
}

fn variable(key: &str, value: impl ToString) -> (OsString, OsString) {
    (format!("FLASHSALE_{key}").into(), value.to_string().into())
}

async fn start(
    dir: &Path,
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    port: u16,
    env: &[(OsString, OsString)],
) -> anyhow::Result<Program> {
    let ready_file = dir.join(format!("{name}.ready"));
    let mut env = env.to_vec();
    env.push(variable("SERVER__GRPC_LISTEN", format!("127.0.0.1:{port}")));
    env.push(variable("SERVER__HTTP_LISTEN", format!("127.0.0.1:{}", free_port()?)));
    env.push(variable("SERVER__READY_FILE", ready_file.display()));
    // Ends are not awaited by anybody here.
    env.push(variable("SERVER__DRAIN_DELAY_MS", 0));
    let options = ProgramOptions {
        name: name.to_owned(),
        path: program,
        args,
        env,
        log_file: dir.join(format!("{name}.log")),
        ready_file,
        ready_within: READY_WITHIN,
    };
    Ok(Program::start(options).await?)
}

fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program cannot find itself")
}

/// The program of all services, which is built beside this one.
fn serve() -> anyhow::Result<PathBuf> {
    let path = this()?.with_file_name("flashsale-serve");
    ensure!(path.exists(), "{} is missing: say `make bench`, which builds it", path.display());
    Ok(path)
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
