//! A channel that says who calls.

use std::{
    fmt::Debug,
    sync::Arc,
    task::{Context, Poll},
};

use flashsale_access::Key;
use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{HeaderValue, Request, Response, header::AUTHORIZATION},
    },
    transport::{Channel, Error, channel::ResponseFuture},
};

/// Who calls.
pub trait Identity: Debug + Send + Sync {
    /// The key for a call of `path`, as in `/flashsale.sale.v1.SaleService/GetSale`; `None` to call
    /// without one.
    fn key(&self, path: &str) -> Option<HeaderValue>;
}

/// The header of a key. It is kept out of logs and out of the tables of header compression.
///
/// # Panics
/// Never: a key has only characters that a header may have.
#[allow(clippy::expect_used)]
pub fn bearer(key: &Key) -> HeaderValue {
    let mut header =
        HeaderValue::try_from(format!("Bearer {}", key.expose())).expect("a key fits a header");
    header.set_sensitive(true);
    header
}

/// One key for every call.
#[derive(Debug, Clone)]
pub struct OneKey(HeaderValue);

impl OneKey {
    /// Calls with `key`.
    pub fn new(key: &Key) -> Self {
        Self(bearer(key))
    }
}

impl Identity for OneKey {
    fn key(&self, _: &str) -> Option<HeaderValue> {
        Some(self.0.clone())
    }
}

/// A channel whose calls carry a key, for the generated clients. A clone shares the connection.
#[derive(Debug, Clone)]
pub struct NamedChannel {
    channel: Channel,
    identity: Option<Arc<dyn Identity>>,
}

impl NamedChannel {
    /// Calls on `channel` as `identity`.
    pub fn new(channel: Channel, identity: Arc<dyn Identity>) -> Self {
        Self { channel, identity: Some(identity) }
    }

    /// Calls on `channel` without a key.
    pub fn nameless(channel: Channel) -> Self {
        Self { channel, identity: None }
    }

    /// Calls on `channel` with `key`, or without one if there is none.
    pub fn with(channel: Channel, key: Option<&Key>) -> Self {
        let identity = key.map(|key| Arc::new(OneKey::new(key)) as Arc<dyn Identity>);
        Self { channel, identity }
    }

    /// The same connection for another caller.
    #[must_use]
    pub fn of(&self, identity: Arc<dyn Identity>) -> Self {
        Self { channel: self.channel.clone(), identity: Some(identity) }
    }
}

impl Service<Request<Body>> for NamedChannel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        let key = self.identity.as_ref().and_then(|identity| identity.key(request.uri().path()));
        if let Some(key) = key {
            request.headers_mut().insert(AUTHORIZATION, key);
        }
        self.channel.call(request)
    }
}
