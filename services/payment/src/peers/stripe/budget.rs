//! The rate limits, of all calls and per endpoint, shared by all instances: token buckets in
//! Postgres.
//!
//! A token is taken on credit: one statement takes it from both buckets and returns the debts,
//! which say how long to wait before using it. So turns are given in the order of the requests, no
//! instance polls, and the wait is known and bounded before it begins. A turn that is given up is
//! lost, which errs on the slow side. A bucket that Stripe limits all the same, because others use
//! the account too, goes at half its rate and grows back. Operators can set another rate than the
//! configured one; the statements look that up by themselves.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::{
    call::{Call, Endpoint},
    error::{NotSent, ProviderError},
};
use crate::store::{ALL_CALLS, Allowed, Store};

/// The buckets' size, in seconds of their rate. It is small because other callers may share the
/// provider's own buckets, and calls that were sent evenly spaced arrive in bursts.
const BURST_S: f64 = 0.2;

/// What Stripe allows at an endpoint a second (docs.stripe.com/rate-limits).
const STRIPE_PER_ENDPOINT: f64 = 25.0;

/// The configured rates, and the longest wait for a turn.
#[derive(Debug, Clone)]
pub struct BudgetPace {
    /// Calls a second at all endpoints together.
    pub(super) all_per_s: f64,
    /// What Stripe allows a key of this kind a second, at all endpoints together.
    pub(super) stripe_all_per_s: f64,
    /// Calls a second at each endpoint.
    pub(super) per_s: f64,
    /// Calls a second at those that differ, by name.
    pub(super) by_endpoint: HashMap<String, f64>,
    /// The longest wait for a turn.
    pub(super) longest_wait: Duration,
}

impl BudgetPace {
    /// The buckets there are, each with its calls a second: that of all calls, and each endpoint's.
    pub fn buckets(&self) -> Vec<(&'static str, f64)> {
        let endpoints = Endpoint::ALL.into_iter().map(Endpoint::as_str);
        std::iter::once(ALL_CALLS)
            .chain(endpoints)
            .map(|bucket| (bucket, self.configured(bucket)))
            .collect()
    }

    /// Calls a second of a bucket.
    pub fn configured(&self, bucket: &str) -> f64 {
        if bucket == ALL_CALLS {
            return self.all_per_s;
        }
        self.by_endpoint.get(bucket).copied().unwrap_or(self.per_s)
    }

    /// The most calls a second that may be set for a bucket: what Stripe allows by default, or what
    /// is configured if that is more.
    pub fn most(&self, bucket: &str) -> f64 {
        let allowed = if bucket == ALL_CALLS { self.stripe_all_per_s } else { STRIPE_PER_ENDPOINT };
        allowed.max(self.configured(bucket))
    }

    /// The size of a bucket, in seconds of its rate.
    pub fn burst_s(&self) -> f64 {
        BURST_S
    }

    /// The longest wait for a turn.
    pub fn longest_wait(&self) -> Duration {
        self.longest_wait
    }
}

/// Puts a service behind the budgets.
#[derive(Debug, Clone)]
pub(super) struct BudgetLayer {
    pub(super) store: Store,
    pub(super) pace: BudgetPace,
}

impl<S> Layer<S> for BudgetLayer {
    type Service = Budgeted<S>;

    fn layer(&self, inner: S) -> Budgeted<S> {
        Budgeted { inner, budget: self.clone() }
    }
}

impl BudgetLayer {
    fn allowed(&self, endpoint: &str) -> Allowed {
        Allowed {
            all_per_s: self.pace.configured(ALL_CALLS),
            endpoint_per_s: self.pace.configured(endpoint),
            burst_s: self.pace.burst_s(),
            longest_wait: self.pace.longest_wait(),
        }
    }

    /// Waits for a turn.
    async fn turn(&self, endpoint: &'static str) -> Result<(), NotSent> {
        let allowed = self.allowed(endpoint);
        let unreadable = |error: sqlx::Error| {
            tracing::warn!(%error, endpoint, "the budget cannot be read");
            NotSent::Store
        };
        let mut wait = self.store.take_turn(endpoint, allowed).await.map_err(unreadable)?;
        if wait.is_none() {
            // Either this endpoint has not been called yet, or a debt is too deep.
            self.store.open_budgets(endpoint, allowed).await.map_err(unreadable)?;
            wait = self.store.take_turn(endpoint, allowed).await.map_err(unreadable)?;
        }
        let wait = wait.ok_or(NotSent::NoTurn)?;
        // The timer rounds up to a millisecond, nothing included.
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(allowed.longest_wait)).await;
        }
        Ok(())
    }

    /// Has the bucket that a limit is about go slower.
    async fn limited(&self, endpoint: &'static str, limit: &str) {
        let allowed = self.allowed(endpoint);
        // docs.stripe.com/rate-limits: global-rate, global-concurrency, endpoint-rate, and so on.
        let (bucket, per_s) = if limit.starts_with("global") {
            (ALL_CALLS, allowed.all_per_s)
        } else {
            (endpoint, allowed.endpoint_per_s)
        };
        match self.store.slow_down(bucket, per_s).await {
            Ok(()) => {
                tracing::warn!(bucket, limit, "the provider limits our calls: they go slower")
            }
            Err(error) => tracing::warn!(%error, bucket, "a budget cannot be lowered"),
        }
    }
}

/// A service behind the budgets.
#[derive(Debug, Clone)]
pub(super) struct Budgeted<S> {
    inner: S,
    budget: BudgetLayer,
}

impl<S> Service<Call> for Budgeted<S>
where
    S: Service<Call, Error = ProviderError> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = ProviderError;
    type Future = BoxFuture<'static, Result<S::Response, ProviderError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProviderError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (inner, budget) = (self.inner.clone(), self.budget.clone());
        Box::pin(async move {
            let endpoint = call.endpoint.as_str();
            budget.turn(endpoint).await?;
            let result = inner.oneshot(call).await;
            if let Err(ProviderError::Limited { limit, .. }) = &result {
                budget.limited(endpoint, limit).await;
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_set_than_stripe_allows_or_the_configuration_says() {
        let pace = BudgetPace {
            all_per_s: 40.0,
            stripe_all_per_s: 100.0,
            per_s: 5.0,
            by_endpoint: HashMap::from([("refunds.create".to_owned(), 200.0)]),
            longest_wait: Duration::from_secs(5),
        };
        for (bucket, configured, most) in [
            (ALL_CALLS, 40.0, 100.0),
            ("payment_intents.create", 5.0, 25.0),
            ("refunds.create", 200.0, 200.0),
        ] {
            assert_eq!(
                (pace.configured(bucket), pace.most(bucket)),
                (configured, most),
                "{bucket}"
            );
        }
        assert_eq!(pace.buckets().len(), 1 + Endpoint::ALL.len());
    }
}
