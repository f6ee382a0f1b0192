//! `expand[]`: objects in the place of their ids (docs.stripe.com/api/expanding_objects,
//! docs.stripe.com/expand).

use serde_json::Value;

use super::Endpoint;
use crate::errors::{ApiError, ErrorType};
use crate::form::Form;

/// "Expansions have a maximum depth of four levels".
const MAX_DEPTH: usize = 4;

/// The fields to be expanded, each as the way to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expand {
    paths: Vec<Vec<String>>,
}

/// The kind of object that an endpoint answers with, and whether with a list of it.
fn answered(endpoint: Endpoint) -> (&'static str, bool) {
    match endpoint {
        Endpoint::CreateIntent
        | Endpoint::GetIntent
        | Endpoint::UpdateIntent
        | Endpoint::ConfirmIntent
        | Endpoint::CancelIntent => ("payment_intent", false),
        Endpoint::ListIntents | Endpoint::SearchIntents => ("payment_intent", true),
        Endpoint::CreateRefund | Endpoint::GetRefund => ("refund", false),
        Endpoint::ListRefunds => ("refund", true),
        Endpoint::GetCharge => ("charge", false),
        Endpoint::ListCharges => ("charge", true),
        Endpoint::GetDispute => ("dispute", false),
        Endpoint::ListDisputes => ("dispute", true),
        Endpoint::GetEvent => ("event", false),
        Endpoint::ListEvents => ("event", true),
        Endpoint::CreateToken | Endpoint::GetToken => ("confirmation_token", false),
        Endpoint::GetAccount => ("account", false),
    }
}

/// The kind of object that a field holds the id of.
fn target(object: &str, field: &str) -> Option<&'static str> {
    match (object, field) {
        ("payment_intent", "latest_charge") | ("refund" | "dispute", "charge") => Some("charge"),
        ("charge" | "refund" | "dispute", "payment_intent") => Some("payment_intent"),
        _ => None,
    }
}

impl Expand {
    /// Reads `expand[]` of a request to this endpoint.
    ///
    /// # Errors
    /// The 400 for a field that has nothing to expand.
    pub(crate) fn parse(form: &Form, endpoint: Endpoint) -> Result<Self, ApiError> {
        let mut paths = Vec::new();
        for text in form.list("expand") {
            let path: Vec<String> = text.split('.').map(str::to_owned).collect();
            if !is_expandable(&path, endpoint) {
                let message = format!("This property cannot be expanded ({text}).");
                return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                    .field("param", "expand"));
            }
            paths.push(path);
        }
        Ok(Self { paths })
    }

    /// Replaces the ids in an answer by what `find` has under them.
    pub(crate) fn fill(&self, answer: &mut Value, find: &dyn Fn(&str) -> Option<Value>) {
        for path in &self.paths {
            fill(answer, path, find);
        }
    }
}

fn is_expandable(path: &[String], endpoint: Endpoint) -> bool {
    let (mut object, listed) = answered(endpoint);
    let fields = match (listed, path.split_first()) {
        (true, Some((data, rest))) if data == "data" => rest,
        (true, _) => return false,
        (false, _) => path,
    };
    let targets = fields.iter().all(|field| match target(object, field) {
        Some(next) => {
            object = next;
            true
        }
        None => false,
    });
    targets && (1..=MAX_DEPTH).contains(&fields.len())
}

fn fill(value: &mut Value, path: &[String], find: &dyn Fn(&str) -> Option<Value>) {
    let Some((field, rest)) = path.split_first() else { return };
    let Some(inner) = value.get_mut(field) else { return };
    if let Some(object) = inner.as_str().and_then(find) {
        *inner = object;
    }
    if let Value::Array(items) = inner {
        items.iter_mut().for_each(|item| fill(item, rest, find));
    } else {
        fill(inner, rest, find);
    }
}
