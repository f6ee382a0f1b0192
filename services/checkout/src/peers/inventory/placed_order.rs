//! The order that a placed hold carries.

use flashsale_errors::Failure;
use flashsale_proto::inventory::{HoldState, PlacedHold, PricedLine};
use flashsale_queue::{OrderDetails, OrderMessage, QueueMessage, unreadable_order};
use flashsale_service::wire;
use uuid::Uuid;

use crate::domain::{Details, FIRST_PRICE_REVISION, Line, Order, unix_ms};

/// An order that a hold carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedOrder {
    /// The order as far as the hold tells.
    pub order: Order,
    pub hold_state: HoldState,
    /// The message that places it; its details are empty unless they are complete.
    message: OrderMessage,
    details: StoredDetails,
}

/// What a hold stores of its order besides its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredDetails {
    /// All of it.
    Complete,
    /// The raw text, which cannot be read.
    Unreadable(String),
    /// Nothing: the order is recorded.
    Dropped,
}

impl PlacedOrder {
    /// The message that places the order; `None` where the hold has dropped the details because the
    /// order is recorded, and where they cannot be read.
    pub fn message(&self) -> Option<OrderMessage> {
        (self.details == StoredDetails::Complete).then(|| self.message.clone())
    }

    /// The raw details, if they cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        match &self.details {
            StoredDetails::Unreadable(raw) => Some(raw),
            StoredDetails::Complete | StoredDetails::Dropped => None,
        }
    }

    /// What the relay publishes: the order, or a report that it cannot be read. `None` once the
    /// details are dropped.
    pub fn queue_message(&self) -> Option<QueueMessage> {
        if let Some(raw) = self.unreadable() {
            return Some(QueueMessage::Unreadable {
                sale_id: self.order.sale_id,
                hold_id: self.order.hold_id.to_string(),
                order_id: self.order.order_id,
                order: Some(self.message.clone()),
                raw: start(raw),
            });
        }
        self.message().map(|order| QueueMessage::Place { order })
    }

    /// Counts dropped details as unreadable: the order is not recorded, so that they should be
    /// there.
    pub(super) fn not_recorded(mut self) -> Self {
        if self.details == StoredDetails::Dropped {
            self.details = StoredDetails::Unreadable(String::new());
        }
        self
    }
}

/// Placed holds whose order is not known to be recorded.
#[derive(Debug, Default)]
pub struct PlacedHolds {
    /// Those that name at least their order, oldest first.
    pub placed: Vec<PlacedOrder>,
    /// Those that do not.
    pub unreadable: Vec<UnreadableReport>,
}

/// The report of a placed hold whose order cannot be told.
#[derive(Debug)]
pub struct UnreadableReport {
    /// The id that stands for its order, derived from the hold.
    pub order_id: Uuid,
    /// The report as a message of the queue.
    pub message: QueueMessage,
}

impl UnreadableReport {
    pub(super) fn new(sale_id: Uuid, hold_id: String, raw: &str) -> Self {
        let order_id = unreadable_order(sale_id, &hold_id);
        let raw = start(raw);
        Self {
            order_id,
            message: QueueMessage::Unreadable { sale_id, hold_id, order_id, order: None, raw },
        }
    }
}

/// The most of an unreadable text that a message carries, in bytes. JSON escapes a byte with up to
/// six; the result has to fit into a message.
const MAX_RAW_BYTES: usize = 8 * 1_024;

