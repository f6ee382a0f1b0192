//! Stores that are reached over TLS alone, by clients with a certificate.

use std::{path::Path, process::Command, time::Duration};

use flashsale_pg::PgConfig;
use flashsale_proto::{
    NamedChannel,
    checkout::{Line, OrderState, checkout_service_client::CheckoutServiceClient},
    sale::{
        ExportFormat, ImportSaleRequest, RoomSettings, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::{
    AuthorityFolder, NatsOptions, NatsServer, PostgresOptions, PostgresServer, RedisOptions,
    RedisServer, Signed, Tools, Validity, eventually, grants, init,
    keys::KeyFolder,
    platform::{
        AccessSettings, AdmissionSettings, Maker, NatsSettings, PaymentSettings, Platform,
        PlatformOptions, Settings, StoreSettings, StripeOptions, TelemetrySettings, Together,
        run_dir,
    },
};
use uuid::Uuid;

use crate::{
    command::{own_home, program, repository},
    metrics::get,
    shopper::{SKU, Shopper},
};

const STOP_WITHIN: Duration = Duration::from_secs(20);
const WEBHOOK_SECRET: &str = "whsec_over_tls";

#[tokio::test]
async fn whole_platform_runs_over_tls() {
    init();
    let options = PlatformOptions {
        redis: "redis",
        database: None,
        remedy: "run `make build`",
        drain_within: STOP_WITHIN,
        stop_within: STOP_WITHIN,
    };
    let (found, dir) = (Tools::locate().unwrap(), run_dir().unwrap());
    let mut platform = Platform::<Together>::start_over_tls(found, dir, options).await.unwrap();
    let client = platform.store_client().unwrap().clone();
    let text = |path: &Path| path.display().to_string();
    let record = PgConfig {
        ca_file: text(&client.ca_file),
        cert_file: text(&client.own.cert_file),
        key_file: text(&client.own.key_file),
        ..PgConfig::at(platform.postgres_url())
    };
    let pool = flashsale_pg::connect(&record, "test").unwrap();
    grants::postgres::make_roles(&mut pool.acquire().await.unwrap()).await.unwrap();
    grants::postgres::migrate(pool.connect_options().as_ref().clone()).await.unwrap();
    let stripe = StripeOptions {
        log: "stripe.jsonl",
        webhook_secret: WEBHOOK_SECRET,
        rate_per_endpoint: 1_000,
        rate_total: 4_000,
        ..StripeOptions::default()
    };
    platform.stripe = Some(platform.start_stripe(stripe).await.unwrap());
    platform.smtp = Some(platform.start_smtp("mail.jsonl").await.unwrap());
    let base = platform.settings();
    let settings = Settings {
        admission: AdmissionSettings { ephemeral_keys: Some(true), ..base.admission },
        payment: PaymentSettings {
            webhook_secrets: Some(WEBHOOK_SECRET.to_owned()),
            ..base.payment
        },
        ..base
    };
    platform.services.all.start(settings).await.unwrap();

    let channel = platform.services.all.channel().unwrap();
    let sale_id = sale(channel.clone()).await;
    let mut ada = Shopper::new(channel, &sale_id, "Ada");
    ada.come_in().await;
    let mut checkout = CheckoutServiceClient::new(ada.channel.clone());
    let lines = vec![Line { sku: SKU.to_owned(), quantity: 1 }];
    let begin = ada.buyer.begin(Uuid::new_v4(), lines, ada.admission.clone());
    let hold_id = checkout.begin_checkout(begin).await.unwrap().into_inner().hold_id;
    let none = String::new();
    let place = ada.buyer.place(Uuid::new_v4(), hold_id, Vec::new(), none, "pm_card_visa");
    let order = checkout.place_order(place).await.unwrap().into_inner().order.unwrap();
    ada.sees(&order, OrderState::Confirmed).await;
    eventually("everything the order entails is done", || async {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE done_at IS NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
        (open == 0).then_some(())
    })
    .await;

    let audit = Command::new(program("flashsale-auditor"))
        .args(["--sale", &sale_id, "--at-rest"])
        .args(["--redis", &platform.redis.url(), "--nats", &platform.nats.url()])
        .args(["--postgres", &platform.postgres_url()])
        .args(["--ca-file", &text(&client.ca_file), "--cert-file", &text(&client.own.cert_file)])
        .args(["--key-file", &text(&client.own.key_file)])
        .args(["--nats-credentials", &text(&client.credentials_file)])
        .args(["--stripe-log", &text(&platform.file("stripe.jsonl"))])
        .args(["--mail-log", &text(&platform.file("mail.jsonl"))])
        .output()
        .unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    pool.close().await;
    platform.stop_services().await.unwrap();
    platform.stop().await.unwrap();
}

/// Imports the sample export as a sale, and opens it.
async fn sale(channel: NamedChannel) -> String {
    let export = std::fs::read(repository().join("cli/samples/spring-drop.csv")).unwrap();
    let import = ImportSaleRequest {
        request_id: Uuid::new_v4().to_string(),
        settings: Some(SaleSettings {
            name: "Over TLS".to_owned(),
            currency: "EUR".to_owned(),
            hold_ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            room: Some(RoomSettings {
                admissions_per_second: 100.0,
                admission_ttl: None,
                pre_queue: None,
            }),
            ..SaleSettings::default()
        }),
        format: ExportFormat::ShopifyCsv.into(),
        content: export,
        quantity: Some(10),
        per_buyer_limit: 2,
        ..ImportSaleRequest::default()
    };
    let mut sales = SaleServiceClient::new(channel);
    let sale = sales.import_sale(import).await.unwrap().into_inner().sale.unwrap();
    let (request_id, sale_id) = (Uuid::new_v4().to_string(), sale.sale_id);
    let start = StartSaleRequest { request_id, sale_id: sale_id.clone(), allow_shared_skus: false };
    sales.start_sale(start).await.unwrap();
    sale_id
}

/// The three stores with certificates of one kind.
struct Stores {
    postgres: PostgresServer,
    redis: RedisServer,
    nats: NatsServer,
}

impl Stores {
    async fn start(
        folder: &Path,
        authority: &AuthorityFolder,
        name: &str,
        validity: Validity,
    ) -> Self {
        let tools = Tools::locate().unwrap();
        let folder = folder.join(format!("{name}-{validity:?}"));
        let tls = |store: &str| {
            let file = format!("{store}-{name}-{validity:?}");
            authority.server_for(&file, &[name], validity).unwrap()
        };
        let fast = PostgresOptions { fsync: false, ..PostgresOptions::default() };
        let (postgres, redis, nats) = tokio::try_join!(
            PostgresServer::start_over_tls(&tools, folder.join("pg"), fast, tls("postgres")),
            RedisServer::start_over_tls(
                &tools,
                folder.join("redis"),
                RedisOptions::default(),
                tls("redis")
            ),
            NatsServer::start_over_tls(
                &tools,
                folder.join("nats"),
                NatsOptions::default(),
                tls("nats"),
                None
            ),
        )
        .unwrap();
        Self { postgres, redis, nats }
    }

    /// Their URLs, each with a password that must not be seen again.
    fn urls(&self) -> Urls {
        Urls {
            postgres: self.postgres.url().replace("postgres@", "postgres:hunter2@"),
            redis: self.redis.url().replace("//", "//default:hunter2@"),
            nats: self.nats.url().replace("//", "//it:hunter2@"),
        }
    }
}

#[derive(Clone)]
struct Urls {
    postgres: String,
    redis: String,
    nats: String,
}

/// What a service shows to a store, and whom it believes.
#[derive(Clone)]
struct Shown<'a> {
    ca_file: &'a Path,
    own: Option<&'a Signed>,
}

impl Shown<'_> {
    fn to(&self, url: &str) -> StoreSettings {
        let text = |path: &Path| Some(path.display().to_string());
        StoreSettings {
            url: Some(url.to_owned()),
            ca_file: text(self.ca_file),
            cert_file: self.own.and_then(|own| text(&own.cert_file)),
            key_file: self.own.and_then(|own| text(&own.key_file)),
        }
    }

    fn to_nats(&self, url: &str) -> NatsSettings {
        let StoreSettings { url, ca_file, cert_file, key_file } = self.to(url);
        NatsSettings { url, ca_file, cert_file, key_file, ..NatsSettings::default() }
    }
}

