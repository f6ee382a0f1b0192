//! What is written, to the letter.

use flashsale_catalogue::{Baseline, Encoding, Shop};

use crate::{
    INVENTORY, INVENTORY_COLUMNS, LEGACY, PRESENT, WOOCOMMERCE, WOOCOMMERCE_SHARED, baseline,
    taken, taken_of, text, write,
};

#[test]
fn shopify_gets_what_is_to_be_on_hand() {
    let quay_1 = baseline(Shop::Shopify, INVENTORY, Some("quay 1"));
    let file = write(&quay_1, &[taken("0112", 2), taken("KELP-GL", 2), taken("dune-mat", 1)]);
    assert_eq!(
        text(&file),
        "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,SKU,\
         Location,On hand (current),On hand (new)\n\
         pier-cup,Pier cup,Title,Default Title,,,,,0112,Quay 1,4,2\n\
         kelp-scarf,Kelp scarf,Colour,Green,Length,Long,,,KELP-GL,Quay 1,2,0\n\
         dune-mat,Dune mat,Title,Default Title,,,,,,Quay 1,1,0\n"
    );
    assert_eq!((file.rows, file.units, file.warnings.len()), (3, 5, 0));
}

#[test]
fn promised_units_are_not_taken() {
    // Four on hand, one of them promised to an order.
    let quay_1 = baseline(Shop::Shopify, INVENTORY, Some("Quay 1"));
    let file = write(&quay_1, &[taken("0112", 4)]);
    assert!(text(&file).ends_with("0112,Quay 1,4,1\n"), "{}", text(&file));
    assert_eq!(file.units, 3);
    assert_eq!(file.warnings, ["0112: the shop has 3, but 4 were taken; its stock becomes 0"]);
    // Two below zero already.
    let file = write(&quay_1, &[taken("KELP-BL", 1)]);
    assert_eq!((file.rows, file.units), (0, 0));
    assert!(file.warnings[0].contains("stock is -2 already"), "{:?}", file.warnings);
}

#[test]
fn shopify_may_have_a_column_for_each_location() {
    let quay_2 = baseline(Shop::Shopify, INVENTORY_COLUMNS, Some("Quay 2"));
    let file = write(&quay_2, &[taken("0112", 2), taken("KELP-GL", 1)]);
    assert_eq!(
        text(&file),
        "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,SKU,Quay 2\n\
         pier-cup,Pier cup,Title,Default Title,,,,,0112,7\n"
    );
    assert_eq!(file.warnings, ["KELP-GL is not stocked there: its units, 1, are not taken off"]);
}

#[test]
fn a_variant_without_a_row_at_the_location_is_told() {
    let quay_2 = baseline(Shop::Shopify, INVENTORY, Some("Quay 2"));
    let file = write(&quay_2, &[taken("GONE", 1), taken("NEW", 3)]);
    assert_eq!((file.rows, file.units), (0, 0));
    assert_eq!(
        file.warnings,
        [
            "NEW is not in the file: its units, 3, are not taken off",
            "GONE has no row at the location: its units, 1, are not taken off",
        ]
    );
}

#[test]
fn woocommerce_gets_ids_skus_and_stock() {
    let shop = baseline(Shop::WooCommerce, WOOCOMMERCE, None);
    let sold = [taken("BUOY-B", 1), taken("BUOY/Red", 3), taken("id:32", 2), taken("OARS", 0)];
    let file = write(&shop, &sold);
    assert_eq!(text(&file), "ID,SKU,Stock\n21,BUOY-B,3\n22,,0\n32,,4\n");
    assert_eq!((file.rows, file.units, file.warnings.len()), (3, 6, 0));
    // Without a figure the shop does not count it, and one would make it begin to.
    for sku in ["LOOSE", "GONE"] {
        let file = write(&shop, &[taken(sku, 1)]);
        assert_eq!(text(&file), "ID,SKU,Stock\n");
        let warning =
            format!("{sku}: the shop does not count its stock; its units, 1, are not taken off");
        assert_eq!(file.warnings, [warning]);
    }
}

#[test]
fn shared_stock_is_written_once() {
    let shop = baseline(Shop::WooCommerce, WOOCOMMERCE_SHARED, None);
    let file = write(&shop, &[taken("WAVE-S", 1), taken("WAVE-L", 3), taken("WAVE-XL", 1)]);
    assert_eq!(text(&file), "ID,SKU,Stock\n50,WAVE,7\n54,WAVE-XL,1\n");
    let shop = baseline(Shop::BigCommerce, LEGACY, None);
    let file = write(&shop, &[taken("COVE-R", 1), taken("COVE-G", 1)]);
    assert_eq!(
        text(&file),
        "Item Type,Product ID,Product Name,Product Code/SKU,Category,Current Stock Level\n\
         Product,90,Cove cap,COVE,Clothing/Caps,5\n"
    );
}

