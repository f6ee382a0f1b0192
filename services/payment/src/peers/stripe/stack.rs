//! The way to Stripe, from the outside in.

use std::time::Duration;

use anyhow::Context as _;
use flashsale_breaker::{BreakerHandle, Rules, Verdict, breaker};
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer, util::BoxCloneSyncService};

use super::{
    answer::Answer,
    budget::{BudgetLayer, BudgetPace},
    call::Call,
    error::ProviderError,
    force::{ForceLayer, ForceSwitch},
    key::KeyLayer,
    latency::LatencyLayer,
    timeout::TimeoutLayer,
    transport::Transport,
};
use crate::{
    config::PaymentConfig,
    store::{Force, Store},
};

/// Sends a call and returns the answer.
pub type Stack = BoxCloneSyncService<Call, Answer, ProviderError>;

/// The force switch, the budgets and the breaker in front of Stripe.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The operators' decision.
    pub switch: ForceSwitch,
    /// What the configuration allows.
    pub pace: BudgetPace,
    /// The breaker's state.
    pub breaker: BreakerHandle,
}

impl Gate {
    /// How many of `room` payments to lease now: none while operators have switched Stripe off,
    /// what the breaker lets through, or all if operators want that.
    pub async fn worth_taking(&self, room: usize) -> usize {
        match self.switch.get().await {
            Ok(Force::Open) | Err(_) => 0,
            Ok(Force::Closed) => room,
            Ok(Force::Auto) => self.breaker.admits(room),
        }
    }
}

/// Builds the stack.
///
/// # Errors
/// When a setting cannot be used.
pub fn stack(config: &PaymentConfig, store: &Store) -> anyhow::Result<(Stack, Gate)> {
    let switch = ForceSwitch::new(store.clone());
    let (breaker_layer, breaker) = breaker(
        "stripe",
        &config.breaker,
        Rules {
            judge: |result: &Result<Answer, ProviderError>| {
                result.as_ref().map_or_else(ProviderError::verdict, |_| Verdict::Success)
            },
            bypass: |call: &Call| call.past_breaker,
        },
    )?;
    let pace = BudgetPace {
        all_per_s: config.all_per_s(),
        stripe_all_per_s: config.stripe_per_s(),
        per_s: config.endpoint_budget_per_s,
        by_endpoint: config.endpoint_budgets.clone(),
        longest_wait: Duration::from_millis(config.budget_wait_ms),
    };
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {}", config.stripe_secret_key.expose_secret()))
            .context("payment.stripe_secret_key has characters a header cannot have")?;
    authorization.set_sensitive(true);

    let service = ServiceBuilder::new()
        // The operators' switch is first: while it is open, nothing is counted, waited for or sent.
        .layer(ForceLayer { switch: switch.clone(), breaker: breaker.clone() })
        // A turn at the endpoint. Waiting for it is not a failure, so it is outside the breaker and
        // the timeout.
        .layer(BudgetLayer { store: store.clone(), pace: pace.clone() })
        // Calls under way. Waiting for a place is not the provider's fault either.
        .layer(ConcurrencyLimitLayer::new(config.max_in_flight))
        // Sees everything that is sent, also what times out.
        .layer(breaker_layer)
        // The time on the wire, also of what times out.
        .layer(LatencyLayer::new())
        // Only the time on the wire.
        .layer(TimeoutLayer(Duration::from_millis(config.timeout_ms)))
        // Adds the key under which a repeated call has no second effect.
        .layer(KeyLayer {
            base: config.stripe_base_url.trim_end_matches('/').to_owned(),
            authorization,
            version: HeaderValue::try_from(config.version())
                .context("payment.stripe_version has characters a header cannot have")?,
        })
        .service(Transport::new()?);
    Ok((BoxCloneSyncService::new(service), Gate { switch, pace, breaker }))
}
