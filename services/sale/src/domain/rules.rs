//! What a sale may look like. Every broken rule is reported, with the path of the field.

use std::{collections::HashMap, time::Duration};

use flashsale_catalogue::{MAX_ITEMS, MAX_QUANTITY, MAX_SKU_CHARS, MAX_TITLE_CHARS, invisible};
use flashsale_record::chargeable;
use iso_currency::Currency;
use time::OffsetDateTime;

use super::{Item, Kind, Problems, Room, Settings};

/// What joins characters to one emoji, and what shows it in colour. They cannot be seen by
/// themselves, but a title looks different without them.
const OF_EMOJI: [char; 2] = ['\u{200d}', '\u{fe0f}'];

const MAX_NAME_CHARS: usize = 200;
const DEFAULT_WINDOW: time::Duration = time::Duration::hours(24);
const DEFAULT_HOLD: Duration = Duration::from_secs(10 * 60);
const DEFAULT_ADMISSION: Duration = Duration::from_secs(5 * 60);
const MIN_LENGTH: Duration = Duration::from_secs(5);
const MAX_LENGTH: Duration = Duration::from_secs(60 * 60);
/// A bank's page takes its time.
const MIN_PATIENCE: Duration = Duration::from_secs(30);
const MAX_PRE_QUEUE: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_RATE: f64 = 0.1;
const MAX_RATE: f64 = 100_000.0;
const MAX_PEAK: i64 = 10_000_000;

/// Settings as they were requested. What could not be decoded is `None` here and already a problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SettingsDraft {
    /// What the shop calls the sale.
    pub name: String,
    /// The currency of every price.
    pub currency: Option<Currency>,
    /// When buyers may start; none means now.
    pub starts_at: Option<OffsetDateTime>,
    /// When new holds stop; none means 24 hours after the start.
    pub ends_at: Option<OffsetDateTime>,
    /// How long units stay held; none means 10 minutes.
    pub hold: Option<Duration>,
    /// How long a buyer may take to authenticate a payment; none leaves it to payment.
    pub payment_patience: Option<Duration>,
    /// The waiting room, if there is to be one.
    pub room: Option<RoomDraft>,
    /// How many buyers a second are expected; none says nothing.
    pub expected_peak: Option<i64>,
}

/// A waiting room as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomDraft {
    /// Buyers admitted per second.
    pub rate: f64,
    /// How long an admission may be used; none means 5 minutes.
    pub admission: Option<Duration>,
    /// How long before the start buyers may join; none means from the start on.
    pub pre_queue: Option<Duration>,
}

/// An item as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemDraft {
    /// The shop's name of the unit.
    pub sku: String,
    /// What the buyer reads.
    pub title: String,
    /// Minor units and their currency; `None` when it could not be decoded.
    pub unit_price: Option<(i64, Currency)>,
    /// What it costs outside the sale, likewise; `None` also when the shop does not say.
    pub regular_price: Option<(i64, Currency)>,
    /// Units the sale may sell.
    pub quantity: i64,
    /// Units one buyer may hold and buy together; 0 means no limit.
    pub per_buyer_limit: i64,
}

