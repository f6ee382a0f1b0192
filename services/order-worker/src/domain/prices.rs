//! What the skus of a sale cost, by the record.

use std::collections::HashMap;

use super::{PlacedOrder, Unacceptable};

/// The prices of a sale in the record, of the skus that a batch is about.
///
/// The price of a sku never changes once its sale is started, so that there is one revision of it,
/// the first, and an order need not say which one it was placed under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// ISO 4217.
    pub currency: String,
    /// Minor units by sku. A sku that the sale does not have is missing.
    pub by_sku: HashMap<String, i64>,
}

impl Prices {
    /// Compares what an order says that its units cost with what they cost. Its total is the sum of
    /// its lines, which [`PlacedOrder::check`] sees to.
    ///
    /// # Errors
    /// [`Unacceptable::PriceForeign`]: a line has another price, its sku has none in this sale, or
    /// the order is in another currency.
    pub fn check(&self, order: &PlacedOrder) -> Result<(), Unacceptable> {
        let of_the_sale = order.currency == self.currency
            && order
                .lines
                .iter()
                .all(|line| self.by_sku.get(&line.sku) == Some(&line.unit_price_minor));
        if of_the_sale { Ok(()) } else { Err(Unacceptable::PriceForeign) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{order, prices};

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
}
