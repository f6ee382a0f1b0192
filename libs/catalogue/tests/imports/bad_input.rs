//! Files that are refused, and how.

use flashsale_catalogue::{Encoding, Format, MAX_BYTES, ReadOptions, SelectOptions, read, select};

use crate::{eur, eur_of, left_out, only, preview, refused, row, sold};

#[test]
fn too_many_rows_are_refused() {
    let rows = |count: usize| format!("sku,price\n{}", "a,1\n".repeat(count));
    let (place, text) = only(&refused(rows(100_001).as_bytes(), &eur_of(1)));
    assert_eq!(place, "content");
    assert!(text.contains("100,000 rows"), "{text}");
    let options =
        SelectOptions { duplicate_skus: flashsale_catalogue::DuplicateSkus::First, ..eur_of(1) };
    assert_eq!(preview(rows(100_000).as_bytes(), &options).totals.items, 1);
}

#[test]
fn too_many_bytes_are_refused() {
    let row = format!("A,1,{}\n", "x".repeat(1_000));
    let file = format!("sku,price,note\n{}", row.repeat(MAX_BYTES / row.len() + 1));
    let (_, text) = only(&refused(file.as_bytes(), &eur()));
    assert!(text.contains("67,108,864 bytes that are allowed"), "{text}");
}

#[test]
fn a_file_of_one_column_is_refused_by_its_header() {
    let (place, text) = only(&refused("a\n".repeat(1_500_000).as_bytes(), &eur()));
    assert_eq!(place, "row 1");
    assert!(text.contains("no known format"), "{text}");
}

#[test]
fn too_many_items_are_refused() {
    let rows = |count: usize| {
        let rows: Vec<String> = (0..count).map(|row| format!("S{row},1")).collect();
        format!("sku,price\n{}\n", rows.join("\n"))
    };
    assert_eq!(preview(rows(10_000).as_bytes(), &eur_of(1)).totals.items, 10_000);
    let (_, text) = only(&refused(rows(10_001).as_bytes(), &eur_of(1)));
    assert!(text.contains("10001 rows to sell") && text.contains("--tag"), "{text}");
}

#[test]
fn another_encoding_has_to_be_named() {
    let file = b"sku,title,price\nA,Cr\xe8me,5\n";
    let (place, text) = only(&refused(file, &eur_of(1)));
    assert_eq!(place, "row 2");
    assert!(text.contains("--encoding windows-1252"), "{text}");
    let options = ReadOptions { encoding: Encoding::Windows1252, ..ReadOptions::default() };
    let found = select(&read(file, &options).unwrap(), &eur_of(1)).unwrap();
    assert_eq!(sold(&found), [("A", "Crème", Some(500), Some(1))]);

    let unit = |unit: u16| unit.to_le_bytes();
    let utf16: Vec<u8> =
        "\u{feff}sku\ttitle\tprice\r\nA\tCrème\t5\r\n".encode_utf16().flat_map(unit).collect();
    assert_eq!(sold(&preview(&utf16, &eur_of(1))), [("A", "Crème", Some(500), Some(1))]);
}

#[test]
fn a_file_of_another_shop_is_recognised() {
    let woo = include_bytes!("../fixtures/woocommerce.csv");
    let shopify = include_bytes!("../fixtures/shopify-present.csv");
    let json = include_bytes!("../fixtures/own.json");
    for (file, named, found) in [
        (&woo[..], Format::Shopify, "woocommerce"),
        (shopify, Format::WooCommerce, "shopify"),
        (shopify, Format::Csv, "shopify"),
        (json, Format::BigCommerce, "json"),
    ] {
        let options = ReadOptions { format: Some(named), ..ReadOptions::default() };
        let (_, text) = only(&read(file, &options).unwrap_err());
        assert!(text.ends_with(&format!("pass --format {found}")), "{text}");
    }
}

#[test]
fn what_only_shopify_has_is_refused_elsewhere() {
    let options = ReadOptions { market: Some("x"), location: Some("y"), ..ReadOptions::default() };
    let problems = read(b"sku,price\nA,1\n", &options).unwrap_err();
    assert_eq!(problems.count(), 2, "{problems}");
}

