//! The GET endpoints.

use serde_json::{Value, json};

use super::expand::Expand;
use super::{App, Endpoint, commands};
use crate::clock;
use crate::errors::{ApiError, ErrorType};
use crate::form::Form;
use crate::intents::PaymentIntent;
use crate::ledger::{Created, Page, Shelf, Shelved, StoredEvent};
use crate::objects;

/// docs.stripe.com/api/pagination: from 1 to 100, 10 unless given.
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

/// Parameters of docs.stripe.com/api/payment_intents/list, /refunds/list, /charges/list and
/// /disputes/list.
const LIST: &[&str] = &[
    "charge",
    "created",
    "customer",
    "customer_account",
    "ending_before",
    "expand",
    "limit",
    "payment_intent",
    "starting_after",
    "transfer_group",
];
/// Parameters of docs.stripe.com/api/events/list.
const LIST_EVENTS: &[&str] = &[
    "created",
    "delivery_success",
    "ending_before",
    "expand",
    "limit",
    "starting_after",
    "type",
    "types",
];
/// "An array of up to 20 strings".
const MAX_TYPES: usize = 20;
/// How long until a search finds what was created, in seconds: "in less than a minute".
const SEARCH_LAG_S: i64 = 60;
const RETRIEVE: &[&str] = &["client_secret", "expand"];

pub(crate) fn run(app: &App, endpoint: Endpoint, id: &str, form: &Form) -> Result<Value, ApiError> {
    let expand = Expand::parse(form, endpoint)?;
    let core = clock::lock(&app.core);
    let ledger = &core.ledger;
    let intent = |item: &_| objects::payment_intent(item, &app.base_url);
    let mut answer = match endpoint {
        Endpoint::GetIntent => {
            known(form, RETRIEVE)?;
            let found = ledger.intents.get(id).map(intent);
            found.ok_or_else(|| ApiError::missing(404, "payment_intent", id, "intent"))
        }
        Endpoint::GetRefund => one(&ledger.refunds, form, "refund", id, objects::refund),
        Endpoint::GetCharge => one(&ledger.charges, form, "charge", id, objects::charge),
        Endpoint::GetDispute => one(&ledger.disputes, form, "dispute", id, objects::dispute),
        Endpoint::GetEvent => one(&ledger.events, form, "event", id, event),
        Endpoint::GetToken => {
            let token = objects::confirmation_token;
            one(&ledger.tokens, form, "confirmationtoken", id, token)
        }
        Endpoint::GetAccount => {
            known(form, &["expand"])?;
            Ok(objects::account(&app.account))
        }
        Endpoint::ListIntents => list(&ledger.intents, form, None, "/v1/payment_intents", intent),
        Endpoint::SearchIntents => search(&ledger.intents, form, intent),
        Endpoint::ListCharges => {
            let of = form.get("payment_intent");
            list(&ledger.charges, form, of, "/v1/charges", objects::charge)
        }
        Endpoint::ListRefunds | Endpoint::ListDisputes => {
            // docs.stripe.com/api/refunds/list, charge: the refunds of that charge, which are
            // those of its intent: an intent has at most one successful charge.
            let by_charge = form.get("charge").and_then(|id| ledger.charges.get(id));
            let of = form.get("payment_intent").or(by_charge.map(|c| c.payment_intent.as_str()));
            let of = of.or_else(|| form.get("charge"));
            if endpoint == Endpoint::ListRefunds {
                list(&ledger.refunds, form, of, "/v1/refunds", objects::refund)
            } else {
                list(&ledger.disputes, form, of, "/v1/disputes", objects::dispute)
            }
        }
        Endpoint::ListEvents => events(&ledger.events, form),
        Endpoint::CreateIntent
        | Endpoint::UpdateIntent
        | Endpoint::ConfirmIntent
        | Endpoint::CancelIntent
        | Endpoint::CreateRefund
        | Endpoint::CreateToken => Err(ApiError::server("A write was read.")),
    }?;
    expand.fill(&mut answer, &|id| commands::find_object(&core, &[], id, &app.base_url));
    Ok(answer)
}

fn one<T: Shelved>(
    shelf: &Shelf<T>,
    form: &Form,
    what: &str,
    id: &str,
    render: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    known(form, RETRIEVE)?;
    shelf.get(id).map(render).ok_or_else(|| ApiError::missing(404, what, id, "id"))
}

/// An event, with the endpoints that have yet to accept it.
fn event(event: &StoredEvent) -> Value {
    let mut value: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    value["pending_webhooks"] = json!(u8::from(event.pending));
    value
}

