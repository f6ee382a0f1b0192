//! Has payments recorded, and the orders wait for them.

use std::{collections::HashMap, sync::Arc};

use flashsale_failpoint::Step as _;
use flashsale_proto::payment::{
    CreatePaymentsRequest, Payment, PaymentOrder, PaymentState,
    payment_service_client::PaymentServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use flashsale_telemetry::propagate;
use sqlx::PgPool;
use tracing::Span;
use uuid::Uuid;

use super::{ANSWER_INVALID, Carrier, Outcome, STORE_UNAVAILABLE, code_of, span_of};
use crate::{
    app::Wakeups,
    domain::Kind,
    store::{charges, outbox::Leased},
};

/// Calls `PaymentService.CreatePayments`; the order id is the idempotency key.
#[derive(Debug)]
pub struct Charge {
    /// The record.
    pub pool: PgPool,
    /// The payment service.
    pub payments: PeerChannel,
    /// Told of payments that are over already.
    pub wakeups: Arc<Wakeups>,
}

impl Carrier for Charge {
    const KIND: Kind = Kind::Charge;

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let Ok(mut orders) = self.orders(rows).await else {
            return vec![Outcome::Again(STORE_UNAVAILABLE); rows.len()];
        };
        // One call is about many orders: each says itself which trace its payment goes on in.
        let spans: Vec<Span> = rows.iter().map(|row| span_of(Kind::Charge, row)).collect();
        let wanted: Vec<PaymentOrder> = rows
            .iter()
            .zip(&spans)
            .filter_map(|(row, span)| {
                let order = orders.remove(&row.order_id)?;
                Some(PaymentOrder {
                    traceparent: propagate::to_text(span).unwrap_or_default(),
                    ..order
                })
            })
            .collect();
        if wanted.len() != rows.len() {
            return vec![Outcome::Again("ORDER_MISSING"); rows.len()];
        }
        match self.create(&wanted).await {
            Ok(()) => self.recorded(rows).await,
            // One order the payment service will never take must not keep the others waiting.
            Err((_, true)) if rows.len() > 1 => {
                let mut outcomes = Vec::new();
                for (row, order) in rows.iter().zip(&wanted) {
                    outcomes.extend(match self.create(std::slice::from_ref(order)).await {
                        Ok(()) => self.recorded(std::slice::from_ref(row)).await,
                        Err((code, _)) => vec![Outcome::Again(code)],
                    });
                }
                outcomes
            }
            Err((code, _)) => vec![Outcome::Again(code); rows.len()],
        }
    }
}

impl Charge {
    async fn orders(&self, rows: &[Leased]) -> Result<HashMap<Uuid, PaymentOrder>, sqlx::Error> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        let orders = sqlx::query_file!("sql/orders_for_charge.sql", &ids)
            .fetch_all(&self.pool)
            .step("sql/orders_for_charge")
            .await?;
        Ok(orders
            .into_iter()
            .map(|order| {
                let wanted = PaymentOrder {
                    order_id: order.order_id.to_string(),
                    sale_id: order.sale_id.to_string(),
                    amount: Some(wire::money(order.total_minor, &order.currency)),
                    payment_method: order.payment_method,
                    traceparent: String::new(),
                };
                (order.order_id, wanted)
            })
            .collect())
    }

    async fn create(&self, orders: &[PaymentOrder]) -> Result<(), (&'static str, bool)> {
        let request = CreatePaymentsRequest {
            request_id: Uuid::new_v4().to_string(),
            orders: orders.to_vec(),
        };
        let answer = PaymentServiceClient::new(self.payments.clone())
            .create_payments(request)
            .step("payment/create")
            .await
            .map_err(|status| code_of("payment", &status))?
            .into_inner();
        let fits = answer.payments.len() == orders.len()
            && answer
                .payments
                .iter()
                .zip(orders)
                .all(|(payment, order)| payment.order_id == order.order_id);
        if !fits {
            return Err((ANSWER_INVALID, false));
        }
        for payment in answer.payments.iter().filter(|payment| is_over(payment)) {
            if let Ok(order_id) = payment.order_id.parse() {
                self.wakeups.payment_changed(order_id);
            }
        }
        Ok(())
    }

    async fn recorded(&self, rows: &[Leased]) -> Vec<Outcome> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        match charges::payment_recorded(&self.pool, &ids).await {
            Ok(()) => {
                self.wakeups.carriers(&[Kind::Event]);
                vec![Outcome::Done; rows.len()]
            }
            Err(error) => {
                tracing::warn!(%error, "recorded payments are not noted");
                vec![Outcome::Again(STORE_UNAVAILABLE); rows.len()]
            }
        }
    }
}

fn is_over(payment: &Payment) -> bool {
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
