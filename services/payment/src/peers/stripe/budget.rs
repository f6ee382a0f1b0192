//! The rate limit per endpoint, shared by all instances: a token bucket in Postgres.
//!
//! A token is taken on credit: one statement takes it and returns the debt, which says how long to
//! wait before using it. So turns are given in the order of the requests, no instance polls, and
//! the wait is known and bounded before it begins. A turn that is given up is lost, which errs on
//! the slow side.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::{
    call::Call,
    error::{NotSent, ProviderError},
};
use crate::store::Store;

/// The bucket's size, in seconds of its rate. It is small because other callers may share the
/// provider's own bucket, and calls that were sent evenly spaced arrive in bursts.
const BURST_S: f64 = 0.2;

/// The rate, and the longest wait for a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetPace {
    /// Calls a second at each endpoint.
    pub(super) per_s: f64,
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
    /// Waits for a turn.
    async fn turn(&self, endpoint: &'static str) -> Result<(), NotSent> {
        let BudgetPace { per_s, longest_wait } = self.pace;
        let burst = (per_s * BURST_S).max(1.0);
        let max_debt = per_s * longest_wait.as_secs_f64();
        let unreadable = |error: sqlx::Error| {
            tracing::warn!(%error, endpoint, "the budget cannot be read");
            NotSent::Store
        };
        let mut taken =
            self.store.take_turn(endpoint, per_s, burst, max_debt).await.map_err(unreadable)?;
        if taken.is_none() {
            // Either this endpoint has not been called yet, or the debt is too deep.
            self.store.open_budget(endpoint, burst).await.map_err(unreadable)?;
            taken =
                self.store.take_turn(endpoint, per_s, burst, max_debt).await.map_err(unreadable)?;
        }
        let tokens = taken.ok_or(NotSent::NoTurn)?;
        if tokens < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(
                (-tokens / per_s).min(longest_wait.as_secs_f64()),
            ))
            .await;
        }
        Ok(())
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
            budget.turn(call.endpoint.as_str()).await?;
            inner.oneshot(call).await
        })
    }
}
