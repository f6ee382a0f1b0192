//! What is sold of a good file.

use flashsale_catalogue::{
    DuplicateSkus, Need, Percent, PriceRule, Rounding, SelectOptions, SharedStock, UnitsRule,
};
use iso_currency::Currency;

use crate::{eur, eur_of, left_out, only, preview, refused, row, skus, sold};

const SHOPIFY: &[u8] = include_bytes!("../fixtures/shopify-old.csv");
const WOO: &[u8] = include_bytes!("../fixtures/woocommerce.csv");
const OWN: &[u8] = b"sku,price,quantity\nA,19.99,10\nB,5.00,3\n";
const DOUBLE: &[u8] = b"Handle,Title,Option1 Value,Variant SKU,Variant Price\nmug,Mug,Red,M,5\nmug,,Blue,M,6\ncup,Cup,Default Title,C,7\n";

fn percent(text: &str) -> Percent {
    Percent::from_text(text).unwrap()
}

fn prices(price: PriceRule, rounding: Rounding, round_to: Option<&str>) -> Vec<Option<i64>> {
    let round_to = round_to.map(str::to_owned);
    let found = preview(OWN, &SelectOptions { price, rounding, round_to, ..eur() });
    found.rows.iter().map(|row| row.price_minor).collect()
}

#[test]
fn prices_follow_the_rule() {
    let nearest = Rounding::Nearest;
    for (rule, expected) in [
        (PriceRule::FromFile, [1_999, 500]),
        (PriceRule::Regular, [1_999, 500]),
        (PriceRule::PercentOff(percent("15")), [1_699, 425]),
        (PriceRule::PercentOff(percent("12.5")), [1_749, 438]),
        (PriceRule::AmountOff("1.50".to_owned()), [1_849, 350]),
        (PriceRule::Fixed("3".to_owned()), [300, 300]),
    ] {
        assert_eq!(prices(rule.clone(), nearest, None), expected.map(Some), "{rule:?}");
    }
    let off = PriceRule::PercentOff(percent("15"));
    assert_eq!(prices(off.clone(), Rounding::Up, Some("0.50")), [Some(1_700), Some(450)]);
    assert_eq!(prices(off, Rounding::Down, Some("0.50")), [Some(1_650), Some(400)]);
}

#[test]
fn calculated_prices_keep_the_currencys_step() {
    let kwd = SelectOptions {
        currency: Some(Currency::KWD),
        price: PriceRule::PercentOff(percent("33.33")),
        ..eur()
    };
    let found = preview(b"sku,price,quantity\nA,1.250,5\n", &kwd);
    assert_eq!(sold(&found), [("A", "A", Some(830), Some(5))]);
}

#[test]
fn prices_that_the_rule_leaves_nothing_of_are_refused() {
    for (price, what) in [
        (PriceRule::AmountOff("5".to_owned()), "leave nothing"),
        (PriceRule::PercentOff(percent("95")), "with what is off is 0.25 EUR"),
        (PriceRule::PercentOff(percent("100")), "with what is off is 0.00 EUR"),
    ] {
        let problems = refused(OWN, &SelectOptions { price, ..eur() });
        assert!(problems.to_string().contains(what), "{problems}");
    }
}

#[test]
fn a_price_above_the_shops_is_warned_of() {
    let fixed = SelectOptions { price: PriceRule::Fixed("9".to_owned()), ..eur() };
    let found = preview(OWN, &fixed);
    assert_eq!(row(&found, "B").warnings, ["9.00 EUR is above the regular price of 5.00 EUR"]);
    assert!(row(&found, "A").warnings.is_empty());
    let mut off = SelectOptions { price: PriceRule::PercentOff(percent("5")), ..eur() };
    off.selection.skus = vec!["OARS".to_owned()];
    let warning = "47.50 EUR is above the shop's own sale price of 45.00 EUR";
    assert_eq!(row(&preview(WOO, &off), "OARS").warnings, [warning]);
}

