//! PaymentIntents, charges and refunds, over raw HTTP. Each row names the page it comes from.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{AUTH, bench, exchange, request};
use serde_json::json;

const TESTING: &str = "docs.stripe.com/testing";
const ACH: &str = "docs.stripe.com/payments/ach-direct-debit/accept-a-payment";

#[tokio::test]
async fn test_cards_end_as_documented() {
    let bench = bench(|_| {}).await;
    // (page, method, HTTP status, code, decline_code, intent's status)
    let pay = "requires_payment_method";
    let rows = [
        (TESTING, "pm_card_visa", 200, "", "", "succeeded"),
        (TESTING, "pm_card_visa_debit", 200, "", "", "succeeded"),
        (TESTING, "pm_card_mastercard", 200, "", "", "succeeded"),
        (TESTING, "pm_card_amex", 200, "", "", "succeeded"),
        (TESTING, "pm_card_visa_chargeDeclined", 402, "card_declined", "generic_decline", pay),
        (TESTING, "pm_card_chargeDeclined", 402, "card_declined", "generic_decline", pay),
        (
            TESTING,
            "pm_card_visa_chargeDeclinedInsufficientFunds",
            402,
            "card_declined",
            "insufficient_funds",
            pay,
        ),
        (
            TESTING,
            "pm_card_chargeDeclinedInsufficientFunds",
            402,
            "card_declined",
            "insufficient_funds",
            pay,
        ),
        (TESTING, "pm_card_visa_chargeDeclinedLostCard", 402, "card_declined", "lost_card", pay),
        (
            TESTING,
            "pm_card_visa_chargeDeclinedStolenCard",
            402,
            "card_declined",
            "stolen_card",
            pay,
        ),
        (TESTING, "pm_card_chargeDeclinedExpiredCard", 402, "expired_card", "expired_card", pay),
        (TESTING, "pm_card_chargeDeclinedIncorrectCvc", 402, "incorrect_cvc", "incorrect_cvc", pay),
        (
            TESTING,
            "pm_card_chargeDeclinedProcessingError",
            402,
            "processing_error",
            "processing_error",
            pay,
        ),
        (TESTING, "pm_card_authenticationRequired", 200, "", "", "requires_action"),
        (TESTING, "pm_card_threeDSecure2Required", 200, "", "", "requires_action"),
        (ACH, "pm_usBankAccount_processing", 200, "", "", "processing"),
    ];
    for (page, method, status, code, decline_code, intent_status) in rows {
        let id = bench.intent().await;
        let answer = bench.confirm(&id, method).await;
        let body = answer.json();
        assert_eq!(answer.status, status, "{page} {method}: {body}");
        let intent = bench.get(&format!("/v1/payment_intents/{id}")).await.json();
        assert_eq!(intent["status"], intent_status, "{page} {method}");
        let received = if intent_status == "succeeded" { 500 } else { 0 };
        assert_eq!(intent["amount_received"], received, "{page} {method}");
        if status == 402 {
            let error = &body["error"];
            assert_eq!(error["type"], "card_error", "{page} {method}");
            assert_eq!(error["code"], code, "{page} {method}");
            assert_eq!(error["decline_code"], decline_code, "{page} {method}");
            assert_eq!(error["payment_intent"]["id"], json!(id), "{page} {method}");
            assert_eq!(intent["last_payment_error"]["code"], code, "{page} {method}");
            assert_eq!(intent["payment_method"], json!(null), "{page} {method}");
            assert_eq!(error["charge"], intent["latest_charge"], "{page} {method}");
        }
    }
}

#[tokio::test]
async fn declined_intent_accepts_another_card() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    assert_eq!(bench.confirm(&id, "pm_card_visa_chargeDeclined").await.status, 402);
    assert_eq!(bench.confirm(&id, "pm_card_visa").await.status, 200);
    let again = bench.confirm(&id, "pm_card_visa").await;
    assert_eq!((again.status, again.code().as_str()), (400, "payment_intent_unexpected_state"));
    assert_eq!(again.json()["error"]["payment_intent"]["status"], "succeeded");

    let captured = bench.logged("payment_intent.captured");
    assert_eq!(captured.len(), 1);
    let line = &captured[0];
    let facts = ["payment_intent", "amount", "currency", "order_id", "sale_id"];
    let expected = [json!(id), json!(500), json!("usd"), json!("o-1"), json!("s-1")];
    for (name, value) in facts.iter().zip(expected) {
        assert_eq!(line[*name], value, "{name}");
    }
    assert_eq!(bench.logged("payment_intent.declined").len(), 1);

    let charges = bench.get(&format!("/v1/charges?payment_intent={id}")).await.json();
    let statuses: Vec<_> =
        charges["data"].as_array().unwrap().iter().map(|c| &c["status"]).collect();
    assert_eq!(statuses, ["succeeded", "failed"]);
    assert_eq!(line["charge"], charges["data"][0]["id"]);
}

