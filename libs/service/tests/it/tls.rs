//! TLS between services.

use std::path::Path;

use flashsale_proto::sale::sale_service_client::SaleServiceClient;
use flashsale_service::{bind, peer};

use crate::support::{get, no_names, peer_config, sale, serve, server_config};

fn certificate(folder: &Path) -> (String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (write("cert.pem", own.cert.pem()), write("key.pem", own.signing_key.serialize_pem()))
}

#[tokio::test]
async fn tls_serves_only_the_right_authority() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = server_config();
    (config.tls_cert_file, config.tls_key_file) = certificate(folder.path());
    assert_eq!(config.problems(), []);
    let server = serve(config.clone()).await;

    let mut to = peer_config(&server.grpc_url);
    to.ca_file = config.tls_cert_file;
    assert_eq!(to.problems("sale"), []);
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &to).unwrap());
    assert_eq!(sale(client.get_sale(get("now")).await).sale_id, "now");

    let elsewhere = tempfile::tempdir().unwrap();
    to.ca_file = certificate(elsewhere.path()).0;
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &to).unwrap());
    assert!(client.get_sale(get("now")).await.is_err(), "a stranger's certificate was believed");

    let plain = peer_config(&server.grpc_url.replace("https", "http"));
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &plain).unwrap());
    assert!(client.get_sale(get("now")).await.is_err(), "it was served without TLS");
}

#[tokio::test]
async fn bad_key_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = server_config();
    (config.tls_cert_file, config.tls_key_file) = certificate(folder.path());
    std::fs::write(&config.tls_key_file, "no key").unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let refused = bind(&config, &no_names()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("tls_cert_file names cannot be used"), "{refused:#}");
}
