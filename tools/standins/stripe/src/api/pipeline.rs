//! What happens to every request, in this order:
//!
//! 1. the API key (docs.stripe.com/api/authentication): 401;
//! 2. the rate limits, which come before the idempotency layer
//!    (docs.stripe.com/error-low-level#idempotency): 429;
//! 3. a fault that strikes before the API is reached;
//! 4. the idempotency key, for POST only: on a GET it has no effect
//!    (docs.stripe.com/api/idempotent_requests);
//! 5. the parameters: refused here, nothing is saved under the key;
//! 6. execution, in a task of its own: a client that disconnects does not stop it;
//! 7. the answer is saved under the key, in the same step as its effect;
//! 8. a fault that strikes after.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::commands::Answer;
use super::expand::Expand;
use super::params::Command;
use super::{App, Endpoint, commands, queries};
use crate::clock;
use crate::errors::{ApiError, ErrorType};
use crate::faults::Kind;
use crate::form::Form;
use crate::idempotency::{Begin, MAX_KEY_CHARS};
use crate::objects::API_VERSION;
use crate::server::Sever;
use crate::{ids, ratelimit};

/// Bodies beyond this many bytes are refused.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest a "hung" request is held.
const LONGEST_HANG: Duration = Duration::from_secs(600);

/// The properties of a request that the log and the events mention.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) request_id: String,
    pub(crate) idempotency_key: Option<String>,
    /// The requested API version (docs.stripe.com/api/versioning).
    pub(crate) version: String,
}