#[tokio::test]
async fn transitions_outside_lifecycle_are_refused() {
    // docs.stripe.com/payments/paymentintents/lifecycle, docs.stripe.com/api/payment_intents/cancel
    let bench = bench(|_| {}).await;
    // (method to confirm with first, then confirm is answered, then cancel is answered)
    let rows = [
        (None, 200, 400),
        (Some("pm_card_visa"), 400, 400),
        (Some("pm_card_visa_chargeDeclined"), 200, 400),
        (Some("pm_card_authenticationRequired"), 400, 200),
        (Some("pm_usBankAccount_processing"), 400, 200),
    ];
    for (first, confirm, cancel) in rows {
        let id = bench.intent().await;
        if let Some(method) = first {
            bench.confirm(&id, method).await;
        }
        let answer = bench.confirm(&id, "pm_card_visa").await;
        assert_eq!(answer.status, confirm, "confirm after {first:?}: {}", answer.json());
        let answer = bench.post(&format!("/v1/payment_intents/{id}/cancel"), "").await;
        assert_eq!(answer.status, cancel, "cancel after {first:?}: {}", answer.json());
        if cancel == 400 {
            assert_eq!(answer.code(), "payment_intent_unexpected_state");
        }
    }
}

#[tokio::test]
async fn cancelled_intent_takes_no_money() {
    // docs.stripe.com/api/payment_intents/cancel: "any operations on the PaymentIntent fail"
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/cancel");
    let odd = bench.post(&path, "cancellation_reason=bored").await;
    assert_eq!(odd.status, 400);
    let cancelled = bench.post(&path, "cancellation_reason=abandoned").await.json();
    assert_eq!(cancelled["status"], "canceled");
    assert_eq!(cancelled["cancellation_reason"], "abandoned");
    assert!(cancelled["canceled_at"].is_i64());
    assert_eq!(bench.confirm(&id, "pm_card_visa").await.status, 400);
    assert_eq!(bench.post(&path, "").await.status, 400);
    assert_eq!(bench.logged("payment_intent.canceled").len(), 1);
    assert!(bench.logged("payment_intent.captured").is_empty());
}

