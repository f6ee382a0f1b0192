//! What callers send, checked.

use std::collections::HashMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::payment::{PaymentOrder, RefundRequest, RetryPaymentRequest};
use flashsale_service::wire;
use flashsale_telemetry::propagate;
use opentelemetry::trace::TraceContextExt as _;
use uuid::Uuid;

use crate::{
    domain::{Payment, Retry, provider_amount},
    store::{AskedRefund, NewPayment},
};

/// Payments in one call.
const MAX_ORDERS: usize = 200;
/// The reason of a refund, in its caller's words.
const MAX_REASON_CHARS: usize = 200;
/// A token of a means of payment.
const MAX_METHOD_CHARS: usize = 255;
/// A traceparent of the version there is.
const TRACEPARENT_BYTES: usize = 55;

pub(super) fn order_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("order_id", value, Reason::ArgumentInvalid)
}

pub(super) fn retry(request: RetryPaymentRequest) -> Result<Retry, Failure> {
    Ok(Retry {
        request_id: wire::request_id(&request.request_id)?,
        order_id: order_id(&request.order_id)?,
        // Checkout refuses what cannot be a token; this keeps out what the record could not hold.
        method: wire::printable("payment_method", &request.payment_method, MAX_METHOD_CHARS)?
            .to_owned(),
    })
}

/// A refund of an amount of this payment, or of all that is left of it.
pub(super) fn refund(request: RefundRequest, payment: &Payment) -> Result<AskedRefund, Failure> {
    let request_id = wire::request_id(&request.request_id)?;
    let amount_minor = match &request.amount {
        None => None,
        Some(amount) => {
            let (minor, currency) = wire::minor("amount", amount)?;
            if currency.code() != payment.currency {
                let what = format!("must be {}, the currency of the order", payment.currency);
                return Err(Failure::invalid("amount.currency_code", what));
            }
            if minor <= 0 {
                let what = "must be above 0; leave it out for all that is left";
                return Err(Failure::invalid("amount", what));
            }
            provider_amount(minor, &payment.currency)
                .map_err(|inexact| Failure::invalid("amount", inexact.to_string()))?;
            Some(minor)
        }
    };
    let note = match request.reason.as_str() {
        "" => None,
        reason => Some(wire::printable("reason", reason, MAX_REASON_CHARS)?.to_owned()),
    };
    Ok(AskedRefund { request_id, order_id: payment.order_id, amount_minor, note })
}

pub(super) fn new_payments(orders: &[PaymentOrder]) -> Result<Vec<NewPayment>, Failure> {
    if orders.is_empty() || orders.len() > MAX_ORDERS {
        let what = format!("has {} entries; 1 to {MAX_ORDERS} are allowed", orders.len());
        return Err(Failure::invalid("orders", what));
    }
    let payments: Vec<NewPayment> = orders
        .iter()
        .enumerate()
        .map(|(place, order)| new_payment(&format!("orders[{place}]"), order))
        .collect::<Result<_, _>>()?;
    if let Some((place, first)) = repeated(payments.iter().map(|payment| payment.order_id)) {
        let what = format!("is the same as orders[{first}].order_id; each order may come once");
        return Err(Failure::invalid(format!("orders[{place}].order_id"), what));
    }
    Ok(payments)
}

fn new_payment(at: &str, order: &PaymentOrder) -> Result<NewPayment, Failure> {
    let field = format!("{at}.order_id");
    Ok(NewPayment {
        order_id: wire::uuid(&field, &order.order_id, Reason::ArgumentInvalid)?,
        traceparent: traceparent(&order.traceparent),
    })
}

/// A trace to go on in. One that cannot be read is no reason to refuse a payment.
fn traceparent(text: &str) -> Option<String> {
    let context = propagate::from_text(Some(text));
    (text.len() == TRACEPARENT_BYTES && context.span().span_context().is_valid())
        .then(|| text.to_owned())
}

/// The index of the first id that is repeated, if there is one, and the index of its first
/// occurrence.
fn repeated(ids: impl Iterator<Item = Uuid>) -> Option<(usize, usize)> {
    let mut seen = HashMap::new();
    ids.enumerate().find_map(|(place, id)| seen.insert(id, place).map(|first| (place, first)))
}
