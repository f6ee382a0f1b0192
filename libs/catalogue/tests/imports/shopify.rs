//! Shopify's products and inventory.

use flashsale_catalogue::{DecimalMark, Format, ReadOptions, SelectOptions, Stock, read, select};

use crate::{catalogue, eur, eur_of, left_out, only, preview, refused, row, skus, sold};

const PRESENT: &[u8] = include_bytes!("../fixtures/shopify-present.csv");
const OLD: &[u8] = include_bytes!("../fixtures/shopify-old.csv");
const RESORTED: &[u8] = include_bytes!("../fixtures/shopify-resorted.csv");
const INVENTORY: &[u8] = include_bytes!("../fixtures/shopify-inventory.csv");
const INVENTORY_COLUMNS: &[u8] = include_bytes!("../fixtures/shopify-inventory-columns.csv");
const HEADER: &str = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Tracker,\
Variant Inventory Qty,Variant Inventory Policy,Variant Price,Status";

/// One product of one variant.
fn one(sku: &str, tracker: &str, stock: &str, price: &str) -> String {
    format!("{HEADER}\ntee,Tee,Title,Default Title,{sku},{tracker},{stock},deny,{price},active\n")
}

#[test]
fn the_present_column_names_are_read() {
    let found = preview(PRESENT, &eur());
    assert_eq!(
        sold(&found),
        [
            ("GALE-S", "Gale poncho - S", Some(4_900), Some(10)),
            ("GALE-M", "Gale poncho - M", Some(4_900), Some(4)),
        ]
    );
    assert_eq!(row(&found, "GALE-S").regular_minor, Some(6_000));
    assert_eq!(row(&found, "GALE-M").regular_minor, Some(4_900));
    assert_eq!(found.totals.passed_over, 1);
    let product = &catalogue(PRESENT).products[0];
    assert_eq!(product.tags.iter().collect::<Vec<_>>(), ["drop", "wool"]);
    let categories: Vec<&str> = product.categories.iter().collect();
    assert_eq!(categories, ["Apparel & Accessories > Clothing", "Poncho"]);
}

#[test]
fn column_case_and_order_do_not_matter() {
    let text = String::from_utf8(PRESENT.to_vec()).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    for header in [header.to_uppercase(), header.to_lowercase()] {
        let found = preview(format!("{header}\n{rows}").as_bytes(), &eur());
        assert_eq!(skus(&found), ["GALE-S", "GALE-M"]);
    }
    let found = preview(b"VARIANT PRICE , variant sku,HANDLE\n5.00,A,a\n", &eur_of(1));
    assert_eq!(sold(&found), [("A", "a", Some(500), Some(1))]);
}

#[test]
fn what_the_shop_does_not_offer_is_left_out() {
    let found = preview(PRESENT, &eur());
    assert_eq!(
        left_out(&found),
        [(5, "UNPUBLISHED"), (6, "UNLISTED"), (7, "GIFT_CARD"), (8, "ARCHIVED")]
    );
    assert!(row(&found, "GALE-M").warnings[0].contains("beyond its stock"));
    assert!(row(&found, "GALE-S").warnings.is_empty());
}

#[test]
fn any_row_of_a_handle_says_that_it_is_a_draft() {
    let found = preview(RESORTED, &eur());
    assert_eq!(
        sold(&found),
        [
            ("LAMP-T", "Quay lamp - Tall", Some(4_000), Some(5)),
            ("LAMP-L", "Quay lamp - Low", Some(3_000), Some(5)),
        ]
    );
    assert_eq!(
        left_out(&found),
        [(2, "DRAFT"), (3, "UNPUBLISHED"), (5, "DRAFT"), (7, "UNPUBLISHED")]
    );
    let options = &catalogue(RESORTED).variants[2].source_key.options;
    assert_eq!(options[..], [("Size".to_owned(), "Tall".to_owned())]);
}

#[test]
fn escapes_of_skus_are_undone_and_shown() {
    let found = preview(OLD, &eur());
    assert_eq!(
        sold(&found),
        [
            ("0112", "Pier cup", Some(990), Some(7)),
            ("KELP-GL", "Kelp scarf - Green / Long", Some(1_900), Some(5)),
            ("dune-mat", "Dune mat", Some(3_000), Some(6)),
            ("KELP-BL", "Kelp scarf - Blue / Long", Some(1_900), Some(8)),
        ]
    );
    assert_eq!(row(&found, "0112").warnings, ["\"'0112\" in the file is the sku \"0112\""]);
    assert_eq!(catalogue(OLD).variants[0].source_key.sku, "'0112");
    let formula = one("=\"0113\"", "shopify", "1", "5");
    assert_eq!(skus(&preview(formula.as_bytes(), &eur())), ["0113"]);
}

