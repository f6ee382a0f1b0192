//! The HTTP interface: `/v1` as Stripe's, `/_control` for the tests.

mod commands;
mod control;
mod params;
mod pipeline;
mod queries;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};

use crate::Config;
use crate::clock;
use crate::faults::Faults;
use crate::idempotency::Keys;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::ratelimit::RateLimiter;
use crate::webhooks::Webhooks;

/// The operations, each an endpoint of its own to the rate limiter (docs.stripe.com/rate-limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    CreateIntent,
    ListIntents,
    SearchIntents,
    GetIntent,
    ConfirmIntent,
    CancelIntent,
    CreateRefund,
    ListRefunds,
    GetRefund,
    ListCharges,
}

impl Endpoint {
    /// The name faults and counts go by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateIntent => "POST /v1/payment_intents",
            Self::ListIntents => "GET /v1/payment_intents",
            Self::SearchIntents => "GET /v1/payment_intents/search",
            Self::GetIntent => "GET /v1/payment_intents/:id",
            Self::ConfirmIntent => "POST /v1/payment_intents/:id/confirm",
            Self::CancelIntent => "POST /v1/payment_intents/:id/cancel",
            Self::CreateRefund => "POST /v1/refunds",
            Self::ListRefunds => "GET /v1/refunds",
            Self::GetRefund => "GET /v1/refunds/:id",
            Self::ListCharges => "GET /v1/charges",
        }
    }
}

/// What must change together, under one lock: the books, the keys and the log.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys,
    pub(crate) log: Log,
    pub(crate) money: Money,
}

/// Sums for the state page, by currency, in the smallest unit.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Money {
    pub(crate) captures: u64,
    pub(crate) captured_minor: BTreeMap<String, i64>,
    pub(crate) declines: u64,
    pub(crate) refunds: u64,
    pub(crate) refunded_minor: BTreeMap<String, i64>,
}

/// How requests were answered, for the state page.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Traffic {
    pub(crate) requests: BTreeMap<&'static str, u64>,
    pub(crate) rate_limited: u64,
    pub(crate) replayed: u64,
    pub(crate) key_in_use: u64,
}

#[derive(Debug)]
pub struct App {
    pub(crate) core: Mutex<Core>,
    pub(crate) limiter: Mutex<RateLimiter>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) traffic: Mutex<Traffic>,
    pub(crate) webhooks: Webhooks,
    pub(crate) confirm_latency: Duration,
    pub(crate) latency: Duration,
    /// The URL of this stand-in, where buyers are sent to authenticate.
    pub(crate) base_url: String,
}

impl App {
    /// A new application, which writes to this open log.
    #[must_use]
    pub fn new(
        config: &Config,
        log: Log,
        webhooks: Webhooks,
        faults: Faults,
        base_url: String,
    ) -> Self {
        let (per_endpoint, total) = (config.rate_per_endpoint, config.rate_total);
        let limiter = RateLimiter::new(per_endpoint, total, clock::now_ms());
        Self {
            core: Mutex::new(Core {
                ledger: Ledger::default(),
                keys: Keys::default(),
                log,
                money: Money::default(),
            }),
            limiter: Mutex::new(limiter),
            faults: Mutex::new(faults),
            traffic: Mutex::new(Traffic::default()),
            webhooks,
            confirm_latency: config.confirm_latency,
            latency: config.latency,
            base_url,
        }
    }
}

type Shared = State<Arc<App>>;

async fn collection(
    State(app): Shared,
    request: Request,
    read: Endpoint,
    write: Endpoint,
) -> Response {
    let endpoint = if request.method() == http::Method::POST { write } else { read };
    pipeline::handle(app, endpoint, String::new(), request).await
}

pub fn router(app: Arc<App>) -> Router {
    let intents = |app: Shared, request: Request| {
        collection(app, request, Endpoint::ListIntents, Endpoint::CreateIntent)
    };
    let refunds = |app: Shared, request: Request| {
        collection(app, request, Endpoint::ListRefunds, Endpoint::CreateRefund)
    };
    let charges = |State(app): Shared, request: Request| {
        pipeline::handle(app, Endpoint::ListCharges, String::new(), request)
    };
    let search = |State(app): Shared, request: Request| {
        pipeline::handle(app, Endpoint::SearchIntents, String::new(), request)
    };
    let one = |endpoint: Endpoint| {
        move |State(app): Shared, Path(id): Path<String>, request: Request| {
            pipeline::handle(app, endpoint, id, request)
        }
    };
    let authenticate = get(control::authenticate).post(control::authenticate);
    let faults = get(control::faults).post(control::add_fault).delete(control::clear_faults);
    Router::new()
        .route("/v1/payment_intents", get(intents).post(intents))
        .route("/v1/payment_intents/search", get(search))
        .route("/v1/payment_intents/{id}", get(one(Endpoint::GetIntent)))
        .route("/v1/payment_intents/{id}/confirm", post(one(Endpoint::ConfirmIntent)))
        .route("/v1/payment_intents/{id}/cancel", post(one(Endpoint::CancelIntent)))
        .route("/v1/refunds", get(refunds).post(refunds))
        .route("/v1/refunds/{id}", get(one(Endpoint::GetRefund)))
        .route("/v1/charges", get(charges))
        .route("/_control/faults", faults)
        .route("/_control/clock", post(control::advance_clock))
        .route("/_control/state", get(control::state))
        .route("/_control/webhooks", get(control::webhooks).post(control::set_webhooks))
        .route("/_control/authenticate/{id}", authenticate)
        .fallback(pipeline::unknown_url)
        .method_not_allowed_fallback(pipeline::unknown_url)
        .with_state(app)
}
