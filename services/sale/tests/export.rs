//! The results of a sale as files: a shop's stock less what was sold, and lists of ours.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    self, ExportFormat, ExportKind, ExportSaleRequest, ExportSaleResponse, ImportDecision,
    ImportOptions, export_sale_response::Part,
};
use flashsale_testbed::{
    assert_failure, eventually,
    fixtures::{self, OrderSpec},
};
use prost_types::FieldMask;
use tonic::{Status, Streaming};
use uuid::Uuid;
use world::{Client, World, creation, eur, id, import, item, settings, timestamp};

const PRODUCTS: &str = include_str!("../../../libs/catalogue/tests/fixtures/shopify-old.csv");
const INVENTORY: &str =
    include_str!("../../../libs/catalogue/tests/fixtures/shopify-inventory.csv");
const WOOCOMMERCE: &str = include_str!("../../../libs/catalogue/tests/fixtures/woocommerce.csv");
const BIGCOMMERCE: &str =
    include_str!("../../../libs/catalogue/tests/fixtures/bigcommerce-present.csv");

/// A whole file.
#[derive(Debug)]
struct File {
    name: String,
    content_type: String,
    text: String,
    parts: usize,
    summary: sale::ExportSummary,
}

fn asked(sale: &str, format: ExportKind) -> ExportSaleRequest {
    ExportSaleRequest {
        sale_id: sale.to_owned(),
        format: format.into(),
        ..ExportSaleRequest::default()
    }
}

fn with_baseline(sale: &str, format: ExportKind, baseline: &str) -> ExportSaleRequest {
    ExportSaleRequest { baseline: baseline.as_bytes().to_vec(), ..asked(sale, format) }
}

async fn open(
    world: &World,
    asked: ExportSaleRequest,
) -> Result<Streaming<ExportSaleResponse>, Status> {
    Ok(world.client.clone().export_sale(asked).await?.into_inner())
}

/// Reads a stream to its end.
async fn whole(mut parts: Streaming<ExportSaleResponse>) -> Result<File, Status> {
    let Some(Part::File(file)) = parts.message().await?.unwrap().part else {
        panic!("the name is first");
    };
    let (mut content, mut count, mut summary) = (Vec::new(), 0, None);
    while let Some(answer) = parts.message().await? {
        assert!(summary.is_none(), "the summary is last");
        match answer.part.unwrap() {
            Part::Content(part) => {
                assert!((1..=65_536).contains(&part.len()), "{} bytes", part.len());
                content.extend(part);
                count += 1;
            }
            Part::Summary(last) => summary = Some(last),
            Part::File(file) => panic!("{file:?} again"),
        }
    }
    Ok(File {
        name: file.file_name,
        content_type: file.content_type,
        text: String::from_utf8(content).unwrap(),
        parts: count,
        summary: summary.expect("a whole file has a summary"),
    })
}

async fn export(world: &World, asked: ExportSaleRequest) -> Result<File, Status> {
    whole(open(world, asked).await?).await
}

async fn refused(world: &World, asked: ExportSaleRequest, reason: Reason) -> Failure {
    assert_failure(&export(world, asked).await.unwrap_err(), reason)
}

/// Records an order of `buyer` in `state`.
async fn order(
    world: &World,
    sale: &str,
    buyer: &str,
    state: &str,
    lines: &[(&str, i64, i64)],
) -> Uuid {
    let total = lines.iter().map(|(_, units, price)| units * price).sum();
    let mut order = OrderSpec {
        state,
        total_minor: total,
        lines: lines.to_vec(),
        ..OrderSpec::new(sale.parse().unwrap(), buyer)
    };
    order.details.email = "ada@example.com".to_owned();
    order.details.contact_name = "Ada Quay".to_owned();
    fixtures::record_order(&world.pg.pool, &order).await.unwrap();
    order.order_id
}

/// Starts and ends a sale.
async fn over(world: &World, sale: &str) {
    world.start(sale, &id()).await.unwrap();
    world.end(sale, &id()).await.unwrap();
}

