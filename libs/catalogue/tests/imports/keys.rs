//! By what each shop knows its variants, as its file has it.

use flashsale_catalogue::{Catalogue, ReadOptions, read};

use crate::catalogue;

/// The key of the variant on this line.
fn key(catalogue: &Catalogue, line: usize) -> serde_json::Value {
    let variant = catalogue.variants.iter().find(|variant| variant.line == line).unwrap();
    serde_json::from_str(&catalogue.key(variant).unwrap()).unwrap()
}

#[test]
fn shopify_knows_handle_and_options() {
    let old = catalogue(include_bytes!("../fixtures/shopify-old.csv"));
    let scarf = |value: &str, sku: &str| {
        serde_json::json!({
            "Handle": "kelp-scarf", "Title": "Kelp scarf", "Variant SKU": sku,
            "Option1 Name": "Colour", "Option1 Value": value,
            "Option2 Name": "Length", "Option2 Value": "Long",
        })
    };
    // Its title and the names of its options are in a later row.
    assert_eq!(key(&old, 4), scarf("Green", "KELP-GL"));
    assert_eq!(key(&old, 6), scarf("Blue", "KELP-BL"));
    let cup = key(&old, 2);
    assert_eq!(
        (&cup["Variant SKU"], &cup["Option1 Value"]),
        (&"'0112".into(), &"Default Title".into())
    );

    let present = catalogue(include_bytes!("../fixtures/shopify-present.csv"));
    let expected = serde_json::json!({
        "Title": "Gale poncho", "URL handle": "gale-poncho", "SKU": "GALE-M",
        "Option1 name": "Size", "Option1 value": "M",
    });
    assert_eq!(key(&present, 3), expected);
}

#[test]
fn the_location_of_the_stock_belongs_to_the_key() {
    let products = include_bytes!("../fixtures/shopify-old.csv");
    let rows = include_bytes!("../fixtures/shopify-inventory.csv");
    let columns = include_bytes!("../fixtures/shopify-inventory-columns.csv");
    for inventory in [&rows[..], columns] {
        let location = |location: Option<&str>| {
            let options =
                ReadOptions { inventory: Some(inventory), location, ..ReadOptions::default() };
            let catalogue = read(products, &options).unwrap();
            key(&catalogue, 2)["Location"].clone()
        };
        assert_eq!(location(Some("quay 2")), "Quay 2");
        assert_eq!(location(None), serde_json::Value::Null, "it is the stock of several");
    }
}

#[test]
fn woocommerce_knows_number_and_sku() {
    let woo = catalogue(include_bytes!("../fixtures/woocommerce.csv"));
    let expected = serde_json::json!({
        "ID": "22", "Type": "variation", "SKU": "", "Name": "Buoy jacket", "Parent": "id:20",
    });
    assert_eq!(key(&woo, 4), expected);
}

#[test]
fn bigcommerce_knows_kind_and_number() {
    let legacy = catalogue(include_bytes!("../fixtures/bigcommerce-legacy.csv"));
    let expected = serde_json::json!({
        "Item Type": "  SKU", "Product ID": "71", "Product Code/SKU": "MAST-MB",
        "Product Name": "[RT]Size=M,[CS]Colour=Blue:#0000ff",
    });
    assert_eq!(key(&legacy, 3), expected);
    let present = catalogue(include_bytes!("../fixtures/bigcommerce-present.csv"));
    let mast = key(&present, 4);
    assert_eq!(
        (&mast["Item"], &mast["ID"], &mast["SKU"]),
        (&"Variant".into(), &"72".into(), &"MAST-LB".into())
    );
}

#[test]
fn our_lists_know_the_sku() {
    let json = catalogue(include_bytes!("../fixtures/own.json"));
    assert_eq!(key(&json, 2), serde_json::json!({ "sku": "MAT" }));
    let csv = catalogue("SKU,price\n\" '0112 \",5\n".as_bytes());
    assert_eq!(key(&csv, 2), serde_json::json!({ "SKU": " '0112 " }));
}

#[test]
fn a_key_that_no_shop_has_is_none() {
    let long = "x".repeat(5_000);
    for parent in [long.as_str(), "a\0b"] {
        let file = format!("Type,SKU,Parent,Regular price\nsimple,A,{parent},5\n");
        let catalogue = catalogue(file.as_bytes());
        assert_eq!(catalogue.key(&catalogue.variants[0]), None, "{:?}", &parent[..1]);
    }
    // A row with too few cells has no key either.
    let catalogue = catalogue(b"sku,price\nA\n");
    assert_eq!(catalogue.key(&catalogue.variants[0]), None);
}
