//! The POST endpoints: one step under one lock, in which the transition is computed, written to
//! the journal and the log, applied to the books and its answer saved under the key.

use std::collections::BTreeMap;
use std::io;
use std::sync::MutexGuard;

use bytes::Bytes;
use serde_json::Value;

use super::expand::Expand;
use super::params::{Command, ConfirmParams, MethodParam};
use super::pipeline::{Origin, to_bytes};
use super::{App, Core};
use crate::cards::Later;
use crate::clock;
use crate::currencies;
use crate::errors::{ApiError, ErrorType};
use crate::idempotency::Saved;
use crate::ids;
use crate::intents::{
    Charge, ChargeStatus, Confirmation, ConfirmationToken, Dispute, DisputeStatus, Event, Fact,
    Method, PaymentIntent, Refund, RefundRefusal, RefundStatus, Refusal, Settlement, Status, Step,
    Update,
};
use crate::ledger::{Due, StoredEvent};
use crate::log::{self, Line};
use crate::objects;
use crate::state::Record;

/// How long a confirmation token can be used, in seconds: 12 hours, as in the sample on
/// docs.stripe.com/api/confirmation_tokens/object.
const TOKEN_LASTS_S: i64 = 12 * 60 * 60;

/// What a step does, before it is done.
#[derive(Debug, Default)]
struct Change {
    records: Vec<Record>,
    /// Its lines of the log.
    log: String,
}

/// The answer of a step and what it changes.
struct Done {
    answer: Result<Value, ApiError>,
    change: Change,
}

/// An answer as it is sent.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Whether it is saved under the key, if there is one.
    pub(crate) stored: bool,
}

/// What is around a step.
struct Context<'a> {
    origin: &'a Origin,
    /// Whether no request is behind it.
    automatic: bool,
    now_ms: u64,
    base_url: &'a str,
    /// How much less than it should a capture takes.
    short_by: i64,
    /// When what comes about later does, in milliseconds since the epoch.
    later_ms: u64,
    /// Whether events are sent.
    has_endpoint: bool,
}

impl<'a> Context<'a> {
    fn new(app: &'a App, origin: &'a Origin) -> Self {
        let now_ms = clock::now_ms();
        let delay_ms = u64::try_from(app.outcome_delay.as_millis()).unwrap_or(u64::MAX);
        Self {
            origin,
            automatic: false,
            now_ms,
            base_url: &app.base_url,
            short_by: 0,
            later_ms: now_ms.saturating_add(delay_ms),
            has_endpoint: app.webhooks.has_endpoint(),
        }
    }

    fn now_s(&self) -> i64 {
        seconds(self.now_ms)
    }

    /// An event around the object as it is after the step (docs.stripe.com/api/events/types).
    fn event(&self, kind: &str, object: Value) -> Record {
        let id = ids::object("evt");
        let request_id = (!self.automatic).then_some(self.origin.request_id.as_str());
        let key = self.origin.idempotency_key.as_deref();
        let event = objects::event(&id, kind, object, self.now_s(), request_id, key);
        Record::Event(StoredEvent {
            id,
            kind: kind.to_owned(),
            created_s: self.now_s(),
            payload: event.to_string(),
            pending: self.has_endpoint,
        })
    }

    /// A line of the log about an intent.
    fn line<'b>(&'b self, fact: Fact, intent: &'b PaymentIntent) -> Line<'b> {
        Line {
            ts_ms: self.now_ms,
            kind: log::name(fact),
            payment_intent: &intent.id,
            charge: None,
            refund: None,
            dispute: None,
            payment_method: None,
            amount: if fact == Fact::Captured { intent.received } else { intent.amount },
            currency: &intent.currency,
            order_id: intent.metadata.get("order_id").map(String::as_str),
            sale_id: intent.metadata.get("sale_id").map(String::as_str),
            idempotency_key: self.origin.idempotency_key.as_deref(),
            request_id: (!self.automatic).then_some(self.origin.request_id.as_str()),
        }
    }

