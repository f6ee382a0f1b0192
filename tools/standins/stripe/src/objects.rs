//! Stripe's JSON for our objects. Field names and nullability follow the samples on
//! docs.stripe.com/api/payment_intents/object, /charges/object, /refunds/object and
//! /events/object; fields that the stand-in does not fill are null, as there.

use serde_json::{Value, json};

use crate::intents::{Charge, ChargeStatus, Method, PaymentError, PaymentIntent, Refund};

/// The account's default API version: for requests without `Stripe-Version`, and for events
/// (docs.stripe.com/api/versioning).
pub const API_VERSION: &str = "2026-09-30.endive";

/// A PaymentIntent. `base_url` is where the buyer is sent to authenticate.
#[must_use]
pub fn payment_intent(intent: &PaymentIntent, base_url: &str) -> Value {
    let automatic = intent.automatic.map(|automatic| {
        let allow = if automatic.allow_redirects { "always" } else { "never" };
        json!({ "allow_redirects": allow, "enabled": true })
    });
    let allowed = (!intent.allowed_types.is_empty()).then_some(&intent.allowed_types);
    let next_action = intent.next_action.as_ref().map(|next| match &next.return_url {
        Some(return_url) => json!({
            "type": "redirect_to_url",
            "redirect_to_url": {
                "return_url": return_url,
                "url": format!("{base_url}/_control/authenticate/{}", intent.id),
            },
        }),
        None => json!({
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "type": "three_d_secure_redirect",
                "stripe_js": format!("{base_url}/_control/authenticate/{}", intent.id),
            },
        }),
    });
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "allowed_payment_method_types": allowed,
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": intent.received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": automatic,
        "canceled_at": intent.canceled_at_s,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": "automatic",
        "client_secret": intent.client_secret,
        "confirmation_method": "automatic",
        "created": intent.created_s,
        "currency": intent.currency,
        "customer": null,
        "description": intent.description,
        "last_payment_error": intent.last_error.as_ref().map(payment_error),
        "latest_charge": intent.latest_charge,
        "livemode": false,
        "metadata": intent.metadata,
        "next_action": next_action,
        "on_behalf_of": null,
        "payment_method": intent.method.as_ref().map(|method| &method.id),
        "payment_method_options": {},
        "payment_method_types": intent.payment_method_types,
        "processing": null,
        "receipt_email": null,
        "review": null,
        "setup_future_usage": null,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": intent.status.as_str(),
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// `last_payment_error`, and the fields of the 402 that reported it.
#[must_use]
pub fn payment_error(error: &PaymentError) -> Value {
    let mut body = json!({
        "code": error.code,
        "doc_url": format!("https://docs.stripe.com/error-codes#{}", error.code.replace('_', "-")),
        "message": error.message,
        "payment_method": payment_method(&error.method),
        "type": error.error_type,
    });
    if let Some(charge) = &error.charge {
        body["charge"] = json!(charge);
    }
    if let Some(decline_code) = error.decline_code {
        body["decline_code"] = json!(decline_code);
    }
    body
}

fn billing_details() -> Value {
    json!({
        "address": {
            "city": null, "country": null, "line1": null, "line2": null,
            "postal_code": null, "state": null,
        },
        "email": null, "name": null, "phone": null, "tax_id": null,
    })
}

/// A PaymentMethod (docs.stripe.com/api/payment_methods/object).
#[must_use]
pub fn payment_method(method: &Method) -> Value {
    let mut body = json!({
        "id": method.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "created": 1,
        "customer": null,
        "livemode": false,
        "metadata": {},
        "type": method.test.kind,
    });
    if method.test.kind == "card" {
        body["card"] = json!({
            "brand": method.test.brand,
            "checks": {
                "address_line1_check": null, "address_postal_code_check": null, "cvc_check": null,
            },
            "country": "US",
            "display_brand": method.test.brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": null,
            "funding": "credit",
            "generated_from": null,
            "last4": method.test.last4,
            "networks": { "available": [method.test.brand], "preferred": null },
            "three_d_secure_usage": { "supported": true },
            "wallet": null,
        });
    } else {
        body["us_bank_account"] = json!({
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": method.test.brand,
            "last4": method.test.last4,
        });
    }
    body
}

fn payment_method_details(method: &Method) -> Value {
    if method.test.kind == "card" {
        json!({
            "type": "card",
            "card": {
                "brand": method.test.brand,
                "country": "US",
                "exp_month": 12,
                "exp_year": 2034,
                "funding": "credit",
                "last4": method.test.last4,
                "network": method.test.brand,
                "three_d_secure": null,
                "wallet": null,
            },
        })
    } else {
        json!({
            "type": "us_bank_account",
            "us_bank_account": {
                "account_holder_type": "individual",
                "account_type": "checking",
                "bank_name": method.test.brand,
                "last4": method.test.last4,
            },
        })
    }
}

#[must_use]
pub fn charge(charge: &Charge) -> Value {
    let (status, taken) = match charge.status {
        ChargeStatus::Succeeded => ("succeeded", true),
        ChargeStatus::Pending => ("pending", false),
        ChargeStatus::Failed => ("failed", false),
    };
    let outcome = match charge.failure {
        Some(decline) => json!({
            "network_status": "declined_by_network",
            "reason": decline.decline_code,
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        }),
        None => json!({
            "network_status": "approved_by_network",
            "reason": null,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        }),
    };
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": if taken { charge.amount } else { 0 },
        "amount_refunded": charge.amount_refunded,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": null,
        "billing_details": billing_details(),
        "calculated_statement_descriptor": null,
        "captured": taken,
        "created": charge.created_s,
        "currency": charge.currency,
        "customer": null,
        "description": null,
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": charge.failure.map(|decline| decline.code),
        "failure_message": charge.failure.map(|decline| decline.message),
        "fraud_details": {},
        "livemode": false,
        "metadata": charge.metadata,
        "on_behalf_of": null,
        "outcome": outcome,
        "paid": taken,
        "payment_intent": charge.payment_intent,
        "payment_method": charge.method.id,
        "payment_method_details": payment_method_details(&charge.method),
        "receipt_email": null,
        "receipt_number": null,
        "receipt_url": null,
        "refunded": taken && charge.amount_refunded == charge.amount,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": status,
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// A Refund; card refunds succeed at once in a sandbox (docs.stripe.com/testing#refunds).
#[must_use]
pub fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": null,
        "charge": refund.charge,
        "created": refund.created_s,
        "currency": refund.currency,
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "succeeded",
        "transfer_reversal": null,
    })
}

/// An Event around a snapshot of its object (docs.stripe.com/api/events/object).
#[must_use]
pub fn event(
    id: &str,
    kind: &str,
    object: Value,
    created_s: i64,
    request_id: &str,
    idempotency_key: Option<&str>,
) -> Value {
    json!({
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created_s,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": request_id, "idempotency_key": idempotency_key },
        "type": kind,
    })
}
