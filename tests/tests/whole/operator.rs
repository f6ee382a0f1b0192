//! The commands as an operator types them, against a running `flashsale up`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use flashsale_errors::Reason;
use flashsale_proto::{
    NamedChannel,
    checkout::{Line, Order, checkout_service_client::CheckoutServiceClient},
    waitingroom::{
        Outlook, WatchPositionRequest, waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_testbed::{buyer::Buyer, eventually};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    adjusting::stock_is_adjusted_and_its_history_shown,
    command::{Flashsale, Said, channel, flashsale, own_home, repository},
    paying::payments_are_steered,
    planning::{a_sale_is_planned_changed_and_called_off, an_open_sale_is_paused_and_resumed},
};

const SAMPLE: &str = "cli/samples/spring-drop.csv";
/// An id of no sale and no order.
pub(crate) const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// One test for all commands, because a start of the platform takes seconds.
#[tokio::test]
async fn printed_calls_and_commands_work() {
    let mut up = Flashsale::start(&["up", "--card-retry-ms", "2000"]);
    let printed = up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap().to_owned();
    let channel = channel(&about).await;

    the_printed_calls_answer_as_they_should(&printed);
    the_stock_is_shown(&up, &sale_id);
    a_sale_is_checked(&up, &sale_id);
    stock_is_adjusted_and_its_history_shown(&up, &sale_id, 30);
    a_sale_lives_by_commands_from_the_export_to_its_end(&up);
    a_sale_is_created_item_by_item(&up);
    a_sale_is_planned_changed_and_called_off(&up);
    an_open_sale_is_paused_and_resumed(&up);
    items_and_settings_that_make_no_sense_are_refused(&up);
    exports_with_a_fault_are_refused_whole(&up);
    exports_of_any_shop_are_imported(&up);
    unknown_and_malformed_ids_are_told_apart(&up, &sale_id);
    orders_are_shown_and_watched_to_their_end(&up, &sale_id, channel.clone()).await;
    payments_are_steered(&up, &sale_id, channel).await;
    what_cannot_be_recorded_is_listed_and_given_up(&up, &about, &sale_id).await;
    a_service_that_is_not_there_is_told_with_the_next_step(&up, &about);

    let log = about["folder"].as_str().unwrap().to_owned() + "/services.log";
    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
    assert_eq!(up.left_running(), Vec::<String>::new());
    assert!(!up.home().join("up.json").exists(), "it is not up any more");
    for text in [&printed, &said, &std::fs::read_to_string(log).unwrap()] {
        for secret in ["sk_test_", "whsec_", "pm_card_", "grace@example.com", "Grace H."] {
            assert!(!text.contains(secret), "{secret} was printed or logged:\n{text}");
        }
    }
}

/// The commands in a text: lines indented by two spaces; a backslash continues one.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("  ") else { continue };
        let mut command = command.to_owned();
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().unwrap());
        }
        commands.push(command);
    }
    commands
}

fn typed(command: &str) -> Said {
    Said::by(Command::new("bash").args(["-c", command]).stdin(Stdio::null()))
}

fn the_printed_calls_answer_as_they_should(printed: &str) {
    let commands = commands(printed);
    let [stock, join, reserve, table] = commands.as_slice() else {
        panic!("three calls and a command were to be printed:\n{printed}");
    };

    let said = typed(stock);
    assert_eq!(said.code, Some(0), "{stock}\n{said:?}");
    let skus = said.json()["stock"].as_array().unwrap().clone();
    assert_eq!(skus.len(), 12);
    for sku in skus {
        assert_eq!(sku["available"], sku["allotted"], "{sku}");
    }

    let said = typed(join);
    assert_eq!(said.code, Some(0), "{join}\n{said:?}");
    let joined = said.json();
    assert!(joined["ticket"].as_str().is_some_and(|ticket| ticket.len() > 20), "{joined}");
    assert_eq!(joined["position"]["number"], "1");
    let again = typed(join).json();
    assert_eq!(again["ticket"], joined["ticket"], "the same request has the same answer");

    let said = typed(reserve);
    assert_ne!(said.code, Some(0), "{reserve}\n{said:?}");
    let error: Value = serde_json::from_str(&said.err).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(error["code"], "permission_denied");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("ADMISSION_REQUIRED"), "{message}");
    assert!(message.contains(Reason::AdmissionRequired.next_step()), "{message}");

    let said = typed(table);
    assert_eq!(said.code, Some(0), "{table}\n{said:?}");
    assert!(said.out.contains("TW-MUG-01") && said.out.contains("available"), "{}", said.out);
}