    /// A line of the log about money that was taken with a charge.
    fn charge_line<'b>(&'b self, fact: Fact, charge: &'b Charge, amount: i64) -> Line<'b> {
        Line {
            ts_ms: self.now_ms,
            kind: log::name(fact),
            payment_intent: &charge.payment_intent,
            charge: Some(&charge.id),
            refund: None,
            dispute: None,
            payment_method: Some(charge.method.test.name),
            amount,
            currency: &charge.currency,
            // The order's metadata is on the charge; a refund's is the caller's own.
            order_id: charge.metadata.get("order_id").map(String::as_str),
            sale_id: charge.metadata.get("sale_id").map(String::as_str),
            idempotency_key: self.origin.idempotency_key.as_deref(),
            request_id: (!self.automatic).then_some(self.origin.request_id.as_str()),
        }
    }
}

/// Executes, and saves the answer (or `instead`, a fault's) under the key. Returns what was saved.
/// A capture takes `short_by` less than it should, another fault's doing.
pub(crate) fn run(
    app: &App,
    command: Command,
    expand: &Expand,
    origin: &Origin,
    instead: Option<(u16, Bytes)>,
    short_by: i64,
) -> Answer {
    let context = Context { short_by, ..Context::new(app, origin) };
    let core = clock::lock(&app.core);
    let Done { mut answer, mut change } = step(&core, command, &context)
        .unwrap_or_else(|error| Done { answer: Err(error), change: Change::default() });
    if let Ok(answer) = &mut answer {
        expand.fill(answer, &|id| find_object(&core, &change.records, id, &app.base_url));
    }
    let answer = match (&answer, instead) {
        (_, Some((status, body))) => Answer { stored: true, status, body },
        (Ok(body), None) => Answer { stored: true, status: 200, body: to_bytes(body) },
        (Err(error), None) => {
            Answer { stored: error.stored, status: error.status, body: to_bytes(&error.body()) }
        }
    };
    if let (Some(key), true) = (&origin.idempotency_key, answer.stored) {
        let kept = core.keys.with_answer(key, &saved(&answer, origin));
        change.records.extend(kept.map(Record::Key));
    }
    match finish(app, core, change) {
        Ok(()) => answer,
        Err(error) => not_written(&error),
    }
}

/// Saves an answer under the key without executing anything: a fault's.
pub(crate) fn save(app: &App, origin: &Origin, answer: Answer) -> Answer {
    let Some(key) = &origin.idempotency_key else { return answer };
    let core = clock::lock(&app.core);
    let kept = core.keys.with_answer(key, &saved(&answer, origin));
    let records = kept.into_iter().map(Record::Key).collect();
    match finish(app, core, Change { records, log: String::new() }) {
        Ok(()) => answer,
        Err(error) => not_written(&error),
    }
}

fn saved(answer: &Answer, origin: &Origin) -> Saved {
    let (status, body) = (answer.status, answer.body.clone());
    Saved { status, body, request_id: origin.request_id.clone() }
}

/// Carries out a change, gives the books back and sends the events.
fn finish(app: &App, mut core: MutexGuard<'_, Core>, change: Change) -> io::Result<()> {
    let Change { records, log } = change;
    let mut events: Vec<(String, Bytes)> = Vec::new();
    for record in &records {
        if let Record::Event(event) = record {
            events.push((event.id.clone(), event.payload.clone().into()));
        }
    }
    if !records.is_empty() {
        core.commit(records, log)?;
    }
    drop(core);
    for (id, payload) in events {
        app.send(id, payload);
    }
    Ok(())
}

fn not_written(error: &io::Error) -> Answer {
    tracing::error!(%error, "a step could not be written down; it is not carried out");
    // Not saved under the key: nothing was executed, and a retry may succeed.
    let message = "The stand-in could not write its log or its state.";
    let error = ApiError::before_execution(500, ErrorType::Api, message);
    Answer { status: error.status, stored: error.stored, body: to_bytes(&error.body()) }
}

