//! Turns a call into an HTTP request, with its idempotency key. A POST without a key is not sent.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{FutureExt as _, future, future::BoxFuture};
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use stripe_client_core::StripeMethod;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field::Empty};

use super::{
    call::{Call, Endpoint, NamesCard},
    error::ProviderError,
};

/// How our requests name us.
const USER_AGENT: &str = concat!("flashsale-payment/", env!("CARGO_PKG_VERSION"));

/// Makes HTTP requests of calls.
#[derive(Debug, Clone)]
pub(super) struct KeyLayer {
    /// Scheme and authority, without a slash at the end.
    pub(super) base: String,
    /// `Bearer …`, marked as sensitive.
    pub(super) authorization: HeaderValue,
    /// The version of the API that is spoken.
    pub(super) version: HeaderValue,
}

impl<S> Layer<S> for KeyLayer {
    type Service = Keyed<S>;

    fn layer(&self, inner: S) -> Keyed<S> {
        Keyed { inner, head: self.clone() }
    }
}

impl KeyLayer {
    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, ProviderError> {
        let misused = |what: &str| ProviderError::Misused {
            what: what.to_owned(),
            status: 0,
            ours: true,
            key_is_used: false,
            request_id: String::new(),
        };
        let endpoint = call.endpoint;
        let query = call.query.map(|query| format!("?{query}")).unwrap_or_default();
        let uri: Uri = format!("{}/v1{}{query}", self.base, call.path)
            .parse()
            .map_err(|_| misused("its path is not one of a URL"))?;
        let method = match call.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let mut request = Request::builder()
            .method(&method)
            .uri(uri)
            // For the reader of the answer.
            .extension(endpoint)
            .extension(NamesCard(call.names_card))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::USER_AGENT, USER_AGENT)
            .header("stripe-version", &self.version);
        if method == Method::POST {
            let key = call.key.ok_or_else(|| misused("it has no idempotency key"))?;
            request = request
                .header("idempotency-key", key.as_str())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        request
            .body(Full::new(Bytes::from(call.body.unwrap_or_default())))
            .map_err(|_| misused("its key has characters a header cannot have"))
    }
}

/// The request on the wire. Its trace ends here: the provider is not told of it.
fn wire_span(endpoint: Endpoint, request: &Request<Full<Bytes>>) -> Span {
    let uri = request.uri();
    let https = uri.scheme_str() == Some("https");
    tracing::info_span!(
        "http",
        otel.name = format!("{} {}", request.method(), endpoint.template()),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        url.full = format!(
            "{}://{}{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |authority| authority.as_str()),
            uri.path()
        ),
        url.template = endpoint.template(),
        server.address = uri.host(),
        server.port = uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
    )
}

/// A service that takes calls, over one that takes HTTP requests.
#[derive(Debug, Clone)]
pub(super) struct Keyed<S> {
    inner: S,
    head: KeyLayer,
}

impl<S> Service<Call> for Keyed<S>
where
    S: Service<Request<Full<Bytes>>, Error = ProviderError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = ProviderError;
    type Future = BoxFuture<'static, Result<S::Response, ProviderError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProviderError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let endpoint = call.endpoint;
        match self.head.request(call) {
            Ok(request) => {
                let span = wire_span(endpoint, &request);
                let answer = span.in_scope(|| self.inner.call(request));
                answer.instrument(span).boxed()
            }
            Err(error) => future::err(error).boxed(),
        }
    }
}