/// An ended sale of ten TEE-M and ten TEE-L.
async fn ended_sale(world: &World) -> String {
    let sale = world.draft(creation()).await.sale_id;
    over(world, &sale).await;
    sale
}

/// A shop's file, what it is imported as, and its stock where that stands apart.
fn shop_import(format: ExportFormat, content: &str, stock: &str) -> sale::ImportSaleRequest {
    let location = if stock.is_empty() { "" } else { "Quay 1" };
    sale::ImportSaleRequest {
        format: format.into(),
        options: Some(ImportOptions {
            stock: stock.as_bytes().to_vec(),
            location: location.to_owned(),
            leave_out_faulty: true,
            ..ImportOptions::default()
        }),
        ..import(content)
    }
}

/// What of a shop's file would be sold now: units by sku.
async fn offered(world: &World, asked: sale::ImportSaleRequest) -> BTreeMap<String, i64> {
    let asked = sale::ImportSaleRequest { validate_only: true, ..asked };
    let answer = world.client.clone().import_sale(asked).await.unwrap().into_inner();
    let rows = answer.preview.unwrap().rows.into_iter();
    let sold = rows.filter(|row| row.decision() == ImportDecision::Sell);
    sold.map(|row| (row.sku, row.quantity.unwrap())).collect()
}

/// One way to a shop and back.
struct Case {
    from: ExportFormat,
    to: ExportKind,
    products: &'static str,
    stock: &'static str,
    /// What was sold, of confirmed and of refunded orders.
    sold: &'static [(&'static str, i64)],
    written: &'static str,
    /// What the shop's import makes of its file.
    applied: &'static [(&'static str, &'static str)],
}