/// The object of that id as it is once these records are applied, if it is of a kind that can be
/// expanded.
pub(super) fn find_object(
    core: &Core,
    changed: &[Record],
    id: &str,
    base_url: &str,
) -> Option<Value> {
    for record in changed {
        if let Record::Charge(charge) = record
            && charge.id == id
        {
            return Some(objects::charge(charge));
        }
        if let Record::Intent(intent) = record
            && intent.id == id
        {
            return Some(objects::payment_intent(intent, base_url));
        }
    }
    let charge = core.ledger.charges.get(id).map(objects::charge);
    let intent = || core.ledger.intents.get(id);
    charge.or_else(|| intent().map(|intent| objects::payment_intent(intent, base_url)))
}

fn by_hand() -> Origin {
    Origin {
        request_id: ids::request(),
        idempotency_key: None,
        version: objects::API_VERSION.to_owned(),
    }
}

/// Carries out a decision from outside of the API, and returns the object it is about. An automatic
/// one is told as if no request were behind it.
fn control(
    app: &App,
    automatic: bool,
    decide: impl FnOnce(&Core, &Context<'_>) -> Result<Done, ApiError>,
) -> Result<Value, ApiError> {
    let origin = by_hand();
    let context = Context { automatic, ..Context::new(app, &origin) };
    let core = clock::lock(&app.core);
    let Done { answer, change } = decide(&core, &context)?;
    finish(app, core, change).map_err(|error| {
        tracing::error!(%error, "a step could not be written down; it is not carried out");
        ApiError::server("The stand-in could not write its log or its state.")
    })?;
    answer
}

/// Ends a buyer's authentication, as when they return from their bank.
///
/// # Errors
/// If there is no such intent, or if it does not wait for the buyer.
pub(crate) fn authenticate(app: &App, id: &str, passed: bool) -> Result<Value, ApiError> {
    control(app, false, |core, context| {
        let intent = find(core, id)?;
        let refuse = |refusal| refusal_error(refusal, "authenticate", intent, &app.base_url);
        let step =
            intent.authenticate(passed, ids::object("ch"), context.now_s()).map_err(refuse)?;
        let after = objects::payment_intent(&step.intent, &app.base_url);
        let done = taken(step, None, None, context)?;
        Ok(Done { answer: Ok(after), ..done })
    })
}

/// Ends a refund as the buyer's bank does.
///
/// # Errors
/// If there is no such refund, or it has that status already, or has failed.
pub(crate) fn settle_refund(app: &App, id: &str, status: RefundStatus) -> Result<Value, ApiError> {
    control(app, true, |core, context| {
        let refund = core.ledger.refunds.get(id);
        let refund = refund.ok_or_else(|| ApiError::missing(404, "refund", id, "id"))?;
        match (refund.status, status) {
            (RefundStatus::Pending, RefundStatus::Succeeded | RefundStatus::Failed)
            | (RefundStatus::Succeeded, RefundStatus::Failed) => {}
            (RefundStatus::Pending | RefundStatus::Succeeded | RefundStatus::Failed, _) => {
                let message = format!("Refund {id} is {} already.", refund.status.as_str());
                return Err(ApiError::new(400, ErrorType::InvalidRequest, message));
            }
        }
        refund_settled(core, refund, status, context)
    })
}

/// Ends the dispute of a charge.
///
/// # Errors
/// If the charge has no open dispute.
pub(crate) fn close_dispute(app: &App, charge: &str, won: bool) -> Result<Value, ApiError> {
    control(app, true, |core, context| {
        let is_open = |dispute: &&Dispute| {
            dispute.charge == charge && dispute.status == DisputeStatus::NeedsResponse
        };
        let dispute = core.ledger.disputes.iter().find(is_open);
        let dispute = dispute.ok_or_else(|| ApiError::missing(404, "dispute", charge, "charge"))?;
        let charge = charge_of(core, &dispute.charge)?;
        let (status, fact) = match won {
            true => (DisputeStatus::Won, Fact::DisputeWon),
            false => (DisputeStatus::Lost, Fact::DisputeLost),
        };
        let dispute = Dispute { status, ..dispute.clone() };
        let line = Line {
            dispute: Some(&dispute.id),
            ..context.charge_line(fact, &charge, dispute.amount)
        };
        let log = log::text(&[line]).map_err(|error| unwritable(&error))?;
        let object = objects::dispute(&dispute);
        let records = vec![
            Record::Charge(Box::new(Charge { dispute: Some(status), ..charge })),
            context.event("charge.dispute.closed", object.clone()),
            Record::Dispute(dispute),
        ];
        Ok(Done { answer: Ok(object), change: Change { records, log } })
    })
}

/// Carries out everything that is due by now.
pub(crate) fn happen(app: &App) {
    let origin = by_hand();
    loop {
        let context = Context { automatic: true, ..Context::new(app, &origin) };
        let core = clock::lock(&app.core);
        let done = match core.ledger.due(context.now_ms) {
            None => return,
            Some(Due::Refund(id)) => due_refund(&core, &id, &context),
            Some(Due::Dispute(id)) => {
                charge_of(&core, &id).and_then(|charge| disputed(charge, &context))
            }
        };
        let change = match done {
            Ok(done) => done.change,
            Err(error) => {
                tracing::error!(error = %error.body(), "what is due could not be carried out");
                return;
            }
        };
        if let Err(error) = finish(app, core, change) {
            tracing::error!(%error, "what is due could not be written down; it is tried again");
            return;
        }
    }
}

fn due_refund(core: &Core, id: &str, context: &Context<'_>) -> Result<Done, ApiError> {
    let refund = core.ledger.refunds.get(id);
    let refund = refund.ok_or_else(|| ApiError::missing(404, "refund", id, "id"))?;
    let status = refund.settles.map_or(refund.status, |settles| settles.status);
    refund_settled(core, refund, status, context)
}

/// A refund has taken another status (docs.stripe.com/refunds#failed-refunds: what failed comes
/// back to the account, and so is not refunded any more).
fn refund_settled(
    core: &Core,
    refund: &Refund,
    status: RefundStatus,
    context: &Context<'_>,
) -> Result<Done, ApiError> {
    let refund = Refund { status, settles: None, ..refund.clone() };
    let object = objects::refund(&refund);
    let mut change = Change::default();
    change.records.push(context.event("refund.updated", object.clone()));
    if status == RefundStatus::Failed {
        let mut charge = charge_of(core, &refund.charge)?;
        charge.amount_refunded -= refund.amount;
        let line = Line {
            refund: Some(&refund.id),
            ..context.charge_line(Fact::RefundFailed, &charge, refund.amount)
        };
        change.log = log::text(&[line]).map_err(|error| unwritable(&error))?;
        change.records.push(context.event("refund.failed", object.clone()));
        change.records.push(Record::Charge(Box::new(charge)));
    }
    change.records.push(Record::Refund(refund));
    Ok(Done { answer: Ok(object), change })
}

/// The buyer of a charge disputes what is left of it. A payment that is refunded as a whole cannot
/// be disputed (docs.stripe.com/refunds).
fn disputed(charge: Charge, context: &Context<'_>) -> Result<Done, ApiError> {
    let charge = Charge { dispute_due_ms: None, ..charge };
    let amount = charge.amount - charge.amount_refunded;
    if amount == 0 {
        let answer = Ok(objects::charge(&charge));
        let records = vec![Record::Charge(Box::new(charge))];
        return Ok(Done { answer, change: Change { records, log: String::new() } });
    }
    let dispute = Dispute {
        id: ids::object("du"),
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        amount,
        currency: charge.currency.clone(),
        status: DisputeStatus::NeedsResponse,
        created_s: context.now_s(),
    };
    let line =
        Line { dispute: Some(&dispute.id), ..context.charge_line(Fact::Disputed, &charge, amount) };
    let log = log::text(&[line]).map_err(|error| unwritable(&error))?;
    let object = objects::dispute(&dispute);
    let records = vec![
        Record::Charge(Box::new(Charge { dispute: Some(dispute.status), ..charge })),
        context.event("charge.dispute.created", object.clone()),
        Record::Dispute(dispute),
    ];
    Ok(Done { answer: Ok(object), change: Change { records, log } })
}

fn unwritable(error: &io::Error) -> ApiError {
    tracing::error!(%error, "a line of the log cannot be written as JSON");
    ApiError::before_execution(500, ErrorType::Api, "The stand-in could not write its log.")
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

fn find<'a>(core: &'a Core, id: &str) -> Result<&'a PaymentIntent, ApiError> {
    let intent = core.ledger.intents.get(id);
    intent.ok_or_else(|| ApiError::missing(404, "payment_intent", id, "intent"))
}

