//! The POST endpoints: one step under one lock, in which the transition is computed, written to
//! the log, applied to the books and its answer saved under the key.

use std::io;

use bytes::Bytes;
use serde_json::Value;

use super::params::{Command, ConfirmParams, MethodParam};
use super::pipeline::{Origin, to_bytes};
use super::{App, Core};
use crate::clock;
use crate::errors::{ApiError, ErrorType};
use crate::idempotency::Saved;
use crate::ids;
use crate::intents::{
    Charge, Confirmation, Event, Fact, Method, PaymentIntent, Refund, RefundRefusal, Refusal,
    Status, Step,
};
use crate::log::{self, Line};
use crate::objects;

/// An event to push after the step.
struct Push {
    kind: &'static str,
    object: Value,
}

/// The answer of a step and the event it pushes.
struct Done {
    answer: Result<Value, ApiError>,
    push: Option<Push>,
}

/// Executes, and saves the answer (or `instead`, a fault's) under the key. Returns what was saved.
/// A capture takes `short_by` less than it should, another fault's doing.
pub(crate) fn run(
    app: &App,
    command: Command,
    origin: &Origin,
    instead: Option<(u16, Bytes)>,
    short_by: i64,
) -> (u16, Bytes) {
    let now_ms = clock::now_ms();
    let mut core = clock::lock(&app.core);
    let done =
        step(&mut core, command, origin, now_ms, &app.base_url, short_by).unwrap_or_else(refused);
    let (stored, status, body) = match (&done.answer, instead) {
        (_, Some((status, body))) => (true, status, body),
        (Ok(body), None) => (true, 200, to_bytes(body)),
        (Err(error), None) => (error.stored, error.status, to_bytes(&error.body())),
    };
    if let (Some(key), true) = (&origin.idempotency_key, stored) {
        let saved = Saved { status, body: body.clone(), request_id: origin.request_id.clone() };
        core.keys.save(key, saved);
    }
    drop(core);
    push(app, done.push, origin, now_ms);
    (status, body)
}

/// Ends a buyer's authentication, as when they return from their bank.
///
/// # Errors
/// If there is no such intent, or if it does not wait for the buyer.
pub(crate) fn authenticate(app: &App, id: &str, passed: bool) -> Result<Value, ApiError> {
    let origin = Origin {
        request_id: ids::request(),
        idempotency_key: None,
        version: objects::API_VERSION.to_owned(),
    };
    let now_ms = clock::now_ms();
    let mut core = clock::lock(&app.core);
    let intent = find(&core, id)?;
    let refuse = |refusal| refusal_error(refusal, "authenticate", intent, &app.base_url);
    let step = intent.authenticate(passed, ids::object("ch"), seconds(now_ms)).map_err(refuse)?;
    let done = apply(&mut core, step, &[], &origin, now_ms, &app.base_url)?;
    let intent = find(&core, id).map(|intent| objects::payment_intent(intent, &app.base_url));
    drop(core);
    push(app, done.push, &origin, now_ms);
    intent
}

fn push(app: &App, push: Option<Push>, origin: &Origin, now_ms: u64) {
    let Some(Push { kind, object }) = push else { return };
    let event = objects::event(
        &ids::object("evt"),
        kind,
        object,
        seconds(now_ms),
        &origin.request_id,
        origin.idempotency_key.as_deref(),
    );
    app.webhooks.send(to_bytes(&event));
}

fn refused(error: ApiError) -> Done {
    Done { answer: Err(error), push: None }
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

fn find<'a>(core: &'a Core, id: &str) -> Result<&'a PaymentIntent, ApiError> {
    let intent = core.ledger.intents.get(id);
    intent.ok_or_else(|| ApiError::missing(404, "payment_intent", id, "intent"))
}

