//! `/_control`: faults, settings and state while the stand-in runs. Not part of Stripe's API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pipeline::{control_answer, control_body};
use super::{App, commands};
use crate::clock;
use crate::errors::ApiError;
use crate::faults::Rule;
use crate::intents::{ChargeStatus, RefundStatus};
use crate::ledger::Ledger;
use crate::state::Record;
use crate::webhooks::Settings;

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    let body = control_body(request).await?;
    serde_json::from_value(body).map_err(|error| refuse(&error.to_string()))
}

fn refuse(message: &str) -> Response {
    control_answer(400, &json!({ "error": message }))
}

/// `GET /_control/faults`: the active faults, with the remainder of their counts.
pub(crate) async fn faults(State(app): State<Arc<App>>) -> Response {
    let faults = clock::lock(&app.faults);
    control_answer(200, &json!({ "faults": faults.rules(), "struck": faults.struck() }))
}

/// `POST /_control/faults`: activates one.
pub(crate) async fn add_fault(State(app): State<Arc<App>>, request: Request) -> Response {
    let rule: Rule = match read(request).await {
        Ok(rule) => rule,
        Err(answer) => return answer,
    };
    let added = clock::lock(&app.faults).add(rule);
    match added {
        Ok(()) => faults(State(app)).await,
        Err(message) => refuse(message),
    }
}

/// `DELETE /_control/faults`: removes all of them.
pub(crate) async fn clear_faults(State(app): State<Arc<App>>) -> Response {
    clock::lock(&app.faults).clear();
    faults(State(app)).await
}

/// The longest step of the clock: 400 days, in milliseconds.
const MAX_ADVANCE_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

/// `POST /_control/clock`: sets the stand-in's clock ahead, so that keys are forgotten, searches
/// catch up and what is due by then happens, before the answer.
pub(crate) async fn advance_clock(State(app): State<Arc<App>>, request: Request) -> Response {
    match read(request).await {
        Ok(Advance { advance_ms }) if advance_ms <= MAX_ADVANCE_MS => {
            let ahead_ms = clock::advance(advance_ms);
            let kept = {
                let mut core = clock::lock(&app.core);
                core.commit(vec![Record::AheadMs(ahead_ms)], String::new())
            };
            app.happen();
            match kept {
                Ok(()) => control_answer(200, &json!({ "ahead_ms": ahead_ms })),
                Err(error) => refuse(&format!("the clock could not be written down: {error}")),
            }
        }
        Ok(_) => refuse("advance_ms must be at most 400 days"),
        Err(answer) => answer,
    }
}

/// `GET /_control/webhooks`: the settings in force.
pub(crate) async fn webhooks(State(app): State<Arc<App>>) -> Response {
    control_answer(200, &json!(app.webhooks.settings()))
}

/// `POST /_control/webhooks`: replaces the settings; those not given are reset to their defaults.
pub(crate) async fn set_webhooks(State(app): State<Arc<App>>, request: Request) -> Response {
    let settings: Settings = match read(request).await {
        Ok(settings) => settings,
        Err(answer) => return answer,
    };
    if let Err(message) = settings.check() {
        return refuse(message);
    }
    app.webhooks.set(settings);
    webhooks(State(app)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Passed {
    #[default]
    Success,
    Fail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Authentication {
    outcome: Passed,
}

/// `/_control/authenticate/:id`: the buyer returns from their bank, having passed
/// (`{"outcome": "success"}`, the default) or failed (`fail`). A GET passes: it is the page that a
/// `redirect_to_url` leads to.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Authentication { outcome } = match read(request).await {
        Ok(authentication) => authentication,
        Err(answer) => return answer,
    };
    controlled(commands::authenticate(&app, &id, matches!(outcome, Passed::Success)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DisputeEnd {
    Won,
    Lost,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DisputeOutcome {
    outcome: DisputeEnd,
}

/// `POST /_control/dispute/:charge`: ends the dispute of a charge, `{"outcome": "won"}` or `lost`.
pub(crate) async fn close_dispute(
    State(app): State<Arc<App>>,
    Path(charge): Path<String>,
    request: Request,
) -> Response {
    match read(request).await {
        Ok(DisputeOutcome { outcome }) => {
            let won = matches!(outcome, DisputeEnd::Won);
            controlled(commands::close_dispute(&app, &charge, won))
        }
        Err(answer) => answer,
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundEnd {
    Succeeded,
    Failed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundOutcome {
    outcome: RefundEnd,
}

/// `POST /_control/refund/:id`: a refund ends, `{"outcome": "succeeded"}` or `failed`.
pub(crate) async fn settle_refund(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match read(request).await {
        Ok(RefundOutcome { outcome }) => {
            let status = match outcome {
                RefundEnd::Succeeded => RefundStatus::Succeeded,
                RefundEnd::Failed => RefundStatus::Failed,
            };
            controlled(commands::settle_refund(&app, &id, status))
        }
        Err(answer) => answer,
    }
}

fn controlled(result: Result<Value, ApiError>) -> Response {
    match result {
        Ok(object) => control_answer(200, &object),
        Err(error) => control_answer(error.status, &error.body()),
    }
}

/// Sums over the books, by currency, in the smallest unit.
#[derive(Debug, Default, Serialize)]
struct Money {
    captures: u64,
    captured_minor: BTreeMap<String, i64>,
    /// Charges that were declined.
    declines: u64,
    refunds: u64,
    /// Without the refunds that failed.
    refunded_minor: BTreeMap<String, i64>,
    refunds_failed: u64,
}

impl Money {
    fn of(ledger: &Ledger) -> Self {
        let mut money = Self::default();
        for charge in ledger.charges.iter() {
            match charge.status {
                ChargeStatus::Succeeded => {
                    money.captures += 1;
                    let sum = money.captured_minor.entry(charge.currency.clone()).or_default();
                    *sum += charge.amount;
                }
                ChargeStatus::Failed => money.declines += 1,
                ChargeStatus::Pending => {}
            }
        }
        for refund in ledger.refunds.iter() {
            money.refunds += 1;
            match refund.status {
                RefundStatus::Pending | RefundStatus::Succeeded => {
                    let sum = money.refunded_minor.entry(refund.currency.clone()).or_default();
                    *sum += refund.amount;
                }
                RefundStatus::Failed => money.refunds_failed += 1,
            }
        }
        money
    }
}

/// `GET /_control/state`: sums and counts over the books, and of what was asked since the start.
pub(crate) async fn state(State(app): State<Arc<App>>) -> Response {
    let (by_status, charges, refunds, disputes, money) = {
        let core = clock::lock(&app.core);
        let mut by_status: BTreeMap<&str, u64> = BTreeMap::new();
        for intent in core.ledger.intents.iter() {
            *by_status.entry(intent.status.as_str()).or_default() += 1;
        }
        let Ledger { charges, refunds, disputes, .. } = &core.ledger;
        (by_status, charges.len(), refunds.len(), disputes.len(), Money::of(&core.ledger))
    };
    let traffic = json!(*clock::lock(&app.traffic));
    let faults = {
        let faults = clock::lock(&app.faults);
        json!({ "on": faults.rules(), "struck": faults.struck() })
    };
    let state = json!({
        "payment_intents": { "total": by_status.values().sum::<u64>(), "by_status": by_status },
        "charges": charges,
        "refunds": refunds,
        "disputes": disputes,
        "money": money,
        "traffic": traffic,
        "faults": faults,
        "webhooks": app.webhooks.counts(),
    });
    control_answer(200, &state)
}
