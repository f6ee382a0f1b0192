//! A whole process, from its main to its exit code.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use flashsale_proto::sale::sale_service_client::SaleServiceClient;
use flashsale_service::{AccessConfig, CommonConfig, Hosted, ServerConfig};
use flashsale_telemetry::TelemetryConfig;
use flashsale_testbed::fakes::sale::sale_service_server::SaleServiceServer;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::transport::Endpoint;

use crate::{
    config::{Config, DEFAULTS},
    support::{Sales, eventually, get, sale},
};

impl CommonConfig for Config {
    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn access(&self) -> &AccessConfig {
        &self.access
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

/// Not a test: what the tests below run in a process of its own.
#[test]
#[ignore = "the main of the process that other tests start"]
fn process() {
    let code = flashsale_service::main("sale", DEFAULTS, async |config: Config, drain| {
        anyhow::ensure!(config.server.max_connections != 13, "there is no connection 13");
        Ok(Hosted::new().grpc(SaleServiceServer::new(Sales::new(drain))))
    });
    let code = [0, 1, 2].into_iter().find(|known| std::process::ExitCode::from(*known) == code);
    std::process::exit(code.map_or(99, i32::from));
}

fn start(env: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program::process", "--ignored", "--nocapture"])
        .envs(env.iter().copied())
        .env("FLASHSALE_SERVER__HTTP_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_configuration_is_told_in_words_and_exits_with_2() {
    let (code, told) = end(start(&[
        ("FLASHSALE_SERVER__MAX_IN_FLIGHT", "0"),
        ("FLASHSALE_TELEMETRY__SAMPLE_RATIO", "often"),
    ]));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("sale cannot start: 2 problems in the configuration:"), "{told}");
    assert!(told.contains("server.max_in_flight must be above 0"), "{told}");
    assert!(told.contains("telemetry.sample_ratio must be a number"), "{told}");
}

#[test]
fn a_service_that_cannot_be_built_says_why_and_exits_with_1() {
    let (code, told) = end(start(&[
        ("FLASHSALE_SERVER__GRPC_LISTEN", "127.0.0.1:0"),
        ("FLASHSALE_SERVER__MAX_CONNECTIONS", "13"),
    ]));
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("sale ends with a failure: it cannot be built: there is no connection 13"),
        "{told}"
    );
}

#[tokio::test]
async fn process_announces_itself_and_drains_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let process = start(&[
        ("FLASHSALE_SERVER__GRPC_LISTEN", "127.0.0.1:0"),
        ("FLASHSALE_SERVER__READY_FILE", ready.to_str().unwrap()),
        ("FLASHSALE_TELEMETRY__LOG_FORMAT", "json"),
    ]);
    let mut text = String::new();
    eventually("the ready file is there", async || {
        text = std::fs::read_to_string(&ready).unwrap_or_default();
        !text.is_empty()
    })
    .await;
    let (grpc, http) = text.trim().split_once(' ').unwrap();
    tokio::net::TcpStream::connect(http).await.unwrap();
    let mut client = SaleServiceClient::new(
        Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap(),
    );
    sale(client.get_sale(get("now")).await);

    kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = tokio::task::spawn_blocking(|| end(process));
    let (code, log) =
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends").unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"message\":\"sale is serving\""), "{log}");
    assert!(log.contains("\"message\":\"sale has ended\""), "{log}");
}
