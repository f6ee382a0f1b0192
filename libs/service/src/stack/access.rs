//! Nobody is served without a name. The caller and the method decide first, from the headers: what
//! is refused here has cost a look at a table. The sale and the buyer decide once the request has
//! been decoded, before its handler ([`flashsale_proto::access`]).
//!
//! Health, reflection where it is served, and methods that are for anyone ask for no name. What the
//! contract does not have (a test's own service, a no-op) asks for one, and for no role.

use std::{
    convert::Infallible,
    fmt,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::anyhow;
use flashsale_access::{Caller, Change, Keys, Kind, Refusal, Reloaded, Rule, Sales, Scope};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::access::{Inspect, inspected};
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};
use time::OffsetDateTime;
use tonic::{Status, body::Body};
use tower::Service;

use super::refusal::refusal;
use crate::{
    config::{AccessConfig, AccessMode},
    methods,
};

/// The most characters of a caller's text in the audit log.
const MAX_LOGGED: usize = 64;

/// Knows the callers, and counts those that are refused.
pub(crate) struct Gate {
    mode: AccessMode,
    keys: Option<Reloaded<Keys>>,
    /// Who is served where nobody is asked for a name.
    unasked: Arc<Caller>,
    refused: Counter<u64>,
    broken: Gauge<u64>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Gate {
    /// Reads the file of keys.
    ///
    /// # Errors
    /// If it cannot be read, or is broken.
    pub(crate) fn open(config: &AccessConfig) -> anyhow::Result<Arc<Self>> {
        let every = Duration::from_millis(config.reload_ms);
        let parse = |text: &str| Keys::parse(text).map_err(|error| error.to_string());
        let keys = (!config.keys_file.is_empty())
            .then(|| Reloaded::open(Path::new(&config.keys_file), every, parse))
            .transpose()
            .map_err(|problem| anyhow!("access.keys_file {}: {problem}", config.keys_file))?;
        let meter = flashsale_telemetry::meter();
        let refused = meter
            .u64_counter("flashsale_access_refusals")
            .with_unit("{call}")
            .with_description("Calls refused because of who made them, or for which sale or buyer.")
            .build();
        let broken = meter
            .u64_gauge("flashsale_access_keys_broken")
            .with_unit("{file}")
            .with_description(
                "1 while the file of keys is broken or away and an older one is in use.",
            )
            .build();
        broken.record(0, &[]);
        // A series that begins at 0 shows its first increase.
        refused.add(
            0,
            &[
                KeyValue::new("rpc_method", methods::OTHERS),
                KeyValue::new("reason", Reason::CallerUnknown.as_str()),
            ],
        );
        let unasked =
            Arc::new(Caller { name: "anyone".to_owned(), kind: Kind::Operator, sales: Sales::All });
        Ok(Arc::new(Self { mode: config.mode, keys, unasked, refused, broken }))
    }

    /// Reads the file of keys again when it is time.
    fn refresh(&self) {
        let Some(keys) = &self.keys else { return };
        match keys.refresh() {
            Some(Change::Taken | Change::Mended) => {
                tracing::info!("the file of keys has been read again and is in use");
                self.broken.record(0, &[]);
            }
            Some(Change::Broken(problem)) => {
                tracing::error!(problem, "the file of keys is broken; the one before stays in use");
                self.broken.record(1, &[]);
            }
            None => {}
        }
    }

    /// Who sent these headers.
    fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let header = sent.next().ok_or(Refusal::Unknown("the call has no key"))?;
        if sent.next().is_some() {
            return Err(Refusal::Unknown("the call has several authorization headers"));
        }
        let not_a_key = Refusal::Unknown("the authorization is not `Bearer` and a key");
        let text = header.to_str().map_err(|_| not_a_key.clone())?;
        let (scheme, key) = text.split_once(' ').ok_or_else(|| not_a_key.clone())?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(not_a_key);
        }
        let keys = self.keys.as_ref().ok_or(Refusal::Unknown("no keys are known here"))?.get();
        keys.caller(key.trim(), OffsetDateTime::now_utc())
    }

    /// What becomes of a refusal: a failure, or nothing where it is only reported.
    fn refuse(&self, method: &'static str, refusal: Refusal) -> Result<(), Failure> {
        let failure = failure(&refusal);
        let reason = failure.reason().as_str();
        self.refused
            .add(1, &[KeyValue::new("rpc_method", method), KeyValue::new("reason", reason)]);
        match self.mode {
            AccessMode::Required => Err(failure),
            AccessMode::Report | AccessMode::Off => {
                tracing::warn!(method, reason, %refusal, "the call would be refused");
                Ok(())
            }
        }
    }

    /// The look at the decoded request of a call.
    fn inspect(self: &Arc<Self>, rule: &'static Rule, caller: Arc<Caller>) -> Inspect {
        let gate = Arc::clone(self);
        let method = rule.path.trim_start_matches('/');
        Arc::new(move |scope: Scope<'_>| {
            let verdict = match rule.covers(&caller, scope) {
                Ok(()) => Ok(()),
                Err(refusal) => gate.refuse(method, refusal),
            };
            if rule.audited {
                tracing::info!(
                    target: "flashsale::audit",
                    caller = caller.name,
                    role = caller.kind.as_str(),
                    method,
                    request_id = short(scope.request_id),
                    sale_id = short(scope.sale),
                    refused = verdict.is_err(),
                    "audited call"
                );
            }
            verdict.map_err(Status::from)
        })
    }
}

