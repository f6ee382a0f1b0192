//! How long calls take on the wire, by endpoint.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use flashsale_telemetry::meter;
use futures::future::BoxFuture;
use opentelemetry::{KeyValue, metrics::Histogram};
use tower::{Layer, Service, ServiceExt as _};

use super::{call::Call, error::ProviderError};

/// The bucket bounds, in seconds: around what Stripe usually takes, around what counts as slow, and
/// up to the timeout.
const BOUNDS: [f64; 12] = [0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Measures a service.
#[derive(Debug, Clone)]
pub(super) struct LatencyLayer {
    taken: Histogram<f64>,
}

impl LatencyLayer {
    /// Registers the instrument.
    pub(super) fn new() -> Self {
        let taken = meter()
            .f64_histogram("flashsale_payment_provider_latency")
            .with_unit("s")
            .with_description("How long calls to the provider took on the wire, by endpoint.")
            .with_boundaries(BOUNDS.to_vec())
            .build();
        Self { taken }
    }
}

impl<S> Layer<S> for LatencyLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, taken: self.taken.clone() }
    }
}

/// A service that is measured.
#[derive(Debug, Clone)]
pub(super) struct Measured<S> {
    inner: S,
    taken: Histogram<f64>,
}

impl<S> Service<Call> for Measured<S>
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
        let (inner, taken) = (self.inner.clone(), self.taken.clone());
        Box::pin(async move {
            let labels = [KeyValue::new("endpoint", call.endpoint.as_str())];
            let sent = Instant::now();
            let result = inner.oneshot(call).await;
            taken.record(sent.elapsed().as_secs_f64(), &labels);
            result
        })
    }
}
