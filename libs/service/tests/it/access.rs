//! Who is served, and what is asked of them before a handler runs.

use std::{path::Path, sync::Arc};

use flashsale_access::Key;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    NamedChannel,
    checkout::{
        self as pb, GetOrderRequest,
        checkout_admin_service_client::CheckoutAdminServiceClient,
        checkout_admin_service_server::{CheckoutAdminService, CheckoutAdminServiceServer},
        checkout_service_client::CheckoutServiceClient,
        checkout_service_server::{CheckoutService, CheckoutServiceServer},
    },
    named_channel::OneKey,
    waitingroom::{GetAdmissionKeysRequest, waiting_room_service_client::WaitingRoomServiceClient},
};
use flashsale_service::{AccessConfig, AccessMode, Hosted, ServerConfig};
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, metadata::MetadataValue, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Served, eventually, http_at, serve_for, server_config};

pub(crate) const SALE: &str = "6f1c9a52-31c1-4a2b-9a0e-7f0d4f4f9a11";
pub(crate) const OTHER_SALE: &str = "0d3b1c2e-7a55-4c55-9a33-8f5f1f0c2b77";

/// Reads any order, and counts how often a handler ran. Whose caller it was is the order's id.
#[derive(Debug, Clone)]
pub(crate) struct Orders(pub(crate) Arc<Semaphore>);

impl Orders {
    fn answer(&self) -> Option<pb::Order> {
        self.0.add_permits(1);
        let order_id = flashsale_access::current().map_or_else(String::new, |it| it.name.clone());
        Some(pb::Order { order_id, ..pb::Order::default() })
    }
}

#[tonic::async_trait]
impl CheckoutService for Orders {
    async fn get_order(
        &self,
        _: Request<GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        Ok(Response::new(pb::GetOrderResponse { order: self.answer() }))
    }

    async fn begin_checkout(
        &self,
        _: Request<pb::BeginCheckoutRequest>,
    ) -> Result<Response<pb::BeginCheckoutResponse>, Status> {
        self.answer();
        Ok(Response::new(pb::BeginCheckoutResponse::default()))
    }

    async fn place_order(
        &self,
        _: Request<pb::PlaceOrderRequest>,
    ) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        Ok(Response::new(pb::PlaceOrderResponse { order: self.answer() }))
    }

    type WatchOrderStream = BoxStream<'static, Result<pb::WatchOrderResponse, Status>>;

    async fn watch_order(
        &self,
        _: Request<pb::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        self.answer();
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn retry_payment(
        &self,
        _: Request<pb::RetryPaymentRequest>,
    ) -> Result<Response<pb::RetryPaymentResponse>, Status> {
        Ok(Response::new(pb::RetryPaymentResponse { order: self.answer() }))
    }

    async fn cancel_order(
        &self,
        _: Request<pb::CancelOrderRequest>,
    ) -> Result<Response<pb::CancelOrderResponse>, Status> {
        Ok(Response::new(pb::CancelOrderResponse { order: self.answer() }))
    }

    async fn list_orders(
        &self,
        _: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        self.answer();
        Ok(Response::new(pb::ListOrdersResponse::default()))
    }
}

fn entry(name: &str, role: &str, key: &Key, more: &str) -> String {
    format!("[[key]]\nname = '{name}'\nrole = '{role}'\nsha256 = '{}'\n{more}\n", key.sha256())
}

fn access(keys: &Path) -> AccessConfig {
    AccessConfig { reload_ms: 1, ..AccessConfig::with_keys(keys.to_str().unwrap()) }
}

struct Door {
    server: Served,
    ran: Arc<Semaphore>,
    keys_file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn open(keys: &str) -> Self {
        Self::open_as(keys, AccessMode::Required).await
    }

    async fn open_as(keys: &str, mode: AccessMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys_file = folder.path().join("keys.toml");
        std::fs::write(&keys_file, keys).unwrap();
        let ran = Arc::new(Semaphore::new(0));
        let orders = Orders(Arc::clone(&ran));
        let server = serve_for(
            server_config(),
            AccessConfig { mode, ..access(&keys_file) },
            |hosted: Hosted| hosted.grpc(CheckoutServiceServer::new(orders)),
        )
        .await;
        Self { server, ran, keys_file, _folder: folder }
    }

