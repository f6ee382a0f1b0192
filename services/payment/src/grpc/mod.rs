//! The two gRPC services: decode, call, encode.

mod admin;
mod decode;
mod encode;
mod steering;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::payment::{
    CancelPaymentRequest, CancelPaymentResponse, CreatePaymentsRequest, CreatePaymentsResponse,
    GetPaymentRequest, GetPaymentResponse, RefundRequest, RefundResponse, RetryPaymentRequest,
    RetryPaymentResponse, payment_service_server::PaymentService,
};
use flashsale_service::{caller, wire};
use tonic::{Request, Response, Status};
use uuid::Uuid;

pub use admin::Admin;

use crate::{
    app::{Bell, settlement::Settler},
    domain::{CardRules, NotPayable, Order, Payment, RefundRuling, RetryRuling},
    store::{Cancelled, Recorded, Store},
};

/// `flashsale.payment.v1.PaymentService`.
#[derive(Debug)]
pub struct Payments {
    pub store: Store,
    /// Announces changes.
    pub settler: Settler,
    /// How often, and for how long, another card may be tried.
    pub cards: CardRules,
    /// Rung when a payment is due.
    pub charges: Bell,
    /// Rung when a refund is due.
    pub refunds: Bell,
}

impl Payments {
    /// An order's payment, if its sale is one that the caller reaches: the order id is all that the
    /// request names.
    async fn reachable(&self, order: Uuid) -> Result<Payment, Failure> {
        let payment = self.store.payment(order).await.map_err(flashsale_pg::failure)?;
        payment.filter(|payment| caller::reaches(payment.sale_id)).ok_or_else(|| not_found(order))
    }
}

fn not_found(order: Uuid) -> Failure {
    Failure::new(Reason::PaymentNotFound, format!("order {order} has no payment"))
        .with("order_id", order)
}

/// The order that `field` names is not in the record.
fn order_not_found(field: String, order: Uuid) -> Failure {
    Failure::field(Reason::OrderNotFound, field, "is no order of the record")
        .with("order_id", order)
}

/// Nothing can be charged for the order that `field` names.
fn not_payable(field: String, order: &Order, why: NotPayable) -> Failure {
    Failure::field(Reason::OrderNotPayable, field, why.to_string())
        .with("order_id", order.order_id)
        .with("state", order.state)
}

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn create_payments(
        &self,
        request: Request<CreatePaymentsRequest>,
    ) -> Result<Response<CreatePaymentsResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let asked = decode::new_payments(&request.orders)?;
        let field_of = |place| format!("orders[{place}].order_id");
        let rows = match self.store.record(&asked).await.map_err(flashsale_pg::failure)? {
            Recorded::All(rows) => rows,
            Recorded::Unknown(place) => {
                let order = asked.get(place).map(|payment| payment.order_id).unwrap_or_default();
                return Err(order_not_found(field_of(place), order).into());
            }
            Recorded::NotPayable(place, order, why) => {
                return Err(not_payable(field_of(place), &order, why).into());
            }
        };
        tracing::debug!(%request_id, count = rows.len(), "payments recorded");
        self.charges.ring();
        let payments = rows.iter().map(encode::payment).collect();
        Ok(Response::new(CreatePaymentsResponse { payments }))
    }

    async fn get_payment(
        &self,
        request: Request<GetPaymentRequest>,
    ) -> Result<Response<GetPaymentResponse>, Status> {
        let order = decode::order_id(&request.get_ref().order_id)?;
        let payment = self.reachable(order).await?;
        Ok(Response::new(GetPaymentResponse { payment: Some(encode::payment(&payment)) }))
    }

    async fn cancel_payment(
        &self,
        request: Request<CancelPaymentRequest>,
    ) -> Result<Response<CancelPaymentResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let order = decode::order_id(&request.order_id)?;
        let field = || "order_id".to_owned();
        let payment = match self.store.cancel(order).await.map_err(flashsale_pg::failure)? {
            Cancelled::Payment(payment) => payment,
            Cancelled::Unknown => return Err(order_not_found(field(), order).into()),
            Cancelled::NotPayable(order, why) => {
                return Err(not_payable(field(), &order, why).into());
            }
        };
        tracing::info!(%request_id, %order, state = %payment.state, "asked never to charge");
        if payment.state.is_open() {
            self.charges.ring();
        } else {
            self.settler.announce(order, payment.state).await;
        }
        Ok(Response::new(CancelPaymentResponse { payment: Some(encode::payment(&payment)) }))
    }

    async fn retry_payment(
        &self,
        request: Request<RetryPaymentRequest>,
    ) -> Result<Response<RetryPaymentResponse>, Status> {
        let retry = decode::retry(request.into_inner())?;
        let order = retry.order_id;
        let ruled = self.store.retry(&retry, self.cards.window).await;
        let ruled = ruled.map_err(flashsale_pg::failure)?;
        let (payment, ruling) = ruled.ok_or_else(|| not_found(order))?;
        match ruling {
            RetryRuling::Try(card) => {
                tracing::info!(request_id = %retry.request_id, %order, card, "another card is tried");
                self.charges.ring();
                self.settler.announce(order, payment.state).await;
            }
            RetryRuling::Known => {}
            RetryRuling::Reused => {
                let what = "was sent before, with another means of payment";
                return Err(Failure::field(Reason::RequestIdReused, "request_id", what).into());
            }
            RetryRuling::Closed => {
                let what = format!("the payment of order {order} waits for no other card");
                let failure = Failure::new(Reason::PaymentRetryClosed, what);
                return Err(failure.with("order_id", order).with("state", payment.state).into());
            }
        }
        Ok(Response::new(RetryPaymentResponse { payment: Some(encode::payment(&payment)) }))
    }

    async fn refund(
        &self,
        request: Request<RefundRequest>,
    ) -> Result<Response<RefundResponse>, Status> {
        let request = request.into_inner();
        let order = decode::order_id(&request.order_id)?;
        let asked = decode::refund(request, &self.reachable(order).await?)?;
        let ruled = self.store.refund(&asked).await.map_err(flashsale_pg::failure)?;
        let (payment, ruling) = ruled.ok_or_else(|| not_found(order))?;
        match ruling {
            RefundRuling::IsDue { .. } | RefundRuling::IsDueAgain(_) => self.refunds.ring(),
            RefundRuling::Known | RefundRuling::Done => {}
            RefundRuling::Reused => {
                let what = "was sent before, with another amount";
                return Err(Failure::field(Reason::RequestIdReused, "request_id", what).into());
            }
            RefundRuling::Exceeds(left) => {
                let what = "is more than is left of what was captured";
                let failure = Failure::field(Reason::RefundExceedsCaptured, "amount", what);
                return Err(failure
                    .with("order_id", order)
                    .with("left_minor", left)
                    .with("currency", &payment.currency)
                    .into());
            }
            RefundRuling::NothingCaptured => {
                let what = format!("the payment of order {order} is {}", payment.state);
                let failure = Failure::new(Reason::PaymentNotRefundable, what);
                return Err(failure.with("order_id", order).with("state", payment.state).into());
            }
        }
        tracing::info!(request_id = %asked.request_id, %order, "asked to give money back");
        Ok(Response::new(RefundResponse { payment: Some(encode::payment(&payment)) }))
    }
}