fn charge_of(core: &Core, id: &str) -> Result<Charge, ApiError> {
    let charge = core.ledger.charges.get(id).cloned();
    charge.ok_or_else(|| ApiError::missing(404, "charge", id, "charge"))
}

fn step(core: &Core, command: Command, context: &Context<'_>) -> Result<Done, ApiError> {
    if !core.ledger.has_room() {
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
                created_s: context.now_s(),
                canceled_at_s: None,
            };
            // docs.stripe.com/api/payment_intents/create, confirm: "as if you create and confirm
            // in the same request"; the intent exists even when its payment is declined.
            let (step, token) = if confirm {
                // Already resolved, and attached.
                let how = ConfirmParams { method: None, ..how };
                confirm_step(core, &intent, &how, context)?
            } else {
                let intent = intent.clone();
                let facts = Vec::new();
                (Step { intent, charge: None, facts, event: None, declined: false }, None)
            };
            taken(step, Some(&intent), token, context)
        }
        Command::Update { id, amount, currency, description, metadata, method } => {
            let intent = find(core, &id)?;
            let priced = amount.is_some() || currency.is_some();
            let metadata = metadata.map(|changes| changes.over(&intent.metadata)).transpose()?;
            let method = method.map(|method| resolve(&method, attached(intent))).transpose()?;
            let update = Update { amount, currency, description, metadata, method };
            let refuse = |refusal| refusal_error(refusal, "update", intent, context.base_url);
            let intent = intent.update(update).map_err(refuse)?;
            if priced {
                currencies::check_charge(intent.amount, &intent.currency)?;
            }
            let answer = Ok(objects::payment_intent(&intent, context.base_url));
            let records = vec![Record::Intent(Box::new(intent))];
            Ok(Done { answer, change: Change { records, log: String::new() } })
        }
        Command::Confirm { id, how } => {
            let (step, token) = confirm_step(core, find(core, &id)?, &how, context)?;
            taken(step, None, token, context)
        }
        Command::Cancel { id, reason } => {
            let intent = find(core, &id)?;
            let refuse = |refusal| refusal_error(refusal, "cancel", intent, context.base_url);
            let step = intent.cancel(reason, context.now_s()).map_err(refuse)?;
            taken(step, None, None, context)
        }
        Command::Refund { charge, payment_intent, amount, reason, metadata } => {
            let charge = charged(core, charge.as_deref(), payment_intent.as_deref())?;
            refund(charge, amount, reason, metadata, context)
        }
        Command::CreateToken { test, return_url, setup_future_usage } => {
            let token = ConfirmationToken {
                id: ids::object("ctoken"),
                test,
                return_url,
                setup_future_usage,
                payment_intent: None,
                created_s: context.now_s(),
                expires_s: context.now_s() + TOKEN_LASTS_S,
            };
            let answer = Ok(objects::confirmation_token(&token));
            let records = vec![Record::Token(token)];
            Ok(Done { answer, change: Change { records, log: String::new() } })
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

/// The method that is attached to an intent, or was until it failed.
fn attached(intent: &PaymentIntent) -> Option<&Method> {
    let failed = intent.last_error.as_ref().map(|error| &error.method);
    intent.method.as_ref().or(failed)
}

/// The confirmation token of that id, if it can still be used.
fn usable<'a>(
    core: &'a Core,
    id: &str,
    context: &Context<'_>,
) -> Result<&'a ConfirmationToken, ApiError> {
    let token = core.ledger.tokens.get(id);
    let token = token
        .ok_or_else(|| ApiError::missing(400, "confirmationtoken", id, "confirmation_token"))?;
    let refuse = |message: String| {
        ApiError::new(400, ErrorType::InvalidRequest, message).field("param", "confirmation_token")
    };
    if token.payment_intent.is_some() {
        let message =
            "The confirmation token has already been used to confirm a previous PaymentIntent.";
        return Err(refuse(message.into()));
    }
    if token.expires_s <= context.now_s() {
        return Err(refuse(format!("ConfirmationToken {id} has expired.")));
    }
    Ok(token)
}

