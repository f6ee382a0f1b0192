//! An order as it is seen from outside.

use std::{fmt, time::Duration};

use flashsale_queue::{OrderMessage, RecordedOrder};
use time::{OffsetDateTime, error::ComponentRange};
use uuid::Uuid;

use super::{Line, PaymentActionKind, Recorded};

/// How long after inventory's check of its Redis an order may still be answered as accepted. The
/// marker of a rebuild on another Redis comes 2 s after that Redis has begun to count, so that
/// every order accepted within this time precedes it in the stream.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// In the stock store, not known to be queued yet.
    AcceptancePending,
    /// In the stock store and in the queue.
    Accepted,
    /// In the record.
    Recorded(Recorded),
}

impl OrderState {
    /// The state of a placed order after its publish. `acked`: the queue has it. `since_check`: an
    /// upper bound of the time since inventory's check that its Redis counts.
    pub fn placed(acked: bool, since_check: Duration) -> Self {
        if acked && since_check <= ACCEPT_WITHIN { Self::Accepted } else { Self::AcceptancePending }
    }

    /// Whether the order may still be paid or cancelled.
    pub const fn is_open(self) -> bool {
        match self {
            Self::AcceptancePending | Self::Accepted => true,
            Self::Recorded(state) => state.is_open(),
        }
    }

    /// Whether the record has it as a dead letter.
    pub fn is_dead_letter(self) -> bool {
        self == Self::Recorded(Recorded::DeadLetter)
    }
}

/// An order as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    pub buyer_id: String,
    /// The hold that has its units.
    pub hold_id: Uuid,
    pub state: OrderState,
    pub lines: Vec<Line>,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// Sum of all lines in minor units.
    pub total_minor: i64,
    /// What of the captured money is back, in minor units.
    pub refunded_minor: i64,
    pub placed_at: OffsetDateTime,
    /// When its state last changed.
    pub updated_at: OffsetDateTime,
    /// Whether its buyer asked to cancel it.
    pub cancel_requested: bool,
    /// Why it ended unpaid.
    pub end_reason: Option<String>,
    /// What its buyer has to do so that it is paid.
    pub payment_action: Option<PaymentAction>,
}

/// What a buyer has to do at the payment provider, and needs for it. For the buyer alone, and not
/// for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentAction {
    pub kind: PaymentActionKind,
    /// What the provider's own library takes.
    pub client_secret: String,
    /// Where the buyer can be sent instead.
    pub redirect_url: Option<String>,
    /// Until when.
    pub until: Option<OffsetDateTime>,
    /// Why the last card was refused, if another one is asked for.
    pub decline_code: Option<String>,
}

impl fmt::Debug for PaymentAction {
    /// Without any of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentAction").finish_non_exhaustive()
    }
}

impl Order {
    /// This order in the state of `row`, the row of its dead letter. That row has only what could
    /// be read of the broken message, so that the rest comes from the hold.
    pub fn with_state_of(self, row: &Self) -> Self {
        Self { state: row.state, updated_at: row.updated_at, ..self }
    }

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
            placed_at_ms: unix_ms(self.placed_at),
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
            refunded_minor: 0,
            placed_at,
            updated_at: placed_at,
            cancel_requested: false,
            end_reason: None,
            payment_action: None,
        })
    }
}

/// Milliseconds since 1970: every date that there is fits.
pub fn unix_ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// What a list of orders is limited to.
#[derive(Debug, Clone)]
pub struct OrderFilter {
    pub sale_id: Uuid,
    /// `None` for all buyers.
    pub buyer_id: Option<String>,
    /// `None` for all.
    pub state: Option<Recorded>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_timely_acks_accept() {
        let late = ACCEPT_WITHIN + Duration::from_nanos(1);
        for (acked, since_check, state) in [
            (true, Duration::ZERO, OrderState::Accepted),
            (true, ACCEPT_WITHIN, OrderState::Accepted),
            (true, late, OrderState::AcceptancePending),
            (true, Duration::MAX, OrderState::AcceptancePending),
            (false, Duration::ZERO, OrderState::AcceptancePending),
        ] {
            assert_eq!(OrderState::placed(acked, since_check), state, "{acked} {since_check:?}");
        }
    }
}
