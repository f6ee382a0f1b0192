//! Has the payments of claimed orders recorded.

use std::sync::Arc;

use flashsale_pg::SteppedPool;
use flashsale_proto::payment::{Payment, PaymentOrder, PaymentState};
use flashsale_telemetry::propagate;
use tracing::Span;

use super::handler::{ANSWER_INVALID, Handler, Outcome, orders_of, record_failed, span_of};
use crate::{
    app::Wakeups,
    domain::Kind,
    peers::payment::{CallError, Payments},
    store::{charges, outbox::Leased},
};

/// Calls `PaymentService.CreatePayments` and moves the orders to PAYING.
#[derive(Debug)]
pub struct Charge {
    pub pool: SteppedPool,
    pub payments: Payments,
    /// Told of payments that have already ended.
    pub wakeups: Arc<Wakeups>,
}

impl Handler for Charge {
    const KIND: Kind = Kind::Charge;

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        // Held until the end of the attempt: each span lasts as long as the call.
        let spans: Vec<Span> = rows.iter().map(|row| span_of(Kind::Charge, row)).collect();
        let orders: Vec<PaymentOrder> =
            rows.iter().zip(&spans).map(|(row, span)| payment_order(row, span)).collect();
        match self.create(&orders).await {
            Ok(()) => self.recorded(rows).await,
            // An order that the payment service refuses for good must not hold up the others: each
            // is sent on its own.
            Err(CallError { refused: true, .. }) if rows.len() > 1 => {
                let mut outcomes = Vec::new();
                for (row, order) in rows.iter().zip(&orders) {
                    outcomes.extend(match self.create(std::slice::from_ref(order)).await {
                        Ok(()) => self.recorded(std::slice::from_ref(row)).await,
                        Err(error) => vec![Outcome::Retry(error.code)],
                    });
                }
                outcomes
            }
            Err(error) => vec![Outcome::Retry(error.code); rows.len()],
        }
    }
}

impl Charge {
    async fn create(&self, orders: &[PaymentOrder]) -> Result<(), CallError> {
        let payments = self
            .payments
            .create(orders)
            .await?
            .ok_or(CallError { code: ANSWER_INVALID, refused: false })?;
        for payment in payments.iter().filter(|payment| has_ended(payment)) {
            if let Ok(order_id) = payment.order_id.parse() {
                self.wakeups.payment_changed(order_id);
            }
        }
        Ok(())
    }

    async fn recorded(&self, rows: &[Leased]) -> Vec<Outcome> {
        match charges::payment_recorded(&self.pool, &orders_of(rows)).await {
            Ok(()) => {
                self.wakeups.handlers(&[Kind::Event]);
                vec![Outcome::Done; rows.len()]
            }
            Err(error) => vec![record_failed(&error); rows.len()],
        }
    }
}

/// The order of `row`, with the trace that its payment continues: one call is about many orders.
fn payment_order(row: &Leased, span: &Span) -> PaymentOrder {
    PaymentOrder {
        order_id: row.order_id.to_string(),
        traceparent: propagate::to_text(span).unwrap_or_default(),
    }
}

fn has_ended(payment: &Payment) -> bool {
    match payment.state() {
        PaymentState::Succeeded
        | PaymentState::Failed
        | PaymentState::Cancelled
        | PaymentState::Refunded => true,
        PaymentState::Unspecified
        | PaymentState::Due
        | PaymentState::Processing
        | PaymentState::RequiresAction => false,
    }
}
