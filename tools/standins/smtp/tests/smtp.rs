//! The sink over raw TCP. Sections are RFC 5321's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flashsale_smtp_sink::{Config, Sink};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const BOUND: Duration = Duration::from_secs(20);

struct Bench {
    sink: Sink,
    dir: TempDir,
}

async fn bench(adjust: impl FnOnce(&mut Config)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        log: dir.path().join("mail.jsonl"),
        maildir: None,
        fail_rate: 0.0,
        reject_pattern: None,
        max_size: 1_000_000,
        max_connections: 16,
        idle_timeout: BOUND,
    };
    adjust(&mut config);
    Bench { sink: Sink::start(config).await.unwrap(), dir }
}

impl Bench {
    async fn connect(&self) -> Client {
        let mut client = Client::connect(self.sink.addr()).await;
        assert_eq!(client.reply().await.0, 220);
        client
    }

    fn logged(&self) -> Vec<Value> {
        lines(&self.dir.path().join("mail.jsonl"))
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(addr).await.unwrap()) }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next reply: its code and its lines' texts.
    async fn reply(&mut self) -> (u16, Vec<String>) {
        let mut texts = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line);
            assert!(tokio::time::timeout(BOUND, read).await.unwrap().unwrap() > 0, "closed");
            assert!(line.ends_with("\r\n"), "{line:?}");
            texts.push(line[4..].trim_end().to_owned());
            if line.as_bytes()[3] == b' ' {
                return (line[..3].parse().unwrap(), texts);
            }
        }
    }

    async fn say(&mut self, line: &str) -> u16 {
        self.send(format!("{line}\r\n")).await;
        self.reply().await.0
    }

    /// The dialogue up to and including the 354.
    async fn begin(&mut self) {
        assert_eq!(self.say("EHLO test").await, 250);
        assert_eq!(self.say("MAIL FROM:<shop@x.example>").await, 250);
        assert_eq!(self.say("RCPT TO:<buyer@y.example>").await, 250);
        assert_eq!(self.say("DATA").await, 354);
    }

    async fn mail(&mut self, message: &str) -> u16 {
        self.begin().await;
        self.send(format!("{message}\r\n.\r\n")).await;
        self.reply().await.0
    }

    async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        matches!(tokio::time::timeout(BOUND, read).await.unwrap(), Ok(0) | Err(_))
    }
}

#[tokio::test]
async fn mail_is_logged_before_250() {
    let mut folder = None;
    let bench = bench(|config| {
        folder = Some(config.log.with_file_name("mails"));
        config.maildir.clone_from(&folder);
    })
    .await;
    let mut client = bench.connect().await;
    let head = "From: shop@x.example\r\nSubject: Order o-1\r\n confirmed\r\n\
                Message-ID: <m1@x.example>\r\nX-Flashsale-Order: o-1\r\nX-Flashsale-Kind: confirmation\r\n\
                X-Else: no";
    assert_eq!(client.mail(&format!("{head}\r\n\r\nThank you.\r\n..dot\r\n..")).await, 250);
    let body = "Thank you.\r\n.dot\r\n.\r\n";
    let raw = format!("{head}\r\n\r\n{body}");
    let digest: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut logged = bench.logged();
    assert_eq!(logged.len(), 1);
    assert!(logged[0]["ts_ms"].as_u64().unwrap() > 1_600_000_000_000);
    logged[0].as_object_mut().unwrap().remove("ts_ms");
    let expected = json!({
        "from": "shop@x.example",
        "to": ["buyer@y.example"],
        "message_id": "m1@x.example",
        "subject": "Order o-1 confirmed",
        "size": raw.len(),
        "headers": { "x-flashsale-order": "o-1", "x-flashsale-kind": "confirmation" },
        "body_sha256": digest,
    });
    assert_eq!(logged[0], expected);
    let kept = std::fs::read_dir(folder.unwrap()).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(kept.path()).unwrap(), raw);
    assert_eq!(client.say("QUIT").await, 221);
    assert!(client.closed().await);
}

#[tokio::test]
async fn only_ehlo_lists_extensions() {
    // Section 4.1.1.1; RFC 2920, 1870, 6152, 6531.
    let bench = bench(|_| {}).await;
    let mut client = bench.connect().await;
    client.send("EHLO test\r\n").await;
    let (code, texts) = client.reply().await;
    assert_eq!(code, 250);
    assert_eq!(texts[1..], ["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8"]);
    client.send("HELO test\r\n").await;
    assert_eq!(client.reply().await, (250, vec!["smtp-sink".to_owned()]));
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    // RFC 2920.
    let bench = bench(|_| {}).await;
    let mut client = bench.connect().await;
    client
        .send(
            "EHLO t\r\nMAIL FROM:<a@b.c> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<d@e.f>\r\nDATA\r\n\
             Subject: x\r\n\r\n\u{fc}\r\n.\r\nNOOP\r\nVRFY x\r\nQUIT\r\n",
        )
        .await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(client.reply().await.0);
    }
    assert_eq!(codes, [250, 250, 250, 354, 250, 250, 252, 221]);
    assert_eq!(bench.logged().len(), 1);
}

