//! Stripe's JSON for our objects. Field names and nullability follow the samples on
//! docs.stripe.com/api/payment_intents/object, /charges/object, /refunds/object, /disputes/object,
//! /confirmation_tokens/object, /accounts/object and /events/object; fields that the stand-in does
//! not fill are null, as there.

use serde_json::{Value, json};

use crate::cards::TestMethod;
use crate::intents::{
    Charge, ChargeStatus, ConfirmationToken, Dispute, DisputeStatus, Method, PaymentError,
    PaymentIntent, Refund, RefundStatus,
};

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
    let failure = error.failure;
    let page = failure.code().replace('_', "-");
    let mut body = json!({
        "code": failure.code(),
        "doc_url": format!("https://docs.stripe.com/error-codes#{page}"),
        "message": failure.message(),
        "payment_method": payment_method(&error.method),
        "type": failure.error_type(),
    });
    if let Some(charge) = &error.charge {
        body["charge"] = json!(charge);
    }
    if let Some(decline_code) = failure.decline_code() {
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
    let mut body = payment_method_preview(method.test);
    body["id"] = json!(method.id);
    body["object"] = json!("payment_method");
    body["created"] = json!(1);
    body["livemode"] = json!(false);
    body["metadata"] = json!({});
    body
}

/// The payment method of a ConfirmationToken, which is none yet
/// (docs.stripe.com/api/confirmation_tokens/object, `payment_method_preview`).
fn payment_method_preview(test: &TestMethod) -> Value {
    let mut body = json!({
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "customer": null,
        "type": test.kind,
    });
    if test.kind == "card" {
        body["card"] = json!({
            "brand": test.brand,
            "checks": {
                "address_line1_check": null, "address_postal_code_check": null, "cvc_check": null,
            },
            "country": "US",
            "display_brand": test.brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": null,
            "funding": "credit",
            "generated_from": null,
            "last4": test.last4,
            "networks": { "available": [test.brand], "preferred": null },
            "three_d_secure_usage": { "supported": true },
            "wallet": null,
        });
    } else {
        body["us_bank_account"] = json!({
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": test.brand,
            "last4": test.last4,
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

/// A Charge.
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
        "disputed": charge.dispute.is_some(),
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

/// A Refund; card refunds succeed at once in a sandbox (docs.stripe.com/testing#refunds), but for
/// those of two test methods.
#[must_use]
pub fn refund(refund: &Refund) -> Value {
    let mut body = json!({
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
        "status": refund.status.as_str(),
        "transfer_reversal": null,
    });
    match refund.status {
        // docs.stripe.com/changelog/basil/2025-04-30/refund-pending-reason
        RefundStatus::Pending => body["pending_reason"] = json!("processing"),
        // docs.stripe.com/testing#refunds: the reason of the card whose refunds fail.
        RefundStatus::Failed => body["failure_reason"] = json!("expired_or_canceled_card"),
        RefundStatus::Succeeded => {}
    }
    body
}

/// What a dispute's evidence can consist of; none of it is ever given.
const EVIDENCE: &[&str] = &[
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

/// How long a dispute waits for evidence, in seconds: a week.
const EVIDENCE_WITHIN_S: i64 = 7 * 24 * 60 * 60;

/// A Dispute.
#[must_use]
pub fn dispute(dispute: &Dispute) -> Value {
    let mut evidence: Value =
        EVIDENCE.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence["enhanced_evidence"] = json!({});
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": [],
        "charge": dispute.charge,
        "created": dispute.created_s,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": evidence,
        "evidence_details": {
            "due_by": dispute.created_s + EVIDENCE_WITHIN_S,
            "enhanced_eligibility": {},
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0,
        },
        // While it is open, and once it is lost, the buyer's bank has the money.
        "is_charge_refundable": dispute.status == DisputeStatus::Won,
        "livemode": false,
        "metadata": {},
        "network_reason_code": "10.4",
        "payment_intent": dispute.payment_intent,
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "case_type": "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        // docs.stripe.com/testing#disputes
        "reason": "fraudulent",
        "status": dispute.status.as_str(),
    })
}

/// A ConfirmationToken.
#[must_use]
pub fn confirmation_token(token: &ConfirmationToken) -> Value {
    json!({
        "id": token.id,
        "object": "confirmation_token",
        "created": token.created_s,
        "expires_at": token.expires_s,
        "livemode": false,
        "mandate_data": null,
        "payment_intent": token.payment_intent,
        "payment_method_options": null,
        "payment_method_preview": payment_method_preview(token.test),
        "return_url": token.return_url,
        "setup_future_usage": token.setup_future_usage,
        "setup_intent": null,
        "shipping": null,
        "use_stripe_sdk": false,
    })
}

/// The Account that the keys belong to.
#[must_use]
pub fn account(id: &str) -> Value {
    json!({
        "id": id,
        "object": "account",
        "business_profile": null,
        "business_type": null,
        "charges_enabled": true,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": true,
        "email": null,
        "payouts_enabled": true,
        "type": "standard",
    })
}

/// An Event around a snapshot of its object (docs.stripe.com/api/events/object). Without a request
/// it came about by itself.
#[must_use]
pub fn event(
    id: &str,
    kind: &str,
    object: Value,
    created_s: i64,
    request_id: Option<&str>,
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
