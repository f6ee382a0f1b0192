//! Orders as messages of the queue, and back.

use flashsale_queue::{OrderMessage, RecordedOrder};
use time::{OffsetDateTime, error::ComponentRange};

use super::{Order, OrderState};

impl Order {
    /// What a cancellation says of the order once it is recorded.
    pub fn recorded_order(&self) -> RecordedOrder {
        RecordedOrder {
            order_id: self.order_id,
            sale_id: self.sale_id,
            buyer_id: self.buyer_id.clone(),
            hold_id: self.hold_id,
            lines: self.lines.clone(),
            currency: self.currency.clone(),
            total_minor: self.total_minor,
            placed_at_ms: i64::try_from(self.placed_at.unix_timestamp_nanos() / 1_000_000)
                .unwrap_or(0),
        }
    }

    /// The order that a queued message places.
    ///
    /// # Errors
    /// `placed_at_ms` is outside the range of dates.
    pub fn from_message(message: &OrderMessage) -> Result<Self, ComponentRange> {
        let placed_at = OffsetDateTime::from_unix_timestamp_nanos(
            i128::from(message.placed_at_ms) * 1_000_000,
        )?;
        Ok(Self {
            order_id: message.order_id,
            sale_id: message.sale_id,
            buyer_id: message.buyer_id.clone(),
            hold_id: message.hold_id,
            state: OrderState::Accepted,
            lines: message.lines.clone(),
            currency: message.currency.clone(),
            total_minor: message.total_minor,
            placed_at,
            updated_at: placed_at,
            cancel_requested: false,
            end_reason: None,
        })
    }
}