#[tokio::test]
async fn three_d_secure_succeeds_or_can_be_retried() {
    // docs.stripe.com/payments/3d-secure/authentication-flow
    let bench = bench(|_| {}).await;
    let insufficient = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds";
    let rows = [
        ("pm_card_authenticationRequired", "success", "succeeded", json!(null)),
        (
            "pm_card_authenticationRequired",
            "fail",
            "requires_payment_method",
            json!("payment_intent_authentication_failure"),
        ),
        (insufficient, "success", "requires_payment_method", json!("card_declined")),
    ];
    for (method, outcome, status, code) in rows {
        let id = bench.intent().await;
        let path = format!("/v1/payment_intents/{id}/confirm");
        let body = format!("payment_method={method}&return_url=https://shop.example/back");
        let waiting = bench.post(&path, &body).await.json();
        assert_eq!(waiting["next_action"]["type"], "redirect_to_url");
        let back = &waiting["next_action"]["redirect_to_url"]["return_url"];
        assert_eq!(back, "https://shop.example/back");
        let came = format!(r#"{{"outcome":"{outcome}"}}"#);
        let path = format!("/authenticate/{id}");
        assert_eq!(bench.control("POST", &path, &came).await.status, 200);
        let intent = bench.get(&format!("/v1/payment_intents/{id}")).await.json();
        assert_eq!(intent["status"], status, "{method} {outcome}");
        assert_eq!(intent["last_payment_error"]["code"], code, "{method} {outcome}");
        assert_eq!(intent["next_action"], json!(null));
        assert_eq!(bench.control("POST", &path, &came).await.status, 400, "only once");
    }
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
    assert_eq!(bench.logged("payment_intent.requires_action").len(), 3);
}

#[tokio::test]
async fn action_without_return_url_uses_sdk() {
    // docs.stripe.com/api/payment_intents/object, next_action
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let waiting = bench.confirm(&id, "pm_card_threeDSecure2Required").await.json();
    assert_eq!(waiting["next_action"]["type"], "use_stripe_sdk");
}

#[tokio::test]
async fn off_session_payment_cannot_authenticate() {
    // docs.stripe.com/declines/codes, authentication_required
    let bench = bench(|_| {}).await;
    for option in ["off_session=true", "error_on_requires_action=true"] {
        let id = bench.intent().await;
        let path = format!("/v1/payment_intents/{id}/confirm");
        let body = format!("payment_method=pm_card_authenticationRequired&{option}");
        let answer = bench.post(&path, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (402, "authentication_required"));
        assert_eq!(bench.status(&id).await, "requires_payment_method");
    }
}

#[tokio::test]
async fn declined_create_and_confirm_keeps_the_intent() {
    // docs.stripe.com/api/payment_intents/create, confirm
    let bench = bench(|_| {}).await;
    let body = |method: &str| {
        format!(
            "amount=700&currency=eur&confirm=true&payment_method={method}\
             &automatic_payment_methods[enabled]=true\
             &automatic_payment_methods[allow_redirects]=never"
        )
    };
    let paid = bench.post("/v1/payment_intents", &body("pm_card_visa")).await;
    assert_eq!(paid.json()["status"], "succeeded");
    let declined = bench.post("/v1/payment_intents", &body("pm_card_visa_chargeDeclined")).await;
    assert_eq!(declined.status, 402);
    let id = declined.json()["error"]["payment_intent"]["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.status(&id).await, "requires_payment_method");
}

#[tokio::test]
async fn intent_with_method_waits_for_confirmation() {
    // docs.stripe.com/payments/paymentintents/lifecycle, requires_confirmation
    let bench = bench(|_| {}).await;
    let body = "amount=500&currency=usd&payment_method=pm_card_visa\
                &allowed_payment_method_types[0]=card";
    let created = bench.post("/v1/payment_intents", body).await;
    assert_eq!(created.json()["status"], "requires_confirmation");
    let id = created.id();
    let paid = bench.post(&format!("/v1/payment_intents/{id}/confirm"), "").await.json();
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(paid["payment_method"], created.json()["payment_method"]);
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let create = "/v1/payment_intents".to_owned();
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let codes = "docs.stripe.com/error-codes";
    let amounts = "docs.stripe.com/currencies#minimum-and-maximum-charge-amounts";
    let endive = "docs.stripe.com/changelog/endive/2026-09-30";
    let dahlia = "docs.stripe.com/changelog/dahlia/2026-07-29";
    let creating = "docs.stripe.com/api/payment_intents/create";
    // (page, path, body, code, param)
    let rows = [
        (codes, &create, "currency=usd", "parameter_missing", "amount"),
        (codes, &create, "amount=500", "parameter_missing", "currency"),
        (codes, &create, "amount=-5&currency=usd", "parameter_invalid_integer", "amount"),
        (codes, &create, "amount=5.5&currency=usd", "parameter_invalid_integer", "amount"),
        (amounts, &create, "amount=49&currency=usd", "amount_too_small", "amount"),
        (amounts, &create, "amount=29&currency=gbp", "amount_too_small", "amount"),
        (creating, &create, "amount=100000000&currency=usd", "amount_too_large", "amount"),
        (codes, &create, "amount=500&currency=zzq", "parameter_invalid_string", "currency"),
        (codes, &create, "amonut=500&currency=usd", "parameter_unknown", "amonut"),
        (creating, &create, "amount=500&currency=usd&return_url=x", "", "return_url"),
        (
            endive,
            &create,
            "amount=500&currency=usd&payment_method_types[]=card",
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        ),
        (
            dahlia,
            &create,
            "amount=500&currency=usd&allowed_payment_method_types[]=card\
             &automatic_payment_methods[enabled]=true",
            "",
            "automatic_payment_methods",
        ),
        (codes, &confirm, "payment_method=pm_nonsense", "resource_missing", "payment_method"),
        (codes, &confirm, "nonsense=1", "parameter_unknown", "nonsense"),
        (codes, &confirm, "", "payment_intent_unexpected_state", ""),
    ];
    for (page, path, body, code, param) in rows {
        let answer = bench.post(path, body).await;
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, 400, "{page} {body}: {error}");
        assert_eq!(error["type"], "invalid_request_error", "{page} {body}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{page} {body}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{page} {body}");
    }
    assert_eq!(bench.state().await["payment_intents"]["total"], 1, "nothing was created");
}

#[tokio::test]
async fn older_version_takes_payment_method_types() {
    // docs.stripe.com/api/versioning
    let bench = bench(|_| {}).await;
    let body = "amount=500&currency=usd&payment_method_types[]=card";
    let headers = [AUTH, ("Stripe-Version", "2025-09-30.clover")];
    let raw = request("POST", "/v1/payment_intents", &headers, body);
    let answer = exchange(bench.addr(), &raw).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("stripe-version"), Some("2025-09-30.clover"));
    assert_eq!(answer.json()["payment_method_types"], json!(["card"]));
}

