//! The rate limits, of all calls and per endpoint, shared by all instances: token buckets in
//! Postgres.
//!
//! A token is taken on credit: one statement takes it from both buckets and returns the debts,
//! which say how long to wait before using it. So turns are given in the order of the requests, no
//! instance polls, and the wait is known and bounded before it begins. A turn that is given up is
//! lost, which errs on the slow side. A bucket that Stripe limits all the same, because others use
//! the account too, goes at half its rate and grows back.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::{
    call::Call,
    error::{NotSent, ProviderError},
};
use crate::store::{ALL_CALLS, Allowed, Store};

/// The buckets' size, in seconds of their rate. It is small because other callers may share the
/// provider's own buckets, and calls that were sent evenly spaced arrive in bursts.
const BURST_S: f64 = 0.2;

/// The rates, and the longest wait for a turn.
#[derive(Debug, Clone)]
pub(super) struct BudgetPace {
    /// Calls a second at all endpoints together.
    pub(super) all_per_s: f64,
    /// Calls a second at each endpoint.
    pub(super) per_s: f64,
    /// Calls a second at those that differ, by name.
    pub(super) by_endpoint: HashMap<String, f64>,
    /// The longest wait for a turn.
    pub(super) longest_wait: Duration,
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
        let BudgetPace { all_per_s, per_s, by_endpoint, longest_wait } = &self.pace;
        Allowed {
            all_per_s: *all_per_s,
            endpoint_per_s: by_endpoint.get(endpoint).copied().unwrap_or(*per_s),
            burst_s: BURST_S,
            longest_wait: *longest_wait,
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
        tokio::time::sleep(wait.min(allowed.longest_wait)).await;
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