/// Takes a request through the steps above.
pub(crate) async fn handle(
    app: Arc<App>,
    endpoint: Endpoint,
    id: String,
    request: Request,
) -> Response {
    *clock::lock(&app.traffic).requests.entry(endpoint.name()).or_default() += 1;
    let request_id = ids::request();
    let (parts, body) = request.into_parts();

    if let Err(error) = authenticate(&parts.headers, endpoint) {
        return error_answer(&error, &request_id);
    }
    let admitted = clock::lock(&app.limiter).admit(endpoint.name(), clock::now_ms());
    if let Err(limit) = admitted {
        clock::lock(&app.traffic).rate_limited += 1;
        return rate_limited(limit, &request_id);
    }

    let fault = clock::lock(&app.faults).draw(endpoint.name());
    if let Some(answer) = struck_before(&app, fault.map(|(kind, _)| kind), &request_id).await {
        return answer;
    }
    let version = parts.headers.get("stripe-version").cloned();

    let answer = if parts.method == Method::POST {
        let path = parts.uri.path().to_owned();
        write(app, endpoint, id, path, &parts.headers, body, &request_id, fault).await
    } else {
        read(&app, endpoint, &id, parts.uri.query().unwrap_or_default(), &request_id, fault).await
    };
    let answer = with_version(answer, version);
    match fault.map(|(kind, _)| kind) {
        Some(Kind::HangAfter) => hang().await,
        Some(Kind::ResetAfter) => reset(),
        Some(Kind::Html502After) => html_502(),
        Some(Kind::Unreadable200) if answer.status().is_success() => {
            json_answer(200, Bytes::from_static(br#"{"object":"unreadable"}"#), &request_id)
        }
        Some(
            Kind::HangBefore
            | Kind::ResetBefore
            | Kind::Html502Before
            | Kind::Conflict409
            | Kind::LockTimeout429
            | Kind::RateLimit429
            | Kind::Unauthorized401
            | Kind::ParameterUnknown400
            | Kind::Refused400
            | Kind::Unreadable200
            | Kind::WrongAmount
            | Kind::Error500
            | Kind::Error500After
            | Kind::LatencyMs,
        )
        | None => answer,
    }
}

/// The answer of a fault that strikes before the API is reached; `None` if the request goes on.
async fn struck_before(app: &App, fault: Option<Kind>, request_id: &str) -> Option<Response> {
    match fault? {
        Kind::HangBefore => Some(hang().await),
        Kind::ResetBefore => Some(reset()),
        Kind::Html502Before => Some(html_502()),
        Kind::Conflict409 => {
            Some(retryable(error_answer(&key_in_use("of another request"), request_id)))
        }
        // docs.stripe.com/error-codes#lock-timeout: a 429 that is about no rate.
        Kind::LockTimeout429 => {
            let message = "This object cannot be accessed right now because another API request \
                           or Stripe process is currently accessing it.";
            let error = ApiError::before_execution(429, ErrorType::InvalidRequest, message);
            Some(retryable(error_answer(&error.code("lock_timeout"), request_id)))
        }
        Kind::RateLimit429 => {
            clock::lock(&app.traffic).rate_limited += 1;
            Some(rate_limited(ratelimit::Limited::Endpoint, request_id))
        }
        Kind::Unauthorized401 => {
            let message = "Invalid API Key provided. (A fault of the stand-in.)";
            let error = ApiError::before_execution(401, ErrorType::InvalidRequest, message);
            Some(error_answer(&error, request_id))
        }
        Kind::ParameterUnknown400 => {
            let message = "Received unknown parameter: planted";
            Some(error_answer(
                &ApiError::invalid(message, "parameter_unknown", "planted"),
                request_id,
            ))
        }
        Kind::HangAfter
        | Kind::ResetAfter
        | Kind::Html502After
        | Kind::Refused400
        | Kind::Unreadable200
        | Kind::WrongAmount
        | Kind::Error500
        | Kind::Error500After
        | Kind::LatencyMs => None,
    }
}

/// What a fault adds to the latency.
fn extra_latency(fault: Option<(Kind, u64)>) -> Duration {
    match fault {
        Some((Kind::LatencyMs, ms)) => Duration::from_millis(ms),
        Some(_) | None => Duration::ZERO,
    }
}

/// docs.stripe.com/error-codes#idempotency-key-in-use, 409 by docs.stripe.com/api/errors.
fn key_in_use(key: &str) -> ApiError {
    let message = format!(
        "There is currently another in-progress request using this Idempotent Key (that probably \
         means you submitted twice, and the other request is still going through): {key}."
    );
    ApiError::before_execution(409, ErrorType::Idempotency, message).code("idempotency_key_in_use")
}

/// docs.stripe.com/api/authentication: a key on every request, else 401, as a bearer token or as
/// the user name of HTTP Basic auth. Any sandbox key (`sk_test_…`, or a restricted `rk_test_…`)
/// will do; a restricted one lacks the right to read its account
/// (docs.stripe.com/keys/restricted-api-keys: 403).
fn authenticate(headers: &HeaderMap, endpoint: Endpoint) -> Result<(), ApiError> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let refuse = |message: &str| {
        ApiError::before_execution(401, ErrorType::InvalidRequest, message.to_owned())
    };
    let key = value.and_then(|value| match value.split_once(' ')? {
        ("Bearer", key) => Some(key.to_owned()),
        ("Basic", encoded) => {
            let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            Some(decoded.split_once(':')?.0.to_owned())
        }
        _ => None,
    });
    let Some(key) = key else {
        return Err(refuse(
            "You did not provide an API key. You need to provide your API key in the Authorization \
             header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        ));
    };
    let sandbox = key.starts_with("sk_test_") || key.starts_with("rk_test_");
    if !sandbox {
        return Err(refuse("Invalid API Key provided: the stand-in takes sk_test_ keys only."));
    }
    if endpoint == Endpoint::GetAccount && key.starts_with("rk_test_") {
        let message = "The provided key does not have the required permissions for this endpoint.";
        return Err(ApiError::before_execution(403, ErrorType::InvalidRequest, message.to_owned()));
    }
    Ok(())
}

async fn read(
    app: &App,
    endpoint: Endpoint,
    id: &str,
    query: &str,
    request_id: &str,
    fault: Option<(Kind, u64)>,
) -> Response {
    tokio::time::sleep(app.latency + extra_latency(fault)).await;
    if matches!(fault, Some((Kind::Error500 | Kind::Error500After, _))) {
        return error_answer(&planted_500(), request_id);
    }
    let result = match Form::parse(query.as_bytes()) {
        Some(form) => queries::run(app, endpoint, id, &form),
        None => Err(too_many_parameters()),
    };
    match result {
        Ok(body) => json_answer(200, to_bytes(&body), request_id),
        Err(error) => error_answer(&error, request_id),
    }
}

#[allow(clippy::too_many_arguments, reason = "the one caller passes a request taken apart")]
async fn write(
    app: Arc<App>,
    endpoint: Endpoint,
    id: String,
    path: String,
    headers: &HeaderMap,
    body: Body,
    request_id: &str,
    fault: Option<(Kind, u64)>,
) -> Response {
    let (form, key) = match (read_form(body).await, idempotency_key(headers)) {
        (Ok(form), Ok(key)) => (form, key),
        (Err(error), _) | (_, Err(error)) => return error_answer(&error, request_id),
    };
    if let Some(key) = &key {
        let begun = {
            let mut core = clock::lock(&app.core);
            core.keys.begin(key, &path, form.fingerprint(), clock::now_ms())
        };
        if let Some(answer) = key_answer(&app, key, &path, begun, request_id) {
            return answer;
        }
    }
    let version = headers.get("stripe-version").and_then(|version| version.to_str().ok());
    let origin = Origin {
        request_id: request_id.to_owned(),
        idempotency_key: key,
        version: version.unwrap_or(API_VERSION).to_owned(),
    };
    let held = HeldKey { app: Arc::clone(&app), key: origin.idempotency_key.clone() };
    // A task of its own: an execution that has begun completes even if the client disconnects.
    let execution = tokio::spawn(async move {
        let answer = execute(&held.app, endpoint, &id, &form, &origin, fault).await;
        drop(held);
        with_key_headers(answer, &origin)
    });
    match execution.await {
        Ok(answer) => answer,
        Err(_) => error_answer(&ApiError::server("The stand-in failed."), request_id),
    }
}

/// Releases the key when dropped, unless an answer was saved under it.
struct HeldKey {
    app: Arc<App>,
    key: Option<String>,
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            clock::lock(&self.app.core).keys.release(key);
        }
    }
}

/// Checks the parameters, waits for the configured latency, and executes.
async fn execute(
    app: &App,
    endpoint: Endpoint,
    id: &str,
    form: &Form,
    origin: &Origin,
    fault: Option<(Kind, u64)>,
) -> Response {
    let parsed = Command::parse(endpoint, id, form, &origin.version)
        .and_then(|command| Ok((command, Expand::parse(form, endpoint)?)));
    let (command, expand) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return error_answer(&error, &origin.request_id),
    };
    let latency = if command.takes_money() { app.confirm_latency } else { app.latency };
    tokio::time::sleep(latency + extra_latency(fault)).await;
    let answer = match fault.map(|(kind, _)| kind) {
        Some(Kind::Error500) => commands::save(app, origin, stored(&planted_500())),
        Some(Kind::Refused400) => {
            let message = "Your account cannot do this yet. (A fault of the stand-in.)";
            let error = ApiError::new(400, ErrorType::InvalidRequest, message);
            commands::save(app, origin, stored(&error))
        }
        Some(Kind::Error500After) => {
            let Answer { status, body, .. } = stored(&planted_500());
            commands::run(app, command, &expand, origin, Some((status, body)), 0)
        }
        Some(Kind::WrongAmount) => commands::run(app, command, &expand, origin, None, 1),
        Some(
            Kind::HangBefore
            | Kind::HangAfter
            | Kind::ResetBefore
            | Kind::ResetAfter
            | Kind::Html502Before
            | Kind::Html502After
            | Kind::Conflict409
            | Kind::LockTimeout429
            | Kind::RateLimit429
            | Kind::Unauthorized401
            | Kind::ParameterUnknown400
            | Kind::Unreadable200
            | Kind::LatencyMs,
        )
        | None => commands::run(app, command, &expand, origin, None, 0),
    };
    let final_for_key = answer.stored && answer.status >= 400 && origin.idempotency_key.is_some();
    let response = json_answer(answer.status, answer.body, &origin.request_id);
    if final_for_key { no_retry(response) } else { response }
}

