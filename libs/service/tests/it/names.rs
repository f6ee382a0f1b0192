//! Names that do not come by key: a client's certificate, a sidecar's word, a buyer's token.

use std::{fs, path::PathBuf, sync::Arc};

use flashsale_access::Key;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::checkout::{
    checkout_service_client::CheckoutServiceClient, checkout_service_server::CheckoutServiceServer,
};
use flashsale_service::{
    AccessConfig, AccessMode, Hosted, PeerConfig, ServerConfig, Sidecar, bind, peer,
};
use flashsale_testbed::{
    pki::{Authority, Issued},
    shop_tokens::ShopTokens,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::{net::UnixStream, sync::Semaphore};
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri},
};

use crate::{
    access::{OTHER_SALE, Orders, SALE, order_of},
    support::{Served, eventually, peer_config, serve_for, server_config},
};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const APP: &str = "app.shop.example.com";
const SECRET: &str = "a-secret-of-the-sidecars-0123456789";

/// A server that knows callers by the names of certificates, and how often a handler ran.
struct House {
    server: Served,
    ran: Arc<Semaphore>,
    folder: tempfile::TempDir,
    authority: Authority,
    key: Key,
    tokens: ShopTokens,
}

impl House {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With everything that `sets` sets, given the folder of its files.
    async fn open(sets: impl FnOnce(&mut ServerConfig, &mut AccessConfig, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("of the house").unwrap();
        let (key, tokens) = (Key::generate(), ShopTokens::new("k1"));
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let certificate = |san: &str, name: &str| {
            format!("[[certificate]]\nsan = '{san}'\nname = '{name}'\nrole = 'shop'\n")
        };
        let keys = [
            certificate(WEB, "web"),
            certificate(APP, "app"),
            format!("[[key]]\nname = 'by-key'\nrole = 'shop'\nsha256 = '{}'\n", key.sha256()),
        ];
        fs::write(path("keys.toml"), keys.concat()).unwrap();
        fs::write(path("ca.pem"), authority.pem()).unwrap();
        let mut jwk = tokens.jwk("web-shop");
        jwk["sales"] = json!([SALE]);
        fs::write(path("buyers.json"), json!({ "keys": [jwk] }).to_string()).unwrap();
        fs::write(path("secret"), format!("{SECRET}\n")).unwrap();
        authority.issue(&["127.0.0.1"]).unwrap().write(folder.path(), "server").unwrap();
        let mut server = server_config();
        let mut access =
            AccessConfig { reload_ms: 1, ..AccessConfig::with_keys(&path("keys.toml")) };
        sets(&mut server, &mut access, folder.path().to_str().unwrap());
        assert_eq!((server.problems(), access.problems(&server)), (Vec::new(), Vec::new()));
        let ran = Arc::new(Semaphore::new(0));
        let orders = Orders(Arc::clone(&ran));
        let serve = |hosted: Hosted| hosted.grpc(CheckoutServiceServer::new(orders));
        let server = serve_for(server, access, serve).await;
        Self { server, ran, folder, authority, key, tokens }
    }

    async fn with_certificates() -> Self {
        Self::open(|server, access, folder| {
            server.tls_cert_file = format!("{folder}/server.pem");
            server.tls_key_file = format!("{folder}/server.key.pem");
            access.client_ca_file = format!("{folder}/ca.pem");
        })
        .await
    }

    /// A channel of a client with this certificate, if any.
    async fn secured(&self, own: Option<&Issued>) -> Channel {
        self.secured_by(&self.authority, own).await.unwrap()
    }

    async fn secured_by(
        &self,
        authority: &Authority,
        own: Option<&Issued>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        let endpoint = Endpoint::from_shared(self.server.grpc_url.clone()).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }
}

/// Who a call with these headers was made by, or why none was served.
async fn asked(channel: Channel, headers: &[(&'static str, &str)]) -> Result<String, Failure> {
    asked_for(channel, headers, SALE, "ada").await
}

async fn asked_for(
    channel: Channel,
    headers: &[(&'static str, &str)],
    sale: &str,
    buyer: &str,
) -> Result<String, Failure> {
    let mut request = Request::new(order_of(sale, buyer));
    for (name, value) in headers {
        let value = MetadataValue::try_from(*value).unwrap();
        request.metadata_mut().append(*name, value);
    }
    match CheckoutServiceClient::new(channel).get_order(request).await {
        Ok(answer) => Ok(answer.into_inner().order.unwrap().order_id),
        Err(status) => {
            let failure = Failure::from_status(&status);
            let failure = failure.unwrap_or_else(|| panic!("{status:?} is not one of ours"));
            assert_eq!(status.code(), failure.reason().code());
            Err(failure)
        }
    }
}

#[track_caller]
fn unknown(answer: Result<String, Failure>, words: &str) {
    let failure = answer.expect_err(words);
    assert_eq!(failure.reason(), Reason::CallerUnknown, "{failure}");
    assert!(failure.to_string().contains(words), "{failure} lacks {words}");
}

#[tokio::test]
async fn a_certificate_of_our_authority_names_a_caller() {
    let house = House::with_certificates().await;
    let by = async |names: &[&str]| {
        let own = house.authority.issue(names).unwrap();
        asked(house.secured(Some(&own)).await, &[]).await
    };
    assert_eq!(by(&[WEB]).await.unwrap(), "web");
    assert_eq!(by(&[APP]).await.unwrap(), "app");
    // The URI counts, as SPIFFE has it.
    assert_eq!(by(&[APP, WEB]).await.unwrap(), "web");
    let served = house.ran.available_permits();
    assert_eq!(served, 3);

    unknown(by(&["spiffe://cluster.local/ns/shop/sa/eve"]).await, "name is unknown");
    unknown(by(&[WEB, "spiffe://cluster.local/ns/shop/sa/eve"]).await, "several URIs");
    unknown(by(&[APP, "b.example.com"]).await, "several DNS names");
    unknown(by(&["https://shop.example.com/web"]).await, "neither a SPIFFE id");
    unknown(by(&["*.shop.example.com"]).await, "neither a SPIFFE id");
    unknown(by(&["127.0.0.1"]).await, "neither a URI nor");
    unknown(asked(house.secured(None).await, &[]).await, "no key");

    let stranger = Authority::new("a stranger's").unwrap().issue(&[WEB]).unwrap();
    unknown(asked(house.secured(Some(&stranger)).await, &[]).await, "not trusted here");
    // The name of our authority is on a stranger's, too.
    let namesake = Authority::new("of the house").unwrap().issue(&[WEB]).unwrap();
    let refused = asked(house.secured(Some(&namesake)).await, &[]).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::CallerUnknown);
    let ended = OffsetDateTime::now_utc() - Duration::MINUTE;
    let expired = house.authority.issue_until(&[WEB], ended).unwrap();
    unknown(asked(house.secured(Some(&expired)).await, &[]).await, "has expired");
    let later = OffsetDateTime::now_utc() + Duration::DAY * 3;
    let early = house.authority.issue_until(&[WEB], later).unwrap();
    unknown(asked(house.secured(Some(&early)).await, &[]).await, "not valid yet");
    assert_eq!(house.ran.available_permits(), served, "a refused call ran its handler");

    // A key decides, whatever comes with it.
    let key = format!("Bearer {}", house.key.expose());
    let by_key = asked(house.secured(Some(&stranger)).await, &[("authorization", &key)]).await;
    assert_eq!(by_key.unwrap(), "by-key");
    let web = house.authority.issue(&[WEB]).unwrap();
    let wrong = format!("Bearer {}", Key::generate().expose());
    let channel = house.secured(Some(&web)).await;
    unknown(asked(channel.clone(), &[("authorization", &wrong)]).await, "key is unknown");
    // No sidecar is ours here: its headers say nothing.
    let forged = [("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/eve")];
    assert_eq!(asked(channel, &forged).await.unwrap(), "web");
}

#[tokio::test]
async fn a_connection_ends_to_name_a_caller_when_its_certificate_does() {
    let house = House::with_certificates().await;
    let soon = OffsetDateTime::now_utc() + Duration::SECOND * 8;
    let own = house.authority.issue_until(&[WEB], soon).unwrap();
    let channel = house.secured(Some(&own)).await;
    assert_eq!(asked(channel.clone(), &[]).await.unwrap(), "web");
    eventually("it has expired", async || {
        asked(channel.clone(), &[])
            .await
            .is_err_and(|failure| failure.to_string().contains("has expired"))
    })
    .await;
}

#[tokio::test]
async fn an_authority_counts_for_open_connections_as_long_as_it_is_trusted() {
    let house = House::with_certificates().await;
    let other = Authority::new("the next one").unwrap();
    let ours = house.secured(Some(&house.authority.issue(&[WEB]).unwrap())).await;
    let theirs = house.secured(Some(&other.issue(&[APP]).unwrap())).await;
    assert_eq!(asked(ours.clone(), &[]).await.unwrap(), "web");
    unknown(asked(theirs.clone(), &[]).await, "not trusted here");
    fs::write(house.file("ca.pem"), other.pem()).unwrap();
    eventually("the connection of before is known", async || {
        asked(theirs.clone(), &[]).await.is_ok_and(|name| name == "app")
    })
    .await;
    eventually("the connection of the one taken away is not", async || {
        asked(ours.clone(), &[])
            .await
            .is_err_and(|failure| failure.to_string().contains("not trusted here"))
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_one_of_a_client() {
    let house = House::with_certificates().await;
    let server_alone = house.authority.issue_for_servers(&[WEB]).unwrap();
    unknown(asked(house.secured(Some(&server_alone)).await, &[]).await, "not one of a client");
    // Through an authority of our authority.
    let below = house.authority.delegate("for clients").unwrap();
    let own = below.issue(&[WEB]).unwrap();
    unknown(asked(house.secured(Some(&own)).await, &[]).await, "not trusted here");
    let chain = Issued { certificate: own.certificate + &below.pem(), ..own };
    assert_eq!(asked(house.secured(Some(&chain)).await, &[]).await.unwrap(), "web");
}

#[tokio::test]
async fn certificates_rotate_under_load() {
    let house = House::with_certificates().await;
    let path = |name: &str| house.file(name).to_str().unwrap().to_owned();
    house.authority.issue(&[WEB]).unwrap().write(house.folder.path(), "checkout").unwrap();
    let to = PeerConfig {
        ca_file: path("ca.pem"),
        tls_cert_file: path("*.pem"),
        tls_key_file: path("*.key.pem"),
        reload_ms: 1,
        ..peer_config(&house.server.grpc_url)
    };
    let mut client =
        CheckoutServiceClient::new(peer::connect("checkout", "checkout", &to).unwrap());
    let mut name = async || {
        let answer = client.get_order(order_of(SALE, "ada")).await;
        answer.expect("no call fails").into_inner().order.unwrap().order_id
    };
    assert_eq!(name().await, "web");

    // The client's own, and half of a pair on the way.
    let next = house.authority.issue(&[APP]).unwrap();
    fs::write(house.file("checkout.pem"), &next.certificate).unwrap();
    assert_eq!(name().await, "web");
    next.write(house.folder.path(), "checkout").unwrap();
    eventually("it calls with the new certificate", async || name().await == "app").await;

    // The server's, by another authority: first it is trusted, then it is used.
    let successor = Authority::new("the next one").unwrap();
    let both = house.authority.pem() + &successor.pem();
    fs::write(house.file("ca.pem"), &both).unwrap();
    let with_its_own = successor.issue(&[WEB]).unwrap();
    eventually("the new authority's clients are known", async || {
        name().await;
        let channel = house.secured(Some(&with_its_own)).await;
        asked(channel, &[]).await.is_ok_and(|name| name == "web")
    })
    .await;
    successor.issue(&["127.0.0.1"]).unwrap().write(house.folder.path(), "server").unwrap();
    eventually("the new certificate is presented", async || {
        assert_eq!(name().await, "app");
        house.secured_by(&successor, None).await.is_ok()
    })
    .await;
    assert!(house.secured_by(&house.authority, None).await.is_err(), "the old one is presented");

    // A broken one changes nothing but the alarm.
    fs::write(house.file("server.pem"), "no certificate").unwrap();
    eventually("the alarm is raised", async || {
        house.secured_by(&successor, None).await.expect("the one before is presented");
        let (_, metrics) = house.server.http("/metrics").await;
        metrics.lines().any(|line| {
            line.starts_with("flashsale_access_keys_broken")
                && line.contains("server.tls_cert_file")
                && line.ends_with(" 1")
        })
    })
    .await;
}

fn forwarded(name: &str) -> String {
    format!("By=spiffe://cluster.local/ns/flashsale/sa/checkout;Hash=ab;Subject=\"\";URI={name}")
}

#[tokio::test]
async fn a_sidecar_with_our_secret_names_a_caller() {
    let house = House::open(|_, access, folder| {
        access.sidecar = Sidecar::Envoy;
        access.sidecar_secret_file = format!("{folder}/secret");
    })
    .await;
    let channel = house.server.channel().await;
    let web = forwarded(WEB);
    let eve = forwarded("spiffe://cluster.local/ns/shop/sa/eve");
    let secret = ("x-flashsale-sidecar-secret", SECRET);
    let cert = "x-forwarded-client-cert";
    let asked = async |headers: &[(&'static str, &str)]| asked(channel.clone(), headers).await;
    assert_eq!(asked(&[secret, (cert, &web)]).await.unwrap(), "web");
    // Istio's sidecar appends its client to what that has sent.
    assert_eq!(asked(&[secret, (cert, &format!("{eve},{web}"))]).await.unwrap(), "web");
    let served = house.ran.available_permits();

    unknown(asked(&[(cert, &web)]).await, "came from elsewhere");
    let wrong = ("x-flashsale-sidecar-secret", "a-secret-of-the-sidecars-012345678X");
    unknown(asked(&[wrong, (cert, &web)]).await, "came from elsewhere");
    let empty = ("x-flashsale-sidecar-secret", "");
    unknown(asked(&[empty, (cert, &web)]).await, "came from elsewhere");
    unknown(asked(&[secret, wrong, (cert, &web)]).await, "several headers");
    unknown(asked(&[secret, (cert, &web), (cert, &web)]).await, "several headers");
    unknown(asked(&[secret, (cert, &format!("{web},{eve}"))]).await, "name is unknown");
    unknown(asked(&[secret, (cert, &format!("{web};URI={WEB}"))]).await, "several URIs");
    unknown(asked(&[secret, (cert, &format!("Subject=\"x,{web}"))]).await, "cannot be read");
    unknown(asked(&[secret, (cert, "Hash=ab")]).await, "neither a URI nor");
    unknown(asked(&[secret]).await, "no key");
    unknown(asked(&[secret, ("l5d-client-id", WEB)]).await, "no key");
    unknown(asked(&[]).await, "no key");
    assert_eq!(house.ran.available_permits(), served, "a refused call ran its handler");

    let new = "another-secret-of-the-sidecars-0123456789";
    let next = ("x-flashsale-sidecar-secret", new);
    fs::write(house.file("secret"), format!("{SECRET}\n{new}\n")).unwrap();
    eventually("the new secret is known", async || {
        assert!(asked(&[secret, (cert, &web)]).await.is_ok());
        asked(&[next, (cert, &web)]).await.is_ok()
    })
    .await;
    fs::write(house.file("secret"), new).unwrap();
    eventually("the old secret is forgotten", async || {
        assert!(asked(&[next, (cert, &web)]).await.is_ok());
        asked(&[secret, (cert, &web)]).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn what_comes_through_the_socket_is_the_sidecars() {
    let house = House::open(|server, access, folder| {
        server.sidecar_listen = format!("{folder}/sidecar.sock");
        access.sidecar = Sidecar::Linkerd;
    })
    .await;
    let socket = house.file("sidecar.sock");
    let connect = move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let through = Endpoint::from_static("http://sidecar")
        .connect_with_connector(tower::service_fn(connect))
        .await
        .unwrap();
    let id = "l5d-client-id";
    assert_eq!(asked(through.clone(), &[(id, APP)]).await.unwrap(), "app");
    assert_eq!(asked(through.clone(), &[(id, WEB)]).await.unwrap(), "web");
    unknown(asked(through.clone(), &[(id, "b.example.com")]).await, "name is unknown");
    unknown(asked(through.clone(), &[(id, APP), (id, APP)]).await, "several headers");
    unknown(asked(through.clone(), &[(id, "App")]).await, "neither a SPIFFE id");
    unknown(
        asked(through.clone(), &[("x-forwarded-client-cert", &forwarded(WEB))]).await,
        "no key",
    );
    unknown(asked(through, &[]).await, "no key");
    // The same from the network, also from this machine, is anyone's.
    let outside = house.server.channel().await;
    unknown(asked(outside, &[(id, APP)]).await, "came from elsewhere");
}

#[tokio::test]
async fn a_shops_token_names_one_buyer_of_one_sale() {
    let house = House::open(|_, access, folder| {
        access.buyer_keys_file = format!("{folder}/buyers.json");
    })
    .await;
    let channel = house.server.channel().await;
    let asked = async |token: &str, sale: &str, buyer: &str| {
        let header = format!("Bearer {token}");
        asked_for(channel.clone(), &[("authorization", &header)], sale, buyer).await
    };
    let token = house.tokens.token(SALE, "ada");
    assert_eq!(asked(&token, SALE, "ada").await.unwrap(), "web-shop");
    let served = house.ran.available_permits();

    for (sale, buyer, reason, field) in [
        (SALE, "eve", Reason::BuyerMismatch, "buyer_id"),
        (SALE, "Ada", Reason::BuyerMismatch, "buyer_id"),
        (SALE, "", Reason::BuyerUnproven, "buyer_id"),
        (OTHER_SALE, "ada", Reason::SaleNotYours, "sale_id"),
        ("", "ada", Reason::SaleNotYours, "sale_id"),
    ] {
        let failure = asked(&token, sale, buyer).await.unwrap_err();
        assert_eq!(failure.reason(), reason, "{failure}");
        assert_eq!(failure.violations()[0].field, field, "{failure}");
        assert!(!failure.to_string().contains("ada"), "{failure}");
    }

    let now = OffsetDateTime::now_utc().unix_timestamp();
    let header = json!({ "alg": "EdDSA", "typ": "flashsale-buyer+jwt", "kid": "k1" });
    let claims = json!({ "aud": SALE, "sub": "ada", "iat": now, "exp": now + 300 });
    let with = |value: &Value, key: &str, new: Value| {
        let mut value = value.clone();
        value[key] = new;
        value
    };
    let sign = |header: &Value, claims: &Value| house.tokens.sign(header, claims);
    let none = sign(&with(&header, "alg", json!("none")), &claims);
    let unsigned = format!("{}.", none.rsplit_once('.').unwrap().0);
    let (rest, _) = token.rsplit_once('.').unwrap();
    let strangers = ShopTokens::new("k1").token(SALE, "ada");
    for (token, words) in [
        (sign(&header, &with(&claims, "exp", json!(now + 301))), "longer than 300"),
        (sign(&header, &with(&claims, "exp", json!(now - 5))), "expired"),
        (sign(&header, &with(&claims, "iat", json!(now + 60))), "begins in the future"),
        (sign(&header, &with(&claims, "aud", json!(OTHER_SALE))), "its key is not for"),
        (sign(&header, &with(&claims, "aud", json!("flashsale"))), "lacks aud"),
        (sign(&with(&header, "typ", json!("JWT")), &claims), "typ is not"),
        (sign(&with(&header, "typ", json!("admission+jwt")), &claims), "typ is not"),
        (sign(&with(&header, "kid", json!("k2")), &claims), "unknown key"),
        (unsigned, "algorithm is not EdDSA"),
        (none, "algorithm is not EdDSA"),
        (strangers, "wrong signature"),
        (format!("{rest}.{}", "A".repeat(86)), "wrong signature"),
        ("a.b.c".to_owned(), "malformed"),
    ] {
        unknown(asked(&token, SALE, "ada").await, words);
    }
    assert_eq!(house.ran.available_permits(), served, "a refused call ran its handler");

    // A shop's new key, beside the old one and then instead of it.
    let next = ShopTokens::new("k2");
    let set = |keys: Value| {
        let beside = house.file("partial");
        fs::write(&beside, json!({ "keys": keys }).to_string()).unwrap();
        fs::rename(beside, house.file("buyers.json")).unwrap();
    };
    set(json!([house.tokens.jwk("web-shop"), next.jwk("web-shop")]));
    eventually("the new key is known", async || {
        assert!(asked(&house.tokens.token(SALE, "ada"), SALE, "ada").await.is_ok());
        asked(&next.token(SALE, "ada"), SALE, "ada").await.is_ok()
    })
    .await;
    set(json!([next.jwk("web-shop")]));
    eventually("the old key is forgotten", async || {
        assert!(asked(&next.token(SALE, "ada"), SALE, "ada").await.is_ok());
        asked(&house.tokens.token(SALE, "ada"), SALE, "ada").await.is_err()
    })
    .await;
}

#[test]
fn settings_that_would_believe_anyone_are_refused() {
    type Sets = fn(&mut ServerConfig, &mut AccessConfig);
    type SetsPeer = fn(&mut PeerConfig);
    let file = tempfile::NamedTempFile::new().unwrap();
    let here = file.path().to_str().unwrap();
    let found = |sets: Sets| -> Vec<String> {
        let (mut server, mut access) = (server_config(), AccessConfig::with_keys(here));
        sets(&mut server, &mut access);
        access.problems(&server).into_iter().map(|problem| problem.key).collect()
    };
    let cases: [(Sets, &[&str]); 10] = [
        (|_, _| (), &[]),
        (|_, access| access.sidecar = Sidecar::Envoy, &["access.sidecar"]),
        (|server, _| server.sidecar_listen = "/run/s".to_owned(), &["access.sidecar"]),
        (
            |server, access| {
                server.sidecar_listen = "/run/s".to_owned();
                access.sidecar = Sidecar::Linkerd;
            },
            &[],
        ),
        (
            |server, access| {
                server.sidecar_listen = "/run/s".to_owned();
                access.sidecar = Sidecar::Envoy;
                access.mode = AccessMode::Off;
            },
            &["access.mode"],
        ),
        (
            |_, access| {
                access.sidecar = Sidecar::Linkerd;
                access.sidecar_secret_file = access.keys_file.clone();
                access.mode = AccessMode::Off;
            },
            &["access.mode"],
        ),
        (
            |_, access| access.sidecar_secret_file = "/nowhere".to_owned(),
            &["access.sidecar", "access.sidecar_secret_file"],
        ),
        (
            |_, access| access.client_ca_file = "/nowhere".to_owned(),
            &["access.client_ca_file", "access.client_ca_file"],
        ),
        (|_, access| access.buyer_keys_file = "/nowhere".to_owned(), &["access.buyer_keys_file"]),
        (|_, access| access.reload_ms = 0, &["access.reload_ms"]),
    ];
    for (at, (sets, keys)) in cases.into_iter().enumerate() {
        assert_eq!(found(sets), keys, "case {at}");
    }
    let peer = |sets: SetsPeer| -> Vec<String> {
        let mut peer = peer_config("https://checkout:50054");
        peer.ca_file = here.to_owned();
        sets(&mut peer);
        peer.problems("checkout").into_iter().map(|problem| problem.key).collect()
    };
    let cases: [(SetsPeer, &[&str]); 5] = [
        (|_| (), &[]),
        (|peer| peer.tls_cert_file = "*.pem".to_owned(), &["peers.checkout.tls_cert_file"]),
        (
            |peer| {
                peer.url = "http://checkout:50054".to_owned();
                peer.ca_file = String::new();
                peer.tls_cert_file = "*.pem".to_owned();
                peer.tls_key_file = "*.key".to_owned();
            },
            &["peers.checkout.tls_cert_file"],
        ),
        (|peer| peer.url = "http://checkout:50054".to_owned(), &["peers.checkout.url"]),
        (|peer| peer.reload_ms = 0, &["peers.checkout.reload_ms"]),
    ];
    for (at, (sets, keys)) in cases.into_iter().enumerate() {
        assert_eq!(peer(sets), keys, "peer {at}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_at_start() {
    let house = House::with_certificates().await;
    let path = |name: &str| house.file(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        fs::write(house.file(name), text).unwrap();
        path(name)
    };
    let other = house.authority.issue(&["127.0.0.1"]).unwrap();
    let keys = || AccessConfig::with_keys(&path("keys.toml"));
    let secured = || ServerConfig {
        tls_cert_file: path("server.pem"),
        tls_key_file: path("server.key.pem"),
        ..server_config()
    };
    let refused = async |server: ServerConfig, access: AccessConfig, words: &str| {
        let error = format!("{:#}", bind(&server, &access).await.expect_err(words));
        assert!(error.contains(words), "{error} lacks {words}");
        assert!(!error.contains("PRIVATE KEY"), "{error}");
    };
    let odd = |key: &str| ServerConfig { tls_key_file: write("odd", key), ..secured() };
    refused(odd("no key"), keys(), "is not a PEM file with a private key").await;
    refused(odd(&other.key), keys(), "the certificate and its key").await;
    let no_authority = AccessConfig { client_ca_file: write("no-ca", "x"), ..keys() };
    refused(secured(), no_authority, "is not a PEM file with certificates").await;
    let no_keys = AccessConfig { buyer_keys_file: write("no-keys", "{\"keys\":[]}"), ..keys() };
    refused(server_config(), no_keys, "access.buyer_keys_file").await;
    let empty =
        PeerConfig { ca_file: write("empty-ca", ""), ..peer_config(&house.server.grpc_url) };
    let error = peer::connect("checkout", "checkout", &empty).unwrap_err().to_string();
    assert!(error.contains("not a PEM file with certificates"), "{error}");
    let short = AccessConfig {
        sidecar: Sidecar::Envoy,
        sidecar_secret_file: write("short", "hunter2"),
        ..keys()
    };
    refused(server_config(), short, "at least 32 characters").await;
    let no_socket = ServerConfig { sidecar_listen: path("nowhere/s"), ..server_config() };
    refused(no_socket, keys(), "server.sidecar_listen").await;
}
