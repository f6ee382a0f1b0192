//! NATS that is reached over TLS and with credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use async_nats::connection::State;
use flashsale_queue::{NatsConfig, connect};
use flashsale_testbed::{
    AuthorityFolder, NatsOperator, NatsOptions, NatsServer, Tools, Validity, eventually, init,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A server that says nothing of TLS, as one would seem to that is reached by way of an attacker.
#[tokio::test]
async fn tls_is_insisted_on() {
    init();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tls://it:hunter2@{}", listener.local_addr().unwrap());
    let _client = connect(&NatsConfig::at(url), "test").await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let info = r#"INFO {"server_id":"it","version":"2.10.0","max_payload":1048576,"proto":1}"#;
    stream.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
    // A handshake record, where CONNECT would begin with a C.
    assert_eq!(stream.read_u8().await.unwrap(), 0x16);
}

#[tokio::test]
async fn credentials_of_the_operator_are_needed() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = AuthorityFolder::create(&path("tls")).unwrap();
    let own = authority.sign("client", &["client"], Validity::Now).unwrap();
    let tls = authority.server("nats").unwrap();
    let operators = [NatsOperator::create().unwrap(), NatsOperator::create().unwrap()];
    let [credentials, of_another] = ["it.creds", "another.creds"].map(path);
    operators[0].write_credentials(&credentials).unwrap();
    operators[1].write_credentials(&of_another).unwrap();
    let (tools, data) = (Tools::locate().unwrap(), path("nats"));
    let options = NatsOptions::default();
    let nats = NatsServer::start_over_tls(&tools, data, options, tls, Some(&operators[0])).await;
    let nats = nats.unwrap();
    let config = NatsConfig {
        ca_file: text(authority.ca_file()),
        cert_file: text(&own.cert_file),
        key_file: text(&own.key_file),
        credentials_file: text(&credentials),
        ..NatsConfig::at(nats.url())
    };
    assert_eq!(config.problems(), []);
    let client = connect(&config, "test").await.unwrap();
    eventually("the client is connected", async || {
        (client.connection_state() == State::Connected).then_some(())
    })
    .await;
    client.flush().await.unwrap();

    let refusals = || {
        let log = std::fs::read_to_string(nats.log_file()).unwrap();
        log.matches("authentication error").count()
    };
    for credentials_file in [text(&of_another), String::new()] {
        let before = refusals();
        let config = NatsConfig { credentials_file, ..config.clone() };
        let client = connect(&config, "test").await.unwrap();
        eventually("the client is refused", async || (refusals() > before).then_some(())).await;
        assert_ne!(client.connection_state(), State::Connected);
    }
}

#[test]
fn wrong_credentials_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path)
    };
    let good = folder.path().join("good.creds");
    NatsOperator::create().unwrap().write_credentials(&good).unwrap();
    for (credentials_file, url, why) in [
        ("/nowhere".to_owned(), "nats://127.0.0.1", "which is not a file"),
        (file("text", "hunter2"), "nats://127.0.0.1", "has no user JWT with its seed"),
        (text(&good), "nats://it:hunter2@127.0.0.1", "together with a user in nats.url"),
    ] {
        let found = NatsConfig { credentials_file, ..NatsConfig::at(url) }.problems();
        let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
        assert_eq!(key, "nats.credentials_file");
        assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
    }
}
