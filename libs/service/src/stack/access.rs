//! No caller is served without a name. The caller and the method decide first, from the headers:
//! what is refused here has cost a look at a table, or with a buyer's token a signature. The sale
//! and the buyer decide once the request has been decoded, before its handler
//! ([`flashsale_proto::access`]).
//!
//! Health, reflection where it is served, and methods that are for anyone ask for no name. What the
//! contract does not have (a test's own service, a no-op) asks for one, and for no role.

use std::{
    convert::Infallible,
    fmt,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::anyhow;
use flashsale_access::{
    Caller, Keys, Kind, MAX_OF_ONE_NAME, NameError, Refusal, Rule, Sales, Scope,
};
use flashsale_admission::{BuyerKeys, ProvenBuyer};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::access::{Inspect, inspected};
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use opentelemetry::{KeyValue, metrics::Counter};
use subtle::{Choice, ConstantTimeEq as _};
use time::OffsetDateTime;
use tonic::{Status, body::Body};
use tower::Service;
use uuid::Uuid;

use super::refusal::refusal;
use crate::{
    clients::Presented,
    config::{AccessConfig, AccessMode, Sidecar},
    methods,
    watched::Watched,
};

/// The header by which a sidecar says that it is ours, where it does not come through the socket.
const SIDECAR_SECRET: HeaderName = HeaderName::from_static("x-flashsale-sidecar-secret");
/// Envoy's header about the client of a connection.
const FORWARDED_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// Linkerd's.
const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
/// The shortest secret of a sidecar, in bytes.
const MIN_SIDECAR_SECRET: usize = 32;

/// Where a connection comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// Whether it came through the socket of the sidecar.
    pub(crate) sidecar: bool,
    /// The certificate that the client has presented, if one was asked for.
    pub(crate) certificate: Option<Presented>,
}

/// Knows the callers, and counts those that are refused.
pub(crate) struct Gate {
    mode: AccessMode,
    keys: Option<Arc<Watched<Keys>>>,
    buyers: Option<Arc<Watched<BuyerKeys>>>,
    sidecar: Sidecar,
    /// Those that count: the one in use and the one that replaces it.
    sidecar_secrets: Option<Arc<Watched<Vec<String>>>>,
    /// The caller where none is checked.
    unasked: Arc<Caller>,
    refused: Counter<u64>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Gate {
    /// Reads the files of keys.
    ///
    /// # Errors
    /// If one cannot be read, or is broken.
    pub(crate) fn open(config: &AccessConfig) -> anyhow::Result<Arc<Self>> {
        let every = Duration::from_millis(config.reload_ms);
        let keys = watched("access.keys_file", &config.keys_file, every, known_keys)?;
        let buyers = watched("access.buyer_keys_file", &config.buyer_keys_file, every, |json| {
            BuyerKeys::parse(json).map_err(|error| error.to_string())
        })?;
        let secret = &config.sidecar_secret_file;
        let sidecar_secrets = watched("access.sidecar_secret_file", secret, every, secrets_of)?;
        let meter = flashsale_telemetry::meter();
        let refused = meter
            .u64_counter("flashsale_access_refusals")
            .with_unit("{call}")
            .with_description("Calls refused because of who made them, or for which sale or buyer.")
            .build();
        // A series that begins at 0 shows its first increase.
        refused.add(
            0,
            &[
                KeyValue::new("rpc_method", methods::OTHERS),
                KeyValue::new("reason", Reason::CallerUnknown.as_str()),
            ],
        );
        let unasked = Arc::new(Caller {
            name: "anyone".to_owned(),
            kind: Kind::Operator,
            sales: Sales::All,
            buyer: None,
        });
        let (mode, sidecar) = (config.mode, config.sidecar);
        Ok(Arc::new(Self { mode, keys, buyers, sidecar, sidecar_secrets, unasked, refused }))
    }

    /// Who makes the call with these headers on a connection of this origin. A key or a token that
    /// is sent decides, whatever comes with it; then the certificate; then what a sidecar says.
    fn caller(&self, headers: &HeaderMap, origin: &Origin) -> Result<Arc<Caller>, Refusal> {
        let now = OffsetDateTime::now_utc();
        if let Some(sent) = only(headers, &AUTHORIZATION)? {
            return self.bearer(sent, now);
        }
        let name = match &origin.certificate {
            Some(presented) => presented.name().map_err(Refusal::Unknown)?,
            None => self.vouched_for(headers, origin)?.ok_or(Refusal::Unknown(
                "the call has no key, and its connection no certificate that was asked for",
            ))?,
        };
        self.keys()?.with_certificate(&name, now)
    }

    fn keys(&self) -> Result<Arc<Keys>, Refusal> {
        let keys = self.keys.as_ref().ok_or(Refusal::Unknown("no keys are known here"))?;
        Ok(keys.current())
    }

    /// Whose key or token the header has.
    fn bearer(&self, header: &HeaderValue, now: OffsetDateTime) -> Result<Arc<Caller>, Refusal> {
        let not_a_key = Refusal::Unknown("the authorization is not `Bearer` and a key");
        let text = header.to_str().map_err(|_| not_a_key.clone())?;
        let (scheme, key) = text.split_once(' ').ok_or_else(|| not_a_key.clone())?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(not_a_key);
        }
        let key = key.trim();
        // A token has two dots, a key has none.
        let (true, Some(buyers)) = (key.contains('.'), &self.buyers) else {
            return self.keys()?.caller(key, now);
        };
        let proven = buyers.current().verify(key, now.unix_timestamp());
        let ProvenBuyer { shop, sale_id, buyer_id } =
            proven.map_err(|error| Refusal::Unknown(error.as_str()))?;
        let sales = Sales::Only([sale_id].into());
        Ok(Arc::new(Caller { name: shop, kind: Kind::Buyer, sales, buyer: Some(buyer_id) }))
    }