#[tokio::test]
async fn store_with_a_wrong_certificate_is_not_used() {
    init();
    let folder = own_home();
    let path = folder.path();
    let authority = AuthorityFolder::create(&path.join("authority")).unwrap();
    let other = AuthorityFolder::create(&path.join("other")).unwrap();
    let own = authority.sign("service", &["service"], Validity::Now).unwrap();
    let (good, expired, elsewhere) = tokio::join!(
        Stores::start(path, &authority, "127.0.0.1", Validity::Now),
        Stores::start(path, &authority, "127.0.0.1", Validity::Past),
        Stores::start(path, &authority, "elsewhere.example", Validity::Now),
    );
    let rightly = Shown { ca_file: authority.ca_file(), own: Some(&own) };
    let record = rightly.to(&good.urls().postgres);
    let record = PgConfig {
        ca_file: record.ca_file.unwrap(),
        cert_file: record.cert_file.unwrap(),
        key_file: record.key_file.unwrap(),
        ..PgConfig::at(good.urls().postgres)
    };
    let pool = flashsale_pg::connect(&record, "test").unwrap();
    flashsale_pg::migrate(&pool).await.unwrap();
    pool.close().await;

    let keys = KeyFolder::create(&path.join("keys")).unwrap();
    let maker = Maker {
        program: program("flashsale-serve"),
        dir: path.to_owned(),
        stop_within: STOP_WITHIN,
    };
    let base = Settings {
        access: AccessSettings {
            keys_file: Some(keys.keys_file().display().to_string()),
            ..AccessSettings::default()
        },
        telemetry: TelemetrySettings { log_filter: Some("debug".to_owned()) },
        postgres: rightly.to(&good.urls().postgres),
        redis: rightly.to(&good.urls().redis),
        nats: rightly.to_nats(&good.urls().nats),
        ..Settings::default()
    };
    let run = async |name: &str, settings: Settings| {
        let mut inventory = maker.service("inventory", name, &keys).unwrap();
        inventory.start(settings).await.unwrap();
        inventory
    };
    let log = |name: &str| std::fs::read_to_string(path.join(format!("{name}.log"))).unwrap();
    let is_ready = async |url: &str| get(url, "/readyz").await.starts_with("HTTP/1.1 200");

    // With the right certificates it serves, and finds nothing to complain of.
    let inventory = run("right", base.clone()).await;
    eventually("NATS is connected", async || {
        log("right").contains("connected successfully").then_some(())
    })
    .await;
    assert!(is_ready(&inventory.http_url()).await);
    assert!(!log("right").contains("store unavailable"), "{}", log("right"));
    assert!(!log("right").contains("hunter2"), "{}", log("right"));
    inventory.kill().await;

    let of_other = Shown { ca_file: other.ca_file(), own: Some(&own) };
    let without = Shown { ca_file: authority.ca_file(), own: None };
    for (fault, urls, shown, causes) in [
        // An authority of the same name.
        ("other-authority", good.urls(), &of_other, &["BadSignature"][..]),
        ("expired", expired.urls(), &rightly, &["certificate expired", "ExpiredContext"][..]),
        ("other-name", elsewhere.urls(), &rightly, &["not valid for name", "NotValidForName"][..]),
        (
            "no-certificate",
            good.urls(),
            &without,
            &["CertificateRequired", "client certificate"][..],
        ),
    ] {
        let cases = [
            ("postgres", Settings { postgres: shown.to(&urls.postgres), ..base.clone() }),
            ("redis", Settings { redis: shown.to(&urls.redis), ..base.clone() }),
            ("nats", Settings { nats: shown.to_nats(&urls.nats), ..base.clone() }),
        ];
        for (store, settings) in cases {
            let name = format!("{store}-{fault}");
            let inventory = run(&name, settings).await;
            let said = format!("\"store\":\"{store}\"");
            eventually(&format!("{name} is told"), async || {
                log(&name)
                    .lines()
                    .any(|line| {
                        line.contains("store unavailable")
                            && line.contains(&said)
                            && causes.iter().any(|cause| line.contains(cause))
                    })
                    .then_some(())
            })
            .await;
            // Without the record nothing confirms that this instance counts. That the others are
            // away its calls say themselves.
            if store == "postgres" {
                eventually(&format!("{name} is not ready"), async || {
                    (!is_ready(&inventory.http_url()).await).then_some(())
                })
                .await;
            }
            assert!(!log(&name).contains("hunter2"), "{}", log(&name));
            inventory.kill().await;
        }
    }
}
