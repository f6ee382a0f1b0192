//! Responses.

use flashsale_proto::{checkout, inventory};
use flashsale_service::wire;

use crate::{
    domain::{Order, OrderState, PaymentAction, PaymentActionKind, Recorded},
    peers::inventory::price_revision,
};

pub(super) fn held_line(line: inventory::PricedLine) -> checkout::PricedLine {
    let price_revision = price_revision(&line);
    checkout::PricedLine {
        sku: line.sku,
        quantity: line.quantity,
        unit_price: line.unit_price,
        price_revision,
    }
}

/// An order for its buyer, with what they have to do.
pub(super) fn order_of_buyer(mut order: Order) -> checkout::Order {
    let action = order.payment_action.take();
    checkout::Order { payment_action: action.map(payment_action), ..self::order(order) }
}

fn payment_action(action: PaymentAction) -> checkout::PaymentAction {
    checkout::PaymentAction {
        kind: match action.kind {
            PaymentActionKind::Authenticate => checkout::PaymentActionKind::Authenticate,
            PaymentActionKind::NewMethod => checkout::PaymentActionKind::NewMethod,
        }
        .into(),
        client_secret: action.client_secret,
        redirect_url: action.redirect_url.unwrap_or_default(),
        expire_time: action.until.map(wire::timestamp),
        decline_code: action.decline_code.unwrap_or_default(),
    }
}

/// An order, without what is for its buyer alone.
pub(super) fn order(order: Order) -> checkout::Order {
    let refunded =
        (order.refunded_minor > 0).then(|| wire::money(order.refunded_minor, &order.currency));
    checkout::Order {
        order_id: order.order_id.to_string(),
        sale_id: order.sale_id.to_string(),
        buyer_id: order.buyer_id,
        state: state(order.state).into(),
        lines: order
            .lines
            .into_iter()
            .map(|line| checkout::PricedLine {
                sku: line.sku,
                quantity: line.quantity,
                unit_price: Some(wire::money(line.unit_price_minor, &order.currency)),
                price_revision: line.price_revision,
            })
            .collect(),
        total: Some(wire::money(order.total_minor, &order.currency)),
        hold_id: order.hold_id.to_string(),
        place_time: Some(wire::timestamp(order.placed_at)),
        update_time: Some(wire::timestamp(order.updated_at)),
        cancel_requested: order.cancel_requested,
        end_reason: order.end_reason.unwrap_or_default(),
        payment_action: None,
        refunded,
    }
}

fn state(state: OrderState) -> checkout::OrderState {
    match state {
        OrderState::AcceptancePending => checkout::OrderState::AcceptancePending,
        OrderState::Accepted => checkout::OrderState::Accepted,
        OrderState::Recorded(state) => match state {
            Recorded::DeadLetter => checkout::OrderState::DeadLetter,
            Recorded::Claimed => checkout::OrderState::Claimed,
            Recorded::Paying => checkout::OrderState::Paying,
            Recorded::ActionRequired => checkout::OrderState::ActionRequired,
            Recorded::Confirmed => checkout::OrderState::Confirmed,
            Recorded::Declined => checkout::OrderState::Declined,
            Recorded::Cancelled => checkout::OrderState::Cancelled,
            Recorded::Refunded => checkout::OrderState::Refunded,
        },
    }
}
