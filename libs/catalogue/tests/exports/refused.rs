//! Baselines of which nothing is written.

use flashsale_catalogue::{About, Problems, Shop};

use crate::{
    INVENTORY, INVENTORY_COLUMNS, LEGACY, PRODUCTS, WOOCOMMERCE, baseline, refusal, taken,
};

/// The one problem: its place and its text.
fn only(problems: &Problems) -> (String, String) {
    assert_eq!(problems.count(), 1, "{problems}");
    (problems.listed()[0].place(), problems.listed()[0].text())
}

#[test]
fn the_file_of_another_shop_is_recognised() {
    for (shop, content, found) in [
        (Shop::WooCommerce, LEGACY, "a product export of BigCommerce"),
        (Shop::BigCommerce, WOOCOMMERCE, "a product export of WooCommerce"),
        (Shop::Shopify, WOOCOMMERCE, "a product export of WooCommerce"),
        (Shop::WooCommerce, PRODUCTS, "a product export of Shopify"),
        (Shop::BigCommerce, INVENTORY, "Shopify's inventory"),
        (Shop::WooCommerce, b"sku,price\nA,1\n", "a list in our own CSV"),
        (Shop::Shopify, b"[{\"sku\": \"A\"}]", "JSON"),
        (Shop::Shopify, PRODUCTS, "a product export of Shopify"),
    ] {
        let (_, text) = only(&refusal(&baseline(shop, content, None), &[]));
        assert!(text.starts_with(&format!("is {found}, not ")), "{shop:?}: {text}");
    }
    let (_, text) = only(&refusal(&baseline(Shop::Shopify, PRODUCTS, None), &[]));
    assert!(text.contains("export the inventory"), "{text}");
}

#[test]
fn several_locations_have_to_be_told_apart() {
    for content in [INVENTORY, INVENTORY_COLUMNS] {
        let sold = [taken("0112", 1)];
        let problems = refusal(&baseline(Shop::Shopify, content, None), &sold);
        assert_eq!(problems.listed()[0].about, About::Options);
        let (place, text) = only(&problems);
        assert_eq!(place, "--location");
        assert!(text.contains("Quay 1, Quay 2"), "{text}");
        let problems = refusal(&baseline(Shop::Shopify, content, Some("Pier 9")), &sold);
        let (place, text) = only(&problems);
        assert_eq!(place, "--location");
        assert!(text.contains("\"Pier 9\""), "{text}");
    }
    let problems = refusal(&baseline(Shop::WooCommerce, WOOCOMMERCE, Some("Quay 1")), &[]);
    assert_eq!(only(&problems).0, "--location");
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let header = "ID,Type,SKU,Name,Stock,Regular price\n";
    for (row, place, what) in [
        ("1,simple,CUP,Cup,5\n", "row 2", "has 5 cells"),
        ("1,simple,CUP,Cup,many,9\n", "row 2, column Stock", "is \"many\""),
        ("1,simple,CUP,Cup,1.5,9\n", "row 2, column Stock", "is \"1.5\""),
        ("1,simple,CU\"P,Cup,5,9\n", "row 2", "quote"),
    ] {
        let file = format!("{header}{row}");
        let shop = baseline(Shop::WooCommerce, file.as_bytes(), None);
        let (at, text) = only(&refusal(&shop, &[taken("CUP", 1)]));
        assert!(at == place && text.contains(what), "{at} {text}");
    }
    let header = "Handle,SKU,COO,Location,Available\n";
    for (row, place) in
        [("cup,CUP,,Quay 1\n", "row 2"), ("cup,CUP,,Quay 1,x\n", "row 2, column Available")]
    {
        let file = format!("{header}{row}");
        let shop = baseline(Shop::Shopify, file.as_bytes(), None);
        assert_eq!(only(&refusal(&shop, &[taken("CUP", 1)])).0, place);
    }
    // Of rows that nothing was taken from, the figures do not matter.
    let file =
        "ID,Type,SKU,Name,Stock,Regular price\n1,simple,CUP,Cup,many,9\n2,simple,MAT,Mat,5,x\n";
    let shop = baseline(Shop::WooCommerce, file.as_bytes(), None);
    assert_eq!(crate::write(&shop, &[taken("MAT", 1)]).units, 1);
}

#[test]
fn columns_without_which_nothing_is_found_are_named() {
    for (shop, file, column) in [
        (Shop::WooCommerce, "ID,Type,SKU,Name,Regular price\n1,simple,A,A,9\n", "Stock"),
        (Shop::BigCommerce, "Item,ID,Name,SKU,Options,Price\nProduct,1,A,A,,9\n", "Current Stock"),
        (Shop::Shopify, "Handle,SKU,COO,Location\na,A,,Quay\n", "On hand (current)"),
        (Shop::Shopify, "SKU,Location,Available\nA,Quay,1\n", "Handle"),
    ] {
        let (place, text) = only(&refusal(&baseline(shop, file.as_bytes(), None), &[]));
        assert_eq!(
            (place, text.starts_with("is missing")),
            (format!("row 1, column {column}"), true)
        );
    }
    for empty in [&b""[..], b"\n\n"] {
        let (place, text) = only(&refusal(&baseline(Shop::Shopify, empty, None), &[]));
        assert_eq!((place.as_str(), text.starts_with("is empty")), ("content", true));
    }
}