    async fn client(&self, key: Option<&Key>) -> CheckoutServiceClient<NamedChannel> {
        let channel = self.server.channel().await;
        CheckoutServiceClient::new(match key {
            Some(key) => NamedChannel::new(channel, Arc::new(OneKey::new(key))),
            None => NamedChannel::nameless(channel),
        })
    }

    async fn get(&self, key: Option<&Key>, sale: &str, buyer: &str) -> Result<String, Failure> {
        let request = order_of(sale, buyer);
        match self.client(key).await.get_order(request).await {
            Ok(answer) => Ok(answer.into_inner().order.unwrap().order_id),
            Err(status) => {
                let failure = Failure::from_status(&status)
                    .unwrap_or_else(|| panic!("{status:?} is not one of ours"));
                assert_eq!(status.code(), failure.reason().code());
                Err(failure)
            }
        }
    }
}

pub(crate) fn order_of(sale: &str, buyer: &str) -> GetOrderRequest {
    GetOrderRequest {
        sale_id: sale.to_owned(),
        order_id: String::new(),
        buyer_id: buyer.to_owned(),
    }
}

#[tokio::test]
async fn callers_are_known_by_key_and_held_to_sale_and_buyer() {
    let [shop, limited, operator, service, ended, stranger] = [(); 6].map(|()| Key::generate());
    let keys = [
        entry("web", "shop", &shop, ""),
        entry("drop", "shop", &limited, &format!("sales = ['{SALE}']")),
        entry("ann", "operator", &operator, ""),
        entry("payment", "service", &service, ""),
        entry("old", "shop", &ended, "not_after = 2026-01-01T00:00:00Z"),
    ]
    .concat();
    let door = Door::open(&keys).await;
    for (key, sale, buyer, name) in [
        (&shop, SALE, "ada", "web"),
        (&shop, OTHER_SALE, "ada", "web"),
        (&limited, SALE, "ada", "drop"),
        (&operator, SALE, "", "ann"),
    ] {
        assert_eq!(door.get(Some(key), sale, buyer).await.unwrap(), name);
    }
    let served = door.ran.available_permits();
    assert_eq!(served, 4);
    for (key, sale, buyer, reason, field) in [
        (None, SALE, "ada", Reason::CallerUnknown, None),
        (Some(&stranger), SALE, "ada", Reason::CallerUnknown, None),
        (Some(&ended), SALE, "ada", Reason::CallerUnknown, None),
        (Some(&service), SALE, "ada", Reason::CallerNotAllowed, None),
        (Some(&limited), OTHER_SALE, "ada", Reason::SaleNotYours, Some("sale_id")),
        (Some(&limited), "", "ada", Reason::SaleNotYours, Some("sale_id")),
        (Some(&limited), "all", "ada", Reason::SaleNotYours, Some("sale_id")),
        (Some(&shop), SALE, "", Reason::BuyerUnproven, Some("buyer_id")),
    ] {
        let failure = door.get(key, sale, buyer).await.unwrap_err();
        assert_eq!(failure.reason(), reason, "{failure}");
        let named = failure.violations().first().map(|violation| violation.field.as_str());
        assert_eq!(named, field, "{failure}");
        assert!(!failure.to_string().contains("fsk_") || reason == Reason::CallerUnknown);
    }
    assert_eq!(door.ran.available_permits(), served, "a refused call ran its handler");

    // What the service does not host is no secret, and health has no key.
    let mut health = HealthClient::new(door.server.channel().await);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    let mut room = WaitingRoomServiceClient::new(door.server.channel().await);
    let public = room.get_admission_keys(GetAdmissionKeysRequest {}).await.unwrap_err();
    assert_eq!(public.code(), Code::Unimplemented);
}

