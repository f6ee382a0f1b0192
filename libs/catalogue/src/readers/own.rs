//! Our own lists: CSV with the columns `sku,title,price,quantity,per_buyer_limit`, or JSON, an
//! array of objects with these names. Only `sku` and `price` have to be there.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Finder, escape_note};
use crate::{
    ReadOptions,
    format::Format,
    key::{Cells, KeyColumns, Keys},
    problems::{Problem, Problems, counted, shown},
    row::{Catalogue, Columns, Product, Stock, Variant},
    table::{MAX_ROWS, Sheet},
    text::{Decoder, Source, TextReader, invisible, visible},
};

const WITH_THESE: &str = "the columns are sku,title,price,quantity,per_buyer_limit";

fn columns() -> Columns {
    Columns {
        sku: "sku".to_owned(),
        title: "title".to_owned(),
        price: "price".to_owned(),
        sale_price: "price".to_owned(),
        stock: "quantity".to_owned(),
    }
}

pub(super) fn read_csv(
    mut sheet: Sheet<'_>,
    options: &ReadOptions<'_>,
) -> Result<Catalogue, Problems> {
    let mut finder = Finder::new(&sheet);
    let sku = finder.need(&["sku"], "sku", WITH_THESE);
    let title = finder.find(&["title"]);
    let price = finder.need(&["price"], "price", WITH_THESE);
    let quantity = finder.find(&["quantity"]);
    let limit = finder.find(&["per_buyer_limit"]);
    finder.done()?;
    sheet.keep(&[sku, title, price, quantity, limit]);
    let key = KeyColumns::find(&sheet, &[sku]);
    let mut list = List::default();
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        let mut variant = Variant::new(record.line, Some(list.products.len()));
        if let Some((what, remedy)) = sheet.ragged(record) {
            variant.fail("", what, remedy);
        } else {
            variant.source_key.sku = record.raw(sku).to_owned();
            variant.source_key.cells = key.cells(record);
            variant.sku = record.key(sku).to_owned();
            variant.notes.extend(escape_note(record, sku, &variant.sku));
            variant.title = record.cell(title).to_owned();
            variant.regular_price = record.cell(price).to_owned();
            variant.stock = Stock::parse(record.cell(quantity));
            set_limit(&mut variant, record.cell(limit));
        }
        list.push(variant);
    }
    Ok(list.catalogue(Format::Csv, key.into_names(), sheet.warnings(), options))
}

/// Whether a file that begins so is JSON, as no CSV of products does.
pub(crate) fn is_json(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    // Also as either UTF-16, whose zeros and mark are skipped.
    let mut bytes = start.iter().filter(|byte| !matches!(byte, 0 | 0xff | 0xfe));
    let first = bytes.find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'[' | b'{'))
}

