//! What callers may not ask, each refused with its own reason and field, and nothing written.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::{future::Future, pin::Pin};

use flashsale_errors::Reason;
use flashsale_proto::{
    Money,
    sale::{self, ImportOptions, Item, RoomSettings, SaleSettings, import_options::Price},
};
use flashsale_testbed::assert_failure;
use tonic::Status;
use world::{Client, World, creation, eur, id, import, item, settings};

type Call = Box<dyn Fn(Client) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>>;

macro_rules! call {
    ($rpc:ident, $request:expr) => {{
        let request = $request;
        Box::new(move |mut client: Client| {
            let request = request.clone();
            Box::pin(async move { client.$rpc(request).await.map(|_| ()) })
                as Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>
        }) as Call
    }};
}

fn create_with(settings: SaleSettings) -> Call {
    call!(create_sale, sale::CreateSaleRequest { settings: Some(settings), ..creation() })
}

fn create_items(items: Vec<Item>) -> Call {
    call!(create_sale, sale::CreateSaleRequest { items, ..creation() })
}

/// A sale whose one price has a last decimal that cards cannot pay.
fn dinars() -> sale::CreateSaleRequest {
    let price = Money { currency_code: "KWD".into(), units: 5, nanos: 124_000_000 };
    sale::CreateSaleRequest {
        settings: Some(SaleSettings { currency: "KWD".into(), ..settings() }),
        items: vec![Item { unit_price: Some(price), ..item("A") }],
        ..creation()
    }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn lasting(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn each_bad_request_has_its_reason_and_field() {
    use Reason::{
        ArgumentInvalid as Argument, ExportInvalid as Export, PageTokenInvalid,
        QuantityInvalid as Quantity, RequestIdInvalid, RequestIdReused, SaleNotFound,
        SaleStateConflict,
    };
    let world = World::new().await;
    let used = creation();
    let draft = world.draft(used.clone()).await;
    let ended = world.draft(creation()).await.sale_id;
    world.end(&ended, &id()).await.unwrap();
    let unknown = id();
    let nil = "00000000-0000-0000-0000-000000000000".to_owned();
    let room = |rate, admission_ttl| {
        let room = RoomSettings { admissions_per_second: rate, admission_ttl, pre_queue: None };
        SaleSettings { room: Some(room), ..settings() }
    };
    let usd = Some(Money { currency_code: "USD".to_owned(), units: 1, nanos: 0 });
    let start = |request_id: String, sale_id: &str| sale::StartSaleRequest {
        request_id,
        sale_id: sale_id.to_owned(),
        allow_shared_skus: false,
    };
    let end = |request_id: String, sale_id: &str| sale::EndSaleRequest {
        request_id,
        sale_id: sale_id.to_owned(),
    };
    let reused = used.request_id.clone();

    #[rustfmt::skip]
    let cases: Vec<(&str, Call, Reason, Option<&str>)> = vec![
        ("create without request id", call!(create_sale, sale::CreateSaleRequest { request_id: String::new(), ..creation() }), RequestIdInvalid, Some("request_id")),
        ("create with a number", call!(create_sale, sale::CreateSaleRequest { request_id: "17".into(), ..creation() }), RequestIdInvalid, Some("request_id")),
        ("create with the nil id", call!(create_sale, sale::CreateSaleRequest { request_id: nil, ..creation() }), RequestIdInvalid, Some("request_id")),
        ("import without request id", call!(import_sale, sale::ImportSaleRequest { request_id: String::new(), ..import("") }), RequestIdInvalid, Some("request_id")),
        ("start without request id", call!(start_sale, start(String::new(), &draft.sale_id)), RequestIdInvalid, Some("request_id")),
        ("end without request id", call!(end_sale, end(String::new(), &draft.sale_id)), RequestIdInvalid, Some("request_id")),
        ("other content", call!(create_sale, sale::CreateSaleRequest { items: vec![item("OTHER")], ..used.clone() }), RequestIdReused, Some("request_id")),
        ("other operation", call!(import_sale, sale::ImportSaleRequest { request_id: reused.clone(), ..import("") }), RequestIdReused, Some("request_id")),
        ("another call", call!(start_sale, start(reused.clone(), &draft.sale_id)), RequestIdReused, Some("request_id")),
        ("another change", call!(end_sale, end(reused, &draft.sale_id)), RequestIdReused, Some("request_id")),
        ("get no id", call!(get_sale, sale::GetSaleRequest { sale_id: String::new() }), Argument, Some("sale_id")),
        ("report without an id", call!(get_sale_report, sale::GetSaleReportRequest { sale_id: String::new() }), Argument, Some("sale_id")),
        ("report of an unknown sale", call!(get_sale_report, sale::GetSaleReportRequest { sale_id: unknown.clone() }), SaleNotFound, Some("sale_id")),
        ("get unknown", call!(get_sale, sale::GetSaleRequest { sale_id: unknown.clone() }), SaleNotFound, Some("sale_id")),
        ("watch unknown", call!(watch_sale, sale::WatchSaleRequest { sale_id: unknown.clone() }), SaleNotFound, Some("sale_id")),
        ("start no id", call!(start_sale, start(id(), "first")), Argument, Some("sale_id")),
        ("start unknown", call!(start_sale, start(id(), &unknown)), SaleNotFound, Some("sale_id")),
        ("end unknown", call!(end_sale, end(id(), &unknown)), SaleNotFound, Some("sale_id")),
        ("start an ended sale", call!(start_sale, start(id(), &ended)), SaleStateConflict, None),
        ("an invented token", call!(list_sales, sale::ListSalesRequest { page_size: 1, page_token: "AAAA".into() }), PageTokenInvalid, Some("page_token")),
        ("a negative page", call!(list_sales, sale::ListSalesRequest { page_size: -1, page_token: String::new() }), Argument, Some("page_size")),
        ("update", call!(update_sale, sale::UpdateSaleRequest::default()), RequestIdInvalid, Some("request_id")),
        ("schedule", call!(schedule_sale, sale::ScheduleSaleRequest::default()), RequestIdInvalid, Some("request_id")),
        ("pause", call!(pause_sale, sale::PauseSaleRequest::default()), RequestIdInvalid, Some("request_id")),
        ("no name", create_with(SaleSettings { name: String::new(), ..settings() }), Argument, Some("settings.name")),
        ("no currency", create_with(SaleSettings { currency: String::new(), ..settings() }), Argument, Some("settings.currency")),
        ("an unknown currency", create_with(SaleSettings { currency: "EURO".into(), ..settings() }), Argument, Some("settings.currency")),
        ("what cards are not charged in", create_with(SaleSettings { currency: "IRR".into(), ..settings() }), Argument, Some("settings.currency")),
        ("gold", create_with(SaleSettings { currency: "XAU".into(), ..settings() }), Argument, Some("settings.currency")),
        ("ends before it starts", create_with(SaleSettings { starts_at: at(4_000_000_000), ends_at: at(3_999_999_999), ..settings() }), Argument, Some("settings.ends_at")),
        ("over already", create_with(SaleSettings { starts_at: at(1_000), ends_at: at(2_000), ..settings() }), Argument, Some("settings.ends_at")),
        ("no such time", create_with(SaleSettings { starts_at: at(i64::MAX), ..settings() }), Argument, Some("settings.starts_at")),
        ("a short hold", create_with(SaleSettings { hold_ttl: lasting(4), ..settings() }), Argument, Some("settings.hold_ttl")),
        ("a long hold", create_with(SaleSettings { hold_ttl: lasting(3_601), ..settings() }), Argument, Some("settings.hold_ttl")),
        ("short patience", create_with(SaleSettings { payment_patience: lasting(29), ..settings() }), Argument, Some("settings.payment_patience")),
        ("long patience", create_with(SaleSettings { payment_patience: lasting(3_601), ..settings() }), Argument, Some("settings.payment_patience")),
        ("a negative hold", create_with(SaleSettings { hold_ttl: lasting(-1), ..settings() }), Argument, Some("settings.hold_ttl")),
        ("a room that admits no buyers", create_with(room(0.0, None)), Argument, Some("settings.room.admissions_per_second")),
        ("a rate that is none", create_with(room(f64::NAN, None)), Argument, Some("settings.room.admissions_per_second")),
        ("a short admission", create_with(room(1.0, lasting(1))), Argument, Some("settings.room.admission_ttl")),
        ("no items", create_items(vec![]), Argument, Some("items")),
        ("an empty sku", create_items(vec![item("")]), Argument, Some("items[0].sku")),
        ("a long sku", create_items(vec![item(&"x".repeat(129))]), Argument, Some("items[0].sku")),
        ("a sku that cannot be seen whole", create_items(vec![item("A\u{200b}")]), Argument, Some("items[0].sku")),
        ("a title that cannot be seen whole", create_items(vec![Item { title: "Tee\u{2060}".into(), ..item("A") }]), Argument, Some("items[0].title")),
        ("a sku twice", create_items(vec![item("A"), item("A")]), Argument, Some("items[1].sku")),
        ("a long title", create_items(vec![Item { title: "x".repeat(257), ..item("A") }]), Argument, Some("items[0].title")),
        ("no price", create_items(vec![Item { unit_price: None, ..item("A") }]), Argument, Some("items[0].unit_price")),
        ("a negative price", create_items(vec![Item { unit_price: eur(-1, 0), ..item("A") }]), Argument, Some("items[0].unit_price")),
        ("a fraction of a cent", create_items(vec![Item { unit_price: Some(Money { nanos: 1, ..eur(1, 0).unwrap() }), ..item("A") }]), Argument, Some("items[0].unit_price")),
        ("less than cards are charged", create_items(vec![Item { unit_price: eur(0, 49), ..item("A") }]), Argument, Some("items[0].unit_price")),
        ("more than cards are charged", create_items(vec![Item { unit_price: eur(1_000_000, 0), ..item("A") }]), Argument, Some("items[0].unit_price")),
        ("two that are more than cards are charged", create_items(vec![Item { unit_price: eur(500_000, 0), ..item("A") }]), Quantity, Some("items[0].per_buyer_limit")),
        ("any number that is more than cards are charged", create_items(vec![Item { unit_price: eur(100, 0), quantity: 10_000, per_buyer_limit: 0, ..item("A") }]), Quantity, Some("items[0].per_buyer_limit")),
        ("what no card is charged in dinars", call!(create_sale, dinars()), Argument, Some("items[0].unit_price")),
        ("dollars in a sale in euros", create_items(vec![Item { unit_price: usd, ..item("A") }]), Argument, Some("items[0].unit_price.currency_code")),
        ("zero units", create_items(vec![item("A"), Item { quantity: 0, ..item("B") }]), Quantity, Some("items[1].quantity")),
        ("negative units", create_items(vec![Item { quantity: -5, ..item("A") }]), Quantity, Some("items[0].quantity")),
        ("huge units", create_items(vec![Item { quantity: 10_000_001, ..item("A") }]), Quantity, Some("items[0].quantity")),
        ("a negative limit", create_items(vec![Item { per_buyer_limit: -1, ..item("A") }]), Quantity, Some("items[0].per_buyer_limit")),
        ("import of what has no format", call!(import_sale, sale::ImportSaleRequest { format: 0, ..import("x") }), Export, Some("row 1")),
        ("import of an unknown format", call!(import_sale, sale::ImportSaleRequest { format: 99, ..import("x") }), Argument, Some("format")),
        ("import without currency", call!(import_sale, sale::ImportSaleRequest { settings: Some(SaleSettings { currency: String::new(), ..settings() }), ..import(GOOD) }), Argument, Some("settings.currency")),
        ("import of zero units", call!(import_sale, sale::ImportSaleRequest { quantity: Some(0), ..import(GOOD) }), Quantity, Some("quantity")),
        ("import of a huge quantity", call!(import_sale, sale::ImportSaleRequest { quantity: Some(i64::MAX), ..import(GOOD) }), Quantity, Some("quantity")),
        ("import with a negative limit", call!(import_sale, sale::ImportSaleRequest { per_buyer_limit: -1, ..import(GOOD) }), Quantity, Some("per_buyer_limit")),
        ("import with an encoding of tomorrow", call!(import_sale, with(GOOD, ImportOptions { encoding: 99, ..ImportOptions::default() })), Argument, Some("options.encoding")),
        ("import with a separator of tomorrow", call!(import_sale, with(GOOD, ImportOptions { separator: 99, ..ImportOptions::default() })), Argument, Some("options.separator")),
        ("import with a rounding of tomorrow", call!(import_sale, with(GOOD, ImportOptions { rounding: 99, ..ImportOptions::default() })), Argument, Some("options.rounding")),
        ("import in a zone of nowhere", call!(import_sale, with(GOOD, ImportOptions { time_zone: "Europe/Berln".into(), ..ImportOptions::default() })), Argument, Some("options.time_zone")),
        ("import with duplicates of tomorrow", call!(import_sale, with(GOOD, ImportOptions { duplicate_skus: 99, ..ImportOptions::default() })), Argument, Some("options.duplicate_skus")),
        ("import at 120 percent off", call!(import_sale, with(GOOD, priced(Price::PercentOff("120".into())))), Argument, Some("options.percent_off")),
        ("import at dollars off", call!(import_sale, with(GOOD, priced(Price::AmountOff(Money { currency_code: "USD".into(), units: 1, nanos: 0 })))), Argument, Some("options.amount_off.currency_code")),
        ("import at nothing off", call!(import_sale, with(GOOD, priced(Price::AmountOff(eur(0, 0).unwrap())))), Argument, Some("options.amount_off")),
        ("import at no price", call!(import_sale, with(GOOD, priced(Price::FixedPrice(eur(0, 0).unwrap())))), Argument, Some("options.fixed_price")),
        ("import at a price below what is off", call!(import_sale, with(GOOD, priced(Price::AmountOff(eur(38, 0).unwrap())))), Export, Some("row 2, column Variant Price")),
        ("import of a share and a quantity", call!(import_sale, sale::ImportSaleRequest { quantity: Some(5), ..with(GOOD, ImportOptions { stock_share: "50".into(), ..ImportOptions::default() }) }), Argument, Some("options.stock_share")),
        ("import of a share of nothing", call!(import_sale, with(GOOD, ImportOptions { stock_share: "0".into(), ..ImportOptions::default() })), Argument, Some("options.stock_share")),
        ("import with a cap of nothing", call!(import_sale, with(GOOD, ImportOptions { stock_cap: Some(0), ..ImportOptions::default() })), Quantity, Some("options.stock_cap")),
        ("import of a sku that is not there", call!(import_sale, with(GOOD, ImportOptions { skus: vec!["TEE-S".into()], ..ImportOptions::default() })), Argument, Some("options.skus")),
        ("import of a tag that is not there", call!(import_sale, with(GOOD, ImportOptions { tags: vec!["new".into()], ..ImportOptions::default() })), Argument, Some("options.tags")),
        ("import for a market that is not there", call!(import_sale, with(GOOD, ImportOptions { market: "Mars".into(), ..ImportOptions::default() })), Argument, Some("options.market")),
        ("import of a location without its file", call!(import_sale, with(GOOD, ImportOptions { location: "Pier".into(), ..ImportOptions::default() })), Argument, Some("options.location")),
        ("import of shared stock", call!(import_sale, any(SHARED)), Export, Some("row 3, column Stock")),
        ("import of nothing", call!(import_sale, import("")), Export, Some("content")),
        ("import of 3 MiB and a byte", call!(import_sale, import(vec![b'a'; 3 * 1_024 * 1_024 + 1])), Export, Some("content")),
        ("import of 3 MiB and the stock", call!(import_sale, with(&"a".repeat(3 * 1_024 * 1_024), ImportOptions { stock: vec![b'a'], ..ImportOptions::default() })), Export, Some("content")),
        ("import of more than 100,000 rows", call!(import_sale, any(format!("sku,price\n{}", "a,1\n".repeat(100_001)))), Export, Some("content")),
        ("import of more than 10,000 items", call!(import_sale, any(many(10_001))), Export, Some("content")),
        ("import of WooCommerce's as Shopify's", call!(import_sale, import("ID,Type,SKU,Name,Stock,Regular price\n1,simple,a,A,5,10\n")), Export, Some("row 1")),
        ("import of a workbook", call!(import_sale, any("PK\u{3}\u{4}rest")), Export, Some("content")),
        ("import of a file without prices", call!(import_sale, import("Handle,Variant Inventory Qty\na,5\n")), Export, Some("row 1, column Variant Price (or Price)")),
        ("import of a price of 0", call!(import_sale, import(GOOD.replacen("38.00", "0.00", 1))), Export, Some("row 2, column Variant Price")),
        ("import of no price", call!(import_sale, import(GOOD.replacen("38.00", "", 1))), Export, Some("row 2, column Variant Price")),
        ("import of decimal commas", call!(import_sale, any("sku;price;quantity\nA;5,00;3\n")), Export, Some("row 2, column price")),
        ("import of negative stock", call!(import_sale, import(GOOD.replace(",30,", ",-30,"))), Export, Some("row 2, column Variant Inventory Qty")),
        ("import of absurd stock", call!(import_sale, import(GOOD.replace(",30,", ",30000000,"))), Export, Some("row 2, column Variant Inventory Qty")),
        ("import of untracked stock", call!(import_sale, import(GOOD.replace("shopify", ""))), Export, Some("column Variant Inventory Qty")),
        ("import of a SKU twice", call!(import_sale, import(GOOD.replace("TEE-L", "TEE-M"))), Export, Some("row 2, column Variant SKU")),
        ("import of a SKU twice but for what cannot be seen", call!(import_sale, import(GOOD.replace("TEE-L", "TEE-M\u{200b}"))), Export, Some("row 2, column Variant SKU")),
        ("preview of a SKU twice", call!(import_sale, preview(GOOD.replace("TEE-L", "TEE-M"))), Export, Some("row 2, column Variant SKU")),
        ("preview of drafts alone", call!(import_sale, preview("Handle,Variant Price,Status\na,5,draft\n")), Export, Some("content")),
        ("preview without a name", call!(import_sale, sale::ImportSaleRequest { settings: Some(SaleSettings::default()), ..preview(GOOD) }), Argument, Some("settings.name")),
        ("import of odd fils", call!(import_sale, sale::ImportSaleRequest { settings: Some(SaleSettings { currency: "KWD".into(), ..settings() }), ..import(GOOD.replace("38.00", "38.005")) }), Export, Some("row 2, column Variant Price")),
        ("import of less than cards are charged", call!(import_sale, import(GOOD.replace("38.00", "0.49"))), Export, Some("row 2, column Variant Price")),
        ("import of two that are more than cards are charged", call!(import_sale, import(GOOD.replace("38.00", "500000.00"))), Export, Some("row 2, column Variant Price")),
        ("import in what cards are not charged in", call!(import_sale, sale::ImportSaleRequest { settings: Some(SaleSettings { currency: "IRR".into(), ..settings() }), ..import(GOOD) }), Argument, Some("settings.currency")),
        ("import of odd cents", call!(import_sale, import(GOOD.replace("38.00", "38.005"))), Export, Some("row 2, column Variant Price")),
        ("import into the wrong currency", call!(import_sale, sale::ImportSaleRequest { settings: Some(SaleSettings { currency: "JPY".into(), ..settings() }), ..import(GOOD) }), Export, Some("row 2, column Variant Price")),
        ("import of an open quote", call!(import_sale, import(GOOD.replace("Tee,", "\"Tee,"))), Export, Some("row 2")),
        ("import of a ragged row", call!(import_sale, import(GOOD.replace("TEE-L,", ""))), Export, Some("row 2")),
        ("import of broken UTF-8", call!(import_sale, import([GOOD.as_bytes(), b"caf\xe9"].concat())), Export, Some("row 4")),
    ];

    let before = world.tables().await;
    for (name, call, reason, field) in cases {
        let status = call(world.client.clone()).await.expect_err(name);
        assert_eq!(status.code(), reason.code(), "{name}: {status:?}");
        let failure = assert_failure(&status, reason);
        let violation = failure.violations().first().map(|violation| violation.field.as_str());
        assert_eq!(violation, field, "{name}: {failure:?}");
        assert!(status.message().contains(reason.next_step()), "{name}: {}", status.message());
        assert_eq!(world.tables().await, before, "{name}");
    }
    assert_eq!(world.peers.told(&draft.sale_id), Vec::<String>::new());
}

const GOOD: &str = "\
Handle,Title,Option1 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Price
tee,Tee,M,TEE-M,shopify,30,38.00
tee,,L,TEE-L,shopify,20,38.00
";

/// Two variations that have four units together.
const SHARED: &str = "\
ID,Type,SKU,Name,Stock,Regular price,Parent,Attribute 1 name,Attribute 1 value(s)
1,variable,TEE,Tee,4,,,,
2,variation,TEE-M,Tee,parent,5,TEE,Size,M
3,variation,TEE-L,Tee,parent,5,TEE,Size,L
";

/// An import whose format is to be recognised.
fn any(content: impl Into<Vec<u8>>) -> sale::ImportSaleRequest {
    sale::ImportSaleRequest { format: 0, ..import(content) }
}

fn preview(content: impl Into<Vec<u8>>) -> sale::ImportSaleRequest {
    sale::ImportSaleRequest {
        request_id: String::new(),
        settings: None,
        validate_only: true,
        ..any(content)
    }
}

fn with(content: &str, options: ImportOptions) -> sale::ImportSaleRequest {
    sale::ImportSaleRequest { options: Some(options), ..import(content) }
}

fn priced(price: Price) -> ImportOptions {
    ImportOptions { price: Some(price), ..ImportOptions::default() }
}

/// A list of our own with so many items.
fn many(items: usize) -> String {
    let rows: Vec<String> = (0..items).map(|row| format!("S{row},1,1\n")).collect();
    format!("sku,price,quantity\n{}", rows.concat())
}

#[tokio::test]
async fn a_refusal_says_what_would_remain() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let file = GOOD.replacen("38.00", "0.00", 1);
    let status = client.import_sale(import(file.as_str())).await.unwrap_err();
    let failure = assert_failure(&status, Reason::ExportInvalid);
    assert_eq!(failure.metadata()["remaining_rows"], "1");
    let last = failure.violations().last().unwrap();
    assert_eq!(last.field, "options.leave_out_faulty");
    assert!(last.description.starts_with("1 row would be sold with it"), "{last:?}");
    assert!(status.message().contains("1 row would be sold"), "{}", status.message());

    let options = ImportOptions { leave_out_faulty: true, ..ImportOptions::default() };
    let answer = client.import_sale(with(&file, options)).await.unwrap().into_inner();
    let skus: Vec<String> = answer.sale.unwrap().items.into_iter().map(|item| item.sku).collect();
    assert_eq!(skus, ["TEE-L"]);
    let rows = answer.preview.unwrap().rows;
    assert_eq!(rows.len(), 1, "only what is left out is listed: {rows:?}");
    assert_eq!((rows[0].line, rows[0].reason()), (2, sale::LeftOutReason::Faulty));
}

#[tokio::test]
async fn all_problems_arrive_at_once() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let status = client
        .create_sale(sale::CreateSaleRequest {
            settings: Some(SaleSettings {
                name: String::new(),
                hold_ttl: lasting(1),
                ..settings()
            }),
            items: vec![Item { quantity: 0, ..item("A") }],
            ..creation()
        })
        .await
        .unwrap_err();
    let failure = assert_failure(&status, Reason::ArgumentInvalid);
    let fields: Vec<&str> = failure.violations().iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["settings.name", "settings.hold_ttl", "items[0].quantity"]);

    // The longest texts there are, of four bytes a character: the answer still fits the trailers
    // that clients take. Of what cannot be sold already, the stock is not judged.
    let mut rows = String::from("Handle,Title,Variant SKU,Variant Inventory Qty,Variant Price\n");
    for row in 0..1_000 {
        rows.push_str(&format!("p{row},P,{0},{0},{0}\n", "💥".repeat(150)));
    }
    let status = client.import_sale(import(rows)).await.unwrap_err();
    let failure = assert_failure(&status, Reason::ExportInvalid);
    let violations = failure.violations();
    assert!((10..=51).contains(&violations.len()), "{}", violations.len());
    let last = violations.last().unwrap();
    assert_eq!(last.description, format!("and {} more", 2_000 - violations.len() + 1));
    assert_eq!(failure.metadata()["problems"], "2000");
}

#[tokio::test]
async fn the_service_starts_without_postgres() {
    let closed = format!("127.0.0.1:{}", closed_port());
    let (_server, mut client) = world::serve(
        &format!("postgres://nobody@{closed}/x"),
        &format!("http://{closed}"),
        world::NEVER,
    )
    .await;
    let status = client.get_sale(sale::GetSaleRequest { sale_id: id() }).await.unwrap_err();
    let failure = assert_failure(&status, Reason::StoreUnavailable);
    assert!(failure.delay().is_some());
    assert!(!status.message().contains("refused"), "driver text left the service");
    let status = client.create_sale(creation()).await.unwrap_err();
    assert_failure(&status, Reason::StoreUnavailable);
}

/// A port without a listener.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
