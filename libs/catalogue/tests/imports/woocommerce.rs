//! WooCommerce's products.

use flashsale_catalogue::{SelectOptions, SharedStock, Stock, shop_time};
use time::{PrimitiveDateTime, macros::datetime};

use crate::{catalogue, eur, eur_of, left_out, preview, refused, row, sold};

const PRODUCTS: &[u8] = include_bytes!("../fixtures/woocommerce.csv");
const SHARED: &[u8] = include_bytes!("../fixtures/woocommerce-shared.csv");

/// Without what has no stock.
fn in_stock() -> SelectOptions {
    SelectOptions { leave_out_faulty: true, ..eur() }
}

#[test]
fn variations_find_their_parents() {
    let found = preview(PRODUCTS, &in_stock());
    assert_eq!(
        sold(&found),
        [
            ("BUOY-B", "Buoy jacket - Blue", Some(6_000), Some(4)),
            ("BUOY/Red", "Buoy jacket - Red", Some(6_000), Some(3)),
            ("CHART", "Tide chart", Some(1_000), Some(100)),
            ("OARS", "Pair of oars", Some(4_500), Some(9)),
            ("id:32", "Rope end", Some(200), Some(6)),
        ]
    );
    assert_eq!(row(&found, "OARS").regular_minor, Some(5_000));
    assert_eq!(found.totals.passed_over, 1, "the parent is sold as its variations");
}

#[test]
fn what_cannot_be_bought_is_left_out_with_the_reason() {
    assert_eq!(
        left_out(&preview(PRODUCTS, &in_stock())),
        [
            (8, "DRAFT"),
            (9, "UNPUBLISHED"),
            (10, "GROUPED"),
            (11, "EXTERNAL"),
            (12, "NO_VARIANTS"),
            (13, "UNLISTED"),
            (14, "OTHER_KIND"),
            (15, "FAULTY"),
            (16, "FAULTY"),
        ]
    );
    let problems = refused(PRODUCTS, &eur());
    assert_eq!((problems.count(), problems.remaining()), (2, Some(5)), "{problems}");
    assert!(problems.to_string().contains("5 rows would be sold with --leave-out-faulty"));
    assert_eq!(preview(PRODUCTS, &eur_of(3)).totals.items, 7);
}

#[test]
fn backorders_and_single_sales_are_heeded() {
    let found = preview(PRODUCTS, &SelectOptions { per_buyer_limit: 4, ..in_stock() });
    for (sku, limit, warned) in
        [("OARS", 1, false), ("id:32", 4, true), ("BUOY/Red", 4, true), ("BUOY-B", 4, false)]
    {
        let row = row(&found, sku);
        let backorder = row.warnings.iter().any(|text| text.contains("beyond its stock"));
        assert_eq!((row.limit, backorder), (Some(limit), warned), "{sku}");
    }
}

#[test]
fn a_sale_price_holds_within_its_dates() {
    let price = |shop_time: Option<PrimitiveDateTime>| {
        let found = preview(PRODUCTS, &SelectOptions { shop_time, ..in_stock() });
        let row = row(&found, "CHART");
        (row.price_minor, row.warnings.first().cloned().unwrap_or_default())
    };
    for (time, minor) in [
        (datetime!(2026-11-26 23:59:59), 1_000),
        (datetime!(2026-11-27 0:00), 800),
        (datetime!(2026-11-29 23:59:59.999), 800),
        (datetime!(2026-11-30 0:00), 1_000),
    ] {
        let (found, warning) = price(Some(time));
        assert_eq!(found, Some(minor), "{time}");
        assert_eq!(warning.contains("not in force"), minor == 1_000, "{time}: {warning}");
    }
    let (found, warning) = price(None);
    assert_eq!(found, Some(1_000));
    assert!(warning.contains("has dates and is not used"), "{warning}");
}

#[test]
fn dates_are_those_of_the_shops_zone() {
    let price = |starts_at, time_zone: &str| {
        let shop_time = shop_time(Some(starts_at), time_zone).unwrap();
        let found = preview(PRODUCTS, &SelectOptions { shop_time, ..in_stock() });
        row(&found, "CHART").price_minor
    };
    // The shop's own sale lasts from the beginning of the 27th to the end of the 29th.
    for (starts_at, time_zone, minor) in [
        (datetime!(2026-11-26 23:00 UTC), "", 1_000),
        (datetime!(2026-11-26 23:00 UTC), "Europe/Berlin", 800),
        (datetime!(2026-11-26 22:59:59 UTC), "Europe/Berlin", 1_000),
        (datetime!(2026-11-27 4:00 UTC), "America/New_York", 1_000),
        (datetime!(2026-11-27 5:00 UTC), "America/New_York", 800),
        (datetime!(2026-11-29 23:30 UTC), "UTC", 800),
        (datetime!(2026-11-29 23:30 UTC), "Europe/Berlin", 1_000),
    ] {
        assert_eq!(price(starts_at, time_zone), Some(minor), "{starts_at} {time_zone}");
    }
    assert_eq!(shop_time(None, "Europe/Berlin"), Ok(None));
    let unknown = shop_time(None, "Europe/Berln").unwrap_err().to_string();
    assert!(unknown.contains("did you mean Europe/Berlin"), "{unknown}");
}

#[test]
fn shared_stock_is_refused_or_divided() {
    let problems = refused(SHARED, &eur());
    assert_eq!((problems.count(), problems.remaining()), (3, Some(1)), "{problems}");
    let text = problems.to_string();
    assert!(text.contains("row 3, column Stock is 11 for 3 variants together"), "{text}");
    assert!(text.contains("--split-shared"), "{text}");

    let split = SelectOptions { shared_stock: SharedStock::Split, ..eur() };
    let found = preview(SHARED, &split);
    let units: Vec<_> = sold(&found).into_iter().map(|(sku, _, _, units)| (sku, units)).collect();
    let expected = [("WAVE-S", 5), ("WAVE-M", 3), ("WAVE-L", 3), ("WAVE-XL", 2)];
    assert_eq!(units, expected.map(|(sku, units)| (sku, Some(units))));
    assert_eq!(found.totals.units, Some(13));

    let mut alone = split;
    alone.shared_stock = SharedStock::Refuse;
    alone.selection.skus = vec!["WAVE-M".to_owned()];
    let found = preview(SHARED, &alone);
    assert_eq!(sold(&found)[0].3, Some(11), "alone it has the whole");
}

#[test]
fn a_variation_without_its_parent_is_faulty() {
    let file = "ID,Type,SKU,Name,Regular price,Parent,Stock\n5,variation,A,A,5,id:9,3\n\
                6,variation,B,B,5,,3\n";
    let text = refused(file.as_bytes(), &eur()).to_string();
    assert!(text.contains("row 2, column Parent is \"id:9\""), "{text}");
    assert!(text.contains("row 3, column Parent is empty"), "{text}");
}

#[test]
fn exported_escapes_are_undone_in_figures() {
    let file = "ID,Type,SKU,Name,Published,Regular price,Stock\n5,simple,'=A,'+1 lamp,1,5,'-3\n";
    let variant = &catalogue(file.as_bytes()).variants[0];
    assert_eq!((variant.sku.as_str(), variant.title.as_str()), ("=A", "+1 lamp"));
    assert_eq!(variant.stock, Stock::Known(-3));
    assert_eq!(variant.source_key.sku, "'=A");
}
