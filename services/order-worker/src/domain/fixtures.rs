//! Orders for the tests of this folder.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Line, OrderDetails, PlacedOrder, Price, Prices};

/// The sale of every order here.
pub(super) const SALE: Uuid = Uuid::from_u128(1);

/// What the sale's three skus cost: 1.00 EUR a unit.
pub(super) fn prices() -> Prices {
    let price = Price { minor: 100, placed_until: None };
    let by_revision = ["A", "B", "C"].map(|sku| ((sku.to_owned(), 1), price)).into();
    Prices { currency: "EUR".to_owned(), by_revision }
}

/// An order of `lines` (sku, quantity) at 1.00 EUR a unit, from the stock of epoch 2.
pub(super) fn order(id: u128, lines: &[(&str, i64)]) -> PlacedOrder {
    PlacedOrder {
        order_id: Uuid::from_u128(id),
        sale_id: SALE,
        buyer_id: format!("buyer-{id}"),
        hold_id: Uuid::from_u128(id << 64),
        epoch: 2,
        admission_id: None,
        request_id: Uuid::from_u128(id + 1),
        request_hash: "hash".to_owned(),
        lines: lines
            .iter()
            .map(|(sku, quantity)| Line {
                sku: (*sku).to_owned(),
                quantity: *quantity,
                unit_price_minor: 100,
                price_revision: 1,
            })
            .collect(),
        currency: "EUR".to_owned(),
        total_minor: lines.iter().map(|(_, quantity)| quantity * 100).sum(),
        placed_at: OffsetDateTime::UNIX_EPOCH,
        details: OrderDetails {
            email: "buyer@example.com".to_owned(),
            contact_name: "Buyer".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            ..OrderDetails::default()
        },
    }
}