fn step(
    core: &mut Core,
    command: Command,
    origin: &Origin,
    now_ms: u64,
    base_url: &str,
    short_by: i64,
) -> Result<Done, ApiError> {
    let room = core.ledger.intents.has_room()
        && core.ledger.charges.has_room()
        && core.ledger.refunds.has_room();
    if !room {
        return Err(ApiError::server("The stand-in's books are full: start another one."));
    }
    match command {
        Command::Create {
            amount,
            currency,
            metadata,
            description,
            payment_method_types,
            allowed_types,
            automatic,
            needs_return_url,
            confirm,
            how,
        } => {
            let id = ids::object("pi");
            let method = how.method.as_ref().map(|method| resolve(method, None)).transpose()?;
            let intent = PaymentIntent {
                client_secret: ids::client_secret(&id),
                id,
                amount,
                currency,
                status: match method {
                    Some(_) => Status::RequiresConfirmation,
                    None => Status::RequiresPaymentMethod,
                },
                metadata,
                description,
                payment_method_types,
                allowed_types,
                automatic,
                needs_return_url,
                method,
                next_action: None,
                last_error: None,
                latest_charge: None,
                received: 0,
                cancellation_reason: None,
                created_s: seconds(now_ms),
                canceled_at_s: None,
            };
            // docs.stripe.com/api/payment_intents/create, confirm: "as if you create and confirm
            // in the same request"; the intent exists even when its payment is declined.
            let step = if confirm {
                let how = ConfirmParams { method: None, ..how };
                confirm_step(&intent, &how, now_ms, base_url, short_by)?
            } else {
                Step { intent, charge: None, facts: Vec::new(), event: None, declined: false }
            };
            apply(core, step, &[Fact::Created], origin, now_ms, base_url)
        }
        Command::Confirm { id, how } => {
            let step = confirm_step(find(core, &id)?, &how, now_ms, base_url, short_by)?;
            apply(core, step, &[], origin, now_ms, base_url)
        }
        Command::Cancel { id, reason } => {
            let intent = find(core, &id)?;
            let refuse = |refusal| refusal_error(refusal, "cancel", intent, base_url);
            let step = intent.cancel(reason, seconds(now_ms)).map_err(refuse)?;
            apply(core, step, &[], origin, now_ms, base_url)
        }
        Command::Refund { charge, payment_intent, amount, reason, metadata } => {
            let charge = charged(core, charge.as_deref(), payment_intent.as_deref())?;
            refund(core, charge, amount, reason, metadata, origin, now_ms)
        }
    }
}

/// A test method's name stands for a new payment method each time; an id for the attached one.
fn resolve(param: &MethodParam, attached: Option<&Method>) -> Result<Method, ApiError> {
    match param {
        MethodParam::Test(test) => Ok(Method { id: ids::object("pm"), test }),
        MethodParam::Id(id) => {
            let method = attached.filter(|method| method.id == *id).cloned();
            method.ok_or_else(|| ApiError::missing(400, "PaymentMethod", id, "payment_method"))
        }
    }
}

fn confirm_step(
    intent: &PaymentIntent,
    how: &ConfirmParams,
    now_ms: u64,
    base_url: &str,
    short_by: i64,
) -> Result<Step, ApiError> {
    let failed = intent.last_error.as_ref().map(|error| &error.method);
    let attached = intent.method.as_ref().or(failed);
    let method = how.method.as_ref().map(|method| resolve(method, attached)).transpose()?;
    let confirmation = Confirmation {
        method,
        return_url: how.return_url.clone(),
        no_action_possible: how.no_action_possible,
        charge_id: ids::object("ch"),
        now_s: seconds(now_ms),
        short_by,
    };
    let refuse = |refusal| refusal_error(refusal, "confirm", intent, base_url);
    intent.confirm(confirmation).map_err(refuse)
}