/// docs.stripe.com/api/events/list: by `type`, in which `*` stands for the rest, or by `types[]`.
fn events(shelf: &Shelf<StoredEvent>, form: &Form) -> Result<Value, ApiError> {
    known(form, LIST_EVENTS)?;
    let mut kinds = form.list("types");
    if kinds.len() > MAX_TYPES {
        let message = format!("types can have up to {MAX_TYPES} values.");
        return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
            .field("param", "types"));
    }
    kinds.extend(form.get("type").map(str::to_owned));
    let delivered = match form.get("delivery_success") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => {
            let message = format!("Invalid boolean: {other}");
            return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                .field("param", "delivery_success"));
        }
    };
    let keep = |event: &StoredEvent| {
        let named = |kind: &String| match kind.strip_suffix('*') {
            Some(head) => event.kind.starts_with(head),
            None => event.kind == *kind,
        };
        (kinds.is_empty() || kinds.iter().any(named))
            && delivered.is_none_or(|delivered| delivered != event.pending)
    };
    page(shelf, form, None, "/v1/events", event, keep)
}

fn known(form: &Form, names: &[&str]) -> Result<(), ApiError> {
    let Some(unknown) = form.first_unknown(names) else { return Ok(()) };
    let message = format!("Received unknown parameter: {unknown}");
    Err(ApiError::invalid(message, "parameter_unknown", unknown))
}

fn list<T: Shelved>(
    shelf: &Shelf<T>,
    form: &Form,
    intent: Option<&str>,
    url: &str,
    render: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    known(form, LIST)?;
    page(shelf, form, intent, url, render, |_| true)
}

fn page<T: Shelved>(
    shelf: &Shelf<T>,
    form: &Form,
    intent: Option<&str>,
    url: &str,
    render: impl Fn(&T) -> Value,
    keep: impl Fn(&T) -> bool,
) -> Result<Value, ApiError> {
    let page = Page {
        limit: limit(form)?,
        starting_after: form.get("starting_after"),
        ending_before: form.get("ending_before"),
        created: created(form)?,
        intent,
    };
    let (items, has_more) = shelf
        .page(&page, keep)
        .map_err(|cursor| ApiError::missing(400, "object", cursor, "starting_after"))?;
    let data: Vec<Value> = items.into_iter().map(render).collect();
    Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": url }))
}

/// docs.stripe.com/api/payment_intents/search, of which one clause is imitated: an exact match of a
/// metadata value, `metadata['key']:'value'` (docs.stripe.com/search#search-query-language). What
/// was created within the last minute is not found yet (docs.stripe.com/search#data-freshness).
fn search(
    shelf: &Shelf<PaymentIntent>,
    form: &Form,
    render: impl Fn(&PaymentIntent) -> Value,
) -> Result<Value, ApiError> {
    known(form, &["expand", "limit", "page", "query"])?;
    let clause = form.get("query").and_then(|query| {
        let (key, value) = query.strip_prefix("metadata['")?.split_once("']:'")?;
        Some((key, value.strip_suffix('\'')?))
    });
    let Some((key, value)) = clause else {
        let message = "The stand-in searches for metadata['key']:'value' only.";
        return Err(ApiError::invalid(message, "parameter_invalid_string", "query"));
    };
    let indexed_s = i64::try_from(clock::now_ms() / 1_000).unwrap_or(i64::MAX) - SEARCH_LAG_S;
    let data: Vec<Value> = shelf
        .iter()
        .rev()
        .filter(|intent| intent.created_s <= indexed_s)
        .filter(|intent| intent.metadata.get(key).is_some_and(|found| found == value))
        .take(limit(form)?)
        .map(render)
        .collect();
    let url = "/v1/payment_intents/search";
    Ok(json!({ "object": "search_result", "data": data, "has_more": false, "url": url }))
}

fn limit(form: &Form) -> Result<usize, ApiError> {
    let Some(text) = form.get("limit") else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("Invalid limit: {text}. It must be between 1 and {MAX_LIMIT}.");
        ApiError::invalid(message, "parameter_invalid_integer", "limit")
    })
}

/// `created[gte|gt|lte|lt]`, or `created` itself, in seconds.
fn created(form: &Form) -> Result<Created, ApiError> {
    let mut created = Created { from_s: i64::MIN, to_s: i64::MAX };
    let read = |name: &str| {
        let Some(text) = form.get(name) else { return Ok(None) };
        let invalid = |_| {
            let message = format!("Invalid integer: {text}");
            ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                .code("parameter_invalid_integer")
                .field("param", name)
        };
        text.parse::<i64>().map(Some).map_err(invalid)
    };
    if let Some(at) = read("created")? {
        created = Created { from_s: at, to_s: at };
    }
    if let Some(at) = read("created[gte]")? {
        created.from_s = at;
    }
    if let Some(at) = read("created[gt]")? {
        created.from_s = at.saturating_add(1);
    }
    if let Some(at) = read("created[lte]")? {
        created.to_s = at;
    }
    if let Some(at) = read("created[lt]")? {
        created.to_s = at.saturating_sub(1);
    }
    Ok(created)
}
