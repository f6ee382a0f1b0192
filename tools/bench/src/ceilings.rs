//! What the stores themselves can do: the very script that Reserve runs, by `redis-benchmark`, and
//! the very message that PlaceOrder publishes, without a service in between.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{
    calls::{self, Publish},
    cpu,
    drive::Measured,
    platform::Platform,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long checkout may take to make its stream, and how often it is looked for.
const STREAM_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Between the services' scripts and the one that is looked for.
const MAX_LINES: usize = 10_000;
/// Where messages go that only measure.
const CEILING: &str = "ceiling";

/// A run of a script, as it was seen at Redis.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// `EVALSHA`, and all that belongs to it.
    words: Vec<String>,
}

/// Where the words of a run of `reserve.lua` are: `EVALSHA sha 11`, eleven keys, then its `ARGV` as
/// the script documents them.
mod word {
    pub(super) const HOLDS: usize = 3 + 2;
    pub(super) const PENDING: usize = 3 + 4;
    const ARGV: usize = 3 + 11 - 1;
    pub(super) const DEADLINE: usize = ARGV + 2;
    /// Where the first request begins; there is only one when it was seen. What follows is named as
    /// in `reserve.lua`.
    pub(super) const FIRST: usize = ARGV + 4;
    pub(super) const OPERATION: usize = FIRST + 1;
    pub(super) const HOLD: usize = FIRST + 2;
    pub(super) const HEAD: usize = FIRST + 12;
    pub(super) const SKU: usize = FIRST + 14;
    pub(super) const SHARE: usize = FIRST + 15;
    pub(super) const LINE_JSON: usize = FIRST + 17;
}

/// Runs of the script under way, as inventory has them for a sale that is busy, and requests in
/// each of them.
const AT_ONCE: u64 = 2;
const TOGETHER: u64 = 32;

impl Script {
    /// Watches Redis until it runs a script that reserves.
    pub(crate) async fn watch(
        address: &str,
        reserve: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Self> {
        let mut monitor = BufReader::new(TcpStream::connect(address).await?);
        monitor.write_all(b"MONITOR\r\n").await?;
        let mut line = String::new();
        timeout(CALL_TIMEOUT, monitor.read_line(&mut line)).await??;
        ensure!(line.starts_with("+OK"), "Redis does not let itself be watched: {line}");
        reserve.await?;
        for _ in 0..MAX_LINES {
            line.clear();
            timeout(CALL_TIMEOUT, monitor.read_line(&mut line)).await??;
            let words = words(&line);
            let evalsha = words.first().is_some_and(|word| word.eq_ignore_ascii_case("EVALSHA"));
            if evalsha && words.get(word::OPERATION).is_some_and(|word| word == "reserve") {
                return Ok(Self { words });
            }
        }
        bail!("no script that reserves was seen at Redis")
    }

    /// The key of the holds that it writes.
    pub(crate) fn holds(&self) -> &str {
        self.words.get(word::HOLDS).map_or("", String::as_str)
    }

    /// The key of the placed holds whose order the record is not known to have.
    pub(crate) fn pending(&self) -> &str {
        self.words.get(word::PENDING).map_or("", String::as_str)
    }

    /// For [`TOGETHER`] requests, with other holds and buyers each time that `redis-benchmark`
    /// sends it.
    fn anew_each_time(&self) -> Vec<String> {
        // A day from what it was: deadlines are by the store's clock in milliseconds.
        let deadline = self.words.get(word::DEADLINE).and_then(|ms| ms.parse::<i64>().ok());
        let deadline = (deadline.unwrap_or_default() + 86_400_000).to_string();
        // The share of a sku is named by both.
        let share = self.words.get(word::SHARE).map_or("", String::as_str);
        let buyer = share.rsplit('\u{1f}').next().unwrap_or_default();
        let (head, request) = self.words.split_at(word::FIRST.min(self.words.len()));
        let mut words = head.to_vec();
        words[word::DEADLINE].clone_from(&deadline);
        for number in 0..TOGETHER {
            words.extend(request.iter().enumerate().map(|(at, word)| match word::FIRST + at {
                word::FIRST => deadline.clone(),
                // Becomes a dozen digits, another number each time.
                word::HOLD => "00000000-0000-4000-8000-__rand_int__".to_owned(),
                word::HEAD => word.replace(buyer, "bench-__rand_int__"),
                word::SKU => calls::sku(number),
                word::SHARE => format!("{}\u{1f}bench-__rand_int__", calls::sku(number)),
                word::LINE_JSON => format!("[\"{}\",1,", calls::sku(number)),
                _ => word.clone(),
            }));
        }
        words
    }
}

/// The words of a line of `MONITOR`: behind the time and the client each stands in quotes, with
/// `\"` and `\\` for what is one itself, and `\x1f` and the like for what cannot be shown.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = line.chars();
    while letters.by_ref().any(|letter| letter == '"') {
        let mut word = String::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            word.push(if letter == '\\' { escaped(&mut letters) } else { letter });
        }
        words.push(word);
    }
    words
}

/// What stands behind a backslash there: two hexadecimal digits behind an `x`, or a letter that is
/// one itself.
fn escaped(letters: &mut std::str::Chars<'_>) -> char {
    match letters.next() {
        Some('x') => {
            let digits: String = letters.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).map_or('\u{fffd}', char::from)
        }
        letter => letter.unwrap_or('\\'),
    }
}

