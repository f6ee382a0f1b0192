//! The force switch: what operators decided, in front of everything else.
//!
//! It is kept in Postgres, so that it holds for all instances and outlives them; each reads it at
//! most once a second. If it cannot be read, the last decision stays in force; if none is known,
//! nothing is sent.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use flashsale_breaker::BreakerHandle;
use futures::future::BoxFuture;
use tokio::{sync::Mutex, time::Instant};
use tower::{Layer, Service, ServiceExt as _};

use super::{
    call::Call,
    error::{NotSent, ProviderError},
};
use crate::store::{Force, Store};

/// How old a decision may be when it is acted on.
const FRESH: Duration = Duration::from_millis(900);

#[derive(Debug, Default)]
struct Seen {
    force: Option<Force>,
    read_at: Option<Instant>,
}

/// Reads the decision, for the stack and for other callers.
#[derive(Debug, Clone)]
pub struct ForceSwitch {
    store: Store,
    seen: Arc<Mutex<Seen>>,
}

impl ForceSwitch {
    /// Over the store.
    pub fn new(store: Store) -> Self {
        Self { store, seen: Arc::default() }
    }

    /// The decision, at most a second old.
    ///
    /// # Errors
    /// When none is known.
    pub async fn get(&self) -> Result<Force, NotSent> {
        // Held while reading: concurrent callers need the same answer.
        let mut seen = self.seen.lock().await;
        if seen.read_at.is_none_or(|at| at.elapsed() >= FRESH) {
            match self.store.force().await {
                Ok(force) => seen.force = Some(force),
                Err(error) => {
                    tracing::warn!(%error, "the force switch cannot be read; the last decision stays");
                }
            }
            seen.read_at = Some(Instant::now());
        }
        seen.force.ok_or(NotSent::Store)
    }

    /// Makes the next caller read the decision again.
    pub async fn forget(&self) {
        self.seen.lock().await.read_at = None;
    }
}

/// Puts a service behind the switch.
#[derive(Debug, Clone)]
pub(super) struct ForceLayer {
    pub(super) switch: ForceSwitch,
    /// Asked before the call takes a turn at its endpoint, which it would lose.
    pub(super) breaker: BreakerHandle,
}

impl<S> Layer<S> for ForceLayer {
    type Service = Forced<S>;

    fn layer(&self, inner: S) -> Forced<S> {
        Forced { inner, head: self.clone() }
    }
}

/// A service behind the switch.
#[derive(Debug, Clone)]
pub(super) struct Forced<S> {
    inner: S,
    head: ForceLayer,
}

impl<S> Service<Call> for Forced<S>
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

    fn call(&mut self, mut call: Call) -> Self::Future {
        let (inner, head) = (self.inner.clone(), self.head.clone());
        Box::pin(async move {
            match head.switch.get().await? {
                Force::Open => return Err(NotSent::ForcedOpen.into()),
                Force::Auto if head.breaker.admits(1) == 0 => {
                    return Err(NotSent::BreakerOpen.into());
                }
                Force::Auto => {}
                Force::Closed => call.past_breaker = true,
            }
            inner.oneshot(call).await
        })
    }
}
