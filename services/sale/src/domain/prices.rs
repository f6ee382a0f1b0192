//! What a sale's items cost from when on. The first revision of each price is the item's own; later
//! ones change some skus from a moment on, in the order of their numbers.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Item, Sale};

/// The most revisions of a sale that wait to take effect.
pub(super) const MAX_WAITING: usize = 10;

/// What may change of an item while it is on sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The price of one unit, in minor units of the sale's currency.
    pub price_minor: i64,
    /// What one unit costs outside the sale, if the shop has said so.
    pub regular_minor: Option<i64>,
    /// Units one buyer may hold and buy together; 0 means no limit.
    pub per_buyer_limit: i64,
}

/// A revision of a sale's prices behind the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRevision {
    /// Its number, 2 or later.
    pub revision: i64,
    /// From when on it was asked for.
    pub effective_at: OffsetDateTime,
    /// From when on units are taken at it, by the clock of the stock's store; `None` while that
    /// store is not known to have it.
    pub switches_at: Option<OffsetDateTime>,
    /// The later revision that replaced it before it took effect.
    pub replaced_by: Option<i64>,
    /// How many skus it changes.
    pub skus: i64,
    /// It is in effect by the clock of the record, or was before a later one.
    pub in_effect: bool,
    /// What it changes, by sku; loaded only of one that waits.
    pub rows: BTreeMap<String, Price>,
}

impl PriceRevision {
    /// It will take effect, and has not yet.
    pub fn waits(&self) -> bool {
        !self.in_effect && self.replaced_by.is_none()
    }
}

/// When the store of the stock switches to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceSwitch {
    pub revision: i64,
    /// By the clock of that store.
    pub at: OffsetDateTime,
}

/// A revision to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRevision {
    pub revision: i64,
    /// From when on it is to hold.
    pub effective_at: OffsetDateTime,
    /// What it changes, by sku; never empty.
    pub rows: BTreeMap<String, Price>,
}

/// A change of a sale's prices, and what it makes of those that were to take effect later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceChange {
    /// The revision that was asked for.
    pub asked: NewRevision,
    /// What remains of those that it replaces, in the order in which they take effect.
    pub rest: Vec<NewRevision>,
    /// The revisions that it replaces.
    pub replaces: Vec<i64>,
    /// The skus that were asked to change, in the order of their bytes.
    pub skus: Vec<String>,
}

impl PriceChange {
    /// All that is to be recorded, in the order in which it takes effect.
    pub fn revisions(&self) -> impl Iterator<Item = &NewRevision> {
        std::iter::once(&self.asked).chain(&self.rest)
    }
}

/// What of a sku is asked to change. The other fields stay what they are or were to become.
#[derive(Debug, Clone, Copy)]
struct Edit {
    price_minor: Option<i64>,
    regular_minor: Option<Option<i64>>,
    per_buyer_limit: Option<i64>,
}

impl Edit {
    /// What makes `old` into `new`; `None` if they are the same.
    fn between(old: Price, new: Price) -> Option<Self> {
        (old != new).then(|| Self {
            price_minor: (old.price_minor != new.price_minor).then_some(new.price_minor),
            regular_minor: (old.regular_minor != new.regular_minor).then_some(new.regular_minor),
            per_buyer_limit: (old.per_buyer_limit != new.per_buyer_limit)
                .then_some(new.per_buyer_limit),
        })
    }

    fn of(self, old: Price) -> Price {
        Price {
            price_minor: self.price_minor.unwrap_or(old.price_minor),
            regular_minor: self.regular_minor.unwrap_or(old.regular_minor),
            per_buyer_limit: self.per_buyer_limit.unwrap_or(old.per_buyer_limit),
        }
    }
}

impl Item {
    /// What may change of it while it is on sale.
    pub fn price(&self) -> Price {
        Price {
            price_minor: self.price_minor,
            regular_minor: self.regular_minor,
            per_buyer_limit: self.per_buyer_limit,
        }
    }
}

impl Sale {
    /// The revisions that are yet to take effect, in the order in which they do.
    pub fn waiting(&self) -> impl Iterator<Item = &PriceRevision> {
        self.revisions.iter().filter(|revision| revision.waits())
    }

