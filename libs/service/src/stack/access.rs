//! No caller is served without a name. The caller and the method decide first, from the headers: what
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
use uuid::Uuid;

use super::refusal::refusal;
use crate::{
    config::{AccessConfig, AccessMode},
    methods,
};

/// Tells of files of keys that are broken.
pub(crate) fn keys_broken() -> Gauge<u64> {
    flashsale_telemetry::meter()
        .u64_gauge("flashsale_access_keys_broken")
        .with_unit("{file}")
        .with_description("1 while a file of keys is broken or away and an older one is in use.")
        .build()
}

/// Knows the callers, and counts those that are refused.
pub(crate) struct Gate {
    mode: AccessMode,
    keys: Option<Reloaded<Keys>>,
    /// The caller where none is checked.
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
        let keys = (!config.keys_file.is_empty())
            .then(|| Reloaded::open(Path::new(&config.keys_file), every, known_keys))
            .transpose()
            .map_err(|problem| anyhow!("access.keys_file {}: {problem}", config.keys_file))?;
        let meter = flashsale_telemetry::meter();
        let refused = meter
            .u64_counter("flashsale_access_refusals")
            .with_unit("{call}")
            .with_description("Calls refused because of who made them, or for which sale or buyer.")
            .build();
        let broken = keys_broken();
        broken.record(0, &of_file());
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
                self.broken.record(0, &of_file());
            }
            Some(Change::Broken(problem)) => {
                tracing::error!(problem, "the file of keys is broken; the one before stays in use");
                self.broken.record(1, &of_file());
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
            _ if refusal == Refusal::NotAtThisPort => Err(failure),
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
            audit(rule, &caller, scope, verdict.is_err());
            verdict.map_err(Status::from)
        })
    }
}

/// Leaves a line about a call of a known caller, if its rule asks for that. It has ids alone, and
/// only those that are ids: any other text of the request may be about a person.
fn audit(rule: &Rule, caller: &Caller, scope: Scope<'_>, refused: bool) {
    if !rule.audited {
        return;
    }
    let id = |text: &str| Uuid::parse_str(text).map(|id| id.to_string()).unwrap_or_default();
    tracing::info!(
        target: "flashsale::audit",
        caller = caller.name,
        role = caller.kind.as_str(),
        method = rule.path.trim_start_matches('/'),
        request_id = id(scope.request_id),
        sale_id = id(scope.sale),
        order_id = id(scope.record),
        number = scope.number,
        refused,
        "audited call"
    );
}

/// The keys in a file. One without any is broken: it would lock everyone out, as a file does that
/// is read while it is being written.
fn known_keys(text: &str) -> Result<Keys, String> {
    let keys = Keys::parse(text).map_err(|error| error.to_string())?;
    if keys.is_empty() { Err("it has no key".to_owned()) } else { Ok(keys) }
}

/// The label of the gauge of broken files.
fn of_file() -> [KeyValue; 1] {
    [KeyValue::new("file", "access.keys_file")]
}

/// What a refused caller is told.
fn failure(refusal: &Refusal) -> Failure {
    let what = refusal.to_string();
    match refusal {
        Refusal::Unknown(_) => Failure::new(Reason::CallerUnknown, what),
        Refusal::NotAtThisPort => Failure::new(Reason::CallerNotAllowed, what),
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
        let name = method.map_or(methods::OTHERS, |method| method.name.as_str());
        let off = self.gate.mode == AccessMode::Off;
        let known = if off {
            Ok(Arc::clone(&self.gate.unasked))
        } else {
            self.gate.caller(request.headers())
        };
        let admitted = match (&known, rule) {
            _ if self.door == Door::Public && rule.is_some_and(Rule::is_internal) => {
                Err(Refusal::NotAtThisPort)
            }
            (Ok(caller), Some(rule)) if !off => rule.admits(caller),
            (Ok(_), _) => Ok(()),
            (Err(unknown), _) => Err(unknown.clone()),
        };
        if let Err(why) = admitted {
            let verdict = self.gate.refuse(name, why);
            if let (Ok(caller), Some(rule)) = (&known, rule) {
                audit(rule, caller, Scope::default(), verdict.is_err());
            }
            if let Err(failure) = verdict {
                return future::ready(Ok(refusal(failure))).boxed();
            }
        }
        let caller = known.unwrap_or_else(|_| Arc::clone(&self.gate.unasked));
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