#[tokio::test]
async fn malformed_authorizations_are_unknown() {
    let key = Key::generate();
    let door = Door::open(&entry("web", "shop", &key, "")).await;
    let mut client = CheckoutServiceClient::new(door.server.channel().await);
    let bearer = format!("Bearer {}", key.expose());
    for (headers, known) in [
        (vec![bearer.clone()], true),
        (vec![format!("bearer  {}", key.expose())], true),
        (vec![bearer.clone(), bearer.clone()], false),
        (vec![key.expose().to_owned()], false),
        (vec![format!("Basic {}", key.expose())], false),
        (vec!["Bearer ".to_owned()], false),
        (vec![format!("Bearer {}", key.sha256())], false),
        (vec![format!("Bearer {}x", key.expose())], false),
    ] {
        let mut request = Request::new(order_of(SALE, "ada"));
        for header in &headers {
            let value = MetadataValue::try_from(header.as_str()).unwrap();
            request.metadata_mut().append("authorization", value);
        }
        let answer = client.get_order(request).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        let expected = if known { Code::Ok } else { Code::Unauthenticated };
        assert_eq!(code, expected, "{}", headers.join(", ").replace(key.expose(), "KEY"));
    }
}

#[tokio::test]
async fn keys_rotate_under_load_and_a_broken_file_changes_nothing() {
    let [old, new] = [(); 2].map(|()| Key::generate());
    let (old_entry, new_entry) = (entry("web", "shop", &old, ""), entry("web", "shop", &new, ""));
    let door = Door::open(&old_entry).await;
    let write = |text: &str| {
        let beside = door.keys_file.with_extension("partial");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &door.keys_file).unwrap();
    };
    assert!(door.get(Some(&new), SALE, "ada").await.is_err());

    write("[[key]] is no key");
    eventually("the alarm is raised", async || {
        door.get(Some(&old), SALE, "ada").await.unwrap();
        let (_, metrics) = door.server.http("/metrics").await;
        metrics.lines().any(|line| {
            line.starts_with("flashsale_access_keys_broken")
                && line.contains("access.keys_file")
                && line.ends_with(" 1")
        })
    })
    .await;

    write(&(old_entry + &new_entry));
    eventually("the new key is known", async || {
        assert!(door.get(Some(&old), SALE, "ada").await.is_ok());
        door.get(Some(&new), SALE, "ada").await.is_ok()
    })
    .await;
    write(&new_entry);
    eventually("the old key is forgotten", async || {
        assert!(door.get(Some(&new), SALE, "ada").await.is_ok());
        door.get(Some(&old), SALE, "ada").await.is_err()
    })
    .await;
}

#[tokio::test]
async fn report_serves_and_counts() {
    let key = Key::generate();
    let door = Door::open_as(&entry("web", "shop", &key, ""), AccessMode::Report).await;
    assert_eq!(door.get(None, SALE, "ada").await.unwrap(), "anyone");
    assert_eq!(door.get(Some(&key), SALE, "").await.unwrap(), "web");
    let (_, metrics) = door.server.http("/metrics").await;
    for reason in ["CALLER_UNKNOWN", "BUYER_UNPROVEN"] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("flashsale_access_refusals_total") && line.contains(reason)
        });
        assert!(counted, "{reason} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_a_body_is_read() {
    let door = Door::open(&entry("web", "shop", &Key::generate(), "")).await;
    // Its body never comes.
    let mut grpc = tonic::client::Grpc::new(door.server.channel().await);
    grpc.ready().await.unwrap();
    let path =
        http::uri::PathAndQuery::from_static("/flashsale.checkout.v1.CheckoutService/GetOrder");
    let codec = tonic_prost::ProstCodec::<GetOrderRequest, pb::GetOrderResponse>::default();
    let never = futures::stream::pending::<GetOrderRequest>();
    let call = grpc.client_streaming(Request::new(never), path, codec);
    let answer = tokio::time::timeout(crate::support::PATIENCE, call).await.unwrap();
    assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
}

struct Intake;

#[tonic::async_trait]
impl CheckoutAdminService for Intake {
    async fn get_intake(
        &self,
        _: Request<pb::GetIntakeRequest>,
    ) -> Result<Response<pb::GetIntakeResponse>, Status> {
        Ok(Response::new(pb::GetIntakeResponse::default()))
    }
}

