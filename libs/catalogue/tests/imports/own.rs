//! Our own lists.

use flashsale_catalogue::{Format, Preview, ReadOptions, read};
use proptest::prelude::*;

use crate::{catalogue, eur, only, preview, refused, sold};

const CSV: &[u8] = include_bytes!("../fixtures/own.csv");
const JSON: &[u8] = include_bytes!("../fixtures/own.json");

fn limits(preview: &Preview) -> Vec<Option<i64>> {
    preview.rows.iter().map(|row| row.limit).collect()
}

#[test]
fn lists_are_read() {
    for (file, lamp) in [(CSV, 8_000), (JSON, 8_050)] {
        let found = preview(file, &eur());
        assert_eq!(
            sold(&found),
            [
                ("CUP", "Pier cup", Some(990), Some(7)),
                ("MAT", "Dune mat, large", Some(3_000), Some(6)),
                ("LAMP", "LAMP", Some(lamp), Some(3)),
            ]
        );
        assert_eq!(limits(&found), [Some(2), None, None]);
    }
    assert_eq!((catalogue(CSV).format, catalogue(JSON).format), (Format::Csv, Format::Json));
}

#[test]
fn what_is_no_list_of_items_is_said_so() {
    for (file, what) in [
        (r#"{"sku": "A"}"#, "an array of items"),
        (r#"[{"sku": "A", "qty": 5}]"#, "unknown field `qty`"),
        ("[", "EOF"),
        (r#"[{"sku": ["A"], "price": 5}]"#, "is no text"),
        (r#"[{"sku": "A", "price": true}]"#, "is no number"),
    ] {
        let text = refused(file.as_bytes(), &eur()).to_string();
        assert!(text.contains(what), "{file}: {text}");
    }
    let (_, text) = only(&refused(b"[]", &eur()));
    assert!(text.contains("has no rows"), "{text}");
    let items = vec![r#"{"sku":"A","price":1}"#; 100_001].join(",");
    let (_, text) = only(&refused(format!("[{items}]").as_bytes(), &eur()));
    assert!(text.contains("more than 100,000 items"), "{text}");
}

#[test]
fn a_limit_is_a_whole_number() {
    for limit in ["two", "1.5", "-1", "10000001"] {
        let file = format!("sku,price,quantity,per_buyer_limit\nA,5,5,{limit}\n");
        let (place, _) = only(&refused(file.as_bytes(), &eur()));
        assert_eq!(place, "row 2, column per_buyer_limit", "{limit}");
    }
}

proptest! {
    /// What our own CSV is written with is read back, whatever stands in the titles.
    #[test]
    fn a_written_list_reads_back(
        items in proptest::collection::vec(
            ("[!-&(-<>-~][ -~]{0,20}[!-~]", 50_i64..1_000_000, 1_i64..50, 0_i64..10),
            1..20,
        ),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["sku", "title", "price", "quantity", "per_buyer_limit"]).unwrap();
        for (index, (title, price, quantity, limit)) in items.iter().enumerate() {
            let price = format!("{}.{:02}", price / 100, price % 100);
            let (sku, quantity, limit) =
                (format!("SKU-{index}"), quantity.to_string(), limit.to_string());
            writer.write_record([&sku, title, &price, &quantity, &limit]).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let options = ReadOptions { format: Some(Format::Csv), ..ReadOptions::default() };
        let catalogue = read(&content, &options).unwrap();
        let found = flashsale_catalogue::select(&catalogue, &eur()).unwrap();
        prop_assert_eq!(found.totals.items, items.len());
        for (index, (row, (title, price, quantity, limit))) in
            found.rows.iter().zip(&items).enumerate()
        {
            prop_assert_eq!(&row.sku, &format!("SKU-{index}"));
            prop_assert_eq!(&row.title, title);
            prop_assert_eq!((row.price_minor, row.units), (Some(*price), Some(*quantity)));
            prop_assert_eq!(row.limit, Some(*limit).filter(|limit| *limit > 0));
        }
    }
}