/// Runs a command with and without `--json`; running it twice must change nothing.
pub(crate) fn both(up: &Flashsale, args: &[&str]) -> (String, Value) {
    let human = up.say(args);
    assert_eq!((human.code, human.err.as_str()), (Some(0), ""), "{args:?}: {human:?}");
    let said = up.say(&[args, &["--json"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}: {said:?}");
    (human.out, said.json())
}

/// Runs a command that must be refused, with and without `--json`: standard output has nothing but
/// the error as JSON.
pub(crate) fn refused(up: &Flashsale, args: &[&str], reason: Reason) -> (String, Value) {
    let human = up.say(args);
    assert_eq!((human.code, human.out.as_str()), (Some(1), ""), "{args:?}: {human:?}");
    assert!(human.err.starts_with(reason.as_str()), "{args:?}: {human:?}");
    assert!(human.err.contains(reason.next_step()), "{args:?}: {human:?}");
    let said = up.say(&[args, &["--json"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{args:?}: {said:?}");
    let error = said.json()["error"].clone();
    assert_eq!(error["reason"], reason.as_str(), "{args:?}: {error}");
    assert_eq!(error["next_step"], reason.next_step(), "{args:?}: {error}");
    (human.err, error)
}

pub(crate) fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn the_stock_is_shown(up: &Flashsale, sale_id: &str) {
    let (human, stock) = both(up, &["stock", "show", sale_id]);
    let columns = ["sku", "allotted", "available", "held", "placed", "sold", "price", "limit"];
    contains_all(&human, &columns);
    contains_all(&human, &["ON_SALE", "TW-CAP-OLV", "29.00 EUR"]);
    assert_eq!(stock["phase"], "ON_SALE");
    for at in ["starts_at", "ends_at"] {
        contains_all(&human, &[stock[at].as_str().filter(|at| !at.is_empty()).unwrap()]);
    }
    let (_, sale) = both(up, &["sale", "show", sale_id]);
    let skus = stock["stock"].as_array().unwrap();
    assert_eq!(skus.len(), 12);
    let sold = sale["items"].as_array().unwrap().iter().find(|item| item["sku"] == "TW-CAP-OLV");
    let sold = sold.unwrap();
    assert_eq!(
        skus[0],
        json!({
            "sku": "TW-CAP-OLV", "allotted": 30, "available": 30, "held": 0, "placed": 0, "sold": 0,
            "unit_price": sold["unit_price"], "per_buyer_limit": sold["per_buyer_limit"],
        })
    );
}

/// Runs `flashsale doctor` for people and for programs, and compares the exit code.
fn doctor(up: &Flashsale, args: &[&str], code: i32) -> (String, Value) {
    let args = [&["doctor"], args].concat();
    let human = up.say(&args);
    assert_eq!((human.code, human.err.as_str()), (Some(code), ""), "{args:?}: {human:?}");
    let said = up.say(&[&args[..], &["--json"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{args:?}: {said:?}");
    (human.out, said.json())
}

fn a_sale_is_checked(up: &Flashsale, sale_id: &str) {
    let (human, value) = doctor(up, &[sale_id], 0);
    contains_all(&human, &[sale_id, "verdict", "bound", "what to do", "prepared", "PASS"]);
    assert_eq!(value["sale_id"], sale_id);
    let verdict = |value: &Value, id: &str| {
        let checks = value["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == id).unwrap();
        check["verdict"].as_str().unwrap().to_owned()
    };
    for id in ["prepared", "conflicts", "record_clock", "stock_clock"] {
        assert_eq!(verdict(&value, id), "PASS", "{id}: {value}");
    }

    // A draft that begins now is only noted, and one of the same skus is refused when it starts.
    let create = |sku: &str| {
        let item = format!("{sku}=19.90=5");
        let made = up.say(&["sale", "create", "--currency", "EUR", "--item", &item, "--json"]);
        made.json()["sale_id"].as_str().unwrap().to_owned()
    };
    let own = create("OF-ITS-OWN");
    let (_, value) = doctor(up, &[&own], 0);
    assert_eq!(verdict(&value, "prepared"), "WARN");
    doctor(up, &[&own, "--strict"], 1);
    let (human, value) = doctor(up, &[&create("TW-CAP-OLV")], 1);
    assert_eq!(verdict(&value, "conflicts"), "FAIL");
    contains_all(&human, &["FAIL", "TW-CAP-OLV", sale_id]);

    let said = up.say(&["doctor", UNKNOWN]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.starts_with("SALE_NOT_FOUND"), "{said:?}");
}

fn id_in(human: &str) -> String {
    let id = human.strip_prefix("Sale ").and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(id.parse::<Uuid>().is_ok(), "{human}");
    id.to_owned()
}

fn a_sale_lives_by_commands_from_the_export_to_its_end(up: &Flashsale) {
    let import = ["sale", "import", SAMPLE, "--currency", "EUR", "--name", "By hand"];
    let said = up.say(&import);
    assert_eq!(said.code, Some(0), "{said:?}");
    contains_all(
        &said.out,
        &[
            "(By hand)",
            "DRAFT",
            "holds   600 s",
            "room    none",
            "breakwater-anorak/M",
            "189.00 EUR",
        ],
    );
    let by_hand = id_in(&said.out);

    let args = ["--quantity", "3", "--per-buyer-limit", "1", "--admissions", "5.5", "--json"];
    let imported = up.say(&[&import[..], &args].concat()).json();
    assert_ne!(imported["sale_id"], by_hand.as_str(), "each time it is another sale");
    assert_eq!(imported["admissions_per_second"], 5.5);
    for item in imported["items"].as_array().unwrap() {
        assert_eq!((&item["quantity"], &item["per_buyer_limit"]), (&json!(3), &json!(1)), "{item}");
    }

    refused(up, &["stock", "show", &by_hand], Reason::SaleNotOpen);
    let (human, sale) = both(up, &["sale", "show", &by_hand]);
    contains_all(&human, &[&by_hand, "By hand", "DRAFT"]);
    assert_eq!((&sale["sale_id"], &sale["state"]), (&json!(by_hand), &json!("DRAFT")));
    assert_eq!((&sale["name"], &sale["currency"]), (&json!("By hand"), &json!("EUR")));
    assert_eq!(sale["items"].as_array().unwrap().len(), 12);
    assert_eq!(sale["items"][0]["unit_price"]["amount"], "29.00 EUR");

    // The sale of `up` offers the same.
    refused(up, &["sale", "start", &by_hand], Reason::ScheduleConflict);
    // Starting and ending are idempotent.
    for _ in 0..2 {
        let (human, sale) = both(up, &["sale", "start", &by_hand, "--allow-shared-skus"]);
        contains_all(&human, &[&by_hand, "OPEN"]);
        assert_eq!((&sale["state"], &sale["propagated"]), (&json!("OPEN"), &json!(true)));
    }
    let (_, stock) = both(up, &["stock", "show", &by_hand]);
    assert_eq!(stock["stock"].as_array().unwrap().len(), 12);

    let (human, all) = both(up, &["sale", "show"]);
    contains_all(&human, &["created", &by_hand, "By hand", "OPEN", "DRAFT", "Spring drop"]);
    let listed = all.as_array().unwrap().iter().find(|sale| sale["sale_id"] == by_hand.as_str());
    assert_eq!(listed.unwrap()["state"], "OPEN");

    for _ in 0..2 {
        let (human, sale) = both(up, &["sale", "end", &by_hand]);
        contains_all(&human, &[&by_hand, "ENDED"]);
        assert_eq!(sale["state"], "ENDED");
    }
    let reported = up.say(&["sale", "report", &by_hand, "--wait", "--at-most", "60"]);
    assert_eq!((reported.code, reported.err.as_str()), (Some(0), ""), "{reported:?}");
    contains_all(&reported.out, &[&by_hand, "ENDED, final", "0 confirmed", "0.00 EUR taken"]);
    let (_, report) = both(up, &["sale", "report", &by_hand]);
    assert_eq!((&report["final"], &report["orders"]["confirmed"]), (&json!(true), &json!(0)));
    assert_eq!(report["items"].as_array().unwrap().len(), 12);
    // The report of an open sale never becomes final.
    let open = all.as_array().unwrap().iter().find(|sale| sale["name"] == "Spring drop").unwrap();
    let open = open["sale_id"].as_str().unwrap();
    let waited = up.say(&["sale", "report", open, "--wait", "--at-most", "1"]);
    assert_eq!(waited.code, Some(1), "{waited:?}");
    contains_all(&waited.out, &[open, "OPEN, not final yet"]);
    let (human, _) = refused(up, &["sale", "start", &by_hand], Reason::SaleStateConflict);
    contains_all(&human, &["ENDED"]);
}

fn a_sale_is_created_item_by_item(up: &Flashsale) {
    let create =
        ["sale", "create", "--currency", "EUR", "--item", "TEE-M=19.90=100", "--item", "a=b=5=7"];
    let said = up.say(&create);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    contains_all(&said.out, &["DRAFT", "TEE-M", "19.90 EUR", "100", "a=b", "5.00 EUR", "any"]);

    let sale = up.say(&[&create[..], &["--hold-seconds", "30", "--json"]].concat()).json();
    assert_eq!((&sale["state"], &sale["hold_seconds"]), (&json!("DRAFT"), &json!(30)));
    assert_eq!(sale["items"][0]["sku"], "TEE-M");
    assert_eq!(sale["items"][0]["quantity"], 100);
    assert_eq!(sale["items"][0]["unit_price"]["units"], 19);
    assert_eq!(sale["items"][0]["unit_price"]["nanos"], 900_000_000);
}

/// All sales, to check that none was added.
fn sales(up: &Flashsale) -> Value {
    up.say(&["sale", "show", "--json"]).json()
}

fn items_and_settings_that_make_no_sense_are_refused(up: &Flashsale) {
    let before = sales(up);
    let create = ["sale", "create", "--currency", "EUR"];
    for (args, reason, field) in [
        (&["--item", "A=1=-10"][..], Reason::QuantityInvalid, "items[0].quantity"),
        (&["--item", "A=1=0"], Reason::QuantityInvalid, "items[0].quantity"),
        (&["--item", "A=1=999999999999"], Reason::QuantityInvalid, "items[0].quantity"),
        (&["--item", "A=19.901=1"], Reason::ArgumentInvalid, "items[0].unit_price"),
        (&["--item", "A=0=1"], Reason::ArgumentInvalid, "items[0].unit_price"),
        (&["--item", "A=1=1", "--item", "A=2=1"], Reason::ArgumentInvalid, "items[1].sku"),
        (
            &["--item", "A=1=1", "--hold-seconds", "-5"],
            Reason::ArgumentInvalid,
            "settings.hold_ttl",
        ),
        (&["--item", "A=1=1", "--name", ""], Reason::ArgumentInvalid, "settings.name"),
        (
            &["--item", "A=1=1", "--admissions", "-1"],
            Reason::ArgumentInvalid,
            "settings.room.admissions_per_second",
        ),
    ] {
        let (human, error) = refused(up, &[&create[..], args].concat(), reason);
        assert_eq!(error["fields"][0]["field"], field, "{error}");
        assert_eq!(human.matches(field).count(), 1, "once is enough:\n{human}");
    }
    // Items that the command itself refuses: no price may be read as another one.
    for item in ["A=-0.90=1", "A=-1=1", "A=.50=1", "A=1,50=1", "A=1", "A", "A=1=ten"] {
        let said = up.say(&[&create[..], &["--item", item]].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{item}");
        contains_all(&said.err, &[item, "sku=price=quantity", "TEE-M=19.90=100"]);
    }
    for args in [&["--item", "A=1=1"][..], &["--currency", "EUR"]] {
        let said = up.say(&[&["sale", "create"], args].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        contains_all(&said.err, &["required", "Usage:", "--help"]);
    }
    assert_eq!(sales(up), before);
}

const EXPORT: &str = "\
Handle,Title,Option1 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Price
tee,Tee,M,TEE-M,shopify,30,38.00
tee,,L,TEE-L,shopify,20,38.00
";

fn exports_with_a_fault_are_refused_whole(up: &Flashsale) {
    let before = sales(up);
    let file = up.home().join("products.csv");
    let path = file.to_str().unwrap();
    let with = |from: &str, to: &str| EXPORT.replace(from, to).into_bytes();
    type Case<'a> = (&'a str, Vec<u8>, &'a [&'a str], &'a str, &'a str);
    #[rustfmt::skip]
    let cases: [Case<'_>; 14] = [
        ("a missing column", with("Variant Price", "Cost"), &[], "row 1, column Variant Price (or Price)", "export the products from Shopify's admin"),
        ("another shop system's", b"ID,Name,Stock\n1,Tee,5\n".to_vec(), &[], "row 1", "send a product export of Shopify, WooCommerce or BigCommerce"),
        ("a negative quantity", with(",30,", ",-30,"), &[], "row 2, column Variant Inventory Qty", "--quantity, or --leave-out-faulty"),
        ("an absurd quantity", with(",20,", ",20000000000000000000,"), &[], "row 3, column Variant Inventory Qty", "write a whole number, or pass --quantity"),
        ("an unknown quantity", with("shopify", ""), &[], "column Variant Inventory Qty", "pass --quantity"),
        ("a duplicate SKU", with("TEE-L", "TEE-M"), &[], "row 2, column Variant SKU", "--duplicate-skus first or name-by-options"),
        ("a currency without such decimals", with("", ""), &["--currency", "JPY"], "row 2, column Variant Price", "correct the price or --currency"),
        ("too many decimals", with("38.00\n", "38.005\n"), &[], "row 2, column Variant Price", "correct the price or --currency"),
        ("a price with a currency", with(",38.00", ",€38"), &[], "row 2, column Variant Price", "write a plain decimal such as 19.90"),
        ("a quote that stays open", with("Tee,", "\"Tee,"), &[], "row 2", "never closed"),
        ("a row with a cell too few", with("TEE-L,", ""), &[], "row 2", "correct that row"),
        ("bars between the cells", with(",", "|"), &[], "row 1", "pass --separator"),
        ("broken UTF-8", [EXPORT.as_bytes(), b"caf\xe9"].concat(), &[], "row 4", "CSV UTF-8"),
        ("an empty file", Vec::new(), &[], "content", "send the exported file"),
    ];
    for (name, content, args, place, remedy) in cases {
        std::fs::write(&file, content).unwrap();
        let currency = if args.is_empty() { &["--currency", "EUR"][..] } else { args };
        let args = [&["sale", "import", path], currency].concat();
        let (human, error) = refused(up, &args, Reason::ExportInvalid);
        let line = human.lines().find(|line| line.trim().starts_with(&format!("{place}: ")));
        assert!(line.is_some_and(|line| line.contains(remedy)), "{name}: {human}");
        assert_eq!(error["fields"][0]["field"], place, "{name}: {error}");
        assert!(
            error["fields"][0]["problem"].as_str().unwrap().contains(remedy),
            "{name}: {error}"
        );
    }

    std::fs::write(&file, EXPORT).unwrap();
    let (_, error) =
        refused(up, &["sale", "import", path, "--currency", "EURO"], Reason::ArgumentInvalid);
    assert_eq!(error["fields"][0]["field"], "settings.currency");
    let args = ["sale", "import", path, "--currency", "EUR", "--quantity", "-3"];
    let (_, error) = refused(up, &args, Reason::QuantityInvalid);
    assert_eq!(error["fields"][0]["field"], "quantity");

    let folder = up.home().to_str().unwrap();
    for (path, remedy) in [
        ("/dev/zero", "split it into several sales"),
        ("no-such-file.csv", "cannot be read: No such file"),
        (folder, "cannot be read: Is a directory"),
    ] {
        let said = up.say(&["sale", "import", path, "--currency", "EUR"]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{path}");
        contains_all(&said.err, &[path, remedy]);
    }
    assert_eq!(sales(up), before, "something was half-imported");

    // What is large is sent in parts, and refused as any other.
    let rows = |price: &str| -> String {
        let rows = (0..4_000).map(|row| format!("S{row},{price},3,{}\n", "x".repeat(1_000)));
        format!("sku,price,quantity,note\n{}", rows.collect::<String>())
    };
    std::fs::write(&file, rows("0")).unwrap();
    let import = ["sale", "import", path, "--currency", "EUR"];
    let (_, error) = refused(up, &import, Reason::ExportInvalid);
    assert_eq!(error["fields"][0]["field"], "row 2, column price");
    assert_eq!(sales(up), before);
    std::fs::write(&file, rows("5")).unwrap();
    let said = up.say(&import);
    assert_eq!(said.code, Some(0), "{}", said.err);
    contains_all(&said.out, &["S0", "S3999"]);
}

/// A product export of WooCommerce, of which one lamp has no stock and another is sold out.
const WOOCOMMERCE: &str = "libs/catalogue/tests/fixtures/woocommerce.csv";

fn exports_of_any_shop_are_imported(up: &Flashsale) {
    let import = ["sale", "import", WOOCOMMERCE, "--currency", "EUR"];
    let before = sales(up);
    let (human, error) = refused(up, &import, Reason::ExportInvalid);
    contains_all(&human, &["options.leave_out_faulty: 5 rows would be sold with it"]);
    assert_eq!(error["metadata"]["remaining_rows"], "5");
    assert_eq!(sales(up), before);

    let with = ["--leave-out-faulty", "--tag", "drop", "--percent-off", "10", "--stock-cap", "2"];
    let said = up.say(&[&import[..], &with].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    contains_all(&said.out, &["DRAFT", "OARS", "45.00 EUR", "Left out", "it is not selected"]);
    let imported = up.say(&[&import[..], &with, &["--json"]].concat()).json();
    let oars = imported["items"].as_array().unwrap().iter().find(|item| item["sku"] == "OARS");
    let oars = oars.unwrap();
    assert_eq!((&oars["quantity"], &oars["per_buyer_limit"]), (&json!(2), &json!(1)), "{oars}");
    let left_out = imported["left_out"].as_array().unwrap();
    assert!(left_out.iter().any(|row| row["sku"] == "CHART" && row["reason"] == "NOT_SELECTED"));
}

fn unknown_and_malformed_ids_are_told_apart(up: &Flashsale, sale_id: &str) {
    for command in [
        ["sale", "show"],
        ["sale", "schedule"],
        ["sale", "start"],
        ["sale", "pause"],
        ["sale", "cancel"],
        ["sale", "end"],
        ["sale", "changes"],
        ["sale", "report"],
        ["stock", "show"],
    ] {
        refused(up, &[&command[..], &[UNKNOWN]].concat(), Reason::SaleNotFound);
        let (_, error) =
            refused(up, &[&command[..], &["not-an-id"]].concat(), Reason::ArgumentInvalid);
        assert_eq!(error["fields"], json!([{ "field": "sale_id", "problem": "is not a UUID" }]));
    }
    for command in [["order", "show"], ["order", "watch"]] {
        refused(up, &[&command[..], &[sale_id, UNKNOWN]].concat(), Reason::OrderNotFound);
        refused(up, &[&command[..], &[UNKNOWN, UNKNOWN]].concat(), Reason::OrderNotFound);
        for (sale, order, field) in
            [("not-an-id", UNKNOWN, "sale_id"), (sale_id, "not-an-id", "order_id")]
        {
            let args = [&command[..], &[sale, order]].concat();
            let (_, error) = refused(up, &args, Reason::ArgumentInvalid);
            assert_eq!(error["fields"][0]["field"], field);
        }
    }
}

/// One buyer's visit: joins, waits for the admission, and orders one mug.
pub(crate) async fn buy(channel: NamedChannel, sale_id: &str, buyer: &str, card: &str) -> Order {
    let mut room = WaitingRoomServiceClient::new(channel.clone());
    let buyer = Buyer::new(sale_id, buyer.to_owned(), "Grace H.".to_owned());
    let ticket = room.join(buyer.join(Uuid::new_v4())).await.unwrap().into_inner().ticket;
    let mut line = room.watch_position(WatchPositionRequest { ticket }).await.unwrap().into_inner();
    let admission = loop {
        let position = line.message().await.unwrap().unwrap().position.unwrap();
        match position.outlook() {
            Outlook::Admitted => break position.admission,
            Outlook::Waiting => {}
            Outlook::Unspecified
            | Outlook::NotStarted
            | Outlook::Lapsed
            | Outlook::Left
            | Outlook::Used
            | Outlook::SoldOut
            | Outlook::SoldOutForNow
            | Outlook::Paused
            | Outlook::Closed => panic!("{position:?}"),
        }
    };
    let lines = vec![Line { sku: "TW-MUG-01".to_owned(), quantity: 1 }];
    let place = buyer.place(Uuid::new_v4(), String::new(), lines, admission, card);
    CheckoutServiceClient::new(channel)
        .place_order(place)
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap()
}

fn order_ids(orders: &Value) -> Vec<&str> {
    orders.as_array().unwrap().iter().map(|order| order["order_id"].as_str().unwrap()).collect()
}

async fn orders_are_shown_and_watched_to_their_end(
    up: &Flashsale,
    sale_id: &str,
    channel: NamedChannel,
) {
    let order = buy(channel.clone(), sale_id, "grace", "pm_card_visa").await.order_id;
    let watched = up.say(&["order", "watch", sale_id, &order]);
    assert_eq!((watched.code, watched.err.as_str()), (Some(0), ""), "{watched:?}");
    let last = watched.out.lines().last().unwrap();
    assert!(last.ends_with("  CONFIRMED"), "{}", watched.out);

    let (human, shown) = both(up, &["order", "show", sale_id, &order]);
    contains_all(&human, &[&order, "CONFIRMED", sale_id, "grace", "18.50 EUR", "TW-MUG-01"]);
    assert_eq!((&shown["order_id"], &shown["state"]), (&json!(order), &json!("CONFIRMED")));
    assert_eq!(shown["total"]["amount"], "18.50 EUR");
    assert_eq!(shown["lines"][0]["sku"], "TW-MUG-01");
    assert_eq!(shown["lines"][0]["quantity"], 1);
    assert_eq!(shown["cancel_requested"], false);

    let confirmed = order;
    let order = buy(channel, sale_id, "hopper", "pm_card_visa_chargeDeclined").await.order_id;
    let watched = up.say(&["order", "watch", sale_id, &order, "--json"]);
    assert_eq!((watched.code, watched.err.as_str()), (Some(0), ""), "{watched:?}");
    let states: Vec<Value> =
        watched.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(states.iter().all(|state| state["order_id"] == order.as_str()), "{watched:?}");
    let last = states.last().unwrap();
    assert_eq!(last["state"], "DECLINED");
    let (human, mut shown) = both(up, &["order", "show", sale_id, &order]);
    let history = shown.as_object_mut().unwrap().remove("history").unwrap();
    let states: Vec<&Value> =
        history.as_array().unwrap().iter().map(|step| &step["to_state"]).collect();
    assert_eq!(
        (states.first(), states.last()),
        (Some(&&json!("CLAIMED")), Some(&&json!("DECLINED")))
    );
    assert_eq!(&shown, last);
    let reason = shown["end_reason"].as_str().unwrap();
    assert!(!reason.is_empty(), "{shown}");
    contains_all(&human, &["DECLINED", &format!("ended because of {reason}")]);

    let (order_id, confirmed) = (order.as_str(), confirmed.as_str());
    let (human, all) = both(up, &["order", "list", sale_id]);
    contains_all(&human, &["changed", "CONFIRMED", "DECLINED", "grace", "hopper", "18.50 EUR"]);
    assert_eq!(order_ids(&all), [order_id, confirmed]);
    let list = ["order", "list", sale_id, "--updated-after"];
    let (_, changed) = both(up, &[&list[..], &["2026-01-01T00:00:00Z"]].concat());
    assert_eq!(order_ids(&changed), [confirmed, order_id]);
    let (_, none) = both(up, &[&list[..], &[shown["update_time"].as_str().unwrap()]].concat());
    assert_eq!(none, json!([]));
    let args = ["order", "list", sale_id, "--state", "declined", "--buyer", "hopper"];
    assert_eq!(order_ids(&both(up, &args).1), [order_id]);
    let said = up.say(&[&list[..], &["yesterday"]].concat());
    assert_eq!(said.code, Some(2));
    contains_all(&said.err, &["--updated-after", "it is not a time such as"]);

    // The mug of the declined order returns.
    let mug = eventually("one mug is sold and none is out", || async {
        let stock = up.say(&["stock", "show", sale_id, "--json"]).json();
        let mug = stock["stock"].as_array()?.iter().find(|sku| sku["sku"] == "TW-MUG-01")?.clone();
        (mug["sold"] == 1 && mug["placed"] == 0).then_some(mug)
    });
    assert_eq!(mug.await["available"], 39);
}

/// Queues a contradictory order that was never placed.
async fn what_cannot_be_recorded_is_listed_and_given_up(
    up: &Flashsale,
    about: &Value,
    sale_id: &str,
) {
    let (human, none) = both(up, &["order", "dead-letters", "list"]);
    assert_eq!((human.trim(), none), ("No dead letters.", json!([])));
    let order_id = Uuid::new_v4().to_string();
    let message = json!({
        "kind": "place", "order_id": order_id, "sale_id": sale_id, "buyer_id": "mallory",
        "hold_id": Uuid::new_v4().to_string(), "epoch": 1, "admission_id": null,
        "request_id": Uuid::new_v4().to_string(), "request_hash": "00",
        "lines": [{ "sku": "TW-MUG-01", "quantity": 1, "unit_price_minor": 1 }],
        "currency": "EUR", "total_minor": 2, "placed_at_ms": 1_795_000_000_000_i64,
        "email": "mallory@example.com", "contact_name": "Mallory", "payment_method": "pm_card_visa",
    });
    let nats = async_nats::connect(about["nats"].as_str().unwrap()).await.unwrap();
    let queue = async_nats::jetstream::new(nats);
    let sent = queue.publish(format!("orders.place.{sale_id}"), message.to_string().into());
    sent.await.unwrap().await.unwrap();
    eventually("it becomes a dead letter", async || {
        up.say(&["order", "dead-letters", "list"]).out.contains(&order_id).then_some(())
    })
    .await;
    let (human, listed) = both(up, &["order", "dead-letters", "list", "--sale", sale_id]);
    contains_all(&human, &[&order_id, "total_is_not_the_sum", "decide by"]);
    let dead_letter = listed[0]["dead_letter_id"].to_string();
    assert_eq!(listed[0]["order_id"], *order_id);
    let (human, shown) = both(up, &["order", "show", sale_id, &order_id]);
    contains_all(&human, &["DEAD_LETTER", "total_is_not_the_sum"]);
    assert_eq!(shown["history"][0]["to_state"], "DEAD_LETTER");

    // No hold carries it, so its own message is queued again, and refused again.
    let retried = up.say(&["order", "dead-letters", "retry", &dead_letter]);
    assert_eq!(retried.code, Some(0), "{retried:?}");
    let younger = eventually("it becomes a dead letter again", async || {
        let listed = up.say(&["--json", "order", "dead-letters", "list"]).json();
        Some(listed[0]["dead_letter_id"].to_string()).filter(|younger| *younger != dead_letter)
    })
    .await;
    refused(up, &["order", "dead-letters", "drop", &dead_letter], Reason::DeadLetterResolved);
    refused(up, &["order", "dead-letters", "drop", "999999"], Reason::DeadLetterNotFound);
    let (human, dropped) = both(up, &["order", "dead-letters", "drop", &younger]);
    contains_all(&human, &[&younger, "DROPPED"]);
    assert_eq!(dropped["resolution"], "DROPPED");
    let (human, shown) = both(up, &["order", "show", sale_id, &order_id]);
    contains_all(&human, &["CANCELLED", "dead_letter_dropped"]);
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
    let (_, all) = both(up, &["order", "dead-letters", "list", "--all"]);
    assert!(all.as_array().unwrap().len() >= 2, "{all}");
}

fn a_service_that_is_not_there_is_told_with_the_next_step(up: &Flashsale, about: &Value) {
    let http = about["http"].as_str().unwrap();
    let redis = about["redis"].as_str().unwrap().replace("redis://", "http://");
    // A closed port, with and without a scheme, and two servers that are no flashsale.
    for addr in ["http://127.0.0.1:1", "127.0.0.1:1", http, &redis] {
        let args = ["sale", "show", "--addr", addr];
        let said = up.say(&args);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{addr}");
        contains_all(
            &said.err,
            &["no flashsale answers at http://127.0.0.1:", "What to do: Check --addr"],
        );
        let error = up.say(&[&args[..], &["--json"]].concat()).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("127.0.0.1"), "{error}");
        assert!(error["next_step"].as_str().unwrap().contains("--addr"), "{error}");
    }
    for addr in ["redis://127.0.0.1:1", "no address"] {
        let said = up.say(&["sale", "show", "--addr", addr]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{addr}");
        contains_all(&said.err, &[addr, "is not an address such as http://127.0.0.1:50051"]);
    }
    // An address may leave out its scheme, and come from the environment, as the key may.
    let addr = about["grpc"].as_str().unwrap().replace("http://", "");
    let key_file = Path::new(about["folder"].as_str().unwrap()).join("keys/operator.toml");
    let said = Said::by(
        flashsale(own_home().path(), &["sale", "show", "--json"])
            .env("FLASHSALE_ADDR", addr)
            .env("FLASHSALE_KEY_FILE", key_file),
    );
    assert_eq!((said.code, said.json()), (Some(0), sales(up)));
}

#[test]
fn commands_without_platform_name_make_up() {
    let home = own_home();
    let said = Said::by(&mut flashsale(home.path(), &["sale", "show"]));
    // If another program has taken the default port, it is still no flashsale.
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    contains_all(&said.err, &["http://127.0.0.1:50051", "make up", "--addr"]);

    // A killed `up` leaves its file behind.
    std::fs::write(home.path().join("up.json"), r#"{"grpc": "http://127.0.0.1:1"}"#).unwrap();
    let said = Said::by(&mut flashsale(home.path(), &["stock", "show", UNKNOWN]));
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    contains_all(&said.err, &["http://127.0.0.1:1", "up.json", "start it again (`make up`)"]);
}

#[test]
fn dry_run_needs_no_server() {
    let home = own_home();
    let say = |args: &[&str]| {
        let dry = ["sale", "import", WOOCOMMERCE, "--dry-run"];
        Said::by(&mut flashsale(home.path(), &[&dry[..], args].concat()))
    };
    let said = say(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    contains_all(
        &said.err,
        &[
            "EXPORT_INVALID",
            "row 15, column Stock: is 0",
            "--leave-out-faulty: 6 rows would be sold with it",
            Reason::ExportInvalid.next_step(),
        ],
    );
    let error = say(&["--json"]).json()["error"].clone();
    assert_eq!(error["fields"][0]["field"], "row 15, column Stock", "{error}");

    let said = say(&["--leave-out-faulty"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    contains_all(
        &said.out,
        &[
            "Tide chart",
            "left out: its product is a draft",
            "Read as woocommerce: 5 rows sold, 122 units",
            "has dates and is not used",
            "--currency",
        ],
    );
    let preview = say(&["--leave-out-faulty", "--json"]).json();
    assert_eq!(preview["format"], "woocommerce");
    assert_eq!(preview["rows"].as_array().unwrap().len(), 14);
    assert_eq!(preview["totals"]["items"], 5, "{preview}");
    assert_eq!(preview["totals"]["value"], Value::Null);
    assert_eq!(preview["hold_seconds"], 600);
    let beyond = |row: &Value| row["warnings"].to_string().contains("beyond its stock");
    assert!(preview["rows"].as_array().unwrap().iter().any(beyond), "{preview}");
    let said = say(&["--leave-out-faulty", "--policy", "woocommerce"]);
    contains_all(&said.out, &["beyond its stock; this sale does not", "held for 3600 s"]);
    let needs = preview["needs"].as_array().unwrap();
    assert!(needs.len() == 1 && needs[0].as_str().unwrap().contains("--currency"), "{needs:?}");
    let row = |sku: &str| {
        let rows = preview["rows"].as_array().unwrap();
        rows.iter().find(|row| row["sku"] == sku).unwrap().clone()
    };
    let chart = row("CHART");
    assert_eq!((&chart["decision"], &chart["quantity"]), (&json!("SELL"), &json!(100)));
    assert_eq!((&chart["price_in_file"], &chart["sale_price"]), (&json!("10"), &Value::Null));
    assert_eq!(row("ANCHOR")["reason"], "DRAFT");

    // The shop's own sale begins with the 27th, by the shop's clock.
    for (zone, price) in [("Europe/Berlin", "8.00 EUR"), ("UTC", "10.00 EUR")] {
        let window = ["--starts-at", "2026-11-26T23:00Z", "--time-zone", zone];
        let args = ["--leave-out-faulty", "--currency", "EUR", "--json"];
        let preview = say(&[&args[..], &window].concat()).json();
        let rows = preview["rows"].as_array().unwrap();
        let chart = rows.iter().find(|row| row["sku"] == "CHART").unwrap();
        assert_eq!(chart["sale_price"]["amount"], price, "{zone}: {chart}");
    }

    // The file does not say how many there are of one lamp, and none is left of the other.
    let preview = say(&["--quantity", "3", "--currency", "EUR", "--json"]).json();
    assert_eq!(preview["totals"]["items"], 7, "{preview}");
    assert_eq!(preview["needs"], json!([]));

    for (args, text) in [
        (&["--sku", "NO-SUCH"][..], "--sku: is \"NO-SUCH\", which the file does not have"),
        (&["--currency", "EURO"], "--currency: is not an ISO 4217 currency code"),
        (&["--format", "shopify"], "pass --format woocommerce"),
        (
            &["--time-zone", "Europe/Berln"],
            "--time-zone: is \"Europe/Berln\", which is no time zone",
        ),
        (
            &["--starts-at", "2026-11-27T10:00"],
            "--starts-at: is 2026-11-27T10:00, which says no time zone",
        ),
    ] {
        let said = say(args);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{args:?}: {said:?}");
        contains_all(&said.err, &[text]);
    }
    assert!(!home.path().join("runs").exists(), "something was started");
}

#[test]
fn missing_simulation_is_named() {
    let home = own_home();
    // The command alone in a folder, as on an operator's machine.
    let alone = home.path().join("flashsale");
    std::fs::copy(flashsale(home.path(), &[]).get_program(), &alone).unwrap();
    let say = |args: &[&str]| Said::by(Command::new(&alone).args(args).stdin(Stdio::null()));
    for (args, code) in
        [(&["up"][..], 1), (&["run", "--buyers", "9"], 1), (&["load"], 2), (&["help", "run"], 1)]
    {
        let said = say(args);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{args:?}: {said:?}");
        contains_all(&said.err, &["flashsale-simulate is missing", "make build"]);
    }
    let said = say(&["--json", "run"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.json()["error"]["message"].as_str().unwrap().contains("flashsale-simulate"));
    assert_eq!(say(&["--help"]).code, Some(0));
    assert_eq!(say(&["errors", "SOLD_OUT"]).code, Some(0));
}

#[test]
fn silent_service_hits_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let said = Said::by(&mut flashsale(own_home().path(), &["sale", "show", "--addr", &addr]));
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    contains_all(
        &said.err,
        &["did not answer within 10 s", "What to do: See whether it had its effect"],
    );
}

#[test]
fn errors_command_explains_every_reason() {
    let home = own_home();
    let say = |args: &[&str]| Said::by(&mut flashsale(home.path(), args));
    let list = say(&["errors"]);
    assert_eq!((list.code, list.err.as_str()), (Some(0), ""));
    let all = say(&["errors", "--json"]).json();
    assert_eq!(all.as_array().unwrap().len(), Reason::ALL.len());
    for (reason, listed) in Reason::ALL.iter().zip(all.as_array().unwrap()) {
        contains_all(&list.out, &[reason.as_str(), reason.next_step()]);
        assert_eq!(listed["reason"], reason.as_str());
        assert_eq!(listed["next_step"], reason.next_step());
    }
    for name in ["SOLD_OUT", "sold_out"] {
        let one = say(&["errors", name]);
        assert_eq!((one.code, one.err.as_str()), (Some(0), ""));
        contains_all(&one.out, &["SOLD_OUT", "FailedPrecondition", Reason::SoldOut.next_step()]);
        assert_eq!(say(&["errors", name, "--json"]).json()["reason"], "SOLD_OUT");
    }
    let said = say(&["errors", "NO_SUCH"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    contains_all(&said.err, &["NO_SUCH", "`flashsale errors` lists all of them"]);
    let error = say(&["errors", "NO_SUCH", "--json"]).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("NO_SUCH"), "{error}");
}

#[test]
fn help_lists_commands_and_exit_codes() {
    let home = own_home();
    let help = Said::by(&mut flashsale(home.path(), &["--help"]));
    assert_eq!(help.code, Some(0));
    contains_all(
        &help.out,
        &["up ", "run ", "sale ", "order ", "payment ", "stock ", "errors ", "--json"],
    );
    contains_all(&help.out, &["Exit codes:", "0  ", "1  ", "2  ", "141  "]);
}

#[test]
fn live_key_is_refused_unprinted() {
    let home = own_home();
    for command in ["up", "run"] {
        let said = Said::by(
            flashsale(home.path(), &[command]).env("STRIPE_SECRET_KEY", "sk_live_4eC39HqLyjWD"),
        );
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        contains_all(&said.err, &["STRIPE_SECRET_KEY is not a test mode key", "unset it"]);
        assert!(!said.err.contains("4eC39HqLyjWD"), "{}", said.err);
        assert!(!home.path().join("runs").exists(), "something was started");
    }
}

#[test]
fn faulty_export_names_the_row() {
    let home = own_home();
    let file = home.path().join("products.csv");
    std::fs::write(&file, EXPORT.replace(",30,", ",-30,")).unwrap();
    let path = file.to_str().unwrap();
    for command in ["up", "run"] {
        let said = Said::by(&mut flashsale(home.path(), &[command, "--export", path]));
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        contains_all(
            &said.err,
            &[
                "EXPORT_INVALID",
                "row 2, column Variant Inventory Qty",
                Reason::ExportInvalid.next_step(),
            ],
        );
        assert_eq!(crate::command::left_running(home.path()), Vec::<String>::new());
        assert!(!home.path().join("up.json").exists());
    }
    // A missing file is reported before anything is started.
    let said =
        Said::by(&mut flashsale(own_home().path(), &["run", "--export", "no-such-file.csv"]));
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("flashsale: no-such-file.csv cannot be read"), "{}", said.err);
    assert!(repository().join(SAMPLE).exists());
}
