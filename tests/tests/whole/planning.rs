//! `flashsale sale schedule`, `update`, `pause`, `resume`, `cancel` and `changes`.

use flashsale_errors::Reason;
use serde_json::json;

use crate::{
    command::Flashsale,
    operator::{both, contains_all, refused},
};

/// A draft of one item.
fn draft(up: &Flashsale, sku: &str) -> String {
    let item = format!("{sku}=19.90=10");
    let said = up.say(&["sale", "create", "--currency", "EUR", "--item", &item, "--json"]);
    said.json()["sale_id"].as_str().unwrap().to_owned()
}

const WINDOW: [&str; 6] =
    ["--starts-at", "2040-11-27T10:00", "--for", "2h", "--time-zone", "Europe/Berlin"];

pub(crate) fn a_sale_is_planned_changed_and_called_off(up: &Flashsale) {
    let sale = draft(up, "PLANNED");
    let schedule = ["sale", "schedule", &sale];
    for (args, field, remedy) in [
        (
            ["--starts-at", "2040-11-27T10:00", "--time-zone", "Europe/Berln"],
            "--time-zone",
            "did you mean Europe/Berlin",
        ),
        (
            ["--starts-at", "2040-03-25T02:30", "--time-zone", "Europe/Berlin"],
            "--starts-at",
            "2040-03-25T03:30:00+02:00",
        ),
        (
            ["--starts-at", "2040-10-28T02:30", "--time-zone", "Europe/Berlin"],
            "--starts-at",
            "2040-10-28T02:30:00+01:00",
        ),
        (
            ["--starts-at", "2040-11-27T10:00Z", "--ends-at", "2040-11-27T12:00"],
            "--ends-at",
            "--time-zone",
        ),
    ] {
        let (human, error) = refused(up, &[&schedule[..], &args].concat(), Reason::ArgumentInvalid);
        assert_eq!(error["fields"][0]["field"], field, "{error}");
        contains_all(&human, &[remedy]);
    }
    let backwards = ["--starts-at", "2040-11-27T10:00Z", "--ends-at", "2040-11-27T09:00Z"];
    refused(up, &[&schedule[..], &backwards].concat(), Reason::ArgumentInvalid);
    let past = ["--starts-at", "2020-11-27T10:00Z", "--for", "2h"];
    refused(up, &[&schedule[..], &past].concat(), Reason::ArgumentInvalid);

    let (human, planned) = both(up, &[&schedule[..], &WINDOW].concat());
    contains_all(&human, &["SCHEDULED", "2040-11-27T09:00:00Z to 2040-11-27T11:00:00Z"]);
    assert_eq!(planned["state"], "SCHEDULED");

    let other = draft(up, "PLANNED");
    let beside = [&["sale", "schedule", &other][..], &WINDOW].concat();
    let (_, error) = refused(up, &beside, Reason::ScheduleConflict);
    let metadata = &error["metadata"];
    assert_eq!((&metadata["sku"], &metadata["other_sale_id"]), (&json!("PLANNED"), &json!(sale)));
    let (_, allowed) = both(up, &[&beside[..], &["--allow-shared-skus"]].concat());
    assert_eq!(
        (&allowed["state"], &allowed["allow_shared_skus"]),
        (&json!("SCHEDULED"), &json!(true))
    );

    let version = planned["version"].to_string();
    let update = ["sale", "update", &sale, "--version", &version, "--reason", "a better name"];
    let renamed = up.say(&[&update[..], &["--name", "Planned drop", "--json"]].concat()).json();
    assert_eq!(renamed["name"], "Planned drop");
    let stale = [&update[..], &["--name", "Another"]].concat();
    let (_, error) = refused(up, &stale, Reason::SaleVersionConflict);
    assert_eq!(error["metadata"]["version"], version.as_str());
    assert_eq!(up.say(&["sale", "update", &sale]).code, Some(2), "something has to change");

    let cancel = ["sale", "cancel", &sale];
    for _ in 0..2 {
        let (human, cancelled) = both(up, &cancel);
        contains_all(&human, &[&sale, "CANCELLED"]);
        assert_eq!(cancelled["state"], "CANCELLED");
    }
    refused(up, &["sale", "start", &sale], Reason::SaleStateConflict);

    let (human, listed) = both(up, &["sale", "changes", &sale]);
    contains_all(
        &human,
        &["CANCEL", "UPDATE", "a better name", "Planned drop", "SCHEDULE", "CREATE"],
    );
    let changes = listed["changes"].as_array().unwrap();
    let kinds: Vec<&str> = changes.iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"CANCEL"), Some(&"CREATE")), "{listed}");
    let update = changes.iter().find(|change| change["kind"] == "UPDATE").unwrap();
    assert_eq!(
        update["changed"],
        json!([{ "field": "name", "before": "Flash sale", "after": "Planned drop" }])
    );
    assert_ne!(update["actor"], "", "{update}");

    // The other one has the sku for itself now.
    both(up, &["sale", "cancel", &other]);
}

pub(crate) fn an_open_sale_is_paused_and_resumed(up: &Flashsale) {
    let sale = draft(up, "PAUSED-ITEM");
    refused(up, &["sale", "pause", &sale], Reason::SaleStateConflict);
    both(up, &["sale", "start", &sale]);
    for (command, state) in [("pause", "PAUSED"), ("resume", "OPEN")] {
        let (human, changed) = both(up, &["sale", command, &sale]);
        contains_all(&human, &[&sale, state]);
        assert_eq!(changed["state"], state);
    }
    refused(up, &["sale", "cancel", &sale], Reason::SaleStateConflict);
    both(up, &["sale", "end", &sale]);
}
