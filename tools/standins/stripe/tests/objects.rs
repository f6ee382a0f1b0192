//! Reading and changing objects, over raw HTTP: update, expand, charges, events, the account.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, bench, exchange, request};
use serde_json::{Value, json};

async fn update(bench: &Bench, id: &str, body: &str) -> common::Answer {
    bench.post(&format!("/v1/payment_intents/{id}"), body).await
}

#[tokio::test]
async fn update_changes_what_is_not_yet_paid() {
    // docs.stripe.com/api/payment_intents/update
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let body = "amount=700&currency=eur&description=two&metadata[order_id]=o-2&metadata[sale_id]=";
    let after = update(&bench, &id, body).await.json();
    assert_eq!((&after["amount"], &after["currency"]), (&json!(700), &json!("eur")));
    assert_eq!(after["description"], "two");
    assert_eq!(after["metadata"], json!({ "order_id": "o-2" }), "the rest is kept or taken out");
    assert_eq!(after["status"], "requires_payment_method");

    let after = update(&bench, &id, "payment_method=pm_card_visa").await.json();
    assert_eq!(after["status"], "requires_confirmation");
    let paid = bench.post(&format!("/v1/payment_intents/{id}/confirm"), "").await.json();
    assert_eq!((&paid["status"], &paid["amount_received"]), (&json!("succeeded"), &json!(700)));
    assert_eq!(bench.logged("payment_intent.captured")[0]["order_id"], "o-2");

    for late in ["amount=800", "payment_method=pm_card_amex", "currency=usd"] {
        let answer = update(&bench, &id, late).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "payment_intent_unexpected_state".to_owned()), "{late}");
    }
    let noted = update(&bench, &id, "metadata[note]=paid").await;
    assert_eq!(noted.json()["metadata"], json!({ "note": "paid", "order_id": "o-2" }));
    let cleared = update(&bench, &id, "metadata=").await;
    assert_eq!(cleared.json()["metadata"], json!({}));
}

#[tokio::test]
async fn update_while_authenticating_asks_for_confirmation() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    bench.confirm(&id, "pm_card_authenticationRequired").await;
    let after = update(&bench, &id, "payment_method=pm_card_visa").await.json();
    let expected = (&json!("requires_confirmation"), &json!(null));
    assert_eq!((&after["status"], &after["next_action"]), expected);
    let paid = bench.post(&format!("/v1/payment_intents/{id}/confirm"), "").await.json();
    assert_eq!(paid["status"], "succeeded");
}

#[tokio::test]
async fn bad_updates_are_refused_by_name() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let many: String = (0..51).map(|n| format!("metadata[k{n}]=v&")).collect();
    let rows = [
        ("amount=49", "amount_too_small", "amount"),
        ("amount=100000000", "amount_too_large", "amount"),
        ("currency=zzq", "parameter_invalid_string", "currency"),
        ("currency=huf", "amount_too_small", "amount"),
        ("payment_method=pm_card_nonsense", "resource_missing", "payment_method"),
        ("capture_method=manual", "", "capture_method"),
        ("confirm=true", "parameter_unknown", "confirm"),
        (many.as_str(), "", "metadata"),
    ];
    for (body, code, param) in rows {
        let answer = update(&bench, &id, body).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["param"]), (400, &json!(param)), "{body}: {error}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{body}");
    }
    let intent = bench.get(&format!("/v1/payment_intents/{id}")).await.json();
    assert_eq!((&intent["amount"], &intent["currency"]), (&json!(500), &json!("usd")));
    assert_eq!(update(&bench, "pi_none", "amount=500").await.status, 404);
}