#[tokio::test]
async fn internal_calls_and_routes_have_ports_of_their_own() {
    let [shop, operator] = [(); 2].map(|()| Key::generate());
    let folder = tempfile::tempdir().unwrap();
    let keys_file = folder.path().join("keys.toml");
    let keys = entry("web", "shop", &shop, "") + &entry("ann", "operator", &operator, "");
    std::fs::write(&keys_file, keys).unwrap();
    let config = ServerConfig {
        internal_listen: "127.0.0.1:0".to_owned(),
        routes_listen: "127.0.0.1:0".to_owned(),
        ..server_config()
    };
    assert_eq!(config.problems(), []);
    let orders = Orders(Arc::new(Semaphore::new(0)));
    let server = serve_for(config, access(&keys_file), |hosted: Hosted| {
        let page = axum::Router::new().route("/hook", axum::routing::get(async || "hooked"));
        hosted
            .grpc(CheckoutServiceServer::new(orders))
            .grpc(CheckoutAdminServiceServer::new(Intake))
            .http(page)
    })
    .await;
    let internal = format!("http://{}", server.internal_address.unwrap());
    let internal = Endpoint::from_shared(internal).unwrap().connect().await.unwrap();
    let public = server.channel().await;
    for (port, channel, answers) in [("public", public, false), ("internal", internal, true)] {
        let of = |key: &Key| NamedChannel::new(channel.clone(), Arc::new(OneKey::new(key)));
        let shops = CheckoutServiceClient::new(of(&shop)).get_order(order_of(SALE, "ada")).await;
        assert!(shops.is_ok(), "{port}: {shops:?}");
        let mut admin = CheckoutAdminServiceClient::new(of(&operator));
        let answer = admin.get_intake(pb::GetIntakeRequest {}).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        assert_eq!(code, if answers { Code::Ok } else { Code::PermissionDenied }, "{port}");
    }
    let routes = server.routes_address.unwrap();
    for (address, path, code) in [
        (server.http_address, "/hook", 404),
        (server.http_address, "/readyz", 200),
        (server.http_address, "/metrics", 200),
        (routes, "/hook", 200),
        (routes, "/readyz", 404),
        (routes, "/metrics", 404),
    ] {
        assert_eq!(http_at(address, path).await.0, code, "{path} at {address}");
    }
}

#[test]
fn addresses_differ_and_are_readable() {
    let problems = |change: fn(&mut ServerConfig)| {
        let mut config =
            ServerConfig::at("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        change(&mut config);
        config.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert!(problems(|config| config.internal_listen = "127.0.0.1:3".to_owned()).is_empty());
    assert_eq!(
        problems(|config| config.internal_listen = "127.0.0.1:1".to_owned()),
        ["server.internal_listen"]
    );
    assert_eq!(
        problems(|config| config.routes_listen = "127.0.0.1:2".to_owned()),
        ["server.routes_listen"]
    );
    assert_eq!(
        problems(|config| config.routes_listen = "8080".to_owned()),
        ["server.routes_listen"]
    );
}

#[test]
fn off_and_report_are_for_loopback() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    let on = |address: &str, mode, keys_file: &str| {
        let server = ServerConfig::at(address.parse().unwrap(), "[::1]:2".parse().unwrap());
        let config = AccessConfig { mode, ..AccessConfig::with_keys(keys_file) };
        config.problems(&server).into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    let file = keys.path().to_str().unwrap();
    assert!(on("0.0.0.0:1", AccessMode::Required, file).is_empty());
    assert!(on("127.0.0.1:1", AccessMode::Off, "").is_empty());
    assert!(on("[::1]:1", AccessMode::Report, file).is_empty());
    for mode in [AccessMode::Off, AccessMode::Report] {
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"] {
            assert_eq!(on(address, mode, file), ["access.mode"], "{address}");
        }
    }
    assert_eq!(on("0.0.0.0:1", AccessMode::Required, ""), ["access.keys_file"]);
    assert_eq!(on("0.0.0.0:1", AccessMode::Required, "/nowhere"), ["access.keys_file"]);
}