/// An error that is to be saved under the key.
fn stored(error: &ApiError) -> Answer {
    Answer { status: error.status, body: to_bytes(&error.body()), stored: true }
}

/// docs.stripe.com/error-low-level: the header says what the status does not. Another attempt can
/// succeed, as of a request that found a lock taken.
fn retryable(mut answer: Response) -> Response {
    set(&mut answer, "stripe-should-retry", "true");
    answer
}

/// Another attempt "won't have an additional effect": it gets the answer saved under its key.
fn no_retry(mut answer: Response) -> Response {
    set(&mut answer, "stripe-should-retry", "false");
    answer
}

/// The answer that the key decides; `None` if the request is to be executed.
fn key_answer(
    app: &App,
    key: &str,
    path: &str,
    begun: Begin,
    request_id: &str,
) -> Option<Response> {
    let error = match begun {
        Begin::Execute => return None,
        Begin::Replay(saved) => {
            clock::lock(&app.traffic).replayed += 1;
            let mut answer = json_answer(saved.status, saved.body, request_id);
            if saved.status >= 400 {
                answer = no_retry(answer);
            }
            set(&mut answer, "idempotent-replayed", "true");
            set(&mut answer, "idempotency-key", key);
            set(&mut answer, "original-request", &saved.request_id);
            return Some(answer);
        }
        Begin::InUse => {
            clock::lock(&app.traffic).key_in_use += 1;
            return Some(retryable(error_answer(&key_in_use(key), request_id)));
        }
        Begin::OtherParameters => {
            let message = format!(
                "Keys for idempotent requests can only be used with the same parameters they were \
                 first used with. Try using a key other than '{key}' if you meant to execute a \
                 different request."
            );
            ApiError::before_execution(400, ErrorType::Idempotency, message)
        }
        Begin::OtherPath(first) => {
            let message = format!(
                "Keys for idempotent requests can only be used for the same endpoint they were \
                 first used for ('{path}' vs '{first}'). Try using a key other than '{key}' if you \
                 meant to execute a different request."
            );
            ApiError::before_execution(400, ErrorType::Idempotency, message)
        }
        Begin::Full => ApiError::server("The stand-in cannot keep more idempotency keys."),
    };
    Some(error_answer(&error, request_id))
}