    /// What each sku costs at a later moment, as it is planned now.
    pub(super) fn prices_at(&self, at: OffsetDateTime) -> BTreeMap<&str, Price> {
        self.prices_with(|waiting| waiting.effective_at <= at)
    }

    /// What each sku costs once those of the waiting revisions that `takes` chooses are in effect.
    fn prices_with(&self, takes: impl Fn(&PriceRevision) -> bool) -> BTreeMap<&str, Price> {
        let now = self.items.iter().map(|item| (item.sku.as_str(), item.price()));
        let mut prices: BTreeMap<&str, Price> = now.collect();
        for revision in self.waiting().filter(|revision| takes(revision)) {
            prices.extend(revision.rows.iter().map(|(sku, price)| (sku.as_str(), *price)));
        }
        prices
    }

    /// Has the items of the sale cost what `wanted` says from `at` on; `None` if they do. What was
    /// to change at that moment or later still does, but for the fields that change now.
    ///
    /// Revisions take effect in the order of their numbers, so those that are later than this one
    /// get numbers behind it.
    pub(super) fn reprice(&self, wanted: &[Item], at: OffsetDateTime) -> Option<PriceChange> {
        let held = self.prices_at(at);
        let edits: BTreeMap<&str, Edit> = wanted
            .iter()
            .filter_map(|item| {
                let (sku, held) = held.get_key_value(item.sku.as_str())?;
                Some((*sku, Edit::between(*held, item.price())?))
            })
            .collect();
        if edits.is_empty() {
            return None;
        }
        let replaced: Vec<&PriceRevision> =
            self.waiting().filter(|waiting| waiting.effective_at >= at).collect();
        let (same, later): (Vec<&PriceRevision>, Vec<&PriceRevision>) =
            replaced.iter().copied().partition(|waiting| waiting.effective_at == at);

        // What is asked for has a row even where it only takes back what has not taken effect: the
        // store of the stock may have switched to that meanwhile.
        let mut holds = self.prices_with(|waiting| waiting.effective_at < at);
        let mut rows = changed_by(&same);
        rows.extend(edits.iter().filter_map(|(sku, edit)| {
            let held = held.get(sku)?;
            Some((*sku, edit.of(*held)))
        }));
        holds.extend(rows.iter().map(|(sku, price)| (*sku, *price)));
        let mut number = self.revisions.iter().map(|before| before.revision).max().unwrap_or(1) + 1;
        let asked = recorded(number, at, &rows);

        let mut rest = Vec::new();
        for waiting in later {
            let kept = waiting.rows.iter().map(|(sku, price)| {
                let sku = sku.as_str();
                (sku, edits.get(sku).map_or(*price, |edit| edit.of(*price)))
            });
            let rows: BTreeMap<&str, Price> =
                kept.filter(|(sku, price)| holds.get(sku) != Some(price)).collect();
            if !rows.is_empty() {
                number += 1;
                rest.push(recorded(number, waiting.effective_at, &rows));
                holds.extend(rows);
            }
        }
        Some(PriceChange {
            asked,
            rest,
            replaces: replaced.iter().map(|waiting| waiting.revision).collect(),
            skus: edits.keys().map(|sku| (*sku).to_owned()).collect(),
        })
    }
}

/// What `revisions` change together.
fn changed_by<'a>(revisions: &[&'a PriceRevision]) -> BTreeMap<&'a str, Price> {
    let all = revisions.iter().copied().flat_map(|revision| &revision.rows);
    all.map(|(sku, price)| (sku.as_str(), *price)).collect()
}

