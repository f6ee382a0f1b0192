//! A stand-in on a free port, and a plain HTTP/1.1 client written by hand for it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flashsale_stripe_standin::{Config, Standin};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The timeout of a single exchange.
pub const BOUND: Duration = Duration::from_secs(20);

/// How long until refunds end and payments are disputed, longer than any test takes.
pub const LATER: Duration = Duration::from_secs(3_600);

pub struct Bench {
    pub standin: Standin,
    pub dir: TempDir,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `error.code`, or the empty string.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().expect("an object with an id").to_owned()
    }
}

/// Starts a stand-in without latency and with high limits, changed by `adjust`.
pub async fn bench(adjust: impl FnOnce(&mut Config)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        log: dir.path().join("stripe.jsonl"),
        state: None,
        account: "acct_1".into(),
        webhook_url: None,
        webhook_secrets: Vec::new(),
        rate_per_endpoint: 10_000,
        rate_total: 10_000,
        confirm_latency: Duration::ZERO,
        latency: Duration::ZERO,
        // What comes later only does once a test sets the clock ahead.
        outcome_delay: LATER,
        faults: Vec::new(),
    };
    adjust(&mut config);
    Bench { standin: Standin::start(config).await.unwrap(), dir }
}

/// Sends the raw bytes of one request on a connection of its own.
pub async fn exchange(addr: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let talk = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        parse(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    tokio::time::timeout(BOUND, talk).await.expect("an answer in time")
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Some(Answer { status, headers, body: raw[end + 4..].to_vec() })
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: stripe\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

pub const AUTH: (&str, &str) = ("Authorization", "Bearer sk_test_standin");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

impl Bench {
    pub fn addr(&self) -> SocketAddr {
        self.standin.addr()
    }

    pub async fn get(&self, path: &str) -> Answer {
        exchange(self.addr(), &request("GET", path, &[AUTH], "")).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.try_post(path, None, body).await.unwrap()
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: &str) -> Answer {
        self.try_post(path, Some(key), body).await.unwrap()
    }

    pub async fn try_post(&self, path: &str, key: Option<&str>, body: &str) -> io::Result<Answer> {
        let mut headers = vec![AUTH, FORM];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        exchange(self.addr(), &request("POST", path, &headers, body)).await
    }

    pub async fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        let path = format!("/_control{path}");
        exchange(self.addr(), &request(method, &path, &[], body)).await.unwrap()
    }

    pub async fn fault(&self, rule: &str) {
        let answer = self.control("POST", "/faults", rule).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }

    pub async fn state(&self) -> Value {
        self.control("GET", "/state", "").await.json()
    }

    /// Sets the clock ahead until what comes later has happened.
    pub async fn later(&self) {
        let body = format!(r#"{{"advance_ms":{}}}"#, LATER.as_millis());
        assert_eq!(self.control("POST", "/clock", &body).await.status, 200);
    }

    /// An unconfirmed intent over 500 cents, payable by card.
    pub async fn intent(&self) -> String {
        let body = "amount=500&currency=usd&allowed_payment_method_types[]=card\
                    &metadata[order_id]=o-1&metadata[sale_id]=s-1";
        let answer = self.post("/v1/payment_intents", body).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.id()
    }

    /// A paid intent over 500 cents.
    pub async fn paid(&self) -> String {
        let id = self.intent().await;
        let answer = self.confirm(&id, "pm_card_visa").await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        id
    }

    pub async fn confirm(&self, id: &str, method: &str) -> Answer {
        let path = format!("/v1/payment_intents/{id}/confirm");
        self.post(&path, &format!("payment_method={method}")).await
    }

    pub async fn status(&self, id: &str) -> String {
        let intent = self.get(&format!("/v1/payment_intents/{id}")).await.json();
        intent["status"].as_str().unwrap().to_owned()
    }

    /// The log's lines of one type.
    pub fn logged(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("stripe.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] == kind).collect()
    }
}

/// Waits until the condition holds, or panics at the bound.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + BOUND;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Debug, Clone)]
pub struct Push {
    pub signature: String,
    pub body: Vec<u8>,
}

impl Push {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether it is an event of that type about the object of that id.
    pub fn is(&self, kind: &str, id: &str) -> bool {
        let event = self.json();
        event["type"] == kind && event["data"]["object"]["id"] == id
    }
}

/// An endpoint that answers the first pushes with these statuses, and then with 200.
pub async fn endpoint(first: &'static [u16]) -> (String, Arc<Mutex<Vec<Push>>>) {
    endpoint_at(TcpListener::bind("127.0.0.1:0").await.unwrap(), first)
}

/// The same at a listener that is there already.
pub fn endpoint_at(
    listener: TcpListener,
    first: &'static [u16],
) -> (String, Arc<Mutex<Vec<Push>>>) {
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let pushes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pushes);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut raw = Vec::new();
                let (head, body) = loop {
                    let mut chunk = [0; 4096];
                    let n = stream.read(&mut chunk).await.unwrap();
                    if n == 0 {
                        return;
                    }
                    raw.extend_from_slice(&chunk[..n]);
                    let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8(raw[..end].to_vec()).unwrap().to_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                    if raw.len() >= end + 4 + length {
                        break (head, raw[end + 4..].to_vec());
                    }
                };
                assert!(head.starts_with("post /hook "), "{head}");
                let signature = head.split("stripe-signature: ").nth(1).unwrap();
                let signature = signature.split("\r\n").next().unwrap().to_owned();
                let status = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(Push { signature, body });
                    first.get(seen.len() - 1).copied().unwrap_or(200)
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, pushes)
}