pub(super) fn read_json(
    content: Source<'_>,
    options: &ReadOptions<'_>,
) -> Result<Catalogue, Problems> {
    super::for_shopify_only(Format::Json, options)?;
    let decoder = Decoder::new(content, options.encoding).map_err(Problems::one)?;
    let mut text = TextReader::new(decoder);
    let items: Items = serde_json::from_reader(&mut text).map_err(|error| {
        let no_json = || {
            let remedy =
                "send an array of objects with sku, title, price, quantity and per_buyer_limit";
            Problem::file(format!("cannot be read as JSON: {error}"), remedy)
        };
        Problems::one(text.problem.take().unwrap_or_else(no_json))
    })?;
    if items.too_many {
        let problem = Problem::file("has more than 100,000 items", "split the list");
        return Err(Problems::one(problem));
    }
    let mut list = List::default();
    let mut hidden: Option<(usize, usize, char)> = None;
    for (index, item) in items.items.into_iter().enumerate() {
        let mut variant = Variant::new(index + 1, Some(list.products.len()));
        let texts = [&item.sku, &item.title].map(Scalar::text);
        if let Some(first) = texts.iter().flatten().find_map(|text| invisible(text).next()) {
            hidden.get_or_insert((0, index + 1, first)).0 += 1;
        }
        let [sku, title] = texts;
        let clean = |text: &str| visible(text).trim().to_owned();
        match sku {
            Some(sku) => {
                variant.sku = clean(&sku);
                variant.source_key.cells = Cells::of(std::iter::once(sku.as_str()));
                variant.source_key.sku = sku;
            }
            None => variant.fail("sku", "is no text", "write it in quotes"),
        }
        match title {
            Some(title) => variant.title = clean(&title),
            None => variant.fail("title", "is no text", "write it in quotes"),
        }
        match item.price.text() {
            Some(price) => variant.regular_price = price.trim().to_owned(),
            None => variant.fail("price", "is no number", "write it such as \"19.90\""),
        }
        match item.quantity.text() {
            Some(quantity) => variant.stock = Stock::parse(quantity.trim()),
            None => variant.fail("quantity", "is no number", "write a whole number"),
        }
        match item.per_buyer_limit.text() {
            Some(limit) => set_limit(&mut variant, limit.trim()),
            None => variant.fail("per_buyer_limit", "is no number", "write a whole number"),
        }
        list.push(variant);
    }
    let warnings = hidden.map(|(items, first, character)| {
        format!(
            "invisible characters were taken out of {}, first U+{:04X} in item {first}",
            counted(items, "item"),
            u32::from(character)
        )
    });
    let key = vec![columns().sku];
    Ok(list.catalogue(Format::Json, key, warnings.into_iter().collect(), options))
}

fn set_limit(variant: &mut Variant, text: &str) {
    match Stock::parse(text) {
        Stock::Missing => {}
        Stock::Known(limit) => variant.limit = Some(limit),
        Stock::NotTracked | Stock::Shared(_) | Stock::Unreadable(_) => {
            let what = format!("is {}", shown(text));
            variant.fail("per_buyer_limit", what, "write a whole number, 0 for no limit");
        }
    }
}

#[derive(Debug, Default)]
struct List {
    products: Vec<Product>,
    variants: Vec<Variant>,
}

impl List {
    /// Each item is a product of its own.
    fn push(&mut self, mut variant: Variant) {
        if variant.title.is_empty() {
            variant.title.clone_from(&variant.sku);
        }
        self.products.push(Product {
            handle: variant.sku.clone(),
            title: variant.title.clone(),
            ..Product::default()
        });
        self.variants.push(variant);
    }

    fn catalogue(
        self,
        format: Format,
        key: Vec<String>,
        warnings: Vec<String>,
        options: &ReadOptions<'_>,
    ) -> Catalogue {
        Catalogue {
            format,
            products: self.products,
            variants: self.variants,
            passed_over: 0,
            warnings,
            decimal_mark: options.decimal_mark,
            columns: columns(),
            keys: Keys { own: key, ..Keys::default() },
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Item {
    sku: Scalar,
    title: Scalar,
    price: Scalar,
    quantity: Scalar,
    per_buyer_limit: Scalar,
}

/// A text or a number, as text; nothing as an empty one. Numbers of JSON have no decimals of their
/// own: `19.90` is read as `19.9`.
#[derive(Debug)]
enum Scalar {
    Text(String),
    /// Anything else, of which nothing is kept.
    Other,
}

impl Default for Scalar {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Scalar {
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Text(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Text(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Text(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Scalar, A::Error> {
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The items of an array, as many as are allowed.
#[derive(Debug)]
struct Items {
    items: Vec<Item>,
    too_many: bool,
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;

        impl<'de> Visitor<'de> for Array {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    if items.len() == MAX_ROWS {
                        // What is behind it has to be read, but not kept.
                        while array.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Items { items, too_many: true });
                    }
                    items.push(item);
                }
                Ok(Items { items, too_many: false })
            }
        }

        deserializer.deserialize_seq(Array)
    }
}