/// Confirms, and returns the confirmation token as it is then.
fn confirm_step(
    core: &Core,
    intent: &PaymentIntent,
    how: &ConfirmParams,
    context: &Context<'_>,
) -> Result<(Step, Option<ConfirmationToken>), ApiError> {
    let refuse = |refusal| refusal_error(refusal, "confirm", intent, context.base_url);
    if !intent.is_confirmable() {
        return Err(refuse(Refusal::UnexpectedState));
    }
    let token = how.token.as_deref().map(|id| usable(core, id, context)).transpose()?;
    // docs.stripe.com/api/payment_intents/confirm, confirmation_token: of what is in the token and
    // in the request, "the values in this request will take precedence".
    let method = match (&how.method, token) {
        (Some(method), _) => Some(resolve(method, attached(intent))?),
        (None, Some(token)) => Some(Method { id: ids::object("pm"), test: token.test }),
        (None, None) => None,
    };
    let return_url = how.return_url.clone();
    let confirmation = Confirmation {
        method,
        return_url: return_url.or_else(|| token.and_then(|token| token.return_url.clone())),
        no_action_possible: how.no_action_possible,
        charge_id: ids::object("ch"),
        now_s: context.now_s(),
        short_by: context.short_by,
        dispute_due_ms: context.later_ms,
    };
    let step = intent.confirm(confirmation).map_err(refuse)?;
    let payment_intent = Some(intent.id.clone());
    let token = token.map(|token| ConfirmationToken { payment_intent, ..token.clone() });
    Ok((step, token))
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

/// The charge that a fact of its step is about: that an intent exists is about none.
fn of(fact: Fact, charge: Option<&Charge>) -> Option<&Charge> {
    match fact {
        Fact::Created => None,
        Fact::Confirmed
        | Fact::RequiresAction
        | Fact::Captured
        | Fact::Declined
        | Fact::Canceled
        | Fact::Refunded
        | Fact::RefundFailed
        | Fact::Disputed
        | Fact::DisputeWon
        | Fact::DisputeLost => charge,
    }
}

/// What a step on an intent changes. An intent that it creates is given as it was before the rest
/// of the step, a confirmation token as it is after it.
fn taken(
    step: Step,
    created: Option<&PaymentIntent>,
    token: Option<ConfirmationToken>,
    context: &Context<'_>,
) -> Result<Done, ApiError> {
    let Step { intent, charge, facts, event, declined } = step;
    let lines: Vec<Line<'_>> = created
        .map(|_| Fact::Created)
        .iter()
        .chain(&facts)
        .map(|fact| {
            let charge = of(*fact, charge.as_ref());
            Line {
                charge: charge.map(|charge| charge.id.as_str()),
                payment_method: charge.map(|charge| charge.method.test.name),
                ..context.line(*fact, &intent)
            }
        })
        .collect();
    let log = log::text(&lines).map_err(|error| unwritable(&error))?;

    let object = objects::payment_intent(&intent, context.base_url);
    // A decline is answered 402 (docs.stripe.com/api/errors) with the intent as it is now.
    let answer = match (declined, &intent.last_error) {
        (true, Some(error)) => {
            let failure = error.failure;
            let mut answer = ApiError::new(402, ErrorType::Card, failure.message())
                .code(failure.code())
                .field("payment_intent", object.clone())
                .field("payment_method", objects::payment_method(&error.method));
            if let Some(decline_code) = failure.decline_code() {
                answer = answer.field("decline_code", decline_code);
            }
            if let Some(charge) = &error.charge {
                answer = answer.field("charge", charge.as_str());
            }
            Err(answer)
        }
        (true | false, _) => Ok(object.clone()),
    };
    let mut records: Vec<Record> = token.map(Record::Token).into_iter().collect();
    // docs.stripe.com/api/events/types.
    if let Some(created) = created {
        let object = objects::payment_intent(created, context.base_url);
        records.push(context.event("payment_intent.created", object));
    }
    if let Some(charge) = charge {
        let kind = match charge.status {
            ChargeStatus::Succeeded => Some("charge.succeeded"),
            ChargeStatus::Failed => Some("charge.failed"),
            ChargeStatus::Pending => None,
        };
        records.extend(kind.map(|kind| context.event(kind, objects::charge(&charge))));
        records.push(Record::Charge(Box::new(charge)));
    }
    if let Some(event) = event {
        let kind = match event {
            Event::Succeeded => "payment_intent.succeeded",
            Event::PaymentFailed => "payment_intent.payment_failed",
            Event::RequiresAction => "payment_intent.requires_action",
            Event::Processing => "payment_intent.processing",
            Event::Canceled => "payment_intent.canceled",
        };
        records.push(context.event(kind, object));
    }
    records.push(Record::Intent(Box::new(intent)));
    Ok(Done { answer, change: Change { records, log } })
}

/// The charge a refund is for: named, or the intent's successful one.
fn charged(core: &Core, charge: Option<&str>, intent: Option<&str>) -> Result<Charge, ApiError> {
    if let Some(id) = charge {
        return charge_of(core, id);
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
    mut charge: Charge,
    amount: Option<i64>,
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
    context: &Context<'_>,
) -> Result<Done, ApiError> {
    if let Some(amount) = amount {
        currencies::check_step(amount, &charge.currency)?;
    }
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
        // docs.stripe.com/error-codes#charge-disputed.
        RefundRefusal::Disputed => {
            let message =
                format!("Charge {} has been charged back; cannot issue a refund.", charge.id);
            ApiError::new(400, ErrorType::InvalidRequest, message).code("charge_disputed")
        }
    })?;
    // docs.stripe.com/testing#refunds.
    let settles = |status| Some(Settlement { due_ms: context.later_ms, status });
    let (status, settles) = match charge.method.test.later {
        Later::RefundsPend => (RefundStatus::Pending, settles(RefundStatus::Succeeded)),
        Later::RefundsFail => (RefundStatus::Succeeded, settles(RefundStatus::Failed)),
        Later::Nothing | Later::Dispute => (RefundStatus::Succeeded, None),
    };
    let refund = Refund {
        id: ids::object("re"),
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        amount,
        currency: charge.currency.clone(),
        reason,
        metadata,
        created_s: context.now_s(),
        status,
        settles,
    };
    let line =
        Line { refund: Some(&refund.id), ..context.charge_line(Fact::Refunded, &charge, amount) };
    let log = log::text(&[line]).map_err(|error| unwritable(&error))?;
    let object = objects::refund(&refund);
    let records = vec![
        context.event("refund.created", object.clone()),
        context.event("charge.refunded", objects::charge(&charge)),
        Record::Charge(Box::new(charge)),
        Record::Refund(refund),
    ];
    Ok(Done { answer: Ok(object), change: Change { records, log } })
}