#[test]
fn bigcommerce_gets_variants_below_their_product() {
    let shop = baseline(Shop::BigCommerce, PRESENT, None);
    let file = write(&shop, &[taken("BALL", 8), taken("MAST-LB", 1), taken("MAST-MB", 1)]);
    assert_eq!(
        text(&file),
        "Item,ID,Name,SKU,Current Stock\nProduct,70,Mast hoodie,MAST,0\nVariant,71,,MAST-MB,4\n\
         Variant,72,,MAST-LB,2\nProduct,80,Deck ball,BALL,0\n"
    );
    assert_eq!((file.rows, file.units), (4, 10));
    let shop = baseline(Shop::BigCommerce, LEGACY, None);
    let file = write(&shop, &[taken("MAST-LB", 1)]);
    assert_eq!(
        text(&file),
        "Item Type,Product ID,Product Name,Product Code/SKU,Category,Current Stock Level\n\
         Product,70,Mast hoodie,MAST,\"Clothing/Hoodies;Sale\",0\n\
         \"  SKU\",72,\"[RT]Size=L,[CS]Colour=Blue:#0000ff\",MAST-LB,,2\n"
    );
}

#[test]
fn the_shops_own_number_is_stronger_than_the_sku() {
    // The sku belongs to another product by now.
    let file = "ID,Type,SKU,Name,Stock,Regular price\n1,simple,NEW,Cup,5,9\n2,simple,OLD,Mat,5,9\n";
    let shop = baseline(Shop::WooCommerce, file.as_bytes(), None);
    let file = write(&shop, &[taken_of("OLD", &[("ID", "1"), ("SKU", "OLD")], 2)]);
    assert_eq!(text(&file), "ID,SKU,Stock\n1,NEW,3\n");

    // BigCommerce numbers products and variants apart.
    let file = "Item,ID,Name,SKU,Inventory Tracking,Current Stock,Price\nProduct,7,Cup,CUP,product,5,9\n\
                Product,8,Mat,MAT,variant,0,9\nVariant,7,,MAT-S,,5,\n";
    let shop = baseline(Shop::BigCommerce, file.as_bytes(), None);
    let cup = taken_of("CUP", &[("Item", "Product"), ("ID", "7"), ("SKU", "CUP")], 1);
    let file = write(&shop, &[cup]);
    assert_eq!(text(&file), "Item,ID,Name,SKU,Current Stock\nProduct,7,Cup,CUP,4\n");
    let other = taken_of("CAP", &[("ID", "7"), ("SKU", "CAP")], 1);
    assert!(write(&shop, &[other]).warnings[0].starts_with("CAP is in several rows of the file"));

    // Named by its options, since several variants had its sku.
    let source = [("Handle", "kelp-scarf"), ("Option1 Value", "Green"), ("Option2 Value", "Long")];
    let scarf = taken_of("kelp-scarf/Green/Long", &source, 1);
    let file = write(&baseline(Shop::Shopify, INVENTORY, Some("Quay 1")), &[scarf]);
    assert!(text(&file).contains("KELP-GL,Quay 1,2,1"), "{}", text(&file));
}

#[test]
fn a_sku_of_several_rows_changes_none() {
    let file = "ID,Type,SKU,Name,Stock,Regular price\n1,simple,CUP,Cup,5,9\n2,simple,CUP,Cup,5,9\n";
    let file = write(&baseline(Shop::WooCommerce, file.as_bytes(), None), &[taken("CUP", 2)]);
    assert_eq!(text(&file), "ID,SKU,Stock\n");
    assert_eq!(
        file.warnings,
        ["CUP is in several rows of the file: its units, 2, are not taken off"]
    );
}

#[test]
fn keys_stay_byte_for_byte() {
    let file = "Handle,Title,Option1 Name,Option1 Value,SKU,COO,Location,Available\n\
                cup,=SUM(A1),Size, Large ,'0112,,Quay 1,5\nmat,-Mat,Title,Default Title,@MAT,,Quay 1,5\n\
                lamp,Lamp,Title,Default Title,\"=\"\"7\"\"\",,Quay 1,5\n";
    let file = write(
        &baseline(Shop::Shopify, file.as_bytes(), None),
        &[taken("0112", 1), taken("@MAT", 1), taken("7", 1)],
    );
    assert_eq!(
        text(&file),
        "Handle,Title,Option1 Name,Option1 Value,SKU,Location,Available\n\
         cup,'=SUM(A1),Size,\" Large \",'0112,Quay 1,4\nmat,'-Mat,Title,Default Title,@MAT,Quay 1,4\n\
         lamp,Lamp,Title,Default Title,\"=\"\"7\"\"\",Quay 1,4\n"
    );
    assert_eq!(file.warnings.len(), 1, "{:?}", file.warnings);
    let begin = "column SKU: 2 keys begin like a formula, first \"@MAT\" in row 3; ";
    assert!(file.warnings[0].starts_with(begin), "{:?}", file.warnings);
}

#[test]
fn other_encodings_become_utf_8() {
    let content = b"ID;Type;SKU;Name;Stock;Regular price\n1;simple;CR\xc8ME;Cup;5;9\n";
    let shop =
        Baseline { encoding: Encoding::Windows1252, ..baseline(Shop::WooCommerce, content, None) };
    assert_eq!(text(&write(&shop, &[taken("CR\u{c8}ME", 1)])), "ID,SKU,Stock\n1,CR\u{c8}ME,4\n");
}

#[test]
fn warnings_are_bounded() {
    let sold: Vec<_> = (0..120).map(|number| taken(&format!("NONE-{number}"), 1)).collect();
    let file = write(&baseline(Shop::WooCommerce, WOOCOMMERCE, None), &sold);
    assert_eq!(file.warnings.len(), 51);
    assert_eq!(file.warnings[50], "and 70 more");
}
