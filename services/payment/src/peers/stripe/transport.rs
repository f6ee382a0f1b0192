//! The connections: pooled, over TLS, and without it where the address is this machine's own.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use super::{
    answer::{self, Answer},
    call::{Endpoint, NamesCard},
    error::{NotSent, ProviderError, Silence},
};

/// The longest time to connect: less than the timeout of a call, so that a failure counts as not
/// sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed before the other side does.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept.
const MAX_IDLE: usize = 64;
/// A longer answer is not Stripe's.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Sends requests and reads answers.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Transport {
    /// A pool without connections yet.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            // Named, because a process may have two providers and no default.
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            // The configuration lets plain http pass for this machine's own addresses only.
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Ok(Self { client })
    }
}

impl Service<Request<Full<Bytes>>> for Transport {
    type Response = Answer;
    type Error = ProviderError;
    type Future = BoxFuture<'static, Result<Answer, ProviderError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProviderError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let endpoint = request.extensions().get::<Endpoint>().copied();
        let names_card = request.extensions().get::<NamesCard>().is_some_and(|it| it.0);
        let sent = self.client.request(request);
        Box::pin(async move {
            let endpoint = endpoint.ok_or_else(|| unknown("it is no call of ours".to_owned()))?;
            let answer = sent.await.map_err(|error| {
                if error.is_connect() {
                    tracing::debug!(%error, "no connection to the provider");
                    ProviderError::NotSent(NotSent::Connect)
                } else {
                    broken(&error)
                }
            })?;
            let (head, body) = answer.into_parts();
            let span = tracing::Span::current();
            span.record("http.response.status_code", head.status.as_u16());
            if head.status.is_client_error() || head.status.is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
            let body = Limited::new(body, MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| broken(&*error))?
                .to_bytes();
            answer::judge(endpoint, names_card, head.status, &head.headers, &body)
        })
    }
}

fn broken(error: &dyn std::error::Error) -> ProviderError {
    unknown(format!("the connection broke: {error}"))
}

fn unknown(what: String) -> ProviderError {
    ProviderError::Unknown {
        what,
        silence: Silence::Broken,
        retry_after: None,
        replayed: false,
        request_id: String::new(),
    }
}
