//! W3C trace context (`traceparent`, `tracestate`) in the headers of gRPC, HTTP and NATS.
//!
//! Injecting writes the context of the span that is entered now; extracting reads what the other side wrote.

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Writes the current trace context into the metadata of a gRPC request.
pub fn inject_grpc(metadata: &mut MetadataMap) {
    let mut headers = std::mem::take(metadata).into_headers();
    inject_http(&mut headers);
    *metadata = MetadataMap::from_headers(headers);
}

/// Writes the current trace context into HTTP headers.
pub fn inject_http(headers: &mut http::HeaderMap) {
    TraceContextPropagator::new().inject_context(&Context::current(), &mut Http(headers));
}

/// Reads the trace context of the caller from HTTP headers (which gRPC metadata are).
pub fn extract_http(headers: &http::HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HttpRef(headers))
}

/// Writes the current trace context into the headers of a NATS message.
pub fn inject_nats(headers: &mut async_nats::HeaderMap) {
    TraceContextPropagator::new().inject_context(&Context::current(), &mut Nats(headers));
}

/// Reads the trace context of the publisher from the headers of a NATS message.
pub fn extract_nats(headers: &async_nats::HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &NatsRef(headers))
}

/// Makes `span`, which must not have been entered yet, a child of the span in `parent`.
pub fn set_parent(span: &Span, parent: Context) {
    // Fails where nothing traces (no layer, or the span is filtered out): then there is nothing to connect.
    let _ = span.set_parent(parent);
}

struct Http<'a>(&'a mut http::HeaderMap);

impl Injector for Http<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(key.as_bytes()), http::HeaderValue::from_str(&value))
        {
            self.0.insert(name, value);
        }
    }
}

struct HttpRef<'a>(&'a http::HeaderMap);

impl Extractor for HttpRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Nats<'a>(&'a mut async_nats::HeaderMap);

impl Injector for Nats<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key, value);
    }
}

struct NatsRef<'a>(&'a async_nats::HeaderMap);

impl Extractor for NatsRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use opentelemetry::trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    };

    use super::*;

    fn context() -> Context {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(7_u128),
            SpanId::from(9_u64),
            TraceFlags::SAMPLED,
            true,
            TraceState::from_key_value([("shop", "1")]).unwrap(),
        ))
    }

    fn assert_same(extracted: &Context) {
        assert_eq!(extracted.span().span_context(), context().span().span_context());
    }

    #[test]
    fn a_trace_survives_nats_http_and_grpc() {
        let _guard = context().attach();
        let mut nats = async_nats::HeaderMap::new();
        inject_nats(&mut nats);
        assert_same(&extract_nats(&nats));
        let mut http = http::HeaderMap::new();
        inject_http(&mut http);
        assert_same(&extract_http(&http));
        let mut grpc = MetadataMap::new();
        grpc.insert("kept", "yes".parse().unwrap());
        inject_grpc(&mut grpc);
        assert_eq!(grpc.get("kept").unwrap(), "yes");
        assert_same(&extract_http(&grpc.into_headers()));
    }

    #[test]
    fn without_a_trace_nothing_is_written_and_nothing_read() {
        let mut nats = async_nats::HeaderMap::new();
        inject_nats(&mut nats);
        assert!(nats.is_empty());
        nats.insert("traceparent", "nonsense");
        assert!(!extract_nats(&nats).span().span_context().is_valid());
    }
}
