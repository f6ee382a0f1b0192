//! Mails, as a server receives them.

use std::{path::PathBuf, time::Duration};

use flashsale_order_worker::{
    config::MailConfig, domain::Kind, store::settlements::follow_payments, tasks::outbox::SendMail,
};
use flashsale_queue::OrderMessage;
use flashsale_service::Drain;
use flashsale_smtp_sink::{Config, Sink};
use flashsale_testbed::eventually;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    outbox::{carried, start},
    shop::{Shop, cancel, place},
};

pub(crate) struct Relay {
    sink: Sink,
    folder: TempDir,
}

impl Relay {
    pub(crate) async fn start(fail_rate: f64, reject_pattern: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(Config {
            listen: ([127, 0, 0, 1], 0).into(),
            log: folder.path().join("mail.log"),
            maildir: Some(folder.path().join("mails")),
            fail_rate,
            reject_pattern: reject_pattern.map(str::to_owned),
            max_size: 1_048_576,
            max_connections: 64,
            idle_timeout: Duration::from_secs(60),
        })
        .await
        .unwrap();
        Self { sink, folder }
    }

    pub(crate) fn config(&self) -> MailConfig {
        MailConfig {
            smtp_url: format!("smtp://{}", self.sink.addr()).into(),
            allow_plaintext: false,
            from: "Shop <orders@shop.example>".to_owned(),
            message_id_domain: "shop.example".to_owned(),
            timeout_ms: 5_000,
            connections: 4,
            language: "en".to_owned(),
            templates_dir: String::new(),
            action_url: "https://shop.example/pay/{order_id}".to_owned(),
        }
    }

    fn handler(&self, shop: &Shop) -> SendMail {
        let config = self.config();
        SendMail {
            pool: shop.record().clone(),
            writer: config.writer().unwrap(),
            relay: config.relay().unwrap(),
            connections: 4,
        }
    }