/// The settings that `draft` requests at `now`; `None` only if the currency is unknown, which is
/// already a problem.
pub fn settings(
    draft: &SettingsDraft,
    now: OffsetDateTime,
    problems: &mut Problems,
) -> Option<Settings> {
    let mut wrong = |field: &str, what: String| {
        problems.add(Kind::Argument, format!("settings.{field}"), what);
    };
    if let Some(what) = printable(&draft.name, 1, MAX_NAME_CHARS) {
        wrong("name", what);
    }

    if let Some(currency) = draft.currency
        && chargeable(currency.code()).is_none()
    {
        let code = currency.code();
        let what = format!(
            "is {code}, which cards are not charged in; docs.stripe.com/currencies lists the others"
        );
        wrong("currency", what);
    }

    let starts_at = draft.starts_at.unwrap_or(now);
    // Only the last day of the year 9999 has no day after it.
    let ends_at =
        draft.ends_at.or_else(|| starts_at.checked_add(DEFAULT_WINDOW)).unwrap_or(starts_at);
    if ends_at <= starts_at {
        wrong("ends_at", "must be later than settings.starts_at".to_owned());
    } else if ends_at <= now {
        wrong("ends_at", "is in the past; such a sale could never open".to_owned());
    }

    let hold = draft.hold.unwrap_or(DEFAULT_HOLD);
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&hold) {
        wrong("hold_ttl", length_rule(hold));
    }
    if let Some(patience) = draft.payment_patience
        && !(MIN_PATIENCE..=MAX_LENGTH).contains(&patience)
    {
        let seconds = patience.as_secs_f64();
        wrong("payment_patience", format!("is {seconds} s; it must be 30 seconds to 1 hour"));
    }
    if let Some(peak) = draft.expected_peak
        && !(1..=MAX_PEAK).contains(&peak)
    {
        wrong("expected_peak_per_second", format!("is {peak}; it must be 1 to 10,000,000"));
    }
    let room = draft.room.map(|room| {
        if !(MIN_RATE..=MAX_RATE).contains(&room.rate) {
            wrong(
                "room.admissions_per_second",
                format!("is {}; it must be 0.1 to 100,000", room.rate),
            );
        }
        let admission = room.admission.unwrap_or(DEFAULT_ADMISSION);
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&admission) {
            wrong("room.admission_ttl", length_rule(admission));
        }
        let pre_queue = room.pre_queue.unwrap_or_default();
        if pre_queue > MAX_PRE_QUEUE {
            let hours = pre_queue.as_secs_f64() / 3_600.0;
            wrong("room.pre_queue", format!("is {hours} h; it may be up to 24 hours"));
        }
        Room { rate: room.rate, admission: whole_ms(admission), pre_queue: whole_ms(pre_queue) }
    });
    Some(Settings {
        name: draft.name.clone(),
        currency: draft.currency?,
        starts_at,
        ends_at,
        hold: whole_ms(hold),
        payment_patience: draft.payment_patience.map(whole_ms),
        room,
        expected_peak: draft.expected_peak,
    })
}

fn length_rule(length: Duration) -> String {
    format!("is {} s; it must be 5 seconds to 1 hour", length.as_secs_f64())
}

/// What the stores keep of a length of time.
fn whole_ms(length: Duration) -> Duration {
    Duration::new(length.as_secs(), length.subsec_millis() * 1_000_000)
}

/// The items that `drafts` request, in a sale of `currency` (`None` if that is already a problem).
pub fn items(
    drafts: &[ItemDraft],
    currency: Option<Currency>,
    problems: &mut Problems,
) -> Vec<Item> {
    if drafts.is_empty() {
        problems.add(Kind::Argument, "items", "is empty; a sale needs 1 to 10,000 items");
    }
    if drafts.len() > MAX_ITEMS {
        let count = drafts.len();
        problems.add(Kind::Argument, "items", format!("has {count} items; 10,000 are allowed"));
        return Vec::new();
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut items = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let field = |name: &str| format!("items[{index}].{name}");
        let before = problems.count();
        if let Some(what) =
            printable(&draft.sku, 1, MAX_SKU_CHARS).or_else(|| unseen(&draft.sku, &[]))
        {
            problems.add(Kind::Argument, field("sku"), what);
        } else if let Some(first) = seen.get(draft.sku.as_str()) {
            let what = format!("is the same as items[{first}].sku; each sku may be there once");
            problems.add(Kind::Argument, field("sku"), what);
        } else {
            seen.insert(&draft.sku, index);
        }
        if let Some(what) =
            printable(&draft.title, 0, MAX_TITLE_CHARS).or_else(|| unseen(&draft.title, &OF_EMOJI))
        {
            problems.add(Kind::Argument, field("title"), what);
        }
        let is_of = |name: &str, of: Currency, problems: &mut Problems| {
            let Some(currency) = currency.filter(|currency| *currency != of) else { return true };
            let (has, must) = (of.code(), currency.code());
            let what = format!("is {has}; every price of this sale must be in {must}");
            problems.add(Kind::Argument, field(&format!("{name}.currency_code")), what);
            false
        };
        let price_minor = draft.unit_price.map_or(0, |(minor, of)| {
            if is_of("unit_price", of, problems)
                && let Some((what, remedy)) = flashsale_catalogue::uncharged_price(minor, of)
            {
                problems.add(Kind::Argument, field("unit_price"), format!("{what}; {remedy}"));
            }
            minor
        });
        let regular_minor = draft.regular_price.map(|(minor, of)| {
            if is_of("regular_price", of, problems) && minor < 0 {
                let what = "is negative; leave it out if there is none";
                problems.add(Kind::Argument, field("regular_price"), what);
            }
            minor
        });
        quantity(&field("quantity"), draft.quantity, problems);
        per_buyer_limit(&field("per_buyer_limit"), draft.per_buyer_limit, problems);
        if problems.count() == before
            && let Some((minor, of)) = draft.unit_price
            && let Some(order) = flashsale_catalogue::uncharged_order(
                minor,
                draft.quantity,
                draft.per_buyer_limit,
                of,
            )
        {
            let (what, most) = (order.what, order.most_units);
            let limit = draft.per_buyer_limit;
            let what = format!("is {limit}: {what}; set a limit of 1 to {most}");
            problems.add(Kind::Quantity, field("per_buyer_limit"), what);
        }
        items.push(Item {
            sku: draft.sku.clone(),
            title: draft.title.clone(),
            price_minor,
            regular_minor,
            quantity: draft.quantity,
            per_buyer_limit: draft.per_buyer_limit,
        });
    }
    items
}