/// The beginning of a text that a caller made up.
fn short(text: &str) -> &str {
    text.char_indices().nth(MAX_LOGGED).map_or(text, |(end, _)| &text[..end])
}

/// What a refused caller is told.
fn failure(refusal: &Refusal) -> Failure {
    let what = refusal.to_string();
    match refusal {
        Refusal::Unknown(_) => Failure::new(Reason::CallerUnknown, what),
        Refusal::NotAllowed { kind, .. } => {
            Failure::new(Reason::CallerNotAllowed, what).with("role", kind.as_str())
        }
        Refusal::SaleNotYours { field, named, .. } => {
            let failure = Failure::new(Reason::SaleNotYours, what);
            match (field, named) {
                (Some(field), true) => failure.with_violation(*field, "is not a sale of this key"),
                (Some(field), false) => {
                    failure.with_violation(*field, "is empty; this key is for some sales: name one")
                }
                (None, _) => failure,
            }
        }
        Refusal::BuyerUnproven { field } => Failure::new(Reason::BuyerUnproven, what)
            .with_violation(*field, "is empty; a shop names the buyer it calls for"),
    }
}

/// Which calls a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Those that shops, or anyone, may make.
    Public,
    /// All of them.
    All,
}

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Access<S> {
    inner: S,
    gate: Arc<Gate>,
    door: Door,
}

impl<S> Access<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>, door: Door) -> Self {
        Self { inner, gate, door }
    }
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.gate.refresh();
        let path = request.uri().path();
        let method = methods::find(path);
        let rule = method.and_then(|method| method.rule);
        if methods::is_infrastructure(path) || rule.is_some_and(Rule::is_public) {
            return self.inner.call(request).boxed();
        }
        if self.door == Door::Public && rule.is_some_and(Rule::is_internal) {
            let what = "this method is served on the internal port alone";
            let failure = Failure::new(Reason::CallerNotAllowed, what);
            return future::ready(Ok(refusal(failure))).boxed();
        }
        let name = method.map_or(methods::OTHERS, |method| method.name.as_str());
        let known = if self.gate.mode == AccessMode::Off {
            Ok(Arc::clone(&self.gate.unasked))
        } else {
            self.gate.caller(request.headers())
        };
        let admitted = known.and_then(|caller| match rule {
            Some(rule) if self.gate.mode != AccessMode::Off => {
                rule.admits(&caller).map(|()| caller)
            }
            _ => Ok(caller),
        });
        let caller = match admitted {
            Ok(caller) => caller,
            Err(why) => match self.gate.refuse(name, why) {
                Ok(()) => Arc::clone(&self.gate.unasked),
                Err(failure) => return future::ready(Ok(refusal(failure))).boxed(),
            },
        };
        // Nothing below needs it, and nothing below can write it to a log.
        request.headers_mut().remove(AUTHORIZATION);
        let inspect = rule.map(|rule| self.gate.inspect(rule, Arc::clone(&caller)));
        let answer = flashsale_access::within(caller, self.inner.call(request));
        match inspect {
            Some(inspect) => inspected(inspect, answer).boxed(),
            None => answer.boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn logged_texts_are_cut() {
        assert_eq!(short("sale"), "sale");
        assert_eq!(short(&"é".repeat(100)).chars().count(), MAX_LOGGED);
    }
}
