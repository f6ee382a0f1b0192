//! The whole worker as it is hosted.

use std::{path::Path, time::Duration};

use async_nats::jetstream;
use flashsale_order_worker::{Config, DEFAULTS, build};
use flashsale_queue::{
    ORDER_EVENTS, PaymentEvent, announce, ensure_orders_stream, payment_event_subject,
    publish_order,
};
use flashsale_service::{
    Drain,
    config::{ConfigError, load_from},
};
use flashsale_testbed::eventually;

use crate::{
    claimer::{nats_config, own_config},
    mails::Relay,
    peers::{Peers, peer_config},
    shop::{Shop, place},
};

fn defaults() -> Config {
    load_from("order-worker", DEFAULTS, None::<&Path>, flashsale_testbed::identity()).unwrap()
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(defaults().worker.claim_batch, 200);
}

#[test]
fn every_wrong_key_is_named() {
    let env = [
        ("FLASHSALE_MAIL__SMTP_URL", "localhost"),
        ("FLASHSALE_MAIL__FROM", "nobody"),
        ("FLASHSALE_MAIL__LANGUAGE", "it"),
        ("FLASHSALE_MAIL__MESSAGE_ID_DOMAIN", "a b"),
        ("FLASHSALE_WORKER__CHARGE_BATCH", "201"),
        ("FLASHSALE_WORKER__LEASE_MS", "1000"),
        ("FLASHSALE_WORKER__RETRY_CEILING_MS", "1"),
        ("FLASHSALE_PEERS__PAYMENT__URL", "payment"),
    ];
    let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let env = env.chain(flashsale_testbed::identity());
    let error = load_from::<Config>("order-worker", DEFAULTS, None::<&Path>, env).unwrap_err();
    let ConfigError::Invalid(problems) = error else { panic!("{error}") };
    let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "mail.from",
        "mail.language",
        "mail.message_id_domain",
        "mail.smtp_url",
        "peers.payment.url",
        "worker.charge_batch",
        "worker.lease_ms",
        "worker.retry_ceiling_ms",
    ];
    assert_eq!(keys, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_from_queue_to_confirmation() {
    let (shop, peers) = (Shop::open(&[("A", 5)]).await, Peers::default());
    let nats = flashsale_testbed::nats().await;
    let (server, relay) = (peers.serve().await, Relay::start(0.0, None).await);
    let mut config = defaults();
    config.postgres = shop.pg.config_of("order-worker");
    config.nats = own_config(&nats);
    config.peers.inventory = peer_config(&server.grpc_url);
    config.peers.payment = peer_config(&server.grpc_url);
    config.mail = relay.config();
    // Only events may wake it: the polls come too late for this test.
    config.worker.settle_poll_ms = 120_000;
    let drain = Drain::new();
    let worker = flashsale_testbed::serve(build(config, drain.clone()).await.unwrap(), drain).await;

    let client = flashsale_queue::connect(&nats_config(&nats), "test").await.unwrap();
    let jetstream = jetstream::new(client.clone());
    ensure_orders_stream(&jetstream, &nats_config(&nats)).await.unwrap();
    let order = shop.order(&[("A", 2)]);
    publish_order(&jetstream, &place(&order), Duration::from_secs(2)).await.unwrap();
    let becomes = async |state: &'static str| {
        eventually(state, || async { (shop.state(order.order_id).await? == state).then_some(()) })
            .await;
    };
    becomes("PAYING").await;
    shop.pay(&order, "SUCCEEDED", None).await;
    let event = PaymentEvent { order_id: order.order_id, state: "SUCCEEDED".to_owned() };
    announce(&client, payment_event_subject(order.order_id), &event).await;
    becomes("CONFIRMED").await;
    eventually("everything it entails is confirmed", || async {
        shop.undone().await.is_empty().then_some(())
    })
    .await;

    // Whatever took the stream of events: it is made again, and what is to be announced is.
    jetstream.delete_stream(ORDER_EVENTS).await.unwrap();
    let second = shop.order(&[("A", 1)]);
    publish_order(&jetstream, &place(&second), Duration::from_secs(2)).await.unwrap();
    eventually("an order is announced in a new stream", || async {
        let info = jetstream.get_stream(ORDER_EVENTS).await.ok()?.get_info().await.ok()?;
        (info.state.messages > 0 && shop.undone().await.is_empty()).then_some(())
    })
    .await;

    assert_eq!(peers.lock().settled.len(), 1);
    assert_eq!(relay.accepted().len(), 1);
    assert!(flashsale_telemetry::render_metrics().contains("flashsale_claim_lag"));
    worker.drain.start();
    tokio::time::timeout(Duration::from_secs(20), worker.ended()).await.unwrap().unwrap();
}
