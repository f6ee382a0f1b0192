//! Makes sure that an order whose buyer cancelled it is not charged.

use std::sync::Arc;

use tracing::Instrument as _;
use uuid::Uuid;

use super::handler::{CALLS, Handler, Outcome, each, span_of};
use crate::{app::Wakeups, domain::Kind, peers::payment::Payments, store::outbox::Leased};

/// Calls `PaymentService.CancelPayment`. The order ends when its payment ends, not here.
#[derive(Debug)]
pub struct CancelCharge {
    pub payments: Payments,
    /// Told that the payment may have ended.
    pub wakeups: Arc<Wakeups>,
}

impl Handler for CancelCharge {
    const KIND: Kind = Kind::CancelCharge;

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        let cancel =
            |row: &Leased| self.cancel(row.order_id).instrument(span_of(Kind::CancelCharge, row));
        each(rows.iter().map(cancel).collect(), CALLS).await
    }
}

impl CancelCharge {
    async fn cancel(&self, order_id: Uuid) -> Outcome {
        match self.payments.cancel(order_id).await {
            Ok(()) => {
                self.wakeups.payment_changed(order_id);
                Outcome::Done
            }
            Err(error) => Outcome::Retry(error.code),
        }
    }
}
