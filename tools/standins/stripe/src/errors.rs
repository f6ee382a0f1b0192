//! Errors in Stripe's shape (docs.stripe.com/api/errors): `{"error": {type, code, message, …}}`.

use serde_json::{Map, Value, json};

/// The four types docs.stripe.com/api/errors lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    Api,
    Card,
    Idempotency,
    InvalidRequest,
}

impl ErrorType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api_error",
            Self::Card => "card_error",
            Self::Idempotency => "idempotency_error",
            Self::InvalidRequest => "invalid_request_error",
        }
    }
}

#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status (docs.stripe.com/api/errors, "HTTP status code summary").
    pub status: u16,
    /// Whether the answer is saved under the idempotency key: not if it was given before the
    /// endpoint began to execute (docs.stripe.com/api/idempotent_requests).
    pub stored: bool,
    kind: ErrorType,
    message: String,
    fields: Map<String, Value>,
}

impl ApiError {
    /// An error of this type, without a code, saved under the idempotency key.
    #[must_use]
    pub fn new(status: u16, kind: ErrorType, message: impl Into<String>) -> Self {
        Self { status, stored: true, kind, message: message.into(), fields: Map::new() }
    }

    /// A refusal of the parameters, before anything was executed.
    #[must_use]
    pub fn invalid(message: impl Into<String>, code: &str, param: &str) -> Self {
        Self::before_execution(400, ErrorType::InvalidRequest, message)
            .code(code)
            .field("param", param)
    }

    /// An error given before the endpoint began to execute; not saved under a key.
    #[must_use]
    pub fn before_execution(status: u16, kind: ErrorType, message: impl Into<String>) -> Self {
        Self::new(status, kind, message).unstored()
    }

    /// The same error, not saved under a key.
    #[must_use]
    pub fn unstored(self) -> Self {
        Self { stored: false, ..self }
    }

    /// `resource_missing` (docs.stripe.com/error-codes#resource-missing) with the parameter that
    /// named the resource; 404 for the object in the path, 400 for one in a parameter.
    #[must_use]
    pub fn missing(status: u16, what: &str, id: &str, param: &str) -> Self {
        Self::new(status, ErrorType::InvalidRequest, format!("No such {what}: '{id}'"))
            .code("resource_missing")
            .field("param", param)
    }

    /// Stripe's own failure (docs.stripe.com/error-low-level#server-errors).
    #[must_use]
    pub fn server(message: impl Into<String>) -> Self {
        Self::new(500, ErrorType::Api, message)
    }

    /// Adds the `code`, and the `doc_url` Stripe sends along with it.
    #[must_use]
    pub fn code(self, code: &str) -> Self {
        let doc = format!("https://docs.stripe.com/error-codes#{}", code.replace('_', "-"));
        self.field("code", code).field("doc_url", doc)
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn body(&self) -> Value {
        let mut error = self.fields.clone();
        error.insert("message".into(), json!(self.message));
        error.insert("type".into(), json!(self.kind.as_str()));
        json!({ "error": error })
    }
}
