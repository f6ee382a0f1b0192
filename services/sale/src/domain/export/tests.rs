//! Good exports, broken ones, and whatever a generator comes up with.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use iso_currency::Currency;
use proptest::prelude::*;

use super::*;
use crate::domain::{Item, Problems};

const SAMPLE: &[u8] = include_bytes!("../../../../../cli/samples/spring-drop.csv");
const HEADER: &str = "Handle,Title,Body (HTML),Option1 Name,Option1 Value,Option2 Name,Option2 Value,Variant SKU,\
Variant Inventory Tracker,Variant Inventory Qty,Variant Price,Status";

const EUR: Rules = Rules { currency: Some(Currency::EUR), quantity: None, per_buyer_limit: 2 };

fn try_read(content: &[u8], rules: &Rules) -> (Vec<Item>, Problems) {
    let mut problems = Problems::new();
    let items = read(content, rules, &mut problems);
    (items, problems)
}

fn good(content: &str, rules: &Rules) -> Vec<Item> {
    let (items, problems) = try_read(content.as_bytes(), rules);
    assert!(problems.is_empty(), "{problems:?}");
    items
}

/// One product of one variant, each cell as given.
fn one(sku: &str, tracker: &str, stock: &str, price: &str) -> String {
    format!("{HEADER}\ntee,Tee,,Title,Default Title,,,{sku},{tracker},{stock},{price},active\n")
}

#[test]
fn the_sample_sells_three_hundred_units() {
    let (items, problems) = try_read(SAMPLE, &EUR);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(items.len(), 12);
    assert_eq!(items.iter().map(|item| item.quantity).sum::<i64>(), 300);
    assert!(items.iter().any(|item| item.sku.contains('/')), "some SKUs are blank");
    assert!(items.iter().all(|item| item.price_minor > 0 && item.per_buyer_limit == 2));
}

#[test]
fn image_rows_sell_nothing() {
    let items = good(
        &format!(
            "{HEADER}\n\
             tee,Harbour Tee,\"<p>Soft, \"\"heavy\"\"\n\ncotton</p>\",Size,M,Colour,Navy,,shopify,10,29.90,active\n\
             tee,,,,L,,Navy,TEE-L,shopify,5,31,\n\
             tee,,,,,,,,,,,\n\
             \n\
             mug,Mug,,Title,Default Title,,,,shopify,7,12.00,active\n\
             old,Old,,Title,Default Title,,,,shopify,7,-1,archived\n\
             old,,,,Blue,,,,shopify,7,12.00,\n\
             new,New,,Title,Default Title,,,,,,,Draft\n"
        ),
        &EUR,
    );
    let found: Vec<(&str, &str, i64, i64)> = items
        .iter()
        .map(|item| (item.sku.as_str(), item.title.as_str(), item.price_minor, item.quantity))
        .collect();
    assert_eq!(
        found,
        [
            ("tee/M/Navy", "Harbour Tee - M / Navy", 2_990, 10),
            ("TEE-L", "Harbour Tee - L / Navy", 3_100, 5),
            ("mug", "Mug", 1_200, 7),
        ]
    );
}

#[test]
fn the_callers_quantity_replaces_the_shops() {
    let rules = Rules { quantity: Some(40), ..EUR };
    for stock in ["", "0", "1"] {
        assert_eq!(good(&one("", "", stock, "5"), &rules)[0].quantity, 40);
    }
    let without_stock = "Handle,Variant Price\ntee,5\n";
    let items = good(without_stock, &rules);
    assert_eq!((items[0].sku.as_str(), items[0].title.as_str()), ("tee", "tee"));
}

#[test]
fn byte_order_marks_and_line_ends_are_read() {
    for ends in ["\n", "\r\n", "\r"] {
        let text = format!("\u{feff}{}{}", one("A", "shopify", "3", "5"), "mug,,,,,,,,,,,\n")
            .replace('\n', ends);
        let (_, problems) = try_read(text.as_bytes(), &EUR);
        let listed = problems.listed();
        assert_eq!(listed[0].field, "row 3, column Variant Price", "{ends:?} {listed:?}");
    }
}