/// docs.stripe.com/error-codes#payment-intent-unexpected-state, with the intent in the error
/// (docs.stripe.com/api/errors, `payment_intent`).
fn refusal_error(refusal: Refusal, verb: &str, intent: &PaymentIntent, base_url: &str) -> ApiError {
    let unexpected = |message: String| {
        ApiError::new(400, ErrorType::InvalidRequest, message)
            .code("payment_intent_unexpected_state")
            .field("payment_intent", objects::payment_intent(intent, base_url))
    };
    let status = intent.status.as_str();
    match refusal {
        Refusal::UnexpectedState => unexpected(format!(
            "You cannot {verb} this PaymentIntent because it has a status of {status}."
        )),
        Refusal::MissingPaymentMethod => unexpected(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can \
             either update the PaymentIntent with a payment method and then confirm it again, or \
             confirm it again directly with a payment method or ConfirmationToken."
                .into(),
        ),
        Refusal::MissingReturnUrl => {
            let message = "This PaymentIntent is configured to accept payment methods that might \
                           redirect your customer off of your page: you must provide a \
                           `return_url`, or set `automatic_payment_methods[allow_redirects]` to \
                           `never`.";
            ApiError::new(400, ErrorType::InvalidRequest, message).field("param", "return_url")
        }
    }
}

fn log_failed(error: &io::Error) -> ApiError {
    tracing::error!(%error, "the log could not be written; the step is not carried out");
    // Not saved under the key: nothing was executed, and a retry may succeed.
    ApiError::before_execution(500, ErrorType::Api, "The stand-in could not write its log.")
}

/// The charge that a fact of its step is about: that an intent exists is about none.
fn of(fact: Fact, charge: Option<&Charge>) -> Option<&Charge> {
    match fact {
        Fact::Created => None,
        Fact::Confirmed
        | Fact::RequiresAction
        | Fact::Captured
        | Fact::Declined
        | Fact::Canceled
        | Fact::Refunded => charge,
    }
}

/// Logs a step, then applies it.
fn apply(
    core: &mut Core,
    step: Step,
    first: &[Fact],
    origin: &Origin,
    now_ms: u64,
    base_url: &str,
) -> Result<Done, ApiError> {
    let Step { intent, charge, facts, event, declined } = step;
    let lines: Vec<Line<'_>> = first
        .iter()
        .chain(&facts)
        .map(|fact| Line {
            ts_ms: now_ms,
            kind: log::name(*fact),
            payment_intent: &intent.id,
            charge: of(*fact, charge.as_ref()).map(|charge| charge.id.as_str()),
            refund: None,
            payment_method: of(*fact, charge.as_ref()).map(|charge| charge.method.test.name),
            amount: if *fact == Fact::Captured { intent.received } else { intent.amount },
            currency: &intent.currency,
            order_id: intent.metadata.get("order_id").map(String::as_str),
            sale_id: intent.metadata.get("sale_id").map(String::as_str),
            idempotency_key: origin.idempotency_key.as_deref(),
            request_id: &origin.request_id,
        })
        .collect();
    core.log.append(&lines).map_err(|error| log_failed(&error))?;

    for fact in &facts {
        match fact {
            Fact::Captured => {
                core.money.captures += 1;
                let sum = core.money.captured_minor.entry(intent.currency.clone()).or_default();
                *sum += intent.received;
            }
            Fact::Declined => core.money.declines += 1,
            Fact::Created
            | Fact::Confirmed
            | Fact::RequiresAction
            | Fact::Canceled
            | Fact::Refunded => {}
        }
    }
    let object = objects::payment_intent(&intent, base_url);
    // A decline is answered 402 (docs.stripe.com/api/errors) with the intent as it is now.
    let answer = match (declined, &intent.last_error) {
        (true, Some(failure)) => {
            let mut error = ApiError::new(402, ErrorType::Card, failure.message)
                .code(failure.code)
                .field("payment_intent", object.clone())
                .field("payment_method", objects::payment_method(&failure.method));
            if let Some(decline_code) = failure.decline_code {
                error = error.field("decline_code", decline_code);
            }
            if let Some(charge) = &failure.charge {
                error = error.field("charge", charge.as_str());
            }
            Err(error)
        }
        (true | false, _) => Ok(object.clone()),
    };
    // docs.stripe.com/api/events/types.
    let push = event.map(|event| {
        let kind = match event {
            Event::Succeeded => "payment_intent.succeeded",
            Event::PaymentFailed => "payment_intent.payment_failed",
            Event::RequiresAction => "payment_intent.requires_action",
            Event::Processing => "payment_intent.processing",
            Event::Canceled => "payment_intent.canceled",
        };
        Push { kind, object }
    });
    if let Some(charge) = charge {
        core.ledger.charges.put(charge);
    }
    core.ledger.intents.put(intent);
    Ok(Done { answer, push })
}