/// The beginning of a text, cut to [`MAX_RAW_BYTES`] at a character boundary.
fn start(text: &str) -> String {
    let end = (0..=MAX_RAW_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// The revision of the price of a hold's line. An inventory of the version before names none, and
/// has only the first.
pub fn price_revision(line: &PricedLine) -> i64 {
    if line.price_revision == 0 { FIRST_PRICE_REVISION } else { line.price_revision }
}

impl TryFrom<PlacedHold> for PlacedOrder {
    type Error = Failure;

    fn try_from(placed: PlacedHold) -> Result<Self, Failure> {
        let malformed = |what: &str| {
            Failure::internal(format!("inventory sent a placed hold with a malformed {what}"))
        };
        let PlacedHold { hold, order_details, request_id, request_hash } = placed;
        let hold = hold.ok_or_else(|| malformed("hold"))?;
        let id =
            |what: &'static str, value: &str| value.parse::<Uuid>().map_err(|_| malformed(what));
        let amount = |money: &Option<flashsale_proto::Money>| {
            let money = money.as_ref().ok_or_else(|| malformed("price"))?;
            wire::minor("price", money).map_err(|_| malformed("price"))
        };
        let (total_minor, currency) = amount(&hold.total)?;
        let lines = hold
            .lines
            .iter()
            .map(|line| {
                Ok(Line {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    unit_price_minor: amount(&line.unit_price)?.0,
                    price_revision: price_revision(line),
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let placed_at = hold.place_time.as_ref().ok_or_else(|| malformed("place_time"))?;
        let placed_at =
            wire::datetime("place_time", placed_at).map_err(|_| malformed("place_time"))?;
        let hold_state = HoldState::try_from(hold.state).map_err(|_| malformed("state"))?;
        let (details, stored) = if order_details.is_empty() {
            (OrderDetails::default(), StoredDetails::Dropped)
        } else {
            match serde_json::from_str::<Details>(&order_details) {
                Ok(details) => (details.order, StoredDetails::Complete),
                Err(_) => (OrderDetails::default(), StoredDetails::Unreadable(order_details)),
            }
        };
        let message = OrderMessage {
            order_id: id("order_id", &hold.order_id)?,
            sale_id: id("sale_id", &hold.sale_id)?,
            buyer_id: hold.buyer_id,
            hold_id: id("hold_id", &hold.hold_id)?,
            epoch: hold.epoch,
            admission_id: Some(hold.admission_id).filter(|id| !id.is_empty()),
            request_id: id("request_id", &request_id)?,
            request_hash,
            lines,
            currency: currency.code().to_owned(),
            total_minor,
            placed_at_ms: unix_ms(placed_at),
            details,
        };
        // A placed order rolls forward whatever happens; only PlaceOrder can know that it is not
        // queued yet.
        let order = Order::from_message(&message).map_err(|_| malformed("place_time"))?;
        Ok(Self { order, hold_state, message, details: stored })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flashsale_proto::inventory::Hold;

    use super::*;

    #[test]
    fn orders_keep_the_revisions_of_their_holds() {
        let line = |sku: &str, price_revision| PricedLine {
            sku: sku.to_owned(),
            quantity: 1,
            unit_price: Some(wire::money(1_999, "EUR")),
            price_revision,
        };
        let id = || Uuid::new_v4().to_string();
        let hold = Hold {
            hold_id: id(),
            sale_id: id(),
            buyer_id: "ada".to_owned(),
            state: HoldState::Placed.into(),
            // The first is from an inventory that knows no revisions.
            lines: vec![line("cap", 0), line("hat", 1), line("tee", 7)],
            total: Some(wire::money(5_997, "EUR")),
            order_id: id(),
            place_time: Some(wire::timestamp_ms(1_795_000_000_000)),
            epoch: 1,
            ..Hold::default()
        };
        let placed = PlacedHold {
            hold: Some(hold),
            order_details: r#"{"email":"a@example.org","contact_name":"A","payment_method":"pm"}"#
                .to_owned(),
            request_id: id(),
            request_hash: "00ff".to_owned(),
        };
        let placed = PlacedOrder::try_from(placed).unwrap();
        let revisions =
            |lines: &[Line]| -> Vec<i64> { lines.iter().map(|line| line.price_revision).collect() };
        assert_eq!(revisions(&placed.order.lines), [1, 1, 7]);
        assert_eq!(revisions(&placed.message().unwrap().lines), [1, 1, 7]);
    }
}
