//! The keys of a shop, those that sign admissions, and every certificate of a platform are replaced
//! while a sale runs on it, each in the order that docs/security.md gives, and no call fails.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use flashsale_access::Key;
use flashsale_admission::Signer;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    Money, NamedChannel,
    checkout::{Line, OrderState, checkout_service_client::CheckoutServiceClient},
    inventory::{
        ListAdjustmentsRequest, inventory_admin_service_client::InventoryAdminServiceClient,
    },
    named_channel::{Identity, OneKey, bearer},
    sale::{
        CreateSaleRequest, GetSaleRequest, Item, RoomSettings, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
    waitingroom::{
        GetRoomRequest, WatchPositionRequest,
        waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
        waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_testbed::{
    Tools,
    buyer::Buyer,
    eventually,
    keys::{KeyFolder, SERVICES, write_secret},
    pki::{Authority, Issued},
    platform::{
        AccessSettings, AdmissionSettings, Apart, PaymentSettings, Peer, Peers, Platform,
        PlatformOptions, ServerSettings, Service, Settings, StripeOptions, migrated, run_dir,
    },
    shop_tokens::{BuyerToken, ShopTokens},
};
use serde_json::{Value, json};
use tonic::{
    Code, Status,
    codegen::http::HeaderValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity},
};
use uuid::Uuid;

use crate::metrics;

const SKU: &str = "TEE";
const WEBHOOK_SECRET: &str = "whsec_rotation";
const RELOAD_MS: u64 = 100;
/// How many buyers come at a time.
const BUYERS: usize = 4;

/// What a shop calls with at present.
#[derive(Debug)]
struct Present(RwLock<HeaderValue>);

impl Identity for Present {
    fn key(&self, _: &str) -> Option<HeaderValue> {
        Some(self.0.read().unwrap().clone())
    }
}

/// A platform whose services have certificates and call each other by those alone.
struct House {
    platform: Platform<Apart>,
    /// The shop's key.
    shop: Arc<Present>,
    /// What signs tokens for buyers.
    tokens: RwLock<ShopTokens>,
    /// The authorities that the shop trusts, PEM.
    trusted: RwLock<String>,
    /// How often each of the buyers' lines has gone round.
    rounds: [AtomicUsize; BUYERS],
    over: AtomicBool,
}

fn san(service: &str) -> String {
    format!("spiffe://flashsale.test/ns/flashsale/sa/{service}")
}

/// The certificates of the services, as clients and as servers, in place of those that are there.
fn issue(authority: &Authority, folder: &Path) {
    authority.issue(&["127.0.0.1"]).unwrap().write(folder, "server").unwrap();
    for service in SERVICES {
        authority.issue(&[&san(service)]).unwrap().write(folder, service).unwrap();
    }
}

/// Keys of the file, without those of services, and the names in the services' certificates.
fn known(keys: &KeyFolder, shops: &[&Key]) -> String {
    let key = |name: &str, role: &str, key: &Key| {
        format!("[[key]]\nname = '{name}'\nrole = '{role}'\nsha256 = '{}'\n", key.sha256())
    };
    let mut text = key("operator", "operator", keys.operator());
    for shop in shops {
        text += &key("shop", "shop", shop);
    }
    for service in SERVICES {
        let san = san(service);
        text += &format!("[[certificate]]\nname = '{service}'\nrole = 'service'\nsan = '{san}'\n");
    }
    text
}

impl House {
    async fn build(authority: &Authority) -> Self {
        flashsale_testbed::init();
        let options = PlatformOptions {
            redis: "redis",
            database: None,
            remedy: "say `make build`",
            drain_within: std::time::Duration::from_secs(20),
            stop_within: std::time::Duration::from_secs(20),
        };
        let tools = Tools::locate().unwrap();
        let mut platform =
            Platform::<Apart>::start(tools, run_dir().unwrap(), options).await.unwrap();
        migrated(platform.postgres_url(), 4, "rotation").await.unwrap();
        let stripe = StripeOptions {
            log: "stripe.jsonl",
            webhook_secret: WEBHOOK_SECRET,
            rate_per_endpoint: 10_000,
            rate_total: 40_000,
            latency_ms: Some(0),
            confirm_latency_ms: Some(0),
            ..StripeOptions::default()
        };
        let (stripe, smtp) =
            tokio::try_join!(platform.start_stripe(stripe), platform.start_smtp("mail.jsonl"))
                .unwrap();
        (platform.stripe, platform.smtp) = (Some(stripe), Some(smtp));

        let keys = platform.keys.clone();
        issue(authority, platform.folder());
        write_secret(&platform.file("ca.pem"), &authority.pem()).unwrap();
        write_secret(&keys.keys_file(), &known(&keys, &[keys.shop()])).unwrap();
        let signer = Signer::generate().unwrap();
        write_secret(&platform.file("signing.json"), &signer.to_private_jwks()).unwrap();
        let settings = settings(&platform);
        let services = &mut platform.services;
        tokio::try_join!(
            services.sale.start(settings.clone()),
            services.waiting_room.start(settings.clone()),
            services.checkout.start(settings.clone()),
            services.inventory.start(settings.clone()),
            services.worker.start(settings.clone()),
            services.payment.start(settings),
        )
        .unwrap();
        Self {
            shop: Arc::new(Present(RwLock::new(bearer(keys.shop())))),
            tokens: RwLock::new(keys.tokens().clone()),
            trusted: RwLock::new(authority.pem()),
            platform,
            rounds: Default::default(),
            over: AtomicBool::new(false),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.platform.file(name)
    }

    fn all(&self) -> [&Service; 6] {
        let services = &self.platform.services;
        [
            &services.sale,
            &services.waiting_room,
            &services.checkout,
            &services.inventory,
            &services.worker,
            &services.payment,
        ]
    }

    /// A new connection to a service, for a caller that trusts these authorities.
    async fn connect(
        &self,
        service: &Service,
        trusted: &str,
        own: Option<&Issued>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted));
        if let Some(own) = own {
            tls = tls.identity(TlsIdentity::from_pem(&own.certificate, &own.key));
        }
        let url = service.url().replace("http://", "https://");
        Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await
    }

    /// A new connection of the shop to a service.
    async fn shop(&self, service: &Service) -> NamedChannel {
        let trusted = self.trusted.read().unwrap().clone();
        let channel = self.connect(service, &trusted, None).await.expect("no connection fails");
        NamedChannel::new(channel, self.shop.clone())
    }

    async fn as_operator(&self, service: &Service) -> NamedChannel {
        let operator = OneKey::new(self.platform.keys.operator());
        self.shop(service).await.of(Arc::new(operator))
    }

    async fn open_sale(&self) -> String {
        let mut sales =
            SaleServiceClient::new(self.as_operator(&self.platform.services.sale).await);
        let item = Item {
            sku: SKU.to_owned(),
            title: SKU.to_owned(),
            unit_price: Some(Money { currency_code: "EUR".to_owned(), units: 10, nanos: 0 }),
            regular_price: None,
            quantity: 100_000,
            per_buyer_limit: 0,
        };
        let settings = SaleSettings {
            name: "Rotation".to_owned(),
            currency: "EUR".to_owned(),
            hold_ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            room: Some(RoomSettings {
                admissions_per_second: 200.0,
                admission_ttl: None,
                pre_queue: None,
            }),
            ..SaleSettings::default()
        };
        let request_id = || Uuid::new_v4().to_string();
        let create = CreateSaleRequest {
            request_id: request_id(),
            settings: Some(settings),
            items: vec![item],
        };
        let sale = sales.create_sale(create).await.unwrap().into_inner().sale.unwrap();
        let start = StartSaleRequest {
            request_id: request_id(),
            sale_id: sale.sale_id.clone(),
            allow_shared_skus: false,
        };
        sales.start_sale(start).await.unwrap();
        sale.sale_id
    }

    /// Buyers one after the other, until the sale is over: each stands in line and buys. Every
    /// other one places the order by itself.
    async fn buyers(&self, sale_id: &str, which: usize) {
        let services = &self.platform.services;
        let mut number = 0;
        while !self.over.load(Ordering::SeqCst) {
            number += 1;
            let id = format!("buyer-{which}-{number}");
            let buyer = Buyer::new(sale_id, id.clone(), "A Buyer".to_owned());
            let to_room = self.shop(&services.waiting_room).await;
            let mut room = WaitingRoomServiceClient::new(to_room);
            let joined = room.join(buyer.join(Uuid::new_v4())).await.expect("no call fails");
            let watch = WatchPositionRequest { ticket: joined.into_inner().ticket };
            let mut line = room.watch_position(watch).await.expect("no call fails").into_inner();
            let admission = loop {
                let position = line.message().await.expect("no stream fails");
                let position = position.expect("the line goes on").position.unwrap();
                if !position.admission.is_empty() {
                    break position.admission;
                }
            };
            let mut to_checkout = self.shop(&services.checkout).await;
            if number % 2 == 0 {
                let token = self.tokens.read().unwrap().token(sale_id, &id);
                to_checkout = to_checkout.of(Arc::new(BuyerToken::new(&token).unwrap()));
            }
            let mut checkout = CheckoutServiceClient::new(to_checkout);
            let lines = vec![Line { sku: SKU.to_owned(), quantity: 1 }];
            let place =
                buyer.place(Uuid::new_v4(), String::new(), lines, admission, "pm_card_visa");
            let placed = checkout.place_order(place).await.expect("no call fails").into_inner();
            let order_id = placed.order.unwrap().order_id;
            eventually("the order is confirmed", || async {
                let order = checkout.clone().get_order(buyer.get(&order_id)).await;
                let order = order.expect("no call fails").into_inner().order.unwrap();
                (order.state() == OrderState::Confirmed).then_some(())
            })
            .await;
            self.rounds[which].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until each line of buyers has gone round twice: the second round began after what was
    /// changed before, and nothing of before that is left.
    async fn goes_on(&self) {
        let rounds = || self.rounds.each_ref().map(|rounds| rounds.load(Ordering::SeqCst));
        let before = rounds();
        eventually("the sale goes on", || async {
            let pairs = before.iter().zip(rounds());
            pairs.into_iter().all(|(before, now)| now >= before + 2).then_some(())
        })
        .await;
    }

    /// Waits until a service has read these files again, for the n-th time.
    async fn has_read(&self, service: &Service, key: &str, times: usize) {
        eventually(&format!("{} has read {key} again", service.name()), || async {
            let log = fs::read_to_string(service.log_file()).unwrap();
            let lines = log
                .lines()
                .filter(|line| line.contains("the file has been read again") && line.contains(key));
            (lines.count() >= times).then_some(())
        })
        .await;
    }

    /// Whether sale, waiting-room and inventory know a key, each asked by a call that neither a
    /// buyer nor a service makes.
    async fn knows(&self, key: &Key, sale_id: &str) -> [bool; 3] {
        let services = &self.platform.services;
        let with =
            async |service: &Service| self.shop(service).await.of(Arc::new(OneKey::new(key)));
        let known = |status: Result<(), Status>| match status {
            Ok(()) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
                let reason = Failure::from_status(&status).unwrap().reason();
                assert_eq!(reason, Reason::CallerUnknown);
                false
            }
        };
        let sale_id = || sale_id.to_owned();
        let mut sales = SaleServiceClient::new(with(&services.sale).await);
        let mut room = WaitingRoomAdminServiceClient::new(with(&services.waiting_room).await);
        let mut stock = InventoryAdminServiceClient::new(with(&services.inventory).await);
        [
            known(sales.get_sale(GetSaleRequest { sale_id: sale_id() }).await.map(drop)),
            known(room.get_room(GetRoomRequest { sale_id: sale_id() }).await.map(drop)),
            known(stock.list_adjustments(adjustments(sale_id())).await.map(drop)),
        ]
    }

    /// The shop's key, and with it the key that it signs its buyers' tokens with.
    async fn rotate_the_shops_keys(&self, sale_id: &str) {
        let keys = &self.platform.keys;
        let (old, new) = (keys.shop().clone(), Key::generate());
        let old_tokens = self.tokens.read().unwrap().clone();
        let new_tokens = ShopTokens::new("next");
        let set = |keys: Value| json!({ "keys": keys }).to_string();
        let both = set(json!([old_tokens.jwk("shop"), new_tokens.jwk("shop")]));
        write_secret(&keys.buyer_keys_file(), &both).unwrap();
        write_secret(&keys.keys_file(), &known(keys, &[&old, &new])).unwrap();
        eventually("the new key is known", || async {
            (self.knows(&new, sale_id).await == [true; 3]).then_some(())
        })
        .await;
        let checkout = &self.platform.services.checkout;
        self.has_read(checkout, "access.keys_file", 1).await;
        self.has_read(checkout, "access.buyer_keys_file", 1).await;
        *self.shop.0.write().unwrap() = bearer(&new);
        *self.tokens.write().unwrap() = new_tokens.clone();
        self.goes_on().await;
        write_secret(&keys.keys_file(), &known(keys, &[&new])).unwrap();
        write_secret(&keys.buyer_keys_file(), &set(json!([new_tokens.jwk("shop")]))).unwrap();
        eventually("the old key is forgotten", || async {
            (self.knows(&old, sale_id).await == [false; 3]).then_some(())
        })
        .await;
        self.goes_on().await;
    }

    /// What signs tickets and admissions.
    async fn rotate_the_signing_keys(&self) {
        let file = self.file("signing.json");
        let old: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let new: Value =
            serde_json::from_str(&Signer::generate().unwrap().to_private_jwks()).unwrap();
        let (old, new) = (&old["keys"][0], &new["keys"][0]);
        let verifies = |key: &Value| {
            let mut key = key.clone();
            key.as_object_mut().unwrap().remove("use");
            key
        };
        let steps = [
            json!([verifies(new), old]),
            json!([new, verifies(old)]),
            // No ticket and no admission of the old key is left.
            json!([new]),
        ];
        for (step, keys) in steps.iter().enumerate() {
            write_secret(&file, &json!({ "keys": keys }).to_string()).unwrap();
            let room = &self.platform.services.waiting_room;
            self.has_read(room, "admission.signing_keys_file", step + 1).await;
            self.goes_on().await;
        }
    }

    /// The authority, and every certificate that it has signed.
    async fn rotate_the_certificates(&self, old: &Authority, new: &Authority) {
        let both = old.pem() + &new.pem();
        write_secret(&self.file("ca.pem"), &both).unwrap();
        (*self.trusted.write().unwrap()).clone_from(&both);
        self.all_have_read(1, 1).await;
        issue(new, self.platform.folder());
        for service in self.all() {
            eventually("the new certificate is presented", || async {
                self.connect(service, &new.pem(), None).await.ok()
            })
            .await;
        }
        self.all_have_read(1, 2).await;
        self.goes_on().await;
        write_secret(&self.file("ca.pem"), &new.pem()).unwrap();
        *self.trusted.write().unwrap() = new.pem();
        self.all_have_read(2, 3).await;
        self.goes_on().await;
        for service in self.all() {
            let stranger = self.connect(service, &old.pem(), None).await;
            assert!(stranger.is_err(), "{} presents its old certificate", service.name());
        }
    }

    /// Waits until every service has read the authorities again, and the certificates for its
    /// peers. `clients` and `peers` say for how many times.
    async fn all_have_read(&self, clients: usize, peers: usize) {
        let services = &self.platform.services;
        for service in self.all() {
            self.has_read(service, "access.client_ca_file", clients).await;
        }
        for (service, names) in [
            (&services.sale, &["inventory", "waiting-room", "payment"][..]),
            (&services.waiting_room, &["inventory", "checkout"]),
            (&services.checkout, &["inventory"]),
            (&services.inventory, &["waiting-room"]),
            (&services.worker, &["inventory", "payment"]),
        ] {
            for name in names {
                self.has_read(service, &format!("peers.{name}.ca_file"), peers).await;
            }
        }
    }

    /// How often the services have said that a peer of theirs failed or refused them.
    fn failures(&self) -> usize {
        let logs = self.all().map(|service| fs::read_to_string(service.log_file()).unwrap());
        let failed = |line: &&str| {
            ["PEER_UNAVAILABLE", "Unavailable", "Unauthenticated", "transport error"]
                .iter()
                .any(|words| line.contains(words))
        };
        logs.iter().map(|log| log.lines().filter(failed).count()).sum()
    }

    /// The methods of which calls were refused, with the reason.
    async fn refused(&self) -> Vec<String> {
        let mut refused = Vec::new();
        for service in self.all() {
            let text = metrics::get(&service.http_url(), "/metrics").await;
            refused.extend(
                text.lines()
                    .filter(|line| line.starts_with("flashsale_access_refusals_total"))
                    .filter(|line| !line.ends_with(" 0"))
                    .map(str::to_owned),
            );
        }
        refused
    }
}

fn adjustments(sale_id: String) -> ListAdjustmentsRequest {
    ListAdjustmentsRequest { sale_id, ..ListAdjustmentsRequest::default() }
}

/// Every service behind TLS; between them certificates and no key.
fn settings(platform: &Platform<Apart>) -> Settings {
    let file = |name: &str| Some(platform.file(name).display().to_string());
    let base = platform.settings();
    let secured = |peer: Peer| Peer {
        url: peer.url.map(|url| url.replace("http://", "https://")),
        key_file: None,
        ca_file: file("ca.pem"),
        tls_cert_file: file("*.pem"),
        tls_key_file: file("*.key.pem"),
        reload_ms: Some(RELOAD_MS),
        ..peer
    };
    let Peers { waiting_room, inventory, checkout, payment } = base.peers;
    Settings {
        server: ServerSettings {
            drain_delay_ms: Some(0),
            tls_cert_file: file("server.pem"),
            tls_key_file: file("server.key.pem"),
            ..base.server
        },
        access: AccessSettings {
            client_ca_file: file("ca.pem"),
            reload_ms: Some(RELOAD_MS),
            ..base.access
        },
        peers: Peers {
            waiting_room: secured(waiting_room),
            inventory: secured(inventory),
            checkout: secured(checkout),
            payment: secured(payment),
        },
        admission: AdmissionSettings {
            signing_keys_file: file("signing.json"),
            reload_ms: Some(RELOAD_MS),
            ..AdmissionSettings::default()
        },
        payment: PaymentSettings {
            webhook_secrets: Some(WEBHOOK_SECRET.to_owned()),
            global_budget_per_s: Some(10_000),
            endpoint_budget_per_s: Some(10_000),
            ..base.payment
        },
        ..base
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_rotates_under_a_running_sale() {
    let authority = Authority::new("the first").unwrap();
    let left_over = authority.issue(&[&san("checkout")]).unwrap();
    let house = House::build(&authority).await;
    let sale_id = house.open_sale().await;
    let driver = async {
        house.goes_on().await;
        let heard = house.failures();
        house.rotate_the_shops_keys(&sale_id).await;
        house.rotate_the_signing_keys().await;
        let successor = Authority::new("the second").unwrap();
        house.rotate_the_certificates(&authority, &successor).await;
        // Whom the first authority has named is no one any more, on an old connection neither.
        let sales = &house.platform.services.sale;
        let trusted = house.trusted.read().unwrap().clone();
        let left = house.connect(sales, &trusted, Some(&left_over)).await.unwrap();
        let get = GetSaleRequest { sale_id: sale_id.clone() };
        let refused = SaleServiceClient::new(left).get_sale(get).await.unwrap_err();
        assert_eq!(Failure::from_status(&refused).unwrap().reason(), Reason::CallerUnknown);
        assert_eq!(house.failures(), heard, "calls between services have failed");
        house.over.store(true, Ordering::SeqCst);
    };
    // A buyer whose call fails ends the test.
    let buyers = (0..BUYERS).map(|which| house.buyers(&sale_id, which));
    futures::join!(driver, futures::future::join_all(buyers));

    // Refused were those alone that asked whether a key is known.
    for line in house.refused().await {
        let asked = [
            "SaleService/GetSale",
            "WaitingRoomAdminService/GetRoom",
            "InventoryAdminService/ListAdjustments",
        ];
        assert!(asked.iter().any(|method| line.contains(method)), "{line}");
    }
    house.platform.stop_services().await.unwrap();
    house.platform.stop().await.unwrap();
}
