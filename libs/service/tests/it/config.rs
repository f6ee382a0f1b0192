//! Layers of configuration, and what is said about mistakes.

use std::{net::SocketAddr, path::Path};

use flashsale_service::{
    AccessConfig, PeerConfig, Problem, ServerConfig, Validate,
    config::{ConfigError, load_from},
};
use flashsale_telemetry::{LogFormat, TelemetryConfig};
use serde::Deserialize;

pub(crate) const DEFAULTS: &[&str] = &[r#"
[server]
grpc_listen = "127.0.0.1:50051"
http_listen = "127.0.0.1:8080"
max_concurrent_streams = 100
max_connections = 100
max_in_flight = 100
max_deadline_ms = 30000
drain_delay_ms = 0
drain_timeout_ms = 10000

[access]
mode = "off"

[telemetry]
log_format = "text"
sample_ratio = 1.0

[peers.waiting-room]
url = "http://127.0.0.1:50052"
connect_timeout_ms = 500

[nats]
url = "nats://127.0.0.1:4222"
client_key_file = ""

[stock]
enabled = true
skus = ["a"]
shares = [1]
"#];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) access: AccessConfig,
    pub(crate) telemetry: TelemetryConfig,
    peers: Peers,
    nats: Nats,
    stock: Stock,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nats {
    url: String,
    client_key_file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Peers {
    waiting_room: PeerConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stock {
    enabled: bool,
    skus: Vec<String>,
    shares: Vec<u32>,
}

impl Validate for Config {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.server.problems();
        problems.extend(self.access.problems(&self.server));
        problems.extend(self.telemetry.problems().into_iter().map(Problem::from));
        problems.extend(self.peers.waiting_room.problems("waiting-room"));
        if self.stock.skus.is_empty() {
            problems.push(Problem::new("stock.skus", "must name at least one sku"));
        }
        problems
    }
}

fn load(file: Option<&Path>, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_from("stock", DEFAULTS, file, env)
}

fn problems(result: Result<Config, ConfigError>) -> Vec<(String, String)> {
    match result.expect_err("it is refused") {
        ConfigError::Invalid(problems) => {
            problems.into_iter().map(|problem| (problem.key, problem.problem)).collect()
        }
        other @ (ConfigError::File { .. } | ConfigError::Defaults(_)) => panic!("{other}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn environment_over_file_over_defaults() {
    let file =
        file("[server]\nmax_in_flight = 7\nmax_connections = 8\n[telemetry]\nsample_ratio = 0\n");
    let config = load(Some(file.path()), &[("FLASHSALE_SERVER__MAX_CONNECTIONS", "9")]).unwrap();
    assert_eq!(config.server.max_concurrent_streams, 100);
    assert_eq!(config.server.max_in_flight, 7);
    assert_eq!(config.server.max_connections, 9);
    assert!(config.telemetry.sample_ratio.abs() < f64::EPSILON, "a whole number is a number");
}

#[test]
fn common_defaults_lie_under_own_ones() {
    let config = load(None, &[]).unwrap();
    assert_eq!(config.server.max_request_bytes, 262_144);
    assert_eq!(config.server.max_connections, 100);
    assert_eq!(config.peers.waiting_room.timeout_ms, 1_000);
    assert_eq!(config.peers.waiting_room.connect_timeout_ms, 500);
    assert_eq!(PeerConfig::at("http://room:1").timeout_ms, 1_000);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(ServerConfig::at(address, address).drain_delay_ms, 5_000);
}

#[test]
fn environment_sets_every_type() {
    let config = load(
        None,
        &[
            ("FLASHSALE_SERVER__GRPC_LISTEN", "127.0.0.9:50051"),
            ("FLASHSALE_TELEMETRY__LOG_FORMAT", "json"),
            ("FLASHSALE_TELEMETRY__SAMPLE_RATIO", "0.25"),
            ("FLASHSALE_PEERS__WAITING_ROOM__URL", "http://room:50051"),
            ("FLASHSALE_STOCK__ENABLED", "false"),
            ("FLASHSALE_STOCK__SKUS", "TEE-M, TEE-L"),
            ("FLASHSALE_STOCK__SHARES", "1,2,3"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.grpc_listen, SocketAddr::from(([127, 0, 0, 9], 50_051)));
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert!((config.telemetry.sample_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(config.peers.waiting_room.url, "http://room:50051");
    assert!(!config.stock.enabled);
    assert_eq!(config.stock.skus, ["TEE-M", "TEE-L"]);
    assert_eq!(config.stock.shares, [1, 2, 3]);
}

#[test]
fn sections_of_other_services_are_passed_over() {
    let file = file("[room]\nticks = 5\n[peers.payment]\nurl = \"http://payment\"\n");
    load(
        Some(file.path()),
        &[
            ("FLASHSALE_CONFIG", "/etc/flashsale.toml"),
            ("FLASHSALE_HOME", "/var/lib/flashsale"),
            ("FLASHSALE_ROOM__TICKS", "5"),
            ("FLASHSALE_PEERS__PAYMENT__URL", "http://payment"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
}

#[test]
fn every_layers_problems_are_reported() {
    let file = file("[server]\nmax_inflight = 7\nmax_connections = \"many\"\n[stock]\nskus = []\n");
    let found = problems(load(
        Some(file.path()),
        &[
            ("FLASHSALE_SERVER__MAX_IN_FLIGHT", "0"),
            ("FLASHSALE_SERVER__DRAIN_DELAY_MS", "5s"),
            ("FLASHSALE_SERVER__MAX_DEADLINE_MS", "-1"),
            ("FLASHSALE_SERVER__GRPC_LISTEN", "localhost"),
            ("FLASHSALE_SERVER__TLS_KEY_FILE", "/nowhere/key.pem"),
            ("FLASHSALE_STOCK__ENABLED", "yes"),
            ("FLASHSALE_STOCK__LIMIT", "5"),
            ("FLASHSALE_TELEMETRY__LOG_FORMAT", "xml"),
            ("FLASHSALE_PEERS__WAITING_ROOM__URL", "room:50051"),
        ],
    ));
    for (key, needle) in [
        ("server.max_inflight", "is not a key; there are "),
        ("server.max_connections", "must be a whole number"),
        ("server.max_in_flight", "must be above 0"),
        ("server.drain_delay_ms", "must be a whole number"),
        ("server.max_deadline_ms", "cannot be used"),
        ("server.grpc_listen", "cannot be used"),
        ("server.tls_cert_file", "together with server.tls_key_file"),
        ("server.tls_key_file", "is not a file"),
        ("stock.enabled", "must be true or false"),
        ("stock.limit", "is not a key; there are enabled, shares, skus"),
        ("stock.skus", "at least one"),
        ("telemetry.log_format", "cannot be used"),
        ("peers.waiting-room.url", "must be a URL"),
    ] {
        let told = found.iter().any(|(at, what)| at == key && what.contains(needle));
        assert!(told, "{key} {needle} is not among {found:#?}");
    }
    assert_eq!(found.len(), 13, "{found:#?}");
}

#[test]
fn problem_names_its_variable() {
    let error = load(None, &[("FLASHSALE_PEERS__WAITING_ROOM__TIMEOUT_MS", "0")]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("1 problem in the configuration:\n"), "{text}");
    assert!(text.contains("peers.waiting-room.timeout_ms must be above 0"), "{text}");
    assert!(text.contains("FLASHSALE_PEERS__WAITING_ROOM__TIMEOUT_MS"), "{text}");
}

#[test]
fn missing_file_is_named() {
    let text = load(Some(Path::new("/nowhere/flashsale.toml")), &[]).unwrap_err().to_string();
    assert!(text.contains("/nowhere/flashsale.toml") && text.contains("No such file"), "{text}");
}

#[test]
fn bad_toml_line_is_named_not_shown() {
    let file = file("[stock]\nenabled = true\nskus = hunter2\n");
    let text = load(Some(file.path()), &[]).unwrap_err().to_string();
    assert!(text.contains("line 3: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn texts_can_be_left_in_files() {
    let secret = file("http://room:7\n");
    let path = secret.path().to_str().unwrap();
    let config = load(None, &[("FLASHSALE_PEERS__WAITING_ROOM__URL_FILE", path)]).unwrap();
    assert_eq!(config.peers.waiting_room.url, "http://room:7");
    let whole = file(&format!("[peers.waiting-room]\nurl_file = '{path}'\n"));
    let config = load(Some(whole.path()), &[]).unwrap();
    assert_eq!(config.peers.waiting_room.url, "http://room:7");

    let missing = [("FLASHSALE_PEERS__WAITING_ROOM__URL_FILE", "/nowhere")];
    let [(key, problem)] = &problems(load(None, &missing))[..] else { panic!("one problem") };
    assert_eq!(key, "peers.waiting-room.url_file");
    assert!(problem.contains("/nowhere, which cannot be read"), "{problem}");
    // What a file holds stands in no message.
    let odd = file("hunter2");
    let odd = [("FLASHSALE_PEERS__WAITING_ROOM__URL_FILE", odd.path().to_str().unwrap())];
    let said = load(None, &odd).unwrap_err().to_string();
    assert!(said.contains("peers.waiting-room.url ") && !said.contains("hunter2"), "{said}");
    // Only texts have such a key.
    let number = [("FLASHSALE_SERVER__MAX_IN_FLIGHT_FILE", path)];
    assert_eq!(problems(load(None, &number))[0].0, "server.max_in_flight_file");
}

#[test]
fn star_stands_for_the_service_in_a_store() {
    let nats = |env: &[(&str, &str)]| load(None, env).unwrap().nats;
    let url = |url: &str| nats(&[("FLASHSALE_NATS__URL", url)]).url;
    assert_eq!(url("nats://*@a:4222"), "nats://stock@a:4222");
    assert_eq!(url("nats://*:p*@a:1,nats://*:p*@b:2"), "nats://stock:p*@a:1,nats://stock:p*@b:2");
    // Nowhere else: it may be a part of a password.
    assert_eq!(url("nats://ann:*@a:4222"), "nats://ann:*@a:4222");
    let file = nats(&[("FLASHSALE_NATS__CLIENT_KEY_FILE", "/keys/*.pem")]).client_key_file;
    assert_eq!(file, "/keys/stock.pem");
    let peer = ("FLASHSALE_PEERS__WAITING_ROOM__URL", "http://*@room:1");
    assert_eq!(load(None, &[peer]).unwrap().peers.waiting_room.url, "http://*@room:1");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stock.url"), "nats://a:1").unwrap();
    let path = folder.path().join("*.url").display().to_string();
    assert_eq!(nats(&[("FLASHSALE_NATS__URL_FILE", &path)]).url, "nats://a:1");
    let missing = load(None, &[("FLASHSALE_NATS__URL_FILE", "/nowhere/*")]).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/stock, which"), "{missing}");
}
