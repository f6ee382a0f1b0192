//! `flashsale payment`, against a running `flashsale up`.

use flashsale_errors::Reason;
use flashsale_proto::NamedChannel;
use flashsale_testbed::eventually;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    command::Flashsale,
    operator::{UNKNOWN, both, buy, contains_all, refused},
};

/// Runs a command that must be refused and names its request, with and without `--json`.
fn refusal(up: &Flashsale, args: &[&str], reason: Reason) -> Value {
    let human = up.say(args);
    assert_eq!((human.code, human.out.as_str()), (Some(1), ""), "{args:?}: {human:?}");
    contains_all(&human.err, &["The request was ", "--request-id", reason.as_str()]);
    contains_all(&human.err, &[reason.next_step()]);
    let said = up.say(&[args, &["--json"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{args:?}: {said:?}");
    let error = said.json()["error"].clone();
    assert_eq!(error["reason"], reason.as_str(), "{args:?}: {error}");
    error
}

/// One payment that waits while the provider is switched off, is charged, and is given back.
pub(crate) async fn payments_are_steered(up: &Flashsale, sale_id: &str, channel: NamedChannel) {
    let (human, breaker) = both(up, &["payment", "breaker"]);
    contains_all(&human, &["CLOSED", "AUTO", "0 open"]);
    assert_eq!((&breaker["force"], &breaker["changes"]), (&json!("AUTO"), &json!([])));

    let id = Uuid::new_v4().to_string();
    let off = ["payment", "breaker", "--set", "open", "--reason", "maintenance"];
    // Twice, once as text and once as JSON: the same request is the same decision.
    let (human, set) = both(up, &[&off[..], &["--request-id", &id]].concat());
    contains_all(&human, &["The force switch is OPEN for all instances."]);
    assert_eq!((&set["force"], &set["change"]["request_id"]), (&json!("OPEN"), &json!(id)));
    let (human, breaker) = both(up, &["payment", "breaker"]);
    contains_all(
        &human,
        &["OPEN: maintenance", "decided", &set["change"]["caller"].to_string().replace('"', "")],
    );
    assert_eq!(breaker["changes"].as_array().unwrap().len(), 1);

    let order = buy(channel, sale_id, "hopper-2", "pm_card_visa").await.order_id;
    let due = ["payment", "list", "--sale", sale_id, "--state", "due"];
    eventually("its payment is recorded", || async {
        let listed = up.say(&[&due[..], &["--json"]].concat()).json();
        (listed["payments"][0]["order_id"] == order.as_str()).then_some(())
    })
    .await;
    let (human, listed) = both(up, &due);
    contains_all(&human, &["order", "failures", &order, "DUE", "18.50 EUR"]);
    assert_eq!((&listed["more"], &listed["payments"][0]["stuck"]), (&json!(false), &json!(false)));
    let (human, shown) = both(up, &["payment", "show", &order]);
    contains_all(&human, &[&order, "DUE", sale_id, "18.50 EUR", "attempts  0"]);
    assert_eq!((&shown["state"], &shown["payment_intent"]), (&json!("DUE"), &json!("")));
    let (human, _) = both(up, &["payment", "retry", &order]);
    contains_all(&human, &[&order, "is looked at from 20"]);
    let (human, none) = both(up, &["payment", "list", "--stuck"]);
    assert_eq!((human.trim(), &none["payments"]), ("No payments.", &json!([])));
    let far = ["payment", "list", "--due-before", "2020-01-01T00:00:00Z"];
    assert_eq!(both(up, &far).1["payments"], json!([]));

    let abandon = ["payment", "abandon", &order, "--reason", "it hangs"];
    let error = refusal(up, &abandon, Reason::PaymentNotAbandonable);
    assert_eq!(error["metadata"]["obstacle"], "no_intent");

    let on = ["payment", "breaker", "--set", "closed", "--reason", "the breaker is wrong"];
    let error = refusal(up, &on, Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "expire_time");
    let too_long = [&on[..], &["--seconds", "700"]].concat();
    contains_all(&up.say(&too_long).err, &["expire_time", "10 minutes", "--until"]);
    let said = up.say(&[&on[..], &["--seconds", "60"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    contains_all(&said.out, &["The force switch is CLOSED for all instances until 20"]);
    eventually("it is paid", || async {
        let shown = up.say(&["payment", "show", &order, "--json"]).json();
        (shown["state"] == "SUCCEEDED").then_some(())
    })
    .await;
    let auto = ["payment", "breaker", "--set", "auto", "--reason", "it is over"];
    assert_eq!(both(up, &auto).1["force"], "AUTO");
    let error = refusal(up, &abandon, Reason::PaymentNotAbandonable);
    assert_eq!(error["metadata"]["obstacle"], "has_ended");
    let (human, _) = both(up, &["payment", "retry", &order]);
    contains_all(&human, &["has ended: SUCCEEDED."]);

    paces_are_set(up);

    let part = ["payment", "refund", &order, "--amount", "1.50", "--reason", "late"];
    both(up, &part);
    let refund = ["payment", "refund", &order];
    both(up, &refund);
    eventually("the money is back", || async {
        let shown = up.say(&["payment", "show", &order, "--json"]).json();
        (shown["state"] == "REFUNDED").then_some(())
    })
    .await;
    contains_all(&both(up, &refund).0, &["is refunded."]);
    let refunded = ["payment", "list", "--state", "refunded", "--limit", "1"];
    let (human, listed) = both(up, &refunded);
    contains_all(&human, &[&order, "REFUNDED"]);
    assert_eq!(listed["payments"][0]["captured"]["amount"], "18.50 EUR");
    let two = up.say(&["payment", "list", "--limit", "1"]);
    contains_all(&two.out, &["There are more"]);

    unknown_payments_and_bad_command_lines_are_told(up);
}

fn paces_are_set(up: &Flashsale) {
    let (human, budgets) = both(up, &["payment", "budget"]);
    contains_all(&human, &["endpoint", "configured/s", "payment_intents.confirm"]);
    assert_eq!(budgets["budgets"][0]["endpoint"], "all");
    let confirm = ["payment", "budget", "payment_intents.confirm"];
    let slow = [&confirm[..], &["--per-s", "3.5", "--reason", "others need it"]].concat();
    assert_eq!(both(up, &slow).1["budget"]["set_per_s"], 3.5);
    contains_all(&both(up, &["payment", "budget"]).0, &["3.5", "others need it", "decided"]);
    let back = [&confirm[..], &["--reset", "--reason", "done"]].concat();
    assert_eq!(both(up, &back).1["budget"]["set_per_s"], Value::Null);
    let too_fast = [&confirm[..], &["--per-s", "20000", "--reason", "hurry"]].concat();
    let error = refusal(up, &too_fast, Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "per_s");
    let nowhere = ["payment", "budget", "charges", "--per-s", "1", "--reason", "hurry"];
    let error = refusal(up, &nowhere, Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "endpoint");
}

fn unknown_payments_and_bad_command_lines_are_told(up: &Flashsale) {
    refused(up, &["payment", "show", UNKNOWN], Reason::PaymentNotFound);
    refused(up, &["payment", "retry", UNKNOWN], Reason::PaymentNotFound);
    refusal(up, &["payment", "refund", UNKNOWN], Reason::PaymentNotFound);
    let abandon = ["payment", "abandon", UNKNOWN, "--reason", "it hangs"];
    refusal(up, &abandon, Reason::PaymentNotFound);
    let (_, error) = refused(up, &["payment", "show", "not-an-id"], Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "order_id");
    let (_, error) =
        refused(up, &["payment", "list", "--sale", "not-an-id"], Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "sale_id");
    let (_, error) =
        refused(up, &["payment", "list", "--stuck", "--state", "failed"], Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "state");
    let said = up.say(&["payment", "list", "--due-before", "tomorrow"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    contains_all(&said.err, &["tomorrow", "is not a time such as 2026-11-30T20:00:00Z"]);
    for wrong in [
        &["breaker", "--set", "open"][..],
        &["breaker", "--reason", "why"],
        &["breaker", "--set", "ajar", "--reason", "why"],
        &["budget", "all"],
        &["budget", "all", "--per-s", "1"],
        &["budget", "all", "--per-s", "1", "--reset", "--reason", "both"],
        &["budget", "--per-s", "1", "--reason", "where"],
        &["abandon", UNKNOWN],
        &["list", "--limit", "0"],
        &["list", "--state", "lost"],
    ] {
        let said = up.say(&[&["payment"], wrong].concat());
        assert_eq!(said.code, Some(2), "{wrong:?}: {said:?}");
    }
}