/// Runs the script for `count` requests with `redis-benchmark`, as inventory runs it. The times are
/// those of runs.
pub(crate) async fn redis(
    platform: &Platform,
    script: &Script,
    count: u64,
) -> anyhow::Result<Measured> {
    let before = length(&platform.redis_address(), script.holds()).await?;
    let runs = count.div_ceil(TOGETHER);
    let count = runs * TOGETHER;
    let (host, port) = platform.redis_address().split_once(':').map_or_else(
        || ("127.0.0.1".to_owned(), String::new()),
        |(host, port)| (host.to_owned(), port.to_owned()),
    );
    let watched = platform.watched();
    let cpu_before = watched.read();
    let out = Command::new(&platform.redis_benchmark)
        .args(["-h", &host, "-p", &port, "--csv", "-r", "2147483647"])
        .args(["-c", &AT_ONCE.to_string(), "-n", &runs.to_string()])
        .args(script.anew_each_time())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} cannot be run", platform.redis_benchmark.display()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let mut cpu = cpu::between(&cpu_before, &watched.read());
    cpu.retain(|name, _| *name == "redis");
    cpu.values_mut().for_each(|used| *used *= 10_000.0 / count as f64);
    let ran = length(&platform.redis_address(), script.holds()).await? - before;
    // It may send a few more than asked for; and some of two thousand million ids may come twice.
    let off = ran.abs_diff(i64::try_from(count)?);
    ensure!(
        out.status.success() && off <= AT_ONCE * TOGETHER + count / 500,
        "redis-benchmark ran the script for {count} requests and {ran} holds came of it: {text} {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let [runs_per_s, p50_ms, p99_ms] = rates(&text)?;
    Ok(Measured {
        calls: count,
        rps: runs_per_s * TOGETHER as f64,
        p50_us: p50_ms * 1_000.0,
        p99_us: p99_ms * 1_000.0,
        cpu_s_per_10k: cpu,
    })
}

/// Calls per second, and the median and 99th percentile of their times in milliseconds, from the
/// last line: `"EVALSHA …","rps","average","least","p50","p95","p99","most"`.
fn rates(csv: &str) -> anyhow::Result<[f64; 3]> {
    let last = csv.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    // From behind: the command itself is the first value and may hold anything.
    let values: Vec<&str> = last.rsplit("\",\"").map(|value| value.trim_matches('"')).collect();
    let value = |from_behind: usize| {
        let value = values.get(from_behind).and_then(|value| value.parse().ok());
        value.with_context(|| format!("redis-benchmark says no figures: {last}"))
    };
    Ok([value(6)?, value(3)?, value(1)?])
}

/// How many fields the hash at `key` has.
pub(crate) async fn length(address: &str, key: &str) -> anyhow::Result<i64> {
    number(address, &format!("HLEN {key}")).await
}

/// How many members the sorted set at `key` has.
pub(crate) async fn members(address: &str, key: &str) -> anyhow::Result<i64> {
    number(address, &format!("ZCARD {key}")).await
}

async fn number(address: &str, command: &str) -> anyhow::Result<i64> {
    let answer = ask(address, command).await?;
    let number = answer.strip_prefix(':').and_then(|number| number.parse().ok());
    number.with_context(|| format!("Redis answered {command} with {answer}"))
}

/// Asks Redis itself, in its protocol, for something that is answered in one line.
pub(crate) async fn ask(address: &str, command: &str) -> anyhow::Result<String> {
    let asked = async {
        let mut redis = BufReader::new(TcpStream::connect(address).await?);
        redis.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        redis.read_line(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(CALL_TIMEOUT, asked).await.context("Redis does not answer")??;
    ensure!(!answer.starts_with('-'), "Redis refused {command}: {answer}");
    Ok(answer.trim().to_owned())
}

/// A stream that differs from the platform's `ORDERS` in its name and subjects alone.
pub(crate) async fn jetstream(platform: &Platform) -> anyhow::Result<Publish> {
    beside_orders(platform.jetstream.clone()).await
}

/// Such a stream beside another `ORDERS`, which its checkout makes as soon as it can.
pub(crate) async fn beside_orders(context: jetstream::Context) -> anyhow::Result<Publish> {
    let orders = timeout(STREAM_WITHIN, async {
        loop {
            if let Ok(orders) = context.get_stream(flashsale_queue::ORDERS).await {
                return orders;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    let orders = orders.await.context("there is no ORDERS")?;
    context
        .get_or_create_stream(jetstream::stream::Config {
            name: CEILING.to_owned(),
            subjects: vec![format!("{CEILING}.>")],
            ..orders.cached_info().config.clone()
        })
        .await?;
    Ok(Publish { jetstream: context, under: CEILING })
}

/// Empties that stream, and returns how many messages were in it.
pub(crate) async fn empty(context: &jetstream::Context) -> anyhow::Result<u64> {
    let stream = context.get_stream(CEILING).await?;
    Ok(stream.purge().await?.purged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn words_of_a_monitored_call_are_read_as_they_were_sent() {
        let line = r#"1700000000.123456 [0 127.0.0.1:50000] "EVALSHA" "abc" "1" "{k}:a" "" "say \"so\" \\ now" "a\x1fb""#;
        assert_eq!(
            words(line),
            ["EVALSHA", "abc", "1", "{k}:a", "", r#"say "so" \ now"#, "a\u{1f}b"]
        );
    }

    #[test]
    fn the_rates_are_found_behind_a_command_with_commas_and_quotes() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min\",\"p50\",\"p95\",\"p99\",\"max\"\n\
                   \"EVALSHA a \"b\",\"c\" 1\",\"31446.54\",\"1.9\",\"0.2\",\"1.8\",\"3.0\",\"4.0\",\"9.0\"\n";
        assert_eq!(rates(csv).unwrap(), [31_446.54, 1.8, 4.0]);
        assert!(rates("").is_err());
    }
}