/// Checks the units of an item.
pub fn quantity(field: &str, quantity: i64, problems: &mut Problems) {
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        let what = format!("is {quantity}; it must be 1 to 10,000,000");
        problems.add(Kind::Quantity, field, what);
    }
}

/// Checks the units one buyer may have.
pub fn per_buyer_limit(field: &str, limit: i64, problems: &mut Problems) {
    if !(0..=MAX_QUANTITY).contains(&limit) {
        let what = format!("is {limit}; it must be 1 to 10,000,000, or 0 for no limit");
        problems.add(Kind::Quantity, field, what);
    }
}

/// Why `text` is not `min` to `max` characters without control characters; `None` if it is.
fn printable(text: &str, min: usize, max: usize) -> Option<String> {
    let chars = text.chars().count();
    if chars < min {
        Some(format!("is empty; it must have {min} to {max} characters"))
    } else if chars > max {
        Some(format!("has {chars} characters; {max} are allowed"))
    } else if text.chars().any(char::is_control) {
        Some("has control characters such as a line break; only printable ones are allowed".into())
    } else {
        None
    }
}

/// Why another text could look like `text`; `None` if it has no characters that cannot be seen, but
/// `allowed` ones.
fn unseen(text: &str, allowed: &[char]) -> Option<String> {
    let unseen = invisible(text).find(|c| !allowed.contains(c))?;
    let code = u32::from(unseen);
    Some(format!("has a character that cannot be seen, U+{code:04X}; leave it out"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-23 18:00 UTC);

    fn good() -> SettingsDraft {
        SettingsDraft {
            name: "Spring drop".to_owned(),
            currency: Some(Currency::EUR),
            ..SettingsDraft::default()
        }
    }

    fn item(sku: &str) -> ItemDraft {
        ItemDraft {
            sku: sku.to_owned(),
            title: "Harbour tee".to_owned(),
            unit_price: Some((2_900, Currency::EUR)),
            regular_price: None,
            quantity: 10,
            per_buyer_limit: 2,
        }
    }

    fn fields(problems: &Problems) -> Vec<&str> {
        problems.listed().iter().map(|problem| problem.field.as_str()).collect()
    }

    #[test]
    fn omitted_settings_take_their_defaults() {
        let mut problems = Problems::new();
        let room = Some(RoomDraft { rate: 50.0, admission: None, pre_queue: None });
        let settings =
            settings(&SettingsDraft { room, ..good() }, NOW, &mut problems).expect("no problem");
        assert!(problems.is_empty());
        assert_eq!(settings.starts_at, NOW);
        assert_eq!(settings.ends_at, NOW + time::Duration::DAY);
        assert_eq!(settings.hold, Duration::from_secs(600));
        assert_eq!(settings.room.unwrap().admission, Duration::from_secs(300));
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        let hour = Duration::from_secs(3_600);
        let room = |rate, admission| Some(RoomDraft { rate, admission, pre_queue: None });
        let queued =
            |pre_queue| Some(RoomDraft { rate: 1.0, admission: None, pre_queue: Some(pre_queue) });
        for (draft, field) in [
            (SettingsDraft { name: String::new(), ..good() }, "settings.name"),
            (SettingsDraft { name: "x".repeat(201), ..good() }, "settings.name"),
            (SettingsDraft { name: "a\nb".to_owned(), ..good() }, "settings.name"),
            (SettingsDraft { currency: Some(Currency::IRR), ..good() }, "settings.currency"),
            (
                SettingsDraft { starts_at: Some(NOW), ends_at: Some(NOW), ..good() },
                "settings.ends_at",
            ),
            (
                SettingsDraft {
                    starts_at: Some(NOW - 2 * time::Duration::DAY),
                    ends_at: Some(NOW),
                    ..good()
                },
                "settings.ends_at",
            ),
            (
                SettingsDraft { hold: Some(Duration::from_millis(4_999)), ..good() },
                "settings.hold_ttl",
            ),
            (
                SettingsDraft { hold: Some(hour + Duration::from_millis(1)), ..good() },
                "settings.hold_ttl",
            ),
            (
                SettingsDraft { payment_patience: Some(Duration::from_millis(29_999)), ..good() },
                "settings.payment_patience",
            ),
            (
                SettingsDraft { payment_patience: Some(hour + Duration::from_millis(1)), ..good() },
                "settings.payment_patience",
            ),
            (
                SettingsDraft { expected_peak: Some(0), ..good() },
                "settings.expected_peak_per_second",
            ),
            (
                SettingsDraft { expected_peak: Some(MAX_PEAK + 1), ..good() },
                "settings.expected_peak_per_second",
            ),
            (
                SettingsDraft { room: room(0.09, None), ..good() },
                "settings.room.admissions_per_second",
            ),
            (
                SettingsDraft { room: room(f64::NAN, None), ..good() },
                "settings.room.admissions_per_second",
            ),
            (
                SettingsDraft { room: room(f64::INFINITY, None), ..good() },
                "settings.room.admissions_per_second",
            ),
            (
                SettingsDraft { room: room(1.0, Some(Duration::ZERO)), ..good() },
                "settings.room.admission_ttl",
            ),
            (
                SettingsDraft { room: queued(24 * hour + Duration::from_millis(1)), ..good() },
                "settings.room.pre_queue",
            ),
        ] {
            let mut problems = Problems::new();
            settings(&draft, NOW, &mut problems);
            assert_eq!(fields(&problems), [field], "{draft:?}");
        }
    }

    #[test]
    fn all_item_problems_are_reported_at_once() {
        let drafts = [
            item("TEE"),
            ItemDraft { unit_price: Some((100, Currency::USD)), ..item("CAP") },
            ItemDraft { quantity: 0, per_buyer_limit: -1, ..item("TEE") },
            ItemDraft { unit_price: Some((0, Currency::EUR)), ..item("") },
            ItemDraft { quantity: MAX_QUANTITY + 1, title: "\u{7}".to_owned(), ..item("MUG") },
            ItemDraft { unit_price: Some((49, Currency::EUR)), ..item("PIN") },
            ItemDraft { unit_price: Some((100_000_000, Currency::EUR)), ..item("BOAT") },
            ItemDraft { unit_price: Some((50_000_000, Currency::EUR)), ..item("CAR") },
            ItemDraft {
                unit_price: Some((50_000_000, Currency::EUR)),
                per_buyer_limit: 1,
                ..item("VAN")
            },
            item("TEE\u{200b}"),
            item("HEART\u{fe0f}"),
            ItemDraft { title: "Soft\u{ad}ware".to_owned(), ..item("SOFT") },
            ItemDraft { regular_price: Some((3_900, Currency::USD)), ..item("SOCK") },
            ItemDraft { regular_price: Some((-1, Currency::EUR)), ..item("SCARF") },
            // Below the sale's price: CheckSale says so.
            ItemDraft { regular_price: Some((0, Currency::EUR)), ..item("GLOVE") },
            // A heart in colour, and a family of three.
            ItemDraft {
                title: "\u{2764}\u{fe0f} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f466}".to_owned(),
                ..item("LOVE")
            },
        ];
        let mut problems = Problems::new();
        items(&drafts, Some(Currency::EUR), &mut problems);
        assert_eq!(
            fields(&problems),
            [
                "items[1].unit_price.currency_code",
                "items[2].sku",
                "items[2].quantity",
                "items[2].per_buyer_limit",
                "items[3].sku",
                "items[3].unit_price",
                "items[4].title",
                "items[4].quantity",
                "items[5].unit_price",
                "items[6].unit_price",
                "items[7].per_buyer_limit",
                "items[9].sku",
                "items[10].sku",
                "items[11].title",
                "items[12].regular_price.currency_code",
                "items[13].regular_price",
            ]
        );
        assert!(problems.listed()[1].what.contains("items[0].sku"));
    }

    #[test]
    fn a_sale_has_one_to_ten_thousand_items() {
        let mut problems = Problems::new();
        items(&[], Some(Currency::EUR), &mut problems);
        assert_eq!(fields(&problems), ["items"]);
        let many: Vec<ItemDraft> = (0..=MAX_ITEMS).map(|n| item(&format!("S{n}"))).collect();
        let mut problems = Problems::new();
        items(&many, Some(Currency::EUR), &mut problems);
        assert_eq!(fields(&problems), ["items"]);
        let mut problems = Problems::new();
        assert_eq!(items(&many[1..], Some(Currency::EUR), &mut problems).len(), MAX_ITEMS);
        assert!(problems.is_empty());
    }
}