#[test]
fn a_market_has_prices_of_its_own() {
    let options = ReadOptions { market: Some("international"), ..ReadOptions::default() };
    let found = select(&read(OLD, &options).unwrap(), &eur()).unwrap();
    let prices: Vec<_> = sold(&found).iter().map(|(sku, _, price, _)| (*sku, *price)).collect();
    assert_eq!(prices, [("0112", Some(1_150)), ("KELP-GL", Some(2_200)), ("KELP-BL", Some(2_200))]);
    assert_eq!(row(&found, "KELP-GL").regular_minor, Some(2_500));
    assert_eq!(left_out(&found), [(5, "OUTSIDE_MARKET")]);

    let options = ReadOptions { market: Some("Atlantis"), ..ReadOptions::default() };
    let (place, text) = only(&read(OLD, &options).unwrap_err());
    assert_eq!(place, "--market");
    assert!(text.contains("International"), "{text}");
}

#[test]
fn the_inventory_gives_the_stock_of_all_locations() {
    for inventory in [INVENTORY, INVENTORY_COLUMNS] {
        for (location, expected) in [(None, [12, 2, 1, 6]), (Some("quay 2"), [9, 0, 0, 6])] {
            let options =
                ReadOptions { inventory: Some(inventory), location, ..ReadOptions::default() };
            let catalogue = read(OLD, &options).unwrap();
            let options = SelectOptions { leave_out_faulty: true, ..eur() };
            let found = select(&catalogue, &options).unwrap();
            let units: Vec<_> = found.rows.iter().map(|row| row.units.unwrap_or(0)).collect();
            assert_eq!(units, expected, "{location:?}");
        }
    }
    let options = ReadOptions { inventory: Some(INVENTORY), ..ReadOptions::default() };
    let catalogue = read(OLD, &options).unwrap();
    assert_eq!(catalogue.warnings, ["1 variant of the inventory not among the products"]);

    let options = ReadOptions { location: Some("Quay 3"), ..options };
    let (place, text) = only(&read(OLD, &options).unwrap_err());
    assert_eq!(place, "--location");
    assert!(text.contains("Quay 1, Quay 2"), "{text}");
}

#[test]
fn the_inventory_alone_has_no_products() {
    let (place, text) = only(&refused(INVENTORY, &eur()));
    assert_eq!(place, "row 1");
    assert!(text.contains("--stock"), "{text}");
}

