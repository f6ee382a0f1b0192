//! One order followed through all its spans; what the logs say of it, and what they must not say.

use std::{fs, path::Path};

use flashsale_proto::checkout::OrderState;
use flashsale_testbed::eventually;
use nix::sys::signal::{Signal, kill};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::Value;
use tonic::Code;

use crate::{
    collector::{Collector, attribute, linked},
    command::{Flashsale, channel},
    shopper::Shopper,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_one_trace() {
    let (collector, address) = Collector::start().await;
    let endpoint = format!("http://{address}");
    let mut up = Flashsale::start_with(
        &["up", "--card-retry-ms", "2000"],
        &[
            ("FLASHSALE_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
            ("FLASHSALE_TELEMETRY__SAMPLE_RATIO", "1.0"),
            ("FLASHSALE_TELEMETRY__LOG_FILTER", "info,flashsale=debug"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ],
    );
    let printed = up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap();
    let channel = channel(&about).await;
    let shopper = |name: &str| Shopper::new(channel.clone(), sale_id, name);

    let mut ada = shopper("Adalovelace");
    ada.come_in().await;
    let order = ada.place(1, "pm_card_visa").await.unwrap();
    ada.sees(&order, OrderState::Confirmed).await;
    let sent = eventually("the mail's span is exported", || async {
        collector.one(&ada.trace().0, "send mail")
    });
    sent.await;
    the_spans_hang_together(&collector, &ada, &order.order_id).await;

    // Failures are logged in more detail: they must not name the buyer either.
    let mut bob = shopper("Bobbabbage");
    bob.come_in().await;
    let declined = bob.place(1, "pm_card_visa_chargeDeclined").await.unwrap();
    bob.sees(&declined, OrderState::Declined).await;
    let mut eve = shopper("Evesdropper");
    eve.come_in().await;
    let refused = eve.place(1_000, "pm_card_mastercard").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let mut mallory = shopper("Mallorymalformed");
    mallory.come_in().await;
    mallory.buyer.contact.email = "mallorymalformed no address".to_owned();
    let refused = mallory.place(1, "pm_card_amex").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let mut stranger = shopper("Strangerdanger");
    stranger.admission = format!("{}x", ada.admission);
    stranger.place(1, "pm_card_visa").await.unwrap_err();

    let mut secrets: Vec<String> = secrets_of(up.home());
    for shopper in [&ada, &bob, &eve, &mallory, &stranger] {
        let Shopper { buyer, ticket, admission, .. } = shopper.clone();
        let contact = buyer.contact;
        secrets.extend([buyer.buyer_id, contact.email, contact.name, ticket, admission]);
    }
    secrets.extend(["pm_card_", "Quixotic", "@buyers.example"].map(str::to_owned));
    secrets.retain(|secret| !secret.is_empty());

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
    let logs = logs_under(Path::new(about["folder"].as_str().unwrap()));
    assert!(logs.iter().any(|(name, text)| name.ends_with("services.log") && !text.is_empty()));
    assert!(logs.len() >= 4, "{:?}", logs.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let printed = [("what it printed".to_owned(), printed), ("what it said".to_owned(), said)];
    for (name, text) in logs.iter().chain(&printed) {
        for secret in &secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {name}: {}", line.unwrap_or_default());
        }
    }
    let services = logs.iter().find(|(name, _)| name.ends_with("services.log")).unwrap();
    the_lines_are_structured_and_tell_their_trace(&services.1, &ada, &order.order_id);
}

async fn the_spans_hang_together(collector: &Collector, buyer: &Shopper, order_id: &str) {
    let (trace, shop) = buyer.trace();
    let trace = &trace;
    // Spans are exported in batches, not by trace: the last to end may arrive first.
    let one = async |name: &str| {
        let found = async { eventually(name, || async { collector.one(trace, name) }).await };
        match tokio::time::timeout(std::time::Duration::from_secs(20), found).await {
            Ok(span) => span,
            Err(_) => panic!("no span {name} in the trace: {:?}", collector.names(trace)),
        }
    };
    let of_order = |span: &Span| {
        assert_eq!(attribute(span, "order_id").as_deref(), Some(order_id), "{span:?}")
    };
    let child = |span: &Span, parent: &Span| {
        assert_eq!(
            span.parent_span_id, parent.span_id,
            "{} is no child of {}",
            span.name, parent.name
        );
    };

    let join = one("flashsale.waitingroom.v1.WaitingRoomService/Join").await;
    let place = one("flashsale.checkout.v1.CheckoutService/PlaceOrder").await;
    for call in [&join, &place] {
        assert_eq!(call.kind(), SpanKind::Server);
        assert_eq!(call.parent_span_id, shop, "{} is no child of the shop's span", call.name);
        assert_eq!(attribute(call, "rpc.system.name").as_deref(), Some("grpc"));
        assert_eq!(attribute(call, "rpc.method"), Some(call.name.clone()));
        assert_eq!(attribute(call, "rpc.response.status_code").as_deref(), Some("OK"));
    }

    // A call to a peer has a client span and a server span of the same name.
    let hold = eventually("PlaceHold's two spans are exported", || async {
        let spans = collector.named("flashsale.inventory.v1.InventoryService/PlaceHold");
        let server = spans
            .into_iter()
            .find(|span| &span.trace_id == trace && span.kind() == SpanKind::Server)?;
        let client = collector.parent(&server)?;
        Some((client, server))
    });
    let (client, _) = hold.await;
    assert_eq!(client.kind(), SpanKind::Client);
    child(&client, &place);

    let publish = one("publish ORDERS").await;
    assert_eq!(publish.kind(), SpanKind::Producer);
    child(&publish, &place);
    of_order(&publish);

    // Through the queue: the order's own claim, linked with the batch, which is linked with all of
    // its orders.
    let claim = one("claim order").await;
    assert_eq!(claim.kind(), SpanKind::Consumer);
    child(&claim, &publish);
    of_order(&claim);
    let batch = eventually("the batch's span is exported", || async {
        collector.named("claim ORDERS").into_iter().find(|batch| linked(batch, &publish))
    });
    let batch = batch.await;
    assert_ne!(&batch.trace_id, trace, "a batch is of no one order");
    assert!(linked(&claim, &batch), "{claim:?}");

    // Through Postgres: the outbox, and the payment's row.
    let charge = one("outbox charge").await;
    child(&charge, &claim);
    of_order(&charge);
    let batch = eventually("the charge's batch is exported", || async {
        collector.named("outbox charge batch").into_iter().find(|batch| linked(&charge, batch))
    });
    batch.await;
    let payment = one("charge payment").await;
    child(&payment, &charge);
    of_order(&payment);
    for (call, wire) in [
        ("stripe payment_intents.create", "POST /v1/payment_intents"),
        ("stripe payment_intents.confirm", "POST /v1/payment_intents/{intent}/confirm"),
    ] {
        let (call, wire) = (one(call).await, one(wire).await);
        child(&call, &payment);
        assert_eq!(attribute(&call, "outcome").as_deref(), Some("success"));
        child(&wire, &call);
        assert_eq!(wire.kind(), SpanKind::Client);
        assert_eq!(attribute(&wire, "http.response.status_code").as_deref(), Some("200"));
        assert_eq!(attribute(&wire, "http.request.method").as_deref(), Some("POST"));
    }

    // Stripe carries no trace context, yet its webhook continues the order's trace.
    let told = one("POST /stripe/webhook").await;
    child(&told, &charge);
    of_order(&told);

    // The consequences of the order's end.
    let settle = eventually("the settlement is linked with the order", || async {
        collector.named("settle").into_iter().find(|settle| linked(settle, &claim))
    });
    settle.await;
    let mail = one("outbox mail").await;
    child(&mail, &claim);
    of_order(&mail);
    let sent = one("send mail").await;
    child(&sent, &mail);
    assert_eq!(sent.kind(), SpanKind::Client);
    child(&one("outbox close_hold").await, &claim);
    child(&one("outbox event").await, &claim);
    for name in ["claim order", "outbox mail", "send mail", "charge payment"] {
        let status = one(name).await.status.unwrap_or_default();
        assert_ne!(status.code(), StatusCode::Error, "{name}");
    }
}

/// The key, the webhook's secrets and the like, from the environment of the services.
fn secrets_of(home: &Path) -> Vec<String> {
    let home = home.to_str().unwrap();
    let told: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("environ")).ok())
        .filter(|environ| environ.contains(home) && environ.contains("WEBHOOK_SECRETS="))
        .flat_map(|environ| environ.split('\0').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            let secret = ["WEBHOOK_SECRETS", "SECRET_KEY"].iter().any(|end| name.ends_with(end));
            secret.then(|| value.to_owned())
        })
        .collect();
    assert!(told.iter().any(|secret| secret.starts_with("whsec_")), "whose environment is it?");
    assert!(told.iter().any(|secret| secret.starts_with("sk_test_")));
    told
}

/// Every log of a run: of the services, the servers and the stand-ins, but not the stand-ins' JSON
/// records, which the audit needs.
fn logs_under(folder: &Path) -> Vec<(String, String)> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            logs.extend(logs_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            logs.push((path.display().to_string(), text));
        }
    }
    logs
}

fn the_lines_are_structured_and_tell_their_trace(log: &str, buyer: &Shopper, order_id: &str) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} is missing: {line}");
        }
    }
    let trace = buyer.traceparent.split('-').nth(1).unwrap();
    let settled = lines
        .iter()
        .find(|line| line["message"] == "payment settled" && line["order"] == order_id)
        .unwrap_or_else(|| panic!("no line says that {order_id} is paid:\n{log}"));
    assert_eq!(settled["trace_id"], trace, "{settled}");
    assert_eq!(settled["span_id"].as_str().map(str::len), Some(16), "{settled}");
}
