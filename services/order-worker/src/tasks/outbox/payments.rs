//! What is asked of the payment service order by order: not to charge, and to give back.

use std::sync::Arc;

use flashsale_failpoint::Step as _;
use flashsale_proto::payment::{
    CancelPaymentRequest, RefundRequest, payment_service_client::PaymentServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use sqlx::PgPool;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{CALLS, Carrier, Outcome, STORE_UNAVAILABLE, code_of, each, span_of};
use crate::{app::Wakeups, domain::Kind, store::outbox::Leased};

/// Calls `PaymentService.CancelPayment`. The order ends when the payment does, not here.
#[derive(Debug)]
pub struct CancelCharge {
    /// The record.
    pub pool: PgPool,
    /// The payment service.
    pub payments: PeerChannel,
    /// Told that the payment may be over.
    pub wakeups: Arc<Wakeups>,
}

impl Carrier for CancelCharge {
    const KIND: Kind = Kind::CancelCharge;

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let cancel =
            |row: &Leased| self.cancel(row.order_id).instrument(span_of(Kind::CancelCharge, row));
        each(rows.iter().map(cancel).collect(), CALLS).await
    }
}

impl CancelCharge {
    async fn cancel(&self, order_id: Uuid) -> Outcome {
        let order = match sqlx::query_file!("sql/orders_for_charge.sql", &[order_id])
            .fetch_one(&self.pool)
            .step("sql/orders_for_charge")
            .await
        {
            Ok(order) => order,
            Err(error) => {
                tracing::warn!(%error, "an order cannot be read");
                return Outcome::Again(STORE_UNAVAILABLE);
            }
        };
        let request = CancelPaymentRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order_id.to_string(),
            sale_id: order.sale_id.to_string(),
            amount: Some(wire::money(order.total_minor, &order.currency)),
        };
        match PaymentServiceClient::new(self.payments.clone())
            .cancel_payment(request)
            .step("payment/cancel")
            .await
        {
            Ok(_) => {
                self.wakeups.payment_changed(order_id);
                Outcome::Done
            }
            Err(status) => Outcome::Again(code_of("payment", &status).0),
        }
    }
}

/// Calls `PaymentService.Refund`. Money without units always goes back, so this is never given up.
#[derive(Debug)]
pub struct Refund {
    /// The payment service.
    pub payments: PeerChannel,
}

impl Carrier for Refund {
    const KIND: Kind = Kind::Refund;

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let refund =
            |row: &Leased| self.refund(row.order_id).instrument(span_of(Kind::Refund, row));
        each(rows.iter().map(refund).collect(), CALLS).await
    }
}

impl Refund {
    async fn refund(&self, order_id: Uuid) -> Outcome {
        let request = RefundRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order_id.to_string(),
        };
        match PaymentServiceClient::new(self.payments.clone())
            .refund(request)
            .step("payment/refund")
            .await
        {
            Ok(_) => Outcome::Done,
            Err(status) => Outcome::Again(code_of("payment", &status).0),
        }
    }
}