#[test]
fn prices_that_cannot_be_charged_are_refused() {
    for (price, what) in [
        ("", "is empty"),
        ("0", "only what has a price above 0"),
        ("0.00", "only what has a price above 0"),
        ("0.10", "at least 0.50 EUR"),
        ("1000000.00", "at most 999999.99 EUR"),
        ("-5", "a price is above 0"),
        ("€5", "plain decimal"),
        ("5,00", "--decimal-comma"),
        ("5.001", "EUR has 2"),
    ] {
        let file = format!("sku;price\nA;{price}\n");
        let (place, text) = only(&refused(file.as_bytes(), &eur_of(1)));
        assert_eq!(place, "row 2, column price", "{price}");
        assert!(text.contains(what), "{price}: {text}");
    }
    let (_, text) = only(&refused(b"sku,price\nA,500000\n", &eur_of(5)));
    assert!(text.contains("--per-buyer-limit of 1 to 1"), "{text}");
}

#[test]
fn long_texts_and_controls_are_refused_with_their_row() {
    let long = "x".repeat(257);
    let file = format!("sku,title,price\nA,{long},5\n{long},b,5\n\"A\nB\",c,5\n,d,5\nE,e,5\n");
    let problems = refused(file.as_bytes(), &eur_of(1));
    let places: Vec<String> = problems.listed().iter().map(|problem| problem.place()).collect();
    let (title, sku) = ("row 2, column title", "column sku");
    let expected =
        [title, &format!("row 3, {sku}"), &format!("row 4, {sku}"), &format!("row 6, {sku}")];
    assert_eq!(places, expected);
    assert_eq!(problems.remaining(), Some(1));
}

#[test]
fn texts_that_look_like_formulas_are_texts() {
    for start in ["=", "+", "-", "@"] {
        let file = format!("sku,title,price\n{start}A,{start}B,5\n");
        let found = preview(file.as_bytes(), &eur_of(1));
        let (sku, title) = (format!("{start}A"), format!("{start}B"));
        assert_eq!(sold(&found), [(sku.as_str(), title.as_str(), Some(500), Some(1))]);
    }
    // A tab before a text is a blank like others.
    let found = preview(b"sku,title,price\n\"\tA\",\"\tB\",5\n", &eur_of(1));
    assert_eq!(sold(&found), [("A", "B", Some(500), Some(1))]);
}

#[test]
fn faulty_rows_are_left_out_when_asked() {
    let file = b"sku,price,quantity\nA,5,3\nB,0,3\nC,5,-1\nD,5,\nE\nF,5,4\n";
    let problems = refused(file, &eur());
    assert_eq!((problems.count(), problems.remaining()), (4, Some(2)), "{problems}");
    let found = preview(file, &SelectOptions { leave_out_faulty: true, ..eur() });
    assert_eq!(found.totals.items, 2);
    assert_eq!((found.totals.left_out, found.totals.faulty), (4, 4));
    assert_eq!(left_out(&found), [(3, "FAULTY"), (4, "FAULTY"), (5, "FAULTY"), (6, "FAULTY")]);
    let flashsale_catalogue::Decision::LeftOut(why) = &row(&found, "C").decision else {
        panic!("C is sold")
    };
    assert!(why.to_string().starts_with("column quantity is -1"), "{why}");

    let none = refused(b"sku,price\nA,0\n", &SelectOptions { leave_out_faulty: true, ..eur_of(1) });
    assert_eq!(none.remaining(), None, "{none}");
}

#[test]
fn a_huge_title_is_not_repeated_for_each_variant() {
    let long = "x".repeat(1_000_000);
    let rows = format!("h,{long},S,A,5\nh,,M,B,5\nh,,L,,5\n");
    let shopify = format!("Handle,Title,Option1 Value,Variant SKU,Variant Price\n{rows}");
    let rows = format!("1,variable,{long},N,,,\n2,variation,,N,S,id:1,5\n3,variation,,N,,id:1,5\n");
    let woo = format!("ID,Type,SKU,Name,Attribute 1 value(s),Parent,Regular price\n{rows}");
    for file in [shopify, woo] {
        let read = read(file.as_bytes(), &ReadOptions::default()).unwrap();
        assert!(read.variants.len() > 1);
        for variant in &read.variants {
            assert!(variant.title.len() < 3_000, "{} bytes", variant.title.len());
            assert!(variant.sku.len() < 3_000, "{} bytes", variant.sku.len());
        }
    }
}