#[tokio::test]
async fn redirecting_methods_need_a_return_url() {
    // docs.stripe.com/api/payment_intents/create, automatic_payment_methods.allow_redirects
    let bench = bench(|_| {}).await;
    for options in ["", "&automatic_payment_methods[enabled]=true"] {
        let body = format!("amount=500&currency=usd{options}");
        let id = bench.post("/v1/payment_intents", &body).await.id();
        let refused = bench.confirm(&id, "pm_card_visa").await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!("return_url"))
        );
        let body = "payment_method=pm_card_visa&return_url=https%3A%2F%2Fshop.example";
        let paid = bench.post(&format!("/v1/payment_intents/{id}/confirm"), body).await;
        assert_eq!(paid.status, 200, "{}", paid.json());
    }
}

#[tokio::test]
async fn metadata_has_its_documented_limits() {
    // docs.stripe.com/api/metadata
    let bench = bench(|_| {}).await;
    let many: String = (0..51).map(|n| format!("&metadata[k{n}]=v")).collect();
    let long_name = format!("&metadata[{}]=v", "k".repeat(41));
    let long_value = format!("&metadata[k]={}", "v".repeat(501));
    for bad in [many, long_name, long_value] {
        let body = format!("amount=500&currency=usd{bad}");
        let answer = bench.post("/v1/payment_intents", &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("metadata")));
    }
}