/// The charge a refund is for: named, or the intent's successful one.
fn charged(core: &Core, charge: Option<&str>, intent: Option<&str>) -> Result<Charge, ApiError> {
    if let Some(id) = charge {
        let charge = core.ledger.charges.get(id).cloned();
        return charge.ok_or_else(|| ApiError::missing(404, "charge", id, "charge"));
    }
    let id = intent.unwrap_or_default();
    let intent = core.ledger.intents.get(id);
    let intent =
        intent.ok_or_else(|| ApiError::missing(404, "payment_intent", id, "payment_intent"))?;
    let charge = intent.latest_charge.as_ref().and_then(|id| core.ledger.charges.get(id));
    let charge = charge.filter(|_| intent.status == Status::Succeeded).cloned();
    charge.ok_or_else(|| not_charged(&format!("This PaymentIntent ({id})")))
}

fn not_charged(what: &str) -> ApiError {
    let message = format!("{what} does not have a successful charge to refund.");
    ApiError::new(400, ErrorType::InvalidRequest, message)
}

fn refund(
    core: &mut Core,
    mut charge: Charge,
    amount: Option<i64>,
    reason: Option<String>,
    metadata: std::collections::BTreeMap<String, String>,
    origin: &Origin,
    now_ms: u64,
) -> Result<Done, ApiError> {
    let amount = charge.refund(amount).map_err(|refusal| match refusal {
        RefundRefusal::NotCharged => not_charged(&format!("Charge {}", charge.id)),
        // docs.stripe.com/error-codes#charge-already-refunded.
        RefundRefusal::AlreadyRefunded => {
            let message = format!("Charge {} has already been refunded.", charge.id);
            ApiError::new(400, ErrorType::InvalidRequest, message).code("charge_already_refunded")
        }
        RefundRefusal::MoreThanLeft { left } => {
            let message =
                format!("Refund amount is greater than the unrefunded amount on charge ({left}).");
            ApiError::new(400, ErrorType::InvalidRequest, message).field("param", "amount")
        }
    })?;
    let refund = Refund {
        id: ids::object("re"),
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        amount,
        currency: charge.currency.clone(),
        reason,
        metadata,
        created_s: seconds(now_ms),
    };
    let line = Line {
        ts_ms: now_ms,
        kind: log::name(Fact::Refunded),
        payment_intent: &refund.payment_intent,
        charge: Some(&refund.charge),
        refund: Some(&refund.id),
        payment_method: Some(charge.method.test.name),
        amount,
        currency: &refund.currency,
        // The order's metadata is on the charge; a refund's is the caller's own.
        order_id: charge.metadata.get("order_id").map(String::as_str),
        sale_id: charge.metadata.get("sale_id").map(String::as_str),
        idempotency_key: origin.idempotency_key.as_deref(),
        request_id: &origin.request_id,
    };
    core.log.append(&[line]).map_err(|error| log_failed(&error))?;
    core.money.refunds += 1;
    *core.money.refunded_minor.entry(refund.currency.clone()).or_default() += amount;
    let answer = Ok(objects::refund(&refund));
    let push = Some(Push { kind: "charge.refunded", object: objects::charge(&charge) });
    core.ledger.charges.put(charge);
    core.ledger.refunds.put(refund);
    Ok(Done { answer, push })
}