    /// The record of what was accepted, one object each.
    pub(crate) fn accepted(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The mails themselves.
    fn mails(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("mails")).unwrap();
        let paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

async fn ended(shop: &Shop, order: &OrderMessage, payment: &str, code: Option<&str>) {
    shop.pay(order, payment, code).await;
    follow_payments(shop.record(), &[order.order_id]).await.unwrap();
}

async fn send_all(shop: &Shop, relay: &Relay) {
    let drain = Drain::new();
    let running = start(shop, relay.handler(shop), &drain);
    carried(shop, Kind::Mail, running, &drain).await;
}

#[tokio::test]
async fn every_end_is_one_mail() {
    let (shop, relay) = (Shop::open(&[("A", 50)]).await, Relay::start(0.5, None).await);
    let orders = shop.claimed_orders("A", 9).await;
    let mut expected = Vec::new();
    for (at, order) in orders.iter().enumerate() {
        let about = match at % 3 {
            0 => {
                ended(&shop, order, "SUCCEEDED", None).await;
                "CONFIRMED"
            }
            1 => {
                ended(&shop, order, "FAILED", Some("card_declined")).await;
                "DECLINED"
            }
            _ => {
                ended(&shop, order, "CANCELLED", None).await;
                "CANCELLED"
            }
        };
        expected.push((order.order_id, about));
    }
    // The relay says "later" to every second message.
    send_all(&shop, &relay).await;

    let accepted = relay.accepted();
    assert_eq!(accepted.len(), expected.len());
    for (order, about) in expected {
        let id = format!("<{order}.{about}@shop.example>");
        let mine: Vec<_> = accepted
            .iter()
            .filter(|mail| mail["message_id"].as_str().unwrap().contains(&id[1..id.len() - 1]))
            .collect();
        assert_eq!(mine.len(), 1, "{id}");
        assert_eq!(mine[0]["to"][0], "buyer@example.com");
        let raw = relay.mails().into_iter().find(|mail| mail.contains(&id)).unwrap();
        assert!(raw.contains(&format!("X-Flashsale-Order: {order}\r\n")), "{raw}");
        assert!(raw.contains(&format!("X-Flashsale-About: {about}\r\n")), "{raw}");
        assert!(raw.contains("From: Shop <orders@shop.example>"), "{raw}");
        assert!(
            raw.contains("Content-Type: text/plain") && raw.contains("Content-Type: text/html")
        );
        assert!(raw.contains("1.00 EUR"), "{raw}");
    }
}

#[tokio::test]
async fn each_refund_is_one_mail_with_its_amount() {
    let (shop, relay) = (Shop::open(&[("A", 50)]).await, Relay::start(0.5, None).await);
    let mut orders: Vec<OrderMessage> = (0..2).map(|_| shop.order(&[("A", 1)])).collect();
    orders[1].details.locale = "de".to_owned();
    shop.claim(&orders.iter().map(place).collect::<Vec<_>>()).await;
    let mut expected = Vec::new();
    for order in &orders {
        ended(&shop, order, "SUCCEEDED", None).await;
        for (minor, payment, amount) in
            [(37, "SUCCEEDED", "0.37 EUR"), (63, "REFUNDED", "0.63 EUR")]
        {
            let refund_id = Uuid::new_v4();
            shop.refund(order, refund_id, "DONE", minor).await;
            ended(&shop, order, payment, None).await;
            expected.push((order, refund_id, amount));
        }
    }
    send_all(&shop, &relay).await;

    let mails = relay.mails();
    assert_eq!(mails.len(), orders.len() + expected.len());
    for (order, refund_id, amount) in expected {
        let order_id = order.order_id;
        let id = format!("Message-ID: <{order_id}.REFUND.{refund_id}@shop.example>");
        let mine: Vec<_> = mails.iter().filter(|mail| mail.contains(&id)).collect();
        assert_eq!(mine.len(), 1, "{id}");
        let mail = mine[0];
        assert!(mail.contains(&format!("X-Flashsale-Order: {order_id}\r\n")), "{mail}");
        assert!(mail.contains(&format!("X-Flashsale-About: REFUND.{refund_id}\r\n")), "{mail}");
        let (says, in_all) = match order.details.locale.as_str() {
            "de" => (format!("sind {amount} erstattet"), "Summe: 1.00 EUR"),
            _ => (format!("{amount} of your order"), "Total: 1.00 EUR"),
        };
        assert!(mail.contains(&says) && mail.contains(in_all), "{says} in {mail}");
    }
}

#[tokio::test]
async fn a_mail_waits_for_a_reopened_refund() {
    let (shop, relay) = (Shop::open(&[("A", 5)]).await, Relay::start(0.0, None).await);
    let orders = shop.claimed_orders("A", 2).await;
    let [again, in_vain] = [1, 2].map(Uuid::from_u128);
    for (order, refund_id) in orders.iter().zip([again, in_vain]) {
        ended(&shop, order, "SUCCEEDED", None).await;
        shop.refund(order, refund_id, "DONE", 40).await;
        ended(&shop, order, "SUCCEEDED", None).await;
        shop.refund(order, refund_id, "PENDING", 40).await;
    }
    let noted = async |refund_id: Uuid| -> Option<String> {
        sqlx::query_scalar("SELECT last_error FROM outbox WHERE about = $1")
            .bind(format!("REFUND.{refund_id}"))
            .fetch_one(shop.pool())
            .await
            .unwrap()
    };
    let drain = Drain::new();
    let running = start(&shop, relay.handler(&shop), &drain);
    for refund_id in [again, in_vain] {
        eventually("the mail waits", async || {
            (noted(refund_id).await.as_deref() == Some("REFUND_UNDER_WAY")).then_some(())
        })
        .await;
    }
    shop.refund(&orders[0], again, "DONE", 40).await;
    shop.refund(&orders[1], in_vain, "FAILED", 40).await;
    carried(&shop, Kind::Mail, running, &drain).await;
    assert_eq!(noted(in_vain).await.as_deref(), Some("REFUND_FAILED"));
    let mails = relay.mails();
    let about =
        |refund_id| mails.iter().filter(|m| m.contains(&format!("REFUND.{refund_id}@"))).count();
    assert_eq!((about(again), about(in_vain)), (1, 0));
}

/// Its refund was of everything.
#[tokio::test]
async fn refund_mail_of_the_version_before_is_sent() {
    let (shop, relay) = (Shop::open(&[("A", 5)]).await, Relay::start(0.0, None).await);
    let order = shop.claimed_orders("A", 1).await.remove(0);
    sqlx::query("INSERT INTO outbox (order_id, kind, about) VALUES ($1, 'mail', 'REFUNDED')")
        .bind(order.order_id)
        .execute(shop.pool())
        .await
        .unwrap();
    send_all(&shop, &relay).await;
    let mail = relay.mails().remove(0);
    assert!(mail.contains("1.00 EUR of your order"), "{mail}");
    assert!(mail.contains(&format!("Message-ID: <{}.REFUNDED@", order.order_id)), "{mail}");
}

#[tokio::test]
async fn buyers_cannot_inject_headers_or_markup() {
    let (shop, relay) = (Shop::open(&[("A", 5)]).await, Relay::start(0.0, None).await);
    let mut order = shop.order(&[("A", 1)]);
    order.details.contact_name =
        "Eve\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>".to_owned();
    sqlx::query("UPDATE sales SET name = E'Sale\\r\\nX-Evil: yes'")
        .execute(shop.pool())
        .await
        .unwrap();
    shop.claim(&[place(&order)]).await;
    ended(&shop, &order, "SUCCEEDED", None).await;
    send_all(&shop, &relay).await;

    let accepted = relay.accepted();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["to"].as_array().unwrap().len(), 1);
    let mail = relay.mails().remove(0);
    let (headers, body) = mail.split_once("\r\n\r\n").unwrap();
    for line in headers.split("\r\n") {
        let name = line.to_ascii_lowercase();
        assert!(!name.starts_with("bcc") && !name.starts_with("x-evil"), "{headers}");
    }
    assert!(!body.contains("<script>alert(1)</script></p>"), "{body}");
    let html = body.split("text/html").nth(1).unwrap();
    assert!(!html.contains("<script>"), "{html}");
    assert!(html.contains("&lt;script&gt;"), "{html}");
}

#[tokio::test]
async fn a_cancelling_buyer_is_told() {
    let (shop, relay) = (Shop::open(&[("A", 5)]).await, Relay::start(0.0, None).await);
    shop.claim(&[cancel(&shop.order(&[("A", 2)]))]).await;
    send_all(&shop, &relay).await;
    let mail = relay.mails().remove(0);
    assert!(mail.contains("Subject: Your order from Summer <sale> was cancelled"), "{mail}");
    assert!(mail.contains("you asked us to cancel"), "{mail}");
    assert!(mail.contains("A <A>") && mail.contains("A &lt;A&gt;"), "{mail}");
}

#[tokio::test]
async fn a_buyer_is_told_that_it_is_their_turn() {
    let (shop, relay) = (Shop::open(&[("A", 5)]).await, Relay::start(0.0, None).await);
    let orders = shop.claimed_orders("A", 2).await;
    for order in &orders {
        shop.pay(order, "PROCESSING", None).await;
        sqlx::query("UPDATE orders SET state = 'PAYING' WHERE order_id = $1")
            .bind(order.order_id)
            .execute(shop.pool())
            .await
            .unwrap();
        ended(&shop, order, "REQUIRES_ACTION", None).await;
    }
    // One of them has acted before the mail went out.
    ended(&shop, &orders[1], "SUCCEEDED", None).await;
    send_all(&shop, &relay).await;
    let mails = relay.mails();
    let about = |topic: &str| {
        let header = format!("X-Flashsale-About: {topic}\r\n");
        mails.iter().filter(|mail| mail.contains(&header)).collect::<Vec<_>>()
    };
    let turn = about("ACTION_REQUIRED");
    assert_eq!(turn.len(), 1);
    let link = format!("https://shop.example/pay/{}", orders[0].order_id);
    // A line of a mail is at most 78 characters: the link may be broken softly.
    let whole = turn[0].replace("=\r\n", "");
    assert!(whole.contains(&link), "{whole}");
    // The same address as markup.
    let markup = link.replace('/', "&#x2f;");
    assert!(whole.contains(&format!("<a href=3D\"{markup}\">")), "{whole}");
    assert!(whole.contains("Subject: Your payment for Summer <sale> needs you"), "{whole}");
    assert_eq!(about("CONFIRMED").len(), 1);
}

#[tokio::test]
async fn refused_addresses_are_given_up() {
    let (shop, relay) = (Shop::open(&[("A", 50)]).await, Relay::start(0.0, Some("gone")).await);
    let mut orders: Vec<_> = (0..3).map(|_| shop.order(&[("A", 1)])).collect();
    orders[0].details.email = "not an address".to_owned();
    orders[1].details.email = "gone@example.com".to_owned();
    shop.claim(&orders.iter().map(cancel).collect::<Vec<_>>()).await;
    send_all(&shop, &relay).await;
    assert_eq!(relay.accepted().len(), 1);
    let notes: Vec<Option<String>> =
        sqlx::query_scalar("SELECT last_error FROM outbox WHERE kind = 'mail' ORDER BY 1")
            .fetch_all(shop.pool())
            .await
            .unwrap();
    let notes: Vec<_> = notes.iter().map(Option::as_deref).collect();
    assert_eq!(notes, [Some("ADDRESS_INVALID"), Some("SMTP_REFUSED"), None]);
}

#[tokio::test]
async fn mails_are_in_the_buyers_language() {
    let (shop, relay) = (Shop::open(&[("A", 50)]).await, Relay::start(0.0, None).await);
    let orders: Vec<OrderMessage> = ["de-AT", "fr", ""]
        .map(|locale| {
            let mut order = shop.order(&[("A", 1)]);
            order.details.locale = locale.to_owned();
            order
        })
        .into();
    shop.claim(&orders.iter().map(place).collect::<Vec<_>>()).await;
    for order in &orders {
        ended(&shop, order, "SUCCEEDED", None).await;
    }
    send_all(&shop, &relay).await;
    let mails = relay.mails();
    for (order, hello) in
        orders.iter().zip(["Guten Tag Bea Buyer", "Hello Bea Buyer", "Hello Bea Buyer"])
    {
        let id = order.order_id.to_string();
        let mail = mails.iter().find(|mail| mail.contains(&format!("X-Flashsale-Order: {id}")));
        assert!(mail.unwrap().contains(hello), "{}: {mail:?}", order.details.locale);
    }
}
