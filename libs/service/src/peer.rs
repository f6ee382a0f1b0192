//! A channel to another of our services.
//!
//! It connects when it is first used and again whenever it has to. Each call carries the trace, and
//! a deadline: what is left of the request being served, but never more than the peer's own
//! ceiling. The transport sends no `grpc-timeout` of its own, so it is set here; and the call also
//! ends here when it passes, with a typed `DEADLINE_EXCEEDED`. Calls are not repeated: only the
//! caller knows whether that is safe. It carries the key or the certificate that this service is
//! known by at the peer; their files are read again while the process runs, so that they rotate
//! without a restart.

use std::{
    error::Error as _,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use flashsale_access::Key;
use flashsale_connect::pem;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::named_channel::bearer;
use flashsale_telemetry::propagate;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{
    Status,
    body::Body,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tower::Service;
use tracing::{Instrument as _, Span};

use crate::{PeerConfig, deadline, methods, stack, watched::Watched};

/// How often an idle connection is asked whether the peer is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to that may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel of the service `own` to the service `name`, for the generated clients.
///
/// # Errors
/// When the URL, the authority's certificate, the own one or the key cannot be read. A peer that is
/// away is no error: it may come.
pub fn connect(own: &str, name: &'static str, config: &PeerConfig) -> anyhow::Result<PeerChannel> {
    let endpoint = Endpoint::from_shared(config.url.clone())
        .with_context(|| format!("the URL of the peer {name} cannot be read"))?
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let every = Duration::from_millis(config.reload_ms);
    let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
    let tls_files = config.tls_files_of(own);
    let wire = if tls_files.is_empty() {
        Wire::Plain(endpoint.connect_lazy())
    } else {
        let parse = move |texts: &[String]| secured(&endpoint, connect_timeout, texts);
        let files = Watched::open(format!("peers.{name}.ca_file"), tls_files, every, parse)
            .map_err(|problem| anyhow!("the certificates for the peer {name}: {problem}"))?;
        Wire::Secured { files, held: None }
    };
    let key = config.key_file_of(own).map(|path| {
        let parse = |texts: &[String]| header_of(texts.first().map_or("", String::as_str));
        Watched::open(format!("peers.{name}.key_file"), vec![path], every, parse)
            .map_err(|problem| anyhow!("the key for the peer {name}: {problem}"))
    });
    let ceiling = Duration::from_millis(config.timeout_ms);
    Ok(PeerChannel { name, wire, ceiling, key: key.transpose()? })
}

/// What calls are made on.
#[derive(Debug, Clone)]
enum Wire {
    Plain(Channel),
    /// With TLS: the channel that the present certificates make, and the one that this clone took
    /// when it was last made ready. Calls in work end on the one they began on.
    Secured {
        files: Arc<Watched<Channel>>,
        held: Option<(Arc<Channel>, Channel)>,
    },
}

impl Wire {
    /// The channel of the present certificates.
    fn newest(&mut self) -> &mut Channel {
        match self {
            Self::Plain(channel) => channel,
            Self::Secured { files, held } => {
                let newest = files.current();
                let old = held.take().filter(|(of, _)| Arc::ptr_eq(of, &newest));
                let (_, channel) = held.insert(old.unwrap_or_else(|| {
                    let channel = Channel::clone(&newest);
                    (newest, channel)
                }));
                channel
            }
        }
    }

    /// The channel that was made ready.
    fn ready(&mut self) -> &mut Channel {
        match self {
            Self::Secured { held: Some((_, channel)), .. } => channel,
            Self::Secured { held: None, .. } | Self::Plain(_) => self.newest(),
        }
    }
}

/// A channel with TLS: of the texts of the peer's authority and, maybe, the own certificate and its
/// key.
fn secured(endpoint: &Endpoint, timeout: Duration, texts: &[String]) -> Result<Channel, String> {
    let [authority, own @ ..] = texts else { return Err("there is no authority".to_owned()) };
    // The transport would take a file without any for one that trusts none.
    pem::authorities(authority.as_bytes()).map_err(|error| error.to_string())?;
    let authority = Certificate::from_pem(authority);
    let mut tls = ClientTlsConfig::new().ca_certificate(authority).timeout(timeout);
    if let [certificate, key] = own {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = endpoint.clone().tls_config(tls);
    let endpoint = endpoint
        .map_err(|error| error.source().map_or(error.to_string(), |cause| cause.to_string()))?;
    Ok(endpoint.connect_lazy())
}

fn header_of(text: &str) -> Result<HeaderValue, String> {
    Key::parse(text).map(|key| bearer(&key)).map_err(|error| error.to_string())
}

/// A channel to another service; a clone shares its connection.
#[derive(Debug, Clone)]
pub struct PeerChannel {
    name: &'static str,
    wire: Wire,
    ceiling: Duration,
    key: Option<Arc<Watched<HeaderValue>>>,
}

impl PeerChannel {
    /// How long a call may take now: what is left of the request being served, and never more than
    /// the peer's ceiling.
    pub fn time_left(&self) -> Duration {
        deadline::remaining().map_or(self.ceiling, |left| left.min(self.ceiling))
    }

    /// What a call is told that took longer than `timeout`.
    pub fn late(&self, timeout: Duration) -> Failure {
        Expiry { peer: self.name, timeout }.failure()
    }

    /// The client's span of a call of `path`.
    pub fn span(&self, path: &str) -> Span {
        let method = path.trim_start_matches('/');
        tracing::info_span!(
            "peer",
            otel.name = method,
            otel.kind = "client",
            rpc.system.name = "grpc",
            rpc.method = method,
            peer = self.name,
        )
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(self.wire.newest(), context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let streams = methods::streams(path);
        let span = self.span(path);
        span.in_scope(|| propagate::inject_http(request.headers_mut()));
        if let Some(key) = &self.key {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::clone(&key.current()));
        }
        if streams {
            return Box::pin(self.wire.ready().call(request).instrument(span));
        }

        let asked = stack::requested_timeout(request.headers());
        let timeout = asked.map_or(self.time_left(), |asked| asked.min(self.time_left()));
        let expiry = Expiry { peer: self.name, timeout };
        if timeout.is_zero() {
            return Box::pin(async move { Ok(expiry.status().into_http()) });
        }
        request.headers_mut().insert(deadline::HEADER, header(timeout));
        let deadline = Instant::now() + timeout;
        let answer = self.wire.ready().call(request);
        Box::pin(
            async move {
                tokio::select! {
                    // Before the answer: the transport's own timer ends the call at the same
                    // moment, with CANCELLED.
                    biased;
                    () = tokio::time::sleep_until(deadline) => Ok(expiry.status().into_http()),
                    response = answer => Ok(response?.map(|body| {
                        let sleep = Box::pin(tokio::time::sleep_until(deadline));
                        Body::new(Expiring { body, sleep, expiry })
                    })),
                }
            }
            .instrument(span),
        )
    }
}

/// `grpc-timeout` in microseconds, or milliseconds where eight digits do not suffice.
fn header(timeout: Duration) -> HeaderValue {
    const MAX: u128 = 99_999_999;
    let micros = timeout.as_micros().max(1);
    let text = if micros <= MAX {
        format!("{micros}u")
    } else {
        format!("{}m", timeout.as_millis().min(MAX))
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1S"))
}

/// What the caller is told when the time is up.
#[derive(Debug, Clone, Copy)]
struct Expiry {
    peer: &'static str,
    timeout: Duration,
}

impl Expiry {
    fn failure(self) -> Failure {
        let ms = self.timeout.as_millis();
        Failure::new(
            Reason::DeadlineExceeded,
            format!("{} did not answer within {ms} ms", self.peer),
        )
        .with("peer", self.peer)
        .with("timeout_ms", ms)
    }

    fn status(self) -> Status {
        self.failure().into()
    }
}

/// The body of an answer, under the same deadline as its head.
struct Expiring {
    body: Body,
    sleep: Pin<Box<Sleep>>,
    expiry: Expiry,
}

impl HttpBody for Expiring {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        this.sleep.as_mut().poll(context).map(|()| Some(Err(this.expiry.status())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        assert_eq!(header(Duration::from_nanos(1)), "1u");
        assert_eq!(header(Duration::from_millis(1_500)), "1500000u");
        assert_eq!(header(Duration::from_secs(100)), "100000m");
        assert_eq!(header(Duration::from_secs(1_000_000)), "99999999m");
    }
}
