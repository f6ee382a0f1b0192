//! What the skus of a sale cost, by the record.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::{PlacedOrder, Unacceptable};

/// The prices of a sale in the record, of the skus and revisions that a batch is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// ISO 4217.
    pub currency: String,
    /// By sku and revision. A pair that the sale never had is missing.
    pub by_revision: HashMap<(String, i64), Price>,
}

/// What a unit cost in one revision of its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Minor units.
    pub minor: i64,
    /// Until when an order at this price may have been placed. `None` while no later revision is
    /// known to have replaced it.
    pub placed_until: Option<OffsetDateTime>,
}

impl Prices {
    /// Compares what an order says that its units cost, and in which revisions of their prices,
    /// with the record. Its total is the sum of its lines, which [`PlacedOrder::check`] sees to.
    ///
    /// A hold keeps the prices that it was taken at for as long as it lives, so that an order may
    /// have been placed a while after they were replaced. When it is claimed does not matter.
    ///
    /// # Errors
    /// [`Unacceptable::PriceForeign`]: a line has another price than its revision, the sale has no
    /// such revision of it, or the order is in another currency. [`Unacceptable::PriceReplaced`]:
    /// the price of a line had been replaced for longer than a hold may live when the order was
    /// placed.
    pub fn check(&self, order: &PlacedOrder) -> Result<(), Unacceptable> {
        if order.currency != self.currency {
            return Err(Unacceptable::PriceForeign);
        }
        let mut replaced = false;
        for line in &order.lines {
            let price = self
                .by_revision
                .get(&(line.sku.clone(), line.price_revision))
                .filter(|price| price.minor == line.unit_price_minor)
                .ok_or(Unacceptable::PriceForeign)?;
            replaced |= price.placed_until.is_some_and(|until| order.placed_at > until);
        }
        if replaced { Err(Unacceptable::PriceReplaced) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout)]

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    use time::Duration;

    use super::*;
    use crate::domain::fixtures::{order, prices};

    fn price(minor: i64, placed_until: Option<OffsetDateTime>) -> Price {
        Price { minor, placed_until }
    }

    #[test]
    fn only_the_sales_own_prices_pass() {
        let prices = prices();
        assert_eq!(prices.check(&order(1, &[("A", 2), ("B", 1)])), Ok(()));
        let foreign = Err(Unacceptable::PriceForeign);
        for price in [0, 1, 99, 101, i64::MAX] {
            let mut order = order(1, &[("A", 1), ("B", 1)]);
            order.lines[1].unit_price_minor = price;
            assert_eq!(prices.check(&order), foreign, "{price}");
        }
        assert_eq!(prices.check(&order(1, &[("A", 1), ("D", 1)])), foreign, "no such sku");
        let in_dollars = PlacedOrder { currency: "USD".to_owned(), ..order(1, &[("A", 1)]) };
        assert_eq!(prices.check(&in_dollars), foreign);
    }

    #[test]
    fn a_price_belongs_to_its_revision() {
        let mut prices = prices();
        prices.by_revision.insert(("A".to_owned(), 3), price(80, None));
        for (revision, minor, expected) in [
            (1, 100, Ok(())),
            (3, 80, Ok(())),
            (1, 80, Err(Unacceptable::PriceForeign)),
            (3, 100, Err(Unacceptable::PriceForeign)),
            (2, 100, Err(Unacceptable::PriceForeign)),
            (2, 80, Err(Unacceptable::PriceForeign)),
            (4, 80, Err(Unacceptable::PriceForeign)),
        ] {
            let mut order = order(1, &[("A", 1), ("B", 1)]);
            order.lines[0].price_revision = revision;
            order.lines[0].unit_price_minor = minor;
            assert_eq!(prices.check(&order), expected, "{minor} in revision {revision}");
        }
    }

    #[test]
    fn a_replaced_price_counts_until_its_last_hold_is_gone() {
        let until = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let mut prices = prices();
        prices.by_revision.insert(("A".to_owned(), 1), price(100, Some(until)));
        let millisecond = Duration::milliseconds(1);
        for (placed_at, expected) in [
            (OffsetDateTime::UNIX_EPOCH, Ok(())),
            (until - millisecond, Ok(())),
            (until, Ok(())),
            (until + millisecond, Err(Unacceptable::PriceReplaced)),
            (until + Duration::days(1), Err(Unacceptable::PriceReplaced)),
        ] {
            // In whichever line.
            for lines in [[("A", 1), ("B", 1)], [("B", 1), ("A", 1)]] {
                let order = PlacedOrder { placed_at, ..order(1, &lines) };
                assert_eq!(prices.check(&order), expected, "{placed_at}");
            }
            let others = PlacedOrder { placed_at, ..order(1, &[("B", 1)]) };
            assert_eq!(prices.check(&others), Ok(()));
        }
        // A price that never was is no replaced one.
        let mut foreign =
            PlacedOrder { placed_at: until + millisecond, ..order(1, &[("A", 1), ("B", 1)]) };
        foreign.lines[1].unit_price_minor = 99;
        assert_eq!(prices.check(&foreign), Err(Unacceptable::PriceForeign));
    }

    /// The rule, line by line, over random histories of prices.
    #[test]
    fn an_order_passes_if_each_line_does() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let at = |ms: i64| OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(ms);
        for _ in 0..2_000 {
            let mut prices = Prices { currency: "EUR".to_owned(), ..Prices::default() };
            for sku in ["A", "B"] {
                for revision in 1..=random.random_range(1..5) {
                    let until = random.random_bool(0.5).then(|| at(random.random_range(0..10)));
                    let known = price(random.random_range(1..4), until);
                    prices.by_revision.insert((sku.to_owned(), revision), known);
                }
            }
            let mut order = order(1, &[("A", 1), ("B", 2)]);
            let placed_ms = random.random_range(0..10);
            order.placed_at = at(placed_ms);
            let (mut foreign, mut late) = (false, false);
            for line in &mut order.lines {
                line.price_revision = random.random_range(1..6);
                line.unit_price_minor = random.random_range(1..4);
                match prices.by_revision.get(&(line.sku.clone(), line.price_revision)) {
                    Some(known) if known.minor == line.unit_price_minor => {
                        late |= known.placed_until.is_some_and(|until| until < at(placed_ms));
                    }
                    Some(_) | None => foreign = true,
                }
            }
            let expected = match (foreign, late) {
                (true, _) => Err(Unacceptable::PriceForeign),
                (false, true) => Err(Unacceptable::PriceReplaced),
                (false, false) => Ok(()),
            };
            assert_eq!(prices.check(&order), expected, "{order:?} {prices:?}");
        }
    }
}