#[test]
fn stock_is_not_judged_where_the_caller_gives_a_quantity() {
    for stock in ["-3", "0.0", "0", "many", "99999999999"] {
        let file = one("TEE", "shopify", stock, "5");
        let found = preview(file.as_bytes(), &eur_of(40));
        assert_eq!(sold(&found), [("TEE", "Tee", Some(500), Some(40))], "{stock}");

        let (place, text) = only(&refused(file.as_bytes(), &eur()));
        assert_eq!(place, "row 2, column Variant Inventory Qty", "{stock}");
        assert!(text.contains("--quantity"), "{stock}: {text}");
        assert!(!text.contains("QUANTITY="), "{stock}: {text}");
    }
    let other = "cap,Cap,Title,Default Title,CAP,shopify,5,deny,5,active\n";
    for (tracker, stock, what) in
        [("", "5", "is not kept by the shop"), ("shopify", "", "is blank")]
    {
        let file = format!("{}{other}", one("TEE", tracker, stock, "5"));
        let (place, text) = only(&refused(file.as_bytes(), &eur()));
        assert_eq!(place, "row 2, column Variant Inventory Qty");
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn a_separator_is_found_or_named() {
    let row = "\"cup\";\"Cup\";\"Title\";\"Default Title\";\"S1\";\"shopify\";\"5\";\"deny\";\"25,00\";\"active\"";
    let header = HEADER.replace(',', ";");
    let quoted = format!("\"{}\"\n{row}\n", header.replace(';', "\";\""));
    let plain = format!("{header}\n{}\n", row.replace('"', ""));
    let marked = format!("sep=;\n{plain}");
    for file in [quoted, plain, marked] {
        let options = ReadOptions { decimal_mark: DecimalMark::Comma, ..ReadOptions::default() };
        let found = select(&read(file.as_bytes(), &options).unwrap(), &eur()).unwrap();
        assert_eq!(sold(&found), [("S1", "Cup", Some(2_500), Some(5))], "{file}");

        let (_, text) = only(&refused(file.as_bytes(), &eur()));
        assert!(text.contains("--decimal-comma") && !text.contains("double"), "{text}");
    }
    let named = format!("sep=,\r\n{}", one("S1", "shopify", "5", "5").replace('\n', "\r\n"));
    assert_eq!(skus(&preview(named.as_bytes(), &eur())), ["S1"]);
}

#[test]
fn a_look_alike_sku_is_the_same_sku() {
    let file = format!(
        "{}mug,Mug,Title,Default Title,TEE\u{200b},shopify,5,deny,9.90,active\n",
        one("TEE", "shopify", "5", "9.90")
    );
    let problems = refused(file.as_bytes(), &eur());
    assert!(problems.to_string().contains("names the item \"TEE\" like row 2"), "{problems}");
    let warning =
        "column Variant SKU: invisible characters were taken out of 1 cell, first U+200B in row 3";
    assert_eq!(catalogue(file.as_bytes()).warnings, [warning]);
}

#[test]
fn a_row_that_cannot_be_read_takes_its_product_along() {
    let file = format!(
        "{HEADER}\ntee,Tee,Size,S,T-S,shopify,5,deny,5,active\ntee,,Size,L,T-L,shopify\n\
         mug,Mug,Title,Default Title,MUG,shopify,5,deny,5,active\n"
    );
    let options = SelectOptions { leave_out_faulty: true, ..eur() };
    let found = preview(file.as_bytes(), &options);
    assert_eq!((skus(&found), left_out(&found)), (vec!["MUG"], vec![(2, "FAULTY"), (3, "FAULTY")]));
    let problems = refused(file.as_bytes(), &eur());
    assert!(problems.to_string().contains("has 6 cells, but the header has 10"), "{problems}");
}

#[test]
fn a_needed_column_may_not_be_there_twice_or_missing() {
    let (place, text) = only(&refused(b"Handle,Variant Price,variant price\na,1,2\n", &eur()));
    assert_eq!(place, "row 1, column Variant Price");
    assert!(text.contains("means the same"), "{text}");
    let options = ReadOptions { format: Some(Format::Shopify), ..ReadOptions::default() };
    let problems = read(b"Title,Vendor\na,b\n", &options).unwrap_err();
    assert_eq!(problems.count(), 2, "{problems}");
    assert!(problems.to_string().contains("with every column"), "{problems}");
}

#[test]
fn a_product_outside_the_market_is_so_with_all_its_variants() {
    let file = b"Handle,Option1 Value,Variant SKU,Variant Price,Price / North,Included / North\n\
        cap,S,CAP-S,5,6,FALSE\ncap,M,CAP-M,5,6,\nmug,,MUG,5,6,TRUE\n";
    let options = ReadOptions { market: Some("North"), ..ReadOptions::default() };
    let found = select(&read(file, &options).unwrap(), &eur_of(1)).unwrap();
    assert_eq!(sold(&found), [("MUG", "mug", Some(600), Some(1))]);
    assert_eq!(left_out(&found), [(2, "OUTSIDE_MARKET"), (3, "OUTSIDE_MARKET")]);
}

#[test]
fn what_is_on_hand_counts_less_what_is_promised() {
    let inventory = b"Handle,Option1 Value,Location,Committed (not editable),On hand (current)\n\
        pier-cup,Default Title,Quay 1,2,5\npier-cup,Default Title,Quay 2,,4\n";
    let options = ReadOptions { inventory: Some(inventory), ..ReadOptions::default() };
    let catalogue = read(OLD, &options).unwrap();
    assert_eq!(catalogue.variants[0].stock, Stock::Known(7));
    assert_eq!(catalogue.variants[1].stock, Stock::Missing);
}

#[test]
fn a_broken_inventory_is_told_from_the_products() {
    let options =
        ReadOptions { inventory: Some(b"Handle,Location\na,b\n"), ..ReadOptions::default() };
    let text = read(OLD, &options).unwrap_err().to_string();
    assert!(text.contains("of the file of --stock is missing"), "{text}");
}

#[test]
fn a_status_that_is_none_is_not_taken_for_active() {
    let file = b"Handle,Variant SKU,Variant Price,Status\na,A,5,retired\nb,B,5,\n";
    let (place, text) = only(&refused(file, &eur_of(1)));
    assert_eq!(place, "row 2, column Status");
    assert!(text.contains("\"retired\""), "{text}");
}

#[test]
fn stock_that_no_row_has_is_one_problem() {
    let file = b"Handle,Variant SKU,Variant Price\na,A,5\nb,B,5\nc,C,0\n";
    for leave_out_faulty in [false, true] {
        let options = SelectOptions { leave_out_faulty, ..eur() };
        let problems = refused(file, &options);
        assert_eq!((problems.count(), problems.remaining()), (2, None), "{problems}");
        let first = &problems.listed()[0];
        assert_eq!(first.place(), "column Variant Inventory Qty");
        assert!(first.text().contains("of 2 rows; pass --quantity"), "{problems}");
    }
}

#[test]
fn the_sample_of_the_command_sells_three_hundred_units() {
    let found = preview(include_bytes!("../../../../cli/samples/spring-drop.csv"), &eur());
    assert_eq!((found.totals.items, found.totals.units), (12, Some(300)));
    assert!(found.rows.iter().any(|row| row.sku.contains('/')), "some SKUs are blank");
}