async fn read_form(body: Body) -> Result<Form, ApiError> {
    let bytes = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|_| {
        let message = format!("The request body is longer than {MAX_BODY_BYTES} bytes, or broken.");
        ApiError::before_execution(413, ErrorType::InvalidRequest, message)
    })?;
    Form::parse(&bytes.to_bytes()).ok_or_else(too_many_parameters)
}

fn too_many_parameters() -> ApiError {
    ApiError::before_execution(400, ErrorType::InvalidRequest, "Too many parameters.")
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.chars().count() > MAX_KEY_CHARS {
        let message = format!("Idempotency keys must have 1 to {MAX_KEY_CHARS} characters.");
        return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message));
    }
    Ok(Some(key.to_owned()))
}

fn planted_500() -> ApiError {
    ApiError::server("An error occurred internally with Stripe. (A fault of the stand-in.)")
}

/// docs.stripe.com/rate-limits: 429, and the header says which limit.
fn rate_limited(limit: ratelimit::Limited, request_id: &str) -> Response {
    let message = "Request rate limit exceeded. Learn more about rate limits here \
                   https://docs.stripe.com/rate-limits.";
    let error = ApiError::before_execution(429, ErrorType::InvalidRequest, message);
    let mut answer = error_answer(&error.code("rate_limit"), request_id);
    set(&mut answer, "stripe-rate-limited-reason", limit.reason());
    answer
}

async fn hang() -> Response {
    tokio::time::sleep(LONGEST_HANG).await;
    reset()
}

fn reset() -> Response {
    let mut answer = Response::new(Body::empty());
    answer.extensions_mut().insert(Sever);
    answer
}

/// The answer of a proxy that cannot reach the API: not JSON
/// (docs.stripe.com/error-low-level#server-errors: 5xx may come from the infrastructure).
fn html_502() -> Response {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
    let mut answer = Response::new(Body::from(page));
    *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
    set(&mut answer, "content-type", "text/html");
    answer
}

/// docs.stripe.com/api/versioning: the version a request names is the one it is answered in.
fn with_version(mut answer: Response, version: Option<HeaderValue>) -> Response {
    if let Some(version) = version {
        answer.headers_mut().insert("stripe-version", version);
    }
    answer
}

fn with_key_headers(mut answer: Response, origin: &Origin) -> Response {
    if let Some(key) = &origin.idempotency_key {
        set(&mut answer, "idempotency-key", key);
        set(&mut answer, "original-request", &origin.request_id);
    }
    answer
}

fn set(answer: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// A JSON answer with the headers Stripe sends (docs.stripe.com/api/request_ids, /api/versioning).
pub(crate) fn json_answer(status: u16, body: Bytes, request_id: &str) -> Response {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut answer, "content-type", "application/json");
    set(&mut answer, "request-id", request_id);
    set(&mut answer, "stripe-version", API_VERSION);
    answer
}

pub(crate) fn error_answer(error: &ApiError, request_id: &str) -> Response {
    json_answer(error.status, to_bytes(&error.body()), request_id)
}

pub(crate) fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// docs.stripe.com/api/errors: 404 for what does not exist.
pub(crate) async fn unknown_url(State(_): State<Arc<App>>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let message = format!("Unrecognized request URL ({method}: {path}).");
    let error = ApiError::before_execution(404, ErrorType::InvalidRequest, message);
    error_answer(&error, &ids::request())
}

/// The answer of a control call: without a request id, as it is not part of Stripe's API.
pub(crate) fn control_answer(status: u16, body: &Value) -> Response {
    let mut answer = Response::new(Body::from(to_bytes(body)));
    *answer.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut answer, "content-type", "application/json");
    answer
}

/// The body of a control call, as JSON; an empty one reads as `{}`.
pub(crate) async fn control_body(request: Request) -> Result<Value, Response> {
    let refuse = |message: String| control_answer(400, &json!({ "error": message }));
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
    let bytes = body.map_err(|_| refuse("the body is too long or broken".into()))?.to_bytes();
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|error| refuse(format!("the body is not JSON: {error}")))
}
