//! BigCommerce's products, as its documentation describes them.

use flashsale_catalogue::{Kind, SelectOptions, SharedStock};

use crate::{catalogue, eur, left_out, preview, refused, row, sold};

const LEGACY: &[u8] = include_bytes!("../fixtures/bigcommerce-legacy.csv");
const PRESENT: &[u8] = include_bytes!("../fixtures/bigcommerce-present.csv");

#[test]
fn both_exports_are_read() {
    for (file, rest) in [(LEGACY, 1), (PRESENT, 1)] {
        let options =
            SelectOptions { shared_stock: SharedStock::Split, leave_out_faulty: true, ..eur() };
        let found = preview(file, &options);
        assert_eq!(
            sold(&found)[..3],
            [
                ("MAST-MB", "Mast hoodie - M / Blue", Some(5_500), Some(5)),
                ("MAST-LB", "Mast hoodie - L / Blue", Some(5_700), Some(3)),
                ("BALL", "Deck ball", Some(900), Some(8)),
            ]
        );
        assert_eq!(row(&found, "BALL").regular_minor, Some(1_200));
        assert!(found.totals.passed_over > rest);
        let catalogue = catalogue(file);
        let categories: Vec<&str> = catalogue.products[0].categories.iter().collect();
        assert_eq!(categories, ["Clothing > Hoodies", "Sale"]);
        let sounds = catalogue.variants.iter().find(|variant| variant.sku == "SOUND").unwrap();
        assert_eq!(sounds.kind, Kind::Digital);
    }
}

#[test]
fn what_the_shop_does_not_sell_is_left_out() {
    let options = SelectOptions { leave_out_faulty: true, ..eur() };
    assert_eq!(
        left_out(&preview(LEGACY, &options)),
        [(7, "UNPUBLISHED"), (8, "NOT_FOR_SALE"), (9, "FAULTY"), (11, "FAULTY"), (12, "FAULTY"),]
    );
}

#[test]
fn stock_by_product_is_shared() {
    let text = refused(LEGACY, &eur()).to_string();
    assert!(text.contains("row 11, column Current Stock Level is 7 for 2 variants"), "{text}");
    let options =
        SelectOptions { shared_stock: SharedStock::Split, leave_out_faulty: true, ..eur() };
    let found = preview(LEGACY, &options);
    assert_eq!((row(&found, "COVE-R").units, row(&found, "COVE-G").units), (Some(4), Some(3)));
}

#[test]
fn a_variant_needs_its_product_above_it() {
    let file = "Item Type,Product Name,Product Code/SKU,Price\n  SKU,[S]Size=M,A,5\n";
    let text = refused(file.as_bytes(), &eur()).to_string();
    assert!(text.contains("keep the order"), "{text}");
}