#[test]
fn a_row_has_the_line_it_begins_on() {
    let text = format!(
        "{HEADER}\ntee,Tee,\"one\n\nthree\",Title,Default Title,,,A,shopify,3,5,\n\n\
         mug,Mug,,Title,Default Title,,,B,shopify,3,x,\n"
    );
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let (_, problems) = try_read(text.as_bytes(), &EUR);
        assert_eq!(problems.listed()[0].field, "row 6, column Variant Price");
    }
}

#[test]
fn each_fault_names_row_column_and_remedy() {
    let yen = Rules { currency: Some(Currency::JPY), ..EUR };
    let with = |rows: &str| format!("{HEADER}\n{rows}").into_bytes();
    let cases: Vec<(&str, Vec<u8>, &Rules, &str, &str)> = vec![
        ("empty file", Vec::new(), &EUR, "content", "empty"),
        ("only a mark", "\u{feff} \n".into(), &EUR, "content", "empty"),
        ("only a header", with(""), &EUR, "content", "no variant"),
        ("only drafts", with("a,A,,,,,,,,,,draft\n"), &EUR, "content", "draft"),
        (
            "no handle column",
            b"Title,Variant Price,Variant Inventory Qty\n".to_vec(),
            &EUR,
            "row 1, column Handle",
            "missing",
        ),
        (
            "no price column",
            b"Handle,Variant Inventory Qty\n".to_vec(),
            &EUR,
            "row 1, column Variant Price",
            "missing",
        ),
        (
            "no stock column",
            b"Handle,Variant Price\na,1\n".to_vec(),
            &EUR,
            "row 1, column Variant Inventory Qty",
            "QUANTITY=",
        ),
        (
            "a column twice",
            b"Handle,Handle,Variant Price,Variant Inventory Qty\n".to_vec(),
            &EUR,
            "row 1, column Handle",
            "twice",
        ),
        ("semicolons", b"Handle;Variant Price\na;1\n".to_vec(), &EUR, "row 1", "commas"),
        (
            "negative stock",
            one("", "shopify", "-3", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "below 0",
        ),
        (
            "absurd stock",
            one("", "shopify", "10000001", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "10,000,000",
        ),
        (
            "huge stock",
            one("", "shopify", &"9".repeat(60), "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "whole number",
        ),
        (
            "stock in words",
            one("", "shopify", "many", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "whole number",
        ),
        (
            "half a unit",
            one("", "shopify", "1.5", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "whole number",
        ),
        (
            "no stock left",
            one("", "shopify", "0", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "QUANTITY=",
        ),
        (
            "untracked",
            one("", "", "1", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Tracker",
            "QUANTITY=",
        ),
        (
            "unknown stock",
            one("", "shopify", "", "5").into(),
            &EUR,
            "row 2, column Variant Inventory Qty",
            "QUANTITY=",
        ),
        (
            "no price",
            one("", "shopify", "1", "").into(),
            &EUR,
            "row 2, column Variant Price",
            "empty",
        ),
        (
            "negative price",
            one("", "shopify", "1", "-5.00").into(),
            &EUR,
            "row 2, column Variant Price",
            "above 0",
        ),
        (
            "free",
            one("", "shopify", "1", "0.00").into(),
            &EUR,
            "row 2, column Variant Price",
            "is 0",
        ),
        (
            "absurd price",
            one("", "shopify", "1", "10000000.01").into(),
            &EUR,
            "row 2, column Variant Price",
            "at most 999999.99 EUR an order: lower the price",
        ),
        (
            "no such price",
            one("", "shopify", "1", &"9".repeat(30)).into(),
            &EUR,
            "row 2, column Variant Price",
            "lower it",
        ),
        (
            "a price that cards are too dear for",
            one("", "shopify", "1", "0.49").into(),
            &EUR,
            "row 2, column Variant Price",
            "at least 0.50 EUR: raise the price",
        ),
        (
            "an order beyond a charge",
            one("", "shopify", "2", "500000.00").into(),
            &EUR,
            "row 2, column Variant Price",
            "pass a limit per buyer (per_buyer_limit) of 1 to 1",
        ),
        (
            "a currency in the cell",
            one("", "shopify", "1", "$5.00").into(),
            &EUR,
            "row 2, column Variant Price",
            "without currency",
        ),
        (
            "too many decimals",
            one("", "shopify", "1", "19.999").into(),
            &EUR,
            "row 2, column Variant Price",
            "3 decimals",
        ),
        (
            "the wrong currency",
            one("", "shopify", "1", "19.00").into(),
            &yen,
            "row 2, column Variant Price",
            "JPY has 0",
        ),
        (
            "no handle",
            with("a,A,,,,,,,s,1,5,\n,,,,,,,,s,1,5,\n"),
            &EUR,
            "row 3, column Handle",
            "empty",
        ),
        (
            "a SKU twice",
            with("a,A,,,,,,X,s,1,5,\nb,B,,,,,,X,s,1,5,\n"),
            &EUR,
            "row 3, column Variant SKU",
            "like row 2",
        ),
        (
            "options twice",
            with("a,A,,,M,,,,s,1,5,\na,,,,M,,,,s,1,5,\n"),
            &EUR,
            "row 3, column Handle",
            "like row 2",
        ),
        (
            "a long SKU",
            one(&"x".repeat(129), "s", "1", "5").into(),
            &EUR,
            "row 2, column Variant SKU",
            "129 characters",
        ),
        (
            "a long title",
            with(&format!("a,{},,,,,,,s,1,5,\n", "x".repeat(257))),
            &EUR,
            "row 2, column Title",
            "257 characters",
        ),
        (
            "a break in a SKU",
            with("a,A,,,,,,\"X\nY\",s,1,5,\n"),
            &EUR,
            "row 2, column Variant SKU",
            "control",
        ),
        ("a short row", with("a,A\n"), &EUR, "row 2", "2 cells"),
        ("a long row", with("a,A,,,,,,,s,1,5,,\n"), &EUR, "row 2", "13 cells"),
        (
            "an open quote",
            with("a,\"A,,,,,,,s,1,5,\nb,B,,,,,,,s,1,5,\n"),
            &EUR,
            "row 2",
            "never closed",
        ),
        ("a stray quote", with("a,5\" nail,,,,,,,s,1,5,\n"), &EUR, "row 2", "inside a cell"),
        (
            "text behind a quote",
            with("a,\"A\"B,,,,,,,s,1,5,\n"),
            &EUR,
            "row 2",
            "behind a closing quote",
        ),
        (
            "Latin-1",
            [with("").as_slice(), b"a,Caf\xe9,,,,,,,s,1,5,\n"].concat(),
            &EUR,
            "row 2",
            "UTF-8",
        ),
    ];
    for (name, content, rules, field, needle) in cases {
        let (_, problems) = try_read(&content, rules);
        let listed = problems.listed();
        assert_eq!(listed.first().map(|p| p.field.as_str()), Some(field), "{name}: {listed:?}");
        assert!(listed[0].what.contains(needle), "{name}: {listed:?}");
        assert_eq!(problems.count(), 1, "{name}: {listed:?}");
    }
}

#[test]
fn bad_utf8_is_found_by_its_byte() {
    let (_, problems) = try_read(b"Handle,Variant Price\nab\xff", &EUR);
    assert!(problems.listed()[0].what.contains("byte 23"), "{problems:?}");
}

#[test]
fn a_broken_figure_is_always_refused() {
    let rules = Rules { quantity: Some(5), ..EUR };
    let (_, problems) = try_read(one("", "", "-1", "5").as_bytes(), &rules);
    assert_eq!(problems.listed()[0].field, "row 2, column Variant Inventory Qty");
}

#[test]
fn all_faults_are_found_at_once() {
    let mut text = format!("{HEADER}\n");
    for row in 0..40 {
        text.push_str(&format!("p{row},P,,,,,,,s,-1,x,\n"));
    }
    let (_, problems) = try_read(text.as_bytes(), &EUR);
    assert_eq!((problems.listed().len(), problems.count()), (50, 80));
}

#[test]
fn more_than_ten_thousand_items_are_refused() {
    let mut text = format!("{HEADER}\n");
    for row in 0..10_050 {
        text.push_str(&format!("p{row},P,,,,,,,s,1,5,\n"));
    }
    let (_, problems) = try_read(text.as_bytes(), &EUR);
    assert_eq!(problems.count(), 1);
    assert!(problems.listed()[0].what.contains("10,000 items"));
}

#[test]
fn another_systems_export_lacks_columns() {
    let woocommerce =
        "ID,Type,SKU,Name,Published,In stock?,Stock,Regular price\n44,variable,w,Hoodie,1,1,,\n";
    let (_, problems) = try_read(woocommerce.as_bytes(), &EUR);
    let fields: Vec<&str> = problems.listed().iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "row 1, column Handle",
            "row 1, column Variant Price",
            "row 1, column Variant Inventory Qty"
        ]
    );
}

#[derive(Debug, Clone)]
struct Variant {
    body: String,
    title: String,
    option: String,
    stock: i64,
    minor: i64,
    images: usize,
}

fn variants() -> impl Strategy<Value = Vec<Variant>> {
    let variant = (
        "[a-zA-Z<>\",\n\r ]{0,40}",
        "[A-Za-zäöü\",]{1,20}",
        "[A-Za-z0-9\",]{1,10}",
        1_i64..=10_000_000,
        // Of which a buyer may have two.
        50_i64..=49_999_999,
        0_usize..3,
    );
    let variant = variant.prop_map(|(body, title, option, stock, minor, images)| Variant {
        body,
        title,
        option,
        stock,
        minor,
        images,
    });
    prop::collection::vec(variant, 1..30)
}

proptest! {
    #[test]
    fn written_csv_is_read_back(variants in variants(), crlf: bool) {
        let mut writer = csv::WriterBuilder::new()
            .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        writer.write_record(HEADER.split(',')).unwrap();
        let mut expected = Vec::new();
        for (number, v) in variants.iter().enumerate() {
            let handle = format!("p{number}");
            let price = format!("{}.{:02}", v.minor / 100, v.minor % 100);
            writer
                .write_record([
                    &handle, &v.title, &v.body, "Kind", &v.option, "", "", "", "shopify",
                    &v.stock.to_string(), &price, "active",
                ])
                .unwrap();
            for _ in 0..v.images {
                writer.write_record([&handle, "", "", "", "", "", "", "", "", "", "", ""]).unwrap();
            }
            expected.push(Item {
                sku: format!("{handle}/{}", v.option),
                title: format!("{} - {}", v.title, v.option),
                price_minor: v.minor,
                quantity: v.stock,
                per_buyer_limit: 2,
            });
        }
        let (items, problems) = try_read(&writer.into_inner().unwrap(), &EUR);
        prop_assert!(problems.is_empty(), "{problems:?}");
        prop_assert_eq!(items, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(content in prop::collection::vec(any::<u8>(), 0..400)) {
        let (items, problems) = try_read(&content, &EUR);
        prop_assert!(!items.is_empty() || !problems.is_empty());
    }

    #[test]
    fn a_damaged_export_gives_no_bad_items(at in 0..SAMPLE.len(), byte: u8, cut: bool) {
        let mut content = SAMPLE.to_vec();
        if cut { content.truncate(at) } else { content[at] = byte }
        let (items, problems) = try_read(&content, &EUR);
        if problems.is_empty() {
            prop_assert!(!items.is_empty());
            for item in items {
                prop_assert!((50..=49_999_999).contains(&item.price_minor));
                prop_assert!((1..=10_000_000).contains(&item.quantity));
                prop_assert!((1..=128).contains(&item.sku.chars().count()));
            }
        }
    }
}