#[tokio::test]
async fn expand_puts_objects_in_place_of_ids() {
    // docs.stripe.com/api/expanding_objects
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let body = "payment_method=pm_card_visa&expand[]=latest_charge";
    let paid = bench.post_with_key(&path, "k", body).await;
    assert_eq!(paid.json()["latest_charge"]["object"], "charge");
    assert_eq!(paid.json()["latest_charge"]["amount_captured"], 500);
    assert_eq!(bench.post_with_key(&path, "k", body).await.body, paid.body);
    let refund =
        format!("payment_intent={id}&expand[]=charge&expand[]=payment_intent.latest_charge");
    let refund = bench.post("/v1/refunds", &refund).await.json();
    assert_eq!(refund["charge"]["amount_refunded"], 500);
    assert_eq!(refund["payment_intent"]["latest_charge"]["amount_refunded"], 500);

    let open = bench.intent().await;
    // (path, where the charge is in the answer)
    let rows = [
        (format!("/v1/payment_intents/{id}?expand[]=latest_charge"), "/latest_charge"),
        ("/v1/payment_intents?expand[]=data.latest_charge".into(), "/data/1/latest_charge"),
        ("/v1/payment_intents?expand[0]=data.latest_charge".into(), "/data/1/latest_charge"),
        ("/v1/refunds?expand[]=data.charge".into(), "/data/0/charge"),
    ];
    for (path, place) in rows {
        let answer = bench.get(&path).await.json();
        assert_eq!(answer.pointer(place).unwrap()["object"], "charge", "{path}: {answer}");
    }
    let unpaid = bench.get(&format!("/v1/payment_intents/{open}?expand[]=latest_charge")).await;
    assert_eq!(unpaid.json()["latest_charge"], json!(null));

    let deep = "latest_charge.payment_intent.latest_charge.payment_intent.latest_charge";
    for bad in ["amount", "data.latest_charge", "latest_charge.amount", "", deep] {
        let answer = bench.get(&format!("/v1/payment_intents/{id}?expand[]={bad}")).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("expand")));
    }
    let answer = bench.get("/v1/payment_intents?expand[]=latest_charge").await;
    assert_eq!(answer.status, 400, "a list is expanded below data");
}