#[tokio::test]
async fn refused_command_does_not_end_dialogue() {
    // Sections 4.1.4 and 4.2.4.
    let bench = bench(|config| config.reject_pattern = Some("nobody@".into())).await;
    let rows: [(&[&str], u16); 12] = [
        (&["MAIL FROM:<a@b.c>"], 503),
        (&["EHLO t", "RCPT TO:<a@b.c>"], 503),
        (&["EHLO t", "DATA"], 503),
        (&["EHLO t", "MAIL FROM:<a@b.c>", "DATA"], 503),
        (&["EHLO t", "MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"], 503),
        (&["EHLO t", "MAIL FROM:<a@b.c>", "RSET", "DATA"], 503),
        (&["EHLO t", "MAIL FROM:a@b.c"], 501),
        (&["EHLO t", "MAIL FROM:<a@b.c> SIZE=1000001"], 552),
        (&["EHLO t", "MAIL FROM:<a@b.c> NONSENSE=1"], 555),
        (&["EHLO t", "MAIL FROM:<a@b.c>", "RCPT TO:<Nobody@b.c>"], 550),
        (&["STARTTLS"], 502),
        (&["NONSENSE"], 500),
    ];
    for (said, code) in rows {
        let mut client = bench.connect().await;
        let mut last = 0;
        for line in said {
            last = client.say(line).await;
        }
        assert_eq!(last, code, "{said:?}");
        assert_eq!(client.say("RSET").await, 250);
        assert_eq!(client.mail("Subject: still here\r\n\r\n").await, 250, "{said:?}");
    }
    assert_eq!(bench.logged().len(), rows.len());
}

#[tokio::test]
async fn lines_and_messages_are_bounded() {
    // Section 4.5.3.1; RFC 1870.
    let bench = bench(|config| config.max_size = 5_000).await;
    let mut client = bench.connect().await;
    assert_eq!(client.say(&format!("NOOP {}", "x".repeat(3000))).await, 500);
    let big = vec!["y".repeat(900); 10].join("\r\n");
    assert_eq!(client.mail(&format!("Subject: big\r\n\r\n{big}")).await, 552);
    assert_eq!(client.mail(&format!("Subject: long\r\n\r\n{}", "z".repeat(1001))).await, 500);
    assert!(bench.logged().is_empty());
    assert_eq!(client.mail("Subject: fine\r\n\r\nok").await, 250);
    assert_eq!(bench.logged().len(), 1);
}

#[tokio::test]
async fn bare_line_feeds_do_not_end_message() {
    // Section 2.3.8: only CRLF ends a line; else a second mail could be smuggled in.
    let bench = bench(|_| {}).await;
    let mut client = bench.connect().await;
    let smuggled = "Subject: one\r\n\r\nx\n.\nMAIL FROM:<evil@b.c>\n.\r\nstill the body";
    assert_eq!(client.mail(smuggled).await, 250);
    assert_eq!(client.say("NOOP").await, 250);
    assert_eq!(bench.logged().len(), 1);
    assert_eq!(bench.logged()[0]["from"], "shop@x.example");
}

#[tokio::test]
async fn abandoned_message_is_not_logged() {
    let bench = bench(|_| {}).await;
    let mut client = bench.connect().await;
    client.begin().await;
    client.send("Subject: half\r\n\r\nnot fin").await;
    drop(client);
    let mut other = bench.connect().await;
    assert_eq!(other.mail("Subject: whole\r\n\r\n").await, 250);
    assert_eq!(bench.logged().len(), 1);
    assert_eq!(bench.logged()[0]["subject"], "whole");
}

#[tokio::test]
async fn transient_failures_are_not_logged() {
    let bench = bench(|config| config.fail_rate = 0.5).await;
    let mut client = bench.connect().await;
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..100 {
        *codes.entry(client.mail("Subject: x\r\n\r\n").await).or_insert(0) += 1;
    }
    // 100 coin tosses: all of them equal once in 10^30.
    assert!(codes.contains_key(&451) && codes.contains_key(&250), "{codes:?}");
    assert_eq!(codes.values().sum::<usize>(), 100);
    assert_eq!(bench.logged().len(), codes[&250]);
}

#[tokio::test]
async fn connections_and_idle_time_are_bounded() {
    let full = bench(|config| config.max_connections = 1).await;
    let mut first = full.connect().await;
    let mut second = Client::connect(full.sink.addr()).await;
    assert_eq!(second.reply().await.0, 421);
    assert!(second.closed().await);
    assert_eq!(first.say("NOOP").await, 250);

    let impatient = bench(|config| config.idle_timeout = Duration::from_millis(200)).await;
    let mut silent = impatient.connect().await;
    assert_eq!(silent.reply().await.0, 421);
    assert!(silent.closed().await);
}

#[tokio::test]
async fn too_many_bad_commands_disconnect() {
    let bench = bench(|_| {}).await;
    let mut client = bench.connect().await;
    for _ in 0..21 {
        assert_eq!(client.say("GET / HTTP/1.1").await, 500);
    }
    assert_eq!(client.reply().await.0, 421);
    assert!(client.closed().await);
}

#[tokio::test]
async fn smtp_command_serves_until_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (log, ready) = (dir.path().join("mail.jsonl"), dir.path().join("ready"));
    for signal in ["-TERM", "-INT"] {
        let _ = std::fs::remove_file(&ready);
        let mut child = Command::new(env!("CARGO_BIN_EXE_smtp-sink"))
            .arg("--log")
            .arg(&log)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + BOUND;
        while !ready.exists() {
            assert!(Instant::now() < deadline, "no ready file");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let addr = std::fs::read_to_string(&ready).unwrap().parse().unwrap();
        let mut client = Client::connect(addr).await;
        assert_eq!(client.reply().await.0, 220);
        assert_eq!(client.mail("Subject: x\r\n\r\n").await, 250);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(client.reply().await.0, 421, "told before it ends");
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(status.success(), "{status}");
    }
    assert_eq!(lines(&log).len(), 2);
}
