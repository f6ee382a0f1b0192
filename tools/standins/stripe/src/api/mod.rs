//! The HTTP interface: `/v1` as Stripe's, `/_control` for the tests.

mod books;
mod commands;
mod control;
mod expand;
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
use bytes::Bytes;

pub use self::books::Core;
use crate::Config;
use crate::clock;
use crate::faults::Faults;
use crate::ratelimit::RateLimiter;
use crate::webhooks::Webhooks;

/// The operations, each an endpoint of its own to the rate limiter (docs.stripe.com/rate-limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    CreateIntent,
    ListIntents,
    SearchIntents,
    GetIntent,
    UpdateIntent,
    ConfirmIntent,
    CancelIntent,
    CreateRefund,
    ListRefunds,
    GetRefund,
    ListCharges,
    GetCharge,
    ListDisputes,
    GetDispute,
    ListEvents,
    GetEvent,
    CreateToken,
    GetToken,
    GetAccount,
}

impl Endpoint {
    /// The name faults and counts go by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateIntent => "POST /v1/payment_intents",
            Self::ListIntents => "GET /v1/payment_intents",
            Self::SearchIntents => "GET /v1/payment_intents/search",
            Self::GetIntent => "GET /v1/payment_intents/:id",
            Self::UpdateIntent => "POST /v1/payment_intents/:id",
            Self::ConfirmIntent => "POST /v1/payment_intents/:id/confirm",
            Self::CancelIntent => "POST /v1/payment_intents/:id/cancel",
            Self::CreateRefund => "POST /v1/refunds",
            Self::ListRefunds => "GET /v1/refunds",
            Self::GetRefund => "GET /v1/refunds/:id",
            Self::ListCharges => "GET /v1/charges",
            Self::GetCharge => "GET /v1/charges/:id",
            Self::ListDisputes => "GET /v1/disputes",
            Self::GetDispute => "GET /v1/disputes/:id",
            Self::ListEvents => "GET /v1/events",
            Self::GetEvent => "GET /v1/events/:id",
            Self::CreateToken => "POST /v1/test_helpers/confirmation_tokens",
            Self::GetToken => "GET /v1/confirmation_tokens/:id",
            Self::GetAccount => "GET /v1/account",
        }
    }
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
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) limiter: Mutex<RateLimiter>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) traffic: Mutex<Traffic>,
    pub(crate) webhooks: Webhooks,
    pub(crate) confirm_latency: Duration,
    pub(crate) latency: Duration,
    pub(crate) outcome_delay: Duration,
    pub(crate) account: String,
    /// The URL of this stand-in, where buyers are sent to authenticate.
    pub(crate) base_url: String,
}

impl App {
    /// A new application over these books.
    #[must_use]
    pub fn new(
        config: &Config,
        core: Core,
        webhooks: Webhooks,
        faults: Faults,
        base_url: String,
    ) -> Self {
        let (per_endpoint, total) = (config.rate_per_endpoint, config.rate_total);
        let limiter = RateLimiter::new(per_endpoint, total, clock::now_ms());
        Self {
            core: Arc::new(Mutex::new(core)),
            limiter: Mutex::new(limiter),
            faults: Mutex::new(faults),
            traffic: Mutex::new(Traffic::default()),
            webhooks,
            confirm_latency: config.confirm_latency,
            latency: config.latency,
            outcome_delay: config.outcome_delay,
            account: config.account.clone(),
            base_url,
        }
    }

    /// Sends the events that were pending when the process before this one ended.
    pub fn send_pending(&self) {
        let pending: Vec<(String, Bytes)> = {
            let core = clock::lock(&self.core);
            let pending = core.ledger.events.iter().filter(|event| event.pending);
            pending.map(|event| (event.id.clone(), event.payload.clone().into())).collect()
        };
        for (id, payload) in pending {
            self.send(id, payload);
        }
    }

    /// Carries out what is due by now: refunds that end, payments that are disputed.
    pub fn happen(&self) {
        commands::happen(self);
    }

    /// Sends the event of that id.
    fn send(&self, id: String, payload: Bytes) {
        let core = Arc::clone(&self.core);
        self.webhooks.send(payload, Arc::new(move || clock::lock(&core).delivered(&id)));
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
    let intent = |State(app): Shared, Path(id): Path<String>, request: Request| {
        let writes = request.method() == http::Method::POST;
        let endpoint = if writes { Endpoint::UpdateIntent } else { Endpoint::GetIntent };
        pipeline::handle(app, endpoint, id, request)
    };
    let all = |endpoint: Endpoint| {
        move |State(app): Shared, request: Request| {
            pipeline::handle(app, endpoint, String::new(), request)
        }
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
        .route("/v1/payment_intents/search", get(all(Endpoint::SearchIntents)))
        .route("/v1/payment_intents/{id}", get(intent).post(intent))
        .route("/v1/payment_intents/{id}/confirm", post(one(Endpoint::ConfirmIntent)))
        .route("/v1/payment_intents/{id}/cancel", post(one(Endpoint::CancelIntent)))
        .route("/v1/refunds", get(refunds).post(refunds))
        .route("/v1/refunds/{id}", get(one(Endpoint::GetRefund)))
        .route("/v1/charges", get(all(Endpoint::ListCharges)))
        .route("/v1/charges/{id}", get(one(Endpoint::GetCharge)))
        .route("/v1/disputes", get(all(Endpoint::ListDisputes)))
        .route("/v1/disputes/{id}", get(one(Endpoint::GetDispute)))
        .route("/v1/events", get(all(Endpoint::ListEvents)))
        .route("/v1/events/{id}", get(one(Endpoint::GetEvent)))
        .route("/v1/test_helpers/confirmation_tokens", post(all(Endpoint::CreateToken)))
        .route("/v1/confirmation_tokens/{id}", get(one(Endpoint::GetToken)))
        .route("/v1/account", get(all(Endpoint::GetAccount)))
        .route("/_control/faults", faults)
        .route("/_control/clock", post(control::advance_clock))
        .route("/_control/state", get(control::state))
        .route("/_control/webhooks", get(control::webhooks).post(control::set_webhooks))
        .route("/_control/authenticate/{id}", authenticate)
        .route("/_control/dispute/{charge}", post(control::close_dispute))
        .route("/_control/refund/{id}", post(control::settle_refund))
        .fallback(pipeline::unknown_url)
        .method_not_allowed_fallback(pipeline::unknown_url)
        .with_state(app)
}
