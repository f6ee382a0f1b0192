//! Whatever a file holds, it gives an answer.

use flashsale_catalogue::{
    DecimalMark, DuplicateSkus, Encoding, Format, Need, ReadOptions, SelectOptions, Separator,
    SharedStock, read, select,
};
use iso_currency::Currency;
use proptest::prelude::*;

const FIXTURES: [&[u8]; 9] = [
    include_bytes!("../fixtures/shopify-present.csv"),
    include_bytes!("../fixtures/shopify-old.csv"),
    include_bytes!("../fixtures/shopify-resorted.csv"),
    include_bytes!("../fixtures/woocommerce.csv"),
    include_bytes!("../fixtures/woocommerce-shared.csv"),
    include_bytes!("../fixtures/bigcommerce-legacy.csv"),
    include_bytes!("../fixtures/bigcommerce-present.csv"),
    include_bytes!("../fixtures/own.csv"),
    include_bytes!("../fixtures/own.json"),
];

fn read_options() -> impl Strategy<Value = ReadOptions<'static>> {
    let formats = [
        None,
        Some(Format::Shopify),
        Some(Format::WooCommerce),
        Some(Format::BigCommerce),
        Some(Format::Csv),
        Some(Format::Json),
    ];
    let separators = [None, Some(Separator::Comma), Some(Separator::Semicolon)];
    (
        proptest::sample::select(formats.to_vec()),
        any::<bool>(),
        proptest::sample::select(separators.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(format, latin, separator, comma)| ReadOptions {
            format,
            encoding: if latin { Encoding::Windows1252 } else { Encoding::Unicode },
            separator,
            decimal_mark: if comma { DecimalMark::Comma } else { DecimalMark::Point },
            ..ReadOptions::default()
        })
}

fn select_options() -> impl Strategy<Value = SelectOptions> {
    let duplicates = [DuplicateSkus::Refuse, DuplicateSkus::First, DuplicateSkus::NameByOptions];
    (any::<[bool; 4]>(), proptest::sample::select(duplicates.to_vec())).prop_map(
        |([euros, split, leave_out_faulty, dry_run], duplicate_skus)| SelectOptions {
            currency: euros.then_some(Currency::EUR),
            shared_stock: if split { SharedStock::Split } else { SharedStock::Refuse },
            leave_out_faulty,
            dry_run,
            duplicate_skus,
            ..SelectOptions::default()
        },
    )
}

/// Reads and decides, and checks what holds of every answer.
fn answer(content: &[u8], reading: &ReadOptions<'_>, deciding: &SelectOptions) {
    let refused = |problems: flashsale_catalogue::Problems| {
        assert!(problems.count() > 0, "refused for no reason");
    };
    let catalogue = match read(content, reading) {
        Ok(catalogue) => catalogue,
        Err(problems) => return refused(problems),
    };
    let preview = match select(&catalogue, deciding) {
        Ok(preview) => preview,
        Err(problems) => return refused(problems),
    };
    assert_eq!(preview.rows.len(), catalogue.variants.len());
    let sold: Vec<_> = preview
        .rows
        .iter()
        .filter(|row| row.decision == flashsale_catalogue::Decision::Sell)
        .collect();
    let skus: std::collections::HashSet<_> = sold.iter().map(|row| &row.sku).collect();
    assert_eq!((skus.len(), preview.totals.items), (sold.len(), sold.len()), "a sku is twice");
    for row in sold {
        let known = (row.price_minor.is_some(), row.units.is_some());
        let needed = (
            preview.needs.contains(&Need::Currency),
            preview.needs.iter().any(|need| matches!(need, Need::Quantity { .. })),
        );
        assert!((known.0 || needed.0) && (known.1 || needed.1), "{row:?}");
        assert!(row.units.is_none_or(|units| units > 0), "{row:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        reading in read_options(),
        deciding in select_options(),
    ) {
        answer(&content, &reading, &deciding);
    }

    /// A good file with some bytes written over.
    #[test]
    fn damaged_files_give_an_answer(
        fixture in proptest::sample::select(FIXTURES.to_vec()),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        reading in read_options(),
        deciding in select_options(),
    ) {
        let mut content = fixture.to_vec();
        for (at, byte) in damage {
            let at = at.index(content.len());
            content[at] = byte;
        }
        answer(&content, &reading, &deciding);
        answer(&content, &ReadOptions::default(), &deciding);
    }

    /// Rows of a good file in any order, some of them twice or missing.
    #[test]
    fn shuffled_files_give_an_answer(
        fixture in proptest::sample::select(FIXTURES.to_vec()),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 1..20),
        deciding in select_options(),
    ) {
        let text = std::str::from_utf8(fixture).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut file = vec![lines[0]];
        file.extend(order.iter().map(|at| lines[at.index(lines.len())]));
        answer(file.join("\n").as_bytes(), &ReadOptions::default(), &deciding);
    }
}
