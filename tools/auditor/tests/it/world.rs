//! A small sale at rest, written raw into real stores and log files.
//!
//! Seven buyers got through the room: 1 and 2 bought, and 1 has a part of the money back, 3's card
//! was declined, 4 cancelled at once, 5 was refunded in two parts, one of which failed at first, 6
//! let the hold expire, 7 cancelled, was charged all the same, and was refunded. 8 was admitted and
//! did nothing, 9 and 10 wait. 4 came last, after B had become cheaper by the second revision of
//! the prices; a third one is to come.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use async_nats::jetstream;
use flashsale_auditor::Options;
use flashsale_testbed::{
    TestNats, TestPg, TestRedis,
    grants::{AUDITOR, as_user},
};
use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{Builder, ClusterHash, CustomCommand, Value as RedisValue, config::Config},
};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;

/// Servers that a test's sales share.
pub(crate) struct Servers {
    pub(crate) pg: TestPg,
    pub(crate) redis: TestRedis,
    pub(crate) nats: TestNats,
    client: Client,
    pub(crate) jetstream: jetstream::Context,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let (pg, redis, nats) = tokio::join!(
            flashsale_testbed::postgres(),
            flashsale_testbed::redis(),
            flashsale_testbed::nats()
        );
        let client = Builder::from_config(Config::from_url(&redis.url).unwrap()).build().unwrap();
        client.init().await.unwrap();
        let jetstream = jetstream::new(async_nats::connect(&nats.url).await.unwrap());
        let servers = Self { pg, redis, nats, client, jetstream };
        servers.orders_stream().await;
        servers
    }

    /// Creates an empty `ORDERS`.
    pub(crate) async fn orders_stream(&self) {
        let config = jetstream::stream::Config {
            name: "ORDERS".to_owned(),
            subjects: vec!["orders.>".to_owned()],
            ..Default::default()
        };
        self.jetstream.create_stream(config).await.unwrap();
    }

    pub(crate) async fn redis_command(&self, command: &[String]) -> RedisValue {
        let (name, args) = command.split_first().unwrap();
        let custom = CustomCommand::new(name.clone(), ClusterHash::Random, false);
        self.client.custom(custom, args.to_vec()).await.unwrap()
    }

    pub(crate) async fn sql(&self, statement: String) {
        sqlx::raw_sql(AssertSqlSafe(statement.clone()))
            .execute(&self.pg.pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// A corruption of a sale. Texts may name parts of the sale: see [`World::fill`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plant {
    Sql(&'static str),
    Redis(&'static [&'static str]),
    /// Changes a hold: `<h1>`, a field, its new value as JSON.
    Hold(&'static str, &'static str, &'static str),
    Append(Log, &'static str),
    /// Removes every line that contains all of these parts, separated by ` & `.
    Drop(Log, &'static str),
    Replace(Log, &'static str, &'static str),
    /// Publishes a message: the subject after `orders.`, the message id, the body.
    Publish(&'static str, &'static str, &'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Log {
    Stripe,
    Mail,
    History,
}

pub(crate) struct World {
    pub(crate) sale: Uuid,
    folder: TempDir,
    logs: BTreeMap<Log, String>,
    names: Vec<(String, String)>,
}

type Lines = &'static [(&'static str, i64, i64)];

/// When the second revision of the prices took effect, in ms after the start.
const SWITCHED_MS: i64 = 3_500;

/// When a buyer's units were taken, in ms after the start, and the revision of their price.
fn taken(number: u128) -> (i64, i64) {
    let since_ms = i64::try_from(number).unwrap();
    if number == 4 { (SWITCHED_MS + since_ms, 2) } else { (3_000 + since_ms, 1) }
}

/// Lines as Redis has them in a hold.
fn stored(lines: Lines, revision: i64) -> Vec<Value> {
    let line = |(sku, quantity, price): &(&str, i64, i64)| match revision {
        1 => json!([sku, quantity, price]),
        later => json!([sku, quantity, price, later]),
    };
    lines.iter().map(line).collect()
}

/// The buyer's number, the order's end, its states on the way, its lines, the hold's state.
const ORDERS: [(u128, &str, &[&str], Lines, &str); 6] = [
    (1, "CONFIRMED", &["CLAIMED", "PAYING", "CONFIRMED"], &[("A", 2, 1500)], "SOLD"),
    (
        2,
        "CONFIRMED",
        &["CLAIMED", "PAYING", "ACTION_REQUIRED", "PAYING", "CONFIRMED"],
        &[("A", 1, 1500), ("B", 1, 250)],
        "SOLD",
    ),
    (3, "DECLINED", &["CLAIMED", "PAYING", "DECLINED"], &[("A", 1, 1500)], "RELEASED"),
    (4, "CANCELLED", &["CANCELLED"], &[("B", 1, 200)], "RELEASED"),
    (5, "REFUNDED", &["CLAIMED", "PAYING", "CONFIRMED", "REFUNDED"], &[("B", 2, 250)], "SOLD"),
    (7, "CANCELLED", &["CLAIMED", "PAYING", "CANCELLED"], &[("B", 1, 250)], "RELEASED"),
];

/// The buyer's number, the refund's, its amount, and whether it failed once after it had been done.
const REFUNDS: [(u128, u128, i64, bool); 5] = [
    (1, 1, 500, false),
    (5, 1, 200, true),
    (5, 2, 300, false),
    (7, 1, 100, false),
    (7, 2, 150, false),
];

/// The refunds of a buyer's order.
fn refunds_of(number: u128) -> impl Iterator<Item = (u128, i64, bool)> {
    let of = REFUNDS.into_iter().filter(move |(buyer, ..)| *buyer == number);
    of.map(|(_, refund, amount, failed)| (refund, amount, failed))
}

/// What the buyer is told about an order in `state`: its end, and each refund if it was paid.
fn mails_of(number: u128, state: &str) -> Vec<String> {
    let refunds = refunds_of(number).map(|(refund, ..)| format!("REFUND.<f{number}.{refund}>"));
    match state {
        "CONFIRMED" | "REFUNDED" => ["CONFIRMED".to_owned()].into_iter().chain(refunds).collect(),
        ended => vec![ended.to_owned()],
    }
}

impl World {
    pub(crate) async fn build(servers: &Servers) -> Self {
        let sale = Uuid::new_v4();
        let now_ms =
            i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap();
        let start_ms = now_ms - 60_000;
        let mut names = vec![
            ("<sale>".to_owned(), sale.to_string()),
            ("<now>".to_owned(), now_ms.to_string()),
            ("<start>".to_owned(), start_ms.to_string()),
            ("<soon>".to_owned(), (start_ms + 2_100).to_string()),
            ("<switched>".to_owned(), (start_ms + SWITCHED_MS).to_string()),
        ];
        for number in 1..=10_u128 {
            let request = Uuid::new_v4();
            let order = Uuid::new_v5(&sale, format!("buyer-{number}\u{1f}{request}").as_bytes());
            // Buyer 2 reserved first, under another request.
            let hold = if number == 2 { Uuid::new_v4() } else { order };
            let mut admission = String::new();
            for byte in Sha1::digest(format!("{sale}:{number}:0")) {
                write!(admission, "{byte:02x}").unwrap();
            }
            for (name, value) in [
                ("r", request.to_string()),
                ("o", order.to_string()),
                ("h", hold.to_string()),
                ("j", admission),
            ] {
                names.push((format!("<{name}{number}>"), value));
            }
            for (refund, ..) in refunds_of(number) {
                names.push((format!("<f{number}.{refund}>"), Uuid::new_v4().to_string()));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self { sale, folder, logs: BTreeMap::new(), names };
        world.record(servers).await;
        world.stock(servers, start_ms).await;
        world.queue(servers).await;
        world.logs(start_ms);
        world
    }

    /// Replaces placeholders by the sale's own values: `<sale>`; `<now>`, `<start>`, `<soon>` (just
    /// after the last tick) and `<switched>` (when B became cheaper) in ms; and of each buyer
    /// `<r1>` request, `<o1>` order, `<h1>`
    /// hold, `<j1>` admission, `<f1.2>` second refund. The provider knows that as `re_<o1>.2`, and as
    /// `re_<o1>.2.failed` where it failed at first.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    pub(crate) async fn plant(&mut self, servers: &Servers, plant: Plant) {
        match plant {
            Plant::Sql(statement) => servers.sql(self.fill(statement)).await,
            Plant::Redis(command) => {
                let command: Vec<String> =
                    command.iter().map(|part| self.redis_part(part)).collect();
                servers.redis_command(&command).await;
            }
            Plant::Hold(id, field, value) => {
                let (key, id) = (self.redis_part("@holds"), self.fill(id));
                let get = ["HGET".to_owned(), key.clone(), id.clone()];
                let json = servers.redis_command(&get).await.into_string().unwrap();
                let mut hold: Value = serde_json::from_str(&json).unwrap();
                hold[field] = serde_json::from_str(&self.fill(value)).unwrap();
                servers.redis_command(&["HSET".to_owned(), key, id, hold.to_string()]).await;
            }
            Plant::Append(log, line) => self.append(log, line),
            Plant::Drop(log, with) => {
                let with = self.fill(with);
                let text = self.logs.get_mut(&log).unwrap();
                let kept: String = text
                    .split_inclusive('\n')
                    .filter(|line| !with.split(" & ").all(|part| line.contains(part)))
                    .collect();
                assert_ne!(*text, kept, "nothing to drop: {with}");
                *text = kept;
            }
            Plant::Replace(log, from, to) => {
                let (from, to) = (self.fill(from), self.fill(to));
                let text = self.logs.get_mut(&log).unwrap();
                assert!(text.contains(&from), "nothing to replace: {from}");
                *text = text.replace(&from, &to);
            }
            Plant::Publish(subject, id, body) => {
                self.publish(servers, &self.fill(subject), &self.fill(id), &self.fill(body)).await;
            }
        }
    }

    /// Appends a line to a log.
    pub(crate) fn append(&mut self, log: Log, line: &str) {
        let line = self.fill(line);
        writeln!(self.logs.get_mut(&log).unwrap(), "{line}").unwrap();
    }

    /// Writes the logs and returns the options of an audit.
    pub(crate) fn options(&self, servers: &Servers) -> Options {
        let file = |log: Log, name: &str| -> Option<PathBuf> {
            let path = self.folder.path().join(name);
            std::fs::write(&path, &self.logs[&log]).unwrap();
            Some(path)
        };
        Options {
            sale: self.sale,
            redis: as_user(&servers.redis.url, AUDITOR),
            nats: as_user(&servers.nats.url, AUDITOR),
            postgres: as_user(&servers.pg.url, AUDITOR),
            client: flashsale_auditor::Client::default(),
            stripe_log: file(Log::Stripe, "stripe.jsonl"),
            mail_log: file(Log::Mail, "mail.jsonl"),
            history: file(Log::History, "history.jsonl"),
            at_rest: true,
        }
    }

    fn redis_part(&self, part: &str) -> String {
        match part.strip_prefix('@') {
            Some(key) => format!("fs:{{{}}}:{key}", self.sale),
            None => self.fill(part),
        }
    }

    async fn record(&self, servers: &Servers) {
        let mut sql = String::from(
            "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms)
                VALUES ('<sale>', 'Sale', 'EUR', 'ENDED', now() - interval '1 hour', now(), 10000, 3, 60000);
            INSERT INTO sale_stock VALUES ('<sale>', 1, 'run');
            INSERT INTO sale_items VALUES ('<sale>', 'A', 'A', 1500, 10, 2), ('<sale>', 'B', 'B', 250, 5, 0);
            INSERT INTO price_revisions (sale_id, revision, effective_at, switches_at)
                VALUES ('<sale>', 2, now(), to_timestamp(<switched> / 1000.0)),
                    ('<sale>', 3, now() + interval '1 hour', now() + interval '1 hour');
            INSERT INTO sale_prices VALUES ('<sale>', 'B', 2, 200, 300, 0), ('<sale>', 'B', 3, 150, NULL, 4);
            INSERT INTO allotments VALUES ('<sale>', 'A', 10, 3), ('<sale>', 'B', 5, 3);
            INSERT INTO rooms (sale_id, state, rate, admission_ms, reserved_upto, head, created_at)
                VALUES ('<sale>', 'OPEN', 3, 60000, 100, 8, to_timestamp((<start> - 1000) / 1000.0));
            INSERT INTO stock_adjustments (request_id, sale_id, sku, delta, reason, state, raised_epoch, allotted_before, allotted_after, available, ended_at)
                VALUES ('<r9>', '<sale>', 'A', 1, 'x', 'DONE', 1, 10, 11, NULL, now()),
                    ('<h9>', '<sale>', 'A', -1, 'x', 'DONE', NULL, 11, 10, NULL, now()),
                    ('<r10>', '<sale>', 'B', -9, 'x', 'REFUSED', NULL, NULL, NULL, 2, now());",
        );
        for (number, state, path, lines, _) in ORDERS {
            let total: i64 = lines.iter().map(|(_, quantity, price)| quantity * price).sum();
            let (after_ms, revision) = taken(number);
            let reason = match state {
                "DECLINED" => "'card_declined'",
                "CANCELLED" => "'buyer'",
                _ => "NULL",
            };
            write!(
                sql,
                "INSERT INTO orders (order_id, sale_id, buyer_id, hold_id, epoch, admission_id, request_id, request_hash, state,
                     currency, total_minor, email, contact_name, payment_method, end_reason, placed_at)
                 VALUES ('<o{number}>', '<sale>', 'buyer-{number}', '<h{number}>', 1, '<j{number}>', '<r{number}>', 'hash{number}',
                     '{state}', 'EUR', {total}, 'b@example.com', 'B', 'pm', {reason}, to_timestamp((<start> + {after_ms}) / 1000.0));"
            )
            .unwrap();
            for (sku, quantity, price) in lines {
                write!(
                    sql,
                    "INSERT INTO order_lines VALUES ('<o{number}>', '{sku}', {quantity}, {price}, {revision});"
                )
                .unwrap();
            }
            let mut from = "NULL".to_owned();
            for to in path {
                write!(
                    sql,
                    "INSERT INTO order_transitions (order_id, from_state, to_state, cause, at)
                     VALUES ('<o{number}>', {from}, '{to}', 'x', to_timestamp(<start> / 1000.0 + 6));"
                )
                .unwrap();
                from = format!("'{to}'");
            }
            for about in mails_of(number, state) {
                write!(
                    sql,
                    "INSERT INTO outbox (order_id, kind, about, done_at) VALUES ('<o{number}>', 'mail', '{about}', now());"
                )
                .unwrap();
            }
            if number == 4 {
                continue;
            }
            let (payment, captured) = match number {
                1 | 2 => ("SUCCEEDED", total),
                3 => ("FAILED", 0),
                _ => ("REFUNDED", total),
            };
            write!(
                sql,
                "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, intent_id, captured_minor, refunded_minor)
                 VALUES ('<o{number}>', '<sale>', '{payment}', 'EUR', {total}, 'pm', 'pi_<o{number}>', {captured}, {});",
                refunds_of(number).map(|(_, amount, _)| amount).sum::<i64>()
            )
            .unwrap();
            let mut moves = Vec::new();
            if captured > 0 {
                moves.push(("CAPTURED", format!("pi_<o{number}>"), captured));
            }
            for (refund, amount, failed) in refunds_of(number) {
                write!(
                    sql,
                    "INSERT INTO refunds (refund_id, order_id, intent_id, is_rest, state, amount_minor, reason, provider_ref, created_at, done_at)
                     VALUES ('<f{number}.{refund}>', '<o{number}>', 'pi_<o{number}>', false, 'DONE', {amount}, 'x', 're_<o{number}>.{refund}',
                         now() - interval '30 s', now());"
                )
                .unwrap();
                let made = format!("re_<o{number}>.{refund}");
                if failed {
                    moves.push(("REFUNDED", format!("{made}.failed"), amount));
                    moves.push(("REFUND_FAILED", format!("{made}.failed"), amount));
                }
                moves.push(("REFUNDED", made, amount));
            }
            for (kind, reference, amount) in moves {
                write!(
                    sql,
                    "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                     VALUES ('{kind}', '{reference}', '<o{number}>', {amount}, 'EUR', 'call');"
                )
                .unwrap();
            }
        }
        servers.sql(self.fill(&sql)).await;
    }

    async fn stock(&self, servers: &Servers, start_ms: i64) {
        let mut commands: Vec<String> = vec![
            "HSET @meta epoch 1 run_id run version 1 state ENDED room 1 hold_ms 10000 currency EUR rev 2 next_rev 3".to_owned(),
            "HSET @stock t:A 10 a:A 7 h:A 0 p:A 0 s:A 3 l:A 2 m:A 1500".to_owned(),
            "HSET @stock t:B 5 a:B 2 h:B 0 p:B 0 s:B 3 l:B 0 m:B 200,2 g:B 300 n:3:B 150|4||3".to_owned(),
            format!("HSET @meta rev_ms <switched> next_ms {}", start_ms + 3_600_000),
            "HSET @room state OPEN rate 3 admission_ms 60000 next 10 upto 100 planned 8 head 8".to_owned(),
            "HSET @buyers A\u{1f}buyer-1 2 A\u{1f}buyer-2 1 B\u{1f}buyer-2 1 B\u{1f}buyer-5 2 A\u{1f}buyer-6 0".to_owned(),
        ];
        for adjusted in ["<r9> done|1|A", "<h9> done|-1|A", "<r10> refused|2|-9|B"] {
            commands.push(format!("HSET @requests adjust|{adjusted}"));
        }
        for (head, after_ms) in [(3, 0), (6, 1_000), (8, 2_000)] {
            commands
                .push(format!("ZADD @room:ticks {head} {head}:60000:0:{}", start_ms + after_ms));
        }
        for number in 1..=10 {
            commands.push(format!("HSET @room:buyers buyer-{number} {number}|0|WAITING"));
        }
        let expired: Lines = &[("A", 2, 1500)];
        let orders = ORDERS.iter().map(|(number, _, _, lines, state)| (*number, *lines, *state));
        for (number, lines, state) in orders.chain([(6, expired, "EXPIRED")]) {
            let (after_ms, revision) = taken(number);
            let (taken_ms, lines) = (start_ms + after_ms, stored(lines, revision));
            let mut hold = json!({
                "b": format!("buyer-{number}"), "s": state, "d": taken_ms + 10_000, "t": taken_ms, "l": lines, "e": 1,
                "j": format!("<j{number}>"),
            });
            if state != "EXPIRED" {
                hold["o"] = format!("<o{number}>").into();
                hold["p"] = taken_ms.into();
                hold["q"] = format!("<r{number}>").into();
                hold["h"] = format!("hash{number}").into();
                if number == 2 {
                    commands.push("HSET @requests <o2> place|hash2|<h2>".to_owned());
                }
            }
            commands.push(format!("HSET @holds <h{number}> {hold}"));
            commands.push(format!("HSET @spent <j{number}> <h{number}>"));
        }
        commands.push(format!("HSET @requests {} release|other|<h2>", Uuid::new_v4()));
        for command in commands {
            let command: Vec<String> =
                command.split(' ').map(|part| self.redis_part(part)).collect();
            servers.redis_command(&command).await;
        }
    }

    fn message(&self, kind: &str, number: u128, lines: Lines) -> Value {
        let total: i64 = lines.iter().map(|(_, quantity, price)| quantity * price).sum();
        let lines: Vec<Value> = lines
            .iter()
            .map(|(sku, quantity, price)| match taken(number).1 {
                1 => json!({ "sku": sku, "quantity": quantity, "unit_price_minor": price }),
                later => json!({
                    "sku": sku, "quantity": quantity, "unit_price_minor": price, "price_revision": later,
                }),
            })
            .collect();
        json!({
            "kind": kind, "order_id": format!("<o{number}>"), "sale_id": "<sale>", "buyer_id": format!("buyer-{number}"),
            "hold_id": format!("<h{number}>"), "epoch": 1, "admission_id": format!("<j{number}>"), "request_id": format!("<r{number}>"),
            "request_hash": format!("hash{number}"), "lines": lines, "currency": "EUR", "total_minor": total, "placed_at_ms": 0,
            "email": "b@example.com", "contact_name": "B", "payment_method": "pm",
        })
    }

    async fn queue(&self, servers: &Servers) {
        for (number, _, _, lines, _) in ORDERS {
            let kinds: &[&str] = if number == 4 { &["cancel", "place"] } else { &["place"] };
            for kind in kinds {
                let suffix = if *kind == "cancel" { "/cancel" } else { "" };
                let body = self.message(kind, number, lines).to_string();
                let (subject, id) = (format!("{kind}.<sale>"), format!("<o{number}>{suffix}"));
                self.publish(servers, &self.fill(&subject), &self.fill(&id), &self.fill(&body))
                    .await;
            }
        }
        let mut stream = servers.jetstream.get_stream("ORDERS").await.unwrap();
        let info = stream.info().await.unwrap();
        servers
            .sql(format!(
                "INSERT INTO queue_positions (stream, stream_created, seq) VALUES ('ORDERS', to_timestamp({}::numeric / 1000000), {1})
                 ON CONFLICT (stream) DO UPDATE SET seq = {1}",
                info.created.unix_timestamp_nanos() / 1_000,
                info.state.last_sequence
            ))
            .await;
    }

    async fn publish(&self, servers: &Servers, subject: &str, id: &str, body: &str) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let subject = format!("orders.{subject}");
        let published =
            servers.jetstream.publish_with_headers(subject, headers, body.to_owned().into());
        published.await.unwrap().await.unwrap();
    }

    fn logs(&mut self, start_ms: i64) {
        let (mut stripe, mut mail, mut history) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=10 {
            history.push(json!({ "event": "joined", "ts_ms": start_ms - 100, "buyer": format!("buyer-{number}"), "number": number }));
        }
        for number in 1..=8 {
            history.push(json!({ "event": "admitted", "ts_ms": start_ms + 2_100, "buyer": format!("buyer-{number}"), "number": number }));
        }
        let refused = json!({
            "event": "refused", "ts_ms": start_ms, "buyer": "buyer-8", "request_id": "<r8>", "call": "PlaceOrder", "reason": "SOLD_OUT",
        });
        history.push(refused);
        for (number, state, _, lines, _) in ORDERS {
            let (buyer, order) = (format!("buyer-{number}"), format!("<o{number}>"));
            let placed = json!({
                "event": "placed", "ts_ms": start_ms + 3_100, "buyer": buyer, "request_id": format!("<r{number}>"), "order_id": order,
                "state": "ACCEPTED",
            });
            history.push(placed.clone());
            if number == 1 {
                history.push(placed);
            }
            history.push(json!({ "event": "ended", "ts_ms": start_ms + 9_000, "buyer": buyer, "order_id": order, "state": state }));
            for about in mails_of(number, state) {
                mail.push(json!({
                    "ts_ms": start_ms + 9_000, "from": "shop@example.com", "to": ["b@example.com"],
                    "message_id": format!("<o{number}>.{about}@shop"), "subject": "s", "size": 1,
                    "headers": { "x-flashsale-order": order, "x-flashsale-about": about }, "body_sha256": "",
                }));
            }
            if number == 4 {
                continue;
            }
            let total: i64 = lines.iter().map(|(_, quantity, price)| quantity * price).sum();
            let line = |at: i64, kind: &str, amount: i64| {
                json!({
                    "ts_ms": start_ms + 4_000 + at * 10_000, "type": format!("payment_intent.{kind}"),
                    "payment_intent": format!("pi_<o{number}>"), "amount": amount, "currency": "eur", "order_id": order,
                    "sale_id": "<sale>", "payment_method": "pm", "idempotency_key": null, "request_id": "req_1",
                })
            };
            let end = if number == 3 { "declined" } else { "captured" };
            for (at, kind) in (0..).zip(["created", "confirmed", end]) {
                stripe.push(line(at, kind, total));
            }
            for (refund, amount, failed) in refunds_of(number) {
                let made = format!("re_<o{number}>.{refund}");
                let again = format!("{made}.failed");
                let tries: &[(i64, &str, &str)] = &[
                    (3, "refunded", &again),
                    (4, "refund_failed", &again),
                    (5, "refunded", &made),
                ];
                let tries = if failed { tries } else { &tries[2..] };
                for (at, kind, id) in tries {
                    let mut line = line(*at, kind, amount);
                    line["refund"] = (*id).into();
                    stripe.push(line);
                }
            }
        }
        // The same mail, sent again.
        mail.push(mail[0].clone());
        for (log, lines) in [(Log::Stripe, stripe), (Log::Mail, mail), (Log::History, history)] {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let text = self.fill(&text);
            self.logs.insert(log, text);
        }
    }
}