fn recorded(
    revision: i64,
    effective_at: OffsetDateTime,
    rows: &BTreeMap<&str, Price>,
) -> NewRevision {
    let rows = rows.iter().map(|(sku, price)| ((*sku).to_owned(), *price)).collect();
    NewRevision { revision, effective_at, rows }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use flashsale_record::SaleState;
    use iso_currency::Currency;
    use proptest::prelude::*;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::Settings;

    const NOW: OffsetDateTime = datetime!(2026-11-27 10:00 UTC);
    const SKUS: [&str; 3] = ["CAP", "MUG", "TEE"];

    fn after(minutes: i64) -> OffsetDateTime {
        NOW + time::Duration::minutes(minutes)
    }

    fn item(sku: &str, price_minor: i64, per_buyer_limit: i64) -> Item {
        Item {
            sku: sku.to_owned(),
            title: sku.to_owned(),
            price_minor,
            regular_minor: Some(5_000),
            quantity: 10,
            per_buyer_limit,
        }
    }

    /// Three items at 10.00, two for each buyer.
    fn sale() -> Sale {
        Sale {
            id: Uuid::from_u128(1),
            settings: Settings {
                name: "Winter drop".to_owned(),
                currency: Currency::EUR,
                starts_at: NOW,
                ends_at: NOW + time::Duration::DAY,
                hold: Duration::from_secs(600),
                payment_patience: None,
                room: None,
                expected_peak: None,
            },
            state: SaleState::Open,
            cancel_requested: false,
            allow_shared_skus: false,
            items: SKUS.iter().map(|sku| item(sku, 1_000, 2)).collect(),
            revisions: Vec::new(),
            version: 3,
            propagated_version: 3,
            final_at: None,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    /// The sale as it is read once the change is recorded.
    fn with(mut sale: Sale, change: &PriceChange) -> Sale {
        for before in &mut sale.revisions {
            if change.replaces.contains(&before.revision) {
                before.replaced_by = Some(change.asked.revision);
            }
        }
        sale.revisions.extend(change.revisions().map(|new| PriceRevision {
            revision: new.revision,
            effective_at: new.effective_at,
            switches_at: None,
            replaced_by: None,
            skus: 1,
            in_effect: false,
            rows: new.rows.clone(),
        }));
        sale
    }

    /// All items as they are at a moment, but for the price of one.
    fn priced(sale: &Sale, at: OffsetDateTime, sku: &str, price_minor: i64) -> Vec<Item> {
        let prices = sale.prices_at(at);
        let items = prices.iter().map(|(name, price)| {
            let price_minor = if *name == sku { price_minor } else { price.price_minor };
            item(name, price_minor, price.per_buyer_limit)
        });
        items.collect()
    }

    fn rows(revision: &NewRevision) -> Vec<(&str, i64)> {
        revision.rows.iter().map(|(sku, price)| (sku.as_str(), price.price_minor)).collect()
    }

    #[test]
    fn a_revision_has_rows_of_what_it_changes() {
        let sale = sale();
        assert_eq!(sale.reprice(&sale.items, after(5)), None);
        let change = sale.reprice(&priced(&sale, NOW, "MUG", 800), after(5)).unwrap();
        assert_eq!((change.asked.revision, change.asked.effective_at), (2, after(5)));
        assert_eq!(rows(&change.asked), [("MUG", 800)]);
        assert_eq!(change.skus, ["MUG"]);
        assert!(change.rest.is_empty() && change.replaces.is_empty());
    }

    #[test]
    fn a_newer_price_replaces_one_that_waits() {
        let sale = sale();
        let mut both = priced(&sale, NOW, "MUG", 800);
        both[2].price_minor = 700;
        let first = sale.reprice(&both, after(10)).unwrap();
        let sale = with(sale, &first);
        // The other sku of it changes when it was to.
        let newer = sale.reprice(&priced(&sale, after(5), "MUG", 900), after(5)).unwrap();
        assert_eq!((newer.replaces.as_slice(), rows(&newer.asked)), (&[2][..], vec![("MUG", 900)]));
        assert_eq!(newer.rest.len(), 1);
        assert_eq!((newer.rest[0].revision, newer.rest[0].effective_at), (4, after(10)));
        assert_eq!(rows(&newer.rest[0]), [("TEE", 700)]);
    }

    #[test]
    fn a_change_at_the_same_moment_is_merged() {
        let sale = sale();
        let first = sale.reprice(&priced(&sale, NOW, "MUG", 800), after(10)).unwrap();
        let sale = with(sale, &first);
        let second = sale.reprice(&priced(&sale, after(10), "TEE", 700), after(10)).unwrap();
        assert_eq!(rows(&second.asked), [("MUG", 800), ("TEE", 700)]);
        assert_eq!(
            (second.replaces.as_slice(), second.skus.as_slice()),
            (&[2][..], &["TEE".to_owned()][..])
        );
        assert!(second.rest.is_empty());
    }

    /// The store of the stock may have switched to it meanwhile: what is taken back is said.
    #[test]
    fn a_change_is_taken_back_by_a_row() {
        let sale = sale();
        let first = sale.reprice(&priced(&sale, NOW, "MUG", 800), after(10)).unwrap();
        let sale = with(sale, &first);
        let back = sale.reprice(&priced(&sale, after(10), "MUG", 1_000), after(10)).unwrap();
        assert_eq!(rows(&back.asked), [("MUG", 1_000)]);
        assert_eq!(back.replaces, [2]);
        // Also by what replaces that.
        let sale = with(sale, &back);
        let other = sale.reprice(&priced(&sale, after(10), "TEE", 700), after(10)).unwrap();
        assert_eq!(rows(&other.asked), [("MUG", 1_000), ("TEE", 700)]);
    }

    #[test]
    fn limits_leave_prices_that_wait() {
        let sale = sale();
        let first = sale.reprice(&priced(&sale, NOW, "MUG", 800), after(10)).unwrap();
        let sale = with(sale, &first);
        let mut limited = sale.items.clone();
        limited[1].per_buyer_limit = 1;
        let change = sale.reprice(&limited, NOW).unwrap();
        assert_eq!(change.asked.rows["MUG"].per_buyer_limit, 1);
        assert_eq!(change.asked.rows["MUG"].price_minor, 1_000);
        let later = change.rest[0].rows["MUG"];
        assert_eq!((later.price_minor, later.per_buyer_limit), (800, 1));
    }

    /// What a caller asks for: in how many minutes, and of which skus which price and limit.
    type Asked = (i64, Vec<(usize, i64, i64)>);

    /// What callers ask for in turn.
    fn changes() -> impl Strategy<Value = Vec<Asked>> {
        let skus = prop::collection::vec((0_usize..3, 500_i64..503, 0_i64..3), 1..4);
        prop::collection::vec((0_i64..6, skus), 1..8)
    }

    proptest! {
        #[test]
        fn at_each_moment_holds_what_was_asked_for_it(asked in changes()) {
            let mut sale = sale();
            for (minutes, skus) in asked {
                let held = sale.prices_at(after(minutes));
                let mut wanted = sale.items.clone();
                for item in &mut wanted {
                    let price = held[item.sku.as_str()];
                    item.price_minor = price.price_minor;
                    item.per_buyer_limit = price.per_buyer_limit;
                }
                for (sku, price_minor, limit) in skus {
                    wanted[sku].price_minor = price_minor;
                    wanted[sku].per_buyer_limit = limit;
                }
                let Some(change) = sale.reprice(&wanted, after(minutes)) else {
                    prop_assert!(wanted.iter().all(|item| held[item.sku.as_str()] == item.price()));
                    continue;
                };
                let next = with(sale.clone(), &change);
                for minute in -1..8 {
                    let old = sale.prices_at(after(minute));
                    let new = next.prices_at(after(minute));
                    for item in &wanted {
                        let sku = item.sku.as_str();
                        // What changes holds from then on, and the rest is as it was to be.
                        let expected = match Edit::between(held[sku], item.price()) {
                            Some(edit) if minute >= minutes => edit.of(old[sku]),
                            Some(_) | None => old[sku],
                        };
                        prop_assert_eq!(new[sku], expected, "{} in {} min", sku, minute);
                    }
                }
                // They take effect in the order of their numbers, each at a moment of its own.
                let waiting: Vec<&PriceRevision> = next.waiting().collect();
                let in_order = waiting.windows(2).all(|pair| {
                    pair[0].revision < pair[1].revision
                        && pair[0].effective_at < pair[1].effective_at
                });
                prop_assert!(in_order, "{:?}", waiting);
                prop_assert!(waiting.iter().all(|revision| !revision.rows.is_empty()));
                let numbers: Vec<i64> = next.revisions.iter().map(|all| all.revision).collect();
                prop_assert_eq!(numbers, (2..).take(next.revisions.len()).collect::<Vec<i64>>());
                sale = next;
            }
        }
    }
}
