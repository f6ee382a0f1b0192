//! Gives back money that was captured after its order had ended.

use tracing::Instrument as _;
use uuid::Uuid;

use super::handler::{CALLS, Handler, Outcome, each, span_of};
use crate::{domain::Kind, peers::payment::Payments, store::outbox::Leased};

/// Calls `PaymentService.Refund`. Never given up: money for units that the buyer does not get
/// always goes back.
#[derive(Debug)]
pub struct Refund {
    pub payments: Payments,
}

impl Handler for Refund {
    const KIND: Kind = Kind::Refund;

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        let refund =
            |row: &Leased| self.refund(row.order_id).instrument(span_of(Kind::Refund, row));
        each(rows.iter().map(refund).collect(), CALLS).await
    }
}

impl Refund {
    async fn refund(&self, order_id: Uuid) -> Outcome {
        match self.payments.refund(order_id).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry(error.code),
        }
    }
}
