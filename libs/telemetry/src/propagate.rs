//! W3C trace context (`traceparent`, `tracestate`) in the headers of gRPC, HTTP and NATS.
//!
//! Injecting writes the context of the span that is entered now; extracting reads what the other
//! side wrote. Where work outlives its request as a row in a store, [`to_text`] and [`from_text`]
//! carry the trace to the process that works on the row.

use std::collections::HashMap;

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TraceContextExt as _,
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

/// The header that says it all, also in a row.
const TRACEPARENT: &str = "traceparent";

/// The context of `span` as the text of a W3C `traceparent` (55 characters), for a row that is
/// carried out later; `None` where nothing traces. The vendors' `tracestate` does not outlive its
/// request.
pub fn to_text(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// The context that a row's text tells of; an empty one where there is no text, or it is not
/// one of ours.
pub fn from_text(text: Option<&str>) -> Context {
    let carrier: HashMap<String, String> =
        text.map(|text| (TRACEPARENT.to_owned(), text.to_owned())).into_iter().collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// Adds a link from `span` to the span in `other`, if there is one.
pub fn link(span: &Span, other: &Context) {
    span.add_link(other.span().span_context().clone());
}

/// Makes `span`, which must not have been entered yet, a child of the span in `parent`.
pub fn set_parent(span: &Span, parent: Context) {
    // Fails where nothing traces (no layer, or the span is filtered out): then there is nothing to
    // connect.
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

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

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
    fn a_trace_survives_being_kept_as_text() {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let subscriber =
            tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
        let (text, own) = tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("claim");
            set_parent(&span, context());
            (to_text(&span), span.context().span().span_context().clone())
        });
        let text = text.unwrap();
        assert_eq!(text.len(), 55, "{text}");
        let read = from_text(Some(&text));
        assert_eq!(read.span().span_context().trace_id(), TraceId::from(7_u128));
        assert_eq!(read.span().span_context().span_id(), own.span_id());
        assert!(read.span().span_context().is_sampled());
        for nothing in [None, Some(""), Some("nonsense")] {
            assert!(!from_text(nothing).span().span_context().is_valid());
        }
    }

    #[test]
    fn no_trace_writes_and_reads_nothing() {
        let mut nats = async_nats::HeaderMap::new();
        inject_nats(&mut nats);
        assert!(nats.is_empty());
        assert_eq!(to_text(&Span::none()), None);
        nats.insert("traceparent", "nonsense");
        assert!(!extract_nats(&nats).span().span_context().is_valid());
    }
}
