//! What callers get.

use flashsale_proto::payment::{Payment as WirePayment, PaymentState};
use flashsale_service::wire;

use crate::domain::{Payment, State};

pub(super) fn payment(payment: &Payment) -> WirePayment {
    WirePayment {
        order_id: payment.order_id.to_string(),
        sale_id: payment.sale_id.to_string(),
        state: state(payment).into(),
        amount: Some(wire::money(payment.amount_minor, &payment.currency)),
        payment_intent: payment.intent_id.clone().unwrap_or_default(),
        decline_code: payment.decline_code.clone().unwrap_or_default(),
        attempts: payment.attempts,
        create_time: Some(wire::timestamp(payment.created_at)),
        update_time: Some(wire::timestamp(payment.updated_at)),
        refunded: (payment.refunded_minor > 0)
            .then(|| wire::money(payment.refunded_minor, &payment.currency)),
    }
}

fn state(payment: &Payment) -> PaymentState {
    match payment.state {
        // Taken up before: the provider may have heard of it.
        State::Due if payment.attempts > 0 => PaymentState::Processing,
        State::Due => PaymentState::Due,
        State::Processing => PaymentState::Processing,
        State::RequiresAction => PaymentState::RequiresAction,
        State::Succeeded => PaymentState::Succeeded,
        State::Failed => PaymentState::Failed,
        State::Cancelled => PaymentState::Cancelled,
        State::Refunded => PaymentState::Refunded,
    }
}
