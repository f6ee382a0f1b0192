//! `flashsale stock adjust` and `flashsale stock history`, against a running `flashsale up`.

use flashsale_errors::Reason;
use serde_json::json;
use uuid::Uuid;

use crate::{
    command::Flashsale,
    operator::{both, contains_all, refused},
};

const SKU: &str = "TW-CAP-OLV";

/// Adds units to an open sale and withdraws as many; it has `allotted` before and after.
pub(crate) fn stock_is_adjusted_and_its_history_shown(
    up: &Flashsale,
    sale_id: &str,
    allotted: i64,
) {
    let history = ["stock", "history", "--sale", sale_id];
    assert_eq!(both(up, &history).1["adjustments"], json!([]));

    let adjust = ["stock", "adjust", "--sale", sale_id, "--sku", SKU];
    let change = |change: &[&str], from: i64, to: i64| {
        let request_id = Uuid::new_v4().to_string();
        let reason = ["--reason", "counted again", "--request-id", &request_id];
        // Twice, once as text and once as JSON: the same request is the same change.
        let (human, answer) = both(up, &[&adjust[..], change, &reason].concat());
        let said = format!("{:+} of {SKU}: allotted {from} before, {to} now.", to - from);
        contains_all(&human, &[&said, "available"]);
        assert_eq!(answer["adjustment"]["request_id"], request_id.as_str());
        assert_eq!(answer["adjustment"]["state"], "DONE");
        let books = &answer["stock"];
        assert_eq!((&books["allotted"], &books["available"]), (&json!(to), &json!(to)));
    };
    change(&["--add", "5"], allotted, allotted + 5);
    change(&["--withdraw", "5"], allotted + 5, allotted);

    let request_id = Uuid::new_v4().to_string();
    let args = ["--withdraw", "1000", "--reason", "too many", "--request-id", &request_id];
    let too_many = [&adjust[..], &args].concat();
    let human = up.say(&too_many);
    assert_eq!((human.code, human.out.as_str()), (Some(1), ""), "{human:?}");
    contains_all(&human.err, &[Reason::UnitsCommitted.as_str(), &request_id, "--request-id"]);
    let error = up.say(&[&too_many[..], &["--json"]].concat()).json()["error"].clone();
    assert_eq!(error["reason"], Reason::UnitsCommitted.as_str());
    assert_eq!(error["metadata"]["available"], allotted.to_string());
    let nowhere = ["stock", "adjust", "--sale", sale_id, "--sku", "no-such-sku", "--add", "1"];
    let said = up.say(&[&nowhere[..], &["--reason", "found", "--json"]].concat());
    assert_eq!(said.json()["error"]["reason"], Reason::SkuNotFound.as_str());
    for wrong in
        [&["--reason", "nothing"][..], &["--add", "1", "--withdraw", "1", "--reason", "both"]]
    {
        let said = up.say(&[&adjust[..], wrong].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
    }

    let (human, shown) = both(up, &history);
    contains_all(
        &human,
        &["asked at", SKU, "+5", "-5", "-1000", "DONE", "REFUSED", "counted again"],
    );
    let shown: Vec<_> = shown["adjustments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|adjustment| (adjustment["delta"].as_i64().unwrap(), adjustment["state"].clone()))
        .collect();
    assert_eq!(shown, [(-1_000, json!("REFUSED")), (-5, json!("DONE")), (5, json!("DONE"))]);
    refused(up, &["stock", "history", "--sale", &Uuid::new_v4().to_string()], Reason::SaleNotFound);
}