#[tokio::test]
async fn results_go_back_to_each_shop() {
    let world = World::new().await;
    for case in [
        Case {
            from: ExportFormat::ShopifyCsv,
            to: ExportKind::ShopifyInventoryCsv,
            products: PRODUCTS,
            stock: INVENTORY,
            sold: &[("0112", 2), ("KELP-GL", 1)],
            written: "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,SKU,\
                      Location,On hand (current),On hand (new)\n\
                      pier-cup,Pier cup,Title,Default Title,,,,,0112,Quay 1,4,2\n\
                      kelp-scarf,Kelp scarf,Colour,Green,Length,Long,,,KELP-GL,Quay 1,2,1\n",
            applied: &[
                ("0112,,,Quay 1,,0,0,1,3,4,", "0112,,,Quay 1,,0,0,1,1,2,"),
                ("KELP-GL,,,Quay 1,,0,0,0,2,2,", "KELP-GL,,,Quay 1,,0,0,0,1,1,"),
            ],
        },
        Case {
            from: ExportFormat::WoocommerceCsv,
            to: ExportKind::WoocommerceCsv,
            products: WOOCOMMERCE,
            stock: "",
            sold: &[("BUOY-B", 1), ("BUOY/Red", 2), ("id:32", 5)],
            written: "ID,SKU,Stock\n21,BUOY-B,3\n22,,1\n32,,1\n",
            applied: &[
                ("Buoy jacket - Blue,1,0,visible,,,1,4,", "Buoy jacket - Blue,1,0,visible,,,1,3,"),
                ("Buoy jacket,1,0,visible,,,1,3,notify", "Buoy jacket,1,0,visible,,,1,1,notify"),
                ("Rope end,1,0,visible,,,1,6,", "Rope end,1,0,visible,,,1,1,"),
            ],
        },
        Case {
            from: ExportFormat::BigcommerceCsv,
            to: ExportKind::BigcommerceCsv,
            products: BIGCOMMERCE,
            stock: "",
            sold: &[("MAST-LB", 2), ("BALL", 3)],
            written: "Item,ID,Name,SKU,Current Stock\nProduct,70,Mast hoodie,MAST,0\nVariant,72,,MAST-LB,1\n\
                      Product,80,Deck ball,BALL,5\n",
            applied: &[
                ("Value=Blue[#0000ff],,3,0,57.00", "Value=Blue[#0000ff],,1,0,57.00"),
                ("BALL,,product,8,0,12.00,,,9.00", "BALL,,product,5,0,12.00,,,9.00"),
            ],
        },
    ] {
        let name = case.to.as_str_name();
        let asked = shop_import(case.from, case.products, case.stock);
        let before = offered(&world, asked.clone()).await;
        let answer = world.client.clone().import_sale(asked).await.unwrap().into_inner();
        let sale = answer.sale.unwrap().sale_id;
        over(&world, &sale).await;
        for (sku, units) in case.sold {
            // Of several units, all but one in an order that stays.
            if *units > 1 {
                let line = (*sku, units - 1, 900);
                order(&world, &sale, "b", "CONFIRMED", &[line]).await;
            }
            order(&world, &sale, "c", "REFUNDED", &[(*sku, 1, 900)]).await;
            order(&world, &sale, "d", "DECLINED", &[(*sku, 1, 900)]).await;
            order(&world, &sale, "e", "CANCELLED", &[(*sku, 1, 900)]).await;
        }

        let baseline = if case.stock.is_empty() { case.products } else { case.stock };
        let location = if case.stock.is_empty() { "" } else { "Quay 1" };
        let asked = ExportSaleRequest {
            location: location.to_owned(),
            ..with_baseline(&sale, case.to, baseline)
        };
        let file = export(&world, asked).await.unwrap();
        assert_eq!(file.text, case.written, "{name}");
        let units: i64 = case.sold.iter().map(|(_, units)| units).sum();
        assert_eq!((file.summary.units, file.summary.r#final), (units, true), "{name}");
        assert!(file.summary.warnings.is_empty(), "{name}: {:?}", file.summary.warnings);
        assert!(file.name.ends_with(&format!("{sale}.csv")), "{}", file.name);
        assert_eq!(file.content_type, "text/csv; charset=utf-8");

        let mut shop = baseline.to_owned();
        for (from, to) in case.applied {
            assert_eq!(shop.matches(from).count(), 1, "{name}: {from}");
            shop = shop.replace(from, to);
        }
        let (products, stock) = if case.stock.is_empty() {
            (shop.as_str(), "")
        } else {
            (case.products, shop.as_str())
        };
        let after = offered(&world, shop_import(case.from, products, stock)).await;
        let mut expected = before;
        for (sku, units) in case.sold {
            *expected.get_mut(*sku).unwrap() -= units;
        }
        assert_eq!(after, expected, "{name}");
    }
}

/// WooCommerce's file of TEE-M and TEE-L, twenty of each in the shop.
const TEES: &str = "ID,Type,SKU,Name,Stock,Regular price\n1,simple,TEE-M,Tee M,20,29.90\n2,simple,TEE-L,Tee L,20,29.90\n";

#[tokio::test]
async fn a_shops_stock_waits_for_the_final_report() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    let woo = with_baseline(&sale, ExportKind::WoocommerceCsv, TEES);
    let early = ExportSaleRequest { not_final: true, ..woo.clone() };
    // Never loaded: nothing is held, and inventory is not asked.
    assert_eq!(export(&world, early.clone()).await.unwrap().text, "ID,SKU,Stock\n");

    world.start(&sale, &id()).await.unwrap();
    order(&world, &sale, "a", "CONFIRMED", &[("TEE-M", 2, 2_990)]).await;
    let paying = order(&world, &sale, "b", "PAYING", &[("TEE-M", 3, 2_990)]).await;
    world.peers.have_out(4, 3);
    let failure = refused(&world, woo.clone(), Reason::SaleStateConflict).await;
    assert!(failure.what().contains("--not-final"), "{failure:?}");
    assert_eq!(failure.metadata()["state"], "OPEN");

    // Four are held and three on their way; those of the recorded order are among the latter.
    let file = export(&world, early.clone()).await.unwrap();
    assert_eq!(file.text, "ID,SKU,Stock\n1,TEE-M,15\n2,TEE-L,16\n");
    assert_eq!((file.summary.units, file.summary.r#final), (9, false));
    world.peers.fail("GetStock", Failure::new(Reason::StockFenced, "it is being rebuilt"));
    let failure = refused(&world, early.clone(), Reason::PeerUnavailable).await;
    assert_eq!(failure.metadata()["peer_reason"], "STOCK_FENCED");
    // Our lists need neither.
    let list = export(&world, asked(&sale, ExportKind::StockCsv)).await.unwrap();
    assert!(!list.summary.r#final);
    world.peers.recover();

    world.end(&sale, &id()).await.unwrap();
    refused(&world, woo.clone(), Reason::SaleStateConflict).await;
    sqlx::query("UPDATE orders SET state = 'CONFIRMED' WHERE order_id = $1")
        .bind(paying)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    world.peers.have_out(0, 0);
    let file = export(&world, woo).await.unwrap();
    assert_eq!(file.text, "ID,SKU,Stock\n1,TEE-M,15\n");
    assert!(file.summary.r#final);
    // What is given back later stays sold.
    sqlx::query("UPDATE orders SET state = 'REFUNDED'").execute(&world.pg.pool).await.unwrap();
    assert_eq!(export(&world, early).await.unwrap().text, "ID,SKU,Stock\n1,TEE-M,15\n");
}

#[tokio::test]
async fn an_imported_item_is_found_by_its_keys() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    order(&world, &sale, "a", "CONFIRMED", &[("TEE-M", 2, 2_990), ("TEE-L", 1, 2_990)]).await;
    for (sku, format, key) in [
        ("TEE-M", "woocommerce", r#"{"ID": "2", "SKU": "TEE-M", "Name": "Tee"}"#),
        // Of another shop's file: its number means nothing here.
        ("TEE-L", "bigcommerce", r#"{"ID": "1", "SKU": "TEE-L"}"#),
    ] {
        sqlx::query(
            "INSERT INTO sale_sources (sale_id, sku, line, format, source_key, stock)
             VALUES ($1, $2, 2, $3, $4::text::jsonb, NULL)",
        )
        .bind(sale.parse::<Uuid>().unwrap())
        .bind(sku)
        .bind(format)
        .bind(key)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    }
    // The shop has renamed its skus since.
    let shop =
        "ID,Type,SKU,Name,Stock,Regular price\n1,simple,OLD-M,Tee,20,9\n2,simple,NEW-M,Tee,20,9\n";
    let file =
        export(&world, with_baseline(&sale, ExportKind::WoocommerceCsv, shop)).await.unwrap();
    assert_eq!(file.text, "ID,SKU,Stock\n2,NEW-M,18\n");
    assert_eq!(
        file.summary.warnings,
        ["TEE-L is not in the file: its units, 1, are not taken off"]
    );
}

#[tokio::test]
async fn lists_have_what_became_of_each() {
    let world = World::new().await;
    let mut asked_for = creation();
    asked_for.items = vec![
        sale::Item { title: "=HYPERLINK(\"x\")".to_owned(), ..item("-TEE") },
        sale::Item { title: "Cup, large".to_owned(), ..item("CUP") },
    ];
    let sale = world.draft(asked_for).await.sale_id;
    over(&world, &sale).await;
    let lines = [("-TEE", 2, 2_990), ("CUP", 1, 2_990)];
    let first = order(&world, &sale, "=ada", "CONFIRMED", &lines).await;
    let second = order(&world, &sale, "bob", "REFUNDED", &[("CUP", 1, 2_990)]).await;

    let file = export(&world, asked(&sale, ExportKind::StockCsv)).await.unwrap();
    assert_eq!(
        file.text,
        "sku,title,price,quantity,per_buyer_limit,allotted,sold,refunded,open,gross,currency\n\
         -TEE,\"'=HYPERLINK(\"\"x\"\")\",29.90,8,2,10,2,0,0,59.80,EUR\n\
         CUP,\"Cup, large\",29.90,8,2,10,1,1,0,29.90,EUR\n"
    );
    assert_eq!((file.summary.rows, file.summary.units), (2, 4));
    assert_eq!(file.name, format!("stock-{sale}.csv"));
    assert!(file.summary.warnings[0].starts_with("column sku: 1 key begins like a formula"));
    let left = sale::ImportSaleRequest {
        format: ExportFormat::OwnCsv.into(),
        ..import(file.text.as_bytes())
    };
    let expected = [("-TEE".to_owned(), 8), ("CUP".to_owned(), 8)];
    assert_eq!(offered(&world, left).await, BTreeMap::from(expected));

    let file = export(&world, asked(&sale, ExportKind::OrdersCsv)).await.unwrap();
    let rows: Vec<Vec<&str>> = file.text.lines().map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.len(), 4);
    // Newest first; the times are the record's.
    let row = |index: usize| [0, 1, 2, 6, 7, 8, 9].map(|column: usize| rows[index][column]);
    let (first, second) = (first.to_string(), second.to_string());
    assert_eq!(row(1), [second.as_str(), "bob", "REFUNDED", "CUP", "1", "29.90", "EUR"]);
    assert_eq!(row(2), [first.as_str(), "=ada", "CONFIRMED", "-TEE", "2", "29.90", "EUR"]);
    assert_eq!(row(3), [first.as_str(), "=ada", "CONFIRMED", "CUP", "1", "29.90", "EUR"]);
    assert_eq!((file.summary.rows, file.summary.units), (3, 4));
    assert_eq!(file.summary.warnings.len(), 2, "{:?}", file.summary.warnings);

    let json = export(&world, asked(&sale, ExportKind::Json)).await.unwrap();
    assert_eq!(
        (json.name, json.content_type.as_str()),
        (format!("sale-{sale}.json"), "application/json")
    );
    for text in [&file.text, &json.text] {
        assert!(!text.contains("example.com") && !text.contains("Quay"), "{text}");
    }
    assert!(json.text.contains(&format!("{{\"sale\":{{\"sale_id\":\"{sale}\"")), "{}", json.text);
    assert!(json.text.contains("\"title\":\"=HYPERLINK(\\\"x\\\")\""), "{}", json.text);
    assert_eq!(json.text.matches("\"order_id\"").count(), 3);
    assert!(json.text.ends_with("]}\n"), "{}", json.text);
}

/// The sale's own items at its present prices, as an import or a page of the shop would take them.
#[tokio::test]
async fn lists_have_the_present_prices_and_shops_none() {
    let world = World::new().await;
    let ends_at = Some(timestamp(time::OffsetDateTime::now_utc() + time::Duration::DAY));
    let settings = sale::SaleSettings { ends_at, ..settings() };
    let items = ["TEE-L", "TEE-M"].map(item).to_vec();
    let asked_for =
        sale::CreateSaleRequest { settings: Some(settings), items: items.clone(), ..creation() };
    let sale = world.draft(asked_for).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    order(&world, &sale, "ada", "CONFIRMED", &[("TEE-M", 2, 2_990)]).await;
    let mut cheaper = items;
    (cheaper[1].unit_price, cheaper[1].per_buyer_limit) = (eur(25, 0), 4);
    let update = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        update_mask: Some(FieldMask { paths: vec!["items".to_owned()] }),
        items: cheaper,
        effective_at: Some(timestamp(time::OffsetDateTime::now_utc() + time::Duration::HOUR)),
        ..sale::UpdateSaleRequest::default()
    };
    world.client.clone().update_sale(update).await.unwrap();

    let at = |price: &str, limit: u8| {
        format!(
            "sku,title,price,quantity,per_buyer_limit,allotted,sold,refunded,open,gross,currency\n\
             TEE-L,Harbour tee,29.90,10,2,10,0,0,0,0.00,EUR\n\
             TEE-M,Harbour tee,{price},8,{limit},10,2,0,0,59.80,EUR\n"
        )
    };
    let stock = || export(&world, asked(&sale, ExportKind::StockCsv));
    assert_eq!(stock().await.unwrap().text, at("29.90", 2), "not yet");
    sqlx::query("UPDATE price_revisions SET switches_at = now()")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    assert_eq!(stock().await.unwrap().text, at("25.00", 4));
    let json = export(&world, asked(&sale, ExportKind::Json)).await.unwrap();
    let priced = "\"sku\":\"TEE-M\",\"title\":\"Harbour tee\",\"price\":\"25.00\"";
    assert!(json.text.contains(priced), "{}", json.text);
    // What was paid stays what it was.
    assert!(json.text.contains("\"unit_price\":\"29.90\""), "{}", json.text);

    // A file for a shop has its keys and its stock, and no price of the sale.
    let woo = ExportSaleRequest {
        not_final: true,
        ..with_baseline(&sale, ExportKind::WoocommerceCsv, TEES)
    };
    assert_eq!(export(&world, woo).await.unwrap().text, "ID,SKU,Stock\n1,TEE-M,18\n");
}

/// Records so many confirmed orders of one TEE-M each, placed in the same microsecond.
async fn many_orders(world: &World, sale: &str, count: usize) {
    let placed_at = Some(time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000));
    let orders: Vec<OrderSpec<'_>> = (0..count)
        .map(|_| OrderSpec {
            state: "CONFIRMED",
            total_minor: 2_990,
            lines: vec![("TEE-M", 1, 2_990)],
            placed_at,
            ..OrderSpec::new(sale.parse().unwrap(), "b")
        })
        .collect();
    fixtures::record_orders(&world.pg.pool, &orders).await.unwrap();
}

#[tokio::test]
async fn a_long_list_is_of_one_moment() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    many_orders(&world, &sale, 3_001).await;
    let mut parts = open(&world, asked(&sale, ExportKind::OrdersCsv)).await.unwrap();
    let first = parts.message().await.unwrap().unwrap();
    assert!(matches!(first.part, Some(Part::File(_))));
    sqlx::query("UPDATE orders SET state = 'REFUNDED'").execute(&world.pg.pool).await.unwrap();
    many_orders(&world, &sale, 1).await;
    let (mut text, mut summary) = (Vec::new(), None);
    while let Some(answer) = parts.message().await.unwrap() {
        match answer.part.unwrap() {
            Part::Content(part) => text.extend(part),
            Part::Summary(last) => summary = Some(last),
            Part::File(file) => panic!("{file:?} again"),
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("REFUNDED"));
    let mut ids: Vec<&str> = text.lines().skip(1).map(|row| &row[..36]).collect();
    assert_eq!(ids.len(), 3_001);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3_001, "an order is there once");
    assert_eq!(summary.unwrap().rows, 3_001);

    let file = export(&world, asked(&sale, ExportKind::OrdersCsv)).await.unwrap();
    assert_eq!(file.text.lines().count(), 3_003);
    assert!(file.parts > 3, "{} parts", file.parts);
}

#[tokio::test]
async fn an_order_that_could_not_be_read_has_a_row() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    let unread = order(&world, &sale, "b", "DEAD_LETTER", &[]).await;
    let file = export(&world, asked(&sale, ExportKind::OrdersCsv)).await.unwrap();
    let row = file.text.lines().nth(1).unwrap();
    assert!(row.starts_with(&format!("{unread},b,DEAD_LETTER,")), "{row}");
    assert!(row.ends_with(",,0,,EUR"), "{row}");
    assert_eq!(file.summary.units, 0);
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    use Reason::{ArgumentInvalid as Argument, ExportInvalid as Export, SaleNotFound};
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    order(&world, &sale, "a", "CONFIRMED", &[("TEE-M", 2, 2_990)]).await;
    let woo = |baseline: &str| with_baseline(&sale, ExportKind::WoocommerceCsv, baseline);
    let changed = |change: fn(&mut ExportSaleRequest)| {
        let mut asked = woo(TEES);
        change(&mut asked);
        asked
    };
    for (what, asked, reason, field) in [
        ("no sale", changed(|asked| asked.sale_id = String::new()), Argument, "sale_id"),
        (
            "an unknown sale",
            changed(|asked| asked.sale_id = Uuid::nil().to_string()),
            SaleNotFound,
            "sale_id",
        ),
        ("no format", changed(|asked| asked.format = 0), Argument, "format"),
        ("an unknown format", changed(|asked| asked.format = 99), Argument, "format"),
        ("no baseline", woo(""), Argument, "baseline"),
        (
            "a baseline for a list",
            with_baseline(&sale, ExportKind::OrdersCsv, TEES),
            Argument,
            "baseline",
        ),
        (
            "a location for a list",
            ExportSaleRequest { location: "Quay 1".to_owned(), ..asked(&sale, ExportKind::Json) },
            Argument,
            "location",
        ),
        (
            "a location for WooCommerce",
            changed(|asked| asked.location = "Quay 1".to_owned()),
            Argument,
            "location",
        ),
        (
            "no location of several",
            with_baseline(&sale, ExportKind::ShopifyInventoryCsv, INVENTORY),
            Argument,
            "location",
        ),
        ("an unknown encoding", changed(|asked| asked.encoding = 99), Argument, "encoding"),
        (
            "another encoding",
            changed(|asked| {
                asked.encoding = sale::ExportEncoding::Windows1252.into();
                asked.baseline.extend("3,simple,CR\u{c8}ME,C,5,9\n".as_bytes());
            }),
            Argument,
            "encoding",
        ),
        ("an unknown separator", changed(|asked| asked.separator = 99), Argument, "separator"),
        (
            "too large a baseline",
            changed(|asked| asked.baseline.resize(3 * 1_024 * 1_024 + 1, b'\n')),
            Export,
            "baseline",
        ),
        ("the file of another shop", woo(BIGCOMMERCE), Export, "row 1"),
        (
            "products for stock",
            with_baseline(&sale, ExportKind::ShopifyInventoryCsv, PRODUCTS),
            Export,
            "row 1",
        ),
        ("no table", woo("[]"), Export, "baseline"),
        ("a cell too few", woo(&format!("{TEES}3,simple,CUP,Cup,5\n")), Export, "row 4"),
        (
            "no whole number",
            woo(&TEES.replace("Tee M,20", "Tee M,2.5")),
            Export,
            "row 2, column Stock",
        ),
    ] {
        let failure = refused(&world, asked, reason).await;
        assert_eq!(failure.violations()[0].field, field, "{what}: {failure:?}");
    }
}

#[tokio::test]
async fn exports_at_once_are_bounded() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    // More than the buffers on the way hold.
    many_orders(&world, &sale, 20_000).await;
    let orders = || asked(&sale, ExportKind::OrdersCsv);
    let mut begun = Vec::new();
    for _ in 0..4 {
        // Each over a connection of its own: what is not read of one would hold up the others.
        let mut client = Client::new(world.server.channel().await);
        let mut parts = client.export_sale(orders()).await.unwrap().into_inner();
        parts.message().await.unwrap().unwrap();
        begun.push(parts);
    }
    let failure = refused(&world, orders(), Reason::Overloaded).await;
    assert_eq!(failure.metadata()["max_exports"], "4");
    // One that is given up makes room.
    drop(begun.pop());
    let file =
        eventually("there is room again", || async { export(&world, orders()).await.ok() }).await;
    assert_eq!(file.summary.rows, 20_000);
    for mut parts in begun {
        while parts.message().await.unwrap().is_some() {}
    }
}