#[tokio::test]
async fn only_a_test_key_is_accepted() {
    // docs.stripe.com/api/authentication
    let bench = bench(|_| {}).await;
    let rows: [(&[(&str, &str)], u16); 4] = [
        (&[], 401),
        (&[("Authorization", "Bearer sk_live_x")], 401),
        (&[("Authorization", "sk_test_x")], 401),
        (&[("Authorization", "Bearer sk_test_anything")], 200),
    ];
    for (headers, status) in rows {
        let raw = request("GET", "/v1/payment_intents", headers, "");
        let answer = exchange(bench.addr(), &raw).await.unwrap();
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
}

#[tokio::test]
async fn missing_objects_answer_404() {
    // docs.stripe.com/error-codes#resource-missing, docs.stripe.com/api/errors
    let bench = bench(|_| {}).await;
    let rows = [
        ("GET", "/v1/payment_intents/pi_none", "resource_missing"),
        ("GET", "/v1/refunds/re_none", "resource_missing"),
        ("POST", "/v1/payment_intents/pi_none/confirm", "resource_missing"),
        ("POST", "/v1/payment_intents/pi_none/cancel", "resource_missing"),
        ("POST", "/v1/refunds?x", "parameter_missing"),
        ("GET", "/v1/nonsense", ""),
        ("DELETE", "/v1/payment_intents", ""),
    ];
    for (method, path, code) in rows {
        let raw = request(method, path, &[AUTH], "");
        let answer = exchange(bench.addr(), &raw).await.unwrap();
        let status = if code == "parameter_missing" { 400 } else { 404 };
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
    let refund = bench.post("/v1/refunds", "payment_intent=pi_none").await;
    assert_eq!((refund.status, refund.code().as_str()), (404, "resource_missing"));
}

#[tokio::test]
async fn partial_refunds_add_up() {
    // docs.stripe.com/api/refunds/create
    let bench = bench(|_| {}).await;
    let id = bench.paid().await;
    let whole = format!("payment_intent={id}");
    let part = bench.post("/v1/refunds", &format!("{whole}&amount=200&reason=duplicate")).await;
    assert_eq!(part.json()["status"], "succeeded");
    assert_eq!(part.json()["amount"], 200);
    let too_much = bench.post("/v1/refunds", &format!("{whole}&amount=301")).await;
    assert_eq!((too_much.status, &too_much.json()["error"]["param"]), (400, &json!("amount")));
    let rest = bench.post("/v1/refunds", &whole).await.json();
    assert_eq!(rest["amount"], 300);
    let again = bench.post("/v1/refunds", &whole).await;
    assert_eq!((again.status, again.code().as_str()), (400, "charge_already_refunded"));

    let charge = bench.get(&format!("/v1/charges?payment_intent={id}")).await.json();
    assert_eq!(charge["data"][0]["amount_refunded"], 500);
    assert_eq!(charge["data"][0]["refunded"], true);
    let by_charge = charge["data"][0]["id"].as_str().unwrap();
    for filter in [format!("payment_intent={id}"), format!("charge={by_charge}")] {
        let refunds = bench.get(&format!("/v1/refunds?{filter}")).await.json();
        let amounts: Vec<_> =
            refunds["data"].as_array().unwrap().iter().map(|r| r["amount"].clone()).collect();
        assert_eq!(amounts, [json!(300), json!(200)], "{filter}");
    }
    let one = bench.get(&format!("/v1/refunds/{}", part.id())).await.json();
    assert_eq!(one["amount"], 200);
    let logged = bench.logged("payment_intent.refunded");
    let sums: Vec<_> = logged.iter().map(|line| line["amount"].clone()).collect();
    assert_eq!(sums, [json!(200), json!(300)]);
    assert_eq!(logged[0]["refund"], json!(part.id()));
    assert_eq!(logged[0]["order_id"], "o-1");
    assert_eq!(bench.status(&id).await, "succeeded", "a refund does not change the intent");
}

#[tokio::test]
async fn uncharged_intent_cannot_be_refunded() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    bench.confirm(&id, "pm_card_visa_chargeDeclined").await;
    let refused = bench.post("/v1/refunds", &format!("payment_intent={id}")).await;
    assert_eq!(refused.status, 400, "{}", refused.json());
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    // docs.stripe.com/api/pagination, docs.stripe.com/api/payment_intents/list
    let bench = bench(|_| {}).await;
    let mut made = Vec::new();
    for _ in 0..12 {
        made.push(bench.intent().await);
    }
    made.reverse();
    let page = async |query: String| {
        let list = bench.get(&format!("/v1/payment_intents{query}")).await.json();
        assert_eq!(list["object"], "list");
        let ids: Vec<String> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|intent| intent["id"].as_str().unwrap().to_owned())
            .collect();
        (ids, list["has_more"].as_bool().unwrap())
    };
    assert_eq!(page(String::new()).await, (made[..10].to_vec(), true), "ten unless said otherwise");
    let after = format!("?limit=5&starting_after={}", made[4]);
    assert_eq!(page(after).await, (made[5..10].to_vec(), true));
    let last = format!("?limit=5&starting_after={}", made[9]);
    assert_eq!(page(last).await, (made[10..].to_vec(), false));
    let before = format!("?limit=3&ending_before={}", made[5]);
    assert_eq!(page(before).await, (made[2..5].to_vec(), true));
    let intent = bench.get(&format!("/v1/payment_intents/{}", made[0])).await.json();
    let created = intent["created"].as_i64().unwrap();
    assert_eq!(page(format!("?created[gte]={}", created + 1)).await, (vec![], false));
    let all = page(format!("?limit=100&created[gte]={}", created - 60)).await;
    assert_eq!(all, (made.clone(), false));
    for bad in ["limit=0", "limit=101", "created[gte]=x", "starting_after=pi_none", "nonsense=1"] {
        let answer = bench.get(&format!("/v1/payment_intents?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn oversized_body_is_refused() {
    let bench = bench(|_| {}).await;
    let body = format!("amount=500&currency=usd&description={}", "x".repeat(70_000));
    assert_eq!(bench.post("/v1/payment_intents", &body).await.status, 413);
}

#[tokio::test]
async fn search_lags_and_finds_by_metadata() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = "/v1/payment_intents/search?query=metadata%5B%27order_id%27%5D%3A%27o-1%27";
    let found = |answer: common::Answer| answer.json()["data"].as_array().unwrap().clone();
    assert!(found(bench.get(path).await).is_empty());
    assert_eq!(bench.control("POST", "/clock", r#"{"advance_ms":61000}"#).await.status, 200);
    let intents = found(bench.get(path).await);
    assert_eq!((intents.len(), intents[0]["id"].as_str()), (1, Some(id.as_str())));
    let other = "/v1/payment_intents/search?query=metadata%5B%27order_id%27%5D%3A%27o-2%27";
    assert!(found(bench.get(other).await).is_empty());
    let answer = bench.get("/v1/payment_intents/search?query=amount%3E5").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "parameter_invalid_string"));
}