#[tokio::test]
async fn charges_and_events_are_read_by_id() {
    // docs.stripe.com/api/charges/retrieve, docs.stripe.com/api/events/retrieve, /api/events/list
    let bench = bench(|_| {}).await;
    let id = bench.paid().await;
    let other = bench.intent().await;
    bench.confirm(&other, "pm_card_visa_chargeDeclined").await;

    let all = bench.get("/v1/charges").await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let charge = &all["data"][1];
    let path = format!("/v1/charges/{}", charge["id"].as_str().unwrap());
    assert_eq!(bench.get(&path).await.json(), *charge);
    assert_eq!(charge["payment_intent"], json!(id));
    assert_eq!(bench.get("/v1/charges/ch_none").await.code(), "resource_missing");

    let kinds = async |query: &str| {
        let list = bench.get(&format!("/v1/events{query}")).await.json();
        let kinds: Vec<String> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect();
        kinds
    };
    let newest_first = [
        "payment_intent.payment_failed",
        "charge.failed",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_intent.created",
    ];
    assert_eq!(kinds("").await, newest_first);
    assert_eq!(kinds("?type=charge.*").await, ["charge.failed", "charge.succeeded"]);
    let two = "?types[]=charge.failed&types[]=payment_intent.succeeded";
    assert_eq!(kinds(two).await, ["charge.failed", "payment_intent.succeeded"]);
    assert_eq!(kinds("?limit=1&type=payment_intent.created").await.len(), 1);
    assert!(kinds("?delivery_success=false").await.is_empty(), "there is no endpoint");

    let list = bench.get("/v1/events?limit=1").await.json();
    assert_eq!(list["has_more"], true);
    let event = &list["data"][0];
    let path = format!("/v1/events/{}", event["id"].as_str().unwrap());
    assert_eq!(bench.get(&path).await.json(), *event);
    let facts = (&event["object"], &event["livemode"], &event["data"]["object"]["id"]);
    assert_eq!(facts, (&json!("event"), &json!(false), &json!(other)));
    assert_eq!(bench.get("/v1/events/evt_none").await.status, 404);
    for bad in ["?delivery_success=x", "?nonsense=1"] {
        assert_eq!(bench.get(&format!("/v1/events{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn restricted_key_may_not_read_its_account() {
    // docs.stripe.com/keys/restricted-api-keys, docs.stripe.com/api/errors (403)
    let bench = bench(|_| {}).await;
    for (path, status) in [("/v1/account", 403), ("/v1/payment_intents", 200)] {
        let key = [("Authorization", "Bearer rk_test_of_the_test")];
        let answer = exchange(bench.addr(), &request("GET", path, &key, "")).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn account_is_the_configured_one() {
    // docs.stripe.com/api/accounts/retrieve
    let bench = bench(|config| config.account = "acct_of_the_test".into()).await;
    let account = bench.get("/v1/account").await.json();
    assert_eq!(
        (&account["id"], &account["object"]),
        (&json!("acct_of_the_test"), &json!("account"))
    );
}

#[tokio::test]
async fn key_may_be_the_user_name() {
    // docs.stripe.com/api/authentication: HTTP Basic auth
    let bench = bench(|_| {}).await;
    let rows = [
        // sk_test_standin:
        ("Basic c2tfdGVzdF9zdGFuZGluOg==", 200),
        // sk_test_standin:any
        ("Basic c2tfdGVzdF9zdGFuZGluOmFueQ==", 200),
        // sk_live_x:
        ("Basic c2tfbGl2ZV94Og==", 401),
        // sk_test_standin
        ("Basic c2tfdGVzdF9zdGFuZGlu", 401),
        ("Basic sk_test_standin", 401),
        ("Digest c2tfdGVzdF9zdGFuZGluOg==", 401),
    ];
    for (value, status) in rows {
        let raw = request("GET", "/v1/payment_intents", &[("Authorization", value)], "");
        let answer = exchange(bench.addr(), &raw).await.unwrap();
        assert_eq!(answer.status, status, "{value}");
    }
}

#[tokio::test]
async fn amounts_obey_the_rules_of_their_currency() {
    // docs.stripe.com/currencies
    let bench = bench(|_| {}).await;
    // (currency, charged, not charged, refunded, not refunded)
    let rows = [
        ("kwd", 5_120, Some((5_124, "parameter_invalid_integer")), 10, Some(5)),
        ("isk", 500, Some((550, "parameter_invalid_integer")), 100, Some(50)),
        ("ugx", 500, Some((101, "parameter_invalid_integer")), 100, Some(1)),
        ("huf", 17_500, Some((17_499, "amount_too_small")), 1, None),
        ("jpy", 50, Some((49, "amount_too_small")), 1, None),
        ("krw", 1, None, 1, None),
    ];
    for (currency, charged, refused, refunded, not_refunded) in rows {
        let create = |amount: i64| {
            format!(
                "amount={amount}&currency={currency}&allowed_payment_method_types[]=card\
                 &confirm=true&payment_method=pm_card_visa"
            )
        };
        if let Some((amount, code)) = refused {
            let answer = bench.post("/v1/payment_intents", &create(amount)).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{amount} {currency}");
            assert_eq!(answer.json()["error"]["param"], "amount");
        }
        let paid = bench.post("/v1/payment_intents", &create(charged)).await;
        assert_eq!(paid.status, 200, "{charged} {currency}: {}", paid.json());
        let refund = |amount: i64| format!("payment_intent={}&amount={amount}", paid.id());
        if let Some(amount) = not_refunded {
            let answer = bench.post("/v1/refunds", &refund(amount)).await;
            let refused: Value = answer.json()["error"]["param"].clone();
            assert_eq!((answer.status, refused), (400, json!("amount")), "{amount} {currency}");
        }
        let answer = bench.post("/v1/refunds", &refund(refunded)).await;
        assert_eq!(answer.status, 200, "{refunded} {currency}: {}", answer.json());
    }
    for unknown in ["zzq", "btc", "xdr"] {
        let body = format!("amount=500&currency={unknown}");
        let answer = bench.post("/v1/payment_intents", &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("currency")));
    }
}

#[tokio::test]
async fn should_retry_says_what_the_status_does_not() {
    // docs.stripe.com/error-low-level
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    // (fault, key, header)
    let rows = [
        ("lock_timeout_429", Some("a"), Some("true")),
        ("conflict_409", Some("b"), Some("true")),
        ("rate_limit_429", Some("c"), None),
        ("html_502_before", Some("d"), None),
        ("error_500", Some("e"), Some("false")),
        ("error_500", None, None),
        ("refused_400", Some("f"), Some("false")),
    ];
    for (kind, key, header) in rows {
        bench.fault(&format!(r#"{{"endpoint":"*/confirm","kind":"{kind}","count":1}}"#)).await;
        let answer = bench.try_post(&path, key, "payment_method=pm_card_visa").await.unwrap();
        assert_eq!(answer.header("stripe-should-retry"), header, "{kind} {key:?}");
    }
    let replayed = bench.post_with_key(&path, "e", "payment_method=pm_card_visa").await;
    assert_eq!(replayed.header("stripe-should-retry"), Some("false"));
    let declined =
        bench.post_with_key(&path, "g", "payment_method=pm_card_visa_chargeDeclined").await;
    assert_eq!(declined.header("stripe-should-retry"), Some("false"));
    let paid = bench.post_with_key(&path, "h", "payment_method=pm_card_visa").await;
    assert_eq!((paid.status, paid.header("stripe-should-retry")), (200, None));
}