#[test]
fn units_follow_the_rule() {
    let units = |units| {
        let found = preview(OWN, &SelectOptions { units, ..eur() });
        found.rows.iter().map(|row| row.units).collect::<Vec<_>>()
    };
    let share = |text, cap| UnitsRule::Share { percent: percent(text), cap };
    assert_eq!(units(UnitsRule::FromFile), [Some(10), Some(3)]);
    assert_eq!(units(UnitsRule::Fixed(7)), [Some(7), Some(7)]);
    assert_eq!(units(share("50", None)), [Some(5), Some(1)]);
    assert_eq!(units(share("50", Some(2))), [Some(2), Some(1)]);
    let options = SelectOptions { units: share("10", None), ..eur() };
    let (place, text) = only(&refused(OWN, &options));
    assert_eq!(place, "row 3, column quantity");
    assert!(text.contains("less than one unit"), "{text}");
}

#[test]
fn rows_are_selected_by_sku_handle_tag_and_category() {
    let of = |file: &[u8], set: &dyn Fn(&mut flashsale_catalogue::Selection)| {
        let mut options = eur_of(1);
        set(&mut options.selection);
        preview(file, &options)
            .rows
            .into_iter()
            .filter(|row| row.price_minor.is_some())
            .map(|row| row.sku)
            .collect::<Vec<_>>()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(of(SHOPIFY, &|s| s.skus = names(&["0112", "KELP-BL"])), ["0112", "KELP-BL"]);
    assert_eq!(of(SHOPIFY, &|s| s.handles = names(&["Kelp-Scarf"])), ["KELP-GL", "KELP-BL"]);
    assert_eq!(
        of(SHOPIFY, &|s| s.tags = names(&["WINTER", "kitchen"])),
        ["0112", "KELP-GL", "KELP-BL"]
    );
    assert_eq!(of(SHOPIFY, &|s| s.categories = names(&["mat"])), ["dune-mat"]);
    assert_eq!(of(WOO, &|s| s.tags = names(&["drop"])), ["BUOY-B", "BUOY/Red", "OARS"]);
    assert_eq!(of(WOO, &|s| s.categories = names(&["clothing"])), ["BUOY-B", "BUOY/Red"]);
    assert_eq!(of(WOO, &|s| s.categories = names(&["Clothing > Jackets"])), ["BUOY-B", "BUOY/Red"]);
    assert_eq!(of(WOO, &|s| s.categories = names(&["jackets"])), ["BUOY-B", "BUOY/Red"]);
    let both = of(WOO, &|s| (s.tags, s.skus) = (names(&["drop"]), names(&["OARS", "CHART"])));
    assert_eq!(both, ["OARS"]);
}

#[test]
fn what_is_selected_has_to_be_there() {
    let mut options = eur_of(1);
    options.selection.skus = vec!["NONE".to_owned()];
    options.selection.tags = vec!["none".to_owned()];
    let problems = refused(SHOPIFY, &options);
    let places: Vec<String> = problems.listed().iter().map(|problem| problem.place()).collect();
    assert_eq!(places, ["--sku", "--tag"]);
}

#[test]
fn rows_that_are_not_selected_are_not_judged() {
    let mut options = eur();
    options.selection.skus = vec!["A".to_owned()];
    let found = preview(b"sku,price,quantity\nA,5,1\nB,0,-1\n", &options);
    assert_eq!((skus(&found), left_out(&found)), (vec!["A"], vec![(3, "NOT_SELECTED")]));
}

#[test]
fn duplicate_skus_are_refused_or_settled() {
    let problems = refused(DOUBLE, &eur_of(1));
    assert_eq!((problems.count(), problems.remaining()), (2, Some(1)), "{problems}");
    let text = problems.to_string();
    assert!(text.contains("row 3, column Variant SKU names the item \"M\" like row 2"), "{text}");
    assert!(text.contains("--duplicate-skus first"), "{text}");

    let with = |duplicate_skus| preview(DOUBLE, &SelectOptions { duplicate_skus, ..eur_of(1) });
    let first = with(DuplicateSkus::First);
    assert_eq!((skus(&first), left_out(&first)), (vec!["M", "C"], vec![(3, "DUPLICATE")]));
    let named = with(DuplicateSkus::NameByOptions);
    assert_eq!(skus(&named), ["mug/Red", "mug/Blue", "C"]);
    assert!(row(&named, "mug/Red").warnings[0].contains("\"M\" is not its alone"));

    let file = b"sku,price\nA,5\nA,6\n";
    let options = SelectOptions { duplicate_skus: DuplicateSkus::NameByOptions, ..eur_of(1) };
    assert_eq!(refused(file, &options).count(), 2, "it has nothing to be named by");
}

#[test]
fn a_draft_does_not_make_a_sku_double() {
    let file = b"Handle,Variant SKU,Variant Price,Status\na,S,5,draft\nb,S,6,active\n";
    assert_eq!(sold(&preview(file, &eur_of(1))), [("S", "b", Some(600), Some(1))]);
}

#[test]
fn a_dry_run_says_what_is_missing() {
    let dry = SelectOptions { dry_run: true, ..SelectOptions::default() };
    let found = preview(b"sku,price,quantity\nA,5,1\nB,6,\n", &dry);
    assert_eq!(found.needs, [Need::Currency, Need::Quantity { rows: 1 }]);
    assert_eq!(sold(&found), [("A", "A", None, Some(1)), ("B", "B", None, None)]);
    assert_eq!((found.totals.units, found.totals.value_minor), (None, None));
    assert_eq!(row(&found, "A").price_text.as_deref(), Some("5"));

    let found = preview(OWN, &SelectOptions { dry_run: true, ..eur() });
    assert!(found.needs.is_empty());
    assert_eq!((found.totals.units, found.totals.value_minor), (Some(13), Some(21_490)));

    let (place, text) = only(&refused(OWN, &SelectOptions::default()));
    assert_eq!(place, "--currency");
    assert!(text.contains("is missing"), "{text}");
    for price in ["0", "x"] {
        let file = format!("sku,price\nA,{price}\n");
        assert_eq!(only(&refused(file.as_bytes(), &dry)).0, "row 2, column price");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let share = |percent, cap| UnitsRule::Share { percent, cap };
    for (options, place) in [
        (eur_of(0), "--quantity"),
        (eur_of(10_000_001), "--quantity"),
        (SelectOptions { per_buyer_limit: -1, ..eur() }, "--per-buyer-limit"),
        (SelectOptions { units: share(percent("0"), None), ..eur() }, "--stock-share"),
        (SelectOptions { units: share(percent("5"), Some(0)), ..eur() }, "--stock-cap"),
        (SelectOptions { price: PriceRule::Fixed("0".to_owned()), ..eur() }, "--price"),
        (SelectOptions { price: PriceRule::AmountOff("x".to_owned()), ..eur() }, "--amount-off"),
        (SelectOptions { round_to: Some("0.001".to_owned()), ..eur() }, "--round-to"),
        (SelectOptions { currency: Some(Currency::XAU), ..eur() }, "--currency"),
    ] {
        assert_eq!(only(&refused(OWN, &options)).0, place, "{options:?}");
    }
}

#[test]
fn nothing_to_sell_is_said_with_the_reasons() {
    let file = b"Handle,Variant Price,Status\na,5,draft\nb,5,draft\nc,5,archived\n";
    let (place, text) = only(&refused(file, &eur_of(1)));
    assert_eq!(place, "content");
    assert!(text.contains("of 2 rows its product is a draft"), "{text}");
}

#[test]
fn units_given_for_each_ignore_that_stock_is_shared_but_warn() {
    let shared = include_bytes!("../fixtures/woocommerce-shared.csv");
    let found = preview(shared, &eur_of(9));
    assert_eq!(found.totals.units, Some(36));
    let warning = "its variants share a stock of 11 in the shop";
    assert_eq!(row(&found, "WAVE-S").warnings, [warning]);
    assert!(row(&found, "WAVE-XL").warnings.is_empty());
}

#[test]
fn a_share_of_shared_stock_is_one_of_the_whole() {
    let shared = include_bytes!("../fixtures/woocommerce-shared.csv");
    let units = UnitsRule::Share { percent: percent("50"), cap: Some(2) };
    let options =
        SelectOptions { units, shared_stock: SharedStock::Split, leave_out_faulty: true, ..eur() };
    let found = preview(shared, &options);
    // Half of 11 is 5: 3, 1 and 1, of which the cap leaves 2, 1 and 1; and half of 2.
    let units: Vec<_> = found.rows.iter().map(|row| row.units).collect();
    assert_eq!(units, [2, 1, 1, 1].map(Some));
}