    /// The name in the client's certificate, as the sidecar beside us has it. `None` without a word
    /// of it.
    fn vouched_for(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let header = match self.sidecar {
            Sidecar::Off => return Ok(None),
            Sidecar::Envoy => &FORWARDED_CERT,
            Sidecar::Linkerd => &CLIENT_ID,
        };
        let Some(sent) = only(headers, header)? else { return Ok(None) };
        if !origin.sidecar && !self.is_sidecars(headers)? {
            return Err(Refusal::Unknown("a sidecar's header came from elsewhere"));
        }
        let text = sent.to_str().map_err(|_| Refusal::Unknown(NameError::Header.as_str()))?;
        let name = match self.sidecar {
            Sidecar::Linkerd => flashsale_access::client_id(text),
            Sidecar::Off | Sidecar::Envoy => flashsale_access::forwarded_client(text),
        };
        let name = name.map_err(|error| Refusal::Unknown(error.as_str()))?;
        Ok(Some(Arc::from(name)))
    }

    /// Whether the headers have the secret that our sidecars add.
    fn is_sidecars(&self, headers: &HeaderMap) -> Result<bool, Refusal> {
        let (Some(secrets), Some(sent)) = (&self.sidecar_secrets, only(headers, &SIDECAR_SECRET)?)
        else {
            return Ok(false);
        };
        let ours = |secret: &String| secret.as_bytes().ct_eq(sent.as_bytes());
        // All of them are compared, so that the time tells nothing.
        let any = secrets.current().iter().map(ours).fold(Choice::from(0), |any, one| any | one);
        Ok(any.into())
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

/// Watches the file at `path`, if there is one.
fn watched<T>(
    key: &'static str,
    path: &str,
    every: Duration,
    parse: fn(&str) -> Result<T, String>,
) -> anyhow::Result<Option<Arc<Watched<T>>>>
where
    T: Send + Sync + 'static,
{
    if path.is_empty() {
        return Ok(None);
    }
    let only = move |texts: &[String]| parse(texts.first().map_or("", String::as_str));
    let file = Watched::open(key, vec![PathBuf::from(path)], every, only)
        .map_err(|problem| anyhow!("{key} {path}: {problem}"))?;
    Ok(Some(file))
}

/// The secrets of the sidecars, in a file: one or, while it rotates, two.
fn secrets_of(text: &str) -> Result<Vec<String>, String> {
    let secrets: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let fit = secrets.iter().all(|secret| {
        secret.len() >= MIN_SIDECAR_SECRET && secret.chars().all(|c| c.is_ascii_graphic())
    });
    if fit && (1..=MAX_OF_ONE_NAME).contains(&secrets.len()) {
        Ok(secrets)
    } else {
        Err(format!(
            "it must have one secret, or two on a line each, of at least {MIN_SIDECAR_SECRET} \
             characters without spaces"
        ))
    }
}

/// The one header of a name. Of several it is not known which one counts.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut sent = headers.get_all(name).iter();
    let first = sent.next();
    if sent.next().is_some() {
        return Err(Refusal::Unknown(match *name {
            AUTHORIZATION => "the call has several authorization headers",
            _ => "the call has several headers of a sidecar",
        }));
    }
    Ok(first)
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
                (Some(field), true) => {
                    failure.with_violation(*field, "is not a sale that the caller reaches")
                }
                (Some(field), false) => failure.with_violation(
                    *field,
                    "is empty; the caller reaches some sales alone: name one",
                ),
                (None, _) => failure,
            }
        }
        Refusal::BuyerUnproven { field } => Failure::new(Reason::BuyerUnproven, what)
            .with_violation(*field, "is empty; a shop names the buyer it calls for"),
        Refusal::BuyerMismatch { field } => Failure::new(Reason::BuyerMismatch, what)
            .with_violation(*field, "is not the buyer whom the token is for"),
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
            let origin = request.extensions().get::<Origin>();
            self.gate.caller(request.headers(), origin.unwrap_or(&Origin::default()))
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
        // Nothing below needs them, and nothing below can write them to a log.
        for header in [AUTHORIZATION, SIDECAR_SECRET, FORWARDED_CERT, CLIENT_ID] {
            request.headers_mut().remove(header);
        }
        let inspect = rule.map(|rule| self.gate.inspect(rule, Arc::clone(&caller)));
        let answer = flashsale_access::within(caller, self.inner.call(request));
        match inspect {
            Some(inspect) => inspected(inspect, answer).boxed(),
            None => answer.boxed(),
        }
    }
}
